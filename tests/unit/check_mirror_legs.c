/* Unit tests of the mirror: legs that come and go.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "fault-alloc.h"
#include "mirror-impl.h"
#include "mirror-test.h"

/* A disk that is no leg yet, and holds something else. */
static struct block_device *
new_disk (struct rig *rig, const char *name, struct fault_bdev **disk)
{
  sector_t sectors = rig->params.sectors;
  unsigned char *data = test_alloc_sectors (sectors);

  *disk = fault_bdev_create (name, sectors, rig->trace);
  fill_pattern (data, OTHER_SEED, 0, sectors);
  fault_bdev_load (*disk, 0, sectors, data);
  free (data);
  return fault_bdev_open (*disk, 0);
}

/* The disk of leg LEG is DISK from now on; the old one is closed. */
static void
is_leg_now (struct rig *rig, unsigned leg, struct fault_bdev *disk)
{
  if (leg < rig->params.leg_count) {
    if (rig->disks[leg] != NULL) {
      ck_assert_uint_eq (fault_bdev_open_count (rig->disks[leg]), 0);
      fault_bdev_destroy (rig->disks[leg]);
    }
  }
  else
    rig->params.leg_count = leg + 1;
  rig->disks[leg] = disk;
}

static void
rig_open_resyncing (struct rig *rig, unsigned legs)
{
  rig_create (rig, legs);
  rig->params.read_policy = READ_ROUND_ROBIN;
  rig_open (rig);
  ck_assert_int_eq (mirror_start_resync (rig->mirror), 0);
}

static bool
all_in_sync (struct rig *rig)
{
  struct mirror_status status = status_of (rig);
  unsigned i;

  for (i = 0; i < status.leg_count; ++i)
    if (status.legs[i].state == LEG_RECOVERING)
      return false;
  return status.regions_in_sync == status.regions_total;
}

/* Legs that are there hold the same. */
static void
wait_and_compare (struct rig *rig)
{
  unsigned char *a = test_alloc_sectors (rig->params.sectors);
  unsigned char *b = test_alloc_sectors (rig->params.sectors);
  unsigned i, count = 0;

  wait_until (all_in_sync (rig));
  for (i = 0; i < rig->params.leg_count; ++i) {
    if (state_of (rig, i) != LEG_IN_SYNC)
      continue;
    fault_bdev_look (rig->disks[i], 0, rig->params.sectors, count++ ? b : a);
    if (count > 1)
      ck_assert_mem_eq (a, b, sector_to_bytes (rig->params.sectors));
  }
  free (a);
  free (b);
}

/* In the trace, where DISK was first written; the length if it was not. */
static size_t
first_write (struct rig *rig, struct fault_bdev *disk)
{
  size_t i, n = fault_trace_count (rig->trace);

  for (i = 0; i < n; ++i) {
    struct fault_event e = fault_trace_event (rig->trace, i);

    if (e.disk == disk && e.op != FAULT_READ && e.op != FAULT_FLUSH)
      return i;
  }
  return n;
}

static void
assert_change (struct rig *rig, unsigned n, unsigned leg, enum leg_state state)
{
  ck_assert_uint_gt (change_count (rig), n);
  ck_assert_uint_eq (rig->changes[n].leg, leg);
  ck_assert_int_eq (rig->changes[n].state, state);
}

/*----- adding ----------------------------------------------------------*/

/* It is recorded as recovering before it is written, and in sync when it holds
 * all.
 */
START_TEST (a_new_leg_is_filled)
{
  unsigned legs;

  for (legs = 1; legs <= 3; ++legs) {
    struct fault_bdev *disk;
    struct rig rig;
    unsigned leg;

    rig_open_resyncing (&rig, legs);
    ck_assert_int_eq (write_pattern (&rig, 7, 100, 20), 0);
    ck_assert_int_eq (mirror_add_leg (rig.mirror, new_disk (&rig, "new", &disk),
                                      false, &leg),
                      0);
    ck_assert_uint_eq (leg, legs);
    is_leg_now (&rig, leg, disk);
    ck_assert_str_eq (mirror_leg_name (rig.mirror, leg), "new");
    wait_and_compare (&rig);
    assert_change (&rig, 0, leg, LEG_RECOVERING);
    ck_assert_uint_le (rig.changes[0].at, first_write (&rig, disk));
    assert_change (&rig, 1, leg, LEG_IN_SYNC);
    ck_assert_int_eq (state_of (&rig, leg), LEG_IN_SYNC);
    ck_assert_uint_eq (status_of (&rig).leg_count, legs + 1);
    assert_disk_pattern (disk, 7, 100, 20);
    assert_said ("I: mirror: leg");
    rig_destroy (&rig);
  }
}
END_TEST

/* A leg is not read before it is in sync, however much of it is. */
START_TEST (a_new_leg_is_not_read_until_it_is_in_sync)
{
  struct fault_bdev *disk;
  struct block_device *bdev;
  struct rig rig;
  unsigned leg, i, reads;

  rig_open_resyncing (&rig, 2);
  bdev = new_disk (&rig, "new", &disk);
  fault_bdev_gate_shut (disk, FAULT_WRITE, 8 * REGION, 1);
  ck_assert_int_eq (mirror_add_leg (rig.mirror, bdev, false, &leg), 0);
  is_leg_now (&rig, leg, disk);
  fault_bdev_gate_wait (disk, 1);
  reads = fault_bdev_calls (disk, FAULT_READ);
  for (i = 0; i < SECTORS; ++i) {
    unsigned char data[SECTOR_SIZE];

    ck_assert_int_eq (target_read (rig.target, data, i, 1), 0);
    assert_pattern (data, BASE_SEED, i, 1);
  }
  ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_READ), reads);
  /* Writes go to it, where it is filled and where it is not. */
  ck_assert_int_eq (write_pattern (&rig, 5, 0, 4), 0);
  ck_assert_int_eq (write_pattern (&rig, 6, 200, 4), 0);
  assert_disk_pattern (disk, 5, 0, 4);
  assert_disk_pattern (disk, 6, 200, 4);
  fault_bdev_gate_open (disk);
  wait_and_compare (&rig);
  assert_disk_pattern (disk, 5, 0, 4);
  assert_disk_pattern (disk, 6, 200, 4);
  rig_destroy (&rig);
}
END_TEST

/* What a leg lacks that comes in does not concern the others: they are all
 * read, and not written again.
 */
START_TEST (legs_in_sync_go_on_while_another_is_filled)
{
  unsigned before[2], writes[2], leg, i;
  struct fault_bdev *disk;
  struct block_device *bdev;
  struct rig rig;

  rig_open_resyncing (&rig, 2);
  bdev = new_disk (&rig, "new", &disk);
  fault_bdev_gate_shut (disk, FAULT_WRITE, 8 * REGION, 1);
  for (i = 0; i < 2; ++i)
    writes[i] = fault_bdev_calls (rig.disks[i], FAULT_WRITE | FAULT_ZERO);
  ck_assert_int_eq (mirror_add_leg (rig.mirror, bdev, false, &leg), 0);
  is_leg_now (&rig, leg, disk);
  fault_bdev_gate_wait (disk, 1);
  for (i = 0; i < 2; ++i)
    before[i] = fault_bdev_calls (rig.disks[i], FAULT_READ);
  /* Behind what is being copied. */
  for (i = SECTORS - 20; i < SECTORS; ++i)
    ck_assert_int_eq (read_one (&rig, i), 0);
  for (i = 0; i < 2; ++i)
    ck_assert_uint_ge (fault_bdev_calls (rig.disks[i], FAULT_READ) - before[i],
                       5);
  fault_bdev_gate_open (disk);
  wait_and_compare (&rig);
  for (i = 0; i < 2; ++i)
    ck_assert_uint_eq (fault_bdev_calls (rig.disks[i],
                                         FAULT_WRITE | FAULT_ZERO),
                       writes[i]);
  rig_destroy (&rig);
}
END_TEST

/* A bad sector of the primary while another leg is filled: the client has it
 * from the other leg in sync, so has the new one, and the primary, too.
 */
START_TEST (a_bad_sector_does_not_hold_up_a_new_leg)
{
  unsigned char data[SECTOR_SIZE];
  struct fault_bdev *disk;
  struct rig rig;
  unsigned leg;

  rig_create (&rig, 2);
  rig.params.read_policy = READ_FIRST;
  rig_open (&rig);
  ck_assert_int_eq (mirror_start_repair (rig.mirror), 0);
  fault_bdev_add_rule (rig.disks[0], &(struct fault_rule){ .ops = FAULT_READ,
                                                           .sector = 41,
                                                           .count = 1 });
  ck_assert_int_eq (mirror_add_leg (rig.mirror, new_disk (&rig, "new", &disk),
                                    false, &leg),
                    0);
  is_leg_now (&rig, leg, disk);
  fault_bdev_gate_shut (rig.disks[0], FAULT_WRITE, 41, 1);
  ck_assert_int_eq (target_read (rig.target, data, 41, 1), 0);
  assert_pattern (data, BASE_SEED, 41, 1);
  /* From now on it can be read, as of a disk that has replaced the sector. */
  fault_bdev_gate_wait (rig.disks[0], 1);
  fault_bdev_heal (rig.disks[0]);
  fault_bdev_gate_open (rig.disks[0]);
  wait_until (!status_of (&rig).is_repairing);
  ck_assert_uint_eq (status_of (&rig).legs[0].repaired_bytes, SECTOR_SIZE);
  /* The resync meets another one, and goes on with the other leg. */
  fault_bdev_fail_once (rig.disks[0], FAULT_READ, 3);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  wait_until (was_said ("the next try is in") || all_in_sync (&rig));
  mirror_hurry_resync (rig.mirror);
  wait_and_compare (&rig);
  ck_assert_int_eq (state_of (&rig, 0), LEG_IN_SYNC);
  ck_assert_int_eq (state_of (&rig, leg), LEG_IN_SYNC);
  rig_destroy (&rig);
}
END_TEST

START_TEST (numbers_are_kept_and_given_again)
{
  struct fault_bdev *disk;
  struct block_device *bdev;
  struct rig rig;
  unsigned leg, i;

  rig_open_resyncing (&rig, 3);
  ck_assert_int_eq (mirror_remove_leg (rig.mirror, 1), 0);
  ck_assert_int_eq (state_of (&rig, 1), LEG_ABSENT);
  ck_assert_int_eq (state_of (&rig, 2), LEG_IN_SYNC);
  ck_assert_uint_eq (status_of (&rig).leg_count, 3);
  ck_assert_ptr_null (mirror_leg_bdev (rig.mirror, 1));
  ck_assert_str_eq (mirror_leg_name (rig.mirror, 2), "leg2");
  ck_assert_int_eq (mirror_add_leg (rig.mirror, new_disk (&rig, "new1", &disk),
                                    false, &leg),
                    0);
  ck_assert_uint_eq (leg, 1);
  is_leg_now (&rig, 1, disk);
  for (i = 3; i < MIRROR_MAX_LEGS; ++i) {
    ck_assert_int_eq (mirror_add_leg (rig.mirror, new_disk (&rig, "new", &disk),
                                      i % 2, &leg),
                      0);
    ck_assert_uint_eq (leg, i);
    ck_assert (status_of (&rig).legs[i].is_write_mostly == (i % 2 != 0));
    is_leg_now (&rig, i, disk);
  }
  bdev = new_disk (&rig, "tenth", &disk);
  ck_assert_int_eq (mirror_add_leg (rig.mirror, bdev, false, &leg), -E2BIG);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  wait_and_compare (&rig);
  for (i = 0; i < MIRROR_MAX_LEGS; ++i)
    ck_assert_int_eq (state_of (&rig, i), LEG_IN_SYNC);
  rig_destroy (&rig);
}
END_TEST

/* What cannot be recorded does not happen. */
START_TEST (a_change_that_cannot_be_recorded_is_none)
{
  struct fault_bdev *disk;
  struct block_device *bdev;
  struct rig rig;
  unsigned leg, i;

  rig_open_resyncing (&rig, 3);
  bdev = new_disk (&rig, "new", &disk);
  rig.answer = -EROFS;
  ck_assert_int_eq (mirror_add_leg (rig.mirror, bdev, false, &leg), -EROFS);
  ck_assert_int_eq (mirror_replace_leg (rig.mirror, 1, bdev), -EROFS);
  ck_assert_int_eq (mirror_remove_leg (rig.mirror, 1), -EROFS);
  ck_assert_int_eq (mirror_fail (rig.mirror, 1, "for fun"), -EROFS);
  ck_assert_uint_eq (status_of (&rig).leg_count, 3);
  ck_assert_int_eq (write_pattern (&rig, 2, 100, 5), 0);
  for (i = 0; i < 3; ++i) {
    ck_assert_int_eq (state_of (&rig, i), LEG_IN_SYNC);
    assert_disk_pattern (rig.disks[i], 2, 100, 5);
  }
  ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_ALL), 0);
  rig.answer = 0;
  ck_assert_int_eq (mirror_fail (rig.mirror, 1, "for fun"), 0);
  rig.answer = -EROFS;
  ck_assert_int_eq (mirror_rejoin_leg (rig.mirror, 1, LEG_LACKS_DIRTY), -EROFS);
  ck_assert_int_eq (state_of (&rig, 1), LEG_FAILED);
  rig.answer = 0;
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  rig_destroy (&rig);
}
END_TEST

/* A leg that could not be recorded may be recorded all the same: until it is
 * known which are, the log must have what it would lack.
 */
START_TEST (a_doubtful_record_keeps_the_log_dirty)
{
  struct fault_bdev *disk;
  struct block_device *bdev;
  struct rig rig;
  unsigned leg;

  rig_open_resyncing (&rig, 3);
  bdev = new_disk (&rig, "new", &disk);
  rig.answer = -EIO;
  ck_assert_int_eq (mirror_add_leg (rig.mirror, bdev, false, &leg), -EIO);
  ck_assert_uint_eq (status_of (&rig).log.dirty, REGIONS);
  mirror_stop_resync (rig.mirror);
  ck_assert_int_eq (mirror_settle (rig.mirror), 0);
  ck_assert_uint_eq (status_of (&rig).log.dirty, REGIONS);
  rig.answer = 0;
  ck_assert_int_eq (mirror_remove_leg (rig.mirror, 2), 0);
  ck_assert_int_eq (mirror_settle (rig.mirror), 0);
  ck_assert_uint_eq (status_of (&rig).log.dirty, 0);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  rig_destroy (&rig);
}
END_TEST

/*----- going -----------------------------------------------------------*/

struct removal {
  struct thread thread;
  struct rig *rig;
  atomic_bool is_done;
};

static void
remove_main (void *arg)
{
  struct removal *r = arg;

  if (mirror_remove_leg (r->rig->mirror, 1) != 0)
    abort ();
  atomic_store (&r->is_done, true);
}

/* The device is closed when what is in it has ended, and not before; what
 * comes meanwhile does not wait.
 */
START_TEST (a_removed_leg_is_waited_for)
{
  unsigned char data[SECTOR_SIZE];
  struct call write = { .op = 'w', .buffer = data, .sector = 41, .count = 1 };
  struct removal removal = { .is_done = false };
  unsigned calls;
  struct rig rig;

  rig_open_resyncing (&rig, 2);
  fill_pattern (data, 9, 41, 1);
  write.target = rig.target;
  fault_bdev_gate_shut (rig.disks[1], FAULT_WRITE, 41, 1);
  call_start (&write);
  fault_bdev_gate_wait (rig.disks[1], 1);

  removal.rig = &rig;
  ck_assert_int_eq (thread_start (&removal.thread, "remove", remove_main,
                                  &removal),
                    0);
  wait_until (state_of (&rig, 1) == LEG_ABSENT);
  assert_change (&rig, 0, 1, LEG_ABSENT);
  calls = fault_bdev_calls (rig.disks[1], FAULT_ALL);
  ck_assert_int_eq (write_pattern (&rig, 8, 60, 1), 0);
  ck_assert_int_eq (read_one (&rig, 60), 0);
  ck_assert (!atomic_load (&removal.is_done));
  ck_assert_uint_eq (fault_bdev_open_count (rig.disks[1]), 1);
  fault_bdev_gate_open (rig.disks[1]);
  ck_assert_int_eq (call_join (&write), 0);
  thread_join (&removal.thread);
  ck_assert_uint_eq (fault_bdev_open_count (rig.disks[1]), 0);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[1], FAULT_ALL), calls);
  assert_disk_pattern (rig.disks[0], 9, 41, 1);
  ck_assert (mirror_is_clean (rig.mirror));
  rig_destroy (&rig);
}
END_TEST

START_TEST (the_last_leg_in_sync_stays)
{
  struct fault_bdev *disk;
  struct block_device *bdev;
  struct rig rig;
  unsigned i;

  rig_create (&rig, 3);
  rig.params.states[0] = LEG_FAILED;
  rig.params.states[2] = LEG_RECOVERING;
  rig.params.primary = 1;
  rig_open (&rig);
  bdev = new_disk (&rig, "new", &disk);
  ck_assert_int_eq (mirror_fail (rig.mirror, 1, "for fun"), -EBUSY);
  ck_assert_int_eq (mirror_remove_leg (rig.mirror, 1), -EBUSY);
  ck_assert_int_eq (mirror_replace_leg (rig.mirror, 1, bdev), -EBUSY);
  ck_assert_uint_eq (change_count (&rig), 0);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  /* Those that hold less may go. */
  ck_assert_int_eq (mirror_fail (rig.mirror, 0, "for fun"), 1);
  ck_assert_int_eq (mirror_remove_leg (rig.mirror, 0), 0);
  ck_assert_int_eq (mirror_fail (rig.mirror, 2, "for fun"), 0);
  assert_said ("W: mirror: leg 2 (leg2): for fun; volume degraded");
  ck_assert_int_eq (mirror_remove_leg (rig.mirror, 2), 0);
  for (i = 0; i < 3; ++i)
    ck_assert_uint_eq (fault_bdev_open_count (rig.disks[i]), i == 1);
  ck_assert_int_eq (write_pattern (&rig, 2, 100, 5), 0);
  ck_assert_int_eq (target_flush (rig.target), 0);
  ck_assert (mirror_is_clean (rig.mirror));
  rig_destroy (&rig);
}
END_TEST

/* Whoever is trusted stays so, when the one that was before comes back. */
START_TEST (the_primary_does_not_come_back)
{
  struct rig rig;

  rig_open_resyncing (&rig, 3);
  ck_assert_uint_eq (mirror_primary (rig.mirror), 0);
  ck_assert_int_eq (mirror_fail (rig.mirror, 0, "for fun"), 0);
  ck_assert_uint_eq (mirror_primary (rig.mirror), 1);
  ck_assert_int_eq (mirror_rejoin_leg (rig.mirror, 0, LEG_LACKS_DIRTY), 0);
  wait_and_compare (&rig);
  ck_assert_int_eq (state_of (&rig, 0), LEG_IN_SYNC);
  ck_assert_uint_eq (mirror_primary (rig.mirror), 1);
  ck_assert_int_eq (mirror_remove_leg (rig.mirror, 1), 0);
  ck_assert_uint_eq (mirror_primary (rig.mirror), 0);
  rig_destroy (&rig);
}
END_TEST

/*----- others in their place -------------------------------------------*/

/* A leg in sync, one that has failed, one that recovers. */
START_TEST (a_leg_is_replaced)
{
  static const enum leg_state states[] = { LEG_IN_SYNC, LEG_FAILED,
                                           LEG_RECOVERING };
  unsigned s;

  for (s = 0; s < ARRAY_COUNT (states); ++s) {
    struct fault_bdev *disk;
    struct rig rig;

    rig_create (&rig, 2);
    rig.params.states[0] = states[s];
    rig.params.primary = s == 0 ? 0 : 1;
    rig.params.is_write_mostly[0] = true;
    rig_open (&rig);
    ck_assert_int_eq (write_pattern (&rig, 7, 100, 20), 0);
    ck_assert_int_eq (mirror_replace_leg (rig.mirror, 0,
                                          new_disk (&rig, "new", &disk)),
                      0);
    is_leg_now (&rig, 0, disk);
    ck_assert_int_eq (state_of (&rig, 0), LEG_RECOVERING);
    ck_assert_uint_eq (status_of (&rig).legs[0].writes, 0);
    ck_assert (status_of (&rig).legs[0].is_write_mostly);
    ck_assert_uint_eq (change_count (&rig), 1);
    assert_change (&rig, 0, 0, LEG_RECOVERING);
    ck_assert_uint_eq (mirror_primary (rig.mirror), 1);
    ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
    wait_and_compare (&rig);
    assert_change (&rig, 1, 0, LEG_IN_SYNC);
    assert_disk_pattern (disk, 7, 100, 20);
    assert_disk_pattern (disk, BASE_SEED, 0, 100);
    rig_destroy (&rig);
  }
}
END_TEST

/* A leg that comes back gets what it has missed. */
START_TEST (a_leg_rejoins)
{
  struct rig rig;
  unsigned i;

  rig_open_resyncing (&rig, 3);
  fault_bdev_fail_once (rig.disks[2], FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (&rig, 2, 100, 5), 0);
  ck_assert_int_eq (state_of (&rig, 2), LEG_FAILED);
  ck_assert_int_eq (write_pattern (&rig, 3, 10, 5), 0);
  ck_assert_int_eq (target_zero (rig.target, 150, 9, BDEV_UNMAP), 0);
  assert_disk_pattern (rig.disks[2], BASE_SEED, 0, SECTORS);
  ck_assert_int_eq (mirror_rejoin_leg (rig.mirror, 2, LEG_LACKS_DIRTY), 0);
  wait_and_compare (&rig);
  for (i = 0; i < 3; ++i) {
    ck_assert_int_eq (state_of (&rig, i), LEG_IN_SYNC);
    assert_disk_pattern (rig.disks[i], 2, 100, 5);
    assert_disk_pattern (rig.disks[i], 3, 10, 5);
  }
  ck_assert_uint_eq (status_of (&rig).legs[2].write_errors, 0);
  assert_said ("I: mirror: leg 2 (leg2): back; what it lacks is copied to it");
  rig_destroy (&rig);
}
END_TEST

/* A failed leg may be opened anew: the old device is closed first. */
START_TEST (a_failed_leg_gets_another_device)
{
  struct fault_bdev *disk;
  struct rig rig;

  rig_open_resyncing (&rig, 2);
  ck_assert_int_eq (mirror_fail (rig.mirror, 1, "for fun"), 0);
  ck_assert_int_eq (mirror_set_leg_device (rig.mirror, 1,
                                           new_disk (&rig, "again", &disk)),
                    0);
  is_leg_now (&rig, 1, disk);
  ck_assert_int_eq (state_of (&rig, 1), LEG_FAILED);
  ck_assert_str_eq (mirror_leg_name (rig.mirror, 1), "again");
  ck_assert_int_eq (write_pattern (&rig, 2, 100, 5), 0);
  ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_ALL), 0);
  ck_assert_int_eq (mirror_rejoin_leg (rig.mirror, 1, LEG_LACKS_DIRTY), 0);
  wait_until (state_of (&rig, 1) == LEG_IN_SYNC);
  rig_destroy (&rig);
}
END_TEST

/* A region that recovers when a leg comes in is not in sync with it: the
 * resync stands still meanwhile.
 */
START_TEST (a_leg_that_comes_in_beside_a_resync_lacks_nothing)
{
  struct fault_bdev *disk;
  struct rig rig;
  unsigned leg;

  rig_create (&rig, 3);
  rig.params.states[1] = rig.params.states[2] = LEG_RECOVERING;
  rig_open_unequal (&rig);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  ck_assert_int_eq (mirror_add_leg (rig.mirror, new_disk (&rig, "new", &disk),
                                    false, &leg),
                    0);
  is_leg_now (&rig, leg, disk);
  ck_assert_int_eq (mirror_fail (rig.mirror, 1, "for fun"), 0);
  ck_assert_int_eq (mirror_rejoin_leg (rig.mirror, 1, LEG_LACKS_DIRTY), 0);
  wait_and_compare (&rig);
  for (leg = 0; leg < 4; ++leg)
    ck_assert_int_eq (state_of (&rig, leg), LEG_IN_SYNC);
  rig_destroy (&rig);
}
END_TEST

/*----- beside clients --------------------------------------------------*/

struct load {
  struct thread thread;
  struct rig *rig;
  struct chance chance;
  sector_t first; /* 60 sectors are its own */
  uint64_t seeds[60];
  bool is_wrong;
  atomic_bool *must_end;
};

static void
load_main (void *arg)
{
  unsigned char got[SECTOR_SIZE], expected[SECTOR_SIZE];
  struct load *load = arg;

  while (!atomic_load (load->must_end)) {
    unsigned n = (unsigned) chance_below (&load->chance, 60);
    sector_t sector = load->first + n;
    struct bdev_extent extent;

    switch (chance_below (&load->chance, 10)) {
    case 0:
      if (target_flush (load->rig->target) != 0)
        load->is_wrong = true;
      break;
    case 1:
      if (target_extent (load->rig->target, sector, 1, &extent) != 0)
        load->is_wrong = true;
      break;
    case 2:
    case 3:
    case 4:
    case 5:
      load->seeds[n] = chance_next (&load->chance);
      if (write_pattern (load->rig, load->seeds[n], sector, 1) != 0)
        load->is_wrong = true;
      break;
    default:
      fill_pattern (expected, load->seeds[n], sector, 1);
      if (target_read (load->rig->target, got, sector, 1) != 0 ||
          memcmp (got, expected, sizeof got) != 0)
        load->is_wrong = true;
    }
  }
}

/* One change of those that can be; refusals are as they should be. */
static void
change_something (struct rig *rig, struct chance *chance)
{
  unsigned leg = (unsigned) chance_below (chance, rig->params.leg_count);
  struct fault_bdev *disk;
  struct block_device *bdev;
  enum leg_state state = state_of (rig, leg);
  int r;

  switch (chance_below (chance, 6)) {
  case 0:
    bdev = new_disk (rig, "added", &disk);
    ck_assert_int_eq (mirror_add_leg (rig->mirror, bdev, false, &leg), 0);
    is_leg_now (rig, leg, disk);
    break;
  case 1:
    if (state == LEG_ABSENT)
      break;
    bdev = new_disk (rig, "other", &disk);
    r = mirror_replace_leg (rig->mirror, leg, bdev);
    if (r == 0)
      is_leg_now (rig, leg, disk);
    else {
      ck_assert_int_eq (r, -EBUSY);
      bdev_close (bdev);
      fault_bdev_destroy (disk);
    }
    break;
  case 2:
    if (state == LEG_ABSENT)
      break;
    r = mirror_remove_leg (rig->mirror, leg);
    ck_assert (r == 0 || r == -EBUSY);
    break;
  case 3:
    if (state != LEG_ABSENT)
      (void) mirror_fail (rig->mirror, leg, "for fun");
    break;
  case 4:
    if (state == LEG_FAILED)
      ck_assert_int_eq (mirror_rejoin_leg (rig->mirror, leg, LEG_LACKS_DIRTY),
                        0);
    break;
  default:
    (void) mirror_scrub_start (rig->mirror, SCRUB_REPAIR);
    wait_until (all_in_sync (rig));
  }
}

START_TEST (changes_beside_clients_land_right)
{
  struct chance chance = chance_begin ("changes_beside_clients_land_right");
  atomic_bool must_end = false;
  struct load loads[4];
  struct rig rig;
  unsigned i, j;

  rig_open_resyncing (&rig, 2);
  ck_assert_int_eq (mirror_start_repair (rig.mirror), 0);
  for (i = 0; i < ARRAY_COUNT (loads); ++i) {
    loads[i] = (struct load){ .rig = &rig, .first = 60 * i };
    loads[i].chance.state = chance_next (&chance);
    loads[i].must_end = &must_end;
    for (j = 0; j < 60; ++j)
      loads[i].seeds[j] = BASE_SEED;
    ck_assert_int_eq (thread_start (&loads[i].thread, "load", load_main,
                                    &loads[i]),
                      0);
  }
  for (i = 0; i < 60; ++i) {
    mutex_lock (&rig.lock);
    rig.change_count = 0;
    mutex_unlock (&rig.lock);
    if (i % 8 == 7)
      wait_until (all_in_sync (&rig));
    if (rig.params.leg_count == MIRROR_MAX_LEGS)
      break;
    change_something (&rig, &chance);
  }
  atomic_store (&must_end, true);
  for (i = 0; i < ARRAY_COUNT (loads); ++i) {
    thread_join (&loads[i].thread);
    ck_assert (!loads[i].is_wrong);
  }
  wait_and_compare (&rig);
  ck_assert_uint_eq (status_of (&rig).scrub.mismatches, 0);
  rig_destroy (&rig);
}
END_TEST

/*----- pausing ---------------------------------------------------------*/

START_TEST (the_resync_pauses)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig, 2);
  rig.params.states[1] = LEG_RECOVERING;
  rig_open_unequal (&rig);
  ck_assert (!mirror_pause_resync (rig.mirror, RESYNC_GO_ON));
  ck_assert (mirror_pause_resync (rig.mirror, RESYNC_PAUSE));
  ck_assert (!mirror_pause_resync (rig.mirror, RESYNC_PAUSE));
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  for (i = 0; i < 3; ++i)
    short_wait ();
  ck_assert (status_of (&rig).is_paused);
  ck_assert_uint_eq (fault_bdev_calls (rig.disks[1], FAULT_ALL), 0);
  ck_assert (mirror_pause_resync (rig.mirror, RESYNC_GO_ON));
  wait_and_compare (&rig);
  mirror_stop_resync (rig.mirror);
  rig_close (&rig);

  /* In the middle, and it can be stopped then. */
  rig_open_unequal (&rig);
  fault_bdev_gate_shut (rig.disks[1], FAULT_WRITE, 0, 0);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  fault_bdev_gate_wait (rig.disks[1], AT_ONCE);
  ck_assert (mirror_pause_resync (rig.mirror, RESYNC_PAUSE));
  fault_bdev_gate_open (rig.disks[1]);
  wait_until (status_of (&rig).regions_in_sync == AT_ONCE);
  for (i = 0; i < 3; ++i)
    short_wait ();
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, AT_ONCE);
  mirror_stop_resync (rig.mirror);
  rig_destroy (&rig);
}
END_TEST

/* What has been told of the resync: 'b' and 'e', in order. */
static char told[64];
static atomic_uint told_count;

static void
note_resync (void *opaque, enum mirror_note note)
{
  (void) opaque;
  if (note != MIRROR_RESYNC_BEGINS && note != MIRROR_RESYNC_ENDS)
    return;
  must (told_count + 1 < sizeof told);
  told[told_count] = note == MIRROR_RESYNC_BEGINS ? 'b' : 'e';
  atomic_fetch_add (&told_count, 1);
}

/* The resync has begun, and so many writes to COUNT sectors from SECTOR on (0:
 * to any) are waiting.
 */
static void
rig_open_telling (struct rig *rig, sector_t sector, sector_t count,
                  unsigned waiting)
{
  memset (told, 0, sizeof told);
  told_count = 0;
  rig_create (rig, 2);
  rig->params.note = note_resync;
  rig->params.states[1] = LEG_RECOVERING;
  rig_open_unequal (rig);
  fault_bdev_gate_shut (rig->disks[1], FAULT_WRITE, sector, count);
  ck_assert_int_eq (mirror_start_resync (rig->mirror), 0);
  fault_bdev_gate_wait (rig->disks[1], waiting);
}

/* What goes on is paused, and nothing that comes later. */
START_TEST (a_resync_is_cancelled)
{
  struct rig rig;

  /* Its last region is on its way: so it ends. */
  rig_open_telling (&rig, 240, 1, 1);
  wait_until (status_of (&rig).regions_in_sync == REGIONS - 1);
  ck_assert_int_eq (mirror_cancel_resync (rig.mirror), 0);
  ck_assert_int_eq (mirror_cancel_resync (rig.mirror), 1);
  ck_assert (status_of (&rig).is_paused);
  fault_bdev_gate_open (rig.disks[1]);
  wait_until (told_count == 2);
  ck_assert_str_eq (told, "be");
  ck_assert (!status_of (&rig).is_paused);
  ck_assert_int_eq (mirror_cancel_resync (rig.mirror), -ENOENT);
  ck_assert (!status_of (&rig).is_paused);
  /* The next one is not paused. */
  ck_assert_int_eq (mirror_fail (rig.mirror, 1, "for fun"), 0);
  ck_assert_int_eq (write_pattern (&rig, 2, 33, 1), 0);
  ck_assert_int_eq (mirror_rejoin_leg (rig.mirror, 1, LEG_LACKS_DIRTY), 0);
  wait_until (told_count == 4);
  wait_and_compare (&rig);
  /* One that was asked for stays. */
  ck_assert (mirror_pause_resync (rig.mirror, RESYNC_PAUSE));
  ck_assert_int_eq (mirror_cancel_resync (rig.mirror), -ENOENT);
  ck_assert (status_of (&rig).is_paused);
  mirror_stop_resync (rig.mirror);
  rig_destroy (&rig);

  /* There is more to do: it is paused until it is let go. */
  rig_open_telling (&rig, 0, 0, AT_ONCE);
  ck_assert_int_eq (mirror_cancel_resync (rig.mirror), 0);
  fault_bdev_gate_open (rig.disks[1]);
  wait_until (!status_of (&rig).is_resyncing);
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, AT_ONCE);
  ck_assert (status_of (&rig).is_paused);
  ck_assert_str_eq (told, "b");
  ck_assert (mirror_pause_resync (rig.mirror, RESYNC_GO_ON));
  wait_until (told_count == 2);
  ck_assert_str_eq (told, "be");
  mirror_stop_resync (rig.mirror);
  rig_destroy (&rig);
}
END_TEST

/* It begins once, however often it stands still, and ends, also when the leg
 * that lacked something goes.
 */
START_TEST (a_resync_begins_and_ends_once)
{
  struct fault_bdev *disk;
  unsigned slot;
  struct rig rig;

  rig_open_telling (&rig, 0, 0, AT_ONCE);
  ck_assert (mirror_pause_resync (rig.mirror, RESYNC_PAUSE));
  fault_bdev_gate_open (rig.disks[1]);
  wait_until (!status_of (&rig).is_resyncing);
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, AT_ONCE);
  ck_assert_int_eq (mirror_add_leg (rig.mirror, new_disk (&rig, "leg2", &disk),
                                    false, &slot),
                    0);
  is_leg_now (&rig, 2, disk);
  ck_assert (mirror_pause_resync (rig.mirror, RESYNC_GO_ON));
  wait_until (told_count == 2);
  ck_assert_str_eq (told, "be");
  wait_and_compare (&rig);
  mirror_stop_resync (rig.mirror);
  rig_destroy (&rig);

  /* All is copied, but this cannot be recorded; then the leg is removed. */
  rig_open_telling (&rig, 240, 1, 1);
  mutex_lock (&rig.lock);
  rig.answer = -ENOSPC;
  mutex_unlock (&rig.lock);
  fault_bdev_gate_open (rig.disks[1]);
  wait_until (was_said ("is in sync, but this cannot be recorded"));
  mutex_lock (&rig.lock);
  rig.answer = 0;
  mutex_unlock (&rig.lock);
  ck_assert_int_eq (mirror_remove_leg (rig.mirror, 1), 0);
  wait_until (told_count == 2);
  ck_assert_str_eq (told, "be");
  ck_assert (!status_of (&rig).is_resyncing);
  mirror_stop_resync (rig.mirror);
  rig_destroy (&rig);
}
END_TEST

/* A new rate counts at once, for what waits for the old one. */
START_TEST (the_rate_may_change_at_any_time)
{
  struct rig rig;

  rig_create (&rig, 2);
  rig.params.states[1] = LEG_RECOVERING;
  rig.rate = 1;
  rig_open_unequal (&rig);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  wait_until (status_of (&rig).regions_in_sync > 0);
  ck_assert (!mirror_set_pace_rate (rig.mirror, 1));
  ck_assert (mirror_set_pace_rate (rig.mirror, 0));
  wait_and_compare (&rig);
  rig_destroy (&rig);
}
END_TEST

/* What has failed is tried again when that is asked for, not when its time
 * has come.
 */
START_TEST (the_resync_can_be_hurried)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig, 2);
  rig.params.states[1] = LEG_RECOVERING;
  rig_open_unequal (&rig);
  fault_bdev_fail_range (rig.disks[0], FAULT_READ, 40, 1);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  for (i = 0; i < 5; ++i) {
    capture_messages ();
    mirror_hurry_resync (rig.mirror);
    wait_until (was_said ("the next try is in"));
  }
  fault_bdev_heal (rig.disks[0]);
  mirror_hurry_resync (rig.mirror);
  wait_and_compare (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- want ------------------------------------------------------------*/

START_TEST (want_of_memory_changes_nothing)
{
  struct fault_bdev *disk;
  struct block_device *bdev;
  struct rig rig;
  unsigned leg;

  rig_create (&rig, 2);
  rig_open (&rig);
  bdev = new_disk (&rig, "new", &disk);
  fault_alloc_fail_once (FAULT_ALLOC_MEMORY, 0);
  ck_assert_int_eq (mirror_add_leg (rig.mirror, bdev, false, &leg), -ENOMEM);
  fault_alloc_fail_once (FAULT_ALLOC_MEMORY, 0);
  ck_assert_int_eq (mirror_replace_leg (rig.mirror, 1, bdev), -ENOMEM);
  ck_assert_int_eq (mirror_fail (rig.mirror, 1, "for fun"), 0);
  fault_alloc_fail_once (FAULT_ALLOC_MEMORY, 0);
  ck_assert_int_eq (mirror_set_leg_device (rig.mirror, 1, bdev), -ENOMEM);
  (void) fault_alloc_stop ();
  ck_assert_uint_eq (change_count (&rig), 1);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  rig_destroy (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_new_leg_is_filled,
    a_new_leg_is_not_read_until_it_is_in_sync,
    legs_in_sync_go_on_while_another_is_filled,
    a_bad_sector_does_not_hold_up_a_new_leg,
    numbers_are_kept_and_given_again,
    a_change_that_cannot_be_recorded_is_none,
    a_doubtful_record_keeps_the_log_dirty,
    a_removed_leg_is_waited_for,
    the_last_leg_in_sync_stays,
    the_primary_does_not_come_back,
    a_leg_is_replaced,
    a_leg_rejoins,
    a_failed_leg_gets_another_device,
    a_leg_that_comes_in_beside_a_resync_lacks_nothing,
    changes_beside_clients_land_right,
    the_resync_pauses,
    a_resync_is_cancelled,
    a_resync_begins_and_ends_once,
    the_rate_may_change_at_any_time,
    the_resync_can_be_hurried,
    want_of_memory_changes_nothing,
    NULL,
  };

  return unit_main ("mirror-legs", tests);
}
