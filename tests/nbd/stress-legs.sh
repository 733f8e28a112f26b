#!/usr/bin/env bash
# Legs behind servers that die, hang and fail, again and again under a verified
# load on two connections: the client never notices, and the legs end equal.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

# DM_STRESS=long makes 50 rounds; ROUNDS and SEED override.
if test "${DM_STRESS:-short}" = long; then
  : "${ROUNDS:=50}" "${TEST_TIMEOUT:=900}"
else
  : "${ROUNDS:=3}" "${TEST_TIMEOUT:=300}"
fi
export TEST_TIMEOUT
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
need fio
fio --enghelp=nbd > "$TMP/engines" 2>&1 || {
  echo "fio cannot speak NBD" >&2
  exit 77
}

: "${SEED:=$((RANDOM * 32768 + RANDOM))}"
RANDOM=$SEED
echo "SEED=$SEED ROUNDS=$ROUNDS"
meta=$TMP/vol.d
name=([0]=leg_a [1]=leg_b)

# The long form has one of them behind TLS.
tls=()
uri_a=$(uri leg_a)
if test "${DM_STRESS:-short}" = long; then
  printf 'leg:%064d\n' 1 > "$TMP/keys.psk"
  tls=(--tls=require --tls-psk="$TMP/keys.psk")
  uri_a="nbds+unix://leg@/?socket=$(sock leg_a)&tls-psk-file=$TMP/keys.psk"
fi

# serve LEG: its server; it fails writes while $TMP/LEG.fails exists.
serve ()
{
  local options=(--filter=error)

  test "$1" != 0 || options+=("${tls[@]}")
  start_nbdkit "${name[$1]}" "${options[@]}" file "$TMP/$1.img" \
    error-pwrite-rate=50% error-file="$TMP/$1.fails"
}

# load: verified writes and reads on two connections, each in its own part.
load ()
{
  fio --name=load --ioengine=nbd --uri="$(uri vol)" --rw=randwrite --bs=4k \
    --iodepth=8 --numjobs=2 --size=6M --offset_increment=6M --io_size=12M \
    --verify=crc32c --verify_backlog=64 --verify_fatal=1 \
    --verify_state_save=0 --randseed=$RANDOM --group_reporting \
    > "$TMP/fio.log" 2>&1
}

# notice LEG: something is written until it is found out what has happened, or
# was before: on a busy machine a leg may have been too slow by itself.
notice ()
{
  until test "$(dm_manifest "$meta" "legs.$1.state")" = failed; do
    ask write $((13000000 + RANDOM)) 5000 "$((RANDOM % 255 + 1))"
  done
}

hurt ()
{
  local leg=$1 pid

  # A server that hangs takes the time-out, so not many do.
  case $((RANDOM % 8)) in
    0)
      pid=$(pid "${name[leg]}")
      stop_process "$pid"
      notice "$leg"
      kill -CONT "$pid"
      ;;
    [1-4])
      kill_nbdkit "${name[leg]}"
      notice "$leg"
      serve "$leg"
      ;;
    *)
      touch "$TMP/$leg.fails"
      notice "$leg"
      rm "$TMP/$leg.fails"
      ;;
  esac
}

fill "$TMP/0.img" 16M "$SEED"
cp "$TMP/0.img" "$TMP/1.img"
serve 0
serve 1
# While one leg is hurt the other is the only one: the time-out must be one that
# a busy machine does not reach.
start_nbdkit vol "$DM_PLUGIN" "$uri_a" "$(uri leg_b)" meta="$meta" \
  region-size=256K read-policy=round-robin leg-timeout=10
client_open vol
ask write 13000000 5000 1
wait_insync "$meta"

for ((round = 0; round < ROUNDS; round++)); do
  load &
  job=$!
  hurt $((RANDOM % 2))
  wait_insync "$meta"
  wait "$job" || {
    cat "$TMP/fio.log" >&2
    fail "fio had an error in round $round (SEED=$SEED)"
  }
  # The next round may hurt the other one.
  wait_insync "$meta"
done

ask flush
client_close
wait_insync "$meta"
stop_worn_nbdkit vol
test "$(dm_manifest "$meta" clean)" = true || fail "not clean at the end"
stop_nbdkit leg_a
stop_nbdkit leg_b
same "$TMP/0.img" "$TMP/1.img"
