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

# One sector is bad, until it is written: it is, from the other leg.
for leg in 0 1; do
  meta=$TMP/bad$leg.d
  fill "$TMP/a.img" 4M 1
  cp "$TMP/a.img" "$TMP/b.img"
  fail_legs read "$TMP/${name[leg]}.img"
  SERVER_ENV+=(FAIL_SECTOR=1000448)
  start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta" \
    sync=none read-policy=round-robin
  client_open vol
  ask write 1 1 0x55
  wait_insync "$meta"
  # A wrong sector is easier to see than a right one.
  dd if=/dev/zero of="$TMP/${name[leg]}.img" bs=512 seek=1954 count=1 \
    conv=notrunc status=none
  touch "$TMP/trigger"
  until grep -q 'rewritten from leg' "$(log vol)"; do
    ask read 1000000 1000 1
  done
  for ((i = 0; i < 10; i++)); do
    ask read 999000 3000 1
  done
  ask flush
  client_close
  said vol "leg $leg \\(.*${name[leg]}\\.img\\): 512 bytes at 1000448 could not be read; they were rewritten from leg $((1 - leg))"
  test "$(dm_manifest "$meta" legs.$leg.state)" = insync ||
    fail "a leg that was repaired has failed"
  stop_nbdkit vol
  same "$TMP/a.img" "$TMP/b.img"
  rm -f "$(log vol)"
done

# Nothing helps: it fails, durably, and the client notices nothing.
meta=$TMP/worse.d
fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
fail_legs read "$TMP/a.img"
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta" \
  sync=none read-policy=first
client_open vol
ask write 1 1 0x55
wait_insync "$meta"
touch "$TMP/trigger"
ask read 100000 10000 1
wait_manifest "$meta" legs.0.state failed
ask read 100000 10000 1
ask read 1 1 0x55
client_close
said vol 'leg 0 .*reading again of [0-9]+ bytes at [0-9]+ failed: Input/output error; leg failed'
stop_nbdkit vol
