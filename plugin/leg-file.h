/* Leg files by name: making new ones, and telling which file a name is.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_LEG_FILE_H
#define DM_LEG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "block-device.h"

/* Create a sparse file of BYTES, durably.  Returns 0, -EEXIST if there is
 * anything of that name, or another negative errno; then nothing is left
 * behind.
 */
int leg_file_create (const char *path, uint64_t bytes);

/* Make the entry of PATH in its folder durable, which leg_file_create has
 * done, unless it was killed.  Returns 0 or a negative errno.
 */
int leg_file_sync_entry (const char *path);

/* Remove a file that leg_file_create has made, if all is off after all. */
void leg_file_remove (const char *path);

/* The absolute path, which names the leg in the manifest.  In a URI the names
 * of files (the socket, those for TLS) become absolute, since a server changes
 * its folder when it goes into the background.  A path's folder is without
 * links, but its last part is as it was given: a link such as those
 * of /dev/disk/by-id is a better name for a disk than what it points to
 * today.  The file need not exist, its folder must.  The caller frees
 * *ABSOLUTE.  Returns 0 or a negative errno.
 */
int leg_file_absolute_path (const char *path, char **absolute);

/* A text that is the same as long as the device is the same file or disk,
 * even after a restart; another of the same name has another.  Of an NBD
 * server only the size is known.
 */
#define LEG_IDENTITY_BYTES 200
int leg_file_identity (struct block_device *bdev,
                       char identity[LEG_IDENTITY_BYTES]);

/* Is what PATH names still the file or disk ID?  Where that cannot be found
 * out, it is: LEG_FILE_GONE says that there is nothing of that name.
 */
enum leg_file_place {
  LEG_FILE_THERE,
  LEG_FILE_GONE,
  LEG_FILE_OTHER, /* something else has its name */
};
enum leg_file_place leg_file_place (const char *path,
                                    const struct bdev_identity *id);

/* A text that changes whenever somebody writes to the file; empty for a
 * disk or a server, of which nothing is known.
 */
#define LEG_STAMP_BYTES 40
void leg_file_stamp (struct block_device *bdev, char stamp[LEG_STAMP_BYTES]);

/* True if IDENTITY is that of a disk or a server that says nothing of itself
 * but its size, so that others may have the same.
 */
bool leg_identity_is_weak (const char *identity);

#endif /* DM_LEG_FILE_H */
