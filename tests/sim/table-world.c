/* The world of one simulated table: an origin, and direct snapshots of it.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A snapshot is taken when a table that has it is opened first.  If that comes
 * to no end, it may have been taken: then it is of what the origin is next
 * time, since nobody has written to that.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bits.h"
#include "file-sim.h"
#include "log-sink.h"
#include "nbdkit-sim.h"
#include "sim.h"
#include "table-world.h"

#define ORIGIN SIM_ROOT "/leg0"

/* Of a persistent store, on disk. */
#define MAGIC 0x70416e53U
#define RECORD_BYTES 16U

struct table_world table;
struct table_counters table_counters;

/*----- snapshots -------------------------------------------------------*/

/* What number I is of: the origin as it is now.  While something is merged into
 * that, it is neither what it was nor what it will be.
 */
static void
freeze (unsigned i)
{
  struct sim_snapshot *s = &now.snapshots[i];

  model_destroy (s->model);
  s->model = model_create_snapshot (s->name, now.model);
  model_cut (s->model,
             table.stores[i].sectors * (SECTOR_SIZE / MODEL_UNIT_BYTES));
  if (table.is_merging && !table.is_merged)
    model_take_disk (s->model, sim_files_disk (ORIGIN));
}

unsigned
table_cow_sectors (const struct table_store *store, unsigned chunks)
{
  unsigned epa = store->chunk_sectors * SECTOR_SIZE / RECORD_BYTES;

  if (!store->is_transient)
    chunks += 1 + chunks / epa + 1; /* header and areas */
  return chunks * store->chunk_sectors;
}

void
table_add (const struct table_store *store)
{
  unsigned i = now.snapshot_count++;
  struct sim_snapshot *s = &now.snapshots[i];
  struct table_store *t = &table.stores[i];

  memset (s, 0, sizeof *s);
  snprintf (s->name, sizeof s->name, "s%u", now.next_name++);
  *t = *store;
  snprintf (t->path, sizeof t->path, SIM_ROOT "/%s.cow", s->name);
  t->can_be_full = t->cow_sectors <
                   table_cow_sectors (t, (plan.sectors + t->chunk_sectors - 1) /
                                           t->chunk_sectors);
  (void) sim_files_add_disk (t->path, t->cow_sectors);
  freeze (i);
  table_counters.snapshots++;
}

static void
forget (unsigned i)
{
  unsigned behind = --now.snapshot_count - i;

  memmove (now.snapshots + i, now.snapshots + i + 1,
           behind * sizeof now.snapshots[0]);
  memmove (table.stores + i, table.stores + i + 1,
           behind * sizeof table.stores[0]);
}

void
table_remove (unsigned i)
{
  sim_trace ("%s is removed", table.stores[i].path);
  sim_files_remove (table.stores[i].path);
  model_destroy (now.snapshots[i].model);
  forget (i);
}

/*----- what is on the disks --------------------------------------------*/

struct header {
  uint32_t magic;
  uint32_t valid;
};

/* Bytes on disk are as those of this machine, or nothing is checked. */
static struct header
look_at_header (const struct table_store *t)
{
  unsigned char sector[SECTOR_SIZE];
  struct header h;

  sim_disk_look (sim_files_disk (t->path), 0, 1, sector);
  memcpy (&h, sector, sizeof h);
  return h;
}

/* May a snapshot be lost, or refuse something? */
static bool
may_be_lost (const struct table_store *t)
{
  return now.had_faults || t->can_be_full;
}

bool
table_can_merge (unsigned i)
{
  const struct table_store *t = &table.stores[i];

  return !table.is_merging && !t->is_transient && t->is_frozen &&
         t->sectors == plan.sectors && look_at_header (t).valid == 1;
}

void
table_begin_merge (unsigned i)
{
  sim_trace ("%s is merged from now on", table.stores[i].path);
  model_destroy (now.model);
  now.model = now.snapshots[i].model;
  model_rename (now.model, "");
  table.merged = table.stores[i];
  table.is_merging = true;
  table.is_merged = false;
  table_counters.merges++;
  forget (i);
}

void
table_visit_grave (void)
{
  unsigned i;

  sim_files_set_faults (0);
  if (!table.is_merging || table.is_merged) {
    table_counters.disks_checked++;
    model_check_disk (now.model, sim_files_disk (ORIGIN));
  }
  for (i = 0; i < now.snapshot_count; ++i) {
    const struct table_store *t = &table.stores[i];
    struct header h = look_at_header (t);

    if (t->is_transient || h.magic != MAGIC)
      continue;
    if (t->is_lost && h.valid != 0)
      sim_fail ("%s is lost, and its store does not say so", t->path);
    if (h.valid == 0 && !may_be_lost (t))
      sim_fail ("%s is marked invalid without a cause", t->path);
  }
}

/*----- what is said ----------------------------------------------------*/

static void
take_message (enum log_level level, const char *message)
{
  unsigned i;

  (void) level;
  sim_trace ("log: %s", message);
  if (now.clients.has_ended)
    return;
  if (strstr (message, "is merged: all of it is in the origin") != NULL) {
    table.is_merged = true;
    table_counters.merged++;
  }
  if (strstr (message, "the snapshot is invalid, the volume goes on") == NULL)
    return;
  for (i = 0; i < now.snapshot_count; ++i)
    if (strstr (message, table.stores[i].path) != NULL) {
      if (!may_be_lost (&table.stores[i]))
        sim_fail ("%s is lost without a cause", table.stores[i].path);
      table.stores[i].is_invalid = table.stores[i].is_lost = true;
      table_counters.lost++;
    }
}

static bool
table_may_fail (const struct model_op *op, int error)
{
  unsigned i;

  if (error == -EOPNOTSUPP && op->kind == MODEL_ZERO)
    return true;
  for (i = 0; i < now.snapshot_count; ++i)
    if (op->device == now.snapshots[i].model)
      return may_be_lost (&table.stores[i]);
  return now.has_faults;
}

/* What the exports' descriptions say: of each snapshot, is it invalid? */
static struct said {
  bool is_named[TABLE_MAX_STORES];
  bool is_invalid[TABLE_MAX_STORES];
  bool has_merge_failed;
} said;

static void
take_export (const char *name, const char *description)
{
  unsigned i;

  sim_trace ("'%s' is %s", name, description);
  if (name[0] == '\0') {
    said.has_merge_failed = strstr (description, "Merge failed") != NULL;
    return;
  }
  for (i = 0; i < now.snapshot_count; ++i)
    if (strcmp (now.snapshots[i].name, name) == 0) {
      said.is_named[i] = true;
      said.is_invalid[i] = strstr (description, ": Invalid") != NULL;
      if (!table.stores[i].may_overflow && strstr (description, "Overflow"))
        sim_fail ("'%s' says Overflow, and has not that letter", name);
    }
}

static void
ask_for_exports (void)
{
  struct nbdkit_exports exports = { take_export };
  unsigned i;

  memset (&said, 0, sizeof said);
  (void) now.clients.plugin->list_exports (0, 0, &exports);
  for (i = 0; i < now.snapshot_count; ++i)
    if (!said.is_named[i])
      sim_fail ("snapshot %s is not offered", now.snapshots[i].name);
  if (said.has_merge_failed && !now.has_faults)
    sim_fail ("the merge has failed without a cause");
}

void
table_check_descriptions (void)
{
  unsigned i;

  if (now.clients.has_ended)
    return;
  ask_for_exports ();
  if (table.is_merging && !table.is_merged)
    return; /* one may just now become invalid */
  for (i = 0; i < now.snapshot_count; ++i)
    if (said.is_invalid[i] != table.stores[i].is_invalid)
      sim_fail ("snapshot %s is%s lost, but not said to be so",
                now.snapshots[i].name,
                table.stores[i].is_invalid ? "" : " not");
}

/*----- a life ----------------------------------------------------------*/

/* Add words to the table. */
__attribute__ ((format (printf, 2, 3))) static void
say (char text[WORLD_VALUE_BYTES], const char *format, ...)
{
  size_t at = strlen (text);
  va_list args;

  va_start (args, format);
  (void) vsnprintf (text + at, WORLD_VALUE_BYTES - at, format, args);
  va_end (args);
}

static void
say_store (char text[WORLD_VALUE_BYTES], const char *target,
           const struct table_store *t)
{
  say (text, "0 %u %s " ORIGIN " %s %s %u; ", t->sectors, target, t->path,
       t->is_transient   ? "N"
       : t->may_overflow ? "PO"
                         : "P",
       t->chunk_sectors);
}

void
table_load (bool is_served)
{
  char text[WORLD_VALUE_BYTES] = "";
  unsigned i;

  table_counters.lives++;
  world_load ();
  log_sink_set (take_message);
  table.is_served = is_served || table.is_merging || now.snapshot_count == 0;
  if (table.is_merging) {
    table_counters.merges_gone_on++;
    say_store (text, "snapshot-merge", &table.merged);
  }
  else if (table.is_served)
    say (text, "0 %u snapshot-origin " ORIGIN "; ", plan.sectors);
  for (i = 0; i < now.snapshot_count; ++i) {
    say (text, "%s: ", now.snapshots[i].name);
    say_store (text, "snapshot", &table.stores[i]);
  }
  world_configure ("table", "%s", text);
  if (now.clients.plugin->config_complete () == -1)
    sim_fail ("the table is refused");
}

/* Those that are there, and those that are taken now. */
static void
meet_snapshots (void)
{
  unsigned i;

  ask_for_exports ();
  for (i = 0; i < now.snapshot_count; ++i) {
    struct table_store *t = &table.stores[i];

    if (t->is_lost && !said.is_invalid[i])
      sim_fail ("snapshot %s was lost, and is back", now.snapshots[i].name);
    if (said.is_invalid[i] && !may_be_lost (t))
      sim_fail ("snapshot %s is lost without a cause", now.snapshots[i].name);
    t->is_invalid = said.is_invalid[i];
    now.snapshots[i].is_offered = !t->is_invalid;
    if (t->is_frozen || t->is_invalid)
      continue;
    freeze (i);
    if (t->is_transient)
      continue;
    t->is_frozen = true;
    /* Before its store was made the origin was flushed; a part of what is
     * merged may be in that store only.
     */
    if (!table.is_merging)
      model_is_durable (now.model, sim_tick ());
  }
}

bool
table_open (void)
{
  if (now.clients.plugin->get_ready () == -1) {
    if (!now.clients.has_ended && !now.has_faults)
      sim_fail ("the table is not opened");
    world_counters.refused_starts += !now.clients.has_ended;
    world_counters.crashes_at_start += now.clients.has_ended;
    return false;
  }
  table.is_open = true;
  now.clients.plugin->after_fork ();
  if (!now.clients.has_ended)
    meet_snapshots ();
  return !now.clients.has_ended;
}

void
table_settle (struct model_device *device)
{
  uint64_t issued = sim_tick ();
  void *handle = client_open (&now.clients, device);

  if (handle == NULL)
    return;
  if (!now.clients.has_ended && !now.clients.is_read_only)
    model_is_durable (now.model, issued);
  client_close (&now.clients, handle);
}

void
table_read_everything (void)
{
  unsigned i;

  if (table.is_served)
    client_read_all (&now.clients, now.model);
  for (i = 0; i < now.snapshot_count; ++i)
    if (now.snapshots[i].is_offered)
      client_read_all (&now.clients, now.snapshots[i].model);
}

#define MERGE_MAX_SECONDS 20000

void
table_wait_for_merge (void)
{
  unsigned seconds;

  for (seconds = 0; seconds < MERGE_MAX_SECONDS; ++seconds) {
    if (now.clients.has_ended || !table.is_merging || table.is_merged)
      return;
    sim_sleep_ns ("the end of the merge", NULL, UINT64_C (1000000000));
  }
  sim_fail ("the merge does not end");
}

/* Stopped in good order, all that was answered is durable. */
static void
check_stopped (uint64_t stopped)
{
  unsigned i;

  if (now.clients.has_ended || !now.clients.has_started || now.has_faults)
    return;
  model_is_durable (now.model, stopped);
  for (i = 0; i < now.snapshot_count; ++i)
    model_is_durable (now.snapshots[i].model, stopped);
}

void
table_unload (void)
{
  uint64_t stopped = sim_tick ();
  unsigned i;

  if (table.is_open)
    now.clients.plugin->cleanup ();
  check_stopped (stopped);
  now.clients.plugin->unload ();
  table.is_open = false;
  for (i = 0; i < now.snapshot_count; ++i) {
    struct table_store *t = &table.stores[i];

    now.snapshots[i].is_offered = false;
    if (t->is_transient)
      t->is_lost = false; /* the next life has it anew */
    else if (now.clients.has_started)
      t->is_lost |= t->is_invalid; /* the mark was made durable before */
    t->is_invalid = false;
  }
  sim_at_point (0, NULL);
  world_counters.orderly_stops += !now.clients.has_ended;
}

/*----- life ------------------------------------------------------------*/

void
table_begin (void)
{
  memset (&table, 0, sizeof table);
  plan.leg_count = 1;
  world_begin ();
  now.clients.may_fail = table_may_fail;
  world_add_legs ();
  table_counters.seeds++;
}
