/* Unit tests of kcopyd.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "bits.h"
#include "fault-alloc.h"
#include "fault-bdev.h"
#include "kcopyd.h"
#include "test-util.h"

#define PAGE_SECTORS (DM_PAGE_SIZE / SECTOR_SIZE)

/*----- disks -----------------------------------------------------------*/

/* A source, number 0, and destinations from 1 on; each is full of a
 * pattern, whose seed is its number.
 */
static struct fault_trace *trace;
static struct fault_bdev *disks[1 + KCOPYD_MAX_REGIONS];
static struct block_device *devices[1 + KCOPYD_MAX_REGIONS];
static unsigned disk_count;
static sector_t disk_sectors;

static void
setup (unsigned num_dests, sector_t sectors)
{
  char *data = test_alloc_sectors (sectors);
  unsigned i;

  trace = fault_trace_create ();
  for (i = 0; i <= num_dests; ++i) {
    char name[16];

    (void) snprintf (name, sizeof name, "d%u", i);
    disks[i] = fault_bdev_create (name, sectors, trace);
    devices[i] = fault_bdev_open (disks[i], 0);
    fill_pattern (data, i, 0, sectors);
    fault_bdev_load (disks[i], 0, sectors, data);
  }
  disk_count = num_dests + 1;
  disk_sectors = sectors;
  free (data);
}

static void
teardown (void)
{
  unsigned i;

  for (i = 0; i < disk_count; ++i) {
    bdev_close (devices[i]);
    fault_bdev_destroy (disks[i]);
  }
  fault_trace_destroy (trace);
}

static struct io_region
region (unsigned disk, sector_t sector, sector_t count)
{
  return (struct io_region){
    .bdev = devices[disk],
    .sector = sector,
    .count = count,
  };
}

/* Disk I holds, from SECTOR on, COUNT sectors of the source's from FROM
 * on.
 */
static bool
is_copied (unsigned i, sector_t sector, sector_t from, sector_t count)
{
  char *data = test_alloc_sectors (count);
  bool r;

  fault_bdev_look (disks[i], sector, count, data);
  r = first_wrong_sector (data, 0, from, count) == from + count;
  free (data);
  return r;
}

/* The sectors of disk I are as they were at first. */
static bool
is_untouched (unsigned i, sector_t sector, sector_t count)
{
  char *data = test_alloc_sectors (count);
  bool r;

  fault_bdev_look (disks[i], sector, count, data);
  r = first_wrong_sector (data, i, sector, count) == sector + count;
  free (data);
  return r;
}

/*----- jobs ------------------------------------------------------------*/

/* What the callbacks of one client have in common. */
struct witness {
  struct mutex lock;
  bool has_thread;
  pthread_t thread;
  bool is_inside;
  unsigned violations; /* of: one thread, one after another */
};

struct copy {
  struct kcopyd_client *kc;
  struct witness *witness;
  struct event_count done;
  int read_err;
  unsigned write_err;
  unsigned order; /* among all that are done, from 1 */
};

static atomic_uint copies_done;

static void
witness_init (struct witness *w)
{
  *w = (struct witness){ .has_thread = false };
  mutex_init (&w->lock);
}

static void
witness_enter (struct witness *w)
{
  mutex_lock (&w->lock);
  if (w->is_inside)
    w->violations++;
  w->is_inside = true;
  if (!w->has_thread)
    w->thread = pthread_self ();
  else if (!pthread_equal (w->thread, pthread_self ()))
    w->violations++;
  w->has_thread = true;
  mutex_unlock (&w->lock);
}

static void
witness_leave (struct witness *w)
{
  mutex_lock (&w->lock);
  w->is_inside = false;
  mutex_unlock (&w->lock);
}

static void
copy_done (int read_err, unsigned write_err, void *context)
{
  struct copy *c = context;
  struct witness *w = c->witness;

  if (w != NULL)
    witness_enter (w);
  c->read_err = read_err;
  c->write_err = write_err;
  c->order = atomic_fetch_add (&copies_done, 1) + 1;
  event_count_add (&c->done); /* now C may be gone */
  if (w != NULL)
    witness_leave (w);
}

static void
copy_init (struct copy *c, struct kcopyd_client *kc, struct witness *w)
{
  *c = (struct copy){ .kc = kc, .witness = w };
  event_count_init (&c->done);
}

/* Make a client, copy, and destroy the client; then all callbacks have
 * been.
 */
static struct copy
copy_and_wait (unsigned pages, struct io_region from, unsigned num_dests,
               const struct io_region *dests, unsigned flags)
{
  struct copy c;
  struct kcopyd_client *kc;
  struct io_region *dests_copy = test_alloc (num_dests * sizeof *dests);

  ck_assert_int_eq (kcopyd_client_create (pages, &kc), 0);
  copy_init (&c, kc, NULL);
  memcpy (dests_copy, dests, num_dests * sizeof *dests);
  ck_assert_int_eq (kcopyd_copy (kc, &from, num_dests, dests_copy, flags,
                                 copy_done, &c),
                    0);
  /* The arrays are the caller's again. */
  memset (&from, 0xff, sizeof from);
  memset (dests_copy, 0xff, num_dests * sizeof *dests);
  free (dests_copy);
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (event_count_get (&c.done), 1);
  event_count_destroy (&c.done);
  return c;
}

/* Copy COUNT sectors to NUM_DESTS places, and look at every byte. */
static void
copy_well (unsigned pages, unsigned num_dests, sector_t count)
{
  struct io_region dests[KCOPYD_MAX_REGIONS];
  struct copy c;
  unsigned i;

  setup (num_dests, count + 40);
  for (i = 0; i < num_dests; ++i)
    dests[i] = region (1 + i, 3 * i, count);
  c = copy_and_wait (pages, region (0, 11, count), num_dests, dests, 0);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  for (i = 0; i < num_dests; ++i) {
    sector_t end = 3 * i + count;

    ck_assert (is_untouched (1 + i, 0, 3 * i));
    ck_assert (is_copied (1 + i, 3 * i, 11, count));
    ck_assert (is_untouched (1 + i, end, disk_sectors - end));
  }
  ck_assert (is_untouched (0, 0, disk_sectors));
  teardown ();
}

START_TEST (copies_of_every_size)
{
  static const sector_t sizes[] = {
    1,
    7,
    8,
    9,
    KCOPYD_SUB_JOB_SECTORS - 1,
    KCOPYD_SUB_JOB_SECTORS,
    KCOPYD_SUB_JOB_SECTORS + 1,
    3 * KCOPYD_SUB_JOB_SECTORS,
    12 * KCOPYD_SUB_JOB_SECTORS + 5,
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (sizes); ++i) {
    copy_well (256, 1, sizes[i]);
    copy_well (2048, 1, sizes[i]);
  }
}
END_TEST

START_TEST (copies_to_several)
{
  unsigned n;

  for (n = 1; n <= KCOPYD_MAX_REGIONS; ++n) {
    copy_well (16, n, 1);
    copy_well (16, n, 100);
    copy_well (16, n, 300);
  }
  copy_well (256, KCOPYD_MAX_REGIONS, 2 * KCOPYD_SUB_JOB_SECTORS + 1);
}
END_TEST

/* A reserve smaller than a slice, or than anything at all. */
START_TEST (copies_with_a_small_reserve)
{
  static const unsigned pages[] = { 1, 2, 3, 5, 127, 129 };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (pages); ++i) {
    copy_well (pages[i], 2, 1);
    copy_well (pages[i], 2, PAGE_SECTORS);
    copy_well (pages[i], 2, PAGE_SECTORS + 1);
    copy_well (pages[i], 2, 1000);
  }
  copy_well (1, 1, 2 * KCOPYD_SUB_JOB_SECTORS + 1);
}
END_TEST

START_TEST (copies_of_nothing)
{
  struct io_region dests[2];
  struct copy c;

  setup (2, 100);
  dests[0] = region (1, 0, 0);
  dests[1] = region (2, UINT64_MAX, 0);
  c = copy_and_wait (1, region (0, UINT64_MAX, 0), 2, dests, 0);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  ck_assert_uint_eq (fault_trace_count (trace), 0);
  teardown ();
}
END_TEST

/* A sub-job is never larger than promised, nor than the reserve. */
START_TEST (slices_have_limits)
{
  static const unsigned pages[] = { 1, 3, 128, 1000 };
  unsigned i;
  size_t j;

  for (i = 0; i < ARRAY_COUNT (pages); ++i) {
    sector_t limit = MIN_OF (KCOPYD_SUB_JOB_SECTORS,
                             (sector_t) pages[i] * PAGE_SECTORS);
    struct io_region dest;
    sector_t total = 0;

    setup (1, 3000);
    dest = region (1, 0, 3000);
    (void) copy_and_wait (pages[i], region (0, 0, 3000), 1, &dest, 0);
    for (j = 0; j < fault_trace_count (trace); ++j) {
      struct fault_event e = fault_trace_event (trace, j);

      ck_assert_uint_ge (e.count, 1);
      ck_assert_uint_le (e.count, limit);
      total += e.count;
    }
    ck_assert_uint_eq (total, 6000); /* each sector read and written once */
    ck_assert_uint_eq (j, 2 * div_round_up (3000, limit));
    teardown ();
  }
}
END_TEST

/*----- errors ----------------------------------------------------------*/

/* What the trace says of slice [SECTOR, SECTOR + COUNT) of disk I: 1 done
 * without error, -1 with, 0 not tried; all slices start at 0.
 */
static int
fate_of (unsigned i, sector_t sector)
{
  size_t j;

  for (j = 0; j < fault_trace_count (trace); ++j) {
    struct fault_event e = fault_trace_event (trace, j);

    if (e.disk == disks[i] && e.sector == sector)
      return e.error == 0 ? 1 : -1;
  }
  return 0;
}

/* Run a job in slices of SLICE sectors and compare the destinations, slice
 * by slice, with what the reads and writes have returned: a slice is there
 * if and only if it was read and written; it is as it was before if it
 * could not be read.  The errors reported are those that were.
 * Returns false if nothing failed.
 */
static bool
copy_with_faults (unsigned pages, sector_t count, unsigned num_dests,
                  unsigned flags)
{
  const sector_t slice = MIN_OF (KCOPYD_SUB_JOB_SECTORS,
                                 (sector_t) pages * PAGE_SECTORS);
  struct io_region dests[KCOPYD_MAX_REGIONS];
  bool read_failed = false;
  unsigned write_failed = 0;
  struct copy c;
  sector_t s;
  unsigned i;

  for (i = 0; i < num_dests; ++i)
    dests[i] = region (1 + i, 0, count);
  c = copy_and_wait (pages, region (0, 0, count), num_dests, dests, flags);

  for (s = 0; s < count; s += slice) {
    sector_t n = MIN_OF (slice, count - s);
    int read = fate_of (0, s);

    if (read < 0)
      read_failed = true;
    if (flags & 1U << KCOPYD_IGNORE_ERROR)
      ck_assert_int_ne (read, 0); /* goes on to the end */
    for (i = 1; i <= num_dests; ++i) {
      int written = fate_of (i, s);

      if (read <= 0) {
        ck_assert_int_eq (written, 0); /* never, not even zeroes */
        ck_assert (is_untouched (i, s, n));
      }
      else if (written > 0)
        ck_assert (is_copied (i, s, s, n));
      else {
        ck_assert_int_lt (written, 0); /* all are tried */
        ck_assert (is_untouched (i, s, n));
        write_failed |= 1U << (i - 1);
      }
    }
  }
  ck_assert_int_eq (c.read_err != 0, read_failed);
  ck_assert_uint_eq (c.write_err, write_failed);
  if (!read_failed && write_failed == 0)
    for (i = 1; i <= num_dests; ++i)
      ck_assert (is_copied (i, 0, 0, count));
  return read_failed || write_failed != 0;
}

#define IGNORE (1U << KCOPYD_IGNORE_ERROR)

/* For each K: call K of the source, then of each destination, fails, once
 * or it and all after it.  One slice at a time (the reserve is that
 * small), several at a time.
 */
static void
fail_every_k (unsigned pages, sector_t count, unsigned num_dests,
              unsigned flags)
{
  unsigned disk, is_once, k;
  bool failed;

  for (disk = 0; disk <= num_dests; ++disk)
    for (is_once = 0; is_once < 2; ++is_once)
      for (k = 0, failed = true; failed; ++k) {
        setup (num_dests, count + 1);
        if (is_once)
          fault_bdev_fail_once (disks[disk], FAULT_READ | FAULT_WRITE, k);
        else
          fault_bdev_fail_from (disks[disk], FAULT_READ | FAULT_WRITE, k);
        failed = copy_with_faults (pages, count, num_dests, flags);
        ck_assert_int_eq (failed, fault_bdev_failed (disks[disk]) > 0);
        teardown ();
      }
}

START_TEST (the_kth_call_fails)
{
  fail_every_k (2, 101, 2, 0); /* 7 slices, the last of 5 sectors */
}
END_TEST

START_TEST (the_kth_call_fails_and_is_ignored)
{
  fail_every_k (2, 101, 2, IGNORE);
}
END_TEST

START_TEST (the_kth_call_of_parallel_slices_fails)
{
  fail_every_k (256, 2 * KCOPYD_SUB_JOB_SECTORS + 9, 1, 0);
  fail_every_k (256, 2 * KCOPYD_SUB_JOB_SECTORS + 9, 1, IGNORE);
}
END_TEST

/* After an error, what has not begun is left alone: at most the slices in
 * flight are read.  Here that is one.
 */
START_TEST (nothing_begins_after_an_error)
{
  unsigned k;

  for (k = 0; k < 7; ++k) {
    setup (1, 101);
    fault_bdev_fail_once (disks[0], FAULT_READ, k);
    ck_assert (copy_with_faults (2, 101, 1, 0));
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), k + 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_WRITE), k);
    teardown ();

    setup (1, 101);
    fault_bdev_fail_once (disks[1], FAULT_WRITE, k);
    ck_assert (copy_with_faults (2, 101, 1, 0));
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), k + 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_WRITE), k + 1);
    teardown ();
  }
}
END_TEST

/* Bits of different slices add up; read errors are told apart from them. */
START_TEST (errors_add_up)
{
  struct io_region dests[8];
  struct copy c;
  unsigned i;

  setup (8, 128);
  for (i = 0; i < 8; ++i)
    dests[i] = region (1 + i, 0, 128);
  fault_bdev_fail_range (disks[0], FAULT_READ, 30, 1);  /* slice 1 */
  fault_bdev_fail_range (disks[1], FAULT_WRITE, 0, 1);  /* slice 0 */
  fault_bdev_fail_range (disks[4], FAULT_WRITE, 20, 1); /* never tried */
  fault_bdev_fail_range (disks[8], FAULT_WRITE, 127, 1);
  c = copy_and_wait (2, region (0, 0, 128), 8, dests, IGNORE);
  ck_assert_int_ne (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 1U << 0 | 1U << 7);
  ck_assert (is_untouched (1, 0, 32));
  ck_assert (is_copied (1, 32, 32, 96));
  for (i = 2; i < 8; ++i) {
    ck_assert (is_copied (i, 0, 0, 16));
    ck_assert (is_untouched (i, 16, 16));
    ck_assert (is_copied (i, 32, 32, 96));
  }
  ck_assert (is_untouched (8, 112, 16));
  teardown ();
}
END_TEST

/* Every set of failing destinations gives exactly its bits. */
START_TEST (every_set_of_destinations_fails)
{
  struct io_region dests[8];
  unsigned mask, i;

  for (mask = 1; mask < 256; mask = mask < 8 ? mask + 1 : mask * 2 + 1) {
    struct copy c;

    setup (8, 8);
    for (i = 0; i < 8; ++i) {
      dests[i] = region (1 + i, 0, 8);
      if (mask >> i & 1)
        fault_bdev_fail_from (disks[1 + i], FAULT_WRITE, 0);
    }
    c = copy_and_wait (2, region (0, 0, 8), 8, dests, 0);
    ck_assert_int_eq (c.read_err, 0);
    ck_assert_uint_eq (c.write_err, mask);
    for (i = 0; i < 8; ++i)
      ck_assert (mask >> i & 1 ? is_untouched (1 + i, 0, 8)
                               : is_copied (1 + i, 0, 0, 8));
    teardown ();
  }
}
END_TEST

/* An io_region that is not on its device, in whole or in part, or that
 * goes round the end of the numbers, is an error of that io_region; no
 * other sectors are read or written instead.
 */
START_TEST (regions_outside_their_devices)
{
  static const sector_t outside[] = {
    5000,
    UINT64_MAX,
    UINT64_MAX - KCOPYD_SUB_JOB_SECTORS + 1, /* the second slice: from 0 */
    UINT64_MAX - 5,
  };
  const sector_t count = 2 * KCOPYD_SUB_JOB_SECTORS;
  struct io_region dests[2];
  struct copy c;
  unsigned i, flags;

  for (flags = 0; flags <= IGNORE; flags += IGNORE)
    for (i = 0; i < ARRAY_COUNT (outside); ++i) {
      setup (2, 5000);
      dests[0] = region (1, 0, count);
      dests[1] = region (2, 0, count);
      c = copy_and_wait (512, region (0, outside[i], count), 2, dests, flags);
      ck_assert_int_ne (c.read_err, 0);
      ck_assert_uint_eq (c.write_err, 0);
      ck_assert (is_untouched (1, 0, 5000));
      ck_assert (is_untouched (2, 0, 5000));

      dests[0] = region (1, outside[i], count);
      c = copy_and_wait (512, region (0, 0, count), 2, dests, flags);
      ck_assert_int_eq (c.read_err, 0);
      ck_assert_uint_eq (c.write_err, 1);
      ck_assert (is_untouched (1, 0, 5000));
      if (flags != 0)
        ck_assert (is_copied (2, 0, 0, count));
      teardown ();
    }
}
END_TEST

/*----- callbacks -------------------------------------------------------*/

#define JOBS 24

START_TEST (callbacks_on_one_thread_each)
{
  struct witness witnesses[2];
  struct kcopyd_client *clients[2];
  struct copy copies[2][JOBS];
  unsigned k, i;

  setup (1, JOBS * 16);
  for (k = 0; k < 2; ++k) {
    witness_init (&witnesses[k]);
    ck_assert_int_eq (kcopyd_client_create (8, &clients[k]), 0);
  }
  for (i = 0; i < JOBS; ++i)
    for (k = 0; k < 2; ++k) {
      struct io_region from = region (0, i * 16 + k * 8, i % 9);
      struct io_region dest = region (1, i * 16 + k * 8, i % 9);

      copy_init (&copies[k][i], clients[k], &witnesses[k]);
      ck_assert_int_eq (kcopyd_copy (clients[k], &from, 1, &dest, 0, copy_done,
                                     &copies[k][i]),
                        0);
    }
  for (k = 0; k < 2; ++k) {
    kcopyd_client_destroy (clients[k]);
    ck_assert_uint_eq (witnesses[k].violations, 0);
    ck_assert (!pthread_equal (witnesses[k].thread, pthread_self ()));
    for (i = 0; i < JOBS; ++i) {
      ck_assert_uint_eq (event_count_get (&copies[k][i].done), 1);
      ck_assert_int_eq (copies[k][i].read_err, 0);
      ck_assert_uint_eq (copies[k][i].write_err, 0);
      ck_assert (is_copied (1, i * 16 + k * 8, i * 16 + k * 8, i % 9));
      event_count_destroy (&copies[k][i].done);
    }
    mutex_destroy (&witnesses[k].lock);
  }
  ck_assert (!pthread_equal (witnesses[0].thread, witnesses[1].thread));
  teardown ();
}
END_TEST

/* Each callback starts the next job, of the one client and of the other
 * in turn; the clients are destroyed meanwhile.
 */
struct relay {
  struct kcopyd_client *clients[2];
  atomic_uint left;
  atomic_uint errors;
  struct event_count done;
};

static void
relay_next (int read_err, unsigned write_err, void *context)
{
  struct relay *r = context;
  unsigned left = atomic_fetch_sub (&r->left, 1);
  struct io_region from = region (0, left, 1), dest = region (1, left, 1);

  if (read_err != 0 || write_err != 0)
    atomic_fetch_add (&r->errors, 1);
  if (left == 0)
    event_count_add (&r->done);
  else if (kcopyd_copy (r->clients[left % 2], &from, 1, &dest, 0, relay_next,
                        r) != 0)
    abort ();
}

START_TEST (callbacks_start_jobs_of_other_clients)
{
  struct relay r = { .left = 200 };

  setup (1, 256);
  event_count_init (&r.done);
  ck_assert_int_eq (kcopyd_client_create (1, &r.clients[0]), 0);
  ck_assert_int_eq (kcopyd_client_create (1, &r.clients[1]), 0);
  relay_next (0, 0, &r);
  event_count_wait (&r.done, 1);
  kcopyd_client_destroy (r.clients[0]);
  kcopyd_client_destroy (r.clients[1]);
  ck_assert_uint_eq (r.errors, 0);
  ck_assert (is_copied (1, 1, 1, 200));
  ck_assert (is_untouched (1, 0, 1));
  event_count_destroy (&r.done);
  teardown ();
}
END_TEST

START_TEST (destroy_waits_for_jobs_of_callbacks)
{
  struct relay r = { .left = 100 };

  setup (1, 256);
  event_count_init (&r.done);
  ck_assert_int_eq (kcopyd_client_create (1, &r.clients[0]), 0);
  r.clients[1] = r.clients[0];
  relay_next (0, 0, &r);
  kcopyd_client_destroy (r.clients[0]);
  ck_assert_uint_eq (event_count_get (&r.done), 1);
  ck_assert (is_copied (1, 1, 1, 100));
  event_count_destroy (&r.done);
  teardown ();
}
END_TEST

/* Destroy is called on another thread, and has not returned before the
 * callback of a job that was stuck.
 */
struct destroyer {
  struct thread thread;
  struct kcopyd_client *kc;
  struct copy *copy;
  struct event_count started;
  unsigned done_at_return;
};

static void
destroy_client (void *arg)
{
  struct destroyer *d = arg;

  event_count_add (&d->started);
  kcopyd_client_destroy (d->kc);
  d->done_at_return = event_count_get (&d->copy->done);
}

START_TEST (destroy_waits_for_jobs_in_flight)
{
  unsigned kind;

  for (kind = 0; kind < 2; ++kind) { /* stuck in the read, in the write */
    struct destroyer d = { .done_at_return = 77 };
    struct copy c;
    struct io_region from, dest;
    unsigned i;

    setup (1, 64);
    from = region (0, 0, 64);
    dest = region (1, 0, 64);
    ck_assert_int_eq (kcopyd_client_create (1, &d.kc), 0);
    copy_init (&c, d.kc, NULL);
    d.copy = &c;
    event_count_init (&d.started);
    fault_bdev_gate_shut (disks[kind], FAULT_ALL, 0, 0);
    ck_assert_int_eq (kcopyd_copy (d.kc, &from, 1, &dest, 0, copy_done, &c), 0);
    fault_bdev_gate_wait (disks[kind], 1);
    ck_assert_int_eq (thread_start (&d.thread, "destroyer", destroy_client, &d),
                      0);
    event_count_wait (&d.started, 1);
    for (i = 0; i < 100; ++i) /* a chance to return too early */
      (void) sched_yield ();
    ck_assert_uint_eq (event_count_get (&c.done), 0);
    fault_bdev_gate_open (disks[kind]);
    thread_join (&d.thread);
    ck_assert_uint_eq (d.done_at_return, 1);
    ck_assert (is_copied (1, 0, 0, 64));
    event_count_destroy (&d.started);
    event_count_destroy (&c.done);
    teardown ();
  }
  kcopyd_client_destroy (NULL);
}
END_TEST

/* A callback that blocks delays the callbacks of its client, but not the
 * copying, nor other clients.
 */
struct blocker {
  struct event_count entered;
  struct event_count gate;
};

static void
block_in_callback (int read_err, unsigned write_err, void *context)
{
  struct blocker *b = context;

  (void) read_err;
  (void) write_err;
  event_count_add (&b->entered);
  event_count_wait (&b->gate, 1);
}

START_TEST (a_slow_callback_delays_callbacks_only)
{
  struct kcopyd_client *slow, *other;
  struct blocker b;
  struct copy c[2];
  struct io_region from, dest;
  unsigned i;

  setup (1, 64);
  event_count_init (&b.entered);
  event_count_init (&b.gate);
  ck_assert_int_eq (kcopyd_client_create (1, &slow), 0);
  ck_assert_int_eq (kcopyd_client_create (1, &other), 0);
  from = region (0, 0, 1);
  dest = region (1, 0, 1);
  ck_assert_int_eq (kcopyd_copy (slow, &from, 1, &dest, 0, block_in_callback,
                                 &b),
                    0);
  event_count_wait (&b.entered, 1);

  copy_init (&c[0], slow, NULL);
  copy_init (&c[1], other, NULL);
  for (i = 0; i < 2; ++i) {
    from = region (0, 8 + 8 * i, 8);
    dest = region (1, 8 + 8 * i, 8);
    if (i == 0)
      fault_bdev_gate_shut (disks[1], FAULT_WRITE, 8, 8);
    ck_assert_int_eq (kcopyd_copy (c[i].kc, &from, 1, &dest, 0, copy_done,
                                   &c[i]),
                      0);
    if (i == 0) { /* it is copied all the same */
      fault_bdev_gate_wait (disks[1], 1);
      fault_bdev_gate_open (disks[1]);
    }
  }
  event_count_wait (&c[1].done, 1);
  ck_assert_uint_eq (event_count_get (&c[0].done), 0);
  event_count_add (&b.gate);
  event_count_wait (&c[0].done, 1);
  kcopyd_client_destroy (slow);
  kcopyd_client_destroy (other);
  ck_assert (is_copied (1, 8, 8, 16));
  for (i = 0; i < 2; ++i)
    event_count_destroy (&c[i].done);
  event_count_destroy (&b.entered);
  event_count_destroy (&b.gate);
  teardown ();
}
END_TEST

/*----- the reserve -----------------------------------------------------*/

/* Three jobs of a page each, two pages: the third waits, in order. */
START_TEST (jobs_share_the_reserve)
{
  struct kcopyd_client *kc;
  struct copy c[5];
  unsigned i;

  setup (1, 64);
  ck_assert_int_eq (kcopyd_client_create (2, &kc), 0);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  for (i = 0; i < 5; ++i) {
    struct io_region from = region (0, 8 * i, 8);
    struct io_region dest = region (1, 8 * i, 8);

    copy_init (&c[i], kc, NULL);
    ck_assert_int_eq (kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c[i]),
                      0);
  }
  for (i = 0; i < 4; ++i) {
    fault_bdev_gate_wait (disks[0], 2); /* two at a time, to the end */
    fault_bdev_gate_pass (disks[0], 1);
  }
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (fault_bdev_calls_at_once (disks[0]), 2);
  ck_assert (is_copied (1, 0, 0, 40));
  for (i = 0; i < 5; ++i)
    event_count_destroy (&c[i].done);
  teardown ();
}
END_TEST

START_TEST (jobs_wait_in_order)
{
  struct kcopyd_client *kc;
  struct copy c[6];
  char *text;
  unsigned i;

  setup (1, 64);
  atomic_store (&copies_done, 0);
  ck_assert_int_eq (kcopyd_client_create (1, &kc), 0);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  for (i = 0; i < 6; ++i) {
    struct io_region from = region (0, 10 * i, 10);
    struct io_region dest = region (1, 10 * i, 10);

    copy_init (&c[i], kc, NULL);
    ck_assert_int_eq (kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c[i]),
                      0);
  }
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  for (i = 0; i < 6; ++i) {
    ck_assert_uint_eq (c[i].order, i + 1);
    event_count_destroy (&c[i].done);
  }
  text = fault_trace_text (trace, FAULT_READ);
  ck_assert_str_eq (text, "d0 read 0+8, d0 read 8+2, d0 read 10+8, "
                          "d0 read 18+2, d0 read 20+8, d0 read 28+2, "
                          "d0 read 30+8, d0 read 38+2, d0 read 40+8, "
                          "d0 read 48+2, d0 read 50+8, d0 read 58+2");
  free (text);
  teardown ();
}
END_TEST

/* Slices of a long job are in flight together. */
START_TEST (slices_run_at_once)
{
  const sector_t count = 8 * KCOPYD_SUB_JOB_SECTORS;
  struct kcopyd_client *kc;
  struct io_region from, dest;
  struct copy c;

  setup (1, count);
  from = region (0, 0, count);
  dest = region (1, 0, count);
  ck_assert_int_eq (kcopyd_client_create (512, &kc), 0); /* four slices */
  copy_init (&c, kc, NULL);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  ck_assert_int_eq (kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c), 0);
  fault_bdev_gate_wait (disks[0], 4); /* or hang */
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (fault_bdev_calls_at_once (disks[0]), 4);
  ck_assert (is_copied (1, 0, 0, count));
  event_count_destroy (&c.done);
  teardown ();
}
END_TEST

/* Wait until N slices have come to be written.  Nobody tells. */
static void
wait_for_writes (unsigned n)
{
  while (fault_bdev_calls (disks[1], FAULT_WRITE) < n)
    (void) sched_yield ();
}

/* A job that has begun is finished before the next begins, even if it had
 * to stop because as many of its slices were in flight as may be (8, which
 * is also what the reserve has room for).
 */
START_TEST (a_job_that_has_begun_goes_first)
{
  const sector_t slice = KCOPYD_SUB_JOB_SECTORS;
  const unsigned slices = 8;
  struct kcopyd_client *kc;
  struct copy c[2];
  struct fault_event e;
  unsigned i;

  setup (1, 10 * slice);
  ck_assert_int_eq (
    kcopyd_client_create (slices * (unsigned) slice / PAGE_SECTORS, &kc), 0);
  fault_bdev_gate_shut (disks[0], FAULT_READ, 0, 0);
  for (i = 0; i < 2; ++i) { /* nine slices, and one behind */
    struct io_region from = region (0, i * 9 * slice, i ? slice : 9 * slice);
    struct io_region dest = region (1, i * 9 * slice, i ? slice : 9 * slice);

    copy_init (&c[i], kc, NULL);
    ck_assert_int_eq (kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c[i]),
                      0);
  }
  fault_bdev_gate_wait (disks[0], slices);
  fault_bdev_gate_pass (disks[0], 1);
  fault_bdev_gate_wait (disks[0], slices); /* the ninth has come */
  fault_bdev_gate_pass (disks[0], slices - 1);
  wait_for_writes (slices);
  fault_trace_reset (trace);
  fault_bdev_gate_pass (disks[0], 1); /* the first that came since then */
  wait_for_writes (slices + 1);
  e = fault_trace_event (trace, 0);
  ck_assert_int_eq (e.op, FAULT_READ);
  ck_assert_uint_eq (e.sector, 8 * slice);
  fault_bdev_gate_open (disks[0]);
  kcopyd_client_destroy (kc);
  ck_assert (is_copied (1, 0, 0, 10 * slice));
  for (i = 0; i < 2; ++i)
    event_count_destroy (&c[i].done);
  teardown ();
}
END_TEST

/*----- many at once ----------------------------------------------------*/

#define COPIERS 4
#define COPIER_SECTORS ((sector_t) 2000)
#define COPIER_JOBS 40

struct copier {
  struct thread thread;
  struct kcopyd_client *kc;
  struct witness *witness;
  unsigned number;
  unsigned failures;
};

static void
copy_often (void *arg)
{
  struct copier *copier = arg;
  struct copy copies[COPIER_JOBS];
  sector_t sector = copier->number * COPIER_SECTORS;
  unsigned i;

  for (i = 0; i < COPIER_JOBS; ++i) {
    sector_t count = i * 7 % 97; /* 1,9xx sectors in all */
    struct io_region from = region (0, sector, count);
    struct io_region dests[2];

    dests[0] = region (1, sector, count);
    dests[1] = region (2, sector, count);
    copy_init (&copies[i], copier->kc, copier->witness);
    if (kcopyd_copy (copier->kc, &from, 2, dests, 0, copy_done, &copies[i]))
      abort ();
    sector += count;
    if (i % 8 == 7)
      event_count_wait (&copies[i].done, 1);
  }
  for (i = 0; i < COPIER_JOBS; ++i) {
    event_count_wait (&copies[i].done, 1);
    copier->failures += copies[i].read_err != 0 || copies[i].write_err != 0;
    event_count_destroy (&copies[i].done);
  }
}

START_TEST (many_threads_copy_at_once)
{
  static const unsigned pages[] = { 1, 3, 64 };
  unsigned p, i;

  for (p = 0; p < ARRAY_COUNT (pages); ++p) {
    struct copier copiers[COPIERS];
    struct kcopyd_client *kc;
    struct witness witness;
    sector_t each = 0;

    setup (2, COPIERS * COPIER_SECTORS);
    witness_init (&witness);
    ck_assert_int_eq (kcopyd_client_create (pages[p], &kc), 0);
    for (i = 0; i < COPIER_JOBS; ++i)
      each += i * 7 % 97;
    ck_assert_uint_le (each, COPIER_SECTORS);
    for (i = 0; i < COPIERS; ++i) {
      copiers[i] = (struct copier){ .kc = kc,
                                    .witness = &witness,
                                    .number = i };
      ck_assert_int_eq (thread_start (&copiers[i].thread, "copier", copy_often,
                                      &copiers[i]),
                        0);
    }
    for (i = 0; i < COPIERS; ++i) {
      thread_join (&copiers[i].thread);
      ck_assert_uint_eq (copiers[i].failures, 0);
    }
    kcopyd_client_destroy (kc);
    ck_assert_uint_eq (witness.violations, 0);
    for (i = 0; i < COPIERS; ++i) {
      sector_t at = i * COPIER_SECTORS;

      ck_assert (is_copied (1, at, at, each));
      ck_assert (is_copied (2, at, at, each));
      ck_assert (is_untouched (1, at + each, COPIER_SECTORS - each));
    }
    ck_assert_uint_le (fault_bdev_calls_at_once (disks[0]), pages[p]);
    mutex_destroy (&witness.lock);
    teardown ();
  }
}
END_TEST

/*----- what is refused, and what fails for want of something -----------*/

static void
never_called (int read_err, unsigned write_err, void *context)
{
  (void) read_err;
  (void) write_err;
  (void) context;
  abort ();
}

START_TEST (create_has_limits)
{
  struct kcopyd_client *kc = NULL;

  ck_assert_int_eq (kcopyd_client_create (0, &kc), -EINVAL);
  ck_assert_int_eq (kcopyd_client_create ((1U << 20) + 1, &kc), -EINVAL);
  ck_assert_int_eq (kcopyd_client_create (UINT_MAX, &kc), -EINVAL);
  ck_assert_ptr_null (kc);
}
END_TEST

START_TEST (copy_checks_its_arguments)
{
  struct io_region from, dests[9];
  struct kcopyd_client *kc;
  unsigned i;

  setup (1, 64);
  ck_assert_int_eq (kcopyd_client_create (1, &kc), 0);
  from = region (0, 0, 4);
  for (i = 0; i < 9; ++i)
    dests[i] = region (1, 4 * i, 4);
  ck_assert_int_eq (kcopyd_copy (kc, &from, 0, dests, 0, never_called, NULL),
                    -EINVAL);
  ck_assert_int_eq (kcopyd_copy (kc, &from, 9, dests, 0, never_called, NULL),
                    -EINVAL);
  ck_assert_int_eq (kcopyd_copy (kc, &from, UINT_MAX, dests, 0, never_called,
                                 NULL),
                    -EINVAL);
  ck_assert_int_eq (kcopyd_copy (kc, &from, 1, dests, 0, NULL, NULL), -EINVAL);
  for (i = 0; i < 32; ++i)
    if (i != KCOPYD_IGNORE_ERROR)
      ck_assert_int_eq (kcopyd_copy (kc, &from, 1, dests, 1U << i, never_called,
                                     NULL),
                        -EINVAL);
  for (i = 0; i < 8; ++i) {
    dests[i].count = 5;
    ck_assert_int_eq (kcopyd_copy (kc, &from, 8, dests, 0, never_called, NULL),
                      -EINVAL);
    dests[i].count = 4;
  }
  kcopyd_client_destroy (kc);
  ck_assert_uint_eq (fault_trace_count (trace), 0);
  teardown ();
}
END_TEST

static void
never_called_by_dm_io (unsigned long bits, void *context)
{
  (void) bits;
  (void) context;
  abort ();
}

/* All that was reserved has been put: asynchronous I/O is refused. */
static void
assert_nothing_reserved (void)
{
  ck_assert_int_eq (dm_io_async_vm (0, NULL, DM_IO_READ, NULL,
                                    never_called_by_dm_io, NULL),
                    -EINVAL);
}

/* Allocation K of making a client, copying, and destroying it fails. */
START_TEST (fails_at_every_allocation)
{
  struct io_region from, dest;
  unsigned failures, k;

  setup (1, 64);
  from = region (0, 0, 60);
  dest = region (1, 2, 60);
  for (k = 0, failures = 1; failures > 0; ++k) {
    struct kcopyd_client *kc = NULL;
    struct copy c;
    int r, r_copy = 0;

    copy_init (&c, NULL, NULL);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = kcopyd_client_create (3, &kc);
    if (r == 0) {
      r_copy = kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c);
      kcopyd_client_destroy (kc);
    }
    failures = fault_alloc_stop ();
    if (r != 0) {
      ck_assert_int_eq (r, -ENOMEM);
      ck_assert_ptr_null (kc);
    }
    else if (r_copy != 0)
      ck_assert_int_eq (r_copy, -ENOMEM);
    else { /* it went on without, say, one more thread */
      ck_assert_int_eq (c.read_err, 0);
      ck_assert_uint_eq (c.write_err, 0);
    }
    ck_assert_uint_eq (event_count_get (&c.done), r == 0 && r_copy == 0);
    event_count_destroy (&c.done);
    assert_nothing_reserved ();
  }
  ck_assert_uint_gt (k, 8); /* client, pool, threads, job */
  ck_assert (is_copied (1, 2, 0, 60));
  teardown ();
}
END_TEST

START_TEST (fails_at_every_thread)
{
  struct io_region from, dest;
  unsigned failures, k;

  setup (1, 64);
  from = region (0, 0, 60);
  dest = region (1, 2, 60);
  for (k = 0, failures = 1; failures > 0; ++k) {
    struct kcopyd_client *kc = NULL;
    struct copy c;
    int r, r_copy = 0;

    copy_init (&c, NULL, NULL);
    fault_alloc_fail_once (FAULT_ALLOC_THREADS, k);
    r = kcopyd_client_create (3, &kc);
    if (r == 0) {
      r_copy = kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c);
      kcopyd_client_destroy (kc);
    }
    failures = fault_alloc_stop ();
    ck_assert_int_eq (r, k < 2 ? -EAGAIN : 0);
    assert_nothing_reserved ();
    ck_assert_int_eq (r_copy, 0);
    ck_assert_uint_eq (event_count_get (&c.done), r == 0);
    ck_assert_int_eq (c.read_err, 0);
    ck_assert_uint_eq (c.write_err, 0);
    event_count_destroy (&c.done);
  }
  ck_assert_uint_ge (k, 3);
  ck_assert (is_copied (1, 2, 0, 60));
  teardown ();
}
END_TEST

/* From now on neither memory nor threads: a client goes on with what it
 * has, however long the job.
 */
START_TEST (copying_needs_no_malloc)
{
  struct kcopyd_client *kc;
  struct io_region from, dest;
  struct copy c;
  int r;

  setup (1, 4000);
  from = region (0, 0, 4000);
  dest = region (1, 0, 4000);
  ck_assert_int_eq (kcopyd_client_create (16, &kc), 0);
  copy_init (&c, kc, NULL);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 1); /* one, for the job */
  r = kcopyd_copy (kc, &from, 1, &dest, 0, copy_done, &c);
  event_count_wait (&c.done, r == 0 ? 1 : 0);
  fault_alloc_stop ();
  ck_assert_int_eq (r, 0);
  kcopyd_client_destroy (kc);
  ck_assert_int_eq (c.read_err, 0);
  ck_assert_uint_eq (c.write_err, 0);
  ck_assert (is_copied (1, 0, 0, 4000));
  event_count_destroy (&c.done);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    copies_of_every_size,
    copies_to_several,
    copies_with_a_small_reserve,
    copies_of_nothing,
    slices_have_limits,
    the_kth_call_fails,
    the_kth_call_fails_and_is_ignored,
    the_kth_call_of_parallel_slices_fails,
    nothing_begins_after_an_error,
    errors_add_up,
    every_set_of_destinations_fails,
    regions_outside_their_devices,
    callbacks_on_one_thread_each,
    callbacks_start_jobs_of_other_clients,
    destroy_waits_for_jobs_of_callbacks,
    destroy_waits_for_jobs_in_flight,
    a_slow_callback_delays_callbacks_only,
    jobs_share_the_reserve,
    jobs_wait_in_order,
    slices_run_at_once,
    a_job_that_has_begun_goes_first,
    many_threads_copy_at_once,
    create_has_limits,
    copy_checks_its_arguments,
    fails_at_every_allocation,
    fails_at_every_thread,
    copying_needs_no_malloc,
    NULL,
  };

  return unit_main ("kcopyd", tests);
}
