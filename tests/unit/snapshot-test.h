/* What the tests of snapshots share: a volume whose disks can fail.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The volume is one disk; each snapshot has a disk for its store.  All
 * share a trace, so the order in which the disks are used can be seen.
 */

#ifndef DM_SNAPSHOT_TEST_H
#define DM_SNAPSHOT_TEST_H

#include "bdev-target.h"
#include "exception-store.h"
#include "snapshot.h"
#include "target-pattern.h"

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
  struct bdev_target lower;
  struct origin *origin;
  struct kcopyd_client *kcopyd;
  unsigned count;
  struct rig_snapshot snapshots[MAX_SNAPSHOTS];
};

static inline int
note_broken (void *opaque, struct snapshot *snapshot, enum snapshot_loss loss,
             const char *reason)
{
  struct rig_snapshot *rs = opaque;

  if (snapshot != rs->snapshot)
    abort ();
  rs->broken_at = fault_trace_count (rs->rig->trace);
  (void) snprintf (rs->reason, sizeof rs->reason, "%s", reason);
  atomic_fetch_add (&rs->broken_calls, 1);
  if (rs->broken_error == 0)
    rs->is_valid = false;
  return loss == LOSS_IS_MARKED ? 0 : rs->broken_error;
}

static inline void
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

/* The place of one more, the newest. */
static inline struct rig_snapshot *
rig_next (struct rig *rig)
{
  struct rig_snapshot *rs = &rig->snapshots[rig->count++];

  ck_assert_uint_le (rig->count, MAX_SNAPSHOTS);
  rs->rig = rig;
  rs->is_valid = true;
  return rs;
}

/* One more snapshot, newer than the others; the rig is closed. */
static inline struct rig_snapshot *
rig_add (struct rig *rig, sector_t chunk_sectors, sector_t cow_sectors)
{
  struct rig_snapshot *rs = rig_next (rig);
  struct block_device *cow;
  char name[8];

  (void) snprintf (name, sizeof name, "cow%u", rig->count - 1);
  if (cow_sectors == 0)
    cow_sectors = exception_store_full_size (STORE_PERSISTENT, SECTORS,
                                             chunk_sectors) +
                  64;
  rs->disk = fault_bdev_create (name, cow_sectors, rig->trace);
  cow = fault_bdev_open (rs->disk, 0);
  ck_assert_int_eq (exception_store_format (cow, chunk_sectors), 0);
  bdev_close (cow);
  return rs;
}

/* One more, of which nothing is to be found after rig_close. */
static inline struct rig_snapshot *
rig_add_transient (struct rig *rig, sector_t chunk_sectors,
                   sector_t cow_sectors)
{
  struct rig_snapshot *rs = rig_next (rig);

  rs->transient_chunk_sectors = chunk_sectors;
  rs->disk = fault_bdev_create ("cow", cow_sectors, rig->trace);
  return rs;
}

static inline void
rig_open (struct rig *rig)
{
  struct target *above;
  unsigned i;

  rig->bdev = fault_bdev_open (rig->disk, 0);
  bdev_target_init (&rig->lower, rig->bdev);
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

static inline void
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

static inline void
rig_destroy (struct rig *rig)
{
  unsigned i;

  for (i = 0; i < rig->count; ++i)
    fault_bdev_destroy (rig->snapshots[i].disk);
  fault_bdev_destroy (rig->disk);
  fault_trace_destroy (rig->trace);
}

/* As a server that stops, and starts again. */
static inline void
rig_reopen (struct rig *rig)
{
  rig_close (rig);
  rig_open (rig);
}

/* Close it and destroy it. */
static inline void
rig_finish (struct rig *rig)
{
  rig_close (rig);
  rig_destroy (rig);
}

/* One snapshot, of 8-sector chunks, and open. */
static inline struct rig_snapshot *
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

/* Two snapshots, the older one first, and open. */
static inline void
rig_pair (struct rig *rig, sector_t old_chunk_sectors,
          sector_t new_chunk_sectors)
{
  rig_create (rig);
  (void) rig_add (rig, old_chunk_sectors, 0);
  (void) rig_add (rig, new_chunk_sectors, 0);
  rig_open (rig);
  fault_trace_reset (rig->trace);
}

static inline struct target *
volume_of (struct rig *rig)
{
  return origin_target (rig->origin);
}

static inline struct target *
target_of (struct rig *rig, unsigned i)
{
  return snapshot_target (rig->snapshots[i].snapshot);
}

/*----- what is in it ---------------------------------------------------*/

/* Is the whole of the target as the base was? */
#define assert_frozen(t) assert_target_pattern (t, BASE_SEED, 0, SECTORS)

#define assert_trace(rig, ops, expected) \
  do { \
    char *text_ = fault_trace_text ((rig)->trace, (ops)); \
    ck_assert_str_eq (text_, (expected)); \
    free (text_); \
  } while (0)

/* The number of the first event of these kinds on DISK, or the count. */
static inline size_t
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

#endif /* DM_SNAPSHOT_TEST_H */
