/* A disk in memory that fails, blocks, remembers and forgets as told.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A struct fault_bdev is the disk; it belongs to the test.  Any number of
 * struct block_device can be opened on it, at once or one after the
 * other: closing one leaves the disk as it is, so a test can lose power,
 * open again and look.
 *
 * Every call of a device goes through these steps:
 *   1. the gate: the call waits if the gate is shut for it;
 *   2. the rules: the first that matches makes the call fail;
 *   3. the effect and the trace, in one step that no other call of the
 *      disk can divide.
 * A call in flight (bdev_begin) goes through them when it completes, which
 * is where fault_bdev_set_flight says; from begin to end it is in the disk.
 * Ending what is not in flight, or on another thread, is used wrongly.
 *
 * All functions are thread-safe.  Nothing here fails: what can't be had
 * (memory) and what is used wrongly ends the program with a message.
 *
 * Durability.  Reads see the visible image.  A write that has returned is
 * pending until it is flushed: a flush makes durable what had completed
 * when the flush was called (before the gate).  A write with BDEV_FUA is
 * durable at once, and alone.  The same goes for zeroing and discard.
 * fault_bdev_crash forgets what is pending, or a chosen part of it.  For a
 * call in flight "called" is begun, and "returned" is completed.
 *
 * Extents: what was never written, discarded, or zeroed with BDEV_UNMAP
 * is a hole.  A new disk is all holes.
 */

#ifndef DMIO_FAULT_BDEV_H
#define DMIO_FAULT_BDEV_H

#include <stdbool.h>
#include <stddef.h>

#include "block-device.h"

struct fault_bdev;
struct fault_trace;

/* Kinds of calls; masks of them where a parameter is called OPS. */
enum fault_op {
  FAULT_READ = 1 << 0,
  FAULT_WRITE = 1 << 1,
  FAULT_FLUSH = 1 << 2,
  FAULT_DISCARD = 1 << 3,
  FAULT_ZERO = 1 << 4,
  FAULT_ALL = (1 << 5) - 1,

  /* In traces only, with one of the kinds: the steps of a call in flight. */
  FAULT_BEGIN = 1 << 5,
  FAULT_END = 1 << 6,
};

/*----- disks -----------------------------------------------------------*/

/* Make a disk of SECTORS zero sectors.  NAME, copied, appears in traces.
 * TRACE may be NULL; several disks may share one.
 */
struct fault_bdev *fault_bdev_create (const char *name, sector_t sectors,
                                      struct fault_trace *trace);

/* Every device on it must have been closed.  NULL is ignored. */
void fault_bdev_destroy (struct fault_bdev *disk);

/* Open a device on the disk, to be closed with bdev_close (or by whoever
 * it is given to).
 * FAULT_OPEN_READ_ONLY: bdev_is_read_only, writes are -EROFS.
 * FAULT_OPEN_BARE: only the required slots: no flush, discard,
 * write_zeroes, extent or identity.
 * FAULT_OPEN_FLIGHT: calls can be in flight.
 */
#define FAULT_OPEN_READ_ONLY (1U << 0)
#define FAULT_OPEN_BARE (1U << 1)
#define FAULT_OPEN_FLIGHT (1U << 2)
struct block_device *fault_bdev_open (struct fault_bdev *disk, unsigned flags);

/* Devices open on the disk now. */
unsigned fault_bdev_open_count (struct fault_bdev *disk);

/* When a call in flight completes. */
enum fault_flight {
  FAULT_AT_END,    /* in bdev_end */
  FAULT_AT_BEGIN,  /* in bdev_begin; if the gate is shut, at the end */
  FAULT_ELSEWHERE, /* any time, on a thread of its own */
};

/* For calls begun from now on; a new disk has FAULT_AT_END. */
void fault_bdev_set_flight (struct fault_bdev *disk, enum fault_flight flight);

/* Calls begun, and not ended yet. */
unsigned fault_bdev_flying (struct fault_bdev *disk);

/*----- what is on it ---------------------------------------------------*/

/* Put data on the disk, at once durable, or look at one of its images.
 * No rules, no gate, no trace, no counting.
 */
void fault_bdev_load (struct fault_bdev *disk, sector_t sector, sector_t count,
                      const void *data);
void fault_bdev_look (struct fault_bdev *disk, sector_t sector, sector_t count,
                      void *data);
void fault_bdev_look_durable (struct fault_bdev *disk, sector_t sector,
                              sector_t count, void *data);

/* Writes (and zeroings and discards) not durable yet. */
unsigned fault_bdev_pending (struct fault_bdev *disk);

/* Which of the pending sectors have reached the disk all the same: asked
 * for every sector of every pending write, in the order of the writes, then
 * of those in flight that have not completed, in the order of their begins.
 * INDEX is that of the write, from 0; what is kept is laid down in order.
 */
typedef bool (*fault_keep_fn) (void *context, unsigned index, sector_t sector);

/* Lose power: pending writes are gone, but those that KEEP wants (NULL:
 * none).  Afterwards both images are the same and nothing is pending.
 * Rules and gate stay as they are.  Calls in flight are lost: they will
 * change nothing any more, and end with -EIO.  There may be no blocking
 * calls.
 */
void fault_bdev_crash (struct fault_bdev *disk, fault_keep_fn keep,
                       void *context);

/* A fault_keep_fn: keeps write INDEX if that bit is set in the uint64_t
 * that CONTEXT points to; writes from 64 on are never kept.
 */
bool fault_keep_mask (void *context, unsigned index, sector_t sector);

/*----- failing ---------------------------------------------------------*/

/* Which calls fail, and how.  A call that failed has had no effect, but
 * for SECTORS_DONE; after a failed read the memory holds garbage.
 */
struct fault_rule {
  unsigned ops;          /* these kinds of calls */
  sector_t sector;       /* only calls that touch one of COUNT sectors from */
  sector_t count;        /* here on; 0: any call.  Flushes touch none. */
  unsigned skip;         /* so many matching calls pass first */
  unsigned times;        /* then so many fail; 0: for ever */
  int error;             /* negative errno; 0: -EIO */
  sector_t sectors_done; /* writes: so many sectors are written first */

  /* After SKIP only each EVERY-th fails, of at most TIMES; 0: all do. */
  unsigned every;

  /* The begin of calls in flight fails, not the call: only begins count.
   * With -EAGAIN the call is refused.
   */
  bool at_begin;
};

/* Rules add up, to at most FAULT_RULES_MAX, until they are forgotten.
 * All rules count a call; the oldest that wants to fail it does.
 */
#define FAULT_RULES_MAX 16
void fault_bdev_add_rule (struct fault_bdev *disk,
                          const struct fault_rule *rule);
void fault_bdev_heal (struct fault_bdev *disk);

/* The usual rules, with -EIO.  K counts from 0 and from now.  once: call
 * K fails and no other; from: call K and all later ones fail; range: all
 * calls that touch the range fail.
 */
void fault_bdev_fail_once (struct fault_bdev *disk, unsigned ops, unsigned k);
void fault_bdev_fail_from (struct fault_bdev *disk, unsigned ops, unsigned k);
void fault_bdev_fail_range (struct fault_bdev *disk, unsigned ops,
                            sector_t sector, sector_t count);

/* Calls that have failed by a rule, in all, and begins that have been
 * refused by one.
 */
unsigned fault_bdev_failed (struct fault_bdev *disk);
unsigned fault_bdev_refused (struct fault_bdev *disk);

/* Calls of these kinds that have come so far; waiting and failed ones
 * too, but not those refused.
 */
unsigned fault_bdev_calls (struct fault_bdev *disk, unsigned ops);

/* The most calls (of any kind) that were in the disk at the same time. */
unsigned fault_bdev_calls_at_once (struct fault_bdev *disk);

/*----- blocking --------------------------------------------------------*/

/* Shut the gate: calls of these kinds that touch one of COUNT sectors
 * from SECTOR on (0: any call; flushes touch none) wait there.  A second
 * shutting replaces the first; those that wait already go on waiting.
 */
void fault_bdev_gate_shut (struct fault_bdev *disk, unsigned ops,
                           sector_t sector, sector_t count);

/* Wait until at least N calls are waiting at the gate at once. */
void fault_bdev_gate_wait (struct fault_bdev *disk, unsigned n);

/* Calls waiting at the gate now. */
unsigned fault_bdev_gate_waiting (struct fault_bdev *disk);

/* Let the N calls that came first go on, of those waiting (at least N);
 * the gate stays shut.
 */
void fault_bdev_gate_pass (struct fault_bdev *disk, unsigned n);

/* Open the gate: everybody goes on. */
void fault_bdev_gate_open (struct fault_bdev *disk);

/*----- the order of things ---------------------------------------------*/

/* One call, recorded in the moment of its effect, or a step of one in
 * flight.
 */
struct fault_event {
  const struct fault_bdev *disk;
  enum fault_op op;
  sector_t sector;
  sector_t count; /* of a flush: both 0 */
  unsigned flags; /* BDEV_... */
  bool more;      /* of a begin */
  int error;      /* 0 or the negative errno that the call returned */
};

/* A trace of all disks created with it, which must be destroyed first. */
struct fault_trace *fault_trace_create (void);
void fault_trace_destroy (struct fault_trace *trace);

/* Events so far, one of them, and forgetting them all. */
size_t fault_trace_count (struct fault_trace *trace);
struct fault_event fault_trace_event (struct fault_trace *trace, size_t i);
void fault_trace_reset (struct fault_trace *trace);

/* The events of kinds OPS as text, to be freed by the caller, such as
 *   "cow write 16+8, cow flush, origin write 0+8 fua, origin flush -5"
 * (disk, kind, SECTOR+COUNT but for flushes, flags fua unmap fast, error
 * if any).  Kinds: read write flush discard zero.  If OPS has FAULT_BEGIN or
 * FAULT_END, also these: "cow begin-write 16+8 more -11, cow end-write 16+8".
 */
char *fault_trace_text (struct fault_trace *trace, unsigned ops);

/* Cut the power of all disks of the trace before the effect of event N,
 * counted from now on and from 0, of kinds OPS: that call, and all later
 * ones of any kind but reads, fail with -EIO and have no effect and no
 * event; with FAULT_READ in OPS reads too.  fault_trace_power_on ends
 * it.  To see the state after a power loss at every step of something:
 * cut at N = 0, 1, ..., run, crash the disks, power on, open again, until
 * the power was not cut (fault_trace_power_is_cut).
 */
void fault_trace_cut_power (struct fault_trace *trace, unsigned ops,
                            unsigned n);
bool fault_trace_power_is_cut (struct fault_trace *trace);
void fault_trace_power_on (struct fault_trace *trace);

#endif /* DMIO_FAULT_BDEV_H */
