#!/usr/bin/env bash
# Every test, file and make target that the documents name exists.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

cd "$abs_top_srcdir"
docs=(README.md HACKING.md docs/DESIGN.md docs/FORMATS.md docs/TESTING.md
  docs/LIBRARY-TESTS.md)

# names FILE...: what is there in backquotes, and does not exist.
missing ()
{
  local name

  # Unit tests by name: the words of TESTING.md that look like one.
  grep -oE '`[a-z][a-z0-9]*(_[a-z0-9]+){2,}`' docs/TESTING.md | tr -d '`' |
    LC_ALL=C sort -u | while IFS= read -r name; do
    grep -qE "START_TEST \\($name\\)" tests/unit/check_*.c || echo "$name"
  done
  grep -ohE 'check_[a-z0-9_]+' docs/TESTING.md | LC_ALL=C sort -u |
    while IFS= read -r name; do
      test -f "tests/unit/$name.c" || echo "$name"
    done
  # Files, with or without their folder, but what programs include.  Those with
  # a word in capitals stand for any.
  grep -hv '^    #include <' "$@" |
    grep -oE '[a-zA-Z0-9/_.-]+\.(sh|[ch]|md|inc)\b' | LC_ALL=C sort -u |
    while IFS= read -r name; do
      [[ ! $name =~ (FEATURE|NAME|PROGRAM) ]] || continue
      test -e "$name" || test -e "tests/$name" || test -e "docs/$name" ||
        test -n "$(find lib plugin tests bench examples scripts docs \
          -path "*/${name#*./}" -print -quit)" || echo "$name"
    done
  grep -ohE '`make (check|bench|dist|format)[a-z-]*' "$@" | sed 's/.* //' |
    LC_ALL=C sort -u | while IFS= read -r name; do
    case $name in
      check | distcheck) continue ;;
    esac
    grep -qE "^\\.PHONY:.*\\<$name\\>" Makefile.am ./*/Makefile.inc ./*/*/Makefile.inc ||
      echo "make $name"
  done
}

missing "${docs[@]}" >"$TMP/missing.log"
test ! -s "$TMP/missing.log" ||
  fail "named by a document, and not there: $(xargs <"$TMP/missing.log")"

# It can fail.
# shellcheck disable=SC2016
echo '`make check-moon` runs tests/nbd/moon.sh' >"$TMP/bad.md"
missing "$TMP/bad.md" >"$TMP/found"
test "$(wc -l <"$TMP/found")" -eq 2 || fail "what is not there is not noticed"
