/* Unit tests of the pace of the background, on a clock of their own.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Time goes on only when somebody waits, and then up to what he waits for: so
 * nothing depends on how fast anything is.  What is to happen during a wait
 * is done by the wait.
 */

#include <config.h>

#include <string.h>

#include "bits.h"
#include "clock.h"
#include "pace.h"
#include "sync.h"
#include "target-test.h"

/*----- the clock -------------------------------------------------------*/

#define MS (NS_PER_SECOND / 1000)

static uint64_t now_ns;
static unsigned waits;
static void (*during_wait) (void);

uint64_t __wrap_clock_now_ns (void);
bool __wrap_cond_wait_until (struct cond *cond, struct mutex *mutex,
                             uint64_t deadline_ns);

uint64_t
__wrap_clock_now_ns (void)
{
  return now_ns;
}

bool
__wrap_cond_wait_until (struct cond *cond, struct mutex *mutex,
                        uint64_t deadline_ns)
{
  (void) cond;
  quick_assert (deadline_ns > now_ns);
  quick_assert (deadline_ns - now_ns <= 3600 * NS_PER_SECOND);
  waits++;
  if (during_wait != NULL) {
    void (*fn) (void) = during_wait;

    during_wait = NULL;
    mutex_unlock (mutex);
    fn ();
    mutex_lock (mutex);
    return true; /* woken, and no time has passed */
  }
  now_ns = deadline_ns;
  return false;
}

/*----- jobs ------------------------------------------------------------*/

static struct pace *pace;
static bool must_stop;

static bool
is_stopped (void *opaque)
{
  (void) opaque;
  return must_stop;
}

static void
begin (uint64_t rate)
{
  now_ns = 1000 * NS_PER_SECOND;
  waits = 0;
  must_stop = false;
  during_wait = NULL;
  ck_assert_int_eq (pace_create (rate, &pace), 0);
}

static void
begin_job (struct pace_job *job, uint64_t rest_max_ns)
{
  pace_job_init (job, pace, rest_max_ns);
  pace_job_begin (job);
}

static void
end_job (struct pace_job *job)
{
  pace_job_end (job);
  pace_job_destroy (job);
}

/* Work off one piece, which takes so long. */
static void
do_piece (struct pace_job *job, uint64_t bytes, uint64_t took_ns)
{
  struct pace_piece piece;

  ck_assert (pace_wait (job, is_stopped, NULL));
  pace_piece_begin (job, &piece, bytes);
  now_ns += took_ns;
  pace_piece_end (job, &piece, bytes);
}

#define assert_near(a, b) \
  do { \
    uint64_t a_ = (a), b_ = (b); \
    ck_assert_uint_le (a_, b_ + b_ / 1000); \
    ck_assert_uint_ge (a_ + a_ / 1000, b_); \
  } while (0)

/*----- the rate --------------------------------------------------------*/

START_TEST (a_rate_is_kept_by_pieces_of_any_size)
{
  struct pace_job job;
  struct chance chance = { 1 };
  uint64_t started_ns, done = 0;
  unsigned i;

  begin (1000000);
  begin_job (&job, 0);
  started_ns = now_ns;
  for (i = 0; i < 2000; ++i) {
    uint64_t bytes = 1 + chance_below (&chance, i % 100 == 0 ? 3000000 : 5000);

    ck_assert (pace_wait (&job, is_stopped, NULL));
    /* All but the one that begins now is paid for. */
    ck_assert_uint_ge ((now_ns - started_ns) / 1000 + 1, done);
    do_piece (&job, bytes, chance_below (&chance, 2 * MS));
    done += bytes;
  }
  ck_assert (pace_wait (&job, is_stopped, NULL));
  assert_near ((now_ns - started_ns) / 1000, done);
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

START_TEST (without_a_rate_nobody_waits)
{
  struct pace_job job;
  unsigned i;

  begin (0);
  begin_job (&job, NS_PER_SECOND);
  for (i = 0; i < 100; ++i)
    do_piece (&job, UINT64_C (1) << 40, MS);
  ck_assert_uint_eq (waits, 0);
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

/* What it has not used for long does not come as a flood. */
START_TEST (little_is_saved_up)
{
  struct pace_job job;
  unsigned i;

  begin (1000);
  begin_job (&job, 0);
  now_ns += 3600 * NS_PER_SECOND;
  for (i = 0; waits == 0; ++i) {
    ck_assert_uint_lt (i, 102);
    do_piece (&job, 1, 0);
  }
  ck_assert_uint_ge (i, 50); /* some is: who was late makes up for it */
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

/* Equal shares of bytes, whatever the pieces; and all for who is left. */
START_TEST (jobs_share_the_rate)
{
  struct pace_job jobs[2];
  uint64_t done[2] = { 0, 0 }, started_ns;

  begin (1000000);
  begin_job (&jobs[0], 0);
  begin_job (&jobs[1], 0);
  started_ns = now_ns;
  while (now_ns - started_ns < 100 * NS_PER_SECOND) {
    uint64_t next_ns = UINT64_MAX;
    unsigned i;

    for (i = 0; i < 2; ++i)
      if (pace_next_ns (&jobs[i]) <= now_ns) {
        uint64_t bytes = i == 0 ? 1000 : 700000;

        do_piece (&jobs[i], bytes, 0);
        done[i] += bytes;
      }
    for (i = 0; i < 2; ++i)
      next_ns = MIN_OF (next_ns, pace_next_ns (&jobs[i]));
    now_ns = MAX_OF (now_ns, next_ns);
  }
  ck_assert_uint_ge (done[0], 49000000);
  ck_assert_uint_le (done[0], 51000000);
  ck_assert_uint_ge (done[1], 49000000);
  ck_assert_uint_le (done[1], 51000000);

  pace_job_end (&jobs[0]);
  pace_job_end (&jobs[0]); /* nothing */
  ck_assert (pace_wait (&jobs[1], is_stopped, NULL));
  started_ns = now_ns;
  do_piece (&jobs[1], 5000000, 0);
  ck_assert (pace_wait (&jobs[1], is_stopped, NULL));
  assert_near (now_ns - started_ns, 5 * NS_PER_SECOND);

  /* It goes on again: the other has half, at once. */
  started_ns = now_ns;
  do_piece (&jobs[1], 5000000, 0);
  pace_job_begin (&jobs[0]);
  ck_assert (pace_wait (&jobs[1], is_stopped, NULL));
  assert_near (now_ns - started_ns, 10 * NS_PER_SECOND);
  end_job (&jobs[0]);
  end_job (&jobs[1]);
  pace_destroy (pace);
}
END_TEST

/* Who begins again owes what he owed. */
START_TEST (debts_outlive_a_pause)
{
  struct pace_job job;
  uint64_t started_ns;

  begin (1000);
  begin_job (&job, 0);
  started_ns = now_ns;
  do_piece (&job, 10000, 0);
  pace_job_end (&job);
  now_ns += NS_PER_SECOND;
  pace_job_begin (&job);
  ck_assert (pace_wait (&job, is_stopped, NULL));
  assert_near (now_ns - started_ns, 10 * NS_PER_SECOND);
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

START_TEST (what_was_not_copied_is_not_owed)
{
  struct pace_piece piece;
  struct pace_job job;
  uint64_t started_ns;

  begin (1000);
  begin_job (&job, 0);
  started_ns = now_ns;
  pace_piece_begin (&job, &piece, 1 << 20);
  pace_piece_end (&job, &piece, 5000);
  ck_assert (pace_wait (&job, is_stopped, NULL));
  assert_near (now_ns - started_ns, 5 * NS_PER_SECOND);

  pace_piece_begin (&job, &piece, 1 << 20);
  pace_piece_end (&job, &piece, 0);
  ck_assert_uint_le (pace_next_ns (&job), now_ns);
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

/*----- a new rate ------------------------------------------------------*/

static void
give_a_high_rate (void)
{
  ck_assert (pace_set_rate (pace, 1000000));
}

/* It ends a wait that would take for ever. */
START_TEST (a_higher_rate_counts_at_once)
{
  struct pace_job job;
  uint64_t started_ns;

  begin (1);
  begin_job (&job, 0);
  do_piece (&job, 2000000, 0);
  started_ns = now_ns;
  during_wait = give_a_high_rate;
  ck_assert (pace_wait (&job, is_stopped, NULL));
  assert_near (now_ns - started_ns, 2 * NS_PER_SECOND);
  ck_assert (!pace_set_rate (pace, 1000000));
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

static void
give_no_rate (void)
{
  ck_assert (pace_set_rate (pace, 0));
}

START_TEST (no_rate_counts_at_once)
{
  struct pace_job job;
  uint64_t started_ns;

  begin (1);
  begin_job (&job, 0);
  do_piece (&job, 2000000, 0);
  started_ns = now_ns;
  during_wait = give_no_rate;
  ck_assert (pace_wait (&job, is_stopped, NULL));
  ck_assert_uint_eq (now_ns, started_ns);
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

/* What was done before is not paid for later. */
START_TEST (a_lower_rate_does_not_look_back)
{
  struct pace_job job;
  uint64_t started_ns;

  begin (0);
  begin_job (&job, 0);
  do_piece (&job, UINT64_C (1) << 40, NS_PER_SECOND);
  ck_assert (pace_set_rate (pace, 1000));
  started_ns = now_ns;
  do_piece (&job, 3000, 0);
  ck_assert_uint_eq (now_ns, started_ns);
  ck_assert (pace_wait (&job, is_stopped, NULL));
  assert_near (now_ns - started_ns, 3 * NS_PER_SECOND);
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

/*----- clients ---------------------------------------------------------*/

START_TEST (it_rests_while_clients_are_busy)
{
  struct pace_counts counts;
  struct pace_piece piece;
  struct pace_job job;
  uint64_t ended_ns;

  begin (0);
  begin_job (&job, 100 * MS);
  do_piece (&job, 10, MS);
  ck_assert (!pace_is_busy (&job));
  ck_assert_uint_le (pace_next_ns (&job), now_ns);

  pace_piece_begin (&job, &piece, 10);
  pace_note_request (pace);
  now_ns += MS;
  pace_piece_end (&job, &piece, 10);
  ck_assert (pace_is_busy (&job));
  ended_ns = now_ns;
  /* So does one that comes while it rests, or before it has begun. */
  pace_note_request (pace);
  do_piece (&job, 10, MS);
  ck_assert_uint_eq (now_ns - ended_ns, (PACE_REST_FACTOR + 1) * MS);
  ck_assert (pace_is_busy (&job));
  ended_ns = now_ns;
  do_piece (&job, 10, MS);
  ck_assert_uint_eq (now_ns - ended_ns, (PACE_REST_FACTOR + 1) * MS);

  /* They have gone. */
  ck_assert (!pace_is_busy (&job));
  ck_assert_uint_le (pace_next_ns (&job), now_ns);
  pace_get_counts (pace, &counts);
  ck_assert_uint_eq (counts.rests, 2);
  ck_assert_uint_eq (counts.bytes, 40);
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

/* Under a load that never ends: a piece in PACE_REST_FACTOR + 1 times its time,
 * or in its time and the longest rest, whatever is less.
 */
START_TEST (it_always_advances)
{
  static const uint64_t took[] = { MS / 10, MS, 33 * MS, 34 * MS,
                                   3600 * NS_PER_SECOND };
  struct pace_job job;
  unsigned i, k;

  begin (0);
  begin_job (&job, 100 * MS);
  for (i = 0; i < ARRAY_COUNT (took); ++i)
    for (k = 0; k < 20; ++k) {
      uint64_t began_ns = now_ns;

      pace_note_request (pace);
      do_piece (&job, 1, took[i]);
      ck_assert (pace_is_busy (&job));
      ck_assert (pace_wait (&job, is_stopped, NULL));
      ck_assert_uint_eq (now_ns - began_ns,
                         took[i] +
                           MIN_OF (PACE_REST_FACTOR * took[i], 100 * MS));
    }
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

/* Of pieces that overlap each looks from its own beginning on. */
START_TEST (all_pieces_in_flight_look)
{
  struct pace_piece pieces[3];
  struct pace_job job;
  unsigned i;

  begin (0);
  begin_job (&job, 100 * MS);
  for (i = 0; i < 2; ++i)
    pace_piece_begin (&job, &pieces[i], 1);
  pace_note_request (pace);
  pace_piece_begin (&job, &pieces[2], 1);
  for (i = 0; i < 3; ++i) {
    pace_piece_end (&job, &pieces[i], 1);
    ck_assert_int_eq (pace_is_busy (&job), i < 2);
  }
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

/*----- stopping --------------------------------------------------------*/

static void
stop (void)
{
  must_stop = true;
  pace_wake (pace);
}

static bool
is_about_to_stop (void *opaque)
{
  (void) opaque;
  if (must_stop)
    return true;
  stop (); /* after it was asked, and before it waits */
  return false;
}

START_TEST (a_stop_waits_for_nothing)
{
  struct pace_job job;
  uint64_t started_ns;

  begin (1);
  begin_job (&job, 0);
  do_piece (&job, UINT64_C (1) << 40, 0);
  started_ns = now_ns;
  during_wait = stop;
  ck_assert (!pace_wait (&job, is_stopped, NULL));
  ck_assert_uint_eq (now_ns, started_ns);
  ck_assert_uint_eq (waits, 1);
  /* Nor does one that has come before; not even if nothing holds it back. */
  ck_assert (!pace_wait (&job, is_stopped, NULL));
  ck_assert (pace_set_rate (pace, 0));
  ck_assert (!pace_wait (&job, is_stopped, NULL));
  ck_assert (pace_set_rate (pace, 1));
  must_stop = false;
  do_piece (&job, 1000, 0); /* without a rate no debt was left */
  waits = 0;
  ck_assert (!pace_wait (&job, is_about_to_stop, NULL));
  ck_assert_uint_eq (waits, 0);
  end_job (&job);
  pace_destroy (pace);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_rate_is_kept_by_pieces_of_any_size,
    without_a_rate_nobody_waits,
    little_is_saved_up,
    jobs_share_the_rate,
    debts_outlive_a_pause,
    what_was_not_copied_is_not_owed,
    a_higher_rate_counts_at_once,
    no_rate_counts_at_once,
    a_lower_rate_does_not_look_back,
    it_rests_while_clients_are_busy,
    it_always_advances,
    all_pieces_in_flight_look,
    a_stop_waits_for_nothing,
    NULL,
  };

  return unit_main ("pace", tests);
}
