/* The dirty log: which regions of a mirror may differ between its legs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What all kinds have: the bits in memory, and the flush that is shared.
 *
 * Locks: `lock` is a leaf; it is held for changes of bits, never during
 * I/O.
 *
 * Model: Linux 6.1 drivers/md/dm-log.c: marks, clearings, a flush.  Differs:
 * a flush is shared by all who wait; one that fails does so for ever.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "dirty-log-impl.h"

uint64_t
dirty_log_word_mask (const struct dirty_log *log, uint64_t word)
{
  uint64_t first = word * LOG_WORD_BITS;

  if (first >= log->regions)
    return 0;
  if (log->regions - first >= LOG_WORD_BITS)
    return UINT64_MAX;
  return (UINT64_C (1) << (log->regions - first)) - 1;
}

void
dirty_log_count (struct dirty_log *log)
{
  uint64_t dirty = 0, i;

  for (i = 0; i < log->word_count; ++i)
    dirty += (unsigned) __builtin_popcountll (~log->words[i] &
                                              dirty_log_word_mask (log, i));
  log->dirty = dirty;
}

int
dirty_log_init (struct dirty_log *log, const struct dirty_log_ops *ops,
                uint64_t regions, bool is_clean)
{
  uint64_t i;

  if (regions > DIRTY_LOG_MAX_REGIONS)
    return -E2BIG;
  log->ops = ops;
  log->regions = regions;
  log->word_count = round_up_to (div_round_up (regions, LOG_WORD_BITS),
                                 LOG_WORDS_PER_SECTOR);
  log->words = calloc (log->word_count + 1, sizeof log->words[0]);
  if (log->words == NULL)
    return -ENOMEM;
  for (i = 0; is_clean && i < log->word_count; ++i)
    log->words[i] = dirty_log_word_mask (log, i);
  dirty_log_count (log);
  mutex_init (&log->lock);
  group_sync_init (&log->commits);
  return 0;
}

void
dirty_log_fini (struct dirty_log *log)
{
  group_sync_destroy (&log->commits);
  mutex_destroy (&log->lock);
  free (log->words);
}

void
dirty_log_destroy (struct dirty_log *log)
{
  if (log != NULL)
    log->ops->destroy (log);
}

/*----- looking ---------------------------------------------------------*/

uint64_t
dirty_log_region_count (const struct dirty_log *log)
{
  return log->regions;
}

uint64_t
dirty_log_dirty_count (const struct dirty_log *log)
{
  return atomic_load (&log->dirty);
}

bool
dirty_log_is_dirty (const struct dirty_log *log, uint64_t region)
{
  return !(atomic_load (&log->words[region / LOG_WORD_BITS]) >>
             region % LOG_WORD_BITS &
           1);
}

bool
dirty_log_next_dirty (const struct dirty_log *log, uint64_t *region)
{
  uint64_t word = *region / LOG_WORD_BITS;
  uint64_t behind = UINT64_MAX << *region % LOG_WORD_BITS;

  for (; word < log->word_count; ++word, behind = UINT64_MAX) {
    uint64_t dirty = ~atomic_load (&log->words[word]) &
                     dirty_log_word_mask (log, word) & behind;

    if (dirty != 0) {
      *region = word * LOG_WORD_BITS + (unsigned) __builtin_ctzll (dirty);
      return true;
    }
  }
  return false;
}

void
dirty_log_get_status (struct dirty_log *log, struct dirty_log_status *status)
{
  *status = (struct dirty_log_status){
    .type = log->ops->name,
    .regions = log->regions,
    .dirty = dirty_log_dirty_count (log),
    .writes = log->writes,
    .flushes = log->flushes,
    .error = group_sync_error (&log->commits),
  };
}

/*----- changing --------------------------------------------------------*/

/* Bits from FIRST to LAST that are in word WORD. */
static uint64_t
range_mask (uint64_t word, uint64_t first, uint64_t last)
{
  uint64_t mask = UINT64_MAX;

  if (word == first / LOG_WORD_BITS)
    mask &= UINT64_MAX << first % LOG_WORD_BITS;
  if (word == last / LOG_WORD_BITS)
    mask &= UINT64_MAX >> (LOG_WORD_BITS - 1 - last % LOG_WORD_BITS);
  return mask;
}

static void
change (struct dirty_log *log, uint64_t first, uint64_t last, bool is_clean)
{
  uint64_t word;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&log->lock);
  for (word = first / LOG_WORD_BITS; word <= last / LOG_WORD_BITS; ++word) {
    uint64_t old = log->words[word];
    uint64_t mask = range_mask (word, first, last);
    uint64_t new = is_clean ? old | mask : old & ~mask;
    unsigned changed = (unsigned) __builtin_popcountll (old ^ new);

    if (changed == 0)
      continue;
    log->words[word] = new;
    if (is_clean)
      log->dirty -= changed;
    else
      log->dirty += changed;
    if (log->ops->changed != NULL)
      log->ops->changed (log, word);
  }
}

void
dirty_log_mark (struct dirty_log *log, uint64_t first, uint64_t last)
{
  change (log, first, last, false);
}

void
dirty_log_clear (struct dirty_log *log, uint64_t first, uint64_t last)
{
  change (log, first, last, true);
}

static int
commit (void *arg)
{
  struct dirty_log *log = arg;

  return log->ops->flush (log);
}

int
dirty_log_flush (struct dirty_log *log)
{
  return log->ops->flush == NULL ? 0 : group_sync (&log->commits, commit, log);
}
