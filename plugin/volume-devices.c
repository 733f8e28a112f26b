/* The devices of a volume: what clients open, while they come and go.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A device lives as long as it can be found, or a client has it: so it
 * stays where it is.  Its export has the name of its snapshot.
 *
 * Locks: device_lock, a leaf, for the list and the numbers of clients.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "volume-impl.h"

static const char *
name_of (const struct volume_device *d)
{
  return d->snapshot == NULL ? "" : snapshot_name (d->snapshot);
}

/*----- making ----------------------------------------------------------*/

static void
describe_volume (struct volume *v, struct volume_device *d)
{
  struct mirror_status status;

  mirror_get_status (v->mirror, &status);
  snprintf (d->description, sizeof d->description,
            "the volume, a mirror of %u leg%s", status.leg_count,
            status.leg_count == 1 ? "" : "s");
}

struct volume_device *
volume_first_device (struct volume *v)
{
  return list_entry (v->devices.next, struct volume_device, link);
}

int
volume_device_create (struct volume *v, int index,
                      struct volume_device **device)
{
  struct volume_device *d = calloc (1, sizeof *d);

  if (d == NULL)
    return -ENOMEM;
  d->volume = v;
  d->is_read_only = v->is_read_only;
  if (index < 0) {
    d->target = origin_target (v->origin);
    describe_volume (v, d);
  }
  else {
    const struct manifest_snapshot *record = &v->records->snapshots[index];

    d->snapshot = snapshot_get (v->snapshots[index]);
    d->target = snapshot_target (d->snapshot);
    d->is_read_only |= record->is_read_only;
    snprintf (d->description, sizeof d->description,
              "snapshot of the volume, taken %s%s", record->created,
              record->is_read_only ? ", read-only" : "");
  }
  range_lock_init (&d->range_lock);
  d->pace = v->pace;
  *device = d;
  return 0;
}

void
volume_device_destroy (struct volume_device *d)
{
  if (d == NULL)
    return;
  assert (d->clients == 0);
  if (d->snapshot != NULL)
    snapshot_put (d->snapshot);
  range_lock_destroy (&d->range_lock);
  free (d);
}

void
volume_device_add (struct volume *v, struct volume_device *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->device_lock);
  d->is_listed = true;
  if (list_is_empty (&v->devices))
    list_push_back (&v->devices, &d->link);
  else /* behind the first */
    list_push_front (v->devices.next, &d->link);
}

unsigned
volume_device_clients (struct volume_device *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->volume->device_lock);
  return d->clients;
}

int
volume_device_hide (struct volume *v, struct volume_device *d,
                    bool refuse_clients)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->device_lock);
  if (refuse_clients && d->clients > 0)
    return -EBUSY;
  d->is_hidden = true;
  return 0;
}

void
volume_device_show (struct volume *v, struct volume_device *d)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->device_lock);
  d->is_hidden = false;
}

void
volume_device_remove (struct volume *v, struct volume_device *d)
{
  bool is_free;

  mutex_lock (&v->device_lock);
  list_remove (&d->link);
  d->is_listed = false;
  is_free = d->clients == 0;
  mutex_unlock (&v->device_lock);
  if (is_free)
    volume_device_destroy (d);
}

int
volume_make_devices (struct volume *v)
{
  struct volume_device *d;
  unsigned i;
  int r;

  r = volume_device_create (v, -1, &d);
  if (r < 0)
    return r;
  volume_device_add (v, d);
  for (i = 0; i < v->records->snapshot_count; ++i) {
    if (v->snapshots[i] == NULL || !snapshot_is_valid (v->snapshots[i]))
      continue;
    r = volume_device_create (v, (int) i, &d);
    if (r < 0)
      return r;
    volume_device_add (v, d);
  }
  return 0;
}

void
volume_free_devices (struct volume *v)
{
  while (!list_is_empty (&v->devices))
    volume_device_remove (v, list_entry (v->devices.next, struct volume_device,
                                         link));
}

/*----- finding ---------------------------------------------------------*/

struct volume_device *
volume_device_of (struct volume *v, const struct snapshot *snapshot)
{
  struct list *link;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->device_lock);
  list_for_each (link, &v->devices) {
    struct volume_device *d = list_entry (link, struct volume_device, link);

    if (d->snapshot == snapshot)
      return d;
  }
  return NULL;
}

/* The device of that name, with one more client, or NULL. */
static struct volume_device *
find_device (struct volume *v, const char *name)
{
  struct list *link;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->device_lock);
  list_for_each (link, &v->devices) {
    struct volume_device *d = list_entry (link, struct volume_device, link);

    if (!d->is_hidden && strcmp (name_of (d), name) == 0) {
      d->clients++;
      return d;
    }
  }
  return NULL;
}

int
volume_device_say_none (const char *name)
{
  char quote[LOG_QUOTE_BYTES];

  /* The name is a stranger's: it is cut, and never a format. */
  log_error ("export '%.80s': there is none of that name; 'nbdinfo --list' "
             "shows them",
             log_quote (name, quote));
  return -ENOENT;
}

/* Why there is no device of that name: said to the log. */
static int
say_why_not (struct volume *v, const char *name)
{
  const struct manifest_snapshot *record;
  int index;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->manifest_lock);
  index = manifest_find_snapshot (v->records, name);
  if (index < 0)
    return volume_device_say_none (name);
  record = &v->records->snapshots[index];
  switch (record->state) {
  case SNAPSHOT_CREATING:
    log_error ("export '%s': the snapshot is not ready, or going away", name);
    return -ENOENT;
  case SNAPSHOT_REMOVING:
    log_error ("export '%s': the snapshot is going away", name);
    return -ENOENT;
  case SNAPSHOT_MERGING:
    log_error ("export '%s': the volume is being rolled back to it; open "
               "that",
               name);
    return -ENOENT;
  default:
    log_error ("export '%s': the snapshot is invalid: %s", name,
               record->reason != NULL ? record->reason
                                      : "its store is marked invalid");
    return -EIO;
  }
}

/* Reading needs a start, too: what a client has once read where the legs may
 * differ must stay so, whichever legs there are next time.
 */
static bool
needs_start (const struct volume_device *d)
{
  const struct volume *v = d->volume;

  return !v->is_read_only && (!d->is_read_only || v->is_doubtful);
}

int
volume_device_open (struct volume *volume, const char *name, bool may_write,
                    struct volume_device **device)
{
  struct volume_device *d;
  int r;

  if (volume_diff_is_name (name))
    return volume_diff_open (volume, name, may_write, device);
  d = find_device (volume, name);
  if (d == NULL)
    return say_why_not (volume, name);
  if (d->snapshot != NULL && !snapshot_is_valid (d->snapshot)) {
    r = say_why_not (volume, name);
    volume_device_close (d);
    return r;
  }
  if (may_write && needs_start (d)) {
    r = volume_start (volume);
    if (r < 0) {
      volume_device_close (d);
      return r;
    }
  }
  *device = d;
  return 0;
}

void
volume_device_close (struct volume_device *device)
{
  struct volume *v = device->volume;
  bool is_free;

  if (device->is_diff) {
    volume_diff_close (device);
    return;
  }
  mutex_lock (&v->device_lock);
  assert (device->clients > 0);
  device->clients--;
  is_free = device->clients == 0 && !device->is_listed;
  mutex_unlock (&v->device_lock);
  if (is_free)
    volume_device_destroy (device);
}

/* True if clients can open it now. */
static bool
can_be_opened (const struct volume_device *d)
{
  return !d->is_hidden &&
         (d->snapshot == NULL || snapshot_is_valid (d->snapshot));
}

int
volume_each_export (struct volume *volume, volume_export_fn fn, void *opaque)
{
  struct volume_device *d;
  struct list *link;
  const char *newer = "";
  int r = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&volume->device_lock);
  list_for_each (link, &volume->devices) {
    d = list_entry (link, struct volume_device, link);
    if (r == 0 && can_be_opened (d))
      r = fn (opaque, name_of (d), d->description);
  }
  list_for_each (link, &volume->devices) {
    d = list_entry (link, struct volume_device, link);
    if (r != 0 || d->snapshot == NULL || !can_be_opened (d))
      continue;
    r = volume_diff_each (name_of (d), "", fn, opaque);
    if (r == 0 && newer[0] != '\0')
      r = volume_diff_each (name_of (d), newer, fn, opaque);
    newer = name_of (d);
  }
  return r;
}
