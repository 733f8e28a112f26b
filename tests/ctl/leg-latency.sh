#!/usr/bin/env bash
# The metrics tell which leg it is that is slow, though writes wait for both.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

# microseconds LEG OP: all operations of that kind together.
microseconds ()
{
  awk -v name="dmnbd_leg_duration_seconds_sum{leg=\"$1\",op=\"$2\"}" \
    '$1 == name { printf "%.0f\n", $2 * 1000000 }' "$TMP/out"
}

fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
cp "$TMP/a.img" "$TMP/c.img"

# The slow one is the first: the other's answer is there long before it is
# asked for.
start_nbdkit slow --filter=delay file "$TMP/a.img" delay-write=2
start_nbdkit fast file "$TMP/b.img"
start_control vol "$(uri slow)" "$(uri fast)" "$TMP/c.img" sync=none
client_open vol
ask 'write 0 4K 2'
expect 0 -s "$(control vol)" metrics
slow=$(microseconds 0 write) fast=$(microseconds 1 write)
file=$(microseconds 2 write)
test "$slow" -ge 2000000 || fail "the slow leg took $slow us"
test "$fast" -lt 1500000 || fail "the fast leg took $fast us, the slow one $slow"
test "$file" -lt 1500000 || fail "the file took $file us, the slow leg $slow"
client_close
stop_nbdkit vol
stop_nbdkit slow
stop_nbdkit fast
