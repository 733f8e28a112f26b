#!/usr/bin/env bash
# The man pages of libdmio say what its headers and its list of symbols say.
# SPDX-License-Identifier: BSD-3-Clause
#
# usage: man3-match.sh [--no-self-test] [FOLDER]
#
# FOLDER is the top of the sources; default: abs_top_srcdir, or that of this
# script.  Each violation is a line on stdout:
#
#   * a symbol that is exported and has no page, or a page for one that is not;
#   * a section that is missing, empty, or not in its place;
#   * a prototype of a SYNOPSIS, or a structure in the text, that is not the
#     header's, or that does not compile with the headers that the page names,
#     as C11 and as C++;
#   * an EXAMPLE that does not compile;
#   * a flag or a limit of the headers that no page explains, or one that a page
#     names and no header has; a page that is referred to, and is not there;
#   * what mandoc complains about, where it is installed.
#
# Then each kind of violation is planted in a copy, and must be reported.
#
# CC, CXX   default: cc, c++

set -euo pipefail

top=${abs_top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
: "${CC:=cc}" "${CXX:=c++}"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0

# Reads headers, map and pages below the current folder; prints violations, and
# writes what is to be compiled into the folder that is its argument.
cat > "$tmp/pages.pl" <<'PERL'
use strict;
use warnings;

my ($out) = @ARGV;
my @sections = ('NAME', 'SYNOPSIS', 'DESCRIPTION', 'RETURN VALUE', 'ERRORS',
                'THREADS', 'LIFETIMES', 'EXAMPLE', 'SEE ALSO');
my %is_optional = ('EXAMPLE' => 1);

sub slurp {
  my ($file) = @_;
  open my $in, '<', $file or die "$file: $!\n";
  local $/;
  return <$in>;
}

# C as one line without comments, spaces only where two words would meet.
sub squeeze {
  my ($code) = @_;
  $code =~ s{/\*.*?\*/}{ }gs;
  $code =~ s/\s+/ /g;
  $code =~ s/ ?([^\w ]) ?/$1/g;
  return $code;
}

# What a line of roff shows, without its fonts.
sub plain {
  my ($line) = @_;
  if ($line =~ /^\.([BIR]{1,2}) (.*)/) {
    my ($text, $glue) = ($2, length $1 == 1 ? ' ' : '');
    my @words;
    push @words, $1 // $2 while $text =~ /\G\s*(?:"([^"]*)"|([^\s"]\S*))/g;
    $line = join $glue, @words;
  }
  $line =~ s/\\-/-/g;
  $line =~ s/\\f[BIRP]//g;
  $line =~ s/\\\(aq/'/g;
  $line =~ s/\\\(dq/"/g;
  $line =~ s/\\&//g;
  $line =~ s/\\e/\\/g;
  return $line;
}

# The headers.
my ($fragment) = slurp('lib/Makefile.inc')
  =~ /^dmio_public_headers = (.*?[^\\])$/ms;
my @headers = $fragment =~ m{(lib/\S+\.h)}g;
my $code = join '', map { slurp($_) } @headers;
my $words =
  qr/\b((?:BDEV|DM_IO|DM_PAGE|DMIO_LOG|KCOPYD|SECTOR)_[A-Z_]*[A-Z])\b(?<!_H)/;
my %is_word = map { $_ => 1 } $code =~ /$words/g;
(my $bare = $code) =~ s{/\*.*?\*/}{}gs;
$bare =~ s/^\s*#(?:[^\n]*\\\n)*[^\n]*\n//gm;
my (%prototype, %is_shown);
$prototype{$2} = squeeze($1) while
  $bare =~ /^((?!typedef|static|extern)\w[\w ]*[ *]+(\w+) \([^;{]*\);)/gm;
$is_shown{squeeze($1)} = 1 while $bare =~ /^(struct \w+ \{.*?^\};)/gms;
$is_shown{squeeze($1)} = 1 while $bare =~ /^(typedef [^;]*;)/gm;

my ($globals) = slurp('lib/libdmio.map') =~ /global:(.*?)local:/s;
my %is_exported = map { $_ => 1 } $globals =~ /(\w+);/g;

# The pages.
my (%page_of, %is_explained, %refers);
my @files = sort glob 'lib/man/*.[37]';
print "lib/man: no pages\n" unless @files;
for my $file (@files) {
  my ($base, $number) = $file =~ m{([^/]+)\.([37])$};
  my (@order, %text, $section);
  for my $line (split /\n/, slurp($file)) {
    next if $line =~ /^\.\\"/;
    if ($line =~ /^\.SH "?(.*?)"?$/) {
      $section = $1;
      push @order, $section;
      $text{$section} = [];
    } elsif ($line =~ /^\.TH /) {
      my ($title, $in) = (split ' ', $line)[1, 2];
      print "$file: its head says $title($in)\n"
        if $title ne uc $base || $in ne $number;
    } elsif (defined $section) {
      my $says = plain ($line);
      push @{$text{$section}}, $line;
      $is_explained{$1} = $file while $says =~ /$words/g;
      $refers{"$1($2)"}{$file} = 1 while $says =~
        /\b((?:bdev|dm_io|kcopyd|dmio)\w*) ?\((\d)\)/g;
    }
  }
  my $wanted = join ', ',
    grep { exists $text{$_} || !$is_optional{$_} &&
           ($number == 3 || /^(?:NAME|SYNOPSIS|DESCRIPTION|SEE ALSO)$/) }
    @sections;
  print "$file: has the sections ", join (', ', @order), "; wanted: $wanted\n"
    if join (', ', @order) ne $wanted;
  for (@order) {
    print "$file: $_ is empty\n"
      unless grep { /^[^.]/ || /^\.[BIR]+ / } @{$text{$_}};
  }

  # NAME: the functions of the page, that of its file first.
  my ($names) = join (' ', map { plain ($_) } @{$text{'NAME'} // []})
    =~ /^(.*?) - ./;
  my @names = split /, */, $names // '';
  print "$file: NAME does not begin with $base\n"
    if ($names[0] // '') ne $base;
  if ($number == 3) {
    for (@names) {
      print "$file: $_ has a page already, $page_of{$_}\n" if $page_of{$_};
      print "$file: $_ is not exported\n" unless $is_exported{$_};
      $page_of{$_} = $file;
    }
  } else {
    $page_of{$base} = $file;
  }

  # SYNOPSIS: these, as the headers have them.
  my @synopsis = map { plain ($_) } @{$text{'SYNOPSIS'} // []};
  my @includes = grep { /^#/ } @synopsis;
  print "$file: SYNOPSIS includes nothing\n" unless @includes;
  my $prototypes =
    join "\n", grep { !/^(?:#|\.|cc )/ && /\S/ } @synopsis;
  my %is_named = map { $_ => 1 } $number == 3 ? @names : ();
  my %is_declared;
  for (split /;\n?/, $prototypes) {
    my ($name) = /(\w+) \(/;
    $name //= $_;
    $is_declared{$name} = 1;
    print "$file: SYNOPSIS has $name, NAME has not\n" unless $is_named{$name};
    print "$file: the headers do not declare $name as SYNOPSIS does\n"
      if squeeze ("$_;") ne ($prototype{$name} // '');
  }
  for (sort keys %is_named) {
    print "$file: NAME has $_, SYNOPSIS has not\n" unless $is_declared{$_};
  }
  my ($begin, $end) = ("#ifdef __cplusplus\nextern \"C\" {\n#endif\n",
                       "\n#ifdef __cplusplus\n}\n#endif\n");
  open my $c, '>', "$out/$base.$number.SYNOPSIS.c" or die;
  print $c join ("\n", @includes), "\n";
  # Declared by what the page includes, before the page does it again.
  print $c "enum { known_$_ = sizeof (&$_) };\n" for sort keys %is_named;
  print $c "$begin$prototypes$end";
  close $c;

  # What is shown: structures as in the headers; examples to be compiled.
  for my $section (@order) {
    my $shown = join "\n", @{$text{$section}};
    my $all = '';
    while ($shown =~ /^\.EX\n(.*?)^\.EE$/gms) {
      my $block = join "\n", map { plain ($_) } split /\n/, $1;
      $all .= "$block\n";
      next if $section eq 'EXAMPLE';
      while ($block =~ /^((?:struct \w+ \{.*?^\}|typedef [^;]*);)/gms) {
        my ($what, $is) = ($1, squeeze ($1));
        print "$file: not as in the headers: ", $what =~ /^([^\n]*)/, "\n"
          unless $is_shown{$is};
      }
    }
    next if $section ne 'EXAMPLE' || $all eq '';
    open my $example, '>', "$out/$base.$number.EXAMPLE.c" or die;
    print $example $all;
    close $example;
  }
}

for (sort keys %is_exported) {
  print "lib/libdmio.map: $_ has no man page\n" unless $page_of{$_};
}
for (sort keys %is_word) {
  print "the headers: no man page explains $_\n" unless $is_explained{$_};
}
for (sort keys %is_explained) {
  print "$is_explained{$_}: no header has $_\n" unless $is_word{$_};
}
for my $reference (sort keys %refers) {
  my ($name, $number) = $reference =~ /(\w+)\((\d)\)/;
  print "$_: refers to $reference, which is not there\n"
    for grep { ($page_of{$name} // '') !~ /\.$number$/ }
    sort keys %{$refers{$reference}};
}
PERL

# check_pages FOLDER [GOOD]: a line on stdout for each violation.  What has to
# be compiled stays in $tmp/code; what is in the folder GOOD too is not.
check_pages ()
{
  local folder=$1 good=${2-} code name errors

  rm -rf "$tmp/code"
  mkdir -p "$tmp/code/include"
  ln -s "$folder/lib" "$tmp/code/include/dmio"
  (cd "$folder" && perl "$tmp/pages.pl" "$tmp/code")
  for code in "$tmp/code/"*.c; do
    name=$(basename "$code" .c)
    [[ -z $good ]] || ! cmp -s "$code" "$good/$name.c" || continue
    errors=$("$CC" -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only \
      -I "$tmp/code/include" -x c "$code" 2>&1) ||
      echo "$name: does not compile as C11: ${errors%%$'\n'*}"
    errors=$("$CXX" -std=c++11 -Wall -Wextra -Werror -fsyntax-only \
      -I "$tmp/code/include" -x c++ "$code" 2>&1) ||
      echo "$name: does not compile as C++: ${errors%%$'\n'*}"
  done
  if command -v mandoc > /dev/null; then
    (cd "$folder" && mandoc -T lint -W style lib/man/*.[37]) || :
  fi
}

# planted WHAT COMMAND: after COMMAND the copy has the violation WHAT.
planted ()
{
  local what=$1 command=$2 said

  rm -rf "$tmp/tree"
  mkdir "$tmp/tree"
  cp -R "$top/lib" "$tmp/tree/"
  chmod -R u+w "$tmp/tree"
  (cd "$tmp/tree/lib" && eval "$command")
  said=$(check_pages "$tmp/tree" "$tmp/good")
  if [[ $said != *"$what"* ]]; then
    echo "not caught: $what (said: ${said:-nothing})"
    failed=1
  fi
}

self_test ()
{
  mv "$tmp/code" "$tmp/good"
  planted 'dm_io_put has no man page' \
    'sed -i "s/^dm_io_get, dm_io_put/dm_io_get/" man/dm_io_get.3'
  planted 'bdev_new has no man page' \
    'sed -i "s/^  bdev_name;/&\n  bdev_new;/" libdmio.map'
  planted 'bdev_copy is not exported' 'sed -i "/ bdev_copy;/d" libdmio.map'
  planted 'bdev_copy has a page already' 'cp man/bdev_copy.3 man/bdev_dup.3'
  planted 'NAME does not begin with bdev_dup' \
    'mv man/bdev_copy.3 man/bdev_dup.3'
  planted 'its head says BDEV_READ(3)' \
    'sed -i "s/^\.TH BDEV_COPY/.TH BDEV_READ/" man/bdev_copy.3'
  planted 'bdev_copy.3: has the sections' 'sed -i "/^\.SH THREADS/d" man/bdev_copy.3'
  planted 'bdev_copy.3: LIFETIMES is empty' \
    'sed -i "/^\.SH LIFETIMES/{n;d}" man/bdev_copy.3'
  planted 'do not declare bdev_sectors as' \
    'sed -i "s/sector_t bdev_sectors/int bdev_sectors/" man/bdev_name.3'
  planted 'bdev_name.3.SYNOPSIS: does not compile as C11' \
    'sed -i "s/sector_t bdev_sectors/int bdev_sectors/" man/bdev_name.3'
  planted 'do not declare bdev_reconnect as' \
    'sed -i "s/ bdev \", unsigned \" flags/ flags \", unsigned \" bdev/" man/bdev_reconnect.3'
  planted 'bdev_reconnect.3.SYNOPSIS: does not compile as C++' \
    'sed -i "s/unsigned \" flags/long \" flags/" man/bdev_reconnect.3'
  planted 'dm_io_get.3.SYNOPSIS: does not compile as C11' \
    'sed -i "s/<dmio.*>/<dmio\/block-device.h>/" man/dm_io_get.3'
  planted 'SYNOPSIS includes nothing' 'sed -i "/#include/d" man/dm_io_get.3'
  planted 'NAME has dm_io_put, SYNOPSIS has not' \
    'sed -i "/void dm_io_put/d" man/dm_io_get.3'
  planted 'SYNOPSIS has bdev_close, NAME has not' \
    'sed -i "s/^\.BI .int dm_io_get/.B void bdev_close (struct block_device *bdev);\n&/" man/dm_io_get.3'
  planted 'kcopyd_copy.3.EXAMPLE: does not compile as C11' \
    'sed -i "s/^  puts (/  put (/" man/kcopyd_copy.3'
  planted 'bdev_begin.3.EXAMPLE: does not compile as C++' \
    'sed -i "s/int began = /int class = began, began = /" man/bdev_begin.3'
  planted 'bdev_begin.3: not as in the headers: struct bdev_io {' \
    'sed -i "s/^  bool more;/  int more;/" man/bdev_begin.3'
  planted 'dm_io_async.3: not as in the headers: typedef void (*io_notify_fn)' \
    'sed -i "/^typedef/s/long/int/" man/dm_io_async.3'
  planted 'no man page explains BDEV_OPEN_SLOW' \
    'sed -i "s/^#define BDEV_OPEN_DIRECT/#define BDEV_OPEN_SLOW 64\n&/" block-device.h'
  planted 'no header has BDEV_OPEN_SLOW' \
    'sed -i "s/BDEV_OPEN_DIRECT/BDEV_OPEN_SLOW/" man/bdev_open.3'
  planted 'dmio.7: refers to bdev_slow(3), which is not there' \
    'sed -i "s/bdev_read (3)/bdev_slow (3)/" man/dmio.7'
  planted 'no pages' 'rm -r man'
  if command -v mandoc > /dev/null; then
    planted 'mandoc: lib/man/dmio.7' 'echo .XYZ >> man/dmio.7'
  fi
}

with_self_test=yes
if [[ ${1-} = --no-self-test ]]; then
  with_self_test=no
  shift
fi
top=$(cd "${1:-$top}" && pwd)
command -v mandoc > /dev/null ||
  echo 'mandoc is not installed: the layout of the pages is not checked' >&2
found=$(check_pages "$top")
if [[ -n $found ]]; then
  echo "$found"
  exit 1
fi
[[ $with_self_test = no ]] || self_test
exit "$failed"
