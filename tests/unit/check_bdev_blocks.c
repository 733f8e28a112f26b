/* Unit tests of the device of sectors over a device of whole blocks.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "bdev-impl.h"
#include "checked-math.h"
#include "fault-alloc.h"
#include "target-test.h"

/*----- a device that takes only whole blocks ---------------------------*/

/* It passes them on to a disk of fault-bdev.h.  What it begins reaches the
 * disk in begin, or in end.
 */
struct strict {
  struct fault_bdev *disk;
  struct block_device *bdev;
  sector_t block; /* sectors of one */
  atomic_uint wrong;
  atomic_bool lands_at_end;
  struct event_count ended;
};

/* One for each test. */
static struct strict strict;

static int
check_whole (struct strict *s, sector_t sector, sector_t count)
{
  if (sector % s->block == 0 && count % s->block == 0)
    return 0;
  atomic_fetch_add (&s->wrong, 1);
  return -EINVAL;
}

static sector_t
sectors_of (const struct iovec *iov, int iovcnt)
{
  size_t bytes = 0;
  int i;

  for (i = 0; i < iovcnt; ++i)
    bytes += iov[i].iov_len;
  return bytes / SECTOR_SIZE;
}

static int
strict_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  struct strict *s = handle;
  int r = check_whole (s, sector, sectors_of (iov, iovcnt));

  return r < 0 ? r : bdev_read (s->bdev, iov, iovcnt, sector);
}

static int
strict_write (void *handle, const struct iovec *iov, int iovcnt,
              sector_t sector, unsigned flags)
{
  struct strict *s = handle;
  int r = check_whole (s, sector, sectors_of (iov, iovcnt));

  return r < 0 ? r : bdev_write (s->bdev, iov, iovcnt, sector, flags);
}

static int
strict_flush (void *handle)
{
  struct strict *s = handle;

  return bdev_flush (s->bdev);
}

static int
strict_discard (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  struct strict *s = handle;
  int r = check_whole (s, sector, count);

  return r < 0 ? r : bdev_discard (s->bdev, sector, count, flags);
}

static int
strict_write_zeroes (void *handle, sector_t sector, sector_t count,
                     unsigned flags)
{
  struct strict *s = handle;
  int r = check_whole (s, sector, count);

  return r < 0 ? r : bdev_write_zeroes (s->bdev, sector, count, flags);
}

static int
strict_extent (void *handle, sector_t sector, sector_t count,
               struct bdev_extent *extent)
{
  struct strict *s = handle;
  int r = check_whole (s, sector, count);

  return r < 0 ? r : bdev_extent (s->bdev, sector, count, extent);
}

static int
strict_identity (void *handle, struct bdev_identity *identity)
{
  struct strict *s = handle;

  return bdev_identity (s->bdev, identity);
}

static int
land (struct strict *s, const struct bdev_io *io)
{
  switch (io->op) {
  case BDEV_READ:
    return strict_read (s, io->iov, io->iovcnt, io->sector);
  case BDEV_WRITE:
    return strict_write (s, io->iov, io->iovcnt, io->sector, io->flags);
  case BDEV_FLUSH:
    return strict_flush (s);
  case BDEV_DISCARD:
    return strict_discard (s, io->sector, io->count, io->flags);
  default:
    return strict_write_zeroes (s, io->sector, io->count, io->flags);
  }
}

static int
strict_begin (void *handle, struct bdev_io *io)
{
  struct strict *s = handle;

  io->state[0] = atomic_load (&s->lands_at_end) ? NULL : io;
  io->state[1] = (void *) (intptr_t) (io->state[0] ? land (s, io) : 0);
  return 0;
}

static int
strict_end (void *handle, struct bdev_io *io)
{
  struct strict *s = handle;
  int r = io->state[0] ? (int) (intptr_t) io->state[1] : land (s, io);

  event_count_add (&s->ended);
  return r;
}

static void
strict_limits (void *handle, struct bdev_limits *limits)
{
  (void) handle;
  limits->is_remote = true;
  limits->max_bytes = 123456;
}

static int
strict_reconnect (void *handle, unsigned flags)
{
  (void) handle;
  return flags == BDEV_RECONNECT_FENCED ? -EBUSY : 0;
}

static int
strict_copy (void *handle, sector_t sector, void *dest_handle,
             sector_t dest_sector, sector_t count)
{
  struct strict *s = handle;
  char *data = test_alloc_sectors (count);
  int r = read_at (s->bdev, sector, count, data);

  ck_assert_ptr_eq (handle, dest_handle);
  if (r == 0)
    r = check_whole (s, sector | dest_sector, count);
  if (r == 0)
    r = write_at (s->bdev, dest_sector, count, data, 0);
  free (data);
  return r;
}

static void
strict_close (void *handle)
{
  struct strict *s = handle;

  bdev_close (s->bdev);
}

static const struct bdev_ops strict_ops = {
  .struct_size = sizeof strict_ops,
  .read = strict_read,
  .write = strict_write,
  .flush = strict_flush,
  .discard = strict_discard,
  .write_zeroes = strict_write_zeroes,
  .extent = strict_extent,
  .identity = strict_identity,
  .begin = strict_begin,
  .end = strict_end,
  .limits = strict_limits,
  .reconnect = strict_reconnect,
  .copy = strict_copy,
  .close = strict_close,
};

static const struct bdev_ops bare_ops = {
  .struct_size = sizeof bare_ops,
  .read = strict_read,
  .close = strict_close,
};

static struct block_device *
make_strict (const struct bdev_ops *ops, sector_t sectors, sector_t block,
             struct fault_trace *trace)
{
  struct block_device *lower;

  memset (&strict, 0, sizeof strict);
  strict.disk = fault_bdev_create ("disk", sectors, trace);
  strict.bdev = fault_bdev_open (strict.disk, 0);
  strict.block = block;
  event_count_init (&strict.ended);
  ck_assert_int_eq (bdev_create (ops, &strict, "disk", sectors, &lower), 0);
  return lower;
}

/* A device of sectors over SECTORS sectors in blocks of BLOCK. */
static struct block_device *
setup (sector_t sectors, sector_t block, struct fault_trace *trace)
{
  struct block_device *lower = make_strict (&strict_ops, sectors, block, trace);
  struct block_device *bdev;

  ck_assert_int_eq (bdev_blocks_create (lower,
                                        (unsigned) sector_to_bytes (block),
                                        &bdev),
                    0);
  return bdev;
}

static void
teardown (struct block_device *bdev)
{
  bdev_close (bdev);
  ck_assert_uint_eq (fault_bdev_open_count (strict.disk), 0);
  fault_bdev_destroy (strict.disk);
  event_count_destroy (&strict.ended);
  ck_assert_uint_eq (atomic_load (&strict.wrong), 0);
}

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

static char buffer[sizeof (char[256 * 512])];

static int
change (struct block_device *bdev, char op, sector_t sector, sector_t count,
        unsigned flags)
{
  switch (op) {
  case 'r':
    return read_at (bdev, sector, count, buffer);
  case 'w':
    return write_at (bdev, sector, count, buffer, flags);
  case 'z':
    return bdev_write_zeroes (bdev, sector, count, flags);
  default:
    return bdev_discard (bdev, sector, count, flags);
  }
}

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

/*----- in flight -------------------------------------------------------*/

START_TEST (whole_blocks_can_be_in_flight)
{
  struct fault_trace *trace = fault_trace_create ();
  struct block_device *bdev = setup (64, 8, trace);
  struct iovec iov = piece (buffer, 8 * SECTOR_SIZE);
  struct bdev_io ios[] = {
    { .op = BDEV_WRITE,
      .iov = &iov,
      .iovcnt = 1,
      .sector = 8,
      .flags = BDEV_FUA },
    { .op = BDEV_READ, .iov = &iov, .iovcnt = 1, .sector = 16 },
    { .op = BDEV_FLUSH },
    { .op = BDEV_DISCARD, .sector = 24, .count = 8 },
    { .op = BDEV_WRITE_ZEROES, .sector = 32, .count = 16, .flags = BDEV_UNMAP },
  };
  unsigned i;
  char *calls;

  for (i = 0; i < ARRAY_COUNT (ios); ++i)
    ck_assert_int_eq (bdev_begin (bdev, &ios[i]), 0);
  for (i = ARRAY_COUNT (ios); i-- > 0;)
    ck_assert_int_eq (bdev_end (bdev, &ios[i]), 0);
  calls = fault_trace_text (trace, FAULT_ALL);
  ck_assert_str_eq (calls, "disk write 8+8 fua, disk read 16+8, disk flush, "
                           "disk discard 24+8, disk zero 32+16 unmap");
  free (calls);

  /* Parts of blocks are not begun, and leave no trace. */
  for (i = 0; i < ARRAY_COUNT (ios); ++i) {
    ios[i].sector++;
    ck_assert_int_eq (bdev_begin (bdev, &ios[i]),
                      ios[i].op == BDEV_FLUSH ? 0 : -EAGAIN);
    if (ios[i].op == BDEV_FLUSH)
      ck_assert_int_eq (bdev_end (bdev, &ios[i]), 0);
  }
  iov = piece (buffer, 7 * SECTOR_SIZE);
  ios[0].sector = 8;
  ck_assert_int_eq (bdev_begin (bdev, &ios[0]), -EAGAIN);
  teardown (bdev);
  fault_trace_destroy (trace);
}
END_TEST

START_TEST (errors_of_what_is_in_flight)
{
  struct block_device *bdev = setup (64, 8, NULL);
  struct iovec iov = piece (buffer, 8 * SECTOR_SIZE);
  struct bdev_io io = { .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1 };

  fault_bdev_fail_once (strict.disk, FAULT_WRITE, 0);
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert_int_eq (bdev_end (bdev, &io), -EIO);
  /* It was overtaken, too: what has failed is not tried again. */
  atomic_store (&strict.lands_at_end, true);
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert_int_eq (write_at (bdev, 1, 1, buffer, 0), 0);
  fault_bdev_fail_once (strict.disk, FAULT_WRITE, 0);
  ck_assert_int_eq (bdev_end (bdev, &io), -EIO);
  ck_assert_uint_eq (fault_bdev_calls (strict.disk, FAULT_WRITE), 3);
  teardown (bdev);
}
END_TEST

START_TEST (only_so_many_are_in_flight)
{
  enum { MANY = 200 };
  struct block_device *bdev = setup (8, 8, NULL);
  struct iovec iov = piece (buffer, 8 * SECTOR_SIZE);
  struct bdev_io ios[MANY];
  unsigned i, begun = 0, again;

  for (again = 0; again < 2; ++again) {
    for (i = 0; i < MANY; ++i) {
      int r;

      ios[i] = (struct bdev_io){ .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1 };
      r = bdev_begin (bdev, &ios[i]);
      if (r != 0)
        break;
      begun++;
    }
    ck_assert_int_eq (bdev_begin (bdev, &ios[i]), -EAGAIN);
    ck_assert_uint_lt (i, MANY);
    ck_assert_uint_ge (i, 64);
    while (i-- > 0)
      ck_assert_int_eq (bdev_end (bdev, &ios[i]), 0);
  }
  ck_assert_uint_eq (fault_bdev_calls (strict.disk, FAULT_WRITE), begun);
  teardown (bdev);
}
END_TEST

/*----- neighbours ------------------------------------------------------*/

/* One request on a thread of its own. */
struct request {
  struct thread thread;
  struct block_device *bdev;
  char op;
  sector_t sector;
  sector_t count;
  char *data;
  bool in_flight;
  struct event_count begun;
  struct event_count may_end;
  int result;
};

static void
request_main (void *arg)
{
  struct request *q = arg;
  struct iovec iov = piece (q->data, sector_to_bytes (q->count));
  struct bdev_io io = {
    .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .sector = q->sector
  };

  if (q->in_flight) {
    q->result = bdev_begin (q->bdev, &io);
    event_count_add (&q->begun);
    event_count_wait (&q->may_end, 1);
    if (q->result == 0)
      q->result = bdev_end (q->bdev, &io);
  }
  else if (q->op == 'z')
    q->result = bdev_write_zeroes (q->bdev, q->sector, q->count, 0);
  else
    q->result = bdev_write (q->bdev, &iov, 1, q->sector, 0);
}

static void
request_start (struct request *q, struct block_device *bdev)
{
  q->bdev = bdev;
  event_count_init (&q->begun);
  event_count_init (&q->may_end);
  ck_assert_int_eq (thread_start (&q->thread, "request", request_main, q), 0);
}

static int
request_join (struct request *q)
{
  thread_join (&q->thread);
  event_count_destroy (&q->begun);
  event_count_destroy (&q->may_end);
  return q->result;
}

/* A change of one sector that has read its block, and waits before it writes
 * it; others do not wait.
 */
static void
start_change (struct request *q, struct block_device *bdev)
{
  fault_bdev_gate_shut (strict.disk, FAULT_WRITE, 0, 0);
  request_start (q, bdev);
  fault_bdev_gate_wait (strict.disk, 1);
  fault_bdev_gate_shut (strict.disk, FAULT_DISCARD, 0, 0);
}

static char one_block[8 * SECTOR_SIZE];

/* Each kind of writer of the rest of a block waits for who changes a part of
 * it.
 */
START_TEST (a_change_keeps_others_out)
{
  static const struct {
    char part_op, op;
    sector_t sector, count;
  } cases[] = {
    { 'w', 'w', 0, 8 }, { 'w', 'z', 0, 8 }, { 'w', 'w', 4, 2 },
    { 'w', 'z', 4, 2 }, { 'z', 'w', 0, 8 }, { 'z', 'z', 4, 2 },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct block_device *bdev = setup (64, 8, NULL);
    struct request part = {
      .op = cases[i].part_op, .sector = 1, .count = 1, .data = buffer
    };
    struct request other = { .op = cases[i].op,
                             .sector = cases[i].sector,
                             .count = cases[i].count,
                             .data = one_block };
    char expected[8 * SECTOR_SIZE], back[8 * SECTOR_SIZE];

    memset (expected, 0x77, sizeof expected);
    fault_bdev_load (strict.disk, 0, 8, expected);
    fill_pattern (buffer, 1, 0, 1);
    fill_pattern (one_block, 2, 0, 8);
    start_change (&part, bdev);
    request_start (&other, bdev);
    short_wait ();
    /* Who reads does not wait, nor who writes elsewhere. */
    ck_assert_int_eq (read_at (bdev, 1, 1, back), 0);
    ck_assert_int_eq (write_at (bdev, 9, 1, back, 0), 0);
    fault_bdev_gate_open (strict.disk);
    ck_assert_int_eq (request_join (&part), 0);
    ck_assert_int_eq (request_join (&other), 0);

    if (part.op == 'z')
      memset (buffer, 0, SECTOR_SIZE);
    memcpy (expected + SECTOR_SIZE, buffer, SECTOR_SIZE);
    if (other.op == 'z')
      memset (one_block, 0, sizeof one_block);
    memcpy (expected + sector_to_bytes (other.sector), one_block,
            sector_to_bytes (other.count));
    fault_bdev_look (strict.disk, 0, 8, back);
    ck_assert_mem_eq (back, expected, sizeof back);
    teardown (bdev);
  }
}
END_TEST

START_TEST (nothing_begins_during_a_change)
{
  struct block_device *bdev = setup (64, 8, NULL);
  struct request part = { .op = 'w', .sector = 1, .count = 1, .data = buffer };
  struct iovec iov = piece (one_block, sizeof one_block);
  struct bdev_io io = { .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1 };
  unsigned i;

  start_change (&part, bdev);
  for (i = 0; i < 1000; ++i)
    ck_assert_int_eq (bdev_begin (bdev, &io), -EAGAIN);
  io.sector = 8; /* another block */
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert_int_eq (bdev_end (bdev, &io), 0);
  fault_bdev_gate_open (strict.disk);
  ck_assert_int_eq (request_join (&part), 0);
  io.sector = 0;
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert_int_eq (bdev_end (bdev, &io), 0);
  teardown (bdev);
}
END_TEST

/* The writing in flight begins, a change reads the old block, the writing
 * lands, the change puts back what it has read: the writing is not lost.
 */
static void
overtake (char op, sector_t sector, sector_t count, bool overtakes)
{
  struct block_device *bdev = setup (64, 8, NULL);
  struct request flying = {
    .sector = 8, .count = 8, .data = one_block, .in_flight = true
  };
  struct request part = {
    .op = op, .sector = sector, .count = count, .data = buffer
  };
  char back[8 * SECTOR_SIZE];
  unsigned writes;

  fill_pattern (one_block, 2, 8, 8);
  fill_pattern (buffer, 3, sector, count);
  atomic_store (&strict.lands_at_end, true);
  request_start (&flying, bdev);
  event_count_wait (&flying.begun, 1);
  start_change (&part, bdev);
  event_count_add (&flying.may_end);
  event_count_wait (&strict.ended, 1); /* it has landed */
  writes = fault_bdev_calls (strict.disk, FAULT_WRITE);
  fault_bdev_gate_open (strict.disk);
  ck_assert_int_eq (request_join (&part), 0);
  ck_assert_int_eq (request_join (&flying), 0);
  if (overtakes) {
    fault_bdev_look (strict.disk, 8, 8, back);
    assert_pattern (back, 2, (sector_t) 8, (sector_t) 8);
  }
  else if (op == 'w')
    ck_assert_uint_eq (fault_bdev_calls (strict.disk, FAULT_WRITE), writes);

  /* That was once: the next one is written once. */
  writes = fault_bdev_calls (strict.disk, FAULT_WRITE);
  flying.sector = 32;
  request_start (&flying, bdev);
  event_count_add (&flying.may_end);
  ck_assert_int_eq (request_join (&flying), 0);
  ck_assert_uint_eq (fault_bdev_calls (strict.disk, FAULT_WRITE), writes + 1);
  teardown (bdev);
}

START_TEST (what_is_overtaken_is_written_again)
{
  static const char ops[] = "wz";
  unsigned i;

  for (i = 0; ops[i] != '\0'; ++i) {
    overtake (ops[i], 9, 1, true);
    overtake (ops[i], 7, 3, true);
    overtake (ops[i], 15, 3, true);
    overtake (ops[i], 3, 6, true);
    overtake (ops[i], 10, 40, true);
    overtake (ops[i], 1, 11, true);
    /* It touches the block as its neighbour, or all of it. */
    overtake (ops[i], 17, 3, false);
    overtake (ops[i], 1, 30, false);
  }
}
END_TEST

/* Threads whose ranges meet inside blocks: nobody finds his own sectors
 * changed, whether he writes parts or whole blocks, blocking or in flight.
 */
#define OWNERS 4
#define OWN_SECTORS 29
#define OWN_ROUNDS 4000

struct owner {
  struct thread thread;
  struct block_device *bdev;
  struct chance chance;
  sector_t first;
  char model[OWN_SECTORS * SECTOR_SIZE];
  char data[OWN_SECTORS * SECTOR_SIZE];
  unsigned begun;
  bool is_wrong;
};

static int
owner_write (struct owner *o, sector_t sector, sector_t count)
{
  struct iovec iov = piece (o->data, sector_to_bytes (count));
  struct bdev_io io = {
    .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .sector = o->first + sector
  };
  int r;

  fill_pattern (o->data, chance_next (&o->chance), 0, count);
  memcpy (o->model + sector_to_bytes (sector), o->data,
          sector_to_bytes (count));
  r = bdev_begin (o->bdev, &io);
  if (r == -EAGAIN)
    return bdev_write (o->bdev, &iov, 1, io.sector, 0);
  o->begun++;
  return r < 0 ? r : bdev_end (o->bdev, &io);
}

static void
owner_main (void *arg)
{
  struct owner *o = arg;
  unsigned round;

  for (round = 0; round < OWN_ROUNDS; ++round) {
    sector_t sector = chance_below (&o->chance, OWN_SECTORS);
    sector_t count = 1 + chance_below (&o->chance, OWN_SECTORS - sector);

    if (chance_below (&o->chance, 2)) { /* a whole block, if it is there */
      sector = round_up_to (o->first + sector, 8) - o->first;
      count = 8;
      if (sector + count > OWN_SECTORS)
        continue;
    }
    if (chance_below (&o->chance, 8) == 0) {
      memset (o->model + sector_to_bytes (sector), 0, sector_to_bytes (count));
      o->is_wrong |= bdev_write_zeroes (o->bdev, o->first + sector, count, 0) !=
                     0;
    }
    else
      o->is_wrong |= owner_write (o, sector, count) != 0;
    o->is_wrong |= read_at (o->bdev, o->first, OWN_SECTORS, o->data) != 0;
    o->is_wrong |= memcmp (o->data, o->model, sizeof o->model) != 0;
    if (o->is_wrong)
      return;
  }
}

START_TEST (neighbours_never_lose_anything)
{
  struct chance chance = chance_begin ("neighbours_never_lose_anything");
  struct block_device *bdev = setup (128, 8, NULL);
  struct owner *owners = test_alloc (OWNERS * sizeof *owners);
  unsigned i, begun = 0;

  memset (owners, 0, OWNERS * sizeof *owners);
  atomic_store (&strict.lands_at_end, true);
  for (i = 0; i < OWNERS; ++i) {
    owners[i].bdev = bdev;
    owners[i].chance.state = chance_next (&chance);
    owners[i].first = 3 + (sector_t) OWN_SECTORS * i;
    ck_assert_int_eq (thread_start (&owners[i].thread, "owner", owner_main,
                                    &owners[i]),
                      0);
  }
  for (i = 0; i < OWNERS; ++i) {
    thread_join (&owners[i].thread);
    ck_assert (!owners[i].is_wrong);
    begun += owners[i].begun;
  }
  ck_assert_uint_gt (begun, 0);
  teardown (bdev);
  free (owners);
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
    whole_blocks_can_be_in_flight,
    errors_of_what_is_in_flight,
    only_so_many_are_in_flight,
    a_change_keeps_others_out,
    nothing_begins_during_a_change,
    what_is_overtaken_is_written_again,
    neighbours_never_lose_anything,
    NULL,
  };

  return unit_main ("bdev-blocks", tests);
}
