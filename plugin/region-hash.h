/* The states of a mirror's regions, and the writes in flight in each.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A region is in sync when all legs in use hold the same.  Recovery of a
 * region and writes to it keep out of each other's way here.  A region is
 * dirty in the log before it is written, and until long after.
 */

#ifndef DM_REGION_HASH_H
#define DM_REGION_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "dirty-log.h"
#include "sector.h"

struct region_hash;

/* More regions than this are refused: each costs a little memory. */
#define REGION_HASH_MAX_REGIONS (UINT64_C (1) << 26)

/* The log cannot be written any more, for ERROR: see to it that all regions
 * are taken to be dirty after a restart.  If this returns 0, writes go on
 * without the log; else the write fails that needed it, and the next one asks
 * again.  Called on any thread, one call at a time, with a lock held: it must
 * not call back.
 */
typedef int (*region_hash_log_failed_fn) (void *opaque, int error);

struct region_hash_params {
  sector_t sectors;
  sector_t region_sectors; /* a power of two; the last region may be short */
  struct dirty_log *log;   /* of as many regions; it outlives the hash */
  bool is_in_sync;         /* all regions are; else those clean in the log */
  region_hash_log_failed_fn log_failed; /* NULL: as if it returned ERROR */
  void *opaque;
};

/* Returns 0, or -ENOMEM, or -E2BIG (too many). */
int region_hash_create (const struct region_hash_params *params,
                        struct region_hash **rh);
void region_hash_destroy (struct region_hash *rh);

uint64_t region_hash_region_count (const struct region_hash *rh);
uint64_t region_hash_in_sync_count (const struct region_hash *rh);

/* The sectors of REGION. */
void region_hash_region_range (const struct region_hash *rh, uint64_t region,
                               sector_t *sector, sector_t *count);

/* Around every write.  begin waits while a region it touches is held, and
 * sees to it that all are dirty in the log, durably.  Returns 0; 1 if they
 * were not yet; or the error of the log, and then the write must not be done,
 * nor ended.
 */
int region_hash_write_begin (struct region_hash *rh, sector_t sector,
                             sector_t count);
void region_hash_write_end (struct region_hash *rh, sector_t sector,
                            sector_t count);

/* True if every region of the range is in sync. */
bool region_hash_is_in_sync (const struct region_hash *rh, sector_t sector,
                             sector_t count);

/* True if legs that are in sync hold the same there; what is missing, is so on
 * legs that recover only (region_hash_set_dirty_nosync).
 */
bool region_hash_legs_agree (const struct region_hash *rh, sector_t sector,
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

/* Every region that is dirty in the log is out of sync, but legs in sync agree
 * as they did: a leg is to be used again that has missed writes.  The caller
 * sees to it that nothing is cleaned meanwhile, and that writes that begin now
 * go to that leg.
 */
void region_hash_set_dirty_nosync (struct region_hash *rh);

/* Mark all regions in the log, durably.  The caller sees to it that nothing is
 * cleaned meanwhile.  Returns 0 or the error of the log.
 */
int region_hash_mark_all (struct region_hash *rh);

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

/*----- cleaning --------------------------------------------------------*/

/* In three steps, by one thread at a time: choose regions that are dirty in
 * the log and in sync; flush all legs; clean those of them that have not been
 * written since, in memory, for the next flush of the log.  The caller sees
 * to it that every leg has been there all the time.
 *
 * choose_idle: those that have not been written since it was last called.
 * choose_all: those that are not being written.  Both return how many.
 */
uint64_t region_hash_choose_idle (struct region_hash *rh);
uint64_t region_hash_choose_all (struct region_hash *rh);

/* Returns how many have been cleaned. */
uint64_t region_hash_clean_chosen (struct region_hash *rh);

/* How many regions are dirty in the log and in sync, roughly. */
uint64_t region_hash_cleanable_count (const struct region_hash *rh);

/* Go on without the log: all regions count as dirty, for ever. */
void region_hash_give_up_log (struct region_hash *rh);
bool region_hash_has_log (const struct region_hash *rh);

#endif /* DM_REGION_HASH_H */
