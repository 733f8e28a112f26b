#!/usr/bin/env bash
# Keys that are not there, and values that cannot be.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

# Many refusals, each with a server of its own.
export TEST_TIMEOUT="${TEST_TIMEOUT:-400}"
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

mkdir "$TMP/d"
cd "$TMP/d"
fill a.img 64K 1
fill b.img 64K 2
mkdir meta
two_to_64=18446744073709551616
long=$(printf 'z%.0s' {1..120000})

refuse 'nonsense=' '--help' a.img nonsense=1
refuse 'LEG=' '--help' a.img LEG=b.img
refuse 'leg2=' '--help' a.img leg2=b.img
refuse 'chunk_size=' '--help' a.img chunk_size=4K
refuse 'a%s%n=|a.s.n' '--help|check the name' a.img 'a%s%n=1'
refuse 'zzzz' '--help' a.img "${long:0:100000}=1"
refuse 'legs were given already' 'give the table, or the legs' a.img table=1
refuse "table=: '1'" 'give a number' table=1
refuse "'z*" 'give a number' "table=$long"
refuse 'size=:' 'leave one of them out' \
  table='0 128 mirror core 1 2 2 a.img 0 b.img 0' size=64K
refuse 'none.img' 'check the name' \
  table='0 128 mirror core 1 2 2 a.img 0 none.img 0'
refuse 'fewer than' 'truncate' \
  table='0 129 mirror core 1 2 2 a.img 0 b.img 0'

# The control socket: nothing is made before its place is known to be good.
mkdir "$TMP/d/open"
chmod 0777 "$TMP/d/open"
ln -s nowhere "$TMP/d/link"
refuse 'control=:' 'give the name of a socket' a.img control=
refuse 'control=a.img:' 'is no socket; give another name' \
  a.img b.img meta=meta control=a.img
refuse 'control=link:' 'is a link; name the socket itself' \
  a.img meta=meta control=link
refuse 'control=open/s:' 'make a folder of your own' a.img control=open/s
refuse 'control=.:' 'name a file that is to be made' a.img control=.
refuse 'control=no/s:' 'create that first' a.img control=no/s

# Sizes.  Zero and small ones are looked at below, for each key on its own.
# One key has all kinds of nonsense, the others share its code.
bad_size ()
{
  refuse "^nbdkit: error: $1=" 'give a number with K, M, G or T' \
    a.img meta=meta "$1=$2"
}
for value in '' ' ' -1 +1 x 1x 1KK 1KB 1M1 0x1000 1.5M ' 1M' '1M ' 1e6 \
             $two_to_64 18446744073709551615 9223372036854775808 16E 8E \
             18446744073709551616K 99999999999999999999999999 \
             '%s%s%s%n' "$long"; do
  bad_size cow-size "$value"
done
for key in size region-size chunk-size resync-rate; do
  for value in '' -1 1KK $two_to_64 "$long"; do
    bad_size "$key" "$value"
  done
done
for value in 0 1 511 513 1000001; do
  refuse "size=$value" 'multiple of 512' a.img "size=$value"
done
refuse 'a\.img.*9223372036854775296' 'truncate' a.img size=9223372036854775296
for value in 0 1 512 1023 1025 3000 2G 1E; do
  refuse "region-size=$value" 'power of two from' a.img "region-size=$value"
done
for value in 0 1 512 2K 4095 4097 5000 2M 1E; do
  refuse "chunk-size=$value" 'power of two from' a.img meta=meta \
    snapshot=s "chunk-size=$value"
done
refuse 'cow-size=0' 'leave it out' a.img meta=meta snapshot=s cow-size=0
for value in 1 512 191K 196607; do
  refuse 'snapshot s: cow-size=' 'give at least 196608' a.img meta=meta \
    snapshot=s "cow-size=$value"
done
refuse 'cow-size=12288' 'give at least 3145728' a.img meta=meta \
  snapshot=s chunk-size=1M cow-size=12K
# Only the file system knows what it can hold: some take a sparse file of any
# size.
knows_limit=no
truncate -s 7E "$TMP/huge" 2>"$TMP/huge.log" || knows_limit=yes
rm -f "$TMP/huge"
if test $knows_limit = yes; then
  refuse_late 'snapshot s.*s\.cow' 'smaller cow-size=' a.img meta=new.d \
    snapshot=s cow-size=7E
  test ! -e new.d/s.cow || fail "the store of a snapshot not taken is there"
fi

# Words.
for key in sync read-policy direct on-cow-error; do
  case $key in
    sync) words='auto, full, none' ;;
    read-policy) words='least-pending, round-robin, first' ;;
    direct) words='auto, on, off' ;;
    on-cow-error) words='break-snapshot, break-guest-write' ;;
  esac
  for value in '' x 1 AUTO 'first,' "$long"; do
    refuse "^nbdkit: error: $key=" "must be one of $words" a.img "$key=$value"
  done
done

# Seconds.
for value in '' x 0 -1 1.5 1s ' 1' 86401 $two_to_64 "$long"; do
  refuse '^nbdkit: error: leg-timeout=' 'from 1 to 86400' a.img \
    "leg-timeout=$value"
done

# Numbers of legs.
for value in '' x -1 9 00 $two_to_64 "$long"; do
  refuse '^nbdkit: error: write-mostly=' 'from 0 to 8' a.img b.img \
    "write-mostly=$value"
done
refuse 'write-mostly=2' 'from 0 to 1' a.img b.img write-mostly=2
refuse 'write-mostly=8' 'from 0 to 0' a.img write-mostly=8

# The folder.
refuse 'meta=' 'give a folder' a.img meta=
refuse 'meta=other' 'already' a.img meta=meta meta=other
refuse 'meta=.*z{40}' 'too long' a.img "meta=$long"

if test $knows_limit = yes; then
  refuse_late 'new\.img' 'smaller size=' new.img new2.img size=7E
  test ! -e new.img || fail "a leg of a volume not made is there"
fi

# The first key is wrong, and later ones are not looked at.
refuse 'sync=1' 'must be one of' sync=1 missing.img meta=newer.d
