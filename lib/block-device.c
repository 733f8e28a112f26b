/* Block devices: the checks in front of every device's own operations.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "bdev-impl.h"
#include "bdev-observe.h"
#include "bits.h"
#include "block-device.h"
#include "checked-math.h"
#include "clock.h"
#include "versioned.h"

struct block_device {
  struct bdev_ops ops;
  void *handle;
  char *name;
  sector_t sectors;
  bdev_observe_fn observe; /* or NULL */
  void *observe_context;
};

/* The least that makes sense: a device that can be read. */
#define OPS_MIN_SIZE offsetof (struct bdev_ops, write)
#define OPTIONS_MIN_SIZE offsetof (struct bdev_options, timeout_ms)

#define OPEN_FLAGS \
  (BDEV_OPEN_READ_ONLY | BDEV_OPEN_DIRECT | BDEV_OPEN_BUFFERED | \
   BDEV_OPEN_EXCLUSIVE | BDEV_OPEN_WATCHED)
#define ZERO_FLAGS (BDEV_FUA | BDEV_UNMAP | BDEV_FAST)

/* Zeroes are written from here when a device cannot make them. */
#define ZERO_BYTES 65536
static const char zeroes[ZERO_BYTES];

int
bdev_create (const struct bdev_ops *ops, void *handle, const char *name,
             sector_t sectors, struct block_device **bdev)
{
  struct block_device *b;

  b = malloc (sizeof *b);
  if (b == NULL)
    return -ENOMEM;
  if (!versioned_copy (&b->ops, sizeof b->ops, OPS_MIN_SIZE, ops) ||
      b->ops.read == NULL || (b->ops.begin == NULL) != (b->ops.end == NULL) ||
      sectors > SECTOR_MAX) {
    free (b);
    return -EINVAL;
  }
  b->name = strdup (name);
  if (b->name == NULL) {
    free (b);
    return -ENOMEM;
  }
  b->handle = handle;
  b->sectors = sectors;
  b->observe = NULL;
  *bdev = b;
  return 0;
}

bool
bdev_open_flags_are_valid (unsigned flags)
{
  return (flags & ~OPEN_FLAGS) == 0 &&
         ((flags & BDEV_OPEN_DIRECT) == 0 || (flags & BDEV_OPEN_BUFFERED) == 0);
}

int
bdev_open (const char *spec, unsigned flags, struct block_device **bdev)
{
  const struct bdev_options options = {
    .struct_size = sizeof options,
    .flags = flags,
  };

  return bdev_open_options (spec, &options, bdev);
}

static int
open_watched (const char *path, const struct bdev_options *options,
              struct block_device **bdev)
{
  struct bdev_options lower_options = *options;
  struct block_device *lower;
  int r;

  lower_options.flags &= ~BDEV_OPEN_WATCHED;
  r = bdev_file_open (path, &lower_options, &lower);
  if (r < 0)
    return r;
  r = bdev_watch_create (lower, options->timeout_ms, bdev);
  if (r < 0)
    bdev_close (lower);
  return r;
}

int
bdev_open_options (const char *spec, const struct bdev_options *options,
                   struct block_device **bdev)
{
  struct bdev_options known;

  if (!versioned_copy (&known, sizeof known, OPTIONS_MIN_SIZE, options) ||
      !bdev_open_flags_are_valid (known.flags))
    return -EINVAL;
  if (bdev_spec_is_uri (spec))
    return bdev_uri_open (spec, &known, bdev);
  bdev_watch_reap (); /* SPEC may be among them */
  return known.flags & BDEV_OPEN_WATCHED ? open_watched (spec, &known, bdev)
                                         : bdev_file_open (spec, &known, bdev);
}

void
bdev_close (struct block_device *bdev)
{
  if (bdev == NULL)
    return;
  if (bdev->ops.close != NULL)
    bdev->ops.close (bdev->handle);
  free (bdev->name);
  free (bdev);
}

const char *
bdev_name (const struct block_device *bdev)
{
  return bdev->name;
}

sector_t
bdev_sectors (const struct block_device *bdev)
{
  return bdev->sectors;
}

bool
bdev_is_read_only (const struct block_device *bdev)
{
  return bdev->ops.write == NULL;
}

/*----- how long it takes -----------------------------------------------*/

void
bdev_set_observer (struct block_device *bdev, bdev_observe_fn fn, void *context)
{
  bdev->observe = fn;
  bdev->observe_context = context;
}

/* When an operation begins: 0 if nobody wants to know. */
static uint64_t
observe_begin (const struct block_device *bdev)
{
  return bdev->observe != NULL ? clock_now_ns () : 0;
}

/* The operation that began at BEGAN_NS has ended, with RESULT, at ENDED_NS (0:
 * now).  Returns RESULT.
 */
static int
observe_end (const struct block_device *bdev, enum bdev_op op,
             uint64_t began_ns, uint64_t ended_ns, int result)
{
  if (bdev->observe != NULL)
    bdev->observe (op, result,
                   (ended_ns != 0 ? ended_ns : clock_now_ns ()) - began_ns,
                   bdev->observe_context);
  return result;
}

/*----- operations ------------------------------------------------------*/

/* The sectors that IOV holds, or -EINVAL if the range is not inside the
 * device or not whole sectors.
 */
static int
check_vector (const struct block_device *bdev, const struct iovec *iov,
              int iovcnt, sector_t sector)
{
  uint64_t bytes = 0;
  int i;

  for (i = 0; i < iovcnt; ++i)
    if (!checked_add (bytes, iov[i].iov_len, &bytes))
      return -EINVAL;
  if (bytes % SECTOR_SIZE != 0 ||
      !range_is_inside (sector, bytes >> SECTOR_SHIFT, bdev->sectors))
    return -EINVAL;
  return 0;
}

int
bdev_read (struct block_device *bdev, const struct iovec *iov, int iovcnt,
           sector_t sector)
{
  int r = check_vector (bdev, iov, iovcnt, sector);
  uint64_t began_ns;

  if (r < 0)
    return r;
  began_ns = observe_begin (bdev);
  r = bdev->ops.read (bdev->handle, iov, iovcnt, sector);
  return observe_end (bdev, BDEV_READ, began_ns, 0, r);
}

int
bdev_write (struct block_device *bdev, const struct iovec *iov, int iovcnt,
            sector_t sector, unsigned flags)
{
  int r = check_vector (bdev, iov, iovcnt, sector);
  uint64_t began_ns;

  if (r == 0 && (flags & ~BDEV_FUA) != 0)
    r = -EINVAL;
  if (r < 0)
    return r;
  if (bdev->ops.write == NULL)
    return -EROFS;
  began_ns = observe_begin (bdev);
  r = bdev->ops.write (bdev->handle, iov, iovcnt, sector, flags);
  return observe_end (bdev, BDEV_WRITE, began_ns, 0, r);
}

int
bdev_flush (struct block_device *bdev)
{
  uint64_t began_ns;

  if (bdev->ops.flush == NULL)
    return 0;
  began_ns = observe_begin (bdev);
  return observe_end (bdev, BDEV_FLUSH, began_ns, 0,
                      bdev->ops.flush (bdev->handle));
}

int
bdev_discard (struct block_device *bdev, sector_t sector, sector_t count,
              unsigned flags)
{
  uint64_t began_ns;

  if (!range_is_inside (sector, count, bdev->sectors) ||
      (flags & ~BDEV_FUA) != 0)
    return -EINVAL;
  if (bdev->ops.write == NULL)
    return -EROFS;
  if (bdev->ops.discard == NULL)
    return -EOPNOTSUPP;
  if (count == 0)
    return 0;
  began_ns = observe_begin (bdev);
  return observe_end (bdev, BDEV_DISCARD, began_ns, 0,
                      bdev->ops.discard (bdev->handle, sector, count, flags));
}

static int
write_zero_buffers (struct block_device *bdev, sector_t sector, sector_t count,
                    unsigned flags)
{
  while (count > 0) {
    sector_t n = MIN_OF (count, (sector_t) ZERO_BYTES / SECTOR_SIZE);
    struct iovec iov = {
      .iov_base = (void *) zeroes,
      .iov_len = sector_to_bytes (n),
    };
    int r = bdev->ops.write (bdev->handle, &iov, 1, sector, 0);

    if (r < 0)
      return r;
    sector += n;
    count -= n;
  }
  return flags & BDEV_FUA ? bdev_flush (bdev) : 0;
}

int
bdev_write_zeroes (struct block_device *bdev, sector_t sector, sector_t count,
                   unsigned flags)
{
  int r = -EOPNOTSUPP;
  uint64_t began_ns;

  if (!range_is_inside (sector, count, bdev->sectors) ||
      (flags & ~ZERO_FLAGS) != 0)
    return -EINVAL;
  if (bdev->ops.write == NULL)
    return -EROFS;
  if (count == 0)
    return 0;
  began_ns = observe_begin (bdev);
  if (bdev->ops.write_zeroes != NULL)
    r = bdev->ops.write_zeroes (bdev->handle, sector, count, flags);
  if (r == -EOPNOTSUPP && !(flags & BDEV_FAST))
    r = write_zero_buffers (bdev, sector, count, flags);
  return observe_end (bdev, BDEV_WRITE_ZEROES, began_ns, 0, r);
}

int
bdev_extent (struct block_device *bdev, sector_t sector, sector_t count,
             struct bdev_extent *extent)
{
  int r;

  if (count == 0 || !range_is_inside (sector, count, bdev->sectors))
    return -EINVAL;
  extent->count = count;
  extent->is_hole = false;
  if (bdev->ops.extent == NULL)
    return 0;
  r = bdev->ops.extent (bdev->handle, sector, count, extent);
  if (r == 0 && (extent->count == 0 || extent->count > count))
    r = -EIO; /* the device answers nonsense */
  return r;
}

int
bdev_identity (struct block_device *bdev, struct bdev_identity *identity)
{
  if (bdev->ops.identity == NULL)
    return -EOPNOTSUPP;
  return bdev->ops.identity (bdev->handle, identity);
}

/* The flags that an operation may have. */
static unsigned
flags_of_op (enum bdev_op op)
{
  switch (op) {
  case BDEV_WRITE:
  case BDEV_DISCARD:
    return BDEV_FUA;
  case BDEV_WRITE_ZEROES:
    return ZERO_FLAGS;
  default:
    return 0;
  }
}

/* 0 if IO makes sense on the device. */
static int
check_io (const struct block_device *bdev, const struct bdev_io *io)
{
  int r = 0;

  if (io->flags & ~flags_of_op (io->op))
    return -EINVAL;
  switch (io->op) {
  case BDEV_READ:
  case BDEV_WRITE:
    r = check_vector (bdev, io->iov, io->iovcnt, io->sector);
    break;
  case BDEV_FLUSH:
    return 0;
  case BDEV_DISCARD:
  case BDEV_WRITE_ZEROES:
    if (!range_is_inside (io->sector, io->count, bdev->sectors))
      r = -EINVAL;
    break;
  default:
    return -EINVAL;
  }
  if (r == 0 && io->op != BDEV_READ && bdev->ops.write == NULL)
    r = -EROFS;
  return r;
}

int
bdev_begin (struct block_device *bdev, struct bdev_io *io)
{
  int r = check_io (bdev, io);

  if (r < 0)
    return r;
  if (bdev->ops.begin == NULL)
    return -EAGAIN;
  /* A device on top of this one may measure it already. */
  if (bdev->observe != NULL)
    io->began_ns = clock_now_ns ();
  r = bdev->ops.begin (bdev->handle, io);
  if (r == 0 || r == -EAGAIN || r == -EOPNOTSUPP) /* or to be done by a call */
    return r;
  return observe_end (bdev, io->op, io->began_ns, 0, r);
}

int
bdev_end (struct block_device *bdev, struct bdev_io *io)
{
  int r = bdev->ops.end (bdev->handle, io);

  return observe_end (bdev, io->op, io->began_ns, io->ended_ns, r);
}

bool
bdev_can_begin (const struct block_device *bdev)
{
  return bdev->ops.begin != NULL;
}

void
bdev_get_limits (const struct block_device *bdev, struct bdev_limits *limits)
{
  *limits = (struct bdev_limits){
    .block_bytes = SECTOR_SIZE,
    .optimal_bytes = 4096,
    .max_bytes = UINT_MAX,
  };
  if (bdev->ops.limits != NULL)
    bdev->ops.limits (bdev->handle, limits);
}

int
bdev_reconnect (struct block_device *bdev, unsigned flags)
{
  if (flags & ~(BDEV_RECONNECT_FENCED | BDEV_RECONNECT_NO_WAIT))
    return -EINVAL;
  if (bdev->ops.reconnect == NULL)
    return -EOPNOTSUPP;
  return bdev->ops.reconnect (bdev->handle, flags);
}

int
bdev_copy (struct block_device *from, sector_t from_sector,
           struct block_device *to, sector_t to_sector, sector_t count)
{
  if (!range_is_inside (from_sector, count, from->sectors) ||
      !range_is_inside (to_sector, count, to->sectors))
    return -EINVAL;
  if (to->ops.write == NULL)
    return -EROFS;
  /* Only devices of one kind know each other's handles. */
  if (from->ops.copy == NULL || from->ops.copy != to->ops.copy)
    return -EOPNOTSUPP;
  if (count == 0)
    return 0;
  return from->ops.copy (from->handle, from_sector, to->handle, to_sector,
                         count);
}
