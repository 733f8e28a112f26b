#!/usr/bin/env bash
# The recipes of docs/RECIPES.md do what they say, typed as they are written.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/../ctl/common.sh"
need nbdcopy nbdinfo

mkdir "$TMP/d"
cd "$TMP/d"
fill fs.img 16M 1
fill bad.img 16M 3
cp "$abs_top_srcdir/tests/golden/g1_cow.bin" lvm-cow.img

start_control vol a.img b.img size=16M meta=vol.d
ln -s "$(sock vol)" vol.sock
nbdcopy --flush fs.img "$(uri vol)"

# Servers in the background end with the recipe.
{
  cat <<SHELL
set -eux
PATH=$abs_top_builddir/ctl:\$PATH
export DMNBD_SOCKET=$(control vol)
dm='$DM_PLUGIN'
nbdkit () { case \$* in *nbdkit-dm-plugin*) command "$NBDKIT" "\$@" ;; *) command nbdkit "\$@" ;; esac; }
vol='nbd+unix:///?socket=vol.sock'
SHELL
  sed -n 's/^    \$ //p' "$abs_top_srcdir/docs/RECIPES.md"
} >recipes.sh
test "$(grep -c '^dmnbd' recipes.sh)" -ge 14 || fail "RECIPES.md has lost recipes"

# recipe HEAD: the commands of that section.
recipe ()
{
  {
    sed '/^vol=/q' recipes.sh
    sed -n "/^## $1/,/^## /s/^    \\$ //p" "$abs_top_srcdir/docs/RECIPES.md"
  } >one.sh
  bash one.sh >"$TMP/recipe.log" 2>&1 || fail "recipe: $1"
}

recipe 'Back up a disk'
same backup.img fs.img
recipe 'Back up only what has changed: the first'
same backup.img fs.img
# What clients do until the next day, zeroes among it.
"$(helper nbd-io)" "$(uri vol)" 'write 6400K 100K 7' 'write 1280K 64K 0x00' \
  'zero 2M 4K' flush
cp a.img change.img
recipe 'Back up only what has changed: each'
same backup.img change.img
grep -Fxq '1310720 65536' changed || fail "dmnbd diff says otherwise"
recipe 'Replace a disk'
end ()
{
  local pid

  test -s "$1" || return 0
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || :
  tail --pid="$pid" -f /dev/null
  rm -f "$1"
}
trap 'end "$TMP/d/far.pid"; end "$TMP/d/larger.pid"; cleanup' EXIT
recipe 'Mirror to another'
same a.img far.img
recipe 'Go back after'
nbdcopy "$(uri vol)" now.img
same now.img change.img
recipe 'Move a volume'
grep -Eq ' 2 +insync .*far@' "$TMP/recipe.log" || fail "the far leg is not left"
stop_nbdkit vol
same far.img change.img
recipe 'Read the store'
grep -Fxq '511 6 1' "$TMP/recipe.log" || fail "the store was not read"
end far.pid
# The first leg fills the other one, up to the new size.
cp change.img a.img
cp bad.img b.img
recipe 'Make a volume larger'
grep -Fxq 33554432 "$TMP/recipe.log" || fail "the volume is not larger"
end larger.pid
cp change.img larger.img
truncate -s 32M larger.img
same a.img larger.img
same b.img larger.img
