/* What a life of a simulated volume has left: every promise that files show.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "bits.h"
#include "file-sim.h"
#include "manifest.h"
#include "mirror-impl.h"
#include "sim.h"
#include "world.h"

/* The disk of a leg, if it is still the file that it was. */
static struct sim_disk *
known_disk (const struct manifest_leg *leg)
{
  struct sim_disk *disk = sim_files_disk (leg->spec);
  char identity[LEG_IDENTITY_BYTES];

  if (disk == NULL)
    return NULL;
  snprintf (identity, sizeof identity, "file %" PRIu64 " 1.000000000",
            sim_disk_number (disk));
  return strcmp (identity, leg->identity) == 0 ? disk : NULL;
}

struct sim_disk *
world_trusted_disk (const struct manifest_leg *leg)
{
  return leg->state == LEG_IN_SYNC ? known_disk (leg) : NULL;
}

static void
compare_sectors (const struct sim_disk *a, const struct sim_disk *b,
                 unsigned first, unsigned count, const char *why)
{
  sector_t same = sim_disk_compare (a, b, first, count);

  if (same < count)
    sim_fail ("%s: %s and %s differ in sector %u", why, sim_disk_name (a),
              sim_disk_name (b), first + (unsigned) same);
}

void
world_compare_disks (const struct sim_disk *a, const struct sim_disk *b,
                     const char *why)
{
  world_counters.legs_compared++;
  compare_sectors (a, b, 0, plan.sectors, why);
}

/* Where a region is clean in the log all legs are equal, those that are out
 * as well; seen in the bits themselves.
 */
static void
check_log (const struct manifest *m)
{
  const struct sim_disk *log = sim_files_disk (WORLD_META "/dirty.log");
  unsigned region_sectors = plan.region_bytes / SECTOR_SIZE;
  unsigned regions = (plan.sectors + region_sectors - 1) / region_sectors;
  unsigned char bits[SECTOR_SIZE];
  unsigned r, i;

  if (m->log != MANIFEST_LOG_DISK)
    return;
  if (log == NULL)
    sim_fail ("the manifest tells of a log that is not there");
  assert (regions <= 8 * SECTOR_SIZE);
  sim_disk_look (log, 2, 1, bits);
  for (r = 0; r < regions; ++r) {
    unsigned first = r * region_sectors;
    const struct sim_disk *other = NULL;

    if (!(bits[r / 8] >> r % 8 & 1))
      continue;
    world_counters.regions_clean++;
    for (i = 0; i < m->leg_count; ++i) {
      const struct sim_disk *disk = known_disk (&m->legs[i]);

      if (disk != NULL && other != NULL)
        compare_sectors (other, disk, first,
                         MIN_OF (region_sectors, plan.sectors - first),
                         "a region is clean in the log");
      other = disk != NULL ? disk : other;
    }
  }
}

/* True if a part of the volume is in a store, not on the legs. */
static bool
has_merge (const struct manifest *m)
{
  unsigned i;

  for (i = 0; i < m->snapshot_count; ++i)
    if (m->snapshots[i].state == SNAPSHOT_MERGING)
      return true;
  return false;
}

/* Of the manifest below, for check_store. */
static const struct manifest *last_manifest;

/* A file with chunks is some snapshot's. */
static void
check_store (struct sim_disk *disk)
{
  const char *name = sim_disk_name (disk);
  char path[2 * WORLD_NAME_BYTES];
  unsigned i;

  snprintf (path, sizeof path, WORLD_META "/%s", name);
  if (strstr (name, ".cow") == NULL || sim_files_disk (path) != disk)
    return;
  for (i = 0; i < last_manifest->snapshot_count; ++i)
    if (strcmp (last_manifest->snapshots[i].store, name) == 0)
      return;
  sim_fail ("%s is of no snapshot that the manifest tells of", name);
}

/* All that goes on with snapshots had come to its end: none is on its way, or
 * has left its store behind.
 */
static void
check_leftovers (const struct manifest *m)
{
  static const char *const on_its_way[] = {
    [SNAPSHOT_STAGING] = "staged",
    [SNAPSHOT_REMOVING] = "removed",
    [SNAPSHOT_MERGING] = "merged",
  };
  unsigned i;

  for (i = 0; i < m->snapshot_count; ++i) {
    const struct manifest_snapshot *s = &m->snapshots[i];

    if (s->state < ARRAY_COUNT (on_its_way) && on_its_way[s->state] != NULL)
      sim_fail ("snapshot %s is being %s, and stays so", s->name,
                on_its_way[s->state]);
  }
  last_manifest = m;
  sim_files_each_disk (check_store);
}

/* The primary of the last manifest is another one now: had that a cause, in
 * this life?  Which leg is right where they differ is for it to say.
 */
static void
check_new_primary (const struct manifest *m)
{
  unsigned i;

  if (now.has_faults || now.hidden != 0 || now.is_leg_lost ||
      plan.changes_legs || !now.clients.has_started)
    return;
  for (i = 0; i < m->leg_count; ++i)
    if (strcmp (m->legs[i].spec, now.primary) == 0 &&
        world_trusted_disk (&m->legs[i]) != NULL)
      sim_fail ("%s is the primary, and no more %s, without a cause",
                m->legs[m->primary].spec, now.primary);
}

static void
check_manifest (const struct manifest *m)
{
  struct sim_disk *first = NULL;
  unsigned i;

  for (i = 0; i < m->leg_count; ++i) {
    struct sim_disk *disk = world_trusted_disk (&m->legs[i]);

    if (disk == NULL)
      continue;
    if (!has_merge (m))
      model_check_disk (now.model, disk);
    if (m->is_clean && first != NULL)
      world_compare_disks (first, disk,
                           "the manifest says that the volume is clean");
    first = disk;
  }
  check_log (m);
  if (now.is_settled)
    check_leftovers (m);
  /* Another leg is read now where they differ. */
  if (strcmp (now.primary, m->legs[m->primary].spec) != 0 &&
      now.primary[0] != '\0') {
    check_new_primary (m);
    world_allow_other_legs ();
  }
  if (now.clients.has_started)
    now.is_leg_lost = false; /* another leg has been found */
  snprintf (now.primary, sizeof now.primary, "%s", m->legs[m->primary].spec);
}

void
world_meet_legs (const struct manifest *m)
{
  unsigned i;

  now.leg_count = m != NULL ? m->leg_count : plan.leg_count;
  for (i = 0; i < now.leg_count; ++i)
    if (m != NULL)
      snprintf (now.legs[i], WORLD_NAME_BYTES, "%s", m->legs[i].spec);
    else
      world_leg_path (i, now.legs[i]);
}

/* There is none, or no more: a start failed before it was durable, and the
 * next one chooses anew.
 */
static struct manifest *
no_manifest (void)
{
  now.primary[0] = '\0';
  return NULL;
}

struct manifest *
world_visit_grave (void)
{
  struct meta_dir *dir;
  struct manifest *m;
  unsigned i;
  int r;

  sim_files_set_faults (0);
  sim_files_fail_sync (0);
  /* A leg that was being made: the user is told to take it away. */
  for (i = 0; i < now.leg_count; ++i) {
    const char *path = now.legs[i];

    if (sim_files_exists (path) &&
        (sim_files_disk (path) == NULL ||
         sim_disk_sectors (sim_files_disk (path)) == 0))
      sim_files_remove (path);
  }
  /* What this opens stays as durable as it is. */
  sim_files_only_look (true);
  r = meta_dir_open (WORLD_META, &dir);
  sim_files_only_look (false);
  if (r == 0 && plan.is_transient)
    sim_fail ("there is a folder that nobody asked for");
  if (plan.is_transient)
    model_check_disk (now.model, sim_files_disk (now.legs[0]));
  if (r == -ENOENT)
    return no_manifest ();
  if (r < 0)
    sim_fail ("the folder cannot be opened: %s", strerror (-r));
  r = manifest_load (dir, &m);
  meta_dir_close (dir);
  if (r == -ENOENT)
    return no_manifest ();
  if (r < 0)
    sim_fail ("the manifest cannot be read: %s", strerror (-r));
  check_manifest (m);
  world_meet_legs (m);
  return m;
}
