#!/usr/bin/env bash
# Measures what a mirror's memory, resync, legs and those who look on cost, and
# what they give.
# SPDX-License-Identifier: BSD-3-Clause
#
# What is measured, how, and what would make it unfair: bench/README.md.
# "run-mirror.sh --help" tells the options.  It ends by itself.

set -euo pipefail

usage () {
  cat <<'USAGE'
usage: run-mirror.sh [--check] [--parts "NAME ..."] [--rounds N]
                     [--size-mb N] [--run-ms N] [--resync-mb N]
                     [--outage-mb N] [--outage-writes N] [--out FOLDER]

  --check        exit with 1 when a target is missed (env CHECK=yes)
  --parts ..     any of: log resync partial reads control (default: all; env PARTS)
  --rounds N     each measures everything once (default 5; env ROUNDS)
  --size-mb N    size of a leg in MiB (default 256; env SIZE_MB)
  --run-ms N     length of a run (default 3000; env RUN_MS)
  --resync-mb N  size of the legs that are resynced as a whole, which must
                 take longer than a run (default 3072; env RESYNC_MB)
  --outage-mb N  size of the sparse legs of which one is out for a while
                 (default 10240; env OUTAGE_MB)
  --outage-writes N
                 of 256 KiB, at random, meanwhile (default 400; env
                 OUTAGE_WRITES)
  --out FOLDER   for bench-mirror.csv (default . ; env OUT)

Further environment:
  DM_PLUGIN      nbdkit-dm-plugin.so to measure
  DMNBD          dmnbd, built
  NBD_LOAD       bench/nbd-load, built
  RUDE_CONTROL   tests/ctl/rude-control, built
  WORKDIR        folder for the files, on a tmpfs (default /dev/shm)
  THREADS        nbdkit -t (default 16)
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=bench/common.sh
. "$here/common.sh"

parts=${PARTS:-log resync partial reads control}
rounds=${ROUNDS:-5}
size_mb=${SIZE_MB:-256}
run_ms=${RUN_MS:-3000}
resync_mb=${RESYNC_MB:-3072}
outage_mb=${OUTAGE_MB:-10240}
outage_writes=${OUTAGE_WRITES:-400}
out=${OUT:-.}
check=${CHECK:-no}
threads=${THREADS:-16}
build=${BUILDDIR:-$here/../build}
dm_plugin=${DM_PLUGIN:-$build/plugin/.libs/nbdkit-dm-plugin.so}
dmnbd=${DMNBD:-$build/ctl/dmnbd}
nbd_load=${NBD_LOAD:-$build/bench/nbd-load}
rude_control=${RUDE_CONTROL:-$build/tests/ctl/rude-control}

while [ $# -gt 0 ]; do
  case "$1" in
    --check) check=yes; shift ;;
    --parts|--rounds|--size-mb|--run-ms|--resync-mb|--outage-mb|\
    --outage-writes|--out)
      [ $# -ge 2 ] || die "$1 needs a value (see --help)"
      case "$1" in
        --parts) parts=$2 ;;
        --rounds) rounds=$2 ;;
        --size-mb) size_mb=$2 ;;
        --run-ms) run_ms=$2 ;;
        --resync-mb) resync_mb=$2 ;;
        --outage-mb) outage_mb=$2 ;;
        --outage-writes) outage_writes=$2 ;;
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
numbers --resync-mb "$resync_mb"
numbers --outage-mb "$outage_mb"
numbers --outage-writes "$outage_writes"
numbers THREADS "$threads"
for p in $parts; do
  case "$p" in
    log|resync|partial|reads|control) ;;
    *) die "unknown part: $p (see --help)" ;;
  esac
done
for tool in nbdkit nbdinfo cmp awk fio getconf; do
  command -v "$tool" > /dev/null || die "$tool: not installed"
done
[ -f "$dm_plugin" ] || die "$dm_plugin: not there; run 'make' or set DM_PLUGIN"
for program in "$dmnbd" "$nbd_load" "$rude_control"; do
  [ -x "$program" ] || die "$program: not there; build it with" \
    "'make bench-mirror'"
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

csv=$out/bench-mirror.csv
region=$((2 << 20))
ramp_ms=$((run_ms / 4 + 1))

machine
echo "files on $(where "$work"); regions of $region bytes; nbdkit -t $threads"
echo "load: bench/nbd-load, 4 KiB random writes, queue depth 16, one" \
  "connection; $rounds rounds"
[ "$(stat -f -c %T "$work")" = tmpfs ] ||
  echo "warning: $work is not on a tmpfs: the disk is measured too"

# ----------------------------------------------------------------- status --

control () {
  "$dmnbd" -s "$work/volume.control" "$@"
}

# In one line.  3: the volume is degraded.
status () {
  { control --json status || [ $? -eq 3 ]; } | tr -d ' \n'
}

# of_resync MEMBER: a word or number of the status.
of_resync () {
  status |
    sed -n 's/.*"resync":{\([^}]*\)}.*/\1/p' | tr ',' '\n' |
    sed -n "s/^\"$1\":\"\\?\\([^\"]*\\)\"\\?\$/\\1/p"
}

equal_legs () {
  cmp "$1" "$2" >&2 || die "$3: the legs differ: figure void"
}

# seconds_since START
seconds_since () {
  awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }'
}

# -------------------------------------------------------------------- log --

# The same mirror without a folder, so that the log is in memory only, and
# with one.  All regions are dirty before measuring starts.
run_log () {
  local keys=()

  [ "$1" = core ] || keys=(meta="$work/meta")
  rm -rf "$work/meta"
  start_volume volume sync=none "${keys[@]}" "$work/a.img" "$work/b.img"
  load log "$1" volume --run-ms "$run_ms" --ramp-ms "$ramp_ms"
  stop volume
  equal_legs "$work/a.img" "$work/b.img" "log, $1"
}

# ----------------------------------------------------------------- resync --

# Clients' writes while all of the second leg is filled, and without that.
run_resync () {
  local sync=full before after began seconds

  [ "$1" = with ] || sync=none
  start_volume volume "sync=$sync" "$work/big-a.img" "$work/big-b.img"
  began=$EPOCHREALTIME
  before=$(of_resync done_bytes)
  load resync "$1" volume --run-ms "$run_ms" --ramp-ms "$ramp_ms"
  if [ "$1" = with ]; then
    seconds=$(seconds_since "$began")
    after=$(of_resync done_bytes)
    row resync with resync_mib_per_second "$(awk -v n=$((after - before)) \
      -v s="$seconds" 'BEGIN { printf "%.1f", n / 1048576 / s }')"
    [ "$(of_resync state)" = running ] ||
      echo "note: round $round: the resync was through before the run was;" \
        "try a larger --resync-mb"
    control wait sync > /dev/null
  fi
  stop volume
  equal_legs "$work/big-a.img" "$work/big-b.img" "resync, $1"
}

# ---------------------------------------------------------------- partial --

# regions_of FILE: how many have data in them.
regions_of () {
  nbdkit -U - file "$1" --run "nbdinfo --map \"\$uri\"" |
    awk -v region="$region" '
      $3 % 2 == 0 && $2 > 0 {
        for (r = int($1 / region); r <= int(($1 + $2 - 1) / region); r++)
          if (!(r in seen)) {
            seen[r] = 1
            n++
          }
      }
      END { print n + 0 }'
}

# Its log tells what is written to it.
start_leg () {
  rm -f "$work/leg.requests"
  start_nbdkit leg --filter=log file "$work/out-b.img" \
    logfile="$work/leg.requests"
}

# Bytes written or zeroed since start_leg, the numbers of which are
# hexadecimal.
bytes_to_leg () {
  local count sum=0

  while read -r count; do
    sum=$((sum + count))
  done < <(sed -n 's/.* \(Write\|Zero\) id=.* count=\(0x[0-9a-f]*\).*/\2/p' \
    "$work/leg.requests")
  echo "$sum"
}

# The server of a leg is killed, clients write, it comes back.
run_partial () {
  local began regions copied

  rm -rf "$work/meta" "$work/out-a.img" "$work/out-b.img"
  truncate -s "${outage_mb}M" "$work/out-a.img" "$work/out-b.img"
  start_leg
  start_volume volume sync=none meta="$work/meta" "$work/out-a.img" \
    "$(uri_of leg)"
  kill_server leg
  load partial outage volume --bytes 262144 --count "$outage_writes" \
    --seed $((round + 1))
  regions=$(regions_of "$work/out-a.img")
  start_leg
  began=$EPOCHREALTIME
  # The volume may have been quicker: then this is refused.
  control leg rejoin 1 > /dev/null 2>&1 || true
  control wait sync > /dev/null
  row partial back seconds "$(seconds_since "$began")"
  copied=$(bytes_to_leg)
  [ "$copied" -gt 0 ] || die "partial: nothing was copied: figure void"
  row partial back copied_per_touched "$(awk -v n="$copied" \
    -v t=$((regions * region)) 'BEGIN { printf "%.3f", n / t }')"
  row partial back regions "$regions"

  # All of it, for comparison.
  control leg fail 1 > /dev/null
  stop volume
  stop leg
  rm -rf "$work/meta"
  start_leg
  start_volume volume sync=full meta="$work/meta" "$work/out-a.img" \
    "$(uri_of leg)"
  began=$EPOCHREALTIME
  control resync start > /dev/null
  control wait sync > /dev/null
  row partial all seconds "$(seconds_since "$began")"
  stop volume
  stop leg
  equal_legs "$work/out-a.img" "$work/out-b.img" "partial"
  rm "$work/out-a.img" "$work/out-b.img"
}

# ------------------------------------------------------------------ reads --

# 256 Mbit/s, with hardly anything saved up for later.
start_limited () {
  start_nbdkit "$1" --filter=rate file "$work/$2.img" rate=256M \
    burstiness=0.05
}

run_reads () {
  local legs=("$(uri_of one)")

  [ "$1" = 1 ] || legs+=("$(uri_of two)")
  start_limited one a
  start_limited two b
  start_volume volume sync=none "${legs[@]}"
  load reads "$1" volume --read --bytes 65536 --run-ms "$run_ms" \
    --ramp-ms "$ramp_ms"
  stop volume
  stop one
  stop two
}

# ---------------------------------------------------------------- control --

# fio, which verifies what it has written, while a control socket gets a
# thousand lines a second, wrong ones and endless ones among them, half of them
# from who reads slowly or never: this server's, or that of another, which tells
# what the senders themselves take from the machine.
run_control () {
  local messages=$run_ms target=volume rude before line

  [ "$messages" -ge 300 ] || messages=300
  start_volume volume sync=none "$work/a.img" "$work/b.img"
  if [ "$1" = elsewhere ]; then
    target=other
    truncate -s 1M "$work/other.img"
    start_volume other sync=none "$work/other.img"
  fi
  if [ "$1" != quiet ]; then
    "$rude_control" "$work/$target.control" "$messages" 1000 $((round + 1)) \
      idle > "$work/rude.out" 2>&1 &
    rude=$!
  fi
  before=$(ticks_of volume)
  fio --name=control --ioengine=nbd --uri="$(uri_of volume)" --rw=randrw \
    --bs=4k --iodepth=16 --size="${size_mb}M" --time_based \
    --runtime="${run_ms}ms" --verify=crc32c --verify_backlog=64 \
    --verify_state_save=0 \
    --output-format=terse --terse-version=3 --output="$work/fio.out" \
    > "$work/fio.log" 2>&1 || {
      cat "$work/fio.log" "$work/volume.log" >&2
      die "control, $1: fio failed"
    }
  line=$(grep '^3;fio-' "$work/fio.out") || die "fio printed no result"
  [ "$(cut -d ';' -f 5 <<< "$line")" = 0 ] || die "fio reports an error: $line"
  row control "$1" per_second \
    "$(awk -F ';' '{ print $8 + $49 }' <<< "$line")"
  row control "$1" cpu_us_per_request "$(awk -F ';' \
    -v t=$(($(ticks_of volume) - before)) -v hz="$hertz" -v ms="$run_ms" \
    '{ printf "%.1f", t / hz * 1e9 / (($8 + $49) * ms + 1) }' <<< "$line")"
  if [ "$1" != quiet ]; then
    wait "$rude" || die "control: $(tail -n 1 "$work/rude.out"): figure void"
    row control "$1" status_p99_ms \
      "$(sed -n 's/^status: .*, 99 % within \(.*\) ms$/\1/p' "$work/rude.out")"
  fi
  [ "$1" != elsewhere ] || stop other
  stop volume
  equal_legs "$work/a.img" "$work/b.img" "control, $1"
}

# ----------------------------------------------------------------- rounds --

subjects_of () {
  case "$1" in
    log) echo core disk ;;
    resync) echo without with ;;
    partial) echo outage ;;
    reads) echo 1 2 ;;
    control) echo quiet rude elsewhere ;;
  esac
}

prepare () {
  case "$1" in
    log|reads|control)
      [ -e "$work/a.img" ] || random_file "$work/a.img" "$size_mb"
      cp "$work/a.img" "$work/b.img" ;;
    resync)
      random_file "$work/big-a.img" "$resync_mb"
      cp "$work/big-a.img" "$work/big-b.img" ;;
  esac
}

echo "round,part,subject,metric,value" > "$csv"
for part in $parts; do
  # shellcheck disable=SC2207
  order=($(subjects_of "$part"))
  prepare "$part"
  for ((round = 0; round <= rounds; round++)); do
    for ((i = 0; i < ${#order[@]}; i++)); do
      "run_$part" "${order[(i + round) % ${#order[@]}]}"
    done
  done
  rm -f "$work/big-a.img" "$work/big-b.img"
done

# ----------------------------------------------------------------- report --

cat > "$work/targets" <<'TARGETS'
log per_second disk core >= 0.9
log cpu_us_per_request core disk - -
resync per_second with without >= 0.7
resync resync_mib_per_second with - >= 1
partial copied_per_touched back - <= 1.2
partial seconds all back - -
reads per_second 2 1 >= 1.8
control per_second rude quiet >= 0.9
control per_second rude elsewhere >= 0.9
control status_p99_ms rude - <= 50
TARGETS
report
