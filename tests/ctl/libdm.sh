#!/usr/bin/env bash
# Programs that read the kernel's status lines read those of dmnbd.
# SPDX-License-Identifier: BSD-3-Clause
#
# They do so with libdevmapper, and so does libdm-status.c.
#
# CC  default: cc

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"
: "${CC:=cc}"
need "${CC%% *}"

if ! echo '#include <libdevmapper.h>' | $CC -E - >/dev/null 2>&1; then
  echo "SKIP: libdevmapper.h is missing: install libdevmapper-dev" >&2
  exit 77
fi
$CC -o "$TMP/reader" "$abs_top_srcdir/tests/ctl/libdm-status.c" -ldevmapper

# read_as WHAT: libdevmapper reads the status, and finds what is on our input.
read_as ()
{
  expect 0 -s "$(control vol)" status --dm
  "$TMP/reader" <"$TMP/out" >"$TMP/read" ||
    fail "$1: libdevmapper does not read it: $(cat "$TMP/out")"
  diff - "$TMP/read" >&2 || fail "$1: libdevmapper reads something else"
}

# It can refuse: a path is no number, and there is a letter for each leg.
for line in '2 a.img b.img 4/4 1 AA 1 core' '2 0:0 0:1 4/4 1 A?A 3 disk A'; do
  ! echo "mirror: 0 16384 mirror $line" | "$TMP/reader" >"$TMP/read" 2>&1 ||
    fail "libdevmapper reads anything: $line"
done

fill "$TMP/a.img" 8M 1
cp "$TMP/a.img" "$TMP/b.img"
start_control vol "$TMP/a.img" "$TMP/b.img"
client_open vol
ask flush
expect 0 -s "$(control vol)" wait sync --timeout 60
read_as "without a memory" <<'READ'
mirror 4 of 4 regions, legs 0:0 A 0:1 A, log core
READ
client_close
stop_nbdkit vol

fail_legs write "$TMP/b.img"
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" sync=none \
  snapshot=small cow-size=192K
SERVER_ENV=()
read_as "with a snapshot" <<'READ'
mirror 4 of 4 regions, legs 0:0 A 0:1 A, log disk 0:2 A
snapshot 256 of 384 sectors, 256 of them metadata
READ

# Room for one chunk.
client_open vol
ask 'write 0 64K 2'
ask 'write 1M 64K 3'
read_as "with a snapshot that is broken" <<'READ'
mirror 4 of 4 regions, legs 0:0 A 0:1 A, log disk 0:2 A
snapshot invalid
READ
touch "$TMP/trigger"
ask 'write 2M 64K 3'
expect 3 -s "$(control vol)" status --dm
"$TMP/reader" <"$TMP/out" >"$TMP/read" ||
  fail "without a leg: libdevmapper does not read it: $(cat "$TMP/out")"
grep -Eq '^mirror [0-9]+ of 4 regions, legs 0:0 A 0:1 D, log disk' \
  "$TMP/read" || fail "without a leg: $(cat "$TMP/read")"
client_close
stop_nbdkit vol
