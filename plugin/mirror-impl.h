/* What mirror.c and mirror-resync.c share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_MIRROR_IMPL_H
#define DM_MIRROR_IMPL_H

#include <stdatomic.h>
#include <stddef.h>

#include "dm-io.h"
#include "group-sync.h"
#include "mirror.h"
#include "region-hash.h"
#include "sync.h"

struct leg {
  struct block_device *bdev;
  bool is_write_mostly;
  _Atomic int state; /* enum leg_state; changed under the mirror's lock */
  atomic_uint pending_reads;

  atomic_ulong reads, writes, read_bytes, write_bytes;
  atomic_ulong read_errors, write_errors, flush_errors;
};

struct mirror {
  struct target target;
  unsigned leg_count;
  unsigned first_primary;
  struct leg legs[MIRROR_MAX_LEGS];
  struct region_hash *regions;
  sector_t region_sectors;
  enum read_policy read_policy;
  uint64_t resync_rate;
  mirror_leg_fn leg_changed;
  mirror_resynced_fn resynced;
  mirror_note_fn note;
  void *opaque;
  atomic_uint round_robin;
  atomic_uint failed_requests;
  /* Fails for ever once a flush has failed on the last leg. */
  struct group_sync flushes;

  /* Serialises changes of state.  Held while they are made durable.
   * Taken inside no other lock of the mirror.
   */
  struct mutex state_lock;

  /* The resync; a leaf. */
  struct mutex resync_lock;
  struct cond resync_wake;
  bool resync_exists;     /* its thread has been started and not joined */
  bool resync_is_running; /* it copies; not while it waits */
  bool resync_must_stop;
  struct thread resync_thread;
  struct kcopyd_client *kcopyd;
};

/* The operation that failed, for messages and counters. */
enum leg_op {
  LEG_OP_WRITE,
  LEG_OP_FLUSH,
  LEG_OP_ZERO,
  LEG_OP_RESYNC,
};

struct leg_failure {
  unsigned leg;
  enum leg_op op;
  sector_t sector;
  sector_t count;
  int error; /* negative errno */
};

/* Drop a leg, durably.  Returns 0 when the leg is out; -EIO if it is the
 * last in sync, which stays in use, or if this cannot be recorded.
 */
int mirror_fail_leg (struct mirror *m, const struct leg_failure *failure);

/* Tell who looks on.  The caller holds no lock. */
static inline void
mirror_tell (struct mirror *m, enum mirror_note note)
{
  if (m->note != NULL)
    m->note (m->opaque, note);
}

/* There may be work for the resync. */
void mirror_wake_resync (struct mirror *m);

/* The leg that is trusted where legs may differ: the one given at the
 * start, and when that has failed, the first in sync.
 */
unsigned mirror_primary (struct mirror *m);

/* The read slot of the mirror's target. */
int mirror_read (struct target *t, void *buffer, sector_t sector,
                 sector_t count);

static inline struct mirror *
mirror_of (struct target *t)
{
  return (struct mirror *) ((char *) t - offsetof (struct mirror, target));
}

static inline enum leg_state
leg_get_state (struct leg *leg)
{
  return (enum leg_state) atomic_load (&leg->state);
}

#endif /* DM_MIRROR_IMPL_H */
