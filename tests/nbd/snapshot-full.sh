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

# It may still be listed, or not; read it can't be.
start_nbdkit vol "${args[@]}"
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
