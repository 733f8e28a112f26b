/* Which legs of a volume to trust, and how far.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Without a manifest: legs that were made just now are equal; else the first
 * that was there before is copied to all others.  With one: a leg is what the
 * manifest says.  One that was in sync holds everything; one that was out
 * lacks what is dirty in the log.  But a file that has been replaced by
 * another since then, or written to by somebody else, is filled from the
 * others; and if that has happened to all, as when a volume has moved to
 * another machine, all are filled from the primary.
 *
 * A leg that is out, and that somebody has written to since: it may have gone
 * on alone, as another volume.  There is no telling which of the two is
 * wanted, so that is left to the user.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log-sink.h"
#include "volume-impl.h"

bool
volume_leg_is_same (const struct manifest_leg *known,
                    const struct volume_leg *leg)
{
  return leg->bdev != NULL && strcmp (known->identity, leg->identity) == 0;
}

/* The leg cannot be had: all that is known of it stays so. */
static void
miss (struct volume_leg *leg)
{
  leg->state = LEG_MISSING;
  strcpy (leg->stamp, leg->known->stamp);
  (void) snprintf (leg->identity, sizeof leg->identity, "%s",
                   leg->known->identity);
}

/* All are equal. */
static void
trust_all (struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i)
    legs->legs[i].state = LEG_IN_SYNC;
  legs->is_in_sync = legs->log_holds = true;
}

/* All are copied from leg SOURCE. */
static void
trust_only (struct volume_legs *legs, unsigned source)
{
  unsigned i;

  legs->primary = source;
  for (i = 0; i < legs->count; ++i)
    if (legs->legs[i].missing_error < 0)
      miss (&legs->legs[i]);
    else
      legs->legs[i].state = i == source ? LEG_IN_SYNC : LEG_RECOVERING;
  legs->is_in_sync = legs->log_holds = legs->count == 1;
}

static void
trust_unknown_legs (struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i) {
    if (legs->legs[i].bdev != NULL) {
      trust_only (legs, i);
      return;
    }
  }
  trust_all (legs); /* all new, all zeroes */
}

/* True if LEG is the file that it was, and holds what it held: after a clean
 * stop nobody has written to it.
 */
static bool
is_as_it_was (const struct manifest *m, const struct volume_leg *leg)
{
  char stamp[LEG_STAMP_BYTES];

  if (!volume_leg_is_same (leg->known, leg))
    return false;
  leg_file_stamp (leg->bdev, stamp);
  return !m->is_clean || strcmp (stamp, leg->known->stamp) == 0;
}

/* True if LEG was out, and somebody has written to it since then. */
static bool
went_on_alone (const struct volume_leg *leg)
{
  const struct manifest_leg *known = leg->known;
  char stamp[LEG_STAMP_BYTES];

  if ((known->state != LEG_FAILED && known->state != LEG_MISSING) ||
      known->stamp[0] == '\0' || !volume_leg_is_same (known, leg))
    return false;
  leg_file_stamp (leg->bdev, stamp);
  return strcmp (stamp, known->stamp) != 0;
}

/* True if LEG is a disk that cannot be told from others, in a volume whose
 * legs are not all equal: it may be another one behind the same name, and the
 * wrong one would be taken for the right one.  The names of servers do not
 * change by themselves.
 */
static bool
is_doubtful (const struct manifest *m, const struct volume_leg *leg)
{
  unsigned i;

  if (leg->bdev == NULL || !leg_identity_is_weak (leg->identity) ||
      bdev_spec_is_uri (leg->path))
    return false;
  for (i = 0; i < m->leg_count; ++i)
    if (m->legs[i].state != LEG_IN_SYNC)
      return true;
  return false;
}

static int
say_went_on_alone (const struct volume_legs *legs, unsigned i)
{
  log_error ("leg %u (%s): was out of the volume, and somebody has written to "
             "it since: both sides went on alone, and only one can be kept; "
             "to keep the volume's, move this file away and give size= to have "
             "it made anew, or name a leg of the volume first and give "
             "sync=full; to keep this leg's, name it first and give sync=full",
             i, legs->legs[i].shown);
  return -EINVAL;
}

static int
say_no_source (const struct manifest *m, const struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i) {
    const struct volume_leg *leg = &legs->legs[i];

    if (leg->missing_error == 0)
      continue;
    log_error ("leg %u (%s): is missing: %s; and no leg that is there can be "
               "trusted; %s",
               i, leg->shown, errno_text (leg->missing_error),
               bdev_spec_is_uri (leg->path)
                 ? "check the URI, and that the server runs"
                 : "put it back, or name first the leg that is right and give "
                   "sync=full");
    if (leg->known->state == LEG_IN_SYNC)
      return -EINVAL;
  }

  for (i = 0; i < legs->count; ++i) {
    if (!is_doubtful (m, &legs->legs[i]))
      continue;
    log_error ("leg %u (%s): the volume is degraded, and this disk "
               "has no serial number by which to tell if it is the one that "
               "is right; name first the leg that is right and give sync=full",
               i, legs->legs[i].shown);
    return -EINVAL;
  }
  log_error ("none of the legs that were in sync is the file that it was, "
             "so none can be trusted; put them back, or name first the "
             "leg that is right and give sync=full");
  return -EINVAL;
}

/* What leg I is, by what the manifest says of it.  ANY_SAME: some leg is the
 * file that it was.
 */
static void
trust_known_leg (const struct manifest *m, struct volume_legs *legs, unsigned i,
                 bool any_same)
{
  struct volume_leg *leg = &legs->legs[i];
  bool is_replaced = any_same && !is_as_it_was (m, leg);

  if (leg->missing_error < 0) {
    miss (leg);
    return;
  }
  if (leg->bdev == NULL || is_replaced || is_doubtful (m, leg)) {
    leg->state = LEG_RECOVERING;
    legs->log_holds = false;
  }
  else
    /* What it has missed is dirty in the log. */
    leg->state = leg->known->state == LEG_IN_SYNC ? LEG_IN_SYNC
                                                  : LEG_RECOVERING;
  if (is_replaced && leg->bdev != NULL)
    log_warning ("leg %u (%s) is not the file that it was, or somebody has "
                 "written to it since the last stop; it will be filled from "
                 "the others",
                 i, leg->shown);
}

/* Say which legs are missing. */
static void
warn_of_missing (const struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i) {
    const struct volume_leg *leg = &legs->legs[i];

    if (leg->missing_error == 0)
      continue;
    log_warning ("leg %u (%s): is missing: %s; the volume is degraded and goes "
                 "on without it, and it will get what it lacks when it is "
                 "there at a start",
                 i, leg->shown, errno_text (leg->missing_error));
  }
}

/* How all regions are, once the states of the legs are known. */
static void
decide_sync (const struct manifest *m, struct volume_legs *legs)
{
  unsigned in_sync = 0, recovering = 0, i;

  for (i = 0; i < legs->count; ++i) {
    in_sync += legs->legs[i].state == LEG_IN_SYNC;
    recovering += legs->legs[i].state == LEG_RECOVERING;
  }
  /* A leg alone cannot differ from any. */
  legs->is_in_sync = recovering == 0 && (m->is_clean || in_sync == 1);
  if (legs->count == 1)
    legs->log_holds = true;
}

/* As the manifest says, for each leg the file that it was. */
static int
trust_known_legs (const struct manifest *m, struct volume_legs *legs)
{
  bool has_source = false, any_same = false;
  unsigned i;

  for (i = 0; i < legs->count; ++i) {
    if (went_on_alone (&legs->legs[i]))
      return say_went_on_alone (legs, i);
    if (is_as_it_was (m, &legs->legs[i]))
      any_same = true;
  }
  legs->log_holds = true;
  for (i = 0; i < legs->count; ++i) {
    const struct volume_leg *leg = &legs->legs[i];

    trust_known_leg (m, legs, i, any_same);
    /* What has been read from the primary must not change if the legs are
     * named in another order now.
     */
    if (leg->state == LEG_IN_SYNC &&
        (!has_source || leg->known == &m->legs[m->primary]))
      legs->primary = i;
    has_source = has_source || leg->state == LEG_IN_SYNC;
  }
  if (!has_source)
    return say_no_source (m, legs);
  /* Copies of the legs may have been made at different times, or one of
   * them is an empty file: only one may ever be the source.
   */
  if (!any_same) {
    for (i = 0; i < legs->count; ++i)
      if (legs->legs[i].missing_error < 0)
        return say_no_source (m, legs);
    trust_only (legs, legs->primary);
    if (legs->count > 1)
      log_warning ("none of the legs is the file that it was, or somebody has "
                   "written to all since the last stop; they are filled from "
                   "leg %u (%s), and snapshots may have changed",
                   legs->primary, legs->legs[legs->primary].shown);
  }
  warn_of_missing (legs);
  decide_sync (m, legs);
  return 0;
}

/* sync=full and sync=none are words of the user against what the manifest
 * knows: they must not bring back what a leg that failed has missed.
 */
static int
check_sync_key (const struct volume_spec *spec, const struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i) {
    const struct volume_leg *leg = &legs->legs[i];

    if (spec->sync == SYNC_NONE && leg->known->state != LEG_IN_SYNC) {
      log_error ("sync=none: leg %u (%s) was not in sync, so the legs are not "
                 "equal; leave sync= out",
                 i, leg->shown);
      return -EINVAL;
    }
    if (spec->sync == SYNC_FULL && i > 0 &&
        legs->legs[0].known->state != LEG_IN_SYNC &&
        !went_on_alone (&legs->legs[0]) && leg->known->state == LEG_IN_SYNC &&
        volume_leg_is_same (leg->known, leg) &&
        !leg_identity_is_weak (leg->identity)) {
      log_error ("sync=full: leg 0 (%s) was not in sync, but leg %u (%s) was; "
                 "leave sync= out, or name that leg first",
                 legs->legs[0].shown, i, leg->shown);
      return -EINVAL;
    }
  }
  return 0;
}

int
volume_decide_trust (const struct volume_spec *spec, const struct manifest *m,
                     struct volume_legs *legs)
{
  unsigned i;

  if (spec->sync != SYNC_AUTO) {
    if (m != NULL && check_sync_key (spec, legs) < 0)
      return -EINVAL;
    for (i = 0; i < legs->count; ++i) {
      if (legs->legs[i].bdev == NULL && (spec->sync == SYNC_NONE || i == 0)) {
        trust_unknown_legs (legs);
        if (legs->is_in_sync)
          return 0; /* all are new */
        log_error ("leg %u (%s): is not there, so it cannot be trusted "
                   "as sync=%s would have it; leave sync= out",
                   i, legs->legs[i].shown,
                   spec->sync == SYNC_NONE ? "none" : "full");
        return -EINVAL;
      }
    }
    if (spec->sync == SYNC_NONE)
      trust_all (legs);
    else {
      trust_only (legs, 0);
      warn_of_missing (legs);
    }
    return 0;
  }
  if (m != NULL)
    return trust_known_legs (m, legs);
  trust_unknown_legs (legs);
  return 0;
}
