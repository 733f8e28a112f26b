#!/usr/bin/env bash
# Without meta= snapshots are taken, changed and removed, and end with the server.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

vol () { expect "$1" -s "$(control vol)" "${@:2}"; }

mkdir "$TMP/store"
export TMPDIR=$TMP/store
args=("$TMP/a.img" "$TMP/b.img" sync=none)
fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
cp "$TMP/a.img" "$TMP/monday.img"
start_control vol "${args[@]}" snapshot=monday
said vol 'snapshot monday: is transient, without meta=DIR'
follow vol
client_open vol

ask 'write 0 100K 2'
ask flush
cp "$TMP/a.img" "$TMP/tuesday.img"
vol 0 snapshot create tuesday --chunk-size 4K
said vol 'snapshot tuesday: is transient'
ask 'write 1M 12K 3'
ask flush
"$(helper nbd-io)" "$(uri vol monday)" "match $TMP/monday.img"
"$(helper nbd-io)" "$(uri vol tuesday)" "match $TMP/tuesday.img"
test -z "$(ls "$TMP/store")" || fail "the stores have names: $(ls "$TMP/store")"

# As dmsetup would say it of N.
vol 0 status --dm
told '^monday: 0 8192 snapshot 256/8192 0$'
told '^tuesday: 0 8192 snapshot 24/8192 0$'
vol 0 table
told '^monday: 0 8192 snapshot tuesday unnamed N 128$'
told '^tuesday: 0 8192 snapshot mirror unnamed N 8$'
vol 0 status
told '^tuesday +valid, transient '
vol 0 --json status
test "$(value volume.meta)" = null
test "$(value snapshots.0.store)" = transient
test "$(value snapshots.0.chunks)" = 3
vol 0 diff monday
diff - "$TMP/out" >&2 <<<$'0 131072\n1048576 12288' ||
  fail "something else has changed"

# Written to, renamed, and the older one keeps what it was.
"$(helper nbd-io)" "$(uri vol tuesday)" 'write 2M 8K 4' flush 'read 2M 8K 4'
vol 0 snapshot rename tuesday written
vol 0 snapshot remove written
vol 0 wait idle
wait_event vol '"snapshot.gone","name":"written"'
"$(helper nbd-io)" "$(uri vol monday)" "match $TMP/monday.img"
vol 1 snapshot rollback monday
told '^dmnbd: snapshot monday: is transient.*meta=DIR'

# Full: that snapshot, and no other one.
vol 0 snapshot create small --chunk-size 4K --cow-size 8K
ask 'write 3M 8K 5'
"$(helper nbd-io)" "$(uri vol small)" 'read 3M 8K 1'
ask 'write 3M 64K 6'
ask 'read 3M 64K 6'
said vol 'snapshot small: .*full; the snapshot is invalid'
vol 0 status --dm
told '^small: 0 8192 snapshot Invalid$'
"$(helper nbd-io)" "$(uri vol monday)" "match $TMP/monday.img"
vol 0 snapshot remove small
vol 0 wait idle
"$(helper nbd-io)" "$(uri vol monday)" "match $TMP/monday.img"

client_close
stop_nbdkit vol
end_follow vol
cp "$TMP/a.img" "$TMP/now.img"
start_control vol "${args[@]}"
vol 0 --json snapshot list
test "$(cat "$TMP/out")" = '[]' || fail "there is one: $(cat "$TMP/out")"
"$(helper nbd-io)" "$(uri vol)" "match $TMP/now.img"
kill_nbdkit vol
test -z "$(ls "$TMP/store")" || fail "something is left: $(ls "$TMP/store")"
