#!/usr/bin/env bash
# A leg that fails a flush is dropped, durably, before the client has its reply.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

name=([0]=a [1]=b)
for leg in 0 1; do
  for command in flush 'write 300000 512 6 fua'; do
    other=$((1 - leg))
    bad=$TMP/${name[leg]}.img good=$TMP/${name[other]}.img
    meta=$TMP/vol.d
    args=("$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta")

    rm -rf "$meta"
    fill "$TMP/a.img" 4M 1
    cp "$TMP/a.img" "$TMP/b.img"
    # A write with FUA may be one call: it has to fail as a write, then.
    fail_legs flush "$bad"
    if test "$command" != flush; then
      fail_legs flush,write "$bad"
    fi
    start_nbdkit vol "${args[@]}" region-size=64K
    client_open vol
    ask write 100000 3000 3
    wait_insync "$meta"
    touch "$TMP/trigger"
    ask "$command"
    test "$(dm_manifest "$meta" "legs.$leg.state")" = failed ||
      fail "leg $leg: the reply came before the leg's failure was recorded"
    test "$(dm_manifest "$meta" "legs.$other.state")" = insync ||
      fail "leg $other is not in sync any more"
    grep -Eq '^(flush|write)' "$TMP/failed" || fail "nothing was made to fail"
    said vol "leg $leg \\(.*${name[leg]}\\.img\\): (flush|write).* failed: Input/output error"
    tries=$(grep -cv '^rename' "$TMP/failed")
    ask write 200000 3000 4
    ask flush
    ask flush
    test "$(grep -cv '^rename' "$TMP/failed")" -eq "$tries" ||
      fail "a failed flush was tried again on the same leg"
    ask read 100000 3000 3
    ask read 200000 3000 4
    client_close
    stop_nbdkit vol
    cp "$good" "$TMP/expected.img"

    rm "$TMP/trigger"
    start_nbdkit vol "${args[@]}" read-policy=round-robin
    "$(helper nbd-io)" "$(uri vol)" "match $TMP/expected.img" flush
    wait_insync "$meta"
    stop_nbdkit vol
    same "$TMP/a.img" "$TMP/b.img"
    same "$TMP/a.img" "$TMP/expected.img"
    rm "$(log vol)"
  done
done
