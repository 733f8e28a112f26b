#!/usr/bin/env bash
# A leg deleted under the running server: it serves on; a new file is no old leg.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

name=([0]=a [1]=b)
io=$(helper nbd-io)
for leg in 0 1; do
  meta=$TMP/vol$leg.d
  args=("$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta")
  fill "$TMP/a.img" 4M 1
  cp "$TMP/a.img" "$TMP/b.img"
  start_nbdkit vol "${args[@]}"
  client_open vol
  ask write 0 4096 2
  wait_insync "$meta"
  rm "$TMP/${name[leg]}.img"
  ask write 100000 3000 3
  ask flush
  ask read 100000 3000 3
  ask read 1M 1M 1
  client_close
  "$io" "$(uri vol)" 'read 100000 3000 3' 'write 200000 3000 4 fua'
  stop_nbdkit vol
  cp "$TMP/${name[1 - leg]}.img" "$TMP/expected.img"

  # It is missed at the next start, by name; the other one has everything.
  start_nbdkit vol "${args[@]}"
  said vol "leg $leg .*${name[leg]}\\.img.* is missing"
  "$io" "$(uri vol)" "match $TMP/expected.img"
  stop_nbdkit vol
  same "$TMP/${name[1 - leg]}.img" "$TMP/expected.img"

  # An empty file in its place has nothing of the volume, whatever the memory
  # says about that leg.
  truncate -s 4M "$TMP/${name[leg]}.img"
  start_nbdkit vol "${args[@]}" read-policy=round-robin
  "$io" "$(uri vol)" "match $TMP/expected.img" "match $TMP/expected.img" \
    'write 500 1 0x77' 'read 500 1 0x77'
  wait_insync "$meta"
  stop_nbdkit vol
  same "$TMP/a.img" "$TMP/b.img"
  "$io" --fill "$TMP/pattern.img" 4M 3
  cmp -i 100000 -n 3000 "$TMP/a.img" "$TMP/pattern.img" ||
    fail "the empty leg won"
done
