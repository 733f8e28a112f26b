/* The legs of a volume: opening them, and telling which is which.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The order: open what is there, compare, decide, and only then create
 * what is to be created, so that a mistake on the command line changes
 * nothing.  A leg of the volume that cannot be had is no mistake: it may be
 * missing, if another one can be trusted (volume-trust.c).
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "leg-file.h"
#include "log-sink.h"
#include "part-bdev.h"
#include "volume-impl.h"

/*----- opening ---------------------------------------------------------*/

struct volume_leg_options
volume_leg_options (const struct volume_spec *spec)
{
  return (struct volume_leg_options){
    .direct = spec->direct,
    .timeout_ms = spec->leg_timeout_ms,
    .is_watched = spec->is_watched,
  };
}

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
    if (options->is_watched)
      o.flags |= BDEV_OPEN_WATCHED;
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
  struct volume_leg_options options = volume_leg_options (spec);

  return volume_open_device (&options, path, flags, bdev);
}

static int
say_leg_error (unsigned index, const struct volume_leg *leg, int r)
{
  char text[LOG_MESSAGE_BYTES];

  volume_leg_error_text (leg->path, leg->is_wanted ? LEG_CREATED : LEG_GIVEN, r,
                         text);
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

/* True if the error R says that PATH is not there at all, or not now. */
static bool
is_missing (const char *path, int r)
{
  switch (r) {
  case -ENOENT:
  case -ENXIO:
  case -ENODEV:
  case -ENOMEDIUM:
  case -EIO:
    return true;
  case -EINVAL:
  case -EPROTONOSUPPORT:
  case -EPROTO:
  case -EROFS:
  case -EFBIG:
  case -ENOMEM:
  case -EMFILE:
  case -ENFILE:
    return false;
  default:
    return bdev_spec_is_uri (path);
  }
}

static int
open_leg (const struct volume_spec *spec, const struct manifest *manifest,
          struct volume_legs *legs, unsigned index)
{
  struct volume_leg *leg = &legs->legs[index];
  int r;

  leg->path = spec->legs[index].path;
  log_quote (leg->path, leg->shown);
  r = leg_file_absolute_path (leg->path, &leg->absolute);
  if (r == -ENOENT && manifest != NULL && leg->path[0] == '/' &&
      spec->size_bytes == 0) {
    leg->missing_error = r;
    leg->absolute = strdup (leg->path);
    return leg->absolute == NULL ? -ENOMEM : 0;
  }
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
  if (r == -ENOENT && spec->size_bytes > 0 && !spec->is_table &&
      !bdev_spec_is_uri (leg->path)) {
    leg->is_wanted = true;
    return 0;
  }
  if (manifest != NULL && is_missing (leg->path, r)) {
    leg->missing_error = r;
    return 0;
  }
  if ((r == -EACCES || r == -EROFS || r == -EPERM) &&
      open_device (spec, leg->path, BDEV_OPEN_READ_ONLY, &leg->bdev) == 0) {
    leg->is_read_only = true;
    r = 0;
  }
  if (r == 0)
    r = leg_file_identity (leg->bdev, leg->identity);
  if (r < 0)
    return say_leg_error (index, leg, r);
  r = part_bdev_take (&leg->bdev, spec->legs[index].offset);
  if (r == -EINVAL)
    log_error ("leg %u (%s): ends before sector %" PRIu64 ", where the table "
               "has it begin",
               index, leg->shown, spec->legs[index].offset);
  return r;
}

/*----- which leg of the manifest is it? --------------------------------*/

/* The manifest's leg that LEG is: the same file, or else one of the same
 * name; NULL if there is none.  The file counts for more than its name:
 * two that were exchanged must not be taken for each other.
 */
static const struct manifest_leg *
find_manifest_leg (const struct manifest *m, const struct volume_leg *leg)
{
  unsigned i;

  for (i = 0; i < m->leg_count; ++i)
    if (volume_leg_is_same (&m->legs[i], leg) &&
        !leg_identity_is_weak (leg->identity))
      return &m->legs[i];
  for (i = 0; i < m->leg_count; ++i)
    if (strcmp (m->legs[i].spec, leg->absolute) == 0)
      return &m->legs[i];
  return NULL;
}

/* True if the file that KNOWN was is still where it was.  One server cannot
 * be told from another, so it might be; so might what cannot be looked at for
 * want of memory or descriptors.
 */
static bool
is_still_there (const struct manifest_leg *known)
{
  char identity[LEG_IDENTITY_BYTES];
  struct block_device *bdev;
  int r;

  if (bdev_spec_is_uri (known->spec))
    return true;
  r = bdev_open (known->spec, BDEV_OPEN_READ_ONLY, &bdev);
  if (r == 0) {
    r = leg_file_identity (bdev, identity);
    bdev_close (bdev);
    if (r == 0)
      return strcmp (identity, known->identity) == 0;
  }
  return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
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
    if (legs->legs[j].known == NULL && legs->legs[j].missing_error < 0)
      (void) say_leg_error (j, &legs->legs[j], legs->legs[j].missing_error);
    else if (legs->legs[j].known == NULL)
      log_error ("leg %u (%s) is not one of the volume's; leave it out (one "
                 "that is lost is named all the same), and give it to 'dmnbd "
                 "leg replace' or 'leg add' when the server runs; or begin a "
                 "new volume with another meta= folder",
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
                 " bytes, and keeps them; leave size= out, or begin a new "
                 "volume with another meta= folder",
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

/*----- missing ---------------------------------------------------------*/

static int
no_device_read (void *handle, const struct iovec *iov, int iovcnt,
                sector_t sector)
{
  (void) handle;
  (void) iov;
  (void) iovcnt;
  (void) sector;
  return -ENODEV;
}

int
volume_make_no_device (const char *name, sector_t sectors,
                       struct block_device **bdev)
{
  static const struct bdev_ops ops = { .struct_size = sizeof ops,
                                       .read = no_device_read };

  return bdev_create (&ops, NULL, name, sectors, bdev);
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
      (leg->known != NULL && volume_leg_is_same (leg->known, leg)))
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
    r = open_leg (spec, manifest, legs, i);
    if (r < 0)
      goto err_abandon;
  }
  if (manifest != NULL)
    r = match_legs (manifest, legs);
  if (r == 0)
    r = decide_size (spec, manifest, legs);
  if (r == 0)
    r = volume_decide_trust (spec, manifest, legs);
  if (r < 0)
    goto err_abandon;

  /* All is well: now, and not before, something may be changed. */
  for (i = 0; i < legs->count; ++i) {
    struct volume_leg *leg = &legs->legs[i];

    if (leg->missing_error < 0)
      r = volume_make_no_device (leg->path, legs->size_bytes >> SECTOR_SHIFT,
                                 &leg->bdev);
    else if (leg->bdev == NULL)
      r = create_leg (spec, i, legs);
    else
      r = settle_leg (legs, i);
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
