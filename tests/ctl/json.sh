#!/usr/bin/env bash
# With --json dmnbd prints one JSON value, of what was asked for or of why not.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"
need perl

# is PATH VALUE: json-get takes nothing but one whole value.
is ()
{
  local said

  said=$(value "$1") || fail "no $1, or not JSON: $(cat "$TMP/out" "$TMP/err")"
  test "$said" = "$2" || fail "$1 is $said, not $2: $(cat "$TMP/out")"
}

# failed STATUS REGEX ARG...: so does dmnbd --json ARG..., and tells programs
# what it tells people.
failed ()
{
  local status=$1 regex=$2 message

  shift 2
  expect "$status" --json "$@"
  is error.status "$status"
  message=$(value error.message)
  grep -Eq -- "$regex" <<<"$message" || fail "$*: another message: $message"
  grep -Fxq -- "dmnbd: $message" "$TMP/err" ||
    fail "$*: not told on stderr: $message: $(cat "$TMP/err")"
}

# Every verb, with words that it takes, and nobody who answers.
dmnbd --help | sed -nE '/^options/q; s/^  ([a-z].*)$/\1/p' |
  sed -E 's/ \[.*//; s/sync\|idle/sync/; s/\b(N|ID|RATE)\b/1/g' >"$TMP/verbs"
test "$(wc -l <"$TMP/verbs")" -ge 30 || fail "--help has lost its verbs"
while read -r -a words; do
  case ${words[0]} in
    attach | detach) failed 2 'is no nbd device' "${words[@]}" ;;
    cow | log) failed 1 'cannot be opened: No such' "${words[@]}" ;;
    *)
      failed 1 'there is no such socket' -s "$TMP/no.sock" "${words[@]}"
      is error.data.name ENOENT
      failed 1 'which volume' "${words[@]}"
      ;;
  esac
done <"$TMP/verbs"

# Another program, which answers as if all were well.
coproc other {
  exec perl -MIO::Socket::UNIX -e '
    my $s = IO::Socket::UNIX->new (Local => $ARGV[0], Listen => 9) or die $!;
    $| = 1; print "ready\n";
    while (my $c = $s->accept) {
      while (<$c>) {
        my ($id) = /"id": ?(\d+)/;
        print $c "{\"jsonrpc\":\"2.0\",\"id\":$id,\"result\":{}}\n";
        $c->flush;
      }
    }' "$TMP/other.sock"
}
# shellcheck disable=SC2154
other_pid=$other_PID
trap 'kill "$other_pid" 2>/dev/null || :; cleanup' EXIT
read -r -t 60 -u "${other[0]}" || fail "no socket"
for verb in status 'status --dm' table 'status --watch' 'wait sync' \
  'wait idle'; do
  # shellcheck disable=SC2086
  failed 1 'what answers serves no volume' -s "$TMP/other.sock" $verb
  is error.data.name EBADMSG
done
kill "$other_pid"

# What makes no sense, wherever --json is.
failed 2 "there is no verb 'dance'" dance
failed 2 'what of it' snapshot
failed 2 'what is to be done'
failed 2 'A is missing' diff
failed 2 'is empty' -s ''
expect 2 wait monday --json
is error.status 2
expect 2 --jsn --json
is error.message "there is no option '--jsn'"
# After "--" it is a word.
expect 2 dance -- --json
test ! -s "$TMP/out" || fail "--json is no option there"
expect 0 --json --version
value version >/dev/null

fill "$TMP/a.img" 1M 1
cp "$TMP/a.img" "$TMP/b.img"
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" sync=none
DMNBD_SOCKET=$(control vol)
export DMNBD_SOCKET
client_open vol

# What the server refuses has its own code and errno, too.
failed 1 'leg 7: there is no such leg' leg fail 7
is error.code -32000
is error.data.name EINVAL
failed 1 'no such snapshot' diff monday
failed 1 '^.\[31m: is no folder' -d $'\033[31m' table
# What JSON cannot have is replaced.
expect 1 --json leg add "$(printf 'a\377')"
is error.message \
  "leg add: 'a?' cannot be told to the server: it is not UTF-8"
expect 1 --json -d "$(printf '\377')" status
is error.message '?: cannot be opened: No such file or directory'
failed 1 'what answers is no control socket' -s "$(sock vol)" status
is error.data.name EBADMSG

# What changes something, twice: no news is news for a program, too.
expect 0 --json snapshot create monday
is changed true
expect 0 --json snapshot create monday
is changed false
expect 0 --json metrics --textfile "$TMP/dm.prom"
is changed true
failed 1 'cannot be created' metrics --textfile "$TMP/no/dm.prom"
is error.data.name ENOENT
ask 'write 64K 64K 2'
ask flush

# The tables.
expect 0 --json table
is 0.name mirror
is 0.start 0
is 0.length 2048
is 0.target mirror
is 0.params "disk 2 $TMP/vol.d/dirty.log 4096 2 $TMP/a.img 0 $TMP/b.img 0 1 handle_errors"
is 2.params "mirror $TMP/vol.d/monday.cow P 128"
expect 0 --json status --dm
is 0.params '2 0:0 0:1 1/1 1 AA 3 disk 0:2 A'
is 1.target snapshot-origin
is 1.params ''
is 2.name monday

# Lists, empty ones too.
expect 0 --json diff monday
is 0.offset 65536
is 0.length 65536
expect 0 --json snapshot create tuesday
expect 0 --json diff monday tuesday
is 0.offset 65536
expect 0 --json diff tuesday
is '' '[]'
expect 0 --json job list
is '' '[]'
expect 0 --json log dump "$TMP/vol.d/dirty.log"
value '' >/dev/null

# What waits has the status that it waited for.
expect 0 --json wait idle
is volume.state healthy
expect 0 --json resync pause
expect 0 --json snapshot rollback tuesday --wait
is changed true
expect 0 --json snapshot list
is 0.name monday
expect 0 --json resync resume
expect 0 --json leg fail 1
expect 3 --json wait sync
is volume.state degraded
client_close
stop_nbdkit vol

# A status that goes on: a line for each, and one for how it ended.
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d"
mkfifo "$TMP/watched.fifo"
exec {watched}<>"$TMP/watched.fifo"
dmnbd --json status --watch >"$TMP/watched.fifo" 2>"$TMP/watched.err" \
  {watched}<&- &
watcher=$!
read -r -t 60 -u "$watched" line || fail "dmnbd status --watch shows nothing"
echo "$line" >"$TMP/out"
is legs.1.state recovering
failed 1 'the time is over' wait sync --timeout 0
is error.data.name ETIMEDOUT
stop_nbdkit vol
! wait "$watcher" || fail "dmnbd status --watch does not tell that it is over"
echo end >&"$watched"
while read -r -t 60 -u "$watched" line && test "$line" != end; do
  echo "$line" >"$TMP/out"
done
exec {watched}<&-
is error.status 1

# A store that is damaged behind its first record: no half of an array.
cp "$abs_top_srcdir/tests/golden/g1_cow.bin" "$TMP/bad.cow"
expect 0 --json cow dump "$TMP/bad.cow"
value 0.count >/dev/null
expect 0 --json cow check "$TMP/bad.cow"
is good true
expect 0 cow dump "$TMP/bad.cow"
# The second record, of an area that begins after the header's chunk.
chunk=$(dmnbd --json cow info "$TMP/bad.cow" | "$(json_get)" chunk_size)
printf '\001\000\000\000\000\000\000\000' |
  dd of="$TMP/bad.cow" bs=1 seek=$((chunk + 24)) conv=notrunc status=none
failed 1 'bad.cow' cow dump "$TMP/bad.cow"
failed 1 'bad.cow' cow check "$TMP/bad.cow"
failed 1 'bad.cow' cow info "$TMP/bad.cow"
