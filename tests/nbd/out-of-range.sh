#!/usr/bin/env bash
# Requests of no length or beyond the end do nothing, and say so.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

fill "$TMP/a.img" 1M 1
cp "$TMP/a.img" "$TMP/b.img"
cp "$TMP/a.img" "$TMP/saved.img"
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" \
  snapshot=snap
io=$(helper nbd-io)
for export in '' snap; do
  for verb in 'read 0 0 any' 'read 1000 0 any' 'read 1M 0 any' 'write 0 0 1' \
              'write 513 0 1' 'zero 0 0' 'trim 0 0' 'zero 1M 0' 'cache 0 0'; do
    "$io" --strict-off "$(uri vol "$export")" "either EINVAL,ENOSPC $verb" \
      'read 0 4096 1'
  done
  top=18446744073709551104              # 2^64 - 512
  for place in '1M 1' '1M 512' '1048575 2' '1048064 1024' '0 1048577' \
               '2M 512' '9223372036854775807 1' '9223372036854775808 512' \
               "$top 512" "$top 511" "$top 1024" '18446744073709551615 1'; do
    for verb in write zero trim cache read; do
      pattern=
      case $verb in
        write) pattern=2 ;;
        read) pattern=any ;;
      esac
      "$io" --strict-off "$(uri vol "$export")" \
        "expect EINVAL,ENOSPC $verb $place $pattern" 'read 1047552 1024 1'
    done
  done
  "$io" --strict-off "$(uri vol "$export")" \
    'expect EINVAL,ENOSPC zero 0 4294967295' \
    'expect EINVAL,ENOSPC trim 512 4294967295' 'read 0 1M 1'
done
wait_insync "$TMP/vol.d"
stop_nbdkit vol
same "$TMP/a.img" "$TMP/saved.img"
same "$TMP/b.img" "$TMP/saved.img"
