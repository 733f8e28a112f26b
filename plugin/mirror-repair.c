/* Read repair: what one leg could not read is rewritten from another.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The thread of a client that met a read error notes it here, once another
 * leg has answered.  A thread of its own then holds the region, so that
 * nobody writes to it, looks which blocks cannot be read, reads them from
 * another leg in sync, writes them to the one that has failed, and reads
 * them again.  A leg that does not take them, or does not give them back, has
 * failed.  So has one of which too many reads fail in too short a time, and
 * one that is gone as a whole: these fail at once, in the thread of the
 * client, before it gets an answer.
 *
 * Invariants:
 * (1) a leg is only rewritten where the region is held and legs in sync agree,
 *     from one of them, while it is one itself: so what is written is what was
 *     there, and never older than what a client has written;
 * (2) nothing is written, and no leg fails by a read, before
 *     mirror_start_repair and after mirror_stop_repair: a volume that is only
 *     read changes no byte.
 *
 * The mark of a region stays clean: whatever of the write reaches the disk,
 * sector by sector, is what the sector should hold.
 *
 * Locks: repair_lock is a leaf; no lock is held during I/O, but regions are.
 *
 * Model: Linux 6.1 drivers/md/raid1.c, fix_read_error(): same steps, same
 * limit of errors that halves each hour.  dm-mirror does not repair.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "clock.h"
#include "log-sink.h"
#include "mirror-impl.h"

/* So much is looked at while a region is held. */
#define REPAIR_SECTORS ((sector_t) 128)

/*----- noting errors ---------------------------------------------------*/

/* Count an error of LEG; returns how many there are of late.  The caller
 * holds repair_lock.
 */
static unsigned
count_recent_error_locked (struct leg *leg)
{
  uint64_t now = clock_now_ns ();

  for (; leg->recent_errors > 0 &&
         now - leg->recent_since_ns >= MIRROR_READ_ERRORS_NS;
       leg->recent_since_ns += MIRROR_READ_ERRORS_NS)
    leg->recent_errors /= 2;
  if (leg->recent_errors == 0)
    leg->recent_since_ns = now;
  return ++leg->recent_errors;
}

void
mirror_note_read_error (struct mirror *m, const struct leg_failure *failure)
{
  struct leg_failure f = *failure;
  struct leg *leg = &m->legs[f.leg];

  if (f.error == -ENOMEM)
    return; /* our fault */
  atomic_store (&leg->is_doubtful, true);
  mutex_lock (&m->repair_lock);
  if (!m->repair_is_on) {
    mutex_unlock (&m->repair_lock);
    return; /* (2) */
  }
  f.times = count_recent_error_locked (leg);
  mutex_unlock (&m->repair_lock);
  if (mirror_error_is_gone (f.error)) {
    f.times = 1;
    if (mirror_fail_leg (m, &f) < 0) /* the last one stays, as it must */
      mirror_tell (m, MIRROR_LAST_LEG_GONE);
  }
  else if (f.times > MIRROR_READ_ERRORS_MAX)
    (void) mirror_fail_leg (m, &f);
}

/* True if what A asks for is in B. */
static bool
is_part_of (const struct repair *a, const struct repair *b)
{
  return a->leg == b->leg && a->sector >= b->sector &&
         a->sector + a->count <= b->sector + b->count;
}

void
mirror_ask_for_repair (struct mirror *m, unsigned leg, sector_t sector,
                       sector_t count)
{
  struct repair repair = { .leg = leg, .sector = sector, .count = count };
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->repair_lock);
  if (!m->repair_is_on || m->repair_count == MIRROR_MAX_REPAIRS)
    return; /* the next read that fails there asks again */
  for (i = 0; i < m->repair_count; ++i)
    if (is_part_of (&repair, &m->repairs[i]))
      return;
  m->repairs[m->repair_count++] = repair;
  cond_broadcast (&m->repair_wake);
}

/*----- repairing -------------------------------------------------------*/

/* The smallest part of a leg that can be written as it is. */
static sector_t
leg_block_sectors (struct mirror *m, unsigned leg)
{
  struct bdev_limits limits = { .block_bytes = SECTOR_SIZE };

  if (leg_get_in_sync (m, &m->legs[leg])) {
    bdev_get_limits (m->legs[leg].bdev, &limits);
    leg_put (m, &m->legs[leg]);
  }
  return MAX_OF (limits.block_bytes >> SECTOR_SHIFT, (sector_t) 1);
}

/* Memory of the thread. */
struct repairer {
  unsigned char good[REPAIR_SECTORS * SECTOR_SIZE];
  unsigned char again[REPAIR_SECTORS * SECTOR_SIZE];
};

static int
read_from (struct mirror *m, unsigned leg, sector_t sector, sector_t count,
           void *buffer)
{
  struct io_region where = { m->legs[leg].bdev, sector, count };
  int error = 0;
  int r = dm_io_sync_vm_errors (1, &where, DM_IO_READ, buffer, NULL, &error);

  return r < 0 && error < 0 ? error : r;
}

/* Read into GOOD from any leg in sync but LEG.  Returns that leg, or NO_LEG. */
static unsigned
read_good_copy (struct mirror *m, unsigned leg, sector_t sector, sector_t count,
                void *good)
{
  unsigned i;

  for (i = 0; i < m->leg_count; ++i) {
    int r;

    if (i == leg || !leg_get_in_sync (m, &m->legs[i]))
      continue;
    r = read_from (m, i, sector, count, good);
    leg_put (m, &m->legs[i]);
    if (r == 0)
      return i;
  }
  return NO_LEG;
}

static int
rewrite (struct mirror *m, unsigned leg, sector_t sector, sector_t count,
         const void *data, void *again)
{
  struct io_region where = { m->legs[leg].bdev, sector, count };
  struct leg_failure failure = {
    .leg = leg, .op = LEG_OP_REPAIR, .sector = sector, .count = count
  };

  if (dm_io_sync_vm_errors (1, &where, DM_IO_WRITE, (void *) data, NULL,
                            &failure.error) < 0)
    atomic_fetch_add (&m->legs[leg].write_errors, 1);
  else {
    failure.op = LEG_OP_READ_AGAIN;
    failure.error = read_from (m, leg, sector, count, again);
    if (failure.error == 0) {
      if (memcmp (data, again, sector_to_bytes (count)) == 0) {
        atomic_fetch_add (&m->legs[leg].repaired_bytes,
                          sector_to_bytes (count));
        return 0;
      }
      failure.op = LEG_OP_VERIFY;
      failure.error = -EIO;
    }
  }
  if (failure.error != -ENOMEM)
    (void) mirror_fail_leg (m, &failure);
  return failure.error;
}

int
mirror_rewrite (struct mirror *m, unsigned leg, sector_t sector, sector_t count,
                const void *data, void *again)
{
  int r;

  /* Another device of that number is not in sync while the region is held. */
  if (!leg_get_in_sync (m, &m->legs[leg]))
    return -ENODEV;
  r = rewrite (m, leg, sector, count, data, again);
  leg_put (m, &m->legs[leg]);
  return r;
}

/* Rewrite what cannot be read.  Returns false if it stays as bad as it is. */
static bool
repair_block (struct mirror *m, unsigned leg, sector_t sector, sector_t count,
              struct repairer *memory)
{
  const char *name = m->legs[leg].name;
  unsigned source = read_good_copy (m, leg, sector, count, memory->good);

  if (source == NO_LEG) {
    log_error ("mirror: leg %u (%s): %" PRIu64 " bytes at %" PRIu64
               " cannot be read, nor from any other leg in sync; they stay "
               "as they are until they are written",
               leg, name, sector_to_bytes (count), sector_to_bytes (sector));
    return false;
  }
  if (mirror_rewrite (m, leg, sector, count, memory->good, memory->again) < 0)
    return false;
  if (is_power_of_2 (atomic_fetch_add (&m->repairs_done, 1) + 1))
    log_warning ("mirror: leg %u (%s): %" PRIu64 " bytes at %" PRIu64
                 " could not be read; they were rewritten from leg %u (%s), "
                 "and can be read again",
                 leg, name, sector_to_bytes (count), sector_to_bytes (sector),
                 source, m->legs[source].name);
  return true;
}

/* Repair what cannot be read of at most REPAIR_SECTORS, in a region that is
 * held.
 */
static bool
repair_piece (struct mirror *m, unsigned leg, sector_t sector, sector_t count,
              struct repairer *memory)
{
  sector_t block = leg_block_sectors (m, leg), at, n;
  bool ok = true;

  if (read_from (m, leg, sector, count, memory->again) == 0)
    return true; /* it was nothing that lasts, or somebody has written there */
  for (at = 0; ok && at < count; at += n) {
    n = MIN_OF (block, count - at);
    if (read_from (m, leg, sector + at, n, memory->again) < 0)
      ok = repair_block (m, leg, sector + at, n, memory);
  }
  return ok;
}

/* A request, piece by piece, with all of the leg's blocks that it touches: a
 * part of a block cannot be written without reading the rest.
 */
static bool
repair_range (struct mirror *m, const struct repair *repair,
              struct repairer *memory)
{
  sector_t block = leg_block_sectors (m, repair->leg);
  sector_t at = round_down_to (repair->sector, block);
  sector_t end = MIN_OF (round_up_to (repair->sector + repair->count, block),
                         m->target.sectors);
  struct leg *leg = &m->legs[repair->leg];
  bool ok = true;

  while (ok && at < end && !atomic_load (&m->repair_must_stop)) {
    sector_t first, length, n;
    uint64_t region = at / m->region_sectors;

    region_hash_region_range (m->regions, region, &first, &length);
    n = MIN_OF (REPAIR_SECTORS, MIN_OF (first + length, end) - at);
    region_hash_hold (m->regions, region);
    if (region_hash_legs_agree (m->regions, at, n) &&
        leg_get_in_sync (m, leg)) { /* (1) */
      ok = repair_piece (m, repair->leg, at, n, memory);
      leg_put (m, leg);
    }
    region_hash_release (m->regions, region);
    at += n;
  }
  return ok;
}

/* Wait for a request.  Returns false when all is to stop. */
static bool
take_repair (struct mirror *m, struct repair *repair)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->repair_lock);
  m->repair_is_busy = false;
  while (!m->repair_must_stop && m->repair_count == 0)
    cond_wait (&m->repair_wake, &m->repair_lock);
  if (m->repair_must_stop)
    return false;
  *repair = m->repairs[0];
  m->repair_count--;
  memmove (&m->repairs[0], &m->repairs[1],
           m->repair_count * sizeof m->repairs[0]);
  m->repair_is_busy = true;
  return true;
}

static void
repair_main (void *arg)
{
  struct mirror *m = arg;
  struct repair repair;

  while (take_repair (m, &repair))
    if (repair_range (m, &repair, m->repairer))
      /* If it is bad elsewhere the next read that fails says so. */
      atomic_store (&m->legs[repair.leg].is_doubtful, false);
}

/*----- life ------------------------------------------------------------*/

int
mirror_start_repair (struct mirror *mirror)
{
  int r;

  mirror_stop_repair (mirror);
  mirror->repairer = malloc (sizeof *mirror->repairer);
  if (mirror->repairer == NULL)
    return -ENOMEM;
  /* The lock is for those that look: a compiler reads neighbours at once. */
  mutex_lock (&mirror->repair_lock);
  mirror->repair_must_stop = false;
  mutex_unlock (&mirror->repair_lock);
  r = thread_start (&mirror->repair_thread, "dm-repair", repair_main, mirror);
  if (r < 0) {
    free (mirror->repairer);
    return r;
  }
  mutex_lock (&mirror->repair_lock);
  mirror->repair_is_on = true;
  mutex_unlock (&mirror->repair_lock);
  return 0;
}

void
mirror_stop_repair (struct mirror *mirror)
{
  if (!mirror->repair_is_on)
    return;
  mutex_lock (&mirror->repair_lock);
  mirror->repair_is_on = false;
  mirror->repair_must_stop = true;
  mirror->repair_count = 0;
  cond_broadcast (&mirror->repair_wake);
  mutex_unlock (&mirror->repair_lock);
  thread_join (&mirror->repair_thread);
  free (mirror->repairer);
}
