/* The folder that is the volume's memory, as a set of named files.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "meta-dir.h"

#define NEW_SUFFIX ".new"
#define NAME_BYTES 256

/* More than a file that is replaced: so much it may grow. */
#define ROOM_BYTES 65536

struct meta_dir {
  int fd;

  /* A descriptor that is given up for the new file where there is no other:
   * that a leg has failed must be recorded, whoever has taken all the rest.
   * -1: none.
   */
  atomic_int spare;
  size_t room_bytes; /* in the file META_DIR_ROOM, as far as is known */
  bool is_read_only;
  bool is_created;
  char *path;
  /* Of this file, or of all, it is not known whether it was replaced. */
  char doubtful[NAME_BYTES];
  bool all_are_doubtful;
};

/* Have a spare descriptor, if there is one to be had. */
static void
keep_spare (struct meta_dir *dir)
{
  int none = -1, fd;

  if (atomic_load (&dir->spare) != -1)
    return;
  fd = fcntl (dir->fd, F_DUPFD_CLOEXEC, 0);
  if (fd != -1 && !atomic_compare_exchange_strong (&dir->spare, &none, fd))
    (void) close (fd);
}

static void
give_spare_up (struct meta_dir *dir)
{
  int fd = atomic_exchange (&dir->spare, -1);

  if (fd != -1)
    (void) close (fd);
}

/* Open it, and lock it if IS_OURS. */
static int
open_folder (const char *path, bool is_ours, struct meta_dir **dir)
{
  struct meta_dir *d = calloc (1, sizeof *d);
  int r;

  if (d == NULL)
    return -ENOMEM;
  d->fd = open (path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (d->fd == -1) {
    r = -errno;
    goto err_free_dir;
  }
  if (is_ours && flock (d->fd, LOCK_EX | LOCK_NB) == -1) {
    r = errno == EWOULDBLOCK ? -EBUSY : -errno;
    goto err_close;
  }
  d->path = realpath (path, NULL);
  if (d->path == NULL) {
    r = -errno;
    goto err_close;
  }
  atomic_init (&d->spare, -1);
  d->is_read_only = !is_ours || faccessat (d->fd, ".", W_OK, AT_EACCESS) == -1;
  if (!d->is_read_only)
    keep_spare (d);
  *dir = d;
  return 0;

err_close:
  (void) close (d->fd);
err_free_dir:
  free (d);
  return r;
}

/* Make the folder's own entry durable. */
static int
sync_parent (struct meta_dir *dir)
{
  int fd = openat (dir->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int r = 0;

  if (fd == -1)
    return -errno;
  if (fsync (fd) == -1)
    r = -errno;
  (void) close (fd);
  return r;
}

static int
sync_dir (struct meta_dir *dir)
{
  return fsync (dir->fd) == -1 ? -errno : 0;
}

/* What is seen in a folder is there after a power failure, too: the program
 * that was killed in the middle of a change may have left it without that.
 */
static int
settle (struct meta_dir *dir)
{
  int r;

  if (dir->is_read_only)
    return 0;
  r = sync_dir (dir);
  if (r < 0)
    return r;
  /* Where the folder above cannot be read the user has made this one. */
  r = sync_parent (dir);
  return r == -EACCES ? 0 : r;
}

int
meta_dir_open (const char *path, struct meta_dir **dir)
{
  struct meta_dir *d;
  int r = open_folder (path, true, &d);

  if (r < 0)
    return r;
  r = settle (d);
  if (r < 0) {
    meta_dir_close (d);
    return r;
  }
  *dir = d;
  return 0;
}

int
meta_dir_look (const char *path, struct meta_dir **dir)
{
  return open_folder (path, false, dir);
}

int
meta_dir_create (const char *path, struct meta_dir **dir)
{
  struct meta_dir *d;
  int r;

  if (mkdir (path, 0700) == -1)
    return -errno;
  r = open_folder (path, true, &d);
  if (r < 0)
    goto err_remove;
  d->is_created = true;
  r = sync_parent (d);
  if (r < 0)
    goto err_close;
  *dir = d;
  return 0;

err_close:
  meta_dir_close (d);
err_remove:
  (void) rmdir (path);
  return r;
}

void
meta_dir_close (struct meta_dir *dir)
{
  if (dir == NULL)
    return;
  give_spare_up (dir);
  (void) close (dir->fd);
  free (dir->path);
  free (dir);
}

void
meta_dir_abandon (struct meta_dir *dir)
{
  /* rmdir refuses a folder that is not empty. */
  if (dir != NULL && dir->is_created)
    (void) rmdir (dir->path);
  meta_dir_close (dir);
}

const char *
meta_dir_path (const struct meta_dir *dir)
{
  return dir->path;
}

bool
meta_dir_is_read_only (const struct meta_dir *dir)
{
  return dir->is_read_only;
}

bool
meta_dir_has_file (struct meta_dir *dir, const char *name)
{
  struct stat st;

  return fstatat (dir->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
         errno != ENOENT;
}

int
meta_dir_read_file (struct meta_dir *dir, const char *name, size_t max,
                    char **text, size_t *length)
{
  /* O_NONBLOCK: what should be a file may be a named pipe. */
  int fd = openat (dir->fd, name,
                   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  struct stat st;
  size_t done = 0;
  char *buffer;
  int r;

  if (fd == -1)
    return errno == ELOOP ? -EINVAL : -errno;
  if (fstat (fd, &st) == -1) {
    r = -errno;
    goto err_close;
  }
  if (!S_ISREG (st.st_mode) || st.st_size > (off_t) max) {
    r = S_ISREG (st.st_mode) ? -EFBIG : -EINVAL;
    goto err_close;
  }
  buffer = malloc ((size_t) st.st_size + 1);
  if (buffer == NULL) {
    r = -ENOMEM;
    goto err_close;
  }
  while (done < (size_t) st.st_size) {
    ssize_t n = read (fd, buffer + done, (size_t) st.st_size - done);

    if (n == -1 && errno == EINTR)
      continue;
    if (n <= 0) {
      r = n == 0 ? -EIO : -errno;
      goto err_free_buffer;
    }
    done += (size_t) n;
  }
  (void) close (fd);
  buffer[done] = '\0';
  *text = buffer;
  *length = done;
  return 0;

err_free_buffer:
  free (buffer);
err_close:
  (void) close (fd);
  return r;
}

static int
write_all (int fd, const char *text, size_t length)
{
  while (length > 0) {
    ssize_t n = write (fd, text, length);

    if (n == -1 && errno == EINTR)
      continue;
    if (n == -1)
      return -errno;
    text += n;
    length -= (size_t) n;
  }
  return 0;
}

static void
note_doubt (struct meta_dir *dir, const char *name)
{
  if (dir->doubtful[0] == '\0')
    (void) snprintf (dir->doubtful, sizeof dir->doubtful, "%s", name);
  else if (strcmp (dir->doubtful, name) != 0)
    dir->all_are_doubtful = true;
}

bool
meta_dir_is_doubtful (struct meta_dir *dir, const char *name)
{
  return dir->all_are_doubtful || strcmp (dir->doubtful, name) == 0;
}

/* Open the new file NAME. */
static int
open_new_file (struct meta_dir *dir, const char *name)
{
  int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW;
  int fd = openat (dir->fd, name, flags, 0600);

  if (fd == -1 && (errno == EMFILE || errno == ENFILE)) {
    give_spare_up (dir);
    fd = openat (dir->fd, name, flags, 0600);
  }
  return fd == -1 ? -errno : fd;
}

/* Write the new file NAME, durably.  After an error there is none. */
static int
write_new_file (struct meta_dir *dir, const char *name, const char *text,
                size_t length)
{
  int fd = open_new_file (dir, name);
  int r;

  if (fd < 0)
    return fd;
  r = write_all (fd, text, length);
  if (r == 0 && fsync (fd) == -1)
    r = -errno;
  if (close (fd) == -1 && r == 0)
    r = -errno;
  keep_spare (dir);
  if (r < 0)
    (void) unlinkat (dir->fd, name, 0);
  return r;
}

static int
write_zeroes (int fd, size_t length)
{
  static const char zeroes[4096];
  int r = 0;

  while (r == 0 && length > 0) {
    size_t n = length < sizeof zeroes ? length : sizeof zeroes;

    r = write_all (fd, zeroes, n);
    length -= n;
  }
  return r;
}

/* Have room for a file of LENGTH bytes, and more, that nobody else can take.
 * It is a help, not a promise: if there is none now, it is tried again.
 */
static void
keep_room (struct meta_dir *dir, size_t length)
{
  struct stat st;
  int fd, r;

  if (dir->room_bytes == 0 &&
      fstatat (dir->fd, META_DIR_ROOM, &st, AT_SYMLINK_NOFOLLOW) == 0)
    dir->room_bytes = (size_t) st.st_size; /* of an earlier server */
  if (dir->room_bytes >= length)
    return;
  fd = openat (dir->fd, META_DIR_ROOM,
               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW |
                 O_NONBLOCK,
               0600);
  if (fd == -1)
    return;
  r = write_zeroes (fd, length + ROOM_BYTES);
  if (close (fd) == -1 || r < 0)
    (void) unlinkat (dir->fd, META_DIR_ROOM, 0);
  else
    dir->room_bytes = length + ROOM_BYTES;
}

/* True if there is some more now. */
static bool
give_room_up (struct meta_dir *dir)
{
  dir->room_bytes = 0;
  /* Some file systems give it out again only when that is durable. */
  return unlinkat (dir->fd, META_DIR_ROOM, 0) == 0 && sync_dir (dir) == 0;
}

int
meta_dir_replace_file (struct meta_dir *dir, const char *name, const char *text,
                       size_t length)
{
  char new_name[NAME_BYTES];
  int r;

  if (snprintf (new_name, sizeof new_name, "%s%s", name, NEW_SUFFIX) >=
      (int) sizeof new_name)
    return -ENAMETOOLONG;
  r = write_new_file (dir, new_name, text, length);
  if ((r == -ENOSPC || r == -EDQUOT) && give_room_up (dir))
    r = write_new_file (dir, new_name, text, length);
  if (r < 0)
    return r;
  /* Point of no return. */
  if (renameat (dir->fd, new_name, dir->fd, name) == -1) {
    r = -errno;
    note_doubt (dir, name);
    (void) unlinkat (dir->fd, new_name, 0);
    return r;
  }
  r = sync_dir (dir);
  if (r < 0)
    note_doubt (dir, name);
  else if (strcmp (dir->doubtful, name) == 0)
    dir->doubtful[0] = '\0';
  if (r == 0)
    keep_room (dir, length);
  return r;
}

/* Make a device of FD, called by the whole path in messages. */
static int
open_store_fd (struct meta_dir *dir, const char *name, int fd, unsigned flags,
               struct block_device **bdev)
{
  char *path;
  int r;

  if (asprintf (&path, "%s/%s", dir->path, name) == -1)
    return -ENOMEM;
  r = bdev_open_fd (fd, path, flags, bdev);
  free (path);
  return r;
}

int
meta_dir_create_store (struct meta_dir *dir, const char *name, uint64_t bytes,
                       struct block_device **bdev)
{
  int fd, r;

  if (bytes > (uint64_t) INT64_MAX)
    return -EFBIG;
  fd = openat (dir->fd, name,
               O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd == -1)
    return -errno;
  if (ftruncate (fd, (off_t) bytes) == -1 || fsync (fd) == -1) {
    r = -errno;
    goto err_unlink;
  }
  r = sync_dir (dir);
  if (r < 0)
    goto err_unlink;
  r = open_store_fd (dir, name, fd, BDEV_OPEN_EXCLUSIVE, bdev);
  if (r < 0)
    goto err_unlink;
  return 0;

err_unlink:
  (void) close (fd);
  (void) unlinkat (dir->fd, name, 0);
  return r;
}

int
meta_dir_open_store (struct meta_dir *dir, const char *name,
                     struct block_device **bdev)
{
  unsigned flags = BDEV_OPEN_EXCLUSIVE;
  int oflags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  int fd, r;

  if (dir->is_read_only)
    flags |= BDEV_OPEN_READ_ONLY;
  oflags |= dir->is_read_only ? O_RDONLY : O_RDWR;
  fd = openat (dir->fd, name, oflags);
  if (fd == -1)
    return -errno;
  r = open_store_fd (dir, name, fd, flags, bdev);
  if (r < 0)
    (void) close (fd);
  return r;
}

int
meta_dir_rename_file (struct meta_dir *dir, const char *name,
                      const char *new_name)
{
  if (renameat (dir->fd, name, dir->fd, new_name) == -1)
    return -errno;
  return sync_dir (dir);
}

int
meta_dir_sync (struct meta_dir *dir)
{
  return sync_dir (dir);
}

int
meta_dir_remove_file (struct meta_dir *dir, const char *name)
{
  if (unlinkat (dir->fd, name, 0) == -1)
    return errno == ENOENT ? 0 : -errno;
  return sync_dir (dir);
}

bool
meta_dir_can_open_files (unsigned count)
{
  struct rlimit limit;
  /* The lowest number that is free tells how many are in use. */
  int lowest = fcntl (STDERR_FILENO, F_DUPFD_CLOEXEC, 0);

  if (lowest == -1)
    return errno != EMFILE;
  (void) close (lowest);
  return getrlimit (RLIMIT_NOFILE, &limit) == -1 ||
         limit.rlim_cur == RLIM_INFINITY ||
         (rlim_t) lowest + count <= limit.rlim_cur;
}
