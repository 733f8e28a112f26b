#!/usr/bin/env bash
# Runs the example mirror-a-file: copies, and its errors.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

program=${abs_top_builddir:-$PWD}/examples/mirror-a-file
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail ()
{
  echo "mirror-a-file.sh: $*" >&2
  exit 1
}

head -c 3000320 /dev/urandom > "$dir/source"
truncate -s 3000320 "$dir/one" "$dir/two"
truncate -s 512 "$dir/small"

"$program" "$dir/source" "$dir/one" "$dir/two" > "$dir/out"
cmp "$dir/source" "$dir/one" || fail "the first copy differs"
cmp "$dir/source" "$dir/two" || fail "the second copy differs"
[ "$(grep -c ': copied$' "$dir/out")" = 2 ] || fail "not both were reported"

if "$program" "$dir/source" "$dir/small" 2> "$dir/err"; then
  fail "a destination that is too small was taken"
fi
grep -q 'small: is smaller than' "$dir/err" || fail "no message says why"

if "$program" "$dir/absent" "$dir/one" 2> "$dir/err"; then
  fail "a source that does not exist was taken"
fi
grep -q 'absent: No such file' "$dir/err" || fail "no message names it"
