#!/usr/bin/env bash
# Fetch the Linux kernel that the guest tests boot.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: get-kernel.sh DIR
#
# Downloads Debian's kernel package for cloud machines into DIR and unpacks it
# there: DIR/kernel/boot/vmlinuz-VERSION, DIR/kernel/lib/modules/VERSION.
# Nothing is installed, and an ordinary user may do it.  What is there already
# is used again.  Prints VERSION.
#
# DM_GUEST_KERNEL names another kernel package than the current one.

set -euo pipefail

if [ $# -ne 1 ]; then
  echo "usage: $0 DIR" >&2
  exit 2
fi

# depmod may be outside an ordinary user's path.
PATH=$PATH:/usr/sbin:/sbin

for tool in apt-cache apt-get dpkg-deb depmod; do
  if ! command -v "$tool" >/dev/null; then
    echo "$0: $tool is missing" >&2
    exit 77
  fi
done

mkdir -p "$1"
dir=$(cd "$1" && pwd)

# The folder gets its name when it is complete, so one that is there is good.
if [ ! -d "$dir/kernel" ]; then
  # The package that always depends on the newest kernel names it for us.
  package=${DM_GUEST_KERNEL:-$(
    apt-cache depends linux-image-cloud-amd64 |
      sed -n 's/^ *|\{0,1\}Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)}
  if [ -z "$package" ]; then
    echo "$0: no kernel package known; run \`apt-get update' first" >&2
    exit 1
  fi

  tmp=$(mktemp -d "$dir/fetch.XXXXXX")
  trap 'rm -rf "$tmp"' EXIT

  # As root, apt downloads as the user _apt, who may not be able to write here.
  echo "fetching $package" >&2
  (cd "$tmp" &&
     apt-get -q -o APT::Sandbox::User=root download "$package" >&2)
  dpkg-deb -x "$tmp"/*.deb "$tmp/kernel"
  version=${package#linux-image-}
  # Since Debian 13 modules may live under usr/lib.
  if [ ! -d "$tmp/kernel/lib" ]; then
    ln -s usr/lib "$tmp/kernel/lib"
  fi
  depmod -b "$tmp/kernel" "$version"
  mv "$tmp/kernel" "$dir/kernel"
fi

set -- "$dir"/kernel/boot/vmlinuz-*
if [ $# -ne 1 ] || [ ! -f "$1" ]; then
  echo "$0: no single kernel in $dir/kernel/boot; remove $dir/kernel" >&2
  exit 1
fi
echo "${1##*/vmlinuz-}"
