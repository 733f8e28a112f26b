#!/usr/bin/env bash
# Legs behind NBD servers: as good as files, until the server dies or hangs.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

io=$(helper nbd-io)

# leg_server NAME FILE [ARG...]: the server of a leg.
leg_server ()
{
  local name=$1 file=$2

  shift 2
  start_nbdkit "$name" "$@" file "$file"
}

# settle DIR: start again, be filled, and find both legs equal.
settle ()
{
  start_nbdkit vol "${args[@]}" read-policy=round-robin
  "$io" "$(uri vol)" "match $TMP/expected.img" "match $TMP/expected.img" \
    'write 500 1 0x77' 'read 500 1 0x77'
  wait_insync "$1"
  stop_worn_nbdkit vol
  same "$TMP/a.img" "$TMP/b.img"
}

# A file and a server, and then two servers.
for far in b a; do
  fill "$TMP/a.img" 4M 1
  cp "$TMP/a.img" "$TMP/b.img"
  leg_server leg_b "$TMP/b.img"
  legs=("$TMP/a.img" "$(uri leg_b)")
  if test $far = a; then
    leg_server leg_a "$TMP/a.img"
    legs=("$(uri leg_a)" "$(uri leg_b)")
  fi
  start_nbdkit vol "$DM_PLUGIN" "${legs[@]}" meta="$TMP/vol$far.d" \
    snapshot=before
  "$io" "$(uri vol)" 'write 0 1M 2' 'write 1000001 70001 3' 'trim 2M 100K' \
    'zero 3M 70000' 'write 3500000 1 0x55 fua' 'read 0 1000000 2' \
    'read 1000001 70001 3' 'read 3500000 1 0x55' flush
  "$io" "$(uri vol before)" 'read 0 4M 1'
  wait_insync "$TMP/vol$far.d"
  stop_worn_nbdkit vol
  "$io" --fill "$TMP/pattern.img" 4M 3
  cmp -i 1000001 -n 70001 "$TMP/b.img" "$TMP/pattern.img" ||
    fail "what was written is not on the leg"
  same "$TMP/a.img" "$TMP/b.img"
  stop_nbdkit leg_b
  test $far = b || stop_nbdkit leg_a
done

# The server dies: the volume goes on, and the leg comes back at a start.
meta=$TMP/dies.d
fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
leg_server leg_b "$TMP/b.img"
args=("$DM_PLUGIN" "$TMP/a.img" "$(uri leg_b)" meta="$meta")
start_nbdkit vol "${args[@]}"
client_open vol
ask write 0 4096 2
wait_insync "$meta"
kill_nbdkit leg_b
ask write 100000 3000 3
test "$(dm_manifest "$meta" legs.1.state)" = failed ||
  fail "the reply came before the leg's failure was recorded"
ask read 100000 3000 3
ask flush
client_close
stop_worn_nbdkit vol
said vol 'leg 1 .*leg_b\.sock'
cp "$TMP/a.img" "$TMP/expected.img"
# Without it a volume goes on, but none begins.
refused "$DM_PLUGIN" "$TMP/a.img" "$(uri leg_b)" meta="$TMP/new.d"
grep -q 'check the URI, and that the server runs' "$TMP/refused.log" ||
  fail "no remedy for a server that does not run"
start_nbdkit vol "${args[@]}"
said vol 'leg 1 .*leg_b\.sock.* is missing'
"$io" "$(uri vol)" "match $TMP/expected.img" 'write 700K 3000 6'
test "$(dm_manifest "$meta" legs.1.state)" = missing ||
  fail "a server that does not run is not recorded as missing"
stop_worn_nbdkit vol
cp "$TMP/a.img" "$TMP/expected.img"
leg_server leg_b "$TMP/b.img"
settle "$meta"
stop_nbdkit leg_b

# The server hangs: no client waits much longer than the time-out.
meta=$TMP/hangs.d
leg_server leg_b "$TMP/b.img"
args=("$DM_PLUGIN" "$TMP/a.img" "$(uri leg_b)" meta="$meta" leg-timeout=5)
start_nbdkit vol "${args[@]}"
client_open vol
ask write 0 4096 5
wait_insync "$meta"
hung=$(pid leg_b)
stop_process "$hung"
ask write 200000 3000 4
test "$(dm_manifest "$meta" legs.1.state)" = failed ||
  fail "a leg that answers nothing has not failed"
said vol 'leg 1 .*timed out'
ask write 300000 3000 4
ask read 200000 3000 4
ask flush
client_close
stop_worn_nbdkit vol
kill -CONT "$hung"
end_nbdkit leg_b
cp "$TMP/a.img" "$TMP/expected.img"
leg_server leg_b "$TMP/b.img"
settle "$meta"
stop_nbdkit leg_b

# As with a file that cannot be written, the volume is read-only.
leg_server leg_b "$TMP/b.img" -r
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$(uri leg_b)" sync=none
said vol 'the volume is read-only: a leg cannot be written'
"$io" "$(uri vol)" "match $TMP/b.img"
stop_worn_nbdkit vol
stop_nbdkit leg_b

# What cannot be a leg is refused, and named.
# bad REGEX ARG...
bad ()
{
  local regex=$1

  shift
  refused "$DM_PLUGIN" "$@"
  grep -Eq -- "$regex" "$TMP/refused.log" ||
    fail "the message does not match '$regex'"
}

leg_server leg_b "$TMP/b.img"
bad 'leg 0 .*and leg 1 .*one of its own' "$(uri leg_b)" "$(uri leg_b)" \
  sync=none
stop_nbdkit leg_b
truncate -s 5M "$TMP/c.img"
leg_server leg_c "$TMP/c.img"
bad 'leg 0 .*4194304.*leg 1 .*5242880.*equal' "$TMP/a.img" "$(uri leg_c)"
stop_nbdkit leg_c
truncate -s 1000 "$TMP/c.img"
leg_server leg_c "$TMP/c.img"
bad 'leg 1 .*multiple of 512' "$TMP/a.img" "$(uri leg_c)"
stop_nbdkit leg_c

# The server dies of the leg that is asked where holes are: the volume need not
# know, and the client sees no error.
fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
leg_server leg_a "$TMP/a.img"
start_nbdkit vol "$DM_PLUGIN" "$(uri leg_a)" "$TMP/b.img" meta="$TMP/map.d"
client_open vol
ask read 0 4096 1
wait_insync "$TMP/map.d"
kill_nbdkit leg_a
nbdinfo --map "$(uri vol)" > "$TMP/map" ||
  fail "where holes are is an error once a leg is gone"
ask read 0 4096 1
client_close
stop_worn_nbdkit vol
