/* nbdkit plugin that writes two files and nothing else: the limit for a mirror.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Each write is two pwrites in nbdkit's own thread for the request, each read
 * one pread from the first file, each flush an fdatasync of both.  There are
 * no states, no locks, no failed legs: whatever a mirror does beyond this is
 * its cost, and bench/run-fio.sh measures that cost as a ratio.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

#define FILE_COUNT 2

static char *names[FILE_COUNT];
static int fds[FILE_COUNT] = { -1, -1 };
static unsigned name_count;
static int64_t size_bytes;

static int
two_pwrites_config (const char *key, const char *value)
{
  if (strcmp (key, "file") != 0) {
    nbdkit_error ("unknown parameter '%s': only file= is known", key);
    return -1;
  }
  if (name_count == FILE_COUNT) {
    nbdkit_error ("%s: two files are needed, this is a third", value);
    return -1;
  }
  names[name_count] = nbdkit_absolute_path (value);
  if (names[name_count] == NULL)
    return -1;
  name_count++;
  return 0;
}

static int
two_pwrites_config_complete (void)
{
  if (name_count == FILE_COUNT)
    return 0;
  nbdkit_error ("two files are needed: file=A file=B");
  return -1;
}

/* Both files are opened once, for all connections, and must be equally long. */
static int
two_pwrites_get_ready (void)
{
  unsigned i;

  for (i = 0; i < FILE_COUNT; i++) {
    struct stat st;

    fds[i] = open (names[i], O_RDWR | O_CLOEXEC);
    if (fds[i] == -1 || fstat (fds[i], &st) == -1) {
      nbdkit_error ("%s: %m", names[i]);
      return -1;
    }
    if (i > 0 && st.st_size != size_bytes) {
      nbdkit_error ("%s has %lld bytes, %s has %lld: must be equal", names[0],
                    (long long) size_bytes, names[i], (long long) st.st_size);
      return -1;
    }
    size_bytes = st.st_size;
  }
  return 0;
}

static void
two_pwrites_unload (void)
{
  unsigned i;

  for (i = 0; i < FILE_COUNT; i++) {
    if (fds[i] != -1)
      close (fds[i]);
    free (names[i]);
  }
}

static void *
two_pwrites_open (int readonly)
{
  (void) readonly;
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t
two_pwrites_get_size (void *handle)
{
  (void) handle;
  return size_bytes;
}

/* A flush on any connection flushes the same two files. */
static int
two_pwrites_can_multi_conn (void *handle)
{
  (void) handle;
  return 1;
}

static int
two_pwrites_can_fua (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

static int
two_pwrites_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
                   uint32_t flags)
{
  char *p = buf;

  (void) handle;
  (void) flags;
  while (count > 0) {
    ssize_t n = pread (fds[0], p, count, (off_t) offset);

    if (n <= 0) {
      if (n == 0)
        errno = EIO;
      nbdkit_error ("%s: pread: %m", names[0]);
      return -1;
    }
    p += n;
    offset += (uint64_t) n;
    count -= (uint32_t) n;
  }
  return 0;
}

static int
two_pwrites_flush (void *handle, uint32_t flags)
{
  unsigned i;

  (void) handle;
  (void) flags;
  for (i = 0; i < FILE_COUNT; i++) {
    if (fdatasync (fds[i]) == -1) {
      nbdkit_error ("%s: fdatasync: %m", names[i]);
      return -1;
    }
  }
  return 0;
}

static int
write_all (unsigned i, const char *p, uint32_t count, uint64_t offset)
{
  while (count > 0) {
    ssize_t n = pwrite (fds[i], p, count, (off_t) offset);

    if (n == -1) {
      nbdkit_error ("%s: pwrite: %m", names[i]);
      return -1;
    }
    p += n;
    offset += (uint64_t) n;
    count -= (uint32_t) n;
  }
  return 0;
}

static int
two_pwrites_pwrite (void *handle, const void *buf, uint32_t count,
                    uint64_t offset, uint32_t flags)
{
  unsigned i;

  for (i = 0; i < FILE_COUNT; i++) {
    if (write_all (i, buf, count, offset) == -1)
      return -1;
  }
  if (flags & NBDKIT_FLAG_FUA)
    return two_pwrites_flush (handle, 0);
  return 0;
}

static struct nbdkit_plugin plugin = {
  .name = "two-pwrites",
  .description = "Writes two files and nothing else: the limit for a mirror",
  .magic_config_key = "file",
  .config = two_pwrites_config,
  .config_complete = two_pwrites_config_complete,
  .config_help = "file=<FILENAME> (twice)  The two files to write.",
  .get_ready = two_pwrites_get_ready,
  .unload = two_pwrites_unload,
  .open = two_pwrites_open,
  .get_size = two_pwrites_get_size,
  .can_multi_conn = two_pwrites_can_multi_conn,
  .can_fua = two_pwrites_can_fua,
  .pread = two_pwrites_pread,
  .pwrite = two_pwrites_pwrite,
  .flush = two_pwrites_flush,
  .errno_is_preserved = 1,
};

/* nbdkit-plugin.h leaves this function, made by the macro below, undeclared. */
struct nbdkit_plugin *plugin_init (void);

NBDKIT_REGISTER_PLUGIN (plugin)
