/* What an administrator does to the snapshots of a volume that is served.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The point in time of a new snapshot is the moment in which the gate of the
 * volume is shut and nobody is behind it (volume-chain.c).  The order, and
 * what a crash leaves:
 *
 *   legs are flushed, so that little is left for later
 *   the record says "creating"; the store is made            no snapshot
 *   the record says "valid"                                  see below
 *   the gate; writers preserve in it from now on             see below
 *   legs are flushed: what it froze is durable
 *   the reply
 *
 * Valid before it is in use: else a crash would remove a store that has
 * chunks which older snapshots need.  After a crash in between it is
 * a snapshot of what the crash has left, with what was preserved: nobody was
 * told that it is an older one.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log-sink.h"
#include "volume-impl.h"

int
volume_start_for_admin (struct volume *v, const char *name,
                        struct volume_why *why)
{
  int r;

  if (v->is_read_only)
    return volume_why (why, -EROFS, "snapshot %s: cannot be changed: %s", name,
                       v->read_only_reason);
  r = volume_start (v);
  if (r < 0)
    return volume_why (why, r,
                       "snapshot %s: the volume cannot be made ready for "
                       "writes: %s",
                       name, errno_text (r));
  return 0;
}

/*----- creating --------------------------------------------------------*/

static int
flush_legs (struct volume *v, const char *name, struct volume_why *why)
{
  int r = target_flush (origin_target (v->origin));

  if (r < 0)
    return volume_why (why, r, "snapshot %s: the legs cannot be flushed: %s",
                       name, errno_text (r));
  return 0;
}

/* What there is of that name already: 0 nothing, 1 a valid snapshot. */
static int
check_existing (struct volume *v, const char *name, struct volume_why *why)
{
  int index = volume_find_record (v, name);

  if (index < 0)
    return 0;
  switch (volume_record_state (v, (unsigned) index)) {
  case SNAPSHOT_VALID:
    return volume_why (why, 1, "snapshot %s: exists already", name);
  case SNAPSHOT_INVALID:
    return volume_why (why, -EEXIST,
                       "snapshot %s: exists, but is invalid; remove it first",
                       name);
  case SNAPSHOT_MERGING:
    return volume_why (why, -EEXIST,
                       "snapshot %s: the volume is being rolled back to it; "
                       "wait, or take another name",
                       name);
  default:
    return volume_why (why, -EEXIST,
                       "snapshot %s: one of that name is going away; wait, or "
                       "take another name",
                       name);
  }
}

/* What is needed to put a new snapshot into the chain. */
struct new_snapshot {
  enum manifest_snapshot_state state; /* what it is to be */
  unsigned index;
  struct snapshot *snapshot;
  struct snapshot_origin *origin; /* for the one below */
  struct volume_device *device;
};

static void
abandon_new (struct volume *v, struct new_snapshot *n)
{
  struct volume_why why;

  volume_device_destroy (n->device);
  snapshot_origin_destroy (n->origin);
  volume_set_snapshot (v, n->index, NULL);
  mutex_lock (&v->manifest_lock);
  v->records->snapshots[n->index].state = SNAPSHOT_CREATING;
  mutex_unlock (&v->manifest_lock);
  snapshot_close (n->snapshot);
  if (volume_remove_unfinished (v, &why) < 0)
    log_warning ("%s", why.text); /* it is tried again */
}

/* Open the new snapshot, and make all that putting it into use needs. */
static int
prepare_new (struct volume *v, struct new_snapshot *n)
{
  struct snapshot *below = volume_chain_newest (v);
  struct target *origin = below != NULL ? snapshot_origin_target (below)
                                        : volume_base (v);
  int r = volume_start_copying (v);

  if (r < 0)
    return r;
  r = volume_open_snapshot (v, &v->records->snapshots[n->index], origin,
                            &n->snapshot);
  if (r < 0)
    return r;
  snapshot_set_kcopyd (n->snapshot, v->kcopyd);
  snapshot_set_below (n->snapshot, below);
  if (below != NULL) {
    r = snapshot_origin_create (snapshot_view (n->snapshot), &n->origin);
    if (r < 0)
      return r;
  }
  volume_set_snapshot (v, n->index, n->snapshot);
  return n->state == SNAPSHOT_VALID
           ? volume_device_create (v, (int) n->index, &n->device)
           : 0;
}

static int
put_into_use (struct volume *v, struct new_snapshot *n, struct volume_why *why)
{
  const char *name = snapshot_name (n->snapshot);
  int r;

  volume_chain_push (v, n->snapshot, n->origin);
  r = flush_legs (v, name, why);
  if (r < 0) {
    /* It stays in the chain: what it has is needed.  As invalid, if that can
     * be recorded; nobody can open it, so it cannot stay as valid.
     */
    volume_device_destroy (n->device);
    if (n->state != SNAPSHOT_VALID ||
        snapshot_break (n->snapshot, why->text) < 0)
      volume_unstage (v, n->index);
    return r;
  }
  if (n->state != SNAPSHOT_VALID)
    return 0;
  volume_device_add (v, n->device);
  log_info ("snapshot %s: taken", name);
  volume_note_snapshot (v, EVENT_SNAPSHOT_CREATED, name, NULL);
  return 0;
}

/* If not all that was begun could be undone, that is tried again. */
static void
tidy_later (struct volume *v)
{
  if (volume_find_state (v, SNAPSHOT_CREATING) >= 0)
    (void) volume_chain_kick (v); /* else the next call, or start, does it */
}

static int
create_locked (struct volume *v, const struct volume_snapshot_request *request,
               enum manifest_snapshot_state state, unsigned *index,
               struct volume_why *why)
{
  struct new_snapshot n = { .state = state };
  int r = flush_legs (v, request->name, why);

  if (r == 0)
    r = volume_make_snapshot (v, request, &n.index, why);
  if (r < 0) {
    tidy_later (v);
    return r;
  }
  r = prepare_new (v, &n);
  if (r < 0)
    volume_why (why, r, "snapshot %s: cannot be put into use: %s",
                request->name, errno_text (r));
  else
    r = volume_publish_snapshot (v, n.index, state, why);
  if (r < 0) {
    abandon_new (v, &n);
    tidy_later (v);
    return r;
  }
  *index = n.index;
  return put_into_use (v, &n, why);
}

int
volume_stage (struct volume *v, const struct volume_snapshot_request *request,
              unsigned *index, struct volume_why *why)
{
  return create_locked (v, request, SNAPSHOT_STAGING, index, why);
}

void
volume_unstage (struct volume *v, unsigned index)
{
  struct snapshot *snapshot = v->snapshots[index];

  mutex_lock (&v->manifest_lock);
  v->records->snapshots[index].state = SNAPSHOT_REMOVING;
  mutex_unlock (&v->manifest_lock);
  snapshot_leave (snapshot);
  if (volume_chain_kick (v) < 0)
    log_warning ("snapshot %s: its store goes at the next start",
                 snapshot_name (snapshot));
}

/* Records that are left of what was not finished are in nobody's way later.
 * The volume need not have been started: nobody must be starting it, who
 * goes over the same records.
 */
static void
tidy_records (struct volume *v)
{
  struct volume_why why;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->start_lock);
  (void) volume_remove_unfinished (v, &why); /* tried again by the next */
}

int
volume_snapshot_create (struct volume *v,
                        const struct volume_snapshot_request *request,
                        struct volume_why *why)
{
  unsigned index;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  if (!v->is_read_only)
    tidy_records (v);
  r = check_existing (v, request->name, why);
  if (r == 0)
    r = volume_check_new_snapshot (v, request, why);
  if (r == 0)
    r = volume_start_for_admin (v, request->name, why);
  return r != 0 ? r : create_locked (v, request, SNAPSHOT_VALID, &index, why);
}

/*----- removing --------------------------------------------------------*/

int
volume_hide_device (struct volume *v, const char *name, struct volume_device *d,
                    unsigned flags, struct volume_why *why)
{
  unsigned clients = d == NULL ? 0 : volume_device_clients (d);

  if (d == NULL)
    return 0;
  /* Clients of an invalid one have nothing to lose. */
  if (volume_device_hide (v, d,
                          !(flags & VOLUME_SNAPSHOT_FORCE) &&
                            snapshot_is_valid (d->snapshot)) == 0)
    return 0;
  return volume_why (why, -EBUSY,
                     "snapshot %s: %u client%s it open; disconnect %s, or "
                     "do it by force: they will get I/O errors",
                     name, clients, clients == 1 ? " has" : "s have",
                     clients == 1 ? "it" : "them");
}

static int
remove_locked (struct volume *v, const char *name, unsigned index,
               unsigned flags, struct volume_why *why)
{
  struct snapshot *snapshot = v->snapshots[index];
  struct volume_device *d = snapshot == NULL ? NULL
                                             : volume_device_of (v, snapshot);
  int r = volume_hide_device (v, name, d, flags, why);

  if (r < 0)
    return r;
  /* The point of no return. */
  r = volume_set_record_state (v, index, SNAPSHOT_REMOVING, NULL);
  if (r < 0) {
    if (d != NULL)
      volume_device_show (v, d);
    return volume_why_not_saved (v, name, r, why);
  }
  if (d != NULL)
    volume_device_remove (v, d);
  if (snapshot != NULL)
    snapshot_leave (snapshot);
  log_info ("snapshot %s: is being removed", name);
  volume_note_snapshot (v, EVENT_SNAPSHOT_REMOVED, name, NULL);
  /* It is gone for everybody; its store goes later, then. */
  r = volume_chain_kick (v);
  if (r < 0)
    log_warning ("snapshot %s: its store goes at the next start: the thread "
                 "that does it cannot be started: %s",
                 name, errno_text (r));
  return 0;
}

int
volume_snapshot_remove (struct volume *v, const char *name, unsigned flags,
                        struct volume_why *why)
{
  char quote[LOG_QUOTE_BYTES];
  int index, r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  index = volume_find_record (v, name);
  if (index < 0)
    return volume_why (why, 1, "snapshot '%s': there is none of that name",
                       log_quote (name, quote));
  r = volume_start_for_admin (v, name, why);
  if (r < 0)
    return r;
  switch (volume_record_state (v, (unsigned) index)) {
  case SNAPSHOT_MERGING:
    return volume_why (why, -EBUSY,
                       "snapshot %s: the volume is being rolled back to it; it "
                       "goes when that is done",
                       name);
  case SNAPSHOT_REMOVING:
    (void) volume_chain_kick (v);
    return volume_why (why, 1, "snapshot %s: is being removed already", name);
  case SNAPSHOT_CREATING:
    r = volume_remove_unfinished (v, why);
    return r;
  default:
    return remove_locked (v, name, (unsigned) index, flags, why);
  }
}

/*----- renaming --------------------------------------------------------*/

static int
check_new_name (struct volume *v, const char *name, const char *new_name,
                struct volume_why *why)
{
  char quote[LOG_QUOTE_BYTES];

  if (!snapshot_name_is_valid (new_name))
    return volume_why (why, -EINVAL,
                       "snapshot %s: '%s' is not a name for a snapshot; use "
                       "letters, digits, '_', '-' and '.', at most %d, not "
                       "'.' or '-' first, and no '..'",
                       name, log_quote (new_name, quote), SNAPSHOT_NAME_MAX);
  if (volume_find_record (v, new_name) >= 0)
    return volume_why (why, -EEXIST,
                       "snapshot %s: there is one of the name %s already", name,
                       new_name);
  return volume_check_store_name (v, new_name, why);
}

static int
rename_record (struct volume *v, unsigned index, const char *new_name)
{
  struct snapshot *snapshot = v->snapshots[index];
  const char *kept = NULL;
  struct manifest_snapshot *record;
  char *old_name, *copy = strdup (new_name);
  int r;

  if (snapshot != NULL)
    kept = snapshot_keep_name (snapshot, new_name);
  if (copy == NULL || (snapshot != NULL && kept == NULL)) {
    free (copy);
    return -ENOMEM;
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  record = &v->records->snapshots[index];
  old_name = record->name;
  record->name = copy;
  r = volume_save_records (v);
  if (r < 0) {
    record->name = old_name;
    free (copy);
    return r;
  }
  if (snapshot != NULL)
    snapshot_set_name (snapshot, kept);
  free (old_name);
  return 0;
}

int
volume_snapshot_rename (struct volume *v, const char *name,
                        const char *new_name, struct volume_why *why)
{
  char quote[LOG_QUOTE_BYTES];
  enum manifest_snapshot_state state;
  int index, r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  index = volume_find_record (v, name);
  if (index < 0)
    return volume_why (why, -ENOENT,
                       "snapshot '%s': there is none of that name; "
                       "'dmnbd snapshot list' shows them",
                       log_quote (name, quote));
  if (strcmp (name, new_name) == 0)
    return volume_why (why, 1, "snapshot %s: has that name already", name);
  state = volume_record_state (v, (unsigned) index);
  if (state != SNAPSHOT_VALID && state != SNAPSHOT_INVALID)
    return volume_why (why, -EBUSY, "snapshot %s: is going away", name);
  r = check_new_name (v, name, new_name, why);
  if (r == 0)
    r = volume_start_for_admin (v, name, why);
  if (r < 0)
    return r;
  r = volume_settle_store_name (v, (unsigned) index);
  if (r == 0)
    r = rename_record (v, (unsigned) index, new_name);
  if (r < 0)
    return volume_why_not_saved (v, name, r, why);
  /* The store follows; if it does not, it is found under its old name. */
  (void) volume_settle_store_name (v, (unsigned) index);
  log_info ("snapshot %s: is %s now", name, new_name);
  volume_note_rename (v, name, new_name);
  return 0;
}
