#!/usr/bin/env bash
# Builds the fuzzers of all that parses what came from outside, and runs them.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: run.sh [--seconds N | --coverage] [NAME...]
#
#   --seconds N   run each so long (default: FUZZ_SECONDS, or 10)
#   --coverage    run nothing new: tell how much of the parsers is reached by
#                 what has been found so far
#   NAME          store, log, manifest, config, rpc (default: all)
#
# Needs clang, and for the coverage llvm.  A finding is kept in the build folder, and its path printed;
# "tests/fuzz/fuzz-NAME PATH" of the build folder runs it again.  What is
# found anew of the code's paths is kept there in corpus-NAME, and used the
# next time; tests/fuzz/corpus of the sources holds where it all begins.

set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=${abs_top_srcdir:-$(cd "$here/../.." && pwd)}
built=${abs_top_builddir:-$top}
seconds=${FUZZ_SECONDS:-10}

coverage=no
case ${1-} in
  --seconds)
    seconds=${2:?--seconds wants a number}
    shift 2
    ;;
  --coverage)
    coverage=yes
    shift
    ;;
esac
names=("$@")
[[ ${#names[@]} -gt 0 ]] || names=(store log manifest config rpc)
if ! command -v clang >/dev/null; then
  echo "$0: clang is not installed" >&2
  exit 77
fi

# The parsers.
parsers_of_store=(plugin/exception-store-load.c)
parsers_of_log=(plugin/dirty-log-disk.c)
parsers_of_manifest=(plugin/manifest.c)
parsers_of_config=(plugin/config.c plugin/table.c plugin/table-snapshot.c)
parsers_of_rpc=(plugin/rpc.c)

# What each is linked with, beside fuzz.c and what is common.
common=(lib/block-device.c lib/bdev-uri.c lib/log-sink.c lib/clock.c lib/sync.c
        tests/fuzz/fuzz.c)
store=(plugin/exception-store.c plugin/exception-store-load.c
       plugin/exception-store-persistent.c plugin/exception-store-transient.c
       plugin/exception-table.c lib/group-sync.c)
log=(plugin/dirty-log.c plugin/dirty-log-disk.c lib/group-sync.c)
manifest=(plugin/manifest.c)
config=(plugin/config.c plugin/size-text.c plugin/manifest.c plugin/meta-dir.c plugin/leg-file.c
        plugin/table.c plugin/table-line.c plugin/table-snapshot.c plugin/table-words.c)
rpc=(plugin/rpc.c plugin/size-text.c)

out=$built/tests/fuzz
mkdir -p "$out"

# build NAME PROGRAM [FLAG...]
build ()
{
  local name=$1 program=$2
  local -n sources=$1
  local -a wrap=() paths=()
  local source

  shift 2
  [[ $name != manifest ]] || wrap=(-Wl,--wrap=crc32)
  for source in "${common[@]}" "${sources[@]}" "tests/fuzz/fuzz-$name.c"; do
    paths+=("$top/$source")
  done
  # What devices there are is not what is fuzzed: those of files and servers
  # are left out, and the linker drops what calls them.
  clang "$@" -std=gnu11 -g -O1 -Wall -Wextra -Werror \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
    -ffunction-sections -Wl,--gc-sections "${wrap[@]}" \
    -iquote "$top/lib" -iquote "$top/plugin" -iquote "$top/tests/fuzz" \
    -I"$built" -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
    "${paths[@]}" "$out/no-devices.c" -ljansson -lz -pthread \
    -o "$program"
}

cat >"$out/no-devices.c" <<'C'
#include <errno.h>
#include "bdev-impl.h"
int
bdev_file_open (const char *path, const struct bdev_options *options,
                struct block_device **bdev)
{
  (void) path;
  (void) options;
  (void) bdev;
  return -ENOENT;
}
int
bdev_nbd_open (const char *uri, const struct bdev_options *options,
               struct block_device **bdev)
{
  return bdev_file_open (uri, options, bdev);
}
int
bdev_watch_create (struct block_device *lower, unsigned timeout_ms,
                   struct block_device **bdev)
{
  (void) lower;
  (void) timeout_ms;
  (void) bdev;
  return -ENOMEM;
}
void
bdev_watch_reap (void)
{
}
int
bdev_open_fd (int fd, const char *name, unsigned flags,
              struct block_device **bdev)
{
  (void) fd;
  (void) name;
  (void) flags;
  (void) bdev;
  return -ENOENT;
}
C

# show_coverage NAME
show_coverage ()
{
  local name=$1 parser
  local -n parsers=parsers_of_$1
  local program=$out/coverage-$name

  build "$name" "$program" -fprofile-instr-generate -fcoverage-mapping
  LLVM_PROFILE_FILE=$program.profraw "$program" -runs=0 "$out/corpus-$name" \
    "$here/corpus/$name" 2>"$program.txt"
  llvm-profdata merge "$program.profraw" -o "$program.profdata"
  for parser in "${parsers[@]}"; do
    llvm-cov report "$program" -instr-profile="$program.profdata" \
      "$top/$parser" |
      awk -v parser="$parser" '/^TOTAL/ {
        print parser ": " $10 " of lines, " $13 " of branches" }'
  done
}

for name in "${names[@]}"; do
  corpus=$out/corpus-$name
  mkdir -p "$corpus"
  if [[ $coverage = yes ]]; then
    show_coverage "$name"
    continue
  fi
  build "$name" "$out/fuzz-$name"
  said=$out/fuzz-$name.txt
  status=0
  "$out/fuzz-$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
    -max_len=16384 -print_final_stats=1 -artifact_prefix="$out/finding-$name-" \
    -dict="$here/$name.dict" "$corpus" "$here/corpus/$name" >"$said" 2>&1 || status=$?
  if [[ $status -ne 0 ]]; then
    tail -n 40 "$said" >&2
    echo "fuzz-$name: FAILED" >&2
    exit 1
  fi
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$said")
  reached=$(grep -o 'cov: [0-9]*' "$said" | tail -n 1)
  echo "fuzz-$name: $runs inputs in $seconds seconds, $reached edges, no finding"
done
