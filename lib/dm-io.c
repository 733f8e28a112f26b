/* dm-io: one request, any number of io_regions, a bit of error for each.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: Linux drivers/md/dm-io.c, see dm-io.h for what differs.
 *
 * A synchronous request is carried out by the calling thread
 * (dm-io-region.c).  An asynchronous one becomes a part for each io_region,
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

#include "bits.h"
#include "dm-io-errors.h"
#include "dm-io-floor.h"
#include "dm-io-impl.h"
#include "io-threads.h"
#include "list.h"
#include "sync.h"

/*----- requests --------------------------------------------------------*/

/* Refuse what makes no sense, before anything is done. */
static int
check_request (const struct dm_io_request *rq)
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
do_sync (const struct dm_io_request *rq, unsigned long *error_bits, int *errors)
{
  unsigned long bits;
  int r = check_request (rq);

  if (r < 0)
    return r;
  bits = dm_io_do_regions (rq, errors);
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
  assert (!io_threads_is_self ()); /* it might wait for its own end */
  mutex_lock (&reserve_lock);
  assert (num_pages > 0 && num_pages <= reserved_pages);
  reserved_pages -= num_pages;
  /* Until nobody is left the requests are kept: some may be in flight. */
  if (reserved_pages == 0)
    shrink_reserve_locked (reserve_capacity);
  mutex_unlock (&reserve_lock);
  io_threads_put ();
}

/* Others may have started the threads: that is no reservation. */
static bool
has_reservation (void)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&reserve_lock);
  return reserved_pages > 0;
}

/* A request with room for NUM_PARTS.  Waits for one of the reserve to
 * come back when there is no memory, which it will: those in flight need
 * nothing more to end.  But for a thread, so an I/O thread, which calls from
 * `fn`, does not wait: they may all be doing that.
 */
static struct async *
async_alloc (unsigned num_parts)
{
  struct async *async = malloc (async_bytes (num_parts));
  struct list *link;
  bool may_wait;

  if (async != NULL) {
    async->is_reserved = false;
    return async;
  }
  may_wait = !io_threads_is_self ();
  mutex_lock (&reserve_lock);
  while ((link = list_pop_front (&reserve)) == NULL && may_wait &&
         reserve_capacity > 0)
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
  int r = dm_io_do_region (&part->where, async->rw, &async->memory);

  if (r < 0)
    atomic_fetch_or (&async->error_bits, 1UL << (part - async->parts));
  async_part_done (async);
}

static int
do_async (const struct dm_io_request *rq, io_notify_fn fn, void *context)
{
  /* No io_regions at all still takes a part, to call `fn` elsewhere. */
  static const struct io_region nothing;
  unsigned num_parts = MAX_OF (rq->num_regions, 1);
  const struct io_region *where = rq->num_regions > 0 ? rq->where : &nothing;
  enum io_floor top = IO_FLOOR_DEVICES;
  struct async *async;
  unsigned i;
  int r = check_request (rq);

  if (r < 0)
    return r;
  if (fn == NULL || !has_reservation ())
    return -EINVAL;
  for (i = 0; i < num_parts; ++i)
    top = MAX_OF (top, dm_io_floor_of (&where[i]));
  r = io_threads_start (top);
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
    async->parts[i].work.floor = dm_io_floor_of (&where[i]);
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

static struct dm_io_request
request_of (unsigned num_regions, const struct io_region *where, int rw)
{
  return (struct dm_io_request){
    .num_regions = num_regions,
    .where = where,
    .rw = rw,
    .memory = { .type = MEMORY_NONE },
  };
}

static int
set_pages (struct dm_io_request *rq, struct page_list *pl, unsigned offset)
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
set_vector (struct dm_io_request *rq, struct bio_vec *bvec)
{
  if (bvec == NULL)
    return;
  rq->memory.type = MEMORY_VECTOR;
  rq->memory.at.bvec = bvec;
}

static void
set_plain (struct dm_io_request *rq, void *data)
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
  return dm_io_sync_errors (num_regions, where, rw, pl, offset, error_bits,
                            NULL);
}

int
dm_io_sync_errors (unsigned int num_regions, struct io_region *where, int rw,
                   struct page_list *pl, unsigned int offset,
                   unsigned long *error_bits, int *errors)
{
  struct dm_io_request rq = request_of (num_regions, where, rw);
  int r = set_pages (&rq, pl, offset);

  return r < 0 ? r : do_sync (&rq, error_bits, errors);
}

int
dm_io_sync_bvec (unsigned int num_regions, struct io_region *where, int rw,
                 struct bio_vec *bvec, unsigned long *error_bits)
{
  struct dm_io_request rq = request_of (num_regions, where, rw);

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
  struct dm_io_request rq = request_of (num_regions, where, rw);

  set_plain (&rq, data);
  return do_sync (&rq, error_bits, errors);
}

int
dm_io_async (unsigned int num_regions, struct io_region *where, int rw,
             struct page_list *pl, unsigned int offset, io_notify_fn fn,
             void *context)
{
  struct dm_io_request rq = request_of (num_regions, where, rw);
  int r = set_pages (&rq, pl, offset);

  return r < 0 ? r : do_async (&rq, fn, context);
}

int
dm_io_async_bvec (unsigned int num_regions, struct io_region *where, int rw,
                  struct bio_vec *bvec, io_notify_fn fn, void *context)
{
  struct dm_io_request rq = request_of (num_regions, where, rw);

  set_vector (&rq, bvec);
  return do_async (&rq, fn, context);
}

int
dm_io_async_vm (unsigned int num_regions, struct io_region *where, int rw,
                void *data, io_notify_fn fn, void *context)
{
  struct dm_io_request rq = request_of (num_regions, where, rw);

  set_plain (&rq, data);
  return do_async (&rq, fn, context);
}
