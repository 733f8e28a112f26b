/* What the files of the volume share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_VOLUME_IMPL_H
#define DM_VOLUME_IMPL_H

#include "kcopyd.h"
#include "leg-file.h"
#include "log-sink.h"
#include "manifest.h"
#include "meta-dir.h"
#include "sync.h"
#include "volume.h"

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
};

/* Save the manifest, durably.  The caller holds manifest_lock, or is alone.
 */
int volume_save_manifest (struct volume *v);

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
