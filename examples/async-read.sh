#!/usr/bin/env bash
# Runs the example async-read: reads, and its errors.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
program=$program_folder/async-read

# Nothing, less than a part, all slots once, all of them and a sector more,
# and many times round.
for bytes in 0 512 1048576 1049088 9000448; do
  random_file data "$bytes"
  "$program" "$dir/data" > "$dir/copy" || fail "cannot read $bytes bytes"
  cmp "$dir/data" "$dir/copy" || fail "the copy of $bytes bytes differs"
done

refused 'absent: No such file' "$program" "$dir/absent"
refused 'usage:' "$program"
if [ -c /dev/full ]; then
  ! "$program" "$dir/data" > /dev/full 2> "$dir/err" ||
    fail "a full disk was not noticed"
fi
