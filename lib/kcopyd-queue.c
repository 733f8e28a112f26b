/* The queue of a client: which slice begins when.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * States of a job with slices:
 *   WAITING -> WAITING      [issue]: a slice starts, more is to be done
 *   WAITING -> RUNNING      [issue]: all is issued, or all slices are busy
 *   RUNNING -> WAITING      [slice_end]: a slice is free again
 *   RUNNING -> COMPLETE     [slice_end]: nothing is left or in flight
 *   WAITING -> COMPLETE     [kcopyd_cancel]: nothing is in flight
 *   COMPLETE -> freed       [client_main]: just before its callback
 *
 * Invariants, under the client's lock:
 * (1) a job is in the waiting list if and only if it is WAITING; then it
 *     has work left and a free slice;
 * (2) pages, and the throttle's leave, are given to the first job of the
 *     waiting list only, so none starves; one slice never needs more than
 *     the reserve has, so the first job always gets them in the end;
 * (3) with KCOPYD_WRITE_SEQ the slice at next_write, once issued, is never
 *     parked: it is busy, and whoever ends it goes on with the next.  As
 *     slices are issued by offset, what is parked waits for none that
 *     waits for pages.
 */

#include <config.h>

#include "bits.h"
#include "clock.h"
#include "kcopyd-impl.h"
#include "kcopyd-throttle-impl.h"

#define SECTORS_PER_PAGE ((sector_t) DM_PAGE_SIZE / SECTOR_SIZE)

static void do_slice (struct io_work *work);

static bool
job_has_failed (const struct kcopyd_job *job)
{
  return (job->read_err != 0 || job->write_err != 0) &&
         !job_has_flag (job, KCOPYD_IGNORE_ERROR);
}

bool
kcopyd_job_has_work (const struct kcopyd_job *job)
{
  return job->next < job->from.count && !job_has_failed (job) &&
         !job->is_cancelled;
}

static struct slice *
free_slice (struct kcopyd_job *job)
{
  unsigned i;

  for (i = 0; i < job->kc->slices_per_job; ++i)
    if (job->slices[i].state == SLICE_FREE)
      return &job->slices[i];
  return NULL;
}

void
kcopyd_job_enqueue_locked (struct kcopyd_job *job)
{
  job->is_waiting = true;
  list_push_back (&job->kc->waiting_jobs, &job->link);
}

void
kcopyd_job_dequeue_locked (struct kcopyd_job *job)
{
  list_remove (&job->link);
  job->is_waiting = false;
}

/* Ask the throttle for leave for COUNT sectors; if not now, the client's
 * thread will ask again.
 */
static bool
is_admitted_locked (struct kcopyd_client *kc, struct slice *slice,
                    sector_t count)
{
  slice->throttle = kc->throttle;
  if (kc->throttle == NULL)
    return true;
  slice->began_ns = clock_now_ns ();
  kc->wake_ns = kcopyd_throttle_begin (kc->throttle, sector_to_bytes (count),
                                       slice->began_ns);
  if (kc->wake_ns == 0)
    return true;
  cond_signal (&kc->wake);
  return false;
}

void
kcopyd_issue_locked (struct kcopyd_client *kc, struct list *slices)
{
  kc->wake_ns = 0;
  while (!list_is_empty (&kc->waiting_jobs)) {
    struct kcopyd_job *job = list_entry (kc->waiting_jobs.next,
                                         struct kcopyd_job, link);
    struct slice *slice = free_slice (job);
    sector_t count = MIN_OF (kc->slice_sectors, job->from.count - job->next);
    unsigned pages = job->kind == JOB_ZERO
                       ? 0
                       : (unsigned) div_round_up (count, SECTORS_PER_PAGE);

    /* (2): nobody overtakes */
    if (pages > page_pool_free_count (kc->pages) ||
        !is_admitted_locked (kc, slice, count))
      return;

    slice->state = SLICE_BUSY;
    slice->offset = job->next;
    slice->count = count;
    slice->pages = pages > 0 ? page_pool_get (kc->pages, pages) : NULL;
    slice->is_hole = slice->is_read = false;
    slice->read_failed = slice->moved_data = false;
    slice->write_err = 0;
    slice->tally = (struct kcopyd_progress){ .sectors_done = count };
    list_push_back (slices, &slice->link);
    job->next += count;
    job->busy_slices++;
    if (!kcopyd_job_has_work (job) || job->busy_slices == kc->slices_per_job)
      kcopyd_job_dequeue_locked (job);
  }
}

void
kcopyd_submit (struct list *slices)
{
  struct list *link;

  while ((link = list_pop_front (slices)) != NULL) {
    struct slice *slice = list_entry (link, struct slice, link);

    slice->work.fn = do_slice;
    slice->work.floor = slice->job->floor;
    io_threads_submit (&slice->work);
  }
}

/* As kcopyd_submit, from an I/O thread of FLOOR that has nothing left to do: it
 * goes on with one of SLICES itself.  While a long copy is all there is no
 * thread needs to be woken, slice by slice, by another that goes to sleep.
 */
static void
submit_last (struct list *slices, enum io_floor floor)
{
  struct slice *last = list_is_empty (slices)
                         ? NULL
                         : list_entry (slices->prev, struct slice, link);

  if (last != NULL && last->job->floor == floor)
    list_remove (&last->link);
  else
    last = NULL;
  kcopyd_submit (slices);
  if (last == NULL)
    return;
  last->work.fn = do_slice;
  last->work.floor = floor;
  io_threads_submit_last (&last->work);
}

/*----- the end of a slice ----------------------------------------------*/

static void
add_tally (struct kcopyd_progress *to, const struct kcopyd_progress *tally)
{
  to->sectors_done += tally->sectors_done;
  to->sectors_read += tally->sectors_read;
  to->sectors_written += tally->sectors_written;
  to->sectors_zeroed += tally->sectors_zeroed;
  to->sectors_skipped += tally->sectors_skipped;
  to->sectors_offloaded += tally->sectors_offloaded;
  to->read_errors += tally->read_errors;
  to->write_errors += tally->write_errors;
}

/* Note the errors of SLICE that are the first of their kind in its job. */
static void
tell_why_locked (const struct slice *slice)
{
  struct kcopyd_job *job = slice->job;
  unsigned fresh = slice->write_err & ~job->write_err, i;

  if (slice->read_failed && job->read_err == 0)
    job->why->read = slice->why.read;
  for (i = 0; fresh >> i != 0; ++i)
    if (fresh >> i & 1)
      job->why->write[i] = slice->why.write[i];
}

/* Account for SLICE, whose I/O has ended; its job may be complete. */
static void
slice_end_locked (struct slice *slice)
{
  struct kcopyd_job *job = slice->job;
  struct kcopyd_client *kc = job->kc;

  if (job->why != NULL)
    tell_why_locked (slice);
  if (slice->read_failed && job->read_err == 0)
    job->read_err = 1;
  job->write_err |= slice->write_err;
  add_tally (&kc->progress, &slice->tally);
  if (slice->pages != NULL)
    page_pool_put (kc->pages, slice->pages);
  slice->state = SLICE_FREE;
  job->busy_slices--;

  if (kcopyd_job_has_work (job)) {
    if (!job->is_waiting) {
      job->is_waiting = true;
      /* In front: a job that has begun is finished first. */
      list_push_front (&kc->waiting_jobs, &job->link);
    }
    return;
  }
  if (job->is_waiting) /* it failed while it waited */
    kcopyd_job_dequeue_locked (job);
  if (job->busy_slices == 0)
    kcopyd_job_complete_locked (job);
}

enum turn {
  TURN_NOW,
  TURN_LATER, /* it is parked, and no longer ours */
  TURN_NEVER,
};

/* May SLICE be written? */
static enum turn
wait_for_turn (struct slice *slice)
{
  const struct kcopyd_job *job = slice->job;

  if (!job_has_flag (job, KCOPYD_WRITE_SEQ))
    return TURN_NOW;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&job->kc->lock);
  if (slice->read_failed || slice->offset > job->stop_at)
    return TURN_NEVER;
  if (slice->offset == job->next_write)
    return TURN_NOW;
  slice->state = SLICE_PARKED;
  return TURN_LATER;
}

/* SLICE of a job with KCOPYD_WRITE_SEQ is about to end. */
static void
move_sequence_locked (struct slice *slice)
{
  struct kcopyd_job *job = slice->job;

  if (slice->read_failed || slice->write_err != 0)
    job->stop_at = MIN_OF (job->stop_at, slice->offset);
  else if (slice->offset == job->next_write)
    job->next_write += slice->count;
}

/* A parked slice that can go on: it is its turn, or never will be. */
static struct slice *
parked_slice_locked (struct kcopyd_job *job)
{
  unsigned i;

  for (i = 0; i < job->kc->slices_per_job; ++i) {
    struct slice *slice = &job->slices[i];

    if (slice->state == SLICE_PARKED &&
        (slice->offset == job->next_write || slice->offset > job->stop_at))
      return slice;
  }
  return NULL;
}

/* End SLICE.  Returns one of its job to go on with. */
static struct slice *
end_slice (struct slice *slice)
{
  struct kcopyd_job *job = slice->job;
  struct kcopyd_client *kc = job->kc;
  struct list slices = LIST_INITIALIZER (slices);
  struct slice *next = NULL;
  enum io_floor floor = job->floor;

  if (slice->throttle != NULL)
    kcopyd_throttle_end (slice->throttle,
                         slice->moved_data ? 0 : sector_to_bytes (slice->count),
                         slice->began_ns);
  mutex_lock (&kc->lock);
  if (job_has_flag (job, KCOPYD_WRITE_SEQ)) {
    move_sequence_locked (slice);
    next = parked_slice_locked (job);
    if (next != NULL)
      next->state = SLICE_BUSY;
  }
  slice_end_locked (slice); /* with the last slice JOB may be gone */
  kcopyd_issue_locked (kc, &slices);
  mutex_unlock (&kc->lock);
  if (next == NULL)
    submit_last (&slices, floor);
  else
    kcopyd_submit (&slices);
  return next;
}

/*----- in the calling thread -------------------------------------------*/

bool
kcopyd_slice_begin_here (struct slice *slice)
{
  struct kcopyd_client *kc = slice->job->kc;
  unsigned pages = (unsigned) div_round_up (slice->count, SECTORS_PER_PAGE);

  if (slice->count == 0 || slice->count > kc->slice_sectors)
    return false;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&kc->lock);
  /* (2): nobody overtakes */
  if (kc->throttle != NULL || !list_is_empty (&kc->waiting_jobs) ||
      pages > page_pool_free_count (kc->pages))
    return false;
  slice->pages = page_pool_get (kc->pages, pages);
  slice->tally.sectors_done = slice->count;
  kc->progress.jobs_started++;
  kc->progress.sectors_queued += slice->count;
  return true;
}

void
kcopyd_slice_end_here (struct slice *slice)
{
  struct kcopyd_client *kc = slice->job->kc;
  struct list slices = LIST_INITIALIZER (slices);

  mutex_lock (&kc->lock);
  add_tally (&kc->progress, &slice->tally);
  page_pool_put (kc->pages, slice->pages);
  /* Others may have come for the pages. */
  kcopyd_issue_locked (kc, &slices);
  mutex_unlock (&kc->lock);
  kcopyd_submit (&slices);
}

/*----- on an I/O thread ------------------------------------------------*/

/* Copy one slice, on an I/O thread, and those whose turn has come by it. */
static void
do_slice (struct io_work *work)
{
  struct slice *slice = list_entry (work, struct slice, work);

  kcopyd_slice_read (slice);
  while (slice != NULL) {
    switch (wait_for_turn (slice)) {
    case TURN_NOW:
      kcopyd_slice_write (slice);
      break;
    case TURN_NEVER:
      break;
    case TURN_LATER:
      return;
    }
    slice = end_slice (slice);
  }
}
