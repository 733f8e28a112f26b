/* The arithmetic of a throttle: what may begin, given the time.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Nothing here waits or looks at a clock; the caller holds whatever lock
 * protects the state, and hands in the time.
 */

#ifndef DMIO_KCOPYD_THROTTLE_STATE_H
#define DMIO_KCOPYD_THROTTLE_STATE_H

#include <stdint.h>

#include "kcopyd-throttle.h"

/* The foreground, as one number that can be changed by one addition. */
#define FOREGROUND_BEGIN ((uint64_t) 1)
#define FOREGROUND_END (((uint64_t) 1 << 32) - FOREGROUND_BEGIN)

static inline uint32_t
foreground_in_flight (uint64_t foreground)
{
  return (uint32_t) foreground;
}

static inline uint32_t
foreground_ended (uint64_t foreground)
{
  return (uint32_t) (foreground >> 32);
}

struct throttle_state {
  /* The rate.  What is used of the saved-up time's bytes drains with time;
   * more than all of them is debt, and nothing may begin.
   */
  uint64_t rate;       /* bytes a second; 0: no limit */
  uint64_t used;       /* bytes times NS_PER_SECOND */
  uint64_t settled_ns; /* up to when it has drained */

  /* The share. */
  unsigned share; /* percent */
  unsigned running;
  uint32_t seen_ended; /* of the foreground */
  uint64_t busy_until_ns;
  uint64_t hold_until_ns;
};

void throttle_state_init (struct throttle_state *s);
void throttle_state_set_rate (struct throttle_state *s, uint64_t rate,
                              uint64_t now_ns);

/* May a part of BYTES begin at NOW_NS?  Returns 0, and it counts as begun;
 * or the time to ask again, which is later than NOW_NS.
 */
uint64_t throttle_state_begin (struct throttle_state *s, uint64_t bytes,
                               uint64_t foreground, uint64_t now_ns);

/* A part that was begun at BEGAN_NS has ended; UNUSED_BYTES of it are taken
 * back.
 */
void throttle_state_end (struct throttle_state *s, uint64_t unused_bytes,
                         uint64_t began_ns, uint64_t now_ns);

#endif /* DMIO_KCOPYD_THROTTLE_STATE_H */
