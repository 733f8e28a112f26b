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

static void
ignore_end (int read_err, unsigned write_err, void *context)
{
  (void) read_err;
  (void) write_err;
  (void) context;
}

START_TEST (create_has_limits)
{
  const struct kcopyd_options good = {
    .struct_size = sizeof good,
    .num_pages = 1,
    .sub_job_sectors = KCOPYD_SUB_JOB_SECTORS_MAX,
    .sub_jobs = KCOPYD_SUB_JOBS_MAX,
  };
  struct kcopyd_options bad[7];
  struct kcopyd_client *kc = NULL;
  unsigned i;

  ck_assert_int_eq (kcopyd_client_create (0, &kc), -EINVAL);
  ck_assert_int_eq (kcopyd_client_create (KCOPYD_PAGES_MAX + 1, &kc), -EINVAL);
  ck_assert_int_eq (kcopyd_client_create (UINT_MAX, &kc), -EINVAL);
  for (i = 0; i < ARRAY_COUNT (bad); ++i)
    bad[i] = good;
  bad[0].struct_size = sizeof bad[0].struct_size;
  bad[1].num_pages = 0;
  bad[2].num_pages = KCOPYD_PAGES_MAX + 1;
  bad[3].sub_job_sectors++;
  bad[4].sub_job_sectors = UINT64_MAX;
  bad[5].sub_jobs++;
  bad[6].sub_jobs = UINT_MAX;
  for (i = 0; i < ARRAY_COUNT (bad); ++i)
    ck_assert_int_eq (kcopyd_client_create_options (&bad[i], &kc), -EINVAL);
  ck_assert_ptr_null (kc);
  ck_assert_int_eq (kcopyd_client_create_options (&good, &kc), 0);
  kcopyd_client_destroy (kc);
}
END_TEST

/* Programs that were built with a library that was older, or is newer. */
START_TEST (structures_may_grow)
{
  struct {
    struct kcopyd_options known;
    uint64_t added;
  } options = {
    .known = { .struct_size = sizeof options, .num_pages = 1 },
    .added = 1,
  };
  struct {
    struct kcopyd_progress known;
    uint64_t added;
  } progress;
  struct kcopyd_client *kc = NULL;

  ck_assert_int_eq (kcopyd_client_create_options (&options.known, &kc),
                    -EINVAL);
  options.added = 0;
  ck_assert_int_eq (kcopyd_client_create_options (&options.known, &kc), 0);
  kcopyd_client_destroy (kc);
  options.known.sub_jobs = UINT_MAX; /* it does not have this one */
  options.known.struct_size = offsetof (struct kcopyd_options, sub_jobs);
  ck_assert_int_eq (kcopyd_client_create_options (&options.known, &kc), 0);

  kcopyd_do_callback (kcopyd_prepare_callback (kc, ignore_end, NULL), 0, 0);
  memset (&progress, 0xff, sizeof progress);
  progress.known.struct_size = sizeof progress;
  ck_assert_int_eq (kcopyd_client_progress (kc, &progress.known), 0);
  ck_assert_uint_eq (progress.known.jobs_started, 1);
  ck_assert_uint_eq (progress.known.write_errors, 0);
  ck_assert_uint_eq (progress.added, 0);
  ck_assert_uint_eq (progress.known.struct_size, sizeof progress);
  memset (&progress, 0xff, sizeof progress);
  progress.known.struct_size = offsetof (struct kcopyd_progress,
                                         sectors_queued);
  ck_assert_int_eq (kcopyd_client_progress (kc, &progress.known), 0);
  ck_assert_uint_eq (progress.known.jobs_started, 1);
  ck_assert_uint_eq (progress.known.sectors_queued, UINT64_MAX);
  kcopyd_client_destroy (kc);
}
END_TEST

/* As many parts are in flight, and as large, as was asked for. */
START_TEST (options_are_kept)
{
  static const struct {
    sector_t wanted, got;
    unsigned sub_jobs_wanted, sub_jobs_got;
  } cases[] = {
    { 0, KCOPYD_SUB_JOB_SECTORS, 0, KCOPYD_SUB_JOBS },
    { 1, 1, 1, 1 },
    { 7, 7, 3, 3 },
    { 2048, 2048, 9, 9 },
    /* No more than the reserve, nor than there are threads. */
    { KCOPYD_SUB_JOB_SECTORS_MAX, 3000 * PAGE_SECTORS, 1, 1 },
    { 11, 11, KCOPYD_SUB_JOBS_MAX, 16 },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    const struct kcopyd_options options = {
      .struct_size = sizeof options,
      .num_pages = 3000,
      .sub_job_sectors = cases[i].wanted,
      .sub_jobs = cases[i].sub_jobs_wanted,
    };
    struct copy c;
    size_t j;

    copy_init (&c, NULL, NULL);
    ck_assert_int_eq (kcopyd_client_create_options (&options, &c.kc), 0);
    setup (1, cases[i].got * (cases[i].sub_jobs_got + 1));
    fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
    start_job (&c, 1, 0, disk_sectors, 0);
    fault_bdev_gate_wait (disks[0], cases[i].sub_jobs_got);
    fault_bdev_gate_open (disks[0]);
    finish (&c);
    ck_assert_uint_eq (fault_bdev_calls_at_once (disks[0]),
                       cases[i].sub_jobs_got);
    for (j = 0; j < fault_trace_count (trace); ++j)
      ck_assert_uint_eq (fault_trace_event (trace, j).count, cases[i].got);
    ck_assert (is_copied (1, 0, 0, disk_sectors));
    teardown ();
  }
}
END_TEST

START_TEST (zero_checks_its_arguments)
{
  struct io_region dests[9];
  struct kcopyd_client *kc;
  unsigned i;

  setup (1, 64);
  ck_assert_int_eq (kcopyd_client_create (1, &kc), 0);
  for (i = 0; i < 9; ++i)
    dests[i] = region (1, 4 * i, 4);
  ck_assert_int_eq (kcopyd_zero (kc, 0, dests, 0, never_called, NULL), -EINVAL);
  ck_assert_int_eq (kcopyd_zero (kc, 0, NULL, 0, never_called, NULL), -EINVAL);
  ck_assert_int_eq (kcopyd_zero (kc, 9, dests, 0, never_called, NULL), -EINVAL);
  ck_assert_int_eq (kcopyd_zero (kc, 1, dests, 0, NULL, NULL), -EINVAL);
  for (i = 0; i < 32; ++i)
    if (i < KCOPYD_IGNORE_ERROR || i > KCOPYD_SPARSE)
      ck_assert_int_eq (kcopyd_zero (kc, 1, dests, 1U << i, never_called, NULL),
                        -EINVAL);
  dests[1].count = 5;
  ck_assert_int_eq (kcopyd_zero (kc, 2, dests, 0, never_called, NULL), -EINVAL);
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (fault_trace_count (trace), 0);
  teardown ();
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

/* Each kind of job there is. */
enum kind { COPY, COPY_SEQ, COPY_SPARSE, ZERO, CALLBACK, KINDS };

/* Returns what the call returned. */
static int
start_kind (struct copy *c, enum kind kind)
{
  struct io_region from = region (0, 0, 60), dest = region (1, 0, 60);
  struct kcopyd_job *job;

  switch (kind) {
  case ZERO:
    return kcopyd_zero (c->kc, 1, &dest, 0, copy_done, c);
  case CALLBACK:
    job = kcopyd_prepare_callback (c->kc, copy_done, c);
    if (job == NULL)
      return -ENOMEM;
    kcopyd_do_callback (job, 0, 0);
    return 0;
  default:
    return kcopyd_copy (c->kc, &from, 1, &dest,
                        kind == COPY_SEQ      ? SEQ
                        : kind == COPY_SPARSE ? SPARSE | OFFLOAD
                                              : 0,
                        copy_done, c);
  }
}

/* Make a client, do a job under a throttle, destroy the client, while call K
 * of WHAT fails.  Returns how many have failed, and in *ERROR what the
 * client's creation returned.
 */
static unsigned
run_without (unsigned what, unsigned k, enum kind kind, int *error)
{
  struct kcopyd_throttle *t = NULL;
  struct kcopyd_client *kc = NULL;
  struct copy c;
  int r, r_job = 0, r_throttle = 0;
  unsigned failures;

  setup (1, 64);
  copy_init (&c, NULL, NULL);
  fault_alloc_fail_once (what, k);
  r = kcopyd_client_create (3, &kc);
  c.kc = kc;
  if (r == 0) {
    r_throttle = kcopyd_throttle_create (&t);
    if (r_throttle == 0)
      kcopyd_client_set_throttle (kc, t);
    r_job = start_kind (&c, kind);
    kcopyd_client_destroy (kc);
    kcopyd_throttle_destroy (t);
  }
  failures = fault_alloc_stop ();
  if (r != 0)
    ck_assert_ptr_null (kc);
  if (r_throttle != 0)
    ck_assert_int_eq (r_throttle, -ENOMEM);
  ck_assert_int_eq (r_job, 0); /* once there is a client */
  ck_assert_uint_eq (event_count_get (&c.done), r == 0);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  if (r == 0 && kind != CALLBACK)
    ck_assert (kind == ZERO ? is_zeroed (1, 0, 60) : is_copied (1, 0, 0, 60));
  event_count_destroy (&c.done);
  teardown ();
  assert_nothing_reserved ();
  *error = r;
  return failures;
}

START_TEST (fails_at_every_allocation)
{
  unsigned kind, k;
  int r;

  for (kind = 0; kind < KINDS; ++kind) {
    for (k = 0; run_without (FAULT_ALLOC_MEMORY, k, kind, &r) > 0; ++k)
      ck_assert (r == 0 || r == -ENOMEM);
    ck_assert_uint_gt (k,
                       KCOPYD_RESERVED_JOBS + 4); /* client, pool, throttle */
  }
}
END_TEST

START_TEST (fails_at_every_thread)
{
  unsigned kind, k;
  int r;

  for (kind = 0; kind < KINDS; ++kind) {
    for (k = 0; run_without (FAULT_ALLOC_THREADS, k, kind, &r) > 0; ++k)
      ck_assert_int_eq (r, k < 3 ? -EAGAIN : 0);
    ck_assert_uint_ge (k, 3); /* its own, and one for each floor */
  }
}
END_TEST

/* Without memory and threads a client goes on with what it has, however long
 * the job.
 */
START_TEST (copying_needs_no_malloc)
{
  struct copy c;

  setup (1, 4000);
  copy_init (&c, NULL, NULL);
  ck_assert_int_eq (kcopyd_client_create (16, &c.kc), 0);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY | FAULT_ALLOC_THREADS, 0);
  start_job (&c, 1, 0, 4000, 0);
  event_count_wait (&c.done, 1);
  start_zero (&c, 1, 0, 2000, 0);
  event_count_wait (&c.done, 2);
  start_job (&c, 1, 0, 1000, SEQ);
  event_count_wait (&c.done, 3);
  fault_alloc_stop ();
  kcopyd_client_destroy (c.kc);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  ck_assert (is_copied (1, 0, 0, 1000));
  ck_assert (is_zeroed (1, 1000, 1000));
  ck_assert (is_copied (1, 2000, 2000, 2000));
  event_count_destroy (&c.done);
  teardown ();
}
END_TEST

/* So many jobs of every kind need no memory.  One more does, but not when one
 * of them has ended.
 */
static void
use_the_reserve (struct copy *c)
{
  struct kcopyd_job *prepared[KCOPYD_RESERVED_JOBS];
  unsigned before = event_count_get (&c->done), i;
  int one_more[KINDS], again;

  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  for (i = 0; i < KCOPYD_RESERVED_JOBS; ++i) {
    prepared[i] = kcopyd_prepare_callback (c->kc, copy_done, c);
    must (prepared[i] != NULL);
  }
  for (i = 0; i < KINDS; ++i)
    one_more[i] = start_kind (c, i);
  kcopyd_do_callback (prepared[0], 0, 0);
  event_count_wait (&c->done, before + 1);
  again = start_kind (c, COPY);
  event_count_wait (&c->done, before + 2);
  fault_alloc_stop ();
  for (i = 0; i < KINDS; ++i)
    ck_assert_int_eq (one_more[i], -ENOMEM);
  ck_assert_int_eq (again, 0);
  for (i = 1; i < KCOPYD_RESERVED_JOBS; ++i)
    kcopyd_do_callback (prepared[i], 0, 0);
  event_count_wait (&c->done, before + 1 + KCOPYD_RESERVED_JOBS);
}

START_TEST (jobs_are_reserved)
{
  struct kcopyd_job *prepared[3 * KCOPYD_RESERVED_JOBS];
  struct copy c;
  unsigned i;

  setup (1, 64);
  copy_init (&c, NULL, NULL);
  ck_assert_int_eq (kcopyd_client_create (16, &c.kc), 0);
  use_the_reserve (&c);
  /* After more were in use it is what it was. */
  for (i = 0; i < ARRAY_COUNT (prepared); ++i) {
    prepared[i] = kcopyd_prepare_callback (c.kc, copy_done, &c);
    ck_assert_ptr_nonnull (prepared[i]);
  }
  for (i = 0; i < ARRAY_COUNT (prepared); ++i)
    kcopyd_do_callback (prepared[i], 0, 0);
  while (progress_of (c.kc).jobs_ended < progress_of (c.kc).jobs_started)
    (void) sched_yield ();
  use_the_reserve (&c);
  kcopyd_client_destroy (c.kc);
  event_count_destroy (&c.done);
  teardown ();
}
END_TEST

/* Who ends a slice goes on with the next: a long copy needs no more threads
 * than slices in flight, however many slices it has.
 */
START_TEST (a_long_copy_wakes_no_more_threads)
{
  const struct kcopyd_options options = {
    .struct_size = sizeof options,
    .num_pages = 2,
    .sub_job_sectors = PAGE_SECTORS,
    .sub_jobs = 2,
  };
  const sector_t count = 200 * PAGE_SECTORS;
  struct kcopyd_client *kc;
  struct io_region from, dest;
  struct copy c;

  setup (1, count);
  from = region (0, 0, count);
  dest = region (1, 0, count);
  ck_assert_int_eq (kcopyd_client_create_options (&options, &kc), 0);
  copy_init (&c, kc, NULL);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  ck_assert_int_eq (kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c), 0);
  fault_bdev_gate_wait (disks[0], 2);
  fault_alloc_fail_from (FAULT_ALLOC_THREADS, 0);
  fault_bdev_gate_open (disks[0]);
  event_count_wait (&c.done, 1);
  ck_assert_uint_eq (fault_alloc_stop (), 0); /* none was to be started */
  kcopyd_client_destroy (kc);
  ck_assert (is_copied (1, 0, 0, count));
  event_count_destroy (&c.done);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    create_has_limits,
    structures_may_grow,
    options_are_kept,
    zero_checks_its_arguments,
    copy_checks_its_arguments,
    fails_at_every_allocation,
    fails_at_every_thread,
    copying_needs_no_malloc,
    jobs_are_reserved,
    a_long_copy_wakes_no_more_threads,
    NULL,
  };

  return unit_main ("kcopyd-limits", tests);
}
