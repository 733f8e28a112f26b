/* Unit tests of the exception store: commits.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "exception-store-test.h"

/*----- the order of things ---------------------------------------------*/

/* Data, flush, and only then the record, with FUA. */
START_TEST (commit_flushes_data_before_records)
{
  struct store_test t;
  struct exception made[64];
  char *text;

  store_test_create (&t, 2000, 8);
  fault_trace_reset (t.trace);
  ck_assert_int_eq (make_exceptions (&t, 0, 2, 1, made), 0);
  text = fault_trace_text (t.trace, FAULT_ALL);
  ck_assert_str_eq (text, "cow write 16+1, cow write 24+1, cow flush, "
                          "cow write 8+1 fua");
  free (text);
  /* 40 more records: the sectors of the area that they touch. */
  ck_assert_int_eq (make_exceptions (&t, 2, 40, 1, made), 0);
  fault_trace_reset (t.trace);
  ck_assert_int_eq (make_exceptions (&t, 42, 22, 1, made), 0);
  text = fault_trace_text (t.trace, FAULT_FLUSH | FAULT_ZERO);
  ck_assert_str_eq (text, "cow flush");
  free (text);
  text = fault_trace_text (t.trace, FAULT_WRITE);
  ck_assert_ptr_nonnull (strstr (text, ", cow write 9+1 fua"));
  free (text);
  /* Nothing to do is nothing done. */
  fault_trace_reset (t.trace);
  ck_assert_int_eq (exception_store_commit (t.store, NULL, 0), 0);
  ck_assert_uint_eq (fault_trace_count (t.trace), 0);
  store_test_destroy (&t);
}
END_TEST

struct committer {
  struct thread thread;
  struct exception_store *store;
  struct exception exceptions[64];
  unsigned count;
  atomic_bool is_done;
  int result;
};

static void
committer_main (void *arg)
{
  struct committer *c = arg;

  c->result = exception_store_commit (c->store, c->exceptions, c->count);
  atomic_store (&c->is_done, true);
}

/* Allocate for COUNT exceptions, with data, and commit on a thread. */
static void
committer_start (struct committer *c, struct store_test *t, uint64_t first,
                 unsigned count)
{
  sector_t chunk_sectors = exception_store_chunk_sectors (t->store);
  unsigned i;

  c->store = t->store;
  c->count = count;
  atomic_store (&c->is_done, false);
  for (i = 0; i < count; ++i) {
    c->exceptions[i].old_chunk = first + i;
    ck_assert_int_eq (exception_store_allocate (t->store,
                                                &c->exceptions[i].new_chunk),
                      0);
    ck_assert_int_eq (write_data (t->cow, chunk_sectors, &c->exceptions[i], 1),
                      0);
  }
  ck_assert_int_eq (thread_start (&c->thread, "commit", committer_main, c), 0);
}

static void
committer_join (struct committer *c, int result)
{
  thread_join (&c->thread);
  ck_assert_int_eq (c->result, result);
}

/* When the write of a record is about to happen, the data and, if the area
 * becomes full, the zeroes of the next one, are durable already.
 */
START_TEST (next_area_is_durable_before_an_area_is_full)
{
  struct store_test t;
  unsigned char sector[SECTOR_SIZE];
  struct committer c;
  unsigned i;

  store_test_disk (&t, 100);
  /* Area 1 is chunk 34, and full of garbage. */
  memset (sector, 0x22, sizeof sector);
  fault_bdev_load (t.disk, 34, 1, sector);
  store_test_format (&t, 1);
  fault_bdev_gate_shut (t.disk, FAULT_WRITE, 1, 1);
  committer_start (&c, &t, 0, 32);
  fault_bdev_gate_wait (t.disk, 1);
  fault_bdev_look_durable (t.disk, 34, 1, sector);
  assert_all_bytes (sector, 0, SECTOR_SIZE);
  for (i = 0; i < 32; ++i) {
    fault_bdev_look_durable (t.disk, c.exceptions[i].new_chunk, 1, sector);
    assert_pattern (sector, 1, c.exceptions[i].old_chunk, 1);
  }
  ck_assert (!atomic_load (&c.is_done));
  fault_bdev_gate_open (t.disk);
  committer_join (&c, 0);
  store_test_reopen (&t);
  ck_assert_uint_eq (loaded.count, 32);
  store_test_destroy (&t);
}
END_TEST

/*----- many at once ----------------------------------------------------*/

#define WAITERS 4

struct crowd {
  struct committer first, others[WAITERS];
};

/* A commit of FIRST_COUNT exceptions is held at its flush; meanwhile others
 * come, of OTHERS_COUNT each.
 */
static void
crowd_start (struct crowd *c, struct store_test *t, unsigned first_count,
             unsigned others_count)
{
  unsigned i;

  fault_bdev_gate_shut (t->disk, FAULT_FLUSH, 0, 0);
  committer_start (&c->first, t, 1000, first_count);
  fault_bdev_gate_wait (t->disk, 1);
  for (i = 0; i < WAITERS; ++i)
    committer_start (&c->others[i], t, 2000 + 20 * i, others_count);
}

/* They go on, and all end with RESULT. */
static void
crowd_finish (struct crowd *c, struct store_test *t, int result)
{
  unsigned i;

  fault_bdev_gate_open (t->disk);
  committer_join (&c->first, result);
  for (i = 0; i < WAITERS; ++i)
    committer_join (&c->others[i], result);
}

/* Who comes while a commit is at work shares the next one.  That the others
 * have come cannot be seen from outside, so they get a moment, and several
 * chances.
 */
START_TEST (those_who_wait_share_one_flush)
{
  unsigned round;
  bool shared = false;

  for (round = 0; round < 50 && !shared; ++round) {
    struct store_test t;
    struct crowd crowd;
    unsigned i;

    store_test_create (&t, 400, 1);
    crowd_start (&crowd, &t, 3, 10);
    for (i = 0; i < 1 + round; ++i)
      short_wait ();
    for (i = 0; i < WAITERS; ++i)
      ck_assert (!atomic_load (&crowd.others[i].is_done));
    crowd_finish (&crowd, &t, 0);
    /* 3 + 40 records fill one area: the others need two flushes. */
    shared = fault_bdev_calls (t.disk, FAULT_FLUSH) == 3;
    store_test_reopen (&t);
    ck_assert_uint_eq (loaded.count, 3 + 10 * WAITERS);
    store_test_destroy (&t);
  }
  ck_assert (shared);
}
END_TEST

struct random_committer {
  struct thread thread;
  struct store_test *t;
  struct chance chance;
  uint64_t first;
  unsigned count;
  int result;
};

static void
random_committer_main (void *arg)
{
  struct random_committer *c = arg;
  struct exception made[10];
  unsigned done = 0;

  while (done < c->count && c->result == 0) {
    unsigned n = 1 + (unsigned) chance_below (&c->chance, 10);

    n = MIN_OF (n, c->count - done);
    c->result = make_exceptions (c->t, c->first + done, n, 1, made);
    done += n;
  }
}

START_TEST (many_threads_commit_at_once)
{
  struct chance chance = chance_begin ("many_threads_commit_at_once");
  struct store_test t;
  struct random_committer c[4] = { { .count = 0 } };
  bool seen[2000] = { false };
  unsigned i;

  store_test_create (&t, 3000, 1);
  for (i = 0; i < ARRAY_COUNT (c); ++i) {
    c[i] = (struct random_committer){
      .t = &t,
      .chance = { chance_next (&chance) },
      .first = i * 500,
      .count = 500,
    };
    ck_assert_int_eq (thread_start (&c[i].thread, "commit",
                                    random_committer_main, &c[i]),
                      0);
  }
  for (i = 0; i < ARRAY_COUNT (c); ++i) {
    thread_join (&c[i].thread);
    ck_assert_int_eq (c[i].result, 0);
  }
  store_test_reopen (&t);
  ck_assert_uint_eq (loaded.count, ARRAY_COUNT (seen));
  for (i = 0; i < loaded.count; ++i) {
    const struct exception *e = &loaded.exceptions[i];

    ck_assert_uint_lt (e->old_chunk, ARRAY_COUNT (seen));
    ck_assert (!seen[e->old_chunk]);
    seen[e->old_chunk] = true;
    ck_assert (has_data (t.disk, 1, e, 1));
  }
  store_test_destroy (&t);
}
END_TEST

/*----- errors ----------------------------------------------------------*/

/* The k-th call of a commit fails: all who wait get the error, later
 * commits too, nothing more is written, and the store can be loaded with
 * what was committed before.
 */
START_TEST (after_a_failed_commit_nothing_is_committed)
{
  static const unsigned ops[] = { FAULT_FLUSH, FAULT_WRITE };
  unsigned o, last;

  /* One record more; the last of an area, whose zeroing can fail, too. */
  for (last = 0; last < 2; ++last)
    for (o = 0; o < ARRAY_COUNT (ops); ++o) {
      struct store_test t;
      struct crowd crowd;
      struct exception made[32];
      unsigned before = last ? 31 : 5, calls;

      store_test_create (&t, 400, 1);
      ck_assert_int_eq (make_exceptions (&t, 0, before, 1, made), 0);

      crowd_start (&crowd, &t, 1, 2);
      fault_bdev_add_rule (t.disk, &(struct fault_rule){ .ops = ops[o],
                                                         .times = 1,
                                                         .error = -ENOSPC });
      calls = fault_bdev_calls (t.disk, FAULT_WRITE | FAULT_ZERO);
      crowd_finish (&crowd, &t, -ENOSPC);
      ck_assert_uint_le (fault_bdev_calls (t.disk, FAULT_WRITE | FAULT_ZERO),
                         calls + 1);
      fault_bdev_heal (t.disk);
      made[0] = (struct exception){ 5000, 0 };
      ck_assert_int_eq (exception_store_allocate (t.store, &made[0].new_chunk),
                        0);
      calls = fault_bdev_calls (t.disk, FAULT_ALL);
      ck_assert_int_eq (exception_store_commit (t.store, made, 1), -ENOSPC);
      ck_assert_uint_eq (fault_bdev_calls (t.disk, FAULT_ALL), calls);
      store_test_reopen (&t);
      ck_assert_uint_eq (loaded.count, before);
      store_test_destroy (&t);
    }
}
END_TEST

START_TEST (a_next_area_that_cannot_be_zeroed_fails_the_commit)
{
  struct store_test t;
  struct exception made[32];

  store_test_create (&t, 400, 1);
  fault_bdev_fail_range (t.disk, FAULT_WRITE | FAULT_ZERO, 34, 1);
  ck_assert_int_eq (make_exceptions (&t, 0, 31, 1, made), 0);
  ck_assert_int_eq (make_exceptions (&t, 31, 1, 1, made), -EIO);
  store_test_reopen (&t);
  ck_assert_uint_eq (loaded.count, 31);
  store_test_destroy (&t);
}
END_TEST

START_TEST (invalidate_is_durable_and_changes_nothing_else)
{
  struct store_test t;
  unsigned char header[SECTOR_SIZE], was[SECTOR_SIZE];
  struct exception made[5];

  store_test_create (&t, 400, 8);
  ck_assert (exception_store_is_valid (t.store));
  ck_assert_int_eq (make_exceptions (&t, 0, 5, 1, made), 0);
  fault_bdev_look_durable (t.disk, 0, 1, was);
  ck_assert_int_eq (exception_store_invalidate (t.store), 0);
  ck_assert (!exception_store_is_valid (t.store));
  fault_bdev_look_durable (t.disk, 0, 1, header);
  was[4] = 0;
  ck_assert_mem_eq (header, was, SECTOR_SIZE);
  store_test_close (&t);
  fault_bdev_crash (t.disk, NULL, NULL);

  t.store = must_open (t.cow, 8);
  ck_assert (!exception_store_is_valid (t.store));
  ck_assert_uint_eq (loaded.count, 5); /* older snapshots may need them */
  fault_bdev_fail_from (t.disk, FAULT_WRITE, 0);
  ck_assert_int_eq (exception_store_invalidate (t.store), -EIO);
  store_test_destroy (&t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    commit_flushes_data_before_records,
    next_area_is_durable_before_an_area_is_full,
    those_who_wait_share_one_flush,
    many_threads_commit_at_once,
    after_a_failed_commit_nothing_is_committed,
    a_next_area_that_cannot_be_zeroed_fails_the_commit,
    invalidate_is_durable_and_changes_nothing_else,
    NULL,
  };

  return unit_main ("exception_store_commit", tests);
}
