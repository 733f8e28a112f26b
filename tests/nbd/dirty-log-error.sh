#!/usr/bin/env bash
# A dirty log that cannot be written: nothing is written before that is recorded.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

io=$(helper nbd-io)
meta=$TMP/vol.d
args=("$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta")

for op in write flush; do
  vol=vol-$op
  rm -rf "$meta"
  fill "$TMP/a.img" 4M 1
  cp "$TMP/a.img" "$TMP/b.img"
  fail_legs "$op" "$meta/dirty.log"
  start_nbdkit "$vol" "${args[@]}" region-size=64K sync=none
  client_open "$vol"
  ask write 100000 3000 3
  test "$(dm_manifest "$meta" log)" = disk || fail "the manifest has no log"
  touch "$TMP/trigger"
  # No mark is needed here, and none is written.
  ask write 104000 3000 3
  test ! -s "$TMP/failed" || fail "a write to a dirty region wrote the log"
  ask write 1000000 3000 4
  test -s "$TMP/failed" || fail "nothing was made to fail"
  test "$(dm_manifest "$meta" log)" = failed ||
    fail "the reply came before it was recorded that the log has failed"
  said "$vol" 'the dirty log cannot be written: Input/output error; all regions'
  ask write 2000000 3000 5
  ask flush
  ask read 1000000 3000 4
  ask read 2000000 3000 5
  client_close
  test "$(grep -c 'dirty log cannot be written' "$TMP/$vol.log")" -eq 1 ||
    fail "the failure of the log was not said once"

  # A kill: all is copied, from the primary, and there is a log again.
  kill_nbdkit "$vol"
  rm "$TMP/trigger"
  SERVER_ENV=()
  "$io" --fill "$TMP/spot" 512 99
  dd if="$TMP/spot" of="$TMP/b.img" bs=512 seek=7000 conv=notrunc status=none
  start_nbdkit "$vol" "${args[@]}"
  "$io" "$(uri "$vol")" 'read 1000000 3000 4' 'write 5000 512 5'
  wait_insync "$meta"
  wait_manifest "$meta" resyncing false
  test "$(dm_manifest "$meta" log)" = disk || fail "there is no new log"
  stop_nbdkit "$vol"
  same "$TMP/a.img" "$TMP/b.img"
done
