#!/usr/bin/env bash
# Compares a mirrored volume with other NBD servers under fio's random writes.
# SPDX-License-Identifier: BSD-3-Clause
#
# What is measured, how, and what would make it unfair: bench/README.md.
# "run-fio.sh --help" tells the options.  It ends by itself.

set -euo pipefail

usage () {
  cat <<'USAGE'
usage: run-fio.sh [--check] [--runs N] [--runtime SECONDS] [--numjobs N]
                  [--subjects "NAME ..."] [--csv FILE]

  --check        exit with 1 when a ratio misses its target (env CHECK=yes)
  --runs N       rounds, each measures every subject once (default 5; env RUNS)
  --runtime S    measured seconds of each run (default 4; env RUNTIME)
  --numjobs N    fio connections (default 1; env NUMJOBS)
  --subjects ..  any of: bare file quorum volume volume-meta volume-snap
                 (default: all; env SUBJECTS)
  --csv FILE     one line for each run (default ./bench-fio.csv; env CSV)

Further environment:
  DM_PLUGIN      nbdkit-dm-plugin.so to measure
  BARE_PLUGIN    the bare plugin built from bench/two-pwrites.c
  WORKDIR        folder for the files, on a tmpfs (default /dev/shm)
  SIZE_MB        size of each file in MiB (default 256)
  THREADS        nbdkit -t, for every nbdkit alike (default 4)
  RAMP           seconds before measuring starts (default 1)
  QUORUM_AIO     aio= of the quorum's files: threads or io_uring
  SERVER_CPUS    pin every server to these processors (taskset list)
  FIO_CPUS       pin fio to these processors
USAGE
}

die () {
  echo "run-fio.sh: $*" >&2
  exit 2
}

runs=${RUNS:-5}
runtime=${RUNTIME:-4}
ramp=${RAMP:-1}
numjobs=${NUMJOBS:-1}
subjects=${SUBJECTS:-bare file quorum volume volume-meta volume-snap}
csv=${CSV:-bench-fio.csv}
size_mb=${SIZE_MB:-256}
threads=${THREADS:-4}
quorum_aio=${QUORUM_AIO:-threads}
workdir_parent=${WORKDIR:-/dev/shm}
check=${CHECK:-no}

while [ $# -gt 0 ]; do
  case "$1" in
    --check) check=yes; shift ;;
    --runs|--runtime|--numjobs|--subjects|--csv)
      [ $# -ge 2 ] || die "$1 needs a value (see --help)"
      case "$1" in
        --runs) runs=$2 ;;
        --runtime) runtime=$2 ;;
        --numjobs) numjobs=$2 ;;
        --subjects) subjects=$2 ;;
        --csv) csv=$2 ;;
      esac
      shift 2 ;;
    -h|--help) usage; exit 0 ;;
    *) die "unknown option: $1 (see --help)" ;;
  esac
done

for n in "$runs" "$runtime" "$numjobs" "$size_mb" "$threads"; do
  [[ $n =~ ^[1-9][0-9]*$ ]] || die "not a positive number: '$n'"
done
[[ $ramp =~ ^[0-9]+$ ]] || die "RAMP is not a number: '$ramp'"

wanted () {
  [[ " $subjects " == *" $1 "* ]]
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${BUILDDIR:-$here/../build}
dm_plugin=${DM_PLUGIN:-$build/plugin/.libs/nbdkit-dm-plugin.so}
bare_plugin=${BARE_PLUGIN:-$build/bench/.libs/two-pwrites.so}

for s in $subjects; do
  case "$s" in
    bare) [ -f "$bare_plugin" ] || die "$bare_plugin: not there; build it" \
            "with 'make bench' or set BARE_PLUGIN" ;;
    volume*) [ -f "$dm_plugin" ] || die "$dm_plugin: not there; run 'make'" \
               "or set DM_PLUGIN" ;;
    file|quorum) ;;
    *) die "unknown subject: $s (see --help)" ;;
  esac
done
for tool in nbdkit fio cmp dd stat awk sort; do
  command -v "$tool" > /dev/null || die "$tool: not installed"
done
if wanted quorum; then
  command -v qemu-storage-daemon > /dev/null ||
    die "qemu-storage-daemon: not installed"
fi

# ---------------------------------------------------------------- servers --

work=$(mktemp -d "$workdir_parent/dmnbd-bench.XXXXXX")
server_pid=

stop_server () {
  [ -n "$server_pid" ] || return 0
  local pid=$server_pid
  server_pid=
  kill "$pid" || true           # it may have ended on its own: wait tells
  wait "$pid" || {
    local rc=$?
    # 143: qemu-storage-daemon and nbdkit may also die of the signal itself.
    if [ "$rc" -ne 143 ]; then
      cat "$work/server.log" >&2
      die "the server ended with status $rc"
    fi
  }
}

clean_up () {
  if [ -n "$server_pid" ]; then
    kill "$server_pid" 2> /dev/null || true
    wait "$server_pid" 2> /dev/null || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

socket=$work/socket
pidfile=$work/pid
fstype=$(stat -f -c %T "$work")

pin_server=()
[ -z "${SERVER_CPUS:-}" ] || pin_server=(taskset -c "$SERVER_CPUS")
pin_fio=()
[ -z "${FIO_CPUS:-}" ] || pin_fio=(taskset -c "$FIO_CPUS")

# Starts a server and returns when it serves: each of them writes its pid
# file only then.
start_server () {
  rm -f "$socket" "$pidfile"
  "${pin_server[@]}" "$@" > "$work/server.log" 2>&1 &
  server_pid=$!
  local i
  for ((i = 0; i < 400; i++)); do
    [ ! -s "$pidfile" ] || return 0
    if ! kill -0 "$server_pid" 2> /dev/null; then
      break
    fi
    sleep 0.025
  done
  cat "$work/server.log" >&2
  die "server not up: $*"
}

start_nbdkit () {
  start_server nbdkit -f -t "$threads" -U "$socket" -P "$pidfile" "$@"
}

start_quorum () {
  start_server qemu-storage-daemon --pidfile "$pidfile" \
    --blockdev "driver=file,node-name=f0,filename=$work/a.img,cache.direct=off,cache.no-flush=off,aio=$quorum_aio" \
    --blockdev "driver=file,node-name=f1,filename=$work/b.img,cache.direct=off,cache.no-flush=off,aio=$quorum_aio" \
    --blockdev driver=raw,node-name=leg0,file=f0 \
    --blockdev driver=raw,node-name=leg1,file=f1 \
    --blockdev driver=quorum,node-name=q,vote-threshold=2,children.0=leg0,children.1=leg1 \
    --nbd-server "addr.type=unix,addr.path=$socket,max-connections=0" \
    --export type=nbd,id=e,node-name=q,name=,writable=on
}

# The legs are equal before each run (see settle_legs), so sync=none is true,
# and no resync runs while we measure.
start_subject () {
  case "$1" in
    bare) start_nbdkit "$bare_plugin" "$work/a.img" "$work/b.img" ;;
    file) start_nbdkit file "$work/a.img" ;;
    quorum) start_quorum ;;
    volume) start_nbdkit "$dm_plugin" sync=none "$work/a.img" "$work/b.img" ;;
    volume-meta)
      start_nbdkit "$dm_plugin" sync=none meta="$work/plain.d" \
        "$work/a.img" "$work/b.img" ;;
    volume-snap)
      start_nbdkit "$dm_plugin" sync=none meta="$work/snap.d" \
        "$work/c.img" "$work/d.img" ;;
  esac
}

# The same pair of files serves every subject but the one with a snapshot,
# whose store must go on matching its origin.
legs_of () {
  case "$1" in
    file) ;;
    volume-snap) echo "$work/c.img $work/d.img" ;;
    *) echo "$work/a.img $work/b.img" ;;
  esac
}

# A volume promises equal legs whatever overlaps, so there a difference is a
# bug, and the figure void.  The others promise nothing when two writes of one
# block are in flight together: their legs are made equal for the next subject.
settle_legs () {
  local a b
  read -r a b <<< "$(legs_of "$1") "
  if [ -z "$a" ]; then
    dd if="$work/a.img" of="$work/b.img" bs=1M conv=notrunc status=none
    return 0
  fi
  case "$1" in
    volume*)
      cmp "$a" "$b" || die "$1: the legs differ after a run: figure void" ;;
    *)
      cmp -s "$a" "$b" || dd if="$a" of="$b" bs=1M conv=notrunc status=none ;;
  esac
}

# Processor time of the server so far, in clock ticks.
server_ticks () {
  awk '{ sub(/^.*\) /, ""); print $12 + $13 }' "/proc/$server_pid/stat"
}

# ------------------------------------------------------------------- fio --

uri="nbd+unix:///?socket=$socket"
hertz=$(getconf CLK_TCK)

# One run: prints "iops fio_cpu_percent server_us_per_request".
measure () {
  local before after line
  before=$(server_ticks)
  "${pin_fio[@]}" fio --name=randwrite --ioengine=nbd --uri="$uri" \
    --rw=randwrite --bs=4k --iodepth=16 --numjobs="$numjobs" \
    --group_reporting --thread --norandommap --randrepeat=0 \
    --time_based --runtime="$runtime" --ramp_time="$ramp" \
    --output-format=terse --terse-version=3 --output="$work/fio.out" \
    > "$work/fio.log" 2>&1 || {
      cat "$work/fio.log" "$work/server.log" >&2
      die "fio failed"
    }
  after=$(server_ticks)
  line=$(grep '^3;fio-' "$work/fio.out") || die "fio printed no result"
  # Fields of the terse format: 5 error, 49 write IOPS, 88 and 89 user and
  # system CPU.  The ramp counts in the ticks, hence in the divisor too.
  awk -F ';' -v ticks=$((after - before)) -v hz="$hertz" \
      -v secs=$((runtime + ramp)) -v jobs="$numjobs" '
    $5 != 0 || $49 + 0 <= 0 { exit 1 }
    { printf "%d %.0f %.1f\n", $49, ($88 + $89) * jobs,
             ticks / hz * 1e6 / ($49 * secs) }' <<< "$line" ||
    die "fio reports an error: $line"
}

# ----------------------------------------------------------- preparations --

full_file () {
  dd if=/dev/zero of="$1" bs=1M count="$size_mb" status=none
}

allocated_bytes () {
  echo $(($(stat -c '%b * %B' "$1")))
}

store=$work/snap.d/bench.cow

# Takes a snapshot, then writes the whole volume once: every chunk is copied.
prepare_snapshot () {
  full_file "$work/c.img"
  full_file "$work/d.img"
  start_nbdkit "$dm_plugin" sync=none meta="$work/snap.d" snapshot=bench \
    "$work/c.img" "$work/d.img"
  fio --name=fill --ioengine=nbd --uri="$uri" --rw=write --bs=1M \
    --iodepth=4 --size="${size_mb}m" > "$work/fio.log" 2>&1 || {
      cat "$work/fio.log" "$work/server.log" >&2
      die "filling the volume with a snapshot failed"
    }
  stop_server
  [ "$(allocated_bytes "$store")" -ge $((size_mb << 20)) ] ||
    die "$store holds less than the volume: not every chunk was copied"
}

echo "files: ${size_mb} MiB each, on $fstype, $workdir_parent"
echo "load: fio nbd, 4 KiB random writes, queue depth 16, $numjobs" \
     "connection(s), $runs rounds of ${runtime} s after ${ramp} s"
echo "machine: $(nproc) processors; servers: nbdkit -t $threads," \
     "qemu-storage-daemon aio=$quorum_aio, all buffered" \
     "${SERVER_CPUS:+, server on $SERVER_CPUS}${FIO_CPUS:+, fio on $FIO_CPUS}"
[ "$fstype" = tmpfs ] ||
  echo "warning: $workdir_parent is not a tmpfs: the disk is measured too"

full_file "$work/a.img"
full_file "$work/b.img"
if wanted volume-snap; then
  prepare_snapshot
  store_bytes=$(allocated_bytes "$store")
fi

# ---------------------------------------------------------------- rounds --

echo "round,subject,iops,fio_cpu_percent,server_cpu_us_per_request,load1" \
  > "$csv"
for ((round = 1; round <= runs; round++)); do
  printf 'round %d:' "$round"
  for s in $subjects; do
    start_subject "$s"
    result=$(measure)
    stop_server
    settle_legs "$s"
    read -r iops fio_cpu us <<< "$result"
    read -r load1 _ < /proc/loadavg
    echo "$round,$s,$iops,$fio_cpu,$us,$load1" >> "$csv"
    printf ' %s %d' "$s" "$iops"
  done
  printf '\n'
done

if wanted volume-snap; then
  [ "$(allocated_bytes "$store")" -eq "$store_bytes" ] ||
    die "$store grew while measuring: chunks were still being copied"
fi

# ---------------------------------------------------------------- report --

# Prints median, least, greatest of column $2 of subject $1.
stats () {
  awk -F , -v s="$1" -v c="$2" '$2 == s { print $c }' "$csv" | sort -g |
    awk '{ v[NR] = $1 }
         END { m = NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2
               print m, v[1], v[NR] }'
}

printf '\n%-12s %9s %9s %9s %9s %14s\n' \
  subject median least greatest 'fio CPU%' 'server us/req'
for s in $subjects; do
  read -r med lo hi <<< "$(stats "$s" 3)"
  read -r cpu _ _ <<< "$(stats "$s" 4)"
  read -r us _ _ <<< "$(stats "$s" 5)"
  printf '%-12s %9.0f %9d %9d %9.0f %14.1f\n' \
    "$s" "$med" "$lo" "$hi" "$cpu" "$us"
done

missed=0

# Ratio of medians.  Beside it the range of the ratios round by round, which
# shows how far the machine's noise goes, and the ratio by processor time of
# the servers for a request, which noise hardly touches.
ratio () {
  local top=$1 base=$2 target=$3 verdict a b lo hi a_us b_us
  wanted "$top" && wanted "$base" || return 0
  read -r a _ _ <<< "$(stats "$top" 3)"
  read -r b _ _ <<< "$(stats "$base" 3)"
  read -r a_us _ _ <<< "$(stats "$top" 5)"
  read -r b_us _ _ <<< "$(stats "$base" 5)"
  read -r lo hi <<< "$(awk -F , -v t="$top" -v b="$base" '
    $2 == t { x[$1] = $3 } $2 == b { y[$1] = $3 }
    END { for (r in x) { q = x[r] / y[r]
                         if (!n || q < lo) lo = q
                         if (!n++ || q > hi) hi = q }
          print lo, hi }' "$csv")"
  if awk -v a="$a" -v b="$b" -v t="$target" 'BEGIN { exit !(a >= t * b) }'
  then
    verdict=met
  else
    verdict=MISSED
    missed=$((missed + 1))
  fi
  awk -v a="$a" -v b="$b" -v t="$target" -v v="$verdict" -v lo="$lo" \
      -v hi="$hi" -v au="$a_us" -v bu="$b_us" -v name="$top / $base" '
    BEGIN {
      printf "%-26s %5.2f  target %4.2f  %-6s", name, a / b, t, v
      printf "  (rounds %.2f to %.2f, by CPU %.2f)\n", lo, hi, bu / au }'
}

echo
ratio volume bare 0.9
ratio volume file 0.6
ratio volume quorum 2.5
ratio volume-snap volume-meta 0.9

echo
echo "each run: $csv"
if awk -F , -v j="$numjobs" 'NR > 1 && $4 >= 95 * j { n++ }
                END { exit !(n > (NR - 1) / 2) }' "$csv"; then
  echo "note: fio itself was busy all the time in most runs (one thread for" \
       "each connection): differences between servers are compressed;" \
       "try --numjobs 2"
fi

if [ "$missed" -gt 0 ]; then
  echo "$missed ratio(s) missed"
  [ "$check" = no ] || exit 1
fi
