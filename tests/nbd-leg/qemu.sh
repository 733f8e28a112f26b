#!/usr/bin/env bash
# A write that QEMU is still at is not drained, whatever QEMU closes.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/nbd-leg/common.sh
. "$(dirname "$0")/common.sh"

need qemu-storage-daemon

# Each request takes eight seconds.
qemu-storage-daemon --pidfile "$TMP/qemu.pid" --daemonize \
  --blockdev null-co,node-name=disk,size=1048576,latency-ns=8000000000 \
  --nbd-server addr.type=unix,addr.path="$TMP/qemu.sock" \
  --export nbd,id=export,node-name=disk,name=,writable=on
server_job[qemu]=$(cat "$TMP/qemu.pid") server_pid[qemu]=$(cat "$TMP/qemu.pid")
leg_open "$(uri qemu)" 1000 4
expect ETIMEDOUT write 0 8 1
# At once is too early, and so is a second.
expect EBUSY reconnect
took 1000 60000
drained
leg_close
