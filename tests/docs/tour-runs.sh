#!/usr/bin/env bash
# The commands of the tour in README.md do what they are said to do.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
PATH=$PATH:/usr/sbin:/sbin
need nbdinfo nbdcopy mkfs.ext4 e2fsck debugfs

# In the section of the tour, lines that begin with "    $ ".  The first
# names the plugin; here that is the one under test.
sed -n '/^## Five minutes/,/^## /s/^    \$ //p' \
  "$abs_top_srcdir/README.md" >"$TMP/tour"
test "$(wc -l <"$TMP/tour")" -ge 15 || fail "README.md has lost its tour"
grep -q '^dm=' "$TMP/tour" || fail "the tour does not name the plugin"
{
  # Servers of the tour end with it, whatever happens.
  echo 'trap '\''kill "$(cat vol.pid 2>/dev/null)" 2>/dev/null || :'\'' EXIT'
  echo "nbdkit () { command \"$NBDKIT\" --exit-with-parent -f \"\$@\" & wait_for vol.pid; }"
  cat <<'SHELL'
wait_for ()
{
  local tries

  for ((tries = 0; tries < 1200; tries++)); do
    test ! -s "$1" || return 0
    read -r -t 0.1 <>"$TMP/never" || :
  done
  return 1
}
SHELL
  sed "s|^dm=.*|dm='$DM_PLUGIN'|; s|^cd .*|cd '$TMP/d'|
       s|^PATH=.*|PATH=$abs_top_builddir/ctl:\$PATH|" "$TMP/tour"
} >"$TMP/tour.sh"
mkdir "$TMP/d"
mkfifo "$TMP/never"
export TMP
bash -eux "$TMP/tour.sh" >"$TMP/tour.log" 2>&1 ||
  fail "the tour of README.md does not work"

# And what the tour claims to have shown is so.
same "$TMP/d/a.img" "$TMP/d/c.img"
grep -q '^found  *0 sectors that differ' "$TMP/tour.log" ||
  fail "the scrub has found something, or nothing was shown"
same "$TMP/d/a.img" "$TMP/d/fs.img"
grep -q tuesday "$TMP/tour.log" || fail "the new folder was not shown"
