/* Every crash, and every error, of short stories: all that may be left.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A story is told again for each event of its one dangerous life: an I/O
 * begins or ends, a file changes, a client is answered.  There the power
 * fails, or the program is killed.  And again for each combination of what
 * the disks may have kept, up to a bound; beyond that, by chance.  Each
 * time the volume must come up again and keep its promises, twice.  And again
 * for each call of a disk, which fails, alone or with all later ones of its
 * kind; then the power fails at the end of that life.
 *
 * The seed decides latencies, and at which moment writes are seen.
 */

#include <config.h>

#include <stdio.h>
#include <string.h>

#include "enum.h"
#include "file-sim.h"
#include "leg-admin.h"
#include "sim.h"
#include "story.h"
#include "table-story.h"
#include "world.h"

/* States of one event that are gone through.  Several stores have much that is
 * not durable, and does not matter: of tables there are fewer.  After an error
 * the rest of the life has gone by before the power fails.
 */
#define MAX_STATES 256
#define MAX_TABLE_STATES 32
#define MAX_ERROR_STATES 2

/*----- telling a story -------------------------------------------------*/

static bool must_fail_stores;
static enum sim_op store_op;
static unsigned store_call;

/* A call fails, and after a flush all others of that leg: a resync may not
 * end before the next start.
 */
static bool a_call_fails;

/* From now on calls of kind OP fail; or only number CALL of these. */
static void
fail_disk (struct sim_disk *disk, enum sim_op op, unsigned call)
{
  struct sim_disk_faults faults = { .slow = 0 };

  faults.ops[op].after = call > 0 ? call - 1 : 0;
  faults.ops[op].count = call > 0 ? 1 : SIM_FOR_EVER;
  sim_disk_set_faults (disk, &faults);
  now.has_faults = now.had_faults = true;
}

static void
set_up_disk (struct sim_disk *disk)
{
  static const struct sim_disk_faults none;

  sim_disk_set_faults (disk, &none);
  if (must_fail_stores && strstr (sim_disk_name (disk), ".cow") != NULL)
    fail_disk (disk, store_op, store_call);
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
  else if (step->kind == ADD_LEG)
    leg_admin_add ();
  else if (s->is_offered && step->kind == REMOVE_LIVE) {
    world_remove_snapshot (s, false);
    if (step->count > 0 && !now.clients.has_ended)
      (void) world_wait_for_background ();
  }
  else if (step->kind == ROLL_BACK || step->kind == ROLL_BACK_FAR) {
    if (step->kind == ROLL_BACK)
      world_roll_back ();
    else
      world_roll_back_to_older ();
    if (step->count > 0 && !now.clients.has_ended)
      (void) world_wait_for_background ();
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
    fail_disk (sim_files_disk (path), (enum sim_op) step->unit, 0);
    break;
  case FAIL_STORE:
    must_fail_stores = true;
    store_op = (enum sim_op) step->unit;
    store_call = step->count;
    sim_files_each_disk (set_up_disk);
    break;
  case FAIL_SYNC:
    sim_files_fail_sync (step->unit + 1);
    now.has_faults = now.had_faults = true;
    break;
  case RESYNC:
    handle = client_open (&now.clients, now.model);
    if (!now.clients.has_ended && !a_call_fails)
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
  case ROLL_BACK_FAR:
  case ADD_LEG:
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

  for (i = 0; i < now.leg_count; ++i)
    world_configure ("leg", "%s", now.legs[i]);
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

  now.has_faults = must_fail_stores = a_call_fails = false;
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

/* The rest of a life, from the step behind its beginning; at its end the power
 * FAILS, or not.  Returns the next life, or the end, in *EVENTS what happened,
 * and what it left in *LEFT.
 */
static const struct step *
live (const struct step *step, bool fails, unsigned *events,
      struct manifest **left)
{
  bool is_open = world_open ();

  for (; step->kind != LIFE && step->kind != END; ++step)
    if (is_open && !now.clients.has_ended)
      do_step (step);
  world_unload ();
  *events = sim_at_event (0, NULL);
  world_end_life (fails || (step->kind == LIFE && (step->unit & CRASHED)));
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
    now.is_settled = world_wait_for_background ();
  }
  world_unload ();
  world_end_life (true);
  manifest_free (world_visit_grave ());
}

static bool
is_crash (enum calamity how)
{
  return how == CALAMITY_POWER || how == CALAMITY_KILL;
}

/* From now on it is dangerous. */
static void
begin_danger (unsigned event, enum calamity how)
{
  now.crash = how == CALAMITY_KILL ? SIM_KILLED : SIM_POWER_FAILS;
  (void) sim_at_event (is_crash (how) ? event : 0, world_crash);
  (void) sim_disks_fail_call (is_crash (how) ? 0 : event,
                              how == CALAMITY_CALLS);
  a_call_fails = !is_crash (how) && event > 0;
  if (a_call_fails)
    now.has_faults = now.had_faults = true;
}

/* Tell STORY, with what HOW says at EVENT of its dangerous life, or at that
 * call of a disk; 0: without.  Returns how many there are.
 */
static unsigned
tell (const struct story *story, uint64_t seed, unsigned event,
      enum calamity how, bool is_traced)
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
    if (is_dangerous)
      begin_danger (event, how);
    step = live (step + 1, is_dangerous && event > 0 && !is_crash (how),
                 &life_events, &left);
    if (is_dangerous) {
      unsigned calls = sim_disks_fail_call (0, false);

      events = is_crash (how) ? life_events : calls;
    }
  }
  manifest_free (left);
  check_life ();
  check_life ();
  world_end ();
  (void) sim_end ();
  return events;
}

/*----- all of them -----------------------------------------------------*/

/* Story number INDEX: those of tables are behind the others. */
static unsigned
tell_any (unsigned index, uint64_t seed, unsigned event, enum calamity how,
          bool is_traced)
{
  if (index >= story_count)
    return table_tell (index - story_count, seed, event, how, is_traced);
  return tell (&stories[index], seed, event, how, is_traced);
}

static unsigned
max_states (unsigned index, enum calamity how)
{
  if (index >= story_count)
    return MAX_TABLE_STATES;
  return is_crash (how) ? MAX_STATES : MAX_ERROR_STATES;
}

static unsigned
enumerate (unsigned index, uint64_t seed, enum calamity how, bool is_traced,
           unsigned *events)
{
  unsigned count = tell_any (index, seed, 0, how, is_traced), event;
  unsigned states = 0;

  *events += count;
  for (event = 1; event <= count; ++event) {
    sim_choose_begin (max_states (index, how));
    do {
      if (is_traced)
        printf ("%s, seed %u, event %u, state %u\n", enum_name (index),
                (unsigned) seed, event, states);
      (void) tell_any (index, seed, event, how, is_traced);
      states++;
    } while (sim_choose_next ());
    sim_choose_end ();
  }
  return states;
}

unsigned
enum_count (void)
{
  return story_count + table_story_count;
}

const char *
enum_name (unsigned story)
{
  return story < story_count ? stories[story].name
                             : table_stories[story - story_count].name;
}

void
enum_run (unsigned story, uint64_t seed, bool is_traced,
          struct enum_counters *counters)
{
  /* Errors in stories of volumes every other time: that takes long, and in
   * unit tests each call fails, too.
   */
  enum calamity last = story < story_count && seed % 2 == 1 ? CALAMITY_KILL
                                                            : CALAMITY_CALLS;
  enum calamity how;
  static char replay[80];
  unsigned events = 0;

  snprintf (replay, sizeof replay, " --enumerate=%s", enum_name (story));
  sim_set_replay (replay);
  for (how = CALAMITY_POWER; how <= last; ++how)
    counters->states += enumerate (story, seed, how, is_traced, &events);
  counters->events += events;
}
