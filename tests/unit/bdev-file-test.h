/* What the tests of devices over files share: files in a folder of the test.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Like test-util.h, everything is here and inline.
 */

#ifndef DMIO_BDEV_FILE_TEST_H
#define DMIO_BDEV_FILE_TEST_H

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block-device.h"
#include "log-sink.h"
#include "test-util.h"

/* Made by main, so that it is removed even after a test that failed. */
static char plain_folder[TEST_PATH_BYTES];

/* That of the test that runs. */
static char folder[TEST_PATH_BYTES];

/* Messages of the library since setup. */
static unsigned warnings, errors;

static inline void
count_message (enum log_level level, const char *message)
{
  if (level == LOG_LEVEL_WARNING)
    warnings++;
  if (level == LOG_LEVEL_ERROR)
    errors++;
  /* Every message names the file. */
  if (strstr (message, folder) == NULL || strchr (message, '\n') != NULL)
    abort ();
}

static inline void
setup (void)
{
  make_test_folder (plain_folder, folder);
  warnings = errors = 0;
  log_sink_set (count_message);
}

static inline void
teardown (void)
{
  log_sink_set (NULL);
  remove_test_folder (folder);
}

/* The path of NAME in the folder: one of four buffers. */
static inline const char *
path_of (const char *name)
{
  static char paths[4][TEST_PATH_BYTES + 64];
  static unsigned next;
  char *path = paths[next++ % 4];

  must (snprintf (path, sizeof paths[0], "%s/%s", folder, name) <
        (int) sizeof paths[0]);
  return path;
}

/* Make a sparse file of BYTES and return its path. */
static inline const char *
make_file (const char *name, off_t bytes)
{
  const char *path = path_of (name);
  int fd = open (path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600);

  must (fd >= 0);
  must (ftruncate (fd, bytes) == 0);
  must (close (fd) == 0);
  return path;
}

static inline struct block_device *
open_file (const char *path, unsigned flags)
{
  struct block_device *bdev;

  ck_assert_int_eq (bdev_open (path, flags, &bdev), 0);
  return bdev;
}

#endif /* DMIO_BDEV_FILE_TEST_H */
