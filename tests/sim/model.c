/* What clients may read: now, and after a crash.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Times are ticks of sim_tick (): no two events share one.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "model-impl.h"
#include "sim.h"

#define UNITS_PER_SECTOR (SECTOR_SIZE / MODEL_UNIT_BYTES)
#define WORDS_PER_UNIT (MODEL_UNIT_BYTES / sizeof (uint64_t))

struct model_counters model_counters;

static struct version *free_versions;
static struct model_op *going_on;
static struct model_device *being_taken;
static uint32_t last_stamp;
static uint64_t last_allowed; /* by model_allow_excluded */
static bool is_changing;      /* by model_set_changing */

/*----- versions --------------------------------------------------------*/

static struct version *
version_get (void)
{
  struct version *v = free_versions;

  if (v != NULL)
    free_versions = v->next;
  else {
    v = malloc (sizeof *v);
    if (v == NULL)
      abort ();
  }
  *v = (struct version){ .ended = NOT_YET, .excluded = NOT_YET };
  return v;
}

static void
version_put (struct version *v)
{
  v->next = free_versions;
  free_versions = v;
}

/* Versions that ended before this are dead for reads issued at TICK. */
uint64_t
model_dead_before (const struct version *first, uint64_t tick)
{
  const struct version *v;
  uint64_t latest = 0;

  for (v = first; v != NULL; v = v->next)
    if (v->is_acked && v->ended < tick)
      latest = MAX_OF (latest, v->issued);
  return latest;
}

/* Versions that ended before this are dead for good. */
static uint64_t
dead_for_good_before (const struct version *first)
{
  const struct version *v;
  uint64_t latest = 0;

  for (v = first; v != NULL; v = v->next)
    if (v->is_durable)
      latest = MAX_OF (latest, v->issued);
  return latest;
}

static void
drop_versions (struct version **unit, uint64_t dead)
{
  while (*unit != NULL) {
    struct version *v = *unit;

    if (v->ended < dead) {
      *unit = v->next;
      version_put (v);
    }
    else
      unit = &v->next;
  }
}

static uint64_t
oldest_read (void)
{
  const struct model_op *op;
  uint64_t oldest = NOT_YET;

  for (op = going_on; op != NULL; op = op->next)
    if (op->kind == MODEL_READ)
      oldest = MIN_OF (oldest, op->issued);
  return oldest;
}

/* Drop what can never be read again. */
static void
prune (struct version **unit, uint64_t oldest)
{
  uint64_t good, read;

  if (*unit == NULL || (*unit)->next == NULL)
    return;
  good = dead_for_good_before (*unit);
  read = model_dead_before (*unit, oldest);
  drop_versions (unit, MIN_OF (good, read));
}

void
model_explain_unit (const struct model_device *d, unsigned unit)
{
  const struct version *v;

  fprintf (stderr, "%s, unit %u (sector %u):\n", d->name, unit,
           (unsigned) (unit / UNITS_PER_SECTOR));
  for (v = d->map[unit]; v != NULL; v = v->next)
    fprintf (stderr,
             "  write %" PRIu32 ": issued %" PRIu64 ", ended %" PRId64
             "%s%s%s%s%s\n",
             v->stamp, v->issued, (int64_t) v->ended,
             v->is_acked ? ", acknowledged" : "",
             v->is_durable ? ", durable" : "",
             v->is_survivor ? ", before the crash" : "",
             v->excluded != NOT_YET ? ", excluded" : "",
             v->is_durably_excluded ? " for good" : "");
}

/*----- data ------------------------------------------------------------*/

static uint64_t
word_of (uint32_t stamp, unsigned unit)
{
  return stamp == 0 ? 0 : (uint64_t) stamp << 32 | (unit ^ 0xa5a5a5U);
}

void
model_fill (const struct model_op *op, void *data)
{
  uint64_t *p = data;
  unsigned i, j;

  for (i = 0; i < op->count; ++i)
    for (j = 0; j < WORDS_PER_UNIT; ++j)
      *p++ = word_of (op->stamp, op->unit + i);
}

/* Which write a unit is of that holds WORD, and nothing else if IS_WHOLE. */
static uint32_t
decode_word (const struct model_device *d, unsigned unit, uint64_t word,
             bool is_whole, const char *what)
{
  uint32_t stamp = (uint32_t) (word >> 32);

  if (!is_whole || word != word_of (stamp, unit)) {
    model_explain_unit (d, unit);
    sim_fail ("%s, %s: unit %u holds what was never written there: %016" PRIx64,
              d->name, what, unit, word);
  }
  return stamp;
}

/* Which write DATA is of. */
uint32_t
model_decode (const struct model_device *d, unsigned unit, const void *data,
              const char *what)
{
  uint64_t word;

  memcpy (&word, data, sizeof word);
  return decode_word (d, unit, word,
                      memcmp (data, (const char *) data + sizeof word,
                              MODEL_UNIT_BYTES - sizeof word) == 0,
                      what);
}

/*----- requests --------------------------------------------------------*/

/* UNIT of the snapshot D may hold what version V is. */
static void
allow_version (struct model_device *d, unsigned unit, const struct version *v)
{
  struct version *copy = version_get ();

  copy->stamp = v->stamp;
  copy->is_survivor = copy->is_on_disk = true;
  copy->ended = sim_tick ();
  copy->excluded = v->excluded;
  copy->is_durably_excluded = v->excluded != NOT_YET;
  copy->next = d->map[unit];
  d->map[unit] = copy;
}

/* A write is issued while snapshots are being taken. */
static void
allow_write (const struct model_op *op)
{
  struct model_device *d;
  unsigned i;

  for (d = being_taken; d != NULL; d = d->next)
    for (i = op->unit; d->origin == op->device && i < op->unit + op->count; ++i)
      allow_version (d, i, op->device->map[i]);
}

void
model_begin (struct model_op *op)
{
  unsigned i;

  model_counters.requests++;
  op->issued = sim_tick ();
  op->stamp = 0;
  op->next = going_on;
  going_on = op;
  if (op->kind == MODEL_READ || op->kind == MODEL_FLUSH)
    return;
  if (op->kind == MODEL_WRITE)
    op->stamp = ++last_stamp;
  for (i = 0; i < op->count; ++i) {
    struct version *v = version_get ();

    v->stamp = op->stamp;
    v->issued = op->issued;
    v->next = op->device->map[op->unit + i];
    op->device->map[op->unit + i] = v;
  }
  allow_write (op);
}

static void
end_write (const struct model_op *op, int error)
{
  uint64_t now = sim_tick ();
  uint64_t oldest = oldest_read ();
  unsigned i;

  for (i = 0; i < op->count; ++i) {
    struct version **unit = &op->device->map[op->unit + i];
    struct version **link = unit, *v;

    while ((*link)->issued != op->issued)
      link = &(*link)->next;
    v = *link;
    if (error == -EOPNOTSUPP) { /* it has never been */
      *link = v->next;
      version_put (v);
      continue;
    }
    v->ended = now;
    /* A trim may do nothing, and says so to nobody. */
    if (error == 0 && op->kind != MODEL_TRIM) {
      v->is_acked = true;
      v->is_durable = op->is_durable;
    }
    prune (unit, oldest);
  }
}

static void
flush_unit (struct version **unit, uint64_t issued, uint64_t oldest)
{
  struct version *v;

  for (v = *unit; v != NULL; v = v->next) {
    if (v->is_acked && v->ended < issued)
      v->is_durable = true;
    if (v->excluded < issued)
      v->is_durably_excluded = true;
  }
  prune (unit, oldest);
}

static void
end_flush (struct model_device *d, uint64_t issued)
{
  uint64_t oldest = oldest_read ();
  unsigned i;

  for (i = 0; i < d->units; ++i)
    flush_unit (&d->map[i], issued, oldest);
}

/* True if V had its place among all others when a read was issued. */
static bool
is_settled (const struct version *v, uint64_t issued)
{
  return v->is_survivor || (v->is_acked && v->ended < issued);
}

/* A read has returned STAMP, which was allowed: what else was? */
static void
exclude_others (const struct model_device *d, struct version *first,
                uint32_t stamp, uint64_t issued, uint64_t dead)
{
  uint64_t now = sim_tick ();
  struct version *v;
  bool has_others = false, is_on_disk = true;

  /* It may come from a leg that is lost meanwhile. */
  if (is_changing || issued < last_allowed || d->rollback_of != NULL ||
      issued < d->rolled_back)
    return;
  for (v = first; v != NULL; v = v->next) {
    if (v->ended < dead || v->excluded < issued)
      continue;
    if (v->stamp == stamp && !is_settled (v, issued))
      return;
    if (v->stamp == stamp)
      is_on_disk = is_on_disk && v->is_on_disk;
    has_others |= v->stamp != stamp;
  }
  if (!has_others)
    return;
  model_counters.ambiguous++;
  for (v = first; v != NULL; v = v->next)
    if (v->stamp != stamp && is_settled (v, issued) && v->excluded == NOT_YET) {
      v->excluded = now;
      v->is_durably_excluded = is_on_disk && v->is_on_disk;
    }
}

/* What was there before a roll-back is forgotten at its end. */
bool
model_is_rolled_back (const struct model_op *op)
{
  return op->device->rollback_of != NULL ||
         op->issued < op->device->rolled_back;
}

void
model_check_unit (const struct model_op *op, unsigned unit, const void *data)
{
  struct version *first = op->device->map[unit], *v;
  uint32_t stamp = model_decode (op->device, unit, data, "read");
  uint64_t dead = model_dead_before (first, op->issued);

  model_counters.units_checked++;
  sim_mix (stamp);
  for (v = first; v != NULL; v = v->next)
    if (v->stamp == stamp && v->ended >= dead && v->excluded >= op->issued)
      break;
  if (v == NULL && model_is_rolled_back (op))
    return;
  if (v == NULL) {
    model_explain_unit (op->device, unit);
    sim_fail ("%s: a read issued at %" PRIu64 " returned write %" PRIu32
              " in unit %u, which it may not",
              op->device->name, op->issued, stamp, unit);
  }
  if (first->next != NULL)
    exclude_others (op->device, first, stamp, op->issued, dead);
}

void
model_forget_op (const struct model_op *op)
{
  struct model_op **link = &going_on;

  while (*link != op)
    link = &(*link)->next;
  *link = op->next;
}

void
model_end (struct model_op *op, int error, const void *data)
{
  unsigned i;

  model_forget_op (op);
  if (error < 0)
    model_counters.failed_requests++;
  switch (op->kind) {
  case MODEL_READ:
    for (i = 0; error == 0 && i < op->count; ++i)
      model_check_unit (op, op->unit + i,
                        (const char *) data + (size_t) i * MODEL_UNIT_BYTES);
    break;
  case MODEL_FLUSH:
    if (error == 0)
      end_flush (op->device, op->issued);
    break;
  case MODEL_WRITE:
  case MODEL_ZERO:
  case MODEL_TRIM:
    end_write (op, error);
    break;
  }
}

void
model_end_extents (struct model_op *op, int error, const bool *is_hole)
{
  static const unsigned char zeroes[MODEL_UNIT_BYTES];
  unsigned i;

  model_forget_op (op);
  if (error < 0)
    model_counters.failed_requests++;
  for (i = 0; error == 0 && i < op->count; ++i)
    if (is_hole[i]) {
      model_counters.holes++;
      model_check_unit (op, op->unit + i, zeroes);
    }
}

void
model_is_durable (struct model_device *d, uint64_t issued)
{
  end_flush (d, issued);
}

/* D may hold what the snapshot that it is rolled back to does. */
static void
add_rollback (struct model_device *d)
{
  const struct model_device *snapshot = d->rollback_of;
  uint64_t now = sim_tick ();
  const struct version *v;
  unsigned i;

  for (i = 0; i < d->units; ++i) {
    uint64_t dead = model_dead_before (snapshot->map[i], now);

    for (v = snapshot->map[i]; v != NULL; v = v->next) {
      if (v->ended < dead)
        continue;
      allow_version (d, i, v);
      d->map[i]->ended = NOT_YET;
      d->map[i]->is_of_rollback = true;
    }
  }
}

/*----- crashes ---------------------------------------------------------*/

static void
crash_unit (struct version **unit, enum sim_crash how, uint64_t now)
{
  uint64_t dead = dead_for_good_before (*unit);
  struct version *v;

  if (how == SIM_KILLED)
    dead = MIN_OF (dead, model_dead_before (*unit, now));
  drop_versions (unit, dead);
  for (v = *unit; v != NULL; v = v->next) {
    v->is_survivor = true;
    v->is_of_rollback = false;
    if (v->ended == NOT_YET)
      v->ended = now;
    if (how == SIM_KILLED)
      continue;
    /* What is there is on the disks; which one it is nobody knows. */
    v->is_acked = v->is_durable = false;
    v->is_on_disk = true;
    v->issued = 0;
    v->ended = now;
    if (!v->is_durably_excluded)
      v->excluded = NOT_YET;
  }
}

void
model_crash (struct model_device *d, enum sim_crash how)
{
  uint64_t now = sim_tick ();
  unsigned i;

  model_counters.crashes++;
  if (d->rollback_of != NULL)
    add_rollback (d); /* or not */
  d->rollback_of = NULL;
  going_on = NULL;
  for (i = 0; i < d->units; ++i)
    crash_unit (&d->map[i], how, now);
}

void
model_set_changing (bool is_on)
{
  is_changing = is_on;
}

void
model_allow_excluded (struct model_device *d)
{
  struct version *v;
  unsigned i;

  last_allowed = sim_tick ();
  for (i = 0; i < d->units; ++i) {
    for (v = d->map[i]; v != NULL; v = v->next) {
      v->excluded = NOT_YET;
      v->is_durably_excluded = false;
    }
  }
}

void
model_check_disk (const struct model_device *d, const struct sim_disk *disk)
{
  uint64_t now = sim_tick ();
  unsigned i;

  for (i = 0; i < d->units; ++i) {
    const struct version *v;
    uint64_t dead = model_dead_before (d->map[i], now), word = 0;
    bool is_whole = sim_disk_look_word (disk, i, &word);
    uint32_t stamp = decode_word (d, i, word, is_whole, sim_disk_name (disk));

    for (v = d->map[i]; v != NULL; v = v->next)
      if (v->stamp == stamp && v->ended >= dead)
        break;
    if (v == NULL) {
      model_explain_unit (d, i);
      sim_fail ("%s, a leg in sync, has write %" PRIu32
                " in unit %u, which it may not",
                sim_disk_name (disk), stamp, i);
    }
  }
}

/*----- life ------------------------------------------------------------*/

void
model_reset (void)
{
  going_on = NULL;
  being_taken = NULL;
  last_stamp = 0;
  last_allowed = 0;
  is_changing = false;
}

static struct model_device *
make_device (const char *name, unsigned units)
{
  struct model_device *d = calloc (1, sizeof *d);

  if (d == NULL)
    abort ();
  (void) snprintf (d->name, sizeof d->name, "%s", name);
  d->units = units;
  d->map = calloc (units, sizeof d->map[0]);
  if (d->map == NULL)
    abort ();
  return d;
}

struct model_device *
model_create (const char *name, unsigned units)
{
  struct model_device *d = make_device (name, units);
  unsigned i;

  for (i = 0; i < units; ++i) {
    d->map[i] = version_get ();
    d->map[i]->is_acked = d->map[i]->is_durable = true;
    d->map[i]->ended = 0;
  }
  return d;
}

struct model_device *
model_create_snapshot (const char *name, struct model_device *origin)
{
  struct model_device *d = make_device (name, origin->units);

  model_add (d, origin);
  return d;
}

void
model_add (struct model_device *d, const struct model_device *origin)
{
  uint64_t now = sim_tick ();
  const struct version *v;
  unsigned i;

  for (i = 0; i < d->units; ++i) {
    uint64_t dead = model_dead_before (origin->map[i], now);

    for (v = origin->map[i]; v != NULL; v = v->next)
      if (v->ended >= dead)
        allow_version (d, i, v);
  }
}

struct model_device *
model_begin_snapshot (const char *name, struct model_device *origin)
{
  struct model_device *d = model_create_snapshot (name, origin);

  d->origin = origin;
  d->next = being_taken;
  being_taken = d;
  return d;
}

void
model_end_snapshot (struct model_device *d)
{
  struct model_device **link = &being_taken;

  while (*link != NULL && *link != d)
    link = &(*link)->next;
  if (*link == NULL)
    return;
  *link = d->next;
  d->origin = d->next = NULL;
}

void
model_begin_rollback (struct model_device *d,
                      const struct model_device *snapshot)
{
  d->rollback_of = snapshot;
}

/* Drop what had ended before ISSUED. */
static void
end_rollback_unit (struct version **unit, uint64_t issued)
{
  uint64_t now = sim_tick ();

  while (*unit != NULL) {
    struct version *v = *unit;

    if (!v->is_of_rollback && v->ended < issued) {
      *unit = v->next;
      version_put (v);
      continue;
    }
    if (v->is_of_rollback)
      v->ended = now;
    v->is_of_rollback = false;
    unit = &v->next;
  }
}

void
model_end_rollback (struct model_device *d, uint64_t issued)
{
  unsigned i;

  if (d->rollback_of == NULL)
    return; /* a crash came with the answer: it may be either */
  add_rollback (d);
  d->rollback_of = NULL;
  d->rolled_back = sim_tick ();
  for (i = 0; i < d->units; ++i)
    end_rollback_unit (&d->map[i], issued);
}

void
model_cancel_rollback (struct model_device *d)
{
  d->rollback_of = NULL;
}

void
model_rename (struct model_device *d, const char *name)
{
  (void) snprintf (d->name, sizeof d->name, "%s", name);
}

static void
clear_unit (struct version **unit)
{
  while (*unit != NULL) {
    struct version *v = *unit;

    *unit = v->next;
    version_put (v);
  }
}

void
model_cut (struct model_device *d, unsigned units)
{
  while (d->units > units)
    clear_unit (&d->map[--d->units]);
}

void
model_take_disk (struct model_device *d, const struct sim_disk *disk)
{
  unsigned i;

  for (i = 0; i < d->units; ++i) {
    uint64_t word = 0;
    bool is_whole = sim_disk_look_word (disk, i, &word);
    struct version now = { .excluded = NOT_YET };

    now.stamp = decode_word (d, i, word, is_whole, sim_disk_name (disk));
    clear_unit (&d->map[i]);
    allow_version (d, i, &now);
  }
}

void
model_destroy (struct model_device *d)
{
  if (d == NULL)
    return;
  model_end_snapshot (d);
  model_cut (d, 0);
  free (d->map);
  free (d);
}

const char *
model_name (const struct model_device *d)
{
  return d->name;
}

unsigned
model_units (const struct model_device *d)
{
  return d->units;
}
