/* Unit tests of a mirror with a dirty log.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "mirror-impl.h"
#include "mirror-test.h"

/* A mirror whose log is on a disk that shares the legs' trace. */
struct log_rig {
  struct rig rig;
  struct fault_bdev *disk;
  unsigned failures; /* of the log, that the owner was asked about */
  int answer;
};

static int
take_log_failure (void *opaque, int error)
{
  struct log_rig *l = (struct log_rig *) opaque;

  ck_assert_int_lt (error, 0);
  l->failures++;
  return l->answer;
}

static void
open_new_log (struct log_rig *l)
{
  struct dirty_log *log;

  ck_assert_int_eq (dirty_log_disk_create (REGIONS, true, &log), 0);
  ck_assert_int_eq (dirty_log_disk_attach (log, fault_bdev_open (l->disk, 0)),
                    0);
  ck_assert_int_eq (dirty_log_flush (log), 0);
  l->rig.params.log = log;
}

/* All legs in sync, the log clean. */
static void
log_rig_create (struct log_rig *l, unsigned legs)
{
  rig_create (&l->rig, legs);
  l->disk = fault_bdev_create ("log", 8, l->rig.trace);
  l->failures = 0;
  l->answer = 0;
  open_new_log (l);
  l->rig.params.log_failed = take_log_failure;
  l->rig.params.opaque = &l->rig; /* which is where it begins */
  rig_open (&l->rig);
  fault_trace_reset (l->rig.trace);
}

/* Close it, and open it again with what the log has. */
static void
log_rig_reopen (struct log_rig *l)
{
  struct block_device *bdev;

  rig_close (&l->rig);
  bdev = fault_bdev_open (l->disk, 0);
  ck_assert_int_eq (dirty_log_disk_open (bdev, REGIONS, 0, &l->rig.params.log),
                    0);
  ck_assert_int_eq (dirty_log_flush (l->rig.params.log), 0);
  l->rig.params.is_in_sync = false;
  rig_open (&l->rig);
  fault_trace_reset (l->rig.trace);
}

static void
log_rig_destroy (struct log_rig *l)
{
  rig_close (&l->rig);
  fault_bdev_destroy (l->disk);
  rig_destroy (&l->rig);
}

static bool
is_dirty (struct log_rig *l, uint64_t region)
{
  return dirty_log_is_dirty (mirror_log (l->rig.mirror), region);
}

/* Two looks, as if time had passed in between. */
static void
clean_lazily (struct log_rig *l)
{
  uint64_t next_ns = 1;

  mirror_clean_log_lazily (l->rig.mirror, &next_ns);
  next_ns = 1;
  mirror_clean_log_lazily (l->rig.mirror, &next_ns);
}

#define CHANGES (FAULT_WRITE | FAULT_ZERO | FAULT_FLUSH)

/*----- marking ---------------------------------------------------------*/

START_TEST (a_mark_is_durable_before_the_write)
{
  struct log_rig l;

  log_rig_create (&l, 2);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 0, 1), 0);
  assert_trace (&l.rig, CHANGES,
                "log write 2+1, log flush, leg0 write 0+1, leg1 write 0+1");
  fault_trace_reset (l.rig.trace);
  ck_assert_int_eq (target_zero (l.rig.target, REGION, 1, 0), 0);
  assert_trace (&l.rig, FAULT_WRITE | FAULT_FLUSH, "log write 2+1, log flush");
  log_rig_destroy (&l);
}
END_TEST

START_TEST (a_steady_writer_writes_no_log)
{
  struct mirror_status before, after;
  struct log_rig l;
  unsigned i;

  log_rig_create (&l, 2);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 0, 5 * REGION), 0);
  mirror_get_status (l.rig.mirror, &before);
  ck_assert_uint_eq (before.log.dirty, 5);
  for (i = 0; i < 200; ++i) {
    ck_assert_int_eq (write_pattern (&l.rig, i, i % (5 * REGION), 1), 0);
    if (i % 20 == 0) {
      uint64_t next_ns = 1;

      /* Cleaning goes on all the time, but all that is dirty is in use. */
      ck_assert_int_eq (write_pattern (&l.rig, 1, 0, 5 * REGION), 0);
      mirror_clean_log_lazily (l.rig.mirror, &next_ns);
    }
  }
  mirror_get_status (l.rig.mirror, &after);
  ck_assert_uint_eq (after.log.writes, before.log.writes);
  ck_assert_uint_eq (after.log.flushes, before.log.flushes);
  ck_assert_uint_eq (after.log.dirty, 5);
  log_rig_destroy (&l);
}
END_TEST

#define WRITERS 6

/* One waits for the log, and all others for its next flush. */
START_TEST (writers_share_a_flush_of_the_log)
{
  static unsigned char data[SECTOR_SIZE];
  struct mirror_status before, after;
  struct call calls[WRITERS];
  struct log_rig l;
  unsigned i;

  log_rig_create (&l, 2);
  mirror_get_status (l.rig.mirror, &before);
  fault_bdev_gate_shut (l.disk, FAULT_WRITE, 0, 0);
  for (i = 0; i < WRITERS; ++i) {
    calls[i] = (struct call){ .target = l.rig.target,
                              .buffer = data,
                              .sector = i * REGION,
                              .count = 1,
                              .op = 'w' };
    call_start (&calls[i]);
    if (i == 0)
      fault_bdev_gate_wait (l.disk, 1);
  }
  wait_until (dirty_log_dirty_count (mirror_log (l.rig.mirror)) == WRITERS);
  ck_assert_uint_eq (fault_bdev_calls (l.rig.disks[0], FAULT_WRITE), 0);
  fault_bdev_gate_open (l.disk);
  for (i = 0; i < WRITERS; ++i)
    ck_assert_int_eq (call_join (&calls[i]), 0);
  mirror_get_status (l.rig.mirror, &after);
  ck_assert_uint_eq (after.log.writes - before.log.writes, 2);
  ck_assert_uint_eq (after.log.flushes - before.log.flushes, 2);
  log_rig_destroy (&l);
}
END_TEST

START_TEST (what_cannot_be_marked_is_not_written)
{
  static const unsigned ops[] = { FAULT_WRITE, FAULT_FLUSH };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (ops); ++i) {
    struct mirror_status status;
    struct log_rig l;

    log_rig_create (&l, 2);
    fault_bdev_fail_from (l.disk, ops[i], 0);
    l.answer = -ENOSPC;
    ck_assert_int_eq (write_pattern (&l.rig, 2, 0, 1), -ENOSPC);
    ck_assert_int_eq (target_zero (l.rig.target, 0, 1, 0), -ENOSPC);
    ck_assert_uint_eq (fault_bdev_calls (l.rig.disks[0], CHANGES), 0);
    ck_assert_uint_eq (fault_bdev_calls (l.rig.disks[1], CHANGES), 0);
    assert_said ("E: mirror: the dirty log cannot be written: Input/output "
                 "error; nor can it be recorded");
    ck_assert_int_eq (read_one (&l.rig, 0), 0);
    mirror_get_status (l.rig.mirror, &status);
    ck_assert_int_eq (status.log.error, -EIO);
    ck_assert (!status.log_is_lost);

    /* Once it can be recorded all goes on, and is said once. */
    l.answer = 0;
    capture_messages ();
    ck_assert_int_eq (write_pattern (&l.rig, 2, 0, 1), 0);
    assert_said ("all regions are taken to be dirty from now on");
    capture_messages ();
    ck_assert_int_eq (write_pattern (&l.rig, 2, 0, SECTORS), 0);
    ck_assert_str_eq (captured_text, "");
    ck_assert_uint_eq (l.failures, 3);
    mirror_get_status (l.rig.mirror, &status);
    ck_assert (status.log_is_lost);
    assert_equal_legs (&l.rig);
    log_rig_destroy (&l);
  }
}
END_TEST

/*----- cleaning --------------------------------------------------------*/

START_TEST (legs_are_flushed_before_a_region_is_clean)
{
  uint64_t next_ns = 0;
  struct log_rig l;

  log_rig_create (&l, 2);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 0, 2 * REGION), 0);
  fault_trace_reset (l.rig.trace);
  mirror_clean_log_lazily (l.rig.mirror, &next_ns);
  ck_assert_uint_gt (next_ns, clock_now_ns ());
  next_ns = 1;
  mirror_clean_log_lazily (l.rig.mirror, &next_ns);
  ck_assert_uint_gt (next_ns, 1);
  assert_trace (&l.rig, FAULT_ALL, ""); /* it has just been written */
  mirror_clean_log_lazily (l.rig.mirror, &next_ns);
  assert_trace (&l.rig, FAULT_ALL, ""); /* it is not time */
  next_ns = 1;
  ck_assert_int_eq (write_pattern (&l.rig, 2, 0, 1), 0);
  fault_trace_reset (l.rig.trace);
  mirror_clean_log_lazily (l.rig.mirror, &next_ns);
  assert_trace (&l.rig, FAULT_ALL,
                "leg0 flush, leg1 flush, log write 2+1, log flush");
  ck_assert (is_dirty (&l, 0));
  ck_assert (!is_dirty (&l, 1));
  fault_trace_reset (l.rig.trace);
  ck_assert_int_eq (mirror_settle (l.rig.mirror), 0);
  assert_trace (&l.rig, FAULT_ALL,
                "leg0 flush, leg1 flush, leg0 flush, leg1 flush, "
                "log write 2+1, log flush");
  ck_assert (!is_dirty (&l, 0));
  log_rig_destroy (&l);
}
END_TEST

START_TEST (nothing_is_cleaned_while_a_leg_is_out)
{
  struct log_rig l;

  log_rig_create (&l, 3);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 0, REGION), 0);
  fault_bdev_fail_once (l.rig.disks[1], FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 5 * REGION, 1), 0);
  ck_assert_int_eq (state_of (&l.rig, 1), LEG_FAILED);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 6 * REGION, 1), 0);
  fault_trace_reset (l.rig.trace);
  clean_lazily (&l);
  assert_trace (&l.rig, FAULT_ALL, "");
  ck_assert_int_eq (mirror_settle (l.rig.mirror), 0);
  assert_trace (&l.rig, FAULT_WRITE, "");
  ck_assert (is_dirty (&l, 0) && is_dirty (&l, 5) && is_dirty (&l, 6));
  ck_assert_uint_eq (dirty_log_dirty_count (mirror_log (l.rig.mirror)), 3);
  log_rig_destroy (&l);
}
END_TEST

/* A leg that fails the very flush has lost what was to be clean. */
START_TEST (a_leg_that_fails_meanwhile_stops_the_cleaning)
{
  struct log_rig l;

  log_rig_create (&l, 2);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 0, REGION), 0);
  fault_bdev_fail_once (l.rig.disks[1], FAULT_FLUSH, 0);
  fault_trace_reset (l.rig.trace);
  clean_lazily (&l);
  ck_assert_int_eq (state_of (&l.rig, 1), LEG_FAILED);
  ck_assert (is_dirty (&l, 0));
  assert_trace (&l.rig, FAULT_WRITE, "");
  log_rig_destroy (&l);
}
END_TEST

/* Clearings that do not reach the log are copied for nothing, no more. */
START_TEST (a_clean_mark_may_be_lost)
{
  struct mirror_status status;
  struct log_rig l;

  log_rig_create (&l, 2);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 0, 1), 0);
  fault_bdev_fail_from (l.disk, FAULT_WRITE, 0);
  clean_lazily (&l);
  mirror_get_status (l.rig.mirror, &status);
  ck_assert_int_eq (status.log.error, -EIO);
  ck_assert_uint_eq (l.failures, 0);
  /* The next write that needs the log asks. */
  ck_assert_int_eq (write_pattern (&l.rig, 2, 0, 1), 0);
  ck_assert_uint_eq (l.failures, 1);
  fault_bdev_heal (l.disk);
  log_rig_reopen (&l);
  ck_assert (is_dirty (&l, 0));
  log_rig_destroy (&l);
}
END_TEST

START_TEST (a_leg_alone_is_never_cleaned)
{
  struct log_rig l;

  log_rig_create (&l, 1);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 0, 1), 0);
  fault_trace_reset (l.rig.trace);
  clean_lazily (&l);
  assert_trace (&l.rig, FAULT_ALL, "");
  ck_assert (is_dirty (&l, 0));
  log_rig_destroy (&l);
}
END_TEST

/*----- copying ---------------------------------------------------------*/

/* After a crash, regions that are dirty are copied, from the primary. */
START_TEST (a_crash_costs_what_was_dirty)
{
  struct log_rig l;

  log_rig_create (&l, 2);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 3 * REGION, 1), 0);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 15 * REGION, 1), 0);
  fault_bdev_crash (l.rig.disks[0], NULL, NULL);
  fault_bdev_crash (l.disk, NULL, NULL);
  log_rig_reopen (&l);
  ck_assert_uint_eq (status_of (&l.rig).regions_in_sync, REGIONS - 2);
  resync_once (&l.rig);
  assert_sorted_trace (&l.rig, FAULT_READ, "leg0 read 240+10, leg0 read 48+16");
  ck_assert_uint_eq (fault_bdev_calls (l.rig.disks[1], FAULT_WRITE), 2 + 2);
  assert_equal_legs (&l.rig);
  ck_assert (mirror_is_clean (l.rig.mirror));
  ck_assert_int_eq (mirror_settle (l.rig.mirror), 0);
  ck_assert_uint_eq (dirty_log_dirty_count (mirror_log (l.rig.mirror)), 0);
  log_rig_destroy (&l);
}
END_TEST

/* What is copied is clean in the log one day: after a crash it is not copied
 * again, though the leg still recovers.
 */
START_TEST (progress_survives_a_crash)
{
  struct log_rig l;

  log_rig_create (&l, 2);
  l.rig.params.states[1] = LEG_RECOVERING;
  ck_assert_int_eq (write_pattern (&l.rig, 2, 0, SECTORS), 0);
  log_rig_reopen (&l);
  ck_assert_uint_eq (status_of (&l.rig).regions_in_sync, 0);
  fault_bdev_fail_range (l.rig.disks[0], FAULT_READ, 4 * REGION, 1);
  resync_once (&l.rig);
  ck_assert_uint_eq (status_of (&l.rig).regions_in_sync, REGIONS - 1);
  clean_lazily (&l);
  fault_bdev_crash (l.rig.disks[0], NULL, NULL);
  fault_bdev_crash (l.rig.disks[1], NULL, NULL);
  fault_bdev_crash (l.disk, NULL, NULL);
  fault_bdev_heal (l.rig.disks[0]);
  log_rig_reopen (&l);
  resync_once (&l.rig);
  assert_trace (&l.rig, FAULT_READ, "leg0 read 64+16");
  ck_assert_int_eq (state_of (&l.rig, 1), LEG_IN_SYNC);
  assert_equal_legs (&l.rig);
  log_rig_destroy (&l);
}
END_TEST

START_TEST (a_leg_that_returns_gets_what_it_missed)
{
  struct log_rig l;

  log_rig_create (&l, 2);
  fault_bdev_fail_once (l.rig.disks[1], FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 5 * REGION, 1), 0);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 6 * REGION + 1, REGION), 0);
  ck_assert_int_eq (state_of (&l.rig, 1), LEG_FAILED);
  fault_trace_reset (l.rig.trace);
  ck_assert_int_eq (mirror_rejoin_leg (l.rig.mirror, 1, LEG_LACKS_DIRTY), 0);
  ck_assert_int_eq (state_of (&l.rig, 1), LEG_RECOVERING);
  ck_assert_int_eq (l.rig.changes[1].state, LEG_RECOVERING);
  ck_assert_uint_eq (status_of (&l.rig).regions_in_sync, REGIONS - 3);
  assert_trace (&l.rig, FAULT_ALL, "");
  /* What is written now goes to it. */
  ck_assert_int_eq (write_pattern (&l.rig, 3, 0, 1), 0);
  assert_trace (&l.rig, FAULT_WRITE,
                "log write 2+1, leg0 write 0+1, leg1 write 0+1");
  fault_trace_reset (l.rig.trace);
  resync_once (&l.rig);
  assert_sorted_trace (&l.rig, FAULT_READ,
                       "leg0 read 112+16, leg0 read 80+16, leg0 read 96+16");
  ck_assert_int_eq (state_of (&l.rig, 1), LEG_IN_SYNC);
  assert_equal_legs (&l.rig);
  log_rig_destroy (&l);
}
END_TEST

START_TEST (a_leg_of_which_nothing_is_known_makes_all_dirty)
{
  struct log_rig l;

  log_rig_create (&l, 2);
  fault_bdev_fail_once (l.rig.disks[1], FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 5 * REGION, 1), 0);

  /* What cannot be recorded does not happen. */
  l.rig.answer = -EIO;
  ck_assert_int_eq (mirror_rejoin_leg (l.rig.mirror, 1, LEG_LACKS_ALL), -EIO);
  ck_assert_int_eq (state_of (&l.rig, 1), LEG_FAILED);
  l.rig.answer = 0;
  fault_trace_reset (l.rig.trace);
  ck_assert_int_eq (mirror_rejoin_leg (l.rig.mirror, 1, LEG_LACKS_ALL), 0);
  ck_assert_uint_eq (status_of (&l.rig).regions_in_sync, 0);
  resync_once (&l.rig);
  ck_assert_int_eq (state_of (&l.rig, 1), LEG_IN_SYNC);
  assert_equal_legs (&l.rig);
  log_rig_destroy (&l);
}
END_TEST

/* All dirty in the log, durably, before anybody is told that it recovers. */
START_TEST (all_is_dirty_before_a_leg_is_admitted)
{
  struct log_rig l;

  log_rig_create (&l, 2);
  fault_bdev_fail_once (l.rig.disks[1], FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (&l.rig, 2, 5 * REGION, 1), 0);
  fault_trace_reset (l.rig.trace);
  ck_assert_int_eq (mirror_rejoin_leg (l.rig.mirror, 1, LEG_LACKS_ALL), 0);
  assert_trace (&l.rig, FAULT_ALL, "log write 2+1, log flush");
  ck_assert_uint_eq (l.rig.changes[change_count (&l.rig) - 1].at, 2);
  log_rig_destroy (&l);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_mark_is_durable_before_the_write,
    a_steady_writer_writes_no_log,
    writers_share_a_flush_of_the_log,
    what_cannot_be_marked_is_not_written,
    legs_are_flushed_before_a_region_is_clean,
    nothing_is_cleaned_while_a_leg_is_out,
    a_leg_that_fails_meanwhile_stops_the_cleaning,
    a_clean_mark_may_be_lost,
    a_leg_alone_is_never_cleaned,
    a_crash_costs_what_was_dirty,
    progress_survives_a_crash,
    a_leg_that_returns_gets_what_it_missed,
    a_leg_of_which_nothing_is_known_makes_all_dirty,
    all_is_dirty_before_a_leg_is_admitted,
    NULL,
  };

  return unit_main ("mirror-log", tests);
}
