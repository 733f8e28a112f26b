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

# A server that fails does not stop the others, and the reason is its own.
truncate -s 1048576 "$dir/four" "$dir/five"
export program dir
# shellcheck disable=SC2016
if nbdkit -U - --filter=error memory 1M error-pwrite=ENOSPC \
  error-pwrite-rate=100% error-zero=ENOSPC error-zero-rate=100% \
  --run '"$program" "$dir/four" "$uri" "$dir/five" < "$dir/data"' \
  > "$dir/out" 2>&1; then
  fail "an error was not noticed"
fi
for name in four five; do
  cmp -n 1000001 "$dir/$name" "$dir/data" || fail "$name differs"
  grep -qx "$dir/$name: written" "$dir/out" || fail "$name was not reported"
done
grep -q '^nbd.*: No space left on device$' "$dir/out" || fail "no reason is given"

truncate -s 512 "$dir/small"
refused 'small: is too small' "$program" "$dir/small" < "$dir/data"
refused 'absent: No such file' "$program" "$dir/absent" < "$dir/data"
refused 'is more than 16 MiB' "$program" "$dir/one" < <(head -c 17M /dev/zero)
refused 'usage:' "$program" < "$dir/data"
