/* What the measuring programs share: numbers, time, and how they end.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "util.h"

const char *program_name = "bench";

void
die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fprintf (stderr, "%s: ", program_name);
  vfprintf (stderr, format, args);
  fputc ('\n', stderr);
  va_end (args);
  exit (2);
}

unsigned
parse_number (const char *name, const char *text, unsigned max)
{
  char *end;
  unsigned long n;

  errno = 0;
  n = strtoul (text, &end, 10);
  if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || n == 0 ||
      n > max)
    die ("--%s: not a number from 1 to %u: %s", name, max, text);
  return (unsigned) n;
}

void *
aligned_memory (size_t bytes)
{
  void *memory;

  if (posix_memalign (&memory, 4096, bytes) != 0)
    die ("no memory");
  return memory;
}

double
seconds_now (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

double
cpu_seconds (void)
{
  struct rusage u;

  getrusage (RUSAGE_SELF, &u);
  return (double) (u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double) (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}
