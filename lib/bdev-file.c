/* The block device over a local file or disk.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * I/O is done in the calling thread by pread and pwrite.  With O_DIRECT,
 * memory that is not aligned goes through an aligned bounce buffer; the
 * offset always is, because O_DIRECT is only used where a sector is the
 * device's own unit.
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
 * The only file that opens, reads, writes or syncs a leg or a store.
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

#include "bdev-impl.h"
#include "bits.h"
#include "block-device.h"
#include "group-sync.h"
#include "log-sink.h"

struct bdev_file {
  int fd;
  bool is_disk;
  bool is_direct;
  uint64_t size_bytes;
  char *name;

  /* What the file system has once refused is not asked again. */
  atomic_bool no_punch_hole;
  atomic_bool no_zero_range;
  atomic_bool said_deleted;

  struct group_sync sync;
};

/* Memory and lengths for O_DIRECT are multiples of this. */
#define DIRECT_ALIGN 512U
/* One allocation of this size serves the largest of requests, piece by
 * piece.
 */
#define BOUNCE_BYTES (1U << 20)
#define BOUNCE_ALIGN 4096U

/* Read or write all of IOV, which the kernel may do in parts.  The copy
 * of the vector is only made when it does.
 */
static int
transfer_rest (struct bdev_file *f, const struct iovec *iov, int iovcnt,
               off_t offset, bool is_write, size_t done)
{
  int i;

  for (i = 0; i < iovcnt; ++i) {
    char *base = iov[i].iov_base;
    size_t len = iov[i].iov_len;

    if (done >= len) {
      done -= len;
      offset += (off_t) len;
      continue;
    }
    base += done;
    len -= done;
    offset += (off_t) done;
    done = 0;
    while (len > 0) {
      struct iovec one = { .iov_base = base, .iov_len = len };
      ssize_t n = is_write ? pwritev (f->fd, &one, 1, offset)
                           : preadv (f->fd, &one, 1, offset);

      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0)
        return -errno;
      if (n == 0) /* the file has been cut short, or the disk is full */
        return is_write ? -ENOSPC : -EIO;
      base += n;
      len -= (size_t) n;
      offset += n;
    }
  }
  return 0;
}

static int
transfer (struct bdev_file *f, const struct iovec *iov, int iovcnt,
          off_t offset, bool is_write)
{
  size_t total = 0;
  ssize_t n;
  int i;

  for (i = 0; i < iovcnt; ++i)
    total += iov[i].iov_len;
  if (total == 0)
    return 0;

  if (iovcnt == 1)
    n = is_write ? pwrite (f->fd, iov->iov_base, iov->iov_len, offset)
                 : pread (f->fd, iov->iov_base, iov->iov_len, offset);
  else if (iovcnt > IOV_MAX)
    n = 0; /* one by one */
  else
    n = is_write ? pwritev (f->fd, iov, iovcnt, offset)
                 : preadv (f->fd, iov, iovcnt, offset);

  if (n >= 0 && (size_t) n == total)
    return 0;
  if (n < 0 && errno != EINTR)
    return -errno;
  return transfer_rest (f, iov, iovcnt, offset, is_write,
                        n > 0 ? (size_t) n : 0);
}

static bool
is_aligned (const struct iovec *iov, int iovcnt)
{
  int i;

  for (i = 0; i < iovcnt; ++i)
    if (((uintptr_t) iov[i].iov_base | iov[i].iov_len) % DIRECT_ALIGN != 0)
      return false;
  return true;
}

/* Copy LEN bytes between BUFFER and IOV from byte SKIP of IOV on. */
static void
copy_vector (const struct iovec *iov, int iovcnt, size_t skip, char *buffer,
             size_t len, bool to_buffer)
{
  int i;

  for (i = 0; i < iovcnt && len > 0; ++i) {
    size_t n;
    char *base;

    if (skip >= iov[i].iov_len) {
      skip -= iov[i].iov_len;
      continue;
    }
    base = (char *) iov[i].iov_base + skip;
    n = MIN_OF (iov[i].iov_len - skip, len);
    skip = 0;
    if (to_buffer)
      memcpy (buffer, base, n);
    else
      memcpy (base, buffer, n);
    buffer += n;
    len -= n;
  }
}

static int
transfer_bounced (struct bdev_file *f, const struct iovec *iov, int iovcnt,
                  off_t offset, bool is_write)
{
  size_t total = 0, done, size;
  void *buffer;
  int i, r = 0;

  for (i = 0; i < iovcnt; ++i)
    total += iov[i].iov_len;
  size = MIN_OF (total, (size_t) BOUNCE_BYTES);
  if (posix_memalign (&buffer, BOUNCE_ALIGN, MAX_OF (size, 1)) != 0)
    return -ENOMEM;

  for (done = 0; done < total && r == 0; done += size) {
    struct iovec one = {
      .iov_base = buffer,
      .iov_len = MIN_OF (size, total - done),
    };

    if (is_write)
      copy_vector (iov, iovcnt, done, buffer, one.iov_len, true);
    r = transfer (f, &one, 1, offset + (off_t) done, is_write);
    if (r == 0 && !is_write)
      copy_vector (iov, iovcnt, done, buffer, one.iov_len, false);
  }
  free (buffer);
  return r;
}

static int
file_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  struct bdev_file *f = handle;
  off_t offset = (off_t) sector_to_bytes (sector);

  if (f->is_direct && !is_aligned (iov, iovcnt))
    return transfer_bounced (f, iov, iovcnt, offset, false);
  return transfer (f, iov, iovcnt, offset, false);
}

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

  if (fdatasync (f->fd) == -1)
    return -errno;
  return check_length (f);
}

static int
file_flush (void *handle)
{
  struct bdev_file *f = handle;

  return group_sync (&f->sync, sync_file, f);
}

/* What is written up to END must not make a file long again that has been
 * cut short.
 */
static int
check_end (struct bdev_file *f, uint64_t end)
{
  int r = 0;

  if (end == f->size_bytes)
    r = check_length (f);
  if (r < 0)
    group_sync_fail (&f->sync, r);
  return r;
}

static int
file_write (void *handle, const struct iovec *iov, int iovcnt, sector_t sector,
            unsigned flags)
{
  struct bdev_file *f = handle;
  off_t offset = (off_t) sector_to_bytes (sector);
  uint64_t end = (uint64_t) offset;
  int i, r;

  for (i = 0; i < iovcnt; ++i)
    end += iov[i].iov_len;
  r = check_end (f, end);
  if (r < 0)
    return r;
  r = f->is_direct && !is_aligned (iov, iovcnt)
        ? transfer_bounced (f, iov, iovcnt, offset, true)
        : transfer (f, iov, iovcnt, offset, true);
  return r == 0 && (flags & BDEV_FUA) ? file_flush (f) : r;
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
  int r;

  if (atomic_load (unsupported))
    return -EOPNOTSUPP;
  do
    r = fallocate (f->fd, mode | FALLOC_FL_KEEP_SIZE,
                   (off_t) sector_to_bytes (sector),
                   (off_t) sector_to_bytes (count));
  while (r == -1 && errno == EINTR);
  if (r == 0)
    return 0;
  /* A disk of larger blocks, and a range that is not whole ones. */
  if (errno == EINVAL && f->is_disk)
    return -EOPNOTSUPP;
  if (!is_unsupported (errno))
    return -errno;
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
    r = file_flush (f);
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
    r = file_flush (f);
  return r;
}

static int
file_extent (void *handle, sector_t sector, sector_t count,
             struct bdev_extent *extent)
{
  struct bdev_file *f = handle;
  off_t offset = (off_t) sector_to_bytes (sector);
  off_t data = lseek (f->fd, offset, SEEK_DATA);
  off_t hole;

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
  hole = lseek (f->fd, MAX_OF (data, offset), SEEK_HOLE);
  if (hole > offset) {
    sector_t n = div_round_up ((uint64_t) (hole - offset), SECTOR_SIZE);

    extent->count = MIN_OF (n, count);
  }
  extent->is_hole = false;
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
  r = check_end (dest, (uint64_t) to + left);
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
file_close (void *handle)
{
  struct bdev_file *f = handle;

  /* Nothing is lost by an error here: what had to be durable was
   * flushed, and its error looked at.
   */
  (void) close (f->fd);
  group_sync_destroy (&f->sync);
  free (f->name);
  free (f);
}

#define FILE_READ_OPS \
  .struct_size = sizeof (struct bdev_ops), .read = file_read, \
  .flush = file_flush, .extent = file_extent, .identity = file_identity, \
  .copy = file_copy, .close = file_close

static const struct bdev_ops file_ops = {
  FILE_READ_OPS,
  .write = file_write,
  .discard = file_discard,
  .write_zeroes = file_write_zeroes,
};

static const struct bdev_ops file_read_only_ops = { FILE_READ_OPS };

/* The size, or a negative errno; fills in what kind of file it is. */
static int64_t
examine (int fd, bool *is_disk, unsigned *block_bytes)
{
  struct stat st;
  uint64_t size;
  int logical_block;

  if (fstat (fd, &st) == -1)
    return -errno;
  *is_disk = S_ISBLK (st.st_mode);
  *block_bytes = SECTOR_SIZE;
  if (S_ISDIR (st.st_mode))
    return -EISDIR;
  if (*is_disk) {
    if (ioctl (fd, BLKGETSIZE64, &size) == -1 ||
        ioctl (fd, BLKSSZGET, &logical_block) == -1)
      return -errno;
    *block_bytes = (unsigned) logical_block;
  }
  else if (S_ISREG (st.st_mode)) {
    size = (uint64_t) st.st_size;
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx (fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN))
      *block_bytes = stx.stx_dio_offset_align;
#endif
  }
  else
    return -ENOTBLK;

  if (size % SECTOR_SIZE != 0)
    return -EINVAL;
  if (size >> SECTOR_SHIFT > SECTOR_MAX)
    return -EFBIG;
  return (int64_t) size;
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

/* O_DIRECT as the flags and the device's BLOCK_BYTES want it. */
static int
set_direct (struct bdev_file *f, unsigned flags, unsigned block_bytes)
{
  int fl = fcntl (f->fd, F_GETFL);
  bool is_possible = block_bytes == SECTOR_SIZE;

  if (fl == -1)
    return -errno;
  f->is_direct = (flags & BDEV_OPEN_DIRECT) != 0 ||
                 (f->is_disk && is_possible && !(flags & BDEV_OPEN_BUFFERED));
  if (f->is_direct && !is_possible)
    return -EOPNOTSUPP;
  fl = f->is_direct ? fl | O_DIRECT : fl & ~O_DIRECT;
  if (fcntl (f->fd, F_SETFL, fl & ~O_NONBLOCK) == -1)
    return errno == EINVAL ? -EOPNOTSUPP : -errno;
  return 0;
}

int
bdev_open_fd (int fd, const char *name, unsigned flags,
              struct block_device **bdev)
{
  bool is_read_only = (flags & BDEV_OPEN_READ_ONLY) != 0;
  struct bdev_file *f;
  unsigned block_bytes;
  int64_t size;
  int r;

  if (!bdev_open_flags_are_valid (flags))
    return -EINVAL;

  f = calloc (1, sizeof *f);
  if (f == NULL)
    return -ENOMEM;
  f->fd = fd;
  group_sync_init (&f->sync);
  f->name = strdup (name);
  if (f->name == NULL) {
    r = -ENOMEM;
    goto err_free_file;
  }

  size = examine (fd, &f->is_disk, &block_bytes);
  if (size < 0) {
    r = (int) size;
    goto err_free_name;
  }
  f->size_bytes = (uint64_t) size;
  if (flags & BDEV_OPEN_EXCLUSIVE) {
    r = lock_file (fd, is_read_only);
    if (r < 0)
      goto err_free_name;
  }
  r = set_direct (f, flags, block_bytes);
  if (r < 0)
    goto err_free_name;

  r = bdev_create (is_read_only ? &file_read_only_ops : &file_ops, f, name,
                   f->size_bytes >> SECTOR_SHIFT, bdev);
  if (r < 0)
    goto err_free_name;
  return 0;

err_free_name:
  free (f->name);
err_free_file:
  group_sync_destroy (&f->sync);
  free (f);
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
