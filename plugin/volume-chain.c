/* The chain of snapshots while it is in use: on top, out of it, in between.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Each device's writers hold the range that they write to.  So a hold of all
 * of a device is a gate in front of it, which costs them nothing: it waits for
 * those in flight, and those that come wait for it.  No I/O of ours is made
 * behind a gate that is shut.
 *
 * A snapshot is put on top in two steps:
 *   1. the one that was the newest reads through it, and nobody reads or
 *      copies past it any more (snapshot_switch_origin);
 *   2. behind the gate of the volume, writers preserve in it.
 * Between them it is empty, and shows the volume as it is.
 *
 * It leaves the chain in four, in the background but for the first:
 *   1. it takes no more chunks, nor requests (snapshot_leave);
 *   2. what it has and the next older one lacks is copied there;
 *   3. the next older one reads past it;
 *   4. behind the gates of all that are newer, writers preserve past it.
 * A crash at any time leaves it recorded as removing: then all begins anew,
 * and finds most of it done.
 *
 * Locks: admin_lock for every change of the chain; gates, those of older
 * devices first, so that writers to the volume wait least.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>

#include "bits.h"
#include "clock.h"
#include "log-sink.h"
#include "merge.h"
#include "volume-impl.h"

/*----- gates -----------------------------------------------------------*/

/* Shut the gates of all devices from LAST to the volume; and open them.  The
 * list does not change: the caller has admin_lock.
 */
static void
shut_gates (struct volume *v, struct volume_device *last)
{
  struct list *link;

  for (link = &last->link; link != &v->devices; link = link->prev) {
    struct volume_device *d = list_entry (link, struct volume_device, link);

    range_lock_acquire (&d->range_lock, &d->gate, 0, d->target->sectors);
  }
}

static void
open_gates (struct volume *v, struct volume_device *last)
{
  struct list *link = &v->devices;
  struct volume_device *d;

  do {
    link = link->next;
    d = list_entry (link, struct volume_device, link);
    range_lock_release (&d->range_lock, &d->gate);
  } while (d != last);
}

static struct volume_device *
last_device (struct volume *v)
{
  return list_entry (v->devices.prev, struct volume_device, link);
}

/*----- on top ----------------------------------------------------------*/

struct snapshot *
volume_chain_newest (struct volume *v)
{
  unsigned i;

  for (i = v->records->snapshot_count; i-- > 0;)
    if (v->snapshots[i] != NULL)
      return v->snapshots[i];
  return NULL;
}

void
volume_chain_push (struct volume *v, struct snapshot *snapshot,
                   struct snapshot_origin *origin)
{
  struct snapshot *below = snapshot_get_below (snapshot);
  struct volume_device *volume = volume_first_device (v);

  if (below != NULL)
    snapshot_switch_origin (below, origin);
  shut_gates (v, volume);
  origin_set_snapshot (v->origin, snapshot);
  open_gates (v, volume);
}

/*----- out of it -------------------------------------------------------*/

/* The next newer snapshot that is in the chain, or NULL. */
static struct snapshot *
next_newer (struct volume *v, unsigned index)
{
  while (++index < v->records->snapshot_count)
    if (v->snapshots[index] != NULL)
      return v->snapshots[index];
  return NULL;
}

/* Take snapshot number INDEX out of the chain: older ones have all of it.
 * Returns 0 or -ENOMEM.
 */
static int
unlink_snapshot (struct volume *v, unsigned index)
{
  struct snapshot *s = v->snapshots[index];
  struct snapshot *newer = next_newer (v, index);
  struct snapshot *below = snapshot_get_below (s);
  struct volume_device *last = last_device (v);
  struct snapshot_origin *origin;
  int r;

  if (below != NULL) {
    r = snapshot_origin_create (snapshot_origin_target (s), &origin);
    if (r < 0)
      return r;
    snapshot_switch_origin (below, origin);
  }
  shut_gates (v, last);
  if (newer != NULL)
    snapshot_set_below (newer, below);
  else
    origin_set_snapshot (v->origin, below);
  open_gates (v, last);
  volume_set_snapshot (v, index, NULL);
  snapshot_close (s);
  return 0;
}

/* Snapshot number INDEX is handed down, or nobody needs it: its store goes. */
static int
finish_removal (struct volume *v, unsigned index, struct volume_why *why)
{
  int r;

  if (v->snapshots[index] != NULL) {
    r = unlink_snapshot (v, index);
    if (r < 0)
      return volume_why (why, r, "snapshot %s: cannot be removed: %s",
                         v->records->snapshots[index].name, errno_text (r));
  }
  mutex_lock (&v->manifest_lock);
  v->records->snapshots[index].is_going = true;
  mutex_unlock (&v->manifest_lock);
  r = volume_set_record_state (v, index, SNAPSHOT_CREATING, NULL);
  if (r < 0)
    return volume_why_not_saved (v, v->records->snapshots[index].name, r, why);
  return volume_remove_unfinished (v, why);
}

/*----- the worker ------------------------------------------------------*/

bool
volume_must_stop (struct volume *v)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->worker.lock);
  return v->worker.must_stop;
}

/* The index of a snapshot that is in the chain. */
static int
find_snapshot (struct volume *v, const struct snapshot *s)
{
  int i = 0;

  while (v->snapshots[i] != s)
    i++;
  return i;
}

/* Why snapshot S does not go, for who looks; the log has it, too. */
static void
note_stuck (struct volume *v, const struct snapshot *s, int error)
{
  struct manifest_snapshot *record;
  char reason[128];

  (void) snprintf (reason, sizeof reason,
                   "older ones cannot take what they need of it: %s",
                   errno_text (error));
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  record = &v->records->snapshots[find_snapshot (v, s)];
  if (manifest_set_text (&record->reason, reason) < 0)
    log_debug ("snapshot %s: no memory for a reason", record->name);
}

static bool
must_stop (void *arg)
{
  return volume_must_stop (arg);
}

/* Hand some of snapshot S down, at the worker's pace. */
static int
hand_piece_down (struct volume *v, struct snapshot *s, uint64_t *chunk)
{
  struct pace_job *job = &v->worker.job;
  struct pace_piece piece;
  uint64_t bytes;
  int r;

  if (!pace_wait (job, must_stop, v))
    return -ESHUTDOWN;
  pace_piece_begin (job, &piece, HAND_DOWN_BYTES);
  r = snapshot_hand_down (s, chunk, &bytes);
  pace_piece_end (job, &piece, bytes);
  volume_job_note_handed (v, snapshot_name (s), *chunk);
  return r;
}

/* Hand all of snapshot S down.  Returns 0, -ESHUTDOWN, or why not. */
static int
hand_all_down (struct volume *v, struct snapshot *s, struct volume_why *why)
{
  uint64_t chunk = 0;
  int r;

  do
    r = hand_piece_down (v, s, &chunk);
  while (r > 0);
  if (r == 0 || r == -ESHUTDOWN)
    return r;
  note_stuck (v, s, r);
  return volume_why (why, r,
                     "snapshot %s: what older ones need of it cannot be handed "
                     "down to them: %s; make room on their disk, or remove "
                     "them, too",
                     snapshot_name (s), errno_text (r));
}

/* The first record from number INDEX on that is to go, or -1. */
static int
next_removal (struct volume *v, unsigned index)
{
  for (; index < v->records->snapshot_count; ++index)
    if (volume_record_state (v, index) == SNAPSHOT_REMOVING)
      return (int) index;
  return -1;
}

/* Take snapshot number *INDEX, which is to go, out of the chain.  Returns 0, or
 * an error; then *INDEX is what its number is now.
 */
static int
remove_from_chain (struct volume *v, unsigned *index, struct volume_why *why)
{
  struct snapshot *s = v->snapshots[*index];
  int r = 0;

  if (s != NULL) {
    snapshot_leave (s);
    /* Only we take snapshots out of the chain, so S stays; others may come
     * meanwhile, or begin to go.
     */
    mutex_unlock (&v->admin_lock);
    r = hand_all_down (v, s, why);
    mutex_lock (&v->admin_lock);
    *index = (unsigned) find_snapshot (v, s);
  }
  return r < 0 ? r : finish_removal (v, *index, why);
}

/* Take the oldest snapshot that is to go out of the chain.  Oldest first: what
 * is handed down to one that goes, too, would be handed down twice.  One that
 * must stay, since an older one has no room, holds no newer one up.  Returns 1,
 * 0 if there is none, or an error.
 */
static int
work_on_removal (struct volume *v, struct volume_why *why)
{
  struct volume_why second;
  int index, first_error = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  index = next_removal (v, 0);
  while (index >= 0) {
    unsigned number = (unsigned) index;
    int r = remove_from_chain (v, &number, first_error < 0 ? &second : why);

    if (r == 0)
      return 1;
    if (r == -ESHUTDOWN)
      return r;
    if (first_error == 0)
      first_error = r;
    index = next_removal (v, number + 1);
  }
  return first_error;
}

/* Move some chunks, at the worker's pace.  The caller holds no lock. */
static int
merge_piece (struct volume *v, struct volume_why *why)
{
  struct pace_job *job = &v->worker.job;
  struct pace_piece piece;
  uint64_t bytes;
  int r;

  if (!pace_wait (job, must_stop, v))
    return -ESHUTDOWN;
  pace_piece_begin (job, &piece, MERGE_STEP_BYTES);
  r = volume_merge_step (v, &bytes, why);
  pace_piece_end (job, &piece, bytes);
  return r;
}

/* Go on with what the volume is rolled back to.  Returns as above. */
static int
work_on_merge (struct volume *v, struct volume_why *why)
{
  int index, r;

  mutex_lock (&v->admin_lock);
  index = volume_find_state (v, SNAPSHOT_MERGING);
  if (index < 0 || v->merging != NULL) {
    mutex_unlock (&v->admin_lock);
    return index < 0 ? 0 : merge_piece (v, why);
  }
  r = finish_removal (v, (unsigned) index, why);
  mutex_unlock (&v->admin_lock);
  return r < 0 ? r : 1;
}

/* What is left of one that has gone, whose store could not be removed, or of
 * one that could not be taken.  Returns as above.
 */
static int
work_on_unfinished (struct volume *v, struct volume_why *why)
{
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  if (volume_find_state (v, SNAPSHOT_CREATING) < 0)
    return 0;
  r = volume_remove_unfinished (v, why);
  return r < 0 ? r : 1;
}

static int
work_on_records (struct volume *v, struct volume_why *why)
{
  bool must_save;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  mutex_lock (&v->manifest_lock);
  must_save = v->must_save;
  mutex_unlock (&v->manifest_lock);
  if (!must_save)
    return 0;
  r = volume_save_at_last (v, why);
  return r < 0 ? r : 1;
}

/* Do the next thing that is to be done.  Returns 1 if something was, 0 if
 * there is nothing, or an error: try again later.
 */
static int
work (struct volume *v, struct volume_why *why)
{
  static int (*const kinds[]) (struct volume *, struct volume_why *) = {
    work_on_records,
    work_on_merge,
    work_on_removal,
    work_on_unfinished,
  };
  struct volume_why second;
  unsigned i;
  int r = 0, one;

  /* What cannot go on does not hold the others up. */
  for (i = 0; r <= 0 && i < ARRAY_COUNT (kinds); ++i) {
    one = kinds[i](v, r < 0 ? &second : why);
    if (one > 0 || r == 0)
      r = one;
  }
  return r;
}

#define SECOND_NS UINT64_C (1000000000)
#define MAX_WAIT_NS (300 * SECOND_NS)

/* Wait for work, or until it is time to try again; 0: nothing has failed. */
static void
wait_for_work (struct chain_worker *w, uint64_t wait_ns)
{
  uint64_t deadline = clock_now_ns () + wait_ns;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);
  if (wait_ns == 0 && !w->has_work)
    w->is_idle = true;
  cond_broadcast (&w->changed);
  while (!w->must_stop && !w->has_work)
    if (wait_ns == 0)
      cond_wait (&w->changed, &w->lock);
    else if (!cond_wait_until (&w->changed, &w->lock, deadline))
      break;
  w->has_work = false;
  w->is_idle = false;
}

static void
worker_main (void *arg)
{
  struct volume *v = arg;
  uint64_t wait_ns = 0;

  while (!volume_must_stop (v)) {
    struct volume_why why;
    int r;

    pace_job_begin (&v->worker.job);
    r = work (v, &why);

    if (r > 0) {
      wait_ns = 0;
      continue;
    }
    if (r < 0 && r != -ESHUTDOWN) {
      if (wait_ns == 0)
        log_error ("%s", why.text);
      wait_ns = wait_ns == 0 ? SECOND_NS : wait_ns * 2;
      if (wait_ns > MAX_WAIT_NS)
        wait_ns = MAX_WAIT_NS;
    }
    else
      wait_ns = 0;
    pace_job_end (&v->worker.job);
    wait_for_work (&v->worker, wait_ns);
  }
  pace_job_end (&v->worker.job);
}

int
volume_chain_kick (struct volume *v)
{
  struct chain_worker *w = &v->worker;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);
  w->has_work = true;
  w->is_idle = false;
  cond_broadcast (&w->changed);
  if (w->is_running || w->must_stop)
    return 0;
  r = thread_start (&w->thread, "dm-snapshots", worker_main, v);
  if (r == 0)
    w->is_running = true;
  return r;
}

int
volume_resume_snapshots (struct volume *v)
{
  return volume_find_state (v, SNAPSHOT_REMOVING) >= 0 ||
             volume_find_state (v, SNAPSHOT_MERGING) >= 0 ||
             volume_find_state (v, SNAPSHOT_CREATING) >= 0
           ? volume_chain_kick (v)
           : 0;
}

void
volume_hurry (struct volume *v)
{
  mutex_lock (&v->worker.lock);
  v->worker.must_stop = true;
  cond_broadcast (&v->worker.changed);
  mutex_unlock (&v->worker.lock);
  pace_wake (v->pace);
}

void
volume_chain_stop (struct volume *v)
{
  struct chain_worker *w = &v->worker;
  bool is_running;

  mutex_lock (&w->lock);
  w->must_stop = true;
  is_running = w->is_running;
  w->is_running = false;
  cond_broadcast (&w->changed);
  mutex_unlock (&w->lock);
  pace_wake (v->pace);
  if (is_running)
    thread_join (&w->thread);
}

int
volume_snapshots_wait (struct volume *v, uint64_t deadline_ns)
{
  struct chain_worker *w = &v->worker;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->lock);
  while (w->is_running && !w->is_idle)
    if (!cond_wait_until (&w->changed, &w->lock, deadline_ns))
      return -ETIMEDOUT;
  return w->must_stop ? -ESHUTDOWN : 0;
}
