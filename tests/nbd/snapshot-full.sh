#!/usr/bin/env bash
# A store that is full breaks the snapshot, or the write, as chosen; never the data.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

io=$(helper nbd-io)
meta=$TMP/vol.d
fill "$TMP/a.img" 4M 1
args=("$DM_PLUGIN" "$TMP/a.img" meta="$meta")

# break-snapshot: writes go on; the snapshot is an error, for good.
start_nbdkit vol "${args[@]}" snapshot=snap chunk-size=16K cow-size=256K
"$io" "$(uri vol)" 'write 0 16384 2'
client_open vol snap
ask read 0 4M 1
"$io" "$(uri vol)" 'write 0 4M 3' flush 'read 0 4M 3'
ask expect EIO read 0 512 any
ask expect EIO read 3M 512 any
ask expect EIO write 0 512 1
client_close
said vol 'snap.*(full|invalid)'
test "$(dm_manifest "$meta" snapshots.0.state)" = invalid ||
  fail "volume.json does not say that it is invalid"
stop_nbdkit vol

# It may still be listed, or not; read it can't be.  Nor is one taken in its
# place, which is told.
start_nbdkit vol "${args[@]}" snapshot=snap
said vol 'snapshot=snap: is not taken: .*invalid.*discard-snapshot=snap'
if "$io" "$(uri vol snap)" 'read 0 512 any' >"$TMP/out.log" 2>&1; then
  fail "an invalid snapshot was read"
fi
"$io" "$(uri vol)" 'read 0 4M 3' 'write 0 4M 1'
stop_nbdkit vol

# break-guest-write: the snapshot stays; writes that need it are an error.
start_nbdkit vol "${args[@]}" discard-snapshot=snap snapshot=kept \
  chunk-size=16K cow-size=256K on-cow-error=break-guest-write
client_open vol
ask write 0 16384 2
ask expect EIO,ENOSPC write 0 4M 3
ask read 0 16384 any
# What is copied already can still be written.
ask write 0 16384 4
ask read 0 16384 4
client_close
"$io" "$(uri vol kept)" 'read 0 4M 1'
stop_nbdkit vol
start_nbdkit vol "${args[@]}"
"$io" "$(uri vol kept)" 'read 0 4M 1'
"$io" "$(uri vol)" 'read 0 16384 4'
stop_nbdkit vol

# A disk that is full has no room for another manifest either.  (Here it can't
# be made for another reason, also for root.)  The store says it, durably, and
# writes go on; the next start knows it from there.
start_nbdkit vol "${args[@]}" discard-snapshot=kept snapshot=older \
  snapshot=lost chunk-size=16K cow-size=256K
"$io" "$(uri vol)" 'write 0 16384 5'
mkdir "$meta/volume.json.new"
"$io" "$(uri vol)" 'write 1M 3M 5' flush 'read 1M 3M 5'
said vol 'snapshot lost: .*; the snapshot is invalid, the volume goes on'
said vol 'snapshot lost: .*in its store only: .*volume.json cannot be written: '
said vol 'snapshot older: .*; the snapshot is invalid, the volume goes on'
if "$io" "$(uri vol lost)" 'read 0 512 any' >"$TMP/out.log" 2>&1; then
  fail "an invalid snapshot was read"
fi
kill_nbdkit vol
test "$(dm_manifest "$meta" snapshots.1.state)" = valid ||
  fail "volume.json was written"
rmdir "$meta/volume.json.new"
start_nbdkit vol "${args[@]}"
for name in older lost; do
  if "$io" "$(uri vol $name)" 'read 0 512 any' >"$TMP/out.log" 2>&1; then
    fail "an invalid snapshot was read after a crash"
  fi
done
"$io" "$(uri vol)" 'read 0 16384 5' 'read 1M 3M 5' 'write 0 512 6'
stop_nbdkit vol
for index in 0 1; do
  test "$(dm_manifest "$meta" snapshots.$index.state)" = invalid ||
    fail "volume.json does not say that it is invalid"
done
