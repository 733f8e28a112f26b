/* What the tests of the exception store share: one on a disk that can fail.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The data of an exception is a pattern that depends on its old chunk and
 * on when it was made, so that a record that leads to the wrong data, or
 * to data that never reached the disk, is noticed.
 */

#ifndef DM_EXCEPTION_STORE_TEST_H
#define DM_EXCEPTION_STORE_TEST_H

#include "exception-store.h"
#include "target-test.h"

#define ORIGIN_CHUNKS 100000

/*----- what is in a store ----------------------------------------------*/

#define MAX_LOADED 20000

struct loaded {
  struct exception exceptions[MAX_LOADED];
  unsigned count;
  unsigned fail_at; /* return ERROR for that one, counted from 1 */
  int error;
};

static struct loaded loaded; /* too large for a stack */

static inline int
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
static inline int
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

static inline struct exception_store *
must_open (struct block_device *cow, sector_t chunk_sectors)
{
  struct exception_store *store = NULL;

  quick_assert (open_and_load (cow, ORIGIN_CHUNKS * chunk_sectors, &store) ==
                0);
  quick_assert (exception_store_chunk_sectors (store) == chunk_sectors);
  return store;
}

/* The first sector of a chunk's data tells what it is. */
static inline int
write_data (struct block_device *cow, sector_t chunk_sectors,
            const struct exception *e, uint64_t generation)
{
  unsigned char data[SECTOR_SIZE];
  struct iovec iov = { data, sizeof data };

  fill_pattern (data, generation, e->old_chunk, 1);
  return bdev_write (cow, &iov, 1, e->new_chunk * chunk_sectors, 0);
}

static inline bool
has_data (struct fault_bdev *disk, sector_t chunk_sectors,
          const struct exception *e, uint64_t generation)
{
  unsigned char data[SECTOR_SIZE];

  fault_bdev_look (disk, e->new_chunk * chunk_sectors, 1, data);
  return first_wrong_sector (data, generation, e->old_chunk, 1) > e->old_chunk;
}

/* What the format needs for E exceptions. */
static inline uint64_t
chunks_needed (uint64_t epa, uint64_t e)
{
  return 1 + e + e / epa + 1;
}

/*----- a store on a disk -----------------------------------------------*/

struct store_test {
  struct fault_trace *trace;
  struct fault_bdev *disk;
  struct block_device *cow;
  struct exception_store *store; /* NULL while it is closed */
};

/* A disk of zeroes; there is no store yet. */
static inline void
store_test_disk (struct store_test *t, sector_t sectors)
{
  t->trace = fault_trace_create ();
  t->disk = fault_bdev_create ("cow", sectors, t->trace);
  t->cow = fault_bdev_open (t->disk, 0);
  t->store = NULL;
}

/* Make a store there, and open it. */
static inline void
store_test_format (struct store_test *t, sector_t chunk_sectors)
{
  ck_assert_int_eq (exception_store_format (t->cow, chunk_sectors), 0);
  t->store = must_open (t->cow, chunk_sectors);
}

static inline void
store_test_create (struct store_test *t, sector_t sectors,
                   sector_t chunk_sectors)
{
  store_test_disk (t, sectors);
  store_test_format (t, chunk_sectors);
}

static inline void
store_test_close (struct store_test *t)
{
  exception_store_close (t->store);
  t->store = NULL;
}

/* Open and load what is there, whatever it is; STORE is NULL before. */
static inline int
store_test_load (struct store_test *t, sector_t origin_sectors)
{
  return open_and_load (t->cow, origin_sectors, &t->store);
}

/* Load it again, as the next start does. */
static inline void
store_test_reopen (struct store_test *t)
{
  sector_t chunk_sectors = exception_store_chunk_sectors (t->store);

  exception_store_close (t->store);
  t->store = must_open (t->cow, chunk_sectors);
}

/* Make exceptions of old chunks FIRST .. FIRST + COUNT - 1, with data. */
static inline int
make_exceptions (struct store_test *t, uint64_t first, unsigned count,
                 uint64_t generation, struct exception *made)
{
  sector_t chunk_sectors = exception_store_chunk_sectors (t->store);
  unsigned i;

  for (i = 0; i < count; ++i) {
    int r;

    made[i].old_chunk = first + i;
    r = exception_store_allocate (t->store, &made[i].new_chunk);
    if (r == 0)
      r = write_data (t->cow, chunk_sectors, &made[i], generation);
    if (r < 0)
      return r;
  }
  return exception_store_commit (t->store, made, count);
}

static inline void
store_test_destroy (struct store_test *t)
{
  exception_store_close (t->store);
  bdev_close (t->cow);
  fault_bdev_destroy (t->disk);
  fault_trace_destroy (t->trace);
}

#endif /* DM_EXCEPTION_STORE_TEST_H */
