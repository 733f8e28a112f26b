/* A target seen as a block device, for kcopyd to copy from.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "block-device.h"
#include "target.h"

static int
target_bdev_read (void *handle, const struct iovec *iov, int iovcnt,
                  sector_t sector)
{
  struct target *t = handle;
  int i, r;

  for (i = 0; i < iovcnt; ++i) {
    sector_t count = iov[i].iov_len >> SECTOR_SHIFT;

    /* kcopyd's memory is pages, so every piece is whole sectors. */
    if (iov[i].iov_len % SECTOR_SIZE != 0)
      return -EINVAL;
    if (count == 0)
      continue;
    r = target_read (t, iov[i].iov_base, sector, count);
    if (r < 0)
      return r;
    sector += count;
  }
  return 0;
}

static int
target_bdev_extent (void *handle, sector_t sector, sector_t count,
                    struct bdev_extent *extent)
{
  return target_extent (handle, sector, count, extent);
}

/* A read of the mirror may wait for a copy of the resync. */
static void
target_bdev_limits (void *handle, struct bdev_limits *limits)
{
  (void) handle;
  limits->is_stacked = true;
}

static const struct bdev_ops target_bdev_ops = {
  .struct_size = sizeof (struct bdev_ops),
  .read = target_bdev_read,
  .extent = target_bdev_extent,
  .limits = target_bdev_limits,
};

int
target_bdev_create (struct target *t, struct block_device **bdev)
{
  return bdev_create (&target_bdev_ops, t, t->ops->name, t->sectors, bdev);
}
