/* What has happened to the volume, for those who look on.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A ring of the last changes of state, each with a number that rises by one.
 * Whoever puts one in never waits for whoever reads; a reader that falls so
 * far behind that the ring has gone over what it wants is told how many it has
 * missed.  So a reader that has missed none has seen each once, in order.
 */

#ifndef DM_EVENTS_H
#define DM_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "log-sink.h"

#define EVENTS_KEPT 256

enum event_type {
  EVENT_VOLUME_STATE,
  EVENT_LEG_STATE,
  EVENT_LEG_FILE, /* without a reason: it is where it was again */
  EVENT_RESYNC_STARTED,
  EVENT_RESYNC_PROGRESS,
  EVENT_RESYNC_PAUSED,
  EVENT_RESYNC_RESUMED,
  EVENT_RESYNC_FINISHED,
  EVENT_SCRUB_STARTED,
  EVENT_SCRUB_FINISHED,
  EVENT_SNAPSHOT_CREATED,
  EVENT_SNAPSHOT_REMOVED, /* it cannot be opened any more */
  EVENT_SNAPSHOT_GONE,    /* its store is gone, too */
  EVENT_SNAPSHOT_RENAMED,
  EVENT_SNAPSHOT_BROKEN,
  EVENT_SNAPSHOT_MERGING,
  EVENT_SNAPSHOT_MERGED,
  EVENT_SERVER_STARTED,
  EVENT_SERVER_STOPPING,
  EVENT_TYPES /* how many there are */
};

#define EVENT_WORD_BYTES 16
#define EVENT_NAME_BYTES LOG_QUOTE_BYTES
#define EVENT_REASON_BYTES 256

/* Members that a type does not need are 0, and are not shown. */
struct event {
  uint64_t number; /* from 1 on; set by events_put, like the time */
  int64_t wall_seconds;
  enum event_type type;
  uint64_t job; /* that it is of: its number */
  bool has_leg;
  unsigned leg;
  bool has_bytes;
  uint64_t done_bytes, total_bytes;
  char name[EVENT_NAME_BYTES]; /* of the leg, or the snapshot */
  char new_name[EVENT_NAME_BYTES];
  char state[EVENT_WORD_BYTES], was[EVENT_WORD_BYTES];
  char reason[EVENT_REASON_BYTES]; /* empty: there is none */
};

/* Its name, such as "leg.state". */
const char *event_type_name (enum event_type type);

struct events;

/* Returns 0 or -ENOMEM. */
int events_create (struct events **events);
void events_destroy (struct events *events);

/* WAKE is called after each event, by whoever has put it in, possibly with
 * locks held: it must not block.  NULL for nobody.
 */
void events_set_wake (struct events *events, void (*wake) (void *opaque),
                      void *opaque);

/* Put in a copy of EVENT.  Any thread, with any lock held. */
void events_put (struct events *events, const struct event *event);

/* The number that the next event will have. */
uint64_t events_next (struct events *events);

/* Take the event *NEXT, and count that on.  If it is not there any more,
 * *LOST is how many were missed, and *NEXT is the oldest that is left.
 * Returns true if EVENT was filled, or *LOST is not 0.
 */
bool events_take (struct events *events, uint64_t *next, struct event *event,
                  uint64_t *lost);

/* How many there have been of each type. */
void events_get_counts (struct events *events, uint64_t counts[EVENT_TYPES]);

#endif /* DM_EVENTS_H */
