/* The I/O of dm-io: what one request does on its io_regions.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The calling thread does it.  On a local file it simply makes the calls,
 * one io_region after the other: a hand-off to another thread costs more
 * than the write.  Where a device can have I/O in flight (bdev_begin), a
 * write to several io_regions goes in rounds: begin the next piece of each
 * such io_region, do meanwhile what blocks, and wait for what was begun.
 *
 * The thread would only wait in the end, so of the local disks and direct
 * files it keeps one for itself.  Its own write wakes it as soon as the disk
 * has it; the end of one in flight may go through a worker of the kernel, and
 * on ext4 does.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>

#include "bits.h"
#include "checked-math.h"
#include "dm-io-impl.h"

static unsigned
bdev_flags (int rw)
{
  return (rw & DM_IO_FUA ? BDEV_FUA : 0) | (rw & DM_IO_UNMAP ? BDEV_UNMAP : 0) |
         (rw & DM_IO_FAST ? BDEV_FAST : 0);
}

static bool
is_transfer (int rw)
{
  return (rw & DM_IO_OP_MASK) == DM_IO_READ ||
         (rw & DM_IO_OP_MASK) == DM_IO_WRITE;
}

static bool
wants_flush (int rw)
{
  return (rw & DM_IO_PREFLUSH) || (rw & DM_IO_OP_MASK) == DM_IO_FLUSH;
}

/*----- one io_region, blocking -----------------------------------------*/

/* How far the transfer of one io_region has come. */
struct transfer {
  struct block_device *bdev;
  int rw;
  struct cursor memory;
  sector_t sector;
  sector_t left;
};

static int
transfer_start (struct transfer *t, const struct io_region *where, int rw,
                struct cursor memory)
{
  t->bdev = where->bdev;
  t->rw = rw;
  t->memory = memory;
  t->sector = where->sector;
  t->left = where->count;
  /* Checked here because sectors are about to be added up. */
  if (!range_is_inside (t->sector, t->left, bdev_sectors (t->bdev)))
    return -EINVAL;
  return 0;
}

static void
transfer_advance (struct transfer *t, size_t bytes)
{
  t->sector += bytes >> SECTOR_SHIFT;
  t->left -= bytes >> SECTOR_SHIFT;
}

static int
transfer_vector (const struct transfer *t, const struct iovec *iov, int iovcnt)
{
  if ((t->rw & DM_IO_OP_MASK) == DM_IO_READ)
    return bdev_read (t->bdev, iov, iovcnt, t->sector);
  return bdev_write (t->bdev, iov, iovcnt, t->sector, bdev_flags (t->rw));
}

/* One sector whose memory is in more pieces than go into one call. */
static int
transfer_scattered_sector (struct transfer *t)
{
  bool is_read = (t->rw & DM_IO_OP_MASK) == DM_IO_READ;
  char buffer[SECTOR_SIZE];
  struct iovec iov = { .iov_base = buffer, .iov_len = sizeof buffer };
  struct cursor start = t->memory;
  int r;

  /* Also for a read: is there memory for it? */
  r = cursor_copy_sector (&t->memory, buffer, true);
  if (r == 0)
    r = transfer_vector (t, &iov, 1);
  if (r == 0 && is_read)
    r = cursor_copy_sector (&start, buffer, false);
  return r;
}

/* All that is left. */
static int
transfer_rest (struct transfer *t)
{
  struct iovec iov[CURSOR_IOVECS];
  int r = 0;

  while (r == 0 && t->left > 0) {
    int iovcnt;
    size_t bytes = cursor_fill_sectors (&t->memory, sector_to_bytes (t->left),
                                        iov, &iovcnt);

    if (bytes > 0)
      r = transfer_vector (t, iov, iovcnt);
    else {
      bytes = SECTOR_SIZE;
      r = transfer_scattered_sector (t);
    }
    transfer_advance (t, bytes);
  }
  return r;
}

/* Plain memory is in one piece: there is nothing to be searched for. */
static int
transfer_plain (const struct io_region *where, int rw,
                const struct cursor *memory)
{
  struct iovec iov = { .iov_base = memory->at.plain + memory->offset };

  if (where->count > SIZE_MAX / 2 / SECTOR_SIZE) /* nobody has so much */
    return -EINVAL;
  iov.iov_len = sector_to_bytes (where->count);
  if ((rw & DM_IO_OP_MASK) == DM_IO_READ)
    return bdev_read (where->bdev, &iov, 1, where->sector);
  return bdev_write (where->bdev, &iov, 1, where->sector, bdev_flags (rw));
}

static int
transfer_region (const struct io_region *where, int rw,
                 const struct cursor *memory)
{
  struct transfer t;
  int r;

  if (memory->type == MEMORY_PLAIN)
    r = transfer_plain (where, rw, memory);
  else {
    r = transfer_start (&t, where, rw, *memory);
    if (r == 0)
      r = transfer_rest (&t);
  }
  if (r < 0 && (rw & DM_IO_OP_MASK) == DM_IO_READ &&
      where->count <= SECTOR_MAX) /* else nobody has so much memory */
    cursor_zero (*memory, sector_to_bytes (where->count));
  return r;
}

/* What RW says but for flushes. */
static int
do_operation (const struct io_region *where, int rw,
              const struct cursor *memory)
{
  switch (rw & DM_IO_OP_MASK) {
  case DM_IO_READ:
  case DM_IO_WRITE:
    return transfer_region (where, rw, memory);
  case DM_IO_DISCARD:
    return bdev_discard (where->bdev, where->sector, where->count,
                         bdev_flags (rw));
  case DM_IO_WRITE_ZEROES:
    return bdev_write_zeroes (where->bdev, where->sector, where->count,
                              bdev_flags (rw));
  default:
    return 0;
  }
}

int
dm_io_do_region (const struct io_region *where, int rw,
                 const struct cursor *memory)
{
  int r = 0;

  if (wants_flush (rw))
    r = bdev_flush (where->bdev);
  if (r < 0 || where->count == 0)
    return r;
  return do_operation (where, rw, memory);
}

/*----- several io_regions at once --------------------------------------*/

/* At most so many at once; more go one group after the other. */
#define LANES 16

/* One io_region among them. */
struct lane {
  const struct io_region *where;
  struct transfer transfer;
  bool has_more;    /* to begin, or to do */
  bool is_blocking; /* it is not to be begun: do it */
  bool is_in_flight;
  int error;
  size_t piece_bytes; /* in flight */
  struct iovec iov[CURSOR_IOVECS];
  struct bdev_io io;
};

static enum bdev_op
op_of_rw (int rw)
{
  switch (rw & DM_IO_OP_MASK) {
  case DM_IO_DISCARD:
    return BDEV_DISCARD;
  case DM_IO_WRITE_ZEROES:
    return BDEV_WRITE_ZEROES;
  default:
    return BDEV_WRITE; /* a read has one io_region */
  }
}

/* A device that cannot make zeroes: the blocking call writes them. */
static bool
is_left_to_blocking (const struct lane *lane, int error)
{
  return error == -EOPNOTSUPP && lane->io.op == BDEV_WRITE_ZEROES;
}

/* Begin IO on LANE, or find that it is to be done, or has failed. */
static void
lane_begin_io (struct lane *lane, bool more)
{
  int r;

  lane->io.more = more;
  r = bdev_begin (lane->where->bdev, &lane->io);
  lane->is_in_flight = r == 0;
  lane->is_blocking = r == -EAGAIN || is_left_to_blocking (lane, r);
  if (r < 0 && !lane->is_blocking)
    lane->error = r;
}

/* Take the next piece of the memory.  Returns false if it is in too many
 * pieces.
 */
static bool
lane_take_piece (struct lane *lane, int *iovcnt)
{
  struct transfer *t = &lane->transfer;

  lane->piece_bytes = cursor_fill_sectors (&t->memory,
                                           sector_to_bytes (t->left), lane->iov,
                                           iovcnt);
  return lane->piece_bytes > 0;
}

static void
lane_end_piece (struct lane *lane)
{
  transfer_advance (&lane->transfer, lane->piece_bytes);
  lane->has_more = lane->transfer.left > 0;
}

/* Begin the next piece of what RW says. */
static void
lane_begin (struct lane *lane, int rw, bool more)
{
  struct transfer *t = &lane->transfer;
  struct cursor before = t->memory;

  lane->io = (struct bdev_io){
    .op = op_of_rw (rw),
    .flags = bdev_flags (rw),
    .sector = lane->where->sector,
    .count = lane->where->count,
  };
  if (is_transfer (rw)) {
    if (!lane_take_piece (lane, &lane->io.iovcnt)) {
      lane->is_blocking = true;
      return;
    }
    lane->io.iov = lane->iov;
    lane->io.sector = t->sector;
  }
  lane_begin_io (lane, more);
  if (lane->is_blocking)
    t->memory = before;
}

/* Do all that is left of what RW says, blocking. */
static void
lane_do (struct lane *lane, int rw)
{
  lane->is_blocking = false;
  lane->has_more = false;
  lane->error = is_transfer (rw)
                  ? transfer_rest (&lane->transfer)
                  : do_operation (lane->where, rw, &lane->transfer.memory);
}

/* Do the next piece of a transfer, blocking. */
static void
lane_do_piece (struct lane *lane, int rw)
{
  int iovcnt;

  if (!lane_take_piece (lane, &iovcnt)) {
    lane_do (lane, rw);
    return;
  }
  lane->error = transfer_vector (&lane->transfer, lane->iov, iovcnt);
  lane_end_piece (lane);
}

static void
lane_end (struct lane *lane, int rw)
{
  lane->is_in_flight = false;
  lane->error = bdev_end (lane->where->bdev, &lane->io);
  if (is_transfer (rw)) {
    lane_end_piece (lane);
    return;
  }
  lane->has_more = false;
  if (is_left_to_blocking (lane, lane->error))
    lane_do (lane, rw);
}

/* Will a lane block, as those of buffered files do? */
static bool
is_any_to_block (const struct lane *lanes, unsigned count)
{
  unsigned i;

  for (i = 0; i < count; ++i) {
    struct bdev_limits limits;

    if (!lanes[i].has_more)
      continue;
    bdev_get_limits (lanes[i].where->bdev, &limits);
    if (!limits.is_direct && !limits.is_remote)
      return true;
  }
  return false;
}

/* The lane that the calling thread keeps for itself: the last of those that
 * would be on its ring.  COUNT if there is none.
 */
static unsigned
own_lane (const struct lane *lanes, unsigned count, int rw)
{
  unsigned i;

  if (!is_transfer (rw))
    return count;
  for (i = count; i-- > 0;) {
    struct bdev_limits limits;

    if (!lanes[i].has_more || !bdev_can_begin (lanes[i].where->bdev))
      continue;
    bdev_get_limits (lanes[i].where->bdev, &limits);
    if (limits.is_direct && !limits.is_remote)
      return i;
  }
  return count;
}

static bool
is_remote (const struct lane *lane)
{
  struct bdev_limits limits;

  bdev_get_limits (lane->where->bdev, &limits);
  return limits.is_remote;
}

/* Is there another lane behind I that is to be begun, and is submitted with it?
 * Remote ones are not, with those on a ring.  Or else nothing to be done before
 * what was begun is waited for?  OWN: as own_lane says.
 */
static bool
may_be_late (const struct lane *lanes, unsigned count, unsigned i, unsigned own)
{
  bool i_is_remote = is_remote (&lanes[i]);

  for (++i; i < count; ++i)
    if (i != own && lanes[i].has_more &&
        bdev_can_begin (lanes[i].where->bdev) &&
        is_remote (&lanes[i]) == i_is_remote)
      return true;
  return own == count && !is_any_to_block (lanes, count);
}

static void
flush_lanes (struct lane *lanes, unsigned count)
{
  unsigned i;

  for (i = 0; i < count; ++i) {
    lanes[i].io = (struct bdev_io){ .op = BDEV_FLUSH };
    lanes[i].has_more = true;
  }
  for (i = 0; i < count; ++i)
    lane_begin_io (&lanes[i], may_be_late (lanes, count, i, count));
  for (i = 0; i < count; ++i)
    if (lanes[i].is_blocking)
      lanes[i].error = bdev_flush (lanes[i].where->bdev);
  for (i = 0; i < count; ++i)
    if (lanes[i].is_in_flight)
      lanes[i].error = bdev_end (lanes[i].where->bdev, &lanes[i].io);
  for (i = 0; i < count; ++i)
    lanes[i].is_blocking = lanes[i].is_in_flight = false;
}

/* One piece of each lane that has more.  Returns false when none has. */
static bool
run_round (struct lane *lanes, unsigned count, int rw)
{
  unsigned own = own_lane (lanes, count, rw);
  bool has_more = false;
  unsigned i;

  for (i = 0; i < count; ++i)
    if (lanes[i].has_more && i != own)
      lane_begin (&lanes[i], rw, may_be_late (lanes, count, i, own));
  for (i = 0; i < count; ++i)
    if (lanes[i].is_blocking)
      lane_do (&lanes[i], rw);
  if (own < count)
    lane_do_piece (&lanes[own], rw);
  for (i = 0; i < count; ++i) {
    if (lanes[i].is_in_flight)
      lane_end (&lanes[i], rw);
    if (lanes[i].error < 0)
      lanes[i].has_more = false;
    has_more |= lanes[i].has_more;
  }
  return has_more;
}

/* What bdev_begin would refuse is refused before another lane is told that
 * this one is about to be begun.
 */
static int
lane_start (struct lane *lane, int rw, struct cursor memory)
{
  int r = transfer_start (&lane->transfer, lane->where, rw, memory);

  if (r == 0 && bdev_is_read_only (lane->where->bdev))
    r = -EROFS;
  return r;
}

static void
run_lanes (struct lane *lanes, unsigned count, int rw, struct cursor memory)
{
  unsigned i;

  if (wants_flush (rw))
    flush_lanes (lanes, count);
  for (i = 0; i < count; ++i) {
    struct lane *lane = &lanes[i];

    lane->has_more = lane->error == 0 && lane->where->count > 0 &&
                     (rw & DM_IO_OP_MASK) != DM_IO_FLUSH;
    if (lane->has_more)
      lane->error = lane_start (lane, rw, memory);
    if (lane->error < 0)
      lane->has_more = false;
  }
  while (run_round (lanes, count, rw))
    ;
}

/* Not inlined: its frame is large, and buffered files do without it. */
__attribute__ ((noinline)) static void
do_regions_at_once (const struct dm_io_request *rq, unsigned first,
                    unsigned count, int *region_errors)
{
  struct lane lanes[LANES];
  unsigned i;

  for (i = 0; i < count; ++i) {
    lanes[i].where = &rq->where[first + i];
    lanes[i].transfer.memory = rq->memory;
    lanes[i].has_more = lanes[i].is_blocking = lanes[i].is_in_flight = false;
    lanes[i].error = 0;
  }
  run_lanes (lanes, count, rq->rw, rq->memory);
  for (i = 0; i < count; ++i)
    region_errors[i] = lanes[i].error;
}

static bool
can_begin_any (const struct dm_io_request *rq)
{
  unsigned i;

  for (i = 0; i < rq->num_regions; ++i)
    if (rq->where[i].bdev != NULL && bdev_can_begin (rq->where[i].bdev))
      return true;
  return false;
}

unsigned long
dm_io_do_regions (const struct dm_io_request *rq, int *errors)
{
  bool at_once = rq->num_regions > 1 && can_begin_any (rq);
  unsigned long bits = 0;
  unsigned i, done, count;

  for (done = 0; done < rq->num_regions; done += count) {
    int group_errors[LANES];

    count = at_once ? MIN_OF (rq->num_regions - done, LANES) : 1;
    if (at_once)
      do_regions_at_once (rq, done, count, group_errors);
    else
      group_errors[0] = dm_io_do_region (&rq->where[done], rq->rw, &rq->memory);
    for (i = 0; i < count; ++i) {
      if (group_errors[i] < 0)
        bits |= 1UL << (done + i);
      if (errors != NULL)
        errors[done + i] = group_errors[i];
    }
  }
  return bits;
}
