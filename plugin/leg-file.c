/* Leg files by name: making new ones, and telling which file a name is.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "leg-file.h"

/* Make the entry of PATH in its folder durable. */
static int
sync_folder (const char *path)
{
  char *copy = strdup (path);
  int fd, r = 0;

  if (copy == NULL)
    return -ENOMEM;
  fd = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -1 || fsync (fd) == -1)
    r = -errno;
  if (fd >= 0)
    (void) close (fd);
  free (copy);
  return r;
}

int
leg_file_create (const char *path, uint64_t bytes)
{
  int fd, r = 0;

  if (bytes > (uint64_t) INT64_MAX)
    return -EFBIG;
  fd = open (path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd == -1)
    return -errno;
  if (ftruncate (fd, (off_t) bytes) == -1 || fsync (fd) == -1)
    r = -errno;
  if (close (fd) == -1 && r == 0)
    r = -errno;
  if (r == 0)
    r = sync_folder (path);
  if (r < 0)
    (void) unlink (path);
  return r;
}

void
leg_file_remove (const char *path)
{
  (void) unlink (path);
}

int
leg_file_absolute_path (const char *path, char **absolute)
{
  char *copy, *folder, *base;
  int r = 0;

  *absolute = realpath (path, NULL);
  if (*absolute != NULL)
    return 0;
  if (errno != ENOENT)
    return -errno;

  /* Not there yet: the folder's path and the last component. */
  copy = strdup (path);
  if (copy == NULL)
    return -ENOMEM;
  base = strrchr (path, '/');
  base = strdup (base != NULL ? base + 1 : path);
  folder = realpath (dirname (copy), NULL);
  if (base == NULL || folder == NULL)
    r = base == NULL ? -ENOMEM : -errno;
  else if (asprintf (absolute, "%s/%s", strcmp (folder, "/") ? folder : "",
                     base) == -1)
    r = -ENOMEM;
  free (folder);
  free (base);
  free (copy);
  return r;
}

int
leg_file_identity (struct block_device *bdev, char identity[LEG_IDENTITY_BYTES])
{
  struct bdev_identity id;
  int r = bdev_identity (bdev, &id);

  if (r < 0)
    return r;
  if (id.is_disk)
    snprintf (identity, LEG_IDENTITY_BYTES, "disk");
  else
    snprintf (identity, LEG_IDENTITY_BYTES,
              "file %" PRIu64 " %" PRId64 ".%09" PRIu32, id.inode,
              id.birth_seconds, id.birth_ns);
  return 0;
}
