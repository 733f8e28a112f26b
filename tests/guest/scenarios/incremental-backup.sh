# A backup of a disk in use, kept up to date by what has changed.
# SPDX-License-Identifier: BSD-3-Clause
#
# An ext4 on a mirror.  Of a first snapshot all is copied to a file; of a second,
# taken while files change, only what is different.  The file must then be the
# second snapshot, whose file system has no error, and no more must have been
# read for it than the chunks that changed.  With DM_STRESS=long the file
# system has 1 GiB.

. /tests/lib.sh

cd "$WORK"
mib=128
[ "$DM_STRESS" != long ] || mib=1024
size=$((mib * 1024 * 1024))

steer ()
{
  dmnbd -s control "$@" || fail "dmnbd $* failed"
}

# chunks_of NAME: how many chunks the store of a snapshot has.
chunks_of ()
{
  steer snapshot list --json > list.json
  tr -d ' \n' < list.json | sed 's/},{/}\n{/g' |
    sed -n "s/.*\"name\":\"$1\".*\"chunks\":\([0-9]*\).*/\1/p"
}

# read_sectors DEVICE: how many the kernel has read from it.
read_sectors ()
{
  local rest sectors

  read -r rest rest sectors rest < "/sys/block/${1##*/}/stat"
  echo "$sectors"
}

mkdir vol
truncate -s $size a.img b.img
serve a.img b.img meta=vol.d sync=none chunk-size=64K control="$WORK/control"
attach /dev/nbd0 ""
mkfs.ext4 -q -F /dev/nbd0
mount -t ext4 /dev/nbd0 vol
cp -r /usr/bin/{bash,nbdkit,e2fsck,mkfs.ext4} /tests/scenarios vol
dd if=/tests/random of=vol/random bs=64k count=100 status=none
sync

say "a full backup of $mib MiB"
steer snapshot create mon
dd if=/tests/random of=vol/random bs=4k skip=1000 seek=50 count=300 \
   conv=notrunc status=none
dump mon backup.img
fsck_clean backup.img

say "a day later"
cp /usr/bin/{nbdcopy,kmod} vol
rm -r vol/scenarios vol/e2fsck
mv vol/bash vol/moved
echo "grown" >> vol/nbdkit
sync
steer snapshot create tue
dd if=/tests/random of=vol/random bs=64k skip=7 count=50 conv=notrunc,fsync \
   status=none

say "what is different"
plant old-backup flip_byte backup.img $((size - 1))
attach /dev/nbd1 tue
before=$(read_sectors /dev/nbd1)
steer diff mon tue > changed
while read -r offset length; do
  dd if=/dev/nbd1 of=backup.img bs=64K skip="$offset" count="$length" \
     seek="$offset" iflag=direct,skip_bytes,count_bytes oflag=seek_bytes \
     conv=notrunc status=none
done < changed
moved=$((($(read_sectors /dev/nbd1) - before) * 512))
detach /dev/nbd1
dump tue tue.img
same backup.img tue.img "the backup by what is different"
fsck_clean backup.img
chunks=$(chunks_of mon)
say "$chunks chunks have changed, $moved bytes were read"
[ "$chunks" -gt 0 ] || fail "no chunk has changed"
[ "$moved" -eq $((chunks * 65536)) ] ||
  fail "$moved bytes were read for $chunks chunks of 64 KiB"

umount vol
detach /dev/nbd0
stop_server
same a.img b.img "the legs"
