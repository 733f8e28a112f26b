# The kernel reads its own golden store: the control for all that follows.
# SPDX-License-Identifier: BSD-3-Clause
#
# Nothing of ours is involved.  If this fails, then our way of asking the
# kernel is wrong, or the golden images are damaged.

. /tests/lib.sh

gunzip -c /tests/golden/g1_origin.bin.gz > "$WORK/origin"
gunzip -c /tests/golden/g1_snapview.bin.gz > "$WORK/snapview"
cp /tests/golden/g1_cow.bin "$WORK/cow"
sectors=$(($(stat -c %s "$WORK/snapview") / 512))

# The first data chunk of the store, chunk 2.
plant flip-cow flip_byte "$WORK/cow" $((2 * 4096 + 100))

truncate -s $((sectors * 512)) "$WORK/origin"
differ "$WORK/origin" "$WORK/snapview" "origin and snapshot"
kernel_agrees "$WORK/origin" "$WORK/cow" 8 "$WORK/snapview" "$sectors"

expected=$(store_status 5 8 "$WORK/cow")
[ "$expected" = "56/400 16" ] || fail "store_status says $expected"
[ "$kernel_status" = "$expected" ] ||
  fail "kernel's status $kernel_status, not $expected"
[ "$kernel_chunk" = 8 ] || fail "kernel's chunk $kernel_chunk, not 8"
