/* The arithmetic of a throttle: what may begin, given the time.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The rate is a bucket that is as deep as KCOPYD_THROTTLE_BURST_NS are
 * long.  A part begins when the bucket is not over-full, and may make it so
 * by its whole size: thus parts of any size go through, at any rate.
 *
 * The numbers: a full bucket holds KCOPYD_THROTTLE_RATE_MAX times
 * KCOPYD_THROTTLE_BURST_NS at most, below 2^63, and one part, of at most
 * 2^24 bytes times NS_PER_SECOND, below 2^54.
 */

#include <config.h>

#include <assert.h>
#include <stdbool.h>

#include "bits.h"
#include "checked-math.h"
#include "clock.h"
#include "kcopyd-throttle-state.h"

#define PART_BYTES_MAX (1U << 24)

/* What is used of a bucket that is full, neither saved up nor in debt. */
static uint64_t
full_bucket (const struct throttle_state *s)
{
  return s->rate * KCOPYD_THROTTLE_BURST_NS;
}

void
throttle_state_init (struct throttle_state *s)
{
  *s = (struct throttle_state){ .share = 100 };
}

/* Let the bucket drain up to NOW_NS.  Callers' clocks may be read a little
 * before the last one's.
 */
static void
settle (struct throttle_state *s, uint64_t now_ns)
{
  uint64_t drained;

  if (now_ns <= s->settled_ns)
    return;
  if (!checked_mul (s->rate, now_ns - s->settled_ns, &drained))
    drained = UINT64_MAX;
  s->used -= MIN_OF (drained, s->used);
  s->settled_ns = now_ns;
}

void
throttle_state_set_rate (struct throttle_state *s, uint64_t rate,
                         uint64_t now_ns)
{
  uint64_t debt;

  if (rate > KCOPYD_THROTTLE_RATE_MAX)
    rate = 0;
  settle (s, now_ns);
  debt = s->used > full_bucket (s) ? s->used - full_bucket (s) : 0;
  if (s->rate == 0) /* nothing was counted */
    debt = 0;
  s->rate = rate;
  /* The debt stays; what was saved up at the old rate is forgotten. */
  s->used = full_bucket (s) + debt;
}

/* When the share lets a part begin; at once: not after NOW_NS. */
static uint64_t
share_allows_ns (struct throttle_state *s, uint64_t foreground, uint64_t now_ns)
{
  bool in_flight = foreground_in_flight (foreground) > 0;
  uint64_t until;

  if (in_flight || foreground_ended (foreground) != s->seen_ended) {
    s->seen_ended = foreground_ended (foreground);
    s->busy_until_ns = now_ns + KCOPYD_THROTTLE_QUIET_NS;
  }
  if (s->share == 100 || now_ns >= s->busy_until_ns)
    return now_ns;
  /* While one runs: its end comes first, and with it a time to wait for. */
  until = s->running > 0 ? UINT64_MAX : s->hold_until_ns;
  return in_flight ? until : MIN_OF (until, s->busy_until_ns);
}

static uint64_t
rate_allows_ns (struct throttle_state *s, uint64_t now_ns)
{
  uint64_t full = full_bucket (s);

  settle (s, now_ns);
  if (s->rate == 0 || s->used <= full)
    return now_ns;
  return now_ns + div_round_up (s->used - full, s->rate);
}

uint64_t
throttle_state_begin (struct throttle_state *s, uint64_t bytes,
                      uint64_t foreground, uint64_t now_ns)
{
  uint64_t by_share = share_allows_ns (s, foreground, now_ns);
  uint64_t by_rate = rate_allows_ns (s, now_ns);
  uint64_t when = MAX_OF (by_share, by_rate);

  assert (bytes <= PART_BYTES_MAX);
  if (when > now_ns)
    return MIN_OF (when, now_ns + KCOPYD_THROTTLE_RECHECK_NS);
  s->running++;
  if (s->rate > 0)
    s->used += bytes * NS_PER_SECOND;
  return 0;
}

void
throttle_state_end (struct throttle_state *s, uint64_t unused_bytes,
                    uint64_t began_ns, uint64_t now_ns)
{
  uint64_t ran_ns = now_ns > began_ns ? now_ns - began_ns : 0;
  uint64_t unused = unused_bytes * NS_PER_SECOND;

  assert (s->running > 0);
  assert (unused_bytes <= PART_BYTES_MAX);
  s->running--;
  /* Only debt is taken back: nothing is saved up by what was not counted. */
  if (s->used > full_bucket (s))
    s->used -= MIN_OF (unused, s->used - full_bucket (s));
  /* Cut before it is multiplied: the pause would only be longer. */
  ran_ns = MIN_OF (ran_ns, 100 * KCOPYD_THROTTLE_HOLD_MAX_NS);
  s->hold_until_ns = now_ns + MIN_OF (ran_ns * (100 - s->share) / s->share,
                                      KCOPYD_THROTTLE_HOLD_MAX_NS);
}
