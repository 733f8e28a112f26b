/* What the files of the volume share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_VOLUME_IMPL_H
#define DM_VOLUME_IMPL_H

#include "events.h"
#include "kcopyd.h"
#include "leg-file.h"
#include "log-sink.h"
#include "manifest.h"
#include "meta-dir.h"
#include "sync.h"
#include "volume-status.h"
#include "volume.h"

/* What is known of the volume's state: what has been told to those who look
 * on.  Its lock is a leaf, but for that of the events and those of the
 * mirror that its status takes.
 */
struct volume_look {
  struct mutex lock;
  enum volume_state state;
  unsigned leg_count;
  struct {
    enum leg_state state;
    char reason[EVENT_REASON_BYTES];
  } legs[MIRROR_MAX_LEGS];

  /* The resync that is running, or has been. */
  bool is_resyncing;
  uint64_t resync_total_bytes, resync_done_bytes;
  uint64_t rate_since_ns, rate_since_bytes; /* of the rate that is measured */
  uint64_t rate;
};

struct volume {
  struct meta_dir *dir; /* NULL: nothing is remembered */
  bool is_read_only;
  const char *read_only_reason;
  struct mirror *mirror;
  struct origin *origin;
  unsigned snapshot_count;
  struct snapshot **snapshots; /* newest first; NULL: dead, not needed */
  unsigned device_count;
  struct volume_device *devices;
  struct kcopyd_client *kcopyd; /* of the snapshots, once started */

  /* Serialises what administrators do (volume-admin.h).  Outside all other
   * locks.
   */
  struct mutex admin_lock;

  /* Serialises starting.  Outside manifest_lock. */
  struct mutex start_lock;
  bool is_started;

  /* Protects the manifest, in memory and on disk.  A leaf: taken by what
   * the mirror and the snapshots call back, under their locks.
   */
  struct mutex manifest_lock;
  struct manifest *manifest; /* NULL without a folder */
  bool is_recorded;          /* it may name the legs of this start */

  struct events *events;
  struct volume_look look;
};

/* Save the manifest, durably.  The caller holds manifest_lock, or is alone.
 */
int volume_save_manifest (struct volume *v);

/* The mirror has been made, or its legs are others: look anew. */
void volume_look_begin (struct volume *v);

/* A leg's state has changed, durably where there is a memory. */
void volume_note_leg (struct volume *v, unsigned leg, enum leg_state state,
                      const char *reason);

/* For the mirror: mirror_note_fn. */
void volume_note (void *opaque, enum mirror_note note);

/* Something has happened to the snapshot NAME.  REASON may be NULL. */
void volume_note_snapshot (struct volume *v, enum event_type type,
                           const char *name, const char *reason);

/* One leg on its way from the command line to the mirror. */
struct volume_leg {
  const char *path;            /* as the user gave it */
  char shown[LOG_QUOTE_BYTES]; /* the same, in messages */
  char *absolute;
  struct block_device *bdev; /* NULL: must be created */
  bool is_wanted;            /* it is absent, and to be created */
  bool is_created;
  bool is_read_only;
  char identity[LEG_IDENTITY_BYTES];
  const struct manifest_leg *known; /* what the manifest says of it */
  enum leg_state state;
};

struct volume_legs {
  unsigned count;
  struct volume_leg legs[MIRROR_MAX_LEGS];
  unsigned primary;
  uint64_t size_bytes; /* of the volume */
  bool is_in_sync;     /* all regions, on all legs */
};

/* Open the legs, check them against each other, SPEC and MANIFEST (NULL if
 * there is none), create those that are missing and may be, and decide
 * which can be trusted.  On failure nothing is open and what was created
 * is gone.
 */
int volume_open_legs (const struct volume_spec *spec,
                      const struct manifest *manifest,
                      struct volume_legs *legs);

/* Close what is open, and remove what was created. */
void volume_abandon_legs (struct volume_legs *legs);

/* The mirror has the devices now, and closes them. */
void volume_disown_legs (struct volume_legs *legs);

/* All is well: forget about them. */
void volume_release_legs (struct volume_legs *legs);

/* Open all snapshots of the manifest but those that SPEC discards, then
 * discard those, and take the new ones that SPEC asks for.  The mirror is
 * there.
 */
int volume_open_snapshots (struct volume *v, const struct volume_spec *spec);

/* Close all that are open. */
void volume_close_snapshots (struct volume *v);

#endif /* DM_VOLUME_IMPL_H */
