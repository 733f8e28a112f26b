/* What the files of the mirror share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_MIRROR_IMPL_H
#define DM_MIRROR_IMPL_H

#include <stdatomic.h>
#include <stddef.h>

#include "clock.h"
#include "dm-io.h"
#include "group-sync.h"
#include "mirror.h"
#include "pace.h"
#include "region-hash.h"
#include "sync.h"

struct leg {
  struct block_device *bdev; /* for who has got it: leg_get */
  const char *_Atomic name;  /* of bdev; old ones live on */
  bool is_write_mostly;
  _Atomic int state; /* enum leg_state; changed under the mirror's lock */
  atomic_uint users; /* that have got it */

  /* Held while a device that nobody uses is connected again, or closed. */
  struct mutex device_lock;

  atomic_ulong reads, writes, read_bytes, write_bytes;
  atomic_ulong read_errors, write_errors, flush_errors;
  atomic_ulong flushed_writes; /* of the writes: there is a flush behind them */
  atomic_ulong repaired_bytes, mismatched_bytes;
  struct latency *latency; /* NULL: not measured */

  /* A read has failed, and what was bad has not been repaired: read only
   * when no other leg can be.
   */
  atomic_bool is_doubtful;

  /* Under repair_lock: read errors of late (mirror-repair.c). */
  unsigned recent_errors;
  uint64_t recent_since_ns;
};

/* A leg of which more reads fail has failed; half of the errors are
 * forgotten after so long.
 */
#define MIRROR_READ_ERRORS_MAX 20
#define MIRROR_READ_ERRORS_NS (3600 * NS_PER_SECOND)

/* A place where a leg could not be read. */
struct repair {
  unsigned leg;
  sector_t sector, count;
};

/* What more reads find meanwhile is left for the next one to find. */
#define MIRROR_MAX_REPAIRS 64

struct leg_name {
  struct leg_name *next;
  char text[];
};

struct mirror {
  struct target target;
  atomic_uint leg_count; /* never falls */
  atomic_uint chosen_primary;
  struct leg legs[MIRROR_MAX_LEGS];
  struct dirty_log *log;
  struct region_hash *regions;
  sector_t region_sectors;
  enum read_policy read_policy;
  mirror_leg_fn leg_changed;
  mirror_resynced_fn resynced;
  mirror_note_fn note;
  mirror_log_failed_fn log_failed;
  void *opaque;
  bool measures_legs;
  atomic_uint round_robin;
  atomic_uint failed_requests;
  /* Fails for ever once a flush has failed on the last leg. */
  struct group_sync flushes;

  /* Serialises changes of state.  Held while they are made durable.
   * Taken inside no other lock of the mirror.
   */
  struct mutex state_lock;
  uint64_t membership;            /* rises with each change of a leg's state */
  atomic_bool record_is_doubtful; /* leg_changed has failed, the last time */

  /* For who waits until a leg has no users; a leaf. */
  struct mutex users_lock;
  struct cond users_gone;
  atomic_uint users_awaited; /* so many wait */

  /* Of all devices that were ever legs: whoever looks at a name holds
   * nothing.  Freed at the end.
   */
  struct leg_name *names;

  /* The resync; a leaf. */
  struct mutex resync_lock;
  struct cond resync_wake;
  bool resync_is_wanted;  /* from start to stop */
  bool resync_exists;     /* its thread has been started and not joined */
  bool resync_is_running; /* it copies; not while it waits */
  bool resync_must_stop;
  bool resync_is_paused;
  bool resync_has_begun;  /* it has been told, and its end has not */
  bool resync_pause_ends; /* with what has begun */
  bool resync_is_now;     /* the next try need not wait for its time */
  struct pace *pace;
  struct pace_job resync_job; /* the resync's thread's */
  struct thread resync_thread;
  struct kcopyd_client *kcopyd;
  atomic_uint copies_from[MIRROR_MAX_LEGS]; /* copies of regions, of each leg */

  /* Read repair; a leaf. */
  struct mutex repair_lock;
  struct cond repair_wake;
  bool repair_is_on;
  bool repair_is_busy;
  atomic_bool repair_must_stop;
  unsigned repair_count;
  struct repair repairs[MIRROR_MAX_REPAIRS]; /* oldest first */
  struct thread repair_thread;
  struct repairer *repairer; /* memory of the thread */
  atomic_uint repairs_done;

  /* The scrub; a leaf. */
  struct mutex scrub_lock;
  bool scrub_is_running;
  bool scrub_must_stop;
  sector_t scrub_done;
  atomic_ulong scrub_mismatches, scrub_repaired;
  struct pace_job scrub_job; /* the scrub's thread's */
  struct thread scrub_thread;
  struct scrub *scrub; /* its memory, until the thread has been joined */
};

/* While clients are busy the resync and the scrub rest no longer than this
 * after a piece: pace.h.
 */
#define RESYNC_REST_MAX_NS (NS_PER_SECOND / 4)
#define SCRUB_REST_MAX_NS (NS_PER_SECOND / 20)

#define NO_LEG UINT32_MAX

/* The operation that failed, for messages and counters. */
enum leg_op {
  LEG_OP_WRITE,
  LEG_OP_FLUSH,
  LEG_OP_ZERO,
  LEG_OP_RESYNC,
  LEG_OP_READ,
  LEG_OP_REPAIR,
  LEG_OP_READ_AGAIN, /* what was rewritten */
  LEG_OP_VERIFY,     /* and it was something else */
};

struct leg_failure {
  unsigned leg;
  enum leg_op op;
  sector_t sector;
  sector_t count;
  int error;      /* negative errno */
  unsigned times; /* of reads: it was the so many-th of late */
};

/* What happened, such as "write of 4096 bytes at 1024 failed: ...", and what is
 * to be done about such an error of the device NAME.  Both together are the
 * reason for which a leg is out.
 */
#define MIRROR_FAILURE_BYTES 160
#define MIRROR_REASON_BYTES 256
void mirror_failure_text (const struct leg_failure *f,
                          char text[MIRROR_FAILURE_BYTES]);
const char *mirror_failure_remedy (const char *name, int error);
const char *mirror_leg_op_name (enum leg_op op);

/* True if ERROR says that the whole device is gone, and not some sectors. */
bool mirror_error_is_gone (int error);

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

/* Clean the log where nobody has written for a while, when it is time:
 * *NEXT_NS, which is set anew.  0 is for the first call, which does no more
 * than that.  Called by the resync's thread only.
 */
void mirror_clean_log_lazily (struct mirror *m, uint64_t *next_ns);

/* True if it may be cleaned, and there is something to clean. */
bool mirror_has_marks (struct mirror *m);

/* For region_hash_params. */
int mirror_lose_log (void *opaque, int error);

/* Of what fails again and again, the first is told, and then ever fewer. */
bool mirror_must_tell (struct mirror *m);

/* A read of a leg has failed.  The leg fails, durably, if it is gone or if
 * too many have failed.
 */
void mirror_note_read_error (struct mirror *m,
                             const struct leg_failure *failure);

/* Another leg in sync could be read there: have it repaired. */
void mirror_ask_for_repair (struct mirror *m, unsigned leg, sector_t sector,
                            sector_t count);

/* Write DATA to a leg in sync, in a region that is held and in sync, and read
 * it again, into AGAIN.  Returns 0 or a negative errno; the leg has failed
 * then.
 */
int mirror_rewrite (struct mirror *m, unsigned leg, sector_t sector,
                    sector_t count, const void *data, void *again);

void mirror_scrub_get_status (struct mirror *mirror,
                              struct mirror_scrub_status *status);

/* There may be work for the resync. */
void mirror_wake_resync (struct mirror *m);

/* The leg that is trusted where legs may differ: the one given at the
 * start, and when that has failed, the first in sync, from then on.
 */
unsigned mirror_primary (struct mirror *m);

/* The same, for the resync, which copies from it to other legs in sync; and
 * the end of that.  If it fails meanwhile, its successor is not read before.
 */
unsigned mirror_hold_primary (struct mirror *m);
void mirror_let_primary_go (struct mirror *m, unsigned leg);

/* The slots that read, of the mirror's target. */
int mirror_read (struct target *t, void *buffer, sector_t sector,
                 sector_t count);
int mirror_extent (struct target *t, sector_t sector, sector_t count,
                   struct bdev_extent *extent);

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

/* True if writes go to it. */
static inline bool
leg_is_used (struct leg *leg)
{
  enum leg_state state = leg_get_state (leg);

  return state == LEG_IN_SYNC || state == LEG_RECOVERING;
}

/* True if there is such a leg, but writes do not go to it. */
static inline bool
leg_is_out (struct leg *leg)
{
  enum leg_state state = leg_get_state (leg);

  return state == LEG_FAILED || state == LEG_MISSING;
}

/* Use a leg's device: it is there until leg_put, if the state that is returned
 * is a state in which it is used.  Who gives up a device changes the state
 * first, and then waits for the users that there are: so each either is seen,
 * or sees the state.
 */
static inline enum leg_state
leg_get (struct leg *leg)
{
  atomic_fetch_add (&leg->users, 1);
  return leg_get_state (leg);
}

void mirror_tell_users_gone (struct mirror *m);

static inline void
leg_put (struct mirror *m, struct leg *leg)
{
  if (atomic_fetch_sub (&leg->users, 1) == 1 &&
      atomic_load (&m->users_awaited) > 0)
    mirror_tell_users_gone (m);
}

/* The same for one that is to be written: false, and it is not got, if it is
 * not used.
 */
static inline bool
leg_get_used (struct mirror *m, struct leg *leg)
{
  enum leg_state state;

  if (!leg_is_used (leg))
    return false; /* so that who waits for users is not held up */
  state = leg_get (leg);
  if (state == LEG_IN_SYNC || state == LEG_RECOVERING)
    return true;
  leg_put (m, leg);
  return false;
}

/* The same for one that is to be read: false, and it is not got, if it is not
 * in sync any more.
 */
static inline bool
leg_get_in_sync (struct mirror *m, struct leg *leg)
{
  if (leg_get (leg) == LEG_IN_SYNC)
    return true;
  leg_put (m, leg);
  return false;
}

/* Change a leg's state in memory.  The caller holds state_lock, and has made
 * it durable.
 */
void mirror_set_leg_state (struct mirror *m, unsigned leg,
                           enum leg_state state);

/* Make it durable that a leg is in STATE from now on: leg_changed.  The caller
 * holds state_lock.
 */
int mirror_record_leg (struct mirror *m, unsigned leg, enum leg_state state,
                       const char *reason);

/* How many legs are in sync.  For a decision the caller holds state_lock. */
unsigned mirror_count_in_sync (struct mirror *m);

/* Let the resync stand still, while legs change, and go on, if it was on. */
void mirror_hold_resync (struct mirror *m);
void mirror_let_resync_go (struct mirror *m);

/* Give leg LEG, which has none, a device, and a name.  Returns 0 or -ENOMEM. */
int mirror_install_device (struct mirror *m, unsigned leg,
                           struct block_device *bdev);

/* Names and histograms, at the end. */
void mirror_free_leg_memory (struct mirror *m);

#endif /* DM_MIRROR_IMPL_H */
