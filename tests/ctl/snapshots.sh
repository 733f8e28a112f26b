#!/usr/bin/env bash
# Snapshots are taken, renamed and removed by dmnbd while clients go on.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

vol () { expect "$1" -s "$(control vol)" "${@:2}"; }

fill "$TMP/a.img" 4M 1
start_control vol "$TMP/a.img" meta="$TMP/vol.d"
follow vol
client_open vol

cp "$TMP/a.img" "$TMP/monday.img"
vol 0 snapshot create monday --chunk-size 4K
told '^snapshot monday: taken$'
vol 0 --json snapshot create monday
test "$(value changed)" = false
[[ $(value message) = *'exists already' ]] || fail "$(value message)"
ask 'write 0 64K 2'
ask flush
cp "$TMP/a.img" "$TMP/tuesday.img"
vol 0 --json snapshot create tuesday --read-only --cow-size=1M
test "$(value changed)" = true
ask 'write 32K 64K 3'
ask flush
vol 0 --json snapshot list
test "$(value 0.name)" = tuesday
test "$(value 0.read_only)" = true
test "$(value 0.chunk_size)" = 65536
test "$(value 0.store_bytes)" = 1048576
test "$(value 0.origin)" = ''
test "$(value 1.name)" = monday
test "$(value 1.chunk_size)" = 4096
test "$(value 1.origin)" = tuesday
"$(helper nbd-io)" "$(uri vol monday)" "match $TMP/monday.img"
"$(helper nbd-io)" "$(uri vol tuesday)" "match $TMP/tuesday.img"
vol 0 status
told '^tuesday +valid, read-only '

# What has changed, in whole chunks of the older one.
vol 0 diff monday tuesday
diff - "$TMP/out" >&2 <<<'0 65536' || fail "something else has changed"
vol 0 diff tuesday
diff - "$TMP/out" >&2 <<<'0 131072' || fail "something else has changed"
ask 'write 1M 4K 4'
ask 'write 3M 4K 4'
vol 0 --json diff monday
test "$(value 1.offset)" = 1048576
test "$(value 2.length)" = 65536

# What is refused says why, and changes nothing.
refuse_verb ()
{
  local regex=$1

  shift
  vol 1 "$@"
  told "^dmnbd: .*($regex)"
}
refuse_verb 'use letters' snapshot create a/b
refuse_verb 'use letters' snapshot create ../x
refuse_verb 'power of two' snapshot create a --chunk-size 5K
refuse_verb 'too small' snapshot create a --cow-size 512
refuse_verb 'the older one must come first' diff tuesday monday
refuse_verb 'no such snapshot' diff sunday
refuse_verb 'no such snapshot' diff monday ../x
refuse_verb "none of that name; 'dmnbd snapshot list' shows them" snapshot rename sunday a
refuse_verb 'already' snapshot rename monday tuesday
refuse_verb 'use letters' snapshot rename monday .a
vol 2 snapshot create
told 'NAME is missing'
vol 2 snapshot rename monday
told 'NEW is missing'
vol 2 snapshot create a --chunk-size tiny
told 'not a size'

# One that is open is not taken away.
mkfifo "$TMP/held.fifo"
exec {heard}<>"$TMP/held.fifo"
exec {held}> >(exec "$(helper nbd-io)" "$(uri vol monday)" - >"$TMP/held.fifo")
holder=$!
read -r -t 60 -u "$heard" line || fail "the client did not connect"
vol 0 --json snapshot list
test "$(value 1.clients)" = 1
refuse_verb 'monday: .*(open|client)' snapshot remove monday
exec {held}>&-
wait "$holder"
vol 0 snapshot rename monday first
told '^snapshot monday: renamed to first$'
vol 0 snapshot rename first first
told 'has that name already'
"$(helper nbd-io)" "$(uri vol first)" "match $TMP/monday.img"

# The one in the middle goes; what the older one needs of it is handed down.
vol 0 snapshot remove tuesday
told '^snapshot tuesday: removed$'
vol 0 wait idle
wait_event vol '"snapshot.gone","name":"tuesday"'
vol 0 --json snapshot list
test "$(value 0.name)" = first
test ! -e "$TMP/vol.d/tuesday.cow" || fail "the store is still there"
"$(helper nbd-io)" "$(uri vol first)" "match $TMP/monday.img"
vol 0 snapshot remove tuesday
told 'there is none of that name'
client_close
stop_nbdkit vol
end_follow vol
sed -E 's/.*"type":"([a-z.]+)"(,"name":"([a-z]+)")?.*/\1 \3/' "$TMP/vol.events" |
  diff - <(printf '%s\n' 'server.started ' 'snapshot.created monday' \
    'snapshot.created tuesday' 'snapshot.renamed monday' \
    'snapshot.removed tuesday' 'snapshot.gone tuesday' 'server.stopping ') >&2 ||
  fail "the events are others"

# A store that somebody removes is still its snapshot's: no other one gets a
# file of that name, which would go with the first.
start_control lost "$TMP/a.img" meta="$TMP/lost.d" snapshot=a
rm "$TMP/lost.d/a.cow"
expect 0 -s "$(control lost)" snapshot rename a b
expect 1 -s "$(control lost)" snapshot create a
told 'a\.cow is the store of snapshot b, and cannot be renamed; take another'
expect 0 -s "$(control lost)" snapshot create c
expect 1 -s "$(control lost)" snapshot rename c a
expect 0 -s "$(control lost)" snapshot remove b
expect 0 -s "$(control lost)" wait idle
expect 0 -s "$(control lost)" snapshot rename c a
test -e "$TMP/lost.d/a.cow" || fail "the store has not followed"
stop_nbdkit lost

# What a killed server has noted may be another one's socket by now: that one's
# snapshots are not touched.
socket=$TMP/same.ctl
start_nbdkit killed "$DM_PLUGIN" "$TMP/a.img" meta="$TMP/killed.d" \
  control="$socket" snapshot=same
expect 0 -d "$TMP/killed.d" snapshot list
kill_nbdkit killed
fill "$TMP/other.img" 1M 1
start_nbdkit other "$DM_PLUGIN" "$TMP/other.img" meta="$TMP/other.d" \
  control="$socket" snapshot=same
expect 1 -d "$TMP/killed.d" snapshot remove same
told 'killed.d: nobody answers: the server has ended'
expect 0 -d "$TMP/killed.d" status
told 'no server'
mv "$TMP/other.d" "$TMP/moved.d"
expect 0 -d "$TMP/moved.d" --json snapshot list
test "$(value 0.name)" = same || fail "the other's snapshot has gone"
mv "$TMP/moved.d" "$TMP/other.d"
expect 0 -d "$TMP/other.d" snapshot remove same
stop_nbdkit other

# One that an older one needs, which has no room, does not go before that does.
start_control full "$TMP/other.img" meta="$TMP/full.d" chunk-size=4K
full () { expect "$1" -s "$(control full)" "${@:2}"; }
cp "$TMP/other.img" "$TMP/was.img"
full 0 snapshot create old --cow-size 32K
full 0 snapshot create goes
"$(helper nbd-io)" "$(uri full)" 'write 0 512K 2' flush
full 0 snapshot remove goes
while ! grep -q 'goes: .*cannot be handed down.*remove them' "$(log full)"; do
  full 1 wait idle --timeout 1
done
full 1 wait idle --timeout 1
told 'waiting, but a snapshot that is to go cannot'
full 0 snapshot list
told '^goes +removing .*older ones cannot take what they need of it: No space'
"$(helper nbd-io)" "$(uri full old)" "match $TMP/was.img"
full 0 snapshot remove old
full 0 wait idle
stop_nbdkit full

# More extents than one answer of the server has.
fill "$TMP/many.img" 16M 1
start_control many "$TMP/many.img" meta="$TMP/many.d" snapshot=first \
  chunk-size=4K
requests=()
for ((i = 0; i < 1100; i++)); do
  requests+=("write $((i * 8192)) 512 $i")
done
"$(helper nbd-io)" "$(uri many)" "${requests[@]}" flush
expect 0 -s "$(control many)" diff first
test "$(wc -l <"$TMP/out")" -eq 1100 || fail "$(wc -l <"$TMP/out") extents"
diff "$TMP/out" <(for ((i = 0; i < 1100; i++)); do
  echo "$((i * 8192)) 4096"
done) >&2 || fail "other extents"
stop_nbdkit many

# Back to the newest snapshot: seen at once, and moved in the background.
fill "$TMP/back.img" 8M 1
start_control back "$TMP/back.img" meta="$TMP/back.d"
follow back
back () { expect "$1" -s "$(control back)" "${@:2}"; }
"$(helper nbd-io)" "$(uri back)" 'write 0 1M 2' flush
cp "$TMP/back.img" "$TMP/then.img"
back 0 snapshot create older
back 0 snapshot create good --chunk-size 4K
"$(helper nbd-io)" "$(uri back)" 'write 512K 2M 3' flush
# To an older one first: that, and what is newer, stay.
cp "$TMP/back.img" "$TMP/later.img"
back 0 snapshot create newer --chunk-size 16K
"$(helper nbd-io)" "$(uri back)" 'write 3M 1M 4' flush
back 0 snapshot rollback older --wait
told '^snapshot older: the volume is rolled back to it'
"$(helper nbd-io)" "$(uri back)" "match $TMP/then.img"
"$(helper nbd-io)" "$(uri back older)" "match $TMP/then.img"
"$(helper nbd-io)" "$(uri back good)" "match $TMP/then.img"
"$(helper nbd-io)" "$(uri back newer)" "match $TMP/later.img"
back 0 --json snapshot list
test "$(value 0.name)" = newer
test "$(value 2.name)" = older
! value 3.name >/dev/null || fail "something is left of the roll-back"
back 0 snapshot remove newer
back 0 wait idle
"$(helper nbd-io)" "$(uri back)" 'write 700K 2M 5' flush
back 1 snapshot rollback sunday
told 'none of that name'
back 2 snapshot rollback
back 0 snapshot rollback good --wait
told '^snapshot good: the volume is rolled back to it'
"$(helper nbd-io)" "$(uri back)" "match $TMP/then.img"
wait_event back '"snapshot.merging","name":"good"'
wait_event back '"snapshot.merged","name":"good"'
back 0 --json snapshot list
test "$(value 0.name)" = older
! value 1.name >/dev/null || fail "the snapshot is still there"
"$(helper nbd-io)" "$(uri back older)" "match $TMP/then.img"
stop_nbdkit back
same "$TMP/back.img" "$TMP/then.img"
