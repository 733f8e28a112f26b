/* What the parts of kcopyd know of each other.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A job is cut into slices of at most a sub-job.  A slice takes pages of
 * the client's reserve and is run from beginning to end by one I/O
 * thread: read, then written to all destinations.  So a copy costs one
 * hand-off to that thread, and one from it to the client's thread, which
 * calls back.
 *
 * kcopyd.c         the calls that make jobs, cancel them, or end them
 * kcopyd-client.c  clients: their reserves, their thread
 * kcopyd-queue.c   which slice begins when, and what its end leads to
 * kcopyd-slice.c   the I/O of one slice
 *
 * Locks: the client's lock comes before that of its throttle and those of
 * io-threads; it is never held during I/O, callbacks or submission of work.
 */

#ifndef DMIO_KCOPYD_IMPL_H
#define DMIO_KCOPYD_IMPL_H

#include <stdbool.h>

#include "io-threads.h"
#include "kcopyd-errors.h"
#include "kcopyd.h"
#include "list.h"
#include "page-pool.h"
#include "sync.h"

enum slice_state {
  SLICE_FREE,
  SLICE_BUSY,   /* an I/O thread has it, or soon will */
  SLICE_PARKED, /* read; those before it are to be written first */
};

struct slice {
  struct io_work work;
  struct list link; /* in a list of slices about to be submitted */
  struct kcopyd_job *job;
  enum slice_state state; /* under the client's lock */
  sector_t offset;
  sector_t count;
  struct page_list *pages; /* NULL if zeroes are all that is wanted */

  /* Which let it begin, when; or NULL. */
  struct kcopyd_throttle *throttle;
  uint64_t began_ns;

  /* What has come of it so far: of the thread that runs it. */
  bool is_hole;
  bool is_read;
  bool read_failed;
  bool moved_data;
  unsigned write_err;
  struct kcopyd_errors why; /* of what has failed, and else anything */
  struct kcopyd_progress tally;
};

enum job_kind {
  JOB_COPY,
  JOB_ZERO,
  JOB_CALLBACK, /* prepared: no slices */
};

struct kcopyd_job {
  struct list link;     /* in the client's list for its state */
  struct list all_link; /* in the client's list of all with slices */
  struct kcopyd_client *kc;
  enum job_kind kind;
  enum io_floor floor;   /* of its slices' work */
  struct io_region from; /* JOB_ZERO: no device */
  unsigned num_dests;
  struct io_region dests[KCOPYD_MAX_REGIONS];
  unsigned flags;
  kcopyd_notify_fn fn;
  void *context;

  /* Under the client's lock. */
  bool is_waiting;
  bool is_cancelled;
  sector_t next; /* offset of what has not been issued */
  unsigned busy_slices;
  int read_err;
  unsigned write_err;
  struct kcopyd_errors *why; /* the caller's, or NULL */

  /* With KCOPYD_WRITE_SEQ. */
  sector_t next_write; /* all before it is written */
  sector_t stop_at;    /* nothing from here on is, after an error */

  struct slice slices[]; /* sub_jobs of the client */
};

struct kcopyd_client {
  sector_t slice_sectors;
  unsigned slices_per_job;
  struct thread thread;

  struct mutex lock;
  struct cond wake; /* of the thread: complete_jobs, wake_ns, is_ending */
  struct cond all_done;
  struct page_pool *pages;
  struct list free_jobs;
  unsigned free_job_count;
  struct list all_jobs;
  struct list waiting_jobs;
  struct list complete_jobs;
  bool is_ending;

  struct kcopyd_throttle *throttle;
  uint64_t wake_ns; /* when to ask the throttle again; 0: no need */

  struct kcopyd_progress progress;
};

static inline bool
job_has_flag (const struct kcopyd_job *job, unsigned flag)
{
  return (job->flags >> flag & 1) != 0;
}

/*----- kcopyd-client.c -------------------------------------------------*/

/* A job with nothing in it but its client, or NULL. */
struct kcopyd_job *kcopyd_job_get (struct kcopyd_client *kc);

/* JOB is to be called back.  The caller holds the lock. */
void kcopyd_job_complete_locked (struct kcopyd_job *job);

/* One more job has been called back. */
void kcopyd_job_ended (struct kcopyd_client *kc);

/*----- kcopyd-queue.c --------------------------------------------------*/

/* True if there is something left that should still begin. */
bool kcopyd_job_has_work (const struct kcopyd_job *job);

/* Put a job that has work behind those that wait, or take it out. */
void kcopyd_job_enqueue_locked (struct kcopyd_job *job);
void kcopyd_job_dequeue_locked (struct kcopyd_job *job);

/* Begin what may begin: collect it with the lock held, and start it, in the
 * order of the list, without.
 */
void kcopyd_issue_locked (struct kcopyd_client *kc, struct list *slices);
void kcopyd_submit (struct list *slices);

/* The beginning and the end of SLICE, all of a job that is in no list,
 * whose I/O the calling thread does.  Returns false, and nothing has begun,
 * if others are in front, or that would be too much.
 */
bool kcopyd_slice_begin_here (struct slice *slice);
void kcopyd_slice_end_here (struct slice *slice);

/*----- kcopyd-slice.c --------------------------------------------------*/

/* The part of a slice that needs nobody else: usually reading it. */
void kcopyd_slice_read (struct slice *slice);

/* The rest: put on all destinations what they are to have. */
void kcopyd_slice_write (struct slice *slice);

#endif /* DMIO_KCOPYD_IMPL_H */
