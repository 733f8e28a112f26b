/* What the fuzzers share: a device in memory, and silence.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_FUZZ_H
#define DM_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block-device.h"

/* libFuzzer calls these. */
int LLVMFuzzerInitialize (int *argc, char ***argv);
int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* A device whose bytes are in memory. */
struct fuzz_disk {
  unsigned char *bytes;
  sector_t sectors;
  bool was_written;
};

/* Open a device on DISK, which holds SIZE bytes of DATA and zeroes up to
 * SECTORS sectors.  DISK must be closed by fuzz_disk_close.
 */
struct block_device *fuzz_disk_open (struct fuzz_disk *disk,
                                     const uint8_t *data, size_t size,
                                     sector_t sectors);
void fuzz_disk_close (struct fuzz_disk *disk, struct block_device *bdev);

/* Ends the program, as a finding, unless CONDITION holds. */
#define fuzz_assert(condition) \
  do { \
    if (!(condition)) \
      __builtin_trap (); \
  } while (0)

#endif /* DM_FUZZ_H */
