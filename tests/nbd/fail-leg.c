/* A preloaded library that makes the I/O of one file fail on demand.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Environment:
 *
 *   FAIL_PATH     the file, as readlink of /proc/self/fd says it; or several,
 *                 with colons between them
 *   FAIL_OP       which calls fail: a list of read, write, flush, punch
 *   FAIL_TRIGGER  they fail while this file exists
 *   FAIL_ERRNO    with this number                              (5, EIO)
 *   FAIL_SECTOR   only reads of the sector at this byte fail, until something
 *                 is written there
 *   FAIL_LOG      a line for each call that was made to fail: "write OFFSET"
 *   SLOW_WRITE_MS  writes of at least SLOW_WRITE_BYTES to these files take so
 *                 much longer, while the trigger exists
 *   DELAY_RENAME_MS  while the trigger exists, a rename to a name that ends in
 *                 volume.json is done so much later; who does not wait for it
 *                 before answering a client is seen
 *
 * It is preloaded into whatever NBDKIT is, so it must be harmless to a shell,
 * and must be built without sanitizers.
 */

#include <config.h>

/* With it, <unistd.h> would make one name of the two that are defined here. */
#undef _FILE_OFFSET_BITS

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PUBLIC __attribute__ ((visibility ("default")))

static bool
is_armed (void)
{
  const char *trigger = getenv ("FAIL_TRIGGER");

  return trigger != NULL && access (trigger, F_OK) == 0;
}

static void
note (const char *op, long long where)
{
  const char *name = getenv ("FAIL_LOG");
  char line[80];
  int fd, n;

  if (name == NULL)
    return;
  fd = open (name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd == -1)
    abort ();
  n = snprintf (line, sizeof line, "%s %lld\n", op, where);
  if (write (fd, line, (size_t) n) != n)
    abort ();
  close (fd);
}

/* Is the file of that name one of the list?  A deleted file is, too. */
static bool
is_listed (const char *list, const char *target)
{
  while (*list != '\0') {
    size_t len = strcspn (list, ":");

    if (strncmp (target, list, len) == 0 &&
        (target[len] == '\0' || strcmp (target + len, " (deleted)") == 0))
      return true;
    list += len;
    list += *list == ':';
  }
  return false;
}

/* Is that one of the files, and the trigger there? */
static bool
is_one_of_ours (int fd)
{
  const char *paths = getenv ("FAIL_PATH");
  char link[64], target[PATH_MAX + 1];
  int saved = errno;
  bool answer = false;
  ssize_t n;

  if (paths == NULL || !is_armed ())
    goto out;
  snprintf (link, sizeof link, "/proc/self/fd/%d", fd);
  n = readlink (link, target, PATH_MAX);
  if (n < 0)
    goto out;
  target[n] = '\0';
  answer = is_listed (paths, target);

out:
  errno = saved;
  return answer;
}

/* Is this a read of the bad sector, which a write makes a good one? */
static bool
is_bad (const char *sector, const char *op, long long where, size_t bytes)
{
  static atomic_bool is_good;
  long long first = atoll (sector);

  if (where >= first + 512 || where + (long long) bytes <= first)
    return false;
  if (strcmp (op, "write") == 0)
    atomic_store (&is_good, true);
  return strcmp (op, "read") == 0 && !atomic_load (&is_good);
}

/* Shall this call fail?  Then errno is set. */
static bool
fails (int fd, const char *op, long long where, size_t bytes)
{
  const char *ops = getenv ("FAIL_OP");
  const char *number = getenv ("FAIL_ERRNO");
  const char *sector = getenv ("FAIL_SECTOR");

  if (sector != NULL) {
    if (!is_one_of_ours (fd) || !is_bad (sector, op, where, bytes))
      return false;
  }
  else if (ops == NULL || strstr (ops, op) == NULL || !is_one_of_ours (fd))
    return false;
  note (op, where);
  errno = number != NULL ? atoi (number) : EIO;
  return true;
}

static void
pause_ms (long ms)
{
  struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

  while (nanosleep (&ts, &ts) == -1 && errno == EINTR)
    ;
}

/* Comes before the write, so that what is written is older by then. */
static void
slow_down (int fd, const char *op, size_t bytes)
{
  const char *ms = getenv ("SLOW_WRITE_MS");
  const char *least = getenv ("SLOW_WRITE_BYTES");

  if (ms != NULL && least != NULL && strcmp (op, "write") == 0 &&
      bytes >= (size_t) atol (least) && is_one_of_ours (fd))
    pause_ms (atol (ms));
}

static size_t
vector_bytes (const struct iovec *iov, int n)
{
  size_t bytes = 0;

  for (int i = 0; i < n; i++)
    bytes += iov[i].iov_len;
  return bytes;
}

static void *
next (const char *name)
{
  void *function = dlsym (RTLD_NEXT, name);

  if (function == NULL)
    abort ();
  return function;
}

/* Each call under both of its names; off_t has 64 bits in either. */

#define WRAP_RW(NAME, OP, BUF) \
  extern ssize_t NAME (int, BUF, size_t, off_t); \
  PUBLIC ssize_t NAME (int fd, BUF buf, size_t count, off_t offset) \
  { \
    ssize_t (*real) (int, BUF, size_t, off_t) = next (#NAME); \
\
    slow_down (fd, OP, count); \
    return fails (fd, OP, offset, count) ? -1 : real (fd, buf, count, offset); \
  }

#define WRAP_VECTOR(NAME, OP) \
  extern ssize_t NAME (int, const struct iovec *, int, off_t); \
  PUBLIC ssize_t NAME (int fd, const struct iovec *iov, int n, off_t offset) \
  { \
    ssize_t (*real) (int, const struct iovec *, int, off_t) = next (#NAME); \
\
    slow_down (fd, OP, vector_bytes (iov, n)); \
    return fails (fd, OP, offset, vector_bytes (iov, n)) \
             ? -1 \
             : real (fd, iov, n, offset); \
  }

#define WRAP_VECTOR2(NAME, OP) \
  extern ssize_t NAME (int, const struct iovec *, int, off_t, int); \
  PUBLIC ssize_t NAME (int fd, const struct iovec *iov, int n, off_t offset, \
                       int flags) \
  { \
    ssize_t (*real) (int, const struct iovec *, int, off_t, \
                     int) = next (#NAME); \
\
    slow_down (fd, OP, vector_bytes (iov, n)); \
    return fails (fd, OP, offset, vector_bytes (iov, n)) \
             ? -1 \
             : real (fd, iov, n, offset, flags); \
  }

#define WRAP_SYNC(NAME) \
  extern int NAME (int); \
  PUBLIC int NAME (int fd) \
  { \
    int (*real) (int) = next (#NAME); \
\
    return fails (fd, "flush", 0, 0) ? -1 : real (fd); \
  }

#define WRAP_FALLOCATE(NAME) \
  extern int NAME (int, int, off_t, off_t); \
  PUBLIC int NAME (int fd, int mode, off_t offset, off_t len) \
  { \
    int (*real) (int, int, off_t, off_t) = next (#NAME); \
\
    return fails (fd, "punch", offset, (size_t) len) \
             ? -1 \
             : real (fd, mode, offset, len); \
  }

WRAP_RW (pread, "read", void *)
WRAP_RW (pread64, "read", void *)
WRAP_RW (pwrite, "write", const void *)
WRAP_RW (pwrite64, "write", const void *)
WRAP_VECTOR (preadv, "read")
WRAP_VECTOR (preadv64, "read")
WRAP_VECTOR (pwritev, "write")
WRAP_VECTOR (pwritev64, "write")
WRAP_VECTOR2 (preadv2, "read")
WRAP_VECTOR2 (preadv64v2, "read")
WRAP_VECTOR2 (pwritev2, "write")
WRAP_VECTOR2 (pwritev64v2, "write")
WRAP_SYNC (fsync)
WRAP_SYNC (fdatasync)
WRAP_FALLOCATE (fallocate)
WRAP_FALLOCATE (fallocate64)

static void
delay_rename (const char *to)
{
  static const char suffix[] = "volume.json";
  const char *number = getenv ("DELAY_RENAME_MS");
  size_t len = strlen (to);
  long ms;

  if (number == NULL || len < sizeof suffix - 1 ||
      strcmp (to + len - (sizeof suffix - 1), suffix) != 0 || !is_armed ())
    return;
  ms = atol (number);
  note ("rename", ms);
  pause_ms (ms);
}

PUBLIC int
rename (const char *from, const char *to)
{
  int (*real) (const char *, const char *) = next ("rename");

  delay_rename (to);
  return real (from, to);
}

PUBLIC int
renameat (int from_fd, const char *from, int to_fd, const char *to)
{
  int (*real) (int, const char *, int, const char *) = next ("renameat");

  delay_rename (to);
  return real (from_fd, from, to_fd, to);
}
