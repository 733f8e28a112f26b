/* Where a snapshot's exceptions live: what all kinds of stores have.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Locks: `lock` is a leaf, not held during I/O.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "bits.h"
#include "exception-store-impl.h"

void
exception_store_init (struct exception_store *store,
                      const struct exception_store_ops *ops, uint64_t next_free)
{
  store->ops = ops;
  store->store_chunks = bdev_sectors (store->cow) / store->chunk_sectors;
  store->next_free = next_free;
  mutex_init (&store->lock);
}

void
exception_store_close (struct exception_store *store)
{
  if (store == NULL)
    return;
  mutex_destroy (&store->lock);
  free (store->released);
  store->ops->free (store);
}

/*----- sizes -----------------------------------------------------------*/

sector_t
exception_store_full_size (enum exception_store_kind kind,
                           sector_t origin_sectors, sector_t chunk_sectors)
{
  uint64_t exceptions = div_round_up (origin_sectors, chunk_sectors);

  return kind == STORE_TRANSIENT
           ? exceptions * chunk_sectors
           : persistent_store_full_size (exceptions, chunk_sectors);
}

sector_t
exception_store_min_size (enum exception_store_kind kind,
                          sector_t chunk_sectors)
{
  /* One chunk; header and area before it. */
  return kind == STORE_TRANSIENT ? chunk_sectors : 3 * chunk_sectors;
}

/*----- facts -----------------------------------------------------------*/

sector_t
exception_store_chunk_sectors (const struct exception_store *store)
{
  return store->chunk_sectors;
}

enum exception_store_kind
exception_store_kind (const struct exception_store *store)
{
  return store->ops == &transient_store_ops ? STORE_TRANSIENT
                                            : STORE_PERSISTENT;
}

bool
exception_store_is_valid (struct exception_store *store)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->lock);
  return store->is_valid;
}

int
exception_store_error (struct exception_store *store)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->lock);
  return store->error;
}

void
exception_store_get_usage (struct exception_store *store,
                           struct exception_store_usage *usage)
{
  const struct exception_store_ops *ops = store->ops;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->lock);
  usage->total_sectors = bdev_sectors (store->cow);
  usage->used_sectors = (store->next_free - store->released_count) *
                        store->chunk_sectors;
  usage->metadata_sectors = ops->metadata_sectors_locked != NULL
                              ? ops->metadata_sectors_locked (store)
                              : 0;
}

/*----- chunks ----------------------------------------------------------*/

int
exception_store_push_released (struct exception_store *store, uint64_t chunk)
{
  if (store->released_count == store->released_capacity) {
    size_t capacity = MAX_OF (store->released_capacity * 2, 64);
    uint64_t *p = realloc (store->released, capacity * sizeof *p);

    if (p == NULL)
      return -ENOMEM;
    store->released = p;
    store->released_capacity = capacity;
  }
  store->released[store->released_count++] = chunk;
  return 0;
}

bool
exception_store_pop_released (struct exception_store *store, uint64_t *chunk)
{
  if (store->released_count == 0)
    return false;
  *chunk = store->released[--store->released_count];
  return true;
}

int
exception_store_allocate (struct exception_store *store, uint64_t *new_chunk)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->lock);
  return store->ops->allocate_locked (store, new_chunk);
}

uint64_t
exception_store_room (struct exception_store *store)
{
  uint64_t epa = records_per_area (store->chunk_sectors), left, areas;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->lock);
  left = store->store_chunks - MIN_OF (store->next_free, store->store_chunks) +
         store->released_count;
  /* As if it were persistent, with an area begun, and one to follow. */
  areas = left / epa + 2;
  return left > areas ? left - areas : 0;
}

void
exception_store_release (struct exception_store *store, uint64_t new_chunk)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->lock);
  if (store->ops->release_locked != NULL)
    store->ops->release_locked (store);
  /* Without memory the chunk is lost until the store is opened again. */
  (void) exception_store_push_released (store, new_chunk);
}

/*----- commits ---------------------------------------------------------*/

int
exception_store_commit (struct exception_store *store,
                        const struct exception *exceptions, unsigned count)
{
  if (count == 0)
    return 0;
  return store->ops->commit != NULL
           ? store->ops->commit (store, exceptions, count)
           : exception_store_error (store);
}

void
exception_store_poison (struct exception_store *store, int error)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->lock);
  if (store->error == 0)
    store->error = error;
}

int
exception_store_invalidate (struct exception_store *store)
{
  mutex_lock (&store->lock);
  store->is_valid = false;
  mutex_unlock (&store->lock);
  return store->ops->invalidate != NULL ? store->ops->invalidate (store) : 0;
}
