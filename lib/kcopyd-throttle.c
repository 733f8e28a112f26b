/* A throttle: holds back what clients of kcopyd copy in the background.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The arithmetic is in kcopyd-throttle-state.c; here are the lock, the
 * clock and the references: one of whoever made it, one of each client, one
 * of each part that runs.
 *
 * Locks: `lock` is a leaf; clients call with theirs held.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "clock.h"
#include "kcopyd-throttle-impl.h"
#include "kcopyd-throttle-state.h"
#include "sync.h"

#define CACHE_LINE_BYTES 64

struct kcopyd_throttle {
  struct mutex lock;
  unsigned references;
  struct throttle_state state;

  /* Written by every I/O of the foreground: away from the rest. */
  char gap[CACHE_LINE_BYTES];
  atomic_uint_least64_t foreground;
  char gap_behind[CACHE_LINE_BYTES];
};

int
kcopyd_throttle_create (struct kcopyd_throttle **result)
{
  struct kcopyd_throttle *t = calloc (1, sizeof *t);

  if (t == NULL)
    return -ENOMEM;
  mutex_init (&t->lock);
  t->references = 1;
  throttle_state_init (&t->state);
  atomic_init (&t->foreground, 0);
  *result = t;
  return 0;
}

void
kcopyd_throttle_destroy (struct kcopyd_throttle *throttle)
{
  if (throttle != NULL)
    kcopyd_throttle_put (throttle);
}

void
kcopyd_throttle_get (struct kcopyd_throttle *throttle)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&throttle->lock);
  throttle->references++;
}

void
kcopyd_throttle_put (struct kcopyd_throttle *throttle)
{
  unsigned left;

  mutex_lock (&throttle->lock);
  left = --throttle->references;
  mutex_unlock (&throttle->lock);
  if (left > 0)
    return;
  assert (throttle->state.running == 0);
  mutex_destroy (&throttle->lock);
  free (throttle);
}

void
kcopyd_throttle_set_rate (struct kcopyd_throttle *throttle,
                          uint64_t bytes_per_second)
{
  uint64_t now_ns = clock_now_ns ();

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&throttle->lock);
  throttle_state_set_rate (&throttle->state, bytes_per_second, now_ns);
}

int
kcopyd_throttle_set_share (struct kcopyd_throttle *throttle,
                           unsigned int percent)
{
  if (percent == 0 || percent > 100)
    return -EINVAL;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&throttle->lock);
  throttle->state.share = percent;
  return 0;
}

void
kcopyd_throttle_foreground_begin (struct kcopyd_throttle *throttle)
{
  atomic_fetch_add_explicit (&throttle->foreground, FOREGROUND_BEGIN,
                             memory_order_relaxed);
}

void
kcopyd_throttle_foreground_end (struct kcopyd_throttle *throttle)
{
  atomic_fetch_add_explicit (&throttle->foreground, FOREGROUND_END,
                             memory_order_relaxed);
}

uint64_t
kcopyd_throttle_begin (struct kcopyd_throttle *throttle, uint64_t bytes,
                       uint64_t now_ns)
{
  uint64_t foreground = atomic_load_explicit (&throttle->foreground,
                                              memory_order_relaxed);
  uint64_t when;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&throttle->lock);
  when = throttle_state_begin (&throttle->state, bytes, foreground, now_ns);
  if (when == 0)
    throttle->references++;
  return when;
}

void
kcopyd_throttle_end (struct kcopyd_throttle *throttle, uint64_t unused_bytes,
                     uint64_t began_ns)
{
  uint64_t now_ns = clock_now_ns ();

  mutex_lock (&throttle->lock);
  throttle_state_end (&throttle->state, unused_bytes, began_ns, now_ns);
  mutex_unlock (&throttle->lock);
  kcopyd_throttle_put (throttle);
}
