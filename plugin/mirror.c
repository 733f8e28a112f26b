/* The mirror: keeps N legs equal.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Invariants:
 * (1) at least one leg is LEG_IN_SYNC, always;
 * (2) a leg is LEG_FAILED in memory only after it is so durably; until
 *     then writes go on to it, so none that it misses is acknowledged
 *     before;
 * (3) where a region is in sync, all legs that are not failed hold the
 *     same, but for writes in flight;
 * (4) where a region is clean in the log, all legs hold the same, failed ones
 *     too (mirror-log.c).
 *
 * States of a leg:
 *   IN_SYNC    -> FAILED     [mirror_fail_leg], unless it is the last
 *   RECOVERING -> FAILED     [mirror_fail_leg]
 *   RECOVERING -> IN_SYNC    [resync_main], when every region is in sync
 *
 * Locks: state_lock serialises changes of leg states and is held while
 * one is made durable.  The fast path takes no lock of the mirror.
 *
 * Model: Linux 6.1 drivers/md/dm-raid1.c: fan-out, one leg trusted where
 * regions are out of sync.  Differs: writes are never held for an
 * administrator; which leg failed is remembered; a leg whose write failed
 * is never read again; reads are spread.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bdev-observe.h"
#include "bits.h"
#include "log-sink.h"
#include "mirror-impl.h"

/*----- failing a leg ---------------------------------------------------*/

unsigned
mirror_count_in_sync (struct mirror *m)
{
  unsigned i, n = 0;

  for (i = 0; i < m->leg_count; ++i)
    if (leg_get_state (&m->legs[i]) == LEG_IN_SYNC)
      n++;
  return n;
}

bool
mirror_must_tell (struct mirror *m)
{
  return is_power_of_2 (atomic_fetch_add (&m->failed_requests, 1) + 1);
}

int
mirror_fail_leg (struct mirror *m, const struct leg_failure *failure)
{
  struct leg *leg = &m->legs[failure->leg];
  const char *name = leg->name;
  const char *remedy = mirror_failure_remedy (name, failure->error);
  char what[MIRROR_FAILURE_BYTES], reason[MIRROR_REASON_BYTES];
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->state_lock);

  if (!leg_is_used (leg))
    return 0;
  mirror_failure_text (failure, what);
  snprintf (reason, sizeof reason, "%s; %s", what, remedy);
  if (leg_get_state (leg) == LEG_IN_SYNC && mirror_count_in_sync (m) == 1) {
    if (mirror_must_tell (m))
      log_error ("mirror: leg %u (%s): %s; it is the last leg in sync, so it "
                 "stays in use, and what needs it fails",
                 failure->leg, name, what);
    return -EIO;
  }
  r = mirror_record_leg (m, failure->leg, LEG_FAILED, reason);
  if (r < 0) {
    if (mirror_must_tell (m))
      log_error ("mirror: leg %u (%s): %s; this cannot be recorded (%s), so "
                 "%s",
                 failure->leg, name, what, errno_text (r),
                 failure->op == LEG_OP_RESYNC ? "the region is tried again"
                                              : "what needs it fails");
    return -EIO;
  }
  mirror_set_leg_state (m, failure->leg, LEG_FAILED); /* (2) */
  log_change (LOG_LEVEL_ERROR,
              "mirror: leg %u (%s): %s; leg failed, volume degraded; %s",
              failure->leg, name, what, remedy);
  return 0;
}

unsigned
mirror_primary (struct mirror *m)
{
  unsigned i;

  i = m->chosen_primary;
  if (leg_get_state (&m->legs[i]) == LEG_IN_SYNC)
    return i;
  for (i = 0; i < m->leg_count; ++i)
    if (leg_get_state (&m->legs[i]) == LEG_IN_SYNC)
      return i;
  abort (); /* (1) */
}

/*----- writes ----------------------------------------------------------*/

/* A fan-out to all legs in use. */
struct fan_out {
  enum leg_op op;
  unsigned count;
  unsigned legs[MIRROR_MAX_LEGS];
  struct io_region where[MIRROR_MAX_LEGS];
  int errors[MIRROR_MAX_LEGS];
};

static void
fan_out_init (struct mirror *m, struct fan_out *f, enum leg_op op,
              sector_t sector, sector_t count)
{
  /* Which leg comes first changes from page to page, so that writers of
   * different pages do not queue up for the lock of the same file.
   */
  unsigned leg_count = m->leg_count;
  unsigned leg = (unsigned) (sector >> 3) % leg_count;
  unsigned i;

  f->op = op;
  f->count = 0;
  for (i = 0; i < leg_count || f->count == 0; ++i) {
    if (leg_get_used (m, &m->legs[leg])) {
      f->legs[f->count] = leg;
      f->where[f->count] = (struct io_region){ m->legs[leg].bdev, sector,
                                               count };
      f->errors[f->count] = 0;
      f->count++;
    }
    if (++leg == leg_count)
      leg = 0;
  }
}

static void
fan_out_end (struct mirror *m, const struct fan_out *f)
{
  unsigned i;

  for (i = 0; i < f->count; ++i)
    leg_put (m, &m->legs[f->legs[i]]);
}

static void
count_write (struct mirror *m, const struct fan_out *f)
{
  unsigned i;

  for (i = 0; i < f->count; ++i) {
    struct leg *leg = &m->legs[f->legs[i]];

    if (f->errors[i] < 0)
      atomic_fetch_add (f->op == LEG_OP_FLUSH ? &leg->flush_errors
                                              : &leg->write_errors,
                        1);
    else if (f->op != LEG_OP_FLUSH) {
      atomic_fetch_add (&leg->writes, 1);
      atomic_fetch_add (&leg->write_bytes, sector_to_bytes (f->where[i].count));
    }
  }
}

/* True if a leg in sync has done what it should.  Otherwise *FIRST_ERROR is
 * the first leg's.
 */
static bool
has_succeeded (struct mirror *m, const struct fan_out *f, int *first_error)
{
  bool yes = false;
  unsigned i;

  /* A leg whose resync has just ended counts, so wait until it does. */
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->state_lock);
  for (i = 0; i < f->count; ++i) {
    if (leg_get_state (&m->legs[f->legs[i]]) != LEG_IN_SYNC)
      continue;
    if (f->errors[i] == 0)
      yes = true;
    else if (*first_error == 0)
      *first_error = f->errors[i];
  }
  return yes;
}

/* Some leg has failed.  Drop those that have, if another one in sync has
 * not; then all is well.  Otherwise the request fails, no leg is dropped,
 * and the legs may differ.  Returns what the client gets.
 */
static int
handle_errors (struct mirror *m, const struct fan_out *f)
{
  int first_error = 0;
  unsigned i;

  if (!has_succeeded (m, f, &first_error)) {
    unsigned primary = mirror_primary (m);

    if (mirror_must_tell (m))
      log_error ("mirror: %s of %" PRIu64 " bytes at %" PRIu64
                 " failed on every leg in sync, of which the first is leg %u "
                 "(%s): %s; the client gets an error",
                 mirror_leg_op_name (f->op),
                 sector_to_bytes (f->where[0].count),
                 sector_to_bytes (f->where[0].sector), primary,
                 m->legs[primary].name, errno_text (first_error));
    if (mirror_error_is_gone (first_error))
      mirror_tell (m, MIRROR_LAST_LEG_GONE);
    return first_error < 0 ? first_error : -EIO;
  }
  /* Want of memory is our fault, not the leg's. */
  for (i = 0; i < f->count; ++i)
    if (f->errors[i] == -ENOMEM)
      return -ENOMEM;
  for (i = 0; i < f->count; ++i) {
    struct leg_failure failure = {
      .leg = f->legs[i],
      .op = f->op,
      .sector = f->where[i].sector,
      .count = f->where[i].count,
      .error = f->errors[i],
    };
    int r;

    if (f->errors[i] == 0)
      continue;
    r = mirror_fail_leg (m, &failure);
    if (r < 0)
      return r;
  }
  return 0;
}

/* Begin a write: all its regions are dirty in the log.  If this fails nothing
 * is to be written.
 */
static int
begin_write (struct mirror *m, sector_t sector, sector_t count)
{
  int r = region_hash_write_begin (m->regions, sector, count);

  if (r > 0)
    mirror_wake_resync (m); /* to clean the log one day */
  return MIN_OF (r, 0);
}

static int
dm_io_flags (unsigned flags)
{
  return (flags & BDEV_FUA ? DM_IO_FUA : 0) |
         (flags & BDEV_UNMAP ? DM_IO_UNMAP : 0) |
         (flags & BDEV_FAST ? DM_IO_FAST : 0);
}

/* After errors of a write or a zeroing: what the client gets. */
static int
finish_failed_write (struct mirror *m, const struct fan_out *f, unsigned flags)
{
  int r = handle_errors (m, f);

  if (r < 0) {
    region_hash_set_nosync (m->regions, f->where[0].sector, f->where[0].count);
    mirror_wake_resync (m);
    if (flags & BDEV_FUA) {
      /* It may have been told what a flush should have been told. */
      group_sync_fail (&m->flushes, r);
      mirror_tell (m, MIRROR_FLUSH_FAILED);
    }
  }
  return r;
}

static int
mirror_write (struct target *t, const void *buffer, sector_t sector,
              sector_t count, unsigned flags)
{
  struct mirror *m = mirror_of (t);
  struct fan_out f;
  int r;

  r = begin_write (m, sector, count);
  if (r < 0)
    return r;
  fan_out_init (m, &f, LEG_OP_WRITE, sector, count);
  r = dm_io_sync_vm_errors (f.count, f.where, DM_IO_WRITE | dm_io_flags (flags),
                            (void *) buffer, NULL, f.errors);
  count_write (m, &f);
  if (r < 0)
    r = finish_failed_write (m, &f, flags);
  fan_out_end (m, &f);
  region_hash_write_end (m->regions, sector, count);
  return r < 0 || !(flags & BDEV_FUA) ? r : group_sync_error (&m->flushes);
}

/* After a fast zero: legs that cannot do it fast, while others have done
 * it, must write zeroes, so that all are equal again.  Returns
 * -EOPNOTSUPP if none can: then nothing was changed.
 */
static int
finish_fast_zero (struct fan_out *f, int rw)
{
  unsigned i, unsupported = 0;
  int r = 0;

  for (i = 0; i < f->count; ++i)
    if (f->errors[i] == -EOPNOTSUPP)
      unsupported++;
  if (unsupported == f->count)
    return -EOPNOTSUPP;
  for (i = 0; i < f->count; ++i) {
    if (f->errors[i] == -EOPNOTSUPP)
      (void) dm_io_sync_vm_errors (1, &f->where[i], rw & ~DM_IO_FAST, NULL,
                                   NULL, &f->errors[i]);
    if (f->errors[i] < 0)
      r = -EIO;
  }
  return r;
}

static int
mirror_zero (struct target *t, sector_t sector, sector_t count, unsigned flags)
{
  struct mirror *m = mirror_of (t);
  int rw = DM_IO_WRITE_ZEROES | dm_io_flags (flags);
  struct fan_out f;
  int r;

  r = begin_write (m, sector, count);
  if (r < 0)
    return r;
  fan_out_init (m, &f, LEG_OP_ZERO, sector, count);
  r = dm_io_sync_vm_errors (f.count, f.where, rw, NULL, NULL, f.errors);
  if (r < 0 && (flags & BDEV_FAST)) {
    r = finish_fast_zero (&f, rw);
    if (r == -EOPNOTSUPP)
      goto out;
  }
  count_write (m, &f);
  if (r < 0)
    r = finish_failed_write (m, &f, flags);
out:
  fan_out_end (m, &f);
  region_hash_write_end (m->regions, sector, count);
  return r < 0 || !(flags & BDEV_FUA) ? r : group_sync_error (&m->flushes);
}

/* One flush of all legs.  A leg that fails it is out, durably, before any
 * other flush begins, so none can succeed by asking it again.
 */
static int
flush_legs (void *arg)
{
  struct mirror *m = arg;
  struct fan_out f;
  unsigned long writes[MIRROR_MAX_LEGS];
  unsigned i;
  int r;

  fan_out_init (m, &f, LEG_OP_FLUSH, 0, 0);
  for (i = 0; i < f.count; ++i)
    writes[i] = m->legs[f.legs[i]].writes;
  r = dm_io_sync_vm_errors (f.count, f.where, DM_IO_FLUSH, NULL, NULL,
                            f.errors);
  for (i = 0; i < f.count; ++i)
    if (f.errors[i] == 0)
      m->legs[f.legs[i]].flushed_writes = writes[i];
  if (r < 0) {
    count_write (m, &f);
    r = handle_errors (m, &f);
  }
  fan_out_end (m, &f);
  return r;
}

static int
mirror_flush (struct target *t)
{
  struct mirror *m = mirror_of (t);
  int r = group_sync (&m->flushes, flush_legs, m);

  if (r < 0)
    mirror_tell (m, MIRROR_FLUSH_FAILED);
  return r;
}

static const struct target_ops mirror_ops = {
  .name = "mirror",
  .read = mirror_read,
  .write = mirror_write,
  .flush = mirror_flush,
  .zero = mirror_zero,
  .extent = mirror_extent,
};

/*----- life ------------------------------------------------------------*/

static int
create_regions (struct mirror *m, const struct mirror_params *params)
{
  struct region_hash_params rh = {
    .sectors = params->sectors,
    .region_sectors = params->region_sectors,
    .log = params->log,
    .is_in_sync = params->is_in_sync,
    .log_failed = mirror_lose_log,
    .opaque = m,
  };
  uint64_t count = div_round_up (params->sectors, params->region_sectors);
  int r;

  if (count > REGION_HASH_MAX_REGIONS)
    return -E2BIG;
  if (rh.log == NULL) {
    r = dirty_log_core_create (count, params->is_in_sync, &rh.log);
    if (r < 0)
      return r;
  }
  r = region_hash_create (&rh, &m->regions);
  if (r < 0 && params->log == NULL)
    dirty_log_destroy (rh.log);
  m->log = rh.log;
  return r;
}

int
mirror_create (const struct mirror_params *params, struct mirror **mirror)
{
  struct mirror *m;
  unsigned i;
  int r;

  assert (params->leg_count >= 1 && params->leg_count <= MIRROR_MAX_LEGS);
  m = calloc (1, sizeof *m);
  if (m == NULL)
    return -ENOMEM;
  r = create_regions (m, params);
  if (r < 0) {
    free (m);
    return r;
  }
  m->target.ops = &mirror_ops;
  m->target.sectors = params->sectors;
  m->leg_count = params->leg_count;
  m->measures_legs = params->measures_legs;
  m->chosen_primary = params->primary;
  for (i = 0; i < MIRROR_MAX_LEGS; ++i) {
    m->legs[i].state = LEG_ABSENT;
    mutex_init (&m->legs[i].device_lock);
  }
  for (i = 0; i < m->leg_count; ++i) {
    if (mirror_install_device (m, i, params->legs[i]) < 0)
      goto err_free_names;
    m->legs[i].is_write_mostly = params->is_write_mostly[i];
    m->legs[i].state = params->states[i];
  }
  assert (mirror_count_in_sync (m) > 0);
  m->region_sectors = params->region_sectors;
  m->read_policy = params->read_policy;
  m->pace = params->pace;
  m->leg_changed = params->leg_changed;
  m->resynced = params->resynced;
  m->note = params->note;
  m->log_failed = params->log_failed;
  m->opaque = params->opaque;
  group_sync_init (&m->flushes);
  mutex_init (&m->state_lock);
  mutex_init (&m->users_lock);
  cond_init (&m->users_gone);
  mutex_init (&m->resync_lock);
  cond_init (&m->resync_wake);
  mutex_init (&m->repair_lock);
  cond_init (&m->repair_wake);
  mutex_init (&m->scrub_lock);
  pace_job_init (&m->resync_job, m->pace, RESYNC_REST_MAX_NS);
  pace_job_init (&m->scrub_job, m->pace, SCRUB_REST_MAX_NS);
  *mirror = m;
  return 0;

err_free_names:
  while (i-- > 0) /* they are the caller's still */
    bdev_set_observer (m->legs[i].bdev, NULL, NULL);
  mirror_free_leg_memory (m);
  region_hash_destroy (m->regions);
  if (params->log == NULL)
    dirty_log_destroy (m->log);
  free (m);
  return -ENOMEM;
}

void
mirror_destroy (struct mirror *mirror)
{
  unsigned i;

  if (mirror == NULL)
    return;
  mirror_scrub_stop (mirror);
  mirror_stop_repair (mirror);
  mirror_stop_resync (mirror);
  for (i = 0; i < mirror->leg_count; ++i) {
    assert (mirror->legs[i].users == 0);
    bdev_close (mirror->legs[i].bdev);
  }
  mirror_free_leg_memory (mirror);
  for (i = 0; i < MIRROR_MAX_LEGS; ++i)
    mutex_destroy (&mirror->legs[i].device_lock);
  region_hash_destroy (mirror->regions);
  dirty_log_destroy (mirror->log);
  pace_job_destroy (&mirror->scrub_job);
  pace_job_destroy (&mirror->resync_job);
  mutex_destroy (&mirror->scrub_lock);
  cond_destroy (&mirror->repair_wake);
  mutex_destroy (&mirror->repair_lock);
  cond_destroy (&mirror->resync_wake);
  mutex_destroy (&mirror->resync_lock);
  cond_destroy (&mirror->users_gone);
  mutex_destroy (&mirror->users_lock);
  mutex_destroy (&mirror->state_lock);
  group_sync_destroy (&mirror->flushes);
  free (mirror);
}

struct block_device *
mirror_leg_bdev (struct mirror *mirror, unsigned leg)
{
  return mirror->legs[leg].bdev;
}

struct target *
mirror_target (struct mirror *mirror)
{
  return &mirror->target;
}

bool
mirror_is_clean (struct mirror *mirror)
{
  return group_sync_error (&mirror->flushes) == 0 &&
         region_hash_in_sync_count (mirror->regions) ==
           region_hash_region_count (mirror->regions);
}

void
mirror_get_status (struct mirror *mirror, struct mirror_status *status)
{
  unsigned i;

  memset (status, 0, sizeof *status);
  status->leg_count = mirror->leg_count;
  for (i = 0; i < mirror->leg_count; ++i) {
    struct leg *leg = &mirror->legs[i];

    status->legs[i] = (struct mirror_leg_status){
      .state = leg_get_state (leg),
      .is_write_mostly = leg->is_write_mostly,
      .reads = leg->reads,
      .writes = leg->writes,
      .read_bytes = leg->read_bytes,
      .write_bytes = leg->write_bytes,
      .read_errors = leg->read_errors,
      .write_errors = leg->write_errors,
      .flush_errors = leg->flush_errors,
      .repaired_bytes = leg->repaired_bytes,
      .mismatched_bytes = leg->mismatched_bytes,
    };
  }
  status->regions_total = region_hash_region_count (mirror->regions);
  status->regions_in_sync = region_hash_in_sync_count (mirror->regions);
  status->region_sectors = mirror->region_sectors;
  status->flush_error = group_sync_error (&mirror->flushes);
  dirty_log_get_status (mirror->log, &status->log);
  status->log_is_lost = !region_hash_has_log (mirror->regions);
  mutex_lock (&mirror->resync_lock);
  status->is_resyncing = mirror->resync_is_running;
  status->is_paused = mirror->resync_is_paused;
  mutex_unlock (&mirror->resync_lock);
  mutex_lock (&mirror->repair_lock);
  status->is_repairing = mirror->repair_count > 0 || mirror->repair_is_busy;
  mutex_unlock (&mirror->repair_lock);
  mirror_scrub_get_status (mirror, &status->scrub);
}
