#!/usr/bin/env bash
# A COW store whose list of records has no end is refused, in bounded time.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

# Chunks of 4 KiB, 256 records in an area, areas at chunks 1 and 258.
chunk=4096
make_volume snapshot=snap chunk-size=4K cow-size=2100K
cow=$TMP/d/meta/snap.cow
keep_volume
remedy='restore the file.*discard-snapshot='
args=("$TMP/d/a.img" "$TMP/d/b.img" meta="$TMP/d/meta")

# area CHUNK FIRST: a full area there, of records from old chunk FIRST on.
area ()
{
  local at=$1 first=$2 bytes='' i new

  for ((i = 0; i < 256; i++)); do
    new=$((2 + first + i))
    # Over the second area.
    test "$new" -lt 258 || new=$((new + 1))
    bytes+=$(printf '\\x%02x\\x%02x\\0\\0\\0\\0\\0\\0' \
      $(((first + i) & 255)) $(((first + i) >> 8)))
    bytes+=$(printf '\\x%02x\\x%02x\\0\\0\\0\\0\\0\\0' \
      $((new & 255)) $((new >> 8)))
  done
  # shellcheck disable=SC2059
  printf "$bytes" |
    dd of="$cow" bs=$chunk seek="$at" conv=notrunc status=none
}

# Every chunk of the volume has its record, and the list goes on: whatever
# comes next is a second record of one of them, or none of the volume's.
area 1 0
area 258 256
refuse 'snap\.cow: record 256: old chunk 256 is outside the volume' "$remedy" \
  "${args[@]}"
area 258 0
refuse 'snap\.cow: record 256: old chunk 0 has a record already' "$remedy" \
  "${args[@]}"
# The next area would be behind the end.
truncate -s $((258 * chunk)) "$cow"
refuse 'snap\.cow: area 0 is full.*the list of records has no end' "$remedy" \
  "${args[@]}"
truncate -s $((258 * chunk + 512)) "$cow"
refuse 'snap\.cow: area 0 is full.*the list of records has no end' "$remedy" \
  "${args[@]}"

# With an empty area behind the full one it is a store like any other.
truncate -s $((259 * chunk)) "$cow"
start_nbdkit vol "$DM_PLUGIN" "${args[@]}"
"$(helper nbd-io)" "$(uri vol snap)" 'read 0 4096 1'
stop_nbdkit vol
