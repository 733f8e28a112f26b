#!/usr/bin/env bash
# The production code keeps its promises on simulated machines.
# SPDX-License-Identifier: BSD-3-Clause
#
# Runs the seeds that have failed once (tests/sim/seeds), the stories of
# --enumerate, and a range of seeds: longer with DM_STRESS=long, and then of
# the commit's own, so that other ones are run each time.
#
# DM_SIM_SEEDS   how many of the range, instead
# DM_SIM_BASE    the first of them, instead
# DM_SIM_TELLS   seeds with which each story is told, instead

set -euo pipefail

: "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${abs_top_builddir:=$abs_top_srcdir}"
dmsim=$abs_top_builddir/tests/sim/dmsim
jobs=$(nproc)

# base_of_commit: a number that each commit has another one of; 0 where there
# is none.
base_of_commit ()
{
  local commit

  commit=$(git -C "$abs_top_srcdir" rev-parse HEAD 2> /dev/null) || commit=0
  echo $((16#${commit:0:7} * 1000000))
}

if [[ ${DM_STRESS-short} = long ]]; then
  : "${DM_SIM_SEEDS:=100000}" "${DM_SIM_TELLS:=2}"
  : "${DM_SIM_BASE:=$(base_of_commit)}"
  stories=('')
else
  : "${DM_SIM_SEEDS:=2000}" "${DM_SIM_TELLS:=1}" "${DM_SIM_BASE:=0}"
  stories=(first-write creation last-record snapshot-is-discarded
    table-first-write-with-two table-loss table-merge-is)
fi

while read -r seed steps _; do
  [[ $seed = '#' ]] || "$dmsim" --seeds "$seed" --steps "$steps" > /dev/null
done < "$abs_top_srcdir/tests/sim/seeds"

# Each crash of short stories: all of them, or a few.
for story in "${stories[@]}"; do
  "$dmsim" --enumerate="$story" --seeds "0..$DM_SIM_TELLS" --jobs "$jobs"
done

range=$DM_SIM_BASE..$((DM_SIM_BASE + DM_SIM_SEEDS))
echo "dmsim --seeds $range --jobs $jobs"
"$dmsim" --seeds "$range" --jobs "$jobs"
