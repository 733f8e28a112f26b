#!/usr/bin/env bash
# dmnbd shows a volume as it is: healthy, degraded, filled again, and gone.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

fill "$TMP/a.img" 8M 1
cp "$TMP/a.img" "$TMP/b.img"
args=("$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" write-mostly=0
      read-policy=first)

# Before there is a server, and a folder.
expect 1 -s "$(control vol)" status
told 'no such socket; is the server running'
expect 1 -d "$TMP/vol.d" status
told 'vol.d: cannot be opened: No such file'
mkdir "$TMP/empty"
expect 1 -d "$TMP/empty" status
told 'empty: is not the folder of a volume: .*comes with the first client'

fail_legs write "$TMP/b.img"
start_control vol "${args[@]}" snapshot=monday sync=none
SERVER_ENV=()
follow vol

# The other socket of the server is an easy slip.
expect 1 -s "$TMP/vol.sock" status
told 'vol.sock: what answers is no control socket; give the one that control='

# Every name that programs rely on, with its type.
expect 0 -s "$(control vol)" --json status
"$(json_get)" --keys <"$TMP/out" >"$TMP/keys"
diff - "$TMP/keys" >&2 <<'KEYS' || fail "the status has other members"
version integer
volume.size integer
volume.state string
volume.generation integer
volume.meta string
volume.read_only boolean
volume.started boolean
legs[].index integer
legs[].spec string
legs[].state string
legs[].write_mostly boolean
legs[].reads integer
legs[].writes integer
legs[].read_bytes integer
legs[].write_bytes integer
legs[].errors.read integer
legs[].errors.write integer
legs[].errors.flush integer
legs[].reason null
regions.size integer
regions.total integer
regions.insync integer
regions.dirty integer
resync.state string
resync.paused boolean
resync.done_bytes integer
resync.total_bytes integer
resync.rate integer
resync.eta_seconds null
scrub.state string
scrub.done_bytes integer
scrub.total_bytes integer
scrub.mismatches integer
scrub.repaired integer
snapshots[].name string
snapshots[].state string
snapshots[].reason null
snapshots[].created string
snapshots[].read_only boolean
snapshots[].chunk_size integer
snapshots[].chunks integer
snapshots[].used_bytes integer
snapshots[].store_bytes integer
snapshots[].metadata_bytes integer
snapshots[].store string
snapshots[].origin string
snapshots[].clients integer
log.type string
log.lost boolean
server.version string
server.pid integer
KEYS
test "$(value version)" = 1
test "$(value volume.size)" = 8388608
test "$(value volume.state)" = healthy
test "$(value volume.meta)" = "$TMP/vol.d"
test "$(value legs.0.spec)" = "$TMP/a.img"
test "$(value legs.0.write_mostly)" = true
test "$(value legs.1.write_mostly)" = false
test "$(value regions.total)" = 4
test "$(value regions.insync)" = 4
test "$(value snapshots.0.name)" = monday
test "$(value snapshots.0.state)" = valid
test "$(value server.pid)" = "$(pid vol)"

# The socket can be found by the volume's folder, and by the environment; the
# option counts for more, and may come last.
expect 0 -d "$TMP/vol.d" --json snapshot list
test "$(value 0.name)" = monday
DMNBD_SOCKET=$(control vol) expect 0 snapshot list
told '^monday +valid '
DMNBD_SOCKET=$(control vol) expect 1 status -s "$TMP/nobody.sock"
told 'nobody.sock: there is no such socket'

# For people.
expect 0 -s "$(control vol)" status
told '^volume +8.0 MiB, healthy, remembered in '
told '^ +0 +insync, write-mostly .*a.img'
told '^resync +idle$'

# In the kernel's words: a fresh store has used its header and an area.
expect 0 -s "$(control vol)" status --dm
diff - "$TMP/out" >&2 <<DM || fail "the kernel says it in another way"
mirror: 0 16384 mirror 2 0:0 0:1 4/4 1 AA 3 disk 0:2 A
volume: 0 16384 snapshot-origin
monday: 0 16384 snapshot 256/16640 256
DM
expect 0 -s "$(control vol)" table
diff - "$TMP/out" >&2 <<DM || fail "the kernel says it in another way"
mirror: 0 16384 mirror disk 2 $TMP/vol.d/dirty.log 4096 2 $TMP/a.img 0 $TMP/b.img 0 1 handle_errors
volume: 0 16384 snapshot-origin mirror
monday: 0 16384 snapshot mirror $TMP/vol.d/monday.cow P 128
DM

# What clients do is counted.
"$(helper nbd-io)" "$(uri vol)" 'write 0 64K 2' flush 'read 0 32K 2'
expect 0 -s "$(control vol)" --json status
test "$(value legs.0.write_bytes)" = 65536
test "$(value legs.1.write_bytes)" = 65536
test "$(value legs.0.read_bytes)" = 0
test "$(value legs.1.read_bytes)" -ge 32768
test "$(value snapshots.0.chunks)" = 1

# A leg fails: it is told once, and shown.
touch "$TMP/trigger"
"$(helper nbd-io)" "$(uri vol)" 'write 1M 64K 3' flush
wait_event vol '"leg.state".*"leg":1.*"state":"failed","was":"insync","reason":"'
wait_event vol '"volume.state","state":"degraded","was":"healthy"'
expect 3 -s "$(control vol)" --json status
test "$(value volume.state)" = degraded
test "$(value legs.1.state)" = failed
test "$(value legs.1.errors.write)" = 1
test "$(value regions.insync)" -lt 4
test "$(value regions.insync)" = $((4 - $(value regions.dirty)))
[[ $(value legs.1.reason) = *write* ]] || fail "no reason is given"
expect 3 -s "$(control vol)" status
told '^ +1 +failed .*b.img +.*write'
expect 3 -s "$(control vol)" wait sync
expect 3 -s "$(control vol)" wait idle
mkfifo "$TMP/watched.fifo"
exec {watched}<>"$TMP/watched.fifo"
dmnbd -s "$(control vol)" status --watch >"$TMP/watched.fifo" \
  2>"$TMP/watched.err" {watched}<&- &
watcher=$!
read -r -t 60 -u "$watched" line || fail "dmnbd status --watch shows nothing"
test "$line" = 'degraded; legs insync failed; resync idle; 1 valid snapshot' ||
  fail "watched: $line"
stop_nbdkit vol
end_follow vol
test "$FOLLOW_STATUS" -eq 0 || fail "dmnbd events did not end well"
! wait "$watcher" || fail "dmnbd status --watch does not tell that it is over"
grep -Eq 'the server (is stopping|has ended)' "$TMP/watched.err" ||
  fail "watched: $(cat "$TMP/watched.err")"

# Each state change once, in order, and numbered from 1 on.
sed -E 's/.*"number":([0-9]+),.*"type":"([a-z.]+)".*/\1 \2/' "$TMP/vol.events" |
  diff - <(printf '%s\n' '1 server.started' '2 leg.state' '3 volume.state' \
    '4 server.stopping') >&2 || fail "the events are others"

# Without a server: what is remembered.
expect 3 -d "$TMP/vol.d" --json status
test "$(value offline)" = true
test "$(value volume.state)" = degraded
test "$(value legs.1.state)" = failed
test "$(value snapshots.0.name)" = monday
test "$(value snapshots.0.chunks)" = 2
expect 3 -d "$TMP/vol.d" status
told 'degraded, no server that answers'
expect 1 -s "$(control vol)" status
test ! -e "$(control vol)" || fail "the socket is still there"
test ! -e "$TMP/vol.d/control.path" || fail "control.path is still there"

# The next start fills the leg, as soon as a client comes.
start_control vol "${args[@]}"
follow vol
expect 0 -s "$(control vol)" --json status
test "$(value volume.state)" = resyncing
test "$(value legs.1.state)" = recovering
expect 1 -s "$(control vol)" wait sync --timeout 0
told 'the time is over'
dmnbd -s "$(control vol)" wait sync &
waiter=$!
client_open vol
wait "$waiter" || fail "dmnbd wait sync ended with $?"
wait_event vol '"resync.finished"'
wait_event vol '"leg":1.*"state":"insync","was":"recovering"'
expect 0 -s "$(control vol)" wait idle
expect 0 -s "$(control vol)" --json status
test "$(value volume.state)" = healthy
test "$(value resync.state)" = idle
test "$(value resync.total_bytes)" -gt 0
test "$(value resync.done_bytes)" = "$(value resync.total_bytes)"
client_close

# A server that was killed is told from one that does not answer.
kill_nbdkit vol
end_follow vol
test "$FOLLOW_STATUS" -eq 1 || fail "dmnbd events did not notice the end"
grep -q 'the server has ended' "$TMP/vol.events.log"
expect 1 -s "$(control vol)" status
told 'nobody answers: the server has ended; start it again'
expect 0 -d "$TMP/vol.d" --json status
test "$(value volume.state)" = resyncing
test "$(value offline)" = true

# And its socket is no obstacle.
start_control vol "${args[@]}"
expect 0 -s "$(control vol)" status
stop_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"

# A server without a control socket: only it knows what is in its stores.
WATCH='' start_nbdkit silent "$DM_PLUGIN" "${args[@]}"
expect 0 -d "$TMP/vol.d" status
told 'no server that answers'
told 'monday.cow: what is in it is not known: a server uses it'
expect 1 -d "$TMP/vol.d" snapshot list
told 'no server of this volume has a control socket'
stop_nbdkit silent
