/* dm-io: one request, any number of io_regions, a bit of error for each.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads one io_region, or writes the same data to many.  The names and
 * signatures are those of the Linux kernel's classic dm-io.
 * Model: Linux 2.6.12 to 6.1 drivers/md/dm-io.c: same calls, same bits.
 * Differs: no interrupted waits; `fn` is called exactly once, or the call
 * fails and it never is; more than DM_IO_MAX_REGIONS is an error; memory
 * shorter than the io_region is an error.
 *
 * Data.  The same memory is written to every io_region from its start, up
 * to that io_region's own count.  `where` may be freed as soon as a call
 * returns.  The data, page lists and vectors stay the caller's and must
 * not be touched until the call, or for an asynchronous one `fn`, is
 * done.  After a failed read the memory holds zeroes.
 *
 * Error bits.  Bit i is set if anything failed on io_region i; the others
 * have succeeded completely.  One failure does not stop the others.  An
 * io_region with count 0 is ignored, but for a flush.
 *
 * Returns.  Synchronous calls: 0, or -EIO if any bit is set.  All calls,
 * before doing anything (`error_bits` is then not written, `fn` never
 * called):
 *   -EIO     an operation other than a write on several io_regions that
 *            needs memory of its own for each: a read
 *   -EINVAL  more than DM_IO_MAX_REGIONS; an unknown operation or flag; an
 *            offset that is not in the first page; an asynchronous call
 *            without dm_io_get or without `fn`
 * and asynchronous ones also
 *   -EAGAIN, -ENOMEM  no thread or no memory.
 *
 * Threads.  All calls may be made from any thread.  Synchronous calls do
 * the I/O in the calling thread.  Asynchronous ones return at once, if there
 * is memory (see dm_io_get); `fn` runs on an I/O thread, never in the calling
 * one, and may block only briefly.  It may run before the call has returned:
 * what it needs must be ready before the call.
 */

#ifndef DMIO_DM_IO_H
#define DMIO_DM_IO_H

#include "block-device.h"
#include "dm-io-memory.h"
#include "sector.h"

#ifdef __cplusplus
extern "C" {
#endif

/* An extent on one device. */
struct io_region {
  struct block_device *bdev;
  sector_t sector;
  sector_t count; /* if 0, this io_region is ignored */
};

/* One bit for each fits an unsigned long. */
#define DM_IO_MAX_REGIONS (8U * sizeof (unsigned long))

/* `error`: the error bits. */
typedef void (*io_notify_fn) (unsigned long error, void *context);

/* The operation: one of these ... */
#define DM_IO_READ 0
#define DM_IO_WRITE 1
#define DM_IO_FLUSH 2        /* whole devices; no data, count ignored */
#define DM_IO_DISCARD 3      /* no data; see bdev_discard */
#define DM_IO_WRITE_ZEROES 9 /* no data; see bdev_write_zeroes */
#define DM_IO_OP_MASK 0xff
/* ... with any of these. */
#define DM_IO_FUA (1 << 17)      /* writes: durable when done */
#define DM_IO_PREFLUSH (1 << 18) /* writes: flush the device first */
#define DM_IO_UNMAP (1 << 24)    /* write zeroes: may give space back */
#define DM_IO_FAST (1 << 25)     /* write zeroes: only if it is fast */

#ifndef DMIO_NO_RW_MACROS
#ifndef READ
#define READ DM_IO_READ
#endif
#ifndef WRITE
#define WRITE DM_IO_WRITE
#endif
#endif

/* Reserve what it takes so that asynchronous I/O on NUM_PAGES pages, in so
 * many requests, makes progress when malloc fails.  Reservations add up;
 * each must be put once, with the same number, when its I/O is done, and
 * not from `fn`.  When malloc fails and more requests are in flight than
 * were reserved in all, the next one waits until one of them has ended;
 * from `fn` it fails with -ENOMEM.
 *
 * dm_io_get starts no thread, so it may be called before a fork.  The first
 * asynchronous call does, and fails if it cannot; after it has succeeded
 * the reservation holds.  The last dm_io_put ends the I/O threads.
 * Returns 0, -ENOMEM (nothing was reserved), or -EINVAL (0 pages, or more
 * than a million in all).
 */
int dm_io_get (unsigned int num_pages);
void dm_io_put (unsigned int num_pages);

/* Synchronous I/O.  RW: see above.  ERROR_BITS may be NULL.
 * dm_io_sync: PL is a list of pages, the first from byte OFFSET on.
 * dm_io_sync_bvec: BVEC is an array that holds the largest count.
 * dm_io_sync_vm: DATA is plain memory.
 */
int dm_io_sync (unsigned int num_regions, struct io_region *where, int rw,
                struct page_list *pl, unsigned int offset,
                unsigned long *error_bits);
int dm_io_sync_bvec (unsigned int num_regions, struct io_region *where, int rw,
                     struct bio_vec *bvec, unsigned long *error_bits);
int dm_io_sync_vm (unsigned int num_regions, struct io_region *where, int rw,
                   void *data, unsigned long *error_bits);

/* Asynchronous I/O: the same, and FN (error bits, CONTEXT) at the end. */
int dm_io_async (unsigned int num_regions, struct io_region *where, int rw,
                 struct page_list *pl, unsigned int offset, io_notify_fn fn,
                 void *context);
int dm_io_async_bvec (unsigned int num_regions, struct io_region *where, int rw,
                      struct bio_vec *bvec, io_notify_fn fn, void *context);
int dm_io_async_vm (unsigned int num_regions, struct io_region *where, int rw,
                    void *data, io_notify_fn fn, void *context);

/* Synchronous I/O on plain memory that also tells why: ERRORS[i] becomes
 * 0 or the negative errno of io_region i.  Otherwise as dm_io_sync_vm.
 */
int dm_io_sync_vm_errors (unsigned int num_regions, struct io_region *where,
                          int rw, void *data, unsigned long *error_bits,
                          int *errors);

#ifdef __cplusplus
}
#endif

#endif /* DMIO_DM_IO_H */
