#!/usr/bin/env bash
# The systemd units are well-formed, and start and stop a server as written.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/../ctl/common.sh"

units=$abs_top_srcdir/ctl/systemd
cp "$units"/dmnbd*@.service "$units"/dmnbd*@.socket "$TMP"

# verify FILE: what systemd says of it; nothing, if it is well.  Programs that
# are not installed here are no fault of the unit.
verify ()
{
  systemd-analyze verify --man=no --recursive-errors=no "$1" 2>&1 |
    grep -E "dmnbd" | grep -Ev 'is not executable|not found' || :
}

if command -v systemd-analyze >/dev/null; then
  for unit in "$TMP"/dmnbd*@.service "$TMP"/dmnbd*@.socket; do
    said=$(verify "${unit/@/@vol}")
    test -z "$said" || fail "systemd-analyze verify: $said"
  done
  # It can fail.
  sed 's/^PIDFile=/PIDFiles=/' "$TMP/dmnbd@.service" >"$TMP/dmnbd-bad@.service"
  test -n "$(verify "$TMP/dmnbd-bad@vol.service")" ||
    fail "systemd-analyze verify does not notice a wrong name"
  rm "$TMP/dmnbd-bad@.service"
fi

# The command of the service, with the folders of this test.
mkdir -p "$TMP/run/dmnbd/vol" "$TMP/lib/dmnbd"
fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$TMP/b.img"
cat >"$TMP/vol.conf" <<CONF
LEGS=$TMP/a.img $TMP/b.img
OPTIONS=region-size=4M sync=none
CONF
command=$(sed -n 's/^ExecStart=//p' "$TMP/dmnbd@.service" |
  sed "s|%t|$TMP/run|g; s|%S|$TMP/lib|g; s|%i|vol|g; s| dm | $DM_PLUGIN |
       s|^nbdkit|$NBDKIT --exit-with-parent -f|")
test -n "$command" || fail "the unit has no command"
pidfile=$TMP/run/dmnbd/vol/pid
grep -Fxq "PIDFile=%t/dmnbd/%i/pid" "$TMP/dmnbd@.service" ||
  fail "the unit looks for its process elsewhere"
mkfifo "$pidfile"
exec {pids}<>"$pidfile"
(
  set -a
  LEGS=$(sed -n 's/^LEGS=//p' "$TMP/vol.conf")
  OPTIONS=$(sed -n 's/^OPTIONS=//p' "$TMP/vol.conf")
  # shellcheck disable=SC2086
  eval "exec $command"
) >"$TMP/vol.log" 2>&1 {pids}<&- &
job=$!
read -r -t 60 -u "$pids" server || fail "the server did not start"
expect 0 -d "$TMP/lib/dmnbd/vol" --json status
test "$(value volume.state)" = healthy
test "$(value regions.size)" = 4194304
"$(helper nbd-io)" "nbd+unix:///?socket=$TMP/run/dmnbd/vol/nbd.sock" \
  'write 0 64K 2' flush
kill -TERM "$server"
wait "$job" || fail "the server did not end well"
expect 0 -d "$TMP/lib/dmnbd/vol" --json status
test "$(value offline)" = true
same "$TMP/a.img" "$TMP/b.img"

# On demand: the socket is there before the server, which the first client
# starts.  The command of the service, by what does for it as systemd would.
need perl
command=$(sed -n 's/^ExecStart=//p' "$TMP/dmnbd-on-demand@.service" |
  sed "s|%t|$TMP/run|g; s|%S|$TMP/lib|g; s|%i|vol|g; s| dm | $DM_PLUGIN |
       s|^nbdkit|$NBDKIT --exit-with-parent|")
socket=$(sed -n 's/^ListenStream=//p' "$TMP/dmnbd-on-demand@.socket" |
  sed "s|%t|$TMP/run|g; s|%i|vol|g")
test -n "$command" && test -n "$socket" || fail "the units lack something"
# Both ways of starting it are found at the same place.
test "$socket" = "$TMP/run/dmnbd/vol/nbd.sock" || fail "it listens elsewhere"
cat >"$TMP/activate" <<'PERL'
use strict;
use warnings;
use POSIX ();
use Socket;

# activate PATH COMMAND...: listens, says so, waits for a client, and becomes
# the command, which finds the socket as descriptor 3.
BEGIN { $^F = 255 }
my ($path, @command) = @ARGV;
socket my $s, AF_UNIX, SOCK_STREAM, 0 or die "socket: $!";
bind $s, pack_sockaddr_un ($path) or die "$path: $!";
listen $s, 16 or die "listen: $!";
fileno ($s) == 3 or POSIX::dup2 (fileno $s, 3) or die "dup2: $!";
syswrite STDOUT, "listening\n";
vec (my $set = '', 3, 1) = 1;
select ($set, undef, undef, undef) > 0 or die "select: $!";
syswrite STDOUT, "client\n";
@ENV{qw(LISTEN_FDS LISTEN_PID)} = (1, $$);
exec { $command[0] } @command or die "$command[0]: $!";
PERL
rm -f "$socket"
mkfifo "$TMP/activate.fifo"
exec {activated}<>"$TMP/activate.fifo"
(
  set -a
  LEGS=$(sed -n 's/^LEGS=//p' "$TMP/vol.conf")
  OPTIONS=$(sed -n 's/^OPTIONS=//p' "$TMP/vol.conf")
  eval "exec perl $TMP/activate $socket $command"
) >"$TMP/activate.fifo" 2>"$TMP/on-demand.log" {activated}<&- {pids}<&- &
server=$!
read -r -t 60 -u "$activated" line && test "$line" = listening ||
  fail "nobody listens"
expect 0 -d "$TMP/lib/dmnbd/vol" --json status
test "$(value offline)" = true
"$(helper nbd-io)" "nbd+unix:///?socket=$socket" 'write 1M 64K 3' flush
read -r -t 60 -u "$activated" line && test "$line" = client ||
  fail "the client came from nowhere"
expect 0 -d "$TMP/lib/dmnbd/vol" --json status
test "$(value volume.state)" = healthy
test "$(value volume.started)" = true
"$(helper nbd-io)" "nbd+unix:///?socket=$socket" 'read 1M 64K 3' 'read 0 64K 2'
kill -TERM "$server"
wait "$server" || fail "the server did not end well"
test -S "$socket" || fail "the socket of somebody else was removed"
same "$TMP/a.img" "$TMP/b.img"
