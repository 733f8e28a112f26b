#!/usr/bin/env bash
# Whoever looks at a volume's folder is never in the way of its server.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/common.sh"
need perl

fill "$TMP/a.img" 8M 1
start_control vol "$TMP/a.img" meta="$TMP/vol.d" snapshot=monday chunk-size=4K
"$(helper nbd-io)" "$(uri vol)" 'write 0 4M 2' flush
stop_nbdkit vol
cp -r "$TMP/vol.d" "$TMP/before"

# As a server does when it starts: is there ever a lock on FILE while the rest
# of the words runs?  Prints how often one was met, and how often none.
cat >"$TMP/watch-lock" <<'PERL'
use Fcntl;
my ($file, @command) = @ARGV;
my ($met, $free) = (0, 0);
open(my $store, '+<', $file) or die "$file: $!";
my $write = pack('s!s!x![q]qqix![q]', F_WRLCK, 0, 0, 0, 0);
my $none = pack('s!s!x![q]qqix![q]', F_UNLCK, 0, 0, 0, 0);
my $pid = fork() // die "fork: $!";
if (!$pid) { exec @command; die "exec: $!" }
do {    # at least once, however busy the machine
    if (fcntl($store, F_SETLK, $write)) { $free++ } else { $met++ }
    fcntl($store, F_SETLK, $none);
} while (!waitpid($pid, 1));    # WNOHANG
print STDERR "$met met, $free free\n";
exit($met > 0 || $? != 0);
PERL
watch_lock () { perl "$TMP/watch-lock" "$@" >"$TMP/out" 2>"$TMP/err"; }

for file in monday.cow dirty.log; do
  for ((i = 0; i < 20; i++)); do
    watch_lock "$TMP/vol.d/$file" "$abs_top_builddir/ctl/dmnbd" \
      -d "$TMP/vol.d" --json status ||
      fail "a lock on $file was in the way: $(cat "$TMP/err")"
    told '^0 met, [1-9][0-9]* free$'
  done
done
# So has a server that runs; that is seen without a lock.
WATCH='' start_nbdkit silent "$DM_PLUGIN" "$TMP/a.img" meta="$TMP/vol.d"
! watch_lock "$TMP/vol.d/monday.cow" "$abs_top_builddir/ctl/dmnbd" \
  -d "$TMP/vol.d" status || fail "the lock of a server is not met"
told 'monday.cow: what is in it is not known: a server uses it'
told '^volume .*no server that answers'
stop_nbdkit silent

# And nothing is written.
expect 0 -d "$TMP/before" --json status
test "$(value snapshots.0.chunks)" = 1024
cp -r "$TMP/before" "$TMP/after"
expect 0 -d "$TMP/after" status
diff -r "$TMP/before" "$TMP/after" >&2 || fail "the folder has changed"
