/* Unit tests of the mirror's read repair.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "fault-alloc.h"
#include "mirror-impl.h"
#include "mirror-test.h"

/* Reads that touch COUNT sectors from SECTOR on fail so many TIMES. */
static void
fail_reads (struct rig *rig, unsigned leg, sector_t sector, sector_t count,
            unsigned times, int error)
{
  const struct fault_rule rule = { .ops = FAULT_READ,
                                   .sector = sector,
                                   .count = count,
                                   .times = times,
                                   .error = error };

  fault_bdev_add_rule (rig->disks[leg], &rule);
}

static void
rig_open_repairing (struct rig *rig, unsigned legs)
{
  rig_create (rig, legs);
  rig->params.read_policy = READ_FIRST;
  rig_open (rig);
  ck_assert_int_eq (mirror_start_repair (rig->mirror), 0);
}

static void
wait_for_repair (struct rig *rig)
{
  wait_until (!status_of (rig).is_repairing);
}

/* Read, and see that the answer is right. */
static void
read_right (struct rig *rig, sector_t sector, sector_t count)
{
  unsigned char *data = test_alloc_sectors (count);

  ck_assert_int_eq (target_read (rig->target, data, sector, count), 0);
  assert_pattern (data, BASE_SEED, sector, count);
  free (data);
}

static void
spoil (struct rig *rig, unsigned leg, sector_t sector, sector_t count)
{
  unsigned char *data = test_alloc_sectors (count);

  fill_pattern (data, OTHER_SEED, sector, count);
  fault_bdev_load (rig->disks[leg], sector, count, data);
  free (data);
}

/* The read fails, so does that of the whole piece, so does that of each bad
 * sector; then it is written, and can be read.
 */
START_TEST (bad_sectors_are_rewritten_and_read_again)
{
  unsigned legs;

  for (legs = 2; legs <= 4; ++legs) {
    struct mirror_status status;
    struct rig rig;

    rig_open_repairing (&rig, legs);
    spoil (&rig, 0, 41, 2);
    fail_reads (&rig, 0, 41, 1, 3, -EIO);
    fail_reads (&rig, 0, 42, 1, 3, -EIO);
    read_right (&rig, 30, 20);
    wait_for_repair (&rig);
    status = status_of (&rig);
    ck_assert_uint_eq (status.legs[0].read_errors, 1);
    ck_assert_uint_eq (status.legs[0].repaired_bytes, 2 * SECTOR_SIZE);
    ck_assert_uint_eq (status.legs[1].repaired_bytes, 0);
    ck_assert_uint_eq (status.legs[0].writes, 0);
    assert_trace (&rig, FAULT_WRITE, "leg0 write 41+1, leg0 write 42+1");
    assert_said ("W: mirror: leg 0 (leg0): 512 bytes at 20992 could not be "
                 "read; they were rewritten from leg 1 (leg1), and can be read "
                 "again");
    assert_equal_legs (&rig);
    ck_assert_uint_eq (change_count (&rig), 0);
    /* It is read again, as it was before. */
    fault_trace_reset (rig.trace);
    read_right (&rig, 41, 1);
    assert_trace (&rig, FAULT_READ, "leg0 read 41+1");
    rig_destroy (&rig);
  }
}
END_TEST

START_TEST (errors_that_pass_are_not_repaired)
{
  struct rig rig;

  rig_open_repairing (&rig, 2);
  fail_reads (&rig, 0, 41, 1, 1, -EIO);
  read_right (&rig, 30, 20);
  wait_for_repair (&rig);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[0], FAULT_WRITE), 0);
  ck_assert_uint_eq (status_of (&rig).legs[0].repaired_bytes, 0);
  ck_assert_uint_eq (status_of (&rig).legs[0].read_errors, 1);
  rig_destroy (&rig);
}
END_TEST

/* Two legs of three, in different places of one read. */
START_TEST (several_legs_are_repaired)
{
  struct rig rig;

  rig_open_repairing (&rig, 3);
  spoil (&rig, 0, 41, 1);
  spoil (&rig, 1, 42, 1);
  fail_reads (&rig, 0, 41, 1, 3, -EIO);
  fail_reads (&rig, 1, 42, 1, 3, -EIO);
  read_right (&rig, 40, 8);
  wait_for_repair (&rig);
  ck_assert_uint_eq (status_of (&rig).legs[0].repaired_bytes, SECTOR_SIZE);
  ck_assert_uint_eq (status_of (&rig).legs[1].repaired_bytes, SECTOR_SIZE);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/* A read over several regions, and pieces. */
START_TEST (long_ranges_are_repaired)
{
  struct rig rig;
  static const sector_t bad[] = { 0, 15, 16, 17, 100, SECTORS - 1 };
  unsigned i;

  rig_open_repairing (&rig, 2);
  for (i = 0; i < ARRAY_COUNT (bad); ++i) {
    spoil (&rig, 0, bad[i], 1);
    fail_reads (&rig, 0, bad[i], 1, 3, -EIO);
  }
  read_right (&rig, 0, SECTORS);
  wait_for_repair (&rig);
  ck_assert_uint_eq (status_of (&rig).legs[0].repaired_bytes,
                     ARRAY_COUNT (bad) * SECTOR_SIZE);
  assert_equal_legs (&rig);
  fault_trace_reset (rig.trace);
  read_right (&rig, 0, SECTORS);
  assert_trace (&rig, FAULT_ALL, "leg0 read 0+250");
  rig_destroy (&rig);
}
END_TEST

/* What only one leg can be trusted for is never rewritten from another. */
START_TEST (nothing_is_repaired_out_of_sync)
{
  unsigned char data[SECTOR_SIZE];
  struct rig rig;

  rig_create (&rig, 2);
  rig.params.read_policy = READ_FIRST;
  rig_open_unequal (&rig);
  ck_assert_int_eq (mirror_start_repair (rig.mirror), 0);
  fail_reads (&rig, 0, 41, 1, 0, -EIO);
  ck_assert_int_eq (target_read (rig.target, data, 41, 1), -EIO);
  wait_for_repair (&rig);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[0], FAULT_WRITE), 0);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[1], FAULT_ALL), 0);
  rig_destroy (&rig);
}
END_TEST

/* Between the read and its repair a write fails on all legs: the legs may
 * differ there now, so it is for the resync.
 */
START_TEST (what_falls_out_of_sync_meanwhile_is_left_alone)
{
  struct rig rig;
  unsigned writes;

  rig_open_repairing (&rig, 2);
  /* The repair of another region keeps the thread busy. */
  fail_reads (&rig, 0, 3, 1, 1, -EIO);
  read_right (&rig, 3, 1);
  wait_for_repair (&rig);
  fault_bdev_gate_shut (rig.disks[0], FAULT_READ, 3, 1);
  mirror_ask_for_repair (rig.mirror, 0, 3, 1);
  fault_bdev_gate_wait (rig.disks[0], 1);
  mirror_ask_for_repair (rig.mirror, 0, 100, 1);
  fail_reads (&rig, 0, 100, 1, 0, -EIO);
  fault_bdev_fail_once (rig.disks[0], FAULT_WRITE, 0);
  fault_bdev_fail_once (rig.disks[1], FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (&rig, 7, 100, 1), -EIO);
  writes = fault_bdev_calls (rig.disks[0], FAULT_WRITE);
  fault_bdev_gate_open (rig.disks[0]);
  wait_for_repair (&rig);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[0], FAULT_WRITE), writes);
  rig_destroy (&rig);
}
END_TEST

/* A volume that is only read changes no byte, and no leg fails. */
START_TEST (nothing_is_repaired_unless_started)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig, 2);
  rig.params.read_policy = READ_ROUND_ROBIN;
  rig_open (&rig);
  fail_reads (&rig, 0, 0, 0, 0, -ENOTCONN);
  for (i = 0; i < 3 * MIRROR_READ_ERRORS_MAX; ++i)
    read_right (&rig, i, 1);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[0], FAULT_WRITE), 0);
  ck_assert_uint_eq (change_count (&rig), 0);
  ck_assert_int_eq (mirror_start_repair (rig.mirror), 0);
  mirror_stop_repair (rig.mirror);
  ck_assert_int_eq (read_one (&rig, 5), 0);
  ck_assert_uint_eq (change_count (&rig), 0);
  rig_destroy (&rig);
}
END_TEST

/* While a sector is rewritten nobody else writes there; elsewhere one does. */
START_TEST (repairing_overwrites_nothing_newer)
{
  unsigned char data[SECTOR_SIZE];
  struct call write = { .op = 'w', .buffer = data, .sector = 41, .count = 1 };
  struct rig rig;
  unsigned i;

  rig_open_repairing (&rig, 2);
  fill_pattern (data, 9, 41, 1);
  write.target = rig.target;
  fail_reads (&rig, 0, 41, 1, 3, -EIO);
  fault_bdev_gate_shut (rig.disks[0], FAULT_WRITE, 41, 1);
  read_right (&rig, 41, 1);
  fault_bdev_gate_wait (rig.disks[0], 1);
  call_start (&write);
  ck_assert_int_eq (write_pattern (&rig, 8, 60, 1), 0);
  for (i = 0; i < 3; ++i)
    short_wait ();
  ck_assert (!atomic_load (&write.is_done));
  ck_assert_uint_eq (fault_bdev_gate_waiting (rig.disks[0]), 1);
  fault_bdev_gate_open (rig.disks[0]);
  ck_assert_int_eq (call_join (&write), 0);
  wait_for_repair (&rig);
  for (i = 0; i < 2; ++i)
    assert_disk_pattern (rig.disks[i], 9, 41, 1);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- legs that fail --------------------------------------------------*/

static void
assert_failed_because (struct rig *rig, unsigned leg, const char *reason)
{
  wait_until (change_count (rig) > 0);
  ck_assert_uint_eq (change_count (rig), 1);
  ck_assert_uint_eq (rig->changes[0].leg, leg);
  ck_assert_int_eq (rig->changes[0].state, LEG_FAILED);
  ck_assert_str_eq (rig->changes[0].reason, reason);
  wait_until (state_of (rig, leg) == LEG_FAILED);
}

START_TEST (a_leg_that_takes_no_rewriting_fails)
{
  struct rig rig;

  rig_open_repairing (&rig, 2);
  fail_reads (&rig, 0, 41, 1, 0, -EIO);
  fault_bdev_fail_range (rig.disks[0], FAULT_WRITE, 41, 1);
  read_right (&rig, 41, 1);
  assert_failed_because (
    &rig, 0,
    "rewriting of 512 bytes at 20992 failed: Input/output error; see to its "
    "disk, then rejoin it, or replace it");
  ck_assert_uint_eq (status_of (&rig).legs[0].write_errors, 1);
  ck_assert_int_eq (read_one (&rig, 41), 0);
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_leg_that_stays_unreadable_fails)
{
  struct rig rig;

  rig_open_repairing (&rig, 2);
  fail_reads (&rig, 0, 41, 1, 0, -EIO);
  read_right (&rig, 40, 4);
  assert_failed_because (
    &rig, 0,
    "reading again of 512 bytes at 20992 failed: Input/output error; see to "
    "its disk, then rejoin it, or replace it");
  ck_assert_uint_eq (status_of (&rig).legs[0].repaired_bytes, 0);
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_leg_that_gives_back_something_else_fails)
{
  struct rig rig;

  rig_open_repairing (&rig, 2);
  fail_reads (&rig, 0, 41, 1, 3, -EIO);
  fault_bdev_gate_shut (rig.disks[0], FAULT_WRITE, 41, 1);
  read_right (&rig, 41, 1);
  fault_bdev_gate_wait (rig.disks[0], 1);
  fault_bdev_gate_shut (rig.disks[0], FAULT_READ, 41, 1);
  fault_bdev_gate_pass (rig.disks[0], 1);
  fault_bdev_gate_wait (rig.disks[0], 1);
  spoil (&rig, 0, 41, 1);
  fault_bdev_gate_open (rig.disks[0]);
  assert_failed_because (
    &rig, 0,
    "512 bytes at 20992 were rewritten, but something "
    "else is read there; see to its disk, then rejoin it, or "
    "replace it");
  rig_destroy (&rig);
}
END_TEST

/* A leg that is gone fails before the client has its answer. */
START_TEST (a_leg_that_is_gone_fails_at_once)
{
  static const int errors[] = { -ENOTCONN, -ETIMEDOUT, -ENODEV, -ENXIO,
                                -ESHUTDOWN };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (errors); ++i) {
    struct rig rig;

    rig_open_repairing (&rig, 2);
    fail_reads (&rig, 0, 0, 0, 0, errors[i]);
    read_right (&rig, 41, 1);
    ck_assert_uint_eq (change_count (&rig), 1);
    ck_assert_int_eq (rig.changes[0].state, LEG_FAILED);
    ck_assert_int_eq (state_of (&rig, 0), LEG_FAILED);
    /* The last one stays, whatever it does. */
    fail_reads (&rig, 1, 0, 0, 0, errors[i]);
    ck_assert_int_eq (read_one (&rig, 41), errors[i]);
    ck_assert_int_eq (state_of (&rig, 1), LEG_IN_SYNC);
    ck_assert_uint_eq (change_count (&rig), 1);
    rig_destroy (&rig);
  }
}
END_TEST

START_TEST (a_leg_of_too_many_errors_fails)
{
  struct rig rig;
  unsigned i;

  rig_open_repairing (&rig, 2);
  for (i = 0; i <= MIRROR_READ_ERRORS_MAX; ++i) {
    ck_assert_uint_eq (change_count (&rig), 0);
    fail_reads (&rig, 0, 2 * i, 1, 1, -EIO);
    read_right (&rig, 2 * i, 1);
    wait_for_repair (&rig);
    fault_bdev_heal (rig.disks[0]);
  }
  assert_failed_because (&rig, 0,
                         "read of 512 bytes at 20480 failed: Input/output "
                         "error; so have 20 others of late; see to its disk, "
                         "then rejoin it, or replace it");
  rig_destroy (&rig);
}
END_TEST

/* Nobody has it: nothing is made up, and no leg fails. */
START_TEST (what_no_leg_can_read_stays)
{
  unsigned char data[SECTOR_SIZE];
  struct rig rig;

  rig_open_repairing (&rig, 2);
  fail_reads (&rig, 0, 41, 1, 0, -EIO);
  fail_reads (&rig, 1, 41, 1, 0, -EIO);
  ck_assert_int_eq (target_read (rig.target, data, 41, 1), -EIO);
  wait_for_repair (&rig);
  /* The other leg fails after it has answered. */
  fault_bdev_heal (rig.disks[1]);
  fault_bdev_add_rule (rig.disks[1],
                       &(struct fault_rule){ .ops = FAULT_READ, .skip = 1 });
  ck_assert_int_eq (target_read (rig.target, data, 41, 1), 0);
  wait_for_repair (&rig);
  assert_said ("E: mirror: leg 0 (leg0): 512 bytes at 20992 cannot be read, "
               "nor from any other leg in sync");
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[0], FAULT_WRITE), 0);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[1], FAULT_WRITE), 0);
  ck_assert_uint_eq (change_count (&rig), 0);
  rig_destroy (&rig);
}
END_TEST

/* More than the list holds: the rest is left for later reads, and none is
 * lost when it stops in the middle.
 */
START_TEST (the_list_is_bounded)
{
  struct rig rig;
  unsigned i;

  rig_open_repairing (&rig, 2);
  fault_bdev_gate_shut (rig.disks[0], FAULT_READ, 0, 1);
  mirror_ask_for_repair (rig.mirror, 0, 0, 1);
  fault_bdev_gate_wait (rig.disks[0], 1);
  for (i = 0; i < 2 * MIRROR_MAX_REPAIRS; ++i) {
    mirror_ask_for_repair (rig.mirror, 0, 1 + i, 2);
    mirror_ask_for_repair (rig.mirror, 0, 2 + i, 1); /* part of it */
  }
  ck_assert_uint_eq (rig.mirror->repair_count, MIRROR_MAX_REPAIRS);
  fault_bdev_gate_open (rig.disks[0]);
  mirror_stop_repair (rig.mirror);
  ck_assert_int_eq (mirror_start_repair (rig.mirror), 0);
  wait_for_repair (&rig);
  rig_destroy (&rig);
}
END_TEST

/* Clients read and write, a leg has bad sectors here and there. */
struct load {
  struct thread thread;
  struct rig *rig;
  struct chance chance;
  sector_t first; /* 30 sectors are its own */
  uint64_t seeds[30];
  bool is_wrong;
};

static void
load_main (void *arg)
{
  unsigned char got[SECTOR_SIZE], expected[SECTOR_SIZE];
  struct load *load = arg;
  unsigned i;

  for (i = 0; i < 300; ++i) {
    unsigned n = (unsigned) chance_below (&load->chance, 30);
    sector_t sector = load->first + n;

    if (chance_below (&load->chance, 2) == 0) {
      load->seeds[n] = chance_next (&load->chance);
      if (write_pattern (load->rig, load->seeds[n], sector, 1) != 0)
        load->is_wrong = true;
      continue;
    }
    fill_pattern (expected, load->seeds[n], sector, 1);
    if (target_read (load->rig->target, got, sector, 1) != 0 ||
        memcmp (got, expected, sizeof got) != 0)
      load->is_wrong = true;
  }
}

START_TEST (repairs_beside_clients_land_right)
{
  struct chance chance = chance_begin ("repairs_beside_clients_land_right");
  struct load loads[4];
  struct rig rig;
  unsigned i, j;

  rig_create (&rig, 2);
  rig.params.read_policy = READ_ROUND_ROBIN;
  rig_open (&rig);
  ck_assert_int_eq (mirror_start_repair (rig.mirror), 0);
  /* Each fails the read, the piece and the sector, and then no more.  None is
   * bad on both legs, and if all three were clients' it would be fewer than may
   * be.
   */
  for (i = 0; i < 12; ++i)
    fail_reads (&rig, i % 2, 10 * i + chance_below (&chance, 10), 1, 3, -EIO);
  for (i = 0; i < ARRAY_COUNT (loads); ++i) {
    loads[i] = (struct load){ .rig = &rig, .first = 30 * i };
    loads[i].chance.state = chance_next (&chance);
    for (j = 0; j < 30; ++j)
      loads[i].seeds[j] = BASE_SEED;
    ck_assert_int_eq (thread_start (&loads[i].thread, "load", load_main,
                                    &loads[i]),
                      0);
  }
  for (i = 0; i < ARRAY_COUNT (loads); ++i) {
    thread_join (&loads[i].thread);
    ck_assert (!loads[i].is_wrong);
  }
  wait_for_repair (&rig);
  ck_assert_uint_eq (change_count (&rig), 0);
  assert_equal_legs (&rig);
  for (i = 0; i < ARRAY_COUNT (loads); ++i)
    for (j = 0; j < 30; ++j)
      assert_disk_pattern (rig.disks[i % 2], loads[i].seeds[j],
                           loads[i].first + j, 1);
  rig_destroy (&rig);
}
END_TEST

START_TEST (want_of_memory_and_threads_is_told)
{
  unsigned k, failed = 1, kinds;
  struct rig rig;
  int r;

  rig_create (&rig, 2);
  rig_open (&rig);
  for (kinds = 0; kinds < 2; ++kinds)
    for (k = 0, failed = 1; failed > 0; ++k) {
      ck_assert_uint_lt (k, 10);
      fault_alloc_fail_once (kinds == 0 ? FAULT_ALLOC_MEMORY
                                        : FAULT_ALLOC_THREADS,
                             k);
      r = mirror_start_repair (rig.mirror);
      failed = fault_alloc_stop ();
      ck_assert_int_eq (r, failed == 0 ? 0 : kinds == 0 ? -ENOMEM : -EAGAIN);
      mirror_stop_repair (rig.mirror);
    }
  rig_destroy (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    bad_sectors_are_rewritten_and_read_again,
    errors_that_pass_are_not_repaired,
    several_legs_are_repaired,
    long_ranges_are_repaired,
    nothing_is_repaired_out_of_sync,
    what_falls_out_of_sync_meanwhile_is_left_alone,
    nothing_is_repaired_unless_started,
    repairing_overwrites_nothing_newer,
    a_leg_that_takes_no_rewriting_fails,
    a_leg_that_stays_unreadable_fails,
    a_leg_that_gives_back_something_else_fails,
    a_leg_that_is_gone_fails_at_once,
    a_leg_of_too_many_errors_fails,
    what_no_leg_can_read_stays,
    the_list_is_bounded,
    repairs_beside_clients_land_right,
    want_of_memory_and_threads_is_told,
    NULL,
  };

  return unit_main ("mirror-read", tests);
}
