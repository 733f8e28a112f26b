/* Reads and writes in flight on an io_uring of the calling thread.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A ring belongs to one thread, so nothing is locked and nobody is woken for
 * somebody else.  What one fan-out writes to several devices is queued, and
 * submitted by one system call; whoever ends the first of them waits for all
 * that the thread has in flight, by one system call too: they are all about
 * to be ended.
 *
 * States of a bdev_io:
 *
 *   QUEUED    on the ring, unknown to the kernel           [bdev_uring_begin]
 *   QUEUED -> IN_FLIGHT  taken by the kernel               [submit]
 *   QUEUED -> DONE       the kernel does not take it: -EAGAIN  [give_up_ring]
 *   IN_FLIGHT -> DONE    its result is there               [reap]
 *
 * Invariants:
 * (1) queue[] has what is QUEUED, in the order of the ring;
 * (2) never more than ENTRIES are QUEUED or IN_FLIGHT together, so that both
 *     queues of the ring always have room.
 *
 * The child of a fork shares the memory of its parent's ring.  It never uses
 * it: it makes one of its own.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "bdev-uring.h"
#include "bits.h"
#include "clock.h"
#include "sync.h"
#include "vector.h"

/* More than a fan-out has at once. */
#define ENTRIES 16U

/* A thread that could not have a ring asks again after so many times. */
#define ASK_AGAIN_AFTER 1000U

/* The kernel counts the bytes of one transfer in 31 bits. */
#define MAX_BYTES ((size_t) 1 << 30)

struct thread_ring {
  bool has_ring;
  unsigned without; /* so many times before asking again */
  unsigned process; /* number of the process that made it */
  struct io_uring ring;
  unsigned in_flight;
  unsigned queued;
  struct bdev_io *queue[ENTRIES]; /* (1) */
};

static void destroy_of_thread (void *value);
static struct thread_slot slot = THREAD_SLOT_INITIALIZER (destroy_of_thread);

/* The kernel has no rings, or forbids them, or the library is unloaded. */
static atomic_bool is_forbidden;

/*----- states of a bdev_io ---------------------------------------------*/

#define STATE_RING 0
#define STATE_RESULT 1
#define STATE_IS_DONE 2

static void
set_done (struct bdev_io *io, int result)
{
  if (io->began_ns != 0)
    io->ended_ns = clock_now_ns ();
  io->state[STATE_RESULT] = (void *) (intptr_t) result;
  io->state[STATE_IS_DONE] = io;
}

static bool
is_done (const struct bdev_io *io)
{
  return io->state[STATE_IS_DONE] != NULL;
}

/*----- rings -----------------------------------------------------------*/

/* Wake nobody, and look after what has ended only when it is waited for:
 * newer kernels can do so, and it is what costs least.
 */
static int
create_ring (struct io_uring *ring)
{
  static const unsigned flags[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_COOP_TASKRUN,
    0,
  };
  unsigned i;
  int r = -EINVAL;

  for (i = 0; i < ARRAY_COUNT (flags) && r == -EINVAL; ++i)
    r = io_uring_queue_init (ENTRIES, ring, flags[i]);
  return r;
}

static void
free_ring (struct thread_ring *t)
{
  if (t->has_ring)
    io_uring_queue_exit (&t->ring);
  t->has_ring = false;
  t->in_flight = t->queued = 0;
}

static void
destroy_of_thread (void *value)
{
  struct thread_ring *t = value;

  /* Who begins something also ends it. */
  assert (t->process != process_number () || t->in_flight + t->queued == 0);
  free_ring (t);
  free (t);
}

/* For the thread that unloads the library, or ends the process. */
__attribute__ ((destructor)) static void
destroy_last (void)
{
  struct thread_ring *t = thread_slot_get (&slot);

  atomic_store (&is_forbidden, true);
  thread_slot_delete (&slot);
  if (t != NULL)
    destroy_of_thread (t);
}

/* What the calling thread knows of its ring, or NULL. */
static struct thread_ring *
get_of_thread (void)
{
  struct thread_ring *t = thread_slot_get (&slot);

  if (t != NULL)
    return t;
  t = calloc (1, sizeof *t);
  if (t == NULL)
    return NULL;
  if (thread_slot_set (&slot, t) < 0) {
    free (t);
    return NULL;
  }
  return t;
}

static void
try_ring (struct thread_ring *t)
{
  int r;

  if (t->without > 0) {
    t->without--;
    return;
  }
  t->process = process_number ();
  r = create_ring (&t->ring);
  if (r == 0)
    t->has_ring = true;
  else if (r == -ENOSYS || r == -EPERM || r == -EACCES || r == -EINVAL)
    atomic_store (&is_forbidden, true); /* for all threads, and for good */
  else
    t->without = ASK_AGAIN_AFTER; /* descriptors, memory: it may pass */
}

/* The calling thread's ring, or NULL. */
static struct thread_ring *
get_ring (void)
{
  struct thread_ring *t;

  if (atomic_load_explicit (&is_forbidden, memory_order_relaxed))
    return NULL;
  t = get_of_thread ();
  if (t == NULL)
    return NULL;
  if (t->has_ring && t->process != process_number ())
    free_ring (t); /* of the parent, for whom it goes on */
  if (!t->has_ring)
    try_ring (t);
  return t->has_ring ? t : NULL;
}

/*----- in flight -------------------------------------------------------*/

bool
bdev_uring_has_room (void)
{
  struct thread_ring *t = get_ring ();

  return t != NULL && t->in_flight + t->queued < ENTRIES; /* (2) */
}

/* QUEUED -> IN_FLIGHT, for all or for the first of them, and wait until
 * WAIT_COUNT are done: all that in one system call, if all goes well.
 * Returns 0, or an error if some are left.
 */
static int
submit_and_wait (struct thread_ring *t, unsigned wait_count)
{
  while (t->queued > 0) {
    int n = wait_count > 0 ? io_uring_submit_and_wait (&t->ring, wait_count)
                           : io_uring_submit (&t->ring);

    if (n == -EINTR)
      continue;
    if (n <= 0)
      return n < 0 ? n : -EAGAIN;
    t->in_flight += (unsigned) n;
    t->queued -= (unsigned) n;
    memmove (t->queue, t->queue + n, t->queued * sizeof t->queue[0]);
  }
  return 0;
}

/* IN_FLIGHT -> DONE, for WAIT_COUNT of them, unless a signal comes, and for
 * all that are.
 */
static void
reap (struct thread_ring *t, unsigned wait_count)
{
  struct io_uring_cqe *cqe;
  int r = io_uring_wait_cqe_nr (&t->ring, &cqe, wait_count);

  /* The kernel has the memory, and nobody else can say until when. */
  if (r < 0 && r != -EINTR && r != -EAGAIN)
    abort ();
  while (io_uring_peek_cqe (&t->ring, &cqe) == 0) {
    set_done (io_uring_cqe_get_data (cqe), cqe->res);
    io_uring_cqe_seen (&t->ring, cqe);
    t->in_flight--;
  }
}

/* QUEUED -> DONE: a ring that does not take what is queued is of no use. */
static void
give_up_ring (struct thread_ring *t)
{
  unsigned i;

  for (i = 0; i < t->queued; ++i)
    set_done (t->queue[i], -EAGAIN);
  free_ring (t);
  t->without = ASK_AGAIN_AFTER;
}

static void
prepare (struct io_uring_sqe *sqe, int fd, const struct iovec *iov, int iovcnt,
         const struct bdev_io *io)
{
  uint64_t offset = sector_to_bytes (io->sector);

  if (io->op == BDEV_WRITE && iovcnt == 1)
    io_uring_prep_write (sqe, fd, iov->iov_base, (unsigned) iov->iov_len,
                         offset);
  else if (io->op == BDEV_WRITE)
    io_uring_prep_writev (sqe, fd, iov, (unsigned) iovcnt, offset);
  else if (iovcnt == 1)
    io_uring_prep_read (sqe, fd, iov->iov_base, (unsigned) iov->iov_len,
                        offset);
  else
    io_uring_prep_readv (sqe, fd, iov, (unsigned) iovcnt, offset);
}

int
bdev_uring_begin (int fd, const struct iovec *iov, int iovcnt,
                  struct bdev_io *io)
{
  struct thread_ring *t;

  if (!bdev_uring_has_room () || iovcnt < 1 || iovcnt > IOV_MAX ||
      vector_bytes (iov, iovcnt) > MAX_BYTES)
    return -EAGAIN;
  t = thread_slot_get (&slot);
  io->state[STATE_RING] = t;
  io->state[STATE_IS_DONE] = NULL;
  struct io_uring_sqe *sqe = io_uring_get_sqe (&t->ring); /* (2) */

  prepare (sqe, fd, iov, iovcnt, io);
  io_uring_sqe_set_data (sqe, io);
  t->queue[t->queued++] = io;
  if (!io->more)
    (void) submit_and_wait (t, 0); /* what is left, the end sees to */
  return 0;
}

void
bdev_uring_submit (void)
{
  struct thread_ring *t = thread_slot_get (&slot);

  if (t != NULL && t->queued > 0)
    (void) submit_and_wait (t, 0);
}

int64_t
bdev_uring_end (struct bdev_io *io)
{
  struct thread_ring *t = io->state[STATE_RING];

  while (!is_done (io)) {
    /* To wait for all at once costs least, but the first would seem to take
     * as long as the last.
     */
    bool is_measured = io->began_ns != 0;
    int r = submit_and_wait (t, is_measured ? 1 : t->queued + t->in_flight);

    if (r < 0 && t->in_flight == 0)
      give_up_ring (t);
    else
      reap (t, is_measured ? 1 : t->in_flight);
  }
  return (intptr_t) io->state[STATE_RESULT];
}
