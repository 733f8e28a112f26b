/* Snapshots: frozen views of a device, kept by copy-on-write.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: Linux 6.1 drivers/md/dm-snap.c: exceptions, tracked reads, and
 * the order of copy, record and write.  Differs: snapshots of snapshots
 * are a chain and a chunk is copied once; a broken snapshot goes on
 * serving what it holds to older ones; breaking is durable before the
 * write that it lets pass.
 *
 * Invariants:
 * (1) a chunk of the origin is overwritten only when it is safe here, or
 *     the snapshot is broken, durably, and it is safe in an older one;
 * (2) what is in the table never changes but by writes to this snapshot;
 * (3) a read that finds the snapshot valid after it has read, has read
 *     the frozen image: see snapshot_read.
 *
 * States: VALID -> BROKEN [break_snapshot], for ever.
 *
 * Locks: break_lock before nothing else of ours; `lock` is a leaf.  A lock
 * of a snapshot is never held while calling into its origin or the next
 * older snapshot.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "log-sink.h"
#include "snapshot-impl.h"

static inline struct snapshot *
snapshot_of (struct target *t)
{
  return (struct snapshot *) ((char *) t - offsetof (struct snapshot, target));
}

static inline struct snapshot *
snapshot_of_view (struct target *t)
{
  return (struct snapshot *) ((char *) t - offsetof (struct snapshot, view));
}

/*----- breaking --------------------------------------------------------*/

/* Give the snapshot up, durably.  Returns 0 once it is broken. */
static int
break_snapshot (struct snapshot *s, const char *why)
{
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->break_lock);

  if (atomic_load (&s->is_broken))
    return 0;
  r = s->broken (s->opaque, s, why);
  if (r < 0) {
    log_error ("snapshot %s: %s; that it is lost cannot be recorded (%s), "
               "so the client gets an error",
               s->name, why, errno_text (r));
    return r;
  }
  /* The header is for the kernel, and for those who have lost the
   * manifest.  A store that fails may well refuse this, too.
   */
  r = exception_store_invalidate (s->store);
  if (r < 0)
    log_warning ("snapshot %s: the COW store cannot be marked invalid: %s",
                 s->name, errno_text (r));
  atomic_store (&s->is_broken, true);
  log_error ("snapshot %s: %s; the snapshot is invalid, the volume goes on",
             s->name, why);
  return 0;
}

/* Not all of what is about to be overwritten is safe.  Returns 0 if the
 * write may go on all the same.
 */
static int
handle_cow_error (struct snapshot *s, int error, const char *why)
{
  if (s->on_cow_error == BREAK_SNAPSHOT)
    return break_snapshot (s, why);
  /* Told the first time, and then ever less often. */
  if (is_power_of_2 (atomic_fetch_add (&s->refused_writes, 1) + 1))
    log_error ("snapshot %s: %s; a write to the volume was refused, because "
               "of on-cow-error=break-guest-write",
               s->name, why);
  return error;
}

/*----- preserving ------------------------------------------------------*/

/* A broken snapshot has not chunks FIRST .. LAST of the range: see to it
 * that the next older one has what of the range is in them.
 */
static int
preserve_below (struct snapshot *s, uint64_t first, uint64_t last,
                sector_t sector, sector_t count)
{
  sector_t begin = MAX_OF (sector, first << s->chunk_shift);
  sector_t end = MIN_OF (sector + count, (last + 1) << s->chunk_shift);

  return snapshot_preserve (s->below, begin, end - begin);
}

int
snapshot_preserve (struct snapshot *s, sector_t sector, sector_t count)
{
  uint64_t chunk, last;
  int r;

  if (s == NULL)
    return 0;
  chunk = snapshot_chunk_of (s, sector);
  last = snapshot_chunk_of (s, sector + count - 1);
  while (chunk <= last) {
    uint64_t end = chunk;

    if (snapshot_chunk_is_safe (s, chunk)) {
      chunk++;
      continue;
    }
    while (end < last && !snapshot_chunk_is_safe (s, end + 1))
      end++;
    if (!atomic_load (&s->is_broken)) {
      char why[SNAPSHOT_WHY_BYTES];

      r = snapshot_copy_chunks (s, chunk, end, why);
      if (r == 0) {
        chunk = end + 1;
        continue;
      }
      r = handle_cow_error (s, r, why);
      if (r < 0)
        return r;
      continue; /* it is broken now; what it has got is safe */
    }
    r = preserve_below (s, chunk, end, sector, count);
    if (r < 0)
      return r;
    chunk = end + 1;
  }
  return 0;
}

int
snapshot_settle (struct snapshot *snapshot)
{
  char why[SNAPSHOT_WHY_BYTES];
  int r = bdev_flush (snapshot->cow);

  if (r == 0)
    return 0;
  snprintf (why, sizeof why, "its COW store cannot be flushed: %s",
            errno_text (r));
  if (!atomic_load (&snapshot->is_broken))
    return handle_cow_error (snapshot, r, why);
  log_error ("snapshot %s: %s; older ones need what is in it", snapshot->name,
             why);
  return r;
}

/*----- reading ---------------------------------------------------------*/

/* A part of a range that lies in one run of the table. */
struct piece {
  bool is_mapped;
  sector_t sector; /* in the store, or in the origin */
  sector_t count;
};

/* The first piece of a range.  The caller holds the lock. */
static struct piece
first_piece_locked (struct snapshot *s, sector_t sector, sector_t count)
{
  uint64_t chunk = snapshot_chunk_of (s, sector);
  uint64_t last = snapshot_chunk_of (s, sector + count - 1);
  sector_t offset = sector - (chunk << s->chunk_shift);
  struct exception_run run = exception_table_lookup (s->table, chunk,
                                                     last - chunk + 1);
  sector_t length = (run.count << s->chunk_shift) - offset;

  return (struct piece){
    .is_mapped = run.is_mapped,
    .sector = run.is_mapped ? (run.new_chunk << s->chunk_shift) + offset
                            : sector,
    .count = MIN_OF (length, count),
  };
}

static int
read_cow (struct snapshot *s, void *buffer, const struct piece *piece)
{
  struct iovec iov = { buffer, sector_to_bytes (piece->count) };

  return bdev_read (s->cow, &iov, 1, piece->sector);
}

/* Find the first piece of a range.  If it is in the origin, it is tracked
 * until piece_end: who maps one of its chunks after this waits for that
 * before the origin is overwritten.  So looking up and tracking are one
 * step.
 */
static struct piece
piece_begin (struct snapshot *s, sector_t sector, sector_t count,
             struct tracked_read *tracked)
{
  struct piece piece;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  piece = first_piece_locked (s, sector, count);
  if (!piece.is_mapped) {
    tracked->first = snapshot_chunk_of (s, sector);
    tracked->last = snapshot_chunk_of (s, sector + piece.count - 1);
    list_push_back (&s->tracked, &tracked->link);
  }
  return piece;
}

static void
piece_end (struct snapshot *s, const struct piece *piece,
           struct tracked_read *tracked)
{
  if (piece->is_mapped)
    return;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  list_remove (&tracked->link);
  cond_broadcast (&s->changed);
}

static int
view_read (struct target *t, void *buffer, sector_t sector, sector_t count)
{
  struct snapshot *s = snapshot_of_view (t);
  char *p = buffer;
  int r = 0;

  while (r == 0 && count > 0) {
    struct tracked_read tracked;
    struct piece piece = piece_begin (s, sector, count, &tracked);

    r = piece.is_mapped ? read_cow (s, p, &piece)
                        : target_read (s->origin, p, sector, piece.count);
    piece_end (s, &piece, &tracked);
    p += sector_to_bytes (piece.count);
    sector += piece.count;
    count -= piece.count;
  }
  return r;
}

static int
snapshot_read (struct target *t, void *buffer, sector_t sector, sector_t count)
{
  struct snapshot *s = snapshot_of (t);
  int r;

  if (atomic_load (&s->is_broken))
    return -EIO;
  r = view_read (&s->view, buffer, sector, count);
  /* Once the snapshot is broken, and not before, the origin may be
   * overwritten without regard to our read: so this is asked again.
   */
  return atomic_load (&s->is_broken) ? -EIO : r;
}

static int
view_extent (struct target *t, sector_t sector, sector_t count,
             struct bdev_extent *extent)
{
  struct snapshot *s = snapshot_of_view (t);
  struct tracked_read tracked;
  struct piece piece = piece_begin (s, sector, count, &tracked);
  /* What the origin says of a chunk is only true as long as it is not
   * overwritten.
   */
  int r = piece.is_mapped
            ? bdev_extent (s->cow, piece.sector, piece.count, extent)
            : target_extent (s->origin, sector, piece.count, extent);

  piece_end (s, &piece, &tracked);
  return r;
}

static int
snapshot_extent (struct target *t, sector_t sector, sector_t count,
                 struct bdev_extent *extent)
{
  struct snapshot *s = snapshot_of (t);
  int r;

  if (atomic_load (&s->is_broken))
    return -EIO;
  r = view_extent (&s->view, sector, count, extent);
  return atomic_load (&s->is_broken) ? -EIO : r;
}

/*----- writing to a snapshot -------------------------------------------*/

/* See that the range can be written in the store: older snapshots have
 * what is there now, and so has the store.
 */
static int
prepare_write (struct snapshot *s, sector_t sector, sector_t count)
{
  char why[SNAPSHOT_WHY_BYTES];
  int r;

  if (s->is_read_only)
    return -EROFS;
  if (atomic_load (&s->is_broken))
    return -EIO;
  r = snapshot_preserve (s->below, sector, count);
  if (r < 0)
    return r;
  r = snapshot_copy_chunks (s, snapshot_chunk_of (s, sector),
                            snapshot_chunk_of (s, sector + count - 1), why);
  if (r < 0 && is_power_of_2 (atomic_fetch_add (&s->refused_writes, 1) + 1))
    log_error ("snapshot %s: %s; a write to the snapshot was refused", s->name,
               why);
  return r;
}

/* Where the first part of a range that is all in the store is there. */
static struct piece
first_store_piece (struct snapshot *s, sector_t sector, sector_t count)
{
  struct piece piece;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  piece = first_piece_locked (s, sector, count);
  assert (piece.is_mapped);
  return piece;
}

static int
snapshot_write (struct target *t, const void *buffer, sector_t sector,
                sector_t count, unsigned flags)
{
  struct snapshot *s = snapshot_of (t);
  const char *p = buffer;
  int r = prepare_write (s, sector, count);

  while (r == 0 && count > 0) {
    struct piece piece = first_store_piece (s, sector, count);
    struct iovec iov = { (void *) p, sector_to_bytes (piece.count) };

    r = bdev_write (s->cow, &iov, 1, piece.sector, flags);
    p += iov.iov_len;
    sector += piece.count;
    count -= piece.count;
  }
  return r == 0 && atomic_load (&s->is_broken) ? -EIO : r;
}

static int
snapshot_zero (struct target *t, sector_t sector, sector_t count,
               unsigned flags)
{
  struct snapshot *s = snapshot_of (t);
  bool is_first = true;
  int r = prepare_write (s, sector, count);

  while (r == 0 && count > 0) {
    struct piece piece = first_store_piece (s, sector, count);

    r = bdev_write_zeroes (s->cow, piece.sector, piece.count, flags);
    if (r == -EOPNOTSUPP && !is_first) /* too late to say so */
      r = bdev_write_zeroes (s->cow, piece.sector, piece.count,
                             flags & ~BDEV_FAST);
    is_first = false;
    sector += piece.count;
    count -= piece.count;
  }
  return r == 0 && atomic_load (&s->is_broken) ? -EIO : r;
}

static int
snapshot_flush (struct target *t)
{
  struct snapshot *s = snapshot_of (t);

  if (atomic_load (&s->is_broken))
    return -EIO;
  return bdev_flush (s->cow);
}

static const struct target_ops snapshot_ops = {
  .name = "snapshot",
  .read = snapshot_read,
  .write = snapshot_write,
  .flush = snapshot_flush,
  .zero = snapshot_zero,
  .extent = snapshot_extent,
};

static int
view_write (struct target *t, const void *buffer, sector_t sector,
            sector_t count, unsigned flags)
{
  (void) t, (void) buffer, (void) sector, (void) count, (void) flags;
  return -EROFS;
}

static int
view_flush (struct target *t)
{
  (void) t;
  return 0;
}

static int
view_zero (struct target *t, sector_t sector, sector_t count, unsigned flags)
{
  (void) t, (void) sector, (void) count, (void) flags;
  return -EROFS;
}

static const struct target_ops view_ops = {
  .name = "snapshot view",
  .read = view_read,
  .write = view_write,
  .flush = view_flush,
  .zero = view_zero,
  .extent = view_extent,
};

/*----- life ------------------------------------------------------------*/

static int
load_exception (void *opaque, const struct exception *exception)
{
  struct snapshot *s = opaque;
  uint64_t chunk = exception->old_chunk;
  int r = exception_table_insert (s->table, chunk, exception->new_chunk);

  if (r == 0)
    s->safe[chunk / 64] |= UINT64_C (1) << chunk % 64;
  return r;
}

/* Open the store and make the tables that its chunk size asks for. */
static int
open_store (struct snapshot *s)
{
  int r = exception_store_open (s->cow, s->target.sectors, &s->store);

  if (r < 0)
    return r;
  s->chunk_sectors = exception_store_chunk_sectors (s->store);
  s->chunk_shift = log2_of (s->chunk_sectors);
  s->chunk_count = div_round_up (s->target.sectors, s->chunk_sectors);
  if (!exception_store_is_valid (s->store))
    atomic_store (&s->is_broken, true);

  r = exception_table_create (s->chunk_count, &s->table);
  if (r < 0)
    goto err_close_store;
  s->safe = calloc (s->chunk_count / 64 + 1, sizeof s->safe[0]);
  if (s->safe == NULL) {
    r = -ENOMEM;
    goto err_destroy_table;
  }
  r = exception_store_load (s->store, load_exception, s);
  if (r < 0)
    goto err_free_safe;
  return 0;

err_free_safe:
  free (s->safe);
err_destroy_table:
  exception_table_destroy (s->table);
err_close_store:
  exception_store_close (s->store);
  return r;
}

int
snapshot_open (const struct snapshot_params *params, struct snapshot **snapshot)
{
  struct snapshot *s = calloc (1, sizeof *s);
  unsigned i;
  int r;

  if (s == NULL)
    return -ENOMEM;
  s->target.ops = &snapshot_ops;
  s->target.sectors = params->origin->sectors;
  s->view.ops = &view_ops;
  s->view.sectors = params->origin->sectors;
  s->is_read_only = params->is_read_only;
  s->is_broken = !params->is_valid;
  s->on_cow_error = params->on_cow_error;
  s->broken = params->broken;
  s->opaque = params->opaque;
  s->origin = params->origin;
  s->cow = params->cow;
  s->name = strdup (params->name);
  if (s->name == NULL) {
    r = -ENOMEM;
    goto err_free_snapshot;
  }
  r = target_bdev_create (s->origin, &s->origin_bdev);
  if (r < 0)
    goto err_free_name;
  r = open_store (s);
  if (r < 0)
    goto err_close_origin;

  mutex_init (&s->break_lock);
  mutex_init (&s->lock);
  cond_init (&s->changed);
  for (i = 0; i < PENDING_BUCKETS; ++i)
    list_init (&s->pending[i]);
  list_init (&s->tracked);
  *snapshot = s;
  return 0;

err_close_origin:
  bdev_close (s->origin_bdev);
err_free_name:
  free (s->name);
err_free_snapshot:
  free (s);
  return r;
}

void
snapshot_close (struct snapshot *snapshot)
{
  unsigned i;

  if (snapshot == NULL)
    return;
  assert (list_is_empty (&snapshot->tracked));
  for (i = 0; i < PENDING_BUCKETS; ++i)
    assert (list_is_empty (&snapshot->pending[i]));
  exception_store_close (snapshot->store);
  exception_table_destroy (snapshot->table);
  free (snapshot->safe);
  bdev_close (snapshot->origin_bdev);
  bdev_close (snapshot->cow);
  cond_destroy (&snapshot->changed);
  mutex_destroy (&snapshot->lock);
  mutex_destroy (&snapshot->break_lock);
  free (snapshot->name);
  free (snapshot);
}

void
snapshot_set_below (struct snapshot *snapshot, struct snapshot *below)
{
  snapshot->below = below;
}

void
snapshot_set_kcopyd (struct snapshot *snapshot, struct kcopyd_client *kcopyd)
{
  snapshot->kcopyd = kcopyd;
}

struct target *
snapshot_target (struct snapshot *snapshot)
{
  return &snapshot->target;
}

struct target *
snapshot_view (struct snapshot *snapshot)
{
  return &snapshot->view;
}

const char *
snapshot_name (const struct snapshot *snapshot)
{
  return snapshot->name;
}

bool
snapshot_is_valid (struct snapshot *snapshot)
{
  return !atomic_load (&snapshot->is_broken);
}

bool
snapshot_is_read_only (const struct snapshot *snapshot)
{
  return snapshot->is_read_only;
}

void
snapshot_get_status (struct snapshot *snapshot, struct snapshot_status *status)
{
  struct exception_store_usage usage;

  exception_store_get_usage (snapshot->store, &usage);
  status->chunk_sectors = snapshot->chunk_sectors;
  status->used_sectors = usage.used_sectors;
  status->store_sectors = usage.total_sectors;
  status->metadata_sectors = usage.metadata_sectors;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&snapshot->lock);
  status->chunks = exception_table_count (snapshot->table);
}
