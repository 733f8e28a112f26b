#!/usr/bin/env bash
# Shows that kill-storm objects to each planted fault, and to nothing else.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
. "$(dirname "$0")/../functions.sh"

# What nbdkit itself still holds for clients when it stops is no leak of
# ours.
export ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}

storm ()
{
  local fault=$1

  shift
  fill "$TMP/planted.img" 8M 5
  "$(helper kill-storm)" --seed 7 --rounds 15 --load-ms 60 --timeout 250 \
    --socket "$TMP/storm.sock" --pid-fifo "$TMP/storm.pid" \
    --log "$TMP/storm.log" "$@" \
    -- "$NBDKIT" -f --exit-with-parent -U "$TMP/storm.sock" \
    -P "$TMP/storm.pid" "$(helper planted-plugin.so)" \
    file="$TMP/planted.img" fault="$fault" at=5 >"$TMP/out.log" 2>&1
}

storm none || fail "it objected to a server without fault"

for fault in lazy late drop-write short-zero stale-read; do
  status=0
  storm "$fault" || status=$?
  test "$status" -eq 1 || fail "no objection to $fault (status $status)"
  grep 'WRONG' "$TMP/out.log" || fail "$fault: it failed otherwise"
done

# The same from the other side: a right server, and wrong answers slipped in
# between.
for mode in stale foreign flip-flop acknowledged; do
  storm none --self-check "$mode" || fail "no objection to $mode"
done
