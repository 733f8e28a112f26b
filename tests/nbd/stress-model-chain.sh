#!/usr/bin/env bash
# Random loads on a volume with a chain of two snapshots, each written to.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/nbd/stress-common.sh
. "$(dirname "$0")/stress-common.sh"
third=$((OPS / 3))

first_content
start snapshot=one chunk-size=16K
model --uri "$(uri vol)" --load "$first" --dump "$TMP/second.img" \
  --ops "$third" --snapshot-uri "$(uri vol one)" --snapshot-file "$first"
stop

# The volume and the newer snapshot change; the older one must not.
start snapshot=one snapshot=two chunk-size=64K
model --uri "$(uri vol)" --load "$TMP/second.img" --dump "$TMP/third.img" \
  --ops "$third" --snapshot-uri "$(uri vol two)" \
  --snapshot-file "$TMP/second.img" --snapshot-write \
  --snapshot-dump "$TMP/two.img"
export_is one "$first"
stop
same "$leg_a" "$TMP/third.img"

# The volume and the older one change; the newer one must not.
start
export_is one "$first"
export_is two "$TMP/two.img"
model --uri "$(uri vol)" --load "$TMP/third.img" --dump "$TMP/fourth.img" \
  --ops "$third" --snapshot-uri "$(uri vol one)" --snapshot-file "$first" \
  --snapshot-write --snapshot-dump "$TMP/one.img"
export_is two "$TMP/two.img"
stop
same "$leg_a" "$TMP/fourth.img"

start
export_is one "$TMP/one.img"
export_is two "$TMP/two.img"
export_is '' "$TMP/fourth.img"
stop
