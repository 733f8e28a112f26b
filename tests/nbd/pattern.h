/* Bytes that tell which seed and which offset they were written with.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_TEST_PATTERN_H
#define DM_TEST_PATTERN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t
pattern_mix (uint64_t x)
{
  x += UINT64_C (0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C (0x94d049bb133111eb);
  return x ^ (x >> 31);
}

/* The eight bytes at offset 8 * word, the lowest byte first. */
static inline uint64_t
pattern_word (uint64_t seed, uint64_t word)
{
  return pattern_mix (seed * UINT64_C (0xd6e8feb86659fd93) ^ word);
}

static inline uint8_t
pattern_byte (uint64_t seed, uint64_t offset)
{
  return (uint8_t) (pattern_word (seed, offset / 8) >> (8 * (offset % 8)));
}

static inline void
pattern_fill (uint8_t *buf, size_t len, uint64_t seed, uint64_t offset)
{
  size_t i = 0;

  while (i < len && (offset + i) % 8 != 0) {
    buf[i] = pattern_byte (seed, offset + i);
    i++;
  }
  for (; len - i >= 8; i += 8) {
    uint64_t word = pattern_word (seed, (offset + i) / 8);
    memcpy (&buf[i], &word, 8);
  }
  for (; i < len; i++)
    buf[i] = pattern_byte (seed, offset + i);
}

/* A generator of random numbers, state in one word. */
static inline uint64_t
random_next (uint64_t *state)
{
  *state += UINT64_C (0x9e3779b97f4a7c15);
  return pattern_mix (*state);
}

/* Uniform in 0 .. limit - 1; limit must not be 0. */
static inline uint64_t
random_below (uint64_t *state, uint64_t limit)
{
  return random_next (state) % limit;
}

#endif /* DM_TEST_PATTERN_H */
