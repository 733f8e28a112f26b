/* A throttle: holds back what clients of kcopyd copy in the background.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A throttle has two independent limits: bytes a second, and a share of the
 * time while the foreground is busy.  It holds back the parts of jobs
 * before they begin; one that has begun is never slowed down.
 *
 * All calls may be made from any thread at any time.  Changes take effect
 * on parts that already wait, within KCOPYD_THROTTLE_RECHECK_NS.
 */

#ifndef DMIO_KCOPYD_THROTTLE_H
#define DMIO_KCOPYD_THROTTLE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kcopyd_throttle;

/* Who waits looks again at least so often. */
#define KCOPYD_THROTTLE_RECHECK_NS 50000000ULL /* 50 ms */

/* Make a throttle that limits nothing yet.  Returns 0 or -ENOMEM. */
int kcopyd_throttle_create (struct kcopyd_throttle **result);

/* Give up the throttle.  Clients that use it keep it, and keep to it.  NULL
 * is ignored.
 */
void kcopyd_throttle_destroy (struct kcopyd_throttle *throttle);

/*----- a rate ----------------------------------------------------------*/

/* More is as good as no limit. */
#define KCOPYD_THROTTLE_RATE_MAX (1ULL << 36)

/* What was not used is saved up for so long. */
#define KCOPYD_THROTTLE_BURST_NS 100000000ULL /* 100 ms */

/* Let parts of BYTES_PER_SECOND begin, all clients together; 0: no limit,
 * which is how it begins.  A part counts with the bytes it copies or
 * zeroes, however many destinations it has; one that turns out to be a
 * hole (KCOPYD_SPARSE) does not count.
 *
 * In any T nanoseconds parts begin of no more than
 *   BYTES_PER_SECOND * (T + KCOPYD_THROTTLE_BURST_NS) / 10^9
 * bytes and one part more.
 */
void kcopyd_throttle_set_rate (struct kcopyd_throttle *throttle,
                               uint64_t bytes_per_second);

/*----- yielding to the foreground --------------------------------------*/

/* The foreground is busy while any of its I/O is in flight, and for so long
 * after it was last seen to be.
 */
#define KCOPYD_THROTTLE_QUIET_NS 10000000ULL /* 10 ms */

/* However slow the parts are, a part that waits only for the foreground
 * may begin so long after the last one has ended.
 */
#define KCOPYD_THROTTLE_HOLD_MAX_NS 250000000ULL /* 250 ms */

/* While the foreground is busy, let one part run at a time, and leave
 * pauses between them, so that parts run for PERCENT of the time or, if
 * KCOPYD_THROTTLE_HOLD_MAX_NS shortens the pauses, more.  100, which is how
 * it begins: do not yield.  Returns 0, or -EINVAL if PERCENT is not from 1
 * to 100.
 */
int kcopyd_throttle_set_share (struct kcopyd_throttle *throttle,
                               unsigned int percent);

/* Bracket each I/O of the foreground.  Nearly free: one atomic addition,
 * without a clock or a lock.  At most 2^32 - 1 may be in flight.
 */
void kcopyd_throttle_foreground_begin (struct kcopyd_throttle *throttle);
void kcopyd_throttle_foreground_end (struct kcopyd_throttle *throttle);

#ifdef __cplusplus
}
#endif

#endif /* DMIO_KCOPYD_THROTTLE_H */
