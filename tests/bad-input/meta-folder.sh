#!/usr/bin/env bash
# Memory folders that cannot be used.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

io=$(helper nbd-io)
make_volume snapshot=snap
cd "$TMP/d"
fill c.img 1M 3
echo hello >file
mkdir other
ln -s nowhere dangling

refuse 'meta=file: is not a folder' 'give' c.img meta=file
refuse 'meta=/dev/null: is not a folder' 'give' c.img meta=/dev/null
refuse 'meta=meta/volume\.json: is not a folder' 'give' a.img b.img \
  meta=meta/volume.json
refuse 'meta=nowhere/new\.d' 'create' c.img meta=nowhere/new.d
refuse 'meta=dangling' 'create|remove' c.img meta=dangling

# In use by another server, which does not suffer.
start_nbdkit vol "$DM_PLUGIN" a.img b.img meta=meta
"$io" "$(uri vol)" 'write 0 4096 5' flush
wait_insync meta
refuse 'meta=meta.*in use' 'stop that first' a.img b.img meta=meta
refuse 'meta=meta.*in use' 'stop that first' c.img meta=meta
refuse 'meta=other/\.\./meta.*in use' 'a folder of its own' c.img \
  meta=other/../meta
refuse 'leg 0 \(a\.img\).*in use' 'stop that first' a.img c.img
refuse 'leg 1 \(b\.img\).*in use' 'stop that first' c.img b.img meta=other
"$io" "$(uri vol)" 'read 0 4096 5'
stop_nbdkit vol

# Something else is where the manifest should be.
mkdir other/volume.json
refuse 'other/volume\.json' 'move the folder away' c.img meta=other
rmdir other/volume.json
ln -s ../meta/volume.json other/volume.json
refuse 'other/volume\.json' 'move the folder away' c.img meta=other
rm other/volume.json
mkfifo other/volume.json
refuse 'other/volume\.json' 'move the folder away' c.img meta=other
rm other/volume.json
truncate -s 5M other/volume.json
refuse 'other/volume\.json' 'move the folder away' c.img meta=other
rm other/volume.json

start_nbdkit vol "$DM_PLUGIN" a.img b.img meta=meta
"$io" "$(uri vol snap)" 'read 0 1M 1'
"$io" "$(uri vol)" 'read 0 4096 5'
stop_nbdkit vol
