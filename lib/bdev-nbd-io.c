/* Requests to the block device behind an NBD server, blocking or in flight.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A request is cut into commands, of which several are in flight, on all
 * connections in turn.  The memory of a command is its own (nbd-command.h):
 * what is written is copied there, what is read is copied from there by the
 * thread that waits for it.
 *
 * A request succeeds only in the era in which it began (bdev-nbd.c).
 *
 * Flushes: one at a time, shared (group-sync.h), and the error of one stays
 * until the device is connected again.  A server that offers FUA but no
 * flush gets all writes with FUA.  One that offers neither has nothing to
 * flush with, which is said once.
 *
 * Discard is zeroing that may give space back: NBD's own trim leaves the
 * sectors with any content, and copies on two servers would differ.
 *
 * Locks: a connection's -> a request's, group-sync's.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bdev-nbd-impl.h"
#include "bits.h"
#include "clock.h"
#include "list.h"
#include "nbd-command.h"
#include "vector.h"

/* The most in flight for one request. */
#define WINDOW_BYTES (2U << 20)
#define WINDOW_COMMANDS 16
/* Zeroing moves no data, but a server may have to write. */
#define ZERO_BYTES (128U << 20)
#define ZERO_COMMANDS 4
/* What one question about extents asks about. */
#define EXTENT_BYTES (1U << 30)

/*----- requests --------------------------------------------------------*/

/* One call of the device.  Its thread alone uses it, but for what the lock
 * guards.
 */
struct request {
  struct bdev_nbd *dev;
  enum nbd_command_op op;
  unsigned flags;      /* of its commands */
  bool is_durable;     /* BDEV_FUA: it must be, or no flush succeeds again */
  bool must_flush;     /* for that */
  bool is_group_flush; /* its end is that of the group's flush */
  unsigned era;

  const struct iovec *iov;
  int iovcnt;
  uint64_t offset;
  uint64_t length;    /* a flush: 1, so that there is one command */
  uint64_t submitted; /* of length */

  /* The answer to NBD_COMMAND_BLOCK_STATUS. */
  uint64_t extent_length;
  bool extent_is_hole;

  struct mutex lock;
  struct cond changed;
  unsigned in_flight;
  unsigned window;  /* the most of them */
  struct list done; /* commands with data for us */
  int error;        /* the first, but a refusal gives way to others */

  bool is_measured;
  uint64_t answered_ns; /* then: when the last command was */
};

static bool
is_transfer (const struct request *rq)
{
  return rq->op == NBD_COMMAND_READ || rq->op == NBD_COMMAND_WRITE;
}

static void
request_init (struct request *rq, struct bdev_nbd *dev, enum nbd_command_op op,
              uint64_t offset, uint64_t length)
{
  memset (rq, 0, sizeof *rq);
  rq->dev = dev;
  rq->op = op;
  rq->era = atomic_load (&dev->era);
  rq->offset = offset;
  rq->length = length;
  mutex_init (&rq->lock);
  cond_init (&rq->changed);
  list_init (&rq->done);
  rq->window = is_transfer (rq) ? (unsigned) (WINDOW_BYTES / dev->piece_bytes)
                                : ZERO_COMMANDS;
  rq->window = MAX_OF (1, MIN_OF (rq->window, WINDOW_COMMANDS));
}

static void
request_destroy (struct request *rq)
{
  assert (rq->in_flight == 0 && list_is_empty (&rq->done));
  cond_destroy (&rq->changed);
  mutex_destroy (&rq->lock);
}

/* Is ERROR that of a zeroing which the server cannot do?  Nothing has changed
 * then, and nothing is lost: it is done in another way.
 */
static bool
is_refusal (const struct request *rq, int error)
{
  return rq->op == NBD_COMMAND_ZERO && error == -EOPNOTSUPP;
}

/* A command has been answered, or has failed. */
static void
command_done (struct nbd_command *command, int error)
{
  struct request *rq = command->owner;
  bool has_data = error == 0 && command->op == NBD_COMMAND_READ;

  if (rq->is_group_flush)
    group_sync_end (&rq->dev->sync, error);
  mutex_lock (&rq->lock);
  rq->in_flight--;
  if (rq->is_measured)
    rq->answered_ns = clock_now_ns ();
  if (error < 0 && (rq->error == 0 || is_refusal (rq, rq->error)))
    rq->error = error;
  rq->extent_length = command->extent_length;
  rq->extent_is_hole = command->extent_is_hole;
  if (has_data)
    list_push_back (&rq->done, &command->done_link);
  cond_signal (&rq->changed);
  mutex_unlock (&rq->lock);
  /* The request may be gone now. */
  if (!has_data)
    nbd_command_put (command);
}

/* The next command, or NULL without memory. */
static struct nbd_command *
make_command (struct request *rq)
{
  uint64_t left = rq->length - rq->submitted, length;
  struct nbd_command *command;

  length = is_transfer (rq)             ? rq->dev->piece_bytes
           : rq->op == NBD_COMMAND_ZERO ? ZERO_BYTES
                                        : left;
  length = MIN_OF (left, length);
  command = nbd_command_create (is_transfer (rq) ? (size_t) length : 0);
  if (command == NULL)
    return NULL;
  command->op = rq->op;
  command->flags = rq->flags;
  command->offset = rq->offset + rq->submitted;
  command->length = length;
  command->done = command_done;
  command->owner = rq;
  if (rq->op == NBD_COMMAND_WRITE)
    vector_gather (rq->iov, rq->iovcnt, (size_t) rq->submitted, command->data,
                   (size_t) length);
  rq->submitted += length;
  return command;
}

static struct nbd_connection *
next_connection (struct bdev_nbd *dev)
{
  unsigned turn = atomic_fetch_add_explicit (&dev->next, 1,
                                             memory_order_relaxed);

  return dev->connections[turn % atomic_load (&dev->connection_count)];
}

/* Is there something to send that may be in flight now? */
static bool
has_room_locked (const struct request *rq)
{
  return rq->error == 0 && rq->submitted < rq->length &&
         rq->in_flight < rq->window;
}

/* Send what may be in flight. */
static void
request_pump (struct request *rq)
{
  mutex_lock (&rq->lock);
  while (has_room_locked (rq)) {
    struct nbd_command *command;

    rq->in_flight++;
    mutex_unlock (&rq->lock);
    command = make_command (rq);
    if (command != NULL)
      nbd_connection_submit (next_connection (rq->dev), command);
    mutex_lock (&rq->lock);
    if (command != NULL)
      continue;
    /* Make do with the memory of those in flight, if there are any. */
    rq->window = --rq->in_flight;
    if (rq->window > 0)
      continue;
    rq->error = -ENOMEM;
    if (rq->is_group_flush)
      group_sync_end (&rq->dev->sync, rq->error);
  }
  mutex_unlock (&rq->lock);
}

/* Take the data of a command that was answered. */
static void
take_data (struct request *rq, struct nbd_command *command)
{
  vector_scatter (rq->iov, rq->iovcnt, (size_t) (command->offset - rq->offset),
                  command->data, (size_t) command->length);
  nbd_command_put (command);
}

/* Send what is left, and wait until nothing is in flight. */
static void
request_finish (struct request *rq)
{
  mutex_lock (&rq->lock);
  for (;;) {
    struct list *link = list_pop_front (&rq->done);
    bool has_room = has_room_locked (rq);

    if (link == NULL && !has_room) {
      if (rq->in_flight == 0)
        break;
      cond_wait (&rq->changed, &rq->lock);
      continue;
    }
    mutex_unlock (&rq->lock);
    if (link != NULL)
      take_data (rq, list_entry (link, struct nbd_command, done_link));
    if (has_room)
      request_pump (rq);
    mutex_lock (&rq->lock);
  }
  mutex_unlock (&rq->lock);
}

/* The result of a request of which nothing is in flight any more.  What was
 * done in an era that is over may be lost.
 */
static int
request_result (const struct request *rq)
{
  if (rq->error < 0)
    return rq->error;
  return rq->era == atomic_load (&rq->dev->era) ? 0 : -ENOTCONN;
}

/*----- flushes ---------------------------------------------------------*/

/* One flush on the server. */
static int
flush_server (void *arg)
{
  struct request rq;
  int r;

  request_init (&rq, arg, NBD_COMMAND_FLUSH, 0, 1);
  request_pump (&rq);
  request_finish (&rq);
  r = request_result (&rq);
  request_destroy (&rq);
  return r;
}

static int
nbd_flush_device (struct bdev_nbd *dev)
{
  unsigned era = atomic_load (&dev->era);
  int r;

  if (dev->export.has_flush)
    r = group_sync (&dev->sync, flush_server, dev);
  else
    r = group_sync_error (&dev->sync);
  /* Whoever comes when all has failed is told why. */
  if (r == 0)
    r = atomic_load (&dev->server.error);
  return r == 0 && era != atomic_load (&dev->era) ? -ENOTCONN : r;
}

/* After the commands of a request: what makes it durable, or the news that
 * it will never be.
 */
static int
request_settle (struct request *rq)
{
  struct bdev_nbd *dev = rq->dev;
  int r = request_result (rq);

  if (r == 0 && rq->must_flush)
    r = nbd_flush_device (dev);
  /* A failure of an era that is over concerns nobody in this one. */
  if (r < 0 && rq->is_durable && !is_refusal (rq, r) &&
      rq->era == atomic_load (&dev->era))
    group_sync_fail (&dev->sync, r);
  return r;
}

/*----- what a device does ----------------------------------------------*/

/* The flags of a change; FLAGS are the device's. */
static void
set_change_flags (struct request *rq, unsigned flags)
{
  const struct nbd_export *export = &rq->dev->export;

  rq->is_durable = (flags & BDEV_FUA) != 0;
  if (export->has_fua && (rq->is_durable || !export->has_flush))
    rq->flags |= NBD_COMMAND_FUA;
  rq->must_flush = rq->is_durable && !export->has_fua;
}

/* Can discards and zeroings be done as FLAGS want it? */
static bool
can_zero (const struct bdev_nbd *dev, enum bdev_op op, unsigned flags)
{
  const struct nbd_export *export = &dev->export;

  if (op == BDEV_DISCARD && !export->has_trim)
    return false;
  return export->has_zero && (!(flags & BDEV_FAST) || export->has_fast_zero);
}

/* Make RQ of IO, but for flushes. */
static void
request_of_io (struct request *rq, struct bdev_nbd *dev,
               const struct bdev_io *io)
{
  uint64_t length = io->op == BDEV_READ || io->op == BDEV_WRITE
                      ? vector_bytes (io->iov, io->iovcnt)
                      : sector_to_bytes (io->count);

  request_init (rq, dev,
                io->op == BDEV_READ    ? NBD_COMMAND_READ
                : io->op == BDEV_WRITE ? NBD_COMMAND_WRITE
                                       : NBD_COMMAND_ZERO,
                sector_to_bytes (io->sector), length);
  rq->iov = io->iov;
  rq->iovcnt = io->iovcnt;
  if (io->op == BDEV_READ)
    return;
  set_change_flags (rq, io->flags);
  if (io->op == BDEV_WRITE)
    return;
  if ((io->flags & BDEV_FAST) ||
      (io->op == BDEV_DISCARD && dev->export.has_fast_zero))
    rq->flags |= NBD_COMMAND_FAST;
  if (io->op == BDEV_WRITE_ZEROES && !(io->flags & BDEV_UNMAP))
    rq->flags |= NBD_COMMAND_NO_HOLE;
}

/* IO, blocking. */
static int
do_io (struct bdev_nbd *dev, const struct bdev_io *io)
{
  struct request rq;
  int r;

  request_of_io (&rq, dev, io);
  request_pump (&rq);
  request_finish (&rq);
  r = request_settle (&rq);
  request_destroy (&rq);
  return r;
}

int
bdev_nbd_read (void *handle, const struct iovec *iov, int iovcnt,
               sector_t sector)
{
  const struct bdev_io io = {
    .op = BDEV_READ,
    .iov = iov,
    .iovcnt = iovcnt,
    .sector = sector,
  };

  return do_io (handle, &io);
}

int
bdev_nbd_write (void *handle, const struct iovec *iov, int iovcnt,
                sector_t sector, unsigned flags)
{
  const struct bdev_io io = {
    .op = BDEV_WRITE,
    .flags = flags,
    .iov = iov,
    .iovcnt = iovcnt,
    .sector = sector,
  };

  return do_io (handle, &io);
}

int
bdev_nbd_flush (void *handle)
{
  return nbd_flush_device (handle);
}

int
bdev_nbd_discard (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  const struct bdev_io io = {
    .op = BDEV_DISCARD,
    .flags = flags,
    .sector = sector,
    .count = count,
  };

  if (!can_zero (handle, BDEV_DISCARD, flags))
    return -EOPNOTSUPP;
  return do_io (handle, &io);
}

int
bdev_nbd_write_zeroes (void *handle, sector_t sector, sector_t count,
                       unsigned flags)
{
  const struct bdev_io io = {
    .op = BDEV_WRITE_ZEROES,
    .flags = flags,
    .sector = sector,
    .count = count,
  };

  if (!can_zero (handle, BDEV_WRITE_ZEROES, flags))
    return -EOPNOTSUPP;
  return do_io (handle, &io);
}

int
bdev_nbd_extent (void *handle, sector_t sector, sector_t count,
                 struct bdev_extent *extent)
{
  struct bdev_nbd *dev = handle;
  struct request rq;
  sector_t found;
  int r;

  if (!dev->export.has_block_status)
    return 0; /* all data, as far as anybody knows */
  count = MIN_OF (count, (sector_t) EXTENT_BYTES >> SECTOR_SHIFT);
  request_init (&rq, dev, NBD_COMMAND_BLOCK_STATUS, sector_to_bytes (sector),
                sector_to_bytes (count));
  request_pump (&rq);
  request_finish (&rq);
  r = request_result (&rq);
  request_destroy (&rq);
  if (r == -EOPNOTSUPP || r == -EINVAL) /* it cannot tell */
    return 0;
  if (r < 0)
    return r;

  /* A sector that is partly data is data. */
  found = rq.extent_length >> SECTOR_SHIFT;
  extent->is_hole = rq.extent_is_hole && found > 0;
  if (!extent->is_hole)
    found = rq.extent_is_hole ? 1
                              : div_round_up (rq.extent_length, SECTOR_SIZE);
  extent->count = found;
  return 0;
}

/*----- in flight -------------------------------------------------------*/

static int
begin_flush (struct bdev_nbd *dev, struct request *rq)
{
  int r;

  if (!dev->export.has_flush)
    return -EAGAIN; /* nothing to send: nbd_flush_device knows */
  r = group_sync_begin (&dev->sync);
  if (r < 0)
    return r;
  request_init (rq, dev, NBD_COMMAND_FLUSH, 0, 1);
  rq->is_group_flush = true;
  return 0;
}

int
bdev_nbd_begin (void *handle, struct bdev_io *io)
{
  struct bdev_nbd *dev = handle;
  struct request *rq;
  int r = 0;

  /* The blocking call knows what else can be done. */
  if ((io->op == BDEV_DISCARD || io->op == BDEV_WRITE_ZEROES) &&
      !can_zero (dev, io->op, io->flags))
    return -EAGAIN;
  rq = malloc (sizeof *rq);
  if (rq == NULL)
    return -EAGAIN;
  if (io->op == BDEV_FLUSH)
    r = begin_flush (dev, rq);
  else
    request_of_io (rq, dev, io);
  if (r < 0) {
    free (rq);
    return r;
  }
  rq->is_measured = io->began_ns != 0;
  request_pump (rq);
  io->state[0] = rq;
  return 0;
}

int
bdev_nbd_end (void *handle, struct bdev_io *io)
{
  struct request *rq = io->state[0];
  int r;

  (void) handle;
  request_finish (rq);
  io->ended_ns = rq->must_flush ? 0 : rq->answered_ns;
  r = request_settle (rq);
  request_destroy (rq);
  free (rq);
  return r;
}
