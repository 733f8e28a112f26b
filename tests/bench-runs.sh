#!/usr/bin/env bash
# The measurements run, and what they print and draw is whole.
# SPDX-License-Identifier: BSD-3-Clause
#
# Never judged by speed: the runs are far too short, and targets missed here
# mean nothing.

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/functions.sh"

need awk cmp

bench=$abs_top_srcdir/bench
programs=$abs_top_builddir/bench
mkdir "$TMP/shm" "$TMP/disk" "$TMP/out"
export WORKDIR=$TMP/shm DISKDIR=$TMP/disk OUT=$TMP/out
export BUILDDIR=$abs_top_builddir

# has LOG REGEX
has ()
{
  grep -Eq -- "$2" "$TMP/$1.log" || fail "$1 never said: $2"
}

# rows CSV FIELDS COUNT: so many lines below the names, each whole, and no
# figure that is not above 0.
rows ()
{
  awk -F, -v fields="$2" -v count="$3" '
    NF != fields || /,,|,$/ { print "not whole: " $0; bad = 1 }
    NR > 1 && $(NF - 1) <= 0 { print "no figure: " $0; bad = 1 }
    END {
      if (NR - 1 != count) {
        print NR - 1 " rows, not " count
        bad = 1
      }
      exit bad
    }' "$1" >&2 || fail "${1##*/} is not well-formed"
}

# drawn SVG: a whole chart, where there is gnuplot to draw it.
drawn ()
{
  if ! command -v gnuplot >/dev/null; then
    test ! -e "$1" || fail "there is a chart, and no gnuplot"
    return 0
  fi
  grep -q '<svg' "$1" || fail "${1##*/} is not a chart"
  grep -q "^</svg>" "$1" || fail "${1##*/} has no end"
  ! grep -q 'nan' "$1" || fail "${1##*/} has points that are nowhere"
}

# dm-io.

backings='tmpfs disk'
runs=2
if dd if=/dev/zero of="$TMP/disk/probe" bs=4096 count=1 oflag=direct \
  status=none 2>/dev/null; then
  backings+=' disk-direct'
  runs=3
fi
PROGRAM=$programs/dm-io SIZE_MB=1 "$bench/run-dm-io.sh" --rounds 2 \
  --run-ms 4 --regions '1 2 9' --threads '1 3' --backings "$backings" \
  --subjects 'dm-io pwrite dm-io-async' >"$TMP/dm-io.log" 2>&1 ||
  fail "run-dm-io.sh ended with status $?"
has dm-io '^disk, 4096 bytes, 3 threads: dm-io against pwrite'
has dm-io '^disk, 4096 bytes, 1 thread: dm-io-async against pwrite'
has dm-io '^ +9( +[0-9]+){6} +[0-9.]+ +[0-9.]+-[0-9.]+ +[0-9.]+ +[0-9.]+$'
has dm-io '^tmpfs, 4096 bytes, 1 thread .*target 0.95 +(met|MISSED)'
rows "$TMP/out/bench-dm-io.csv" 8 $((runs * 2 * 3 * 2 * 3))
drawn "$TMP/out/bench-dm-io.svg"

# One that leaves a file out is fast, and must not pass.
if "$programs/dm-io" --rounds 1 --run-ms 4 --regions 2 --file-mib 1 \
  --subjects wrong "$TMP/shm" >"$TMP/wrong.log" 2>&1; then
  fail "a file that was left out was not noticed"
fi
has wrong 'file 1, block [0-9]+: not what was written last: figure void'

# kcopyd.

subjects='kcopyd cp kcopyd-3 cp-3 tee-3'
for tool in qemu-img nbdcopy; do
  if command -v "$tool" >/dev/null; then
    subjects+=" $tool"
  fi
done
scenarios='tmpfs-new tmpfs-overwrite'
if [[ $backings = *direct* ]]; then
  subjects+=' kcopyd-buffered dd'
  scenarios+=' disk-overwrite'
fi
read -ra words <<<"$subjects"
runs=$((2 * ${#words[@]}))
if [[ $backings = *direct* ]]; then
  runs=$((3 * ${#words[@]} - 2)) # kcopyd-buffered is for the disk
fi
PROGRAM=$programs/kcopyd "$bench/run-kcopyd.sh" --runs 1 --size-mb 2 \
  --scenarios "$scenarios" --subjects "$subjects" >"$TMP/kcopyd.log" 2>&1 ||
  fail "run-kcopyd.sh ended with status $?"
has kcopyd '^tmpfs-overwrite: seconds for 2 MiB$'
has kcopyd '^kcopyd-3( +[0-9.]+){6}$'
has kcopyd '^tmpfs-new: [a-z-]+ \(the fastest\) / kcopyd .*>= 1.00 +(met|MISSED)'
has kcopyd '^tmpfs-new: kcopyd to three / to one .*<= 2.00 +(met|MISSED)'
rows "$TMP/out/bench-kcopyd.csv" 5 "$runs"
drawn "$TMP/out/bench-kcopyd.svg"

# With options, and holes.
PROGRAM=$programs/kcopyd "$bench/run-kcopyd.sh" --runs 1 --size-mb 3 \
  --scenarios tmpfs-overwrite --subjects 'kcopyd kcopyd-3' --fill half \
  --kcopyd '--sparse --offload --pages 64 --sub-job-kib 128 --sub-jobs 3' \
  >"$TMP/kcopyd-half.log" 2>&1 ||
  fail "run-kcopyd.sh with holes ended with status $?"
rows "$TMP/out/bench-kcopyd.csv" 5 2

# A copy that is wrong in a few bytes is no copy.
cat >"$TMP/wrong" <<END
#!/bin/sh
"$programs/kcopyd" "\$@"
printf XXXXXXXX | dd of=a bs=1 seek=70000 conv=notrunc status=none
END
chmod +x "$TMP/wrong"
if PROGRAM=$TMP/wrong "$bench/run-kcopyd.sh" --runs 1 --size-mb 1 \
  --scenarios tmpfs-new --subjects kcopyd >"$TMP/wrong.log" 2>&1; then
  fail "a copy that differs was not noticed"
fi
has wrong 'kcopyd: a is not what was copied \(tmpfs-new\): figure void'

# Volumes: not in builds with a sanitizer, which are tested by others.

measure_volumes ()
{
  SIZE_MB=2 "$bench/run-snapshot.sh" --parts 'first create load' --rounds 1 \
    --snapshots 2 --exceptions 5000 >"$TMP/snapshot.log" 2>&1 ||
    fail "run-snapshot.sh ended with status $?: $(tail -3 "$TMP/snapshot.log")"
  has snapshot '^persistent +per_second( +[0-9.]+){3}$'
  has snapshot '^live +held_p99_ms( +[0-9.]+){3}$'
  has snapshot '^create: held_p99_ms of live .*target <= 10 (met|MISSED)'
  has snapshot '^load: bytes_per_exception of random .*target <= 16 (met|MISSED)'
  whole "$TMP/out/bench-snapshot.csv"

  SIZE_MB=2 "$bench/run-mirror.sh" --parts 'log partial control' --rounds 1 \
    --run-ms 20 --outage-mb 32 --outage-writes 5 >"$TMP/mirror.log" 2>&1 ||
    fail "run-mirror.sh ended with status $?: $(tail -3 "$TMP/mirror.log")"
  has mirror '^disk +cpu_us_per_request( +[0-9.]+){3}$'
  has mirror '^log: per_second of disk / core .*target >= 0.9 (met|MISSED)'
  has mirror '^partial: copied_per_touched of back .*target <= 1.2 (met|MISSED)'
  has mirror '^control: per_second of rude / quiet .*target >= 0.9 (met|MISSED)'
  has mirror '^control: status_p99_ms of rude .*target <= 50 (met|MISSED)'
  whole "$TMP/out/bench-mirror.csv"
}

# whole CSV: a part, a subject, a name and a number in each line.
whole ()
{
  awk -F, 'NF != 5 || /,,/ || (NR > 1 && $5 !~ /^[0-9.]+$/) {
      print "not whole: " $0
      bad = 1
    }
    END { exit bad || NR < 10 }' "$1" >&2 || fail "${1##*/} is not well-formed"
}

if [ -x "$programs/nbd-load" ] && command -v nbdcopy >/dev/null &&
  ! is_sanitized "$DM_PLUGIN" asan tsan ubsan; then
  measure_volumes
fi

# What would be nonsense is refused.
for arguments in '--rounds 0' '--threads x' '--backings moon' '--moon'; do
  # shellcheck disable=SC2086
  if PROGRAM=$programs/dm-io "$bench/run-dm-io.sh" $arguments \
    >"$TMP/refused.log" 2>&1; then
    fail "run-dm-io.sh took $arguments"
  fi
done
for arguments in '--rounds 0' '--parts moon' '--moon'; do
  for script in run-mirror.sh run-snapshot.sh; do
    # shellcheck disable=SC2086
    if "$bench/$script" $arguments >"$TMP/refused.log" 2>&1; then
      fail "$script took $arguments"
    fi
  done
done
test -z "$(ls -A "$TMP/shm")" || fail "files were left behind"
