#!/usr/bin/env bash
# The sources keep the habits of the house that a program can check.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: tidy.sh [--self-test | FOLDER]
#
# FOLDER is the top of the sources; default: abs_top_srcdir, or that of this
# script.  With --self-test, each kind of violation is planted in a copy and
# must be reported.
#
# CC, CXX        compilers for the headers; default: cc, c++
# CLANG_FORMAT   default: clang-format; only version 14 is used, because
#                another one has another opinion

set -euo pipefail

top=${abs_top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
: "${CC:=cc}" "${CXX:=c++}" "${CLANG_FORMAT:=clang-format}"
folders='lib plugin ctl tests examples bench'

# Lists of files, below the current folder.
c_files ()
{
  # shellcheck disable=SC2086
  find $folders -name '*.[ch]' 2>/dev/null | LC_ALL=C sort
}

house_files ()
{
  find lib plugin -name '*.[ch]' | LC_ALL=C sort
}

text_files ()
{
  {
    # shellcheck disable=SC2086
    find $folders docs scripts .ci -type f 2>/dev/null
    find . -maxdepth 1 -type f \( -name '*.md' -o -name '*.am' -o \
      -name '*.ac' -o -name .clang-format -o -name .gitignore -o \
      -name NEWS -o -name LICENSE \) -printf '%P\n'
  } | grep -Ev '^tests/(golden|guest/cache|fuzz/corpus)/|/\.(libs|deps|dirstamp)' |
    grep -Ev '\.(o|lo|la|log|trs|in|gz|bin)$' |
    while IFS= read -r file; do
      # Programs of a build in the source tree are not text.
      if LC_ALL=C grep -Iq . "$file"; then
        echo "$file"
      fi
    done | LC_ALL=C sort
}

# matches MESSAGE REGEX FILE...: perl's regex, on the bare text.
matches ()
{
  local message=$1 regex=$2

  shift 2
  [[ $# -eq 0 ]] || MESSAGE=$message REGEX=$regex perl -ne '
    print "$ARGV:$.: $ENV{MESSAGE}\n" if /$ENV{REGEX}/;
    close ARGV if eof' "$@"
}

# calls MESSAGE NAMES FILE...: a call of one of NAMES, a regex, in C without
# its comments and strings.  Members and methods of that name are no calls.
calls ()
{
  local message=$1 names=$2

  shift 2
  [[ $# -eq 0 ]] || MESSAGE=$message NAMES=$names perl -0777 -ne '
    s{(/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\x27(?:\\.|[^\x27\\\n])*\x27)}
     {(my $blank = $1) =~ s/[^\n]/ /g; $blank}gse;
    my $n = 0;
    for (split /\n/) {
      $n++;
      print "$ARGV:$n: $ENV{MESSAGE}: $1\n"
        if /(?<![\w.>])($ENV{NAMES})(?!\w)/;
    }' "$@"
}

# house_files_but REGEX: an array for calls: all but those that own the seam.
house_files_but ()
{
  house_files | grep -Evx -- "$1" || true
}

check_seams ()
{
  local files

  mapfile -t files < <(house_files_but 'lib/sync\.[ch]')
  calls 'threads and locks belong to lib/sync.h' \
    'pthread_\w+|(?:mtx|cnd|thrd|sem)_\w+(?= ?\()' "${files[@]}"
  calls 'nobody sleeps: wait for the event' \
    '(?:u|nano|clock_nano)?sleep(?= ?\()' "${files[@]}"

  mapfile -t files < <(house_files_but 'lib/(clock|sync)\.[ch]')
  calls 'time belongs to lib/clock.h' \
    '(?:clock_gettime|gettimeofday|timespec_get|time)(?= ?\()' "${files[@]}"

  mapfile -t files < <(house_files_but 'plugin/meta-dir\.c')
  calls 'chance belongs to plugin/meta-dir.c' \
    '(?:s?random|s?rand|rand_r|[delmnj]rand48|getrandom|getentropy)(?= ?\()' \
    "${files[@]}"

  local io='open(?:at)?2?|creat|close|p?readv?2?|p?writev?2?|preadv|pwritev'
  io+='|fsync|fdatasync|sync_file_range|syncfs|f?truncate|fallocate'
  io+='|posix_fallocate|posix_fadvise|rename(?:at)?2?|unlink(?:at)?'
  io+='|mkdir(?:at)?|rmdir|opendir|link(?:at)?|symlink(?:at)?|lseek|mmap'
  io+='|copy_file_range'
  io+='|f?l?stat|fstatat|statx|ioctl|fcntl|flock|f(?:re|d)?open|mkstemp'
  mapfile -t files < <(house_files_but \
    'lib/(bdev-file(-io)?|nbd-connection)\.c|plugin/(leg-file|line-s[a-z]+|meta-dir|temp-store)\.c')
  calls 'files belong to bdev-file.c, leg-file.c and meta-dir.c' \
    "(?:$io)(?= ?\\()" "${files[@]}"

  io='socket(?:pair)?|accept4?|bind|connect|listen|shutdown|[gs]etsockopt'
  io+='|recv(?:from|m?msg)?|send(?:to|m?msg)?|p?poll|p?select|epoll_\w+|eventfd'
  mapfile -t files < <(house_files_but \
    'lib/nbd-connection\.c|plugin/line-(server|socket)\.c')
  calls 'sockets belong to lib/nbd-connection.c' "(?:$io)(?= ?\\()" "${files[@]}"
  mapfile -t files < <(house_files_but 'lib/nbd-[a-z]+\.c')
  matches 'libnbd belongs to lib/nbd-*.c' '^\s*#\s*include\s*<libnbd' \
    "${files[@]}"
}

check_silence ()
{
  local files print

  mapfile -t files < <(house_files_but 'plugin/plugin\.c')
  print='v?f?printf|v?dprintf|f?puts|f?putc|putchar|perror|v?syslog'
  print+='|v?(?:err|warn)x?'
  calls 'only plugin.c prints' 'std(?:out|err)' "${files[@]}"
  # Into memory that grows.
  mapfile -t files < <(house_files_but 'plugin/(plugin|rpc-metrics)\.c')
  calls 'only plugin.c prints' "(?:$print)(?= ?\\()" "${files[@]}"
  mapfile -t files < <(house_files_but 'plugin/plugin\.c')
  calls 'only plugin.c talks to nbdkit' 'nbdkit_\w+' "${files[@]}"
  matches 'only plugin.c talks to nbdkit' '^\s*#\s*include\s*<nbdkit' \
    "${files[@]}"
}

check_text ()
{
  local files

  mapfile -t files < <(c_files)
  matches 'a tab' '\t' "${files[@]}"
  matches 'more than 80 columns' '^.{81}' "${files[@]}"
  matches 'dead code' '^\s*#\s*if\s+0\b' "${files[@]}"

  mapfile -t files < <(text_files)
  matches 'space at the end of the line' '[ \t\r]$' "${files[@]}"
  # Each class of one letter keeps this file from matching itself.
  matches 'finish it or leave it' '\b(FIX[M]E|TO[D]O|XX[X])\b' "${files[@]}"
  matches 'with pipefail what writes into grep -q may fail: use < <(...)' \
    '\|\s*(?:\w+=\S+ )?gre[p] (?:-\S+ )*-[a-zA-Z]*q' "${files[@]}"
  matches 'a path of the machine it was written on' \
    '(?<![\w.$}])/(wor[k]|far[m]|hom[e])/|/tm[p]/(brief|h-|[a-z]+[0-9]*\.c)|\.librar[y]\b' \
    "${files[@]}"
  matches 'a host that serves packages' \
    '(deb|security|archive)\.debia[n]\.org|registry\.npmj[s]|pyp[i]\.org' \
    "${files[@]}"
  matches 'a number that means nothing to a reader' \
    '\b[Ii]ssu[e] ?#?[0-9]+' "${files[@]}"
}

check_heads ()
{
  local file head

  while IFS= read -r file; do
    mapfile -t head < <(head -n 4 "$file")
    case $file in
      *.c | *.h)
        [[ ${head[0]-} =~ ^/\*\ [^\ ].*\.$ ]] ||
          echo "$file:1: does not say in one line what the file is"
        [[ ${head[1]-} = ' * SPDX-License-Identifier: BSD-3-Clause' ]] ||
          echo "$file:2: no SPDX line"
        ;;
      LICENSE | NEWS | *.md | *.pod | docs/* | .gitignore | */README*) ;;
      *)
        [[ " ${head[*]}" =~ SPDX-License-Identifier:\ BSD-3-Clause ]] ||
          echo "$file: no SPDX line in its first four"
        ;;
    esac
    if [[ ${head[0]-} = '#!'* ]]; then
      [[ -x $file ]] || echo "$file: begins with #! but cannot be executed"
      # A guest's init may not end at an error: the kernel would panic.
      [[ ${head[0]} != *bash* || ${file##*/} = init ]] ||
        grep -q '^set -euo pipefail$' "$file" ||
        echo "$file: does not set -euo pipefail"
    fi
  done < <(text_files)
}

check_layout ()
{
  local files version

  version=$("$CLANG_FORMAT" --version 2>/dev/null) || version=
  if [[ ! $version =~ version\ 14\. ]]; then
    echo "the layout is not checked: $CLANG_FORMAT 14 is not installed" >&2
    return
  fi
  mapfile -t files < <(c_files)
  [[ ${#files[@]} -eq 0 ]] ||
    "$CLANG_FORMAT" --dry-run --style=file "${files[@]}" 2>&1 |
    awk -F: '/warning: code should be clang-formatted/ {
      if (!count[$1]++)
        first[$1] = $2
    }
    END {
      for (file in count)
        print file ":" first[file] ": is not as clang-format has it (" \
          count[file] " places; make format)"
    }' | LC_ALL=C sort
}

# Headers that programs may include are C11 and C++; ours compile alone too.
check_headers ()
{
  local header public errors

  mapfile -t public < <(sed -n \
    '/^dmio_public_headers/,/[^\\]$/s,^[[:space:]]*\(lib/[^ ]*\.h\).*,\1,p' \
    lib/Makefile.inc)
  [[ ${#public[@]} -gt 0 ]] ||
    echo 'lib/Makefile.inc: dmio_public_headers names no header'
  for header in "${public[@]}"; do
    errors=$("$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only \
      -x c "$header" 2>&1) ||
      echo "$header: does not compile alone as C11: ${errors%%$'\n'*}"
    errors=$("$CXX" -std=c++11 -Wall -Wextra -Werror -fsyntax-only \
      -x c++ "$header" 2>&1) ||
      echo "$header: does not compile alone as C++: ${errors%%$'\n'*}"
  done
  while IFS= read -r header; do
    errors=$("$CC" -std=gnu11 -D_GNU_SOURCE -iquote lib -iquote plugin -Wall \
      -Wextra -Werror -fsyntax-only -x c "$header" 2>&1) ||
      echo "$header: does not compile alone: ${errors%%$'\n'*}"
  done < <(house_files | grep '\.h$')
}

# check_tidy FOLDER: a line on stdout for each violation.
check_tidy ()
{
  cd "$1"
  check_seams
  check_silence
  check_text
  check_heads
  check_layout
  check_headers
}

# A small tree in which all is well, the exceptions included.
make_tree ()
{
  local tree=$1 spdx='SPDX-License-Identifier: BSD-3-Clause'

  mkdir -p "$tree/lib" "$tree/plugin" "$tree/tests" "$tree/scripts"
  cp "$top/.clang-format" "$tree/"
  printf '# Fragment.\n# %s\ndmio_public_headers = \\\n\t%s\n' "$spdx" \
    'lib/public.h' > "$tree/lib/Makefile.inc"
  cat > "$tree/lib/public.h" <<TREE
/* A header for programs.
 * $spdx
 */

#ifdef __cplusplus
extern "C" {
#endif

/* Never call pthread_create (), sleep (1) or printf () here. */
int dm_function (int number);

#ifdef __cplusplus
}
#endif
TREE
  cat > "$tree/lib/clean.c" <<TREE
/* A file with nothing wrong.
 * $spdx
 */

#include <stdio.h>
#include <string.h>

#include "public.h"

struct ops {
  int (*open) (int);
  int (*read) (int);
};

static const char text[] = "open (a), printf (b), pthread_self ()";

int
dm_function (int number)
{
  struct ops ops;
  char buffer[80];

  memset (&ops, 0, sizeof ops);
  (void) snprintf (buffer, sizeof buffer, "%s", text);
  return ops.open (number) + (&ops)->read (number);
}
TREE
  printf '/* The clock seam.\n * %s\n */\n\n#include <time.h>\n\n%s\n' "$spdx" \
    'time_t (*now) (time_t *) = time;' > "$tree/lib/clock.c"
  printf '#!/usr/bin/env bash\n# A script.\n# %s\n\nset -euo pipefail\n' \
    "$spdx" > "$tree/scripts/script"
  chmod +x "$tree/scripts/script"
}

# planted WHAT COMMAND: after COMMAND the copy has the violation WHAT.
planted ()
{
  local what=$1 command=$2 tree="$tmp/tree" said

  rm -rf "$tree"
  make_tree "$tree"
  (cd "$tree" && eval "$command")
  said=$(check_tidy "$tree" 2>/dev/null)
  if [[ $said != *"$what"* ]]; then
    echo "not caught: $what (said: ${said:-nothing})"
    failed=1
  fi
}

# call WHAT STATEMENT [FILE]: the statement, in a function at the end of FILE.
call ()
{
  planted "$1" "printf '\\nint dm_bad (int);\\n\\nint\\ndm_bad (int n)\\n{\\n  %s\\n}\\n' \
    '$2' >> ${3:-lib/clean.c}"
}

self_test ()
{
  local said

  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  failed=0

  make_tree "$tmp/tree"
  said=$(check_tidy "$tmp/tree" 2>/dev/null)
  if [[ -n $said ]]; then
    echo "false alarm: $said"
    failed=1
  fi
  call 'lib/clean.c:33: threads and locks belong' 'return pthread_self () == n;'
  call 'nobody sleeps: wait for the event: usleep' 'return usleep (n);'
  call 'nobody sleeps: wait for the event: sleep' 'return sleep (n);'
  call 'time belongs to lib/clock.h: clock_gettime' \
    'return clock_gettime (n, NULL);'
  call 'time belongs to lib/clock.h: time' 'return time (NULL);'
  call 'chance belongs to plugin/meta-dir.c: rand' 'return rand ();'
  call 'files belong to bdev-file.c' 'return open ("a", n);'
  call 'files belong to bdev-file.c' 'return pwrite (n, "a", 1, 0);' \
    lib/clock.c
  call 'files belong to bdev-file.c' 'return rename ("a", "b");'
  call 'sockets belong to lib/nbd-connection.c: poll' \
    'return poll (NULL, 0, n);'
  call 'sockets belong to lib/nbd-connection.c: recv' \
    'return recv (n, "a", 1, 0);' lib/clock.c
  planted 'libnbd belongs to lib/nbd-*.c' \
    'sed -i "6s/\$/\\n#include <libnbd.h>/" lib/clean.c'
  call 'only plugin.c prints: printf' 'return printf ("a");'
  call 'only plugin.c prints: stderr' 'return fflush (stderr);'
  call 'only plugin.c prints: perror' 'perror ("a");'
  call 'only plugin.c talks to nbdkit: nbdkit_debug' 'nbdkit_debug ("a");'
  planted 'lib/clean.c:7: only plugin.c talks to nbdkit' \
    'sed -i "6s/\$/\\n#include <nbdkit-plugin.h>/" lib/clean.c'
  planted 'lib/clean.c:27: a tab' 'printf "\t\n" >> lib/clean.c'
  planted 'more than 80 columns' 'printf "/* %090d */\n" 1 >> lib/clean.c'
  planted 'dead code' 'printf "#if 0\n#endif\n" >> lib/clean.c'
  planted 'scripts/script:6: space at the end' 'echo "a " >> scripts/script'
  planted 'finish it or leave it' 'echo "# FIX""ME later" >> scripts/script'
  planted 'what writes into grep -q may fail' \
    'echo "ls | gre""p -Fq a" >> scripts/script'
  planted 'a path of the machine' 'echo "ls /wor""k/a" >> scripts/script'
  planted 'a host that serves' 'echo "# deb.debia""n.org" >> scripts/script'
  planted 'a number that means nothing' 'echo "# iss""ue 7" >> scripts/script'
  planted 'lib/clean.c:1: does not say' 'sed -i 1s/wrong./wrong/ lib/clean.c'
  planted 'lib/clean.c:2: no SPDX line' 'sed -i 2d lib/clean.c'
  planted 'scripts/script: no SPDX line' 'sed -i 3d scripts/script'
  planted 'cannot be executed' 'chmod -x scripts/script'
  planted 'does not set -euo pipefail' 'sed -i /^set/d scripts/script'
  planted 'does not compile alone as C11' \
    'echo "#define X sector_t;" >> lib/public.h; echo "X" >> lib/public.h'
  planted 'does not compile alone as C++' \
    'echo "void dm_f (int class);" >> lib/public.h'
  planted 'lib/own.h: does not compile alone' \
    'printf "/* Ours.\n * SPDX\n */\nsize_t dm_own;\n" > lib/own.h'
  planted 'names no header' 'sed -i 3,4d lib/Makefile.inc'
  if grep -q 'version 14\.' < <("$CLANG_FORMAT" --version 2>/dev/null); then
    call 'is not as clang-format has it' 'return  n;'
    call 'is not as clang-format has it' 'return -(n);}int dm_x(int n){'
  fi
  return "$failed"
}

if [[ ${1-} = --self-test ]]; then
  self_test
else
  found=$(check_tidy "${1:-$top}")
  if [[ -n $found ]]; then
    echo "$found"
    exit 1
  fi
fi
