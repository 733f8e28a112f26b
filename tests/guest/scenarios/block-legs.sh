# A mirror of two real block devices that differ at first.
# SPDX-License-Identifier: BSD-3-Clause
#
# The legs are virtio disks, which the plugin opens past the page cache.  The
# second must become equal to the first; writes, zeroes and trims must reach
# both; a file that gets the same is the model.

. /tests/lib.sh

cd "$WORK"
disk_a=/dev/vda
disk_b=/dev/vdb
mib=$((1024 * 1024))
size=$(blockdev --getsize64 $disk_a)

cp /tests/random model
[ "$(stat -c %s model)" -eq "$size" ] || fail "the disks are not of 8 MiB"
dd if=model of=$disk_a bs=1M oflag=direct conv=fsync status=none
differ $disk_a $disk_b "the legs before"

# compare_leg DISK WHAT: the disk itself, not what is cached of it, is model.
compare_leg ()
{
  dd if="$1" of=leg bs=1M iflag=direct status=none
  same leg model "$2"
  rm leg
}

# put OFFSET LENGTH: random bytes to volume and model.
put ()
{
  # Other bytes than what was there: that is random, too, but not moved.
  local from=$((($1 + 4608) % (4 * mib)))

  dd if=/tests/random of=/dev/nbd0 bs="$2" count=1 seek="$1" skip=$from \
     iflag=skip_bytes oflag=direct,seek_bytes status=none
  dd if=/tests/random of=model bs="$2" count=1 seek="$1" skip=$from \
     iflag=skip_bytes oflag=seek_bytes conv=notrunc status=none
}

serve $disk_a $disk_b meta=vol.d
attach /dev/nbd0 ""
[ "$(blockdev --getsize64 /dev/nbd0)" -eq "$size" ] ||
  fail "the volume is not as large as its legs"
same /dev/nbd0 model "the volume at first is the first leg"
put 4096 $mib
put $((3 * mib + 512)) 512
put $((size - 1536)) 1536
until_true "the legs are in sync" in_sync vol.d
# And now that nothing but the writes themselves brings the legs together:
for ((i = 1; i < 20; i++)); do
  put $((4 * mib + i * 33280)) $((i * 1024))
done
blkdiscard -z -o $((2 * mib)) -l $((mib / 2)) /dev/nbd0
dd if=/dev/zero of=model bs=512k seek=4 count=1 conv=notrunc status=none
blkdiscard -o $((6 * mib)) -l $mib /dev/nbd0
put $((6 * mib + 65536)) 8192
# What was trimmed may read as anything, but the same from everywhere.
dd if=/dev/nbd0 of=model bs=1M skip=6 seek=6 count=1 iflag=direct \
   conv=notrunc status=none
dd if=/dev/nbd0 of=whole bs=1M iflag=direct status=none
same whole model "the volume read back"
rm whole
detach /dev/nbd0
stop_server
plant flip-leg dd if=/tests/random of=$disk_b bs=512 seek=999 count=1 \
      oflag=direct status=none
compare_leg $disk_a "the first leg"
compare_leg $disk_b "the second leg"

say "a snapshot of block devices"
cp model before
serve $disk_a $disk_b meta=vol.d snapshot=snap
attach /dev/nbd0 ""
put 0 512
put $((5 * mib - 512)) $mib
put $((size - 4096)) 4096
blkdiscard -o $((7 * mib)) -l $((mib / 2)) /dev/nbd0
dd if=/dev/nbd0 of=model bs=512k skip=14 seek=14 count=1 iflag=direct \
   conv=notrunc status=none
until_true "the legs are in sync" in_sync vol.d
detach /dev/nbd0
dump snap snap.dump
stop_server
same snap.dump before "the snapshot"
differ before model "the volume after the snapshot"
compare_leg $disk_a "the first leg, after the snapshot"
compare_leg $disk_b "the second leg, after the snapshot"
kernel_agrees $disk_a vol.d/snap.cow 128 before
