/* The threads that do the blocking I/O of asynchronous calls.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One set of threads serves the whole process.  It exists while anybody
 * holds a reference, and grows to IO_THREADS_MAX as work piles up.  Work
 * may block on a device, but never on other work.
 */

#ifndef DMIO_IO_THREADS_H
#define DMIO_IO_THREADS_H

#include <stdbool.h>

#include "list.h"

#define IO_THREADS_MAX 16

/* A piece of work, inside its owner's structure.  FN owns it from the
 * moment it is called and may free it.
 */
struct io_work {
  struct list link;
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

/* See that there is at least one thread.  Returns 0, or -EAGAIN or
 * -ENOMEM when none can be started, or -EINVAL without a reference.
 */
int io_threads_start (void);

/* Have WORK->fn (WORK) called on an I/O thread, soon, once.  Cannot fail
 * after io_threads_start has succeeded.
 */
void io_threads_submit (struct io_work *work);

/* As io_threads_submit, at the end of work on an I/O thread: it is counted
 * on that this thread is back at the queue at once, so no other is woken.
 * To be called at most once by each work, whose function must then return
 * without waiting for anything.
 */
void io_threads_submit_last (struct io_work *work);

/* True if the caller runs on an I/O thread, which must not wait for other
 * work: it may be the only one.
 */
bool io_threads_is_self (void);

#endif /* DMIO_IO_THREADS_H */
