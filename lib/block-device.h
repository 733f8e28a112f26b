/* A block device: what dm-io reads, writes and flushes.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A block device is a file, a disk, or anything else that a program
 * describes by a struct bdev_ops.  All calls here are synchronous and
 * safe from any number of threads at once, except that nobody else may
 * use a device while it is being closed.
 *
 * Every function returns 0 or a negative errno, and prints nothing.
 * Offsets and counts are in sectors of 512 bytes; lengths of memory are
 * in bytes.
 */

#ifndef DMIO_BLOCK_DEVICE_H
#define DMIO_BLOCK_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "sector.h"

#ifdef __cplusplus
extern "C" {
#endif

struct block_device;

/* Flags of one write, discard or write-zeroes. */
#define BDEV_FUA (1U << 0)   /* durable when the call returns */
#define BDEV_UNMAP (1U << 1) /* zeroing may give the space back */
#define BDEV_FAST (1U << 2)  /* -EOPNOTSUPP rather than write zeroes */

/* What is at the start of a range. */
struct bdev_extent {
  sector_t count; /* for so many sectors, at least 1 */
  bool is_hole;   /* nothing allocated: the sectors read as zeroes */
};

/* What identifies a local device, to notice that two names mean one
 * device, or that a file has been replaced by another.
 */
struct bdev_identity {
  uint64_t device;       /* of the file system, or of the disk itself */
  uint64_t inode;        /* 0 for a disk */
  int64_t birth_seconds; /* of the file, where known, else 0 */
  uint32_t birth_ns;
  int64_t modified_seconds; /* when it was last written; 0 for a disk */
  uint32_t modified_ns;
  bool is_disk;
};

/* An operation of a device. */
enum bdev_op {
  BDEV_READ,
  BDEV_WRITE,
  BDEV_FLUSH, /* the whole device: no memory, no range */
  BDEV_DISCARD,
  BDEV_WRITE_ZEROES,
};

/* One operation that is in flight from bdev_begin to bdev_end.  It stays
 * the caller's; so do the vector and the memory, which must not be
 * touched meanwhile.
 */
struct bdev_io {
  enum bdev_op op;
  unsigned flags;          /* BDEV_FUA, BDEV_UNMAP, BDEV_FAST */
  const struct iovec *iov; /* reads and writes */
  int iovcnt;
  sector_t sector;
  sector_t count; /* discard, write zeroes */

  /* This thread is about to begin another one, or to wait for this one: the
   * device may wait for that, to submit all at once.
   */
  bool more;

  void *state[6]; /* the device's own, from begin to end */

  /* Both 0 before bdev_begin.  Where it is measured how long a device takes,
   * began_ns is not 0 when its begin is called: then a device that knows when
   * IO has ended sets ended_ns to that moment of CLOCK_MONOTONIC.  Else it
   * counts as ended when its end returns, which may be later.
   */
  uint64_t began_ns, ended_ns;
};

/* What a device likes. */
struct bdev_limits {
  unsigned block_bytes;   /* smaller parts are read, changed, written */
  unsigned optimal_bytes; /* preferred size of a request */
  unsigned max_bytes;     /* larger requests are cut */
  bool is_direct;         /* O_DIRECT: page cache is not used */
  bool is_remote;         /* behind a socket, or another thread */

  /* Its operations may wait for asynchronous work on other devices, such as
   * copies between them: so asynchronous work on it has threads of its own.
   */
  bool is_stacked;
};

/* How a device does its work.  HANDLE is what bdev_create was given.
 * All slots may be called from many threads at once and may block.
 * Ranges are inside the device and memory lengths add up to whole
 * sectors: the caller has checked.  Each returns 0 or a negative errno.
 */
struct bdev_ops {
  /* sizeof (struct bdev_ops): what later versions add is NULL for programs
   * that do not have it.
   */
  size_t struct_size;

  /* Required: fill IOV from SECTOR on.  All or an error. */
  int (*read) (void *handle, const struct iovec *iov, int iovcnt,
               sector_t sector);

  /* Required unless the device is read-only: write IOV from SECTOR on.
   * FLAGS: BDEV_FUA.  After an error any of the sectors may hold the old
   * or the new data.
   */
  int (*write) (void *handle, const struct iovec *iov, int iovcnt,
                sector_t sector, unsigned flags);

  /* Optional (default: nothing to do): make durable every write that
   * had completed when this was called.  Once this has failed, or a
   * write with BDEV_FUA has, it must never succeed again: what was to be
   * made durable may be lost, and nobody knows.
   */
  int (*flush) (void *handle);

  /* Optional (default: -EOPNOTSUPP): give the space back.  The sectors
   * read as zeroes afterwards.  FLAGS: BDEV_FUA.
   */
  int (*discard) (void *handle, sector_t sector, sector_t count,
                  unsigned flags);

  /* Optional (default: zeroes are written): make the sectors read as
   * zeroes.  FLAGS: BDEV_FUA, BDEV_UNMAP, BDEV_FAST.
   */
  int (*write_zeroes) (void *handle, sector_t sector, sector_t count,
                       unsigned flags);

  /* Optional (default: all data): describe the start of the range. */
  int (*extent) (void *handle, sector_t sector, sector_t count,
                 struct bdev_extent *extent);

  /* Optional (default: -EOPNOTSUPP): say which device this is. */
  int (*identity) (void *handle, struct bdev_identity *identity);

  /* Optional, both or none (default: nothing is ever in flight): start
   * IO, and wait for its end.  begin must not wait for a device.  It
   * returns 0, and then end is called once, by the same thread, which may
   * have begun others in between and ends them in any order; -EAGAIN if
   * it cannot be done in this way now, and then the blocking slot is
   * called; or another error, which is that of IO.  end returns 0 or the
   * error of IO.
   */
  int (*begin) (void *handle, struct bdev_io *io);
  int (*end) (void *handle, struct bdev_io *io);

  /* Optional (default: sectors, no limits): say what is liked. */
  void (*limits) (void *handle, struct bdev_limits *limits);

  /* Optional (default: -EOPNOTSUPP): connect again a device that has lost
   * its server (see bdev_reconnect).
   */
  int (*reconnect) (void *handle, unsigned flags);

  /* Optional (default: -EOPNOTSUPP): copy COUNT sectors to another device
   * with these same ops, without going through memory.  On an error any
   * of them may have been copied.
   */
  int (*copy) (void *handle, sector_t sector, void *dest_handle,
               sector_t dest_sector, sector_t count);

  /* Optional: free HANDLE.  Nothing is in flight any more. */
  void (*close) (void *handle);
};

/* Flags of bdev_open and bdev_open_fd. */
#define BDEV_OPEN_READ_ONLY (1U << 0)
#define BDEV_OPEN_DIRECT (1U << 1)    /* always O_DIRECT */
#define BDEV_OPEN_BUFFERED (1U << 2)  /* never O_DIRECT */
#define BDEV_OPEN_EXCLUSIVE (1U << 3) /* refuse if used elsewhere */
#define BDEV_OPEN_WATCHED (1U << 4)   /* give it up when it hangs */

/* Open the file or disk SPEC, or the NBD export if SPEC begins as a URI
 * (a file of such a name can be had as "./NAME").
 *
 * Disks are opened with O_DIRECT (where it is possible) and files without,
 * unless a flag says otherwise.  With O_DIRECT any memory will do, but
 * what is not aligned as the device wants it is copied; and where the
 * device's blocks are larger than a sector, requests for parts of them are
 * read, changed and written, without losing what others write to the same
 * blocks through the same device (bdev_get_limits tells the block).  None of
 * this fails for want of memory.  Where the kernel does not say what
 * O_DIRECT needs it is found out by reading; if it refuses a request all
 * the same, the device goes on without O_DIRECT, with a warning.
 *
 * A direct device can have reads and writes in flight (bdev_begin), by a
 * ring that each calling thread has of its own, where io_uring is allowed.
 * A thread's ring is freed when it ends.  After fork, a child must not end
 * what its parent has begun; what it begins itself has a ring of its own.
 *
 * BDEV_OPEN_EXCLUSIVE locks the whole file against other processes
 * (shared if read-only) and a disk against being mounted, until the
 * device is closed.
 *
 * BDEV_OPEN_WATCHED: a file or disk that hangs fails, as a server does (see
 * below), with -ETIMEDOUT.  Each operation is then done by another thread, in
 * memory of its own, of which there may be none (-ENOMEM): that takes some
 * 10 us, so it is not done unless it is asked for.  bdev_reconnect succeeds
 * when the file or disk has answered all that it was asked.  bdev_close does
 * not wait for that: the file stays open, and locked, until some device is
 * opened or closed after it has answered.  Opening does wait.  No effect for
 * URIs.
 *
 * On success *BDEV is the caller's, to be given to bdev_close.
 * Errors: those of open(2), and
 *   -EISDIR      SPEC is a directory
 *   -ENOTBLK     SPEC is neither a regular file nor a block device
 *   -EINVAL      its size is not a whole number of sectors; or an unknown
 *                flag, or both BDEV_OPEN_DIRECT and BDEV_OPEN_BUFFERED
 *   -EFBIG       its size is more than SECTOR_MAX, as only a disk can be
 *   -EBUSY       another process, or another device of this one, has it
 *                (BDEV_OPEN_EXCLUSIVE)
 *   -EOPNOTSUPP  BDEV_OPEN_DIRECT cannot be had there, or only in blocks of
 *                which the size is not a multiple, or of more than 64 KiB
 *   -ENOMEM      no memory
 */
int bdev_open (const char *spec, unsigned flags, struct block_device **bdev);

/* NBD exports: nbd:// nbds:// nbd+unix:// nbds+unix:// nbd+vsock://
 * nbds+vsock://, as in nbd_connect_uri(3).
 *
 * The server is connected to at once.  No thread is started before the first
 * use, so that a program may fork in between and use it in the child.
 * BDEV_OPEN_BUFFERED has no effect.  Blocks of the server that are larger
 * than a sector, and its limits, are taken care of.
 * Errors: those of connecting, which are told to the log, and
 *   -EPROTONOSUPPORT  a URI of another kind, or a build without NBD
 *   -EPROTO           the server does not speak NBD, or TLS has failed
 *   -ETIMEDOUT        it does not answer
 *   -EROFS            it is read-only (without BDEV_OPEN_READ_ONLY)
 *   -EINVAL           its size is not a whole number of sectors, and blocks
 *   -EOPNOTSUPP       BDEV_OPEN_DIRECT or BDEV_OPEN_EXCLUSIVE: no server can
 *                     do either
 *   -EFBIG, -ENOMEM
 *
 * Such a device fails as a whole: when the server has not answered for the
 * time-out (-ETIMEDOUT) or a connection is lost (-ENOTCONN), all that is in
 * flight fails, and every later call but bdev_close, at once and with the
 * same error, until bdev_reconnect.  After an error of a write that was in
 * flight then, its sectors may change until bdev_reconnect has succeeded.
 * bdev_close does not wait for that: a device that is opened anew is not
 * protected from it.
 */

/* Choices beyond the flags; 0 is the default of each. */
struct bdev_options {
  size_t struct_size; /* sizeof (struct bdev_options): it may grow */
  unsigned flags;     /* BDEV_OPEN_... */

  /* URIs, and with BDEV_OPEN_WATCHED. */
  unsigned timeout_ms; /* what is silent for so long, or leaves one request
                        * of many without an answer for four times as long,
                        * has failed; also for connecting; 30000 */

  /* URIs only. */
  unsigned connections; /* at most so many, if the server allows it; 4 */
};

/* bdev_open with OPTIONS.  Errors: also -EINVAL for a struct_size that makes
 * no sense, or of a later version whose additions are used.
 */
int bdev_open_options (const char *spec, const struct bdev_options *options,
                       struct block_device **bdev);

/* Is SPEC a URI for bdev_open, and not a path?  It is if it begins with a
 * scheme and "://"; a file of such a name can be had as "./NAME".
 */
bool bdev_spec_is_uri (const char *spec);

/* The same for a descriptor that is already open, called NAME in
 * messages.  On success the device owns FD and closes it; on failure FD is
 * still the caller's, but O_DIRECT, O_NONBLOCK and O_APPEND may have changed,
 * and a lock that was taken is held until it is closed.  A disk is not kept
 * from being mounted.
 * Errors: also -EBADF if FD was not opened for reading or, without
 * BDEV_OPEN_READ_ONLY, for writing; and -EINVAL for BDEV_OPEN_WATCHED.
 */
int bdev_open_fd (int fd, const char *name, unsigned flags,
                  struct block_device **bdev);

/* Make a device of SECTORS sectors out of OPS and HANDLE.  NAME, copied,
 * is used in messages; OPS is copied too.  On success the device owns
 * HANDLE, and OPS->close is called by bdev_close; on failure HANDLE is still
 * the caller's.
 *
 * Errors: -EINVAL (no read slot; one of begin and end without the other; a
 * struct_size that is too small, or of a later version whose additions are
 * used; more than SECTOR_MAX sectors), -ENOMEM.
 */
int bdev_create (const struct bdev_ops *ops, void *handle, const char *name,
                 sector_t sectors, struct block_device **bdev);

/* Close a device.  NULL is ignored.  Nothing may be in flight.  Does not
 * flush.
 */
void bdev_close (struct block_device *bdev);

/* Facts that never change while a device is open. */
const char *bdev_name (const struct block_device *bdev);
sector_t bdev_sectors (const struct block_device *bdev);
bool bdev_is_read_only (const struct block_device *bdev);

/* The calls behind each operation.  They check the range first.
 * Errors: -EINVAL (outside the device, memory that is not whole sectors,
 * or a flag that the operation does not have), -EROFS (a write to a
 * read-only device), and what the device returns.
 */
int bdev_read (struct block_device *bdev, const struct iovec *iov, int iovcnt,
               sector_t sector);
int bdev_write (struct block_device *bdev, const struct iovec *iov, int iovcnt,
                sector_t sector, unsigned flags);
int bdev_flush (struct block_device *bdev);
int bdev_discard (struct block_device *bdev, sector_t sector, sector_t count,
                  unsigned flags);
int bdev_write_zeroes (struct block_device *bdev, sector_t sector,
                       sector_t count, unsigned flags);

/* Describe the start of the range: EXTENT->count is from 1 to COUNT,
 * which must not be 0 (-EINVAL).
 */
int bdev_extent (struct block_device *bdev, sector_t sector, sector_t count,
                 struct bdev_extent *extent);

/* Begin an operation without waiting for its end, and wait for it.  Each
 * IO that was begun must be ended, by the same thread; several may be in
 * flight, and be ended in any order.  bdev_begin returns 0, or an error as
 * the blocking call would, and then there is nothing to end; -EAGAIN: do it
 * with the blocking call, which is what is faster on this device, or what
 * it can do just now.  bdev_end returns 0 or the error of IO; it may wait for
 * others that the same thread has begun, too.
 */
int bdev_begin (struct block_device *bdev, struct bdev_io *io);
int bdev_end (struct block_device *bdev, struct bdev_io *io);

/* True if bdev_begin does not always return -EAGAIN. */
bool bdev_can_begin (const struct block_device *bdev);

/* What the device likes; never fails. */
void bdev_get_limits (const struct block_device *bdev,
                      struct bdev_limits *limits);

/* Connect again a device that has failed with its server: after a time-out
 * or a lost connection all its calls fail until this succeeds.
 *
 * What had been sent may still reach the disk while the old server lives.
 * So the old connections are drained first: each write must have been
 * answered, or the server must have closed its side, which a server does when
 * it is done, or dead.  For that it is waited at most as long as the time-out.
 * BDEV_RECONNECT_FENCED: the caller knows that the old server cannot write
 * any more (it was switched off), so nothing is waited for.
 * BDEV_RECONNECT_NO_WAIT: -EBUSY at once, if they are not drained yet; for who
 * asks again and again.
 *
 * What was written and not flushed may be lost: the server may have been
 * started anew.  Calls in progress fail.  But the device then forgets that it
 * has failed, and that a flush has, also if only a flush had: it is for the
 * caller to write again all that was not flushed, before it trusts a flush.
 *
 * A device of BDEV_OPEN_WATCHED that was given up has no server to connect:
 * it is waited, in the same way, until it has answered all that it was asked;
 * BDEV_RECONNECT_FENCED makes no difference, and nothing is lost.
 *
 * Returns 0 (also if nothing had failed), or
 *   -EOPNOTSUPP  not a device with a server, nor one that was given up
 *   -EBUSY       the old server may still write: try again later, or fence it;
 *                or the device still hangs
 *   -ESTALE      the export has another size, or offers less than before
 *   others       of connecting
 * and the device stays as it was.
 */
#define BDEV_RECONNECT_FENCED (1U << 0)
#define BDEV_RECONNECT_NO_WAIT (1U << 1)
int bdev_reconnect (struct block_device *bdev, unsigned flags);

/* Copy between two devices without going through this program's memory,
 * where that is possible.  The range must be inside both (-EINVAL).  The
 * copy may share space with the source on file systems that can do so.
 * Returns 0; -EOPNOTSUPP if it is not possible here; -EROFS; or an error
 * of either device.
 */
int bdev_copy (struct block_device *from, sector_t from_sector,
               struct block_device *to, sector_t to_sector, sector_t count);

/* -EOPNOTSUPP if the device cannot say. */
int bdev_identity (struct block_device *bdev, struct bdev_identity *identity);

#ifdef __cplusplus
}
#endif

#endif /* DMIO_BLOCK_DEVICE_H */
