# The same lines of a table for us and for the kernel: same views, same status.
# SPDX-License-Identifier: BSD-3-Clause
#
# An origin with two snapshots, of other chunks, is served by our table=, then
# by the kernel, with the same lines but for the devices' names, then by ours
# again.  Both write to the origin and to the snapshots; models get the same
# writes.  In the end we merge one of them, and the kernel finds the origin to
# be what the snapshot was, and the other one as ever.

. /tests/lib.sh

cd "$WORK"
mib=$((1024 * 1024))
sectors=$((4 * 2048 + 5)) # the last chunk is cut short

# our_status FILE: the numbers that we say of both snapshots.
our_status ()
{
  local name

  for name in a b; do
    nbdinfo --json "$(uri $name)" |
      sed -nE 's/.*"description": ".*: ([0-9/ ]+)".*/\1/p'
  done > "$1"
}

# kernel_status_of_both FILE
kernel_status_of_both ()
{
  local name

  for name in a b; do
    dmsetup status $name | sed 's/.* snapshot //'
  done > "$1"
  say "kernel: $(xargs < "$1")"
}

# write_some ORIGIN A B N: to the origin, in many chunks of it, and to both
# snapshots; each N elsewhere.
write_some ()
{
  local origin=$1 a=$2 b=$3 i

  for ((i = 0; i < 12; i++)); do
    put "$origin" o.model $(((i * 331 + $4) % 1000 * 4096 + 512)) 1536
  done
  put "$origin" o.model $((sectors * 512 - 512)) 512
  put "$a" a.model $((2 * mib + $4 * 4096)) 8192
  put "$b" b.model $((3 * mib + $4 * 4096)) 1024
}

ours ()
{
  serve table="vol: 0 $sectors snapshot-origin o.img
a: 0 $sectors snapshot o.img a.cow P 8
b: 0 $sectors snapshot o.img b.cow PO 32"
  attach /dev/nbd0 vol
  attach /dev/nbd1 a
  attach /dev/nbd2 b
}

ours_end ()
{
  detach /dev/nbd2
  detach /dev/nbd1
  detach /dev/nbd0
  our_status ours.status
  dump vol o.dump
  dump a a.dump
  dump b b.dump
  stop_server
  same o.dump o.model "$1: the origin"
  same a.dump a.model "$1: snapshot a"
  same b.dump b.model "$1: snapshot b"
}

head -c $((sectors * 512)) /tests/random > o.img
for model in o a b; do
  cp o.img $model.model
done
truncate -s 3M a.cow b.cow

say "ours"
ours
write_some /dev/nbd0 /dev/nbd1 /dev/nbd2 1
ours_end "ours"
plant flip-cow flip_byte a.cow $((2 * 4096 + 600))

say "the kernel's"
origin=$(losetup -f --show o.img)
a=$(losetup -f --show a.cow)
b=$(losetup -f --show b.cow)
dmsetup create origin --table "0 $sectors snapshot-origin $origin"
dmsetup suspend origin
dmsetup create a --table "0 $sectors snapshot $origin $a P 8"
dmsetup create b --table "0 $sectors snapshot $origin $b PO 32"
dmsetup resume origin
kernel_status_of_both kernel.status
same kernel.status ours.status "the kernel's status and ours"
same /dev/mapper/origin o.model "the kernel's view of the origin"
same /dev/mapper/a a.model "the kernel's view of snapshot a"
same /dev/mapper/b b.model "the kernel's view of snapshot b"
write_some /dev/mapper/origin /dev/mapper/a /dev/mapper/b 2
kernel_status_of_both kernel.status
dmsetup remove a
dmsetup remove b
dmsetup remove origin
losetup -D
plant flip-kernels flip_byte b.cow $((2 * 16384 + 600))

say "ours again"
ours
our_status ours.status
same kernel.status ours.status "our status and the kernel's"
write_some /dev/nbd0 /dev/nbd1 /dev/nbd2 3
ours_end "ours again"

say "merged"
serve table="vol: 0 $sectors snapshot-merge o.img a.cow P 8;b: 0 $sectors snapshot o.img b.cow P 0"
attach /dev/nbd0 ""
merged ()
{
  local status

  status=$(nbdinfo --json "$(uri)" |
           sed -nE 's/.*"description": ".*: ([0-9/ ]+)".*/\1/p')
  [ "${status%%/*}" = "${status##* }" ]
}
until_true "all is merged" merged
put /dev/nbd0 a.model 8192 4096
detach /dev/nbd0
stop_server
same o.img a.model "the origin, merged"
kernel_agrees o.img b.cow 32 b.model "$sectors"
