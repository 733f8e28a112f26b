/* Copy-on-write: getting chunks into a snapshot's store.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * States of a chunk, under the snapshot's lock:
 *   ABSENT  -> PENDING  [copy_window_claim]: one thread copies it
 *   PENDING -> MAPPED   [publish]: copied and committed, in the table;
 *                       readers of the snapshot find it there
 *   MAPPED  -> SAFE     [publish]: no reader that looked before that is
 *                       still reading it from the origin; writers may go
 *   PENDING -> ABSENT   [copy_window_end]: it failed
 *
 * The order that matters, for each chunk: data to the store, flush, its
 * record, flush (exception_store_commit does these), then MAPPED, then
 * SAFE, and only then the origin is overwritten.
 *
 * A thread works on a window of chunks at a time: it claims all that
 * nobody else is copying, finishes these, and only then waits for those
 * of others.  So nobody waits while holding a claim, and two threads
 * cannot wait for each other.  (Direct snapshots: direct-snapshots.c does the
 * same for several at once.)
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "bits.h"
#include "checked-math.h"
#include "kcopyd-here.h"
#include "log-sink.h"
#include "snapshot-impl.h"

/* One thread's work on one window, for one snapshot. */
struct window {
  struct copy_window claimed;
  struct cond copied; /* jobs_left is 0 */

  /* Under the snapshot's lock. */
  unsigned jobs_left;
  int read_err;
  unsigned write_err;
};

static struct list *
pending_bucket (struct snapshot *s, uint64_t chunk)
{
  return &s->pending[chunk % PENDING_BUCKETS];
}

/* True if somebody is copying CHUNK.  The caller holds the lock. */
static bool
is_pending_locked (struct snapshot *s, uint64_t chunk)
{
  struct list *bucket = pending_bucket (s, chunk), *link;

  list_for_each (link, bucket)
    if (list_entry (link, struct pending, link)->chunk == chunk)
      return true;
  return false;
}

int
copy_window_claim (struct copy_window *w)
{
  struct snapshot *s = w->s;
  uint64_t chunk;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  if (atomic_load (&s->is_leaving))
    return -ESTALE;
  for (chunk = w->first; chunk <= w->last; ++chunk) {
    struct pending *claim = &w->claims[w->claim_count];

    if (snapshot_chunk_is_safe (s, chunk) || is_pending_locked (s, chunk))
      continue;
    claim->chunk = chunk;
    w->exceptions[w->claim_count].old_chunk = chunk;
    list_push_back (pending_bucket (s, chunk), &claim->link);
    w->claim_count++;
  }
  s->pending_count += w->claim_count;
  if (w->claim_count > 0) {
    w->origin = s->origin;
    w->origin->users++;
  }
  return 0;
}

void
copy_window_end (struct copy_window *w)
{
  struct snapshot *s = w->s;
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  for (i = 0; i < w->claim_count; ++i)
    list_remove (&w->claims[i].link);
  s->pending_count -= w->claim_count;
  w->origin->users--;
  cond_broadcast (&s->changed);
}

void
copy_window_wait (struct copy_window *w)
{
  struct snapshot *s = w->s;
  uint64_t chunk;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  for (chunk = w->first; chunk <= w->last; ++chunk)
    while (is_pending_locked (s, chunk))
      cond_wait (&s->changed, &s->lock);
}

struct io_region
copy_window_source (const struct copy_window *w, unsigned first, unsigned count)
{
  struct snapshot *s = w->s;
  sector_t sector = w->exceptions[first].old_chunk << s->chunk_shift;
  sector_t length = (sector_t) count << s->chunk_shift;

  /* The last chunk of a device may be short. */
  return (struct io_region){
    .bdev = w->origin->bdev,
    .sector = sector,
    .count = MIN_OF (length, s->view.sectors - sector),
  };
}

struct io_region
copy_window_place (const struct copy_window *w, unsigned first,
                   const struct io_region *source)
{
  return (struct io_region){
    .bdev = w->s->cow,
    .sector = w->exceptions[first].new_chunk << w->s->chunk_shift,
    .count = source->count,
  };
}

bool
copy_window_goes_on (const struct copy_window *w, unsigned index)
{
  const struct exception *e = &w->exceptions[index];

  return e->old_chunk == e[-1].old_chunk + 1 &&
         e->new_chunk == e[-1].new_chunk + 1;
}

int
copy_window_result (const struct copy_window *w, int read_err,
                    unsigned write_err)
{
  if (read_err == 0 && write_err == 0)
    return 0;
  snprintf (w->why, SNAPSHOT_WHY_BYTES,
            "%s of chunks %" PRIu64 " to %" PRIu64 " %s failed%s",
            read_err ? "reading" : "copying", w->first, w->last,
            read_err ? "from the volume" : "to the COW store",
            read_err ? "" : "; perhaps its disk is full");
  return -EIO;
}

static void
run_copied (int read_err, unsigned write_err, void *context)
{
  struct window *w = context;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&w->claimed.s->lock);
  w->read_err |= read_err;
  w->write_err |= write_err;
  if (--w->jobs_left == 0)
    cond_signal (&w->copied);
}

/* Start the copy of COUNT claims from number FIRST on, neighbours in the
 * origin and in the store.
 */
static int
start_run (struct window *w, unsigned first, unsigned count)
{
  const struct copy_window *c = &w->claimed;
  struct snapshot *s = c->s;
  struct io_region from = copy_window_source (c, first, count);
  struct io_region to = copy_window_place (c, first, &from);
  int r;

  mutex_lock (&s->lock);
  w->jobs_left++;
  mutex_unlock (&s->lock);
  /* With nothing else to do but wait, this thread copies. */
  r = count == c->claim_count
        ? kcopyd_copy_here (s->kcopyd, &from, 1, &to, 1U << KCOPYD_SPARSE,
                            run_copied, w)
        : -EAGAIN;
  if (r == -EAGAIN)
    r = kcopyd_copy (s->kcopyd, &from, 1, &to, 1U << KCOPYD_SPARSE, run_copied,
                     w);
  if (r < 0) {
    mutex_lock (&s->lock);
    w->jobs_left--;
    mutex_unlock (&s->lock);
  }
  return r;
}

/* Start all copies: claims that are neighbours, old and new, as one. */
static int
start_copies (struct window *w)
{
  const struct copy_window *c = &w->claimed;
  unsigned first, end;
  int r = 0;

  for (first = 0; first < c->claim_count && r == 0; first = end) {
    for (end = first + 1; end < c->claim_count; ++end)
      if (!copy_window_goes_on (c, end))
        break;
    r = start_run (w, first, end - first);
  }
  if (r < 0)
    snprintf (c->why, SNAPSHOT_WHY_BYTES, "a copy cannot be started: %s",
              errno_text (r));
  return r;
}

static int
wait_for_copies (struct window *w)
{
  struct snapshot *s = w->claimed.s;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  while (w->jobs_left > 0)
    cond_wait (&w->copied, &s->lock);
  return copy_window_result (&w->claimed, w->read_err, w->write_err);
}

/* Give back the first COUNT chunks: they will not be committed. */
static void
release_chunks (struct copy_window *w, unsigned count)
{
  /* The last first, so that they come out in rising order again. */
  while (count > 0)
    exception_store_release (w->s->store, w->exceptions[--count].new_chunk);
}

void
copy_window_release (struct copy_window *w)
{
  release_chunks (w, w->claim_count);
}

int
copy_window_allocate (struct copy_window *w)
{
  unsigned i;

  for (i = 0; i < w->claim_count; ++i) {
    int r = exception_store_allocate (w->s->store, &w->exceptions[i].new_chunk);

    if (r < 0) {
      release_chunks (w, i);
      snprintf (w->why, SNAPSHOT_WHY_BYTES, "the COW store is full");
      return r;
    }
  }
  return 0;
}

/* True if a read from the origin of one of the chunks is going on that
 * began before they were mapped.  The caller holds the lock.
 */
static bool
is_being_read_locked (struct snapshot *s, uint64_t first, uint64_t last)
{
  struct list *link;

  list_for_each (link, &s->tracked) {
    struct tracked_read *t = list_entry (link, struct tracked_read, link);

    if (t->first <= last && first <= t->last)
      return true;
  }
  return false;
}

/* Copied and committed: let readers find the chunks, and writers go. */
static int
publish (struct copy_window *w)
{
  struct snapshot *s = w->s;
  unsigned i;
  int r = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  for (i = 0; i < w->claim_count && r == 0; ++i)
    r = exception_table_insert (s->table, w->exceptions[i].old_chunk,
                                w->exceptions[i].new_chunk);
  if (r < 0) {
    snprintf (w->why, SNAPSHOT_WHY_BYTES,
              "an exception cannot be remembered: %s", errno_text (r));
    /* Its record is in the store.  A second one for the same chunk would
     * make the store unreadable.
     */
    exception_store_poison (s->store, r);
    return r;
  }
  while (is_being_read_locked (s, w->first, w->last))
    cond_wait (&s->changed, &s->lock);
  for (i = 0; i < w->claim_count; ++i) {
    uint64_t chunk = w->claims[i].chunk;

    atomic_fetch_or_explicit (&s->safe[chunk / 64], UINT64_C (1) << chunk % 64,
                              memory_order_release);
  }
  return 0;
}

/* Say that the store becomes full, once for each of a few marks. */
static void
warn_of_fill (struct snapshot *s)
{
  static const unsigned marks[] = { 80, 90, 95 };
  unsigned warned = atomic_load (&s->fill_warned), i = ARRAY_COUNT (marks);
  struct exception_store_usage usage;
  unsigned percent;

  if (!s->can_be_full || warned >= marks[i - 1])
    return;
  exception_store_get_usage (s->store, &usage);
  percent = (unsigned) (usage.used_sectors * 100 / usage.total_sectors);
  while (i > 0 && percent < marks[i - 1])
    i--;
  if (i == 0)
    return;
  while (warned < marks[i - 1]) {
    /* Who raises it says so. */
    if (!atomic_compare_exchange_weak (&s->fill_warned, &warned, marks[i - 1]))
      continue;
    log_warning ("snapshot %s: %u%% of its store are used; remove it, or it "
                 "will be full",
                 snapshot_name (s), percent);
    return;
  }
}

int
copy_window_commit (struct copy_window *w)
{
  int r = exception_store_commit (w->s->store, w->exceptions, w->claim_count);

  if (r < 0) {
    snprintf (w->why, SNAPSHOT_WHY_BYTES,
              "writing the records of the COW store failed: %s",
              errno_text (r));
    return r;
  }
  warn_of_fill (w->s);
  return publish (w);
}

static int
copy_claims (struct window *w)
{
  int r = copy_window_allocate (&w->claimed);
  int started;

  if (r < 0)
    return r;
  started = start_copies (w);
  r = wait_for_copies (w); /* those that were started, in any case */
  if (started < 0)
    r = started;
  if (r < 0) {
    copy_window_release (&w->claimed);
    return r;
  }
  return copy_window_commit (&w->claimed);
}

bool
copy_window_is_safe (const struct copy_window *w)
{
  uint64_t chunk;

  for (chunk = w->first; chunk <= w->last; ++chunk)
    if (!snapshot_chunk_is_safe (w->s, chunk))
      return false;
  return true;
}

int
snapshot_copy_chunks (struct snapshot *s, uint64_t first, uint64_t last,
                      char why[SNAPSHOT_WHY_BYTES])
{
  assert (s->kcopyd != NULL);
  while (first <= last) {
    struct window w = {
      .claimed = {
        .s = s,
        .first = first,
        .last = MIN_OF (last, first + WINDOW_CHUNKS - 1),
        .why = why,
      },
    };
    int r = copy_window_claim (&w.claimed);

    if (w.claimed.claim_count > 0) {
      cond_init (&w.copied);
      r = copy_claims (&w);
      cond_destroy (&w.copied);
      copy_window_end (&w.claimed);
    }
    if (r < 0)
      return r;
    copy_window_wait (&w.claimed);
    /* If another thread failed to copy a chunk it is ours to try. */
    if (copy_window_is_safe (&w.claimed))
      first = w.claimed.last + 1;
  }
  return 0;
}
