# Completion of dmnbd for bash; nbdkit has its own for the keys of plugins.
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# What there is, is asked of dmnbd itself: verbs and options of its --help,
# names of snapshots and numbers of legs of the volume, if it answers.

# The synopses of all verbs, a line each.
_dmnbd_synopses ()
{
  "$1" --help 2>/dev/null |
    sed -nE '/^options/q; s/^  ([a-z].*)$/\1/p'
}

# Names of the volume's things that belong after a verb.
_dmnbd_things ()
{
  local verb=$1

  shift
  case $verb in
    'snapshot remove' | 'snapshot rename' | 'snapshot rollback' | diff)
      "$@" snapshot list 2>/dev/null | awk 'NR > 1 { print $1 }'
      ;;
    'leg fail' | 'leg rejoin' | 'leg remove' | 'leg replace')
      "$@" status 2>/dev/null |
        awk '/^ *LEG / { legs = 1; next } !NF { legs = 0 } legs { print $1 }'
      ;;
    'job cancel')
      "$@" job list 2>/dev/null | awk 'NR > 1 { print $1 }'
      ;;
    wait) echo 'sync idle' ;;
  esac
}

_dmnbd ()
{
  local dmnbd=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]}
  local synopses verb='' word before='' i
  local -a common=() rest=()

  # The options that say which volume, and the words of the verb.
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    case $word in
      -s | --socket | -d | --dir)
        before=$word
        if ((i + 1 < COMP_CWORD)); then
          common+=("$word" "${COMP_WORDS[++i]}")
          before=''
        fi
        ;;
      -*) before=$word ;;
      *)
        rest+=("$word")
        before=''
        ;;
    esac
  done

  COMPREPLY=()
  case $before in
    -s | --socket | --textfile)
      mapfile -t COMPREPLY < <(compgen -f -- "$cur")
      return
      ;;
    -d | --dir)
      mapfile -t COMPREPLY < <(compgen -d -- "$cur")
      return
      ;;
  esac

  synopses=$(_dmnbd_synopses "$dmnbd")
  # Two words are a verb, or one.
  for word in "${rest[0]-} ${rest[1]-}" "${rest[0]-}"; do
    if [[ -n ${word// /} ]] &&
      grep -Eq "^$word( [^a-z]| [a-z]+\||\$)" <<<"$synopses"; then
      verb=$word
      break
    fi
  done

  if [[ $cur = -* ]]; then
    word='-s -d --socket --dir --json --help --version'
    if [[ -n $verb ]]; then
      word+=" $(grep -E "^$verb( |\$)" <<<"$synopses" | grep -oE -- '--[a-z-]+')"
    fi
    mapfile -t COMPREPLY < <(compgen -W "$word" -- "$cur")
  elif [[ -z $verb ]]; then
    # The first word, or the second of verbs that begin with the first.
    word=$(awk -v first="${rest[0]-}" '
      first == "" { print $1 }
      first != "" && $1 == first && $2 ~ /^[a-z]+$/ { print $2 }' \
      <<<"$synopses")
    mapfile -t COMPREPLY < <(compgen -W "$word" -- "$cur" | sort -u)
  else
    word=$(_dmnbd_things "$verb" "$dmnbd" "${common[@]}")
    mapfile -t COMPREPLY < <(compgen -W "$word" -- "$cur")
    case $verb in
      cow* | log* | 'leg add' | 'leg replace' | attach | detach)
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
        ;;
    esac
  fi
}

complete -o filenames -o bashdefault -F _dmnbd dmnbd
