/* Making snapshots, and taking away what is left of them: durable steps.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A snapshot is made in three durable steps: the manifest says that it is
 * being created; the store is made; the manifest says that it is valid.  It
 * goes in three: the manifest says that its store is worth nothing; the store
 * is removed; the manifest forgets it.  What a crash, or a step that failed,
 * leaves in between is removed in the background, or by the next call.
 *
 * Without a folder the records are in memory only, and the same steps write
 * nothing; the store is a temporary file, which comes and goes with the
 * snapshot that is opened on it (temp-store.c).
 *
 * Locks: the caller has admin_lock, or is alone.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "clock.h"
#include "exception-store.h"
#include "log-sink.h"
#include "volume-impl.h"

#define STORE_NAME_BYTES (SNAPSHOT_NAME_MAX + sizeof MANIFEST_STORE_SUFFIX)

/*----- records ---------------------------------------------------------*/

int
volume_save_records (struct volume *v)
{
  return v->manifest != NULL ? volume_save_manifest (v) : 0;
}

bool
volume_is_transient (const struct volume *v)
{
  return v->dir == NULL;
}

int
volume_why_not_saved (const struct volume *v, const char *name, int r,
                      struct volume_why *why)
{
  if (volume_is_transient (v))
    return volume_why (why, r, "snapshot %s: cannot be changed: %s", name,
                       errno_text (r));
  return volume_why (why, r,
                     "snapshot %s: %s/%s cannot be written: %s; check the "
                     "mode and owner of the folder, and its space",
                     name, meta_dir_path (v->dir), MANIFEST_FILE,
                     errno_text (r));
}

int
volume_find_record (struct volume *v, const char *name)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  return manifest_find_snapshot (v->records, name);
}

int
volume_find_state (struct volume *v, enum manifest_snapshot_state state)
{
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  for (i = 0; i < v->records->snapshot_count; ++i)
    if (v->records->snapshots[i].state == state)
      return (int) i;
  return -1;
}

enum manifest_snapshot_state
volume_record_state (struct volume *v, unsigned index)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  return v->records->snapshots[index].state;
}

int
volume_set_record_state (struct volume *v, unsigned index,
                         enum manifest_snapshot_state state, const char *reason)
{
  struct manifest_snapshot *record;
  enum manifest_snapshot_state old_state;
  char *old_reason;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  record = &v->records->snapshots[index];
  old_state = record->state;
  old_reason = record->reason;
  record->reason = NULL;
  r = manifest_set_text (&record->reason, reason);
  if (r == 0) {
    record->state = state;
    r = volume_save_records (v);
  }
  if (r < 0) { /* as it was */
    record->state = old_state;
    free (record->reason);
    record->reason = old_reason;
    return r;
  }
  free (old_reason);
  return 0;
}

void
volume_set_snapshot (struct volume *v, unsigned index,
                     struct snapshot *snapshot)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->chain_lock);
  v->snapshots[index] = snapshot;
  v->chain_length = MAX_OF (v->chain_length, index + 1);
}

/* Take a record out, in memory: there is no snapshot any more. */
static void
forget_record (struct volume *v, unsigned index)
{
  unsigned count = v->records->snapshot_count - 1;

  manifest_remove_snapshot (v->records, index);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->chain_lock);
  memmove (&v->snapshots[index], &v->snapshots[index + 1],
           (count - index) * sizeof v->snapshots[0]);
  v->snapshots[count] = NULL;
  v->chain_length = MIN_OF (v->chain_length, count);
}

/*----- what was asked for ----------------------------------------------*/

/* The file that the store of snapshot NAME is to be. */
static void
format_store_name (const char *name, char store[STORE_NAME_BYTES])
{
  (void) snprintf (store, STORE_NAME_BYTES, "%s" MANIFEST_STORE_SUFFIX, name);
}

int
volume_check_store_name (struct volume *v, const char *name,
                         struct volume_why *why)
{
  char store[STORE_NAME_BYTES];
  int owner;

  if (volume_is_transient (v))
    return 0;
  format_store_name (name, store);
  owner = manifest_find_store (v->records, store);
  /* A file of ours, from before a crash, is in the manifest. */
  if (owner >= 0 && strcmp (v->records->snapshots[owner].name, name) == 0)
    return 0;
  if (owner >= 0)
    (void) volume_settle_store_name (v, (unsigned) owner);
  /* It is removed with its owner, so it must not be another's, too, even if
   * somebody else has taken it away.
   */
  owner = manifest_find_store (v->records, store);
  if (owner >= 0)
    return volume_why (why, -EEXIST,
                       "snapshot %s: %s/%s is the store of snapshot %s, and "
                       "cannot be renamed; take another name",
                       name, meta_dir_path (v->dir), store,
                       v->records->snapshots[owner].name);
  if (!meta_dir_has_file (v->dir, store))
    return 0;
  return volume_why (why, -EEXIST,
                     "snapshot %s: %s/%s exists, but is not of this "
                     "snapshot; move it away, or take another name",
                     name, meta_dir_path (v->dir), store);
}

/* Give the file that STORE of a record is its new name, durably. */
static int
rename_store (struct volume *v, const char *store, const char *new_store)
{
  bool has_new = meta_dir_has_file (v->dir, new_store);

  if (!has_new)
    return meta_dir_rename_file (v->dir, store, new_store);
  /* It may have been renamed, but not durably: until that is so, the record
   * must keep the old name, by which it is found after a crash.
   */
  return meta_dir_has_file (v->dir, store) ? -EEXIST : meta_dir_sync (v->dir);
}

int
volume_settle_store_name (struct volume *v, unsigned index)
{
  struct manifest_snapshot *record = &v->records->snapshots[index];
  char store[STORE_NAME_BYTES];
  char *copy, *old;
  int r;

  if (volume_is_transient (v))
    return 0;
  format_store_name (record->name, store);
  if (strcmp (record->store, store) == 0)
    return 0;
  copy = strdup (store);
  r = copy == NULL ? -ENOMEM : rename_store (v, record->store, store);
  if (r < 0) {
    log_warning ("snapshot %s: its store keeps the name %s: %s", record->name,
                 record->store, errno_text (r));
    free (copy);
    return r;
  }
  /* A record that cannot be saved now finds it, too: volume_find_stores. */
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  old = record->store;
  record->store = copy;
  free (old);
  return volume_save_records (v);
}

void
volume_find_stores (struct volume *v)
{
  unsigned i;

  for (i = 0; i < v->records->snapshot_count; ++i) {
    struct manifest_snapshot *record = &v->records->snapshots[i];
    char store[STORE_NAME_BYTES];
    char *copy;

    format_store_name (record->name, store);
    if (meta_dir_has_file (v->dir, record->store) ||
        !meta_dir_has_file (v->dir, store) ||
        manifest_find_store (v->records, store) >= 0)
      continue;
    copy = strdup (store);
    if (copy == NULL)
      continue; /* then it is not found, and that is said */
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
    free (record->store);
    record->store = copy;
  }
}

static uint64_t
chunk_bytes_of (const struct volume *v,
                const struct volume_snapshot_request *request)
{
  return request->chunk_bytes != 0 ? request->chunk_bytes : v->chunk_bytes;
}

/* The size of a new store in bytes. */
static int
store_bytes (const struct volume *v,
             const struct volume_snapshot_request *request, uint64_t *bytes,
             struct volume_why *why)
{
  uint64_t chunk_bytes = chunk_bytes_of (v, request);
  uint64_t cow_bytes = request->cow_bytes != 0 ? request->cow_bytes
                                               : v->cow_bytes;
  enum exception_store_kind kind = volume_is_transient (v) ? STORE_TRANSIENT
                                                           : STORE_PERSISTENT;
  sector_t chunk = chunk_bytes >> SECTOR_SHIFT;
  sector_t volume = mirror_target (v->mirror)->sectors;
  sector_t full = exception_store_full_size (kind, volume, chunk);
  uint64_t least = sector_to_bytes (exception_store_min_size (kind, chunk));

  if (cow_bytes == 0) {
    if (full > SECTOR_MAX)
      return volume_why (why, -EFBIG,
                         "snapshot %s: a store for all of the volume would be "
                         "too large for a file; give cow-size=",
                         request->name);
    *bytes = sector_to_bytes (full);
    return 0;
  }
  if (cow_bytes < least)
    return volume_why (why, -EINVAL,
                       "snapshot %s: cow-size=%" PRIu64 " is too small for "
                       "chunks of %" PRIu64 " bytes; give at least %" PRIu64,
                       request->name, cow_bytes, chunk_bytes, least);
  *bytes = cow_bytes - cow_bytes % SECTOR_SIZE;
  return 0;
}

static int
check_chunk (const struct volume_snapshot_request *request,
             struct volume_why *why)
{
  if (request->chunk_bytes == 0)
    return 0;
  if (is_power_of_2 (request->chunk_bytes) &&
      request->chunk_bytes >= VOLUME_MIN_CHUNK_BYTES &&
      request->chunk_bytes <= VOLUME_MAX_CHUNK_BYTES)
    return 0;
  return volume_why (why, -EINVAL,
                     "snapshot %s: a chunk of %" PRIu64 " bytes is not a power "
                     "of two from %u to %u",
                     request->name, request->chunk_bytes,
                     VOLUME_MIN_CHUNK_BYTES, (unsigned) VOLUME_MAX_CHUNK_BYTES);
}

int
volume_check_new_snapshot (struct volume *v,
                           const struct volume_snapshot_request *request,
                           struct volume_why *why)
{
  const char *name = request->name;
  char quote[LOG_QUOTE_BYTES];
  uint64_t bytes;
  int r;

  if (!snapshot_name_is_valid (name))
    return volume_why (why, -EINVAL,
                       "snapshot '%s': is not a name for a snapshot; use "
                       "letters, digits, '_', '-' and '.', at most %d, not "
                       "'.' or '-' first, and no '..'",
                       log_quote (name, quote), SNAPSHOT_NAME_MAX);
  if (v->is_read_only)
    return volume_why (why, -EROFS, "snapshot %s: cannot be taken: %s", name,
                       v->read_only_reason);
  r = check_chunk (request, why);
  if (r < 0)
    return r;
  if (v->records->snapshot_count >= MANIFEST_MAX_SNAPSHOTS)
    return volume_why (why, -E2BIG,
                       "snapshot %s: there are %d snapshots already; remove "
                       "some",
                       name, MANIFEST_MAX_SNAPSHOTS);
  r = volume_check_store_name (v, name, why);
  if (r < 0)
    return r;
  return store_bytes (v, request, &bytes, why);
}

/*----- making ----------------------------------------------------------*/

/* Step one: the manifest says that the snapshot is being created. */
static int
announce (struct volume *v, const struct volume_snapshot_request *request,
          uint64_t bytes)
{
  char store[STORE_NAME_BYTES];
  char created[CLOCK_RFC3339_BYTES];
  struct manifest_snapshot *s;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  s = manifest_add_snapshot (v->records);
  if (s == NULL)
    return -ENOMEM;
  format_store_name (request->name, store);
  clock_format_rfc3339 (clock_wall_seconds (), created);
  s->state = SNAPSHOT_CREATING;
  s->chunk_bytes = chunk_bytes_of (v, request);
  s->is_read_only = request->is_read_only;
  r = manifest_set_text (&s->name, request->name);
  if (volume_is_transient (v))
    s->transient_bytes = bytes;
  else if (r == 0)
    r = manifest_set_text (&s->store, store);
  if (r == 0)
    r = manifest_set_text (&s->created, created);
  if (r == 0)
    r = volume_save_records (v);
  /* What a save that failed has left means nothing, and has no file. */
  if (r < 0)
    forget_record (v, v->records->snapshot_count - 1);
  return r;
}

/* Step two: the store.  A transient one is made when it is opened. */
static int
make_store (struct volume *v, const struct manifest_snapshot *s, uint64_t bytes,
            struct volume_why *why)
{
  struct block_device *cow;
  int r;

  if (volume_is_transient (v))
    return 0;
  r = meta_dir_create_store (v->dir, s->store, bytes, &cow);
  if (r == 0) {
    r = exception_store_format (cow, s->chunk_bytes >> SECTOR_SHIFT);
    bdev_close (cow);
  }
  if (r < 0)
    return volume_why (why, r,
                       "snapshot %s: %s/%s cannot be created: %s; make room, "
                       "or give a smaller cow-size=",
                       s->name, meta_dir_path (v->dir), s->store,
                       errno_text (r));
  return 0;
}

int
volume_make_snapshot (struct volume *v,
                      const struct volume_snapshot_request *request,
                      unsigned *index, struct volume_why *why)
{
  struct volume_why second;
  uint64_t bytes;
  int r = store_bytes (v, request, &bytes, why);

  if (r < 0)
    return r;
  r = announce (v, request, bytes);
  if (r < 0)
    return volume_why_not_saved (v, request->name, r, why);
  *index = v->records->snapshot_count - 1;
  r = make_store (v, &v->records->snapshots[*index], bytes, why);
  if (r < 0)
    (void) volume_remove_unfinished (v, &second);
  return r;
}

int
volume_publish_snapshot (struct volume *v, unsigned index,
                         enum manifest_snapshot_state state,
                         struct volume_why *why)
{
  const char *name = v->records->snapshots[index].name;
  /* The point of no return. */
  int r = volume_set_record_state (v, index, state, NULL);

  if (r < 0)
    return volume_why_not_saved (v, name, r, why);
  if (volume_is_transient (v))
    log_warning ("snapshot %s: is transient, without meta=DIR: it will be gone "
                 "when the server has ended",
                 name);
  return 0;
}

/*----- removing --------------------------------------------------------*/

/* The record says the same on disk as here: a save that has failed may have
 * left another one, which needs the store.
 */
static int
save_again (struct volume *v, const char *name, struct volume_why *why)
{
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  r = volume_save_records (v);
  return r < 0 ? volume_why_not_saved (v, name, r, why) : 0;
}

/* A transient one goes when it is closed. */
static int
remove_store (struct volume *v, const struct manifest_snapshot *s,
              struct volume_why *why)
{
  int r;

  if (volume_is_transient (v))
    return 0;
  volume_find_stores (v);
  r = meta_dir_remove_file (v->dir, s->store);
  if (r < 0)
    return volume_why (why, r,
                       "snapshot %s: %s/%s cannot be removed: %s; check the "
                       "mode and owner of the folder",
                       s->name, meta_dir_path (v->dir), s->store,
                       errno_text (r));
  return 0;
}

static int
remove_record (struct volume *v, unsigned index, struct volume_why *why)
{
  struct manifest_snapshot *record = &v->records->snapshots[index];
  char name[SNAPSHOT_NAME_MAX + 1];
  bool is_going = record->is_going;
  int r = remove_store (v, record, why);

  if (r < 0)
    return r;
  (void) snprintf (name, sizeof name, "%s", record->name);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  forget_record (v, index);
  r = volume_save_records (v);
  if (is_going) /* whatever the save says: the name is free */
    volume_note_snapshot (v, EVENT_SNAPSHOT_GONE, name, NULL);
  if (r == 0)
    return 0;
  /* It is there on disk, without a store: that will be removed again. */
  return volume_why (why, r, "%s/%s: cannot be written: %s",
                     meta_dir_path (v->dir), MANIFEST_FILE, errno_text (r));
}

int
volume_remove_unfinished (struct volume *v, struct volume_why *why)
{
  bool is_saved = false;
  unsigned i = 0;
  int r = 0;

  while (r == 0 && i < v->records->snapshot_count) {
    if (volume_record_state (v, i) != SNAPSHOT_CREATING) {
      i++;
      continue;
    }
    if (!is_saved)
      r = save_again (v, v->records->snapshots[i].name, why);
    is_saved = true;
    if (r == 0)
      r = remove_record (v, i, why);
  }
  return r;
}
