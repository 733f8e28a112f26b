/* Rolling back: a snapshot is folded into the device that it is of.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * From the first moment on the device shows the snapshot: what is in the
 * store is read there, and written there; the rest is as it was.  Chunk by
 * chunk, from the last one of the store to the first, what is in the store is
 * copied to the device, which is flushed, and then the record goes, durably.
 *
 * Model: Linux 6.1 drivers/md/dm-snap.c snapshot_merge_next_chunks (): same
 * order of copy, flush and record.  Differs: older snapshots read through what
 * is merged, so they need no copies of it; after a record could not be
 * taken out, what is written to its chunk goes to both places.
 *
 * Invariants:
 * (1) a chunk is in the store's records, or the device has it, durably; while
 *     it is being moved it is both, and the same;
 * (2) who writes holds the range; who moves a chunk holds it, too.
 *
 * States: MERGING -> DONE [merge_end]: the store is empty.  Then it is passed
 * through, for those who still come this way.
 *
 * Locks: the holds of ranges, then `lock` of the snapshot.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#include "bits.h"
#include "merge.h"
#include "snapshot-impl.h"

#define COPY_SECTORS (MERGE_STEP_BYTES >> SECTOR_SHIFT)
#define COPY_ALIGN 4096U /* of the memory, for O_DIRECT */

struct merge {
  struct target target;
  struct target *lower;
  struct snapshot *snapshot;
  struct merge *older;
  void *buffer;
  atomic_bool is_done;
  atomic_uint users; /* of the snapshot */
  struct mutex lock;
  struct cond unused;

  /* Under the snapshot's lock: chunks whose record may be gone, or not. */
  uint64_t unsure_first;
  uint64_t unsure_count;
};

static inline struct merge *
merge_of (struct target *t)
{
  return (struct merge *) ((char *) t - offsetof (struct merge, target));
}

static void
use_end (struct merge *m)
{
  if (atomic_fetch_sub (&m->users, 1) > 1 || !atomic_load (&m->is_done))
    return;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);
  cond_broadcast (&m->unused);
}

/* Returns false, and nothing was begun, if all is done. */
static bool
use_begin (struct merge *m)
{
  atomic_fetch_add (&m->users, 1);
  if (!atomic_load (&m->is_done))
    return true;
  use_end (m);
  return false;
}

/*----- reading ---------------------------------------------------------*/

static int
merge_read (struct target *t, void *buffer, sector_t sector, sector_t count)
{
  struct merge *m = merge_of (t);
  int r;

  if (!use_begin (m))
    return target_read (m->lower, buffer, sector, count);
  r = target_read (&m->snapshot->view, buffer, sector, count);
  use_end (m);
  return r;
}

static int
merge_extent (struct target *t, sector_t sector, sector_t count,
              struct bdev_extent *extent)
{
  struct merge *m = merge_of (t);
  int r;

  if (!use_begin (m))
    return target_extent (m->lower, sector, count, extent);
  r = target_extent (&m->snapshot->view, sector, count, extent);
  use_end (m);
  return r;
}

/*----- writing ---------------------------------------------------------*/

/* Where a part of a range is written. */
struct place {
  bool in_store;
  bool in_lower;
  sector_t store_sector;
  sector_t count;
};

static struct place
first_place (struct merge *m, sector_t sector, sector_t count)
{
  struct snapshot *s = m->snapshot;
  uint64_t chunk = snapshot_chunk_of (s, sector);
  sector_t in_chunk = sector - (chunk << s->chunk_shift);
  struct exception_run run;
  struct place place;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  /* One chunk at a time in the store: the next may be unsure. */
  run = exception_table_lookup (s->table, chunk,
                                snapshot_chunk_of (s, sector + count - 1) -
                                  chunk + 1);
  place.in_store = run.is_mapped;
  place.in_lower = !run.is_mapped ||
                   (chunk >= m->unsure_first &&
                    chunk - m->unsure_first < m->unsure_count);
  place.store_sector = (run.new_chunk << s->chunk_shift) + in_chunk;
  place.count = ((run.is_mapped ? 1 : run.count) << s->chunk_shift) - in_chunk;
  place.count = MIN_OF (place.count, count);
  return place;
}

static int
write_place (struct merge *m, const struct place *place, const void *buffer,
             sector_t sector, unsigned flags)
{
  struct iovec iov = { (void *) buffer, sector_to_bytes (place->count) };
  int r = 0;

  if (place->in_store)
    r = bdev_write (m->snapshot->cow, &iov, 1, place->store_sector, flags);
  if (r == 0 && place->in_lower)
    r = target_write (m->lower, buffer, sector, place->count, flags);
  return r;
}

static int
merge_write (struct target *t, const void *buffer, sector_t sector,
             sector_t count, unsigned flags)
{
  struct merge *m = merge_of (t);
  const char *p = buffer;
  int r = 0;

  if (!use_begin (m))
    return target_write (m->lower, buffer, sector, count, flags);
  while (r == 0 && count > 0) {
    struct place place = first_place (m, sector, count);

    r = write_place (m, &place, p, sector, flags);
    p += sector_to_bytes (place.count);
    sector += place.count;
    count -= place.count;
  }
  use_end (m);
  return r;
}

static int
zero_place (struct merge *m, const struct place *place, sector_t sector,
            unsigned flags)
{
  int r = 0;

  if (place->in_store)
    r = bdev_write_zeroes (m->snapshot->cow, place->store_sector, place->count,
                           flags);
  if (r == 0 && place->in_lower) {
    if (place->in_store)
      flags &= ~BDEV_FAST; /* too late to say that it is not */
    r = target_zero (m->lower, sector, place->count, flags);
  }
  return r;
}

static int
merge_zero (struct target *t, sector_t sector, sector_t count, unsigned flags)
{
  struct merge *m = merge_of (t);
  bool is_first = true;
  int r = 0;

  if (!use_begin (m))
    return target_zero (m->lower, sector, count, flags);
  while (r == 0 && count > 0) {
    struct place place = first_place (m, sector, count);

    r = zero_place (m, &place, sector, flags);
    if (r == -EOPNOTSUPP && !is_first)
      r = zero_place (m, &place, sector, flags & ~BDEV_FAST);
    is_first = false;
    sector += place.count;
    count -= place.count;
  }
  use_end (m);
  return r;
}

/* What was written may be in the store, or have been moved since: so the
 * store comes first.
 */
static int
merge_flush (struct target *t)
{
  struct merge *m = merge_of (t);
  int r = 0;

  if (use_begin (m)) {
    r = bdev_flush (m->snapshot->cow);
    use_end (m);
  }
  return r < 0 ? r : target_flush (m->lower);
}

static const struct target_ops merge_ops = {
  .name = "merge",
  .read = merge_read,
  .write = merge_write,
  .flush = merge_flush,
  .zero = merge_zero,
  .extent = merge_extent,
};

/*----- moving chunks ---------------------------------------------------*/

/* Copy COUNT sectors out of the store. */
static int
copy_sectors (struct merge *m, sector_t from, sector_t to, sector_t count)
{
  struct iovec iov = { m->buffer, sector_to_bytes (count) };
  int r = bdev_read (m->snapshot->cow, &iov, 1, from);

  return r < 0 ? r : target_write (m->lower, m->buffer, to, count, 0);
}

/* True if the table has what the records say: else something that is written
 * here might be overwritten by what is in the store.
 */
static bool
table_agrees (struct snapshot *s, const struct exception *first, uint64_t count)
{
  uint64_t i = 0;

  while (i < count) {
    struct exception_run run = exception_table_lookup (s->table,
                                                       first->old_chunk + i,
                                                       count - i);

    if (!run.is_mapped || run.new_chunk != first->new_chunk + i)
      return false;
    i += run.count;
  }
  return true;
}

/* Move COUNT chunks from FIRST on: their range is held. */
static int
move_chunks (struct merge *m, const struct exception *first, uint64_t count)
{
  struct snapshot *s = m->snapshot;
  sector_t sector = first->old_chunk << s->chunk_shift;
  sector_t length = MIN_OF (count << s->chunk_shift,
                            m->lower->sectors - sector);
  uint64_t i;
  int r;

  mutex_lock (&s->lock);
  r = table_agrees (s, first, count)
        ? exception_table_reserve (s->table, first->old_chunk, count)
        : -EINVAL;
  mutex_unlock (&s->lock);
  if (r < 0)
    return r;
  /* The order that matters: data, flush, and only then the record. */
  r = copy_sectors (m, first->new_chunk << s->chunk_shift, sector, length);
  if (r == 0)
    r = target_flush (m->lower);
  if (r < 0)
    return r;
  r = exception_store_merge_commit (s->store, count);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  if (r < 0) {
    m->unsure_first = first->old_chunk;
    m->unsure_count = count;
    return r;
  }
  m->unsure_count = 0;
  for (i = count; i-- > 0;)
    exception_table_remove (s->table, first->old_chunk + i);
  return 0;
}

int
merge_step (struct merge *m, struct range_lock *range_lock, uint64_t *bytes)
{
  struct snapshot *s = m->snapshot;
  struct exception first;
  struct range_hold hold;
  uint64_t count;
  int r = exception_store_merge_next (s->store,
                                      MAX_OF (COPY_SECTORS >> s->chunk_shift,
                                              1),
                                      &first, &count);

  *bytes = 0;
  if (r < 0 || count == 0)
    return r;
  range_lock_acquire (range_lock, &hold, first.old_chunk << s->chunk_shift,
                      count << s->chunk_shift);
  r = move_chunks (m, &first, count);
  range_lock_release (range_lock, &hold);
  if (r < 0)
    return r;
  *bytes = sector_to_bytes (count << s->chunk_shift);
  return 1;
}

/*----- life ------------------------------------------------------------*/

int
merge_create (struct snapshot *snapshot, struct target *lower,
              struct merge **merge)
{
  struct merge *m = calloc (1, sizeof *m);
  size_t bytes = sector_to_bytes (
    MAX_OF (COPY_SECTORS, snapshot->chunk_sectors));

  if (m == NULL)
    return -ENOMEM;
  if (posix_memalign (&m->buffer, COPY_ALIGN, bytes) != 0) {
    free (m);
    return -ENOMEM;
  }
  m->target.ops = &merge_ops;
  m->target.sectors = lower->sectors;
  m->lower = lower;
  m->snapshot = snapshot;
  mutex_init (&m->lock);
  cond_init (&m->unused);
  *merge = m;
  return 0;
}

void
merge_set_older (struct merge *merge, struct merge *older)
{
  merge->older = older;
}

struct target *
merge_target (struct merge *merge)
{
  return &merge->target;
}

void
merge_end (struct merge *m)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->lock);
  atomic_store (&m->is_done, true);
  while (atomic_load (&m->users) > 0)
    cond_wait (&m->unused, &m->lock);
  free (m->buffer);
  m->buffer = NULL;
  m->snapshot = NULL;
}

void
merge_destroy (struct merge *m)
{
  while (m != NULL) {
    struct merge *older = m->older;

    assert (atomic_load (&m->users) == 0);
    cond_destroy (&m->unused);
    mutex_destroy (&m->lock);
    free (m->buffer);
    free (m);
    m = older;
  }
}
