# Stores that the kernel left full, or invalid, or with other chunks than asked.
# SPDX-License-Identifier: BSD-3-Clause
#
# A snapshot of ours gets a store that the kernel has made, small enough to
# run full.  What the kernel calls Overflow is a good snapshot still, for us
# as for it; the next chunk breaks it, and then the kernel says Invalid, too.
# What the kernel calls Invalid, we never show.  And the chunks are those of
# the store, whatever is asked: but if the manifest says otherwise, then it is
# not the store of this snapshot.

. /tests/lib.sh

cd "$WORK"
kib=1024
size=$((1024 * kib))

# new_volume: of one leg, with a snapshot with chunks of 4 KiB, whose store is
# replaced by 12 chunks of nothing.
new_volume ()
{
  rm -rf vol.d a.img
  head -c $size /tests/random > a.img
  cp a.img view.img
  cp a.img vol.model
  serve a.img meta=vol.d chunk-size=4096 snapshot=snap
  stop_server
  truncate -s 0 vol.d/snap.cow
  truncate -s $((12 * 4 * kib)) vol.d/snap.cow
}

# refuses WHAT WORDS ARGUMENT...: the server must not start, and say WORDS.
refuses ()
{
  local what=$1 words=$2

  shift 2
  say "nbdkit dm $*, which must not start"
  if nbdkit -f -U "$socket" dm "$@" 2> refusal; then
    fail "$what: nbdkit has started"
  fi
  cat refusal
  grep "$words" refusal >/dev/null || fail "$what: refused, but why?"
}

# fill_snapshot: write to the kernel's snapshot until it is full.
fill_snapshot ()
{
  local i

  for ((i = 0; i < 16; i++)); do
    # The room is for ten.
    if ! dd if=/tests/random of=/dev/mapper/snap bs=4k count=1 \
            seek=$((3 * i)) skip=$((i + 7)) oflag=direct status=none \
            2>/dev/null; then
      break
    fi
    dd if=/tests/random of=view.img bs=4k count=1 seek=$((3 * i)) \
       skip=$((i + 7)) conv=notrunc status=none
  done
  [ $i -lt 16 ] || fail "the kernel's store never ran full"
  say "kernel: full after $i chunks"
}

say "Overflow"
new_volume
kernel_takes a.img vol.d/snap.cow 8 PO
fill_snapshot
kernel_asks snap
[ "$kernel_status" = Overflow ] || fail "kernel: $kernel_status, not Overflow"
same /dev/mapper/snap view.img "the kernel's view of what is full"
kernel_gives_back
plant flip-overflow flip_byte vol.d/snap.cow $((3 * 4096))
serve a.img meta=vol.d chunk-size=65536 snapshot=snap
dump snap snap.dump
same snap.dump view.img "our view of what is full"
attach /dev/nbd0 ""
# One that it has; then one more.
put /dev/nbd0 vol.model 0 4096
dump snap snap.dump
same snap.dump view.img "our view, after a write to what it has"
put /dev/nbd0 vol.model 4096 512
if dump snap snap.dump 2>/dev/null; then
  fail "a snapshot that is broken was shown"
fi
grep '"state": *"invalid"' vol.d/volume.json >/dev/null ||
  fail "the manifest does not say that the snapshot is invalid"
detach /dev/nbd0
stop_server
same a.img vol.model "the volume beside a snapshot that was broken"
kernel_open a.img vol.d/snap.cow 8
kernel_asks view
[ "$kernel_status" = Invalid ] ||
  fail "the kernel says $kernel_status of what we have broken, not Invalid"
kernel_close

say "Invalid"
new_volume
kernel_takes a.img vol.d/snap.cow 8
for ((i = 0; i < 12; i++)); do
  put /dev/mapper/origin vol.model $((i * 16384)) 512
done
kernel_asks snap
[ "$kernel_status" = Invalid ] || fail "kernel: $kernel_status, not Invalid"
kernel_gives_back
serve a.img meta=vol.d snapshot=snap
if dump snap snap.dump 2>/dev/null; then
  fail "a snapshot that the kernel has called invalid was shown"
fi
dump "" vol.dump
same vol.dump vol.model "the volume beside an invalid snapshot"
attach /dev/nbd0 ""
put /dev/nbd0 vol.model 512 512
dump "" vol.dump
same vol.dump vol.model "the volume beside an invalid snapshot, written"
detach /dev/nbd0
stop_server

say "Other chunks"
new_volume
truncate -s 2M vol.d/snap.cow
# The kernel takes the chunks of the store for those that are asked.
kernel_takes a.img vol.d/snap.cow 8
put /dev/mapper/origin vol.model 8192 4096
kernel_gives_back
kernel_agrees a.img vol.d/snap.cow 128 view.img
[ "$kernel_chunk" = 8 ] || fail "the kernel's chunks are $kernel_chunk, not 8"
serve a.img meta=vol.d chunk-size=65536 snapshot=snap
dump snap snap.dump
same snap.dump view.img "our view, when other chunks are asked"
stop_server
# And here the store is of other chunks than the snapshot.
truncate -s 0 vol.d/snap.cow
truncate -s 4M vol.d/snap.cow
kernel_takes a.img vol.d/snap.cow 32
put /dev/mapper/origin vol.model 65536 4096
kernel_gives_back
cp vol.d/snap.cow before.cow
cp vol.d/volume.json before.json
cp a.img before.img
refuses "a store of other chunks" "says chunks of 16384 bytes" \
        a.img meta=vol.d snapshot=snap
same vol.d/snap.cow before.cow "the store that was refused"
same vol.d/volume.json before.json "the manifest of what was refused"
same a.img before.img "the leg of what was refused"
