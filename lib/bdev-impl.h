/* What the kinds of block devices show each other, and nobody else.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_BDEV_IMPL_H
#define DMIO_BDEV_IMPL_H

#include "block-device.h"

/* True if FLAGS are flags of bdev_open, and go together. */
bool bdev_open_flags_are_valid (unsigned flags);

/* bdev_open_options for a path; OPTIONS have been checked. */
int bdev_file_open (const char *path, const struct bdev_options *options,
                    struct block_device **bdev);

/*----- devices of larger blocks: bdev-blocks.c -------------------------*/

#define BDEV_BLOCKS_MAX_BYTES 65536U

/* Make a device of sectors of LOWER, which takes only whole blocks of
 * BLOCK_BYTES: a power of two, more than a sector, at most
 * BDEV_BLOCKS_MAX_BYTES.  LOWER must be a whole number of blocks long; it
 * gets requests of whole blocks only, of any memory, in at most two pieces
 * more than the request had.  What it can have in flight (begin, end), and
 * whether it may be written, is asked here and never again.
 *
 * A write of parts of blocks reads these blocks, changes them and writes
 * them; no other write through the same device, of the same blocks or a
 * part of them, is lost by that.  If a block cannot be read, nothing has
 * been written.  Zeroing and discard zero parts of blocks in this way.
 * No memory is needed for all that, but for vectors of more than 128 pieces
 * (-ENOMEM).
 *
 * On success *BDEV, of the same name, owns LOWER and closes it; on failure
 * LOWER is still the caller's.  Errors: -EINVAL, -ENOMEM.
 */
int bdev_blocks_create (struct block_device *lower, unsigned block_bytes,
                        struct block_device **bdev);

/*----- devices that may hang: bdev-watch.c -----------------------------*/

/* Make a device that does what LOWER does, by threads of its own and with
 * memory of its own, and is given up when LOWER answers nothing for TIMEOUT_MS
 * (0: the default), or leaves one request without an answer for four times as
 * long: then all that is in flight fails with -ETIMEDOUT, and so does every
 * later call, until bdev_reconnect, which succeeds when LOWER has answered all
 * that it was given.  No thread is started before the first use.
 *
 * On success *BDEV, of the same name, owns LOWER.  bdev_close does not wait
 * for a LOWER that hangs: that is closed later.  On failure LOWER is still the
 * caller's.  Errors: -ENOMEM.
 */
int bdev_watch_create (struct block_device *lower, unsigned timeout_ms,
                       struct block_device **bdev);

/* Close what was left open because it hung, and has answered by now. */
void bdev_watch_reap (void);

/*----- devices behind a URI: bdev-uri.c, bdev-nbd.c --------------------*/

/* bdev_open_options for a URI; OPTIONS have been checked.  What is wrong
 * with it, or with its server, is told to the log.
 */
int bdev_uri_open (const char *uri, const struct bdev_options *options,
                   struct block_device **bdev);

/* The same, for one of the schemes of NBD. */
int bdev_nbd_open (const char *uri, const struct bdev_options *options,
                   struct block_device **bdev);

/* A copy of URI, to be freed, that may be shown: a password in it is left
 * out.  NULL: no memory.
 */
char *bdev_uri_shown (const char *uri);

/* The value of parameter NAME in the query of URI, decoded, to be freed; of
 * several the last.  *VALUE is NULL if there is none.  Returns 0 or -ENOMEM.
 */
int bdev_uri_parameter (const char *uri, const char *name, char **value);

/* The scheme is that of TLS; the scheme is that of TCP. */
bool bdev_uri_is_tls (const char *uri);
bool bdev_uri_is_tcp (const char *uri);

#endif /* DMIO_BDEV_IMPL_H */
