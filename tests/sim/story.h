/* What a story of the simulator is made of.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_STORY_H
#define SIM_STORY_H

#include "world.h"

enum step_kind {
  END,
  LIFE,  /* one begins; DANGER: the one with the crash */
  WRITE, /* to the volume: UNIT, COUNT */
  FUA,
  ZERO,
  FLUSH,
  READ,
  WRITE_SNAPSHOT, /* the newest */
  FAIL,           /* from now on, calls of kind UNIT of leg COUNT */
  FAIL_STORE,     /* of all stores; or only number COUNT of these calls */
  FAIL_SYNC,      /* of a folder, the one that is UNIT more away */
  RESYNC,         /* wait until it has ended */
  PAUSE,          /* so long that the log is cleaned */
  TAKE_LIVE,      /* a snapshot, while the volume is served */
  REMOVE_LIVE,    /* snapshot number UNIT; then, if COUNT, wait for the rest */
  RENAME_LIVE,    /* snapshot number UNIT */
  ROLL_BACK,      /* to the newest; then, if COUNT, wait for the rest */
  ROLL_BACK_FAR,  /* to an older one; the same */
  ADD_LEG,        /* full of something else */
};

/* What a life begins with. */
#define DANGER 1U
#define TAKE 2U     /* a snapshot */
#define DISCARD 4U  /* the oldest */
#define LOSE_LEG 8U /* the second one is gone, and made anew */
#define CRASHED 16U /* and the power failed when the last one had ended */
#define LEGS_ARE_THERE 32U /* the first one: it need not create them */
#define HIDE_LEG_0 64U     /* it cannot be had in this life */
#define HIDE_LEG_1 128U

struct step {
  enum step_kind kind;
  unsigned unit; /* of LIFE: what it begins with */
  unsigned count;
};

struct story {
  const char *name;
  struct world_plan plan;
  struct step steps[40];
};

/* All of them. */
extern const struct story stories[];
extern const unsigned story_count;

#endif /* SIM_STORY_H */
