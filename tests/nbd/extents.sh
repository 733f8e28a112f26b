#!/usr/bin/env bash
# A sparse volume is reported sparse, never more than 1 GiB at once.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
need nbdcopy
io=$(helper nbd-io)

# Two islands of data.  Whatever is reported as a hole must read as zeroes,
# and most of the rest must be reported as one.
truncate -s 64M "$TMP/a.img" "$TMP/b.img"
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" sync=none \
  meta="$TMP/vol.d" snapshot=snap
"$io" "$(uri vol)" 'write 8M 1M 1' 'write 33554433 100 2' flush
for export in '' snap; do
  "$io" "$(uri vol "$export")" 'extents 0 64M' >"$TMP/extents.log"
  awk -v export="$export" '
    $1 != at { print "a gap at " at; exit 1 }
    { at += $2 }
    $3 % 2 == 1 { hole += $2 }
    export == "" && $3 != 0 && $1 < 9437184 && $1 + $2 > 8388608 {
      print "data reported as zero"; exit 1 }
    export == "" && $3 != 0 && $1 <= 33554433 && $1 + $2 > 33554433 {
      print "data reported as zero"; exit 1 }
    END { if (at != 67108864) { print "ends at " at; exit 1 }
          if (hole < 60 * 1048576) { print "only " hole " of hole"; exit 1 } }
  ' "$TMP/extents.log" >&2 || fail "export \"$export\": extents are wrong"
done

# A copy that trusts the extents has the data.
nbdcopy "$(uri vol)" "$TMP/copy.img"
same "$TMP/copy.img" "$TMP/a.img"

# In a snapshot, what was data when it was taken is data there, even where the
# volume has a hole by now; and the other way round.
"$io" "$(uri vol)" 'trim 8M 1M' 'zero 32M 1M' 'write 16M 1M 3' flush
nbdcopy "$(uri vol snap)" "$TMP/snap-copy.img"
truncate -s 64M "$TMP/empty.img"
same "$TMP/snap-copy.img" "$TMP/empty.img"
nbdcopy "$(uri vol)" "$TMP/copy.img"
same "$TMP/copy.img" "$TMP/a.img"
stop_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"

start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" \
  snapshot=full
"$io" "$(uri vol)" 'trim 0 64M' flush
nbdcopy "$(uri vol full)" "$TMP/full-copy.img"
same "$TMP/full-copy.img" "$TMP/copy.img"
wait_insync "$TMP/vol.d"
stop_nbdkit vol

# 8 GiB: nbdkit before 1.44 aborts at an extent of 4 GiB.
truncate -s 8G "$TMP/c.img" "$TMP/d.img"
start_nbdkit big "$DM_PLUGIN" "$TMP/c.img" "$TMP/d.img" sync=none \
  meta="$TMP/big.d" snapshot=snap
for export in '' snap; do
  for place in '0 4294967295' '1 4294967295' '4G 4294967295' \
               '8589934591 1' '4294967297 4294967295'; do
    "$io" "$(uri big "$export")" "extents $place" >"$TMP/extents.log"
    awk '$2 > 1073741824 { print; exit 1 }
         END { if (NR == 0) { print "nothing"; exit 1 } }' \
      "$TMP/extents.log" >&2 || fail "export \"$export\": extents $place"
  done
done

# The longest requests there are must not write what they need not, nor must
# the snapshot's store: what was a hole is one there, too.
"$io" "$(uri big)" 'trim 0 4294967295' 'zero 1 4294967295' \
  'trim 4294967297 4294967295' 'read 4G 1M 0x00'
used=$(du -cm "$TMP/c.img" "$TMP/d.img" "$TMP/big.d" | awk 'END { print $1 }')
test "$used" -le 16 || fail "zeroes and trims of holes left $used MiB of data"
stop_nbdkit big
