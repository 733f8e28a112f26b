/* Unit tests of the exception table, against a plain array.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>

#include "exception-table.h"
#include "fault-alloc.h"
#include "target-test.h"

#define CHUNKS 700 /* almost three groups */
#define ABSENT UINT64_MAX

struct model {
  struct exception_table *table;
  uint64_t chunk_count;
  uint64_t count;
  uint64_t new_chunks[CHUNKS];
};

static void
model_create (struct model *m, uint64_t chunk_count)
{
  unsigned i;

  m->chunk_count = chunk_count;
  m->count = 0;
  for (i = 0; i < CHUNKS; ++i)
    m->new_chunks[i] = ABSENT;
  ck_assert_int_eq (exception_table_create (chunk_count, &m->table), 0);
}

static void
model_insert (struct model *m, uint64_t old_chunk, uint64_t new_chunk)
{
  int expected = m->new_chunks[old_chunk] == ABSENT ? 0 : -EEXIST;

  if (exception_table_insert (m->table, old_chunk, new_chunk) != expected)
    ck_abort_msg ("inserting chunk %" PRIu64 " is not %d", old_chunk, expected);
  if (expected < 0)
    return;
  m->new_chunks[old_chunk] = new_chunk;
  m->count++;
}

/* What is said about OLD and MAX chunks from there is true. */
static void
check_lookup (const struct model *m, uint64_t old, uint64_t max)
{
  struct exception_run run = exception_table_lookup (m->table, old, max);
  uint64_t i;

  /* Check's own assertions are slow. */
  if (run.count < 1 || run.count > max ||
      run.is_mapped != (m->new_chunks[old] != ABSENT))
    ck_abort_msg ("chunk %" PRIu64 ", at most %" PRIu64, old, max);
  for (i = 0; i < run.count; ++i) {
    uint64_t expected = run.is_mapped ? run.new_chunk + i : ABSENT;

    if (m->new_chunks[old + i] != expected)
      ck_abort_msg ("chunk %" PRIu64 " + %" PRIu64, old, i);
  }
}

static void
check_all (const struct model *m)
{
  uint64_t old, max;

  ck_assert_uint_eq (exception_table_count (m->table), m->count);
  for (old = 0; old < m->chunk_count; ++old)
    for (max = 1; max <= m->chunk_count - old; max += max < 20 ? 1 : 13)
      check_lookup (m, old, max);
}

START_TEST (random_tables_are_as_the_model)
{
  struct chance chance = chance_begin ("random_tables_are_as_the_model");
  unsigned round;

  for (round = 0; round < 60; ++round) {
    static struct model m;
    unsigned inserts = 1U << chance_below (&chance, 10);
    /* So close are the new chunks of neighbours: often, in runs. */
    uint64_t scatter = UINT64_C (1) << 2 * chance_below (&chance, 10);
    uint64_t cluster = 1 + chance_below (&chance, CHUNKS);
    unsigned i;

    model_create (&m, 1 + chance_below (&chance, CHUNKS));
    for (i = 0; i < inserts; ++i) {
      uint64_t old = chance_below (&chance, MIN_OF (cluster, m.chunk_count));

      model_insert (&m, old, 1000 + old + chance_below (&chance, scatter) / 8);
    }
    check_all (&m);
    exception_table_destroy (m.table);
  }
}
END_TEST

/* All orders of three neighbours, everywhere around the border of a group:
 * runs join to the left, to the right and on both sides.
 */
/* Remove runs, from their ends on, and put others in. */
/* Of a table that is empty again nothing is left behind: for the address
 * sanitizer to see.
 */
START_TEST (all_that_was_there_is_removed)
{
  struct exception_table *table;
  unsigned i;

  ck_assert_int_eq (exception_table_create (10000, &table), 0);
  for (i = 0; i < 10000; i += 100)
    ck_assert_int_eq (exception_table_insert (table, i, 2 + i), 0);
  for (i = 0; i < 10000; i += 100)
    exception_table_remove (table, i);
  ck_assert_uint_eq (exception_table_count (table), 0);
  exception_table_destroy (table);
}
END_TEST

START_TEST (what_is_removed_is_gone)
{
  struct chance chance = chance_begin ("what_is_removed_is_gone");
  unsigned round, i;

  for (round = 0; round < 20; ++round) {
    struct model m;

    model_create (&m, CHUNKS);
    for (i = 0; i < 600; ++i) {
      uint64_t old = chance_below (&chance, CHUNKS);
      uint64_t count = 1 + chance_below (&chance, MIN_OF (CHUNKS - old, 40));
      uint64_t new = 2 + chance_below (&chance, 3) * 1000 + old, n;

      if (chance_below (&chance, 2) == 0) {
        for (n = 0; n < count; ++n)
          model_insert (&m, old + n, new + n);
        continue;
      }
      for (n = 0; n < count && m.new_chunks[old + n] != ABSENT; ++n)
        ;
      if (n == 0)
        continue;
      ck_assert_int_eq (exception_table_reserve (m.table, old, n), 0);
      while (n-- > 0) {
        exception_table_remove (m.table, old + n);
        m.new_chunks[old + n] = ABSENT;
        m.count--;
      }
    }
    check_all (&m);
    exception_table_destroy (m.table);
  }
}
END_TEST

START_TEST (neighbours_join_in_any_order)
{
  static const uint64_t orders[6][3] = {
    { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 }
  };
  uint64_t at;
  unsigned order, i;

  for (at = 250; at < 260; ++at)
    for (order = 0; order < 6; ++order) {
      static struct model m;

      model_create (&m, 300);
      /* Others on both sides, which do not join. */
      model_insert (&m, at - 1, 5);
      model_insert (&m, at + 3, 5000);
      for (i = 0; i < 3; ++i)
        model_insert (&m, at + orders[order][i], 100 + orders[order][i]);
      check_all (&m);
      for (i = 0; i < 3; ++i)
        model_insert (&m, at + i, 7); /* all there already */
      exception_table_destroy (m.table);
    }
}
END_TEST

/* New chunks that run backwards or stand still are no run. */
START_TEST (only_rising_neighbours_are_a_run)
{
  static struct model m;
  uint64_t i;

  model_create (&m, CHUNKS);
  for (i = 0; i < 300; ++i)
    model_insert (&m, i, 1000 - i);
  for (i = 300; i < CHUNKS; ++i)
    model_insert (&m, i, 77);
  check_all (&m);
  exception_table_destroy (m.table);
}
END_TEST

/* Whatever the order in which a run came, it is one run in the end, as
 * long as a group is.
 */
START_TEST (runs_are_as_long_as_they_can_be)
{
  uint64_t step, i;

  for (step = 1; step < 256; step += 2) {
    static struct model m;

    model_create (&m, 256);
    for (i = 0; i < 256; ++i)
      model_insert (&m, i * step % 256, 9000 + i * step % 256);
    for (i = 0; i < 256; i += 51) {
      struct exception_run run = exception_table_lookup (m.table, i, 256 - i);

      ck_assert (run.is_mapped);
      ck_assert_uint_eq (run.new_chunk, 9000 + i);
      ck_assert_uint_eq (run.count, 256 - i);
    }
    exception_table_destroy (m.table);
  }
}
END_TEST

START_TEST (numbers_that_are_too_large_are_refused)
{
  static const uint64_t counts[] = { 0, 1, 255, 256, 257 };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (counts); ++i) {
    uint64_t n = counts[i];
    struct exception_table *table;

    ck_assert_int_eq (exception_table_create (n, &table), 0);
    ck_assert_int_eq (exception_table_insert (table, n, 2), -ERANGE);
    ck_assert_int_eq (exception_table_insert (table, UINT64_MAX, 2), -ERANGE);
    ck_assert_int_eq (exception_table_insert (table, 0,
                                              EXCEPTION_NEW_CHUNK_MAX),
                      -ERANGE);
    ck_assert_int_eq (exception_table_insert (table, 0, UINT64_MAX), -ERANGE);
    ck_assert_uint_eq (exception_table_count (table), 0);
    if (n > 0) {
      ck_assert (!exception_table_lookup (table, n - 1, 1).is_mapped);
      ck_assert_int_eq (exception_table_insert (table, n - 1,
                                                EXCEPTION_NEW_CHUNK_MAX - 1),
                        0);
      ck_assert_uint_eq (exception_table_lookup (table, n - 1, 1).new_chunk,
                         EXCEPTION_NEW_CHUNK_MAX - 1);
    }
    exception_table_destroy (table);
  }
  exception_table_destroy (NULL);
}
END_TEST

START_TEST (a_large_table_is_sparse)
{
  const uint64_t chunks = UINT64_C (1) << 24;
  struct exception_table *table;
  struct exception_run run;

  ck_assert_int_eq (exception_table_create (chunks, &table), 0);
  run = exception_table_lookup (table, 0, chunks);
  ck_assert (!run.is_mapped);
  ck_assert_int_eq (exception_table_insert (table, chunks - 1, 3), 0);
  ck_assert_int_eq (exception_table_insert (table, 12345678, 4), 0);
  run = exception_table_lookup (table, chunks - 1, 1);
  ck_assert (run.is_mapped);
  ck_assert_uint_eq (run.new_chunk, 3);
  /* From hole to hole, the whole table is soon seen. */
  run = exception_table_lookup (table, 5, chunks - 5);
  ck_assert (!run.is_mapped);
  ck_assert_uint_eq (run.count, 12345678 - 5);
  ck_assert_uint_eq (exception_table_count (table), 2);
  exception_table_destroy (table);
}
END_TEST

START_TEST (want_of_memory_changes_nothing)
{
  struct exception_table *table = NULL;
  unsigned k, failed = 1, refused = 0;
  uint64_t i;
  int r = 0;

  for (k = 0; failed > 0; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = exception_table_create (CHUNKS, &table);
    failed = fault_alloc_stop ();
    ck_assert_int_eq (r, failed > 0 ? -ENOMEM : 0);
  }
  ck_assert_uint_eq (k, 3);
  for (i = 0; i < 600; i += 2) {
    struct exception_run run;

    fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
    r = exception_table_insert (table, i, 10 + i);
    failed = fault_alloc_stop ();
    if (failed > 0) {
      refused++;
      ck_assert_int_eq (r, -ENOMEM);
      ck_assert (!exception_table_lookup (table, i, 1).is_mapped);
      ck_assert_uint_eq (exception_table_count (table), i / 2);
      ck_assert_int_eq (exception_table_insert (table, i, 10 + i), 0);
    }
    else
      ck_assert_int_eq (r, 0);
    run = exception_table_lookup (table, i, 1);
    ck_assert (run.is_mapped && run.new_chunk == 10 + i);
  }
  ck_assert_uint_gt (refused, 3);
  exception_table_destroy (table);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    random_tables_are_as_the_model,
    all_that_was_there_is_removed,
    what_is_removed_is_gone,
    neighbours_join_in_any_order,
    only_rising_neighbours_are_a_run,
    runs_are_as_long_as_they_can_be,
    numbers_that_are_too_large_are_refused,
    a_large_table_is_sparse,
    want_of_memory_changes_nothing,
    NULL,
  };

  return unit_main ("exception-table", tests);
}
