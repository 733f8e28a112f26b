#!/usr/bin/env bash
# Legs named from the folder of the start are found by a server in the background.
# SPDX-License-Identifier: BSD-3-Clause
#
# nbdkit changes its folder when it goes into the background, and legs are
# opened and connected again later.

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

# Those of the NBD leg and of the volume, which are not ours to wait for.
end_servers ()
{
  local file pid

  for file in leg.pid vol.pid; do
    test -s "$TMP/$file" || continue
    pid=$(cat "$TMP/$file")
    kill -KILL "$pid" 2>/dev/null || :
    tail --pid="$pid" -f /dev/null
    rm -f "$TMP/$file"
  done
}
trap 'end_servers; cleanup' EXIT

start_leg ()
{
  rm -f leg.sock
  "$NBDKIT" -U leg.sock -P leg.pid file "$TMP/c.img"
}

vol () { expect "$1" -s vol.ctl "${@:2}"; }

cd "$TMP"
truncate -s 1M a.img b.img c.img
start_leg
"$NBDKIT" -U vol.sock -P vol.pid "$DM_PLUGIN" a.img b.img \
  'nbd+unix:///?socket=leg.sock' meta=vol.d control=vol.ctl
test "$(readlink "/proc/$(cat vol.pid)/cwd")" = / ||
  fail "the server is in the folder that names are from: this tests nothing"
follow vol
vol 0 resync start
vol 0 wait sync

# A file, opened again.
vol 0 leg fail 1
vol 0 leg rejoin 1
vol 0 wait sync
vol 1 leg add "$TMP/a.img"
told 'leg 0 already'

# A server, connected again by itself.
kill -KILL "$(cat leg.pid)"
"$(helper nbd-io)" 'nbd+unix:///?socket=vol.sock' 'write 0 64K 2' flush
wait_event vol '"leg":2.*"state":"failed"'
start_leg
wait_event vol '"leg":2.*"state":"insync","was":"recovering"'
vol 0 wait sync
end_servers
same a.img b.img
same a.img c.img
