#!/usr/bin/env bash
# Kernel's tables of snapshots that cannot be, and files that cannot be theirs.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

# Many refusals, each with a server of its own.
export TEST_TIMEOUT="${TEST_TIMEOUT:-400}"
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

mkdir "$TMP/d"
cd "$TMP/d"
fill o.img 64K 1
truncate -s 64K new.cow
truncate -s 4K small.cow
: >empty.cow
ln o.img same.img
cp "$abs_top_srcdir/tests/golden/g1_cow.bin" kernel.cow
chmod u+w kernel.cow
# A file system may begin with zeroes, too.
truncate -s 64K fs.img
put fs.img 1080 0x53 0xef

snapshot ()
{
  refuse "$1" "$2" table="0 $3"
}

snapshot "'snap' is not a target" 'give mirror, snapshot, snapshot-origin or' '128 snap o.img'
snapshot 'ends where' 'COW store' '128 snapshot o.img'
snapshot "'Q'" 'give P, PO or N' '128 snapshot o.img new.cow Q 8'
snapshot '12 sectors' 'power of two' '128 snapshot o.img new.cow P 12'
snapshot 'its own COW store' 'give another' '128 snapshot o.img o.img P 8'
snapshot 'same.img.* is the same file' 'give another' \
  '128 snapshot o.img same.img N 8'
snapshot 'o.img.* has 128 sectors' 'give that of the origin' \
  '129 snapshot o.img new.cow P 8'
snapshot 'the origin \(no.img\): does not exist' 'check the name' \
  '128 snapshot no.img new.cow P 8'
snapshot 'the COW store \(no.cow\): does not exist' 'check the name' \
  '128 snapshot o.img no.cow P 8'
snapshot 'the COW store \(\.\)' 'give a file' '128 snapshot o.img . P 8'
snapshot 'fs.img.* something else may be' 'fill its first 4096 bytes' \
  '128 snapshot o.img fs.img P 8'
snapshot 'small.cow.* has 8 sectors' 'give a larger one' \
  '128 snapshot o.img small.cow P 8'
snapshot 'small.cow.* has 8 sectors' 'give a larger one' \
  '128 snapshot o.img small.cow N 16'
snapshot 'empty.cow.* has 0 sectors' 'give a larger one' \
  '128 snapshot o.img empty.cow P 8'
snapshot 'chunks of 4096 sectors' 'up to 2048' \
  '128 snapshot o.img new.cow P 4096'
# Another origin's: records for what this one has not.
snapshot 'kernel.cow.*outside the volume' 'give the snapshot up' \
  '128 snapshot o.img kernel.cow P 8'
put kernel.cow 0 1
snapshot 'kernel.cow.*magic' 'give the snapshot up' \
  '128 snapshot o.img kernel.cow P 8'

# Several lines.
origin='0 128 snapshot-origin o.img'
refuse 'same origin \(same.img\)' 'leave one of them out' \
  table="$origin;b: 0 128 snapshot-origin same.img"
refuse 'new.cow.* same file as another' 'give another' \
  table="$origin;a: 0 128 snapshot o.img new.cow P 8;b: 0 128 snapshot o.img ./new.cow N 8"
refuse 'same.img.* same file as an origin' 'give another' \
  table="a: 0 128 snapshot fs.img same.img N 8;$origin"
refuse 'no name' 'put .NAME:. before' table="$origin;$origin"
refuse 'the origin \(no.img\): does not exist' 'check the name' \
  table='0 128 snapshot-origin no.img'
merge='0 128 snapshot-merge same.img new.cow P 8'
refuse 'same origin \(same.img\)' 'leave one of them out' \
  table="vol: $origin;$merge"
refuse 'not remembered' 'give P' table='0 128 snapshot-merge o.img new.cow N 8'
cp "$abs_top_srcdir/tests/golden/g3_cow_inv.bin" invalid.cow
refuse 'invalid.cow.* is marked invalid' 'give snapshot-origin' \
  table='0 128 snapshot-merge o.img invalid.cow P 8'
# A store that is wrong keeps the others from being made.
refuse 'fs.img.* something else may be' 'fill its first' \
  table="$origin;a: 0 128 snapshot o.img new.cow P 8;b: 0 128 snapshot o.img fs.img P 8"
refuse 'kernel.cow.*magic' 'give the snapshot up' \
  table="$origin;a: 0 128 snapshot o.img new.cow P 8;b: 0 128 snapshot o.img kernel.cow P 8"

good='0 128 snapshot o.img new.cow P 8'
for key in meta=d control=s.sock snapshot=s size=64K sync=none chunk-size=4K \
           on-cow-error=break-snapshot region-size=1M; do
  refuse "${key%%=*}=: is for a volume" 'leave one of them out' \
    table="$good" "$key"
done
refuse 'legs were given' 'give the table' o.img table="$good"
