/* The administrator of a simulated volume: what is done while it is served.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"
#include "volume-admin-snapshots.h"
#include "volume-impl.h"
#include "world.h"

/* See if the result of a call can be.  Returns true if it counts. */
static bool
can_be (const char *what, const char *name, int r, const struct volume_why *why)
{
  if (now.clients.has_ended)
    return false; /* nobody hears of it */
  sim_trace ("%s %s: %d %s", what, name, r, r != 0 ? why->text : "");
  if (r > 0 || (r < 0 && !now.has_faults))
    sim_fail ("%s %s: %s", what, name, why->text);
  sim_event ();
  return r == 0;
}

/*----- diffs -----------------------------------------------------------*/

/* What is different in all that is newer than snapshot number I. */
static void
check_diffs_from (unsigned i)
{
  struct model_device *older = now.snapshots[i].model;
  unsigned j;

  for (j = i + 1; j < now.snapshot_count && !now.clients.has_ended; ++j)
    if (now.snapshots[j].is_offered)
      client_check_diff (&now.clients, older, now.snapshots[j].model);
  if (!now.clients.has_ended)
    client_check_diff (&now.clients, older, now.model);
}

void
world_check_diffs (void)
{
  unsigned i;

  for (i = 0; i < now.snapshot_count && !now.clients.has_ended; ++i)
    if (now.snapshots[i].is_offered)
      check_diffs_from (i);
}

void
world_check_some_diff (void)
{
  unsigned i, j;

  if (now.snapshot_count == 0)
    return;
  i = sim_below (now.snapshot_count);
  j = i + 1 + sim_below (now.snapshot_count - i);
  if (!now.snapshots[i].is_offered ||
      (j < now.snapshot_count && !now.snapshots[j].is_offered))
    return;
  client_check_diff (&now.clients, now.snapshots[i].model,
                     j < now.snapshot_count ? now.snapshots[j].model
                                            : now.model);
}

/*----- snapshots -------------------------------------------------------*/

void
world_take_snapshot (void)
{
  char name[WORLD_NAME_BYTES];
  const struct volume_snapshot_request request = { .name = name };
  struct volume_why why = { "" };
  struct sim_snapshot *s;
  uint64_t issued = sim_tick ();
  unsigned index = now.snapshot_count;
  int r;

  if (now.snapshot_count == WORLD_MAX_SNAPSHOTS)
    return;
  s = &now.snapshots[now.snapshot_count++];
  memset (s, 0, sizeof *s);
  snprintf (name, sizeof name, "s%u", now.next_name++);
  snprintf (s->name, sizeof s->name, "%s", name);
  s->model = model_begin_snapshot (name, now.model);
  s->is_unanswered = true;
  r = volume_snapshot_create (now.volume, &request, &why);
  s = &now.snapshots[index];
  if (!can_be ("take snapshot", name, r, &why))
    return;
  /* Legs were flushed meanwhile. */
  model_is_durable (now.model, issued);
  model_end_snapshot (s->model);
  s->is_unanswered = false;
  s->is_offered = true;
  world_counters.snapshots++;
  world_counters.snapshots_live++;
}

void
world_remove_snapshot (struct sim_snapshot *s, bool by_force)
{
  struct volume_why why = { "" };
  char name[WORLD_NAME_BYTES];
  int r;

  snprintf (name, sizeof name, "%s", s->name);
  s->is_discarded = true;
  r = volume_snapshot_remove (now.volume, name,
                              by_force ? VOLUME_SNAPSHOT_FORCE : 0, &why);
  if (r == -EBUSY && !by_force) {
    sim_trace ("remove %s: it is in use", name);
    return;
  }
  if (!can_be ("remove snapshot", name, r, &why))
    return;
  s->is_gone = true;
  s->is_offered = false;
  world_counters.removed_live++;
}

void
world_rename_snapshot (struct sim_snapshot *s)
{
  struct volume_why why = { "" };
  char name[WORLD_NAME_BYTES];
  int r;

  snprintf (name, sizeof name, "%s", s->name);
  /* One that has failed may be on the disk all the same: it is tried again. */
  if (s->new_name[0] == '\0')
    snprintf (s->new_name, sizeof s->new_name, "s%u", now.next_name++);
  s->is_renamed = true;
  r = volume_snapshot_rename (now.volume, name, s->new_name, &why);
  if (!can_be ("rename snapshot", name, r, &why))
    return;
  model_rename (s->model, s->new_name);
  snprintf (s->name, sizeof s->name, "%s", s->new_name);
  s->new_name[0] = '\0';
  world_counters.renamed_live++;
}

/* A roll-back has been refused.  But if it could be recorded neither way, a
 * start shows which it is.
 */
static void
refuse_rollback (void)
{
  if (!now.volume->must_save)
    model_cancel_rollback (now.model);
}

/* Roll back to S.  If nothing newer is in the chain it is consumed, else it
 * stays.
 */
static void
roll_back_to (struct sim_snapshot *s)
{
  bool was_discarded = s->is_discarded;
  struct volume_why why = { "" };
  uint64_t issued = sim_tick ();
  char name[WORLD_NAME_BYTES];
  int r, index;

  snprintf (name, sizeof name, "%s", s->name);
  s->is_discarded = true;
  model_begin_rollback (now.model, s->model);
  r = volume_snapshot_rollback (now.volume, name, 0, &why);
  /* Clients have it, a newer one is going, it is invalid, the newest that
   * stays has no room.
   */
  if (!now.clients.has_ended &&
      (r == -EBUSY || ((r == -EIO || r == -ENOSPC) &&
                       (plan.cow_bytes > 0 || now.had_faults)))) {
    sim_trace ("roll back to %s: %s", name, why.text);
    refuse_rollback ();
    return;
  }
  if (!can_be ("roll back to", name, r, &why)) {
    if (!now.clients.has_ended)
      refuse_rollback ();
    return;
  }
  model_end_rollback (now.model, issued);
  index = volume_find_record (now.volume, name);
  if (index >= 0 &&
      volume_record_state (now.volume, (unsigned) index) == SNAPSHOT_VALID) {
    s->is_discarded = was_discarded;
    world_counters.rolled_back_to_older++;
    return;
  }
  s->is_gone = true;
  s->is_offered = false;
  world_counters.rolled_back++;
}

void
world_roll_back (void)
{
  struct sim_snapshot *s = NULL;
  const struct snapshot *newest;
  struct volume_why why;
  unsigned i;

  for (i = 0; i < now.snapshot_count; ++i)
    if (now.snapshots[i].is_offered)
      s = &now.snapshots[i];
  if (s == NULL)
    return;
  if (plan.is_transient) {
    int r = volume_snapshot_rollback (now.volume, s->name, 0, &why);

    if (!now.clients.has_ended && r != -EOPNOTSUPP &&
        (r >= 0 || !now.has_faults))
      sim_fail ("a roll-back to a transient snapshot: %d", r);
    return;
  }
  /* One that is invalid may be newer; then this one stays, and what clients
   * write to it meanwhile is not followed.
   */
  newest = volume_chain_newest (now.volume);
  if (s->is_used &&
      (newest == NULL || strcmp (snapshot_name (newest), s->name) != 0))
    return;
  roll_back_to (s);
}

/* An older one that is offered, and to which no client writes, or NULL. */
static struct sim_snapshot *
choose_older (void)
{
  unsigned offered = 0, i, skip;

  for (i = 0; i < now.snapshot_count; ++i)
    offered += now.snapshots[i].is_offered;
  if (offered < 2)
    return NULL;
  skip = sim_below (offered - 1);
  for (i = 0; !now.snapshots[i].is_offered || skip > 0; ++i)
    skip -= now.snapshots[i].is_offered;
  return now.snapshots[i].is_used ? NULL : &now.snapshots[i];
}

void
world_roll_back_to_older (void)
{
  struct sim_snapshot *s = choose_older ();

  if (s != NULL && !plan.is_transient)
    roll_back_to (s);
}

bool
world_wait_for_background (void)
{
  int r = volume_snapshots_wait (now.volume,
                                 sim_now_ns () + UINT64_C (2000000000000));

  /* A store that is full, and must not break, takes no more. */
  if (r < 0 && !now.clients.has_ended && !now.has_faults && plan.cow_bytes == 0)
    sim_fail ("what goes on in the background does not end");
  return r == 0 && !now.clients.has_ended;
}
