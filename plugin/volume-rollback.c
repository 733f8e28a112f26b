/* Rolling the volume back to its newest snapshot, while it is served.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The snapshot leaves the chain, and becomes a part of what is below it: the
 * merge (merge.c) stands between the chain and the mirror, and shows the
 * snapshot from the first moment on.  The worker moves chunks to the legs;
 * when there are no more the snapshot goes.
 *
 *   volume <- older ...          of which the newest is above the merge
 *     |
 *   merge: what the store has; what it lacks is in the mirror
 *     |
 *   mirror
 *
 * Older snapshots keep what they show: they read through the merge.  Newer
 * ones would show what is being overwritten, so there must be none; those
 * that are taken afterwards are of the rolled-back volume.
 *
 * The record says "merging" before anybody sees it, and while the gate of the
 * volume is shut: after a crash, or at the next start, the merge goes on.  If
 * it is not known what the record says on disk, nobody may write until it
 * is: a start that rolls back would undo it.
 *
 * Locks: as in volume-chain.c.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "log-sink.h"
#include "merge.h"
#include "volume-impl.h"

struct target *
volume_base (struct volume *v)
{
  return v->merging != NULL ? merge_target (v->merge)
                            : mirror_target (v->mirror);
}

static void
set_merging (struct volume *v, struct snapshot *snapshot)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  v->merging = snapshot;
}

/*----- at the start ----------------------------------------------------*/

int
volume_open_merge (struct volume *v)
{
  struct snapshot *s;
  int index = volume_find_state (v, SNAPSHOT_MERGING);
  int r;

  if (index < 0)
    return 0;
  r = volume_open_snapshot (v, &v->records->snapshots[index],
                            mirror_target (v->mirror), &s);
  if (r < 0)
    return r;
  snapshot_leave (s);
  r = merge_create (s, mirror_target (v->mirror), &v->merge);
  if (r < 0) {
    snapshot_close (s);
    return r;
  }
  set_merging (v, s);
  origin_set_lower (v->origin, merge_target (v->merge));
  return 0;
}

void
volume_close_merge (struct volume *v)
{
  struct snapshot *s = v->merging;

  origin_set_lower (v->origin, mirror_target (v->mirror));
  set_merging (v, NULL);
  merge_destroy (v->merge);
  v->merge = NULL;
  snapshot_close (s);
}

/*----- beginning -------------------------------------------------------*/

/* A newer record than number INDEX whose snapshot is going, or -1: perhaps it
 * has left the chain, and that could not be recorded yet.  At the next start it
 * would be in the chain again, and older snapshots would read there, and not in
 * what the volume was rolled back to.
 */
int
volume_find_going (struct volume *v, unsigned index)
{
  while (++index < v->records->snapshot_count)
    if (volume_record_state (v, index) == SNAPSHOT_REMOVING)
      return (int) index;
  return -1;
}

/* Whether the volume can be rolled back to record number INDEX. */
static int
check (struct volume *v, const char *name, unsigned index,
       struct volume_why *why)
{
  struct snapshot *s = v->snapshots[index];
  int merging = volume_find_state (v, SNAPSHOT_MERGING);
  int going = volume_find_going (v, index);

  if (volume_is_transient (v))
    return volume_why (why, -EOPNOTSUPP,
                       "snapshot %s: is transient: a crash in the midst of a "
                       "roll-back would leave a mixture; take snapshots with "
                       "meta=DIR",
                       name);
  switch (volume_record_state (v, index)) {
  case SNAPSHOT_MERGING:
    return volume_why (why, 1,
                       "snapshot %s: the volume is rolled back to it "
                       "already",
                       name);
  case SNAPSHOT_VALID:
  case SNAPSHOT_STAGING:
    break;
  case SNAPSHOT_INVALID:
    return volume_why (why, -EIO,
                       "snapshot %s: is invalid, the volume cannot be rolled "
                       "back to it; take another one",
                       name);
  default:
    return volume_why (why, -EBUSY, "snapshot %s: is going away", name);
  }
  if (merging >= 0)
    return volume_why (why, -EBUSY,
                       "snapshot %s: the volume is being rolled back to %s; "
                       "wait until that is done",
                       name, v->records->snapshots[merging].name);
  if (going >= 0) {
    (void) volume_chain_kick (v);
    return volume_why (why, -EBUSY,
                       "snapshot %s: %s is newer, and is still being removed; "
                       "wait until it has gone",
                       name, v->records->snapshots[going].name);
  }
  if (!snapshot_is_valid (s))
    return volume_why (why, -EIO,
                       "snapshot %s: its store is marked invalid, the volume "
                       "cannot be rolled back to it",
                       name);
  if (snapshot_store_error (s) < 0)
    return volume_why (why, -EIO,
                       "snapshot %s: its store has failed (%s); start the "
                       "server again, to see what is in it",
                       name, errno_text (snapshot_store_error (s)));
  return 0;
}

/* What is needed, made before anything changes. */
struct plan {
  struct snapshot *snapshot;
  struct snapshot *below;
  struct merge *merge;
  struct snapshot_origin *origin; /* for the one below */
};

static int
make_plan (struct volume *v, unsigned index, struct plan *plan)
{
  int r;

  plan->snapshot = v->snapshots[index];
  plan->below = snapshot_get_below (plan->snapshot);
  plan->origin = NULL;
  r = merge_create (plan->snapshot, mirror_target (v->mirror), &plan->merge);
  if (r == 0 && plan->below != NULL)
    r = snapshot_origin_create (merge_target (plan->merge), &plan->origin);
  if (r < 0)
    merge_destroy (plan->merge);
  return r;
}

/* True, and writes are refused, if it is not known what the record says on
 * disk.  (A disk that is full has refused a file before it replaced one.)
 */
static bool
refuse_if_unknown (struct volume *v)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  if (!meta_dir_is_doubtful (v->dir, MANIFEST_FILE))
    return false;
  v->must_save = true;
  origin_refuse_writes (v->origin, true);
  return true;
}

/* Record it.  After an error the record is as it was, on disk too, or nobody
 * may write.  The gate is shut.
 */
static int
record (struct volume *v, unsigned index, struct volume_why *why)
{
  const char *name = v->records->snapshots[index].name;
  enum manifest_snapshot_state was = volume_record_state (v, index);
  int r = volume_set_record_state (v, index, SNAPSHOT_MERGING, NULL);

  if (r == 0)
    return 0;
  volume_why_not_saved (v, name, r, why);
  /* The new record may be there all the same. */
  if (volume_set_record_state (v, index, was, NULL) == 0 ||
      !refuse_if_unknown (v))
    return r;
  volume_why (why, r,
              "snapshot %s: %s/%s cannot be written: %s; it is not known what "
              "it says of the roll-back, so writes to the volume are refused "
              "until it can be written",
              name, meta_dir_path (v->dir), MANIFEST_FILE, errno_text (r));
  log_error ("%s", why->text);
  (void) volume_chain_kick (v);
  return r;
}

/* Recorded: nothing can fail from here on. */
static void
switch_over (struct volume *v, unsigned index, struct plan *plan)
{
  snapshot_leave (plan->snapshot);
  volume_set_snapshot (v, index, NULL);
  set_merging (v, plan->snapshot);
  merge_set_older (plan->merge, v->merge);
  v->merge = plan->merge;
  if (plan->below != NULL)
    snapshot_switch_origin (plan->below, plan->origin);
  origin_set_lower (v->origin, merge_target (plan->merge));
  origin_set_snapshot (v->origin, plan->below);
}

/* Flush the snapshot, record it, and switch over.  Its own gate is shut, so
 * that nothing is written to it between the flush and the switch: all that
 * its clients were told is written becomes the volume's, durably.
 */
static int
record_and_switch (struct volume *v, const char *name, unsigned index,
                   struct plan *plan, struct volume_why *why)
{
  struct volume_device *volume = volume_first_device (v);
  int r = target_flush (snapshot_target (plan->snapshot));

  if (r < 0)
    return volume_why (why, r, "snapshot %s: its store cannot be flushed: %s",
                       name, errno_text (r));
  range_lock_acquire (&volume->range_lock, &volume->gate, 0,
                      volume->target->sectors);
  r = check (v, name, index, why); /* nothing changes any more */
  if (r == 0)
    r = record (v, index, why);
  if (r == 0)
    switch_over (v, index, plan);
  range_lock_release (&volume->range_lock, &volume->gate);
  return r;
}

/* Nobody writes to the snapshot any more. */
static int
plan_and_switch (struct volume *v, const char *name, unsigned index,
                 struct volume_why *why)
{
  struct plan plan = { 0 };
  int r = make_plan (v, index, &plan);

  if (r < 0)
    return volume_why (why, r, "snapshot %s: %s", name, errno_text (r));
  r = record_and_switch (v, name, index, &plan, why);
  if (r < 0) {
    snapshot_origin_destroy (plan.origin);
    merge_destroy (plan.merge);
  }
  return r;
}

/* The volume shows it. */
static void
go_on_in_background (struct volume *v, const char *name)
{
  int r;

  log_info ("snapshot %s: the volume is rolled back to it", name);
  volume_note_snapshot (v, EVENT_SNAPSHOT_MERGING, name, NULL);
  volume_job_measure_merge (v);
  r = volume_chain_kick (v);
  if (r < 0)
    log_warning ("snapshot %s: it is merged at the next start: the thread "
                 "that does it cannot be started: %s",
                 name, errno_text (r));
}

static int
roll_back_locked (struct volume *v, const char *name, unsigned index,
                  unsigned flags, struct volume_why *why)
{
  struct volume_device *d = volume_device_of (v, v->snapshots[index]);
  int r = volume_hide_device (v, name, d, flags, why);

  if (r < 0)
    return r;
  range_lock_acquire (&d->range_lock, &d->gate, 0, d->target->sectors);
  r = plan_and_switch (v, name, index, why);
  range_lock_release (&d->range_lock, &d->gate);
  if (r < 0) {
    volume_device_show (v, d);
    return r;
  }
  volume_device_remove (v, d);
  go_on_in_background (v, name);
  return 0;
}

int
volume_roll_back_to_staged (struct volume *v, unsigned index,
                            struct volume_why *why)
{
  const char *name = v->records->snapshots[index].name;
  int r = plan_and_switch (v, name, index, why);

  if (r == 0)
    go_on_in_background (v, name);
  return r;
}

int
volume_snapshot_rollback (struct volume *v, const char *name, unsigned flags,
                          struct volume_why *why)
{
  char quote[LOG_QUOTE_BYTES];
  int index, r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  index = volume_find_record (v, name);
  if (index < 0)
    return volume_why (why, -ENOENT,
                       "snapshot '%s': there is none of that name; "
                       "'dmnbd snapshot list' shows them",
                       log_quote (name, quote));
  /* Before the check, which may have the worker look again. */
  r = volume_start_for_admin (v, name, why);
  if (r == 0)
    r = check (v, name, (unsigned) index, why);
  if (r != 0)
    return r;
  return volume_chain_newest (v) == v->snapshots[index]
           ? roll_back_locked (v, name, (unsigned) index, flags, why)
           : volume_restore (v, (unsigned) index, why);
}

/*----- going on --------------------------------------------------------*/

/* All is in the mirror: take the merge out.  Returns 0 or -ENOMEM. */
static int
end_merge (struct volume *v)
{
  struct snapshot *newest = volume_chain_newest (v);
  struct snapshot *s = v->merging;
  struct snapshot_origin *origin;
  int r;

  if (newest != NULL) {
    r = snapshot_origin_create (mirror_target (v->mirror), &origin);
    if (r < 0)
      return r;
    snapshot_switch_origin (newest, origin);
  }
  origin_set_lower (v->origin, mirror_target (v->mirror));
  merge_end (v->merge);
  set_merging (v, NULL);
  log_info ("snapshot %s: is merged, the volume has been rolled back to it",
            snapshot_name (s));
  volume_note_snapshot (v, EVENT_SNAPSHOT_MERGED, snapshot_name (s), NULL);
  snapshot_close (s);
  return 0;
}

int
volume_merge_step (struct volume *v, uint64_t *bytes, struct volume_why *why)
{
  struct snapshot *s = v->merging; /* only we end it */
  int r = merge_step (v->merge, &volume_first_device (v)->range_lock, bytes);

  if (r < 0)
    return volume_why (why, r,
                       "snapshot %s: its merging cannot go on: %s; the volume "
                       "is served all the same, and this is tried again",
                       snapshot_name (s), errno_text (r));
  if (r > 0)
    return r;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  r = end_merge (v);
  return r < 0 ? volume_why (why, r, "snapshot %s: %s", snapshot_name (s),
                             errno_text (r))
               : 1;
}

int
volume_save_at_last (struct volume *v, struct volume_why *why)
{
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  r = volume_save_records (v);
  if (r < 0)
    return volume_why (why, r, "%s/%s: cannot be written: %s",
                       meta_dir_path (v->dir), MANIFEST_FILE, errno_text (r));
  return 0;
}

void
volume_writes_go_on (struct volume *v)
{
  v->must_save = false;
  origin_refuse_writes (v->origin, false);
  log_info ("%s/%s: can be written again, and so can the volume",
            meta_dir_path (v->dir), MANIFEST_FILE);
}
