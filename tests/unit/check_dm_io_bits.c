/* Unit tests of dm-io: a bit for each io_region that has failed, and no other.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "dm-io-test.h"

/*----- error bits ------------------------------------------------------*/

/* 64 devices; those in MASK fail. */
static void
assert_exact_bits (bool is_async, uint64_t mask, int rw, unsigned fault)
{
  struct memory m = memory_of_kind (VECTOR, 2 * 512);
  struct io_region where[64];
  unsigned long bits;
  unsigned i;

  memory_fill (&m, 1);
  for (i = 0; i < 64; ++i) {
    where[i] = region (i, i, 1 + i % 2);
    if (mask >> i & 1)
      fault_bdev_fail_from (disks[i], fault, 0);
  }
  ck_assert_int_eq (call_dm_io (is_async, 64, where, rw, &m, &bits),
                    mask != 0 ? -EIO : 0);
  ck_assert_uint_eq (bits, mask);
  for (i = 0; i < 64; ++i) {
    if ((rw & DM_IO_OP_MASK) == DM_IO_WRITE) {
      if (mask >> i & 1)
        assert_disk_untouched (i);
      else
        assert_disk_written (i, 1, i, 1 + i % 2);
    }
    fault_bdev_heal (disks[i]);
  }
  memory_free (&m);
}

START_TEST (bits_are_exact)
{
  unsigned i, is_async;

  ck_assert_uint_eq (sizeof (unsigned long), 8);
  for (is_async = 0; is_async < 2; ++is_async) {
    setup_disks (64, 70);
    for (i = 63; i < 64; --i) /* each disk fails before it is written */
      assert_exact_bits (is_async, UINT64_C (1) << i, DM_IO_FLUSH, FAULT_FLUSH);
    assert_exact_bits (is_async, UINT64_MAX, DM_IO_WRITE, FAULT_WRITE);
    assert_exact_bits (is_async, UINT64_C (0x8000000100000001), DM_IO_DISCARD,
                       FAULT_DISCARD);
    assert_exact_bits (is_async, UINT64_C (0xaaaaaaaaaaaaaaaa),
                       DM_IO_WRITE_ZEROES, FAULT_ZERO);
    assert_exact_bits (is_async, 0, DM_IO_WRITE, FAULT_WRITE);
    teardown ();
    setup_disks (64, 70);
    assert_exact_bits (is_async, UINT64_C (0x8123456789abcdef), DM_IO_WRITE,
                       FAULT_WRITE);
    teardown ();
    for (i = 0; i < 64; i += 21) {
      setup_disks (64, 70);
      assert_exact_bits (is_async, UINT64_C (1) << i, DM_IO_WRITE, FAULT_WRITE);
      teardown ();
    }
  }
}
END_TEST

START_TEST (errors_tell_why)
{
  char data[1024];
  struct io_region where[7];
  struct block_device *read_only;
  unsigned long bits;
  int errors[7];
  int one;

  setup (7);
  read_only = fault_bdev_open (disks[5], FAULT_OPEN_READ_ONLY);
  where[0] = region (0, 0, 2);
  where[1] = region (1, 0, 2);
  where[2] = region (2, DISK_SECTORS - 1, 2);
  where[3] = region (3, UINT64_MAX, 2);
  where[4] = region (4, 0, 0);
  where[5] = (struct io_region){ .bdev = read_only, .count = 1 };
  where[6] = region (6, 1, 2);
  fill_pattern (data, 1, 0, 2);
  fault_bdev_add_rule (disks[1], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                       .error = -ENOSPC });
  ck_assert_int_eq (dm_io_sync_vm_errors (7, where, DM_IO_WRITE, data, &bits,
                                          errors),
                    -EIO);
  ck_assert_uint_eq (bits, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5);
  ck_assert_int_eq (errors[0], 0);
  ck_assert_int_eq (errors[1], -ENOSPC);
  ck_assert_int_eq (errors[2], -EINVAL);
  ck_assert_int_eq (errors[3], -EINVAL);
  ck_assert_int_eq (errors[4], 0);
  ck_assert_int_eq (errors[5], -EROFS);
  ck_assert_int_eq (errors[6], 0);
  assert_disk_written (0, 1, 0, 2);
  assert_disk_untouched (1);
  assert_disk_untouched (2);
  assert_disk_untouched (3);
  assert_disk_untouched (5);
  assert_disk_written (6, 1, 1, 2);

  /* Neither the bits nor the errors must be wanted. */
  ck_assert_int_eq (dm_io_sync_vm_errors (7, where, DM_IO_WRITE, data, NULL,
                                          NULL),
                    -EIO);
  ck_assert_int_eq (dm_io_sync_vm (1, where, DM_IO_WRITE, data, NULL), 0);
  fault_bdev_add_rule (disks[0], &(struct fault_rule){ .ops = FAULT_READ,
                                                       .error = -ENOLINK });
  ck_assert_int_eq (dm_io_sync_vm_errors (1, where, DM_IO_READ, data, &bits,
                                          &one),
                    -EIO);
  ck_assert_int_eq (one, -ENOLINK);
  bdev_close (read_only);
  teardown ();
}
END_TEST

/* A read that fails leaves zeroes, whatever the device has done to the
 * memory, and touches nothing behind it.
 */
START_TEST (failed_reads_leave_zeroes)
{
  unsigned kind, is_async;

  for (kind = 0; kind < MEMORY_KINDS; ++kind)
    for (is_async = 0; is_async < 2; ++is_async) {
      struct memory m = memory_of_kind (kind, 20 * 512);
      struct io_region where;
      unsigned long bits;
      char *data = test_alloc (m.bytes);

      setup (1);
      /* Less than the memory. */
      where = region (0, 5, 13);
      memory_fill (&m, 1);
      fault_bdev_fail_once (disks[0], FAULT_READ, 0);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_READ, &m, &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1);
      memory_copy (&m, data, false);
      assert_all_bytes (data, 0, 13 * (size_t) 512);
      assert_pattern (data + 13 * 512, 1, (sector_t) 13, (sector_t) 7);

      /* Outside the device. */
      where = region (0, DISK_SECTORS - 19, 20);
      memory_fill (&m, 1);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_READ, &m, &bits),
                        -EIO);
      assert_memory_zero (&m);
      where = region (0, UINT64_MAX, 20);
      memory_fill (&m, 1);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_READ, &m, &bits),
                        -EIO);
      assert_memory_zero (&m);
      free (data);
      memory_free (&m);
      teardown ();
    }
}
END_TEST

/* A long read and a long write of three io_regions on one disk, of several
 * calls of the device each: call K fails, for every K.
 */
#define LONG_SECTORS ((sector_t) 24)

START_TEST (the_kth_read_fails)
{
  struct memory m = memory_of_vector (LONG_SECTORS * 512, small_pieces);
  unsigned long bits = 1;
  unsigned k;

  for (k = 0; bits != 0; ++k) {
    struct io_region where;

    setup (1);
    where = region (0, 3, LONG_SECTORS);
    memory_fill (&m, 1);
    fault_bdev_fail_once (disks[0], FAULT_READ, k);
    ck_assert_int_eq (call_dm_io (k % 2, 1, &where, DM_IO_READ, &m, &bits),
                      fault_bdev_failed (disks[0]) > 0 ? -EIO : 0);
    ck_assert_uint_eq (bits, fault_bdev_failed (disks[0]));
    if (bits != 0)
      assert_memory_zero (&m);
    else
      assert_memory_pattern (&m, 1000, 3);
    /* After the failure nothing more is read. */
    if (bits != 0)
      ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), k + 1);
    teardown ();
  }
  ck_assert_uint_gt (k, 5);
  memory_free (&m);
}
END_TEST

/* Call K on io_region I of three. */
static void
fail_kth_write (bool is_async, const struct memory *m, unsigned i, unsigned k,
                unsigned long expected)
{
  struct io_region where[3];
  unsigned long bits;
  unsigned j;

  setup (1);
  for (j = 0; j < 3; ++j)
    where[j] = region (0, 1 + j * (LONG_SECTORS + 1), LONG_SECTORS);
  fault_bdev_add_rule (disks[0],
                       &(struct fault_rule){ .ops = FAULT_WRITE,
                                             .sector = where[i].sector,
                                             .count = where[i].count,
                                             .skip = k,
                                             .times = 1 });
  ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_WRITE, m, &bits),
                    expected != 0 ? -EIO : 0);
  ck_assert_uint_eq (bits, expected);
  for (j = 0; j < 3; ++j)
    if (!(bits >> j & 1)) {
      char *data = test_alloc_sectors (LONG_SECTORS);

      fault_bdev_look (disks[0], where[j].sector, LONG_SECTORS, data);
      assert_pattern (data, 1, (sector_t) 0, LONG_SECTORS);
      free (data);
    }
  teardown ();
}

START_TEST (the_kth_write_fails)
{
  struct memory m = memory_of_vector (LONG_SECTORS * 512, small_pieces);
  struct io_region where;
  unsigned long bits;
  unsigned calls, i, k;

  memory_fill (&m, 1);
  setup (1); /* how many calls does it take? */
  where = region (0, 0, LONG_SECTORS);
  ck_assert_int_eq (call_dm_io (false, 1, &where, DM_IO_WRITE, &m, &bits), 0);
  calls = fault_bdev_calls (disks[0], FAULT_WRITE);
  ck_assert_uint_gt (calls, 3);
  teardown ();
  for (i = 0; i < 3; ++i)
    for (k = 0; k <= calls; ++k) {
      fail_kth_write (false, &m, i, k, k < calls ? 1UL << i : 0);
      fail_kth_write (true, &m, i, k, k < calls ? 1UL << i : 0);
    }
  memory_free (&m);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    bits_are_exact,     errors_tell_why,     failed_reads_leave_zeroes,
    the_kth_read_fails, the_kth_write_fails, NULL,
  };

  return dm_io_main ("dm-io-bits", tests);
}
