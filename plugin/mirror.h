/* The mirror: keeps N legs equal.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Every write goes to all legs in use and succeeds if one leg in sync has
 * taken it; a leg that fails is dropped, which is recorded durably before
 * the write is acknowledged.  Reads are spread over the legs in sync.
 * Regions that may differ are copied from the primary by the resync.
 */

#ifndef DM_MIRROR_H
#define DM_MIRROR_H

#include <stdbool.h>
#include <stdint.h>

#include "block-device.h"
#include "target.h"

#define MIRROR_MAX_LEGS 9

enum leg_state {
  LEG_IN_SYNC,    /* holds everything, but for regions not in sync */
  LEG_RECOVERING, /* takes writes, and what it lacks; is not read */
  LEG_FAILED,     /* not used any more */
};

enum read_policy {
  READ_LEAST_PENDING,
  READ_ROUND_ROBIN,
  READ_FIRST,
};

struct mirror;

/* Called when a leg's state is about to change: makes it durable, with
 * the REASON (may be NULL).  Called on any thread, one call at a time, with
 * the mirror's lock held: it must not call back.  If it returns an error
 * the change does not happen, and the write that caused it fails.
 */
typedef int (*mirror_leg_fn) (void *opaque, unsigned leg, enum leg_state state,
                              const char *reason);

/* Called when every region of every leg in use is in sync and flushed, to
 * make that known.  Same terms as for mirror_leg_fn.
 */
typedef int (*mirror_resynced_fn) (void *opaque);

/* What the mirror tells to who looks on.  A resync that is stopped does not
 * end; when it is started again, it begins again.
 */
enum mirror_note {
  MIRROR_RESYNC_BEGINS,  /* there is work, and it can be done */
  MIRROR_RESYNC_GOES_ON, /* a region has been copied, or could not be */
  MIRROR_RESYNC_ENDS,    /* nothing is left to do that can be done */
  MIRROR_FLUSH_FAILED,   /* a flush does, and so will all others */
};

/* Called on any thread, with no lock of the mirror held. */
typedef void (*mirror_note_fn) (void *opaque, enum mirror_note note);

struct mirror_params {
  unsigned leg_count;
  struct block_device *legs[MIRROR_MAX_LEGS]; /* the mirror closes them */
  enum leg_state states[MIRROR_MAX_LEGS];     /* at least one in sync */
  bool is_write_mostly[MIRROR_MAX_LEGS];
  unsigned primary; /* a leg in sync: trusted where legs may differ */
  sector_t sectors;
  sector_t region_sectors; /* a power of two */
  bool is_in_sync;         /* all regions are; else none */
  enum read_policy read_policy;
  uint64_t resync_rate; /* bytes a second, 0: no limit */
  mirror_leg_fn leg_changed;
  mirror_resynced_fn resynced;
  mirror_note_fn note; /* NULL: nobody wants to know */
  void *opaque;
};

/* Make a mirror.  On failure the legs are still the caller's.  Returns 0,
 * -ENOMEM, or -E2BIG (too many regions).
 */
int mirror_create (const struct mirror_params *params, struct mirror **mirror);

/* Stop the resync, close all legs.  Nothing is in flight.  NULL is
 * ignored.
 */
void mirror_destroy (struct mirror *mirror);

/* The device of leg LEG, which stays the mirror's. */
struct block_device *mirror_leg_bdev (struct mirror *mirror, unsigned leg);

/* The mirror as a target; lives as long as the mirror. */
struct target *mirror_target (struct mirror *mirror);

/* Start to copy what is not in sync, now and later, in the background.
 * Returns 0, -ENOMEM, or -EAGAIN (no thread).
 */
int mirror_start_resync (struct mirror *mirror);

/* Stop it, after the region it is at, and wait.  It can be started
 * again, and goes on with what is left.
 */
void mirror_stop_resync (struct mirror *mirror);

/* Start to repair, in the background, what one leg in sync cannot read and
 * another can; and to let legs fail because of reads: those that are gone, and
 * those of which too many fail.  Before that, and after mirror_stop_repair,
 * a read changes nothing anywhere.  Returns 0, -ENOMEM, or -EAGAIN (no
 * thread).
 */
int mirror_start_repair (struct mirror *mirror);

/* Stop it, and wait for what it is at.  It can be started again. */
void mirror_stop_repair (struct mirror *mirror);

/* Compare all legs in sync, where regions are, once, in the background; at the
 * rate of the resync, and slower while clients are busy.  SCRUB_REPAIR rewrites
 * what differs: from the majority of legs, or if there is none, from the
 * primary, which is said.  A leg that fails meanwhile has failed as ever.
 * Returns 0; 1 if a scrub is running already, which goes on as it is; -ENOMEM;
 * or -EAGAIN (no thread).  Calls of start and stop come one at a time.
 */
enum scrub_mode {
  SCRUB_CHECK,
  SCRUB_REPAIR,
};
int mirror_scrub_start (struct mirror *mirror, enum scrub_mode mode);

/* Stop it, after the piece it is at, and wait.  Its counts stay until the next
 * start.
 */
void mirror_scrub_stop (struct mirror *mirror);

/* True if every region is in sync, and no flush has failed on the last
 * leg: then a stop is a clean one.
 */
bool mirror_is_clean (struct mirror *mirror);

/* What the mirror looks like now. */
struct mirror_leg_status {
  enum leg_state state;
  bool is_write_mostly;
  uint64_t reads, writes, read_bytes, write_bytes;
  uint64_t read_errors, write_errors, flush_errors;
  uint64_t repaired_bytes;   /* rewritten from another leg, and read again */
  uint64_t mismatched_bytes; /* that scrubs have found */
};

struct mirror_scrub_status {
  bool is_running;
  uint64_t done_bytes, total_bytes; /* of the volume */
  uint64_t mismatches;              /* sectors in which legs differ */
  uint64_t repaired;                /* sectors of a leg that were rewritten */
};

struct mirror_status {
  unsigned leg_count;
  struct mirror_leg_status legs[MIRROR_MAX_LEGS];
  uint64_t regions_total, regions_in_sync;
  sector_t region_sectors;
  bool is_resyncing;
  int flush_error; /* negative: a flush has failed on the last leg */
  bool is_repairing;                /* or is about to */
  struct mirror_scrub_status scrub; /* the last one */
};

void mirror_get_status (struct mirror *mirror, struct mirror_status *status);

#endif /* DM_MIRROR_H */
