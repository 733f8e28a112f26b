/* An nbdkit plugin over one file with a planted fault, for testing the tests.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * An oracle that has never objected proves nothing.  This server is correct
 * with fault=none, and wrong in one known way with any other:
 *
 *   drop-write   each AT-th write is acknowledged, and not done
 *   rmw          partial sectors are read, changed and written without a lock
 *   short-zero   zero leaves the last byte of the range as it was
 *   stale-read   read number AT returns the sector's content of the start
 *   lazy         nothing reaches the file before the server stops in order,
 *                so a flush is a lie and kill -9 loses everything
 *   late         as lazy, but flush number AT and every later one is the lie
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>
#include <pthread.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum fault {
  FAULT_NONE,
  FAULT_DROP_WRITE,
  FAULT_RMW,
  FAULT_SHORT_ZERO,
  FAULT_STALE_READ,
  FAULT_LAZY,
  FAULT_LATE,
};

static char *file;
static enum fault fault = FAULT_NONE;
static int64_t at = 100;
static uint64_t size;
static int fd = -1;

/* The content: in memory, copied to the file by flush unless lazy. */
static uint8_t *now;
static uint8_t *start;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static atomic_llong writes;
static atomic_llong reads;
static atomic_llong flushes;

static int
planted_config (const char *key, const char *value)
{
  static const char *const names[] = {
    [FAULT_NONE] = "none",
    [FAULT_DROP_WRITE] = "drop-write",
    [FAULT_RMW] = "rmw",
    [FAULT_SHORT_ZERO] = "short-zero",
    [FAULT_STALE_READ] = "stale-read",
    [FAULT_LAZY] = "lazy",
    [FAULT_LATE] = "late",
  };

  if (strcmp (key, "file") == 0) {
    free (file);
    file = nbdkit_realpath (value);
    return file == NULL ? -1 : 0;
  }
  if (strcmp (key, "at") == 0)
    return nbdkit_parse_int64_t ("at", value, &at);
  if (strcmp (key, "fault") == 0) {
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
      if (strcmp (names[i], value) == 0) {
        fault = (enum fault) i;
        return 0;
      }
  }
  nbdkit_error ("unknown parameter %s=%s", key, value);
  return -1;
}

static int
planted_config_complete (void)
{
  if (file == NULL) {
    nbdkit_error ("file= is needed");
    return -1;
  }
  return 0;
}

static int
whole_file (int is_write, const uint8_t *from, uint8_t *to)
{
  uint64_t done = 0;

  while (done < size) {
    ssize_t n = is_write ? pwrite (fd, from + done, size - done, (off_t) done)
                         : pread (fd, to + done, size - done, (off_t) done);

    if (n <= 0) {
      nbdkit_error ("%s: %m", file);
      return -1;
    }
    done += (uint64_t) n;
  }
  return 0;
}

static int
planted_get_ready (void)
{
  struct stat st;

  fd = open (file, O_RDWR | O_CLOEXEC);
  if (fd == -1 || fstat (fd, &st) == -1) {
    nbdkit_error ("%s: %m", file);
    return -1;
  }
  size = (uint64_t) st.st_size;
  now = malloc (size + 1);
  start = malloc (size + 1);
  if (now == NULL || start == NULL) {
    nbdkit_error ("malloc: %m");
    return -1;
  }
  if (whole_file (0, NULL, now) == -1)
    return -1;
  memcpy (start, now, size);
  return 0;
}

/* Runs when the server stops in order; kill -9 skips it. */
static void
planted_unload (void)
{
  if (fd >= 0 && now != NULL)
    whole_file (1, now, NULL);
  if (fd >= 0)
    close (fd);
  free (now);
  free (start);
  free (file);
}

static void *
planted_open (int readonly)
{
  (void) readonly;
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t
planted_get_size (void *handle)
{
  (void) handle;
  return (int64_t) size;
}

static int
planted_can_multi_conn (void *handle)
{
  (void) handle;
  return 1;
}

static int
planted_can_fua (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

static int
planted_can_fast_zero (void *handle)
{
  (void) handle;
  return 1;
}

static int
planted_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
               uint32_t flags)
{
  (void) handle;
  (void) flags;
  pthread_rwlock_rdlock (&lock);
  memcpy (buf, now + offset, count);
  if (fault == FAULT_STALE_READ && atomic_fetch_add (&reads, 1) >= at)
    memcpy (buf, start + offset, count);
  pthread_rwlock_unlock (&lock);
  return 0;
}

static int
to_file (uint64_t offset, uint64_t count)
{
  if (fault == FAULT_LAZY)
    return 0;
  if (fault == FAULT_LATE && atomic_load (&flushes) >= at)
    return 0;
  /* Whole sectors: part of one would mix a new version with an old one. */
  count += offset % 512;
  offset -= offset % 512;
  count = (count + 511) / 512 * 512;
  if (offset + count > size)
    count = size - offset;
  if (pwrite (fd, now + offset, count, (off_t) offset) != (ssize_t) count) {
    nbdkit_error ("%s: %m", file);
    return -1;
  }
  return 0;
}

/* The planted race: two requests in one sector can both start from the old
 * content of it.
 */
static int
rmw_write (const uint8_t *buf, uint32_t count, uint64_t offset)
{
  while (count > 0) {
    uint8_t sector[512];
    uint64_t sector_start = offset / 512 * 512;
    uint32_t skip = (uint32_t) (offset - sector_start);
    uint32_t n = 512 - skip < count ? 512 - skip : count;
    size_t have = size - sector_start < 512 ? size - sector_start : 512;

    memcpy (sector, now + sector_start, have);
    if (n < 512) /* long enough for any other to come between */
      nanosleep (&(struct timespec){ .tv_nsec = 100000 }, NULL);
    memcpy (sector + skip, buf, n);
    memcpy (now + sector_start, sector, have);
    buf += n;
    offset += n;
    count -= n;
  }
  return 0;
}

static int
planted_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
                uint32_t flags)
{
  int r = 0;

  (void) handle;
  if (fault == FAULT_DROP_WRITE && atomic_fetch_add (&writes, 1) % at == at - 1)
    return 0;
  if (fault == FAULT_RMW)
    return rmw_write (buf, count, offset);
  pthread_rwlock_wrlock (&lock);
  memcpy (now + offset, buf, count);
  if (flags & NBDKIT_FLAG_FUA)
    r = to_file (offset, count);
  pthread_rwlock_unlock (&lock);
  return r;
}

static int
planted_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  int r = 0;

  (void) handle;
  pthread_rwlock_wrlock (&lock);
  memset (now + offset, 0, count - (fault == FAULT_SHORT_ZERO));
  if (flags & NBDKIT_FLAG_FUA)
    r = to_file (offset, count);
  pthread_rwlock_unlock (&lock);
  return r;
}

static int
planted_flush (void *handle, uint32_t flags)
{
  int r;

  (void) handle;
  (void) flags;
  pthread_rwlock_wrlock (&lock);
  atomic_fetch_add (&flushes, 1);
  r = to_file (0, size);
  pthread_rwlock_unlock (&lock);
  return r;
}

static struct nbdkit_plugin plugin = {
  .name = "planted",
  .longname = "a server with a planted fault",
  .config = planted_config,
  .config_complete = planted_config_complete,
  .get_ready = planted_get_ready,
  .unload = planted_unload,
  .open = planted_open,
  .get_size = planted_get_size,
  .can_multi_conn = planted_can_multi_conn,
  .can_fua = planted_can_fua,
  .can_fast_zero = planted_can_fast_zero,
  .pread = planted_pread,
  .pwrite = planted_pwrite,
  .trim = planted_zero,
  .zero = planted_zero,
  .flush = planted_flush,
};

extern struct nbdkit_plugin *plugin_init (void);
NBDKIT_REGISTER_PLUGIN (plugin)
