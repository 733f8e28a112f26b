#!/usr/bin/env bash
# What is written to a leg is on the server, and the other way round.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

truncate -s 64M "$TMP/a.img"
start_nbdkit a file "$TMP/a.img"
leg_open "$(uri a)" 30000 4
expect 'sectors 131072 block 512 optimal 4096 max 524288' facts
expect 'hole 131072' extent 0 131072
expect ok write 1000 1 1
expect ok write 8192 20000 2 fua
expect ok read 1000 1 1
expect ok read 8192 20000 2
expect ok flush
expect 'data 20000' extent 8192 100000
expect ok discard 8192 10000
expect ok zeroes 8192 10000
expect ok zero 20000 100
expect ok zeroes 20000 100
expect ok read 20100 100 2
expect ok race 40000 2000
expect ok model "${SEED:=$RANDOM}" 3000
expect ok flush
leg_close
echo "SEED=$SEED"

# Another process, another connection, without blocks of any size told.
leg_open "nbd+unix:///?socket=$TMP/a.sock" 30000 1
expect ok read 1000 1 1
expect ok read 40000 2000 99
leg_close
stop_nbdkit a
