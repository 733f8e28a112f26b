/* The threads that do the blocking I/O of asynchronous calls.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Invariants, of each pool, under the lock:
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

/* The threads of one floor, and what they are to do. */
struct pool {
  struct cond work_or_end;
  struct list queue;
  unsigned queue_length;
  struct thread threads[IO_THREADS_MAX];
  unsigned thread_count;
  unsigned idle_count;
  bool is_ending; /* no more threads, and those that are there go */
};

static struct mutex lock = MUTEX_INITIALIZER;
static struct pool pools[IO_FLOORS];
static struct cond ended;
static bool pools_exist;

static unsigned reference_count;
static bool is_ending; /* some pool, or all */

/* Take the first of the queue, or NULL.  The caller holds the lock. */
static struct io_work *
take_work_locked (struct pool *pool)
{
  struct list *link = list_pop_front (&pool->queue);

  if (link == NULL)
    return NULL;
  pool->queue_length--;
  return list_entry (link, struct io_work, link);
}

static void
io_thread_main (void *arg)
{
  struct pool *pool = arg;

  mutex_lock (&lock);
  for (;;) {
    struct io_work *work = take_work_locked (pool);

    if (work != NULL) {
      mutex_unlock (&lock);
      work->fn (work);
      mutex_lock (&lock);
      continue;
    }
    if (pool->is_ending)
      break;
    pool->idle_count++;
    cond_wait (&pool->work_or_end, &lock);
    pool->idle_count--;
  }
  mutex_unlock (&lock);
}

/* Start one more thread.  The caller holds the lock. */
static int
start_thread_locked (struct pool *pool)
{
  int r;

  if (pool->thread_count == IO_THREADS_MAX)
    return -EAGAIN;
  r = thread_start (&pool->threads[pool->thread_count], "dmio-io",
                    io_thread_main, pool);
  if (r == 0)
    pool->thread_count++;
  return r;
}

void
io_threads_get (void)
{
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);

  if (!pools_exist) {
    for (i = 0; i < IO_FLOORS; ++i) {
      cond_init (&pools[i].work_or_end);
      list_init (&pools[i].queue);
    }
    cond_init (&ended);
    pools_exist = true;
  }
  /* A new life must not begin while the last one is being ended. */
  while (is_ending)
    cond_wait (&ended, &lock);
  reference_count++;
}

/* What was submitted to threads that had gone, by others that had not. */
static void
do_what_is_left (void)
{
  struct io_work *work;
  unsigned i;

  for (i = 0; i < IO_FLOORS; ++i)
    while ((work = take_work_locked (&pools[i])) != NULL) {
      mutex_unlock (&lock);
      work->fn (work);
      mutex_lock (&lock);
      i = 0; /* it may have submitted more */
    }
}

/* End the threads of POOL, once its queue is empty.  The caller holds the
 * lock, which is let go meanwhile.
 */
static void
end_threads_locked (struct pool *pool)
{
  unsigned i;

  pool->is_ending = true;
  cond_broadcast (&pool->work_or_end);
  mutex_unlock (&lock);
  for (i = 0; i < pool->thread_count; ++i)
    thread_join (&pool->threads[i]);
  mutex_lock (&lock);
}

void
io_threads_put (void)
{
  unsigned i;

  mutex_lock (&lock);
  assert (reference_count > 0);
  if (--reference_count > 0 || pools[IO_FLOOR_DEVICES].thread_count == 0) {
    mutex_unlock (&lock);
    return;
  }
  is_ending = true;
  /* From the top: what waits for a lower floor finds it at work. */
  for (i = IO_FLOORS; i-- > 0;)
    end_threads_locked (&pools[i]);
  do_what_is_left ();
  for (i = 0; i < IO_FLOORS; ++i) {
    pools[i].thread_count = 0;
    pools[i].is_ending = false;
  }
  is_ending = false;
  cond_broadcast (&ended);
  mutex_unlock (&lock);
}

int
io_threads_start (enum io_floor top)
{
  unsigned i;
  int r = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);

  if (reference_count == 0)
    return -EINVAL;
  for (i = 0; i <= top && r == 0; ++i)
    if (pools[i].thread_count == 0)
      r = start_thread_locked (&pools[i]);
  return r;
}

/* Put WORK behind the others of its floor.  The caller holds the lock. */
static struct pool *
enqueue_locked (struct io_work *work)
{
  struct pool *pool = &pools[work->floor];

  list_push_back (&pool->queue, &work->link);
  pool->queue_length++;
  return pool;
}

void
io_threads_submit (struct io_work *work)
{
  struct pool *pool;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);

  pool = enqueue_locked (work);
  assert (pool->thread_count > 0);
  /* A thread that has been woken counts as idle until it gets up, so each
   * piece of work in the queue needs one of its own (1).  When none can be
   * had the work waits for one of those that are there.  While they are
   * being ended, whoever submits this takes it, too, or whoever ends them.
   */
  if (pool->queue_length <= pool->idle_count)
    cond_signal (&pool->work_or_end);
  else if (!pool->is_ending)
    (void) start_thread_locked (pool);
}

void
io_threads_submit_last (struct io_work *work)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);

  /* Behind the others: who comes back may find another's work in front, and
   * whoever was woken for that finds this (1).
   */
  (void) enqueue_locked (work);
}

bool
io_threads_is_self (void)
{
  unsigned i, j;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);

  for (i = 0; i < IO_FLOORS; ++i)
    for (j = 0; j < pools[i].thread_count; ++j)
      if (thread_is_self (&pools[i].threads[j]))
        return true;
  return false;
}
