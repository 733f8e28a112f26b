#!/usr/bin/env bash
# A random load on disks of 4096-byte blocks: loop devices, so root only.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/nbd/stress-common.sh
. "$(dirname "$0")/stress-common.sh"
need losetup blockdev
test "$(id -u)" -eq 0 || skip 'only root makes loop devices'

disks=()
detach ()
{
  local status=$? disk

  for disk in "${disks[@]}"; do
    losetup --detach "$disk" 2>/dev/null
  done
  return "$status"
}
trap 'detach; cleanup' EXIT

truncate -s "$size" "$TMP/disk-a.img" "$TMP/disk-b.img"
for file in "$TMP/disk-a.img" "$TMP/disk-b.img"; do
  disk=$(losetup --find --show --sector-size 4096 "$file" 2>/dev/null) ||
    skip 'no loop devices here'
  disks+=("$disk")
  test "$(blockdev --getss "$disk")" -eq 4096 || skip 'no such loop devices'
done
leg_a=${disks[0]}
leg_b=${disks[1]}

# direct=on: they are used with O_DIRECT, or not at all.
fill "$first" "$size" "$SEED"
start direct=on
nbdcopy "$first" "$(uri vol)"
"$(helper nbd-io)" "$(uri vol)" \
  'write 1M 64K 0x11' 'write 1049088 512 0xaa' 'read 1M 512 0x11' \
  'read 1049088 512 0xaa' 'read 1049600 63K 0x11' \
  'zero 1050112 20000' 'read 1049600 512 0x11' 'read 1050112 20000 0x00' \
  'trim 1080000 9000 fua' 'read 1080000 9000 0x00' 'read 1089000 100 0x11'
# A loop device over a tmpfs cannot zero at once any more after its first
# zeroing, so that a trim may leave what was there.
model --uri "$(uri vol)" --trim-undefined --dump "$TMP/end.img" --ops "$OPS" \
  --connections 2 --depth 8 --max 1M
# Parts of a few blocks, by many at once.
model --uri "$(uri vol)" --trim-undefined --ops "$OPS" --max 3000 --size-limit 20000 \
  --connections 2 --depth 8
rm -f "$TMP/end.img"
nbdcopy "$(uri vol)" "$TMP/end.img"
stop
same "$TMP/disk-a.img" "$TMP/end.img"
