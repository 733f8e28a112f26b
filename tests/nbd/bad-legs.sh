#!/usr/bin/env bash
# Legs and keys that can't be: each refusal names the thing, and changes nothing.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

mkdir "$TMP/d"
cd "$TMP/d"
fill a.img 1M 1
fill b.img 1M 2
fill c.img 2M 3
fill odd.img 1000001 4
: >empty.img
mkdir folder
ln -s b.img link.img
ln b.img hard.img
for i in 0 1 2 3 4 5 6 7 8 9; do
  fill "leg$i.img" 64K 5
done

state ()
{
  find . -printf '%p %s %T@ %m %y\n' | sort
  find . -type f -print0 | sort -z | xargs -0 sha256sum
}

# bad REGEX ARG...: refused, with a message that matches.
bad ()
{
  local regex=$1

  shift
  state >"$TMP/before"
  refused "$DM_PLUGIN" "$@"
  grep -Eq -- "$regex" "$TMP/refused.log" ||
    fail "the message does not match '$regex': $*"
  state >"$TMP/after"
  diff "$TMP/before" "$TMP/after" >&2 || fail "changed something: $*"
}

bad 'leg'
bad 'missing\.img' missing.img
bad 'missing\.img' a.img missing.img
bad 'missing\.img' a.img missing.img meta=new.d
bad 'a\.img.*c\.img|c\.img.*a\.img' a.img c.img
bad 'c\.img' a.img b.img c.img meta=new.d
bad 'folder' folder
bad 'folder' a.img folder
bad 'odd\.img' odd.img
bad '512' odd.img
bad 'empty\.img' empty.img
bad '9 legs|at most 9|nine|9' leg0.img leg1.img leg2.img leg3.img leg4.img leg5.img leg6.img \
  leg7.img leg8.img leg9.img
bad 'b\.img' b.img b.img
bad 'b\.img' b.img ./b.img
bad 'link\.img' a.img b.img link.img
bad 'hard\.img' b.img hard.img meta=new.d
bad 'nonsense' a.img nonsense=1
bad '2097152|size' a.img size=2M
bad 'size' a.img size=1000
bad 'size' a.img size=-1
bad 'size' new.img size=1000001
bad 'region-size' a.img region-size=3000
bad 'region-size' a.img region-size=0
bad 'region-size' a.img region-size=1Q
bad 'chunk-size' a.img meta=new.d snapshot=s chunk-size=5000
bad 'chunk-size' a.img meta=new.d snapshot=s chunk-size=2K
bad 'chunk-size' a.img meta=new.d snapshot=s chunk-size=2M
bad 'sync' a.img sync=perhaps
bad 'read-policy' a.img read-policy=last
bad 'write-mostly' a.img write-mostly=1
bad 'write-mostly' a.img write-mostly=x
bad 'direct' a.img direct=maybe
bad 'on-cow-error' a.img on-cow-error=panic
bad 'nbd://' nbd://localhost/
bad 'a\.img' a.img meta=a.img
bad 'nowhere/new\.d' a.img meta=nowhere/new.d
for name in '' . .. .hidden -dash 'a b' a/b ../x a..b 'é' 'a%s' \
            "$(printf 'x%.0s' {1..65})"; do
  bad 'snapshot' a.img meta=new.d snapshot="$name"
done
bad 'meta=' a.img snapshot=needs-a-memory

# What the largest and the oddest allowed do is not refused.
start_nbdkit nine "$DM_PLUGIN" leg0.img leg1.img leg2.img leg3.img leg4.img \
  leg5.img leg6.img leg7.img leg8.img sync=none
"$(helper nbd-io)" "$(uri nine)" 'read 0 64K 5' 'write 1 1 0x99' flush
stop_nbdkit nine
same leg0.img leg8.img
start_nbdkit new "$DM_PLUGIN" new1.img new2.img size=1M meta=new.d \
  snapshot="$(printf 'x%.0s' {1..64})" chunk-size=4K region-size=512K
"$(helper nbd-io)" "$(uri new)" 'read 0 1M 0x00' 'write 5 5 6' flush
wait_insync new.d
stop_nbdkit new
same new1.img new2.img

# A folder that is the memory of another volume.
bad 'new2\.img' new1.img b.img meta=new.d
bad 'new2\.img' new1.img meta=new.d
bad 'b\.img' new1.img new2.img b.img meta=new.d
bad 'region-size' new1.img new2.img meta=new.d region-size=64K
