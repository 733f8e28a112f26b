/* The scheduling seam over pthreads.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "sync.h"

/* The result of a call that fails only by a programmer's error. */
#define MUST_BE_ZERO(call) \
  do { \
    int must_be_zero_ = (call); \
    if (must_be_zero_ != 0) \
      abort (); \
  } while (0)

void
mutex_init (struct mutex *mutex)
{
  MUST_BE_ZERO (pthread_mutex_init (&mutex->impl, NULL));
}

void
mutex_destroy (struct mutex *mutex)
{
  MUST_BE_ZERO (pthread_mutex_destroy (&mutex->impl));
}

void
mutex_lock (struct mutex *mutex)
{
  MUST_BE_ZERO (pthread_mutex_lock (&mutex->impl));
}

void
mutex_unlock (struct mutex *mutex)
{
  MUST_BE_ZERO (pthread_mutex_unlock (&mutex->impl));
}

void
cond_init (struct cond *cond)
{
  pthread_condattr_t attr;

  /* Deadlines are of the monotonic clock: a clock that is set back must
   * not hold anybody.
   */
  MUST_BE_ZERO (pthread_condattr_init (&attr));
  MUST_BE_ZERO (pthread_condattr_setclock (&attr, CLOCK_MONOTONIC));
  MUST_BE_ZERO (pthread_cond_init (&cond->impl, &attr));
  MUST_BE_ZERO (pthread_condattr_destroy (&attr));
}

void
cond_destroy (struct cond *cond)
{
  MUST_BE_ZERO (pthread_cond_destroy (&cond->impl));
}

void
cond_wait (struct cond *cond, struct mutex *mutex)
{
  MUST_BE_ZERO (pthread_cond_wait (&cond->impl, &mutex->impl));
}

bool
cond_wait_until (struct cond *cond, struct mutex *mutex, uint64_t deadline_ns)
{
  struct timespec ts = {
    .tv_sec = (time_t) (deadline_ns / 1000000000U),
    .tv_nsec = (long) (deadline_ns % 1000000000U),
  };
  int r = pthread_cond_timedwait (&cond->impl, &mutex->impl, &ts);

  if (r == ETIMEDOUT)
    return false;
  MUST_BE_ZERO (r);
  return true;
}

void
cond_signal (struct cond *cond)
{
  MUST_BE_ZERO (pthread_cond_signal (&cond->impl));
}

void
cond_broadcast (struct cond *cond)
{
  MUST_BE_ZERO (pthread_cond_broadcast (&cond->impl));
}

struct start {
  void (*fn) (void *arg);
  void *arg;
};

static void *
run (void *data)
{
  struct start start = *(struct start *) data;

  free (data);
  start.fn (start.arg);
  return NULL;
}

int
thread_start (struct thread *thread, const char *name, void (*fn) (void *arg),
              void *arg)
{
  struct start *start = malloc (sizeof *start);
  sigset_t all, old;
  int r;

  if (start == NULL)
    return -ENOMEM;
  start->fn = fn;
  start->arg = arg;

  sigfillset (&all);
  MUST_BE_ZERO (pthread_sigmask (SIG_SETMASK, &all, &old));
  r = pthread_create (&thread->impl, NULL, run, start);
  MUST_BE_ZERO (pthread_sigmask (SIG_SETMASK, &old, NULL));
  if (r != 0) {
    free (start);
    return -r;
  }
  /* A name that is too long costs the name, not the thread. */
  (void) pthread_setname_np (thread->impl, name);
  return 0;
}

void
thread_join (struct thread *thread)
{
  MUST_BE_ZERO (pthread_join (thread->impl, NULL));
}

bool
thread_is_self (const struct thread *thread)
{
  return pthread_equal (thread->impl, pthread_self ()) != 0;
}

void *
thread_slot_get (struct thread_slot *slot)
{
  if (!atomic_load_explicit (&slot->has_key, memory_order_acquire))
    return NULL;
  return pthread_getspecific (slot->key);
}

int
thread_slot_set (struct thread_slot *slot, void *value)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&slot->lock);
  if (!atomic_load (&slot->has_key)) {
    int r = pthread_key_create (&slot->key, slot->destroy);

    if (r != 0)
      return -r;
    atomic_store (&slot->has_key, true);
  }
  return -pthread_setspecific (slot->key, value);
}

void
thread_slot_delete (struct thread_slot *slot)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&slot->lock);
  if (atomic_exchange (&slot->has_key, false))
    MUST_BE_ZERO (pthread_key_delete (slot->key));
}

static pthread_once_t number_once = PTHREAD_ONCE_INIT;
static atomic_uint number;

static void
next_number (void)
{
  atomic_fetch_add (&number, 1);
}

static void
watch_forks (void)
{
  /* Only for want of memory: then a child has the number of its parent. */
  (void) pthread_atfork (NULL, NULL, next_number);
}

unsigned
process_number (void)
{
  MUST_BE_ZERO (pthread_once (&number_once, watch_forks));
  return atomic_load_explicit (&number, memory_order_relaxed);
}
