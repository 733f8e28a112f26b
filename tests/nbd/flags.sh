#!/usr/bin/env bash
# What the server says it can: nothing missing, nothing emulated.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
need nbdinfo

fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
args=("$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" snapshot=snap)
start_nbdkit vol "${args[@]}"

for export in '' snap; do
  nbdinfo --json "$(uri vol "$export")" >"$TMP/info.log"
  for line in '"can_flush": true' '"can_fua": true' '"can_multi_conn": true' \
              '"can_trim": true' '"can_zero": true' '"can_fast_zero": true' \
              '"can_cache": true' '"is_read_only": false' \
              '"is_rotational": false' '"export-size": 4194304' \
              '"block_size_minimum": 1' '"block_size_preferred": 4096' \
              '"block_size_maximum": 33554432' 'base:allocation'; do
    grep -qF -- "$line" "$TMP/info.log" || fail "export \"$export\": no $line"
  done
done

io=$(helper nbd-io)
"$io" "$(uri vol)" 'write 0 4096 3 fua' 'zero 0 4096 fua nohole' \
  'zero 4096 4096 fast' 'trim 8192 4096 fua' 'cache 0 4M' flush \
  'read 0 12288 0x00'
stop_nbdkit vol

start_nbdkit vol -r "${args[@]}"
grep -qF '"is_read_only": true' < <(nbdinfo --json "$(uri vol)") ||
  fail "-r does not show"
stop_nbdkit vol

# 32 MiB at once, the largest size promised.
truncate -s 40M "$TMP/c.img"
start_nbdkit big "$DM_PLUGIN" "$TMP/c.img"
"$io" "$(uri big)" 'write 777 32M 5' 'read 777 32M 5'
stop_nbdkit big

# Native, or nbdkit would do it by other means.
"$NBDKIT" --dump-plugin "$DM_PLUGIN" >"$TMP/dump.log"
for has in pwrite flush trim zero cache extents can_fua can_multi_conn \
           can_fast_zero block_size list_exports; do
  grep -qx "has_$has=1" "$TMP/dump.log" || fail "the plugin has no $has"
done
grep -qx 'max_thread_model=parallel' "$TMP/dump.log" || fail "not parallel"
for line in dm_version= dm_legs_max=9 dm_store_formats=; do
  grep -q "^$line" "$TMP/dump.log" || fail "--dump-plugin has no $line"
done
