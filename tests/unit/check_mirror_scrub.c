/* Unit tests of the mirror's scrub.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "fault-alloc.h"
#include "mirror-test.h"

/* Give a leg something else there, as a disk does that says nothing. */
static void
spoil (struct rig *rig, unsigned leg, uint64_t seed, sector_t sector,
       sector_t count)
{
  unsigned char *data = test_alloc_sectors (count);

  fill_pattern (data, seed, sector, count);
  fault_bdev_load (rig->disks[leg], sector, count, data);
  free (data);
}

static void
wait_for_scrub (struct rig *rig)
{
  wait_until (!status_of (rig).scrub.is_running);
}

/* Scrub, and see that so many sectors differ, and are repaired. */
static void
scrub (struct rig *rig, enum scrub_mode mode, uint64_t mismatches,
       uint64_t repaired)
{
  struct mirror_scrub_status status;

  ck_assert_int_eq (mirror_scrub_start (rig->mirror, mode), 0);
  wait_for_scrub (rig);
  status = status_of (rig).scrub;
  ck_assert_uint_eq (status.mismatches, mismatches);
  ck_assert_uint_eq (status.repaired, repaired);
  ck_assert_uint_eq (status.done_bytes, sector_to_bytes (rig->params.sectors));
  ck_assert_uint_eq (status.total_bytes, status.done_bytes);
}

static unsigned
writes_of (struct rig *rig)
{
  unsigned i, n = 0;

  for (i = 0; i < rig->params.leg_count; ++i)
    n += fault_bdev_calls (rig->disks[i], FAULT_WRITE | FAULT_ZERO);
  return n;
}

START_TEST (equal_legs_are_left_alone)
{
  unsigned legs;

  for (legs = 1; legs <= MIRROR_MAX_LEGS; ++legs) {
    struct rig rig;

    rig_create (&rig, legs);
    rig_open (&rig);
    scrub (&rig, SCRUB_CHECK, 0, 0);
    scrub (&rig, SCRUB_REPAIR, 0, 0);
    ck_assert_uint_eq (writes_of (&rig), 0);
    ck_assert_uint_eq (change_count (&rig), 0);
    assert_said ("I: mirror: scrub ended: 0 sectors differ");
    rig_destroy (&rig);
  }
}
END_TEST

/* With two, the primary is right, wherever it is; and that is said. */
START_TEST (of_two_the_primary_is_right)
{
  unsigned primary;

  for (primary = 0; primary < 2; ++primary) {
    unsigned bad = 1 - primary;
    struct rig rig;

    rig_create (&rig, 2);
    rig.params.primary = primary;
    rig_open (&rig);
    spoil (&rig, bad, OTHER_SEED, 0, 1);
    spoil (&rig, bad, OTHER_SEED, 14, 5); /* in two regions */
    spoil (&rig, bad, OTHER_SEED, SECTORS - 1, 1);
    scrub (&rig, SCRUB_CHECK, 7, 0);
    ck_assert_uint_eq (writes_of (&rig), 0);
    ck_assert_uint_eq (status_of (&rig).legs[bad].mismatched_bytes,
                       7 * SECTOR_SIZE);
    ck_assert_uint_eq (status_of (&rig).legs[primary].mismatched_bytes, 0);
    assert_said (bad == 1
                   ? "W: mirror: scrub: leg 1 (leg1): 2560 bytes at 7168 "
                     "differ from the primary, leg 0 (leg0), and no majority "
                     "tells which is right; a scrub that repairs would"
                   : "W: mirror: scrub: leg 0 (leg0): 2560 bytes at 7168 "
                     "differ from the primary, leg 1 (leg1), and no majority "
                     "tells which is right; a scrub that repairs would");
    scrub (&rig, SCRUB_REPAIR, 7, 7);
    assert_said ("tells which is right; they were rewritten from there");
    assert_trace (&rig, FAULT_WRITE,
                  bad == 1 ? "leg1 write 0+1, leg1 write 14+2, leg1 write "
                             "16+3, leg1 write 249+1"
                           : "leg0 write 0+1, leg0 write 14+2, leg0 write "
                             "16+3, leg0 write 249+1");
    assert_disk_pattern (rig.disks[0], BASE_SEED, 0, SECTORS);
    assert_disk_pattern (rig.disks[1], BASE_SEED, 0, SECTORS);
    scrub (&rig, SCRUB_CHECK, 0, 0);
    rig_destroy (&rig);
  }
}
END_TEST

/* Each leg in turn is the one that differs, the primary, too. */
START_TEST (of_three_the_majority_is_right)
{
  unsigned bad, i;

  for (bad = 0; bad < 3; ++bad) {
    struct rig rig;

    rig_create (&rig, 3);
    rig_open (&rig);
    spoil (&rig, bad, OTHER_SEED, 40, 3);
    scrub (&rig, SCRUB_CHECK, 3, 0);
    scrub (&rig, SCRUB_REPAIR, 3, 3);
    assert_said ("1536 bytes at 20480 differ from most legs, such as leg");
    for (i = 0; i < 3; ++i) {
      ck_assert_uint_eq (fault_bdev_calls (rig.disks[i], FAULT_WRITE),
                         i == bad);
      assert_disk_pattern (rig.disks[i], BASE_SEED, 0, SECTORS);
    }
    rig_destroy (&rig);
  }
}
END_TEST

/* Each sector has a majority of its own. */
START_TEST (majorities_are_of_sectors)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig, 3);
  rig_open (&rig);
  for (i = 0; i < 12; ++i)
    spoil (&rig, i % 3, OTHER_SEED, 100 + i, 1);
  scrub (&rig, SCRUB_REPAIR, 12, 12);
  for (i = 0; i < 3; ++i) {
    ck_assert_uint_eq (status_of (&rig).legs[i].mismatched_bytes,
                       4 * SECTOR_SIZE);
    assert_disk_pattern (rig.disks[i], BASE_SEED, 0, SECTORS);
  }
  rig_destroy (&rig);
}
END_TEST

/* Three that all differ, and two against two. */
START_TEST (without_a_majority_the_primary_is_right)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig, 3);
  rig.params.primary = 1;
  rig_open (&rig);
  for (i = 0; i < 3; ++i)
    spoil (&rig, i, OTHER_SEED + i, 40, 1);
  scrub (&rig, SCRUB_REPAIR, 1, 2);
  for (i = 0; i < 3; ++i)
    assert_disk_pattern (rig.disks[i], OTHER_SEED + 1, 40, 1);
  rig_destroy (&rig);

  rig_create (&rig, 4);
  rig.params.primary = 3;
  rig_open (&rig);
  spoil (&rig, 1, OTHER_SEED, 40, 1);
  spoil (&rig, 3, OTHER_SEED, 40, 1);
  scrub (&rig, SCRUB_REPAIR, 1, 2);
  assert_said ("differ from the primary, leg 3 (leg3), and no majority tells");
  for (i = 0; i < 4; ++i)
    assert_disk_pattern (rig.disks[i], OTHER_SEED, 40, 1);
  rig_destroy (&rig);
}
END_TEST

START_TEST (regions_and_legs_not_in_sync_are_left_alone)
{
  struct rig rig;

  rig_create (&rig, 4);
  rig.params.states[1] = LEG_FAILED;
  rig.params.states[2] = LEG_RECOVERING;
  rig_open (&rig);
  spoil (&rig, 1, OTHER_SEED, 0, SECTORS);
  spoil (&rig, 2, OTHER_SEED, 0, SECTORS);
  scrub (&rig, SCRUB_REPAIR, 0, 0);
  ck_assert_uint_eq (writes_of (&rig), 0);
  rig_close (&rig);

  rig_open_unequal (&rig);
  scrub (&rig, SCRUB_REPAIR, 0, 0);
  ck_assert_uint_eq (writes_of (&rig), 0);
  rig_destroy (&rig);
}
END_TEST

/*----- beside clients --------------------------------------------------*/

/* What was just being written is no mismatch: the piece is read again when
 * the write is over.
 */
START_TEST (a_write_in_flight_is_no_mismatch)
{
  unsigned char data[SECTOR_SIZE];
  struct call write = { .op = 'w', .buffer = data, .sector = 41, .count = 1 };
  struct rig rig;
  unsigned i;

  rig_create (&rig, 2);
  rig_open (&rig);
  fill_pattern (data, 9, 41, 1);
  write.target = rig.target;
  fault_bdev_gate_shut (rig.disks[0], FAULT_WRITE, 41, 1);
  fault_bdev_gate_shut (rig.disks[1], FAULT_WRITE, 41, 1);
  call_start (&write);
  /* One leg after the other; whichever is first gets it. */
  wait_until (fault_bdev_gate_waiting (rig.disks[0]) +
                fault_bdev_gate_waiting (rig.disks[1]) >
              0);
  i = fault_bdev_gate_waiting (rig.disks[0]) > 0 ? 0 : 1;
  fault_bdev_gate_pass (rig.disks[i], 1);
  fault_bdev_gate_wait (rig.disks[1 - i], 1);
  ck_assert_int_eq (mirror_scrub_start (rig.mirror, SCRUB_REPAIR), 0);
  for (i = 0; i < 3; ++i)
    short_wait ();
  ck_assert (status_of (&rig).scrub.is_running);
  fault_bdev_gate_open (rig.disks[0]);
  fault_bdev_gate_open (rig.disks[1]);
  ck_assert_int_eq (call_join (&write), 0);
  wait_for_scrub (&rig);
  ck_assert_uint_eq (status_of (&rig).scrub.mismatches, 0);
  ck_assert_uint_eq (writes_of (&rig), 2);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/* While a leg is rewritten nobody writes there, and elsewhere one does. */
START_TEST (repairing_overwrites_nothing_newer)
{
  unsigned char data[SECTOR_SIZE];
  struct call write = { .op = 'w', .buffer = data, .sector = 41, .count = 1 };
  struct rig rig;
  unsigned i;

  rig_create (&rig, 2);
  rig_open (&rig);
  spoil (&rig, 1, OTHER_SEED, 41, 1);
  fill_pattern (data, 9, 41, 1);
  write.target = rig.target;
  fault_bdev_gate_shut (rig.disks[1], FAULT_WRITE, 41, 1);
  ck_assert_int_eq (mirror_scrub_start (rig.mirror, SCRUB_REPAIR), 0);
  fault_bdev_gate_wait (rig.disks[1], 1);
  call_start (&write);
  ck_assert_int_eq (write_pattern (&rig, 8, 60, 1), 0);
  for (i = 0; i < 3; ++i)
    short_wait ();
  ck_assert (!atomic_load (&write.is_done));
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[0], FAULT_WRITE), 1);
  fault_bdev_gate_open (rig.disks[1]);
  ck_assert_int_eq (call_join (&write), 0);
  wait_for_scrub (&rig);
  for (i = 0; i < 2; ++i)
    assert_disk_pattern (rig.disks[i], 9, 41, 1);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

struct load {
  struct thread thread;
  struct rig *rig;
  struct chance chance;
  sector_t first;
  bool is_wrong;
  atomic_bool *must_end;
};

static void
load_main (void *arg)
{
  struct load *load = arg;

  while (!atomic_load (load->must_end)) {
    sector_t sector = load->first + chance_below (&load->chance, 50);
    sector_t count = 1 + chance_below (&load->chance, 10);

    if (write_pattern (load->rig, chance_next (&load->chance), sector, count) !=
        0)
      load->is_wrong = true;
  }
}

START_TEST (writers_make_no_mismatches)
{
  struct chance chance = chance_begin ("writers_make_no_mismatches");
  atomic_bool must_end = false;
  struct load loads[3];
  struct rig rig;
  unsigned i;

  rig_create (&rig, 3);
  rig_open (&rig);
  for (i = 0; i < ARRAY_COUNT (loads); ++i) {
    loads[i] = (struct load){ .rig = &rig, .first = 70 * i };
    loads[i].chance.state = chance_next (&chance);
    loads[i].must_end = &must_end;
    ck_assert_int_eq (thread_start (&loads[i].thread, "load", load_main,
                                    &loads[i]),
                      0);
  }
  for (i = 0; i < 5; ++i)
    scrub (&rig, SCRUB_REPAIR, 0, 0);
  atomic_store (&must_end, true);
  for (i = 0; i < ARRAY_COUNT (loads); ++i) {
    thread_join (&loads[i].thread);
    ck_assert (!loads[i].is_wrong);
  }
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- errors ----------------------------------------------------------*/

/* Sectors that cannot be read are repaired as after any read; the other legs
 * are compared meanwhile.
 */
START_TEST (what_cannot_be_read_is_repaired)
{
  struct rig rig;

  rig_create (&rig, 3);
  rig_open (&rig);
  ck_assert_int_eq (mirror_start_repair (rig.mirror), 0);
  fault_bdev_add_rule (rig.disks[0], &(struct fault_rule){ .ops = FAULT_READ,
                                                           .sector = 41,
                                                           .count = 1,
                                                           .times = 3 });
  spoil (&rig, 0, OTHER_SEED, 41, 1);
  ck_assert_int_eq (mirror_scrub_start (rig.mirror, SCRUB_CHECK), 0);
  wait_for_scrub (&rig);
  wait_until (!status_of (&rig).is_repairing);
  ck_assert_uint_eq (status_of (&rig).legs[0].read_errors, 1);
  ck_assert_uint_eq (status_of (&rig).legs[0].repaired_bytes, SECTOR_SIZE);
  assert_equal_legs (&rig);
  ck_assert_uint_eq (change_count (&rig), 0);
  rig_destroy (&rig);
}
END_TEST

/* No leg is preferred that is not the primary, nor the majority. */
START_TEST (without_the_primary_nobody_is_right)
{
  struct rig rig;

  rig_create (&rig, 3);
  rig_open (&rig);
  fault_bdev_fail_range (rig.disks[0], FAULT_READ, 41, 1);
  spoil (&rig, 2, OTHER_SEED, 41, 1);
  ck_assert_int_eq (mirror_scrub_start (rig.mirror, SCRUB_REPAIR), 0);
  wait_for_scrub (&rig);
  ck_assert_uint_eq (status_of (&rig).scrub.mismatches, 1);
  ck_assert_uint_eq (writes_of (&rig), 0);
  assert_said ("the primary could not be read there, so nobody knows");
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_leg_that_takes_no_rewriting_fails)
{
  struct rig rig;

  rig_create (&rig, 3);
  rig_open (&rig);
  spoil (&rig, 1, OTHER_SEED, 41, 1);
  spoil (&rig, 2, OTHER_SEED, 200, 1);
  fault_bdev_add_rule (rig.disks[1], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                           .error = -ENOSPC });
  ck_assert_int_eq (mirror_scrub_start (rig.mirror, SCRUB_REPAIR), 0);
  wait_for_scrub (&rig);
  ck_assert_uint_eq (change_count (&rig), 1);
  ck_assert_uint_eq (rig.changes[0].leg, 1);
  ck_assert_str_eq (
    rig.changes[0].reason,
    "rewriting of 512 bytes at 20992 failed: No space left on device; make "
    "room there, then rejoin it");
  assert_said ("they could not be rewritten from there");
  /* The others go on. */
  ck_assert_uint_eq (status_of (&rig).scrub.mismatches, 2);
  ck_assert_uint_eq (status_of (&rig).scrub.repaired, 1);
  assert_equal_legs (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- starting and stopping -------------------------------------------*/

START_TEST (it_can_be_stopped_and_started_again)
{
  struct rig rig;

  rig_create (&rig, 2);
  rig_open (&rig);
  fault_bdev_gate_shut (rig.disks[1], FAULT_READ, 64, 1);
  ck_assert_int_eq (mirror_scrub_start (rig.mirror, SCRUB_CHECK), 0);
  fault_bdev_gate_wait (rig.disks[1], 1);
  ck_assert_int_eq (mirror_scrub_start (rig.mirror, SCRUB_REPAIR), 1);
  ck_assert (status_of (&rig).scrub.is_running);
  ck_assert_uint_eq (status_of (&rig).scrub.done_bytes, 64 * SECTOR_SIZE);
  fault_bdev_gate_open (rig.disks[1]);
  mirror_scrub_stop (rig.mirror);
  ck_assert (!status_of (&rig).scrub.is_running);
  mirror_scrub_stop (rig.mirror);
  scrub (&rig, SCRUB_CHECK, 0, 0);
  mirror_scrub_stop (rig.mirror);
  /* And it is stopped with the mirror. */
  ck_assert_int_eq (mirror_scrub_start (rig.mirror, SCRUB_CHECK), 0);
  rig_destroy (&rig);
}
END_TEST

/* At a rate it does not end earlier than it may, and can be stopped while it
 * waits for its time.
 */
START_TEST (it_keeps_to_its_rate)
{
  uint64_t started_ns = clock_now_ns ();
  struct rig rig;

  rig_create (&rig, 2);
  rig.rate = SECTORS * SECTOR_SIZE * 10;
  rig_open (&rig);
  scrub (&rig, SCRUB_CHECK, 0, 0);
  ck_assert_uint_ge (clock_now_ns () - started_ns, NS_PER_SECOND / 11);
  rig_close (&rig);
  rig.rate = 1;
  rig_open (&rig);
  ck_assert_int_eq (mirror_scrub_start (rig.mirror, SCRUB_CHECK), 0);
  wait_until (status_of (&rig).scrub.done_bytes > 0);
  mirror_scrub_stop (rig.mirror);
  assert_said ("mirror: scrub stopped: 0 sectors differ");
  rig_destroy (&rig);
}
END_TEST

START_TEST (want_of_memory_and_threads_is_told)
{
  unsigned k, failed, kinds;
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
      r = mirror_scrub_start (rig.mirror, SCRUB_CHECK);
      failed = fault_alloc_stop ();
      ck_assert (!status_of (&rig).scrub.is_running || r == 0);
      ck_assert_int_eq (r, failed == 0 ? 0 : kinds == 0 ? -ENOMEM : -EAGAIN);
      mirror_scrub_stop (rig.mirror);
    }
  rig_destroy (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    equal_legs_are_left_alone,
    of_two_the_primary_is_right,
    of_three_the_majority_is_right,
    majorities_are_of_sectors,
    without_a_majority_the_primary_is_right,
    regions_and_legs_not_in_sync_are_left_alone,
    a_write_in_flight_is_no_mismatch,
    repairing_overwrites_nothing_newer,
    writers_make_no_mismatches,
    what_cannot_be_read_is_repaired,
    without_the_primary_nobody_is_right,
    a_leg_that_takes_no_rewriting_fails,
    it_can_be_stopped_and_started_again,
    it_keeps_to_its_rate,
    want_of_memory_and_threads_is_told,
    NULL,
  };

  return unit_main ("mirror-scrub", tests);
}
