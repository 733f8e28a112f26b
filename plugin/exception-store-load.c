/* Opening a persistent store: reading all of it, and believing nothing.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Time and memory are bounded by what the store and its origin can hold:
 * every record is for another chunk of the origin, and every area is at a
 * place of its own.
 */

#include <config.h>

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "exception-store-impl.h"
#include "log-sink.h"

#define REMEDY \
  "restore the file from a copy, or give the snapshot up (in a volume with " \
  "discard-snapshot=)"

static int
read_header (struct persistent_store *store)
{
  union {
    struct disk_header header;
    char sector[SECTOR_SIZE];
  } u __attribute__ ((aligned (SECTOR_SIZE)));
  const char *name = bdev_name (store->base.cow);
  uint32_t chunk;
  int r;

  if (bdev_sectors (store->base.cow) < 1) {
    log_error ("%s: the file is empty, not a COW store; " REMEDY, name);
    return -EINVAL;
  }
  r = store_read (store->base.cow, &u, 0, 1);
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
  store->base.is_valid = u.header.valid != 0;
  store->base.chunk_sectors = chunk;
  store->epa = records_per_area (chunk);
  if (bdev_sectors (store->base.cow) <
      exception_store_min_size (STORE_PERSISTENT, chunk)) {
    log_error ("%s: %" PRIu64 " bytes are too few for chunks of %" PRIu32
               " sectors, the file has been cut short; " REMEDY,
               name, sector_to_bytes (bdev_sectors (store->base.cow)), chunk);
    return -EINVAL;
  }
  return 0;
}

/* What the reading of all areas remembers. */
struct load {
  struct persistent_store *store;
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
  struct persistent_store *store = load->store;
  const char *name = bdev_name (store->base.cow);
  uint64_t origin_chunks = div_round_up (store->origin_sectors,
                                         store->base.chunk_sectors);
  int r;

  if (exception->old_chunk >= origin_chunks) {
    log_error (
      "%s: record %" PRIu64 ": old chunk %" PRIu64
      " is outside the volume, which has %" PRIu64
      " chunks: the store is damaged or belongs to another volume; " REMEDY,
      name, index, exception->old_chunk, origin_chunks);
    return -EINVAL;
  }
  if (exception->new_chunk >= store->base.store_chunks) {
    log_error ("%s: record %" PRIu64 ": new chunk %" PRIu64
               " is outside the store, which has %" PRIu64
               " chunks: the file is damaged or has been cut short; " REMEDY,
               name, index, exception->new_chunk, store->base.store_chunks);
    return -EINVAL;
  }
  if (is_area_chunk (store->epa, exception->new_chunk)) {
    log_error ("%s: record %" PRIu64 ": new chunk %" PRIu64
               " is one of the store's own areas: the file is damaged; " REMEDY,
               name, index, exception->new_chunk);
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
  if (exception->new_chunk >= store->base.next_free)
    store->base.next_free = next_data_chunk (store->epa, exception->new_chunk);
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
                 bdev_name (load->store->base.cow), load->new_chunks[i]);
      return -EINVAL;
    }
  }
  return 0;
}

/* More holes than this are not remembered: they are lost, not harmful. */
#define MAX_HOLES 65536

/* Data chunks that have no record, because a crash came before it, can be
 * given out again.  The new chunks are sorted.
 */
static int
collect_holes (struct load *load)
{
  struct persistent_store *store = load->store;
  uint64_t chunk = 2;
  size_t i;

  for (i = 0; i < load->count; ++i) {
    for (; chunk < load->new_chunks[i];
         chunk = next_data_chunk (store->epa, chunk)) {
      int r;

      if (store->base.released_count == MAX_HOLES)
        return 0;
      r = exception_store_push_released (&store->base, chunk);
      if (r < 0)
        return r;
    }
    chunk = next_data_chunk (store->epa, chunk);
  }
  return 0;
}

/* Read area AREA into the image and load its records.  *COUNT is how many
 * there are: fewer than epa in the last area.
 */
static int
load_area (struct load *load, uint64_t area, uint64_t *count)
{
  struct persistent_store *store = load->store;
  const char *name = bdev_name (store->base.cow);
  uint64_t chunk = area_chunk (store->epa, area);
  uint64_t i;
  int r;

  if (chunk >= store->base.store_chunks) {
    log_error ("%s: area %" PRIu64 " is full and the next one would be "
               "behind the end of the store: the list of records has no "
               "end; " REMEDY,
               name, area - 1);
    return -EINVAL;
  }
  r = store_read (store->base.cow, store->area_image,
                  chunk * store->base.chunk_sectors, store->base.chunk_sectors);
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
exception_store_load (struct exception_store *any, exception_load_fn fn,
                      void *opaque)
{
  struct persistent_store *store = persistent_store_of (any);
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
  if (r == 0)
    r = collect_holes (&load);
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

int
exception_store_open (struct block_device *cow, sector_t origin_sectors,
                      struct exception_store **store)
{
  struct persistent_store *s = calloc (1, sizeof *s);
  int r;

  if (s == NULL)
    return -ENOMEM;
  s->base.cow = cow;
  s->origin_sectors = origin_sectors;
  r = read_header (s);
  if (r < 0)
    goto err_free_store;
  r = alloc_area (s->base.chunk_sectors, &s->area_image);
  if (r < 0)
    goto err_free_store;
  r = alloc_area (s->base.chunk_sectors, &s->zero_area);
  if (r < 0)
    goto err_free_image;

  s->area_count = 1;
  list_init (&s->queue);
  exception_store_init (&s->base, &persistent_store_ops, 2);
  *store = &s->base;
  return 0;

err_free_image:
  free (s->area_image);
err_free_store:
  free (s);
  return r;
}
