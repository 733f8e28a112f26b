/* Locks, condition variables and threads of fibers: lib/sync.h, simulated.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Linked in place of lib/sync.c.  The state is kept in the storage of the
 * pthread types.  All bytes zero is an unlocked mutex, as in
 * MUTEX_INITIALIZER.
 *
 * A mutex is not fair: who wakes one waiter may be overtaken by another
 * fiber.  A signal wakes any one of those that wait.  Both is what POSIX
 * allows.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "sim.h"
#include "sync.h"

#define IS_DEAD 0xdeadU

struct sim_mutex {
  struct fiber *owner;
  uint32_t waiting;
  uint32_t mark;
};

struct sim_cond {
  uint32_t waiting;
  uint32_t mark;
};

_Static_assert(sizeof (struct sim_mutex) <= sizeof (struct mutex),
               "no room in struct mutex");
_Static_assert(sizeof (struct sim_cond) <= sizeof (struct cond),
               "no room in struct cond");
_Static_assert(sizeof (struct fiber *) <= sizeof (struct thread),
               "no room in struct thread");

static struct sim_mutex *
mutex_of (struct mutex *mutex)
{
  return (struct sim_mutex *) (void *) mutex;
}

static struct sim_cond *
cond_of (struct cond *cond)
{
  return (struct sim_cond *) (void *) cond;
}

void
mutex_init (struct mutex *mutex)
{
  memset (mutex, 0, sizeof *mutex);
}

void
mutex_destroy (struct mutex *mutex)
{
  struct sim_mutex *m = mutex_of (mutex);

  if (m->owner != NULL || m->waiting > 0 || m->mark == IS_DEAD)
    sim_fail ("a mutex is destroyed while it is used, or twice");
  m->mark = IS_DEAD;
}

static void
lock (struct sim_mutex *m)
{
  if (m->mark == IS_DEAD)
    sim_fail ("a mutex is locked after its end");
  if (m->owner == sim_self ())
    sim_fail ("a mutex is locked twice by one thread");
  while (m->owner != NULL) {
    m->waiting++;
    (void) sim_block ("a mutex", m, SIM_NEVER);
    m->waiting--;
  }
  m->owner = sim_self ();
}

static void
unlock (struct sim_mutex *m)
{
  if (m->owner != sim_self ())
    sim_fail ("a mutex is unlocked by one who does not hold it");
  m->owner = NULL;
  if (m->waiting > 0)
    (void) sim_wake_one (m);
}

void
mutex_lock (struct mutex *mutex)
{
  sim_point ("lock", mutex);
  lock (mutex_of (mutex));
}

void
mutex_unlock (struct mutex *mutex)
{
  unlock (mutex_of (mutex));
  /* It is not looked at any more: another one may free it meanwhile. */
  sim_point ("unlock", NULL);
}

void
cond_init (struct cond *cond)
{
  memset (cond, 0, sizeof *cond);
}

void
cond_destroy (struct cond *cond)
{
  struct sim_cond *c = cond_of (cond);

  if (c->waiting > 0 || c->mark == IS_DEAD)
    sim_fail ("a condition variable is destroyed while it is used, or twice");
  c->mark = IS_DEAD;
}

bool
cond_wait_until (struct cond *cond, struct mutex *mutex, uint64_t deadline_ns)
{
  struct sim_cond *c = cond_of (cond);
  bool is_in_time = true;

  if (c->mark == IS_DEAD)
    sim_fail ("a condition variable is waited for after its end");
  unlock (mutex_of (mutex));
  if (sim_is_spurious ())
    sim_point ("a wait that ends for no reason", c);
  else {
    c->waiting++;
    is_in_time = sim_block ("a condition", c, deadline_ns);
    if (!is_in_time)
      c->waiting--; /* else whoever woke us has; it may be gone by now */
  }
  lock (mutex_of (mutex));
  return is_in_time;
}

void
cond_wait (struct cond *cond, struct mutex *mutex)
{
  (void) cond_wait_until (cond, mutex, SIM_NEVER);
}

static void
check_signal (struct cond *cond)
{
  if (cond_of (cond)->mark == IS_DEAD)
    sim_fail ("a condition variable is signalled after its end");
}

void
cond_signal (struct cond *cond)
{
  check_signal (cond);
  if (cond_of (cond)->waiting > 0)
    cond_of (cond)->waiting -= sim_wake_one (cond);
  sim_point ("signal", NULL);
}

void
cond_broadcast (struct cond *cond)
{
  check_signal (cond);
  if (cond_of (cond)->waiting > 0)
    cond_of (cond)->waiting -= sim_wake_all (cond);
  sim_point ("broadcast", NULL);
}

int
thread_start (struct thread *thread, const char *name, void (*fn) (void *arg),
              void *arg)
{
  struct fiber *fiber;

  if (sim_thread_fails ())
    return -EAGAIN;
  fiber = sim_fiber_start (name, fn, arg);
  memcpy (thread, &fiber, sizeof fiber);
  sim_point ("start of a thread", NULL);
  return 0;
}

static struct fiber *
fiber_of (const struct thread *thread)
{
  struct fiber *fiber;

  memcpy (&fiber, thread, sizeof fiber);
  return fiber;
}

void
thread_join (struct thread *thread)
{
  sim_fiber_join (fiber_of (thread));
}

bool
thread_is_self (const struct thread *thread)
{
  return fiber_of (thread) == sim_self ();
}

/* Only rings want slots, and no simulated disk has one: a fiber gets none,
 * which is an answer that every caller must live with.
 */
void *
thread_slot_get (struct thread_slot *slot)
{
  (void) slot;
  return NULL;
}

int
thread_slot_set (struct thread_slot *slot, void *value)
{
  (void) slot;
  (void) value;
  return -ENOMEM;
}

void
thread_slot_delete (struct thread_slot *slot)
{
  (void) slot;
}

/* Nothing forks. */
unsigned
process_number (void)
{
  return 0;
}
