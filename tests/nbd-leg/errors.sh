#!/usr/bin/env bash
# Errors of the server are errors of the leg, and no others.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

start_nbdkit a --filter=error memory 1M error-file="$TMP/on" \
  error-rate=100% error=ENOSPC
start_nbdkit b --filter=error memory 1M error-file="$TMP/on" \
  error-pread-rate=100% error=EIO
for connections in 1 2; do
  leg_open "$(uri a)" 30000 "$connections"
  touch "$TMP/on"
  expect ENOSPC write 0 10 1
  expect ENOSPC read 0 10 1
  expect ENOSPC zero 0 10
  rm "$TMP/on"
  # The connection has not suffered.
  expect ok write 0 10 1
  expect ok read 0 10 1
  expect ok flush
  leg_close
done

leg_open "$(uri b)" 30000 4
expect ok write 0 2000 3
touch "$TMP/on"
expect EIO read 0 2000 3
expect ok write 0 10 1
rm "$TMP/on"
expect ok read 0 10 1
expect ok flush
leg_close
