#!/usr/bin/env bash
# A kernel's table of a snapshot: its device, the kernel's stores, a full one.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# Such a table has no control socket.
WATCH=
need nbdinfo gzip

io=$(helper nbd-io)
golden=$abs_top_srcdir/tests/golden
cd "$TMP"
gzip -dc "$golden/g1_origin.bin.gz" >g1_origin
gzip -dc "$golden/g1_snapview.bin.gz" >g1_view
cp "$golden/g1_cow.bin" "$golden"/g3_cow*.bin .
chmod u+w ./*.bin

# is_described SERVER TEXT: what is said of the export ends so.
is_described ()
{
  nbdinfo --json "$(uri "$1")" >info.log
  grep -qF "$2\"" info.log || fail "not described as '$2': $(<info.log)"
}

# What the kernel has written: the header's chunk counts, the status is the
# kernel's own, and so is every byte.
cp g1_origin origin.kept
cp g1_cow.bin cow.kept
start_nbdkit golden "$DM_PLUGIN" \
  table="0 4093 snapshot g1_origin g1_cow.bin P 16"
said golden 'chunks of 8 sectors.* not the 16'
is_described golden '0 4093 snapshot g1_origin g1_cow.bin P 8: 56/400 16'
"$io" "$(uri golden)" 'match g1_view' 'expect EINVAL read 2095616 512 any'
stop_nbdkit golden
same g1_cow.bin cow.kept

# Read-only, of the server and of the store.
start_nbdkit ro -r "$DM_PLUGIN" table="0 4093 snapshot g1_origin g1_cow.bin p 0"
"$io" "$(uri ro)" 'match g1_view' 'expect EPERM,EROFS write 0 512 1'
stop_nbdkit ro
same g1_cow.bin cow.kept

# Written to: over what is in the store, beside it, across both, in parts of
# sectors, to the last sector.  The origin is as it was, also after a kill.
start_nbdkit golden "$DM_PLUGIN" \
  table="0 4093 snapshot g1_origin g1_cow.bin PO 8"
"$io" "$(uri golden)" 'write 0 8192 1' 'write 50001 3333 2' \
  'write 2095104 512 3' 'zero 163840 4096' 'read 0 8192 1' flush
kill_nbdkit golden
same g1_origin origin.kept
start_nbdkit golden "$DM_PLUGIN" \
  table="0 4093 snapshot g1_origin g1_cow.bin P 8"
"$io" "$(uri golden)" 'read 0 8192 1' 'read 50001 3333 2' \
  'read 2095104 512 3' 'read 163840 4096 0x00' 'write 40960 4096 4'
# The five that it had, one of the first write, two of the second.
is_described golden '0 4093 snapshot g1_origin g1_cow.bin P 8: 80/400 16'
stop_nbdkit golden

# A length that ends inside a chunk, of a larger origin: the whole chunk is
# copied, so that a longer table finds all of it.
fill o.img 1M 5
truncate -s 2M new.cow
start_nbdkit new "$DM_PLUGIN" table="0 65 snapshot o.img new.cow P 64"
"$io" "$(uri new)" 'write 32768 512 6' 'expect ENOSPC write 33280 512 6'
stop_nbdkit new
start_nbdkit new "$DM_PLUGIN" table="0 2048 snapshot o.img new.cow P 0"
is_described new '0 2048 snapshot o.img new.cow P 64: 192/4096 128'
"$io" "$(uri new)" 'read 0 32768 5' 'read 32768 512 6' 'read 33280 1015296 5'
stop_nbdkit new

# Not remembered: N begins anew, whatever the device holds.
fill trash.img 256K 9
for pass in 1 2; do
  start_nbdkit "n$pass" "$DM_PLUGIN" table="0 2048 snapshot o.img trash.img Nx 0"
  is_described "n$pass" '0 2048 snapshot o.img trash.img N 32: 0/512 0'
  "$io" "$(uri "n$pass")" 'read 0 1M 5' "write 16384 20000 $pass" \
    "read 16384 20000 $pass" 'read 0 16384 5'
  is_described "n$pass" '0 2048 snapshot o.img trash.img N 32: 64/512 0'
  stop_nbdkit "n$pass"
done

# Full: the write is refused, all else goes on.  Only PO calls that an overflow.
truncate -s 64K full.cow
start_nbdkit full "$DM_PLUGIN" table="0 2048 snapshot o.img full.cow po 8"
"$io" "$(uri full)" 'write 0 56K 7'
"$io" "$(uri full)" 'expect ENOSPC write 64K 4K 7' 'read 0 56K 7' \
  'write 4K 4K 8' 'read 64K 4K 5'
is_described full '0 2048 snapshot o.img full.cow PO 8: Overflow'
stop_nbdkit full
start_nbdkit full "$DM_PLUGIN" table="0 2048 snapshot o.img full.cow P 8"
"$io" "$(uri full)" 'read 4K 4K 8' 'read 8K 48K 7' 'expect ENOSPC write 64K 1 7'
is_described full '0 2048 snapshot o.img full.cow P 8: 128/128 16'
stop_nbdkit full

# The kernel's Overflow is a store in good order; its Invalid is nobody's.
truncate -s 64M large.img
start_nbdkit ovf "$DM_PLUGIN" table="0 131072 snapshot large.img g3_cow_ovf.bin PO 32"
"$io" "$(uri ovf)" 'read 0 4K any'
stop_nbdkit ovf
cp g3_cow_inv.bin cow.kept
start_nbdkit inv "$DM_PLUGIN" table="0 131072 snapshot large.img g3_cow_inv.bin P 32"
said inv 'g3_cow_inv.bin is marked invalid'
if "$io" "$(uri inv)" 'read 0 512 any' >out.log 2>&1; then
  fail "an invalid snapshot was read"
fi
said inv 'the snapshot is invalid'
stop_nbdkit inv
same g3_cow_inv.bin cow.kept
