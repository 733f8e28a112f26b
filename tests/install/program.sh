#!/usr/bin/env bash
# Programs outside the tree build and run with what "make install" installs.
# SPDX-License-Identifier: BSD-3-Clause
#
# All that they are told is what pkg-config says.  They are the examples, the
# program of README.md, and that of dmio(7) as C++.
#
# CC, CXX            default: cc, c++
# SANITIZER_CFLAGS   what a sanitized library needs of its programs

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
: "${CC:=cc}" "${CXX:=c++}"
need make "${CC%% *}" "${CXX%% *}" pkg-config perl readelf

# We may be run by make: this is another one.
unset MAKEFLAGS MFLAGS MAKELEVEL
root=$TMP/root
make -C "$abs_top_builddir" install DESTDIR="$root" >"$TMP/install.log" 2>&1 ||
  fail "make install: $(tail -n 5 "$TMP/install.log")"
pc=$(find "$root" -name dmio.pc)
test -n "$pc" || fail "dmio.pc is not installed"

# Found there, and nowhere else.
export PKG_CONFIG_LIBDIR=${pc%/*}
export PKG_CONFIG_SYSROOT_DIR=$root
export PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1
unset PKG_CONFIG_PATH C_INCLUDE_PATH CPLUS_INCLUDE_PATH CPATH LIBRARY_PATH
read -ra flags <<<"${SANITIZER_CFLAGS-}"
read -ra said < <(pkg-config --cflags --libs dmio)
libdir=$root$(PKG_CONFIG_SYSROOT_DIR='' pkg-config --variable=libdir dmio)
include=$root$(PKG_CONFIG_SYSROOT_DIR='' pkg-config --variable=includedir dmio)
man=$(find "$root" -path '*/man3/dm_io_sync.3' -printf '%h\n')
export LD_LIBRARY_PATH=$libdir

# The headers that are public, and no others.
diff -u --label public --label installed \
  <(sed -nE '/^dmio_public_headers/,/[^\\]$/s,^\s*lib/([^ ]*\.h).*,\1,p' \
    "$abs_top_srcdir/lib/Makefile.inc" | LC_ALL=C sort) \
  <(cd "$include/dmio" && LC_ALL=C ls) ||
  fail "the headers that are installed are not the public ones"

# A page for each symbol, and links that lead to pages.
nm --dynamic --defined-only --format=posix "$libdir/libdmio.so" |
  awk '$2 ~ /^[BDRTVW]$/ { sub (/@.*/, "", $1); print $1 }' >"$TMP/symbols"
test -s "$TMP/symbols" || fail "libdmio.so exports nothing"
while IFS= read -r name; do
  test -s "$man/$name.3" || fail "man 3 $name is not installed"
done <"$TMP/symbols"
test "$(find "$man" -type f | wc -l)" -eq "$(wc -l <"$TMP/symbols")" ||
  fail "there are more man pages than calls"
while IFS= read -r page; do
  test -s "${man%/*}/$page" || fail "a link leads to $page, which is not there"
done < <(sed -n 's/^\.so //p' "$man"/*.3)
test -s "${man%/*}/man7/dmio.7" || fail "man 7 dmio is not installed"

# compile PROGRAM COMPILER FLAG... SOURCE: with what pkg-config says.
mkdir "$TMP/out"
compile ()
{
  local program=$1

  shift
  (cd "$TMP/out" && "$@" -o "$program" "${flags[@]}" "${said[@]}") \
    >"$TMP/compile.log" 2>&1 ||
    fail "cannot build $program: $(head -n 5 "$TMP/compile.log")"
  grep -qF '[libdmio.so.0]' < <(readelf -d "$TMP/out/$program") ||
    fail "$program does not use the library"
}

read -ra cc <<<"$CC -std=c11 -Wall -Wextra -Wpedantic -Werror"
read -ra cxx <<<"$CXX -std=c++11 -Wall -Wextra -Wpedantic -Werror"

# The examples do what they do in the tree.
for source in "$abs_top_srcdir"/examples/*.c; do
  name=$(basename "$source" .c)
  cp "$source" "$TMP/out/"
  compile "$name" "${cc[@]}" "$name.c"
  EXAMPLES=$TMP/out bash "$abs_top_srcdir/examples/$name.sh" ||
    fail "the example $name does not work outside the tree"
done

# README.md: the program between its first #include and its last brace.
sed -n '/^## As a library/,/^## Keys/s/^    //p' "$abs_top_srcdir/README.md" |
  sed -n '/^#include/,/^}/p' >"$TMP/out/readme.c"
compile readme "${cc[@]}" readme.c
cd "$TMP/out"
if ./readme >readme.out; then
  fail "the program of README.md does not notice that there are no files"
fi
truncate -s 4096 a.img b.img
./readme >readme.out || fail "the program of README.md fails"
printf 'a.img: written\nb.img: written\n' | cmp - readme.out ||
  fail "the program of README.md says something else"
printf 'on two files, durably\n' | cmp -n 22 - a.img ||
  fail "the program of README.md has not written"
cmp a.img b.img || fail "the program of README.md has not written to both"

# dmio(7): the same in C++.
sed -n '/^\.SH EXAMPLE/,/^\.EE/p' "${man%/*}/man7/dmio.7" |
  sed -n '/^#include/,/^}/p' | sed 's/\\e/\\/g' >overview.cc
compile overview "${cxx[@]}" overview.cc
head -c 4096 /dev/urandom >from.img
./overview from.img a.img b.img || fail "the program of dmio(7) fails"
cmp -n 512 from.img a.img || fail "the program of dmio(7) has not written"
cmp a.img b.img || fail "the program of dmio(7) has not written to both"
if ./overview from.img a.img absent.img; then
  fail "the program of dmio(7) does not notice what is absent"
fi

# Each header alone, by strict users, in C and in C++ as it was and is.  (In
# C++ bdev_extent and its structure have one name, as stat has: no -Wshadow.)
for header in "$include"/dmio/*.h; do
  echo "#include <dmio/${header##*/}>" >alone.c
  "$CC" -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion \
    -Wcast-qual -Wundef -Wshadow -Wstrict-prototypes -Werror -fsyntax-only \
    "${said[@]}" alone.c 2>compile.log ||
    fail "${header##*/}, as strict C11: $(head -n 3 compile.log)"
  for standard in c++11 c++17 c++20; do
    "$CXX" -std="$standard" -Wall -Wextra -Wpedantic -Wconversion \
      -Wsign-conversion -Wcast-qual -Wundef -Werror -fsyntax-only \
      "${said[@]}" -x c++ alone.c 2>compile.log ||
      fail "${header##*/}, as strict $standard: $(head -n 3 compile.log)"
  done
done
