/* What the fuzzers share: a device in memory, and silence.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "fuzz.h"
#include "log-sink.h"

/* Every message is looked at: it must be text of one line. */
static void
check_message (enum log_level level, const char *message)
{
  (void) level;
  fuzz_assert (message[0] != '\0' && strchr (message, '\n') == NULL);
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  (void) argc;
  (void) argv;
  log_sink_set (check_message);
  return 0;
}

/* Move bytes between IOV and the disk. */
static void
transfer (struct fuzz_disk *disk, const struct iovec *iov, int iovcnt,
          sector_t sector, bool is_write)
{
  unsigned char *at = disk->bytes + sector_to_bytes (sector);
  int i;

  for (i = 0; i < iovcnt; at += iov[i].iov_len, ++i) {
    if (is_write)
      memcpy (at, iov[i].iov_base, iov[i].iov_len);
    else
      memcpy (iov[i].iov_base, at, iov[i].iov_len);
  }
}

static int
disk_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  transfer (handle, iov, iovcnt, sector, false);
  return 0;
}

static int
disk_write (void *handle, const struct iovec *iov, int iovcnt, sector_t sector,
            unsigned flags)
{
  struct fuzz_disk *disk = handle;

  (void) flags;
  disk->was_written = true;
  transfer (disk, iov, iovcnt, sector, true);
  return 0;
}

static const struct bdev_ops disk_ops = {
  .struct_size = sizeof disk_ops,
  .read = disk_read,
  .write = disk_write,
};

struct block_device *
fuzz_disk_open (struct fuzz_disk *disk, const uint8_t *data, size_t size,
                sector_t sectors)
{
  struct block_device *bdev;

  /* As large as it must be and no larger, so that the sanitizer sees what
   * leads out of it.
   */
  disk->bytes = calloc (1, MAX_OF (sector_to_bytes (sectors), 1));
  fuzz_assert (disk->bytes != NULL);
  disk->sectors = sectors;
  disk->was_written = false;
  memcpy (disk->bytes, data, MIN_OF (size, sector_to_bytes (sectors)));
  fuzz_assert (bdev_create (&disk_ops, disk, "disk", sectors, &bdev) == 0);
  return bdev;
}

void
fuzz_disk_close (struct fuzz_disk *disk, struct block_device *bdev)
{
  bdev_close (bdev);
  free (disk->bytes);
}
