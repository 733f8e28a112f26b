/* Unit tests of the device of sectors over a device of whole blocks.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "blocks-test.h"
#include "fault-alloc.h"

/*----- making one ------------------------------------------------------*/

START_TEST (blocks_must_be_blocks)
{
  static const unsigned wrong[] = { 0, 1, 256, 512, 1000, 4095, 131072 };
  struct block_device *lower = make_strict (&strict_ops, 24, 8, NULL);
  struct block_device *bdev = NULL;
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (wrong); ++i)
    ck_assert_int_eq (bdev_blocks_create (lower, wrong[i], &bdev), -EINVAL);
  /* 24 sectors are 3 blocks of 8 sectors, and not a whole number of 16. */
  ck_assert_int_eq (bdev_blocks_create (lower, 8192, &bdev), -EINVAL);
  ck_assert_ptr_null (bdev);
  ck_assert_int_eq (bdev_blocks_create (lower, 4096, &bdev), 0);
  ck_assert_str_eq (bdev_name (bdev), "disk");
  ck_assert_uint_eq (bdev_sectors (bdev), 24);
  teardown (bdev);
}
END_TEST

START_TEST (making_one_fails_cleanly)
{
  struct block_device *lower = make_strict (&strict_ops, 64, 8, NULL);
  struct block_device *bdev = NULL;
  unsigned k;
  int r = -ENOMEM;

  for (k = 0; r != 0; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = bdev_blocks_create (lower, 4096, &bdev);
    ck_assert_int_eq (r, fault_alloc_stop () > 0 ? -ENOMEM : 0);
    ck_assert_uint_eq (fault_bdev_open_count (strict.disk), 1);
  }
  ck_assert_uint_ge (k, 4);
  teardown (bdev);
}
END_TEST

START_TEST (it_can_do_what_the_lower_one_can)
{
  struct block_device *lower = make_strict (&bare_ops, 64, 8, NULL);
  struct block_device *bdev;
  struct bdev_identity identity;
  struct bdev_limits limits;
  char data[SECTOR_SIZE];

  ck_assert_int_eq (bdev_blocks_create (lower, 4096, &bdev), 0);
  ck_assert (bdev_is_read_only (bdev));
  ck_assert (!bdev_can_begin (bdev));
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -EROFS);
  ck_assert_int_eq (read_at (bdev, 63, 1, data), 0);
  ck_assert_int_eq (bdev_identity (bdev, &identity), -EOPNOTSUPP);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), -EOPNOTSUPP);
  bdev_get_limits (bdev, &limits);
  ck_assert_uint_eq (limits.block_bytes, 4096);
  ck_assert (!limits.is_remote);
  teardown (bdev);

  bdev = setup (64, 16, NULL);
  ck_assert (!bdev_is_read_only (bdev));
  ck_assert (bdev_can_begin (bdev));
  ck_assert_int_eq (bdev_identity (bdev, &identity), 0);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
  ck_assert_int_eq (bdev_reconnect (bdev, BDEV_RECONNECT_FENCED), -EBUSY);
  bdev_get_limits (bdev, &limits);
  ck_assert_uint_eq (limits.block_bytes, 8192);
  ck_assert_uint_eq (limits.optimal_bytes, 8192);
  ck_assert_uint_eq (limits.max_bytes, 123456);
  ck_assert (limits.is_remote);
  teardown (bdev);
}
END_TEST

/*----- what reaches the blocks -----------------------------------------*/

START_TEST (each_request_is_few_calls)
{
  static const struct {
    char op;
    sector_t sector, count;
    unsigned flags;
    const char *calls;
  } cases[] = {
    /* Whole blocks. */
    { 'r', 8, 24, 0, "disk read 8+24" },
    { 'w', 8, 24, BDEV_FUA, "disk write 8+24 fua" },
    { 'z', 8, 24, BDEV_UNMAP | BDEV_FAST, "disk zero 8+24 unmap fast" },
    { 'd', 0, 64, BDEV_FUA, "disk discard 0+64 fua" },
    /* Inside one: its start, its middle, its end. */
    { 'r', 8, 3, 0, "disk read 8+8" },
    { 'r', 13, 3, 0, "disk read 8+8" },
    { 'w', 8, 3, 0, "disk read 8+8, disk write 8+8" },
    { 'w', 10, 3, BDEV_FUA, "disk read 8+8, disk write 8+8 fua" },
    { 'w', 63, 1, 0, "disk read 56+8, disk write 56+8" },
    { 'z', 10, 3, BDEV_FUA | BDEV_UNMAP, "disk read 8+8, disk write 8+8 fua" },
    { 'd', 10, 3, 0, "disk read 8+8, disk write 8+8" },
    /* Across a border. */
    { 'r', 7, 2, 0, "disk read 0+16" },
    { 'w', 7, 2, 0, "disk read 0+16, disk write 0+16" },
    { 'z', 7, 2, BDEV_FUA, "disk read 0+16, disk write 0+16 fua" },
    /* A head, a tail, both. */
    { 'r', 7, 9, 0, "disk read 0+16" },
    { 'w', 7, 9, 0, "disk read 0+8, disk write 0+16" },
    { 'w', 8, 17, 0, "disk read 24+8, disk write 8+24" },
    { 'w', 7, 18, BDEV_FUA,
      "disk read 0+8, disk read 24+8, disk write 0+32 fua" },
    { 'z', 7, 18, BDEV_FUA | BDEV_UNMAP,
      "disk read 0+8, disk read 24+8, disk zero 8+16 fua unmap, "
      "disk write 0+8 fua, disk write 24+8 fua" },
    { 'd', 7, 17, BDEV_FUA,
      "disk read 0+8, disk discard 8+16 fua, disk write 0+8 fua" },
    { 'd', 8, 10, 0, "disk read 16+8, disk discard 8+8, disk write 16+8" },
  };
  struct fault_trace *trace = fault_trace_create ();
  struct block_device *bdev = setup (64, 8, trace);
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    char *calls;

    fault_trace_reset (trace);
    ck_assert_int_eq (change (bdev, cases[i].op, cases[i].sector,
                              cases[i].count, cases[i].flags),
                      0);
    calls = fault_trace_text (trace, FAULT_ALL);
    ck_assert_str_eq (calls, cases[i].calls);
    free (calls);
  }
  fault_trace_reset (trace);
  ck_assert_int_eq (read_at (bdev, 3, 0, buffer), 0);
  ck_assert_int_eq (write_at (bdev, 3, 0, buffer, 0), 0);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_uint_eq (fault_bdev_calls (strict.disk, FAULT_FLUSH), 1);
  teardown (bdev);
  fault_trace_destroy (trace);
}
END_TEST

/* Cut COUNT sectors at DATA into pieces by chance. */
static int
cut_by_chance (struct chance *chance, char *data, sector_t count,
               struct iovec *iov, int max)
{
  size_t left = sector_to_bytes (count);
  int n = 0;

  while (left > 0) {
    size_t len = 1 + chance_below (chance, left);

    if (n == max - 1)
      len = left;
    iov[n++] = piece (data, len);
    data += len;
    left -= len;
  }
  return n;
}

START_TEST (it_is_a_device_like_any_other)
{
  enum { SECTORS = 512, ROUNDS = 3000 };
  static const sector_t blocks[] = { 2, 8, 128 };
  struct chance chance = chance_begin ("it_is_a_device_like_any_other");
  char *model = test_alloc_sectors (SECTORS);
  char *data = test_alloc_sectors (SECTORS);
  char *back = test_alloc_sectors (SECTORS);
  unsigned i, round;

  for (i = 0; i < ARRAY_COUNT (blocks); ++i) {
    struct block_device *bdev = setup (SECTORS, blocks[i], NULL);

    memset (model, 0, SECTORS * SECTOR_SIZE);
    for (round = 0; round < ROUNDS; ++round) {
      sector_t sector = chance_below (&chance, SECTORS);
      sector_t count = chance_below (&chance, MIN_OF (SECTORS - sector + 1,
                                                      3 * blocks[i]));
      char *at = model + sector_to_bytes (sector);
      unsigned flags = chance_below (&chance, 2) ? BDEV_FUA : 0;
      struct iovec iov[200];
      int n;

      switch (chance_below (&chance, 4)) {
      case 0:
        fill_pattern (data, round, sector, count);
        n = cut_by_chance (&chance, data, count, iov, 1 + round % 200);
        ck_assert_int_eq (bdev_write (bdev, iov, n, sector, flags), 0);
        memcpy (at, data, sector_to_bytes (count));
        break;
      case 1:
        ck_assert_int_eq (bdev_write_zeroes (bdev, sector, count, flags), 0);
        memset (at, 0, sector_to_bytes (count));
        break;
      case 2:
        ck_assert_int_eq (bdev_discard (bdev, sector, count, flags), 0);
        memset (at, 0, sector_to_bytes (count));
        break;
      default:
        memset (back, 0xee, sector_to_bytes (count));
        n = cut_by_chance (&chance, back, count, iov, 1 + round % 200);
        ck_assert_int_eq (bdev_read (bdev, iov, n, sector), 0);
        quick_assert (memcmp (back, at, sector_to_bytes (count)) == 0);
      }
    }
    fault_bdev_look (strict.disk, 0, SECTORS, back);
    ck_assert_int_eq (memcmp (back, model, SECTORS * SECTOR_SIZE), 0);
    teardown (bdev);
  }
  free (back);
  free (data);
  free (model);
}
END_TEST

START_TEST (extents_are_of_sectors)
{
  struct block_device *bdev = setup (64, 8, NULL);
  struct bdev_extent extent;

  /* Blocks 0 and 1 are a hole, 2 and 3 data, the others a hole. */
  ck_assert_int_eq (write_at (bdev, 16, 16, buffer, 0), 0);
  ck_assert_int_eq (bdev_extent (bdev, 3, 20, &extent), 0);
  ck_assert_uint_eq (extent.count, 13);
  ck_assert (extent.is_hole);
  ck_assert_int_eq (bdev_extent (bdev, 3, 2, &extent), 0);
  ck_assert_uint_eq (extent.count, 2);
  ck_assert (extent.is_hole);
  ck_assert_int_eq (bdev_extent (bdev, 17, 47, &extent), 0);
  ck_assert_uint_eq (extent.count, 15);
  ck_assert (!extent.is_hole);
  ck_assert_int_eq (bdev_extent (bdev, 63, 1, &extent), 0);
  ck_assert_uint_eq (extent.count, 1);
  ck_assert (extent.is_hole);
  teardown (bdev);
}
END_TEST

/* The device below says where a hole ends inside a block: what is behind is
 * taken for data.
 */
START_TEST (an_extent_may_end_inside_a_block)
{
  struct block_device *bdev = setup (64, 8, NULL);
  struct bdev_extent extent;

  fault_bdev_load (strict.disk, 2, 1, buffer);
  ck_assert_int_eq (bdev_extent (bdev, 4, 20, &extent), 0);
  ck_assert_uint_eq (extent.count, 4);
  ck_assert (!extent.is_hole);
  ck_assert_int_eq (bdev_extent (bdev, 1, 20, &extent), 0);
  ck_assert_uint_eq (extent.count, 1);
  ck_assert (extent.is_hole);
  teardown (bdev);
}
END_TEST

START_TEST (whole_blocks_are_copied_below)
{
  struct block_device *bdev = setup (64, 8, NULL);
  char back[8 * SECTOR_SIZE];

  fill_pattern (buffer, 1, 8, 8);
  fault_bdev_load (strict.disk, 8, 8, buffer);
  ck_assert_int_eq (bdev_copy (bdev, 8, bdev, 48, 8), 0);
  ck_assert_int_eq (read_at (bdev, 48, 8, back), 0);
  assert_pattern (back, 1, (sector_t) 8, (sector_t) 8);
  ck_assert_int_eq (bdev_copy (bdev, 8, bdev, 49, 8), -EOPNOTSUPP);
  ck_assert_int_eq (bdev_copy (bdev, 9, bdev, 48, 8), -EOPNOTSUPP);
  ck_assert_int_eq (bdev_copy (bdev, 8, bdev, 48, 7), -EOPNOTSUPP);
  teardown (bdev);
}
END_TEST

/*----- errors ----------------------------------------------------------*/

/* Fail the K-th call of one request. */
static void
fail_call (char op, sector_t sector, sector_t count, unsigned k, bool *failed)
{
  struct fault_trace *trace = fault_trace_create ();
  struct block_device *bdev = setup (64, 8, trace);
  char *old = test_alloc_sectors (64), *now = test_alloc_sectors (64);
  struct fault_event last;
  int r;

  fill_pattern (old, 1, 0, 64);
  fault_bdev_load (strict.disk, 0, 64, old);
  fill_pattern (buffer, 2, sector, count);
  fault_bdev_fail_once (strict.disk, FAULT_ALL, k);
  r = change (bdev, op, sector, count, 0);
  *failed = fault_bdev_failed (strict.disk) > 0;
  ck_assert_int_eq (r, *failed ? -EIO : 0);

  /* What was not meant is what it was, whatever has failed. */
  fault_bdev_look (strict.disk, 0, 64, now);
  ck_assert_mem_eq (now, old, sector_to_bytes (sector));
  ck_assert_mem_eq (now + sector_to_bytes (sector + count),
                    old + sector_to_bytes (sector + count),
                    sector_to_bytes (64 - sector - count));
  if (*failed) {
    /* Nothing was tried after that; and after a read, nothing is changed. */
    last = fault_trace_event (trace, fault_trace_count (trace) - 1);
    ck_assert_int_eq (last.error, -EIO);
    if (last.op == FAULT_READ)
      ck_assert_mem_eq (now, old, sector_to_bytes (64));
  }
  /* Nobody holds anything any more. */
  fault_bdev_heal (strict.disk);
  ck_assert_int_eq (write_at (bdev, 1, 62, buffer, 0), 0);
  teardown (bdev);
  fault_trace_destroy (trace);
  free (now);
  free (old);
}

START_TEST (any_call_may_fail)
{
  static const struct {
    sector_t sector, count;
  } ranges[] = {
    { 8, 16 }, { 9, 3 }, { 7, 2 }, { 7, 18 }, { 8, 17 }, { 3, 5 }
  };
  static const char ops[] = "rwzd";
  unsigned i, k, op;

  for (op = 0; ops[op] != '\0'; ++op)
    for (i = 0; i < ARRAY_COUNT (ranges); ++i) {
      bool failed = true;

      for (k = 0; failed; ++k)
        fail_call (ops[op], ranges[i].sector, ranges[i].count, k, &failed);
      ck_assert_uint_ge (k, 2);
    }
}
END_TEST

/* What cannot be zeroed fast, or not be discarded, is as it was. */
START_TEST (what_is_not_supported_changes_nothing)
{
  struct fault_rule rule = { .ops = FAULT_ZERO | FAULT_DISCARD,
                             .error = -EOPNOTSUPP };
  struct block_device *bdev = setup (64, 8, NULL);
  char back[32 * SECTOR_SIZE];

  fill_pattern (buffer, 1, 0, 32);
  fault_bdev_load (strict.disk, 0, 32, buffer);
  fault_bdev_add_rule (strict.disk, &rule);
  ck_assert_int_eq (bdev_discard (bdev, 3, 20, 0), -EOPNOTSUPP);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 3, 20, BDEV_FAST), -EOPNOTSUPP);
  fault_bdev_look (strict.disk, 0, 32, back);
  assert_pattern (back, 1, (sector_t) 0, (sector_t) 32);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 3, 20, 0), 0);
  fault_bdev_look (strict.disk, 0, 32, back);
  assert_pattern (back, 1, (sector_t) 0, (sector_t) 3);
  assert_all_bytes (back + 3 * SECTOR_SIZE, 0, (size_t) 20 * SECTOR_SIZE);
  assert_pattern (back + 23 * SECTOR_SIZE, 1, (sector_t) 23, (sector_t) 9);
  teardown (bdev);
}
END_TEST

START_TEST (no_memory_is_no_hindrance)
{
  struct block_device *bdev = setup (64, 8, NULL);
  struct iovec iov[129];
  unsigned i;
  int w, z, d, r, many;

  fill_pattern (buffer, 1, 5, 30);
  for (i = 0; i < 128; ++i)
    iov[i] = piece (buffer + (size_t) 4 * i, 4);
  iov[128] = piece (buffer + 512, 512);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  w = write_at (bdev, 5, 30, buffer, 0);
  z = bdev_write_zeroes (bdev, 7, 1, 0);
  d = bdev_discard (bdev, 9, 18, 0);
  memset (buffer, 0, 30 * SECTOR_SIZE);
  r = read_at (bdev, 5, 30, buffer);
  many = bdev_write (bdev, iov, 129, 5, 0);
  ck_assert_uint_gt (fault_alloc_stop (), 0);
  ck_assert_int_eq (w, 0);
  ck_assert_int_eq (z, 0);
  ck_assert_int_eq (d, 0);
  ck_assert_int_eq (r, 0);
  ck_assert_int_eq (many, -ENOMEM);
  ck_assert_int_eq (bdev_write (bdev, iov, 128, 5, 0), 0);
  assert_pattern (buffer, 1, (sector_t) 5, (sector_t) 2);
  assert_all_bytes (buffer + 2 * SECTOR_SIZE, 0, SECTOR_SIZE);
  assert_pattern (buffer + 3 * SECTOR_SIZE, 1, (sector_t) 8, (sector_t) 1);
  assert_all_bytes (buffer + 4 * SECTOR_SIZE, 0, (size_t) 18 * SECTOR_SIZE);
  assert_pattern (buffer + 22 * SECTOR_SIZE, 1, (sector_t) 27, (sector_t) 8);
  teardown (bdev);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    blocks_must_be_blocks,
    making_one_fails_cleanly,
    it_can_do_what_the_lower_one_can,
    each_request_is_few_calls,
    it_is_a_device_like_any_other,
    extents_are_of_sectors,
    an_extent_may_end_inside_a_block,
    whole_blocks_are_copied_below,
    any_call_may_fail,
    what_is_not_supported_changes_nothing,
    no_memory_is_no_hindrance,
    NULL,
  };

  return unit_main ("bdev-blocks", tests);
}
