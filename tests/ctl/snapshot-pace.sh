#!/usr/bin/env bash
# The background copies of snapshots keep to the rate, and rest for clients.
# SPDX-License-Identifier: BSD-3-Clause
#
# At a byte a second the first piece is copied, and the next one would be in
# hours: in between all stands still, until the rate is another one.

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

vol () { expect "$1" -s "$(control vol)" "${@:2}"; }

# metric NAME: its value is in $value.
metric ()
{
  vol 0 metrics
  value=$(sed -n "s/^dmnbd_$1 //p" "$TMP/out")
  test -n "$value" || fail "there is no $1"
}

# A piece has been copied.
first_piece ()
{
  for ((value = 0; value == 0; )); do
    metric background_bytes_total
  done
}

# It goes on as long as nobody changes the rate; clients go on all the while.
# Having asked for something they get a rest after the second piece.
held_back ()
{
  first_piece
  metric background_rests_total
  test "$value" -eq 0 || fail "it has rested, and nobody was busy"
  ask 'write 0 2M 4'
  ask 'read 0 2M 4'
  ask flush
  vol 0 --json job list
  value 0.job >/dev/null || fail 'nothing goes on any more'
  metric background_bytes_total
  test "$value" -le 1048576 || fail "it did not wait: $value bytes"
  vol 0 resync rate 0
}

rested ()
{
  vol 0 wait idle
  metric background_rests_total
  test "$value" -ge 1 || fail "it has not rested"
}

# A chunk in two is in the newer snapshot, so there are as many pieces.
start ()
{
  local offset

  rm -rf "$TMP/vol.d" "$TMP/a.img"
  truncate -s 2M "$TMP/a.img"
  start_control vol "$TMP/a.img" meta="$TMP/vol.d" resync-rate=1 \
    snapshot=old snapshot=new
  client_open vol
  for ((offset = 0; offset < 2048; offset += 128)); do
    ask "write ${offset}K 64K 2"
  done
}

# The merge of a roll-back.  The server stops at once while it waits.
start
vol 0 snapshot rollback new
first_piece
client_close
stop_nbdkit vol
start_control vol "$TMP/a.img" meta="$TMP/vol.d" resync-rate=1
client_open vol
held_back
rested
ask 'read 0 2M 4'
client_close
stop_nbdkit vol

# What a snapshot that is removed hands down.
start
vol 0 snapshot remove new
held_back
rested
client_close
stop_nbdkit vol

# The copying before a roll-back to an older one, while the call waits for it.
start
dmnbd -s "$(control vol)" snapshot rollback old >"$TMP/rollback.log" 2>&1 &
caller=$!
held_back
wait "$caller" || fail "the roll-back failed: $(<"$TMP/rollback.log")"
rested
ask 'read 0 2M 0x00'
client_close
stop_nbdkit vol
