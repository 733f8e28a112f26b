# A chain of our snapshots is a stack of the kernel's.
# SPDX-License-Identifier: BSD-3-Clause
#
# Three snapshots with chunks of different sizes, the volume and the
# snapshots themselves written in between.  The kernel's snapshot targets are
# stacked in the order of the chain, the newest on the leg, and each older one
# on the next newer: each must be what our export was.  Then the middle one is
# removed, and the two that are left must not have changed.

. /tests/lib.sh

cd "$WORK"
mib=$((1024 * 1024))
size=$((3 * mib + 7 * 1024))
names=()
declare -A chunk_of=([one]=16384 [two]=4096 [three]=65536)

head -c $size /tests/random > a.img
cp a.img vol.model

# begin CHUNK-SIZE: serve, and attach the volume, and what snapshots there are.
begin ()
{
  local args=() i

  for name in "${names[@]}"; do
    args+=("snapshot=$name")
  done
  serve a.img meta=vol.d chunk-size="$1" "${args[@]}"
  attach /dev/nbd0 ""
  for i in "${!names[@]}"; do
    attach "/dev/nbd$((i + 1))" "${names[$i]}"
  done
}

# check: all exports are what the models say; then the server stops.
check ()
{
  local i

  same /dev/nbd0 vol.model "the volume"
  detach /dev/nbd0
  for i in "${!names[@]}"; do
    same "/dev/nbd$((i + 1))" "${names[$i]}.model" "snapshot ${names[$i]}"
    detach "/dev/nbd$((i + 1))"
  done
  stop_server
}

# stack: the kernel's snapshots, one on the other, read-only; each is what
# the models say.
stack ()
{
  local below i name cow

  [ ${#names[@]} -ne 2 ] ||
    plant flip-newest flip_byte vol.d/two.cow $((2 * 4096 + 100))
  below=$(losetup -r -f --show a.img)
  for ((i = ${#names[@]} - 1; i >= 0; i--)); do
    name=${names[$i]}
    cow=$(losetup -r -f --show "vol.d/$name.cow")
    dmsetup create --readonly "$name" --table \
      "0 $((size / 512)) snapshot $below $cow P $((chunk_of[$name] / 512))" ||
      fail "the kernel refuses the store of $name"
    kernel_asks "$name"
    below=/dev/mapper/$name
    same "$below" "$name.model" "the kernel's stack, snapshot $name"
  done
  for name in "${names[@]}"; do
    dmsetup remove "$name"
  done
  losetup -D
}

for name in one two three; do
  names+=("$name")
  cp vol.model "$name.model"
  begin "${chunk_of[$name]}"
  for ((i = 0; i < 6; i++)); do
    put /dev/nbd0 vol.model $(((i * 301 + ${#names[@]} * 403) * 1024)) \
        $((512 * (1 + 7 * i)))
  done
  put /dev/nbd0 vol.model 0 65536
  put /dev/nbd0 vol.model $((size - 512)) 512
  # Each snapshot that there is, where older ones have nothing, and where they
  # have something.
  for i in "${!names[@]}"; do
    put "/dev/nbd$((i + 1))" "${names[$i]}.model" \
        $(((2 * mib / 1024 + i * 200 + ${#names[@]} * 40) * 1024)) 33280
    put "/dev/nbd$((i + 1))" "${names[$i]}.model" 4096 1024
  done
  check
  stack
done

# The middle one goes, while it is served: what it had is in the oldest now.
serve a.img meta=vol.d control="$WORK/control"
attach /dev/nbd0 ""
dmnbd -s control snapshot remove two
dmnbd -s control wait idle --timeout 120 > wait.log
put /dev/nbd0 vol.model $((mib + 1024)) 40960
detach /dev/nbd0
stop_server
[ ! -e vol.d/two.cow ] || fail "the store of what was removed is there"
names=(one three)
stack
