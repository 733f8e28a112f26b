#!/usr/bin/env bash
# A random load on a volume and on its snapshot at once, against two models.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/nbd/stress-common.sh
. "$(dirname "$0")/stress-common.sh"

first_content
start snapshot=snap chunk-size=16K
model --uri "$(uri vol)" --load "$first" --dump "$TMP/end.img" --ops "$OPS" \
  --connections 2 --depth 8 --max 2M \
  --snapshot-uri "$(uri vol snap)" --snapshot-file "$first" \
  --snapshot-write --snapshot-dump "$TMP/snap-end.img"
stop
same "$leg_a" "$TMP/end.img"

start
export_is snap "$TMP/snap-end.img"
export_is '' "$TMP/end.img"
stop
