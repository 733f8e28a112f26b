#!/usr/bin/env bash
# A leg whose disk is full says so wherever it is looked at, and what to do.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

need prlimit
vol () { expect "$1" -s "$(control vol)" "${@:2}"; }

# fails_because WHAT REMEDY: in the event, the status for both kinds of readers,
# the log, and what is remembered.
fails_because ()
{
  wait_event vol "\"leg\":1.*\"state\":\"failed\".*\"reason\":\"$1; $2\""
  vol 3 --json status
  [[ $(value legs.1.reason) =~ ^$1\;\ $2$ ]] || fail "$(value legs.1.reason)"
  vol 3 status
  told "$1; $2"
  said vol "leg 1 \\(.*b\\.img\\): $1; leg failed, volume degraded; $2"
  [[ $(dm_manifest "$TMP/vol.d" legs.1.reason) =~ ^$1\;\ $2$ ]] ||
    fail "remembered: $(dm_manifest "$TMP/vol.d" legs.1.reason)"
}

# begin: the second leg is to be filled.
begin ()
{
  rm -rf "$TMP/vol.d" "$TMP/b.img" "$TMP/vol.log"
  fill "$TMP/a.img" 4M 1
  truncate -s 4M "$TMP/b.img"
  start_control vol "$TMP/a.img" "$TMP/b.img" meta="$TMP/vol.d" region-size=64K
  follow vol
  vol 0 resync start
}

# There is room again.
mend ()
{
  vol 0 leg rejoin 1
  vol 0 wait sync --timeout 120
  same "$TMP/a.img" "$TMP/b.img"
}

end ()
{
  stop_nbdkit vol
  end_follow vol
}

remedy='make room there, then rejoin it'
fail_legs write,punch "$TMP/b.img"
while read -r number text remedy; do
  SERVER_ENV+=(FAIL_ERRNO="$number")
  touch "$TMP/trigger"
  begin
  fails_because "resync write of 65536 bytes at [0-9]+ failed: ${text//_/ }" \
    "$remedy"
  rm "$TMP/trigger"
  mend
  printf X | dd of="$TMP/b.img" bs=1 seek=100000 conv=notrunc status=none
  touch "$TMP/trigger"
  vol 0 scrub start --repair
  fails_because "rewriting of 512 bytes at 99840 failed: ${text//_/ }" \
    "$remedy"
  rm "$TMP/trigger"
  mend
  end
done <<'EOF'
28 No_space_left_on_device make room there, then rejoin it
122 Disk_quota_exceeded raise the quota or make room there, then rejoin it
EOF

# A limit on the size of files, of the server itself, and no other fault.
SERVER_ENV=(prlimit --fsize=2097152:)
begin
fails_because \
  'resync write of 65536 bytes at [0-9]+ failed: File too large' \
  "raise the server's limit on the size of files \\(ulimit -f\\), then rejoin it"
prlimit --pid "$(pid vol)" --fsize=unlimited:
mend
end
