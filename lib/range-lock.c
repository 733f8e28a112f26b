/* Exclusive hold of a range of sectors.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * There are never more holds than requests in flight, a few dozen, so a
 * list that is walked is faster than a tree.
 */

#include <config.h>

#include <assert.h>

#include "checked-math.h"
#include "range-lock.h"

void
range_lock_init (struct range_lock *rl)
{
  mutex_init (&rl->lock);
  cond_init (&rl->released);
  list_init (&rl->holds);
  rl->waiting = 0;
}

void
range_lock_destroy (struct range_lock *rl)
{
  assert (list_is_empty (&rl->holds));
  cond_destroy (&rl->released);
  mutex_destroy (&rl->lock);
}

/* True if someone who came before HOLD has or wants a part of it. */
static bool
must_wait (struct range_lock *rl, struct range_hold *hold)
{
  struct list *link;

  for (link = hold->link.prev; link != &rl->holds; link = link->prev) {
    struct range_hold *other = list_entry (link, struct range_hold, link);

    if (ranges_overlap (hold->sector, hold->count, other->sector, other->count))
      return true;
  }
  return false;
}

void
range_lock_acquire (struct range_lock *rl, struct range_hold *hold,
                    sector_t sector, sector_t count)
{
  hold->sector = sector;
  hold->count = count;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rl->lock);

  list_push_back (&rl->holds, &hold->link);
  while (must_wait (rl, hold)) {
    rl->waiting++;
    cond_wait (&rl->released, &rl->lock);
    rl->waiting--;
  }
}

void
range_lock_release (struct range_lock *rl, struct range_hold *hold)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rl->lock);

  list_remove (&hold->link);
  if (rl->waiting > 0)
    cond_broadcast (&rl->released);
}

bool
range_lock_is_wanted (struct range_lock *rl, sector_t sector, sector_t count)
{
  struct list *link;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rl->lock);

  list_for_each (link, &rl->holds) {
    struct range_hold *other = list_entry (link, struct range_hold, link);

    if (ranges_overlap (sector, count, other->sector, other->count))
      return true;
  }
  return false;
}
