/* Unit tests of rings that cannot be had, or that go with their owners.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What forbids rings to the whole process is tried in a child.
 */

#include <config.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "fault-alloc.h"

#ifdef HAVE_LIBURING

#include "direct-test.h"

/*----- rings that do not work ------------------------------------------*/

/* io_uring_submit fails some times: what is queued goes later, or not at all;
 * but it is written.
 */
START_TEST (submitting_fails)
{
  static const int errors[] = { -EINTR, -EAGAIN, -EBUSY, -ENOMEM, -EBADF, 0 };
  unsigned i, fails;

  setup ();
  ck_assert_int_eq (try_fan_out (99), 0);
  for (i = 0; i < ARRAY_COUNT (errors); ++i)
    for (fails = 1; fails < 5; ++fails) {
      unsigned begun = atomic_load (&calls.begun);

      atomic_store (&calls.submit_error, errors[i]);
      atomic_store (&calls.submit_fails, fails);
      ck_assert_int_eq (try_fan_out (10 * i + fails), 0);
      atomic_store (&calls.submit_fails, 0);
      ck_assert_int_eq (try_fan_out (10 * i + fails), 0);
      /* A signal is no reason to give the ring up. */
      if (errors[i] == -EINTR)
        ck_assert_uint_gt (atomic_load (&calls.begun), begun);
    }
  teardown ();
}
END_TEST

/* The kernel takes some, and the others at the next try. */
START_TEST (submitting_in_parts)
{
  unsigned most;

  setup ();
  for (most = 1; most <= FILES; ++most) {
    unsigned begun = atomic_load (&calls.begun);

    atomic_store (&calls.submit_at_most, most);
    ck_assert_int_eq (try_fan_out (most), 0);
    ck_assert_uint_eq (atomic_load (&calls.begun) - begun, ON_RING);
  }
  /* And then no more. */
  atomic_store (&calls.submit_at_most, 1);
  atomic_store (&calls.submit_passes, 2);
  atomic_store (&calls.submit_error, -ENOMEM);
  atomic_store (&calls.submit_fails, 100);
  ck_assert_int_eq (try_fan_out (77), 0);
  ck_assert_uint_lt (atomic_load (&calls.submit_fails), 100);
  ck_assert_uint_eq (ring_count (), 0);
  teardown ();
}
END_TEST

/* Some are in flight already when the next cannot be submitted. */
START_TEST (submitting_fails_half_way)
{
  char *data = aligned_sectors (8);
  struct iovec iov = piece (data, 4096);
  unsigned i, fails;

  setup ();
  for (fails = 0; fails < 5; ++fails) {
    struct bdev_io ios[4];

    fill_pattern (data, fails, 8, 8);
    for (i = 0; i < 4; ++i) {
      ios[i] = (struct bdev_io){ .op = BDEV_WRITE,
                                 .iov = &iov,
                                 .iovcnt = 1,
                                 .sector = 8,
                                 .more = i % 2 == 0 };
      if (i == 2) {
        atomic_store (&calls.submit_error, -EAGAIN);
        atomic_store (&calls.submit_fails, fails);
      }
      ck_assert_int_eq (bdev_begin (files[i], &ios[i]), i < 4 ? 0 : -EAGAIN);
    }
    for (i = 4; i-- > 0;)
      ck_assert_int_eq (bdev_end (files[i], &ios[i]), 0);
    atomic_store (&calls.submit_fails, 0);
    ck_assert_int_eq (look (fails, 8, 8), 0);
    /* A ring that was given up is not made again at once. */
    if (fails >= 3)
      break;
  }
  teardown ();
  free (data);
}
END_TEST

static int expected_inits, init_error;

static void
try_thread (void *arg)
{
  *(int *) arg = try_fan_out (3);
}

/* The library asks so often for a ring, and does without it. */
static int
without_rings (void)
{
  struct thread thread;
  unsigned i;
  int r = 0;

  atomic_store (&calls.init_error, init_error);
  atomic_store (&calls.inits, 0);
  for (i = 0; i < 10 && r == 0; ++i)
    r = try_fan_out (i);
  if (r != 0)
    return 1;
  if (thread_start (&thread, "fan-out", try_thread, &r) != 0)
    return 2;
  thread_join (&thread);
  if (r != 0)
    return 3;
  if (atomic_load (&calls.begun) != 0)
    return 4;
  return (int) atomic_load (&calls.inits) == expected_inits ? 0 : 5;
}

START_TEST (no_rings_for_anybody)
{
  static const struct {
    int error, inits;
  } cases[] = {
    /* Not in this kernel, or not for this process: it is asked once. */
    { -ENOSYS, 1 },
    { -EPERM, 1 },
    { -EACCES, 1 },
    { -EINVAL, 3 }, /* with fewer and fewer wishes */
    /* That may pass: each thread asks for itself. */
    { -EMFILE, 2 },
    { -ENFILE, 2 },
    { -ENOMEM, 2 },
    { -EAGAIN, 2 },
  };
  unsigned i;

  setup ();
  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    init_error = cases[i].error;
    expected_inits = cases[i].inits;
    ck_assert_int_eq (in_child (without_rings), 0);
  }
  teardown ();
}
END_TEST

static int
ask_again (void)
{
  unsigned i;

  atomic_store (&calls.init_error, -EMFILE);
  if (try_fan_out (0) != 0 || atomic_load (&calls.inits) != 1)
    return 1;
  atomic_store (&calls.init_error, 0);
  if (try_fan_out (1) != 0 || atomic_load (&calls.inits) != 1)
    return 2;
  for (i = 0; i < 400; ++i)
    if (try_fan_out (2) != 0)
      return 3;
  if (atomic_load (&calls.inits) != 2 || atomic_load (&calls.begun) == 0)
    return 4;
  return 0;
}

START_TEST (what_may_pass_is_asked_again)
{
  setup ();
  ck_assert_int_eq (in_child (ask_again), 0);
  teardown ();
}
END_TEST

/* From now on system call NUMBER fails with ERROR in this process. */
static bool
forbid (unsigned number, unsigned error)
{
  struct sock_filter code[] = {
    BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offsetof (struct seccomp_data, nr)),
    BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = { ARRAY_COUNT (code), code };

  return prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static unsigned forbidden_errno;

static int
setup_is_forbidden (void)
{
  if (!forbid (SYS_io_uring_setup, forbidden_errno))
    return 10;
  init_error = 0;
  expected_inits = 1;
  return without_rings ();
}

START_TEST (the_system_forbids_rings)
{
  setup ();
  forbidden_errno = EPERM;
  ck_assert_int_eq (in_child (setup_is_forbidden), 0);
  forbidden_errno = ENOSYS;
  ck_assert_int_eq (in_child (setup_is_forbidden), 0);
  teardown ();
}
END_TEST

/* The ring is there, and then it may not be used. */
static int
enter_is_forbidden (void)
{
  unsigned i;

  if (try_fan_out (0) != 0 || atomic_load (&calls.begun) == 0)
    return 1;
  if (!forbid (SYS_io_uring_enter, forbidden_errno))
    return 10;
  for (i = 1; i < 10; ++i)
    if (try_fan_out (i) != 0)
      return 2;
  /* It was given up, and not made again at once. */
  return atomic_load (&calls.inits) == 1 && ring_count () == 0 ? 0 : 3;
}

START_TEST (the_system_forbids_to_use_rings)
{
  setup ();
  forbidden_errno = EPERM;
  ck_assert_int_eq (in_child (enter_is_forbidden), 0);
  teardown ();
}
END_TEST

static int
no_descriptors (void)
{
  struct rlimit limit;
  int fd = dup (0);

  must (fd >= 0 && close (fd) == 0);
  must (getrlimit (RLIMIT_NOFILE, &limit) == 0);
  limit.rlim_cur = (rlim_t) fd;
  must (setrlimit (RLIMIT_NOFILE, &limit) == 0);
  init_error = 0;
  expected_inits = 2;
  return without_rings ();
}

START_TEST (no_descriptor_for_a_ring)
{
  setup ();
  ck_assert_int_eq (in_child (no_descriptors), 0);
  teardown ();
}
END_TEST

/* Each allocation fails once, also those of the ring. */
static int
every_allocation (void)
{
  unsigned k, failed = 1;

  for (k = 0; failed > 0; ++k) {
    char *data = aligned_sectors (33), *back;
    unsigned long bits = 1;
    int r;

    fill_pattern (data + 1, k, 16, 32);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = fan_out (16, 32, data + 1, DM_IO_WRITE, &bits);
    failed = fault_alloc_stop ();
    free (data);
    back = aligned_sectors (1);
    free (back);
    if (r != 0 || bits != 0 || look (k, 16, 32) != 0)
      return 1;
  }
  return k > FILES ? 0 : 2;
}

START_TEST (no_memory_for_a_ring)
{
  setup ();
  ck_assert_int_eq (in_child (every_allocation), 0);
  teardown ();
}
END_TEST

/*----- threads and processes -------------------------------------------*/

struct user {
  struct thread thread;
  struct event_count *ready;
  struct event_count *may_end;
  int result;
};

static void
user_main (void *arg)
{
  struct user *u = arg;
  u->result = try_fan_out (1);
  event_count_add (u->ready);
  event_count_wait (u->may_end, 1);
}

START_TEST (a_ring_goes_with_its_thread)
{
  struct event_count ready, may_end;
  struct user users[20];
  unsigned before, i;

  setup ();
  event_count_init (&ready);
  event_count_init (&may_end);
  before = ring_count ();
  for (i = 0; i < ARRAY_COUNT (users); ++i) {
    users[i].ready = &ready;
    users[i].may_end = &may_end;
    ck_assert_int_eq (thread_start (&users[i].thread, "user", user_main,
                                    &users[i]),
                      0);
  }
  event_count_wait (&ready, ARRAY_COUNT (users));
  ck_assert_uint_eq (ring_count (), before + ARRAY_COUNT (users));
  event_count_add (&may_end);
  for (i = 0; i < ARRAY_COUNT (users); ++i) {
    thread_join (&users[i].thread);
    ck_assert_int_eq (users[i].result, 0);
  }
  ck_assert_uint_eq (ring_count (), before);
  event_count_destroy (&ready);
  event_count_destroy (&may_end);
  teardown ();
}
END_TEST

static int
child_has_its_own (void)
{
  if (try_fan_out (4) != 0)
    return 1;
  if (atomic_load (&calls.inits) != 2) /* that of the parent is one */
    return 2;
  return ring_count () == 1 ? 0 : 3;
}

START_TEST (a_child_does_not_use_the_ring_of_its_parent)
{
  char *data = aligned_sectors (8);
  struct iovec iov = piece (data, 4096);
  struct bdev_io io = {
    .op = BDEV_READ, .iov = &iov, .iovcnt = 1, .more = true
  };

  setup ();
  ck_assert_int_eq (try_fan_out (2), 0);
  ck_assert_int_eq (in_child (child_has_its_own), 0);
  /* Not even what the parent has queued there. */
  ck_assert_int_eq (bdev_begin (files[0], &io), 0);
  ck_assert_int_eq (in_child (child_has_its_own), 0);
  ck_assert_int_eq (bdev_end (files[0], &io), 0);
  ck_assert_int_eq (try_fan_out (3), 0);
  ck_assert_uint_eq (atomic_load (&calls.inits), 1);
  teardown ();
  free (data);
}
END_TEST

/* Threads that write the same files in places of their own. */
#define WRITERS 6
#define AREA ((sector_t) 1024)

struct writer {
  struct thread thread;
  struct chance chance;
  sector_t first;
  int result;
  char *model, *data;
};

static int
writer_step (struct writer *w)
{
  sector_t sector = chance_below (&w->chance, AREA);
  sector_t count = 1 + chance_below (&w->chance, MIN_OF (AREA - sector, 64));
  char *data = w->data + chance_below (&w->chance, 3);
  struct io_region where[FILES];
  unsigned long bits = 0;
  unsigned i;
  int r;

  for (i = 0; i < FILES; ++i)
    where[i] = (struct io_region){ files[i], w->first + sector, count };
  fill_pattern (data, chance_next (&w->chance), sector, count);
  memcpy (w->model + sector_to_bytes (sector), data, sector_to_bytes (count));
  r = dm_io_sync_vm (FILES, where,
                     DM_IO_WRITE |
                       (chance_below (&w->chance, 50) ? 0 : DM_IO_FUA),
                     data, &bits);
  if (r < 0 || bits != 0)
    return r < 0 ? r : -EIO;
  i = (unsigned) chance_below (&w->chance, FILES);
  r = read_at (files[i], w->first + sector, count, data);
  if (r == 0 && memcmp (data, w->model + sector_to_bytes (sector),
                        sector_to_bytes (count)) != 0)
    r = -EILSEQ;
  return r;
}

static void
writer_main (void *arg)
{
  struct writer *w = arg;
  unsigned round;

  for (round = 0; round < 200 && w->result == 0; ++round)
    w->result = writer_step (w);
}

START_TEST (many_threads_write)
{
  struct chance chance = chance_begin ("many_threads_write");
  struct writer writers[WRITERS];
  char *back = aligned_sectors (AREA);
  unsigned i, f;

  setup ();
  /* One of them is of larger blocks, which areas do not share. */
  ck_assert_int_eq (bdev_blocks_create (files[0], 4096, &files[0]), 0);
  for (i = 0; i < WRITERS; ++i) {
    writers[i] = (struct writer){
      .chance = { chance_next (&chance) },
      .first = i * (AREA + 3),
      .model = aligned_sectors (AREA),
      .data = aligned_sectors (65),
    };
    memset (writers[i].model, 0, sector_to_bytes (AREA));
    ck_assert_int_eq (thread_start (&writers[i].thread, "writer", writer_main,
                                    &writers[i]),
                      0);
  }
  for (i = 0; i < WRITERS; ++i) {
    thread_join (&writers[i].thread);
    ck_assert_int_eq (writers[i].result, 0);
    for (f = 0; f < FILES; ++f) {
      ck_assert_int_eq (read_at (files[f], writers[i].first, AREA, back), 0);
      ck_assert (memcmp (back, writers[i].model, sector_to_bytes (AREA)) == 0);
    }
    free (writers[i].model);
    free (writers[i].data);
  }
  ck_assert_uint_gt (atomic_load (&calls.begun), 0);
  teardown ();
  free (back);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    submitting_fails,
    submitting_in_parts,
    submitting_fails_half_way,
    no_rings_for_anybody,
    what_may_pass_is_asked_again,
    the_system_forbids_rings,
    the_system_forbids_to_use_rings,
    no_descriptor_for_a_ring,
    no_memory_for_a_ring,
    a_ring_goes_with_its_thread,
    a_child_does_not_use_the_ring_of_its_parent,
    many_threads_write,
    NULL,
  };

  return direct_main ("bdev-rings", tests);
}

#else /* HAVE_LIBURING */

int
main (void)
{
  printf ("built without liburing\n");
  return 77;
}

#endif
