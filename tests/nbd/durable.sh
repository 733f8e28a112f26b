#!/usr/bin/env bash
# FUA and flush reach the files of all legs before the reply.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
need strace

fill "$TMP/a.img" 1M 1
cp "$TMP/a.img" "$TMP/b.img"
cat >"$TMP/traced" <<END
#!/usr/bin/env bash
exec strace -f -y -o "$TMP/trace" -e signal=none \
  -e trace=fdatasync,fsync,pwritev2,pwrite64,pwritev,sync_file_range,fallocate \
  "$NBDKIT" "\$@"
END
chmod +x "$TMP/traced"

# count LEG: how often a file was made durable.
count ()
{
  grep -Ec "(fdatasync|fsync)\([0-9]+<[^>]*/$1>|pwritev2\([0-9]+<[^>]*/$1>.*RWF_D?SYNC" \
    "$TMP/trace" || :
}

# after COMMAND...: serve, do them, kill: no orderly stop adds a flush.
after ()
{
  rm -f "$TMP/trace"
  NBDKIT=$TMP/traced start_nbdkit vol "$DM_PLUGIN" "$TMP/a.img" "$TMP/b.img" \
    sync=none
  "$(helper nbd-io)" "$(uri vol)" "$@"
  kill_nbdkit vol
}

after 'read 0 4096 any'
idle_a=$(count a.img) idle_b=$(count b.img)

after 'write 0 4096 2' 'zero 8192 4096' 'trim 16384 4096'
test "$(count a.img) $(count b.img)" = "$idle_a $idle_b" ||
  fail "a plain write is flushed: this test could not fail"

for command in 'write 0 4096 2 fua' 'write 1 1 3 fua' 'zero 0 4096 fua' \
               'zero 5 1000 nohole fua' 'trim 0 8192 fua' 'trim 7 100 fua' flush
do
  after 'write 12288 512 4' "$command"
  test "$(count a.img)" -gt "$idle_a" || fail "$command: leg 0 was not flushed"
  test "$(count b.img)" -gt "$idle_b" || fail "$command: leg 1 was not flushed"
done
