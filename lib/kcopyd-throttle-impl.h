/* What clients of kcopyd ask a throttle.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_KCOPYD_THROTTLE_IMPL_H
#define DMIO_KCOPYD_THROTTLE_IMPL_H

#include "kcopyd-throttle.h"

/* Take and drop a reference. */
void kcopyd_throttle_get (struct kcopyd_throttle *throttle);
void kcopyd_throttle_put (struct kcopyd_throttle *throttle);

/* May a part of BYTES begin at NOW_NS?  Returns 0, and its end must be told;
 * or the time to ask again.
 */
uint64_t kcopyd_throttle_begin (struct kcopyd_throttle *throttle,
                                uint64_t bytes, uint64_t now_ns);

/* A part that was begun at BEGAN_NS has ended, and UNUSED_BYTES of it have
 * not been copied after all.
 */
void kcopyd_throttle_end (struct kcopyd_throttle *throttle,
                          uint64_t unused_bytes, uint64_t began_ns);

#endif /* DMIO_KCOPYD_THROTTLE_IMPL_H */
