#!/usr/bin/env bash
# More snapshots than files may be open: the limit is raised, or nothing is lost.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

need prlimit
io=$(helper nbd-io)
meta=$TMP/vol.d
args=("$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta" size=1M
  chunk-size=4K)
snapshots=()
for i in {1..100}; do
  snapshots+=("snapshot=s$i")
done

# What is only a default is not in the way.
SERVER_ENV=(prlimit --nofile=80:4096)
start_nbdkit vol "${args[@]}" "${snapshots[@]}"
"$io" "$(uri vol)" 'write 0 1M 1' flush
"$io" "$(uri vol s1)" 'read 0 1M 0x00'
stop_nbdkit vol

# What is a limit is named, not the file that was next, nor a way to lose it.
before=$(sha256sum "$meta"/*)
if (ulimit -n 80 && "$NBDKIT" -f -U "$TMP/refused.sock" "${args[@]}") \
  > "$TMP/refused.log" 2>&1; then
  fail "100 snapshots were opened as 80 files"
fi
grep -q "snapshot s[0-9]*: .*ulimit -n.*nothing has been changed" \
  "$TMP/refused.log" || fail "no remedy: $(<"$TMP/refused.log")"
if grep -q discard-snapshot "$TMP/refused.log"; then
  fail "it was told to give a snapshot up"
fi
test "$before" = "$(sha256sum "$meta"/*)" || fail "something was changed"

SERVER_ENV=()
start_nbdkit vol "${args[@]}"
"$io" "$(uri vol s100)" 'read 0 1M 0x00'
"$io" "$(uri vol)" 'read 0 1M 1'
stop_nbdkit vol

# A new one that would be too many is refused, and the others go on.
SERVER_ENV=(prlimit --nofile=200:200)
start_nbdkit vol "${args[@]}" control="$TMP/ctl"
dmnbd=$abs_top_builddir/ctl/dmnbd
for i in {101..220}; do
  "$dmnbd" -s "$TMP/ctl" snapshot create "s$i" > "$TMP/out.log" 2>&1 || break
done
test "$i" -lt 200 || fail "$i snapshots are open in 200 files"
grep -q "snapshot s$i: .*ulimit -n" "$TMP/out.log" ||
  fail "no remedy: $(<"$TMP/out.log")"
"$dmnbd" -s "$TMP/ctl" snapshot remove s50 || fail "s50 stays"
"$dmnbd" -s "$TMP/ctl" wait idle --timeout 60 || fail "s50 stays"
"$dmnbd" -s "$TMP/ctl" snapshot create "s$i" || fail "there is room for one"
"$io" "$(uri vol)" 'read 0 1M 1' 'write 0 1M 2' flush
"$io" "$(uri vol "s$i")" 'read 0 1M 1'
stop_nbdkit vol
