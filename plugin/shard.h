/* Which of a few places a thread counts in.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Threads on different processors that count in one place take its line of
 * the cache away from each other.  So there are some of each counter, one in a
 * line of its own, and who wants the sum adds them up.
 */

#ifndef DM_SHARD_H
#define DM_SHARD_H

#define SHARDS 16
#define SHARD_ALIGN 64 /* a line of the cache */

/* That of this thread, below SHARDS: they are given out in turn. */
unsigned shard_index (void);

#endif /* DM_SHARD_H */
