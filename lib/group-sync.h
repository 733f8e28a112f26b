/* Flushes that are shared, and that fail for good.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Two things are wrong with calling fdatasync from many threads at once.
 * Linux reports a failed writeback to one caller only, and then counts the
 * lost pages as clean: a second caller, or a second try, is told that all
 * is well.  And n callers cost n flushes where one would do.
 *
 * Here one flush runs at a time.  Whoever comes while it runs waits for
 * the next one, together with all others who do.  Once a flush has failed,
 * every later one fails with the same error, for ever.
 */

#ifndef DMIO_GROUP_SYNC_H
#define DMIO_GROUP_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include "sync.h"

struct group_sync {
  struct mutex lock;
  struct cond ended;
  uint64_t started; /* flushes so far */
  bool is_running;  /* the last of them */
  int error;        /* of the first that failed, or 0 */
};

void group_sync_init (struct group_sync *gs);
void group_sync_destroy (struct group_sync *gs);

/* See that FLUSH (ARG) is called, by this thread or another one, from its
 * beginning to its end after this has been called.  All callers give the
 * same FLUSH, which returns 0 or a negative errno.  Returns 0, or the error
 * of the first flush that has ever failed.
 */
int group_sync (struct group_sync *gs, int (*flush) (void *arg), void *arg);

/* For flushes that are in flight: begin one, if none is running.  Returns 0,
 * and then group_sync_end is to be called with its result when it has ended,
 * by any thread, whatever its beginner does meanwhile; -EAGAIN if one is
 * running: group_sync waits for it; or the error with which all fails.
 */
int group_sync_begin (struct group_sync *gs);
void group_sync_end (struct group_sync *gs, int result);

/* Something else has found that what was written is lost: fail from now
 * on, with ERROR (a negative errno).
 */
void group_sync_fail (struct group_sync *gs, int error);

/* 0, or the error with which all fails. */
int group_sync_error (struct group_sync *gs);

/* Forget it: what was lost is going to be written again.  Waits for a flush
 * that is running.
 */
void group_sync_reset (struct group_sync *gs);

#endif /* DMIO_GROUP_SYNC_H */
