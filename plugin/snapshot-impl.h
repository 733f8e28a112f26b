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

/* The next newer device: where chunks that are not in the store are read.
 * It changes when snapshots come and go; who uses it when it does goes on
 * with the one that he began with.
 */
struct snapshot_origin {
  struct target *target;
  struct block_device *bdev; /* the same, for kcopyd */
  unsigned users;            /* reads and copies; under the snapshot's lock */
};

/* A read from the origin of chunks that are not in the table. */
struct tracked_read {
  struct list link;
  struct snapshot_origin *origin;
  uint64_t first;
  uint64_t last;
};

/* A name that it has, or has had, or was to have. */
struct label {
  struct label *next;
  char text[];
};

struct snapshot {
  struct target target;
  struct target view;
  atomic_uint references;
  _Atomic (const char *) name; /* one of: */
  struct label *labels;
  bool is_read_only;
  enum on_cow_error on_cow_error;
  snapshot_broken_fn broken;
  void *opaque;

  struct block_device *cow;
  struct exception_store *store;
  struct kcopyd_client *kcopyd;
  struct snapshot *below;
  sector_t chunk_sectors;
  unsigned chunk_shift; /* sectors to chunks */
  uint64_t chunk_count;
  bool can_be_full;  /* the store is smaller than all chunks need */
  bool is_transient; /* what is in the store ends with the server */

  /* A bit for each chunk of the origin that may be overwritten, because
   * the snapshot has it and nobody reads it from the origin any more.
   */
  _Atomic uint64_t *safe;

  atomic_bool is_broken;
  atomic_bool is_leaving;  /* takes no chunks, and no requests */
  atomic_uint requests;    /* of its own clients, going on */
  struct mutex break_lock; /* held while breaking is made durable */
  atomic_uint refused_writes;
  atomic_uint fill_warned; /* per cent of the store, told to the log */

  struct mutex lock; /* all below */
  struct cond changed;
  struct snapshot_origin *origin;
  struct exception_table *table;
  unsigned pending_count;
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
 * when all are safe, or why not: a negative errno, -ESTALE if it is leaving.
 * Does not break the snapshot.  *WHY, of WHY_BYTES, tells what failed.
 */
#define SNAPSHOT_WHY_BYTES 256
int snapshot_copy_chunks (struct snapshot *s, uint64_t first, uint64_t last,
                          char why[SNAPSHOT_WHY_BYTES]);

extern const struct target_ops snapshot_ops, snapshot_view_ops;

/* A request of its own clients has ended. */
void snapshot_request_end (struct snapshot *s);

#endif /* DM_SNAPSHOT_IMPL_H */
