/* Unit tests of snapshots: when a copy fails.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "fault-alloc.h"
#include "snapshot-test.h"

enum fault_kind {
  FULL_STORE,
  ORIGIN_READ,
  COW_DATA,
  COW_FLUSH,
  COW_RECORD,
  COW_NEXT_AREA,
  FAULT_KINDS,
};

/* A volume of which the next write to chunk 4 fails to be copied. */
static struct rig_snapshot *
rig_that_fails (struct rig *rig, enum fault_kind kind,
                enum on_cow_error on_cow_error)
{
  bool next_area = kind == COW_NEXT_AREA;
  struct rig_snapshot *rs;
  unsigned i;

  rig_create (rig);
  if (next_area) {
    /* Chunks of a sector: 31 of the 32 records of area 0 are used. */
    rs = rig_add (rig, 1, 0);
    rs->on_cow_error = on_cow_error;
    rig_open (rig);
    for (i = 0; i < 31; ++i)
      ck_assert_int_eq (write_pattern (volume_of (rig), 9, 100 + i, 1), 0);
  }
  else {
    rs = rig_add (rig, 8, kind == FULL_STORE ? 3 * 8 : 0);
    rs->on_cow_error = on_cow_error;
    rig_open (rig);
    ck_assert_int_eq (write_pattern (volume_of (rig), 9, 100, 1), 0);
  }
  switch (kind) {
  case ORIGIN_READ:
    fault_bdev_fail_range (rig->disk, FAULT_READ, 32, 8);
    break;
  case COW_DATA:
    fault_bdev_fail_range (rs->disk, FAULT_WRITE, 24, SECTORS);
    break;
  case COW_FLUSH:
    fault_bdev_fail_from (rs->disk, FAULT_FLUSH, 0);
    break;
  case COW_RECORD:
    fault_bdev_fail_range (rs->disk, FAULT_WRITE, 8, 8);
    break;
  case COW_NEXT_AREA:
    fault_bdev_fail_range (rs->disk, FAULT_WRITE | FAULT_ZERO, 34, 1);
    break;
  case FULL_STORE:
  case FAULT_KINDS:
    break;
  }
  capture_messages ();
  fault_trace_reset (rig->trace);
  return rs;
}

static void
heal_all (struct rig *rig)
{
  unsigned i;

  fault_bdev_heal (rig->disk);
  for (i = 0; i < rig->count; ++i)
    fault_bdev_heal (rig->snapshots[i].disk);
}

START_TEST (break_snapshot_saves_the_write)
{
  enum fault_kind kind;

  for (kind = FULL_STORE; kind < FAULT_KINDS; ++kind) {
    unsigned char data[SECTOR_SIZE];
    struct bdev_extent extent;
    struct rig_snapshot *rs;
    struct target *t;
    struct rig rig;

    rs = rig_that_fails (&rig, kind, BREAK_SNAPSHOT);
    t = target_of (&rig, 0);
    ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 34, 1), 0);
    /* Recorded once, and before the origin was written. */
    ck_assert_uint_eq (atomic_load (&rs->broken_calls), 1);
    ck_assert_uint_eq (first_event (&rig, rig.disk, FAULT_WRITE),
                       fault_trace_count (rig.trace) - 1);
    ck_assert_uint_le (rs->broken_at,
                       first_event (&rig, rig.disk, FAULT_WRITE));
    ck_assert_str_ne (rs->reason, "");
    assert_said ("snapshot monday: ");
    assert_said ("the snapshot is invalid, the volume goes on");
    ck_assert (!snapshot_is_valid (rs->snapshot));
    ck_assert_int_eq (target_read (t, data, 0, 1), -EIO);
    ck_assert_int_eq (target_write (t, data, 0, 1, 0), -EIO);
    ck_assert_int_eq (target_zero (t, 0, 1, 0), -EIO);
    ck_assert_int_eq (target_flush (t), -EIO);
    ck_assert_int_eq (target_extent (t, 0, 1, &extent), -EIO);
    heal_all (&rig);
    assert_target_pattern (volume_of (&rig), 2, 34, 1);
    /* From now on nothing is copied. */
    fault_trace_reset (rig.trace);
    ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 64, 1), 0);
    assert_trace (&rig, FAULT_ALL, "origin write 64+1");
    rig_close (&rig);
    /* For ever: by the manifest, and by the store alone. */
    rig_open (&rig);
    ck_assert (!snapshot_is_valid (rs->snapshot));
    rig_close (&rig);
    rs->is_valid = true;
    rig_open (&rig);
    ck_assert (!snapshot_is_valid (rs->snapshot));
    ck_assert_int_eq (target_read (target_of (&rig, 0), data, 0, 1), -EIO);
    rig_finish (&rig);
  }
}
END_TEST

START_TEST (what_cannot_be_recorded_as_broken_stays)
{
  enum fault_kind kind;

  for (kind = FULL_STORE; kind < FAULT_KINDS; ++kind) {
    struct rig_snapshot *rs;
    struct rig rig;

    rs = rig_that_fails (&rig, kind, BREAK_SNAPSHOT);
    rs->broken_error = -EROFS;
    fault_bdev_fail_range (rs->disk, FAULT_WRITE, 0, 1); /* nor in the header */
    ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 34, 1), -EROFS);
    ck_assert_uint_eq (atomic_load (&rs->broken_calls), 1);
    assert_said ("cannot be recorded");
    ck_assert (snapshot_is_valid (rs->snapshot));
    heal_all (&rig);
    assert_target_pattern (volume_of (&rig), BASE_SEED, 34, 1);
    assert_frozen (target_of (&rig, 0));
    rig_reopen (&rig);
    ck_assert_msg (snapshot_is_valid (rs->snapshot),
                   "lost at the next start, kind %d", (int) kind);
    assert_frozen (target_of (&rig, 0));
    rig_finish (&rig);
  }
}
END_TEST

/* On a disk that is full the manifest can't be replaced, but the header can be
 * written: then the write goes on, and the next start sees it there.
 */
START_TEST (what_the_store_alone_records_is_broken)
{
  enum fault_kind kind;

  for (kind = FULL_STORE; kind < FAULT_KINDS; ++kind) {
    struct rig_snapshot *rs;
    struct rig rig;

    rs = rig_that_fails (&rig, kind, BREAK_SNAPSHOT);
    rs->broken_error = -ENOSPC;
    ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 34, 1), 0);
    ck_assert_uint_eq (atomic_load (&rs->broken_calls), 2);
    /* Before the volume is written. */
    ck_assert_uint_eq (first_event (&rig, rig.disk, FAULT_WRITE),
                       fault_trace_count (rig.trace) - 1);
    assert_said ("the snapshot is invalid, the volume goes on");
    ck_assert (!snapshot_is_valid (rs->snapshot));
    heal_all (&rig);
    assert_target_pattern (volume_of (&rig), 2, 34, 1);
    rig_close (&rig);
    fault_bdev_crash (rs->disk, NULL, NULL);
    rig_open (&rig);
    ck_assert_msg (!snapshot_is_valid (rs->snapshot),
                   "not known at the next start, kind %d", (int) kind);
    rig_finish (&rig);
  }
}
END_TEST

/* Without a manifest the store itself must say that it is invalid. */
START_TEST (a_store_that_is_alone_must_remember)
{
  unsigned char header[SECTOR_SIZE];
  unsigned fails;

  for (fails = 0; fails < 2; ++fails) {
    struct rig rig;
    struct rig_snapshot *rs;

    capture_messages ();
    rig_create (&rig);
    rs = rig_add (&rig, 8, 0);
    rs->is_alone = true;
    rig_open (&rig);
    /* Chunks are not taken; with FAILS, nor is the header. */
    fault_bdev_fail_range (rs->disk, FAULT_WRITE | FAULT_ZERO, fails ? 0 : 8,
                           SECTORS);
    fault_trace_reset (rig.trace);
    ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 17, 3),
                      fails ? -EIO : 0);
    ck_assert (snapshot_is_valid (rs->snapshot) == (fails != 0));
    if (fails)
      assert_trace (&rig, FAULT_WRITE | FAULT_FLUSH,
                    "cow0 write 16+8 -5, cow0 write 0+1 fua -5");
    else
      assert_trace (&rig, FAULT_WRITE | FAULT_FLUSH,
                    "cow0 write 16+8 -5, cow0 write 0+1 fua, "
                    "origin write 17+3");
    fault_bdev_look_durable (rs->disk, 0, 1, header);
    ck_assert_uint_eq (header[4], fails);
    rig_close (&rig);
    fault_bdev_heal (rs->disk);
    fault_bdev_crash (rs->disk, NULL, NULL);
    rig_open (&rig);
    ck_assert (snapshot_is_valid (rs->snapshot) == (fails != 0));
    if (fails)
      assert_frozen (target_of (&rig, 0));
    rig_finish (&rig);
  }
}
END_TEST

START_TEST (break_guest_write_saves_the_snapshot)
{
  enum fault_kind kind;

  for (kind = FULL_STORE; kind < FAULT_KINDS; ++kind) {
    struct rig_snapshot *rs;
    struct rig rig;

    rs = rig_that_fails (&rig, kind, BREAK_GUEST_WRITE);
    ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 34, 1),
                      kind == FULL_STORE ? -ENOSPC : -EIO);
    ck_assert_int_lt (target_zero (volume_of (&rig), 34, 1, 0), 0);
    ck_assert_uint_eq (atomic_load (&rs->broken_calls), 0);
    ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_ZERO), 0);
    assert_said ("a write to the volume was refused");
    ck_assert (snapshot_is_valid (rs->snapshot));
    /* Where the chunk is safe, writes go on. */
    ck_assert_int_eq (write_pattern (volume_of (&rig), 9, 100, 1), 0);
    heal_all (&rig);
    assert_target_pattern (volume_of (&rig), BASE_SEED, 34, 1);
    assert_frozen (target_of (&rig, 0));
    rig_reopen (&rig);
    ck_assert (snapshot_is_valid (rs->snapshot));
    assert_frozen (target_of (&rig, 0));
    if (kind != FULL_STORE) {
      ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 34, 1), 0);
      assert_frozen (target_of (&rig, 0));
    }
    rig_finish (&rig);
  }
}
END_TEST

/* A store that cannot even be marked invalid: the callback counts. */
START_TEST (a_dead_store_breaks_by_the_manifest)
{
  unsigned char data[SECTOR_SIZE];
  struct rig_snapshot *rs;
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  capture_messages ();
  fault_bdev_fail_from (rs->disk, FAULT_ALL, 0);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 34, 1), 0);
  ck_assert_uint_eq (atomic_load (&rs->broken_calls), 1);
  assert_said ("W: snapshot monday: the COW store cannot be marked invalid");
  fault_bdev_heal (rs->disk);
  rig_reopen (&rig);
  ck_assert_int_eq (target_read (target_of (&rig, 0), data, 0, 1), -EIO);
  rig_finish (&rig);
}
END_TEST

/* A write to the snapshot itself that finds no room fails; the snapshot
 * stays.
 */
START_TEST (a_failed_write_to_a_snapshot_breaks_nothing)
{
  enum fault_kind kind;

  for (kind = FULL_STORE; kind < FAULT_KINDS; ++kind) {
    struct rig_snapshot *rs;
    struct rig rig;

    rs = rig_that_fails (&rig, kind, BREAK_SNAPSHOT);
    ck_assert_int_eq (write_pattern (target_of (&rig, 0), 2, 34, 1),
                      kind == FULL_STORE ? -ENOSPC : -EIO);
    assert_said ("a write to the snapshot was refused");
    ck_assert_uint_eq (atomic_load (&rs->broken_calls), 0);
    ck_assert (snapshot_is_valid (rs->snapshot));
    heal_all (&rig);
    assert_frozen (target_of (&rig, 0));
    rig_finish (&rig);
  }
}
END_TEST

/* An allocation fails while a chunk is copied: writes may fail from then
 * on, but the store is one that can be opened, and right.
 */
START_TEST (want_of_memory_spoils_no_store)
{
  unsigned k, failed = 1;

  for (k = 0; failed > 0; ++k) {
    unsigned char *data = test_alloc_sectors (8);
    struct rig rig;
    int r, i;

    ck_assert_uint_lt (k, 100);
    (void) rig_simple (&rig, BREAK_GUEST_WRITE);
    fill_pattern (data, 2, 36, 8);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = target_write (volume_of (&rig), data, 36, 8, 0);
    failed = fault_alloc_stop ();
    ck_assert_msg (r == 0 || (failed > 0 && r < 0), "%d", r);
    if (r < 0)
      assert_target_pattern (volume_of (&rig), BASE_SEED, 36, 8);
    (void) target_write (volume_of (&rig), data, 36, 8, 0);
    assert_frozen (target_of (&rig, 0));
    for (i = 0; i < 2; ++i) {
      rig_reopen (&rig);
      assert_frozen (target_of (&rig, 0));
      ck_assert_int_eq (target_write (volume_of (&rig), data, 36, 8, 0), 0);
      assert_frozen (target_of (&rig, 0));
    }
    rig_finish (&rig);
    free (data);
  }
  ck_assert_uint_gt (k, 1);
}
END_TEST

/* A failed read of the store or of the origin is the client's error. */
START_TEST (read_errors_are_told)
{
  unsigned char data[16 * SECTOR_SIZE];
  struct rig_snapshot *rs;
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 8, 8), 0);
  fault_bdev_add_rule (rs->disk, &(struct fault_rule){ .ops = FAULT_READ,
                                                       .error = -ENODATA });
  ck_assert_int_eq (target_read (target_of (&rig, 0), data, 0, 16), -ENODATA);
  fault_bdev_heal (rs->disk);
  fault_bdev_add_rule (rig.disk, &(struct fault_rule){ .ops = FAULT_READ,
                                                       .error = -ENODATA });
  ck_assert_int_eq (target_read (target_of (&rig, 0), data, 0, 16), -ENODATA);
  ck_assert_int_eq (target_read (volume_of (&rig), data, 0, 16), -ENODATA);
  ck_assert (snapshot_is_valid (rs->snapshot));
  fault_bdev_heal (rig.disk);
  fault_bdev_fail_from (rig.disk, FAULT_WRITE | FAULT_ZERO | FAULT_FLUSH, 0);
  ck_assert_int_eq (target_write (volume_of (&rig), data, 0, 8, 0), -EIO);
  ck_assert_int_eq (target_zero (volume_of (&rig), 0, 8, 0), -EIO);
  ck_assert_int_eq (target_flush (volume_of (&rig)), -EIO);
  fault_bdev_fail_from (rs->disk, FAULT_WRITE | FAULT_ZERO | FAULT_FLUSH, 0);
  ck_assert_int_eq (target_write (target_of (&rig, 0), data, 8, 8, 0), -EIO);
  ck_assert_int_eq (target_zero (target_of (&rig, 0), 8, 8, 0), -EIO);
  ck_assert_int_eq (target_flush (target_of (&rig, 0)), -EIO);
  rig_finish (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    break_snapshot_saves_the_write,
    what_cannot_be_recorded_as_broken_stays,
    what_the_store_alone_records_is_broken,
    a_store_that_is_alone_must_remember,
    break_guest_write_saves_the_snapshot,
    a_dead_store_breaks_by_the_manifest,
    a_failed_write_to_a_snapshot_breaks_nothing,
    want_of_memory_spoils_no_store,
    read_errors_are_told,
    NULL,
  };

  return unit_main ("snapshot_failures", tests);
}
