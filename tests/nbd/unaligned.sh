#!/usr/bin/env bash
# Requests of any length at any offset, and neighbours in one sector at once.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

truncate -s 1M "$TMP/a.img" "$TMP/b.img"
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" \
  snapshot=snap chunk-size=4K
io=$(helper nbd-io)
"$io" "$(uri vol)" 'write 0 1M 1' \
  'write 1 1 0xaa' 'read 0 1 1' 'read 1 1 0xaa' 'read 2 1021 1' \
  'write 511 2 0xbb' 'read 510 1 1' 'read 511 2 0xbb' 'read 513 4095 1' \
  'write 5000 10001 2' 'read 4999 1 1' 'read 5000 10001 2' 'read 15001 1 1' \
  'zero 20001 7001' 'read 20000 1 1' 'read 20001 7001 0x00' 'read 27002 9 1' \
  'trim 30003 9009' 'read 30002 1 1' 'read 30003 9009 0x00' 'read 39012 9 1' \
  'zero 50001 3 nohole fua' 'read 50000 1 1' 'read 50001 3 0x00' \
  'read 50004 1 1' 'write 1048575 1 0xcc' 'read 1048575 1 0xcc' \
  'read 1048574 1 1' 'write 1048000 575 3 fua' 'read 1048575 1 0xcc'
"$io" "$(uri vol snap)" 'read 0 1M 0x00' 'write 12345 1 0xdd' \
  'read 12344 1 0x00' 'read 12345 1 0xdd' 'read 12346 600 0x00'
"$io" "$(uri vol)" 'read 12344 600 2'

# Eight in flight within eight sectors, so that they meet in one all the time.
for export in '' snap; do
  "$(helper nbd-model)" --uri "$(uri vol "$export")" --ops 4000 --max 300 \
    --size-limit 4096 --depth 8 --connections 2
done
wait_insync "$TMP/vol.d"
stop_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"
