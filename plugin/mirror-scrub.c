/* The scrub: compares the legs in sync, and repairs one that differs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A thread goes over the volume once, a small piece after the other, and reads
 * each piece from all legs in sync.  At first without keeping anybody out: if
 * all give the same, that is that.  If not, somebody may just have been writing
 * there, so the region is held and the piece is read again; what differs then
 * is a mismatch.
 *
 * Which copy of a sector is right: the one that more than half of the legs
 * have; without one, the primary's, which is told, since nobody knows.  If the
 * primary could not be read, nothing is repaired there.
 *
 * Invariants:
 * (1) a mismatch is only what differs between legs in sync, where these should
 *     agree and the region is held; so what is rewritten is never newer than
 *     what it is rewritten from;
 * (2) a sector is counted at most once in a scrub;
 * (3) nothing is written by SCRUB_CHECK.
 *
 * A read error is that of any read: it is noted, and repaired or the leg fails
 * (mirror-repair.c); the other legs are compared meanwhile.
 *
 * Locks: scrub_lock is a leaf; no lock is held during I/O, but a region is.
 *
 * Model: Linux 6.1 md, sync_action check and repair: counts, and the first
 * copy wins.  Differs: majorities; where is told, and which leg.  dm-mirror
 * has no such thing.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "log-sink.h"
#include "mirror-impl.h"

/* So much is compared while a region is held. */
#define SCRUB_SECTORS 256U

/* The sectors of one leg that differ, one behind the other. */
struct mismatch_range {
  sector_t sector, count; /* count 0: none */
  unsigned source;        /* the leg that has it right, or NO_LEG */
  bool is_majority;
  bool is_repaired;
};

struct scrub {
  struct mirror *m;
  enum scrub_mode mode;
  struct mismatch_range ranges[MIRROR_MAX_LEGS]; /* not yet told */

  /* The piece: which legs have been read, and what they hold. */
  sector_t sector, count;
  unsigned long legs;
  unsigned char data[MIRROR_MAX_LEGS][SCRUB_SECTORS * SECTOR_SIZE];
  /* For each sector: who has it right, and if that is a majority. */
  unsigned source[SCRUB_SECTORS];
  bool is_majority[SCRUB_SECTORS];
  unsigned char again[SCRUB_SECTORS * SECTOR_SIZE];
};

/*----- telling ---------------------------------------------------------*/

/* What has been done about R. */
static const char *
remedy_text (const struct scrub *s, const struct mismatch_range *r)
{
  if (s->mode == SCRUB_CHECK)
    return "a scrub that repairs would rewrite them from there";
  return r->is_repaired ? "they were rewritten from there"
                        : "they could not be rewritten from there";
}

static void
tell_range (struct scrub *s, unsigned leg)
{
  struct mismatch_range *r = &s->ranges[leg];
  struct mirror *m = s->m;

  if (r->count == 0)
    return;
  if (r->source == NO_LEG)
    log_warning ("mirror: scrub: leg %u (%s): %" PRIu64 " bytes at %" PRIu64
                 " differ from other legs, and the primary could not be read "
                 "there, so nobody knows which is right; they stay as they are",
                 leg, m->legs[leg].name, sector_to_bytes (r->count),
                 sector_to_bytes (r->sector));
  else
    log_warning ("mirror: scrub: leg %u (%s): %" PRIu64 " bytes at %" PRIu64
                 " differ from %s leg %u (%s)%s; %s",
                 leg, m->legs[leg].name, sector_to_bytes (r->count),
                 sector_to_bytes (r->sector),
                 r->is_majority ? "most legs, such as" : "the primary,",
                 r->source, m->legs[r->source].name,
                 r->is_majority ? "" : ", and no majority tells which is right",
                 remedy_text (s, r));
  r->count = 0;
}

/* Add sectors of LEG that differ; told when no more follow. */
static void
add_range (struct scrub *s, unsigned leg, const struct mismatch_range *add)
{
  struct mismatch_range *r = &s->ranges[leg];

  if (r->count > 0 && r->sector + r->count == add->sector &&
      r->source == add->source && r->is_majority == add->is_majority &&
      r->is_repaired == add->is_repaired) {
    r->count += add->count;
    return;
  }
  tell_range (s, leg);
  *r = *add;
}

/*----- comparing -------------------------------------------------------*/

static void
note_error (struct scrub *s, unsigned leg, int error)
{
  struct leg_failure failure = { .leg = leg,
                                 .op = LEG_OP_READ,
                                 .sector = s->sector,
                                 .count = s->count,
                                 .error = error };

  atomic_fetch_add (&s->m->legs[leg].read_errors, 1);
  mirror_note_read_error (s->m, &failure);
  mirror_ask_for_repair (s->m, leg, s->sector, s->count);
}

/* Read the piece from all legs in sync that give it. */
static void
read_legs (struct scrub *s)
{
  struct mirror *m = s->m;
  unsigned i;

  s->legs = 0;
  for (i = 0; i < m->leg_count; ++i) {
    struct io_region where = { .sector = s->sector, .count = s->count };
    int error = 0;

    if (!leg_get_in_sync (m, &m->legs[i]))
      continue;
    where.bdev = m->legs[i].bdev;
    if (dm_io_sync_vm_errors (1, &where, DM_IO_READ, s->data[i], NULL, &error) <
        0)
      note_error (s, i, error);
    else
      s->legs |= 1UL << i;
    leg_put (m, &m->legs[i]);
  }
}

static bool
has_leg (const struct scrub *s, unsigned leg)
{
  return s->legs >> leg & 1;
}

static bool
all_are_equal (const struct scrub *s)
{
  unsigned first = NO_LEG, i;

  for (i = 0; i < s->m->leg_count; ++i) {
    if (!has_leg (s, i))
      continue;
    if (first == NO_LEG)
      first = i;
    else if (memcmp (s->data[first], s->data[i], sector_to_bytes (s->count)) !=
             0)
      return false;
  }
  return true;
}

static bool
is_equal (const struct scrub *s, unsigned a, unsigned b, unsigned sector)
{
  return memcmp (&s->data[a][sector * SECTOR_SIZE],
                 &s->data[b][sector * SECTOR_SIZE], SECTOR_SIZE) == 0;
}

/* Who has sector number SECTOR of the piece right. */
static void
judge (struct scrub *s, unsigned sector)
{
  unsigned primary = mirror_primary (s->m);
  unsigned count = s->m->leg_count, total = 0, i, j;

  for (i = 0; i < count; ++i)
    total += has_leg (s, i);
  for (i = 0; i < count; ++i) {
    unsigned votes = 0;

    for (j = 0; j < count; ++j)
      votes += has_leg (s, i) && has_leg (s, j) && is_equal (s, i, j, sector);
    if (votes > total / 2) {
      s->source[sector] = i;
      s->is_majority[sector] = true;
      return;
    }
  }
  s->source[sector] = has_leg (s, primary) ? primary : NO_LEG;
  s->is_majority[sector] = false;
}

/* True if LEG has sector number SECTOR wrong. */
static bool
is_wrong (const struct scrub *s, unsigned leg, unsigned sector)
{
  if (!has_leg (s, leg))
    return false;
  return s->source[sector] == NO_LEG ||
         !is_equal (s, leg, s->source[sector], sector);
}

/* Count, and repair, what LEG has wrong. */
static void
settle_leg (struct scrub *s, unsigned leg)
{
  struct mirror *m = s->m;
  unsigned first, n;

  for (first = 0; first < s->count; first += n) {
    struct mismatch_range range = { .sector = s->sector + first };
    unsigned source = s->source[first];

    n = 1;
    if (!is_wrong (s, leg, first))
      continue;
    while (first + n < s->count && is_wrong (s, leg, first + n) &&
           s->source[first + n] == source &&
           s->is_majority[first + n] == s->is_majority[first])
      n++;
    range.count = n;
    range.source = source;
    range.is_majority = s->is_majority[first];
    atomic_fetch_add (&m->legs[leg].mismatched_bytes, sector_to_bytes (n));
    if (s->mode == SCRUB_REPAIR && source != NO_LEG)
      range.is_repaired = mirror_rewrite (m, leg, range.sector, n,
                                          &s->data[source][first * SECTOR_SIZE],
                                          s->again) == 0;
    if (range.is_repaired)
      atomic_fetch_add (&m->scrub_repaired, n);
    add_range (s, leg, &range);
  }
}

/* Legs that differ, while nobody writes. */
static void
settle_piece (struct scrub *s)
{
  unsigned i;

  for (i = 0; i < s->count; ++i) {
    unsigned leg;

    judge (s, i);
    for (leg = 0; leg < s->m->leg_count && !is_wrong (s, leg, i); ++leg)
      ;
    if (leg < s->m->leg_count)
      atomic_fetch_add (&s->m->scrub_mismatches, 1);
  }
  for (i = 0; i < s->m->leg_count; ++i)
    settle_leg (s, i);
}

/* Compare the piece, in REGION. */
static void
scrub_piece (struct scrub *s, uint64_t region)
{
  struct mirror *m = s->m;

  if (!region_hash_legs_agree (m->regions, s->sector, s->count))
    return;
  read_legs (s);
  if (all_are_equal (s))
    return;
  region_hash_hold (m->regions, region);
  if (region_hash_legs_agree (m->regions, s->sector, s->count)) { /* (1) */
    read_legs (s);
    if (!all_are_equal (s))
      settle_piece (s);
  }
  region_hash_release (m->regions, region);
}

/*----- at its pace -----------------------------------------------------*/

static bool
must_stop (void *arg)
{
  struct mirror *m = arg;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->scrub_lock);
  return m->scrub_must_stop;
}

/* Compare the piece that begins at the scrub's sector. */
static void
scrub_next_piece (struct scrub *s)
{
  struct mirror *m = s->m;
  uint64_t region = s->sector / m->region_sectors;
  struct pace_piece piece;
  sector_t first, length;

  region_hash_region_range (m->regions, region, &first, &length);
  s->count = MIN_OF (first + length - s->sector, SCRUB_SECTORS);
  pace_piece_begin (&m->scrub_job, &piece, sector_to_bytes (s->count));
  scrub_piece (s, region);
  pace_piece_end (&m->scrub_job, &piece, sector_to_bytes (s->count));
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&m->scrub_lock);
  m->scrub_done += s->count;
}

static void
scrub_main (void *arg)
{
  struct scrub *s = arg;
  struct mirror *m = s->m;
  sector_t sectors = m->target.sectors;
  bool goes_on = true;
  unsigned i;

  mirror_tell (m, MIRROR_SCRUB_BEGINS);
  pace_job_begin (&m->scrub_job);
  for (s->sector = 0; s->sector < sectors; s->sector += s->count) {
    goes_on = pace_wait (&m->scrub_job, must_stop, m);
    if (!goes_on)
      break;
    scrub_next_piece (s);
  }
  pace_job_end (&m->scrub_job);
  for (i = 0; i < MIRROR_MAX_LEGS; ++i)
    tell_range (s, i);
  log_info ("mirror: scrub %s: %" PRIu64 " sectors differ, %" PRIu64
            " copies of sectors repaired",
            goes_on ? "ended" : "stopped", (uint64_t) m->scrub_mismatches,
            (uint64_t) m->scrub_repaired);
  mutex_lock (&m->scrub_lock);
  m->scrub_is_running = false;
  mutex_unlock (&m->scrub_lock);
  mirror_tell (m, MIRROR_SCRUB_ENDS);
}

/*----- life ------------------------------------------------------------*/

int
mirror_scrub_start (struct mirror *mirror, enum scrub_mode mode)
{
  struct mirror_status status;
  struct scrub *s;
  int r;

  mirror_get_status (mirror, &status);
  if (status.scrub.is_running)
    return 1;
  mirror_scrub_stop (mirror); /* the one that has ended */
  s = malloc (sizeof *s);
  if (s == NULL)
    return -ENOMEM;
  s->m = mirror;
  s->mode = mode;
  memset (s->ranges, 0, sizeof s->ranges);
  mirror->scrub_mismatches = mirror->scrub_repaired = 0;
  mutex_lock (&mirror->scrub_lock);
  mirror->scrub_done = 0;
  mirror->scrub_must_stop = false;
  mirror->scrub_is_running = true;
  mutex_unlock (&mirror->scrub_lock);
  r = thread_start (&mirror->scrub_thread, "dm-scrub", scrub_main, s);
  if (r < 0) {
    mutex_lock (&mirror->scrub_lock);
    mirror->scrub_is_running = false;
    mutex_unlock (&mirror->scrub_lock);
    free (s);
    return r;
  }
  mirror->scrub = s;
  return 0;
}

void
mirror_scrub_stop (struct mirror *mirror)
{
  if (mirror->scrub == NULL)
    return;
  mutex_lock (&mirror->scrub_lock);
  mirror->scrub_must_stop = true;
  mutex_unlock (&mirror->scrub_lock);
  pace_wake (mirror->pace);
  thread_join (&mirror->scrub_thread);
  free (mirror->scrub);
  mirror->scrub = NULL;
}

void
mirror_scrub_get_status (struct mirror *mirror,
                         struct mirror_scrub_status *status)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&mirror->scrub_lock);
  status->is_running = mirror->scrub_is_running;
  status->done_bytes = sector_to_bytes (mirror->scrub_done);
  status->total_bytes = sector_to_bytes (mirror->target.sectors);
  status->mismatches = mirror->scrub_mismatches;
  status->repaired = mirror->scrub_repaired;
}
