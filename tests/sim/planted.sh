#!/usr/bin/env bash
# Each planted fault can still be planted, and is told of.
# SPDX-License-Identifier: BSD-3-Clause
#
# The patches of tests/sim/mutants apply, without fuzz, and each has a line in
# the table of docs/SIMULATION.md, in which there are no others.  That they are
# caught takes long: mutants.sh.

set -euo pipefail

: "${abs_top_srcdir:=$(cd "$(dirname "$0")/../.." && pwd)}"
mutants=$abs_top_srcdir/tests/sim/mutants
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

if ! command -v patch > /dev/null; then
  echo 'patch is missing'
  exit 77
fi

# plant PATCH: in copies of what it changes.
plant ()
{
  local changed file

  mapfile -t changed < <(sed -n 's|^+++ b/||p' "$1")
  [[ ${#changed[@]} -gt 0 ]] || return 1
  for file in "${changed[@]}"; do
    mkdir -p "$tmp/src/$(dirname "$file")"
    cp "$abs_top_srcdir/$file" "$tmp/src/$file" || return 1
    chmod u+w "$tmp/src/$file"
  done
  patch -p1 -f -F0 -d "$tmp/src" < "$1"
}

status=0
for file in "$mutants"/*.patch; do
  name=$(basename "$file" .patch)
  echo "$name" >> "$tmp/planted"
  if ! plant "$file" > "$tmp/out" 2>&1; then
    echo "$name.patch does not apply; plant the fault where the code is now:"
    cat "$tmp/out"
    status=1
  fi
done

sed -nE 's/^\| ([a-z-]+) \| ([0-9]+ seeds|the story [a-z-]+) \|$/\1/p' \
  "$abs_top_srcdir/docs/SIMULATION.md" | LC_ALL=C sort > "$tmp/told"
LC_ALL=C sort -o "$tmp/planted" "$tmp/planted"
if ! diff "$tmp/planted" "$tmp/told"; then
  echo 'tests/sim/mutants (<) and the table of docs/SIMULATION.md (>) differ'
  status=1
fi
exit "$status"
