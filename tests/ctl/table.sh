#!/usr/bin/env bash
# A mirror by the kernel's own table: offsets, core and disk logs.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

vol () { expect "$1" -s "$(control vol)" "${@:2}"; }

start_table ()
{
  start_nbdkit vol "$DM_PLUGIN" table="$1" control="$(control vol)"
  client_open vol
}

stop ()
{
  client_close
  stop_nbdkit vol
}

# spoil FILE MIB, is_spoiled FILE MIB: a sector there is something else.
"$(helper nbd-io)" --fill "$TMP/spot" 512 99
spoil () { dd if="$TMP/spot" of="$1" bs=1M seek="$2" conv=notrunc status=none; }
is_spoiled () { cmp -s -i $(($2 * 1048576)):0 -n 512 "$1" "$TMP/spot"; }

log_bits () { od -An -tx1 -j 1024 -N 1 "$TMP/log" | tr -d ' \n'; }

# 4 MiB, one leg at the start of a file, one behind 1 MiB of something else.
fill "$TMP/a.img" 4M 1
fill "$TMP/b.img" 6M 2
cp "$TMP/b.img" "$TMP/b.before"
legs="2 $TMP/a.img 0 $TMP/b.img 2048 1 handle_errors"
start_table "0 8192 mirror core 2 2048 sync $legs"
vol 0 wait sync
ask read 0 4M 1
ask write 1000000 70001 3
ask flush
stop
cmp -i 0:1048576 -n 4194304 "$TMP/a.img" "$TMP/b.img" ||
  fail "the legs differ"
cmp -n 1048576 "$TMP/b.img" "$TMP/b.before" ||
  fail "what is before the leg has changed"
cmp -i 5242880 -n 1048576 "$TMP/b.img" "$TMP/b.before" ||
  fail "what is behind the leg has changed"

# A leg that was out comes back to the same place.
start_table "0 8192 mirror core 2 2048 nosync $legs"
vol 0 leg fail 1
ask write 2000000 70001 4
vol 0 leg rejoin 1
vol 0 wait sync
stop
cmp -i 0:1048576 -n 4194304 "$TMP/a.img" "$TMP/b.img" ||
  fail "the legs differ after a rejoin"
cmp -n 1048576 "$TMP/b.img" "$TMP/b.before" ||
  fail "a rejoin has changed what is before the leg"

# A disk log: begun by sync, believed afterwards.
truncate -s 64K "$TMP/log"
legs="2 $TMP/a.img 0 $TMP/b.img 2048 2 handle_errors keep_log"
refused "$DM_PLUGIN" table="0 8192 mirror disk 2 $TMP/log 2048 $legs"
grep -q 'say sync or nosync' "$TMP/refused.log" || fail "no remedy is told"
start_table "0 8192 mirror disk 3 $TMP/log 2048 sync $legs"
said vol 'it is not remembered which leg has failed|nothing is remembered'
vol 0 wait sync
ask write 0 512 5
stop
test "$(log_bits)" = 0f || fail "not clean after a clean stop: $(log_bits)"

# Killed with region 2 dirty: it alone is copied, from the first leg.
table="0 8192 mirror disk 2 $TMP/log 2048 $legs"
start_table "$table"
ask write 2500000 512 6
kill_nbdkit vol
rm -f "$(control vol)"
client_close || :
test "$(log_bits)" = 0b || fail "region 2 is not dirty: $(log_bits)"
spoil "$TMP/b.img" 2
spoil "$TMP/b.img" 3
start_table "$table"
said vol 'it is not remembered which leg has failed'
vol 0 wait sync
ask read 2500000 512 6
stop
is_spoiled "$TMP/b.img" 2 || fail "region 1, clean, was copied"
! is_spoiled "$TMP/b.img" 3 || fail "region 2, dirty, was not copied"

# Nothing is created that is not there.
refused "$DM_PLUGIN" \
  table="0 8192 mirror core 1 2048 2 $TMP/a.img 0 $TMP/none.img 0"
test ! -e "$TMP/none.img" || fail "a leg of a table was created"
refused "$DM_PLUGIN" \
  table="0 8192 mirror core 1 2048 2 $TMP/a.img 0 $TMP/b.img 99999"
grep -q 'ends before sector 99999' "$TMP/refused.log" ||
  fail "an offset behind the end is not told"
refused "$DM_PLUGIN" table="0 8192 mirror disk 3 $TMP/a.img 2048 sync $legs"
