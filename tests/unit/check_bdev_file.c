/* Unit tests of the block device over a file.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "bdev-file-test.h"
#include "bits.h"
#include "fault-alloc.h"

#define FILE_SECTORS ((sector_t) 256)

/* Made by main, as plain_folder: where O_DIRECT can be had, or "". */
static char direct_folder[TEST_PATH_BYTES];

/*----- files -----------------------------------------------------------*/

START_TEST (file_keeps_what_is_written)
{
  struct block_device *bdev;
  char *data = test_alloc_sectors (FILE_SECTORS);
  const char *path;
  unsigned flags;

  setup ();
  path = make_file ("f", (off_t) sector_to_bytes (FILE_SECTORS));
  for (flags = 0; flags < 2; ++flags) { /* without and with BDEV_FUA */
    bdev = open_file (path, 0);
    ck_assert_str_eq (bdev_name (bdev), path);
    ck_assert_uint_eq (bdev_sectors (bdev), FILE_SECTORS);
    ck_assert (!bdev_is_read_only (bdev));
    fill_pattern (data, 5 + flags, 0, FILE_SECTORS);
    /* From the middle to the end, then the first half, then one more. */
    ck_assert_int_eq (write_at (bdev, 100, 156, data + 100 * 512,
                                flags ? BDEV_FUA : 0),
                      0);
    ck_assert_int_eq (write_at (bdev, 0, 100, data, flags ? BDEV_FUA : 0), 0);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    bdev_close (bdev);

    bdev = open_file (path, BDEV_OPEN_READ_ONLY);
    ck_assert (bdev_is_read_only (bdev));
    memset (data, 0, FILE_SECTORS * 512);
    ck_assert_int_eq (read_at (bdev, 0, FILE_SECTORS, data), 0);
    assert_pattern (data, 5 + flags, (sector_t) 0, FILE_SECTORS);
    ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -EROFS);
    ck_assert_int_eq (bdev_discard (bdev, 0, 1, 0), -EROFS);
    ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 1, 0), -EROFS);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    bdev_close (bdev);
  }
  ck_assert_uint_eq (warnings + errors, 0);
  teardown ();
  free (data);
}
END_TEST

START_TEST (file_may_be_empty)
{
  struct block_device *bdev;
  struct bdev_extent extent;
  char data[SECTOR_SIZE];

  setup ();
  bdev = open_file (make_file ("f", 0), 0);
  ck_assert_uint_eq (bdev_sectors (bdev), 0);
  ck_assert_int_eq (read_at (bdev, 0, 0, data), 0);
  ck_assert_int_eq (write_at (bdev, 0, 0, data, BDEV_FUA), 0);
  ck_assert_int_eq (read_at (bdev, 0, 1, data), -EINVAL);
  ck_assert_int_eq (bdev_extent (bdev, 0, 1, &extent), -EINVAL);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  bdev_close (bdev);
  teardown ();
}
END_TEST

/* Cut BYTES at DATA into pieces of 1, 2, 3, ... bytes, with empty ones
 * between; returns how many.
 */
static int
cut_oddly (char *data, size_t bytes, struct iovec *iov, int max)
{
  size_t len = 1;
  int n = 0;

  while (bytes > 0) {
    ck_assert_int_lt (n + 1, max);
    len = MIN_OF (len, bytes);
    iov[n++] = piece (data, len);
    iov[n++] = piece (NULL, 0);
    data += len;
    bytes -= len;
    ++len;
  }
  return n;
}

START_TEST (file_takes_any_vector)
{
  struct block_device *bdev;
  size_t bytes = sector_to_bytes (FILE_SECTORS);
  char *data = test_alloc (bytes);
  struct iovec *iov = test_alloc ((IOV_MAX + 100) * sizeof *iov);
  unsigned flags;
  int i, n;

  setup ();
  bdev = open_file (make_file ("f", (off_t) bytes), 0);
  n = cut_oddly (data, bytes, iov, IOV_MAX);
  for (flags = 0; flags < 2; ++flags) {
    fill_pattern (data, 1 + flags, 0, FILE_SECTORS);
    ck_assert_int_eq (bdev_write (bdev, iov, n, 0, flags ? BDEV_FUA : 0), 0);
    memset (data, 0, bytes);
    ck_assert_int_eq (bdev_read (bdev, iov, n, 0), 0);
    assert_pattern (data, 1 + flags, (sector_t) 0, FILE_SECTORS);
  }

  /* More pieces than the kernel takes: 1024 + 100 of 64 bytes each, but
   * the last holds the rest of its sector.
   */
  n = IOV_MAX + 100;
  for (i = 0; i < n; ++i)
    iov[i] = piece (data + 64 * i, 64);
  ck_assert_int_eq (n % 8, 4);
  iov[n - 1].iov_len += 4 * 64;
  for (flags = 0; flags < 2; ++flags) {
    fill_pattern (data, 7 + flags, 9, FILE_SECTORS);
    ck_assert_int_eq (bdev_write (bdev, iov, n, 9, flags ? BDEV_FUA : 0), 0);
    memset (data, 0, bytes);
    ck_assert_int_eq (bdev_read (bdev, iov, n, 9), 0);
    assert_pattern (data, 7 + flags, (sector_t) 9,
                    (sector_t) (n + 4) * 64 / 512);
  }
  bdev_close (bdev);
  teardown ();
  free (iov);
  free (data);
}
END_TEST

static off_t
size_of (const char *path)
{
  struct stat st;

  ck_assert_int_eq (stat (path, &st), 0);
  return st.st_size;
}

START_TEST (file_cut_short_while_open)
{
  struct block_device *bdev;
  char *data = test_alloc_sectors (FILE_SECTORS);
  struct bdev_extent extent;
  const char *path;
  int r;

  setup ();
  path = make_file ("f", (off_t) sector_to_bytes (FILE_SECTORS));
  bdev = open_file (path, 0);
  fill_pattern (data, 1, 0, FILE_SECTORS);
  ck_assert_int_eq (write_at (bdev, 0, FILE_SECTORS, data, 0), 0);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_int_eq (truncate (path, 100 * 512 + 100), 0);

  /* In front of the cut all is well; across and behind it is not. */
  memset (data, 0, 100 * 512);
  ck_assert_int_eq (read_at (bdev, 0, 100, data), 0);
  assert_pattern (data, 1, (sector_t) 0, (sector_t) 100);
  ck_assert_int_eq (read_at (bdev, 99, 3, data), -EIO);
  ck_assert_int_eq (read_at (bdev, 100, 1, data), -EIO);
  ck_assert_int_eq (read_at (bdev, FILE_SECTORS - 1, 1, data), -EIO);
  /* What is lost must not be taken for a hole, which reads as zeroes. */
  r = bdev_extent (bdev, 150, 50, &extent);
  ck_assert (r < 0 || !extent.is_hole);

  ck_assert_uint_eq (errors, 0);
  ck_assert_int_eq (bdev_flush (bdev), -EIO);
  ck_assert_uint_eq (errors, 1);
  bdev_close (bdev);
  teardown ();
  free (data);
}
END_TEST

/* The same is noticed by whatever has to be durable, and by a write that
 * would make the file as long as it was.
 */
START_TEST (file_cut_short_is_noticed)
{
  char data[SECTOR_SIZE] = "x";
  const char *path;
  unsigned kind;

  setup ();
  path = make_file ("f", 64 * 512);
  for (kind = 0; kind < 6; ++kind) {
    struct block_device *bdev;
    int r;

    ck_assert_int_eq (truncate (path, 64 * 512), 0);
    bdev = open_file (path, 0);
    ck_assert_int_eq (truncate (path, 16 * 512), 0);
    ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
    switch (kind) {
    case 0:
      r = write_at (bdev, 0, 1, data, BDEV_FUA);
      break;
    case 1:
      r = bdev_discard (bdev, 0, 8, BDEV_FUA);
      break;
    case 2:
      r = bdev_write_zeroes (bdev, 0, 8, BDEV_FUA);
      break;
    case 3:
      r = bdev_write_zeroes (bdev, 0, 8, BDEV_FUA | BDEV_UNMAP);
      break;
    case 4:
      r = write_at (bdev, 63, 1, data, 0);
      break;
    default:
      r = write_at (bdev, 63, 1, data, BDEV_FUA);
      break;
    }
    ck_assert_msg (r == -EIO || r == -EOPNOTSUPP, "kind %u: %d", kind, r);
    ck_assert_int_eq (size_of (path), 16 * 512);
    ck_assert_int_eq (bdev_flush (bdev), -EIO);
    bdev_close (bdev);
  }
  teardown ();
}
END_TEST

START_TEST (file_deleted_while_open)
{
  struct block_device *bdev;
  char data[SECTOR_SIZE];
  const char *path;

  setup ();
  path = make_file ("f", 4096);
  bdev = open_file (path, 0);
  ck_assert_int_eq (unlink (path), 0);
  fill_pattern (data, 1, 3, 1);
  ck_assert_int_eq (write_at (bdev, 3, 1, data, 0), 0);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_uint_eq (warnings, 1);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_uint_eq (warnings, 1); /* said once */
  memset (data, 0, sizeof data);
  ck_assert_int_eq (read_at (bdev, 3, 1, data), 0);
  assert_pattern (data, 1, (sector_t) 3, (sector_t) 1);
  bdev_close (bdev);
  teardown ();
}
END_TEST

/* Who opens a file that has no name knows it. */
START_TEST (file_without_a_name_is_not_deleted)
{
  struct block_device *bdev;
  const char *path;
  int fd;

  setup ();
  path = make_file ("f", 4096);
  fd = open (path, O_RDWR | O_CLOEXEC);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (unlink (path), 0);
  ck_assert_int_eq (bdev_open_fd (fd, path, 0, &bdev), 0);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_uint_eq (warnings, 0);
  bdev_close (bdev);
  teardown ();
}
END_TEST

static off_t
allocated_bytes (const char *path)
{
  struct stat st;

  ck_assert_int_eq (stat (path, &st), 0);
  return (off_t) st.st_blocks * 512;
}

START_TEST (file_gives_space_back)
{
  const off_t bytes = 1 << 20;
  struct block_device *bdev;
  char *data = test_alloc ((size_t) bytes);
  struct bdev_extent extent;
  const char *path;
  unsigned kind;

  setup ();
  path = make_file ("f", bytes);
  bdev = open_file (path, 0);
  for (kind = 0; kind < 4; ++kind) {
    unsigned fua = kind % 2 ? BDEV_FUA : 0;
    off_t before;
    int r;

    fill_pattern (data, kind, 0, 2048);
    ck_assert_int_eq (write_at (bdev, 0, 2048, data, 0), 0);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    before = allocated_bytes (path);
    r = kind < 2 ? bdev_discard (bdev, 512, 1024, fua)
                 : bdev_write_zeroes (bdev, 512, 1024, BDEV_UNMAP | fua);
    if (kind < 2 && r == -EOPNOTSUPP) {
      printf ("file system of %s cannot punch holes\n", folder);
      break;
    }
    ck_assert_int_eq (r, 0);
    ck_assert_int_eq (allocated_bytes (path), before - 1024 * 512);
    ck_assert_int_eq (size_of (path), bytes);
    ck_assert_int_eq (read_at (bdev, 0, 2048, data), 0);
    assert_pattern (data, kind, (sector_t) 0, (sector_t) 512);
    assert_all_bytes (data + 512 * 512, 0, 1024 * (size_t) 512);
    assert_pattern (data + 1536 * 512, kind, (sector_t) 1536, (sector_t) 512);

    ck_assert_int_eq (bdev_extent (bdev, 0, 2048, &extent), 0);
    ck_assert (!extent.is_hole);
    ck_assert_uint_eq (extent.count, 512);
    ck_assert_int_eq (bdev_extent (bdev, 0, 100, &extent), 0);
    ck_assert_uint_eq (extent.count, 100);
    ck_assert_int_eq (bdev_extent (bdev, 600, 1448, &extent), 0);
    ck_assert (extent.is_hole);
    ck_assert_uint_eq (extent.count, 1536 - 600);
    ck_assert_int_eq (bdev_extent (bdev, 600, 10, &extent), 0);
    ck_assert (extent.is_hole);
    ck_assert_uint_eq (extent.count, 10);
    ck_assert_int_eq (bdev_extent (bdev, 2047, 1, &extent), 0);
    ck_assert (!extent.is_hole);
  }
  /* Sectors inside a block of the file system are zeroed, to the byte. */
  fill_pattern (data, 9, 0, 2048);
  ck_assert_int_eq (write_at (bdev, 0, 2048, data, 0), 0);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 3, 7, BDEV_UNMAP), 0);
  ck_assert_int_eq (read_at (bdev, 0, 2048, data), 0);
  assert_pattern (data, 9, (sector_t) 0, (sector_t) 3);
  assert_all_bytes (data + 3 * 512, 0, 7 * (size_t) 512);
  assert_pattern (data + 10 * 512, 9, (sector_t) 10, (sector_t) 2038);
  bdev_close (bdev);
  teardown ();
  free (data);
}
END_TEST

START_TEST (file_zeroes_and_keeps_the_space)
{
  const off_t bytes = 1 << 20;
  struct block_device *bdev;
  char *data = test_alloc ((size_t) bytes);
  const char *path;
  unsigned kind;

  setup ();
  path = make_file ("f", bytes);
  bdev = open_file (path, 0);
  for (kind = 0; kind < 2; ++kind) {
    off_t before;

    fill_pattern (data, kind, 0, 2048);
    ck_assert_int_eq (write_at (bdev, 0, 2048, data, 0), 0);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    before = allocated_bytes (path);
    ck_assert_int_eq (bdev_write_zeroes (bdev, 5, 2000, kind ? BDEV_FUA : 0),
                      0);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    ck_assert_int_eq (allocated_bytes (path), before);
    ck_assert_int_eq (size_of (path), bytes);
    ck_assert_int_eq (read_at (bdev, 0, 2048, data), 0);
    assert_pattern (data, kind, (sector_t) 0, (sector_t) 5);
    assert_all_bytes (data + 5 * 512, 0, 2000 * (size_t) 512);
    assert_pattern (data + 2005 * 512, kind, (sector_t) 2005, (sector_t) 43);
  }
  bdev_close (bdev);
  teardown ();
  free (data);
}
END_TEST

START_TEST (file_of_holes)
{
  struct block_device *bdev;
  struct bdev_extent extent;
  char data[SECTOR_SIZE] = "x";

  setup ();
  bdev = open_file (make_file ("f", 1 << 20), 0);
  ck_assert_int_eq (bdev_extent (bdev, 0, 2048, &extent), 0);
  ck_assert (extent.is_hole);
  ck_assert_uint_eq (extent.count, 2048);
  ck_assert_int_eq (bdev_extent (bdev, 2000, 48, &extent), 0);
  ck_assert (extent.is_hole);
  ck_assert_uint_eq (extent.count, 48);
  ck_assert_int_eq (write_at (bdev, 1024, 1, data, 0), 0);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_int_eq (bdev_extent (bdev, 10, 2038, &extent), 0);
  ck_assert (extent.is_hole);
  ck_assert_uint_eq (extent.count, 1014);
  ck_assert_int_eq (bdev_extent (bdev, 1024, 1024, &extent), 0);
  ck_assert (!extent.is_hole);
  ck_assert_uint_le (extent.count, 128); /* blocks of at most 64 KiB */
  bdev_close (bdev);
  teardown ();
}
END_TEST

START_TEST (file_has_an_identity)
{
  struct block_device *a, *b, *c, *d;
  struct bdev_identity ia, ib, ic, id;

  setup ();
  a = open_file (make_file ("a", 512), 0);
  ck_assert_int_eq (link (path_of ("a"), path_of ("b")), 0);
  b = open_file (path_of ("b"), BDEV_OPEN_READ_ONLY);
  c = open_file (make_file ("c", 512), 0);
  ck_assert_int_eq (bdev_identity (a, &ia), 0);
  ck_assert_int_eq (bdev_identity (b, &ib), 0);
  ck_assert_int_eq (bdev_identity (c, &ic), 0);
  ck_assert (!ia.is_disk);
  ck_assert_uint_ne (ia.inode, 0);
  ck_assert_mem_eq (&ia, &ib, sizeof ia);
  ck_assert_uint_eq (ia.device, ic.device);
  ck_assert_uint_ne (ia.inode, ic.inode);

  /* Replaced by another file of the same name. */
  ck_assert_int_eq (unlink (path_of ("a")), 0);
  d = open_file (make_file ("a", 512), 0);
  ck_assert_int_eq (bdev_identity (d, &id), 0);
  ck_assert_mem_ne (&ia, &id, sizeof ia);
  bdev_close (a);
  bdev_close (b);
  bdev_close (c);
  bdev_close (d);
  teardown ();
}
END_TEST

/* The file system refuses to make a file so long: the write is done in
 * part, and then is an error, not a success.
 */
START_TEST (file_that_can_be_written_in_part_only)
{
  const struct rlimit limit = { .rlim_cur = 100 * 512,
                                .rlim_max = RLIM_INFINITY };
  const struct rlimit no_limit = { RLIM_INFINITY, RLIM_INFINITY };
  struct block_device *bdev;
  char *data = test_alloc_sectors (200);
  unsigned flags;

  setup ();
  bdev = open_file (make_file ("f", 200 * 512), 0);
  fill_pattern (data, 1, 0, 200);
  ck_assert_ptr_ne (signal (SIGXFSZ, SIG_IGN), SIG_ERR);
  ck_assert_int_eq (setrlimit (RLIMIT_FSIZE, &limit), 0);
  for (flags = 0; flags < 2; ++flags) {
    ck_assert_int_eq (write_at (bdev, 50, 100, data + 50 * 512,
                                flags ? BDEV_FUA : 0),
                      -EFBIG);
    ck_assert_int_eq (write_at (bdev, 100, 1, data, flags ? BDEV_FUA : 0),
                      -EFBIG);
    ck_assert_int_eq (write_at (bdev, 99, 1, data + 99 * 512,
                                flags ? BDEV_FUA : 0),
                      0);
  }
  ck_assert_int_eq (setrlimit (RLIMIT_FSIZE, &no_limit), 0);
  bdev_close (bdev);
  teardown ();
  free (data);
}
END_TEST

/*----- files with O_DIRECT ---------------------------------------------*/

/* A folder where O_DIRECT can be had. */
static void
find_direct_folder (void)
{
  const char *parents[] = { NULL, ".", "/var/tmp" };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (parents); ++i) {
    struct block_device *bdev;
    int r;

    make_test_folder (parents[i], direct_folder);
    strcpy (folder, direct_folder);
    r = bdev_open (make_file ("probe", 4096), BDEV_OPEN_DIRECT, &bdev);
    if (r == 0) {
      bdev_close (bdev);
      return;
    }
    must (r == -EOPNOTSUPP);
    remove_test_folder (direct_folder);
  }
  direct_folder[0] = '\0';
  printf ("O_DIRECT cannot be had here and is not tested\n");
}

/* A device with O_DIRECT, or NULL where it cannot be had. */
static struct block_device *
open_direct (const char *name, sector_t sectors)
{
  if (direct_folder[0] == '\0')
    return NULL;
  make_test_folder (direct_folder, folder);
  return open_file (make_file (name, (off_t) sector_to_bytes (sectors)),
                    BDEV_OPEN_DIRECT);
}

START_TEST (direct_with_any_memory)
{
  enum { SECTORS = 5000 }; /* more than two bounce buffers */
  struct block_device *bdev = open_direct ("f", SECTORS);
  char *memory = test_alloc_sectors (SECTORS + 9), *data;
  struct iovec *iov = test_alloc (6000 * sizeof *iov);
  static const unsigned shifts[] = { 0, 1, 511, 512, 513, 4095 };
  unsigned i, flags;
  int n, r[2];

  if (bdev == NULL)
    goto out;
  data = (char *) round_up_to ((uintptr_t) memory, 512);
  for (i = 0; i < ARRAY_COUNT (shifts); ++i) {
    char *at = data + shifts[i];
    unsigned fua = i % 2 ? BDEV_FUA : 0;

    fill_pattern (at, i, 0, SECTORS);
    ck_assert_int_eq (write_at (bdev, 0, SECTORS, at, fua), 0);
    memset (at, 0, SECTORS * (size_t) 512);
    ck_assert_int_eq (read_at (bdev, 0, SECTORS, at), 0);
    assert_pattern (at, i, (sector_t) 0, (sector_t) SECTORS);
    /* One sector, and not the first. */
    ck_assert_int_eq (read_at (bdev, 4321, 1, at), 0);
    assert_pattern (at, i, (sector_t) 4321, (sector_t) 1);
    fill_pattern (at, 99, 4321, 1);
    ck_assert_int_eq (write_at (bdev, 4321, 1, at, fua), 0);
    ck_assert_int_eq (read_at (bdev, 4320, 3, at), 0);
    assert_pattern (at, i, (sector_t) 4320, (sector_t) 1);
    assert_pattern (at + 512, 99, (sector_t) 4321, (sector_t) 1);
    assert_pattern (at + 1024, i, (sector_t) 4322, (sector_t) 1);
  }

  /* Pieces of all lengths. */
  n = cut_oddly (data, SECTORS * (size_t) 512, iov, 6000);
  for (flags = 0; flags < 2; ++flags) {
    fill_pattern (data, 100 + flags, 0, SECTORS);
    ck_assert_int_eq (bdev_write (bdev, iov, n, 0, flags ? BDEV_FUA : 0), 0);
    memset (data, 0, SECTORS * (size_t) 512);
    ck_assert_int_eq (bdev_read (bdev, iov, n, 0), 0);
    assert_pattern (data, 100 + flags, (sector_t) 0, (sector_t) SECTORS);
  }
  ck_assert_int_eq (bdev_flush (bdev), 0);

  /* No memory for the bounce buffer: it goes on, in small pieces. */
  fill_pattern (data + 1, 77, 0, SECTORS);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  r[0] = write_at (bdev, 0, SECTORS, data + 1, 0);
  memset (data + 1, 0, SECTORS * (size_t) 512);
  r[1] = read_at (bdev, 0, SECTORS, data + 1);
  ck_assert_uint_eq (fault_alloc_stop (), 2);
  ck_assert_int_eq (r[0], 0);
  ck_assert_int_eq (r[1], 0);
  assert_pattern (data + 1, 77, (sector_t) 0, (sector_t) SECTORS);
  fault_alloc_fail_once (FAULT_ALLOC_MEMORY, 0);
  r[0] = read_at (bdev, 0, 1, data); /* aligned: needs none */
  ck_assert_uint_eq (fault_alloc_stop (), 0);
  ck_assert_int_eq (r[0], 0);
  bdev_close (bdev);
  remove_test_folder (folder);
out:
  free (iov);
  free (memory);
}
END_TEST

START_TEST (direct_file_cut_short)
{
  struct block_device *bdev = open_direct ("f", 64);
  char *memory = test_alloc_sectors (66);
  char *data = (char *) round_up_to ((uintptr_t) memory, 512);

  if (bdev != NULL) {
    ck_assert_int_eq (write_at (bdev, 0, 64, data, 0), 0);
    ck_assert_int_eq (truncate (path_of ("f"), 16 * 512), 0);
    ck_assert_int_eq (read_at (bdev, 0, 16, data), 0);
    ck_assert_int_eq (read_at (bdev, 0, 16, data + 1), 0);
    ck_assert_int_eq (read_at (bdev, 15, 2, data), -EIO);
    ck_assert_int_eq (read_at (bdev, 15, 2, data + 1), -EIO);
    ck_assert_int_eq (read_at (bdev, 63, 1, data), -EIO);
    ck_assert_int_eq (bdev_flush (bdev), -EIO);
    bdev_close (bdev);
    remove_test_folder (folder);
  }
  free (memory);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    file_keeps_what_is_written,
    file_may_be_empty,
    file_takes_any_vector,
    file_cut_short_while_open,
    file_cut_short_is_noticed,
    file_deleted_while_open,
    file_without_a_name_is_not_deleted,
    file_gives_space_back,
    file_zeroes_and_keeps_the_space,
    file_of_holes,
    file_has_an_identity,
    file_that_can_be_written_in_part_only,
    direct_with_any_memory,
    direct_file_cut_short,
    NULL,
  };

  int r;

  make_test_folder (NULL, plain_folder);
  find_direct_folder ();
  r = unit_main ("bdev-file", tests);
  remove_test_folder (plain_folder);
  if (direct_folder[0] != '\0')
    remove_test_folder (direct_folder);
  return r;
}
