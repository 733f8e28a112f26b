/* The devices on a disk that fails as told: what each of their calls does.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "fault-bdev-impl.h"

#define GARBAGE 0xe5

/*----- calls -----------------------------------------------------------*/

static void
fill_vector_with_garbage (const struct iovec *iov, int iovcnt)
{
  int i;

  for (i = 0; i < iovcnt; ++i)
    if (iov[i].iov_len > 0)
      memset (iov[i].iov_base, GARBAGE, iov[i].iov_len);
}

static struct fault_event
event_of_call (const struct fault_bdev *d, const struct fault_call *call)
{
  return (struct fault_event){
    .disk = d,
    .op = call->op,
    .sector = call->sector,
    .count = call->count,
    .flags = call->flags,
  };
}

/* A call has come, and has gone.  The caller holds the lock. */
static void
come_locked (struct fault_bdev *d, const struct fault_call *call)
{
  d->calls[log2_of (call->op)]++;
  d->calls_now++;
  d->calls_at_once = MAX_OF (d->calls_at_once, d->calls_now);
}

static void
go_locked (struct fault_bdev *d)
{
  d->calls_now--;
}

/* What CALL does on its disk, unless it fails.  SEQ is that of the last
 * write that had completed when it came.  The caller holds the lock, which
 * is released while it waits at the gate.  A call in flight that is lost
 * meanwhile does nothing.
 */
static int
do_call_locked (struct fault_bdev *d, const struct fault_call *call,
                uint64_t seq, const struct fault_flying *flying)
{
  struct fault_event event = event_of_call (d, call);
  const struct fault_rule *fails;
  int r;

  fault_wait_at_gate_locked (d, call);
  if (flying != NULL && flying->is_lost)
    return -EIO;
  fails = fault_apply_rules_locked (d, call, false);
  if (fails != NULL)
    event.error = fault_rule_error (fails);
  r = fault_trace_record (d->trace, &event);

  if (call->op == FAULT_READ) {
    if (r == 0)
      fault_copy_vector (call->iov, call->iovcnt,
                         d->visible + sector_to_bytes (call->sector),
                         sector_to_bytes (call->count), false);
    else
      fill_vector_with_garbage (call->iov, call->iovcnt);
  }
  else if (call->op == FAULT_FLUSH) {
    if (r == 0)
      fault_flush_locked (d, seq);
  }
  else if (r == 0)
    fault_change_locked (d, call, call->count);
  else if (fails != NULL && r == event.error) /* else there is no power */
    fault_change_locked (d, call, MIN_OF (fails->sectors_done, call->count));
  return r;
}

/* A blocking call. */
static int
perform (struct fault_bdev *d, const struct fault_call *call)
{
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  come_locked (d, call);
  r = do_call_locked (d, call, d->last_seq, NULL);
  go_locked (d);
  return r;
}

static sector_t
vector_sectors (const struct iovec *iov, int iovcnt)
{
  size_t bytes = 0;
  int i;

  for (i = 0; i < iovcnt; ++i)
    bytes += iov[i].iov_len;
  return bytes >> SECTOR_SHIFT;
}

static int
fault_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  struct fault_call call = {
    .op = FAULT_READ,
    .sector = sector,
    .count = vector_sectors (iov, iovcnt),
    .iov = iov,
    .iovcnt = iovcnt,
  };

  return perform (handle, &call);
}

static int
fault_write (void *handle, const struct iovec *iov, int iovcnt, sector_t sector,
             unsigned flags)
{
  struct fault_call call = {
    .op = FAULT_WRITE,
    .sector = sector,
    .count = vector_sectors (iov, iovcnt),
    .flags = flags,
    .iov = iov,
    .iovcnt = iovcnt,
  };

  return perform (handle, &call);
}

static int
fault_flush (void *handle)
{
  return perform (handle, &(struct fault_call){ .op = FAULT_FLUSH });
}

static int
fault_discard (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  struct fault_call call = {
    .op = FAULT_DISCARD,
    .sector = sector,
    .count = count,
    .flags = flags,
  };

  return perform (handle, &call);
}

static int
fault_write_zeroes (void *handle, sector_t sector, sector_t count,
                    unsigned flags)
{
  struct fault_call call = {
    .op = FAULT_ZERO,
    .sector = sector,
    .count = count,
    .flags = flags,
  };

  return perform (handle, &call);
}

static int
fault_extent (void *handle, sector_t sector, sector_t count,
              struct bdev_extent *extent)
{
  struct fault_bdev *d = handle;
  sector_t n = 1;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  while (n < count && d->visible_data[sector + n] == d->visible_data[sector])
    ++n;
  extent->count = n;
  extent->is_hole = !d->visible_data[sector];
  return 0;
}

static int
fault_identity (void *handle, struct bdev_identity *identity)
{
  struct fault_bdev *d = handle;

  memset (identity, 0, sizeof *identity);
  identity->inode = d->number;
  return 0;
}

static void
fault_close (void *handle)
{
  struct fault_bdev *d = handle;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  d->open_count--;
}

/*----- calls in flight -------------------------------------------------*/

/* Its address tells threads apart. */
static _Thread_local char thread_mark;

static struct fault_call
call_of_io (const struct bdev_io *io)
{
  static const enum fault_op ops[] = {
    [BDEV_READ] = FAULT_READ,         [BDEV_WRITE] = FAULT_WRITE,
    [BDEV_FLUSH] = FAULT_FLUSH,       [BDEV_DISCARD] = FAULT_DISCARD,
    [BDEV_WRITE_ZEROES] = FAULT_ZERO,
  };
  bool is_transfer = io->op == BDEV_READ || io->op == BDEV_WRITE;

  if (io->op == BDEV_FLUSH)
    return (struct fault_call){ .op = FAULT_FLUSH };
  return (struct fault_call){
    .op = ops[io->op],
    .sector = io->sector,
    .count = is_transfer ? vector_sectors (io->iov, io->iovcnt) : io->count,
    .flags = io->flags,
    .iov = is_transfer ? io->iov : NULL,
    .iovcnt = is_transfer ? io->iovcnt : 0,
  };
}

static void
note_step (struct fault_bdev *d, const struct fault_call *call,
           enum fault_op step, bool more, int error)
{
  struct fault_event event = event_of_call (d, call);

  event.op |= step;
  event.more = more;
  event.error = error;
  fault_trace_note (d->trace, &event);
}

/* The caller holds the lock. */
static void
complete_locked (struct fault_flying *f)
{
  f->error = do_call_locked (f->disk, &f->call, f->seq, f);
  f->is_done = true;
}

static void
fly (void *arg)
{
  struct fault_flying *f = arg;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&f->disk->lock);

  complete_locked (f);
}

/* The error of a begin that a rule makes fail.  The caller holds the lock.
 */
static int
fail_begin_locked (struct fault_bdev *d, const struct fault_call *call)
{
  const struct fault_rule *fails = fault_apply_rules_locked (d, call, true);
  int r = fails != NULL ? fault_rule_error (fails) : 0;

  if (r == 0 || r == -EAGAIN)
    return r;
  come_locked (d, call);
  go_locked (d);
  if (call->op == FAULT_READ)
    fill_vector_with_garbage (call->iov, call->iovcnt);
  return r;
}

static int
fault_begin (void *handle, struct bdev_io *io)
{
  struct fault_bdev *d = handle;
  struct fault_call call = call_of_io (io);
  struct fault_flying *f;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  r = fail_begin_locked (d, &call);
  note_step (d, &call, FAULT_BEGIN, io->more, r);
  if (r < 0)
    return r;

  f = fault_allocate (sizeof *f);
  f->disk = d;
  f->call = call;
  f->io = io;
  f->begun_by = &thread_mark;
  f->seq = d->last_seq;
  list_push_back (&d->flying, &f->link);
  d->flying_count++;
  come_locked (d, &call);
  io->state[0] = f;
  /* What is read is not there before the end. */
  if (call.op == FAULT_READ)
    fill_vector_with_garbage (call.iov, call.iovcnt);

  if (d->flight == FAULT_AT_BEGIN && !fault_gate_is_shut_locked (d, &call))
    complete_locked (f);
  else if (d->flight == FAULT_ELSEWHERE)
    f->has_thread = thread_start (&f->thread, "fault-flying", fly, f) == 0;
  return 0;
}

static int
fault_end (void *handle, struct bdev_io *io)
{
  struct fault_bdev *d = handle;
  struct fault_flying *f = io->state[0];
  int r;

  if (f == NULL)
    fault_die ("%s: ended, but not in flight", d->name);
  if (f->io != io || f->disk != d)
    fault_die ("%s: ended, but begun as something else", d->name);
  if (f->begun_by != &thread_mark)
    fault_die ("%s: ended by another thread", d->name);
  if (f->has_thread)
    thread_join (&f->thread);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->lock);

  if (!f->is_done)
    complete_locked (f);
  r = f->is_lost ? -EIO : f->error;
  note_step (d, &f->call, FAULT_END, false, r);
  list_remove (&f->link);
  d->flying_count--;
  go_locked (d);
  io->state[0] = NULL;
  free (f);
  return r;
}

/* A bare device has its defaults for all but these. */
static int
fault_begin_bare (void *handle, struct bdev_io *io)
{
  if (io->op != BDEV_READ && io->op != BDEV_WRITE)
    return -EAGAIN;
  return fault_begin (handle, io);
}

/*----- devices ---------------------------------------------------------*/

/* A table for each set of flags. */
#define BARE_OPS \
  .struct_size = sizeof (struct bdev_ops), .read = fault_read, \
  .close = fault_close
#define FULL_OPS \
  BARE_OPS, .flush = fault_flush, .extent = fault_extent, \
            .identity = fault_identity
#define WRITE_OPS \
  .write = fault_write, .discard = fault_discard, \
  .write_zeroes = fault_write_zeroes
#define FLIGHT_OPS .begin = fault_begin, .end = fault_end
#define BARE_FLIGHT_OPS .begin = fault_begin_bare, .end = fault_end

static const struct bdev_ops fault_ops[] = {
  [0] = { FULL_OPS, WRITE_OPS },
  [FAULT_OPEN_READ_ONLY] = { FULL_OPS },
  [FAULT_OPEN_BARE] = { BARE_OPS, .write = fault_write },
  [FAULT_OPEN_BARE | FAULT_OPEN_READ_ONLY] = { BARE_OPS },
  [FAULT_OPEN_FLIGHT] = { FULL_OPS, WRITE_OPS, FLIGHT_OPS },
  [FAULT_OPEN_FLIGHT | FAULT_OPEN_READ_ONLY] = { FULL_OPS, FLIGHT_OPS },
  [FAULT_OPEN_FLIGHT | FAULT_OPEN_BARE] = { BARE_OPS, .write = fault_write,
                                            BARE_FLIGHT_OPS },
  [FAULT_OPEN_FLIGHT | FAULT_OPEN_BARE | FAULT_OPEN_READ_ONLY] = {
    BARE_OPS,
    BARE_FLIGHT_OPS,
  },
};

struct block_device *
fault_bdev_open (struct fault_bdev *d, unsigned flags)
{
  struct block_device *bdev;
  int r;

  if (flags >= ARRAY_COUNT (fault_ops))
    fault_die ("%s: unknown flags %#x", d->name, flags);
  r = bdev_create (&fault_ops[flags], d, d->name, d->sectors, &bdev);
  if (r < 0)
    fault_die ("%s: bdev_create: %s", d->name, strerror (-r));
  mutex_lock (&d->lock);
  d->open_count++;
  mutex_unlock (&d->lock);
  return bdev;
}
