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

  /* NULL, or what is told of writes of its clients: snapshot_watch. */
  _Atomic (_Atomic uint64_t *) written;

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

/*----- windows: snapshot-copy.c ----------------------------------------*/

#define WINDOW_CHUNKS 64

/* What one thread copies at a time for one snapshot: some of the chunks FIRST
 * .. LAST, at most WINDOW_CHUNKS.  The functions stand in the order in which
 * they are called.
 */
struct copy_window {
  struct snapshot *s;
  struct snapshot_origin *origin; /* if anything is claimed */
  uint64_t first;
  uint64_t last;
  unsigned claim_count;
  struct pending claims[WINDOW_CHUNKS];
  struct exception exceptions[WINDOW_CHUNKS]; /* for each claim */
  char *why; /* of SNAPSHOT_WHY_BYTES: what has failed */
};

/* Claim all chunks of the window that are neither safe nor pending.  Returns
 * 0, or -ESTALE: the snapshot takes no more.
 */
int copy_window_claim (struct copy_window *w);

/* A chunk of the store for each claim, or for none; and give all back: they
 * will not be committed.
 */
int copy_window_allocate (struct copy_window *w);
void copy_window_release (struct copy_window *w);

/* Where COUNT claims from FIRST on, that are neighbours, are copied from, and
 * where to; claim INDEX is a neighbour of the one before, in both.
 */
struct io_region copy_window_source (const struct copy_window *w,
                                     unsigned first, unsigned count);
struct io_region copy_window_place (const struct copy_window *w, unsigned first,
                                    const struct io_region *source);
bool copy_window_goes_on (const struct copy_window *w, unsigned index);

/* What kcopyd said of its copies: 0, or -EIO, and why. */
int copy_window_result (const struct copy_window *w, int read_err,
                        unsigned write_err);

/* All are copied: make the exceptions durable, let readers find them, and
 * writers go.
 */
int copy_window_commit (struct copy_window *w);

/* Give all claims back, done or not; if there are any. */
void copy_window_end (struct copy_window *w);

/* Wait until nobody is copying a chunk of the window any more; with no claim.
 */
void copy_window_wait (struct copy_window *w);

/* Nothing is left to do: otherwise it is this thread's turn again. */
bool copy_window_is_safe (const struct copy_window *w);

extern const struct target_ops snapshot_ops, snapshot_view_ops;

/* A request of its own clients has ended. */
void snapshot_request_end (struct snapshot *s);

#endif /* DM_SNAPSHOT_IMPL_H */
