#!/usr/bin/env bash
# Runs the example fan-out-write: writes, and its errors.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
program=$program_folder/fan-out-write

# Not whole sectors, so the last one is filled up with zeroes.
random_file data 1000001
for name in one two three; do
  random_file "$name" 1048576
  {
    cat "$dir/data"
    head -c 447 /dev/zero
    tail -c +1000449 "$dir/$name"
  } > "$dir/$name.wanted"
done

"$program" "$dir/one" "$dir/two" "$dir/three" < "$dir/data" > "$dir/out"
for name in one two three; do
  cmp "$dir/$name" "$dir/$name.wanted" || fail "$name differs"
  grep -qx "$dir/$name: written" "$dir/out" || fail "$name was not reported"
done

# A limit on the size of files makes writes fail.
if (
  trap '' XFSZ
  ulimit -f 100
  "$program" "$dir/one" "$dir/two" < "$dir/data" 2>&1
) > "$dir/out"; then
  fail "errors were not noticed"
fi
for name in one two; do
  grep -qx "$dir/$name: File too large" "$dir/out" ||
    fail "no reason is given for $name"
done

truncate -s 512 "$dir/small"
refused 'small: is too small' "$program" "$dir/small" < "$dir/data"
refused 'absent: No such file' "$program" "$dir/absent" < "$dir/data"
refused 'is more than 16 MiB' "$program" "$dir/one" < <(head -c 17M /dev/zero)
refused 'usage:' "$program" < "$dir/data"
