#!/usr/bin/env bash
# Rude clients of the control socket disturb neither its good ones nor the data.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/nbd/stress-common.sh
. "$(dirname "$0")/../nbd/stress-common.sh"
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

if test "${DM_STRESS:-short}" = long; then
  messages=60000
else
  messages=2500
fi

first_content
start snapshot=snap control="$(control vol)"
expect 0 -s "$(control vol)" status

mkfifo "$TMP/model.fifo"
exec {said}<>"$TMP/model.fifo"
model --uri "$(uri vol)" --load "$first" --until-closed --connections 2 \
  --depth 4 --max 256K --ops 100000000 --snapshot-uri "$(uri vol snap)" \
  --snapshot-file "$first" >"$TMP/model.fifo" {said}<&- &
judge=$!
while read -r -t 60 -u "$said" line; do
  test "$line" != running || break
done
test "$line" = running || fail "the load did not begin"

"$abs_top_builddir/tests/ctl/rude-control" "$(control vol)" "$messages" 1000 \
  "$SEED" || fail "rude-control objected (SEED=$SEED)"
expect 0 -s "$(control vol)" --json status
test "$(value volume.state)" = healthy
test "$(value snapshots.0.state)" = valid

# What the rude ones held is given back, when the last that they have asked for
# is done: watch-events.pl and the one that asks are left.  Each question waits
# for an answer, so this is no busy waiting.
for ((tries = 0; tries < 1000; tries++)); do
  expect 0 -s "$(control vol)" metrics
  ! grep -Fxq 'dmnbd_control_clients 2' "$TMP/out" || break
done
grep -Fxq 'dmnbd_control_clients 2' "$TMP/out" ||
  fail "clients are left: $(grep control_clients "$TMP/out")"

kill -TERM "$(pid vol)"
wait "$judge" || fail "nbd-model objected (SEED=$SEED)"
wait_nbdkit vol
test "$SERVER_STATUS" -eq 0 || fail "the server ended with $SERVER_STATUS"
same "$leg_a" "$leg_b"
