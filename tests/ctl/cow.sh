#!/usr/bin/env bash
# dmnbd cow reads stores of the kernel and of ours, good and bad, and writes none.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/../bad-input/common.sh"

golden=$abs_top_srcdir/tests/golden
cp "$golden"/*.bin "$TMP"
chmod 0444 "$TMP"/*.bin
sha256sum "$TMP"/*.bin >"$TMP/sums"

# The kernel's: five chunks that were copied one by one.
expect 0 cow info "$TMP/g1_cow.bin"
told '^state +valid$'
told '^copied +5 chunks, in 5 runs$'
expect 0 --json cow info "$TMP/g1_cow.bin"
test "$(value chunk_size)" = 4096
test "$(value chunks)" = 5
test "$(value used_bytes)" = $((56 * 512))
test "$(value metadata_bytes)" = $((16 * 512))
test "$(value store_bytes)" = $((400 * 512))
test "$(value valid)" = true
expect 0 cow dump "$TMP/g1_cow.bin"
diff - "$TMP/out" >&2 <<'DUMP' || fail "other chunks"
# old chunk, new chunk, count
0 2 1
20 3 1
10 4 1
40 5 1
511 6 1
DUMP
expect 0 --json cow dump "$TMP/g1_cow.bin"
test "$(value 4.old_chunk)" = 511
expect 0 cow check "$TMP/g1_cow.bin" --origin-size 4093s
told '5 records, all good$'
expect 1 cow check "$TMP/g1_cow.bin" --origin-size 4088s
told 'old chunk 511 is outside the volume, which has 511 chunks'
# A size that no volume has is no fault of the store.
for size in 0 100 4095 511; do
  expect 2 cow check "$TMP/g1_cow.bin" --origin-size "$size"
  told "no volume has $size bytes"
done
expect 0 --json cow info "$TMP/g3_cow_inv.bin"
test "$(value valid)" = false
expect 0 cow check "$TMP/g3_cow_inv.bin"
told 'marked invalid'
expect 0 --json cow check "$TMP/g3_cow_ovf.bin"
test "$(value valid)" = true

# Ours, while it is in use.
fill "$TMP/a.img" 4M 1
start_control vol "$TMP/a.img" meta="$TMP/vol.d" snapshot=monday chunk-size=4K
"$(helper nbd-io)" "$(uri vol)" 'write 16K 32K 2' flush
expect 0 cow dump "$TMP/vol.d/monday.cow"
told '^4 2 8$'
expect 0 --json cow check "$TMP/vol.d/monday.cow" --origin-size 4M
test "$(value chunks)" = 8
stop_nbdkit vol

# Files that are no stores, or damaged ones.
bad ()
{
  local regex=$1 verb

  shift
  for verb in info check dump; do
    expect 1 cow "$verb" "$@"
    told "$regex"
  done
}

damage ()
{
  cp -f "$golden/g1_cow.bin" "$TMP/bad"
  chmod 0644 "$TMP/bad"
  put "$TMP/bad" "$@"
}

bad 'No such file' "$TMP/none"
bad 'give a file or a block device' nbd://localhost/
bad 'neither a file nor a block device' "$TMP"
bad 'neither a file nor a block device' /dev/null
printf 'short' >"$TMP/bad"
bad 'not a multiple of 512' "$TMP/bad"
: >"$TMP/bad"
bad 'the file is empty' "$TMP/bad"
damage 0 0
bad 'this is no COW store' "$TMP/bad"
damage 8 2
bad 'has version 2' "$TMP/bad"
damage 12 3
bad 'not a power of two' "$TMP/bad"
damage 12 0
bad 'not a power of two' "$TMP/bad"
mapfile -t number < <(le64 1)
damage $((4096 + 8)) "${number[@]}"
bad 'one of the store.s own areas' "$TMP/bad"
mapfile -t number < <(le64 1000000)
damage $((4096 + 8)) "${number[@]}"
bad 'outside the store' "$TMP/bad"
mapfile -t number < <(le64 3)
damage $((4096 + 8)) "${number[@]}"
bad 'new chunk 3' "$TMP/bad"
mapfile -t number < <(le64 20)
damage 4096 "${number[@]}"
bad 'old chunk 20 has two records' "$TMP/bad"
mapfile -t number < <(le64 -1)
damage 4096 "${number[@]}"
bad 'outside the volume' "$TMP/bad"

sha256sum --quiet -c "$TMP/sums" || fail "a store was changed"
