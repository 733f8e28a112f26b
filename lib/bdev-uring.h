/* Reads and writes in flight on an io_uring of the calling thread.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A thread gets a ring when it first asks for one, and it is freed when the
 * thread ends.  Where there is none (the library was built without; the kernel
 * has none or forbids it; no descriptors, no memory), all is -EAGAIN.
 */

#ifndef DMIO_BDEV_URING_H
#define DMIO_BDEV_URING_H

#include "block-device.h"

/* True if the calling thread has a ring, with room on it. */
bool bdev_uring_has_room (void);

/* Put the read or write IO of FD on the ring, with the memory IOV.  It stays
 * the caller's until the end, but if IOVCNT is 1 the vector itself may go at
 * once.  If IO->more it is submitted with the next one.  Returns 0 or
 * -EAGAIN; then bdev_uring_end must be called once, by the same thread and
 * not in a child of it.
 */
int bdev_uring_begin (int fd, const struct iovec *iov, int iovcnt,
                      struct bdev_io *io);

/* Submit what has been waiting for more. */
void bdev_uring_submit (void);

/* Wait for IO, and perhaps for others that the thread has begun.  Returns
 * the bytes that were done or a negative errno; -EAGAIN also if it could not
 * be submitted.
 */
int64_t bdev_uring_end (struct bdev_io *io);

/* So many of a bdev_io's states are the ring's. */
#define BDEV_URING_STATES 3

#endif /* DMIO_BDEV_URING_H */
