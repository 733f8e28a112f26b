#!/usr/bin/env bash
# What makes no sense on dmnbd's command line ends with 2 and a remedy.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"

# wrong REGEX ARG...
wrong ()
{
  local regex=$1

  shift
  expect 2 "$@"
  told "$regex"
  told "'dmnbd .*--help' "
}

wrong 'what is to be done'
wrong "there is no verb 'dance'" dance
wrong "there is no verb ''" ''
wrong "there is no verb 'a\?b'" $'a\033b'
wrong 'snapshot: what of it' snapshot
wrong 'cow: what of it' cow status
wrong "there is no option '--jsn'" --jsn status
wrong -- '-s needs a value' -s
wrong -- '--dir needs a value' status --dir
wrong "status: 'more' is too much" status more
wrong "status: '--wtch' is too much" status --wtch
wrong 'wait: sync\|idle is missing' wait
wrong 'wait: --timeout: .x. is not a number' wait sync --timeout x
wrong 'wait: --timeout: .-1. is not a number' wait sync --timeout=-1
wrong 'wait: --timeout: .99999999999999999999. is not' wait sync --timeout \
  99999999999999999999
wrong -- '--timeout needs a value' wait sync --timeout
wrong 'cow info: FILE is missing' cow info
wrong 'cow info: FILE is empty' cow info ''
wrong 'cow info: --origin-size: .1Q. is not a size' cow info a \
  --origin-size 1Q
wrong "cow info: 'b' is too much" cow info a b

wrong 'attach: URI is missing' attach /dev/nbd0
for device in /dev/sda nbd /dev/nbdx /dev/nbd0p1 /dev/nbd99999999999; do
  expect 2 attach "$device" nbd://localhost
  told 'is no nbd device; give one such as /dev/nbd0'
  expect 2 detach "$device"
done
expect 2 attach /dev/nbd0 nbd://localhost --timeout 0
if test ! -e /sys/module/nbd; then
  expect 1 attach /dev/nbd0 nbd://localhost
  told 'the kernel has no nbd|cannot be asked'
fi

expect 2 -s "$TMP/s" wait monday
told 'say sync or idle'

# Which volume?
expect 1 status
told 'which volume\? give its control socket with -s SOCKET'
: >"$TMP/file"
expect 1 -s "$TMP/file" status
told 'is not a socket; give the one that control= of the server names'
expect 1 -d "$TMP/file" status
told 'Not a directory'

# Help for all, and for each verb; the output must get somewhere.
expect 0 --help
told '^usage: dmnbd '
while read -r -a verb; do
  expect 0 "${verb[@]}" --help
  told "^usage: dmnbd .*${verb[*]}"
done < <(sed -nE 's/^  ([a-z]+( [a-z]+)?)( [^ ].*)?$/\1/p' "$TMP/out")
expect 0 --version
told '^dmnbd [0-9]+\.[0-9]+'
if test -e /dev/full; then
  ! dmnbd --help >/dev/full 2>"$TMP/err" || fail "a full disk is not noticed"
  grep -q 'cannot be written' "$TMP/err"
fi
