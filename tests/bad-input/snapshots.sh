#!/usr/bin/env bash
# Snapshots that cannot be taken or given up: names, places, order.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

make_volume snapshot=one
cd "$TMP/d"
keep_volume
long=$(printf 'x%.0s' {1..120000})

for name in '' . .. .hidden -dash 'a b' a/b ../x /x a..b é 'a%s' 'a;b' "a'b" \
            $'a\x1b[31m' 'a..' "${long:0:65}" "$long"; do
  refuse '^nbdkit: error: snapshot=' 'use letters' a.img b.img meta=meta \
    snapshot="$name"
  refuse '^nbdkit: error: discard-snapshot=' 'use letters' a.img b.img \
    meta=meta discard-snapshot="$name"
done
# (Its message may take two lines.)
refuse '^nbdkit: error: snapshot=' '' a.img b.img meta=meta snapshot=$'a\nb'
refuse 'discard-snapshot=lost' 'meta=DIR' a.img discard-snapshot=lost
# One that needs no folder needs room for a temporary file.
TMPDIR=$PWD/none refuse 'snapshot lost.*in .*/none' 'set TMPDIR' a.img \
  snapshot=lost

# Something is where the store should be.
echo hello >meta/two.cow
refuse 'snapshot two.*two\.cow' 'move it away' a.img b.img meta=meta snapshot=two
rm meta/two.cow
mkdir meta/two.cow
refuse 'snapshot two.*two\.cow' 'move it away' a.img b.img meta=meta snapshot=two
rmdir meta/two.cow
ln -s nowhere meta/two.cow
refuse 'snapshot two.*two\.cow' 'move it away' a.img b.img meta=meta snapshot=two
rm meta/two.cow
mkfifo meta/two.cow
refuse 'snapshot two.*two\.cow' 'move it away' a.img b.img meta=meta snapshot=two
rm meta/two.cow
# Of several snapshots all can be taken, or none is.
echo hello >meta/three.cow
refuse 'snapshot three.*three\.cow' 'move it away' a.img b.img meta=meta \
  snapshot=two snapshot=three
rm meta/three.cow

# Only an oldest snapshot can go: the others hold what older ones need.
start_nbdkit vol "$DM_PLUGIN" a.img b.img meta=meta snapshot=two
stop_nbdkit vol
refuse 'discard-snapshot=two: snapshot one is older' 'discard that, too' \
  a.img b.img meta=meta discard-snapshot=two
start_nbdkit vol "$DM_PLUGIN" a.img b.img meta=meta discard-snapshot=two \
  discard-snapshot=one
stop_nbdkit vol
for name in one two; do
  test ! -e "meta/$name.cow" || fail "the store of snapshot $name is still there"
done
