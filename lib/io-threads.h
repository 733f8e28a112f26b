/* The threads that do the blocking I/O of asynchronous calls.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Two sets of threads serve the whole process, one for each floor of work.
 * They exist while anybody holds a reference, and each grows to IO_THREADS_MAX
 * as work piles up.  Work may block on a device, and on work of a lower floor,
 * but never on other work of its own.
 */

#ifndef DMIO_IO_THREADS_H
#define DMIO_IO_THREADS_H

#include <stdbool.h>

#include "list.h"

#define IO_THREADS_MAX 16

enum io_floor {
  IO_FLOOR_DEVICES, /* waits for devices only */
  IO_FLOOR_STACKED, /* may wait for the other: reads a target, say, which waits
                     * for a copy between its devices */
  IO_FLOORS         /* how many there are */
};

/* A piece of work, inside its owner's structure.  FN owns it from the
 * moment it is called and may free it.
 */
struct io_work {
  struct list link;
  enum io_floor floor;
  void (*fn) (struct io_work *work);
};

/* Take a reference.  Starts no thread, so it may be done before a
 * fork.
 */
void io_threads_get (void);

/* Drop a reference.  The last one ends the threads, after all work
 * submitted has been done.  Not to be called from an I/O thread.
 */
void io_threads_put (void);

/* See that there is at least one thread for each floor up to TOP.  Returns 0,
 * or -EAGAIN or -ENOMEM when none can be started, or -EINVAL without a
 * reference.
 */
int io_threads_start (enum io_floor top);

/* Have WORK->fn (WORK) called on an I/O thread, soon, once.  Cannot fail
 * after io_threads_start has succeeded for its floor.
 */
void io_threads_submit (struct io_work *work);

/* As io_threads_submit, at the end of work of the same floor on an I/O thread:
 * it is counted on that this thread is back at the queue at once, so no other
 * is woken.
 * To be called at most once by each work, whose function must then return
 * without waiting for anything.
 */
void io_threads_submit_last (struct io_work *work);

/* True if the caller runs on an I/O thread, which must not wait for other
 * work: it may be the only one.
 */
bool io_threads_is_self (void);

#endif /* DMIO_IO_THREADS_H */
