# Helpers shared by the tests of dmnbd and the control socket.
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# What the test gets, beside functions.sh:
#
#   dmnbd ARG...             the tool that was built
#   control NAME             the control socket of the server NAME
#   start_control NAME ARG...  start_nbdkit, with that socket
#   expect STATUS ARG...     dmnbd must end with STATUS; its output is in
#                            $TMP/out and $TMP/err
#   told REGEX               a line of that output, on either, matches
#   value PATH               of the JSON in $TMP/out, such as legs.1.state
#   follow NAME              dmnbd events runs, and writes $TMP/NAME.events
#   wait_event NAME REGEX [COUNT]  until that many of its lines match
#   end_follow NAME          wait for its end

# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"

unset DMNBD_SOCKET
export LC_ALL=C

dmnbd () { "$abs_top_builddir/ctl/dmnbd" "$@"; }
control () { echo "$TMP/$1.ctl"; }

start_control ()
{
  local name=$1

  shift
  start_nbdkit "$name" "$DM_PLUGIN" "$@" control="$(control "$name")"
}

expect ()
{
  local expected=$1 status=0

  shift
  dmnbd "$@" >"$TMP/out" 2>"$TMP/err" || status=$?
  test "$status" -eq "$expected" ||
    fail "dmnbd $*: ended with $status, not $expected: $(cat "$TMP/out" "$TMP/err")"
}

told ()
{
  grep -Eq -- "$1" "$TMP/out" "$TMP/err" ||
    fail "dmnbd never told: $1: $(cat "$TMP/out" "$TMP/err")"
}

value () { "$(json_get)" "$1" <"$TMP/out"; }
json_get () { echo "$abs_top_builddir/tests/ctl/json-get"; }

declare -A follower=() events_fd=()

follow ()
{
  local name=$1 fd

  rm -f "$TMP/$name.fifo"
  mkfifo "$TMP/$name.fifo"
  : >"$TMP/$name.events"
  exec {fd}<>"$TMP/$name.fifo"
  dmnbd -s "$(control "$name")" events --since 0 >"$TMP/$name.fifo" \
    2>"$TMP/$name.events.log" {fd}<&- &
  follower[$name]=$!
  events_fd[$name]=$fd
  wait_event "$name" '"type":"server.started"'
}

# The next line that comes is waited for, not the time.
next_event ()
{
  local line

  read -r -t 60 -u "${events_fd[$1]}" line || return 1
  printf '%s\n' "$line" >>"$TMP/$1.events"
}

wait_event ()
{
  local name=$1 regex=$2 count=${3:-1}

  while test "$(grep -Ec -- "$regex" "$TMP/$name.events")" -lt "$count"; do
    next_event "$name" ||
      fail "no such event: $regex: $(cat "$TMP/$name.events")"
  done
}

# end_follow NAME: the follower ends with the server; its status is in
# $FOLLOW_STATUS, and all that it wrote in $TMP/NAME.events.
end_follow ()
{
  local name=$1 fd=${events_fd[$1]} line

  FOLLOW_STATUS=0
  wait "${follower[$name]}" || FOLLOW_STATUS=$?
  # Nobody writes any more: what is there is all there is, up to a line of ours.
  echo end >&"$fd"
  while read -r -t 60 -u "$fd" line && test "$line" != end; do
    printf '%s\n' "$line" >>"$TMP/$name.events"
  done
  exec {fd}<&-
}
