/* Unit tests of clients of kcopyd under a throttle.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Time really passes here: only that is asserted which cannot depend on how
 * fast the machine is.
 */

#include <config.h>

#include "clock.h"
#include "fault-alloc.h"
#include "kcopyd-test.h"

static struct kcopyd_throttle *
make_throttle (uint64_t rate, unsigned share)
{
  struct kcopyd_throttle *t;

  must (kcopyd_throttle_create (&t) == 0);
  kcopyd_throttle_set_rate (t, rate);
  must (kcopyd_throttle_set_share (t, share) == 0);
  return t;
}

START_TEST (arguments_are_checked)
{
  struct kcopyd_throttle *t = make_throttle (0, 100);
  unsigned failures;
  int r;

  ck_assert_int_eq (kcopyd_throttle_set_share (t, 0), -EINVAL);
  ck_assert_int_eq (kcopyd_throttle_set_share (t, 101), -EINVAL);
  ck_assert_int_eq (kcopyd_throttle_set_share (t, 1), 0);
  kcopyd_throttle_destroy (t);
  kcopyd_throttle_destroy (NULL);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  r = kcopyd_throttle_create (&t);
  failures = fault_alloc_stop ();
  ck_assert_uint_eq (failures, 1);
  ck_assert_int_eq (r, -ENOMEM);
}
END_TEST

/* Two clients share a rate, for copying and zeroing. */
START_TEST (clients_keep_to_the_rate)
{
  const uint64_t rate = 4 * 1024 * 1024;
  const sector_t sectors = 1000;
  struct kcopyd_throttle *t = make_throttle (rate, 100);
  struct copy c[2];
  uint64_t started_ns, ns, least;
  unsigned i;

  setup (2, sectors);
  started_ns = clock_now_ns ();
  for (i = 0; i < 2; ++i) {
    copy_init (&c[i], small_client (64, 8), NULL);
    kcopyd_client_set_throttle (c[i].kc, t);
    if (i == 0)
      start_job (&c[i], 1, 0, sectors, 0);
    else {
      struct io_region dest = region (2, 0, sectors);

      ck_assert_int_eq (kcopyd_zero (c[i].kc, 1, &dest, 0, copy_done, &c[i]),
                        0);
    }
  }
  kcopyd_throttle_destroy (t); /* they keep it */
  finish (&c[0]);
  finish (&c[1]);
  ns = clock_now_ns () - started_ns;
  least = sector_to_bytes (2 * sectors - SMALL_SECTORS) * NS_PER_SECOND / rate -
          KCOPYD_THROTTLE_BURST_NS;
  ck_assert_uint_ge (ns, least);
  ck_assert (is_copied (1, 0, 0, sectors));
  ck_assert (is_zeroed (2, 0, sectors));
  teardown ();
}
END_TEST

/* A job that would wait for an hour is let go in each of these ways. */
START_TEST (those_who_wait_can_be_let_go)
{
  unsigned way;

  for (way = 0; way < 5; ++way) {
    struct kcopyd_throttle *t = make_throttle (1, 100);
    struct kcopyd_throttle *other = make_throttle (0, 100);
    struct copy c;

    setup (1, 64);
    copy_init (&c, small_client (64, 8), NULL);
    kcopyd_client_set_throttle (c.kc, t);
    start_job (&c, 1, 0, 64, 0);
    wait_for_calls (1, FAULT_WRITE, 1); /* the first part is not held */
    ck_assert_uint_eq (event_count_get (&c.done), 0);
    switch (way) {
    case 0:
      kcopyd_throttle_set_rate (t, 0);
      break;
    case 1:
      kcopyd_throttle_set_rate (t, 1U << 30);
      break;
    case 2:
      kcopyd_client_set_throttle (c.kc, NULL);
      break;
    case 3:
      kcopyd_client_set_throttle (c.kc, other);
      break;
    default:
      ck_assert_uint_eq (kcopyd_cancel (c.kc, &c), 1);
    }
    event_count_wait (&c.done, 1);
    finish (&c);
    ck_assert_int_eq (c.read_err, way == 4 ? -ECANCELED : 0);
    ck_assert (way == 4 ? is_copied (1, 0, 0, 8) && is_untouched (1, 8, 56)
                        : is_copied (1, 0, 0, 64));
    kcopyd_throttle_destroy (t);
    kcopyd_throttle_destroy (other);
    teardown ();
  }
}
END_TEST

/* Jobs that are held back hold no I/O thread: there are fewer of these. */
START_TEST (waiting_holds_no_thread)
{
  enum { HELD = 20 };
  struct kcopyd_throttle *t = make_throttle (1, 100);
  struct copy held[HELD], free_one;
  unsigned i;

  setup (1, 64);
  for (i = 0; i < HELD; ++i) {
    copy_init (&held[i], small_client (64, 8), NULL);
    kcopyd_client_set_throttle (held[i].kc, t);
    start_job (&held[i], 1, 0, 64, 0);
  }
  copy_init (&free_one, small_client (64, 8), NULL);
  start_job (&free_one, 1, 0, 64, 0);
  event_count_wait (&free_one.done, 1);
  finish (&free_one);
  kcopyd_throttle_set_rate (t, 0);
  for (i = 0; i < HELD; ++i)
    finish (&held[i]);
  ck_assert (is_copied (1, 0, 0, 64));
  kcopyd_throttle_destroy (t);
  teardown ();
}
END_TEST

/* Beside a foreground that never ends, everything is copied all the same,
 * one part at a time, however many could run.
 */
START_TEST (the_background_always_advances)
{
  struct kcopyd_throttle *t = make_throttle (0, 10);
  struct copy c[2];
  unsigned i;

  setup (1, 200);
  kcopyd_throttle_foreground_begin (t);
  kcopyd_throttle_foreground_begin (t);
  kcopyd_throttle_foreground_end (t);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  for (i = 0; i < 2; ++i) {
    copy_init (&c[i], small_client (64, 8), NULL);
    kcopyd_client_set_throttle (c[i].kc, t);
    start_job (&c[i], 1, 100 * i, 100, 0);
  }
  fault_bdev_gate_wait (disks[0], 1);
  for (i = 0; i < 1000; ++i) /* a chance to begin too many */
    (void) sched_yield ();
  ck_assert_uint_eq (fault_bdev_gate_waiting (disks[0]), 1);
  fault_bdev_gate_open (disks[0]);
  for (i = 0; i < 2; ++i)
    finish (&c[i]);
  ck_assert_uint_eq (fault_bdev_calls_at_once (disks[0]), 1);
  ck_assert_uint_eq (fault_bdev_calls_at_once (disks[1]), 1);
  ck_assert (is_copied (1, 0, 0, 200));
  kcopyd_throttle_foreground_end (t);
  kcopyd_throttle_destroy (t);
  teardown ();
}
END_TEST

/* Holes are quick, whatever the rate. */
START_TEST (holes_are_not_held_back)
{
  struct kcopyd_throttle *t = make_throttle (1, 100);
  struct copy c;

  setup (1, 400);
  ck_assert_int_eq (bdev_discard (devices[0], 0, 400, 0), 0);
  copy_init (&c, small_client (64, 1), NULL);
  kcopyd_client_set_throttle (c.kc, t);
  start_job (&c, 1, 0, 400, SPARSE);
  finish (&c);
  ck_assert (is_zeroed (1, 0, 400));
  kcopyd_throttle_destroy (t);
  teardown ();
}
END_TEST

/* The throttle is changed, and changed for others, under a load. */
struct tuner {
  struct thread thread;
  struct kcopyd_throttle *throttles[2];
  struct kcopyd_client *kc;
  atomic_bool must_stop;
};

static void
tune (void *arg)
{
  struct tuner *tuner = arg;
  unsigned i;

  for (i = 0; !atomic_load (&tuner->must_stop); ++i) {
    struct kcopyd_throttle *t = tuner->throttles[i / 5 % 2];

    kcopyd_throttle_set_rate (t, i % 7 ? (uint64_t) i << 20 : 0);
    must (kcopyd_throttle_set_share (t, 50 + i % 51) == 0);
    kcopyd_throttle_foreground_begin (t);
    kcopyd_client_set_throttle (tuner->kc, i % 11 ? t : NULL);
    kcopyd_throttle_foreground_end (t);
    (void) sched_yield ();
  }
}

START_TEST (throttles_may_change_at_any_time)
{
  struct tuner tuner = { .kc = small_client (32, 4) };
  struct copy c[30];
  unsigned i;

  setup (1, 30 * 60);
  for (i = 0; i < 2; ++i)
    tuner.throttles[i] = make_throttle (1U << 24, 50);
  ck_assert_int_eq (thread_start (&tuner.thread, "tuner", tune, &tuner), 0);
  for (i = 0; i < ARRAY_COUNT (c); ++i) {
    copy_init (&c[i], tuner.kc, NULL);
    start_job (&c[i], 1, i * 60, 60, 0);
  }
  for (i = 0; i < ARRAY_COUNT (c); ++i)
    event_count_wait (&c[i].done, 1);
  atomic_store (&tuner.must_stop, true);
  thread_join (&tuner.thread);
  kcopyd_client_destroy (tuner.kc);
  for (i = 0; i < ARRAY_COUNT (c); ++i)
    event_count_destroy (&c[i].done);
  for (i = 0; i < 2; ++i)
    kcopyd_throttle_destroy (tuner.throttles[i]);
  ck_assert (is_copied (1, 0, 0, 30 * 60));
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    arguments_are_checked,
    clients_keep_to_the_rate,
    those_who_wait_can_be_let_go,
    waiting_holds_no_thread,
    the_background_always_advances,
    holes_are_not_held_back,
    throttles_may_change_at_any_time,
    NULL,
  };

  return unit_main ("kcopyd-throttled", tests);
}
