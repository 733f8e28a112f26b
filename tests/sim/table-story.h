/* What a story of a table is made of, and how it is told.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_TABLE_STORY_H
#define SIM_TABLE_STORY_H

#include "enum.h"
#include "table-world.h"

enum table_step_kind {
  TABLE_END,
  TABLE_LIFE,  /* one begins, with the FLAGS below */
  TABLE_WRITE, /* to the origin: UNIT, COUNT */
  TABLE_FUA,
  TABLE_ZERO,
  TABLE_FLUSH,
  TABLE_WRITE_SNAPSHOT, /* to number FLAGS */
  TABLE_FLUSH_SNAPSHOT,
  TABLE_FAIL,   /* from now on, calls of kind UNIT of snapshot FLAGS' store */
  TABLE_READ,   /* all */
  TABLE_MERGED, /* wait until it is */
};

/* What a life begins with. */
#define TABLE_DANGER 1U   /* the one with the crash, or the call that fails */
#define TABLE_TAKE 2U     /* the snapshots are taken */
#define TABLE_MERGE 4U    /* the first of them is merged from now on */
#define TABLE_ALONE 8U    /* the origin is not served */
#define TABLE_CRASHED 16U /* and the power failed when the last one had ended */
#define TABLE_CUT 32U     /* and it ends with a power failure */
#define TABLE_SHOT 64U    /* and it ends with a kill */
#define TABLE_LOOK 128U   /* nobody may write in it */

struct table_step {
  enum table_step_kind kind;
  unsigned flags;
  unsigned unit;
  unsigned count;
};

#define TABLE_STORY_STORES 3

struct table_story {
  const char *name;
  unsigned sectors;
  unsigned store_count;
  struct table_store stores[TABLE_STORY_STORES];
  struct table_step steps[20];
};

/* All of them. */
extern const struct table_story table_stories[];
extern const unsigned table_story_count;

/* Tell number STORY, with what HOW says at EVENT of its dangerous life, or at
 * that call of a disk; 0: without.  Returns how many there are.
 */
unsigned table_tell (unsigned story, uint64_t seed, unsigned event,
                     enum calamity how, bool is_traced);

#endif /* SIM_TABLE_STORY_H */
