#!/usr/bin/env bash
# A kernel's table of an origin and its snapshots: each stays as it was.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# Such a table has no control socket.
WATCH=
need nbdinfo

io=$(helper nbd-io)
cd "$TMP"
fill o.img 4M 1
cp o.img kept.img
truncate -s 8M a.cow b.cow
truncate -s 6M n.cow
truncate -s 64K small.cow

# is_described EXPORT TEXT: what is said of the export ends so.
is_described ()
{
  nbdinfo --json "$(uri vol "$1")" >info.log
  grep -qF "$2\"" info.log || fail "not described as '$2': $(<info.log)"
}

# As "dmsetup table" prints them: a chunk of 4K, one of 64K, one that is not
# remembered, a small store, and one that shows half of the origin.
table='vol: 0 8192 snapshot-origin o.img
a: 0 8192 snapshot o.img a.cow P 8
b: 0 4096 snapshot o.img b.cow PO 128
n: 0 8192 snapshot o.img n.cow N 8
small: 0 8192 snapshot o.img small.cow P 8'
start_nbdkit vol "$DM_PLUGIN" table="$table"
nbdinfo --list "$(uri vol)" >list.log
for name in '' vol a b n small; do
  grep -qF "export=\"$name\"" list.log || fail "'$name' is not listed"
done
is_described '' '0 8192 snapshot-origin o.img'
is_described vol '0 8192 snapshot-origin o.img'
is_described b '0 4096 snapshot o.img b.cow PO 128: 256/16384 256'
"$io" "$(uri vol)" 'match kept.img' 'write 0 4096 2' 'write 12345 50001 3' \
  'zero 1M 10000' 'trim 3M 64K' flush 'read 12345 50001 3'
"$io" "$(uri vol vol)" 'read 0 4096 2' 'write 4194303 1 4' flush
for name in a n; do
  "$io" "$(uri vol $name)" 'match kept.img'
done
"$io" "$(uri vol b)" 'read 0 2M 1' size
# The small one is lost, which the others do not notice; and its header says so.
if "$io" "$(uri vol small)" 'read 0 512 any' >out.log 2>&1; then
  fail "a snapshot was read that could not hold what it lacks"
fi
said vol 'small.cow: the COW store is full; the snapshot is invalid'
test "$(od -An -tu4 -j4 -N4 small.cow | tr -d ' ')" = 0 ||
  fail "the small store does not say that it is invalid"
# A snapshot can be written: nobody else sees that.
"$io" "$(uri vol a)" 'write 8192 9000 5' 'zero 2M 4096' 'read 8192 9000 5' \
  flush
"$io" "$(uri vol)" 'read 17192 100 any' 'write 2M 64K 6' flush
"$io" "$(uri vol n)" 'match kept.img'

# One server at a time; an origin that is served can't be another's.
refused "$DM_PLUGIN" table='0 8192 snapshot o.img other.cow P 8'
grep -q 'in use by another process' refused.log ||
  fail "not because it is in use: $(<refused.log)"
kill_nbdkit vol

# What was there is there, also after a kill; the table may be another one.
cp o.img after.img
start_nbdkit vol "$DM_PLUGIN" \
  table='0 8192 snapshot-origin o.img;a: 0 8192 snapshot o.img a.cow p 0;b: 0 8192 snapshot o.img b.cow p 0;small: 0 8192 snapshot o.img small.cow P 8'
said vol 'small.cow is marked invalid'
"$io" "$(uri vol)" 'match after.img' 'read 2M 64K 6'
"$io" "$(uri vol a)" 'read 0 8192 1' 'read 8192 9000 5' \
  'read 17192 2079960 1' 'read 2M 4096 0x00' 'read 2101248 2093056 1'
"$io" "$(uri vol b)" 'read 0 2M 1'
"$io" "$(uri vol)" 'write 0 4M 7' flush
"$io" "$(uri vol a)" 'read 0 8192 1' 'read 8192 9000 5' \
  'read 17192 2079960 1' 'read 2M 4096 0x00' 'read 2101248 2093056 1'
"$io" "$(uri vol b)" 'read 0 2M 1'
stop_nbdkit vol
fill seven.img 4M 7
same o.img seven.img

# Without the origin in the table it is not written, nor are there two defaults.
start_nbdkit vol "$DM_PLUGIN" \
  table='a: 0 8192 snapshot o.img a.cow P 0;b: 0 8192 snapshot o.img b.cow P 0'
"$io" "$(uri vol a)" 'read 0 8192 1' 'write 0 4096 8'
"$io" "$(uri vol b)" 'read 0 2M 1'
if "$io" "$(uri vol)" 'read 0 512 any' >out.log 2>&1; then
  fail "there is a default export, of two that could be"
fi
stop_nbdkit vol
same o.img seven.img
