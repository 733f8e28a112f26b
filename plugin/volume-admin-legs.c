/* What an administrator does to the legs of a volume.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Everything is checked first; what is refused has changed nothing.  The
 * order of a change, and what is durable when, is that of mirror-legs.c:
 * the mirror calls back to have the manifest saved (volume-members.c).
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log-sink.h"
#include "part-bdev.h"
#include "volume-admin.h"
#include "volume-impl.h"

/*----- what all do -----------------------------------------------------*/

/* Get ready to change something: the volume is in use from now on. */
static int
start_volume (struct volume *v, struct volume_why *why)
{
  int r = volume_start (v);

  if (r == -EROFS)
    return volume_why (why, r,
                       "the volume is read-only: %s; make that writable, and "
                       "start the server again",
                       v->read_only_reason);
  if (r < 0)
    return volume_why (why, r,
                       "the volume cannot be started: %s; the server's log "
                       "says why",
                       errno_text (r));
  return 0;
}

/* A leg by its number: what it is called, and how it is. */
struct named_leg {
  char shown[LOG_QUOTE_BYTES];
  enum leg_state state;
};

/* The same as start_volume, and LEG must be there. */
static int
start_with_leg (struct volume *v, unsigned leg, struct named_leg *named,
                struct volume_why *why)
{
  struct mirror_status status;
  char numbers[4 * MIRROR_MAX_LEGS] = "";
  unsigned i;

  mirror_get_status (v->mirror, &status);
  if (leg < status.leg_count && status.legs[leg].state != LEG_ABSENT) {
    log_quote (mirror_leg_name (v->mirror, leg), named->shown);
    named->state = status.legs[leg].state;
    return start_volume (v, why);
  }
  for (i = 0; i < status.leg_count; ++i)
    if (status.legs[i].state != LEG_ABSENT)
      snprintf (numbers + strlen (numbers), sizeof numbers - strlen (numbers),
                "%s%u", numbers[0] != '\0' ? ", " : "", i);
  return volume_why (why, -EINVAL,
                     "leg %u: there is no such leg; give one of %s", leg,
                     numbers);
}

static int
why_last (struct volume_why *why, unsigned leg, const struct named_leg *named)
{
  return volume_why (why, -EBUSY,
                     "leg %u (%s) is the last one in sync: without it the data "
                     "would be lost; add a leg, or rejoin one, and wait until "
                     "it is in sync",
                     leg, named->shown);
}

static int
why_not_recorded (struct volume *v, struct volume_why *why, int r)
{
  if (v->dir == NULL)
    return volume_why (why, r, "that has failed: %s; free some memory",
                       errno_text (r));
  if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
    return volume_why (why, r,
                       "that cannot be recorded in %s: %s; nothing has "
                       "changed, try again then",
                       meta_dir_path (v->dir), errno_text (r));
  return volume_why (
    why, r,
    "that cannot be recorded in %s: %s; make room, or see to "
    "the disk and the mode of that folder; nothing has changed",
    meta_dir_path (v->dir), errno_text (r));
}

/*----- new legs --------------------------------------------------------*/

/* A leg that is to come in, opened and checked. */
struct candidate {
  char shown[LOG_QUOTE_BYTES];
  char *absolute;
  char identity[LEG_IDENTITY_BYTES];
  struct block_device *bdev;
};

static void
candidate_free (struct candidate *c)
{
  bdev_close (c->bdev);
  free (c->absolute);
}

/* True if PATH, absolute, is in the volume's folder. */
static bool
is_in_folder (const struct volume *v, const char *path)
{
  const char *folder;
  size_t length;

  if (v->dir == NULL)
    return false;
  folder = meta_dir_path (v->dir);
  length = strlen (folder);
  return strncmp (path, folder, length) == 0 && path[length] == '/';
}

/* The leg of the mirror that is the device of that name, or NO_LEG. */
#define NO_LEG UINT32_MAX

static unsigned
find_leg (struct volume *v, const struct candidate *c, const char *spec)
{
  struct bdev_identity mine, other;
  struct block_device *bdev = NULL;
  struct mirror_status status;
  unsigned i, found = NO_LEG;
  bool has_identity;

  has_identity = !bdev_spec_is_uri (spec) &&
                 bdev_open (spec, BDEV_OPEN_READ_ONLY, &bdev) == 0 &&
                 bdev_identity (bdev, &mine) == 0;
  bdev_close (bdev);
  mirror_get_status (v->mirror, &status);
  for (i = 0; i < status.leg_count && found == NO_LEG; ++i) {
    if (status.legs[i].state == LEG_ABSENT)
      continue;
    if (has_identity) {
      /* A file of the same name may be another one by now. */
      if (bdev_identity (mirror_leg_bdev (v->mirror, i), &other) == 0 &&
          other.device == mine.device && other.inode == mine.inode &&
          other.is_disk == mine.is_disk)
        found = i;
    }
    else if (strcmp (v->leg_paths[i], c->absolute) == 0)
      found = i;
  }
  return found;
}

static int
why_not_opened (struct volume_why *why, const struct candidate *c,
                const char *spec, int r)
{
  char text[LOG_MESSAGE_BYTES];

  if (r == -ENOENT && !bdev_spec_is_uri (spec))
    return volume_why (why, r,
                       "%s does not exist; check the name, or make it with "
                       "'truncate -s SIZE FILE'",
                       c->shown);
  volume_leg_error_text (spec, LEG_COMING, r, text);
  return volume_why (why, r, "%s: %.900s", c->shown, text);
}

static bool
is_out (struct volume *v, unsigned leg)
{
  struct mirror_status status;

  mirror_get_status (v->mirror, &status);
  return status.legs[leg].state == LEG_FAILED ||
         status.legs[leg].state == LEG_MISSING;
}

/* C is what leg LEG was, which is out, and of which nothing is to be believed
 * any more: it is to be opened anew, and filled.  What it was sent before must
 * not land after that, and our own lock would be in the way.
 */
static int
let_go (struct volume *v, unsigned leg, const struct candidate *c,
        struct volume_why *why)
{
  const char *name = v->leg_paths[leg];
  struct block_device *bdev;
  int r = mirror_reconnect_leg (v->mirror, leg, 0);

  if (r == -EBUSY)
    return volume_why (why, r,
                       "%s: what was sent to it before may still be written; "
                       "wait until it answers or ends, or give another",
                       c->shown);
  if (bdev_spec_is_uri (name))
    return 0;
  r = volume_make_no_device (name, mirror_target (v->mirror)->sectors, &bdev);
  if (r < 0)
    return why_not_opened (why, c, name, r);
  r = mirror_set_leg_device (v->mirror, leg, bdev);
  if (r < 0) {
    bdev_close (bdev);
    return why_not_opened (why, c, name, r);
  }
  return 0;
}

/* Open SPEC for the place of leg REPLACED (NO_LEG: none), and check it. */
static int
open_candidate (struct volume *v, const char *spec, unsigned replaced,
                struct candidate *c, struct volume_why *why)
{
  sector_t sectors = mirror_target (v->mirror)->sectors;
  unsigned same;
  int r;

  memset (c, 0, sizeof *c);
  if (spec[0] == '\0')
    return volume_why (why, -EINVAL,
                       "the new leg has no name; give a file, a "
                       "block device, or the URI of a server");
  log_quote (spec, c->shown);
  r = leg_file_absolute_path (spec, &c->absolute);
  if (r == -ENOENT)
    return volume_why (why, r, "%s: its folder does not exist; check the name",
                       c->shown);
  if (r < 0)
    return why_not_opened (why, c, spec, r);
  if (is_in_folder (v, c->absolute))
    return volume_why (why, -EEXIST,
                       "%s is in the volume's folder, where its stores are; "
                       "give another file",
                       c->shown);
  same = find_leg (v, c, spec);
  if (same != NO_LEG && (same != replaced || !is_out (v, same)))
    return volume_why (why, -EEXIST, "%s is leg %u already; give another",
                       c->shown, same);
  if (same != NO_LEG) {
    r = let_go (v, same, c, why);
    if (r < 0)
      return r;
  }
  r = volume_open_device (&v->leg_options, spec, 0, &c->bdev);
  if (r < 0)
    return why_not_opened (why, c, spec, r);
  if (bdev_sectors (c->bdev) < sectors)
    return volume_why (why, -EINVAL,
                       "%s has %" PRIu64 " bytes, fewer than the volume's "
                       "%" PRIu64 "; give a larger one, or make it longer with "
                       "'truncate -s %" PRIu64 " FILE'",
                       c->shown, sector_to_bytes (bdev_sectors (c->bdev)),
                       sector_to_bytes (sectors), sector_to_bytes (sectors));
  r = leg_file_identity (c->bdev, c->identity);
  if (r < 0)
    return why_not_opened (why, c, spec, r);
  if (!bdev_spec_is_uri (spec)) {
    /* The manifest must not name what a crash takes away. */
    r = leg_file_sync_entry (c->absolute);
    if (r < 0 && r != -EACCES)
      return why_not_opened (why, c, spec, r);
  }
  return 0;
}

/* Have the mirror take C: CHANGE calls back, and the manifest gets it. */
static void
announce (struct volume *v, struct volume_new_leg *new_leg,
          const struct candidate *c)
{
  *new_leg = (struct volume_new_leg){ .spec = c->absolute,
                                      .identity = c->identity,
                                      .bdev = c->bdev };
  v->new_leg = new_leg;
}

/* The mirror has taken C as leg LEG; NULL: there is no such leg any more. */
static void
set_path (struct volume *v, unsigned leg, struct candidate *c)
{
  free (v->leg_paths[leg]);
  v->leg_paths[leg] = NULL;
  memset (&v->leg_files[leg], 0, sizeof v->leg_files[leg]);
  if (c != NULL) {
    v->leg_paths[leg] = c->absolute;
    c->absolute = NULL;
    c->bdev = NULL;
    volume_set_leg_file (v, leg);
  }
}

int
volume_leg_add (struct volume *v, const char *spec, unsigned *leg,
                struct volume_why *why)
{
  struct volume_new_leg new_leg;
  struct candidate c = { .bdev = NULL };
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  r = start_volume (v, why);
  if (r == 0)
    r = open_candidate (v, spec, NO_LEG, &c, why);
  if (r == 0) {
    announce (v, &new_leg, &c);
    r = mirror_add_leg (v->mirror, c.bdev, false, leg);
    v->new_leg = NULL;
    if (r == 0)
      v->leg_offsets[*leg] = 0;
    if (r == 0) {
      set_path (v, *leg, &c);
      (void) volume_start_rejoin (v);
    }
    else if (r == -E2BIG)
      volume_why (why, r,
                  "the volume has %d legs, which is the most there can be; "
                  "remove one, or replace one",
                  MIRROR_MAX_LEGS);
    else
      why_not_recorded (v, why, r);
  }
  candidate_free (&c);
  return r;
}

int
volume_leg_replace (struct volume *v, unsigned leg, const char *spec,
                    struct volume_why *why)
{
  struct volume_new_leg new_leg;
  struct candidate c = { .bdev = NULL };
  struct named_leg named;
  bool was_held;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  r = start_with_leg (v, leg, &named, why);
  if (r == 0)
    r = open_candidate (v, spec, leg, &c, why);
  if (r == 0) {
    was_held = volume_hold_out (v, leg, false);
    announce (v, &new_leg, &c);
    r = mirror_replace_leg (v->mirror, leg, c.bdev);
    v->new_leg = NULL;
    if (r == 0)
      v->leg_offsets[leg] = 0;
    if (r < 0)
      (void) volume_hold_out (v, leg, was_held);
    if (r == 0) {
      set_path (v, leg, &c);
      (void) volume_start_rejoin (v);
    }
    else if (r == -EBUSY)
      why_last (why, leg, &named);
    else
      why_not_recorded (v, why, r);
  }
  candidate_free (&c);
  return r;
}

/*----- legs that go ----------------------------------------------------*/

int
volume_leg_fail (struct volume *v, unsigned leg, struct volume_why *why)
{
  struct named_leg named;
  bool was_held;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  r = start_with_leg (v, leg, &named, why);
  if (r < 0)
    return r;
  was_held = volume_hold_out (v, leg, true); /* it does not come back */
  r = mirror_fail (v->mirror, leg, "failed by the administrator");
  if (r < 0)
    (void) volume_hold_out (v, leg, was_held);
  if (r == 1)
    return volume_why (why, 1, "leg %u (%s) has failed already", leg,
                       named.shown);
  if (r == -EBUSY)
    return why_last (why, leg, &named);
  return r < 0 ? why_not_recorded (v, why, r) : 0;
}

int
volume_leg_remove (struct volume *v, unsigned leg, struct volume_why *why)
{
  struct named_leg named;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  r = start_with_leg (v, leg, &named, why);
  if (r < 0)
    return r;
  r = mirror_remove_leg (v->mirror, leg);
  if (r == -EBUSY)
    return why_last (why, leg, &named);
  if (r < 0)
    return why_not_recorded (v, why, r);
  set_path (v, leg, NULL);
  (void) volume_hold_out (v, leg, false); /* nor does the next one of it */
  log_info ("leg %u (%s): removed from the volume", leg, named.shown);
  return 0;
}

/*----- legs that come back ---------------------------------------------*/

static int
why_stale (struct volume_why *why, unsigned leg, const struct named_leg *named)
{
  return volume_why (why, -ESTALE,
                     "leg %u (%s) is not the file or disk that it was, so what "
                     "it holds is not known; replace it, then all is copied",
                     leg, named->shown);
}

/* What leg LEG is known by: in the manifest, or else as it was opened. */
static void
get_known_identity (struct volume *v, unsigned leg,
                    char identity[LEG_IDENTITY_BYTES])
{
  if (v->manifest == NULL) {
    strcpy (identity, v->leg_files[leg].identity);
    return;
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  snprintf (identity, LEG_IDENTITY_BYTES, "%s",
            v->manifest->legs[volume_manifest_leg (v, leg)].identity);
}

/* True if somebody else has written to leg LEG, which is open again, since it
 * was out: it may have gone on alone.
 */
static bool
went_on_alone (struct volume *v, unsigned leg)
{
  char stamp[LEG_STAMP_BYTES];
  const char *known;

  if (v->manifest == NULL)
    return false;
  leg_file_stamp (mirror_leg_bdev (v->mirror, leg), stamp);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  known = v->manifest->legs[volume_manifest_leg (v, leg)].stamp;
  return known[0] != '\0' && strcmp (known, stamp) != 0;
}

/* Is PATH what has IDENTITY, and large enough? */
static int
check_same (struct volume *v, struct block_device *bdev, const char *identity)
{
  char now[LEG_IDENTITY_BYTES];
  int r = leg_file_identity (bdev, now);

  if (r < 0)
    return r;
  if (strcmp (now, identity) != 0 ||
      bdev_sectors (bdev) < mirror_target (v->mirror)->sectors)
    return -ESTALE;
  return 0;
}

/* Close leg LEG, which is out, and open it again: a device of which a flush
 * has failed never succeeds again.  Our own lock on it would be in the way, so
 * for a moment there is none; if it cannot be opened then, there is none until
 * the next try.
 */
static int
reopen (struct volume *v, unsigned leg, const char *identity)
{
  const char *name = v->leg_paths[leg];
  struct block_device *bdev;
  int r = bdev_open (name, BDEV_OPEN_READ_ONLY, &bdev);

  if (r < 0)
    return r;
  r = part_bdev_take (&bdev, v->leg_offsets[leg]);
  if (r == 0)
    r = check_same (v, bdev, identity);
  bdev_close (bdev);
  if (r == 0)
    r = volume_make_no_device (name, mirror_target (v->mirror)->sectors, &bdev);
  if (r < 0)
    return r;
  r = mirror_set_leg_device (v->mirror, leg, bdev);
  if (r < 0) {
    bdev_close (bdev);
    return r;
  }
  r = volume_open_device (&v->leg_options, name, 0, &bdev);
  if (r < 0)
    return r;
  r = part_bdev_take (&bdev, v->leg_offsets[leg]);
  if (r == 0)
    r = check_same (v, bdev, identity);
  if (r == 0)
    r = mirror_set_leg_device (v->mirror, leg, bdev);
  if (r < 0)
    bdev_close (bdev);
  else
    volume_set_leg_file (v, leg);
  return r;
}

static int
reconnect_server (struct volume *v, unsigned leg, const struct named_leg *named,
                  struct volume_why *why)
{
  int r = mirror_reconnect_leg (v->mirror, leg, 0);
  char text[LOG_MESSAGE_BYTES];

  if (r == -EBUSY)
    return volume_why (why, r,
                       "leg %u (%s): a write that was sent to the server may "
                       "still land there; wait until it answers or ends",
                       leg, named->shown);
  if (r == -ESTALE)
    return why_stale (why, leg, named);
  if (r == 0)
    return 0;
  volume_leg_error_text (mirror_leg_name (v->mirror, leg), LEG_RETURNING, r,
                         text);
  return volume_why (why, r, "leg %u (%s): %.700s", leg, named->shown, text);
}

/* A file or disk.  *MUST_OPEN: it did not hang, but has failed. */
static int
wait_for_file (struct volume *v, unsigned leg, const struct named_leg *named,
               bool *must_open, struct volume_why *why)
{
  int r = mirror_reconnect_leg (v->mirror, leg, 0);

  if (r == -EBUSY)
    return volume_why (why, r,
                       "leg %u (%s): still hangs; it comes back by itself when "
                       "it answers, or replace it",
                       leg, named->shown);
  *must_open = r < 0;
  return 0;
}

int
volume_leg_rejoin (struct volume *v, unsigned leg, struct volume_why *why)
{
  char identity[LEG_IDENTITY_BYTES], text[LOG_MESSAGE_BYTES];
  enum leg_lack lack = LEG_LACKS_DIRTY;
  struct named_leg named;
  const char *name;
  bool must_open = true;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  r = start_with_leg (v, leg, &named, why);
  if (r < 0)
    return r;
  if (named.state != LEG_FAILED && named.state != LEG_MISSING)
    return volume_why (why, 1, "leg %u (%s) is in use already", leg,
                       named.shown);
  name = mirror_leg_name (v->mirror, leg);
  if (named.state == LEG_FAILED && bdev_spec_is_uri (name)) {
    r = reconnect_server (v, leg, &named, why);
    must_open = false;
  }
  else if (named.state == LEG_FAILED)
    r = wait_for_file (v, leg, &named, &must_open, why);
  if (r < 0)
    return r;
  if (must_open) {
    get_known_identity (v, leg, identity);
    r = reopen (v, leg, identity);
    if (r == 0 && went_on_alone (v, leg))
      return volume_why (why, -ESTALE,
                         "leg %u (%s): was out of the volume, and somebody has "
                         "written to it since; to keep what the volume has, "
                         "replace it, then all is copied",
                         leg, named.shown);
    if (r == 0 && named.state == LEG_MISSING &&
        leg_identity_is_weak (identity) && !bdev_spec_is_uri (name))
      lack = LEG_LACKS_ALL; /* it may be another disk of that name */
    if (r == -ESTALE)
      return why_stale (why, leg, &named);
    if (r < 0) {
      volume_leg_error_text (name, LEG_RETURNING, r, text);
      return volume_why (why, r, "leg %u (%s): %.700s", leg, named.shown, text);
    }
  }
  (void) volume_hold_out (v, leg, false);
  r = mirror_rejoin_leg (v->mirror, leg, lack);
  return r < 0 ? why_not_recorded (v, why, r) : 0;
}

/*----- resync ----------------------------------------------------------*/

int
volume_resync_start (struct volume *v, struct volume_why *why)
{
  struct mirror_status status;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  r = start_volume (v, why);
  if (r < 0)
    return r;
  mirror_get_status (v->mirror, &status);
  if (mirror_pause_resync (v->mirror, RESYNC_GO_ON))
    volume_note_resync (v, EVENT_RESYNC_RESUMED);
  if (!status.is_paused && !mirror_needs_resync (v->mirror))
    return volume_why (why, 1, "all is in sync already");
  mirror_hurry_resync (v->mirror);
  return 0;
}

int
volume_resync_pause (struct volume *v, struct volume_why *why)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  if (!mirror_pause_resync (v->mirror, RESYNC_PAUSE))
    return volume_why (why, 1, "the resync is paused already");
  volume_note_resync (v, EVENT_RESYNC_PAUSED);
  return 0;
}

int
volume_resync_resume (struct volume *v, struct volume_why *why)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  if (!mirror_pause_resync (v->mirror, RESYNC_GO_ON))
    return volume_why (why, 1, "the resync is not paused");
  volume_note_resync (v, EVENT_RESYNC_RESUMED);
  return 0;
}

int
volume_resync_set_rate (struct volume *v, uint64_t bytes_per_second,
                        struct volume_why *why)
{
  /* Without admin_lock, which a job may have that a low rate holds up. */
  if (!mirror_set_pace_rate (v->mirror, bytes_per_second))
    return volume_why (why, 1, "the rate is that already");
  return 0;
}

/*----- scrub -----------------------------------------------------------*/

int
volume_scrub_start (struct volume *v, enum scrub_mode mode,
                    struct volume_why *why)
{
  struct mirror_status status;
  unsigned i, in_sync = 0, legs = 0;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  if (mode == SCRUB_REPAIR) {
    r = start_volume (v, why);
    if (r < 0)
      return r;
  }
  mirror_get_status (v->mirror, &status);
  for (i = 0; i < status.leg_count; ++i) {
    in_sync += status.legs[i].state == LEG_IN_SYNC;
    legs += status.legs[i].state != LEG_ABSENT;
  }
  if (in_sync < 2)
    return volume_why (why, -EINVAL,
                       "there is nothing to compare: %u leg%s of %u in sync; "
                       "add a leg, or wait until the resync is through",
                       in_sync, in_sync == 1 ? " is" : "s are", legs);
  r = mirror_scrub_start (v->mirror, mode);
  if (r == 1)
    return volume_why (why, 1, "a scrub is running already");
  if (r < 0)
    return volume_why (why, r,
                       "the scrub cannot be started: %s; free some memory, or "
                       "end other processes",
                       errno_text (r));
  return 0;
}

int
volume_scrub_stop (struct volume *v, struct volume_why *why)
{
  struct mirror_status status;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  mirror_get_status (v->mirror, &status);
  if (!status.scrub.is_running)
    return volume_why (why, 1, "no scrub is running");
  mirror_scrub_stop (v->mirror);
  return 0;
}
