/* The threads that work for a watched device, the helpers.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * States of a request, under the lock:
 *
 *   QUEUED  -> RUNNING   a helper has taken it         [helper_main]
 *   RUNNING -> ENDED     its result is there           [answer_locked]
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
 * A device may be used before a fork, too, and in the child after it, where the
 * helpers are no more: others are started.
 *
 * Locks: fork_lock and that of the device, each alone.  None is held while the
 * device below works.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bdev-watch-impl.h"
#include "bounce.h"
#include "clock.h"

/* A device has failed that leaves one request of many without an answer for so
 * many slices.
 */
#define SLICES_MAX (4 * WATCH_SLICES)

/* Held by who is the first one to use a device after a fork. */
static struct mutex fork_lock = MUTEX_INITIALIZER;

/*----- requests --------------------------------------------------------*/

struct watch_request *
watch_request_create (enum watch_op op, sector_t sector, size_t bytes)
{
  struct watch_request *rq = calloc (1, sizeof *rq);

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

void
watch_request_destroy (struct watch_request *rq)
{
  if (rq == NULL)
    return;
  assert (list_is_empty (&rq->link));
  cond_destroy (&rq->changed);
  free (rq->memory);
  free (rq);
}

/* Returns true if the caller was the last one, who destroys it. */
static bool
let_go_locked (struct watch_request *rq)
{
  assert (rq->holders > 0);
  return --rq->holders == 0;
}

/* By a helper. */
static int
request_run (struct block_device *lower, struct watch_request *rq)
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
answer_locked (struct watch *w, struct watch_request *rq, int r)
{
  list_remove (&rq->link);
  w->answers++;
  if (rq->state == WATCH_GIVEN_UP) {
    if (--w->stuck_count == 0)
      cond_broadcast (&w->drained);
  }
  else {
    rq->result = r;
    rq->ended_ns = clock_now_ns ();
    rq->state = WATCH_ENDED;
    cond_signal (&rq->changed);
  }
  if (let_go_locked (rq))
    watch_request_destroy (rq);
}

static void
helper_main (void *arg)
{
  struct watch *w = arg;

  mutex_lock (&w->lock);
  for (;;) {
    struct list *link = list_pop_front (&w->queue);
    struct watch_request *rq;
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
    rq = list_entry (link, struct watch_request, link);
    rq->state = WATCH_RUNNING;
    rq->holders++;
    list_push_back (&w->running, &rq->link);
    mutex_unlock (&w->lock);
    r = request_run (w->lower, rq);
    mutex_lock (&w->lock);
    answer_locked (w, rq, r);
  }
  mutex_unlock (&w->lock);
}

/* Nothing was in flight then: they waited, for a condition that counts them, as
 * does the lock, so both are made anew.
 */
void
watch_follow_fork (struct watch *w)
{
  if (atomic_load (&w->process) == process_number ())
    return;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fork_lock);
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

  if (w->queue_length > w->idle_count && w->helper_count < WATCH_HELPERS_MAX) {
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

int
watch_submit (struct watch *w, struct watch_request *rq)
{
  int r;

  watch_follow_fork (w);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);
  if (w->error < 0)
    return w->error;
  rq->state = WATCH_QUEUED;
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
    struct watch_request *rq = list_entry (link, struct watch_request, link);

    w->queue_length--;
    rq->state = WATCH_GIVEN_UP;
    cond_signal (&rq->changed);
  }
  list_for_each (link, &w->running) {
    struct watch_request *rq = list_entry (link, struct watch_request, link);

    w->stuck_count++;
    rq->state = WATCH_GIVEN_UP;
    cond_signal (&rq->changed);
  }
}

/* One slice has gone by.  Is it enough? */
static bool
is_hopeless_locked (const struct watch *w, struct watch_request *rq)
{
  rq->slices++;
  rq->silent_slices = rq->answers_seen == w->answers ? rq->silent_slices + 1
                                                     : 0;
  rq->answers_seen = w->answers;
  return rq->silent_slices >= WATCH_SLICES || rq->slices >= SLICES_MAX;
}

int
watch_await (struct watch *w, struct watch_request **rq)
{
  struct watch_request *r = *rq;
  bool is_last;

  mutex_lock (&w->lock);
  while (r->state == WATCH_QUEUED || r->state == WATCH_RUNNING)
    if (!cond_wait_until (&r->changed, &w->lock,
                          clock_now_ns () + w->slice_ns) &&
        (r->state == WATCH_QUEUED || r->state == WATCH_RUNNING) &&
        is_hopeless_locked (w, r))
      give_up_locked (w);
  if (r->state == WATCH_ENDED) {
    mutex_unlock (&w->lock);
    return r->result;
  }
  is_last = let_go_locked (r);
  mutex_unlock (&w->lock);
  if (is_last)
    watch_request_destroy (r);
  *rq = NULL;
  return -ETIMEDOUT;
}
