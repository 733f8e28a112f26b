/* What the parts of the block device behind an NBD server share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_BDEV_NBD_IMPL_H
#define DMIO_BDEV_NBD_IMPL_H

#include <stdatomic.h>
#include <stdint.h>

#include "bdev-impl.h"
#include "block-device.h"
#include "group-sync.h"
#include "nbd-connection.h"
#include "sync.h"

#define CONNECTIONS_MAX 16

struct bdev_nbd {
  struct nbd_server server;
  struct nbd_export export;
  char *uri;
  char *name;           /* without a password, for messages */
  uint64_t piece_bytes; /* the most in one command */

  struct nbd_connection *connections[CONNECTIONS_MAX];
  unsigned connection_max;      /* those that exist */
  atomic_uint connection_count; /* those that are in use, the first ones */
  atomic_uint next;             /* takes turns */

  atomic_uint era;
  struct group_sync sync;
  struct mutex reconnect_lock;
};

/*----- bdev-nbd-io.c ---------------------------------------------------*/

/* The slots of bdev_ops. */
int bdev_nbd_read (void *handle, const struct iovec *iov, int iovcnt,
                   sector_t sector);
int bdev_nbd_write (void *handle, const struct iovec *iov, int iovcnt,
                    sector_t sector, unsigned flags);
int bdev_nbd_flush (void *handle);
int bdev_nbd_discard (void *handle, sector_t sector, sector_t count,
                      unsigned flags);
int bdev_nbd_write_zeroes (void *handle, sector_t sector, sector_t count,
                           unsigned flags);
int bdev_nbd_extent (void *handle, sector_t sector, sector_t count,
                     struct bdev_extent *extent);
int bdev_nbd_begin (void *handle, struct bdev_io *io);
int bdev_nbd_end (void *handle, struct bdev_io *io);

#endif /* DMIO_BDEV_NBD_IMPL_H */
