# What the scenarios share: serving, attaching, comparing, asking the kernel.
# SPDX-License-Identifier: BSD-3-Clause
#
# Sourced by each scenario, in the guest.  /tests/random holds 8 MiB of random
# bytes.  WORK is a folder for it alone, on tmpfs;
# FAULT names the fault to plant in this run, if any.  A scenario ends
# with status 0 only if every check held; whatever it left attached, mounted
# or running is taken down by its exit trap.

set -euo pipefail
set -o errtrace

server_pid=
server_count=0
attached=()
socket=$WORK/server.sock

# say MESSAGE...: for the log, with the guest's clock.
say ()
{
  local now

  read -r now _ < /proc/uptime
  echo "  $now $*"
}

# fail MESSAGE...: the scenario ends here.
fail ()
{
  echo "FAIL: $*"
  echo "$*" > "$WORK.reason"
  exit 1
}

# A command failed that nobody looked at.
unexpected ()
{
  local status=$1 line=$2 command=$3

  if [ ! -s "$WORK.reason" ]; then
    echo "line $line: status $status from: ${command%%$'\n'*}" \
         > "$WORK.reason"
    echo "FAIL: $(cat "$WORK.reason")"
  fi
}
trap 'unexpected $? $LINENO "$BASH_COMMAND"' ERR

# Take down everything, newest first.  Errors are shown, and change nothing:
# the scenario's own status has been decided.
take_down ()
{
  local mountpoint i pid

  trap - ERR
  trap '' TERM
  set +e
  cd /
  # Without a server, whoever uses its devices would wait for ever.
  if [ -z "$server_pid" ]; then
    for i in "${attached[@]}"; do
      nbd-client -d "$i" >/dev/null
    done
    attached=()
  fi
  for pid in $(jobs -p); do
    if [ "$pid" != "$server_pid" ]; then
      kill "$pid" && wait "$pid"
    fi
  done
  while read -r _ mountpoint _; do
    case $mountpoint in
      "$WORK"/*) umount "$mountpoint" ;;
    esac
  done < <(tac /proc/mounts)
  dmsetup remove_all
  for i in "${attached[@]}"; do
    nbd-client -d "$i" >/dev/null
  done
  losetup -D
  if [ -n "$server_pid" ]; then
    kill "$server_pid"
    wait "$server_pid"
  fi
}
trap take_down EXIT
trap 'fail "took too long"' TERM

# until_true WHAT COMMAND...: wait until COMMAND succeeds, at most 30 seconds.
# Only for conditions that nothing announces.
until_true ()
{
  local what=$1 try

  shift
  for ((try = 0; try < 600; try++)); do
    if "$@"; then
      return 0
    fi
    sleep 0.05
  done
  fail "gave up waiting until $what"
}

# plant NAME COMMAND...: run COMMAND only if the fault NAME is wanted.
plant ()
{
  local name=$1

  shift
  if [ "$FAULT" = "$name" ]; then
    say "planting fault $name: $*"
    "$@"
  fi
}

# flip_byte FILE OFFSET: change one byte of FILE for another.
flip_byte ()
{
  local old

  old=$(od -An -v -t u1 -j "$2" -N 1 "$1")
  # shellcheck disable=SC2059 # the format is the byte
  printf "\\x$(printf %x $((old ^ 255)))" |
    dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# put DEVICE MODEL OFFSET LENGTH: write the same random bytes (multiples of
# 512, at most 1 MiB) to both, straight through the page cache of the device.
random_used=0
put ()
{
  # Other bytes than any write before, and than a first content of random.
  random_used=$(((random_used + 512 * 37) % (7 * 1024 * 1024)))
  dd if=/tests/random of="$1" bs="$4" count=1 seek="$3" skip=$random_used \
     iflag=skip_bytes oflag=direct,seek_bytes conv=notrunc status=none
  dd if=/tests/random of="$2" bs="$4" count=1 seek="$3" skip=$random_used \
     iflag=skip_bytes oflag=seek_bytes conv=notrunc status=none
}

# same FILE FILE WHAT: both are equal, byte for byte.
same ()
{
  local difference

  if ! difference=$(cmp "$1" "$2" 2>&1); then
    fail "$3: ${difference:-$1 and $2 differ}"
  fi
}

# same_range FILE FILE OFFSET LENGTH WHAT: both are equal there.
same_range ()
{
  local difference

  if ! difference=$(cmp -i "$3" -n "$4" "$1" "$2" 2>&1); then
    fail "$5: from $3 on, ${difference:-$1 and $2 differ}"
  fi
}

# differ FILE FILE WHAT: they are not equal; keeps "same" from being empty.
differ ()
{
  if cmp -s "$1" "$2"; then
    fail "$3: $1 and $2 are equal"
  fi
}

# ---- the server ----------------------------------------------------------

# serve ARGUMENT...: start nbdkit with our plugin; ready when it returns.
serve ()
{
  local -a preload=()

  if [ -f /etc/plugin-preload ]; then
    # What nbdkit itself has not freed at its end is not looked at here.
    preload=(env "LD_PRELOAD=$(cat /etc/plugin-preload)"
             ASAN_OPTIONS=detect_leaks=0)
  fi
  server_count=$((server_count + 1))
  rm -f "$socket" "$WORK/server.pid"
  say "nbdkit dm $*"
  "${preload[@]}" nbdkit -f -U "$socket" -P "$WORK/server.pid" dm "$@" &
  server_pid=$!
  until_true "nbdkit is ready" server_ready
}

# nbdkit writes its process id when it is ready to be connected to.
server_ready ()
{
  if [ -s "$WORK/server.pid" ]; then
    return 0
  fi
  if ! kill -0 "$server_pid" 2>/dev/null; then
    server_pid=
    fail "nbdkit did not start"
  fi
  return 1
}

# An orderly stop.
stop_server ()
{
  local pid=$server_pid status=0

  server_pid=
  kill "$pid"
  wait "$pid" || status=$?
  if [ "$status" -ne 0 ]; then
    fail "nbdkit ended with status $status"
  fi
}

# The server is killed, and comes to no end of its own.
kill_server ()
{
  local pid=$server_pid

  server_pid=
  kill -KILL "$pid"
  wait "$pid" || true
}

# uri [EXPORT]: how libnbd's tools name the server.
uri ()
{
  echo "nbd+unix:///${1:-}?socket=$socket"
}

# dump EXPORT FILE: the whole of an export, not through this kernel.
dump ()
{
  nbdcopy "$(uri "$1")" "$2"
}

# The volume whose memory is in folder $1 has no leg left to recover.
in_sync ()
{
  grep -q '"state": *"insync"' "$1/volume.json" &&
    ! grep -q '"state": *"recovering"' "$1/volume.json"
}

# ---- the kernel's nbd client ---------------------------------------------

# attach DEVICE EXPORT [OPTION...]: the kernel opens EXPORT as DEVICE.
attach ()
{
  local device=$1 export=$2

  shift 2
  nbd-client -unix "$socket" "$device" -N "$export" "$@" >/dev/null
  attached+=("$device")
  until_true "$device has a size" has_size "$device"
}

has_size ()
{
  local sectors

  read -r sectors < "/sys/block/${1##*/}/size"
  [ "$sectors" -gt 0 ]
}

# detach DEVICE: write back what is cached, and let go.
detach ()
{
  blockdev --flushbufs "$1"
  let_go "$1"
}

# let_go DEVICE: without a word to the device.
let_go ()
{
  local device=$1 i

  nbd-client -d "$device" >/dev/null
  until_true "$device is free" is_free "$device"
  for i in "${!attached[@]}"; do
    if [ "${attached[$i]}" = "$device" ]; then
      unset "attached[$i]"
    fi
  done
}

is_free ()
{
  [ ! -e "/sys/block/${1##*/}/pid" ]
}

# e2fsck finds nothing to mend on device or image $1.
fsck_clean ()
{
  if ! e2fsck -fn "$1" > "$WORK/fsck.log" 2>&1; then
    cat "$WORK/fsck.log"
    fail "e2fsck -fn $1 is not content"
  fi
}

# ---- the kernel's reader of our store ------------------------------------

# kernel_open ORIGIN COW CHUNK-SECTORS [SECTORS]: /dev/mapper/view becomes the
# kernel's dm-snapshot on the two images.  All of it is read-only, so that the
# kernel cannot mend what it reads.
kernel_open ()
{
  local origin cow sectors

  origin=$(losetup -r -f --show "$1")
  cow=$(losetup -r -f --show "$2")
  sectors=${4:-$(blockdev --getsz "$origin")}
  say "kernel: 0 $sectors snapshot $origin $cow P $3"
  dmsetup create --readonly view \
          --table "0 $sectors snapshot $origin $cow P $3" ||
    fail "the kernel refuses the store $2"
}

kernel_close ()
{
  dmsetup remove view
  losetup -D
}

# kernel_agrees ORIGIN COW CHUNK-SECTORS VIEW [SECTORS]: through the kernel,
# the store gives VIEW.  Leaves the kernel's status in $kernel_status and the
# chunk size it found in $kernel_chunk.
kernel_agrees ()
{
  kernel_open "$1" "$2" "$3" "${5:-}"
  same /dev/mapper/view "$4" "the kernel's view of $2"
  kernel_status=$(dmsetup status view)
  kernel_chunk=$(dmsetup table view)
  kernel_status=${kernel_status##*snapshot }
  kernel_chunk=${kernel_chunk##* P }
  say "kernel: status $kernel_status, chunk $kernel_chunk"
  kernel_close
}

# ---- the kernel goes on with what is ours --------------------------------

# kernel_takes ORIGIN COW CHUNK-SECTORS [OPTION]: /dev/mapper/origin and
# /dev/mapper/snap become the kernel's, on the two images, to read and write.
# OPTION is P, or PO.  Leaves the status in $kernel_status.
kernel_takes ()
{
  local origin cow sectors

  origin=$(losetup -f --show "$1")
  cow=$(losetup -f --show "$2")
  sectors=$(blockdev --getsz "$origin")
  say "kernel: takes $1 and $2, with chunks of $3"
  dmsetup create origin --table "0 $sectors snapshot-origin $origin"
  dmsetup suspend origin
  dmsetup create snap \
          --table "0 $sectors snapshot $origin $cow ${4:-P} $3" ||
    fail "the kernel refuses the store $2"
  dmsetup resume origin
  kernel_asks snap
}

# kernel_asks DEVICE: leaves its status in $kernel_status.
kernel_asks ()
{
  kernel_status=$(dmsetup status "$1")
  kernel_status=${kernel_status#* * * }
  say "kernel: $1: status $kernel_status"
}

kernel_gives_back ()
{
  dmsetup remove snap
  dmsetup remove origin
  losetup -D
}

# kernel_merges ORIGIN COW CHUNK-SECTORS: the kernel merges the store on device
# COW into device ORIGIN, as far as it can.  Leaves the status in
# $kernel_status.
kernel_merges ()
{
  dmsetup create merge --table \
    "0 $(blockdev --getsz "$1") snapshot-merge $1 $2 P $3"
  until_true "the kernel has merged" has_merged
  dmsetup remove merge
  say "kernel: merged: $kernel_status"
}

# The kernel is through, or has given up.
has_merged ()
{
  kernel_status=$(dmsetup status merge)
  kernel_status=${kernel_status#* * * }
  case $kernel_status in
    "Merge failed") return 0 ;;
    # All that is allocated is metadata.
    *) [ "${kernel_status%%/*}" = "${kernel_status##* }" ] ;;
  esac
}

# store_status EXCEPTIONS CHUNK-SECTORS COW: the status line which the kernel
# must show for a store with so many exceptions, allocated in order.
store_status ()
{
  local e=$1 chunk=$2 per_area=$(($2 * 512 / 16))

  # A header; then areas, each followed by as many chunks as it has records.
  # The area after a full one is there, and empty.
  echo "$(((2 + e + e / per_area) * chunk))/$(($(stat -c %s "$3") / 512))" \
       "$(((e / per_area + 2) * chunk))"
}
