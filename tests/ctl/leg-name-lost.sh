#!/usr/bin/env bash
# A leg's file that is deleted, renamed or replaced is told, and never mistaken.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

vol () { expect "$1" -s "$(control vol)" "${@:2}"; }

gone='it is not at its name any more .deleted, renamed or unplugged.: .*replace it'
other='another file has its name now: .*replace it'

# lost COUNT REGEX: it is told so for the COUNT-th time.  Who asks for the status
# has it looked for.
lost ()
{
  vol 0 status
  wait_event vol "\"leg.file\",\"leg\":1,\"spec\":\"[^\"]*b.img\",\"reason\":\"$2" \
    "$1"
  vol 0 --json status
  [[ $(value legs.1.reason) =~ $2 ]] || fail "$(value legs.1.reason)"
  test "$(value legs.1.state)" = insync
  vol 0 status
  told "$2"
  said vol "leg 1 \\(.*b\\.img\\): $2"
  vol 0 metrics
  grep -Fxq 'dmnbd_leg_name_lost{leg="1"} 1' "$TMP/out" || fail "not counted"
  grep -Fxq 'dmnbd_leg_name_lost{leg="0"} 0' "$TMP/out" || fail "the wrong one"
}

# found: it is where it was.
found ()
{
  vol 0 status
  wait_event vol '"leg.file","leg":1,"spec":"[^"]*b.img"}'
  vol 0 --json status
  test "$(value legs.1.reason)" = null
  vol 0 metrics
  grep -Fxq 'dmnbd_leg_name_lost{leg="1"} 0' "$TMP/out" || fail "still lost"
}

fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
cp "$TMP/a.img" "$TMP/stale.img"
args=("$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" read-policy=round-robin)
start_control vol "${args[@]}" sync=none
follow vol
client_open vol
ask write 0 64K 2

mv "$TMP/b.img" "$TMP/moved.img"
lost 1 "$gone"
mv "$TMP/moved.img" "$TMP/b.img"
found

# Deleted it is served on; and what has its name then is older.
rm "$TMP/b.img"
lost 2 "$gone"
ask write 1M 64K 3
ask flush
cp "$TMP/stale.img" "$TMP/b.img"
lost 1 "$other"
ask read 1M 64K 3
ask read 1M 64K 3

# It does not come back as that leg, but may be filled as one.
vol 0 leg fail 1
vol 1 leg rejoin 1
told 'is not the file or disk that it was.*replace it, then all is copied'
ask read 1M 64K 3
rm "$TMP/b.img"
vol 1 leg rejoin 1
told 'No such file or directory; put it back, or replace it'
cp "$TMP/stale.img" "$TMP/b.img"
vol 0 leg replace 1 "$TMP/b.img"
vol 0 wait sync
vol 0 --json status
test "$(value legs.1.reason)" = null
ask flush
same "$TMP/a.img" "$TMP/b.img"

# The same when the server is killed meanwhile, and knows nothing of it.
rm "$TMP/b.img"
cp "$TMP/stale.img" "$TMP/b.img"
ask write 2M 64K 4
ask flush
exec {client_in}>&-
kill_nbdkit vol
wait "$client_job" || :
end_follow vol
start_control vol "${args[@]}"
client_open vol
for i in 1 2; do
  ask read 0 64K 2
  ask read 1M 64K 3
  ask read 2M 64K 4
done
vol 0 wait sync
said vol 'leg 1 .*b\.img.* is not the file that it was'
client_close
stop_nbdkit vol
same "$TMP/a.img" "$TMP/b.img"
