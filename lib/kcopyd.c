/* kcopyd: the calls that make jobs, end them, or cancel them.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * How it works is said in kcopyd-impl.h.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "bits.h"
#include "checked-math.h"
#include "dm-io-floor.h"
#include "kcopyd-errors.h"
#include "kcopyd-here.h"
#include "kcopyd-impl.h"

#define ZERO_FLAGS \
  (1U << KCOPYD_IGNORE_ERROR | 1U << KCOPYD_WRITE_SEQ | 1U << KCOPYD_SPARSE)
#define COPY_FLAGS (ZERO_FLAGS | 1U << KCOPYD_OFFLOAD)

/* What a new job is to do. */
struct job_spec {
  struct io_region from;
  unsigned num_dests;
  const struct io_region *dests;
  unsigned flags;
  kcopyd_notify_fn fn;
  void *context;
  struct kcopyd_errors *why; /* or NULL */
};

static int
check_spec (const struct job_spec *spec, unsigned known_flags)
{
  unsigned i;

  if (spec->num_dests == 0 || spec->num_dests > KCOPYD_MAX_REGIONS ||
      (spec->flags & ~known_flags) != 0 || spec->fn == NULL)
    return -EINVAL;
  for (i = 0; i < spec->num_dests; ++i)
    if (spec->dests[i].count != spec->from.count)
      return -EINVAL;
  return 0;
}

static bool
is_on_its_device (const struct io_region *where)
{
  return range_is_inside (where->sector, where->count,
                          bdev_sectors (where->bdev));
}

/* Is there nothing that any part of JOB could do?  That of a job whose source,
 * or one of whose destinations, is all on its device, is bounded by that.
 */
static bool
is_hopeless (const struct kcopyd_job *job)
{
  unsigned i;

  if (job->from.count == 0)
    return false;
  if (job->from.bdev != NULL)
    return !is_on_its_device (&job->from);
  for (i = 0; i < job->num_dests; ++i)
    if (is_on_its_device (&job->dests[i]))
      return false;
  return true;
}

static void
fill_job (struct kcopyd_job *job, const struct job_spec *spec)
{
  unsigned i;

  job->from = spec->from;
  job->floor = dm_io_floor_of (&job->from);
  job->num_dests = spec->num_dests;
  for (i = 0; i < spec->num_dests; ++i) {
    job->dests[i] = spec->dests[i];
    job->floor = MAX_OF (job->floor, dm_io_floor_of (&job->dests[i]));
  }
  job->flags = spec->flags;
  if (job_has_flag (job, KCOPYD_WRITE_SEQ) || is_hopeless (job))
    job->flags &= ~(1U << KCOPYD_IGNORE_ERROR);
  job->fn = spec->fn;
  job->context = spec->context;
  job->why = spec->why;
}

static int
start_job (struct kcopyd_client *kc, enum job_kind kind,
           const struct job_spec *spec)
{
  struct list slices = LIST_INITIALIZER (slices);
  struct kcopyd_job *job = kcopyd_job_get (kc);

  if (job == NULL)
    return -ENOMEM;
  job->kind = kind;
  fill_job (job, spec);

  /* Point of no return. */
  mutex_lock (&kc->lock);
  kc->progress.jobs_started++;
  kc->progress.sectors_queued += job->from.count;
  list_push_back (&kc->all_jobs, &job->all_link);
  if (kcopyd_job_has_work (job)) {
    kcopyd_job_enqueue_locked (job);
    kcopyd_issue_locked (kc, &slices);
  }
  else /* nothing to copy */
    kcopyd_job_complete_locked (job);
  mutex_unlock (&kc->lock);
  kcopyd_submit (&slices);
  return 0;
}

int
kcopyd_copy (struct kcopyd_client *kc, struct io_region *from,
             unsigned int num_dests, struct io_region *dests,
             unsigned int flags, kcopyd_notify_fn fn, void *context)
{
  return kcopyd_copy_errors (kc, from, num_dests, dests, flags, fn, context,
                             NULL);
}

int
kcopyd_copy_errors (struct kcopyd_client *kc, struct io_region *from,
                    unsigned int num_dests, struct io_region *dests,
                    unsigned int flags, kcopyd_notify_fn fn, void *context,
                    struct kcopyd_errors *errors)
{
  const struct job_spec spec = {
    .from = *from,
    .num_dests = num_dests,
    .dests = dests,
    .flags = flags,
    .fn = fn,
    .context = context,
    .why = errors,
  };
  int r = check_spec (&spec, COPY_FLAGS);

  if (r == 0 && errors != NULL)
    memset (errors, 0, sizeof *errors);
  return r < 0 ? r : start_job (kc, JOB_COPY, &spec);
}

int
kcopyd_copy_here (struct kcopyd_client *kc, struct io_region *from,
                  unsigned int num_dests, struct io_region *dests,
                  unsigned int flags, kcopyd_notify_fn fn, void *context)
{
  const struct job_spec spec = {
    .from = *from,
    .num_dests = num_dests,
    .dests = dests,
    .flags = flags,
    .fn = fn,
    .context = context,
  };
  struct kcopyd_job job = { .kc = kc, .kind = JOB_COPY };
  struct slice slice = { .job = &job, .count = from->count };
  int r = check_spec (&spec, COPY_FLAGS);

  if (r < 0)
    return r;
  fill_job (&job, &spec);
  if (!kcopyd_slice_begin_here (&slice))
    return -EAGAIN;
  kcopyd_slice_read (&slice);
  if (!slice.read_failed)
    kcopyd_slice_write (&slice);
  kcopyd_slice_end_here (&slice);
  fn (slice.read_failed ? 1 : 0, slice.write_err, context);
  kcopyd_job_ended (kc);
  return 0;
}

int
kcopyd_zero (struct kcopyd_client *kc, unsigned int num_dests,
             struct io_region *dests, unsigned int flags, kcopyd_notify_fn fn,
             void *context)
{
  const struct job_spec spec = {
    .from = { .count = num_dests > 0 ? dests[0].count : 0 },
    .num_dests = num_dests,
    .dests = dests,
    .flags = flags,
    .fn = fn,
    .context = context,
  };
  int r = check_spec (&spec, ZERO_FLAGS);

  return r < 0 ? r : start_job (kc, JOB_ZERO, &spec);
}

struct kcopyd_job *
kcopyd_prepare_callback (struct kcopyd_client *kc, kcopyd_notify_fn fn,
                         void *context)
{
  struct kcopyd_job *job;

  if (fn == NULL)
    return NULL;
  job = kcopyd_job_get (kc);
  if (job == NULL)
    return NULL;
  job->kind = JOB_CALLBACK;
  job->fn = fn;
  job->context = context;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&kc->lock);
  kc->progress.jobs_started++;
  return job;
}

void
kcopyd_do_callback (struct kcopyd_job *job, int read_err,
                    unsigned int write_err)
{
  struct kcopyd_client *kc = job->kc;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&kc->lock);
  job->read_err = read_err;
  job->write_err = write_err;
  kcopyd_job_complete_locked (job);
}

unsigned int
kcopyd_cancel (struct kcopyd_client *kc, void *context)
{
  struct list slices = LIST_INITIALIZER (slices);
  struct list *link, *next;
  unsigned count = 0;

  mutex_lock (&kc->lock);
  list_for_each_safe (link, next, &kc->all_jobs) {
    struct kcopyd_job *job = list_entry (link, struct kcopyd_job, all_link);

    if (job->context != context || !kcopyd_job_has_work (job))
      continue;
    job->is_cancelled = true;
    count++;
    if (job->is_waiting)
      kcopyd_job_dequeue_locked (job);
    if (job->busy_slices == 0)
      kcopyd_job_complete_locked (job);
  }
  /* Others may have waited behind them. */
  kcopyd_issue_locked (kc, &slices);
  mutex_unlock (&kc->lock);
  kcopyd_submit (&slices);
  return count;
}
