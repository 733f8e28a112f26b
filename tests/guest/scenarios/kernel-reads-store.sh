# The kernel's dm-snapshot reads our store: same view, same accounting.
# SPDX-License-Identifier: BSD-3-Clause
#
# Writes go to known places of the volume and of the snapshot, past the page
# cache; files that get the same writes are the model of both, and the chunks
# touched are counted.  After each stage the server stops, and the kernel
# opens leg and store: its view must be the snapshot, and its status line must
# show as many chunks as were touched, where the format puts them.
#
# With 4 KiB chunks an area holds 256 exceptions.  The first stage, which is
# for them, makes exactly so many (a full area, then an empty one); the second
# goes past two areas.  The volume's last chunk is cut short, for both chunk
# sizes.

. /tests/lib.sh

mib=$((1024 * 1024))
# The volume: 8 MiB and 10 KiB.
size=$((8 * mib + 10 * 1024))

# touch_chunks OFFSET LENGTH: these bytes were written.
touch_chunks ()
{
  local c

  for ((c = $1 / chunk; c <= ($1 + $2 - 1) / chunk; c++)); do
    touched[c]=1
  done
}

# write DEVICE MODEL OFFSET LENGTH: put, and count the chunks.
write ()
{
  put "$@"
  touch_chunks "$3" "$4"
}

open_both ()
{
  serve a.img b.img meta=vol.d chunk-size="$chunk" snapshot=snap
  attach /dev/nbd0 ""
  attach /dev/nbd1 snap
}

# check STAGE [COUNTED]: everything agrees; the count too, if it can be known.
check ()
{
  local expected

  until_true "the legs are in sync" in_sync vol.d
  dd if=/dev/nbd0 of=vol.dump bs=64k iflag=direct status=none
  detach /dev/nbd1
  detach /dev/nbd0
  dump snap snap.dump
  stop_server
  same vol.model vol.dump "$1: the volume"
  same snap.model snap.dump "$1: the snapshot"
  same a.img b.img "$1: the legs"

  plant flip-cow flip_byte vol.d/snap.cow $((2 * chunk + 100))
  plant flip-origin flip_byte a.img $((size - 1))
  kernel_agrees a.img vol.d/snap.cow $((chunk / 512)) snap.dump
  [ "$kernel_chunk" -eq $((chunk / 512)) ] ||
    fail "$1: the store's chunk is $kernel_chunk sectors"
  if [ "${2:-}" = counted ]; then
    plant lose-count unset 'touched[0]'
    expected=$(store_status ${#touched[@]} $((chunk / 512)) vol.d/snap.cow)
    [ "$kernel_status" = "$expected" ] ||
      fail "$1: the kernel's status is $kernel_status, not $expected" \
           "for ${#touched[@]} exceptions"
  fi
}

for chunk in 4096 65536; do
  say "chunks of $chunk bytes"
  touched=()
  mkdir "$WORK/$chunk"
  cd "$WORK/$chunk"
  cp /tests/random a.img
  truncate -s $size a.img
  cp a.img b.img
  cp a.img vol.model
  cp a.img snap.model

  open_both
  [ "$(blockdev --getsize64 /dev/nbd0)" -eq $size ] ||
    fail "/dev/nbd0 has $(blockdev --getsize64 /dev/nbd0) bytes"
  write /dev/nbd0 vol.model 0 $mib
  if [ $chunk -eq 4096 ]; then
    check "1 MiB written to the volume" counted
    open_both
  fi
  # Single sectors and odd runs over the whole volume, its end included.
  for ((i = 0; i < 25; i++)); do
    write /dev/nbd0 vol.model $((2 * mib + i * 112128)) $((512 * (1 + i % 11)))
  done
  write /dev/nbd0 vol.model $((size - 512)) 512
  write /dev/nbd0 vol.model $((size - 4096)) 2048
  # Chunks that are in the store already.
  write /dev/nbd0 vol.model 4608 20480
  # The snapshot: a whole new chunk, part of one, one of the store's, the end.
  write /dev/nbd1 snap.model $((5 * mib)) 65536
  write /dev/nbd1 snap.model $((5 * mib + mib / 2 + 1536)) 1024
  write /dev/nbd1 snap.model 512 512
  write /dev/nbd1 snap.model $((size - 1024)) 512
  # A volume write under a chunk that the snapshot wrote alone.
  write /dev/nbd0 vol.model $((5 * mib)) 4096
  # Enough to fill the second area of 4 KiB chunks, and begin a third.
  write /dev/nbd0 vol.model $((6 * mib)) $mib
  check "both written" counted

  open_both
  # What a trim leaves on the volume is its own affair, and how many chunks
  # it touches too; the snapshot must not change.
  blkdiscard -o $((3 * mib)) -l $mib /dev/nbd0
  dd if=/dev/nbd0 of=trimmed bs=1M skip=3 count=1 iflag=direct status=none
  dd if=trimmed of=vol.model bs=1M seek=3 conv=notrunc status=none
  write /dev/nbd0 vol.model $((3 * mib + 8192)) 4096
  blkdiscard -z -o $((7 * mib + mib / 2)) -l 65536 /dev/nbd1
  dd if=/dev/zero of=snap.model bs=64k seek=120 count=1 conv=notrunc \
     status=none
  check "trimmed and zeroed"
  cd "$WORK"
  rm -r "${chunk:?}"
done
