/* The manifest: the volume's durable memory of its legs and snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * DIR/volume.json (docs/FORMATS.md).  Here it is a plain structure; who
 * changes it holds a lock of its own, and saves it before acting on the
 * change.
 */

#ifndef DM_MANIFEST_H
#define DM_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "leg-file.h"
#include "meta-dir.h"
#include "mirror.h"

#define MANIFEST_FILE "volume.json"
/* What follows a snapshot's name in that of its store. */
#define MANIFEST_STORE_SUFFIX ".cow"
#define MANIFEST_MAX_SNAPSHOTS 1024
#define SNAPSHOT_NAME_MAX 64

struct manifest_leg {
  char *spec;     /* absolute path */
  char *identity; /* which file it was */
  /* When it was last written, as of the last save: at a clean stop, by us. */
  char stamp[LEG_STAMP_BYTES];
  enum leg_state state;
  char *reason; /* why it failed, or NULL */
};

/* Where it is remembered which regions may differ. */
enum manifest_log {
  MANIFEST_LOG_NONE,   /* nowhere: an earlier version has written this */
  MANIFEST_LOG_DISK,   /* in DIR/dirty.log */
  MANIFEST_LOG_FAILED, /* nowhere: that could not be written */
};

enum manifest_snapshot_state {
  SNAPSHOT_CREATING, /* or being discarded: the store may be anything */
  SNAPSHOT_VALID,
  SNAPSHOT_INVALID,
  SNAPSHOT_REMOVING, /* invalid; what it holds is being handed down */
  SNAPSHOT_MERGING,  /* the volume is being rolled back to it */
  SNAPSHOT_STAGING,  /* about to be what the volume is rolled back to; at the
                      * next start: removing */
};

struct manifest_snapshot {
  char *name;
  char *store; /* file name in the folder; NULL: it is transient ... */
  uint64_t transient_bytes; /* ... with so many for its store, else 0.  Such a
                             * one is never in a manifest that is saved. */
  uint64_t chunk_bytes;
  char *created; /* RFC 3339 */
  bool is_read_only;
  enum manifest_snapshot_state state;
  char *reason; /* why it is invalid, or NULL */
  /* In memory only: it was taken, and it is to be told when nothing is left. */
  bool is_going;
};

struct manifest {
  uint64_t generation; /* rises with every writable start */
  uint64_t size_bytes;
  uint64_t region_bytes;
  bool is_clean;     /* the last writer stopped with all legs equal */
  bool is_resyncing; /* what the last start had to copy is not all copied */
  enum manifest_log log;
  unsigned leg_count;
  struct manifest_leg legs[MIRROR_MAX_LEGS];
  unsigned primary; /* the leg that is read where legs may differ */
  unsigned snapshot_count;
  struct manifest_snapshot *snapshots; /* oldest first */
};

/* Read and check the manifest.  *MANIFEST is the caller's, for
 * manifest_free.  Errors: -ENOENT (there is none), -EINVAL (it is damaged
 * or from a newer version: the log says what and what to do), -ENOMEM, and
 * those of reading.
 */
int manifest_load (struct meta_dir *dir, struct manifest **manifest);

/* Write it, durably.  After an error the old one is there, or the new one
 * is, but may go with the power.
 */
int manifest_save (struct meta_dir *dir, const struct manifest *manifest);

/* An empty manifest, or NULL. */
struct manifest *manifest_new (void);
void manifest_free (struct manifest *manifest);

/* Replace a text member by a copy of TEXT (NULL for none).  Returns 0 or
 * -ENOMEM, and then the member is unchanged.
 */
int manifest_set_text (char **member, const char *text);

/* Add a snapshot, newer than all others; its members are all unset.  The
 * pointer is good until the next change of the list.  NULL: no memory, or
 * too many.
 */
struct manifest_snapshot *manifest_add_snapshot (struct manifest *manifest);

/* Remove snapshot number INDEX. */
void manifest_remove_snapshot (struct manifest *manifest, unsigned index);

/* The index of the snapshot NAME, or -1; and of that whose store is the file
 * STORE.
 */
int manifest_find_snapshot (const struct manifest *manifest, const char *name);
int manifest_find_store (const struct manifest *manifest, const char *store);

/* True if NAME may be a snapshot's: letters, digits, _ - and . of which it
 * may begin with neither . nor -, no "..", at most SNAPSHOT_NAME_MAX bytes.
 */
bool snapshot_name_is_valid (const char *name);

#endif /* DM_MANIFEST_H */
