/* A simulated file system: the calls that come to it.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bdev-impl.h"
#include "bdev-uring.h"
#include "bits.h"
#include "file-sim-impl.h"
#include "sim.h"

#define MAX_OPEN 64
#define FIRST_FD 0x40000000

struct open_file {
  struct node *node;
  size_t offset;
  bool is_locked;
  bool is_device; /* the block device has it now */
};

static struct open_file open_files[MAX_OPEN];
static unsigned open_devices;
static unsigned fault_one_in;
static unsigned failing_sync; /* of a folder, counted from the next; 0: none */
static bool is_looked_at;

uint64_t sim_files_failed;

/*----- descriptors -----------------------------------------------------*/

static bool
is_ours (const char *path)
{
  return strncmp (path, SIM_ROOT, strlen (SIM_ROOT)) == 0;
}

static struct open_file *
file_of (int fd)
{
  if (fd < FIRST_FD || fd >= FIRST_FD + MAX_OPEN)
    return NULL;
  if (open_files[fd - FIRST_FD].node == NULL)
    sim_fail ("a descriptor is used that is not open");
  return &open_files[fd - FIRST_FD];
}

static int
open_node (struct node *node)
{
  unsigned i;

  for (i = 0; i < MAX_OPEN; ++i) {
    if (open_files[i].node == NULL) {
      open_files[i] = (struct open_file){ .node = node };
      return FIRST_FD + (int) i;
    }
  }
  errno = EMFILE;
  return -1;
}

static int
fail_with (int error)
{
  errno = error;
  return -1;
}

/* A call comes to the disk.  Returns false, with errno, if it fails. */
static bool
reaches_disk (const char *what, const char *name, bool changes)
{
  sim_point (what, NULL);
  if (sim_is_traced ())
    sim_trace ("file: %s %s", what, name);
  if (changes && sim_power_is_on ())
    sim_event ();
  if (!sim_power_is_on ()) {
    errno = EIO;
    return false;
  }
  if (changes && sim_one_in (fault_one_in)) {
    sim_files_failed++;
    sim_trace ("file: %s fails", what);
    errno = sim_one_in (3) ? ENOSPC : EIO;
    return false;
  }
  return true;
}

/* The next sync of a folder is the one that was chosen to fail. */
static bool
is_failing_sync (void)
{
  if (failing_sync == 0 || --failing_sync > 0)
    return false;
  sim_files_failed++;
  sim_trace ("file: this one fails");
  errno = EIO;
  return true;
}

/*----- the calls of plugin/meta-dir.c, leg-file.c and temp-store.c -----*/

#define WRAP(type, name, ...) \
  type __real_##name (__VA_ARGS__); \
  type __wrap_##name (__VA_ARGS__); \
  type __wrap_##name (__VA_ARGS__)

static int
open_path (struct node *dir, const char *path, int flags)
{
  struct node *parent, *node;
  const char *name;

  if (!reaches_disk ("open", path, (flags & O_CREAT) != 0))
    return -1;
  if ((flags & O_TMPFILE) == O_TMPFILE) /* in no folder */
    return open_node (node_new (SIM_UNNAMED, false));
  node = tree_find_below (dir, path, &parent, &name);
  if (node == NULL) {
    if (!(flags & O_CREAT) || parent == NULL)
      return fail_with (ENOENT);
    node = node_new (name, false);
    folder_change (parent, name, node, "");
  }
  else if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
    return fail_with (EEXIST);
  else if ((flags & O_DIRECTORY) && node->folder == NULL)
    return fail_with (ENOTDIR);
  else if (flags & O_TRUNC)
    node->text.length = 0;
  return open_node (node);
}

int __real_open64 (const char *path, int flags, ...);
int __wrap_open64 (const char *path, int flags, ...);

int
__wrap_open64 (const char *path, int flags, ...)
{
  va_list args;
  mode_t mode;

  if (is_ours (path))
    return open_path (tree_root (), path, flags);
  va_start (args, flags);
  mode = va_arg (args, mode_t);
  va_end (args);
  return __real_open64 (path, flags, mode);
}

int __real_openat64 (int dirfd, const char *path, int flags, ...);
int __wrap_openat64 (int dirfd, const char *path, int flags, ...);

int
__wrap_openat64 (int dirfd, const char *path, int flags, ...)
{
  const struct open_file *dir = file_of (dirfd);
  va_list args;
  mode_t mode;

  if (dir != NULL)
    return open_path (dir->node, path, flags);
  va_start (args, flags);
  mode = va_arg (args, mode_t);
  va_end (args);
  return __real_openat64 (dirfd, path, flags, mode);
}

WRAP (int, close, int fd)
{
  struct open_file *file = file_of (fd);

  if (file == NULL)
    return __real_close (fd);
  if (file->is_locked)
    file->node->folder->is_locked = false;
  file->node = NULL;
  return 0;
}

WRAP (ssize_t, write, int fd, const void *data, size_t count)
{
  struct open_file *file = file_of (fd);
  struct text *text;

  if (file == NULL)
    return __real_write (fd, data, count);
  if (!reaches_disk ("write", "", true))
    return -1;
  if (sim_one_in (8) && count > 1)
    count = 1 + sim_below ((unsigned) count);
  text = &file->node->text;
  text->bytes = realloc (text->bytes, file->offset + count);
  if (text->bytes == NULL)
    abort ();
  memcpy (text->bytes + file->offset, data, count);
  file->offset += count;
  text->length = MAX_OF (text->length, file->offset);
  return (ssize_t) count;
}

WRAP (ssize_t, read, int fd, void *data, size_t count)
{
  struct open_file *file = file_of (fd);
  size_t n;

  if (file == NULL)
    return __real_read (fd, data, count);
  if (!reaches_disk ("read", "", false))
    return -1;
  n = MIN_OF (count, file->node->text.length - file->offset);
  memcpy (data, file->node->text.bytes + file->offset, n);
  file->offset += n;
  return (ssize_t) n;
}

WRAP (int, fsync, int fd)
{
  struct open_file *file = file_of (fd);
  struct node *node;

  if (file == NULL)
    return __real_fsync (fd);
  node = file->node;
  if (!reaches_disk (node->folder != NULL ? "fsync of a folder" : "fsync", "",
                     true))
    return -1;
  if (is_looked_at)
    return 0;
  if (node->folder != NULL && is_failing_sync ())
    return -1;
  if (node->folder != NULL)
    folder_sync (node->folder);
  else if (node->disk != NULL) {
    (void) sim_disk_sync (node->disk);
  }
  else
    text_set (&node->durable_text, &node->text, node->text.length);
  return 0;
}

WRAP (int, ftruncate64, int fd, off64_t size)
{
  struct open_file *file = file_of (fd);

  if (file == NULL)
    return __real_ftruncate64 (fd, size);
  if (!reaches_disk ("ftruncate", "", true))
    return -1;
  assert (file->node->disk == NULL);
  node_make_disk (file->node, (sector_t) size / SECTOR_SIZE);
  return 0;
}

static int
stat_node (const struct node *node, struct stat64 *st)
{
  memset (st, 0, sizeof *st);
  st->st_mode = node->folder != NULL ? S_IFDIR | 0700 : S_IFREG | 0600;
  st->st_size = (off64_t) (node->disk != NULL
                             ? sector_to_bytes (sim_disk_sectors (node->disk))
                             : node->text.length);
  return 0;
}

WRAP (int, fstat64, int fd, struct stat64 *st)
{
  struct open_file *file = file_of (fd);

  return file != NULL ? stat_node (file->node, st) : __real_fstat64 (fd, st);
}

WRAP (int, fstatat64, int dirfd, const char *path, struct stat64 *st, int flags)
{
  struct open_file *dir = file_of (dirfd);
  struct node *node, *parent;
  const char *name;

  if (dir == NULL)
    return __real_fstatat64 (dirfd, path, st, flags);
  if (!reaches_disk ("stat", path, false))
    return -1;
  node = tree_find_below (dir->node, path, &parent, &name);
  return node != NULL ? stat_node (node, st) : fail_with (ENOENT);
}

WRAP (int, faccessat, int dirfd, const char *path, int mode, int flags)
{
  return file_of (dirfd) != NULL ? 0
                                 : __real_faccessat (dirfd, path, mode, flags);
}

WRAP (int, flock, int fd, int operation)
{
  struct open_file *file = file_of (fd);

  if (file == NULL)
    return __real_flock (fd, operation);
  if (file->node->folder->is_locked)
    return fail_with (EWOULDBLOCK);
  file->node->folder->is_locked = file->is_locked = true;
  return 0;
}

WRAP (char *, realpath, const char *path, char *resolved)
{
  if (!is_ours (path))
    return __real_realpath (path, resolved);
  if (tree_find (path) == NULL) {
    errno = ENOENT;
    return NULL;
  }
  return strdup (path);
}

WRAP (int, mkdir, const char *path, mode_t mode)
{
  struct node *parent, *node;
  const char *name;

  if (!is_ours (path))
    return __real_mkdir (path, mode);
  if (!reaches_disk ("mkdir", path, true))
    return -1;
  if (tree_find_below (tree_root (), path, &parent, &name) != NULL)
    return fail_with (EEXIST);
  if (parent == NULL)
    return fail_with (ENOENT);
  node = node_new (name, true);
  node->parent = parent;
  folder_change (parent, name, node, "");
  return 0;
}

static int
remove_path (struct node *dir, const char *path, bool is_folder)
{
  struct node *parent, *node;
  const char *name;

  if (!reaches_disk ("unlink", path, true))
    return -1;
  node = tree_find_below (dir, path, &parent, &name);
  if (node == NULL)
    return fail_with (ENOENT);
  if (is_folder && node->folder->seen.count > 0)
    return fail_with (ENOTEMPTY);
  folder_change (parent, "", NULL, name);
  return 0;
}

WRAP (int, rmdir, const char *path)
{
  return is_ours (path) ? remove_path (tree_root (), path, true)
                        : __real_rmdir (path);
}

WRAP (int, unlink, const char *path)
{
  return is_ours (path) ? remove_path (tree_root (), path, false)
                        : __real_unlink (path);
}

WRAP (int, unlinkat, int dirfd, const char *path, int flags)
{
  struct open_file *dir = file_of (dirfd);

  return dir != NULL ? remove_path (dir->node, path, false)
                     : __real_unlinkat (dirfd, path, flags);
}

WRAP (int, renameat, int from_fd, const char *from, int to_fd, const char *to)
{
  struct open_file *dir = file_of (from_fd);
  struct entry *e;

  if (dir == NULL)
    return __real_renameat (from_fd, from, to_fd, to);
  if (!reaches_disk ("rename", to, true))
    return -1;
  e = folder_find (&dir->node->folder->seen, from);
  if (e == NULL)
    return fail_with (ENOENT);
  folder_change (dir->node, to, e->node, from);
  return 0;
}

/*----- devices: lib/bdev-file.c ----------------------------------------*/

static void
device_closed (void *opaque)
{
  struct node *node = opaque;

  node->is_exclusive = false;
  open_devices--;
}

static int
open_device (struct node *node, const char *name, unsigned flags,
             struct block_device **bdev)
{
  int r;

  if (node->folder != NULL)
    return -EISDIR;
  if (node->disk == NULL)
    node_make_disk (node, 0); /* an empty file */
  if ((flags & BDEV_OPEN_EXCLUSIVE) && node->is_exclusive)
    return -EBUSY;
  r = sim_disk_open (node->disk, name, (flags & BDEV_OPEN_READ_ONLY) != 0,
                     flags & BDEV_OPEN_EXCLUSIVE ? device_closed : NULL, node,
                     bdev);
  if (r == 0 && (flags & BDEV_OPEN_EXCLUSIVE)) {
    node->is_exclusive = true;
    open_devices++;
  }
  return r;
}

int
bdev_file_open (const char *path, const struct bdev_options *options,
                struct block_device **bdev)
{
  struct node *node;

  if (!reaches_disk ("open of a device", path, false))
    return -EIO;
  node = tree_find (path);
  return node != NULL ? open_device (node, path, options->flags, bdev)
                      : -ENOENT;
}

/* No rings here, and no servers: and so nothing of liburing and libnbd. */
bool
bdev_uring_has_room (void)
{
  return false;
}

int
bdev_nbd_open (const char *uri, const struct bdev_options *options,
               struct block_device **bdev)
{
  (void) uri, (void) options, (void) bdev;
  return -EOPNOTSUPP;
}

int
bdev_open_fd (int fd, const char *name, unsigned flags,
              struct block_device **bdev)
{
  struct open_file *file = file_of (fd);
  int r = open_device (file->node, name, flags, bdev);

  /* The descriptor is the device's now. */
  if (r == 0)
    file->node = NULL;
  return r;
}

/*----- for the world ---------------------------------------------------*/

void
sim_files_set_faults (unsigned one_in)
{
  fault_one_in = one_in;
}

void
sim_files_fail_sync (unsigned which)
{
  failing_sync = which;
}

void
sim_files_only_look (bool is_on)
{
  is_looked_at = is_on;
}

unsigned
sim_files_open_count (void)
{
  unsigned i, n = open_devices;

  for (i = 0; i < MAX_OPEN; ++i)
    n += open_files[i].node != NULL;
  return n;
}
