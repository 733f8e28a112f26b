/* A store for as long as the server runs: a file without a name.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_TEMP_STORE_H
#define DM_TEMP_STORE_H

#include <stdint.h>

#include "block-device.h"

/* The folder whose file system has such files: $TMPDIR if that is an absolute
 * path (the server changes its folder), else /var/tmp, which is for what is
 * large.
 */
const char *temp_store_folder (void);

/* Create a file of BYTES zeroes (sparse) there, which nobody finds and which
 * goes with the device, and open it as a device.
 */
int temp_store_create (uint64_t bytes, struct block_device **bdev);

#endif /* DM_TEMP_STORE_H */
