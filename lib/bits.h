/* Powers of two, rounding, and small bit tricks.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_BITS_H
#define DMIO_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_COUNT(array) (sizeof (array) / sizeof (array)[0])

#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))
#define MAX_OF(a, b) ((a) > (b) ? (a) : (b))

static inline bool
is_power_of_2 (uint64_t n)
{
  return n != 0 && (n & (n - 1)) == 0;
}

/* Exponent of N, which must be a power of two. */
static inline unsigned
log2_of (uint64_t n)
{
  return (unsigned) __builtin_ctzll (n);
}

/* Round N down or up to a multiple of ALIGN, a power of two.  Rounding
 * up must not pass 2^64: callers have checked N against SECTOR_MAX.
 */
static inline uint64_t
round_down_to (uint64_t n, uint64_t align)
{
  return n & ~(align - 1);
}

static inline uint64_t
round_up_to (uint64_t n, uint64_t align)
{
  return (n + align - 1) & ~(align - 1);
}

/* The quotient, rounded up; N + DIVISOR must not pass 2^64. */
static inline uint64_t
div_round_up (uint64_t n, uint64_t divisor)
{
  return (n + divisor - 1) / divisor;
}

#endif /* DMIO_BITS_H */
