#!/usr/bin/env bash
# dmnbd pauses, limits and resumes the resync, and compares legs by a scrub.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

vol () { expect "$1" -s "$(control vol)" "${@:2}"; }

# A resync so slow that it is always in the middle.
fill "$TMP/a.img" 16M 1
truncate -s 16M "$TMP/b.img"
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" \
  region-size=64K resync-rate=256K
follow vol
# Who waits in vain is told so, and what to do.
vol 0 --json status
test "$(value volume.started)" = false
vol 1 wait sync --timeout 0
told 'no client has connected .*dmnbd resync start'
vol 0 resync start
vol 0 --json status
test "$(value volume.started)" = true
vol 1 wait sync --timeout 0
! grep -q 'waiting, but' "$TMP/err" || fail "a hint: $(cat "$TMP/err")"
wait_event vol '"resync.started"'
wait_event vol '"resync.progress"'
vol 0 --json status
test "$(value volume.state)" = resyncing
test "$(value resync.state)" = running
test "$(value resync.total_bytes)" = 16777216
# Legs that come and go meanwhile are no beginning of another one.
truncate -s 16M "$TMP/c.img"
vol 0 leg add "$TMP/c.img"
vol 0 leg remove 2
vol 0 resync pause
wait_event vol '"resync.paused"'
vol 0 --json resync pause
test "$(value changed)" = false
vol 0 --json status
test "$(value resync.state)" = paused
test "$(value volume.state)" = resyncing
vol 1 scrub start
told 'nothing to compare: 1 leg is of 2 in sync'
vol 1 wait sync --timeout 0
told "the resync is paused; 'dmnbd resync resume'"
vol 0 resync rate 0
told 'no limit'
vol 0 resync rate 0
told 'that already'
vol 0 resync rate 1G
told '1073741824 bytes a second'
vol 0 resync resume
wait_event vol '"resync.resumed"'
vol 0 wait sync
wait_event vol '"resync.finished"'
test "$(grep -c '"resync.started"' "$TMP/vol.events")" -eq 1 ||
  fail "one resync begins more than once"
vol 0 resync resume
told 'not paused'
# What is to come can be paused, too, and that is seen.
vol 0 resync pause
vol 0 --json status
test "$(value resync.state)" = idle
test "$(value resync.paused)" = true
vol 0 status
told '^resync +idle; what comes is paused'
vol 0 resync resume
vol 0 resync start
told 'in sync already'
vol 2 resync rate fast
told 'is not a size'
same "$TMP/a.img" "$TMP/b.img"

# Legs that differ are counted, and only then repaired when that is wanted.
vol 0 scrub start
vol 0 wait idle
vol 0 scrub status
told '^found +0 sectors that differ'
printf 'X' | dd of="$TMP/b.img" bs=1 seek=1000000 conv=notrunc status=none
printf 'X' | dd of="$TMP/b.img" bs=1 seek=5000000 conv=notrunc status=none
vol 0 scrub start
vol 0 wait idle
vol 3 --json scrub status
test "$(value state)" = idle
test "$(value mismatches)" = 2
test "$(value repaired)" = 0
test "$(value done_bytes)" = 16777216
! cmp -s "$TMP/a.img" "$TMP/b.img" || fail "it was repaired"
wait_event vol '"scrub.finished".*"reason":"2 sectors differ'
vol 0 scrub start --repair
vol 0 wait idle
vol 0 --json scrub status
test "$(value mismatches)" = 2
test "$(value repaired)" = 2
vol 0 scrub stop
told 'no scrub is running'
vol 0 metrics
grep -Fxq 'dmnbd_scrub_repaired_sectors 2' "$TMP/out" || fail "not counted"
stop_nbdkit vol
end_follow vol
same "$TMP/a.img" "$TMP/b.img"
