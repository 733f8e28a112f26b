/* The block device over a local file or disk.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reading and writing are in bdev-file-io.c.  With O_DIRECT, and where the
 * device's unit is larger than a sector, bdev-blocks.c is put in front.
 *
 * A file may be deleted or cut short by others while we have it open.
 * Deleted, it goes on working until it is closed, which is said once.
 * Cut short, what was behind the cut is lost: reads there fail at once,
 * and every flush, and every write that reaches the end, looks at the size,
 * because a write would silently make the file long again with zeroes in
 * the gap.
 *
 * What a failed flush has lost is lost for good, even if the kernel says
 * yes when it is asked again, so a device that has once failed to flush
 * fails to for ever (group-sync.h).  A durable write is a write and such a
 * flush: RWF_DSYNC would take errors away from the flushes of others.
 *
 * These two are the only files that open, read, write or sync a leg or a
 * store.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bdev-file-impl.h"
#include "bits.h"
#include "log-sink.h"

/* -EIO if the file has been cut short, which is the end of it. */
static int
check_length (struct bdev_file *f)
{
  struct stat st;

  if (f->is_disk)
    return 0;
  if (fstat (f->fd, &st) == -1)
    return -errno;
  if ((uint64_t) st.st_size < f->size_bytes) {
    log_error ("%s: was cut to %lld bytes by somebody else, "
               "what was behind that is lost",
               f->name, (long long) st.st_size);
    return -EIO;
  }
  if (st.st_nlink == 0 && !atomic_exchange (&f->said_deleted, true))
    log_warning ("%s: has been deleted; it is in use until the server "
                 "stops, and then gone with all that is in it",
                 f->name);
  return 0;
}

/* All that is in the file's and the disk's caches. */
static int
sync_file (void *arg)
{
  struct bdev_file *f = arg;

  /* Interrupted, it has not told of any loss yet. */
  while (fdatasync (f->fd) == -1)
    if (errno != EINTR)
      return -errno;
  return check_length (f);
}

int
bdev_file_flush (void *handle)
{
  struct bdev_file *f = handle;

  return group_sync (&f->sync, sync_file, f);
}

int
bdev_file_check_end (struct bdev_file *f, uint64_t end)
{
  int r = 0;

  if (end == f->size_bytes)
    r = check_length (f);
  if (r < 0)
    group_sync_fail (&f->sync, r);
  return r;
}

/* Errors by which file systems and disks say "I can't do that". */
static bool
is_unsupported (int error)
{
  return error == EOPNOTSUPP || error == ENOSYS || error == ENOTTY ||
         error == ENODEV;
}

/* fallocate, with -EOPNOTSUPP for everything that means it. */
static int
file_fallocate (struct bdev_file *f, int mode, atomic_bool *unsupported,
                sector_t sector, sector_t count)
{
  int error;

  if (atomic_load (unsupported))
    return -EOPNOTSUPP;
  do
    error = fallocate (f->fd, mode | FALLOC_FL_KEEP_SIZE,
                       (off_t) sector_to_bytes (sector),
                       (off_t) sector_to_bytes (count)) == 0
              ? 0
              : errno;
  while (error == EINTR);
  data_hints_forget (&f->data, sector, count);
  if (error == 0)
    return 0;
  /* A disk of larger blocks, and a range that is not whole ones. */
  if (error == EINVAL && f->is_disk)
    return -EOPNOTSUPP;
  if (!is_unsupported (error))
    return -error;
  atomic_store (unsupported, true);
  return -EOPNOTSUPP;
}

static int
file_discard (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  struct bdev_file *f = handle;
  int r = file_fallocate (f, FALLOC_FL_PUNCH_HOLE, &f->no_punch_hole, sector,
                          count);

  if (r == 0 && (flags & BDEV_FUA))
    r = bdev_file_flush (f);
  return r;
}

static int
file_write_zeroes (void *handle, sector_t sector, sector_t count,
                   unsigned flags)
{
  struct bdev_file *f = handle;
  int r = -EOPNOTSUPP;

  if (flags & BDEV_UNMAP)
    r = file_fallocate (f, FALLOC_FL_PUNCH_HOLE, &f->no_punch_hole, sector,
                        count);
  /* For a disk that cannot zero the kernel writes zeroes here: not fast. */
  if (r == -EOPNOTSUPP && !(f->is_disk && (flags & BDEV_FAST)))
    r = file_fallocate (f, FALLOC_FL_ZERO_RANGE, &f->no_zero_range, sector,
                        count);
  if (r == 0 && (flags & BDEV_FUA))
    r = bdev_file_flush (f);
  return r;
}

/* Where the data ends that begins in SECTOR, at OFFSET, or where COUNT sectors
 * end that are all data; or -1.  One at a time: others would look at the same
 * pages, and what has been found meanwhile need not be looked for.
 */
static off_t
find_end_of_data (struct bdev_file *f, sector_t sector, sector_t count,
                  off_t offset)
{
  sector_t start = sector;
  off_t hole = -1;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&f->looking);
  if (data_hints_has (&f->data, sector, count))
    return (off_t) sector_to_bytes (sector + count);
  /* Where nothing is known, the data before is worth knowing, too. */
  if (!data_hints_know_about (&f->data, sector)) {
    start = data_hints_start_of (sector);
    hole = lseek (f->fd, (off_t) sector_to_bytes (start), SEEK_HOLE);
  }
  if (hole <= offset) {
    start = sector;
    hole = lseek (f->fd, offset, SEEK_HOLE);
  }
  if (hole > offset)
    data_hints_add (&f->data, start,
                    div_round_up ((uint64_t) hole, SECTOR_SIZE) - start);
  return hole;
}

static int
file_extent (void *handle, sector_t sector, sector_t count,
             struct bdev_extent *extent)
{
  struct bdev_file *f = handle;
  off_t offset = (off_t) sector_to_bytes (sector);
  off_t data, hole;

  extent->is_hole = false;
  if (data_hints_has (&f->data, sector, count))
    return 0;
  data = lseek (f->fd, offset, SEEK_DATA);
  if (data == -1 && errno == ENXIO) { /* nothing but a hole from here on */
    off_t size = lseek (f->fd, 0, SEEK_END);

    if (size == -1)
      return -errno;
    if ((uint64_t) size < f->size_bytes) /* not a hole: lost */
      return -EIO;
    extent->count = count;
    extent->is_hole = true;
    return 0;
  }
  if (data == -1) /* cannot tell: all is data, which is always true enough */
    return 0;

  /* A sector that is partly data is data. */
  if (data > offset && data - offset >= (off_t) SECTOR_SIZE) {
    sector_t n = (sector_t) (data - offset) >> SECTOR_SHIFT;

    extent->count = MIN_OF (n, count);
    extent->is_hole = true;
    return 0;
  }
  hole = find_end_of_data (f, sector, count, MAX_OF (data, offset));
  if (hole > offset) {
    sector_t n = div_round_up ((uint64_t) (hole - offset), SECTOR_SIZE);

    extent->count = MIN_OF (n, count);
  }
  return 0;
}

/* Errors by which copy_file_range says that it can't do it here: other file
 * systems, the same part of the same file, and those of is_unsupported.
 */
static bool
is_copy_unsupported (int error)
{
  return error == EXDEV || error == EINVAL || is_unsupported (error);
}

/* Copy in the kernel.  Not past the page cache, of which it makes use. */
static int
file_copy (void *handle, sector_t sector, void *dest_handle,
           sector_t dest_sector, sector_t count)
{
  struct bdev_file *f = handle, *dest = dest_handle;
  uint64_t left = sector_to_bytes (count);
  off_t from = (off_t) sector_to_bytes (sector);
  off_t to = (off_t) sector_to_bytes (dest_sector);
  int r;

  if (f->is_disk || dest->is_disk || f->is_direct || dest->is_direct)
    return -EOPNOTSUPP;
  r = bdev_file_check_end (dest, (uint64_t) to + left);
  while (r == 0 && left > 0) {
    size_t len = (size_t) MIN_OF (left, (uint64_t) SSIZE_MAX);
    ssize_t n = copy_file_range (f->fd, &from, dest->fd, &to, len, 0);

    if (n > 0)
      left -= (uint64_t) n;
    else if (n == 0) /* the source has been cut short */
      r = -EIO;
    else if (errno != EINTR)
      r = is_copy_unsupported (errno) ? -EOPNOTSUPP : -errno;
  }
  return r;
}

static int
file_identity (void *handle, struct bdev_identity *identity)
{
  struct bdev_file *f = handle;
  struct statx stx;

  if (statx (f->fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME | STATX_MTIME,
             &stx) == -1)
    return -errno;
  memset (identity, 0, sizeof *identity);
  identity->is_disk = f->is_disk;
  if (f->is_disk) {
    identity->device = makedev (stx.stx_rdev_major, stx.stx_rdev_minor);
    return 0;
  }
  identity->device = makedev (stx.stx_dev_major, stx.stx_dev_minor);
  identity->inode = stx.stx_ino;
  identity->modified_seconds = stx.stx_mtime.tv_sec;
  identity->modified_ns = stx.stx_mtime.tv_nsec;
  if (stx.stx_mask & STATX_BTIME) {
    identity->birth_seconds = stx.stx_btime.tv_sec;
    identity->birth_ns = stx.stx_btime.tv_nsec;
  }
  return 0;
}

static void
file_limits (void *handle, struct bdev_limits *limits)
{
  struct bdev_file *f = handle;

  limits->is_direct = atomic_load (&f->is_direct);
  limits->block_bytes = f->block_bytes;
  limits->optimal_bytes = MAX_OF (f->block_bytes, 4096);
}

static void
file_free (struct bdev_file *f)
{
  if (f->has_bounce)
    bounce_destroy (&f->bounce);
  group_sync_destroy (&f->sync);
  mutex_destroy (&f->looking);
  free (f->name);
  free (f);
}

static void
file_close (void *handle)
{
  struct bdev_file *f = handle;

  /* Nothing is lost by an error here: what had to be durable was
   * flushed, and its error looked at.
   */
  if (f->fd >= 0)
    (void) close (f->fd);
  file_free (f);
}

/*----- opening ---------------------------------------------------------*/

#define READ_OPS \
  .struct_size = sizeof (struct bdev_ops), .read = bdev_file_read, \
  .flush = bdev_file_flush, .extent = file_extent, .identity = file_identity, \
  .limits = file_limits, .copy = file_copy, .close = file_close
#define WRITE_OPS \
  .write = bdev_file_write, .discard = file_discard, \
  .write_zeroes = file_write_zeroes
#define FLIGHT_OPS .begin = bdev_file_begin, .end = bdev_file_end

/* What is not direct has nothing in flight: dm-io goes a shorter way. */
static const struct bdev_ops *
choose_ops (bool is_direct, bool is_read_only)
{
  static const struct bdev_ops ops[2][2] = {
    { { READ_OPS, WRITE_OPS }, { READ_OPS } },
    { { READ_OPS, WRITE_OPS, FLIGHT_OPS }, { READ_OPS, FLIGHT_OPS } },
  };

  return &ops[is_direct][is_read_only];
}

/* Find out the size, and what kind of file it is. */
static int
examine (struct bdev_file *f)
{
  struct stat st;

  if (fstat (f->fd, &st) == -1)
    return -errno;
  f->is_disk = S_ISBLK (st.st_mode);
  if (S_ISDIR (st.st_mode))
    return -EISDIR;
  if (f->is_disk) {
    if (ioctl (f->fd, BLKGETSIZE64, &f->size_bytes) == -1)
      return -errno;
  }
  else if (S_ISREG (st.st_mode)) {
    f->size_bytes = (uint64_t) st.st_size;
    /* Who has opened one without a name knows that it goes. */
    atomic_store (&f->said_deleted, st.st_nlink == 0);
  }
  else
    return -ENOTBLK;

  if (f->size_bytes % SECTOR_SIZE != 0)
    return -EINVAL;
  if (f->size_bytes >> SECTOR_SHIFT > SECTOR_MAX)
    return -EFBIG;
  return 0;
}

/* Lock the whole file, for as long as it is open anywhere in this process
 * or its children.
 */
static int
lock_file (int fd, bool is_read_only)
{
  struct flock lock = {
    .l_type = is_read_only ? F_RDLCK : F_WRLCK,
    .l_whence = SEEK_SET,
  };

  if (fcntl (fd, F_OFD_SETLK, &lock) == 0)
    return 0;
  return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

/* What a transfer at once may need when there is no memory. */
#define RESERVE_BYTES 65536U

/* The smallest block that can be read with O_DIRECT.  A hole may be read in
 * smaller ones than data: bdev-file-io.c is prepared.
 */
static unsigned
try_blocks (struct bdev_file *f)
{
  unsigned block;

  for (block = SECTOR_SIZE; block <= RESERVE_BYTES; block *= 2)
    if (pread (f->fd, f->bounce.reserve, block, 0) >= 0 || errno != EINVAL)
      return block;
  return 0;
}

/* What O_DIRECT needs on F, which has it: as the kernel says, or as a disk of
 * such blocks does, or as a file system takes it.
 */
static int
find_alignment (struct bdev_file *f)
{
  int logical_block = (int) SECTOR_SIZE;
  bool is_told = false;

  if (f->is_disk && ioctl (f->fd, BLKSSZGET, &logical_block) == -1)
    return -errno;
  if (logical_block <= 0 || !is_power_of_2 ((unsigned) logical_block))
    return -EOPNOTSUPP;
  f->block_bytes = (unsigned) logical_block;
#ifdef STATX_DIOALIGN
  struct statx stx;

  if (statx (f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
      (stx.stx_mask & STATX_DIOALIGN)) {
    if (!is_power_of_2 (stx.stx_dio_offset_align) ||
        !is_power_of_2 (stx.stx_dio_mem_align))
      return -EOPNOTSUPP; /* 0 says so */
    f->block_bytes = MAX_OF (f->block_bytes, stx.stx_dio_offset_align);
    f->memory_align = stx.stx_dio_mem_align;
    is_told = true;
  }
#endif
  if (!f->is_disk && !is_told)
    f->block_bytes = try_blocks (f);
  if (!is_told)
    f->memory_align = MIN_OF (f->block_bytes, BOUNCE_ALIGN);

  if (!is_power_of_2 (f->block_bytes) ||
      f->block_bytes > BDEV_BLOCKS_MAX_BYTES ||
      f->size_bytes % f->block_bytes != 0 || f->memory_align > BOUNCE_ALIGN)
    return -EOPNOTSUPP;
  return 0;
}

/* Has FD been opened for what FLAGS want to do with it? */
static int
check_access (int fd, unsigned flags)
{
  int fl = fcntl (fd, F_GETFL), mode = fl & O_ACCMODE;

  if (fl == -1)
    return -errno;
  if (mode == O_RDWR || (mode == O_RDONLY && (flags & BDEV_OPEN_READ_ONLY)))
    return 0;
  return -EBADF;
}

static int
change_flags (int fd, int set, int clear)
{
  int fl = fcntl (fd, F_GETFL);

  if (fl == -1 || fcntl (fd, F_SETFL, (fl | set) & ~clear) == -1)
    return -errno;
  return 0;
}

/* Flags of a descriptor that a device must not have.  With O_APPEND Linux
 * writes at the end, wherever it is told to.
 */
#define BAD_FLAGS (O_NONBLOCK | O_APPEND)

static int
make_direct (struct bdev_file *f)
{
  int r = change_flags (f->fd, O_DIRECT, BAD_FLAGS);

  if (r < 0)
    return r == -EINVAL ? -EOPNOTSUPP : r;
  r = bounce_init (&f->bounce, RESERVE_BYTES);
  if (r < 0)
    return r;
  f->has_bounce = true;
  r = find_alignment (f);
  if (r < 0)
    return r;
  f->is_direct = true;
  return 0;
}

/* O_DIRECT as FLAGS want it. */
static int
set_direct (struct bdev_file *f, unsigned flags)
{
  int r;

  f->block_bytes = SECTOR_SIZE;
  if ((flags & BDEV_OPEN_DIRECT) ||
      (f->is_disk && !(flags & BDEV_OPEN_BUFFERED))) {
    r = make_direct (f);
    if (r != -EOPNOTSUPP || (flags & BDEV_OPEN_DIRECT))
      return r;
    f->block_bytes = SECTOR_SIZE; /* it was not asked for */
  }
  return change_flags (f->fd, 0, O_DIRECT | BAD_FLAGS);
}

/* Make the device, with bdev-blocks.c in front if its blocks are large.  On
 * failure nothing is left of F, but its descriptor is.
 */
static int
make_device (struct bdev_file *f, unsigned flags, struct block_device **bdev)
{
  bool is_read_only = (flags & BDEV_OPEN_READ_ONLY) != 0;
  struct block_device *file;
  int r = bdev_create (choose_ops (f->is_direct, is_read_only), f, f->name,
                       f->size_bytes >> SECTOR_SHIFT, &file);

  if (r < 0) {
    file_free (f);
    return r;
  }
  if (f->block_bytes == SECTOR_SIZE) {
    *bdev = file;
    return 0;
  }
  r = bdev_blocks_create (file, f->block_bytes, bdev);
  if (r < 0) {
    f->fd = -1; /* still the caller's */
    bdev_close (file);
  }
  return r;
}

int
bdev_open_fd (int fd, const char *name, unsigned flags,
              struct block_device **bdev)
{
  struct bdev_file *f;
  int r = -ENOMEM;

  if (!bdev_open_flags_are_valid (flags) || (flags & BDEV_OPEN_WATCHED))
    return -EINVAL;

  f = calloc (1, sizeof *f);
  if (f == NULL)
    return r;
  f->fd = fd;
  group_sync_init (&f->sync);
  mutex_init (&f->looking);
  f->name = strdup (name);
  if (f->name == NULL)
    goto err_free_file;
  r = examine (f);
  if (r == 0)
    r = check_access (fd, flags);
  if (r == 0 && (flags & BDEV_OPEN_EXCLUSIVE))
    r = lock_file (fd, (flags & BDEV_OPEN_READ_ONLY) != 0);
  if (r == 0)
    r = set_direct (f, flags);
  if (r < 0)
    goto err_free_file;
  return make_device (f, flags, bdev);

err_free_file:
  file_free (f);
  return r;
}

int
bdev_file_open (const char *path, const struct bdev_options *options,
                struct block_device **bdev)
{
  unsigned flags = options->flags;
  /* O_NONBLOCK: opening a named pipe by mistake must not hang. */
  int oflags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  struct stat st;
  int fd, r;

  oflags |= flags & BDEV_OPEN_READ_ONLY ? O_RDONLY : O_RDWR;
  if (stat (path, &st) == -1)
    return -errno;
  if (S_ISDIR (st.st_mode))
    return -EISDIR;
  /* For a disk, O_EXCL keeps it from being mounted, or refuses one that
   * is; where several of us read, nobody needs to be kept out.
   */
  if (S_ISBLK (st.st_mode) && (flags & BDEV_OPEN_EXCLUSIVE) &&
      !(flags & BDEV_OPEN_READ_ONLY))
    oflags |= O_EXCL;

  fd = open (path, oflags);
  if (fd == -1)
    return -errno;
  r = bdev_open_fd (fd, path, flags, bdev);
  if (r < 0)
    (void) close (fd);
  return r;
}
