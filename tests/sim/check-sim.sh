#!/usr/bin/env bash
# The production code keeps its promises on simulated machines.
# SPDX-License-Identifier: BSD-3-Clause
#
# Runs the seeds that have failed once (tests/sim/seeds), then a range of them,
# longer with DM_STRESS=long, and sees that a seed is always the same run.
#
# DM_SIM_SEEDS   how many of the range, instead

set -euo pipefail

: "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${abs_top_builddir:=$abs_top_srcdir}"
dmsim=$abs_top_builddir/tests/sim/dmsim
jobs=$(nproc)

if [[ -z ${DM_SIM_SEEDS-} ]]; then
  if [[ ${DM_STRESS-short} = long ]]; then
    DM_SIM_SEEDS=100000
  else
    DM_SIM_SEEDS=1000
  fi
fi

while read -r seed steps _; do
  [[ $seed = '#' ]] || "$dmsim" --seeds "$seed" --steps "$steps" > /dev/null
done < "$abs_top_srcdir/tests/sim/seeds"

# The same seed, alone and after another one, is the same run.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for seed in 1 2 3 4 5; do
  "$dmsim" --seeds "$seed" --trace > "$tmp/a"
  "$dmsim" --seeds "$((seed - 1))..$((seed + 1))" --trace |
    tail -n "$(wc -l < "$tmp/a")" > "$tmp/b"
  cmp "$tmp/a" "$tmp/b"
done

# Each crash of short stories: all of them, or a few.
if [[ ${DM_STRESS-short} = long ]]; then
  "$dmsim" --enumerate --seeds 0..1
else
  for story in first-write creation last-record snapshot-is-discarded; do
    "$dmsim" --enumerate="$story" --seeds 0..1
  done
fi

"$dmsim" --seeds "0..$DM_SIM_SEEDS" --jobs "$jobs"
