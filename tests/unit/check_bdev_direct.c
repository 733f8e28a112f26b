/* Unit tests of direct files in flight.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>

#include "vector.h"

#ifdef HAVE_LIBURING

#include "direct-test.h"

/*----- fan-outs --------------------------------------------------------*/

START_TEST (a_fan_out_is_submitted_at_once)
{
  unsigned round;

  setup ();
  for (round = 0; round < 3; ++round) {
    unsigned submits = atomic_load (&calls.submits);

    ck_assert_int_eq (try_fan_out (round), 0);
    ck_assert_uint_eq (atomic_load (&calls.submits), submits + 1);
    ck_assert_uint_eq (atomic_load (&calls.submitted), ON_RING);
    ck_assert_uint_eq (atomic_load (&calls.begun), ON_RING * (round + 1));
  }
  /* The last file is written meanwhile. */
  ck_assert_uint_eq (atomic_load (&calls.waits), 0);
  ck_assert_uint_eq (atomic_load (&calls.inits), 1);
  teardown ();
}
END_TEST

/* More pieces than one call takes: in rounds, of which each leaves one file to
 * the thread itself.
 */
START_TEST (a_scattered_fan_out_goes_in_rounds)
{
  enum { PIECES = 300 };
  char *data = aligned_sectors (2 * PIECES);
  struct bio_vec bvec[PIECES];
  struct io_region where[FILES];
  char *expected = aligned_sectors (PIECES);
  unsigned long bits = 1;
  unsigned i;

  setup ();
  fill_pattern (expected, 6, 24, PIECES);
  for (i = 0; i < PIECES; ++i) { /* every other sector of the memory */
    char *sector = data + 1024 * (size_t) i;

    bvec[i] = (struct bio_vec){ .bv_page = (struct page *) sector,
                                .bv_len = 512 };
    memcpy (sector, expected + 512 * (size_t) i, 512);
  }
  for (i = 0; i < FILES; ++i)
    where[i] = (struct io_region){ files[i], 24, PIECES };
  ck_assert_int_eq (dm_io_sync_bvec (FILES, where, DM_IO_WRITE, bvec, &bits),
                    0);
  ck_assert_uint_eq (bits, 0);
  ck_assert_uint_eq (atomic_load (&calls.begun), 3 * ON_RING);
  ck_assert_int_eq (look (6, 24, PIECES), 0);
  teardown ();
  free (expected);
  free (data);
}
END_TEST

START_TEST (one_file_needs_no_ring)
{
  char *data = aligned_sectors (8);
  struct io_region where = { .count = 8 };

  setup ();
  where.bdev = files[0];
  ck_assert_int_eq (write_at (files[0], 0, 8, data, 0), 0);
  ck_assert_int_eq (dm_io_sync_vm (1, &where, DM_IO_READ, data, NULL), 0);
  ck_assert_uint_eq (atomic_load (&calls.inits), 0);
  teardown ();
  free (data);
}
END_TEST

/* Buffered files are written meanwhile, and read back what others wrote. */
START_TEST (buffered_files_are_written_meanwhile)
{
  setup ();
  bdev_close (files[1]);
  ck_assert_int_eq (bdev_open (path_of (1), BDEV_OPEN_BUFFERED, &files[1]), 0);
  ck_assert_int_eq (try_fan_out (7), 0);
  ck_assert_uint_eq (atomic_load (&calls.submits), 1);
  ck_assert_uint_eq (atomic_load (&calls.waits), 0); /* before that */
  ck_assert_uint_eq (atomic_load (&calls.submitted), ON_RING - 1);
  ck_assert_uint_eq (atomic_load (&calls.begun), ON_RING - 1);
  teardown ();
}
END_TEST

/* A read and a write in flight, of memory that is cut and lies anywhere. */
START_TEST (any_memory_may_be_in_flight)
{
  enum { SECTORS = 300 };
  static const unsigned shifts[] = { 0, 1, 8, 64, 511, 512, 4095 };
  char *memory = aligned_sectors (2 * SECTORS + 32);
  char *other = aligned_sectors (SECTORS + 16);
  unsigned i, pieces;

  setup ();
  for (i = 0; i < ARRAY_COUNT (shifts); ++i)
    for (pieces = 1; pieces <= 3; ++pieces) {
      char *data = memory + shifts[i], *back = other + shifts[i];
      struct iovec out[3], in[3];
      struct bdev_io w = {
        .op = BDEV_WRITE, .iov = out, .sector = 40, .more = true
      };
      struct bdev_io r = { .op = BDEV_READ, .iov = in, .sector = 1000 };
      size_t left = sector_to_bytes (SECTORS);
      sector_t half = SECTORS / 2;

      fill_pattern (data, 10 * i + pieces, 40, SECTORS);
      ck_assert_int_eq (write_at (files[1], 1000, half, data, 0), 0);
      /* Pieces of 1536 bytes, and the rest; or all of odd lengths. */
      for (w.iovcnt = 0; w.iovcnt < (int) pieces; ++w.iovcnt) {
        size_t n = i % 2 ? 1001 : 1536;

        if (w.iovcnt == (int) pieces - 1)
          n = left;
        out[w.iovcnt] = piece (data + sector_to_bytes (SECTORS) - left, n);
        left -= n;
      }
      r.iovcnt = vector_slice (out, w.iovcnt, 0, sector_to_bytes (half), in);
      for (left = 0; left < (size_t) r.iovcnt; ++left)
        in[left].iov_base = back + ((char *) in[left].iov_base - data);
      memset (other, 0, sector_to_bytes (SECTORS + 16));

      ck_assert_int_eq (bdev_begin (files[0], &w), 0);
      ck_assert_int_eq (bdev_begin (files[1], &r), 0);
      ck_assert_int_eq (bdev_end (files[1], &r), 0);
      ck_assert_int_eq (bdev_end (files[0], &w), 0);
      assert_pattern (back, 10 * i + pieces, (sector_t) 40, half);
      memset (data, 0, sector_to_bytes (SECTORS));
      ck_assert_int_eq (read_at (files[0], 40, SECTORS, data), 0);
      assert_pattern (data, 10 * i + pieces, (sector_t) 40, (sector_t) SECTORS);
    }
  teardown ();
  free (other);
  free (memory);
}
END_TEST

/* Large memory is in flight if it is aligned; what would have to be copied is
 * not.
 */
START_TEST (large_memory)
{
  char *memory = aligned_sectors (FILE_SECTORS + 1);
  unsigned shift;

  setup ();
  for (shift = 0; shift < 2; ++shift) {
    char *data = memory + shift;
    struct iovec iov = piece (data, sector_to_bytes (FILE_SECTORS));
    struct bdev_io io = { .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1 };
    unsigned long bits = 1;

    fill_pattern (data, shift, 0, FILE_SECTORS);
    ck_assert_int_eq (bdev_begin (files[0], &io), shift ? -EAGAIN : 0);
    if (shift == 0)
      ck_assert_int_eq (bdev_end (files[0], &io), 0);
    ck_assert_int_eq (fan_out (0, FILE_SECTORS, data, DM_IO_WRITE, &bits), 0);
    ck_assert_uint_eq (bits, 0);
    ck_assert_int_eq (look (shift, 0, FILE_SECTORS), 0);
  }
  teardown ();
  free (memory);
}
END_TEST

START_TEST (a_ring_has_room_for_so_many)
{
  enum { MANY = 100 };
  char *data = aligned_sectors (MANY);
  struct bdev_io ios[MANY];
  struct iovec iov[MANY];
  unsigned i, n, round;

  setup ();
  for (round = 0; round < 3; ++round) {
    fill_pattern (data, round, 0, MANY);
    for (n = 0; n < MANY; ++n) {
      iov[n] = piece (data + 512 * (size_t) n, 512);
      ios[n] = (struct bdev_io){ .op = BDEV_WRITE,
                                 .iov = &iov[n],
                                 .iovcnt = 1,
                                 .sector = n,
                                 .more = round != 1 };
      if (bdev_begin (files[n % FILES], &ios[n]) != 0)
        break;
    }
    ck_assert_uint_ge (n, 8);
    ck_assert_uint_lt (n, MANY);
    ck_assert_int_eq (bdev_begin (files[0], &ios[n]), -EAGAIN);
    for (i = n; i-- > 0;)
      ck_assert_int_eq (bdev_end (files[i % FILES], &ios[i]), 0);
    for (i = 0; i < n; ++i) {
      memset (data, 0, 512);
      ck_assert_int_eq (read_at (files[i % FILES], i, 1, data), 0);
      assert_pattern (data, round, (sector_t) i, (sector_t) 1);
    }
  }
  teardown ();
  free (data);
}
END_TEST

/* The last of a fan-out is refused: the others go all the same. */
START_TEST (a_refusal_submits_what_waits)
{
  char *data = aligned_sectors (8);
  struct iovec iov = piece (data, 4096);
  struct bdev_io first = {
    .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .more = true
  };
  struct bdev_io flush = { .op = BDEV_FLUSH };

  setup ();
  ck_assert_int_eq (bdev_begin (files[0], &first), 0);
  ck_assert_uint_eq (atomic_load (&calls.submits), 0);
  ck_assert_int_eq (bdev_begin (files[1], &flush), -EAGAIN);
  ck_assert_uint_eq (atomic_load (&calls.submits), 1);
  ck_assert_int_eq (bdev_end (files[0], &first), 0);
  teardown ();
  free (data);
}
END_TEST

START_TEST (a_durable_write_is_flushed_at_its_end)
{
  char *data = aligned_sectors (8);
  struct iovec iov = piece (data, 4096);
  struct bdev_io io = {
    .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .flags = BDEV_FUA
  };
  unsigned long bits = 1;

  setup ();
  ck_assert_int_eq (bdev_begin (files[0], &io), 0);
  ck_assert_uint_eq (atomic_load (&calls.syncs), 0);
  ck_assert_int_eq (bdev_end (files[0], &io), 0);
  ck_assert_uint_eq (atomic_load (&calls.syncs), 1);
  ck_assert_int_eq (fan_out (0, 8, data, DM_IO_WRITE | DM_IO_FUA, &bits), 0);
  ck_assert_uint_eq (bits, 0);
  ck_assert_uint_eq (atomic_load (&calls.syncs), 1 + FILES);
  teardown ();
  free (data);
}
END_TEST

/* The thread does other things with the file before the end. */
START_TEST (other_calls_while_something_is_in_flight)
{
  char *data = aligned_sectors (512);
  struct iovec iov = piece (data, sector_to_bytes (512));
  struct bdev_io io = {
    .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .sector = 512
  };
  struct bdev_extent extent;
  unsigned round;

  setup ();
  for (round = 0; round < 50; ++round) {
    fill_pattern (data, round, 512, 512);
    ck_assert_int_eq (bdev_begin (files[0], &io), 0);
    ck_assert_int_eq (bdev_write_zeroes (files[0], 0, 64, BDEV_UNMAP), 0);
    ck_assert_int_eq (write_at (files[0], 3, 1, data, 0), 0);
    ck_assert_int_eq (bdev_flush (files[0]), 0);
    ck_assert_int_eq (bdev_extent (files[0], 0, 512, &extent), 0);
    ck_assert_int_eq (bdev_end (files[0], &io), 0);
    ck_assert_int_eq (read_at (files[0], 512, 512, data), 0);
    assert_pattern (data, round, (sector_t) 512, (sector_t) 512);
  }
  teardown ();
  free (data);
}
END_TEST

START_TEST (larger_blocks_in_flight)
{
  unsigned i, round;

  setup ();
  for (i = 0; i < FILES; i += 2)
    ck_assert_int_eq (bdev_blocks_create (files[i], 4096, &files[i]), 0);
  for (round = 0; round < 4; ++round) {
    char *data = aligned_sectors (64);
    unsigned begun = atomic_load (&calls.begun);
    unsigned long bits = 1;

    fill_pattern (data, round, 8 + round, 32);
    ck_assert_int_eq (fan_out (8 + round, 32, data, DM_IO_WRITE, &bits), 0);
    ck_assert_uint_eq (bits, 0);
    ck_assert_int_eq (look (round, 8 + round, 32), 0);
    ck_assert_uint_eq (atomic_load (&calls.begun) - begun,
                       round == 0 ? ON_RING : ON_RING / 2);
    free (data);
  }
  teardown ();
}
END_TEST

/*----- unusual ends ----------------------------------------------------*/

START_TEST (a_part_is_gone_on_with)
{
  unsigned shift, cut;

  setup ();
  for (shift = 0; shift < 2; ++shift)
    for (cut = 512; cut < 8192; cut += 512) {
      char *memory = aligned_sectors (32), *data = memory + shift;
      struct iovec iov = piece (data, 8192);
      struct bdev_io io = {
        .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .sector = 24
      };

      atomic_store (&calls.cut_bytes, cut);
      fill_pattern (data, cut + shift, 24, 16);
      ck_assert_int_eq (bdev_begin (files[0], &io), 0);
      ck_assert_int_eq (bdev_end (files[0], &io), 0);
      memset (data, 0, 8192);
      ck_assert_int_eq (read_at (files[0], 24, 16, data), 0);
      assert_pattern (data, cut + shift, (sector_t) 24, (sector_t) 16);
      memset (data, 0, 8192);
      io.op = BDEV_READ;
      ck_assert_int_eq (bdev_begin (files[0], &io), 0);
      ck_assert_int_eq (bdev_end (files[0], &io), 0);
      assert_pattern (data, cut + shift, (sector_t) 24, (sector_t) 16);
      free (memory);
    }
  ck_assert_uint_eq (atomic_load (&calls.begun), 2 * 2 * 15);
  teardown ();
}
END_TEST

START_TEST (results_of_the_kernel)
{
  static const struct {
    int result;
    int expected;
  } cases[] = {
    { -EAGAIN, 0 },         { -EINTR, 0 },        { -ECANCELED, 0 },
    { -EINVAL, 0 },         { -EOPNOTSUPP, 0 },   { -ENOMEM, 0 },
    { -EIO, -EIO },         { -ENOSPC, -ENOSPC }, { -EREMOTEIO, -EREMOTEIO },
    { -ENODATA, -ENODATA },
  };
  char *data = aligned_sectors (8);
  struct iovec iov = piece (data, 4096);
  unsigned i, writes;

  setup ();
  for (i = 0; i < ARRAY_COUNT (cases); ++i)
    for (writes = 0; writes < 2; ++writes) {
      struct bdev_io io = { .op = writes ? BDEV_WRITE : BDEV_READ,
                            .flags = writes ? BDEV_FUA : 0,
                            .iov = &iov,
                            .iovcnt = 1 };
      unsigned syncs = atomic_load (&calls.syncs);

      ck_assert_int_eq (bdev_begin (files[0], &io), 0);
      atomic_store (&calls.result, cases[i].result);
      ck_assert_int_eq (bdev_end (files[0], &io), cases[i].expected);
      atomic_store (&calls.result, 0);
      ck_assert_uint_eq (atomic_load (&calls.syncs) - syncs,
                         writes && cases[i].expected == 0 ? 1 : 0);
    }
  teardown ();
  free (data);
}
END_TEST

/* In a fan-out too each has its own error, and the others are written. */
START_TEST (one_of_them_fails)
{
  char *data = aligned_sectors (8), *back = aligned_sectors (8);
  unsigned long bits = 0;
  unsigned i;

  setup ();
  fill_pattern (data, 5, 0, 8);
  ck_assert_int_eq (truncate (path_of (2), 0), 0);
  ck_assert_int_eq (fan_out (FILE_SECTORS - 8, 8, data, DM_IO_WRITE, &bits),
                    -EIO);
  ck_assert_uint_eq (bits, 1 << 2);
  for (i = 0; i < FILES; ++i) {
    int r = read_at (files[i], FILE_SECTORS - 8, 8, back);

    ck_assert_int_eq (r, i == 2 ? -EIO : 0);
    if (r == 0)
      assert_pattern (back, 5, (sector_t) 0, (sector_t) 8);
  }
  teardown ();
  free (back);
  free (data);
}
END_TEST

START_TEST (a_file_is_cut_short)
{
  static const off_t lengths[] = { 4096, 4096 + 512, 4096 + 1, 4096 + 513 };
  struct bdev_limits limits;
  char *data = aligned_sectors (32);
  unsigned i;

  setup ();
  for (i = 0; i < ARRAY_COUNT (lengths); ++i) {
    struct iovec iov = piece (data, 8192);
    struct bdev_io io = { .op = BDEV_READ, .iov = &iov, .iovcnt = 1 };

    ck_assert_int_eq (truncate (path_of (i), lengths[i]), 0);
    ck_assert_int_eq (bdev_begin (files[i], &io), 0);
    ck_assert_int_eq (bdev_end (files[i], &io), -EIO);
    ck_assert_int_eq (read_at (files[i], 0, 16, data), -EIO);
    ck_assert_int_eq (read_at (files[i], 0, 8, data), 0);
    /* What reaches the end would make it long again. */
    io.op = BDEV_WRITE;
    io.sector = FILE_SECTORS - 16;
    ck_assert_int_eq (bdev_begin (files[i], &io), -EIO);
    ck_assert_int_eq (bdev_flush (files[i]), -EIO);
    /* That its end is inside a block was not taken for a refusal. */
    bdev_get_limits (files[i], &limits);
    ck_assert (limits.is_direct);
  }
  teardown ();
  free (data);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_fan_out_is_submitted_at_once,
    a_scattered_fan_out_goes_in_rounds,
    one_file_needs_no_ring,
    buffered_files_are_written_meanwhile,
    any_memory_may_be_in_flight,
    large_memory,
    a_ring_has_room_for_so_many,
    a_refusal_submits_what_waits,
    a_durable_write_is_flushed_at_its_end,
    other_calls_while_something_is_in_flight,
    larger_blocks_in_flight,
    a_part_is_gone_on_with,
    results_of_the_kernel,
    one_of_them_fails,
    a_file_is_cut_short,
    NULL,
  };

  return direct_main ("bdev-direct", tests);
}

#else /* HAVE_LIBURING */

int
main (void)
{
  printf ("built without liburing\n");
  return 77;
}

#endif
