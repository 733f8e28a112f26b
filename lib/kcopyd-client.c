/* Clients of kcopyd: their reserves, and the thread that calls back.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The thread also begins what the throttle has held back, when its time has
 * come: an I/O thread that waited for that would be missed by others.
 *
 * Invariants, under the client's lock:
 * (1) there are KCOPYD_RESERVED_JOBS jobs at least, free or not: so when
 *     none is free, so many are in use;
 * (2) jobs_started - jobs_ended counts the jobs whose callback has not
 *     returned;
 * (3) if wake_ns is not 0, the thread is not asleep beyond it.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "clock.h"
#include "kcopyd-impl.h"
#include "kcopyd-throttle-impl.h"
#include "versioned.h"

/* The least that makes sense of public structures. */
#define OPTIONS_MIN_SIZE offsetof (struct kcopyd_options, sub_job_sectors)
#define PROGRESS_MIN_SIZE offsetof (struct kcopyd_progress, sectors_queued)

#define SECTORS_PER_PAGE ((sector_t) DM_PAGE_SIZE / SECTOR_SIZE)

/*----- jobs ------------------------------------------------------------*/

static struct kcopyd_job *
job_alloc (const struct kcopyd_client *kc)
{
  return malloc (sizeof (struct kcopyd_job) +
                 kc->slices_per_job * sizeof (struct slice));
}

struct kcopyd_job *
kcopyd_job_get (struct kcopyd_client *kc)
{
  struct kcopyd_job *job = NULL;
  struct list *link;
  unsigned i;

  mutex_lock (&kc->lock);
  link = list_pop_front (&kc->free_jobs);
  if (link != NULL) {
    job = list_entry (link, struct kcopyd_job, link);
    kc->free_job_count--;
  }
  mutex_unlock (&kc->lock);
  if (job == NULL)
    job = job_alloc (kc);
  if (job == NULL)
    return NULL;

  *job = (struct kcopyd_job){ .kc = kc, .stop_at = UINT64_MAX };
  for (i = 0; i < kc->slices_per_job; ++i) {
    job->slices[i].job = job;
    job->slices[i].state = SLICE_FREE;
  }
  return job;
}

/* Free JOB, or put it back into the reserve (1). */
static void
job_put_locked (struct kcopyd_job *job)
{
  struct kcopyd_client *kc = job->kc;

  if (kc->free_job_count == KCOPYD_RESERVED_JOBS)
    free (job);
  else {
    list_push_front (&kc->free_jobs, &job->link);
    kc->free_job_count++;
  }
}

static void
free_reserved_jobs (struct kcopyd_client *kc)
{
  struct list *link;

  while ((link = list_pop_front (&kc->free_jobs)) != NULL)
    free (list_entry (link, struct kcopyd_job, link));
}

static int
reserve_jobs (struct kcopyd_client *kc)
{
  while (kc->free_job_count < KCOPYD_RESERVED_JOBS) {
    struct kcopyd_job *job = job_alloc (kc);

    if (job == NULL) {
      free_reserved_jobs (kc);
      return -ENOMEM;
    }
    list_push_back (&kc->free_jobs, &job->link);
    kc->free_job_count++;
  }
  return 0;
}

void
kcopyd_job_complete_locked (struct kcopyd_job *job)
{
  struct kcopyd_client *kc = job->kc;

  if (job->kind != JOB_CALLBACK)
    list_remove (&job->all_link);
  if (job->is_cancelled)
    job->read_err = -ECANCELED;
  kc->progress.sectors_done += job->from.count - job->next;
  list_push_back (&kc->complete_jobs, &job->link);
  cond_signal (&kc->wake);
}

/*----- the thread ------------------------------------------------------*/

static uint64_t
unfinished_jobs (const struct kcopyd_client *kc)
{
  return kc->progress.jobs_started - kc->progress.jobs_ended;
}

static void
job_ended_locked (struct kcopyd_client *kc)
{
  kc->progress.jobs_ended++;
  if (unfinished_jobs (kc) == 0)
    cond_broadcast (&kc->all_done);
}

void
kcopyd_job_ended (struct kcopyd_client *kc)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&kc->lock);
  job_ended_locked (kc);
}

/* Call JOB's function, without the lock. */
static void
call_back_locked (struct kcopyd_job *job)
{
  struct kcopyd_client *kc = job->kc;
  kcopyd_notify_fn fn = job->fn;
  void *context = job->context;
  int read_err = job->read_err;
  unsigned write_err = job->write_err;

  job_put_locked (job);
  mutex_unlock (&kc->lock);
  fn (read_err, write_err, context);
  mutex_lock (&kc->lock);
  job_ended_locked (kc);
}

static void
issue_unlocked (struct kcopyd_client *kc)
{
  struct list slices = LIST_INITIALIZER (slices);

  kcopyd_issue_locked (kc, &slices);
  mutex_unlock (&kc->lock);
  kcopyd_submit (&slices);
  mutex_lock (&kc->lock);
}

static void
client_main (void *arg)
{
  struct kcopyd_client *kc = arg;
  struct list *link;

  mutex_lock (&kc->lock);
  for (;;) {
    if (kc->wake_ns != 0 && clock_now_ns () >= kc->wake_ns)
      issue_unlocked (kc);
    else if ((link = list_pop_front (&kc->complete_jobs)) != NULL)
      call_back_locked (list_entry (link, struct kcopyd_job, link));
    else if (kc->is_ending)
      break;
    else if (kc->wake_ns != 0)
      (void) cond_wait_until (&kc->wake, &kc->lock, kc->wake_ns);
    else
      cond_wait (&kc->wake, &kc->lock);
  }
  mutex_unlock (&kc->lock);
}

/*----- clients ---------------------------------------------------------*/

static int
check_options (const struct kcopyd_options *options)
{
  if (options->num_pages == 0 || options->num_pages > KCOPYD_PAGES_MAX ||
      options->sub_job_sectors > KCOPYD_SUB_JOB_SECTORS_MAX ||
      options->sub_jobs > KCOPYD_SUB_JOBS_MAX)
    return -EINVAL;
  return 0;
}

static void
set_sizes (struct kcopyd_client *kc, const struct kcopyd_options *options)
{
  sector_t sectors = options->sub_job_sectors;

  if (sectors == 0)
    sectors = KCOPYD_SUB_JOB_SECTORS;
  kc->slice_sectors = MIN_OF (sectors, options->num_pages * SECTORS_PER_PAGE);
  kc->slices_per_job = options->sub_jobs;
  if (kc->slices_per_job == 0)
    kc->slices_per_job = KCOPYD_SUB_JOBS;
}

int
kcopyd_client_create_options (const struct kcopyd_options *options,
                              struct kcopyd_client **result)
{
  struct kcopyd_options known;
  struct kcopyd_client *kc;
  int r = versioned_copy (&known, sizeof known, OPTIONS_MIN_SIZE, options)
            ? check_options (&known)
            : -EINVAL;

  if (r < 0)
    return r;
  kc = calloc (1, sizeof *kc);
  if (kc == NULL)
    return -ENOMEM;
  set_sizes (kc, &known);
  list_init (&kc->free_jobs);
  list_init (&kc->all_jobs);
  list_init (&kc->waiting_jobs);
  list_init (&kc->complete_jobs);
  r = reserve_jobs (kc);
  if (r < 0)
    goto err_free_client;
  r = page_pool_create (known.num_pages, &kc->pages);
  if (r < 0)
    goto err_free_jobs;
  io_threads_get ();
  r = io_threads_start (IO_FLOOR_STACKED);
  if (r < 0)
    goto err_put_threads;

  mutex_init (&kc->lock);
  cond_init (&kc->wake);
  cond_init (&kc->all_done);
  r = thread_start (&kc->thread, "dmio-kcopyd", client_main, kc);
  if (r < 0)
    goto err_destroy_lock;
  *result = kc;
  return 0;

err_destroy_lock:
  cond_destroy (&kc->all_done);
  cond_destroy (&kc->wake);
  mutex_destroy (&kc->lock);
err_put_threads:
  io_threads_put ();
  page_pool_destroy (kc->pages);
err_free_jobs:
  free_reserved_jobs (kc);
err_free_client:
  free (kc);
  return r;
}

int
kcopyd_client_create (unsigned int num_pages, struct kcopyd_client **result)
{
  const struct kcopyd_options options = {
    .struct_size = sizeof options,
    .num_pages = num_pages,
  };

  return kcopyd_client_create_options (&options, result);
}

void
kcopyd_client_destroy (struct kcopyd_client *kc)
{
  if (kc == NULL)
    return;
  assert (!thread_is_self (&kc->thread));
  assert (!io_threads_is_self ()); /* the jobs, and the end, need those */

  mutex_lock (&kc->lock);
  while (unfinished_jobs (kc) > 0)
    cond_wait (&kc->all_done, &kc->lock);
  kc->is_ending = true;
  cond_signal (&kc->wake);
  mutex_unlock (&kc->lock);
  thread_join (&kc->thread);

  assert (list_is_empty (&kc->all_jobs));
  assert (list_is_empty (&kc->waiting_jobs));
  assert (list_is_empty (&kc->complete_jobs));
  if (kc->throttle != NULL)
    kcopyd_throttle_put (kc->throttle);
  io_threads_put ();
  cond_destroy (&kc->all_done);
  cond_destroy (&kc->wake);
  mutex_destroy (&kc->lock);
  page_pool_destroy (kc->pages);
  free_reserved_jobs (kc);
  free (kc);
}

void
kcopyd_client_set_throttle (struct kcopyd_client *kc,
                            struct kcopyd_throttle *throttle)
{
  struct kcopyd_throttle *old;

  if (throttle != NULL)
    kcopyd_throttle_get (throttle);
  mutex_lock (&kc->lock);
  old = kc->throttle;
  kc->throttle = throttle;
  mutex_unlock (&kc->lock);
  if (old != NULL)
    kcopyd_throttle_put (old);
}

int
kcopyd_client_progress (struct kcopyd_client *kc,
                        struct kcopyd_progress *progress)
{
  size_t size = progress->struct_size;

  if (size < PROGRESS_MIN_SIZE)
    return -EINVAL;
  memset (progress, 0, size);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&kc->lock);
  memcpy (progress, &kc->progress, MIN_OF (size, sizeof kc->progress));
  progress->struct_size = size;
  return 0;
}
