/* Which chunks of a device have moved, and whereto: in memory.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Old chunks are grouped by 256.  A group is a sorted array of runs, each
 * one word:
 *
 *     63..56 first old chunk, inside the group
 *     55..48 length of the run, less 1
 *     47..0  first new chunk
 *
 * so that comparing words compares old chunks.  A directory with a
 * pointer for each group leads there without a search.
 *
 * Invariants of a group:
 * (1) runs are sorted and do not overlap;
 * (2) no two neighbouring runs could be one.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "exception-table.h"

#define GROUP_SHIFT 8
#define GROUP_CHUNKS (1U << GROUP_SHIFT)

#define NEW_CHUNK_MASK (EXCEPTION_NEW_CHUNK_MAX - 1)

struct group {
  unsigned run_count;
  unsigned run_capacity;
  uint64_t runs[];
};

struct exception_table {
  uint64_t chunk_count;
  uint64_t exception_count;
  uint64_t group_count;
  bool has_groups; /* there are some, or have been */
  struct group **groups;
};

static unsigned
run_first (uint64_t run)
{
  return (unsigned) (run >> 56);
}

static unsigned
run_length (uint64_t run)
{
  return (unsigned) (run >> 48 & 0xff) + 1;
}

static uint64_t
run_new_chunk (uint64_t run)
{
  return run & NEW_CHUNK_MASK;
}

static uint64_t
make_run (unsigned first, unsigned length, uint64_t new_chunk)
{
  return (uint64_t) first << 56 | (uint64_t) (length - 1) << 48 | new_chunk;
}

/* True if B begins where A ends, old and new. */
static bool
runs_join (uint64_t a, uint64_t b)
{
  return run_first (a) + run_length (a) == run_first (b) &&
         run_new_chunk (a) + run_length (a) == run_new_chunk (b);
}

int
exception_table_create (uint64_t chunk_count, struct exception_table **table)
{
  struct exception_table *t = calloc (1, sizeof *t);

  if (t == NULL)
    return -ENOMEM;
  t->chunk_count = chunk_count;
  t->group_count = chunk_count / GROUP_CHUNKS + 1;
  t->groups = calloc (t->group_count, sizeof t->groups[0]);
  if (t->groups == NULL) {
    free (t);
    return -ENOMEM;
  }
  *table = t;
  return 0;
}

void
exception_table_destroy (struct exception_table *table)
{
  uint64_t i;

  if (table == NULL)
    return;
  /* Of a large device without any, they are not even looked at. */
  if (table->has_groups)
    for (i = 0; i < table->group_count; ++i)
      free (table->groups[i]);
  free (table->groups);
  free (table);
}

/* The number of runs that begin at or before old chunk LOW. */
static unsigned
runs_up_to (const struct group *g, unsigned low)
{
  unsigned begin = 0, end = g->run_count;

  while (begin < end) {
    unsigned middle = begin + (end - begin) / 2;

    if (run_first (g->runs[middle]) <= low)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

/* Make room for one more run in *GROUP, which may be NULL. */
static int
grow_group (struct group **group)
{
  struct group *g = *group;
  unsigned capacity = g == NULL ? 0 : g->run_capacity;

  if (g != NULL && g->run_count < capacity)
    return 0;
  /* By a quarter: most of the memory of a large table is here. */
  capacity += MAX_OF (capacity / 4, 1);
  g = realloc (g, sizeof *g + capacity * sizeof g->runs[0]);
  if (g == NULL)
    return -ENOMEM;
  if (*group == NULL)
    g->run_count = 0;
  g->run_capacity = capacity;
  *group = g;
  return 0;
}

int
exception_table_insert (struct exception_table *table, uint64_t old_chunk,
                        uint64_t new_chunk)
{
  struct group **slot;
  struct group *g;
  unsigned low = old_chunk % GROUP_CHUNKS;
  uint64_t run = make_run (low, 1, new_chunk & NEW_CHUNK_MASK);
  bool joins_left, joins_right;
  unsigned at;

  if (old_chunk >= table->chunk_count || new_chunk > NEW_CHUNK_MASK)
    return -ERANGE;
  slot = &table->groups[old_chunk >> GROUP_SHIFT];
  if (grow_group (slot) < 0)
    return -ENOMEM;
  table->has_groups = true;
  g = *slot;

  at = runs_up_to (g, low);
  if (at > 0 &&
      low < run_first (g->runs[at - 1]) + run_length (g->runs[at - 1]))
    return -EEXIST;

  joins_left = at > 0 && runs_join (g->runs[at - 1], run);
  joins_right = at < g->run_count && runs_join (run, g->runs[at]);
  if (joins_left) {
    g->runs[at - 1] = make_run (run_first (g->runs[at - 1]),
                                run_length (g->runs[at - 1]) + 1,
                                run_new_chunk (g->runs[at - 1]));
    if (joins_right) {
      g->runs[at - 1] = make_run (run_first (g->runs[at - 1]),
                                  run_length (g->runs[at - 1]) +
                                    run_length (g->runs[at]),
                                  run_new_chunk (g->runs[at - 1]));
      g->run_count--;
      memmove (&g->runs[at], &g->runs[at + 1],
               (g->run_count - at) * sizeof g->runs[0]);
    }
  }
  else if (joins_right)
    g->runs[at] = make_run (low, run_length (g->runs[at]) + 1, new_chunk);
  else {
    memmove (&g->runs[at + 1], &g->runs[at],
             (g->run_count - at) * sizeof g->runs[0]);
    g->runs[at] = run;
    g->run_count++;
  }
  table->exception_count++;
  return 0;
}

int
exception_table_reserve (struct exception_table *table, uint64_t old_chunk,
                         uint64_t count)
{
  uint64_t group = old_chunk >> GROUP_SHIFT;
  uint64_t last = (old_chunk + count - 1) >> GROUP_SHIFT;

  /* A run of a group may become two, once. */
  for (; group <= last; ++group)
    if (grow_group (&table->groups[group]) < 0)
      return -ENOMEM;
  return 0;
}

void
exception_table_remove (struct exception_table *table, uint64_t old_chunk)
{
  struct group *g = table->groups[old_chunk >> GROUP_SHIFT];
  unsigned low = old_chunk % GROUP_CHUNKS;
  unsigned at = runs_up_to (g, low) - 1;
  uint64_t run = g->runs[at];
  unsigned before = low - run_first (run);
  unsigned after = run_length (run) - before - 1;

  assert (low < run_first (run) + run_length (run));
  if (before > 0 && after > 0) { /* a piece of it becomes one of its own */
    assert (g->run_count < g->run_capacity);
    memmove (&g->runs[at + 1], &g->runs[at],
             (g->run_count - at) * sizeof g->runs[0]);
    g->run_count++;
  }
  if (before > 0)
    g->runs[at++] = make_run (run_first (run), before, run_new_chunk (run));
  if (after > 0)
    g->runs[at] = make_run (low + 1, after, run_new_chunk (run) + before + 1);
  if (before == 0 && after == 0) {
    g->run_count--;
    memmove (&g->runs[at], &g->runs[at + 1],
             (g->run_count - at) * sizeof g->runs[0]);
  }
  table->exception_count--;
}

/* Chunks without exceptions from OLD_CHUNK on, whose group has none from
 * there on.
 */
static uint64_t
unmapped_count (const struct exception_table *table, uint64_t old_chunk,
                uint64_t max)
{
  uint64_t group = (old_chunk >> GROUP_SHIFT) + 1;
  uint64_t count = GROUP_CHUNKS - old_chunk % GROUP_CHUNKS;

  while (count < max && group < table->group_count) {
    const struct group *g = table->groups[group];

    if (g != NULL && g->run_count > 0) {
      count += run_first (g->runs[0]);
      break;
    }
    count += GROUP_CHUNKS;
    group++;
  }
  return MIN_OF (count, max);
}

struct exception_run
exception_table_lookup (const struct exception_table *table, uint64_t old_chunk,
                        uint64_t max)
{
  const struct group *g = table->groups[old_chunk >> GROUP_SHIFT];
  unsigned low = old_chunk % GROUP_CHUNKS;
  unsigned after = g == NULL ? 0 : runs_up_to (g, low);

  if (after > 0) {
    uint64_t run = g->runs[after - 1];
    unsigned end = run_first (run) + run_length (run);

    if (low < end) {
      uint64_t count = end - low;

      return (struct exception_run){
        .is_mapped = true,
        .new_chunk = run_new_chunk (run) + (low - run_first (run)),
        .count = MIN_OF (count, max),
      };
    }
  }
  if (g != NULL && after < g->run_count) {
    uint64_t count = run_first (g->runs[after]) - low;

    return (struct exception_run){ .count = MIN_OF (count, max) };
  }
  return (struct exception_run){
    .count = unmapped_count (table, old_chunk, max),
  };
}

uint64_t
exception_table_count (const struct exception_table *table)
{
  return table->exception_count;
}
