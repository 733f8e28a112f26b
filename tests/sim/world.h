/* The world of one simulated volume: its files, its crashes, its promises.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A life begins with the plugin being loaded and ends with its unloading:
 * in good order, or because the machine has crashed.  After a crash the
 * production code runs to its end, too, but on disks that have lost their
 * power: nothing that it does then counts.
 */

#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "client.h"
#include "disk-sim.h"
#include "log-sink.h"
#include "manifest.h"
#include "model.h"

/* Not in the folder of the legs: nothing else flushes the one above it. */
#define WORLD_ABOVE_META "/sim/var"
#define WORLD_META WORLD_ABOVE_META "/meta"
#define WORLD_NAME_BYTES 32
#define WORLD_VALUE_BYTES 2048 /* of a key */
#define WORLD_MAX_SNAPSHOTS 16

/* What does not change in the lives of a volume. */
extern struct world_plan {
  unsigned leg_count;
  unsigned sectors;
  unsigned region_bytes;
  unsigned chunk_bytes;
  unsigned cow_bytes; /* 0: never full */
  bool has_faults;    /* some lives have */
  bool has_snapshots;
  bool changes_legs; /* an administrator does */
  bool is_deep;      /* copy-on-write above all */
  bool is_restless;  /* many short lives of a small volume */
  bool is_transient; /* it has no folder: snapshots end with each life */
  bool asks_extents; /* clients do */
  const char *read_policy;
  const char *on_cow_error;
  struct sim_disk_kind kind;
  bool some_not_fast; /* disks; changes from life to life */
  unsigned slow;
  unsigned admin_pause;  /* us, at most, between two deeds of his; 0: none */
  unsigned copy_pages;   /* that kcopyd may have */
  unsigned copy_sectors; /* in each part */
  unsigned copy_slices;  /* in flight for one copy */
  uint64_t clean_ns;     /* the log is cleaned so often; 0: as ever */
} plan;

struct sim_snapshot {
  char name[WORLD_NAME_BYTES];
  struct model_device *model;
  bool is_offered;                 /* in this life */
  bool is_discarded;               /* that was asked for, perhaps in vain */
  bool is_gone;                    /* and so it is */
  bool is_unanswered;              /* it may have been taken, or not */
  bool is_renamed;                 /* in this life, or about to be */
  bool is_used;                    /* a client may write to it in this life */
  char new_name[WORLD_NAME_BYTES]; /* it may have this one */
};

/* What goes on. */
extern struct world {
  struct client_world clients;
  struct volume *volume; /* NULL while it is being opened */
  struct model_device *model;
  unsigned snapshot_count;
  struct sim_snapshot snapshots[WORLD_MAX_SNAPSHOTS]; /* oldest first */
  unsigned next_name;
  char primary[WORLD_NAME_BYTES]; /* of the last manifest */
  bool is_leg_lost;               /* since the last start */
  bool has_faults;                /* this life */
  bool had_faults;                /* some life before or now */
  bool legs_may_fail;
  bool stores_may_fail;
  char doomed[WORLD_NAME_BYTES]; /* the one leg that fails, if there is */
  enum sim_crash crash;          /* how the next one is */
  unsigned leg_count;            /* on the next command line, and their names */
  char legs[MIRROR_MAX_LEGS][WORLD_NAME_BYTES];
  unsigned next_leg;   /* number of the next one that is new */
  unsigned hidden;     /* legs that cannot be had in this life, a bit each */
  bool may_be_refused; /* since those are needed */
  bool is_settled;     /* no snapshot comes or goes any more in this life */
  unsigned cleanings;  /* of the log, in this life */
} now;

extern struct world_counters {
  uint64_t seeds, lives, orderly_stops, crashes_at_start;
  uint64_t refused_starts, resyncs_waited_for, leg_failures, leg_losses;
  uint64_t legs_hidden, degraded_starts;
  uint64_t legs_added, legs_replaced, legs_removed, legs_taken_out;
  uint64_t legs_rejoined;
  uint64_t scrubs, scrubbed_bytes, spoiled;
  uint64_t snapshots, snapshots_lost, snapshots_discarded, legs_compared;
  uint64_t regions_clean; /* in the log, when a life had ended */
  uint64_t snapshots_live, removed_live, renamed_live, rolled_back;
  uint64_t rolled_back_to_older;
} world_counters;

/* An empty world for the plan, and its end. */
void world_begin (void);
void world_end (void);

/* The name of leg number LEG, and all of them as files that are there. */
void world_leg_path (unsigned leg, char path[WORLD_NAME_BYTES]);
void world_add_legs (void);

/*----- a life ----------------------------------------------------------*/

/* Load the plugin. */
void world_load (void);

/* Give it a key, which it must take. */
void world_configure (const char *key, const char *format, ...)
  __attribute__ ((format (printf, 2, 3)));

/* Leg number LEG cannot be had in this life, though it is there. */
void world_hide_leg (unsigned leg, const struct manifest *m);

/* Open the volume.  Returns false if that failed, as it may. */
bool world_open (void);

/* Stop and unload, after a crash, too, and switch on again.  Then the power
 * may have failed once more: FAILS.
 */
void world_unload (void);
void world_end_life (bool fails);

/*----- while it is open: world-check.c ----------------------------------*/

/* Read all devices; wait until legs are equal; see that those in sync are,
 * if all regions are.
 */
void world_read_everything (void);
void world_wait_for_resync (void);
void world_compare_legs_in_sync (void);

/* Legs in sync are equal where regions are, whatever clients do: no scrub has
 * found anything.
 */
void world_check_scrub (void);

/* Nobody writes, and all is in sync: let sectors of some leg be wrong, and see
 * that a scrub finds them, all of them and no other, and repairs them from the
 * right leg.
 */
void world_spoil_and_scrub (void);

/*----- the administrator: world-admin.c ---------------------------------*/

/* Check the diffs of all pairs of devices, or one by chance. */
void world_check_diffs (void);
void world_check_some_diff (void);

/* Take a snapshot; remove or rename one, live. */
void world_take_snapshot (void);
void world_remove_snapshot (struct sim_snapshot *s, bool by_force);
void world_rename_snapshot (struct sim_snapshot *s);

/* Roll back to the newest, if nobody has it open. */
void world_roll_back (void);

/* Roll back to an older one, to which nobody writes. */
void world_roll_back_to_older (void);

/* Wait until nothing is going on in the background.  Returns false if it goes
 * on, as it may.
 */
bool world_wait_for_background (void);

/* The crash, as now.crash has it: for sim_at_point. */
void world_crash (void);

/* True if OP, a request of a client, may have failed with ERROR. */
bool world_may_fail (const struct model_op *op, int error);

/*----- between lives: world-grave.c -------------------------------------*/

/* Look at what the last life has left, and check it.  Returns the manifest,
 * to be freed, or NULL if there is none.
 */
struct manifest *world_visit_grave (void);

/* The next command line has the legs of M, or, if it is NULL, of the plan. */
void world_meet_legs (const struct manifest *m);

/* Two legs are equal, as WHY says that they must be. */
void world_compare_disks (const struct sim_disk *a, const struct sim_disk *b,
                          const char *why);

/* The disk of a leg in sync, if it is still the file that it was. */
struct sim_disk *world_trusted_disk (const struct manifest_leg *leg);

/* True if regions are out of sync. */
bool world_legs_may_differ (void);

/* Other legs than those that were read may be read from now on. */
void world_allow_other_legs (void);

#endif /* SIM_WORLD_H */
