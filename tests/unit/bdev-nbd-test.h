/* What the tests of failing NBD servers share: a device behind a fake one.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_BDEV_NBD_TEST_H
#define DMIO_BDEV_NBD_TEST_H

#include <errno.h>

#include "fake-nbd.h"
#include "test-util.h"

#define DISK_SECTORS ((sector_t) 4096)
#define ALL_FLAGS \
  (FAKE_HAS_FLUSH | FAKE_HAS_FUA | FAKE_HAS_TRIM | FAKE_HAS_ZERO | \
   FAKE_HAS_FAST_ZERO | FAKE_MULTI_CONN)

/* Time-outs: where it is waited for, and where it must not happen.  The
 * quick one is for tests in which no call has to succeed in time, but those
 * that are tried again.
 */
#define QUICK_MS 250
#define SHORT_MS 1000
#define LONG_MS 20000

/* A busy machine may be too slow for a short one. */
#define TRIES_AT_MOST 40

static const struct fake_options usual = {
  .bytes = DISK_SECTORS * SECTOR_SIZE,
  .flags = ALL_FLAGS,
  .has_contexts = true,
};

static inline int
try_open (struct fake_nbd *fake, unsigned timeout_ms, unsigned connections,
          struct block_device **bdev)
{
  const struct bdev_options options = {
    .struct_size = sizeof options,
    .timeout_ms = timeout_ms,
    .connections = connections,
  };

  return bdev_open_options (fake_nbd_uri (fake), &options, bdev);
}

static inline struct block_device *
open_fake (struct fake_nbd *fake, unsigned timeout_ms, unsigned connections)
{
  struct block_device *bdev = NULL;
  unsigned tries = 0;
  int r;

  do
    r = try_open (fake, timeout_ms, connections, &bdev);
  while (r == -ETIMEDOUT && ++tries < TRIES_AT_MOST);
  ck_assert_int_eq (r, 0);
  return bdev;
}

/* The server has nothing to do any more that takes time. */
static inline void
reconnect (struct block_device *bdev)
{
  unsigned tries = 0;
  int r;

  do
    r = bdev_reconnect (bdev, 0);
  while ((r == -EBUSY || r == -ETIMEDOUT) && ++tries < TRIES_AT_MOST);
  ck_assert_int_eq (r, 0);
}

#endif /* DMIO_BDEV_NBD_TEST_H */
