/* Which of a few places a thread counts in.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdatomic.h>

#include "shard.h"

unsigned
shard_index (void)
{
  static atomic_uint next;
  static _Thread_local unsigned mine; /* 0: none yet */

  if (mine == 0)
    mine = atomic_fetch_add_explicit (&next, 1, memory_order_relaxed) % SHARDS +
           1;
  return mine - 1;
}
