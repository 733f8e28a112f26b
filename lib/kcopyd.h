/* kcopyd: copies one io_region to several, in the background.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The names and signatures are those of the Linux kernel's classic kcopyd,
 * and of what it learned later.
 * Model: Linux 2.6.12 to 6.1 drivers/md/dm-kcopyd.c: reserves for each
 * client, jobs cut into sub-jobs, read and write errors apart, callbacks
 * on one thread.  Differs: write errors are never lost; what could not be
 * read is never written; a job larger than the reserve still makes
 * progress; the error bits of a large job are those of all its parts; jobs
 * can be cancelled.
 *
 * A client copies with what it has: pages and jobs are reserved when it is
 * made, and from then on neither copying, zeroing nor calling back
 * allocates memory, unless a device does so.
 *
 * All calls may be made from any thread, and from callbacks, unless they
 * say otherwise.
 */

#ifndef DMIO_KCOPYD_H
#define DMIO_KCOPYD_H

#include "dm-io.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kcopyd_client;
struct kcopyd_job;
struct kcopyd_throttle; /* kcopyd-throttle.h */

/* Destinations of one job. */
#define KCOPYD_MAX_REGIONS 8

/* The end of a job.  READ_ERR: not 0 if anything could not be read;
 * negative (-ECANCELED) if the job was cancelled before all was copied.
 * WRITE_ERR: bit i is set if anything could not be written to
 * destination i.  Without errors every destination holds a copy (not yet
 * flushed).  After an error without KCOPYD_IGNORE_ERROR, and after being
 * cancelled, parts not yet begun were left alone.
 *
 * Always called on the client's own thread, one call after another.  That
 * may be before kcopyd_copy has returned: what it needs must be ready
 * before the call.  It may start new jobs of any client, but not destroy
 * its own, and delays the other callbacks of its client, and what its
 * throttle holds back, while it runs.
 */
typedef void (*kcopyd_notify_fn) (int read_err, unsigned int write_err,
                                  void *context);

/*----- clients ---------------------------------------------------------*/

/* Defaults and bounds of the options. */
#define KCOPYD_SUB_JOB_SECTORS ((sector_t) (512 * 1024 / 512))
#define KCOPYD_SUB_JOB_SECTORS_MAX ((sector_t) (16 * 1024 * 1024 / 512))
#define KCOPYD_SUB_JOBS 8
#define KCOPYD_SUB_JOBS_MAX 64
#define KCOPYD_PAGES_MAX (1U << 20)

/* So many jobs of a client never need memory. */
#define KCOPYD_RESERVED_JOBS 8

struct kcopyd_options {
  size_t struct_size;       /* sizeof (struct kcopyd_options): may grow */
  unsigned num_pages;       /* the reserve, of DM_PAGE_SIZE each: 1 or more */
  sector_t sub_job_sectors; /* a job is done in parts of so much; 0: default */
  unsigned sub_jobs;        /* of one job, in flight at once; 0: default */
};

/* Make a client with a reserve of pages for its data: what is in flight
 * never needs more, and all its jobs share them.  A part is never larger
 * than the reserve.  The parts of all clients together are done by at most
 * 16 threads, and 16 more for devices made of others (bdev_limits).  Starts a
 * thread.
 *
 * Returns 0 and *RESULT, or
 *   -EINVAL  a wrong struct_size, no pages, or more than a bound above
 *   -ENOMEM  no memory
 *   -EAGAIN  no thread
 */
int kcopyd_client_create_options (const struct kcopyd_options *options,
                                  struct kcopyd_client **result);

/* The same with NUM_PAGES and the defaults. */
int kcopyd_client_create (unsigned int num_pages,
                          struct kcopyd_client **result);

/* Wait for the end of all jobs and callbacks, and free the client.  No
 * new jobs may be started meanwhile, but by callbacks.  To be quick about
 * it, cancel the jobs first.  Prepared callbacks are jobs too: they must be
 * done.  Not from a callback of the client, nor from that of an
 * asynchronous call of dm-io.  NULL is ignored.
 */
void kcopyd_client_destroy (struct kcopyd_client *kc);

/* Have THROTTLE (NULL: nothing) hold back parts that begin from now on.
 * Any number of clients may share one.  The client keeps it alive.
 */
void kcopyd_client_set_throttle (struct kcopyd_client *kc,
                                 struct kcopyd_throttle *throttle);

/* What a client has done since it was made. */
struct kcopyd_progress {
  size_t struct_size;         /* sizeof (struct kcopyd_progress): may grow */
  uint64_t jobs_started;      /* prepared callbacks too */
  uint64_t jobs_ended;        /* called back, and returned */
  uint64_t sectors_queued;    /* of all jobs */
  uint64_t sectors_done;      /* of these: done, failed, or given up */
  uint64_t sectors_read;      /* from sources */
  uint64_t sectors_written;   /* these to each destination: as data, */
  uint64_t sectors_zeroed;    /* as zeroes, */
  uint64_t sectors_skipped;   /* not at all, being holes on both sides, */
  uint64_t sectors_offloaded; /* by the kernel or the device itself */
  uint64_t read_errors;       /* parts that could not be read */
  uint64_t write_errors;      /* parts that a destination did not take */
};

/* Fill in PROGRESS, all at one moment.  Cheap.  Returns 0, or -EINVAL for a
 * wrong struct_size.
 */
int kcopyd_client_progress (struct kcopyd_client *kc,
                            struct kcopyd_progress *progress);

/*----- jobs ------------------------------------------------------------*/

/* Flags of a job, as bit numbers: 1U << KCOPYD_IGNORE_ERROR. */

/* Go on with the rest after an error; the part that could not be read is
 * not written.  A job of which nothing can be done, because its source, or
 * each io_region to be zeroed, is not all on its device, ends all the same.
 */
#define KCOPYD_IGNORE_ERROR 1

/* Write each destination strictly by offset: a part is begun when the one
 * before it is on all destinations.  The first error is the end: nothing
 * behind it is written, all before it is.  So this flag takes
 * KCOPYD_IGNORE_ERROR away, as it does in the kernel.  Reads run ahead.
 */
#define KCOPYD_WRITE_SEQ 2

/* A part that is a hole in the source becomes one in the destinations that
 * can make one at once, and is left alone where there is one already.
 * What is read afterwards is the same.  But a destination that had space
 * allocated loses it: do without where a later write must not find the
 * disk full.  With kcopyd_zero: zeroes may become holes.
 */
#define KCOPYD_SPARSE 3

/* Have the devices copy by themselves (bdev_copy) where they can, past this
 * program's memory.  Source and destination may then share space, so that
 * one bad spot of the disk takes both: not for copies that are there for
 * safety.
 */
#define KCOPYD_OFFLOAD 4

/* Copy FROM to DESTS[0 .. NUM_DESTS), each of the same count.  DESTS and
 * FROM may be freed as soon as the call returns.  Nothing is ordered
 * between jobs, nor inside one without KCOPYD_WRITE_SEQ.  Destinations
 * must not overlap each other or the source.  Asynchronous: FN is called
 * once at the end (see above), for a count of 0 too.  Jobs wait in order
 * for pages.
 *
 * Returns 0, and then FN will be called; or, and then it never will:
 *   -EINVAL  no or too many destinations, unequal counts, an unknown
 *            flag, no FN
 *   -ENOMEM  no memory for the job, and KCOPYD_RESERVED_JOBS or more of this
 *            client have not been called back: it is worth trying again
 *            when one of them has
 */
int kcopyd_copy (struct kcopyd_client *kc, struct io_region *from,
                 unsigned int num_dests, struct io_region *dests,
                 unsigned int flags, kcopyd_notify_fn fn, void *context);

/* Make DESTS[0 .. NUM_DESTS), each of the same count, read as zeroes: in
 * the way that is best for each, or by writing zeroes.  In all else as
 * kcopyd_copy, with the same errors; KCOPYD_OFFLOAD is unknown here.
 */
int kcopyd_zero (struct kcopyd_client *kc, unsigned int num_dests,
                 struct io_region *dests, unsigned int flags,
                 kcopyd_notify_fn fn, void *context);

/* Prepare a callback that comes through the client's thread like that of a
 * copy, in turn with them, for work that is done by other means.  It counts
 * as a job from now on.  Returns NULL for no FN or, as kcopyd_copy says, no
 * memory.
 */
struct kcopyd_job *kcopyd_prepare_callback (struct kcopyd_client *kc,
                                            kcopyd_notify_fn fn, void *context);

/* Have the FN of JOB called with these errors; once.  JOB is gone.  Cannot
 * fail, and does not wait.
 */
void kcopyd_do_callback (struct kcopyd_job *job, int read_err,
                         unsigned int write_err);

/* Cancel the jobs that were given CONTEXT: no further part of them begins.
 * Those parts in flight end as they would, and then FN is called as ever,
 * with -ECANCELED as its READ_ERR.  A job of which all parts have begun, or
 * that has failed, ends as if nothing had been asked; so does a prepared
 * callback.  Does not wait.  Returns how many jobs have been cancelled.
 */
unsigned int kcopyd_cancel (struct kcopyd_client *kc, void *context);

#ifdef __cplusplus
}
#endif

#endif /* DMIO_KCOPYD_H */
