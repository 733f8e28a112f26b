#!/usr/bin/env bash
# Runs the example mirror-a-file: copies, and its errors.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
program=$program_folder/mirror-a-file

random_file source 3000320
truncate -s 3000320 "$dir/one" "$dir/two"
truncate -s 512 "$dir/small"

"$program" "$dir/source" "$dir/one" "$dir/two" > "$dir/out"
cmp "$dir/source" "$dir/one" || fail "the first copy differs"
cmp "$dir/source" "$dir/two" || fail "the second copy differs"
[ "$(grep -c ': copied$' "$dir/out")" = 2 ] || fail "not both were reported"

# The bar: it never goes back, and it is full in the end.
random_file source 90000384
truncate -s 90000384 "$dir/one"
"$program" --progress "$dir/source" "$dir/one" > "$dir/out" 2> "$dir/bar"
cmp "$dir/source" "$dir/one" || fail "the copy with a bar differs"
tr '\r' '\n' < "$dir/bar" | sed 1d > "$dir/bars"
grep -vqE '^\[#*\.*\] +[0-9]+%$' "$dir/bars" && fail "not a bar"
sed 's/.*\] *//; s/%//' "$dir/bars" | sort -nc || fail "the bar went back"
full=$(printf '%40s' '' | tr ' ' '#')
[ "$(tail -n 1 "$dir/bars")" = "[$full] 100%" ] || fail "the bar is not full"

# To a file and to an NBD server at once.
truncate -s 90000384 "$dir/two" "$dir/served"
export program dir
# shellcheck disable=SC2016
nbdkit -U - file "$dir/served" \
  --run '"$program" "$dir/source" "$dir/two" "$uri"' > "$dir/out"
cmp "$dir/source" "$dir/two" || fail "the copy beside a server differs"
cmp "$dir/source" "$dir/served" || fail "the copy on a server differs"
[ "$(grep -c ': copied$' "$dir/out")" = 2 ] || fail "not both were reported"

refused 'small: is smaller than' "$program" "$dir/source" "$dir/small"
refused 'usage:' "$program" --progress "$dir/source"
refused 'absent: No such file' "$program" "$dir/absent" "$dir/one"
