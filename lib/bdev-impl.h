/* What the kinds of block devices show each other, and nobody else.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_BDEV_IMPL_H
#define DMIO_BDEV_IMPL_H

#include "block-device.h"

/* bdev_open_options for a path; OPTIONS have been checked. */
int bdev_file_open (const char *path, const struct bdev_options *options,
                    struct block_device **bdev);

#endif /* DMIO_BDEV_IMPL_H */
