/* Unit tests of direct snapshots: several of one origin.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The origin is one disk; each snapshot has a disk for its store.  All share a
 * trace, so the order in which the disks are used can be seen.
 */

#include <config.h>

#include "bdev-target.h"
#include "direct-snapshots.h"
#include "exception-store.h"
#include "merge.h"
#include "snapshot.h"
#include "target-pattern.h"

#define SECTORS 259 /* the last chunk is short, whatever its size */
#define BASE_SEED 1
#define MAX_SNAPSHOTS 9
#define KCOPYD_PAGES 256

struct rig_snapshot {
  struct fault_bdev *disk;
  sector_t sectors; /* 0: all */
  struct snapshot *snapshot;
};

struct rig {
  struct fault_trace *trace;
  struct fault_bdev *disk;
  struct block_device *bdev;
  struct bdev_target lower;
  struct origin *origin;
  struct direct_snapshots *direct;
  struct kcopyd_client *kcopyd;
  bool is_merging;          /* number 0 is */
  sector_t sub_job_sectors; /* a copy is done in such parts, one by one; 0: at
                             * once */
  unsigned count;
  struct rig_snapshot snapshots[MAX_SNAPSHOTS];
};

static void
rig_create (struct rig *rig)
{
  unsigned char *data = test_alloc_sectors (SECTORS);

  capture_messages ();
  memset (rig, 0, sizeof *rig);
  rig->trace = fault_trace_create ();
  rig->disk = fault_bdev_create ("origin", SECTORS, rig->trace);
  fill_pattern (data, BASE_SEED, 0, SECTORS);
  fault_bdev_load (rig->disk, 0, SECTORS, data);
  free (data);
}

/* One more; the rig is closed.  COW_SECTORS 0: it can never be full. */
static struct rig_snapshot *
rig_add (struct rig *rig, sector_t chunk_sectors, sector_t cow_sectors)
{
  struct rig_snapshot *rs = &rig->snapshots[rig->count];
  struct block_device *cow;
  char name[8];

  (void) snprintf (name, sizeof name, "cow%u", rig->count++);
  ck_assert_uint_le (rig->count, MAX_SNAPSHOTS);
  if (cow_sectors == 0)
    cow_sectors = exception_store_full_size (STORE_PERSISTENT, SECTORS,
                                             chunk_sectors);
  rs->disk = fault_bdev_create (name, cow_sectors, rig->trace);
  cow = fault_bdev_open (rs->disk, 0);
  ck_assert_int_eq (exception_store_format (cow, chunk_sectors), 0);
  bdev_close (cow);
  return rs;
}

static void
rig_open (struct rig *rig)
{
  const struct kcopyd_options options = {
    .struct_size = sizeof options,
    .num_pages = KCOPYD_PAGES,
    .sub_job_sectors = rig->sub_job_sectors,
    .sub_jobs = rig->sub_job_sectors > 0 ? 1 : 0,
  };
  unsigned i;

  rig->bdev = fault_bdev_open (rig->disk, 0);
  bdev_target_init (&rig->lower, rig->bdev);
  ck_assert_int_eq (origin_create (&rig->lower.target, &rig->origin), 0);
  ck_assert_int_eq (direct_snapshots_create (&rig->direct), 0);
  ck_assert_int_eq (kcopyd_client_create_options (&options, &rig->kcopyd), 0);
  for (i = 0; i < rig->count; ++i) {
    struct rig_snapshot *rs = &rig->snapshots[i];
    struct snapshot_params params = {
      .name = "snap",
      .cow = fault_bdev_open (rs->disk, 0),
      .is_valid = true,
      .on_cow_error = BREAK_SNAPSHOT,
      .origin = &rig->lower.target,
      .sectors = rs->sectors,
    };

    ck_assert_int_eq (snapshot_open (&params, &rs->snapshot), 0);
    snapshot_set_kcopyd (rs->snapshot, rig->kcopyd);
    if (i > 0 || !rig->is_merging)
      ck_assert_int_eq (direct_snapshots_add (rig->direct, rs->snapshot), 0);
  }
  direct_snapshots_set_kcopyd (rig->direct, rig->kcopyd);
  origin_set_direct (rig->origin, rig->direct);
  fault_trace_reset (rig->trace);
}

static void
rig_close (struct rig *rig)
{
  unsigned i;

  kcopyd_client_destroy (rig->kcopyd);
  for (i = 0; i < rig->count; ++i)
    snapshot_close (rig->snapshots[i].snapshot);
  direct_snapshots_destroy (rig->direct);
  origin_destroy (rig->origin);
  bdev_close (rig->bdev);
}

static void
rig_destroy (struct rig *rig)
{
  unsigned i;

  for (i = 0; i < rig->count; ++i)
    fault_bdev_destroy (rig->snapshots[i].disk);
  fault_bdev_destroy (rig->disk);
  fault_trace_destroy (rig->trace);
}

static struct target *
origin_of (struct rig *rig)
{
  return origin_target (rig->origin);
}

static struct target *
target_of (struct rig *rig, unsigned i)
{
  return snapshot_target (rig->snapshots[i].snapshot);
}

#define assert_frozen(t) assert_target_pattern (t, BASE_SEED, 0, (t)->sectors)

#define assert_trace(rig, ops, expected) \
  do { \
    char *text_ = fault_trace_text ((rig)->trace, (ops)); \
    ck_assert_str_eq (text_, (expected)); \
    free (text_); \
  } while (0)

/* How many events of these kinds were on DISK before event END. */
static unsigned
count_events (struct rig *rig, const struct fault_bdev *disk, unsigned ops,
              size_t end)
{
  unsigned n = 0;
  size_t i;

  for (i = 0; i < end; ++i) {
    struct fault_event e = fault_trace_event (rig->trace, i);

    n += e.disk == disk && (e.op & ops) && e.error == 0;
  }
  return n;
}

/* Each store has taken what it lacked, durably, before the only write to the
 * origin.
 */
static void
assert_order (struct rig *rig)
{
  size_t end = fault_trace_count (rig->trace) - 1;
  unsigned i;

  ck_assert_uint_eq (count_events (rig, rig->disk, FAULT_WRITE, end), 0);
  ck_assert_uint_eq (count_events (rig, rig->disk, FAULT_WRITE, end + 1), 1);
  for (i = 0; i < rig->count; ++i) {
    struct fault_bdev *disk = rig->snapshots[i].disk;

    ck_assert_uint_ge (count_events (rig, disk, FAULT_WRITE, end), 2);
    ck_assert_uint_ge (count_events (rig, disk, FAULT_FLUSH, end), 1);
    ck_assert_uint_eq (fault_bdev_pending (disk), 0);
  }
}

/*----- the order of things ---------------------------------------------*/

START_TEST (a_chunk_is_read_once_for_all)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  for (i = 0; i < 3; ++i)
    (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 17, 3), 0);
  assert_trace (&rig, FAULT_READ, "origin read 16+8");
  assert_order (&rig);
  /* Safe now: nothing but the write. */
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 3, 16, 8), 0);
  assert_trace (&rig, FAULT_ALL, "origin write 16+8");
  /* Neighbours are one copy; a zeroing is a write. */
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (target_zero (origin_of (&rig), 39, 10, 0), 0);
  assert_trace (&rig, FAULT_READ, "origin read 32+24");
  assert_trace (&rig, FAULT_ZERO, "origin zero 39+10");
  for (i = 0; i < 3; ++i)
    assert_frozen (target_of (&rig, i));
  assert_target_pattern (origin_of (&rig), 3, 16, 8);
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (each_gets_what_it_lacks)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  for (i = 0; i < 3; ++i)
    (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  /* Its own clients have written to them. */
  ck_assert_int_eq (write_pattern (target_of (&rig, 0), 5, 8, 8), 0);
  ck_assert_int_eq (write_pattern (target_of (&rig, 1), 6, 24, 8), 0);
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 0, 40), 0);
  /* All, 1 and 2, all, 0 and 2, all. */
  ck_assert_uint_eq (count_events (&rig, rig.disk, FAULT_READ,
                                   fault_trace_count (rig.trace)),
                     5);
  assert_target_pattern (target_of (&rig, 0), 5, 8, 8);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 16, SECTORS - 16);
  assert_target_pattern (target_of (&rig, 1), BASE_SEED, 0, 24);
  assert_target_pattern (target_of (&rig, 1), 6, 24, 8);
  assert_frozen (target_of (&rig, 2));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (other_chunks_are_read_for_themselves)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  (void) rig_add (&rig, 8, 0);
  (void) rig_add (&rig, 32, 0);
  (void) rig_add (&rig, 8, 0);
  rig_add (&rig, 8, 0)->sectors = 100;
  rig_open (&rig);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 258, 1), 0);
  assert_trace (&rig, FAULT_READ, "origin read 256+3, origin read 256+3");
  /* What it does not show is not copied to it. */
  ck_assert_uint_eq (fault_bdev_calls (rig.snapshots[3].disk, FAULT_FLUSH), 0);
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 90, 10), 0);
  assert_trace (&rig, FAULT_READ, "origin read 88+16, origin read 64+64");
  for (i = 0; i < rig.count; ++i)
    assert_frozen (target_of (&rig, i));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (more_than_a_job_can_write_are_two)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  for (i = 0; i < KCOPYD_MAX_REGIONS + 1; ++i)
    (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 8, 8), 0);
  assert_trace (&rig, FAULT_READ, "origin read 8+8, origin read 8+8");
  assert_order (&rig);
  for (i = 0; i < rig.count; ++i)
    assert_frozen (target_of (&rig, i));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- errors ----------------------------------------------------------*/

/* Snapshot 1 of three is lost by failing OPS from SECTOR on, or a small
 * store, which is durable before the
 * write goes on; the others are as ever.
 */
static void
lose_one (unsigned ops, sector_t sector, sector_t cow_sectors)
{
  unsigned char header[SECTOR_SIZE];
  struct rig rig;

  rig_create (&rig);
  (void) rig_add (&rig, 8, 0);
  (void) rig_add (&rig, 8, cow_sectors);
  (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  if (ops != 0)
    fault_bdev_fail_range (rig.snapshots[1].disk, ops, sector, 300);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 17, 3), 0);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 3, 100, 3), 0);
  ck_assert (!snapshot_is_valid (rig.snapshots[1].snapshot));
  ck_assert_int_eq (target_read (target_of (&rig, 1), header, 0, 1), -EIO);
  fault_bdev_look_durable (rig.snapshots[1].disk, 0, 1, header);
  ck_assert_uint_eq (header[4], 0);
  assert_said ("the snapshot is invalid, the volume goes on");
  assert_frozen (target_of (&rig, 0));
  assert_frozen (target_of (&rig, 2));
  rig_close (&rig);
  fault_bdev_heal (rig.snapshots[1].disk);
  rig_open (&rig);
  ck_assert (!snapshot_is_valid (rig.snapshots[1].snapshot));
  assert_frozen (target_of (&rig, 0));
  assert_frozen (target_of (&rig, 2));
  rig_close (&rig);
  rig_destroy (&rig);
}

START_TEST (a_store_that_fails_is_given_up)
{
  lose_one (FAULT_WRITE | FAULT_ZERO, 16, 0); /* the data */
  lose_one (FAULT_WRITE | FAULT_ZERO, 8, 0);  /* the records, too */
}
END_TEST

START_TEST (a_store_that_is_full_is_given_up)
{
  /* Header, area, and one chunk. */
  lose_one (0, 0, 24);
}
END_TEST

/* A copy to some of them says which has failed. */
START_TEST (the_one_that_failed_is_given_up)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  for (i = 0; i < 3; ++i)
    (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  /* Number 0 has the first chunk, which number 1 cannot take. */
  ck_assert_int_eq (write_pattern (target_of (&rig, 0), 5, 16, 8), 0);
  fault_bdev_fail_range (rig.snapshots[1].disk, FAULT_WRITE, 16, 8);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 16, 16), 0);
  for (i = 0; i < 3; ++i)
    ck_assert (snapshot_is_valid (rig.snapshots[i].snapshot) == (i != 1));
  assert_target_pattern (target_of (&rig, 0), 5, 16, 8);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 24, 100);
  assert_frozen (target_of (&rig, 2));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/* A copy of several parts goes on for the others when one has failed. */
START_TEST (the_others_get_the_rest_of_a_copy)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  rig.sub_job_sectors = 8;
  for (i = 0; i < 3; ++i)
    (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  fault_bdev_fail_range (rig.snapshots[1].disk, FAULT_WRITE, 16, 8);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 0, 40), 0);
  for (i = 0; i < 3; ++i)
    ck_assert (snapshot_is_valid (rig.snapshots[i].snapshot) == (i != 1));
  assert_frozen (target_of (&rig, 0));
  assert_frozen (target_of (&rig, 2));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (what_cannot_be_recorded_stops_the_write)
{
  unsigned char data[8 * SECTOR_SIZE];
  struct rig rig;

  rig_create (&rig);
  (void) rig_add (&rig, 8, 0);
  (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  fault_bdev_fail_from (rig.snapshots[0].disk, FAULT_WRITE | FAULT_ZERO, 0);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 16, 8), -EIO);
  fault_bdev_look (rig.disk, 16, 8, data);
  assert_pattern (data, BASE_SEED, 16, 8);
  assert_frozen (target_of (&rig, 0));
  assert_frozen (target_of (&rig, 1));
  /* When it can be, it is. */
  fault_bdev_heal (rig.snapshots[0].disk);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 16, 8), 0);
  ck_assert (snapshot_is_valid (rig.snapshots[0].snapshot));
  assert_frozen (target_of (&rig, 0));
  assert_frozen (target_of (&rig, 1));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (an_origin_that_cannot_be_read_loses_them)
{
  struct rig rig;

  rig_create (&rig);
  (void) rig_add (&rig, 8, 0);
  (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  ck_assert_int_eq (write_pattern (target_of (&rig, 1), 5, 16, 8), 0);
  fault_bdev_fail_range (rig.disk, FAULT_READ, 16, 1);
  ck_assert_int_eq (write_pattern (origin_of (&rig), 2, 16, 8), 0);
  /* This one has got that chunk. */
  ck_assert (!snapshot_is_valid (rig.snapshots[0].snapshot));
  ck_assert (snapshot_is_valid (rig.snapshots[1].snapshot));
  assert_target_pattern (target_of (&rig, 1), 5, 16, 8);
  assert_said ("reading of chunks 2 to 2 from the volume failed");
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (there_is_an_end_to_their_number)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  /* The same one will do: nobody writes. */
  for (i = 1; i < DIRECT_SNAPSHOTS_MAX; ++i)
    ck_assert_int_eq (direct_snapshots_add (rig.direct,
                                            rig.snapshots[0].snapshot),
                      0);
  ck_assert_int_eq (direct_snapshots_add (rig.direct,
                                          rig.snapshots[0].snapshot),
                    -ENOSPC);
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- crashes ---------------------------------------------------------*/

/* Power is lost before step N of some writes; then each snapshot is what it
 * was.  Returns false if there is no such step.
 */
static bool
crash_at (unsigned n, struct chance *chance)
{
  static const struct {
    sector_t sector, count;
  } writes[] = { { 1, 1 }, { 30, 20 }, { 31, 2 }, { 258, 1 }, { 100, 100 } };
  uint64_t mask = chance_next (chance);
  bool was_cut;
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  (void) rig_add (&rig, 4, 0);
  (void) rig_add (&rig, 16, 0);
  (void) rig_add (&rig, 4, 0);
  rig_open (&rig);
  fault_trace_cut_power (rig.trace, FAULT_WRITE | FAULT_FLUSH | FAULT_ZERO, n);
  for (i = 0; i < ARRAY_COUNT (writes); ++i) {
    if (write_pattern (origin_of (&rig), 10 + i, writes[i].sector,
                       writes[i].count) < 0)
      break;
    /* One of them has something of its own, which the others must not get. */
    if (write_pattern (target_of (&rig, 0), 50, 64, 9) < 0)
      break;
  }
  was_cut = fault_trace_power_is_cut (rig.trace);
  rig_close (&rig);
  fault_bdev_crash (rig.disk, fault_keep_mask, &mask);
  for (i = 0; i < rig.count; ++i) {
    mask = chance_next (chance);
    fault_bdev_crash (rig.snapshots[i].disk, fault_keep_mask, &mask);
  }
  fault_trace_power_on (rig.trace);

  rig_open (&rig);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 0, 64);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 73, SECTORS - 73);
  assert_frozen (target_of (&rig, 1));
  assert_frozen (target_of (&rig, 2));
  if (!was_cut)
    assert_target_pattern (target_of (&rig, 0), 50, 64, 9);
  rig_close (&rig);
  rig_destroy (&rig);
  return was_cut;
}

START_TEST (a_crash_leaves_each_as_it_was)
{
  struct chance chance = chance_begin ("a_crash_leaves_each_as_it_was");
  unsigned n, round;

  for (round = 0; round < 5; ++round)
    for (n = 0; crash_at (n, &chance); ++n)
      ck_assert_uint_lt (n, 300);
  ck_assert_uint_gt (n, 40);
}
END_TEST

/* As crash_at, of a merge: snapshot 0 is folded into the origin that the
 * others are of.
 */
static bool
crash_merge_at (unsigned n, struct chance *chance)
{
  struct range_lock range_lock;
  struct merge *merge;
  uint64_t mask, bytes;
  bool was_cut;
  struct rig rig;
  unsigned i;
  int r = 1;

  rig_create (&rig);
  for (i = 0; i < 3; ++i)
    (void) rig_add (&rig, i == 1 ? 16 : 4, 0);
  rig_open (&rig);
  ck_assert_int_eq (write_pattern (target_of (&rig, 0), 50, 10, 30), 0);
  ck_assert_int_eq (write_pattern (target_of (&rig, 0), 50, 258, 1), 0);
  ck_assert_int_eq (target_flush (target_of (&rig, 0)), 0);
  rig_close (&rig);

  rig.is_merging = true;
  rig_open (&rig);
  range_lock_init (&range_lock);
  snapshot_leave (rig.snapshots[0].snapshot);
  ck_assert_int_eq (merge_create (rig.snapshots[0].snapshot, origin_of (&rig),
                                  &merge),
                    0);
  fault_trace_cut_power (rig.trace, FAULT_WRITE | FAULT_FLUSH | FAULT_ZERO, n);
  while (r > 0)
    r = merge_step (merge, &range_lock, &bytes);
  was_cut = fault_trace_power_is_cut (rig.trace);
  ck_assert ((r < 0) == was_cut);
  merge_destroy (merge);
  rig_close (&rig);
  for (i = 0; i <= rig.count; ++i) {
    mask = chance_next (chance);
    fault_bdev_crash (i < rig.count ? rig.snapshots[i].disk : rig.disk,
                      fault_keep_mask, &mask);
  }
  fault_trace_power_on (rig.trace);

  /* What is not merged yet is in the store; the others are as ever. */
  rig_open (&rig);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 0, 10);
  assert_target_pattern (target_of (&rig, 0), 50, 10, 30);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 40, 218);
  assert_target_pattern (target_of (&rig, 0), 50, 258, 1);
  assert_frozen (target_of (&rig, 1));
  assert_frozen (target_of (&rig, 2));
  if (!was_cut) {
    assert_target_pattern (origin_of (&rig), 50, 10, 30);
    assert_target_pattern (origin_of (&rig), 50, 258, 1);
  }
  rig_close (&rig);
  range_lock_destroy (&range_lock);
  rig_destroy (&rig);
  return was_cut;
}

START_TEST (a_crash_of_a_merge_leaves_the_others)
{
  struct chance chance = chance_begin ("a_crash_of_a_merge_leaves_the_others");
  unsigned n, round;

  for (round = 0; round < 5; ++round)
    for (n = 0; crash_merge_at (n, &chance); ++n)
      ck_assert_uint_lt (n, 300);
  ck_assert_uint_gt (n, 12);
}
END_TEST

/*----- several at once -------------------------------------------------*/

/* A client of snapshot 0 is copying a chunk, when the origin is written. */
START_TEST (a_copy_under_way_is_waited_for)
{
  unsigned char mine[8 * SECTOR_SIZE], theirs[8 * SECTOR_SIZE];
  struct call own = { .op = 'w', .buffer = mine, .sector = 16, .count = 1 };
  struct call write = { .op = 'w', .buffer = theirs, .sector = 16, .count = 8 };
  struct rig rig;

  rig_create (&rig);
  (void) rig_add (&rig, 8, 0);
  (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  fill_pattern (mine, 5, 16, 1);
  fill_pattern (theirs, 2, 16, 8);
  own.target = target_of (&rig, 0);
  write.target = origin_of (&rig);
  fault_bdev_gate_shut (rig.snapshots[0].disk, FAULT_WRITE, 0, 0);
  call_start (&own);
  fault_bdev_gate_wait (rig.snapshots[0].disk, 1);
  call_start (&write);
  /* It has got so far with the other one. */
  wait_until (fault_bdev_calls (rig.snapshots[1].disk, FAULT_FLUSH) > 0);
  ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_WRITE), 0);
  fault_bdev_gate_open (rig.snapshots[0].disk);
  ck_assert_int_eq (call_join (&own), 0);
  ck_assert_int_eq (call_join (&write), 0);
  assert_target_pattern (target_of (&rig, 0), 5, 16, 1);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 17, SECTORS - 17);
  assert_frozen (target_of (&rig, 1));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_read_that_is_under_way_holds_the_write)
{
  unsigned char got[8 * SECTOR_SIZE], theirs[8 * SECTOR_SIZE];
  struct call read = { .op = 'r', .buffer = got, .sector = 16, .count = 8 };
  struct call write = { .op = 'w', .buffer = theirs, .sector = 16, .count = 8 };
  struct rig rig;

  rig_create (&rig);
  (void) rig_add (&rig, 8, 0);
  (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  fill_pattern (theirs, 2, 16, 8);
  read.target = target_of (&rig, 1);
  write.target = origin_of (&rig);
  fault_bdev_gate_shut (rig.disk, FAULT_READ, 0, 0);
  call_start (&read);
  fault_bdev_gate_wait (rig.disk, 1);
  /* That one goes on waiting, later ones pass. */
  fault_bdev_gate_shut (rig.disk, FAULT_READ, 258, 1);
  call_start (&write);
  /* Both stores have the chunk, and still the read may need the origin. */
  wait_until (fault_bdev_calls (rig.snapshots[0].disk, FAULT_FLUSH) > 0 &&
              fault_bdev_calls (rig.snapshots[1].disk, FAULT_FLUSH) > 0);
  ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_WRITE), 0);
  fault_bdev_gate_open (rig.disk);
  ck_assert_int_eq (call_join (&read), 0);
  ck_assert_int_eq (call_join (&write), 0);
  assert_pattern (got, BASE_SEED, 16, 8);
  assert_frozen (target_of (&rig, 1));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

#define WRITERS 4
#define WRITES_EACH 60

struct writer {
  struct rig *rig;
  unsigned index;
  struct thread thread;
};

/* Sectors of its own, in chunks that are everybody's. */
static void
writer_main (void *arg)
{
  struct writer *w = arg;
  struct chance chance = { 100 + w->index };
  unsigned i;

  for (i = 0; i < WRITES_EACH; ++i) {
    sector_t sector = chance_below (&chance, SECTORS / WRITERS) * WRITERS +
                      w->index;

    /* The last one writes to a snapshot what it should be, all the same. */
    quick_assert (
      write_pattern (w->index == WRITERS - 1 ? target_of (w->rig, i % 3)
                                             : origin_of (w->rig),
                     w->index == WRITERS - 1 ? BASE_SEED : 2, sector, 1) == 0);
  }
}

START_TEST (writers_at_once_change_no_snapshot)
{
  struct writer writers[WRITERS];
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  (void) rig_add (&rig, 8, 0);
  (void) rig_add (&rig, 8, 0);
  (void) rig_add (&rig, 16, 0);
  rig_open (&rig);
  for (i = 0; i < WRITERS; ++i) {
    writers[i] = (struct writer){ .rig = &rig, .index = i };
    ck_assert_int_eq (thread_start (&writers[i].thread, "writer", writer_main,
                                    &writers[i]),
                      0);
  }
  for (i = 0; i < WRITERS; ++i)
    thread_join (&writers[i].thread);
  for (i = 0; i < rig.count; ++i)
    assert_frozen (target_of (&rig, i));
  rig_close (&rig);
  rig_open (&rig);
  for (i = 0; i < rig.count; ++i)
    assert_frozen (target_of (&rig, i));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_chunk_is_read_once_for_all,
    each_gets_what_it_lacks,
    other_chunks_are_read_for_themselves,
    more_than_a_job_can_write_are_two,
    a_store_that_fails_is_given_up,
    a_store_that_is_full_is_given_up,
    the_one_that_failed_is_given_up,
    the_others_get_the_rest_of_a_copy,
    what_cannot_be_recorded_stops_the_write,
    an_origin_that_cannot_be_read_loses_them,
    there_is_an_end_to_their_number,
    a_crash_leaves_each_as_it_was,
    a_crash_of_a_merge_leaves_the_others,
    a_copy_under_way_is_waited_for,
    a_read_that_is_under_way_holds_the_write,
    writers_at_once_change_no_snapshot,
    NULL,
  };

  return unit_main ("direct snapshots", tests);
}
