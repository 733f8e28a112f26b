/* A device that is given up when it hangs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A call of a file or a disk that hangs cannot be taken back.  So each
 * operation is done by a thread of ours, a *helper*, with memory of ours, and
 * its caller waits for that, but not for ever.  What a caller has given up goes
 * on without him; it can touch nothing of his any more.
 *
 * States of a request, under the lock:
 *
 *   QUEUED  -> RUNNING   a helper has taken it         [helper_main]
 *   RUNNING -> ENDED     its result is there           [helper_main]
 *   QUEUED  -> GIVEN_UP  the device hangs, it was not begun  [give_up_locked]
 *   RUNNING -> GIVEN_UP  the device hangs, it is *stuck* until the helper is
 *                        back                          [give_up_locked]
 *
 * Invariants, under the lock:
 * (1) error is 0 unless the device was given up; then nothing is QUEUED,
 *     nothing becomes so, and what is still running is stuck;
 * (2) nothing is stuck when error becomes 0 again: no write of before can
 *     reach the device after that.
 *
 * Patience is counted in slices of the time-out, by who waits: a program that
 * was stopped for an hour, with all its helpers, has lost one slice.
 *
 * A device that is closed while it hangs is kept, with its helpers, until these
 * are back; the next one that is made or closed then finds it and frees it.
 *
 * A device may be used before a fork, too, and in the child after it, where the
 * helpers are no more: others are started.
 *
 * Locks: graves_lock -> the device's.  None is held while the device below
 * works.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bdev-impl.h"
#include "bits.h"
#include "bounce.h"
#include "clock.h"
#include "list.h"
#include "log-sink.h"
#include "sync.h"
#include "vector.h"

#define DEFAULT_TIMEOUT_MS 30000
#define HELPERS_MAX 16

/* The most in one request. */
#define PIECE_BYTES (4U << 20)
/* Zeroing moves no data, but the device may have to write. */
#define ZERO_SECTORS ((sector_t) (128U << 20) >> SECTOR_SHIFT)

/* A device has failed that answers nothing for SLICES, or leaves one request
 * of many without an answer for SLICES_MAX.
 */
#define SLICES 8
#define SLICES_MAX (4 * SLICES)

enum watch_op {
  WATCH_READ,
  WATCH_WRITE,
  WATCH_FLUSH,
  WATCH_DISCARD,
  WATCH_WRITE_ZEROES,
  WATCH_EXTENT,
  WATCH_IDENTITY,
};

enum request_state { QUEUED, RUNNING, ENDED, GIVEN_UP };

/* One operation.  The lock guards it, but for its data, which are the helper's
 * while it is RUNNING and the caller's when it has ENDED.
 */
struct request {
  struct list link; /* in the queue, or among those running */
  struct cond changed;
  enum request_state state;
  unsigned holders; /* its caller, and its helper */

  enum watch_op op;
  unsigned flags;
  sector_t sector, count;
  void *memory; /* reads and writes */
  size_t bytes;
  struct bdev_extent extent;
  struct bdev_identity identity;

  int result;
  uint64_t ended_ns;

  /* How long its caller has waited, and since when nothing was answered. */
  unsigned slices, silent_slices;
  uint64_t answers_seen;
};

struct watch {
  struct block_device *lower;
  uint64_t slice_ns;

  struct mutex lock;
  struct cond work;    /* for helpers: there is some, or it is closed */
  struct cond drained; /* nothing is stuck any more */
  struct list queue;
  unsigned queue_length;
  struct list running;
  unsigned stuck_count;
  uint64_t answers;
  int error;
  bool is_closed;

  struct thread helpers[HELPERS_MAX];
  atomic_uint process; /* of which they are */
  unsigned helper_count;
  unsigned idle_count;

  struct list grave; /* closed, but stuck */
};

static struct mutex graves_lock = MUTEX_INITIALIZER;
static struct list graves = LIST_INITIALIZER (graves);

/*----- requests --------------------------------------------------------*/

static struct request *
request_create (enum watch_op op, sector_t sector, size_t bytes)
{
  struct request *rq = calloc (1, sizeof *rq);

  if (rq == NULL)
    return NULL;
  if (bytes > 0 && posix_memalign (&rq->memory, BOUNCE_ALIGN, bytes) != 0) {
    free (rq);
    return NULL;
  }
  list_init (&rq->link);
  cond_init (&rq->changed);
  rq->op = op;
  rq->sector = sector;
  rq->bytes = bytes;
  rq->holders = 1;
  return rq;
}

static void
request_destroy (struct request *rq)
{
  assert (list_is_empty (&rq->link));
  cond_destroy (&rq->changed);
  free (rq->memory);
  free (rq);
}

/* Returns true if the caller was the last one, who destroys it. */
static bool
let_go_locked (struct request *rq)
{
  assert (rq->holders > 0);
  return --rq->holders == 0;
}

/* By a helper. */
static int
request_run (struct block_device *lower, struct request *rq)
{
  struct iovec iov = { .iov_base = rq->memory, .iov_len = rq->bytes };

  switch (rq->op) {
  case WATCH_READ:
    return bdev_read (lower, &iov, 1, rq->sector);
  case WATCH_WRITE:
    return bdev_write (lower, &iov, 1, rq->sector, rq->flags);
  case WATCH_FLUSH:
    return bdev_flush (lower);
  case WATCH_DISCARD:
    return bdev_discard (lower, rq->sector, rq->count, rq->flags);
  case WATCH_WRITE_ZEROES:
    return bdev_write_zeroes (lower, rq->sector, rq->count, rq->flags);
  case WATCH_EXTENT:
    return bdev_extent (lower, rq->sector, rq->count, &rq->extent);
  case WATCH_IDENTITY:
    return bdev_identity (lower, &rq->identity);
  }
  return -EINVAL;
}

/*----- helpers ---------------------------------------------------------*/

/* RQ is back from the device, with R. */
static void
answer_locked (struct watch *w, struct request *rq, int r)
{
  list_remove (&rq->link);
  w->answers++;
  if (rq->state == GIVEN_UP) {
    if (--w->stuck_count == 0)
      cond_broadcast (&w->drained);
  }
  else {
    rq->result = r;
    rq->ended_ns = clock_now_ns ();
    rq->state = ENDED;
    cond_signal (&rq->changed);
  }
  if (let_go_locked (rq))
    request_destroy (rq);
}

static void
helper_main (void *arg)
{
  struct watch *w = arg;

  mutex_lock (&w->lock);
  for (;;) {
    struct list *link = list_pop_front (&w->queue);
    struct request *rq;
    int r;

    if (link == NULL) {
      if (w->is_closed)
        break;
      w->idle_count++;
      cond_wait (&w->work, &w->lock);
      w->idle_count--;
      continue;
    }
    w->queue_length--;
    rq = list_entry (link, struct request, link);
    rq->state = RUNNING;
    rq->holders++;
    list_push_back (&w->running, &rq->link);
    mutex_unlock (&w->lock);
    r = request_run (w->lower, rq);
    mutex_lock (&w->lock);
    answer_locked (w, rq, r);
  }
  mutex_unlock (&w->lock);
}

/* If this is the child of a fork, the helpers are no more.  Nothing was in
 * flight then: they waited, for a condition that counts them, as does the lock,
 * so both are made anew.
 */
static void
follow_fork (struct watch *w)
{
  if (atomic_load (&w->process) == process_number ())
    return;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&graves_lock);
  if (atomic_load (&w->process) == process_number ())
    return;
  assert (list_is_empty (&w->queue) && list_is_empty (&w->running));
  w->helper_count = w->idle_count = 0;
  mutex_init (&w->lock);
  cond_init (&w->work);
  atomic_store (&w->process, process_number ());
}

/* See that somebody will take the last one of the queue.  Returns 0 or a
 * negative errno: nobody will.
 */
static int
call_helper_locked (struct watch *w)
{
  int r = 0;

  if (w->queue_length > w->idle_count && w->helper_count < HELPERS_MAX) {
    r = thread_start (&w->helpers[w->helper_count], "dmio-watch", helper_main,
                      w);
    if (r == 0)
      w->helper_count++;
    else if (w->helper_count > 0)
      r = 0; /* when one is back */
  }
  cond_signal (&w->work);
  return r;
}

/*----- waiting ---------------------------------------------------------*/

/* Returns 0: RQ is on its way, and is to be awaited. */
static int
request_submit (struct watch *w, struct request *rq)
{
  int r;

  follow_fork (w);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);
  if (w->error < 0)
    return w->error;
  rq->state = QUEUED;
  rq->answers_seen = w->answers;
  list_push_back (&w->queue, &rq->link);
  w->queue_length++;
  r = call_helper_locked (w);
  if (r < 0) {
    list_remove (&rq->link);
    w->queue_length--;
  }
  return r;
}

static void
give_up_locked (struct watch *w)
{
  struct list *link;

  w->error = -ETIMEDOUT;
  while ((link = list_pop_front (&w->queue)) != NULL) {
    struct request *rq = list_entry (link, struct request, link);

    w->queue_length--;
    rq->state = GIVEN_UP;
    cond_signal (&rq->changed);
  }
  list_for_each (link, &w->running) {
    struct request *rq = list_entry (link, struct request, link);

    w->stuck_count++;
    rq->state = GIVEN_UP;
    cond_signal (&rq->changed);
  }
}

/* One slice has gone by.  Is it enough? */
static bool
is_hopeless_locked (const struct watch *w, struct request *rq)
{
  rq->slices++;
  rq->silent_slices = rq->answers_seen == w->answers ? rq->silent_slices + 1
                                                     : 0;
  rq->answers_seen = w->answers;
  return rq->silent_slices >= SLICES || rq->slices >= SLICES_MAX;
}

/* Wait for the end of *RQ, which is the caller's again then.  Unless the device
 * is given up: then *RQ becomes NULL.  Returns its result, or -ETIMEDOUT.
 */
static int
request_await (struct watch *w, struct request **rq)
{
  struct request *r = *rq;
  bool is_last;

  mutex_lock (&w->lock);
  while (r->state == QUEUED || r->state == RUNNING)
    if (!cond_wait_until (&r->changed, &w->lock,
                          clock_now_ns () + w->slice_ns) &&
        (r->state == QUEUED || r->state == RUNNING) &&
        is_hopeless_locked (w, r))
      give_up_locked (w);
  if (r->state == ENDED) {
    mutex_unlock (&w->lock);
    return r->result;
  }
  is_last = let_go_locked (r);
  mutex_unlock (&w->lock);
  if (is_last)
    request_destroy (r);
  *rq = NULL;
  return -ETIMEDOUT;
}

static void
request_forget (struct request *rq)
{
  if (rq != NULL)
    request_destroy (rq);
}

/* Both: submit and await. */
static int
request_do (struct watch *w, struct request **rq)
{
  int r = request_submit (w, *rq);

  return r < 0 ? r : request_await (w, rq);
}

/*----- operations ------------------------------------------------------*/

static int
transfer_piece (struct watch *w, enum watch_op op, const struct iovec *iov,
                int iovcnt, size_t skip, size_t bytes, sector_t sector,
                unsigned flags)
{
  struct request *rq = request_create (op, sector, bytes);
  int r;

  if (rq == NULL)
    return -ENOMEM;
  rq->flags = flags;
  if (op == WATCH_WRITE)
    vector_gather (iov, iovcnt, skip, rq->memory, bytes);
  r = request_do (w, &rq);
  if (r == 0 && op == WATCH_READ)
    vector_scatter (iov, iovcnt, skip, rq->memory, bytes);
  request_forget (rq);
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
     unsigned flags, struct request **answer)
{
  struct request *rq = request_create (op, sector, 0);
  int r;

  if (rq == NULL)
    return -ENOMEM;
  rq->count = count;
  rq->flags = flags;
  r = request_do (w, &rq);
  if (r == 0 && answer != NULL)
    *answer = rq;
  else
    request_forget (rq);
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
  struct request *rq;
  int r = ask (handle, WATCH_EXTENT, sector, count, 0, &rq);

  if (r < 0)
    return r;
  *extent = rq->extent;
  request_destroy (rq);
  return 0;
}

static int
watch_identity (void *handle, struct bdev_identity *identity)
{
  struct request *rq;
  int r = ask (handle, WATCH_IDENTITY, 0, 0, 0, &rq);

  if (r < 0)
    return r;
  *identity = rq->identity;
  request_destroy (rq);
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
static struct request *
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
  struct request *rq;

  if (bytes > PIECE_BYTES || (!is_transfer && io->count > ZERO_SECTORS))
    return NULL;
  rq = request_create (ops[io->op], io->sector, bytes);
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
  struct request *rq = request_for (io);
  int r;

  if (rq == NULL)
    return -EAGAIN;
  r = request_submit (handle, rq);
  if (r < 0)
    request_destroy (rq);
  else
    io->state[0] = rq;
  return r;
}

static int
watch_end (void *handle, struct bdev_io *io)
{
  struct request *rq = io->state[0];
  int r = request_await (handle, &rq);

  if (r == 0 && io->op == BDEV_READ)
    vector_scatter (io->iov, io->iovcnt, 0, rq->memory, rq->bytes);
  if (rq != NULL)
    io->ended_ns = rq->ended_ns;
  request_forget (rq);
  return r;
}

/*----- life ------------------------------------------------------------*/

static int
watch_reconnect (void *handle, unsigned flags)
{
  struct watch *w = handle;
  uint64_t deadline_ns = clock_now_ns () + SLICES * w->slice_ns;

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
  follow_fork (w);
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

static const struct bdev_ops watch_read_only_ops = {
  .struct_size = sizeof watch_read_only_ops,
  .read = watch_read,
  .extent = watch_extent,
  .identity = watch_identity,
  .begin = watch_begin,
  .end = watch_end,
  .limits = watch_limits,
  .reconnect = watch_reconnect,
  .close = watch_close,
};

int
bdev_watch_create (struct block_device *lower, unsigned timeout_ms,
                   struct block_device **bdev)
{
  struct watch *w = calloc (1, sizeof *w);
  int r;

  bdev_watch_reap ();
  if (w == NULL)
    return -ENOMEM;
  if (timeout_ms == 0)
    timeout_ms = DEFAULT_TIMEOUT_MS;
  w->lower = lower;
  w->slice_ns = timeout_ms * (NS_PER_SECOND / 1000) / SLICES;
  atomic_init (&w->process, process_number ());
  mutex_init (&w->lock);
  cond_init (&w->work);
  cond_init (&w->drained);
  list_init (&w->queue);
  list_init (&w->running);
  list_init (&w->grave);
  r = bdev_create (bdev_is_read_only (lower) ? &watch_read_only_ops
                                             : &watch_ops,
                   w, bdev_name (lower), bdev_sectors (lower), bdev);
  if (r < 0) {
    cond_destroy (&w->drained);
    cond_destroy (&w->work);
    mutex_destroy (&w->lock);
    free (w);
  }
  return r;
}
