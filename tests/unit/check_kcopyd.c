/* Unit tests of kcopyd: what is copied, in which parts, and the reserve.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "fault-alloc.h"
#include "kcopyd-test.h"

/* Copy COUNT sectors to NUM_DESTS places, and look at every byte. */
static void
copy_well (unsigned pages, unsigned num_dests, sector_t count)
{
  struct io_region dests[KCOPYD_MAX_REGIONS];
  struct copy c;
  unsigned i;

  setup (num_dests, count + 40);
  for (i = 0; i < num_dests; ++i)
    dests[i] = region (1 + i, 3 * i, count);
  c = copy_and_wait (pages, region (0, 11, count), num_dests, dests, 0);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  for (i = 0; i < num_dests; ++i) {
    sector_t end = 3 * i + count;

    ck_assert (is_untouched (1 + i, 0, 3 * i));
    ck_assert (is_copied (1 + i, 3 * i, 11, count));
    ck_assert (is_untouched (1 + i, end, disk_sectors - end));
  }
  ck_assert (is_untouched (0, 0, disk_sectors));
  teardown ();
}

START_TEST (copies_of_every_size)
{
  static const sector_t sizes[] = {
    1,
    7,
    8,
    9,
    KCOPYD_SUB_JOB_SECTORS - 1,
    KCOPYD_SUB_JOB_SECTORS,
    KCOPYD_SUB_JOB_SECTORS + 1,
    3 * KCOPYD_SUB_JOB_SECTORS,
    12 * KCOPYD_SUB_JOB_SECTORS + 5,
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (sizes); ++i) {
    copy_well (256, 1, sizes[i]);
    copy_well (2048, 1, sizes[i]);
  }
}
END_TEST

START_TEST (copies_to_several)
{
  unsigned n;

  for (n = 1; n <= KCOPYD_MAX_REGIONS; ++n) {
    copy_well (16, n, 1);
    copy_well (16, n, 100);
    copy_well (16, n, 300);
  }
  copy_well (256, KCOPYD_MAX_REGIONS, 2 * KCOPYD_SUB_JOB_SECTORS + 1);
}
END_TEST

/* A reserve smaller than a slice, or than anything at all. */
START_TEST (copies_with_a_small_reserve)
{
  static const unsigned pages[] = { 1, 2, 3, 5, 127, 129 };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (pages); ++i) {
    copy_well (pages[i], 2, 1);
    copy_well (pages[i], 2, PAGE_SECTORS);
    copy_well (pages[i], 2, PAGE_SECTORS + 1);
    copy_well (pages[i], 2, 1000);
  }
  copy_well (1, 1, 2 * KCOPYD_SUB_JOB_SECTORS + 1);
}
END_TEST

START_TEST (copies_of_nothing)
{
  struct io_region dests[2];
  struct copy c;

  setup (2, 100);
  dests[0] = region (1, 0, 0);
  dests[1] = region (2, UINT64_MAX, 0);
  c = copy_and_wait (1, region (0, UINT64_MAX, 0), 2, dests, 0);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  ck_assert_uint_eq (fault_trace_count (trace), 0);
  teardown ();
}
END_TEST

/* A sub-job is never larger than promised, nor than the reserve. */
START_TEST (slices_have_limits)
{
  static const unsigned pages[] = { 1, 3, 128, 1000 };
  unsigned i;
  size_t j;

  for (i = 0; i < ARRAY_COUNT (pages); ++i) {
    sector_t limit = MIN_OF (KCOPYD_SUB_JOB_SECTORS,
                             (sector_t) pages[i] * PAGE_SECTORS);
    struct io_region dest;
    sector_t total = 0;

    setup (1, 3000);
    dest = region (1, 0, 3000);
    (void) copy_and_wait (pages[i], region (0, 0, 3000), 1, &dest, 0);
    for (j = 0; j < fault_trace_count (trace); ++j) {
      struct fault_event e = fault_trace_event (trace, j);

      ck_assert_uint_ge (e.count, 1);
      ck_assert_uint_le (e.count, limit);
      total += e.count;
    }
    ck_assert_uint_eq (total, 6000); /* each sector read and written once */
    ck_assert_uint_eq (j, 2 * div_round_up (3000, limit));
    teardown ();
  }
}
END_TEST

/*----- the reserve -----------------------------------------------------*/

/* Three jobs of a page each, two pages: the third waits, in order. */
START_TEST (jobs_share_the_reserve)
{
  struct kcopyd_client *kc;
  struct copy c[5];
  unsigned i;

  setup (1, 64);
  ck_assert_int_eq (kcopyd_client_create (2, &kc), 0);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  for (i = 0; i < 5; ++i) {
    struct io_region from = region (0, 8 * i, 8);
    struct io_region dest = region (1, 8 * i, 8);

    copy_init (&c[i], kc, NULL);
    ck_assert_int_eq (kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c[i]),
                      0);
  }
  for (i = 0; i < 4; ++i) {
    fault_bdev_gate_wait (disks[0], 2); /* two at a time, to the end */
    fault_bdev_gate_pass (disks[0], 1);
  }
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (fault_bdev_calls_at_once (disks[0]), 2);
  ck_assert (is_copied (1, 0, 0, 40));
  for (i = 0; i < 5; ++i)
    event_count_destroy (&c[i].done);
  teardown ();
}
END_TEST

START_TEST (jobs_wait_in_order)
{
  struct kcopyd_client *kc;
  struct copy c[6];
  char *text;
  unsigned i;

  setup (1, 64);
  atomic_store (&copies_done, 0);
  ck_assert_int_eq (kcopyd_client_create (1, &kc), 0);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  for (i = 0; i < 6; ++i) {
    struct io_region from = region (0, 10 * i, 10);
    struct io_region dest = region (1, 10 * i, 10);

    copy_init (&c[i], kc, NULL);
    ck_assert_int_eq (kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c[i]),
                      0);
  }
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  for (i = 0; i < 6; ++i) {
    ck_assert_uint_eq (c[i].order, i + 1);
    event_count_destroy (&c[i].done);
  }
  text = fault_trace_text (trace, FAULT_READ);
  ck_assert_str_eq (text, "d0 read 0+8, d0 read 8+2, d0 read 10+8, "
                          "d0 read 18+2, d0 read 20+8, d0 read 28+2, "
                          "d0 read 30+8, d0 read 38+2, d0 read 40+8, "
                          "d0 read 48+2, d0 read 50+8, d0 read 58+2");
  free (text);
  teardown ();
}
END_TEST

/* Slices of a long job are in flight together. */
START_TEST (slices_run_at_once)
{
  const sector_t count = 8 * KCOPYD_SUB_JOB_SECTORS;
  struct kcopyd_client *kc;
  struct io_region from, dest;
  struct copy c;

  setup (1, count);
  from = region (0, 0, count);
  dest = region (1, 0, count);
  ck_assert_int_eq (kcopyd_client_create (512, &kc), 0); /* four slices */
  copy_init (&c, kc, NULL);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  ck_assert_int_eq (kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c), 0);
  fault_bdev_gate_wait (disks[0], 4); /* or hang */
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (fault_bdev_calls_at_once (disks[0]), 4);
  ck_assert (is_copied (1, 0, 0, count));
  event_count_destroy (&c.done);
  teardown ();
}
END_TEST

/* A job that has begun is finished before the next begins, even if it had
 * to stop because as many of its slices were in flight as may be (8, which
 * is also what the reserve has room for).
 */
START_TEST (a_job_that_has_begun_goes_first)
{
  const sector_t slice = KCOPYD_SUB_JOB_SECTORS;
  const unsigned slices = 8;
  struct kcopyd_client *kc;
  struct copy c[2];
  struct fault_event e;
  unsigned i;

  setup (1, 10 * slice);
  ck_assert_int_eq (
    kcopyd_client_create (slices * (unsigned) slice / PAGE_SECTORS, &kc), 0);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  for (i = 0; i < 2; ++i) { /* nine slices, and one behind */
    struct io_region from = region (0, i * 9 * slice, i ? slice : 9 * slice);
    struct io_region dest = region (1, i * 9 * slice, i ? slice : 9 * slice);

    copy_init (&c[i], kc, NULL);
    ck_assert_int_eq (kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c[i]),
                      0);
  }
  fault_bdev_gate_wait (disks[0], slices);
  fault_bdev_gate_pass (disks[0], 1);
  fault_bdev_gate_wait (disks[0], slices); /* the ninth has come */
  fault_bdev_gate_pass (disks[0], slices - 1);
  wait_for_calls (1, FAULT_WRITE, slices);
  fault_trace_reset (trace);
  fault_bdev_gate_pass (disks[0], 1); /* the first that came since then */
  wait_for_calls (1, FAULT_WRITE, slices + 1);
  e = fault_trace_event (trace, 0);
  ck_assert_int_eq (e.op, FAULT_READ);
  ck_assert_uint_eq (e.sector, 8 * slice);
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  ck_assert (is_copied (1, 0, 0, 10 * slice));
  for (i = 0; i < 2; ++i)
    event_count_destroy (&c[i].done);
  teardown ();
}
END_TEST

/*----- many at once ----------------------------------------------------*/

#define COPIERS 4
#define COPIER_SECTORS ((sector_t) 2000)
#define COPIER_JOBS 40

struct copier {
  struct thread thread;
  struct kcopyd_client *kc;
  struct witness *witness;
  unsigned number;
  unsigned failures;
};

static void
copy_often (void *arg)
{
  struct copier *copier = arg;
  struct copy copies[COPIER_JOBS];
  sector_t sector = copier->number * COPIER_SECTORS;
  unsigned i;

  for (i = 0; i < COPIER_JOBS; ++i) {
    sector_t count = i * 7 % 97; /* 1,9xx sectors in all */
    struct io_region from = region (0, sector, count);
    struct io_region dests[2];

    dests[0] = region (1, sector, count);
    dests[1] = region (2, sector, count);
    copy_init (&copies[i], copier->kc, copier->witness);
    if (kcopyd_copy (copier->kc, &from, 2, dests, 0, copy_done, &copies[i]))
      abort ();
    sector += count;
    if (i % 8 == 7)
      event_count_wait (&copies[i].done, 1);
  }
  for (i = 0; i < COPIER_JOBS; ++i) {
    event_count_wait (&copies[i].done, 1);
    copier->failures += copies[i].read_err != 0 || copies[i].write_err != 0;
    event_count_destroy (&copies[i].done);
  }
}

START_TEST (many_threads_copy_at_once)
{
  static const unsigned pages[] = { 1, 3, 64 };
  unsigned p, i;

  for (p = 0; p < ARRAY_COUNT (pages); ++p) {
    struct copier copiers[COPIERS];
    struct kcopyd_client *kc;
    struct witness witness;
    sector_t each = 0;

    setup (2, COPIERS * COPIER_SECTORS);
    witness_init (&witness);
    ck_assert_int_eq (kcopyd_client_create (pages[p], &kc), 0);
    for (i = 0; i < COPIER_JOBS; ++i)
      each += i * 7 % 97;
    ck_assert_uint_le (each, COPIER_SECTORS);
    for (i = 0; i < COPIERS; ++i) {
      copiers[i] = (struct copier){ .kc = kc,
                                    .witness = &witness,
                                    .number = i };
      ck_assert_int_eq (thread_start (&copiers[i].thread, "copier", copy_often,
                                      &copiers[i]),
                        0);
    }
    for (i = 0; i < COPIERS; ++i) {
      thread_join (&copiers[i].thread);
      ck_assert_uint_eq (copiers[i].failures, 0);
    }
    kcopyd_client_destroy (kc);
    ck_assert_uint_eq (witness.violations, 0);
    for (i = 0; i < COPIERS; ++i) {
      sector_t at = i * COPIER_SECTORS;

      ck_assert (is_copied (1, at, at, each));
      ck_assert (is_copied (2, at, at, each));
      ck_assert (is_untouched (1, at + each, COPIER_SECTORS - each));
    }
    ck_assert_uint_le (fault_bdev_calls_at_once (disks[0]), pages[p]);
    mutex_destroy (&witness.lock);
    teardown ();
  }
}
END_TEST

/*----- devices made of others ------------------------------------------*/

/* Its reads wait until something has been copied elsewhere. */
static int
read_when_copied (void *handle, const struct iovec *iov, int iovcnt,
                  sector_t sector)
{
  event_count_wait (handle, 1);
  return bdev_read (devices[0], iov, iovcnt, sector);
}

static void
limits_of_stacked (void *handle, struct bdev_limits *limits)
{
  (void) handle;
  limits->is_stacked = true;
}

/* More parts of a job than there are threads wait for another job: they leave
 * it some, even if there is one thread for each floor only.
 */
START_TEST (a_stacked_source_waits_for_a_copy)
{
  static const struct bdev_ops ops = {
    .struct_size = sizeof ops,
    .read = read_when_copied,
    .limits = limits_of_stacked,
  };
  unsigned round;

  for (round = 0; round < 2; ++round) {
    struct io_region from, dest;
    struct block_device *stacked;
    struct copy lower, upper;

    setup (2, 64 * SMALL_SECTORS);
    copy_init (&upper, small_client (64, 64), NULL);
    copy_init (&lower, small_client (64, 64), NULL);
    ck_assert_int_eq (bdev_create (&ops, &lower.done, "stacked", disk_sectors,
                                   &stacked),
                      0);
    if (round == 1)
      fault_alloc_fail_from (FAULT_ALLOC_THREADS, 0);
    from = (struct io_region){ stacked, 0, disk_sectors };
    dest = region (2, 0, disk_sectors);
    ck_assert_int_eq (kcopyd_copy (upper.kc, &from, 1, &dest, 0, copy_done,
                                   &upper),
                      0);
    start_job (&lower, 1, 0, disk_sectors, 0);
    event_count_wait (&upper.done, 1); /* or hang */
    if (round == 1)
      fault_alloc_stop ();
    ck_assert_int_eq (upper.read_err, 0);
    ck_assert_uint_eq (upper.write_err, 0);
    ck_assert (is_copied (1, 0, 0, disk_sectors));
    ck_assert (is_copied (2, 0, 0, disk_sectors));
    finish (&upper);
    finish (&lower);
    bdev_close (stacked);
    teardown ();
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    copies_of_every_size,
    copies_to_several,
    copies_with_a_small_reserve,
    copies_of_nothing,
    slices_have_limits,
    jobs_share_the_reserve,
    jobs_wait_in_order,
    slices_run_at_once,
    a_job_that_has_begun_goes_first,
    many_threads_copy_at_once,
    a_stacked_source_waits_for_a_copy,
    NULL,
  };

  return unit_main ("kcopyd", tests);
}
