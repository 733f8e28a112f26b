/* Sectors of simulated disks: what is durable, and what came since.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Invariants of a sector:
 * (1) its versions are in the order in which they came to be seen;
 * (2) the first one is durable, and there is one: `hole` stands for what
 *     was never written.
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>

#include "disk-sim-impl.h"
#include "sim.h"

static struct version hole = { .is_hole = true };
static struct version *free_versions;

/*----- sectors ---------------------------------------------------------*/

struct version *
version_get (void)
{
  struct version *v = free_versions;

  if (v != NULL)
    free_versions = v->next;
  else {
    v = malloc (sizeof *v);
    if (v == NULL)
      abort ();
  }
  v->next = NULL;
  v->completed = IN_FLIGHT;
  v->request = NULL;
  v->is_hole = false;
  return v;
}

void
version_put (struct version *v)
{
  if (v == &hole || v == NULL)
    return;
  v->next = free_versions;
  free_versions = v;
}

static void
count_allocated (struct sim_disk *disk, const struct version *before,
                 const struct version *now)
{
  disk->allocated += before->is_hole && !now->is_hole;
  disk->allocated -= !before->is_hole && now->is_hole;
}

void
sector_show (struct sim_disk *disk, sector_t sector, struct version *v)
{
  struct sector *s = &disk->map[sector];

  count_allocated (disk, s->last, v);
  if (s->first == &hole && s->last == &hole) {
    /* The one hole is shared: it cannot be followed by anything. */
    struct version *own = version_get ();

    *own = hole;
    s->first = s->last = own;
  }
  s->last->next = v;
  s->last = v;
  if (!s->is_dirty) {
    s->is_dirty = true;
    disk->dirty[disk->dirty_count++] = sector;
  }
}

/* V, one of SECTOR's, is durable: what was before it is no more. */
static void
settle_version (struct sim_disk *disk, sector_t sector, struct version *v)
{
  struct sector *s = &disk->map[sector];

  while (s->first != v) {
    struct version *next = s->first->next;

    version_put (s->first);
    s->first = next;
  }
}

/* The newest version of S that had completed at TICK. */
static struct version *
completed_version (const struct sector *s, uint64_t tick)
{
  struct version *v, *found = s->first;

  for (v = s->first->next; v != NULL; v = v->next)
    if (v->completed <= tick)
      found = v;
  return found;
}

void
sector_complete (struct sim_disk *disk, sector_t sector,
                 const struct request *rq, uint64_t tick)
{
  struct version *v;

  for (v = disk->map[sector].first; v != NULL; v = v->next) {
    if (v->request == rq) {
      v->completed = tick;
      v->request = NULL;
    }
  }
}

void
sector_settle (struct sim_disk *disk, sector_t sector, uint64_t tick)
{
  settle_version (disk, sector, completed_version (&disk->map[sector], tick));
}

void
sectors_forget_clean (struct sim_disk *disk)
{
  sector_t i, n = 0;

  for (i = 0; i < disk->dirty_count; ++i) {
    struct sector *s = &disk->map[disk->dirty[i]];

    if (s->first == s->last)
      s->is_dirty = false;
    else
      disk->dirty[n++] = disk->dirty[i];
  }
  disk->dirty_count = n;
}

void
sectors_settle (struct sim_disk *disk, uint64_t tick)
{
  sector_t i;

  for (i = 0; i < disk->dirty_count; ++i)
    sector_settle (disk, disk->dirty[i], tick);
  sectors_forget_clean (disk);
}

/*----- losing ----------------------------------------------------------*/

/* What of SECTOR stays when all that is not durable may go. */
static struct version *
choose_survivor (const struct sector *s, unsigned mood)
{
  struct version *v = s->first;
  unsigned n = 0;

  if (mood == 0)
    return s->first;
  if (mood == 1)
    return s->last;
  for (; v != s->last; v = v->next)
    n++;
  n = sim_choose (n + 1);
  for (v = s->first; n > 0; --n)
    v = v->next;
  return v;
}

void
sectors_lose (struct sim_disk *disk)
{
  /* All that can go, nothing, or by chance. */
  unsigned mood = sim_is_choosing () ? 2 : sim_below (6);
  sector_t i;

  for (i = 0; i < disk->dirty_count; ++i) {
    struct sector *s = &disk->map[disk->dirty[i]];
    struct version *kept = choose_survivor (s, mood);

    sim_disk_counters.lost_sectors += kept != s->last;
    sim_disk_counters.stale_sectors += kept != s->last && kept != s->first;
    if (sim_is_traced ())
      sim_trace ("disk %s: sector %" PRIu64 " has %s", disk->name,
                 disk->dirty[i],
                 kept == s->last    ? "the newest"
                 : kept == s->first ? "what was durable"
                                    : "one in between");
    settle_version (disk, disk->dirty[i], kept);
    while (kept->next != NULL) {
      struct version *next = kept->next;

      kept->next = next->next;
      version_put (next);
    }
    kept->completed = 0;
    s->last = kept;
  }
  disk->allocated = 0;
  for (i = 0; i < disk->sectors; ++i)
    disk->allocated += !disk->map[i].last->is_hole;
  sectors_forget_clean (disk);
}

void
sectors_complete_all (struct sim_disk *disk)
{
  uint64_t tick = sim_tick ();
  struct version *v;
  sector_t i;

  for (i = 0; i < disk->dirty_count; ++i) {
    for (v = disk->map[disk->dirty[i]].first; v != NULL; v = v->next) {
      if (v->completed == IN_FLIGHT) {
        v->completed = tick;
        v->request = NULL;
      }
    }
  }
}

/*----- life ------------------------------------------------------------*/

void
sectors_init (struct sim_disk *disk)
{
  sector_t i;

  disk->map = calloc (disk->sectors + 1, sizeof disk->map[0]);
  disk->dirty = calloc (disk->sectors + 1, sizeof disk->dirty[0]);
  if (disk->map == NULL || disk->dirty == NULL)
    abort ();
  for (i = 0; i < disk->sectors; ++i)
    disk->map[i].first = disk->map[i].last = &hole;
}

void
sectors_free (struct sim_disk *disk)
{
  sector_t i;

  for (i = 0; i < disk->sectors; ++i) {
    struct version *v = disk->map[i].first;

    while (v != NULL) {
      struct version *next = v->next;

      version_put (v);
      v = next;
    }
  }
  free (disk->dirty);
  free (disk->map);
}
