#!/usr/bin/env bash
# Every promise of libdmio has a row, every test that a row names exists.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

cd "$abs_top_srcdir"
table=docs/LIBRARY-TESTS.md

# rows FILE: the rows of its tables, without their heads.
rows ()
{
  grep '^|' "$1" | grep -Ev '^\| (---|call|rule|operation|broken)'
}

# What must have a row: exported calls, operations and flags.
promises ()
{
  sed -nE 's/^  ([a-z_]+);$/\1/p' lib/libdmio.map
  sed -n '/^dmio_public_headers/,/[^\\]$/s,^[[:space:]]*\(lib/[^ ]*\.h\).*,\1,p' \
    lib/Makefile.inc | xargs \
    sed -nE 's/^#define ((DM_IO|KCOPYD|BDEV)_[A-Z_]+)\b.*/\1/p'
}

# complaints TABLE: a line for each thing that does not match.
complaints ()
{
  local name row file

  # In the first two cells of a row.
  rows "$1" | sed -E 's/^\|([^|]*)\|([^|]*)\|.*/\1 \2/' | tr -cs 'A-Za-z0-9_' \
    '\n' | LC_ALL=C sort -u > "$TMP/named"
  while IFS= read -r name; do
    grep -Fxq "$name" "$TMP/named" || echo "$name has no row"
  done < <(promises | LC_ALL=C sort -u)

  while IFS= read -r row; do
    [[ $row =~ check_[a-z0-9_]+|\.sh ]] || echo "no test: $row"
    # Pairs of a program and a name, in the last cell.
    while read -r file name; do
      if [[ ! -f tests/unit/$file.c ]]; then
        echo "tests/unit/$file.c is not there"
      elif [[ -n $name ]] &&
        ! grep -q "^START_TEST ($name)" "tests/unit/$file.c"; then
        echo "$file has no test $name"
      fi
    done < <(sed -E 's/\|$//; s/.*\|//' <<< "$row" |
      grep -oE 'check_[a-z0-9_]+|`[a-z][a-z0-9_]*`' |
      awk '/^check_/ { file = $0; print file; next }
           file != "" { gsub (/`/, ""); print file, $0 }')
  done < <(rows "$1")
}

complaints "$table" > "$TMP/complaints"
test ! -s "$TMP/complaints" || {
  cat "$TMP/complaints"
  fail "$table and the sources do not match"
}

# It can fail.
expect ()
{
  complaints "$TMP/table" > "$TMP/said"
  grep -Fq "$1" "$TMP/said" || fail "not noticed: $1"
}

sed '/^| dm_io_put /d' "$table" > "$TMP/table"
expect 'dm_io_put has no row'
sed '/^| DM_IO_FLUSH /d' "$table" > "$TMP/table"
expect 'DM_IO_FLUSH has no row'
sed 's/`put_in_parts`/`put_in_halves`/' "$table" > "$TMP/table"
expect 'check_dm_io_reserve has no test put_in_halves'
sed 's/`put_in_parts`/`plain_memory`/' "$table" > "$TMP/table"
expect 'check_dm_io_reserve has no test plain_memory'
sed 's/check_dm_io_reserve/check_dm_io_moon/' "$table" > "$TMP/table"
expect 'tests/unit/check_dm_io_moon.c is not there'
sed 's/^\(| dm_io_put | [^|]*|\).*/\1 |/' "$table" > "$TMP/table"
expect 'no test: | dm_io_put'
