/* Unit tests of direct files in flight, and of rings that cannot be had.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The linker leads the calls of liburing, and those between bdev-file-io.c
 * and bdev-uring.c, here, where they are counted or made to fail.
 *
 * What forbids rings to the whole process is tried in a child.
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "bdev-impl.h"
#include "bdev-uring.h"
#include "dm-io.h"
#include "fault-alloc.h"
#include "target-test.h"
#include "vector.h"

#ifdef HAVE_LIBURING

#include <liburing.h>

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
static int
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

static const char *
path_of (unsigned i)
{
  static char path[TEST_PATH_BYTES + 32];

  must (snprintf (path, sizeof path, "%s/file%u", folder, i) <
        (int) sizeof path);
  return path;
}

static void
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

static void
teardown (void)
{
  unsigned i;

  for (i = 0; i < FILES; ++i)
    bdev_close (files[i]);
}

static char *
aligned_sectors (sector_t count)
{
  void *memory;

  must (posix_memalign (&memory, 4096, sector_to_bytes (count)) == 0);
  return memset (memory, 0, sector_to_bytes (count));
}

/* Write COUNT sectors of DATA to all files at once. */
static int
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
static int
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
static int
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
static int
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
static unsigned
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

/*----- rings that do not work ------------------------------------------*/

/* io_uring_submit fails some times: what is queued goes later, or not at all;
 * but it is written.
 */
START_TEST (submitting_fails)
{
  static const int errors[] = { -EINTR, -EAGAIN, -EBUSY, -ENOMEM, -EBADF, 0 };
  unsigned i, fails;

  setup ();
  ck_assert_int_eq (try_fan_out (99), 0);
  for (i = 0; i < ARRAY_COUNT (errors); ++i)
    for (fails = 1; fails < 5; ++fails) {
      unsigned begun = atomic_load (&calls.begun);

      atomic_store (&calls.submit_error, errors[i]);
      atomic_store (&calls.submit_fails, fails);
      ck_assert_int_eq (try_fan_out (10 * i + fails), 0);
      atomic_store (&calls.submit_fails, 0);
      ck_assert_int_eq (try_fan_out (10 * i + fails), 0);
      /* A signal is no reason to give the ring up. */
      if (errors[i] == -EINTR)
        ck_assert_uint_gt (atomic_load (&calls.begun), begun);
    }
  teardown ();
}
END_TEST

/* The kernel takes some, and the others at the next try. */
START_TEST (submitting_in_parts)
{
  unsigned most;

  setup ();
  for (most = 1; most <= FILES; ++most) {
    unsigned begun = atomic_load (&calls.begun);

    atomic_store (&calls.submit_at_most, most);
    ck_assert_int_eq (try_fan_out (most), 0);
    ck_assert_uint_eq (atomic_load (&calls.begun) - begun, ON_RING);
  }
  /* And then no more. */
  atomic_store (&calls.submit_at_most, 1);
  atomic_store (&calls.submit_passes, 2);
  atomic_store (&calls.submit_error, -ENOMEM);
  atomic_store (&calls.submit_fails, 100);
  ck_assert_int_eq (try_fan_out (77), 0);
  ck_assert_uint_lt (atomic_load (&calls.submit_fails), 100);
  ck_assert_uint_eq (ring_count (), 0);
  teardown ();
}
END_TEST

/* Some are in flight already when the next cannot be submitted. */
START_TEST (submitting_fails_half_way)
{
  char *data = aligned_sectors (8);
  struct iovec iov = piece (data, 4096);
  unsigned i, fails;

  setup ();
  for (fails = 0; fails < 5; ++fails) {
    struct bdev_io ios[4];

    fill_pattern (data, fails, 8, 8);
    for (i = 0; i < 4; ++i) {
      ios[i] = (struct bdev_io){ .op = BDEV_WRITE,
                                 .iov = &iov,
                                 .iovcnt = 1,
                                 .sector = 8,
                                 .more = i % 2 == 0 };
      if (i == 2) {
        atomic_store (&calls.submit_error, -EAGAIN);
        atomic_store (&calls.submit_fails, fails);
      }
      ck_assert_int_eq (bdev_begin (files[i], &ios[i]), i < 4 ? 0 : -EAGAIN);
    }
    for (i = 4; i-- > 0;)
      ck_assert_int_eq (bdev_end (files[i], &ios[i]), 0);
    atomic_store (&calls.submit_fails, 0);
    ck_assert_int_eq (look (fails, 8, 8), 0);
    /* A ring that was given up is not made again at once. */
    if (fails >= 3)
      break;
  }
  teardown ();
  free (data);
}
END_TEST

static int expected_inits, init_error;

static void
try_thread (void *arg)
{
  *(int *) arg = try_fan_out (3);
}

/* The library asks so often for a ring, and does without it. */
static int
without_rings (void)
{
  struct thread thread;
  unsigned i;
  int r = 0;

  atomic_store (&calls.init_error, init_error);
  atomic_store (&calls.inits, 0);
  for (i = 0; i < 10 && r == 0; ++i)
    r = try_fan_out (i);
  if (r != 0)
    return 1;
  if (thread_start (&thread, "fan-out", try_thread, &r) != 0)
    return 2;
  thread_join (&thread);
  if (r != 0)
    return 3;
  if (atomic_load (&calls.begun) != 0)
    return 4;
  return (int) atomic_load (&calls.inits) == expected_inits ? 0 : 5;
}

START_TEST (no_rings_for_anybody)
{
  static const struct {
    int error, inits;
  } cases[] = {
    /* Not in this kernel, or not for this process: it is asked once. */
    { -ENOSYS, 1 },
    { -EPERM, 1 },
    { -EACCES, 1 },
    { -EINVAL, 3 }, /* with fewer and fewer wishes */
    /* That may pass: each thread asks for itself. */
    { -EMFILE, 2 },
    { -ENFILE, 2 },
    { -ENOMEM, 2 },
    { -EAGAIN, 2 },
  };
  unsigned i;

  setup ();
  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    init_error = cases[i].error;
    expected_inits = cases[i].inits;
    ck_assert_int_eq (in_child (without_rings), 0);
  }
  teardown ();
}
END_TEST

static int
ask_again (void)
{
  unsigned i;

  atomic_store (&calls.init_error, -EMFILE);
  if (try_fan_out (0) != 0 || atomic_load (&calls.inits) != 1)
    return 1;
  atomic_store (&calls.init_error, 0);
  if (try_fan_out (1) != 0 || atomic_load (&calls.inits) != 1)
    return 2;
  for (i = 0; i < 400; ++i)
    if (try_fan_out (2) != 0)
      return 3;
  if (atomic_load (&calls.inits) != 2 || atomic_load (&calls.begun) == 0)
    return 4;
  return 0;
}

START_TEST (what_may_pass_is_asked_again)
{
  setup ();
  ck_assert_int_eq (in_child (ask_again), 0);
  teardown ();
}
END_TEST

/* From now on system call NUMBER fails with ERROR in this process. */
static bool
forbid (unsigned number, unsigned error)
{
  struct sock_filter code[] = {
    BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offsetof (struct seccomp_data, nr)),
    BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = { ARRAY_COUNT (code), code };

  return prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static unsigned forbidden_errno;

static int
setup_is_forbidden (void)
{
  if (!forbid (SYS_io_uring_setup, forbidden_errno))
    return 10;
  init_error = 0;
  expected_inits = 1;
  return without_rings ();
}

START_TEST (the_system_forbids_rings)
{
  setup ();
  forbidden_errno = EPERM;
  ck_assert_int_eq (in_child (setup_is_forbidden), 0);
  forbidden_errno = ENOSYS;
  ck_assert_int_eq (in_child (setup_is_forbidden), 0);
  teardown ();
}
END_TEST

/* The ring is there, and then it may not be used. */
static int
enter_is_forbidden (void)
{
  unsigned i;

  if (try_fan_out (0) != 0 || atomic_load (&calls.begun) == 0)
    return 1;
  if (!forbid (SYS_io_uring_enter, forbidden_errno))
    return 10;
  for (i = 1; i < 10; ++i)
    if (try_fan_out (i) != 0)
      return 2;
  /* It was given up, and not made again at once. */
  return atomic_load (&calls.inits) == 1 && ring_count () == 0 ? 0 : 3;
}

START_TEST (the_system_forbids_to_use_rings)
{
  setup ();
  forbidden_errno = EPERM;
  ck_assert_int_eq (in_child (enter_is_forbidden), 0);
  teardown ();
}
END_TEST

static int
no_descriptors (void)
{
  struct rlimit limit;
  int fd = dup (0);

  must (fd >= 0 && close (fd) == 0);
  must (getrlimit (RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = (rlim_t) fd;
  must (setrlimit (RLIMIT_NOFILE, &limit) == 0);
  init_error = 0;
  expected_inits = 2;
  return without_rings ();
}

START_TEST (no_descriptor_for_a_ring)
{
  setup ();
  ck_assert_int_eq (in_child (no_descriptors), 0);
  teardown ();
}
END_TEST

/* Each allocation fails once, also those of the ring. */
static int
every_allocation (void)
{
  unsigned k, failed = 1;

  for (k = 0; failed > 0; ++k) {
    char *data = aligned_sectors (33), *back;
    unsigned long bits = 1;
    int r;

    fill_pattern (data + 1, k, 16, 32);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = fan_out (16, 32, data + 1, DM_IO_WRITE, &bits);
    failed = fault_alloc_stop ();
    free (data);
    back = aligned_sectors (1);
    free (back);
    if (r != 0 || bits != 0 || look (k, 16, 32) != 0)
      return 1;
  }
  return k > FILES ? 0 : 2;
}

START_TEST (no_memory_for_a_ring)
{
  setup ();
  ck_assert_int_eq (in_child (every_allocation), 0);
  teardown ();
}
END_TEST

/*----- threads and processes -------------------------------------------*/

struct user {
  struct thread thread;
  struct event_count *ready;
  struct event_count *may_end;
  int result;
};

static void
user_main (void *arg)
{
  struct user *u = arg;
  u->result = try_fan_out (1);
  event_count_add (u->ready);
  event_count_wait (u->may_end, 1);
}

START_TEST (a_ring_goes_with_its_thread)
{
  struct event_count ready, may_end;
  struct user users[20];
  unsigned before, i;

  setup ();
  event_count_init (&ready);
  event_count_init (&may_end);
  before = ring_count ();
  for (i = 0; i < ARRAY_COUNT (users); ++i) {
    users[i].ready = &ready;
    users[i].may_end = &may_end;
    ck_assert_int_eq (thread_start (&users[i].thread, "user", user_main,
                                    &users[i]),
                      0);
  }
  event_count_wait (&ready, ARRAY_COUNT (users));
  ck_assert_uint_eq (ring_count (), before + ARRAY_COUNT (users));
  event_count_add (&may_end);
  for (i = 0; i < ARRAY_COUNT (users); ++i) {
    thread_join (&users[i].thread);
    ck_assert_int_eq (users[i].result, 0);
  }
  ck_assert_uint_eq (ring_count (), before);
  event_count_destroy (&ready);
  event_count_destroy (&may_end);
  teardown ();
}
END_TEST

static int
child_has_its_own (void)
{
  if (try_fan_out (4) != 0)
    return 1;
  if (atomic_load (&calls.inits) != 2) /* that of the parent is one */
    return 2;
  return ring_count () == 1 ? 0 : 3;
}

START_TEST (a_child_does_not_use_the_ring_of_its_parent)
{
  char *data = aligned_sectors (8);
  struct iovec iov = piece (data, 4096);
  struct bdev_io io = {
    .op = BDEV_READ, .iov = &iov, .iovcnt = 1, .more = true
  };

  setup ();
  ck_assert_int_eq (try_fan_out (2), 0);
  ck_assert_int_eq (in_child (child_has_its_own), 0);
  /* Not even what the parent has queued there. */
  ck_assert_int_eq (bdev_begin (files[0], &io), 0);
  ck_assert_int_eq (in_child (child_has_its_own), 0);
  ck_assert_int_eq (bdev_end (files[0], &io), 0);
  ck_assert_int_eq (try_fan_out (3), 0);
  ck_assert_uint_eq (atomic_load (&calls.inits), 1);
  teardown ();
  free (data);
}
END_TEST

/* Threads that write the same files in places of their own. */
#define WRITERS 6
#define AREA ((sector_t) 1024)

struct writer {
  struct thread thread;
  struct chance chance;
  sector_t first;
  int result;
  char *model, *data;
};

static int
writer_step (struct writer *w)
{
  sector_t sector = chance_below (&w->chance, AREA);
  sector_t count = 1 + chance_below (&w->chance, MIN_OF (AREA - sector, 64));
  char *data = w->data + chance_below (&w->chance, 3);
  struct io_region where[FILES];
  unsigned long bits = 0;
  unsigned i;
  int r;

  for (i = 0; i < FILES; ++i)
    where[i] = (struct io_region){ files[i], w->first + sector, count };
  fill_pattern (data, chance_next (&w->chance), sector, count);
  memcpy (w->model + sector_to_bytes (sector), data, sector_to_bytes (count));
  r = dm_io_sync_vm (FILES, where,
                     DM_IO_WRITE |
                       (chance_below (&w->chance, 50) ? 0 : DM_IO_FUA),
                     data, &bits);
  if (r < 0 || bits != 0)
    return r < 0 ? r : -EIO;
  i = (unsigned) chance_below (&w->chance, FILES);
  r = read_at (files[i], w->first + sector, count, data);
  if (r == 0 && memcmp (data, w->model + sector_to_bytes (sector),
                        sector_to_bytes (count)) != 0)
    r = -EILSEQ;
  return r;
}

static void
writer_main (void *arg)
{
  struct writer *w = arg;
  unsigned round;

  for (round = 0; round < 200 && w->result == 0; ++round)
    w->result = writer_step (w);
}

START_TEST (many_threads_write)
{
  struct chance chance = chance_begin ("many_threads_write");
  struct writer writers[WRITERS];
  char *back = aligned_sectors (AREA);
  unsigned i, f;

  setup ();
  /* One of them is of larger blocks, which areas do not share. */
  ck_assert_int_eq (bdev_blocks_create (files[0], 4096, &files[0]), 0);
  for (i = 0; i < WRITERS; ++i) {
    writers[i] = (struct writer){
      .chance = { chance_next (&chance) },
      .first = i * (AREA + 3),
      .model = aligned_sectors (AREA),
      .data = aligned_sectors (65),
    };
    memset (writers[i].model, 0, sector_to_bytes (AREA));
    ck_assert_int_eq (thread_start (&writers[i].thread, "writer", writer_main,
                                    &writers[i]),
                      0);
  }
  for (i = 0; i < WRITERS; ++i) {
    thread_join (&writers[i].thread);
    ck_assert_int_eq (writers[i].result, 0);
    for (f = 0; f < FILES; ++f) {
      ck_assert_int_eq (read_at (files[f], writers[i].first, AREA, back), 0);
      ck_assert (memcmp (back, writers[i].model, sector_to_bytes (AREA)) == 0);
    }
    free (writers[i].model);
    free (writers[i].data);
  }
  ck_assert_uint_gt (atomic_load (&calls.begun), 0);
  teardown ();
  free (back);
}
END_TEST

/* Are there rings, and a folder with O_DIRECT? */
static bool
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

static int
has_rings (void)
{
  return bdev_uring_has_room () ? 0 : 1;
}

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
    submitting_fails,
    submitting_in_parts,
    submitting_fails_half_way,
    no_rings_for_anybody,
    what_may_pass_is_asked_again,
    the_system_forbids_rings,
    the_system_forbids_to_use_rings,
    no_descriptor_for_a_ring,
    no_memory_for_a_ring,
    a_ring_goes_with_its_thread,
    a_child_does_not_use_the_ring_of_its_parent,
    many_threads_write,
    NULL,
  };
  int r;

  if (!find_folder () || in_child (has_rings) != 0) {
    printf ("no O_DIRECT, or no io_uring here\n");
    return 77;
  }
  r = unit_main ("bdev-direct", tests);
  remove_test_folder (folder);
  return r;
}

#else /* HAVE_LIBURING */

int
main (void)
{
  printf ("built without liburing\n");
  return 77;
}

#endif
