#!/usr/bin/env bash
# A server that is killed, and started again.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

truncate -s 16M "$TMP/a.img"
for round in 1 2 3; do
  start_nbdkit a --filter=delay file "$TMP/a.img" delay-write=60
  if test "$round" -eq 1; then
    leg_open "$(uri a)" 30000 4
  else
    expect ok reconnect
  fi
  expect ok zeroes 9000 10
  leg_start write 0 100 "$round"
  kill_nbdkit a
  leg_wait
  test "$leg_answer" = ENOTCONN || fail "a write to the dead: $leg_answer"
  took 0 20000
  expect ENOTCONN read 0 1 0
  expect ENOTCONN flush
  expect ECONNREFUSED reconnect
  expect ENOTCONN write 0 1 0

  start_nbdkit a file "$TMP/a.img"
  expect ok reconnect
  expect ok write 0 100 1"$round"
  expect ok flush
  expect ok read 0 100 1"$round"
  kill_nbdkit a
  # Nobody has noticed yet; the first call does.
  expect ENOTCONN read 0 1 0
done
leg_close
