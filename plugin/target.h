/* A target: one device of the volume, made out of other devices.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Targets are stacked: mirror at the bottom, then the origin, then the
 * snapshots, each upon the next newer device.  All calls block until they
 * are done, may come from any number of threads, and return 0 or a
 * negative errno.  Ranges are inside the device and not empty: the caller
 * has checked.  Writes that overlap must not be in flight at once: the
 * caller holds the range.
 */

#ifndef DM_TARGET_H
#define DM_TARGET_H

#include "block-device.h"
#include "sector.h"

struct target;

/* All slots are required.  FLAGS are BDEV_FUA, and for zero also
 * BDEV_UNMAP and BDEV_FAST.  Called by the plugin, and by the target
 * above.
 */
struct target_ops {
  const char *name;

  /* Fill BUFFER.  After an error its contents mean nothing. */
  int (*read) (struct target *t, void *buffer, sector_t sector, sector_t count);

  /* After an error any of the sectors may be old or new. */
  int (*write) (struct target *t, const void *buffer, sector_t sector,
                sector_t count, unsigned flags);

  /* Make durable all writes that had completed. */
  int (*flush) (struct target *t);

  /* Make sectors read as zeroes.  With BDEV_FAST: -EOPNOTSUPP, and
   * nothing was changed, if that would mean writing them.
   */
  int (*zero) (struct target *t, sector_t sector, sector_t count,
               unsigned flags);

  /* Describe the start of the range. */
  int (*extent) (struct target *t, sector_t sector, sector_t count,
                 struct bdev_extent *extent);
};

struct target {
  const struct target_ops *ops;
  sector_t sectors;
};

static inline int
target_read (struct target *t, void *buffer, sector_t sector, sector_t count)
{
  return t->ops->read (t, buffer, sector, count);
}

static inline int
target_write (struct target *t, const void *buffer, sector_t sector,
              sector_t count, unsigned flags)
{
  return t->ops->write (t, buffer, sector, count, flags);
}

static inline int
target_flush (struct target *t)
{
  return t->ops->flush (t);
}

static inline int
target_zero (struct target *t, sector_t sector, sector_t count, unsigned flags)
{
  return t->ops->zero (t, sector, count, flags);
}

static inline int
target_extent (struct target *t, sector_t sector, sector_t count,
               struct bdev_extent *extent)
{
  return t->ops->extent (t, sector, count, extent);
}

/* A read-only block device that reads from target T, for kcopyd to copy
 * from.  T must outlive it.  Returns 0 or -ENOMEM.
 */
int target_bdev_create (struct target *t, struct block_device **bdev);

#endif /* DM_TARGET_H */
