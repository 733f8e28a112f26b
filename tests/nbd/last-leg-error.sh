#!/usr/bin/env bash
# When the last leg fails, the client has an error, and nothing else is lost.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

io=$(helper nbd-io)
for legs in 'a' 'a b'; do
  for op in write flush; do
    files=() meta=$TMP/vol.d
    rm -rf "$meta"
    for leg in $legs; do
      fill "$TMP/$leg.img" 1M 1
      files+=("$TMP/$leg.img")
    done
    fail_legs "$op" "${files[@]}"
    start_nbdkit vol "$DM_PLUGIN" "${files[@]}" meta="$meta"
    client_open vol
    ask write 100000 3000 3
    ask flush
    wait_insync "$meta"

    touch "$TMP/trigger"
    if test "$op" = write; then
      ask expect EIO write 0 4096 2
      ask expect EIO write 512 1 2
    else
      ask write 0 4096 2
      ask expect EIO flush
    fi
    ask read 100000 3000 3
    ask read 500000 3000 1
    client_close
    said vol "(write|flush).* failed.*leg 0 \\(.*a\\.img\\): Input/output error|leg 0 \\(.*a\\.img\\): (write|flush).* failed: Input/output error"

    # Who asks a broken volume to stop is obeyed.
    kill -TERM "$(pid vol)"
    wait_nbdkit vol
    test "$SERVER_STATUS" -lt 128 || fail "ended by a signal: $SERVER_STATUS"

    # No leg was given up as the last good one.
    rm "$TMP/trigger"
    start_nbdkit vol "$DM_PLUGIN" "${files[@]}" meta="$meta"
    "$io" "$(uri vol)" 'read 100000 3000 3' 'read 500000 3000 1' \
      'write 0 4096 2 fua'
    wait_insync "$meta"
    "$io" "$(uri vol)" 'read 100000 3000 3' 'read 0 4096 2'
    stop_nbdkit vol
    test "$legs" = a || same "$TMP/a.img" "$TMP/b.img"
    rm "$(log vol)"
  done
done
