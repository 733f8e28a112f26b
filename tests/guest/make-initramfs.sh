#!/usr/bin/env bash
# Build the guest's whole system, as one initramfs.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: make-initramfs.sh KERNEL-DIR VERSION BUILD OUTPUT
#
# KERNEL-DIR and VERSION are what get-kernel.sh left and printed, BUILD is the
# build folder, in which "make check-guest" has built all.  The system is:
# busybox, the host's own nbdkit, nbd-client and file system tools with the
# libraries they need, our plugin, dmnbd, programs of the tests, the kernel
# modules, and the scenarios.  It is not compressed: the guest is emulated, and
# would unpack it slowly.
#
# DM_PLUGIN  the plugin; default: the one in the build tree

set -euo pipefail

if [ $# -ne 4 ]; then
  echo "usage: $0 KERNEL-DIR VERSION BUILD OUTPUT" >&2
  exit 2
fi
kernel=$1
version=$2
build=$3
output=$4
plugin=${DM_PLUGIN:-$build/plugin/.libs/nbdkit-dm-plugin.so}
programs=("$build"/{ctl/dmnbd,tests/guest/fs-load})

here=$(cd "$(dirname "$0")" && pwd)
golden=$(cd "$here/../golden" && pwd)

# System tools may be outside an ordinary user's path.
PATH=$PATH:/usr/sbin:/sbin

# Busybox's commands start faster, but its cmp reads byte by byte, and its
# timeout leaves grandchildren behind.
tools=(bash blkdiscard blockdev cmp cp dmsetup e2fsck kmod losetup mkfs.ext4
       mkfs.xfs nbd-client nbdcopy nbdinfo nbdkit split timeout
       xfs_repair)

modules=(dm-mirror dm-mod dm-snapshot dm-zero ext4 loop nbd virtio_blk
         virtio_pci xfs)

for tool in busybox cpio depmod ldd modprobe "${tools[@]}"; do
  if ! command -v "$tool" >/dev/null; then
    echo "$0: $tool is missing" >&2
    exit 77
  fi
done

busybox=$(command -v busybox)
if ldd "$busybox" >/dev/null 2>&1; then
  echo "$0: $busybox is not the static one (package busybox-static)" >&2
  exit 77
fi

for file in "$plugin" "${programs[@]}"; do
  if [ ! -f "$file" ]; then
    echo "$0: there is no $file; run in the build tree:" \
      "make && make tests/guest/fs-load" >&2
    exit 1
  fi
done

root=$(mktemp -d "$output.XXXXXX")
trap 'rm -rf "$root"' EXIT

mkdir -p "$root"/{dev,etc,mnt,proc,run,sys,tmp} "$root"/usr/{bin,lib,sbin}
ln -s usr/bin usr/lib usr/sbin "$root"
ln -s usr/lib "$root/lib64"

# The shared libraries that $1 needs, at the paths where it looks for them.
copy_libraries ()
{
  local library

  while read -r library; do
    if [ ! -e "$root$library" ]; then
      mkdir -p "$root$(dirname "$library")"
      cp -L "$library" "$root$library"
    fi
  done < <(ldd "$1" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x[0-9a-f]*)$/\1/p')
}

# Busybox gives every command for which there is no real one.  It lists
# itself too, and must not be replaced by a link to itself.
cp -L "$busybox" "$root/usr/bin/busybox"
while read -r applet; do
  if [ "$applet" != busybox ]; then
    ln -s busybox "$root/usr/bin/$applet"
  fi
done < <("$busybox" --list)

for tool in "${tools[@]}"; do
  path=$(command -v "$tool")
  cp -L --remove-destination "$path" "$root/usr/bin/$tool"
  copy_libraries "$path"
done
ln -sf kmod "$root/usr/bin/modprobe"
cp /etc/mke2fs.conf "$root/etc"

# nbdkit's "file" plugin, for scenarios that want a plain server, and ours.
plugins=$(nbdkit --dump-config | sed -n 's/^plugindir=//p')
mkdir -p "$root$plugins"
cp "$plugins/nbdkit-file-plugin.so" "$root$plugins"
copy_libraries "$plugins/nbdkit-file-plugin.so"
cp -L "$plugin" "$root$plugins/nbdkit-dm-plugin.so"
copy_libraries "$plugin"
for program in "${programs[@]}"; do
  cp -L "$program" "$root/usr/bin"
  copy_libraries "$program"
done

# A plugin built with a sanitizer works only if its runtime is loaded first.
runtime=$(ldd "$plugin" |
            sed -n 's/^.*lib[at]san[^/]*\(\/[^ ]*\) (0x[0-9a-f]*)$/\1/p')
if [ -n "$runtime" ]; then
  echo "$runtime" > "$root/etc/plugin-preload"
fi

# Modules, each with those that it depends on; some are built in.
dest=$root/lib/modules/$version
mkdir -p "$dest"
cp "$kernel/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} \
   "$dest"
for module in "${modules[@]}"; do
  modprobe -d "$kernel" -S "$version" --show-depends "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u |
  while read -r file; do
    target=$dest/${file#*"/lib/modules/$version/"}
    mkdir -p "$(dirname "$target")"
    cp "$file" "$target"
  done
depmod -b "$root" "$version"

cp "$here/init" "$root/init"
mkdir -p "$root/tests/golden"
cp -r "$here/lib.sh" "$here/scenarios" "$root/tests"
cp "$golden"/g1_* "$root/tests/golden"
chmod 755 "$root/init"

# Data to write.  The guest would take seconds to make it.
head -c $((8 * 1024 * 1024)) /dev/urandom > "$root/tests/random"

(cd "$root" && find . -print0 |
   cpio --quiet --null -o -H newc -R 0:0) > "$output"
