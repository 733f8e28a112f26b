/* Unit tests of kcopyd: zeroing.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "kcopyd-test.h"

/* Put other devices on the disks of the set BARE: without write_zeroes. */
static void
make_bare (unsigned bare)
{
  unsigned i;

  for (i = 0; i < disk_count; ++i)
    if (bare >> i & 1) {
      bdev_close (devices[i]);
      devices[i] = fault_bdev_open (disks[i], FAULT_OPEN_BARE);
    }
}

START_TEST (zeroes_of_every_size)
{
  static const sector_t sizes[] = { 0, 1, 7, 8, 9, 64, 65, 1000 };
  unsigned n, num_dests, i;

  for (n = 0; n < ARRAY_COUNT (sizes); ++n)
    for (num_dests = 1; num_dests <= KCOPYD_MAX_REGIONS; ++num_dests) {
      struct copy c;
      size_t j;

      setup (num_dests, sizes[n] + 10);
      copy_init (&c, small_client (1, 0), NULL);
      start_zero (&c, num_dests, 3, sizes[n], 0);
      finish (&c);
      ck_assert_int_eq (c.read_err, 0);
      ck_assert_uint_eq (c.write_err, 0);
      for (i = 1; i <= num_dests; ++i) {
        ck_assert (is_untouched (i, 0, 3));
        ck_assert (is_zeroed (i, 3, sizes[n]));
        ck_assert (is_untouched (i, 3 + sizes[n], 7));
      }
      /* Each sector once, in parts that are not too large. */
      ck_assert_uint_eq (fault_trace_count (trace),
                         num_dests * div_round_up (sizes[n], SMALL_SECTORS));
      for (j = 0; j < fault_trace_count (trace); ++j) {
        struct fault_event e = fault_trace_event (trace, j);

        ck_assert_int_eq (e.op, FAULT_ZERO);
        ck_assert_uint_le (e.count, SMALL_SECTORS);
        ck_assert_uint_eq (e.flags, 0);
      }
      teardown ();
    }
}
END_TEST

/* A part of as much as the reserve could hold needs none of it; so many are
 * in flight as may be.
 */
START_TEST (zeroing_is_bounded)
{
  unsigned sub_jobs;

  for (sub_jobs = 1; sub_jobs < 8; ++sub_jobs) {
    struct copy c;

    setup (1, 200);
    copy_init (&c, small_client (1, sub_jobs), NULL);
    fault_bdev_gate_shut (disks[1], FAULT_ZERO, 0, 0);
    start_zero (&c, 1, 0, 200, 0);
    fault_bdev_gate_wait (disks[1], sub_jobs);
    fault_bdev_gate_open (disks[1]);
    finish (&c);
    ck_assert_uint_eq (fault_bdev_calls_at_once (disks[1]), sub_jobs);
    ck_assert (is_zeroed (1, 0, 200));
    teardown ();
  }
}
END_TEST

/* What cannot zero is written with zeroes, and only that. */
START_TEST (each_has_its_own_fallback)
{
  unsigned bare, i;

  for (bare = 0; bare < 16; bare += 2) {
    struct copy c;

    setup (3, 100);
    make_bare (bare);
    if (bare == 4) /* the other way to say it */
      fault_bdev_add_rule (disks[1], &(struct fault_rule){
                                       .ops = FAULT_ZERO,
                                       .error = -EOPNOTSUPP,
                                     });
    copy_init (&c, small_client (1, 0), NULL);
    start_zero (&c, 3, 0, 99, 0);
    finish (&c);
    ck_assert_uint_eq (c.write_err, 0);
    for (i = 1; i <= 3; ++i) {
      ck_assert (is_zeroed (i, 0, 99));
      ck_assert (is_untouched (i, 99, 1));
      ck_assert_int_eq (fault_bdev_calls (disks[i], FAULT_WRITE) > 0,
                        (bare >> i & 1) || (bare == 4 && i == 1));
    }
    teardown ();
  }
}
END_TEST

START_TEST (zeroes_may_become_holes)
{
  struct copy c;
  char *text;

  setup (2, 16);
  ck_assert_int_eq (bdev_discard (devices[2], 0, 8, 0), 0);
  fault_trace_reset (trace);
  copy_init (&c, small_client (1, 1), NULL);
  start_zero (&c, 2, 0, 16, SPARSE);
  finish (&c);
  ck_assert_uint_eq (c.write_err, 0);
  /* The second destination had one already. */
  text = fault_trace_text (trace, FAULT_ALL);
  ck_assert_str_eq (text, "d1 zero 0+8 unmap, d1 zero 8+8 unmap, "
                          "d2 zero 8+8 unmap");
  free (text);
  ck_assert (is_zeroed (1, 0, 16));
  ck_assert (is_zeroed (2, 0, 16));
  teardown ();
}
END_TEST

/* Call K of a destination fails, once or from then on: its bit, and all that
 * was not told to have failed is zero.
 */
START_TEST (the_kth_zeroing_fails)
{
  const unsigned parts = 7;
  unsigned flags, bad, is_once, k, i, p;

  for (flags = 0; flags <= IGNORE; flags += IGNORE)
    for (bad = 1; bad <= 2; ++bad)
      for (is_once = 0; is_once < 2; ++is_once)
        for (k = 0; k <= parts; ++k) {
          struct copy c;
          unsigned failed;

          setup (2, parts * SMALL_SECTORS);
          copy_init (&c, small_client (1, 1), NULL);
          if (is_once)
            fault_bdev_fail_once (disks[bad], FAULT_ALL, k);
          else
            fault_bdev_fail_from (disks[bad], FAULT_ALL, k);
          start_zero (&c, 2, 0, parts * SMALL_SECTORS, flags);
          finish (&c);
          failed = fault_bdev_failed (disks[bad]);
          ck_assert_uint_eq (failed, k == parts          ? 0
                                     : is_once || !flags ? 1
                                                         : parts - k);
          ck_assert_int_eq (c.read_err, 0);
          ck_assert_uint_eq (c.write_err, failed > 0 ? bad : 0);
          for (p = 0; p < parts; ++p)
            for (i = 1; i <= 2; ++i) {
              bool begun = flags != 0 || p <= k;
              bool fails = i == bad && (p == k || (p > k && !is_once));

              ck_assert (
                begun && !fails
                  ? is_zeroed (i, p * SMALL_SECTORS, SMALL_SECTORS)
                  : is_untouched (i, p * SMALL_SECTORS, SMALL_SECTORS));
            }
          teardown ();
        }
}
END_TEST

START_TEST (zeroing_outside_the_device)
{
  static const sector_t outside[] = { 100, 93, UINT64_MAX, UINT64_MAX - 7 };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (outside); ++i) {
    struct io_region dests[2];
    struct copy c;

    setup (2, 100);
    copy_init (&c, small_client (1, 0), NULL);
    dests[0] = region (1, outside[i], 16);
    dests[1] = region (2, 0, 16);
    ck_assert_int_eq (kcopyd_zero (c.kc, 2, dests, IGNORE, copy_done, &c), 0);
    finish (&c);
    ck_assert_uint_eq (c.write_err, 1);
    ck_assert (is_untouched (1, 0, 100));
    ck_assert (is_zeroed (2, 0, 16));
    teardown ();
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    zeroes_of_every_size,
    zeroing_is_bounded,
    each_has_its_own_fallback,
    zeroes_may_become_holes,
    the_kth_zeroing_fails,
    zeroing_outside_the_device,
    NULL,
  };

  return unit_main ("kcopyd-zero", tests);
}
