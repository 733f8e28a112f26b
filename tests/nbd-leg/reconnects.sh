#!/usr/bin/env bash
# A thousand reconnects leave no thread, descriptor or memory.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

start_nbdkit a memory 1M
leg_open "$(uri a)" 30000 3
a_reconnect ()
{
  expect ok write 0 8 1
  expect ok lose
  expect ENOTCONN write 0 8 2
  expect ok reconnect
}
for ((i = 0; i < 50; i++)); do
  a_reconnect
done
leg left
left=$leg_answer
leg memory
memory=$leg_answer
for ((i = 0; i < 950; i++)); do
  a_reconnect
done
expect "$left" left
leg memory
echo "$left; $memory kB, then $leg_answer kB"
# With a sanitizer what was freed is kept for a while.
if ! is_sanitized "$abs_top_builddir/tests/nbd-leg/leg-io" asan tsan; then
  test "$leg_answer" -le $((memory + 2048)) ||
    fail "memory went from $memory to $leg_answer kilobytes"
fi
leg_close
stop_worn_nbdkit a
