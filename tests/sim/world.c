/* The world of one simulated volume: its lives, their crashes and ends.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bits.h"
#include "clock.h"
#include "file-sim.h"
#include "json-sim.h"
#include "log-sink.h"
#include "manifest.h"
#include "mirror-impl.h"
#include "sim.h"
#include "volume-impl.h"
#include "world.h"

struct world_plan plan;
struct world now;
struct world_counters world_counters;

/* nbdkit-plugin.h leaves it undeclared. */
struct nbdkit_plugin *plugin_init (void);

/*----- what the production code calls ----------------------------------*/

int __real_volume_open (const struct volume_spec *spec, struct volume **volume);
int __wrap_volume_open (const struct volume_spec *spec, struct volume **volume);

/* Chunks smaller than those that the command line allows. */
int
__wrap_volume_open (const struct volume_spec *spec, struct volume **volume)
{
  struct volume_spec changed = *spec;
  int r;

  changed.chunk_bytes = plan.chunk_bytes;
  r = __real_volume_open (&changed, volume);
  now.volume = r == 0 ? *volume : NULL;
  return r;
}

int __wrap_kcopyd_client_create (unsigned num_pages,
                                 struct kcopyd_client **result);

/* Small parts, and few pages for them: several are in flight for one copy,
 * and copies wait for each other.
 */
int
__wrap_kcopyd_client_create (unsigned num_pages, struct kcopyd_client **result)
{
  struct kcopyd_options options = {
    .struct_size = sizeof options,
    .num_pages = MIN_OF (num_pages, plan.copy_pages),
    .sub_job_sectors = plan.copy_sectors,
    .sub_jobs = plan.copy_slices,
  };

  return kcopyd_client_create_options (&options, result);
}

int __real_bdev_open_options (const char *spec,
                              const struct bdev_options *options,
                              struct block_device **bdev);
int __wrap_bdev_open_options (const char *spec,
                              const struct bdev_options *options,
                              struct block_device **bdev);

/* Some legs cannot be had. */
int
__wrap_bdev_open_options (const char *spec, const struct bdev_options *options,
                          struct block_device **bdev)
{
  char path[WORLD_NAME_BYTES];
  unsigned i;

  for (i = 0; now.hidden >> i != 0; ++i) {
    world_leg_path (i, path);
    if ((now.hidden >> i & 1) && strcmp (path, spec) == 0)
      return -ENXIO;
  }
  return __real_bdev_open_options (spec, options, bdev);
}

void __real_mirror_clean_log_lazily (struct mirror *m, uint64_t *next_ns);
void __wrap_mirror_clean_log_lazily (struct mirror *m, uint64_t *next_ns);

#define QUICK_CLEANINGS 50

/* Cleaning among requests, not only seconds after them; for a while, since an
 * I/O may take minutes.
 */
void
__wrap_mirror_clean_log_lazily (struct mirror *m, uint64_t *next_ns)
{
  uint64_t before_ns = *next_ns;

  __real_mirror_clean_log_lazily (m, next_ns);
  if (*next_ns != before_ns && plan.clean_ns > 0 &&
      now.cleanings++ < QUICK_CLEANINGS)
    *next_ns = clock_now_ns () + plan.clean_ns;
}

bool
world_legs_may_differ (void)
{
  const struct mirror *m;

  if (now.volume == NULL)
    return true; /* it is being opened */
  m = volume_get_mirror (now.volume);
  return region_hash_in_sync_count (m->regions) <
         region_hash_region_count (m->regions);
}

void
world_allow_other_legs (void)
{
  unsigned i;

  model_allow_excluded (now.model);
  for (i = 0; i < now.snapshot_count; ++i)
    model_allow_excluded (now.snapshots[i].model);
}

static void
take_message (enum log_level level, const char *message)
{
  (void) level;
  sim_trace ("log: %s", message);
  if (now.clients.has_ended)
    return;
  if (strstr (message, "leg failed, volume degraded") != NULL) {
    world_counters.leg_failures++;
    if (world_legs_may_differ ())
      world_allow_other_legs ();
  }
  if (strstr (message, "the snapshot is invalid, the volume goes on") != NULL)
    world_counters.snapshots_lost++;
}

bool
world_may_fail (const struct model_op *op, int error)
{
  unsigned i;

  if (error == -EOPNOTSUPP && op->kind == MODEL_ZERO)
    return true;
  /* It may say that all is data: no leg is needed for that. */
  if (op->device == now.model && op->is_extents)
    return now.has_faults && now.volume->merging != NULL;
  if (op->device == now.model)
    return now.has_faults ||
           (plan.cow_bytes > 0 && op->kind != MODEL_READ &&
            op->kind != MODEL_FLUSH &&
            strcmp (plan.on_cow_error, "break-guest-write") == 0);
  for (i = 0; i < now.snapshot_count; ++i)
    if (op->device == now.snapshots[i].model &&
        (now.snapshots[i].is_discarded || now.snapshots[i].is_renamed))
      return true;
  return now.had_faults || plan.cow_bytes > 0;
}

/*----- crashing --------------------------------------------------------*/

static void
crash_models (enum sim_crash how)
{
  unsigned i;

  model_crash (now.model, how);
  for (i = 0; i < now.snapshot_count; ++i)
    model_crash (now.snapshots[i].model, how);
}

void
world_crash (void)
{
  sim_trace ("%s", now.crash == SIM_KILLED ? "the program is killed"
                                           : "the power fails");
  if (now.crash == SIM_KILLED)
    sim_disk_counters.kills++;
  else
    sim_disk_counters.crashes++;
  sim_files_crash (now.crash);
  crash_models (now.crash);
  sim_set_power (false);
  now.clients.has_ended = true;
}

static bool has_lost;

static void
take_lost (struct sim_disk *disk)
{
  has_lost |= sim_disk_take_lost (disk);
}

/* What a life leaves when it has ended, in whatever way. */
void
world_end_life (bool fails)
{
  if (!now.clients.has_ended)
    crash_models (SIM_KILLED);
  has_lost = false;
  sim_files_each_disk (take_lost);
  /* Then, or because pages that a flush could not write were dropped. */
  if (fails || (has_lost && sim_one_in (2))) {
    sim_trace ("the power fails when all has ended");
    sim_files_crash (SIM_POWER_FAILS);
    crash_models (SIM_POWER_FAILS);
  }
  sim_set_power (true);
  if (sim_files_open_count () > 0)
    sim_fail ("something was left open");
}

/*----- a life ----------------------------------------------------------*/

void
world_leg_path (unsigned leg, char path[WORLD_NAME_BYTES])
{
  snprintf (path, WORLD_NAME_BYTES, SIM_ROOT "/leg%u", leg);
}

__attribute__ ((format (printf, 2, 3))) void
world_configure (const char *key, const char *format, ...)
{
  char value[WORLD_VALUE_BYTES];
  va_list args;

  va_start (args, format);
  (void) vsnprintf (value, sizeof value, format, args);
  va_end (args);
  sim_trace ("%s=%s", key, value);
  if (now.clients.plugin->config (key, value) == -1)
    sim_fail ("%s=%s is refused", key, value);
}

static struct sim_snapshot *
find_snapshot (const char *name)
{
  unsigned i;

  for (i = 0; i < now.snapshot_count; ++i)
    if (strcmp (now.snapshots[i].name, name) == 0)
      return &now.snapshots[i];
  for (i = 0; i < now.snapshot_count; ++i)
    if (strcmp (now.snapshots[i].new_name, name) == 0)
      return &now.snapshots[i];
  return NULL;
}

static void
forget_snapshot (unsigned i)
{
  world_counters.snapshots_discarded++;
  model_destroy (now.snapshots[i].model);
  now.snapshot_count--;
  memmove (now.snapshots + i, now.snapshots + i + 1,
           (now.snapshot_count - i) * sizeof now.snapshots[0]);
}

/* A snapshot that was there, or may have been, is there. */
static void
meet_again (struct sim_snapshot *s, const char *name)
{
  if (s->is_gone)
    sim_fail ("snapshot %s is back", name);
  /* What the crash has left is what it is of. */
  if (s->is_unanswered)
    model_add (s->model, now.model);
  s->is_unanswered = false;
  if (strcmp (s->name, name) != 0) {
    snprintf (s->name, sizeof s->name, "%s", name);
    model_rename (s->model, name);
  }
}

/* Exports, newest first. */
struct exports {
  unsigned count;
  char names[WORLD_MAX_SNAPSHOTS + 1][WORLD_NAME_BYTES];
};

static int
note_export (void *opaque, const char *name, const char *description)
{
  struct exports *e = opaque;

  (void) description;
  if (name[0] == '\0' || strstr (name, "..") != NULL)
    return 0;
  assert (e->count < ARRAY_COUNT (e->names));
  snprintf (e->names[e->count++], WORLD_NAME_BYTES, "%s", name);
  return 0;
}

/* The snapshots that there are now, old and new. */
static void
meet_snapshots (void)
{
  struct exports exports = { .count = 0 };
  unsigned i;

  (void) volume_each_export (now.volume, note_export, &exports);
  for (i = 0; i < now.snapshot_count; ++i)
    now.snapshots[i].is_offered = now.snapshots[i].is_used = false;
  for (i = exports.count; i-- > 0;) {
    const char *name = exports.names[i];
    struct sim_snapshot *s = find_snapshot (name);

    if (s == NULL) {
      /* All that was in the volume has been flushed by then. */
      assert (now.snapshot_count < WORLD_MAX_SNAPSHOTS);
      model_is_durable (now.model, sim_tick ());
      s = &now.snapshots[now.snapshot_count++];
      memset (s, 0, sizeof *s);
      snprintf (s->name, sizeof s->name, "%s", name);
      s->model = model_create_snapshot (name, now.model);
      world_counters.snapshots++;
    }
    meet_again (s, name);
    s->is_offered = true;
  }
  for (i = 0; i < now.snapshot_count; ++i)
    if (!now.snapshots[i].is_offered && !now.snapshots[i].is_discarded &&
        !now.snapshots[i].is_unanswered && !now.had_faults &&
        plan.cow_bytes == 0)
      sim_fail ("snapshot %s is lost without a cause", now.snapshots[i].name);
  for (i = now.snapshot_count; i-- > 0;) {
    now.snapshots[i].is_renamed = false;
    now.snapshots[i].new_name[0] = '\0';
    if (now.snapshots[i].is_gone || now.snapshots[i].is_unanswered)
      forget_snapshot (i);
  }
}

void
world_load (void)
{
  world_counters.lives++;
  now.clients.has_ended = now.clients.has_started = false;
  now.hidden = now.cleanings = 0;
  now.may_be_refused = now.is_settled = false;
  now.clients.plugin->load ();
  log_sink_set (take_message);
}

void
world_hide_leg (unsigned leg, const struct manifest *m)
{
  char path[WORLD_NAME_BYTES];
  unsigned i;

  world_leg_path (leg, path);
  sim_trace ("%s cannot be had", path);
  now.hidden |= 1U << leg;
  world_counters.legs_hidden++;
  /* The volume can do without, if another one has all. */
  now.may_be_refused = true;
  for (i = 0; i < m->leg_count; ++i)
    if (strcmp (m->legs[i].spec, path) != 0 &&
        world_trusted_disk (&m->legs[i]) != NULL)
      now.may_be_refused = false;
  world_allow_other_legs ();
}

bool
world_open (void)
{
  if (now.clients.plugin->get_ready () == -1) {
    if (!now.clients.has_ended && !now.has_faults && !now.may_be_refused)
      sim_fail ("the volume is not opened");
    world_counters.refused_starts += !now.clients.has_ended;
    world_counters.crashes_at_start += now.clients.has_ended;
    return false;
  }
  world_counters.degraded_starts += now.hidden != 0;
  now.clients.plugin->after_fork ();
  if (!now.clients.has_ended)
    meet_snapshots ();
  return !now.clients.has_ended;
}

void
world_unload (void)
{
  unsigned i;

  if (now.volume != NULL)
    now.clients.plugin->cleanup ();
  now.clients.plugin->unload ();
  now.volume = NULL;
  /* A start that is through has recorded, durably, what there is. */
  for (i = 0; now.clients.has_started && i < now.snapshot_count; ++i)
    if (now.snapshots[i].is_discarded && !now.snapshots[i].is_offered)
      now.snapshots[i].is_gone = true;
  for (i = 0; i < now.snapshot_count; ++i)
    model_end_snapshot (now.snapshots[i].model);
  while (plan.is_transient && now.snapshot_count > 0)
    forget_snapshot (now.snapshot_count - 1);
  sim_at_point (0, NULL);
  world_counters.orderly_stops += !now.clients.has_ended;
}

/*----- life ------------------------------------------------------------*/

void
world_add_legs (void)
{
  char path[WORLD_NAME_BYTES];
  unsigned i;

  for (i = 0; i < plan.leg_count; ++i) {
    world_leg_path (i, path);
    (void) sim_files_add_disk (path, plan.sectors);
  }
}

void
world_begin (void)
{
  model_reset ();
  memset (&now, 0, sizeof now);
  sim_files_begin ();
  sim_files_add_folder (WORLD_ABOVE_META);
  world_meet_legs (NULL);
  now.clients.plugin = plugin_init ();
  now.clients.units = plan.sectors * (SECTOR_SIZE / MODEL_UNIT_BYTES);
  now.clients.may_fail = world_may_fail;
  now.model = model_create ("", now.clients.units);
}

void
world_end (void)
{
  unsigned i;

  model_destroy (now.model);
  for (i = 0; i < now.snapshot_count; ++i)
    model_destroy (now.snapshots[i].model);
  sim_files_end ();
  sim_json_end_seed ();
  world_counters.seeds++;
}
