#!/usr/bin/env bash
# Servers that want large blocks, or take only small requests.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

SEED=${SEED:-$RANDOM}
echo "SEED=$SEED"
for sizes in '4096 4096 32768' '65536 65536 1048576' '1 512 4096' \
  '512 65536 33554432'; do
  read -r least preferred most <<<"$sizes"
  truncate -s 0 "$TMP/a.img"
  truncate -s 16M "$TMP/a.img"
  start_nbdkit a --filter=blocksize-policy file "$TMP/a.img" \
    blocksize-minimum="$least" blocksize-preferred="$preferred" \
    blocksize-maximum="$most" blocksize-error-policy=error
  leg_open "$(uri a)" 30000 4
  leg facts
  echo "$sizes: $leg_answer"
  expect ok write 3 9999 1
  expect ok read 3 9999 1
  expect ok read 1001 1 1
  expect ok zero 20 1
  expect ok zeroes 20 1
  expect ok read 19 1 1
  expect ok read 21 9000 1
  expect ok model "$SEED" 2000
  expect ok race 20000 1000
  expect ok flush
  leg_close
  stop_nbdkit a
done
