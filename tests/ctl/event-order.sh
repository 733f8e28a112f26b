#!/usr/bin/env bash
# Every change of state is told once and in order, also to who comes back.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

vol () { expect "$1" -s "$(control vol)" "${@:2}"; }

# The second reader, which is cut off again and again.  What it has got and not
# read then is lost to it; it asks for what came after the last that it read.
last=0 back=0
: >"$TMP/second.events"
mkfifo "$TMP/second.fifo"

# come_back
come_back ()
{
  exec {second}<>"$TMP/second.fifo"
  dmnbd -s "$(control vol)" events --since "$last" >"$TMP/second.fifo" \
    2>"$TMP/second.log" {second}<&- &
  reader=$!
  back=$((back + 1))
}

read_one ()
{
  local line

  read -r -t 60 -u "$second" line ||
    fail "nothing came after $last: $(cat "$TMP/second.log")"
  printf '%s\n' "$line" >>"$TMP/second.events"
  last=$(grep -oE '"number":[0-9]+' <<<"$line" | cut -d : -f 2)
}

# Read up to the event that the first reader had last, and be cut off.
cut_off ()
{
  local end

  end=$(tail -n 1 "$TMP/vol.events" | grep -oE '"number":[0-9]+' | cut -d : -f 2)
  while test "$last" -lt "$end"; do read_one; done
  kill -KILL "$reader"
  wait "$reader" 2>/dev/null || :
  exec {second}<&-
  rm "$TMP/second.fifo"
  mkfifo "$TMP/second.fifo"
}

fill "$TMP/a.img" 8M 1
cp "$TMP/a.img" "$TMP/b.img"
truncate -s 8M "$TMP/c.img" "$TMP/d.img"
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" sync=none
follow vol
come_back
client_open vol

# Legs.
mv "$TMP/b.img" "$TMP/moved.img"
vol 0 status
wait_event vol '"leg.file","leg":1.*"reason"'
mv "$TMP/moved.img" "$TMP/b.img"
vol 0 status
wait_event vol '"leg.file"' 2
vol 0 leg fail 1
ask 'write 0 64K 2'
wait_event vol '"leg":1,.*"state":"failed"'
cut_off
vol 0 leg rejoin 1
vol 0 wait sync
come_back
vol 0 leg add "$TMP/c.img"
vol 0 wait sync
vol 0 leg replace 1 "$TMP/d.img"
vol 0 wait sync
vol 0 leg remove 2
wait_event vol '"leg":2,.*"was":"insync"'
cut_off

# Copying that is paused.
vol 0 resync pause
wait_event vol '"resync.paused"'
come_back
vol 0 leg add "$TMP/c.img"
vol 0 resync resume
vol 0 wait sync

# Snapshots, one of which is full.
vol 0 snapshot create monday
vol 0 snapshot create small --chunk-size 64K --cow-size 192K
ask 'write 4M 1M 3'
wait_event vol '"snapshot.broken".*"small"'
cut_off
vol 0 snapshot remove small
vol 0 wait idle
vol 0 snapshot rename monday tuesday
vol 0 snapshot rollback tuesday
vol 0 wait idle

# Legs that differ.
vol 0 scrub start
vol 0 wait idle
wait_event vol '"scrub.finished"'
come_back
read_one # it has come before the server ends
vol 0 metrics
cp "$TMP/out" "$TMP/metrics"
client_close
stop_nbdkit vol
end_follow vol
while test "$last" -lt "$(wc -l <"$TMP/vol.events")"; do read_one; done
wait "$reader" || fail "the second reader did not end with the server"
test "$back" -ge 4

# in_order FILE: from 1 on, without a gap, and nothing twice.
in_order ()
{
  grep -oE '"number":[0-9]+' "$1" | cut -d : -f 2 >"$TMP/numbers"
  seq "$(wc -l <"$1")" | cmp -s - "$TMP/numbers"
}
in_order "$TMP/vol.events" || fail "numbers: $(cat "$TMP/vol.events")"
! grep -q '"overflow"' "$TMP/vol.events" || fail "some were missed"
cmp "$TMP/vol.events" "$TMP/second.events" ||
  fail "$(diff "$TMP/vol.events" "$TMP/second.events")"

# As often as the server has counted; it has stopped since.
counted=$(sed -n 's/^dmnbd_events_total{type="\(.*\)"} \(.*\)/\1 \2/p' \
  "$TMP/metrics" | sed 's/^server.stopping 0$/server.stopping 1/')
while read -r type count; do
  test "$(grep -c "\"type\":\"$type\"" "$TMP/vol.events")" -eq "$count" ||
    fail "$type: not $count times"
  # Progress is told when a second has passed.
  test "$count" -gt 0 || test "$type" = resync.progress ||
    fail "$type: does not happen here; it should"
done <<<"$counted"

# What was done, in the order in which it was done.  The volume's own state and
# the beginnings and ends of copying follow by themselves.
perl -ne '
  my %e = /"(\w+)":"?([^",}]*)/g;
  next if $e{type} =~ /^(volume\.state|resync\.(started|progress|finished))$/;
  print join (" ", $e{type}, map { $e{$_} // () }
                             qw(leg was state name new_name)), "\n";
' "$TMP/vol.events" >"$TMP/told"
diff - "$TMP/told" <<'TOLD' || fail "< was done, > was told"
server.started
leg.file 1
leg.file 1
leg.state 1 insync failed
leg.state 1 failed recovering
leg.state 1 recovering insync
leg.state 2 removed recovering
leg.state 2 recovering insync
leg.state 1 insync recovering
leg.state 1 recovering insync
leg.state 2 insync removed
resync.paused
leg.state 2 removed recovering
resync.resumed
leg.state 2 recovering insync
snapshot.created monday
snapshot.created small
snapshot.broken small
snapshot.removed small
snapshot.gone small
snapshot.renamed monday tuesday
snapshot.merging tuesday
snapshot.merged tuesday
snapshot.gone tuesday
scrub.started
scrub.finished
server.stopping
TOLD
# The volume's states are a chain, and end where they began.
perl -ne '
  BEGIN { $now = "healthy" }
  next unless /"type":"volume\.state"/;
  my %e = /"(\w+)":"([^"]*)/g;
  die "from $e{was}, not $now: $_" unless $e{was} eq $now && $e{state} ne $now;
  $now = $e{state};
  END { exit $now ne "healthy" unless $? }
' "$TMP/vol.events" || fail "states of the volume: $(grep volume.state "$TMP/vol.events")"

# The judge of every server's events can fail.
# judge EVENTS: as it does for the server that has been stopped.
judge ()
{
  perl "$abs_top_srcdir/tests/watch-events.pl" "$log" 0 cat "$1" \
    >"$TMP/judge.out" 2>"$TMP/judge.err"
}

# notices WHAT REGEX: in $TMP/bad, and says so.
notices ()
{
  ! judge "$TMP/bad" || fail "not noticed: $1"
  grep -Eq "^events: .*$2" "$TMP/judge.err" ||
    fail "$1: it says $(cat "$TMP/judge.err")"
}

# without REGEX: as if the server itself had forgotten that: no number is
# missing, then.
without ()
{
  REGEX=$1 perl -ne '
    next if !$gone && /$ENV{REGEX}/ && ($gone = 1);
    s/"number":\d+/"\"number\":" . ++$n/e;
    print' "$TMP/vol.events" >"$TMP/bad"
}

log=$TMP/vol.log
events=$TMP/vol.events
judge "$events" || fail "$(cat "$TMP/judge.err")"
sed 3d "$events" >"$TMP/bad"
notices 'a missing event' '4 after 2'
sed 3p "$events" >"$TMP/bad"
notices 'an event that comes twice' '3 after 3'
sed '3{h;d};4{G}' "$events" >"$TMP/bad"
notices 'two events in the wrong order' '4 after 2'
sed 1d "$events" >"$TMP/bad"
notices 'a late beginning' '2 after 0'
sed '5{s/.*/{"type":"overflow","lost":1,"next":6}/}' "$events" >"$TMP/bad"
notices 'what was missed' 'missed'
sed '$d' "$events" >"$TMP/bad"
notices 'a missing end' 'did not tell'
: >"$TMP/bad"
notices 'nothing' 'there was none'
without '"leg":1,.*"state":"recovering"'
notices 'a forgotten state of a leg' 'leg 1 was failed'
without '"leg.file".*"reason"'
notices 'a forgotten loss of a name' 'name of leg 1 is told twice'
without '"type":"volume.state".*"was":"degraded"'
notices 'a forgotten state of the volume' 'the volume was'
without '"resync.finished"'
notices 'a forgotten end' 'resync begins twice'
sed 's/"snapshot.gone"\(.*small\)/"snapshot.removed"\1/' "$events" >"$TMP/bad"
notices 'a snapshot that is removed twice' 'small begins twice'
without '"snapshot.broken"'
notices 'a forgotten end of a snapshot' 'logged: snapshot small'

# What was logged before the server was told to end, it has told.
log=$TMP/other.log
{
  cat "$TMP/vol.log"
  echo 'nbdkit: error: warning: mirror: leg 1 (x): failed; volume degraded'
} >"$log"
stat -c %s "$log" >"$log.end"
cp "$events" "$TMP/bad"
notices 'a leg that fails untold' 'but 2 were logged'
stat -c %s "$TMP/vol.log" >"$log.end"
judge "$events" || fail "what fails at the end: $(cat "$TMP/judge.err")"

# Who is killed may leave half a line, and may not have come to its log.
rm "$log.end"
head -c -20 "$events" >"$TMP/cut"
judge "$TMP/cut" || fail "a server that was killed: $(cat "$TMP/judge.err")"
