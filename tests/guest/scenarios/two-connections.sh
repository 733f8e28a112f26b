# The kernel's client on two connections at once.
# SPDX-License-Identifier: BSD-3-Clause
#
# Four writers side by side, past the page cache, over two connections; what
# each wrote is read back and compared, then all of it from the legs.  Then a
# file system does its own flushes over both.
#
# The kernel uses no more connections than it has CPUs.
# CPUs: 2

. /tests/lib.sh

cd "$WORK"
mkdir vol
truncate -s 16M a.img b.img
pool=/tests/random

# Both connections have a kernel thread that receives.
both_receive ()
{
  local file comm count try

  for ((try = 0; try < 40; try++)); do
    count=0
    for file in /proc/[0-9]*/comm; do
      # A process may have gone.
      read -r comm 2>/dev/null < "$file" || continue
      case $comm in
        *+nbd0-recv) count=$((count + 1)) ;;
      esac
    done
    if [ $count -eq 2 ]; then
      return 0
    fi
    sleep 0.05
  done
  return 1
}

# attach_two: attach the volume over two connections.  If the kernel is slow
# to make the threads that receive, as on a busy machine, its rescue thread
# takes both receivers, and runs the second when the first has ended: never.
# What the second connection answers is then not seen, and requests time out.
# The next time the threads are there.
attach_two ()
{
  local try

  for ((try = 0; try < 10; try++)); do
    attach /dev/nbd0 "" -C 2
    if both_receive; then
      return 0
    fi
    say "the kernel receives on one connection only; once more"
    let_go /dev/nbd0
  done
  fail "the kernel never received on both connections"
}

serve a.img b.img meta=vol.d snapshot=snap
attach_two
set -- /sys/block/nbd0/mq/*
[ $# -eq 2 ] || fail "the kernel uses $# connections, not 2"

# writer N: every fourth 256 KiB of the first 8 MiB, in small pieces.
writer ()
{
  local i

  for ((i = $1; i < 32; i += 4)); do
    dd if=$pool of=/dev/nbd0 bs=16k skip=$((i * 7)) seek=$((i * 16)) \
       count=16 oflag=direct conv=notrunc status=none || return 1
  done
}

writers=()
for n in 0 1 2 3; do
  writer $n &
  writers+=($!)
done
for pid in "${writers[@]}"; do
  wait "$pid" || fail "a writer failed"
done

truncate -s 8M model
for ((i = 0; i < 32; i++)); do
  dd if=$pool of=model bs=16k skip=$((i * 7)) seek=$((i * 16)) count=16 \
     conv=notrunc status=none
done
dd if=/dev/nbd0 of=back bs=1M count=8 iflag=direct status=none
plant flip-model flip_byte model 2345678
same back model "what the writers wrote"
until_true "the legs are in sync" in_sync vol.d
detach /dev/nbd0
dump snap snap.dump
stop_server
same a.img b.img "the legs"
dd if=a.img of=back bs=1M count=8 status=none
same back model "the first leg"
truncate -s 16M zeros
same snap.dump zeros "the snapshot"
rm back model zeros snap.dump

say "a file system on two connections"
serve a.img b.img meta=vol.d
attach_two
mkfs.ext4 -q -F /dev/nbd0
mount -t ext4 /dev/nbd0 vol
writers=()
for n in 0 1 2; do
  (for ((i = 0; i < 6; i++)); do
     dd if=$pool of="vol/$n.$i" bs=4k skip=$((n * 100 + i * 7)) count=40 \
        conv=fsync status=none || exit 1
   done) &
  writers+=($!)
done
for pid in "${writers[@]}"; do
  wait "$pid" || fail "a writer of files failed"
done
umount vol
mount -t ext4 /dev/nbd0 vol
for n in 0 1 2; do
  for ((i = 0; i < 6; i++)); do
    dd if=$pool of=file bs=4k skip=$((n * 100 + i * 7)) count=40 status=none
    same file "vol/$n.$i" "file $n.$i"
  done
done
umount vol
fsck_clean /dev/nbd0
until_true "the legs are in sync" in_sync vol.d
detach /dev/nbd0
stop_server
same a.img b.img "the legs, in the end"
fsck_clean b.img
