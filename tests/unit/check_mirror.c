/* Unit tests of the mirror.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "fault-alloc.h"
#include "mirror-test.h"

/*----- without faults --------------------------------------------------*/

START_TEST (all_legs_get_the_same)
{
  unsigned legs, i;

  for (legs = 1; legs <= MIRROR_MAX_LEGS; ++legs) {
    unsigned char data[4 * SECTOR_SIZE];
    struct mirror_status status;
    struct rig rig;

    rig_create (&rig, legs);
    rig_open (&rig);
    fill_pattern (data, 2, 30, 4);
    ck_assert_int_eq (target_write (rig.target, data, 30, 4, 0), 0);
    for (i = 0; i < legs; ++i) {
      assert_disk_pattern (rig.disks[i], 2, 30, 4);
      ck_assert_uint_eq (fault_bdev_pending (rig.disks[i]), 1);
    }
    ck_assert_int_eq (target_flush (rig.target), 0);
    for (i = 0; i < legs; ++i)
      ck_assert_uint_eq (fault_bdev_pending (rig.disks[i]), 0);
    ck_assert_int_eq (target_write (rig.target, data, 50, 4, BDEV_FUA), 0);
    ck_assert_int_eq (target_zero (rig.target, 70, 4,
                                   BDEV_FUA | BDEV_UNMAP | BDEV_FAST),
                      0);
    for (i = 0; i < legs; ++i) {
      ck_assert_uint_eq (fault_bdev_pending (rig.disks[i]), 0);
      fault_bdev_look (rig.disks[i], 70, 4, data);
      assert_all_bytes (data, 0, sizeof data);
    }
    ck_assert_int_eq (target_read (rig.target, data, 31, 2), 0);
    assert_pattern (data, 2, 31, 2);
    status = status_of (&rig);
    ck_assert_uint_eq (status.leg_count, legs);
    ck_assert_uint_eq (status.regions_total, REGIONS);
    ck_assert_uint_eq (status.regions_in_sync, REGIONS);
    ck_assert_uint_eq (status.region_sectors, REGION);
    for (i = 0; i < legs; ++i) {
      ck_assert_uint_eq (status.legs[i].writes, 3);
      ck_assert_uint_eq (status.legs[i].write_bytes, 12 * SECTOR_SIZE);
      ck_assert_uint_eq (status.legs[i].write_errors, 0);
      ck_assert_uint_eq (status.legs[i].read_bytes, i == 0 ? 1024 : 0);
    }
    ck_assert (mirror_is_clean (rig.mirror));
    ck_assert_uint_eq (change_count (&rig), 0);
    rig_destroy (&rig);
  }
}
END_TEST

/* A flush that comes while another is under way is not part of it: it
 * covers what had been written when it came.
 */
START_TEST (a_flush_covers_what_came_before_it)
{
  struct call first = { .op = 'f' }, second = { .op = 'f' };
  struct rig rig;
  unsigned i;

  rig_create (&rig, 2);
  rig_open (&rig);
  first.target = second.target = rig.target;
  fault_bdev_gate_shut (rig.disks[0], FAULT_FLUSH, 0, 0);
  call_start (&first);
  fault_bdev_gate_wait (rig.disks[0], 1);
  ck_assert_int_eq (write_pattern (&rig, 2, 30, 4), 0);
  call_start (&second);
  for (i = 0; i < 3; ++i)
    short_wait ();
  ck_assert (!atomic_load (&second.is_done));
  fault_bdev_gate_open (rig.disks[0]);
  ck_assert_int_eq (call_join (&first), 0);
  ck_assert_int_eq (call_join (&second), 0);
  for (i = 0; i < 2; ++i)
    ck_assert_uint_eq (fault_bdev_pending (rig.disks[i]), 0);
  rig_destroy (&rig);
}
END_TEST

START_TEST (extents_are_those_of_the_trusted_leg)
{
  struct bdev_extent extent;
  struct rig rig;

  rig_create (&rig, 2);
  rig_open (&rig);
  ck_assert_int_eq (target_zero (rig.target, 16, 16, BDEV_UNMAP), 0);
  ck_assert_int_eq (target_extent (rig.target, 0, 100, &extent), 0);
  ck_assert_uint_eq (extent.count, 16);
  ck_assert (!extent.is_hole);
  ck_assert_int_eq (target_extent (rig.target, 20, 100, &extent), 0);
  ck_assert_uint_eq (extent.count, 12);
  ck_assert (extent.is_hole);
  rig_destroy (&rig);
}
END_TEST

/* Reads of one sector each; which legs they go to. */
static void
count_reads (struct rig *rig, unsigned n, unsigned counts[])
{
  unsigned i;

  for (i = 0; i < rig->params.leg_count; ++i)
    counts[i] = fault_bdev_calls (rig->disks[i], FAULT_READ);
  for (i = 0; i < n; ++i)
    ck_assert_int_eq (read_one (rig, i), 0);
  for (i = 0; i < rig->params.leg_count; ++i)
    counts[i] = fault_bdev_calls (rig->disks[i], FAULT_READ) - counts[i];
}

START_TEST (reads_go_where_the_policy_says)
{
  unsigned char data[SECTOR_SIZE];
  struct call read = { .op = 'r', .buffer = data, .sector = 7, .count = 1 };
  unsigned counts[3];
  struct rig rig;

  rig_create (&rig, 3);
  rig.params.read_policy = READ_FIRST;
  rig_open (&rig);
  count_reads (&rig, 12, counts);
  ck_assert_uint_eq (counts[0], 12);
  rig_close (&rig);

  rig.params.read_policy = READ_ROUND_ROBIN;
  rig_open (&rig);
  count_reads (&rig, 12, counts);
  ck_assert_uint_eq (counts[0], 4);
  ck_assert_uint_eq (counts[1], 4);
  ck_assert_uint_eq (counts[2], 4);
  rig_close (&rig);

  /* While one read is held in the first leg, others go elsewhere. */
  rig.params.read_policy = READ_LEAST_PENDING;
  rig_open (&rig);
  read.target = rig.target;
  fault_bdev_gate_shut (rig.disks[0], FAULT_READ, 0, 0);
  call_start (&read);
  fault_bdev_gate_wait (rig.disks[0], 1);
  count_reads (&rig, 5, counts);
  ck_assert_uint_eq (counts[0], 0);
  ck_assert_uint_eq (counts[1], 5);
  fault_bdev_gate_open (rig.disks[0]);
  ck_assert_int_eq (call_join (&read), 0);
  rig_close (&rig);

  rig.params.read_policy = READ_ROUND_ROBIN;
  rig.params.is_write_mostly[0] = rig.params.is_write_mostly[2] = true;
  rig_open (&rig);
  count_reads (&rig, 12, counts);
  ck_assert_uint_eq (counts[1], 12);
  /* When no other can be read, they are. */
  fault_bdev_fail_from (rig.disks[1], FAULT_READ, 0);
  count_reads (&rig, 12, counts);
  ck_assert_uint_eq (counts[0] + counts[2], 12);
  rig_destroy (&rig);
}
END_TEST

/*----- failing reads ---------------------------------------------------*/

START_TEST (a_failed_read_is_tried_on_other_legs)
{
  unsigned char data[SECTOR_SIZE];
  unsigned good;

  for (good = 0; good < 3; ++good) {
    unsigned i;
    struct rig rig;

    rig_create (&rig, 3);
    rig.params.read_policy = READ_FIRST;
    rig_open (&rig);
    for (i = 0; i < 3; ++i)
      if (i != good)
        fault_bdev_fail_range (rig.disks[i], FAULT_READ, 40, 1);
    memset (data, 0, sizeof data);
    ck_assert_int_eq (target_read (rig.target, data, 40, 1), 0);
    assert_pattern (data, BASE_SEED, 40, 1);
    if (good > 0)
      assert_said ("E: mirror: leg 0 (leg0): read of 512 bytes at 20480 "
                   "failed: Input/output error");
    /* A leg is not dropped because of a read. */
    ck_assert_uint_eq (change_count (&rig), 0);
    for (i = 0; i < 3; ++i) {
      ck_assert_int_eq (state_of (&rig, i), LEG_IN_SYNC);
      ck_assert_uint_eq (status_of (&rig).legs[i].read_errors, i < good);
    }
    rig_destroy (&rig);
  }
}
END_TEST

START_TEST (a_read_that_fails_on_all_legs_is_an_error)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig, 3);
  rig_open (&rig);
  for (i = 0; i < 3; ++i)
    fault_bdev_add_rule (rig.disks[i], &(struct fault_rule){ .ops = FAULT_READ,
                                                             .error = -ENXIO });
  ck_assert_int_eq (read_one (&rig, 9), -ENXIO);
  for (i = 0; i < 3; ++i) {
    ck_assert_uint_eq (fault_bdev_calls (rig.disks[i], FAULT_READ), 1);
    ck_assert_int_eq (state_of (&rig, i), LEG_IN_SYNC);
    fault_bdev_heal (rig.disks[i]);
  }
  ck_assert_int_eq (read_one (&rig, 9), 0);
  rig_destroy (&rig);
}
END_TEST

START_TEST (what_is_not_in_sync_is_read_from_one_leg)
{
  unsigned char data[SECTOR_SIZE];
  unsigned counts[3];
  struct rig rig;

  rig_create (&rig, 3);
  rig.params.states[0] = LEG_FAILED;
  rig.params.states[1] = LEG_IN_SYNC;
  rig.params.read_policy = READ_ROUND_ROBIN;
  rig_open_unequal (&rig);
  count_reads (&rig, 12, counts);
  ck_assert_uint_eq (counts[1], 12);
  /* No other leg is asked if that one cannot be read. */
  fault_bdev_fail_from (rig.disks[1], FAULT_READ, 0);
  ck_assert_int_eq (target_read (rig.target, data, 3, 1), -EIO);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[0], FAULT_READ), 0);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[2], FAULT_READ), 0);
  assert_said ("no other leg is in sync there");
  ck_assert (!mirror_is_clean (rig.mirror));
  rig_destroy (&rig);
}
END_TEST

/* The trusted leg need not be the first; when it is dropped, the first in
 * sync is.
 */
START_TEST (the_primary_is_trusted)
{
  unsigned counts[3];
  struct rig rig;

  rig_create (&rig, 3);
  rig.params.primary = 1;
  rig.params.read_policy = READ_ROUND_ROBIN;
  rig_open_unequal (&rig);
  count_reads (&rig, 9, counts);
  ck_assert_uint_eq (counts[1], 9);
  resync_once (&rig);
  assert_disk_pattern (rig.disks[0], OTHER_SEED + 1, 0, SECTORS);
  assert_disk_pattern (rig.disks[2], OTHER_SEED + 1, 0, SECTORS);
  rig_close (&rig);

  rig_open_unequal (&rig);
  fault_bdev_fail_once (rig.disks[1], FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (&rig, 5, 100, 1), 0);
  count_reads (&rig, 9, counts);
  ck_assert_uint_eq (counts[0], 9);
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_leg_that_recovers_is_written_and_not_read)
{
  unsigned counts[2];
  struct rig rig;

  rig_create (&rig, 2);
  rig.params.states[1] = LEG_RECOVERING;
  rig.params.read_policy = READ_ROUND_ROBIN;
  rig_open (&rig);
  count_reads (&rig, 10, counts);
  ck_assert_uint_eq (counts[0], 10);
  ck_assert_int_eq (write_pattern (&rig, 2, 100, 5), 0);
  assert_disk_pattern (rig.disks[1], 2, 100, 5);
  /* It alone cannot vouch for a write. */
  fault_bdev_fail_once (rig.disks[0], FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (&rig, 3, 100, 5), -EIO);
  ck_assert_int_eq (state_of (&rig, 0), LEG_IN_SYNC);
  ck_assert_int_eq (state_of (&rig, 1), LEG_RECOVERING);
  /* If it fails itself it is dropped. */
  fault_bdev_fail_once (rig.disks[1], FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (&rig, 3, 100, 5), 0);
  ck_assert_int_eq (state_of (&rig, 1), LEG_FAILED);
  ck_assert_uint_eq (change_count (&rig), 1);
  rig_destroy (&rig);
}
END_TEST

/*----- failing writes, flushes and zeroings ----------------------------*/

static int
do_op (struct rig *rig, unsigned op, uint64_t seed)
{
  switch (op) {
  case FAULT_WRITE:
    return write_pattern (rig, seed, 40, 4);
  case FAULT_ZERO:
    return target_zero (rig->target, 40, 4, 0);
  default:
    return target_flush (rig->target);
  }
}

static const unsigned failing_ops[] = { FAULT_WRITE, FAULT_ZERO, FAULT_FLUSH };

/* For each number of legs, each leg, each kind of call, and the k-th call
 * of it: the leg is out, which was recorded before the call returned.
 */
START_TEST (a_leg_that_fails_is_dropped_first)
{
  unsigned legs, bad, o, k, i;

  for (legs = 2; legs <= 4; ++legs)
    for (bad = 0; bad < legs; ++bad)
      for (o = 0; o < ARRAY_COUNT (failing_ops); ++o)
        for (k = 0; k < 3; ++k) {
          unsigned op = failing_ops[o], calls;
          struct rig rig;

          rig_create (&rig, legs);
          rig_open (&rig);
          fault_bdev_fail_once (rig.disks[bad], op, k);
          for (i = 0; i < k; ++i)
            ck_assert_int_eq (do_op (&rig, op, 10 + i), 0);
          ck_assert_uint_eq (change_count (&rig), 0);
          ck_assert_int_eq (do_op (&rig, op, 20), 0);
          ck_assert_uint_eq (change_count (&rig), 1);
          ck_assert_uint_eq (rig.changes[0].leg, bad);
          ck_assert_int_eq (rig.changes[0].state, LEG_FAILED);
          ck_assert_ptr_nonnull (
            strstr (rig.changes[0].reason, "failed: Input/output error"));
          assert_said ("leg failed, volume degraded");
          for (i = 0; i < legs; ++i)
            ck_assert_int_eq (state_of (&rig, i),
                              i == bad ? LEG_FAILED : LEG_IN_SYNC);
          ck_assert (mirror_is_clean (rig.mirror));
          /* It is left alone from then on. */
          calls = fault_bdev_calls (rig.disks[bad], FAULT_ALL);
          ck_assert_int_eq (write_pattern (&rig, 30, 40, 4), 0);
          ck_assert_int_eq (target_flush (rig.target), 0);
          for (i = 0; i < 10; ++i)
            ck_assert_int_eq (read_one (&rig, i), 0);
          ck_assert_uint_eq (fault_bdev_calls (rig.disks[bad], FAULT_ALL),
                             calls);
          ck_assert_uint_eq (change_count (&rig), 1);
          assert_equal_legs (&rig);
          rig_destroy (&rig);
        }
}
END_TEST

START_TEST (messages_name_leg_operation_and_place)
{
  struct rig rig;

  rig_create (&rig, 2);
  rig_open (&rig);
  fault_bdev_add_rule (rig.disks[1], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                           .error = -ENOSPC });
  ck_assert_int_eq (write_pattern (&rig, 2, 2, 8), 0);
  ck_assert_str_eq (
    rig.changes[0].reason,
    "write of 4096 bytes at 1024 failed: No space left on device; make room "
    "there, then rejoin it");
  assert_said ("E: mirror: leg 1 (leg1): write of 4096 bytes at 1024 failed: "
               "No space left on device; leg failed, volume degraded; make "
               "room there, then rejoin it");
  ck_assert_uint_eq (status_of (&rig).legs[1].write_errors, 1);
  rig_destroy (&rig);
}
END_TEST

/* A failure that cannot be recorded is the client's error, and changes
 * nothing but that the legs may differ there.
 */
START_TEST (a_failure_that_cannot_be_recorded_fails_the_call)
{
  unsigned o;

  for (o = 0; o < ARRAY_COUNT (failing_ops); ++o) {
    struct mirror_status status;
    struct rig rig;

    rig_create (&rig, 2);
    rig.params.read_policy = READ_ROUND_ROBIN;
    rig_open (&rig);
    rig.answer = -EROFS;
    fault_bdev_fail_once (rig.disks[1], failing_ops[o], 0);
    ck_assert_int_lt (do_op (&rig, failing_ops[o], 2), 0);
    ck_assert_uint_eq (change_count (&rig), 1);
    assert_said ("this cannot be recorded");
    status = status_of (&rig);
    ck_assert_int_eq (status.legs[0].state, LEG_IN_SYNC);
    ck_assert_int_eq (status.legs[1].state, LEG_IN_SYNC);
    ck_assert (!mirror_is_clean (rig.mirror));
    if (failing_ops[o] == FAULT_FLUSH) {
      /* What the leg has lost it never gets back. */
      ck_assert_int_lt (target_flush (rig.target), 0);
      rig_destroy (&rig);
      continue;
    }
    ck_assert_uint_eq (status.regions_in_sync, REGIONS - 1);
    /* Both go on, and the place is read from the first. */
    {
      unsigned before = fault_bdev_calls (rig.disks[1], FAULT_READ), i;

      for (i = 32; i < 48; ++i)
        ck_assert_int_eq (read_one (&rig, i), 0);
      ck_assert_uint_eq (fault_bdev_calls (rig.disks[1], FAULT_READ), before);
    }
    rig.answer = 0;
    ck_assert_int_eq (do_op (&rig, failing_ops[o], 3), 0);
    resync_once (&rig);
    ck_assert (mirror_is_clean (rig.mirror));
    assert_equal_legs (&rig);
    rig_destroy (&rig);
  }
}
END_TEST

START_TEST (the_last_leg_is_never_dropped)
{
  unsigned o, legs;

  for (legs = 1; legs <= 2; ++legs)
    for (o = 0; o < ARRAY_COUNT (failing_ops); ++o) {
      unsigned op = failing_ops[o];
      struct rig rig;

      rig_create (&rig, legs);
      rig_open (&rig);
      if (legs == 2) { /* the first goes */
        fault_bdev_fail_from (rig.disks[0], FAULT_WRITE, 0);
        ck_assert_int_eq (write_pattern (&rig, 2, 0, 1), 0);
        ck_assert_int_eq (state_of (&rig, 0), LEG_FAILED);
      }
      fault_bdev_fail_once (rig.disks[legs - 1], op, 0);
      ck_assert_int_eq (do_op (&rig, op, 2), -EIO);
      ck_assert_uint_eq (change_count (&rig), legs - 1);
      ck_assert_int_eq (state_of (&rig, legs - 1), LEG_IN_SYNC);
      ck_assert (!mirror_is_clean (rig.mirror));
      /* Healed, it goes on; but a flush that has failed has failed. */
      ck_assert_int_eq (write_pattern (&rig, 3, 40, 4), 0);
      ck_assert_int_eq (read_one (&rig, 40), 0);
      ck_assert_int_eq (target_flush (rig.target),
                        op == FAULT_FLUSH ? -EIO : 0);
      rig_destroy (&rig);
    }
}
END_TEST

/* A failed write with FUA is a failed flush, too. */
START_TEST (a_failed_fua_write_fails_later_flushes)
{
  unsigned char data[SECTOR_SIZE] = { 0 };
  unsigned o;

  for (o = 0; o < 2; ++o) {
    struct rig rig;

    rig_create (&rig, 1);
    rig_open (&rig);
    fault_bdev_fail_once (rig.disks[0], failing_ops[o], 0);
    if (o == 0)
      ck_assert_int_eq (target_write (rig.target, data, 5, 1, BDEV_FUA), -EIO);
    else
      ck_assert_int_eq (target_zero (rig.target, 5, 1, BDEV_FUA), -EIO);
    ck_assert_int_lt (target_flush (rig.target), 0);
    ck_assert_int_lt (target_write (rig.target, data, 5, 1, BDEV_FUA), 0);
    ck_assert_int_lt (target_zero (rig.target, 5, 1, BDEV_FUA), 0);
    ck_assert_int_eq (target_write (rig.target, data, 5, 1, 0), 0);
    ck_assert (!mirror_is_clean (rig.mirror));
    rig_destroy (&rig);
  }
}
END_TEST

START_TEST (when_all_legs_fail_none_is_dropped)
{
  unsigned o;

  for (o = 0; o < 2; ++o) {
    unsigned char data[SECTOR_SIZE];
    unsigned before[3], i, j;
    struct rig rig;

    rig_create (&rig, 3);
    rig.params.read_policy = READ_ROUND_ROBIN;
    rig_open (&rig);
    for (i = 0; i < 3; ++i)
      fault_bdev_fail_once (rig.disks[i], failing_ops[o], 0);
    ck_assert_int_eq (do_op (&rig, failing_ops[o], 2), -EIO);
    assert_said ("failed on every leg in sync");
    ck_assert_uint_eq (change_count (&rig), 0);
    for (i = 0; i < 3; ++i)
      ck_assert_int_eq (state_of (&rig, i), LEG_IN_SYNC);
    ck_assert_uint_eq (status_of (&rig).regions_in_sync, REGIONS - 1);
    /* The region is read from one leg, others from all. */
    for (i = 0; i < 3; ++i)
      before[i] = fault_bdev_calls (rig.disks[i], FAULT_READ);
    for (j = 0; j < 12; ++j)
      ck_assert_int_eq (target_read (rig.target, data, 32 + j, 1), 0);
    ck_assert_uint_eq (fault_bdev_calls (rig.disks[0], FAULT_READ),
                       before[0] + 12);
    for (j = 0; j < 12; ++j)
      ck_assert_int_eq (target_read (rig.target, data, 100 + j, 1), 0);
    for (i = 1; i < 3; ++i)
      ck_assert_uint_eq (fault_bdev_calls (rig.disks[i], FAULT_READ),
                         before[i] + 4);
    /* A later write puts nothing right: the rest of the region differs. */
    ck_assert_int_eq (write_pattern (&rig, 3, 40, 4), 0);
    ck_assert_uint_eq (status_of (&rig).regions_in_sync, REGIONS - 1);
    rig_destroy (&rig);
  }
}
END_TEST

/* Two threads, each of which makes another leg fail: one leg stays, and
 * holds all that was acknowledged.
 */
START_TEST (two_failures_at_once_leave_one_leg)
{
  unsigned round;

  for (round = 0; round < 100; ++round) {
    unsigned char a[SECTOR_SIZE], b[SECTOR_SIZE], data[SECTOR_SIZE];
    struct call calls[2] = {
      { .op = 'w', .buffer = a, .sector = 10, .count = 1 },
      { .op = 'w', .buffer = b, .sector = 200, .count = 1 },
    };
    struct rig rig;
    unsigned i, in_sync = 0;

    rig_create (&rig, 2);
    rig_open (&rig);
    fill_pattern (a, 2, 10, 1);
    fill_pattern (b, 2, 200, 1);
    fault_bdev_fail_range (rig.disks[0], FAULT_WRITE, 10, 1);
    fault_bdev_fail_range (rig.disks[1], FAULT_WRITE, 200, 1);
    for (i = 0; i < 2; ++i) {
      calls[i].target = rig.target;
      call_start (&calls[i]);
    }
    for (i = 0; i < 2; ++i)
      (void) call_join (&calls[i]);
    for (i = 0; i < 2; ++i)
      in_sync += state_of (&rig, i) == LEG_IN_SYNC;
    ck_assert_uint_eq (in_sync, 1);
    ck_assert_uint_eq (change_count (&rig), 1);
    ck_assert_int_ne (calls[0].result == 0, calls[1].result == 0);
    for (i = 0; i < 2; ++i) {
      if (calls[i].result < 0)
        continue;
      ck_assert_int_eq (target_read (rig.target, data, calls[i].sector, 1), 0);
      assert_pattern (data, 2, calls[i].sector, 1);
    }
    rig_destroy (&rig);
  }
}
END_TEST

/*----- fast zeroing ----------------------------------------------------*/

START_TEST (fast_zeroing_leaves_legs_equal)
{
  unsigned bare; /* a bit for each leg that cannot zero fast */

  for (bare = 0; bare < 8; ++bare) {
    unsigned char data[8 * SECTOR_SIZE];
    struct rig rig;
    unsigned i;
    int r;

    rig_create (&rig, 3);
    for (i = 0; i < 3; ++i)
      rig.open_flags[i] = bare >> i & 1 ? FAULT_OPEN_BARE : 0;
    rig_open (&rig);
    r = target_zero (rig.target, 40, 8, BDEV_FAST);
    ck_assert_int_eq (r, bare == 7 ? -EOPNOTSUPP : 0);
    for (i = 0; i < 3; ++i) {
      fault_bdev_look (rig.disks[i], 40, 8, data);
      if (bare == 7)
        assert_pattern (data, BASE_SEED, 40, 8);
      else
        assert_all_bytes (data, 0, sizeof data);
    }
    assert_equal_legs (&rig);
    ck_assert (mirror_is_clean (rig.mirror));
    ck_assert_uint_eq (change_count (&rig), 0);
    ck_assert_int_eq (target_zero (rig.target, 40, 8, 0), 0);
    fault_bdev_look (rig.disks[0], 40, 8, data);
    assert_all_bytes (data, 0, sizeof data);
    assert_equal_legs (&rig);
    rig_destroy (&rig);
  }
}
END_TEST

START_TEST (a_leg_that_fails_to_follow_a_fast_zero_is_dropped)
{
  struct rig rig;

  rig_create (&rig, 3);
  rig.open_flags[1] = FAULT_OPEN_BARE;
  rig_open (&rig);
  fault_bdev_fail_from (rig.disks[1], FAULT_WRITE, 0);
  ck_assert_int_eq (target_zero (rig.target, 40, 8, BDEV_FAST), 0);
  ck_assert_uint_eq (change_count (&rig), 1);
  ck_assert_int_eq (state_of (&rig, 1), LEG_FAILED);
  assert_equal_legs (&rig);
  /* The one that could fails: the other two are as they were, or follow. */
  fault_bdev_fail_from (rig.disks[0], FAULT_ZERO, 0);
  ck_assert_int_eq (target_zero (rig.target, 60, 8, BDEV_FAST), 0);
  ck_assert_int_eq (state_of (&rig, 0), LEG_FAILED);
  rig_destroy (&rig);
}
END_TEST

/*----- creation --------------------------------------------------------*/

START_TEST (create_has_limits)
{
  struct mirror *mirror = NULL;
  struct rig rig;

  rig_create (&rig, 1);
  rig.params.legs[0] = fault_bdev_open (rig.disks[0], 0);
  rig.params.sectors = SECTOR_MAX;
  rig.params.region_sectors = 2;
  ck_assert_int_eq (mirror_create (&rig.params, &mirror), -E2BIG);
  ck_assert_ptr_null (mirror);
  ck_assert_uint_eq (fault_bdev_open_count (rig.disks[0]), 1);
  bdev_close (rig.params.legs[0]);
  mirror_destroy (NULL);
  rig_destroy (&rig);
}
END_TEST

/* The same, where Check must not allocate. */
static void
wait_for_resync_silently (struct rig *rig)
{
  unsigned waits;

  for (waits = 0; waits < 5000 && !resync_has_paused (rig); ++waits)
    short_wait ();
}

START_TEST (want_of_memory_is_told)
{
  unsigned k, failed = 1;
  struct rig rig;
  int r;

  rig_create (&rig, 2);
  rig.params.legs[0] = fault_bdev_open (rig.disks[0], 0);
  rig.params.legs[1] = fault_bdev_open (rig.disks[1], 0);
  rig.params.is_in_sync = false;
  for (k = 0; failed > 0; ++k) {
    ck_assert_uint_lt (k, 20);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = mirror_create (&rig.params, &rig.mirror);
    failed = fault_alloc_stop ();
    ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
  }
  ck_assert_uint_ge (k, 3);
  for (k = 0, failed = 1; failed > 0; ++k) {
    ck_assert_uint_lt (k, 1000);
    capture_messages ();
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = mirror_start_resync (rig.mirror);
    if (r == 0)
      wait_for_resync_silently (&rig);
    failed = fault_alloc_stop ();
    ck_assert_msg (r == 0 || (r == -ENOMEM && failed > 0), "%d", r);
    mirror_stop_resync (rig.mirror);
    ck_assert (!status_of (&rig).is_resyncing);
  }
  ck_assert_uint_ge (k, 3);
  resync_once (&rig);
  ck_assert (mirror_is_clean (rig.mirror));
  rig_destroy (&rig);
}
END_TEST

START_TEST (want_of_threads_is_told)
{
  unsigned k, failed = 1;
  struct rig rig;
  int r = 0;

  rig_create (&rig, 2);
  rig_open_unequal (&rig);
  for (k = 0; failed > 0; ++k) {
    ck_assert_uint_lt (k, 50);
    capture_messages ();
    fault_alloc_fail_once (FAULT_ALLOC_THREADS, k);
    r = mirror_start_resync (rig.mirror);
    if (r == 0)
      wait_for_resync_silently (&rig);
    failed = fault_alloc_stop ();
    ck_assert_msg (r == 0 || (r == -EAGAIN && failed > 0), "%d", r);
    mirror_stop_resync (rig.mirror);
  }
  ck_assert_uint_ge (k, 3);
  ck_assert (mirror_is_clean (rig.mirror));
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    all_legs_get_the_same,
    a_flush_covers_what_came_before_it,
    extents_are_those_of_the_trusted_leg,
    reads_go_where_the_policy_says,
    a_failed_read_is_tried_on_other_legs,
    a_read_that_fails_on_all_legs_is_an_error,
    what_is_not_in_sync_is_read_from_one_leg,
    the_primary_is_trusted,
    a_leg_that_recovers_is_written_and_not_read,
    a_leg_that_fails_is_dropped_first,
    messages_name_leg_operation_and_place,
    a_failure_that_cannot_be_recorded_fails_the_call,
    the_last_leg_is_never_dropped,
    a_failed_fua_write_fails_later_flushes,
    when_all_legs_fail_none_is_dropped,
    two_failures_at_once_leave_one_leg,
    fast_zeroing_leaves_legs_equal,
    a_leg_that_fails_to_follow_a_fast_zero_is_dropped,
    create_has_limits,
    want_of_memory_is_told,
    want_of_threads_is_told,
    NULL,
  };

  return unit_main ("mirror", tests);
}
