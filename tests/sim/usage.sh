#!/usr/bin/env bash
# dmsim says how it is called, and refuses in one line what it cannot do.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

: "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}"
: "${abs_top_builddir:=$abs_top_srcdir}"
dmsim=$abs_top_builddir/tests/sim/dmsim
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

fail ()
{
  echo "$*" >&2
  cat "$tmp/out" "$tmp/err" >&2
  exit 1
}

# run STATUS ARGUMENT...: it ends with STATUS.
run ()
{
  local expected=$1 status=0

  shift
  "$dmsim" "$@" > "$tmp/out" 2> "$tmp/err" || status=$?
  [[ $status -eq $expected ]] || fail "dmsim $*: $status, not $expected"
}

# refused WORDS ARGUMENT...: nothing is run, and one line has the WORDS.
refused ()
{
  local words=$1 line

  shift
  run 2 "$@"
  [[ ! -s $tmp/out ]] || fail "dmsim $*: more than an error"
  [[ $(wc -l < "$tmp/err") -eq 1 ]] || fail "dmsim $*: not one line"
  line=$(cat "$tmp/err")
  [[ $line = "dmsim: "*"$words"*"; see dmsim --help" ]] ||
    fail "dmsim $*: does not say '$words'"
}

run 0 --help
[[ ! -s $tmp/err ]] || fail '--help: an error'
! grep -E '.{81}' "$tmp/out" || fail '--help: lines of more than 80'
cp "$tmp/out" "$tmp/help"

# Each option is in the help, and in the documentation; and those are all.
mapfile -t known < <(sed -nE 's/^  \{ "([a-z]+)", .*_argument.*/\1/p' \
  "$abs_top_srcdir/tests/sim/options.c" | LC_ALL=C sort)
[[ ${#known[@]} -gt 4 ]] || fail 'options.c: which options are there?'
mapfile -t told < <(sed -nE 's/^  --([a-z]+).*/\1/p' "$tmp/help" |
  LC_ALL=C sort)
[[ ${known[*]} = "${told[*]}" ]] || fail "--help has ${told[*]}"
for option in "${known[@]}"; do
  grep -e "\`--$option" "$abs_top_srcdir/docs/SIMULATION.md" > "$tmp/out" ||
    fail "docs/SIMULATION.md: no \`--$option"
done
# Its examples are calls that can be made: without running them, --help.
mapfile -t examples < <(sed -nE 's/^  dmsim (.*[^ ])   +.*/\1/p' "$tmp/help")
[[ ${#examples[@]} -gt 3 ]] || fail '--help: where are the examples?'
for example in "${examples[@]}"; do
  read -ra words <<< "$example"
  run 0 "${words[@]}" --help
done

refused "'--leg'" --leg
refused "'-x'" -x
refused "'creation' is not an option" creation
refused "'--' is not an option" -- --
refused '--seeds needs a value' --seeds
refused '--trace takes no value' --trace=1
refused "'--=3'" --=3
for seeds in '' x -1 ' 1' +1 1x 1. 1... 1..x 1..2..3 0x10 \
  18446744073709551616 0..18446744073709551616; do
  refused "'$seeds'" --seeds "$seeds"
done
for seeds in 5..5 5..4 18446744073709551615; do
  refused "$seeds has no seed" --seeds "$seeds"
done
for count in '' 0 -1 1x 18446744073709551616; do
  refused "not '$count'" --steps "$count"
  refused "not '$count'" --jobs "$count"
done
refused 'from 1 to 64' --jobs 65
refused "begins with 'no-such'" --enumerate=no-such
refused '--steps or --hashes' --enumerate --steps 3
refused '--steps or --hashes' --enumerate --hashes
refused '--trace and --hashes' --trace --hashes

# And what can be done is done.
run 0 --seeds 0..2 --steps 3 --jobs 2
[[ $(cat "$tmp/out") = 'seeds 2 in '* ]] || fail 'not two seeds'
run 0 --seeds 18446744073709551614 --steps 3 --hashes
[[ $(cat "$tmp/out") = '18446744073709551614 '* ]] || fail 'not the last seed'
run 0 --enumerate=creation-is
[[ $(cat "$tmp/out") = 'creation-is-seen '* ]] || fail 'not that story'
