# Completion of "nbdkit dm ..." for bash: keys, and what they can be.
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# nbdkit has a completion of its own, which knows no values.  This one stands in
# front of it: where the plugin is dm it completes KEY= and its values, as
# "nbdkit dm --help" has them; all else is left to the other.

# The plugin among the words, if it is dm.
_nbdkit_dm_plugin ()
{
  local word

  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $word in
      dm | */nbdkit-dm-plugin.so)
        echo "$word"
        return
        ;;
    esac
  done
}

# Whatever nbdkit itself makes of it.  Its file registers its function; ours
# must stay in front.
_nbdkit_dm_others ()
{
  local dir

  if ! declare -F _nbdkit >/dev/null; then
    for dir in /usr/local/share /usr/share; do
      if [[ -r $dir/bash-completion/completions/nbdkit ]]; then
        # shellcheck disable=SC1091
        . "$dir/bash-completion/completions/nbdkit"
        break
      fi
    done
    complete -o default -F _nbdkit_dm nbdkit
  fi
  if declare -F _nbdkit _init_completion >/dev/null; then
    _nbdkit "$@"
  fi
}

_nbdkit_dm ()
{
  local cur=${COMP_WORDS[COMP_CWORD]} plugin key='' prefix='' help values
  local before=${COMP_WORDS[COMP_CWORD - 1]}

  COMPREPLY=()
  plugin=$(_nbdkit_dm_plugin)
  # "=" is a word of its own, unless it was taken out of COMP_WORDBREAKS.
  if [[ $cur = '=' ]]; then
    key=$before cur=''
  elif [[ $before = '=' && COMP_CWORD -ge 2 ]]; then
    key=${COMP_WORDS[COMP_CWORD - 2]}
  elif [[ $cur = *=* ]]; then
    key=${cur%%=*} cur=${cur#*=}
    prefix=$key=
  fi
  if [[ -z $plugin || $cur$key = -* ]]; then
    _nbdkit_dm_others "$@"
    return
  fi

  # The first words of its lines: key=what, or key=one|another.
  help=$("${COMP_WORDS[0]}" "$plugin" --help 2>/dev/null |
    sed -nE 's/^\[?([a-z][a-z-]*=)\]?([^ ]*).*/\1\2/p')
  case $key in
    '')
      values=$(sed 's/=.*/=/' <<<"$help")
      mapfile -t COMPREPLY < <(compgen -W "$values" -- "$cur")
      mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$cur")
      compopt -o nospace 2>/dev/null
      return
      ;;
    leg | control)
      mapfile -t COMPREPLY < <(compgen -f -P "$prefix" -- "$cur")
      compopt -o filenames 2>/dev/null
      ;;
    meta)
      mapfile -t COMPREPLY < <(compgen -d -P "$prefix" -- "$cur")
      compopt -o filenames 2>/dev/null
      ;;
    *)
      values=$(sed -n "s/^$key=//p" <<<"$help" | grep -F '|' | tr '|' ' ')
      mapfile -t COMPREPLY < <(compgen -W "$values" -P "$prefix" -- "$cur")
      # A size, a number, a name: files are none.
      compopt +o default 2>/dev/null
      ;;
  esac
}

complete -o default -F _nbdkit_dm nbdkit
