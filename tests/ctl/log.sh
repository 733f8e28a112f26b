#!/usr/bin/env bash
# dmnbd log reads dirty logs of the kernel and of ours, and writes none.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/../bad-input/common.sh"

golden=$abs_top_srcdir/tests/golden/g6_log1000.bin
cp "$golden" "$TMP/kernel.log"
chmod 0444 "$TMP/kernel.log"

# The kernel's: a mirror of 1000 sectors, regions of 64, all in sync.
expect 0 log info "$TMP/kernel.log"
told '^format +disk, version 2$'
expect 0 --json log info "$TMP/kernel.log"
test "$(value regions)" = 16
test "$(value dirty)" = 0
test "$(value all_bits_count)" = false
expect 0 log dump "$TMP/kernel.log"
test "$(wc -l <"$TMP/out")" -eq 1

# Some of its bits cleared; those behind the last region do not count.
cp -f "$golden" "$TMP/bits"
chmod 0644 "$TMP/bits"
put "$TMP/bits" 1024 $((0xf8)) $((0x7f)) 0
expect 0 log dump "$TMP/bits"
diff - "$TMP/out" >&2 <<'DUMP' || fail "other regions"
# first dirty region, count
0 3
15 1
DUMP
expect 0 --json log dump "$TMP/bits"
test "$(value 0.count)" = 3
test "$(value 1.first)" = 15
# LVM's: all bits count.
mapfile -t number < <(le64 -1)
put "$TMP/bits" 8 "${number[@]}"
expect 0 --json log info "$TMP/bits"
test "$(value all_bits_count)" = true
test "$(value regions)" = "$(value room)"

# Ours, of a server that was killed while it wrote.
fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" sync=none \
  region-size=64K
client_open vol
ask 'write 1M 64K 2'
expect 0 -s "$(control vol)" --json status
test "$(value log.type)" = disk
kill_nbdkit vol
expect 0 --json log info "$TMP/vol.d/dirty.log"
test "$(value regions)" = 64
test "$(value dirty)" -ge 1
expect 0 log dump "$TMP/vol.d/dirty.log"
told '^16 1$'

# Files that are no logs, or damaged ones.
bad ()
{
  local regex=$1 verb

  shift
  for verb in info dump; do
    expect 1 log "$verb" "$@"
    told "$regex"
  done
}
damage ()
{
  cp -f "$golden" "$TMP/bad"
  chmod 0644 "$TMP/bad"
  put "$TMP/bad" "$@"
}
bad 'No such file' "$TMP/none"
bad 'neither a file nor a block device' "$TMP"
bad 'give a file or a block device' nbd://localhost/
bad 'is not a dirty log' "$abs_top_srcdir/tests/golden/g1_cow.bin"
printf 'short' >"$TMP/bad"
bad 'not a multiple of 512' "$TMP/bad"
: >"$TMP/bad"
bad 'dmnbd: ' "$TMP/bad"
damage 4 9
bad 'version 9' "$TMP/bad"
mapfile -t number < <(le64 $((1 << 40)))
damage 8 "${number[@]}"
bad 'counts 1099511627776 regions' "$TMP/bad"
truncate -s 512 "$TMP/bad"
bad 'dmnbd: ' "$TMP/bad"

cmp "$golden" "$TMP/kernel.log" || fail "a log was changed"
