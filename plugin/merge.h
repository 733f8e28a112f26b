/* Rolling back: a snapshot is folded into the device that it is of.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_MERGE_H
#define DM_MERGE_H

#include "range-lock.h"
#include "snapshot.h"
#include "target.h"

struct merge;

/* Fold SNAPSHOT into LOWER, which is its origin.  It is leaving the chain
 * (snapshot_leave): it gets no more chunks.  Both outlive the merge, or its
 * end.  Returns 0 or -ENOMEM.
 */
int merge_create (struct snapshot *snapshot, struct target *lower,
                  struct merge **merge);

/* MERGE keeps OLDER, which has ended, for those who still come that way, and
 * destroys it at its own end.  NULL: there is none.
 */
void merge_set_older (struct merge *merge, struct merge *older);

/* What LOWER is to become, from now on and at the end. */
struct target *merge_target (struct merge *merge);

/* Move some chunks, the last ones first: at most MERGE_STEP_BYTES, but at least
 * a chunk.  RANGE_LOCK is the one in which all who write to the target hold
 * their range; it holds that of the chunks, and nothing once it has returned.
 * One caller at a time.  Returns 1, 0 when there are no more, or an error of
 * the store or of LOWER: then it can be tried again, and all that is read and
 * written meanwhile is right.  *BYTES is what was moved.
 */
#define MERGE_STEP_BYTES (1U << 20)
int merge_step (struct merge *merge, struct range_lock *range_lock,
                uint64_t *bytes);

/* There are no more: from now on the target is LOWER, and the snapshot is not
 * used any more.
 */
void merge_end (struct merge *merge);

/* Nothing is in flight.  NULL is ignored. */
void merge_destroy (struct merge *merge);

#endif /* DM_MERGE_H */
