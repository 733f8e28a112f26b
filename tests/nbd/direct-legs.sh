#!/usr/bin/env bash
# A random load on legs with O_DIRECT, past the page cache.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/nbd/stress-common.sh
. "$(dirname "$0")/stress-common.sh"

# Where a folder of the test's has no O_DIRECT, there is nothing to try.
dd if=/dev/zero of="$TMP/probe" bs=4096 count=1 oflag=direct status=none \
  2>/dev/null || skip "no O_DIRECT in $TMP"

first_content
start direct=on
# Both legs are open with O_DIRECT (octal 40000 on this processor, or more).
flag=$(printf '#include <fcntl.h>\nint flag = O_DIRECT;\n' |
  cc -D_GNU_SOURCE -E -P - | sed -n 's/^int flag = \(0*[0-9]*\);/\1/p')
count=0
for info in "/proc/$(pid vol)"/fdinfo/*; do
  case $(readlink "${info/fdinfo/fd}") in
    "$leg_a" | "$leg_b")
      flags=$(sed -n 's/^flags:[[:space:]]*//p' "$info")
      test $((flags & flag)) -ne 0 || fail "a leg is open without O_DIRECT"
      count=$((count + 1))
      ;;
  esac
done
test "$count" -ge 2 || fail "the legs are not open"
model --uri "$(uri vol)" --load "$first" --dump "$TMP/end.img" --ops "$OPS" \
  --connections 2 --depth 8 --max 2M
stop
same "$leg_a" "$TMP/end.img"
