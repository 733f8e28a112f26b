#!/usr/bin/env bash
# Legs behind NBD servers come back by themselves, with what they missed.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

# leg_server: the server of the second leg.
leg_server ()
{
  start_nbdkit leg_b "${options[@]}" file "$TMP/b.img" "${keys[@]}"
}

# begin DIR ARG...: a file and a server, both with the same, in use.
begin ()
{
  meta=$1
  shift
  fill "$TMP/a.img" 4M 1
  cp "$TMP/a.img" "$TMP/b.img"
  leg_server
  start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$(uri leg_b)" meta="$meta" \
    read-policy=round-robin "$@"
  client_open vol
  ask write 0 4096 2
  wait_insync "$meta"
}

# end: all is well again, and the legs are equal.
end ()
{
  wait_insync "$meta"
  ask read 0 4096 2
  ask read 100000 3000 3
  ask read 200000 3000 1
  ask write 300000 3000 4
  ask flush
  client_close
  stop_worn_nbdkit vol
  stop_nbdkit leg_b
  same "$TMP/a.img" "$TMP/b.img"
  rm -f "$(log vol)"
}

is_failed ()
{
  test "$(dm_manifest "$meta" legs.1.state)" = failed ||
    fail "the reply came before the leg's failure was recorded"
}

options=() keys=()

# Killed, and started again: more than once.
begin "$TMP/killed.d"
for round in 1 2 3; do
  kill_nbdkit leg_b
  ask write 100000 3000 3
  is_failed
  ask write "$((400000 + round))" 5000 "$round"
  leg_server
  wait_insync "$meta"
done
end

# Stopped, and gone on: what it had been sent before does not land late.
begin "$TMP/stopped.d" leg-timeout=5
hung=$(pid leg_b)
stop_process "$hung"
ask write 100000 3000 7
is_failed
ask write 100000 3000 3
kill -CONT "$hung"
end

# It lives, and fails writes for a while.
options=(--filter=error)
keys=(error-pwrite-rate=100% error-file="$TMP/trigger")
begin "$TMP/errors.d"
touch "$TMP/trigger"
ask write 100000 3000 3
# It may be back by now, to fail again.
said vol 'leg 1 .*leg_b\.sock\): write of [0-9]+ bytes at [0-9]+ failed: .*; leg failed'
rm "$TMP/trigger"
end
options=() keys=()

# Its server is not there when the volume starts, and comes later.
meta=$TMP/missing.d
fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
leg_server
args=("$DM_PLUGIN" "$TMP/a.img" "$(uri leg_b)" meta="$meta")
start_nbdkit vol "${args[@]}"
client_open vol
ask write 0 4096 2
wait_insync "$meta"
client_close
stop_worn_nbdkit vol
stop_nbdkit leg_b
start_nbdkit vol "${args[@]}"
client_open vol
ask write 100000 3000 3
test "$(dm_manifest "$meta" legs.1.state)" = missing ||
  fail "a leg without a server is not missing"
leg_server
end

# The only leg: clients get errors meanwhile, of the right kind, and go on then.
leg_server
start_nbdkit vol "$DM_PLUGIN" "$(uri leg_b)" meta="$TMP/only.d"
"$(helper nbd-io)" "$(uri vol)" 'write 0 4096 2' flush
kill_nbdkit leg_b
if "$(helper nbd-io)" "$(uri vol)" 'read 0 4096 2' 2> "$TMP/only.log"; then
  fail "what has no server can be read"
fi
grep -q 'Input/output error' "$TMP/only.log" || fail "$(<"$TMP/only.log")"
leg_server
tries=0
until "$(helper nbd-io)" "$(uri vol)" 'read 0 4096 2' 2> "$TMP/only.log"; do
  test $((tries += 1)) -lt 2000 || fail "the only leg is not connected again"
done
"$(helper nbd-io)" "$(uri vol)" 'write 300000 3000 4' flush 'read 300000 3000 4'
stop_worn_nbdkit vol
stop_nbdkit leg_b

# The client's own server goes while the leg is out: it does not wait for it.
begin "$TMP/out.d" leg-timeout=60
hung=$(pid leg_b)
stop_process "$hung"
kill_nbdkit leg_b
ask write 100000 3000 3
is_failed
client_close
stop_worn_nbdkit vol
