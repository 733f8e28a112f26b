#!/usr/bin/env bash
# Legs that are not those the volume had: swapped is fine, anything else is said.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

io=$(helper nbd-io)
make_volume sync=auto
cd "$TMP/d"
fill f.img 1M 7
cp f.img g.img
keep_volume

# In another order they are the same legs.
start_nbdkit vol "$DM_PLUGIN" b.img a.img meta=meta
"$io" "$(uri vol)" 'read 0 12K 2' 'write 40K 4K 3' flush
wait_insync meta
stop_nbdkit vol
same a.img b.img
start_nbdkit vol "$DM_PLUGIN" a.img ./b.img meta=./meta
"$io" "$(uri vol)" 'read 0 12K 2' 'read 40K 4K 3'
stop_nbdkit vol
fresh_volume

refuse '/d/b\.img' 'give it, too, or size=' a.img meta=meta
refuse '/d/a\.img' 'give it, too, or size=' b.img meta=meta
refuse '/d/b\.img' 'give it, too' a.img f.img meta=meta
refuse 'leg 1 \(.*f\.img\) is not one' 'leave it out' a.img f.img meta=meta
refuse 'leg 1 \(.*f\.img\)' "'dmnbd leg replace'.*'leg add'" a.img f.img meta=meta
refuse 'leg 2 \(.*f\.img\) is not one' 'leave it out' a.img b.img f.img meta=meta
refuse 'leg 0 \(.*f\.img\) is not one' 'leave it out' f.img meta=meta

# Strangers, as many as there were legs: those are where they were, so the
# volume has not moved.
refuse 'f\.img' 'leave|another meta=' f.img g.img meta=meta

# Legs that have lost their end have lost data: to make one longer again would
# give a leg that is believed, with zeroes in it.
truncate -s 512K b.img
refuse 'leg 1 \(b\.img\) has 524288 bytes' 'size=' a.img b.img meta=meta
if grep -q 'truncate' "$TMP/errors.log"; then
  fail "a leg that has lost its end must not be made longer and believed"
fi
truncate -s 0 b.img
refuse 'leg 1 \(b\.img\) has 0 bytes' 'size=' a.img b.img meta=meta
truncate -s 1000 b.img
refuse 'leg 1 \(b\.img\)' '512' a.img b.img meta=meta
# The remedy.
rm b.img
start_nbdkit vol "$DM_PLUGIN" a.img b.img meta=meta size=1M
"$io" "$(uri vol)" 'read 0 12K 2' 'read 12K 88K 1'
"$io" "$(uri vol)" 'write 0 512 2'
wait_insync meta
stop_nbdkit vol
same a.img b.img
keep_volume

refuse 'size=2097152.*1048576' 'leave size= out.*new volume' a.img b.img meta=meta size=2M
refuse 'size=524288.*1048576' 'leave size= out' a.img b.img meta=meta size=512K
refuse 'region-size=65536.*2097152' 'leave region-size= out' a.img b.img \
  meta=meta region-size=64K
mv b.img b.away
refuse 'leg 1 \(b\.img\)' 'leave sync= out' a.img b.img meta=meta size=1M \
  sync=none
mv a.img a.away
refuse 'none of the legs' 'put them back' a.img b.img meta=meta size=1M
mv a.away a.img
mv b.away b.img

# Nothing of all this has hurt the volume.
start_nbdkit vol "$DM_PLUGIN" a.img b.img meta=meta
"$io" "$(uri vol)" 'read 0 12K 2' 'read 100K 12K 2' 'read 1044480 4K 2'
stop_nbdkit vol
