#!/usr/bin/env bash
# libdmio exports what its public headers declare, the plugin its entry point.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: symbols.sh [--self-test]
#
# Moreover each symbol has the version that lib/libdmio.map gives it, and the
# library has its name for the loader, needs the libraries that it was
# configured with, and no others, and looks for them nowhere special.  With
# --self-test, each kind of violation is planted in a small library and must
# be reported.
#
# CC   default: cc

set -euo pipefail

top=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
built=${abs_top_builddir:-$top}
plugin=${DM_PLUGIN:-$built/plugin/.libs/nbdkit-dm-plugin.so}
: "${CC:=cc}"

# exported FILE: the symbols that others may use, with their versions.
exported ()
{
  nm --dynamic --defined-only --format=posix "$1" |
    awk '$2 ~ /^[BDRTVW]$/ { print $1 }' | LC_ALL=C sort
}

# mapped MAP: the same, as the map wants it.
mapped ()
{
  awk '/^[A-Z].*\{$/ { version = $1 }
       /^(global|local):$/ { is_global = /^global/ }
       is_global && /^  [a-z_0-9]+;$/ {
         sub (/;/, "", $1)
         print $1 "@@" version
       }' "$1" | LC_ALL=C sort
}

# declared HEADER...: the names of the functions that are declared, but for
# inline ones, whose names begin a line.
declared ()
{
  perl -0777 -ne '
    s{/\*.*?\*/}{}gs;
    s/^\s*#(?:[^\n]*\\\n)*[^\n]*\n//gm;
    print "$1\n" while /^(?!typedef|static|extern)\w[\w ]*[ *](\w+) \(/gm;
  ' "$@" | LC_ALL=C sort
}

# dynamic FILE TAG: what the loader is told, a line for each.
dynamic ()
{
  readelf -d "$1" | sed -n "s/.*($2).*\[\(.*\)\].*/\1/p" | LC_ALL=C sort
}

# needed CONFIG_H: the libraries that libdmio was configured with.
needed ()
{
  {
    echo libc.so.6
    ! grep -q '^#define HAVE_LIBNBD 1' "$1" || echo libnbd.so.0
    ! grep -q '^#define HAVE_LIBURING 1' "$1" || echo liburing.so.2
  } | LC_ALL=C sort
}

# check_library LIBRARY FOLDER CONFIG_H: a diff on stdout for each violation;
# FOLDER has lib/, with the headers and the map.
check_library ()
{
  local library=$1 folder=$2 config=$3 headers

  mapfile -t headers < <(sed -n \
    '/^dmio_public_headers/,/[^\\]$/s,^[[:space:]]*\(lib/[^ ]*\.h\).*,\1,p' \
    "$folder/lib/Makefile.inc")
  cd "$folder"
  [[ -n $(declared "${headers[@]}") ]] ||
    echo 'the public headers declare nothing'
  diff -u --label declared --label exported \
    <(declared "${headers[@]}") <(exported "$library" | sed 's/@.*//') || :
  diff -u --label "the map has" --label exported \
    <(mapped lib/libdmio.map) <(exported "$library") || :
  diff -u --label "soname wanted" --label "soname" \
    <(echo libdmio.so.0) <(dynamic "$library" SONAME) || :
  # Not what a sanitizer adds.
  diff -u --label "configured with" --label "needs" <(needed "$config") \
    <(dynamic "$library" NEEDED | grep -v '^lib[a-z]*san\.so') || :
  dynamic "$library" 'R.*PATH' | sed 's/^/looks for libraries in /'
}

# A small library with nothing wrong; LINK has what is added to its link.
make_library ()
{
  local tree=$1

  mkdir -p "$tree/lib"
  printf 'dmio_public_headers = \\\n\tlib/one.h\n' > "$tree/lib/Makefile.inc"
  printf 'int dm_one (void);\nint dm_two (void);\n' > "$tree/lib/one.h"
  printf '#include <unistd.h>\n%s\n%s\n' 'int dm_one (void) { return 1; }' \
    'int dm_two (void) { return getpid (); }' > "$tree/lib/one.c"
  printf 'DMIO_0.1 {\nglobal:\n  dm_one;\n  dm_two;\nlocal:\n  *;\n};\n' \
    > "$tree/lib/libdmio.map"
  : > "$tree/config.h"
  link=('-Wl,-soname,libdmio.so.0')
}

# planted WHAT COMMAND [AFTER]: after COMMAND (and AFTER, once it is linked)
# the library has the violation WHAT.
planted ()
{
  local what=$1 command=$2 after=${3-:} tree=$tmp/tree link said

  rm -rf "$tree"
  make_library "$tree"
  pushd "$tree" > /dev/null
  eval "$command"
  "$CC" -shared -fPIC -o libdmio.so lib/one.c "${link[@]}" \
    -Wl,--version-script=lib/libdmio.map
  eval "$after"
  popd > /dev/null
  said=$(check_library "$tree/libdmio.so" "$tree" "$tree/config.h")
  if [[ $what = nothing && -n $said || $said != *"${what#nothing}"* ]]; then
    echo "not caught: $what (said: ${said:-nothing})"
    failed=1
  fi
}

self_test ()
{
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  failed=0
  planted nothing :
  planted '-dm_three' 'echo "int dm_three (void);" >> lib/one.h'
  planted '+dm_two' 'sed -i 2d lib/one.h'
  planted 'declare nothing' ': > lib/one.h'
  # shellcheck disable=SC2016
  planted '-dm_two@@DMIO_0.1' : 'sed -i "s/^  dm_two;//" lib/libdmio.map
    "$CC" -shared -fPIC -o libdmio.so lib/one.c "${link[@]}" \
      -Wl,--version-script=lib/libdmio.map
    sed -i "s/^  dm_one;/&\n  dm_two;/" lib/libdmio.map'
  planted '+dm_two@@DMIO_0.1' : 'sed -i "s/^  dm_two;//" lib/libdmio.map'
  planted '-dm_one@@DMIO_0.2' : 'sed -i "s/DMIO_0.1/DMIO_0.2/" lib/libdmio.map'
  planted '+libdmio.so.1' 'link=(-Wl,-soname,libdmio.so.1)'
  planted '-libdmio.so.0' 'link=()'
  planted '+libz.so.1' 'link+=(-Wl,--no-as-needed -lz)'
  planted '-libnbd.so.0' 'echo "#define HAVE_LIBNBD 1" > config.h'
  planted 'looks for libraries in /nowhere' 'link+=(-Wl,-rpath,/nowhere)'
  return "$failed"
}

if [[ ${1-} = --self-test ]]; then
  self_test
else
  found=$(check_library "$built/lib/.libs/libdmio.so" "$top" "$built/config.h"
    diff -u --label wanted --label exported \
      <(echo plugin_init) <(exported "$plugin") || :)
  if [[ -n $found ]]; then
    echo "$found"
    exit 1
  fi
fi
