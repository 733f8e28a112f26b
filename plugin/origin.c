/* The volume as clients see it, above the mirror and its snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#include "direct-snapshots.h"
#include "snapshot.h"

struct origin {
  struct target target;
  /* Who reads does not lock; who writes holds a range. */
  _Atomic (struct target *) lower;
  struct snapshot *newest;         /* or NULL */
  struct direct_snapshots *direct; /* instead, or NULL */
  /* The legs have once said that they cannot zero fast: by writing, or
   * by giving space back.
   */
  atomic_bool no_fast_zero;
  atomic_bool no_fast_unmap;
  atomic_bool refuses_writes;
};

static inline struct origin *
origin_of (struct target *t)
{
  return (struct origin *) ((char *) t - offsetof (struct origin, target));
}

static inline struct target *
lower_of (struct origin *o)
{
  return atomic_load_explicit (&o->lower, memory_order_acquire);
}

static int
preserve (struct origin *o, sector_t sector, sector_t count)
{
  return o->direct != NULL
           ? direct_snapshots_preserve (o->direct, sector, count)
           : snapshot_preserve (o->newest, sector, count);
}

static int
origin_read (struct target *t, void *buffer, sector_t sector, sector_t count)
{
  return target_read (lower_of (origin_of (t)), buffer, sector, count);
}

static int
origin_write (struct target *t, const void *buffer, sector_t sector,
              sector_t count, unsigned flags)
{
  struct origin *o = origin_of (t);
  int r;

  if (atomic_load_explicit (&o->refuses_writes, memory_order_relaxed))
    return -EIO;
  r = preserve (o, sector, count);
  return r < 0 ? r : target_write (lower_of (o), buffer, sector, count, flags);
}

static int
origin_flush (struct target *t)
{
  return target_flush (lower_of (origin_of (t)));
}

static int
origin_zero (struct target *t, sector_t sector, sector_t count, unsigned flags)
{
  struct origin *o = origin_of (t);
  atomic_bool *no_fast = flags & BDEV_UNMAP ? &o->no_fast_unmap
                                            : &o->no_fast_zero;
  int r;

  /* Asked first: it would be a pity to copy what is not changed then. */
  if ((flags & BDEV_FAST) && atomic_load (no_fast))
    return -EOPNOTSUPP;
  if (atomic_load_explicit (&o->refuses_writes, memory_order_relaxed))
    return -EIO;
  r = preserve (o, sector, count);
  if (r == 0)
    r = target_zero (lower_of (o), sector, count, flags);
  if (r == -EOPNOTSUPP)
    atomic_store (no_fast, true);
  return r;
}

static int
origin_extent (struct target *t, sector_t sector, sector_t count,
               struct bdev_extent *extent)
{
  return target_extent (lower_of (origin_of (t)), sector, count, extent);
}

static const struct target_ops origin_ops = {
  .name = "origin",
  .read = origin_read,
  .write = origin_write,
  .flush = origin_flush,
  .zero = origin_zero,
  .extent = origin_extent,
};

int
origin_create (struct target *lower, struct origin **origin)
{
  struct origin *o = calloc (1, sizeof *o);

  if (o == NULL)
    return -ENOMEM;
  o->target.ops = &origin_ops;
  o->target.sectors = lower->sectors;
  atomic_store (&o->lower, lower);
  *origin = o;
  return 0;
}

void
origin_destroy (struct origin *origin)
{
  free (origin);
}

void
origin_set_snapshot (struct origin *origin, struct snapshot *newest)
{
  origin->newest = newest;
}

void
origin_set_direct (struct origin *origin, struct direct_snapshots *direct)
{
  origin->direct = direct;
}

void
origin_set_lower (struct origin *origin, struct target *lower)
{
  atomic_store (&origin->lower, lower);
}

void
origin_refuse_writes (struct origin *origin, bool refuse)
{
  atomic_store (&origin->refuses_writes, refuse);
}

struct target *
origin_target (struct origin *origin)
{
  return &origin->target;
}
