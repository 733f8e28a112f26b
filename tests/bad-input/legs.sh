#!/usr/bin/env bash
# Legs that cannot be: none, missing, of odd or unequal size, no files, too many.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

mkdir "$TMP/d"
cd "$TMP/d"
fill a.img 1M 1
fill b.img 1M 2
fill c.img 2M 3
fill odd.img 1000001 4
fill tiny.img 511 4
: >empty.img
mkdir folder
mkfifo pipe
ln -s nowhere dangling.img
ln -s loop.img loop.img
for i in 0 1 2 3 4 5 6 7 8 9; do
  fill "leg$i.img" 64K 5
done

refuse 'leg' 'a\.img b\.img'
refuse 'no leg' 'name at least one' size=1M
refuse 'leg=' 'give a file' leg=
refuse 'missing\.img' 'check the name.*size=' missing.img
refuse 'leg 1 \(missing\.img\)' 'check the name' a.img missing.img
refuse 'missing\.img' 'check the name' a.img missing.img meta=new.d
refuse 'dangling\.img' 'check the name' dangling.img
refuse 'dangling\.img' 'remove|make|check' a.img dangling.img size=1M
refuse 'loop\.img' 'check' loop.img
refuse 'nowhere/x\.img' 'check the name|create' nowhere/x.img
refuse 'nowhere/x\.img' 'folder' nowhere/x.img size=1M
refuse 'a\.img/x' 'check' a.img/x

refuse 'a\.img.*1048576.*c\.img.*2097152' 'make them equal|size=' a.img c.img
refuse 'leg 2 \(c\.img\)' 'make them equal|size=' a.img b.img c.img meta=new.d
refuse 'c\.img' 'make them equal|size=' c.img a.img
refuse 'leg 0 \(a\.img\).*2097152' 'truncate -s 2097152' a.img c.img size=2M
refuse 'odd\.img' '512 bytes; .*truncate -s %512' odd.img
refuse 'leg 1 \(odd\.img\)' 'truncate' a.img odd.img
refuse 'tiny\.img' 'truncate' tiny.img
refuse 'empty\.img' 'truncate' empty.img
refuse 'empty\.img' 'truncate' empty.img size=1M
refuse 'a\.img.*empty\.img' 'make them equal' a.img empty.img

refuse 'folder.*directory' 'give a file' folder
refuse 'leg 1 \(folder\)' 'give a file' a.img folder
refuse 'leg 1 \(\.\)' 'give a file' a.img .
refuse 'leg 0 \(pipe\)' 'neither a file nor a block device' pipe
refuse 'leg 0 \(/dev/null\)' 'neither a file nor a block device' /dev/null
refuse 'leg 0 \(/dev/zero\)' 'neither a file nor a block device' /dev/zero

refuse 'leg9\.img' 'at most 9' leg0.img leg1.img leg2.img leg3.img leg4.img \
  leg5.img leg6.img leg7.img leg8.img leg9.img
refuse 'leg 0 \(nbd://localhost:1/\)' 'check the URI' nbd://localhost:1/
refuse 'leg 1 \(nbd\+unix:.*No such file' 'check the URI' a.img \
  'nbd+unix:///?socket=missing.sock'
long=$(printf 'l%.0s' {1..120000})
refuse 'leg 1 \(.*(l{40}|\.\.\.)' 'too long' a.img "$long"
refuse 'leg=.*not a known|leg' 'check|too long' a.img "${long:0:300}"

# The largest allowed is not refused, and all are written.
start_nbdkit nine "$DM_PLUGIN" leg0.img leg1.img leg2.img leg3.img leg4.img \
  leg5.img leg6.img leg7.img leg8.img sync=none
"$(helper nbd-io)" "$(uri nine)" 'read 0 64K 5' 'write 1 1 0x99' flush
stop_nbdkit nine
for i in 1 2 3 4 5 6 7 8; do
  same leg0.img "leg$i.img"
done
