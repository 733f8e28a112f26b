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

/* Called when a snapshot is about to become invalid: makes that durable,
 * with the REASON.  Any thread, one call at a time for one snapshot; must
 * not call back.  If it returns an error the snapshot stays, and the
 * write that would have spoilt it fails.
 */
typedef int (*snapshot_broken_fn) (void *opaque, struct snapshot *snapshot,
                                   const char *reason);

struct snapshot_params {
  const char *name;         /* copied */
  struct block_device *cow; /* holds a store; the snapshot closes it */
  bool is_valid;            /* as remembered; a broken one may still be
                              * needed by older ones */
  bool is_read_only;
  enum on_cow_error on_cow_error;
  snapshot_broken_fn broken;
  void *opaque;
  /* The next newer device: the mirror under the volume, or a snapshot. */
  struct target *origin;
};

/* Open a snapshot, and check its store.  Reads only.  On failure `cow` is
 * still the caller's.  Errors: those of exception_store_open.
 */
int snapshot_open (const struct snapshot_params *params,
                   struct snapshot **snapshot);

/* Close it and its device.  Nothing is in flight, and older snapshots are
 * closed.  NULL is ignored.
 */
void snapshot_close (struct snapshot *snapshot);

/* The next older snapshot, whose origin this is, or NULL.  Set before any
 * I/O.
 */
void snapshot_set_below (struct snapshot *snapshot, struct snapshot *below);

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

const char *snapshot_name (const struct snapshot *snapshot);
bool snapshot_is_valid (struct snapshot *snapshot);
bool snapshot_is_read_only (const struct snapshot *snapshot);

struct snapshot_status {
  sector_t chunk_sectors;
  uint64_t chunks; /* copied so far */
  sector_t used_sectors, store_sectors, metadata_sectors;
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
struct target *origin_target (struct origin *origin);

#endif /* DM_SNAPSHOT_H */
