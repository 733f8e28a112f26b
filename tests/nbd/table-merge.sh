#!/usr/bin/env bash
# A kernel's table of a merge: the origin becomes the snapshot, others stay.
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
cp "$golden/g1_cow.bin" "$golden/g3_cow_inv.bin" .
chmod u+w ./*.bin

# wait_described SERVER TEXT: what is said of the default export will end so.
wait_described ()
{
  local seconds=$SECONDS

  while nbdinfo --json "$(uri "$1")" >info.log && ! grep -qF "$2\"" info.log
  do
    test $((SECONDS - seconds)) -lt 120 ||
      fail "never described as '$2': $(<info.log)"
  done
}

# A store of the kernel's.  Without a client that may write nothing is merged,
# but all is shown.
cp g1_origin origin.kept
cp g1_cow.bin cow.kept
start_nbdkit golden -r "$DM_PLUGIN" \
  table='0 4093 snapshot-merge g1_origin g1_cow.bin P 8'
"$io" "$(uri golden)" 'match g1_view'
wait_described golden '0 4093 snapshot-merge g1_origin g1_cow.bin P 8: 56/400 16'
stop_nbdkit golden
same g1_origin origin.kept
same g1_cow.bin cow.kept
start_nbdkit golden "$DM_PLUGIN" \
  table='0 4093 snapshot-merge g1_origin g1_cow.bin P 8'
"$io" "$(uri golden)" 'match g1_view'
wait_described golden '0 4093 snapshot-merge g1_origin g1_cow.bin P 8: 16/400 16'
"$io" "$(uri golden)" 'match g1_view' 'write 2095104 512 3' flush
stop_nbdkit golden
cmp -n 2095104 g1_origin g1_view >&2 || fail "the origin is not the snapshot"
# An empty store in good order: the kernel's header, and no record.
start_nbdkit golden "$DM_PLUGIN" table='0 4093 snapshot origin.kept g1_cow.bin P 8'
wait_described golden 'P 8: 16/400 16'
stop_nbdkit golden

# A merge that is killed on its way, again and again, with another snapshot of
# the same origin, and clients who write meanwhile.
fill o.img 16M 1
truncate -s 20M m.cow s.cow
start_nbdkit vol "$DM_PLUGIN" \
  table='0 32768 snapshot-origin o.img;m: 0 32768 snapshot o.img m.cow P 8'
"$io" "$(uri vol)" 'write 0 12M 2' flush
"$io" "$(uri vol m)" 'write 14M 4096 3' flush
stop_nbdkit vol
table='vol: 0 32768 snapshot-merge o.img m.cow P 8;s: 0 32768 snapshot o.img s.cow P 128'
cp o.img s.model
for round in 1 2 3; do
  start_nbdkit vol "$DM_PLUGIN" table="$table"
  "$io" "$(uri vol)" 'read 0 1M 1' 'read 4M 8M 1' 'read 14M 4096 3' \
    "write 2M 100000 $round" "write 15M 5000 $round" flush
  kill_nbdkit vol
done
start_nbdkit vol "$DM_PLUGIN" table="$table"
"$io" "$(uri vol s)" 'match s.model'
"$io" "$(uri vol)" 'read 2M 100000 3' 'read 15M 5000 3'
wait_described vol '0 32768 snapshot-merge o.img m.cow P 8: 16/40960 16'
"$io" "$(uri vol)" 'read 0 2M 1' 'read 2M 100000 3' 'read 4M 8M 1' \
  'read 14M 4096 3' 'read 15M 5000 3' 'write 1M 4096 9' flush
"$io" "$(uri vol s)" 'match s.model'
stop_nbdkit vol
start_nbdkit vol "$DM_PLUGIN" \
  table='0 32768 snapshot-origin o.img;s: 0 32768 snapshot o.img s.cow P 0'
"$io" "$(uri vol)" 'read 0 1M 1' 'read 1M 4096 9' 'read 4M 8M 1' \
  'read 14M 4096 3' 'read 15M 5000 3'
"$io" "$(uri vol s)" 'match s.model'
stop_nbdkit vol
