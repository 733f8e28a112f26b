#!/usr/bin/env bash
# Damaged COW stores: each kind of damage is named, and the store left as it is.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

# Many refusals, each with a server of its own.
export TEST_TIMEOUT="${TEST_TIMEOUT:-400}"
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

io=$(helper nbd-io)
# 256 records in an area, 256 chunks in the volume, 64 in the store; seven
# records are there.
chunk=4096
make_volume snapshot=snap chunk-size=4K cow-size=256K
cow=$TMP/d/meta/snap.cow
test "$(stat -c %s "$cow")" -eq 262144 || fail "the store is not 256 KiB"
keep_volume

remedy='restore (the file|it) from a copy.*discard-snapshot='

# damaged NAMES [REMEDY]
damaged ()
{
  refuse "$1" "${2:-$remedy}" "$TMP/d/a.img" "$TMP/d/b.img" meta="$TMP/d/meta"
  fresh_volume
}

# record INDEX OLD NEW: of the first area.
record ()
{
  # shellcheck disable=SC2046
  put "$cow" $((chunk + 16 * $1)) $(le64 "$2") $(le64 "$3")
}

# The header: magic, valid, version, sectors in a chunk, four bytes each.
put "$cow" 0 1
damaged 'snap\.cow.*magic'
# shellcheck disable=SC2046
put "$cow" 0 $(le32 0)
damaged 'snap\.cow.*magic 0x00000000'
for version in 0 2 4294967295; do
  # shellcheck disable=SC2046
  put "$cow" 8 $(le32 $version)
  damaged "snap\\.cow.*version $version" 'program that wrote it.*discard'
done
for sectors in 0 3 7 12 4096 2147483648 4294967295; do
  # shellcheck disable=SC2046
  put "$cow" 12 $(le32 "$sectors")
  damaged "snap\\.cow.*chunk of $sectors sectors"
done
# Powers of two that the store was not made with: other areas, so other
# records, which make no sense there.
for sectors in 1 2 4 16 256 512; do
  # shellcheck disable=SC2046
  put "$cow" 12 $(le32 "$sectors")
  damaged 'snap\.cow'
done

# The file.
truncate -s 0 "$cow"
damaged 'snap\.cow.*empty'
truncate -s 100 "$cow"
damaged 'snap\.cow'
truncate -s 512 "$cow"
damaged 'snap\.cow.*cut short'
truncate -s 8K "$cow"
damaged 'snap\.cow.*cut short'
# Records that were good lead behind the end.
truncate -s 16K "$cow"
damaged 'snap\.cow.*outside the store.*cut short'
rm "$cow"
damaged 'snap\.cow.*No such file'
cp "$TMP/kept/meta/snap.cow" "$TMP/d/other"
ln -sf ../other "$cow"
damaged 'snap\.cow'
rm -f "$cow" "$TMP/d/other"
mkdir "$cow"
damaged 'snap\.cow'
rm -rf "$cow"
mkfifo "$cow"
damaged 'snap\.cow'
rm -f "$cow"
fresh_volume

ln -f "$TMP/d/a.img" "$cow"
refuse 'snap\.cow is in use: .*link' 'a file of its own.*discard-snapshot=' \
  "$TMP/d/a.img" "$TMP/d/b.img" meta="$TMP/d/meta"
rm -f "$cow"
fresh_volume

# Records: old chunk, new chunk, eight bytes each.
record 1 256 3
damaged 'snap\.cow: record 1: old chunk 256 is outside the volume.*256'
record 0 72057594037927936 2
damaged 'record 0: old chunk 72057594037927936 is outside the volume'
record 4 -1 6
damaged 'record 4: old chunk 18446744073709551615 is outside the volume'
record 1 1 64
damaged 'record 1: new chunk 64 is outside the store, which has 64'
record 1 1 9223372036854775807
damaged 'record 1: new chunk 9223372036854775807 is outside the store'
record 1 1 -1
damaged 'record 1: new chunk 18446744073709551615 is outside the store'
record 1 1 1
damaged "record 1: new chunk 1 is one of the store's own areas"
record 3 0 5
damaged 'record 3: old chunk 0 has a record already'
record 3 25 2
damaged 'two records share new chunk 2'
# One behind the last is the end of the list: it may be anything, and is
# nothing.
record 8 4711 4711
start_nbdkit vol "$DM_PLUGIN" "$TMP/d/a.img" "$TMP/d/b.img" meta="$TMP/d/meta"
"$io" "$(uri vol snap)" 'read 0 1M 1'
stop_nbdkit vol
fresh_volume

# The header is the header's: chunk 0 holds no data.  A record that leads
# there is the end of the list, whatever its old chunk.
record 7 7 0
start_nbdkit vol "$DM_PLUGIN" "$TMP/d/a.img" "$TMP/d/b.img" meta="$TMP/d/meta"
"$io" "$(uri vol snap)" 'read 0 1M 1'
stop_nbdkit vol

# What was never damaged still works.
fresh_volume
start_nbdkit vol "$DM_PLUGIN" "$TMP/d/a.img" "$TMP/d/b.img" meta="$TMP/d/meta"
"$io" "$(uri vol snap)" 'read 0 1M 1'
"$io" "$(uri vol)" 'read 0 12K 2' 'read 12K 88K 1' 'read 1044480 4K 2'
stop_nbdkit vol
