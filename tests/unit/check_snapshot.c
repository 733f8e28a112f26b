/* Unit tests of the origin and its snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The volume is one disk; each snapshot has a disk for its store.  All
 * share a trace, so the order in which the disks are used can be seen.
 */

#include <config.h>

#include <inttypes.h>

#include "exception-store.h"
#include "fault-alloc.h"
#include "snapshot.h"
#include "target-test.h"

#define SECTORS 259 /* the last chunk is short, whatever its size */
#define BASE_SEED 1
#define MAX_SNAPSHOTS 4
#define KCOPYD_PAGES 64

/*----- a volume with snapshots -----------------------------------------*/

struct rig_snapshot {
  struct fault_bdev *disk;
  unsigned open_flags; /* of fault_bdev_open */
  bool is_valid;
  bool is_read_only;
  bool is_fragile; /* will break */
  bool is_alone;   /* there is nobody to be told when it breaks */
  sector_t sectors;
  sector_t transient_chunk_sectors;
  enum on_cow_error on_cow_error;
  struct snapshot *snapshot;

  /* What the callback was told, and what it is to answer. */
  struct rig *rig;
  int broken_error;
  atomic_uint broken_calls;
  size_t broken_at; /* events in the trace before */
  char reason[512];
};

/* Snapshot 0 is the oldest. */
struct rig {
  struct fault_trace *trace;
  struct fault_bdev *disk;
  struct block_device *bdev;
  struct disk_target lower;
  struct origin *origin;
  struct kcopyd_client *kcopyd;
  unsigned count;
  struct rig_snapshot snapshots[MAX_SNAPSHOTS];
};

static int
note_broken (void *opaque, struct snapshot *snapshot, const char *reason)
{
  struct rig_snapshot *rs = opaque;

  if (snapshot != rs->snapshot)
    abort ();
  rs->broken_at = fault_trace_count (rs->rig->trace);
  (void) snprintf (rs->reason, sizeof rs->reason, "%s", reason);
  atomic_fetch_add (&rs->broken_calls, 1);
  if (rs->broken_error == 0)
    rs->is_valid = false;
  return rs->broken_error;
}

static void
rig_create (struct rig *rig)
{
  unsigned char data[SECTOR_SIZE];
  sector_t s;

  memset (rig, 0, sizeof *rig);
  rig->trace = fault_trace_create ();
  rig->disk = fault_bdev_create ("origin", SECTORS, rig->trace);
  for (s = 0; s < SECTORS; ++s) {
    fill_pattern (data, BASE_SEED, s, 1);
    fault_bdev_load (rig->disk, s, 1, data);
  }
}

/* One more snapshot, newer than the others; the rig is closed. */
static struct rig_snapshot *
rig_add (struct rig *rig, sector_t chunk_sectors, sector_t cow_sectors)
{
  struct rig_snapshot *rs = &rig->snapshots[rig->count++];
  struct block_device *cow;
  char name[8];

  ck_assert_uint_le (rig->count, MAX_SNAPSHOTS);
  (void) snprintf (name, sizeof name, "cow%u", rig->count - 1);
  if (cow_sectors == 0)
    cow_sectors = exception_store_full_size (STORE_PERSISTENT, SECTORS,
                                             chunk_sectors) +
                  64;
  rs->rig = rig;
  rs->is_valid = true;
  rs->disk = fault_bdev_create (name, cow_sectors, rig->trace);
  cow = fault_bdev_open (rs->disk, 0);
  ck_assert_int_eq (exception_store_format (cow, chunk_sectors), 0);
  bdev_close (cow);
  return rs;
}

static void
rig_open (struct rig *rig)
{
  struct target *above;
  unsigned i;

  rig->bdev = fault_bdev_open (rig->disk, 0);
  disk_target_init (&rig->lower, rig->bdev);
  ck_assert_int_eq (origin_create (&rig->lower.target, &rig->origin), 0);
  ck_assert_int_eq (kcopyd_client_create (KCOPYD_PAGES, &rig->kcopyd), 0);
  above = &rig->lower.target;
  for (i = rig->count; i-- > 0;) {
    struct rig_snapshot *rs = &rig->snapshots[i];
    struct snapshot_params params = {
      .name = "monday",
      .cow = fault_bdev_open (rs->disk, rs->open_flags),
      .is_valid = rs->is_valid,
      .is_read_only = rs->is_read_only,
      .transient_chunk_sectors = rs->transient_chunk_sectors,
      .on_cow_error = rs->on_cow_error,
      .broken = rs->is_alone ? NULL : note_broken,
      .opaque = rs,
      .origin = above,
      .sectors = rs->sectors,
    };

    ck_assert_int_eq (snapshot_open (&params, &rs->snapshot), 0);
    snapshot_set_kcopyd (rs->snapshot, rig->kcopyd);
    if (i + 1 < rig->count)
      snapshot_set_below (rig->snapshots[i + 1].snapshot, rs->snapshot);
    above = snapshot_view (rs->snapshot);
  }
  if (rig->count > 0)
    origin_set_snapshot (rig->origin, rig->snapshots[rig->count - 1].snapshot);
}

static void
rig_close (struct rig *rig)
{
  unsigned i;

  kcopyd_client_destroy (rig->kcopyd);
  for (i = 0; i < rig->count; ++i) {
    snapshot_close (rig->snapshots[i].snapshot);
    rig->snapshots[i].snapshot = NULL;
  }
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

/* One more, of which nothing is to be found after rig_close. */
static struct rig_snapshot *
rig_add_transient (struct rig *rig, sector_t chunk_sectors,
                   sector_t cow_sectors)
{
  struct rig_snapshot *rs = &rig->snapshots[rig->count++];

  ck_assert_uint_le (rig->count, MAX_SNAPSHOTS);
  rs->rig = rig;
  rs->is_valid = true;
  rs->transient_chunk_sectors = chunk_sectors;
  rs->disk = fault_bdev_create ("cow", cow_sectors, rig->trace);
  return rs;
}

/* One snapshot, of 8-sector chunks, and open. */
static struct rig_snapshot *
rig_simple (struct rig *rig, enum on_cow_error on_cow_error)
{
  struct rig_snapshot *rs;

  rig_create (rig);
  rs = rig_add (rig, 8, 0);
  rs->on_cow_error = on_cow_error;
  rig_open (rig);
  fault_trace_reset (rig->trace);
  return rs;
}

static struct target *
volume_of (struct rig *rig)
{
  return origin_target (rig->origin);
}

static struct target *
target_of (struct rig *rig, unsigned i)
{
  return snapshot_target (rig->snapshots[i].snapshot);
}

static int
write_pattern (struct target *t, uint64_t seed, sector_t sector, sector_t count)
{
  unsigned char *data = test_alloc_sectors (count);
  int r;

  fill_pattern (data, seed, sector, count);
  r = target_write (t, data, sector, count, 0);
  free (data);
  return r;
}

#define assert_target_pattern(t, seed, sector, count) \
  do { \
    unsigned char *data_ = test_alloc_sectors (count); \
    ck_assert_int_eq (target_read ((t), data_, (sector), (count)), 0); \
    assert_pattern (data_, (seed), (sector), (count)); \
    free (data_); \
  } while (0)

/* Is the whole of the target as the base was? */
#define assert_frozen(t) assert_target_pattern (t, BASE_SEED, 0, SECTORS)

#define assert_trace(rig, ops, expected) \
  do { \
    char *text_ = fault_trace_text ((rig)->trace, (ops)); \
    ck_assert_str_eq (text_, (expected)); \
    free (text_); \
  } while (0)

/* The number of the first event of these kinds on DISK, or the count. */
static size_t
first_event (struct rig *rig, const struct fault_bdev *disk, unsigned ops)
{
  size_t n = fault_trace_count (rig->trace), i;

  for (i = 0; i < n; ++i) {
    struct fault_event e = fault_trace_event (rig->trace, i);

    if (e.disk == disk && (e.op & ops))
      break;
  }
  return i;
}

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
  rig_close (&rig);
  rig_destroy (&rig);
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
  rig_close (&rig);
  rig_destroy (&rig);
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

  rig_create (&rig);
  (void) rig_add (&rig, 4, 0);
  (void) rig_add (&rig, 16, 0);
  rig_open (&rig);
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
  rig_close (&rig);
  rig_destroy (&rig);
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

START_TEST (two_writers_to_one_chunk_join)
{
  unsigned char data[SECTOR_SIZE] = { 0 };
  struct rig_snapshot *rs;
  struct call a = { .op = 'w', .buffer = data, .sector = 8, .count = 1 };
  struct call b = { .op = 'w', .buffer = data, .sector = 13, .count = 1 };
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  a.target = b.target = volume_of (&rig);
  fault_bdev_gate_shut (rs->disk, FAULT_WRITE, 16, 8);
  call_start (&a);
  fault_bdev_gate_wait (rs->disk, 1);
  call_start (&b);
  short_wait ();
  ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_WRITE), 0);
  fault_bdev_gate_open (rs->disk);
  ck_assert_int_eq (call_join (&a), 0);
  ck_assert_int_eq (call_join (&b), 0);
  ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_READ), 1);
  ck_assert_uint_eq (fault_bdev_calls (rs->disk, FAULT_FLUSH), 1);
  assert_frozen (target_of (&rig, 0));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/* Who waited for a copy that failed makes one of its own. */
START_TEST (a_failed_copy_is_tried_again_by_who_waited)
{
  unsigned char data[SECTOR_SIZE] = { 0 };
  struct rig_snapshot *rs;
  struct call a = { .op = 'w', .buffer = data, .sector = 8, .count = 1 };
  struct call b = { .op = 'w', .buffer = data, .sector = 13, .count = 1 };
  struct rig rig;

  rs = rig_simple (&rig, BREAK_GUEST_WRITE);
  a.target = b.target = volume_of (&rig);
  fault_bdev_gate_shut (rs->disk, FAULT_WRITE, 16, 8);
  fault_bdev_fail_once (rs->disk, FAULT_WRITE, 0);
  call_start (&a);
  fault_bdev_gate_wait (rs->disk, 1);
  call_start (&b);
  short_wait ();
  fault_bdev_gate_open (rs->disk);
  ck_assert_int_eq (call_join (&a), -EIO);
  ck_assert_int_eq (call_join (&b), 0);
  ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_WRITE), 1);
  assert_frozen (target_of (&rig, 0));
  rig_close (&rig);
  rig_open (&rig);
  assert_frozen (target_of (&rig, 0));
  rig_close (&rig);
  rig_destroy (&rig);
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
  unsigned i;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  read.target = target_of (&rig, 0);
  write.target = volume_of (&rig);
  fill_pattern (new, 2, 8, 1);
  fault_bdev_gate_shut (rig.disk, FAULT_READ, 8, 8);
  call_start (&read);
  fault_bdev_gate_wait (rig.disk, 1);
  fault_bdev_gate_shut (rig.disk, 0, 0, 0); /* for all but that read */
  call_start (&write);
  wait_until (first_event (&rig, rs->disk, FAULT_FLUSH) <
              fault_trace_count (rig.trace));
  wait_until (fault_bdev_calls (rs->disk, FAULT_WRITE) >= 3);
  for (i = 0; i < 10; ++i)
    short_wait ();
  ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_WRITE), 0);
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
  rig_close (&rig);
  rig_destroy (&rig);
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
  fault_bdev_gate_shut (rig.disk, FAULT_READ, 8, 8);
  call_start (&read);
  fault_bdev_gate_wait (rig.disk, 1);
  fault_bdev_gate_shut (rig.disk, 0, 0, 0);
  fault_bdev_fail_from (rs->disk, FAULT_WRITE, 0);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 8, 1), 0);
  fault_bdev_gate_open (rig.disk);
  ck_assert_int_eq (call_join (&read), -EIO);
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/* Older snapshots read through newer ones; their reads hold writes, too. */
START_TEST (a_read_through_the_chain_holds_the_write)
{
  unsigned char old[8 * SECTOR_SIZE], new[SECTOR_SIZE];
  struct call read = { .op = 'r', .buffer = old, .sector = 8, .count = 8 };
  struct call write = { .op = 'w', .buffer = new, .sector = 8, .count = 1 };
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  (void) rig_add (&rig, 4, 0);
  (void) rig_add (&rig, 8, 0);
  rig_open (&rig);
  read.target = target_of (&rig, 0);
  write.target = volume_of (&rig);
  fill_pattern (new, 2, 8, 1);
  fault_bdev_gate_shut (rig.disk, FAULT_READ, 8, 8);
  call_start (&read);
  fault_bdev_gate_wait (rig.disk, 1);
  fault_bdev_gate_shut (rig.disk, 0, 0, 0);
  call_start (&write);
  wait_until (fault_bdev_calls (rig.snapshots[1].disk, FAULT_WRITE) >= 3);
  for (i = 0; i < 10; ++i)
    short_wait ();
  ck_assert_uint_eq (fault_bdev_calls (rig.disk, FAULT_WRITE), 0);
  fault_bdev_gate_open (rig.disk);
  ck_assert_int_eq (call_join (&read), 0);
  ck_assert_int_eq (call_join (&write), 0);
  assert_pattern (old, BASE_SEED, 8, 8);
  assert_frozen (target_of (&rig, 0));
  /* A chunk of the volume is copied once, into the newest. */
  ck_assert_uint_eq (fault_bdev_calls (rig.snapshots[0].disk,
                                       FAULT_WRITE | FAULT_FLUSH),
                     1);
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- when a copy fails -----------------------------------------------*/

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
    rig_close (&rig);
    rig_destroy (&rig);
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
    ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 34, 1), -EROFS);
    ck_assert_uint_eq (atomic_load (&rs->broken_calls), 1);
    assert_said ("cannot be recorded");
    ck_assert (snapshot_is_valid (rs->snapshot));
    heal_all (&rig);
    assert_target_pattern (volume_of (&rig), BASE_SEED, 34, 1);
    assert_frozen (target_of (&rig, 0));
    rig_close (&rig);
    rig_open (&rig);
    ck_assert_msg (snapshot_is_valid (rs->snapshot),
                   "lost at the next start, kind %d", (int) kind);
    assert_frozen (target_of (&rig, 0));
    rig_close (&rig);
    rig_destroy (&rig);
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
    rig_close (&rig);
    rig_destroy (&rig);
  }
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
  rig_close (&rig);
  rig_destroy (&rig);
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
    rig_close (&rig);
    rig_open (&rig);
    ck_assert (snapshot_is_valid (rs->snapshot));
    assert_frozen (target_of (&rig, 0));
    if (kind != FULL_STORE) {
      ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 34, 1), 0);
      assert_frozen (target_of (&rig, 0));
    }
    rig_close (&rig);
    rig_destroy (&rig);
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
  rig_close (&rig);
  rig_open (&rig);
  ck_assert_int_eq (target_read (target_of (&rig, 0), data, 0, 1), -EIO);
  rig_close (&rig);
  rig_destroy (&rig);
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
    rig_close (&rig);
    rig_destroy (&rig);
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
      rig_close (&rig);
      rig_open (&rig);
      assert_frozen (target_of (&rig, 0));
      ck_assert_int_eq (target_write (volume_of (&rig), data, 36, 8, 0), 0);
      assert_frozen (target_of (&rig, 0));
    }
    rig_close (&rig);
    rig_destroy (&rig);
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
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- writing to snapshots --------------------------------------------*/

START_TEST (a_snapshot_can_be_written)
{
  struct rig rig;
  struct target *old, *new;

  rig_create (&rig);
  (void) rig_add (&rig, 4, 0);
  (void) rig_add (&rig, 16, 0);
  rig_open (&rig);
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
  rig_close (&rig);
  rig_open (&rig);
  assert_target_pattern (target_of (&rig, 1), 7, 18, 1);
  assert_target_pattern (target_of (&rig, 0), 10, SECTORS - 1, 1);
  assert_target_pattern (target_of (&rig, 0), BASE_SEED, 0, SECTORS - 1);
  rig_close (&rig);
  rig_destroy (&rig);
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
  rig_close (&rig);
  rig_destroy (&rig);
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
  rig_close (&rig);
  rig_destroy (&rig);
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
  rig_close (&rig);
  rig_destroy (&rig);
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
  rig_close (&rig);
  rig_open (&rig);
  snapshot_get_status (rs->snapshot, &status);
  ck_assert_uint_eq (status.chunks, 3);
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- opening ---------------------------------------------------------*/

START_TEST (open_refuses_a_damaged_store_and_leaves_it)
{
  struct rig_snapshot *rs;
  unsigned char sector[SECTOR_SIZE] = { 0 };
  struct disk_target lower;
  struct block_device *bdev, *cow;
  struct snapshot *s = NULL;
  struct rig rig;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  rig_close (&rig);
  bdev = fault_bdev_open (rig.disk, 0);
  disk_target_init (&lower, bdev);
  cow = fault_bdev_open (rs->disk, 0);
  /* A record of a chunk behind the end of the origin. */
  memcpy (sector, &(uint64_t){ (SECTORS + 7) / 8 }, 8);
  memcpy (sector + 8, &(uint64_t){ 2 }, 8);
  fault_bdev_load (rs->disk, 8, 1, sector);
  capture_messages ();
  ck_assert_int_eq (
    snapshot_open (&(struct snapshot_params){ .name = "x",
                                              .cow = cow,
                                              .is_valid = true,
                                              .broken = note_broken,
                                              .opaque = rs,
                                              .origin = &lower.target },
                   &s),
    -EINVAL);
  assert_said ("E: cow0: record 0: old chunk 33 is outside the volume");
  ck_assert_uint_eq (fault_bdev_open_count (rs->disk), 1);
  fault_bdev_fail_from (rs->disk, FAULT_READ, 0);
  ck_assert_int_eq (
    snapshot_open (&(struct snapshot_params){ .name = "x",
                                              .cow = cow,
                                              .is_valid = true,
                                              .broken = note_broken,
                                              .opaque = rs,
                                              .origin = &lower.target },
                   &s),
    -EIO);
  ck_assert_uint_eq (fault_bdev_open_count (rs->disk), 1);
  bdev_close (cow);
  bdev_close (bdev);
  snapshot_close (NULL);
  rig_destroy (&rig);
}
END_TEST

START_TEST (open_survives_want_of_memory)
{
  struct rig_snapshot *rs;
  struct disk_target lower;
  struct block_device *bdev, *cow, *reader = NULL;
  struct snapshot *s = NULL;
  struct origin *origin = NULL;
  struct rig rig;
  unsigned k, failed = 1;
  int r, bdev_r;

  rs = rig_simple (&rig, BREAK_SNAPSHOT);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 0, 20), 0);
  rig_close (&rig);
  bdev = fault_bdev_open (rig.disk, 0);
  disk_target_init (&lower, bdev);
  cow = fault_bdev_open (rs->disk, 0);
  for (k = 0; failed > 0; ++k) {
    struct snapshot_params params = { .name = "x",
                                      .cow = cow,
                                      .is_valid = true,
                                      .broken = note_broken,
                                      .opaque = rs,
                                      .origin = &lower.target };

    ck_assert_uint_lt (k, 50);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = snapshot_open (&params, &s);
    failed = fault_alloc_stop ();
    ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
  }
  ck_assert_uint_gt (k, 5);
  snapshot_close (s);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  r = origin_create (&lower.target, &origin);
  bdev_r = target_bdev_create (&lower.target, &reader);
  (void) fault_alloc_stop ();
  ck_assert_int_eq (r, -ENOMEM);
  ck_assert_int_eq (bdev_r, -ENOMEM);
  bdev_close (bdev);
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
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- chains against a model ------------------------------------------*/

#define DEVICES (MAX_SNAPSHOTS + 1) /* snapshots, then the volume */
#define VOLUME MAX_SNAPSHOTS
#define THREADS 4
#define GROUP 3 /* neighbouring sectors belong to one thread */

/* What each sector of each device holds: the seed of its pattern, or
 * ZEROES.  A sector belongs to one thread while threads run.
 */
#define ZEROES 0
struct model {
  uint64_t seeds[DEVICES][SECTORS];
};

struct writer {
  struct thread thread;
  struct rig *rig;
  struct model *model;
  struct chance chance;
  unsigned number;
  unsigned operations;
  unsigned wrong; /* the line where something was, or 0 */
};

static atomic_ullong last_seed = 1000;

static bool
holds (const unsigned char *data, uint64_t seed, sector_t sector)
{
  return seed == ZEROES ? first_other_byte (data, 0, SECTOR_SIZE) == SECTOR_SIZE
                        : first_wrong_sector (data, seed, sector, 1) > sector;
}

/* Read and compare.  A broken snapshot may say -EIO. */
static bool
read_ibdev_right (struct rig *rig, const struct model *model, unsigned device,
                  sector_t sector, sector_t count)
{
  unsigned char data[GROUP * THREADS * 8 * SECTOR_SIZE];
  struct target *t = device == VOLUME ? volume_of (rig)
                                      : target_of (rig, device);
  sector_t i;
  int r = target_read (t, data, sector, count);

  if (r == -EIO && device != VOLUME &&
      !snapshot_is_valid (rig->snapshots[device].snapshot))
    return true;
  for (i = 0; r == 0 && i < count; ++i)
    if (!holds (data + i * SECTOR_SIZE, model->seeds[device][sector + i],
                sector + i))
      return false;
  return r == 0;
}

/* One random operation of a thread, on its own sectors. */
static bool
random_operation (struct writer *w)
{
  struct chance *c = &w->chance;
  sector_t groups = SECTORS / GROUP;
  sector_t group = chance_below (c, groups / THREADS) * THREADS + w->number;
  sector_t sector = group * GROUP + chance_below (c, GROUP);
  sector_t count = 1 + chance_below (c, (group + 1) * GROUP - sector);
  unsigned device = chance_below (c, 3) == 0 && w->rig->count > 0
                      ? (unsigned) chance_below (c, w->rig->count)
                      : VOLUME;
  struct target *t = device == VOLUME ? volume_of (w->rig)
                                      : target_of (w->rig, device);
  bool is_read_only = device != VOLUME &&
                      w->rig->snapshots[device].is_read_only;
  unsigned what = (unsigned) chance_below (c, 10);
  uint64_t seed = ZEROES;
  sector_t i;
  int r;

  /* Failed writes leave what the model cannot tell: none to this one. */
  if (what >= 4 && device != VOLUME && w->rig->snapshots[device].is_fragile) {
    device = VOLUME;
    t = volume_of (w->rig);
  }
  if (is_read_only) {
    /* Nobody writes it, so all of it can be looked at. */
    sector = chance_below (c, SECTORS);
    count = 1 + chance_below (c, GROUP * THREADS * 8);
    count = MIN_OF (count, SECTORS - sector);
    return read_ibdev_right (w->rig, w->model, device, sector, count);
  }
  if (what < 4)
    return read_ibdev_right (w->rig, w->model, device, sector, count);
  if (what < 9) {
    seed = atomic_fetch_add (&last_seed, 1);
    r = write_pattern (t, seed, sector, count);
  }
  else
    r = target_zero (t, sector, count, what % 2 ? BDEV_UNMAP : 0);
  for (i = 0; i < count; ++i)
    w->model->seeds[device][sector + i] = seed;
  if (r)
    fprintf (stderr, "r=%d dev %u %u+%u\n", r, device, (unsigned) sector,
             (unsigned) count);
  return r == 0 || (r == -EIO && device != VOLUME &&
                    !snapshot_is_valid (w->rig->snapshots[device].snapshot));
}

static void
writer_main (void *arg)
{
  struct writer *w = arg;

  while (w->operations-- > 0 && w->wrong == 0)
    if (!random_operation (w)) {
      fprintf (stderr, "wrong\n");
      w->wrong = __LINE__;
    }
}

static void
run_writers (struct rig *rig, struct model *model, struct chance *chance,
             unsigned operations)
{
  struct writer w[THREADS];
  unsigned i;

  for (i = 0; i < THREADS; ++i) {
    w[i] = (struct writer){
      .rig = rig,
      .model = model,
      .chance = { chance_next (chance) },
      .number = i,
      .operations = operations,
    };
    ck_assert_int_eq (thread_start (&w[i].thread, "writer", writer_main, &w[i]),
                      0);
  }
  for (i = 0; i < THREADS; ++i)
    thread_join (&w[i].thread);
  for (i = 0; i < THREADS; ++i)
    ck_assert_uint_eq (w[i].wrong, 0);
}

static void
check_model (struct rig *rig, const struct model *model)
{
  unsigned device;
  sector_t s;

  for (device = 0; device < DEVICES; ++device) {
    if (device < VOLUME && device >= rig->count)
      continue;
    for (s = 0; s < SECTORS; ++s)
      ck_assert_msg (read_ibdev_right (rig, model, device, s, 1),
                     "device %u, sector %u", device, (unsigned) s);
  }
}

/* Take a snapshot: close, add, open. */
static struct rig_snapshot *
take_snapshot (struct rig *rig, struct model *model, sector_t chunk_sectors,
               sector_t cow_sectors)
{
  struct rig_snapshot *rs;

  rig_close (rig);
  rs = rig_add (rig, chunk_sectors, cow_sectors);
  memcpy (model->seeds[rig->count - 1], model->seeds[VOLUME],
          sizeof model->seeds[VOLUME]);
  return rs;
}

static void
chain_against_model (struct chance *chance)
{
  static const sector_t chunks[] = { 1, 2, 4, 8, 16, 32 };
  static struct model model;
  struct rig_snapshot *rs;
  struct rig rig;
  unsigned i;
  sector_t s;

  for (s = 0; s < SECTORS; ++s)
    model.seeds[VOLUME][s] = BASE_SEED;
  rig_create (&rig);
  rig_open (&rig);
  for (i = 0; i < 3; ++i) {
    run_writers (&rig, &model, chance, 60);
    rs = take_snapshot (&rig, &model,
                        chunks[chance_below (chance, ARRAY_COUNT (chunks))], 0);
    rs->is_read_only = i == 0 && chance_below (chance, 2) == 0;
    rig_open (&rig);
  }
  run_writers (&rig, &model, chance, 200);
  check_model (&rig, &model);
  rig_close (&rig);
  rig_open (&rig);
  check_model (&rig, &model);
  run_writers (&rig, &model, chance, 60);
  check_model (&rig, &model);

  /* One more, that breaks: by want of room, or by a failing disk. */
  if (chance_below (chance, 2) == 0) {
    rs = take_snapshot (&rig, &model, 8, 10 * 8);
    rs->is_fragile = true;
    rig_open (&rig);
    run_writers (&rig, &model, chance, 200);
  }
  else {
    rs = take_snapshot (&rig, &model,
                        chunks[chance_below (chance, ARRAY_COUNT (chunks))], 0);
    rs->is_fragile = true;
    rig_open (&rig);
    fault_bdev_fail_from (rs->disk, FAULT_WRITE | FAULT_FLUSH | FAULT_ZERO,
                          (unsigned) chance_below (chance, 20));
    run_writers (&rig, &model, chance, 200);
  }
  /* If chance has spared it so far, this breaks it. */
  ck_assert_int_eq (write_pattern (volume_of (&rig), 77, 0, SECTORS), 0);
  for (s = 0; s < SECTORS; ++s)
    model.seeds[VOLUME][s] = 77;
  fault_bdev_heal (rs->disk);
  ck_assert (!snapshot_is_valid (rig.snapshots[3].snapshot));
  for (i = 0; i < 3; ++i)
    ck_assert (snapshot_is_valid (rig.snapshots[i].snapshot));
  check_model (&rig, &model);
  rig_close (&rig);
  rig_open (&rig);
  check_model (&rig, &model);
  run_writers (&rig, &model, chance, 100);
  check_model (&rig, &model);
  rig_close (&rig);
  rig_open (&rig);
  check_model (&rig, &model);
  rig_close (&rig);
  rig_destroy (&rig);
}

START_TEST (chains_are_as_the_model)
{
  struct chance chance = chance_begin ("chains_are_as_the_model");
  const char *text = getenv ("UNIT_ROUNDS");
  unsigned round, rounds = text != NULL ? (unsigned) atoi (text) : 10;

  for (round = 0; round < rounds; ++round)
    chain_against_model (&chance);
}
END_TEST

/* The newest snapshot is full at once, so chunks go to older ones; what
 * the broken one holds stays theirs.
 */
START_TEST (older_snapshots_survive_the_newest)
{
  unsigned char data[SECTOR_SIZE];
  struct rig rig;

  rig_create (&rig);
  (void) rig_add (&rig, 2, 0);
  (void) rig_add (&rig, 16, 3 * 16);
  rig_open (&rig);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 17, 1), 0);
  ck_assert (snapshot_is_valid (rig.snapshots[1].snapshot));
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 0, SECTORS), 0);
  ck_assert (!snapshot_is_valid (rig.snapshots[1].snapshot));
  ck_assert (snapshot_is_valid (rig.snapshots[0].snapshot));
  assert_frozen (target_of (&rig, 0));
  /* Chunk 1 is in the broken one only. */
  assert_target_pattern (snapshot_view (rig.snapshots[1].snapshot), BASE_SEED,
                         16, 16);
  ck_assert_int_eq (target_read (target_of (&rig, 1), data, 16, 1), -EIO);
  rig_close (&rig);
  rig_open (&rig);
  assert_frozen (target_of (&rig, 0));
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 0, SECTORS), 0);
  assert_frozen (target_of (&rig, 0));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- transient snapshots ---------------------------------------------*/

START_TEST (a_transient_snapshot_is_copied_and_never_flushed)
{
  unsigned char data[SECTOR_SIZE] = "";
  struct snapshot_status status;
  struct rig_snapshot *rs;
  struct rig rig;

  rig_create (&rig);
  rs = rig_add_transient (&rig, 8, SECTORS);
  rig_open (&rig);
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 17, 3), 0);
  assert_trace (&rig, FAULT_ALL,
                "origin read 16+8, cow write 0+8, origin write 17+3");
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 16, 8), 0);
  assert_trace (&rig, FAULT_ALL, "origin write 16+8");
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 4, 0, 1), 0);
  assert_trace (&rig, FAULT_ALL,
                "origin read 0+8, cow write 8+8, origin write 0+1");
  assert_frozen (target_of (&rig, 0));

  /* Its own clients' requests are as little durable. */
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (target_write (target_of (&rig, 0), data, 18, 1, BDEV_FUA),
                    0);
  ck_assert_int_eq (target_zero (target_of (&rig, 0), 19, 1, BDEV_FUA), 0);
  ck_assert_int_eq (target_flush (target_of (&rig, 0)), 0);
  ck_assert_int_eq (snapshot_settle (rs->snapshot), 0);
  assert_trace (&rig, FAULT_ALL, "cow write 2+1, cow zero 3+1");
  snapshot_get_status (rs->snapshot, &status);
  ck_assert_uint_eq (status.chunks, 2);
  ck_assert_uint_eq (status.used_sectors, 16);
  ck_assert_uint_eq (status.metadata_sectors, 0);
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/* A chain of TRANSIENT ones, of which the newest holds two chunks. */
static void
fill_up (struct rig *rig, enum on_cow_error on_cow_error)
{
  rig_create (rig);
  (void) rig_add_transient (rig, 8, SECTORS);
  rig_add_transient (rig, 8, 2 * 8)->on_cow_error = on_cow_error;
  rig_open (rig);
  ck_assert_int_eq (write_pattern (volume_of (rig), 2, 16, 1), 0);
  ck_assert_int_eq (write_pattern (volume_of (rig), 2, 40, 1), 0);
  fault_trace_reset (rig->trace);
}

START_TEST (a_full_transient_store_breaks_its_snapshot_only)
{
  unsigned char data[SECTOR_SIZE];
  struct rig rig;

  fill_up (&rig, BREAK_SNAPSHOT);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 80, 1), 0);
  /* That it is invalid is nowhere but in memory. */
  assert_trace (&rig, FAULT_ALL,
                "origin read 80+8, cow write 0+8, origin write 80+1");
  ck_assert_uint_eq (atomic_load (&rig.snapshots[1].broken_calls), 1);
  ck_assert_ptr_nonnull (strstr (rig.snapshots[1].reason, "is full"));
  ck_assert_int_eq (target_read (target_of (&rig, 1), data, 16, 1), -EIO);
  /* What it had is read through it. */
  assert_frozen (target_of (&rig, 0));
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 0, SECTORS), 0);
  assert_frozen (target_of (&rig, 0));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_full_transient_store_may_break_the_write)
{
  struct rig rig;

  fill_up (&rig, BREAK_GUEST_WRITE);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 80, 1), -ENOSPC);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 16, 8), 0);
  assert_trace (&rig, FAULT_ALL, "origin write 16+8");
  assert_frozen (target_of (&rig, 1));
  assert_frozen (target_of (&rig, 0));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_transient_store_that_fails_is_as_any_other)
{
  struct rig rig;

  rig_create (&rig);
  (void) rig_add_transient (&rig, 8, SECTORS);
  (void) rig_add_transient (&rig, 8, SECTORS);
  rig_open (&rig);
  fault_bdev_fail_once (rig.snapshots[1].disk, FAULT_WRITE, 1);
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 0, 1), 0);
  ck_assert (snapshot_is_valid (rig.snapshots[1].snapshot));
  ck_assert_int_eq (write_pattern (volume_of (&rig), 2, 8, 1), 0);
  ck_assert (!snapshot_is_valid (rig.snapshots[1].snapshot));
  ck_assert_int_eq (write_pattern (volume_of (&rig), 3, 0, SECTORS), 0);
  assert_frozen (target_of (&rig, 0));
  rig_close (&rig);
  rig_destroy (&rig);
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
    break_snapshot_saves_the_write,
    what_cannot_be_recorded_as_broken_stays,
    a_store_that_is_alone_must_remember,
    less_than_the_origin_can_be_seen,
    break_guest_write_saves_the_snapshot,
    a_dead_store_breaks_by_the_manifest,
    a_failed_write_to_a_snapshot_breaks_nothing,
    want_of_memory_spoils_no_store,
    read_errors_are_told,
    a_snapshot_can_be_written,
    a_read_only_snapshot_refuses_writes,
    zeroing_a_snapshot,
    extents_tell_of_holes,
    status_tells_what_is_used,
    open_refuses_a_damaged_store_and_leaves_it,
    open_survives_want_of_memory,
    a_target_can_be_read_as_a_device,
    older_snapshots_survive_the_newest,
    chains_are_as_the_model,
    a_transient_snapshot_is_copied_and_never_flushed,
    a_full_transient_store_breaks_its_snapshot_only,
    a_full_transient_store_may_break_the_write,
    a_transient_store_that_fails_is_as_any_other,
    NULL,
  };

  return unit_main ("snapshot", tests);
}
