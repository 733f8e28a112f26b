/* Unit tests of copying between files in the kernel.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * copy_file_range is led here by the linker, so that it can be short, fail,
 * or say that it is not possible.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "bits.h"
#include "block-device.h"
#include "log-sink.h"
#include "test-util.h"

#define FILE_SECTORS ((sector_t) 256)

/* The linker gives these names to the call (--wrap). */
ssize_t __real_copy_file_range (int from, off_t *from_offset, int to,
                                off_t *to_offset, size_t len, unsigned flags);
ssize_t __wrap_copy_file_range (int from, off_t *from_offset, int to,
                                off_t *to_offset, size_t len, unsigned flags);

static size_t copy_at_most;
static unsigned copy_calls, fail_call;
static int fail_errno;

ssize_t
__wrap_copy_file_range (int from, off_t *from_offset, int to, off_t *to_offset,
                        size_t len, unsigned flags)
{
  if (copy_calls++ == fail_call && fail_errno != 0) {
    errno = fail_errno;
    return -1;
  }
  return __real_copy_file_range (from, from_offset, to, to_offset,
                                 MIN_OF (len, copy_at_most), flags);
}

/*----- files -----------------------------------------------------------*/

static char folder[TEST_PATH_BYTES];
static unsigned errors;

static void
count_message (enum log_level level, const char *message)
{
  if (level == LOG_LEVEL_ERROR && strstr (message, folder) != NULL)
    errors++;
}

static void
setup (void)
{
  make_test_folder (NULL, folder);
  copy_at_most = SIZE_MAX;
  copy_calls = errors = 0;
  fail_errno = 0;
  log_sink_set (count_message);
}

static void
teardown (void)
{
  log_sink_set (NULL);
  remove_test_folder (folder);
}

static const char *
path_of (const char *name)
{
  static char paths[2][TEST_PATH_BYTES + 64];
  static unsigned next;
  char *path = paths[next++ % 2];

  must (snprintf (path, sizeof paths[0], "%s/%s", folder, name) <
        (int) sizeof paths[0]);
  return path;
}

/* Open a new file, full of the pattern of SEED. */
static struct block_device *
make_file (const char *name, uint64_t seed, unsigned flags)
{
  char *data = test_alloc_sectors (FILE_SECTORS);
  size_t bytes = sector_to_bytes (FILE_SECTORS);
  struct block_device *bdev;
  int fd = open (path_of (name), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);

  must (fd >= 0);
  fill_pattern (data, seed, 0, FILE_SECTORS);
  must (write (fd, data, bytes) == (ssize_t) bytes);
  must (close (fd) == 0);
  free (data);
  ck_assert_int_eq (bdev_open (path_of (name), flags, &bdev), 0);
  return bdev;
}

/* B, which was made with seed 2, has COUNT sectors of that of seed 1 from
 * FROM on at sector AT, and else what it had.
 */
static void
assert_copied (struct block_device *b, sector_t at, sector_t from,
               sector_t count)
{
  char *data = test_alloc_sectors (FILE_SECTORS);

  ck_assert_int_eq (read_at (b, 0, FILE_SECTORS, data), 0);
  assert_pattern (data, 2, 0, at);
  assert_pattern (data + sector_to_bytes (at), 1, from, count);
  assert_pattern (data + sector_to_bytes (at + count), 2, at + count,
                  FILE_SECTORS - at - count);
  free (data);
}

START_TEST (copies_what_is_asked)
{
  static const struct {
    sector_t from, to, count;
  } ranges[] = { { 0, 0, 0 },   { 0, 0, FILE_SECTORS },
                 { 7, 3, 1 },   { 1, FILE_SECTORS - 9, 9 },
                 { 8, 16, 40 }, { FILE_SECTORS - 1, 0, 1 } };
  unsigned i, is_short;

  for (is_short = 0; is_short < 2; ++is_short)
    for (i = 0; i < ARRAY_COUNT (ranges); ++i) {
      struct block_device *a, *b;

      setup ();
      a = make_file ("a", 1, BDEV_OPEN_READ_ONLY);
      b = make_file ("b", 2, 0);
      if (is_short)
        copy_at_most = 1000; /* neither sectors nor pages */
      ck_assert_int_eq (bdev_copy (a, ranges[i].from, b, ranges[i].to,
                                   ranges[i].count),
                        0);
      assert_copied (b, ranges[i].to, ranges[i].from, ranges[i].count);
      bdev_close (a);
      bdev_close (b);
      teardown ();
    }
}
END_TEST

START_TEST (ranges_and_rights_are_checked)
{
  struct block_device *a, *b;

  setup ();
  a = make_file ("a", 1, BDEV_OPEN_READ_ONLY);
  b = make_file ("b", 2, 0);
  ck_assert_int_eq (bdev_copy (a, 1, b, 0, FILE_SECTORS), -EINVAL);
  ck_assert_int_eq (bdev_copy (a, 0, b, 1, FILE_SECTORS), -EINVAL);
  ck_assert_int_eq (bdev_copy (a, UINT64_MAX, b, 0, 2), -EINVAL);
  ck_assert_int_eq (bdev_copy (b, 0, a, 0, 1), -EROFS);
  ck_assert_uint_eq (copy_calls, 0);
  bdev_close (a);
  bdev_close (b);
  teardown ();
}
END_TEST

/* What means "not possible here" is said in one way, whatever the kernel
 * calls it; other errors are told as they are.
 */
START_TEST (errors_are_sorted)
{
  static const struct {
    int error, told;
  } cases[] = {
    { EXDEV, -EOPNOTSUPP },
    { EINVAL, -EOPNOTSUPP },
    { EOPNOTSUPP, -EOPNOTSUPP },
    { ENOSYS, -EOPNOTSUPP },
    { EIO, -EIO },
    { ENOSPC, -ENOSPC },
    { EINTR, 0 },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct block_device *a, *b;

    setup ();
    a = make_file ("a", 1, 0);
    b = make_file ("b", 2, 0);
    copy_at_most = sector_to_bytes (8);
    fail_errno = cases[i].error;
    fail_call = 1; /* the second piece */
    ck_assert_int_eq (bdev_copy (a, 0, b, 0, 24), cases[i].told);
    assert_copied (b, 0, 0, cases[i].told == 0 ? 24 : 8);
    bdev_close (a);
    bdev_close (b);
    teardown ();
  }
}
END_TEST

/* Inside one file; onto itself it is not possible. */
START_TEST (one_file_is_both)
{
  struct block_device *a;
  char *data = test_alloc_sectors (FILE_SECTORS);

  setup ();
  a = make_file ("a", 1, 0);
  ck_assert_int_eq (bdev_copy (a, 0, a, 100, 20), 0);
  ck_assert_int_eq (bdev_copy (a, 0, a, 4, 20), -EOPNOTSUPP);
  ck_assert_int_eq (read_at (a, 0, FILE_SECTORS, data), 0);
  assert_pattern (data, 1, 0, 100);
  assert_pattern (data + sector_to_bytes (100), 1, 0, 20);
  bdev_close (a);
  teardown ();
  free (data);
}
END_TEST

/* A source that was cut short has no zeroes to copy, and a destination is
 * not made long again.
 */
START_TEST (files_that_were_cut_short)
{
  const off_t half = (off_t) sector_to_bytes (FILE_SECTORS / 2);
  struct block_device *a, *b;
  struct stat st;

  setup ();
  a = make_file ("a", 1, 0);
  b = make_file ("b", 2, 0);
  must (truncate (path_of ("a"), half) == 0);
  ck_assert_int_eq (bdev_copy (a, 0, b, 0, FILE_SECTORS), -EIO);
  assert_copied (b, 0, 0, FILE_SECTORS / 2);
  bdev_close (a);

  a = make_file ("c", 1, 0);
  must (truncate (path_of ("b"), half) == 0);
  ck_assert_int_eq (bdev_copy (a, 0, b, FILE_SECTORS - 1, 1), -EIO);
  ck_assert_uint_eq (errors, 1);
  must (stat (path_of ("b"), &st) == 0);
  ck_assert_int_eq (st.st_size, half);
  ck_assert_int_eq (bdev_flush (b), -EIO); /* for good */
  bdev_close (a);
  bdev_close (b);
  teardown ();
}
END_TEST

/* Devices of different kinds, and files past the page cache. */
static int
read_nothing (void *handle, const struct iovec *iov, int iovcnt,
              sector_t sector)
{
  (void) handle;
  (void) iov;
  (void) iovcnt;
  (void) sector;
  return -EIO;
}

START_TEST (others_cannot)
{
  static const struct bdev_ops ops = {
    .struct_size = sizeof ops,
    .read = read_nothing,
  };
  struct block_device *a, *b, *other;

  setup ();
  a = make_file ("a", 1, 0);
  ck_assert_int_eq (bdev_create (&ops, NULL, "other", 10, &other), 0);
  ck_assert_int_eq (bdev_copy (other, 0, a, 0, 1), -EOPNOTSUPP);
  ck_assert_int_eq (bdev_copy (a, 0, other, 0, 1), -EROFS);
  bdev_close (other);
  bdev_close (make_file ("b", 2, 0));
  if (bdev_open (path_of ("b"), BDEV_OPEN_DIRECT, &b) == 0) {
    ck_assert_int_eq (bdev_copy (a, 0, b, 0, 8), -EOPNOTSUPP);
    ck_assert_int_eq (bdev_copy (b, 0, a, 0, 8), -EOPNOTSUPP);
    bdev_close (b);
  }
  bdev_close (a);
  ck_assert_uint_eq (copy_calls, 0);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    copies_what_is_asked,
    ranges_and_rights_are_checked,
    errors_are_sorted,
    one_file_is_both,
    files_that_were_cut_short,
    others_cannot,
    NULL,
  };

  return unit_main ("bdev-copy", tests);
}
