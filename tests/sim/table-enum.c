/* Telling stories of tables: for every crash, and every call that may fail.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>

#include "file-sim.h"
#include "sim.h"
#include "table-story.h"

/* What goes on in the dangerous life. */
static struct {
  enum calamity how;
  unsigned event;
} danger;

static void
request (enum model_kind kind, struct model_device *device, unsigned unit,
         unsigned count, bool is_durable)
{
  void *handle = client_open (&now.clients, device);
  struct model_op op = {
    .device = device,
    .kind = kind,
    .unit = unit,
    .count = count,
    .is_durable = is_durable,
  };

  if (handle == NULL)
    return;
  if (!now.clients.has_ended)
    client_request (&now.clients, handle, &op);
  client_close (&now.clients, handle);
}

/* From now on calls of that kind fail. */
static void
fail_store (unsigned i, enum sim_op op)
{
  struct sim_disk_faults faults = { .slow = 0 };

  faults.ops[op].count = SIM_FOR_EVER;
  sim_disk_set_faults (sim_files_disk (table.stores[i].path), &faults);
  now.has_faults = now.had_faults = true;
}

static void
request_snapshot (const struct table_step *step, enum model_kind kind)
{
  if (now.snapshots[step->flags].is_offered)
    request (kind, now.snapshots[step->flags].model, step->unit, step->count,
             false);
}

static void
do_step (const struct table_step *step)
{
  switch (step->kind) {
  case TABLE_WRITE:
  case TABLE_FUA:
    request (MODEL_WRITE, now.model, step->unit, step->count,
             step->kind == TABLE_FUA);
    break;
  case TABLE_ZERO:
    request (MODEL_ZERO, now.model, step->unit, step->count, false);
    break;
  case TABLE_FLUSH:
    request (MODEL_FLUSH, now.model, 0, 0, false);
    break;
  case TABLE_WRITE_SNAPSHOT:
    request_snapshot (step, MODEL_WRITE);
    break;
  case TABLE_FLUSH_SNAPSHOT:
    request_snapshot (step, MODEL_FLUSH);
    break;
  case TABLE_FAIL:
    fail_store (step->flags, (enum sim_op) step->unit);
    break;
  case TABLE_READ:
    table_read_everything ();
    break;
  case TABLE_MERGED:
    if (!now.has_faults && now.clients.has_started)
      table_wait_for_merge ();
    break;
  case TABLE_LIFE:
  case TABLE_END:
    break;
  }
}

static void
heal (struct sim_disk *disk)
{
  static const struct sim_disk_faults none;

  sim_disk_set_faults (disk, &none);
}

static void
begin_life (const struct table_story *story, unsigned flags)
{
  unsigned i;

  now.has_faults = false;
  sim_files_each_disk (heal);
  for (i = 0; (flags & TABLE_TAKE) && i < story->store_count; ++i)
    table_add (&story->stores[i]);
  if (table.is_merged)
    table.is_merging = table.is_merged = false;
  if ((flags & TABLE_MERGE) && !table.is_merging && table_can_merge (0))
    table_begin_merge (0);
  table_load (!(flags & TABLE_ALONE));
  now.clients.is_read_only = (flags & TABLE_LOOK) != 0;
}

/* From now on it is dangerous. */
static void
begin_danger (void)
{
  bool is_crash = danger.how == CALAMITY_POWER || danger.how == CALAMITY_KILL;

  now.crash = danger.how == CALAMITY_KILL ? SIM_KILLED : SIM_POWER_FAILS;
  (void) sim_at_event (is_crash ? danger.event : 0, world_crash);
  (void) sim_disks_fail_call (is_crash ? 0 : danger.event,
                              danger.how == CALAMITY_CALLS);
  if (!is_crash && danger.event > 0)
    now.has_faults = now.had_faults = true;
}

/* Returns how many events there were, or calls. */
static unsigned
end_danger (void)
{
  unsigned events = sim_at_event (0, NULL);
  unsigned calls = sim_disks_fail_call (0, false);

  return danger.how == CALAMITY_POWER || danger.how == CALAMITY_KILL ? events
                                                                     : calls;
}

/* A life, from its first step on.  Returns the next one, or the end. */
static const struct table_step *
live (const struct table_story *story, const struct table_step *step,
      unsigned *events)
{
  unsigned begun_with = step->flags;
  bool is_dangerous = (begun_with & TABLE_DANGER) != 0, fails;

  begin_life (story, begun_with);
  if (is_dangerous)
    begin_danger ();
  if (!table_open ())
    now.clients.has_ended = true;
  else
    table_settle (table.is_served ? now.model : now.snapshots[0].model);
  for (++step; step->kind != TABLE_LIFE && step->kind != TABLE_END; ++step)
    if (!now.clients.has_ended)
      do_step (step);
  table_check_descriptions ();
  if ((begun_with & (TABLE_CUT | TABLE_SHOT)) && !now.clients.has_ended) {
    now.crash = begun_with & TABLE_SHOT ? SIM_KILLED : SIM_POWER_FAILS;
    world_crash ();
  }
  table_unload ();
  /* After an error the power fails, too. */
  fails = is_dangerous && danger.event > 0 && danger.how != CALAMITY_POWER &&
          danger.how != CALAMITY_KILL;
  if (is_dangerous)
    *events = end_danger ();
  world_end_life (fails ||
                  (step->kind == TABLE_LIFE && (step->flags & TABLE_CRASHED)));
  table_visit_grave ();
  return step;
}

/* Everything is as it must be, and stays so. */
static void
check_life (const struct table_story *story)
{
  unsigned i;

  begin_life (story, 0);
  if (table_open ()) {
    table_read_everything ();
    request (MODEL_WRITE, now.model, 2, 4, true);
    for (i = 0; i < now.snapshot_count; ++i)
      if (now.snapshots[i].is_offered)
        request (MODEL_WRITE, now.snapshots[i].model, 4, 2, true);
    table_wait_for_merge ();
    table_read_everything ();
    table_check_descriptions ();
  }
  table_unload ();
  world_end_life (true);
  table_visit_grave ();
}

unsigned
table_tell (unsigned index, uint64_t seed, unsigned event, enum calamity how,
            bool is_traced)
{
  const struct table_story *story = &table_stories[index];
  const struct sim_policy policy = { .max_points = 100000 };
  const struct table_step *step = story->steps;
  unsigned events = 0;

  danger.how = how;
  danger.event = event;
  sim_begin (seed, is_traced);
  sim_set_policy (&policy);
  memset (&plan, 0, sizeof plan);
  plan.sectors = story->sectors;
  plan.copy_pages = 8;
  plan.copy_sectors = 8;
  plan.copy_slices = 1;
  sim_files_on_new_disk (heal);
  table_begin ();
  while (step->kind != TABLE_END)
    step = live (story, step, &events);
  check_life (story);
  check_life (story);
  world_end ();
  (void) sim_end ();
  return events;
}
