/* Flushes that are shared, and that fail for good.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

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

static void
start_locked (struct group_sync *gs)
{
  gs->started++;
  gs->is_running = true;
}

static void
end_locked (struct group_sync *gs, int result)
{
  gs->is_running = false;
  if (result < 0 && gs->error == 0)
    gs->error = result;
  cond_broadcast (&gs->ended);
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
    start_locked (gs);
    mutex_unlock (&gs->lock);
    r = flush (arg);
    mutex_lock (&gs->lock);
    end_locked (gs, r);
  }
  return gs->error;
}

int
group_sync_begin (struct group_sync *gs)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&gs->lock);
  if (gs->error < 0)
    return gs->error;
  if (gs->is_running)
    return -EAGAIN;
  start_locked (gs);
  return 0;
}

void
group_sync_end (struct group_sync *gs, int result)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&gs->lock);
  end_locked (gs, result);
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

void
group_sync_reset (struct group_sync *gs)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&gs->lock);
  while (gs->is_running)
    cond_wait (&gs->ended, &gs->lock);
  gs->error = 0;
}
