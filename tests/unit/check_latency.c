/* Unit tests of the histograms of requests.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "bits.h"
#include "latency.h"
#include "test-util.h"

START_TEST (each_goes_into_its_bucket)
{
  static const struct {
    uint64_t ns;
    unsigned bucket;
  } cases[] = {
    { 0, 0 },
    { 1, 0 },
    { LATENCY_FIRST_NS, 0 },
    { LATENCY_FIRST_NS + 1, 1 },
    { LATENCY_FIRST_NS << 1, 1 },
    { (LATENCY_FIRST_NS << 1) + 1, 2 },
    { LATENCY_FIRST_NS << (LATENCY_BUCKETS - 2), LATENCY_BUCKETS - 2 },
    { (LATENCY_FIRST_NS << (LATENCY_BUCKETS - 2)) + 1, LATENCY_BUCKETS - 1 },
    { UINT64_MAX / 2, LATENCY_BUCKETS - 1 },
  };
  unsigned i, j;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct latency *latency;
    struct latency_counts counts;

    ck_assert_int_eq (latency_create (&latency), 0);
    latency_add (latency, LATENCY_WRITE, cases[i].ns);
    latency_get (latency, LATENCY_WRITE, &counts);
    for (j = 0; j < LATENCY_BUCKETS; ++j)
      ck_assert_uint_eq (counts.buckets[j], j == cases[i].bucket);
    ck_assert_uint_eq (counts.sum_ns, cases[i].ns);
    latency_get (latency, LATENCY_READ, &counts);
    ck_assert_uint_eq (counts.sum_ns, 0);
    latency_destroy (latency);
  }
}
END_TEST

/* More threads than shards, and none of what they add is lost. */
#define THREADS 24
#define EACH 5000

static void
add_many (void *arg)
{
  unsigned i;

  for (i = 0; i < EACH; ++i)
    latency_add (arg, LATENCY_READ, 10000);
}

START_TEST (nothing_is_lost_between_threads)
{
  struct thread threads[THREADS];
  struct latency *latency;
  struct latency_counts counts;
  unsigned i;

  ck_assert_int_eq (latency_create (&latency), 0);
  for (i = 0; i < THREADS; ++i)
    ck_assert_int_eq (thread_start (&threads[i], "adder", add_many, latency),
                      0);
  for (i = 0; i < THREADS; ++i)
    thread_join (&threads[i]);
  latency_get (latency, LATENCY_READ, &counts);
  ck_assert_uint_eq (counts.buckets[1], THREADS * EACH);
  ck_assert_uint_eq (counts.sum_ns, UINT64_C (10000) * THREADS * EACH);
  latency_destroy (latency);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    each_goes_into_its_bucket,
    nothing_is_lost_between_threads,
    NULL,
  };

  return unit_main ("latency", tests);
}
