/* Unit tests of memory in pieces, and of memory that is lent.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "bounce.h"
#include "fault-alloc.h"
#include "target-test.h"
#include "vector.h"

static char memory[64];

/* abc, nothing, d, nothing, efghij. */
static const struct iovec pieces[] = {
  { memory, 3 },      { memory + 3, 0 },  { memory + 20, 1 },
  { memory + 21, 0 }, { memory + 40, 6 },
};
#define PIECES ((int) ARRAY_COUNT (pieces))

static void
fill (void)
{
  memset (memory, '.', sizeof memory);
  vector_scatter (pieces, PIECES, 0, "abcdefghij", 10);
}

START_TEST (bytes_of_a_vector)
{
  ck_assert_uint_eq (vector_bytes (pieces, PIECES), 10);
  ck_assert_uint_eq (vector_bytes (pieces, 0), 0);
}
END_TEST

START_TEST (alignment_of_a_vector)
{
  static _Alignas(64) char aligned[256];
  const struct iovec both[] = { { aligned, 64 }, { aligned + 128, 32 } };
  const struct iovec odd[] = { { aligned, 64 }, { aligned + 16, 64 } };

  ck_assert (vector_is_aligned (both, 2, 64, 32));
  ck_assert (!vector_is_aligned (both, 2, 64, 64));
  ck_assert (vector_is_aligned (both, 1, 64, 64));
  ck_assert (vector_is_aligned (odd, 2, 16, 64));
  ck_assert (!vector_is_aligned (odd, 2, 32, 64));
  ck_assert (vector_is_aligned (odd, 0, 4096, 4096));
}
END_TEST

START_TEST (every_part_can_be_copied)
{
  size_t skip, len;

  fill ();
  ck_assert_mem_eq (memory, "abc.", 4);
  ck_assert_mem_eq (memory + 19, ".d.", 3);
  ck_assert_mem_eq (memory + 39, ".efghij.", 8);
  for (skip = 0; skip <= 10; ++skip)
    for (len = 0; len <= 10 - skip; ++len) {
      char out[12] = "------------";
      char back[10];

      fill ();
      vector_gather (pieces, PIECES, skip, out + 1, len);
      ck_assert_mem_eq (out + 1, &"abcdefghij"[skip], len);
      ck_assert_int_eq (out[0], '-');
      ck_assert_int_eq (out[len + 1], '-');
      vector_scatter (pieces, PIECES, skip, "ABCDEFGHIJ", len);
      vector_gather (pieces, PIECES, 0, back, 10);
      ck_assert_mem_eq (back, "abcdefghij", skip);
      ck_assert_mem_eq (back + skip, "ABCDEFGHIJ", len);
      ck_assert_mem_eq (back + skip + len, &"abcdefghij"[skip + len],
                        10 - skip - len);
    }
}
END_TEST

START_TEST (every_part_can_be_described)
{
  size_t skip, len;

  fill ();
  for (skip = 0; skip <= 10; ++skip)
    for (len = 0; len <= 10 - skip; ++len) {
      struct iovec slice[PIECES];
      int n = vector_slice (pieces, PIECES, skip, len, slice);
      char out[10];

      ck_assert_int_le (n, 3); /* nothing is no piece */
      ck_assert_uint_eq (vector_bytes (slice, n), len);
      vector_gather (slice, n, 0, out, len);
      ck_assert_mem_eq (out, &"abcdefghij"[skip], len);
    }
}
END_TEST

/*----- memory that is lent ---------------------------------------------*/

START_TEST (memory_is_aligned)
{
  struct bounce bounce;
  size_t bytes = 10000;
  char *lent, *more;

  ck_assert_int_eq (bounce_init (&bounce, 8192), 0);
  lent = bounce_get (&bounce, &bytes);
  more = bounce_get (&bounce, &bytes);
  ck_assert_uint_eq (bytes, 10000);
  ck_assert_uint_eq ((uintptr_t) lent % BOUNCE_ALIGN, 0);
  ck_assert_ptr_ne (lent, more);
  memset (lent, 1, bytes);
  memset (more, 2, bytes);
  bounce_put (&bounce, lent);
  bounce_put (&bounce, more);
  bounce_destroy (&bounce);
}
END_TEST

START_TEST (making_the_reserve_may_fail)
{
  struct bounce bounce;

  fault_alloc_fail_once (FAULT_ALLOC_MEMORY, 0);
  ck_assert_int_eq (bounce_init (&bounce, 8192), -ENOMEM);
  ck_assert_uint_eq (fault_alloc_stop (), 1);
}
END_TEST

struct borrower {
  struct thread thread;
  struct bounce *bounce;
  struct event_count *may_start;
  atomic_uint *users;
  bool was_alone;
  size_t bytes;
};

static void
borrow (void *arg)
{
  struct borrower *b = arg;
  void *lent;

  event_count_wait (b->may_start, 1);
  lent = bounce_get (b->bounce, &b->bytes);
  b->was_alone = atomic_fetch_add (b->users, 1) == 0;
  memset (lent, 7, b->bytes);
  atomic_fetch_sub (b->users, 1);
  bounce_put (b->bounce, lent);
}

START_TEST (the_reserve_goes_from_one_to_the_next)
{
  struct borrower borrowers[6];
  struct event_count may_start;
  atomic_uint users = 0;
  struct bounce bounce;
  unsigned i;

  ck_assert_int_eq (bounce_init (&bounce, 8192), 0);
  event_count_init (&may_start);
  for (i = 0; i < ARRAY_COUNT (borrowers); ++i) {
    borrowers[i] = (struct borrower){
      .bounce = &bounce,
      .may_start = &may_start,
      .users = &users,
      .bytes = i % 2 ? 4096 : 100000,
    };
    ck_assert_int_eq (thread_start (&borrowers[i].thread, "borrower", borrow,
                                    &borrowers[i]),
                      0);
  }
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  event_count_add (&may_start);
  for (i = 0; i < ARRAY_COUNT (borrowers); ++i)
    thread_join (&borrowers[i].thread);
  ck_assert_uint_eq (fault_alloc_stop (), ARRAY_COUNT (borrowers));
  for (i = 0; i < ARRAY_COUNT (borrowers); ++i) {
    ck_assert (borrowers[i].was_alone);
    ck_assert_uint_eq (borrowers[i].bytes, i % 2 ? 4096 : 8192);
  }
  bounce_destroy (&bounce);
  event_count_destroy (&may_start);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    bytes_of_a_vector,
    alignment_of_a_vector,
    every_part_can_be_copied,
    every_part_can_be_described,
    memory_is_aligned,
    making_the_reserve_may_fail,
    the_reserve_goes_from_one_to_the_next,
    NULL,
  };

  return unit_main ("vector", tests);
}
