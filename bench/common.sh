# What the scripts of bench/ share: ends, checks, charts.
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash

# Numbers have points.
export LC_ALL=C

die () {
  echo "${0##*/}: $*" >&2
  exit 2
}

# numbers NAME WORD...: each is a whole number above 0.
numbers () {
  local name=$1 n

  shift
  [ $# -gt 0 ] || die "$name: no number"
  for n in "$@"; do
    [[ $n =~ ^[1-9][0-9]*$ ]] || die "$name: not a positive number: '$n'"
  done
}

# The first line of a report: what it was measured on.
machine () {
  local load1

  read -r load1 _ < /proc/loadavg
  echo "machine: $(nproc) processors, Linux $(uname -r), load $load1 at the" \
    "start"
}

# where FOLDER: its file system, for people.
where () {
  echo "$(stat -f -c %T "$1"), $1"
}

# draw SCRIPT: gnuplot makes the chart, if there is one.  Without gnuplot only
# the chart is missing.
draw () {
  if ! command -v gnuplot > /dev/null; then
    echo "no chart: gnuplot is not installed (Debian: gnuplot-nox)"
    return 0
  fi
  gnuplot "$1" || die "gnuplot failed"
}
