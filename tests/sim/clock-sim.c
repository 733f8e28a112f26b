/* The time of the simulated machine: lib/clock.h, simulated.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Linked in place of lib/clock.c.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>

#include "clock.h"
#include "sim.h"

/* When simulated machines are switched on: 2026-01-01. */
#define FIRST_WALL_SECONDS INT64_C (1767225600)

uint64_t
clock_now_ns (void)
{
  return sim_now_ns ();
}

int64_t
clock_wall_seconds (void)
{
  return FIRST_WALL_SECONDS + (int64_t) (sim_now_ns () / NS_PER_SECOND);
}

void
clock_format_rfc3339 (int64_t wall_seconds, char buffer[CLOCK_RFC3339_BYTES])
{
  (void) snprintf (buffer, CLOCK_RFC3339_BYTES, "%" PRId64, wall_seconds);
}
