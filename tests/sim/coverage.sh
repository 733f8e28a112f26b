#!/usr/bin/env bash
# What of the production code the simulator reaches: lines, and branches.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: coverage.sh [FILE...]
#
# Builds dmsim for gcov in a folder of its own (coverage-sim in the build
# folder), runs all stories and a range of seeds, and prints a line for each
# source file of the targets and of what they use; for FILE, such as
# plugin/mirror.c, moreover the lines that were not reached.  What gcov says
# of each file stays in that folder.
#
# DM_SIM_SEEDS   how many; default 20000

set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
build=${abs_top_builddir:-$PWD}/coverage-sim
jobs=$(nproc)

if ! command -v gcov > /dev/null; then
  echo "$0: gcov is not installed" >&2
  exit 77
fi

# The targets, the volume, what they remember, and what they are made of.
wanted='^plugin/(mirror|snapshot|origin|exception|dirty-log|region-hash|volume)'
wanted+='|^plugin/(manifest|meta-dir|leg-file|target|merge|direct|table-(d|m|s))'
wanted+='|^lib/(kcopyd|dm-io|io-threads|page-pool|range-lock|group-sync|block)'

mkdir -p "$build"
cd "$build"
if [[ ! -f Makefile ]]; then
  # An assertion has a branch that must never be taken.
  "$top/configure" CC=gcc CPPFLAGS=-DNDEBUG CFLAGS='-O0 -w --coverage' \
    > configure.log
fi
{
  make -j "$jobs"
  make -j "$jobs" tests/sim/dmsim
} > make.log 2>&1 || {
  tail -n 20 make.log >&2
  exit 1
}
find . -name '*.gcda' -delete
tests/sim/dmsim --enumerate --jobs "$jobs" > enumerate.log
tests/sim/dmsim --seeds "0..${DM_SIM_SEEDS:-20000}" --jobs "$jobs" > seeds.log

# report: "FILE LINES% OF BRANCHES% OF" of each source file.
report ()
{
  local data

  find . -name '*.gcda' ! -path './tests/*' | LC_ALL=C sort |
    while IFS= read -r data; do
      gcov -b -p -r -s "$top" "$data" 2> /dev/null
    done |
    tr -d "'" | awk '
      /^File / { file = $2; lines = branches = "" }
      /^Lines executed:/ { split ($2, part, ":"); lines = part[2] " " $4 }
      /^Taken at least once:/ { split ($4, part, ":"); branches = part[2] " " $6 }
      /^No branches/ { branches = "- 0" }
      (/^Taken at least once:/ || /^No branches/) && file ~ /\.c$/ {
        print file, lines, branches }' | LC_ALL=C sort -u
}

report > report.txt
printf '%-34s %8s %6s %9s %6s\n' file lines of branches of
grep -E "$wanted" report.txt |
  while read -r file lines of branches count; do
    printf '%-34s %8s %6s %9s %6s\n' "$file" "$lines" "$of" "$branches" "$count"
  done
awk '{ sub ("%", ""); sub ("%", "")
       l += $2 * $3; lines += $3; b += $4 * $5; branches += $5 }
     END { printf "%-34s %7.2f%% %6d %8.2f%% %6d\n", "all", l / lines, lines,
             b / branches, branches }' <(grep -E "$wanted" report.txt)
for file in "$@"; do
  echo
  grep -E '^ *#####:' "${file//\//#}.gcov" || echo "$file: all lines"
done
