/* Unit tests of files over descriptors that were already open.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * fdatasync is led here by the linker, so that it can be interrupted or fail.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "bits.h"
#include "block-device.h"
#include "log-sink.h"
#include "test-util.h"

#define FILE_SECTORS ((sector_t) 16)

/* The linker gives these names to the call (--wrap). */
int __real_fdatasync (int fd);
int __wrap_fdatasync (int fd);

static unsigned sync_calls, sync_fails;
static int sync_errno;

int
__wrap_fdatasync (int fd)
{
  sync_calls++;
  if (sync_fails == 0)
    return __real_fdatasync (fd);
  sync_fails--;
  errno = sync_errno;
  return -1;
}

/*----- files -----------------------------------------------------------*/

static char folder[TEST_PATH_BYTES];
static char path[TEST_PATH_BYTES + 64];

static void
setup (void)
{
  int fd;

  make_test_folder (NULL, folder);
  must (snprintf (path, sizeof path, "%s/file", folder) < (int) sizeof path);
  fd = open (path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  must (fd >= 0);
  must (ftruncate (fd, (off_t) sector_to_bytes (FILE_SECTORS)) == 0);
  must (close (fd) == 0);
  sync_calls = sync_fails = 0;
}

static void
teardown (void)
{
  remove_test_folder (folder);
}

static int
open_file (int oflags)
{
  int fd = open (path, oflags | O_CLOEXEC);

  must (fd >= 0);
  return fd;
}

/*----- what a descriptor brings along ----------------------------------*/

/* With O_APPEND Linux writes to the end, wherever pwrite is told to. */
START_TEST (what_was_opened_to_append_is_written_in_place)
{
  struct block_device *bdev;
  char out[2 * SECTOR_SIZE], in[2 * SECTOR_SIZE];
  struct iovec iov[2] = { piece (out, SECTOR_SIZE),
                          piece (out + SECTOR_SIZE, SECTOR_SIZE) };
  struct stat st;
  int fd;

  setup ();
  fd = open_file (O_RDWR | O_APPEND);
  ck_assert_int_eq (bdev_open_fd (fd, "file", 0, &bdev), 0);
  fill_pattern (out, 1, 0, 2);
  ck_assert_int_eq (write_at (bdev, 3, 2, out, 0), 0);
  ck_assert_int_eq (bdev_write (bdev, iov, 2, 9, BDEV_FUA), 0);
  ck_assert_int_eq (stat (path, &st), 0);
  ck_assert_uint_eq ((uint64_t) st.st_size, sector_to_bytes (FILE_SECTORS));
  ck_assert_int_eq (read_at (bdev, 3, 2, in), 0);
  assert_pattern (in, 1, 0, 2);
  ck_assert_int_eq (read_at (bdev, 9, 2, in), 0);
  assert_pattern (in, 1, 0, 2);
  bdev_close (bdev);
  teardown ();
}
END_TEST

/* What could only fail later is refused. */
START_TEST (what_was_opened_for_less_is_refused)
{
  static const struct {
    int oflags;
    unsigned flags;
    int result;
  } cases[] = {
    { O_RDWR, 0, 0 },
    { O_RDWR, BDEV_OPEN_READ_ONLY, 0 },
    { O_RDONLY, BDEV_OPEN_READ_ONLY, 0 },
    { O_RDONLY, 0, -EBADF },
    { O_WRONLY, 0, -EBADF },
    { O_WRONLY, BDEV_OPEN_READ_ONLY, -EBADF },
    { O_PATH, BDEV_OPEN_READ_ONLY, -EBADF },
    { O_PATH, 0, -EBADF },
  };
  size_t i;

  setup ();
  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct block_device *bdev;
    int fd = open_file (cases[i].oflags);

    ck_assert_int_eq (bdev_open_fd (fd, "file", cases[i].flags, &bdev),
                      cases[i].result);
    if (cases[i].result == 0)
      bdev_close (bdev);
    else
      ck_assert_int_eq (close (fd), 0);
  }
  teardown ();
}
END_TEST

/*----- flushes ---------------------------------------------------------*/

/* As file systems in user space do it when a signal comes. */
START_TEST (a_flush_that_is_interrupted_is_begun_again)
{
  struct block_device *bdev;
  char data[SECTOR_SIZE] = "";

  setup ();
  ck_assert_int_eq (bdev_open_fd (open_file (O_RDWR), "file", 0, &bdev), 0);
  sync_errno = EINTR;
  sync_fails = 3;
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_uint_eq (sync_calls, 4);
  sync_fails = 1;
  ck_assert_int_eq (write_at (bdev, 0, 1, data, BDEV_FUA), 0);
  ck_assert_uint_eq (sync_calls, 6);
  bdev_close (bdev);
  teardown ();
}
END_TEST

/* The kernel tells once, and says yes when it is asked again. */
START_TEST (a_flush_that_has_failed_fails_for_good)
{
  struct block_device *bdev, *other;
  char data[SECTOR_SIZE] = "";

  setup ();
  ck_assert_int_eq (bdev_open_fd (open_file (O_RDWR), "file", 0, &bdev), 0);
  ck_assert_int_eq (bdev_open_fd (open_file (O_RDWR), "other", 0, &other), 0);
  sync_errno = EDQUOT;
  sync_fails = 1;
  ck_assert_int_eq (write_at (bdev, 0, 1, data, BDEV_FUA), -EDQUOT);
  ck_assert_int_eq (bdev_flush (bdev), -EDQUOT);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, BDEV_FUA), -EDQUOT);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 1, BDEV_FUA), -EDQUOT);
  ck_assert_uint_eq (sync_calls, 1);
  /* Another device is another one. */
  ck_assert_int_eq (bdev_flush (other), 0);
  bdev_close (other);
  bdev_close (bdev);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    what_was_opened_to_append_is_written_in_place,
    what_was_opened_for_less_is_refused,
    a_flush_that_is_interrupted_is_begun_again,
    a_flush_that_has_failed_fails_for_good,
    NULL,
  };

  return unit_main ("bdev_fd", tests);
}
