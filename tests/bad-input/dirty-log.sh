#!/usr/bin/env bash
# Damaged dirty logs: each kind of damage is named, and the log left as it is.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

io=$(helper nbd-io)
# 16 regions of 64 KiB.
make_volume region-size=64K
log=$TMP/d/meta/dirty.log
test "$(stat -c %s "$log")" -eq 4096 || fail "the log is not 4096 bytes"
keep_volume

remedy='restore it from a copy of the folder, or remove it'

# damaged NAMES [REMEDY]
damaged ()
{
  refuse "$1" "${2:-$remedy}" "$TMP/d/a.img" "$TMP/d/b.img" meta="$TMP/d/meta"
  fresh_volume
}

# The header: magic, version, number of regions.
put "$log" 0 1
damaged 'meta/dirty\.log: is not a dirty log'
# shellcheck disable=SC2046
put "$log" 0 $(le32 0)
damaged 'meta/dirty\.log: is not a dirty log'
for version in 0 3 4294967295; do
  # shellcheck disable=SC2046
  put "$log" 4 $(le32 "$version")
  damaged "meta/dirty\\.log: has version $version" 'program that wrote it'
done
for regions in 0 1 15 17 65536 9223372036854775807; do
  # shellcheck disable=SC2046
  put "$log" 8 $(le64 "$regions")
  damaged "meta/dirty\\.log: has $regions regions and the volume has 16"
done

# Cut short, and not even a log.
truncate -s 1024 "$log"
damaged 'meta/dirty\.log: has only 1024 bytes'
truncate -s 512 "$log"
damaged 'meta/dirty\.log: has only 512 bytes'
truncate -s 0 "$log"
damaged 'meta/dirty\.log: has only 0 bytes'
truncate -s 1500 "$log"
damaged 'meta/dirty\.log: cannot be opened' 'remove it'
rm "$log"
mkdir "$log"
damaged 'meta/dirty\.log: cannot be opened' 'remove it'
rm "$log"
mkfifo "$log"
damaged 'meta/dirty\.log: cannot be opened' 'remove it'
rm "$log"
ln -s ../a.img "$log"
damaged 'meta/dirty\.log: cannot be opened' 'remove it'

# What is longer is used up to what is needed, and its end is kept.
fill "$TMP/tail" 8192 5
cat "$TMP/tail" >>"$log"
start_nbdkit vol "$DM_PLUGIN" "$TMP/d/a.img" "$TMP/d/b.img" meta="$TMP/d/meta"
"$io" "$(uri vol)" 'write 0 4096 3'
wait_insync "$TMP/d/meta"
stop_nbdkit vol
cmp -i 4096:0 "$log" "$TMP/tail" || fail "the end of the log was changed"
fresh_volume

# What Linux puts right is put right; what it leaves alone is left alone.
put "$log" 4 1
put "$log" 16 1 2 3 4
put "$log" 1016 5 6 7 8
put "$log" 1032 9 10
for ((i = 1026; i < 1032; i++)); do
  put "$log" "$i" 255
done
cp "$log" "$TMP/kept.log"
start_nbdkit vol "$DM_PLUGIN" "$TMP/d/a.img" "$TMP/d/b.img" meta="$TMP/d/meta"
"$io" "$(uri vol)" 'read 0 4096 2'
wait_insync "$TMP/d/meta"
stop_nbdkit vol
put "$TMP/kept.log" 4 2
put "$TMP/kept.log" 1026 0 0 0 0 0 0
cmp "$log" "$TMP/kept.log" || fail "something else was changed in the log"
fresh_volume

# The remedy.
put "$log" 0 0
damaged 'meta/dirty\.log'
rm "$log"
start_nbdkit vol "$DM_PLUGIN" "$TMP/d/a.img" "$TMP/d/b.img" meta="$TMP/d/meta"
said vol 'meta/dirty\.log: is not there; all regions are taken to be dirty'
"$io" "$(uri vol)" 'read 0 12K 2' 'write 100K 12K 3' flush
wait_insync "$TMP/d/meta"
stop_nbdkit vol
same "$TMP/d/a.img" "$TMP/d/b.img"
test -s "$log" || fail "there is no new log"
