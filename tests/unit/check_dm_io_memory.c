/* Unit tests of dm-io: memory of any kind, of any length.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "dm-io-test.h"

/* Write MEMORY to three io_regions of unequal counts and read it back. */
static void
write_and_read (bool is_async, const struct memory *m, uint64_t seed)
{
  sector_t count = m->bytes / 512;
  struct io_region where[3];
  unsigned long bits;

  setup (3);
  where[0] = region (0, 7, count);
  where[1] = region (1, 0, count > 1 ? count - 1 : 1);
  where[2] = region (2, DISK_SECTORS - 1, 1);
  memory_fill (m, seed);
  ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_WRITE, m, &bits), 0);
  ck_assert_uint_eq (bits, 0);
  assert_disk_written (0, seed, where[0].sector, where[0].count);
  assert_disk_written (1, seed, where[1].sector, where[1].count);
  assert_disk_written (2, seed, where[2].sector, where[2].count);

  memory_fill (m, seed + 1);
  ck_assert_int_eq (call_dm_io (is_async, 1, where, DM_IO_READ, m, &bits), 0);
  ck_assert_uint_eq (bits, 0);
  assert_memory_pattern (m, seed, 0);
  teardown ();
}

START_TEST (pages_from_any_offset)
{
  static const unsigned offsets[] = { 0, 1, 511, 512, 513, 2048, 4095 };
  static const unsigned counts[] = { 1, 2, 7, 8, 9, 33 };
  unsigned i, j, is_async;

  for (i = 0; i < ARRAY_COUNT (offsets); ++i)
    for (j = 0; j < ARRAY_COUNT (counts); ++j)
      for (is_async = 0; is_async < 2; ++is_async) {
        struct memory m = memory_of_pages (counts[j] * (size_t) 512,
                                           offsets[i]);

        write_and_read (is_async, &m, 10 * i + j);
        memory_free (&m);
      }
}
END_TEST

/* More than a page of pages in one go of the device (128 pieces). */
START_TEST (pages_of_many_pieces)
{
  struct memory m = memory_of_pages (390 * 512, 0);
  struct memory apart;
  unsigned i;

  write_and_read (false, &m, 1);
  memory_free (&m);

  /* Every other page of a slab: none can be joined to the next. */
  apart = memory_of_vector (390 * 512, small_pieces);
  for (i = 0; i < 2; ++i)
    write_and_read (i, &apart, 2);
  memory_free (&apart);
}
END_TEST

START_TEST (vectors_of_any_pieces)
{
  static const unsigned *const shapes[] = {
    whole_sectors,
    odd_pieces,
    small_pieces,
  };
  static const unsigned counts[] = { 1, 2, 9, 50, 300 };
  unsigned i, j, is_async;

  for (i = 0; i < ARRAY_COUNT (shapes); ++i)
    for (j = 0; j < ARRAY_COUNT (counts); ++j)
      for (is_async = 0; is_async < 2; ++is_async) {
        struct memory m = memory_of_vector (counts[j] * (size_t) 512,
                                            shapes[i]);

        write_and_read (is_async, &m, 10 * i + j);
        memory_free (&m);
      }
}
END_TEST

/* Hundreds of pieces for one sector. */
START_TEST (vectors_of_tiny_pieces)
{
  struct memory m = memory_of_vector (3 * 512, tiny_pieces);

  write_and_read (false, &m, 1);
  memory_free (&m);
}
END_TEST

START_TEST (plain_memory)
{
  static const unsigned counts[] = { 1, 2, 9, 300 };
  unsigned j, is_async;

  for (j = 0; j < ARRAY_COUNT (counts); ++j)
    for (is_async = 0; is_async < 2; ++is_async) {
      struct memory m = memory_of_kind (PLAIN, counts[j] * (size_t) 512);

      write_and_read (is_async, &m, j);
      memory_free (&m);
    }
}
END_TEST

/* A vector has no need of an end when the io_region says how much. */
START_TEST (vector_without_an_end)
{
  char data[1024];
  struct bio_vec bvec[2] = {
    { .bv_page = page_of_address (data), .bv_len = 0 },
    { .bv_page = page_of_address (data), .bv_len = 1024 },
  };
  struct io_region where;
  unsigned long bits;

  setup (1);
  where = region (0, 3, 2);
  fill_pattern (data, 1, 0, 2);
  ck_assert_int_eq (dm_io_sync_bvec (1, &where, DM_IO_WRITE, bvec, &bits), 0);
  assert_disk_written (0, 1, 3, 2);
  teardown ();
}
END_TEST

/* Eight sectors of memory: io_regions that want more fail, others don't. */
START_TEST (memory_may_be_too_short)
{
  unsigned kind, is_async;

  for (kind = 0; kind < PLAIN; ++kind)
    for (is_async = 0; is_async < 2; ++is_async) {
      struct memory m = kind == PAGES
                          ? memory_of_pages (8 * 512, 0)
                          : memory_of_vector (8 * 512, whole_sectors);
      struct io_region where[4];
      unsigned long bits;

      setup (4);
      where[0] = region (0, 0, 9);
      where[1] = region (1, 0, 8);
      where[2] = region (2, 0, 300);
      where[3] = region (3, 5, 1);
      memory_fill (&m, 1);
      ck_assert_int_eq (call_dm_io (is_async, 4, where, DM_IO_WRITE, &m, &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1 << 0 | 1 << 2);
      assert_disk_written (1, 1, 0, 8);
      assert_disk_written (3, 1, 5, 1);

      ck_assert_int_eq (call_dm_io (is_async, 1, where, DM_IO_READ, &m, &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1);
      assert_memory_zero (&m);
      memory_free (&m);
      teardown ();
    }
}
END_TEST

/* Memory of 8 sectors and a half: the half is no sector. */
START_TEST (memory_may_end_inside_a_sector)
{
  struct memory m = memory_of_vector (8 * 512 + 256, odd_pieces);
  struct io_region where;
  unsigned long bits;

  setup (1);
  where = region (0, 0, 9);
  ck_assert_int_eq (call_dm_io (false, 1, &where, DM_IO_WRITE, &m, &bits),
                    -EIO);
  ck_assert_uint_eq (bits, 1);
  ck_assert_int_eq (call_dm_io (false, 1, &where, DM_IO_READ, &m, &bits), -EIO);
  assert_memory_zero (&m);
  memory_free (&m);
  teardown ();
}
END_TEST

START_TEST (no_memory_at_all)
{
  struct memory none[3] = {
    { .kind = PAGES },
    { .kind = VECTOR },
    { .kind = PLAIN },
  };
  struct io_region where;
  unsigned kind, is_async;
  unsigned long bits;

  for (kind = 0; kind < 3; ++kind)
    for (is_async = 0; is_async < 2; ++is_async) {
      setup (1);
      where = region (0, 0, 1);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_WRITE,
                                    &none[kind], &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_READ,
                                    &none[kind], &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1);
      assert_disk_untouched (0);
      /* Nor is any needed for these. */
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_FLUSH,
                                    &none[kind], &bits),
                        0);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_DISCARD,
                                    &none[kind], &bits),
                        0);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_WRITE_ZEROES,
                                    &none[kind], &bits),
                        0);
      teardown ();
    }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    pages_from_any_offset,
    pages_of_many_pieces,
    vectors_of_any_pieces,
    vectors_of_tiny_pieces,
    plain_memory,
    vector_without_an_end,
    memory_may_be_too_short,
    memory_may_end_inside_a_sector,
    no_memory_at_all,
    NULL,
  };

  return dm_io_main ("dm-io-memory", tests);
}
