# What the scripts that run the examples share.
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# EXAMPLES   the folder of the programs; default: where the build puts them
#
# What a script gets: $program_folder; $dir, a folder of its own; and
#
#   fail MESSAGE              say it and end
#   random_file NAME BYTES    $dir/NAME, and the same bytes never again
#   refused TEXT COMMAND...   it must fail, with TEXT on standard error

# shellcheck disable=SC2034
program_folder=${EXAMPLES:-${abs_top_builddir:-$PWD}/examples}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail ()
{
  echo "${0##*/}: $*" >&2
  exit 1
}

random_file ()
{
  head -c "$2" /dev/urandom > "$dir/$1"
}

refused ()
{
  local text=$1

  shift
  if "$@" > "$dir/out" 2> "$dir/err"; then
    fail "it should have failed: $*"
  fi
  grep -qF -- "$text" "$dir/err" ||
    fail "the message does not say \"$text\": $(cat "$dir/err")"
}
