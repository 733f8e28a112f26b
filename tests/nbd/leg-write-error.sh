#!/usr/bin/env bash
# A leg that fails a write is dropped, durably, before the client has its reply.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

name=([0]=a [1]=b)
for leg in 0 1; do
  other=$((1 - leg))
  bad=$TMP/${name[leg]}.img good=$TMP/${name[other]}.img
  meta=$TMP/vol$leg.d
  args=("$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta")

  fill "$TMP/a.img" 4M 1
  cp "$TMP/a.img" "$TMP/b.img"
  fail_legs write,punch "$bad"
  start_nbdkit vol "${args[@]}" region-size=64K
  client_open vol
  ask write 0 4096 2
  wait_insync "$meta"

  # The manifest's replacement takes 200 ms here: an early reply would be seen.
  touch "$TMP/trigger"
  ask write 100000 3000 3
  test "$(dm_manifest "$meta" "legs.$leg.state")" = failed ||
    fail "leg $leg: the reply came before the leg's failure was recorded"
  test "$(dm_manifest "$meta" "legs.$other.state")" = insync ||
    fail "leg $other is not in sync any more"
  test "$(dm_manifest "$meta" clean)" = false || fail "degraded, but clean"
  grep -q '^write' "$TMP/failed" || fail "no write was made to fail"
  said vol "leg $leg \\(.*${name[leg]}\\.img\\): write of [0-9]+ bytes at [0-9]+ failed: Input/output error"

  # The volume goes on, and the leg is left alone.
  tries=$(grep -cv '^rename' "$TMP/failed")
  ask read 100000 3000 3
  for ((i = 0; i < 50; i++)); do
    ask write $((200000 + 5000 * i)) 5000 4
  done
  ask zero 1M 70000
  ask trim 2M 70000
  ask flush
  ask write 3M 4096 5 fua
  ask read 200000 250000 4
  ask read 0 4096 2
  ask read 3M 4096 5
  test "$(grep -cv '^rename' "$TMP/failed")" -eq "$tries" ||
    fail "the failed leg was tried again"
  test "$(grep -c 'failed: Input/output error' "$(log vol)")" -le 2 ||
    fail "one failure, many messages"
  client_close
  stop_nbdkit vol
  cp "$good" "$TMP/expected.img"

  # It returns, stale: never read, never a source, and made equal.
  rm "$TMP/trigger"
  start_nbdkit vol "${args[@]}" read-policy=round-robin
  "$(helper nbd-io)" "$(uri vol)" "match $TMP/expected.img" \
    "match $TMP/expected.img" 'read 100000 3000 3' 'write 500 1 0x77'
  wait_insync "$meta"
  "$(helper nbd-io)" "$(uri vol)" 'read 100000 3000 3' 'read 500 1 0x77'
  stop_nbdkit vol
  same "$TMP/a.img" "$TMP/b.img"
  "$(helper nbd-io)" --fill "$TMP/pattern.img" 4M 3
  cmp -i 100000 -n 3000 "$bad" "$TMP/pattern.img" ||
    fail "the stale leg won"
  test "$(dm_manifest "$meta" clean)" = true || fail "healthy, but not clean"
  rm "$(log vol)"
done
