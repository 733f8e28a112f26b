/* The snapshots of a volume: opening, discarding and taking them at start.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The order: everything that exists is opened and checked before anything
 * is changed.  A snapshot is taken in three durable steps: the manifest
 * says that it is being created; the store is made; the manifest says that
 * it is valid.  What a crash leaves after the first is made anew.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "exception-store.h"
#include "log-sink.h"
#include "volume-impl.h"

#define STORE_SUFFIX ".cow"
#define STORE_NAME_BYTES (SNAPSHOT_NAME_MAX + sizeof STORE_SUFFIX)

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
check_discards (const struct volume *v, const struct volume_spec *spec)
{
  bool older_is_kept = false;
  const char *older = NULL;
  unsigned i;

  for (i = 0; i < spec->discard_count; ++i) {
    if (v->manifest == NULL ||
        manifest_find_snapshot (v->manifest, spec->discards[i]) < 0)
      log_warning ("discard-snapshot=%s: there is no such snapshot",
                   spec->discards[i]);
  }
  for (i = 0; v->manifest != NULL && i < v->manifest->snapshot_count; ++i) {
    const struct manifest_snapshot *s = &v->manifest->snapshots[i];

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

/* The size of a new store in bytes, or 0 after saying what is wrong. */
static uint64_t
store_bytes (const struct volume *v, const struct volume_spec *spec,
             const char *name)
{
  sector_t chunk = spec->chunk_bytes >> SECTOR_SHIFT;
  sector_t volume = mirror_target (v->mirror)->sectors;
  sector_t full = exception_store_full_size (volume, chunk);
  uint64_t least = sector_to_bytes (exception_store_min_size (chunk));

  if (spec->cow_bytes == 0) {
    if (full <= SECTOR_MAX)
      return sector_to_bytes (full);
    log_error ("snapshot %s: a store for all of the volume would be too "
               "large for a file; give cow-size=",
               name);
    return 0;
  }
  if (spec->cow_bytes < least) {
    log_error ("snapshot %s: cow-size=%" PRIu64 " is too small for chunks "
               "of %" PRIu64 " bytes; give at least %" PRIu64,
               name, spec->cow_bytes, spec->chunk_bytes, least);
    return 0;
  }
  return spec->cow_bytes - spec->cow_bytes % SECTOR_SIZE;
}

/* The file that the store of snapshot NAME is to be. */
static void
format_store_name (const char *name, char store[STORE_NAME_BYTES])
{
  (void) snprintf (store, STORE_NAME_BYTES, "%s%s", name, STORE_SUFFIX);
}

static int
check_new_snapshot (const struct volume *v, const struct volume_spec *spec,
                    const char *name)
{
  char store[STORE_NAME_BYTES];

  if (v->manifest == NULL) {
    log_error ("snapshot %s: a snapshot must be kept somewhere; give a "
               "folder with meta=DIR",
               name);
    return -EINVAL;
  }
  if (v->is_read_only) {
    log_error ("snapshot %s: cannot be taken: %s", name, v->read_only_reason);
    return -EROFS;
  }
  if (v->manifest->snapshot_count >= MANIFEST_MAX_SNAPSHOTS) {
    log_error ("snapshot %s: there are %d snapshots already; discard some",
               name, MANIFEST_MAX_SNAPSHOTS);
    return -E2BIG;
  }
  /* A file of ours, from before a crash, is in the manifest. */
  format_store_name (name, store);
  if (meta_dir_has_file (v->dir, store) &&
      manifest_find_snapshot (v->manifest, name) < 0) {
    log_error ("snapshot %s: %s/%s exists, but is not of this volume; move "
               "it away",
               name, meta_dir_path (v->dir), store);
    return -EEXIST;
  }
  return store_bytes (v, spec, name) > 0 ? 0 : -EINVAL;
}

/*----- opening ---------------------------------------------------------*/

static int
snapshot_broken (void *opaque, struct snapshot *snapshot, const char *reason)
{
  struct volume *v = opaque;
  struct manifest_snapshot *s;
  char *old_reason;
  int index, r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  index = manifest_find_snapshot (v->manifest, snapshot_name (snapshot));
  if (index < 0)
    return -ENOENT;
  s = &v->manifest->snapshots[index];
  old_reason = s->reason;
  s->reason = NULL;
  r = manifest_set_text (&s->reason, reason);
  if (r == 0) {
    s->state = SNAPSHOT_INVALID;
    r = volume_save_manifest (v);
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

/* Open snapshot S, whose next newer device is ORIGIN. */
static int
open_snapshot (struct volume *v, const struct volume_spec *spec,
               const struct manifest_snapshot *s, struct target *origin,
               struct snapshot **snapshot)
{
  struct snapshot_params params = {
    .name = s->name,
    .is_valid = s->state == SNAPSHOT_VALID,
    .is_read_only = s->is_read_only,
    .on_cow_error = spec->on_cow_error,
    .broken = snapshot_broken,
    .opaque = v,
    .origin = origin,
  };
  struct snapshot_status status;
  int r = meta_dir_open_store (v->dir, s->store, &params.cow);

  if (r < 0) {
    log_error (
      "snapshot %s: its store %s/%s cannot be opened: %s; check its mode and "
      "owner, restore the file from a copy, or give the snapshot up with "
      "discard-snapshot=%s",
      s->name, meta_dir_path (v->dir), s->store, errno_text (r), s->name);
    return r;
  }
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
  if (!snapshot_is_valid (*snapshot) && s->state == SNAPSHOT_VALID)
    log_warning ("snapshot %s: its store is marked invalid", s->name);
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

/* Put a snapshot at the old end of the chain. */
static void
append_to_chain (struct volume *v, struct snapshot *snapshot,
                 struct snapshot **last)
{
  if (snapshot == NULL)
    return;
  if (*last == NULL)
    origin_set_snapshot (v->origin, snapshot);
  else
    snapshot_set_below (*last, snapshot);
  *last = snapshot;
}

/* Open what is in the manifest and not discarded, newest first. */
static int
open_chain (struct volume *v, const struct volume_spec *spec)
{
  const struct manifest *m = v->manifest;
  struct target *origin = mirror_target (v->mirror);
  struct snapshot *last = NULL;
  unsigned i;

  v->snapshots = calloc (m->snapshot_count + 1, sizeof v->snapshots[0]);
  if (v->snapshots == NULL)
    return -ENOMEM;
  for (i = m->snapshot_count; i-- > 0;) {
    const struct manifest_snapshot *s = &m->snapshots[i];
    struct snapshot *snapshot = NULL;
    int r;

    if (!is_discarded (spec, s->name) && s->state != SNAPSHOT_CREATING &&
        (s->state == SNAPSHOT_VALID || is_needed_by_older (m, spec, i))) {
      r = open_snapshot (v, spec, s, origin, &snapshot);
      if (r < 0)
        return r;
      origin = snapshot_view (snapshot);
    }
    append_to_chain (v, snapshot, &last);
    v->snapshots[v->snapshot_count++] = snapshot;
  }
  return 0;
}

void
volume_close_snapshots (struct volume *v)
{
  origin_set_snapshot (v->origin, NULL);
  /* Oldest first: each reads the next newer one. */
  while (v->snapshot_count > 0)
    snapshot_close (v->snapshots[--v->snapshot_count]);
  free (v->snapshots);
  v->snapshots = NULL;
}

/*----- changing --------------------------------------------------------*/

/* Remove what is half made or half discarded: the store, and then its
 * entry.  After a crash in between this is done again.
 */
static int
remove_unfinished (struct volume *v)
{
  unsigned i = 0;
  int r;

  while (i < v->manifest->snapshot_count) {
    struct manifest_snapshot *s = &v->manifest->snapshots[i];

    if (s->state != SNAPSHOT_CREATING) {
      i++;
      continue;
    }
    r = meta_dir_remove_file (v->dir, s->store);
    if (r < 0) {
      log_error ("snapshot %s: %s/%s cannot be removed: %s; check the mode "
                 "and owner of the folder",
                 s->name, meta_dir_path (v->dir), s->store, errno_text (r));
      return r;
    }
    manifest_remove_snapshot (v->manifest, i);
    r = volume_save_manifest (v);
    if (r < 0)
      return r;
  }
  return 0;
}

/* Mark what is discarded as unfinished, durably; then it is removed. */
static int
discard_snapshots (struct volume *v, const struct volume_spec *spec)
{
  unsigned i;
  int r;

  for (i = 0; i < spec->discard_count; ++i) {
    int index = manifest_find_snapshot (v->manifest, spec->discards[i]);

    if (index >= 0)
      v->manifest->snapshots[index].state = SNAPSHOT_CREATING;
  }
  r = volume_save_manifest (v);
  if (r < 0) {
    log_error ("%s/%s: cannot be written: %s; check the mode and owner of "
               "the folder, and its space",
               meta_dir_path (v->dir), MANIFEST_FILE, errno_text (r));
    return r;
  }
  return remove_unfinished (v);
}

/* Step one: the manifest says that the snapshot is being created. */
static int
announce_snapshot (struct volume *v, const struct volume_spec *spec,
                   const char *name, unsigned *index)
{
  char store[STORE_NAME_BYTES];
  char created[CLOCK_RFC3339_BYTES];
  struct manifest_snapshot *s = manifest_add_snapshot (v->manifest);
  int r;

  if (s == NULL)
    return -ENOMEM;
  *index = v->manifest->snapshot_count - 1;
  format_store_name (name, store);
  clock_format_rfc3339 (clock_wall_seconds (), created);
  s->state = SNAPSHOT_CREATING;
  s->chunk_bytes = spec->chunk_bytes;
  r = manifest_set_text (&s->name, name);
  if (r == 0)
    r = manifest_set_text (&s->store, store);
  if (r == 0)
    r = manifest_set_text (&s->created, created);
  if (r == 0)
    r = volume_save_manifest (v);
  return r;
}

/* Step two: the store. */
static int
make_store (struct volume *v, const struct volume_spec *spec,
            const struct manifest_snapshot *s)
{
  struct block_device *cow;
  int r = meta_dir_create_store (v->dir, s->store,
                                 store_bytes (v, spec, s->name), &cow);

  if (r == 0) {
    r = exception_store_format (cow, spec->chunk_bytes >> SECTOR_SHIFT);
    bdev_close (cow);
    if (r < 0)
      (void) meta_dir_remove_file (v->dir, s->store);
  }
  if (r < 0)
    log_error ("snapshot %s: %s/%s cannot be created: %s; make room, or give "
               "a smaller cow-size=",
               s->name, meta_dir_path (v->dir), s->store, errno_text (r));
  return r;
}

static int
take_snapshot (struct volume *v, const struct volume_spec *spec,
               const char *name)
{
  unsigned index;
  int r;

  /* What clients were told is written must be in the snapshot even if
   * the power fails.
   */
  r = target_flush (mirror_target (v->mirror));
  if (r < 0) {
    log_error ("snapshot %s: the legs cannot be flushed: %s", name,
               errno_text (r));
    return r;
  }
  r = announce_snapshot (v, spec, name, &index);
  if (r < 0) {
    log_error ("snapshot %s: %s/%s cannot be written: %s", name,
               meta_dir_path (v->dir), MANIFEST_FILE, errno_text (r));
    return r;
  }
  r = make_store (v, spec, &v->manifest->snapshots[index]);
  if (r < 0) {
    manifest_remove_snapshot (v->manifest, index);
    (void) volume_save_manifest (v);
    return r;
  }
  /* Step three, the point of no return. */
  v->manifest->snapshots[index].state = SNAPSHOT_VALID;
  r = volume_save_manifest (v);
  if (r < 0)
    log_error ("snapshot %s: %s/%s cannot be written: %s", name,
               meta_dir_path (v->dir), MANIFEST_FILE, errno_text (r));
  else
    log_info ("snapshot %s: taken", name);
  return r;
}

/* True if SPEC asks for a snapshot that there is not. */
static bool
is_new_snapshot (const struct volume *v, const char *name)
{
  int index;

  if (v->manifest == NULL)
    return true;
  index = manifest_find_snapshot (v->manifest, name);
  return index < 0 || v->manifest->snapshots[index].state == SNAPSHOT_CREATING;
}

int
volume_open_snapshots (struct volume *v, const struct volume_spec *spec)
{
  struct volume_spec keep_all = *spec;
  bool has_changed = spec->discard_count > 0;
  unsigned i;
  int r = check_discards (v, spec);

  if (r < 0)
    return r;
  for (i = 0; i < spec->snapshot_count; ++i) {
    if (!is_new_snapshot (v, spec->snapshots[i]) &&
        !is_discarded (spec, spec->snapshots[i]))
      continue;
    r = check_new_snapshot (v, spec, spec->snapshots[i]);
    if (r < 0)
      return r;
    has_changed = true;
  }
  if (v->manifest == NULL)
    return 0;
  r = open_chain (v, spec);
  if (r < 0 || !has_changed)
    return r;
  if (v->is_read_only) {
    log_error ("snapshots cannot be discarded: %s", v->read_only_reason);
    return -EROFS;
  }

  /* All that exists is good: now it may be changed, and opened again. */
  volume_close_snapshots (v);
  r = discard_snapshots (v, spec);
  for (i = 0; r == 0 && i < spec->snapshot_count; ++i)
    if (is_new_snapshot (v, spec->snapshots[i]))
      r = take_snapshot (v, spec, spec->snapshots[i]);
  keep_all.discard_count = 0;
  return r < 0 ? r : open_chain (v, &keep_all);
}
