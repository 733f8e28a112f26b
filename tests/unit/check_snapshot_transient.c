/* Unit tests of snapshots: transient ones, which leave nothing behind.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "snapshot-test.h"

START_TEST (a_transient_snapshot_is_copied_and_never_flushed)
{
  unsigned char data[SECTOR_SIZE] = "";
  struct snapshot_status status;
  struct rig_snapshot *rs;
  struct rig rig;

  rig_create (&rig);
  rs = rig_add_transient (&rig, 8, SECTORS);
  rig_open (&rig);
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 17, 3), 0);
  assert_trace (&rig, FAULT_ALL,
                "origin read 16+8, cow write 0+8, origin write 17+3");
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 16, 8), 0);
  assert_trace (&rig, FAULT_ALL, "origin write 16+8");
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 4, 0, 1), 0);
  assert_trace (&rig, FAULT_ALL,
                "origin read 0+8, cow write 8+8, origin write 0+1");
  assert_frozen (target_of (&rig, 0));

  /* Its own clients' requests are as little durable. */
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (target_write (target_of (&rig, 0), data, 18, 1, BDEV_FUA),
                    0);
  ck_assert_int_eq (target_zero (target_of (&rig, 0), 19, 1, BDEV_FUA), 0);
  ck_assert_int_eq (target_flush (target_of (&rig, 0)), 0);
  ck_assert_int_eq (snapshot_settle (rs->snapshot), 0);
  assert_trace (&rig, FAULT_ALL, "cow write 2+1, cow zero 3+1");
  snapshot_get_status (rs->snapshot, &status);
  ck_assert_uint_eq (status.chunks, 2);
  ck_assert_uint_eq (status.used_sectors, 16);
  ck_assert_uint_eq (status.metadata_sectors, 0);
  rig_finish (&rig);
}
END_TEST

/* A chain of TRANSIENT ones, of which the newest holds two chunks. */
static void
fill_up (struct rig *rig, enum on_cow_error on_cow_error)
{
  rig_create (rig);
  (void) rig_add_transient (rig, 8, SECTORS);
  rig_add_transient (rig, 8, 2 * 8)->on_cow_error = on_cow_error;
  rig_open (rig);
  ck_assert_int_eq (write_pattern (volume_of (rig), 2, 16, 1), 0);
  ck_assert_int_eq (write_pattern (volume_of (rig), 2, 40, 1), 0);
  fault_trace_reset (rig->trace);
}

START_TEST (a_full_transient_store_breaks_its_snapshot_only)
{
  unsigned char data[SECTOR_SIZE];
  struct rig rig;

  fill_up (&rig, BREAK_SNAPSHOT);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 80, 1), 0);
  /* That it is invalid is nowhere but in memory. */
  assert_trace (&rig, FAULT_ALL,
                "origin read 80+8, cow write 0+8, origin write 80+1");
  ck_assert_uint_eq (atomic_load (&rig.snapshots[1].broken_calls), 1);
  ck_assert_ptr_nonnull (strstr (rig.snapshots[1].reason, "is full"));
  ck_assert_int_eq (target_read (target_of (&rig, 1), data, 16, 1), -EIO);
  /* What it had is read through it. */
  assert_frozen (target_of (&rig, 0));
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 0, SECTORS), 0);
  assert_frozen (target_of (&rig, 0));
  rig_finish (&rig);
}
END_TEST

START_TEST (a_full_transient_store_may_break_the_write)
{
  struct rig rig;

  fill_up (&rig, BREAK_GUEST_WRITE);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 80, 1), -ENOSPC);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 16, 8), 0);
  assert_trace (&rig, FAULT_ALL, "origin write 16+8");
  assert_frozen (target_of (&rig, 1));
  assert_frozen (target_of (&rig, 0));
  rig_finish (&rig);
}
END_TEST

START_TEST (a_transient_store_that_fails_is_as_any_other)
{
  struct rig rig;

  rig_create (&rig);
  (void) rig_add_transient (&rig, 8, SECTORS);
  (void) rig_add_transient (&rig, 8, SECTORS);
  rig_open (&rig);
  fault_bdev_fail_once (rig.snapshots[1].disk, FAULT_WRITE, 1);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 0, 1), 0);
  ck_assert (snapshot_is_valid (rig.snapshots[1].snapshot));
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 8, 1), 0);
  ck_assert (!snapshot_is_valid (rig.snapshots[1].snapshot));
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 0, SECTORS), 0);
  assert_frozen (target_of (&rig, 0));
  rig_finish (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_transient_snapshot_is_copied_and_never_flushed,
    a_full_transient_store_breaks_its_snapshot_only,
    a_full_transient_store_may_break_the_write,
    a_transient_store_that_fails_is_as_any_other,
    NULL,
  };

  return unit_main ("snapshot_transient", tests);
}
