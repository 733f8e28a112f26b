# A disk hangs for real under a mounted file system, and comes back.
# SPDX-License-Identifier: BSD-3-Clause
#
# The second leg is a device-mapper device that is suspended while files are
# written: the kernel answers nothing then, and nothing can be taken back.
# leg-timeout= is the patience of the volume: files are written and
# synced on the other leg, and the manifest says so.  When the disk answers
# again, all that it was given lands, late; then it is brought up to date, by
# itself.

. /tests/lib.sh

cd "$WORK"
mkdir vol
truncate -s 32M a.img b.img
loop=$(losetup -f --show b.img)
sectors=$(blockdev --getsz "$loop")
dmsetup create legb --table "0 $sectors linear $loop 0"

leg_has_failed ()
{
  grep -q '"state": *"failed"' vol.d/volume.json
}

both_in_sync ()
{
  in_sync vol.d && ! leg_has_failed
}

serve a.img /dev/mapper/legb meta=vol.d sync=full leg-timeout=5
attach /dev/nbd0 ""
mkfs.ext4 -q -F /dev/nbd0
mount -t ext4 /dev/nbd0 vol
cp /usr/bin/bash vol
sync
until_true "the legs are in sync" both_in_sync

say "the second leg hangs"
dmsetup suspend --noflush --nolockfs legb
dd if=/tests/random of=vol/random bs=64k count=40 conv=fsync status=none
leg_has_failed || fail "files are synced, but nobody has given up the leg"
rm vol/bash
dd if=/tests/random of=vol/random bs=64k count=20 skip=60 conv=fsync,notrunc \
   status=none
sum=$(sha256sum < vol/random)

say "the second leg answers again"
dmsetup resume legb
until_true "the leg is in sync again" both_in_sync
echo 3 > /proc/sys/vm/drop_caches
[ "$(sha256sum < vol/random)" = "$sum" ] || fail "the file has changed"
umount vol
fsck_clean /dev/nbd0
detach /dev/nbd0
stop_server
plant flip-late flip_byte b.img 1024
same a.img /dev/mapper/legb "the leg that hung"
mount -t ext4 -o ro /dev/mapper/legb vol
[ "$(sha256sum < vol/random)" = "$sum" ] || fail "the file is another there"
umount vol
