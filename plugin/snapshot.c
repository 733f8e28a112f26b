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
 * States: VALID -> BROKEN [snapshot_break], for ever.
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

/* In the manifest, if there is one, and in the store: one of them must have
 * it.  On a disk that is full a manifest can't be replaced, while the header,
 * which is there, can be written; a store that fails may well refuse that.
 */
static int
record_loss (struct snapshot *s, const char *why)
{
  int r = 0, marked;

  if (s->broken != NULL)
    r = s->broken (s->opaque, s, LOSS_IS_UNKNOWN, why);
  marked = exception_store_invalidate (s->store);
  if (s->broken == NULL)
    return marked;
  if (r < 0)
    return marked < 0 ? r : s->broken (s->opaque, s, LOSS_IS_MARKED, why);
  if (marked < 0)
    log_warning ("snapshot %s: the COW store cannot be marked invalid: %s",
                 snapshot_name (s), errno_text (marked));
  return 0;
}

int
snapshot_break (struct snapshot *s, const char *why)
{
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->break_lock);

  if (atomic_load (&s->is_broken))
    return 0;
  r = record_loss (s, why);
  if (r < 0) {
    log_error ("snapshot %s: %s; that it is lost cannot be recorded (%s), "
               "so the client gets an error",
               snapshot_name (s), why, errno_text (r));
    return r;
  }
  atomic_store (&s->is_broken, true);
  log_error ("snapshot %s: %s; the snapshot is invalid, the volume goes on",
             snapshot_name (s), why);
  return 0;
}

/* Not all of what is about to be overwritten is safe.  Returns 0 if the
 * write may go on all the same.
 */
static int
handle_cow_error (struct snapshot *s, int error, const char *why)
{
  if (s->on_cow_error == BREAK_SNAPSHOT)
    return snapshot_break (s, why);
  /* Told the first time, and then ever less often. */
  if (is_power_of_2 (atomic_fetch_add (&s->refused_writes, 1) + 1))
    log_error ("snapshot %s: %s; a write to the volume was refused, because "
               "of on-cow-error=break-guest-write",
               snapshot_name (s), why);
  return error;
}

/*----- preserving ------------------------------------------------------*/

/* What is done about a chunk that cannot be copied: as handle_cow_error. */
typedef int (*cow_error_fn) (struct snapshot *s, int error, const char *why);

static int
keep_all (struct snapshot *s, int error, const char *why)
{
  (void) s, (void) why;
  return error;
}

static int preserve (struct snapshot *s, sector_t sector, sector_t count,
                     cow_error_fn on_error);

/* A broken snapshot has not chunks FIRST .. LAST of the range: see to it
 * that the next older one has what of the range is in them.
 */
static int
preserve_below (struct snapshot *s, uint64_t first, uint64_t last,
                sector_t sector, sector_t count, cow_error_fn on_error)
{
  sector_t begin = MAX_OF (sector, first << s->chunk_shift);
  sector_t end = MIN_OF (sector + count, (last + 1) << s->chunk_shift);

  return preserve (s->below, begin, end - begin, on_error);
}

static int
preserve (struct snapshot *s, sector_t sector, sector_t count,
          cow_error_fn on_error)
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
      if (!atomic_load (&s->is_leaving))
        r = on_error (s, r, why);
      else
        r = 0;
      if (r < 0)
        return r;
      continue; /* it is broken now; what it has got is safe */
    }
    r = preserve_below (s, chunk, end, sector, count, on_error);
    if (r < 0)
      return r;
    chunk = end + 1;
  }
  return 0;
}

int
snapshot_preserve (struct snapshot *s, sector_t sector, sector_t count)
{
  return preserve (s, sector, count, handle_cow_error);
}

int
snapshot_preserve_or_fail (struct snapshot *s, sector_t sector, sector_t count)
{
  return preserve (s, sector, count, keep_all);
}

int
snapshot_settle (struct snapshot *snapshot)
{
  char why[SNAPSHOT_WHY_BYTES];
  int r = snapshot->is_transient ? 0 : bdev_flush (snapshot->cow);

  if (r == 0)
    return 0;
  snprintf (why, sizeof why, "its COW store cannot be flushed: %s",
            errno_text (r));
  if (!atomic_load (&snapshot->is_broken))
    return handle_cow_error (snapshot, r, why);
  log_error ("snapshot %s: %s; older ones need what is in it",
             snapshot_name (snapshot), why);
  return r;
}

/*----- requests of the snapshot's own clients --------------------------*/

/* Returns 0, and then request_end follows; or -EIO: it is invalid. */
static int
request_begin (struct snapshot *s)
{
  atomic_fetch_add (&s->requests, 1);
  if (!atomic_load (&s->is_broken))
    return 0;
  snapshot_request_end (s);
  return -EIO;
}

/* Returns RESULT, but -EIO if the snapshot has become invalid. */
static int
request_end (struct snapshot *s, int result)
{
  /* Once the snapshot is broken, and not before, the origin may be
   * overwritten without regard to our read: so this is asked again.
   */
  if (result == 0 && atomic_load (&s->is_broken))
    result = -EIO;
  snapshot_request_end (s);
  return result;
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

bool
snapshot_has (struct snapshot *snapshot, sector_t sector, sector_t count,
              sector_t *run)
{
  struct piece piece;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&snapshot->lock);
  piece = first_piece_locked (snapshot, sector, count);
  *run = piece.count;
  return piece.is_mapped;
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
    tracked->origin = s->origin;
    tracked->origin->users++;
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
  tracked->origin->users--;
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

    r = piece.is_mapped
          ? read_cow (s, p, &piece)
          : target_read (tracked.origin->target, p, sector, piece.count);
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
  int r = request_begin (s);

  if (r < 0)
    return r;
  return request_end (s, view_read (&s->view, buffer, sector, count));
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
            : target_extent (tracked.origin->target, sector, piece.count,
                             extent);

  piece_end (s, &piece, &tracked);
  return r;
}

static int
snapshot_extent (struct target *t, sector_t sector, sector_t count,
                 struct bdev_extent *extent)
{
  struct snapshot *s = snapshot_of (t);
  int r = request_begin (s);

  if (r < 0)
    return r;
  return request_end (s, view_extent (&s->view, sector, count, extent));
}

/*----- writing to a snapshot -------------------------------------------*/

/* Tell who watches which chunks will be written. */
static void
note_written (struct snapshot *s, sector_t sector, sector_t count)
{
  _Atomic uint64_t *written = atomic_load (&s->written);
  uint64_t chunk, last;

  if (written == NULL)
    return;
  last = snapshot_chunk_of (s, sector + count - 1);
  for (chunk = snapshot_chunk_of (s, sector); chunk <= last; ++chunk)
    atomic_fetch_or (&written[chunk / 64], UINT64_C (1) << chunk % 64);
}

void
snapshot_watch (struct snapshot *snapshot, _Atomic uint64_t *written)
{
  atomic_store (&snapshot->written, written);
}

/* See that the range can be written in the store: older snapshots have
 * what is there now, and so has the store.
 */
static int
prepare_write (struct snapshot *s, sector_t sector, sector_t count)
{
  char why[SNAPSHOT_WHY_BYTES];
  int r = snapshot_preserve (s->below, sector, count);

  if (r < 0)
    return r;
  r = snapshot_copy_chunks (s, snapshot_chunk_of (s, sector),
                            snapshot_chunk_of (s, sector + count - 1), why);
  note_written (s, sector, count);
  if (r == -ESTALE)
    return -EIO;
  if (r < 0 && is_power_of_2 (atomic_fetch_add (&s->refused_writes, 1) + 1))
    log_error ("snapshot %s: %s; a write to the snapshot was refused",
               snapshot_name (s), why);
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

/* Nothing that could be read after a crash needs to be durable: there is no
 * snapshot then.
 */
static unsigned
durable_flags (const struct snapshot *s, unsigned flags)
{
  return s->is_transient ? flags & ~BDEV_FUA : flags;
}

static int
snapshot_write (struct target *t, const void *buffer, sector_t sector,
                sector_t count, unsigned flags)
{
  struct snapshot *s = snapshot_of (t);
  const char *p = buffer;
  int r = s->is_read_only ? -EROFS : request_begin (s);

  if (r < 0)
    return r;
  flags = durable_flags (s, flags);
  r = prepare_write (s, sector, count);
  while (r == 0 && count > 0) {
    struct piece piece = first_store_piece (s, sector, count);
    struct iovec iov = { (void *) p, sector_to_bytes (piece.count) };

    r = bdev_write (s->cow, &iov, 1, piece.sector, flags);
    p += iov.iov_len;
    sector += piece.count;
    count -= piece.count;
  }
  return request_end (s, r);
}

static int
snapshot_zero (struct target *t, sector_t sector, sector_t count,
               unsigned flags)
{
  struct snapshot *s = snapshot_of (t);
  bool is_first = true;
  int r = s->is_read_only ? -EROFS : request_begin (s);

  if (r < 0)
    return r;
  flags = durable_flags (s, flags);
  r = prepare_write (s, sector, count);
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
  return request_end (s, r);
}

static int
snapshot_flush (struct target *t)
{
  struct snapshot *s = snapshot_of (t);
  int r = request_begin (s);

  if (r < 0)
    return r;
  return request_end (s, s->is_transient ? 0 : bdev_flush (s->cow));
}

const struct target_ops snapshot_ops = {
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

const struct target_ops snapshot_view_ops = {
  .name = "snapshot view",
  .read = view_read,
  .write = view_write,
  .flush = view_flush,
  .zero = view_zero,
  .extent = view_extent,
};
