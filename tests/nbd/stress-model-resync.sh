#!/usr/bin/env bash
# A random load during a resync: no copy may overtake a newer write.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/nbd/stress-common.sh
. "$(dirname "$0")/stress-common.sh"
part=$((OPS / 3))
region_size=1M

# The writes of the resync, which are larger than the client's, are slow: what
# they carry has been read some milliseconds before.
fail_legs none "$leg_b"
SERVER_ENV+=(SLOW_WRITE_BYTES=32768 SLOW_WRITE_MS=4)
touch "$TMP/trigger"
fill "$first" "$size" "$SEED"
cp "$first" "$leg_a"
for round in 1 2 3; do
  fill "$leg_b" "$size" $((SEED + round))
  start sync=full
  model --uri "$(uri vol)" --load "$first" --dump "$TMP/end.img" \
    --ops "$part" --max 16K
  stop
  same "$leg_a" "$TMP/end.img"
  mv "$TMP/end.img" "$first"
  rm -r "$meta"
done
