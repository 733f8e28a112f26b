/* dm-io: one request, any number of io_regions, a bit of error for each.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: Linux drivers/md/dm-io.c, see dm-io.h for what differs.
 *
 * A synchronous request walks its io_regions one after the other in the
 * calling thread: on a local file a hand-off to another thread costs more
 * than the write.  An asynchronous one becomes a part for each io_region,
 * all submitted to the I/O threads at once.
 *
 * Invariants of an asynchronous request:
 * (1) parts_left counts the parts not done yet, those still to be
 *     submitted too, so `fn` cannot run before the last submission;
 * (2) whoever brings parts_left to 0 calls `fn`, and then frees.
 *
 * Locks: `reserve_lock` is a leaf.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "checked-math.h"
#include "dm-io.h"
#include "io-threads.h"
#include "list.h"
#include "sync.h"

/*----- memory ----------------------------------------------------------*/

enum memory_type {
  MEMORY_NONE, /* operations without data */
  MEMORY_PAGES,
  MEMORY_VECTOR,
  MEMORY_PLAIN,
};

/* A place in the memory of a request. */
struct cursor {
  enum memory_type type;
  union {
    struct page_list *pages;
    struct bio_vec *bvec;
    char *plain;
  } at;
  size_t offset; /* inside the current page or element */
};

/* At most so many pieces go into one call of a device. */
#define CURSOR_IOVECS 128

/* Bytes at the cursor, and their address; 0 bytes: the memory ends. */
static size_t
cursor_peek (const struct cursor *c, size_t wanted, char **address)
{
  switch (c->type) {
  case MEMORY_PAGES:
    if (c->at.pages == NULL)
      return 0;
    *address = (char *) page_address (c->at.pages->page) + c->offset;
    return MIN_OF (wanted, DM_PAGE_SIZE - c->offset);
  case MEMORY_VECTOR:
    if (c->at.bvec->bv_page == NULL)
      return 0;
    *address = (char *) page_address (c->at.bvec->bv_page) +
               c->at.bvec->bv_offset + c->offset;
    return MIN_OF (wanted, c->at.bvec->bv_len - c->offset);
  case MEMORY_PLAIN:
    *address = c->at.plain + c->offset;
    return wanted;
  case MEMORY_NONE:
    break;
  }
  return 0;
}

static void
cursor_advance (struct cursor *c, size_t bytes)
{
  c->offset += bytes;
  if (c->type == MEMORY_PAGES && c->offset == DM_PAGE_SIZE) {
    c->at.pages = c->at.pages->next;
    c->offset = 0;
  }
}

/* Step over elements of a vector that are used up, or empty. */
static void
cursor_skip_empty (struct cursor *c)
{
  while (c->type == MEMORY_VECTOR && c->at.bvec->bv_page != NULL &&
         c->offset == c->at.bvec->bv_len) {
    c->at.bvec++;
    c->offset = 0;
  }
}

/* Describe up to BYTES at the cursor by IOV and step over them.  Pieces
 * next to each other in memory become one.  Returns the bytes described.
 */
static size_t
cursor_fill (struct cursor *c, size_t bytes, struct iovec *iov, int *iovcnt)
{
  size_t done = 0;
  int n = 0;

  while (done < bytes) {
    char *address;
    size_t len;

    cursor_skip_empty (c);
    len = cursor_peek (c, bytes - done, &address);
    if (len == 0)
      break;
    if (n > 0 && (char *) iov[n - 1].iov_base + iov[n - 1].iov_len == address)
      iov[n - 1].iov_len += len;
    else if (n == CURSOR_IOVECS)
      break;
    else
      iov[n++] = (struct iovec){ .iov_base = address, .iov_len = len };
    cursor_advance (c, len);
    done += len;
  }
  *iovcnt = n;
  return done;
}

/* The same, but whole sectors: a vector may be cut anywhere.  0 if less
 * than a sector can be described at once.
 */
static size_t
cursor_fill_sectors (struct cursor *c, uint64_t bytes, struct iovec *iov,
                     int *iovcnt)
{
  struct cursor start = *c;
  size_t want = (size_t) MIN_OF (bytes, (uint64_t) SIZE_MAX / 2);
  size_t got = cursor_fill (c, want, iov, iovcnt);

  if (got % SECTOR_SIZE == 0)
    return got;
  *c = start;
  return cursor_fill (c, round_down_to (got, SECTOR_SIZE), iov, iovcnt);
}

/* Copy a sector between BUFFER and the cursor, and step over it.  Returns
 * -EINVAL if the memory ends before.
 */
static int
cursor_copy_sector (struct cursor *c, char *buffer, bool to_buffer)
{
  size_t done = 0;

  while (done < SECTOR_SIZE) {
    char *address;
    size_t len;

    cursor_skip_empty (c);
    len = cursor_peek (c, SECTOR_SIZE - done, &address);
    if (len == 0)
      return -EINVAL;
    if (to_buffer)
      memcpy (buffer + done, address, len);
    else
      memcpy (address, buffer + done, len);
    cursor_advance (c, len);
    done += len;
  }
  return 0;
}

/*----- one io_region ---------------------------------------------------*/

static void
zero_memory (struct cursor memory, uint64_t bytes)
{
  while (bytes > 0) {
    char *address;
    size_t len;

    cursor_skip_empty (&memory);
    len = cursor_peek (&memory,
                       (size_t) MIN_OF (bytes, (uint64_t) SIZE_MAX / 2),
                       &address);
    if (len == 0)
      return;
    memset (address, 0, len);
    cursor_advance (&memory, len);
    bytes -= len;
  }
}

static unsigned
bdev_flags (int rw)
{
  return (rw & DM_IO_FUA ? BDEV_FUA : 0) | (rw & DM_IO_UNMAP ? BDEV_UNMAP : 0) |
         (rw & DM_IO_FAST ? BDEV_FAST : 0);
}

static int
transfer_vector (const struct io_region *where, int rw, const struct iovec *iov,
                 int iovcnt, sector_t sector)
{
  if ((rw & DM_IO_OP_MASK) == DM_IO_READ)
    return bdev_read (where->bdev, iov, iovcnt, sector);
  return bdev_write (where->bdev, iov, iovcnt, sector, bdev_flags (rw));
}

/* One sector whose memory is in more pieces than go into one call. */
static int
transfer_scattered_sector (const struct io_region *where, int rw,
                           struct cursor *c, sector_t sector)
{
  bool is_read = (rw & DM_IO_OP_MASK) == DM_IO_READ;
  char buffer[SECTOR_SIZE];
  struct iovec iov = { .iov_base = buffer, .iov_len = sizeof buffer };
  struct cursor start = *c;
  int r;

  /* Also for a read: is there memory for it? */
  r = cursor_copy_sector (c, buffer, true);
  if (r == 0)
    r = transfer_vector (where, rw, &iov, 1, sector);
  if (r == 0 && is_read)
    r = cursor_copy_sector (&start, buffer, false);
  return r;
}

static int
transfer_region (const struct io_region *where, int rw, struct cursor memory)
{
  struct iovec iov[CURSOR_IOVECS];
  struct cursor c = memory;
  sector_t sector = where->sector;
  sector_t left = where->count;
  int r = 0;

  /* Checked here because sectors are about to be added up. */
  if (!range_is_inside (sector, left, bdev_sectors (where->bdev)))
    r = -EINVAL;
  while (r == 0 && left > 0) {
    int iovcnt;
    size_t bytes = cursor_fill_sectors (&c, sector_to_bytes (left), iov,
                                        &iovcnt);

    if (bytes > 0)
      r = transfer_vector (where, rw, iov, iovcnt, sector);
    else {
      bytes = SECTOR_SIZE;
      r = transfer_scattered_sector (where, rw, &c, sector);
    }
    sector += bytes >> SECTOR_SHIFT;
    left -= bytes >> SECTOR_SHIFT;
  }
  if (r < 0 && (rw & DM_IO_OP_MASK) == DM_IO_READ &&
      where->count <= SECTOR_MAX) /* else nobody has so much memory */
    zero_memory (memory, sector_to_bytes (where->count));
  return r;
}

/* Do what RW says on one io_region.  Returns 0 or a negative errno. */
static int
do_region (const struct io_region *where, int rw, struct cursor memory)
{
  int r = 0;

  if ((rw & DM_IO_PREFLUSH) || (rw & DM_IO_OP_MASK) == DM_IO_FLUSH)
    r = bdev_flush (where->bdev);
  if (r < 0 || where->count == 0)
    return r;

  switch (rw & DM_IO_OP_MASK) {
  case DM_IO_READ:
  case DM_IO_WRITE:
    return transfer_region (where, rw, memory);
  case DM_IO_DISCARD:
    return bdev_discard (where->bdev, where->sector, where->count,
                         bdev_flags (rw));
  case DM_IO_WRITE_ZEROES:
    return bdev_write_zeroes (where->bdev, where->sector, where->count,
                              bdev_flags (rw));
  default: /* flush: done */
    return 0;
  }
}

/*----- requests --------------------------------------------------------*/

struct request {
  unsigned num_regions;
  const struct io_region *where;
  int rw;
  struct cursor memory;
};

/* Refuse what makes no sense, before anything is done. */
static int
check_request (const struct request *rq)
{
  const int write_flags = DM_IO_FUA | DM_IO_PREFLUSH;
  int flags = rq->rw & ~DM_IO_OP_MASK;

  if (rq->num_regions > DM_IO_MAX_REGIONS)
    return -EINVAL;
  switch (rq->rw & DM_IO_OP_MASK) {
  case DM_IO_READ:
    if (rq->num_regions > 1)
      return -EIO;
    return flags == 0 ? 0 : -EINVAL;
  case DM_IO_FLUSH:
    return flags == 0 ? 0 : -EINVAL;
  case DM_IO_WRITE:
  case DM_IO_DISCARD:
    return (flags & ~write_flags) == 0 ? 0 : -EINVAL;
  case DM_IO_WRITE_ZEROES:
    return (flags & ~(write_flags | DM_IO_UNMAP | DM_IO_FAST)) == 0 ? 0
                                                                    : -EINVAL;
  default:
    return -EINVAL;
  }
}

static int
do_sync (const struct request *rq, unsigned long *error_bits, int *errors)
{
  unsigned long bits = 0;
  unsigned i;
  int r = check_request (rq);

  if (r < 0)
    return r;
  for (i = 0; i < rq->num_regions; ++i) {
    r = do_region (&rq->where[i], rq->rw, rq->memory);
    if (r < 0)
      bits |= 1UL << i;
    if (errors != NULL)
      errors[i] = r;
  }
  if (error_bits != NULL)
    *error_bits = bits;
  return bits == 0 ? 0 : -EIO;
}

/*----- asynchronous requests -------------------------------------------*/

struct part {
  struct io_work work;
  struct async *async;
  struct io_region where;
};

struct async {
  struct list link; /* in the reserve */
  bool is_reserved; /* goes back to the reserve */
  int rw;
  struct cursor memory;
  io_notify_fn fn;
  void *context;
  atomic_uint parts_left; /* (1) */
  atomic_ulong error_bits;
  struct part parts[];
};

/* A reserved request has room for any number of io_regions, which comes to
 * about a page: one for each page reserved.
 */
static struct mutex reserve_lock = MUTEX_INITIALIZER;
static struct cond reserve_grew;
static bool reserve_grew_exists;
static unsigned reserved_pages;   /* the sum of what was asked for */
static unsigned reserve_capacity; /* requests made for them */
static struct list reserve = LIST_INITIALIZER (reserve);

#define RESERVE_MAX (1U << 20)

static size_t
async_bytes (unsigned num_parts)
{
  return sizeof (struct async) + num_parts * sizeof (struct part);
}

/* Free COUNT requests of the reserve.  The caller holds reserve_lock. */
static void
shrink_reserve_locked (unsigned count)
{
  while (count-- > 0) {
    struct list *link = list_pop_front (&reserve);

    assert (link != NULL); /* else I/O is still in flight */
    free (list_entry (link, struct async, link));
    reserve_capacity--;
  }
}

int
dm_io_get (unsigned int num_pages)
{
  unsigned target, grown = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&reserve_lock);

  if (num_pages == 0 || num_pages > RESERVE_MAX - reserved_pages)
    return -EINVAL;
  if (!reserve_grew_exists) {
    cond_init (&reserve_grew);
    reserve_grew_exists = true;
  }
  /* What an earlier, larger reservation left is used first. */
  for (target = reserved_pages + num_pages; reserve_capacity < target;
       ++grown) {
    struct async *async = malloc (async_bytes (DM_IO_MAX_REGIONS));

    if (async == NULL) {
      shrink_reserve_locked (grown);
      return -ENOMEM;
    }
    async->is_reserved = true;
    list_push_front (&reserve, &async->link);
    reserve_capacity++;
  }
  reserved_pages = target;
  io_threads_get ();
  return 0;
}

void
dm_io_put (unsigned int num_pages)
{
  mutex_lock (&reserve_lock);
  assert (num_pages > 0 && num_pages <= reserved_pages);
  reserved_pages -= num_pages;
  /* Until nobody is left the requests are kept: some may be in flight. */
  if (reserved_pages == 0)
    shrink_reserve_locked (reserve_capacity);
  mutex_unlock (&reserve_lock);
  io_threads_put ();
}

/* A request with room for NUM_PARTS.  Waits for one of the reserve to
 * come back when there is no memory, which it will: those in flight need
 * nothing more to end.
 */
static struct async *
async_alloc (unsigned num_parts)
{
  struct async *async = malloc (async_bytes (num_parts));
  struct list *link;

  if (async != NULL) {
    async->is_reserved = false;
    return async;
  }
  mutex_lock (&reserve_lock);
  while ((link = list_pop_front (&reserve)) == NULL && reserve_capacity > 0)
    cond_wait (&reserve_grew, &reserve_lock);
  mutex_unlock (&reserve_lock);
  return link != NULL ? list_entry (link, struct async, link) : NULL;
}

static void
async_free (struct async *async)
{
  if (!async->is_reserved) {
    free (async);
    return;
  }
  mutex_lock (&reserve_lock);
  list_push_front (&reserve, &async->link);
  cond_signal (&reserve_grew);
  mutex_unlock (&reserve_lock);
}

static void
async_part_done (struct async *async)
{
  io_notify_fn fn = async->fn;
  void *context = async->context;
  unsigned long bits;

  if (atomic_fetch_sub (&async->parts_left, 1) > 1)
    return;
  bits = atomic_load (&async->error_bits);
  /* Freed first: `fn` may wake the one who puts the last reservation. */
  async_free (async);
  fn (bits, context);
}

static void
do_part (struct io_work *work)
{
  struct part *part = list_entry (work, struct part, work);
  struct async *async = part->async;
  int r = do_region (&part->where, async->rw, async->memory);

  if (r < 0)
    atomic_fetch_or (&async->error_bits, 1UL << (part - async->parts));
  async_part_done (async);
}

static int
do_async (const struct request *rq, io_notify_fn fn, void *context)
{
  /* No io_regions at all still takes a part, to call `fn` elsewhere. */
  static const struct io_region nothing;
  unsigned num_parts = MAX_OF (rq->num_regions, 1);
  const struct io_region *where = rq->num_regions > 0 ? rq->where : &nothing;
  struct async *async;
  unsigned i;
  int r = check_request (rq);

  if (r < 0)
    return r;
  if (fn == NULL)
    return -EINVAL;
  r = io_threads_start ();
  if (r < 0)
    return r;
  async = async_alloc (num_parts);
  if (async == NULL)
    return -ENOMEM;

  async->rw = rq->num_regions > 0 ? rq->rw : DM_IO_READ;
  async->memory = rq->memory;
  async->fn = fn;
  async->context = context;
  atomic_init (&async->parts_left, num_parts);
  atomic_init (&async->error_bits, 0);
  for (i = 0; i < num_parts; ++i) {
    async->parts[i].work.fn = do_part;
    async->parts[i].async = async;
    async->parts[i].where = where[i];
  }
  /* Point of no return.  The request is not ours any more once its last
   * part is submitted.
   */
  for (i = 0; i < num_parts; ++i)
    io_threads_submit (&async->parts[i].work);
  return 0;
}

/*----- the calls -------------------------------------------------------*/

static struct request
request_of (unsigned num_regions, const struct io_region *where, int rw)
{
  return (struct request){
    .num_regions = num_regions,
    .where = where,
    .rw = rw,
    .memory = { .type = MEMORY_NONE },
  };
}

static int
set_pages (struct request *rq, struct page_list *pl, unsigned offset)
{
  /* The first page from OFFSET on, later ones from their start. */
  if (offset >= DM_PAGE_SIZE)
    return -EINVAL;
  rq->memory.type = MEMORY_PAGES;
  rq->memory.at.pages = pl;
  rq->memory.offset = offset;
  return 0;
}

static void
set_vector (struct request *rq, struct bio_vec *bvec)
{
  if (bvec == NULL)
    return;
  rq->memory.type = MEMORY_VECTOR;
  rq->memory.at.bvec = bvec;
}

static void
set_plain (struct request *rq, void *data)
{
  if (data == NULL)
    return;
  rq->memory.type = MEMORY_PLAIN;
  rq->memory.at.plain = data;
}

int
dm_io_sync (unsigned int num_regions, struct io_region *where, int rw,
            struct page_list *pl, unsigned int offset,
            unsigned long *error_bits)
{
  struct request rq = request_of (num_regions, where, rw);
  int r = set_pages (&rq, pl, offset);

  return r < 0 ? r : do_sync (&rq, error_bits, NULL);
}

int
dm_io_sync_bvec (unsigned int num_regions, struct io_region *where, int rw,
                 struct bio_vec *bvec, unsigned long *error_bits)
{
  struct request rq = request_of (num_regions, where, rw);

  set_vector (&rq, bvec);
  return do_sync (&rq, error_bits, NULL);
}

int
dm_io_sync_vm (unsigned int num_regions, struct io_region *where, int rw,
               void *data, unsigned long *error_bits)
{
  return dm_io_sync_vm_errors (num_regions, where, rw, data, error_bits, NULL);
}

int
dm_io_sync_vm_errors (unsigned int num_regions, struct io_region *where, int rw,
                      void *data, unsigned long *error_bits, int *errors)
{
  struct request rq = request_of (num_regions, where, rw);

  set_plain (&rq, data);
  return do_sync (&rq, error_bits, errors);
}

int
dm_io_async (unsigned int num_regions, struct io_region *where, int rw,
             struct page_list *pl, unsigned int offset, io_notify_fn fn,
             void *context)
{
  struct request rq = request_of (num_regions, where, rw);
  int r = set_pages (&rq, pl, offset);

  return r < 0 ? r : do_async (&rq, fn, context);
}

int
dm_io_async_bvec (unsigned int num_regions, struct io_region *where, int rw,
                  struct bio_vec *bvec, io_notify_fn fn, void *context)
{
  struct request rq = request_of (num_regions, where, rw);

  set_vector (&rq, bvec);
  return do_async (&rq, fn, context);
}

int
dm_io_async_vm (unsigned int num_regions, struct io_region *where, int rw,
                void *data, io_notify_fn fn, void *context)
{
  struct request rq = request_of (num_regions, where, rw);

  set_plain (&rq, data);
  return do_async (&rq, fn, context);
}
