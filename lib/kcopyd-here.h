/* Copying in the calling thread, with the means of a client of kcopyd.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * For who could do nothing but wait for the copy: to hand it to another
 * thread, and its end to a third and back, takes longer than to copy a
 * chunk.
 */

#ifndef DMIO_KCOPYD_HERE_H
#define DMIO_KCOPYD_HERE_H

#include "kcopyd.h"

/* As kcopyd_copy, but the calling thread does it all, and calls FN before
 * this returns.  It counts as a job, and needs no memory but pages of the
 * client's reserve.  May block.
 *
 * Returns 0, and FN has been called, or, and it never will be:
 *   -EAGAIN  not now, or not here: the pages are in use, or others wait for
 *            them; it is larger than one part, or nothing; the client has a
 *            throttle.  Use kcopyd_copy
 *   -EINVAL  as kcopyd_copy
 */
int kcopyd_copy_here (struct kcopyd_client *kc, struct io_region *from,
                      unsigned int num_dests, struct io_region *dests,
                      unsigned int flags, kcopyd_notify_fn fn, void *context);

#endif /* DMIO_KCOPYD_HERE_H */
