/* The unit of every address in dmnbd: the 512-byte sector.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A sector is 512 bytes everywhere, whatever the sector size of a disk.
 * Bytes become sectors once, in the plugin, and sectors become bytes
 * once, in the block device.
 */

#ifndef DMIO_SECTOR_H
#define DMIO_SECTOR_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A sector number or a count of sectors. */
typedef uint64_t sector_t;

#define SECTOR_SHIFT 9
#define SECTOR_SIZE 512U

/* No device is larger than this many sectors, so that an offset in
 * bytes always fits a signed 64-bit integer.
 */
#define SECTOR_MAX ((sector_t) INT64_MAX >> SECTOR_SHIFT)

static inline uint64_t
sector_to_bytes (sector_t sectors)
{
  return sectors << SECTOR_SHIFT;
}

#ifdef __cplusplus
}
#endif

#endif /* DMIO_SECTOR_H */
