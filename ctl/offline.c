/* A volume's folder, read while nobody serves it.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "exception-store.h"
#include "manifest.h"
#include "offline.h"
#include "volume-status.h"

static json_t *
text_or_null (const char *text)
{
  return text != NULL ? json_string (text) : json_null ();
}

static json_t *
leg_json (unsigned index, const struct manifest_leg *leg)
{
  return json_pack (
    "{s:i, s:s, s:s, s:b, s:i, s:i, s:i, s:i, s:{s:i, s:i, s:i}, s:o}", "index",
    (int) index, "spec", leg->spec, "state", leg_state_name (leg->state),
    "write_mostly", 0, "reads", 0, "writes", 0, "read_bytes", 0, "write_bytes",
    0, "errors", "read", 0, "write", 0, "flush", 0, "reason",
    text_or_null (leg->reason));
}

static int
count_chunk (void *opaque, const struct exception *exception)
{
  (void) exception;
  ++*(json_int_t *) opaque;
  return 0;
}

/* Does a server have the file?  It is asked without a lock of our own, which
 * would be in the way of one that starts just now.
 */
static bool
is_in_use (int fd)
{
  struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

  return fcntl (fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Open the store PATH, without any lock. */
static int
open_store (const char *path, struct block_device **bdev)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  int r;

  if (fd == -1)
    return -errno;
  r = is_in_use (fd)
        ? -EBUSY
        : bdev_open_fd (fd, path, BDEV_OPEN_READ_ONLY | BDEV_OPEN_BUFFERED,
                        bdev);
  if (r < 0)
    (void) close (fd);
  return r;
}

/* What is in the store, as far as it can be read; what is wrong is said. */
static void
look_at_store (struct meta_dir *dir, const struct manifest *m,
               const struct manifest_snapshot *s, json_int_t *chunks,
               struct exception_store_usage *usage)
{
  struct exception_store *store = NULL;
  struct block_device *bdev;
  char *path;
  int r = -ENOMEM;

  if (asprintf (&path, "%s/%s", meta_dir_path (dir), s->store) != -1) {
    r = open_store (path, &bdev);
    free (path);
  }
  if (r == -EBUSY)
    (void) ctl_errno (r,
                      "%s/%s: what is in it is not known: a server uses it, "
                      "and no control socket of its answers; start it with "
                      "control=SOCKET",
                      meta_dir_path (dir), s->store);
  else if (r < 0)
    (void) ctl_errno (r, "%s/%s: cannot be opened: %s", meta_dir_path (dir),
                      s->store, errno_text (r));
  if (r < 0)
    return;
  usage->total_sectors = bdev_sectors (bdev);
  r = exception_store_open (bdev, m->size_bytes >> SECTOR_SHIFT, &store);
  if (r == 0 && exception_store_load (store, count_chunk, chunks) == 0)
    exception_store_get_usage (store, usage);
  exception_store_close (store);
  bdev_close (bdev);
}

static const char *
snapshot_state_name (enum manifest_snapshot_state state)
{
  switch (state) {
  case SNAPSHOT_VALID:
    return "valid";
  case SNAPSHOT_MERGING:
    return "merging";
  case SNAPSHOT_STAGING:
  case SNAPSHOT_REMOVING:
    return "removing";
  default:
    return "invalid";
  }
}

static json_t *
snapshot_json (struct meta_dir *dir, const struct manifest *m,
               const struct manifest_snapshot *s, const char *origin)
{
  struct exception_store_usage usage = { 0 };
  json_int_t chunks = 0;

  if (s->state == SNAPSHOT_VALID)
    look_at_store (dir, m, s, &chunks, &usage);
  return json_pack ("{s:s, s:s, s:o, s:s, s:b, s:I, s:I, s:I, s:I, s:s, s:s}",
                    "name", s->name, "state", snapshot_state_name (s->state),
                    "reason", text_or_null (s->reason), "created", s->created,
                    "read_only", (int) s->is_read_only, "chunk_size",
                    (json_int_t) s->chunk_bytes, "chunks", chunks, "used_bytes",
                    (json_int_t) sector_to_bytes (usage.used_sectors),
                    "store_bytes",
                    (json_int_t) sector_to_bytes (usage.total_sectors), "store",
                    "persistent", "origin", origin);
}

/* As far as the manifest knows: a server that was killed has said that it
 * was not clean.
 */
static enum volume_state
state_of (const struct manifest *m)
{
  enum volume_state state = m->is_clean ? VOLUME_HEALTHY : VOLUME_RESYNCING;
  unsigned i;

  for (i = 0; i < m->leg_count; ++i) {
    if (m->legs[i].state == LEG_FAILED)
      return VOLUME_DEGRADED;
    if (m->legs[i].state == LEG_RECOVERING)
      state = VOLUME_RESYNCING;
  }
  return state;
}

static json_t *
status_json (struct meta_dir *dir, const struct manifest *m)
{
  json_t *legs = json_array (), *snapshots = json_array ();
  const char *origin = "";
  unsigned i;

  for (i = 0; i < m->leg_count; ++i)
    (void) json_array_append_new (legs, leg_json (i, &m->legs[i]));
  for (i = m->snapshot_count; i-- > 0;) {
    const struct manifest_snapshot *s = &m->snapshots[i];

    if (s->state == SNAPSHOT_CREATING)
      continue;
    (void) json_array_append_new (snapshots, snapshot_json (dir, m, s, origin));
    origin = s->name;
  }
  return json_pack (
    "{s:i, s:{s:I, s:s, s:I, s:s, s:b, s:b}, s:o, s:{s:I, s:I, s:i, s:i},"
    " s:{s:s, s:b, s:i, s:i, s:i, s:n}, s:{s:s, s:i, s:i, s:i, s:i}, s:o, s:b}",
    "version", 1, "volume", "size", (json_int_t) m->size_bytes, "state",
    volume_state_name (state_of (m)), "generation", (json_int_t) m->generation,
    "meta", meta_dir_path (dir), "read_only", 0, "started", 0, "legs", legs,
    "regions", "size", (json_int_t) m->region_bytes, "total",
    (json_int_t) ((m->size_bytes + m->region_bytes - 1) / m->region_bytes),
    "insync", 0, "dirty", 0, "resync", "state", "idle", "paused", 0,
    "done_bytes", 0, "total_bytes", 0, "rate", 0, "eta_seconds", "scrub",
    "state", "idle", "done_bytes", 0, "total_bytes", 0, "mismatches", 0,
    "repaired", 0, "snapshots", snapshots, "offline", 1);
}

json_t *
offline_status (const char *dir)
{
  struct meta_dir *d;
  struct manifest *m;
  json_t *status;
  int r = meta_dir_look (dir, &d);

  if (r < 0) {
    (void) ctl_errno (r, "%s: cannot be opened: %s", dir, errno_text (r));
    return NULL;
  }
  r = manifest_load (d, &m);
  if (r < 0) {
    if (r == -ENOENT)
      (void)
        ctl_errno (r,
                   "%s: is not the folder of a volume: it has no " MANIFEST_FILE
                   ", which comes with the first client",
                   dir);
    else if (r == -ENOMEM)
      (void) ctl_error ("out of memory");
    meta_dir_close (d);
    return NULL;
  }
  status = status_json (d, m);
  if (status == NULL)
    (void) ctl_error ("%s/" MANIFEST_FILE ": has names that are not UTF-8",
                      dir);
  manifest_free (m);
  meta_dir_close (d);
  return status;
}
