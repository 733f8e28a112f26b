/* A block device, seen as a target.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stddef.h>

#include "bdev-target.h"

static struct block_device *
bdev_of (struct target *t)
{
  return ((struct bdev_target *) ((char *) t -
                                  offsetof (struct bdev_target, target)))
    ->bdev;
}

static int
bdev_target_read (struct target *t, void *buffer, sector_t sector,
                  sector_t count)
{
  struct iovec iov = { buffer, sector_to_bytes (count) };

  return bdev_read (bdev_of (t), &iov, 1, sector);
}

static int
bdev_target_write (struct target *t, const void *buffer, sector_t sector,
                   sector_t count, unsigned flags)
{
  struct iovec iov = { (void *) buffer, sector_to_bytes (count) };

  return bdev_write (bdev_of (t), &iov, 1, sector, flags);
}

static int
bdev_target_flush (struct target *t)
{
  return bdev_flush (bdev_of (t));
}

static int
bdev_target_zero (struct target *t, sector_t sector, sector_t count,
                  unsigned flags)
{
  return bdev_write_zeroes (bdev_of (t), sector, count, flags);
}

static int
bdev_target_extent (struct target *t, sector_t sector, sector_t count,
                    struct bdev_extent *extent)
{
  return bdev_extent (bdev_of (t), sector, count, extent);
}

static const struct target_ops bdev_target_ops = {
  .name = "device",
  .read = bdev_target_read,
  .write = bdev_target_write,
  .flush = bdev_target_flush,
  .zero = bdev_target_zero,
  .extent = bdev_target_extent,
};

void
bdev_target_init (struct bdev_target *t, struct block_device *bdev)
{
  t->target.ops = &bdev_target_ops;
  t->target.sectors = bdev_sectors (bdev);
  t->bdev = bdev;
}
