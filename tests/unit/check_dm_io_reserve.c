/* Unit tests of dm-io: what is reserved is there when malloc fails.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "dm-io-test.h"
#include "fault-alloc.h"

START_TEST (get_has_limits)
{
  ck_assert_int_eq (dm_io_get (0), -EINVAL);
  ck_assert_int_eq (dm_io_get ((1U << 20) + 1), -EINVAL);
  ck_assert_int_eq (dm_io_get (UINT_MAX), -EINVAL);
  ck_assert_int_eq (dm_io_get (3), 0);
  ck_assert_int_eq (dm_io_get ((1U << 20) - 2), -EINVAL);
  ck_assert_int_eq (dm_io_get (UINT_MAX - 1), -EINVAL);
  ck_assert_int_eq (dm_io_get (2), 0);
  dm_io_put (3);
  dm_io_put (2);
}
END_TEST

START_TEST (get_fails_at_every_allocation)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct io_region where;
  unsigned k;
  int r = -ENOMEM;

  setup (1);
  where = region (0, 0, 1);
  for (k = 0; r != 0; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = dm_io_get (10);
    ck_assert_int_eq (r, fault_alloc_stop () > 0 ? -ENOMEM : 0);
    if (r != 0) /* nothing was reserved */
      ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &m, never_called, NULL),
                        -EINVAL);
  }
  ck_assert_uint_eq (k, 11);
  /* The same with a reservation there already: it stays. */
  for (k = 0; k < 5; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    ck_assert_int_eq (dm_io_get (5), -ENOMEM);
    ck_assert_uint_eq (fault_alloc_stop (), 1);
  }
  dm_io_put (10);
  memory_free (&m);
  teardown ();
}
END_TEST

START_TEST (async_without_threads)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct io_region where;
  int r;

  setup (1);
  where = region (0, 0, 1);
  ck_assert_int_eq (dm_io_get (1), 0);
  fault_alloc_fail_once (FAULT_ALLOC_THREADS, 0);
  r = submit (1, &where, DM_IO_WRITE, &m, never_called, NULL);
  ck_assert_uint_eq (fault_alloc_stop (), 1);
  ck_assert_int_eq (r, -EAGAIN);
  fault_alloc_fail_once (FAULT_ALLOC_MEMORY, 0);
  r = submit (1, &where, DM_IO_WRITE, &m, never_called, NULL);
  ck_assert_uint_eq (fault_alloc_stop (), 1);
  ck_assert_int_eq (r, -ENOMEM);
  dm_io_put (1);
  assert_disk_untouched (0);
  memory_free (&m);
  teardown ();
}
END_TEST

/* With a reservation, and one thread, all goes on without malloc, even
 * more requests than were reserved for.
 */
START_TEST (async_without_malloc)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct completion c = { .bits = UNTOUCHED };
  struct io_region where[DM_IO_MAX_REGIONS];
  unsigned i;

  setup (2);
  event_count_init (&c.calls);
  for (i = 0; i < DM_IO_MAX_REGIONS; ++i)
    where[i] = region (i % 2, i, 1);
  memory_fill (&m, 1);
  ck_assert_int_eq (dm_io_get (2), 0);
  ck_assert_int_eq (submit (1, where, DM_IO_WRITE, &m, note_completion, &c), 0);
  event_count_wait (&c.calls, 1);

  fault_alloc_fail_from (FAULT_ALLOC_MEMORY | FAULT_ALLOC_THREADS, 0);
  for (i = 0; i < 50; ++i)
    must (submit (DM_IO_MAX_REGIONS, where, DM_IO_WRITE, &m, note_completion,
                  &c) == 0);
  event_count_wait (&c.calls, 51);
  ck_assert_uint_ge (fault_alloc_stop (), 50);
  ck_assert_uint_eq (c.bits, 0);
  dm_io_put (2);
  ck_assert_uint_eq (event_count_get (&c.calls), 51);
  ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_WRITE),
                     1 + 50 * DM_IO_MAX_REGIONS / 2);
  event_count_destroy (&c.calls);
  memory_free (&m);
  teardown ();
}
END_TEST

/* A put that leaves a smaller reservation while I/O is in flight. */
START_TEST (put_in_parts)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct completion c = { .bits = UNTOUCHED };
  struct io_region where;
  unsigned i;

  setup (1);
  event_count_init (&c.calls);
  where = region (0, 0, 1);
  ck_assert_int_eq (dm_io_get (1), 0);
  ck_assert_int_eq (dm_io_get (7), 0);
  fault_bdev_gate_shut (disks[0], FAULT_ALL, 0, 0);
  ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &m, note_completion, &c),
                    0);
  fault_bdev_gate_wait (disks[0], 1);
  dm_io_put (7);
  for (i = 0; i < 3; ++i) { /* grows and shrinks */
    ck_assert_int_eq (dm_io_get (20), 0);
    dm_io_put (20);
  }
  fault_bdev_gate_open (disks[0]);
  event_count_wait (&c.calls, 1);
  dm_io_put (1);
  ck_assert_uint_eq (c.bits, 0);
  event_count_destroy (&c.calls);
  memory_free (&m);
  teardown ();
}
END_TEST

/*----- progress --------------------------------------------------------*/

/* Users who each keep as much in flight as they have reserved, from a thread
 * and from callbacks, while malloc fails for all.
 */
#define USERS 5
#define USER_PAGES 3
#define USER_REQUESTS 200

struct user {
  struct thread thread;
  unsigned number;
  struct event_count done; /* chains that have come to their end */
  struct chain {
    struct user *user;
    unsigned number;
    unsigned left;
    unsigned failures;
    char data[DM_PAGE_SIZE];
  } chains[USER_PAGES];
};

static void
go_on (unsigned long bits, void *context)
{
  struct chain *chain = context;
  struct user *user = chain->user;
  struct io_region where[2];
  unsigned i;
  int r;

  chain->failures += bits != 0;
  if (chain->left == 0) {
    event_count_add (&user->done);
    return;
  }
  chain->left--;
  for (i = 0; i < 2; ++i)
    where[i] = region (i, 8 * (user->number * USER_PAGES + chain->number), 8);
  r = dm_io_async_vm (2, where, DM_IO_WRITE, chain->data, go_on, chain);
  if (r != 0) {
    chain->failures++;
    event_count_add (&user->done);
  }
}

static void
use (void *arg)
{
  struct user *user = arg;
  unsigned i;

  for (i = 0; i < USER_PAGES; ++i)
    go_on (0, &user->chains[i]);
  event_count_wait (&user->done, USER_PAGES);
}

START_TEST (what_is_reserved_is_enough_for_all)
{
  struct user *users = test_alloc (USERS * sizeof *users);
  struct completion c = { .bits = UNTOUCHED };
  struct memory m = memory_of_kind (PLAIN, 512);
  struct io_region where;
  unsigned i, j;

  setup (2);
  event_count_init (&c.calls);
  for (i = 0; i < USERS; ++i) {
    event_count_init (&users[i].done);
    users[i].number = i;
    for (j = 0; j < USER_PAGES; ++j) {
      struct chain *chain = &users[i].chains[j];

      *chain = (struct chain){
        .user = &users[i],
        .number = j,
        .left = USER_REQUESTS,
      };
      fill_pattern (chain->data, i * USER_PAGES + j, 0, 8);
    }
    ck_assert_int_eq (dm_io_get (USER_PAGES), 0);
  }
  /* A first call starts a thread. */
  where = region (0, DISK_SECTORS - 1, 1);
  ck_assert_int_eq (submit (1, &where, DM_IO_READ, &m, note_completion, &c), 0);
  event_count_wait (&c.calls, 1);
  for (i = 0; i < USERS; ++i)
    ck_assert_int_eq (thread_start (&users[i].thread, "user", use, &users[i]),
                      0);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY | FAULT_ALLOC_THREADS, 0);
  for (i = 0; i < USERS; ++i)
    thread_join (&users[i].thread);
  (void) fault_alloc_stop ();

  for (i = 0; i < USERS; ++i) {
    for (j = 0; j < USER_PAGES; ++j) {
      unsigned number = i * USER_PAGES + j;
      char data[DM_PAGE_SIZE];

      ck_assert_uint_eq (users[i].chains[j].failures, 0);
      ck_assert_uint_eq (users[i].chains[j].left, 0);
      fault_bdev_look (disks[0], 8 * number, 8, data);
      assert_pattern (data, number, (sector_t) 0, (sector_t) 8);
    }
    event_count_destroy (&users[i].done);
    dm_io_put (USER_PAGES);
  }
  ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_WRITE),
                     USERS * USER_PAGES * USER_REQUESTS);
  event_count_destroy (&c.calls);
  free (users);
  memory_free (&m);
  teardown ();
}
END_TEST

/* More than is reserved waits, but not in a callback: the thread that it is
 * on may be the only one, so there it is an error.
 */
struct greedy {
  struct thread thread;
  struct event_count go;        /* for the other thread */
  struct event_count submitted; /* by it */
  struct completion c;
  struct memory m;
  int r;       /* of the other thread's call */
  int r_of_fn; /* of the call in `fn` */
};

static void
submit_another (void *arg)
{
  struct greedy *g = arg;
  struct io_region where = region (1, 0, 1);

  event_count_wait (&g->go, 1);
  g->r = submit (1, &where, DM_IO_WRITE, &g->m, note_completion, &g->c);
  event_count_add (&g->submitted);
}

static void
want_more (unsigned long bits, void *context)
{
  struct greedy *g = context;
  struct io_region where = region (2, 0, 1);

  /* What this one gave back is the other thread's now. */
  event_count_wait (&g->submitted, 1);
  g->r_of_fn = submit (1, &where, DM_IO_WRITE, &g->m, never_called, NULL);
  note_completion (bits, &g->c);
}

START_TEST (more_than_is_reserved)
{
  struct greedy g = { .c = { .bits = UNTOUCHED } };
  struct io_region where;

  setup (3);
  g.m = memory_of_kind (PLAIN, 512);
  memory_fill (&g.m, 1);
  event_count_init (&g.go);
  event_count_init (&g.submitted);
  event_count_init (&g.c.calls);
  ck_assert_int_eq (thread_start (&g.thread, "another", submit_another, &g), 0);
  ck_assert_int_eq (dm_io_get (1), 0);
  where = region (0, 0, 1);
  fault_alloc_fail_from (FAULT_ALLOC_THREADS, 1); /* there is one thread */
  ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &g.m, note_completion,
                            &g.c),
                    0);
  event_count_wait (&g.c.calls, 1);

  fault_bdev_gate_shut (disks[0], FAULT_ALL, 0, 0);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY | FAULT_ALLOC_THREADS, 0);
  must (submit (1, &where, DM_IO_WRITE, &g.m, want_more, &g) == 0);
  fault_bdev_gate_wait (disks[0], 1);
  event_count_add (&g.go);
  fault_bdev_gate_open (disks[0]);
  event_count_wait (&g.c.calls, 3); /* or hang */
  (void) fault_alloc_stop ();
  thread_join (&g.thread);
  ck_assert_int_eq (g.r, 0);
  ck_assert_int_eq (g.r_of_fn, -ENOMEM);
  ck_assert_uint_eq (g.c.bits, 0);
  dm_io_put (1);
  assert_disk_written (1, 1, 0, 1);
  assert_disk_untouched (2);
  event_count_destroy (&g.go);
  event_count_destroy (&g.submitted);
  event_count_destroy (&g.c.calls);
  memory_free (&g.m);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    get_has_limits,        get_fails_at_every_allocation,
    async_without_threads, async_without_malloc,
    put_in_parts,          what_is_reserved_is_enough_for_all,
    more_than_is_reserved, NULL,
  };

  return unit_main ("dm-io-reserve", tests);
}
