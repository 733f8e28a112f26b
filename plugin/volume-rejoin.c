/* Legs that have failed come back by themselves, if that is safe.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A thread connects again each leg behind a server that has failed, and has
 * it rejoin.  It tries soon, and then ever later: twice as long after each
 * try that has failed, and when a leg has failed again before it was in sync.
 * A server that may still write what it was sent before
 * (bdev_reconnect) is not connected.
 *
 * The last leg in sync stays in use when its server is gone, or its disk hangs,
 * and every request fails until it is back, in the same way; but it is not
 * filled by anybody: what a server had not flushed may be lost
 * (mirror_revive_leg).
 *
 * A file or disk that was given up because it hung (BDEV_OPEN_WATCHED) comes
 * back when it has answered all that it was asked.  Others that have failed are
 * left alone: nobody knows what has become of them.  So is a leg that an
 * administrator has failed, until he says otherwise.
 *
 * Locks: the rejoiner's is a leaf.  The thread connects with none, since a
 * server may take its time, and then takes admin_lock, like an administrator.
 */

#include <config.h>

#include <errno.h>

#include "bits.h"
#include "clock.h"
#include "log-sink.h"
#include "volume-admin.h"
#include "volume-impl.h"

/* The first try, and the longest time between two. */
#define REJOIN_MIN_NS (NS_PER_SECOND / 10)
#define REJOIN_MAX_NS (60 * NS_PER_SECOND)

static bool
is_server (struct volume *v, unsigned leg)
{
  const char *name = mirror_leg_name (v->mirror, leg);

  return name != NULL && bdev_spec_is_uri (name);
}

/* It was given up, and may be had again. */
static bool
may_come_back (struct volume *v, unsigned leg)
{
  return is_server (v, leg) || v->leg_options.is_watched;
}

static enum leg_state
state_of (struct volume *v, unsigned leg)
{
  struct mirror_status status;

  mirror_get_status (v->mirror, &status);
  return status.legs[leg].state;
}

void
volume_rejoin_later (struct volume *v, unsigned leg)
{
  struct rejoin_leg *l = &v->rejoiner.legs[leg];
  bool was_well = state_of (v, leg) == LEG_IN_SYNC; /* it is about to change */

  if (!may_come_back (v, leg))
    return;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->rejoiner.lock);
  if (l->is_held)
    return;
  if (l->delay_ns > 0 && !was_well)
    l->delay_ns = MIN_OF (l->delay_ns * 2, REJOIN_MAX_NS);
  else
    l->delay_ns = REJOIN_MIN_NS;
  l->due_ns = clock_now_ns () + l->delay_ns;
  l->is_out = true;
  cond_broadcast (&v->rejoiner.changed);
}

void
volume_revive_later (struct volume *v)
{
  struct mirror_status status;
  unsigned i;

  mirror_get_status (v->mirror, &status);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->rejoiner.lock);
  for (i = 0; i < status.leg_count; ++i) {
    struct rejoin_leg *l = &v->rejoiner.legs[i];

    if (status.legs[i].state != LEG_IN_SYNC || !may_come_back (v, i) ||
        l->is_out)
      continue;
    l->delay_ns = l->delay_ns > 0 ? MIN_OF (l->delay_ns * 2, REJOIN_MAX_NS)
                                  : REJOIN_MIN_NS;
    l->due_ns = clock_now_ns () + l->delay_ns;
    l->is_out = true;
    cond_broadcast (&v->rejoiner.changed);
  }
}

bool
volume_hold_out (struct volume *v, unsigned leg, bool is_held)
{
  struct rejoin_leg *l = &v->rejoiner.legs[leg];
  bool was_held;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->rejoiner.lock);
  was_held = l->is_held;
  l->is_held = is_held;
  l->is_out = false;
  l->delay_ns = 0;
  return was_held;
}

/* Wait until a leg is to be tried.  Returns false when all is to stop. */
static bool
wait_for_leg (struct rejoiner *rj, unsigned *leg)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rj->lock);
  while (!rj->must_stop) {
    uint64_t next_ns = UINT64_MAX;
    unsigned i;

    for (i = 0; i < MIRROR_MAX_LEGS; ++i)
      if (rj->legs[i].is_out && rj->legs[i].due_ns < next_ns) {
        next_ns = rj->legs[i].due_ns;
        *leg = i;
      }
    if (next_ns == UINT64_MAX)
      cond_wait (&rj->changed, &rj->lock);
    else if (clock_now_ns () < next_ns)
      (void) cond_wait_until (&rj->changed, &rj->lock, next_ns);
    else
      return true;
  }
  return false;
}

/* LEG is about to be used again: then it may be noted anew that it has failed.
 * Returns false if it is not to be, by now.
 */
static bool
claim_leg (struct rejoiner *rj, unsigned leg)
{
  struct rejoin_leg *l = &rj->legs[leg];
  bool was_out;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rj->lock);
  was_out = l->is_out;
  l->is_out = false;
  return was_out;
}

/* A leg that has failed. */
static int
try_failed (struct volume *v, unsigned leg)
{
  int r = mirror_reconnect_leg (v->mirror, leg, BDEV_RECONNECT_NO_WAIT);

  if (r < 0)
    return r;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  if (state_of (v, leg) != LEG_FAILED || !claim_leg (&v->rejoiner, leg))
    return 0; /* an administrator was quicker */
  r = mirror_rejoin_leg (v->mirror, leg, LEG_LACKS_DIRTY);
  if (r < 0)
    log_error ("leg %u (%s): is connected again, but that it recovers cannot "
               "be recorded: %s",
               leg, mirror_leg_name (v->mirror, leg), errno_text (r));
  return r;
}

/* The only leg in sync, which stays in use. */
static int
try_last (struct volume *v, unsigned leg)
{
  int r = mirror_revive_leg (v->mirror, leg, BDEV_RECONNECT_NO_WAIT);

  if (r == 0) {
    (void) claim_leg (&v->rejoiner, leg);
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->rejoiner.lock);
    v->rejoiner.legs[leg].delay_ns = 0;
  }
  return r;
}

/* A leg of which the server was not there at the start.  That it is now is
 * found out first without keeping administrators out.
 */
static int
try_missing (struct volume *v, unsigned leg)
{
  const char *name = mirror_leg_name (v->mirror, leg);
  struct volume_why why = { "" };
  struct block_device *bdev;
  int r = volume_open_device (&v->leg_options, name, 0, &bdev);

  if (r < 0)
    return r;
  bdev_close (bdev);
  if (!claim_leg (&v->rejoiner, leg))
    return 0;
  r = volume_leg_rejoin (v, leg, &why);
  if (r < 0)
    log_error ("%s", why.text);
  return MIN_OF (r, 0);
}

static void
rejoin_main (void *arg)
{
  struct volume *v = arg;
  unsigned leg = 0;

  while (wait_for_leg (&v->rejoiner, &leg)) {
    enum leg_state state = state_of (v, leg);
    int r = state == LEG_MISSING   ? try_missing (v, leg)
            : state == LEG_IN_SYNC ? try_last (v, leg)
                                   : try_failed (v, leg);

    /* It is used, or gone: that was an administrator.  Or it has not hung, but
     * has failed.
     */
    if (r == -ENODEV || r == -EOPNOTSUPP)
      (void) claim_leg (&v->rejoiner, leg);
    else if (r < 0 && state == LEG_IN_SYNC) {
      (void) claim_leg (&v->rejoiner, leg);
      volume_revive_later (v);
    }
    else if (r < 0)
      volume_rejoin_later (v, leg);
  }
}

/*----- life ------------------------------------------------------------*/

int
volume_start_rejoin (struct volume *v)
{
  struct rejoiner *rj = &v->rejoiner;
  struct mirror_status status;
  bool is_needed = false;
  unsigned i;
  int r;

  mirror_get_status (v->mirror, &status);
  for (i = 0; i < status.leg_count; ++i)
    is_needed = is_needed || may_come_back (v, i);
  if (!is_needed || rj->is_running)
    return 0;
  for (i = 0; i < status.leg_count; ++i)
    if (status.legs[i].state == LEG_MISSING && is_server (v, i))
      volume_rejoin_later (v, i);
  rj->must_stop = false;
  r = thread_start (&rj->thread, "dm-rejoin", rejoin_main, v);
  if (r < 0) {
    log_error ("the thread that has legs come back cannot be started: %s; "
               "those that fail stay out until 'leg rejoin', or the next start",
               errno_text (r));
    return r;
  }
  rj->is_running = true;
  return 0;
}

void
volume_stop_rejoin (struct volume *v)
{
  struct rejoiner *rj = &v->rejoiner;

  if (!rj->is_running)
    return;
  mutex_lock (&rj->lock);
  rj->must_stop = true;
  cond_broadcast (&rj->changed);
  mutex_unlock (&rj->lock);
  thread_join (&rj->thread);
  rj->is_running = false;
}
