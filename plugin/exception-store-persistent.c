/* Where a snapshot's exceptions live for ever: the persistent store.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: Linux 6.1 drivers/md/dm-snap-persistent.c: same bytes on disk.
 * Differs: all of a store is checked when it is opened; the empty area
 * that must follow a full one is reserved, so that a store never becomes
 * one that cannot be opened; only the sectors of an area that changed are
 * written; commits are batched over whoever waits, not until no copy is
 * in flight; marking invalid is flushed; a new store's header is written
 * last.
 *
 * Invariants, under the lock:
 * (1) next_free is a data chunk, and no record or allocation is at or
 *     behind it;
 * (2) record_limit, the records on disk plus those allocated for, never
 *     exceeds what the areas that fit on the device can hold and end
 *     with a terminator;
 * and for whoever is committing (there is one at most):
 * (3) area_image is what area current_area should hold on disk, its
 *     first area_used records are the committed ones, the rest is zeroes;
 * (4) before an area is written full, the next area is zeroes on disk,
 *     durably;
 * (5) before a record is written, so is what follows its sector in the
 *     area: records that a crash left there must not come to life.
 *
 * Locks: `lock` is a leaf, not held during I/O.
 */

#include <config.h>

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "exception-store-impl.h"

/* One thread's exceptions, waiting to be committed. */
struct commit {
  struct list link;
  const struct exception *exceptions;
  unsigned count;
  bool is_done;
  int result;
  struct cond wake; /* it is done, or its turn to commit for all */
};

/* Chunks of a store with E exceptions: header, data, areas. */
static uint64_t
chunks_for_exceptions (uint64_t epa, uint64_t exceptions)
{
  return 1 + exceptions + exceptions / epa + 1;
}

sector_t
persistent_store_full_size (uint64_t exceptions, sector_t chunk_sectors)
{
  return chunks_for_exceptions (records_per_area (chunk_sectors), exceptions) *
         chunk_sectors;
}

/* Write the header's sector, durably.  The rest of its chunk is nobody's
 * business: zeroes in a new store.
 */
static int
write_header (struct block_device *cow, sector_t chunk_sectors, bool valid)
{
  union {
    struct disk_header header;
    char sector[SECTOR_SIZE];
  } u __attribute__ ((aligned (SECTOR_SIZE))) = { .sector = { 0 } };

  u.header.magic = htole32 (STORE_MAGIC);
  u.header.valid = htole32 (valid ? 1 : 0);
  u.header.version = htole32 (STORE_VERSION);
  u.header.chunk_sectors = htole32 ((uint32_t) chunk_sectors);
  return store_write (cow, &u, 0, 1, BDEV_FUA);
}

int
exception_store_format (struct block_device *cow, sector_t chunk_sectors)
{
  int r;

  assert (is_power_of_2 (chunk_sectors));
  assert (chunk_sectors <= EXCEPTION_STORE_MAX_CHUNK_SECTORS);
  if (bdev_sectors (cow) <
      exception_store_min_size (STORE_PERSISTENT, chunk_sectors))
    return -ENOSPC;

  /* The header last: until it is there this is not a store, and once it
   * is, its first area is empty.
   */
  r = bdev_write_zeroes (cow, 0, 2 * chunk_sectors, BDEV_FUA | BDEV_UNMAP);
  if (r < 0)
    return r;
  return write_header (cow, chunk_sectors, true);
}

/*----- room ------------------------------------------------------------*/

static int
persistent_allocate_locked (struct exception_store *any, uint64_t *new_chunk)
{
  struct persistent_store *store = persistent_store_of (any);
  /* The area in which the list would end with one more record. */
  uint64_t last_area = (store->record_limit + 1) / store->epa;

  if (area_chunk (store->epa, last_area) >= any->store_chunks)
    return -ENOSPC;
  if (!exception_store_pop_released (any, new_chunk)) {
    if (any->next_free >= any->store_chunks)
      return -ENOSPC;
    *new_chunk = any->next_free;
    any->next_free = next_data_chunk (store->epa, any->next_free); /* (1) */
  }
  store->record_limit++; /* (2) */
  return 0;
}

static void
persistent_release_locked (struct exception_store *any)
{
  struct persistent_store *store = persistent_store_of (any);

  assert (store->record_limit > 0);
  store->record_limit--;
}

static sector_t
persistent_metadata_sectors_locked (const struct exception_store *any)
{
  const struct persistent_store *store = persistent_store_of (
    (struct exception_store *) any);

  return (store->area_count + 1) * any->chunk_sectors;
}

/*----- committing ------------------------------------------------------*/

/* Write the records FIRST .. area_used - 1 of the current area, in whole
 * sectors, durably.
 */
static int
write_records (struct persistent_store *store, uint64_t first)
{
  uint64_t first_sector = first / RECORDS_PER_SECTOR;
  uint64_t end_sector = div_round_up (store->area_used, RECORDS_PER_SECTOR);

  return store_write (store->base.cow,
                      store->area_image + first_sector * RECORDS_PER_SECTOR,
                      store_area_sector (store, store->current_area) +
                        first_sector,
                      end_sector - first_sector, BDEV_FUA);
}

/* Zero what a crash has left in the sectors behind the one that record
 * FIRST is in.  That sector itself is written whole with the record.
 */
static int
zero_stale_records (struct persistent_store *store, uint64_t first)
{
  uint64_t begin = first / RECORDS_PER_SECTOR + 1;

  if (begin >= store->base.chunk_sectors)
    return 0;
  return store_write (store->base.cow, store->zero_area,
                      store_area_sector (store, store->current_area) + begin,
                      store->base.chunk_sectors - begin, 0);
}

/* A place among the exceptions of all that wait. */
struct commit_cursor {
  const struct list *queue;
  const struct list *link;
  unsigned index;
};

/* The next exception, or NULL behind the last. */
static const struct exception *
next_exception (struct commit_cursor *c)
{
  while (c->link != c->queue) {
    const struct commit *commit = list_entry (c->link, struct commit, link);

    if (c->index < commit->count)
      return &commit->exceptions[c->index++];
    c->link = c->link->next;
    c->index = 0;
  }
  return NULL;
}

/* Add exceptions to the current area until it is full or there are no
 * more, durably.  Their data has been written, but not flushed.  *MORE
 * says if the area became full, so that there may be more.
 */
static int
extend_area (struct persistent_store *store, struct commit_cursor *cursor,
             bool *more)
{
  uint64_t first = store->area_used;
  const struct exception *exception;
  int r;

  while (store->area_used < store->epa &&
         (exception = next_exception (cursor)) != NULL) {
    struct disk_record *record = &store->area_image[store->area_used++];

    record->old_chunk = htole64 (exception->old_chunk);
    record->new_chunk = htole64 (exception->new_chunk);
  }
  *more = store->area_used == store->epa;
  if (store->area_used == first)
    return 0;

  /* The order that matters: data, and zeroes behind the records and in
   * the next area, are durable before a record that leads to them can be.
   */
  if (store->area_is_dirty) { /* (5) */
    r = zero_stale_records (store, first);
    if (r < 0)
      return r;
  }
  if (*more) { /* (4) */
    r = store_write (store->base.cow, store->zero_area,
                     store_area_sector (store, store->current_area + 1),
                     store->base.chunk_sectors, 0);
    if (r < 0)
      return r;
  }
  r = bdev_flush (store->base.cow);
  if (r < 0)
    return r;
  r = write_records (store, first);
  if (r < 0)
    return r;

  store->area_is_dirty = false;
  if (*more) {
    store->current_area++;
    store->area_used = 0;
    memset (store->area_image, 0, sector_to_bytes (store->base.chunk_sectors));
  }
  return 0;
}

/* Commit everything in QUEUE.  Nobody else is committing. */
static int
commit_queue (struct persistent_store *store, const struct list *queue)
{
  struct commit_cursor cursor = { .queue = queue, .link = queue->next };
  bool more = true;
  int r = 0;

  while (r == 0 && more)
    r = extend_area (store, &cursor, &more);
  return r;
}

static int
persistent_commit (struct exception_store *any,
                   const struct exception *exceptions, unsigned count)
{
  struct persistent_store *store = persistent_store_of (any);
  struct commit mine = { .exceptions = exceptions, .count = count };

  cond_init (&mine.wake);
  mutex_lock (&store->base.lock);
  list_push_back (&store->queue, &mine.link);
  while (!mine.is_done) {
    struct list batch, *link;
    int r = store->base.error;

    if (store->is_committing) {
      cond_wait (&mine.wake, &store->base.lock);
      continue;
    }
    /* Nobody is at work: commit for all that wait. */
    list_init (&batch);
    list_splice_back (&batch, &store->queue);
    store->is_committing = true;
    mutex_unlock (&store->base.lock);
    if (r == 0)
      r = commit_queue (store, &batch);
    mutex_lock (&store->base.lock);
    store->is_committing = false;
    if (store->base.error == 0)
      store->base.error = r;
    store->area_count = store->current_area + 1;
    list_for_each (link, &batch) {
      struct commit *commit = list_entry (link, struct commit, link);

      commit->is_done = true;
      commit->result = r;
      if (commit != &mine)
        cond_signal (&commit->wake);
    }
    /* Of those that came meanwhile one goes on. */
    if (!list_is_empty (&store->queue))
      cond_signal (&list_entry (store->queue.next, struct commit, link)->wake);
  }
  mutex_unlock (&store->base.lock);
  cond_destroy (&mine.wake);
  return mine.result;
}

/*----- the kind --------------------------------------------------------*/

static int
persistent_invalidate (struct exception_store *store)
{
  return write_header (store->cow, store->chunk_sectors, false);
}

static void
persistent_free (struct exception_store *any)
{
  struct persistent_store *store = persistent_store_of (any);

  assert (list_is_empty (&store->queue));
  free (store->zero_area);
  free (store->area_image);
  free (store);
}

const struct exception_store_ops persistent_store_ops = {
  .allocate_locked = persistent_allocate_locked,
  .release_locked = persistent_release_locked,
  .metadata_sectors_locked = persistent_metadata_sectors_locked,
  .commit = persistent_commit,
  .invalidate = persistent_invalidate,
  .free = persistent_free,
};
