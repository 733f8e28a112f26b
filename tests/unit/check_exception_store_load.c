/* Unit tests of the exception store: opening and loading, of hostile ones too.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <endian.h>

#include "exception-store-test.h"
#include "fault-alloc.h"

#define MAGIC 0x70416e53U

/*----- opening and loading ---------------------------------------------*/

START_TEST (open_and_load_pass_device_errors_on)
{
  struct store_test t;
  struct exception made[40];

  store_test_create (&t, 400, 1);
  ck_assert_int_eq (make_exceptions (&t, 0, 40, 1, made), 0);
  store_test_close (&t);

  capture_messages ();
  fault_bdev_fail_range (t.disk, FAULT_READ, 0, 1);
  ck_assert_int_eq (exception_store_open (t.cow, 1000, &t.store), -EIO);
  assert_said ("E: cow: the header cannot be read");
  fault_bdev_heal (t.disk);
  fault_bdev_fail_range (t.disk, FAULT_READ, 34, 1);
  ck_assert_int_eq (store_test_load (&t, 1000), -EIO);
  assert_said ("E: cow: area 1 cannot be read");
  fault_bdev_heal (t.disk);

  loaded.fail_at = 5;
  loaded.error = -ENOLCK;
  ck_assert_int_eq (store_test_load (&t, 1000), -ENOLCK);
  loaded.fail_at = 0;
  assert_said ("E: cow: record 4:");
  store_test_destroy (&t);
}
END_TEST

START_TEST (open_and_load_survive_want_of_memory)
{
  struct store_test t;
  struct exception made[40];
  unsigned k, failed = 1;

  store_test_create (&t, 400, 1);
  ck_assert_int_eq (make_exceptions (&t, 0, 40, 1, made), 0);
  store_test_close (&t);
  for (k = 0; failed > 0; ++k) {
    int r;

    ck_assert_uint_lt (k, 50);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = store_test_load (&t, 1000);
    failed = fault_alloc_stop ();
    ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
  }
  ck_assert_uint_ge (k, 4);
  exception_store_close (NULL);
  store_test_destroy (&t);
}
END_TEST

/*----- hostile stores --------------------------------------------------*/

struct hostile {
  const char *what;
  const char *said;
  sector_t sectors; /* of the file; 0: as usual */
  unsigned offset;  /* of what is put there, in bytes */
  unsigned bytes;
  uint64_t value;
};

#define RECORD(n) (8 * SECTOR_SIZE + (n) *16)
#define OLD(n, v) RECORD (n), 8, (v)
#define NEW(n, v) RECORD (n) + 8, 8, (v)

/* Changes of a store of 400 sectors, chunks of 8, of an origin of 800
 * sectors, with 5 exceptions, old chunks 10 .. 14 in new chunks 2 .. 6.
 */
static const struct hostile hostiles[] = {
  { "magic", "magic", 0, 0, 4, MAGIC + 1 },
  { "no magic", "magic", 0, 0, 4, 0 },
  { "version 0", "version 0", 0, 8, 4, 0 },
  { "version 2", "version 2", 0, 8, 4, 2 },
  { "version max", "version 4294967295", 0, 8, 4, UINT32_MAX },
  { "chunk 0", "a chunk of 0 sectors", 0, 12, 4, 0 },
  { "chunk 3", "a chunk of 3 sectors", 0, 12, 4, 3 },
  { "chunk 2^31", "a chunk of 2147483648 sectors", 0, 12, 4, 1U << 31 },
  { "chunk 4096", "a chunk of 4096 sectors", 0, 12, 4, 4096 },
  { "chunk max", "a chunk of 4294967295 sectors", 0, 12, 4, UINT32_MAX },
  { "chunk larger than the file", "too few for chunks of 256 sectors", 0, 12, 4,
    256 },
  { "empty file", "the file is empty", UINT64_MAX, 0, 0, 0 },
  { "one sector", "the file has been cut short", 1, 0, 0, 0 },
  { "no area", "the file has been cut short", 8, 0, 0, 0 },
  { "no data", "the file has been cut short", 23, 0, 0, 0 },
  { "cut", "record 4: new chunk 6 is outside the store", 55, 0, 0, 0 },
  { "old chunk 100", "record 2: old chunk 100 is outside the volume", 0,
    OLD (2, 100) },
  { "old chunk max", "record 0: old chunk 18446744073709551615 is outside", 0,
    OLD (0, UINT64_MAX) },
  { "new chunk 50", "record 1: new chunk 50 is outside the store", 0,
    NEW (1, 50) },
  { "new chunk 2^56", "record 1: new chunk 72057594037927936 is outside", 0,
    NEW (1, UINT64_C (1) << 56) },
  { "new chunk max", "record 4: new chunk 18446744073709551615 is outside", 0,
    NEW (4, UINT64_MAX) },
  { "new chunk in area 0", "record 3: new chunk 1 is one of the store's own", 0,
    NEW (3, 1) },
  { "old chunk twice", "record 4: old chunk 10 has a record already", 0,
    OLD (4, 10) },
  { "new chunk twice", "two records share new chunk 2", 0, NEW (4, 2) },
};

/* A store with 5 exceptions, not open; of its file, SECTORS are left. */
static void
hostile_create (struct store_test *t, sector_t sectors)
{
  struct exception made[5];
  unsigned char *data;

  store_test_create (t, 400, 8);
  ck_assert_int_eq (make_exceptions (t, 10, 5, 1, made), 0);
  store_test_close (t);
  if (sectors == 0)
    return;
  if (sectors == UINT64_MAX)
    sectors = 0;
  data = test_alloc_sectors (400);
  fault_bdev_look (t->disk, 0, sectors, data);
  store_test_destroy (t);
  store_test_disk (t, sectors);
  fault_bdev_load (t->disk, 0, sectors, data);
  free (data);
}

/* How often the disk was changed. */
static unsigned
changes (struct store_test *t)
{
  return fault_bdev_calls (t->disk, (unsigned) FAULT_ALL & ~FAULT_READ);
}

static void
change_disk (struct fault_bdev *disk, unsigned offset, unsigned bytes,
             uint64_t value)
{
  unsigned char data[SECTOR_SIZE];
  uint64_t le = htole64 (value);

  if (bytes == 0)
    return;
  fault_bdev_look (disk, offset / SECTOR_SIZE, 1, data);
  memcpy (data + offset % SECTOR_SIZE, &le, bytes);
  fault_bdev_load (disk, offset / SECTOR_SIZE, 1, data);
}

START_TEST (hostile_stores_are_refused_by_name)
{
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (hostiles); ++i) {
    const struct hostile *h = &hostiles[i];
    struct store_test t;
    unsigned before;

    hostile_create (&t, h->sectors);
    before = changes (&t);
    change_disk (t.disk, h->offset, h->bytes, h->value);
    capture_messages ();
    ck_assert_msg (store_test_load (&t, 800) == -EINVAL, "%s", h->what);
    assert_said ("E: cow: ");
    assert_said (h->said);
    ck_assert_uint_eq (changes (&t), before);
    store_test_destroy (&t);
  }
}
END_TEST

START_TEST (a_new_chunk_in_a_later_area_is_refused)
{
  struct store_test t;
  struct exception made[2];
  uint64_t chunk;

  store_test_create (&t, 400, 1);
  ck_assert_int_eq (make_exceptions (&t, 0, 2, 1, made), 0);
  store_test_close (&t);
  for (chunk = 2; chunk < 400; ++chunk) {
    bool is_area = chunk % 33 == 1;

    change_disk (t.disk, SECTOR_SIZE + 16 + 8, 8, chunk);
    capture_messages ();
    ck_assert_int_eq (store_test_load (&t, 1000),
                      is_area || chunk == 2 ? -EINVAL : 0);
    if (is_area)
      assert_said ("E: cow: record 1: new chunk");
    else if (chunk != 2)
      store_test_close (&t);
  }
  store_test_destroy (&t);
}
END_TEST

/* All areas full, up to the end of the file. */
START_TEST (a_chain_without_end_is_refused)
{
  struct store_test t;
  unsigned i;

  store_test_disk (&t, 66);
  ck_assert_int_eq (exception_store_format (t.cow, 1), 0);
  for (i = 0; i < 64; ++i) {
    unsigned offset = (i < 32 ? 1 : 34) * SECTOR_SIZE + i % 32 * 16;

    change_disk (t.disk, offset, 8, i);
    change_disk (t.disk, offset + 8, 8, i < 32 ? 2 + i : 35 + i - 32);
  }
  /* The last of them is outside: 63 fit. */
  change_disk (t.disk, 34 * SECTOR_SIZE + 31 * 16 + 8, 8, 0);
  ck_assert_int_eq (store_test_load (&t, 1000), 0);
  ck_assert_uint_eq (loaded.count, 63);
  store_test_close (&t);
  change_disk (t.disk, 34 * SECTOR_SIZE + 30 * 16 + 8, 8, 0);
  store_test_destroy (&t);

  /* 32 records in a store that ends before its next area. */
  store_test_disk (&t, 34);
  ck_assert_int_eq (exception_store_format (t.cow, 1), 0);
  for (i = 0; i < 32; ++i) {
    change_disk (t.disk, SECTOR_SIZE + i * 16, 8, i);
    change_disk (t.disk, SECTOR_SIZE + i * 16 + 8, 8, 2 + i);
  }
  capture_messages ();
  ck_assert_int_eq (store_test_load (&t, 1000), -EINVAL);
  assert_said ("E: cow: area 0 is full and the next one would be behind");
  store_test_destroy (&t);
}
END_TEST

START_TEST (an_invalid_store_can_be_read)
{
  struct store_test t;

  hostile_create (&t, 0);
  change_disk (t.disk, 4, 4, 0);
  ck_assert_int_eq (store_test_load (&t, 800), 0);
  ck_assert (!exception_store_is_valid (t.store));
  ck_assert_uint_eq (loaded.count, 5);
  store_test_close (&t);
  change_disk (t.disk, 4, 4, 0x80000000U); /* the kernel takes that as yes */
  ck_assert_int_eq (store_test_load (&t, 800), 0);
  ck_assert (exception_store_is_valid (t.store));
  store_test_close (&t);
  store_test_destroy (&t);
}
END_TEST

/* Each bit of header and records, and areas of noise: a store or -EINVAL,
 * and never a write.
 */
START_TEST (any_bytes_are_a_store_or_refused)
{
  struct chance chance = chance_begin ("any_bytes_are_a_store_or_refused");
  unsigned char area[8 * SECTOR_SIZE], good[8 * SECTOR_SIZE];
  unsigned bit, i, round, before, refused = 0;
  struct store_test t;

  hostile_create (&t, 0);
  before = changes (&t);
  for (bit = 0; bit < (16 + 6 * 16) * 8; ++bit) {
    unsigned byte = bit / 8;
    unsigned offset = byte < 16 ? byte : RECORD (0) + byte - 16;
    int r;

    fault_bdev_look (t.disk, offset / SECTOR_SIZE, 1, good);
    memcpy (area, good, SECTOR_SIZE);
    area[offset % SECTOR_SIZE] ^= (unsigned char) (1U << bit % 8);
    fault_bdev_load (t.disk, offset / SECTOR_SIZE, 1, area);
    r = store_test_load (&t, 800);
    ck_assert (r == 0 || r == -EINVAL);
    if (r == 0)
      store_test_close (&t);
    else
      refused++;
    fault_bdev_load (t.disk, offset / SECTOR_SIZE, 1, good);
  }
  ck_assert_uint_gt (refused, 300);
  for (round = 0; round < 2000; ++round) {
    uint64_t range = UINT64_C (1) << chance_below (&chance, 10);
    int r;

    memset (area, 0, sizeof area);
    for (i = 0; i < chance_below (&chance, 10); ++i) {
      ((uint64_t *) area)[2 * i] = chance_below (&chance, 10 * range);
      ((uint64_t *) area)[2 * i + 1] = chance_below (&chance, 5 * range);
    }
    fault_bdev_load (t.disk, 8, 8, area);
    r = store_test_load (&t, 800);
    ck_assert (r == 0 || r == -EINVAL);
    if (r == 0)
      store_test_close (&t);
  }
  ck_assert_uint_eq (changes (&t), before);
  store_test_destroy (&t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    open_and_load_pass_device_errors_on, open_and_load_survive_want_of_memory,
    hostile_stores_are_refused_by_name,  a_new_chunk_in_a_later_area_is_refused,
    a_chain_without_end_is_refused,      an_invalid_store_can_be_read,
    any_bytes_are_a_store_or_refused,    NULL,
  };

  return unit_main ("exception_store_load", tests);
}
