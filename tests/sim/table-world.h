/* The world of one simulated table: an origin, and direct snapshots of it.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * As that of a volume (world.h), of which it uses lives, crashes and clients:
 * the only leg is the origin, `now.model' what is served in its place, and
 * now.snapshots are the table's, each with a store of its own here.
 */

#ifndef SIM_TABLE_WORLD_H
#define SIM_TABLE_WORLD_H

#include "world.h"

#define TABLE_MAX_STORES 12

/* Of snapshot number I. */
struct table_store {
  unsigned sectors; /* of what the snapshot shows */
  unsigned chunk_sectors;
  unsigned cow_sectors;
  bool is_transient;
  bool may_overflow; /* it has the letter */

  /* Known of it. */
  char path[WORLD_NAME_BYTES];
  bool can_be_full;
  bool is_frozen;  /* it has been taken */
  bool is_invalid; /* in this life */
  bool is_lost;    /* and so it stays: that is durable */
};

extern struct table_world {
  struct table_store stores[TABLE_MAX_STORES];
  bool is_open;
  bool is_served;            /* in this life the origin is */
  bool is_merging;           /* ... as what is left of: */
  struct table_store merged; /* and now.model is of that */
  bool is_merged;            /* that was said, and nothing has crashed before */
} table;

extern struct table_counters {
  uint64_t seeds, lives, snapshots, lost, merges, merged, merges_gone_on;
  uint64_t disks_checked;
} table_counters;

/* An empty world for the plan; world_end is its end. */
void table_begin (void);

/* One more snapshot, from the next life on: STORE has what its table says. */
void table_add (const struct table_store *store);

/* Between lives: number I is in no table any more. */
void table_remove (unsigned i);

/* True if number I can be merged; from the next life on it is, until that is
 * done.
 */
bool table_can_merge (unsigned i);
void table_begin_merge (unsigned i);

/* So many chunks fit into a store, and no more. */
unsigned table_cow_sectors (const struct table_store *store, unsigned chunks);

/*----- a life ----------------------------------------------------------*/

/* Load the plugin, with a table of all. */
void table_load (bool is_served);

/* Returns false if that failed, as it may. */
bool table_open (void);

/* Open a device, and see that then all is durable that must be. */
void table_settle (struct model_device *device);

/* Read all that is offered; see what is said of each. */
void table_read_everything (void);
void table_check_descriptions (void);

/* Nothing fails: it comes to its end. */
void table_wait_for_merge (void);

/* Stop and unload, after a crash, too. */
void table_unload (void);

/* After world_end_life: look at what is left. */
void table_visit_grave (void);

#endif /* SIM_TABLE_WORLD_H */
