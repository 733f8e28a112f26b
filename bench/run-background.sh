#!/usr/bin/env bash
# Measures what clients notice of the background copies of snapshots.
# SPDX-License-Identifier: BSD-3-Clause
#
# What is measured, how, and what would make it unfair: bench/README.md.
# "run-background.sh --help" tells the options.  It ends by itself.

set -euo pipefail

usage () {
  cat <<'USAGE'
usage: run-background.sh [--parts "NAME ..."] [--rounds N] [--size-mb N]
                         [--run-ms N] [--depth N] [--out FOLDER]

  --parts ..     any of: merge hand-down restore (default: all; env PARTS)
  --rounds N     each measures everything once (default 5; env ROUNDS)
  --size-mb N    size of the volume in MiB (default 1024; env SIZE_MB)
  --run-ms N     length of a run (default 1000; env RUN_MS)
  --depth N      requests in flight (default 4; env DEPTH)
  --out FOLDER   for bench-background.csv (default . ; env OUT)

Further environment:
  DM_PLUGIN      nbdkit-dm-plugin.so to measure
  NBD_LOAD       bench/nbd-load, built
  DMNBD          ctl/dmnbd, built
  WORKDIR        folder for the files (default /dev/shm)
  THREADS        nbdkit -t (default 16)
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=bench/common.sh
. "$here/common.sh"

parts=${PARTS:-merge hand-down restore}
rounds=${ROUNDS:-5}
size_mb=${SIZE_MB:-1024}
run_ms=${RUN_MS:-1000}
depth=${DEPTH:-4}
out=${OUT:-.}
# For report: there are no targets.
# shellcheck disable=SC2034
check=no
threads=${THREADS:-16}
build=${BUILDDIR:-$here/../build}
dm_plugin=${DM_PLUGIN:-$build/plugin/.libs/nbdkit-dm-plugin.so}
nbd_load=${NBD_LOAD:-$build/bench/nbd-load}
dmnbd=${DMNBD:-$build/ctl/dmnbd}

while [ $# -gt 0 ]; do
  case "$1" in
    --parts|--rounds|--size-mb|--run-ms|--depth|--out)
      [ $# -ge 2 ] || die "$1 needs a value (see --help)"
      case "$1" in
        --parts) parts=$2 ;;
        --rounds) rounds=$2 ;;
        --size-mb) size_mb=$2 ;;
        --run-ms) run_ms=$2 ;;
        --depth) depth=$2 ;;
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
numbers --depth "$depth"
numbers THREADS "$threads"
for p in $parts; do
  case "$p" in
    merge|hand-down|restore) ;;
    *) die "unknown part: $p (see --help)" ;;
  esac
done
for tool in nbdkit awk getconf; do
  command -v "$tool" > /dev/null || die "$tool: not installed"
done
[ -f "$dm_plugin" ] || die "$dm_plugin: not there; run 'make' or set DM_PLUGIN"
for program in "$nbd_load" "$dmnbd"; do
  [ -x "$program" ] || die "$program: not there; build it with" \
    "'make bench-background'"
done

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

csv=$out/bench-background.csv
chunk=65536

machine
echo "volume: two legs of $size_mb MiB on $(where "$work"); chunks of $chunk" \
  "bytes, all of them in the store of the newer of two snapshots"
echo "load: bench/nbd-load, 4 KiB random writes (merge) or reads, queue" \
  "depth $depth, one" \
  "connection, $run_ms ms; nbdkit -t $threads; $rounds rounds"

ask () {
  "$dmnbd" -s "$work/volume.control" "$@"
}

fill () {
  "$nbd_load" --bytes "$chunk" "$(uri_of volume)" > "$work/fill.out"
}

# A volume of which every chunk is in the store of s2, in any order; none is a
# hole, which would be copied in no time.
start_full () {
  rm -rf "$work/meta" "$work"/?.img
  start_volume volume sync=none meta="$work/meta" size="${size_mb}M" \
    "$work/a.img" "$work/b.img"
  fill
  ask snapshot create s1 > "$work/verb.out"
  ask snapshot create s2 > "$work/verb.out"
  fill
}

run_one () {
  local options=(--depth "$depth" --run-ms "$run_ms"
    --ramp-ms $((run_ms / 5 + 1)))

  # Writers would copy chunks themselves: what is not handed down yet, or for
  # the snapshot that is staged, as for any other.
  [ "$part" = merge ] || options+=(--read)
  load "$part" "$1" volume "${options[@]}"
}

# The same load without and beside what goes on in the background, which must
# outlast it.
run_part () {
  local verb

  start_full
  run_one alone
  case "$part" in
    merge) verb="snapshot rollback s2" ;;
    hand-down) verb="snapshot remove s2" ;;
    restore) verb="snapshot rollback s1" ;;
  esac
  # shellcheck disable=SC2086
  ask $verb > "$work/verb.out" 2>&1 &
  run_one beside
  [ -n "$(ask --json job list | tr -d '[]{}:" \n' | sed s/jobs//)" ] ||
    die "$part: is over before the load: give a larger --size-mb"
  kill_server volume
  wait || true # the one that asked
}

echo "round,part,subject,metric,value" > "$csv"
for part in $parts; do
  for ((round = 0; round <= rounds; round++)); do
    run_part
  done
done

for part in $parts; do
  for metric in per_second p50_us p99_us max_us; do
    echo "$part $metric beside alone - -"
  done
done > "$work/targets"
report
