/* A block device: what dm-io reads, writes and flushes.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A block device is a file, a disk, or anything else that a program
 * describes by a struct bdev_ops.  All calls here are synchronous and
 * safe from any number of threads at once, except that nobody else may
 * use a device while it is being closed.
 *
 * Every function returns 0 or a negative errno, and prints nothing.
 * Offsets and counts are in sectors of 512 bytes; lengths of memory are
 * in bytes.
 */

#ifndef DMIO_BLOCK_DEVICE_H
#define DMIO_BLOCK_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "sector.h"

#ifdef __cplusplus
extern "C" {
#endif

struct block_device;

/* Flags of one write, discard or write-zeroes. */
#define BDEV_FUA (1U << 0)   /* durable when the call returns */
#define BDEV_UNMAP (1U << 1) /* zeroing may give the space back */
#define BDEV_FAST (1U << 2)  /* -EOPNOTSUPP rather than write zeroes */

/* What is at the start of a range. */
struct bdev_extent {
  sector_t count; /* for so many sectors, at least 1 */
  bool is_hole;   /* nothing allocated: the sectors read as zeroes */
};

/* What identifies a local device, to notice that two names mean one
 * device, or that a file has been replaced by another.
 */
struct bdev_identity {
  uint64_t device;       /* of the file system, or of the disk itself */
  uint64_t inode;        /* 0 for a disk */
  int64_t birth_seconds; /* of the file, where known, else 0 */
  uint32_t birth_ns;
  int64_t modified_seconds; /* when it was last written; 0 for a disk */
  uint32_t modified_ns;
  bool is_disk;
};

/* How a device does its work.  HANDLE is what bdev_create was given.
 * All slots may be called from many threads at once and may block.
 * Ranges are inside the device and memory lengths add up to whole
 * sectors: the caller has checked.  Each returns 0 or a negative errno.
 */
struct bdev_ops {
  size_t struct_size; /* sizeof (struct bdev_ops), for later additions */

  /* Required: fill IOV from SECTOR on.  All or an error. */
  int (*read) (void *handle, const struct iovec *iov, int iovcnt,
               sector_t sector);

  /* Required unless the device is read-only: write IOV from SECTOR on.
   * FLAGS: BDEV_FUA.  After an error any of the sectors may hold the old
   * or the new data.
   */
  int (*write) (void *handle, const struct iovec *iov, int iovcnt,
                sector_t sector, unsigned flags);

  /* Optional (default: nothing to do): make durable every write that
   * had completed when this was called.  Once this has failed, or a
   * write with BDEV_FUA has, it must never succeed again: what was to be
   * made durable may be lost, and nobody knows.
   */
  int (*flush) (void *handle);

  /* Optional (default: -EOPNOTSUPP): give the space back.  The sectors
   * read as zeroes afterwards.  FLAGS: BDEV_FUA.
   */
  int (*discard) (void *handle, sector_t sector, sector_t count,
                  unsigned flags);

  /* Optional (default: zeroes are written): make the sectors read as
   * zeroes.  FLAGS: BDEV_FUA, BDEV_UNMAP, BDEV_FAST.
   */
  int (*write_zeroes) (void *handle, sector_t sector, sector_t count,
                       unsigned flags);

  /* Optional (default: all data): describe the start of the range. */
  int (*extent) (void *handle, sector_t sector, sector_t count,
                 struct bdev_extent *extent);

  /* Optional (default: -EOPNOTSUPP): say which device this is. */
  int (*identity) (void *handle, struct bdev_identity *identity);

  /* Optional: free HANDLE.  Nothing is in flight any more. */
  void (*close) (void *handle);
};

/* Flags of bdev_open and bdev_open_fd. */
#define BDEV_OPEN_READ_ONLY (1U << 0)
#define BDEV_OPEN_DIRECT (1U << 1)    /* always O_DIRECT */
#define BDEV_OPEN_BUFFERED (1U << 2)  /* never O_DIRECT */
#define BDEV_OPEN_EXCLUSIVE (1U << 3) /* refuse if used elsewhere */

/* Open the file or disk SPEC.
 *
 * Disks are opened with O_DIRECT and files without, unless a flag says
 * otherwise; O_DIRECT on a device whose blocks are larger than a sector
 * is not supported, so such disks are buffered.  BDEV_OPEN_EXCLUSIVE
 * locks the whole file against other processes (shared if read-only)
 * and a disk against being mounted, until the device is closed.
 *
 * On success *BDEV is the caller's, to be given to bdev_close.
 * Errors: those of open(2), and
 *   -EISDIR      SPEC is a directory
 *   -ENOTBLK     SPEC is neither a regular file nor a block device
 *   -EINVAL      its size is not a whole number of sectors; or both
 *                BDEV_OPEN_DIRECT and BDEV_OPEN_BUFFERED
 *   -EFBIG       its size is more than SECTOR_MAX: a disk only, no file can be
 *   -EBUSY       another process has it (BDEV_OPEN_EXCLUSIVE)
 *   -EOPNOTSUPP  BDEV_OPEN_DIRECT cannot be had there
 *   -ENOMEM      no memory
 */
int bdev_open (const char *spec, unsigned flags, struct block_device **bdev);

/* The same for a descriptor that is already open, called NAME in
 * messages.  On success the device owns FD and closes it; on failure FD
 * is still the caller's.
 */
int bdev_open_fd (int fd, const char *name, unsigned flags,
                  struct block_device **bdev);

/* Make a device of SECTORS sectors out of OPS and HANDLE.  NAME, copied,
 * is used in messages; OPS must outlive the device.  On success the
 * device owns HANDLE, and OPS->close is called by bdev_close; on failure
 * HANDLE is still the caller's.
 *
 * Errors: -EINVAL (no read slot, or more than SECTOR_MAX sectors),
 * -ENOMEM.
 */
int bdev_create (const struct bdev_ops *ops, void *handle, const char *name,
                 sector_t sectors, struct block_device **bdev);

/* Close a device.  NULL is ignored.  Nothing may be in flight.  Does not
 * flush.
 */
void bdev_close (struct block_device *bdev);

/* Facts that never change while a device is open. */
const char *bdev_name (const struct block_device *bdev);
sector_t bdev_sectors (const struct block_device *bdev);
bool bdev_is_read_only (const struct block_device *bdev);

/* The calls behind each operation.  They check the range first.
 * Errors: -EINVAL (outside the device, or memory that is not whole
 * sectors), -EROFS (a write to a read-only device), and what the device
 * returns.
 */
int bdev_read (struct block_device *bdev, const struct iovec *iov, int iovcnt,
               sector_t sector);
int bdev_write (struct block_device *bdev, const struct iovec *iov, int iovcnt,
                sector_t sector, unsigned flags);
int bdev_flush (struct block_device *bdev);
int bdev_discard (struct block_device *bdev, sector_t sector, sector_t count,
                  unsigned flags);
int bdev_write_zeroes (struct block_device *bdev, sector_t sector,
                       sector_t count, unsigned flags);

/* Describe the start of the range: EXTENT->count is from 1 to COUNT,
 * which must not be 0 (-EINVAL).
 */
int bdev_extent (struct block_device *bdev, sector_t sector, sector_t count,
                 struct bdev_extent *extent);

/* -EOPNOTSUPP if the device cannot say. */
int bdev_identity (struct block_device *bdev, struct bdev_identity *identity);

#ifdef __cplusplus
}
#endif

#endif /* DMIO_BLOCK_DEVICE_H */
