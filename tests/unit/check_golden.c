/* Unit tests of stores that Linux wrote (tests/golden): ours reads the same.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <zlib.h>

#include "bdev-target.h"
#include "exception-store.h"
#include "snapshot.h"
#include "target-test.h"

/* All of a file, unpacked if it is packed; the caller frees. */
static unsigned char *
read_golden (const char *name, sector_t *sectors)
{
  const char *top = getenv ("abs_top_srcdir");
  unsigned char *data = test_alloc (1 << 23);
  char path[TEST_PATH_BYTES];
  gzFile file;
  int n;

  (void) snprintf (path, sizeof path, "%s/tests/golden/%s",
                   top != NULL ? top : ".", name);
  file = gzopen (path, "rb");
  ck_assert_msg (file != NULL, "%s: %s", path, strerror (errno));
  n = gzread (file, data, 1 << 23);
  ck_assert_int_gt (n, 0);
  ck_assert_int_lt (n, 1 << 23);
  ck_assert_uint_eq ((unsigned) n % SECTOR_SIZE, 0);
  ck_assert_int_eq (gzclose (file), Z_OK);
  *sectors = (sector_t) n / SECTOR_SIZE;
  return data;
}

/* A disk that holds the first SECTORS (0: all) of a file. */
static struct fault_bdev *
golden_disk (const char *name, sector_t sectors)
{
  sector_t there;
  unsigned char *data = read_golden (name, &there);
  struct fault_bdev *disk;

  if (sectors == 0)
    sectors = there;
  ck_assert_uint_le (sectors, there);
  disk = fault_bdev_create (name, sectors, NULL);
  fault_bdev_load (disk, 0, sectors, data);
  free (data);
  return disk;
}

static int
never_broken (void *opaque, struct snapshot *snapshot, enum snapshot_loss loss,
              const char *reason)
{
  (void) opaque;
  (void) snapshot;
  (void) loss;
  (void) reason;
  return -EIO;
}

struct golden {
  struct fault_bdev *origin_disk;
  struct fault_bdev *cow_disk;
  struct block_device *origin;
  struct bdev_target lower;
  struct snapshot *snapshot;
};

static void
golden_open (struct golden *g, struct fault_bdev *origin_disk,
             struct fault_bdev *cow_disk)
{
  struct snapshot_params params = {
    .name = "golden",
    .is_valid = true,
    .broken = never_broken,
    .origin = &g->lower.target,
  };

  g->origin_disk = origin_disk;
  g->cow_disk = cow_disk;
  g->origin = fault_bdev_open (origin_disk, FAULT_OPEN_READ_ONLY);
  bdev_target_init (&g->lower, g->origin);
  params.cow = fault_bdev_open (cow_disk, FAULT_OPEN_READ_ONLY);
  ck_assert_int_eq (snapshot_open (&params, &g->snapshot), 0);
}

static void
golden_close (struct golden *g)
{
  snapshot_close (g->snapshot);
  bdev_close (g->origin);
  fault_bdev_destroy (g->origin_disk);
  fault_bdev_destroy (g->cow_disk);
}

#define G1_SECTORS 4093

START_TEST (g1_reads_as_it_did_in_the_kernel)
{
  sector_t sectors, step, s;
  unsigned char *expected = read_golden ("g1_snapview.bin.gz", &sectors);
  unsigned char *data = test_alloc_sectors (G1_SECTORS);
  struct snapshot_status status;
  struct golden g;

  ck_assert_uint_eq (sectors, G1_SECTORS);
  golden_open (&g, golden_disk ("g1_origin.bin.gz", G1_SECTORS),
               golden_disk ("g1_cow.bin", 0));
  ck_assert (snapshot_is_valid (g.snapshot));
  /* At once, and in odd pieces. */
  for (step = G1_SECTORS; step > 0; step = step / 15) {
    memset (data, 0, G1_SECTORS * SECTOR_SIZE);
    for (s = 0; s < G1_SECTORS; s += step)
      ck_assert_int_eq (target_read (snapshot_target (g.snapshot),
                                     data + s * SECTOR_SIZE, s,
                                     MIN_OF (step, G1_SECTORS - s)),
                        0);
    ck_assert_int_eq (memcmp (data, expected, G1_SECTORS * SECTOR_SIZE), 0);
  }
  /* The kernel's status line was "56/400 16". */
  snapshot_get_status (g.snapshot, &status);
  ck_assert_uint_eq (status.chunk_sectors, 8);
  ck_assert_uint_eq (status.chunks, 5);
  ck_assert_uint_eq (status.used_sectors, 56);
  ck_assert_uint_eq (status.store_sectors, 400);
  ck_assert_uint_eq (status.metadata_sectors, 16);
  golden_close (&g);
  free (data);
  free (expected);
}
END_TEST

/* The view is not just the origin: the comparison above can fail. */
START_TEST (g1_differs_from_its_origin)
{
  sector_t sectors, s;
  unsigned char *view = read_golden ("g1_snapview.bin.gz", &sectors);
  unsigned char *origin = read_golden ("g1_origin.bin.gz", &sectors);
  unsigned differ = 0;

  for (s = 0; s < G1_SECTORS; ++s)
    differ += memcmp (view + s * SECTOR_SIZE, origin + s * SECTOR_SIZE,
                      SECTOR_SIZE) != 0;
  ck_assert_uint_eq (differ, 8 + 8 + 1 + 8 + 8);
  free (view);
  free (origin);
}
END_TEST

static bool
is_all (const unsigned char *data, sector_t sector, sector_t count,
        unsigned char byte)
{
  return first_other_byte (data + sector * SECTOR_SIZE, byte,
                           count * SECTOR_SIZE) == count * SECTOR_SIZE;
}

/* The base content of sector SECTOR of the kernel's test devices. */
static bool
is_base (const unsigned char *data, sector_t sector)
{
  char text[17];
  unsigned i;

  (void) snprintf (text, sizeof text, "SEC%012" PRIu64 "\n", sector);
  for (i = 0; i < SECTOR_SIZE / 16; ++i)
    if (memcmp (data + 16 * i, text, 16) != 0)
      return false;
  return true;
}

struct g3 {
  const char *name;
  bool is_valid;
  uint64_t chunks;
  sector_t used_sectors;
};

/* Chunks of 32 sectors.  A store that has overflowed is a good one after
 * the next start; one that is invalid stays so.
 */
START_TEST (g3_stores_are_valid_or_not)
{
  static const struct g3 stores[] = {
    { "g3_cow.bin", true, 2, 128 },
    { "g3_cow_ovf.bin", true, 3, 160 },
    { "g3_cow_inv.bin", false, 3, 160 },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (stores); ++i) {
    const struct g3 *g3 = &stores[i];
    unsigned char data[32 * SECTOR_SIZE];
    struct snapshot_status status;
    struct golden g;
    sector_t s;

    golden_open (&g, fault_bdev_create ("origin", 4000, NULL),
                 golden_disk (g3->name, 0));
    ck_assert_msg (snapshot_is_valid (g.snapshot) == g3->is_valid, "%s",
                   g3->name);
    snapshot_get_status (g.snapshot, &status);
    ck_assert_uint_eq (status.chunk_sectors, 32);
    ck_assert_uint_eq (status.chunks, g3->chunks);
    ck_assert_uint_eq (status.store_sectors, 160);
    ck_assert_uint_eq (status.used_sectors, g3->used_sectors);
    ck_assert_uint_eq (status.metadata_sectors, 64);
    ck_assert_int_eq (target_read (snapshot_target (g.snapshot), data, 0, 32),
                      g3->is_valid ? 0 : -EIO);
    /* What it holds is there in any case, for older snapshots. */
    ck_assert_int_eq (target_read (snapshot_view (g.snapshot), data, 0, 32), 0);
    ck_assert (is_all (data, 0, 16, 'H'));
    for (s = 16; s < 32; ++s)
      ck_assert (is_base (data + s * SECTOR_SIZE, s));
    golden_close (&g);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    g1_reads_as_it_did_in_the_kernel,
    g1_differs_from_its_origin,
    g3_stores_are_valid_or_not,
    NULL,
  };

  return unit_main ("golden", tests);
}
