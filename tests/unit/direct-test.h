/* What the unit tests of direct files share: files, and calls led here.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The linker leads the calls of liburing, and those between bdev-file-io.c
 * and bdev-uring.c, here, where they are counted or made to fail: a test of
 * these is linked with FAULT_RING_FLAGS, and has this header once.
 */

#ifndef DMIO_DIRECT_TEST_H
#define DMIO_DIRECT_TEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stddef.h>
#include <sys/wait.h>

#include "bdev-impl.h"
#include "bdev-uring.h"
#include "dm-io.h"
#include "target-test.h"

/*----- calls that are led here -----------------------------------------*/

int __real_io_uring_queue_init (unsigned entries, struct io_uring *ring,
                                unsigned flags);
int __wrap_io_uring_queue_init (unsigned entries, struct io_uring *ring,
                                unsigned flags);
int __real_io_uring_submit (struct io_uring *ring);
int __wrap_io_uring_submit (struct io_uring *ring);
int __real_io_uring_submit_and_wait (struct io_uring *ring,
                                     unsigned wait_count);
int __wrap_io_uring_submit_and_wait (struct io_uring *ring,
                                     unsigned wait_count);
int __real_bdev_uring_begin (int fd, const struct iovec *iov, int iovcnt,
                             struct bdev_io *io);
int __wrap_bdev_uring_begin (int fd, const struct iovec *iov, int iovcnt,
                             struct bdev_io *io);
int64_t __real_bdev_uring_end (struct bdev_io *io);
int64_t __wrap_bdev_uring_end (struct bdev_io *io);
int __real_fdatasync (int fd);
int __wrap_fdatasync (int fd);

static struct {
  atomic_int init_error; /* of each io_uring_queue_init, if not 0 */
  atomic_uint inits;

  atomic_int submit_error;    /* of the next io_uring_submit, */
  atomic_uint submit_fails;   /* so many of them */
  atomic_uint submit_passes;  /* before these */
  atomic_uint submit_at_most; /* so many at a time, if not 0 */
  atomic_uint submits;
  atomic_uint waits;     /* of these, also for the end */
  atomic_uint submitted; /* by the last one */

  atomic_uint cut_bytes; /* of the memory of each begin, if not 0 */
  atomic_int result;     /* of each end, if not 0 */
  atomic_uint begun;

  atomic_uint syncs;
} calls;

int
__wrap_io_uring_queue_init (unsigned entries, struct io_uring *ring,
                            unsigned flags)
{
  int error = atomic_load (&calls.init_error);

  atomic_fetch_add (&calls.inits, 1);
  return error < 0 ? error : __real_io_uring_queue_init (entries, ring, flags);
}

/* Submit on RING, and wait for WAIT_COUNT if it is not 0. */
static inline int
submit (struct io_uring *ring, unsigned wait_count)
{
  unsigned most, queued, hidden;
  int n;

  atomic_fetch_add (&calls.submits, 1);
  if (atomic_load (&calls.submit_passes) > 0)
    atomic_fetch_sub (&calls.submit_passes, 1);
  else if (atomic_load (&calls.submit_fails) > 0) {
    atomic_fetch_sub (&calls.submit_fails, 1);
    return atomic_load (&calls.submit_error);
  }
  most = atomic_load (&calls.submit_at_most);
  queued = io_uring_sq_ready (ring);
  hidden = most > 0 && queued > most ? queued - most : 0;
  ring->sq.sqe_tail -= hidden;
  n = wait_count > 0 && hidden == 0
        ? __real_io_uring_submit_and_wait (ring, wait_count)
        : __real_io_uring_submit (ring);
  ring->sq.sqe_tail += hidden;
  atomic_store (&calls.submitted, n > 0 ? (unsigned) n : 0);
  return n;
}

int
__wrap_io_uring_submit (struct io_uring *ring)
{
  return submit (ring, 0);
}

int
__wrap_io_uring_submit_and_wait (struct io_uring *ring, unsigned wait_count)
{
  atomic_fetch_add (&calls.waits, 1);
  return submit (ring, wait_count);
}

int
__wrap_bdev_uring_begin (int fd, const struct iovec *iov, int iovcnt,
                         struct bdev_io *io)
{
  unsigned cut = atomic_load (&calls.cut_bytes);
  int r;

  if (cut > 0 && iovcnt == 1) {
    struct iovec part = piece (iov->iov_base, iov->iov_len - cut);

    r = __real_bdev_uring_begin (fd, &part, 1, io);
  }
  else
    r = __real_bdev_uring_begin (fd, iov, iovcnt, io);
  if (r == 0)
    atomic_fetch_add (&calls.begun, 1);
  return r;
}

int64_t
__wrap_bdev_uring_end (struct bdev_io *io)
{
  int64_t result = __real_bdev_uring_end (io);

  return atomic_load (&calls.result) != 0 ? atomic_load (&calls.result)
                                          : result;
}

int
__wrap_fdatasync (int fd)
{
  atomic_fetch_add (&calls.syncs, 1);
  return __real_fdatasync (fd);
}

/*----- files -----------------------------------------------------------*/

#define FILES 4
/* Of a fan-out the last is written by the thread itself. */
#define ON_RING (FILES - 1)
#define FILE_SECTORS ((sector_t) 8192)

/* Where O_DIRECT can be had, or "". */
static char folder[TEST_PATH_BYTES];

static struct block_device *files[FILES];

static inline const char *
path_of (unsigned i)
{
  static char path[TEST_PATH_BYTES + 32];

  must (snprintf (path, sizeof path, "%s/file%u", folder, i) <
        (int) sizeof path);
  return path;
}

static inline void
setup (void)
{
  unsigned i;

  memset (&calls, 0, sizeof calls);
  for (i = 0; i < FILES; ++i) {
    int fd = open (path_of (i), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);

    must (fd >= 0);
    must (ftruncate (fd, (off_t) sector_to_bytes (FILE_SECTORS)) == 0);
    must (close (fd) == 0);
    ck_assert_int_eq (bdev_open (path_of (i), BDEV_OPEN_DIRECT, &files[i]), 0);
  }
}

static inline void
teardown (void)
{
  unsigned i;

  for (i = 0; i < FILES; ++i)
    bdev_close (files[i]);
}

static inline char *
aligned_sectors (sector_t count)
{
  void *memory;

  must (posix_memalign (&memory, 4096, sector_to_bytes (count)) == 0);
  return memset (memory, 0, sector_to_bytes (count));
}

/* Write COUNT sectors of DATA to all files at once. */
static inline int
fan_out (sector_t sector, sector_t count, char *data, int rw,
         unsigned long *bits)
{
  struct io_region where[FILES];
  unsigned i;

  for (i = 0; i < FILES; ++i)
    where[i] = (struct io_region){ files[i], sector, count };
  return dm_io_sync_vm (FILES, where, rw, data, bits);
}

/* 0 if all files hold pattern SEED there. */
static inline int
look (uint64_t seed, sector_t sector, sector_t count)
{
  char *back = aligned_sectors (count);
  unsigned i;
  int r = 0;

  for (i = 0; i < FILES && r == 0; ++i) {
    r = read_at (files[i], sector, count, back);
    if (r == 0 &&
        first_wrong_sector (back, seed, sector, count) != sector + count)
      r = -EILSEQ;
  }
  free (back);
  return r;
}

/* Write something to all files at once and look at it: 0 if all is well.
 * No assertions: also for threads and children.
 */
static inline int
try_fan_out (uint64_t seed)
{
  char *data = aligned_sectors (64);
  unsigned long bits = 0;
  int r;

  fill_pattern (data, seed, 16, 64);
  r = fan_out (16, 64, data, DM_IO_WRITE, &bits);
  if (r == 0 && bits != 0)
    r = -EIO;
  if (r == 0)
    r = look (seed, 16, 64);
  free (data);
  return r;
}

/* Run FN in a child; it returns 0 if all is well. */
static inline int
in_child (int (*fn) (void))
{
  pid_t pid = fork ();
  int status;

  must (pid >= 0);
  if (pid == 0)
    _exit (fn ());
  must (waitpid (pid, &status, 0) == pid);
  return WIFEXITED (status) ? WEXITSTATUS (status) : -1;
}

/* Descriptors of rings in this process. */
static inline unsigned
ring_count (void)
{
  DIR *dir = opendir ("/proc/self/fd");
  struct dirent *entry;
  unsigned n = 0;

  must (dir != NULL);
  while ((entry = readdir (dir)) != NULL) {
    char target[64];
    ssize_t len = readlinkat (dirfd (dir), entry->d_name, target,
                              sizeof target - 1);

    if (len > 0) {
      target[len] = '\0';
      n += strstr (target, "[io_uring]") != NULL;
    }
  }
  must (closedir (dir) == 0);
  return n;
}

/*----- suites ----------------------------------------------------------*/

/* Are there rings, and a folder with O_DIRECT? */
static inline bool
find_folder (void)
{
  const char *parents[] = { NULL, ".", "/var/tmp" };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (parents); ++i) {
    struct block_device *bdev;
    int fd, r;

    make_test_folder (parents[i], folder);
    fd = open (path_of (0), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    must (fd >= 0 && ftruncate (fd, 4096) == 0 && close (fd) == 0);
    r = bdev_open (path_of (0), BDEV_OPEN_DIRECT, &bdev);
    if (r == 0) {
      bdev_close (bdev);
      return true;
    }
    must (r == -EOPNOTSUPP);
    remove_test_folder (folder);
  }
  return false;
}

static inline int
has_rings (void)
{
  return bdev_uring_has_room () ? 0 : 1;
}

/* Run TESTS, where there are rings, and O_DIRECT. */
static inline int
direct_main (const char *name, const TTest *const *tests)
{
  int r;

  if (!find_folder () || in_child (has_rings) != 0) {
    printf ("no O_DIRECT, or no io_uring here\n");
    return 77;
  }
  r = unit_main (name, tests);
  remove_test_folder (folder);
  return r;
}

#endif /* DMIO_DIRECT_TEST_H */
