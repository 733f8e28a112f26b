#!/usr/bin/env bash
# Legs behind TLS with keys that both have, and without.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

# Keys that both have.
printf 'leg:%064d\n' 1 > "$TMP/keys.psk"
printf 'leg:%064d\n' 2 > "$TMP/wrong.psk"
start_nbdkit psk --tls=require --tls-psk="$TMP/keys.psk" memory 16M
tls ()
{
  echo "nbds+unix://leg@/?socket=$TMP/$1.sock&tls-psk-file=$TMP/$2"
}
leg_open "$(tls psk keys.psk)" 20000 4
expect ok write 0 20000 1 fua
expect ok read 0 20000 1
expect ok flush
# A connection that is lost under TLS is no other.
expect ok lose
expect ENOTCONN write 0 8 2
expect ok reconnect
expect ok read 0 20000 1
expect ok write 0 20000 2
leg_close
leg_open "$(tls psk keys.psk)" 1000 2
stop_process "$(pid psk)"
expect ETIMEDOUT write 0 4096 3
expect EBUSY reconnect
kill -CONT "$(pid psk)"
drained
settle read 0 4096 3
leg_close

leg_refused "$(tls psk wrong.psk)"
leg_refused "$(tls psk none.psk)"
leg_refused "$(uri psk)"
start_nbdkit plain memory 1M
leg_refused "$(tls plain keys.psk)"
