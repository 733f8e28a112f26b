/* A device that is given up when it hangs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A call of a file or a disk that hangs cannot be taken back.  So each
 * operation is done by a thread of ours, a *helper*, with memory of ours, and
 * its caller waits for that, but not for ever (bdev-watch-helpers.c).  What a
 * caller has given up goes on without him; it can touch nothing of his any
 * more.
 *
 * A device that is closed while it hangs is kept, with its helpers, until these
 * are back; the next one that is made or closed then finds it and frees it.
 *
 * Locks: graves_lock -> the device's.  None is held while the device below
 * works.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "bdev-impl.h"
#include "bdev-watch-impl.h"
#include "bits.h"
#include "clock.h"
#include "log-sink.h"
#include "vector.h"

#define DEFAULT_TIMEOUT_MS 30000

/* The most in one request. */
#define PIECE_BYTES (4U << 20)
/* Zeroing moves no data, but the device may have to write. */
#define ZERO_SECTORS ((sector_t) (128U << 20) >> SECTOR_SHIFT)

static struct mutex graves_lock = MUTEX_INITIALIZER;
static struct list graves = LIST_INITIALIZER (graves);

/*----- operations ------------------------------------------------------*/

/* As watch_await. */
static int
submit_and_await (struct watch *w, struct watch_request **rq)
{
  int r = watch_submit (w, *rq);

  return r < 0 ? r : watch_await (w, rq);
}

static int
transfer_piece (struct watch *w, enum watch_op op, const struct iovec *iov,
                int iovcnt, size_t skip, size_t bytes, sector_t sector,
                unsigned flags)
{
  struct watch_request *rq = watch_request_create (op, sector, bytes);
  int r;

  if (rq == NULL)
    return -ENOMEM;
  rq->flags = flags;
  if (op == WATCH_WRITE)
    vector_gather (iov, iovcnt, skip, rq->memory, bytes);
  r = submit_and_await (w, &rq);
  if (r == 0 && op == WATCH_READ)
    vector_scatter (iov, iovcnt, skip, rq->memory, bytes);
  watch_request_destroy (rq);
  return r;
}

static int
transfer (struct watch *w, enum watch_op op, const struct iovec *iov,
          int iovcnt, sector_t sector, unsigned flags)
{
  size_t bytes = vector_bytes (iov, iovcnt), done = 0;

  while (done < bytes) {
    size_t n = MIN_OF (bytes - done, PIECE_BYTES);
    int r = transfer_piece (w, op, iov, iovcnt, done, n,
                            sector + (done >> SECTOR_SHIFT), flags);

    if (r < 0)
      return r;
    done += n;
  }
  return 0;
}

static int
watch_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  return transfer (handle, WATCH_READ, iov, iovcnt, sector, 0);
}

static int
watch_write (void *handle, const struct iovec *iov, int iovcnt, sector_t sector,
             unsigned flags)
{
  return transfer (handle, WATCH_WRITE, iov, iovcnt, sector, flags);
}

/* What moves no data; ANSWER, if not NULL, is what to do with it. */
static int
ask (struct watch *w, enum watch_op op, sector_t sector, sector_t count,
     unsigned flags, struct watch_request **answer)
{
  struct watch_request *rq = watch_request_create (op, sector, 0);
  int r;

  if (rq == NULL)
    return -ENOMEM;
  rq->count = count;
  rq->flags = flags;
  r = submit_and_await (w, &rq);
  if (r == 0 && answer != NULL)
    *answer = rq;
  else
    watch_request_destroy (rq);
  return r;
}

static int
watch_flush (void *handle)
{
  return ask (handle, WATCH_FLUSH, 0, 0, 0, NULL);
}

/* In parts: a device that has to write has some patience for each. */
static int
zero (struct watch *w, enum watch_op op, sector_t sector, sector_t count,
      unsigned flags)
{
  while (count > 0) {
    sector_t n = MIN_OF (count, ZERO_SECTORS);
    int r = ask (w, op, sector, n, flags, NULL);

    if (r < 0)
      return r;
    sector += n;
    count -= n;
  }
  return 0;
}

static int
watch_discard (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  return zero (handle, WATCH_DISCARD, sector, count, flags);
}

static int
watch_write_zeroes (void *handle, sector_t sector, sector_t count,
                    unsigned flags)
{
  return zero (handle, WATCH_WRITE_ZEROES, sector, count, flags);
}

static int
watch_extent (void *handle, sector_t sector, sector_t count,
              struct bdev_extent *extent)
{
  struct watch_request *rq;
  int r = ask (handle, WATCH_EXTENT, sector, count, 0, &rq);

  if (r < 0)
    return r;
  *extent = rq->extent;
  watch_request_destroy (rq);
  return 0;
}

static int
watch_identity (void *handle, struct bdev_identity *identity)
{
  struct watch_request *rq;
  int r = ask (handle, WATCH_IDENTITY, 0, 0, 0, &rq);

  if (r < 0)
    return r;
  *identity = rq->identity;
  watch_request_destroy (rq);
  return 0;
}

static void
watch_limits (void *handle, struct bdev_limits *limits)
{
  const struct watch *w = handle;

  bdev_get_limits (w->lower, limits);
  limits->max_bytes = MIN_OF (limits->max_bytes, PIECE_BYTES);
  limits->is_remote = true; /* others do it */
}

/*----- in flight -------------------------------------------------------*/

/* The request for IO, or NULL: it is too large for one, or there is no
 * memory.
 */
static struct watch_request *
request_for (const struct bdev_io *io)
{
  static const enum watch_op ops[] = {
    [BDEV_READ] = WATCH_READ,
    [BDEV_WRITE] = WATCH_WRITE,
    [BDEV_FLUSH] = WATCH_FLUSH,
    [BDEV_DISCARD] = WATCH_DISCARD,
    [BDEV_WRITE_ZEROES] = WATCH_WRITE_ZEROES,
  };
  bool is_transfer = io->op == BDEV_READ || io->op == BDEV_WRITE;
  size_t bytes = is_transfer ? vector_bytes (io->iov, io->iovcnt) : 0;
  struct watch_request *rq;

  if (bytes > PIECE_BYTES || (!is_transfer && io->count > ZERO_SECTORS))
    return NULL;
  rq = watch_request_create (ops[io->op], io->sector, bytes);
  if (rq == NULL)
    return NULL;
  rq->count = io->count;
  rq->flags = io->flags;
  if (io->op == BDEV_WRITE)
    vector_gather (io->iov, io->iovcnt, 0, rq->memory, bytes);
  return rq;
}

static int
watch_begin (void *handle, struct bdev_io *io)
{
  struct watch_request *rq = request_for (io);
  int r;

  if (rq == NULL)
    return -EAGAIN;
  r = watch_submit (handle, rq);
  if (r < 0)
    watch_request_destroy (rq);
  else
    io->state[0] = rq;
  return r;
}

static int
watch_end (void *handle, struct bdev_io *io)
{
  struct watch_request *rq = io->state[0];
  int r = watch_await (handle, &rq);

  if (r == 0 && io->op == BDEV_READ)
    vector_scatter (io->iov, io->iovcnt, 0, rq->memory, rq->bytes);
  if (rq != NULL)
    io->ended_ns = rq->ended_ns;
  watch_request_destroy (rq);
  return r;
}

/*----- life ------------------------------------------------------------*/

static int
watch_reconnect (void *handle, unsigned flags)
{
  struct watch *w = handle;
  uint64_t deadline_ns = clock_now_ns () + WATCH_SLICES * w->slice_ns;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);
  if (w->error == 0)
    return -EOPNOTSUPP; /* there was nothing to lose */
  while (w->stuck_count > 0)
    if ((flags & BDEV_RECONNECT_NO_WAIT) ||
        !cond_wait_until (&w->drained, &w->lock, deadline_ns))
      return -EBUSY;
  w->error = 0;
  return 0;
}

/* Nothing is stuck, and it is closed. */
static void
watch_destroy (struct watch *w)
{
  while (w->helper_count > 0)
    thread_join (&w->helpers[--w->helper_count]);
  assert (list_is_empty (&w->queue) && list_is_empty (&w->running));
  bdev_close (w->lower);
  cond_destroy (&w->drained);
  cond_destroy (&w->work);
  mutex_destroy (&w->lock);
  free (w);
}

static bool
is_stuck (struct watch *w)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);
  return w->stuck_count > 0;
}

void
bdev_watch_reap (void)
{
  struct list *link, *next;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&graves_lock);
  list_for_each_safe (link, next, &graves) {
    struct watch *w = list_entry (link, struct watch, grave);

    if (!is_stuck (w)) {
      list_remove (&w->grave);
      watch_destroy (w);
    }
  }
}

static void
watch_close (void *handle)
{
  struct watch *w = handle;
  bool has_grave;

  bdev_watch_reap ();
  watch_follow_fork (w);
  mutex_lock (&w->lock);
  w->is_closed = true;
  cond_broadcast (&w->work);
  has_grave = w->stuck_count > 0;
  mutex_unlock (&w->lock);
  if (!has_grave) {
    watch_destroy (w);
    return;
  }
  log_warning ("%s: hangs; it is in use until it answers, or this program has "
               "ended",
               bdev_name (w->lower));
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&graves_lock);
  list_push_back (&graves, &w->grave);
}

static const struct bdev_ops watch_ops = {
  .struct_size = sizeof watch_ops,
  .read = watch_read,
  .write = watch_write,
  .flush = watch_flush,
  .discard = watch_discard,
  .write_zeroes = watch_write_zeroes,
  .extent = watch_extent,
  .identity = watch_identity,
  .begin = watch_begin,
  .end = watch_end,
  .limits = watch_limits,
  .reconnect = watch_reconnect,
  .close = watch_close,
};

/* Those of a device like LOWER. */
static struct bdev_ops
ops_for (const struct block_device *lower)
{
  struct bdev_ops ops = watch_ops;

  if (bdev_is_read_only (lower)) {
    ops.write = NULL;
    ops.flush = NULL;
    ops.discard = NULL;
    ops.write_zeroes = NULL;
  }
  return ops;
}

int
bdev_watch_create (struct block_device *lower, unsigned timeout_ms,
                   struct block_device **bdev)
{
  const struct bdev_ops ops = ops_for (lower);
  struct watch *w = calloc (1, sizeof *w);
  int r;

  bdev_watch_reap ();
  if (w == NULL)
    return -ENOMEM;
  if (timeout_ms == 0)
    timeout_ms = DEFAULT_TIMEOUT_MS;
  w->lower = lower;
  w->slice_ns = timeout_ms * (NS_PER_SECOND / 1000) / WATCH_SLICES;
  atomic_init (&w->process, process_number ());
  mutex_init (&w->lock);
  cond_init (&w->work);
  cond_init (&w->drained);
  list_init (&w->queue);
  list_init (&w->running);
  list_init (&w->grave);
  r = bdev_create (&ops, w, bdev_name (lower), bdev_sectors (lower), bdev);
  if (r < 0) {
    cond_destroy (&w->drained);
    cond_destroy (&w->work);
    mutex_destroy (&w->lock);
    free (w);
  }
  return r;
}
