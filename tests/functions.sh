# Helpers shared by the shell tests: a temporary folder, servers, verdicts.
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Source it first:
#
#   . "${abs_top_srcdir:?}/tests/functions.sh"
#
# or, so that a test also runs by hand,
#
#   . "$(dirname "$0")/../functions.sh"
#
# Environment (the build sets it; each has a default that fits a build in the
# source tree):
#
#   abs_top_srcdir, abs_top_builddir   where the sources and the build are
#   DM_PLUGIN      the plugin's .so, an absolute path
#   NBDKIT         the server; a wrapper must end in exec, and must add to
#                  LD_PRELOAD rather than replace it
#   TEST_TIMEOUT   seconds after which the whole test is ended (and fails)
#   KEEP_TMP=1     leave $TMP behind
#
# What the test gets:
#
#   $TMP                     a folder of its own, removed at the end
#   need TOOL...             skip (77) unless every TOOL is installed
#   fail MESSAGE             say it, show the servers' logs, end with 1
#   helper NAME              path of a compiled helper of tests/nbd
#   start_nbdkit NAME ARG... start a server; $SOCK_NAME-like names are got by
#                            the functions sock, uri, log, pid of NAME
#   stop_nbdkit NAME         SIGTERM, wait; fails unless it exits with 0
#   kill_nbdkit NAME         SIGKILL, wait
#   end_nbdkit NAME          the same, whether or not it has ended by itself
#   wait_nbdkit NAME         wait for a server that ends by itself; its exit
#                            status is in $SERVER_STATUS
#   stop_process PID         SIGSTOP; returns when it has stopped
#   refused ARG...           a server that must not start: its message is in
#                            $TMP/refused.log
#
# A server of ours has a client of its control socket from its start to its
# end: watch-events.pl, which fails the test unless it is told every change of
# state, once and in order.  The socket is that of control=SOCKET; who gives
# none has one nevertheless, unless WATCH is empty.

if test -z "${DM_TEST_GUARD-}"; then
  # One guard for everything: a test that hangs ends here, servers included.
  # timeout (1) signals the whole process group.
  export DM_TEST_GUARD=1
  exec timeout -k 10 "${TEST_TIMEOUT:-300}" "$BASH" "$0" "$@"
fi

functions_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${abs_top_srcdir:=$(dirname "$functions_dir")}"
: "${abs_top_builddir:=$abs_top_srcdir}"
: "${DM_PLUGIN:=$abs_top_builddir/plugin/.libs/nbdkit-dm-plugin.so}"
: "${NBDKIT:=nbdkit}"
export abs_top_srcdir abs_top_builddir DM_PLUGIN NBDKIT

TMP=$(mktemp -d "${TMPDIR:-/tmp}/dm-test.XXXXXX")
declare -A server_pid=() server_job=() server_watch=()
SERVER_STATUS=
WATCH=1
# NAME=VALUE words for the environment of the servers started from here on.
SERVER_ENV=()

cleanup ()
{
  local status=$? name

  trap - EXIT
  set +e
  for name in "${!server_job[@]}"; do
    kill -KILL "${server_pid[$name]}" "${server_job[$name]}" 2>/dev/null
    wait "${server_job[$name]}" 2>/dev/null
  done
  # These end with the servers.
  for name in "${!server_watch[@]}"; do
    wait "${server_watch[$name]}" 2>/dev/null
  done
  if test "${KEEP_TMP:-0}" = 1; then
    echo "kept: $TMP" >&2
  else
    rm -rf "$TMP"
  fi
  exit "$status"
}
trap cleanup EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

fail ()
{
  local file

  echo "$0: FAILED: $*" >&2
  for file in "$TMP"/*.log; do
    test -f "$file" || continue
    echo "--- ${file##*/} (its last 40 lines)" >&2
    tail -n 40 "$file" >&2
  done
  exit 1
}

# A command that fails under set -e says where.
trap 'echo "$0: line $LINENO: failed: $BASH_COMMAND" >&2' ERR

skip ()
{
  echo "$0: SKIPPED: $*" >&2
  exit 77
}

need ()
{
  local tool

  for tool in "$@"; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
  done
}

helper ()
{
  local dir="$abs_top_builddir/tests/nbd"

  # The libtool's own folder first: it has the real modules.
  if test -f "$dir/.libs/$1"; then
    echo "$dir/.libs/$1"
  elif test -f "$dir/$1"; then
    echo "$dir/$1"
  else
    fail "the helper $dir/$1 is not built"
  fi
}

sock () { echo "$TMP/$1.sock"; }
log () { echo "$TMP/$1.log"; }
pid () { echo "${server_pid[$1]}"; }

# uri NAME [EXPORT]
uri () { echo "nbd+unix:///${2-}?socket=$TMP/$1.sock"; }

# start_nbdkit NAME ARG...: returns when the server listens.  The pid file is
# a FIFO, so the wait is for an event; the loop only notices a server that
# ended instead.
start_nbdkit ()
{
  local name=$1 fifo="$TMP/$1.pid" fd tries pid='' part has_pid=''
  local begin=0 socket='' is_ours=''

  shift
  for part; do
    test "$part" != "$DM_PLUGIN" || is_ours=1
    test "${part#control=}" = "$part" || socket=${part#control=}
  done
  if test -n "$is_ours" -a -n "$WATCH" -a -z "$socket"; then
    socket=$TMP/$name.watch-socket
    set -- "$@" control="$socket"
  fi
  test ! -e "$TMP/$name.log" || begin=$(stat -c %s "$TMP/$name.log")
  rm -f "$TMP/$name.sock" "$fifo"
  mkfifo "$fifo"
  exec {fd}<>"$fifo"
  env "${SERVER_ENV[@]}" \
    "$NBDKIT" -f --exit-with-parent -P "$fifo" -U "$TMP/$name.sock" "$@" \
    >>"$TMP/$name.log" 2>&1 {fd}<&- &
  server_job[$name]=$!
  server_pid[$name]=$!
  for ((tries = 0; tries < 300; tries++)); do
    # What comes before the time is over may be a part of it.
    if read -r -t 0.2 -u "$fd" part; then
      pid+=$part
      has_pid=1
      break
    fi
    pid+=$part
    kill -0 "${server_job[$name]}" 2>/dev/null || break
  done
  exec {fd}<&-
  if test -z "$has_pid"; then
    fail "the server $name did not start: nbdkit $*"
  fi
  server_pid[$name]=$pid
  test -z "$is_ours" -o -z "$socket" ||
    watch_events "$name" "$socket" "$begin"
}

# watch_events NAME SOCKET BEGIN: judge what the server tells from now on, and
# whether it fits its log from the byte BEGIN on.  Returns when the judge has
# the first event.
watch_events ()
{
  local name=$1 fifo="$TMP/$1.watch" fd line=''

  rm -f "$fifo" "$TMP/$name.log.end"
  mkfifo "$fifo"
  exec {fd}<>"$fifo"
  perl "$functions_dir/watch-events.pl" "$TMP/$name.log" "$3" \
    "$abs_top_builddir/ctl/dmnbd" -s "$2" events --since 0 \
    >"$fifo" 2>"$TMP/$name.judged" {fd}<&- &
  server_watch[$name]=$!
  read -r -t 60 -u "$fd" line || :
  exec {fd}<&-
  test -n "$line" || fail "the server $name tells nothing on $2"
}

# wait_server NAME: the guard of the whole test bounds the wait.
wait_server ()
{
  local name=$1

  SERVER_STATUS=0
  wait "${server_job[$name]}" || SERVER_STATUS=$?
  unset "server_job[$name]" "server_pid[$name]"
}

# end_watch NAME: the judge ends with the server.
end_watch ()
{
  local name=$1 status=0

  test -n "${server_watch[$name]-}" || return 0
  wait "${server_watch[$name]}" || status=$?
  unset "server_watch[$name]"
  test "$status" -eq 0 ||
    fail "what the server $name told: $(cat "$TMP/$name.judged")"
}

wait_nbdkit ()
{
  wait_server "$1"
  end_watch "$1"
}

stop_nbdkit ()
{
  local name=$1

  # What it has logged so far, it has told before it ends.
  test -z "${server_watch[$name]-}" ||
    stat -c %s "$TMP/$name.log" >"$TMP/$name.log.end"
  kill -TERM "${server_pid[$name]}" ||
    fail "the server $name had ended before it was stopped"
  wait_nbdkit "$name"
  test "$SERVER_STATUS" -eq 0 ||
    fail "the server $name ended with status $SERVER_STATUS"
}

kill_nbdkit ()
{
  local name=$1

  kill -KILL "${server_pid[$name]}"
  # The shell reports the death of its job on stderr; that is no news here.
  wait_server "$name" 2>/dev/null
  end_watch "$name"
}

# stop_process PID: SIGSTOP, and wait until all its threads have stopped, which
# they do only when they come to it.
stop_process ()
{
  local file state seconds=$SECONDS

  kill -STOP "$1"
  for file in "/proc/$1/task"/*/stat; do
    while state=$(<"$file") && [[ ${state##*) } != [Tt]* ]]; do
      test $((SECONDS - seconds)) -lt 60 || fail "process $1 does not stop"
    done
  done
}

# is_sanitized FILE NAME...: is it linked with a sanitizer of these names?
# (No pipe into "grep -q": that ends at the first match, and then what writes
# into the pipe may fail.)
is_sanitized ()
{
  local libraries name file=$1

  shift
  libraries=$(ldd "$file")
  for name; do
    [[ $libraries != *"lib$name"* ]] || return 0
  done
  return 1
}

# stop_worn_nbdkit NAME: stop a server that has had very many clients, or has
# tried in vain to connect to another.  With the address sanitizer it may then
# hang at its exit, after all of the plugin has ended, in a destructor of a
# library of nbdkit's (p11-kit): so there it is killed in the end.
stop_worn_nbdkit ()
{
  if is_sanitized "$DM_PLUGIN" asan; then
    kill -TERM "${server_pid[$1]}" ||
      fail "the server $1 had ended before it was stopped"
    timeout 10 tail -s 0.1 --pid="${server_pid[$1]}" -f /dev/null || :
    end_nbdkit "$1"
  else
    stop_nbdkit "$1"
  fi
}

end_nbdkit ()
{
  local name=$1

  kill -KILL "${server_pid[$name]}" 2>/dev/null || :
  wait_server "$name" 2>/dev/null
  end_watch "$name"
}

# refused ARG...: nbdkit must end by itself, not with 0, not by a signal, and
# say why.
refused ()
{
  local status=0 seconds=60 is_asan=

  # With the address sanitizer it may hang at its exit after it has tried to
  # connect to a server (see stop_worn_nbdkit), which is not waited for so long.
  ! is_sanitized "$DM_PLUGIN" asan || is_asan=1 seconds=8
  try_refused "$seconds" "$@" || status=$?
  if test "$status" -eq 124 -a -n "$is_asan"; then
    ! grep -q '^nbdkit: error: leg' "$TMP/refused.log" || return 0
    # Perhaps it is only slow.
    status=0
    try_refused 60 "$@" || status=$?
  fi
  case $status in
    0) fail "accepted, but should be refused: nbdkit $*" ;;
    1) ;;
    124) fail "started, but should be refused: nbdkit $*" ;;
    *) fail "ended with status $status instead of 1: nbdkit $*" ;;
  esac
  test -s "$TMP/refused.log" || fail "refused without a message: nbdkit $*"
}

# try_refused SECONDS ARG...: its status, or 124 if it has not ended by then.
try_refused ()
{
  local status=0 seconds=$1

  shift
  timeout "$seconds" "$NBDKIT" -f -U "$TMP/refused.sock" "$@" \
    >"$TMP/refused.log" 2>&1 || status=$?
  rm -f "$TMP/refused.sock"
  return "$status"
}

# said NAME REGEX: the log of the server has a line that matches.
said ()
{
  grep -Eq -- "$2" "$TMP/$1.log" || fail "the server $1 never said: $2"
}

# dm_manifest DIR PATH: a value of DIR/volume.json, such as legs.1.state.
dm_manifest ()
{
  "$(helper volume-json)" "$1" "$2"
}

# wait_manifest DIR PATH VALUE [SECONDS]
wait_manifest ()
{
  "$(helper volume-json)" --wait "${4:-120}" "$1" "$2" "$3" ||
    fail "$1/volume.json: $2 did not become $3 (it is $(dm_manifest "$1" "$2"))"
}

# wait_insync DIR [SECONDS]: every leg is in sync.
wait_insync ()
{
  "$(helper volume-json)" --wait "${2:-120}" "$1" insync true ||
    fail "$1/volume.json: the legs did not get in sync"
}

# same A B: the files have the same bytes.
same ()
{
  cmp "$1" "$2" >&2 || fail "$1 and $2 differ"
}

# fill FILE BYTES [SEED]: bytes that look random and can be made again.
fill ()
{
  "$(helper nbd-io)" --fill "$1" "$2" "${3:-1}"
}

# client_open NAME [EXPORT]: one client stays connected; ask COMMAND makes a
# request of nbd-io over it and fails unless it is done; client_close ends it.
client_open ()
{
  local line

  coproc CLIENT { exec "$(helper nbd-io)" "$(uri "$@")" - 2>>"$TMP/client.log"; }
  client_in=${CLIENT[1]} client_out=${CLIENT[0]} client_job=$CLIENT_PID
  read -r -t 60 -u "$client_out" line || fail "the client did not connect"
  test "$line" = ready || fail "the client said: $line"
}

ask ()
{
  local line

  echo "$*" >&"$client_in"
  while read -r -t 120 -u "$client_out" line; do
    test "$line" != ok || return 0
    echo "$line"
  done
  fail "the client's request failed: $*"
}

client_close ()
{
  exec {client_in}>&-
  wait "$client_job" || fail "the client ended with an error"
}

# fail_legs OP LEG...: servers started from here on will fail OP (read, write,
# flush, punch; or a list of them) on these files while $TMP/trigger exists.
# What was made to fail is in $TMP/failed.
fail_legs ()
{
  local op=$1 IFS=:

  shift
  rm -f "$TMP/failed" "$TMP/trigger"
  SERVER_ENV=(LD_PRELOAD="$(helper fail-leg.so)" FAIL_OP="$op" FAIL_PATH="$*"
              FAIL_TRIGGER="$TMP/trigger" FAIL_LOG="$TMP/failed"
              DELAY_RENAME_MS=200)
}
