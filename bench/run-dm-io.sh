#!/usr/bin/env bash
# Compares dm-io's write to several io_regions with plain pwrite calls.
# SPDX-License-Identifier: BSD-3-Clause
#
# What is measured, how, and what would make it unfair: bench/README.md.
# "run-dm-io.sh --help" tells the options.  It ends by itself.

set -euo pipefail

usage () {
  cat <<'USAGE'
usage: run-dm-io.sh [--check] [--backings "NAME ..."] [--bytes "N ..."]
                    [--threads "N ..."] [--regions "N ..."] [--rounds N]
                    [--run-ms N] [--subjects "NAME ..."] [--out FOLDER]

  --check        exit with 1 when a target is missed (env CHECK=yes)
  --backings ..  any of: tmpfs disk disk-direct (default: all; env BACKINGS)
  --bytes ..     of one write (default 4096; env BYTES)
  --threads ..   that write at once (default "1 16"; env THREADS)
  --regions ..   numbers of io_regions (default 1 to 9; env REGIONS)
  --rounds N     each round measures everything once (default 11; env ROUNDS)
  --run-ms N     length of one run (default 60; env RUN_MS)
  --subjects ..  dm-io, pwrite, dm-io-async (default the first two; env
                 SUBJECTS)
  --out FOLDER   for bench-dm-io.csv and bench-dm-io.svg (default . ; env OUT)

Further environment:
  PROGRAM        bench/dm-io, built
  WORKDIR        folder on a tmpfs (default /dev/shm)
  DISKDIR        folder on a disk (default /var/tmp)
  SIZE_MB        size of each file in MiB (default 32)
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=bench/common.sh
. "$here/common.sh"

backings=${BACKINGS:-tmpfs disk disk-direct}
bytes=${BYTES:-4096}
threads=${THREADS:-1 16}
regions=${REGIONS:-1 2 3 4 5 6 7 8 9}
rounds=${ROUNDS:-11}
run_ms=${RUN_MS:-60}
subjects=${SUBJECTS:-dm-io pwrite}
out=${OUT:-.}
size_mb=${SIZE_MB:-32}
check=${CHECK:-no}
program=${PROGRAM:-${BUILDDIR:-$here/../build}/bench/dm-io}

while [ $# -gt 0 ]; do
  case "$1" in
    --check) check=yes; shift ;;
    --backings|--bytes|--threads|--regions|--rounds|--run-ms|--subjects|--out)
      [ $# -ge 2 ] || die "$1 needs a value (see --help)"
      case "$1" in
        --backings) backings=$2 ;;
        --bytes) bytes=$2 ;;
        --threads) threads=$2 ;;
        --regions) regions=$2 ;;
        --rounds) rounds=$2 ;;
        --run-ms) run_ms=$2 ;;
        --subjects) subjects=$2 ;;
        --out) out=$2 ;;
      esac
      shift 2 ;;
    -h|--help) usage; exit 0 ;;
    *) die "unknown option: $1 (see --help)" ;;
  esac
done

# shellcheck disable=SC2086
{
  numbers --bytes $bytes
  numbers --threads $threads
  numbers --regions $regions
  numbers --rounds $rounds
  numbers --run-ms $run_ms
  numbers SIZE_MB $size_mb
}
[[ " $subjects " == *" pwrite "* ]] ||
  die "--subjects: pwrite must be among them, the others are compared with it"
[ -x "$program" ] || die "$program: not there; build it with" \
  "'make bench-dm-io' or set PROGRAM"
for s in $backings; do
  case "$s" in
    tmpfs|disk|disk-direct) ;;
    *) die "unknown backing: $s (see --help)" ;;
  esac
done

tmpfs_work=$(mktemp -d "${WORKDIR:-/dev/shm}/dmnbd-bench.XXXXXX")
disk_work=$(mktemp -d "${DISKDIR:-/var/tmp}/dmnbd-bench.XXXXXX")
trap 'rm -rf "$tmpfs_work" "$disk_work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

csv=$out/bench-dm-io.csv
svg=$out/bench-dm-io.svg

machine
echo "files: ${size_mb} MiB each; tmpfs: $(where "$tmpfs_work");" \
  "disk: $(where "$disk_work")"
echo "load: random writes; $rounds rounds, each of runs of $run_ms ms"
[ "$(stat -f -c %T "$tmpfs_work")" = tmpfs ] ||
  echo "warning: $tmpfs_work is not on a tmpfs"
[ "$(stat -f -c %T "$disk_work")" != tmpfs ] ||
  echo "warning: $disk_work is on a tmpfs: no disk is measured"

# ------------------------------------------------------------------ runs --

# measure BACKING BYTES THREADS: its lines, without the names.
measure () {
  local folder=$disk_work direct=()

  case "$1" in
    tmpfs) folder=$tmpfs_work ;;
    disk-direct) direct=(--direct) ;;
  esac
  "$program" --label "$1" --bytes "$2" --threads "$3" --rounds "$rounds" \
    --run-ms "$run_ms" --regions "$regions" --subjects "$subjects" \
    --file-mib "$size_mb" "${direct[@]}" "$folder"
}

echo "backing,bytes,threads,round,regions,subject,calls_per_second,cpu_us_per_call" \
  > "$csv"
for s in $backings; do
  for b in $bytes; do
    for t in $threads; do
      measure "$s" "$b" "$t" >> "$csv"
    done
  done
done

# ---------------------------------------------------------------- report --

data=$tmpfs_work/data
mkdir "$data"
awk -v data="$data" -v missed="$tmpfs_work/missed" -f "$here/dm-io.awk" "$csv"

# A panel for each backing, size and number of threads.
chart () {
  local file name panels=("$data"/*-dm-io) columns=2 rows

  [ "${#panels[@]}" -gt 1 ] || columns=1
  rows=$(((${#panels[@]} + columns - 1) / columns))
  echo "set terminal svg size $((columns * 480)),$((rows * 300 + 40)) dynamic"
  echo "set output '$svg'"
  echo "set multiplot layout $rows,$columns title" \
    "'One write to N files: dm-io, and N times pwrite'"
  echo "set xlabel 'io_regions'"
  echo "set ylabel 'writes to each, thousands a second'"
  echo "set yrange [0:*]"
  echo "set xtics 1"
  echo "set grid ytics"
  for file in "${panels[@]}"; do
    name=${file##*/}
    name=${name%-dm-io}
    echo "set title '$(describe "$name")'"
    echo "plot '$file' using 1:(\$2/1e3):(\$3/1e3):(\$4/1e3)" \
      "with yerrorlines title 'dm-io'," \
      "'' using 1:(\$5/1e3):(\$6/1e3):(\$7/1e3)" \
      "with yerrorlines title 'pwrite'"
  done
  echo "unset multiplot"
}

# describe BACKING-BYTES-THREADS
describe () {
  local threads=${1##*-} rest=${1%-*}

  echo "${rest%-*}, ${rest##*-} bytes, $threads thread(s)"
}

echo
echo "each run: $csv"
rm -f "$svg"
if [[ " $subjects " == *" dm-io "* ]]; then
  chart > "$data/chart"
  draw "$data/chart"
  [ ! -s "$svg" ] || echo "chart: $svg"
fi

missed=$(cat "$tmpfs_work/missed")
if [ "$missed" -gt 0 ]; then
  echo "$missed target(s) missed"
  [ "$check" = no ] || exit 1
fi
