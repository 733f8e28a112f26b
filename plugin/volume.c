/* The volume: the named devices that clients open.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * States:
 *   OPEN    -> STARTED [volume_start]: the manifest says "not clean"
 *   STARTED -> OPEN    [volume_stop]: and "clean" again, if all is well
 *
 * Invariant: while the manifest says that the volume is clean, nobody
 * writes to any leg.
 *
 * Locks: admin_lock, then start_lock, then those of mirror and snapshots, then
 * manifest_lock.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "log-sink.h"
#include "volume-impl.h"

int
volume_save_manifest (struct volume *v)
{
  int r;

  volume_settle_log (v);
  r = manifest_save (v->dir, v->manifest);
  /* One that could not be made durable may be there all the same. */
  if (r == 0 || meta_dir_has_file (v->dir, MANIFEST_FILE))
    v->is_recorded = true;
  if (r == 0 && v->must_save)
    volume_writes_go_on (v);
  return r;
}

/*----- what the mirror reports -----------------------------------------*/

unsigned
volume_first_in_sync (const struct manifest *m)
{
  unsigned i;

  for (i = 0; i < m->leg_count; ++i)
    if (m->legs[i].state == LEG_IN_SYNC)
      return i;
  return 0;
}

/* Make a leg's new state durable. */
static int
record_leg (struct volume *v, unsigned leg, enum leg_state state,
            const char *reason)
{
  struct manifest_leg *m;
  enum leg_state old_state;
  unsigned old_primary;
  char *old_reason;
  int r;

  if (v->manifest == NULL)
    return 0; /* nothing is remembered, as was said at the start */
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  if (state == LEG_ABSENT)
    return volume_record_no_leg (v, leg);
  if (state == LEG_RECOVERING && v->new_leg != NULL)
    return volume_record_new_leg (v, leg);
  leg = volume_manifest_leg (v, leg);
  m = &v->manifest->legs[leg];
  old_state = m->state;
  old_primary = v->manifest->primary;
  old_reason = m->reason;
  m->reason = NULL;
  r = manifest_set_text (&m->reason, reason);
  if (r == 0) {
    m->state = state;
    m->stamp[0] = '\0'; /* known again after an orderly stop */
    if (state == LEG_RECOVERING)
      v->manifest->is_resyncing = true;
    if (leg == old_primary && state != LEG_IN_SYNC)
      v->manifest->primary = volume_first_in_sync (v->manifest);
    r = volume_save_manifest (v);
  }
  if (r < 0) { /* as it was */
    m->state = old_state;
    v->manifest->primary = old_primary;
    free (m->reason);
    m->reason = old_reason;
    return r;
  }
  free (old_reason);
  return 0;
}

static int
leg_changed (void *opaque, unsigned leg, enum leg_state state,
             const char *reason)
{
  struct volume *v = opaque;
  int r = record_leg (v, leg, state, reason);

  if (r == 0)
    volume_note_leg (v, leg, state, reason);
  if (r == 0 && state == LEG_FAILED)
    volume_rejoin_later (v, leg);
  return r;
}

static int
resynced (void *opaque)
{
  struct volume *v = opaque;

  if (v->manifest == NULL)
    return 0;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  if (!v->manifest->is_resyncing)
    return 0;
  v->manifest->is_resyncing = false;
  return volume_save_manifest (v);
}

/*----- opening ---------------------------------------------------------*/

static int
say_folder_error (const char *path, int r)
{
  char quote[LOG_QUOTE_BYTES];

  log_quote (path, quote);
  switch (r) {
  case -EBUSY:
    log_error ("meta=%s: is in use by another server; stop that first, or "
               "give this volume a folder of its own",
               quote);
    break;
  case -ENOTDIR:
    log_error ("meta=%s: is not a folder; give a folder", quote);
    break;
  case -ENOENT:
    log_error ("meta=%s: the folder that it should be in does not exist; "
               "create that first",
               quote);
    break;
  case -EEXIST:
    log_error ("meta=%s: is a link to nothing; give a folder, or create "
               "what it points to",
               quote);
    break;
  default:
    log_error ("meta=%s: cannot be opened or created: %s; check the name, "
               "and the mode and owner of it and the folder that it is in",
               quote, errno_text (r));
  }
  return r;
}

/* Open the folder if it is there, and read the manifest if that is. */
static int
open_folder (struct volume *v, const char *path)
{
  int r = meta_dir_open (path, &v->dir);

  if (r == -ENOENT)
    return 0;
  if (r < 0)
    return say_folder_error (path, r);
  r = manifest_load (v->dir, &v->manifest);
  return r == -ENOENT ? 0 : r;
}

/* Create the folder, when all else has been found to be good. */
static int
create_folder (struct volume *v, const char *path)
{
  int r = meta_dir_create (path, &v->dir);

  return r < 0 ? say_folder_error (path, r) : 0;
}

/* The region size: the manifest's, if there is one. */
static int
decide_region_size (const struct volume *v, const struct volume_spec *spec,
                    uint64_t *region_bytes)
{
  *region_bytes = spec->region_bytes;
  if (v->manifest == NULL)
    return 0;
  if (spec->has_region_bytes &&
      spec->region_bytes != v->manifest->region_bytes) {
    log_error ("region-size=%" PRIu64 ": the volume has regions of %" PRIu64
               " bytes; leave region-size= out, or give that",
               spec->region_bytes, v->manifest->region_bytes);
    return -EINVAL;
  }
  *region_bytes = v->manifest->region_bytes;
  return 0;
}

/* Bring the manifest up to the legs as they are now, in memory. */
static int
update_manifest (struct volume *v, const struct volume_legs *legs,
                 uint64_t region_bytes)
{
  struct manifest *m = v->manifest;
  unsigned i;

  if (v->dir == NULL)
    return 0;
  if (m == NULL) {
    m = v->manifest = manifest_new ();
    if (m == NULL)
      return -ENOMEM;
  }
  m->size_bytes = legs->size_bytes;
  m->region_bytes = region_bytes;
  m->is_clean = legs->is_in_sync;
  for (i = legs->count; i < m->leg_count; ++i) {
    free (m->legs[i].spec);
    free (m->legs[i].identity);
    free (m->legs[i].reason);
    m->legs[i] = (struct manifest_leg){ 0 };
  }
  m->leg_count = legs->count;
  v->leg_numbers = (1U << legs->count) - 1;
  m->primary = legs->primary;
  for (i = 0; i < legs->count; ++i) {
    const struct volume_leg *leg = &legs->legs[i];

    m->legs[i].state = leg->state;
    if (leg->state == LEG_MISSING)
      strcpy (m->legs[i].stamp, leg->stamp);
    else
      /* A clean volume that is not written to until it stops stays so. */
      leg_file_stamp (leg->bdev, m->legs[i].stamp);
    if (manifest_set_text (&m->legs[i].spec, leg->absolute) < 0 ||
        manifest_set_text (&m->legs[i].identity, leg->identity) < 0 ||
        manifest_set_text (&m->legs[i].reason,
                           leg->missing_error < 0
                             ? errno_text (leg->missing_error)
                             : NULL) < 0)
      return -ENOMEM;
  }
  return 0;
}

static int
make_mirror (struct volume *v, const struct volume_spec *spec,
             struct volume_legs *legs, uint64_t region_bytes)
{
  struct mirror_params params = {
    .leg_count = legs->count,
    .primary = legs->primary,
    .sectors = legs->size_bytes >> SECTOR_SHIFT,
    .region_sectors = region_bytes >> SECTOR_SHIFT,
    .is_in_sync = legs->is_in_sync,
    .read_policy = spec->read_policy,
    .pace = v->pace,
    .leg_changed = leg_changed,
    .resynced = resynced,
    .note = volume_note,
    .log_failed = volume_log_failed,
    .opaque = v,
    .measures_legs = spec->control != NULL, /* else nobody can ask */
  };
  unsigned i;
  int r = volume_open_log (v, spec, legs, region_bytes, &params.log);

  if (r < 0)
    return r;
  for (i = 0; i < legs->count; ++i) {
    params.legs[i] = legs->legs[i].bdev;
    params.states[i] = legs->legs[i].state;
    params.is_write_mostly[i] = spec->legs[i].is_write_mostly;
    v->leg_offsets[i] = spec->legs[i].offset;
  }
  r = mirror_create (&params, &v->mirror);
  if (r < 0) {
    dirty_log_destroy (params.log);
    v->log = NULL;
    return r;
  }
  volume_look_begin (v);
  return 0;
}

static void
warn_of_forgetting (const struct volume_spec *spec,
                    const struct volume_legs *legs)
{
  if (spec->meta != NULL || legs->count == 1)
    return;
  if (spec->log_path != NULL && spec->sync == SYNC_AUTO) {
    log_warning ("without meta=DIR it is not remembered which leg has failed: "
                 "after a restart the first one is copied to the others where "
                 "the log is dirty");
    return;
  }
  log_warning ("without meta=DIR nothing is remembered: %s, and a leg that "
               "failed is trusted again after a restart",
               spec->sync == SYNC_NONE
                 ? "sync=none is believed at every start"
                 : "every start copies the first leg to all others");
}

static int
open_all (struct volume *v, const struct volume_spec *spec)
{
  struct volume_legs legs;
  uint64_t region_bytes;
  unsigned i;
  int r;

  if (spec->meta != NULL) {
    r = open_folder (v, spec->meta);
    if (r < 0)
      return r;
  }
  v->leg_options = volume_leg_options (spec);
  r = decide_region_size (v, spec, &region_bytes);
  if (r < 0)
    return r;
  r = volume_open_legs (spec, v->manifest, &legs);
  if (r < 0)
    return r;
  for (i = 0; i < legs.count; ++i) {
    if (legs.legs[i].is_read_only) {
      v->is_read_only = true;
      v->read_only_reason = "a leg cannot be written";
    }
  }
  if (spec->meta != NULL && v->dir == NULL) {
    r = create_folder (v, spec->meta);
    if (r < 0) {
      volume_abandon_legs (&legs);
      return r;
    }
  }
  if (v->dir != NULL && meta_dir_is_read_only (v->dir)) {
    v->is_read_only = true;
    v->read_only_reason = "the meta= folder cannot be written";
  }
  if (v->is_read_only)
    log_warning ("the volume is read-only: %s", v->read_only_reason);
  v->is_doubtful = v->dir != NULL &&
                   (v->manifest == NULL || !v->manifest->is_clean);
  r = make_mirror (v, spec, &legs, region_bytes);
  if (r == 0)
    r = update_manifest (v, &legs, region_bytes);
  if (r == 0)
    r = origin_create (mirror_target (v->mirror), &v->origin);
  if (r == 0) {
    warn_of_forgetting (spec, &legs);
    r = volume_open_snapshots (v, spec);
  }
  if (r == 0)
    volume_jobs_begin (v);
  if (r == 0)
    r = volume_make_devices (v);
  if (r < 0) {
    /* The mirror, once it is there, closes the legs itself. */
    if (v->mirror != NULL)
      volume_disown_legs (&legs);
    /* Legs that the manifest names already must stay. */
    if (v->is_recorded)
      volume_release_legs (&legs);
    else
      volume_abandon_legs (&legs);
    return r;
  }
  for (i = 0; i < legs.count; ++i) {
    v->leg_paths[i] = legs.legs[i].absolute;
    legs.legs[i].absolute = NULL;
    volume_set_leg_file (v, i);
  }
  volume_release_legs (&legs);
  return 0;
}

int
volume_open (const struct volume_spec *spec, struct volume **volume)
{
  struct volume *v = calloc (1, sizeof *v);
  int r;

  if (v == NULL)
    return -ENOMEM;
  mutex_init (&v->admin_lock);
  mutex_init (&v->rejoiner.lock);
  cond_init (&v->rejoiner.changed);
  mutex_init (&v->watcher.lock);
  cond_init (&v->watcher.wake);
  mutex_init (&v->start_lock);
  mutex_init (&v->manifest_lock);
  mutex_init (&v->device_lock);
  mutex_init (&v->chain_lock);
  list_init (&v->devices);
  mutex_init (&v->worker.lock);
  cond_init (&v->worker.changed);
  mutex_init (&v->look.lock);
  r = pace_create (spec->resync_rate, &v->pace);
  if (r < 0) { /* whoever closes a volume relies on it */
    free (v);
    return r;
  }
  pace_job_init (&v->worker.job, v->pace, VOLUME_REST_MAX_NS);
  pace_job_init (&v->restore_job, v->pace, VOLUME_REST_MAX_NS);
  r = events_create (&v->events);
  if (r == 0)
    r = open_all (v, spec);
  if (r < 0) {
    if (r == -ENOMEM)
      log_error ("out of memory");
    /* What was made for nothing goes again, the folder, too. */
    meta_dir_abandon (v->dir);
    v->dir = NULL;
    volume_close (v);
    return r;
  }
  *volume = v;
  return 0;
}

/*----- starting and stopping -------------------------------------------*/

static bool
needs_resync (struct volume *v)
{
  unsigned i;

  for (i = 0; i < v->manifest->leg_count; ++i)
    if (v->manifest->legs[i].state == LEG_RECOVERING)
      return true;
  return !mirror_is_clean (v->mirror);
}

/* Say in the manifest, durably, if the volume is clean. */
static int
record_clean (struct volume *v, bool is_clean)
{
  unsigned i;
  int r;

  if (v->manifest == NULL)
    return 0;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  v->manifest->is_clean = is_clean;
  if (!is_clean)
    v->manifest->generation++;
  v->manifest->is_resyncing = needs_resync (v);
  for (i = 0; i < v->manifest->leg_count; ++i) {
    struct manifest_leg *leg = &v->manifest->legs[i];

    /* One that is in use changes all the time; one that is missing has been
     * left alone, unless it has another one when it comes back.
     */
    if (leg->state != LEG_MISSING)
      leg->stamp[0] = '\0';
    if (leg->state != LEG_MISSING && is_clean)
      leg_file_stamp (mirror_leg_bdev (v->mirror, volume_mirror_leg (v, i)),
                      leg->stamp);
  }
  r = volume_save_manifest (v);
  if (r < 0)
    log_error ("%s/%s: cannot be written: %s", meta_dir_path (v->dir),
               MANIFEST_FILE, errno_text (r));
  return r;
}

int
volume_start (struct volume *volume)
{
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&volume->start_lock);
  if (volume->is_started)
    return 0;
  if (volume->is_read_only)
    return -EROFS;
  r = record_clean (volume, false);
  if (r < 0)
    return r;
  r = volume_start_snapshots (volume);
  if (r < 0)
    return r;
  r = mirror_start_resync (volume->mirror);
  if (r < 0)
    log_error ("the resync cannot be started: %s", errno_text (r));
  else {
    r = mirror_start_repair (volume->mirror);
    if (r < 0) {
      log_error ("read repair cannot be started: %s", errno_text (r));
      mirror_stop_resync (volume->mirror);
    }
  }
  if (r < 0) {
    volume_stop_copying (volume);
    return r;
  }
  (void) volume_start_rejoin (volume); /* has said why not */
  volume->is_started = true;
  r = volume_resume_snapshots (volume);
  if (r < 0)
    log_warning ("snapshots that are to be removed stay until the next start: "
                 "%s",
                 errno_text (r));
  return 0;
}

void
volume_stop (struct volume *volume)
{
  int r;

  volume_chain_stop (volume);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&volume->admin_lock);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&volume->start_lock);
  if (!volume->is_started)
    return;
  volume->is_started = false;
  volume_stop_rejoin (volume);
  mirror_scrub_stop (volume->mirror);
  mirror_stop_repair (volume->mirror);
  mirror_stop_resync (volume->mirror);
  volume_stop_copying (volume);
  r = target_flush (origin_target (volume->origin));
  if (r == 0)
    r = mirror_settle (volume->mirror);
  if (r < 0)
    log_error ("the legs cannot be flushed at the end: %s", errno_text (r));
  else if (mirror_is_clean (volume->mirror))
    (void) record_clean (volume, true); /* else the next start resyncs */
}

void
volume_close (struct volume *volume)
{
  unsigned i;

  if (volume == NULL)
    return;
  assert (!volume->is_started);
  volume_free_devices (volume);
  if (volume->records != NULL && volume->origin != NULL)
    volume_close_snapshots (volume);
  if (volume->records != volume->manifest)
    manifest_free (volume->records);
  origin_destroy (volume->origin);
  mirror_destroy (volume->mirror);
  for (i = 0; i < MIRROR_MAX_LEGS; ++i)
    free (volume->leg_paths[i]);
  manifest_free (volume->manifest);
  meta_dir_close (volume->dir);
  events_destroy (volume->events);
  pace_job_destroy (&volume->restore_job);
  pace_job_destroy (&volume->worker.job);
  pace_destroy (volume->pace);
  mutex_destroy (&volume->look.lock);
  cond_destroy (&volume->worker.changed);
  mutex_destroy (&volume->worker.lock);
  mutex_destroy (&volume->chain_lock);
  mutex_destroy (&volume->device_lock);
  mutex_destroy (&volume->manifest_lock);
  mutex_destroy (&volume->start_lock);
  cond_destroy (&volume->watcher.wake);
  mutex_destroy (&volume->watcher.lock);
  cond_destroy (&volume->rejoiner.changed);
  mutex_destroy (&volume->rejoiner.lock);
  mutex_destroy (&volume->admin_lock);
  free (volume);
}

/*----- looking ---------------------------------------------------------*/

struct mirror *
volume_get_mirror (struct volume *volume)
{
  return volume->mirror;
}

void
volume_record_control (struct volume *volume, const char *path)
{
  char *line = NULL;
  int r;

  if (volume->dir == NULL || meta_dir_is_read_only (volume->dir))
    return;
  if (path == NULL)
    r = meta_dir_remove_file (volume->dir, VOLUME_CONTROL_FILE);
  else if (asprintf (&line, "%s\n", path) == -1)
    r = -ENOMEM;
  else {
    r = meta_dir_replace_file (volume->dir, VOLUME_CONTROL_FILE, line,
                               strlen (line));
    free (line);
  }
  if (r < 0)
    log_warning ("%s/%s: cannot be changed: %s; 'dmnbd -d' will not find the "
                 "control socket",
                 meta_dir_path (volume->dir), VOLUME_CONTROL_FILE,
                 errno_text (r));
}

struct events *
volume_get_events (struct volume *volume)
{
  return volume->events;
}
