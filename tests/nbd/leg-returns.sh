#!/usr/bin/env bash
# A leg that was out gets what it missed, and no more; a crash, what was dirty.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

io=$(helper nbd-io)
meta=$TMP/vol.d
args=("$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$meta")

# What is not copied keeps what this has put there: spoil FILE MIB... changes a
# sector in these regions, as nobody may, and puts the time of the file back.
spoil ()
{
  local file=$1 at

  shift
  cp --attributes-only --preserve=timestamps "$file" "$TMP/times"
  for at; do
    "$io" --fill "$TMP/spot" 512 99
    dd if="$TMP/spot" of="$file" bs=512 seek=$((at * 2048 + 7)) \
      conv=notrunc status=none
  done
  touch --reference="$TMP/times" "$file"
}

# spoiled FILE MIB..., restored FILE MIB...: what was put there is there still,
# or is not.
is_spoiled ()
{
  cmp -s -i $(($2 * 1048576 + 3584)):0 -n 512 "$1" "$TMP/spot"
}

spoiled ()
{
  local file=$1 at

  shift
  for at; do
    is_spoiled "$file" "$at" || fail "$file was copied at $at MiB"
  done
}

restored ()
{
  local file=$1 at

  shift
  for at; do
    ! is_spoiled "$file" "$at" || fail "$file was not copied at $at MiB"
  done
}

log_bits () { od -An -tx1 -j 1024 -N 2 "$meta/dirty.log" | tr -d ' \n'; }

# 16 regions of 1 MiB.
fill "$TMP/a.img" 16M 1
cp "$TMP/a.img" "$TMP/b.img"
start_nbdkit vol "${args[@]}" region-size=1M sync=none
"$io" "$(uri vol)" 'write 0 4096 2' flush
stop_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"
test "$(log_bits)" = ffff || fail "the log is not clean after an orderly stop"

# A steady writer: the log is written for the first write to a region only.  A
# region that nobody writes for five seconds may be cleaned, so only what was
# quick enough tells anything.
for ((try = 1; ; try++)); do
  start_nbdkit vol "${args[@]}"
  client_open vol
  begin=$SECONDS
  ask write 3M 4096 3
  ask write 9M 4096 3
  bits=$(log_bits)
  before=$(stat -c %y "$meta/dirty.log")
  for ((i = 0; i < 20; i++)); do
    ask write $((3145728 + i * 4096)) 4096 4
    ask write $((9437184 + i * 4096)) 4096 4
  done
  after=$(stat -c %y "$meta/dirty.log")
  test $((SECONDS - begin)) -gt 3 || break
  test "$try" -lt 10 || fail "this machine is too slow to tell"
  client_close
  stop_nbdkit vol
done
test "$bits" = f7fd || fail "the log is not dirty where it was written: $bits"
test "$before" = "$after" || fail "writes to dirty regions have written the log"
client_close

# kill -9: what was dirty is copied, from the primary, and nothing else.
kill_nbdkit vol
bits=$((16#$(log_bits)))
spoil "$TMP/b.img" 2 3 9 15
start_nbdkit vol "${args[@]}"
"$io" "$(uri vol)" 'write 5M 512 5'
wait_manifest "$meta" resyncing false
spoiled "$TMP/b.img" 2 15
if ((bits & 0x0800)); then spoiled "$TMP/b.img" 3; else restored "$TMP/b.img" 3; fi
if ((bits & 0x0002)); then spoiled "$TMP/b.img" 9; else restored "$TMP/b.img" 9; fi
# Let it be all right again.
stop_nbdkit vol
test "$(log_bits)" = ffff || fail "the log is not clean after the resync"
cp "$TMP/a.img" "$TMP/c.img"
dd if="$TMP/c.img" of="$TMP/b.img" conv=notrunc status=none
start_nbdkit vol "${args[@]}" sync=full
"$io" "$(uri vol)" 'write 5M 512 5'
wait_insync "$meta"
stop_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"

# A leg is not there: the volume goes on, and after two starts it gets what
# was written meanwhile, although it is named first.
mv "$TMP/b.img" "$TMP/b.away"
for at in 4 11; do
  start_nbdkit vol "${args[@]}"
  said vol 'leg 1 .*b\.img.* is missing: No such file'
  "$io" "$(uri vol)" "write ${at}M 8192 6" "read ${at}M 8192 6" flush
  test "$(dm_manifest "$meta" legs.1.state)" = missing ||
    fail "the leg is not recorded as missing"
  stop_nbdkit vol
done
# The record outlives a kill, too.
start_nbdkit vol "${args[@]}"
"$io" "$(uri vol)" 'write 12M 8192 7'
kill_nbdkit vol
mv "$TMP/b.away" "$TMP/b.img"
spoil "$TMP/b.img" 1 4 10 11 12
cp "$TMP/a.img" "$TMP/expected.img"
start_nbdkit vol "$DM_PLUGIN" "$TMP/b.img" "$TMP/a.img" meta="$meta" \
  read-policy=round-robin
"$io" "$(uri vol)" 'read 4M 8192 6' 'read 11M 8192 6' 'read 12M 8192 7' \
  'read 4M 8192 6' 'read 11M 8192 6' 'read 12M 8192 7' 'write 5M 512 5'
wait_insync "$meta"
restored "$TMP/b.img" 4 11 12
spoiled "$TMP/b.img" 1 10
stop_nbdkit vol
"$io" --fill "$TMP/pattern.img" 16M 6
cmp -i 11534336 -n 8192 "$TMP/b.img" "$TMP/pattern.img" ||
  fail "what was written while the leg was out is not on it"

# A leg that was out, and that somebody has written to since: he may have gone
# on alone with it.
dd if="$TMP/a.img" of="$TMP/b.img" conv=notrunc status=none
start_nbdkit vol "${args[@]}" sync=full
"$io" "$(uri vol)" 'write 5M 512 5'
wait_insync "$meta"
stop_nbdkit vol
cp -r "$meta" "$TMP/other.d"
mv "$TMP/b.img" "$TMP/b.away"
start_nbdkit vol "${args[@]}"
"$io" "$(uri vol)" 'write 1M 4096 8' flush
stop_nbdkit vol
mv "$TMP/b.away" "$TMP/b.img"
mv "$TMP/a.img" "$TMP/a.away"
start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$TMP/other.d"
"$io" "$(uri vol)" 'write 2M 4096 9' flush
stop_nbdkit vol
mv "$TMP/a.away" "$TMP/a.img"
for dir in "$meta" "$TMP/other.d"; do
  refused "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" meta="$dir"
  grep -q 'both sides went on alone.*name it first and give sync=full' \
    "$TMP/refused.log" || fail "no way out for two that went on alone"
done
# The way out, to the second one's side.
start_nbdkit vol "$DM_PLUGIN" "$TMP/b.img" "$TMP/a.img" meta="$meta" sync=full
"$io" "$(uri vol)" 'read 2M 4096 9' 'write 5M 512 5'
wait_insync "$meta"
stop_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"

# The log is of another volume, damaged, or away: said, or all is copied.
spoil "$TMP/b.img" 13
cp "$meta/dirty.log" "$TMP/dirty.log"
rm "$meta/dirty.log"
start_nbdkit vol "${args[@]}"
said vol 'dirty\.log: is not there; all regions are taken to be dirty'
kill_nbdkit vol
spoiled "$TMP/b.img" 13
