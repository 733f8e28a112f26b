/* The devices of a kernel's table of snapshots, without a volume.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: Linux 6.1 drivers/md/dm-snap.c: each snapshot of an origin is a
 * direct one.  Differs: a store that is full refuses a write of the snapshot's
 * own clients, and loses nothing, whatever letter it has.
 *
 * States:
 *   OPEN -> STARTED [start]: origins and stores have been flushed, chunks are
 *                   copied
 *   any  -> STOPPED [table_devices_stop]
 *
 * Invariant: before STARTED nothing is written, but for new stores; and never
 * to an origin that no line serves.
 *
 * Locks: `lock`, for starting, outside those of the snapshots.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "table-devices-impl.h"

/* Pages for the copies: eight parts of a job at once. */
#define COPY_PAGES \
  (8 * (unsigned) (KCOPYD_SUB_JOB_SECTORS * SECTOR_SIZE / DM_PAGE_SIZE))

static bool
is_valid (const struct table_device *d)
{
  return table_line_serves_origin (d->line) ||
         (d->snapshot != NULL && snapshot_is_valid (d->snapshot));
}

/*----- opening ---------------------------------------------------------*/

/* WHAT is the origin, or the COW store. */
static int
say_open_error (const char *what, const char *path, int r)
{
  char quote[LOG_QUOTE_BYTES], text[LOG_MESSAGE_BYTES];

  if (r == -ENOENT)
    log_error ("table=: %s (%s): does not exist; check the name", what,
               log_quote (path, quote));
  else {
    volume_leg_error_text (path, false, r, text);
    log_error ("table=: %s (%s): %s", what, log_quote (path, quote), text);
  }
  return r;
}

/* True if PATH is the file or disk that is open as BDEV. */
static bool
is_same_file (const char *path, struct block_device *bdev)
{
  struct bdev_identity mine, other;
  struct block_device *peek;
  bool is_same;

  /* Not locked: our own lock may be on it. */
  if (bdev_spec_is_uri (path) ||
      bdev_open (path, BDEV_OPEN_READ_ONLY, &peek) < 0)
    return false;
  is_same = bdev_identity (peek, &mine) == 0 &&
            bdev_identity (bdev, &other) == 0 && mine.device == other.device &&
            mine.inode == other.inode && mine.is_disk == other.is_disk;
  bdev_close (peek);
  return is_same;
}

/* Open PATH; if it cannot be written, and may be read only then, *IS_READ_ONLY
 * is set.
 */
static int
open_file (struct table_devices *t, const char *what, const char *path,
           struct block_device **bdev, bool *is_read_only)
{
  char quote[LOG_QUOTE_BYTES];
  int r = volume_open_device (&t->options, path, 0, bdev);

  if ((r == -EACCES || r == -EROFS || r == -EPERM) &&
      volume_open_device (&t->options, path, BDEV_OPEN_READ_ONLY, bdev) == 0) {
    log_warning ("%s (%s) cannot be written: its device is read-only", what,
                 log_quote (path, quote));
    *is_read_only = true;
    r = 0;
  }
  return r < 0 ? say_open_error (what, path, r) : 0;
}

/* True if PATH is that origin; of servers nothing but the name is known. */
static bool
is_origin (const struct table_origin *o, const char *path)
{
  return strcmp (o->path, path) == 0 || is_same_file (path, o->bdev);
}

static struct table_origin *
find_origin (struct table_devices *t, const char *path)
{
  unsigned i;

  for (i = 0; i < t->origin_count; ++i)
    if (is_origin (&t->origins[i], path))
      return &t->origins[i];
  return NULL;
}

/* The origin of D, which may be another one's already. */
static int
open_origin (struct table_devices *t, struct table_device *d)
{
  bool is_served = table_line_serves_origin (d->line);
  const char *path = d->line->origin;
  struct table_origin *o = find_origin (t, path);
  char quote[LOG_QUOTE_BYTES];
  int r;

  log_quote (path, quote);
  if (o != NULL && is_served) {
    log_error ("table=: two lines serve the same origin (%s); leave one of "
               "them out",
               quote);
    return -EINVAL;
  }
  if (o == NULL) {
    o = &t->origins[t->origin_count];
    r = is_served
          ? open_file (t, "the origin", path, &o->bdev, &d->device.is_read_only)
          : volume_open_device (&t->options, path, BDEV_OPEN_READ_ONLY,
                                &o->bdev);
    if (r < 0)
      return is_served ? r : say_open_error ("the origin", path, r);
    t->origin_count++;
    o->path = path;
    bdev_target_init (&o->target, o->bdev);
  }
  d->origin = o;
  if (bdev_sectors (o->bdev) >= d->line->sectors)
    return 0;
  log_error ("table=: the origin (%s) has %" PRIu64 " sectors, fewer than "
             "the length in the table, %" PRIu64 "; give that of the origin",
             quote, bdev_sectors (o->bdev), d->line->sectors);
  return -EINVAL;
}

/* Lines that serve an origin come first: it is opened for writing then. */
static int
open_origins (struct table_devices *t)
{
  unsigned pass, i;

  for (pass = 0; pass < 2; ++pass)
    for (i = 0; i < t->count; ++i) {
      struct table_device *d = &t->devices[i];
      int r = table_line_serves_origin (d->line) == (pass == 0)
                ? open_origin (t, d)
                : 0;

      if (r < 0)
        return r;
    }
  return 0;
}

/* See that the store at PATH is neither an origin nor another one's. */
static int
check_cow_is_free (struct table_devices *t, const char *path)
{
  struct table_origin *o = find_origin (t, path);
  const char *other = NULL;
  char quote[LOG_QUOTE_BYTES];
  unsigned i;

  if (o != NULL)
    other = "an origin";
  for (i = 0; i < t->count && other == NULL; ++i)
    if (t->devices[i].cow != NULL &&
        (strcmp (t->devices[i].line->cow, path) == 0 ||
         is_same_file (path, t->devices[i].cow)))
      other = "another one's COW store";
  if (other == NULL)
    return 0;
  log_error ("table=: the COW store (%s) is the same file as %s; give another "
             "one",
             log_quote (path, quote), other);
  return -EINVAL;
}

static int
open_cow (struct table_devices *t, struct table_device *d)
{
  const char *path = d->line->cow;
  int r = check_cow_is_free (t, path);

  if (r < 0)
    return r;
  if (d->line->is_persistent)
    return open_file (t, "the COW store", path, &d->cow,
                      &d->device.is_read_only);
  r = volume_open_device (&t->options, path, 0, &d->cow);
  return r < 0 ? say_open_error ("the COW store", path, r) : 0;
}

/* All stores are looked at before any is made, and those that are there are
 * read before: a mistake must change nothing.
 */
static int
open_snapshots (struct table_devices *t)
{
  unsigned pass, i;
  int r = 0;

  for (pass = 0; pass < 4; ++pass)
    for (i = 0; i < t->count; ++i) {
      struct table_device *d = &t->devices[i];

      if (!table_line_has_store (d->line))
        continue;
      if (pass == 0)
        r = open_cow (t, d);
      else if (pass == 1)
        r = table_store_check (d);
      else if (d->is_new == (pass == 3))
        r = table_store_open (d);
      if (r < 0)
        return r;
    }
  return 0;
}

/* What clients of a served origin see. */
static int
make_top (struct table_devices *t, struct table_device *d)
{
  struct table_origin *o = d->origin;
  unsigned i;
  int r;

  bdev_target_init (&d->lower, o->bdev);
  if (d->line->target == TABLE_ORIGIN)
    d->lower.target.sectors = d->line->sectors;
  r = origin_create (&d->lower.target, &d->top);
  if (r == 0)
    r = direct_snapshots_create (&o->direct);
  if (r < 0)
    return r;
  d->device.target = origin_target (d->top);
  origin_set_direct (d->top, o->direct);
  for (i = 0; i < t->count; ++i) {
    struct table_device *other = &t->devices[i];

    if (other->snapshot == NULL || other->origin != o || other == d)
      continue;
    if (other->device.is_read_only && !d->device.is_read_only) {
      log_error ("table=: the origin (%s) cannot be served while a store of "
                 "it (%s) cannot be written",
                 d->line->origin, other->line->cow);
      return -EROFS;
    }
    /* There are no more lines than it takes. */
    r = direct_snapshots_add (o->direct, other->snapshot);
    assert (r == 0);
  }
  return d->line->target == TABLE_MERGE ? table_merge_create (d) : 0;
}

static int
open_all (struct table_devices *t)
{
  unsigned i;
  int r = open_origins (t);

  if (r == 0)
    r = open_snapshots (t);
  for (i = 0; i < t->count && r == 0; ++i) {
    struct table_device *d = &t->devices[i];

    if (table_line_serves_origin (d->line))
      r = make_top (t, d);
    if (d->line->discard_passes_down)
      log_warning ("discard_passdown_origin: the origin is not trimmed, only "
                   "the snapshot is");
  }
  return r;
}

int
table_devices_open (const struct volume_spec *spec,
                    struct table_devices **devices)
{
  struct table_devices *t = calloc (1, sizeof *t);
  unsigned i;
  int r = 0;

  if (t == NULL)
    return -ENOMEM;
  mutex_init (&t->lock);
  t->options = volume_leg_options (spec);
  t->default_index = table_lines_default (spec->lines, spec->line_count);
  t->origins = calloc (spec->line_count, sizeof *t->origins);
  t->devices = calloc (spec->line_count, sizeof *t->devices);
  if (t->origins == NULL || t->devices == NULL)
    r = -ENOMEM;
  else
    r = pace_create (0, &t->pace);
  if (r == 0)
    t->count = spec->line_count;
  for (i = 0; i < t->count; ++i) {
    t->devices[i].line = &spec->lines[i];
    range_lock_init (&t->devices[i].device.range_lock);
    t->devices[i].device.pace = t->pace;
  }
  if (r == 0)
    r = open_all (t);
  if (r < 0) {
    if (r == -ENOMEM)
      log_error ("out of memory");
    table_devices_close (t);
    return r;
  }
  *devices = t;
  return 0;
}

/*----- starting and stopping -------------------------------------------*/

/* That a snapshot is lost, too, before the origin is overwritten without regard
 * to it: after a power failure it must not be valid again.
 */
static int
settle_mark (struct table_device *d)
{
  char quote[LOG_QUOTE_BYTES];
  int r = bdev_flush (d->cow);

  if (r < 0)
    log_error ("the COW store (%s), which is marked invalid, cannot be "
               "flushed: %s",
               log_quote (d->line->cow, quote), errno_text (r));
  return r;
}

/* Make durable what was found: who wrote it may have been killed.  A record
 * of a chunk, before that may be overwritten in the origin, or written to in
 * the store with FUA; and what a snapshot shows of the origin, which may be
 * read only here.
 */
static int
settle (struct table_device *d)
{
  int r;

  if (d->is_invalid)
    return settle_mark (d);
  if (d->device.is_read_only)
    return 0;
  r = table_origin_flush (d);
  if (r < 0)
    return r;
  return d->snapshot != NULL ? snapshot_settle (d->snapshot) : 0;
}

/* Why the device, once started, cannot be written: an origin needs the stores
 * of all its snapshots.
 */
static int
why_not (const struct table_devices *t, const struct table_device *d)
{
  unsigned i;

  for (i = 0; i < t->count && table_line_serves_origin (d->line); ++i)
    if (t->devices[i].origin == d->origin && t->devices[i].start_error < 0)
      return t->devices[i].start_error;
  return d->start_error;
}

/* Get ready for writes, once, before the first one. */
static int
start (struct table_devices *t)
{
  unsigned i;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&t->lock);
  if (t->kcopyd != NULL)
    return 0;
  r = kcopyd_client_create (COPY_PAGES, &t->kcopyd);
  if (r < 0) {
    log_error ("the copying to COW stores cannot be started: %s",
               errno_text (r));
    return r;
  }
  for (i = 0; i < t->count; ++i) {
    struct table_device *d = &t->devices[i];

    d->start_error = settle (d);
    if (d->snapshot != NULL)
      snapshot_set_kcopyd (d->snapshot, t->kcopyd);
  }
  for (i = 0; i < t->origin_count; ++i)
    if (t->origins[i].direct != NULL)
      direct_snapshots_set_kcopyd (t->origins[i].direct, t->kcopyd);
  /* Before a merge writes, all stores must be as they seem. */
  for (i = 0; i < t->count; ++i) {
    struct table_device *d = &t->devices[i];

    if (d->merge != NULL && !d->device.is_read_only && why_not (t, d) == 0)
      (void) table_merge_start (d->merge); /* has said why not */
  }
  return 0;
}

void
table_devices_stop (struct table_devices *devices)
{
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&devices->lock);
  if (devices->kcopyd == NULL)
    return;
  for (i = 0; i < devices->count; ++i) {
    struct table_device *d = &devices->devices[i];
    int r = 0;

    if (d->merge != NULL)
      table_merge_stop (d->merge);
    if (is_valid (d) && !d->device.is_read_only)
      r = target_flush (d->device.target);
    if (r < 0)
      log_error ("%s cannot be flushed at the end: %s",
                 d->line->cow != NULL ? d->line->cow : d->line->origin,
                 errno_text (r));
  }
  kcopyd_client_destroy (devices->kcopyd);
  devices->kcopyd = NULL;
}

void
table_devices_close (struct table_devices *devices)
{
  unsigned i;

  if (devices == NULL)
    return;
  assert (devices->kcopyd == NULL);
  for (i = 0; i < devices->count; ++i) {
    struct table_device *d = &devices->devices[i];

    table_merge_destroy (d->merge);
    origin_destroy (d->top);
    snapshot_close (d->snapshot);
    bdev_close (d->cow);
    range_lock_destroy (&d->device.range_lock);
  }
  for (i = 0; i < devices->origin_count; ++i) {
    direct_snapshots_destroy (devices->origins[i].direct);
    bdev_close (devices->origins[i].bdev);
  }
  free (devices->devices);
  free (devices->origins);
  pace_destroy (devices->pace);
  mutex_destroy (&devices->lock);
  free (devices);
}

/*----- clients ---------------------------------------------------------*/

static struct table_device *
find_device (struct table_devices *t, const char *name)
{
  unsigned i;

  if (name[0] == '\0')
    return t->default_index >= 0 ? &t->devices[t->default_index] : NULL;
  for (i = 0; i < t->count; ++i)
    if (t->devices[i].line->name != NULL &&
        strcmp (t->devices[i].line->name, name) == 0)
      return &t->devices[i];
  return NULL;
}

int
table_device_open (struct table_devices *devices, const char *name,
                   bool may_write, struct volume_device **device)
{
  struct table_device *d = find_device (devices, name);
  char quote[LOG_QUOTE_BYTES];
  int r = 0;

  if (d == NULL)
    return volume_device_say_none (name);
  if (may_write && !d->device.is_read_only) {
    r = start (devices);
    if (r == 0)
      r = why_not (devices, d);
    if (r < 0)
      return r;
  }
  if (!is_valid (d)) {
    log_error ("export '%s': the snapshot is invalid, as its store (%s) says",
               name, log_quote (d->line->cow, quote));
    return -EIO;
  }
  *device = &d->device;
  return 0;
}

int
table_devices_each_export (struct table_devices *devices, volume_export_fn fn,
                           void *opaque)
{
  char text[VOLUME_DESCRIPTION_BYTES];
  unsigned i;
  int r = 0;

  if (devices->default_index >= 0) {
    table_device_describe (&devices->devices[devices->default_index].device,
                           text);
    r = fn (opaque, "", text);
  }
  for (i = 0; i < devices->count && r == 0; ++i) {
    const struct table_device *d = &devices->devices[i];

    if (d->line->name == NULL)
      continue;
    table_device_describe (&d->device, text);
    r = fn (opaque, d->line->name, text);
  }
  return r;
}

/* The state, in the kernel's words. */
static void
describe_state (const struct table_device *d, char *text, size_t bytes)
{
  struct snapshot_status status;

  if (!is_valid (d)) {
    snprintf (text, bytes, "Invalid");
    return;
  }
  if (d->merge != NULL && table_merge_has_failed (d->merge)) {
    snprintf (text, bytes, "Merge failed");
    return;
  }
  snapshot_get_status (d->snapshot, &status);
  /* Of one that is merged, what is left. */
  if (d->merge != NULL)
    status.used_sectors = status.metadata_sectors +
                          status.chunks * status.chunk_sectors;
  if (d->line->may_overflow && status.refused_writes > 0)
    snprintf (text, bytes, "Overflow");
  else
    snprintf (text, bytes, "%" PRIu64 "/%" PRIu64 " %" PRIu64,
              status.used_sectors, status.store_sectors,
              status.metadata_sectors);
}

#define SHOWN_PATH_BYTES 60

/* The end of a long path. */
static const char *
shown_path (const char *path)
{
  size_t length = strlen (path);

  return length > SHOWN_PATH_BYTES ? path + length - SHOWN_PATH_BYTES : path;
}

void
table_device_describe (const struct volume_device *device,
                       char text[VOLUME_DESCRIPTION_BYTES])
{
  const struct table_device *d = (const struct table_device *) device;
  const struct table_line *line = d->line;
  char state[80];

  if (line->target == TABLE_ORIGIN) {
    snprintf (text, VOLUME_DESCRIPTION_BYTES,
              "0 %" PRIu64 " snapshot-origin %s", line->sectors,
              shown_path (line->origin));
    return;
  }
  describe_state (d, state, sizeof state);
  snprintf (text, VOLUME_DESCRIPTION_BYTES,
            "0 %" PRIu64 " %s %s %s %s %" PRIu64 ": %s", line->sectors,
            line->target == TABLE_MERGE ? "snapshot-merge" : "snapshot",
            shown_path (line->origin), shown_path (line->cow),
            !line->is_persistent ? "N"
            : line->may_overflow ? "PO"
                                 : "P",
            d->chunk_sectors, state);
}
