/* Unit tests of kcopyd: holes (KCOPYD_SPARSE).
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "kcopyd-test.h"

static void
assert_trace (const char *expected)
{
  char *text = fault_trace_text (trace, FAULT_ALL);

  ck_assert_str_eq (text, expected);
  free (text);
}

START_TEST (holes_become_holes)
{
  struct bdev_extent extent;
  struct copy c;

  setup (2, 24);
  punch (0, 8, 8);
  c = copy_small (2, SPARSE);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  assert_trace ("d0 read 0+8, d1 write 0+8, d2 write 0+8, "
                "d1 zero 8+8 unmap fast, d2 zero 8+8 unmap fast, "
                "d0 read 16+8, d1 write 16+8, d2 write 16+8");
  ck_assert (is_copied (1, 0, 0, 8));
  ck_assert (is_zeroed (1, 8, 8));
  ck_assert (is_copied (2, 16, 16, 8));
  ck_assert_int_eq (bdev_extent (devices[1], 8, 8, &extent), 0);
  ck_assert (extent.is_hole);
  teardown ();
}
END_TEST

/* Nothing is done where source and destination are holes; elsewhere it is. */
START_TEST (holes_on_both_sides_are_left_alone)
{
  setup (2, 16);
  punch (0, 0, 16);
  punch (1, 0, 8);
  punch (2, 0, 7); /* not all of the part */
  (void) copy_small (2, SPARSE);
  assert_trace ("d2 zero 0+8 unmap fast, "
                "d1 zero 8+8 unmap fast, d2 zero 8+8 unmap fast");
  ck_assert (is_zeroed (1, 0, 16));
  ck_assert (is_zeroed (2, 0, 16));
  teardown ();
}
END_TEST

/* Without the flag a hole is copied like anything else; so is, with it, a
 * part with some data in it.
 */
START_TEST (holes_are_copied_unless_asked)
{
  unsigned flags;

  for (flags = 0; flags <= SPARSE; flags += SPARSE) {
    setup (1, 8);
    punch (0, 0, flags == 0 ? 8 : 7);
    (void) copy_small (1, flags);
    assert_trace ("d0 read 0+8, d1 write 0+8");
    ck_assert (is_zeroed (1, 0, 7));
    teardown ();
  }
}
END_TEST

/* A destination that cannot make a hole at once gets zeroes by the long way,
 * alone, whatever it says.
 */
START_TEST (holes_that_cannot_be_made_are_written)
{
  static const int errors[] = { -EOPNOTSUPP, -EIO, -ENOSPC };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (errors); ++i) {
    struct copy c;

    setup (2, 8);
    punch (0, 0, 8);
    fault_bdev_add_rule (disks[2], &(struct fault_rule){
                                     .ops = FAULT_ZERO,
                                     .error = errors[i],
                                   });
    c = copy_small (2, SPARSE);
    ck_assert_int_eq (c.read_err, 0);
    ck_assert_uint_eq (c.write_err, 0);
    fault_trace_reset (trace);
    ck_assert (is_zeroed (1, 0, 8));
    ck_assert (is_zeroed (2, 0, 8));
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_WRITE), 0);
    ck_assert_uint_eq (fault_bdev_calls (disks[2], FAULT_WRITE), 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), 1);
    teardown ();
  }
  /* One that knows no zeroes and no holes. */
  setup (1, 8);
  punch (0, 0, 8);
  bdev_close (devices[1]);
  devices[1] = fault_bdev_open (disks[1], FAULT_OPEN_BARE);
  (void) copy_small (1, SPARSE);
  assert_trace ("d0 read 0+8, d1 write 0+8");
  ck_assert (is_zeroed (1, 0, 8));
  teardown ();
}
END_TEST

/* The long way has the last word. */
START_TEST (holes_may_fail_both_ways)
{
  struct copy c;

  setup (2, 8);
  punch (0, 0, 8);
  fault_bdev_fail_from (disks[1], FAULT_ALL, 0);
  c = copy_small (2, SPARSE);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 1);
  ck_assert (is_untouched (1, 0, 8));
  ck_assert (is_zeroed (2, 0, 8));
  teardown ();

  setup (2, 8);
  punch (0, 0, 8);
  fault_bdev_fail_from (disks[1], FAULT_ZERO, 0);
  fault_bdev_fail_from (disks[0], FAULT_READ, 0);
  c = copy_small (2, SPARSE);
  ck_assert_int_eq (c.read_err, 1);
  ck_assert_uint_eq (c.write_err, 0);
  ck_assert (is_untouched (1, 0, 8));
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    holes_become_holes,
    holes_on_both_sides_are_left_alone,
    holes_are_copied_unless_asked,
    holes_that_cannot_be_made_are_written,
    holes_may_fail_both_ways,
    NULL,
  };

  return unit_main ("kcopyd-holes", tests);
}
