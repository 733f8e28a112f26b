/* Unit tests of the block device behind an NBD server: what it does.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <sys/wait.h>

#include "bdev-impl.h"
#include "bits.h"
#include "fake-nbd.h"
#include "fault-alloc.h"
#include "log-sink.h"
#include "test-util.h"

#define DISK_SECTORS ((sector_t) 16384)
#define ALL_FLAGS \
  (FAKE_HAS_FLUSH | FAKE_HAS_FUA | FAKE_HAS_TRIM | FAKE_HAS_ZERO | \
   FAKE_HAS_FAST_ZERO | FAKE_MULTI_CONN)

static char last_message[LOG_MESSAGE_BYTES];

static void
keep_message (enum log_level level, const char *message)
{
  (void) level;
  strcpy (last_message, message);
}

static const struct fake_options usual = {
  .bytes = DISK_SECTORS * SECTOR_SIZE,
  .flags = ALL_FLAGS,
  .has_contexts = true,
};

static int
open_with (struct fake_nbd *fake, unsigned flags, unsigned connections,
           struct block_device **bdev)
{
  const struct bdev_options options = {
    .struct_size = sizeof options,
    .flags = flags,
    .connections = connections,
  };

  return bdev_open_options (fake_nbd_uri (fake), &options, bdev);
}

static struct block_device *
open_fake (struct fake_nbd *fake)
{
  struct block_device *bdev;

  ck_assert_int_eq (open_with (fake, 0, 0, &bdev), 0);
  return bdev;
}

/*----- data ------------------------------------------------------------*/

START_TEST (what_is_written_is_read)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake);
  unsigned char *data = test_alloc_sectors (64);

  ck_assert_uint_eq (bdev_sectors (bdev), DISK_SECTORS);
  ck_assert_str_eq (bdev_name (bdev), fake_nbd_uri (fake));
  ck_assert (!bdev_is_read_only (bdev));
  ck_assert (bdev_can_begin (bdev));
  fill_pattern (data, 1, 5, 64);
  ck_assert_int_eq (write_at (bdev, 5, 64, data, 0), 0);
  assert_pattern (fake_nbd_disk (fake) + 5 * SECTOR_SIZE, 1, 5, 64);
  memset (data, 0, 64 * SECTOR_SIZE);
  ck_assert_int_eq (read_at (bdev, 5, 64, data), 0);
  assert_pattern (data, 1, 5, 64);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_FLUSH, 0), 1);
  ck_assert_int_eq (read_at (bdev, DISK_SECTORS - 1, 2, data), -EINVAL);
  bdev_close (bdev);
  /* Politely. */
  fake_nbd_wait_connections (fake, 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_DISC, 0), 4);
  free (data);
  fake_nbd_destroy (fake);
}
END_TEST

/* Memory in pieces of any size, requests of any length. */
START_TEST (memory_may_be_in_any_pieces)
{
  const sector_t count = 4097;
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake);
  unsigned char *data = test_alloc_sectors (count);
  struct iovec iov[700];
  size_t left = count * SECTOR_SIZE, n = 0;
  int i;

  for (i = 0; i < 699; ++i, left -= n) {
    n = MIN_OF (left, (size_t) (i * 977 % 5003));
    iov[i] = piece (data + count * SECTOR_SIZE - left, n);
  }
  iov[699] = piece (data + count * SECTOR_SIZE - left, left);
  fill_pattern (data, 2, 100, count);
  ck_assert_int_eq (bdev_write (bdev, iov, 700, 100, 0), 0);
  assert_pattern (fake_nbd_disk (fake) + 100 * SECTOR_SIZE, 2, 100, count);
  memset (data, 0, count * SECTOR_SIZE);
  ck_assert_int_eq (bdev_read (bdev, iov, 700, 100), 0);
  assert_pattern (data, 2, 100, count);
  /* More than a socket takes at once, while the threads are asleep. */
  fill_pattern (data, 3, 101, count);
  ck_assert_int_eq (bdev_write (bdev, iov, 700, 101, 0), 0);
  assert_pattern (fake_nbd_disk (fake) + 101 * SECTOR_SIZE, 3, 101, count);
  free (data);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

START_TEST (requests_are_cut_to_the_servers_maximum)
{
  struct fake_options options = usual;
  struct bdev_limits limits;
  struct block_device *bdev;
  struct fake_nbd *fake;
  unsigned char *data = test_alloc_sectors (1000);

  options.block_bytes = 1;
  options.preferred_bytes = 8192;
  options.max_bytes = 20000; /* 39 sectors and a part */
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake);
  bdev_get_limits (bdev, &limits);
  ck_assert_uint_eq (limits.block_bytes, SECTOR_SIZE);
  ck_assert_uint_eq (limits.optimal_bytes, 8192);
  ck_assert_uint_eq (limits.max_bytes, 39 * SECTOR_SIZE);
  ck_assert (limits.is_remote && !limits.is_direct);
  fill_pattern (data, 3, 0, 1000);
  ck_assert_int_eq (write_at (bdev, 0, 1000, data, 0), 0);
  ck_assert_uint_eq (fake_nbd_longest (fake, FAKE_WRITE), 39 * SECTOR_SIZE);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_WRITE, 0), 26);
  memset (data, 0, 1000 * SECTOR_SIZE);
  ck_assert_int_eq (read_at (bdev, 0, 1000, data), 0);
  assert_pattern (data, 3, 0, 1000);
  ck_assert_uint_eq (fake_nbd_longest (fake, FAKE_READ), 39 * SECTOR_SIZE);
  free (data);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* Blocks of 4096 bytes: parts of them are read, changed, written. */
START_TEST (large_blocks_are_honoured)
{
  struct fake_options options = usual;
  struct bdev_limits limits;
  struct block_device *bdev;
  struct fake_nbd *fake;
  unsigned char *data = test_alloc_sectors (100);

  options.block_bytes = options.preferred_bytes = 4096;
  options.max_bytes = 16384;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake);
  bdev_get_limits (bdev, &limits);
  ck_assert_uint_eq (limits.block_bytes, 4096);
  ck_assert (limits.is_remote);
  fill_pattern (fake_nbd_disk (fake), 6, 0, 128);
  fill_pattern (data, 7, 3, 100);
  ck_assert_int_eq (write_at (bdev, 3, 100, data, BDEV_FUA), 0);
  assert_pattern (fake_nbd_disk (fake), 6, 0, 3);
  assert_pattern (fake_nbd_disk (fake) + 3 * SECTOR_SIZE, 7, 3, 100);
  assert_pattern (fake_nbd_disk (fake) + 103 * SECTOR_SIZE, 6, 103, 25);
  memset (data, 0, 100 * SECTOR_SIZE);
  ck_assert_int_eq (read_at (bdev, 3, 100, data), 0);
  assert_pattern (data, 7, 3, 100);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 9, 1, 0), 0);
  assert_pattern (fake_nbd_disk (fake) + 8 * SECTOR_SIZE, 7, 8, 1);
  assert_all_bytes (fake_nbd_disk (fake) + 9 * SECTOR_SIZE, 0, SECTOR_SIZE);
  ck_assert_uint_eq (fake_nbd_unaligned (fake), 0);
  ck_assert_uint_le (fake_nbd_longest (fake, FAKE_WRITE), 16384);
  free (data);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/*----- what the server offers ------------------------------------------*/

START_TEST (flags_are_passed_on)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake);
  char data[SECTOR_SIZE] = "";

  ck_assert_int_eq (write_at (bdev, 0, 1, data, BDEV_FUA), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_WRITE, FAKE_CMD_FUA), 1);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_FLUSH, 0), 0);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 8, 0), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_ZERO, FAKE_CMD_NO_HOLE), 1);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 8, BDEV_UNMAP | BDEV_FUA), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_ZERO, FAKE_CMD_NO_HOLE), 1);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_ZERO, FAKE_CMD_FUA), 1);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 8, BDEV_FAST), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_ZERO, FAKE_CMD_FAST), 1);
  ck_assert_int_eq (bdev_discard (bdev, 0, 8, 0), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_ZERO, FAKE_CMD_FAST), 2);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_ZERO, 0), 4);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_TRIM, 0), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* No FUA: a write and a flush. */
START_TEST (without_fua_it_is_flushed)
{
  struct fake_options options = usual;
  struct block_device *bdev;
  struct fake_nbd *fake;
  char data[SECTOR_SIZE] = "";

  options.flags &= ~FAKE_HAS_FUA;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, BDEV_FUA), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_WRITE, FAKE_CMD_FUA), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_FLUSH, 0), 1);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 1, BDEV_FUA), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_FLUSH, 0), 2);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* FUA and no flush: all writes are durable. */
START_TEST (without_flush_all_writes_have_fua)
{
  struct fake_options options = usual;
  struct block_device *bdev;
  struct fake_nbd *fake;
  char data[SECTOR_SIZE] = "";

  options.flags &= ~FAKE_HAS_FLUSH;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_WRITE, FAKE_CMD_FUA), 1);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_FLUSH, 0), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

START_TEST (a_bare_server_has_defaults)
{
  struct fake_options options = usual;
  struct bdev_extent extent;
  struct block_device *bdev;
  struct fake_nbd *fake;
  char data[SECTOR_SIZE];

  options.flags = 0;
  options.has_contexts = false;
  options.is_plain = true;
  fake = fake_nbd_create (&options);
  log_sink_set (keep_message);
  bdev = open_fake (fake);
  ck_assert_ptr_nonnull (strstr (last_message, "has no flush"));
  last_message[0] = '\0';
  memset (data, 7, sizeof data);
  ck_assert_int_eq (write_at (bdev, 9, 1, data, BDEV_FUA), 0);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_str_eq (last_message, "");
  ck_assert_int_eq (bdev_discard (bdev, 8, 2, 0), -EOPNOTSUPP);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 8, 2, BDEV_FAST), -EOPNOTSUPP);
  ck_assert_int_eq (read_at (bdev, 9, 1, data), 0);
  assert_all_bytes (data, 7, sizeof data);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 8, 2, 0), 0);
  ck_assert_int_eq (read_at (bdev, 9, 1, data), 0);
  assert_all_bytes (data, 0, sizeof data);
  ck_assert_int_eq (bdev_extent (bdev, 3, 9, &extent), 0);
  ck_assert_uint_eq (extent.count, 9);
  ck_assert (!extent.is_hole);
  ck_assert_uint_eq (fake_nbd_connections_ever (fake), 1);
  bdev_close (bdev);
  log_sink_set (NULL);
  fake_nbd_destroy (fake);
}
END_TEST

/* Trim alone does not say what is read afterwards. */
START_TEST (trim_alone_is_no_discard)
{
  struct fake_options options = usual;
  struct block_device *bdev;
  struct fake_nbd *fake;

  options.flags &= ~(FAKE_HAS_ZERO | FAKE_HAS_FAST_ZERO);
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake);
  ck_assert_int_eq (bdev_discard (bdev, 8, 2, 0), -EOPNOTSUPP);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_TRIM | FAKE_ZERO, 0), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* What is asked about sectors 8 to 108 for an answer of EXTENTS. */
static struct bdev_extent
extent_of (const struct fake_extent *extents, unsigned count)
{
  struct fake_options options = usual;
  struct bdev_extent extent;
  struct block_device *bdev;
  struct fake_nbd *fake;

  options.extents = extents;
  options.extent_count = count;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake);
  ck_assert_int_eq (bdev_extent (bdev, 8, 100, &extent), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
  return extent;
}

START_TEST (extents_are_holes_only_if_they_read_as_zeroes)
{
  static const struct {
    struct fake_extent extents[3];
    sector_t count;
    bool is_hole;
  } cases[] = {
    { { { 1024, 3 }, { 512, 0 } }, 2, true },
    { { { 1024, 3 }, { 512, 3 }, { 1, 0 } }, 3, true },
    { { { 1024, 1 }, { 512, 3 } }, 2, false }, /* a hole of any content */
    { { { 1024, 2 }, { 512, 3 } }, 2, false }, /* zeroes, but allocated */
    { { { 1024, 0 }, { 512, 2 }, { 512, 3 } }, 3, false },
    { { { 1025, 3 }, { 9999, 0 } }, 2, true },
    { { { 1025, 0 }, { 9999, 3 } }, 3, false },
    { { { 511, 3 }, { 9999, 0 } }, 1, false },
    { { { 0xffffffff, 3 }, { 0xffffffff, 3 }, { 1, 0 } }, 100, true },
    { { { 0xffffffff, 0 }, { 512, 3 } }, 100, false },
  };
  size_t i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct bdev_extent extent = extent_of (cases[i].extents, 3);

    ck_assert_uint_eq (extent.count, cases[i].count);
    ck_assert_int_eq (extent.is_hole, cases[i].is_hole);
  }
}
END_TEST

/*----- opening ---------------------------------------------------------*/

START_TEST (open_tells_why_not)
{
  static const struct {
    const char *uri;
    int error;
    const char *message;
  } cases[] = {
    { "http://localhost/", -EPROTONOSUPPORT, "a URI of an unknown kind" },
    { "nbd+ssh://localhost/", -EPROTONOSUPPORT, "a URI of an unknown kind" },
    { "nbd+unix:///?socket=/does/not/exist", -ENOENT, "cannot connect" },
    { "nbd+unix:///", -EINVAL, "cannot connect" },
    { "nbd://me:secret@localhost:99999999/", -EINVAL, "nbd://me:***@local" },
  };
  struct block_device *bdev;
  size_t i;

  log_sink_set (keep_message);
  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    int r = bdev_open (cases[i].uri, 0, &bdev);

    if (i < 4)
      ck_assert_int_eq (r, cases[i].error);
    ck_assert_int_lt (r, 0);
    if (strstr (last_message, cases[i].message) == NULL)
      ck_abort_msg ("%s: %s", cases[i].uri, last_message);
    ck_assert_ptr_null (strstr (last_message, "secret"));
  }
  /* Not a URI. */
  ck_assert_int_eq (bdev_open ("./nbd://x", 0, &bdev), -ENOENT);
  ck_assert_int_eq (bdev_open ("/nbd://x", 0, &bdev), -ENOENT);
  ck_assert_int_eq (bdev_open ("nbd:/x", 0, &bdev), -ENOENT);
  log_sink_set (NULL);
}
END_TEST

static void
check_shown (const char *uri, const char *expected)
{
  char *shown = bdev_uri_shown (uri);

  ck_assert_str_eq (shown, expected);
  free (shown);
}

START_TEST (passwords_are_not_shown)
{
  check_shown ("nbd://host/x", "nbd://host/x");
  check_shown ("nbd://host:10809/a:b@c", "nbd://host:10809/a:b@c");
  check_shown ("nbds://me@host/x", "nbds://me@host/x");
  check_shown ("nbds://me:secret@host:1/x", "nbds://me:***@host:1/x");
  check_shown ("nbds://me:se@cret@host", "nbds://me:***@host");
  check_shown ("nbds://:secret@", "nbds://:***@");
}
END_TEST

static void
check_parameter (const char *uri, const char *expected)
{
  char *value;

  ck_assert_int_eq (bdev_uri_parameter (uri, "key", &value), 0);
  if (expected == NULL)
    ck_assert_ptr_null (value);
  else
    ck_assert_str_eq (value, expected);
  free (value);
}

START_TEST (parameters_are_found_and_decoded)
{
  check_parameter ("nbds://key=1/key=2", NULL);
  check_parameter ("nbds://x/?key", NULL);
  check_parameter ("nbds://x/?keys=1&akey=2", NULL);
  check_parameter ("nbds://x/?key=", "");
  check_parameter ("nbds://x/?a=b&key=%2fa%20b%&c=d", "/a b%");
  check_parameter ("nbds://x/?key=1;key=2#key=3", "2");
  ck_assert (bdev_uri_is_tls ("nbds+unix:///"));
  ck_assert (!bdev_uri_is_tls ("nbd://nbds"));
  ck_assert (bdev_uri_is_tcp ("nbds://x") && bdev_uri_is_tcp ("nbd://x"));
  ck_assert (!bdev_uri_is_tcp ("nbds+unix://") &&
             !bdev_uri_is_tcp ("nbd+vsock://"));
}
END_TEST

static void
check_refused (const struct fake_options *options, unsigned flags, int error,
               const char *message)
{
  struct fake_nbd *fake = fake_nbd_create (options);
  struct block_device *bdev;

  last_message[0] = '\0';
  ck_assert_int_eq (open_with (fake, flags, 0, &bdev), error);
  ck_assert_ptr_nonnull (strstr (last_message, message));
  fake_nbd_wait_connections (fake, 0);
  fake_nbd_destroy (fake);
}

START_TEST (exports_that_cannot_be_used_are_refused)
{
  struct fake_options options = usual;

  log_sink_set (keep_message);
  options.told_bytes = 1000;
  check_refused (&options, 0, -EINVAL, "1000 bytes");
  options.told_bytes = (uint64_t) 1 << 63;
  check_refused (&options, 0, -EFBIG, "no disk has");
  options.told_bytes = UINT64_MAX;
  check_refused (&options, 0, -EFBIG, "no disk has");
  options.told_bytes = INT64_MAX;
  check_refused (&options, 0, -EINVAL, "not a multiple");
  options = usual;
  options.flags |= FAKE_READ_ONLY;
  check_refused (&options, 0, -EROFS, "read-only");
  options = usual;
  check_refused (&options, BDEV_OPEN_DIRECT, -EOPNOTSUPP, "O_DIRECT");
  log_sink_set (NULL);
}
END_TEST

START_TEST (sizes_may_be_extreme)
{
  struct fake_options options = usual;
  struct block_device *bdev;
  struct fake_nbd *fake;

  options.told_bytes = INT64_MAX / SECTOR_SIZE * SECTOR_SIZE;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake);
  ck_assert_uint_eq (bdev_sectors (bdev), SECTOR_MAX);
  bdev_close (bdev);
  options.bytes = options.told_bytes = 0;
  fake_nbd_set_options (fake, &options);
  bdev = open_fake (fake);
  ck_assert_uint_eq (bdev_sectors (bdev), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

START_TEST (read_only_servers_can_be_read)
{
  struct fake_options options = usual;
  struct block_device *bdev;
  struct fake_nbd *fake;
  char data[SECTOR_SIZE];

  options.flags |= FAKE_READ_ONLY;
  fake = fake_nbd_create (&options);
  ck_assert_int_eq (open_with (fake, BDEV_OPEN_READ_ONLY, 0, &bdev), 0);
  ck_assert (bdev_is_read_only (bdev));
  ck_assert_int_eq (read_at (bdev, 0, 1, data), 0);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -EROFS);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/*----- connections -----------------------------------------------------*/

START_TEST (connections_are_bounded)
{
  struct fake_options options = usual;
  struct block_device *bdev;
  struct fake_nbd *fake = fake_nbd_create (&options);
  char data[SECTOR_SIZE];
  int i;

  ck_assert_int_eq (open_with (fake, 0, 3, &bdev), 0);
  ck_assert_uint_eq (fake_nbd_connections (fake), 3);
  bdev_close (bdev);
  fake_nbd_wait_connections (fake, 0);
  /* One, unless a flush on one covers all. */
  options.flags &= ~FAKE_MULTI_CONN;
  fake_nbd_set_options (fake, &options);
  ck_assert_int_eq (open_with (fake, 0, 3, &bdev), 0);
  ck_assert_uint_eq (fake_nbd_connections (fake), 1);
  bdev_close (bdev);
  fake_nbd_wait_connections (fake, 0);
  /* What the server does not accept is done without. */
  options.flags |= FAKE_MULTI_CONN;
  options.connections_max = 2;
  fake_nbd_set_options (fake, &options);
  ck_assert_int_eq (open_with (fake, 0, 9, &bdev), 0);
  ck_assert_uint_eq (fake_nbd_connections (fake), 2);
  for (i = 0; i < 9; ++i)
    ck_assert_int_eq (read_at (bdev, 0, 1, data), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* Three devices, one write to each, all in flight at once. */
START_TEST (operations_are_in_flight)
{
  struct fake_nbd *fake[3];
  struct block_device *bdev[3];
  struct bdev_io io[3];
  unsigned char data[8 * SECTOR_SIZE];
  struct iovec iov = piece (data, sizeof data);
  int i;

  fill_pattern (data, 4, 0, 8);
  for (i = 0; i < 3; ++i) {
    fake[i] = fake_nbd_create (&usual);
    bdev[i] = open_fake (fake[i]);
    fake_nbd_hold (fake[i], FAKE_WRITE | FAKE_FLUSH);
    io[i] = (struct bdev_io){
      .op = BDEV_WRITE,
      .iov = &iov,
      .iovcnt = 1,
      .more = i < 2,
    };
    ck_assert_int_eq (bdev_begin (bdev[i], &io[i]), 0);
  }
  for (i = 2; i >= 0; --i) {
    fake_nbd_wait_held (fake[i], 1);
    fake_nbd_hold (fake[i], 0);
  }
  for (i = 0; i < 3; ++i) {
    ck_assert_int_eq (bdev_end (bdev[i], &io[i]), 0);
    assert_pattern (fake_nbd_disk (fake[i]), 4, 0, 8);
    io[i] = (struct bdev_io){ .op = BDEV_FLUSH };
    fake_nbd_hold (fake[i], FAKE_FLUSH);
    ck_assert_int_eq (bdev_begin (bdev[i], &io[i]), 0);
    fake_nbd_wait_held (fake[i], 1);
    /* One flush at a time. */
    ck_assert_int_eq (bdev_begin (bdev[i],
                                  &(struct bdev_io){ .op = BDEV_FLUSH }),
                      -EAGAIN);
    fake_nbd_hold (fake[i], 0);
    ck_assert_int_eq (bdev_end (bdev[i], &io[i]), 0);
    bdev_close (bdev[i]);
    fake_nbd_destroy (fake[i]);
  }
}
END_TEST

/* A program may open a device, fork, and use it in the child. */
START_TEST (it_can_be_used_after_a_fork)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake);
  unsigned char data[SECTOR_SIZE];
  int status;
  pid_t pid;

#ifdef __SANITIZE_THREAD__
  /* Its runtime does not follow: the fake server's threads are not there. */
  bdev_close (bdev);
  fake_nbd_destroy (fake);
  return;
#endif
  fill_pattern (data, 5, 77, 1);
  pid = fork ();
  must (pid != -1);
  if (pid == 0) {
    int r = write_at (bdev, 77, 1, data, BDEV_FUA);

    if (r == 0)
      r = bdev_flush (bdev);
    bdev_close (bdev);
    _exit (r == 0 ? 0 : 1);
  }
  must (waitpid (pid, &status, 0) == pid);
  ck_assert (WIFEXITED (status) && WEXITSTATUS (status) == 0);
  assert_pattern (fake_nbd_disk (fake) + 77 * SECTOR_SIZE, 5, 77, 1);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/*----- want of memory --------------------------------------------------*/

static bool
is_want (int r)
{
  return r == -ENOMEM || r == -EAGAIN;
}

/* The k-th allocation fails, or the k-th thread cannot be started: that call
 * fails, and no other.
 */
START_TEST (fails_at_every_allocation)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  unsigned char data[8 * SECTOR_SIZE], back[8 * SECTOR_SIZE];
  struct iovec iov = piece (data, sizeof data);
  unsigned k, failed = 1;

  for (k = 0; failed > 0; ++k) {
    struct bdev_io io = { .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1 };
    struct block_device *bdev;
    int opened, written, read, begun, ended = 0;

    fill_pattern (data, k, 0, 8);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY | FAULT_ALLOC_THREADS, k);
    opened = open_with (fake, 0, 2, &bdev);
    if (opened < 0) {
      failed = fault_alloc_stop ();
      ck_assert (is_want (opened));
      continue;
    }
    written = write_at (bdev, 0, 8, data, 0);
    read = read_at (bdev, 0, 8, back);
    begun = bdev_begin (bdev, &io);
    if (begun == 0)
      ended = bdev_end (bdev, &io);
    failed = fault_alloc_stop ();
    ck_assert (written == 0 || is_want (written));
    ck_assert (read == 0 || is_want (read));
    ck_assert (begun == 0 || is_want (begun));
    ck_assert (ended == 0 || is_want (ended));
    ck_assert_int_eq (write_at (bdev, 0, 8, data, BDEV_FUA), 0);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    assert_pattern (fake_nbd_disk (fake), k, 0, 8);
    bdev_close (bdev);
    ck_assert_uint_lt (k, 1000);
  }
  ck_assert_uint_gt (k, 15);
  fake_nbd_destroy (fake);
}
END_TEST

/*----- many threads ----------------------------------------------------*/

#define WRITERS 8

struct writer {
  struct block_device *bdev;
  struct thread thread;
  unsigned number;
  int error;
};

static void
writer_main (void *arg)
{
  struct writer *w = arg;
  unsigned char data[16 * SECTOR_SIZE];
  unsigned i;

  for (i = 0; i < 64 && w->error == 0; ++i) {
    sector_t count = 1 + i % 16;
    sector_t sector = w->number * 1024 + i * 16;

    fill_pattern (data, w->number, sector, count);
    w->error = write_at (w->bdev, sector, count, data,
                         i % 7 == 0 ? BDEV_FUA : 0);
    if (w->error == 0 && i % 5 == 0)
      w->error = bdev_flush (w->bdev);
    memset (data, 0, sizeof data);
    if (w->error == 0)
      w->error = read_at (w->bdev, sector, count, data);
    if (w->error == 0 &&
        first_wrong_sector (data, w->number, sector, count) != sector + count)
      w->error = 1;
  }
}

START_TEST (many_threads_use_it)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake);
  struct writer writers[WRITERS];
  unsigned i;

  for (i = 0; i < WRITERS; ++i) {
    writers[i] = (struct writer){ .bdev = bdev, .number = i };
    must (thread_start (&writers[i].thread, "writer", writer_main,
                        &writers[i]) == 0);
  }
  for (i = 0; i < WRITERS; ++i) {
    thread_join (&writers[i].thread);
    ck_assert_int_eq (writers[i].error, 0);
  }
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    what_is_written_is_read,
    memory_may_be_in_any_pieces,
    requests_are_cut_to_the_servers_maximum,
    large_blocks_are_honoured,
    flags_are_passed_on,
    without_fua_it_is_flushed,
    without_flush_all_writes_have_fua,
    a_bare_server_has_defaults,
    trim_alone_is_no_discard,
    extents_are_holes_only_if_they_read_as_zeroes,
    open_tells_why_not,
    passwords_are_not_shown,
    parameters_are_found_and_decoded,
    exports_that_cannot_be_used_are_refused,
    sizes_may_be_extreme,
    read_only_servers_can_be_read,
    connections_are_bounded,
    operations_are_in_flight,
    it_can_be_used_after_a_fork,
    fails_at_every_allocation,
    many_threads_use_it,
    NULL,
  };

  return unit_main ("bdev_nbd", tests);
}
