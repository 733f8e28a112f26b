# A merge that we have begun is finished by the kernel, and the other way.
# SPDX-License-Identifier: BSD-3-Clause
#
# The leg is a device of which one chunk cannot be written for a while: there the
# merge stops, be it ours or the kernel's, with the chunks behind it in the
# store moved and those before it not.  Whoever goes on, when the chunk can be
# written again, must make the leg what the snapshot was.

. /tests/lib.sh

cd "$WORK"
size=$((1024 * 1024))
chunk=8 # sectors
chunks=40
middle=17 # the chunk that cannot be written, in the order of the store

# place_of I: the chunk of the volume that is copied as number I.  No two are
# neighbours, so that each is moved by itself.
place_of ()
{
  echo $((($1 * 7 % chunks) * 6 + 2))
}

# leg_table [error]: the leg, whole or with a chunk that is an error.
leg_table ()
{
  local first

  first=$(($(place_of $middle) * chunk))
  if [ -z "${1:-}" ]; then
    echo "0 $((size / 512)) linear $loop 0"
  else
    echo "0 $first linear $loop 0"
    echo "$first $chunk error"
    echo "$((first + chunk)) $((size / 512 - first - chunk)) linear $loop" \
         "$((first + chunk))"
  fi
}

set_leg ()
{
  leg_table "$@" > table
  dmsetup load leg table
  dmsetup suspend --nolockfs leg
  dmsetup resume leg
}

# new_volume: with a snapshot, to which and to the volume all is written.
new_volume ()
{
  local i

  rm -rf vol.d
  dd if=/tests/random of=/dev/mapper/leg bs=1M count=1 oflag=direct status=none
  dd if=/dev/mapper/leg of=view.img bs=1M iflag=direct status=none
  start chunk-size=4096 snapshot=snap
  attach /dev/nbd0 ""
  attach /dev/nbd1 snap
  for ((i = 0; i < chunks; i++)); do
    if [ $((i % 5)) -eq 1 ]; then
      put /dev/nbd1 view.img $(($(place_of $i) * 4096 + 512)) 1024
    else
      put /dev/nbd0 vol.model $(($(place_of $i) * 4096)) 1536
    fi
  done
  detach /dev/nbd1
  detach /dev/nbd0
}

start ()
{
  serve /dev/mapper/leg meta=vol.d control="$WORK/control" "$@"
}

# left_in_store: how many exceptions there are.
left_in_store ()
{
  dmnbd cow dump vol.d/snap.cow --origin-size $size > dump
  grep -c '^[0-9]' dump || true
}

stopped_in_the_middle ()
{
  [ "$(left_in_store)" -eq $((middle + 1)) ]
}

leg_is_snapshot ()
{
  dd if=/dev/mapper/leg of=leg.img bs=1M iflag=direct status=none
  same leg.img view.img "$1"
}

truncate -s $size a.img
loop=$(losetup -f --show a.img)
leg_table > table
dmsetup create leg table

say "begun by us"
new_volume
[ "$(left_in_store)" -eq $chunks ] || fail "$(left_in_store) chunks in the store"
set_leg error
dmnbd -s control snapshot rollback snap > rollback.log 2>&1 ||
  fail "dmnbd does not roll back: $(cat rollback.log)"
until_true "our merge comes to the chunk" stopped_in_the_middle
dump "" whole.img
same whole.img view.img "the volume while our merge cannot go on"
kill_server
set_leg
plant flip-ours flip_byte vol.d/snap.cow $((2 * 4096 + 600))
cow=$(losetup -f --show vol.d/snap.cow)
kernel_merges /dev/mapper/leg "$cow" $chunk
losetup -d "$cow"
leg_is_snapshot "begun by us, finished by the kernel"
# And we find that there is nothing left to do.
start
attach /dev/nbd0 ""
dmnbd -s control wait idle --timeout 120 > wait.log
same /dev/nbd0 view.img "the volume, when the kernel has finished"
put /dev/nbd0 view.img 8192 4096
detach /dev/nbd0
stop_server
leg_is_snapshot "when the kernel has finished, and we went on"
[ ! -e vol.d/snap.cow ] || fail "the store is there still"

say "begun by the kernel"
new_volume
stop_server
set_leg error
cow=$(losetup -f --show vol.d/snap.cow)
kernel_merges /dev/mapper/leg "$cow" $chunk
losetup -d "$cow"
stopped_in_the_middle || fail "the kernel's merge has left $(left_in_store)"
set_leg
plant flip-kernels flip_byte vol.d/snap.cow $((2 * 4096 + 600))
start
dump snap snap.img
same snap.img view.img "the snapshot that the kernel has merged a part of"
attach /dev/nbd0 ""
dmnbd -s control snapshot rollback snap > rollback.log 2>&1 ||
  fail "dmnbd does not roll back: $(cat rollback.log)"
same /dev/nbd0 view.img "the volume, as soon as we roll back"
dmnbd -s control wait idle --timeout 120 > wait.log
detach /dev/nbd0
stop_server
leg_is_snapshot "begun by the kernel, finished by us"
