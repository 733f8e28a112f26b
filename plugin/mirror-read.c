/* The reads of the mirror: which leg is asked, and who else if it fails.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the legs in sync agree any of them is read, by the policy; elsewhere
 * only the primary, since legs may differ there, and a client that has seen
 * one answer must not see another.
 *
 * Invariant:
 * (1) while the resync copies from a primary to legs in sync, copies_from says
 *     so, and that leg was the primary after it had been said: who finds
 *     another primary after that finds the copy, too.
 *
 * Model: Linux 6.1 drivers/md/dm-raid1.c: one leg is trusted where regions
 * are out of sync.  Differs: reads are spread.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "bits.h"
#include "log-sink.h"
#include "mirror-impl.h"

/*----- the primary -----------------------------------------------------*/

unsigned
mirror_hold_primary (struct mirror *m)
{
  for (;;) {
    unsigned primary = mirror_primary (m);

    atomic_fetch_add (&m->copies_from[primary], 1);
    if (mirror_primary (m) == primary) /* (1) */
      return primary;
    mirror_let_primary_go (m, primary);
  }
}

void
mirror_let_primary_go (struct mirror *m, unsigned leg)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->resync_lock);
  atomic_fetch_sub (&m->copies_from[leg], 1);
  cond_broadcast (&m->resync_wake);
}

/* True if what is copied now may reach PRIMARY. */
static bool
is_copied_to (struct mirror *m, unsigned primary)
{
  unsigned i;

  for (i = 0; i < m->leg_count; ++i)
    if (i != primary && atomic_load (&m->copies_from[i]) > 0)
      return true;
  return false;
}

/* The primary, for who reads what it holds: while a region is still being
 * copied from the one before, this waits, since the copy may reach it.
 */
static unsigned
primary_to_read (struct mirror *m)
{
  unsigned primary = mirror_primary (m);

  if (!is_copied_to (m, primary))
    return primary;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->resync_lock);
  while (primary = mirror_primary (m), is_copied_to (m, primary))
    cond_wait (&m->resync_wake, &m->resync_lock);
  return primary;
}

/*----- reading ---------------------------------------------------------*/

/* True if A should rather be read than B, which is not NO_LEG. */
static bool
is_better_leg (struct mirror *m, unsigned a, unsigned b)
{
  if (m->legs[a].is_write_mostly != m->legs[b].is_write_mostly)
    return m->legs[b].is_write_mostly;
  /* A leg that could not be read before is asked only when it must be. */
  if (m->legs[a].is_doubtful != m->legs[b].is_doubtful)
    return m->legs[b].is_doubtful;
  return m->read_policy == READ_LEAST_PENDING &&
         atomic_load (&m->legs[a].users) < atomic_load (&m->legs[b].users);
}

/* The leg to read, among those not in TRIED; NO_LEG if there is none. */
static unsigned
choose_leg (struct mirror *m, bool is_in_sync, unsigned long tried)
{
  unsigned count = m->leg_count, best = NO_LEG, i, start = 0;

  if (!is_in_sync) {
    unsigned primary = primary_to_read (m);

    return tried & 1UL << primary ? NO_LEG : primary;
  }
  if (m->read_policy == READ_ROUND_ROBIN)
    start = atomic_fetch_add (&m->round_robin, 1) % count;
  for (i = 0; i < count; ++i) {
    unsigned leg = (start + i) % count;

    if (tried & 1UL << leg || leg_get_state (&m->legs[leg]) != LEG_IN_SYNC)
      continue;
    if (best == NO_LEG || is_better_leg (m, leg, best))
      best = leg;
  }
  return best;
}

static int
read_leg (struct leg *leg, void *buffer, sector_t sector, sector_t count)
{
  struct io_region where = { leg->bdev, sector, count };
  int error = 0;
  int r;

  r = dm_io_sync_vm_errors (1, &where, DM_IO_READ, buffer, NULL, &error);
  if (r < 0)
    return error < 0 ? error : r;
  atomic_fetch_add (&leg->reads, 1);
  atomic_fetch_add (&leg->read_bytes, sector_to_bytes (count));
  return 0;
}

/* Where a leg could not be read, and what it says of it. */
static void
note_error (struct mirror *m, unsigned leg, sector_t sector, sector_t count,
            bool is_in_sync, int error)
{
  struct leg_failure failure = { .leg = leg,
                                 .op = LEG_OP_READ,
                                 .sector = sector,
                                 .count = count,
                                 .error = error };

  /* The first error is told, and then ever fewer. */
  if (is_power_of_2 (atomic_fetch_add (&m->legs[leg].read_errors, 1) + 1))
    log_error ("mirror: leg %u (%s): read of %" PRIu64 " bytes at %" PRIu64
               " failed: %s; %s",
               leg, m->legs[leg].name, sector_to_bytes (count),
               sector_to_bytes (sector), errno_text (error),
               is_in_sync ? "another leg in sync is tried, if there is one"
                          : "no other leg is in sync there");
  mirror_note_read_error (m, &failure);
}

int
mirror_read (struct target *t, void *buffer, sector_t sector, sector_t count)
{
  struct mirror *m = mirror_of (t);
  bool is_in_sync = region_hash_legs_agree (m->regions, sector, count);
  unsigned long tried = 0;
  int r = -EIO;
  unsigned leg;

  for (;;) {
    int error;

    leg = choose_leg (m, is_in_sync, tried);
    if (leg == NO_LEG)
      return r;
    if (!leg_get_in_sync (m, &m->legs[leg]))
      continue; /* it has just failed: choose again */
    error = read_leg (&m->legs[leg], buffer, sector, count);
    if (error < 0)
      note_error (m, leg, sector, count, is_in_sync, error);
    leg_put (m, &m->legs[leg]);
    if (error == 0)
      break;
    tried |= 1UL << leg;
    r = error;
  }
  for (leg = 0; tried >> leg != 0; ++leg)
    if (tried >> leg & 1)
      mirror_ask_for_repair (m, leg, sector, count);
  return 0;
}

int
mirror_extent (struct target *t, sector_t sector, sector_t count,
               struct bdev_extent *extent)
{
  struct mirror *m = mirror_of (t);
  struct leg *leg;
  int r;

  do
    leg = &m->legs[primary_to_read (m)];
  while (!leg_get_in_sync (m, leg));
  r = bdev_extent (leg->bdev, sector, count, extent);
  leg_put (m, leg);
  /* Data is right everywhere: a leg that cannot say, as one that has just gone
   * away, is no error of the mirror.  Who reads it finds out.
   */
  if (r < 0)
    *extent = (struct bdev_extent){ .count = count };
  return 0;
}
