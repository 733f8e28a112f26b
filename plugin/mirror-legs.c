/* The legs of a mirror: how they come, go, and get other devices.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The fast path reads the array of legs without a lock.  So a slot of it
 * changes in an order:
 *
 *   giving up a device: the change is durable; the state says that the leg is
 *     not used; who has the device still (leg_get) is waited for; it is
 *     closed.  Nobody who comes later sees a state in which he would use it.
 *   a new device: it is in the slot, which nobody uses; the change is durable;
 *     the state is RECOVERING.
 *
 * While a leg comes in the resync stands still, so that no region that it has
 * begun without the new leg counts as in sync with it.  Then
 *   1. the regions in which the leg lacks something are dirty in the log,
 *   2. leg_changed has made it durable that the leg is recovering,
 *   3. it is RECOVERING here: writes that begin now go to it,
 *   4. those regions are out of sync: what was written before 3 is copied once
 *      those writes have ended.
 *
 * States of a leg, beyond those of mirror.c:
 *   ABSENT     -> RECOVERING  [mirror_add_leg]
 *   FAILED, MISSING -> RECOVERING  [mirror_replace_leg, mirror_rejoin_leg]
 *   any        -> FAILED -> RECOVERING  [mirror_replace_leg]
 *   any        -> FAILED      [mirror_fail]
 *   any        -> ABSENT      [mirror_remove_leg]
 * none of them takes the last one that is in sync.
 *
 * Locks: state_lock while a change is made durable; nobody is waited for with
 * it, since those who are waited for may need it.  users_lock is a leaf, and so
 * is each leg's device_lock.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bdev-observe.h"
#include "log-sink.h"
#include "mirror-impl.h"

/*----- devices ---------------------------------------------------------*/

void
mirror_tell_users_gone (struct mirror *m)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->users_lock);
  cond_broadcast (&m->users_gone);
}

/* Wait until nobody has got LEG any more who saw it in use. */
static void
wait_for_users (struct mirror *m, struct leg *leg)
{
  atomic_fetch_add (&m->users_awaited, 1);
  mutex_lock (&m->users_lock);
  while (atomic_load (&leg->users) > 0)
    cond_wait (&m->users_gone, &m->users_lock);
  mutex_unlock (&m->users_lock);
  atomic_fetch_sub (&m->users_awaited, 1);
}

/* Close the device of a leg that is not used any more. */
static void
close_device (struct mirror *m, struct leg *leg)
{
  wait_for_users (m, leg);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&leg->device_lock);
  bdev_close (leg->bdev);
  leg->bdev = NULL;
}

/* An operation of the device of the leg whose histograms are CONTEXT. */
static void
measure (enum bdev_op op, int result, uint64_t ns, void *context)
{
  static const enum latency_op kinds[] = {
    [BDEV_READ] = LATENCY_READ,         [BDEV_WRITE] = LATENCY_WRITE,
    [BDEV_FLUSH] = LATENCY_FLUSH,       [BDEV_DISCARD] = LATENCY_TRIM,
    [BDEV_WRITE_ZEROES] = LATENCY_ZERO,
  };

  (void) result; /* an error may have taken long, too */
  latency_add (context, kinds[op], ns);
}

/* The name for BDEV, for install_device; NULL: no memory. */
static struct leg_name *
make_name (struct block_device *bdev)
{
  const char *text = bdev_name (bdev);
  struct leg_name *name = malloc (sizeof *name + strlen (text) + 1);

  if (name != NULL)
    strcpy (name->text, text);
  return name;
}

/* Put BDEV into a slot that has none. */
static void
install_device (struct mirror *m, struct leg *leg, struct block_device *bdev,
                struct leg_name *name)
{
  name->next = m->names;
  m->names = name;
  leg->name = name->text;
  if (leg->latency != NULL)
    bdev_set_observer (bdev, measure, leg->latency);
  leg->bdev = bdev;
}

int
mirror_install_device (struct mirror *m, unsigned leg,
                       struct block_device *bdev)
{
  struct leg *l = &m->legs[leg];
  struct leg_name *name = make_name (bdev);

  if (name == NULL)
    return -ENOMEM;
  if (m->measures_legs && l->latency == NULL &&
      latency_create (&l->latency) < 0) {
    free (name);
    return -ENOMEM;
  }
  install_device (m, l, bdev, name);
  return 0;
}

void
mirror_free_leg_memory (struct mirror *m)
{
  unsigned i;

  for (i = 0; i < MIRROR_MAX_LEGS; ++i)
    latency_destroy (m->legs[i].latency);
  while (m->names != NULL) {
    struct leg_name *name = m->names;

    m->names = name->next;
    free (name);
  }
}

const char *
mirror_leg_name (struct mirror *mirror, unsigned leg)
{
  return mirror->legs[leg].name;
}

/* A new device has no past. */
static void
forget_past (struct mirror *m, struct leg *leg)
{
  leg->reads = leg->writes = leg->read_bytes = leg->write_bytes = 0;
  leg->read_errors = leg->write_errors = leg->flush_errors = 0;
  leg->flushed_writes = 0;
  leg->repaired_bytes = leg->mismatched_bytes = 0;
  if (leg->latency != NULL)
    latency_reset (leg->latency);
  atomic_store (&leg->is_doubtful, false);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->repair_lock);
  leg->recent_errors = 0;
}

/*----- states ----------------------------------------------------------*/

int
mirror_record_leg (struct mirror *m, unsigned leg, enum leg_state state,
                   const char *reason)
{
  int r = m->leg_changed (m->opaque, leg, state, reason);

  /* After an error the change may be durable all the same.  If it is that
   * a leg has come in, then all is dirty in the log, and must stay so: what
   * that leg lacks is known by nothing else.
   */
  atomic_store (&m->record_is_doubtful, r < 0);
  return r;
}

void
mirror_set_leg_state (struct mirror *m, unsigned leg, enum leg_state state)
{
  unsigned i;

  atomic_store (&m->legs[leg].state, state);
  m->membership++;
  if (leg != m->chosen_primary || state == LEG_IN_SYNC)
    return;
  /* Another one is trusted now, and stays so when this one comes back. */
  for (i = 0; i < m->leg_count; ++i)
    if (leg_get_state (&m->legs[i]) == LEG_IN_SYNC) {
      m->chosen_primary = i;
      return;
    }
  abort (); /* invariant (1) of mirror.c */
}

static bool
is_last_in_sync (struct mirror *m, unsigned leg)
{
  return leg_get_state (&m->legs[leg]) == LEG_IN_SYNC &&
         mirror_count_in_sync (m) == 1;
}

/* Make it durable that LEG is in STATE from now on, unless it is the last in
 * sync; then use it no more.  The caller holds state_lock.
 */
static int
give_up_locked (struct mirror *m, unsigned leg, enum leg_state recorded,
                enum leg_state state, const char *reason)
{
  int r;

  if (is_last_in_sync (m, leg))
    return -EBUSY;
  r = mirror_record_leg (m, leg, recorded, reason);
  if (r == 0)
    mirror_set_leg_state (m, leg, state);
  return r;
}

int
mirror_fail (struct mirror *mirror, unsigned leg, const char *reason)
{
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&mirror->state_lock);
  if (!leg_is_used (&mirror->legs[leg]))
    return 1;
  r = give_up_locked (mirror, leg, LEG_FAILED, LEG_FAILED, reason);
  if (r == 0)
    log_warning ("mirror: leg %u (%s): %s; volume degraded", leg,
                 (const char *) mirror->legs[leg].name, reason);
  return r;
}

/* Step 1: what LEG lacks, of which nothing is known, is dirty in the log.  The
 * caller holds state_lock, so that nothing is cleaned before step 3.
 */
static int
mark_all_locked (struct mirror *m)
{
  return region_hash_mark_all (m->regions);
}

/* Steps 3 and 4: LEG is used from now on, and lacks what is dirty. */
static void
come_in_locked (struct mirror *m, unsigned leg, const char *how)
{
  log_info ("mirror: leg %u (%s): %s; what it lacks is copied to it", leg,
            (const char *) m->legs[leg].name, how);
  mirror_set_leg_state (m, leg, LEG_RECOVERING);
  region_hash_set_dirty_nosync (m->regions);
}

/*----- the calls -------------------------------------------------------*/

static unsigned
find_free_slot (struct mirror *m)
{
  unsigned i;

  for (i = 0; i < m->leg_count; ++i)
    if (leg_get_state (&m->legs[i]) == LEG_ABSENT)
      return i;
  return i < MIRROR_MAX_LEGS ? i : NO_LEG;
}

int
mirror_add_leg (struct mirror *mirror, struct block_device *bdev,
                bool is_write_mostly, unsigned *leg)
{
  unsigned slot = find_free_slot (mirror);
  int r;

  if (slot == NO_LEG)
    return -E2BIG;
  r = mirror_install_device (mirror, slot, bdev);
  if (r < 0)
    return r;
  mirror->legs[slot].is_write_mostly = is_write_mostly;
  forget_past (mirror, &mirror->legs[slot]);
  mirror_hold_resync (mirror);
  mutex_lock (&mirror->state_lock);
  r = mark_all_locked (mirror);
  if (r == 0)
    r = mirror_record_leg (mirror, slot, LEG_RECOVERING, NULL);
  if (r == 0) {
    if (slot == mirror->leg_count)
      mirror->leg_count = slot + 1;
    come_in_locked (mirror, slot, "added");
  }
  else {
    bdev_set_observer (bdev, NULL, NULL); /* it is the caller's still */
    mirror->legs[slot].bdev = NULL;
  }
  mutex_unlock (&mirror->state_lock);
  mirror_let_resync_go (mirror);
  *leg = slot;
  return r;
}

int
mirror_replace_leg (struct mirror *mirror, unsigned leg,
                    struct block_device *bdev)
{
  struct leg *l = &mirror->legs[leg];
  struct leg_name *name = make_name (bdev);
  int r;

  if (name == NULL)
    return -ENOMEM;
  mirror_hold_resync (mirror);
  mutex_lock (&mirror->state_lock);
  r = is_last_in_sync (mirror, leg) ? -EBUSY : mark_all_locked (mirror);
  /* What it misses from here on is in no log, but dirty is all: as long as it
   * is out nothing is cleaned.
   */
  if (r == 0)
    r = give_up_locked (mirror, leg, LEG_RECOVERING, LEG_FAILED, NULL);
  mutex_unlock (&mirror->state_lock);
  if (r == 0) {
    close_device (mirror, l);
    install_device (mirror, l, bdev, name);
    forget_past (mirror, l);
    mutex_lock (&mirror->state_lock);
    come_in_locked (mirror, leg, "in the place of another");
    mutex_unlock (&mirror->state_lock);
  }
  else
    free (name);
  mirror_let_resync_go (mirror);
  return r;
}

int
mirror_remove_leg (struct mirror *mirror, unsigned leg)
{
  int r;

  mirror_hold_resync (mirror);
  mutex_lock (&mirror->state_lock);
  r = give_up_locked (mirror, leg, LEG_ABSENT, LEG_ABSENT, NULL);
  mutex_unlock (&mirror->state_lock);
  if (r == 0)
    close_device (mirror, &mirror->legs[leg]);
  mirror_let_resync_go (mirror);
  return r;
}

int
mirror_set_leg_device (struct mirror *mirror, unsigned leg,
                       struct block_device *bdev)
{
  struct leg *l = &mirror->legs[leg];
  struct leg_name *name = make_name (bdev);

  if (name == NULL)
    return -ENOMEM;
  assert (leg_is_out (l));
  mirror_hold_resync (mirror);
  close_device (mirror, l);
  install_device (mirror, l, bdev, name);
  mirror_let_resync_go (mirror);
  return 0;
}

int
mirror_reconnect_leg (struct mirror *mirror, unsigned leg, unsigned flags)
{
  struct leg *l = &mirror->legs[leg];

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&l->device_lock);
  if (!leg_is_out (l) || l->bdev == NULL)
    return -ENODEV;
  return bdev_reconnect (l->bdev, flags);
}

/* The leg is the only one in sync. */
static bool
is_alone_in_sync (struct mirror *m, unsigned leg)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->state_lock);
  return is_last_in_sync (m, leg);
}

int
mirror_revive_leg (struct mirror *mirror, unsigned leg, unsigned flags)
{
  struct leg *l = &mirror->legs[leg];

  if (!is_alone_in_sync (mirror, leg))
    return -ENODEV;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&l->device_lock);
  if (l->bdev == NULL)
    return -ENODEV;
  /* While it is gone no write succeeds; those that have are counted once they
   * have let it go.
   */
  wait_for_users (mirror, l);
  if (bdev_spec_is_uri (l->name) && l->writes != l->flushed_writes &&
      group_sync_error (&mirror->flushes) == 0) {
    log_error ("mirror: leg %u (%s): is the last leg in sync, and its server "
               "is gone; what was written to it since the last flush may be "
               "lost, so every flush fails until this server is started again",
               leg, (const char *) l->name);
    group_sync_fail (&mirror->flushes, -EIO);
    mirror_tell (mirror, MIRROR_FLUSH_FAILED);
  }
  return bdev_reconnect (l->bdev, flags);
}

int
mirror_rejoin_leg (struct mirror *mirror, unsigned leg, enum leg_lack lack)
{
  int r = 0;

  assert (leg_is_out (&mirror->legs[leg]));
  mirror_hold_resync (mirror);
  mutex_lock (&mirror->state_lock);
  if (lack == LEG_LACKS_ALL)
    r = mark_all_locked (mirror);
  if (r == 0)
    r = mirror_record_leg (mirror, leg, LEG_RECOVERING, NULL);
  if (r == 0) {
    forget_past (mirror, &mirror->legs[leg]);
    come_in_locked (mirror, leg, "back");
  }
  mutex_unlock (&mirror->state_lock);
  mirror_let_resync_go (mirror);
  return r;
}

bool
mirror_get_leg_latency (struct mirror *mirror, unsigned leg, enum latency_op op,
                        struct latency_counts *counts)
{
  struct latency *latency = mirror->legs[leg].latency;

  if (latency == NULL)
    return false;
  latency_get (latency, op, counts);
  return true;
}
