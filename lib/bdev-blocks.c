/* A device of sectors over a device that takes only whole blocks.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Whole blocks go straight through.  At each end of a request there may be a
 * block of which only a part is meant, its head and its tail.  A read takes
 * them whole and throws away the rest.  A write reads them first, puts its
 * part in, and writes all blocks at once; zeroing and discard do the same
 * with zeroes, so that what they leave does not depend on the block's size.
 *
 * Changing a part of a block must not undo what another writer does to the
 * block meanwhile.  So every write holds its range, rounded to whole blocks,
 * in a range lock.  That is simple, and for whole blocks it costs no more
 * than two times a mutex.  But a write that is in flight (begin, end) cannot
 * hold anything: its thread may wait for others before it comes to the end.
 * It is on a list instead:
 *
 *   begin        puts it on the list, and then looks whether its range is
 *                held; if so, it is taken off again: -EAGAIN;
 *   who changes  holds the range, and then marks those on the list that
 *   a part       touch its head or tail: overtaken;
 *   end          takes it off.  If it was overtaken, what it wrote may have
 *                been put back to what was read before: it is written again,
 *                holding the range.
 *
 * One of the first two sees the other.  The second writing may hide what was
 * written since by others, but both were in progress at the same time, and
 * then either order is right.
 *
 * Locks: the range, then the reserve of `bounce`, then the lower device's
 * own.  `lock` is a leaf.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bdev-impl.h"
#include "bits.h"
#include "bounce.h"
#include "checked-math.h"
#include "list.h"
#include "range-lock.h"
#include "vector.h"

/* Changes in flight at once; more are done blocking. */
#define MAX_FLIGHTS 128

/* Vectors of so many pieces are put together without malloc.  dm-io makes
 * none with more.
 */
#define STACK_PIECES 130

/* One change in flight. */
struct flight {
  struct list link;  /* free, or begun */
  struct bdev_io io; /* what the lower device has begun */
  sector_t sector;
  sector_t count;
  bool was_overtaken;
};

struct blocks {
  struct bdev_ops ops; /* as the lower device's are: with begin, write? */
  struct block_device *lower;
  size_t block_bytes;
  sector_t block_sectors;

  struct range_lock changes;
  struct bounce bounce;

  struct mutex lock; /* what follows */
  struct list free;
  struct list begun;
  struct flight flights[MAX_FLIGHTS];
};

/*----- heads and tails -------------------------------------------------*/

/* A request cut at the borders of blocks. */
struct cut {
  sector_t start;   /* of its first block */
  sector_t sectors; /* of all its blocks */

  /* One block that is changed in part is a head, without a tail. */
  bool has_head;
  bool has_tail;
  size_t head_skip;  /* bytes of the head that are not meant */
  size_t head_bytes; /* bytes that are */
  size_t tail_bytes;
  sector_t middle_sectors;
};

static bool
is_aligned (const struct blocks *b, sector_t sector, sector_t count)
{
  return ((sector | count) & (b->block_sectors - 1)) == 0;
}

static struct cut
cut_request (const struct blocks *b, sector_t sector, sector_t count)
{
  sector_t end = sector + count;
  sector_t last = round_up_to (end, b->block_sectors);
  struct cut cut = { .start = round_down_to (sector, b->block_sectors) };
  sector_t whole_end = round_down_to (end, b->block_sectors);
  sector_t whole_start = round_up_to (sector, b->block_sectors);

  cut.sectors = last - cut.start;
  cut.head_skip = sector_to_bytes (sector - cut.start);
  if (whole_start > whole_end) { /* inside one block */
    cut.has_head = true;
    cut.head_bytes = sector_to_bytes (count);
    return cut;
  }
  cut.middle_sectors = whole_end - whole_start;
  cut.has_head = whole_start > sector;
  cut.head_bytes = sector_to_bytes (whole_start - sector);
  cut.has_tail = end > whole_end;
  cut.tail_bytes = sector_to_bytes (end - whole_end);
  return cut;
}

static sector_t
middle_sector (const struct blocks *b, const struct cut *cut)
{
  return cut->start + (cut->has_head ? b->block_sectors : 0);
}

static sector_t
tail_sector (const struct blocks *b, const struct cut *cut)
{
  return cut->start + cut->sectors - b->block_sectors;
}

static bool
edges_are_neighbours (const struct cut *cut)
{
  return cut->has_head && cut->has_tail && cut->middle_sectors == 0;
}

/* The head is at the start of BUFFER, the tail one block further. */
static struct iovec
head_of (const struct blocks *b, char *buffer)
{
  return (struct iovec){ .iov_base = buffer, .iov_len = b->block_bytes };
}

static struct iovec
tail_of (const struct blocks *b, char *buffer)
{
  return (struct iovec){ .iov_base = buffer + b->block_bytes,
                         .iov_len = b->block_bytes };
}

static struct iovec
both_of (const struct blocks *b, char *buffer)
{
  return (struct iovec){ .iov_base = buffer, .iov_len = 2 * b->block_bytes };
}

static int
read_edges (struct blocks *b, const struct cut *cut, char *buffer)
{
  struct iovec head = head_of (b, buffer), tail = tail_of (b, buffer);
  struct iovec both = both_of (b, buffer);
  int r = 0;

  if (edges_are_neighbours (cut))
    return bdev_read (b->lower, &both, 1, cut->start);
  if (cut->has_head)
    r = bdev_read (b->lower, &head, 1, cut->start);
  if (r == 0 && cut->has_tail)
    r = bdev_read (b->lower, &tail, 1, tail_sector (b, cut));
  return r;
}

static int
write_edges (struct blocks *b, const struct cut *cut, char *buffer,
             unsigned flags)
{
  struct iovec head = head_of (b, buffer), tail = tail_of (b, buffer);
  struct iovec both = both_of (b, buffer);
  int r = 0;

  if (edges_are_neighbours (cut))
    return bdev_write (b->lower, &both, 1, cut->start, flags);
  if (cut->has_head)
    r = bdev_write (b->lower, &head, 1, cut->start, flags);
  if (r == 0 && cut->has_tail)
    r = bdev_write (b->lower, &tail, 1, tail_sector (b, cut), flags);
  return r;
}

static char *
get_buffer (struct blocks *b)
{
  size_t bytes = 2 * b->block_bytes; /* the reserve has as much */

  return bounce_get (&b->bounce, &bytes);
}

/*----- reads and writes ------------------------------------------------*/

/* The memory of whole blocks: head, middle of IOV, tail. */
struct assembled {
  struct iovec stack[STACK_PIECES];
  struct iovec *iov;
  int iovcnt;
};

static int
assemble (const struct blocks *b, const struct cut *cut,
          const struct iovec *iov, int iovcnt, char *buffer,
          struct assembled *all)
{
  all->iov = all->stack;
  if (iovcnt > STACK_PIECES - 2) {
    all->iov = calloc ((size_t) iovcnt + 2, sizeof all->iov[0]);
    if (all->iov == NULL)
      return -ENOMEM;
  }
  all->iovcnt = 0;
  if (cut->has_head)
    all->iov[all->iovcnt++] = head_of (b, buffer);
  all->iovcnt += vector_slice (iov, iovcnt, cut->head_bytes,
                               sector_to_bytes (cut->middle_sectors),
                               &all->iov[all->iovcnt]);
  if (cut->has_tail)
    all->iov[all->iovcnt++] = tail_of (b, buffer);
  return 0;
}

static void
assembled_free (struct assembled *all)
{
  if (all->iov != all->stack)
    free (all->iov);
}

/* Where in the request its tail begins. */
static size_t
tail_skip (const struct cut *cut)
{
  return cut->head_bytes + sector_to_bytes (cut->middle_sectors);
}

static int
read_cut (struct blocks *b, const struct cut *cut, const struct iovec *iov,
          int iovcnt)
{
  char *buffer = get_buffer (b);
  struct assembled all;
  int r = assemble (b, cut, iov, iovcnt, buffer, &all);

  if (r < 0)
    goto out;
  r = bdev_read (b->lower, all.iov, all.iovcnt, cut->start);
  assembled_free (&all);
  if (r < 0)
    goto out;
  vector_scatter (iov, iovcnt, 0, buffer + cut->head_skip, cut->head_bytes);
  vector_scatter (iov, iovcnt, tail_skip (cut), buffer + b->block_bytes,
                  cut->tail_bytes);
out:
  bounce_put (&b->bounce, buffer);
  return r;
}

/* The caller holds the range. */
static int
write_cut (struct blocks *b, const struct cut *cut, const struct iovec *iov,
           int iovcnt, unsigned flags)
{
  char *buffer = get_buffer (b);
  struct assembled all;
  int r = assemble (b, cut, iov, iovcnt, buffer, &all);

  if (r < 0)
    goto out;
  r = read_edges (b, cut, buffer);
  if (r == 0) {
    vector_gather (iov, iovcnt, 0, buffer + cut->head_skip, cut->head_bytes);
    vector_gather (iov, iovcnt, tail_skip (cut), buffer + b->block_bytes,
                   cut->tail_bytes);
    r = bdev_write (b->lower, all.iov, all.iovcnt, cut->start, flags);
  }
  assembled_free (&all);
out:
  bounce_put (&b->bounce, buffer);
  return r;
}

/* Those in flight that touch the head or the tail, which the caller holds,
 * are to be written again.
 */
static void
overtake (struct blocks *b, const struct cut *cut)
{
  struct list *link;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&b->lock);

  list_for_each (link, &b->begun) {
    struct flight *f = list_entry (link, struct flight, link);

    if (cut->has_head &&
        ranges_overlap (f->sector, f->count, cut->start, b->block_sectors))
      f->was_overtaken = true;
    if (cut->has_tail &&
        ranges_overlap (f->sector, f->count, tail_sector (b, cut),
                        b->block_sectors))
      f->was_overtaken = true;
  }
}

static int
blocks_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  struct blocks *b = handle;
  sector_t count = vector_bytes (iov, iovcnt) >> SECTOR_SHIFT;
  struct cut cut;

  if (count == 0)
    return 0;
  if (is_aligned (b, sector, count))
    return bdev_read (b->lower, iov, iovcnt, sector);
  cut = cut_request (b, sector, count);
  return read_cut (b, &cut, iov, iovcnt);
}

static int
blocks_write (void *handle, const struct iovec *iov, int iovcnt,
              sector_t sector, unsigned flags)
{
  struct blocks *b = handle;
  sector_t count = vector_bytes (iov, iovcnt) >> SECTOR_SHIFT;
  struct cut cut = cut_request (b, sector, count);
  struct range_hold hold;
  int r;

  range_lock_acquire (&b->changes, &hold, cut.start, cut.sectors);
  if (count == 0 || is_aligned (b, sector, count))
    r = bdev_write (b->lower, iov, iovcnt, cut.start, flags);
  else {
    overtake (b, &cut);
    r = write_cut (b, &cut, iov, iovcnt, flags);
  }
  range_lock_release (&b->changes, &hold);
  return r;
}

/*----- zeroing and discard ---------------------------------------------*/

static int
change_whole_blocks (struct blocks *b, enum bdev_op op, sector_t sector,
                     sector_t count, unsigned flags)
{
  if (op == BDEV_DISCARD)
    return bdev_discard (b->lower, sector, count, flags);
  return bdev_write_zeroes (b->lower, sector, count, flags);
}

/* The middle first: if the device cannot do that, nothing has changed.  The
 * caller holds the range.
 */
static int
zero_cut (struct blocks *b, const struct cut *cut, enum bdev_op op,
          unsigned flags)
{
  char *buffer = get_buffer (b);
  int r = read_edges (b, cut, buffer);

  if (r == 0 && cut->middle_sectors > 0)
    r = change_whole_blocks (b, op, middle_sector (b, cut), cut->middle_sectors,
                             flags);
  if (r == 0) {
    memset (buffer + cut->head_skip, 0, cut->head_bytes);
    memset (buffer + b->block_bytes, 0, cut->tail_bytes);
    r = write_edges (b, cut, buffer, flags & BDEV_FUA);
  }
  bounce_put (&b->bounce, buffer);
  return r;
}

static int
change_without_memory (struct blocks *b, enum bdev_op op, sector_t sector,
                       sector_t count, unsigned flags)
{
  struct cut cut = cut_request (b, sector, count);
  struct range_hold hold;
  int r;

  range_lock_acquire (&b->changes, &hold, cut.start, cut.sectors);
  if (is_aligned (b, sector, count))
    r = change_whole_blocks (b, op, sector, count, flags);
  else {
    overtake (b, &cut);
    r = zero_cut (b, &cut, op, flags);
  }
  range_lock_release (&b->changes, &hold);
  return r;
}

static int
blocks_discard (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  return change_without_memory (handle, BDEV_DISCARD, sector, count, flags);
}

static int
blocks_write_zeroes (void *handle, sector_t sector, sector_t count,
                     unsigned flags)
{
  return change_without_memory (handle, BDEV_WRITE_ZEROES, sector, count,
                                flags);
}

/*----- in flight -------------------------------------------------------*/

/* Put IO on the list of changes in flight; NULL: there are too many. */
static struct flight *
flight_begin (struct blocks *b, const struct bdev_io *io, sector_t count)
{
  struct list *link;
  struct flight *f;

  mutex_lock (&b->lock);
  link = list_pop_front (&b->free);
  if (link == NULL) {
    mutex_unlock (&b->lock);
    return NULL;
  }
  f = list_entry (link, struct flight, link);
  f->io = *io;
  f->sector = io->sector;
  f->count = count;
  f->was_overtaken = false;
  list_push_back (&b->begun, &f->link);
  mutex_unlock (&b->lock);
  return f;
}

/* Take it off again.  Returns whether it was overtaken. */
static bool
flight_end (struct blocks *b, struct flight *f)
{
  bool was_overtaken;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&b->lock);

  was_overtaken = f->was_overtaken;
  list_remove (&f->link);
  list_push_front (&b->free, &f->link); /* the next one finds it in the cache */
  return was_overtaken;
}

static int
begin_change (struct blocks *b, struct bdev_io *io, sector_t count)
{
  struct flight *f = flight_begin (b, io, count);
  int r;

  if (f == NULL)
    return -EAGAIN;
  r = range_lock_is_wanted (&b->changes, f->sector, f->count)
        ? -EAGAIN
        : bdev_begin (b->lower, &f->io);
  if (r < 0) {
    (void) flight_end (b, f);
    return r;
  }
  io->state[0] = f;
  return 0;
}

/* Do IO again, blocking. */
static int
repeat (struct blocks *b, const struct bdev_io *io)
{
  if (io->op == BDEV_WRITE)
    return blocks_write (b, io->iov, io->iovcnt, io->sector, io->flags);
  return change_without_memory (b, io->op, io->sector, io->count, io->flags);
}

static int
blocks_begin (void *handle, struct bdev_io *io)
{
  struct blocks *b = handle;
  sector_t count = io->op == BDEV_READ || io->op == BDEV_WRITE
                     ? vector_bytes (io->iov, io->iovcnt) >> SECTOR_SHIFT
                     : io->count;

  if (io->op == BDEV_FLUSH)
    return bdev_begin (b->lower, io);
  if (!is_aligned (b, io->sector, count))
    return -EAGAIN;
  if (io->op == BDEV_READ)
    return bdev_begin (b->lower, io);
  return begin_change (b, io, count);
}

static int
blocks_end (void *handle, struct bdev_io *io)
{
  struct blocks *b = handle;
  struct flight *f;
  int r;

  if (io->op == BDEV_FLUSH || io->op == BDEV_READ)
    return bdev_end (b->lower, io);
  f = io->state[0];
  r = bdev_end (b->lower, &f->io);
  io->ended_ns = f->io.ended_ns;
  if (flight_end (b, f) && r == 0) {
    r = repeat (b, io);
    io->ended_ns = 0;
  }
  return r;
}

/*----- all else --------------------------------------------------------*/

static int
blocks_flush (void *handle)
{
  struct blocks *b = handle;

  return bdev_flush (b->lower);
}

static int
blocks_extent (void *handle, sector_t sector, sector_t count,
               struct bdev_extent *extent)
{
  struct blocks *b = handle;
  struct cut cut = cut_request (b, sector, count);
  sector_t skip = sector - cut.start;
  int r = bdev_extent (b->lower, cut.start, cut.sectors, extent);

  if (r < 0)
    return r;
  if (extent->count <= skip) { /* it ends before us: the next is not known */
    extent->count = b->block_sectors;
    extent->is_hole = false;
  }
  extent->count = MIN_OF (extent->count - skip, count);
  return 0;
}

static int
blocks_identity (void *handle, struct bdev_identity *identity)
{
  struct blocks *b = handle;

  return bdev_identity (b->lower, identity);
}

static void
blocks_limits (void *handle, struct bdev_limits *limits)
{
  struct blocks *b = handle;

  bdev_get_limits (b->lower, limits);
  limits->block_bytes = (unsigned) b->block_bytes;
  limits->optimal_bytes = MAX_OF (limits->optimal_bytes, limits->block_bytes);
}

static int
blocks_reconnect (void *handle, unsigned flags)
{
  struct blocks *b = handle;

  return bdev_reconnect (b->lower, flags);
}

static int
blocks_copy (void *handle, sector_t sector, void *dest_handle,
             sector_t dest_sector, sector_t count)
{
  struct blocks *b = handle, *dest = dest_handle;
  struct range_hold hold;
  int r;

  if (!is_aligned (b, sector, count) || !is_aligned (dest, dest_sector, count))
    return -EOPNOTSUPP;
  range_lock_acquire (&dest->changes, &hold, dest_sector, count);
  r = bdev_copy (b->lower, sector, dest->lower, dest_sector, count);
  range_lock_release (&dest->changes, &hold);
  return r;
}

static void
blocks_free (struct blocks *b)
{
  mutex_destroy (&b->lock);
  range_lock_destroy (&b->changes);
  bounce_destroy (&b->bounce);
  free (b);
}

static void
blocks_close (void *handle)
{
  struct blocks *b = handle;

  bdev_close (b->lower);
  blocks_free (b);
}

static const struct bdev_ops all_ops = {
  .struct_size = sizeof all_ops,
  .read = blocks_read,
  .write = blocks_write,
  .flush = blocks_flush,
  .discard = blocks_discard,
  .write_zeroes = blocks_write_zeroes,
  .extent = blocks_extent,
  .identity = blocks_identity,
  .begin = blocks_begin,
  .end = blocks_end,
  .limits = blocks_limits,
  .reconnect = blocks_reconnect,
  .copy = blocks_copy,
  .close = blocks_close,
};

int
bdev_blocks_create (struct block_device *lower, unsigned block_bytes,
                    struct block_device **bdev)
{
  struct blocks *b;
  unsigned i;
  int r;

  if (!is_power_of_2 (block_bytes) || block_bytes <= SECTOR_SIZE ||
      block_bytes > BDEV_BLOCKS_MAX_BYTES ||
      sector_to_bytes (bdev_sectors (lower)) % block_bytes != 0)
    return -EINVAL;

  b = calloc (1, sizeof *b);
  if (b == NULL)
    return -ENOMEM;
  b->lower = lower;
  b->block_bytes = block_bytes;
  b->block_sectors = block_bytes >> SECTOR_SHIFT;
  r = bounce_init (&b->bounce, 2 * b->block_bytes);
  if (r < 0) {
    free (b);
    return r;
  }
  range_lock_init (&b->changes);
  mutex_init (&b->lock);
  list_init (&b->free);
  list_init (&b->begun);
  for (i = 0; i < MAX_FLIGHTS; ++i)
    list_push_back (&b->free, &b->flights[i].link);

  b->ops = all_ops;
  if (!bdev_can_begin (lower))
    b->ops.begin = b->ops.end = NULL;
  if (bdev_is_read_only (lower))
    b->ops.write = NULL;
  r = bdev_create (&b->ops, b, bdev_name (lower), bdev_sectors (lower), bdev);
  if (r < 0)
    blocks_free (b);
  return r;
}
