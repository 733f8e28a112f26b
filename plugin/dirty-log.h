/* The dirty log: which regions of a mirror may differ between its legs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A bit for each region: clean, all legs hold the same; or dirty, they may
 * not.  Marks and clearings change memory; dirty_log_flush makes them
 * durable, one flush for all who wait.  The core log only has memory; the
 * disk log is a file in the kernel's format (docs/FORMATS.md).
 *
 * Functions return 0 or a negative errno and may be called from any thread,
 * unless they say otherwise.
 */

#ifndef DM_DIRTY_LOG_H
#define DM_DIRTY_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "block-device.h"

#define DIRTY_LOG_FILE "dirty.log"

/* More are refused, as the kernel does. */
#define DIRTY_LOG_MAX_REGIONS UINT32_MAX

struct dirty_log;

/*----- making one ------------------------------------------------------*/

/* A log in memory, all clean or all dirty.  Returns 0, -ENOMEM or -E2BIG.
 */
int dirty_log_core_create (uint64_t regions, bool is_clean,
                           struct dirty_log **log);

/* A log that will be on disk, all clean or all dirty.  Until
 * dirty_log_disk_attach it has no device: flushing it does nothing.
 * Returns 0, -ENOMEM or -E2BIG.
 */
int dirty_log_disk_create (uint64_t regions, bool is_clean,
                           struct dirty_log **log);

/* So large must a device for it be. */
uint64_t dirty_log_disk_bytes (uint64_t regions);

/* Give it its device, which it closes.  All of the log is written by the
 * next flush.  Nobody else uses the log yet.  Returns 0, or -EINVAL (too
 * small), and then the device is still the caller's.
 */
int dirty_log_disk_attach (struct dirty_log *log, struct block_device *bdev);

/* The log was made for another number of regions, of the same size: what
 * there is in both is kept, what is new is dirty.
 */
#define DIRTY_LOG_RESIZE (1U << 0)

/* Read and check the log that is on BDEV, ours or the kernel's.  Nothing is
 * written before the first flush, which puts right what the kernel would put
 * right: version 1, the number of regions, the bits behind the last one.  On
 * success the log closes BDEV.  Errors: -EINVAL (no log, damaged, or of
 * another size: a message says what and what to do), -ENOMEM, -E2BIG, and
 * those of reading.
 */
int dirty_log_disk_open (struct block_device *bdev, uint64_t regions,
                         unsigned flags, struct dirty_log **log);

/* What the header says, for who wants to look only.  To see the bits, open
 * the log with DIRTY_LOG_RESIZE and as many regions as there are.  Errors: as
 * for dirty_log_disk_open.
 */
struct dirty_log_info {
  uint32_t version;
  uint64_t regions; /* UINT64_MAX: LVM's "all bits count" */
  uint64_t room;    /* bits that there are */
};
int dirty_log_disk_read_info (struct block_device *bdev,
                              struct dirty_log_info *info);

/* Free it.  Does not flush.  NULL is ignored. */
void dirty_log_destroy (struct dirty_log *log);

/*----- looking ---------------------------------------------------------*/

uint64_t dirty_log_region_count (const struct dirty_log *log);
uint64_t dirty_log_dirty_count (const struct dirty_log *log);
bool dirty_log_is_dirty (const struct dirty_log *log, uint64_t region);

/* The first dirty region at or behind *REGION; false if there is none. */
bool dirty_log_next_dirty (const struct dirty_log *log, uint64_t *region);

struct dirty_log_status {
  const char *type; /* "core" or "disk" */
  uint64_t regions, dirty;
  uint64_t writes;  /* to the device, of one or more sectors */
  uint64_t flushes; /* of the device */
  int error;        /* 0, or why it can't be written any more */
};
void dirty_log_get_status (struct dirty_log *log,
                           struct dirty_log_status *status);

/*----- changing --------------------------------------------------------*/

/* Mark regions FIRST to LAST dirty, or clear the mark, in memory.  Who
 * clears it has flushed the legs.
 */
void dirty_log_mark (struct dirty_log *log, uint64_t first, uint64_t last);
void dirty_log_clear (struct dirty_log *log, uint64_t first, uint64_t last);

/* Make all changes durable that were made before this call, by one write of
 * the sectors that have changed, and one flush, for all who wait.  Free if
 * there were none, but the first after opening, since what was read may not be
 * durable.  Once it has failed it fails for ever, with the same
 * error: what is on disk is not known any more.
 */
int dirty_log_flush (struct dirty_log *log);

#endif /* DM_DIRTY_LOG_H */
