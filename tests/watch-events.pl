#!/usr/bin/env perl
# Judge of what a server tells: every change of state, once and in order.
# SPDX-License-Identifier: BSD-3-Clause
#
#   watch-events.pl LOG BEGIN COMMAND...
#
# COMMAND writes the events until the server ends: "dmnbd events --since 0".
# When the first has come a line is printed; what is wrong is told on stderr,
# with the events, and then the exit status is 1.  LOG is the server's log,
# which from byte BEGIN on is this server's; if there is a file LOG.end, it has
# the bytes that LOG had before the server was told to end in order, and all
# that they show has been told.
#
# Rules:
#   1. Numbers begin at 1 and rise by one; none is left out, none comes twice.
#   2. What a leg, or the volume, was is what it has last become.
#   3. A snapshot that breaks, is removed, renamed or merged is there.
#   4. What goes on has begun, and ends once: resync, scrub, merge, removal.
#   5. A leg in use loses its name, and has it again, in turn.
#   6. Legs fail and snapshots break in the order in which the log says so.
# A server that is killed may leave half a line, and what it logged untold.

use strict;
use warnings;

my ($log, $begin, @command) = @ARGV;
my (%leg, %nameless, %running, %snapshot, @lines, @told, $volume);
my ($number, $is_stopping, $wrong) = (0, 0, 0);

$| = 1;

sub wrong {
    print STDERR "events: $_[0]\n";
    $wrong = 1;
}

sub begins {
    my ($what) = @_;
    wrong("$what begins twice at $number") if $running{$what}++;
}

# Numbers begin with the server, and so does all that it goes on with: what was
# begun by an earlier server ends here without a beginning.
sub ends {
    my ($what) = @_;
    wrong("$what ends twice at $number") if ($running{$what} // 1) == 0;
    $running{$what} = 0;
}

sub is_there {
    my ($name) = @_;
    wrong("snapshot $name is gone before $number")
      if defined $snapshot{$name} && $snapshot{$name} eq 'gone';
}

sub judge {
    my ($line) = @_;
    my %e;

    # Each member is "name":text or a plain word; quotes inside have a \.
    while ($line =~ /"(\w+)":(?:"((?:[^"\\]|\\.)*)"|([^",}]+))/g) {
        $e{$1} = $2 // $3;
    }
    my $type = $e{type} // '';

    return wrong("$e{lost} were missed after $number") if $type eq 'overflow';
    return wrong("no number: $line") unless ($e{number} // '') =~ /^\d+$/;
    wrong("$e{number} after $number: $line") if $e{number} != $number + 1;
    $number = $e{number};
    wrong("$number comes after the end") if $is_stopping;

    if ($type eq 'leg.state') {
        my $was = $leg{ $e{leg} };
        wrong("leg $e{leg} was $was, not $e{was} at $number")
          if defined $was && $was ne $e{was};
        $leg{ $e{leg} } = $e{state};
        $nameless{ $e{leg} } = undef if $e{state} ne 'insync';
        push @told, "leg $e{leg}" if $e{state} eq 'failed';
    }
    elsif ($type eq 'leg.file') {
        wrong("leg $e{leg} is out, but looked for at $number")
          if ($leg{ $e{leg} } // 'insync') !~ /^(insync|recovering)$/;
        wrong("the name of leg $e{leg} is told twice at $number")
          if ($nameless{ $e{leg} } // '') eq ($e{reason} // '');
        $nameless{ $e{leg} } = $e{reason};
    }
    elsif ($type eq 'volume.state') {
        wrong("the volume was $volume, not $e{was} at $number")
          if defined $volume && $volume ne $e{was};
        wrong("the volume stays $e{was} at $number") if $e{was} eq $e{state};
        $volume = $e{state};
    }
    elsif ($type =~ /^(resync|scrub)\.started$/) { begins($1) }
    elsif ($type =~ /^(resync|scrub)\.finished$/) { ends($1) }
    elsif ($type eq 'snapshot.created') {
        wrong("snapshot $e{name} is created twice at $number")
          if ($snapshot{ $e{name} } // 'gone') ne 'gone';
        $snapshot{ $e{name} } = 'valid';
    }
    elsif ($type eq 'snapshot.broken') {
        is_there($e{name});
        wrong("snapshot $e{name} breaks twice at $number")
          if ($snapshot{ $e{name} } // '') eq 'broken';
        $snapshot{ $e{name} } = 'broken';
        push @told, "snapshot $e{name}";
    }
    elsif ($type eq 'snapshot.renamed') {
        is_there($e{name});
        $snapshot{ $e{new_name} } = $snapshot{ $e{name} };
        $snapshot{ $e{name} } = 'gone';
    }
    elsif ($type eq 'snapshot.merging') {
        is_there($e{name});
        begins("merge of $e{name}");
    }
    elsif ($type eq 'snapshot.merged') {
        is_there($e{name});
        ends("merge of $e{name}");
    }
    elsif ($type eq 'snapshot.removed') {
        is_there($e{name});
        begins("removal of $e{name}");
        $snapshot{ $e{name} } = 'gone';
    }
    elsif ($type eq 'snapshot.gone') {
        ends("removal of $e{name}");
        delete $running{"removal of $e{name}"};
        delete $running{"merge of $e{name}"};
        $snapshot{ $e{name} } = 'gone';
    }
    elsif ($type eq 'server.stopping') { $is_stopping = 1 }
}

# What the log says of legs that failed and snapshots that broke, from BEGIN
# to END (undef: all of it).
sub logged {
    my ($end) = @_;
    my @logged;

    open my $in, '<', $log or die "$log: $!\n";
    seek $in, $begin, 0;
    while (my $line = <$in>) {
        last if defined $end && tell($in) > $end;
        if ($line =~ /mirror: leg (\d+) \(.*; (?:leg failed, )?volume degraded(?:;|$)/)
        {
            push @logged, "leg $1";
        }
        elsif ($line =~ /snapshot ([^: ]+): .*; the snapshot is invalid, the /) {
            push @logged, "snapshot $1";
        }
    }
    return @logged;
}

# Legs have one order, and snapshots another.
sub compare_with_log {
    my $end;

    if (open my $in, '<', "$log.end") { chomp($end = <$in>) }
    for my $what (qw(leg snapshot)) {
        my @events = grep { /^$what / } @told;
        my @all    = grep { /^$what / } logged();
        my $must = defined $end ? scalar grep { /^$what / } logged($end) : 0;

        for my $i (0 .. $#events) {
            next if $i > $#all ? !$is_stopping : $events[$i] eq $all[$i];
            wrong("told: @events; logged: @all");
            last;
        }
        wrong("told: @events; but $must were logged: @all")
          if $is_stopping && @events < $must;
    }
}

open my $events, '-|', @command or die "$command[0]: $!\n";
while (my $line = <$events>) {
    last unless $line =~ /\n$/;    # the end of a server that was killed
    push @lines, $line;
    print "watching\n" if @lines == 1;
    judge($line);
}
wrong('there was none') unless @lines;
wrong('the server was told to end, and did not tell that it does')
  if -e "$log.end" && !$is_stopping;
compare_with_log();
print STDERR @lines if $wrong;
print "it is over\n" unless @lines;
exit $wrong;
