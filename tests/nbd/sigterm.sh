#!/usr/bin/env bash
# SIGTERM under load: the server ends with 0 and leaves everything clean.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

# What nbdkit itself still holds for clients when it stops is no leak of
# ours.
export ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}

fill "$TMP/a.img" 16M 1
truncate -s 16M "$TMP/b.img"
meta=$TMP/vol.d
for round in 1 2 3; do
  start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta" \
    snapshot=snap region-size=64K
  "$(helper nbd-io)" "$(uri vol)" 'write 0 1 0x11'
  wait_insync "$meta"
  coproc MODEL {
    exec "$(helper nbd-model)" --uri "$(uri vol)" --ops 1000000 --max 256K \
      --until-closed 2>"$TMP/model.log"
  }
  model=$MODEL_PID
  exec {from_model}<&"${MODEL[0]}"
  until test "${line-}" = running; do
    read -r -t 60 -u "$from_model" line || fail "the load does not run"
  done
  line=
  stop_nbdkit vol
  wait "$model" || fail "the load met more than the end of the server"
  exec {from_model}<&-
  test "$(dm_manifest "$meta" clean)" = true || fail "round $round: not clean"
  same "$TMP/a.img" "$TMP/b.img"
done

# In the middle of a resync: not clean, and not wrong.
rm -rf "$meta"
fill "$TMP/a.img" 16M 1
truncate -s 16M "$TMP/b.img"
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta" \
  region-size=64K resync-rate=128K
"$(helper nbd-io)" "$(uri vol)" 'write 10M 4096 2' 'read 10M 4096 2'
stop_nbdkit vol
test "$(dm_manifest "$meta" insync)" = false || fail "16 MiB resynced at once"
test "$(dm_manifest "$meta" clean)" = false || fail "clean, but not in sync"
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta" \
  region-size=64K
"$(helper nbd-io)" "$(uri vol)" 'read 10M 4096 2' 'read 0 10M 1' flush
wait_insync "$meta"
stop_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"
