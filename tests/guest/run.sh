#!/usr/bin/env bash
# Run the guest tests: a real Linux kernel uses the volume.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: run.sh [--self-test | --list | ITEM...]
#
# Boots a kernel of Debian's under QEMU's own emulation, with an initramfs
# that holds our plugin, and runs the scenarios of the folder scenarios/ in
# it: those that want one CPU in two guests, and beside them those that want two
# in another.  ITEM is SCENARIO, or SCENARIO+FAULT: then the fault is
# planted, and the scenario passes by failing for the right reason.  With no
# ITEM, all scenarios run, and then all the faults; with --self-test, only the
# faults.  One line for each, then a count.  Status 0 if all passed, 1 if not,
# 77 if a tool is missing.  By hand, `make && make tests/guest/fs-load' first.
#
# DM_PLUGIN         the plugin; default: the one in the build tree
# DM_GUEST_DIR      where kernel, initramfs, disks and logs go; default: the
#                   folder "guest" of the build tree
# DM_GUEST_TIMEOUT  seconds for the whole guest; default 900, or 6000
# DM_STRESS         "long": what takes too long for every day, too

set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=${abs_top_builddir:-$(cd "$here/../.." && pwd)}
dir=${DM_GUEST_DIR:-$top/guest}
stress=${DM_STRESS:-short}
limit=900
[ "$stress" != long ] || limit=6000
limit=${DM_GUEST_TIMEOUT:-$limit}
declare -A lists guest_of

# The faults that must be noticed, and what must be said of each.
faults="
golden-store+flip-cow            the kernel's view of
volume-mount+flip-leg            legs after the first run
volume-mount+not-frozen          snapshot: ./
table-lines+flip-cow             the kernel's view of snapshot a
table-lines+flip-kernels         ours again: snapshot b
kernel-reads-store+flip-cow      the kernel's view of
kernel-reads-store+flip-origin   the kernel's view of
kernel-reads-store+lose-count    the kernel's status
kernel-stores+flip-overflow      our view of what is full
chain-stacked+flip-newest        the kernel's stack
kernel-writes-store+flip-cow     again ours: the snapshot
disk-hangs+flip-late             the leg that hung
leg-fails+flip-survivor          is not content
block-legs+flip-leg              the second leg
roll-back+flip-ours              finished by the kernel
roll-back+flip-kernels           the snapshot that the kernel has merged a part
store-sizes+flip-ours            the kernel's view
store-sizes+flip-kernels         our view
store-sizes+flip-before-merge    merged by the kernel
mirror-log+forget-region         the kernel counts
mirror-log+forget-kernels        we, by the kernel's log
snapshots-live+flip-frozen       the snapshot of the frozen
snapshots-live+spoil-snapshot    is not content
incremental-backup+old-backup    the backup by what is
server-killed+forget-a-file      what was synced
two-connections+flip-model       what the writers wrote
"

# what_says_so ITEM: words of the message that the planted fault must cause.
what_says_so ()
{
  sed -n "s/^$1  *//p" <<< "$faults"
}

all_scenarios ()
{
  local file

  for file in "$here"/scenarios/*.sh; do
    basename "$file" .sh
  done
}

all_faults ()
{
  sed -n 's/^\([a-z0-9+-]*\)  *.*/\1/p' <<< "$faults"
}

items=()
case ${1:-} in
  --list)
    all_scenarios
    all_faults
    exit 0 ;;
  --self-test)
    mapfile -t items < <(all_faults) ;;
  -*)
    sed -n 's/^# \(usage: .*\)/\1/p' "$0" >&2
    exit 2 ;;
  '')
    mapfile -t items < <(all_scenarios; all_faults) ;;
  *)
    items=("$@") ;;
esac

for item in "${items[@]}"; do
  if [ ! -f "$here/scenarios/${item%%+*}.sh" ]; then
    echo "$0: no scenario ${item%%+*}" >&2
    exit 2
  fi
  if [ "$item" != "${item%%+*}" ] && [ -z "$(what_says_so "$item")" ]; then
    echo "$0: no fault $item" >&2
    exit 2
  fi
done

if ! command -v qemu-system-x86_64 >/dev/null; then
  echo "$0: qemu-system-x86_64 is missing" >&2
  exit 77
fi

mkdir -p "$dir"
version=$("$here/get-kernel.sh" "$dir")
"$here/make-initramfs.sh" "$dir/kernel" "$version" "$top" \
                          "$dir/initramfs.cpio"

# boot NAME ITEM...: run the items in a guest, ready when it has ended.  Its
# files in $dir begin with its name, which ends in the number of CPUs.
boot ()
{
  local cpus=${1##*-} files=$dir/$1 list status=0 faster drive
  local -a qemu

  shift
  list=$(IFS=,; echo "$*")

  # Two disks for the scenario that wants block devices.
  rm -f "$files".*
  truncate -s 8M "$files.disk-a" "$files.disk-b"
  : > "$files.results"

  # Under emulation, code at the same address as last time need not be
  # translated again; and hardening against other tenants of the CPU costs,
  # for nothing.  Each device that comes or goes waits for all CPUs: they are
  # asked at once.
  faster="norandmaps mitigations=off rcupdate.rcu_expedited=1"
  drive=if=none,format=raw,cache=unsafe,discard=unmap
  # Emulation always: a virtual machine may have no KVM, or one that hangs.
  # shellcheck disable=SC2054 # the commas are QEMU's
  qemu=(
    qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp "$cpus" -m 1024
    -display none -nodefaults -no-user-config -no-reboot
    -serial "file:$files.console" -serial "file:$files.results"
    -drive "$drive,id=a,file=$files.disk-a"
    -device virtio-blk-pci,drive=a
    -drive "$drive,id=b,file=$files.disk-b"
    -device virtio-blk-pci,drive=b
    -kernel "$dir/kernel/boot/vmlinuz-$version"
    -initrd "$dir/initramfs.cpio"
    -append "console=ttyS0 quiet panic=-1 $faster t=$list DM_STRESS=$stress"
  )
  # As a child of this shell, so that our end can be its end.
  timeout -k 5 "$limit" "${qemu[@]}" </dev/null &
  guest=$!
  trap 'kill "$guest"' TERM
  wait "$guest" || status=$?
  if [ "$status" -ne 0 ]; then
    echo "guest: ${files##*/} ended with status $status" >&2
    return 1
  fi
}

# cpus_of ITEM: how many its scenario wants.  One is the rule, because
# emulated CPUs are slow to wake one another.
cpus_of ()
{
  local cpus

  cpus=$(sed -n 's/^# CPUs: \([0-9]*\)$/\1/p' \
             "$here/scenarios/${1%%+*}.sh")
  echo "${cpus:-1}"
}

# By turns: two CPUs of the host are busy to the end, or nearly.
turn=a
for item in "${items[@]}"; do
  cpus=$(cpus_of "$item")
  name=guest-a-$cpus
  if [ "$cpus" -eq 1 ]; then
    name=guest-$turn-1
    [ $turn = a ] && turn=b || turn=a
  fi
  guest_of[$item]=$name
  lists[$name]="${lists[$name]:-} $item"
done

start=$SECONDS
guests=()
trap 'kill "${guests[@]}" 2>/dev/null' INT TERM
for name in "${!lists[@]}"; do
  # shellcheck disable=SC2086 # a list of words
  boot "$name" ${lists[$name]} &
  guests+=($!)
done
status=0
for pid in "${guests[@]}"; do
  wait "$pid" || status=1
done
trap - INT TERM
took=$((SECONDS - start))

passed=0
failed=0
for item in "${items[@]}"; do
  files=$dir/${guest_of[$item]}
  # The kernel's serial line ends in CR LF.
  result=$(tr -d '\r' < "$files.results" |
             sed -n "s/^RESULT $item \(pass\|fail\)/\1/p" | tail -n 1)
  what=$(what_says_so "$item")
  case $result in
    '')
      verdict=FAIL
      result="no result: the guest did not come to its end" ;;
    pass*)
      verdict=PASS
      if [ -n "$what" ]; then
        verdict=FAIL
        result="the planted fault was not noticed"
      fi ;;
    "fail: "*"$what"*)
      verdict=PASS
      if [ -z "$what" ]; then
        verdict=FAIL
      else
        result="noticed, ${result#fail: }"
      fi ;;
    *)
      verdict=FAIL ;;
  esac
  echo "$verdict: guest/$item ${result#pass }"
  if [ "$verdict" = PASS ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "---- the end of what the guest said:" >&2
    tr -d '\r' < "$files.console" |
      sed -n "/^BEGIN $item at /,/^END $item\$/p" | tail -n 40 >&2
    echo "----" >&2
  fi
done

echo "guest: $passed passed, $failed failed, in $took s;" \
     "logs are in $dir"
[ "$failed" -eq 0 ] && [ "$status" -eq 0 ]
