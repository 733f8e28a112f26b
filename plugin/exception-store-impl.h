/* What the files of the exception stores share.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Layout of a persistent one: header in chunk 0; area a in chunk
 * 1 + a * (epa + 1), where epa is the number of records in an area; data in
 * all other chunks, given out in rising order.  A record whose new chunk is 0
 * ends the list.
 */

#ifndef DM_EXCEPTION_STORE_IMPL_H
#define DM_EXCEPTION_STORE_IMPL_H

#include <assert.h>
#include <stddef.h>

#include "exception-store.h"
#include "list.h"
#include "sync.h"

#define STORE_MAGIC UINT32_C (0x70416e53) /* "SnAp" */
#define STORE_VERSION 1

struct disk_header {
  uint32_t magic;
  uint32_t valid;
  uint32_t version;
  uint32_t chunk_sectors;
};

struct disk_record {
  uint64_t old_chunk;
  uint64_t new_chunk;
};

#define RECORDS_PER_SECTOR (SECTOR_SIZE / sizeof (struct disk_record))

/* The memory of areas is aligned for O_DIRECT. */
#define AREA_ALIGN 4096U

struct exception_store;

/* What tells one kind of store from the other.  All may block but those that
 * have the lock.
 */
struct exception_store_ops {
  /* A chunk for one more exception, and room for what is written of it.  The
   * caller holds the lock.  Required.
   */
  int (*allocate_locked) (struct exception_store *store, uint64_t *new_chunk);

  /* One less is going to be committed; its chunk is seen to.  The caller
   * holds the lock.  Optional: nothing but the chunk was taken.
   */
  void (*release_locked) (struct exception_store *store);

  /* How much is not data.  The caller holds the lock.  Optional: nothing. */
  sector_t (*metadata_sectors_locked) (const struct exception_store *store);

  /* As exception_store_commit.  Optional: nothing is written, which fails
   * only if the store is poisoned.
   */
  int (*commit) (struct exception_store *store,
                 const struct exception *exceptions, unsigned count);

  /* Make it durable that the store is invalid.  Optional: nothing is. */
  int (*invalidate) (struct exception_store *store);

  /* Free the store, with what is its kind's own.  Required. */
  void (*free) (struct exception_store *store);
};

/* What all stores have. */
struct exception_store {
  const struct exception_store_ops *ops;
  struct block_device *cow;
  sector_t chunk_sectors;
  uint64_t store_chunks;

  struct mutex lock;
  bool is_valid;
  int error; /* once a commit has failed, all do */
  uint64_t next_free;
  uint64_t *released; /* chunks that were given back, a stack */
  size_t released_count;
  size_t released_capacity;
};

struct persistent_store {
  struct exception_store base;
  sector_t origin_sectors;
  uint64_t epa;

  /* Under the lock. */
  uint64_t record_limit;
  uint64_t area_count; /* areas in use, for the usage */
  struct list queue;   /* of struct commit */
  bool is_committing;

  /* Only the one that is committing. */
  uint64_t current_area;
  uint64_t area_used;
  bool area_is_dirty; /* the rest of the area on disk may not be zeroes */
  struct disk_record *area_image;
  struct disk_record *zero_area;
};

extern const struct exception_store_ops persistent_store_ops,
  transient_store_ops;

static inline struct persistent_store *
persistent_store_of (struct exception_store *store)
{
  assert (store->ops == &persistent_store_ops);
  return (struct persistent_store *) ((char *) store -
                                      offsetof (struct persistent_store, base));
}

/* What is left to do to what all stores have, once its device and its chunks
 * are known: the first chunk for data is NEXT_FREE.
 */
void exception_store_init (struct exception_store *store,
                           const struct exception_store_ops *ops,
                           uint64_t next_free);

/*----- geometry --------------------------------------------------------*/

static inline uint64_t
records_per_area (sector_t chunk_sectors)
{
  return sector_to_bytes (chunk_sectors) / sizeof (struct disk_record);
}

static inline uint64_t
area_chunk (uint64_t epa, uint64_t area)
{
  return 1 + area * (epa + 1);
}

static inline bool
is_area_chunk (uint64_t epa, uint64_t chunk)
{
  return chunk % (epa + 1) == 1;
}

static inline uint64_t
next_data_chunk (uint64_t epa, uint64_t chunk)
{
  return is_area_chunk (epa, chunk + 1) ? chunk + 2 : chunk + 1;
}

/* The sectors of a persistent store for so many exceptions. */
sector_t persistent_store_full_size (uint64_t exceptions,
                                     sector_t chunk_sectors);

/* Remember a data chunk that nobody uses; take one that is remembered, if
 * there is one.  The caller holds the lock, or is alone.  Returns 0 or -ENOMEM;
 * true if there was one.
 */
int exception_store_push_released (struct exception_store *store,
                                   uint64_t chunk);
bool exception_store_pop_released (struct exception_store *store,
                                   uint64_t *chunk);

/* The first sector of area AREA. */
static inline sector_t
store_area_sector (const struct persistent_store *store, uint64_t area)
{
  return area_chunk (store->epa, area) * store->base.chunk_sectors;
}

/* Whole sectors to and from the device. */
static inline int
store_read (struct block_device *cow, void *buffer, sector_t sector,
            sector_t count)
{
  struct iovec iov = { buffer, sector_to_bytes (count) };

  return bdev_read (cow, &iov, 1, sector);
}

static inline int
store_write (struct block_device *cow, const void *buffer, sector_t sector,
             sector_t count, unsigned flags)
{
  struct iovec iov = { (void *) buffer, sector_to_bytes (count) };

  return bdev_write (cow, &iov, 1, sector, flags);
}

#endif /* DM_EXCEPTION_STORE_IMPL_H */
