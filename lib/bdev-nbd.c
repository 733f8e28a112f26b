/* The block device behind an NBD server.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Here it is connected, and connected again; what is asked of it meanwhile is
 * in bdev-nbd-io.c.
 *
 * Eras: each time the device is connected again, a new one begins.  What the
 * server had not made durable in the old one may be lost.  So a request
 * succeeds only in the era in which it began.
 *
 * Locks: reconnect_lock -> a connection's -> a request's, group-sync's.
 */

#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bdev-nbd-impl.h"
#include "bits.h"
#include "clock.h"
#include "log-sink.h"

#define DEFAULT_TIMEOUT_MS 30000
#define DEFAULT_CONNECTIONS 4

/* The most in one command. */
#define PIECE_BYTES (512U << 10)

/*----- connecting, and the end -----------------------------------------*/

static void
nbd_limits (void *handle, struct bdev_limits *limits)
{
  struct bdev_nbd *dev = handle;

  if (dev->export.preferred_bytes >= SECTOR_SIZE)
    limits->optimal_bytes = (unsigned) MIN_OF (dev->export.preferred_bytes,
                                               dev->piece_bytes);
  limits->max_bytes = (unsigned) dev->piece_bytes;
  limits->is_remote = true;
}

/* Does EXPORT offer all that is relied upon, and is it the same? */
static bool
is_as_before (const struct bdev_nbd *dev, const struct nbd_export *export)
{
  const struct nbd_export *old = &dev->export;

  return export->bytes == old->bytes &&
         export->block_bytes <= MAX_OF (old->block_bytes, SECTOR_SIZE) &&
         export->max_bytes >= dev->piece_bytes &&
         (old->is_read_only || !export->is_read_only) &&
         (!old->has_flush || export->has_flush) &&
         (!old->has_fua || export->has_fua) &&
         (!old->has_trim || export->has_trim) &&
         (!old->has_zero || export->has_zero) &&
         (!old->has_fast_zero || export->has_fast_zero) &&
         (!old->has_block_status || export->has_block_status);
}

/* Connect all but the first, as far as that can be done. */
static void
connect_others (struct bdev_nbd *dev, bool has_multi_conn)
{
  unsigned i;

  for (i = 1; has_multi_conn && i < dev->connection_max; ++i) {
    struct nbd_export export;

    if (nbd_connection_open (dev->connections[i], &export) < 0)
      break;
    if (!is_as_before (dev, &export)) {
      log_warning ("%s: the server offers another export to each connection",
                   dev->name);
      nbd_connection_close (dev->connections[i]);
      break;
    }
  }
  if (has_multi_conn && i < dev->connection_max)
    log_info ("%s: goes on with %u connections instead of %u", dev->name, i,
              dev->connection_max);
  atomic_store (&dev->connection_count, i);
}

/* Have what was sent drained, or given up. */
static int
end_connections (struct bdev_nbd *dev, unsigned flags)
{
  uint64_t wait_ns = flags & BDEV_RECONNECT_NO_WAIT ? 0
                                                    : dev->server.timeout_ns;
  uint64_t deadline = clock_now_ns () + wait_ns;
  unsigned i;
  int r = 0;

  for (i = 0; i < dev->connection_max; ++i)
    if (flags & BDEV_RECONNECT_FENCED)
      nbd_connection_abandon (dev->connections[i]);
    else if (nbd_connection_drain (dev->connections[i], deadline) < 0)
      r = -EBUSY;
  return r;
}

static int
nbd_reconnect (void *handle, unsigned flags)
{
  struct bdev_nbd *dev = handle;
  struct nbd_export export;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&dev->reconnect_lock);
  if (atomic_load (&dev->server.error) == 0) {
    if (group_sync_error (&dev->sync) == 0)
      return 0;
    /* Only what was to be made durable is lost. */
    atomic_fetch_add (&dev->era, 1);
    group_sync_reset (&dev->sync);
    return 0;
  }
  r = end_connections (dev, flags);
  if (r < 0) {
    if (!(flags & BDEV_RECONNECT_NO_WAIT)) /* else it is asked often */
      log_warning ("%s: not connected again: the old server may still write",
                   dev->name);
    return r;
  }
  r = nbd_connection_open (dev->connections[0], &export);
  if (r < 0)
    return r;
  if (!is_as_before (dev, &export)) {
    log_error ("%s: not connected again: the export is another one than "
               "before (%llu bytes instead of %llu, or it offers less)",
               dev->name, (unsigned long long) export.bytes,
               (unsigned long long) dev->export.bytes);
    nbd_connection_close (dev->connections[0]);
    return -ESTALE;
  }
  connect_others (dev, export.has_multi_conn);
  /* No command is accepted before the error is gone, and none of the old
   * era succeeds after.
   */
  atomic_fetch_add (&dev->era, 1);
  group_sync_reset (&dev->sync);
  atomic_store (&dev->server.error, 0);
  log_info ("%s: connected again", dev->name);
  return 0;
}

static void
server_failed (struct nbd_server *server)
{
  struct bdev_nbd *dev =
    (struct bdev_nbd *) ((char *) server - offsetof (struct bdev_nbd, server));
  unsigned i;

  for (i = 0; i < dev->connection_max; ++i)
    nbd_connection_fail (dev->connections[i]);
}

static void
nbd_close_device (void *handle)
{
  struct bdev_nbd *dev = handle;
  unsigned i;

  for (i = 0; i < dev->connection_max; ++i)
    nbd_connection_destroy (dev->connections[i]);
  mutex_destroy (&dev->reconnect_lock);
  group_sync_destroy (&dev->sync);
  free (dev->name);
  free (dev->uri);
  free (dev);
}

#define NBD_READ_OPS \
  .struct_size = sizeof (struct bdev_ops), .read = bdev_nbd_read, \
  .flush = bdev_nbd_flush, .extent = bdev_nbd_extent, .begin = bdev_nbd_begin, \
  .end = bdev_nbd_end, .limits = nbd_limits, .reconnect = nbd_reconnect, \
  .close = nbd_close_device

static const struct bdev_ops nbd_ops = {
  NBD_READ_OPS,
  .write = bdev_nbd_write,
  .discard = bdev_nbd_discard,
  .write_zeroes = bdev_nbd_write_zeroes,
};

static const struct bdev_ops nbd_read_only_ops = { NBD_READ_OPS };

/* Can we work with what the server offers? */
static int
check_export (struct bdev_nbd *dev, unsigned flags)
{
  const struct nbd_export *export = &dev->export;
  uint64_t unit = MAX_OF (export->block_bytes, SECTOR_SIZE);

  if (export->bytes % unit != 0) {
    log_error ("%s: the size of the export, %llu bytes, is not a multiple "
               "of %llu",
               dev->name, (unsigned long long) export->bytes,
               (unsigned long long) unit);
    return -EINVAL;
  }
  if (export->is_read_only && !(flags & BDEV_OPEN_READ_ONLY)) {
    log_error ("%s: the export is read-only", dev->name);
    return -EROFS;
  }
  dev->piece_bytes = MIN_OF (export->max_bytes, PIECE_BYTES) / unit * unit;
  if (dev->piece_bytes == 0) {
    log_error ("%s: the server takes at most %llu bytes at once, which is "
               "less than a block of %llu",
               dev->name, (unsigned long long) export->max_bytes,
               (unsigned long long) unit);
    return -EINVAL;
  }
  if (!export->has_flush && !export->has_fua && !(flags & BDEV_OPEN_READ_ONLY))
    log_warning ("%s: the server has no flush: what is written is as durable "
                 "as the server makes it of its own accord",
                 dev->name);
  return 0;
}

static int
init_names (struct bdev_nbd *dev, const char *uri)
{
  char quoted[LOG_QUOTE_BYTES];
  char *shown = bdev_uri_shown (uri);

  if (shown != NULL)
    dev->name = strdup (log_quote (shown, quoted));
  free (shown);
  dev->uri = strdup (uri);
  if (dev->name == NULL || dev->uri == NULL)
    return -ENOMEM;
  dev->server.uri = dev->uri;
  dev->server.name = dev->name;
  return 0;
}

/* Connect for the first time. */
static int
connect_device (struct bdev_nbd *dev, const struct bdev_options *options)
{
  unsigned wanted = options->connections != 0 ? options->connections
                                              : DEFAULT_CONNECTIONS;
  int r = nbd_connection_create (&dev->server, &dev->connections[0]);

  if (r < 0)
    return r;
  dev->connection_max = 1;
  r = nbd_connection_open (dev->connections[0], &dev->export);
  if (r == 0)
    r = check_export (dev, options->flags);
  if (r < 0)
    return r;
  if (dev->export.has_multi_conn)
    while (dev->connection_max < MIN_OF (wanted, CONNECTIONS_MAX)) {
      r = nbd_connection_create (&dev->server,
                                 &dev->connections[dev->connection_max]);
      if (r < 0)
        return r;
      dev->connection_max++;
    }
  connect_others (dev, dev->export.has_multi_conn);
  return 0;
}

int
bdev_nbd_open (const char *uri, const struct bdev_options *options,
               struct block_device **bdev)
{
  bool is_read_only = (options->flags & BDEV_OPEN_READ_ONLY) != 0;
  unsigned timeout_ms = options->timeout_ms != 0 ? options->timeout_ms
                                                 : DEFAULT_TIMEOUT_MS;
  struct block_device *lower;
  struct bdev_nbd *dev;
  int r;

  if ((options->flags & BDEV_OPEN_DIRECT) &&
      (options->flags & BDEV_OPEN_BUFFERED))
    return -EINVAL;
  dev = calloc (1, sizeof *dev);
  if (dev == NULL)
    return -ENOMEM;
  dev->server.timeout_ns = timeout_ms * (NS_PER_SECOND / 1000);
  dev->server.failed = server_failed;
  group_sync_init (&dev->sync);
  mutex_init (&dev->reconnect_lock);
  r = init_names (dev, uri);
  if (r == 0 && (options->flags & BDEV_OPEN_DIRECT)) {
    log_error ("%s: O_DIRECT cannot be had over NBD", dev->name);
    r = -EOPNOTSUPP;
  }
  if (r == 0)
    r = connect_device (dev, options);
  if (r == 0)
    r = bdev_create (is_read_only ? &nbd_read_only_ops : &nbd_ops, dev,
                     dev->name, dev->export.bytes >> SECTOR_SHIFT, bdev);
  if (r < 0) {
    nbd_close_device (dev);
    return r;
  }
  if (dev->export.block_bytes <= SECTOR_SIZE)
    return 0;
  lower = *bdev;
  r = bdev_blocks_create (lower, (unsigned) dev->export.block_bytes, bdev);
  if (r < 0)
    bdev_close (lower);
  return r;
}
