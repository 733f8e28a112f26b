# The server is killed under a mounted file system, and started again.
# SPDX-License-Identifier: BSD-3-Clause
#
# Files are written, synced and put on a list, and a load does all else that can
# be done to files.  The server is killed in the middle of it, several times,
# and started again: the kernel holds the requests meanwhile, gets a new
# connection, and sends them again (dmnbd attach).  Nobody above may meet an
# error: what was synced is there, the file system has no error, and the kernel
# has seen none.

. /tests/lib.sh

cd "$WORK"
mkdir vol
dmesg -c > /dev/null
kills=2
[ "$DM_STRESS" != long ] || kills=50
[ -z "$FAULT" ] || kills=1

# writer N: a file, synced, then its name on the list, for ever.
writer ()
{
  local i

  for ((i = 0; ; i++)); do
    dd if=/tests/random of="vol/$1.$i" bs=4k count=$((1 + i % 9)) \
       skip=$((i * 7 % 1900)) conv=fsync status=none || return 1
    echo "$i" >> "synced.$1"
  done
}

# has_synced COUNT: each writer has done more files than that.
has_synced ()
{
  local n count

  for n in 1 2; do
    kill -0 "${writers[$((n - 1))]}" || fail "a writer met an error"
    count=$(wc -l < "synced.$n")
    [ "$count" -gt "$1" ] || return 1
  done
}

start ()
{
  serve a.img b.img meta=vol.d region-size=64K control="$WORK/control" "$@"
}

truncate -s 32M a.img b.img
start sync=none
# More seconds than the machine can be slow.
dmnbd attach /dev/nbd0 "$(uri)" --hold 300 --timeout 5
attached+=(/dev/nbd0)
until_true "/dev/nbd0 has a size" has_size /dev/nbd0
mkfs.ext4 -q -F /dev/nbd0
mount -t ext4 /dev/nbd0 vol
mkdir vol/load
writers=()
for n in 1 2; do
  : > "synced.$n"
  writer $n &
  writers+=($!)
done
fs-load vol/load 1 progress &
load=$!

done_before=0
for ((k = 1; k <= kills; k++)); do
  until_true "the writers go on" has_synced $((done_before + 3))
  kill_server
  say "killed"
  done_before=$(sort -n synced.1 synced.2 | tail -n 1)
  start
done
until_true "the writers go on" has_synced $((done_before + 3))

kill "${writers[@]}" "$load"
for pid in "${writers[@]}"; do
  wait "$pid" || true
done
wait "$load" || fail "the load met an error"
umount vol
fsck_clean /dev/nbd0
mount -t ext4 /dev/nbd0 vol
plant forget-a-file cp vol/1.1 vol/1.0
for n in 1 2; do
  say "writer $n: $(wc -l < synced.$n) files"
  while read -r i; do
    cmp -i $((i * 7 % 1900 * 4096)):0 -n $(((1 + i % 9) * 4096)) \
        /tests/random "vol/$n.$i" > difference 2>&1 ||
      fail "what was synced: $(cat difference)"
  done < "synced.$n"
done
! dmnbd detach /dev/nbd0 2> busy || fail "a mounted device was detached"
grep -q 'unmount it first' busy || fail "detach: $(cat busy)"
umount vol
dmnbd -s control wait sync --timeout 120 > wait.log
dmnbd detach /dev/nbd0
until_true "/dev/nbd0 is free" is_free /dev/nbd0
attached=()
stop_server
same a.img b.img "the legs"
if dmesg | grep -E 'I/O error|EXT4-fs (error|warning)' > errors; then
  fail "the kernel met $(head -n 1 errors)"
fi
