/* Unit tests of the exception store: formats and sizes.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <sys/mman.h>

#include "exception-store-test.h"

/*----- the geometry ----------------------------------------------------*/

START_TEST (sizes_are_those_of_the_format)
{
  static const sector_t chunks[] = { 1, 8, 32, 128, 2048 };
  static const uint64_t extra[] = { 0, 1 };
  unsigned i, j;

  for (i = 0; i < ARRAY_COUNT (chunks); ++i) {
    sector_t c = chunks[i];
    uint64_t epa = c * SECTOR_SIZE / 16;

    ck_assert_uint_eq (exception_store_min_size (STORE_PERSISTENT, c), 3 * c);
    for (j = 0; j < ARRAY_COUNT (extra); ++j) {
      uint64_t e = epa - 1 + extra[j];

      ck_assert_uint_eq (exception_store_full_size (STORE_PERSISTENT, e * c, c),
                         chunks_needed (epa, e) * c);
      ck_assert_uint_eq (exception_store_full_size (STORE_PERSISTENT,
                                                    (e - 1) * c + 1, c),
                         chunks_needed (epa, e) * c);
    }
    ck_assert_uint_eq (exception_store_full_size (STORE_PERSISTENT, 1, c),
                       3 * c);
  }
}
END_TEST

START_TEST (usage_is_what_the_kernel_would_say)
{
  struct store_test t;
  struct exception made[1];
  struct exception_store_usage usage;

  store_test_create (&t, 400, 8);
  exception_store_get_usage (t.store, &usage);
  ck_assert_uint_eq (usage.used_sectors, 16);
  ck_assert_uint_eq (usage.total_sectors, 400);
  ck_assert_uint_eq (usage.metadata_sectors, 16);
  ck_assert_int_eq (make_exceptions (&t, 5, 1, 1, made), 0);
  exception_store_get_usage (t.store, &usage);
  ck_assert_uint_eq (usage.used_sectors, 24);
  ck_assert_uint_eq (usage.metadata_sectors, 16);
  store_test_reopen (&t);
  exception_store_get_usage (t.store, &usage);
  ck_assert_uint_eq (usage.used_sectors, 24);
  ck_assert_uint_eq (usage.metadata_sectors, 16);
  store_test_destroy (&t);
}
END_TEST

/*----- formatting ------------------------------------------------------*/

START_TEST (format_writes_the_header_last)
{
  struct store_test t;
  char *text;

  store_test_disk (&t, 400);
  ck_assert_int_eq (exception_store_format (t.cow, 8), 0);
  text = fault_trace_text (t.trace, FAULT_ALL);
  ck_assert_str_eq (text, "cow zero 0+16 fua unmap, cow write 0+1 fua");
  free (text);
  store_test_destroy (&t);
}
END_TEST

START_TEST (format_passes_errors_on)
{
  unsigned k;
  int r = -EIO;

  for (k = 0; r < 0; ++k) {
    struct store_test t;

    ck_assert_uint_lt (k, 20);
    store_test_disk (&t, 100);
    fault_bdev_add_rule (t.disk, &(struct fault_rule){ .ops = FAULT_ALL,
                                                       .skip = k,
                                                       .times = 1,
                                                       .error = -EDQUOT });
    r = exception_store_format (t.cow, 8);
    ck_assert_int_eq (r, fault_bdev_failed (t.disk) ? -EDQUOT : 0);
    fault_bdev_heal (t.disk);
    ck_assert_int_eq (store_test_load (&t, 1000), r < 0 ? -EINVAL : 0);
    store_test_destroy (&t);
  }
  ck_assert_uint_ge (k, 3);
}
END_TEST

START_TEST (format_needs_room_for_one_exception)
{
  static const sector_t chunks[] = { 1, 8, 128 };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (chunks); ++i) {
    sector_t least = exception_store_min_size (STORE_PERSISTENT, chunks[i]);
    struct store_test t;
    struct exception made[2];

    store_test_disk (&t, least - 1);
    ck_assert_int_eq (exception_store_format (t.cow, chunks[i]), -ENOSPC);
    ck_assert_uint_eq (fault_bdev_calls (t.disk, FAULT_ALL), 0);
    store_test_destroy (&t);

    store_test_create (&t, least, chunks[i]);
    ck_assert_int_eq (make_exceptions (&t, 0, 1, 1, made), 0);
    ck_assert_int_eq (make_exceptions (&t, 1, 1, 1, made + 1), -ENOSPC);
    store_test_destroy (&t);
  }
}
END_TEST

/*----- format, commit, reload ------------------------------------------*/

static struct block_device *
memory_file (sector_t sectors)
{
  int fd = memfd_create ("cow", MFD_CLOEXEC);
  struct block_device *cow;

  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (ftruncate (fd, (off_t) sector_to_bytes (sectors)), 0);
  ck_assert_int_eq (bdev_open_fd (fd, "cow", 0, &cow), 0);
  return cow;
}

/* Commit COUNT exceptions in portions of chance, reopening now and then;
 * what is loaded in the end is what was committed, in order.
 */
static void
commit_and_reload (struct chance *chance, sector_t chunk_sectors,
                   unsigned count)
{
  uint64_t epa = chunk_sectors * SECTOR_SIZE / 16;
  struct store_test t = { .cow = memory_file ((chunks_needed (epa, count) + 1) *
                                              chunk_sectors) };
  struct exception *made = test_alloc ((count + 1) * sizeof *made);
  unsigned done = 0, i;

  store_test_format (&t, chunk_sectors);
  while (done < count) {
    unsigned n = 1 + (unsigned) chance_below (chance, 300);

    n = MIN_OF (n, count - done);
    /* Old chunks in no order: 7919 has no divisor in common with them. */
    for (i = done; i < done + n; ++i) {
      made[i].old_chunk = (uint64_t) i * 7919 % ORIGIN_CHUNKS;
      quick_assert (exception_store_allocate (t.store, &made[i].new_chunk) ==
                    0);
    }
    quick_assert (exception_store_commit (t.store, made + done, n) == 0);
    done += n;
    if (chance_below (chance, 8) == 0) {
      store_test_reopen (&t);
      quick_assert (loaded.count == done);
    }
  }
  store_test_reopen (&t);
  ck_assert (exception_store_is_valid (t.store));
  quick_assert (loaded.count == count);
  for (i = 0; i < count; ++i) {
    quick_assert (loaded.exceptions[i].old_chunk == made[i].old_chunk);
    quick_assert (loaded.exceptions[i].new_chunk == made[i].new_chunk);
    /* Never the header or an area, and never twice. */
    quick_assert (made[i].new_chunk >= 2);
    quick_assert (made[i].new_chunk % (epa + 1) != 1);
    if (i > 0)
      quick_assert (made[i].new_chunk > made[i - 1].new_chunk);
  }
  store_test_close (&t);
  bdev_close (t.cow);
  free (made);
}

START_TEST (what_was_committed_is_loaded_again)
{
  static const sector_t chunks[] = { 1, 8, 32, 128 };
  struct chance chance = chance_begin ("what_was_committed_is_loaded_again");
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (chunks); ++i) {
    unsigned epa = (unsigned) chunks[i] * SECTOR_SIZE / 16;

    commit_and_reload (&chance, chunks[i], 0);
    commit_and_reload (&chance, chunks[i], 1);
    commit_and_reload (&chance, chunks[i], epa - 1);
    commit_and_reload (&chance, chunks[i], epa);
    commit_and_reload (&chance, chunks[i], epa + 1);
    commit_and_reload (&chance, chunks[i], 2 * epa);
    commit_and_reload (&chance, chunks[i], 2 * epa + 1);
  }
}
END_TEST

START_TEST (records_are_in_the_format_of_the_kernel)
{
  struct store_test t;
  static const unsigned char header[16] = {
    0x53, 0x6e, 0x41, 0x70, 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0
  };
  static const unsigned char records[32] = {
    0x34, 0x12, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
    0x35, 0x12, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
  };
  unsigned char data[16 * SECTOR_SIZE];
  struct exception made[2];

  store_test_disk (&t, 400);
  memset (data, 0xff, sizeof data);
  fault_bdev_load (t.disk, 0, 16, data);
  store_test_format (&t, 8);
  ck_assert_int_eq (make_exceptions (&t, 0x1234, 2, 1, made), 0);
  fault_bdev_look_durable (t.disk, 0, 16, data);
  ck_assert_mem_eq (data, header, sizeof header);
  assert_all_bytes (data + 16, 0, 8 * SECTOR_SIZE - 16);
  ck_assert_mem_eq (data + 8 * SECTOR_SIZE, records, sizeof records);
  assert_all_bytes (data + 8 * SECTOR_SIZE + 32, 0, 8 * SECTOR_SIZE - 32);
  store_test_destroy (&t);
}
END_TEST

/*----- a full store ----------------------------------------------------*/

/* For every size: exactly as many exceptions as leave room for all areas,
 * the empty one after a full one too; then it can be loaded again.
 */
START_TEST (a_store_filled_to_the_brim_can_be_loaded)
{
  sector_t sectors;

  for (sectors = 3; sectors < 110; ++sectors) {
    struct store_test t;
    struct exception made[110];
    unsigned expected = 0, n = 0;

    store_test_disk (&t, sectors);
    while (chunks_needed (32, expected + 1) <= sectors)
      expected++;
    store_test_format (&t, 1);
    for (;; ++n) {
      int r;

      made[n].old_chunk = n;
      r = exception_store_allocate (t.store, &made[n].new_chunk);
      if (r < 0) {
        ck_assert_int_eq (r, -ENOSPC);
        break;
      }
      ck_assert_uint_lt (made[n].new_chunk, sectors);
    }
    ck_assert_uint_eq (n, expected);
    ck_assert_int_eq (exception_store_allocate (t.store, &made[n].new_chunk),
                      -ENOSPC);
    ck_assert_int_eq (exception_store_commit (t.store, made, n), 0);
    store_test_reopen (&t);
    ck_assert_uint_eq (loaded.count, expected);
    ck_assert_int_eq (exception_store_allocate (t.store, &made[n].new_chunk),
                      -ENOSPC);
    store_test_destroy (&t);
  }
}
END_TEST

/* The case that makes the kernel's store invalid. */
START_TEST (a_full_area_needs_room_for_the_next)
{
  static const sector_t sizes[] = { 34, 35 };
  unsigned i, n;

  for (i = 0; i < ARRAY_COUNT (sizes); ++i) {
    struct store_test t;
    struct exception_store_usage usage;
    struct exception made[33];

    store_test_create (&t, sizes[i], 1);
    for (n = 0; n < 31 + i; ++n)
      ck_assert_int_eq (make_exceptions (&t, n, 1, 1, made), 0);
    ck_assert_int_eq (make_exceptions (&t, n, 1, 1, made), -ENOSPC);
    store_test_reopen (&t);
    ck_assert_uint_eq (loaded.count, n);
    exception_store_get_usage (t.store, &usage);
    if (sizes[i] == 35) {
      ck_assert_uint_eq (usage.used_sectors, 35);
      ck_assert_uint_eq (usage.metadata_sectors, 3);
    }
    store_test_destroy (&t);
  }
}
END_TEST

START_TEST (a_store_of_full_size_takes_every_chunk)
{
  sector_t origin_chunks;

  for (origin_chunks = 1; origin_chunks < 100; ++origin_chunks) {
    sector_t sectors = exception_store_full_size (STORE_PERSISTENT,
                                                  origin_chunks, 1);
    struct store_test t;
    struct exception made[1];
    uint64_t n;

    store_test_create (&t, sectors, 1);
    for (n = 0; n < origin_chunks; ++n)
      ck_assert_int_eq (make_exceptions (&t, n, 1, 1, made), 0);
    store_test_close (&t);
    ck_assert_int_eq (store_test_load (&t, origin_chunks), 0);
    ck_assert_uint_eq (loaded.count, origin_chunks);
    store_test_destroy (&t);
  }
}
END_TEST

/*----- the transient store ---------------------------------------------*/

START_TEST (a_transient_store_writes_nothing_of_its_own)
{
  static const sector_t chunks[] = { 1, 8, 2048 };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (chunks); ++i) {
    sector_t c = chunks[i], size;
    struct exception_store_usage usage;
    struct exception_store *store;
    struct store_test t;
    struct exception e;
    unsigned n;

    size = exception_store_full_size (STORE_TRANSIENT, 5 * c - c / 2, c);
    ck_assert_uint_eq (size, 5 * c);
    ck_assert_uint_eq (exception_store_min_size (STORE_TRANSIENT, c), c);
    store_test_disk (&t, size);
    ck_assert_int_eq (exception_store_open_transient (t.cow, c, &store), 0);
    t.store = store;
    ck_assert_int_eq (exception_store_kind (store), STORE_TRANSIENT);
    ck_assert_uint_eq (exception_store_chunk_sectors (store), c);
    ck_assert (exception_store_is_valid (store));
    exception_store_get_usage (store, &usage);
    ck_assert_uint_eq (usage.used_sectors, 0);
    ck_assert_uint_eq (usage.metadata_sectors, 0);
    ck_assert_uint_eq (usage.total_sectors, size);

    /* From the first sector on, in order, all of it. */
    for (n = 0; n < 5; ++n) {
      e.old_chunk = 100 - n;
      ck_assert_int_eq (exception_store_allocate (store, &e.new_chunk), 0);
      ck_assert_uint_eq (e.new_chunk, n);
      ck_assert_int_eq (exception_store_commit (store, &e, 1), 0);
      exception_store_get_usage (store, &usage);
      ck_assert_uint_eq (usage.used_sectors, (n + 1) * c);
    }
    ck_assert_int_eq (exception_store_allocate (store, &e.new_chunk), -ENOSPC);
    exception_store_release (store, 3);
    exception_store_release (store, 1);
    exception_store_get_usage (store, &usage);
    ck_assert_uint_eq (usage.used_sectors, 3 * c);
    ck_assert_int_eq (exception_store_allocate (store, &e.new_chunk), 0);
    ck_assert_uint_eq (e.new_chunk, 1);
    ck_assert_int_eq (exception_store_allocate (store, &e.new_chunk), 0);
    ck_assert_uint_eq (e.new_chunk, 3);
    ck_assert_int_eq (exception_store_allocate (store, &e.new_chunk), -ENOSPC);

    exception_store_poison (store, -ENOMEM);
    ck_assert_int_eq (exception_store_commit (store, &e, 1), -ENOMEM);
    ck_assert_int_eq (exception_store_error (store), -ENOMEM);
    ck_assert_int_eq (exception_store_invalidate (store), 0);
    ck_assert (!exception_store_is_valid (store));
    store_test_close (&t);
    /* Nothing has reached the disk. */
    ck_assert_uint_eq (fault_trace_count (t.trace), 0);
    store_test_destroy (&t);
  }
}
END_TEST

START_TEST (a_transient_store_needs_room_for_one_chunk)
{
  struct store_test t;

  store_test_disk (&t, 7);
  ck_assert_int_eq (exception_store_open_transient (t.cow, 8, &t.store),
                    -ENOSPC);
  ck_assert_int_eq (exception_store_open_transient (t.cow, 4, &t.store), 0);
  store_test_destroy (&t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    sizes_are_those_of_the_format,
    usage_is_what_the_kernel_would_say,
    what_was_committed_is_loaded_again,
    records_are_in_the_format_of_the_kernel,
    format_writes_the_header_last,
    format_passes_errors_on,
    format_needs_room_for_one_exception,
    a_store_filled_to_the_brim_can_be_loaded,
    a_full_area_needs_room_for_the_next,
    a_store_of_full_size_takes_every_chunk,
    a_transient_store_writes_nothing_of_its_own,
    a_transient_store_needs_room_for_one_chunk,
    NULL,
  };

  return unit_main ("exception_store", tests);
}
