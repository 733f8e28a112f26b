/* Time: the clock seam.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_CLOCK_H
#define DMIO_CLOCK_H

#include <stdint.h>

#define NS_PER_SECOND 1000000000ULL

/* Nanoseconds of a clock that only goes forward and is never set. */
uint64_t clock_now_ns (void);

/* Seconds since 1970 UTC, for people to read.  Never compared. */
int64_t clock_wall_seconds (void);

/* WALL_SECONDS as RFC 3339, such as 2026-11-21T09:30:00Z.  BUFFER has
 * room for CLOCK_RFC3339_BYTES.
 */
#define CLOCK_RFC3339_BYTES 32
void clock_format_rfc3339 (int64_t wall_seconds,
                           char buffer[CLOCK_RFC3339_BYTES]);

#endif /* DMIO_CLOCK_H */
