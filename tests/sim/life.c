/* One seed: a volume, its lives, and what comes between them.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The geometry, the rates of faults and of requests, and how fibers are
 * scheduled, are all chosen by the seed.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "file-sim.h"
#include "leg-admin.h"
#include "life-impl.h"
#include "life.h"
#include "log-sink.h"
#include "manifest.h"
#include "sim.h"
#include "table-life.h"
#include "volume-admin.h"
#include "world.h"

#define WANTED_SNAPSHOTS 4
#define MAX_DEEDS 60 /* of the administrator, in a life */
#define MAX_RESTLESS_LIVES 14

/*----- between lives ---------------------------------------------------*/

/* A leg goes away for ever, if another one has all, and this is known after
 * a power failure, too: a rename may not have come to the disk before the
 * program was killed.
 */
static void
lose_leg (const struct manifest *m)
{
  unsigned victim = sim_below (m->leg_count), i;

  if (!sim_files_is_durable (WORLD_META "/volume.json"))
    return;
  for (i = 0; i < m->leg_count; ++i) {
    if (i == victim || world_trusted_disk (&m->legs[i]) == NULL)
      continue;
    sim_trace ("%s is lost", m->legs[victim].spec);
    world_counters.leg_losses++;
    now.is_leg_lost = true;
    if (sim_files_disk (m->legs[victim].spec) != NULL)
      sim_files_remove (m->legs[victim].spec);
    world_allow_other_legs ();
    return;
  }
}

/*----- a life ----------------------------------------------------------*/

/* New snapshots, and the oldest one given up. */
static void
configure_snapshots (void)
{
  if (now.snapshot_count > 0 && !now.snapshots[0].is_discarded &&
      sim_one_in (plan.is_deep ? 20 : 5)) {
    world_configure ("discard-snapshot", "%s", now.snapshots[0].name);
    now.snapshots[0].is_discarded = true;
  }
  if (now.snapshot_count < (plan.is_deep ? 1 : WANTED_SNAPSHOTS) &&
      (plan.is_deep || sim_one_in (2)))
    world_configure ("snapshot", "s%u", now.next_name++);
  if (plan.cow_bytes > 0)
    world_configure ("cow-size", "%u", plan.cow_bytes);
  world_configure ("on-cow-error", "%s", plan.on_cow_error);
}

static void
configure_volume (void)
{
  unsigned first = sim_one_in (8) ? sim_below (now.leg_count) : 0;
  unsigned i;

  if (plan.is_transient)
    first = 0; /* the one that the others are filled from */
  for (i = 0; i < now.leg_count; ++i)
    world_configure ("leg", "%s", now.legs[(first + i) % now.leg_count]);
  world_configure ("size", "%u", plan.sectors * SECTOR_SIZE);
  if (!plan.is_transient)
    world_configure ("meta", WORLD_META);
  world_configure ("region-size", "%u", plan.region_bytes);
  world_configure ("read-policy", "%s", plan.read_policy);
  if (sim_one_in (6))
    world_configure ("resync-rate", "%u", 4096U << sim_below (6));
  if (sim_one_in (8))
    world_configure ("write-mostly", "%u", sim_below (now.leg_count));
  if (plan.has_snapshots)
    configure_snapshots ();
  if (now.clients.plugin->config_complete () == -1)
    sim_fail ("the configuration is refused");
}

static struct model_device *
choose_device (void)
{
  unsigned i;

  if (now.snapshot_count > 0 && sim_one_in (3)) {
    i = sim_below (now.snapshot_count);
    if (now.snapshots[i].is_offered) {
      now.snapshots[i].is_used = true;
      return now.snapshots[i].model;
    }
  }
  return now.model;
}

/* A snapshot that is offered, or NULL. */
static struct sim_snapshot *
choose_snapshot (void)
{
  struct sim_snapshot *s;

  if (now.snapshot_count == 0)
    return NULL;
  s = &now.snapshots[sim_below (now.snapshot_count)];
  return s->is_offered ? s : NULL;
}

/* What an administrator does while clients are served. */
static void
administer (void *arg)
{
  struct sim_snapshot *s;
  unsigned deeds = MAX_DEEDS;

  (void) arg;
  while (now.clients.requests_left > 0 && !now.clients.has_ended &&
         deeds-- > 0) {
    sim_sleep_ns ("the administrator's pause", NULL,
                  1000 * (uint64_t) (1 + sim_below (plan.admin_pause)));
    if (now.clients.has_ended)
      return;
    s = choose_snapshot ();
    switch (sim_below (7)) {
    case 0:
    case 1:
      if (now.snapshot_count < WANTED_SNAPSHOTS + 2)
        world_take_snapshot ();
      break;
    case 2:
      if (s != NULL)
        world_remove_snapshot (s, sim_one_in (2));
      break;
    case 3:
      if (s != NULL)
        world_rename_snapshot (s);
      break;
    case 4:
      if (sim_one_in (2))
        world_roll_back ();
      else
        world_roll_back_to_older ();
      break;
    case 5:
      world_check_some_diff ();
      break;
    default:
      if (s != NULL)
        client_read_all (&now.clients, s->model);
      break;
    }
  }
}

static void
run_clients (unsigned requests)
{
  struct fiber *admin = NULL;
  struct client clients[LIFE_MAX_CLIENTS];
  unsigned count = 1 + sim_below (LIFE_MAX_CLIENTS), i;
  struct client_world *w = &now.clients;

  life_choose_load (requests);
  for (i = 0; i < count; ++i) {
    clients[i] = (struct client){ .world = w, .device = choose_device () };
    client_start (&clients[i]);
  }
  if (plan.has_snapshots && plan.admin_pause > 0)
    admin = sim_fiber_start ("administrator", administer, NULL);
  if (plan.changes_legs && !now.clients.has_ended && sim_one_in (2)) {
    leg_admin_start (1 + sim_below (6));
    leg_admin_join ();
  }
  for (i = 0; i < count; ++i)
    client_join (&clients[i]);
  w->requests_left = 0; /* who was not let in has made none */
  if (admin != NULL)
    sim_fiber_join (admin);
}

/* Compare the legs beside the clients; that finds nothing, see
 * world_check_scrub.
 */
static void
start_scrub (void)
{
  struct volume_why why;

  if (now.clients.has_ended || !sim_one_in (4))
    return;
  if (volume_scrub_start (now.volume,
                          sim_one_in (3) ? SCRUB_CHECK : SCRUB_REPAIR,
                          &why) == 0)
    world_counters.scrubs++;
  else
    sim_trace ("no scrub: %s", why.text);
}

static void
serve (unsigned requests, bool is_last)
{
  start_scrub ();
  if (sim_one_in (2))
    client_read_all (&now.clients, now.model);
  if (requests > 0)
    run_clients (requests);
  if (is_last)
    world_read_everything ();
  if (is_last && !now.clients.has_ended && !now.has_faults)
    now.is_settled = world_wait_for_background ();
  if (!now.clients.has_ended && !now.has_faults &&
      (is_last || (requests > 0 && sim_one_in (2))))
    world_wait_for_resync ();
  if (!now.clients.has_ended)
    world_compare_legs_in_sync ();
  if (is_last)
    world_read_everything ();
  if (is_last)
    world_check_diffs ();
  world_check_scrub ();
  leg_admin_check_removed ();
  if (is_last)
    world_spoil_and_scrub ();
}

/* LEFT: the manifest of the last life, or NULL. */
static void
live (const struct manifest *left, unsigned requests, bool is_last)
{
  world_load ();
  if (left != NULL && !is_last && plan.leg_count > 1 && sim_one_in (4))
    world_hide_leg (sim_below (plan.leg_count), left);
  configure_volume ();
  life_choose_faults (plan.has_faults && !is_last && !sim_one_in (4));
  life_choose_crash (is_last);
  if (world_open ())
    serve (requests, is_last);
  world_unload ();
  world_end_life (sim_one_in (4));
}

/* Look at what it has left, and spoil some of it.  Returns the manifest, to be
 * freed, or NULL if there is none.
 */
static struct manifest *
visit_grave (bool is_last)
{
  struct manifest *m = world_visit_grave ();

  if (m != NULL && !is_last && sim_one_in (10))
    lose_leg (m);
  return m;
}

/*----- a seed ----------------------------------------------------------*/

static void
choose_plan (void)
{
  static const char *const policies[] = { "least-pending", "round-robin",
                                          "first" };
  static const unsigned leg_counts[] = { 1, 2, 2, 2, 2, 3, 3, 4 };

  memset (&plan, 0, sizeof plan);
  plan.leg_count = leg_counts[sim_below (ARRAY_COUNT (leg_counts))];
  plan.sectors = 8 + sim_below (sim_one_in (4) ? 200 : 80);
  plan.region_bytes = 1024U << sim_below (6);
  plan.chunk_bytes = SECTOR_SIZE << sim_below (5);
  plan.has_faults = sim_one_in (2);
  plan.has_snapshots = !sim_one_in (4);
  if (sim_one_in (6)) {
    /* Many chunks at once: areas of the store become full. */
    plan.is_deep = plan.has_snapshots = true;
    plan.chunk_bytes = SECTOR_SIZE << sim_below (3);
    plan.sectors = 100 + sim_below (150);
  }
  if (sim_one_in (5) && !plan.is_deep)
    plan.cow_bytes = plan.chunk_bytes * (3 + sim_below (12));
  plan.read_policy = policies[sim_below (ARRAY_COUNT (policies))];
  plan.on_cow_error = sim_one_in (4) ? "break-guest-write" : "break-snapshot";
  plan.kind.can_begin = sim_one_in (3);
  plan.kind.is_bare = sim_one_in (6);
  plan.some_not_fast = sim_one_in (3);
  if (sim_one_in (2))
    plan.admin_pause = 16U << sim_below (8);
  plan.copy_sectors = 8U << sim_below (4);
  plan.copy_slices = 1U << sim_below (4);
  plan.copy_pages = (plan.copy_sectors / 8) << sim_below (6);
  plan.changes_legs = sim_one_in (3);
  if (sim_one_in (4))
    plan.slow = 1U << sim_below (8);
  if (sim_one_in (2))
    plan.clean_ns = UINT64_C (20000) << sim_below (10);
  if (sim_one_in (8)) {
    /* What a kill left unflushed is used, and then the power fails. */
    plan.is_restless = true;
    plan.is_deep = false;
    plan.sectors = 8 + sim_below (16);
    plan.cow_bytes = 0;
  }
}

/* Without a folder: seeds of their own, chosen without chance, so that all
 * other ones are what they were.
 */
static void
choose_transient (uint64_t seed)
{
  if (seed % 16 != 9)
    return;
  plan.is_transient = plan.has_snapshots = true;
  plan.changes_legs = false;
}

/* As above: by the number. */
bool
life_asks_extents (uint64_t seed)
{
  return seed / 16 % 4 == 3;
}

uint64_t
life_run_seed (uint64_t seed, unsigned steps, bool is_traced)
{
  struct manifest *left = NULL;
  unsigned lives, i;

  sim_begin (seed, is_traced);
  life_choose_policy ();
  if (table_life_has_seed (seed)) {
    table_life_run (steps);
    return sim_end ();
  }
  choose_plan ();
  choose_transient (seed);
  plan.asks_extents = life_asks_extents (seed);
  sim_files_on_new_disk (life_set_up_disk);
  world_begin ();
  if (sim_one_in (2) || plan.is_transient)
    world_add_legs ();
  lives = plan.is_restless ? 4 + sim_below (MAX_RESTLESS_LIVES - 3)
                           : 2 + sim_below (5);
  for (i = 0; i < lives; ++i) {
    live (left, 1 + sim_below (2 * steps / lives), false);
    manifest_free (left);
    left = visit_grave (false);
  }
  live (left, sim_one_in (2) ? steps / lives : 0, true);
  manifest_free (left);
  manifest_free (visit_grave (true));

  world_end ();
  return sim_end ();
}
