/* Reading and writing a local file or disk, blocking or in flight.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Blocking, it is done in the calling thread by pread and pwrite.  With
 * O_DIRECT, memory that is not aligned goes through an aligned bounce buffer.
 * Offsets and lengths are whole blocks of the device: where these are larger
 * than a sector, bdev-blocks.c is in front.
 *
 * In flight, that is with O_DIRECT only, it goes through the ring of the
 * calling thread (bdev-uring.c).  Whatever is unusual about its end (a part
 * only, or what may go better at a second try) is left to the blocking way,
 * which does the rest or finds the error.
 *
 * Not all kernels and file systems say what O_DIRECT needs, and then it was
 * guessed.  Where such a request is refused (EINVAL), the file is used without
 * O_DIRECT from then on, which is said once.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>
#ifdef HAVE_VALGRIND_MEMCHECK_H
#include <valgrind/memcheck.h>
#endif

#include "bdev-file-impl.h"
#include "bdev-uring.h"
#include "bits.h"
#include "log-sink.h"
#include "vector.h"

/* One allocation of this size serves the largest of requests, piece by
 * piece.
 */
#define BOUNCE_BYTES ((size_t) 1 << 20)

/*----- blocking --------------------------------------------------------*/

/* So many of N bytes count as done: with O_DIRECT whole blocks, for one that
 * was done in part cannot be gone on with.
 */
static size_t
whole_blocks (const struct bdev_file *f, ssize_t n)
{
  size_t done = n > 0 ? (size_t) n : 0;

  return atomic_load_explicit (&f->is_direct, memory_order_relaxed)
           ? round_down_to (done, f->block_bytes)
           : done;
}

/* Read or write what is behind the first DONE bytes, piece by piece. */
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
      ssize_t n = is_write ? pwrite (f->fd, base, len, offset)
                           : pread (f->fd, base, len, offset);

      if (n < 0 && errno == EINTR)
        continue;
      if (n < 0)
        return -errno;
      done = whole_blocks (f, n);
      if (done == 0) /* the file has been cut short, or the disk is full */
        return is_write ? -ENOSPC : -EIO;
      base += done;
      len -= done;
      offset += (off_t) done;
      done = 0;
    }
  }
  return 0;
}

/* All of it, which the kernel may do in parts. */
static int
transfer (struct bdev_file *f, const struct iovec *iov, int iovcnt,
          off_t offset, bool is_write)
{
  size_t total = vector_bytes (iov, iovcnt);
  ssize_t n;

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
  return transfer_rest (f, iov, iovcnt, offset, is_write, whole_blocks (f, n));
}

static int
transfer_bounced (struct bdev_file *f, const struct iovec *iov, int iovcnt,
                  off_t offset, bool is_write)
{
  size_t total = vector_bytes (iov, iovcnt);
  size_t size = MIN_OF (total, BOUNCE_BYTES);
  void *buffer = bounce_get (&f->bounce, &size);
  size_t done;
  int r = 0;

  for (done = 0; done < total && r == 0; done += size) {
    struct iovec one = {
      .iov_base = buffer,
      .iov_len = MIN_OF (size, total - done),
    };

    if (is_write)
      vector_gather (iov, iovcnt, done, buffer, one.iov_len);
    r = transfer (f, &one, 1, offset + (off_t) done, is_write);
    if (r == 0 && !is_write)
      vector_scatter (iov, iovcnt, done, buffer, one.iov_len);
  }
  bounce_put (&f->bounce, buffer);
  return r;
}

static bool
is_aligned (const struct bdev_file *f, const struct iovec *iov, int iovcnt)
{
  return vector_is_aligned (iov, iovcnt, f->memory_align, f->block_bytes);
}

/* Go on without O_DIRECT.  Returns 0, or a negative errno. */
static int
leave_direct (struct bdev_file *f)
{
  int fl = fcntl (f->fd, F_GETFL);

  if (fl == -1 || fcntl (f->fd, F_SETFL, fl & ~O_DIRECT) == -1)
    return -errno;
  if (atomic_exchange (&f->is_direct, false))
    log_warning ("%s: refuses O_DIRECT in blocks of %u bytes, which it did "
                 "not say before; it is used without",
                 f->name, f->block_bytes);
  return 0;
}

static int
transfer_any (struct bdev_file *f, const struct iovec *iov, int iovcnt,
              off_t offset, bool is_write)
{
  bool is_direct = atomic_load_explicit (&f->is_direct, memory_order_relaxed);
  int r;

  if (is_direct && !is_aligned (f, iov, iovcnt))
    r = transfer_bounced (f, iov, iovcnt, offset, is_write);
  else
    r = transfer (f, iov, iovcnt, offset, is_write);
  if (r == -EINVAL && is_direct && leave_direct (f) == 0)
    r = transfer (f, iov, iovcnt, offset, is_write);
  return r;
}

int
bdev_file_read (void *handle, const struct iovec *iov, int iovcnt,
                sector_t sector)
{
  return transfer_any (handle, iov, iovcnt, (off_t) sector_to_bytes (sector),
                       false);
}

/* One piece of a buffered file, not at its end: nothing else is to be looked
 * at.  After the system call this code is not in the processor's cache any
 * more, so that each line of it costs.
 */
static bool
is_plain (const struct bdev_file *f, const struct iovec *iov, int iovcnt,
          uint64_t offset)
{
  return iovcnt == 1 && iov->iov_len > 0 &&
         offset + iov->iov_len != f->size_bytes &&
         !atomic_load_explicit (&f->is_direct, memory_order_relaxed);
}

int
bdev_file_write (void *handle, const struct iovec *iov, int iovcnt,
                 sector_t sector, unsigned flags)
{
  struct bdev_file *f = handle;
  uint64_t offset = sector_to_bytes (sector);
  int r;

  if (flags == 0 && is_plain (f, iov, iovcnt, offset)) {
    ssize_t n = pwrite (f->fd, iov->iov_base, iov->iov_len, (off_t) offset);

    if (n >= 0 && (size_t) n == iov->iov_len)
      return 0;
    if (n < 0 && errno != EINTR)
      return -errno;
    /* Only a part: all of it once more, and then the rest. */
  }
  r = bdev_file_check_end (f, offset + vector_bytes (iov, iovcnt));
  if (r == 0)
    r = transfer_any (f, iov, iovcnt, (off_t) offset, true);
  return r == 0 && (flags & BDEV_FUA) ? bdev_file_flush (f) : r;
}

/*----- in flight -------------------------------------------------------*/

/* Of the states of a bdev_io, bdev-uring.c has those before. */
#define STATE_BOUNCE BDEV_URING_STATES

/* Put IO on the ring, from its own memory or from BOUNCED. */
static int
begin_on_ring (struct bdev_file *f, struct bdev_io *io, size_t bytes)
{
  struct iovec bounced = { .iov_len = bytes };
  int r;

  if (is_aligned (f, io->iov, io->iovcnt))
    return bdev_uring_begin (f->fd, io->iov, io->iovcnt, io);

  /* Never from the reserve: who has that does not wait for others, and a
   * thread that has begun something may.
   */
  if (bytes > BOUNCE_BYTES ||
      posix_memalign (&bounced.iov_base, BOUNCE_ALIGN, bytes) != 0)
    return -EAGAIN;
  if (io->op == BDEV_WRITE)
    vector_gather (io->iov, io->iovcnt, 0, bounced.iov_base, bytes);
  r = bdev_uring_begin (f->fd, &bounced, 1, io);
  if (r == 0)
    io->state[STATE_BOUNCE] = bounced.iov_base;
  else
    free (bounced.iov_base);
  return r;
}

static int
begin_transfer (struct bdev_file *f, struct bdev_io *io)
{
  size_t bytes;
  int r = 0;

  if ((io->op != BDEV_READ && io->op != BDEV_WRITE) ||
      !atomic_load_explicit (&f->is_direct, memory_order_relaxed) ||
      !bdev_uring_has_room ())
    return -EAGAIN;
  bytes = vector_bytes (io->iov, io->iovcnt);
  if (io->op == BDEV_WRITE)
    r = bdev_file_check_end (f, sector_to_bytes (io->sector) + bytes);
  if (r < 0)
    return r;
  io->state[STATE_BOUNCE] = NULL;
  return begin_on_ring (f, io, bytes);
}

/* Flushes are not begun: one is shared by all that wait for it, and each of
 * them must be able to run it (group-sync.h); but what a thread has begun
 * nobody else can end.
 */
int
bdev_file_begin (void *handle, struct bdev_io *io)
{
  int r = begin_transfer (handle, io);

  if (r < 0 && !io->more) /* those that have waited for this one */
    bdev_uring_submit ();
  return r;
}

/* Is there hope that the blocking way does what the ring could not? */
static bool
may_be_repeated (int64_t result)
{
  switch (result) {
  case -EAGAIN:
  case -ECANCELED:
  case -EINTR:
  case -EINVAL:
  case -ENOMEM:
  case -EOPNOTSUPP:
    return true;
  default:
    return result >= 0; /* a part was done */
  }
}

/* valgrind sees system calls, and so not what a ring reads. */
static void
tell_valgrind (const struct iovec *iov, int iovcnt)
{
#ifdef HAVE_VALGRIND_MEMCHECK_H
  int i;

  for (i = 0; i < iovcnt; ++i)
    (void) VALGRIND_MAKE_MEM_DEFINED (iov[i].iov_base, iov[i].iov_len);
#else
  (void) iov;
  (void) iovcnt;
#endif
}

/* All BYTES have been read: to their place, or to BOUNCED. */
static void
end_read (const struct bdev_io *io, void *bounced, size_t bytes)
{
  const struct iovec one = { .iov_base = bounced, .iov_len = bytes };

  if (bounced == NULL)
    tell_valgrind (io->iov, io->iovcnt);
  else {
    tell_valgrind (&one, 1);
    vector_scatter (io->iov, io->iovcnt, 0, bounced, bytes);
  }
}

int
bdev_file_end (void *handle, struct bdev_io *io)
{
  struct bdev_file *f = handle;
  size_t bytes = vector_bytes (io->iov, io->iovcnt);
  int64_t result = bdev_uring_end (io);
  void *bounced = io->state[STATE_BOUNCE];
  int r = 0;

  if (result >= 0 && (size_t) result == bytes) {
    if (io->op == BDEV_READ)
      end_read (io, bounced, bytes);
  }
  else if (may_be_repeated (result))
    r = transfer_any (f, io->iov, io->iovcnt,
                      (off_t) sector_to_bytes (io->sector),
                      io->op == BDEV_WRITE);
  else
    r = (int) result;
  free (bounced);
  return r == 0 && (io->flags & BDEV_FUA) ? bdev_file_flush (f) : r;
}
