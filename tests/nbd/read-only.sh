#!/usr/bin/env bash
# A read-only server gives everything and writes nothing at all.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# A control socket is recorded in the folder.
WATCH=

state ()
{
  (cd "$TMP/vol" && find . -printf '%p %s %T@ %C@ %m\n' | sort &&
     find . -type f -print0 | sort -z | xargs -0 sha256sum)
}

mkdir "$TMP/vol"
fill "$TMP/vol/a.img" 4M 1
truncate -s 4M "$TMP/vol/b.img"
args=("$DM_PLUGIN" "$TMP/vol/a.img" "$TMP/vol/b.img" meta="$TMP/vol/meta")
cp "$TMP/vol/a.img" "$TMP/old.img"
start_nbdkit vol "${args[@]}" snapshot=snap
"$(helper nbd-io)" "$(uri vol)" 'write 1000 100000 7' flush
wait_insync "$TMP/vol/meta"
stop_nbdkit vol
cp "$TMP/vol/a.img" "$TMP/new.img"

read_everything ()
{
  "$(helper nbd-io)" "$(uri vol)" "match $TMP/new.img"
  "$(helper nbd-io)" "$(uri vol snap)" "match $TMP/old.img"
  "$(helper nbd-io)" --strict-off "$(uri vol)" \
    'expect EPERM,EROFS write 0 512 1' 'expect EPERM,EROFS zero 0 512' \
    'expect EPERM,EROFS trim 0 512' 'read 1000 100000 7'
  "$(helper nbd-io)" --strict-off "$(uri vol snap)" \
    'expect EPERM,EROFS write 0 512 1'
}

state >"$TMP/before"
start_nbdkit vol -r "${args[@]}"
read_everything
stop_nbdkit vol
state >"$TMP/after"
diff "$TMP/before" "$TMP/after" >&2 || fail "-r changed something"

# Nothing of it may be written to: this must do as well.  A root without
# CAP_DAC_OVERRIDE is refused what anybody else would be.
chmod 0444 "$TMP"/vol/*.img "$TMP"/vol/meta/*
chmod 0555 "$TMP/vol/meta"
if test "$(id -u)" -eq 0; then
  need setpriv
  printf '#!/bin/sh\nexec setpriv --bounding-set=-dac_override \\\n  %s\n' \
    "--inh-caps=-dac_override \"$NBDKIT\" \"\$@\"" >"$TMP/nbdkit"
  chmod +x "$TMP/nbdkit"
  NBDKIT=$TMP/nbdkit
fi
state >"$TMP/before"
start_nbdkit vol -r "${args[@]}"
read_everything
stop_nbdkit vol
state >"$TMP/after"
diff "$TMP/before" "$TMP/after" >&2 || fail "-r changed something"

# Without -r it is served all the same, as what it is.
start_nbdkit vol "${args[@]}"
read_everything
stop_nbdkit vol
state >"$TMP/after"
diff "$TMP/before" "$TMP/after" >&2 || fail "the server changed something"
chmod 0755 "$TMP/vol/meta"

# Legs that differ and no memory: -r reads the first, and resyncs nothing.
fill "$TMP/c.img" 4M 3
fill "$TMP/d.img" 4M 4
sha256sum "$TMP/c.img" "$TMP/d.img" >"$TMP/before"
start_nbdkit cd -r "$DM_PLUGIN" "$TMP/c.img" "$TMP/d.img"
"$(helper nbd-io)" "$(uri cd)" 'read 0 4M 3' 'read 0 4M 3'
stop_nbdkit cd
sha256sum --quiet -c "$TMP/before" || fail "-r changed a leg"
