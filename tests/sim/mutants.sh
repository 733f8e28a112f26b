#!/usr/bin/env bash
# Each bug that is planted here is caught by the simulator.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: mutants.sh [NAME...]
#
# A mutant is a file tests/sim/mutants/NAME.patch: what it says of itself, and
# a diff against the sources.  For each the changed files, and nothing else,
# are compiled, and linked in front of the libraries; then 2000 seeds are run,
# then the stories of --enumerate, and more of both, until something fails.
# As many mutants as there are processors are tried at once.  Prints a line
# for each: how many seeds that took, or which story, and which promise was
# broken.  Ends with 1 if one is not caught.
#
# DM_SIM_SEEDS   seeds for each, at most; default 100000
# BUILD          the build folder; default abs_top_builddir, or the current
#                one; dmsim must have been built there

set -euo pipefail

top=${abs_top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${BUILD:-${abs_top_builddir:-$PWD}}
seeds=${DM_SIM_SEEDS:-100000}
: "${CC:=cc}"

# mutate PATCH: the patched sources that it changes, compiled, in $tmp.
mutate ()
{
  local patch=$1 file changed

  mapfile -t changed < <(sed -n 's|^+++ b/||p' "$patch")
  for file in "${changed[@]}"; do
    mkdir -p "$tmp/src/$(dirname "$file")"
    cp "$top/$file" "$tmp/src/$file"
  done
  patch -s -p1 -f -F1 -d "$tmp/src" < "$patch" > /dev/null || return 1
  for file in "${changed[@]}"; do
    # What includes a changed header would have to be compiled, too.
    [[ $file = *.c ]] || return 1
    "$CC" -std=gnu11 -O1 -g -w -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
      -I"$build" -iquote "$top/lib" -iquote "$top/plugin" \
      -c "$tmp/src/$file" -o "$tmp/$(basename "$file" .c).o" || return 1
  done
}

# A program of the mutant, of what automake makes dmsim of: the mutant's
# objects come before the libraries.
link ()
{
  local make=$top/tests/sim/Makefile.inc ours wraps

  mapfile -t ours < <(sed -nE "s|^\\s*(tests/sim/.*)\\.c( .*)?\$|$build/\\1.o|p" \
    "$make")
  mapfile -t wraps < <(grep -o -- '-Wl,--wrap=[a-z0-9_]*' "$make")
  if [[ ! -f $tmp/plugin.o ]]; then
    cp "$build/plugin/.libs/plugin.o" "$tmp/plugin.o"
  fi
  "$CC" -rdynamic "${wraps[@]}" -o "$tmp/dmsim" "${ours[@]}" "$tmp"/*.o \
    "$build/plugin/.libs/libvolume.a" "$build/lib/.libs/libdmio-core.a" \
    -ljansson -lz -pthread
}

# promise: what the run that has just failed says was broken; or which
# assertion of the code itself.
promise ()
{
  sed -n -e "s/^dmsim: .*: \(Assertion .*\) failed\.\$/\1/p" \
    -e 's/^FAILED: seed [0-9]*, point [0-9]*: //p' "$tmp/err" |
    sed -n 1p | cut -c1-60
}

# try_seeds FROM TO: false if one of these fails, after saying so.
try_seeds ()
{
  [[ $1 -lt $2 ]] || return 0
  "$tmp/dmsim" --seeds "$1..$2" > "$tmp/out" 2> "$tmp/err" && return 0
  printf '%d seeds: %s\n' \
    $(($1 + $(sed -n 's/^after \([0-9]*\) seeds$/\1/p' "$tmp/err"))) \
    "$(promise)"
  return 1
}

# try_stories FROM TO: with these seeds; false if one fails, after saying so.
try_stories ()
{
  "$tmp/dmsim" --enumerate --seeds "$1..$2" > "$tmp/out" 2> "$tmp/err" &&
    return 0
  printf '%s: %s\n' \
    "$(sed -n 's/^replay: .*--enumerate=\([a-z-]*\).*/\1/p' "$tmp/err")" \
    "$(promise)"
  return 1
}

# try_mutant: says how it is caught; false if it is not.
try_mutant ()
{
  local few=$((seeds < 2000 ? seeds : 2000))
  local some=$((seeds < 9000 ? seeds : 9000))

  try_seeds 0 "$few" || return 0
  try_stories 0 1 || return 0
  try_seeds "$few" "$some" || return 0
  try_stories 1 4 || return 0
  try_seeds "$some" "$seeds" || return 0
  echo "NOT CAUGHT by $seeds seeds and all stories"
  return 1
}

# one NAME: the line of one mutant.
one ()
{
  local how status=0

  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  if mutate "$top/tests/sim/mutants/$1.patch" && link; then
    how=$(try_mutant) || status=1
  else
    how='DOES NOT APPLY, or does not compile'
    status=1
  fi
  printf '%-34s %s\n' "$1" "$how"
  return "$status"
}

if [[ ${1-} = --one ]]; then
  one "$2"
  exit
fi
if [[ $# -eq 0 ]]; then
  mapfile -t names < <(cd "$top/tests/sim/mutants" &&
    printf '%s\n' *.patch | sed 's/\.patch$//')
else
  names=("$@")
fi
export abs_top_srcdir=$top BUILD=$build DM_SIM_SEEDS=$seeds CC
printf '%s\n' "${names[@]}" | xargs -n 1 -P "$(nproc)" "$0" --one
