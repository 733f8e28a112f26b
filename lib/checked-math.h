/* Arithmetic on numbers from outside, which may overflow.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_CHECKED_MATH_H
#define DMIO_CHECKED_MATH_H

#include <stdbool.h>
#include <stdint.h>

/* Store the result and return true, or return false when it does not
 * fit in 64 bits.
 */
static inline bool
checked_add (uint64_t a, uint64_t b, uint64_t *result)
{
  return !__builtin_add_overflow (a, b, result);
}

static inline bool
checked_mul (uint64_t a, uint64_t b, uint64_t *result)
{
  return !__builtin_mul_overflow (a, b, result);
}

/* True if the range [START, START + COUNT) lies inside [0, SIZE).  The
 * one test of a range in the project: it cannot wrap.
 */
static inline bool
range_is_inside (uint64_t start, uint64_t count, uint64_t size)
{
  return start <= size && count <= size - start;
}

/* True if two ranges share an element.  Neither may wrap: check them
 * with range_is_inside first.  An empty range overlaps nothing.
 */
static inline bool
ranges_overlap (uint64_t a_start, uint64_t a_count, uint64_t b_start,
                uint64_t b_count)
{
  return a_count > 0 && b_count > 0 && a_start < b_start + b_count &&
         b_start < a_start + a_count;
}

#endif /* DMIO_CHECKED_MATH_H */
