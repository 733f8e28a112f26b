/* kcopyd: copies one io_region to several, in the background.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A job is cut into slices of at most a sub-job.  A slice takes pages of
 * the client's reserve and is run from beginning to end by one I/O
 * thread: read, then written to all destinations.  So a copy costs one
 * hand-off to that thread, and one from it to the client's thread, which
 * calls back.
 *
 * States of a job:
 *   WAITING -> WAITING      [issue]: a slice starts, more is to be done
 *   WAITING -> RUNNING      [issue]: all is issued, or all slices are busy
 *   RUNNING -> WAITING      [slice_done]: a slice is free again
 *   RUNNING -> COMPLETE     [slice_done]: nothing is left or in flight
 *   COMPLETE -> freed       [client_main]: just before its callback
 *
 * Invariants, under the client's lock:
 * (1) a job is in the waiting list if and only if it is WAITING; then it
 *     has sectors left and a free slice;
 * (2) pages are given to the first job of the waiting list only, so none
 *     starves; one slice never needs more than the reserve has, so the
 *     first job always gets them in the end;
 * (3) job_count counts the jobs whose callback has not returned.
 *
 * Locks: the client's lock is never held during I/O, callbacks or
 * submission of work.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "bits.h"
#include "checked-math.h"
#include "io-threads.h"
#include "kcopyd.h"
#include "list.h"
#include "page-pool.h"
#include "sync.h"

/* Slices of one job in flight at once. */
#define SLICES_PER_JOB 8

#define KCOPYD_FLAGS (1U << KCOPYD_IGNORE_ERROR)

#define SECTORS_PER_PAGE ((sector_t) DM_PAGE_SIZE / SECTOR_SIZE)

struct job;

struct slice {
  struct io_work work;
  struct list link; /* in a list of slices about to be submitted */
  struct job *job;
  bool is_busy;
  sector_t offset;
  sector_t count;
  struct page_list *pages;
};

struct job {
  struct list link; /* in the client's list for its state */
  struct kcopyd_client *kc;
  struct io_region from;
  unsigned num_dests;
  struct io_region dests[KCOPYD_MAX_REGIONS];
  unsigned flags;
  kcopyd_notify_fn fn;
  void *context;

  /* Under the client's lock. */
  bool is_waiting;
  sector_t next; /* offset of what has not been issued */
  unsigned busy_slices;
  int read_err;
  unsigned long write_err;
  struct slice slices[SLICES_PER_JOB];
};

struct kcopyd_client {
  sector_t slice_sectors;
  struct thread thread;

  struct mutex lock;
  struct cond job_completed; /* or is_ending */
  struct cond all_done;
  struct page_pool *pages;
  struct list waiting_jobs;
  struct list complete_jobs;
  unsigned job_count; /* (3) */
  bool is_ending;
};

static void do_slice (struct io_work *work);

static bool
job_has_failed (const struct job *job)
{
  return (job->read_err != 0 || job->write_err != 0) &&
         !(job->flags & 1U << KCOPYD_IGNORE_ERROR);
}

/* True if there is something left that should still be copied. */
static bool
job_has_work (const struct job *job)
{
  return job->next < job->from.count && !job_has_failed (job);
}

static struct slice *
free_slice (struct job *job)
{
  unsigned i;

  for (i = 0; i < SLICES_PER_JOB; ++i)
    if (!job->slices[i].is_busy)
      return &job->slices[i];
  return NULL;
}

/* Give pages to waiting jobs, in order, as far as they go, and collect
 * the slices to be started in SLICES.  The caller holds the lock.
 */
static void
issue_locked (struct kcopyd_client *kc, struct list *slices)
{
  while (!list_is_empty (&kc->waiting_jobs)) {
    struct job *job = list_entry (kc->waiting_jobs.next, struct job, link);
    struct slice *slice = free_slice (job);
    sector_t count = MIN_OF (kc->slice_sectors, job->from.count - job->next);
    struct page_list *pages =
      page_pool_get (kc->pages,
                     (unsigned) div_round_up (count, SECTORS_PER_PAGE));

    if (pages == NULL)
      return; /* (2): nobody overtakes */

    slice->is_busy = true;
    slice->offset = job->next;
    slice->count = count;
    slice->pages = pages;
    list_push_back (slices, &slice->link);
    job->next += count;
    job->busy_slices++;
    if (!job_has_work (job) || job->busy_slices == SLICES_PER_JOB) {
      list_remove (&job->link);
      job->is_waiting = false;
    }
  }
}

/* Start what issue_locked has collected, without the lock. */
static void
submit_slices (struct list *slices)
{
  struct list *link;

  while ((link = list_pop_front (slices)) != NULL) {
    struct slice *slice = list_entry (link, struct slice, link);

    slice->work.fn = do_slice;
    io_threads_submit (&slice->work);
  }
}

/* Account for a slice that has ended.  The caller holds the lock. */
static void
slice_done_locked (struct slice *slice)
{
  struct job *job = slice->job;
  struct kcopyd_client *kc = job->kc;

  page_pool_put (kc->pages, slice->pages);
  slice->is_busy = false;
  job->busy_slices--;

  if (job_has_work (job)) {
    if (!job->is_waiting) {
      job->is_waiting = true;
      /* In front: a job that has begun is finished first. */
      list_push_front (&kc->waiting_jobs, &job->link);
    }
    return;
  }
  if (job->is_waiting) { /* it failed while it waited for pages */
    list_remove (&job->link);
    job->is_waiting = false;
  }
  if (job->busy_slices == 0) {
    list_push_back (&kc->complete_jobs, &job->link);
    cond_signal (&kc->job_completed);
  }
}

/* The part of WHERE that SLICE copies.  If WHERE is not all on its device
 * the part is nowhere on it, so that nothing is done and its error is
 * told: adding to a sector that is out of range could lead back into it.
 */
static struct io_region
slice_region (const struct io_region *where, const struct slice *slice)
{
  struct io_region part = *where;

  if (range_is_inside (where->sector, where->count, bdev_sectors (where->bdev)))
    part.sector += slice->offset;
  else
    part.sector = UINT64_MAX;
  part.count = slice->count;
  return part;
}

/* Copy one slice, on an I/O thread. */
static void
do_slice (struct io_work *work)
{
  struct slice *slice = list_entry (work, struct slice, work);
  struct job *job = slice->job;
  struct kcopyd_client *kc = job->kc;
  struct io_region from = slice_region (&job->from, slice);
  struct io_region dests[KCOPYD_MAX_REGIONS];
  struct list slices = LIST_INITIALIZER (slices);
  unsigned long write_bits = 0;
  unsigned i;
  int read_err;

  for (i = 0; i < job->num_dests; ++i)
    dests[i] = slice_region (&job->dests[i], slice);

  read_err = dm_io_sync (1, &from, DM_IO_READ, slice->pages, 0, NULL);
  /* After a failed read the pages hold zeroes, which are nobody's data. */
  if (read_err == 0 && dm_io_sync (job->num_dests, dests, DM_IO_WRITE,
                                   slice->pages, 0, &write_bits) < 0)
    assert (write_bits != 0);

  mutex_lock (&kc->lock);
  if (read_err < 0)
    job->read_err = 1;
  job->write_err |= write_bits;
  slice_done_locked (slice);
  issue_locked (kc, &slices);
  mutex_unlock (&kc->lock);
  submit_slices (&slices);
}

/* The client's thread: calls back. */
static void
client_main (void *arg)
{
  struct kcopyd_client *kc = arg;

  mutex_lock (&kc->lock);
  for (;;) {
    struct list *link = list_pop_front (&kc->complete_jobs);

    if (link != NULL) {
      struct job *job = list_entry (link, struct job, link);
      kcopyd_notify_fn fn = job->fn;
      void *context = job->context;
      int read_err = job->read_err;
      unsigned write_err = (unsigned) job->write_err;

      mutex_unlock (&kc->lock);
      free (job);
      fn (read_err, write_err, context);
      mutex_lock (&kc->lock);
      if (--kc->job_count == 0)
        cond_broadcast (&kc->all_done);
      continue;
    }
    if (kc->is_ending)
      break;
    cond_wait (&kc->job_completed, &kc->lock);
  }
  mutex_unlock (&kc->lock);
}

int
kcopyd_client_create (unsigned int num_pages, struct kcopyd_client **result)
{
  struct kcopyd_client *kc;
  int r;

  kc = calloc (1, sizeof *kc);
  if (kc == NULL)
    return -ENOMEM;
  r = page_pool_create (num_pages, &kc->pages);
  if (r < 0)
    goto err_free_client;
  io_threads_get ();
  r = io_threads_start ();
  if (r < 0)
    goto err_put_threads;

  kc->slice_sectors = MIN_OF (KCOPYD_SUB_JOB_SECTORS,
                              num_pages * SECTORS_PER_PAGE); /* (2) */
  mutex_init (&kc->lock);
  cond_init (&kc->job_completed);
  cond_init (&kc->all_done);
  list_init (&kc->waiting_jobs);
  list_init (&kc->complete_jobs);
  r = thread_start (&kc->thread, "dmio-kcopyd", client_main, kc);
  if (r < 0)
    goto err_destroy_lock;
  *result = kc;
  return 0;

err_destroy_lock:
  cond_destroy (&kc->all_done);
  cond_destroy (&kc->job_completed);
  mutex_destroy (&kc->lock);
err_put_threads:
  io_threads_put ();
  page_pool_destroy (kc->pages);
err_free_client:
  free (kc);
  return r;
}

void
kcopyd_client_destroy (struct kcopyd_client *kc)
{
  if (kc == NULL)
    return;
  assert (!thread_is_self (&kc->thread));

  mutex_lock (&kc->lock);
  while (kc->job_count > 0)
    cond_wait (&kc->all_done, &kc->lock);
  kc->is_ending = true;
  cond_signal (&kc->job_completed);
  mutex_unlock (&kc->lock);
  thread_join (&kc->thread);

  assert (list_is_empty (&kc->waiting_jobs));
  assert (list_is_empty (&kc->complete_jobs));
  io_threads_put ();
  cond_destroy (&kc->all_done);
  cond_destroy (&kc->job_completed);
  mutex_destroy (&kc->lock);
  page_pool_destroy (kc->pages);
  free (kc);
}

static int
check_copy (const struct io_region *from, unsigned num_dests,
            const struct io_region *dests, unsigned flags, kcopyd_notify_fn fn)
{
  unsigned i;

  if (num_dests == 0 || num_dests > KCOPYD_MAX_REGIONS ||
      (flags & ~KCOPYD_FLAGS) != 0 || fn == NULL)
    return -EINVAL;
  for (i = 0; i < num_dests; ++i)
    if (dests[i].count != from->count)
      return -EINVAL;
  return 0;
}

int
kcopyd_copy (struct kcopyd_client *kc, struct io_region *from,
             unsigned int num_dests, struct io_region *dests,
             unsigned int flags, kcopyd_notify_fn fn, void *context)
{
  struct list slices = LIST_INITIALIZER (slices);
  struct job *job;
  unsigned i;
  int r = check_copy (from, num_dests, dests, flags, fn);

  if (r < 0)
    return r;
  job = calloc (1, sizeof *job);
  if (job == NULL)
    return -ENOMEM;
  job->kc = kc;
  job->from = *from;
  job->num_dests = num_dests;
  for (i = 0; i < num_dests; ++i)
    job->dests[i] = dests[i];
  job->flags = flags;
  job->fn = fn;
  job->context = context;
  for (i = 0; i < SLICES_PER_JOB; ++i)
    job->slices[i].job = job;

  /* Point of no return. */
  mutex_lock (&kc->lock);
  kc->job_count++;
  if (job_has_work (job)) {
    job->is_waiting = true;
    list_push_back (&kc->waiting_jobs, &job->link);
    issue_locked (kc, &slices);
  }
  else { /* nothing to copy */
    list_push_back (&kc->complete_jobs, &job->link);
    cond_signal (&kc->job_completed);
  }
  mutex_unlock (&kc->lock);
  submit_slices (&slices);
  return 0;
}
