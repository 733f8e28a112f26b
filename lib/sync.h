/* Locks, condition variables and threads: the scheduling seam.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Everything that can make one thread wait for another goes through
 * these functions, and sync.c is the only file that calls pthreads.  A
 * simulator replaces sync.c at link time, so the types keep their
 * storage here but nobody else looks inside.
 *
 * Misuse (unlocking what is not locked, destroying what is in use) is a
 * programmer's error, and asserted.
 */

#ifndef DMIO_SYNC_H
#define DMIO_SYNC_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mutex {
  pthread_mutex_t impl;
};

struct cond {
  pthread_cond_t impl;
};

struct thread {
  pthread_t impl;
};

/* For mutexes that are never initialised by a function. */
#define MUTEX_INITIALIZER \
  { \
    PTHREAD_MUTEX_INITIALIZER \
  }

/* Initialise or destroy.  Neither allocates; neither can fail. */
void mutex_init (struct mutex *mutex);
void mutex_destroy (struct mutex *mutex);
void cond_init (struct cond *cond);
void cond_destroy (struct cond *cond);

/* Lock and unlock.  A mutex is not recursive. */
void mutex_lock (struct mutex *mutex);
void mutex_unlock (struct mutex *mutex);

/* Wait until woken.  The caller holds MUTEX, which is released
 * meanwhile.  A wait may end for no reason: test the condition again.
 */
void cond_wait (struct cond *cond, struct mutex *mutex);

/* The same, but not past DEADLINE_NS of clock_now_ns ().  Returns false
 * once the deadline has passed.
 */
bool cond_wait_until (struct cond *cond, struct mutex *mutex,
                      uint64_t deadline_ns);

void cond_signal (struct cond *cond);
void cond_broadcast (struct cond *cond);

/* Start a thread that runs FN (ARG), with all signals blocked (they
 * belong to the program).  NAME, of at most 15 bytes, is shown by
 * debuggers.  Returns 0 or a negative errno (-EAGAIN: no resources).
 * Each started thread must be joined once.
 */
int thread_start (struct thread *thread, const char *name,
                  void (*fn) (void *arg), void *arg);
void thread_join (struct thread *thread);

/* True if the caller runs on THREAD. */
bool thread_is_self (const struct thread *thread);

/* A pointer of which each thread has its own, NULL until it is set.  When a
 * thread ends, DESTROY is called there with its pointer, unless NULL; for
 * the main thread never.
 */
struct thread_slot {
  struct mutex lock;
  atomic_bool has_key;
  pthread_key_t key;
  void (*destroy) (void *value);
};

#define THREAD_SLOT_INITIALIZER(destroy_fn) \
  { \
    .lock = MUTEX_INITIALIZER, .destroy = destroy_fn \
  }

void *thread_slot_get (struct thread_slot *slot);

/* Returns 0, -EAGAIN (too many slots in this process) or -ENOMEM. */
int thread_slot_set (struct thread_slot *slot, void *value);

/* Nothing is destroyed any more.  For when the code of DESTROY goes. */
void thread_slot_delete (struct thread_slot *slot);

/* A number that is another one in the child of a fork, if it was asked for
 * before; threads other than the caller of fork are not in the child.
 */
unsigned process_number (void);

/* Hold MUTEX until the end of the enclosing block. */
#define ACQUIRE_LOCK_FOR_CURRENT_SCOPE(to_lock) \
  __attribute__ ((cleanup (mutex_unlock_scope), unused)) struct mutex * \
  SCOPE_LOCK_NAME (__LINE__) = mutex_lock_scope (to_lock)
#define SCOPE_LOCK_NAME(line) SCOPE_LOCK_PASTE (line)
#define SCOPE_LOCK_PASTE(line) scope_lock_##line

static inline struct mutex *
mutex_lock_scope (struct mutex *mutex)
{
  mutex_lock (mutex);
  return mutex;
}

static inline void
mutex_unlock_scope (struct mutex **mutex)
{
  mutex_unlock (*mutex);
}

#endif /* DMIO_SYNC_H */
