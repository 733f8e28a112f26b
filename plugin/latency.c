/* How long requests take: histograms that cost next to nothing to fill.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "latency.h"
#include "shard.h"

struct shard {
  struct {
    atomic_ullong buckets[LATENCY_BUCKETS];
    atomic_ullong sum_ns;
  } ops[LATENCY_OPS];
} __attribute__ ((aligned (SHARD_ALIGN)));

struct latency {
  struct shard shards[SHARDS];
};

const char *
latency_op_name (enum latency_op op)
{
  static const char *const names[LATENCY_OPS] = {
    [LATENCY_READ] = "read",   [LATENCY_WRITE] = "write",
    [LATENCY_FLUSH] = "flush", [LATENCY_ZERO] = "zero",
    [LATENCY_TRIM] = "trim",
  };

  return names[op];
}

int
latency_create (struct latency **latency)
{
  struct latency *l;

  if (posix_memalign ((void **) &l, SHARD_ALIGN, sizeof *l) != 0)
    return -ENOMEM;
  memset (l, 0, sizeof *l);
  *latency = l;
  return 0;
}

void
latency_destroy (struct latency *latency)
{
  free (latency);
}

void
latency_reset (struct latency *latency)
{
  unsigned i, op, j;

  for (i = 0; i < SHARDS; ++i)
    for (op = 0; op < LATENCY_OPS; ++op) {
      for (j = 0; j < LATENCY_BUCKETS; ++j)
        atomic_store_explicit (&latency->shards[i].ops[op].buckets[j], 0,
                               memory_order_relaxed);
      atomic_store_explicit (&latency->shards[i].ops[op].sum_ns, 0,
                             memory_order_relaxed);
    }
}

static unsigned
bucket_of (uint64_t ns)
{
  uint64_t q = ns == 0 ? 0 : (ns - 1) / LATENCY_FIRST_NS;
  unsigned bucket = q == 0 ? 0 : 64 - (unsigned) __builtin_clzll (q);

  return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

void
latency_add (struct latency *latency, enum latency_op op, uint64_t ns)
{
  struct shard *s = &latency->shards[shard_index ()];

  atomic_fetch_add_explicit (&s->ops[op].buckets[bucket_of (ns)], 1,
                             memory_order_relaxed);
  atomic_fetch_add_explicit (&s->ops[op].sum_ns, ns, memory_order_relaxed);
}

void
latency_get (struct latency *latency, enum latency_op op,
             struct latency_counts *counts)
{
  unsigned i, j;

  memset (counts, 0, sizeof *counts);
  for (i = 0; i < SHARDS; ++i) {
    struct shard *s = &latency->shards[i];

    for (j = 0; j < LATENCY_BUCKETS; ++j)
      counts->buckets[j] += atomic_load_explicit (&s->ops[op].buckets[j],
                                                  memory_order_relaxed);
    counts->sum_ns += atomic_load_explicit (&s->ops[op].sum_ns,
                                            memory_order_relaxed);
  }
}
