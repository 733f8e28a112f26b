/* What the parts of a watched device share.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * For bdev-watch.c and bdev-watch-helpers.c alone.
 */

#ifndef DMIO_BDEV_WATCH_IMPL_H
#define DMIO_BDEV_WATCH_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>

#include "block-device.h"
#include "list.h"
#include "sync.h"

#define WATCH_HELPERS_MAX 16

/* The parts in which the time-out is counted. */
#define WATCH_SLICES 8

enum watch_op {
  WATCH_READ,
  WATCH_WRITE,
  WATCH_FLUSH,
  WATCH_DISCARD,
  WATCH_WRITE_ZEROES,
  WATCH_EXTENT,
  WATCH_IDENTITY,
};

/* States of a request: see bdev-watch-helpers.c. */
enum watch_state { WATCH_QUEUED, WATCH_RUNNING, WATCH_ENDED, WATCH_GIVEN_UP };

/* One operation.  The lock guards it, but for its data, which are the helper's
 * while it is RUNNING and the caller's when it has ENDED.
 */
struct watch_request {
  struct list link; /* in the queue, or among those running */
  struct cond changed;
  enum watch_state state;
  unsigned holders; /* its caller, and its helper */

  enum watch_op op;
  unsigned flags;
  sector_t sector, count;
  void *memory; /* reads and writes */
  size_t bytes;
  struct bdev_extent extent;
  struct bdev_identity identity;

  int result;
  uint64_t ended_ns;

  /* How long its caller has waited, and since when nothing was answered. */
  unsigned slices, silent_slices;
  uint64_t answers_seen;
};

struct watch {
  struct block_device *lower;
  uint64_t slice_ns;

  struct mutex lock;
  struct cond work;    /* for helpers: there is some, or it is closed */
  struct cond drained; /* nothing is stuck any more */
  struct list queue;
  unsigned queue_length;
  struct list running;
  unsigned stuck_count;
  uint64_t answers;
  int error;
  bool is_closed;

  struct thread helpers[WATCH_HELPERS_MAX];
  atomic_uint process; /* of which they are */
  unsigned helper_count;
  unsigned idle_count;

  struct list grave; /* closed, but stuck */
};

/* Make a request, of BYTES of memory of its own.  NULL: there is none. */
struct watch_request *watch_request_create (enum watch_op op, sector_t sector,
                                            size_t bytes);

/* Free one that was not submitted, or has been awaited.  NULL is ignored. */
void watch_request_destroy (struct watch_request *rq);

/* Hand RQ to a helper.  Returns 0, and then it must be awaited; or the error of
 * the device, or that of starting a thread.
 */
int watch_submit (struct watch *w, struct watch_request *rq);

/* Wait for the end of *RQ, which is the caller's again then.  Unless the device
 * is given up: then *RQ becomes NULL.  Returns its result, or -ETIMEDOUT.
 */
int watch_await (struct watch *w, struct watch_request **rq);

/* If this is the child of a fork, the helpers are no more: forget them. */
void watch_follow_fork (struct watch *w);

#endif /* DMIO_BDEV_WATCH_IMPL_H */
