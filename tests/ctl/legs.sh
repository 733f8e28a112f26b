#!/usr/bin/env bash
# Legs are failed, rejoined, added, replaced and removed by dmnbd, under clients.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

vol () { expect "$1" -s "$(control vol)" "${@:2}"; }

refuse_verb ()
{
  local regex=$1

  shift
  vol 1 "$@"
  told "^dmnbd: .*($regex)"
}

fill "$TMP/a.img" 8M 1
cp "$TMP/a.img" "$TMP/b.img"
truncate -s 8M "$TMP/c.img" "$TMP/d.img"
truncate -s 4M "$TMP/short.img"
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" sync=none
follow vol
client_open vol

# Out and in again, with what it has missed.
vol 0 leg fail 1
told '^leg 1: is not used any more$'
wait_event vol '"leg":1.*"state":"failed","was":"insync"'
vol 0 --json leg fail 1
test "$(value changed)" = false
[[ $(value message) = *'failed already' ]] || fail "$(value message)"
ask 'write 1M 64K 2'
ask flush
vol 3 --json status
test "$(value legs.1.state)" = failed
vol 0 leg rejoin 1
vol 0 wait sync
same "$TMP/a.img" "$TMP/b.img"
vol 0 leg rejoin 1
told 'in use|already'

# Another one, by a name from here, not from where the server is.
(cd "$TMP" && expect 0 -s "$(control vol)" --json leg add c.img)
test "$(value leg)" = 2
vol 0 wait sync
ask 'write 2M 64K 3'
ask flush
same "$TMP/a.img" "$TMP/c.img"
vol 0 --json status
test "$(value legs.2.spec)" = "$TMP/c.img"
test "$(value legs.2.state)" = insync

# One in the place of another.
vol 0 leg replace 0 "$TMP/d.img"
told '^leg 0: is .*d.img now, and being filled; name it at the next start$'
vol 0 wait sync
vol 0 leg remove 1
told '^leg 1: is removed'
vol 0 --json status
test "$(value legs.0.spec)" = "$TMP/d.img"
test "$(value legs.1.index)" = 2
ask 'write 3M 64K 4'
ask flush
same "$TMP/c.img" "$TMP/d.img"
! cmp -s "$TMP/b.img" "$TMP/c.img" || fail "a removed leg is still written"

# What would lose data, or makes no sense.
refuse_verb 'no such leg; give one of 0, 2' leg fail 1
refuse_verb 'no such leg' leg fail 99999999999
refuse_verb 'none.img does not exist' leg add "$TMP/none.img"
refuse_verb 'fewer|too small|shorter|cut short' leg add "$TMP/short.img"
refuse_verb 'same file|already' leg add "$TMP/c.img"
refuse_verb 'none.img does not exist' leg replace 0 "$TMP/none.img"
vol 0 leg fail 0
refuse_verb 'the last one in sync' leg fail 2
refuse_verb 'the last one in sync' leg remove 2
refuse_verb 'the last one in sync' leg replace 2 "$TMP/a.img"
vol 3 status
vol 2 leg fail
vol 2 leg fail b.img
told "is not a number"
vol 2 leg replace 0
vol 0 leg rejoin 0
vol 0 wait sync

# What was done is remembered.
client_close
stop_nbdkit vol
end_follow vol
start_control vol "$TMP/d.img" "$TMP/c.img" meta="$TMP/vol.d"
vol 0 --json status
test "$(value volume.state)" = healthy
stop_nbdkit vol
same "$TMP/c.img" "$TMP/d.img"
