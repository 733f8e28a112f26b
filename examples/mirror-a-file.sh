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

refused 'small: is smaller than' "$program" "$dir/source" "$dir/small"
refused 'absent: No such file' "$program" "$dir/absent" "$dir/one"
