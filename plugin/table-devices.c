/* The devices of a kernel's table of snapshots, without a volume.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: Linux 6.1 drivers/md/dm-snap.c snapshot_ctr(): what a store must be,
 * and which chunk size counts.  Differs: a store that is full refuses the
 * write, and loses nothing, whatever letter it has; a new store is made only
 * where nothing else can have been (the kernel looks at four bytes, which are
 * zeroes in many file systems, too).
 *
 * States:
 *   OPEN -> STARTED [start]: the store has been flushed, chunks are copied
 *   any  -> STOPPED [table_devices_stop]
 *
 * Locks: `lock`, for starting, outside those of the snapshot.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bdev-target.h"
#include "bits.h"
#include "exception-store.h"
#include "table-devices.h"
#include "table-line.h"
#include "volume-impl.h"

/* Pages for the copies: eight parts of a job at once. */
#define COPY_PAGES \
  (8 * (unsigned) (KCOPYD_SUB_JOB_SECTORS * SECTOR_SIZE / DM_PAGE_SIZE))

/* The kernel's chunk where the table has 0. */
#define DEFAULT_CHUNK_SECTORS 32

/* What must be zeroes where a store is to be made: file systems, partitions
 * and the like have something there.
 */
#define BLANK_SECTORS 8

/* One line, as it is served. */
struct table_device {
  struct volume_device device; /* the first: clients have this */
  const struct table_line *line;
  sector_t chunk_sectors; /* of the store */
  struct block_device *origin;
  struct bdev_target origin_target;
  struct block_device *cow;  /* the snapshot's, once there is one */
  struct snapshot *snapshot; /* NULL: the store is marked invalid */
};

struct table_devices {
  struct volume_leg_options options;
  struct table_device only;

  struct mutex lock;
  struct kcopyd_client *kcopyd; /* once started */
};

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

static int
open_origin (struct table_devices *t, struct table_device *d)
{
  const char *path = d->line->origin;
  char quote[LOG_QUOTE_BYTES];
  int r = volume_open_device (&t->options, path, BDEV_OPEN_READ_ONLY,
                              &d->origin);

  if (r < 0)
    return say_open_error ("the origin", path, r);
  if (bdev_sectors (d->origin) < d->line->sectors) {
    log_error ("table=: the origin (%s) has %" PRIu64 " sectors, fewer than "
               "the length in the table, %" PRIu64 "; give that of the origin",
               log_quote (path, quote), bdev_sectors (d->origin),
               d->line->sectors);
    return -EINVAL;
  }
  bdev_target_init (&d->origin_target, d->origin);
  return 0;
}

static int
open_cow (struct table_devices *t, struct table_device *d)
{
  const char *path = d->line->cow;
  char quote[LOG_QUOTE_BYTES];
  int r;

  if (is_same_file (path, d->origin)) {
    log_error ("table=: the COW store (%s) is the same file as the origin; "
               "give another one",
               log_quote (path, quote));
    return -EINVAL;
  }
  r = volume_open_device (&t->options, path, 0, &d->cow);
  if ((r == -EACCES || r == -EROFS || r == -EPERM) && d->line->is_persistent &&
      volume_open_device (&t->options, path, BDEV_OPEN_READ_ONLY, &d->cow) ==
        0) {
    d->device.is_read_only = true;
    log_warning ("the snapshot is read-only: its store (%s) cannot be written",
                 log_quote (path, quote));
    r = 0;
  }
  return r < 0 ? say_open_error ("the COW store", path, r) : 0;
}

/*----- chunks ----------------------------------------------------------*/

static sector_t
block_sectors (struct block_device *bdev)
{
  struct bdev_limits limits;

  bdev_get_limits (bdev, &limits);
  return div_round_up (limits.block_bytes, SECTOR_SIZE);
}

static int
check_blocks (const struct table_device *d, const char *what,
              struct block_device *bdev)
{
  char quote[LOG_QUOTE_BYTES];

  if (d->chunk_sectors % block_sectors (bdev) == 0)
    return 0;
  log_error ("table=: chunks of %" PRIu64 " sectors are not whole blocks of "
             "%s (%s), which have %" PRIu64 " sectors",
             d->chunk_sectors, what, log_quote (bdev_name (bdev), quote),
             block_sectors (bdev));
  return -EINVAL;
}

/* The chunk size of a store that does not say. */
static int
decide_chunk (struct table_device *d)
{
  int r;

  d->chunk_sectors = d->line->chunk_sectors;
  if (d->chunk_sectors == 0)
    d->chunk_sectors = MAX_OF (DEFAULT_CHUNK_SECTORS, block_sectors (d->cow));
  r = check_blocks (d, "the origin", d->origin);
  return r < 0 ? r : check_blocks (d, "the COW store", d->cow);
}

/*----- stores ----------------------------------------------------------*/

/* As the kernel does: a store that begins with zeroes is none yet. */
static int
look_at_store (struct block_device *cow, bool *is_new, bool *is_blank)
{
  unsigned char data[BLANK_SECTORS * SECTOR_SIZE] = { 0 };
  sector_t count = MIN_OF (bdev_sectors (cow), (sector_t) BLANK_SECTORS);
  struct iovec iov = { data, sector_to_bytes (count) };
  uint32_t magic;
  size_t i;
  int r = bdev_read (cow, &iov, 1, 0);

  if (r < 0)
    return r;
  memcpy (&magic, data, sizeof magic);
  *is_new = magic == 0;
  *is_blank = true;
  for (i = 0; i < iov.iov_len; ++i)
    if (data[i] != 0)
      *is_blank = false;
  return 0;
}

static int
check_new_store (struct table_device *d, bool is_blank)
{
  char quote[LOG_QUOTE_BYTES];
  int r;

  log_quote (d->line->cow, quote);
  if (d->device.is_read_only) {
    log_error ("table=: the COW store (%s) is empty, and cannot be written; "
               "check its mode and owner",
               quote);
    return -EROFS;
  }
  if (!is_blank) {
    log_error ("table=: the COW store (%s) is none, and something else may be "
               "there; to lose that, fill its first %d bytes with zeroes",
               quote, BLANK_SECTORS * SECTOR_SIZE);
    return -EINVAL;
  }
  r = decide_chunk (d);
  if (r < 0)
    return r;
  if (d->chunk_sectors > EXCEPTION_STORE_MAX_CHUNK_SECTORS) {
    log_error ("table=: chunks of %" PRIu64 " sectors: a store (%s) can be "
               "made and used here with up to %d",
               d->chunk_sectors, quote, EXCEPTION_STORE_MAX_CHUNK_SECTORS);
    return -EINVAL;
  }
  if (bdev_sectors (d->cow) <
      exception_store_min_size (STORE_PERSISTENT, d->chunk_sectors)) {
    log_error ("table=: the COW store (%s) has %" PRIu64 " sectors, too few "
               "for chunks of %" PRIu64 "; give a larger one",
               quote, bdev_sectors (d->cow), d->chunk_sectors);
    return -ENOSPC;
  }
  return 0;
}

/* What the header of a store says, which counts for more than the table. */
static int
check_old_store (struct table_device *d, bool *is_valid)
{
  sector_t asked = d->line->chunk_sectors;
  struct exception_store *store;
  char quote[LOG_QUOTE_BYTES];
  int r = exception_store_open (d->cow, bdev_sectors (d->origin), &store);

  if (r < 0)
    return r;
  d->chunk_sectors = exception_store_chunk_sectors (store);
  *is_valid = exception_store_is_valid (store);
  exception_store_close (store);
  log_quote (d->line->cow, quote);
  if (asked != 0 && asked != d->chunk_sectors)
    log_warning ("the store %s has chunks of %" PRIu64
                 " sectors, which counts, "
                 "and not the %" PRIu64 " of the table",
                 quote, d->chunk_sectors, asked);
  if (!*is_valid)
    log_warning ("the store %s is marked invalid: the snapshot is lost, and "
                 "nobody can open it; fill its first %d bytes with zeroes to "
                 "begin a new one",
                 quote, BLANK_SECTORS * SECTOR_SIZE);
  return 0;
}

/* Open the snapshot, whose store is there, or transient. */
static int
open_snapshot (struct table_device *d)
{
  char quote[LOG_QUOTE_BYTES];
  struct snapshot_params params = {
    .name = log_quote (d->line->cow, quote),
    .cow = d->cow,
    .transient_chunk_sectors = d->line->is_persistent ? 0 : d->chunk_sectors,
    .is_valid = true,
    .is_read_only = d->device.is_read_only,
    .on_cow_error = BREAK_SNAPSHOT,
    .origin = &d->origin_target.target,
    .sectors = d->line->sectors,
  };
  int r = snapshot_open (&params, &d->snapshot);

  if (r < 0)
    return r;
  d->cow = NULL; /* it is the snapshot's now */
  d->device.target = snapshot_target (d->snapshot);
  return 0;
}

static int
open_transient (struct table_device *d)
{
  char quote[LOG_QUOTE_BYTES];
  int r = decide_chunk (d);

  if (r < 0)
    return r;
  r = open_snapshot (d);
  if (r == -ENOSPC)
    log_error ("table=: the COW store (%s) has %" PRIu64 " sectors, fewer "
               "than a chunk of %" PRIu64 "; give a larger one",
               log_quote (d->line->cow, quote), bdev_sectors (d->cow),
               d->chunk_sectors);
  return r;
}

static int
open_store (struct table_device *d)
{
  bool is_new, is_blank, is_valid = true;
  char quote[LOG_QUOTE_BYTES];
  int r;

  if (!d->line->is_persistent)
    return open_transient (d);
  r = bdev_sectors (d->cow) > 0 ? look_at_store (d->cow, &is_new, &is_blank)
                                : -ENOSPC;
  if (r == 0)
    r = is_new ? check_new_store (d, is_blank) : check_old_store (d, &is_valid);
  else
    log_error ("table=: the COW store (%s) cannot be read: %s",
               log_quote (d->line->cow, quote), errno_text (r));
  if (r < 0 || !is_valid)
    return r;
  if (is_new) {
    r = exception_store_format (d->cow, d->chunk_sectors);
    if (r < 0) {
      log_error ("table=: a store cannot be made on %s: %s",
                 log_quote (d->line->cow, quote), errno_text (r));
      return r;
    }
  }
  return open_snapshot (d);
}

int
table_devices_open (const struct volume_spec *spec,
                    struct table_devices **devices)
{
  struct table_devices *t = calloc (1, sizeof *t);
  struct table_device *d;
  int r;

  assert (spec->line_count == 1);
  if (t == NULL)
    return -ENOMEM;
  t->options = (struct volume_leg_options){ spec->direct,
                                            spec->leg_timeout_ms };
  mutex_init (&t->lock);
  d = &t->only;
  range_lock_init (&d->device.range_lock);
  d->line = &spec->lines[0];
  r = open_origin (t, d);
  if (r == 0)
    r = open_cow (t, d);
  if (r == 0)
    r = open_store (d);
  if (r < 0) {
    if (r == -ENOMEM)
      log_error ("out of memory");
    table_devices_close (t);
    return r;
  }
  if (d->line->discard_passes_down)
    log_warning ("discard_passdown_origin: the origin is never touched; only "
                 "the snapshot is trimmed");
  *devices = t;
  return 0;
}

/*----- starting and stopping -------------------------------------------*/

/* Get ready for writes, once, before the first one. */
static int
start (struct table_devices *t)
{
  struct table_device *d = &t->only;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&t->lock);
  if (t->kcopyd != NULL)
    return 0;
  /* Who wrote the records that were found may have been killed: a write with
   * FUA to a chunk is worth nothing while its record is not durable.
   */
  r = target_flush (d->device.target);
  if (r < 0) {
    log_error ("the COW store (%s) cannot be flushed: %s", d->line->cow,
               errno_text (r));
    return r;
  }
  r = kcopyd_client_create (COPY_PAGES, &t->kcopyd);
  if (r < 0) {
    log_error ("the copying to the COW store cannot be started: %s",
               errno_text (r));
    return r;
  }
  snapshot_set_kcopyd (d->snapshot, t->kcopyd);
  return 0;
}

void
table_devices_stop (struct table_devices *devices)
{
  struct table_device *d = &devices->only;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&devices->lock);
  if (devices->kcopyd == NULL)
    return;
  r = target_flush (d->device.target);
  if (r < 0)
    log_error ("the COW store (%s) cannot be flushed at the end: %s",
               d->line->cow, errno_text (r));
  kcopyd_client_destroy (devices->kcopyd);
  devices->kcopyd = NULL;
}

void
table_devices_close (struct table_devices *devices)
{
  struct table_device *d;

  if (devices == NULL)
    return;
  assert (devices->kcopyd == NULL);
  d = &devices->only;
  snapshot_close (d->snapshot);
  bdev_close (d->cow);
  bdev_close (d->origin);
  range_lock_destroy (&d->device.range_lock);
  mutex_destroy (&devices->lock);
  free (devices);
}

/*----- clients ---------------------------------------------------------*/

int
table_device_open (struct table_devices *devices, const char *name,
                   bool may_write, struct volume_device **device)
{
  struct table_device *d = &devices->only;
  int r;

  if (name[0] != '\0')
    return volume_device_say_none (name);
  if (d->snapshot == NULL || !snapshot_is_valid (d->snapshot)) {
    log_error ("export '': the snapshot is invalid: its store is marked so");
    return -EIO;
  }
  r = may_write && !d->device.is_read_only ? start (devices) : 0;
  if (r < 0)
    return r;
  *device = &d->device;
  return 0;
}

int
table_devices_each_export (struct table_devices *devices, volume_export_fn fn,
                           void *opaque)
{
  char text[VOLUME_DESCRIPTION_BYTES];

  table_device_describe (&devices->only.device, text);
  return fn (opaque, "", text);
}

/* The state, in the kernel's words. */
static void
describe_state (const struct table_device *d, char *text, size_t bytes)
{
  struct snapshot_status status;

  if (d->snapshot == NULL || !snapshot_is_valid (d->snapshot)) {
    snprintf (text, bytes, "Invalid");
    return;
  }
  snapshot_get_status (d->snapshot, &status);
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

  describe_state (d, state, sizeof state);
  snprintf (text, VOLUME_DESCRIPTION_BYTES,
            "0 %" PRIu64 " snapshot %s %s %s %" PRIu64 ": %s", line->sectors,
            shown_path (line->origin), shown_path (line->cow),
            !line->is_persistent ? "N"
            : line->may_overflow ? "PO"
                                 : "P",
            d->chunk_sectors, state);
}
