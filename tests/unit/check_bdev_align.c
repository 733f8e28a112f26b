/* Unit tests of what O_DIRECT needs: told by the kernel, tried, or guessed.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The linker leads statx here, which tells what a test wants, and the reads
 * and writes, which are refused as a file system would that needs more than
 * the one where the test runs.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "bits.h"
#include "target-test.h"
#include "vector.h"

ssize_t __real_pread64 (int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread64 (int fd, void *data, size_t len, off_t offset);
ssize_t __real_pwrite64 (int fd, const void *data, size_t len, off_t offset);
ssize_t __wrap_pwrite64 (int fd, const void *data, size_t len, off_t offset);
ssize_t __real_preadv64 (int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_preadv64 (int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __real_pwritev64 (int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __wrap_pwritev64 (int fd, const struct iovec *iov, int n, off_t offset);
int __real_statx (int fd, const char *path, int flags, unsigned mask,
                  struct statx *stx);
int __wrap_statx (int fd, const char *path, int flags, unsigned mask,
                  struct statx *stx);

/*----- a file system ---------------------------------------------------*/

static struct {
  unsigned block_align; /* what O_DIRECT really needs */
  unsigned memory_align;
  bool also_holes;   /* that goes for the first calls too */
  bool is_hopeless;  /* nothing is ever read or written */
  atomic_uint calls; /* with O_DIRECT */
  atomic_uint refused;

  bool tells; /* these */
  unsigned told_block_align;
  unsigned told_memory_align;
} fs;

static bool
refuses (int fd, const struct iovec *iov, int iovcnt, off_t offset)
{
  if (fs.is_hopeless) {
    errno = EINVAL;
    return true;
  }
  if (!(fcntl (fd, F_GETFL) & O_DIRECT))
    return false;
  if (atomic_fetch_add (&fs.calls, 1) == 0 && !fs.also_holes)
    return false;
  if (offset % fs.block_align == 0 &&
      vector_is_aligned (iov, iovcnt, fs.memory_align, fs.block_align))
    return false;
  atomic_fetch_add (&fs.refused, 1);
  errno = EINVAL;
  return true;
}

ssize_t
__wrap_pread64 (int fd, void *data, size_t len, off_t offset)
{
  struct iovec iov = piece (data, len);

  return refuses (fd, &iov, 1, offset) ? -1
                                       : __real_pread64 (fd, data, len, offset);
}

ssize_t
__wrap_pwrite64 (int fd, const void *data, size_t len, off_t offset)
{
  struct iovec iov = piece ((void *) data, len);

  return refuses (fd, &iov, 1, offset)
           ? -1
           : __real_pwrite64 (fd, data, len, offset);
}

ssize_t
__wrap_preadv64 (int fd, const struct iovec *iov, int n, off_t offset)
{
  return refuses (fd, iov, n, offset) ? -1
                                      : __real_preadv64 (fd, iov, n, offset);
}

ssize_t
__wrap_pwritev64 (int fd, const struct iovec *iov, int n, off_t offset)
{
  return refuses (fd, iov, n, offset) ? -1
                                      : __real_pwritev64 (fd, iov, n, offset);
}

int
__wrap_statx (int fd, const char *path, int flags, unsigned mask,
              struct statx *stx)
{
  int r = __real_statx (fd, path, flags, mask, stx);

#ifdef STATX_DIOALIGN
  if (r == 0 && fs.tells) {
    stx->stx_mask |= STATX_DIOALIGN;
    stx->stx_dio_offset_align = fs.told_block_align;
    stx->stx_dio_mem_align = fs.told_memory_align;
  }
  else if (r == 0)
    stx->stx_mask &= ~STATX_DIOALIGN;
#endif
  return r;
}

/*----- tests -----------------------------------------------------------*/

#define SECTORS 256

static char folder[TEST_PATH_BYTES], path[TEST_PATH_BYTES + 8];

/* A file in a file system with these needs. */
static void
setup (unsigned block_align, unsigned memory_align)
{
  int fd;

  memset (&fs, 0, sizeof fs);
  fs.block_align = block_align;
  fs.memory_align = memory_align;
  fs.also_holes = true;
  fd = open (path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  must (fd >= 0 && ftruncate (fd, SECTORS * 512) == 0 && close (fd) == 0);
  capture_messages ();
}

static void
tell (unsigned block_align, unsigned memory_align)
{
  fs.tells = true;
  fs.told_block_align = block_align;
  fs.told_memory_align = memory_align;
}

static struct block_device *
open_direct (void)
{
  struct block_device *bdev;

  ck_assert_int_eq (bdev_open (path, BDEV_OPEN_DIRECT, &bdev), 0);
  return bdev;
}

/* Read and write here and there, from and to all kinds of memory.  Returns
 * the first error; no assertions, for it is used by threads.
 */
static int
use (struct block_device *bdev, sector_t first, sector_t sectors, uint64_t seed)
{
  static const unsigned shifts[] = { 0, 1, 16, 512 };
  char *memory = test_alloc_sectors (sectors + 16);
  char *data = (char *) round_up_to ((uintptr_t) memory, 4096);
  sector_t sector, count;
  unsigned i = 0;
  int r = 0;

  for (sector = 0; sector < sectors && r == 0; sector += 5)
    for (count = 1; count <= sectors - sector && r == 0; count += 9) {
      char *at = data + shifts[i++ % 4];
      struct iovec iov[2] = { piece (at, 100),
                              piece (at + 100, sector_to_bytes (count) - 100) };

      fill_pattern (at, seed, sector, count);
      r = i % 3 ? write_at (bdev, first + sector, count, at, 0)
                : bdev_write (bdev, iov, 2, first + sector, 0);
      memset (at, 0, sector_to_bytes (count));
      if (r == 0)
        r = i % 3 ? bdev_read (bdev, iov, 2, first + sector)
                  : read_at (bdev, first + sector, count, at);
      if (r == 0 &&
          first_wrong_sector (at, seed, sector, count) != sector + count)
        r = -EILSEQ;
    }
  free (memory);
  return r;
}

START_TEST (the_kernel_tells)
{
  static const struct {
    unsigned block, memory;
  } cases[] = { { 512, 4 },     { 512, 512 },    { 4096, 4 },
                { 4096, 4096 }, { 65536, 4096 }, { 1, 1 } };
  struct bdev_limits limits;
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct block_device *bdev;

    setup (cases[i].block, cases[i].memory);
    tell (cases[i].block, cases[i].memory);
    bdev = open_direct ();
    bdev_get_limits (bdev, &limits);
    ck_assert (limits.is_direct);
    ck_assert_uint_eq (limits.block_bytes, MAX_OF (cases[i].block, 512));
    ck_assert_int_eq (use (bdev, 0, SECTORS, i), 0);
    ck_assert_uint_eq (atomic_load (&fs.refused), 0);
    ck_assert_uint_gt (atomic_load (&fs.calls), 0);
    bdev_close (bdev);
  }
}
END_TEST

START_TEST (the_kernel_tells_that_it_cannot)
{
  static const struct {
    unsigned block, memory;
  } cases[] = { { 0, 0 },      { 3, 512 },      { 512, 0 },
                { 512, 1000 }, { 131072, 512 }, { 512, 8192 } };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct block_device *bdev;

    setup (512, 512);
    tell (cases[i].block, cases[i].memory);
    ck_assert_int_eq (bdev_open (path, BDEV_OPEN_DIRECT, &bdev), -EOPNOTSUPP);
  }
}
END_TEST

/* The last block would be only a part of one. */
START_TEST (sizes_are_whole_blocks)
{
  struct block_device *bdev;

  setup (4096, 512);
  tell (4096, 512);
  ck_assert_int_eq (truncate (path, 4096 * 3 + 512), 0);
  ck_assert_int_eq (bdev_open (path, BDEV_OPEN_DIRECT, &bdev), -EOPNOTSUPP);
  ck_assert_int_eq (bdev_open (path, 0, &bdev), 0);
  bdev_close (bdev);
  ck_assert_int_eq (truncate (path, 4096 * 3), 0);
  bdev_close (open_direct ());
}
END_TEST

START_TEST (what_is_not_told_is_tried)
{
  static const unsigned blocks[] = { 1, 512, 1024, 4096, 65536 };
  struct bdev_limits limits;
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (blocks); ++i) {
    struct block_device *bdev;

    setup (blocks[i], MIN_OF (blocks[i], 4096));
    bdev = open_direct ();
    bdev_get_limits (bdev, &limits);
    ck_assert_uint_eq (limits.block_bytes, MAX_OF (blocks[i], 512));
    atomic_store (&fs.refused, 0);
    ck_assert_int_eq (use (bdev, 0, SECTORS, i), 0);
    ck_assert_uint_eq (atomic_load (&fs.refused), 0);
    ck_assert (!was_said ("refuses O_DIRECT"));
    bdev_close (bdev);
  }
}
END_TEST

/* When it was tried, there was a hole. */
START_TEST (what_was_guessed_wrong_is_left)
{
  struct bdev_limits limits;
  struct block_device *bdev;
  char *first;

  setup (4096, 512);
  fs.also_holes = false;
  bdev = open_direct ();
  bdev_get_limits (bdev, &limits);
  ck_assert (limits.is_direct);
  ck_assert_uint_eq (limits.block_bytes, 512);
  ck_assert_int_eq (use (bdev, 0, SECTORS, 1), 0);
  ck_assert_uint_eq (atomic_load (&fs.refused), 1);
  bdev_get_limits (bdev, &limits);
  ck_assert (!limits.is_direct);
  assert_said ("refuses O_DIRECT in blocks of 512 bytes");
  first = strstr (captured_text, "refuses");
  ck_assert_ptr_null (strstr (first + 1, "refuses"));
  bdev_close (bdev);
}
END_TEST

struct user {
  struct thread thread;
  struct block_device *bdev;
  sector_t first;
  int result;
};

static void
user_main (void *arg)
{
  struct user *u = arg;

  u->result = use (u->bdev, u->first, 31, u->first);
}

START_TEST (many_may_find_out_at_once)
{
  struct user users[8];
  struct block_device *bdev;
  unsigned i;

  setup (4096, 512);
  fs.also_holes = false;
  bdev = open_direct ();
  for (i = 0; i < ARRAY_COUNT (users); ++i) {
    users[i] = (struct user){ .bdev = bdev, .first = 31 * (sector_t) i };
    ck_assert_int_eq (thread_start (&users[i].thread, "user", user_main,
                                    &users[i]),
                      0);
  }
  for (i = 0; i < ARRAY_COUNT (users); ++i) {
    thread_join (&users[i].thread);
    ck_assert_int_eq (users[i].result, 0);
  }
  bdev_close (bdev);
}
END_TEST

START_TEST (an_error_that_stays)
{
  struct block_device *bdev;
  char data[SECTOR_SIZE];

  setup (512, 512);
  bdev = open_direct ();
  fs.is_hopeless = true;
  ck_assert_int_eq (read_at (bdev, 0, 1, data), -EINVAL);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -EINVAL);
  bdev_close (bdev);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    the_kernel_tells,
    the_kernel_tells_that_it_cannot,
    sizes_are_whole_blocks,
    what_is_not_told_is_tried,
    what_was_guessed_wrong_is_left,
    many_may_find_out_at_once,
    an_error_that_stays,
    NULL,
  };
  const char *parents[] = { NULL, ".", "/var/tmp" };
  unsigned i;
  int r = -EOPNOTSUPP;

  for (i = 0; i < ARRAY_COUNT (parents) && r == -EOPNOTSUPP; ++i) {
    struct block_device *bdev;

    make_test_folder (parents[i], folder);
    must (snprintf (path, sizeof path, "%s/file", folder) < (int) sizeof path);
    setup (1, 1);
    r = bdev_open (path, BDEV_OPEN_DIRECT, &bdev);
    if (r == 0)
      bdev_close (bdev);
    else
      remove_test_folder (folder);
  }
  if (r != 0) {
    printf ("no O_DIRECT here\n");
    return 77;
  }
  r = unit_main ("bdev-align", tests);
  remove_test_folder (folder);
  return r;
}
