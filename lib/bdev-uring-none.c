/* In place of bdev-uring.c where there is no liburing: nothing in flight.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <errno.h>

#include "bdev-uring.h"

bool
bdev_uring_has_room (void)
{
  return false;
}

int
bdev_uring_begin (int fd, const struct iovec *iov, int iovcnt,
                  struct bdev_io *io)
{
  (void) fd;
  (void) iov;
  (void) iovcnt;
  (void) io;
  return -EAGAIN;
}

void
bdev_uring_submit (void)
{
}

int64_t
bdev_uring_end (struct bdev_io *io)
{
  (void) io;
  assert (!"nothing was begun");
  return -EAGAIN;
}
