/* What has happened to the volume, for those who look on.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Locks: one, a leaf, held for the copy of one event.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "events.h"
#include "sync.h"

struct events {
  struct mutex lock;
  uint64_t next; /* the number of the next one */
  uint64_t counts[EVENT_TYPES];
  void (*wake) (void *opaque);
  void *wake_opaque;
  struct event ring[EVENTS_KEPT]; /* event N is in slot N % EVENTS_KEPT */
};

const char *
event_type_name (enum event_type type)
{
  static const char *const names[EVENT_TYPES] = {
    [EVENT_VOLUME_STATE] = "volume.state",
    [EVENT_LEG_STATE] = "leg.state",
    [EVENT_LEG_FILE] = "leg.file",
    [EVENT_RESYNC_STARTED] = "resync.started",
    [EVENT_RESYNC_PROGRESS] = "resync.progress",
    [EVENT_RESYNC_PAUSED] = "resync.paused",
    [EVENT_RESYNC_RESUMED] = "resync.resumed",
    [EVENT_RESYNC_FINISHED] = "resync.finished",
    [EVENT_SCRUB_STARTED] = "scrub.started",
    [EVENT_SCRUB_FINISHED] = "scrub.finished",
    [EVENT_SNAPSHOT_CREATED] = "snapshot.created",
    [EVENT_SNAPSHOT_REMOVED] = "snapshot.removed",
    [EVENT_SNAPSHOT_GONE] = "snapshot.gone",
    [EVENT_SNAPSHOT_RENAMED] = "snapshot.renamed",
    [EVENT_SNAPSHOT_BROKEN] = "snapshot.broken",
    [EVENT_SNAPSHOT_MERGING] = "snapshot.merging",
    [EVENT_SNAPSHOT_MERGED] = "snapshot.merged",
    [EVENT_SERVER_STARTED] = "server.started",
    [EVENT_SERVER_STOPPING] = "server.stopping",
  };

  return names[type];
}

int
events_create (struct events **events)
{
  struct events *e = calloc (1, sizeof *e);

  if (e == NULL)
    return -ENOMEM;
  mutex_init (&e->lock);
  e->next = 1;
  *events = e;
  return 0;
}

void
events_destroy (struct events *events)
{
  if (events == NULL)
    return;
  mutex_destroy (&events->lock);
  free (events);
}

void
events_set_wake (struct events *events, void (*wake) (void *opaque),
                 void *opaque)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&events->lock);
  events->wake = wake;
  events->wake_opaque = opaque;
}

void
events_put (struct events *events, const struct event *event)
{
  struct event *slot;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&events->lock);
  slot = &events->ring[events->next % EVENTS_KEPT];
  *slot = *event;
  slot->number = events->next++;
  slot->wall_seconds = clock_wall_seconds ();
  events->counts[event->type]++;
  if (events->wake != NULL)
    events->wake (events->wake_opaque);
}

uint64_t
events_next (struct events *events)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&events->lock);
  return events->next;
}

bool
events_take (struct events *events, uint64_t *next, struct event *event,
             uint64_t *lost)
{
  uint64_t oldest;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&events->lock);
  *lost = 0;
  oldest = events->next > EVENTS_KEPT ? events->next - EVENTS_KEPT : 1;
  if (*next < oldest) {
    *lost = oldest - *next;
    *next = oldest;
    return true;
  }
  if (*next >= events->next)
    return false;
  *event = events->ring[*next % EVENTS_KEPT];
  ++*next;
  return true;
}

void
events_get_counts (struct events *events, uint64_t counts[EVENT_TYPES])
{
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&events->lock);
  for (i = 0; i < EVENT_TYPES; ++i)
    counts[i] = events->counts[i];
}
