/* Diff exports: what a newer snapshot has, or the volume, and an older has not.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is different between A and the newer B: a chunk that A lacks is read
 * in the next newer one, and so on, up to B.  So A and B are the same where
 * none of the snapshots from A on, B itself not counted, has a chunk in its
 * store.  (B's own chunks are what B has and those newer than it have not.
 * Who writes to B first sees that the next older one has the old chunk.)
 * Where one has, they may be the same all the same: what was written may be
 * what was there.
 *
 * What is the same is a hole, and reads as zeroes.
 *
 * A snapshot in between may go meanwhile: its chunks are handed down to one
 * that is in between, too, or is A, before it is taken out of the chain.
 *
 * Locks: chain_lock, for the chain as it is at one moment; inside it the
 * snapshots' own.
 */

#include <config.h>

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "log-sink.h"
#include "volume-impl.h"

struct diff {
  struct volume_device device;
  struct target target;
  struct volume_device *from; /* both are open as clients have them */
  struct volume_device *to;
};

static inline struct diff *
diff_of (struct target *t)
{
  return (struct diff *) ((char *) t - offsetof (struct diff, target));
}

/*----- what is different -----------------------------------------------*/

/* The part of the range, from its begin on, that is all different, or all
 * the same.
 */
struct piece {
  bool is_different;
  sector_t count;
};

/* Make PIECE, which is that of older snapshots, that of S, too. */
static void
add_snapshot (struct piece *piece, struct snapshot *s, sector_t sector,
              sector_t count)
{
  sector_t run;
  bool has = snapshot_has (s, sector, count, &run);

  if (has && piece->is_different)
    piece->count = MAX_OF (piece->count, run);
  else if (has || !piece->is_different)
    piece->count = has ? run : MIN_OF (piece->count, run);
  piece->is_different = piece->is_different || has;
}

/* Returns 0, or -EIO: one of the two is invalid, or has gone. */
static int
first_piece (struct diff *d, sector_t sector, sector_t count,
             struct piece *piece)
{
  struct volume *v = d->device.volume;
  struct snapshot *from = d->from->snapshot, *to = d->to->snapshot;
  unsigned i = 0, end;

  *piece = (struct piece){ .count = count };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->chain_lock);
  end = v->chain_length;
  while (i < end && v->snapshots[i] != from)
    i++;
  if (i == end || !snapshot_is_valid (from) ||
      (to != NULL && !snapshot_is_valid (to)))
    return -EIO;
  for (; i < end; ++i) {
    if (v->snapshots[i] == NULL)
      continue; /* there is none any more */
    if (v->snapshots[i] == to)
      return 0;
    add_snapshot (piece, v->snapshots[i], sector, count);
  }
  return to != NULL ? -EIO : 0;
}

/*----- the target ------------------------------------------------------*/

static int
diff_read (struct target *t, void *buffer, sector_t sector, sector_t count)
{
  struct diff *d = diff_of (t);
  char *p = buffer;
  int r = 0;

  while (r == 0 && count > 0) {
    struct piece piece;

    r = first_piece (d, sector, count, &piece);
    if (r < 0)
      break;
    if (piece.is_different)
      r = target_read (d->to->target, p, sector, piece.count);
    else
      memset (p, 0, sector_to_bytes (piece.count));
    p += sector_to_bytes (piece.count);
    sector += piece.count;
    count -= piece.count;
  }
  return r;
}

static int
diff_extent (struct target *t, sector_t sector, sector_t count,
             struct bdev_extent *extent)
{
  struct piece piece;
  int r = first_piece (diff_of (t), sector, count, &piece);

  if (r < 0)
    return r;
  /* What has become a hole is data, too: it is different. */
  extent->is_hole = !piece.is_different;
  extent->count = piece.count;
  return 0;
}

static int
diff_write (struct target *t, const void *buffer, sector_t sector,
            sector_t count, unsigned flags)
{
  (void) t, (void) buffer, (void) sector, (void) count, (void) flags;
  return -EROFS;
}

static int
diff_zero (struct target *t, sector_t sector, sector_t count, unsigned flags)
{
  (void) t, (void) sector, (void) count, (void) flags;
  return -EROFS;
}

static int
diff_flush (struct target *t)
{
  (void) t;
  return 0;
}

static const struct target_ops diff_ops = {
  .name = "diff",
  .read = diff_read,
  .write = diff_write,
  .flush = diff_flush,
  .zero = diff_zero,
  .extent = diff_extent,
};

#define DIFF_NAME_BYTES (2 * SNAPSHOT_NAME_MAX + sizeof "..")

static void
format_description (const char *older, const char *newer,
                    char text[VOLUME_DESCRIPTION_BYTES])
{
  (void) snprintf (text, VOLUME_DESCRIPTION_BYTES,
                   "what is different in %s%.64s since snapshot %.64s",
                   newer[0] == '\0' ? "the volume" : "snapshot ", newer, older);
}

/*----- opening ---------------------------------------------------------*/

/* True if A is older than B, or B is the volume. */
static bool
is_older (struct volume *v, const struct snapshot *a, const struct snapshot *b)
{
  unsigned i;

  if (b == NULL)
    return true;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->chain_lock);
  for (i = 0; i < v->chain_length; ++i)
    if (v->snapshots[i] == a || v->snapshots[i] == b)
      return v->snapshots[i] == a && a != b;
  return false;
}

static int
check_order (struct volume *v, const char *name, const struct diff *d)
{
  if (is_older (v, d->from->snapshot, d->to->snapshot))
    return 0;
  if (d->from == d->to)
    log_error ("export '%.160s': the first must be older than the second; open "
               "'%s..' for what has changed since",
               name, snapshot_name (d->from->snapshot));
  else
    log_error ("export '%.160s': the first must be older than the second; open "
               "'%s..%s', or '%s..' for what has changed since",
               name, snapshot_name (d->to->snapshot),
               snapshot_name (d->from->snapshot),
               snapshot_name (d->from->snapshot));
  return -EINVAL;
}

/* The two dots between the names of a diff, or NULL.  A name may end in a dot,
 * and none begins with one: so they are the last two of a run.
 */
static const char *
find_dots (const char *name)
{
  const char *dots = strstr (name, "..");

  while (dots != NULL && dots[2] == '.')
    dots++;
  return dots;
}

bool
volume_diff_is_name (const char *name)
{
  return find_dots (name) != NULL;
}

int
volume_diff_open (struct volume *v, const char *name, bool may_write,
                  struct volume_device **device)
{
  const char *dots = find_dots (name);
  char from[SNAPSHOT_NAME_MAX + 1];
  struct diff *d;
  int r;

  if (dots == name || (size_t) (dots - name) >= sizeof from ||
      volume_diff_is_name (dots + 2))
    return volume_device_say_none (name);
  snprintf (from, sizeof from, "%.*s", (int) (dots - name), name);
  d = calloc (1, sizeof *d);
  if (d == NULL)
    return -ENOMEM;
  r = volume_device_open (v, from, may_write, &d->from);
  if (r < 0)
    goto err_free_diff;
  r = volume_device_open (v, dots + 2, may_write, &d->to);
  if (r < 0)
    goto err_close_from;
  r = check_order (v, name, d);
  if (r < 0)
    goto err_close_to;
  d->target.ops = &diff_ops;
  d->target.sectors = d->to->target->sectors;
  d->device.volume = v;
  d->device.target = &d->target;
  d->device.is_read_only = true;
  d->device.is_diff = true;
  format_description (from, dots + 2, d->device.description);
  range_lock_init (&d->device.range_lock);
  d->device.pace = v->pace;
  *device = &d->device;
  return 0;

err_close_to:
  volume_device_close (d->to);
err_close_from:
  volume_device_close (d->from);
err_free_diff:
  free (d);
  return r;
}

void
volume_diff_close (struct volume_device *device)
{
  struct diff *d = diff_of (device->target);

  volume_device_close (d->to);
  volume_device_close (d->from);
  range_lock_destroy (&d->device.range_lock);
  free (d);
}

/*----- listing ---------------------------------------------------------*/

int
volume_diff_each (const char *older, const char *newer, volume_export_fn fn,
                  void *opaque)
{
  char name[DIFF_NAME_BYTES], text[VOLUME_DESCRIPTION_BYTES];

  (void) snprintf (name, sizeof name, "%s..%s", older, newer);
  format_description (older, newer, text);
  return fn (opaque, name, text);
}
