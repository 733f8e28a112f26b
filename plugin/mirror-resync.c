/* The resync: copies regions that are not in sync from the primary.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One thread goes over the regions that are not in sync, and has some of
 * them copied at once: writes to a region are kept out, kcopyd copies it from
 * the primary to all other legs in use, and it counts as in sync.  A region
 * that cannot be read stays out of sync and is tried again later; a leg
 * that is recovering and cannot be written fails.  When all regions are in
 * sync, all legs are flushed, and those that were recovering are recorded
 * as in sync.  Then the thread waits: a write that fails on all legs puts
 * a region out of sync again.  Meanwhile it cleans the dirty log.
 *
 * The pace is that of regions: what is held back has not begun, for a region
 * that is being copied keeps writers out.
 *
 * When the primary fails while a region is copied from it, the copy still
 * goes on to the leg that is the primary then.  Nobody may see what was there
 * before it, and then what comes: so who reads where legs in sync may differ
 * waits until the copy has ended (mirror-read.c).
 *
 * Locks: resync_lock is a leaf; the thread holds no lock while it copies.
 * Regions are held in rising order.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bits.h"
#include "clock.h"
#include "kcopyd-errors.h"
#include "log-sink.h"
#include "mirror-impl.h"

/* At most so many regions are copied at once, and so many bytes, if it is more
 * than one region.
 */
#define RESYNC_COPIES KCOPYD_RESERVED_JOBS
#define RESYNC_BYTES (8U << 20)

/* Parts of jobs in flight: some are read while others are written. */
#define RESYNC_PARTS 8
#define RESYNC_PAGES \
  (RESYNC_PARTS * \
   (unsigned) (KCOPYD_SUB_JOB_SECTORS * SECTOR_SIZE / DM_PAGE_SIZE))

/* The rate's share of the resync is looked at so often while it waits for its
 * time: that another job has ended does not wake it.
 */
#define RESYNC_LOOK_AGAIN_NS (60 * NS_PER_SECOND)

/* One region on its way. */
struct region_copy {
  struct mirror *m;
  bool is_used;
  bool is_done; /* under resync_lock */
  bool is_over; /* and it is in sync and let go already */
  uint64_t region;
  struct pace_piece piece;
  bool they_agree; /* the legs that are in sync */
  unsigned source;
  unsigned num_dests;
  unsigned legs[MIRROR_MAX_LEGS];
  struct io_region from;
  struct io_region dests[MIRROR_MAX_LEGS];
  int read_err;
  unsigned write_err;
  struct kcopyd_errors why;
};

/* One time over all regions. */
struct pass {
  struct mirror *m;
  uint64_t *clean_ns;
  uint64_t next_region;
  unsigned in_flight;
  struct region_copy copies[RESYNC_COPIES];
};

/*----- copying ---------------------------------------------------------*/

static void
let_source_go (struct region_copy *copy)
{
  if (!copy->they_agree)
    mirror_let_primary_go (copy->m, copy->source);
}

/* On kcopyd's thread. */
static void
region_copied (int read_err, unsigned write_err, void *context)
{
  struct region_copy *copy = context;
  struct mirror *m = copy->m;

  /* The usual case: whoever waits for the region need not wait for the
   * resync's thread.
   */
  if (read_err == 0 && write_err == 0) {
    region_hash_recovery_end (m->regions, copy->region, true);
    let_source_go (copy);
    copy->is_over = true;
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->resync_lock);
  copy->read_err = read_err;
  copy->write_err = write_err;
  copy->is_done = true;
  cond_broadcast (&m->resync_wake);
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
 * it already are left alone.
 */
static void
zero_dests (struct region_copy *copy)
{
  unsigned i;

  for (i = 0; i < copy->num_dests; ++i)
    if (!is_hole (&copy->dests[i]) &&
        dm_io_sync_vm_errors (1, &copy->dests[i],
                              DM_IO_WRITE_ZEROES | DM_IO_UNMAP, NULL, NULL,
                              &copy->why.write[i]) < 0)
      copy->write_err |= 1U << i;
}

/* A leg could not be written, but stays: the region is tried again. */
static void
say_tried_again (struct mirror *m, const struct leg_failure *failure)
{
  const char *name = m->legs[failure->leg].name;
  char text[MIRROR_FAILURE_BYTES];

  if (!mirror_must_tell (m))
    return;
  mirror_failure_text (failure, text);
  log_error ("mirror: leg %u (%s): %s; the region is tried again; %s",
             failure->leg, name, text,
             mirror_failure_remedy (name, failure->error));
}

/* Drop the legs that could not be written, of those that are recovering or
 * gone.  Returns false if the region is not recovered: because that cannot be
 * recorded, for want of memory, which is no leg's fault, or because a leg in
 * sync could not be written, which is tried again: its space may have run out
 * like that of the others.
 */
static bool
drop_failed_legs (const struct region_copy *copy)
{
  struct mirror *m = copy->m;
  bool ok = true;
  unsigned i;

  for (i = 0; copy->write_err >> i != 0; ++i) {
    struct leg *leg = &m->legs[copy->legs[i]];
    struct leg_failure failure = {
      .leg = copy->legs[i],
      .op = LEG_OP_RESYNC,
      .sector = copy->dests[i].sector,
      .count = copy->dests[i].count,
      .error = copy->why.write[i],
    };

    if (!(copy->write_err >> i & 1))
      continue;
    atomic_fetch_add (&leg->write_errors, 1);
    if (failure.error == -ENOMEM || (leg_get_state (leg) == LEG_IN_SYNC &&
                                     !mirror_error_is_gone (failure.error))) {
      say_tried_again (m, &failure);
      ok = false;
    }
    else if (mirror_fail_leg (m, &failure) < 0)
      ok = false;
  }
  return ok;
}

/*----- one region ------------------------------------------------------*/

/* The primary, or where legs in sync agree another one, if the primary could
 * not be read before.  Where they do not, it is held: none of them must be
 * read while others are written.
 */
static unsigned
choose_source (struct mirror *m, bool they_agree)
{
  unsigned primary, i;

  if (!they_agree)
    return mirror_hold_primary (m);
  primary = mirror_primary (m);
  if (!m->legs[primary].is_doubtful)
    return primary;
  for (i = 0; i < m->leg_count; ++i)
    if (leg_get_state (&m->legs[i]) == LEG_IN_SYNC && !m->legs[i].is_doubtful)
      return i;
  return primary;
}

/* From where to where, now that writes to the region are kept out: where legs
 * in sync agree only to those that recover.
 */
static void
choose_legs (struct region_copy *copy)
{
  struct mirror *m = copy->m;
  unsigned i;

  copy->num_dests = 0;
  region_hash_region_range (m->regions, copy->region, &copy->from.sector,
                            &copy->from.count);
  copy->they_agree = region_hash_legs_agree (m->regions, copy->from.sector,
                                             copy->from.count);
  copy->source = choose_source (m, copy->they_agree);
  copy->from.bdev = m->legs[copy->source].bdev;
  for (i = 0; i < m->leg_count; ++i) {
    if (i == copy->source || !leg_is_used (&m->legs[i]) ||
        (copy->they_agree && leg_get_state (&m->legs[i]) == LEG_IN_SYNC))
      continue;
    copy->legs[copy->num_dests] = i;
    copy->dests[copy->num_dests] = copy->from;
    copy->dests[copy->num_dests++].bdev = m->legs[i].bdev;
  }
}

/* Begin to make REGION the same on all legs in use. */
static void
begin_copy (struct pass *p, uint64_t region)
{
  struct region_copy *copy = p->copies;
  struct mirror *m = p->m;
  int r = 0;

  while (copy->is_used)
    copy++;
  memset (copy, 0, sizeof *copy);
  copy->m = m;
  copy->region = region;
  copy->is_used = true;
  p->in_flight++;
  region_hash_recovery_begin (m->regions, region);
  choose_legs (copy);
  pace_piece_begin (&m->resync_job, &copy->piece,
                    sector_to_bytes (copy->from.count));
  if (copy->num_dests == 0)
    copy->is_done = true;
  else if (is_hole (&copy->from)) {
    zero_dests (copy);
    copy->is_done = true;
  }
  else
    /* All of it, after an error too: a leg that fails must not leave another
     * one with half a region.
     */
    r = kcopyd_copy_errors (m->kcopyd, &copy->from, copy->num_dests,
                            copy->dests, 1U << KCOPYD_IGNORE_ERROR,
                            region_copied, copy, &copy->why);
  if (r < 0) {
    log_error ("mirror: resync at %" PRIu64 " is put off: %s",
               sector_to_bytes (copy->from.sector), errno_text (r));
    region_hash_recovery_end (m->regions, region, false);
    let_source_go (copy);
    copy->is_done = copy->is_over = true;
  }
}

/* The source could not be read. */
static void
note_read_error (struct region_copy *copy)
{
  struct mirror *m = copy->m;
  struct leg_failure failure = {
    .leg = copy->source,
    .op = LEG_OP_READ,
    .sector = copy->from.sector,
    .count = copy->from.count,
    .error = copy->why.read,
  };

  atomic_fetch_add (&m->legs[copy->source].read_errors, 1);
  log_error ("mirror: leg %u (%s): resync read of %" PRIu64 " bytes at %" PRIu64
             " failed: %s; the region stays out of sync",
             copy->source, m->legs[copy->source].name,
             sector_to_bytes (copy->from.count),
             sector_to_bytes (copy->from.sector), errno_text (copy->why.read));
  /* Where legs in sync differ, nothing may be repaired from another one; but
   * one that is gone as a whole fails there, too, as it does for a client.
   */
  if (copy->they_agree || mirror_error_is_gone (failure.error))
    mirror_note_read_error (m, &failure);
  if (copy->they_agree)
    mirror_ask_for_repair (m, copy->source, failure.sector, failure.count);
}

/* It has been copied, or not. */
static void
end_copy (struct region_copy *copy)
{
  bool recovered = false;

  if (copy->is_over)
    return;
  if (copy->read_err)
    note_read_error (copy);
  else
    recovered = drop_failed_legs (copy);
  region_hash_recovery_end (copy->m->regions, copy->region, recovered);
  let_source_go (copy);
}

/*----- the pace --------------------------------------------------------*/

/* When the next copy may begin; UINT64_MAX: not before one has ended.
 * While clients are busy there is one at a time.
 */
static uint64_t
next_begin_ns (const struct pass *p)
{
  struct mirror *m = p->m;
  uint64_t depth = RESYNC_BYTES / sector_to_bytes (m->region_sectors);

  depth = pace_is_busy (&m->resync_job)
            ? 1
            : MIN_OF (MAX_OF (depth, 1), RESYNC_COPIES);
  return p->in_flight < depth ? pace_next_ns (&m->resync_job) : UINT64_MAX;
}

/*----- all regions -----------------------------------------------------*/

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
    r = mirror_record_leg (m, i, LEG_IN_SYNC, NULL);
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

/* Take the copies that are done.  The caller holds resync_lock, which is let
 * go meanwhile.
 */
static void
take_done_locked (struct pass *p)
{
  struct mirror *m = p->m;
  unsigned i;

  for (i = 0; i < RESYNC_COPIES; ++i) {
    struct region_copy *copy = &p->copies[i];

    if (!copy->is_used || !copy->is_done)
      continue;
    mutex_unlock (&m->resync_lock);
    end_copy (copy);
    copy->is_used = false;
    p->in_flight--;
    pace_piece_end (&m->resync_job, &copy->piece, copy->piece.bytes);
    mirror_tell (m, MIRROR_RESYNC_GOES_ON);
    mutex_lock (&m->resync_lock);
  }
}

static bool
any_is_done (const struct pass *p)
{
  unsigned i;

  for (i = 0; i < RESYNC_COPIES; ++i)
    if (p->copies[i].is_used && p->copies[i].is_done)
      return true;
  return false;
}

/* Go over all regions once, until all have been tried, or the resync is paused
 * or to stop: then until what has begun has ended.
 */
static void
resync_pass (struct pass *p)
{
  struct mirror *m = p->m;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->resync_lock);
  for (;;) {
    uint64_t until_ns = UINT64_MAX;
    bool may_begin;

    take_done_locked (p);
    /* Asked after that, which lets the lock go: or a stop that came meanwhile
     * would wait for the rate.
     */
    may_begin = !m->resync_must_stop && !m->resync_is_paused &&
                region_hash_next_nosync (m->regions, &p->next_region);
    if (may_begin)
      until_ns = next_begin_ns (p);
    else if (p->in_flight == 0)
      break;
    if (clock_now_ns () >= until_ns) {
      mutex_unlock (&m->resync_lock);
      begin_copy (p, p->next_region++);
      mirror_clean_log_lazily (m, p->clean_ns);
      mutex_lock (&m->resync_lock);
    }
    else if (any_is_done (p))
      continue;
    else if (until_ns == UINT64_MAX)
      cond_wait (&m->resync_wake, &m->resync_lock);
    else
      (void) cond_wait_until (&m->resync_wake, &m->resync_lock,
                              MIN_OF (until_ns,
                                      clock_now_ns () + RESYNC_LOOK_AGAIN_NS));
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
    if (!has_work (m)) {
      if (m->resync_has_begun)
        break; /* what was left to do has gone: with its leg */
    }
    else if (!m->resync_is_paused) {
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

/* True if the resync is to go on. */
static bool
is_on (struct mirror *m)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->resync_lock);
  return !m->resync_must_stop && !m->resync_is_paused;
}

/* Tell that it begins, unless that has been told. */
static void
begin_resync (struct mirror *m)
{
  bool had_begun;

  mutex_lock (&m->resync_lock);
  had_begun = m->resync_has_begun;
  m->resync_has_begun = true;
  mutex_unlock (&m->resync_lock);
  if (!had_begun)
    mirror_tell (m, MIRROR_RESYNC_BEGINS);
}

/* If nothing is left to do tell that it ends, and true. */
static bool
end_resync (struct mirror *m)
{
  if (has_work (m))
    return false;
  mutex_lock (&m->resync_lock);
  m->resync_has_begun = false;
  if (m->resync_pause_ends)
    m->resync_is_paused = m->resync_pause_ends = false;
  mutex_unlock (&m->resync_lock);
  mirror_tell (m, MIRROR_RESYNC_ENDS);
  return true;
}

static void
resync_main (void *arg)
{
  struct mirror *m = arg;
  uint64_t not_before_ns = 0;
  uint64_t retry_ns = RETRY_MIN_NS;
  uint64_t clean_ns = 0;

  while (wait_for_work (m, not_before_ns, &clean_ns)) {
    struct pass pass = {
      .m = m,
      .clean_ns = &clean_ns,
    };

    begin_resync (m);
    pace_job_begin (&m->resync_job);
    resync_pass (&pass);
    pace_job_end (&m->resync_job);
    if (mirror_is_clean (m))
      finish_resync (m);
    if (end_resync (m) || !is_on (m)) {
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
  mirror->resync_pause_ends = false;
  cond_broadcast (&mirror->resync_wake);
  return has_changed;
}

int
mirror_cancel_resync (struct mirror *mirror)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&mirror->resync_lock);
  if (!mirror->resync_has_begun)
    return -ENOENT;
  if (mirror->resync_is_paused)
    return 1;
  mirror->resync_is_paused = mirror->resync_pause_ends = true;
  cond_broadcast (&mirror->resync_wake);
  return 0;
}

void
mirror_hurry_resync (struct mirror *mirror)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&mirror->resync_lock);
  mirror->resync_is_now = true;
  cond_broadcast (&mirror->resync_wake);
}

bool
mirror_set_pace_rate (struct mirror *mirror, uint64_t bytes_per_second)
{
  bool has_changed = pace_set_rate (mirror->pace, bytes_per_second);

  mirror_wake_resync (mirror); /* which waits here, for copies, too */
  return has_changed;
}

bool
mirror_needs_resync (struct mirror *mirror)
{
  return has_work (mirror);
}
