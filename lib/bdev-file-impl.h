/* What the parts of the block device over a file share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_BDEV_FILE_IMPL_H
#define DMIO_BDEV_FILE_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bdev-impl.h"
#include "bounce.h"
#include "data-hints.h"
#include "group-sync.h"

struct bdev_file {
  int fd; /* -1: given back to the caller of bdev_open_fd */
  bool is_disk;
  uint64_t size_bytes;
  char *name;

  /* O_DIRECT: offsets and lengths are multiples of block_bytes, addresses
   * of memory_align; what is not goes through `bounce`.
   */
  atomic_bool is_direct;
  unsigned block_bytes;
  unsigned memory_align;
  bool has_bounce;
  struct bounce bounce;

  /* What the file system has once refused is not asked again. */
  atomic_bool no_punch_hole;
  atomic_bool no_zero_range;
  atomic_bool said_deleted;
  struct data_hints data;
  struct mutex looking; /* while it is looked where data end; a leaf */

  struct group_sync sync;
};

/*----- bdev-file.c -----------------------------------------------------*/

/* To be called before bytes up to END are written: they must not make a file
 * long again that has been cut short.  If so, -EIO, from now on.
 */
int bdev_file_check_end (struct bdev_file *f, uint64_t end);

/* The slot of bdev_ops. */
int bdev_file_flush (void *handle);

/*----- bdev-file-io.c --------------------------------------------------*/

/* The slots of bdev_ops.  begin and end are for direct files. */
int bdev_file_read (void *handle, const struct iovec *iov, int iovcnt,
                    sector_t sector);
int bdev_file_write (void *handle, const struct iovec *iov, int iovcnt,
                     sector_t sector, unsigned flags);
int bdev_file_begin (void *handle, struct bdev_io *io);
int bdev_file_end (void *handle, struct bdev_io *io);

#endif /* DMIO_BDEV_FILE_IMPL_H */
