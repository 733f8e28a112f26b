#!/usr/bin/env bash
# The same seed is the same run: byte for byte, and whoever compiled it.
# SPDX-License-Identifier: BSD-3-Clause
#
# DM_SIM_OTHER   another build's dmsim, to be compared with this one; without
#                it, the second run is of the same program
# DM_SIM_SEEDS   how many seeds; default 100

set -euo pipefail

: "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${abs_top_builddir:=$abs_top_srcdir}"
dmsim=$abs_top_builddir/tests/sim/dmsim
other=${DM_SIM_OTHER:-$dmsim}
seeds=${DM_SIM_SEEDS:-100}

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# same WHAT ARG...: both programs write the same, and not nothing.
same ()
{
  local what=$1

  shift
  "$dmsim" "$@" > "$tmp/a"
  "$other" "$@" > "$tmp/b"
  [[ -s $tmp/a ]]
  cmp "$tmp/a" "$tmp/b" || {
    echo "$what: two runs differ" >&2
    exit 1
  }
}

# All that happens, and the hash of more than a trace shows.
same 'traces' --seeds "0..$seeds" --trace
same 'hashes' --seeds "0..$seeds" --hashes
same 'a story' --enumerate=creation-again --trace

# Alone, and after others: what one seed leaves does not matter to the next.
"$dmsim" --seeds "0..$seeds" --hashes > "$tmp/all"
for seed in 1 $((seeds / 2)) $((seeds - 1)); do
  "$other" --seeds "$seed" --hashes > "$tmp/one"
  sed -n "$((seed + 1))p" "$tmp/all" | cmp - "$tmp/one"
done
"$dmsim" --seeds "0..$seeds" --hashes --jobs 2 | LC_ALL=C sort -n |
  cmp - "$tmp/all"

# Other seeds are other runs.
[[ $(cut -d ' ' -f 2 "$tmp/all" | LC_ALL=C sort -u | wc -l) -eq $seeds ]]
