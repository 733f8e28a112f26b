#!/usr/bin/env bash
# What dmnbd prints gets where it belongs, or dmnbd fails.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"
need perl

# ends STATUS COMMAND...: a command for bash ends with it, by itself; what it
# said is in $TMP/err.
ends ()
{
  local expected=$1 status=0

  shift
  (
    export -f dmnbd
    timeout 60 bash -c "set -o pipefail; $*"
  ) >"$TMP/out" 2>"$TMP/err" || status=$?
  test "$status" -eq "$expected" ||
    fail "$*: ended with $status, not $expected: $(cat "$TMP/out" "$TMP/err")"
}
silent () { test ! -s "$TMP/err" || fail "it said: $(cat "$TMP/err")"; }

declare -a waiting
fill "$TMP/a.img" 1M 1
cp "$TMP/a.img" "$TMP/b.img"
truncate -s 1M "$TMP/c.img"
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d"
DMNBD_SOCKET=$(control vol)
export DMNBD_SOCKET

# A server that has stopped, and whose queue is full: whoever connects to it is
# not kept for longer than the time that was given (or 5 seconds).
coproc stopped {
  exec perl -MIO::Socket::UNIX -e '
    my $s = IO::Socket::UNIX->new (Local => $ARGV[0], Listen => 1) or die $!;
    $| = 1; print "ready\n"; <STDIN>' "$TMP/stopped.ctl"
}
# shellcheck disable=SC2154
stopped_pid=$stopped_PID stopped_in=${stopped[1]}
read -r -t 60 -u "${stopped[0]}" || fail "no socket"
# More than its queue holds.
for i in 1 2 3 4; do
  dmnbd --json -s "$TMP/stopped.ctl" wait sync --timeout 1 \
    >"$TMP/stopped.$i.out" 2>"$TMP/stopped.$i.err" &
  waiting[i]=$!
done

# Who has read enough ends what follows: nothing else happens here, whose event
# would do it.  That is not worth a word.
ends 1 'dmnbd events --since 0 | head -n 1'
told '"type":"server.started"'
silent
ends 1 'dmnbd status --watch | head -n 1'
told '^resyncing; legs'
silent

# Output into a stream that is closed, which must not be the server's.
ends 1 'dmnbd status >&-'
told 'the output cannot be written: Bad file descriptor'
ends 1 'dmnbd events --since 0 >&-'
told 'the output cannot be written: Bad file descriptor'
ends 1 'dmnbd snapshot rollback no 2>&- <&-'
test ! -s "$TMP/out"
ends 1 'dmnbd leg fail 7 >&- 2>&-'
ends 0 'dmnbd leg fail 1 <&-'
told 'leg 1: is not used any more'

# A full disk, of a volume that is degraded, too.
if test -e /dev/full; then
  for verb in status '--json status' 'snapshot list' 'events --since 0' \
    'status --watch' metrics methods table; do
    ends 1 "dmnbd $verb >/dev/full"
    told 'the output cannot be written: (No space|a part is lost)'
  done
fi

# After "--" nothing is an option.
expect 3 -- status
expect 1 diff -- -no
told "'-no' .*there is no such snapshot"
expect 1 leg add -- --help
told '--help does not exist'
expect 2 leg add --
told 'SPEC is missing'

# Names that JSON cannot have, paths from nowhere, and those too long.
expect 1 diff "$(printf 'a\377')"
told 'there is no snapshot of that name: it is not UTF-8'
expect 1 leg add "$(printf 'a\377')"
told 'cannot be told to the server: it is not UTF-8'
mkdir "$TMP/gone"
(
  cd "$TMP/gone"
  rmdir "$TMP/gone"
  expect 1 leg add c.img
  told "'c.img' cannot be found from here: No such file"
)
long=$(printf '%0120d' 0)
mkdir "$TMP/$long"
(
  cd "$TMP"
  expect 1 -s "$long" status
  told 'cannot be connected: File name too long'
)
expect 1 snapshot create "$(printf '%070000d' 0)"
told 'longer than 65536 bytes'

# Which volume?
expect 2 -s '' status
told "name of the volume's socket or folder is empty"
expect 2 -s "$DMNBD_SOCKET" -d "$TMP/vol.d" status
told 'both name the volume'
expect 3 -d "$TMP/vol.d" status
expect 1 -d "$TMP/no" snapshot list
told 'no: is no folder; give the one that meta='
expect 1 -d "$TMP/a.img" snapshot list
told 'a.img: is no folder'
stop_nbdkit vol

for i in 1 2 3 4; do
  ! wait "${waiting[i]}" || fail "it waits for nobody, and succeeds"
  grep -q 'the server does not answer' "$TMP/stopped.$i.err" ||
    fail "no answer: $(cat "$TMP/stopped.$i.err")"
  "$(json_get)" error.data.name <"$TMP/stopped.$i.out" >"$TMP/out"
  told '^ETIMEDOUT$'
done
# It ends with its input.
exec {stopped_in}>&-
wait "$stopped_pid" || fail "the other program has failed"
