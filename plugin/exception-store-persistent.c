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
 * Layout: header in chunk 0; area a in chunk 1 + a * (epa + 1), where epa
 * is the number of records in an area; data in all other chunks, given
 * out in rising order.  A record whose new chunk is 0 ends the list.
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
 *     durably.
 *
 * Locks: `lock` is a leaf, not held during I/O.
 */

#include <config.h>

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "exception-store.h"
#include "list.h"
#include "log-sink.h"
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

/* One thread's exceptions, waiting to be committed. */
struct commit {
  struct list link;
  const struct exception *exceptions;
  unsigned count;
  bool is_done;
  int result;
};

struct exception_store {
  struct block_device *cow;
  sector_t chunk_sectors;
  sector_t origin_sectors;
  uint64_t epa;
  uint64_t store_chunks;

  struct mutex lock;
  struct cond committed;
  bool is_valid;
  int error; /* once a commit has failed, all do */
  uint64_t next_free;
  uint64_t record_limit;
  uint64_t area_count; /* areas in use, for the usage */
  struct list queue; /* of struct commit */
  bool is_committing;

  /* Only the one that is committing. */
  uint64_t current_area;
  uint64_t area_used;
  bool area_is_dirty; /* the rest of the area on disk may not be zeroes */
  struct disk_record *area_image;
  struct disk_record *zero_area;
};

/*----- geometry --------------------------------------------------------*/

static uint64_t
records_per_area (sector_t chunk_sectors)
{
  return sector_to_bytes (chunk_sectors) / sizeof (struct disk_record);
}

static uint64_t
area_chunk (uint64_t epa, uint64_t area)
{
  return 1 + area * (epa + 1);
}

static bool
is_area_chunk (uint64_t epa, uint64_t chunk)
{
  return chunk % (epa + 1) == 1;
}

static uint64_t
next_data_chunk (uint64_t epa, uint64_t chunk)
{
  return is_area_chunk (epa, chunk + 1) ? chunk + 2 : chunk + 1;
}

/* Chunks of a store with E exceptions: header, data, areas. */
static uint64_t
chunks_for_exceptions (uint64_t epa, uint64_t exceptions)
{
  return 1 + exceptions + exceptions / epa + 1;
}

sector_t
exception_store_full_size (sector_t origin_sectors, sector_t chunk_sectors)
{
  uint64_t exceptions = div_round_up (origin_sectors, chunk_sectors);

  return chunks_for_exceptions (records_per_area (chunk_sectors),
                                exceptions) *
         chunk_sectors;
}

sector_t
exception_store_min_size (sector_t chunk_sectors)
{
  return 3 * chunk_sectors; /* header, area, one chunk */
}

/*----- device access ---------------------------------------------------*/

static int
read_sectors (struct block_device *cow, void *buffer, sector_t sector,
              sector_t count)
{
  struct iovec iov = { buffer, sector_to_bytes (count) };

  return bdev_read (cow, &iov, 1, sector);
}

static int
write_sectors (struct block_device *cow, const void *buffer, sector_t sector,
               sector_t count, unsigned flags)
{
  struct iovec iov = { (void *) buffer, sector_to_bytes (count) };

  return bdev_write (cow, &iov, 1, sector, flags);
}

static int
alloc_area (sector_t chunk_sectors, struct disk_record **area)
{
  void *memory;

  if (posix_memalign (&memory, AREA_ALIGN, sector_to_bytes (chunk_sectors)) !=
      0)
    return -ENOMEM;
  memset (memory, 0, sector_to_bytes (chunk_sectors));
  *area = memory;
  return 0;
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
  return write_sectors (cow, &u, 0, 1, BDEV_FUA);
}

int
exception_store_format (struct block_device *cow, sector_t chunk_sectors)
{
  int r;

  assert (is_power_of_2 (chunk_sectors));
  assert (chunk_sectors <= EXCEPTION_STORE_MAX_CHUNK_SECTORS);
  if (bdev_sectors (cow) < exception_store_min_size (chunk_sectors))
    return -ENOSPC;

  /* The header last: until it is there this is not a store, and once it
   * is, its first area is empty.
   */
  r = bdev_write_zeroes (cow, 0, 2 * chunk_sectors, BDEV_FUA | BDEV_UNMAP);
  if (r < 0)
    return r;
  return write_header (cow, chunk_sectors, true);
}

/*----- opening ---------------------------------------------------------*/

#define REMEDY \
  "restore the file from a copy, or give the snapshot up with " \
  "discard-snapshot="

static int
read_header (struct exception_store *store)
{
  union {
    struct disk_header header;
    char sector[SECTOR_SIZE];
  } u __attribute__ ((aligned (SECTOR_SIZE)));
  const char *name = bdev_name (store->cow);
  uint32_t chunk;
  int r;

  if (bdev_sectors (store->cow) < 1) {
    log_error ("%s: the file is empty, not a COW store; " REMEDY, name);
    return -EINVAL;
  }
  r = read_sectors (store->cow, &u, 0, 1);
  if (r < 0) {
    log_error ("%s: the header cannot be read: %s", name, errno_text (r));
    return r;
  }
  if (le32toh (u.header.magic) != STORE_MAGIC) {
    log_error ("%s: the header is damaged, or this is no COW store "
               "(magic 0x%08" PRIx32 ", not 0x%08" PRIx32 "); " REMEDY,
               name, le32toh (u.header.magic), STORE_MAGIC);
    return -EINVAL;
  }
  if (le32toh (u.header.version) != STORE_VERSION) {
    log_error ("%s: the COW store has version %" PRIu32 ", only version %d "
               "is known; use the program that wrote it, or give the "
               "snapshot up with discard-snapshot=",
               name, le32toh (u.header.version), STORE_VERSION);
    return -EINVAL;
  }
  chunk = le32toh (u.header.chunk_sectors);
  if (!is_power_of_2 (chunk) || chunk > EXCEPTION_STORE_MAX_CHUNK_SECTORS) {
    log_error ("%s: the header is damaged: a chunk of %" PRIu32
               " sectors is not a power of two up to %d; " REMEDY,
               name, chunk, EXCEPTION_STORE_MAX_CHUNK_SECTORS);
    return -EINVAL;
  }
  store->is_valid = u.header.valid != 0;
  store->chunk_sectors = chunk;
  store->epa = records_per_area (chunk);
  store->store_chunks = bdev_sectors (store->cow) / chunk;
  if (bdev_sectors (store->cow) < exception_store_min_size (chunk)) {
    log_error ("%s: %" PRIu64 " bytes are too few for chunks of %" PRIu32
               " sectors, the file has been cut short; " REMEDY,
               name, sector_to_bytes (bdev_sectors (store->cow)), chunk);
    return -EINVAL;
  }
  return 0;
}

/* What the reading of all areas remembers. */
struct load {
  struct exception_store *store;
  exception_load_fn fn;
  void *opaque;
  uint64_t *new_chunks; /* of all records, to find duplicates */
  size_t count;
  size_t capacity;
};

static int
remember_new_chunk (struct load *load, uint64_t new_chunk)
{
  if (load->count == load->capacity) {
    size_t capacity = MAX_OF (load->capacity * 2, 1024);
    uint64_t *p = realloc (load->new_chunks, capacity * sizeof *p);

    if (p == NULL)
      return -ENOMEM;
    load->new_chunks = p;
    load->capacity = capacity;
  }
  load->new_chunks[load->count++] = new_chunk;
  return 0;
}

/* Check one record and hand it on. */
static int
load_record (struct load *load, uint64_t index,
             const struct exception *exception)
{
  struct exception_store *store = load->store;
  const char *name = bdev_name (store->cow);
  uint64_t origin_chunks =
    div_round_up (store->origin_sectors, store->chunk_sectors);
  int r;

  if (exception->old_chunk >= origin_chunks) {
    log_error ("%s: record %" PRIu64 ": old chunk %" PRIu64
               " is outside the volume, which has %" PRIu64
               " chunks: the store is damaged or belongs to another volume; "
               REMEDY, name, index, exception->old_chunk, origin_chunks);
    return -EINVAL;
  }
  if (exception->new_chunk >= store->store_chunks) {
    log_error ("%s: record %" PRIu64 ": new chunk %" PRIu64
               " is outside the store, which has %" PRIu64
               " chunks: the file is damaged or has been cut short; " REMEDY,
               name, index, exception->new_chunk, store->store_chunks);
    return -EINVAL;
  }
  if (is_area_chunk (store->epa, exception->new_chunk)) {
    log_error ("%s: record %" PRIu64 ": new chunk %" PRIu64
               " is one of the store's own areas: the file is damaged; "
               REMEDY, name, index, exception->new_chunk);
    return -EINVAL;
  }
  r = load->fn (load->opaque, exception);
  if (r == -EEXIST) {
    log_error ("%s: record %" PRIu64 ": old chunk %" PRIu64
               " has a record already: the file is damaged; " REMEDY,
               name, index, exception->old_chunk);
    return -EINVAL;
  }
  if (r < 0) {
    log_error ("%s: record %" PRIu64 ": %s", name, index, errno_text (r));
    return r;
  }
  if (exception->new_chunk >= store->next_free)
    store->next_free = next_data_chunk (store->epa, exception->new_chunk);
  return remember_new_chunk (load, exception->new_chunk);
}

static int
compare_chunks (const void *a, const void *b)
{
  uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

  return (x > y) - (x < y);
}

/* No two records may share a new chunk. */
static int
check_new_chunks (struct load *load)
{
  size_t i;

  if (load->count == 0)
    return 0;
  qsort (load->new_chunks, load->count, sizeof load->new_chunks[0],
         compare_chunks);
  for (i = 1; i < load->count; ++i) {
    if (load->new_chunks[i] == load->new_chunks[i - 1]) {
      log_error ("%s: two records share new chunk %" PRIu64
                 ": the file is damaged; " REMEDY,
                 bdev_name (load->store->cow), load->new_chunks[i]);
      return -EINVAL;
    }
  }
  return 0;
}

/* Read area AREA into the image and load its records.  *COUNT is how many
 * there are: fewer than epa in the last area.
 */
static int
load_area (struct load *load, uint64_t area, uint64_t *count)
{
  struct exception_store *store = load->store;
  const char *name = bdev_name (store->cow);
  uint64_t chunk = area_chunk (store->epa, area);
  uint64_t i;
  int r;

  if (chunk >= store->store_chunks) {
    log_error ("%s: area %" PRIu64 " is full and the next one would be "
               "behind the end of the store: the list of records has no "
               "end; " REMEDY,
               name, area - 1);
    return -EINVAL;
  }
  r = read_sectors (store->cow, store->area_image,
                    chunk * store->chunk_sectors, store->chunk_sectors);
  if (r < 0) {
    log_error ("%s: area %" PRIu64 " cannot be read: %s", name, area,
               errno_text (r));
    return r;
  }
  for (i = 0; i < store->epa; ++i) {
    struct exception exception = {
      .old_chunk = le64toh (store->area_image[i].old_chunk),
      .new_chunk = le64toh (store->area_image[i].new_chunk),
    };

    if (exception.new_chunk == 0)
      break;
    r = load_record (load, area * store->epa + i, &exception);
    if (r < 0)
      return r;
  }
  *count = i;
  return 0;
}

int
exception_store_load (struct exception_store *store, exception_load_fn fn,
                      void *opaque)
{
  struct load load = { .store = store, .fn = fn, .opaque = opaque };
  uint64_t area, count = 0, i;
  int r;

  for (area = 0;; ++area) {
    r = load_area (&load, area, &count);
    if (r < 0 || count < store->epa)
      break;
  }
  if (r == 0)
    r = check_new_chunks (&load);
  free (load.new_chunks);
  if (r < 0)
    return r;

  store->current_area = area;
  store->area_used = count;
  store->area_count = area + 1;
  store->record_limit = area * store->epa + count;
  /* Records behind the terminator are what a crash has left of a commit
   * that was never acknowledged.  They must not come to life when the
   * records before them are filled in: see (3).
   */
  for (i = count; i < store->epa; ++i) {
    if (store->area_image[i].old_chunk != 0 ||
        store->area_image[i].new_chunk != 0) {
      store->area_image[i] = (struct disk_record){ 0 };
      store->area_is_dirty = true;
    }
  }
  return 0;
}

int
exception_store_open (struct block_device *cow, sector_t origin_sectors,
                      struct exception_store **store)
{
  struct exception_store *s = calloc (1, sizeof *s);
  int r;

  if (s == NULL)
    return -ENOMEM;
  s->cow = cow;
  s->origin_sectors = origin_sectors;
  r = read_header (s);
  if (r < 0)
    goto err_free_store;
  r = alloc_area (s->chunk_sectors, &s->area_image);
  if (r < 0)
    goto err_free_store;
  r = alloc_area (s->chunk_sectors, &s->zero_area);
  if (r < 0)
    goto err_free_image;

  s->next_free = 2;
  s->area_count = 1;
  mutex_init (&s->lock);
  cond_init (&s->committed);
  list_init (&s->queue);
  *store = s;
  return 0;

err_free_image:
  free (s->area_image);
err_free_store:
  free (s);
  return r;
}

void
exception_store_close (struct exception_store *store)
{
  if (store == NULL)
    return;
  assert (list_is_empty (&store->queue));
  cond_destroy (&store->committed);
  mutex_destroy (&store->lock);
  free (store->zero_area);
  free (store->area_image);
  free (store);
}

sector_t
exception_store_chunk_sectors (const struct exception_store *store)
{
  return store->chunk_sectors;
}

bool
exception_store_is_valid (struct exception_store *store)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->lock);
  return store->is_valid;
}

void
exception_store_get_usage (struct exception_store *store,
                           struct exception_store_usage *usage)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->lock);

  usage->total_sectors = bdev_sectors (store->cow);
  usage->used_sectors = store->next_free * store->chunk_sectors;
  usage->metadata_sectors = (store->area_count + 1) * store->chunk_sectors;
}

/*----- changing --------------------------------------------------------*/

int
exception_store_allocate (struct exception_store *store, uint64_t *new_chunk)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->lock);
  /* The area in which the list would end with one more record. */
  uint64_t last_area = (store->record_limit + 1) / store->epa;

  if (store->next_free >= store->store_chunks ||
      area_chunk (store->epa, last_area) >= store->store_chunks)
    return -ENOSPC;
  *new_chunk = store->next_free;
  store->next_free = next_data_chunk (store->epa, store->next_free); /* (1) */
  store->record_limit++; /* (2) */
  return 0;
}

/* Write the records FIRST .. area_used - 1 of the current area, in whole
 * sectors, durably.
 */
static int
write_area (struct exception_store *store, uint64_t first)
{
  uint64_t first_sector = first / RECORDS_PER_SECTOR;
  uint64_t end_sector = div_round_up (store->area_used, RECORDS_PER_SECTOR);
  sector_t area_sector =
    area_chunk (store->epa, store->current_area) * store->chunk_sectors;

  if (store->area_is_dirty) {
    first_sector = 0;
    end_sector = store->chunk_sectors;
  }
  return write_sectors (
    store->cow, store->area_image + first_sector * RECORDS_PER_SECTOR,
    area_sector + first_sector, end_sector - first_sector, BDEV_FUA);
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
extend_area (struct exception_store *store, struct commit_cursor *cursor,
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

  /* The order that matters: data and the next area's zeroes are durable
   * before a record that leads to them can be.
   */
  if (*more) { /* (4) */
    r = write_sectors (
      store->cow, store->zero_area,
      area_chunk (store->epa, store->current_area + 1) *
        store->chunk_sectors,
      store->chunk_sectors, 0);
    if (r < 0)
      return r;
  }
  r = bdev_flush (store->cow);
  if (r < 0)
    return r;
  r = write_area (store, first);
  if (r < 0)
    return r;

  store->area_is_dirty = false;
  if (*more) {
    store->current_area++;
    store->area_used = 0;
    memset (store->area_image, 0, sector_to_bytes (store->chunk_sectors));
  }
  return 0;
}

/* Commit everything in QUEUE.  Nobody else is committing. */
static int
commit_queue (struct exception_store *store, const struct list *queue)
{
  struct commit_cursor cursor = { .queue = queue, .link = queue->next };
  bool more = true;
  int r = 0;

  while (r == 0 && more)
    r = extend_area (store, &cursor, &more);
  return r;
}

int
exception_store_commit (struct exception_store *store,
                        const struct exception *exceptions, unsigned count)
{
  struct commit mine = { .exceptions = exceptions, .count = count };

  if (count == 0)
    return 0;

  mutex_lock (&store->lock);
  list_push_back (&store->queue, &mine.link);
  while (!mine.is_done) {
    struct list batch, *link;
    int r = store->error;

    if (store->is_committing) {
      cond_wait (&store->committed, &store->lock);
      continue;
    }
    /* Nobody is at work: commit for all that wait. */
    list_init (&batch);
    list_splice_back (&batch, &store->queue);
    store->is_committing = true;
    mutex_unlock (&store->lock);
    if (r == 0)
      r = commit_queue (store, &batch);
    mutex_lock (&store->lock);
    store->is_committing = false;
    store->error = r;
    store->area_count = store->current_area + 1;
    list_for_each (link, &batch) {
      struct commit *commit = list_entry (link, struct commit, link);

      commit->is_done = true;
      commit->result = r;
    }
    cond_broadcast (&store->committed);
  }
  mutex_unlock (&store->lock);
  return mine.result;
}

int
exception_store_invalidate (struct exception_store *store)
{
  mutex_lock (&store->lock);
  store->is_valid = false;
  mutex_unlock (&store->lock);
  return write_header (store->cow, store->chunk_sectors, false);
}
