#!/usr/bin/env bash
# A thousand clients come and go, and leave nothing behind.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# Sixteen threads for each client take their time under a sanitizer.
export TEST_TIMEOUT=${TEST_TIMEOUT:-300}
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

# What nbdkit itself still holds for clients that left when it stops is no leak of
# ours.
export ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}

fill "$TMP/a.img" 1M 1
cp "$TMP/a.img" "$TMP/b.img"
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" \
  snapshot=snap
rude=$(helper rude-client)

# things NAME: how many of them the server has: fd, task.
things ()
{
  find "/proc/$(pid vol)/$1" -mindepth 1 -maxdepth 1 | wc -l
}

"$rude" "$(sock vol)" connects 10
wait_insync "$TMP/vol.d"
fds=$(things fd)
"$rude" "$(sock vol)" connects 1000

# A closed connection is still torn down for a moment.
for ((i = 0; i < 100; i++)); do
  test "$(things fd)" -gt "$fds" || break
  "$rude" "$(sock vol)" connects 1
done
test "$(things fd)" -le "$fds" || fail "$fds open files became $(things fd)"

# Many that do nothing don't keep one that does from working.  (They do keep
# nbdkit 1.32 from stopping, so they leave before.)
coproc IDLE { exec "$rude" "$(sock vol)" idle 60; }
idle=$IDLE_PID idle_in=${IDLE[1]}
read -r -t 60 -u "${IDLE[0]}" line
test "$line" = ready || fail "idle clients: $line"
"$(helper nbd-io)" "$(uri vol)" 'write 0 4096 2' 'read 0 4096 2' flush
exec {idle_in}>&-
wait "$idle"
stop_worn_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"
