/* The threads that do the blocking I/O of asynchronous calls.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Invariants, under the lock:
 * (1) thread_count > 0 if the queue is not empty, and at least as many
 *     threads are idle, new or about to come back as there is work in
 *     it, unless no more can be had;
 * (2) threads[0 .. thread_count) have been started and not joined;
 * (3) no thread is left when reference_count is 0 and nobody is ending
 *     them.
 *
 * Locks: `lock` is a leaf, never held while work runs.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdbool.h>

#include "io-threads.h"
#include "sync.h"

static struct mutex lock = MUTEX_INITIALIZER;
static struct cond work_or_end;
static struct cond ended;
static bool conds_exist;

static unsigned reference_count;
static struct list queue = LIST_INITIALIZER (queue);
static unsigned queue_length;
static struct thread threads[IO_THREADS_MAX];
static unsigned thread_count;
static unsigned idle_count;
static bool is_ending;

static void
io_thread_main (void *arg)
{
  (void) arg;

  mutex_lock (&lock);
  for (;;) {
    struct list *link = list_pop_front (&queue);

    if (link != NULL) {
      struct io_work *work = list_entry (link, struct io_work, link);

      queue_length--;
      mutex_unlock (&lock);
      work->fn (work);
      mutex_lock (&lock);
      continue;
    }
    if (is_ending)
      break;
    idle_count++;
    cond_wait (&work_or_end, &lock);
    idle_count--;
  }
  mutex_unlock (&lock);
}

/* Start one more thread.  The caller holds the lock. */
static int
start_thread_locked (void)
{
  int r;

  if (thread_count == IO_THREADS_MAX)
    return -EAGAIN;
  r = thread_start (&threads[thread_count], "dmio-io", io_thread_main, NULL);
  if (r == 0)
    thread_count++;
  return r;
}

void
io_threads_get (void)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);

  if (!conds_exist) {
    cond_init (&work_or_end);
    cond_init (&ended);
    conds_exist = true;
  }
  /* A new life must not begin while the last one is being ended. */
  while (is_ending)
    cond_wait (&ended, &lock);
  reference_count++;
}

void
io_threads_put (void)
{
  unsigned i, n;

  mutex_lock (&lock);
  assert (reference_count > 0);
  if (--reference_count > 0 || thread_count == 0) {
    mutex_unlock (&lock);
    return;
  }
  is_ending = true;
  n = thread_count;
  cond_broadcast (&work_or_end);
  mutex_unlock (&lock);

  for (i = 0; i < n; ++i)
    thread_join (&threads[i]);

  mutex_lock (&lock);
  assert (list_is_empty (&queue));
  thread_count = 0;
  is_ending = false;
  cond_broadcast (&ended);
  mutex_unlock (&lock);
}

int
io_threads_start (void)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);

  if (reference_count == 0)
    return -EINVAL;
  return thread_count > 0 ? 0 : start_thread_locked ();
}

void
io_threads_submit (struct io_work *work)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);

  assert (thread_count > 0);
  list_push_back (&queue, &work->link);
  queue_length++;
  /* A thread that has been woken counts as idle until it gets up, so each
   * piece of work in the queue needs one of its own (1).  When none can be
   * had the work waits for one of those that are there.  While they are
   * being ended, whoever submits this takes it, too.
   */
  if (queue_length <= idle_count)
    cond_signal (&work_or_end);
  else if (!is_ending)
    (void) start_thread_locked ();
}

void
io_threads_submit_last (struct io_work *work)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);

  /* Behind the others: who comes back may find another's work in front, and
   * whoever was woken for that finds this (1).
   */
  list_push_back (&queue, &work->link);
  queue_length++;
}

bool
io_threads_is_self (void)
{
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);

  for (i = 0; i < thread_count; ++i)
    if (thread_is_self (&threads[i]))
      return true;
  return false;
}
