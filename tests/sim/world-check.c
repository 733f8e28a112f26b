/* What is checked of a simulated volume while it is open.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>

#include "file-sim.h"
#include "mirror-impl.h"
#include "sim.h"
#include "volume-admin.h"
#include "volume-impl.h"
#include "world.h"

void
world_read_everything (void)
{
  unsigned i;

  client_read_all (&now.clients, now.model);
  for (i = 0; i < now.snapshot_count; ++i)
    if (now.snapshots[i].is_offered)
      client_read_all (&now.clients, now.snapshots[i].model);
}

static bool
is_recovering (const struct mirror_status *status)
{
  unsigned i;

  for (i = 0; i < status->leg_count; ++i)
    if (status->legs[i].state == LEG_RECOVERING)
      return true;
  return status->regions_in_sync < status->regions_total;
}

#define RESYNC_MAX_SECONDS 2000

/* Nothing is wrong with the disks, so the resync comes to its end. */
void
world_wait_for_resync (void)
{
  struct mirror *m = volume_get_mirror (now.volume);
  struct mirror_status status;
  unsigned seconds;

  for (seconds = 0; seconds < RESYNC_MAX_SECONDS; ++seconds) {
    mirror_get_status (m, &status);
    if (now.clients.has_ended || !is_recovering (&status)) {
      world_counters.resyncs_waited_for++;
      return;
    }
    sim_sleep_ns ("the end of the resync", NULL, UINT64_C (1000000000));
  }
  sim_fail ("the resync does not end");
}

/* Nobody writes, and all regions are in sync: legs in sync are equal. */
void
world_compare_legs_in_sync (void)
{
  struct mirror *m = volume_get_mirror (now.volume);
  struct sim_disk *first = NULL;
  struct mirror_status status;
  unsigned i;

  mirror_get_status (m, &status);
  if (status.regions_in_sync < status.regions_total || now.clients.has_ended)
    return;
  if (now.volume->merging != NULL)
    return; /* somebody does write */
  for (i = 0; i < status.leg_count; ++i) {
    struct sim_disk *disk;

    if (status.legs[i].state != LEG_IN_SYNC)
      continue;
    disk = sim_files_disk (mirror_leg_name (m, i));
    model_check_disk (now.model, disk);
    if (first != NULL)
      world_compare_disks (first, disk, "all regions are in sync");
    first = disk;
  }
}

void
world_check_scrub (void)
{
  struct mirror_status status;

  mirror_get_status (volume_get_mirror (now.volume), &status);
  if (status.scrub.mismatches > 0)
    sim_fail ("a scrub has found %" PRIu64 " sectors in which legs differ",
              status.scrub.mismatches);
  world_counters.scrubbed_bytes += status.scrub.done_bytes;
}

/* A leg of which SECTOR may be spoiled, and still be known to be wrong: with
 * two legs not the primary.
 */
static struct sim_disk *
choose_victim (struct mirror *m, const struct mirror_status *status)
{
  unsigned in_sync = 0, i, victim;

  for (i = 0; i < status->leg_count; ++i)
    in_sync += status->legs[i].state == LEG_IN_SYNC;
  if (in_sync < 2)
    return NULL;
  do
    victim = sim_below (status->leg_count);
  while (status->legs[victim].state != LEG_IN_SYNC ||
         (in_sync == 2 && victim == mirror_primary (m)));
  return sim_files_disk (bdev_name (mirror_leg_bdev (m, victim)));
}

void
world_spoil_and_scrub (void)
{
  struct mirror *m = volume_get_mirror (now.volume);
  struct mirror_status status;
  struct volume_why why;
  unsigned spoiled = 0, i;

  mirror_get_status (m, &status);
  if (now.clients.has_ended || status.regions_in_sync < status.regions_total)
    return;
  volume_scrub_stop (now.volume, &why);
  for (i = sim_below (4); i < plan.sectors; i += 1 + sim_below (20)) {
    struct sim_disk *victim = choose_victim (m, &status);

    if (victim == NULL)
      return;
    sim_trace ("sector %u of %s is spoiled", i, sim_disk_name (victim));
    sim_disk_spoil (victim, i);
    spoiled++;
  }
  if (volume_scrub_start (now.volume, SCRUB_REPAIR, &why) != 0)
    sim_fail ("no scrub: %s", why.text);
  do {
    sim_sleep_ns ("the end of the scrub", NULL, 50000000);
    mirror_get_status (m, &status);
  } while (status.scrub.is_running);
  if (status.scrub.mismatches != spoiled || status.scrub.repaired != spoiled)
    sim_fail ("of %u sectors that were spoiled a scrub has found %" PRIu64
              ", and repaired %" PRIu64,
              spoiled, status.scrub.mismatches, status.scrub.repaired);
  world_counters.spoiled += spoiled;
  world_compare_legs_in_sync ();
}
