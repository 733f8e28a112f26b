# A file system on the volume, and the old one in its snapshot.
# SPDX-License-Identifier: BSD-3-Clause
#
# The kernel makes, mounts, fills and checks an ext4 on a two-way mirror.
# Then a snapshot is taken, files are changed, deleted and added on the
# volume, and the snapshot must still be the old file system: now, after a
# restart, and for the kernel's own reader of the store.

. /tests/lib.sh

cd "$WORK"
mkdir vol snap
truncate -s 48M a.img b.img

say "an ext4 with real files"
serve a.img b.img meta=vol.d
attach /dev/nbd0 ""
mkfs.ext4 -q -F /dev/nbd0
mount -t ext4 /dev/nbd0 vol
mkdir vol/bin vol/etc
cp /usr/bin/{bash,busybox,nbdkit,e2fsck,mkfs.ext4,losetup} vol/bin
cp /init /etc/mke2fs.conf /tests/lib.sh vol/etc
cp -r /tests/scenarios vol/scenarios
for ((i = 0; i < 40; i++)); do
  echo "small file $i" > "vol/etc/small$i"
done
dd if=/tests/random of=vol/random bs=64k count=48 conv=fsync status=none
sync
(cd vol && find . -type f -print0 | sort -z | xargs -0 sha256sum) > old.sums
umount vol
fsck_clean /dev/nbd0
until_true "the legs are in sync" in_sync vol.d
detach /dev/nbd0
stop_server
plant flip-leg flip_byte b.img 40000000
same a.img b.img "legs after the first run"
cp a.img before.img

say "a snapshot; then the volume changes"
serve a.img b.img meta=vol.d snapshot=snap
attach /dev/nbd0 ""
export=snap
plant not-frozen eval export=
attach /dev/nbd1 "$export"
mount -t ext4 /dev/nbd0 vol
dd if=/tests/random of=vol/random bs=4k skip=1000 seek=100 count=60 \
   conv=notrunc,fsync status=none
cp /usr/bin/dmsetup vol/bin/bash
rm vol/bin/nbdkit vol/etc/small1*
mv vol/scenarios vol/etc/moved
mkdir vol/new
cp /usr/bin/{nbdcopy,nbdinfo,kmod} vol/new
echo "grown" >> vol/etc/init
sync
(cd vol && find . -type f -print0 | sort -z | xargs -0 sha256sum) > new.sums
differ old.sums new.sums "sums before and after the changes"

say "the snapshot is the old file system, while the volume is mounted"
mount -t ext4 -o ro,noload /dev/nbd1 snap ||
  fail "the snapshot does not mount"
(cd snap && sha256sum -c "$WORK/old.sums") > sums.log ||
  fail "snapshot: $(grep -v ': OK$' sums.log | head -n 1)"
[ ! -e snap/new ] || fail "a new file is in the snapshot"
[ -d snap/scenarios ] || fail "a renamed folder is gone from the snapshot"
echo 3 > /proc/sys/vm/drop_caches
(cd vol && sha256sum -c "$WORK/new.sums") > sums.log ||
  fail "volume: $(grep -v ': OK$' sums.log | head -n 1)"
umount snap
umount vol
fsck_clean /dev/nbd0
fsck_clean /dev/nbd1
until_true "the legs are in sync" in_sync vol.d
detach /dev/nbd1
detach /dev/nbd0
dump snap snap.img
stop_server
same a.img b.img "legs after the second run"
same before.img snap.img "the snapshot"
differ before.img a.img "the volume"

say "both are there after a restart"
serve a.img b.img meta=vol.d snapshot=snap
attach /dev/nbd0 "" -readonly
attach /dev/nbd1 snap -readonly
fsck_clean /dev/nbd0
fsck_clean /dev/nbd1
mount -t ext4 -o ro,noload /dev/nbd0 vol
mount -t ext4 -o ro,noload /dev/nbd1 snap
(cd snap && sha256sum -c "$WORK/old.sums") > sums.log ||
  fail "snapshot, later: $(grep -v ': OK$' sums.log | head -n 1)"
(cd vol && sha256sum -c "$WORK/new.sums") > sums.log ||
  fail "volume, later: $(grep -v ': OK$' sums.log | head -n 1)"
umount snap
umount vol
detach /dev/nbd1
detach /dev/nbd0
stop_server

say "and the kernel reads the store so"
# 64K, the default, is 128 sectors.
kernel_agrees a.img vol.d/snap.cow 128 before.img
kernel_agrees b.img vol.d/snap.cow 128 before.img
