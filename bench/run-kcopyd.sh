#!/usr/bin/env bash
# Compares kcopyd with cp, dd, qemu-img convert and nbdcopy on the same files.
# SPDX-License-Identifier: BSD-3-Clause
#
# What is measured, how, and what would make it unfair: bench/README.md.
# "run-kcopyd.sh --help" tells the options.  It ends by itself.

set -euo pipefail

usage () {
  cat <<'USAGE'
usage: run-kcopyd.sh [--check] [--runs N] [--scenarios "NAME ..."]
                     [--subjects "NAME ..."] [--size-mb N] [--fill KIND]
                     [--kcopyd "OPTION ..."] [--out FOLDER]

  --check        exit with 1 when a target is missed (env CHECK=yes)
  --runs N       rounds, each measures everything once (default 5; env RUNS)
  --scenarios .. any of: tmpfs-new tmpfs-overwrite disk-new disk-overwrite
                 (default: all; env SCENARIOS)
  --subjects ..  any of: kcopyd kcopyd-buffered kcopyd-offload cp dd qemu-img
                 nbdcopy kcopyd-3 cp-3 tee-3 (default: all; env SUBJECTS)
  --size-mb N    size of the source in MiB (default 512; env SIZE_MB)
  --fill KIND    of the source: data (default), or half: every other MiB is
                 a hole (env FILL)
  --kcopyd ..    more options for bench/kcopyd (see its --help; env KCOPYD)
  --out FOLDER   for bench-kcopyd.csv and bench-kcopyd.svg (default . ;
                 env OUT)

Further environment:
  PROGRAM        bench/kcopyd, built
  WORKDIR        folder on a tmpfs (default /dev/shm)
  DISKDIR        folder on a disk (default /var/tmp)
USAGE
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=bench/common.sh
. "$here/common.sh"

runs=${RUNS:-5}
scenarios=${SCENARIOS:-tmpfs-new tmpfs-overwrite disk-new disk-overwrite}
subjects=${SUBJECTS:-kcopyd kcopyd-buffered kcopyd-offload cp dd qemu-img nbdcopy kcopyd-3 cp-3 tee-3}
size_mb=${SIZE_MB:-512}
fill=${FILL:-data}
kcopyd_options=${KCOPYD:-}
out=${OUT:-.}
check=${CHECK:-no}
program=${PROGRAM:-${BUILDDIR:-$here/../build}/bench/kcopyd}

while [ $# -gt 0 ]; do
  case "$1" in
    --check) check=yes; shift ;;
    --runs|--scenarios|--subjects|--size-mb|--fill|--kcopyd|--out)
      [ $# -ge 2 ] || die "$1 needs a value (see --help)"
      case "$1" in
        --runs) runs=$2 ;;
        --scenarios) scenarios=$2 ;;
        --subjects) subjects=$2 ;;
        --size-mb) size_mb=$2 ;;
        --fill) fill=$2 ;;
        --kcopyd) kcopyd_options=$2 ;;
        --out) out=$2 ;;
      esac
      shift 2 ;;
    -h|--help) usage; exit 0 ;;
    *) die "unknown option: $1 (see --help)" ;;
  esac
done

numbers --runs "$runs"
numbers --size-mb "$size_mb"
for s in $scenarios; do
  case "$s" in
    tmpfs-new|tmpfs-overwrite|disk-new|disk-overwrite) ;;
    *) die "unknown scenario: $s (see --help)" ;;
  esac
done
for s in $subjects; do
  case "$s" in
    kcopyd*) [ -x "$program" ] || die "$program: not there; build it with" \
               "'make bench-kcopyd' or set PROGRAM" ;;
    cp|dd|cp-3|tee-3) ;;
    qemu-img|nbdcopy) command -v "$s" > /dev/null ||
                        die "$s: not installed" ;;
    *) die "unknown subject: $s (see --help)" ;;
  esac
done
if [[ " $subjects " == *" nbdcopy "* ]]; then
  command -v nbdkit > /dev/null || die "nbdkit: not installed"
fi
read -ra kcopyd_words <<< "$kcopyd_options"

tmpfs_work=$(mktemp -d "${WORKDIR:-/dev/shm}/dmnbd-bench.XXXXXX")
disk_work=$(mktemp -d "${DISKDIR:-/var/tmp}/dmnbd-bench.XXXXXX")
trap 'rm -rf "$tmpfs_work" "$disk_work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The copies are made in other folders.
out=$(cd "$out" && pwd)
csv=$out/bench-kcopyd.csv
svg=$out/bench-kcopyd.svg

machine
echo "source: $size_mb MiB, $fill; tmpfs: $(where "$tmpfs_work");" \
  "disk: $(where "$disk_work")"
echo "$runs rounds; kcopyd ${kcopyd_options:-as it is}"
[ "$(stat -f -c %T "$tmpfs_work")" = tmpfs ] ||
  echo "warning: $tmpfs_work is not on a tmpfs"
[ "$(stat -f -c %T "$disk_work")" != tmpfs ] ||
  echo "warning: $disk_work is on a tmpfs: no disk is measured"

# -------------------------------------------------------------- subjects --

# These run in the folder of the scenario.  They copy source to a, or to a, b
# and c; in a scenario on the disk they end when that is durable.

copy_kcopyd () {
  local options=()

  [[ $scenario != *-overwrite ]] || options+=(--keep)
  [[ $scenario != disk-* ]] || options+=(--flush)
  [[ $scenario != disk-* || $1 = buffered ]] ||
    options+=(--direct --sub-job-kib 2048 --sub-jobs 2)
  [[ $scenario != disk-new || $1 = buffered ]] || options+=(--allocate)
  options+=("${kcopyd_words[@]}") # these have the last word
  [ "$1" != offload ] || options+=(--offload)
  shift
  "$program" "${options[@]}" source "$@"
}

copy_cp () {
  local to

  # cp always truncates.
  for to in "$@"; do
    cp source "$to"
  done
  [[ $scenario != disk-* ]] || sync "$@"
}

copy_dd () {
  local options=(bs=1M status=none) conv=()

  [[ $scenario != *-overwrite ]] || conv+=(notrunc)
  if [[ $scenario = disk-* ]]; then
    options+=(iflag=direct oflag=direct)
    conv+=(fsync)
  fi
  [ "${#conv[@]}" -eq 0 ] || options+=("conv=$(IFS=,; echo "${conv[*]}")")
  dd if=source of=a "${options[@]}"
}

copy_qemu_img () {
  local options=(-f raw -O raw)

  # A source without zeroes need not be searched for them.
  [ "$fill" != data ] || options+=(-S 0)
  [[ $scenario != *-overwrite ]] || options+=(-n)
  [[ $scenario != disk-* ]] || options+=(-t none -T none)
  qemu-img convert "${options[@]}" source a
}

copy_nbdcopy () {
  local options=()

  [ "$fill" != data ] || options+=(-S 0)
  [[ $scenario != disk-* ]] || options+=(--flush)
  # Like cp it truncates a file.
  nbdcopy "${options[@]}" source a
}

copy_tee () {
  tee a b < source > c
  [[ $scenario != disk-* ]] || sync a b c
}

copy () {
  case "$1" in
    kcopyd) copy_kcopyd direct a ;;
    kcopyd-3) copy_kcopyd direct a b c ;;
    kcopyd-buffered) copy_kcopyd buffered a ;;
    kcopyd-offload) copy_kcopyd offload a ;;
    cp) copy_cp a ;;
    cp-3) copy_cp a b c ;;
    dd) copy_dd ;;
    qemu-img) copy_qemu_img ;;
    nbdcopy) copy_nbdcopy ;;
    tee-3) copy_tee ;;
  esac
}

# ------------------------------------------------------------------ runs --

# Random bytes: nobody finds zeroes in them.
make_source () {
  local i

  if [ "$fill" = data ]; then
    head -c "${size_mb}M" /dev/urandom > "$1"
    return 0
  fi
  truncate -s "${size_mb}M" "$1"
  for ((i = 0; i < size_mb; i += 2)); do
    dd if=/dev/urandom of="$1" bs=1M count=1 seek="$i" conv=notrunc \
      status=none
  done
}

destinations_of () {
  case "$1" in
    *-3) echo a b c ;;
    *) echo a ;;
  esac
}

# The same state for each subject: no destination, or full ones of other
# bytes; on a disk nothing is dirty, nor in the page cache.
prepare () {
  local file

  rm -f a b c
  if [[ $scenario = *-overwrite ]]; then
    for file in $(destinations_of "$1"); do
      cp other "$file"
    done
  fi
  if [[ $scenario = disk-* ]]; then
    sync -f .
    for file in source a b c; do
      [ ! -e "$file" ] || dd if="$file" iflag=nocache count=0 status=none
    done
  fi
}

# measure SUBJECT: prints "seconds cpu_seconds".
measure () {
  local before after cpu file TIMEFORMAT='%3U %3S'

  before=$EPOCHREALTIME
  cpu=$({ time copy "$1" > "$tmpfs_work/log" 2>&1; } 2>&1) || {
    cat "$tmpfs_work/log" >&2
    die "$1 failed ($scenario)"
  }
  after=$EPOCHREALTIME
  for file in $(destinations_of "$1"); do
    cmp source "$file" >&2 ||
      die "$1: $file is not what was copied ($scenario): figure void"
  done
  awk '{ printf "%.4f %.3f\n", $2 - $1, $3 + $4 }' \
    <<< "$before $after $cpu"
}

# Does SUBJECT have anything of its own in this scenario?
is_of_scenario () {
  case "$1" in
    kcopyd-buffered) [[ $scenario = disk-* ]] ;;
    kcopyd-offload) [[ $scenario = tmpfs-* ]] ;;
  esac
}

echo "round,scenario,subject,seconds,cpu_seconds" > "$csv"
read -ra order <<< "$subjects"
# Round 0 is for warming up.
for scenario in $scenarios; do
  case "$scenario" in
    tmpfs-*) cd "$tmpfs_work" ;;
    disk-*) cd "$disk_work" ;;
  esac
  if [ ! -e source ]; then
    make_source source
    head -c "${size_mb}M" /dev/urandom > other
  fi
  for ((round = 0; round <= runs; round++)); do
    for ((i = 0; i < ${#order[@]}; i++)); do
      s=${order[(i + round) % ${#order[@]}]}
      is_of_scenario "$s" || continue
      prepare "$s"
      result=$(measure "$s")
      [ "$round" -eq 0 ] ||
        echo "$round,$scenario,$s,${result/ /,}" >> "$csv"
    done
  done
  rm -f a b c
  cd "$OLDPWD"
done

# ---------------------------------------------------------------- report --

data=$tmpfs_work/data
mkdir "$data"
awk -v data="$data" -v missed="$tmpfs_work/missed" -v mib="$size_mb" \
  -f "$here/kcopyd.awk" "$csv"

# A panel for each scenario: a bar for each subject.
chart () {
  local file panels=("$data"/*) columns=2 rows

  [ "${#panels[@]}" -gt 1 ] || columns=1
  rows=$(((${#panels[@]} + columns - 1) / columns))
  echo "set terminal svg size $((columns * 480)),$((rows * 320 + 40)) dynamic"
  echo "set output '$svg'"
  echo "set multiplot layout $rows,$columns title" \
    "'Copying $size_mb MiB: seconds, median, least and greatest'"
  echo "set yrange [0:*]"
  echo "set xtics rotate by -35"
  echo "set grid ytics"
  echo "set boxwidth 0.7"
  echo "set style fill solid 0.4"
  for file in "${panels[@]}"; do
    echo "set title '${file##*/}'"
    echo "plot '$file' using 0:2:xtic(1) with boxes notitle," \
      "'' using 0:2:3:4 with yerrorbars notitle linecolor black pointtype 0"
  done
  echo "unset multiplot"
}

echo
echo "each run: $csv"
rm -f "$svg"
chart > "$tmpfs_work/chart"
draw "$tmpfs_work/chart"
[ ! -s "$svg" ] || echo "chart: $svg"

missed=$(cat "$tmpfs_work/missed")
if [ "$missed" -gt 0 ]; then
  echo "$missed target(s) missed"
  [ "$check" = no ] || exit 1
fi
