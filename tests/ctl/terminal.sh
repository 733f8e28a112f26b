#!/usr/bin/env bash
# On a terminal dmnbd shows what there is room for, and goes when told to.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"
need script stty

terminal=
trap 'test -z "$terminal" || kill -KILL "$terminal" 2>/dev/null || :; cleanup' EXIT

# begin ROWS COLUMNS ARG...: dmnbd runs on a terminal of that size, and what it
# shows is read from the descriptor $shown.
begin ()
{
  local rows=$1 columns=$2 fifo="$TMP/shown.fifo"

  shift 2
  rm -f "$fifo" "$TMP/dmnbd.pid"
  mkfifo "$fifo"
  exec {shown}<>"$fifo"
  printf -v command '%q ' "$abs_top_builddir/ctl/dmnbd" "$@"
  command="stty rows $rows cols $columns; echo \$\$ >$TMP/dmnbd.pid; exec $command"
  # Its input stays open, or the terminal would get an end of file.
  SHELL=$BASH script -qefc "$command" /dev/null >"$fifo" 2>&1 <>"$fifo.in" \
    {shown}<&- &
  terminal=$!
}

# shows REGEX: the next line that is read matches, and is in $line.
shows ()
{
  IFS= read -r -t 60 -u "$shown" line || fail "nothing is shown: $1"
  line=${line%$'\r'}
  [[ $line =~ $1 ]] || fail "not $1 is shown: $line"
}

end ()
{
  ended=0
  wait "$terminal" || ended=$?
  terminal=
  exec {shown}<&-
}

mkfifo "$TMP/shown.fifo.in"
fill "$TMP/a.img" 1M 1
cp "$TMP/a.img" "$TMP/b.img"
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" sync=none
for name in one two three four five; do
  expect 0 -s "$(control vol)" snapshot create "$name"
done

# Not more lines than there are, none longer than they are.
begin 8 20 -s "$(control vol)" status --watch
shows $'^\033\\[H\033\\[Jvolume     1.0 MiB, $'
shows '^regions    1 of 1 in$'
shows '^resync     idle$'
shows '^scrub      idle$'
shows '^$'
shows '^LEG  STATE '
shows '^  0  insync '
# Told to go, it goes.
kill -TERM "$(cat "$TMP/dmnbd.pid")"
end
test "$ended" -eq 143 || fail "it ended with $ended"

# All of it.
begin 50 200 -s "$(control vol)" status --watch
for ((i = 0; i < 8; i++)); do
  shows ''
done
shows '^$'
shows '^SNAPSHOT '
for name in five four three two one; do
  shows "^$name +valid"
done
kill -TERM "$(cat "$TMP/dmnbd.pid")"
end
stop_nbdkit vol

# What it waits for is in one line, which what is said then replaces.
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" sync=full
begin 24 30 -s "$(control vol)" wait sync --timeout 1
shows '^dmnbd: waiting, but no client'
shows $'\r\033\\[Kresync [a-z]+ \\[[#-]{1,20}\r\033\\[Kdmnbd: it is not so far yet'
end
test "$ended" -eq 1 || fail "it ended with $ended"
stop_nbdkit vol
