/* Fuzzer: any bytes as a dirty log.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Input: two bytes that give the number of regions, one that gives the
 * device's size, one with flags, and the log's bytes.  Any log must be refused
 * without a write, or be one that works: what is marked and flushed is there
 * when it is opened again, with all that was there before.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "dirty-log.h"
#include "fuzz.h"

#define HEAD_BYTES 4
#define HEADER_END 16
#define BITS_AT 1024

/* All bits of a log, a byte each; the caller frees. */
static unsigned char *
copy_bits (const struct dirty_log *log)
{
  uint64_t regions = dirty_log_region_count (log), r, dirty = 0;
  unsigned char *bits = malloc (regions + 1);

  fuzz_assert (bits != NULL);
  for (r = 0; r < regions; ++r) {
    bits[r] = dirty_log_is_dirty (log, r);
    dirty += bits[r];
  }
  fuzz_assert (dirty == dirty_log_dirty_count (log));
  return bits;
}

/* A log that was taken; it has its device. */
static void
use_log (struct dirty_log *log, struct fuzz_disk *disk, sector_t sectors)
{
  uint64_t regions = dirty_log_region_count (log);
  unsigned char *before = copy_bits (log), *after;
  unsigned char *bytes = malloc (sector_to_bytes (sectors) + 1);
  struct block_device *bdev;
  struct dirty_log *again;
  struct fuzz_disk copy;

  fuzz_assert (bytes != NULL);
  fuzz_assert (dirty_log_flush (log) == 0);
  if (regions > 0) {
    dirty_log_mark (log, regions / 2, regions - 1);
    memset (before + regions / 2, 1, regions - regions / 2);
    dirty_log_clear (log, 0, 0);
    before[0] = 0;
  }
  /* What is not the log's stays as it was, the header's rest, too. */
  memcpy (bytes, disk->bytes, sector_to_bytes (sectors));
  fuzz_assert (dirty_log_flush (log) == 0);
  fuzz_assert (memcmp (bytes + HEADER_END, disk->bytes + HEADER_END,
                       BITS_AT - HEADER_END) == 0);
  memcpy (bytes, disk->bytes, sector_to_bytes (sectors));

  bdev = fuzz_disk_open (&copy, bytes, sector_to_bytes (sectors), sectors);
  fuzz_assert (dirty_log_disk_open (bdev, regions, 0, &again) == 0);
  after = copy_bits (again);
  fuzz_assert (memcmp (before, after, regions) == 0);
  fuzz_assert (dirty_log_flush (again) == 0);
  fuzz_assert (!copy.was_written); /* nothing is left to put right */
  dirty_log_destroy (again);
  free (copy.bytes);
  free (bytes);
  free (before);
  free (after);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct dirty_log_info info;
  struct block_device *bdev;
  struct dirty_log *log;
  struct fuzz_disk disk;
  sector_t sectors;
  uint64_t regions;
  int r;

  if (size < HEAD_BYTES)
    return -1;
  regions = data[0] + 256 * (uint64_t) data[1];
  sectors = data[2] % 20;
  bdev = fuzz_disk_open (&disk, data + HEAD_BYTES, size - HEAD_BYTES, sectors);
  if (dirty_log_disk_read_info (bdev, &info) == 0)
    fuzz_assert (info.room <= sector_to_bytes (sectors) * 8);
  r = dirty_log_disk_open (bdev, regions, data[3] & DIRTY_LOG_RESIZE, &log);
  fuzz_assert (!disk.was_written);
  if (r < 0) {
    fuzz_disk_close (&disk, bdev);
    return 0;
  }
  use_log (log, &disk, sectors);
  dirty_log_destroy (log); /* closes the device */
  free (disk.bytes);
  return 0;
}
