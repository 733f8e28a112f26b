# Servers that are measured: started, waited for, stopped in order.
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash disable=SC2154
#
# Needs common.sh.  The caller sets work, a folder of its own.  Servers have
# names: NAME serves on $work/NAME.sock, and writes to $work/NAME.log.

declare -A server_pids=()

uri_of () {
  echo "nbd+unix:///${2:-}?socket=$work/$1.sock"
}

# start NAME COMMAND...: returns when it serves: it writes its pid file only
# then.
start () {
  local name=$1 i

  shift
  rm -f "$work/$name.sock" "$work/$name.pid"
  "$@" > "$work/$name.log" 2>&1 &
  server_pids[$name]=$!
  for ((i = 0; i < 1200; i++)); do
    [ ! -s "$work/$name.pid" ] || return 0
    kill -0 "${server_pids[$name]}" 2> /dev/null || break
    sleep 0.025
  done
  cat "$work/$name.log" >&2
  die "server not up: $*"
}

# start_nbdkit NAME ARGUMENT...
start_nbdkit () {
  local name=$1

  shift
  start "$name" nbdkit -f -t "$threads" -U "$work/$name.sock" \
    -P "$work/$name.pid" "$@"
}

# start_volume NAME KEY=VALUE...: with a control socket, $work/NAME.control.
start_volume () {
  local name=$1

  shift
  rm -f "$work/$name.control"
  start_nbdkit "$name" "$dm_plugin" control="$work/$name.control" "$@"
}

stop () {
  local pid=${server_pids[$1]} rc=0

  unset "server_pids[$1]"
  kill "$pid" || true           # it may have ended on its own: wait tells
  wait "$pid" || rc=$?
  # 143: qemu-storage-daemon and nbdkit may also die of the signal itself.
  if [ "$rc" -ne 0 ] && [ "$rc" -ne 143 ]; then
    cat "$work/$1.log" >&2
    die "the server $1 ended with status $rc"
  fi
}

# kill_server NAME: as a crash would.
kill_server () {
  local pid=${server_pids[$1]}

  unset "server_pids[$1]"
  kill -KILL "$pid" 2> /dev/null || true
  wait "$pid" 2> /dev/null || true
}

kill_all_servers () {
  local name

  for name in "${!server_pids[@]}"; do
    kill_server "$name"
  done
}

# ticks_of NAME: processor time so far, in clock ticks.
ticks_of () {
  awk '{ sub(/^.*\) /, ""); print $12 + $13 }' \
    "/proc/${server_pids[$1]}/stat"
}

hertz=$(getconf CLK_TCK)

# Lines of the CSV: row PART SUBJECT METRIC VALUE.  Round 0 is for warming up.
row () {
  [ "$round" -eq 0 ] || echo "$round,$1,$2,$3,$4" >> "$csv"
}

# load PART SUBJECT SERVER OPTION...: bench/nbd-load on the volume of SERVER,
# and rows of what it says; "requests" only for the processor time.
load () {
  local part=$1 subject=$2 server=$3 before after name value requests=1

  shift 3
  before=$(ticks_of "$server")
  "$nbd_load" "$@" "$(uri_of "$server")" > "$work/load.out" \
    2> "$work/load.log" || {
      cat "$work/load.log" "$work/$server.log" >&2
      die "$part, $subject: the load failed"
    }
  after=$(ticks_of "$server")
  while read -r name value; do
    case "$name" in
      requests) requests=$value ;;
      *) row "$part" "$subject" "$name" "$value" ;;
    esac
  done < "$work/load.out"
  row "$part" "$subject" cpu_us_per_request \
    "$(awk -v t=$((after - before)) -v hz="$hertz" -v n="$requests" \
      'BEGIN { printf "%.1f", t / hz * 1e6 / n }')"
}

# figure NAME: that of the last load.
figure () {
  awk -v name="$1" '$1 == name { print $2 }' "$work/load.out"
}

# random_file FILE MIB
random_file () {
  head -c "${2}M" /dev/urandom > "$1"
}

# report: tables and verdicts; ends with 1 if a target was missed and is
# checked.
report () {
  local missed

  awk -v targets="$work/targets" -v missed="$work/missed" \
    -f "$here/ratios.awk" "$csv"
  echo
  echo "each run: $csv"
  missed=$(cat "$work/missed")
  if [ "$missed" -gt 0 ]; then
    echo "$missed target(s) missed"
    [ "$check" = no ] || exit 1
  fi
}
