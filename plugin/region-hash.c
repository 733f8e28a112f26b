/* The states of a mirror's regions, and the writes in flight in each.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Each region is one word: the number of writes in flight, and three flags.
 * A write to a region that is marked costs two atomic additions, and no lock
 * unless it meets who holds the region.
 *
 * States of a region:
 *   NOSYNC     -> RECOVERING [recovery_begin], once no write is in flight
 *   RECOVERING -> DIRTY      [recovery_end]
 *   RECOVERING -> NOSYNC     [recovery_end], if it failed
 *   CLEAN      -> DIRTY      [write_begin], once the log says so, durably
 *   DIRTY      -> CLEAN      [clean_chosen], after a flush of all legs
 *   DIRTY      -> NOSYNC     [set_nosync, set_dirty_nosync]
 *
 * Invariants:
 * (1) from hold to release no write is between write_begin and write_end in
 *     that region, and nobody else holds it; while it recovers it is held;
 * (2) a region with MARKED is dirty in the log, durably; one without it is
 *     written by nobody, or by those only who wait for the log;
 * (3) a region that is not in sync is dirty in the log;
 * (4) a region is cleaned only if it had neither a write in flight nor USED,
 *     both when it was chosen and when it is cleaned: so all that was ever
 *     written to it had ended before the legs were flushed in between.
 *
 * Locks: `mark_lock` makes one step of looking at words and changing the log
 * in memory; also held while the loss of the log is recorded.  Outside the
 * log's.  `lock` is a leaf; it only guards waiting.
 *
 * Model: Linux 6.1 drivers/md/dm-region-hash.c: states, and who waits for
 * whom.  Differs: only regions that are held are ever waited for with a lock;
 * marks are cleared lazily.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "region-hash.h"
#include "sync.h"

#define HELD (UINT32_C (1) << 31)
#define MARKED (UINT32_C (1) << 30)
#define USED (UINT32_C (1) << 29) /* written since it was last looked at */
#define WRITES (USED - 1)         /* in flight */

#define MAP_BITS 64

struct region_hash {
  sector_t sectors;
  unsigned region_shift;
  uint64_t region_count;

  _Atomic uint32_t *regions; /* HELD | MARKED | USED | WRITES */
  _Atomic uint64_t *in_sync; /* a bit each */
  _Atomic uint64_t *agreed;  /* a bit each: at least legs in sync are equal */
  _Atomic uint64_t in_sync_count;

  struct mutex lock;
  struct cond changed;

  struct dirty_log *log;
  region_hash_log_failed_fn log_failed;
  void *opaque;
  struct mutex mark_lock;
  atomic_bool is_log_lost;

  /* Only the one that cleans. */
  uint64_t *chosen; /* a bit each */
};

static uint64_t
map_words (uint64_t region_count)
{
  return region_count / MAP_BITS + 1;
}

/* The states to begin with, after the log. */
static void
fill_in (struct region_hash *h, bool is_in_sync)
{
  uint64_t i;

  for (i = 0; i < h->region_count / MAP_BITS; ++i)
    h->in_sync[i] = UINT64_MAX;
  h->in_sync[i] = (UINT64_C (1) << h->region_count % MAP_BITS) - 1;
  h->in_sync_count = h->region_count;
  for (i = 0; dirty_log_next_dirty (h->log, &i); ++i) {
    h->regions[i] = MARKED;
    if (!is_in_sync) {
      h->in_sync[i / MAP_BITS] &= ~(UINT64_C (1) << i % MAP_BITS);
      h->in_sync_count--;
    }
  }
  for (i = 0; i < map_words (h->region_count); ++i)
    h->agreed[i] = atomic_load (&h->in_sync[i]);
}

int
region_hash_create (const struct region_hash_params *params,
                    struct region_hash **rh)
{
  struct region_hash *h;
  uint64_t count = div_round_up (params->sectors, params->region_sectors);

  assert (is_power_of_2 (params->region_sectors));
  if (count > REGION_HASH_MAX_REGIONS)
    return -E2BIG;
  assert (dirty_log_region_count (params->log) == count);
  h = calloc (1, sizeof *h);
  if (h == NULL)
    return -ENOMEM;
  h->sectors = params->sectors;
  h->region_shift = log2_of (params->region_sectors);
  h->region_count = count;
  h->log = params->log;
  h->log_failed = params->log_failed;
  h->opaque = params->opaque;
  h->regions = calloc (count + 1, sizeof h->regions[0]);
  h->in_sync = calloc (map_words (count), sizeof h->in_sync[0]);
  h->agreed = calloc (map_words (count), sizeof h->agreed[0]);
  h->chosen = calloc (map_words (count), sizeof h->chosen[0]);
  if (h->regions == NULL || h->in_sync == NULL || h->agreed == NULL ||
      h->chosen == NULL) {
    free (h->regions);
    free (h->in_sync);
    free (h->agreed);
    free (h->chosen);
    free (h);
    return -ENOMEM;
  }
  fill_in (h, params->is_in_sync);
  mutex_init (&h->lock);
  cond_init (&h->changed);
  mutex_init (&h->mark_lock);
  *rh = h;
  return 0;
}

void
region_hash_destroy (struct region_hash *rh)
{
  if (rh == NULL)
    return;
  mutex_destroy (&rh->mark_lock);
  cond_destroy (&rh->changed);
  mutex_destroy (&rh->lock);
  free (rh->chosen);
  free (rh->regions);
  free (rh->in_sync);
  free (rh->agreed);
  free (rh);
}

uint64_t
region_hash_region_count (const struct region_hash *rh)
{
  return rh->region_count;
}

uint64_t
region_hash_in_sync_count (const struct region_hash *rh)
{
  return rh->in_sync_count;
}

void
region_hash_region_range (const struct region_hash *rh, uint64_t region,
                          sector_t *sector, sector_t *count)
{
  sector_t length = (sector_t) 1 << rh->region_shift;

  *sector = region << rh->region_shift;
  *count = MIN_OF (length, rh->sectors - *sector);
}

/* The first and the last region of a range that is not empty. */
static uint64_t
first_region (const struct region_hash *rh, sector_t sector)
{
  return sector >> rh->region_shift;
}

static uint64_t
last_region (const struct region_hash *rh, sector_t sector, sector_t count)
{
  return (sector + count - 1) >> rh->region_shift;
}

/*----- writes ----------------------------------------------------------*/

/* Take one write out of a region, and tell recovery if it was the last. */
static void
drop_write (struct region_hash *rh, uint64_t region)
{
  uint32_t old = atomic_fetch_sub (&rh->regions[region], 1);

  assert ((old & WRITES) > 0);
  if ((old & HELD) && (old & WRITES) == 1) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rh->lock);
    cond_broadcast (&rh->changed);
  }
}

static void
drop_writes (struct region_hash *rh, uint64_t first, uint64_t last)
{
  uint64_t region;

  for (region = first; region <= last; ++region)
    drop_write (rh, region);
}

static void
wait_while_held (struct region_hash *rh, uint64_t region)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rh->lock);
  while (atomic_load (&rh->regions[region]) & HELD)
    cond_wait (&rh->changed, &rh->lock);
}

/* Count a write in all regions from FIRST to LAST; false, and in none, if
 * one of them is held, which is in *BUSY.  ALL_FLAGS: flags that all have.
 */
static bool
try_begin (struct region_hash *rh, uint64_t first, uint64_t last,
           uint32_t *all_flags, uint64_t *busy)
{
  uint64_t region;

  *all_flags = UINT32_MAX;
  for (region = first; region <= last; ++region) {
    uint32_t old = atomic_fetch_add (&rh->regions[region], 1);

    assert ((old & WRITES) < WRITES);
    if (old & HELD) {
      drop_writes (rh, first, region);
      *busy = region;
      return false;
    }
    if (!(old & USED))
      atomic_fetch_or (&rh->regions[region], USED);
    *all_flags &= old;
  }
  return true;
}

/* The log cannot be written. */
static int
lose_log (struct region_hash *rh, int error)
{
  int r = error;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rh->mark_lock);
  if (atomic_load (&rh->is_log_lost))
    return 0;
  if (rh->log_failed != NULL)
    r = rh->log_failed (rh->opaque, error);
  if (r == 0)
    atomic_store (&rh->is_log_lost, true);
  return r;
}

/* Make regions FIRST to LAST dirty in the log, durably.  A write is counted
 * in each, so none of them is cleaned meanwhile.
 */
static int
mark_regions (struct region_hash *rh, uint64_t first, uint64_t last)
{
  uint64_t region;
  int r = 0;

  mutex_lock (&rh->mark_lock);
  dirty_log_mark (rh->log, first, last);
  mutex_unlock (&rh->mark_lock);
  if (!atomic_load (&rh->is_log_lost)) {
    r = dirty_log_flush (rh->log);
    if (r < 0)
      r = lose_log (rh, r);
  }
  if (r < 0)
    return r;
  for (region = first; region <= last; ++region)
    atomic_fetch_or (&rh->regions[region], MARKED); /* (2) */
  return 0;
}

int
region_hash_write_begin (struct region_hash *rh, sector_t sector,
                         sector_t count)
{
  uint64_t first = first_region (rh, sector);
  uint64_t last = last_region (rh, sector, count);
  uint32_t all_flags;
  uint64_t busy;
  int r;

  /* No write is counted while this waits: whoever holds several regions waits
   * for writes to one while he still holds another.
   */
  while (!try_begin (rh, first, last, &all_flags, &busy))
    wait_while_held (rh, busy);
  if (all_flags & MARKED)
    return 0;
  r = mark_regions (rh, first, last);
  if (r < 0) {
    drop_writes (rh, first, last);
    return r;
  }
  return 1;
}

void
region_hash_write_end (struct region_hash *rh, sector_t sector, sector_t count)
{
  drop_writes (rh, first_region (rh, sector), last_region (rh, sector, count));
}

static bool
region_is_in_sync (const struct region_hash *rh, uint64_t region)
{
  return atomic_load (&rh->in_sync[region / MAP_BITS]) >> region % MAP_BITS & 1;
}

bool
region_hash_is_in_sync (const struct region_hash *rh, sector_t sector,
                        sector_t count)
{
  uint64_t last = last_region (rh, sector, count);
  uint64_t region;

  for (region = first_region (rh, sector); region <= last; ++region)
    if (!region_is_in_sync (rh, region))
      return false;
  return true;
}

static void
set_region_nosync (struct region_hash *rh, uint64_t region)
{
  uint64_t bit = UINT64_C (1) << region % MAP_BITS;

  if (atomic_fetch_and (&rh->in_sync[region / MAP_BITS], ~bit) & bit)
    atomic_fetch_sub (&rh->in_sync_count, 1);
}

bool
region_hash_legs_agree (const struct region_hash *rh, sector_t sector,
                        sector_t count)
{
  uint64_t last = last_region (rh, sector, count);
  uint64_t region;

  for (region = first_region (rh, sector); region <= last; ++region)
    if (!(atomic_load (&rh->agreed[region / MAP_BITS]) >> region % MAP_BITS &
          1))
      return false;
  return true;
}

void
region_hash_set_nosync (struct region_hash *rh, sector_t sector, sector_t count)
{
  uint64_t last = last_region (rh, sector, count);
  uint64_t region;

  for (region = first_region (rh, sector); region <= last; ++region) {
    atomic_fetch_and (&rh->agreed[region / MAP_BITS],
                      ~(UINT64_C (1) << region % MAP_BITS));
    set_region_nosync (rh, region);
  }
}

void
region_hash_set_dirty_nosync (struct region_hash *rh)
{
  uint64_t region;

  for (region = 0; dirty_log_next_dirty (rh->log, &region); ++region)
    set_region_nosync (rh, region);
}

int
region_hash_mark_all (struct region_hash *rh)
{
  return rh->region_count > 0 ? mark_regions (rh, 0, rh->region_count - 1) : 0;
}

/*----- recovery --------------------------------------------------------*/

bool
region_hash_next_nosync (const struct region_hash *rh, uint64_t *region)
{
  uint64_t r = *region;

  while (r < rh->region_count) {
    /* A word of regions in sync is passed at once. */
    if (r % MAP_BITS == 0 &&
        atomic_load (&rh->in_sync[r / MAP_BITS]) == UINT64_MAX)
      r += MAP_BITS;
    else if (region_is_in_sync (rh, r))
      r++;
    else {
      *region = r;
      return true;
    }
  }
  return false;
}

void
region_hash_hold (struct region_hash *rh, uint64_t region)
{
  _Atomic uint32_t *word = &rh->regions[region];

  while (atomic_fetch_or (word, HELD) & HELD) {
    mutex_lock (&rh->lock);
    while (atomic_load (word) & HELD)
      cond_wait (&rh->changed, &rh->lock);
    mutex_unlock (&rh->lock);
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rh->lock);
  while (atomic_load (word) & WRITES)
    cond_wait (&rh->changed, &rh->lock);
}

void
region_hash_release (struct region_hash *rh, uint64_t region)
{
  uint32_t old;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rh->lock);
  old = atomic_fetch_and (&rh->regions[region], ~HELD);
  assert (old & HELD);
  (void) old;
  cond_broadcast (&rh->changed);
}

void
region_hash_recovery_begin (struct region_hash *rh, uint64_t region)
{
  region_hash_hold (rh, region);
}

void
region_hash_recovery_end (struct region_hash *rh, uint64_t region,
                          bool recovered)
{
  uint64_t bit = UINT64_C (1) << region % MAP_BITS;

  if (recovered) {
    atomic_fetch_or (&rh->agreed[region / MAP_BITS], bit);
    if (!(atomic_fetch_or (&rh->in_sync[region / MAP_BITS], bit) & bit))
      atomic_fetch_add (&rh->in_sync_count, 1);
  }
  region_hash_release (rh, region);
}

/*----- cleaning --------------------------------------------------------*/

/* Choose those that have only MARKED, and take USED from the others: before
 * that, if IGNORED has it.
 */
static uint64_t
choose (struct region_hash *rh, uint32_t ignored)
{
  uint64_t region, count = 0;

  memset (rh->chosen, 0, map_words (rh->region_count) * sizeof rh->chosen[0]);
  if (atomic_load (&rh->is_log_lost))
    return 0;
  for (region = 0; dirty_log_next_dirty (rh->log, &region); ++region) {
    uint32_t old = atomic_fetch_and (&rh->regions[region], ~USED);

    if ((old & ~ignored) != MARKED || !region_is_in_sync (rh, region))
      continue;
    rh->chosen[region / MAP_BITS] |= UINT64_C (1) << region % MAP_BITS;
    count++;
  }
  return count;
}

uint64_t
region_hash_choose_idle (struct region_hash *rh)
{
  return choose (rh, 0);
}

uint64_t
region_hash_choose_all (struct region_hash *rh)
{
  return choose (rh, USED);
}

uint64_t
region_hash_clean_chosen (struct region_hash *rh)
{
  uint64_t word, count = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rh->mark_lock);
  for (word = 0; word < map_words (rh->region_count); ++word) {
    for (; rh->chosen[word] != 0; rh->chosen[word] &= rh->chosen[word] - 1) {
      uint64_t region = word * MAP_BITS +
                        (unsigned) __builtin_ctzll (rh->chosen[word]);
      uint32_t expected = MARKED;

      /* (3), (4): who comes after this step marks it again. */
      if (!region_is_in_sync (rh, region) ||
          !atomic_compare_exchange_strong (&rh->regions[region], &expected, 0))
        continue;
      dirty_log_clear (rh->log, region, region);
      count++;
    }
  }
  return count;
}

uint64_t
region_hash_cleanable_count (const struct region_hash *rh)
{
  uint64_t dirty = dirty_log_dirty_count (rh->log);
  uint64_t nosync = rh->region_count - atomic_load (&rh->in_sync_count);

  if (atomic_load (&rh->is_log_lost) || dirty < nosync)
    return 0;
  return dirty - nosync;
}

void
region_hash_give_up_log (struct region_hash *rh)
{
  atomic_store (&rh->is_log_lost, true);
}

bool
region_hash_has_log (const struct region_hash *rh)
{
  return !atomic_load (&rh->is_log_lost);
}
