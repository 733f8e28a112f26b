/* One seed: a volume, its lives, and what comes between them.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A life begins with the plugin being loaded and ends with its unloading:
 * in good order, or because the machine has crashed.  After a crash the
 * production code runs to its end, too, but on disks that have lost their
 * power: nothing that it does then counts.
 *
 * The geometry, the rates of faults and of requests, and how fibers are
 * scheduled, are all chosen by the seed.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "client.h"
#include "file-sim.h"
#include "life.h"
#include "log-sink.h"
#include "manifest.h"
#include "mirror-impl.h"
#include "model.h"
#include "sim.h"
#include "volume.h"

#define META SIM_ROOT "/meta"
#define MAX_SNAPSHOTS 16
#define WANTED_SNAPSHOTS 4
#define MAX_CLIENTS 4
#define NAME_BYTES 32

struct life_counters life_counters;

/* nbdkit-plugin.h leaves it undeclared. */
struct nbdkit_plugin *plugin_init (void);

struct sim_snapshot {
  char name[NAME_BYTES];
  struct model_device *model;
  bool is_offered;   /* in this life */
  bool is_discarded; /* that was asked for, perhaps in vain */
};

/* What the seed decides for all lives. */
static struct {
  unsigned leg_count;
  unsigned sectors;
  unsigned region_bytes;
  unsigned chunk_bytes;
  unsigned cow_bytes; /* 0: never full */
  bool has_faults;    /* some lives have */
  bool has_snapshots;
  bool is_deep; /* copy-on-write above all */
  const char *read_policy;
  const char *on_cow_error;
  struct sim_disk_kind kind;
  bool some_not_fast; /* disks; changes from life to life */
  unsigned slow;
  unsigned copy_pages;   /* that kcopyd may have */
  unsigned copy_sectors; /* in each part */
  unsigned copy_slices;  /* in flight for one copy */
} plan;

/* What goes on. */
static struct {
  struct client_world clients;
  struct volume *volume;
  struct model_device *model;
  unsigned snapshot_count;
  struct sim_snapshot snapshots[MAX_SNAPSHOTS];
  unsigned next_name;
  char primary[NAME_BYTES]; /* of the last manifest */
  bool has_faults;          /* this life */
  bool had_faults;          /* some life before or now */
  bool legs_may_fail;
  bool stores_may_fail;
  enum sim_crash crash;
} now;

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

static bool
legs_may_differ (void)
{
  const struct mirror *m;

  if (now.volume == NULL)
    return true; /* it is being opened */
  m = volume_get_mirror (now.volume);
  return region_hash_in_sync_count (m->regions) <
         region_hash_region_count (m->regions);
}

static void
allow_other_legs (void)
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
    life_counters.leg_failures++;
    if (legs_may_differ ())
      allow_other_legs ();
  }
  if (strstr (message, "the snapshot is invalid, the volume goes on") != NULL)
    life_counters.snapshots_lost++;
}

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
  return strstr (sim_disk_name (disk), ".cow") != NULL;
}

static void
set_up_disk (struct sim_disk *disk)
{
  struct sim_disk_faults faults = { .slow = 0 };
  struct sim_disk_kind kind = plan.kind;
  bool may_fail = is_store (disk) ? now.stores_may_fail : now.legs_may_fail;

  if (may_fail && !sim_one_in (3))
    choose_faults (&faults, sim_disk_sectors (disk));
  if (plan.slow > 0 && sim_one_in (2))
    faults.slow = plan.slow;
  if (plan.slow > 0 && sim_one_in (4))
    faults.stall_one_in = 50;
  sim_disk_set_faults (disk, &faults);
  kind.no_fast = plan.some_not_fast && sim_one_in (2);
  sim_disk_set_kind (disk, &kind);
}

static void
choose_life_faults (bool has_faults)
{
  now.legs_may_fail = now.stores_may_fail = now.has_faults = false;
  if (has_faults) {
    now.legs_may_fail = sim_one_in (2);
    now.stores_may_fail = sim_one_in (2);
    now.has_faults = true;
    now.had_faults = true;
  }
  sim_files_each_disk (set_up_disk);
  sim_set_thread_errors (has_faults && sim_one_in (5) ? 4 : 0);
  sim_files_set_faults (has_faults && sim_one_in (3) ? 1U << sim_below (7) : 0);
}

static bool
may_fail (const struct model_op *op, int error)
{
  if (error == -EOPNOTSUPP && op->kind == MODEL_ZERO)
    return true;
  if (op->device == now.model)
    return now.has_faults ||
           (plan.cow_bytes > 0 && op->kind != MODEL_READ &&
            op->kind != MODEL_FLUSH &&
            strcmp (plan.on_cow_error, "break-guest-write") == 0);
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

static void
crash_machine (void)
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
static void
end_machine (void)
{
  if (!now.clients.has_ended)
    crash_models (SIM_KILLED);
  has_lost = false;
  sim_files_each_disk (take_lost);
  /* Then, or because pages that a flush could not write were dropped. */
  if (sim_one_in (4) || (has_lost && sim_one_in (2))) {
    sim_trace ("the power fails when all has ended");
    sim_files_crash (SIM_POWER_FAILS);
    crash_models (SIM_POWER_FAILS);
  }
  sim_set_power (true);
  if (sim_files_open_count () > 0)
    sim_fail ("something was left open");
}

/*----- between lives ---------------------------------------------------*/

static void
leg_path (unsigned leg, char path[NAME_BYTES])
{
  snprintf (path, NAME_BYTES, SIM_ROOT "/leg%u", leg);
}

/* The disk of a leg in sync, if it is still the file that it was. */
static struct sim_disk *
trusted_disk (const struct manifest_leg *leg)
{
  struct sim_disk *disk = sim_files_disk (leg->spec);
  char identity[LEG_IDENTITY_BYTES];

  if (leg->state != LEG_IN_SYNC || disk == NULL)
    return NULL;
  snprintf (identity, sizeof identity, "file %" PRIu64 " 1.000000000",
            sim_disk_number (disk));
  return strcmp (identity, leg->identity) == 0 ? disk : NULL;
}

static void
compare_legs (const struct sim_disk *a, const struct sim_disk *b,
              const char *why)
{
  char x[SECTOR_SIZE], y[SECTOR_SIZE];
  unsigned i;

  life_counters.legs_compared++;
  for (i = 0; i < plan.sectors; ++i) {
    sim_disk_look (a, i, 1, x);
    sim_disk_look (b, i, 1, y);
    if (memcmp (x, y, sizeof x) != 0)
      sim_fail ("%s: %s and %s differ in sector %u", why, sim_disk_name (a),
                sim_disk_name (b), i);
  }
}

/* A leg goes away for ever, if another one has all. */
static void
lose_leg (const struct manifest *m)
{
  unsigned victim = sim_below (m->leg_count), i;

  for (i = 0; i < m->leg_count; ++i) {
    if (i == victim || trusted_disk (&m->legs[i]) == NULL)
      continue;
    sim_trace ("%s is lost", m->legs[victim].spec);
    life_counters.leg_losses++;
    if (sim_files_disk (m->legs[victim].spec) != NULL)
      sim_files_remove (m->legs[victim].spec);
    allow_other_legs ();
    return;
  }
}

static void
check_manifest (const struct manifest *m)
{
  struct sim_disk *first = NULL;
  unsigned i;

  for (i = 0; i < m->leg_count; ++i) {
    struct sim_disk *disk = trusted_disk (&m->legs[i]);

    if (disk == NULL)
      continue;
    model_check_disk (now.model, disk);
    if (m->is_clean && first != NULL)
      compare_legs (first, disk, "the manifest says that the volume is clean");
    first = disk;
  }
  /* Another leg is read now where they differ. */
  if (strcmp (now.primary, m->legs[m->primary].spec) != 0 &&
      now.primary[0] != '\0')
    allow_other_legs ();
  snprintf (now.primary, sizeof now.primary, "%s", m->legs[m->primary].spec);
}

/* Look at what the last life has left, and spoil some of it. */
static void
visit_grave (bool is_last)
{
  struct meta_dir *dir;
  struct manifest *m;
  char path[NAME_BYTES];
  unsigned i;
  int r;

  sim_files_set_faults (0);
  /* A leg that was being made: the user is told to take it away. */
  for (i = 0; i < plan.leg_count; ++i) {
    leg_path (i, path);
    if (sim_files_exists (path) &&
        (sim_files_disk (path) == NULL ||
         sim_disk_sectors (sim_files_disk (path)) == 0))
      sim_files_remove (path);
  }
  r = meta_dir_open (META, &dir);
  if (r == -ENOENT)
    return;
  if (r < 0)
    sim_fail ("the folder cannot be opened: %s", strerror (-r));
  r = manifest_load (dir, &m);
  meta_dir_close (dir);
  if (r == -ENOENT)
    return;
  if (r < 0)
    sim_fail ("the manifest cannot be read: %s", strerror (-r));
  check_manifest (m);
  if (!is_last && sim_one_in (10))
    lose_leg (m);
  manifest_free (m);
}

/*----- a life ----------------------------------------------------------*/

__attribute__ ((format (printf, 2, 3))) static void
configure (const char *key, const char *format, ...)
{
  char value[64];
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
  return NULL;
}

/* New snapshots, and the oldest one given up. */
static void
configure_snapshots (void)
{
  if (now.snapshot_count > 0 && sim_one_in (plan.is_deep ? 20 : 5)) {
    configure ("discard-snapshot", "%s", now.snapshots[0].name);
    now.snapshots[0].is_discarded = true;
  }
  if (now.snapshot_count < (plan.is_deep ? 1 : WANTED_SNAPSHOTS) &&
      (plan.is_deep || sim_one_in (2)))
    configure ("snapshot", "s%u", now.next_name++);
  if (plan.cow_bytes > 0)
    configure ("cow-size", "%u", plan.cow_bytes);
  configure ("on-cow-error", "%s", plan.on_cow_error);
}

static void
configure_volume (void)
{
  unsigned first = sim_one_in (8) ? sim_below (plan.leg_count) : 0;
  unsigned i;

  for (i = 0; i < plan.leg_count; ++i)
    configure ("leg", SIM_ROOT "/leg%u", (first + i) % plan.leg_count);
  configure ("size", "%u", plan.sectors * SECTOR_SIZE);
  configure ("meta", META);
  configure ("region-size", "%u", plan.region_bytes);
  configure ("read-policy", "%s", plan.read_policy);
  if (sim_one_in (6))
    configure ("resync-rate", "%u", 4096U << sim_below (6));
  if (sim_one_in (8))
    configure ("write-mostly", "%u", sim_below (plan.leg_count));
  if (plan.has_snapshots)
    configure_snapshots ();
  if (now.clients.plugin->config_complete () == -1)
    sim_fail ("the configuration is refused");
}

static void
forget_oldest_snapshot (void)
{
  life_counters.snapshots_discarded++;
  model_destroy (now.snapshots[0].model);
  now.snapshot_count--;
  memmove (now.snapshots, now.snapshots + 1,
           now.snapshot_count * sizeof now.snapshots[0]);
}

/* The snapshots that there are now, old and new. */
static void
meet_snapshots (void)
{
  unsigned i;

  for (i = 0; i < now.snapshot_count; ++i)
    now.snapshots[i].is_offered = false;
  for (i = volume_device_count (now.volume); i-- > 1;) {
    const char *name = volume_get_device (now.volume, i)->name;
    struct sim_snapshot *s = find_snapshot (name);

    if (s == NULL) {
      /* All that was in the volume has been flushed by then. */
      assert (now.snapshot_count < MAX_SNAPSHOTS);
      model_is_durable (now.model);
      s = &now.snapshots[now.snapshot_count++];
      snprintf (s->name, sizeof s->name, "%s", name);
      s->model = model_create_snapshot (name, now.model);
      life_counters.snapshots++;
    }
    s->is_offered = true;
  }
  for (i = 0; i < now.snapshot_count; ++i)
    if (!now.snapshots[i].is_offered && !now.snapshots[i].is_discarded &&
        !now.had_faults && plan.cow_bytes == 0)
      sim_fail ("snapshot %s is lost without a cause", now.snapshots[i].name);
  if (now.snapshot_count > 0 && now.snapshots[0].is_discarded &&
      !now.snapshots[0].is_offered)
    forget_oldest_snapshot ();
}

static struct model_device *
choose_device (void)
{
  unsigned i;

  if (now.snapshot_count > 0 && sim_one_in (3)) {
    i = sim_below (now.snapshot_count);
    if (now.snapshots[i].is_offered)
      return now.snapshots[i].model;
  }
  return now.model;
}

static void
run_clients (unsigned requests)
{
  struct client clients[MAX_CLIENTS];
  unsigned count = 1 + sim_below (MAX_CLIENTS), i;
  struct client_world *w = &now.clients;

  w->requests_left = requests;
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
  for (i = 0; i < count; ++i) {
    clients[i] = (struct client){ .world = w, .device = choose_device () };
    client_start (&clients[i]);
  }
  for (i = 0; i < count; ++i)
    client_join (&clients[i]);
}

static void
read_everything (void)
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
static void
wait_for_resync (void)
{
  struct mirror *m = volume_get_mirror (now.volume);
  struct mirror_status status;
  unsigned seconds;

  for (seconds = 0; seconds < RESYNC_MAX_SECONDS; ++seconds) {
    mirror_get_status (m, &status);
    if (now.clients.has_ended || !is_recovering (&status)) {
      life_counters.resyncs_waited_for++;
      return;
    }
    sim_sleep_ns ("the end of the resync", NULL, UINT64_C (1000000000));
  }
  sim_fail ("the resync does not end");
}

/* Nobody writes, and all regions are in sync: legs in sync are equal. */
static void
compare_legs_in_sync (void)
{
  struct mirror *m = volume_get_mirror (now.volume);
  struct sim_disk *first = NULL;
  struct mirror_status status;
  unsigned i;

  mirror_get_status (m, &status);
  if (status.regions_in_sync < status.regions_total || now.clients.has_ended)
    return;
  for (i = 0; i < status.leg_count; ++i) {
    struct sim_disk *disk = sim_files_disk (bdev_name (mirror_leg_bdev (m, i)));

    if (status.legs[i].state != LEG_IN_SYNC)
      continue;
    model_check_disk (now.model, disk);
    if (first != NULL)
      compare_legs (first, disk, "all regions are in sync");
    first = disk;
  }
}

static void
serve (unsigned requests, bool is_last)
{
  if (sim_one_in (2))
    client_read_all (&now.clients, now.model);
  if (requests > 0)
    run_clients (requests);
  if (is_last)
    read_everything ();
  if (!now.clients.has_ended && !now.has_faults &&
      (is_last || (requests > 0 && sim_one_in (2))))
    wait_for_resync ();
  if (!now.clients.has_ended)
    compare_legs_in_sync ();
  if (is_last)
    read_everything ();
}

/* When the machine crashes: soon, or later, or not. */
static void
choose_crash (bool is_last)
{
  if (is_last || sim_one_in (4))
    return;
  now.crash = sim_one_in (3) ? SIM_KILLED : SIM_POWER_FAILS;
  sim_at_point (sim_points () + 1 + sim_below (32U << sim_below (8)),
                crash_machine);
}

static void
live (unsigned requests, bool is_last)
{
  const struct nbdkit_plugin *plugin = now.clients.plugin;

  life_counters.lives++;
  now.clients.has_ended = false;
  plugin->load ();
  log_sink_set (take_message);
  configure_volume ();
  choose_life_faults (plan.has_faults && !is_last && !sim_one_in (4));
  choose_crash (is_last);
  if (plugin->get_ready () == -1) {
    if (!now.clients.has_ended && !now.has_faults)
      sim_fail ("the volume is not opened");
    life_counters.refused_starts += !now.clients.has_ended;
    life_counters.crashes_at_start += now.clients.has_ended;
  }
  else {
    plugin->after_fork ();
    if (!now.clients.has_ended)
      meet_snapshots ();
    if (!now.clients.has_ended)
      serve (requests, is_last);
    plugin->cleanup ();
  }
  plugin->unload ();
  now.volume = NULL;
  sim_at_point (0, NULL);
  life_counters.orderly_stops += !now.clients.has_ended;
  end_machine ();
}

/*----- a seed ----------------------------------------------------------*/

static void
choose_policy (void)
{
  struct sim_policy policy = { .max_points = 5000000 };

  policy.switch_one_in = 1U << sim_below (6);
  policy.by_priority = sim_one_in (3);
  policy.priority_one_in = 4U << sim_below (6);
  policy.spurious_one_in = sim_one_in (2) ? 20 : 0;
  sim_set_policy (&policy);
}

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
  plan.copy_sectors = 8U << sim_below (4);
  plan.copy_slices = 1U << sim_below (4);
  plan.copy_pages = (plan.copy_sectors / 8) << sim_below (6);
  if (sim_one_in (4))
    plan.slow = 1U << sim_below (8);
}

static void
add_legs (void)
{
  char path[NAME_BYTES];
  unsigned i;

  for (i = 0; i < plan.leg_count; ++i) {
    leg_path (i, path);
    (void) sim_files_add_disk (path, plan.sectors);
  }
}

uint64_t
life_run_seed (uint64_t seed, unsigned steps, bool is_traced)
{
  unsigned lives, i;

  sim_begin (seed, is_traced);
  model_reset ();
  memset (&now, 0, sizeof now);
  choose_policy ();
  choose_plan ();
  sim_files_begin ();
  sim_files_on_new_disk (set_up_disk);
  if (sim_one_in (2))
    add_legs ();
  now.clients.plugin = plugin_init ();
  now.clients.units = plan.sectors * (SECTOR_SIZE / MODEL_UNIT_BYTES);
  now.clients.may_fail = may_fail;
  now.model = model_create ("", now.clients.units);

  lives = 2 + sim_below (5);
  for (i = 0; i < lives; ++i) {
    live (1 + sim_below (2 * steps / lives), false);
    visit_grave (false);
  }
  live (sim_one_in (2) ? steps / lives : 0, true);
  visit_grave (true);

  model_destroy (now.model);
  for (i = 0; i < now.snapshot_count; ++i)
    model_destroy (now.snapshots[i].model);
  sim_files_end ();
  life_counters.seeds++;
  return sim_end ();
}
