/* A block device, seen as a target.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_BDEV_TARGET_H
#define DM_BDEV_TARGET_H

#include "block-device.h"
#include "target.h"

struct bdev_target {
  struct target target;
  struct block_device *bdev;
};

/* BDEV stays the caller's, and outlives it. */
void bdev_target_init (struct bdev_target *t, struct block_device *bdev);

#endif /* DM_BDEV_TARGET_H */
