/* The verbs log info and log dump: a mirror's dirty log, offline.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Logs of ours and of the kernel (dm-log's disk log) are the same.  The file is
 * opened for reading, and is read by the code that the server uses.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>

#include "ctl.h"
#include "dirty-log.h"
#include "log-sink.h"
#include "show.h"

struct log {
  struct dirty_log_info info;
  struct dirty_log *log;
};

/* Open the log PATH for reading, with all bits that it has.  What is wrong is
 * said.
 */
static int
log_open (const char *path, struct log *log)
{
  struct block_device *bdev;
  int r;

  if (bdev_spec_is_uri (path))
    return ctl_error ("%s: give a file or a block device", path);
  r = bdev_open (path, BDEV_OPEN_READ_ONLY | BDEV_OPEN_BUFFERED, &bdev);
  if (r == -EINVAL)
    return ctl_error ("%s: its size is not a multiple of 512 bytes, so it is "
                      "no log, or was cut short",
                      path);
  if (r == -EISDIR || r == -ENOTBLK)
    return ctl_errno (r, "%s: is neither a file nor a block device", path);
  if (r < 0)
    return ctl_errno (r, "%s: cannot be opened: %s", path, errno_text (r));
  r = dirty_log_disk_read_info (bdev, &log->info);
  if (r == 0 && log->info.regions != UINT64_MAX &&
      log->info.regions > log->info.room) {
    bdev_close (bdev);
    return ctl_error ("%s: its header counts %" PRIu64 " regions, and there is "
                      "room for %" PRIu64 ": it is damaged, or was cut short",
                      path, log->info.regions, log->info.room);
  }
  if (r == 0)
    r = dirty_log_disk_open (bdev,
                             log->info.regions == UINT64_MAX
                               ? log->info.room
                               : log->info.regions,
                             DIRTY_LOG_RESIZE, &log->log);
  if (r == 0)
    return EXIT_DONE;
  bdev_close (bdev);
  /* A damaged one has been told. */
  return r == -EINVAL ? EXIT_FAILED
                      : ctl_errno (r, "%s: %s", path, errno_text (r));
}

int
run_log_info (struct ctl *ctl, const struct verb *verb,
              const struct verb_values *values)
{
  const char *path = verb_value (verb, values, "FILE");
  struct log log;
  uint64_t regions, dirty;
  bool counts_all;
  int r = log_open (path, &log);

  if (r != EXIT_DONE)
    return r;
  counts_all = log.info.regions == UINT64_MAX;
  regions = dirty_log_region_count (log.log);
  dirty = dirty_log_dirty_count (log.log);
  if (ctl->is_json) {
    json_t *info = json_pack ("{s:s, s:s, s:I, s:I, s:b, s:I, s:I}", "file",
                              path, "format", "disk", "version",
                              (json_int_t) log.info.version, "regions",
                              (json_int_t) regions, "all_bits_count",
                              (int) counts_all, "room",
                              (json_int_t) log.info.room, "dirty",
                              (json_int_t) dirty);

    r = ctl_print_json (info);
    json_decref (info);
  }
  else {
    printf ("file       %s\n", path);
    printf ("format     disk, version %" PRIu32 "\n", log.info.version);
    printf ("regions    %" PRIu64 "%s, room for %" PRIu64 "\n", regions,
            counts_all ? " (all bits count)" : "", log.info.room);
    printf ("dirty      %" PRIu64 "\n", dirty);
  }
  dirty_log_destroy (log.log);
  return r;
}

/* Runs of regions that are dirty. */
int
run_log_dump (struct ctl *ctl, const struct verb *verb,
              const struct verb_values *values)
{
  const char *path = verb_value (verb, values, "FILE");
  struct log log;
  uint64_t region = 0, regions;
  struct ctl_list list;
  int r = log_open (path, &log);

  if (r != EXIT_DONE)
    return r;
  regions = dirty_log_region_count (log.log);
  r = ctl_list_begin (&list, ctl, "# first dirty region, count");
  while (r == EXIT_DONE && dirty_log_next_dirty (log.log, &region)) {
    uint64_t first = region;

    while (region < regions && dirty_log_is_dirty (log.log, region))
      region++;
    fprintf (ctl_list_item (&list),
             list.is_json ? "{\"first\": %" PRIu64 ", \"count\": %" PRIu64 "}"
                          : "%" PRIu64 " %" PRIu64 "\n",
             first, region - first);
  }
  if (r == EXIT_DONE)
    r = ctl_list_end (&list, r);
  dirty_log_destroy (log.log);
  return r;
}
