/* The resync: copies regions that are not in sync from the primary.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One thread goes over the regions that are not in sync, one after the
 * other: writes to the region are kept out, kcopyd copies it from the
 * primary to all other legs in use, and it counts as in sync.  A region
 * that cannot be read stays out of sync and is tried again later; a leg
 * that is recovering and cannot be written fails.  When all regions are in
 * sync, all legs are flushed, and those that were recovering are recorded
 * as in sync.  Then the thread waits: a write that fails on all legs puts
 * a region out of sync again.
 *
 * Locks: resync_lock is a leaf; the thread holds no lock while it copies.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "bits.h"
#include "clock.h"
#include "kcopyd.h"
#include "log-sink.h"
#include "mirror-impl.h"

/* Two parts of a job in flight: one is read while the other is written. */
#define RESYNC_PAGES \
  (2 * (unsigned) (KCOPYD_SUB_JOB_SECTORS * SECTOR_SIZE / DM_PAGE_SIZE))

/* One copy that is waited for. */
struct region_copy {
  struct mirror *m;
  bool is_done;
  int read_err;
  unsigned write_err;
};

static void
region_copied (int read_err, unsigned write_err, void *context)
{
  struct region_copy *copy = context;
  struct mirror *m = copy->m;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->resync_lock);
  copy->read_err = read_err;
  copy->write_err = write_err;
  copy->is_done = true;
  cond_broadcast (&m->resync_wake);
}

static int
copy_and_wait (struct mirror *m, struct io_region *from, unsigned num_dests,
               struct io_region *dests, struct region_copy *copy)
{
  /* All of it, after an error too: a leg that fails must not leave another
   * one with half a region.
   */
  int r = kcopyd_copy (m->kcopyd, from, num_dests, dests,
                       1U << KCOPYD_IGNORE_ERROR, region_copied, copy);

  if (r < 0)
    return r;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->resync_lock);
  while (!copy->is_done)
    cond_wait (&m->resync_wake, &m->resync_lock);
  return 0;
}

/* True if the whole io_region is a hole on its device. */
static bool
is_hole (const struct io_region *where)
{
  struct bdev_extent extent;

  return bdev_extent (where->bdev, where->sector, where->count, &extent) == 0 &&
         extent.is_hole && extent.count == where->count;
}

/* Where the source has a hole, give the destinations one.  Those that have
 * it already are left alone.  Sets the error bits.
 */
static void
zero_dests (unsigned num_dests, struct io_region *dests, unsigned *write_err)
{
  unsigned i;

  for (i = 0; i < num_dests; ++i)
    if (!is_hole (&dests[i]) &&
        dm_io_sync_vm (1, &dests[i], DM_IO_WRITE_ZEROES | DM_IO_UNMAP, NULL,
                       NULL) < 0)
      *write_err |= 1U << i;
}

/* Drop the legs that could not be written, of those that are recovering.
 * Returns false if the region is not recovered: because that cannot be
 * recorded, or because a leg in sync could not be written, which is tried
 * again: its space may have run out like that of the others.
 */
static bool
drop_failed_legs (struct mirror *m, const unsigned *legs,
                  const struct io_region *dests, unsigned write_err)
{
  bool ok = true;
  unsigned i;

  for (i = 0; write_err >> i != 0; ++i) {
    struct leg *leg = &m->legs[legs[i]];
    struct leg_failure failure = {
      .leg = legs[i],
      .op = LEG_OP_RESYNC,
      .sector = dests[i].sector,
      .count = dests[i].count,
      .error = -EIO,
    };

    if (!(write_err >> i & 1))
      continue;
    atomic_fetch_add (&leg->write_errors, 1);
    if (leg_get_state (leg) == LEG_IN_SYNC || mirror_fail_leg (m, &failure) < 0)
      ok = false;
  }
  return ok;
}

/* Make REGION the same on all legs in use.  Writes to it are kept out. */
static bool
recover_region (struct mirror *m, uint64_t region)
{
  unsigned primary = mirror_primary (m);
  struct region_copy copy = { .m = m };
  struct io_region from = { .bdev = m->legs[primary].bdev };
  struct io_region dests[MIRROR_MAX_LEGS];
  unsigned legs[MIRROR_MAX_LEGS];
  unsigned num_dests = 0, i;

  region_hash_region_range (m->regions, region, &from.sector, &from.count);
  for (i = 0; i < m->leg_count; ++i) {
    if (i == primary || !leg_is_used (&m->legs[i]))
      continue;
    legs[num_dests] = i;
    dests[num_dests] = from;
    dests[num_dests++].bdev = m->legs[i].bdev;
  }
  if (num_dests == 0)
    return true;

  if (is_hole (&from))
    zero_dests (num_dests, dests, &copy.write_err);
  else {
    int r = copy_and_wait (m, &from, num_dests, dests, &copy);

    if (r < 0) {
      log_error ("mirror: resync at %" PRIu64 " is put off: %s",
                 sector_to_bytes (from.sector), errno_text (r));
      return false;
    }
  }
  if (copy.read_err) {
    atomic_fetch_add (&m->legs[primary].read_errors, 1);
    log_error ("mirror: leg %u (%s): resync read of %" PRIu64
               " bytes at %" PRIu64 " failed; the region stays out of sync",
               primary, m->legs[primary].name, sector_to_bytes (from.count),
               sector_to_bytes (from.sector));
    return false;
  }
  return drop_failed_legs (m, legs, dests, copy.write_err);
}

/* So long may BYTES take at RATE, in ns. */
static uint64_t
time_for (uint64_t rate, uint64_t bytes)
{
  if (rate == 0)
    return 0;
  /* In two steps, so that no product passes 2^64 before its time. */
  return bytes / rate * NS_PER_SECOND +
         (uint64_t) ((double) (bytes % rate) / (double) rate *
                     (double) NS_PER_SECOND);
}

/* Wait until copying may go on at the set rate.  Returns false when the
 * resync is to stop.
 */
static bool
may_go_on (struct mirror *m, uint64_t started_ns, uint64_t done_bytes)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->resync_lock);
  while (!m->resync_must_stop) {
    uint64_t until = started_ns + time_for (m->resync_rate, done_bytes);

    if (m->resync_is_paused)
      cond_wait (&m->resync_wake, &m->resync_lock);
    else if (clock_now_ns () < until)
      (void) cond_wait_until (&m->resync_wake, &m->resync_lock, until);
    else
      break;
  }
  return !m->resync_must_stop;
}

/* All regions are in sync in memory: make it so on disk, and say so.  What
 * has changed meanwhile puts it off.
 */
static void
finish_resync (struct mirror *m)
{
  uint64_t membership;
  unsigned i;
  int r;

  mutex_lock (&m->state_lock);
  membership = m->membership;
  mutex_unlock (&m->state_lock);
  r = target_flush (&m->target);
  if (r < 0) {
    log_error ("mirror: resync: flush failed: %s", errno_text (r));
    return;
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->state_lock);
  if (m->membership != membership || !mirror_is_clean (m))
    return;
  for (i = 0; i < m->leg_count; ++i) {
    struct leg *leg = &m->legs[i];

    if (leg_get_state (leg) != LEG_RECOVERING)
      continue;
    r = m->leg_changed (m->opaque, i, LEG_IN_SYNC, NULL);
    if (r < 0) {
      log_error ("mirror: leg %u (%s) is in sync, but this cannot be "
                 "recorded: %s",
                 i, leg->name, errno_text (r));
      continue;
    }
    mirror_set_leg_state (m, i, LEG_IN_SYNC);
    log_info ("mirror: leg %u (%s): in sync", i, leg->name);
  }
  if (m->resynced != NULL) {
    r = m->resynced (m->opaque);
    if (r < 0)
      log_error ("mirror: the end of the resync cannot be recorded: %s",
                 errno_text (r));
  }
}

/* True if there is anything to do that can be done. */
static bool
has_work (struct mirror *m)
{
  unsigned i;

  if (group_sync_error (&m->flushes) < 0)
    return false; /* nothing can be made durable any more */
  for (i = 0; i < m->leg_count; ++i)
    if (leg_get_state (&m->legs[i]) == LEG_RECOVERING)
      return true;
  return region_hash_in_sync_count (m->regions) <
         region_hash_region_count (m->regions);
}

/* Go over all regions once. */
static void
resync_pass (struct mirror *m, uint64_t *clean_ns)
{
  uint64_t started_ns = clock_now_ns ();
  uint64_t done_bytes = 0;
  uint64_t region;

  for (region = 0; may_go_on (m, started_ns, done_bytes) &&
                   region_hash_next_nosync (m->regions, &region);
       ++region) {
    sector_t sector, count;
    bool recovered;

    region_hash_recovery_begin (m->regions, region);
    recovered = recover_region (m, region);
    region_hash_recovery_end (m->regions, region, recovered);
    region_hash_region_range (m->regions, region, &sector, &count);
    done_bytes += sector_to_bytes (count);
    mirror_tell (m, MIRROR_RESYNC_GOES_ON);
    mirror_clean_log_lazily (m, clean_ns);
  }
}

/* Wait until there is work and it is time to try (again), and clean the log
 * meanwhile.  Returns false when the resync is to stop.
 */
static bool
wait_for_work (struct mirror *m, uint64_t not_before_ns, uint64_t *clean_ns)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->resync_lock);
  m->resync_is_running = false;
  while (!m->resync_must_stop) {
    uint64_t now_ns = clock_now_ns (), until_ns = UINT64_MAX;

    if (m->resync_is_now) { /* asked for: there is nothing to wait for */
      m->resync_is_now = false;
      not_before_ns = 0;
    }
    if (has_work (m) && !m->resync_is_paused) {
      if (now_ns >= not_before_ns)
        break;
      until_ns = not_before_ns;
    }
    if (mirror_has_marks (m)) {
      if (now_ns >= *clean_ns) {
        mutex_unlock (&m->resync_lock);
        mirror_clean_log_lazily (m, clean_ns);
        mutex_lock (&m->resync_lock);
        continue;
      }
      until_ns = MIN_OF (until_ns, *clean_ns);
    }
    if (until_ns == UINT64_MAX)
      cond_wait (&m->resync_wake, &m->resync_lock);
    else
      (void) cond_wait_until (&m->resync_wake, &m->resync_lock, until_ns);
  }
  m->resync_is_running = !m->resync_must_stop; /* so not once it has ended */
  return !m->resync_must_stop;
}

#define RETRY_MIN_NS NS_PER_SECOND
#define RETRY_MAX_NS (300 * NS_PER_SECOND)

static void
resync_main (void *arg)
{
  struct mirror *m = arg;
  uint64_t not_before_ns = 0;
  uint64_t retry_ns = RETRY_MIN_NS;
  uint64_t clean_ns = 0;
  bool has_begun = false;

  while (wait_for_work (m, not_before_ns, &clean_ns)) {
    if (!has_begun)
      mirror_tell (m, MIRROR_RESYNC_BEGINS);
    has_begun = true;
    resync_pass (m, &clean_ns);
    if (mirror_is_clean (m))
      finish_resync (m);
    if (!has_work (m)) {
      mirror_tell (m, MIRROR_RESYNC_ENDS);
      has_begun = false;
    }
    if (!has_begun || !may_go_on (m, 0, 0)) {
      not_before_ns = 0;
      retry_ns = RETRY_MIN_NS;
      continue;
    }
    log_warning ("mirror: resync: %" PRIu64 " of %" PRIu64 " regions are still "
                 "out of sync; the next try is in %" PRIu64 " s",
                 region_hash_region_count (m->regions) -
                   region_hash_in_sync_count (m->regions),
                 region_hash_region_count (m->regions),
                 (uint64_t) (retry_ns / NS_PER_SECOND));
    not_before_ns = clock_now_ns () + retry_ns;
    retry_ns = MIN_OF (retry_ns * 2, RETRY_MAX_NS);
  }
}

void
mirror_wake_resync (struct mirror *m)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->resync_lock);
  cond_broadcast (&m->resync_wake);
}

/* Start the thread, if there is anything that could be copied anywhere. */
static int
start_thread (struct mirror *m)
{
  int r;

  if (m->leg_count == 1)
    return 0;
  r = kcopyd_client_create (RESYNC_PAGES, &m->kcopyd);
  if (r < 0)
    return r;
  mutex_lock (&m->resync_lock);
  m->resync_must_stop = false;
  m->resync_is_running = has_work (m);
  mutex_unlock (&m->resync_lock);
  r = thread_start (&m->resync_thread, "dm-resync", resync_main, m);
  if (r < 0) {
    mutex_lock (&m->resync_lock);
    m->resync_is_running = false;
    mutex_unlock (&m->resync_lock);
    kcopyd_client_destroy (m->kcopyd);
    return r;
  }
  m->resync_exists = true;
  return 0;
}

static void
stop_thread (struct mirror *m)
{
  if (!m->resync_exists)
    return;
  mutex_lock (&m->resync_lock);
  m->resync_must_stop = true;
  cond_broadcast (&m->resync_wake);
  mutex_unlock (&m->resync_lock);
  thread_join (&m->resync_thread);
  kcopyd_client_destroy (m->kcopyd);
  m->resync_exists = false;
}

int
mirror_start_resync (struct mirror *mirror)
{
  int r;

  stop_thread (mirror);
  r = start_thread (mirror);
  mirror->resync_is_wanted = r == 0;
  return r;
}

void
mirror_stop_resync (struct mirror *mirror)
{
  stop_thread (mirror);
  mirror->resync_is_wanted = false;
}

void
mirror_hold_resync (struct mirror *m)
{
  stop_thread (m);
}

void
mirror_let_resync_go (struct mirror *m)
{
  int r = m->resync_is_wanted ? start_thread (m) : 0;

  if (r < 0)
    log_error ("mirror: the resync cannot be started again: %s; that is tried "
               "at the next change of a leg, and the next start",
               errno_text (r));
}

bool
mirror_pause_resync (struct mirror *mirror, enum resync_pause pause)
{
  bool is_paused = pause == RESYNC_PAUSE;
  bool has_changed;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&mirror->resync_lock);
  has_changed = mirror->resync_is_paused != is_paused;
  mirror->resync_is_paused = is_paused;
  cond_broadcast (&mirror->resync_wake);
  return has_changed;
}

void
mirror_hurry_resync (struct mirror *mirror)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&mirror->resync_lock);
  mirror->resync_is_now = true;
  cond_broadcast (&mirror->resync_wake);
}

bool
mirror_set_resync_rate (struct mirror *mirror, uint64_t bytes_per_second)
{
  bool has_changed;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&mirror->resync_lock);
  has_changed = mirror->resync_rate != bytes_per_second;
  mirror->resync_rate = bytes_per_second;
  cond_broadcast (&mirror->resync_wake);
  return has_changed;
}

bool
mirror_needs_resync (struct mirror *mirror)
{
  return has_work (mirror);
}
