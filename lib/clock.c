/* The clock seam over clock_gettime.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <time.h>

#include "clock.h"

uint64_t
clock_now_ns (void)
{
  struct timespec ts;

  if (clock_gettime (CLOCK_MONOTONIC, &ts) == -1)
    abort ();
  return (uint64_t) ts.tv_sec * NS_PER_SECOND + (uint64_t) ts.tv_nsec;
}

int64_t
clock_wall_seconds (void)
{
  struct timespec ts;

  if (clock_gettime (CLOCK_REALTIME, &ts) == -1)
    abort ();
  return ts.tv_sec;
}

void
clock_format_rfc3339 (int64_t wall_seconds, char buffer[CLOCK_RFC3339_BYTES])
{
  time_t t = (time_t) wall_seconds;
  struct tm tm;

  buffer[0] = '\0';
  if (gmtime_r (&t, &tm) != NULL)
    (void) strftime (buffer, CLOCK_RFC3339_BYTES, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
