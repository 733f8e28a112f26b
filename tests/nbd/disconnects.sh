#!/usr/bin/env bash
# Clients that go away in the middle of anything hurt nobody.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# Sixteen threads for each client take their time under a sanitizer.
export TEST_TIMEOUT=${TEST_TIMEOUT:-300}
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

# What nbdkit itself still holds for clients that left when it stops is no leak of
# ours.
export ASAN_OPTIONS=detect_leaks=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}

truncate -s 1M "$TMP/a.img" "$TMP/b.img"
rude=$(helper rude-client)
io=$(helper nbd-io)
start ()
{
  start_nbdkit vol "$@" "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" \
    meta="$TMP/vol.d" snapshot=snap
}

# Gone without a word.  One thread for each client: with more of them nbdkit
# 1.32 itself ends by an assertion when one reads the connection's reset while
# another is about to reply.
start -t 1
"$rude" "$(sock vol)" cut 7
"$rude" "$(sock vol)" garbage 1
"$io" "$(uri vol)" 'read 0 1000 0x00' 'read 4000 100K 0x00'
stop_worn_nbdkit vol

# Only the sending ends in the middle.
start
"$rude" "$(sock vol)" half 7
"$io" "$(uri vol)" 'read 0 1000 0x00' 'read 1000 3000 0xc7' \
  'read 4000 100K 0x00'
"$io" "$(uri vol snap)" 'read 0 1M 0x00'

# Nobody's locks were left behind: every sector can be written.
"$io" "$(uri vol)" 'write 0 1M 5 fua' 'read 0 1M 5'
wait_insync "$TMP/vol.d"
stop_worn_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"
