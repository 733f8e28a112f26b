/* Unit tests of kcopyd: devices that fail.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "kcopyd-errors.h"
#include "kcopyd-test.h"

/*----- errors ----------------------------------------------------------*/

/* What the trace says of slice [SECTOR, SECTOR + COUNT) of disk I: 1 done
 * without error, -1 with, 0 not tried; all slices start at 0.
 */
static int
fate_of (unsigned i, sector_t sector)
{
  size_t j;

  for (j = 0; j < fault_trace_count (trace); ++j) {
    struct fault_event e = fault_trace_event (trace, j);

    if (e.disk == disks[i] && e.sector == sector)
      return e.error == 0 ? 1 : -1;
  }
  return 0;
}

/* Run a job in slices of SLICE sectors and compare the destinations, slice
 * by slice, with what the reads and writes have returned: a slice is there
 * if and only if it was read and written; it is as it was before if it
 * could not be read.  The errors reported are those that were.
 * Returns false if nothing failed.
 */
static bool
copy_with_faults (unsigned pages, sector_t count, unsigned num_dests,
                  unsigned flags)
{
  const sector_t slice = MIN_OF (KCOPYD_SUB_JOB_SECTORS,
                                 (sector_t) pages * PAGE_SECTORS);
  struct io_region dests[KCOPYD_MAX_REGIONS];
  bool read_failed = false;
  unsigned write_failed = 0;
  struct copy c;
  sector_t s;
  unsigned i;

  for (i = 0; i < num_dests; ++i)
    dests[i] = region (1 + i, 0, count);
  c = copy_and_wait (pages, region (0, 0, count), num_dests, dests, flags);

  for (s = 0; s < count; s += slice) {
    sector_t n = MIN_OF (slice, count - s);
    int read = fate_of (0, s);

    if (read < 0)
      read_failed = true;
    if (flags & 1U << KCOPYD_IGNORE_ERROR)
      ck_assert_int_ne (read, 0); /* goes on to the end */
    for (i = 1; i <= num_dests; ++i) {
      int written = fate_of (i, s);

      if (read <= 0) {
        ck_assert_int_eq (written, 0); /* never, not even zeroes */
        ck_assert (is_untouched (i, s, n));
      }
      else if (written > 0)
        ck_assert (is_copied (i, s, s, n));
      else {
        ck_assert_int_lt (written, 0); /* all are tried */
        ck_assert (is_untouched (i, s, n));
        write_failed |= 1U << (i - 1);
      }
    }
  }
  ck_assert_int_eq (c.read_err != 0, read_failed);
  ck_assert_uint_eq (c.write_err, write_failed);
  if (!read_failed && write_failed == 0)
    for (i = 1; i <= num_dests; ++i)
      ck_assert (is_copied (i, 0, 0, count));
  return read_failed || write_failed != 0;
}

/* For each K: call K of the source, then of each destination, fails, once
 * or it and all after it.  One slice at a time (the reserve is that
 * small), several at a time.
 */
static void
fail_every_k (unsigned pages, sector_t count, unsigned num_dests,
              unsigned flags)
{
  unsigned disk, is_once, k;
  bool failed;

  for (disk = 0; disk <= num_dests; ++disk)
    for (is_once = 0; is_once < 2; ++is_once)
      for (k = 0, failed = true; failed; ++k) {
        setup (num_dests, count + 1);
        if (is_once)
          fault_bdev_fail_once (disks[disk], FAULT_READ | FAULT_WRITE, k);
        else
          fault_bdev_fail_from (disks[disk], FAULT_READ | FAULT_WRITE, k);
        failed = copy_with_faults (pages, count, num_dests, flags);
        ck_assert_int_eq (failed, fault_bdev_failed (disks[disk]) > 0);
        teardown ();
      }
}

START_TEST (the_kth_call_fails)
{
  fail_every_k (2, 101, 2, 0); /* 7 slices, the last of 5 sectors */
}
END_TEST

START_TEST (the_kth_call_fails_and_is_ignored)
{
  fail_every_k (2, 101, 2, IGNORE);
}
END_TEST

START_TEST (the_kth_call_of_parallel_slices_fails)
{
  fail_every_k (256, 2 * KCOPYD_SUB_JOB_SECTORS + 9, 1, 0);
  fail_every_k (256, 2 * KCOPYD_SUB_JOB_SECTORS + 9, 1, IGNORE);
}
END_TEST

/* After an error, what has not begun is left alone: at most the slices in
 * flight are read.  Here that is one.
 */
START_TEST (nothing_begins_after_an_error)
{
  unsigned k;

  for (k = 0; k < 7; ++k) {
    setup (1, 101);
    fault_bdev_fail_once (disks[0], FAULT_READ, k);
    ck_assert (copy_with_faults (2, 101, 1, 0));
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), k + 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_WRITE), k);
    teardown ();

    setup (1, 101);
    fault_bdev_fail_once (disks[1], FAULT_WRITE, k);
    ck_assert (copy_with_faults (2, 101, 1, 0));
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), k + 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_WRITE), k + 1);
    teardown ();
  }
}
END_TEST

/* Bits of different slices add up; read errors are told apart from them. */
START_TEST (errors_add_up)
{
  struct io_region dests[8];
  struct copy c;
  unsigned i;

  setup (8, 128);
  for (i = 0; i < 8; ++i)
    dests[i] = region (1 + i, 0, 128);
  fault_bdev_fail_range (disks[0], FAULT_READ, 30, 1);  /* slice 1 */
  fault_bdev_fail_range (disks[1], FAULT_WRITE, 0, 1);  /* slice 0 */
  fault_bdev_fail_range (disks[4], FAULT_WRITE, 20, 1); /* never tried */
  fault_bdev_fail_range (disks[8], FAULT_WRITE, 127, 1);
  c = copy_and_wait (2, region (0, 0, 128), 8, dests, IGNORE);
  ck_assert_int_ne (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 1U << 0 | 1U << 7);
  ck_assert (is_untouched (1, 0, 32));
  ck_assert (is_copied (1, 32, 32, 96));
  for (i = 2; i < 8; ++i) {
    ck_assert (is_copied (i, 0, 0, 16));
    ck_assert (is_untouched (i, 16, 16));
    ck_assert (is_copied (i, 32, 32, 96));
  }
  ck_assert (is_untouched (8, 112, 16));
  teardown ();
}
END_TEST

/* Why, of each side that has failed: the first errno, in the order in which
 * parts end, which here is that of their offsets.
 */
START_TEST (errors_tell_why)
{
  static const struct fault_rule rules[] = {
    { .ops = FAULT_WRITE, .sector = 8, .count = 1, .error = -ENOSPC },
    { .ops = FAULT_WRITE, .sector = 24, .count = 1, .error = -EIO },
    { .ops = FAULT_WRITE, .sector = 24, .count = 1, .error = -EDQUOT },
    { .ops = FAULT_READ, .sector = 40, .count = 1, .error = -ENODEV },
    { .ops = FAULT_READ, .sector = 48, .count = 1, .error = -EIO },
  };
  static const unsigned disk[] = { 1, 1, 3, 0, 0 };
  struct kcopyd_errors why;
  struct io_region from, dests[3];
  struct copy c;
  unsigned i;

  setup (3, 64);
  for (i = 0; i < ARRAY_COUNT (rules); ++i)
    fault_bdev_add_rule (disks[disk[i]], &rules[i]);
  from = region (0, 0, 64);
  for (i = 0; i < 3; ++i)
    dests[i] = region (1 + i, 0, 64);
  copy_init (&c, small_client (1, 1), NULL);
  memset (&why, 0xff, sizeof why);
  ck_assert_int_eq (kcopyd_copy_errors (c.kc, &from, 3, dests, IGNORE,
                                        copy_done, &c, &why),
                    0);
  finish (&c);
  ck_assert_int_ne (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 1U << 0 | 1U << 2);
  ck_assert_int_eq (why.read, -ENODEV);
  ck_assert_int_eq (why.write[0], -ENOSPC);
  ck_assert_int_eq (why.write[1], 0);
  ck_assert_int_eq (why.write[2], -EDQUOT);
  for (i = 3; i < KCOPYD_MAX_REGIONS; ++i)
    ck_assert_int_eq (why.write[i], 0);
  teardown ();
}
END_TEST

/* Every set of failing destinations gives exactly its bits. */
START_TEST (every_set_of_destinations_fails)
{
  struct io_region dests[8];
  unsigned mask, i;

  for (mask = 1; mask < 256; mask = mask < 8 ? mask + 1 : mask * 2 + 1) {
    struct copy c;

    setup (8, 8);
    for (i = 0; i < 8; ++i) {
      dests[i] = region (1 + i, 0, 8);
      if (mask >> i & 1)
        fault_bdev_fail_from (disks[1 + i], FAULT_WRITE, 0);
    }
    c = copy_and_wait (2, region (0, 0, 8), 8, dests, 0);
    ck_assert_int_eq (c.read_err, 0);
    ck_assert_uint_eq (c.write_err, mask);
    for (i = 0; i < 8; ++i)
      ck_assert (mask >> i & 1 ? is_untouched (1 + i, 0, 8)
                               : is_copied (1 + i, 0, 0, 8));
    teardown ();
  }
}
END_TEST

/* An io_region that is not on its device, in whole or in part, or that
 * goes round the end of the numbers, is an error of that io_region; no
 * other sectors are read or written instead.
 */
START_TEST (regions_outside_their_devices)
{
  static const sector_t outside[] = {
    5000,
    UINT64_MAX,
    UINT64_MAX - KCOPYD_SUB_JOB_SECTORS + 1, /* the second slice: from 0 */
    UINT64_MAX - 5,
  };
  const sector_t count = 2 * KCOPYD_SUB_JOB_SECTORS;
  struct io_region dests[2];
  struct copy c;
  unsigned i, flags;

  for (flags = 0; flags <= IGNORE; flags += IGNORE)
    for (i = 0; i < ARRAY_COUNT (outside); ++i) {
      setup (2, 5000);
      dests[0] = region (1, 0, count);
      dests[1] = region (2, 0, count);
      c = copy_and_wait (512, region (0, outside[i], count), 2, dests, flags);
      ck_assert_int_ne (c.read_err, 0);
      ck_assert_uint_eq (c.write_err, 0);
      ck_assert (is_untouched (1, 0, 5000));
      ck_assert (is_untouched (2, 0, 5000));

      dests[0] = region (1, outside[i], count);
      c = copy_and_wait (512, region (0, 0, count), 2, dests, flags);
      ck_assert_int_eq (c.read_err, 0);
      ck_assert_uint_eq (c.write_err, 1);
      ck_assert (is_untouched (1, 0, 5000));
      if (flags != 0)
        ck_assert (is_copied (2, 0, 0, count));
      teardown ();
    }
}
END_TEST

/* A count that no device has would be gone through part by part for years, if
 * errors are ignored.
 */
START_TEST (counts_beyond_all_devices_end_soon)
{
  static const sector_t counts[] = { 5001, (sector_t) 1 << 63, UINT64_MAX };
  unsigned i, is_zero;

  for (is_zero = 0; is_zero < 2; ++is_zero)
    for (i = 0; i < ARRAY_COUNT (counts); ++i) {
      struct kcopyd_progress p;
      struct copy c;

      setup (2, 5000);
      copy_init (&c, small_client (16, 4), NULL);
      if (is_zero)
        start_zero (&c, 2, 0, counts[i], IGNORE);
      else
        start_job (&c, 2, 0, counts[i], IGNORE);
      event_count_wait (&c.done, 1);
      p = progress_of (c.kc);
      ck_assert_uint_le (p.read_errors + p.write_errors, 2 * 4);
      ck_assert_uint_eq (p.sectors_done, counts[i]);
      finish (&c);
      ck_assert_int_eq (c.read_err != 0, !is_zero);
      ck_assert_uint_eq (c.write_err, is_zero ? 3 : 0);
      ck_assert (is_untouched (1, 0, 5000));
      ck_assert (is_untouched (2, 0, 5000));
      teardown ();
    }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    the_kth_call_fails,
    the_kth_call_fails_and_is_ignored,
    the_kth_call_of_parallel_slices_fails,
    nothing_begins_after_an_error,
    errors_add_up,
    errors_tell_why,
    every_set_of_destinations_fails,
    regions_outside_their_devices,
    counts_beyond_all_devices_end_soon,
    NULL,
  };

  return unit_main ("kcopyd-errors", tests);
}
