/* Unit tests of snapshots: what clients of one see, and its opening.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "fault-alloc.h"
#include "snapshot-test.h"

/*----- writing to snapshots --------------------------------------------*/

START_TEST (a_snapshot_can_be_written)
{
  struct rig rig;
  struct target *old, *new;

  rig_pair (&rig, 4, 16);
  old = target_of (&rig, 0);
  new = target_of (&rig, 1);
  fault_trace_reset (rig.trace);
  /* First the older one has what is overwritten, then it is written. */
  ck_assert_int_eq (write_pattern (new, 7, 17, 2), 0);
  assert_trace (&rig, FAULT_WRITE | FAULT_FLUSH,
                "cow0 write 8+4, cow0 flush, cow0 write 4+1 fua, "
                "cow1 write 32+16, cow1 flush, cow1 write 16+1 fua, "
                "cow1 write 33+2");
  assert_frozen (old);
  assert_frozen (volume_of (&rig));
  assert_target_pattern (new, BASE_SEED, 0, 17);
  assert_target_pattern (new, 7, 17, 2);
  assert_target_pattern (new, BASE_SEED, 19, SECTORS - 19);
  /* The last chunk is short. */
  ck_assert_int_eq (write_pattern (new, 8, SECTORS - 1, 1), 0);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 9, SECTORS - 1, 1), 0);
  ck_assert_int_eq (write_pattern (old, 10, SECTORS - 1, 1), 0);
  assert_target_pattern (new, 8, SECTORS - 1, 1);
  assert_target_pattern (volume_of (&rig), 9, SECTORS - 1, 1);
  assert_target_pattern (old, 10, SECTORS - 1, 1);
  /* FUA and flush go to the store. */
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (target_flush (new), 0);
  ck_assert_int_eq (target_zero (new, 17, 1, BDEV_FUA | BDEV_UNMAP), 0);
  assert_trace (&rig, FAULT_ALL, "cow1 flush, cow1 zero 33+1 fua unmap");
  rig_reopen (&rig);
  assert_target_pattern (target_of (&rig, 1), 7, 18, 1);
  assert_target_pattern (target_of (&rig, 0), 10, SECTORS - 1, 1);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 0, SECTORS - 1);
  rig_finish (&rig);
}
END_TEST

START_TEST (a_read_only_snapshot_refuses_writes)
{
  struct rig_snapshot *rs;
  unsigned char data[SECTOR_SIZE] = { 0 };
  struct rig rig;
  struct target *view;

  rig_create (&rig);
  rs = rig_add (&rig, 8, 0);
  rs->is_read_only = true;
  rig_open (&rig);
  ck_assert (snapshot_is_read_only (rs->snapshot));
  ck_assert_str_eq (snapshot_name (rs->snapshot), "monday");
  ck_assert_int_eq (target_write (target_of (&rig, 0), data, 0, 1, 0), -EROFS);
  ck_assert_int_eq (target_zero (target_of (&rig, 0), 0, 1, 0), -EROFS);
  ck_assert_int_eq (target_flush (target_of (&rig, 0)), 0);
  /* Nor does the view, of any snapshot. */
  view = snapshot_view (rs->snapshot);
  ck_assert_int_eq (target_write (view, data, 0, 1, 0), -EROFS);
  ck_assert_int_eq (target_zero (view, 0, 1, 0), -EROFS);
  ck_assert_int_eq (target_flush (view), 0);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 0, 100), 0);
  assert_frozen (target_of (&rig, 0));
  assert_frozen (view);
  rig_finish (&rig);
}
END_TEST

START_TEST (zeroing_a_snapshot)
{
  unsigned char data[64 * SECTOR_SIZE];
  struct rig_snapshot *rs;
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  /* Two pieces of the store, in the wrong order. */
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 24, 1), 0);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 16, 1), 0);
  ck_assert_int_eq (target_zero (target_of (&rig, 0), 10, 20, BDEV_FAST), 0);
  ck_assert_int_eq (target_read (target_of (&rig, 0), data, 0, 64), 0);
  assert_pattern (data, BASE_SEED, 0, 10);
  assert_all_bytes (data + 10 * SECTOR_SIZE, 0, 20 * SECTOR_SIZE);
  assert_pattern (data + 30 * SECTOR_SIZE, BASE_SEED, 30, 34);
  rig_close (&rig);
  /* A store that cannot zero fast says so, and nothing is changed. */
  rs->open_flags = FAULT_OPEN_BARE;
  rig_open (&rig);
  ck_assert_int_eq (target_zero (target_of (&rig, 0), 30, 20, BDEV_FAST),
                    -EOPNOTSUPP);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 30, 34);
  ck_assert_int_eq (target_zero (target_of (&rig, 0), 30, 20, 0), 0);
  ck_assert_int_eq (target_read (target_of (&rig, 0), data, 30, 34), 0);
  assert_all_bytes (data, 0, 20 * SECTOR_SIZE);
  assert_pattern (data + 20 * SECTOR_SIZE, BASE_SEED, 50, 14);
  rig_finish (&rig);
}
END_TEST

/* Where an extent says hole there are zeroes, and the extents add up. */
static void
check_extents (struct target *t, unsigned expected_holes)
{
  sector_t sector = 0, holes = 0;

  while (sector < t->sectors) {
    unsigned char data[SECTOR_SIZE];
    struct bdev_extent extent = { 0 };
    sector_t i;

    ck_assert_int_eq (target_extent (t, sector, t->sectors - sector, &extent),
                      0);
    ck_assert_uint_ge (extent.count, 1);
    ck_assert_uint_le (extent.count, t->sectors - sector);
    for (i = 0; extent.is_hole && i < extent.count; ++i, ++holes) {
      ck_assert_int_eq (target_read (t, data, sector + i, 1), 0);
      assert_all_bytes (data, 0, SECTOR_SIZE);
    }
    sector += extent.count;
  }
  ck_assert_uint_eq (holes, expected_holes);
}

START_TEST (extents_tell_of_holes)
{
  struct rig rig;

  rig_create (&rig);
  rig_open (&rig);
  ck_assert_int_eq (target_zero (volume_of (&rig), 64, 32, BDEV_UNMAP), 0);
  check_extents (volume_of (&rig), 32);
  rig_close (&rig);
  (void) rig_add (&rig, 4, 0);
  (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  check_extents (target_of (&rig, 0), 32);
  check_extents (target_of (&rig, 1), 32);
  /* Filled in on the volume: the hole costs a record, and no data. */
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 64, 8), 0);
  assert_trace (&rig, FAULT_ALL,
                "cow1 flush, cow1 write 8+1 fua, origin write 64+8");
  check_extents (volume_of (&rig), 24);
  check_extents (target_of (&rig, 0), 32);
  check_extents (target_of (&rig, 1), 32);
  /* Zeroed there: the snapshots still have data. */
  ck_assert_int_eq (target_zero (volume_of (&rig), 0, 16, BDEV_UNMAP), 0);
  check_extents (volume_of (&rig), 40);
  check_extents (target_of (&rig, 1), 32);
  ck_assert_int_eq (target_zero (target_of (&rig, 1), 0, 3, BDEV_UNMAP), 0);
  check_extents (target_of (&rig, 1), 35);
  check_extents (target_of (&rig, 0), 32);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 0, 64);
  rig_finish (&rig);
}
END_TEST

/* Clients see a part, but chunks are copied whole. */
START_TEST (less_than_the_origin_can_be_seen)
{
  struct rig rig;
  struct rig_snapshot *rs;

  rig_create (&rig);
  rs = rig_add (&rig, 8, 0);
  rs->sectors = 17;
  rig_open (&rig);
  fault_trace_reset (rig.trace);
  ck_assert_uint_eq (target_of (&rig, 0)->sectors, 17);
  ck_assert_int_eq (write_pattern (target_of (&rig, 0), 2, 16, 1), 0);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 16, 8), 0);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 0, 16);
  rig_close (&rig);
  rs->sectors = 0;
  rig_open (&rig);
  assert_target_pattern (target_of (&rig, 0), 2, 16, 1);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 17, SECTORS - 17);
  rig_finish (&rig);
}
END_TEST

START_TEST (status_tells_what_is_used)
{
  struct rig_snapshot *rs;
  struct snapshot_status status;
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  snapshot_get_status (rs->snapshot, &status);
  ck_assert_uint_eq (status.chunk_sectors, 8);
  ck_assert_uint_eq (status.chunks, 0);
  ck_assert_uint_eq (status.used_sectors, 16);
  ck_assert_uint_eq (status.metadata_sectors, 16);
  ck_assert_uint_eq (status.store_sectors,
                     exception_store_full_size (STORE_PERSISTENT, SECTORS, 8) +
                       64);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 7, 10), 0);
  snapshot_get_status (rs->snapshot, &status);
  ck_assert_uint_eq (status.chunks, 3);
  ck_assert_uint_eq (status.used_sectors, 40);
  rig_reopen (&rig);
  snapshot_get_status (rs->snapshot, &status);
  ck_assert_uint_eq (status.chunks, 3);
  rig_finish (&rig);
}
END_TEST

/*----- opening ---------------------------------------------------------*/

/* What the snapshot of a closed rig is opened with. */
struct open_disks {
  struct bdev_target lower;
  struct snapshot_params params;
};

static void
open_disks (struct open_disks *d, struct rig *rig)
{
  struct rig_snapshot *rs = &rig->snapshots[0];

  bdev_target_init (&d->lower, fault_bdev_open (rig->disk, 0));
  d->params = (struct snapshot_params){ .name = "x",
                                        .cow = fault_bdev_open (rs->disk, 0),
                                        .is_valid = true,
                                        .broken = note_broken,
                                        .opaque = rs,
                                        .origin = &d->lower.target };
}

START_TEST (open_refuses_a_damaged_store_and_leaves_it)
{
  struct rig_snapshot *rs;
  unsigned char sector[SECTOR_SIZE] = { 0 };
  struct open_disks disks;
  struct snapshot *s = NULL;
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  rig_close (&rig);
  open_disks (&disks, &rig);
  /* A record of a chunk behind the end of the origin. */
  memcpy (sector, &(uint64_t){ (SECTORS + 7) / 8 }, 8);
  memcpy (sector + 8, &(uint64_t){ 2 }, 8);
  fault_bdev_load (rs->disk, 8, 1, sector);
  capture_messages ();
  ck_assert_int_eq (snapshot_open (&disks.params, &s), -EINVAL);
  assert_said ("E: cow0: record 0: old chunk 33 is outside the volume");
  ck_assert_uint_eq (fault_bdev_open_count (rs->disk), 1);
  fault_bdev_fail_from (rs->disk, FAULT_READ, 0);
  ck_assert_int_eq (snapshot_open (&disks.params, &s), -EIO);
  ck_assert_uint_eq (fault_bdev_open_count (rs->disk), 1);
  bdev_close (disks.params.cow);
  bdev_close (disks.lower.bdev);
  snapshot_close (NULL);
  rig_destroy (&rig);
}
END_TEST

START_TEST (open_survives_want_of_memory)
{
  struct open_disks disks;
  struct block_device *reader = NULL;
  struct snapshot *s = NULL;
  struct origin *origin = NULL;
  struct rig rig;
  unsigned k, failed = 1;
  int r, bdev_r;

  (void) rig_simple (&rig, BREAK_SNAPSHOT);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 0, 20), 0);
  rig_close (&rig);
  open_disks (&disks, &rig);
  for (k = 0; failed > 0; ++k) {
    ck_assert_uint_lt (k, 50);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = snapshot_open (&disks.params, &s);
    failed = fault_alloc_stop ();
    ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
  }
  ck_assert_uint_gt (k, 5);
  snapshot_close (s);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  r = origin_create (&disks.lower.target, &origin);
  bdev_r = target_bdev_create (&disks.lower.target, &reader);
  (void) fault_alloc_stop ();
  ck_assert_int_eq (r, -ENOMEM);
  ck_assert_int_eq (bdev_r, -ENOMEM);
  bdev_close (disks.lower.bdev);
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_target_can_be_read_as_a_device)
{
  unsigned char data[6 * SECTOR_SIZE];
  struct iovec iov[3] = { { data, 2 * SECTOR_SIZE },
                          { NULL, 0 },
                          { data + 2 * SECTOR_SIZE, 4 * SECTOR_SIZE } };
  struct block_device *reader;
  struct rig rig;

  (void) rig_simple (&rig, BREAK_SNAPSHOT);
  ck_assert_int_eq (target_bdev_create (volume_of (&rig), &reader), 0);
  ck_assert (bdev_is_read_only (reader));
  ck_assert_uint_eq (bdev_sectors (reader), SECTORS);
  ck_assert_int_eq (bdev_read (reader, iov, 3, 40), 0);
  assert_pattern (data, BASE_SEED, 40, 6);
  ck_assert_int_eq (bdev_write (reader, iov, 3, 40, 0), -EROFS);
  ck_assert_int_eq (bdev_read (reader, iov, 3, SECTORS - 5), -EINVAL);
  /* Pieces that are not whole sectors, though their sum is. */
  iov[0].iov_len -= 100;
  iov[2].iov_len = 100;
  ck_assert_int_eq (bdev_read (reader, iov, 3, 40), -EINVAL);
  iov[0].iov_len = SECTOR_SIZE;
  fault_bdev_fail_from (rig.disk, FAULT_READ, 0);
  ck_assert_int_eq (bdev_read (reader, iov, 1, 40), -EIO);
  bdev_close (reader);
  ck_assert_int_eq (snapshot_preserve (NULL, 0, 1), 0);
  rig_finish (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_snapshot_can_be_written,
    a_read_only_snapshot_refuses_writes,
    zeroing_a_snapshot,
    extents_tell_of_holes,
    less_than_the_origin_can_be_seen,
    status_tells_what_is_used,
    open_refuses_a_damaged_store_and_leaves_it,
    open_survives_want_of_memory,
    a_target_can_be_read_as_a_device,
    NULL,
  };

  return unit_main ("snapshot", tests);
}
