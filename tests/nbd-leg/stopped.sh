#!/usr/bin/env bash
# A server that is stopped for longer than the time-out writes nothing late.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

truncate -s 16M "$TMP/a.img"
start_nbdkit a file "$TMP/a.img"

# a_round SECTORS CONNECTIONS: what was sent, and not answered, lands before
# what is sent after reconnecting, or not at all.
a_round ()
{
  local sectors=$1 connections=$2

  leg_open "$(uri a)" 1000 "$connections"
  settle write 0 "$sectors" 1 fua
  stop_process "$(pid a)"
  expect ETIMEDOUT write 0 "$sectors" 2
  took 1000 20000
  at_once ETIMEDOUT 900 read 0 1 1
  expect ETIMEDOUT flush
  expect EBUSY reconnect
  took 1000 20000
  expect ETIMEDOUT write 0 "$sectors" 3
  kill -CONT "$(pid a)"
  drained
  # It was all sent, and it has all landed, by now.
  settle read 0 "$sectors" 2
  settle write 0 "$sectors" 3
  settle flush
  settle read 0 "$sectors" 3
  leg_close
}

a_round 1 1
a_round 8 4
# More than sockets hold, and all in flight at once.
a_round 4096 1
a_round 4096 4

stop_nbdkit a
start_nbdkit a file "$TMP/a.img"
leg_open "$(uri a)"
expect ok read 0 4096 3
leg_close
stop_nbdkit a
