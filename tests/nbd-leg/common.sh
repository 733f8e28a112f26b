# Helpers of the tests of devices behind NBD servers.
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# What tests/functions.sh has, and what tests use:
# shellcheck disable=SC2004,SC2034,SC2154
#
# Source it after tests/functions.sh:
#
#   leg_open URI [TIMEOUT-MS [CONNECTIONS]]  open a device in a process of its
#                             own, and fail unless that succeeds at last
#   leg_refused URI [ERRNO]   fail unless it cannot be opened
#   leg COMMAND...            a command of leg-io; its answer is in leg_answer
#   expect ANSWER COMMAND...  fail unless that is the answer
#   settle COMMAND...         fail unless it is done at last
#   at_once ANSWER MS COMMAND...  fail unless that is the answer, and once comes
#                             in less than so many milliseconds
#   took MIN MAX              fail unless the last command took milliseconds
#                             in between
#   leg_close                 fails unless the process ends with 0
#
# A time-out that a test waits for is short, so a busy machine may reach it where
# it is not wanted: hence "at last", after some tries.

# start_tcp_nbdkit NAME ARG...: start_nbdkit, on a port of localhost, which is
# in port.
start_tcp_nbdkit ()
{
  local name=$1 fifo="$TMP/$1.pid" fd tries waits pid part

  shift
  mkfifo "$fifo"
  exec {fd}<>"$fifo"
  for ((tries = 0; tries < 20; tries++)); do
    port=$((20000 + RANDOM % 30000))
    "$NBDKIT" -f --exit-with-parent -P "$fifo" -i 127.0.0.1 -p "$port" "$@" \
      >>"$TMP/$name.log" 2>&1 {fd}<&- &
    server_job[$name]=$!
    pid=
    for ((waits = 0; waits < 300; waits++)); do
      # What comes before the time is over may be a part of it.
      if read -r -t 0.2 -u "$fd" part; then
        exec {fd}<&-
        server_pid[$name]=$pid$part
        return
      fi
      pid+=$part
      kill -0 "${server_job[$name]}" 2>/dev/null || break
    done
    # Somebody has that port.
    wait "${server_job[$name]}" || :
    unset "server_job[$name]"
  done
  fail "the server $name did not start: nbdkit $*"
}

# The shell forgets a coprocess that has ended, and closes what led to it: so it
# begins when we have descriptors of our own.
leg_try_open ()
{
  local in out

  coproc LEG { read -r; exec "$abs_top_builddir/tests/nbd-leg/leg-io" "$@" \
    2>>"$TMP/leg.log"; }
  in=${LEG[1]} out=${LEG[0]} leg_job=$LEG_PID
  exec {leg_in}>&"$in" {leg_out}<&"$out" {in}>&- {out}<&-
  echo >&"$leg_in"
  read -r -t 60 -u "$leg_out" leg_answer || fail "leg-io $* says nothing"
}

leg_close ()
{
  exec {leg_in}>&- {leg_out}<&-
  wait "$leg_job" || fail "leg-io ended with an error"
}

# The number of tries after which it is not the machine that is slow.
tries_at_most=10

leg_open ()
{
  local tries

  for ((tries = 0; tries < tries_at_most; tries++)); do
    leg_try_open "$@"
    test "$leg_answer" = ETIMEDOUT || break
    leg_close
  done
  test "$leg_answer" = ready || fail "leg-io $*: $leg_answer"
}

# leg_refused URI [ERRNO]: it must not open, for that reason.
leg_refused ()
{
  leg_try_open "$1" 20000
  test "$leg_answer" != ready || fail "accepted: $1"
  test "$leg_answer" = "${2:-$leg_answer}" || fail "$1: $leg_answer, not $2"
  leg_close
}

leg ()
{
  echo "$*" >&"$leg_in"
  read -r -t 90 -u "$leg_out" leg_answer || fail "no answer to: $*"
}

# leg_start COMMAND...; leg_wait: the same in two steps.
leg_start () { echo "$*" >&"$leg_in"; }

leg_wait ()
{
  read -r -t 90 -u "$leg_out" leg_answer || fail 'no answer'
}

# drained: reconnect, as soon as that can be had.
drained ()
{
  local tries

  for ((tries = 0; tries < 60; tries++)); do
    leg reconnect
    test "$leg_answer" = EBUSY -o "$leg_answer" = ETIMEDOUT || break
  done
  test "$leg_answer" = ok || fail "reconnect: $leg_answer"
}

expect ()
{
  local expected=$1

  shift
  leg "$@"
  test "$leg_answer" = "$expected" || fail "$*: $leg_answer, not $expected"
}

settle ()
{
  local tries

  for ((tries = 0; tries < tries_at_most; tries++)); do
    leg "$@"
    test "$leg_answer" = ETIMEDOUT || break
    drained
  done
  test "$leg_answer" = ok || fail "$*: $leg_answer"
}

# Who waits for a time-out does so each time.
at_once ()
{
  local expected=$1 ms=$2 tries

  shift 2
  for ((tries = 0; tries < tries_at_most; tries++)); do
    expect "$expected" "$@"
    leg since
    test "$leg_answer" -ge "$ms" || return 0
  done
  fail "$*: never took less than $ms ms"
}

took ()
{
  leg since
  test "$leg_answer" -ge "$1" || fail "it took only $leg_answer ms, not $1"
  test "$leg_answer" -le "$2" || fail "it took $leg_answer ms, more than $2"
}

