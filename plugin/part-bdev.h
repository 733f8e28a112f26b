/* A part of a block device, seen as a device.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_PART_BDEV_H
#define DM_PART_BDEV_H

#include "block-device.h"

/* Replace *BDEV by what it has from sector OFFSET on, which closes it at its
 * end; nothing is done for an offset of 0.  Returns 0, -EINVAL (the device ends
 * before), or -ENOMEM, and then *BDEV is as it was.
 */
int part_bdev_take (struct block_device **bdev, sector_t offset);

#endif /* DM_PART_BDEV_H */
