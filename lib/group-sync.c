/* Flushes that are shared, and that fail for good.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "group-sync.h"

void
group_sync_init (struct group_sync *gs)
{
  mutex_init (&gs->lock);
  cond_init (&gs->ended);
  gs->started = 0;
  gs->is_running = false;
  gs->error = 0;
}

void
group_sync_destroy (struct group_sync *gs)
{
  cond_destroy (&gs->ended);
  mutex_destroy (&gs->lock);
}

int
group_sync (struct group_sync *gs, int (*flush) (void *arg), void *arg)
{
  uint64_t mine;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&gs->lock);
  /* One that is running has begun too early for us. */
  mine = gs->started + 1;
  while (gs->error == 0 && (gs->started < mine || gs->is_running)) {
    int r;

    if (gs->is_running) {
      /* The one after ours may be running by now: ours has ended. */
      if (gs->started > mine)
        break;
      cond_wait (&gs->ended, &gs->lock);
      continue;
    }
    gs->started++;
    gs->is_running = true;
    mutex_unlock (&gs->lock);
    r = flush (arg);
    mutex_lock (&gs->lock);
    gs->is_running = false;
    if (r < 0 && gs->error == 0)
      gs->error = r;
    cond_broadcast (&gs->ended);
  }
  return gs->error;
}

void
group_sync_fail (struct group_sync *gs, int error)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&gs->lock);
  if (gs->error == 0)
    gs->error = error;
}

int
group_sync_error (struct group_sync *gs)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&gs->lock);
  return gs->error;
}
