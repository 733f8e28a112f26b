/* Unit tests of the exception store: crashes.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>

#include "exception-store-test.h"

/*----- crashes while formatting ----------------------------------------*/

/* At each moment of formatting what held garbage: no store, or an empty
 * one.
 */
START_TEST (format_survives_a_crash_at_every_step)
{
  unsigned n;
  bool was_cut = true;

  for (n = 0; was_cut; ++n) {
    struct store_test t;
    unsigned char garbage[40 * SECTOR_SIZE];
    int r;

    ck_assert_uint_lt (n, 20);
    store_test_disk (&t, 100);
    memset (garbage, 0x11, sizeof garbage);
    fault_bdev_load (t.disk, 0, 40, garbage);
    fault_trace_cut_power (t.trace, FAULT_ALL & ~FAULT_READ, n);
    r = exception_store_format (t.cow, 8);
    was_cut = fault_trace_power_is_cut (t.trace);
    ck_assert_int_eq (r, was_cut ? -EIO : 0);
    bdev_close (t.cow);
    fault_bdev_crash (t.disk, NULL, NULL);
    fault_trace_power_on (t.trace);
    t.cow = fault_bdev_open (t.disk, 0);
    r = store_test_load (&t, 1000);
    ck_assert_int_eq (r, was_cut ? -EINVAL : 0);
    ck_assert_uint_eq (loaded.count, 0);
    store_test_destroy (&t);
  }
  ck_assert_uint_ge (n, 3);
}
END_TEST

/*----- crashes ---------------------------------------------------------*/

/* What was tried, and what of it was acknowledged. */
struct history {
  struct exception tried[400];
  uint64_t generation[400];
  bool is_acked[400];
  unsigned tried_count;
};

/* Commit each of SIZES in turn, until one fails. */
static void
commit_in_turn (struct history *h, struct store_test *t, const unsigned *sizes,
                uint64_t generation)
{
  for (; *sizes > 0; ++sizes) {
    unsigned i;
    int r;

    /* Known before it is tried: a failed commit may yet be there. */
    for (i = 0; i < *sizes; ++i) {
      h->tried[h->tried_count + i] = (struct exception){ 0 };
      h->generation[h->tried_count + i] = generation;
    }
    r = make_exceptions (t, h->tried_count, *sizes, generation,
                         h->tried + h->tried_count);
    for (i = 0; r == 0 && i < *sizes; ++i)
      h->is_acked[h->tried_count + i] = true;
    h->tried_count += *sizes;
    if (r < 0)
      return;
  }
}

/* All that was acknowledged is loaded, nothing that was not tried, and
 * everything leads to its own data.
 */
static void
check_history (const struct history *h, struct fault_bdev *disk,
               sector_t chunk_sectors)
{
  bool is_loaded[400] = { false };
  unsigned i;

  for (i = 0; i < loaded.count; ++i) {
    const struct exception *e = &loaded.exceptions[i];

    quick_assert (e->old_chunk < h->tried_count);
    quick_assert (e->new_chunk == h->tried[e->old_chunk].new_chunk);
    ck_assert_msg (has_data (disk, chunk_sectors, e,
                             h->generation[e->old_chunk]),
                   "record %u: old chunk %" PRIu64
                   " leads to other data in %" PRIu64,
                   i, e->old_chunk, e->new_chunk);
    is_loaded[e->old_chunk] = true;
  }
  for (i = 0; i < h->tried_count; ++i)
    ck_assert_msg (is_loaded[i] || !h->is_acked[i], "exception %u is lost", i);
}

/* A crash before step N, when a chosen part of what was not flushed had
 * reached the disk.  Returns false if there is no such step.
 */
static bool
crash_at (unsigned n, uint64_t mask, unsigned *pending)
{
  static const unsigned sizes[] = { 1, 5, 25, 1, 3, 29, 32, 0 };
  static const unsigned more[] = { 2, 40, 0 };
  struct store_test t;
  unsigned char garbage[SECTOR_SIZE];
  struct history h = { .tried_count = 0 };
  bool was_cut;
  sector_t s;

  store_test_disk (&t, 300);
  /* The store was once used for something else. */
  for (s = 0; s < 300; ++s) {
    fill_pattern (garbage, 99, s, 1);
    fault_bdev_load (t.disk, s, 1, garbage);
  }
  store_test_format (&t, 1);
  fault_trace_cut_power (t.trace, FAULT_WRITE | FAULT_FLUSH | FAULT_ZERO, n);
  commit_in_turn (&h, &t, sizes, 1);
  was_cut = fault_trace_power_is_cut (t.trace);
  store_test_close (&t);
  *pending = fault_bdev_pending (t.disk);
  fault_bdev_crash (t.disk, fault_keep_mask, &mask);
  fault_trace_power_on (t.trace);

  t.store = must_open (t.cow, 1);
  check_history (&h, t.disk, 1);
  /* What was not acknowledged and is not there is forgotten; go on. */
  h.tried_count = MAX_OF (h.tried_count, 1);
  commit_in_turn (&h, &t, more, 2);
  store_test_reopen (&t);
  store_test_destroy (&t);
  return was_cut;
}

START_TEST (a_crash_loses_nothing_acknowledged)
{
  struct chance chance = chance_begin ("a_crash_loses_nothing_acknowledged");
  unsigned n, pending;

  for (n = 0; crash_at (n, 0, &pending); ++n) {
    unsigned i;

    ck_assert_uint_lt (n, 500);
    (void) crash_at (n, UINT64_MAX, &pending);
    if (pending <= 4)
      for (i = 1; i + 1 < 1U << pending; ++i)
        (void) crash_at (n, i, &pending);
    else
      for (i = 0; i < 20; ++i)
        (void) crash_at (n, chance_next (&chance) & chance_next (&chance),
                         &pending);
  }
  ck_assert_uint_gt (n, 100);
}
END_TEST

/* A device that loses power in the middle of a write: write number
 * `left` with FUA reaches the disk below, but not as a durable one, and
 * fails; so does everything after it.
 */
struct tearing {
  struct block_device *below;
  unsigned left;
  bool is_off;
};

static int
tearing_read (void *handle, const struct iovec *iov, int iovcnt,
              sector_t sector)
{
  struct tearing *t = handle;

  return bdev_read (t->below, iov, iovcnt, sector);
}

static int
tearing_write (void *handle, const struct iovec *iov, int iovcnt,
               sector_t sector, unsigned flags)
{
  struct tearing *t = handle;

  if (t->is_off)
    return -EIO;
  if ((flags & BDEV_FUA) && t->left-- == 0) {
    t->is_off = true;
    (void) bdev_write (t->below, iov, iovcnt, sector, 0);
    return -EIO;
  }
  return bdev_write (t->below, iov, iovcnt, sector, flags);
}

static int
tearing_flush (void *handle)
{
  struct tearing *t = handle;

  return t->is_off ? -EIO : bdev_flush (t->below);
}

static int
tearing_zero (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  struct tearing *t = handle;

  if (t->is_off)
    return -EIO;
  if ((flags & BDEV_FUA) && t->left-- == 0) {
    t->is_off = true;
    (void) bdev_write_zeroes (t->below, sector, count, flags & ~BDEV_FUA);
    return -EIO;
  }
  return bdev_write_zeroes (t->below, sector, count, flags);
}

static const struct bdev_ops tearing_ops = {
  .struct_size = sizeof (struct bdev_ops),
  .read = tearing_read,
  .write = tearing_write,
  .flush = tearing_flush,
  .write_zeroes = tearing_zero,
};

/* Keeps sector 8 + I of the area if bit I of the mask is set. */
static bool
keep_area_sector (void *context, unsigned index, sector_t sector)
{
  const unsigned *mask = context;

  (void) index;
  return sector >= 8 && sector < 16 && (*mask >> (sector - 8) & 1);
}

/* Commit COUNT exceptions from old chunk FIRST on, the write number LEFT
 * of which is torn so that MASK tells which sectors of the area are new.
 */
static void
commit_torn (struct fault_bdev *disk, struct history *h, unsigned count,
             unsigned left, unsigned mask)
{
  struct tearing tearing = { fault_bdev_open (disk, 0), left, false };
  const unsigned sizes[] = { count, 0 };
  struct store_test torn = { .disk = disk };

  ck_assert_int_eq (bdev_create (&tearing_ops, &tearing, "cow",
                                 bdev_sectors (tearing.below), &torn.cow),
                    0);
  torn.store = must_open (torn.cow, 8);
  commit_in_turn (h, &torn, sizes, h->tried_count);
  store_test_close (&torn);
  bdev_close (torn.cow);
  bdev_close (tearing.below);
  fault_bdev_crash (disk, keep_area_sector, &mask);
}

/* The write of records over several sectors is torn, which may leave
 * records behind the end of the list; then the records up to there are
 * filled in, and that write is torn too.  What was never acknowledged must
 * not come to life: its chunks have been given to others.
 */
static void
tear_twice (unsigned first_mask, unsigned count, unsigned left,
            unsigned second_mask)
{
  static const unsigned sizes[] = { 20, 0 };
  static struct history h;
  struct store_test t;
  unsigned i, lost_from;

  memset (&h, 0, sizeof h);
  store_test_create (&t, 1500, 8);
  commit_in_turn (&h, &t, sizes, 7);
  store_test_close (&t);

  commit_torn (t.disk, &h, 90, 0, first_mask);
  t.store = must_open (t.cow, 8);
  check_history (&h, t.disk, 8);
  store_test_close (&t);
  /* Behind the end of the list nothing is. */
  lost_from = loaded.count;
  for (i = lost_from; i < h.tried_count; ++i)
    h.tried[i].new_chunk = UINT64_MAX;

  commit_torn (t.disk, &h, count, left, second_mask);
  t.store = must_open (t.cow, 8);
  check_history (&h, t.disk, 8);
  store_test_destroy (&t);
}

START_TEST (torn_records_stay_dead)
{
  /* Which fill the first sectors of the area exactly, and which do not. */
  static const unsigned counts[] = { 12, 44, 5 };
  /* With something behind a gap, or in the last sector. */
  static const unsigned firsts[] = { 2, 4, 5, 6, 8, 10, 12, 14, 15 };
  unsigned first, c, left, second;

  for (first = 0; first < ARRAY_COUNT (firsts); ++first)
    for (c = 0; c < ARRAY_COUNT (counts); ++c) {
      /* Not torn again; then torn. */
      tear_twice (firsts[first], counts[c], UINT32_MAX, 0);
      for (left = 0; left < 2; ++left)
        for (second = 0; second < 8; ++second)
          tear_twice (firsts[first], counts[c], left, second);
    }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    format_survives_a_crash_at_every_step,
    a_crash_loses_nothing_acknowledged,
    torn_records_stay_dead,
    NULL,
  };

  return unit_main ("exception_store_crash", tests);
}
