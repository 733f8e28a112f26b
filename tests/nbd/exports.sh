#!/usr/bin/env bash
# The exports: the volume and its snapshots, listed, and no other name.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
need nbdinfo

fill "$TMP/a.img" 4M 1
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" meta="$TMP/vol.d" \
  snapshot=monday snapshot=2024-01-01.x_y

nbdinfo --list "$(uri vol)" >"$TMP/list.log"
for name in '' monday 2024-01-01.x_y monday.. 2024-01-01.x_y.. \
            monday..2024-01-01.x_y; do
  grep -qF "export=\"$name\":" "$TMP/list.log" || fail "\"$name\" is not listed"
done
test "$(grep -c '^export=' "$TMP/list.log")" -eq 6 || fail "not six exports"
test "$(grep -c 'description: .' "$TMP/list.log")" -eq 6 ||
  fail "an export has no description"
grep -q 'description:.*snapshot' "$TMP/list.log" ||
  fail "no description says snapshot"

io=$(helper nbd-io)
for name in '' monday 2024-01-01.x_y; do
  "$io" --export-name "$name" "$(sock vol)" 'read 0 4M 1'
done
"$io" --export-name '' "$(sock vol)" 'write 0 4096 2'
"$io" --export-name monday "$(sock vol)" 'read 0 4M 1'

# Names that are not there, and would be trouble if they were used for
# anything but a comparison.
long=$(printf 'x%.0s' {1..4096})
for name in nope Monday monday/ ' monday' "$long" "${long:0:65}" '%s%n%s%n' \
            ../../../../../../etc/passwd /etc/passwd volume.json monday.cow \
            $'\xff\xfe\x80' $'a\nb' $'\x1b[31m' . .. \
            ..monday monday..nope monday..../x 2024-01-01.x_y..monday; do
  if "$io" --export-name "$name" "$(sock vol)" size >"$TMP/out.log" 2>&1; then
    fail "the export name ${name:0:40} is accepted"
  fi
  "$io" "$(uri vol)" 'read 0 4096 2'
done
stop_nbdkit vol
