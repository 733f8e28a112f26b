/* Unit tests of the throttle of kcopyd: its arithmetic.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Exactly, with times that are made up.
 */

#include <config.h>

#include "bits.h"
#include "clock.h"
#include "kcopyd-throttle-state.h"
#include "test-util.h"

#define MS (NS_PER_SECOND / 1000)
#define START_NS (1000 * NS_PER_SECOND)

/* The time at which a part of BYTES may begin when asked from NOW_NS on,
 * again and again when told to, and then does.
 */
static uint64_t
begin_from (struct throttle_state *s, uint64_t bytes, uint64_t foreground,
            uint64_t now_ns)
{
  uint64_t when;

  while ((when = throttle_state_begin (s, bytes, foreground, now_ns)) != 0) {
    ck_assert_uint_gt (when, now_ns);
    ck_assert_uint_le (when, now_ns + KCOPYD_THROTTLE_RECHECK_NS);
    now_ns = when;
  }
  return now_ns;
}

static void
state_of_rate (struct throttle_state *s, uint64_t rate)
{
  throttle_state_init (s);
  throttle_state_set_rate (s, rate, START_NS);
}

/*----- the rate --------------------------------------------------------*/

START_TEST (nothing_is_limited_at_first)
{
  struct throttle_state s;
  unsigned i;

  throttle_state_init (&s);
  for (i = 0; i < 1000; ++i)
    ck_assert_uint_eq (throttle_state_begin (&s, 1U << 24, 1, START_NS), 0);
}
END_TEST

/* Each part waits until those before it are paid for, to the nanosecond. */
START_TEST (parts_are_paid_for)
{
  struct throttle_state s;
  uint64_t now = START_NS;
  unsigned i;

  state_of_rate (&s, 1000);
  for (i = 1; i < 100; ++i) {
    ck_assert_uint_eq (begin_from (&s, i, 0, now), now);
    ck_assert_uint_ne (throttle_state_begin (&s, 1, 0, now), 0);
    now += i * MS;
    ck_assert_uint_ne (throttle_state_begin (&s, 1, 0, now - 1), 0);
  }
}
END_TEST

START_TEST (what_is_not_used_is_saved_up_for_a_while)
{
  struct throttle_state s;
  uint64_t now = START_NS + 3600 * NS_PER_SECOND;
  unsigned i;

  state_of_rate (&s, 1000);
  /* A hundred bytes are saved up, and one byte more may begin. */
  for (i = 0; i < 101; ++i)
    ck_assert_uint_eq (throttle_state_begin (&s, 1, 0, now), 0);
  ck_assert_uint_ne (throttle_state_begin (&s, 1, 0, now), 0);
  ck_assert_uint_eq (begin_from (&s, 1, 0, now), now + MS);
}
END_TEST

/* Times come from clocks that were read before the lock was taken. */
START_TEST (time_that_goes_back_gains_nothing)
{
  struct throttle_state s;

  state_of_rate (&s, 1000);
  ck_assert_uint_eq (throttle_state_begin (&s, 10, 0, START_NS), 0);
  ck_assert_uint_ne (throttle_state_begin (&s, 10, 0, START_NS + 9 * MS), 0);
  ck_assert_uint_ne (throttle_state_begin (&s, 10, 0, START_NS), 0);
  ck_assert_uint_ne (throttle_state_begin (&s, 10, 0, START_NS + 9 * MS), 0);
  ck_assert_uint_eq (throttle_state_begin (&s, 10, 0, START_NS + 10 * MS), 0);
}
END_TEST

/* Asking often loses nothing of a rate that is low. */
START_TEST (asking_often_loses_nothing)
{
  struct throttle_state s;
  uint64_t t;

  state_of_rate (&s, 3);
  ck_assert_uint_eq (throttle_state_begin (&s, 6, 0, START_NS), 0);
  for (t = 1; t < 2000; ++t)
    ck_assert_uint_ne (throttle_state_begin (&s, 1, 0, START_NS + t * MS), 0);
  ck_assert_uint_eq (throttle_state_begin (&s, 1, 0, START_NS + 2000 * MS), 0);
}
END_TEST

START_TEST (a_new_rate_holds_for_what_waits)
{
  struct throttle_state s;
  uint64_t now = START_NS;

  state_of_rate (&s, 1);
  ck_assert_uint_eq (throttle_state_begin (&s, 1000000, 0, now), 0);
  now += NS_PER_SECOND;
  throttle_state_set_rate (&s, 999999, now); /* so many are left to pay */
  ck_assert_uint_eq (begin_from (&s, 1, 0, now), now + NS_PER_SECOND);
  throttle_state_set_rate (&s, 1, now + NS_PER_SECOND);
  ck_assert_uint_ne (throttle_state_begin (&s, 1, 0, now + NS_PER_SECOND), 0);
  throttle_state_set_rate (&s, 0, now + NS_PER_SECOND);
  ck_assert_uint_eq (throttle_state_begin (&s, 1, 0, now + NS_PER_SECOND), 0);
  /* What was begun without a limit is not owed. */
  throttle_state_set_rate (&s, 1, now + NS_PER_SECOND);
  ck_assert_uint_eq (throttle_state_begin (&s, 1, 0, now + NS_PER_SECOND), 0);
}
END_TEST

/* A new rate begins with nothing saved up. */
START_TEST (a_new_rate_begins_strictly)
{
  struct throttle_state s;
  uint64_t now = START_NS + 10 * NS_PER_SECOND;

  state_of_rate (&s, 1000000);
  throttle_state_set_rate (&s, 1000, now);
  ck_assert_uint_eq (throttle_state_begin (&s, 10, 0, now), 0);
  ck_assert_uint_eq (begin_from (&s, 10, 0, now), now + 10 * MS);
}
END_TEST

START_TEST (rates_have_limits)
{
  struct throttle_state s;
  const uint64_t far = UINT64_MAX - NS_PER_SECOND;
  uint64_t now;
  unsigned i;

  /* The highest: parts of 2^24 bytes take 2^-12 seconds each. */
  state_of_rate (&s, KCOPYD_THROTTLE_RATE_MAX);
  ck_assert_uint_eq (throttle_state_begin (&s, 1U << 24, 0, START_NS), 0);
  ck_assert_uint_ne (throttle_state_begin (&s, 1, 0, START_NS + 244140), 0);
  /* The time that has passed, times the rate, is 2^76. */
  now = START_NS + 244140 + (UINT64_C (1) << 40);
  ck_assert_uint_eq (throttle_state_begin (&s, 1U << 24, 0, now), 0);
  ck_assert_uint_eq (throttle_state_begin (&s, 1U << 24, 0, far), 0);
  for (i = 0; i < 409; ++i) /* 100 ms are saved up, and no more */
    ck_assert_uint_eq (throttle_state_begin (&s, 1U << 24, 0, far), 0);
  ck_assert_uint_ne (throttle_state_begin (&s, 1U << 24, 0, far), 0);
  /* The lowest. */
  state_of_rate (&s, 1);
  ck_assert_uint_eq (throttle_state_begin (&s, 1U << 24, 0, START_NS), 0);
  now = START_NS + (1U << 24) * NS_PER_SECOND;
  ck_assert_uint_ne (throttle_state_begin (&s, 1, 0, now - 1), 0);
  ck_assert_uint_eq (throttle_state_begin (&s, 1, 0, now), 0);
  /* More than the highest is none. */
  state_of_rate (&s, KCOPYD_THROTTLE_RATE_MAX + 1);
  for (i = 0; i < 10000; ++i)
    ck_assert_uint_eq (throttle_state_begin (&s, 1U << 24, 0, START_NS), 0);
}
END_TEST

/* What was not copied after all is taken back, but saves nothing up. */
START_TEST (holes_do_not_count)
{
  struct throttle_state s;
  unsigned i;

  state_of_rate (&s, 1000);
  ck_assert_uint_eq (throttle_state_begin (&s, 500, 0, START_NS), 0);
  ck_assert_uint_ne (throttle_state_begin (&s, 500, 0, START_NS), 0);
  throttle_state_end (&s, 500, START_NS, START_NS);
  ck_assert_uint_eq (throttle_state_begin (&s, 500, 0, START_NS), 0);
  throttle_state_end (&s, 400, START_NS, START_NS);
  ck_assert_uint_eq (begin_from (&s, 1, 0, START_NS), START_NS + 100 * MS);

  state_of_rate (&s, 1000);
  ck_assert_uint_eq (throttle_state_begin (&s, 10, 0, START_NS), 0);
  throttle_state_end (&s, 5000, START_NS, START_NS);
  ck_assert_uint_eq (throttle_state_begin (&s, 10, 0, START_NS), 0);
  ck_assert_uint_ne (throttle_state_begin (&s, 10, 0, START_NS), 0);
  /* Paid for by then, and more: it is too late. */
  ck_assert_uint_eq (throttle_state_begin (&s, 1, 0, START_NS + 60 * MS), 0);
  throttle_state_end (&s, 10, START_NS, START_NS + 60 * MS);
  for (i = 0; i < 50; ++i)
    ck_assert_uint_eq (throttle_state_begin (&s, 1, 0, START_NS + 60 * MS), 0);
  ck_assert_uint_ne (throttle_state_begin (&s, 1, 0, START_NS + 60 * MS), 0);
}
END_TEST

/* In any span of time no more begins than is promised, and whoever always
 * asks in time gets all of it.
 */
START_TEST (no_span_has_more_than_its_rate)
{
  enum { EVENTS = 400 };
  static uint64_t when[EVENTS], bytes[EVENTS];
  uint64_t x = 12345;
  unsigned round, i, j;

  for (round = 0; round < 20; ++round) {
    const uint64_t rate = 1000 + round * 100000;
    struct throttle_state s;
    uint64_t now = START_NS, total = 0;

    state_of_rate (&s, rate);
    for (i = 0; i < EVENTS; ++i) {
      x = x * 6364136223846793005U + 1442695040888963407U;
      bytes[i] = 1 + (x >> 40) % 5000;
      if (round % 2 && (x >> 33) % 10 == 0)
        now += (x >> 20) % (300 * MS); /* away for a while */
      when[i] = now = begin_from (&s, bytes[i], 0, now);
      total += bytes[i];
    }
    for (i = 0; i < EVENTS; ++i) {
      uint64_t begun = 0;

      for (j = i; j < EVENTS; ++j) { /* all but the last one */
        uint64_t span = when[j] - when[i] + KCOPYD_THROTTLE_BURST_NS;

        ck_assert_uint_le (begun, rate * span / NS_PER_SECOND + 1);
        begun += bytes[j];
      }
    }
    if (round % 2 == 0)
      ck_assert_uint_ge (total + 1, rate * (now - START_NS) / NS_PER_SECOND);
  }
}
END_TEST

/*----- the share -------------------------------------------------------*/

#define IN_FLIGHT FOREGROUND_BEGIN
#define ENDED (FOREGROUND_BEGIN + FOREGROUND_END)

START_TEST (the_foreground_counts)
{
  uint64_t f = 0;
  unsigned i;

  for (i = 0; i < 1000; ++i) {
    f += FOREGROUND_BEGIN;
    f += FOREGROUND_BEGIN;
    ck_assert_uint_eq (foreground_in_flight (f), i + 2);
    f += FOREGROUND_END;
    ck_assert_uint_eq (foreground_in_flight (f), i + 1);
    ck_assert_uint_eq (foreground_ended (f), i + 1);
  }
  ck_assert_uint_eq (foreground_in_flight (ENDED), 0);
  ck_assert_uint_eq (foreground_ended (ENDED), 1);
}
END_TEST

START_TEST (parts_run_one_by_one_beside_the_foreground)
{
  struct throttle_state s;
  uint64_t now = START_NS, when;

  throttle_state_init (&s);
  s.share = 20;
  ck_assert_uint_eq (throttle_state_begin (&s, 1, IN_FLIGHT, now), 0);
  when = throttle_state_begin (&s, 1, IN_FLIGHT, now);
  ck_assert_uint_eq (when, now + KCOPYD_THROTTLE_RECHECK_NS);
  /* It ran for 5 ms: 20 ms are left to the foreground. */
  now += 5 * MS;
  throttle_state_end (&s, 0, START_NS, now);
  ck_assert_uint_ne (throttle_state_begin (&s, 1, IN_FLIGHT, now), 0);
  ck_assert_uint_eq (begin_from (&s, 1, IN_FLIGHT, now), now + 20 * MS);
}
END_TEST

START_TEST (nothing_is_held_without_a_foreground)
{
  struct throttle_state s;
  unsigned i;

  throttle_state_init (&s);
  s.share = 1;
  for (i = 0; i < 100; ++i)
    ck_assert_uint_eq (throttle_state_begin (&s, 1, 0, START_NS), 0);
  for (i = 0; i < 100; ++i)
    throttle_state_end (&s, 0, START_NS, START_NS + NS_PER_SECOND);
  ck_assert_uint_eq (throttle_state_begin (&s, 1, 0, START_NS + NS_PER_SECOND),
                     0);
}
END_TEST

START_TEST (a_share_of_all_does_not_yield)
{
  struct throttle_state s;
  unsigned i;

  throttle_state_init (&s);
  for (i = 0; i < 100; ++i)
    ck_assert_uint_eq (throttle_state_begin (&s, 1, IN_FLIGHT, START_NS), 0);
}
END_TEST

/* It is busy for a while after it was seen; and it was seen if it came and
 * went since the last look.
 */
START_TEST (the_foreground_has_just_been)
{
  struct throttle_state s;
  uint64_t now = START_NS;

  throttle_state_init (&s);
  s.share = 1;
  ck_assert_uint_eq (throttle_state_begin (&s, 1, ENDED, now), 0);
  ck_assert_uint_ne (throttle_state_begin (&s, 1, ENDED, now), 0);
  ck_assert_uint_eq (begin_from (&s, 1, ENDED, now),
                     START_NS + KCOPYD_THROTTLE_QUIET_NS);
  now = START_NS + NS_PER_SECOND;
  ck_assert_uint_ne (throttle_state_begin (&s, 1, 2 * ENDED, now), 0);
  ck_assert_uint_eq (begin_from (&s, 1, 2 * ENDED, now),
                     now + KCOPYD_THROTTLE_QUIET_NS);
}
END_TEST

/* However long a part takes, and however small the share. */
START_TEST (pauses_have_a_limit)
{
  /* The last two are too long to be multiplied. */
  static const uint64_t times[] = { 1, NS_PER_SECOND, UINT64_MAX / 2,
                                    UINT64_MAX / 99 + 1 };
  unsigned share, i;

  for (share = 1; share < 100; share += 49)
    for (i = 0; i < ARRAY_COUNT (times); ++i) {
      struct throttle_state s;
      uint64_t now = START_NS + times[i], pause;

      throttle_state_init (&s);
      s.share = share;
      ck_assert_uint_eq (throttle_state_begin (&s, 1, IN_FLIGHT, START_NS), 0);
      throttle_state_end (&s, 0, START_NS, now);
      pause = begin_from (&s, 1, IN_FLIGHT, now) - now;
      ck_assert_uint_le (pause, KCOPYD_THROTTLE_HOLD_MAX_NS);
      if (i == 0)
        ck_assert_uint_eq (pause, (100 - share) / share);
      else
        ck_assert_uint_ge (pause, KCOPYD_THROTTLE_HOLD_MAX_NS / 100);
    }
}
END_TEST

/* Both limits hold at once: the later time counts. */
START_TEST (rate_and_share_hold_both)
{
  struct throttle_state s;

  state_of_rate (&s, 1000);
  s.share = 50;
  ck_assert_uint_eq (throttle_state_begin (&s, 30, IN_FLIGHT, START_NS), 0);
  throttle_state_end (&s, 0, START_NS, START_NS + 20 * MS);
  ck_assert_uint_eq (begin_from (&s, 1, IN_FLIGHT, START_NS + 20 * MS),
                     START_NS + 40 * MS);
  throttle_state_end (&s, 0, START_NS + 40 * MS, START_NS + 41 * MS);
  ck_assert_uint_eq (begin_from (&s, 70, IN_FLIGHT, START_NS + 41 * MS),
                     START_NS + 42 * MS);
  throttle_state_end (&s, 0, START_NS + 42 * MS, START_NS + 43 * MS);
  ck_assert_uint_eq (begin_from (&s, 1, IN_FLIGHT, START_NS + 43 * MS),
                     START_NS + 101 * MS);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    nothing_is_limited_at_first,
    parts_are_paid_for,
    what_is_not_used_is_saved_up_for_a_while,
    time_that_goes_back_gains_nothing,
    asking_often_loses_nothing,
    a_new_rate_holds_for_what_waits,
    a_new_rate_begins_strictly,
    rates_have_limits,
    holes_do_not_count,
    no_span_has_more_than_its_rate,
    the_foreground_counts,
    parts_run_one_by_one_beside_the_foreground,
    nothing_is_held_without_a_foreground,
    a_share_of_all_does_not_yield,
    the_foreground_has_just_been,
    pauses_have_a_limit,
    rate_and_share_hold_both,
    NULL,
  };

  return unit_main ("kcopyd-throttle", tests);
}
