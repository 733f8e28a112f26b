/* Which I/O threads do asynchronous work on an io_region.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_DM_IO_FLOOR_H
#define DMIO_DM_IO_FLOOR_H

#include <stddef.h>

#include "block-device.h"
#include "dm-io.h"
#include "io-threads.h"

/* WHERE may have no device. */
static inline enum io_floor
dm_io_floor_of (const struct io_region *where)
{
  struct bdev_limits limits;

  if (where->bdev == NULL)
    return IO_FLOOR_DEVICES;
  bdev_get_limits (where->bdev, &limits);
  return limits.is_stacked ? IO_FLOOR_STACKED : IO_FLOOR_DEVICES;
}

#endif /* DMIO_DM_IO_FLOOR_H */
