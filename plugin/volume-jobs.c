/* What goes on in the background, each with a number: jobs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The table is kept by what is noted for events: a job is there from the
 * event of its beginning on to that of its end, and both have its number.
 * Work on a snapshot that was begun by an earlier server is there from the
 * start.  There is one resync, one scrub, one restore, and one job for each
 * snapshot that goes, whose name nobody else gets before it is gone: so kind
 * and name find it, and the table has room for all.
 *
 * Locks: the look's, for the table.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "volume-impl.h"
#include "volume-jobs.h"

const char *
job_kind_name (enum job_kind kind)
{
  /* For people a restore is the first part of a roll-back. */
  static const char *const names[] = {
    [JOB_RESYNC] = "resync",    [JOB_SCRUB] = "scrub",
    [JOB_RESTORE] = "rollback", [JOB_ROLLBACK] = "rollback",
    [JOB_REMOVE] = "remove",
  };

  return names[kind];
}

/*----- the table -------------------------------------------------------*/

static struct look_job *
find_locked (struct volume_look *look, enum job_kind kind, const char *name)
{
  unsigned i;

  for (i = 0; i < look->job_count; ++i)
    if (look->jobs[i].kind == kind && strcmp (look->jobs[i].name, name) == 0)
      return &look->jobs[i];
  return NULL;
}

/* What was looked for by its number. */
static const struct look_job *
find_id_locked (const struct volume_look *look, uint64_t id)
{
  unsigned i;

  for (i = 0; i < look->job_count; ++i)
    if (look->jobs[i].id == id)
      return &look->jobs[i];
  return NULL;
}

uint64_t
volume_job_begin_locked (struct volume *v, enum job_kind kind, const char *name)
{
  struct volume_look *look = &v->look;
  struct look_job *job = find_locked (look, kind, name);

  if (job != NULL)
    return job->id; /* it goes on */
  assert (look->job_count < VOLUME_MAX_JOBS);
  job = &look->jobs[look->job_count++];
  *job = (struct look_job){ .id = ++look->last_job, .kind = kind };
  (void) snprintf (job->name, sizeof job->name, "%s", name);
  return job->id;
}

uint64_t
volume_job_id_locked (struct volume *v, enum job_kind kind, const char *name)
{
  const struct look_job *job = find_locked (&v->look, kind, name);

  return job != NULL ? job->id : 0;
}

uint64_t
volume_job_end_locked (struct volume *v, enum job_kind kind, const char *name)
{
  struct volume_look *look = &v->look;
  struct look_job *job = find_locked (look, kind, name);
  uint64_t id;

  if (job == NULL)
    return 0;
  id = job->id;
  look->job_count--;
  memmove (job, job + 1,
           (size_t) (&look->jobs[look->job_count] - job) * sizeof *job);
  return id;
}

void
volume_job_note_handed (struct volume *v, const char *name, uint64_t chunk)
{
  struct look_job *job;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  job = find_locked (&v->look, JOB_REMOVE, name);
  if (job != NULL)
    job->done_chunks = chunk;
}

/*----- restores --------------------------------------------------------*/

void
volume_job_begin_restore (struct volume *v, const char *name,
                          uint64_t total_bytes)
{
  struct look_job *job;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  (void) volume_job_begin_locked (v, JOB_RESTORE, name);
  job = find_locked (&v->look, JOB_RESTORE, name);
  job->total_bytes = total_bytes;
}

void
volume_job_note_restored (struct volume *v, const char *name, uint64_t bytes)
{
  struct look_job *job;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  job = find_locked (&v->look, JOB_RESTORE, name);
  /* Clients may have made more of it different meanwhile. */
  job->done_bytes = MIN_OF (job->done_bytes + bytes, job->total_bytes);
}

bool
volume_job_is_cancelled (struct volume *v, enum job_kind kind, const char *name)
{
  const struct look_job *job;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  job = find_locked (&v->look, kind, name);
  return job != NULL && job->is_cancelled;
}

void
volume_job_end_restore (struct volume *v, const char *name)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  (void) volume_job_end_locked (v, JOB_RESTORE, name);
}

/* Returns false if job ID is not a restore. */
static bool
mark_cancelled (struct volume *v, uint64_t id)
{
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  for (i = 0; i < v->look.job_count; ++i) {
    struct look_job *job = &v->look.jobs[i];

    if (job->id != id || job->kind != JOB_RESTORE)
      continue;
    job->is_cancelled = true;
    return true;
  }
  return false;
}

int
volume_job_cancel_restore (struct volume *v, uint64_t id)
{
  if (!mark_cancelled (v, id))
    return -EAGAIN;
  pace_wake (v->pace);
  return 0;
}

void
volume_job_measure_merge (struct volume *v)
{
  struct snapshot_status status;
  struct look_job *job;

  snapshot_get_status (v->merging, &status);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  job = find_locked (&v->look, JOB_ROLLBACK, snapshot_name (v->merging));
  if (job != NULL)
    job->total_bytes = status.chunks * sector_to_bytes (status.chunk_sectors);
}

static void
begin_recorded_jobs (struct volume *v)
{
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  for (i = 0; i < v->records->snapshot_count; ++i) {
    const struct manifest_snapshot *s = &v->records->snapshots[i];

    if (s->state == SNAPSHOT_MERGING)
      (void) volume_job_begin_locked (v, JOB_ROLLBACK, s->name);
    else if (s->state == SNAPSHOT_REMOVING)
      (void) volume_job_begin_locked (v, JOB_REMOVE, s->name);
  }
}

void
volume_jobs_begin (struct volume *v)
{
  begin_recorded_jobs (v);
  if (v->merging != NULL)
    volume_job_measure_merge (v);
}

/*----- looking ---------------------------------------------------------*/

/* The snapshot NAME, or nothing if it has just gone. */
static struct volume_snapshot_status
find_snapshot (const struct volume_status *status, const char *name)
{
  unsigned i;

  for (i = 0; i < status->snapshot_count; ++i)
    if (strcmp (status->snapshots[i].name, name) == 0)
      return status->snapshots[i];
  return (struct volume_snapshot_status){ 0 };
}

/* Fill JOB in; false: it has ended, and that is about to be noted. */
static bool
describe_locked (struct look_job *j, const struct volume_status *status,
                 struct volume_job *job)
{
  struct volume_snapshot_status s = find_snapshot (status, j->name);
  uint64_t left = s.chunks * s.chunk_bytes;

  *job = (struct volume_job){ .id = j->id, .kind = j->kind };
  memcpy (job->name, j->name, sizeof job->name);
  switch (j->kind) {
  case JOB_RESYNC:
    job->is_paused = status->resync == RESYNC_PAUSED;
    job->can_be_cancelled = true;
    job->done_bytes = status->resync_done_bytes;
    job->total_bytes = status->resync_total_bytes;
    return true;
  case JOB_SCRUB:
    job->can_be_cancelled = true;
    job->done_bytes = status->scrub.done_bytes;
    job->total_bytes = status->scrub.total_bytes;
    return status->scrub.is_running;
  case JOB_RESTORE:
    job->can_be_cancelled = true;
    job->done_bytes = j->done_bytes;
    job->total_bytes = j->total_bytes;
    return true;
  case JOB_ROLLBACK:
    j->total_bytes = MAX_OF (j->total_bytes, left);
    job->total_bytes = j->total_bytes;
    job->done_bytes = j->total_bytes - left;
    return true;
  case JOB_REMOVE:
    job->done_bytes = MIN_OF (j->done_chunks * s.chunk_bytes,
                              status->size_bytes);
    job->total_bytes = status->size_bytes;
    return true;
  }
  return false;
}

int
volume_get_jobs (struct volume *v, struct volume_job **jobs, unsigned *count)
{
  struct volume_status status;
  unsigned i;
  int r = volume_get_status (v, &status);

  if (r < 0)
    return r;
  *count = 0;
  mutex_lock (&v->look.lock);
  *jobs = calloc (v->look.job_count + 1, sizeof **jobs);
  for (i = 0; *jobs != NULL && i < v->look.job_count; ++i)
    if (describe_locked (&v->look.jobs[i], &status, &(*jobs)[*count]))
      ++*count;
  mutex_unlock (&v->look.lock);
  volume_status_free (&status);
  return *jobs != NULL ? 0 : -ENOMEM;
}

/*----- cancelling ------------------------------------------------------*/

static int
pause_resync (struct volume *v, uint64_t id, struct volume_why *why)
{
  int r = mirror_cancel_resync (v->mirror);

  if (r < 0) /* its end is just being told */
    return volume_why (why, 1, "job %" PRIu64 ": is over already", id);
  if (r == 1)
    return volume_why (why, 1, "job %" PRIu64 ": the resync is paused already",
                       id);
  volume_note_resync (v, EVENT_RESYNC_PAUSED);
  return 0;
}

int
volume_job_cancel (struct volume *v, uint64_t id, struct volume_why *why)
{
  const struct look_job *job;
  struct look_job copy = { 0 };
  bool there_was;

  /* No job begins meanwhile. */
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  mutex_lock (&v->look.lock);
  there_was = id >= 1 && id <= v->look.last_job;
  job = find_id_locked (&v->look, id);
  if (job != NULL)
    copy = *job;
  mutex_unlock (&v->look.lock);
  if (!there_was)
    return volume_why (why, -ENOENT,
                       "job %" PRIu64 ": there is none of that number; 'dmnbd "
                       "job list' shows those that there are",
                       id);
  if (job == NULL)
    return volume_why (why, 1, "job %" PRIu64 ": is over already", id);
  switch (copy.kind) {
  case JOB_RESYNC:
    return pause_resync (v, id, why);
  case JOB_SCRUB:
    mirror_scrub_stop (v->mirror);
    return 0;
  case JOB_RESTORE: /* has admin_lock while it lasts */
    return volume_why (why, 1, "job %" PRIu64 ": is over already", id);
  case JOB_ROLLBACK:
    return volume_why (why, -EBUSY,
                       "job %" PRIu64
                       ": the volume shows snapshot %s already, and what was "
                       "there before is being overwritten: a roll-back cannot "
                       "be cancelled; take a snapshot before the next one",
                       id, copy.name);
  case JOB_REMOVE:
    break;
  }
  return volume_why (why, -EBUSY,
                     "job %" PRIu64 ": snapshot %s cannot be opened any more, "
                     "and does not get what is overwritten now: its removal "
                     "cannot be cancelled",
                     id, copy.name);
}
