/* A kernel's table of a snapshot that is merged into its origin.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The device shows the snapshot from the first moment on, while a thread moves
 * chunk after chunk to the origin (merge.c).  Other snapshots of that origin
 * get what is overwritten there, whoever does it: the merge is upon an origin
 * with direct snapshots.
 *
 * Model: Linux 6.1 drivers/md/dm-snap.c snapshot_merge_next_chunks ().
 * Differs: it begins with the first client that may write.  What one has
 * begun, the other can end.
 *
 * States, of the thread:
 *   NONE    -> RUNNING [table_merge_start]
 *   RUNNING -> NONE    [table_merge_stop]: it was told to
 *   RUNNING -> DONE    the store is empty, the origin has all
 *   RUNNING -> FAILED  an error: all is as it should be, and stays so; the next
 *                      start tries again
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "merge.h"
#include "table-devices-impl.h"

enum merging { MERGING_NONE, MERGING_RUNNING, MERGING_DONE, MERGING_FAILED };

struct table_merge {
  struct table_device *device;
  struct merge *merge;
  atomic_int state; /* enum merging */
  atomic_bool must_stop;
  struct pace_job job;
  struct thread thread;
  bool has_thread; /* under the devices' lock */
};

int
table_merge_create (struct table_device *d)
{
  struct table_merge *tm = calloc (1, sizeof *tm);
  int r;

  if (tm == NULL)
    return -ENOMEM;
  /* No chunk comes into the store any more, and it has no clients. */
  snapshot_leave (d->snapshot);
  r = merge_create (d->snapshot, origin_target (d->top), &tm->merge);
  if (r < 0) {
    free (tm);
    return r;
  }
  pace_job_init (&tm->job, d->device.pace, VOLUME_REST_MAX_NS);
  tm->device = d;
  d->merge = tm;
  d->device.target = merge_target (tm->merge);
  d->device.target->sectors = d->line->sectors;
  return 0;
}

void
table_merge_destroy (struct table_merge *tm)
{
  if (tm == NULL)
    return;
  merge_destroy (tm->merge);
  pace_job_destroy (&tm->job);
  free (tm);
}

static bool
must_stop (void *arg)
{
  struct table_merge *tm = arg;

  return atomic_load (&tm->must_stop);
}

/* As merge_step. */
static int
move_piece (struct table_merge *tm)
{
  struct pace_piece piece;
  uint64_t bytes;
  int r;

  pace_piece_begin (&tm->job, &piece, MERGE_STEP_BYTES);
  r = merge_step (tm->merge, &tm->device->device.range_lock, &bytes);
  pace_piece_end (&tm->job, &piece, bytes);
  return r;
}

static void
merge_main (void *arg)
{
  struct table_merge *tm = arg;
  const struct table_line *line = tm->device->line;
  int r = 1;

  pace_job_begin (&tm->job);
  while (r > 0 && pace_wait (&tm->job, must_stop, tm))
    r = move_piece (tm);
  pace_job_end (&tm->job);
  if (r > 0) {
    atomic_store (&tm->state, MERGING_NONE);
    return;
  }
  if (r == 0) {
    merge_end (tm->merge);
    atomic_store (&tm->state, MERGING_DONE);
    log_info ("the store %s is merged: all of it is in the origin %s",
              line->cow, line->origin);
    return;
  }
  atomic_store (&tm->state, MERGING_FAILED);
  log_error ("merging the store %s into the origin %s failed: %s; both are "
             "still needed; the next start tries again",
             line->cow, line->origin, errno_text (r));
}

int
table_merge_start (struct table_merge *tm)
{
  int r;

  atomic_store (&tm->must_stop, false);
  atomic_store (&tm->state, MERGING_RUNNING);
  r = thread_start (&tm->thread, "merge", merge_main, tm);
  if (r < 0) {
    atomic_store (&tm->state, MERGING_FAILED);
    log_error ("the merging of %s cannot be started: %s", tm->device->line->cow,
               errno_text (r));
    return r;
  }
  tm->has_thread = true;
  return 0;
}

void
table_merge_stop (struct table_merge *tm)
{
  if (!tm->has_thread)
    return;
  atomic_store (&tm->must_stop, true);
  pace_wake (tm->job.pace);
  thread_join (&tm->thread);
  tm->has_thread = false;
}

bool
table_merge_has_failed (const struct table_merge *tm)
{
  return atomic_load (&tm->state) == MERGING_FAILED;
}
