#!/usr/bin/env bash
# Damaged manifests: cut, flipped bit by bit, of a newer version, of another volume.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

# Many refusals, each with a server of its own.
export TEST_TIMEOUT="${TEST_TIMEOUT:-400}"
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

io=$(helper nbd-io)
make_volume snapshot=snap
cd "$TMP/d"
json=meta/volume.json
keep_volume
size=$(stat -c %s "$json")
remedy='restore it from a copy.*move the folder away'

# damaged NAMES [REMEDY]
damaged ()
{
  refuse "$1" "${2:-$remedy}" a.img b.img meta=meta
  fresh_volume
}

# The last byte is a newline, which is nothing.
: >"$json"
damaged 'volume\.json'
for length in 1 $((size / 2)) $((size - 2)); do
  truncate -s "$length" "$json"
  damaged 'volume\.json'
done
truncate -s $((size + 1)) "$json"
damaged 'volume\.json'
truncate -s 4M "$json"
damaged 'volume\.json'
for text in '{}' '[]' 'null' '"text"' '42' '{"version":1}' '[[[[[' \
            '{"version":"1"}' '{"version":1,"checksum":0}' \
            '{"version":1,"version":1}' '{"version":1.0}'; do
  printf '%s' "$text" >"$json"
  damaged 'volume\.json'
done
printf '[%.0s' {1..100000} >"$json"
damaged 'volume\.json'
rm "$json"
fill "$json" 100K 1
damaged 'volume\.json'
rm "$json"
fresh_volume

# A flipped bit, at places all over the file.  (A unit test flips each.)  White space between the words
# is no data: there, another white space is as good.
flips=0
for ((offset = 0; offset < size; offset += 1 + size / 40)); do
  byte=$(od -An -tu1 -j "$offset" -N 1 "$json" | tr -d ' ')
  case $byte in
    9 | 10 | 13 | 32) continue ;;
  esac
  put "$json" "$offset" $((byte ^ (1 << (offset % 8))))
  damaged 'volume\.json' "$remedy|program that wrote it"
  flips=$((flips + 1))
done
test "$flips" -ge 18 || fail "only $flips bits were flipped"

# Changed by hand.
sed -i 's/"generation": *1/"generation": 2/' "$json"
damaged 'volume\.json.*checksum'
sed -i 's/"size": *1048576/"size": 524288/' "$json"
damaged 'volume\.json.*checksum'
sed -i 's/"clean": *true/"clean": false/' "$json"
damaged 'volume\.json.*checksum'
sed -i 's/"store": *"snap.cow"/"store": "..\/a.img"/' "$json"
damaged 'volume\.json.*checksum'
sed -i '/"checksum"/d; s/\],$/]/' "$json"
damaged 'volume\.json'
for version in 0 2 99 -1 4294967297; do
  sed -i "s/\"version\": *1/\"version\": $version/" "$json"
  damaged "volume\\.json.*version $version" 'program that wrote it'
done

# The memory of a volume of another size.
fill big.img 4M 4
cp big.img big2.img
start_nbdkit big "$DM_PLUGIN" big.img big2.img meta=big.d
stop_nbdkit big
start_nbdkit big "$DM_PLUGIN" big.img big2.img meta=big.d sync=none
"$io" "$(uri big)" 'write 0 512 4'
stop_nbdkit big
cp big.d/volume.json "$json"
refuse 'big\.img|a\.img' 'give it, too|another meta=|4194304' a.img b.img meta=meta
cp "$TMP/kept/$json" "$json"

# What was never damaged still works.
start_nbdkit vol "$DM_PLUGIN" a.img b.img meta=meta
"$io" "$(uri vol snap)" 'read 0 1M 1'
"$io" "$(uri vol)" 'read 0 12K 2' 'read 12K 88K 1'
stop_nbdkit vol
