#!/usr/bin/env bash
# What the stress tests with nbd-model share: lengths, seeds, comparisons.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

# Source it instead of functions.sh.  DM_STRESS=long makes the long run; OPS and
# SEED override.
if test "${DM_STRESS:-short}" = long; then
  : "${OPS:=100000}" "${TEST_TIMEOUT:=900}"
else
  : "${OPS:=3000}" "${TEST_TIMEOUT:=300}"
fi
export OPS TEST_TIMEOUT
# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
need nbdcopy

: "${SEED:=$((RANDOM * 32768 + RANDOM))}"
size=32M
leg_a=$TMP/a.img
leg_b=$TMP/b.img
meta=$TMP/vol.d
first=$TMP/first.img
region_size=256K

# model ARG...: the judge and load itself.
model ()
{
  "$(helper nbd-model)" --seed "$SEED" --timeout "$TEST_TIMEOUT" "$@" ||
    fail "nbd-model objected (SEED=$SEED OPS=$OPS $0)"
}

# start ARG...: the volume under test.
# shellcheck disable=SC2120
start ()
{
  start_nbdkit vol "$DM_PLUGIN" "$leg_a" "$leg_b" meta="$meta" \
    region-size="$region_size" "$@"
}

# stop: once in sync; then the legs are equal and the memory is clean.
stop ()
{
  wait_insync "$meta"
  stop_nbdkit vol
  same "$leg_a" "$leg_b"
  test "$(dm_manifest "$meta" clean)" = true ||
    fail "stopped in order and in sync, but not clean"
}

# export_is EXPORT FILE: read by nbdcopy.
export_is ()
{
  rm -f "$TMP/read.img"
  nbdcopy "$(uri vol "$1")" "$TMP/read.img"
  same "$TMP/read.img" "$2"
}

# Data everywhere but in a part, where holes are.
first_content ()
{
  fill "$first" "$size" "$SEED"
  fallocate --punch-hole --offset 3M --length 5M "$first"
  truncate -s "$size" "$leg_a" "$leg_b"
  # shellcheck disable=SC2119
  start
  nbdcopy "$first" "$(uri vol)"
  stop
  same "$leg_a" "$first"
}
