#!/usr/bin/env bash
# Damaged stores and memories: each refusal names the file, and changes nothing.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

io=$(helper nbd-io)
chunk=4096
cow=$TMP/d/meta/snap.cow
json=$TMP/d/meta/volume.json

# le64 NUMBER, le32 NUMBER: its bytes, for printf.
le64 ()
{
  local n=$1 i

  for ((i = 0; i < 8; i++)); do
    printf '\\x%02x' $((n >> (8 * i) & 255))
  done
}
le32 () { le64 "$1" | cut -c 1-16; }

# put FILE OFFSET ESCAPES
put ()
{
  # shellcheck disable=SC2059
  printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# entry INDEX OLD NEW: an exception of the first area.
entry ()
{
  put "$cow" $((chunk + 16 * $1)) "$(le64 "$2")$(le64 "$3")"
}

mkdir "$TMP/d"
fill "$TMP/d/a.img" 1M 1
args=("$DM_PLUGIN" "$TMP/d/a.img" meta="$TMP/d/meta")
start_nbdkit vol "${args[@]}" snapshot=snap chunk-size=4K cow-size=256K
"$io" "$(uri vol)" 'write 0 12K 2' 'write 100K 12K 2' 'write 1044480 4K 2' flush
wait_insync "$TMP/d/meta"
stop_nbdkit vol
cp -a "$TMP/d" "$TMP/good"

state ()
{
  find "$TMP/d" -type f -printf '%p %s %T@ %m %y\n' | sort
  find "$TMP/d" -type f -print0 | sort -z | xargs -0 sha256sum
}

# damaged WHAT REGEX: as it is now it must be refused.
damaged ()
{
  echo "$1"
  state >"$TMP/before"
  refused "${args[@]}"
  grep -Eq -- "$2" "$TMP/refused.log" || fail "$1: the message lacks '$2'"
  state >"$TMP/after"
  diff "$TMP/before" "$TMP/after" >&2 || fail "$1: something was changed"
  rm -rf "$TMP/d"
  cp -a "$TMP/good" "$TMP/d"
}

# The header: magic, valid, version, chunk size in sectors, four bytes each.
put "$cow" 0 'XXXX'
damaged 'magic' 'snap\.cow'
put "$cow" 8 "$(le32 2)"
damaged 'version 2' 'snap\.cow.*version'
put "$cow" 8 "$(le32 4294967295)"
damaged 'version -1' 'snap\.cow.*version'
for sectors in 0 1 3 7 4096 1073741824 2147483648 4294967295; do
  put "$cow" 12 "$(le32 "$sectors")"
  damaged "chunk size $sectors" 'snap\.cow'
done
truncate -s 0 "$cow"
damaged 'an empty store' 'snap\.cow'
truncate -s 6000 "$cow"
damaged 'a store cut in its first area' 'snap\.cow'
rm "$cow"
damaged 'no store' 'snap\.cow'

# Records: old chunk, new chunk; five of them are there.
entry 1 256 3
damaged 'an old chunk behind the origin' 'snap\.cow.*256'
entry 1 72057594037927936 3
damaged 'an old chunk with bits that mean nothing' 'snap\.cow'
entry 1 1 64
damaged 'a new chunk behind the store' 'snap\.cow.*64'
entry 1 1 9223372036854775807
damaged 'a new chunk far behind the store' 'snap\.cow'
entry 1 1 1
damaged 'a new chunk in the first area' 'snap\.cow'
entry 1 1 258
damaged 'a new chunk in the second area' 'snap\.cow'
entry 3 0 5
damaged 'one old chunk twice' 'snap\.cow'
entry 3 30 2
damaged 'one new chunk twice' 'snap\.cow'

# The memory.
: >"$json"
damaged 'an empty volume.json' 'volume\.json'
truncate -s 40 "$json"
damaged 'a cut volume.json' 'volume\.json'
sed -i 's/"generation": *[0-9]*/"generation": 4711/' "$json"
damaged 'a changed volume.json' 'volume\.json'
printf '[[[[[' >"$json"
damaged 'no JSON' 'volume\.json'
fill "$json" 100K 1
damaged 'garbage' 'volume\.json'

# What was never damaged still works.
start_nbdkit vol "${args[@]}"
"$io" "$(uri vol snap)" 'read 0 1M 1'
"$io" "$(uri vol)" 'read 0 12K 2' 'read 12K 88K 1' 'read 1044480 4K 2'
stop_nbdkit vol
