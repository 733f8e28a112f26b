/* Unit tests of dm-io: what is refused, what is ignored, and flags.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "dm-io-test.h"
#include "io-threads.h"

/*----- requests that are refused ---------------------------------------*/

/* Every call refuses the request with EXPECTED, does nothing, and leaves
 * the error bits alone.
 */
static void
assert_refused (unsigned n, struct io_region *where, int rw, int expected)
{
  unsigned kind;

  for (kind = 0; kind < MEMORY_KINDS; ++kind) {
    struct memory m = memory_of_kind (kind, 512);
    unsigned long bits;
    int error = 77;

    memory_fill (&m, 5);
    ck_assert_int_eq (call_dm_io (false, n, where, rw, &m, &bits), expected);
    ck_assert_uint_eq (bits, UNTOUCHED);
    if (kind == PLAIN) {
      ck_assert_int_eq (dm_io_sync_vm_errors (n, where, rw, m.plain, &bits,
                                              &error),
                        expected);
      ck_assert_uint_eq (bits, UNTOUCHED);
      ck_assert_int_eq (error, 77);
    }
    ck_assert_int_eq (dm_io_get (1), 0);
    ck_assert_int_eq (submit (n, where, rw, &m, never_called, NULL), expected);
    dm_io_put (1);
    assert_memory_pattern (&m, 5, 0);
    memory_free (&m);
  }
  ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_ALL), 0);
}

START_TEST (too_many_regions)
{
  struct io_region where[DM_IO_MAX_REGIONS + 1];
  unsigned i;

  setup (1);
  ck_assert_uint_eq (DM_IO_MAX_REGIONS, 8 * sizeof (unsigned long));
  for (i = 0; i < ARRAY_COUNT (where); ++i)
    where[i] = region (0, i, 1);
  assert_refused (DM_IO_MAX_REGIONS + 1, where, DM_IO_WRITE, -EINVAL);
  assert_refused (DM_IO_MAX_REGIONS + 1, where, DM_IO_FLUSH, -EINVAL);
  assert_refused (UINT_MAX, where, DM_IO_WRITE, -EINVAL);
  teardown ();
}
END_TEST

START_TEST (reads_of_several_regions)
{
  struct io_region where[64];
  unsigned i;

  setup (1);
  for (i = 0; i < 64; ++i)
    where[i] = region (0, i, i == 0 ? 1 : 0);
  assert_refused (2, where, DM_IO_READ, -EIO);
  assert_refused (64, where, DM_IO_READ, -EIO);
  teardown ();
}
END_TEST

START_TEST (unknown_operations_and_flags)
{
  static const struct {
    int op;
    unsigned flags;
  } known[] = {
    { DM_IO_READ, 0 },
    { DM_IO_WRITE, DM_IO_FUA | DM_IO_PREFLUSH },
    { DM_IO_FLUSH, 0 },
    { DM_IO_DISCARD, DM_IO_FUA | DM_IO_PREFLUSH },
    { DM_IO_WRITE_ZEROES,
      DM_IO_FUA | DM_IO_PREFLUSH | DM_IO_UNMAP | DM_IO_FAST },
  };
  struct io_region where;
  unsigned i, bit;
  int op;

  setup (1);
  where = region (0, 0, 1);
  for (i = 0; i < ARRAY_COUNT (known); ++i)
    for (bit = 8; bit < 32; ++bit)
      if (!(known[i].flags & 1U << bit))
        assert_refused (1, &where, (int) ((unsigned) known[i].op | 1U << bit),
                        -EINVAL);
  for (op = 0; op < 256; ++op) {
    for (i = 0; i < ARRAY_COUNT (known) && known[i].op != op; ++i)
      ;
    if (i == ARRAY_COUNT (known))
      assert_refused (1, &where, op, -EINVAL);
  }
  assert_refused (1, &where, -1, -EINVAL);
  teardown ();
}
END_TEST

START_TEST (pages_offset_beyond_the_page)
{
  struct memory m = memory_of_pages (8 * 512, 0);
  struct io_region where;
  unsigned long bits = UNTOUCHED;

  setup (1);
  where = region (0, 0, 1);
  ck_assert_int_eq (dm_io_sync (1, &where, DM_IO_WRITE, m.pages, DM_PAGE_SIZE,
                                &bits),
                    -EINVAL);
  ck_assert_int_eq (dm_io_sync (1, &where, DM_IO_WRITE, m.pages, UINT_MAX,
                                &bits),
                    -EINVAL);
  ck_assert_uint_eq (bits, UNTOUCHED);
  assert_disk_untouched (0);
  memory_free (&m);
  teardown ();
}
END_TEST

START_TEST (async_needs_get_and_fn)
{
  struct io_region where;
  unsigned kind;

  setup (1);
  where = region (0, 0, 1);
  io_threads_get (); /* as a client of kcopyd does */
  for (kind = 0; kind < MEMORY_KINDS; ++kind) {
    struct memory m = memory_of_kind (kind, 512);

    ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &m, never_called, NULL),
                      -EINVAL);
    ck_assert_int_eq (dm_io_get (1), 0);
    ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &m, NULL, NULL), -EINVAL);
    dm_io_put (1);
    ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &m, never_called, NULL),
                      -EINVAL);
    memory_free (&m);
  }
  io_threads_put ();
  assert_disk_untouched (0);
  teardown ();
}
END_TEST

/*----- regions that are ignored, and flushes ---------------------------*/

START_TEST (no_regions_at_all)
{
  unsigned kind, is_async;

  setup (1);
  for (kind = 0; kind < MEMORY_KINDS; ++kind)
    for (is_async = 0; is_async < 2; ++is_async) {
      struct memory m = memory_of_kind (kind, 512);
      unsigned long bits;

      ck_assert_int_eq (call_dm_io (is_async, 0, NULL, DM_IO_WRITE, &m, &bits),
                        0);
      ck_assert_uint_eq (bits, 0);
      ck_assert_int_eq (call_dm_io (is_async, 0, NULL, DM_IO_FLUSH, &m, &bits),
                        0);
      ck_assert_int_eq (call_dm_io (is_async, 0, NULL, DM_IO_READ, &m, &bits),
                        0);
      ck_assert_uint_eq (bits, 0);
      memory_free (&m);
    }
  teardown ();
}
END_TEST

/* An io_region with count 0 is ignored, wherever it points; with a
 * preflush its device is flushed all the same.
 */
START_TEST (regions_of_nothing)
{
  unsigned is_async;

  for (is_async = 0; is_async < 2; ++is_async) {
    struct memory m = memory_of_kind (PLAIN, 512);
    struct io_region where[3];
    unsigned long bits;

    setup (3);
    where[0] = region (0, UINT64_MAX, 0);
    where[1] = region (1, 4, 1);
    where[2] = region (2, DISK_SECTORS, 0);
    memory_fill (&m, 1);
    ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_WRITE, &m, &bits),
                      0);
    ck_assert_uint_eq (bits, 0);
    ck_assert_int_eq (call_dm_io (is_async, 1, where, DM_IO_READ, &m, &bits),
                      0);
    assert_memory_pattern (&m, 1, 0);
    ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_DISCARD, &m, &bits),
                      0);
    ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_WRITE_ZEROES, &m,
                                  &bits),
                      0);
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_ALL), 0);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_ALL), 3);
    ck_assert_uint_eq (fault_bdev_calls (disks[2], FAULT_ALL), 0);

    ck_assert_int_eq (call_dm_io (is_async, 3, where,
                                  DM_IO_WRITE | DM_IO_PREFLUSH, &m, &bits),
                      0);
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_FLUSH), 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_FLUSH), 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[2], FAULT_FLUSH), 1);
    ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_FLUSH, &m, &bits),
                      0);
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_FLUSH), 2);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_FLUSH), 2);
    ck_assert_uint_eq (fault_bdev_calls (disks[2], FAULT_FLUSH), 2);

    /* And a flush that fails is an error, of its io_region only. */
    fault_bdev_fail_from (disks[0], FAULT_FLUSH, 0);
    ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_FLUSH, &m, &bits),
                      -EIO);
    ck_assert_uint_eq (bits, 1);
    ck_assert_int_eq (call_dm_io (is_async, 3, where,
                                  DM_IO_WRITE | DM_IO_PREFLUSH, &m, &bits),
                      -EIO);
    ck_assert_uint_eq (bits, 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_WRITE), 0);
    memory_free (&m);
    teardown ();
  }
}
END_TEST

/* What each operation and flag becomes, in which order. */
START_TEST (operations_and_flags)
{
  static const struct {
    int rw;
    const char *expected;
  } rows[] = {
    { DM_IO_READ, "d0 read 2+3" },
    { READ, "d0 read 2+3" },
    { WRITE, "d0 write 2+3" },
    { DM_IO_WRITE, "d0 write 2+3" },
    { DM_IO_WRITE | DM_IO_FUA, "d0 write 2+3 fua" },
    { DM_IO_WRITE | DM_IO_PREFLUSH, "d0 flush, d0 write 2+3" },
    { DM_IO_WRITE | DM_IO_PREFLUSH | DM_IO_FUA, "d0 flush, d0 write 2+3 fua" },
    { DM_IO_FLUSH, "d0 flush" },
    { DM_IO_DISCARD, "d0 discard 2+3" },
    { DM_IO_DISCARD | DM_IO_PREFLUSH | DM_IO_FUA,
      "d0 flush, d0 discard 2+3 fua" },
    { DM_IO_WRITE_ZEROES, "d0 zero 2+3" },
    { DM_IO_WRITE_ZEROES | DM_IO_UNMAP, "d0 zero 2+3 unmap" },
    { DM_IO_WRITE_ZEROES | DM_IO_FAST, "d0 zero 2+3 fast" },
    { DM_IO_WRITE_ZEROES | DM_IO_FUA | DM_IO_PREFLUSH,
      "d0 flush, d0 zero 2+3 fua" },
  };
  struct io_region where;
  unsigned i, kind, is_async;

  setup (1);
  where = region (0, 2, 3);
  for (i = 0; i < ARRAY_COUNT (rows); ++i)
    for (kind = 0; kind < MEMORY_KINDS; ++kind)
      for (is_async = 0; is_async < 2; ++is_async) {
        struct memory m = memory_of_kind (kind, 3 * 512);
        unsigned long bits;
        char *text;

        memory_fill (&m, 1);
        fault_trace_reset (trace);
        ck_assert_int_eq (call_dm_io (is_async, 1, &where, rows[i].rw, &m,
                                      &bits),
                          0);
        text = fault_trace_text (trace, FAULT_ALL);
        ck_assert_str_eq (text, rows[i].expected);
        free (text);
        memory_free (&m);
      }
  teardown ();
}
END_TEST

START_TEST (preflush_that_fails_stops_the_write)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct io_region where[2];
  unsigned long bits;

  setup (2);
  where[0] = region (0, 0, 1);
  where[1] = region (1, 0, 1);
  memory_fill (&m, 1);
  fault_bdev_fail_once (disks[0], FAULT_FLUSH, 0);
  ck_assert_int_eq (call_dm_io (false, 2, where, DM_IO_WRITE | DM_IO_PREFLUSH,
                                &m, &bits),
                    -EIO);
  ck_assert_uint_eq (bits, 1);
  assert_disk_untouched (0);
  assert_disk_written (1, 1, 0, 1);
  memory_free (&m);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    too_many_regions,
    reads_of_several_regions,
    unknown_operations_and_flags,
    pages_offset_beyond_the_page,
    async_needs_get_and_fn,
    no_regions_at_all,
    regions_of_nothing,
    operations_and_flags,
    preflush_that_fails_stops_the_write,
    NULL,
  };

  return dm_io_main ("dm-io-requests", tests);
}
