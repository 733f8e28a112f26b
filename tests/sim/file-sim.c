/* A simulated file system: the folder of the volume, and its legs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Files are never freed before the end: there are few.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bdev-impl.h"
#include "bdev-uring.h"
#include "bits.h"
#include "file-sim.h"
#include "list.h"
#include "sim.h"

#define NAME_BYTES 64
#define MAX_ENTRIES 64
#define MAX_PENDING 64
#define MAX_OPEN 64
#define FIRST_FD 0x40000000

struct node;

struct entry {
  char name[NAME_BYTES];
  struct node *node;
};

struct entries {
  unsigned count;
  struct entry list[MAX_ENTRIES];
};

/* One change of a folder: NODE (if any) is called SET, REMOVE is gone. */
struct change {
  char set[NAME_BYTES];
  char remove[NAME_BYTES];
  struct node *node;
};

struct folder {
  struct entries seen;
  struct entries durable;
  unsigned pending_count;
  struct change pending[MAX_PENDING];
  bool is_locked;
};

struct text {
  size_t length;
  char *bytes;
};

struct node {
  struct node *next;
  uint64_t number;
  char name[NAME_BYTES];
  struct folder *folder; /* it is one */
  struct node *parent;   /* of a folder */
  struct sim_disk *disk; /* it is one */
  bool is_exclusive;
  struct text text, durable_text;
};

struct open_file {
  struct node *node;
  size_t offset;
  bool is_locked;
  bool is_device; /* the block device has it now */
};

static struct node *nodes;
static struct node *root;
static struct open_file open_files[MAX_OPEN];
static unsigned open_devices;
static unsigned fault_one_in;
static void (*on_new_disk) (struct sim_disk *disk);

uint64_t sim_files_failed;

/*----- folders ---------------------------------------------------------*/

static void
set_name (char to[NAME_BYTES], const char *from)
{
  if (snprintf (to, NAME_BYTES, "%s", from) >= NAME_BYTES)
    abort ();
}

static struct node *
node_new (const char *name, bool is_folder)
{
  struct node *n = calloc (1, sizeof *n);

  if (n == NULL)
    abort ();
  set_name (n->name, name);
  n->number = nodes != NULL ? nodes->number + 1 : 1;
  if (is_folder) {
    n->folder = calloc (1, sizeof *n->folder);
    if (n->folder == NULL)
      abort ();
  }
  n->next = nodes;
  nodes = n;
  return n;
}

static void
make_disk (struct node *node, sector_t sectors)
{
  node->disk = sim_disk_create (node->name, node->number, sectors);
  if (on_new_disk != NULL)
    on_new_disk (node->disk);
}

static struct entry *
find_entry (struct entries *e, const char *name)
{
  unsigned i;

  for (i = 0; i < e->count; ++i)
    if (strcmp (e->list[i].name, name) == 0)
      return &e->list[i];
  return NULL;
}

static void
apply_change (struct entries *e, const struct change *c)
{
  struct entry *entry;

  if (c->remove[0] != '\0') {
    entry = find_entry (e, c->remove);
    if (entry != NULL)
      *entry = e->list[--e->count];
  }
  if (c->node == NULL)
    return;
  entry = find_entry (e, c->set);
  if (entry == NULL) {
    assert (e->count < MAX_ENTRIES);
    entry = &e->list[e->count++];
    set_name (entry->name, c->set);
  }
  entry->node = c->node;
}

static void
change_folder (struct node *dir, const char *set, struct node *node,
               const char *remove)
{
  struct folder *f = dir->folder;
  struct change *c;

  if (f->pending_count == MAX_PENDING) { /* it got there by itself */
    apply_change (&f->durable, &f->pending[0]);
    memmove (f->pending, f->pending + 1,
             (MAX_PENDING - 1) * sizeof f->pending[0]);
    f->pending_count--;
  }
  c = &f->pending[f->pending_count++];
  set_name (c->set, set);
  set_name (c->remove, remove);
  c->node = node;
  apply_change (&f->seen, c);
}

static void
sync_folder (struct folder *f)
{
  unsigned i;

  for (i = 0; i < f->pending_count; ++i)
    apply_change (&f->durable, &f->pending[i]);
  f->pending_count = 0;
}

/* Find what PATH, below DIR, names.  *PARENT and *NAME: where it is or
 * would be.
 */
static struct node *
find_path (struct node *dir, const char *path, struct node **parent,
           const char **name)
{
  const char *slash;
  struct entry *e;

  if (path[0] == '/') {
    path += strlen (SIM_ROOT);
    path += path[0] == '/';
    dir = root;
  }
  *parent = dir;
  *name = path;
  if (path[0] == '\0' || strcmp (path, ".") == 0)
    return dir;
  if (strcmp (path, "..") == 0)
    return dir->parent;
  slash = strchr (path, '/');
  if (slash != NULL) {
    char first[NAME_BYTES] = "";

    memcpy (first, path, MIN_OF ((size_t) (slash - path), NAME_BYTES - 1U));
    e = find_entry (&dir->folder->seen, first);
    if (e == NULL || e->node->folder == NULL) {
      *parent = NULL;
      return NULL;
    }
    return find_path (e->node, slash + 1, parent, name);
  }
  e = find_entry (&dir->folder->seen, path);
  return e != NULL ? e->node : NULL;
}

static struct node *
find (const char *path)
{
  struct node *parent;
  const char *name;

  return find_path (root, path, &parent, &name);
}

static bool
is_ours (const char *path)
{
  return strncmp (path, SIM_ROOT, strlen (SIM_ROOT)) == 0;
}

/*----- descriptors -----------------------------------------------------*/

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

/*----- the calls of plugin/meta-dir.c and leg-file.c -------------------*/

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
  node = find_path (dir, path, &parent, &name);
  if (node == NULL) {
    if (!(flags & O_CREAT) || parent == NULL)
      return fail_with (ENOENT);
    node = node_new (name, false);
    change_folder (parent, name, node, "");
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
    return open_path (root, path, flags);
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

static void
set_text (struct text *to, const struct text *from, size_t length)
{
  free (to->bytes);
  to->length = length;
  to->bytes = malloc (length + 1);
  if (to->bytes == NULL)
    abort ();
  memset (to->bytes, 0, length);
  if (length > 0 && from->length > 0)
    memcpy (to->bytes, from->bytes, MIN_OF (length, from->length));
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
  if (node->folder != NULL)
    sync_folder (node->folder);
  else if (node->disk != NULL) {
    (void) sim_disk_sync (node->disk);
  }
  else
    set_text (&node->durable_text, &node->text, node->text.length);
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
  make_disk (file->node, (sector_t) size / SECTOR_SIZE);
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
  node = find_path (dir->node, path, &parent, &name);
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
  if (find (path) == NULL) {
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
  if (find_path (root, path, &parent, &name) != NULL)
    return fail_with (EEXIST);
  if (parent == NULL)
    return fail_with (ENOENT);
  node = node_new (name, true);
  node->parent = parent;
  change_folder (parent, name, node, "");
  return 0;
}

static int
remove_path (struct node *dir, const char *path, bool is_folder)
{
  struct node *parent, *node;
  const char *name;

  if (!reaches_disk ("unlink", path, true))
    return -1;
  node = find_path (dir, path, &parent, &name);
  if (node == NULL)
    return fail_with (ENOENT);
  if (is_folder && node->folder->seen.count > 0)
    return fail_with (ENOTEMPTY);
  change_folder (parent, "", NULL, name);
  return 0;
}

WRAP (int, rmdir, const char *path)
{
  return is_ours (path) ? remove_path (root, path, true) : __real_rmdir (path);
}

WRAP (int, unlink, const char *path)
{
  return is_ours (path) ? remove_path (root, path, false)
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
  e = find_entry (&dir->node->folder->seen, from);
  if (e == NULL)
    return fail_with (ENOENT);
  change_folder (dir->node, to, e->node, from);
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
    make_disk (node, 0); /* an empty file */
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
  node = find (path);
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

/*----- losing ----------------------------------------------------------*/

static void
lose_text (struct node *node)
{
  struct text *text = &node->text;

  switch (sim_choose (4)) {
  case 0:
    set_text (text, &node->durable_text, node->durable_text.length);
    break;
  case 1: /* the size has come to the disk, the data has not */
    if (text->length > 0)
      memset (text->bytes, 0, text->length);
    break;
  case 2:
    text->length = sim_below ((unsigned) text->length + 1);
    break;
  }
}

static void
lose_changes (struct folder *f)
{
  unsigned i;

  for (i = 0; i < f->pending_count; ++i)
    if (sim_choose (2) == 0)
      apply_change (&f->durable, &f->pending[i]);
  f->pending_count = 0;
  f->seen = f->durable;
}

static bool
text_is_durable (const struct node *node)
{
  return node->text.length == node->durable_text.length &&
         (node->text.length == 0 ||
          memcmp (node->text.bytes, node->durable_text.bytes,
                  node->text.length) == 0);
}

void
sim_files_crash (enum sim_crash how)
{
  struct node *n;

  for (n = nodes; n != NULL; n = n->next) {
    if (n->disk != NULL)
      sim_disk_crash (n->disk, how);
    if (how == SIM_KILLED)
      continue;
    if (n->folder != NULL)
      lose_changes (n->folder);
    else if (n->disk == NULL && !text_is_durable (n))
      lose_text (n);
    if (n->folder == NULL && n->disk == NULL)
      set_text (&n->durable_text, &n->text, n->text.length);
  }
}

/*----- life ------------------------------------------------------------*/

void
sim_files_begin (void)
{
  assert (nodes == NULL);
  root = node_new ("", true);
  root->parent = root;
}

void
sim_files_end (void)
{
  struct node *n = nodes;

  while (n != NULL) {
    struct node *next = n->next;

    if (n->disk != NULL)
      sim_disk_destroy (n->disk);
    free (n->folder);
    free (n->text.bytes);
    free (n->durable_text.bytes);
    free (n);
    n = next;
  }
  nodes = root = NULL;
}

void
sim_files_set_faults (unsigned one_in)
{
  fault_one_in = one_in;
}

void
sim_files_on_new_disk (void (*fn) (struct sim_disk *disk))
{
  on_new_disk = fn;
}

struct sim_disk *
sim_files_add_disk (const char *path, sector_t sectors)
{
  struct node *parent, *node;
  const char *name;

  (void) find_path (root, path, &parent, &name);
  node = node_new (name, false);
  make_disk (node, sectors);
  change_folder (parent, name, node, "");
  sync_folder (parent->folder);
  return node->disk;
}

void
sim_files_remove (const char *path)
{
  struct node *parent;
  const char *name;

  (void) find_path (root, path, &parent, &name);
  change_folder (parent, "", NULL, name);
  sync_folder (parent->folder);
}

bool
sim_files_exists (const char *path)
{
  return find (path) != NULL;
}

struct sim_disk *
sim_files_disk (const char *path)
{
  const struct node *node = find (path);

  return node != NULL ? node->disk : NULL;
}

void
sim_files_each_disk (void (*fn) (struct sim_disk *disk))
{
  const struct node *n;

  for (n = nodes; n != NULL; n = n->next)
    if (n->disk != NULL)
      fn (n->disk);
}

unsigned
sim_files_open_count (void)
{
  unsigned i, n = open_devices;

  for (i = 0; i < MAX_OPEN; ++i)
    n += open_files[i].node != NULL;
  return n;
}
