# Our server goes on with a store that the kernel has gone on with.
# SPDX-License-Identifier: BSD-3-Clause
#
# A volume of one leg gets a snapshot and some writes.  Then the kernel takes
# over leg and store, as snapshot-origin and snapshot, and writes to both,
# past the end of the first metadata area.  Then it is ours again, and the
# kernel's once more, to read.

. /tests/lib.sh

cd "$WORK"
mib=$((1024 * 1024))

# ours: the server has leg and store; both exports are attached.
ours ()
{
  serve a.img meta=vol.d chunk-size=4096 snapshot=snap
  attach /dev/nbd0 ""
  attach /dev/nbd1 snap
}

# agree STAGE: the exports are what the models say.
agree ()
{
  same /dev/nbd0 vol.model "$1: the volume"
  same /dev/nbd1 snap.model "$1: the snapshot"
}

cp /tests/random a.img
cp a.img vol.model
cp a.img snap.model

ours
put /dev/nbd0 vol.model 8192 12288
put /dev/nbd1 snap.model $((3 * mib + 512)) 1024
agree "first ours"
detach /dev/nbd1
detach /dev/nbd0
stop_server

kernel_takes a.img vol.d/snap.cow 8
put /dev/mapper/origin vol.model 0 16384
put /dev/mapper/origin vol.model $((2 * mib + 2048)) $mib
put /dev/mapper/origin vol.model $((8 * mib - 512)) 512
put /dev/mapper/snap snap.model $((3 * mib)) 8192
put /dev/mapper/snap snap.model $((5 * mib)) 512
same /dev/mapper/origin vol.model "the kernel's origin"
same /dev/mapper/snap snap.model "the kernel's snapshot"
kernel_asks snap
kernel_gives_back

# Chunk 258 is the second area; the chunk after it has the first data there.
plant flip-cow flip_byte vol.d/snap.cow $((259 * 4096 + 100))

say "and we again"
ours
agree "again ours"
put /dev/nbd0 vol.model $((6 * mib)) 40960
put /dev/nbd1 snap.model $((5 * mib)) 1536
agree "at last"
detach /dev/nbd1
detach /dev/nbd0
stop_server
kernel_agrees a.img vol.d/snap.cow 8 snap.model
