# A leg fails for real under a mounted file system.
# SPDX-License-Identifier: BSD-3-Clause
#
# The second leg is a device-mapper device whose table is exchanged for
# "error" while files are written.  Nobody above may notice; the manifest
# must; and when the leg is back, stale, its old content must never be seen,
# and must be brought up to date.

. /tests/lib.sh

cd "$WORK"
mkdir vol
truncate -s 32M a.img b.img
loop=$(losetup -f --show b.img)
sectors=$(blockdev --getsz "$loop")
dmsetup create legb --table "0 $sectors linear $loop 0"

# leg_state N: what the manifest says of leg number N.
leg_state ()
{
  grep -o '"state": *"[a-z]*"' vol.d/volume.json | sed -n "$(($1 + 1))p" |
    sed 's/.*"\([a-z]*\)"$/\1/'
}

# sums_hold WHAT: the files are what they were when sums was made.
sums_hold ()
{
  echo 3 > /proc/sys/vm/drop_caches
  (cd vol && sha256sum -c "$WORK/sums") > sums.log ||
    fail "$1: $(grep -v ': OK$' sums.log | head -n 1)"
}

serve a.img /dev/mapper/legb meta=vol.d
attach /dev/nbd0 ""
mkfs.ext4 -q -F /dev/nbd0
mount -t ext4 /dev/nbd0 vol
cp /usr/bin/{bash,busybox} vol
sync
until_true "the legs are in sync" in_sync vol.d

say "the second leg fails"
dmsetup load legb --table "0 $sectors error"
dmsetup suspend --noflush --nolockfs legb
dmsetup resume legb
dd if=/tests/random of=vol/random bs=64k count=40 conv=fsync status=none
cp /usr/bin/dmsetup vol/bash
rm vol/busybox
sync
(cd vol && find . -type f -print0 | sort -z | xargs -0 sha256sum) > sums
sums_hold "with one leg"
[ "$(leg_state 0)" = insync ] || fail "leg 0 is $(leg_state 0), not insync"
[ "$(leg_state 1)" = failed ] || fail "leg 1 is $(leg_state 1), not failed"
umount vol
fsck_clean /dev/nbd0
detach /dev/nbd0
stop_server
plant flip-survivor flip_byte a.img 1024
fsck_clean a.img

say "the second leg is back, stale"
dmsetup load legb --table "0 $sectors linear $loop 0"
dmsetup suspend --noflush --nolockfs legb
dmsetup resume legb
differ a.img /dev/mapper/legb "the legs"
serve a.img /dev/mapper/legb meta=vol.d
attach /dev/nbd0 ""
fsck_clean /dev/nbd0
mount -t ext4 /dev/nbd0 vol
sums_hold "with the stale leg back"
umount vol
until_true "the leg that is back is in sync" in_sync vol.d
detach /dev/nbd0
stop_server
same a.img /dev/mapper/legb "the leg that is back"
mount -t ext4 -o ro,loop a.img vol
sums_hold "on the leg that lived"
umount vol
