/* How long requests take: histograms that cost next to nothing to fill.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Each thread counts in one of some shards, so that threads on different
 * processors rarely touch the same line of the cache; readers add them up.
 * The counts of a reader are those of some moment for each bucket, not of the
 * same one for all.
 */

#ifndef DM_LATENCY_H
#define DM_LATENCY_H

#include <stdint.h>

#include "clock.h"

enum latency_op {
  LATENCY_READ,
  LATENCY_WRITE,
  LATENCY_FLUSH,
  LATENCY_ZERO,
  LATENCY_TRIM,
  LATENCY_OPS /* how many there are */
};

/* Bucket I counts what took up to LATENCY_FIRST_NS << I, and more than the one
 * before; the last one all that took longer.
 */
#define LATENCY_FIRST_NS UINT64_C (8000)
#define LATENCY_BUCKETS 22

const char *latency_op_name (enum latency_op op);

struct latency;

/* Returns 0 or -ENOMEM. */
int latency_create (struct latency **latency);
void latency_destroy (struct latency *latency);

/* Forget all, for something new to be measured. */
void latency_reset (struct latency *latency);

/* A request of kind OP took so long.  Any thread. */
void latency_add (struct latency *latency, enum latency_op op, uint64_t ns);

/* What was counted so far; SUM_NS is how long all took together. */
struct latency_counts {
  uint64_t buckets[LATENCY_BUCKETS];
  uint64_t sum_ns;
};

void latency_get (struct latency *latency, enum latency_op op,
                  struct latency_counts *counts);

#endif /* DM_LATENCY_H */
