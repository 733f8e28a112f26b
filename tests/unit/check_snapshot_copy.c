/* Unit tests of snapshots: the order of things when a chunk is copied.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "snapshot-test.h"

/*----- the order of things ---------------------------------------------*/

START_TEST (copy_flush_record_and_only_then_the_write)
{
  struct rig rig;

  (void) rig_simple (&rig, BREAK_SNAPSHOT);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 17, 3), 0);
  assert_trace (&rig, FAULT_ALL,
                "origin read 16+8, cow0 write 16+8, cow0 flush, "
                "cow0 write 8+1 fua, origin write 17+3");
  /* Safe now: nothing but the write. */
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 16, 8), 0);
  assert_trace (&rig, FAULT_ALL, "origin write 16+8");
  /* Neighbours are one copy. */
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 4, 39, 10), 0);
  assert_trace (&rig, FAULT_ALL,
                "origin read 32+24, cow0 write 24+24, cow0 flush, "
                "cow0 write 8+1 fua, origin write 39+10");
  /* A zeroing is a write. */
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (target_zero (volume_of (&rig), 60, 1, BDEV_FUA), 0);
  assert_trace (&rig, FAULT_ALL,
                "origin read 56+8, cow0 write 48+8, cow0 flush, "
                "cow0 write 8+1 fua, origin zero 60+1 fua");
  assert_frozen (target_of (&rig, 0));
  assert_target_pattern (volume_of (&rig), 3, 16, 8);
  /* Reads and flushes of the volume are the origin's own business. */
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (target_flush (volume_of (&rig)), 0);
  assert_trace (&rig, FAULT_ALL, "origin flush");
  rig_finish (&rig);
}
END_TEST

START_TEST (old_data_is_durable_before_it_is_overwritten)
{
  unsigned char data[8 * SECTOR_SIZE];
  struct rig_snapshot *rs;
  struct call write = { .op = 'w', .buffer = data, .sector = 8, .count = 8 };
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  fill_pattern (data, 2, 8, 8);
  write.target = volume_of (&rig);
  fault_bdev_gate_shut (rig.disk, FAULT_WRITE, 0, 0);
  call_start (&write);
  fault_bdev_gate_wait (rig.disk, 1);
  ck_assert_uint_eq (fault_bdev_pending (rs->disk), 0);
  fault_bdev_look_durable (rs->disk, 16, 8, data);
  assert_pattern (data, BASE_SEED, 8, 8);
  fill_pattern (data, 2, 8, 8);
  fault_bdev_gate_open (rig.disk);
  ck_assert_int_eq (call_join (&write), 0);
  rig_close (&rig);
  fault_bdev_crash (rs->disk, NULL, NULL);
  rig_open (&rig);
  assert_frozen (target_of (&rig, 0));
  rig_finish (&rig);
}
END_TEST

/* Power is lost before step N of some writes; then the snapshots are what
 * they were, and the volume holds what was flushed, or later.  Returns
 * false if there is no such step.
 */
static bool
crash_at (unsigned n, struct chance *chance)
{
  static const struct {
    sector_t sector, count;
  } writes[] = { { 1, 1 }, { 30, 20 }, { 31, 2 }, { 258, 1 }, { 100, 100 } };
  unsigned char data[SECTOR_SIZE];
  uint64_t mask = chance_next (chance);
  unsigned tried = 0, flushed = 0;
  bool was_cut;
  struct rig rig;
  unsigned i, j;
  sector_t s;

  rig_pair (&rig, 4, 16);
  fault_trace_cut_power (rig.trace, FAULT_WRITE | FAULT_FLUSH | FAULT_ZERO, n);
  for (i = 0; i < ARRAY_COUNT (writes); ++i) {
    unsigned seed = 10 + i;

    tried = i + 1;
    if (write_pattern (volume_of (&rig), seed, writes[i].sector,
                       writes[i].count) < 0)
      break;
    if (i % 2 == 0) {
      if (target_flush (volume_of (&rig)) < 0)
        break;
      flushed = i + 1;
    }
    /* Write to the newer snapshot, to move chunks to the older one. */
    if (write_pattern (target_of (&rig, 1), 50, 64, 9) < 0)
      break;
  }
  was_cut = fault_trace_power_is_cut (rig.trace);
  rig_close (&rig);
  fault_bdev_crash (rig.disk, fault_keep_mask, &mask);
  for (j = 0; j < rig.count; ++j) {
    mask = chance_next (chance);
    fault_bdev_crash (rig.snapshots[j].disk, fault_keep_mask, &mask);
    /* Without power nothing can be recorded, so nothing is broken. */
    rig.snapshots[j].is_valid = true;
  }
  fault_trace_power_on (rig.trace);

  rig_open (&rig);
  assert_frozen (target_of (&rig, 0));
  assert_target_pattern (target_of (&rig, 1), BASE_SEED, 0, 64);
  assert_target_pattern (target_of (&rig, 1), BASE_SEED, 73, SECTORS - 73);
  for (s = 0; s < SECTORS; ++s) {
    bool is_right = false;

    /* What was flushed, or any of the writes since then. */
    fault_bdev_look (rig.disk, s, 1, data);
    for (i = tried; i > 0 && !is_right; --i) {
      if (s < writes[i - 1].sector ||
          s >= writes[i - 1].sector + writes[i - 1].count)
        continue;
      is_right = first_wrong_sector (data, 9 + i, s, 1) > s;
      if (i <= flushed)
        break;
    }
    if (i == 0 && !is_right)
      is_right = first_wrong_sector (data, BASE_SEED, s, 1) > s;
    ck_assert_msg (is_right, "sector %u", (unsigned) s);
  }
  rig_finish (&rig);
  return was_cut;
}

START_TEST (a_crash_leaves_snapshots_as_they_were)
{
  struct chance chance = chance_begin ("a_crash_leaves_snapshots_as_they_were");
  unsigned n, round;

  for (round = 0; round < 20; ++round)
    for (n = 0; crash_at (n, &chance); ++n)
      ck_assert_uint_lt (n, 200);
  ck_assert_uint_gt (n, 20);
}
END_TEST

/*----- several at once -------------------------------------------------*/

static void
start_write (struct call *c, struct target *t, sector_t sector)
{
  static unsigned char data[SECTOR_SIZE];

  *c = (struct call){
    .op = 'w', .target = t, .buffer = data, .sector = sector, .count = 1
  };
  call_start (c);
}

/* Two writes to chunk 1: the copy of the first is held at the store, and
 * the second has had a moment to come to wait for it.
 */
static void
start_two_writes (struct rig *rig, struct call *a, struct call *b)
{
  struct fault_bdev *cow = rig->snapshots[0].disk;

  fault_bdev_gate_shut (cow, FAULT_WRITE, 16, 8);
  start_write (a, volume_of (rig), 8);
  fault_bdev_gate_wait (cow, 1);
  start_write (b, volume_of (rig), 13);
  short_wait ();
}

/* A read of sectors 8 .. 15 that is held at the origin, it alone. */
static void
start_read (struct rig *rig, struct call *read)
{
  fault_bdev_gate_shut (rig->disk, FAULT_READ, 8, 8);
  call_start (read);
  fault_bdev_gate_wait (rig->disk, 1);
  fault_bdev_gate_shut (rig->disk, 0, 0, 0);
}

/* The copy is in the newest snapshot's store, but not the write that it is
 * for in the origin.
 */
static void
expect_write_waits (struct rig *rig)
{
  struct fault_bdev *cow = rig->snapshots[rig->count - 1].disk;
  unsigned i;

  wait_until (fault_bdev_calls (cow, FAULT_WRITE) >= 3);
  for (i = 0; i < 10; ++i)
    short_wait ();
  ck_assert_uint_eq (fault_bdev_calls (rig->disk, FAULT_WRITE), 0);
}

START_TEST (two_writers_to_one_chunk_join)
{
  struct rig_snapshot *rs;
  struct call a, b;
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  start_two_writes (&rig, &a, &b);
  ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_WRITE), 0);
  fault_bdev_gate_open (rs->disk);
  ck_assert_int_eq (call_join (&a), 0);
  ck_assert_int_eq (call_join (&b), 0);
  ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_READ), 1);
  ck_assert_uint_eq (fault_bdev_calls (rs->disk, FAULT_FLUSH), 1);
  assert_frozen (target_of (&rig, 0));
  rig_finish (&rig);
}
END_TEST

/* Who waited for a copy that failed makes one of its own. */
START_TEST (a_failed_copy_is_tried_again_by_who_waited)
{
  struct rig_snapshot *rs;
  struct call a, b;
  struct rig rig;

  rs = rig_simple (&rig, BREAK_GUEST_WRITE);
  fault_bdev_fail_once (rs->disk, FAULT_WRITE, 0);
  start_two_writes (&rig, &a, &b);
  fault_bdev_gate_open (rs->disk);
  ck_assert_int_eq (call_join (&a), -EIO);
  ck_assert_int_eq (call_join (&b), 0);
  ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_WRITE), 1);
  assert_frozen (target_of (&rig, 0));
  rig_reopen (&rig);
  assert_frozen (target_of (&rig, 0));
  rig_finish (&rig);
}
END_TEST

/* A snapshot's read that has found that a chunk is in the origin still
 * gets the old data, however long it takes: the write waits for it.
 */
START_TEST (a_read_that_is_under_way_holds_the_write)
{
  unsigned char old[8 * SECTOR_SIZE], new[SECTOR_SIZE];
  struct rig_snapshot *rs;
  struct call read = { .op = 'r', .buffer = old, .sector = 8, .count = 8 };
  struct call write = { .op = 'w', .buffer = new, .sector = 8, .count = 1 };
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  read.target = target_of (&rig, 0);
  write.target = volume_of (&rig);
  fill_pattern (new, 2, 8, 1);
  start_read (&rig, &read);
  call_start (&write);
  wait_until (first_event (&rig, rs->disk, FAULT_FLUSH) <
              fault_trace_count (rig.trace));
  expect_write_waits (&rig);
  ck_assert (!atomic_load (&write.is_done));
  /* Others that read find it in the store already. */
  assert_frozen (target_of (&rig, 0));
  /* And who writes elsewhere does not wait. */
  ck_assert_int_eq (write_pattern (volume_of (&rig), 5, 100, 1), 0);
  fault_bdev_gate_open (rig.disk);
  ck_assert_int_eq (call_join (&read), 0);
  assert_pattern (old, BASE_SEED, 8, 8);
  ck_assert_int_eq (call_join (&write), 0);
  assert_target_pattern (volume_of (&rig), 2, 8, 1);
  assert_frozen (target_of (&rig, 0));
  rig_finish (&rig);
}
END_TEST

/* The same when the snapshot breaks meanwhile: then nobody waits for the
 * read, and it must not return what may be new.
 */
START_TEST (a_read_under_way_while_the_snapshot_breaks_fails)
{
  unsigned char old[8 * SECTOR_SIZE];
  struct rig_snapshot *rs;
  struct call read = { .op = 'r', .buffer = old, .sector = 8, .count = 8 };
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  read.target = target_of (&rig, 0);
  start_read (&rig, &read);
  fault_bdev_fail_from (rs->disk, FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 8, 1), 0);
  fault_bdev_gate_open (rig.disk);
  ck_assert_int_eq (call_join (&read), -EIO);
  rig_finish (&rig);
}
END_TEST

/* Older snapshots read through newer ones; their reads hold writes, too. */
START_TEST (a_read_through_the_chain_holds_the_write)
{
  unsigned char old[8 * SECTOR_SIZE], new[SECTOR_SIZE];
  struct call read = { .op = 'r', .buffer = old, .sector = 8, .count = 8 };
  struct call write = { .op = 'w', .buffer = new, .sector = 8, .count = 1 };
  struct rig rig;

  rig_pair (&rig, 4, 8);
  read.target = target_of (&rig, 0);
  write.target = volume_of (&rig);
  fill_pattern (new, 2, 8, 1);
  start_read (&rig, &read);
  call_start (&write);
  expect_write_waits (&rig);
  fault_bdev_gate_open (rig.disk);
  ck_assert_int_eq (call_join (&read), 0);
  ck_assert_int_eq (call_join (&write), 0);
  assert_pattern (old, BASE_SEED, 8, 8);
  assert_frozen (target_of (&rig, 0));
  /* A chunk of the volume is copied once, into the newest. */
  ck_assert_uint_eq (fault_bdev_calls (rig.snapshots[0].disk,
                                       FAULT_WRITE | FAULT_FLUSH),
                     1);
  rig_finish (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    copy_flush_record_and_only_then_the_write,
    old_data_is_durable_before_it_is_overwritten,
    a_crash_leaves_snapshots_as_they_were,
    two_writers_to_one_chunk_join,
    a_failed_copy_is_tried_again_by_who_waited,
    a_read_that_is_under_way_holds_the_write,
    a_read_under_way_while_the_snapshot_breaks_fails,
    a_read_through_the_chain_holds_the_write,
    NULL,
  };

  return unit_main ("snapshot_copy", tests);
}
