/* Unit tests of the persistent exception store.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The data of an exception is a pattern that depends on its old chunk and
 * on when it was made, so that a record that leads to the wrong data, or
 * to data that never reached the disk, is noticed.
 */

#include <config.h>

#include <endian.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "exception-store.h"
#include "fault-alloc.h"
#include "target-test.h"

#define ORIGIN_CHUNKS 100000
#define MAGIC 0x70416e53U

/*----- what is in a store ----------------------------------------------*/

#define MAX_LOADED 20000

struct loaded {
  struct exception exceptions[MAX_LOADED];
  unsigned count;
  unsigned fail_at; /* return ERROR for that one, counted from 1 */
  int error;
};

static struct loaded loaded; /* too large for a stack */

static int
keep_exception (void *opaque, const struct exception *exception)
{
  struct loaded *l = opaque;
  unsigned i;

  if (l->count == MAX_LOADED)
    return -E2BIG;
  if (l->fail_at == l->count + 1)
    return l->error;
  /* As a table does, but slowly: most tests have few. */
  if (l->count < 1000)
    for (i = 0; i < l->count; ++i)
      if (l->exceptions[i].old_chunk == exception->old_chunk)
        return -EEXIST;
  l->exceptions[l->count++] = *exception;
  return 0;
}

/* Open and load; on failure there is no store. */
static int
open_and_load (struct block_device *cow, sector_t origin_sectors,
               struct exception_store **store)
{
  int r = exception_store_open (cow, origin_sectors, store);

  loaded.count = 0;
  if (r < 0)
    return r;
  r = exception_store_load (*store, keep_exception, &loaded);
  if (r < 0) {
    exception_store_close (*store);
    *store = NULL;
  }
  return r;
}

static struct exception_store *
must_open (struct block_device *cow, sector_t chunk_sectors)
{
  struct exception_store *store = NULL;

  quick_assert (open_and_load (cow, ORIGIN_CHUNKS * chunk_sectors, &store) ==
                0);
  quick_assert (exception_store_chunk_sectors (store) == chunk_sectors);
  return store;
}

/* The first sector of a chunk's data tells what it is. */
static int
write_data (struct block_device *cow, sector_t chunk_sectors,
            const struct exception *e, uint64_t generation)
{
  unsigned char data[SECTOR_SIZE];
  struct iovec iov = { data, sizeof data };

  fill_pattern (data, generation, e->old_chunk, 1);
  return bdev_write (cow, &iov, 1, e->new_chunk * chunk_sectors, 0);
}

static bool
has_data (struct fault_bdev *disk, sector_t chunk_sectors,
          const struct exception *e, uint64_t generation)
{
  unsigned char data[SECTOR_SIZE];

  fault_bdev_look (disk, e->new_chunk * chunk_sectors, 1, data);
  return first_wrong_sector (data, generation, e->old_chunk, 1) > e->old_chunk;
}

/* Make exceptions of old chunks FIRST .. FIRST + COUNT - 1, with data. */
static int
make_exceptions (struct exception_store *store, struct block_device *cow,
                 uint64_t first, unsigned count, uint64_t generation,
                 struct exception *made)
{
  sector_t chunk_sectors = exception_store_chunk_sectors (store);
  unsigned i;

  for (i = 0; i < count; ++i) {
    int r;

    made[i].old_chunk = first + i;
    r = exception_store_allocate (store, &made[i].new_chunk);
    if (r == 0)
      r = write_data (cow, chunk_sectors, &made[i], generation);
    if (r < 0)
      return r;
  }
  return exception_store_commit (store, made, count);
}

/*----- the geometry ----------------------------------------------------*/

/* What the format needs for E exceptions. */
static uint64_t
chunks_needed (uint64_t epa, uint64_t e)
{
  return 1 + e + e / epa + 1;
}

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
  struct fault_bdev *disk = fault_bdev_create ("cow", 400, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception made[1];
  struct exception_store_usage usage;
  struct exception_store *store;

  ck_assert_int_eq (exception_store_format (cow, 8), 0);
  store = must_open (cow, 8);
  exception_store_get_usage (store, &usage);
  ck_assert_uint_eq (usage.used_sectors, 16);
  ck_assert_uint_eq (usage.total_sectors, 400);
  ck_assert_uint_eq (usage.metadata_sectors, 16);
  ck_assert_int_eq (make_exceptions (store, cow, 5, 1, 1, made), 0);
  exception_store_get_usage (store, &usage);
  ck_assert_uint_eq (usage.used_sectors, 24);
  ck_assert_uint_eq (usage.metadata_sectors, 16);
  exception_store_close (store);
  store = must_open (cow, 8);
  exception_store_get_usage (store, &usage);
  ck_assert_uint_eq (usage.used_sectors, 24);
  ck_assert_uint_eq (usage.metadata_sectors, 16);
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
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
  struct block_device *cow = memory_file ((chunks_needed (epa, count) + 1) *
                                          chunk_sectors);
  struct exception *made = test_alloc ((count + 1) * sizeof *made);
  struct exception_store *store;
  unsigned done = 0, i;

  quick_assert (exception_store_format (cow, chunk_sectors) == 0);
  store = must_open (cow, chunk_sectors);
  while (done < count) {
    unsigned n = 1 + (unsigned) chance_below (chance, 300);

    n = MIN_OF (n, count - done);
    /* Old chunks in no order: 7919 has no divisor in common with them. */
    for (i = done; i < done + n; ++i) {
      made[i].old_chunk = (uint64_t) i * 7919 % ORIGIN_CHUNKS;
      quick_assert (exception_store_allocate (store, &made[i].new_chunk) == 0);
    }
    quick_assert (exception_store_commit (store, made + done, n) == 0);
    done += n;
    if (chance_below (chance, 8) == 0) {
      exception_store_close (store);
      store = must_open (cow, chunk_sectors);
      quick_assert (loaded.count == done);
    }
  }
  exception_store_close (store);
  store = must_open (cow, chunk_sectors);
  ck_assert (exception_store_is_valid (store));
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
  exception_store_close (store);
  bdev_close (cow);
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
  struct fault_bdev *disk = fault_bdev_create ("cow", 400, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  static const unsigned char header[16] = {
    0x53, 0x6e, 0x41, 0x70, 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0
  };
  static const unsigned char records[32] = {
    0x34, 0x12, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0,
    0x35, 0x12, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0,
  };
  unsigned char data[16 * SECTOR_SIZE];
  struct exception_store *store;
  struct exception made[2];

  memset (data, 0xff, sizeof data);
  fault_bdev_load (disk, 0, 16, data);
  ck_assert_int_eq (exception_store_format (cow, 8), 0);
  store = must_open (cow, 8);
  ck_assert_int_eq (make_exceptions (store, cow, 0x1234, 2, 1, made), 0);
  fault_bdev_look_durable (disk, 0, 16, data);
  ck_assert_mem_eq (data, header, sizeof header);
  assert_all_bytes (data + 16, 0, 8 * SECTOR_SIZE - 16);
  ck_assert_mem_eq (data + 8 * SECTOR_SIZE, records, sizeof records);
  assert_all_bytes (data + 8 * SECTOR_SIZE + 32, 0, 8 * SECTOR_SIZE - 32);
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
}
END_TEST

/*----- the order of things ---------------------------------------------*/

START_TEST (format_writes_the_header_last)
{
  struct fault_trace *trace = fault_trace_create ();
  struct fault_bdev *disk = fault_bdev_create ("cow", 400, trace);
  struct block_device *cow = fault_bdev_open (disk, 0);
  char *text;

  ck_assert_int_eq (exception_store_format (cow, 8), 0);
  text = fault_trace_text (trace, FAULT_ALL);
  ck_assert_str_eq (text, "cow zero 0+16 fua unmap, cow write 0+1 fua");
  free (text);
  bdev_close (cow);
  fault_bdev_destroy (disk);
  fault_trace_destroy (trace);
}
END_TEST

/* At each moment of formatting what held garbage: no store, or an empty
 * one.
 */
START_TEST (format_survives_a_crash_at_every_step)
{
  unsigned n;
  bool was_cut = true;

  for (n = 0; was_cut; ++n) {
    struct fault_trace *trace = fault_trace_create ();
    struct fault_bdev *disk = fault_bdev_create ("cow", 100, trace);
    struct block_device *cow = fault_bdev_open (disk, 0);
    struct exception_store *store = NULL;
    unsigned char garbage[40 * SECTOR_SIZE];
    int r;

    ck_assert_uint_lt (n, 20);
    memset (garbage, 0x11, sizeof garbage);
    fault_bdev_load (disk, 0, 40, garbage);
    fault_trace_cut_power (trace, FAULT_ALL & ~FAULT_READ, n);
    r = exception_store_format (cow, 8);
    was_cut = fault_trace_power_is_cut (trace);
    ck_assert_int_eq (r, was_cut ? -EIO : 0);
    bdev_close (cow);
    fault_bdev_crash (disk, NULL, NULL);
    fault_trace_power_on (trace);
    cow = fault_bdev_open (disk, 0);
    r = open_and_load (cow, 1000, &store);
    ck_assert_int_eq (r, was_cut ? -EINVAL : 0);
    ck_assert_uint_eq (loaded.count, 0);
    exception_store_close (store);
    bdev_close (cow);
    fault_bdev_destroy (disk);
    fault_trace_destroy (trace);
  }
  ck_assert_uint_ge (n, 3);
}
END_TEST

START_TEST (format_passes_errors_on)
{
  unsigned k;
  int r = -EIO;

  for (k = 0; r < 0; ++k) {
    struct fault_bdev *disk = fault_bdev_create ("cow", 100, NULL);
    struct block_device *cow = fault_bdev_open (disk, 0);
    struct exception_store *store = NULL;

    ck_assert_uint_lt (k, 20);
    fault_bdev_add_rule (disk, &(struct fault_rule){ .ops = FAULT_ALL,
                                                     .skip = k,
                                                     .times = 1,
                                                     .error = -EDQUOT });
    r = exception_store_format (cow, 8);
    ck_assert_int_eq (r, fault_bdev_failed (disk) ? -EDQUOT : 0);
    fault_bdev_heal (disk);
    ck_assert_int_eq (open_and_load (cow, 1000, &store), r < 0 ? -EINVAL : 0);
    exception_store_close (store);
    bdev_close (cow);
    fault_bdev_destroy (disk);
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
    struct fault_bdev *disk = fault_bdev_create ("cow", least - 1, NULL);
    struct block_device *cow = fault_bdev_open (disk, 0);
    struct exception_store *store;
    struct exception made[2];

    ck_assert_int_eq (exception_store_format (cow, chunks[i]), -ENOSPC);
    ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_ALL), 0);
    bdev_close (cow);
    fault_bdev_destroy (disk);

    disk = fault_bdev_create ("cow", least, NULL);
    cow = fault_bdev_open (disk, 0);
    ck_assert_int_eq (exception_store_format (cow, chunks[i]), 0);
    store = must_open (cow, chunks[i]);
    ck_assert_int_eq (make_exceptions (store, cow, 0, 1, 1, made), 0);
    ck_assert_int_eq (make_exceptions (store, cow, 1, 1, 1, made + 1), -ENOSPC);
    exception_store_close (store);
    bdev_close (cow);
    fault_bdev_destroy (disk);
  }
}
END_TEST

/* Data, flush, and only then the record, with FUA. */
START_TEST (commit_flushes_data_before_records)
{
  struct fault_trace *trace = fault_trace_create ();
  struct fault_bdev *disk = fault_bdev_create ("cow", 2000, trace);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception made[64];
  struct exception_store *store;
  char *text;

  ck_assert_int_eq (exception_store_format (cow, 8), 0);
  store = must_open (cow, 8);
  fault_trace_reset (trace);
  ck_assert_int_eq (make_exceptions (store, cow, 0, 2, 1, made), 0);
  text = fault_trace_text (trace, FAULT_ALL);
  ck_assert_str_eq (text, "cow write 16+1, cow write 24+1, cow flush, "
                          "cow write 8+1 fua");
  free (text);
  /* 40 more records: the sectors of the area that they touch. */
  ck_assert_int_eq (make_exceptions (store, cow, 2, 40, 1, made), 0);
  fault_trace_reset (trace);
  ck_assert_int_eq (make_exceptions (store, cow, 42, 22, 1, made), 0);
  text = fault_trace_text (trace, FAULT_FLUSH | FAULT_ZERO);
  ck_assert_str_eq (text, "cow flush");
  free (text);
  text = fault_trace_text (trace, FAULT_WRITE);
  ck_assert_ptr_nonnull (strstr (text, ", cow write 9+1 fua"));
  free (text);
  /* Nothing to do is nothing done. */
  fault_trace_reset (trace);
  ck_assert_int_eq (exception_store_commit (store, NULL, 0), 0);
  ck_assert_uint_eq (fault_trace_count (trace), 0);
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
  fault_trace_destroy (trace);
}
END_TEST

struct committer {
  struct thread thread;
  struct exception_store *store;
  struct exception exceptions[64];
  unsigned count;
  atomic_bool is_done;
  int result;
};

static void
committer_main (void *arg)
{
  struct committer *c = arg;

  c->result = exception_store_commit (c->store, c->exceptions, c->count);
  atomic_store (&c->is_done, true);
}

/* Allocate for COUNT exceptions, with data, and commit on a thread. */
static void
committer_start (struct committer *c, struct exception_store *store,
                 struct block_device *cow, uint64_t first, unsigned count)
{
  unsigned i;

  c->store = store;
  c->count = count;
  atomic_store (&c->is_done, false);
  for (i = 0; i < count; ++i) {
    c->exceptions[i].old_chunk = first + i;
    ck_assert_int_eq (exception_store_allocate (store,
                                                &c->exceptions[i].new_chunk),
                      0);
    ck_assert_int_eq (write_data (cow, exception_store_chunk_sectors (store),
                                  &c->exceptions[i], 1),
                      0);
  }
  ck_assert_int_eq (thread_start (&c->thread, "commit", committer_main, c), 0);
}

/* When the write of a record is about to happen, the data and, if the area
 * becomes full, the zeroes of the next one, are durable already.
 */
START_TEST (next_area_is_durable_before_an_area_is_full)
{
  struct fault_bdev *disk = fault_bdev_create ("cow", 100, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  unsigned char sector[SECTOR_SIZE];
  struct exception_store *store;
  struct committer c;
  unsigned i;

  /* Area 1 is chunk 34, and full of garbage. */
  memset (sector, 0x22, sizeof sector);
  fault_bdev_load (disk, 34, 1, sector);
  ck_assert_int_eq (exception_store_format (cow, 1), 0);
  store = must_open (cow, 1);
  fault_bdev_gate_shut (disk, FAULT_WRITE, 1, 1);
  committer_start (&c, store, cow, 0, 32);
  fault_bdev_gate_wait (disk, 1);
  fault_bdev_look_durable (disk, 34, 1, sector);
  assert_all_bytes (sector, 0, SECTOR_SIZE);
  for (i = 0; i < 32; ++i) {
    fault_bdev_look_durable (disk, c.exceptions[i].new_chunk, 1, sector);
    assert_pattern (sector, 1, c.exceptions[i].old_chunk, 1);
  }
  ck_assert (!atomic_load (&c.is_done));
  fault_bdev_gate_open (disk);
  thread_join (&c.thread);
  ck_assert_int_eq (c.result, 0);
  exception_store_close (store);
  store = must_open (cow, 1);
  ck_assert_uint_eq (loaded.count, 32);
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
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
    struct fault_bdev *disk = fault_bdev_create ("cow", sectors, NULL);
    struct block_device *cow = fault_bdev_open (disk, 0);
    struct exception_store *store;
    struct exception made[110];
    unsigned expected = 0, n = 0;

    while (chunks_needed (32, expected + 1) <= sectors)
      expected++;
    ck_assert_int_eq (exception_store_format (cow, 1), 0);
    store = must_open (cow, 1);
    for (;; ++n) {
      int r;

      made[n].old_chunk = n;
      r = exception_store_allocate (store, &made[n].new_chunk);
      if (r < 0) {
        ck_assert_int_eq (r, -ENOSPC);
        break;
      }
      ck_assert_uint_lt (made[n].new_chunk, sectors);
    }
    ck_assert_uint_eq (n, expected);
    ck_assert_int_eq (exception_store_allocate (store, &made[n].new_chunk),
                      -ENOSPC);
    ck_assert_int_eq (exception_store_commit (store, made, n), 0);
    exception_store_close (store);
    store = must_open (cow, 1);
    ck_assert_uint_eq (loaded.count, expected);
    ck_assert_int_eq (exception_store_allocate (store, &made[n].new_chunk),
                      -ENOSPC);
    exception_store_close (store);
    bdev_close (cow);
    fault_bdev_destroy (disk);
  }
}
END_TEST

/* The case that makes the kernel's store invalid. */
START_TEST (a_full_area_needs_room_for_the_next)
{
  static const sector_t sizes[] = { 34, 35 };
  unsigned i, n;

  for (i = 0; i < ARRAY_COUNT (sizes); ++i) {
    struct fault_bdev *disk = fault_bdev_create ("cow", sizes[i], NULL);
    struct block_device *cow = fault_bdev_open (disk, 0);
    struct exception_store_usage usage;
    struct exception_store *store;
    struct exception made[33];

    ck_assert_int_eq (exception_store_format (cow, 1), 0);
    store = must_open (cow, 1);
    for (n = 0; n < 31 + i; ++n)
      ck_assert_int_eq (make_exceptions (store, cow, n, 1, 1, made), 0);
    ck_assert_int_eq (make_exceptions (store, cow, n, 1, 1, made), -ENOSPC);
    exception_store_close (store);
    store = must_open (cow, 1);
    ck_assert_uint_eq (loaded.count, n);
    exception_store_get_usage (store, &usage);
    if (sizes[i] == 35) {
      ck_assert_uint_eq (usage.used_sectors, 35);
      ck_assert_uint_eq (usage.metadata_sectors, 3);
    }
    exception_store_close (store);
    bdev_close (cow);
    fault_bdev_destroy (disk);
  }
}
END_TEST

START_TEST (a_store_of_full_size_takes_every_chunk)
{
  sector_t origin_chunks;

  for (origin_chunks = 1; origin_chunks < 100; ++origin_chunks) {
    sector_t sectors = exception_store_full_size (STORE_PERSISTENT,
                                                  origin_chunks, 1);
    struct fault_bdev *disk = fault_bdev_create ("cow", sectors, NULL);
    struct block_device *cow = fault_bdev_open (disk, 0);
    struct exception_store *store;
    struct exception made[1];
    uint64_t n;

    ck_assert_int_eq (exception_store_format (cow, 1), 0);
    store = must_open (cow, 1);
    for (n = 0; n < origin_chunks; ++n)
      ck_assert_int_eq (make_exceptions (store, cow, n, 1, 1, made), 0);
    exception_store_close (store);
    ck_assert_int_eq (open_and_load (cow, origin_chunks, &store), 0);
    ck_assert_uint_eq (loaded.count, origin_chunks);
    exception_store_close (store);
    bdev_close (cow);
    fault_bdev_destroy (disk);
  }
}
END_TEST

/*----- many at once ----------------------------------------------------*/

#define WAITERS 4

/* Who comes while a commit is at work shares the next one.  That the others
 * have come cannot be seen from outside, so they get a moment, and several
 * chances.
 */
START_TEST (those_who_wait_share_one_flush)
{
  unsigned round;
  bool shared = false;

  for (round = 0; round < 50 && !shared; ++round) {
    struct fault_bdev *disk = fault_bdev_create ("cow", 400, NULL);
    struct block_device *cow = fault_bdev_open (disk, 0);
    struct exception_store *store;
    struct committer first, others[WAITERS];
    unsigned i;

    ck_assert_int_eq (exception_store_format (cow, 1), 0);
    store = must_open (cow, 1);
    fault_bdev_gate_shut (disk, FAULT_FLUSH, 0, 0);
    committer_start (&first, store, cow, 0, 3);
    fault_bdev_gate_wait (disk, 1);
    for (i = 0; i < WAITERS; ++i)
      committer_start (&others[i], store, cow, 100 + 20 * i, 10);
    for (i = 0; i < 1 + round; ++i)
      short_wait ();
    for (i = 0; i < WAITERS; ++i)
      ck_assert (!atomic_load (&others[i].is_done));
    fault_bdev_gate_open (disk);
    thread_join (&first.thread);
    ck_assert_int_eq (first.result, 0);
    for (i = 0; i < WAITERS; ++i) {
      thread_join (&others[i].thread);
      ck_assert_int_eq (others[i].result, 0);
    }
    /* 3 + 40 records fill one area: the others need two flushes. */
    shared = fault_bdev_calls (disk, FAULT_FLUSH) == 3;
    exception_store_close (store);
    store = must_open (cow, 1);
    ck_assert_uint_eq (loaded.count, 3 + 10 * WAITERS);
    exception_store_close (store);
    bdev_close (cow);
    fault_bdev_destroy (disk);
  }
  ck_assert (shared);
}
END_TEST

struct random_committer {
  struct thread thread;
  struct exception_store *store;
  struct block_device *cow;
  struct chance chance;
  uint64_t first;
  unsigned count;
  int result;
};

static void
random_committer_main (void *arg)
{
  struct random_committer *c = arg;
  struct exception made[10];
  unsigned done = 0;

  while (done < c->count && c->result == 0) {
    unsigned n = 1 + (unsigned) chance_below (&c->chance, 10);

    n = MIN_OF (n, c->count - done);
    c->result = make_exceptions (c->store, c->cow, c->first + done, n, 1, made);
    done += n;
  }
}

START_TEST (many_threads_commit_at_once)
{
  struct chance chance = chance_begin ("many_threads_commit_at_once");
  struct fault_bdev *disk = fault_bdev_create ("cow", 3000, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct random_committer c[4] = { { .count = 0 } };
  bool seen[2000] = { false };
  struct exception_store *store;
  unsigned i;

  ck_assert_int_eq (exception_store_format (cow, 1), 0);
  store = must_open (cow, 1);
  for (i = 0; i < ARRAY_COUNT (c); ++i) {
    c[i] = (struct random_committer){
      .store = store,
      .cow = cow,
      .chance = { chance_next (&chance) },
      .first = i * 500,
      .count = 500,
    };
    ck_assert_int_eq (thread_start (&c[i].thread, "commit",
                                    random_committer_main, &c[i]),
                      0);
  }
  for (i = 0; i < ARRAY_COUNT (c); ++i) {
    thread_join (&c[i].thread);
    ck_assert_int_eq (c[i].result, 0);
  }
  exception_store_close (store);
  store = must_open (cow, 1);
  ck_assert_uint_eq (loaded.count, ARRAY_COUNT (seen));
  for (i = 0; i < loaded.count; ++i) {
    const struct exception *e = &loaded.exceptions[i];

    ck_assert_uint_lt (e->old_chunk, ARRAY_COUNT (seen));
    ck_assert (!seen[e->old_chunk]);
    seen[e->old_chunk] = true;
    ck_assert (has_data (disk, 1, e, 1));
  }
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
}
END_TEST

/*----- errors ----------------------------------------------------------*/

/* The k-th call of a commit fails: all who wait get the error, later
 * commits too, nothing more is written, and the store can be loaded with
 * what was committed before.
 */
START_TEST (after_a_failed_commit_nothing_is_committed)
{
  static const unsigned ops[] = { FAULT_FLUSH, FAULT_WRITE };
  unsigned o, last;

  /* One record more; the last of an area, whose zeroing can fail, too. */
  for (last = 0; last < 2; ++last)
    for (o = 0; o < ARRAY_COUNT (ops); ++o) {
      struct fault_bdev *disk = fault_bdev_create ("cow", 400, NULL);
      struct block_device *cow = fault_bdev_open (disk, 0);
      struct exception_store *store;
      struct committer first, others[WAITERS];
      struct exception made[32];
      unsigned before = last ? 31 : 5, calls, i;

      ck_assert_int_eq (exception_store_format (cow, 1), 0);
      store = must_open (cow, 1);
      ck_assert_int_eq (make_exceptions (store, cow, 0, before, 1, made), 0);

      fault_bdev_gate_shut (disk, FAULT_FLUSH, 0, 0);
      committer_start (&first, store, cow, 1000, 1);
      fault_bdev_gate_wait (disk, 1);
      for (i = 0; i < WAITERS; ++i)
        committer_start (&others[i], store, cow, 2000 + 20 * i, 2);
      fault_bdev_add_rule (disk, &(struct fault_rule){ .ops = ops[o],
                                                       .times = 1,
                                                       .error = -ENOSPC });
      calls = fault_bdev_calls (disk, FAULT_WRITE | FAULT_ZERO);
      fault_bdev_gate_open (disk);
      thread_join (&first.thread);
      ck_assert_int_eq (first.result, -ENOSPC);
      for (i = 0; i < WAITERS; ++i) {
        thread_join (&others[i].thread);
        ck_assert_int_eq (others[i].result, -ENOSPC);
      }
      ck_assert_uint_le (fault_bdev_calls (disk, FAULT_WRITE | FAULT_ZERO),
                         calls + 1);
      fault_bdev_heal (disk);
      made[0] = (struct exception){ 5000, 0 };
      ck_assert_int_eq (exception_store_allocate (store, &made[0].new_chunk),
                        0);
      calls = fault_bdev_calls (disk, FAULT_ALL);
      ck_assert_int_eq (exception_store_commit (store, made, 1), -ENOSPC);
      ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_ALL), calls);
      exception_store_close (store);

      store = must_open (cow, 1);
      ck_assert_uint_eq (loaded.count, before);
      exception_store_close (store);
      bdev_close (cow);
      fault_bdev_destroy (disk);
    }
}
END_TEST

START_TEST (a_next_area_that_cannot_be_zeroed_fails_the_commit)
{
  struct fault_bdev *disk = fault_bdev_create ("cow", 400, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception_store *store;
  struct exception made[32];

  ck_assert_int_eq (exception_store_format (cow, 1), 0);
  store = must_open (cow, 1);
  fault_bdev_fail_range (disk, FAULT_WRITE | FAULT_ZERO, 34, 1);
  ck_assert_int_eq (make_exceptions (store, cow, 0, 31, 1, made), 0);
  ck_assert_int_eq (make_exceptions (store, cow, 31, 1, 1, made), -EIO);
  exception_store_close (store);
  store = must_open (cow, 1);
  ck_assert_uint_eq (loaded.count, 31);
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
}
END_TEST

START_TEST (open_and_load_pass_device_errors_on)
{
  struct fault_bdev *disk = fault_bdev_create ("some.cow", 400, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception_store *store = NULL;
  struct exception made[40];

  ck_assert_int_eq (exception_store_format (cow, 1), 0);
  store = must_open (cow, 1);
  ck_assert_int_eq (make_exceptions (store, cow, 0, 40, 1, made), 0);
  exception_store_close (store);

  capture_messages ();
  fault_bdev_fail_range (disk, FAULT_READ, 0, 1);
  ck_assert_int_eq (exception_store_open (cow, 1000, &store), -EIO);
  assert_said ("some.cow: the header cannot be read");
  fault_bdev_heal (disk);
  fault_bdev_fail_range (disk, FAULT_READ, 34, 1);
  ck_assert_int_eq (open_and_load (cow, 1000, &store), -EIO);
  assert_said ("some.cow: area 1 cannot be read");
  fault_bdev_heal (disk);

  loaded.fail_at = 5;
  loaded.error = -ENOLCK;
  ck_assert_int_eq (open_and_load (cow, 1000, &store), -ENOLCK);
  loaded.fail_at = 0;
  assert_said ("some.cow: record 4:");
  bdev_close (cow);
  fault_bdev_destroy (disk);
}
END_TEST

START_TEST (open_and_load_survive_want_of_memory)
{
  struct fault_bdev *disk = fault_bdev_create ("cow", 400, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception_store *store = NULL;
  struct exception made[40];
  unsigned k, failed = 1;

  ck_assert_int_eq (exception_store_format (cow, 1), 0);
  store = must_open (cow, 1);
  ck_assert_int_eq (make_exceptions (store, cow, 0, 40, 1, made), 0);
  exception_store_close (store);
  for (k = 0; failed > 0; ++k) {
    int r;

    ck_assert_uint_lt (k, 50);
    store = NULL;
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = open_and_load (cow, 1000, &store);
    failed = fault_alloc_stop ();
    ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
  }
  ck_assert_uint_ge (k, 4);
  exception_store_close (store);
  exception_store_close (NULL);
  bdev_close (cow);
  fault_bdev_destroy (disk);
}
END_TEST

START_TEST (invalidate_is_durable_and_changes_nothing_else)
{
  struct fault_bdev *disk = fault_bdev_create ("cow", 400, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  unsigned char header[SECTOR_SIZE], was[SECTOR_SIZE];
  struct exception_store *store;
  struct exception made[5];

  ck_assert_int_eq (exception_store_format (cow, 8), 0);
  store = must_open (cow, 8);
  ck_assert (exception_store_is_valid (store));
  ck_assert_int_eq (make_exceptions (store, cow, 0, 5, 1, made), 0);
  fault_bdev_look_durable (disk, 0, 1, was);
  ck_assert_int_eq (exception_store_invalidate (store), 0);
  ck_assert (!exception_store_is_valid (store));
  fault_bdev_look_durable (disk, 0, 1, header);
  was[4] = 0;
  ck_assert_mem_eq (header, was, SECTOR_SIZE);
  exception_store_close (store);
  fault_bdev_crash (disk, NULL, NULL);

  store = must_open (cow, 8);
  ck_assert (!exception_store_is_valid (store));
  ck_assert_uint_eq (loaded.count, 5); /* older snapshots may need them */
  fault_bdev_fail_from (disk, FAULT_WRITE, 0);
  ck_assert_int_eq (exception_store_invalidate (store), -EIO);
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
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

/* A store with 5 exceptions on a new disk. */
static struct fault_bdev *
hostile_disk (sector_t sectors)
{
  struct fault_bdev *disk = fault_bdev_create ("bad.cow", 400, NULL), *cut;
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception_store *store;
  unsigned char *data;
  struct exception made[5];

  ck_assert_int_eq (exception_store_format (cow, 8), 0);
  store = must_open (cow, 8);
  ck_assert_int_eq (make_exceptions (store, cow, 10, 5, 1, made), 0);
  exception_store_close (store);
  bdev_close (cow);
  if (sectors == 0)
    return disk;
  if (sectors == UINT64_MAX)
    sectors = 0;
  data = test_alloc_sectors (400);
  fault_bdev_look (disk, 0, sectors, data);
  fault_bdev_destroy (disk);
  cut = fault_bdev_create ("bad.cow", sectors, NULL);
  fault_bdev_load (cut, 0, sectors, data);
  free (data);
  return cut;
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
    struct fault_bdev *disk = hostile_disk (h->sectors);
    unsigned before = fault_bdev_calls (disk,
                                        (unsigned) FAULT_ALL & ~FAULT_READ);
    struct block_device *cow = fault_bdev_open (disk, 0);
    struct exception_store *store = NULL;

    change_disk (disk, h->offset, h->bytes, h->value);
    capture_messages ();
    ck_assert_msg (open_and_load (cow, 800, &store) == -EINVAL, "%s", h->what);
    assert_said ("E: bad.cow: ");
    assert_said (h->said);
    ck_assert_uint_eq (fault_bdev_calls (disk,
                                         (unsigned) FAULT_ALL & ~FAULT_READ),
                       before);
    bdev_close (cow);
    fault_bdev_destroy (disk);
  }
}
END_TEST

START_TEST (a_new_chunk_in_a_later_area_is_refused)
{
  struct fault_bdev *disk = fault_bdev_create ("bad.cow", 400, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception_store *store = NULL;
  struct exception made[2];
  uint64_t chunk;

  ck_assert_int_eq (exception_store_format (cow, 1), 0);
  store = must_open (cow, 1);
  ck_assert_int_eq (make_exceptions (store, cow, 0, 2, 1, made), 0);
  exception_store_close (store);
  for (chunk = 2; chunk < 400; ++chunk) {
    bool is_area = chunk % 33 == 1;

    change_disk (disk, SECTOR_SIZE + 16 + 8, 8, chunk);
    capture_messages ();
    ck_assert_int_eq (open_and_load (cow, 1000, &store),
                      is_area || chunk == 2 ? -EINVAL : 0);
    if (is_area)
      assert_said ("bad.cow: record 1: new chunk");
    else if (chunk != 2)
      exception_store_close (store);
  }
  bdev_close (cow);
  fault_bdev_destroy (disk);
}
END_TEST

/* All areas full, up to the end of the file. */
START_TEST (a_chain_without_end_is_refused)
{
  struct fault_bdev *disk = fault_bdev_create ("bad.cow", 66, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception_store *store = NULL;
  unsigned i;

  ck_assert_int_eq (exception_store_format (cow, 1), 0);
  for (i = 0; i < 64; ++i) {
    unsigned offset = (i < 32 ? 1 : 34) * SECTOR_SIZE + i % 32 * 16;

    change_disk (disk, offset, 8, i);
    change_disk (disk, offset + 8, 8, i < 32 ? 2 + i : 35 + i - 32);
  }
  /* The last of them is outside: 63 fit. */
  change_disk (disk, 34 * SECTOR_SIZE + 31 * 16 + 8, 8, 0);
  ck_assert_int_eq (open_and_load (cow, 1000, &store), 0);
  ck_assert_uint_eq (loaded.count, 63);
  exception_store_close (store);
  change_disk (disk, 34 * SECTOR_SIZE + 30 * 16 + 8, 8, 0);
  bdev_close (cow);
  fault_bdev_destroy (disk);

  /* 32 records in a store that ends before its next area. */
  disk = fault_bdev_create ("bad.cow", 34, NULL);
  cow = fault_bdev_open (disk, 0);
  ck_assert_int_eq (exception_store_format (cow, 1), 0);
  for (i = 0; i < 32; ++i) {
    change_disk (disk, SECTOR_SIZE + i * 16, 8, i);
    change_disk (disk, SECTOR_SIZE + i * 16 + 8, 8, 2 + i);
  }
  capture_messages ();
  ck_assert_int_eq (open_and_load (cow, 1000, &store), -EINVAL);
  assert_said ("bad.cow: area 0 is full and the next one would be behind");
  bdev_close (cow);
  fault_bdev_destroy (disk);
}
END_TEST

START_TEST (an_invalid_store_can_be_read)
{
  struct fault_bdev *disk = hostile_disk (0);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception_store *store;

  change_disk (disk, 4, 4, 0);
  ck_assert_int_eq (open_and_load (cow, 800, &store), 0);
  ck_assert (!exception_store_is_valid (store));
  ck_assert_uint_eq (loaded.count, 5);
  exception_store_close (store);
  change_disk (disk, 4, 4, 0x80000000U); /* the kernel takes that as yes */
  ck_assert_int_eq (open_and_load (cow, 800, &store), 0);
  ck_assert (exception_store_is_valid (store));
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
}
END_TEST

/* Each bit of header and records, and areas of noise: a store or -EINVAL,
 * and never a write.
 */
START_TEST (any_bytes_are_a_store_or_refused)
{
  struct chance chance = chance_begin ("any_bytes_are_a_store_or_refused");
  struct fault_bdev *disk = hostile_disk (0);
  unsigned before = fault_bdev_calls (disk, (unsigned) FAULT_ALL & ~FAULT_READ);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception_store *store;
  unsigned char area[8 * SECTOR_SIZE], good[8 * SECTOR_SIZE];
  unsigned bit, i, round, refused = 0;

  for (bit = 0; bit < (16 + 6 * 16) * 8; ++bit) {
    unsigned byte = bit / 8;
    unsigned offset = byte < 16 ? byte : RECORD (0) + byte - 16;
    int r;

    fault_bdev_look (disk, offset / SECTOR_SIZE, 1, good);
    memcpy (area, good, SECTOR_SIZE);
    area[offset % SECTOR_SIZE] ^= (unsigned char) (1U << bit % 8);
    fault_bdev_load (disk, offset / SECTOR_SIZE, 1, area);
    r = open_and_load (cow, 800, &store);
    ck_assert (r == 0 || r == -EINVAL);
    if (r == 0)
      exception_store_close (store);
    else
      refused++;
    fault_bdev_load (disk, offset / SECTOR_SIZE, 1, good);
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
    fault_bdev_load (disk, 8, 8, area);
    r = open_and_load (cow, 800, &store);
    ck_assert (r == 0 || r == -EINVAL);
    if (r == 0)
      exception_store_close (store);
  }
  ck_assert_uint_eq (fault_bdev_calls (disk,
                                       (unsigned) FAULT_ALL & ~FAULT_READ),
                     before);
  bdev_close (cow);
  fault_bdev_destroy (disk);
}
END_TEST

/*----- crashes ---------------------------------------------------------*/

/* What was tried, and what of it was acknowledged. */
struct history {
  struct exception tried[400];
  uint64_t generation[400];
  bool is_acked[400];
  unsigned tried_count;
};

/* Commit each of SIZES in turn, until one fails. */
static void
commit_in_turn (struct history *h, struct exception_store *store,
                struct block_device *cow, const unsigned *sizes,
                uint64_t generation)
{
  for (; *sizes > 0; ++sizes) {
    unsigned i;
    int r;

    /* Known before it is tried: a failed commit may yet be there. */
    for (i = 0; i < *sizes; ++i) {
      h->tried[h->tried_count + i] = (struct exception){ 0 };
      h->generation[h->tried_count + i] = generation;
    }
    r = make_exceptions (store, cow, h->tried_count, *sizes, generation,
                         h->tried + h->tried_count);
    for (i = 0; r == 0 && i < *sizes; ++i)
      h->is_acked[h->tried_count + i] = true;
    h->tried_count += *sizes;
    if (r < 0)
      return;
  }
}

/* All that was acknowledged is loaded, nothing that was not tried, and
 * everything leads to its own data.
 */
static void
check_history (const struct history *h, struct fault_bdev *disk,
               sector_t chunk_sectors)
{
  bool is_loaded[400] = { false };
  unsigned i;

  for (i = 0; i < loaded.count; ++i) {
    const struct exception *e = &loaded.exceptions[i];

    quick_assert (e->old_chunk < h->tried_count);
    quick_assert (e->new_chunk == h->tried[e->old_chunk].new_chunk);
    ck_assert_msg (has_data (disk, chunk_sectors, e,
                             h->generation[e->old_chunk]),
                   "record %u: old chunk %" PRIu64
                   " leads to other data in %" PRIu64,
                   i, e->old_chunk, e->new_chunk);
    is_loaded[e->old_chunk] = true;
  }
  for (i = 0; i < h->tried_count; ++i)
    ck_assert_msg (is_loaded[i] || !h->is_acked[i], "exception %u is lost", i);
}

/* A crash before step N, when a chosen part of what was not flushed had
 * reached the disk.  Returns false if there is no such step.
 */
static bool
crash_at (unsigned n, uint64_t mask, unsigned *pending)
{
  static const unsigned sizes[] = { 1, 5, 25, 1, 3, 29, 32, 0 };
  static const unsigned more[] = { 2, 40, 0 };
  struct fault_trace *trace = fault_trace_create ();
  struct fault_bdev *disk = fault_bdev_create ("cow", 300, trace);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception_store *store;
  unsigned char garbage[SECTOR_SIZE];
  struct history h = { .tried_count = 0 };
  bool was_cut;
  sector_t s;

  /* The store was once used for something else. */
  for (s = 0; s < 300; ++s) {
    fill_pattern (garbage, 99, s, 1);
    fault_bdev_load (disk, s, 1, garbage);
  }
  ck_assert_int_eq (exception_store_format (cow, 1), 0);
  store = must_open (cow, 1);
  fault_trace_cut_power (trace, FAULT_WRITE | FAULT_FLUSH | FAULT_ZERO, n);
  commit_in_turn (&h, store, cow, sizes, 1);
  was_cut = fault_trace_power_is_cut (trace);
  exception_store_close (store);
  *pending = fault_bdev_pending (disk);
  fault_bdev_crash (disk, fault_keep_mask, &mask);
  fault_trace_power_on (trace);

  store = must_open (cow, 1);
  check_history (&h, disk, 1);
  /* What was not acknowledged and is not there is forgotten; go on. */
  h.tried_count = MAX_OF (h.tried_count, 1);
  commit_in_turn (&h, store, cow, more, 2);
  exception_store_close (store);
  store = must_open (cow, 1);
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
  fault_trace_destroy (trace);
  return was_cut;
}

START_TEST (a_crash_loses_nothing_acknowledged)
{
  struct chance chance = chance_begin ("a_crash_loses_nothing_acknowledged");
  unsigned n, pending;

  for (n = 0; crash_at (n, 0, &pending); ++n) {
    unsigned i;

    ck_assert_uint_lt (n, 500);
    (void) crash_at (n, UINT64_MAX, &pending);
    if (pending <= 4)
      for (i = 1; i + 1 < 1U << pending; ++i)
        (void) crash_at (n, i, &pending);
    else
      for (i = 0; i < 20; ++i)
        (void) crash_at (n, chance_next (&chance) & chance_next (&chance),
                         &pending);
  }
  ck_assert_uint_gt (n, 100);
}
END_TEST

/* A device that loses power in the middle of a write: write number
 * `left` with FUA reaches the disk below, but not as a durable one, and
 * fails; so does everything after it.
 */
struct tearing {
  struct block_device *below;
  unsigned left;
  bool is_off;
};

static int
tearing_read (void *handle, const struct iovec *iov, int iovcnt,
              sector_t sector)
{
  struct tearing *t = handle;

  return bdev_read (t->below, iov, iovcnt, sector);
}

static int
tearing_write (void *handle, const struct iovec *iov, int iovcnt,
               sector_t sector, unsigned flags)
{
  struct tearing *t = handle;

  if (t->is_off)
    return -EIO;
  if ((flags & BDEV_FUA) && t->left-- == 0) {
    t->is_off = true;
    (void) bdev_write (t->below, iov, iovcnt, sector, 0);
    return -EIO;
  }
  return bdev_write (t->below, iov, iovcnt, sector, flags);
}

static int
tearing_flush (void *handle)
{
  struct tearing *t = handle;

  return t->is_off ? -EIO : bdev_flush (t->below);
}

static int
tearing_zero (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  struct tearing *t = handle;

  if (t->is_off)
    return -EIO;
  if ((flags & BDEV_FUA) && t->left-- == 0) {
    t->is_off = true;
    (void) bdev_write_zeroes (t->below, sector, count, flags & ~BDEV_FUA);
    return -EIO;
  }
  return bdev_write_zeroes (t->below, sector, count, flags);
}

static const struct bdev_ops tearing_ops = {
  .struct_size = sizeof (struct bdev_ops),
  .read = tearing_read,
  .write = tearing_write,
  .flush = tearing_flush,
  .write_zeroes = tearing_zero,
};

/* Keeps sector 8 + I of the area if bit I of the mask is set. */
static bool
keep_area_sector (void *context, unsigned index, sector_t sector)
{
  const unsigned *mask = context;

  (void) index;
  return sector >= 8 && sector < 16 && (*mask >> (sector - 8) & 1);
}

/* Commit COUNT exceptions from old chunk FIRST on, the write number LEFT
 * of which is torn so that MASK tells which sectors of the area are new.
 */
static void
commit_torn (struct fault_bdev *disk, struct history *h, unsigned count,
             unsigned left, unsigned mask)
{
  struct tearing tearing = { fault_bdev_open (disk, 0), left, false };
  const unsigned sizes[] = { count, 0 };
  struct exception_store *store;
  struct block_device *cow;

  ck_assert_int_eq (bdev_create (&tearing_ops, &tearing, "cow",
                                 bdev_sectors (tearing.below), &cow),
                    0);
  store = must_open (cow, 8);
  commit_in_turn (h, store, cow, sizes, h->tried_count);
  exception_store_close (store);
  bdev_close (cow);
  bdev_close (tearing.below);
  fault_bdev_crash (disk, keep_area_sector, &mask);
}

/* The write of records over several sectors is torn, which may leave
 * records behind the end of the list; then the records up to there are
 * filled in, and that write is torn too.  What was never acknowledged must
 * not come to life: its chunks have been given to others.
 */
static void
tear_twice (unsigned first_mask, unsigned count, unsigned left,
            unsigned second_mask)
{
  struct fault_bdev *disk = fault_bdev_create ("cow", 1500, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  static const unsigned sizes[] = { 20, 0 };
  static struct history h;
  struct exception_store *store;
  unsigned i, lost_from;

  memset (&h, 0, sizeof h);
  ck_assert_int_eq (exception_store_format (cow, 8), 0);
  store = must_open (cow, 8);
  commit_in_turn (&h, store, cow, sizes, 7);
  exception_store_close (store);

  commit_torn (disk, &h, 90, 0, first_mask);
  store = must_open (cow, 8);
  check_history (&h, disk, 8);
  exception_store_close (store);
  /* Behind the end of the list nothing is. */
  lost_from = loaded.count;
  for (i = lost_from; i < h.tried_count; ++i)
    h.tried[i].new_chunk = UINT64_MAX;

  commit_torn (disk, &h, count, left, second_mask);
  store = must_open (cow, 8);
  check_history (&h, disk, 8);
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
}

START_TEST (torn_records_stay_dead)
{
  /* Which fill the first sectors of the area exactly, and which do not. */
  static const unsigned counts[] = { 12, 44, 5 };
  /* With something behind a gap, or in the last sector. */
  static const unsigned firsts[] = { 2, 4, 5, 6, 8, 10, 12, 14, 15 };
  unsigned first, c, left, second;

  for (first = 0; first < ARRAY_COUNT (firsts); ++first)
    for (c = 0; c < ARRAY_COUNT (counts); ++c) {
      /* Not torn again; then torn. */
      tear_twice (firsts[first], counts[c], UINT32_MAX, 0);
      for (left = 0; left < 2; ++left)
        for (second = 0; second < 8; ++second)
          tear_twice (firsts[first], counts[c], left, second);
    }
}
END_TEST

/*----- the transient store ----------------------------------------------*/

/* Tests that nothing reaches the disk. */
static void
expect_no_calls (struct fault_trace *trace)
{
  ck_assert_uint_eq (fault_trace_count (trace), 0);
}

START_TEST (a_transient_store_writes_nothing_of_its_own)
{
  static const sector_t chunks[] = { 1, 8, 2048 };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (chunks); ++i) {
    sector_t c = chunks[i], size;
    struct fault_trace *trace = fault_trace_create ();
    struct exception_store_usage usage;
    struct exception_store *store;
    struct block_device *cow;
    struct fault_bdev *disk;
    struct exception e;
    unsigned n;

    size = exception_store_full_size (STORE_TRANSIENT, 5 * c - c / 2, c);
    ck_assert_uint_eq (size, 5 * c);
    ck_assert_uint_eq (exception_store_min_size (STORE_TRANSIENT, c), c);
    disk = fault_bdev_create ("cow", size, trace);
    cow = fault_bdev_open (disk, 0);
    ck_assert_int_eq (exception_store_open_transient (cow, c, &store), 0);
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
    exception_store_close (store);
    expect_no_calls (trace);
    bdev_close (cow);
    fault_bdev_destroy (disk);
    fault_trace_destroy (trace);
  }
}
END_TEST

START_TEST (a_transient_store_needs_room_for_one_chunk)
{
  struct fault_bdev *disk = fault_bdev_create ("cow", 7, NULL);
  struct block_device *cow = fault_bdev_open (disk, 0);
  struct exception_store *store;

  ck_assert_int_eq (exception_store_open_transient (cow, 8, &store), -ENOSPC);
  ck_assert_int_eq (exception_store_open_transient (cow, 4, &store), 0);
  exception_store_close (store);
  bdev_close (cow);
  fault_bdev_destroy (disk);
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
    format_survives_a_crash_at_every_step,
    format_passes_errors_on,
    format_needs_room_for_one_exception,
    commit_flushes_data_before_records,
    next_area_is_durable_before_an_area_is_full,
    a_store_filled_to_the_brim_can_be_loaded,
    a_full_area_needs_room_for_the_next,
    a_store_of_full_size_takes_every_chunk,
    those_who_wait_share_one_flush,
    many_threads_commit_at_once,
    after_a_failed_commit_nothing_is_committed,
    a_next_area_that_cannot_be_zeroed_fails_the_commit,
    open_and_load_pass_device_errors_on,
    open_and_load_survive_want_of_memory,
    invalidate_is_durable_and_changes_nothing_else,
    hostile_stores_are_refused_by_name,
    a_new_chunk_in_a_later_area_is_refused,
    a_chain_without_end_is_refused,
    an_invalid_store_can_be_read,
    any_bytes_are_a_store_or_refused,
    a_crash_loses_nothing_acknowledged,
    torn_records_stay_dead,
    a_transient_store_writes_nothing_of_its_own,
    a_transient_store_needs_room_for_one_chunk,
    NULL,
  };

  return unit_main ("exception_store", tests);
}
