#!/usr/bin/env bash
# Each bug that is planted here is caught by the simulator.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: mutants.sh [NAME...]
#
# A mutant is a file tests/sim/mutants/NAME.patch: what it says of itself, and
# a diff against the sources.  For each the changed files are compiled and
# linked in front of the libraries; then 2000 seeds are run, then the stories
# of --enumerate, then more seeds, until something fails.  Prints a line for
# each: how many seeds that took, or which story, and which promise was broken.
# Ends with 1 if one is not caught.
#
# DM_SIM_SEEDS   seeds for each, at most; default 100000
# BUILD          the build folder; default abs_top_builddir, or the current one

set -euo pipefail

top=${abs_top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${BUILD:-${abs_top_builddir:-$PWD}}
seeds=${DM_SIM_SEEDS:-100000}
jobs=$(nproc)
: "${CC:=cc}"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# The words with which automake links dmsim.
mapfile -t wraps < <(grep -o -- '-Wl,--wrap=[a-z0-9_]*' \
  "$top/tests/sim/Makefile.inc")

# mutate NAME: the patched sources that it changes, compiled, in $tmp.
mutate ()
{
  local patch=$top/tests/sim/mutants/$1.patch file

  rm -rf "$tmp/src" "$tmp"/*.o
  mkdir "$tmp/src"
  mapfile -t changed < <(sed -n 's|^+++ b/||p' "$patch")
  cp -r "$top/lib" "$top/plugin" "$tmp/src/"
  patch -s -p1 -f -d "$tmp/src" < "$patch" > /dev/null || return 1
  for file in "${changed[@]}"; do
    [[ $file = *.c ]] || continue
    "$CC" -std=gnu11 -O1 -g -w -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
      -I"$build" -iquote "$tmp/src/lib" -iquote "$tmp/src/plugin" \
      -c "$tmp/src/$file" -o "$tmp/$(basename "$file" .c).o"
  done
}

# A program of the mutant: its objects come before the libraries.
link ()
{
  local ours

  mapfile -t ours < <(find "$build/tests/sim" -name '*.o' | LC_ALL=C sort)
  if [[ ! -f $tmp/plugin.o ]]; then
    cp "$build/plugin/.libs/plugin.o" "$tmp/plugin.o"
  fi
  "$CC" -rdynamic "${wraps[@]}" -o "$tmp/dmsim" "${ours[@]}" "$tmp"/*.o \
    "$build/plugin/.libs/libvolume.a" "$build/lib/.libs/libdmio-core.a" \
    -ljansson -lz -pthread
}

# promise: what the run that has just failed says was broken.
promise ()
{
  sed -n 's/^FAILED: seed [0-9]*, point [0-9]*: //p' "$tmp/err" |
    head -n 1 | cut -c1-60
}

# try_seeds FROM TO: false if one of these fails, after saying so.
try_seeds ()
{
  [[ $1 -lt $2 ]] || return 0
  "$tmp/dmsim" --seeds "$1..$2" --jobs "$jobs" > "$tmp/out" 2> "$tmp/err" &&
    return 0
  printf '%d seeds: %s\n' \
    $(($1 + $(sed -n 's/^after \([0-9]*\) seeds$/\1/p' "$tmp/err"))) \
    "$(promise)"
  return 1
}

# try_mutant: says how it is caught; false if it is not.
try_mutant ()
{
  local few=$((seeds < 2000 ? seeds : 2000))

  try_seeds 0 "$few" || return 0
  if ! "$tmp/dmsim" --enumerate --seeds 0..1 > "$tmp/out" 2> "$tmp/err"; then
    printf '%s: %s\n' \
      "$(sed -n 's/^replay: .*--enumerate=\([a-z-]*\).*/\1/p' "$tmp/err")" \
      "$(promise)"
    return 0
  fi
  try_seeds "$few" "$seeds" || return 0
  echo "NOT CAUGHT by $seeds seeds and all stories"
  return 1
}

missed=0
if [[ $# -eq 0 ]]; then
  mapfile -t names < <(cd "$top/tests/sim/mutants" &&
    printf '%s\n' *.patch | sed 's/\.patch$//')
else
  names=("$@")
fi
for name in "${names[@]}"; do
  if ! mutate "$name"; then
    printf '%-32s DOES NOT APPLY\n' "$name"
    missed=1
    continue
  fi
  link
  how=$(try_mutant) || missed=1
  printf '%-34s %s\n' "$name" "$how"
done
exit "$missed"
