/* Unit tests of kcopyd: cancelling jobs.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "kcopyd-test.h"

/* Parts in flight end as they would, others never begin. */
START_TEST (cancelled_jobs_begin_nothing_more)
{
  static const unsigned flags[] = { 0, IGNORE, SEQ };
  unsigned f, begun;

  for (f = 0; f < ARRAY_COUNT (flags); ++f)
    for (begun = 1; begun < 5; ++begun) {
      struct copy c;
      sector_t end = begun * SMALL_SECTORS;

      setup (1, 64);
      copy_init (&c, small_client (64, begun), NULL);
      fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
      start_job (&c, 1, 0, 64, flags[f]);
      fault_bdev_gate_wait (disks[0], begun);
      ck_assert_uint_eq (kcopyd_cancel (c.kc, &c), 1);
      ck_assert_uint_eq (kcopyd_cancel (c.kc, &c), 0);
      ck_assert_uint_eq (event_count_get (&c.done), 0);
      fault_bdev_gate_open (disks[0]);
      finish (&c);
      ck_assert_int_eq (c.read_err, -ECANCELED);
      ck_assert_uint_eq (c.write_err, 0);
      ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), begun);
      ck_assert (is_copied (1, 0, 0, end));
      ck_assert (is_untouched (1, end, 64 - end));
      teardown ();
    }
}
END_TEST

/* Errors of what was in flight do not hide it, nor are they hidden. */
START_TEST (cancelled_jobs_may_fail_too)
{
  unsigned kind;

  for (kind = 0; kind < 2; ++kind) {
    struct copy c;

    setup (1, 64);
    copy_init (&c, small_client (64, 2), NULL);
    fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
    fault_bdev_fail_from (disks[kind], FAULT_ALL, 0);
    start_job (&c, 1, 0, 64, 0);
    fault_bdev_gate_wait (disks[0], 2);
    ck_assert_uint_eq (kcopyd_cancel (c.kc, &c), 1);
    fault_bdev_gate_open (disks[0]);
    finish (&c);
    ck_assert_int_eq (c.read_err, -ECANCELED);
    ck_assert_uint_eq (c.write_err, kind);
    ck_assert (is_untouched (1, 0, 64));
    teardown ();
  }
}
END_TEST

/* Those that have not begun end at once; others behind them go on. */
START_TEST (cancelled_jobs_make_way)
{
  struct kcopyd_client *kc = small_client (1, 1);
  struct copy c[4];
  unsigned i;

  setup (1, 64);
  for (i = 0; i < 4; ++i)
    copy_init (&c[i], kc, NULL);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 8);
  start_job (&c[0], 1, 0, 16, 0);
  fault_bdev_gate_wait (disks[0], 1);
  start_job (&c[1], 1, 16, 16, 0);
  start_job (&c[1], 1, 32, 16, 0); /* two of one context */
  start_zero (&c[2], 1, 48, 8, 0);
  start_job (&c[3], 1, 56, 8, 0);
  ck_assert_uint_eq (kcopyd_cancel (kc, kc), 0);
  ck_assert_uint_eq (kcopyd_cancel (kc, &c[1]), 2);
  event_count_wait (&c[1].done, 2);
  ck_assert_uint_eq (event_count_get (&c[0].done), 0);
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  ck_assert_int_eq (c[1].read_err, -ECANCELED);
  ck_assert (is_copied (1, 0, 0, 16));
  ck_assert (is_untouched (1, 16, 32));
  ck_assert (is_zeroed (1, 48, 8));
  ck_assert (is_copied (1, 56, 56, 8));
  for (i = 0; i < 4; ++i) {
    ck_assert_uint_eq (event_count_get (&c[i].done), i == 1 ? 2 : 1);
    ck_assert_int_eq (c[i].read_err, i == 1 ? -ECANCELED : 0);
    event_count_destroy (&c[i].done);
  }
  teardown ();
}
END_TEST

/* A zeroing in front that waits only for its turn gives way at once. */
START_TEST (cancelling_lets_others_begin)
{
  struct kcopyd_client *kc = small_client (2, 4);
  struct copy c[3];
  unsigned i;

  setup (1, 64);
  for (i = 0; i < 3; ++i)
    copy_init (&c[i], kc, NULL);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 16);
  start_job (&c[0], 1, 0, 16, 0); /* has both pages */
  fault_bdev_gate_wait (disks[0], 2);
  start_job (&c[1], 1, 16, 16, 0); /* waits for a page, in front */
  start_zero (&c[2], 1, 32, 8, 0); /* needs none */
  ck_assert_uint_eq (event_count_get (&c[2].done), 0);
  ck_assert_uint_eq (kcopyd_cancel (kc, &c[1]), 1);
  event_count_wait (&c[2].done, 1); /* or hang */
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  ck_assert (is_zeroed (1, 32, 8));
  for (i = 0; i < 3; ++i)
    event_count_destroy (&c[i].done);
  teardown ();
}
END_TEST

/* What has wholly begun, has failed, has ended, or is no copy. */
START_TEST (some_jobs_cannot_be_cancelled)
{
  struct kcopyd_client *kc = small_client (4, 4);
  struct kcopyd_job *job;
  struct copy c[3];
  unsigned i;

  setup (1, 64);
  for (i = 0; i < 3; ++i)
    copy_init (&c[i], kc, NULL);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  start_job (&c[0], 1, 0, 31, 0);
  fault_bdev_gate_wait (disks[0], 4);
  ck_assert_uint_eq (kcopyd_cancel (kc, &c[0]), 0);
  job = kcopyd_prepare_callback (kc, copy_done, &c[1]);
  ck_assert_uint_eq (kcopyd_cancel (kc, &c[1]), 0);
  kcopyd_do_callback (job, 0, 0);
  event_count_wait (&c[1].done, 1);
  fault_bdev_fail_once (disks[0], FAULT_READ, 0);
  fault_bdev_gate_open (disks[0]);
  event_count_wait (&c[0].done, 1);
  ck_assert_uint_eq (kcopyd_cancel (kc, &c[0]), 0);
  /* One of two parts at a time has failed; the other is in flight. */
  fault_bdev_heal (disks[0]);
  fault_bdev_fail_range (disks[0], FAULT_READ, 0, 1);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 8, 1);
  start_job (&c[2], 1, 0, 64, 0);
  fault_bdev_gate_wait (disks[0], 1);
  while (progress_of (kc).read_errors == 0)
    (void) sched_yield ();
  ck_assert_uint_eq (kcopyd_cancel (kc, &c[2]), 0);
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  ck_assert_int_eq (c[2].read_err, 1);
  for (i = 0; i < 3; ++i) {
    ck_assert_uint_eq (event_count_get (&c[i].done), 1);
    event_count_destroy (&c[i].done);
  }
  teardown ();
}
END_TEST

/* While parts come and go: each job is called back once, whole or not. */
START_TEST (cancelling_at_any_time)
{
  enum { JOBS = 40, JOB_SECTORS = 50 };
  struct kcopyd_client *kc = small_client (6, 3);
  struct copy c[JOBS];
  unsigned i, cancelled = 0, told = 0;

  setup (1, JOBS * JOB_SECTORS);
  for (i = 0; i < JOBS; ++i) {
    copy_init (&c[i], kc, NULL);
    start_job (&c[i], 1, i * JOB_SECTORS, JOB_SECTORS, i % 2 ? SEQ : 0);
    if (i % 3 == 2)
      cancelled += kcopyd_cancel (kc, &c[i - i % 5]);
  }
  kcopyd_client_destroy (kc);
  for (i = 0; i < JOBS; ++i) {
    ck_assert_uint_eq (event_count_get (&c[i].done), 1);
    ck_assert (c[i].read_err == 0 || c[i].read_err == -ECANCELED);
    if (c[i].read_err == 0)
      ck_assert (is_copied (1, i * JOB_SECTORS, i * JOB_SECTORS, JOB_SECTORS));
    told += c[i].read_err != 0;
    event_count_destroy (&c[i].done);
  }
  ck_assert_uint_eq (told, cancelled);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    cancelled_jobs_begin_nothing_more,
    cancelled_jobs_may_fail_too,
    cancelled_jobs_make_way,
    cancelling_lets_others_begin,
    some_jobs_cannot_be_cancelled,
    cancelling_at_any_time,
    NULL,
  };

  return unit_main ("kcopyd-cancel", tests);
}
