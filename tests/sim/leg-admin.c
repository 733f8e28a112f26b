/* The administrator: changes the legs of a volume beside its clients.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What he does succeeds, unless something was made to fail, or it would take
 * the last leg in sync.  A leg that he removes is never written again, and
 * one that he adds holds something else before: to read it too early is seen
 * by the model.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "leg-admin.h"
#include "bits.h"
#include "file-sim.h"
#include "sim.h"
#include "volume-admin.h"
#include "world.h"

/* More legs than these make a run slow. */
#define ADMIN_MAX_LEGS 5
#define ADMIN_MAX_REMOVED 16

static struct {
  struct fiber *fiber;
  unsigned changes;
  unsigned removed_count;
  struct {
    const struct sim_disk *disk;
    uint64_t modified_ns;
  } removed[ADMIN_MAX_REMOVED];
} admin;

/* Where legs differ another one is trusted after this, perhaps. */
static void
allow_other_legs (void)
{
  if (now.has_faults || world_legs_may_differ ())
    world_allow_other_legs ();
}

/* True if the result R of a change may be. */
static void
check_result (const char *what, int r, const struct volume_why *why)
{
  sim_trace ("%s: %d %s", what, r, r != 0 ? why->text : "");
  if (r >= 0 || r == -EBUSY || now.clients.has_ended || now.has_faults ||
      now.hidden != 0)
    return;
  sim_fail ("%s: %s", what, why->text);
}

/* A disk that is no leg yet, full of something else. */
static void
make_disk (char path[WORLD_NAME_BYTES])
{
  sector_t sectors = plan.sectors + sim_below (3), i;
  struct sim_disk *disk;

  snprintf (path, WORLD_NAME_BYTES, SIM_ROOT "/new%u", now.next_leg++);
  disk = sim_files_add_disk (path, sectors);
  for (i = 0; i < sectors; ++i)
    sim_disk_spoil (disk, i);
}

static unsigned
count_legs (const struct mirror_status *status)
{
  unsigned i, n = 0;

  for (i = 0; i < status->leg_count; ++i)
    n += status->legs[i].state != LEG_ABSENT;
  return n;
}

static void
add_leg (void)
{
  char path[WORLD_NAME_BYTES];
  struct volume_why why;
  unsigned leg;
  int r;

  make_disk (path);
  r = volume_leg_add (now.volume, path, &leg, &why);
  check_result ("add a leg", r, &why);
  world_counters.legs_added += r == 0;
}

static void
replace_leg (unsigned leg)
{
  char path[WORLD_NAME_BYTES];
  struct volume_why why;
  int r;

  make_disk (path);
  r = volume_leg_replace (now.volume, leg, path, &why);
  check_result ("replace a leg", r, &why);
  world_counters.legs_replaced += r == 0;
}

static void
remove_leg (unsigned leg)
{
  const struct sim_disk *disk = sim_files_disk (
    mirror_leg_name (volume_get_mirror (now.volume), leg));
  struct volume_why why;
  int r = volume_leg_remove (now.volume, leg, &why);

  check_result ("remove a leg", r, &why);
  if (r != 0)
    return;
  world_counters.legs_removed++;
  if (disk == NULL || admin.removed_count == ADMIN_MAX_REMOVED)
    return;
  admin.removed[admin.removed_count].disk = disk;
  admin.removed[admin.removed_count++].modified_ns = sim_disk_modified_ns (
    disk);
}

static void
fail_leg (unsigned leg)
{
  struct volume_why why;
  int r = volume_leg_fail (now.volume, leg, &why);

  check_result ("fail a leg", r, &why);
  world_counters.legs_taken_out += r == 0;
}

static void
rejoin_leg (unsigned leg)
{
  struct volume_why why;
  int r = volume_leg_rejoin (now.volume, leg, &why);

  check_result ("rejoin a leg", r, &why);
  world_counters.legs_rejoined += r == 0;
}

static void
direct_background (void)
{
  struct volume_why why;

  switch (sim_below (4)) {
  case 0:
    (void) volume_scrub_start (now.volume,
                               sim_one_in (2) ? SCRUB_CHECK : SCRUB_REPAIR,
                               &why);
    break;
  case 1:
    (void) volume_scrub_stop (now.volume, &why);
    break;
  case 2:
    (void) volume_resync_pause (now.volume, &why);
    break;
  default:
    (void) volume_resync_start (now.volume, &why);
  }
}

static void
begin_change (void)
{
  allow_other_legs ();
  model_set_changing (now.has_faults || world_legs_may_differ ());
}

static void
end_change (void)
{
  model_set_changing (false);
  if (!now.clients.has_ended)
    allow_other_legs ();
}

static void
change_something (void)
{
  struct mirror_status status;
  unsigned leg, i;

  mirror_get_status (volume_get_mirror (now.volume), &status);
  do
    leg = sim_below (status.leg_count);
  while (status.legs[leg].state == LEG_ABSENT);
  /* Those that are out come back sooner or later. */
  for (i = 0; i < status.leg_count; ++i)
    if (status.legs[i].state == LEG_FAILED && sim_one_in (2)) {
      rejoin_leg (i);
      return;
    }
  begin_change ();
  switch (sim_below (6)) {
  case 0:
    if (count_legs (&status) < ADMIN_MAX_LEGS)
      add_leg ();
    break;
  case 1:
    replace_leg (leg);
    break;
  case 2:
    remove_leg (leg);
    break;
  case 3:
  case 4:
    fail_leg (leg);
    break;
  default:
    direct_background ();
  }
  end_change ();
}

static void
admin_main (void *arg)
{
  struct volume_why why;

  (void) arg;
  while (admin.changes > 0 && !now.clients.has_ended) {
    admin.changes--;
    sim_sleep_ns ("the next change", NULL, 1000U << sim_below (12));
    if (!now.clients.has_ended)
      change_something ();
  }
  (void) volume_resync_resume (now.volume, &why);
}

void
leg_admin_add (void)
{
  begin_change ();
  add_leg ();
  end_change ();
}

void
leg_admin_start (unsigned changes)
{
  admin.changes = changes;
  admin.fiber = sim_fiber_start ("admin", admin_main, NULL);
}

void
leg_admin_join (void)
{
  sim_fiber_join (admin.fiber);
}

void
leg_admin_check_removed (void)
{
  unsigned i;

  for (i = 0; i < admin.removed_count; ++i)
    if (sim_disk_modified_ns (admin.removed[i].disk) !=
        admin.removed[i].modified_ns)
      sim_fail ("%s was written after it had been removed",
                sim_disk_name (admin.removed[i].disk));
  admin.removed_count = 0;
}
