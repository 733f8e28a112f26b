/* Who is told how long a device takes.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_BDEV_OBSERVE_H
#define DMIO_BDEV_OBSERVE_H

#include <stdint.h>

#include "block-device.h"

/* An operation of a device has ended, with RESULT (0 or a negative errno),
 * after so long.  Called by the thread that made it, many at once: it must not
 * block.  What was refused without asking the device is not told.
 */
typedef void (*bdev_observe_fn) (enum bdev_op op, int result, uint64_t ns,
                                 void *context);

/* Have FN told of all operations of BDEV but extents and copies by itself, or
 * nobody if it is NULL.  Before others use the device, or when they do not any
 * more.  Without FN nothing is measured.
 */
void bdev_set_observer (struct block_device *bdev, bdev_observe_fn fn,
                        void *context);

#endif /* DMIO_BDEV_OBSERVE_H */
