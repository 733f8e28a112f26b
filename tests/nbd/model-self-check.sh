#!/usr/bin/env bash
# Shows that nbd-model objects to each planted fault, and to nothing else.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
. "$(dirname "$0")/../functions.sh"

# What nbdkit itself still holds for its own plugins when it stops is no leak of
# ours.
export ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}

run_model ()
{
  "$(helper nbd-model)" --uri "$(uri planted)" --ops 4000 --max 64K \
    --seed 20 "$@" >"$TMP/model.log" 2>&1
}

serve ()
{
  fill "$TMP/planted.img" 8M 5
  start_nbdkit planted "$(helper planted-plugin.so)" \
    file="$TMP/planted.img" fault="$1"
}

start_nbdkit memory memory 16M
"$(helper nbd-model)" --uri "$(uri memory)" --ops 4000 --seed 20
stop_nbdkit memory

serve none
run_model --dump "$TMP/dump.img" || fail "it objected to a server without fault"
stop_nbdkit planted
same "$TMP/dump.img" "$TMP/planted.img"

for fault in drop-write rmw short-zero stale-read; do
  serve "$fault"
  status=0
  run_model || status=$?
  test "$status" -eq 1 || fail "no objection to $fault (status $status)"
  grep -q 'wrong' "$TMP/model.log" || fail "$fault: it failed otherwise"
  grep 'wrong' "$TMP/model.log"
  # A client that gives up under load may take nbdkit 1.32 with it (it asserts
  # that the socket is open); whether it did is not looked at.
  end_nbdkit planted
done

# The second export: a snapshot that changes with the volume is not one.
serve none
cp "$TMP/planted.img" "$TMP/start.img"
status=0
run_model --snapshot-uri "$(uri planted)" --snapshot-file "$TMP/start.img" ||
  status=$?
test "$status" -eq 1 || fail "no objection to a snapshot that changes"
grep -q 'snapshot offset.*wrong' "$TMP/model.log" ||
  fail "the snapshot: it failed otherwise"
end_nbdkit planted
