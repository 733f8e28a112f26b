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
#include <string.h>

#include "disk-sim-impl.h"
#include "sim.h"

static struct version hole = { .is_hole = true };
static struct version *free_versions;

/*----- contents --------------------------------------------------------*/

#define HALF_BYTES (SECTOR_SIZE / 2)

/* One block of memory for what is not two words. */
union block {
  union block *next; /* among those that are free */
  unsigned char bytes[SECTOR_SIZE];
};

static union block *free_blocks;

static unsigned char *
block_get (void)
{
  union block *b = free_blocks;

  if (b != NULL)
    free_blocks = b->next;
  else {
    b = malloc (sizeof *b);
    if (b == NULL)
      abort ();
  }
  return b->bytes;
}

static void
block_put (unsigned char *bytes)
{
  union block *b = (union block *) (void *) bytes;

  b->next = free_blocks;
  free_blocks = b;
}

/* True if this half of a sector is one word, *WORD, again and again. */
static bool
is_one_word (const unsigned char *half, uint64_t *word)
{
  memcpy (word, half, sizeof *word);
  return memcmp (half, half + sizeof *word, HALF_BYTES - sizeof *word) == 0;
}

/* What clients write is such words, and so is nearly all that there is: a
 * sector of it fits into one line of the cache.
 */
void
version_store (struct version *v, const unsigned char *bytes)
{
  if (is_one_word (bytes, &v->words[0]) &&
      is_one_word (bytes + HALF_BYTES, &v->words[1]))
    return;
  v->bytes = block_get ();
  memcpy (v->bytes, bytes, SECTOR_SIZE);
}

void
version_load (const struct version *v, unsigned char *bytes)
{
  unsigned half, i;

  if (v->bytes != NULL) {
    memcpy (bytes, v->bytes, SECTOR_SIZE);
    return;
  }
  for (half = 0; half < 2; ++half)
    for (i = 0; i < HALF_BYTES / sizeof v->words[0]; ++i) {
      memcpy (bytes, &v->words[half], sizeof v->words[0]);
      bytes += sizeof v->words[0];
    }
}

bool
version_is (const struct version *v, const unsigned char *bytes)
{
  uint64_t words[2];

  if (v->bytes != NULL)
    return memcmp (v->bytes, bytes, SECTOR_SIZE) == 0;
  return is_one_word (bytes, &words[0]) &&
         is_one_word (bytes + HALF_BYTES, &words[1]) &&
         words[0] == v->words[0] && words[1] == v->words[1];
}

bool
version_half (const struct version *v, unsigned half, uint64_t *word)
{
  if (v->bytes != NULL)
    return is_one_word (v->bytes + half * HALF_BYTES, word);
  *word = v->words[half];
  return true;
}

bool
versions_are_equal (const struct version *a, const struct version *b)
{
  /* What is two words is never kept in another way. */
  if (a->bytes == NULL || b->bytes == NULL)
    return a->bytes == b->bytes && a->words[0] == b->words[0] &&
           a->words[1] == b->words[1];
  return memcmp (a->bytes, b->bytes, SECTOR_SIZE) == 0;
}

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
  *v = (struct version){ .completed = IN_FLIGHT };
  return v;
}

void
version_put (struct version *v)
{
  if (v == &hole || v == NULL)
    return;
  if (v->bytes != NULL)
    block_put (v->bytes);
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
