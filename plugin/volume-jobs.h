/* What goes on in the background, each with a number: jobs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A job has its number from its beginning to its end, and no other job of
 * this server has it; the events of its beginning and end tell it.  But of the
 * copying that comes before a roll-back there is none: it changes nothing.
 */

#ifndef DM_VOLUME_JOBS_H
#define DM_VOLUME_JOBS_H

#include "manifest.h"
#include "volume-admin.h"
#include "volume-status.h"

enum job_kind {
  JOB_RESYNC,
  JOB_SCRUB,
  JOB_RESTORE,  /* what an older snapshot holds is copied, for a roll-back */
  JOB_ROLLBACK, /* chunks of a snapshot are moved to the legs */
  JOB_REMOVE,   /* chunks of a snapshot are handed down to the older one */
};

const char *job_kind_name (enum job_kind kind);

struct volume_job {
  uint64_t id; /* from 1 on */
  enum job_kind kind;
  char name[SNAPSHOT_NAME_MAX + 1]; /* of the snapshot, or empty */
  bool is_paused;
  bool can_be_cancelled;
  uint64_t done_bytes, total_bytes; /* of a removal: places looked at */
};

/* All there are, the oldest first, for free().  Returns 0 or -ENOMEM.  Waits
 * for what volume_get_status waits for.
 */
int volume_get_jobs (struct volume *v, struct volume_job **jobs,
                     unsigned *count);

/* Cancel job ID, as far as that does no harm: a scrub ends; a resync is
 * paused, and what it has copied stays.  Returns as the calls of
 * volume-admin.h; 1: it is over, or paused, already; -ENOENT: there was none
 * of that number; -EBUSY: it must be ended, and WHY says why.
 */
int volume_job_cancel (struct volume *v, uint64_t id, struct volume_why *why);

/* The same for a JOB_RESTORE, whose caller gets -ECANCELED then; it would keep
 * the call above waiting until it is over.  Never waits.  Returns 0, or
 * -EAGAIN: it is not one.
 */
int volume_job_cancel_restore (struct volume *v, uint64_t id);

#endif /* DM_VOLUME_JOBS_H */
