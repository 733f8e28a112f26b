/* Unit tests of dm-io: the k-th call fails, of every kind of request.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Every operation, with every kind of memory, synchronous and not, on every
 * kind of disk; and the same for the k-th allocation.
 */

#include <config.h>

#include "dm-io-test.h"
#include "fault-alloc.h"

#define REQUEST_DISKS 3
#define COUNT ((sector_t) 6)

static const struct {
  int rw;
  bool is_bare; /* of what is done by writing zeroes */
} kinds[] = {
  { DM_IO_READ, false },
  { DM_IO_WRITE, false },
  { DM_IO_WRITE | DM_IO_FUA, false },
  { DM_IO_WRITE | DM_IO_PREFLUSH | DM_IO_FUA, false },
  { DM_IO_FLUSH, false },
  { DM_IO_DISCARD, false },
  { DM_IO_DISCARD | DM_IO_PREFLUSH, false },
  { DM_IO_WRITE_ZEROES, false },
  { DM_IO_WRITE_ZEROES | DM_IO_PREFLUSH | DM_IO_FUA | DM_IO_UNMAP, false },
  { DM_IO_WRITE_ZEROES, true },
};

static struct memory
small_memory (enum memory_kind kind)
{
  return kind == VECTOR ? memory_of_vector (COUNT * 512, small_pieces)
                        : memory_of_kind (kind, COUNT * 512);
}

/* Disks and io_regions for a request of KIND; returns how many. */
static unsigned
setup_request (unsigned kind, struct io_region where[REQUEST_DISKS])
{
  unsigned i;

  setup_disks (REQUEST_DISKS, 20);
  for (i = 0; i < REQUEST_DISKS; ++i) {
    if (kinds[kind].is_bare)
      fault_bdev_add_rule (disks[i],
                           &(struct fault_rule){ .ops = FAULT_ZERO,
                                                 .error = -EOPNOTSUPP });
    where[i] = region (i, 9 + i, COUNT);
  }
  return kinds[kind].rw == DM_IO_READ ? 1 : REQUEST_DISKS;
}

/* What was to be done on disk I has been, or nothing there was. */
static void
assert_done (unsigned kind, const struct memory *m, const struct io_region *w,
             unsigned i)
{
  char data[COUNT * 512];

  fault_bdev_look (disks[i], w->sector, COUNT, data);
  switch (kinds[kind].rw & DM_IO_OP_MASK) {
  case DM_IO_READ:
    assert_memory_pattern (m, 1000, w->sector);
    break;
  case DM_IO_WRITE:
    assert_pattern (data, 1, (sector_t) 0, COUNT);
    break;
  case DM_IO_FLUSH:
    assert_pattern (data, 1000 + i, w->sector, COUNT);
    break;
  default:
    assert_all_bytes (data, 0, sizeof data);
    break;
  }
}

/* Call K of disk J fails.  Returns false if there was no such call. */
static bool
fail_call (unsigned kind, enum memory_kind memory_kind, bool is_async,
           unsigned j, unsigned k)
{
  struct memory m = small_memory (memory_kind);
  struct io_region where[REQUEST_DISKS];
  unsigned long bits, expected;
  unsigned ops = kinds[kind].is_bare ? FAULT_ALL & ~FAULT_ZERO : FAULT_ALL;
  unsigned n = setup_request (kind, where);
  unsigned i;
  bool has_failed;
  int r;

  memory_fill (&m, 1);
  fault_bdev_fail_once (disks[j], ops, k);
  r = call_dm_io (is_async, n, where, kinds[kind].rw, &m, &bits);
  has_failed = fault_bdev_calls (disks[j], ops) > k;
  expected = has_failed ? 1UL << j : 0;
  ck_assert_uint_eq (bits, expected);
  ck_assert_int_eq (r, expected != 0 ? -EIO : 0);
  for (i = 0; i < n; ++i)
    if (!(bits >> i & 1))
      assert_done (kind, &m, &where[i], i);
  if (has_failed && kinds[kind].rw == DM_IO_READ)
    assert_memory_zero (&m);
  /* That was the last call of its io_region. */
  if (has_failed)
    ck_assert_uint_eq (fault_bdev_calls (disks[j], ops), k + 1);
  memory_free (&m);
  teardown ();
  return has_failed;
}

START_TEST (the_kth_call_of_every_request_fails)
{
  unsigned kind, memory_kind, is_async, j, k;

  for (kind = 0; kind < ARRAY_COUNT (kinds); ++kind)
    for (memory_kind = 0; memory_kind < MEMORY_KINDS; ++memory_kind)
      for (is_async = 0; is_async < 2; ++is_async)
        for (j = 0; j < REQUEST_DISKS; ++j) {
          if (j > 0 && kinds[kind].rw == DM_IO_READ)
            continue;
          for (k = 0; fail_call (kind, memory_kind, is_async, j, k); ++k)
            ;
          ck_assert_uint_ge (k, 1);
        }
}
END_TEST

/* A device that fails for good, beside one that fails once: two bits. */
START_TEST (failures_do_not_mix)
{
  unsigned kind, is_async;

  for (kind = 1; kind < ARRAY_COUNT (kinds); ++kind)
    for (is_async = 0; is_async < 2; ++is_async) {
      struct memory m = small_memory (VECTOR);
      struct io_region where[REQUEST_DISKS];
      unsigned long bits;
      unsigned n = setup_request (kind, where);

      memory_fill (&m, 1);
      fault_bdev_heal (disks[0]);
      fault_bdev_fail_from (disks[0], FAULT_ALL, 0);
      fault_bdev_heal (disks[2]);
      fault_bdev_fail_once (disks[2], FAULT_ALL, 0);
      ck_assert_int_eq (call_dm_io (is_async, n, where, kinds[kind].rw, &m,
                                    &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1 << 0 | 1 << 2);
      assert_done (kind, &m, &where[1], 1);
      memory_free (&m);
      teardown ();
    }
}
END_TEST

/* Synchronous requests need no memory at all. */
START_TEST (synchronous_requests_allocate_nothing)
{
  unsigned kind, memory_kind;

  for (kind = 0; kind < ARRAY_COUNT (kinds); ++kind)
    for (memory_kind = 0; memory_kind < MEMORY_KINDS; ++memory_kind) {
      struct memory m = small_memory (memory_kind);
      struct io_region where[REQUEST_DISKS];
      unsigned long bits;
      unsigned n = setup_request (kind, where);
      unsigned i, failures;
      int r;

      memory_fill (&m, 1);
      fault_alloc_fail_from (FAULT_ALLOC_MEMORY | FAULT_ALLOC_THREADS, 0);
      r = call_dm_io (false, n, where, kinds[kind].rw, &m, &bits);
      failures = fault_alloc_stop ();
      ck_assert_int_eq (r, 0);
      ck_assert_uint_eq (bits, 0);
      /* The disk's own threads, where it has some. */
      if (disk_kind != IN_FLIGHT_ELSEWHERE && disk_kind != MIXED)
        ck_assert_uint_eq (failures, 0);
      for (i = 0; i < n; ++i)
        assert_done (kind, &m, &where[i], i);
      memory_free (&m);
      teardown ();
    }
}
END_TEST

/* Asynchronous ones, from dm_io_get to dm_io_put: allocation K or thread K
 * fails, or it and all behind it.  Either the call fails and nothing is
 * done, or all is.
 */
static unsigned
fail_allocation (unsigned kind, unsigned what, unsigned k, bool for_ever)
{
  struct memory m = small_memory (VECTOR);
  struct completion c = { .bits = UNTOUCHED };
  struct io_region where[REQUEST_DISKS];
  unsigned n = setup_request (kind, where);
  unsigned i, failures;
  int r;

  memory_fill (&m, 1);
  event_count_init (&c.calls);
  if (for_ever)
    fault_alloc_fail_from (what, k);
  else
    fault_alloc_fail_once (what, k);
  r = dm_io_get (2);
  if (r == 0) {
    r = submit (n, where, kinds[kind].rw, &m, note_completion, &c);
    if (r == 0)
      event_count_wait (&c.calls, 1);
    dm_io_put (2);
  }
  failures = fault_alloc_stop ();
  ck_assert_uint_eq (event_count_get (&c.calls), r == 0);
  if (r == 0) {
    ck_assert_uint_eq (c.bits, 0);
    for (i = 0; i < n; ++i)
      assert_done (kind, &m, &where[i], i);
  }
  else {
    ck_assert (r == -ENOMEM || r == -EAGAIN);
    ck_assert_uint_gt (failures, 0);
    for (i = 0; i < REQUEST_DISKS; ++i)
      ck_assert_uint_eq (fault_bdev_calls (disks[i], FAULT_ALL), 0);
    assert_memory_pattern (&m, 1, 0);
  }
  event_count_destroy (&c.calls);
  memory_free (&m);
  teardown ();
  return failures;
}

START_TEST (the_kth_allocation_of_every_request_fails)
{
  static const unsigned whats[] = { FAULT_ALLOC_MEMORY, FAULT_ALLOC_THREADS };
  unsigned kind, what, k, for_ever;

  for (kind = 0; kind < ARRAY_COUNT (kinds); ++kind)
    for (what = 0; what < ARRAY_COUNT (whats); ++what)
      for (for_ever = 0; for_ever < 2; ++for_ever) {
        for (k = 0; fail_allocation (kind, whats[what], k, for_ever) > 0; ++k)
          ;
        ck_assert_uint_ge (k, 1);
      }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    the_kth_call_of_every_request_fails,
    failures_do_not_mix,
    synchronous_requests_allocate_nothing,
    the_kth_allocation_of_every_request_fails,
    NULL,
  };

  return dm_io_main ("dm-io-faults", tests);
}
