/* Unit tests of kcopyd: writes in order (KCOPYD_WRITE_SEQ).
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <limits.h>

#include "kcopyd-test.h"

#define PARTS 12U
#define TOTAL (PARTS * SMALL_SECTORS - 3) /* the last one is short */

/* The writes of each destination came by offset, each when the one before
 * it was on all destinations; all of [0, DONE) has come.
 */
static void
assert_in_order (unsigned num_dests, unsigned ops, sector_t done)
{
  sector_t at[KCOPYD_MAX_REGIONS] = { 0 };
  size_t j;
  unsigned i, k;

  for (j = 0; j < fault_trace_count (trace); ++j) {
    struct fault_event e = fault_trace_event (trace, j);

    for (i = 0; i < num_dests; ++i) {
      if (e.disk != disks[1 + i] || !(e.op & ops))
        continue;
      ck_assert_uint_eq (e.sector, at[i]);
      for (k = 0; k < num_dests; ++k)
        ck_assert_uint_ge (at[k], at[i]);
      at[i] += e.count;
    }
  }
  for (i = 0; i < num_dests; ++i)
    ck_assert_uint_eq (at[i], done);
}

/* The first part is read last: those read meanwhile are not written. */
START_TEST (writes_go_by_offset)
{
  static const unsigned sub_jobs[] = { 1, 2, 5, 16 };
  unsigned n, kind, i;

  for (n = 0; n < ARRAY_COUNT (sub_jobs); ++n)
    for (kind = 0; kind < 2; ++kind) {
      unsigned slices = MIN_OF (sub_jobs[n], PARTS);
      struct copy c;

      setup (2, 100);
      copy_init (&c, small_client (64, sub_jobs[n]), NULL);
      fault_bdev_gate_shut (disks[0], FAULT_READ, kind * SMALL_SECTORS, 1);
      start_job (&c, 2, 0, TOTAL, SEQ);
      fault_bdev_gate_wait (disks[0], slices > kind);
      wait_for_calls (0, FAULT_READ, slices);
      for (i = 0; i < 100; ++i) /* a chance to write too early */
        (void) sched_yield ();
      fault_bdev_gate_open (disks[0]);
      finish (&c);
      ck_assert_int_eq (c.read_err, 0);
      ck_assert_uint_eq (c.write_err, 0);
      assert_in_order (2, FAULT_WRITE, TOTAL);
      for (i = 1; i <= 2; ++i) {
        ck_assert (is_copied (i, 0, 0, TOTAL));
        ck_assert (is_untouched (i, TOTAL, 100 - TOTAL));
      }
      teardown ();
    }
}
END_TEST

/* A write that takes its time does not keep the others from being read;
 * more than may be in flight are not.
 */
START_TEST (reads_run_ahead)
{
  struct copy c;

  setup (1, 100);
  copy_init (&c, small_client (64, 4), NULL);
  fault_bdev_gate_shut (disks[1], FAULT_WRITE, 0, 1);
  start_job (&c, 1, 0, TOTAL, SEQ);
  fault_bdev_gate_wait (disks[1], 1);
  wait_for_calls (0, FAULT_READ, 4);
  ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), 4);
  ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_WRITE), 1);
  fault_bdev_gate_open (disks[1]);
  finish (&c);
  assert_in_order (1, FAULT_WRITE, TOTAL);
  ck_assert_uint_eq (fault_bdev_calls_at_once (disks[1]), 1);
  teardown ();
}
END_TEST

/* Parts are read in turn, and written, through a reserve of one page. */
START_TEST (order_needs_no_more_pages)
{
  unsigned pages;

  for (pages = 1; pages < 5; ++pages) {
    struct copy c[3];
    struct kcopyd_client *kc = small_client (pages, 8);
    unsigned i;

    setup (1, 3 * TOTAL);
    for (i = 0; i < 3; ++i) {
      copy_init (&c[i], kc, NULL);
      start_job (&c[i], 1, i * TOTAL, TOTAL, SEQ);
    }
    kcopyd_client_destroy (kc);
    for (i = 0; i < 3; ++i) {
      ck_assert_uint_eq (event_count_get (&c[i].done), 1);
      event_count_destroy (&c[i].done);
    }
    ck_assert (is_copied (1, 0, 0, 3 * TOTAL));
    teardown ();
  }
}
END_TEST

static sector_t
part_end (unsigned k)
{
  return MIN_OF ((k + 1) * SMALL_SECTORS, TOTAL);
}

/* All before part K is copied, nothing behind it is; of part K itself that
 * is to be seen on the destinations of the set WRITTEN.
 */
static void
assert_prefix (unsigned num_dests, unsigned k, unsigned written)
{
  sector_t at = k * SMALL_SECTORS, end = part_end (k);
  unsigned i;

  for (i = 0; i < num_dests; ++i) {
    ck_assert (is_copied (1 + i, 0, 0, at));
    ck_assert (written >> i & 1 ? is_copied (1 + i, at, at, end - at)
                                : is_untouched (1 + i, at, end - at));
    ck_assert (is_untouched (1 + i, end, disk_sectors - end));
  }
}

/* KCOPYD_IGNORE_ERROR makes no difference. */
START_TEST (the_first_read_error_is_the_end)
{
  unsigned flags, sub_jobs, k;

  for (flags = SEQ; flags <= (SEQ | IGNORE); flags += IGNORE)
    for (sub_jobs = 1; sub_jobs <= PARTS; sub_jobs += 3)
      for (k = 0; k < PARTS; ++k) {
        struct copy c;

        setup (2, 100);
        copy_init (&c, small_client (64, sub_jobs), NULL);
        fault_bdev_fail_range (disks[0], FAULT_READ, k * SMALL_SECTORS, 1);
        start_job (&c, 2, 0, TOTAL, flags);
        finish (&c);
        ck_assert_int_eq (c.read_err, 1);
        ck_assert_uint_eq (c.write_err, 0);
        assert_prefix (2, k, 0);
        assert_in_order (2, FAULT_WRITE, k * SMALL_SECTORS);
        if (sub_jobs == 1) /* nor is anything read any more */
          ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), k + 1);
        teardown ();
      }
}
END_TEST

START_TEST (the_first_write_error_is_the_end)
{
  unsigned flags, sub_jobs, bad, k, i;

  for (flags = SEQ; flags <= (SEQ | IGNORE); flags += IGNORE)
    for (sub_jobs = 1; sub_jobs <= PARTS; sub_jobs += 5)
      for (k = 0; k < PARTS; ++k)
        for (bad = 1; bad < 4; ++bad) {
          struct copy c;

          setup (2, 100);
          copy_init (&c, small_client (64, sub_jobs), NULL);
          for (i = 0; i < 2; ++i)
            if (bad >> i & 1)
              fault_bdev_fail_range (disks[1 + i], FAULT_WRITE,
                                     k * SMALL_SECTORS, 1);
          start_job (&c, 2, 0, TOTAL, flags);
          finish (&c);
          ck_assert_int_eq (c.read_err, 0);
          ck_assert_uint_eq (c.write_err, bad);
          assert_prefix (2, k, ~bad);
          assert_in_order (2, FAULT_WRITE, part_end (k));
          if (sub_jobs == 1)
            ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), k + 1);
          teardown ();
        }
}
END_TEST

/* A part that cannot be read, and one before it that cannot be written,
 * which is found out later: the end is the earlier one.
 */
START_TEST (the_earliest_error_is_the_end)
{
  struct copy c;
  unsigned k;

  for (k = 0; k < 5; ++k) {
    setup (2, 100);
    copy_init (&c, small_client (64, PARTS), NULL);
    fault_bdev_fail_range (disks[0], FAULT_READ, 5 * SMALL_SECTORS, 1);
    fault_bdev_fail_range (disks[2], FAULT_WRITE, k * SMALL_SECTORS, 1);
    fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 1);
    start_job (&c, 2, 0, TOTAL, SEQ);
    fault_bdev_gate_wait (disks[0], 1);
    wait_for_calls (0, FAULT_READ, 6); /* the sixth was told */
    fault_bdev_gate_open (disks[0]);
    finish (&c);
    ck_assert_uint_eq (c.write_err, 2);
    assert_prefix (2, k, 1);
    teardown ();
  }
}
END_TEST

/* A source whose parts are read when the test wants it, and fail. */
static struct {
  struct mutex lock;
  struct cond changed;
  unsigned may_end; /* bit K: part K is read, or */
  unsigned fails;   /* fails */
} held;

static int
held_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  unsigned part = (unsigned) (sector / SMALL_SECTORS);

  (void) handle;
  (void) iov;
  (void) iovcnt;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&held.lock);
  while (!(held.may_end >> part & 1))
    cond_wait (&held.changed, &held.lock);
  return held.fails >> part & 1 ? -EIO : 0;
}

static void
let_end (unsigned parts)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&held.lock);
  held.may_end |= parts;
  cond_broadcast (&held.changed);
}

/* A part cannot be written, then a later one cannot be read, and then those
 * between them can.
 */
START_TEST (a_later_error_changes_nothing)
{
  static const struct bdev_ops ops = {
    .struct_size = sizeof ops,
    .read = held_read,
  };
  struct copy c;

  setup (1, 100);
  mutex_init (&held.lock);
  cond_init (&held.changed);
  bdev_close (devices[0]);
  ck_assert_int_eq (bdev_create (&ops, NULL, "held", 100, &devices[0]), 0);
  held.fails = 1U << 5;
  fault_bdev_fail_range (disks[1], FAULT_WRITE, SMALL_SECTORS, 1);
  copy_init (&c, small_client (64, PARTS), NULL);
  start_job (&c, 1, 0, TOTAL, SEQ);
  let_end (3);
  while (progress_of (c.kc).write_errors == 0)
    (void) sched_yield ();
  let_end (1U << 5);
  while (progress_of (c.kc).read_errors == 0)
    (void) sched_yield ();
  let_end (UINT_MAX);
  finish (&c); /* or hang */
  ck_assert_int_eq (c.read_err, 1);
  ck_assert_uint_eq (c.write_err, 1);
  ck_assert (is_untouched (1, SMALL_SECTORS, 100 - SMALL_SECTORS));
  ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_WRITE), 2);
  cond_destroy (&held.changed);
  mutex_destroy (&held.lock);
  teardown ();
}
END_TEST

START_TEST (zeroes_in_order)
{
  unsigned k;

  for (k = 0; k <= PARTS; ++k) {
    struct copy c;
    sector_t at = k * SMALL_SECTORS;

    setup (2, 100);
    copy_init (&c, small_client (1, 4), NULL);
    fault_bdev_fail_range (disks[2], FAULT_ZERO, at, k < PARTS);
    if (k == PARTS)
      fault_bdev_heal (disks[2]);
    start_zero (&c, 2, 0, TOTAL, SEQ | IGNORE);
    finish (&c);
    ck_assert_int_eq (c.read_err, 0);
    ck_assert_uint_eq (c.write_err, k < PARTS ? 2 : 0);
    assert_in_order (2, FAULT_ZERO, k < PARTS ? part_end (k) : TOTAL);
    ck_assert (is_zeroed (2, 0, MIN_OF (at, TOTAL)));
    if (k < PARTS)
      ck_assert (is_untouched (2, at, 100 - at));
    teardown ();
  }
}
END_TEST

/* Part after part, ordered or not, on few pages; each job is right. */
START_TEST (jobs_in_order_among_others)
{
  enum { JOBS = 20, JOB_SECTORS = 60 };
  unsigned pages;

  for (pages = 1; pages < 20; pages += 6) {
    struct kcopyd_client *kc = small_client (pages, 3);
    struct copy c[JOBS];
    unsigned i;

    setup (2, JOBS * JOB_SECTORS);
    for (i = 0; i < JOBS; ++i) {
      copy_init (&c[i], kc, NULL);
      start_job (&c[i], 2, i * JOB_SECTORS, JOB_SECTORS, i % 3 ? SEQ : 0);
    }
    kcopyd_client_destroy (kc);
    for (i = 0; i < JOBS; ++i) {
      ck_assert_uint_eq (event_count_get (&c[i].done), 1);
      ck_assert_uint_eq (c[i].write_err, 0);
      event_count_destroy (&c[i].done);
    }
    ck_assert (is_copied (1, 0, 0, JOBS * JOB_SECTORS));
    ck_assert (is_copied (2, 0, 0, JOBS * JOB_SECTORS));
    teardown ();
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    writes_go_by_offset,
    reads_run_ahead,
    order_needs_no_more_pages,
    the_first_read_error_is_the_end,
    the_first_write_error_is_the_end,
    the_earliest_error_is_the_end,
    a_later_error_changes_nothing,
    zeroes_in_order,
    jobs_in_order_among_others,
    NULL,
  };

  return unit_main ("kcopyd-seq", tests);
}
