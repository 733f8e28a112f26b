/* What the volume looks like now, and the telling of what has changed.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Every change is noted here once, after it is durable: it is put into what
 * is shown (struct volume_look) and told as an event in the same step, under
 * one lock.  So whoever has had the event sees the change, and the volume's
 * own state, which follows from those of its parts, changes in the same
 * order for everybody.
 *
 * Locks: the look's, inside state_lock of the mirror and manifest_lock;
 * outside the events' and resync_lock.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "clock.h"
#include "volume-impl.h"

/* Progress is told, and the rate measured, at most so often. */
#define PROGRESS_NS NS_PER_SECOND

/*----- words -----------------------------------------------------------*/

const char *
volume_state_name (enum volume_state state)
{
  static const char *const names[] = {
    [VOLUME_HEALTHY] = "healthy",
    [VOLUME_DEGRADED] = "degraded",
    [VOLUME_RESYNCING] = "resyncing",
    [VOLUME_FAILED] = "failed",
  };

  return names[state];
}

const char *
leg_state_name (enum leg_state state)
{
  static const char *const names[] = {
    [LEG_IN_SYNC] = "insync", [LEG_RECOVERING] = "recovering",
    [LEG_FAILED] = "failed",  [LEG_MISSING] = "missing",
    [LEG_ABSENT] = "removed",
  };

  return names[state];
}

const char *
resync_state_name (enum resync_state state)
{
  static const char *const names[] = {
    [RESYNC_IDLE] = "idle",
    [RESYNC_RUNNING] = "running",
    [RESYNC_PAUSED] = "paused",
  };

  return names[state];
}

/* Copy TEXT (NULL: nothing) into a buffer, cut if it is too long. */
static void
set_text (char *buffer, size_t size, const char *text)
{
  (void) snprintf (buffer, size, "%s", text != NULL ? text : "");
}

/*----- the state of the whole ------------------------------------------*/

static enum volume_state
state_of (const struct volume_look *look, const struct mirror_status *mirror)
{
  bool has_in_sync = false, has_failed = false, is_filling;
  unsigned i;

  is_filling = mirror->regions_in_sync < mirror->regions_total;
  for (i = 0; i < look->leg_count; ++i) {
    has_in_sync = has_in_sync || look->legs[i].state == LEG_IN_SYNC;
    has_failed = has_failed || look->legs[i].state == LEG_FAILED ||
                 look->legs[i].state == LEG_MISSING;
    is_filling = is_filling || look->legs[i].state == LEG_RECOVERING;
  }
  if (!has_in_sync || mirror->flush_error < 0)
    return VOLUME_FAILED;
  if (has_failed)
    return VOLUME_DEGRADED;
  return is_filling ? VOLUME_RESYNCING : VOLUME_HEALTHY;
}

/* The parts have changed: has the whole?  The caller holds the look's lock. */
static void
look_again_locked (struct volume *v)
{
  struct event event = { .type = EVENT_VOLUME_STATE };
  struct mirror_status mirror;
  enum volume_state state;

  mirror_get_status (v->mirror, &mirror);
  state = state_of (&v->look, &mirror);
  if (state == v->look.state)
    return;
  set_text (event.was, sizeof event.was, volume_state_name (v->look.state));
  set_text (event.state, sizeof event.state, volume_state_name (state));
  v->look.state = state;
  events_put (v->events, &event);
}

void
volume_look_begin (struct volume *v)
{
  struct volume_look *look = &v->look;
  struct mirror_status mirror;
  unsigned i;

  mirror_get_status (v->mirror, &mirror);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&look->lock);
  look->leg_count = mirror.leg_count;
  for (i = 0; i < MIRROR_MAX_LEGS; ++i) {
    look->legs[i].state = i < mirror.leg_count ? mirror.legs[i].state
                                               : LEG_ABSENT;
    look->legs[i].reason[0] = '\0';
    look->legs[i].place = LEG_FILE_THERE;
  }
  look->state = state_of (look, &mirror);
}

/*----- what is noted ---------------------------------------------------*/

void
volume_note_leg (struct volume *v, unsigned leg, enum leg_state state,
                 const char *reason)
{
  struct volume_look *look = &v->look;
  struct event event = { .type = EVENT_LEG_STATE, .has_leg = true, .leg = leg };

  set_text (event.name, sizeof event.name,
            state == LEG_RECOVERING && v->new_leg != NULL
              ? v->new_leg->spec
              : mirror_leg_name (v->mirror, leg));
  set_text (event.state, sizeof event.state, leg_state_name (state));
  set_text (event.reason, sizeof event.reason, reason);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&look->lock);
  set_text (event.was, sizeof event.was,
            leg_state_name (look->legs[leg].state));
  look->leg_count = MAX_OF (look->leg_count, leg + 1);
  look->legs[leg].state = state;
  set_text (look->legs[leg].reason, sizeof look->legs[leg].reason, reason);
  if (state != LEG_IN_SYNC) /* it is not used, or it may be another one */
    look->legs[leg].place = LEG_FILE_THERE;
  events_put (v->events, &event);
  look_again_locked (v);
}

/* What is wrong with the name of a leg in use, and what is to be done. */
static const char *
place_text (enum leg_file_place place)
{
  switch (place) {
  case LEG_FILE_THERE:
    return NULL;
  case LEG_FILE_GONE:
    return "it is not at its name any more (deleted, renamed or unplugged): it "
           "is used until the server stops, and missing at the next start; "
           "replace it, or add another leg";
  case LEG_FILE_OTHER:
    return "another file has its name now: it is used until the server stops, "
           "and what is there then is not trusted; replace it, or add another "
           "leg";
  }
  return NULL;
}

void
volume_note_leg_file (struct volume *v, unsigned leg, enum leg_file_place place)
{
  struct event event = { .type = EVENT_LEG_FILE, .has_leg = true, .leg = leg };
  const char *text = place_text (place), *name;

  name = mirror_leg_name (v->mirror, leg);
  set_text (event.name, sizeof event.name, name);
  set_text (event.reason, sizeof event.reason, text);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  if (v->look.legs[leg].place == place ||
      (v->look.legs[leg].state != LEG_IN_SYNC &&
       v->look.legs[leg].state != LEG_RECOVERING))
    return;
  v->look.legs[leg].place = place;
  if (text != NULL)
    log_change (LOG_LEVEL_WARNING, "leg %u (%s): %s", leg, name, text);
  events_put (v->events, &event);
}

void
volume_note_snapshot (struct volume *v, enum event_type type, const char *name,
                      const char *reason)
{
  struct event event = { .type = type };

  set_text (event.name, sizeof event.name, name);
  set_text (event.reason, sizeof event.reason, reason);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  switch (type) {
  case EVENT_SNAPSHOT_MERGING:
    event.job = volume_job_begin_locked (v, JOB_ROLLBACK, name);
    break;
  case EVENT_SNAPSHOT_MERGED:
    event.job = volume_job_end_locked (v, JOB_ROLLBACK, name);
    break;
  case EVENT_SNAPSHOT_REMOVED:
    event.job = volume_job_begin_locked (v, JOB_REMOVE, name);
    break;
  case EVENT_SNAPSHOT_GONE:
    event.job = volume_job_end_locked (v, JOB_REMOVE, name);
    break;
  default:
    break;
  }
  events_put (v->events, &event);
}

void
volume_note_rename (struct volume *v, const char *name, const char *new_name)
{
  struct event event = { .type = EVENT_SNAPSHOT_RENAMED };

  set_text (event.name, sizeof event.name, name);
  set_text (event.new_name, sizeof event.new_name, new_name);
  events_put (v->events, &event);
}

/* How much is left to copy. */
static uint64_t
resync_left (struct volume *v, const struct mirror_status *mirror)
{
  uint64_t region = sector_to_bytes (mirror->region_sectors);
  uint64_t size = sector_to_bytes (mirror_target (v->mirror)->sectors);

  return MIN_OF ((mirror->regions_total - mirror->regions_in_sync) * region,
                 size);
}

/* Bring what is told of the resync up to now.  The caller holds the lock. */
static void
measure_resync_locked (struct volume *v)
{
  struct volume_look *look = &v->look;
  struct mirror_status mirror;
  uint64_t left;

  mirror_get_status (v->mirror, &mirror);
  left = resync_left (v, &mirror);
  /* Writes that fail everywhere add to it while it goes on. */
  if (left > look->resync_total_bytes)
    look->resync_total_bytes = left;
  look->resync_done_bytes = look->resync_total_bytes - left;
}

static void
put_resync_locked (struct volume *v, enum event_type type, uint64_t job)
{
  struct event event = {
    .type = type,
    .job = job,
    .has_bytes = true,
    .done_bytes = v->look.resync_done_bytes,
    .total_bytes = v->look.resync_total_bytes,
  };

  events_put (v->events, &event);
}

static void
resync_goes_on_locked (struct volume *v)
{
  struct volume_look *look = &v->look;
  uint64_t now = clock_now_ns ();
  uint64_t elapsed = now - look->rate_since_ns;

  if (elapsed < PROGRESS_NS)
    return;
  measure_resync_locked (v);
  look->rate = 0;
  if (look->resync_done_bytes > look->rate_since_bytes)
    look->rate = (uint64_t) ((double) (look->resync_done_bytes -
                                       look->rate_since_bytes) *
                             (double) NS_PER_SECOND / (double) elapsed);
  look->rate_since_ns = now;
  look->rate_since_bytes = look->resync_done_bytes;
  put_resync_locked (v, EVENT_RESYNC_PROGRESS,
                     volume_job_id_locked (v, JOB_RESYNC, ""));
}

void
volume_note_resync (struct volume *v, enum event_type type)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  put_resync_locked (v, type, volume_job_id_locked (v, JOB_RESYNC, ""));
}

static void
put_scrub_locked (struct volume *v, enum event_type type, uint64_t job)
{
  struct event event = { .type = type, .job = job, .has_bytes = true };
  struct mirror_status mirror;

  mirror_get_status (v->mirror, &mirror);
  event.done_bytes = mirror.scrub.done_bytes;
  event.total_bytes = mirror.scrub.total_bytes;
  if (type == EVENT_SCRUB_FINISHED && mirror.scrub.mismatches > 0)
    (void) snprintf (event.reason, sizeof event.reason,
                     "%" PRIu64 " sectors differ, %" PRIu64
                     " copies of sectors repaired",
                     mirror.scrub.mismatches, mirror.scrub.repaired);
  events_put (v->events, &event);
}

void
volume_note (void *opaque, enum mirror_note note)
{
  struct volume *v = opaque;
  struct volume_look *look = &v->look;

  if (note == MIRROR_LAST_LEG_GONE) {
    volume_revive_later (v);
    return;
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&look->lock);
  switch (note) {
  case MIRROR_RESYNC_BEGINS:
    look->is_resyncing = true;
    look->resync_total_bytes = 0;
    look->rate = 0;
    look->rate_since_ns = clock_now_ns ();
    measure_resync_locked (v);
    look->rate_since_bytes = look->resync_done_bytes;
    put_resync_locked (v, EVENT_RESYNC_STARTED,
                       volume_job_begin_locked (v, JOB_RESYNC, ""));
    break;
  case MIRROR_RESYNC_GOES_ON:
    resync_goes_on_locked (v);
    return; /* a region less says nothing of the whole */
  case MIRROR_RESYNC_ENDS:
    look->is_resyncing = false;
    look->rate = 0;
    measure_resync_locked (v);
    put_resync_locked (v, EVENT_RESYNC_FINISHED,
                       volume_job_end_locked (v, JOB_RESYNC, ""));
    break;
  case MIRROR_FLUSH_FAILED:
  case MIRROR_LAST_LEG_GONE:
    break;
  case MIRROR_SCRUB_BEGINS:
    put_scrub_locked (v, EVENT_SCRUB_STARTED,
                      volume_job_begin_locked (v, JOB_SCRUB, ""));
    return;
  case MIRROR_SCRUB_ENDS:
    put_scrub_locked (v, EVENT_SCRUB_FINISHED,
                      volume_job_end_locked (v, JOB_SCRUB, ""));
    return;
  }
  look_again_locked (v);
}

/*----- looking ---------------------------------------------------------*/

static void
get_resync (struct volume *v, const struct mirror_status *mirror,
            struct volume_status *status)
{
  struct volume_look *look = &v->look;
  uint64_t left;

  status->resync = mirror->is_resyncing ? RESYNC_RUNNING : RESYNC_IDLE;
  status->is_resync_paused = mirror->is_paused;
  if (mirror->is_paused && mirror_needs_resync (v->mirror))
    status->resync = RESYNC_PAUSED;
  if (look->is_resyncing)
    measure_resync_locked (v);
  status->resync_total_bytes = look->resync_total_bytes;
  status->resync_done_bytes = look->resync_done_bytes;
  status->resync_rate = look->rate;
  left = look->resync_total_bytes - look->resync_done_bytes;
  status->has_eta = status->resync == RESYNC_RUNNING && look->rate > 0;
  if (status->has_eta)
    status->eta_seconds = div_round_up (left, look->rate);
}

/* Legs that are out miss what is written: all that is dirty would be copied
 * for them.  The mirror itself knows of the legs it writes to only.
 */
static uint64_t
regions_in_sync (const struct mirror_status *mirror, enum volume_state state)
{
  uint64_t clean = mirror->regions_total -
                   MIN_OF (mirror->log.dirty, mirror->regions_total);

  return state == VOLUME_DEGRADED ? MIN_OF (mirror->regions_in_sync, clean)
                                  : mirror->regions_in_sync;
}

static void
get_mirror (struct volume *v, struct volume_status *status)
{
  struct mirror_status mirror;
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->look.lock);
  mirror_get_status (v->mirror, &mirror);
  /* Writes that fail everywhere put regions out of sync, silently. */
  look_again_locked (v);
  status->state = v->look.state;
  status->leg_count = 0;
  status->region_bytes = sector_to_bytes (mirror.region_sectors);
  status->regions_total = mirror.regions_total;
  status->regions_in_sync = regions_in_sync (&mirror, status->state);
  for (i = 0; i < v->look.leg_count; ++i) {
    const struct mirror_leg_status *m = &mirror.legs[i];
    struct volume_leg_status *leg = &status->legs[status->leg_count];

    if (v->look.legs[i].state == LEG_ABSENT)
      continue;
    status->leg_count++;
    leg->index = i;
    leg->spec = mirror_leg_name (v->mirror, i);
    leg->state = v->look.legs[i].state;
    leg->is_write_mostly = m->is_write_mostly;
    leg->reads = m->reads;
    leg->writes = m->writes;
    leg->read_bytes = m->read_bytes;
    leg->write_bytes = m->write_bytes;
    leg->read_errors = m->read_errors;
    leg->write_errors = m->write_errors;
    leg->flush_errors = m->flush_errors;
    set_text (leg->reason, sizeof leg->reason, v->look.legs[i].reason);
    leg->has_lost_name = v->look.legs[i].place != LEG_FILE_THERE;
    if (leg->has_lost_name && leg->reason[0] == '\0')
      set_text (leg->reason, sizeof leg->reason,
                place_text (v->look.legs[i].place));
  }
  status->scrub = mirror.scrub;
  pace_get_counts (v->pace, &status->background);
  status->log = mirror.log;
  status->log_is_lost = mirror.log_is_lost;
  get_resync (v, &mirror, status);
}

static const char *
snapshot_state_name (const struct manifest_snapshot *m, bool is_valid,
                     unsigned refused_writes)
{
  switch (m->state) {
  case SNAPSHOT_VALID:
    if (!is_valid)
      return "invalid"; /* the store says so */
    return refused_writes > 0 ? "overflow" : "valid";
  case SNAPSHOT_REMOVING:
  case SNAPSHOT_CREATING: /* its store is not gone yet */
    return "removing";
  case SNAPSHOT_MERGING:
    return "merging";
  default:
    return "invalid";
  }
}

/* Record number INDEX; ORIGIN is the next newer name.  The caller holds
 * manifest_lock, so the snapshot stays.
 */
static int
get_snapshot (struct volume *v, unsigned index, const char *origin,
              struct volume_snapshot_status *s)
{
  const struct manifest_snapshot *m = &v->records->snapshots[index];
  struct snapshot *snapshot = m->state == SNAPSHOT_MERGING
                                ? v->merging
                                : v->snapshots[index];
  struct snapshot_status status = { 0 };
  struct volume_device *d;
  bool is_valid = true;
  char refused[80];
  const char *reason = m->reason;

  if (snapshot != NULL) { /* else it is broken, and nobody needs it */
    snapshot_get_status (snapshot, &status);
    is_valid = snapshot_is_valid (snapshot);
    d = volume_device_of (v, snapshot);
    s->clients = d == NULL ? 0 : volume_device_clients (d);
  }
  if (reason == NULL && status.refused_writes > 0) {
    snprintf (refused, sizeof refused,
              "%u write%s refused: its store is full or fails",
              status.refused_writes,
              status.refused_writes == 1 ? " was" : "s were");
    reason = refused;
  }
  s->state = snapshot_state_name (m, is_valid, status.refused_writes);
  s->name = strdup (m->name);
  s->created = strdup (m->created);
  s->origin = strdup (origin);
  if (s->name == NULL || s->created == NULL || s->origin == NULL)
    return -ENOMEM;
  if (reason != NULL && (s->reason = strdup (reason)) == NULL)
    return -ENOMEM;
  s->is_read_only = m->is_read_only;
  s->is_transient = m->transient_bytes > 0;
  s->chunk_bytes = m->chunk_bytes;
  s->chunks = status.chunks;
  s->used_bytes = sector_to_bytes (status.used_sectors);
  s->store_bytes = sector_to_bytes (status.store_sectors);
  s->metadata_bytes = sector_to_bytes (status.metadata_sectors);
  return 0;
}

/* It has left the chain, but its store is there. */
static bool
is_going (const struct manifest_snapshot *m)
{
  return m->state == SNAPSHOT_CREATING && m->is_going;
}

/* The caller holds manifest_lock. */
static int
get_snapshots (struct volume *v, struct volume_status *status)
{
  const struct manifest *m = v->records;
  const char *origin = "";
  unsigned i;

  status->snapshots = calloc (m->snapshot_count + 1,
                              sizeof status->snapshots[0]);
  if (status->snapshots == NULL)
    return -ENOMEM;
  for (i = m->snapshot_count; i-- > 0;) {
    int r;

    if ((m->snapshots[i].state == SNAPSHOT_CREATING &&
         !is_going (&m->snapshots[i])) ||
        m->snapshots[i].state == SNAPSHOT_STAGING)
      continue; /* it is not there yet */
    r = get_snapshot (v, i, origin,
                      &status->snapshots[status->snapshot_count++]);
    if (r < 0)
      return r;
    if (!is_going (&m->snapshots[i]))
      origin = m->snapshots[i].name;
  }
  return 0;
}

int
volume_get_status (struct volume *volume, struct volume_status *status)
{
  int r = 0;

  memset (status, 0, sizeof *status);
  status->size_bytes = sector_to_bytes (
    mirror_target (volume->mirror)->sectors);
  status->is_read_only = volume->is_read_only;
  status->is_started = volume->is_started;
  if (volume->dir != NULL)
    status->meta = meta_dir_path (volume->dir);
  volume_ask_for_leg_files (volume);
  get_mirror (volume, status);
  mutex_lock (&volume->manifest_lock);
  status->generation = volume->records->generation;
  r = get_snapshots (volume, status);
  mutex_unlock (&volume->manifest_lock);
  if (r < 0)
    volume_status_free (status);
  return r;
}

void
volume_status_free (struct volume_status *status)
{
  unsigned i;

  for (i = 0; i < status->snapshot_count; ++i) {
    free (status->snapshots[i].name);
    free (status->snapshots[i].created);
    free (status->snapshots[i].reason);
    free (status->snapshots[i].origin);
  }
  free (status->snapshots);
  status->snapshots = NULL;
  status->snapshot_count = 0;
}

bool
volume_get_leg_latency (struct volume *volume, unsigned leg, enum latency_op op,
                        struct latency_counts *counts)
{
  return mirror_get_leg_latency (volume->mirror, leg, op, counts);
}
