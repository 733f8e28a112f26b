#!/usr/bin/env bash
# One file given as two legs, by whatever name, is refused.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/bad-input/common.sh
. "$(dirname "$0")/common.sh"

mkdir "$TMP/d"
cd "$TMP/d"
fill a.img 1M 1
fill b.img 1M 2
ln -s b.img link.img
ln b.img hard.img
mkdir folder
ln -s .. folder/up

refuse 'leg 0 \(b\.img\) and leg 1 \(b\.img\)' 'one of its own' b.img b.img
refuse '\(b\.img\).*\(\./b\.img\)' 'one of its own' b.img ./b.img
refuse "\\(b\\.img\\).*/d/b\\.img" 'one of its own' b.img "$PWD/b.img"
refuse '\(b\.img\).*folder/\.\./b\.img' 'one of its own' b.img folder/../b.img
refuse '\(b\.img\).*folder/up/b\.img' 'one of its own' b.img folder/up/b.img
refuse '\(b\.img\).*\(link\.img\)' 'one of its own' b.img link.img
refuse '\(link\.img\).*\(b\.img\)' 'one of its own' link.img b.img
refuse 'leg 0 \(b\.img\).*leg 1 \(hard\.img\)' 'one of its own' b.img hard.img
refuse 'leg 1 \(b\.img\) and leg 2 \(hard\.img\)' 'one of its own' \
  a.img b.img hard.img meta=new.d
refuse 'leg 0 \(link\.img\) and leg 2 \(hard\.img\)' 'one of its own' \
  link.img a.img hard.img

# Legs that are to be created.
refuse '\(new\.img\).*\(new\.img\)' 'one of its own' new.img new.img size=1M
refuse '\(new\.img\).*\(\./new\.img\)' 'one of its own' new.img ./new.img size=1M
refuse '\(a\.img\).*\(hard\.img\)|\(b\.img\).*\(hard\.img\)' 'one of its own' \
  new.img b.img hard.img size=1M

# Two files with the same bytes are two legs.
cp a.img copy.img
start_nbdkit two "$DM_PLUGIN" a.img copy.img sync=none
"$(helper nbd-io)" "$(uri two)" 'read 0 1M 1'
stop_nbdkit two
