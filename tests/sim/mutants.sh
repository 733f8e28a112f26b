#!/usr/bin/env bash
# Each bug that is planted here is caught by the simulator.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: mutants.sh [NAME...]
#
# A mutant is a file tests/sim/mutants/NAME.patch: what it says of itself, and
# a diff against the sources.  For each the changed files are compiled and
# linked in front of the libraries, and seeds are run until one fails.  Prints
# a line for each: how many seeds that took, and which promise was broken.
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
  if "$tmp/dmsim" --seeds "0..$seeds" --jobs "$jobs" \
    > "$tmp/out" 2> "$tmp/err"; then
    printf '%-32s NOT CAUGHT by %d seeds\n' "$name" "$seeds"
    missed=1
  else
    printf '%-32s %6d seeds  %s\n' "$name" \
      "$(sed -n 's/^after \([0-9]*\) seeds$/\1/p' "$tmp/err")" \
      "$(sed -n 's/^FAILED: seed [0-9]*, point [0-9]*: //p' "$tmp/err" |
        head -n 1 | cut -c1-70)"
  fi
done
exit "$missed"
