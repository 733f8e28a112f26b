/* The legs of a volume: opening them, and deciding which to trust.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The order: open what is there, compare, decide, and only then create
 * what is missing, so that a mistake on the command line changes nothing.
 *
 * Trust, without a manifest: legs that were made just now are equal; else
 * the first that was there before is copied to all others.  With one: a
 * leg is what the manifest says, but a file that has been replaced by
 * another since then, or written to by somebody else, is filled from the
 * others.  If that has happened to all, as when a volume has moved to
 * another machine, all are filled from the primary.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "leg-file.h"
#include "log-sink.h"
#include "volume-impl.h"

/*----- opening ---------------------------------------------------------*/

int
volume_open_device (const struct volume_leg_options *options, const char *path,
                    unsigned flags, struct block_device **bdev)
{
  struct bdev_options o = {
    .struct_size = sizeof o,
    .flags = flags,
    .timeout_ms = options->timeout_ms,
  };

  /* A server cannot be locked, nor told how to reach its disk. */
  if (!bdev_spec_is_uri (path)) {
    o.flags |= BDEV_OPEN_EXCLUSIVE;
    if (options->direct == DIRECT_ON)
      o.flags |= BDEV_OPEN_DIRECT;
    else if (options->direct == DIRECT_OFF)
      o.flags |= BDEV_OPEN_BUFFERED;
  }
  return bdev_open_options (path, &o, bdev);
}

static int
open_device (const struct volume_spec *spec, const char *path, unsigned flags,
             struct block_device **bdev)
{
  struct volume_leg_options options = { spec->direct, spec->leg_timeout_ms };

  return volume_open_device (&options, path, flags, bdev);
}

/* What is to be done if a server cannot be a leg. */
static const char *
server_remedy (int error)
{
  switch (error) {
  case -EPROTONOSUPPORT:
    return "this build has no such protocol; give a file or a block device";
  case -EINVAL:
    return "its export must be a multiple of 512 bytes, and the URI right";
  case -ETIMEDOUT:
    return "see if the server hangs, or give more time with leg-timeout=";
  case -EROFS:
    return "the server must allow writing";
  default:
    return "check the URI, and that the server runs";
  }
}

/* What is wrong with a file or a disk, and what is to be done, where the text
 * of the error would not say it; else NULL.
 */
static const char *
special_error_text (int error)
{
  switch (error) {
  case -EISDIR:
    return "is a directory; give a file or a block device";
  case -ENOTBLK:
    return "is neither a file nor a block device; give one";
  case -EINVAL:
    return "its size is not a multiple of 512 bytes; make it one with "
           "'truncate -s %512 FILE'";
  case -EBUSY:
    return "is in use by another process; stop that first, two writers would "
           "destroy the data";
  case -EOPNOTSUPP:
    return "O_DIRECT is not possible there; use direct=off";
  case -EEXIST:
    return "is a link to nothing; remove it, or make what it points to";
  default:
    return NULL;
  }
}

static const char *
file_remedy (int error)
{
  switch (error) {
  case -ENOENT:
    return "check the name, or give size= to have it created";
  case -EACCES:
  case -EPERM:
  case -EROFS:
    return "check the mode and owner of it and its folder";
  case -ENOSPC:
  case -EDQUOT:
  case -EFBIG:
    return "give a smaller size=, or make room";
  case -ENOMEM:
    return "free some memory";
  default:
    return "check the name";
  }
}

void
volume_leg_error_text (const char *path, bool is_wanted, int error,
                       char text[LOG_MESSAGE_BYTES])
{
  const char *special = special_error_text (error);

  if (bdev_spec_is_uri (path))
    snprintf (text, LOG_MESSAGE_BYTES, "cannot be connected: %s; %s",
              errno_text (error), server_remedy (error));
  else if (special != NULL)
    snprintf (text, LOG_MESSAGE_BYTES, "%s", special);
  else
    snprintf (text, LOG_MESSAGE_BYTES, "cannot be %s: %s; %s",
              is_wanted ? "created" : "opened", errno_text (error),
              file_remedy (error));
}

static int
say_leg_error (unsigned index, const struct volume_leg *leg, int r)
{
  char text[LOG_MESSAGE_BYTES];

  volume_leg_error_text (leg->path, leg->is_wanted, r, text);
  log_error ("leg %u (%s): %s", index, leg->shown, text);
  return r;
}

/* No device may be two legs: it would be its own copy.  Looked for before
 * it is opened for good, because our own lock on it would be in the way.
 */
static int
check_duplicate (const struct volume_legs *legs, unsigned index)
{
  const struct volume_leg *leg = &legs->legs[index];
  struct block_device *bdev = NULL;
  struct bdev_identity mine, other;
  bool has_identity;
  unsigned i;

  /* Of servers nothing but the name is known. */
  has_identity = !bdev_spec_is_uri (leg->path) &&
                 bdev_open (leg->path, BDEV_OPEN_READ_ONLY, &bdev) == 0 &&
                 bdev_identity (bdev, &mine) == 0;
  bdev_close (bdev);
  for (i = 0; i < index; ++i) {
    const struct volume_leg *earlier = &legs->legs[i];

    if (strcmp (earlier->absolute, leg->absolute) != 0 &&
        !(has_identity && earlier->bdev != NULL &&
          bdev_identity (earlier->bdev, &other) == 0 &&
          other.device == mine.device && other.inode == mine.inode &&
          other.is_disk == mine.is_disk))
      continue;
    log_error ("leg %u (%s) and leg %u (%s) are the same file; each leg "
               "must be one of its own",
               i, earlier->shown, index, leg->shown);
    return -EINVAL;
  }
  return 0;
}

static int
open_leg (const struct volume_spec *spec, struct volume_legs *legs,
          unsigned index)
{
  struct volume_leg *leg = &legs->legs[index];
  int r;

  leg->path = spec->legs[index].path;
  log_quote (leg->path, leg->shown);
  r = leg_file_absolute_path (leg->path, &leg->absolute);
  if (r == -ENOENT) {
    log_error ("leg %u (%s): its folder does not exist; create that first",
               index, leg->shown);
    return r;
  }
  if (r < 0)
    return say_leg_error (index, leg, r);
  r = check_duplicate (legs, index);
  if (r < 0)
    return r;
  r = open_device (spec, leg->path, 0, &leg->bdev);
  if (r == -ENOENT && spec->size_bytes > 0 && !bdev_spec_is_uri (leg->path)) {
    leg->is_wanted = true;
    return 0;
  }
  if ((r == -EACCES || r == -EROFS || r == -EPERM) &&
      open_device (spec, leg->path, BDEV_OPEN_READ_ONLY, &leg->bdev) == 0) {
    leg->is_read_only = true;
    r = 0;
  }
  if (r == 0)
    r = leg_file_identity (leg->bdev, leg->identity);
  return r < 0 ? say_leg_error (index, leg, r) : 0;
}

/*----- which leg of the manifest is it? --------------------------------*/

static bool
is_same_file (const struct manifest_leg *known, const struct volume_leg *leg)
{
  return leg->bdev != NULL && strcmp (known->identity, leg->identity) == 0;
}

/* The manifest's leg that LEG is: the same file, or else one of the same
 * name; NULL if there is none.  The file counts for more than its name:
 * two that were exchanged must not be taken for each other.
 */
static const struct manifest_leg *
find_manifest_leg (const struct manifest *m, const struct volume_leg *leg)
{
  unsigned i;

  for (i = 0; i < m->leg_count; ++i)
    if (is_same_file (&m->legs[i], leg) &&
        !leg_identity_is_weak (leg->identity))
      return &m->legs[i];
  for (i = 0; i < m->leg_count; ++i)
    if (strcmp (m->legs[i].spec, leg->absolute) == 0)
      return &m->legs[i];
  return NULL;
}

/* True if the file that KNOWN was is still where it was.  One server cannot
 * be told from another, so it might be.
 */
static bool
is_still_there (const struct manifest_leg *known)
{
  char identity[LEG_IDENTITY_BYTES];
  struct block_device *bdev;
  bool is_there = false;

  if (bdev_spec_is_uri (known->spec))
    return true;
  if (bdev_open (known->spec, BDEV_OPEN_READ_ONLY, &bdev) == 0) {
    is_there = leg_file_identity (bdev, identity) == 0 &&
               strcmp (identity, known->identity) == 0;
    bdev_close (bdev);
  }
  return is_there;
}

/* True if the volume has been moved to other names or another machine:
 * none of its legs is known, and none is where it was.
 */
static bool
has_moved (const struct manifest *m, const struct volume_legs *legs)
{
  unsigned i;

  if (legs->count != m->leg_count)
    return false;
  for (i = 0; i < legs->count; ++i)
    if (legs->legs[i].known != NULL || legs->legs[i].bdev == NULL)
      return false;
  for (i = 0; i < m->leg_count; ++i)
    if (is_still_there (&m->legs[i]))
      return false;
  return true;
}

static void
say_legs_do_not_match (const struct manifest *m, const struct volume_legs *legs)
{
  char quote[LOG_QUOTE_BYTES];
  unsigned i, j;

  for (i = 0; i < m->leg_count; ++i) {
    bool is_given = false;

    for (j = 0; j < legs->count; ++j)
      is_given = is_given || legs->legs[j].known == &m->legs[i];
    if (!is_given)
      log_error ("the volume has a leg %s that is not given; give it, too, "
                 "or size= with it to have an empty one created there, which "
                 "is then filled from the others",
                 log_quote (m->legs[i].spec, quote));
  }
  for (j = 0; j < legs->count; ++j)
    if (legs->legs[j].known == NULL)
      log_error ("leg %u (%s) is not one of the volume's; leave it out, or "
                 "begin a new volume with another meta= folder",
                 j, legs->legs[j].shown);
}

/* The legs must be those of the manifest, in any order. */
static int
match_legs (const struct manifest *m, struct volume_legs *legs)
{
  bool is_good = legs->count == m->leg_count;
  unsigned i, j;

  for (i = 0; i < legs->count; ++i) {
    legs->legs[i].known = find_manifest_leg (m, &legs->legs[i]);
    is_good = is_good && legs->legs[i].known != NULL;
    /* One of the same name as another that is the same file. */
    for (j = 0; j < i; ++j)
      if (legs->legs[j].known == legs->legs[i].known)
        is_good = false;
  }
  if (is_good)
    return 0;
  if (!has_moved (m, legs)) {
    say_legs_do_not_match (m, legs);
    return -EINVAL;
  }
  for (i = 0; i < legs->count; ++i)
    legs->legs[i].known = &m->legs[i];
  log_warning ("all legs have other names than in the manifest, and are not "
               "where they were; they are taken to be the same ones, moved, "
               "in the same order");
  return 0;
}

/*----- the size --------------------------------------------------------*/

static int
say_size_error (const struct volume_legs *legs, unsigned index, bool is_fixed)
{
  const struct volume_leg *leg = &legs->legs[index];
  uint64_t bytes = sector_to_bytes (bdev_sectors (leg->bdev));

  if (!is_fixed)
    log_error ("leg 0 (%s) has %" PRIu64 " bytes and leg %u (%s) has %" PRIu64
               "; make them equal, or give size= with the smaller number",
               legs->legs[0].shown, legs->size_bytes, index, leg->shown, bytes);
  else if (leg->known != NULL)
    /* Made longer again it would be trusted, and wrong. */
    log_error ("leg %u (%s) has %" PRIu64 " bytes, fewer than the volume's "
               "%" PRIu64 ": it has been cut short; move it away and give "
               "size=%" PRIu64 " to have it made anew and filled from the "
               "others",
               index, leg->shown, bytes, legs->size_bytes, legs->size_bytes);
  else
    log_error ("leg %u (%s) has %" PRIu64 " bytes, fewer than the volume's "
               "%" PRIu64 "; make it longer with 'truncate -s %" PRIu64
               " FILE'",
               index, leg->shown, bytes, legs->size_bytes, legs->size_bytes);
  return -EINVAL;
}

/* The volume's size: as asked for, as remembered, or as all legs have. */
static int
decide_size (const struct volume_spec *spec, const struct manifest *manifest,
             struct volume_legs *legs)
{
  bool is_fixed = spec->size_bytes > 0 || manifest != NULL;
  unsigned i;

  legs->size_bytes = spec->size_bytes;
  if (manifest != NULL) {
    if (spec->size_bytes != 0 && spec->size_bytes != manifest->size_bytes) {
      log_error ("size=%" PRIu64 ": the volume has %" PRIu64
                 " bytes; leave size= out, or give that",
                 spec->size_bytes, manifest->size_bytes);
      return -EINVAL;
    }
    legs->size_bytes = manifest->size_bytes;
  }
  for (i = 0; i < legs->count; ++i) {
    uint64_t bytes;

    if (legs->legs[i].bdev == NULL)
      continue;
    bytes = sector_to_bytes (bdev_sectors (legs->legs[i].bdev));
    if (!is_fixed && i == 0)
      legs->size_bytes = bytes;
    if (is_fixed ? bytes < legs->size_bytes : bytes != legs->size_bytes)
      return say_size_error (legs, i, is_fixed);
  }
  if (legs->size_bytes == 0) {
    log_error ("leg 0 (%s) is empty; give it a size with 'truncate -s SIZE "
               "FILE'",
               legs->legs[0].shown);
    return -EINVAL;
  }
  return 0;
}

/*----- trust -----------------------------------------------------------*/

/* All are equal. */
static void
trust_all (struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i)
    legs->legs[i].state = LEG_IN_SYNC;
  legs->is_in_sync = true;
}

/* All are copied from leg SOURCE. */
static void
trust_only (struct volume_legs *legs, unsigned source)
{
  unsigned i;

  legs->primary = source;
  for (i = 0; i < legs->count; ++i)
    legs->legs[i].state = i == source ? LEG_IN_SYNC : LEG_RECOVERING;
  legs->is_in_sync = legs->count == 1;
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

  if (!is_same_file (leg->known, leg))
    return false;
  leg_file_stamp (leg->bdev, stamp);
  return !m->is_clean || strcmp (stamp, leg->known->stamp) == 0;
}

/* True if LEG is a disk or server that cannot be told from others, in a
 * volume whose legs are not all equal: it may be another one behind the same
 * name, and the wrong one would be taken for the right one.
 */
static bool
is_doubtful (const struct manifest *m, const struct volume_leg *leg)
{
  unsigned i;

  if (leg->bdev == NULL || !leg_identity_is_weak (leg->identity))
    return false;
  for (i = 0; i < m->leg_count; ++i)
    if (m->legs[i].state != LEG_IN_SYNC)
      return true;
  return false;
}

static int
say_no_source (const struct manifest *m, const struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i) {
    if (!is_doubtful (m, &legs->legs[i]))
      continue;
    log_error ("leg %u (%s): the volume is degraded, and this disk or server "
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

/* As the manifest says, for each leg the file that it was. */
static int
trust_known_legs (const struct manifest *m, struct volume_legs *legs)
{
  bool has_source = false, any_same = false;
  unsigned i;

  for (i = 0; i < legs->count; ++i)
    if (is_as_it_was (m, &legs->legs[i]))
      any_same = true;
  for (i = 0; i < legs->count; ++i) {
    struct volume_leg *leg = &legs->legs[i];
    bool is_replaced = any_same && !is_as_it_was (m, leg);

    if (leg->known->state == LEG_IN_SYNC && leg->bdev != NULL && !is_replaced &&
        !is_doubtful (m, leg))
      leg->state = LEG_IN_SYNC;
    else
      leg->state = LEG_RECOVERING;
    if (is_replaced && leg->bdev != NULL)
      log_warning ("leg %u (%s) is not the file that it was, or somebody has "
                   "written to it since the last stop; it will be filled from "
                   "the others",
                   i, leg->shown);
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
  if (!any_same)
    trust_only (legs, legs->primary);
  legs->is_in_sync = m->is_clean && any_same;
  if (!any_same && legs->count > 1)
    log_warning ("none of the legs is the file that it was, or somebody has "
                 "written to all since the last stop; they are filled from leg "
                 "%u (%s), and snapshots may have changed",
                 legs->primary, legs->legs[legs->primary].shown);
  for (i = 0; i < legs->count; ++i)
    if (legs->legs[i].state != LEG_IN_SYNC)
      legs->is_in_sync = false;
  if (legs->count == 1)
    legs->is_in_sync = true;
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
        leg->known->state == LEG_IN_SYNC && is_same_file (leg->known, leg) &&
        !leg_identity_is_weak (leg->identity)) {
      log_error ("sync=full: leg 0 (%s) was not in sync, but leg %u (%s) was; "
                 "leave sync= out, or name that leg first",
                 legs->legs[0].shown, i, leg->shown);
      return -EINVAL;
    }
  }
  return 0;
}

static int
decide_trust (const struct volume_spec *spec, const struct manifest *m,
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
        log_error ("leg %u (%s): does not exist, so it cannot be trusted "
                   "as sync=%s would have it; leave sync= out",
                   i, legs->legs[i].shown,
                   spec->sync == SYNC_NONE ? "none" : "full");
        return -EINVAL;
      }
    }
    if (spec->sync == SYNC_NONE)
      trust_all (legs);
    else
      trust_only (legs, 0);
    return 0;
  }
  if (m != NULL)
    return trust_known_legs (m, legs);
  trust_unknown_legs (legs);
  return 0;
}

/*----- creating --------------------------------------------------------*/

static int
create_leg (const struct volume_spec *spec, unsigned index,
            struct volume_legs *legs)
{
  struct volume_leg *leg = &legs->legs[index];
  int r = leg_file_create (leg->absolute, legs->size_bytes);

  if (r == 0) {
    leg->is_created = true;
    r = open_device (spec, leg->path, 0, &leg->bdev);
  }
  if (r == 0)
    r = leg_file_identity (leg->bdev, leg->identity);
  return r < 0 ? say_leg_error (index, leg, r) : 0;
}

/* A leg that is there, but not in the manifest as the file that it is, may
 * be what a start has made that was killed before its name was durable.
 */
static int
settle_leg (struct volume_legs *legs, unsigned index)
{
  struct volume_leg *leg = &legs->legs[index];
  int r;

  if (leg->is_read_only || bdev_spec_is_uri (leg->path) ||
      (leg->known != NULL && is_same_file (leg->known, leg)))
    return 0;
  r = leg_file_sync_entry (leg->absolute);
  /* Where the folder cannot be read the user has made it. */
  return r < 0 && r != -EACCES ? say_leg_error (index, leg, r) : 0;
}

int
volume_open_legs (const struct volume_spec *spec,
                  const struct manifest *manifest, struct volume_legs *legs)
{
  unsigned i;
  int r = 0;

  memset (legs, 0, sizeof *legs);
  for (i = 0; i < spec->leg_count; ++i) {
    legs->count = i + 1;
    r = open_leg (spec, legs, i);
    if (r < 0)
      goto err_abandon;
  }
  if (manifest != NULL)
    r = match_legs (manifest, legs);
  if (r == 0)
    r = decide_size (spec, manifest, legs);
  if (r == 0)
    r = decide_trust (spec, manifest, legs);
  if (r < 0)
    goto err_abandon;

  /* All is well: now, and not before, something may be changed. */
  for (i = 0; i < legs->count; ++i) {
    r = legs->legs[i].bdev == NULL ? create_leg (spec, i, legs)
                                   : settle_leg (legs, i);
    if (r < 0)
      goto err_abandon;
  }
  return 0;

err_abandon:
  volume_abandon_legs (legs);
  return r;
}

void
volume_abandon_legs (struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i) {
    bdev_close (legs->legs[i].bdev);
    legs->legs[i].bdev = NULL;
    if (legs->legs[i].is_created)
      leg_file_remove (legs->legs[i].absolute);
  }
  volume_release_legs (legs);
}

void
volume_disown_legs (struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i)
    legs->legs[i].bdev = NULL;
}

void
volume_release_legs (struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i) {
    free (legs->legs[i].absolute);
    legs->legs[i].absolute = NULL;
  }
}
