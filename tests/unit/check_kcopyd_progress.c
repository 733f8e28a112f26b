/* Unit tests of kcopyd: its counters.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "kcopyd-test.h"

START_TEST (progress_is_counted)
{
  struct kcopyd_progress p = { .struct_size = 1 };
  struct kcopyd_client *kc = small_client (4, 1);
  struct copy c;

  setup (3, 64);
  ck_assert_int_eq (kcopyd_client_progress (kc, &p), -EINVAL);
  p = progress_of (kc);
  ck_assert_uint_eq (p.jobs_started + p.sectors_queued + p.sectors_done, 0);
  copy_init (&c, kc, NULL);

  /* One part is done, one is in flight. */
  fault_bdev_gate_shut (disks[0], FAULT_READ, 8, 40);
  start_job (&c, 3, 0, 40, IGNORE);
  fault_bdev_gate_wait (disks[0], 1);
  p = progress_of (kc);
  ck_assert_uint_eq (p.jobs_started, 1);
  ck_assert_uint_eq (p.jobs_ended, 0);
  ck_assert_uint_eq (p.sectors_queued, 40);
  ck_assert_uint_eq (p.sectors_done, 8);
  ck_assert_uint_eq (p.sectors_read, 8);
  ck_assert_uint_eq (p.sectors_written, 24);

  /* One cannot be read, another not written to two destinations. */
  fault_bdev_fail_range (disks[0], FAULT_READ, 16, 1);
  fault_bdev_fail_range (disks[1], FAULT_WRITE, 24, 1);
  fault_bdev_fail_range (disks[3], FAULT_WRITE, 24, 1);
  fault_bdev_gate_open (disks[0]);
  event_count_wait (&c.done, 1);
  p = progress_of (kc);
  ck_assert_uint_eq (p.sectors_done, 40);
  ck_assert_uint_eq (p.sectors_read, 32);
  ck_assert_uint_eq (p.sectors_written, 96 - 16);
  ck_assert_uint_eq (p.read_errors, 1);
  ck_assert_uint_eq (p.write_errors, 2);

  /* Zeroes, of which the second part fails; the rest, given up, is done. */
  fault_bdev_fail_range (disks[2], FAULT_ZERO, 8, 1);
  start_zero (&c, 2, 0, 64, 0);
  event_count_wait (&c.done, 2);
  p = progress_of (kc);
  ck_assert_uint_eq (p.sectors_queued, 104);
  ck_assert_uint_eq (p.sectors_done, 104);
  ck_assert_uint_eq (p.sectors_zeroed, 16 + 8);
  ck_assert_uint_eq (p.write_errors, 3);
  ck_assert_uint_eq (p.sectors_read, 32);

  /* Prepared callbacks are jobs of no sectors. */
  kcopyd_do_callback (kcopyd_prepare_callback (kc, copy_done, &c), 0, 0);
  event_count_wait (&c.done, 3);
  while (progress_of (kc).jobs_ended < 3)
    (void) sched_yield (); /* it has yet to return */
  p = progress_of (kc);
  ck_assert_uint_eq (p.jobs_started, 3);
  ck_assert_uint_eq (p.sectors_queued, 104);
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (event_count_get (&c.done), 3);
  event_count_destroy (&c.done);
  teardown ();
}
END_TEST

/* Holes that are made, and holes that are left alone. */
START_TEST (progress_of_holes_is_counted)
{
  struct kcopyd_progress p;
  struct copy c;

  setup (2, 16);
  ck_assert_int_eq (bdev_discard (devices[0], 0, 16, 0), 0);
  ck_assert_int_eq (bdev_discard (devices[2], 8, 8, 0), 0);
  copy_init (&c, small_client (4, 2), NULL);
  start_job (&c, 2, 0, 16, SPARSE);
  event_count_wait (&c.done, 1);
  p = progress_of (c.kc);
  ck_assert_uint_eq (p.sectors_zeroed, 24);
  ck_assert_uint_eq (p.sectors_skipped, 8);
  ck_assert_uint_eq (p.sectors_read + p.sectors_written, 0);
  ck_assert_uint_eq (p.sectors_done, 16);
  finish (&c);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    progress_is_counted,
    progress_of_holes_is_counted,
    NULL,
  };

  return unit_main ("kcopyd-progress", tests);
}
