/* A store for as long as the server runs: a file without a name.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file system takes the space back when the device is closed, or when the
 * program ends in whatever way.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "temp-store.h"

#define DEFAULT_FOLDER "/var/tmp"

const char *
temp_store_folder (void)
{
  const char *folder = getenv ("TMPDIR");

  return folder != NULL && folder[0] == '/' ? folder : DEFAULT_FOLDER;
}

/* Not all file systems have files that never had a name.  Returns a
 * descriptor, or a negative errno.
 */
static int
open_and_unlink (const char *folder)
{
  char *path;
  int fd;

  if (asprintf (&path, "%s/dm-snapshot.XXXXXX", folder) == -1)
    return -ENOMEM;
  fd = mkostemp (path, O_CLOEXEC);
  if (fd == -1)
    fd = -errno;
  else
    (void) unlink (path);
  free (path);
  return fd;
}

static int
open_unnamed (const char *folder)
{
  int fd = open (folder, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

  if (fd != -1)
    return fd;
  /* The second is what kernels say that do not know of it. */
  return errno == EOPNOTSUPP || errno == EISDIR ? open_and_unlink (folder)
                                                : -errno;
}

int
temp_store_create (uint64_t bytes, struct block_device **bdev)
{
  const char *folder = temp_store_folder ();
  char *name;
  int fd, r;

  if (bytes > (uint64_t) INT64_MAX)
    return -EFBIG;
  fd = open_unnamed (folder);
  if (fd < 0)
    return fd;
  if (ftruncate (fd, (off_t) bytes) == -1) {
    r = -errno;
    goto err_close;
  }
  if (asprintf (&name, "%s/(unnamed)", folder) == -1) {
    r = -ENOMEM;
    goto err_close;
  }
  r = bdev_open_fd (fd, name, 0, bdev);
  free (name);
  if (r < 0)
    goto err_close;
  return 0;

err_close:
  (void) close (fd);
  return r;
}
