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
#include "dirty-log.h"
#include "latency.h"
#include "target.h"

#define MIRROR_MAX_LEGS 9

enum leg_state {
  LEG_IN_SYNC,    /* holds everything, but for regions not in sync */
  LEG_RECOVERING, /* takes writes, and what it lacks; is not read */
  LEG_FAILED,     /* out: not used any more */
  LEG_MISSING,    /* out: it was not there at the start */
  LEG_ABSENT,     /* there is no leg of this number (any more) */
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
 * the change does not happen, and the write that caused it fails; but after a
 * crash it may have.  LEG_ABSENT:
 * the leg is removed.
 */
typedef int (*mirror_leg_fn) (void *opaque, unsigned leg, enum leg_state state,
                              const char *reason);

/* Called when every region of every leg in use is in sync and flushed, to
 * make that known.  Same terms as for mirror_leg_fn.
 */
typedef int (*mirror_resynced_fn) (void *opaque);

/* What the mirror tells to who looks on.  A resync that is stopped, or stands
 * still while legs change, does not end; when it goes on it does not begin
 * again.
 */
enum mirror_note {
  MIRROR_RESYNC_BEGINS,  /* there is work, and it can be done */
  MIRROR_RESYNC_GOES_ON, /* a region has been copied, or could not be */
  MIRROR_RESYNC_ENDS,    /* nothing is left to do that can be done */
  MIRROR_FLUSH_FAILED,   /* a flush does, and so will all others */
  MIRROR_LAST_LEG_GONE,  /* the only one in sync is, as a whole; it stays */
  MIRROR_SCRUB_BEGINS,
  MIRROR_SCRUB_ENDS, /* or is stopped */
};

/* Called on any thread, with no lock of the mirror held. */
typedef void (*mirror_note_fn) (void *opaque, enum mirror_note note);

/* Called when the dirty log can't be written any more, for ERROR.  Once this
 * has returned 0, all regions are taken to be dirty after a restart, and
 * writes go on; else they fail.  Same terms as for mirror_leg_fn.
 */
typedef int (*mirror_log_failed_fn) (void *opaque, int error);

struct pace;

struct mirror_params {
  unsigned leg_count;
  struct block_device *legs[MIRROR_MAX_LEGS]; /* the mirror closes them */
  enum leg_state states[MIRROR_MAX_LEGS];     /* at least one in sync */
  bool is_write_mostly[MIRROR_MAX_LEGS];
  unsigned primary; /* a leg in sync: trusted where legs may differ */
  sector_t sectors;
  sector_t region_sectors; /* a power of two */
  struct dirty_log *log;   /* the mirror destroys it; NULL: a core log */
  bool is_in_sync;         /* all regions are; else those clean in the log, of
                            * which a core log has none */
  enum read_policy read_policy;
  struct pace *pace; /* of resync and scrub; outlives the mirror */
  mirror_leg_fn leg_changed;
  mirror_resynced_fn resynced;
  mirror_note_fn note;             /* NULL: nobody wants to know */
  mirror_log_failed_fn log_failed; /* NULL: writes fail */
  void *opaque;
  bool measures_legs; /* for mirror_get_leg_latency */
};

/* Make a mirror.  On failure legs and log are still the caller's.  Returns 0,
 * -ENOMEM, or -E2BIG (too many regions).
 */
int mirror_create (const struct mirror_params *params, struct mirror **mirror);

/* Stop the resync, close all legs and the log.  Nothing is in flight.  NULL is
 * ignored.
 */
void mirror_destroy (struct mirror *mirror);

/* The device of leg LEG, which stays the mirror's, and goes when the leg is
 * removed or gets another one: for who is not beside such a call.
 */
struct block_device *mirror_leg_bdev (struct mirror *mirror, unsigned leg);

/* The name of leg LEG's device; NULL if there never was such a leg.  The text
 * lives as long as the mirror.
 */
const char *mirror_leg_name (struct mirror *mirror, unsigned leg);

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

/* Flush all legs, and then make the log clean where they are equal, durably,
 * unless a leg is out.  For the end, when nobody writes and no resync runs.
 * Returns the result of flushing the legs.
 */
int mirror_settle (struct mirror *mirror);

/* The log, which stays the mirror's. */
struct dirty_log *mirror_log (struct mirror *mirror);

/* The log cannot be written, as has been said and recorded: go on without,
 * all dirty.
 */
void mirror_give_up_log (struct mirror *mirror);

/* Pause it after the region it is at, or let it go on; also when it is
 * started again.  Returns false if it was so already.
 */
enum resync_pause {
  RESYNC_GO_ON,
  RESYNC_PAUSE,
};
bool mirror_pause_resync (struct mirror *mirror, enum resync_pause pause);

/* Pause the resync that has begun, and none that comes after it: if it ends all
 * the same, because nothing was left to begin, nothing is paused any more.
 * Returns 0; 1 if it was paused already; -ENOENT if none has begun, or it is
 * over.
 */
int mirror_cancel_resync (struct mirror *mirror);

/* Try again now what could not be copied, instead of when it is time. */
void mirror_hurry_resync (struct mirror *mirror);

/* A new rate, of all that has this mirror's pace; 0: no limit.  Returns false
 * if it was that.
 */
bool mirror_set_pace_rate (struct mirror *mirror, uint64_t bytes_per_second);

/* True if there is anything to copy that can be. */
bool mirror_needs_resync (struct mirror *mirror);

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

/*----- changing the legs -----------------------------------------------*/

/* Legs come and go while clients read and write.  A leg keeps its number; a
 * new one gets the lowest that is free.  These calls, and those that start or
 * stop resync, repair or scrub, come one at a time.  leg_changed makes each
 * change durable before it has any effect; if it fails nothing has changed.
 * They wait until nobody uses the device any more that is given up: so
 * as long as a request may take that is in it.
 */

/* Use leg LEG no more, for REASON.  Returns 0; 1 if it was out already;
 * -EBUSY if it is the last in sync; or the error of leg_changed.
 */
int mirror_fail (struct mirror *mirror, unsigned leg, const char *reason);

/* Add BDEV, of which nothing is known, as leg *LEG: it is recovering, and
 * filled by the resync.  On success the mirror owns BDEV.  Returns 0, -E2BIG
 * (there are MIRROR_MAX_LEGS), -ENOMEM, or the error of leg_changed or
 * the log.
 */
int mirror_add_leg (struct mirror *mirror, struct block_device *bdev,
                    bool is_write_mostly, unsigned *leg);

/* Put BDEV, of which nothing is known, in the place of leg LEG, whose device
 * is closed; as mirror_add_leg.  -EBUSY: LEG is the last in sync.
 */
int mirror_replace_leg (struct mirror *mirror, unsigned leg,
                        struct block_device *bdev);

/* Remove leg LEG, and close its device.  Returns 0, -EBUSY (it is the last in
 * sync), or the error of leg_changed.
 */
int mirror_remove_leg (struct mirror *mirror, unsigned leg);

/* Give leg LEG, which is out and stays so, another device, and close the
 * old one.  On success the mirror owns BDEV.  Returns 0 or -ENOMEM.
 */
int mirror_set_leg_device (struct mirror *mirror, unsigned leg,
                           struct block_device *bdev);

/* Use leg LEG again, which is out: it gets what it lacks.  Returns 0 or the
 * error of leg_changed or the log.
 */
enum leg_lack {
  LEG_LACKS_DIRTY, /* what is dirty in the log: it has been out, or its device
                    * has lost what was not flushed, and that is all */
  LEG_LACKS_ALL,   /* anything */
};
int mirror_rejoin_leg (struct mirror *mirror, unsigned leg, enum leg_lack lack);

/* Connect leg LEG again, which has failed: bdev_reconnect, with its FLAGS and
 * errors, and -ENODEV if there is no such leg.  It does not use it; see
 * mirror_rejoin_leg.  May be called beside the other calls.
 */
int mirror_reconnect_leg (struct mirror *mirror, unsigned leg, unsigned flags);

/* The same for the only leg that is in sync, which stays in use though its
 * server is gone, or its disk hangs; -ENODEV if LEG is not that.  What was
 * written to a server since the last flush may be lost: if there is any, this
 * is said, and every flush fails from then on.  May wait for requests in
 * progress.
 */
int mirror_revive_leg (struct mirror *mirror, unsigned leg, unsigned flags);

/*----- looking ---------------------------------------------------------*/

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
  unsigned leg_count; /* numbers that were used; some may be LEG_ABSENT now */
  struct mirror_leg_status legs[MIRROR_MAX_LEGS];
  uint64_t regions_total, regions_in_sync;
  sector_t region_sectors;
  bool is_resyncing;
  int flush_error;   /* negative: a flush has failed on the last leg */
  bool is_paused;    /* the resync */
  bool is_repairing; /* or is about to */
  struct mirror_scrub_status scrub; /* the last one */
  struct dirty_log_status log;
  bool log_is_lost; /* it cannot be written: all regions count as dirty */
};

void mirror_get_status (struct mirror *mirror, struct mirror_status *status);

/* How long operations of kind OP took on leg LEG: those of clients, and those
 * in the background.  False if they are not measured, or there was no such leg.
 */
bool mirror_get_leg_latency (struct mirror *mirror, unsigned leg,
                             enum latency_op op, struct latency_counts *counts);

#endif /* DM_MIRROR_H */
