/* What snapshot.c and snapshot-copy.c share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_SNAPSHOT_IMPL_H
#define DM_SNAPSHOT_IMPL_H

#include <stdatomic.h>

#include "bits.h"
#include "exception-store.h"
#include "exception-table.h"
#include "list.h"
#include "snapshot.h"
#include "sync.h"

#define PENDING_BUCKETS 256U

/* A chunk that is being copied; on the stack of the thread that does. */
struct pending {
  struct list link;
  uint64_t chunk;
};

/* A read from the origin of chunks that are not in the table. */
struct tracked_read {
  struct list link;
  uint64_t first;
  uint64_t last;
};

struct snapshot {
  struct target target;
  struct target view;
  char *name;
  bool is_read_only;
  enum on_cow_error on_cow_error;
  snapshot_broken_fn broken;
  void *opaque;

  struct target *origin;
  struct block_device *origin_bdev; /* the same, for kcopyd */
  struct block_device *cow;
  struct exception_store *store;
  struct kcopyd_client *kcopyd;
  struct snapshot *below;
  sector_t chunk_sectors;
  unsigned chunk_shift; /* sectors to chunks */
  uint64_t chunk_count;

  /* A bit for each chunk of the origin that may be overwritten, because
   * the snapshot has it and nobody reads it from the origin any more.
   */
  _Atomic uint64_t *safe;

  atomic_bool is_broken;
  struct mutex break_lock; /* held while breaking is made durable */
  atomic_uint refused_writes;

  struct mutex lock; /* all below */
  struct cond changed;
  struct exception_table *table;
  struct list pending[PENDING_BUCKETS];
  struct list tracked;
};

static inline bool
snapshot_chunk_is_safe (const struct snapshot *s, uint64_t chunk)
{
  return atomic_load_explicit (&s->safe[chunk / 64], memory_order_acquire) >>
           chunk % 64 &
         1;
}

static inline uint64_t
snapshot_chunk_of (const struct snapshot *s, sector_t sector)
{
  return sector >> s->chunk_shift;
}

/* Copy what is missing of chunks FIRST .. LAST into the store.  Returns 0
 * when all are safe, or why not: a negative errno.  Does not break the
 * snapshot.  *WHY, of WHY_BYTES, tells what failed.
 */
#define SNAPSHOT_WHY_BYTES 256
int snapshot_copy_chunks (struct snapshot *s, uint64_t first, uint64_t last,
                          char why[SNAPSHOT_WHY_BYTES]);

#endif /* DM_SNAPSHOT_IMPL_H */
