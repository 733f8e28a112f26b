#!/usr/bin/env bash
# A diff export and nbdcopy turn a copy of the older into the newer.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

need nbdcopy nbdinfo
io=$(helper nbd-io)
meta=$TMP/vol.d
args=("$DM_PLUGIN" "$TMP/a.img" meta="$meta" chunk-size=64K)
fill "$TMP/a.img" 8M 1

# Three days; in between a write to the snapshot, and a rewrite.
start_nbdkit vol "${args[@]}" snapshot=mon
"$io" "$(uri vol)" 'write 100000 200000 2' 'write 5M 1 3' flush
"$io" "$(uri vol mon)" 'write 2M 1000 4' flush
stop_nbdkit vol
start_nbdkit vol "${args[@]}" snapshot=tue
"$io" "$(uri vol)" 'write 5M 128K 7' 'write 100000 10 5' flush
stop_nbdkit vol
start_nbdkit vol "${args[@]}" snapshot=wed
"$io" "$(uri vol)" 'write 7M 300000 6' flush
for name in mon tue wed; do
  nbdcopy "$(uri vol $name)" "$TMP/$name.img"
done
nbdcopy "$(uri vol)" "$TMP/.img"

for diff in mon..tue mon..wed mon.. tue..wed tue.. wed..; do
  from=${diff%%..*}
  to=${diff##*..}
  # Holes are skipped, so what is there stays.  (A file would be emptied.  nbdcopy
  # skips data that are zeroes, too, so there are none here.)
  cp "$TMP/$from.img" "$TMP/rebuilt.img"
  nbdcopy --destination-is-zero -- "$(uri vol "$diff")" \
    [ nbdkit --exit-with-parent file "$TMP/rebuilt.img" ]
  cmp "$TMP/rebuilt.img" "$TMP/$to.img" || fail "$diff does not make $to"
  # As a sparse file it is data only where something is different.
  nbdcopy "$(uri vol "$diff")" "$TMP/diff.img"
done

nbdinfo --map --totals "$(uri vol tue..wed)" > "$TMP/map.log"
grep -Eq '^ *196608 .* 0 +(data|allocated)' "$TMP/map.log" ||
  fail "tue..wed has other bytes than its three chunks: $(<"$TMP/map.log")"
nbdinfo --list "$(uri vol)" > "$TMP/list.log"
for text in 'export="mon..tue"' 'export="tue..wed"' 'export="mon.."' \
  'since snapshot tue'; do
  grep -Fq "$text" "$TMP/list.log" || fail "$text is not listed"
done
"$io" "$(uri vol mon..tue)" 'read 0 4096 0x00' 'read 100000 200000 2'
if "$io" "$(uri vol mon..tue)" 'write 0 512 1' > "$TMP/out.log" 2>&1; then
  fail "a diff was written to"
fi
if "$io" "$(uri vol wed..mon)" size > "$TMP/out.log" 2>&1; then
  fail "a diff from new to old was opened"
fi
said vol "open 'mon\\.\\.wed'"
stop_nbdkit vol
