#!/usr/bin/env bash
# Runs the example own-device: scrambles, and its errors.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=examples/common.sh
. "$(dirname "$0")/common.sh"
program=$program_folder/own-device

random_file source 3000320
truncate -s 3000320 "$dir/scrambled" "$dir/again"
"$program" 'a key' "$dir/source" "$dir/scrambled"
cmp -s "$dir/source" "$dir/scrambled" && fail "nothing was scrambled"
perl -0777 -ne 'print $_ ^ substr "a key" x (length () / 5 + 1), 0, length' \
  "$dir/source" | cmp - "$dir/scrambled" || fail "it was scrambled otherwise"
"$program" 'a key' "$dir/scrambled" "$dir/again"
cmp "$dir/source" "$dir/again" || fail "it does not come back"

truncate -s 512 "$dir/small"
refused 'small: is smaller than' "$program" key "$dir/source" "$dir/small"
refused 'absent: No such file' "$program" key "$dir/source" "$dir/absent"
refused 'usage:' "$program" '' "$dir/source" "$dir/again"
