/* The legs of the manifest, when legs of the mirror come and go.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The manifest has them without gaps, as the next command line will; the
 * mirror's keep their numbers as long as the server runs.
 *
 * Each change is made in memory, saved, and taken back if that has failed.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "volume-impl.h"

unsigned
volume_manifest_leg (const struct volume *v, unsigned leg)
{
  return (unsigned) __builtin_popcount (v->leg_numbers & ((1U << leg) - 1));
}

unsigned
volume_mirror_leg (const struct volume *v, unsigned index)
{
  unsigned leg;

  for (leg = 0; leg < MIRROR_MAX_LEGS; ++leg)
    if (v->leg_numbers >> leg & 1 && index-- == 0)
      return leg;
  abort (); /* the caller counts to leg_count */
}

/* What is changed, to take it back. */
struct members {
  unsigned leg_numbers;
  unsigned leg_count;
  unsigned primary;
  bool is_resyncing;
  struct manifest_leg legs[MIRROR_MAX_LEGS];
};

static void
remember (const struct volume *v, struct members *old)
{
  const struct manifest *m = v->manifest;

  old->leg_numbers = v->leg_numbers;
  old->leg_count = m->leg_count;
  old->primary = m->primary;
  old->is_resyncing = m->is_resyncing;
  memcpy (old->legs, m->legs, sizeof old->legs);
}

static void
take_back (struct volume *v, const struct members *old)
{
  struct manifest *m = v->manifest;

  v->leg_numbers = old->leg_numbers;
  m->leg_count = old->leg_count;
  m->primary = old->primary;
  m->is_resyncing = old->is_resyncing;
  memcpy (m->legs, old->legs, sizeof old->legs);
}

static void
free_leg (struct manifest_leg *leg)
{
  free (leg->spec);
  free (leg->identity);
  free (leg->reason);
}

/* Make room for one more at INDEX. */
static void
open_gap (struct manifest *m, unsigned index)
{
  assert (m->leg_count < MIRROR_MAX_LEGS);
  memmove (&m->legs[index + 1], &m->legs[index],
           (m->leg_count - index) * sizeof m->legs[0]);
  m->leg_count++;
  if (m->primary >= index)
    m->primary++;
}

static void
close_gap (struct manifest *m, unsigned index)
{
  m->leg_count--;
  memmove (&m->legs[index], &m->legs[index + 1],
           (m->leg_count - index) * sizeof m->legs[0]);
  memset (&m->legs[m->leg_count], 0, sizeof m->legs[0]);
  if (m->primary == index)
    m->primary = volume_first_in_sync (m);
  else if (m->primary > index)
    m->primary--;
}

int
volume_record_new_leg (struct volume *v, unsigned leg)
{
  struct manifest *m = v->manifest;
  struct manifest_leg new = { .state = LEG_RECOVERING };
  unsigned index = volume_manifest_leg (v, leg);
  bool is_replaced = v->leg_numbers >> leg & 1;
  struct members old;
  int r = 0;

  if (manifest_set_text (&new.spec, v->new_leg->spec) < 0 ||
      manifest_set_text (&new.identity, v->new_leg->identity) < 0) {
    free_leg (&new);
    return -ENOMEM;
  }
  leg_file_stamp (v->new_leg->bdev, new.stamp);
  remember (v, &old);
  if (!is_replaced)
    open_gap (m, index);
  m->legs[index] = new;
  m->is_resyncing = true;
  v->leg_numbers |= 1U << leg;
  if (m->primary == index)
    m->primary = volume_first_in_sync (m);
  r = volume_save_manifest (v);
  if (r < 0) {
    take_back (v, &old);
    free_leg (&new);
  }
  else if (is_replaced)
    free_leg (&old.legs[index]);
  return r;
}

int
volume_record_no_leg (struct volume *v, unsigned leg)
{
  unsigned index = volume_manifest_leg (v, leg);
  struct members old;
  int r;

  remember (v, &old);
  close_gap (v->manifest, index);
  v->leg_numbers &= ~(1U << leg);
  r = volume_save_manifest (v);
  if (r < 0)
    take_back (v, &old);
  else
    free_leg (&old.legs[index]);
  return r;
}
