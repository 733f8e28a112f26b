#!/usr/bin/env bash
# A snapshot, written to or not, is the same after restarts; discarded, it is gone.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

io=$(helper nbd-io)
meta=$TMP/vol.d
args=("$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta")
fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
start_nbdkit vol "${args[@]}" snapshot=snap chunk-size=16K
"$io" "$(uri vol)" 'write 0 1M 2' 'zero 1M 100001' 'trim 2M 100001' flush
"$io" "$(uri vol snap)" 'read 0 4M 1' 'write 3000000 5000 3' \
  'write 500001 3 0x44' flush
"$io" "$(uri vol)" 'read 3000000 5000 1' 'read 500001 3 2'
wait_insync "$meta"
stop_nbdkit vol

for how in stop_nbdkit kill_nbdkit stop_nbdkit; do
  # Asking for what is there takes no new one.
  start_nbdkit vol "${args[@]}" snapshot=snap
  "$io" "$(uri vol snap)" 'read 0 500001 1' 'read 500001 3 0x44' \
    'read 500004 2499996 1' 'read 3000000 5000 3' 'read 3005000 1189304 1'
  "$io" "$(uri vol)" 'read 0 1M 2' 'read 1M 100001 0x00' \
    'read 1148577 1 1' 'read 2M 100001 0x00' 'read 3000000 5000 1'
  "$how" vol
done

start_nbdkit vol "${args[@]}" discard-snapshot=snap
if "$io" "$(uri vol snap)" size >"$TMP/out.log" 2>&1; then
  fail "the snapshot is still there"
fi
"$io" "$(uri vol)" 'read 0 1M 2' 'write 0 4096 5'
wait_insync "$meta"
stop_nbdkit vol
test ! -e "$meta/snap.cow" || fail "its store is still there"
same "$TMP/a.img" "$TMP/b.img"
