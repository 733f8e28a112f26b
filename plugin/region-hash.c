/* The states of a mirror's regions, and the writes in flight in each.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Each region is one word: the number of writes in flight, and a bit that
 * says that it is held, as it is while it recovers.  A write costs two atomic
 * additions, and no lock unless it meets who holds the region.
 *
 * States of a region:
 *   NOSYNC     -> RECOVERING [recovery_begin], once no write is in flight
 *   RECOVERING -> CLEAN      [recovery_end]
 *   RECOVERING -> NOSYNC     [recovery_end], if it failed
 *   CLEAN      -> NOSYNC     [set_nosync]
 * and CLEAN is DIRTY while writes are in flight.
 *
 * Invariant: from hold to release no write is between write_begin and
 * write_end in that region, and nobody else holds it.
 *
 * Locks: `lock` is a leaf; it only guards waiting.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bits.h"
#include "region-hash.h"
#include "sync.h"

#define HELD (UINT32_C (1) << 31)

#define MAP_BITS 64

struct region_hash {
  sector_t sectors;
  unsigned region_shift;
  uint64_t region_count;

  _Atomic uint32_t *regions; /* HELD | writes in flight */
  _Atomic uint64_t *in_sync; /* a bit each */
  _Atomic uint64_t in_sync_count;

  struct mutex lock;
  struct cond changed;
};

int
region_hash_create (sector_t sectors, sector_t region_sectors, bool in_sync,
                    struct region_hash **rh)
{
  struct region_hash *h;
  uint64_t count = div_round_up (sectors, region_sectors);
  uint64_t i;

  assert (is_power_of_2 (region_sectors));
  if (count > REGION_HASH_MAX_REGIONS)
    return -E2BIG;
  h = calloc (1, sizeof *h);
  if (h == NULL)
    return -ENOMEM;
  h->sectors = sectors;
  h->region_shift = log2_of (region_sectors);
  h->region_count = count;
  h->regions = calloc (count + 1, sizeof h->regions[0]);
  h->in_sync = calloc (count / MAP_BITS + 1, sizeof h->in_sync[0]);
  if (h->regions == NULL || h->in_sync == NULL) {
    free (h->regions);
    free (h->in_sync);
    free (h);
    return -ENOMEM;
  }
  if (in_sync) {
    for (i = 0; i < count; ++i)
      h->in_sync[i / MAP_BITS] |= UINT64_C (1) << i % MAP_BITS;
    h->in_sync_count = count;
  }
  mutex_init (&h->lock);
  cond_init (&h->changed);
  *rh = h;
  return 0;
}

void
region_hash_destroy (struct region_hash *rh)
{
  if (rh == NULL)
    return;
  cond_destroy (&rh->changed);
  mutex_destroy (&rh->lock);
  free (rh->regions);
  free (rh->in_sync);
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

/* Take one write out of a region, and tell recovery if it was the last. */
static void
drop_write (struct region_hash *rh, uint64_t region)
{
  uint32_t old = atomic_fetch_sub (&rh->regions[region], 1);

  assert ((old & ~HELD) > 0);
  if (old == (HELD | 1)) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rh->lock);
    cond_broadcast (&rh->changed);
  }
}

void
region_hash_write_begin (struct region_hash *rh, sector_t sector,
                         sector_t count)
{
  uint64_t last = last_region (rh, sector, count);
  uint64_t region;

  /* Holding earlier regions while waiting for a later one is safe:
   * recovery holds one region and waits for no other.
   */
  for (region = first_region (rh, sector); region <= last; ++region) {
    while (atomic_fetch_add (&rh->regions[region], 1) & HELD) {
      drop_write (rh, region);
      mutex_lock (&rh->lock);
      while (atomic_load (&rh->regions[region]) & HELD)
        cond_wait (&rh->changed, &rh->lock);
      mutex_unlock (&rh->lock);
    }
  }
}

void
region_hash_write_end (struct region_hash *rh, sector_t sector, sector_t count)
{
  uint64_t last = last_region (rh, sector, count);
  uint64_t region;

  for (region = first_region (rh, sector); region <= last; ++region)
    drop_write (rh, region);
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

void
region_hash_set_nosync (struct region_hash *rh, sector_t sector, sector_t count)
{
  uint64_t last = last_region (rh, sector, count);
  uint64_t region;

  for (region = first_region (rh, sector); region <= last; ++region) {
    uint64_t bit = UINT64_C (1) << region % MAP_BITS;

    if (atomic_fetch_and (&rh->in_sync[region / MAP_BITS], ~bit) & bit)
      atomic_fetch_sub (&rh->in_sync_count, 1);
  }
}

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
  while (atomic_load (word) != HELD)
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

  if (recovered &&
      !(atomic_fetch_or (&rh->in_sync[region / MAP_BITS], bit) & bit))
    atomic_fetch_add (&rh->in_sync_count, 1);
  region_hash_release (rh, region);
}
