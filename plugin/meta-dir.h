/* The folder that is the volume's memory, as a set of named files.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The only place that opens, replaces and removes files of meta=DIR.
 * Functions return 0 or a negative errno; names are single components.
 */

#ifndef DM_META_DIR_H
#define DM_META_DIR_H

#include <stdbool.h>
#include <stddef.h>

#include "block-device.h"

struct meta_dir;

/* Open the folder PATH and lock it for as long as it is open.  What is in it
 * has been made durable, if it can be written.  Errors: -ENOENT (it is
 * absent), -EBUSY (another server has it), -ENOTDIR, -EACCES ...
 */
int meta_dir_open (const char *path, struct meta_dir **dir);

/* Open the folder PATH to look at it: nothing is locked, and nothing can be
 * changed.  A server may have it meanwhile; a file is found as it was before
 * or after it was replaced.
 */
int meta_dir_look (const char *path, struct meta_dir **dir);

/* Create the folder PATH (mode 0700), and open it.  Errors: -EEXIST,
 * -ENOENT (the folder that it should be in is absent), -EACCES ...
 */
int meta_dir_create (const char *path, struct meta_dir **dir);

/* Close and unlock.  NULL is ignored. */
void meta_dir_close (struct meta_dir *dir);

/* The same, when it is not needed after all: if it has been created and
 * nothing is in it, it goes again.
 */
void meta_dir_abandon (struct meta_dir *dir);

/* The absolute path, for messages and for the manifest. */
const char *meta_dir_path (const struct meta_dir *dir);

/* True if nothing can be changed there. */
bool meta_dir_is_read_only (const struct meta_dir *dir);

/* True if there is anything of that name. */
bool meta_dir_has_file (struct meta_dir *dir, const char *name);

/* Read all of a file, at most MAX bytes (-EFBIG).  *TEXT is the caller's
 * to free, *LENGTH bytes and a NUL.  -ENOENT if it is absent, -EINVAL if it
 * is not a regular file.
 */
int meta_dir_read_file (struct meta_dir *dir, const char *name, size_t max,
                        char **text, size_t *length);

/* A file of zeroes in the folder: room that is given up when the disk is full,
 * so that a file can be replaced all the same.
 */
#define META_DIR_ROOM "spare-room"

/* Replace a file, so that after a crash at any moment it has either its
 * old or its new contents, and its new ones once this has returned 0.  After
 * an error it has either; but most, such as -EACCES, come so early that it has
 * its old ones: that is so if it is not doubtful.
 */
int meta_dir_replace_file (struct meta_dir *dir, const char *name,
                           const char *text, size_t length);

/* True if a replacement of that file, and all later ones, have failed, and one
 * so late that the new contents may be there after a crash.  One call at a time
 * of this and of meta_dir_replace_file.
 */
bool meta_dir_is_doubtful (struct meta_dir *dir, const char *name);

/* Create a file of BYTES zeroes (sparse), durably, and open it as a
 * device.  -EEXIST if it is there.
 */
int meta_dir_create_store (struct meta_dir *dir, const char *name,
                           uint64_t bytes, struct block_device **bdev);

/* Open a file as a device; read-only if nothing can be changed there. */
int meta_dir_open_store (struct meta_dir *dir, const char *name,
                         struct block_device **bdev);

/* Give a file another name, which no other has, durably.  After an error it
 * has either.
 */
int meta_dir_rename_file (struct meta_dir *dir, const char *name,
                          const char *new_name);

/* Make durable which files there are. */
int meta_dir_sync (struct meta_dir *dir);

/* Remove a file, durably.  An absent one is no error. */
int meta_dir_remove_file (struct meta_dir *dir, const char *name);

/* True if this process may open COUNT files more, in this folder or elsewhere,
 * as far as its limit goes.
 */
bool meta_dir_can_open_files (unsigned count);

#endif /* DM_META_DIR_H */
