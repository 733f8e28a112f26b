/* The mirror's use of its dirty log: cleaning it, and losing it.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A region is marked by region-hash.c before it is first written.  Here the
 * marks go again, long after, in the resync's thread: so somebody who writes
 * to the same regions all the time never waits for the log.
 *
 * Invariant: a region that is clean in the log is the same on every leg, also
 * on one that is out.  So a leg that comes back lacks nothing but what is
 * dirty.  It follows that nothing is cleaned while a leg is out, and
 * that a leg of which nothing is known makes all regions dirty before it
 * becomes one.
 *
 * The order: choose regions that are in sync and that nobody writes; flush all
 * legs; if no leg has gone or come meanwhile, clean those that still nobody
 * has written, in memory; then write the log.  If that is lost, regions
 * are copied for nothing.
 *
 * Model: Linux 6.1 drivers/md/dm-log.c disk_flush(): legs are flushed
 * before a region is clean on disk.  Differs: lazily; never while a leg is
 * out.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>

#include "bits.h"
#include "clock.h"
#include "log-sink.h"
#include "mirror-impl.h"

/* A region that was not written for one to two of these is cleaned. */
#define CLEAN_INTERVAL_NS (5 * NS_PER_SECOND)

/* True if nothing stands against cleaning: there are two legs or more, none is
 * out, they can be flushed, and it is known which legs are recorded.
 */
static bool
may_clean (struct mirror *m)
{
  unsigned i, used = 0;

  for (i = 0; i < m->leg_count; ++i) {
    if (leg_is_out (&m->legs[i]))
      return false;
    used += leg_is_used (&m->legs[i]);
  }
  return used > 1 && group_sync_error (&m->flushes) == 0 &&
         !atomic_load (&m->record_is_doubtful);
}

bool
mirror_has_marks (struct mirror *m)
{
  return may_clean (m) && region_hash_cleanable_count (m->regions) > 0;
}

/* Clean what CHOOSE chooses.  Returns the result of flushing the legs. */
static int
clean_log (struct mirror *m, uint64_t (*choose) (struct region_hash *rh))
{
  uint64_t membership, count;
  int r;

  mutex_lock (&m->state_lock);
  membership = m->membership;
  count = may_clean (m) ? choose (m->regions) : 0;
  mutex_unlock (&m->state_lock);
  if (count == 0)
    return 0;

  r = target_flush (&m->target);
  if (r < 0)
    return r;

  mutex_lock (&m->state_lock);
  /* A leg that has failed meanwhile may lack what was to be flushed. */
  count = m->membership == membership ? region_hash_clean_chosen (m->regions)
                                      : 0;
  mutex_unlock (&m->state_lock);
  if (count > 0)
    (void) dirty_log_flush (m->log); /* whoever marks next is told */
  return 0;
}

void
mirror_clean_log_lazily (struct mirror *m, uint64_t *next_ns)
{
  bool is_first = *next_ns == 0;

  if (clock_now_ns () < *next_ns)
    return;
  *next_ns = clock_now_ns () + CLEAN_INTERVAL_NS;
  if (!is_first && mirror_has_marks (m))
    (void) clean_log (m, region_hash_choose_idle); /* a leg is out, as told */
}

int
mirror_settle (struct mirror *mirror)
{
  int r = target_flush (&mirror->target);

  if (r == 0 && mirror_has_marks (mirror))
    r = clean_log (mirror, region_hash_choose_all);
  return r;
}

/*----- a log that fails ------------------------------------------------*/

int
mirror_lose_log (void *opaque, int error)
{
  struct mirror *m = opaque;
  int r = m->log_failed != NULL ? m->log_failed (m->opaque, error) : error;

  if (r == 0)
    log_error ("mirror: the dirty log cannot be written: %s; all regions are "
               "taken to be dirty from now on, so a crash, or a leg that "
               "comes back, will cost a full resync; stop, make the folder's "
               "disk good, and start again",
               errno_text (error));
  else if (mirror_must_tell (m))
    log_error ("mirror: the dirty log cannot be written: %s; nor can it be "
               "recorded that all regions are dirty (%s), so the client gets "
               "an error",
               errno_text (error), errno_text (r));
  return r;
}

void
mirror_give_up_log (struct mirror *mirror)
{
  region_hash_give_up_log (mirror->regions);
}

struct dirty_log *
mirror_log (struct mirror *mirror)
{
  return mirror->log;
}
