/* Unit tests of kcopyd: copies that the calling thread makes itself.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "kcopyd-here.h"
#include "kcopyd-test.h"

/* COUNT sectors from SECTOR on, to each of NUM_DESTS disks. */
static int
copy_here (struct copy *c, unsigned num_dests, sector_t sector, sector_t count,
           unsigned flags)
{
  struct io_region from = region (0, sector, count);
  struct io_region dests[KCOPYD_MAX_REGIONS];
  unsigned i;

  for (i = 0; i < num_dests && i < KCOPYD_MAX_REGIONS; ++i)
    dests[i] = region (1 + i, sector, count);
  return kcopyd_copy_here (c->kc, &from, num_dests, dests, flags, copy_done, c);
}

START_TEST (the_end_is_told_before_it_returns)
{
  struct kcopyd_client *kc = small_client (2, 1);
  struct kcopyd_progress p;
  struct witness here;
  struct copy c;
  unsigned i;

  setup (3, 64);
  witness_init (&here);
  here.has_thread = true;
  here.thread = pthread_self ();
  copy_init (&c, kc, &here);
  for (i = 1; i <= 3; ++i) {
    ck_assert_int_eq (copy_here (&c, i, 8 * i, 8, i == 3 ? SPARSE : 0), 0);
    ck_assert_uint_eq (event_count_get (&c.done), i);
    ck_assert_int_eq (c.read_err, 0);
    ck_assert_uint_eq (c.write_err, 0);
    ck_assert (is_copied (i, 8 * i, 8 * i, 8));
    ck_assert (is_untouched (i, 8 * i + 8, 8));
  }
  ck_assert_uint_eq (here.violations, 0);
  p = progress_of (kc);
  ck_assert_uint_eq (p.jobs_started, 3);
  ck_assert_uint_eq (p.jobs_ended, 3);
  ck_assert_uint_eq (p.sectors_queued, 24);
  ck_assert_uint_eq (p.sectors_done, 24);
  ck_assert_uint_eq (p.sectors_read, 24);
  ck_assert_uint_eq (p.sectors_written, 8 + 16 + 24);
  kcopyd_client_destroy (kc);
  event_count_destroy (&c.done);
  mutex_destroy (&here.lock);
  teardown ();
}
END_TEST

START_TEST (errors_are_told)
{
  struct kcopyd_client *kc = small_client (2, 1);
  struct copy c;

  setup (3, 64);
  copy_init (&c, kc, NULL);
  fault_bdev_fail_range (disks[0], FAULT_READ, 3, 1);
  ck_assert_int_eq (copy_here (&c, 2, 0, 8, 0), 0);
  ck_assert_int_ne (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  ck_assert (is_untouched (1, 0, 8) && is_untouched (2, 0, 8));

  fault_bdev_fail_range (disks[2], FAULT_WRITE, 9, 1);
  ck_assert_int_eq (copy_here (&c, 3, 8, 8, 0), 0);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 1 << 1);
  ck_assert (is_copied (1, 8, 8, 8) && is_copied (3, 8, 8, 8));
  ck_assert_uint_eq (event_count_get (&c.done), 2);
  kcopyd_client_destroy (kc);
  event_count_destroy (&c.done);
  teardown ();
}
END_TEST

START_TEST (what_is_left_to_others)
{
  struct kcopyd_client *kc = small_client (2, 2);
  struct kcopyd_throttle *throttle;
  struct copy c, other;

  setup (1, 64);
  copy_init (&c, kc, NULL);
  copy_init (&other, kc, NULL);
  ck_assert_int_eq (copy_here (&c, 1, 0, 0, 0), -EAGAIN);
  ck_assert_int_eq (copy_here (&c, 1, 0, SMALL_SECTORS + 1, 0), -EAGAIN);
  ck_assert_int_eq (copy_here (&c, 0, 0, 8, 0), -EINVAL);
  ck_assert_int_eq (copy_here (&c, 1, 0, 8, 1U << 31), -EINVAL);

  ck_assert_int_eq (kcopyd_throttle_create (&throttle), 0);
  kcopyd_client_set_throttle (kc, throttle);
  ck_assert_int_eq (copy_here (&c, 1, 0, 8, 0), -EAGAIN);
  kcopyd_client_set_throttle (kc, NULL);
  kcopyd_throttle_destroy (throttle);

  /* All pages are in use, and others wait for them. */
  fault_bdev_gate_shut (disks[0], FAULT_READ, 32, 16);
  start_job (&other, 1, 32, 24, 0);
  fault_bdev_gate_wait (disks[0], 2);
  ck_assert_int_eq (copy_here (&c, 1, 0, 8, 0), -EAGAIN);
  fault_bdev_gate_open (disks[0]);
  event_count_wait (&other.done, 1);

  ck_assert_uint_eq (event_count_get (&c.done), 0);
  ck_assert (is_untouched (1, 0, 8));
  ck_assert_int_eq (copy_here (&c, 1, 0, 8, 0), 0);
  kcopyd_client_destroy (kc);
  event_count_destroy (&c.done);
  event_count_destroy (&other.done);
  teardown ();
}
END_TEST

static void
copy_8_here (void *arg)
{
  must (copy_here (arg, 1, 0, 8, 0) == 0);
}

static void
destroy_client (void *arg)
{
  kcopyd_client_destroy (arg);
}

/* The pages come back, and those that wait for them go on. */
START_TEST (others_get_the_pages)
{
  struct kcopyd_client *kc = small_client (1, 1);
  struct thread thread, destroyer;
  struct copy c, other;

  setup (1, 64);
  copy_init (&c, kc, NULL);
  copy_init (&other, kc, NULL);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 8);
  must (thread_start (&thread, "here", copy_8_here, &c) == 0);
  fault_bdev_gate_wait (disks[0], 1);
  start_job (&other, 1, 16, 8, 0);
  ck_assert_uint_eq (event_count_get (&other.done), 0);
  /* Destroying waits for both. */
  must (thread_start (&destroyer, "destroy", destroy_client, kc) == 0);
  fault_bdev_gate_open (disks[0]);
  thread_join (&thread);
  thread_join (&destroyer);
  ck_assert_uint_eq (event_count_get (&c.done), 1);
  ck_assert_uint_eq (event_count_get (&other.done), 1);
  ck_assert (is_copied (1, 0, 0, 8) && is_copied (1, 16, 16, 8));
  event_count_destroy (&c.done);
  event_count_destroy (&other.done);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    the_end_is_told_before_it_returns,
    errors_are_told,
    what_is_left_to_others,
    others_get_the_pages,
    NULL,
  };

  return unit_main ("kcopyd-here", tests);
}
