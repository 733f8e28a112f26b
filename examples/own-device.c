/* Brings a device of its own: one that scrambles what another one stores.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   own-device KEY SOURCE DEST
 *
 * Copies SOURCE to DEST through a device that combines each byte with one of
 * KEY by exclusive or.  To do it twice with one KEY gives the original.  (It
 * hides nothing from anybody who looks closer: a device that encrypts looks
 * just like this, but for the arithmetic.)
 *
 * Below are the functions of the device, then how it is made and used.  All
 * that libdmio can do with devices, it can do with this one.
 *
 *   cc own-device.c $(pkg-config --cflags --libs dmio)
 */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dmio/dm-io.h>

/*----- the device ------------------------------------------------------*/

struct xor_disk {
  struct block_device *below; /* ours: we close it */
  const char *key;
  size_t key_bytes;
};

/* Combine BYTES bytes, which are OFFSET bytes behind the device's start. */
static void
scramble (const struct xor_disk *disk, unsigned char *bytes, size_t count,
          uint64_t offset)
{
  size_t i;

  for (i = 0; i < count; ++i)
    bytes[i] ^= (unsigned char) disk->key[(offset + i) % disk->key_bytes];
}

static int
xor_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  const struct xor_disk *disk = handle;
  uint64_t offset = sector_to_bytes (sector);
  int i, r = bdev_read (disk->below, iov, iovcnt, sector);

  if (r < 0)
    return r;
  for (i = 0; i < iovcnt; ++i) {
    scramble (disk, iov[i].iov_base, iov[i].iov_len, offset);
    offset += iov[i].iov_len;
  }
  return 0;
}

/* Where a write is, and what it has gathered to be written next. */
struct xor_write {
  const struct xor_disk *disk;
  unsigned flags;
  uint64_t offset;
  size_t gathered;
  unsigned char buffer[8 * SECTOR_SIZE];
};

static int
write_gathered (struct xor_write *w)
{
  struct iovec iov = { .iov_base = w->buffer, .iov_len = w->gathered };
  sector_t sector = w->offset / SECTOR_SIZE;

  scramble (w->disk, w->buffer, w->gathered, w->offset);
  w->offset += w->gathered;
  w->gathered = 0;
  return bdev_write (w->disk->below, &iov, 1, sector, w->flags);
}

/* The caller's memory is not ours to change, so the data goes through a
 * buffer, which is on the stack, because many threads may be here at once.
 * Pieces of memory may have any length, even none.
 */
static int
xor_write (void *handle, const struct iovec *iov, int iovcnt, sector_t sector,
           unsigned flags)
{
  struct xor_write w = {
    .disk = handle,
    .flags = flags,
    .offset = sector_to_bytes (sector),
  };
  int i, r = 0;

  for (i = 0; i < iovcnt; ++i) {
    const unsigned char *from = iov[i].iov_base;
    size_t left = iov[i].iov_len;

    while (left > 0 && r == 0) {
      size_t room = sizeof w.buffer - w.gathered;
      size_t n = left < room ? left : room;

      memcpy (w.buffer + w.gathered, from, n);
      w.gathered += n;
      from += n;
      left -= n;
      if (w.gathered == sizeof w.buffer)
        r = write_gathered (&w);
    }
  }
  /* Together they are whole sectors, and so is what is left. */
  if (r == 0 && w.gathered > 0)
    r = write_gathered (&w);
  return r;
}

static int
xor_flush (void *handle)
{
  const struct xor_disk *disk = handle;

  return bdev_flush (disk->below);
}

static void
xor_limits (void *handle, struct bdev_limits *limits)
{
  const struct xor_disk *disk = handle;

  bdev_get_limits (disk->below, limits);
}

static void
xor_close (void *handle)
{
  struct xor_disk *disk = handle;

  bdev_close (disk->below);
  free (disk);
}

/* There is no discard, no write_zeroes and no extent: zeroes of the device
 * below are not zeroes here.  Without them libdmio writes zeroes, and takes
 * all for data, which is right.
 */
static const struct bdev_ops xor_ops = {
  .struct_size = sizeof xor_ops,
  .read = xor_read,
  .write = xor_write,
  .flush = xor_flush,
  .limits = xor_limits,
  .close = xor_close,
};

/* Make a device out of BELOW, which belongs to it then; on failure BELOW is
 * still the caller's.  KEY must live as long.
 */
static int
xor_open (struct block_device *below, const char *key,
          struct block_device **bdev)
{
  struct xor_disk *disk = malloc (sizeof *disk);
  int r;

  if (disk == NULL)
    return -ENOMEM;
  disk->below = below;
  disk->key = key;
  disk->key_bytes = strlen (key);
  r = bdev_create (&xor_ops, disk, bdev_name (below), bdev_sectors (below),
                   bdev);
  if (r < 0)
    free (disk); /* it is ours again */
  return r;
}

/*----- the program -----------------------------------------------------*/

/* Copied at once. */
#define PART_SECTORS ((sector_t) 2048)

static void
fail (const char *name, int error)
{
  fprintf (stderr, "own-device: %s: %s\n", name, strerror (-error));
  exit (EXIT_FAILURE);
}

static struct block_device *
open_device (const char *name, unsigned flags)
{
  struct block_device *bdev;
  int r;

  /* A server cannot be locked against its other clients. */
  if (!bdev_spec_is_uri (name))
    flags |= BDEV_OPEN_EXCLUSIVE;
  r = bdev_open (name, flags, &bdev);
  if (r < 0)
    fail (name, r);
  return bdev;
}

static void
copy_all (struct block_device *source, struct block_device *dest)
{
  struct io_region from = { .bdev = source };
  void *data = malloc ((size_t) sector_to_bytes (PART_SECTORS));
  int r;

  if (data == NULL)
    fail ("memory", -ENOMEM);
  for (; from.sector < bdev_sectors (source); from.sector += PART_SECTORS) {
    sector_t left = bdev_sectors (source) - from.sector;
    struct io_region to;

    from.count = left < PART_SECTORS ? left : PART_SECTORS;
    to = from;
    to.bdev = dest;
    r = dm_io_sync_vm (1, &from, DM_IO_READ, data, NULL);
    if (r < 0)
      fail (bdev_name (source), r);
    r = dm_io_sync_vm (1, &to, DM_IO_WRITE, data, NULL);
    if (r < 0)
      fail (bdev_name (dest), r);
  }
  free (data);
  r = bdev_flush (dest);
  if (r < 0)
    fail (bdev_name (dest), r);
}

int
main (int argc, char *argv[])
{
  struct block_device *source, *below, *dest;
  int r;

  if (argc != 4 || argv[1][0] == '\0') {
    fprintf (stderr, "usage: own-device KEY SOURCE DEST\n");
    return 2;
  }
  source = open_device (argv[2], BDEV_OPEN_READ_ONLY);
  below = open_device (argv[3], 0);
  if (bdev_sectors (below) < bdev_sectors (source)) {
    fprintf (stderr, "own-device: %s: is smaller than %s\n", argv[3], argv[2]);
    return EXIT_FAILURE;
  }
  r = xor_open (below, argv[1], &dest);
  if (r < 0)
    fail (argv[3], r);

  copy_all (source, dest);

  bdev_close (dest); /* and with it what is below */
  bdev_close (source);
  return EXIT_SUCCESS;
}
