/* One seed with a table: an origin, direct snapshots of it, and their lives.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Snapshots come and go between lives, as tables do; and one of them is merged
 * into the origin, through as many lives as that takes.
 */

#include <config.h>

#include <string.h>

#include "bits.h"
#include "file-sim.h"
#include "life-impl.h"
#include "sim.h"
#include "table-life.h"
#include "table-world.h"

#define WANTED_SNAPSHOTS 3
#define MAX_LIVES 12

bool
table_life_has_seed (uint64_t seed)
{
  return seed % 16 == 11;
}

/*----- between lives ---------------------------------------------------*/

/* What all snapshots of a seed have in common. */
static struct {
  unsigned wanted;
  unsigned chunk_sectors; /* 0: each its own */
  bool some_are_small;
  bool some_are_transient;
} kind;

static void
choose_kind (void)
{
  kind.wanted = 1 + sim_below (WANTED_SNAPSHOTS);
  kind.chunk_sectors = sim_one_in (2) ? 1U << sim_below (5) : 0;
  if (plan.is_deep)
    kind.chunk_sectors = 1U << sim_below (2);
  if (sim_one_in (12)) /* more than one job of kcopyd copies to */
    kind.wanted = TABLE_MAX_STORES - sim_below (3);
  kind.some_are_small = sim_one_in (3);
  kind.some_are_transient = sim_one_in (3);
}

static void
add_snapshot (void)
{
  struct table_store s = { .sectors = plan.sectors };
  unsigned chunks;

  s.chunk_sectors = kind.chunk_sectors > 0 ? kind.chunk_sectors
                                           : 1U << sim_below (5);
  if (sim_one_in (6))
    s.sectors = 1 + sim_below (plan.sectors);
  s.is_transient = kind.some_are_transient && sim_one_in (2);
  s.may_overflow = sim_one_in (3);
  chunks = (plan.sectors + s.chunk_sectors - 1) / s.chunk_sectors;
  if (kind.some_are_small && sim_one_in (2))
    chunks = 1 + sim_below (chunks);
  s.cow_sectors = table_cow_sectors (&s, chunks) + sim_below (s.chunk_sectors);
  /* Where a store is to be made so much is looked at. */
  table_add (&s);
}

static void
change_table (void)
{
  unsigned i;

  if (table.is_merged && !sim_one_in (4))
    table.is_merging = table.is_merged = false;
  for (i = now.snapshot_count; i-- > 0;)
    if (sim_one_in (table.stores[i].is_lost ? 3 : 12))
      table_remove (i);
  if (sim_one_in (4))
    for (i = now.snapshot_count; i-- > 0 && !table.is_merging;)
      if (table_can_merge (i))
        table_begin_merge (i);
  while (!table.is_merging && now.snapshot_count < kind.wanted &&
         !sim_one_in (4))
    add_snapshot ();
}

/*----- a life ----------------------------------------------------------*/

/* The origin, if it is served, or a snapshot that is offered; NULL: neither. */
static struct model_device *
choose_device (void)
{
  unsigned i;

  if (now.snapshot_count > 0 && (!table.is_served || sim_one_in (2))) {
    i = sim_below (now.snapshot_count);
    if (now.snapshots[i].is_offered)
      return now.snapshots[i].model;
  }
  return table.is_served ? now.model : NULL;
}

static void
run_clients (unsigned requests)
{
  struct client clients[LIFE_MAX_CLIENTS];
  unsigned wanted = 1 + sim_below (LIFE_MAX_CLIENTS), count = 0, i;

  life_choose_load (requests);
  for (i = 0; i < wanted; ++i) {
    struct model_device *device = choose_device ();

    if (device == NULL)
      continue;
    clients[count] = (struct client){ .world = &now.clients, .device = device };
    client_start (&clients[count++]);
  }
  for (i = 0; i < count; ++i)
    client_join (&clients[i]);
}

static void
serve (unsigned requests, bool is_last)
{
  struct model_device *device = choose_device ();

  if (device != NULL && sim_one_in (2))
    table_settle (device);
  if (sim_one_in (3))
    table_read_everything ();
  if (requests > 0)
    run_clients (requests);
  if (is_last || sim_one_in (3))
    table_read_everything ();
  if (is_last && now.clients.has_started) {
    table_wait_for_merge ();
    table_read_everything ();
  }
  table_check_descriptions ();
}

static void
live (unsigned requests, bool is_last)
{
  table_load (!sim_one_in (6));
  now.clients.is_read_only = !is_last && sim_one_in (12);
  life_choose_faults (plan.has_faults && !is_last && !sim_one_in (4));
  life_choose_crash (is_last);
  if (table_open ())
    serve (requests, is_last);
  table_unload ();
  world_end_life (sim_one_in (4));
  table_visit_grave ();
}

/*----- a seed ----------------------------------------------------------*/

static void
choose_plan (void)
{
  memset (&plan, 0, sizeof plan);
  plan.leg_count = 1;
  plan.sectors = 8 + sim_below (sim_one_in (4) ? 120 : 50);
  plan.has_faults = sim_one_in (2);
  plan.is_deep = sim_one_in (6);
  plan.kind.can_begin = sim_one_in (3);
  plan.kind.is_bare = sim_one_in (6);
  plan.some_not_fast = sim_one_in (3);
  plan.copy_sectors = 8U << sim_below (4);
  plan.copy_slices = 1U << sim_below (4);
  plan.copy_pages = (plan.copy_sectors / 8) << sim_below (6);
  if (sim_one_in (3))
    plan.slow = 1U << sim_below (8);
  if (sim_one_in (6)) {
    /* What a kill left unflushed is used, and then the power fails. */
    plan.is_restless = true;
    plan.is_deep = false;
    plan.sectors = 8 + sim_below (16);
  }
}

void
table_life_run (unsigned steps)
{
  unsigned lives, i;

  choose_plan ();
  plan.asks_extents = life_asks_extents (sim_seed ());
  choose_kind ();
  sim_files_on_new_disk (life_set_up_disk);
  table_begin ();
  lives = plan.is_restless ? 4 + sim_below (MAX_LIVES - 3) : 2 + sim_below (5);
  for (i = 0; i < lives; ++i) {
    live (1 + sim_below (2 * steps / lives), false);
    change_table ();
  }
  live (sim_one_in (2) ? steps / lives : 0, true);
  world_end ();
}
