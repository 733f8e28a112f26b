#!/usr/bin/env bash
# The keys of --help, of the man page and of README.md are the same keys.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

man=$abs_top_srcdir/plugin/nbdkit-dm-plugin.1
readme=$abs_top_srcdir/README.md

# Each prints a key a line, sorted.
keys_of_help ()
{
  sed -nE 's/^\[?([a-z][a-z-]*)=\]?[^ ].*/\1/p' "$1" | LC_ALL=C sort
}

# In the section KEYS, what follows a .TP is a key and its value.
keys_of_man ()
{
  sed 's/\\-/-/g' "$1" | sed -n '/^\.SH KEYS/,/^\.SH EXPORTS/p' |
    sed -nE '/^\.TP/{n
      s/^\.BI? "?\[?([a-z][a-z-]*)=.*/\1/p
    }' | LC_ALL=C sort
}

# The table whose head is "key".
keys_of_readme ()
{
  sed -n '/^| key /,/^$/p' "$1" | sed -nE 's/^\| `([a-z][a-z-]*)=.*/\1/p' |
    LC_ALL=C sort
}

"$NBDKIT" "$DM_PLUGIN" --help >"$TMP/help"
keys_of_help "$TMP/help" >"$TMP/keys.help"
test "$(wc -l <"$TMP/keys.help")" -ge 14 || fail "--help has lost its keys"

compare ()
{
  keys_of_man "$1" >"$TMP/keys.man"
  keys_of_readme "$2" >"$TMP/keys.readme"
  diff "$TMP/keys.help" "$TMP/keys.man" &&
    diff "$TMP/keys.help" "$TMP/keys.readme"
}

compare "$man" "$readme" || fail "see above: < is in --help only, > is not"

# It can fail: a key too few in each, and one too many.
sed '/^| `cow-size=/d' "$readme" >"$TMP/README.md"
! compare "$man" "$TMP/README.md" >/dev/null ||
  fail "a key that README.md lacks is not noticed"
sed 's/^| `cow-size=/| `cow=/' "$readme" >"$TMP/README.md"
! compare "$man" "$TMP/README.md" >/dev/null ||
  fail "a key that only README.md has is not noticed"
sed '/^\.BI direct=/d' "$man" >"$TMP/man"
! compare "$TMP/man" "$readme" >/dev/null ||
  fail "a key that the man page lacks is not noticed"

# What is documented is accepted, and nothing is said to come later.
while IFS= read -r key; do
  "$NBDKIT" "$DM_PLUGIN" "$key=" >"$TMP/refused.log" 2>&1 || :
  ! grep -Eq 'not a key|not available' "$TMP/refused.log" ||
    fail "$key= is documented, and is not a key"
done <"$TMP/keys.help"
