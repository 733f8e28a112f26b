/* The snapshots of a volume: opening, discarding and taking them at start.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The order: everything that exists is opened and checked before anything
 * is changed.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log-sink.h"
#include "temp-store.h"
#include "volume-impl.h"

/* Pages for the copies: eight parts of a job at once. */
#define SNAPSHOT_PAGES \
  (8 * (unsigned) (KCOPYD_SUB_JOB_SECTORS * SECTOR_SIZE / DM_PAGE_SIZE))

static bool
is_discarded (const struct volume_spec *spec, const char *name)
{
  unsigned i;

  for (i = 0; i < spec->discard_count; ++i)
    if (strcmp (spec->discards[i], name) == 0)
      return true;
  return false;
}

/*----- checking what was asked for -------------------------------------*/

/* Older snapshots read what they lack in newer ones, so a newer one cannot
 * go while an older one needs it.
 */
static int
check_discards (struct volume *v, const struct volume_spec *spec)
{
  bool older_is_kept = false;
  const char *older = NULL;
  unsigned i;

  for (i = 0; i < spec->discard_count; ++i) {
    if (volume_find_record (v, spec->discards[i]) < 0)
      log_warning ("discard-snapshot=%s: there is no such snapshot",
                   spec->discards[i]);
  }
  for (i = 0; i < v->records->snapshot_count; ++i) {
    const struct manifest_snapshot *s = &v->records->snapshots[i];

    if (is_discarded (spec, s->name) && s->state == SNAPSHOT_MERGING) {
      log_error ("discard-snapshot=%s: the volume is being rolled back to it, "
                 "and is partly in its store; leave discard-snapshot= out",
                 s->name);
      return -EBUSY;
    }
    if (is_discarded (spec, s->name) && older_is_kept) {
      log_error ("discard-snapshot=%s: snapshot %s is older and needs what "
                 "it holds; discard that, too",
                 s->name, older);
      return -EBUSY;
    }
    if (!is_discarded (spec, s->name) && s->state == SNAPSHOT_VALID) {
      older_is_kept = true;
      older = s->name;
    }
  }
  return 0;
}

/*----- opening ---------------------------------------------------------*/

static int
snapshot_broken (void *opaque, struct snapshot *snapshot,
                 enum snapshot_loss loss, const char *reason)
{
  struct volume *v = opaque;
  struct manifest_snapshot *s;
  char *old_reason;
  int index, r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  index = manifest_find_snapshot (v->records, snapshot_name (snapshot));
  if (index < 0)
    return -ENOENT;
  s = &v->records->snapshots[index];
  if (s->state != SNAPSHOT_VALID)
    return 0; /* nobody relies on it any more */
  old_reason = s->reason;
  s->reason = NULL;
  r = manifest_set_text (&s->reason, reason);
  s->state = SNAPSHOT_INVALID;
  if (r == 0)
    r = volume_save_records (v);
  if (r < 0 && loss == LOSS_IS_MARKED) {
    /* The next start sees it in the store.  The next save records it. */
    log_warning ("snapshot %s: that it is invalid is marked in its store only: "
                 "%s/%s cannot be written: %s; make room there",
                 s->name, meta_dir_path (v->dir), MANIFEST_FILE,
                 errno_text (r));
    r = 0;
  }
  if (r < 0) { /* as it was */
    s->state = SNAPSHOT_VALID;
    free (s->reason);
    s->reason = old_reason;
    return r;
  }
  free (old_reason);
  volume_note_snapshot (v, EVENT_SNAPSHOT_BROKEN, s->name, reason);
  return 0;
}

/* Clients, legs that come back and files that are written anew need files. */
#define SPARE_FILES 32

/* What has the chunks of the snapshot of record S, or is going to. */
static int
open_store (struct volume *v, const struct manifest_snapshot *s,
            struct snapshot_params *params)
{
  int r;

  if (s->transient_bytes > 0) {
    params->transient_chunk_sectors = s->chunk_bytes >> SECTOR_SHIFT;
    r = temp_store_create (s->transient_bytes, &params->cow);
    if (r < 0)
      log_error (
        "snapshot %s: a temporary file for its store cannot be created "
        "in %s: %s; make room there, set TMPDIR to another folder, or "
        "give a smaller cow-size=",
        s->name, temp_store_folder (), errno_text (r));
    return r;
  }
  r = meta_dir_open_store (v->dir, s->store, &params->cow);
  if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
    log_error ("snapshot %s: its store %s/%s cannot be opened: %s; nothing has "
               "been changed",
               s->name, meta_dir_path (v->dir), s->store, errno_text (r));
  else if (r == -EBUSY)
    log_error ("snapshot %s: its store %s/%s is in use: by another program, or "
               "as a leg, or as the store of another snapshot of which it is a "
               "link; see to it that it is a file of its own, restore it from "
               "a copy, or give the snapshot up with discard-snapshot=%s",
               s->name, meta_dir_path (v->dir), s->store, s->name);
  else if (r < 0)
    log_error (
      "snapshot %s: its store %s/%s cannot be opened: %s; check its mode and "
      "owner, restore the file from a copy, or give the snapshot up with "
      "discard-snapshot=%s",
      s->name, meta_dir_path (v->dir), s->store, errno_text (r), s->name);
  return r;
}

int
volume_open_snapshot (struct volume *v, struct manifest_snapshot *s,
                      struct target *origin, struct snapshot **snapshot)
{
  struct snapshot_params params = {
    .name = s->name,
    .is_valid = s->state == SNAPSHOT_VALID || s->state == SNAPSHOT_CREATING,
    .is_read_only = s->is_read_only,
    .on_cow_error = v->on_cow_error,
    .broken = snapshot_broken,
    .opaque = v,
    .origin = origin,
  };
  struct snapshot_status status;
  int r;

  if (!meta_dir_can_open_files (SPARE_FILES)) {
    log_error ("snapshot %s: cannot be opened: %s; nothing has been changed",
               s->name, errno_text (-EMFILE));
    return -EMFILE;
  }
  r = open_store (v, s, &params);
  if (r < 0)
    return r;
  r = snapshot_open (&params, snapshot);
  if (r < 0) {
    log_error ("snapshot %s: cannot be opened: %s; nothing has been changed",
               s->name, errno_text (r));
    bdev_close (params.cow);
    return r;
  }
  snapshot_get_status (*snapshot, &status);
  if (sector_to_bytes (status.chunk_sectors) != s->chunk_bytes) {
    log_error (
      "snapshot %s: the header of %s/%s says chunks of %" PRIu64
      " bytes, the manifest says %" PRIu64 ": the file is damaged, "
      "or of another snapshot; restore the file from a copy, or give the "
      "snapshot up with discard-snapshot=%s",
      s->name, meta_dir_path (v->dir), s->store,
      sector_to_bytes (status.chunk_sectors), s->chunk_bytes, s->name);
    snapshot_close (*snapshot);
    *snapshot = NULL;
    return -EINVAL;
  }
  if (!snapshot_is_valid (*snapshot) && s->state == SNAPSHOT_VALID) {
    log_warning ("snapshot %s: its store is marked invalid", s->name);
    s->state = SNAPSHOT_INVALID; /* the next save records it */
  }
  return 0;
}

/* True if a valid snapshot older than number INDEX is kept, which may read
 * what it lacks there.
 */
static bool
is_needed_by_older (const struct manifest *m, const struct volume_spec *spec,
                    unsigned index)
{
  while (index-- > 0)
    if (m->snapshots[index].state == SNAPSHOT_VALID &&
        !is_discarded (spec, m->snapshots[index].name))
      return true;
  return false;
}

/* Open what is recorded and not discarded, newest first. */
static int
open_chain (struct volume *v, const struct volume_spec *spec)
{
  const struct manifest *m = v->records;
  struct snapshot *above = NULL;
  struct target *origin;
  unsigned i;
  int r = volume_open_merge (v);

  if (r < 0)
    return r;
  origin = volume_base (v);

  for (i = m->snapshot_count; i-- > 0;) {
    struct manifest_snapshot *s = &v->records->snapshots[i];
    struct snapshot *snapshot;

    volume_set_snapshot (v, i, NULL);
    if (is_discarded (spec, s->name) || s->state == SNAPSHOT_CREATING ||
        s->state == SNAPSHOT_MERGING ||
        (s->state != SNAPSHOT_VALID && !is_needed_by_older (m, spec, i)))
      continue;
    r = volume_open_snapshot (v, s, origin, &snapshot);
    if (r < 0)
      return r;
    volume_set_snapshot (v, i, snapshot);
    origin = snapshot_view (v->snapshots[i]);
    if (above == NULL)
      origin_set_snapshot (v->origin, v->snapshots[i]);
    else
      snapshot_set_below (above, v->snapshots[i]);
    above = v->snapshots[i];
  }
  return 0;
}

void
volume_close_snapshots (struct volume *v)
{
  unsigned i;

  origin_set_snapshot (v->origin, NULL);
  /* Oldest first: each reads the next newer one. */
  for (i = 0; i < v->records->snapshot_count; ++i) {
    snapshot_close (v->snapshots[i]);
    volume_set_snapshot (v, i, NULL);
  }
  volume_close_merge (v);
}

/*----- changing --------------------------------------------------------*/

static int
say (const struct volume_why *why, int r)
{
  log_error ("%s", why->text);
  return r;
}

/* Mark what is discarded as unfinished, durably; then it is removed. */
static int
discard_snapshots (struct volume *v, const struct volume_spec *spec)
{
  struct volume_why why;
  unsigned i;
  int r;

  for (i = 0; i < spec->discard_count; ++i) {
    int index = manifest_find_snapshot (v->records, spec->discards[i]);

    if (index >= 0)
      v->records->snapshots[index].state = SNAPSHOT_CREATING;
  }
  r = volume_save_records (v);
  if (r < 0) {
    log_error ("%s/%s: cannot be written: %s; check the mode and owner of "
               "the folder, and its space",
               meta_dir_path (v->dir), MANIFEST_FILE, errno_text (r));
    return r;
  }
  r = volume_remove_unfinished (v, &why);
  return r < 0 ? say (&why, r) : 0;
}

static int
take_snapshot (struct volume *v, const struct volume_snapshot_request *request)
{
  struct volume_why why;
  unsigned index;
  int r;

  /* What clients were told is written must be in the snapshot even if
   * the power fails.
   */
  r = target_flush (origin_target (v->origin));
  if (r < 0) {
    log_error ("snapshot %s: the legs cannot be flushed: %s", request->name,
               errno_text (r));
    return r;
  }
  r = volume_make_snapshot (v, request, &index, &why);
  if (r == 0)
    r = volume_publish_snapshot (v, index, SNAPSHOT_VALID, &why);
  if (r < 0)
    return say (&why, r);
  log_info ("snapshot %s: taken", request->name);
  return 0;
}

/* True if SPEC asks for a snapshot that there is not. */
static bool
is_new_snapshot (struct volume *v, const char *name)
{
  int index = volume_find_record (v, name);

  return index < 0 || v->records->snapshots[index].state == SNAPSHOT_CREATING;
}

/* There is something of the name: say so if nobody can open it. */
static void
tell_not_taken (struct volume *v, const char *name)
{
  int index = volume_find_record (v, name);

  if (index < 0)
    return;
  if (v->records->snapshots[index].state == SNAPSHOT_INVALID)
    log_warning ("snapshot=%s: is not taken: there is one of that name, which "
                 "is invalid; give that up with discard-snapshot=%s",
                 name, name);
  else if (v->records->snapshots[index].state == SNAPSHOT_MERGING)
    log_warning ("snapshot=%s: is not taken: the volume is still being rolled "
                 "back to an old one of that name; take it when that is done",
                 name);
  else if (v->records->snapshots[index].state == SNAPSHOT_REMOVING)
    log_warning ("snapshot=%s: is not taken: an old one of that name is still "
                 "being removed; take it when that is done, or take another "
                 "name",
                 name);
}

/* Check what SPEC asks for.  *HAS_CHANGED: there will be other snapshots. */
static int
check_new_snapshots (struct volume *v, const struct volume_spec *spec,
                     bool *has_changed)
{
  unsigned i;

  for (i = 0; i < spec->snapshot_count; ++i) {
    const struct volume_snapshot_request request = {
      .name = spec->snapshots[i]
    };
    struct volume_why why;
    int r;

    if (!is_new_snapshot (v, spec->snapshots[i]) &&
        !is_discarded (spec, spec->snapshots[i])) {
      tell_not_taken (v, spec->snapshots[i]);
      continue;
    }
    r = volume_check_new_snapshot (v, &request, &why);
    if (r < 0)
      return say (&why, r);
    *has_changed = true;
  }
  return 0;
}

int
volume_open_snapshots (struct volume *v, const struct volume_spec *spec)
{
  struct volume_spec keep_all = *spec;
  bool has_changed = spec->discard_count > 0;
  unsigned i;
  int r;

  v->chunk_bytes = spec->chunk_bytes;
  v->cow_bytes = spec->cow_bytes;
  v->on_cow_error = spec->on_cow_error;
  v->records = v->manifest != NULL ? v->manifest : manifest_new ();
  if (v->records == NULL)
    return -ENOMEM;
  if (v->dir != NULL)
    volume_find_stores (v);
  /* It was not rolled back to; what older ones need of it is handed down.  On
   * disk one word is as good as the other.
   */
  for (i = 0; i < v->records->snapshot_count; ++i)
    if (v->records->snapshots[i].state == SNAPSHOT_STAGING)
      v->records->snapshots[i].state = SNAPSHOT_REMOVING;
  r = check_discards (v, spec);
  if (r == 0)
    r = check_new_snapshots (v, spec, &has_changed);
  if (r < 0)
    return r;
  r = open_chain (v, spec);
  if (r < 0 || !has_changed)
    return r;
  if (v->is_read_only) {
    log_error ("snapshots cannot be discarded: %s", v->read_only_reason);
    return -EROFS;
  }

  /* All that exists is good: now it may be changed, and opened again.  While
   * the volume is being rolled back, a new snapshot freezes what is in that
   * store, too.
   */
  r = v->merging != NULL ? snapshot_settle (v->merging) : 0;
  volume_close_snapshots (v);
  if (r == 0)
    r = discard_snapshots (v, spec);
  for (i = 0; r == 0 && i < spec->snapshot_count; ++i) {
    const struct volume_snapshot_request request = {
      .name = spec->snapshots[i]
    };

    if (is_new_snapshot (v, spec->snapshots[i]))
      r = take_snapshot (v, &request);
  }
  keep_all.discard_count = 0;
  return r < 0 ? r : open_chain (v, &keep_all);
}

/*----- starting and stopping -------------------------------------------*/

/* Flush the legs, whose data snapshots show too. */
static int
settle_legs (struct volume *v)
{
  int r = target_flush (mirror_target (v->mirror));

  if (r < 0)
    log_error ("the legs cannot be flushed, of which snapshots show what they "
               "have: %s",
               errno_text (r));
  return r;
}

int
volume_start_snapshots (struct volume *v)
{
  bool has_snapshots = false;
  unsigned i;
  int r;

  if (v->merging != NULL) {
    r = snapshot_settle (v->merging);
    if (r < 0)
      return r;
  }
  for (i = 0; i < v->records->snapshot_count; ++i) {
    if (v->snapshots[i] == NULL)
      continue;
    has_snapshots = true;
    r = snapshot_settle (v->snapshots[i]);
    if (r < 0)
      return r;
  }
  if (!has_snapshots)
    return 0;
  r = settle_legs (v);
  return r < 0 ? r : volume_start_copying (v);
}

int
volume_start_copying (struct volume *v)
{
  unsigned i;
  int r;

  if (v->kcopyd != NULL)
    return 0;
  r = kcopyd_client_create (SNAPSHOT_PAGES, &v->kcopyd);
  if (r < 0) {
    log_error ("the copying of snapshots cannot be started: %s",
               errno_text (r));
    return r;
  }
  for (i = 0; i < v->records->snapshot_count; ++i)
    if (v->snapshots[i] != NULL)
      snapshot_set_kcopyd (v->snapshots[i], v->kcopyd);
  return 0;
}

void
volume_stop_copying (struct volume *v)
{
  kcopyd_client_destroy (v->kcopyd);
  v->kcopyd = NULL;
}
