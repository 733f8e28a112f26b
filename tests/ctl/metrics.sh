#!/usr/bin/env bash
# The numbers for Prometheus are well-formed, and count what happens.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"
need perl

check () { perl "$abs_top_srcdir/tests/ctl/check-metrics" <"$1"; }

# metric LINE: the output of dmnbd metrics has this line.
metric ()
{
  grep -Fxq -- "dmnbd_$1" "$TMP/out" ||
    fail "not among the metrics: dmnbd_$1: $(grep "^dmnbd_${1%%[ \{]*}" "$TMP/out")"
}

# A name that needs care, and a leg that will fail.
odd="$TMP/b \"\\.img"
fill "$TMP/a.img" 4M 1
cp "$TMP/a.img" "$odd"
fail_legs write "$odd"
start_control vol "$TMP/a.img" "$odd" meta="$TMP/vol.d" sync=none snapshot=monday
SERVER_ENV=()

client_open vol
ask 'write 0 64K 2'
ask 'write 1M 4K 2'
ask 'read 0 64K 2'
ask flush
expect 0 -s "$(control vol)" metrics
check "$TMP/out" >"$TMP/names" || fail "metrics are not as they should be"
metric 'volume_size_bytes 4194304'
metric 'volume_state{state="healthy"} 1'
metric 'volume_state{state="degraded"} 0'
metric 'leg_state{leg="1",state="insync"} 1'
metric "leg_info{leg=\"1\",spec=\"$TMP/b \\\"\\\\.img\",write_mostly=\"false\"} 1"
metric 'leg_writes_total{leg="1"} 2'
metric 'leg_written_bytes_total{leg="0"} 69632'
metric 'leg_errors_total{leg="1",op="write"} 0'
metric 'snapshots 1'
metric 'snapshot_chunks{snapshot="monday"} 2'
metric 'request_duration_seconds_count{op="write"} 2'
metric 'request_duration_seconds_count{op="read"} 1'
metric 'request_duration_seconds_count{op="flush"} 1'
metric 'request_duration_seconds_bucket{op="write",le="+Inf"} 2'
metric 'leg_duration_seconds_count{leg="0",op="write"} 2'
metric 'leg_duration_seconds_bucket{leg="1",op="write",le="+Inf"} 2'
metric 'leg_duration_seconds_count{leg="0",op="trim"} 0'
metric 'events_total{type="leg.state"} 0'
# Beside the one that asks, watch-events.pl.
metric 'control_clients 2'
cp "$TMP/out" "$TMP/metrics"

touch "$TMP/trigger"
ask 'write 0 4K 3'
client_close
expect 0 -s "$(control vol)" metrics --textfile "$TMP/dm.prom"
test ! -s "$TMP/out" || fail "something was printed"
cp "$TMP/dm.prom" "$TMP/out"
cp "$TMP/dm.prom" "$TMP/kept"
check "$TMP/out" >/dev/null
metric 'volume_state{state="degraded"} 1'
metric 'leg_state{leg="1",state="failed"} 1'
metric 'leg_errors_total{leg="1",op="write"} 1'
metric 'events_total{type="leg.state"} 1'
test "$(find "$TMP" -name 'dm.prom*' | wc -l)" -eq 1 ||
  fail "something is left behind"

# An old file stays as it is when there are no new numbers.
expect 1 -s "$(control vol)" metrics --textfile "$TMP/no/dm.prom"
told 'cannot be created: No such file'
mkdir "$TMP/folder"
mkfifo "$TMP/fifo"
expect 1 -s "$(control vol)" metrics --textfile "$TMP/fifo"
told 'fifo: is no regular file, and is not replaced'
test -p "$TMP/fifo" || fail "a FIFO was replaced"
expect 1 -s "$(control vol)" metrics --textfile "$TMP/folder"
told 'cannot be replaced'
stop_nbdkit vol
expect 1 -s "$(control vol)" metrics --textfile "$TMP/dm.prom"
cmp "$TMP/dm.prom" "$TMP/kept"

# The judge can fail.
planted ()
{
  sed "$2" "$TMP/metrics" >"$TMP/bad"
  ! cmp -s "$TMP/metrics" "$TMP/bad" || fail "nothing was planted: $2"
  ! check "$TMP/bad" >/dev/null 2>"$TMP/said" || fail "not noticed: $1"
  grep -Fq -- "$1" "$TMP/said" || fail "not told: $1: $(cat "$TMP/said")"
}
planted 'not a name of ours' 's/dmnbd_snapshots/dmnbd_Snapshots/'
planted 'not a sample' 's/^dmnbd_snapshots 1/dmnbd_snapshots  1/'
planted 'is no number' 's/^dmnbd_snapshots 1/dmnbd_snapshots -1/'
planted 'a counter ends in _total' 's/^# TYPE dmnbd_snapshots gauge/# TYPE dmnbd_snapshots counter/'
planted 'in 2 states' 's/state="failed"} 0/state="failed"} 1/'
planted 'the count is another' 's/_count{op="read"} 1/_count{op="read"} 2/'
planted 'a bucket sinks' 's/op="read",le="0.016384"} .*/op="read",le="0.016384"} 9/; s/op="read",le="8e-06"} 0/op="read",le="8e-06"} 9/'
planted 'no +Inf' '/op="zero",le="+Inf"/d'
planted 'twice' '/^dmnbd_snapshots 1/p'
planted 'is not below its help' '/^# HELP dmnbd_snapshots/d'
planted 'is no sentence' 's/^\(# HELP dmnbd_snapshots .*\)\.$/\1/'
