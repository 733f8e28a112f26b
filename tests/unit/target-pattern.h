/* Patterns of sectors on a target, for the tests of snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_TARGET_PATTERN_H
#define DM_TARGET_PATTERN_H

#include <stdlib.h>

#include "target-test.h"

static inline int
write_pattern (struct target *t, uint64_t seed, sector_t sector, sector_t count)
{
  unsigned char *data = test_alloc_sectors (count);
  int r;

  fill_pattern (data, seed, sector, count);
  r = target_write (t, data, sector, count, 0);
  free (data);
  return r;
}

#define assert_target_pattern(t, seed, sector, count) \
  do { \
    unsigned char *data_ = test_alloc_sectors (count); \
    ck_assert_int_eq (target_read ((t), data_, (sector), (count)), 0); \
    assert_pattern (data_, (seed), (sector), (count)); \
    free (data_); \
  } while (0)

#endif /* DM_TARGET_PATTERN_H */
