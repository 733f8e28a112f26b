#!/usr/bin/env bash
# Over TCP: lost and stopped as over any other socket.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

truncate -s 16M "$TMP/a.img"
start_tcp_nbdkit a file "$TMP/a.img"
leg_open "nbd://localhost:$port/" 1000 4
settle write 0 4096 1 fua
stop_process "$(pid a)"
expect ETIMEDOUT write 0 4096 2
expect EBUSY reconnect
kill -CONT "$(pid a)"
drained
settle read 0 4096 2
settle write 0 4096 3
settle read 0 4096 3
settle flush
# Killed while stopped, with what it has not read: TCP tells a reset.
stop_process "$(pid a)"
leg_start write 0 4096 4
kill_nbdkit a
leg_wait
test "$leg_answer" = ENOTCONN -o "$leg_answer" = ETIMEDOUT ||
  fail "a write to the dead: $leg_answer"
expect ECONNREFUSED reconnect
leg_close
