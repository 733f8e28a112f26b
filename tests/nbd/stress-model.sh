#!/usr/bin/env bash
# A random load on a volume with a snapshot, against a model.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/nbd/stress-common.sh
. "$(dirname "$0")/stress-common.sh"

first_content
start snapshot=snap
model --uri "$(uri vol)" --load "$first" --dump "$TMP/end.img" --ops "$OPS" \
  --connections 2 --depth 8 --max 2M \
  --snapshot-uri "$(uri vol snap)" --snapshot-file "$first"
stop
same "$leg_a" "$TMP/end.img"

# What a server started afresh says.
start snapshot=snap
export_is snap "$first"
export_is '' "$TMP/end.img"
stop
