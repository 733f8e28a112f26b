/* Unit tests of kcopyd: devices that copy by themselves (KCOPYD_OFFLOAD).
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Whatever the short ways do or fail to do, what is read afterwards is what
 * was asked for, and errors are those of reading and writing.
 */

#include <config.h>

#include <fcntl.h>

#include "clock.h"
#include "kcopyd-test.h"

/* A device over one of the disks that can copy to another of its kind. */
struct copier {
  struct block_device *disk;
  struct copier_faults *faults;
};

static struct copier_faults {
  atomic_uint calls;
  atomic_uint fail_from;      /* from this call on, */
  atomic_uint fail_times;     /* so many fail, */
  atomic_int error;           /* with this error, */
  atomic_uint garbage_before; /* having written garbage */
} faults;

static int
copier_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  struct copier *c = handle;

  return bdev_read (c->disk, iov, iovcnt, sector);
}

static int
copier_write (void *handle, const struct iovec *iov, int iovcnt,
              sector_t sector, unsigned flags)
{
  struct copier *c = handle;

  return bdev_write (c->disk, iov, iovcnt, sector, flags);
}

static int
copier_extent (void *handle, sector_t sector, sector_t count,
               struct bdev_extent *extent)
{
  struct copier *c = handle;

  return bdev_extent (c->disk, sector, count, extent);
}

static int
copier_write_zeroes (void *handle, sector_t sector, sector_t count,
                     unsigned flags)
{
  struct copier *c = handle;

  return bdev_write_zeroes (c->disk, sector, count, flags);
}

static int
copier_copy (void *handle, sector_t sector, void *dest_handle,
             sector_t dest_sector, sector_t count)
{
  struct copier *from = handle, *to = dest_handle;
  char *data = test_alloc_sectors (count);
  unsigned n = atomic_fetch_add (&faults.calls, 1);
  unsigned first = atomic_load (&faults.fail_from);
  int r = 0;

  if (n >= first && n - first < atomic_load (&faults.fail_times)) {
    r = atomic_load (&faults.error);
    memset (data, 0x5a, sector_to_bytes (count));
    if (atomic_load (&faults.garbage_before))
      must (write_at (to->disk, dest_sector, count, data, 0) == 0);
  }
  if (r == 0)
    r = read_at (from->disk, sector, count, data);
  if (r == 0)
    r = write_at (to->disk, dest_sector, count, data, 0);
  free (data);
  return r;
}

static void
copier_close (void *handle)
{
  struct copier *c = handle;

  bdev_close (c->disk);
  free (c);
}

static const struct bdev_ops copier_ops = {
  .struct_size = sizeof (struct bdev_ops),
  .read = copier_read,
  .write = copier_write,
  .extent = copier_extent,
  .write_zeroes = copier_write_zeroes,
  .copy = copier_copy,
  .close = copier_close,
};

/* Devices of the set COPIERS can copy among themselves. */
static void
make_copiers (unsigned copiers)
{
  unsigned i;

  memset (&faults, 0, sizeof faults);
  for (i = 0; i < disk_count; ++i)
    if (copiers >> i & 1) {
      struct copier *c = test_alloc (sizeof *c);

      c->disk = devices[i];
      ck_assert_int_eq (bdev_create (&copier_ops, c, "copier", disk_sectors,
                                     &devices[i]),
                        0);
    }
}

START_TEST (devices_copy_if_asked)
{
  unsigned flags, i;

  for (flags = 0; flags <= OFFLOAD; flags += OFFLOAD) {
    struct kcopyd_progress p;
    struct copy c;

    setup (3, 50);
    make_copiers (15);
    copy_init (&c, small_client (1, 1), NULL);
    start_job (&c, 3, 0, 50, flags);
    event_count_wait (&c.done, 1);
    p = progress_of (c.kc);
    finish (&c);
    ck_assert_int_eq (c.read_err, 0);
    ck_assert_uint_eq (c.write_err, 0);
    ck_assert_uint_eq (faults.calls, flags ? 3 * 7 : 0);
    ck_assert_uint_eq (p.sectors_offloaded, flags ? 150 : 0);
    ck_assert_uint_eq (p.sectors_read, flags ? 0 : 50);
    ck_assert_uint_eq (p.sectors_written, flags ? 0 : 150);
    for (i = 1; i <= 3; ++i)
      ck_assert (is_copied (i, 0, 0, 50));
    teardown ();
  }
}
END_TEST

/* Those that cannot are read and written for; one read serves all. */
START_TEST (devices_that_cannot_are_written)
{
  unsigned copiers, i;

  for (copiers = 0; copiers < 16; ++copiers) {
    unsigned able = copiers & 1 ? copiers >> 1 : 0;
    struct copy c;

    setup (3, 8);
    make_copiers (copiers);
    c = copy_small (3, OFFLOAD);
    ck_assert_int_eq (c.read_err, 0);
    ck_assert_uint_eq (c.write_err, 0);
    ck_assert_uint_eq (faults.calls, (unsigned) __builtin_popcount (able));
    for (i = 1; i <= 3; ++i) {
      ck_assert (is_copied (i, 0, 0, 8));
      ck_assert_uint_eq (fault_bdev_calls (disks[i], FAULT_WRITE), 1);
    }
    /* One by each copy of the device, and one by us. */
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ),
                       faults.calls + (able != 7));
    teardown ();
  }
}
END_TEST

/* A copy that fails, whatever the error, half done or not, is done again. */
START_TEST (the_kth_copy_fails)
{
  static const int errors[] = { -EOPNOTSUPP, -EIO, -ENOSPC, -EXDEV };
  unsigned k, i, seq, times;

  for (i = 0; i < ARRAY_COUNT (errors); ++i)
    for (seq = 0; seq <= SEQ; seq += SEQ)
      for (times = 1; times < 100; times += 98)
        for (k = 0; k < 10; ++k) {
          struct copy c;

          setup (2, 32);
          make_copiers (7);
          atomic_store (&faults.fail_from, k);
          atomic_store (&faults.fail_times, times);
          atomic_store (&faults.error, errors[i]);
          atomic_store (&faults.garbage_before, 1);
          copy_init (&c, small_client (8, 3), NULL);
          start_job (&c, 2, 0, 32, OFFLOAD | seq);
          finish (&c);
          ck_assert_int_eq (c.read_err, 0);
          ck_assert_uint_eq (c.write_err, 0);
          ck_assert (is_copied (1, 0, 0, 32));
          ck_assert (is_copied (2, 0, 0, 32));
          teardown ();
        }
}
END_TEST

/* The disk below fails: the copy and the long way meet it, and the right
 * side is told.
 */
START_TEST (disks_below_copies_fail)
{
  unsigned flags, disk, k, p;

  for (flags = 0; flags <= IGNORE; flags += IGNORE)
    for (disk = 0; disk < 3; ++disk)
      for (k = 0; k < 4; ++k) {
        struct copy c;

        setup (2, 32);
        make_copiers (7);
        fault_bdev_fail_range (disks[disk], FAULT_READ | FAULT_WRITE,
                               k * SMALL_SECTORS, 1);
        c = copy_small (2, OFFLOAD | flags);
        ck_assert_int_eq (c.read_err, disk == 0);
        ck_assert_uint_eq (c.write_err, disk > 0 ? disk : 0);
        for (p = 0; p < 4; ++p) {
          sector_t at = p * SMALL_SECTORS;
          unsigned i;

          for (i = 1; i <= 2; ++i) {
            bool wanted = p < k || (p > k && flags != 0) ||
                          (p == k && disk != 0 && disk != i);

            ck_assert (wanted ? is_copied (i, at, at, SMALL_SECTORS)
                              : is_untouched (i, at, SMALL_SECTORS));
          }
        }
        teardown ();
      }
}
END_TEST

START_TEST (copies_outside_the_device)
{
  struct io_region from, dest;
  struct copy c;

  setup (1, 32);
  make_copiers (3);
  copy_init (&c, small_client (8, 3), NULL);
  from = region (0, 8, 32); /* its second part would be inside */
  dest = region (1, 0, 32);
  ck_assert_int_eq (kcopyd_copy (c.kc, &from, 1, &dest, OFFLOAD | SPARSE,
                                 copy_done, &c),
                    0);
  finish (&c);
  ck_assert_int_eq (c.read_err, 1);
  ck_assert (is_untouched (1, 0, 32));
  ck_assert_uint_eq (faults.calls, 0);
  teardown ();
}
END_TEST

/*----- all of it, at random --------------------------------------------*/

static uint64_t random_state;

static unsigned
chance (unsigned n)
{
  random_state = random_state * 6364136223846793005U + 1442695040888963407U;
  return (unsigned) ((random_state >> 33) % n);
}

/* What disk I reads as. */
static char *
look (unsigned i)
{
  char *data = test_alloc_sectors (disk_sectors);

  fault_bdev_look (disks[i], 0, disk_sectors, data);
  return data;
}

/* Data and holes anywhere, on all disks; devices that can this or that, and
 * fail in the short ways only: the destinations are what they were, with
 * the source in its place.
 */
static void
copy_at_random (void)
{
  unsigned num_dests = 1 + chance (3), i, k;
  unsigned flags = chance (16) << KCOPYD_IGNORE_ERROR;
  sector_t count, at;
  char *before[4];
  struct copy c;

  setup (num_dests, 150 + chance (50));
  for (i = 0; i <= num_dests; ++i)
    for (k = chance (6); k > 0; --k) {
      at = chance (100);
      punch (i, at, 1 + chance (50));
    }
  make_copiers (chance (16));
  atomic_store (&faults.fail_from, chance (20));
  atomic_store (&faults.fail_times, chance (20));
  atomic_store (&faults.error, -EIO);
  atomic_store (&faults.garbage_before, chance (2));
  for (i = 0; i <= num_dests; ++i) {
    fault_bdev_add_rule (disks[i], &(struct fault_rule){
                                     .ops = FAULT_ZERO,
                                     .skip = chance (10),
                                     .times = 1 + chance (10),
                                     .error = -EOPNOTSUPP,
                                   });
    before[i] = look (i);
  }

  at = chance (50);
  count = 1 + chance (100);
  copy_init (&c, small_client (1 + chance (20), 1 + chance (6)), NULL);
  start_job (&c, num_dests, at, count, flags);
  finish (&c);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  for (i = 1; i <= num_dests; ++i) {
    char *after = look (i);
    size_t offset = sector_to_bytes (at);

    memcpy (before[i] + offset, before[0] + offset, sector_to_bytes (count));
    ck_assert_mem_eq (after, before[i], sector_to_bytes (disk_sectors));
    free (after);
    free (before[i]);
  }
  free (before[0]);
  teardown ();
}

START_TEST (any_way_is_right)
{
  const char *given = getenv ("DM_SEED");
  uint64_t seed = given != NULL ? strtoull (given, NULL, 0) : clock_now_ns ();
  unsigned i;

  printf ("DM_SEED=%llu\n", (unsigned long long) seed);
  random_state = seed;
  for (i = 0; i < 300; ++i)
    copy_at_random ();
}
END_TEST

/*----- files -----------------------------------------------------------*/

#define PART KCOPYD_SUB_JOB_SECTORS

/* Make a file in FOLDER that is empty, all a hole, or full of something. */
static struct block_device *
make_file (const char *folder, const char *name, sector_t sectors, bool is_full)
{
  char path[TEST_PATH_BYTES + 16];
  struct block_device *bdev;
  char *data;
  int fd;

  (void) snprintf (path, sizeof path, "%s/%s", folder, name);
  fd = open (path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  must (fd >= 0);
  must (ftruncate (fd, (off_t) sector_to_bytes (sectors)) == 0);
  must (close (fd) == 0);
  must (bdev_open (path, 0, &bdev) == 0);
  if (is_full) {
    data = test_alloc_sectors (sectors);
    memset (data, 0x77, sector_to_bytes (sectors));
    must (write_at (bdev, 0, sectors, data, 0) == 0);
    free (data);
  }
  return bdev;
}

static void
copy_file (const char *folder, unsigned flags, bool is_full)
{
  const sector_t sectors = 5 * PART + 3;
  char *data = test_alloc_sectors (sectors);
  char *got = test_alloc_sectors (sectors);
  struct kcopyd_client *kc;
  struct kcopyd_progress p;
  struct io_region from = { .count = sectors }, dest = { .count = sectors };
  struct copy c;

  /* A part of data, two of a hole, and data behind. */
  fill_pattern (data, 1, 0, sectors);
  memset (data + sector_to_bytes (PART), 0, sector_to_bytes (2 * PART));
  from.bdev = make_file (folder, "from", sectors, false);
  must (write_at (from.bdev, 0, PART, data, 0) == 0);
  must (write_at (from.bdev, 3 * PART, sectors - 3 * PART,
                  data + sector_to_bytes (3 * PART), 0) == 0);
  dest.bdev = make_file (folder, "dest", sectors, is_full);

  ck_assert_int_eq (kcopyd_client_create (512, &kc), 0);
  copy_init (&c, kc, NULL);
  ck_assert_int_eq (kcopyd_copy (kc, &from, 1, &dest, flags, copy_done, &c), 0);
  event_count_wait (&c.done, 1);
  p = progress_of (kc);
  finish (&c);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  ck_assert_uint_eq (p.sectors_done, sectors);
  ck_assert_uint_eq (p.sectors_written + p.sectors_offloaded +
                       p.sectors_zeroed + p.sectors_skipped,
                     sectors);
  if (!(flags & OFFLOAD))
    ck_assert_uint_eq (p.sectors_offloaded, 0);
  if (!(flags & SPARSE))
    ck_assert_uint_eq (p.sectors_zeroed + p.sectors_skipped, 0);
  ck_assert_int_eq (read_at (dest.bdev, 0, sectors, got), 0);
  ck_assert_mem_eq (got, data, sector_to_bytes (sectors));
  bdev_close (from.bdev);
  bdev_close (dest.bdev);
  free (data);
  free (got);
}

/* The same with files, where the file system decides what is possible. */
START_TEST (files_are_copied_any_way)
{
  char folder[TEST_PATH_BYTES];
  unsigned flags;

  make_test_folder (NULL, folder);
  for (flags = 0; flags <= (SPARSE | OFFLOAD); flags += SPARSE) {
    copy_file (folder, flags, false);
    copy_file (folder, flags, true);
  }
  remove_test_folder (folder);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    devices_copy_if_asked,     devices_that_cannot_are_written,
    the_kth_copy_fails,        disks_below_copies_fail,
    copies_outside_the_device, any_way_is_right,
    files_are_copied_any_way,  NULL,
  };

  return unit_main ("kcopyd-offload", tests);
}
