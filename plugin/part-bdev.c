/* A part of a block device, seen as a device.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Everything goes through, at another place.  An operation in flight keeps the
 * lower device's place until it has ended.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "part-bdev.h"

struct part {
  struct block_device *lower;
  sector_t offset;
};

static int
part_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  struct part *p = handle;

  return bdev_read (p->lower, iov, iovcnt, p->offset + sector);
}

static int
part_write (void *handle, const struct iovec *iov, int iovcnt, sector_t sector,
            unsigned flags)
{
  struct part *p = handle;

  return bdev_write (p->lower, iov, iovcnt, p->offset + sector, flags);
}

static int
part_flush (void *handle)
{
  struct part *p = handle;

  return bdev_flush (p->lower);
}

static int
part_discard (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  struct part *p = handle;

  return bdev_discard (p->lower, p->offset + sector, count, flags);
}

static int
part_write_zeroes (void *handle, sector_t sector, sector_t count,
                   unsigned flags)
{
  struct part *p = handle;

  return bdev_write_zeroes (p->lower, p->offset + sector, count, flags);
}

static int
part_extent (void *handle, sector_t sector, sector_t count,
             struct bdev_extent *extent)
{
  struct part *p = handle;

  return bdev_extent (p->lower, p->offset + sector, count, extent);
}

static int
part_identity (void *handle, struct bdev_identity *identity)
{
  struct part *p = handle;

  return bdev_identity (p->lower, identity);
}

static int
part_begin (void *handle, struct bdev_io *io)
{
  struct part *p = handle;
  int r;

  if (io->op == BDEV_FLUSH)
    return bdev_begin (p->lower, io);
  io->sector += p->offset;
  r = bdev_begin (p->lower, io);
  if (r < 0)
    io->sector -= p->offset;
  return r;
}

static int
part_end (void *handle, struct bdev_io *io)
{
  struct part *p = handle;
  int r = bdev_end (p->lower, io);

  if (io->op != BDEV_FLUSH)
    io->sector -= p->offset;
  return r;
}

static void
part_limits (void *handle, struct bdev_limits *limits)
{
  struct part *p = handle;

  bdev_get_limits (p->lower, limits);
}

static int
part_reconnect (void *handle, unsigned flags)
{
  struct part *p = handle;

  return bdev_reconnect (p->lower, flags);
}

static void
part_close (void *handle)
{
  struct part *p = handle;

  bdev_close (p->lower);
  free (p);
}

static const struct bdev_ops part_ops = {
  .struct_size = sizeof part_ops,
  .read = part_read,
  .write = part_write,
  .flush = part_flush,
  .discard = part_discard,
  .write_zeroes = part_write_zeroes,
  .extent = part_extent,
  .identity = part_identity,
  .begin = part_begin,
  .end = part_end,
  .limits = part_limits,
  .reconnect = part_reconnect,
  .close = part_close,
};

int
part_bdev_take (struct block_device **bdev, sector_t offset)
{
  sector_t sectors = bdev_sectors (*bdev);
  struct bdev_ops ops = part_ops;
  struct part *p;
  int r;

  if (offset == 0)
    return 0;
  if (offset >= sectors)
    return -EINVAL;
  p = malloc (sizeof *p);
  if (p == NULL)
    return -ENOMEM;
  p->lower = *bdev;
  p->offset = offset;
  if (bdev_is_read_only (*bdev))
    ops.write = NULL;
  if (!bdev_can_begin (*bdev))
    ops.begin = NULL, ops.end = NULL;
  r = bdev_create (&ops, p, bdev_name (*bdev), sectors - offset, bdev);
  if (r < 0)
    free (p);
  return r;
}
