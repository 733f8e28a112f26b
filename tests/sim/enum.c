/* Every crash of short stories: at each event, all that may be left.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A story is told again for each event of its one dangerous life: an I/O
 * begins or ends, a file changes, a client is answered.  There the power
 * fails, or the program is killed.  And again for each combination of what
 * the disks may have kept, up to a bound; beyond that, by chance.  Each
 * time the volume must come up again and keep its promises, twice.
 *
 * The seed decides latencies, and at which moment writes are seen.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "enum.h"
#include "file-sim.h"
#include "sim.h"
#include "world.h"

/* States of one event that are gone through. */
#define MAX_STATES 256

enum step_kind {
  END,
  LIFE,  /* one begins; DANGER: the one with the crash */
  WRITE, /* to the volume: UNIT, COUNT */
  FUA,
  ZERO,
  FLUSH,
  READ,
  WRITE_SNAPSHOT, /* the newest */
  FAIL,           /* from now on, calls of kind UNIT of leg COUNT */
  FAIL_STORE,     /* of all stores */
  RESYNC,         /* wait until it has ended */
  PAUSE,          /* so long that the log is cleaned */
  TAKE_LIVE,      /* a snapshot, while the volume is served */
  REMOVE_LIVE,    /* snapshot number UNIT; then, if COUNT, wait for the rest */
  RENAME_LIVE,    /* snapshot number UNIT */
  ROLL_BACK,      /* to the newest; then, if COUNT, wait for the rest */
};

/* What a life begins with. */
#define DANGER 1U
#define TAKE 2U     /* a snapshot */
#define DISCARD 4U  /* the oldest */
#define LOSE_LEG 8U /* the second one is gone, and made anew */
#define CRASHED 16U /* and the power failed when the last one had ended */
#define LEGS_ARE_THERE 32U /* the first one: it need not create them */
#define HIDE_LEG_0 64U     /* it cannot be had in this life */
#define HIDE_LEG_1 128U

struct step {
  enum step_kind kind;
  unsigned unit; /* of LIFE: what it begins with */
  unsigned count;
};

struct story {
  const char *name;
  struct world_plan plan;
  struct step steps[40];
};

#define PLAN(legs, sectors, chunk) PLAN_OF (legs, sectors, chunk, 8192)
#define SMALL_REGIONS(legs, sectors) PLAN_OF (legs, sectors, 8, 1024)
#define PLAN_OF(legs, sector_count, chunk, region) \
  { \
    .leg_count = (legs), .sectors = (sector_count), .region_bytes = (region), \
    .chunk_bytes = (chunk) *SECTOR_SIZE, .read_policy = "round-robin", \
    .on_cow_error = "break-snapshot", .copy_pages = 8, .copy_sectors = 8, \
    .copy_slices = 1 \
  }

/* The first life: all of the volume is written. */
#define FILLED(units) \
  { LIFE, 0, 0 }, \
  { \
    FUA, 0, (units) \
  }

static const struct story stories[] = {
  { "first-write",
    PLAN (2, 16, 8),
    { { LIFE, 0, 0 },
      { WRITE, 0, 4 },
      { FLUSH, 0, 0 },
      { LIFE, DANGER, 0 },
      { WRITE, 0, 2 },
      { FUA, 4, 2 },
      { WRITE, 2, 2 },
      { FLUSH, 0, 0 },
      { WRITE, 0, 4 } } },
  { "creation",
    PLAN (2, 8, 8),
    { { LIFE, DANGER | TAKE, 0 }, { FUA, 0, 2 }, { WRITE, 2, 2 } } },
  { "creation-again",
    PLAN (1, 8, 8),
    { { LIFE, DANGER, 0 },
      { FUA, 0, 2 },
      { LIFE, TAKE, 0 },
      { FUA, 0, 4 },
      { LIFE, CRASHED, 0 } } },
  { "creation-is-seen",
    PLAN (1, 8, 8),
    { { LIFE, DANGER | TAKE, 0 }, { LIFE, 0, 0 }, { LIFE, CRASHED, 0 } } },
  { "folder-is-made",
    PLAN (2, 8, 8),
    { { LIFE, DANGER | LEGS_ARE_THERE, 0 },
      { FUA, 0, 2 },
      { LIFE, TAKE, 0 },
      { FUA, 0, 4 },
      { LIFE, CRASHED, 0 } } },
  { "copy-of-a-chunk",
    PLAN (2, 16, 2),
    { FILLED (32),
      { LIFE, DANGER | TAKE, 0 },
      { WRITE, 0, 4 },
      { WRITE, 2, 2 },
      { FLUSH, 0, 0 },
      { FUA, 8, 2 } } },
  { "copy-of-many-chunks",
    PLAN (1, 16, 2),
    { FILLED (32), { LIFE, DANGER | TAKE, 0 }, { WRITE, 4, 20 } } },
  { "last-record-of-an-area",
    PLAN (1, 40, 1),
    { FILLED (80),
      { LIFE, TAKE, 0 },
      { FUA, 0, 62 },
      { LIFE, DANGER, 0 },
      { FUA, 62, 2 },
      { FUA, 64, 2 } } },
  { "area-boundary",
    PLAN (1, 40, 1),
    { FILLED (80),
      { LIFE, TAKE, 0 },
      { FUA, 0, 60 },
      { LIFE, DANGER, 0 },
      { WRITE, 60, 8 },
      { FLUSH, 0, 0 } } },
  { "records-in-two-sectors",
    PLAN (1, 100, 2),
    { FILLED (200),
      { LIFE, TAKE, 0 },
      { FUA, 0, 112 },
      { LIFE, DANGER, 0 },
      { WRITE, 112, 24 },
      { LIFE, 0, 0 },
      { WRITE, 128, 16 } } },
  { "leg-fails",
    PLAN (2, 16, 8),
    { FILLED (32),
      { LIFE, DANGER, 0 },
      { WRITE, 0, 4 },
      { FAIL, SIM_WRITE, 1 },
      { WRITE, 4, 4 },
      { WRITE, 0, 2 },
      { FLUSH, 0, 0 } } },
  { "log-is-marked",
    PLAN (2, 48, 8),
    { FILLED (96),
      { LIFE, DANGER, 0 },
      { WRITE, 0, 2 },
      { WRITE, 33, 2 },
      { WRITE, 2, 2 },
      { FLUSH, 0, 0 },
      { WRITE, 30, 40 } } },
  { "log-is-cleaned",
    PLAN (2, 48, 8),
    { FILLED (96),
      { LIFE, DANGER, 0 },
      { WRITE, 0, 2 },
      { WRITE, 33, 2 },
      { PAUSE, 0, 0 },
      { WRITE, 2, 2 },
      { PAUSE, 0, 0 },
      { WRITE, 66, 2 } } },
  { "leg-fails-and-returns",
    PLAN (2, 48, 8),
    { FILLED (96),
      { LIFE, DANGER, 0 },
      { WRITE, 0, 4 },
      { FAIL, SIM_WRITE, 1 },
      { WRITE, 4, 4 },
      { FUA, 40, 2 },
      { LIFE, 0, 0 },
      { WRITE, 70, 2 },
      { RESYNC, 0, 0 },
      { LIFE, 0, 0 } } },
  { "leg-is-missing",
    PLAN (2, 48, 8),
    { FILLED (96),
      { LIFE, DANGER | HIDE_LEG_1, 0 },
      { WRITE, 0, 4 },
      { PAUSE, 0, 0 },
      { FUA, 40, 2 },
      { LIFE, HIDE_LEG_1, 0 },
      { FUA, 70, 2 },
      { LIFE, 0, 0 },
      { RESYNC, 0, 0 } } },
  { "leg-returns",
    PLAN (2, 48, 8),
    { FILLED (96),
      { LIFE, HIDE_LEG_1, 0 },
      { WRITE, 0, 4 },
      { FUA, 40, 2 },
      { LIFE, DANGER, 0 },
      { WRITE, 0, 2 },
      { RESYNC, 0, 0 },
      { WRITE, 66, 2 },
      { PAUSE, 0, 0 } } },
  /* Leg 0 dies, writes go on, and it is back after a restart: the log says
   * which regions differ, and only the manifest who is right.
   */
  { "stale-primary",
    PLAN (2, 48, 8),
    { FILLED (96),
      { LIFE, 0, 0 },
      { FAIL, SIM_WRITE, 0 },
      { FUA, 0, 4 },
      { FUA, 40, 2 },
      { LIFE, CRASHED | DANGER, 0 },
      { WRITE, 70, 2 },
      { RESYNC, 0, 0 },
      { LIFE, HIDE_LEG_1, 0 },
      { LIFE, 0, 0 } } },
  { "three-legs-one-missing",
    PLAN (3, 48, 8),
    { FILLED (96),
      { LIFE, HIDE_LEG_0, 0 },
      { WRITE, 0, 4 },
      { LIFE, DANGER | HIDE_LEG_1, 0 },
      { FUA, 40, 2 },
      { RESYNC, 0, 0 } } },
  { "leg-cannot-be-flushed",
    PLAN (2, 16, 8),
    { FILLED (32),
      { LIFE, DANGER, 0 },
      { WRITE, 0, 4 },
      { FAIL, SIM_FLUSH, 0 },
      { FLUSH, 0, 0 },
      { WRITE, 0, 2 },
      { FLUSH, 0, 0 } } },
  { "leg-is-filled",
    PLAN (2, 16, 8),
    { FILLED (32),
      { LIFE, DANGER | LOSE_LEG, 0 },
      { WRITE, 0, 2 },
      { RESYNC, 0, 0 },
      { FUA, 4, 2 } } },
  { "leg-fails-while-another-is-filled",
    PLAN (3, 16, 8),
    { FILLED (32),
      { LIFE, DANGER | LOSE_LEG, 0 },
      { FAIL, SIM_WRITE, 2 },
      { WRITE, 0, 2 },
      { RESYNC, 0, 0 },
      { FUA, 4, 2 } } },
  { "leg-fails-while-it-is-copied",
    SMALL_REGIONS (2, 16),
    { FILLED (32),
      { LIFE, DANGER, 0 },
      { WRITE, 0, 24 },
      { LIFE, 0, 0 },
      { FAIL, SIM_WRITE, 0 },
      { WRITE, 28, 2 },
      { READ, 0, 24 },
      { READ, 0, 24 },
      { RESYNC, 0, 0 },
      { READ, 0, 24 } } },
  { "resync-after-a-crash",
    PLAN (2, 16, 8),
    { { LIFE, 0, 0 },
      { WRITE, 0, 8 },
      { FLUSH, 0, 0 },
      { WRITE, 0, 4 },
      { LIFE, CRASHED | DANGER, 0 },
      { RESYNC, 0, 0 },
      { WRITE, 4, 2 } } },
  { "snapshot-is-discarded",
    PLAN (1, 16, 2),
    { FILLED (32),
      { LIFE, TAKE, 0 },
      { FUA, 0, 4 },
      { LIFE, TAKE, 0 },
      { FUA, 0, 8 },
      { LIFE, DANGER | DISCARD | TAKE, 0 },
      { WRITE, 0, 2 } } },
  { "snapshot-is-written",
    PLAN (1, 16, 2),
    { FILLED (32),
      { LIFE, TAKE, 0 },
      { FUA, 0, 4 },
      { LIFE, DANGER | TAKE, 0 },
      { WRITE_SNAPSHOT, 0, 2 },
      { WRITE_SNAPSHOT, 8, 2 },
      { WRITE, 8, 2 } } },
  { "store-fails",
    PLAN (2, 16, 2),
    { FILLED (32),
      { LIFE, TAKE, 0 },
      { FUA, 0, 4 },
      { LIFE, DANGER | TAKE, 0 },
      { WRITE, 4, 2 },
      { FAIL_STORE, SIM_WRITE, 0 },
      { WRITE, 8, 2 },
      { FLUSH, 0, 0 },
      { WRITE, 12, 2 } } },
  { "live-creation",
    PLAN (2, 8, 2),
    { FILLED (16),
      { LIFE, DANGER | TAKE, 0 },
      { WRITE, 0, 4 },
      { TAKE_LIVE, 0, 0 },
      { WRITE, 2, 4 },
      { FUA, 8, 2 } } },
  { "live-removal-of-the-oldest",
    PLAN (1, 8, 2),
    { FILLED (16),
      { LIFE, TAKE, 0 },
      { FUA, 0, 4 },
      { LIFE, DANGER | TAKE, 0 },
      { FUA, 2, 4 },
      { REMOVE_LIVE, 0, 1 },
      { WRITE, 0, 2 } } },
  { "live-removal-of-the-newest",
    PLAN (1, 8, 2),
    { FILLED (16),
      { LIFE, TAKE, 0 },
      { FUA, 0, 4 },
      { LIFE, DANGER | TAKE, 0 },
      { FUA, 0, 8 },
      { REMOVE_LIVE, 1, 1 },
      { WRITE, 0, 10 } } },
  { "live-removal-in-the-middle",
    PLAN (1, 8, 2),
    { { LIFE, TAKE, 0 },
      { FUA, 0, 16 },
      { LIFE, TAKE, 0 },
      { FUA, 0, 8 },
      { LIFE, DANGER | TAKE, 0 },
      { FUA, 2, 4 },
      { REMOVE_LIVE, 1, 0 },
      { WRITE, 0, 10 } } },
  { "live-renaming",
    PLAN (1, 8, 2),
    { { LIFE, TAKE, 0 },
      { FUA, 0, 8 },
      { LIFE, DANGER, 0 },
      { RENAME_LIVE, 0, 0 },
      { WRITE, 8, 4 },
      { RENAME_LIVE, 0, 0 } } },
  { "live-roll-back",
    PLAN (1, 8, 2),
    { { LIFE, TAKE, 0 },
      { FUA, 0, 16 },
      { LIFE, TAKE, 0 },
      { FUA, 0, 12 },
      { LIFE, DANGER, 0 },
      { WRITE_SNAPSHOT, 0, 2 },
      { ROLL_BACK, 0, 1 },
      { WRITE, 0, 6 },
      { FLUSH, 0, 0 } } },
  { "live-roll-back-goes-on",
    PLAN (2, 8, 2),
    { { LIFE, TAKE, 0 },
      { FUA, 0, 16 },
      { LIFE, TAKE, 0 },
      { FUA, 0, 12 },
      { LIFE, 0, 0 },
      { ROLL_BACK, 0, 0 },
      { LIFE, DANGER, 0 },
      { WRITE, 2, 6 },
      { FUA, 8, 2 } } },
  { "zero-and-stop",
    PLAN (2, 16, 8),
    { FILLED (32),
      { LIFE, DANGER, 0 },
      { ZERO, 0, 8 },
      { FLUSH, 0, 0 },
      { ZERO, 8, 4 } } },
};

/*----- telling a story -------------------------------------------------*/

static bool must_fail_stores;
static enum sim_op store_op;

static void
fail_disk (struct sim_disk *disk, enum sim_op op)
{
  struct sim_disk_faults faults = { .slow = 0 };

  faults.ops[op].count = SIM_FOR_EVER;
  sim_disk_set_faults (disk, &faults);
  now.has_faults = now.had_faults = true;
}

static void
set_up_disk (struct sim_disk *disk)
{
  static const struct sim_disk_faults none;

  sim_disk_set_faults (disk, &none);
  if (must_fail_stores && strstr (sim_disk_name (disk), ".cow") != NULL)
    fail_disk (disk, store_op);
}

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

/* What an administrator does, with a client there, so that it is started. */
static void
do_live (const struct step *step)
{
  void *handle = client_open (&now.clients, now.model);
  struct sim_snapshot *s = &now.snapshots[step->unit];

  if (now.clients.has_ended)
    ;
  else if (step->kind == TAKE_LIVE)
    world_take_snapshot ();
  else if (s->is_offered && step->kind == REMOVE_LIVE) {
    world_remove_snapshot (s, false);
    if (step->count > 0 && !now.clients.has_ended)
      world_wait_for_background ();
  }
  else if (step->kind == ROLL_BACK) {
    world_roll_back ();
    if (step->count > 0 && !now.clients.has_ended)
      world_wait_for_background ();
  }
  else if (s->is_offered)
    world_rename_snapshot (s);
  if (handle != NULL)
    client_close (&now.clients, handle);
}

static void
do_step (const struct step *step)
{
  struct model_device *newest = now.model;
  void *handle;
  char path[WORLD_NAME_BYTES];

  if (now.snapshot_count > 0 &&
      now.snapshots[now.snapshot_count - 1].is_offered)
    newest = now.snapshots[now.snapshot_count - 1].model;
  switch (step->kind) {
  case WRITE:
  case FUA:
    request (MODEL_WRITE, now.model, step->unit, step->count,
             step->kind == FUA);
    break;
  case ZERO:
    request (MODEL_ZERO, now.model, step->unit, step->count, false);
    break;
  case FLUSH:
    request (MODEL_FLUSH, now.model, 0, 0, false);
    break;
  case READ:
    request (MODEL_READ, now.model, step->unit, step->count, false);
    break;
  case WRITE_SNAPSHOT:
    request (MODEL_WRITE, newest, step->unit, step->count, false);
    break;
  case FAIL:
    world_leg_path (step->count, path);
    fail_disk (sim_files_disk (path), (enum sim_op) step->unit);
    break;
  case FAIL_STORE:
    must_fail_stores = true;
    store_op = (enum sim_op) step->unit;
    sim_files_each_disk (set_up_disk);
    break;
  case RESYNC:
    handle = client_open (&now.clients, now.model);
    if (!now.clients.has_ended)
      world_wait_for_resync ();
    if (handle != NULL)
      client_close (&now.clients, handle);
    break;
  case PAUSE:
    sim_sleep_ns ("time to pass", NULL, UINT64_C (20000000000));
    break;
  case TAKE_LIVE:
  case REMOVE_LIVE:
  case RENAME_LIVE:
  case ROLL_BACK:
    do_live (step);
    break;
  case LIFE:
  case END:
    break;
  }
}

static void
configure (unsigned begins_with)
{
  unsigned i;

  for (i = 0; i < plan.leg_count; ++i)
    world_configure ("leg", "/sim/leg%u", i);
  world_configure ("size", "%u", plan.sectors * SECTOR_SIZE);
  world_configure ("meta", WORLD_META);
  world_configure ("region-size", "%u", plan.region_bytes);
  world_configure ("read-policy", "%s", plan.read_policy);
  if ((begins_with & DISCARD) && now.snapshot_count > 0) {
    world_configure ("discard-snapshot", "%s", now.snapshots[0].name);
    now.snapshots[0].is_discarded = true;
  }
  if (begins_with & TAKE)
    world_configure ("snapshot", "s%u", now.next_name++);
}

static void
begin_life (unsigned begins_with, const struct manifest *left)
{
  char path[WORLD_NAME_BYTES];

  now.has_faults = must_fail_stores = false;
  if (begins_with & LEGS_ARE_THERE)
    world_add_legs ();
  sim_files_each_disk (set_up_disk);
  world_leg_path (1, path);
  if ((begins_with & LOSE_LEG) && sim_files_exists (path)) {
    sim_files_remove (path);
    now.is_leg_lost = true;
    world_allow_other_legs ();
  }
  world_load ();
  if ((begins_with & HIDE_LEG_0) && left != NULL)
    world_hide_leg (0, left);
  if ((begins_with & HIDE_LEG_1) && left != NULL)
    world_hide_leg (1, left);
  configure (begins_with);
}

/* The rest of a life, from the step behind its beginning.  Returns the next
 * life, or the end, in *EVENTS what happened, and what it left in *LEFT.
 */
static const struct step *
live (const struct step *step, unsigned *events, struct manifest **left)
{
  bool is_open = world_open ();

  for (; step->kind != LIFE && step->kind != END; ++step)
    if (is_open && !now.clients.has_ended)
      do_step (step);
  world_unload ();
  *events = sim_at_event (0, NULL);
  world_end_life (step->kind == LIFE && (step->unit & CRASHED));
  manifest_free (*left);
  *left = world_visit_grave ();
  return step;
}

/* Everything is as it must be, and stays so. */
static void
check_life (void)
{
  begin_life (0, NULL);
  if (world_open ()) {
    world_read_everything ();
    world_wait_for_resync ();
    world_compare_legs_in_sync ();
    request (MODEL_WRITE, now.model, 2, 4, true);
    world_read_everything ();
    world_check_diffs ();
  }
  world_unload ();
  world_end_life (true);
  manifest_free (world_visit_grave ());
}

/* Tell STORY, with the crash at EVENT of its dangerous life; 0: without.
 * Returns how many events there are.
 */
static unsigned
tell (const struct story *story, uint64_t seed, unsigned event,
      enum sim_crash how, bool is_traced)
{
  const struct step *step = story->steps;
  const struct sim_policy policy = { .max_points = 100000 };
  struct manifest *left = NULL;
  unsigned events = 0;

  sim_begin (seed, is_traced);
  sim_set_policy (&policy);
  plan = story->plan;
  sim_files_on_new_disk (set_up_disk);
  world_begin ();
  while (step->kind != END) {
    bool is_dangerous = (step->unit & DANGER) != 0;
    unsigned life_events;

    begin_life (step->unit, left);
    if (is_dangerous) {
      now.crash = how;
      (void) sim_at_event (event, world_crash);
    }
    step = live (step + 1, &life_events, &left);
    if (is_dangerous)
      events = life_events;
  }
  manifest_free (left);
  check_life ();
  check_life ();
  world_end ();
  (void) sim_end ();
  return events;
}

/*----- all of them -----------------------------------------------------*/

static unsigned
enumerate (const struct story *story, uint64_t seed, enum sim_crash how,
           bool is_traced, unsigned *events)
{
  unsigned count = tell (story, seed, 0, how, is_traced), event, states = 0;

  *events += count;
  for (event = 1; event <= count; ++event) {
    sim_choose_begin (MAX_STATES);
    do {
      if (is_traced)
        printf ("%s, seed %u, event %u, state %u\n", story->name,
                (unsigned) seed, event, states);
      (void) tell (story, seed, event, how, is_traced);
      states++;
    } while (sim_choose_next ());
    sim_choose_end ();
  }
  return states;
}

unsigned
enum_count (void)
{
  return ARRAY_COUNT (stories);
}

const char *
enum_name (unsigned story)
{
  return stories[story].name;
}

void
enum_run (unsigned story, uint64_t seed, bool is_traced,
          struct enum_counters *counters)
{
  const struct story *s = &stories[story];
  static char replay[80];
  unsigned events = 0;

  snprintf (replay, sizeof replay, " --enumerate=%s", s->name);
  sim_set_replay (replay);
  counters->states += enumerate (s, seed, SIM_POWER_FAILS, is_traced, &events);
  counters->states += enumerate (s, seed, SIM_KILLED, is_traced, &events);
  counters->events += events;
}
