/* What the unit tests of devices over whole blocks share: such a device.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Like test-util.h, everything is here and inline; a test uses what it
 * needs.
 */

#ifndef DMIO_BLOCKS_TEST_H
#define DMIO_BLOCKS_TEST_H

#include "bdev-impl.h"
#include "target-test.h"

/*----- a device that takes only whole blocks ---------------------------*/

/* It passes them on to a disk of fault-bdev.h.  What it begins reaches the
 * disk in begin, or in end.
 */
struct strict {
  struct fault_bdev *disk;
  struct block_device *bdev;
  sector_t block; /* sectors of one */
  atomic_uint wrong;
  atomic_bool lands_at_end;
  struct event_count ended;
};

/* One for each test. */
static struct strict strict;

static inline int
check_whole (struct strict *s, sector_t sector, sector_t count)
{
  if (sector % s->block == 0 && count % s->block == 0)
    return 0;
  atomic_fetch_add (&s->wrong, 1);
  return -EINVAL;
}

static inline sector_t
sectors_of (const struct iovec *iov, int iovcnt)
{
  size_t bytes = 0;
  int i;

  for (i = 0; i < iovcnt; ++i)
    bytes += iov[i].iov_len;
  return bytes / SECTOR_SIZE;
}

static inline int
strict_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  struct strict *s = handle;
  int r = check_whole (s, sector, sectors_of (iov, iovcnt));

  return r < 0 ? r : bdev_read (s->bdev, iov, iovcnt, sector);
}

static inline int
strict_write (void *handle, const struct iovec *iov, int iovcnt,
              sector_t sector, unsigned flags)
{
  struct strict *s = handle;
  int r = check_whole (s, sector, sectors_of (iov, iovcnt));

  return r < 0 ? r : bdev_write (s->bdev, iov, iovcnt, sector, flags);
}

static inline int
strict_flush (void *handle)
{
  struct strict *s = handle;

  return bdev_flush (s->bdev);
}

static inline int
strict_discard (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  struct strict *s = handle;
  int r = check_whole (s, sector, count);

  return r < 0 ? r : bdev_discard (s->bdev, sector, count, flags);
}

static inline int
strict_write_zeroes (void *handle, sector_t sector, sector_t count,
                     unsigned flags)
{
  struct strict *s = handle;
  int r = check_whole (s, sector, count);

  return r < 0 ? r : bdev_write_zeroes (s->bdev, sector, count, flags);
}

static inline int
strict_extent (void *handle, sector_t sector, sector_t count,
               struct bdev_extent *extent)
{
  struct strict *s = handle;
  int r = check_whole (s, sector, count);

  return r < 0 ? r : bdev_extent (s->bdev, sector, count, extent);
}

static inline int
strict_identity (void *handle, struct bdev_identity *identity)
{
  struct strict *s = handle;

  return bdev_identity (s->bdev, identity);
}

static inline int
land (struct strict *s, const struct bdev_io *io)
{
  switch (io->op) {
  case BDEV_READ:
    return strict_read (s, io->iov, io->iovcnt, io->sector);
  case BDEV_WRITE:
    return strict_write (s, io->iov, io->iovcnt, io->sector, io->flags);
  case BDEV_FLUSH:
    return strict_flush (s);
  case BDEV_DISCARD:
    return strict_discard (s, io->sector, io->count, io->flags);
  default:
    return strict_write_zeroes (s, io->sector, io->count, io->flags);
  }
}

static inline int
strict_begin (void *handle, struct bdev_io *io)
{
  struct strict *s = handle;

  io->state[0] = atomic_load (&s->lands_at_end) ? NULL : io;
  io->state[1] = (void *) (intptr_t) (io->state[0] ? land (s, io) : 0);
  return 0;
}

static inline int
strict_end (void *handle, struct bdev_io *io)
{
  struct strict *s = handle;
  int r = io->state[0] ? (int) (intptr_t) io->state[1] : land (s, io);

  event_count_add (&s->ended);
  return r;
}

static inline void
strict_limits (void *handle, struct bdev_limits *limits)
{
  (void) handle;
  limits->is_remote = true;
  limits->max_bytes = 123456;
}

static inline int
strict_reconnect (void *handle, unsigned flags)
{
  (void) handle;
  return flags == BDEV_RECONNECT_FENCED ? -EBUSY : 0;
}

static inline int
strict_copy (void *handle, sector_t sector, void *dest_handle,
             sector_t dest_sector, sector_t count)
{
  struct strict *s = handle;
  char *data = test_alloc_sectors (count);
  int r = read_at (s->bdev, sector, count, data);

  ck_assert_ptr_eq (handle, dest_handle);
  if (r == 0)
    r = check_whole (s, sector | dest_sector, count);
  if (r == 0)
    r = write_at (s->bdev, dest_sector, count, data, 0);
  free (data);
  return r;
}

static inline void
strict_close (void *handle)
{
  struct strict *s = handle;

  bdev_close (s->bdev);
}

static const struct bdev_ops strict_ops = {
  .struct_size = sizeof strict_ops,
  .read = strict_read,
  .write = strict_write,
  .flush = strict_flush,
  .discard = strict_discard,
  .write_zeroes = strict_write_zeroes,
  .extent = strict_extent,
  .identity = strict_identity,
  .begin = strict_begin,
  .end = strict_end,
  .limits = strict_limits,
  .reconnect = strict_reconnect,
  .copy = strict_copy,
  .close = strict_close,
};

static const struct bdev_ops bare_ops = {
  .struct_size = sizeof bare_ops,
  .read = strict_read,
  .close = strict_close,
};

static inline struct block_device *
make_strict (const struct bdev_ops *ops, sector_t sectors, sector_t block,
             struct fault_trace *trace)
{
  struct block_device *lower;

  memset (&strict, 0, sizeof strict);
  strict.disk = fault_bdev_create ("disk", sectors, trace);
  strict.bdev = fault_bdev_open (strict.disk, 0);
  strict.block = block;
  event_count_init (&strict.ended);
  ck_assert_int_eq (bdev_create (ops, &strict, "disk", sectors, &lower), 0);
  return lower;
}

/* A device of sectors over SECTORS sectors in blocks of BLOCK. */
static inline struct block_device *
setup (sector_t sectors, sector_t block, struct fault_trace *trace)
{
  struct block_device *lower = make_strict (&strict_ops, sectors, block, trace);
  struct block_device *bdev;

  ck_assert_int_eq (bdev_blocks_create (lower,
                                        (unsigned) sector_to_bytes (block),
                                        &bdev),
                    0);
  return bdev;
}

static inline void
teardown (struct block_device *bdev)
{
  bdev_close (bdev);
  ck_assert_uint_eq (fault_bdev_open_count (strict.disk), 0);
  fault_bdev_destroy (strict.disk);
  event_count_destroy (&strict.ended);
  ck_assert_uint_eq (atomic_load (&strict.wrong), 0);
}

/*----- requests --------------------------------------------------------*/

static char buffer[sizeof (char[256 * 512])];

static inline int
change (struct block_device *bdev, char op, sector_t sector, sector_t count,
        unsigned flags)
{
  switch (op) {
  case 'r':
    return read_at (bdev, sector, count, buffer);
  case 'w':
    return write_at (bdev, sector, count, buffer, flags);
  case 'z':
    return bdev_write_zeroes (bdev, sector, count, flags);
  default:
    return bdev_discard (bdev, sector, count, flags);
  }
}

#endif /* DMIO_BLOCKS_TEST_H */
