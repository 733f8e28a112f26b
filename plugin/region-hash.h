/* The states of a mirror's regions, and the writes in flight in each.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A region is in sync when all legs in use hold the same.  Recovery of a
 * region and writes to it keep out of each other's way here.
 */

#ifndef DM_REGION_HASH_H
#define DM_REGION_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "sector.h"

struct region_hash;

/* More regions than this are refused: each costs a little memory. */
#define REGION_HASH_MAX_REGIONS (UINT64_C (1) << 26)

/* Regions of REGION_SECTORS, a power of two, over SECTORS; the last may
 * be short.  All begin in sync, or none.  Returns 0, or -ENOMEM, or
 * -E2BIG (too many).
 */
int region_hash_create (sector_t sectors, sector_t region_sectors, bool in_sync,
                        struct region_hash **rh);
void region_hash_destroy (struct region_hash *rh);

uint64_t region_hash_region_count (const struct region_hash *rh);
uint64_t region_hash_in_sync_count (const struct region_hash *rh);

/* The sectors of REGION. */
void region_hash_region_range (const struct region_hash *rh, uint64_t region,
                               sector_t *sector, sector_t *count);

/* Around every write.  begin waits while a region it touches recovers. */
void region_hash_write_begin (struct region_hash *rh, sector_t sector,
                              sector_t count);
void region_hash_write_end (struct region_hash *rh, sector_t sector,
                            sector_t count);

/* True if every region of the range is in sync. */
bool region_hash_is_in_sync (const struct region_hash *rh, sector_t sector,
                             sector_t count);

/* The legs may differ in these regions from now on.  The caller is
 * between write_begin and write_end of the range.
 */
void region_hash_set_nosync (struct region_hash *rh, sector_t sector,
                             sector_t count);

/* The first region at or behind *REGION that is not in sync; false if
 * there is none.
 */
bool region_hash_next_nosync (const struct region_hash *rh, uint64_t *region);

/* Keep writes out of a region: hold waits until nobody else holds it and
 * those in flight have ended; new ones wait until it is released.  It says
 * nothing of the region's state.  Who holds a region writes nothing through
 * write_begin, and waits for no region below one that he holds.
 */
void region_hash_hold (struct region_hash *rh, uint64_t region);
void region_hash_release (struct region_hash *rh, uint64_t region);

/* Around the recovery of one region: begin holds it; end marks it in sync if
 * it RECOVERED, and releases it.
 */
void region_hash_recovery_begin (struct region_hash *rh, uint64_t region);
void region_hash_recovery_end (struct region_hash *rh, uint64_t region,
                               bool recovered);

#endif /* DM_REGION_HASH_H */
