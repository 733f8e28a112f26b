/* Exclusive hold of a range of sectors.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Writers of overlapping ranges go one after the other, in the order in
 * which they came; others do not notice each other.
 */

#ifndef DMIO_RANGE_LOCK_H
#define DMIO_RANGE_LOCK_H

#include <stdbool.h>

#include "list.h"
#include "sector.h"
#include "sync.h"

struct range_lock {
  struct mutex lock;
  struct cond released;
  struct list holds; /* in order of arrival, those that wait too */
  unsigned waiting;
};

/* One range, held or waited for; lives on the holder's stack. */
struct range_hold {
  struct list link;
  sector_t sector;
  sector_t count;
};

void range_lock_init (struct range_lock *rl);
void range_lock_destroy (struct range_lock *rl);

/* Wait until nobody who came earlier holds or wants a part of the range,
 * and hold it.  A thread must not acquire a range that overlaps one it
 * holds.
 */
void range_lock_acquire (struct range_lock *rl, struct range_hold *hold,
                         sector_t sector, sector_t count);
void range_lock_release (struct range_lock *rl, struct range_hold *hold);

/* True if somebody holds or wants a part of the range just now. */
bool range_lock_is_wanted (struct range_lock *rl, sector_t sector,
                           sector_t count);

#endif /* DMIO_RANGE_LOCK_H */
