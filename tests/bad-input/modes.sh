#!/usr/bin/env bash
# Files whose modes are in the way: legs, folder and store, for one who is not root.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

server=$NBDKIT
if test "$(id -u)" -eq 0; then
  need setpriv
  # A script of its own: NBDKIT is one word.
  {
    echo '#!/bin/sh'
    echo "exec ${as_nobody_special[*]} '$server' \"\$@\""
  } >"$TMP/nbdkit"
  chmod +x "$TMP/nbdkit"
fi
make_volume snapshot=snap
cd "$TMP/d"
fill c.img 1M 3
mkdir closed
fill closed/c.img 1M 3
test ! -x "$TMP/nbdkit" || NBDKIT=$TMP/nbdkit

chmod 0000 c.img
refuse 'leg 0 \(c\.img\).*Permission denied' 'mode and owner' c.img
chmod 0200 c.img
refuse 'leg 0 \(c\.img\).*Permission denied' 'mode and owner' c.img
chmod 0600 c.img
chmod 0000 closed
refuse 'closed/c\.img.*Permission denied' 'mode and owner' closed/c.img
chmod 0500 closed
refuse 'closed/new\.img.*Permission denied' 'mode and owner' \
  closed/new.img size=1M
refuse 'closed/new\.d.*Permission denied' 'mode and owner' \
  c.img meta=closed/new.d
chmod 0700 closed

chmod 0000 meta
refuse 'meta=meta.*Permission denied' 'mode and owner' a.img b.img meta=meta
# Without the right to write in it nothing can be remembered: only -r will do.
chmod 0500 meta
refuse 'snapshot new.*meta= folder' 'cannot be written' a.img b.img meta=meta \
  snapshot=new
refuse 'snapshot.*meta= folder' 'cannot be written' a.img b.img meta=meta \
  discard-snapshot=snap
chmod 0700 meta
chmod 0000 meta/volume.json
refuse 'volume\.json.*Permission denied' 'mode and owner' a.img b.img meta=meta
chmod 0600 meta/volume.json
chmod 0000 meta/snap.cow
refuse 'snap\.cow.*Permission denied' 'mode and owner|restore|discard' \
  a.img b.img meta=meta
chmod 0600 meta/snap.cow

# With all modes as they were it starts.
start_nbdkit vol "$DM_PLUGIN" a.img b.img meta=meta
"$(helper nbd-io)" "$(uri vol snap)" 'read 0 1M 1'
stop_nbdkit vol
