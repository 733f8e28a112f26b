/* Unit tests of kcopyd: what is refused, and what fails for want of something.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <limits.h>

#include "fault-alloc.h"
#include "kcopyd-test.h"

/*----- what is refused, and what fails for want of something -----------*/

static void
never_called (int read_err, unsigned write_err, void *context)
{
  (void) read_err;
  (void) write_err;
  (void) context;
  abort ();
}

START_TEST (create_has_limits)
{
  struct kcopyd_client *kc = NULL;

  ck_assert_int_eq (kcopyd_client_create (0, &kc), -EINVAL);
  ck_assert_int_eq (kcopyd_client_create ((1U << 20) + 1, &kc), -EINVAL);
  ck_assert_int_eq (kcopyd_client_create (UINT_MAX, &kc), -EINVAL);
  ck_assert_ptr_null (kc);
}
END_TEST

START_TEST (copy_checks_its_arguments)
{
  struct io_region from, dests[9];
  struct kcopyd_client *kc;
  unsigned i;

  setup (1, 64);
  ck_assert_int_eq (kcopyd_client_create (1, &kc), 0);
  from = region (0, 0, 4);
  for (i = 0; i < 9; ++i)
    dests[i] = region (1, 4 * i, 4);
  ck_assert_int_eq (kcopyd_copy (kc, &from, 0, dests, 0, never_called, NULL),
                    -EINVAL);
  ck_assert_int_eq (kcopyd_copy (kc, &from, 9, dests, 0, never_called, NULL),
                    -EINVAL);
  ck_assert_int_eq (kcopyd_copy (kc, &from, UINT_MAX, dests, 0, never_called,
                                 NULL),
                    -EINVAL);
  ck_assert_int_eq (kcopyd_copy (kc, &from, 1, dests, 0, NULL, NULL), -EINVAL);
  for (i = 0; i < 32; ++i)
    if (i < KCOPYD_IGNORE_ERROR || i > KCOPYD_OFFLOAD)
      ck_assert_int_eq (kcopyd_copy (kc, &from, 1, dests, 1U << i, never_called,
                                     NULL),
                        -EINVAL);
  for (i = 0; i < 8; ++i) {
    dests[i].count = 5;
    ck_assert_int_eq (kcopyd_copy (kc, &from, 8, dests, 0, never_called, NULL),
                      -EINVAL);
    dests[i].count = 4;
  }
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (fault_trace_count (trace), 0);
  teardown ();
}
END_TEST

static void
never_called_by_dm_io (unsigned long bits, void *context)
{
  (void) bits;
  (void) context;
  abort ();
}

/* All that was reserved has been put: asynchronous I/O is refused. */
static void
assert_nothing_reserved (void)
{
  ck_assert_int_eq (dm_io_async_vm (0, NULL, DM_IO_READ, NULL,
                                    never_called_by_dm_io, NULL),
                    -EINVAL);
}

/* Allocation K of making a client, copying, and destroying it fails. */
START_TEST (fails_at_every_allocation)
{
  struct io_region from, dest;
  unsigned failures, k;

  setup (1, 64);
  from = region (0, 0, 60);
  dest = region (1, 2, 60);
  for (k = 0, failures = 1; failures > 0; ++k) {
    struct kcopyd_client *kc = NULL;
    struct copy c;
    int r, r_copy = 0;

    copy_init (&c, NULL, NULL);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = kcopyd_client_create (3, &kc);
    if (r == 0) {
      r_copy = kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c);
      kcopyd_client_destroy (kc);
    }
    failures = fault_alloc_stop ();
    if (r != 0) {
      ck_assert_int_eq (r, -ENOMEM);
      ck_assert_ptr_null (kc);
    }
    else if (r_copy != 0)
      ck_assert_int_eq (r_copy, -ENOMEM);
    else { /* it went on without, say, one more thread */
      ck_assert_int_eq (c.read_err, 0);
      ck_assert_uint_eq (c.write_err, 0);
    }
    ck_assert_uint_eq (event_count_get (&c.done), r == 0 && r_copy == 0);
    event_count_destroy (&c.done);
    assert_nothing_reserved ();
  }
  ck_assert_uint_gt (k, 8); /* client, pool, threads, job */
  ck_assert (is_copied (1, 2, 0, 60));
  teardown ();
}
END_TEST

START_TEST (fails_at_every_thread)
{
  struct io_region from, dest;
  unsigned failures, k;

  setup (1, 64);
  from = region (0, 0, 60);
  dest = region (1, 2, 60);
  for (k = 0, failures = 1; failures > 0; ++k) {
    struct kcopyd_client *kc = NULL;
    struct copy c;
    int r, r_copy = 0;

    copy_init (&c, NULL, NULL);
    fault_alloc_fail_once (FAULT_ALLOC_THREADS, k);
    r = kcopyd_client_create (3, &kc);
    if (r == 0) {
      r_copy = kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c);
      kcopyd_client_destroy (kc);
    }
    failures = fault_alloc_stop ();
    ck_assert_int_eq (r, k < 2 ? -EAGAIN : 0);
    assert_nothing_reserved ();
    ck_assert_int_eq (r_copy, 0);
    ck_assert_uint_eq (event_count_get (&c.done), r == 0);
    ck_assert_int_eq (c.read_err, 0);
    ck_assert_uint_eq (c.write_err, 0);
    event_count_destroy (&c.done);
  }
  ck_assert_uint_ge (k, 3);
  ck_assert (is_copied (1, 2, 0, 60));
  teardown ();
}
END_TEST

/* From now on neither memory nor threads: a client goes on with what it
 * has, however long the job.
 */
START_TEST (copying_needs_no_malloc)
{
  struct kcopyd_client *kc;
  struct io_region from, dest;
  struct copy c;
  int r;

  setup (1, 4000);
  from = region (0, 0, 4000);
  dest = region (1, 0, 4000);
  ck_assert_int_eq (kcopyd_client_create (16, &kc), 0);
  copy_init (&c, kc, NULL);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 1); /* one, for the job */
  r = kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c);
  event_count_wait (&c.done, r == 0 ? 1 : 0);
  fault_alloc_stop ();
  ck_assert_int_eq (r, 0);
  kcopyd_client_destroy (kc);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  ck_assert (is_copied (1, 0, 0, 4000));
  event_count_destroy (&c.done);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    create_has_limits,     copy_checks_its_arguments, fails_at_every_allocation,
    fails_at_every_thread, copying_needs_no_malloc,   NULL,
  };

  return unit_main ("kcopyd-limits", tests);
}
