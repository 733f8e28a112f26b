# Stores of all chunk sizes, at the brink of a metadata area, to and fro.
# SPDX-License-Identifier: BSD-3-Clause
#
# An area holds as many records as its chunk has 16 bytes.  The store of a
# snapshot gets one less, exactly so many, one more, and twice as many, and at
# each of these goes from us to the kernel, or from the kernel to us: whoever
# takes it must see the snapshot as it was, and then adds to it himself.  With
# DM_STRESS=long there are two volumes for each chunk size, so that both have
# filled it to each of the four.  What we have made, the kernel merges as
# well: its origin must then be the snapshot.  In the end it merges a part of it
# only, we open what is left and write, and it merges the rest.
#
# Chunks larger than 4 KiB have data here and there only, where they are
# compared.  What are holes we trim, but the kernel would copy.  So if
# chunks are larger than 16 KiB, we alone do the bulk, and the kernel comes
# for the last ones before the brink; and its merge meets an error, by the table
# of the origin, before it comes to the bulk.  With DM_STRESS=long it merges all
# of 64 KiB, too, but into nothing where nothing was, and two areas of 1 MiB are
# filled, which takes us 128 GiB of holes.

. /tests/lib.sh

compared_whole=4096
copied_whole=16384
merged_whole=$copied_whole
filled_twice=65536
if [ "$DM_STRESS" = long ]; then
  merged_whole=65536
  filled_twice=1048576
fi

# geometry CHUNK: all that follows from the size of a chunk.
geometry ()
{
  chunk=$1
  sectors=$((chunk / 512))
  epa=$((chunk / 16))
  # The last chunk is cut short.
  last=$((2 * epa + 9))
  size=$((last * chunk + 3072))
  # Two bulks, one for each area, which are trimmed.  Around them are
  # eight chunks, two, and six, that are written one by one.
  bulk=$((epa - 3))
  first_bulk=8
  second_bulk=$((first_bulk + bulk + 2))
  tail=$((second_bulk + bulk))
}

# agree FILE FILE WHAT: both are the same, all of them or where there are data.
agree ()
{
  local from count bytes

  if [ "$chunk" -le $compared_whole ]; then
    same "$1" "$2" "$3"
    return
  fi
  for from in 0 $((second_bulk - 3)) $((tail - 1)); do
    count=4
    [ $from -eq $((tail - 1)) ] && count=$((last + 1 - from))
    bytes=$((count * chunk))
    same_range "$1" "$2" $((from * chunk)) $bytes "$3"
  done
}

# ---- we ------------------------------------------------------------------

ours_takes ()
{
  serve a.img meta=vol.d chunk-size="$chunk" snapshot=snap
  attach /dev/nbd0 ""
  attach /dev/nbd1 snap
  volume=/dev/nbd0
  snapshot=/dev/nbd1
  agree $snapshot view.img "$made_by made $count exceptions, our view"
}

ours_gives_back ()
{
  agree "$snapshot" view.img "we made $count exceptions, our view"
  detach "$snapshot"
  detach "$volume"
  stop_server
  made_by=we
}

ours_fills ()
{
  blkdiscard -o $(($1 * chunk)) -l $((bulk * chunk)) $volume
}

# ---- the kernel ----------------------------------------------------------

kernel_is_right ()
{
  local expected

  agree "$snapshot" view.img \
        "$made_by made $count exceptions of $chunk bytes, the kernel's view"
  expected=$(store_status $count $sectors vol.d/snap.cow)
  [ "$kernel_status" = "$expected" ] ||
    fail "$made_by made $count exceptions of $chunk bytes," \
         "the kernel's status is $kernel_status, not $expected"
}

kernel_takes_it ()
{
  kernel_takes a.img vol.d/snap.cow "$sectors"
  volume=/dev/mapper/origin
  snapshot=/dev/mapper/snap
  kernel_is_right
}

kernel_gives_it_back ()
{
  kernel_asks snap
  made_by="the kernel"
  kernel_is_right
  kernel_gives_back
}

kernel_fills ()
{
  dd if=/dev/zero of="$volume" bs=1M seek=$(($1 * chunk)) \
     count=$((bulk * chunk)) iflag=count_bytes oflag=direct,seek_bytes \
     status=none
}

# origin_table LOOP GAP: the origin, whole, or with GAP where the bulks are.
origin_table ()
{
  if [ -z "$2" ]; then
    echo "0 $((size / 512)) linear $1 0"
    return
  fi
  echo "0 $((first_bulk * sectors)) linear $1 0"
  echo "$((first_bulk * sectors)) $((bulk * sectors)) $2"
  echo "$(((first_bulk + bulk) * sectors)) $((2 * sectors)) linear $1" \
       "$(((first_bulk + bulk) * sectors))"
  echo "$((second_bulk * sectors)) $((bulk * sectors)) $2"
  echo "$((tail * sectors)) $((size / 512 - tail * sectors)) linear $1" \
       "$((tail * sectors))"
}

# merge ORIGIN COW GAP: the kernel merges the store into the origin, as far
# as it can.  Leaves the status in $kernel_status.
merge ()
{
  local origin cow

  origin=$(losetup -f --show "$1")
  cow=$(losetup -f --show "$2")
  origin_table "$origin" "$3" > table
  dmsetup create base table
  kernel_merges /dev/mapper/base "$cow" "$sectors"
  dmsetup remove base
  losetup -D
}

# merges_whole ORIGIN COW: it must come to the end, and ORIGIN must be the
# snapshot.
merges_whole ()
{
  local gap=

  [ "$chunk" -le $copied_whole ] || gap=zero
  merge "$1" "$2" "$gap"
  [ "$kernel_status" != "Merge failed" ] ||
    fail "the kernel cannot merge $count exceptions of $chunk bytes"
  agree "$1" view.img \
        "merged by the kernel, $count exceptions of $chunk bytes"
}

# merges_in_part ORIGIN COW: it comes to a bulk; what it has merged by then are
# the chunks in $recent.
merges_in_part ()
{
  local c

  merge "$1" "$2" error
  [ "$kernel_status" = "Merge failed" ] ||
    fail "the kernel merged what it cannot: $kernel_status"
  for c in "${recent[@]}"; do
    same_range "$1" view.img $((c * chunk)) "$chunk" \
               "merged by the kernel, chunk $c of $chunk bytes"
  done
}

# A store of ours is merged by the kernel, all on copies.
kernel_merges_copy ()
{
  cp --sparse=auto a.img m.img
  cp --sparse=auto vol.d/snap.cow m.cow
  plant flip-before-merge flip_byte m.cow $((2 * chunk + 100))
  if [ "$chunk" -le $merged_whole ]; then
    merges_whole m.img m.cow
  else
    merges_in_part m.img m.cow
  fi
  rm m.img m.cow
}

# ---- both ----------------------------------------------------------------

# touch_one CHUNK [whole]: the next exception, made by a write to the volume.
touch_one ()
{
  if [ "${2:-}" = whole ]; then
    dd if=/tests/random of="$volume" bs="$chunk" count=1 seek="$1" \
       oflag=direct status=none
  else
    dd if=/tests/random of="$volume" bs=512 count=2 \
       seek=$(($1 * sectors + 1)) oflag=direct status=none
  fi
  recent+=("$1")
}

# fill FROM: chunks of a bulk are the next exceptions; done by $maker, or by
# us.  Whoever comes next has taken leg and store when it returns.
fill ()
{
  recent=()
  if [ "$maker" = kernel ] && [ "$chunk" -gt $copied_whole ]; then
    ours_takes
    ours_fills "$1"
    count=$((count + bulk))
    ours_gives_back
    kernel_takes_it
  else
    "${maker}"_takes_it
    "${maker}"_fills "$1"
    count=$((count + bulk))
  fi
}

ours_takes_it ()
{
  ours_takes
}

# hand_over: the one whose turn it was gives back, and it is the other's.
hand_over ()
{
  if [ "$maker" = kernel ]; then
    kernel_gives_it_back
    plant flip-kernels flip_byte vol.d/snap.cow $((epa * chunk + 100))
    maker=ours
  else
    ours_gives_back
    kernel_merges_copy
    plant flip-ours flip_byte vol.d/snap.cow $((2 * chunk + 100))
    maker=kernel
  fi
}

# to_and_fro MAKER: a volume, in which MAKER makes the first exceptions.
to_and_fro ()
{
  maker=$1
  made_by=nobody
  count=0
  say "chunks of $chunk bytes, $maker first"
  rm -rf a.img view.img vol.d
  if [ "$chunk" -le $compared_whole ]; then
    while cat /tests/random; do :; done 2>/dev/null | head -c $size > a.img
  else
    truncate -s $size a.img
    for c in 0 1 3 4 6 7 9 $((second_bulk - 2)) $((second_bulk + 1)) \
             $((tail + 1)) $((tail + 4)) $((last - 1)) $last; do
      dd if=/tests/random of=a.img bs=2k count=1 seek=$((c * chunk)) \
         skip=$((c % 4000)) oflag=seek_bytes conv=notrunc status=none
    done
  fi
  cp --sparse=auto a.img view.img
  serve a.img meta=vol.d chunk-size="$chunk" snapshot=snap
  stop_server
  if [ "$maker" = kernel ]; then
    # The kernel makes a store where there is nothing.
    cow_bytes=$(stat -c %s vol.d/snap.cow)
    truncate -s 0 vol.d/snap.cow
    truncate -s "$cow_bytes" vol.d/snap.cow
    kernel_takes_it
    kernel_gives_it_back
  fi

  fill $first_bulk
  touch_one 1
  touch_one $last
  count=$((count + 2))
  [ $count -eq $((epa - 1)) ] || fail "the test's bulks are wrong"
  hand_over

  # Exactly: by a write to the snapshot.
  ${maker}_takes_it
  put "$snapshot" view.img $(((tail + 1) * chunk + 1024)) 512
  recent+=($((tail + 1)))
  count=$((count + 1))
  hand_over

  ${maker}_takes_it
  touch_one 4
  count=$((count + 1))
  hand_over

  if [ "$chunk" -le $filled_twice ]; then
    fill $second_bulk
    touch_one 6 whole
    touch_one $((tail + 4))
    count=$((count + 2))
    [ $count -eq $((2 * epa)) ] || fail "the test's bulks are wrong"
    hand_over
  fi

  # Whoever came last: the kernel merges a part, and we go on from there.
  merges_in_part a.img vol.d/snap.cow
  made_by="the kernel merged a part of"
  ours_takes
  put $snapshot view.img $((3 * chunk)) 512
  touch_one 6
  touch_one 7
  ours_gives_back
  if [ "$chunk" -le $merged_whole ]; then
    merges_whole a.img vol.d/snap.cow
    made_by="the kernel merged all of"
    ours_takes
    agree $volume view.img "after a merge, the volume"
    ours_gives_back
  fi
}

firsts=([4096]="ours kernel" [16384]=kernel [65536]=ours [1048576]=ours)
for chunk in "${!firsts[@]}"; do
  geometry "$chunk"
  mkdir "$WORK/$chunk"
  cd "$WORK/$chunk"
  [ "$DM_STRESS" != long ] || firsts[chunk]="ours kernel"
  for first in ${firsts[chunk]}; do
    to_and_fro "$first"
  done
  cd "$WORK"
  rm -r "${chunk:?}"
done
