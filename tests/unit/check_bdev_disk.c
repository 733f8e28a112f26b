/* Unit tests of the block device over a disk, without a disk.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A regular file is passed off as a disk: the linker leads stat, fstat,
 * ioctl and open here, and for that one file they answer what a disk
 * would.  All else about it is a file's, O_DIRECT included.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "bits.h"
#include "block-device.h"
#include "test-util.h"

/* The linker gives these names to the calls (--wrap). */
int __real_stat64 (const char *path, struct stat *st);
int __real_fstat64 (int fd, struct stat *st);
int __real_open64 (const char *path, int flags, ...);
int __real_ioctl (int fd, unsigned long request, void *arg);
int __wrap_stat64 (const char *path, struct stat *st);
int __wrap_fstat64 (int fd, struct stat *st);
int __wrap_open64 (const char *path, int flags, ...);
int __wrap_ioctl (int fd, unsigned long request, void *arg);

/*----- the disk --------------------------------------------------------*/

static struct {
  char path[TEST_PATH_BYTES + 8];
  ino_t inode;
  uint64_t bytes;
  int block_bytes;
  bool is_mounted;  /* O_EXCL is refused */
  bool has_no_size; /* BLKGETSIZE64 fails */
  bool was_opened_exclusively;
} disk;

static void
disguise (struct stat *st)
{
  if (disk.inode != 0 && st->st_ino == disk.inode) {
    st->st_mode = (st->st_mode & ~(mode_t) S_IFMT) | S_IFBLK;
    st->st_size = 0; /* as for every disk */
  }
}

static bool
is_disk (int fd)
{
  struct stat st;

  return disk.inode != 0 && __real_fstat64 (fd, &st) == 0 &&
         st.st_ino == disk.inode;
}

int
__wrap_stat64 (const char *path, struct stat *st)
{
  int r = __real_stat64 (path, st);

  if (r == 0)
    disguise (st);
  return r;
}

int
__wrap_fstat64 (int fd, struct stat *st)
{
  int r = __real_fstat64 (fd, st);

  if (r == 0)
    disguise (st);
  return r;
}

int
__wrap_open64 (const char *path, int flags, ...)
{
  mode_t mode = 0;

  if (flags & O_CREAT) {
    va_list args;

    va_start (args, flags);
    mode = va_arg (args, mode_t);
    va_end (args);
  }
  if (disk.inode != 0 && strcmp (path, disk.path) == 0) {
    disk.was_opened_exclusively = (flags & O_EXCL) != 0;
    if (disk.was_opened_exclusively && disk.is_mounted) {
      errno = EBUSY;
      return -1;
    }
    flags &= ~O_EXCL;
  }
  return __real_open64 (path, flags, mode);
}

int
__wrap_ioctl (int fd, unsigned long request, void *arg)
{
  if (!is_disk (fd))
    return __real_ioctl (fd, request, arg);
  switch (request) {
  case BLKGETSIZE64:
    if (disk.has_no_size)
      break;
    memcpy (arg, &disk.bytes, sizeof disk.bytes);
    return 0;
  case BLKSSZGET:
    memcpy (arg, &disk.block_bytes, sizeof disk.block_bytes);
    return 0;
  }
  errno = EIO;
  return -1;
}

/*----- tests -----------------------------------------------------------*/

static char folder[TEST_PATH_BYTES];

/* Make the disk: BYTES long, in blocks of BLOCK_BYTES. */
static void
setup (uint64_t bytes, int block_bytes)
{
  struct stat st;
  int fd;

  memset (&disk, 0, sizeof disk);
  must (snprintf (disk.path, sizeof disk.path, "%s/disk", folder) <
        (int) sizeof disk.path);
  fd = open (disk.path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  must (fd >= 0);
  must (ftruncate (fd, 1 << 20) == 0);
  must (__real_fstat64 (fd, &st) == 0);
  must (close (fd) == 0);
  disk.bytes = bytes;
  disk.block_bytes = block_bytes;
  disk.inode = st.st_ino;
}

static int
try_open (unsigned flags)
{
  struct block_device *bdev;
  int r = bdev_open (disk.path, flags, &bdev);

  if (r == 0)
    bdev_close (bdev);
  return r;
}

START_TEST (size_is_the_disks_own)
{
  struct block_device *bdev;

  setup (1 << 20, 512);
  ck_assert_int_eq (bdev_open (disk.path, BDEV_OPEN_BUFFERED, &bdev), 0);
  ck_assert_uint_eq (bdev_sectors (bdev), 2048);
  bdev_close (bdev);

  disk.bytes = 513;
  ck_assert_int_eq (try_open (BDEV_OPEN_BUFFERED), -EINVAL);
  disk.has_no_size = true;
  ck_assert_int_eq (try_open (BDEV_OPEN_BUFFERED), -EIO);
}
END_TEST

START_TEST (size_has_a_limit)
{
  setup (sector_to_bytes (SECTOR_MAX), 512);
  ck_assert_int_eq (try_open (BDEV_OPEN_BUFFERED), 0);
  disk.bytes += SECTOR_SIZE;
  ck_assert_int_eq (try_open (BDEV_OPEN_BUFFERED), -EFBIG);
  disk.bytes = UINT64_MAX - (SECTOR_SIZE - 1);
  ck_assert_int_eq (try_open (BDEV_OPEN_BUFFERED), -EFBIG);
}
END_TEST

START_TEST (exclusive_refuses_a_mounted_disk)
{
  setup (1 << 20, 512);
  disk.is_mounted = true;
  ck_assert_int_eq (try_open (BDEV_OPEN_BUFFERED | BDEV_OPEN_EXCLUSIVE),
                    -EBUSY);
  ck_assert (disk.was_opened_exclusively);
  /* Readers keep nobody out, nor does who did not ask for it. */
  ck_assert_int_eq (try_open (BDEV_OPEN_BUFFERED | BDEV_OPEN_EXCLUSIVE |
                              BDEV_OPEN_READ_ONLY),
                    0);
  ck_assert (!disk.was_opened_exclusively);
  ck_assert_int_eq (try_open (BDEV_OPEN_BUFFERED), 0);
  ck_assert (!disk.was_opened_exclusively);
  disk.is_mounted = false;
  ck_assert_int_eq (try_open (BDEV_OPEN_BUFFERED | BDEV_OPEN_EXCLUSIVE), 0);
  ck_assert (disk.was_opened_exclusively);
}
END_TEST

/* True if the descriptors that are open on the disk have O_DIRECT. */
static bool
disk_is_direct (void)
{
  int fd;

  for (fd = 3; fd < 64; ++fd)
    if (is_disk (fd))
      return (fcntl (fd, F_GETFL) & O_DIRECT) != 0;
  ck_abort_msg ("the disk is not open");
  return false;
}

START_TEST (disks_are_direct_unless_told)
{
  struct block_device *bdev;

  setup (1 << 20, 512);
  if (try_open (BDEV_OPEN_DIRECT) == -EOPNOTSUPP) {
    /* A file system without O_DIRECT: then it is not the default either. */
    ck_assert_int_eq (bdev_open (disk.path, 0, &bdev), 0);
    ck_assert (!disk_is_direct ());
    bdev_close (bdev);
    return;
  }
  ck_assert_int_eq (bdev_open (disk.path, 0, &bdev), 0);
  ck_assert (disk_is_direct ());
  bdev_close (bdev);
  ck_assert_int_eq (bdev_open (disk.path, BDEV_OPEN_BUFFERED, &bdev), 0);
  ck_assert (!disk_is_direct ());
  bdev_close (bdev);
}
END_TEST

/* A file system without O_DIRECT. */
static bool
has_no_direct (void)
{
  return try_open (BDEV_OPEN_DIRECT) == -EOPNOTSUPP;
}

START_TEST (large_blocks_are_direct_too)
{
  static const int sizes[] = { 1024, 4096, 65536 };
  struct block_device *bdev;
  struct bdev_limits limits;
  char data[SECTOR_SIZE], back[SECTOR_SIZE];
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (sizes); ++i) {
    setup (1 << 20, sizes[i]);
    if (has_no_direct ())
      return;
    ck_assert_int_eq (bdev_open (disk.path, 0, &bdev), 0);
    ck_assert (disk_is_direct ());
    bdev_get_limits (bdev, &limits);
    ck_assert (limits.is_direct);
    ck_assert_uint_eq (limits.block_bytes, (unsigned) sizes[i]);
    fill_pattern (data, 1, 3, 1);
    ck_assert_int_eq (write_at (bdev, 3, 1, data, BDEV_FUA), 0);
    ck_assert_int_eq (read_at (bdev, 3, 1, back), 0);
    assert_pattern (back, 1, (sector_t) 3, 1);
    bdev_close (bdev);

    ck_assert_int_eq (bdev_open (disk.path, BDEV_OPEN_BUFFERED, &bdev), 0);
    ck_assert (!disk_is_direct ());
    bdev_get_limits (bdev, &limits);
    ck_assert (!limits.is_direct);
    ck_assert_uint_eq (limits.block_bytes, SECTOR_SIZE);
    bdev_close (bdev);
  }
}
END_TEST

/* Blocks that are too large, or that the size is no multiple of. */
START_TEST (impossible_blocks_are_buffered)
{
  static const struct {
    uint64_t bytes;
    int block_bytes;
  } disks[] = { { 1 << 20, 131072 },
                { (1 << 20) - 512, 4096 },
                { 1 << 20, 1000 },
                { 1 << 20, 0 },
                { 1 << 20, -4096 } };
  struct block_device *bdev;
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (disks); ++i) {
    setup (disks[i].bytes, disks[i].block_bytes);
    ck_assert_int_eq (try_open (BDEV_OPEN_DIRECT), -EOPNOTSUPP);
    ck_assert_int_eq (bdev_open (disk.path, 0, &bdev), 0);
    ck_assert (!disk_is_direct ());
    bdev_close (bdev);
  }
}
END_TEST

START_TEST (a_disk_is_known_by_its_number)
{
  struct bdev_identity identity;
  struct block_device *bdev;

  setup (1 << 20, 512);
  ck_assert_int_eq (bdev_open (disk.path, BDEV_OPEN_BUFFERED, &bdev), 0);
  ck_assert_int_eq (bdev_identity (bdev, &identity), 0);
  ck_assert (identity.is_disk);
  ck_assert_uint_eq (identity.inode, 0);
  ck_assert_int_eq (identity.modified_seconds, 0);
  bdev_close (bdev);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    size_is_the_disks_own,
    size_has_a_limit,
    exclusive_refuses_a_mounted_disk,
    disks_are_direct_unless_told,
    large_blocks_are_direct_too,
    impossible_blocks_are_buffered,
    a_disk_is_known_by_its_number,
    NULL,
  };
  int r;

  make_test_folder (NULL, folder);
  r = unit_main ("bdev-disk", tests);
  disk.inode = 0;
  remove_test_folder (folder);
  return r;
}
