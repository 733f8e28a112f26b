# Snapshots of file systems that are being written to.
# SPDX-License-Identifier: BSD-3-Clause
#
# An ext4, then an xfs, on a mirror, under a load of all that can be done to
# files.  Snapshots are taken meanwhile, without a word to the file system:
# each must be as after a crash, so it is mounted, which makes it whole, and
# then has no error.  One is taken while the file system is frozen, and must be
# what the leg was then.  Half of them are removed in any order, under the load
# still; the others must not change.  With DM_STRESS=long they are 100.

. /tests/lib.sh

cd "$WORK"
snapshots=4
[ "$DM_STRESS" != long ] || snapshots=100
between=64 # operations from one to the next
loads=()

# ---- the file systems ----------------------------------------------------

make_ext4 ()
{
  mkfs.ext4 -q -F "$1"
}

mount_ext4 ()
{
  mount -t ext4 "$1" "$2"
}

check_ext4 ()
{
  fsck_clean "$1"
}

make_xfs ()
{
  mkfs.xfs -q -f "$1"
}

mount_xfs ()
{
  # The one that is in the snapshot has the same name.
  mount -t xfs -o nouuid "$1" "$2"
}

check_xfs ()
{
  if ! xfs_repair -n "$1" > "$WORK/fsck.log" 2>&1; then
    cat "$WORK/fsck.log"
    fail "xfs_repair -n $1 is not content"
  fi
}

# ---- the load ------------------------------------------------------------

start_loads ()
{
  local n

  loads=()
  for n in 1 2; do
    mkdir vol/$n
    echo 0 > progress.$n
    fs-load vol/$n $n progress.$n &
    loads+=($!)
  done
}

# has_done COUNT: so many operations, both together.
has_done ()
{
  local n count sum=0

  for n in 1 2; do
    kill -0 "${loads[$((n - 1))]}" || fail "the load met an error"
    # It may be empty for a moment.
    read -r count < progress.$n || true
    sum=$((sum + ${count:-0}))
  done
  operations=$sum
  [ $sum -ge "$1" ]
}

more_load ()
{
  has_done 0 || true
  until_true "the load goes on" has_done $((operations + between))
}

stop_loads ()
{
  local pid

  kill "${loads[@]}"
  for pid in "${loads[@]}"; do
    wait "$pid" || fail "the load met an error"
  done
}

# ---- the snapshots -------------------------------------------------------

steer ()
{
  dmnbd -s control "$@" || fail "dmnbd $* failed"
}

# look_at NAME: it has no error.
look_at ()
{
  attach /dev/nbd1 "$1"
  mount_"$fs" /dev/nbd1 snap || fail "snapshot $1 of $fs does not mount"
  umount snap
  plant spoil-snapshot dd if=/tests/random of=/dev/nbd1 bs=64k seek=1 count=4 \
        conv=fsync status=none
  check_"$fs" /dev/nbd1
  detach /dev/nbd1
}

# take N: a snapshot while the load goes on.
take ()
{
  more_load
  if [ "$1" -ne 2 ]; then
    steer snapshot create "s$1"
    return
  fi
  fsfreeze --freeze vol
  steer snapshot create "s$1"
  cp --sparse=always a.img frozen.img
  fsfreeze --unfreeze vol
  more_load
  plant flip-frozen flip_byte frozen.img 65536
  dump "s$1" snap.img
  same snap.img frozen.img "the snapshot of the frozen $fs"
}

# live FS SIZE: all of it, for one kind.
live ()
{
  local n names=() kept=()

  fs=$1
  say "$fs"
  rm -rf a.img b.img vol.d
  truncate -s "$2" a.img b.img
  serve a.img b.img meta=vol.d sync=none control="$WORK/control"
  attach /dev/nbd0 ""
  make_"$fs" /dev/nbd0
  mount_"$fs" /dev/nbd0 vol
  start_loads
  for ((n = 1; n <= snapshots; n++)); do
    take $n
    look_at s$n
    names+=("s$n")
  done
  mapfile -t names < <(printf '%s\n' "${names[@]}" | shuf)
  say "they go in this order: ${names[*]}"
  for n in "${!names[@]}"; do
    if [ "$n" -ge $((snapshots / 2)) ]; then
      kept+=("${names[$n]}")
      continue
    fi
    steer snapshot remove "${names[$n]}"
    more_load
  done
  steer wait idle --timeout 120 > wait.log
  for n in "${kept[@]}"; do
    look_at "$n"
  done
  stop_loads
  say "$operations operations and more"
  umount vol
  check_"$fs" /dev/nbd0
  detach /dev/nbd0
  stop_server
  same a.img b.img "the legs with $fs"
}

mkdir vol snap
modprobe xfs
live ext4 64M
live xfs 320M
