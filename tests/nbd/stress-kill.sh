#!/usr/bin/env bash
# kill -9 again and again under load: nothing flushed is lost, nothing old returns.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

# DM_STRESS=long makes 200 rounds; ROUNDS and SEED override.
if test "${DM_STRESS:-short}" = long; then
  : "${ROUNDS:=200}" "${TEST_TIMEOUT:=600}"
else
  : "${ROUNDS:=5}" "${TEST_TIMEOUT:=300}"
fi
export ROUNDS TEST_TIMEOUT
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

# What nbdkit itself still holds for clients when it stops is no leak of
# ours.
export ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
: "${SEED:=$((RANDOM * 32768 + RANDOM))}"

# A resync takes a quarter of a second, so that there is load, and death, in
# the middle of many.  The legs differ at first: the first start has everything
# to resync.
fill "$TMP/a.img" 16M "$SEED"
cp "$TMP/a.img" "$TMP/first.img"
truncate -s 16M "$TMP/b.img"
storm=$(helper kill-storm)
"$storm" --rounds "$ROUNDS" --seed "$SEED" --timeout "$TEST_TIMEOUT" \
  --socket "$TMP/vol.sock" --pid-fifo "$TMP/vol.pid" --log "$TMP/vol.log" \
  --load "$TMP/first.img" \
  --meta "$TMP/vol.d" --leg "$TMP/a.img" --leg "$TMP/b.img" --snapshots 2 \
  -- "$NBDKIT" -f --exit-with-parent -U "$TMP/vol.sock" -P "$TMP/vol.pid" \
  "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" \
  region-size=256K chunk-size=16K read-policy=round-robin resync-rate=64M ||
  fail "kill-storm objected (SEED=$SEED ROUNDS=$ROUNDS $0)"
