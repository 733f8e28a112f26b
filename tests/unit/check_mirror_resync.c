/* Unit tests of a mirror's resync.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "kcopyd.h"
#include "mirror-test.h"

/*----- resync ----------------------------------------------------------*/

START_TEST (resync_makes_legs_equal)
{
  unsigned legs, i;

  for (legs = 2; legs <= MIRROR_MAX_LEGS; legs += 3) {
    struct rig rig;
    size_t last_write = 0, j;

    rig_create (&rig, legs);
    rig.params.states[1] = LEG_RECOVERING;
    rig_open_unequal (&rig);
    ck_assert_uint_eq (status_of (&rig).regions_in_sync, 0);
    resync_once (&rig);
    ck_assert (mirror_is_clean (rig.mirror));
    for (i = 0; i < legs; ++i) {
      assert_disk_pattern (rig.disks[i], BASE_SEED, 0, SECTORS);
      ck_assert_uint_eq (fault_bdev_pending (rig.disks[i]), 0);
      ck_assert_int_eq (state_of (&rig, i), LEG_IN_SYNC);
    }
    /* In sync is recorded when all is flushed. */
    ck_assert_uint_eq (change_count (&rig), 1);
    ck_assert_uint_eq (rig.changes[0].leg, 1);
    ck_assert_int_eq (rig.changes[0].state, LEG_IN_SYNC);
    for (j = 0; j < fault_trace_count (rig.trace); ++j)
      if (fault_trace_event (rig.trace, j).op == FAULT_WRITE)
        last_write = j;
    ck_assert_uint_ge (rig.changes[0].at, last_write + 1 + legs);
    /* Nothing is left to do. */
    fault_trace_reset (rig.trace);
    ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
    ck_assert (!status_of (&rig).is_resyncing);
    ck_assert_uint_eq (fault_trace_count (rig.trace), 0);
    rig_destroy (&rig);
  }
}
END_TEST

/* Only what is not in sync is copied. */
START_TEST (resync_copies_what_differs)
{
  struct rig rig;

  rig_create (&rig, 2);
  rig_open (&rig);
  /* Failed writes: two regions may differ now. */
  fault_bdev_fail_range (rig.disks[0], FAULT_WRITE, 33, 1);
  fault_bdev_fail_range (rig.disks[0], FAULT_WRITE, SECTORS - 1, 1);
  fault_bdev_fail_range (rig.disks[1], FAULT_WRITE, 33, 1);
  fault_bdev_fail_range (rig.disks[1], FAULT_WRITE, SECTORS - 1, 1);
  ck_assert_int_eq (write_pattern (&rig, 2, 33, 1), -EIO);
  ck_assert_int_eq (write_pattern (&rig, 2, SECTORS - 1, 1), -EIO);
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, REGIONS - 2);
  fault_bdev_heal (rig.disks[0]);
  fault_bdev_heal (rig.disks[1]);
  fault_trace_reset (rig.trace);
  resync_once (&rig);
  assert_sorted_trace (&rig,
                       FAULT_READ | FAULT_WRITE | FAULT_ZERO | FAULT_DISCARD,
                       "leg0 read 240+10, leg0 read 32+16, "
                       "leg1 write 240+10, leg1 write 32+16");
  ck_assert (mirror_is_clean (rig.mirror));
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/* Several regions at once; each lets writers in as soon as it is copied. */
START_TEST (regions_are_copied_side_by_side)
{
  struct rig rig;
  unsigned char data[SECTOR_SIZE];
  struct call early, late;

  rig_create (&rig, 2);
  rig.params.states[1] = LEG_RECOVERING;
  rig_open_unequal (&rig);
  fill_pattern (data, 7, 0, 1);
  /* The one that was begun first is the last. */
  fault_bdev_gate_shut (rig.disks[1], FAULT_WRITE, 0, 1);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  fault_bdev_gate_wait (rig.disks[1], 1);
  wait_until (status_of (&rig).regions_in_sync == REGIONS - 1);
  early = (struct call){ .target = rig.target,
                         .buffer = data,
                         .sector = 5 * REGION,
                         .count = 1,
                         .op = 'w' };
  late = early;
  late.sector = 1;
  call_start (&late);
  call_start (&early);
  ck_assert_int_eq (call_join (&early), 0);
  ck_assert (!atomic_load (&late.is_done));
  fault_bdev_gate_open (rig.disks[1]);
  ck_assert_int_eq (call_join (&late), 0);
  wait_for_resync (&rig);
  mirror_stop_resync (rig.mirror);
  ck_assert_int_eq (state_of (&rig, 1), LEG_IN_SYNC);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (clients_leave_one_copy_at_a_time)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig, 2);
  rig.params.states[1] = LEG_RECOVERING;
  rig_open_unequal (&rig);
  fault_bdev_gate_shut (rig.disks[1], FAULT_WRITE, 0, 0);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  fault_bdev_gate_wait (rig.disks[1], AT_ONCE);
  pace_note_request (rig.params.pace);
  fault_bdev_gate_pass (rig.disks[1], AT_ONCE);
  for (i = 0; i < 3; ++i) {
    fault_bdev_gate_wait (rig.disks[1], 1);
    short_wait ();
    ck_assert_uint_eq (fault_bdev_gate_waiting (rig.disks[1]), 1);
    pace_note_request (rig.params.pace);
    fault_bdev_gate_pass (rig.disks[1], 1);
  }
  fault_bdev_gate_open (rig.disks[1]);
  wait_for_resync (&rig);
  mirror_stop_resync (rig.mirror);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (what_cannot_be_read_stays_out_of_sync)
{
  struct rig rig;

  rig_create (&rig, 3);
  rig.params.states[2] = LEG_RECOVERING;
  rig_open_unequal (&rig);
  fault_bdev_fail_range (rig.disks[0], FAULT_READ, 35, 1);
  resync_once (&rig);
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, REGIONS - 1);
  assert_said ("E: mirror: leg 0 (leg0): resync read of 8192 bytes at 16384 "
               "failed: Input/output error; the region stays out of sync");
  /* No leg is dropped, none is in sync that was not, nothing is zeroed. */
  ck_assert_uint_eq (change_count (&rig), 0);
  ck_assert_int_eq (state_of (&rig, 2), LEG_RECOVERING);
  assert_disk_pattern (rig.disks[1], OTHER_SEED + 1, 32, 16);
  assert_disk_pattern (rig.disks[1], BASE_SEED, 48, SECTORS - 48);
  ck_assert (!mirror_is_clean (rig.mirror));
  ck_assert_int_eq (read_one (&rig, 35), -EIO);
  /* Healed, the next resync does the rest. */
  fault_bdev_heal (rig.disks[0]);
  fault_trace_reset (rig.trace);
  resync_once (&rig);
  assert_trace (&rig, FAULT_READ, "leg0 read 32+16");
  ck_assert (mirror_is_clean (rig.mirror));
  ck_assert_int_eq (state_of (&rig, 2), LEG_IN_SYNC);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/* For every write of the resync that fails: its leg is dropped, the
 * others become equal.
 */
START_TEST (what_cannot_be_written_drops_its_leg)
{
  unsigned k;

  for (k = 0; k < REGIONS; ++k) {
    struct rig rig;

    rig_create (&rig, 3);
    rig.params.states[1] = LEG_RECOVERING;
    rig_open_unequal (&rig);
    fault_bdev_fail_once (rig.disks[1], FAULT_WRITE, k);
    resync_once (&rig);
    ck_assert_uint_eq (change_count (&rig), 1);
    ck_assert_uint_eq (rig.changes[0].leg, 1);
    ck_assert_int_eq (rig.changes[0].state, LEG_FAILED);
    ck_assert_ptr_nonnull (strstr (rig.changes[0].reason, "resync write"));
    ck_assert_int_eq (state_of (&rig, 1), LEG_FAILED);
    ck_assert_uint_eq (status_of (&rig).legs[1].write_errors, 1);
    ck_assert (mirror_is_clean (rig.mirror));
    assert_equal_legs (&rig);
    rig_destroy (&rig);
  }
}
END_TEST

/* A leg's disk is full, and not dying: the reason says so, and what is to be
 * done; so it does where the source has a hole.
 */
START_TEST (a_leg_that_fails_says_why)
{
  static const struct {
    int error;
    const char *text;
  } cases[] = {
    { -ENOSPC, "No space left on device; make room there, then rejoin it" },
    { -EDQUOT, "Disk quota exceeded; raise the quota or make room there, then "
               "rejoin it" },
    { -EFBIG, "File too large; raise the server's limit on the size of files "
              "(ulimit -f), then rejoin it" },
    { -ETIMEDOUT, "Connection timed out; see to its disk; it comes back by "
                  "itself when it answers" },
    { -EROFS, "Read-only file system; make it writable again, then rejoin it" },
    { -EIO, "Input/output error; see to its disk, then rejoin it, or replace "
            "it" },
  };
  unsigned i, has_holes;

  for (has_holes = 0; has_holes < 2; ++has_holes)
    for (i = 0; i < ARRAY_COUNT (cases); ++i) {
      struct rig rig;
      char *message;
      const char *what;

      rig_create (&rig, 2);
      rig.params.states[1] = LEG_RECOVERING;
      rig_open_unequal (&rig);
      if (has_holes)
        ck_assert_int_eq (bdev_discard (rig.params.legs[0], 0, SECTORS, 0), 0);
      fault_bdev_add_rule (rig.disks[1],
                           &(struct fault_rule){ .ops = FAULT_ALL & ~FAULT_READ,
                                                 .sector = 35,
                                                 .count = 1,
                                                 .error = cases[i].error });
      resync_once (&rig);
      ck_assert_int_eq (state_of (&rig, 1), LEG_FAILED);
      what = rig.changes[0].reason;
      ck_assert_str_eq (strrchr (what, ':') + 2, cases[i].text);
      must (asprintf (&message,
                      "mirror: leg 1 (leg1): %.*s; leg failed, volume "
                      "degraded; %s",
                      (int) (strstr (what, "; ") - what), what,
                      strstr (what, "; ") + 2) > 0);
      assert_said (message);
      free (message);
      rig_destroy (&rig);
    }
}
END_TEST

/* Want of memory is ours, not the leg's. */
START_TEST (want_of_memory_fails_no_leg)
{
  struct rig rig;

  rig_create (&rig, 2);
  rig.params.states[1] = LEG_RECOVERING;
  rig_open_unequal (&rig);
  fault_bdev_add_rule (rig.disks[1], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                           .times = 1,
                                                           .error = -ENOMEM });
  resync_once (&rig);
  ck_assert_uint_eq (change_count (&rig), 0);
  assert_said ("leg 1 (leg1): resync write of 8192 bytes at ");
  assert_said (" failed: Cannot allocate memory; the region is tried again");
  resync_once (&rig);
  ck_assert_int_eq (state_of (&rig, 1), LEG_IN_SYNC);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/* The source is gone as a whole: where legs in sync agree it fails at once,
 * and the rest comes from another one.
 */
START_TEST (a_source_that_is_gone_fails)
{
  struct rig rig;

  rig_create (&rig, 3);
  rig.params.states[2] = LEG_RECOVERING;
  rig_open (&rig);
  /* What leg 2 lacks: a region that those in sync agree on. */
  ck_assert_int_eq (mirror_fail (rig.mirror, 2, "for fun"), 0);
  ck_assert_int_eq (write_pattern (&rig, 2, 33, 1), 0);
  ck_assert_int_eq (mirror_rejoin_leg (rig.mirror, 2, LEG_LACKS_DIRTY), 0);
  ck_assert_int_eq (mirror_start_repair (rig.mirror), 0);
  fault_bdev_add_rule (rig.disks[0], &(struct fault_rule){ .ops = FAULT_READ,
                                                           .error = -ENODEV });
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  wait_until (state_of (&rig, 0) == LEG_FAILED);
  mirror_stop_resync (rig.mirror);
  mirror_stop_repair (rig.mirror);
  assert_said ("resync read of 8192 bytes at 16384 failed: No such device");
  resync_once (&rig);
  ck_assert_int_eq (state_of (&rig, 2), LEG_IN_SYNC);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/* So is one in sync that lacks what others have: nobody else may ever ask it.
 */
START_TEST (legs_in_sync_that_are_gone_fail)
{
  unsigned gone;

  for (gone = 0; gone < 2; ++gone) {
    struct rig rig;

    rig_create (&rig, 2);
    rig_open_unequal (&rig);
    ck_assert_int_eq (mirror_start_repair (rig.mirror), 0);
    fault_bdev_add_rule (rig.disks[gone],
                         &(struct fault_rule){ .ops = FAULT_ALL,
                                               .error = -ENOTCONN });
    ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
    wait_until (state_of (&rig, gone) == LEG_FAILED);
    mirror_stop_resync (rig.mirror);
    mirror_stop_repair (rig.mirror);
    resync_once (&rig);
    ck_assert (mirror_is_clean (rig.mirror));
    ck_assert_uint_eq (change_count (&rig), 1);
    ck_assert_int_eq (write_pattern (&rig, 2, 33, 1), 0);
    rig_destroy (&rig);
  }
}
END_TEST

/* A region is copied by one job in several parts.  Whichever part of it one
 * leg does not take, the other one has the whole region.
 */
START_TEST (a_leg_that_fails_leaves_no_other_half_filled)
{
  const sector_t region = 4 * KCOPYD_SUB_JOB_SECTORS;
  unsigned k;

  for (k = 0; k < 8; ++k) {
    struct rig rig;

    rig_create_sized (&rig, 3, 2 * region, region);
    rig.params.states[1] = rig.params.states[2] = LEG_RECOVERING;
    rig_open_unequal (&rig);
    fault_bdev_fail_once (rig.disks[1], FAULT_WRITE, k);
    resync_once (&rig);
    ck_assert_int_eq (state_of (&rig, 1), LEG_FAILED);
    ck_assert_int_eq (state_of (&rig, 2), LEG_IN_SYNC);
    assert_disk_pattern (rig.disks[2], BASE_SEED, 0, 2 * region);
    rig_destroy (&rig);
  }
}
END_TEST

START_TEST (a_region_whose_leg_cannot_be_dropped_is_not_in_sync)
{
  struct rig rig;

  rig_create (&rig, 2);
  rig.params.states[1] = LEG_RECOVERING;
  rig_open_unequal (&rig);
  rig.answer = -ENOSPC;
  fault_bdev_fail_once (rig.disks[1], FAULT_WRITE, 3);
  resync_once (&rig);
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, REGIONS - 1);
  ck_assert_int_eq (state_of (&rig, 1), LEG_RECOVERING);
  ck_assert (!mirror_is_clean (rig.mirror));
  rig_destroy (&rig);
}
END_TEST

/* A leg that is in sync elsewhere is not dropped by the resync: the region
 * is tried again.
 */
START_TEST (a_leg_in_sync_that_cannot_be_copied_to_stays)
{
  struct rig rig;

  rig_create (&rig, 2);
  rig_open_unequal (&rig);
  fault_bdev_fail_once (rig.disks[1], FAULT_WRITE, 3);
  resync_once (&rig);
  assert_said (" failed: Input/output error; the region is tried again; see to "
               "its disk");
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, REGIONS - 1);
  ck_assert_int_eq (state_of (&rig, 1), LEG_IN_SYNC);
  ck_assert_uint_eq (change_count (&rig), 0);
  ck_assert (!mirror_is_clean (rig.mirror));
  resync_once (&rig);
  ck_assert (mirror_is_clean (rig.mirror));
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/* What comes to differ while the resync waits is copied, unasked. */
START_TEST (resync_goes_on_when_there_is_more_to_do)
{
  struct rig rig;

  rig_create (&rig, 2);
  rig_open (&rig);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  fault_bdev_fail_once (rig.disks[0], FAULT_WRITE, 0);
  fault_bdev_add_rule (rig.disks[1], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                           .times = 1,
                                                           .sectors_done = 2 });
  ck_assert_int_eq (write_pattern (&rig, 2, 100, 4), -EIO);
  wait_until (mirror_is_clean (rig.mirror));
  wait_for_resync (&rig);
  assert_equal_legs (&rig);
  assert_disk_pattern (rig.disks[1], BASE_SEED, 100, 4);
  rig_destroy (&rig);
}
END_TEST

START_TEST (in_sync_is_not_believed_before_it_is_recorded)
{
  struct rig rig;

  rig_create (&rig, 2);
  rig.params.states[1] = LEG_RECOVERING;
  rig_open_unequal (&rig);
  rig.answer = -ENOSPC;
  resync_once (&rig);
  ck_assert_int_eq (state_of (&rig, 1), LEG_RECOVERING);
  assert_said ("is in sync, but this cannot be recorded");
  rig.answer = 0;
  resync_once (&rig);
  ck_assert_int_eq (state_of (&rig, 1), LEG_IN_SYNC);
  rig_destroy (&rig);

  /* Nor when the last flush fails. */
  rig_create (&rig, 2);
  rig.params.states[1] = LEG_RECOVERING;
  rig_open_unequal (&rig);
  fault_bdev_fail_once (rig.disks[0], FAULT_FLUSH, 0);
  resync_once (&rig);
  ck_assert_int_eq (state_of (&rig, 1), LEG_RECOVERING);
  ck_assert_uint_eq (change_count (&rig), 0);
  ck_assert (!mirror_is_clean (rig.mirror));
  rig_destroy (&rig);
}
END_TEST

START_TEST (holes_stay_holes)
{
  struct bdev_extent extent;
  unsigned char *data = test_alloc_sectors (SECTORS);
  struct block_device *bdev;
  struct rig rig;

  rig_create (&rig, 2);
  /* The source is a hole but for region 2; regions 4 .. of the other leg
   * are holes, too.
   */
  fault_bdev_destroy (rig.disks[0]);
  fault_bdev_destroy (rig.disks[1]);
  rig.disks[0] = fault_bdev_create ("leg0", SECTORS, rig.trace);
  rig.disks[1] = fault_bdev_create ("leg1", SECTORS, rig.trace);
  fill_pattern (data, BASE_SEED, 0, SECTORS);
  fault_bdev_load (rig.disks[0], 32, 16, data + 32 * SECTOR_SIZE);
  fault_bdev_load (rig.disks[1], 0, 64, data);
  rig.params.is_in_sync = false;
  rig_open (&rig);
  resync_once (&rig);
  assert_sorted_trace (&rig, FAULT_WRITE | FAULT_ZERO | FAULT_DISCARD,
                       "leg1 write 32+16, leg1 zero 0+16 unmap, "
                       "leg1 zero 16+16 unmap, leg1 zero 48+16 unmap");
  assert_equal_legs (&rig);
  bdev = fault_bdev_open (rig.disks[1], 0);
  ck_assert_int_eq (bdev_extent (bdev, 0, SECTORS, &extent), 0);
  ck_assert (extent.is_hole);
  ck_assert_uint_eq (extent.count, 32);
  ck_assert_int_eq (bdev_extent (bdev, 48, SECTORS - 48, &extent), 0);
  ck_assert (extent.is_hole);
  ck_assert_uint_eq (extent.count, SECTORS - 48);
  bdev_close (bdev);
  rig_destroy (&rig);

  /* A hole that cannot be made drops the leg. */
  rig_create (&rig, 2);
  fault_bdev_destroy (rig.disks[0]);
  rig.disks[0] = fault_bdev_create ("leg0", SECTORS, rig.trace);
  rig.params.is_in_sync = false;
  rig.params.states[1] = LEG_RECOVERING;
  rig_open (&rig);
  fault_bdev_fail_once (rig.disks[1], FAULT_ZERO, 5);
  resync_once (&rig);
  ck_assert_int_eq (state_of (&rig, 1), LEG_FAILED);
  rig_destroy (&rig);
  free (data);
}
END_TEST

static void
stop_main (void *arg)
{
  mirror_stop_resync (arg);
}

START_TEST (resync_can_be_stopped_and_goes_on)
{
  struct thread stopper;
  struct rig rig;
  uint64_t done;

  rig_create (&rig, 2);
  rig_open_unequal (&rig);
  fault_bdev_gate_shut (rig.disks[0], FAULT_READ, 0, 0);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  fault_bdev_gate_wait (rig.disks[0], AT_ONCE);
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, 0);
  ck_assert (status_of (&rig).is_resyncing);
  ck_assert_int_eq (thread_start (&stopper, "stop", stop_main, rig.mirror), 0);
  short_wait ();
  fault_bdev_gate_open (rig.disks[0]);
  thread_join (&stopper);
  ck_assert (!status_of (&rig).is_resyncing);
  done = status_of (&rig).regions_in_sync;
  ck_assert_uint_ge (done, AT_ONCE); /* what it was at is finished */
  fault_trace_reset (rig.trace);
  resync_once (&rig);
  ck_assert (mirror_is_clean (rig.mirror));
  assert_equal_legs (&rig);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[1], FAULT_WRITE), REGIONS);
  mirror_stop_resync (rig.mirror);
  mirror_stop_resync (rig.mirror);
  rig_destroy (&rig);
}
END_TEST

/* A rate that would take for ever: stop does not wait for it. */
START_TEST (a_rate_limits_and_does_not_hold_stop)
{
  struct rig rig;
  uint64_t started;

  rig_create (&rig, 2);
  rig.rate = 1;
  rig_open_unequal (&rig);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  wait_until (status_of (&rig).regions_in_sync == 1);
  mirror_stop_resync (rig.mirror);
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, 1);
  rig_close (&rig);

  /* 250 sectors at 500 KiB a second: the last region waits for the rest. */
  rig.rate = 500 * 1024;
  rig_open_unequal (&rig);
  started = clock_now_ns ();
  resync_once (&rig);
  ck_assert_uint_ge (clock_now_ns () - started,
                     240 * SECTOR_SIZE * UINT64_C (1000000000) / (500 * 1024));
  ck_assert (mirror_is_clean (rig.mirror));
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_write_waits_while_its_region_recovers)
{
  unsigned char data[SECTOR_SIZE];
  struct call write = { .op = 'w', .buffer = data, .sector = 20, .count = 1 };
  struct rig rig;
  unsigned i;

  rig_create (&rig, 2);
  rig_open_unequal (&rig);
  fill_pattern (data, 2, 20, 1);
  write.target = rig.target;
  fault_bdev_gate_shut (rig.disks[1], FAULT_WRITE, REGION, REGION);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  fault_bdev_gate_wait (rig.disks[1], 1); /* the copy of region 1 */
  call_start (&write);
  for (i = 0; i < 5; ++i)
    short_wait ();
  ck_assert (!atomic_load (&write.is_done));
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[0], FAULT_WRITE), 0);
  /* Others go on: another region, and reads. */
  ck_assert_int_eq (write_pattern (&rig, 3, 100, 1), 0);
  ck_assert_int_eq (read_one (&rig, 20), 0);
  fault_bdev_gate_open (rig.disks[1]);
  ck_assert_int_eq (call_join (&write), 0);
  wait_for_resync (&rig);
  assert_disk_pattern (rig.disks[0], 2, 20, 1);
  assert_disk_pattern (rig.disks[1], 2, 20, 1);
  assert_disk_pattern (rig.disks[1], 3, 100, 1);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/* Recovery waits for a write that came before. */
START_TEST (recovery_waits_for_writes_in_flight)
{
  unsigned char data[SECTOR_SIZE];
  struct call write = { .op = 'w', .buffer = data, .sector = 2, .count = 1 };
  struct rig rig;
  unsigned i;

  rig_create (&rig, 2);
  rig_open_unequal (&rig);
  fill_pattern (data, 2, 2, 1);
  write.target = rig.target;
  fault_bdev_gate_shut (rig.disks[0], FAULT_WRITE, 2, 1);
  call_start (&write);
  fault_bdev_gate_wait (rig.disks[0], 1);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  for (i = 0; i < 5; ++i)
    short_wait ();
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[0], FAULT_READ), 0);
  fault_bdev_gate_open (rig.disks[0]);
  ck_assert_int_eq (call_join (&write), 0);
  wait_for_resync (&rig);
  assert_disk_pattern (rig.disks[1], 2, 2, 1);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/* The copy of a region goes on when its source fails, and reaches the leg that
 * is trusted then: nobody sees what that held before.
 */
START_TEST (a_read_waits_for_the_copy_from_a_leg_that_failed)
{
  unsigned char data[SECTOR_SIZE], again[SECTOR_SIZE];
  struct call read = { .op = 'r', .buffer = data, .sector = 20, .count = 1 };
  struct rig rig;
  unsigned i;

  rig_create (&rig, 2);
  rig_open_unequal (&rig);
  read.target = rig.target;
  fault_bdev_gate_shut (rig.disks[1], FAULT_WRITE, 20, 1);
  fault_bdev_fail_range (rig.disks[0], FAULT_WRITE, 100, 1);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  fault_bdev_gate_wait (rig.disks[1], 1);
  /* Its source is read as long as it can be. */
  ck_assert_int_eq (target_read (rig.target, data, 21, 1), 0);
  assert_pattern (data, BASE_SEED, 21, 1);
  ck_assert_int_eq (write_pattern (&rig, 3, 100, 1), 0);
  ck_assert_int_eq (state_of (&rig, 0), LEG_FAILED);
  call_start (&read);
  for (i = 0; i < 5; ++i)
    short_wait ();
  ck_assert (!atomic_load (&read.is_done));
  /* Where all is in sync nobody waits. */
  ck_assert_int_eq (target_read (rig.target, again, 2, 1), 0);
  fault_bdev_gate_open (rig.disks[1]);
  ck_assert_int_eq (call_join (&read), 0);
  ck_assert_int_eq (target_read (rig.target, again, 20, 1), 0);
  ck_assert_mem_eq (data, again, SECTOR_SIZE);
  assert_disk_pattern (rig.disks[1], BASE_SEED, 16, 16);
  wait_for_resync (&rig);
  ck_assert_int_eq (target_read (rig.target, again, 20, 1), 0);
  ck_assert_mem_eq (data, again, SECTOR_SIZE);
  rig_destroy (&rig);
}
END_TEST

/*----- many threads ----------------------------------------------------*/

#define WRITERS 4

struct writer {
  struct thread thread;
  struct rig *rig;
  struct chance chance;
  unsigned number;
  unsigned operations;
  uint64_t seeds[SECTORS];    /* of its own sectors */
  bool is_uncertain[SECTORS]; /* a write has failed */
  bool may_fail;
  bool is_wrong;
};

/* Sector S belongs to writer S % WRITERS. */
static void
writer_main (void *arg)
{
  struct writer *w = arg;

  while (w->operations-- > 0 && !w->is_wrong) {
    sector_t s = chance_below (&w->chance, SECTORS / WRITERS) * WRITERS +
                 w->number;
    uint64_t seed = 1000 + 10 * w->operations + w->number;
    unsigned char data[SECTOR_SIZE];
    int r;

    if (chance_below (&w->chance, 2) == 0) {
      r = target_read (w->rig->target, data, s, 1);
      if (r < 0 ? !w->may_fail
                : !w->is_uncertain[s] &&
                    first_wrong_sector (data, w->seeds[s], s, 1) == s)
        w->is_wrong = true;
      continue;
    }
    r = write_pattern (w->rig, seed, s, 1);
    if (r < 0 && !w->may_fail)
      w->is_wrong = true;
    w->is_uncertain[s] = r < 0;
    w->seeds[s] = seed;
  }
}

static void
run_writers (struct rig *rig, struct writer *writers, struct chance *chance,
             bool may_fail)
{
  unsigned i, s;

  for (i = 0; i < WRITERS; ++i) {
    memset (&writers[i], 0, sizeof writers[i]);
    writers[i].rig = rig;
    writers[i].chance.state = chance_next (chance);
    writers[i].number = i;
    writers[i].operations = 300;
    writers[i].may_fail = may_fail;
    for (s = 0; s < SECTORS; ++s)
      writers[i].seeds[s] = BASE_SEED;
    ck_assert_int_eq (thread_start (&writers[i].thread, "writer", writer_main,
                                    &writers[i]),
                      0);
  }
}

static void
join_writers (struct rig *rig, struct writer *writers)
{
  unsigned char data[SECTOR_SIZE];
  unsigned i;
  sector_t s;

  for (i = 0; i < WRITERS; ++i)
    thread_join (&writers[i].thread);
  for (i = 0; i < WRITERS; ++i)
    ck_assert (!writers[i].is_wrong);
  for (s = 0; s < SECTORS; ++s) {
    const struct writer *w = &writers[s % WRITERS];

    if (w->is_uncertain[s])
      continue;
    ck_assert_int_eq (target_read (rig->target, data, s, 1), 0);
    assert_pattern (data, w->seeds[s], s, 1);
  }
}

START_TEST (writes_during_resync_land_right)
{
  struct chance chance = chance_begin ("writes_during_resync_land_right");
  static struct writer writers[WRITERS];
  unsigned round;

  for (round = 0; round < 20; ++round) {
    struct rig rig;

    rig_create (&rig, 3);
    rig.params.states[2] = LEG_RECOVERING;
    rig.params.read_policy = READ_ROUND_ROBIN;
    rig_open_unequal (&rig);
    run_writers (&rig, writers, &chance, false);
    ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
    if (round % 2 == 1) {
      mirror_stop_resync (rig.mirror);
      ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
    }
    join_writers (&rig, writers);
    wait_for_resync (&rig);
    ck_assert (mirror_is_clean (rig.mirror));
    ck_assert_int_eq (state_of (&rig, 2), LEG_IN_SYNC);
    assert_equal_legs (&rig);
    rig_destroy (&rig);
  }
}
END_TEST

/* Legs fail while threads write: what was acknowledged is there. */
START_TEST (writes_while_legs_fail_land_right)
{
  struct chance chance = chance_begin ("writes_while_legs_fail_land_right");
  static struct writer writers[WRITERS];
  unsigned round;

  for (round = 0; round < 20; ++round) {
    struct rig rig;
    unsigned i, in_sync = 0;

    rig_create (&rig, 3);
    rig_open (&rig);
    for (i = 0; i < 3; ++i)
      fault_bdev_fail_from (rig.disks[i], FAULT_WRITE,
                            (unsigned) chance_below (&chance, 600));
    run_writers (&rig, writers, &chance, true);
    for (i = 0; i < WRITERS; ++i)
      thread_join (&writers[i].thread);
    for (i = 0; i < 3; ++i)
      in_sync += state_of (&rig, i) == LEG_IN_SYNC;
    ck_assert_uint_ge (in_sync, 1);
    for (i = 0; i < WRITERS; ++i) {
      sector_t s;

      ck_assert (!writers[i].is_wrong);
      for (s = i; s < SECTORS; s += WRITERS) {
        unsigned char data[SECTOR_SIZE];

        if (writers[i].is_uncertain[s])
          continue;
        ck_assert_int_eq (target_read (rig.target, data, s, 1), 0);
        assert_pattern (data, writers[i].seeds[s], s, 1);
      }
    }
    rig_destroy (&rig);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    resync_makes_legs_equal,
    resync_copies_what_differs,
    regions_are_copied_side_by_side,
    clients_leave_one_copy_at_a_time,
    what_cannot_be_read_stays_out_of_sync,
    what_cannot_be_written_drops_its_leg,
    a_leg_that_fails_says_why,
    want_of_memory_fails_no_leg,
    a_source_that_is_gone_fails,
    legs_in_sync_that_are_gone_fail,
    a_leg_that_fails_leaves_no_other_half_filled,
    a_region_whose_leg_cannot_be_dropped_is_not_in_sync,
    a_leg_in_sync_that_cannot_be_copied_to_stays,
    resync_goes_on_when_there_is_more_to_do,
    in_sync_is_not_believed_before_it_is_recorded,
    holes_stay_holes,
    resync_can_be_stopped_and_goes_on,
    a_rate_limits_and_does_not_hold_stop,
    a_write_waits_while_its_region_recovers,
    recovery_waits_for_writes_in_flight,
    a_read_waits_for_the_copy_from_a_leg_that_failed,
    writes_during_resync_land_right,
    writes_while_legs_fail_land_right,
    NULL,
  };

  return unit_main ("mirror-resync", tests);
}
