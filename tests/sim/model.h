/* What clients may read: now, and after a crash.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A device is a row of units of half a sector.  Each write gives a unit a
 * version.  A version is *dead for reads* when a write that was issued
 * after its end has been acknowledged, and *dead for good* when such a
 * write is durable: it had FUA, or a flush that was issued after its
 * acknowledgement has succeeded.  A read may return what is not dead for
 * reads when it was issued; a crash of the machine may leave what is not
 * dead for good.
 *
 * Where several versions may be there, because writes overlapped or a
 * crash came, the first read that returns one excludes the others.  One
 * thing brings them back: a leg that is lost while the legs may differ.
 *
 * All that is wrong ends the program (sim_fail).
 */

#ifndef SIM_MODEL_H
#define SIM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "disk-sim.h"

#define MODEL_UNIT_BYTES 256U

struct model_device;

enum model_kind {
  MODEL_READ,
  MODEL_WRITE,
  MODEL_FLUSH,
  MODEL_ZERO,
  MODEL_TRIM,
};

/* One request of a client, from issue to reply.  Lives at the client's. */
struct model_op {
  struct model_device *device;
  enum model_kind kind;
  bool is_durable; /* FUA */
  bool is_extents; /* a read that was only asked where zeroes are */
  unsigned unit;
  unsigned count;
  uint32_t stamp; /* which write it is */
  uint64_t issued;
  struct model_op *next; /* those that are going on */
};

/* A diff of two devices, all of it, as a read of both: they are what they
 * may be from before it was asked until after the last answer.
 */
struct model_diff {
  struct model_op older, newer;
  bool *was_hole; /* each unit, before the data were read */
  bool *is_hole;  /* and after */
  void *data;
};

struct model_counters {
  uint64_t requests, units_checked, failed_requests, crashes;
  uint64_t holes; /* units that were told to be */
  uint64_t diffs, units_same, units_different;
  uint64_t ambiguous; /* units read that could have been something else */
};
extern struct model_counters model_counters;

/* A device of UNITS, all zeroes. */
struct model_device *model_create (const char *name, unsigned units);

/* A copy of ORIGIN as it is now, durable, in its own life from now on. */
struct model_device *model_create_snapshot (const char *name,
                                            struct model_device *origin);

/* The same, while it is being taken: every write to ORIGIN that is issued
 * until the end of that may be in it, too.
 */
struct model_device *model_begin_snapshot (const char *name,
                                           struct model_device *origin);
void model_end_snapshot (struct model_device *d);

/* What ORIGIN may hold now, D may hold, too. */
void model_add (struct model_device *d, const struct model_device *origin);

/* D holds what is on DISK now, and nothing else. */
void model_take_disk (struct model_device *d, const struct sim_disk *disk);

/* D is being rolled back to SNAPSHOT: it may hold either.  Then it was, by a
 * call that was ISSUED at that tick: what had ended before is gone.  Or it was
 * not, and nothing has happened.
 */
void model_begin_rollback (struct model_device *d,
                           const struct model_device *snapshot);
void model_end_rollback (struct model_device *d, uint64_t issued);
void model_cancel_rollback (struct model_device *d);

void model_rename (struct model_device *d, const char *name);
void model_destroy (struct model_device *d);
const char *model_name (const struct model_device *d);
unsigned model_units (const struct model_device *d);

/* D has only so many units any more. */
void model_cut (struct model_device *d, unsigned units);

/* Forget all that went on.  Call it first for each seed. */
void model_reset (void);

/* OP has kind, device, unit, count and is_durable: it is issued.  For a
 * write, fill its data with model_fill afterwards.
 */
void model_begin (struct model_op *op);
void model_fill (const struct model_op *op, void *data);

/* The reply: ERROR is 0 or a negative errno.  DATA: what was read.
 * -EOPNOTSUPP: a zeroing that has changed nothing.
 */
void model_end (struct model_op *op, int error, const void *data);

/* The same, where only holes have been told: these are zeroes. */
void model_end_extents (struct model_op *op, int error, const bool *is_hole);

/* The same for a diff, of which both operations have begun.  What is a hole
 * must be the same in both devices, and zeroes; what is none, the newer one's.
 */
void model_end_diff (struct model_diff *diff, int error);

/* Everything that D held at tick ISSUED is durable, by what the program did
 * itself.
 */
void model_is_durable (struct model_device *d, uint64_t issued);

/* All requests that go on will never be answered. */
void model_crash (struct model_device *d, enum sim_crash how);

/* While it is on, no read excludes anything: which leg is trusted changes, at
 * a moment that only the program knows.
 */
void model_set_changing (bool is_on);

/* Other legs than those that were read may be read from now on. */
void model_allow_excluded (struct model_device *d);

/* Every sector of the disk holds what D may hold after a crash. */
void model_check_disk (const struct model_device *d,
                       const struct sim_disk *disk);

#endif /* SIM_MODEL_H */
