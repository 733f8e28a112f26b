/* Fuzzer: any bytes as the store of a snapshot.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Input: two bytes that give the origin's size, two that give the store's,
 * and the store's bytes.  Any store must be refused without a write, or be
 * one that works: what is committed is there when it is opened again, with
 * all that was there before.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "exception-store.h"
#include "exception-table.h"
#include "fuzz.h"

#define HEAD_BYTES 4
#define MAX_STORE_SECTORS 2048

struct loaded {
  struct exception_table *table;
  uint64_t count;
  uint64_t sum; /* the same for the same exceptions in any order */
};

static int
load (void *opaque, const struct exception *e)
{
  struct loaded *l = opaque;
  int r = exception_table_insert (l->table, e->old_chunk, e->new_chunk);

  if (r < 0)
    return r;
  l->count++;
  l->sum += (e->old_chunk + 1) * 0x9e3779b97f4a7c15U ^
            (e->new_chunk + 1) * 0xc2b2ae3d27d4eb4fU;
  return 0;
}

/* Open and load.  Returns 0 and the store, or why not. */
static int
open_store (struct block_device *cow, sector_t origin_sectors,
            struct exception_store **store, struct loaded *loaded)
{
  uint64_t chunks;
  int r = exception_store_open (cow, origin_sectors, store);

  memset (loaded, 0, sizeof *loaded);
  if (r < 0)
    return r;
  chunks = div_round_up (origin_sectors,
                         exception_store_chunk_sectors (*store));
  fuzz_assert (exception_table_create (chunks, &loaded->table) == 0);
  r = exception_store_load (*store, load, loaded);
  if (r < 0)
    exception_store_close (*store);
  return r;
}

static void
close_store (struct exception_store *store, struct loaded *loaded)
{
  exception_store_close (store);
  exception_table_destroy (loaded->table);
}

/* Commit one more exception, if there is room and an old chunk left. */
static bool
commit_one (struct exception_store *store, uint64_t chunks,
            const struct loaded *l)
{
  struct exception e;

  if (!exception_store_is_valid (store) || l->count == chunks)
    return false;
  for (e.old_chunk = 0;; ++e.old_chunk)
    if (!exception_table_lookup (l->table, e.old_chunk, 1).is_mapped)
      break;
  if (exception_store_allocate (store, &e.new_chunk) < 0)
    return false;
  fuzz_assert (exception_store_commit (store, &e, 1) == 0);
  return true;
}

/* A store that was taken. */
static void
use_store (struct block_device *cow, sector_t origin_sectors,
           struct exception_store *store, struct loaded *before)
{
  uint64_t chunks = div_round_up (origin_sectors,
                                  exception_store_chunk_sectors (store));
  struct exception_store_usage usage;
  struct loaded after;
  bool has_grown;

  exception_store_get_usage (store, &usage);
  fuzz_assert (usage.used_sectors <= usage.total_sectors &&
               usage.metadata_sectors <= usage.used_sectors);
  has_grown = commit_one (store, chunks, before);
  exception_store_close (store);

  fuzz_assert (open_store (cow, origin_sectors, &store, &after) == 0);
  fuzz_assert (after.count == before->count + has_grown);
  fuzz_assert (has_grown || after.sum == before->sum);
  fuzz_assert (exception_store_invalidate (store) == 0);
  close_store (store, &after);

  fuzz_assert (open_store (cow, origin_sectors, &store, &after) == 0);
  fuzz_assert (!exception_store_is_valid (store));
  close_store (store, &after);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct exception_store *store;
  sector_t origin_sectors, sectors;
  struct block_device *cow;
  struct loaded loaded;
  struct fuzz_disk disk;
  int r;

  if (size < HEAD_BYTES)
    return -1;
  origin_sectors = 1 + data[0] + 256 * (sector_t) data[1];
  sectors = (data[2] + 256 * (sector_t) data[3]) % (MAX_STORE_SECTORS + 1);
  cow = fuzz_disk_open (&disk, data + HEAD_BYTES, size - HEAD_BYTES, sectors);
  r = open_store (cow, origin_sectors, &store, &loaded);
  fuzz_assert (!disk.was_written);
  if (r == 0)
    use_store (cow, origin_sectors, store, &loaded);
  exception_table_destroy (loaded.table);
  fuzz_disk_close (&disk, cow);
  return 0;
}
