/* What the volume looks like now, for people and programs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Looking never waits for a client's I/O, nor for an administrator's work; at
 * most for one save of the manifest.
 */

#ifndef DM_VOLUME_STATUS_H
#define DM_VOLUME_STATUS_H

#include "events.h"
#include "mirror.h"
#include "pace.h"

struct volume;

enum volume_state {
  VOLUME_HEALTHY,   /* all legs hold the same */
  VOLUME_DEGRADED,  /* a leg has failed */
  VOLUME_RESYNCING, /* none has, but they are not all the same (yet) */
  VOLUME_FAILED,    /* what is written cannot be made durable any more */
};

enum resync_state {
  RESYNC_IDLE,
  RESYNC_RUNNING,
  RESYNC_PAUSED,
};

struct volume_leg_status {
  unsigned index;   /* its number: there may be gaps */
  const char *spec; /* as it was opened; the volume's */
  enum leg_state state;
  bool is_write_mostly;
  uint64_t reads, writes, read_bytes, write_bytes;
  uint64_t read_errors, write_errors, flush_errors;
  bool has_lost_name; /* its file is in use, but not what its name leads to */
  char reason[EVENT_REASON_BYTES]; /* empty: there is none */
};

struct volume_snapshot_status {
  char *name;
  char *created;     /* RFC 3339 */
  char *reason;      /* why it is in that state, or NULL */
  char *origin;      /* the next newer one, "" for the volume */
  const char *state; /* valid, overflow, invalid, removing, merging */
  bool is_read_only;
  bool is_transient; /* it ends with the server */
  uint64_t chunk_bytes, chunks;
  uint64_t used_bytes, store_bytes, metadata_bytes;
  unsigned clients; /* that have it open */
};

struct volume_status {
  uint64_t size_bytes;
  enum volume_state state;
  uint64_t generation;
  const char *meta; /* absolute path, or NULL; the volume's */
  bool is_read_only;
  bool is_started; /* a client has come, or an administrator: the background is
                    * at work */
  unsigned leg_count;
  struct volume_leg_status legs[MIRROR_MAX_LEGS];
  uint64_t region_bytes, regions_total, regions_in_sync;
  enum resync_state resync; /* RESYNC_PAUSED: there is something to do */
  bool is_resync_paused;    /* if there is not: what comes is, too */
  uint64_t resync_done_bytes, resync_total_bytes;
  uint64_t resync_rate; /* bytes a second, of late */
  bool has_eta;
  uint64_t eta_seconds;
  struct dirty_log_status log;
  bool log_is_lost;                 /* it cannot be written any more */
  struct mirror_scrub_status scrub; /* the one that is running, or the last */
  struct pace_counts background;    /* of all that goes on in it */
  unsigned snapshot_count;
  struct volume_snapshot_status *snapshots; /* newest first */
};

/* Fill STATUS, which is for volume_status_free.  Returns 0 or -ENOMEM. */
int volume_get_status (struct volume *volume, struct volume_status *status);
void volume_status_free (struct volume_status *status);

/* mirror_get_leg_latency, of the leg with that number. */
bool volume_get_leg_latency (struct volume *volume, unsigned leg,
                             enum latency_op op, struct latency_counts *counts);

/* The words of interface and messages. */
const char *volume_state_name (enum volume_state state);
const char *leg_state_name (enum leg_state state);
const char *resync_state_name (enum resync_state state);

#endif /* DM_VOLUME_STATUS_H */
