#!/usr/bin/env bash
# Every file of lib/ and plugin/ stays on its floor: the table is docs/FLOORS.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: check-floors.sh [--self-test | FOLDER]
#
# FOLDER is the top of the sources; default: abs_top_srcdir, or that of this
# script.  With --self-test, each kind of violation is planted in a copy and
# must be reported.

set -euo pipefail

top=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}

# check_floors FOLDER: a line on stdout for each violation.
check_floors ()
{
  local folder=$1

  cd "$folder"
  # The table first, then the files, then the includes, each with a letter.
  {
    sed 's/^/T /' docs/FLOORS
    find lib plugin -name '*.[ch]' | LC_ALL=C sort | sed 's/^/F /'
    find lib plugin -name '*.[ch]' -exec \
      grep -HnE '^[[:space:]]*#[[:space:]]*include' {} + |
      LC_ALL=C sort -t: -k1,1 -k2,2n | sed 's/^/I /'
  } | awk '
    # A glob of the table as an anchored regular expression.
    function regex_of (glob) {
      gsub (/\./, "[.]", glob)
      gsub (/\*/, "[^/]*", glob)
      return "^" glob "$"
    }
    function folder_of (file) {
      sub (/\/[^\/]*$/, "", file)
      return file
    }
    # The file that an include means, or "" for a header of the system.
    function header_of (file, text,   name) {
      if (match (text, /<dmio\/[^>]*>/)) {
        name = substr (text, RSTART + 6, RLENGTH - 7)
        return "lib/" name
      }
      if (!match (text, /"[^"]*"/))
        return ""
      name = substr (text, RSTART + 1, RLENGTH - 2)
      if ((folder_of(file) "/" name) in line_of)
        return folder_of(file) "/" name
      if (("lib/" name) in line_of)
        return "lib/" name
      if (("plugin/" name) in line_of)
        return "plugin/" name
      return name
    }
    $1 == "T" && NF > 1 && $2 !~ /^#/ {
      if (NF != 4 || $2 !~ /^[0-9]+$/) {
        print "docs/FLOORS: not \"floor files module\": " substr ($0, 3)
        next
      }
      lines++
      floor[lines] = $2
      glob[lines] = $3
      regex[lines] = regex_of($3)
      module[lines] = $4
      if (lines > 1 && floor[lines] < floor[lines - 1])
        print "docs/FLOORS: " $3 ": the floors are not in order"
    }
    $1 == "F" {
      for (i = 1; i <= lines; i++)
        if ($2 ~ regex[i]) {
          used[i] = 1
          if ($2 in line_of)
            print $2 ": is on two lines of docs/FLOORS"
          line_of[$2] = i
        }
      if (!($2 in line_of))
        print $2 ": is on no floor: add it to docs/FLOORS"
    }
    $1 == "I" {
      split ($2, part, ":")
      file = part[1]
      header = header_of(file, $0)
      if (header == "" || !(file in line_of))
        next
      at = file ":" part[2] ": "
      if (!(header in line_of)) {
        print at "includes " header ", which is on no floor"
        next
      }
      own = line_of[file]
      its = line_of[header]
      if (floor[its] + 0 > floor[own] + 0)
        print at "floor " floor[own] " includes " header " of floor " \
          floor[its] " above it"
      else if (floor[its] == floor[own] && module[its] != module[own])
        print at "module " module[own] " includes " header " of module " \
          module[its] " on the same floor"
    }
    END {
      for (i = 1; i <= lines; i++)
        if (!(i in used))
          print "docs/FLOORS: " glob[i] ": there is no such file"
      if (lines == 0)
        print "docs/FLOORS: no floors"
    }'
}

# A small house with every edge that is allowed.
make_house ()
{
  local house=$1

  mkdir -p "$house/lib" "$house/plugin" "$house/docs"
  cat > "$house/docs/FLOORS" <<'TABLE'
# floor  files          module
0        lib/zero.h     zero
1        lib/one.[ch]   one
1        lib/peer.h     peer
2        plugin/two*.c  two
2        plugin/two.h   two
10       plugin/ten.h   ten
TABLE
  echo '#include <stdint.h>' > "$house/lib/zero.h"
  echo '#include "zero.h"' > "$house/lib/one.h"
  echo '#include "one.h"' > "$house/lib/one.c"
  echo '#include "zero.h"' > "$house/lib/peer.h"
  echo '#include <dmio/one.h>' > "$house/plugin/two.h"
  echo '#include "two.h"' > "$house/plugin/two-more.c"
  echo '#include "two.h"' > "$house/plugin/ten.h"
}

# planted WHAT COMMAND: after COMMAND the copy has the violation WHAT.
planted ()
{
  local what=$1 command=$2 house="$tmp/house" said

  rm -rf "$house"
  make_house "$house"
  (cd "$house" && eval "$command")
  said=$(check_floors "$house")
  if [[ $said != *"$what"* ]]; then
    echo "not caught: $what (said: ${said:-nothing})"
    failed=1
  fi
}

self_test ()
{
  local said

  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  failed=0

  make_house "$tmp/house"
  said=$(check_floors "$tmp/house")
  if [[ -n $said ]]; then
    echo "false alarm: $said"
    failed=1
  fi
  planted 'lib/one.h:2: floor 1 includes plugin/two.h of floor 2' \
    'echo "#include \"two.h\"" >> lib/one.h'
  planted 'floor 2 includes plugin/ten.h of floor 10' \
    'echo "  #  include \"ten.h\"" >> plugin/two.h'
  planted 'lib/one.c:2: module one includes lib/peer.h of module peer' \
    'echo "#include <dmio/peer.h>" >> lib/one.c'
  planted 'plugin/two.h:2: includes plugin/stray.h, which is on no floor' \
    'echo "#include \"plugin/stray.h\"" >> plugin/two.h'
  planted 'lib/stray.c: is on no floor' 'touch lib/stray.c'
  planted 'lib/one.c: is on two lines' 'echo "11 lib/one.c x" >> docs/FLOORS'
  planted 'lib/gone.c: there is no such file' \
    'echo "11 lib/gone.c x" >> docs/FLOORS'
  planted 'plugin/ten.h: the floors are not in order' \
    'sed -i "s/^0 /12 /" docs/FLOORS; sort -r docs/FLOORS -o docs/FLOORS'
  planted 'not "floor files module"' 'echo "11 lib/one.c" >> docs/FLOORS'
  planted 'no floors' 'echo "# empty" > docs/FLOORS'
  return "$failed"
}

if [[ ${1-} = --self-test ]]; then
  self_test
else
  found=$(check_floors "${1:-$top}")
  if [[ -n $found ]]; then
    echo "$found"
    exit 1
  fi
fi
