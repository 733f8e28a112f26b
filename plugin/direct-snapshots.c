/* Direct snapshots: several of one origin, none above another.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: Linux 6.1 drivers/md/dm-snap.c __origin_write(): an exception in each
 * snapshot that is valid and reaches so far.  Differs: a chunk is read once
 * for all; a snapshot that is given up is so durably before the write goes on.
 *
 * The order that matters, for each chunk: data to all stores that lack it;
 * then, for one store after the other: flush, record, flush, and readers of
 * that snapshot find it there; and only then the origin is overwritten.
 *
 * Snapshots are done in groups: of one chunk size, at most
 * KCOPYD_MAX_REGIONS.  A thread claims in all snapshots of a group what nobody
 * else is copying, finishes that, and gives it back, before it waits for
 * others: as in snapshot-copy.c nobody waits while holding a claim.  A
 * snapshot's own clients claim one by one, in the same way.
 *
 * Invariant: a write that goes on finds every chunk that it touches safe in
 * each snapshot, or the snapshot broken, durably.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "bits.h"
#include "direct-snapshots.h"
#include "kcopyd-here.h"
#include "log-sink.h"
#include "snapshot-impl.h"

/* Snapshots that a chunk is read for once. */
struct group {
  unsigned count;
  struct snapshot *snapshots[KCOPYD_MAX_REGIONS];
};

struct direct_snapshots {
  struct kcopyd_client *kcopyd;
  unsigned snapshot_count;
  unsigned group_count;
  struct group groups[DIRECT_SNAPSHOTS_MAX];
};

/* One snapshot's part of a round. */
struct part {
  struct copy_window window;
  bool is_allocated;
  int result;    /* 0, or why it cannot be copied */
  unsigned next; /* the first claim that is not being copied yet */
  unsigned write_err;
  int read_err;
  char why[SNAPSHOT_WHY_BYTES];
};

/* What one thread copies at a time for a group. */
struct round {
  struct direct_snapshots *direct;
  unsigned count;
  struct part parts[KCOPYD_MAX_REGIONS];

  struct mutex lock; /* all below, and the errors of parts; a leaf */
  struct cond copied;
  unsigned jobs_left;
};

/* Chunks that are neighbours in the origin, and in the stores of all parts in
 * a set, a bit each.
 */
struct run {
  struct round *round;
  unsigned parts;
  uint64_t first;
  unsigned count;
};

/*----- copying ---------------------------------------------------------*/

/* The chunk of a part's next claim, or UINT64_MAX. */
static uint64_t
next_chunk (const struct part *p)
{
  return p->result == 0 && p->next < p->window.claim_count
           ? p->window.claims[p->next].chunk
           : UINT64_MAX;
}

/* The first chunk that is not being copied yet, or UINT64_MAX. */
static uint64_t
first_chunk (const struct round *round)
{
  uint64_t first = UINT64_MAX;
  unsigned i;

  for (i = 0; i < round->count; ++i)
    first = MIN_OF (first, next_chunk (&round->parts[i]));
  return first;
}

/* The parts that are to get CHUNK next, a bit each. */
static unsigned
parts_of (const struct round *round, uint64_t chunk)
{
  unsigned parts = 0, i;

  for (i = 0; i < round->count; ++i)
    if (next_chunk (&round->parts[i]) == chunk)
      parts |= 1U << i;
  return parts;
}

/* True if the next claim of all parts of RUN, and of no other, is its
 * continuation.
 */
static bool
goes_on (const struct run *run)
{
  unsigned i;

  if (parts_of (run->round, run->first + run->count) != run->parts)
    return false;
  for (i = 0; i < run->round->count; ++i) {
    const struct part *p = &run->round->parts[i];

    if ((run->parts >> i & 1) && !copy_window_goes_on (&p->window, p->next))
      return false;
  }
  return true;
}

static void
advance (struct run *run)
{
  unsigned i;

  for (i = 0; i < run->round->count; ++i)
    if (run->parts >> i & 1)
      run->round->parts[i].next++;
  run->count++;
}

/* The longest run of what is left.  Returns false if nothing is. */
static bool
next_run (struct round *round, struct run *run)
{
  *run = (struct run){ .round = round, .first = first_chunk (round) };
  if (run->first == UINT64_MAX)
    return false;
  run->parts = parts_of (round, run->first);
  do
    advance (run);
  while (goes_on (run));
  return true;
}

/* The context of a job tells of its parts; there are no more jobs in a round
 * than chunks in a window.
 */
struct job {
  struct round *round;
  unsigned parts;
};

static void
run_copied (int read_err, unsigned write_err, void *context)
{
  struct job *job = context;
  struct round *round = job->round;
  unsigned i, bit = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&round->lock);
  for (i = 0; i < round->count; ++i) {
    if (!(job->parts >> i & 1))
      continue;
    round->parts[i].read_err |= read_err;
    round->parts[i].write_err |= write_err >> bit++ & 1;
  }
  if (--round->jobs_left == 0)
    cond_signal (&round->copied);
}

/* After an error at one store the others need the rest all the same: nobody
 * would tell that they have not got it.
 */
#define COPY_FLAGS (1U << KCOPYD_SPARSE | 1U << KCOPYD_IGNORE_ERROR)

/* Start the copies of RUN, whose parts have just been advanced past it. */
static int
start_run (const struct run *run, struct job *job, bool is_only)
{
  struct round *round = run->round;
  struct io_region from, to[KCOPYD_MAX_REGIONS];
  unsigned count = 0, i;
  int r;

  for (i = 0; i < round->count; ++i) {
    const struct part *p = &round->parts[i];

    if (!(run->parts >> i & 1))
      continue;
    if (count == 0)
      from = copy_window_source (&p->window, p->next - run->count, run->count);
    to[count++] = copy_window_place (&p->window, p->next - run->count, &from);
  }
  *job = (struct job){ round, run->parts };
  mutex_lock (&round->lock);
  round->jobs_left++;
  mutex_unlock (&round->lock);
  /* With nothing else to do but wait, this thread copies. */
  r = is_only ? kcopyd_copy_here (round->direct->kcopyd, &from, count, to,
                                  COPY_FLAGS, run_copied, job)
              : -EAGAIN;
  if (r == -EAGAIN)
    r = kcopyd_copy (round->direct->kcopyd, &from, count, to, COPY_FLAGS,
                     run_copied, job);
  if (r < 0) {
    mutex_lock (&round->lock);
    round->jobs_left--;
    mutex_unlock (&round->lock);
  }
  return r;
}

/* A run cannot be copied to any of its parts. */
static void
fail_parts (struct round *round, unsigned parts, int error)
{
  unsigned i;

  for (i = 0; i < round->count; ++i) {
    struct part *p = &round->parts[i];

    if (!(parts >> i & 1) || p->result < 0)
      continue;
    p->result = error;
    snprintf (p->why, sizeof p->why, "a copy cannot be started: %s",
              errno_text (error));
  }
}

/* Copy all that is claimed, and wait for it. */
static void
copy (struct round *round)
{
  /* Each run begins with another chunk. */
  struct job jobs[WINDOW_CHUNKS];
  unsigned job_count = 0, i;
  struct run run;

  mutex_init (&round->lock);
  cond_init (&round->copied);
  while (next_run (round, &run)) {
    bool is_only = job_count == 0 && first_chunk (round) == UINT64_MAX;
    int r = start_run (&run, &jobs[job_count++], is_only);

    if (r < 0)
      fail_parts (round, run.parts, r);
  }
  mutex_lock (&round->lock);
  while (round->jobs_left > 0)
    cond_wait (&round->copied, &round->lock);
  mutex_unlock (&round->lock);
  cond_destroy (&round->copied);
  mutex_destroy (&round->lock);
  for (i = 0; i < round->count; ++i) {
    struct part *p = &round->parts[i];

    if (p->result == 0)
      p->result = copy_window_result (&p->window, p->read_err, p->write_err);
  }
}

/*----- rounds ----------------------------------------------------------*/

/* True if the snapshot must have what is to be overwritten in chunks FIRST ..
 * *LAST, of which the last may be less for it.
 */
static bool
is_concerned (struct snapshot *s, uint64_t first, uint64_t *last)
{
  *last = MIN_OF (*last, snapshot_chunk_of (s, s->target.sectors - 1));
  for (; first <= *last; ++first)
    if (!snapshot_chunk_is_safe (s, first))
      return !atomic_load (&s->is_broken);
  return false;
}

/* Claim what is not safe in chunks FIRST .. LAST. */
static void
begin_round (struct round *round, struct direct_snapshots *direct,
             struct group *group, uint64_t first, uint64_t last)
{
  unsigned i;

  round->direct = direct;
  round->count = 0;
  round->jobs_left = 0;
  for (i = 0; i < group->count; ++i) {
    struct part *p = &round->parts[round->count];
    uint64_t own_last = last;

    if (!is_concerned (group->snapshots[i], first, &own_last))
      continue;
    p->window.s = group->snapshots[i];
    p->window.first = first;
    p->window.last = own_last;
    p->window.claim_count = 0;
    p->window.why = p->why;
    p->is_allocated = false;
    p->next = p->write_err = 0;
    p->read_err = 0;
    p->result = copy_window_claim (&p->window);
    round->count++;
  }
}

/* Copy and commit what is claimed, and give it back. */
static void
finish_claims (struct round *round)
{
  bool has_claims = false;
  unsigned i;

  for (i = 0; i < round->count; ++i) {
    struct part *p = &round->parts[i];

    if (p->window.claim_count == 0)
      continue;
    p->result = copy_window_allocate (&p->window);
    p->is_allocated = p->result == 0;
    has_claims |= p->is_allocated;
  }
  if (has_claims)
    copy (round);
  for (i = 0; i < round->count; ++i) {
    struct part *p = &round->parts[i];

    if (p->window.claim_count == 0)
      continue;
    if (p->result == 0)
      p->result = copy_window_commit (&p->window);
    else if (p->is_allocated)
      copy_window_release (&p->window);
    copy_window_end (&p->window);
  }
}

/* Break those that could not be copied to; for the others, wait until nobody
 * copies what they lack.  Returns 1 if a chunk is still not safe, else 0, or an
 * error.
 */
static int
end_round (struct round *round)
{
  int result = 0;
  unsigned i;

  for (i = 0; i < round->count; ++i) {
    struct part *p = &round->parts[i];
    struct snapshot *s = p->window.s;

    if (p->result == 0)
      copy_window_wait (&p->window);
    else if (!atomic_load (&s->is_leaving)) {
      int r = snapshot_break (s, p->why);

      if (r < 0)
        result = r;
    }
    if (result == 0 && !atomic_load (&s->is_broken) &&
        !copy_window_is_safe (&p->window))
      result = 1;
  }
  return result;
}

/* See that chunks FIRST .. LAST, at most WINDOW_CHUNKS, are safe in a group. */
static int
preserve_in_group (struct direct_snapshots *direct, struct group *group,
                   uint64_t first, uint64_t last)
{
  struct round round;
  int r;

  do {
    begin_round (&round, direct, group, first, last);
    if (round.count == 0)
      return 0;
    finish_claims (&round);
    r = end_round (&round);
  } while (r > 0);
  return r;
}

int
direct_snapshots_preserve (struct direct_snapshots *direct, sector_t sector,
                           sector_t count)
{
  unsigned i;

  for (i = 0; i < direct->group_count; ++i) {
    struct group *group = &direct->groups[i];
    uint64_t chunk = snapshot_chunk_of (group->snapshots[0], sector);
    uint64_t last = snapshot_chunk_of (group->snapshots[0], sector + count - 1);

    while (chunk <= last) {
      uint64_t end = MIN_OF (last, chunk + WINDOW_CHUNKS - 1);
      int r = preserve_in_group (direct, group, chunk, end);

      if (r < 0)
        return r;
      chunk = end + 1;
    }
  }
  return 0;
}

/*----- life ------------------------------------------------------------*/

int
direct_snapshots_create (struct direct_snapshots **direct)
{
  *direct = calloc (1, sizeof **direct);
  return *direct != NULL ? 0 : -ENOMEM;
}

void
direct_snapshots_destroy (struct direct_snapshots *direct)
{
  free (direct);
}

int
direct_snapshots_add (struct direct_snapshots *direct,
                      struct snapshot *snapshot)
{
  struct group *group = NULL;
  unsigned i;

  if (direct->snapshot_count == DIRECT_SNAPSHOTS_MAX)
    return -ENOSPC;
  for (i = 0; i < direct->group_count && group == NULL; ++i)
    if (direct->groups[i].count < KCOPYD_MAX_REGIONS &&
        direct->groups[i].snapshots[0]->chunk_shift == snapshot->chunk_shift)
      group = &direct->groups[i];
  if (group == NULL)
    group = &direct->groups[direct->group_count++];
  group->snapshots[group->count++] = snapshot;
  direct->snapshot_count++;
  return 0;
}

void
direct_snapshots_set_kcopyd (struct direct_snapshots *direct,
                             struct kcopyd_client *kcopyd)
{
  direct->kcopyd = kcopyd;
}
