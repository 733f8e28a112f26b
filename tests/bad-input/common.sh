# Shared by the tests of bad input: a folder, refusals, and damage.
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# A test works in the folder $TMP/d, where everything is that a server could
# change, and sources this file after tests/functions.sh.
#
#   refuse NAMES REMEDY ARG...  the plugin must refuse to start, with an error
#                               line that matches both extended regexes (what
#                               it is about, and what to do about it), and
#                               must change nothing in $TMP/d: no byte, no
#                               name, no time, no mode
#   refuse_late ...             the same, where the error can only be found by
#                               trying, so that times may change
#   make_volume ARG...          $TMP/d gets a.img, b.img and meta, with what
#                               ARGs say; call keep_volume afterwards
#   keep_volume, fresh_volume   remember $TMP/d, and put it back
#   put FILE OFFSET BYTE...     overwrite bytes, given as numbers
#   le32 NUMBER, le64 NUMBER    its bytes, as numbers
#
# What a refusal says is also printed, so the log of the test reads as a
# list of all messages.

# Who must be refused by file modes must not be root: a root without this
# capability is not.
# shellcheck disable=SC2034
as_nobody_special=(setpriv
  '--bounding-set=-dac_override,-dac_read_search'
  '--inh-caps=-dac_override,-dac_read_search')

volume_state ()
{
  (
    cd "$TMP/d" || exit
    # All but the time of the last access; and the times of folders, for a
    # new meta= folder may have come and gone.
    find . ! -type d -printf '%p %i %n %y %m %u %s %T@ %C@ %l\n' \
      -o -printf '%p %i %n %y %m %u\n' | LC_ALL=C sort
    # What cannot be read is compared by its times alone.
    find . -type f -readable -print0 | LC_ALL=C sort -z | xargs -0r sha256sum
  )
}

refuse ()
{
  local names=$1 remedy=$2

  shift 2
  volume_state >"$TMP/before"
  refuse_late "$names" "$remedy" "$@"
  volume_state >"$TMP/after"
  diff "$TMP/before" "$TMP/after" >&2 ||
    fail "something was changed by what was refused: ${*:0:200}"
}

refuse_late ()
{
  local names=$1 remedy=$2

  shift 2
  refused "$DM_PLUGIN" "$@"
  grep 'nbdkit: error: ' "$TMP/refused.log" >"$TMP/errors.log" ||
    fail "refused without an error message: ${*:0:200}"
  cut -c 1-300 "$TMP/errors.log"
  grep -Eq -- "$names" "$TMP/errors.log" ||
    fail "the message does not name '$names': ${*:0:200}"
  grep -Eq -- "$remedy" < <(grep -E -- "$names" "$TMP/errors.log") ||
    fail "the message does not give the remedy '$remedy': ${*:0:200}"
}

put ()
{
  local file=$1 offset=$2 byte bytes=''

  shift 2
  for byte; do
    bytes+=$(printf '\\x%02x' "$byte")
  done
  # shellcheck disable=SC2059
  printf "$bytes" | dd of="$file" bs=1 seek="$offset" conv=notrunc status=none
}

le64 ()
{
  local number=$1 i

  for ((i = 0; i < 8; i++)); do
    echo $((number >> (8 * i) & 255))
  done
}

le32 () { le64 "$1" | head -n 4; }

keep_volume ()
{
  rm -rf "$TMP/kept"
  cp -a "$TMP/d" "$TMP/kept"
}

# The files are put back into the files they were: an inode is an identity.
fresh_volume ()
{
  local name

  (cd "$TMP/d" && find . -mindepth 1 -depth) | while IFS= read -r name; do
    if test -d "$TMP/kept/$name"; then
      continue
    elif test ! -e "$TMP/kept/$name" || test -L "$TMP/d/$name" ||
         test ! -f "$TMP/d/$name"; then
      rm -rf "${TMP:?}/d/$name"
    fi
  done
  (cd "$TMP/kept" && find . -type f) | while IFS= read -r name; do
    cat "$TMP/kept/$name" >"$TMP/d/$name"
  done
}

# make_volume ARG...: a mirror of two legs with a memory, in sync and stopped.
make_volume ()
{
  mkdir -p "$TMP/d"
  fill "$TMP/d/a.img" 1M 1
  cp "$TMP/d/a.img" "$TMP/d/b.img"
  start_nbdkit make "$DM_PLUGIN" "$TMP/d/a.img" "$TMP/d/b.img" \
    meta="$TMP/d/meta" "$@"
  "$(helper nbd-io)" "$(uri make)" 'write 0 12K 2' 'write 100K 12K 2' \
    'write 1044480 4K 2' flush
  wait_insync "$TMP/d/meta"
  stop_nbdkit make
}
