/* kcopyd: copies one io_region to several, in the background.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The names and signatures are those of the Linux kernel's classic kcopyd.
 * Model: Linux 2.6.12 to 6.1 drivers/md/dm-kcopyd.c: page reserve for each
 * client, jobs cut into sub-jobs, read and write errors apart, callbacks
 * on one thread.  Differs: write errors are never lost; what could not be
 * read is never written; a job larger than the reserve still makes
 * progress; the error bits of a large job are those of all its parts.
 */

#ifndef DMIO_KCOPYD_H
#define DMIO_KCOPYD_H

#include "dm-io.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Destinations of one job. */
#define KCOPYD_MAX_REGIONS 8

/* A job is read and written in parts of at most so much. */
#define KCOPYD_SUB_JOB_SECTORS ((sector_t) (512 * 1024 / 512))

/* Flags of a job, as bit numbers: 1U << KCOPYD_IGNORE_ERROR.  Go on with
 * the rest after an error; the part that could not be read is not
 * written.
 */
#define KCOPYD_IGNORE_ERROR 1

struct kcopyd_client;

/* The end of a job.  READ_ERR: not 0 if anything could not be read.
 * WRITE_ERR: bit i is set if anything could not be written to
 * destination i.  Without errors every destination holds a copy (not yet
 * flushed).  After a read error without KCOPYD_IGNORE_ERROR, parts
 * not yet begun were left alone.
 *
 * Always called on the client's own thread, one call after another.  That
 * may be before kcopyd_copy has returned: what it needs must be ready
 * before the call.  It may start new jobs of
 * any client, but not destroy its own, and delays the other callbacks of
 * its client while it runs.
 */
typedef void (*kcopyd_notify_fn) (int read_err, unsigned int write_err,
                                  void *context);

/* Make a client with a reserve of NUM_PAGES pages (DM_PAGE_SIZE each) for
 * its data: what is in flight never needs more, and all copies share
 * them.  Starts a thread.
 * Returns 0 and *RESULT, or -EINVAL (0 pages, or more than a million),
 * -ENOMEM, -EAGAIN (no thread).
 */
int kcopyd_client_create (unsigned int num_pages,
                          struct kcopyd_client **result);

/* Wait for the end of all jobs and callbacks, and free the client.  No
 * new jobs may be started meanwhile, but by callbacks.  NULL is ignored.
 */
void kcopyd_client_destroy (struct kcopyd_client *kc);

/* Copy FROM to DESTS[0 .. NUM_DESTS), each of the same count.  DESTS and
 * FROM may be freed as soon as the call returns.  Nothing is ordered
 * between jobs or inside one.  Destinations must not overlap each other
 * or the source.  Asynchronous: FN is called once at the end (see above),
 * for a count of 0 too.  Jobs wait in order for pages.
 *
 * Threads: any.  Returns 0, and then FN will be called; or, and then it
 * never will:
 *   -EINVAL  no or too many destinations, unequal counts, an unknown
 *            flag, no FN
 *   -ENOMEM  no memory for the job
 */
int kcopyd_copy (struct kcopyd_client *kc, struct io_region *from,
                 unsigned int num_dests, struct io_region *dests,
                 unsigned int flags, kcopyd_notify_fn fn, void *context);

#ifdef __cplusplus
}
#endif

#endif /* DMIO_KCOPYD_H */
