/* Snapshots: frozen views of a device, kept by copy-on-write.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Snapshots form a chain: volume <- newest <- older <- oldest.  The origin
 * of a snapshot is the next newer device.  A chunk of the volume is copied
 * once, into the newest snapshot, before it is first overwritten; an older
 * snapshot finds what it lacks by looking along the chain.
 */

#ifndef DM_SNAPSHOT_H
#define DM_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "block-device.h"
#include "kcopyd.h"
#include "target.h"

struct snapshot;

enum on_cow_error {
  BREAK_SNAPSHOT,    /* the snapshot is lost, the write goes on */
  BREAK_GUEST_WRITE, /* the write fails, the snapshot is kept */
};

enum snapshot_loss {
  LOSS_IS_UNKNOWN, /* nothing tells it so far */
  LOSS_IS_MARKED,  /* its store does, durably */
};

/* Called when a snapshot is about to become invalid: makes that durable,
 * with the REASON.  Any thread, one call at a time for one snapshot; must
 * not call back.  If it returns an error, it is called again with
 * LOSS_IS_MARKED once the store has been marked instead, when it must not fail.
 * If the store can't be marked either the snapshot stays, and the write that
 * would have spoilt it fails.
 */
typedef int (*snapshot_broken_fn) (void *opaque, struct snapshot *snapshot,
                                   enum snapshot_loss loss, const char *reason);

struct snapshot_params {
  const char *name;                 /* copied */
  struct block_device *cow;         /* holds a store; the snapshot closes it */
  sector_t transient_chunk_sectors; /* not 0: it holds nothing, and is to be a
                                     * transient store of such chunks */
  bool is_valid;                    /* as remembered; a broken one may still be
                              * needed by older ones */
  bool is_read_only;
  enum on_cow_error on_cow_error;
  snapshot_broken_fn broken; /* NULL: the store alone remembers, so that must
                              * work, or the snapshot stays */
  void *opaque;
  /* The next newer device: the mirror under the volume, or a snapshot. */
  struct target *origin;
  sector_t sectors; /* what clients see of it, from its start; 0: all */
};

/* Open a snapshot, and check its store.  Reads only.  On failure `cow` is
 * still the caller's.  Errors: those of exception_store_open and
 * exception_store_open_transient.
 */
int snapshot_open (const struct snapshot_params *params,
                   struct snapshot **snapshot);

/* Close it and its device, and drop the first reference.  Nobody preserves
 * anything in it, nor reads through it: older snapshots are closed, or have
 * another origin.  Its own clients get -EIO from now on.  NULL is ignored.
 */
void snapshot_close (struct snapshot *snapshot);

/* A reference, beside the one that snapshot_close drops, keeps the structure
 * for those that still have the target.
 */
struct snapshot *snapshot_get (struct snapshot *snapshot);
void snapshot_put (struct snapshot *snapshot);

/* The next older snapshot, whose origin this is, or NULL.  Set while nobody
 * writes to the snapshot or to what is above it.
 */
void snapshot_set_below (struct snapshot *snapshot, struct snapshot *below);
struct snapshot *snapshot_get_below (struct snapshot *snapshot);

/* Another next newer device, which reads the same: made first, because
 * that may fail (0 or -ENOMEM), and then switched to.  The switch waits for
 * what still uses the old one, and destroys it.
 */
struct snapshot_origin;
int snapshot_origin_create (struct target *target,
                            struct snapshot_origin **origin);
void snapshot_origin_destroy (struct snapshot_origin *origin);
void snapshot_switch_origin (struct snapshot *snapshot,
                             struct snapshot_origin *origin);
struct target *snapshot_origin_target (struct snapshot *snapshot);

/* Make it invalid, durably, for the reason WHY. */
int snapshot_break (struct snapshot *snapshot, const char *why);

/* From now on set in WRITTEN, a bit for each of its chunks, which its clients
 * write to: before they do, while they hold the range.  NULL: no more.  It is
 * seen by each write that begins after this has returned.
 */
void snapshot_watch (struct snapshot *snapshot, _Atomic uint64_t *written);

/* Begin to leave the chain: the snapshot is invalid from now on, and chunks
 * that it lacks go to the next older one.  That it leaves has been recorded.
 * Waits until no request of its clients and no copy to it is going on.
 */
void snapshot_leave (struct snapshot *snapshot);

/* Give the next older snapshots what only this one has, which is leaving:
 * one run of chunks from *CHUNK on, which moves on; at most HAND_DOWN_BYTES,
 * but at least a chunk.  Returns 1, 0 when there are no more, or an error: an
 * older one must not break (BREAK_GUEST_WRITE) and cannot take it; then *CHUNK
 * is where it was.  *BYTES is what was copied, about: 0 if they had all of it.
 */
#define HAND_DOWN_BYTES (1U << 20)
int snapshot_hand_down (struct snapshot *snapshot, uint64_t *chunk,
                        uint64_t *bytes);

/* Copies are made by KCOPYD, which outlives all I/O.  Needed before the
 * first write to the snapshot or to what is above it.
 */
void snapshot_set_kcopyd (struct snapshot *snapshot,
                          struct kcopyd_client *kcopyd);

/* Make durable what was found in the store: who wrote it may have been
 * killed, and what is known to be there may be overwritten in the origin.
 * Needed before the first write to the snapshot or to what is above it.
 * Returns 0, or an error: then nothing may be written.
 */
int snapshot_settle (struct snapshot *snapshot);

/* The snapshot as clients see it: -EIO when it is invalid, -EROFS for
 * writes to a read-only one.  Lives as long as the snapshot.
 */
struct target *snapshot_target (struct snapshot *snapshot);

/* What older snapshots read through: what it holds, valid or not, and its
 * origin elsewhere.  Read-only.
 */
struct target *snapshot_view (struct snapshot *snapshot);

/* Before the range of SNAPSHOT's origin is overwritten: see that all of
 * it is safe, in this snapshot or, if it is broken, in an older one.
 * Copies, and waits, where it must.  NULL: nothing to do.  Returns 0, or
 * an error for the client who wanted to write: then nothing may be
 * written.
 */
int snapshot_preserve (struct snapshot *snapshot, sector_t sector,
                       sector_t count);

/* The same, but no snapshot is lost for it, whatever on-cow-error= says:
 * errors are for the caller, such as -ENOSPC.
 */
int snapshot_preserve_or_fail (struct snapshot *snapshot, sector_t sector,
                               sector_t count);

/* At least so many chunks will fit into its store, if nobody else comes. */
uint64_t snapshot_room (struct snapshot *snapshot);

/* Another name: a copy is kept until the snapshot's end, so that who reads
 * the name need not lock.  NULL: no memory.  Then it can be made the name.
 * One caller at a time.
 */
const char *snapshot_keep_name (struct snapshot *snapshot, const char *name);
void snapshot_set_name (struct snapshot *snapshot, const char *kept);
/* True if the snapshot has the first sector of the range in its store; *RUN
 * of the sectors, at most COUNT, are like it.
 */
bool snapshot_has (struct snapshot *snapshot, sector_t sector, sector_t count,
                   sector_t *run);

const char *snapshot_name (const struct snapshot *snapshot);
bool snapshot_is_valid (struct snapshot *snapshot);
bool snapshot_is_read_only (const struct snapshot *snapshot);

/* An error if its store has failed: what is there is not known before it is
 * opened anew.
 */
int snapshot_store_error (struct snapshot *snapshot);

struct snapshot_status {
  sector_t chunk_sectors;
  uint64_t chunks; /* copied so far */
  sector_t used_sectors, store_sectors, metadata_sectors;
  unsigned refused_writes; /* because the store was full or failed */
};

void snapshot_get_status (struct snapshot *snapshot,
                          struct snapshot_status *status);

/*----- the origin ------------------------------------------------------*/

/* The volume above a mirror: writes go on when the newest snapshot has
 * what they overwrite.
 */
struct origin;

/* LOWER outlives the origin.  Returns 0 or -ENOMEM. */
int origin_create (struct target *lower, struct origin **origin);
void origin_destroy (struct origin *origin);
void origin_set_snapshot (struct origin *origin, struct snapshot *newest);

/* Direct snapshots instead of a chain (direct-snapshots.h). */
struct direct_snapshots;
void origin_set_direct (struct origin *origin, struct direct_snapshots *direct);

/* Another device below, that is to be what the old one is, or to become what
 * that was to become.  Requests in flight go to the old one.
 */
void origin_set_lower (struct origin *origin, struct target *lower);

/* Writes are -EIO, until that is taken back: because it is not known what a
 * crash would make of them.  Whoever sets it sees to it that none is in flight.
 */
void origin_refuse_writes (struct origin *origin, bool refuse);
struct target *origin_target (struct origin *origin);

#endif /* DM_SNAPSHOT_H */
