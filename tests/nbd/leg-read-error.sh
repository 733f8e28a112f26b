#!/usr/bin/env bash
# A leg that fails reads: the client never sees it.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

name=([0]=a [1]=b)
for leg in 0 1; do
  for policy in first round-robin least-pending; do
    meta=$TMP/vol.d
    rm -rf "$meta"
    fill "$TMP/a.img" 4M 1
    cp "$TMP/a.img" "$TMP/b.img"
    fail_legs read "$TMP/${name[leg]}.img"
    start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta" \
      sync=none read-policy="$policy"
    client_open vol
    ask write 1 1 0x55
    wait_insync "$meta"
    touch "$TMP/trigger"
    for ((i = 0; i < 20; i++)); do
      ask read $((100000 + i)) 10000 1
    done
    # Part of a sector has to be read before it is written.
    ask write 300001 1 0x66
    ask read 300001 1 0x66
    ask read 300002 5000 1
    ask read 1 1 0x55
    ask flush
    client_close
    if test "$policy" = round-robin || test "$leg-$policy" = 0-first; then
      grep -q '^read' "$TMP/failed" || fail "no read was made to fail"
      said vol "leg $leg \\(.*${name[leg]}\\.img\\): read of [0-9]+ bytes at [0-9]+ failed: Input/output error"
    fi
    stop_nbdkit vol
    rm -f "$(log vol)"
  done
done
