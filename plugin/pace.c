/* The pace of what goes on in the background.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The rate.  A piece is owed for from its beginning on, as a whole, and the
 * debt is paid off at the job's share of the rate; while there is any, no
 * other piece begins.  So pieces of any size go through, at any rate.  Who
 * comes late makes up for it, but only SAVED_NS of it.  When the share changes
 * what is owed stays, in bytes: a high rate ends a wait that a low one
 * has begun, whatever is past is not counted again.
 *
 * The rests.  A single request since the last piece counts, also one that
 * came while the job was resting: so clients that are steady are never taken
 * for idle.  With several pieces in flight each of them looks from its own
 * beginning on.
 *
 * Locks: `lock' is a leaf.  Requests are counted without it.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "clock.h"
#include "pace.h"
#include "shard.h"
#include "sync.h"

/* So much of its share a job may save up while it goes on. */
#define SAVED_NS (NS_PER_SECOND / 10)

/* A wait is cut to this, and begun again, so that arithmetic stays small. */
#define LOOK_AGAIN_NS (3600 * NS_PER_SECOND)

struct pace {
  struct {
    atomic_ullong count;
  } __attribute__ ((aligned (SHARD_ALIGN))) requests[SHARDS];

  struct mutex lock; /* all below, and what is in the jobs but for rests */
  struct cond changed;
  uint64_t rate;
  uint64_t wakes;
  unsigned going_on;
  struct list jobs;
  struct pace_counts counts;
};

/*----- clients ---------------------------------------------------------*/

void
pace_note_request (struct pace *pace)
{
  atomic_fetch_add_explicit (&pace->requests[shard_index ()].count, 1,
                             memory_order_relaxed);
}

static uint64_t
count_requests (struct pace *p)
{
  uint64_t n = 0;
  unsigned i;

  for (i = 0; i < SHARDS; ++i)
    n += atomic_load_explicit (&p->requests[i].count, memory_order_relaxed);
  return n;
}

/*----- the rate --------------------------------------------------------*/

/* Bytes a nanosecond, of each job. */
static double
share_locked (const struct pace *p)
{
  return (double) p->rate / (double) NS_PER_SECOND /
         (double) MAX_OF (p->going_on, 1);
}

/* Pay off what was owed up to NOW_NS. */
static void
settle_locked (struct pace_job *job, uint64_t now_ns)
{
  struct pace *p = job->pace;
  double share = share_locked (p);
  double saved = job->goes_on ? share * (double) SAVED_NS : 0;

  if (now_ns <= job->settled_ns) /* by a clock that was read before */
    return;
  job->owed_bytes -= (double) (now_ns - job->settled_ns) * share;
  if (job->owed_bytes < -saved)
    job->owed_bytes = -saved;
  job->settled_ns = now_ns;
}

static void
wake_all_locked (struct pace *p)
{
  p->wakes++;
  cond_broadcast (&p->changed);
}

/* The share changes: what was saved up at the old one is forgotten, and if
 * there is no limit any more what was owed is, too.
 */
static void
set_share_locked (struct pace *p, uint64_t rate, unsigned going_on)
{
  uint64_t now_ns = clock_now_ns ();
  struct list *link;

  list_for_each (link, &p->jobs) {
    struct pace_job *job = list_entry (link, struct pace_job, link);

    settle_locked (job, now_ns);
    if (rate == 0 || job->owed_bytes < 0)
      job->owed_bytes = 0;
  }
  p->rate = rate;
  p->going_on = going_on;
  /* Whoever waits looks again, and so does who is about to wait. */
  wake_all_locked (p);
}

/* How long, from NOW_NS on, the rate holds the job back. */
static uint64_t
rate_holds_ns (struct pace_job *job, uint64_t now_ns)
{
  struct pace *p = job->pace;
  double wait_ns;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  settle_locked (job, now_ns);
  if (job->owed_bytes <= 0)
    return 0;
  wait_ns = job->owed_bytes / share_locked (p);
  return wait_ns < (double) LOOK_AGAIN_NS ? (uint64_t) wait_ns + 1
                                          : LOOK_AGAIN_NS;
}

bool
pace_set_rate (struct pace *pace, uint64_t rate)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&pace->lock);
  if (pace->rate == rate)
    return false;
  set_share_locked (pace, rate, pace->going_on);
  return true;
}

/*----- jobs ------------------------------------------------------------*/

void
pace_job_init (struct pace_job *job, struct pace *pace, uint64_t rest_max_ns)
{
  memset (job, 0, sizeof *job);
  job->pace = pace;
  job->rest_max_ns = rest_max_ns;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&pace->lock);
  list_push_back (&pace->jobs, &job->link);
}

void
pace_job_destroy (struct pace_job *job)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&job->pace->lock);
  assert (!job->goes_on && job->in_flight == 0);
  list_remove (&job->link);
}

static void
set_going_on (struct pace_job *job, bool goes_on)
{
  struct pace *p = job->pace;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  if (job->goes_on == goes_on)
    return;
  set_share_locked (p, p->rate, p->going_on + (goes_on ? 1 : -1U));
  job->goes_on = goes_on;
}

void
pace_job_begin (struct pace_job *job)
{
  if (job->goes_on)
    return;
  job->requests = count_requests (job->pace);
  set_going_on (job, true);
}

void
pace_job_end (struct pace_job *job)
{
  assert (job->in_flight == 0);
  set_going_on (job, false);
}

/*----- pieces ----------------------------------------------------------*/

void
pace_piece_begin (struct pace_job *job, struct pace_piece *piece,
                  uint64_t bytes)
{
  struct pace *p = job->pace;

  piece->begun_ns = clock_now_ns ();
  piece->requests = job->in_flight++ == 0 ? job->requests : count_requests (p);
  piece->bytes = bytes;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  settle_locked (job, piece->begun_ns);
  if (p->rate > 0)
    job->owed_bytes += (double) bytes;
}

void
pace_piece_end (struct pace_job *job, struct pace_piece *piece, uint64_t bytes)
{
  struct pace *p = job->pace;
  uint64_t now_ns = clock_now_ns ();
  uint64_t took_ns = now_ns - piece->begun_ns;

  job->in_flight--;
  job->requests = count_requests (p);
  job->is_busy = job->requests != piece->requests;
  if (job->is_busy)
    job->rest_until_ns = now_ns + (took_ns < job->rest_max_ns / PACE_REST_FACTOR
                                     ? took_ns * PACE_REST_FACTOR
                                     : job->rest_max_ns);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  settle_locked (job, now_ns);
  /* What it was not is given back, but nothing is saved up by that. */
  if (p->rate > 0 && bytes > piece->bytes)
    job->owed_bytes += (double) (bytes - piece->bytes);
  else if (job->owed_bytes > 0)
    job->owed_bytes = MAX_OF (job->owed_bytes - (double) (piece->bytes - bytes),
                              0);
  p->counts.bytes += bytes;
  p->counts.rests += job->is_busy;
}

bool
pace_is_busy (const struct pace_job *job)
{
  return job->is_busy;
}

/*----- waiting ---------------------------------------------------------*/

uint64_t
pace_next_ns (struct pace_job *job)
{
  uint64_t now_ns = clock_now_ns ();

  return MAX_OF (now_ns + rate_holds_ns (job, now_ns), job->rest_until_ns);
}

/* Wait until NEXT_NS, unless something has changed since *WAKES. */
static void
wait_until (struct pace *p, uint64_t wakes, uint64_t next_ns)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  if (p->wakes == wakes)
    (void) cond_wait_until (&p->changed, &p->lock, next_ns);
}

bool
pace_wait (struct pace_job *job, bool (*must_stop) (void *opaque), void *opaque)
{
  struct pace *p = job->pace;

  for (;;) {
    uint64_t wakes, next_ns;

    mutex_lock (&p->lock);
    wakes = p->wakes;
    mutex_unlock (&p->lock);
    if (must_stop (opaque))
      return false;
    next_ns = pace_next_ns (job);
    if (next_ns <= clock_now_ns ())
      return true;
    wait_until (p, wakes, next_ns);
  }
}

void
pace_wake (struct pace *pace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&pace->lock);
  wake_all_locked (pace);
}

/*----- life ------------------------------------------------------------*/

int
pace_create (uint64_t rate, struct pace **pace)
{
  struct pace *p;

  if (posix_memalign ((void **) &p, SHARD_ALIGN, sizeof *p) != 0)
    return -ENOMEM;
  memset (p, 0, sizeof *p);
  p->rate = rate;
  mutex_init (&p->lock);
  cond_init (&p->changed);
  list_init (&p->jobs);
  *pace = p;
  return 0;
}

void
pace_destroy (struct pace *pace)
{
  if (pace == NULL)
    return;
  assert (list_is_empty (&pace->jobs));
  cond_destroy (&pace->changed);
  mutex_destroy (&pace->lock);
  free (pace);
}

void
pace_get_counts (struct pace *pace, struct pace_counts *counts)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&pace->lock);
  *counts = pace->counts;
}
