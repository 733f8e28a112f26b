#!/usr/bin/env bash
# Help, manual, completion and control socket of dmnbd agree on what there is.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail
# shellcheck source=tests/ctl/common.sh
. "$(dirname "$0")/../ctl/common.sh"
need perl

man=$abs_top_srcdir/ctl/man

# Each prints a verb a line, with its words and options, sorted.
synopses_of_help ()
{
  dmnbd --help | sed -nE '/^options/q; s/^  ([a-z].*)$/\1/p' | LC_ALL=C sort
}

# What is below .TP in the section VERBS, without fonts and macros.
synopses_of_man ()
{
  sed -n '/^\.SH VERBS/,/^\.SH EXIT/p' "$1" | perl -0777 -pe 's/\\\n//g' |
    sed -nE '/^\.TP/{n
      s/^\.(BR|BI|B|IR) //
      s/\\f[IPRB]//g
      s/\\-/-/g
      s/" *"//g
      s/"([a-z ]+)"/\1/g
      s/"//g
      s/(\[|\|) +/\1/g
      s/ +(\]|\|)/\1/g
      s/ +/ /g
      s/ ]/]/g
      p
    }' | LC_ALL=C sort
}

# Verbs of a list of synopses: the words before the first that is none.
verbs_of () { sed -E 's/ ([^a-z]| *[a-z]+\|).*//' "$1" | LC_ALL=C sort; }

synopses_of_help >"$TMP/help"
test "$(wc -l <"$TMP/help")" -ge 20 || fail "--help has lost its verbs"
synopses_of_man "$man/dmnbd.1" >"$TMP/man"
diff "$TMP/help" "$TMP/man" || fail "< is in --help only, > in dmnbd(1) only"

# Completion offers every verb, and the options of each.
complete_line ()
{
  bash -c '
    set -euo pipefail
    . "$1"
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    _dmnbd
    [[ ${#COMPREPLY[@]} -eq 0 ]] || printf "%s\n" "${COMPREPLY[@]}"
  ' bash "$abs_top_srcdir/ctl/dmnbd.bash" "$abs_top_builddir/ctl/dmnbd" "$@"
}

verbs_of "$TMP/help" >"$TMP/verbs"
for word in $(complete_line ''); do
  second=$(complete_line "$word" '' | grep -Evx 'sync|idle' || :)
  if grep -q "^$word [a-z]" "$TMP/verbs"; then
    sed "s/^/$word /" <<<"$second"
  else
    echo "$word"
  fi
done | LC_ALL=C sort >"$TMP/completed"
diff "$TMP/verbs" "$TMP/completed" ||
  fail "< is in --help only, > is completed only"
while IFS= read -r verb; do
  read -ra words <<<"$verb"
  grep -E "^$verb( |\$)" "$TMP/help" | grep -oE -- '--[a-z-]+' |
    LC_ALL=C sort -u >"$TMP/options" || :
  complete_line "${words[@]}" -- | grep -Ev -- \
    '^--(socket|dir|json|help|version)$' | LC_ALL=C sort >"$TMP/completed" || :
  diff "$TMP/options" "$TMP/completed" ||
    fail "$verb: < is in --help only, > is completed only"
  # And each has a help of its own, with all of them.
  dmnbd "${words[@]}" --help >"$TMP/own"
  while IFS= read -r option; do
    grep -Eq "^  $option( |\$)" "$TMP/own" ||
      fail "dmnbd $verb --help does not explain $option"
  done <"$TMP/options"
done <"$TMP/verbs"

# Methods are the verbs with dots; these verbs are the tool's own, or have a
# name of theirs.
fill "$TMP/a.img" 1M 1
start_control vol "$TMP/a.img" meta="$TMP/vol.d" snapshot=monday
methods ()
{
  expect 0 -s "$(control vol)" --json methods
  grep -oE '"name": "[a-z]+(\.[a-z]+)?"' "$TMP/out" | cut -d '"' -f 4 |
    while IFS= read -r name; do
      # Parameters have names, too.
      ! grep -Fxq "${name/./ }" "$TMP/verbs" && [[ $name != *.* ]] ||
        echo "$name"
    done | LC_ALL=C sort
}
methods >"$TMP/methods"
{
  grep -Ev '^(cow|log|wait|events|attach|detach|table|call)\b' "$TMP/verbs" |
    tr ' ' '.'
  echo events.subscribe
} | LC_ALL=C sort >"$TMP/expected"
diff "$TMP/expected" "$TMP/methods" ||
  fail "< is a verb without a method, > a method without a verb"
while IFS= read -r name; do
  grep -Eq "(\.BR? |^\.B.*)${name//./\\.}\b" "$man/dmnbd-formats.5" ||
    fail "dmnbd-formats(5) does not name $name"
done <"$TMP/methods"

# The words that the completion takes from a volume.
test "$(complete_line -s "$(control vol)" snapshot remove '')" = monday ||
  fail "names of snapshots are not completed"
test "$(complete_line -s "$(control vol)" leg fail '')" = 0 ||
  fail "numbers of legs are not completed"

# Metrics, and events, each with its place in dmnbd(1).
expect 0 -s "$(control vol)" metrics
perl "$abs_top_srcdir/tests/ctl/check-metrics" <"$TMP/out" >"$TMP/metrics"
sed -n '/^\.SH METRICS/,/^\.SH ENV/p' "$man/dmnbd.1" | sed 's/\\f[A-Z]//g; s/\\//g' |
  grep -oE 'dmnbd_[a-z_]+' | LC_ALL=C sort -u >"$TMP/described"
diff "$TMP/metrics" "$TMP/described" ||
  fail "< is told and not described in dmnbd(1), > the other way round"
grep -oE '^dmnbd_events_total\{type="[a-z.]+"' "$TMP/out" | cut -d '"' -f 2 |
  LC_ALL=C sort >"$TMP/events"
sed -n '/^\.SH EVENTS/,/^\.SH METRICS/p' "$man/dmnbd.1" |
  perl -0777 -pe 's/\\\n//g' | sed 's/\\f[A-Z]//g; s/\\//g' |
  grep -E '^.B' | grep -oE '[a-z]+\.[a-z]+' | LC_ALL=C sort -u >"$TMP/described"
diff "$TMP/events" "$TMP/described" ||
  fail "< is an event that dmnbd(1) does not describe, > the other way round"
stop_nbdkit vol

# The keys of the plugin are completed by nbdkit's own, from --help.
grep -Eq '^control=' < <("$NBDKIT" "$DM_PLUGIN" --help) ||
  fail "nbdkit would not complete control="

# completed WORD...: what ours offers for the last word, on one line.
completed ()
{
  (
    cd "$TMP/files"
    bash -c '
      set -euo pipefail
      . "$1"
      shift
      COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
      _nbdkit_dm || :
      [[ ${#COMPREPLY[@]} -eq 0 ]] || printf "%s\n" "${COMPREPLY[@]}"
    ' bash "$abs_top_srcdir/ctl/nbdkit-dm.bash" "$NBDKIT" "$@" | LC_ALL=C sort |
      paste -sd ' '
  )
}

# offers EXPECTED WORD...
offers ()
{
  local said

  said=$(completed "${@:2}")
  test "$said" = "$1" || fail "completion of '${*:2}': '$said', not '$1'"
}

mkdir -p "$TMP/files/vol.d"
touch "$TMP/files/a.img"
offers 'auto full none' "$DM_PLUGIN" sync =
offers 'auto' "$DM_PLUGIN" sync = a
offers 'sync=none' "$DM_PLUGIN" sync=n
offers 'first least-pending round-robin' "$DM_PLUGIN" read-policy =
offers 'auto off on' "$DM_PLUGIN" a.img direct =
offers 'break-guest-write break-snapshot' "$DM_PLUGIN" on-cow-error = break
offers '' "$DM_PLUGIN" size =
offers '' "$DM_PLUGIN" no-such-key =
offers 'a.img vol.d' "$DM_PLUGIN" leg =
offers 'a.img' "$DM_PLUGIN" leg = a
offers 'leg=a.img' "$DM_PLUGIN" leg=a
offers 'vol.d' "$DM_PLUGIN" meta =
offers 'a.img vol.d' "$DM_PLUGIN" control =
offers 'a.img' "$DM_PLUGIN" a.i
offers 'read-policy= region-size= resync-rate=' "$DM_PLUGIN" re
# Every key of --help is offered, and every one that is a choice has values.
"$NBDKIT" "$DM_PLUGIN" --help | sed -nE 's/^\[?([a-z][a-z-]*=)\]?.*/\1/p' |
  LC_ALL=C sort >"$TMP/keys"
completed "$DM_PLUGIN" '' | tr ' ' '\n' | grep '=$' >"$TMP/completed"
diff "$TMP/keys" "$TMP/completed" || fail "< is a key, > is completed only"
# Another plugin is not ours.
offers '' memory sync =

if command -v mandoc >/dev/null; then
  (cd "$man" && mandoc -T lint -W warning ./*.[157]) >&2 ||
    fail "mandoc complains"
fi

# It can fail.
sed '/^\.BI "leg fail"/d' "$man/dmnbd.1" >"$TMP/dmnbd.1"
synopses_of_man "$TMP/dmnbd.1" >"$TMP/man"
! diff "$TMP/help" "$TMP/man" >/dev/null ||
  fail "a verb that the man page lacks is not noticed"
