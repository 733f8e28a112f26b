#!/usr/bin/env bash
# libdmio exports what its public headers declare, the plugin its entry point.
# SPDX-License-Identifier: BSD-3-Clause

set -euo pipefail

top=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
built=${abs_top_builddir:-$top}
plugin=${DM_PLUGIN:-$built/plugin/.libs/nbdkit-dm-plugin.so}

# exported FILE: the names of the functions that others may call.
exported ()
{
  nm --dynamic --defined-only --format=posix "$1" |
    awk '$2 ~ /^[BDRTVW]$/ { sub (/@.*/, "", $1); print $1 }' | LC_ALL=C sort
}

# declared HEADER...: the names of the functions that are declared, but for
# inline ones, whose names begin a line.
declared ()
{
  perl -0777 -ne '
    s{/\*.*?\*/}{}gs;
    s/^\s*#(?:[^\n]*\\\n)*[^\n]*\n//gm;
    print "$1\n" while /^(?!typedef|static|extern)\w[\w ]*[ *](\w+) \(/gm;
  ' "$@" | LC_ALL=C sort
}

mapfile -t headers < <(sed -n \
  '/^dmio_public_headers/,/[^\\]$/s,^[[:space:]]*\(lib/[^ ]*\.h\).*,\1,p' \
  "$top/lib/Makefile.inc")
cd "$top"
promised=$(declared "${headers[@]}")
if [[ -z $promised ]]; then
  echo "$0: the public headers declare nothing" >&2
  exit 1
fi
diff -u --label declared --label exported \
  <(echo "$promised") <(exported "$built/lib/.libs/libdmio.so")
diff -u --label wanted --label exported \
  <(echo plugin_init) <(exported "$plugin")
