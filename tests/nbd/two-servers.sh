#!/usr/bin/env bash
# A second server on the same files is refused, until the first is gone.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

fill "$TMP/a.img" 1M 1
cp "$TMP/a.img" "$TMP/b.img"
fill "$TMP/c.img" 1M 2
io=$(helper nbd-io)
start_nbdkit one "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" \
  snapshot=snap
"$io" "$(uri one)" 'write 0 4096 3'
wait_insync "$TMP/vol.d"

refused "$DM_PLUGIN" "$TMP/c.img" meta="$TMP/vol.d"
grep -q 'vol\.d' "$TMP/refused.log" || fail "does not name the folder"
refused "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d"
refused "$DM_PLUGIN" "$TMP/b.img" "$TMP/c.img"
grep -q 'b\.img' "$TMP/refused.log" || fail "does not name the leg"
refused "$DM_PLUGIN" "$TMP/b.img" "$TMP/c.img" meta="$TMP/other.d"
grep -q 'b\.img' "$TMP/refused.log" || fail "does not name the leg"

# The one that runs did not suffer.
"$io" "$(uri one)" 'read 0 4096 3' 'read 4096 1020K 1' 'write 4096 512 4'
"$io" "$(uri one snap)" 'read 0 1M 1'

# Locks die with the process, however it dies.
kill_nbdkit one
start_nbdkit two "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d"
"$io" "$(uri two)" 'read 0 4096 3' 'read 4096 512 4' flush
"$io" "$(uri two snap)" 'read 0 1M 1'
wait_insync "$TMP/vol.d"
stop_nbdkit two
same "$TMP/a.img" "$TMP/b.img"
"$io" --fill "$TMP/c2.img" 1M 2
same "$TMP/c.img" "$TMP/c2.img"
