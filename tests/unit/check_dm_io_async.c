/* Unit tests of dm-io: asynchronous calls and their callbacks.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "dm-io-test.h"

/*----- asynchronous I/O ------------------------------------------------*/

/* The array of io_regions is the caller's again when the call returns. */
START_TEST (async_copies_where)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct completion c = { .bits = UNTOUCHED };
  struct io_region *where = test_alloc (2 * sizeof *where);
  unsigned i;

  setup (2);
  event_count_init (&c.calls);
  ck_assert_int_eq (dm_io_get (1), 0);
  for (i = 0; i < 2; ++i) {
    fault_bdev_gate_shut (disks[i], FAULT_ALL, 0, 0);
    where[i] = region (i, 9, 1);
  }
  memory_fill (&m, 1);
  ck_assert_int_eq (submit (2, where, DM_IO_WRITE, &m, note_completion, &c), 0);
  memset (where, 0xff, 2 * sizeof *where);
  free (where);
  /* Both are in flight at once. */
  fault_bdev_gate_wait (disks[0], 1);
  fault_bdev_gate_wait (disks[1], 1);
  ck_assert_uint_eq (event_count_get (&c.calls), 0);
  fault_bdev_gate_open (disks[1]);
  ck_assert_uint_eq (event_count_get (&c.calls), 0); /* the other is not */
  fault_bdev_gate_open (disks[0]);
  event_count_wait (&c.calls, 1);
  dm_io_put (1);
  ck_assert_uint_eq (event_count_get (&c.calls), 1);
  ck_assert_uint_eq (c.bits, 0);
  assert_disk_written (0, 1, 9, 1);
  assert_disk_written (1, 1, 9, 1);
  event_count_destroy (&c.calls);
  memory_free (&m);
  teardown ();
}
END_TEST

/* A device that is stuck does not hold up the others, time after time. */
START_TEST (async_is_not_held_up)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  unsigned round;

  setup (2);
  memory_fill (&m, 1);
  ck_assert_int_eq (dm_io_get (1), 0);
  for (round = 0; round < 100; ++round) {
    struct completion stuck = { .bits = UNTOUCHED };
    struct completion free_one = { .bits = UNTOUCHED };
    struct io_region where[2];

    event_count_init (&stuck.calls);
    event_count_init (&free_one.calls);
    where[0] = region (0, 9, 1);
    where[1] = region (1, 9, 1);
    fault_bdev_gate_shut (disks[0], FAULT_ALL, 0, 0);
    ck_assert_int_eq (submit (1, &where[0], DM_IO_WRITE, &m, note_completion,
                              &stuck),
                      0);
    ck_assert_int_eq (submit (1, &where[1], DM_IO_WRITE, &m, note_completion,
                              &free_one),
                      0);
    event_count_wait (&free_one.calls, 1); /* or hang */
    ck_assert_uint_eq (event_count_get (&stuck.calls), 0);
    fault_bdev_gate_open (disks[0]);
    event_count_wait (&stuck.calls, 1);
    event_count_destroy (&stuck.calls);
    event_count_destroy (&free_one.calls);
  }
  dm_io_put (1);
  memory_free (&m);
  teardown ();
}
END_TEST

/* `fn` may start more I/O: a chain of reads, each from the one before. */
struct chain {
  struct event_count done;
  unsigned left;
  unsigned long bits;
  int error;
  char data[512];
};

static void
next_in_chain (unsigned long bits, void *context)
{
  struct chain *chain = context;
  struct io_region where = region (0, chain->left, 1);
  int r;

  chain->bits |= bits;
  if (chain->left-- > 0) {
    r = dm_io_async_vm (1, &where, DM_IO_READ, chain->data, next_in_chain,
                        chain);
    if (r == 0)
      return; /* the chain is the next one's */
    chain->error = r;
  }
  event_count_add (&chain->done);
}

START_TEST (async_from_fn)
{
  struct chain chain = { .left = 100 };

  setup (1);
  event_count_init (&chain.done);
  ck_assert_int_eq (dm_io_get (1), 0);
  next_in_chain (0, &chain);
  event_count_wait (&chain.done, 1);
  dm_io_put (1);
  ck_assert_int_eq (chain.error, 0);
  ck_assert_uint_eq (chain.bits, 0);
  ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), 100);
  assert_pattern (chain.data, 1000, (sector_t) 1, (sector_t) 1);
  event_count_destroy (&chain.done);
  teardown ();
}
END_TEST

#define WORKERS 4
#define WORKER_SECTORS (DISK_SECTORS / WORKERS)

struct worker {
  struct thread thread;
  unsigned number;
  unsigned failures;
};

/* Write and read the sectors of one's own, by turns in every way. */
static void
work (void *arg)
{
  struct worker *w = arg;
  unsigned round;

  for (round = 0; round < 60; ++round) {
    struct memory m = memory_of_kind (round % MEMORY_KINDS, 40 * 512);
    sector_t base = w->number * WORKER_SECTORS + round;
    struct io_region where[2];
    struct completion c = { .bits = UNTOUCHED };
    char *data = test_alloc (m.bytes);
    unsigned long bits = 0;

    where[0] = region (0, base, 40);
    where[1] = region (1, base, 40);
    memory_fill (&m, round);
    event_count_init (&c.calls);
    if (submit (2, where, DM_IO_WRITE, &m, note_completion, &c) != 0)
      w->failures++;
    else {
      event_count_wait (&c.calls, 1);
      w->failures += c.bits != 0;
    }
    memory_fill (&m, 1);
    w->failures += dm_io_sync_vm (1, &where[1], DM_IO_READ, data, &bits) != 0;
    w->failures += first_wrong_sector (data, round, 0, 40) != 40;
    event_count_destroy (&c.calls);
    free (data);
    memory_free (&m);
  }
}

START_TEST (many_threads_at_once)
{
  struct worker workers[WORKERS];
  unsigned i;

  setup (2);
  ck_assert_int_eq (dm_io_get (4), 0);
  for (i = 0; i < WORKERS; ++i) {
    workers[i] = (struct worker){ .number = i };
    ck_assert_int_eq (thread_start (&workers[i].thread, "worker", work,
                                    &workers[i]),
                      0);
  }
  for (i = 0; i < WORKERS; ++i) {
    thread_join (&workers[i].thread);
    ck_assert_uint_eq (workers[i].failures, 0);
  }
  dm_io_put (4);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    async_copies_where,
    async_is_not_held_up,
    async_from_fn,
    many_threads_at_once,
    NULL,
  };

  return dm_io_main ("dm-io-async", tests);
}
