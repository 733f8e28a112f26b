#!/usr/bin/env bash
# What goes on in the background is a job: seen, told by events, and cancelled.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

vol () { expect "$1" -s "$(control vol)" "${@:2}"; }

# job KIND STATE: there is one job, of that kind, in that state; its number is
# in $id.
job ()
{
  vol 0 --json job list
  test "$(value 0.kind) $(value 0.state)" = "$1 $2" ||
    fail "not one job, $1, $2: $(cat "$TMP/out")"
  ! value 1.job >/dev/null 2>&1 || fail "there are more: $(cat "$TMP/out")"
  id=$(value 0.job)
}

no_job ()
{
  vol 0 job list
  told '^nothing goes on$'
}

# A resync, which is paused when it is cancelled.
fill "$TMP/a.img" 16M 1
truncate -s 16M "$TMP/b.img"
start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" \
  region-size=64K resync-rate=1M
follow vol
no_job
vol 0 resync start
wait_event vol '"resync.started".*"job":1[,}]'
job resync running
test "$id" = 1
test "$(value 0.total_bytes)" = 16777216
test "$(value 0.cancellable)" = true
vol 0 job list
told '^ *1 +resync +running .* 16\.0 MiB'
vol 0 job cancel 1
told 'job 1: is cancelled'
wait_event vol '"resync.paused".*"job":1[,}]'
job resync paused
vol 0 --json job cancel 1
test "$(value changed)" = false
vol 0 resync rate 0
vol 0 resync resume
vol 0 wait sync
wait_event vol '"resync.finished".*"job":1[,}]'
same "$TMP/a.img" "$TMP/b.img"
no_job
vol 0 job cancel 1
told 'is over already'
vol 1 job cancel 2
told 'there is none of that number'
vol 1 job cancel 0
vol 2 job cancel
vol 2 job cancel first

# A scrub, which ends; the next one is another job.
vol 0 resync rate 1M
vol 0 scrub start
wait_event vol '"scrub.started".*"job":2[,}]'
job scrub running
vol 0 job cancel "$id"
wait_event vol '"scrub.finished".*"job":2[,}]'
no_job
vol 0 scrub start
wait_event vol '"scrub.started".*"job":3[,}]'
vol 0 job cancel 2
told 'is over already'
job scrub running
test "$id" = 3
stop_nbdkit vol
end_follow vol

# A roll-back must be ended, by the next server if this one stops.  It is held
# up by a store that cannot be read, which is tried again and again.
fill "$TMP/c.img" 4M 1
fail_legs read "$TMP/new.d/new.cow"
start_control vol "$TMP/c.img" meta="$TMP/new.d" snapshot=new
follow vol
client_open vol
ask 'write 0 256K 2'
touch "$TMP/trigger"
vol 0 snapshot rollback new
wait_event vol '"snapshot.merging".*"job":1[,}]'
job rollback running
test "$(value 0.snapshot)" = new
test "$(value 0.total_bytes)" = 262144
test "$(value 0.cancellable)" = false
vol 1 job cancel 1
told 'a roll-back cannot be cancelled'
client_close
stop_nbdkit vol
end_follow vol
rm "$TMP/trigger"
SERVER_ENV=()
start_control vol "$TMP/c.img" meta="$TMP/new.d"
follow vol
job rollback running
client_open vol
vol 0 wait idle
wait_event vol '"snapshot.merged".*"job":1[,}]'
no_job
client_close
stop_nbdkit vol
end_follow vol

# Nor does a snapshot come back that goes.  Before the first client comes
# nothing is at work on it.
if perl -MJSON::PP -MCompress::Zlib -e 1 2>/dev/null; then
  start_control vol "$TMP/c.img" meta="$TMP/new.d" snapshot=old snapshot=new
  stop_nbdkit vol
  perl -MJSON::PP -MCompress::Zlib -0777 -i -pe '
    my $json = JSON::PP->new->canonical;
    my $root = $json->decode ($_);
    delete $root->{checksum};
    for (@{ $root->{snapshots} }) {
      $_->{state} = "removing" if $_->{name} eq "new";
    }
    $root->{checksum} = crc32 ($json->encode ($root));
    $_ = $json->encode ($root) . "\n";' "$TMP/new.d/volume.json"
  start_control vol "$TMP/c.img" meta="$TMP/new.d"
  follow vol
  job remove running
  test "$(value 0.snapshot)" = new
  test "$(value 0.cancellable)" = false
  vol 1 job cancel 1
  told 'its removal cannot be cancelled'
  job remove running
  vol 1 wait idle --timeout 0
  told 'no client has connected'
  client_open vol
  vol 0 wait idle
  wait_event vol '"snapshot.gone".*"job":1[,}]'
  no_job
  vol 0 snapshot remove old
  vol 0 wait idle
  wait_event vol '"snapshot.removed".*"job":2[,}]'
  wait_event vol '"snapshot.gone".*"job":2[,}]'
  client_close
  stop_nbdkit vol
  end_follow vol
fi

# The copying before a roll-back to an older one can be cancelled, beside the
# call that waits for it.  It is held up by a leg that answers late.
fill "$TMP/slow.img" 8M 1
start_nbdkit slow --filter=delay file "$TMP/slow.img" delay-read=500ms
start_control vol "$(uri slow)" meta="$TMP/slow.d" leg-timeout=60 snapshot=old
follow vol
client_open vol
ask 'write 0 4M 2'
vol 0 snapshot create new
dmnbd -s "$(control vol)" snapshot rollback old >"$TMP/rollback.log" 2>&1 &
caller=$!
for ((i = 0; i < 3000; i++)); do
  vol 0 --json job list
  ! value 0.job >/dev/null 2>&1 || break
done
job rollback running
test "$(value 0.snapshot)" = old
test "$(value 0.total_bytes)" = 4194304
test "$(value 0.cancellable)" = true
vol 0 job cancel "$id"
told 'is cancelled'
status=0
wait "$caller" || status=$?
test "$status" -eq 1 || fail "the roll-back ended with $status"
grep -q 'snapshot old: the roll-back to it was cancelled' "$TMP/rollback.log" ||
  fail "it did not say so: $(<"$TMP/rollback.log")"
vol 0 wait idle
no_job
ask 'read 0 4M 2' 'read 4M 4M 1'
client_close
stop_nbdkit vol
end_follow vol
stop_nbdkit slow
