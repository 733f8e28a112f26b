/* The command line of dmsim.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enum.h"
#include "options.h"

#define DEFAULT_SEEDS 1000
#define DEFAULT_TELLS 1

enum option_code {
  OPTION_SEEDS = 256, /* no letter */
  OPTION_EVERY,
  OPTION_STEPS,
  OPTION_JOBS,
  OPTION_ENUMERATE,
  OPTION_TRACE,
  OPTION_HASHES,
  OPTION_HELP,
};

static const struct option long_options[] = {
  { "seeds", required_argument, NULL, OPTION_SEEDS },
  { "every", required_argument, NULL, OPTION_EVERY },
  { "steps", required_argument, NULL, OPTION_STEPS },
  { "jobs", required_argument, NULL, OPTION_JOBS },
  { "enumerate", optional_argument, NULL, OPTION_ENUMERATE },
  { "trace", no_argument, NULL, OPTION_TRACE },
  { "hashes", no_argument, NULL, OPTION_HASHES },
  { "help", no_argument, NULL, OPTION_HELP },
  { NULL, 0, NULL, 0 },
};

__attribute__ ((noreturn, format (printf, 1, 2))) static void
refuse (const char *format, ...)
{
  va_list args;

  fputs ("dmsim: ", stderr);
  va_start (args, format);
  vfprintf (stderr, format, args);
  va_end (args);
  fputs ("; see dmsim --help\n", stderr);
  exit (2);
}

static void
print_options (void)
{
  printf (
    "  --seeds FROM[..TO]   the seeds from FROM up to TO, without TO\n"
    "                       itself, or only FROM; numbers below 2^64.\n"
    "                       Default: 0..%d, with --enumerate 0..%d\n"
    "  --every N            of these only each N-th, from FROM on. Default: 1\n"
    "  --steps N            about so many requests of clients in each seed.\n"
    "                       Default: %d\n"
    "  --jobs N             so many processes at once, 1 to %d. Default: 1\n"
    "  --enumerate[=STORY]  tell short stories instead, each again for every\n"
    "                       crash in it and all that disks may keep then:\n"
    "                       those whose name begins with STORY, or all;\n"
    "                       with each of the seeds\n"
    "  --trace              print everything that happens: the scheduling\n"
    "                       point, the simulated time in ns, the fiber, what\n"
    "  --hashes             print only a line for each seed: it, and a number\n"
    "                       that is another one if anything has changed\n"
    "  --help               print this\n"
    "\n",
    DEFAULT_SEEDS, DEFAULT_TELLS, OPTIONS_DEFAULT_STEPS, OPTIONS_MAX_JOBS);
}

__attribute__ ((noreturn)) static void
print_help (void)
{
  fputs (
    "dmsim: run the production code on simulated machines, a seed for each\n"
    "\n"
    "usage: dmsim [--seeds FROM[..TO]] [--every N] [--steps N] [--jobs N]\n"
    "             [--trace|--hashes]\n"
    "       dmsim --enumerate[=STORY] [--seeds FROM[..TO]] [--jobs N]\n"
    "             [--trace]\n"
    "       dmsim --help\n"
    "\n"
    "Without --enumerate each seed is a volume with some lives, and it\n"
    "decides all that happens: who runs, what fails, when the power goes.\n"
    "\n",
    stdout);
  print_options ();
  fputs (
    "The sums of what was exercised are of I/O requests, sectors of 512\n"
    "bytes, and units of 256 bytes.  How long it took is told in seconds;\n"
    "nothing else depends on the machine.\n"
    "\n"
    "Ends with\n"
    "  0   all promises were kept\n"
    "  1   one was broken: the standard error output says which, by which\n"
    "      seed, and which command shows it again\n"
    "  2   it was not called as it should, and has run nothing\n"
    "\n"
    "Examples:\n"
    "  dmsim --seeds 0..100000 --jobs 2   many seeds\n"
    "  dmsim --seeds 2073 --trace         one that has failed, in full\n"
    "  dmsim --seeds 11..99999 --every 16 tables of direct snapshots alone\n"
    "  dmsim --enumerate --jobs 2         every crash of all stories\n"
    "  dmsim --enumerate=creation         of those about the first start\n"
    "  dmsim --seeds 0..20 --hashes       to be compared with other builds\n",
    stdout);
  if (fflush (stdout) == EOF || ferror (stdout)) {
    perror ("dmsim: the help cannot be printed");
    exit (1);
  }
  exit (0);
}

/* The number at the beginning of *TEXT, which is moved behind it.  Returns
 * false if there is none, or a larger one than there can be.
 */
static bool
parse_number (const char **text, uint64_t *number)
{
  char *end;

  if (!isdigit ((unsigned char) **text))
    return false; /* nor may there be a sign, or a space */
  errno = 0;
  *number = strtoull (*text, &end, 10);
  *text = end;
  return errno == 0;
}

static unsigned
parse_count (const char *option, const char *text, unsigned max)
{
  const char *end = text;
  uint64_t number;

  if (!parse_number (&end, &number) || *end != '\0' || number == 0 ||
      number > max)
    refuse ("--%s must be a number from 1 to %u, not '%s'", option, max, text);
  return (unsigned) number;
}

static void
parse_seeds (const char *text, struct options *o)
{
  const char *end = text;
  bool is_good = parse_number (&end, &o->from);
  bool is_range = is_good && strncmp (end, "..", 2) == 0;

  if (is_range) {
    end += 2;
    is_good = parse_number (&end, &o->to);
  }
  else
    o->to = o->from + 1;
  if (!is_good || *end != '\0')
    refuse ("--seeds must be FROM or FROM..TO, two numbers below 2^64, not "
            "'%s'",
            text);
  if (is_range ? o->to <= o->from : o->to == 0)
    refuse ("--seeds %s has no seed: TO is not included, and at most 2^64-1",
            text);
}

/* What getopt_long cannot take. */
__attribute__ ((noreturn)) static void
refuse_option (char **argv)
{
  const struct option *o;

  if (optopt > 0 && optopt < OPTION_SEEDS)
    refuse ("there is no option '-%c'", optopt);
  for (o = long_options; o->name != NULL; ++o)
    if (o->val == optopt)
      refuse ("--%s takes no value", o->name);
  refuse ("there is no option '%s', or more than one that begins so",
          argv[optind - 1]);
}

static void
check_story (const struct options *o)
{
  unsigned i;

  for (i = 0; i < enum_count (); ++i)
    if (options_want_story (o, i))
      return;
  refuse ("there is no story whose name begins with '%s'; --enumerate "
          "alone tells, and names, all",
          o->story);
}

void
options_parse (int argc, char **argv, struct options *o)
{
  bool has_steps = false;
  int c;

  *o = (struct options){
    .every = 1,
    .steps = OPTIONS_DEFAULT_STEPS,
    .jobs = 1,
  };
  opterr = 0; /* it is said here */
  while ((c = getopt_long (argc, argv, "+:", long_options, NULL)) != -1) {
    switch (c) {
    case OPTION_SEEDS:
      parse_seeds (optarg, o);
      break;
    case OPTION_EVERY:
      o->every = parse_count ("every", optarg, UINT_MAX / 2);
      break;
    case OPTION_STEPS:
      o->steps = parse_count ("steps", optarg, UINT_MAX / 2);
      has_steps = true;
      break;
    case OPTION_JOBS:
      o->jobs = parse_count ("jobs", optarg, OPTIONS_MAX_JOBS);
      break;
    case OPTION_ENUMERATE:
      o->story = optarg != NULL ? optarg : "";
      break;
    case OPTION_TRACE:
      o->is_traced = true;
      break;
    case OPTION_HASHES:
      o->has_hashes = true;
      break;
    case OPTION_HELP:
      print_help ();
    case ':':
      refuse ("%s needs a value", argv[optind - 1]);
    default:
      refuse_option (argv);
    }
  }
  if (optind < argc)
    refuse ("'%s' is not an option", argv[optind]);
  if (o->story != NULL && (has_steps || o->has_hashes))
    refuse ("--enumerate cannot be used with --steps or --hashes: stories have "
            "none");
  if (o->is_traced && o->has_hashes)
    refuse ("--trace and --hashes cannot be used together");
  if (o->story != NULL)
    check_story (o);
  if (o->to == 0)
    o->to = o->story != NULL ? DEFAULT_TELLS : DEFAULT_SEEDS;
}

bool
options_want_story (const struct options *o, unsigned i)
{
  return strncmp (enum_name (i), o->story, strlen (o->story)) == 0;
}
