#!/usr/bin/env bash
# Without meta= nothing is remembered: the first leg is the volume, and it is said.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

fill "$TMP/a.img" 4M 1
fill "$TMP/b.img" 4M 2
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" \
  read-policy=round-robin
said vol 'meta='
"$(helper nbd-io)" "$(uri vol)" 'read 0 4M 1' 'read 0 4M 1' \
  'write 1M 4096 3' 'read 1M 4096 3' flush
stop_nbdkit vol

# Stopped before or after the resync's end; the next start does it all again.
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" \
  read-policy=round-robin
client_open vol
ask write 2M 1 0x12
until cmp -s "$TMP/a.img" "$TMP/b.img"; do
  ask read 0 1M 1
done
ask read 1M 4096 3
client_close
stop_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"
