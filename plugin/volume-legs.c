/* The legs of a volume: opening them, and deciding which to trust.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The order: open what is there, compare, decide, and only then create
 * what is missing, so that a mistake on the command line changes nothing.
 *
 * Trust, without a manifest: legs that were made just now are equal; else
 * the first that was there before is copied to all others.  With one: a
 * leg is what the manifest says, but a file that has been replaced by
 * another since then is copied anew, unless all have been, as when a
 * volume has moved to another machine.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "leg-file.h"
#include "log-sink.h"
#include "volume-impl.h"

/*----- opening ---------------------------------------------------------*/

static unsigned
open_flags (const struct volume_spec *spec)
{
  unsigned flags = BDEV_OPEN_EXCLUSIVE;

  if (spec->direct == DIRECT_ON)
    flags |= BDEV_OPEN_DIRECT;
  else if (spec->direct == DIRECT_OFF)
    flags |= BDEV_OPEN_BUFFERED;
  return flags;
}

static int
say_open_error (unsigned index, const char *path, int r)
{
  switch (r) {
  case -ENOENT:
    log_error ("leg %u (%s): does not exist; check the name, or give "
               "size= to have it created",
               index, path);
    break;
  case -EISDIR:
    log_error ("leg %u (%s): is a directory; give a file or a block device",
               index, path);
    break;
  case -ENOTBLK:
    log_error ("leg %u (%s): is neither a file nor a block device", index,
               path);
    break;
  case -EINVAL:
    log_error ("leg %u (%s): its size is not a multiple of 512 bytes; "
               "make it one with 'truncate -s %%512 FILE'",
               index, path);
    break;
  case -EBUSY:
    log_error ("leg %u (%s): is in use by another process; stop that first, "
               "two writers would destroy the data",
               index, path);
    break;
  case -EOPNOTSUPP:
    log_error ("leg %u (%s): O_DIRECT is not possible there; use "
               "direct=off",
               index, path);
    break;
  case -EACCES:
    log_error ("leg %u (%s): cannot be opened: %s; check its mode and "
               "owner",
               index, path, errno_text (r));
    break;
  default:
    log_error ("leg %u (%s): cannot be opened: %s", index, path,
               errno_text (r));
  }
  return r;
}

/* True if the user gave what is a URI, not a file's name. */
static bool
is_uri (const char *path)
{
  static const char *const schemes[] = {
    "nbd://",       "nbds://",      "nbd+unix://",
    "nbds+unix://", "nbd+vsock://", "nbds+vsock://",
  };
  unsigned i;

  for (i = 0; i < sizeof schemes / sizeof schemes[0]; ++i)
    if (strncmp (path, schemes[i], strlen (schemes[i])) == 0)
      return true;
  return false;
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

  has_identity = bdev_open (leg->path, BDEV_OPEN_READ_ONLY, &bdev) == 0 &&
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
               i, earlier->path, index, leg->path);
    return -EINVAL;
  }
  return 0;
}

static int
open_leg (const struct volume_spec *spec, struct volume_legs *legs,
          unsigned index)
{
  struct volume_leg *leg = &legs->legs[index];
  unsigned flags = open_flags (spec);
  int r;

  leg->path = spec->legs[index].path;
  if (is_uri (leg->path)) {
    log_error ("leg %u (%s): NBD servers as legs are not available yet; "
               "give a file or a block device",
               index, leg->path);
    return -EOPNOTSUPP;
  }
  r = leg_file_absolute_path (leg->path, &leg->absolute);
  if (r < 0)
    return say_open_error (index, leg->path, r);
  r = check_duplicate (legs, index);
  if (r < 0)
    return r;
  r = bdev_open (leg->path, flags, &leg->bdev);
  if (r == -ENOENT && spec->size_bytes > 0)
    return 0; /* to be created */
  if (r == -EACCES || r == -EROFS || r == -EPERM) {
    int read_only = bdev_open (leg->path, flags | BDEV_OPEN_READ_ONLY,
                               &leg->bdev);

    if (read_only == 0) {
      leg->is_read_only = true;
      r = 0;
    }
  }
  if (r < 0)
    return say_open_error (index, leg->path, r);
  r = leg_file_identity (leg->bdev, leg->identity);
  if (r < 0)
    return say_open_error (index, leg->path, r);
  return 0;
}

/*----- comparing -------------------------------------------------------*/

/* The volume's size: as asked for, as remembered, or as all legs have. */
static int
decide_size (const struct volume_spec *spec, const struct manifest *manifest,
             struct volume_legs *legs)
{
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
    const struct volume_leg *leg = &legs->legs[i];
    uint64_t bytes;

    if (leg->bdev == NULL)
      continue;
    bytes = sector_to_bytes (bdev_sectors (leg->bdev));
    if (legs->size_bytes == 0 && i == 0)
      legs->size_bytes = bytes;
    if (spec->size_bytes == 0 && manifest == NULL ? bytes != legs->size_bytes
                                                  : bytes < legs->size_bytes) {
      if (spec->size_bytes == 0 && manifest == NULL)
        log_error ("leg 0 (%s) has %" PRIu64 " bytes and leg %u (%s) has "
                   "%" PRIu64 "; make them equal, or give size= with the "
                   "smaller number",
                   legs->legs[0].path, legs->size_bytes, i, leg->path, bytes);
      else
        log_error ("leg %u (%s) has %" PRIu64 " bytes, fewer than the "
                   "volume's %" PRIu64 "; make it longer with "
                   "'truncate -s %" PRIu64 " FILE'",
                   i, leg->path, bytes, legs->size_bytes, legs->size_bytes);
      return -EINVAL;
    }
  }
  if (legs->size_bytes == 0) {
    log_error ("leg 0 (%s) is empty; give it a size with 'truncate -s "
               "SIZE FILE'",
               legs->legs[0].path);
    return -EINVAL;
  }
  return 0;
}

/* The manifest's leg of that name, or NULL. */
static const struct manifest_leg *
find_manifest_leg (const struct manifest *m, const struct volume_leg *leg)
{
  unsigned i;

  for (i = 0; i < m->leg_count; ++i)
    if (strcmp (m->legs[i].spec, leg->absolute) == 0)
      return &m->legs[i];
  return NULL;
}

static bool
is_same_file (const struct manifest_leg *known, const struct volume_leg *leg)
{
  return leg->bdev != NULL && strcmp (known->identity, leg->identity) == 0;
}

/* The legs must be those of the manifest, in any order.  *MOVED: under
 * other names, all of them, so that they are taken in order.
 */
static int
match_legs (const struct manifest *m, const struct volume_legs *legs,
            const struct manifest_leg **known)
{
  unsigned i, j, found = 0;

  for (i = 0; i < legs->count; ++i) {
    known[i] = find_manifest_leg (m, &legs->legs[i]);
    if (known[i] != NULL)
      found++;
  }
  if (found == legs->count && found == m->leg_count)
    return 0;
  /* None under its old name, but as many as there were: the volume has
   * been moved, and the order on the command line says which is which.
   */
  if (found == 0 && legs->count == m->leg_count) {
    for (i = 0; i < legs->count; ++i)
      known[i] = &m->legs[i];
    log_warning ("all legs have other names than in the manifest; they are "
                 "taken to be the same ones, moved, in the same order");
    return 0;
  }
  for (i = 0; i < m->leg_count; ++i) {
    bool is_given = false;

    for (j = 0; j < legs->count; ++j)
      is_given = is_given || known[j] == &m->legs[i];
    if (!is_given)
      log_error ("the volume has a leg %s that is not given; give it, too, "
                 "or size= to have an empty one created there, which is "
                 "then filled from the others",
                 m->legs[i].spec);
  }
  for (j = 0; j < legs->count; ++j)
    if (known[j] == NULL)
      log_error ("leg %u (%s) is not one of the volume's; leave it out, or "
                 "begin a new volume with another meta= folder",
                 j, legs->legs[j].absolute);
  return -EINVAL;
}

/*----- trust -----------------------------------------------------------*/

/* All equal, or all copied from leg SOURCE. */
static void
trust_all (struct volume_legs *legs)
{
  unsigned i;

  for (i = 0; i < legs->count; ++i)
    legs->legs[i].state = LEG_IN_SYNC;
  legs->is_in_sync = true;
}

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

/* As the manifest says, for each leg the file that it was. */
static int
trust_known_legs (const struct manifest *m, struct volume_legs *legs,
                  const struct manifest_leg *const *known)
{
  bool has_source = false, any_same = false;
  unsigned i;

  for (i = 0; i < legs->count; ++i)
    if (is_same_file (known[i], &legs->legs[i]))
      any_same = true;
  for (i = 0; i < legs->count; ++i) {
    struct volume_leg *leg = &legs->legs[i];
    bool is_replaced = any_same && !is_same_file (known[i], leg);

    if (known[i]->state == LEG_IN_SYNC && leg->bdev != NULL && !is_replaced)
      leg->state = LEG_IN_SYNC;
    else
      leg->state = LEG_RECOVERING;
    if (is_replaced && leg->bdev != NULL)
      log_warning ("leg %u (%s) is not the file that it was; it will be "
                   "filled from the others",
                   i, leg->path);
    /* What has been read from the primary must not change if the legs are
     * named in another order now.
     */
    if (leg->state == LEG_IN_SYNC &&
        (!has_source || known[i] == &m->legs[m->primary]))
      legs->primary = i;
    has_source = has_source || leg->state == LEG_IN_SYNC;
  }
  if (!has_source) {
    log_error ("none of the legs that were in sync is the file that it was, "
               "so none can be trusted; put them back, or name first the "
               "leg that is right and give sync=full");
    return -EINVAL;
  }
  legs->is_in_sync = m->is_clean;
  for (i = 0; i < legs->count; ++i)
    if (legs->legs[i].state != LEG_IN_SYNC)
      legs->is_in_sync = false;
  if (legs->count == 1)
    legs->is_in_sync = true;
  return 0;
}

static int
decide_trust (const struct volume_spec *spec, const struct manifest *m,
              struct volume_legs *legs)
{
  const struct manifest_leg *known[MIRROR_MAX_LEGS];
  unsigned i;
  int r;

  if (m != NULL) {
    r = match_legs (m, legs, known);
    if (r < 0)
      return r;
    legs->is_known = true;
  }
  if (spec->sync != SYNC_AUTO) {
    for (i = 0; i < legs->count; ++i) {
      if (legs->legs[i].bdev == NULL && (spec->sync == SYNC_NONE || i == 0)) {
        trust_unknown_legs (legs);
        if (legs->is_in_sync)
          return 0; /* all are new */
        log_error ("leg %u (%s): does not exist, so it cannot be trusted "
                   "as sync=%s would have it; leave sync= out",
                   i, legs->legs[i].path,
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
    return trust_known_legs (m, legs, known);
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

  if (r < 0) {
    log_error ("leg %u (%s): cannot be created: %s", index, leg->path,
               errno_text (r));
    return r;
  }
  leg->is_created = true;
  r = bdev_open (leg->absolute, open_flags (spec), &leg->bdev);
  if (r < 0)
    return say_open_error (index, leg->path, r);
  r = leg_file_identity (leg->bdev, leg->identity);
  return r < 0 ? say_open_error (index, leg->path, r) : 0;
}

int
volume_open_legs (const struct volume_spec *spec,
                  const struct manifest *manifest, struct volume_legs *legs)
{
  unsigned i;
  int r;

  memset (legs, 0, sizeof *legs);
  for (i = 0; i < spec->leg_count; ++i) {
    legs->count = i + 1;
    r = open_leg (spec, legs, i);
    if (r < 0)
      goto err_abandon;
  }
  r = decide_size (spec, manifest, legs);
  if (r == 0)
    r = decide_trust (spec, manifest, legs);
  if (r < 0)
    goto err_abandon;

  /* All is well: now, and not before, something may be changed. */
  for (i = 0; i < legs->count; ++i) {
    if (legs->legs[i].bdev != NULL)
      continue;
    r = create_leg (spec, i, legs);
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
