/* What seeds of all kinds choose alike: faults, load, crashes, scheduling.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <string.h>

#include "bits.h"
#include "file-sim.h"
#include "life-impl.h"
#include "sim.h"
#include "world.h"

/* Of the requests of clients who ask where holes are, so many. */
#define EXTENTS_ONE_IN 6

/*----- faults ----------------------------------------------------------*/

static void
choose_fault (struct sim_fault *fault)
{
  switch (sim_below (3)) {
  case 0:
    fault->one_in = 2U << sim_below (6);
    break;
  case 1:
    fault->after = sim_below (1U << sim_below (8));
    fault->count = 1 + sim_below (4);
    break;
  case 2:
    fault->after = sim_below (1U << sim_below (8));
    fault->count = SIM_FOR_EVER;
    break;
  }
}

static void
choose_faults (struct sim_disk_faults *faults, sector_t sectors)
{
  switch (sim_below (6)) {
  case 0:
    faults->gone_after = 1 + sim_below (1U << sim_below (8));
    break;
  case 1:
    faults->bad_sector = sim_below ((unsigned) sectors + 1);
    faults->bad_count = 1 + sim_below (16);
    break;
  case 2:
    faults->space = 1 + sim_below ((unsigned) sectors + 1);
    break;
  default:
    choose_fault (&faults->ops[sim_below (SIM_OPS)]);
    if (sim_one_in (3))
      choose_fault (&faults->ops[sim_below (SIM_OPS)]);
  }
}

static bool
is_store (const struct sim_disk *disk)
{
  return strstr (sim_disk_name (disk), ".cow") != NULL ||
         strcmp (sim_disk_name (disk), SIM_UNNAMED) == 0;
}

void
life_set_up_disk (struct sim_disk *disk)
{
  struct sim_disk_faults faults = { .slow = 0 };
  struct sim_disk_kind kind = plan.kind;
  bool may_fail = is_store (disk) ? now.stores_may_fail : now.legs_may_fail;

  if (now.doomed[0] != '\0' && !is_store (disk)) {
    if (strcmp (sim_disk_name (disk), now.doomed) == 0) {
      faults.ops[SIM_WRITE].after = sim_below (1U << sim_below (6));
      faults.ops[SIM_WRITE].count = SIM_FOR_EVER;
    }
    else if (sim_one_in (2))
      faults.slow = 1U << sim_below (6);
  }
  else if (may_fail && !sim_one_in (3))
    choose_faults (&faults, sim_disk_sectors (disk));
  if (plan.slow > 0 && sim_one_in (2))
    faults.slow = plan.slow;
  if (plan.slow > 0 && sim_one_in (4))
    faults.stall_one_in = 50;
  sim_disk_set_faults (disk, &faults);
  kind.no_fast = plan.some_not_fast && sim_one_in (2);
  sim_disk_set_kind (disk, &kind);
}

/* The leg that the others are filled from, mostly. */
static void
doom_leg (void)
{
  const char *name = strrchr (now.primary, '/');

  if (name == NULL || sim_one_in (4))
    snprintf (now.doomed, sizeof now.doomed, "leg%u",
              sim_below (plan.leg_count));
  else
    snprintf (now.doomed, sizeof now.doomed, "%s", name + 1);
}

void
life_choose_faults (bool has_faults)
{
  now.legs_may_fail = now.stores_may_fail = now.has_faults = false;
  now.doomed[0] = '\0';
  if (has_faults) {
    /* One leg, from some write on, while the others are being filled. */
    if (sim_one_in (4))
      doom_leg ();
    now.legs_may_fail = sim_one_in (2);
    now.stores_may_fail = sim_one_in (2);
    if (plan.is_transient) {
      /* It is not remembered which leg has failed: nothing is promised. */
      now.doomed[0] = '\0';
      now.legs_may_fail = false;
      now.stores_may_fail = true;
    }
    now.has_faults = true;
    now.had_faults = true;
  }
  sim_files_each_disk (life_set_up_disk);
  sim_set_thread_errors (has_faults && sim_one_in (5) ? 4 : 0);
  sim_files_set_faults (has_faults && sim_one_in (3) ? 1U << sim_below (7) : 0);
}

/*----- clients ---------------------------------------------------------*/

void
life_choose_load (unsigned requests)
{
  struct client_world *w = &now.clients;

  w->requests_left = requests;
  w->extents_one_in = plan.asks_extents ? EXTENTS_ONE_IN : 0;
  w->longest = 1U << sim_below (8);
  w->hot_units = sim_one_in (2) ? 1U << (2 + sim_below (6)) : 0;
  if (plan.is_deep) {
    w->longest = 64U << sim_below (3);
    w->hot_units = 0;
  }
  w->flush_one_in = 2U << sim_below (4);
  w->read_one_in = 2 + sim_below (3);
  w->zero_one_in = 2 + sim_below (10);
  w->fua_one_in = 2U << sim_below (4);
  w->unaligned_one_in = sim_one_in (2) ? 3 : 0;
  if (plan.is_restless)
    w->fua_one_in = 1 + sim_below (3);
  if (now.doomed[0] != '\0') {
    w->requests_left *= 3;
    w->read_one_in = 1 + sim_below (2);
    w->longest = MIN_OF (w->longest, 16);
  }
}

/*----- crashes ---------------------------------------------------------*/

void
life_choose_crash (bool is_last)
{
  if (is_last || sim_one_in (plan.is_restless ? 10 : 4))
    return;
  now.crash = sim_one_in (plan.is_restless ? 2 : 3) ? SIM_KILLED
                                                    : SIM_POWER_FAILS;
  sim_at_point (sim_points () + 1 + sim_below (32U << sim_below (8)),
                world_crash);
}

/*----- scheduling ------------------------------------------------------*/

void
life_choose_policy (void)
{
  struct sim_policy policy = { .max_points = 5000000 };

  policy.switch_one_in = 1U << sim_below (6);
  policy.by_priority = sim_one_in (3);
  policy.priority_one_in = 4U << sim_below (6);
  policy.spurious_one_in = sim_one_in (2) ? 20 : 0;
  sim_set_policy (&policy);
}
