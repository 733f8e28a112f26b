#!/usr/bin/env bash
# Measures what snapshots cost, beside QEMU's copy-before-write filter.
# SPDX-License-Identifier: BSD-3-Clause
#
# What is measured, how, and what would make it unfair: bench/README.md.
# "run-snapshot.sh --help" tells the options.  It ends by itself.

set -euo pipefail

usage () {
  cat <<'USAGE'
usage: run-snapshot.sh [--check] [--parts "NAME ..."] [--rounds N]
                       [--size-mb N] [--run-ms N] [--snapshots N]
                       [--exceptions N] [--out FOLDER]

  --check        exit with 1 when a target is missed (env CHECK=yes)
  --parts ..     any of: first chain steady create load (default: all; env
                 PARTS)
  --rounds N     each measures everything once (default 5; env ROUNDS)
  --size-mb N    size of the volume in MiB (default 512; env SIZE_MB)
  --run-ms N     length of a run that could go on for ever (default 3000; env
                 RUN_MS)
  --snapshots N  to be taken under load, a round (default 50; env SNAPSHOTS)
  --exceptions N of the store that is loaded (default 10000000; env
                 EXCEPTIONS)
  --out FOLDER   for bench-snapshot.csv (default . ; env OUT)

Further environment:
  DM_PLUGIN      nbdkit-dm-plugin.so to measure
  NBD_LOAD       bench/nbd-load, built
  STORE_LOAD     bench/store-load, built
  WORKDIR        folder for the files, on a tmpfs (default /dev/shm)
  THREADS        nbdkit -t (default 16)
  CREATE_THREADS the same of "create" (default 4), and the largest size of its
  CREATE_MB      volume, in MiB (default 128)
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=bench/common.sh
. "$here/common.sh"

parts=${PARTS:-first chain steady create load}
rounds=${ROUNDS:-5}
size_mb=${SIZE_MB:-512}
run_ms=${RUN_MS:-3000}
snapshots=${SNAPSHOTS:-50}
exceptions=${EXCEPTIONS:-10000000}
out=${OUT:-.}
check=${CHECK:-no}
threads=${THREADS:-16}
create_threads=${CREATE_THREADS:-4}
create_mb=${CREATE_MB:-128}
build=${BUILDDIR:-$here/../build}
dm_plugin=${DM_PLUGIN:-$build/plugin/.libs/nbdkit-dm-plugin.so}
nbd_load=${NBD_LOAD:-$build/bench/nbd-load}
store_load=${STORE_LOAD:-$build/bench/store-load}

while [ $# -gt 0 ]; do
  case "$1" in
    --check) check=yes; shift ;;
    --parts|--rounds|--size-mb|--run-ms|--snapshots|--exceptions|--out)
      [ $# -ge 2 ] || die "$1 needs a value (see --help)"
      case "$1" in
        --parts) parts=$2 ;;
        --rounds) rounds=$2 ;;
        --size-mb) size_mb=$2 ;;
        --run-ms) run_ms=$2 ;;
        --snapshots) snapshots=$2 ;;
        --exceptions) exceptions=$2 ;;
        --out) out=$2 ;;
      esac
      shift 2 ;;
    -h|--help) usage; exit 0 ;;
    *) die "unknown option: $1 (see --help)" ;;
  esac
done

numbers --rounds "$rounds"
numbers --size-mb "$size_mb"
numbers --run-ms "$run_ms"
numbers --snapshots "$snapshots"
numbers --exceptions "$exceptions"
numbers THREADS "$threads"
numbers CREATE_THREADS "$create_threads"
numbers CREATE_MB "$create_mb"
for p in $parts; do
  case "$p" in
    first|chain|steady|create|load) ;;
    *) die "unknown part: $p (see --help)" ;;
  esac
done
for tool in nbdkit nbdcopy cmp awk getconf; do
  command -v "$tool" > /dev/null || die "$tool: not installed"
done
[ -f "$dm_plugin" ] || die "$dm_plugin: not there; run 'make' or set DM_PLUGIN"
for program in "$nbd_load" "$store_load"; do
  [ -x "$program" ] || die "$program: not there; build it with" \
    "'make bench-snapshot'"
done
has_qemu=no
if command -v qemu-storage-daemon > /dev/null &&
  command -v qemu-img > /dev/null; then
  has_qemu=yes
fi

work=$(mktemp -d "${WORKDIR:-/dev/shm}/dmnbd-bench.XXXXXX")
# shellcheck source=bench/servers.sh
. "$here/servers.sh"
clean_up () {
  kill_all_servers
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Transient stores are where all other files are.
export TMPDIR=$work

csv=$out/bench-snapshot.csv
chunk=65536

machine
echo "volume: one leg of $size_mb MiB, full, on $(where "$work");" \
  "chunks of $chunk bytes"
echo "load: bench/nbd-load, 4 KiB random writes, queue depth 16, one" \
  "connection; nbdkit -t $threads; $rounds rounds"
[ "$(stat -f -c %T "$work")" = tmpfs ] ||
  echo "warning: $work is not on a tmpfs: the disk is measured too"

# --------------------------------------------------------------- subjects --

leg=$work/leg.img

# A leg that nobody has written to.
fresh_leg () {
  cp --sparse=never "$work/orig.img" "$leg"
  rm -rf "$work/meta"
}

# start_with_snapshots COUNT KEY...: the names are s1, s2, ..., the last is
# the newest.
start_with_snapshots () {
  local count=$1 keys=() i

  shift
  for ((i = 1; i <= count; i++)); do
    keys+=("snapshot=s$i")
  done
  start_volume volume sync=none "$@" "${keys[@]}" "$leg"
}

# Do servers of this version keep snapshots without a folder?
find_transient () {
  fresh_leg
  has_transient=no
  if nbdkit -U - "$dm_plugin" sync=none snapshot=s1 "$leg" --run true \
    > "$work/transient.log" 2>&1; then
    has_transient=yes
  fi
}

start_cbw () {
  qemu-img create -q -f qcow2 -o "cluster_size=$chunk" "$work/cbw.qcow2" \
    "${size_mb}M"
  start cbw qemu-storage-daemon --pidfile "$work/cbw.pid" \
    --blockdev "driver=file,node-name=f0,filename=$leg,cache.direct=off,cache.no-flush=off" \
    --blockdev driver=raw,node-name=source,file=f0 \
    --blockdev "driver=file,node-name=f1,filename=$work/cbw.qcow2,cache.direct=off,cache.no-flush=off" \
    --blockdev driver=qcow2,node-name=target,file=f1 \
    --blockdev driver=copy-before-write,node-name=cbw,file=source,target=target \
    --nbd-server "addr.type=unix,addr.path=$work/cbw.sock,max-connections=0" \
    --export type=nbd,id=e,node-name=cbw,name=,writable=on
}

# same EXPORT WHAT: the export holds what the leg held in the beginning.
same () {
  nbdcopy "$(uri_of volume "$1")" "$work/copy.img"
  cmp "$work/orig.img" "$work/copy.img" >&2 ||
    die "$2: the snapshot is not what it was: figure void"
  rm "$work/copy.img"
}

# Every write is the first to its chunk.
run_first () {
  local subject=$1

  fresh_leg
  case "$subject" in
    transient) start_with_snapshots 1 ;;
    persistent) start_with_snapshots 1 meta="$work/meta" ;;
    cbw) start_cbw ;;
  esac
  if [ "$subject" = cbw ]; then
    load first cbw cbw --stride "$chunk"
    stop cbw
    qemu-img compare -q -f raw -F qcow2 "$work/orig.img" "$work/cbw.qcow2" ||
      die "copy-before-write: the target is not what was there: figure void"
    rm "$work/cbw.qcow2"
    return 0
  fi
  load first "$subject" volume --stride "$chunk"
  same s1 "$subject"
  stop volume
}

# The same with so many snapshots, one below the other.
run_chain () {
  fresh_leg
  start_with_snapshots "$1" meta="$work/meta"
  load chain "$1" volume --stride "$chunk"
  row chain "$1" us_per_request "$(awk -v n="$(figure per_second)" \
    'BEGIN { printf "%.2f", 1e6 / n }')"
  same s1 "the oldest of $1"
  stop volume
}

# No write is the first to its chunk.
run_steady () {
  local count=1

  [ "$1" = snapshot ] || count=0
  fresh_leg
  start_with_snapshots "$count" meta="$work/meta"
  "$nbd_load" --stride "$chunk" "$(uri_of volume)" > "$work/load.out"
  load steady "$1" volume --run-ms "$run_ms" --ramp-ms $((run_ms / 4 + 1))
  stop volume
}

# Snapshots under full load: how long are writers held?  A part of the volume,
# and fewer threads: see README.md.
run_create () {
  local threads=$create_threads

  fresh_leg
  [ "$size_mb" -le "$create_mb" ] || truncate -s "${create_mb}M" "$leg"
  start_volume volume sync=none meta="$work/meta" "$leg"
  load create live volume --control "$work/volume.control" \
    --snapshots "$snapshots" --every-ms 100
  row create live held_p99_ms "$(awk -v n="$(figure held_p99_us)" \
    'BEGIN { printf "%.3f", n / 1e3 }')"
  stop volume
  if grep -E '"state": *"invalid"' "$work/meta/volume.json" >&2; then
    die "a snapshot of $snapshots is not valid: figure void"
  fi
}

# A store of so many exceptions, at random: what does it cost to load it?
run_load () {
  local name value

  "$store_load" --exceptions "$exceptions" "$work/store.cow" \
    > "$work/store.out" || die "store-load failed"
  while read -r name value; do
    row load random "$name" "$value"
  done < "$work/store.out"
}

subjects_of () {
  case "$1" in
    first)
      echo persistent
      [ "$has_transient" = no ] || echo transient
      [ "$has_qemu" = no ] || echo cbw ;;
    chain) echo 1 8 64 ;;
    steady) echo none snapshot ;;
    create) echo live ;;
    load) echo random ;;
  esac
}

# ------------------------------------------------------------------ rounds --

random_file "$work/orig.img" "$size_mb"
find_transient
[ "$has_transient" = yes ] ||
  echo "not measured: transient stores, which this plugin does not have"
[ "$has_qemu" = yes ] || echo "not measured: QEMU, which is not installed"

echo "round,part,subject,metric,value" > "$csv"
for part in $parts; do
  # shellcheck disable=SC2207
  order=($(subjects_of "$part"))
  # Loading is the same every time, and takes its time.
  last=$rounds
  [ "$part" != load ] || last=1
  for ((round = 0; round <= last; round++)); do
    [ "$part" != load ] || [ "$round" -gt 0 ] || continue
    for ((i = 0; i < ${#order[@]}; i++)); do
      "run_$part" "${order[(i + round) % ${#order[@]}]}"
    done
  done
done

# ------------------------------------------------------------------ report --

cat > "$work/targets" <<'TARGETS'
first per_second transient cbw >= 2
first per_second persistent cbw >= 1.5
first cpu_us_per_request cbw persistent - -
chain us_per_request 8 1 <= 1.15
chain us_per_request 64 1 <= 1.15
chain cpu_us_per_request 64 1 - -
steady per_second snapshot none >= 0.95
steady cpu_us_per_request none snapshot - -
create held_p99_ms live - <= 10
create held_worst_p99_us live - - -
load bytes_per_exception random - <= 16
load seconds random - - -
load cpu_seconds random - - -
TARGETS
report
