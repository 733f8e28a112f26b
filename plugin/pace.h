/* The pace of what goes on in the background.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All background jobs of a volume have one pace.  A job works in pieces, and
 * before each it asks, or waits, until the piece may begin:
 *
 *   rate    so many bytes a second, of all jobs together.  Those that go on
 *           at a time have an equal share each, used or not.
 *   rests   if clients have asked for anything since the job's last piece, it
 *           rests after a piece for PACE_REST_FACTOR times as long as that
 *           took, but no longer than it says itself.  So it has a quarter
 *           of the time at least, or a piece in so long: it always advances.
 *
 * A piece is whole: nothing is held back in its midst, when something may be
 * held that clients wait for.  What a job waits for here ends early when it is
 * to stop.
 *
 * Any thread may call all of this, with locks held: the pace's own is a leaf.
 * One job is one thread's.
 */

#ifndef DM_PACE_H
#define DM_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "list.h"

#define PACE_REST_FACTOR 3

struct pace;

/* RATE is in bytes a second; 0: no limit.  Returns 0 or -ENOMEM. */
int pace_create (uint64_t rate, struct pace **pace);
void pace_destroy (struct pace *pace); /* no job is left; NULL is ignored */

/* From now on.  Who is in pace_wait looks again; whoever waits elsewhere for
 * pace_next_ns is to be woken.  Returns false if it was that already.
 */
bool pace_set_rate (struct pace *pace, uint64_t rate);

/* A client has asked for something.  Costs an addition without contention. */
void pace_note_request (struct pace *pace);

/* What there is to see: bytes of all pieces that have ended, and rests. */
struct pace_counts {
  uint64_t bytes;
  uint64_t rests;
};
void pace_get_counts (struct pace *pace, struct pace_counts *counts);

/*----- a job: its thread only ------------------------------------------*/

/* Its fields are the pace's. */
struct pace_job {
  struct pace *pace;
  struct list link;
  bool goes_on;
  double owed_bytes; /* of pieces that have begun; negative: saved up */
  uint64_t settled_ns;
  uint64_t rest_max_ns;
  uint64_t rest_until_ns;
  uint64_t requests; /* of clients, when last looked */
  unsigned in_flight;
  bool is_busy;
};

struct pace_piece {
  uint64_t begun_ns;
  uint64_t requests;
  uint64_t bytes;
};

/* For as long as the thing lives that has the job.  It does not go on yet. */
void pace_job_init (struct pace_job *job, struct pace *pace,
                    uint64_t rest_max_ns);
void pace_job_destroy (struct pace_job *job);

/* From here on, and to there, it takes its share; if it does so already, or not
 * any more, nothing.  What it owes for its last pieces it owes when it begins
 * again.
 */
void pace_job_begin (struct pace_job *job);
void pace_job_end (struct pace_job *job);

/* A piece of BYTES begins.  At its end it has been so many, in truth. */
void pace_piece_begin (struct pace_job *job, struct pace_piece *piece,
                       uint64_t bytes);
void pace_piece_end (struct pace_job *job, struct pace_piece *piece,
                     uint64_t bytes);

/* True if clients were busy at the end of the last piece. */
bool pace_is_busy (const struct pace_job *job);

/* When to ask again, on the clock; if that is past, the next piece may begin.
 */
uint64_t pace_next_ns (struct pace_job *job);

/* Wait for that.  MUST_STOP is asked first, and after each pace_wake, without
 * any lock of the pace; if it says true, false is returned, at once.
 */
bool pace_wait (struct pace_job *job, bool (*must_stop) (void *opaque),
                void *opaque);

/* What MUST_STOP says may have changed. */
void pace_wake (struct pace *pace);

#endif /* DM_PACE_H */
