/* The dirty log of a volume: opening it, and making it durable in time.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The order.  The manifest says of legs that the log holds for them: a region
 * that is clean there is the same on each.  So the log is made, and marked
 * where it does not hold for legs that come in now, durably, before the
 * manifest is saved for the first time; and nothing is written to a leg
 * before that.  What is in DIR/dirty.log while the manifest does not
 * say "disk" is worth nothing.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "bits.h"
#include "log-sink.h"
#include "region-hash.h"
#include "volume-impl.h"

/* Read the log that the manifest tells of. */
static int
open_disk_log (struct volume *v, uint64_t regions, struct dirty_log **log)
{
  struct block_device *bdev;
  int r = meta_dir_open_store (v->dir, DIRTY_LOG_FILE, &bdev);

  if (r == -ENOENT) {
    log_warning ("%s/%s: is not there; all regions are taken to be dirty, "
                 "unless the legs are known to be equal",
                 meta_dir_path (v->dir), DIRTY_LOG_FILE);
    return r;
  }
  if (r < 0) {
    log_error ("%s/%s: cannot be opened: %s; check its mode and owner, or "
               "remove it: then all is taken to be dirty, and copied at the "
               "next start",
               meta_dir_path (v->dir), DIRTY_LOG_FILE, errno_text (r));
    return r;
  }
  r = dirty_log_disk_open (bdev, regions, 0, log);
  if (r < 0)
    bdev_close (bdev);
  return r;
}

/* The log of a table, which is somewhere.  As the kernel does it: sync or
 * nosync begin a new one.
 */
static int
open_table_log (const struct volume_spec *spec, uint64_t regions,
                struct dirty_log **log)
{
  char shown[LOG_QUOTE_BYTES];
  struct block_device *bdev;
  int r = bdev_open (spec->log_path, BDEV_OPEN_EXCLUSIVE, &bdev);

  log_quote (spec->log_path, shown);
  if (r < 0) {
    log_error ("table=: the log %s cannot be opened: %s; it must be a file of "
               "%" PRIu64 " bytes or more, or a disk, that nobody uses",
               shown, errno_text (r), dirty_log_disk_bytes (regions));
    return r;
  }
  if (spec->sync == SYNC_AUTO)
    r = dirty_log_disk_open (bdev, regions, DIRTY_LOG_RESIZE, log);
  else {
    *log = NULL;
    r = dirty_log_disk_create (regions, spec->sync == SYNC_NONE, log);
    if (r == 0)
      r = dirty_log_disk_attach (*log, bdev);
    if (r < 0)
      dirty_log_destroy (*log);
  }
  if (r < 0) {
    log_error ("table=: the log %s cannot be used; it needs %" PRIu64
               " bytes, and to begin a new one there, say sync or nosync in "
               "the table",
               shown, dirty_log_disk_bytes (regions));
    bdev_close (bdev);
  }
  return r;
}

int
volume_open_log (struct volume *v, const struct volume_spec *spec,
                 const struct volume_legs *legs, uint64_t region_bytes,
                 struct dirty_log **log)
{
  uint64_t regions = div_round_up (legs->size_bytes, region_bytes);
  /* A leg alone cannot differ, so it is never marked; when there is another
   * one that must be copied, all is dirty already.
   */
  bool is_clean = legs->is_in_sync && legs->log_holds && legs->count > 1;
  unsigned i;
  int r = -ENOENT;

  for (i = 0; i < legs->count; ++i)
    if (legs->legs[i].state == LEG_MISSING)
      is_clean = false; /* what it lacks is not known without a log */

  if (regions > REGION_HASH_MAX_REGIONS) {
    log_error ("region-size=%" PRIu64 ": makes too many regions; give a "
               "larger one",
               region_bytes);
    return -E2BIG;
  }
  if (spec->log_path != NULL)
    return open_table_log (spec, regions, log);
  if (v->dir == NULL)
    return dirty_log_core_create (regions, legs->is_in_sync, log);

  if (v->manifest != NULL && v->manifest->log == MANIFEST_LOG_DISK)
    r = open_disk_log (v, regions, log);
  if (r == 0) {
    v->log_has_file = true;
    if (!legs->log_holds)
      dirty_log_mark (*log, 0, regions - 1);
  }
  else if (r == -ENOENT)
    /* Legs that are equal now are so without one, until they are written. */
    r = dirty_log_disk_create (regions, is_clean, log);
  if (r == 0)
    v->log = *log;
  return r;
}

/* Make the file for a log that has none. */
static int
make_file (struct volume *v)
{
  uint64_t bytes = dirty_log_disk_bytes (dirty_log_region_count (v->log));
  struct block_device *bdev;
  int r;

  /* One may have been left, by a start that was killed, or when it could
   * not be written.
   */
  r = meta_dir_remove_file (v->dir, DIRTY_LOG_FILE);
  if (r == 0)
    r = meta_dir_create_store (v->dir, DIRTY_LOG_FILE, bytes, &bdev);
  if (r < 0)
    return r;
  r = dirty_log_disk_attach (v->log, bdev);
  if (r < 0)
    bdev_close (bdev);
  return r;
}

void
volume_settle_log (struct volume *v)
{
  int r = 0;

  if (v->log == NULL)
    return;
  v->manifest->log = MANIFEST_LOG_DISK;
  if (!v->log_has_file)
    r = make_file (v);
  if (r == 0)
    r = dirty_log_flush (v->log);
  v->log = NULL;
  if (r < 0) {
    log_error ("%s/%s: cannot be written: %s; all regions are taken to be "
               "dirty, so a crash, or a leg that comes back, will cost a full "
               "resync; make room or mend the disk, and start again",
               meta_dir_path (v->dir), DIRTY_LOG_FILE, errno_text (r));
    v->manifest->log = MANIFEST_LOG_FAILED;
    mirror_give_up_log (v->mirror);
  }
}

int
volume_log_failed (void *opaque, int error)
{
  struct volume *v = opaque;
  enum manifest_log old;
  int r;

  if (v->manifest == NULL)
    return error;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  old = v->manifest->log;
  v->manifest->log = MANIFEST_LOG_FAILED;
  r = volume_save_manifest (v);
  if (r < 0)
    v->manifest->log = old;
  return r;
}
