/* Unit tests of merging: a snapshot is folded into its origin.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "bdev-target.h"
#include "exception-store.h"
#include "merge.h"
#include "target-test.h"

#define SECTORS 203 /* the last chunk is short, if it is no sector */
#define BASE_SEED 1

/*----- a device with a snapshot ----------------------------------------*/

/* Which pattern each sector shows through the merge; and, after a write that
 * failed, perhaps another one.
 */
struct rig {
  struct fault_trace *trace;
  struct fault_bdev *disk;
  struct fault_bdev *cow;
  struct chance chance;
  uint64_t seeds[SECTORS];
  uint64_t maybe[SECTORS];
  uint64_t last_seed;

  /* While it is open. */
  struct block_device *bdev;
  struct bdev_target lower;
  struct snapshot *snapshot;
  struct merge *merge;
  struct range_lock range_lock;
};

static int
never_broken (void *opaque, struct snapshot *snapshot, enum snapshot_loss loss,
              const char *reason)
{
  (void) opaque, (void) snapshot, (void) loss, (void) reason;
  ck_abort ();
}

static struct snapshot *
open_snapshot (struct rig *rig)
{
  struct snapshot_params params = {
    .name = "monday",
    .cow = fault_bdev_open (rig->cow, 0),
    .is_valid = true,
    .broken = never_broken,
    .origin = &rig->lower.target,
  };
  struct snapshot *s;

  ck_assert_int_eq (snapshot_open (&params, &s), 0);
  return s;
}

static void
load_pattern (struct rig *rig, uint64_t seed, sector_t sector)
{
  unsigned char data[SECTOR_SIZE];

  fill_pattern (data, seed, sector, 1);
  fault_bdev_load (rig->disk, sector, 1, data);
}

/* Overwrite WRITES pieces of the origin, each of at most LONGEST sectors, so
 * that their old contents are in the store, in this order.
 */
static void
rig_create (struct rig *rig, uint64_t seed, sector_t chunk_sectors,
            unsigned writes, sector_t longest)
{
  unsigned char data[SECTORS * SECTOR_SIZE];
  struct kcopyd_client *kcopyd;
  struct block_device *cow;
  struct origin *origin;
  struct snapshot *s;
  sector_t i;

  memset (rig, 0, sizeof *rig);
  rig->chance.state = seed;
  rig->last_seed = 100;
  rig->trace = fault_trace_create ();
  rig->disk = fault_bdev_create ("origin", SECTORS, rig->trace);
  rig->cow = fault_bdev_create ("cow",
                                exception_store_full_size (STORE_PERSISTENT,
                                                           SECTORS,
                                                           chunk_sectors),
                                rig->trace);
  for (i = 0; i < SECTORS; ++i) {
    load_pattern (rig, BASE_SEED, i);
    rig->seeds[i] = rig->maybe[i] = BASE_SEED;
  }
  cow = fault_bdev_open (rig->cow, 0);
  ck_assert_int_eq (exception_store_format (cow, chunk_sectors), 0);
  bdev_close (cow);

  rig->bdev = fault_bdev_open (rig->disk, 0);
  bdev_target_init (&rig->lower, rig->bdev);
  ck_assert_int_eq (origin_create (&rig->lower.target, &origin), 0);
  ck_assert_int_eq (kcopyd_client_create (64, &kcopyd), 0);
  s = open_snapshot (rig);
  snapshot_set_kcopyd (s, kcopyd);
  origin_set_snapshot (origin, s);
  while (writes-- > 0) {
    sector_t count = 1 + chance_below (&rig->chance, longest);

    i = chance_below (&rig->chance, SECTORS - count + 1);
    fill_pattern (data, 50, i, count);
    ck_assert_int_eq (target_write (origin_target (origin), data, i, count, 0),
                      0);
  }
  ck_assert_int_eq (target_flush (origin_target (origin)), 0);
  snapshot_close (s);
  kcopyd_client_destroy (kcopyd);
  origin_destroy (origin);
  bdev_close (rig->bdev);
}

static void
rig_open (struct rig *rig)
{
  rig->bdev = fault_bdev_open (rig->disk, 0);
  bdev_target_init (&rig->lower, rig->bdev);
  rig->snapshot = open_snapshot (rig);
  snapshot_leave (rig->snapshot);
  ck_assert_int_eq (merge_create (rig->snapshot, &rig->lower.target,
                                  &rig->merge),
                    0);
  range_lock_init (&rig->range_lock);
}

static void
rig_close (struct rig *rig)
{
  range_lock_destroy (&rig->range_lock);
  merge_destroy (rig->merge);
  snapshot_close (rig->snapshot);
  bdev_close (rig->bdev);
}

static void
rig_destroy (struct rig *rig)
{
  fault_bdev_destroy (rig->cow);
  fault_bdev_destroy (rig->disk);
  fault_trace_destroy (rig->trace);
}

/* Every sector is what it may be, and from now on is that. */
static void
check_all (struct rig *rig)
{
  unsigned char data[SECTORS * SECTOR_SIZE];
  sector_t i;

  ck_assert_int_eq (target_read (merge_target (rig->merge), data, 0, SECTORS),
                    0);
  for (i = 0; i < SECTORS; ++i) {
    const unsigned char *sector = data + sector_to_bytes (i);

    if (first_wrong_sector (sector, rig->maybe[i], i, 1) == i + 1)
      rig->seeds[i] = rig->maybe[i];
    rig->maybe[i] = rig->seeds[i];
    ck_assert_msg (first_wrong_sector (sector, rig->seeds[i], i, 1) == i + 1,
                   "sector %u", (unsigned) i);
  }
}

/* A client writes some sectors, durably, or zeroes them (a pattern, too, is
 * written then: this is about places).
 */
static void
write_some (struct rig *rig)
{
  unsigned char data[SECTORS * SECTOR_SIZE];
  sector_t count = 1 + chance_below (&rig->chance, 12), i;
  sector_t sector = chance_below (&rig->chance, SECTORS - count + 1);
  uint64_t seed = ++rig->last_seed;
  struct range_hold hold;
  int r;

  fill_pattern (data, seed, sector, count);
  range_lock_acquire (&rig->range_lock, &hold, sector, count);
  r = target_write (merge_target (rig->merge), data, sector, count, BDEV_FUA);
  range_lock_release (&rig->range_lock, &hold);
  for (i = sector; i < sector + count; ++i) {
    rig->maybe[i] = seed;
    if (r == 0)
      rig->seeds[i] = seed;
  }
}

/* The merge is at its end: the origin has all, and the store nothing. */
static void
check_end (struct rig *rig)
{
  struct snapshot_status status;
  unsigned char data[SECTOR_SIZE];
  sector_t i;

  snapshot_get_status (rig->snapshot, &status);
  ck_assert_uint_eq (status.chunks, 0);
  merge_end (rig->merge);
  check_all (rig);
  for (i = 0; i < SECTORS; ++i) {
    fault_bdev_look_durable (rig->disk, i, 1, data);
    ck_assert_uint_eq (first_wrong_sector (data, rig->seeds[i], i, 1), i + 1);
  }
  rig_close (rig);
  rig_open (rig);
  snapshot_get_status (rig->snapshot, &status);
  ck_assert_uint_eq (status.chunks, 0);
  ck_assert_uint_eq (status.used_sectors, 2 * status.chunk_sectors);
}

/* As merge_step. */
static int
move_some (struct rig *rig)
{
  uint64_t bytes = 1;
  int r = merge_step (rig->merge, &rig->range_lock, &bytes);

  ck_assert_int_eq (bytes > 0, r == 1);
  ck_assert_uint_le (bytes, MERGE_STEP_BYTES);
  return r;
}

/*----- tests -----------------------------------------------------------*/

START_TEST (the_order_is_the_kernels)
{
  struct rig rig;
  char *text;

  /* Chunks 3, 4, 5 are copied, then 1, then 8, 9. */
  rig_create (&rig, 1, 8, 0, 1);
  {
    static const sector_t chunks[] = { 3, 4, 5, 1, 8, 9 };
    struct block_device *cow = fault_bdev_open (rig.cow, 0);
    struct exception_store *store;
    unsigned i;

    ck_assert_int_eq (exception_store_open (cow, SECTORS, &store), 0);
    for (i = 0; i < ARRAY_COUNT (chunks); ++i) {
      struct exception e = { .old_chunk = chunks[i] };

      ck_assert_int_eq (exception_store_allocate (store, &e.new_chunk), 0);
      ck_assert_int_eq (exception_store_commit (store, &e, 1), 0);
    }
    exception_store_close (store);
    bdev_close (cow);
  }
  rig_open (&rig);
  fault_trace_reset (rig.trace);
  ck_assert_int_eq (move_some (&rig), 1);
  ck_assert_int_eq (move_some (&rig), 1);
  ck_assert_int_eq (move_some (&rig), 1);
  ck_assert_int_eq (move_some (&rig), 0);
  text = fault_trace_text (rig.trace, FAULT_ALL);
  ck_assert_str_eq (text, "cow read 48+16, origin write 64+16, origin flush, "
                          "cow write 8+1 fua, "
                          "cow read 40+8, origin write 8+8, origin flush, "
                          "cow write 8+1 fua, "
                          "cow read 16+24, origin write 24+24, origin flush, "
                          "cow write 8+1 fua");
  free (text);
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/* Of chunks of a sector an area has 32 records. */
static void
merge_all (uint64_t seed, sector_t chunk_sectors, unsigned writes,
           sector_t longest)
{
  struct rig rig;
  int r;

  rig_create (&rig, seed, chunk_sectors, writes, longest);
  rig_open (&rig);
  check_all (&rig);
  do {
    write_some (&rig);
    check_all (&rig);
    r = move_some (&rig);
    ck_assert_int_ge (r, 0);
    check_all (&rig);
  } while (r > 0);
  check_end (&rig);
  rig_close (&rig);
  rig_destroy (&rig);
}

START_TEST (all_of_it_is_merged)
{
  struct chance c = chance_begin ("all_of_it_is_merged");
  unsigned i;

  for (i = 0; i < 8; ++i) {
    merge_all (chance_next (&c), 1, 40, 12);
    merge_all (chance_next (&c), 8, 12, 40);
    merge_all (chance_next (&c), 64, 3, 64);
  }
  merge_all (chance_next (&c), 1, 1, 1);
  merge_all (chance_next (&c), 1, 200, 200);
  merge_all (chance_next (&c), 8, 0, 1);
}
END_TEST

/* Cut the power before the N-th change.  Returns false if there are not so
 * many.
 */
static bool
cut_power (uint64_t seed, sector_t chunk_sectors, unsigned n)
{
  struct rig rig;
  uint64_t mask;
  bool was_cut;
  int r;

  rig_create (&rig, seed, chunk_sectors, 14, 9);
  rig_open (&rig);
  fault_trace_cut_power (rig.trace, FAULT_WRITE | FAULT_FLUSH | FAULT_ZERO, n);
  do {
    write_some (&rig);
    r = move_some (&rig);
  } while (r > 0);
  was_cut = fault_trace_power_is_cut (rig.trace);
  ck_assert (r == 0 || was_cut);
  rig_close (&rig);
  mask = chance_next (&rig.chance);
  fault_bdev_crash (rig.disk, fault_keep_mask, &mask);
  mask = chance_next (&rig.chance);
  fault_bdev_crash (rig.cow, fault_keep_mask, &mask);
  fault_trace_power_on (rig.trace);

  rig_open (&rig);
  check_all (&rig);
  while ((r = move_some (&rig)) > 0)
    write_some (&rig);
  ck_assert_int_eq (r, 0);
  check_end (&rig);
  rig_close (&rig);
  rig_destroy (&rig);
  return was_cut;
}

START_TEST (power_fails_at_any_step)
{
  struct chance c = chance_begin ("power_fails_at_any_step");
  unsigned n;

  for (n = 0; cut_power (chance_next (&c), 1, n) || n < 60; ++n)
    ;
  for (n = 0; cut_power (chance_next (&c), 8, n) || n < 30; ++n)
    ;
}
END_TEST

/* Call number K of a disk fails, once, with SECTORS_DONE of its effect: what
 * clients see stays right, the step is made again, and the power fails, too.
 */
static bool
fail_call (uint64_t seed, bool is_cow, unsigned ops, unsigned k,
           sector_t sectors_done)
{
  struct rig rig;
  struct fault_bdev *disk;
  bool has_failed;
  int r = 0;

  rig_create (&rig, seed, 1, 14, 9);
  rig_open (&rig);
  disk = is_cow ? rig.cow : rig.disk;
  fault_bdev_add_rule (disk, &(struct fault_rule){
                               .ops = ops,
                               .skip = k,
                               .times = 1,
                               .sectors_done = sectors_done,
                             });
  while ((r = move_some (&rig)) > 0)
    ;
  has_failed = fault_bdev_failed (disk) > 0;
  ck_assert_int_eq (r < 0, has_failed);
  fault_bdev_heal (disk);
  for (k = 0; k < 20; ++k)
    write_some (&rig);
  check_all (&rig);
  if (has_failed && chance_below (&rig.chance, 2) == 0) {
    uint64_t mask = chance_next (&rig.chance);

    rig_close (&rig);
    fault_bdev_crash (rig.disk, fault_keep_mask, &mask);
    fault_bdev_crash (rig.cow, fault_keep_mask, &mask);
    rig_open (&rig);
    check_all (&rig);
  }
  while ((r = move_some (&rig)) > 0)
    write_some (&rig);
  ck_assert_int_eq (r, 0);
  check_end (&rig);
  rig_close (&rig);
  rig_destroy (&rig);
  return has_failed;
}

START_TEST (any_call_may_fail)
{
  /* The last has had its effect all the same. */
  static const unsigned kinds[] = { FAULT_READ, FAULT_WRITE, FAULT_FLUSH,
                                    FAULT_WRITE };
  struct chance c = chance_begin ("any_call_may_fail");
  unsigned disk, kind, k;

  for (disk = 0; disk < 2; ++disk)
    for (kind = 0; kind < ARRAY_COUNT (kinds); ++kind)
      for (k = 0; fail_call (chance_next (&c), disk > 0, kinds[kind], k,
                             kind < 3 ? 0 : 1) ||
                  k < 10;
           ++k)
        ;
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    the_order_is_the_kernels,
    all_of_it_is_merged,
    power_fails_at_any_step,
    any_call_may_fail,
    NULL,
  };

  return unit_main ("merge", tests);
}
