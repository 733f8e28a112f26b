# The kernel's dm-mirror and we go by each other's dirty log.
# SPDX-License-Identifier: BSD-3-Clause
#
# A server of ours is killed after writes: the kernel must count as many
# regions in sync as our log has clean, and copy those and only those that are
# dirty.  Then the kernel's mirror is caught in the middle of writes, and we
# must copy what its log has dirty, and nothing else.  And the logs that LVM
# makes, and those of version 1, count the same here and there.
#
# What is copied shows because the second leg is spoiled everywhere before.

. /tests/lib.sh

cd "$WORK"
region=8192
regions=70 # more than a word of the log has
size=$(((regions - 1) * region + 3072))
sectors=$((size / 512))

# dirty_in LOG: the numbers of the regions that are dirty there, as we read it.
dirty_in ()
{
  local first count r

  dmnbd log dump "$1" > dump || fail "dmnbd cannot read the log $1"
  while read -r first count; do
    [ "$first" != "#" ] || continue
    # LVM's logs have as many bits as there is room for.
    for ((r = first; r < first + count && r < regions; r++)); do
      echo "$r"
    done
  done < dump
}

# sums FILE: a line for each region.
sums ()
{
  rm -f part.*
  split -b $region -a 3 "$1" part.
  md5sum part.* | cut -d ' ' -f 1
}

# copied WHAT REGION...: exactly these are the same on both legs.  Undoes what
# was spoiled.
copied ()
{
  local what=$1 equal

  shift
  sums a.img > a.sums
  sums b.img > b.sums
  equal=$(paste a.sums b.sums |
            awk '$1 == $2 { printf " %d", NR - 1 }')
  [ "$equal" = "${*/#/ }" ] || [ "$equal" = " $*" ] ||
    fail "$what: the regions that were copied are$equal, not $*"
  cat a.img > b.img
}

# spoil: the second leg differs from the first one in every region.
spoil ()
{
  tr '\000-\377' '\001-\377\000' < a.img > spoiled
  cat spoiled > b.img
}

# ---- the kernel ----------------------------------------------------------

# counts LOG WHAT: how many regions the kernel takes to be in sync is how many
# are clean for us.  It cannot mend that meanwhile: its second leg fails.
counts ()
{
  local dirty log leg expected

  dirty=$(dirty_in "$1" | wc -l)
  expected=$((regions - dirty))/$regions
  cp "$1" counted.log
  plant forget-region flip_byte counted.log $((1024 + 2))
  log=$(losetup -f --show counted.log)
  leg=$(losetup -r -f --show a.img)
  dmsetup create bad --table "0 $sectors error"
  dmsetup create mirror --table "0 $sectors mirror disk 2 $log \
    $((region / 512)) 2 $leg 0 /dev/mapper/bad 0 1 handle_errors"
  kernel_asks mirror
  dmsetup remove mirror
  dmsetup remove bad
  losetup -D
  case $kernel_status in
    *" $expected "*) ;;
    *) fail "$2: the kernel counts $kernel_status, not $expected" ;;
  esac
}

# kernel_mirror: /dev/mapper/mirror is the kernel's, of our legs and our log.
kernel_mirror ()
{
  local log leg

  log=$(losetup -f --show vol.d/dirty.log)
  leg=$(losetup -f --show a.img)
  dmsetup create legb --table "0 $sectors linear $(losetup -f --show b.img) 0"
  dmsetup create mirror --table "0 $sectors mirror disk 2 $log \
    $((region / 512)) 2 $leg 0 /dev/mapper/legb 0"
}

all_in_sync ()
{
  case $(dmsetup status mirror) in
    *" $regions/$regions "*) ;;
    *) return 1 ;;
  esac
}

kernel_ends ()
{
  dmsetup remove mirror
  dmsetup remove legb
  losetup -D
}

# ---- we ------------------------------------------------------------------

begin ()
{
  serve a.img b.img meta=vol.d region-size=$region control="$WORK/control" \
        "$@"
}

# wait_sync WHAT
wait_sync ()
{
  dmnbd -s "$WORK/control" wait sync --timeout 120 > wait.log ||
    fail "$1: the legs do not come in sync"
}

# we_copy WHAT REGION...: after the start these and no others are copied.
we_copy ()
{
  spoil
  begin
  # The resync begins with the first who may write.
  attach /dev/nbd0 ""
  wait_sync "$1"
  kill_server
  let_go /dev/nbd0
  copied "$@"
}

# written_and_killed REGION...: the server is killed after writes to these,
# before it finds the time to clean them.
written_and_killed ()
{
  local r

  for r; do
    dd if=/tests/random of=/dev/nbd0 bs=512 count=3 \
       seek=$((r * region / 512 + 1)) skip="$r" oflag=direct status=none
  done
  kill_server
  let_go /dev/nbd0
}

# ---- the scenario --------------------------------------------------------

say "our log, of a server that was killed"
head -c $size /tests/random > a.img
cp a.img b.img
ours=(0 1 17 63 64 69)
begin sync=none
attach /dev/nbd0 ""
for try in 1 2 3 4 5; do
  written_and_killed "${ours[@]}"
  mapfile -t dirty < <(dirty_in vol.d/dirty.log)
  # On a very slow machine it may have found the time.
  [ "${dirty[*]}" != "${ours[*]}" ] || break
  say "dirty are ${dirty[*]}; once more"
  begin
  attach /dev/nbd0 ""
  wait_sync "again"
done
[ "${dirty[*]}" = "${ours[*]}" ] || fail "our log has ${dirty[*]} dirty"
counts vol.d/dirty.log "our log"
spoil
kernel_mirror
until_true "the kernel's mirror is in sync" all_in_sync
kernel_ends
copied "the kernel, by our log" "${dirty[@]}"
[ -z "$(dirty_in vol.d/dirty.log)" ] ||
  fail "the kernel has copied, and its log has dirty regions still"

say "the kernel's log, in the middle of writes"
kernel_mirror
until_true "the kernel's mirror is in sync" all_in_sync
dmsetup suspend --noflush --nolockfs legb
kernels=(5 40 69)
writers=()
for r in "${kernels[@]}"; do
  dd if=/tests/random of=/dev/mapper/mirror bs=512 count=1 \
     seek=$((r * region / 512)) skip=99 oflag=direct status=none &
  writers+=($!)
done
marked ()
{
  mapfile -t dirty < <(dirty_in vol.d/dirty.log)
  [ "${dirty[*]}" = "${kernels[*]}" ]
}
until_true "the kernel has marked what it writes" marked
cp a.img a.crash
cp b.img b.crash
cp vol.d/dirty.log log.crash
dmsetup resume legb
for pid in "${writers[@]}"; do
  wait "$pid" || fail "the kernel's mirror cannot be written"
done
kernel_ends
cat a.crash > a.img
cat b.crash > b.img
cat log.crash > vol.d/dirty.log
counts log.crash "the kernel's log"
plant forget-kernels flip_byte vol.d/dirty.log $((1024 + 5))
we_copy "we, by the kernel's log" "${kernels[@]}"

# make_log VERSION REGIONS BITS FILE: a header as LVM writes it, REGIONS in
# eight bytes of printf; behind it all bits are like the byte BITS.
make_log ()
{
  head -c 65536 /dev/zero | tr '\000' "$3" > "$4"
  # shellcheck disable=SC2059 # the format is the bytes
  printf "rRiM\\x0$1\\0\\0\\0$2" | dd of="$4" conv=notrunc status=none
}

# clear LOG BYTE: these eight regions are dirty.
clear ()
{
  printf '\0' | dd of="$1" bs=1 seek=$((1024 + $2)) conv=notrunc status=none
}

all='\xff\xff\xff\xff\xff\xff\xff\xff'
say "logs of LVM's, and of version 1"
make_log 2 $all '\377' sync.log
make_log 2 $all '\000' nosync.log
make_log 1 '\x46\0\0\0\0\0\0\0' '\377' one.log
clear one.log 3
counts sync.log "LVM's log, all in sync"
[ "$kernel_status" != "${kernel_status/ 70\/70 /}" ] ||
  fail "the kernel does not trust LVM's log"
counts nosync.log "LVM's log, nothing in sync"
counts one.log "a log of version 1"
clear sync.log 8
counts sync.log "LVM's log, a part in sync"
cp sync.log vol.d/dirty.log
we_copy "we, by LVM's log" 64 65 66 67 68 69
counts vol.d/dirty.log "LVM's log, after us"
cp one.log vol.d/dirty.log
we_copy "we, by a log of version 1" {24..31}
counts vol.d/dirty.log "a log of version 1, after us"
