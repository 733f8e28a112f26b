/* What each sector of a volume may hold after its server was killed.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sector-versions.h"

#define OLD_MAX 4

struct version {
  uint64_t sum; /* of the sector's 512 bytes */
  uint64_t op;
  uint64_t acknowledged; /* when, by the count of replies; 0: not yet */
};

struct sector {
  struct version *versions; /* [0] is the last one known to be durable */
  unsigned count;
  unsigned room;
  struct version old[OLD_MAX]; /* a ring of versions that may not come back */
  unsigned old_count;
};

struct sector_versions {
  uint64_t count;
  struct sector *sectors;
};

static void *
need_memory (void *memory)
{
  if (memory == NULL) {
    fprintf (stderr, "sector-versions: out of memory\n");
    exit (EXIT_FAILURE);
  }
  return memory;
}

static uint64_t
sum_of (const uint8_t *bytes)
{
  uint64_t sum = 0, word;

  for (size_t i = 0; i < SECTOR; i += 8) {
    memcpy (&word, &bytes[i], 8);
    sum = (sum ^ word) * UINT64_C (0x9fb21c651e98df25);
    sum ^= sum >> 28;
  }
  return sum;
}

struct sector_versions *
versions_create (uint64_t sectors, const uint8_t *content)
{
  struct sector_versions *v = need_memory (calloc (1, sizeof *v));

  v->count = sectors;
  v->sectors = need_memory (calloc (sectors, sizeof v->sectors[0]));
  for (uint64_t n = 0; n < sectors; n++) {
    versions_issue (v, n, 0, &content[n * SECTOR]);
    v->sectors[n].versions[0].acknowledged = 1;
  }
  return v;
}

void
versions_free (struct sector_versions *v)
{
  if (v == NULL)
    return;
  for (uint64_t n = 0; n < v->count; n++)
    free (v->sectors[n].versions);
  free (v->sectors);
  free (v);
}

void
versions_issue (struct sector_versions *v, uint64_t n, uint64_t op,
                const uint8_t *bytes)
{
  struct sector *s = &v->sectors[n];

  if (s->count == s->room) {
    s->room = s->room == 0 ? 2 : s->room * 2;
    s->versions = need_memory (
      realloc (s->versions, s->room * sizeof s->versions[0]));
  }
  s->versions[s->count++] = (struct version){
    .sum = sum_of (bytes),
    .op = op,
  };
}

static void
drop_before (struct sector *s, unsigned keep)
{
  if (keep == 0)
    return;
  for (unsigned i = 0; i < keep; i++)
    s->old[s->old_count++ % OLD_MAX] = s->versions[i];
  memmove (s->versions, s->versions + keep,
           (s->count - keep) * sizeof s->versions[0]);
  s->count -= keep;
}

void
versions_acknowledge (struct sector_versions *v, uint64_t first, uint64_t last,
                      uint64_t op, uint64_t reply, bool is_durable)
{
  for (uint64_t n = first; n <= last; n++) {
    struct sector *s = &v->sectors[n];

    for (unsigned i = 0; i < s->count; i++)
      if (s->versions[i].op == op) {
        s->versions[i].acknowledged = reply;
        if (is_durable)
          drop_before (s, i);
        break;
      }
  }
}

void
versions_flushed (struct sector_versions *v, uint64_t until)
{
  for (uint64_t n = 0; n < v->count; n++) {
    struct sector *s = &v->sectors[n];

    for (unsigned i = s->count; i-- > 1;)
      if (s->versions[i].acknowledged != 0 &&
          s->versions[i].acknowledged <= until) {
        drop_before (s, i);
        break;
      }
  }
}

/*----- judging ---------------------------------------------------------*/

/* A version that must not come back, if the sector has one. */
static bool
stale_sum (const struct sector *s, uint64_t *sum)
{
  for (unsigned i = 0; i < OLD_MAX && i < s->old_count; i++) {
    bool is_possible = false;

    for (unsigned j = 0; j < s->count; j++)
      if (s->versions[j].sum == s->old[i].sum)
        is_possible = true;
    if (!is_possible) {
      *sum = s->old[i].sum;
      return true;
    }
  }
  return false;
}

/* Why none of the versions has that SUM. */
static enum version_found
explain (const struct sector *s, uint64_t sum, uint64_t *op)
{
  for (unsigned i = 0; i < OLD_MAX && i < s->old_count; i++)
    if (s->old[i].sum == sum) {
      *op = s->old[i].op;
      return VERSION_OLD;
    }
  return VERSION_FOREIGN;
}

enum version_found
versions_settle (struct sector_versions *v, uint64_t n, const uint8_t *bytes,
                 enum version_plant plant, uint64_t *op, bool *is_in_doubt)
{
  struct sector *s = &v->sectors[n];
  uint64_t sum = sum_of (bytes);
  unsigned lowest = 0, i;

  *is_in_doubt = s->count > 1;
  if (plant == PLANT_OLD)
    (void) stale_sum (s, &sum);
  for (i = 0; i < s->count; i++)
    if (s->versions[i].acknowledged)
      lowest = i;
  *op = s->versions[lowest].op;
  if (plant == PLANT_EARLIER && lowest > 0 &&
      s->versions[lowest].sum != s->versions[lowest - 1].sum)
    sum = s->versions[lowest - 1].sum;
  for (i = s->count; i-- > 0;)
    if (s->versions[i].sum == sum)
      break;
  if (i == (unsigned) -1)
    return explain (s, sum, op);
  s->versions[0] = s->versions[i];
  s->versions[0].acknowledged = 1;
  s->count = 1;
  return i < lowest ? VERSION_EARLIER : VERSION_LAST;
}

void
versions_print (const struct sector_versions *v, uint64_t n, FILE *out)
{
  const struct sector *s = &v->sectors[n];

  for (unsigned i = 0; i < s->count; i++)
    fprintf (out, "  request %" PRIu64 "%s\n", s->versions[i].op,
             i == 0                        ? " (durable)"
             : s->versions[i].acknowledged ? " (acknowledged)"
                                           : " (issued)");
}
