/* What the files of the dirty log share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_DIRTY_LOG_IMPL_H
#define DM_DIRTY_LOG_IMPL_H

#include <stdatomic.h>

#include "dirty-log.h"
#include "group-sync.h"
#include "sync.h"

#define LOG_WORD_BITS 64
#define LOG_WORDS_PER_SECTOR (SECTOR_SIZE / sizeof (uint64_t))

/* How a kind of log keeps its bits. */
struct dirty_log_ops {
  const char *name;

  /* Optional: bits in this word have changed.  The caller holds the lock,
   * so this must not block.
   */
  void (*changed) (struct dirty_log *log, uint64_t word);

  /* Optional (default: memory is all there is): make every change durable
   * that was made before this was called.  One call at a time, without the
   * lock, may block.  Returns 0 or a negative errno, and after that is not
   * called again.
   */
  int (*flush) (struct dirty_log *log);

  /* Required: free it, its words excepted. */
  void (*destroy) (struct dirty_log *log);
};

struct dirty_log {
  const struct dirty_log_ops *ops;
  uint64_t regions;

  /* Bit r % 64 of word r / 64: region r is clean.  Whole sectors; the rest
   * of the last one is whatever it is on disk.  Changed with the lock held,
   * looked at without.
   */
  _Atomic uint64_t *words;
  uint64_t word_count;
  _Atomic uint64_t dirty;

  struct mutex lock; /* a leaf */
  struct group_sync commits;
  atomic_ulong writes, flushes;
};

/* Fill in what all kinds have: all clean or all dirty.  Returns 0, -ENOMEM
 * or -E2BIG.
 */
int dirty_log_init (struct dirty_log *log, const struct dirty_log_ops *ops,
                    uint64_t regions, bool is_clean);
void dirty_log_fini (struct dirty_log *log);

/* Count the dirty ones anew: the words have been filled in. */
void dirty_log_count (struct dirty_log *log);

/* The bits of word WORD that are regions'. */
uint64_t dirty_log_word_mask (const struct dirty_log *log, uint64_t word);

#endif /* DM_DIRTY_LOG_IMPL_H */
