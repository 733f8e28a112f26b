#!/usr/bin/env bash
# Servers that are slow, for less and for longer than the time-out.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

start_nbdkit delay --filter=delay memory 16M delay-read=1 delay-write=3
leg_open "$(uri delay)" 20000 2
expect ok zeroes 0 8
took 1000 15000
leg_close
leg_open "$(uri delay)" 1000 2
expect ETIMEDOUT write 0 8 1
took 1000 15000
drained
leg_close
leg_open "$(uri delay)" 20000 2
expect ok read 0 8 1
leg_close

# It begins with two seconds' worth at once.
start_nbdkit rate --filter=rate memory 16M rate=40M
leg_open "$(uri rate)" 20000 1
expect ok write 0 32768 1
took 1000 60000
expect ok read 0 8192 1
leg_close

start_nbdkit pause --filter=pause memory 16M pause-control="$TMP/control"
leg_open "$(uri pause)" 1000 4
settle write 0 8 1
expect ok tell "$TMP/control" p
expect ETIMEDOUT write 0 8 2
took 1000 15000
expect ETIMEDOUT write 0 8 3
expect EBUSY reconnect
expect ok tell "$TMP/control" r
drained
settle read 0 8 2
settle write 0 8 4
settle read 0 8 4
leg_close
