/* What the parts of the disk that fails as told share.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Memory comes from fault_allocate, not malloc, so that a test that makes
 * malloc fail does not meet us.
 *
 * Locks: a disk's lock before its trace's.
 */

#ifndef DMIO_FAULT_BDEV_IMPL_H
#define DMIO_FAULT_BDEV_IMPL_H

#include <stdint.h>

#include "fault-bdev.h"
#include "list.h"
#include "sync.h"

#define FAULT_OP_KINDS 5

/* What is used wrongly ends the program. */
void fault_die (const char *format, ...)
  __attribute__ ((format (printf, 1, 2), noreturn));

/* SIZE bytes of zeroes, to be freed with free. */
void *fault_allocate (size_t size);

/*----- traces ----------------------------------------------------------*/

void fault_trace_add_disk (struct fault_trace *trace);
void fault_trace_remove_disk (struct fault_trace *trace);

/* Record EVENT and return its error, or -EIO if there is no power.  TRACE
 * may be NULL.
 */
int fault_trace_record (struct fault_trace *trace,
                        const struct fault_event *event);

/* Record a begin or an end: power has nothing to do with them. */
void fault_trace_note (struct fault_trace *trace,
                       const struct fault_event *event);

/*----- disks -----------------------------------------------------------*/

/* One call of a device. */
struct fault_call {
  enum fault_op op;
  sector_t sector;
  sector_t count;
  unsigned flags;
  const struct iovec *iov; /* of reads and writes */
  int iovcnt;
};

struct fault_pending {
  struct list link;
  uint64_t seq;
  sector_t sector;
  sector_t count;
  bool is_hole;
  unsigned char *data; /* NULL: zeroes */
};

struct fault_waiter {
  struct list link;
  bool may_go;
};

/* A call in flight. */
struct fault_flying {
  struct list link;
  struct fault_bdev *disk;
  struct fault_call call;
  const struct bdev_io *io;
  const void *begun_by; /* a mark of the thread */
  uint64_t seq;         /* of the last write when it was begun */
  bool has_thread;      /* of its own, which does it */
  struct thread thread;
  bool is_done; /* ERROR is its result */
  int error;
  bool is_lost; /* with the power */
};

struct fault_bdev {
  char *name;
  uint64_t number; /* of the disk, for bdev_identity */
  sector_t sectors;
  struct fault_trace *trace;

  struct mutex lock;
  unsigned open_count;

  unsigned char *visible;
  bool *visible_data; /* of each sector: not a hole */
  unsigned char *durable;
  bool *durable_data;
  uint64_t *durable_seq; /* (1) */
  uint64_t last_seq;
  struct list pending; /* (2) */

  unsigned rule_count;
  struct fault_rule rules[FAULT_RULES_MAX];
  unsigned seen[FAULT_RULES_MAX]; /* calls that matched each rule */
  unsigned failed;
  unsigned refused;
  unsigned calls[FAULT_OP_KINDS];
  unsigned calls_now;
  unsigned calls_at_once;

  enum fault_flight flight;
  struct list flying; /* in the order of their begins */
  unsigned flying_count;

  unsigned gate_ops;
  sector_t gate_sector;
  sector_t gate_count;
  struct list waiters; /* (3) */
  unsigned waiting;
  struct cond gate_opened;
  struct cond waiter_came;
};

/* The rule that makes CALL fail now, or NULL: one for begins if AT_BEGIN,
 * else one of the others.  All that match count it.  The caller holds the
 * lock.
 */
const struct fault_rule *fault_apply_rules_locked (struct fault_bdev *d,
                                                   const struct fault_call *c,
                                                   bool at_begin);
int fault_rule_error (const struct fault_rule *rule);

/* Is the gate shut for CALL?  And wait there if it is.  The caller holds
 * the lock.
 */
bool fault_gate_is_shut_locked (const struct fault_bdev *d,
                                const struct fault_call *call);
void fault_wait_at_gate_locked (struct fault_bdev *d,
                                const struct fault_call *call);

/* Change the first COUNT sectors that CALL is about, and make what had
 * been changed before durable.  The caller holds the lock.
 */
void fault_change_locked (struct fault_bdev *d, const struct fault_call *call,
                          sector_t count);
void fault_flush_locked (struct fault_bdev *d, uint64_t up_to_seq);

/* Copy between the vector and BYTES of an image. */
void fault_copy_vector (const struct iovec *iov, int iovcnt,
                        unsigned char *image, size_t bytes, bool to_image);

#endif /* DMIO_FAULT_BDEV_IMPL_H */
