/* Unit tests of the mirror and its resync.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Legs are disks that share a trace, so the order in which they are used
 * can be seen, and what had happened when a leg's failure was recorded.
 */

#include <config.h>

#include "fault-alloc.h"
#include "mirror.h"
#include "target-test.h"

#define SECTORS 250 /* the last region is short */
#define REGION 16
#define REGIONS 16
#define BASE_SEED 1
#define OTHER_SEED 100 /* + leg: what it holds when it is not in sync */

/*----- a mirror of disks -----------------------------------------------*/

struct change {
  unsigned leg;
  enum leg_state state;
  size_t at; /* events in the trace before */
  char reason[256];
};

#define MAX_CHANGES 32

struct rig {
  struct fault_trace *trace;
  struct fault_bdev *disks[MIRROR_MAX_LEGS];
  unsigned open_flags[MIRROR_MAX_LEGS];
  struct mirror_params params;
  struct mirror *mirror;
  struct target *target;

  /* What leg_changed was told, and what it is to answer. */
  struct mutex lock;
  unsigned change_count;
  struct change changes[MAX_CHANGES];
  int answer;
};

static int
note_change (void *opaque, unsigned leg, enum leg_state state,
             const char *reason)
{
  struct rig *rig = opaque;
  struct change *c;
  int r;

  mutex_lock (&rig->lock);
  if (rig->change_count == MAX_CHANGES)
    abort ();
  c = &rig->changes[rig->change_count++];
  c->leg = leg;
  c->state = state;
  c->at = fault_trace_count (rig->trace);
  (void) snprintf (c->reason, sizeof c->reason, "%s",
                   reason != NULL ? reason : "(none)");
  r = rig->answer;
  mutex_unlock (&rig->lock);
  return r;
}

static unsigned
change_count (struct rig *rig)
{
  unsigned n;

  mutex_lock (&rig->lock);
  n = rig->change_count;
  mutex_unlock (&rig->lock);
  return n;
}

/* All legs in sync, and equal. */
static void
rig_create (struct rig *rig, unsigned legs)
{
  unsigned char *data = test_alloc_sectors (SECTORS);
  unsigned i;

  memset (rig, 0, sizeof *rig);
  mutex_init (&rig->lock);
  rig->trace = fault_trace_create ();
  fill_pattern (data, BASE_SEED, 0, SECTORS);
  for (i = 0; i < legs; ++i) {
    char name[8] = { 'l', 'e', 'g', (char) ('0' + i), '\0' };

    rig->disks[i] = fault_bdev_create (name, SECTORS, rig->trace);
    fault_bdev_load (rig->disks[i], 0, SECTORS, data);
    rig->params.states[i] = LEG_IN_SYNC;
  }
  free (data);
  rig->params.leg_count = legs;
  rig->params.sectors = SECTORS;
  rig->params.region_sectors = REGION;
  rig->params.is_in_sync = true;
  rig->params.leg_changed = note_change;
  rig->params.opaque = rig;
}

static void
rig_open (struct rig *rig)
{
  unsigned i;

  for (i = 0; i < rig->params.leg_count; ++i)
    rig->params.legs[i] = fault_bdev_open (rig->disks[i], rig->open_flags[i]);
  ck_assert_int_eq (mirror_create (&rig->params, &rig->mirror), 0);
  rig->target = mirror_target (rig->mirror);
  capture_messages ();
}

/* Nothing is in sync, and all but the first leg hold something else. */
static void
rig_open_unequal (struct rig *rig)
{
  unsigned char *data = test_alloc_sectors (SECTORS);
  unsigned i;

  for (i = 1; i < rig->params.leg_count; ++i) {
    fill_pattern (data, OTHER_SEED + i, 0, SECTORS);
    fault_bdev_load (rig->disks[i], 0, SECTORS, data);
  }
  free (data);
  rig->params.is_in_sync = false;
  rig_open (rig);
}

static void
rig_close (struct rig *rig)
{
  mirror_destroy (rig->mirror);
  rig->mirror = NULL;
}

static void
rig_destroy (struct rig *rig)
{
  unsigned i;

  rig_close (rig);
  for (i = 0; i < rig->params.leg_count; ++i) {
    ck_assert_uint_eq (fault_bdev_open_count (rig->disks[i]), 0);
    fault_bdev_destroy (rig->disks[i]);
  }
  fault_trace_destroy (rig->trace);
  mutex_destroy (&rig->lock);
}

static struct mirror_status
status_of (struct rig *rig)
{
  struct mirror_status status;

  mirror_get_status (rig->mirror, &status);
  return status;
}

static enum leg_state
state_of (struct rig *rig, unsigned leg)
{
  return status_of (rig).legs[leg].state;
}

static int
write_pattern (struct rig *rig, uint64_t seed, sector_t sector, sector_t count)
{
  unsigned char *data = test_alloc_sectors (count);
  int r;

  fill_pattern (data, seed, sector, count);
  r = target_write (rig->target, data, sector, count, 0);
  free (data);
  return r;
}

static int
read_one (struct rig *rig, sector_t sector)
{
  unsigned char data[SECTOR_SIZE];

  return target_read (rig->target, data, sector, 1);
}

#define assert_disk_pattern(disk, seed, sector, count) \
  do { \
    unsigned char *data_ = test_alloc_sectors (count); \
    fault_bdev_look ((disk), (sector), (count), data_); \
    assert_pattern (data_, (seed), (sector), (count)); \
    free (data_); \
  } while (0)

#define assert_trace(rig, ops, expected) \
  do { \
    char *text_ = fault_trace_text ((rig)->trace, (ops)); \
    ck_assert_str_eq (text_, (expected)); \
    free (text_); \
  } while (0)

/* All legs that are not failed hold the same. */
static void
assert_equal_legs (struct rig *rig)
{
  unsigned char *a = test_alloc_sectors (SECTORS);
  unsigned char *b = test_alloc_sectors (SECTORS);
  unsigned i, first = UINT32_MAX;

  for (i = 0; i < rig->params.leg_count; ++i) {
    if (state_of (rig, i) == LEG_FAILED)
      continue;
    if (first == UINT32_MAX) {
      first = i;
      fault_bdev_look (rig->disks[i], 0, SECTORS, a);
      continue;
    }
    fault_bdev_look (rig->disks[i], 0, SECTORS, b);
    ck_assert_mem_eq (a, b, SECTORS * SECTOR_SIZE);
  }
  free (a);
  free (b);
}

/* True if the resync has done what it can for now. */
static bool
resync_has_paused (struct rig *rig)
{
  return !status_of (rig).is_resyncing || was_said ("the next try is in");
}

static void
wait_for_resync (struct rig *rig)
{
  wait_until (resync_has_paused (rig));
}

/* Go over what is not in sync, once. */
static void
resync_once (struct rig *rig)
{
  capture_messages ();
  ck_assert_int_eq (mirror_start_resync (rig->mirror), 0);
  wait_for_resync (rig);
  mirror_stop_resync (rig->mirror);
  ck_assert (!status_of (rig).is_resyncing);
}

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
    "write of 4096 bytes at 1024 failed: No space left on device");
  assert_said ("E: mirror: leg 1 (leg1): write of 4096 bytes at 1024 failed: "
               "No space left on device; leg failed, volume degraded");
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
  assert_trace (&rig, FAULT_READ | FAULT_WRITE | FAULT_ZERO | FAULT_DISCARD,
                "leg0 read 32+16, leg1 write 32+16, leg0 read 240+10, "
                "leg1 write 240+10");
  ck_assert (mirror_is_clean (rig.mirror));
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
               "failed; the region stays out of sync");
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
  assert_trace (&rig, FAULT_WRITE | FAULT_ZERO | FAULT_DISCARD,
                "leg1 zero 0+16 unmap, leg1 zero 16+16 unmap, "
                "leg1 write 32+16, leg1 zero 48+16 unmap");
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
  fault_bdev_gate_shut (rig.disks[0], FAULT_READ, 3 * REGION, REGION);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  fault_bdev_gate_wait (rig.disks[0], 1);
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, 3);
  ck_assert (status_of (&rig).is_resyncing);
  ck_assert_int_eq (thread_start (&stopper, "stop", stop_main, rig.mirror), 0);
  short_wait ();
  fault_bdev_gate_open (rig.disks[0]);
  thread_join (&stopper);
  ck_assert (!status_of (&rig).is_resyncing);
  done = status_of (&rig).regions_in_sync;
  ck_assert_uint_ge (done, 4); /* the region it was at is finished */
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
  rig.params.resync_rate = 1;
  rig_open_unequal (&rig);
  ck_assert_int_eq (mirror_start_resync (rig.mirror), 0);
  wait_until (status_of (&rig).regions_in_sync == 1);
  mirror_stop_resync (rig.mirror);
  ck_assert_uint_eq (status_of (&rig).regions_in_sync, 1);
  rig_close (&rig);

  /* 250 sectors at 500 KiB a second: the last region waits for the rest. */
  rig.params.resync_rate = 500 * 1024;
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
    resync_makes_legs_equal,
    resync_copies_what_differs,
    what_cannot_be_read_stays_out_of_sync,
    what_cannot_be_written_drops_its_leg,
    a_region_whose_leg_cannot_be_dropped_is_not_in_sync,
    a_leg_in_sync_that_cannot_be_copied_to_stays,
    resync_goes_on_when_there_is_more_to_do,
    in_sync_is_not_believed_before_it_is_recorded,
    holes_stay_holes,
    resync_can_be_stopped_and_goes_on,
    a_rate_limits_and_does_not_hold_stop,
    a_write_waits_while_its_region_recovers,
    recovery_waits_for_writes_in_flight,
    writes_during_resync_land_right,
    writes_while_legs_fail_land_right,
    create_has_limits,
    want_of_memory_is_told,
    want_of_threads_is_told,
    NULL,
  };

  return unit_main ("mirror", tests);
}
