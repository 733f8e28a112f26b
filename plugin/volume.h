/* The volume: the named devices that clients open.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Builds the mirror, the origin and the snapshots out of a specification,
 * remembers in the manifest, and stops in good order.
 *
 * What is wrong is said to the log, naming the thing and the remedy; the
 * functions return 0 or a negative errno.
 */

#ifndef DM_VOLUME_H
#define DM_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mirror.h"
#include "list.h"
#include "range-lock.h"
#include "snapshot.h"
#include "target.h"

/* Chunks of new snapshots. */
#define VOLUME_MIN_CHUNK_BYTES 4096U
#define VOLUME_MAX_CHUNK_BYTES (1U << 20)

enum sync_mode {
  SYNC_AUTO, /* what the manifest says; all, if there is none */
  SYNC_FULL, /* everything, from the first leg */
  SYNC_NONE, /* the user says that the legs are equal */
};

enum direct_mode {
  DIRECT_AUTO,
  DIRECT_ON,
  DIRECT_OFF,
};

struct volume_leg_spec {
  char *path;
  sector_t offset; /* where it begins on its device */
  bool is_write_mostly;
};

struct table_line;

/* What the user asked for; config.c makes it. */
struct volume_spec {
  uint32_t keys_seen; /* config.c's own */
  unsigned leg_count;
  struct volume_leg_spec legs[MIRROR_MAX_LEGS];
  uint64_t size_bytes;      /* 0: the legs' size */
  bool is_table;            /* by a table: then nothing is created */
  struct table_line *lines; /* a table of snapshots, instead of a volume: */
  unsigned line_count;      /* see plugin/table-line.h */
  char *log_path;           /* of a disk log without a folder, or NULL */
  char *meta;               /* folder, or NULL */
  char *control;            /* socket, or NULL */
  uint64_t region_bytes;
  bool has_region_bytes; /* said by the user, not the default */
  enum sync_mode sync;
  enum read_policy read_policy;
  enum direct_mode direct;
  uint64_t resync_rate;
  unsigned leg_timeout_ms; /* of NBD servers, and of what is watched */
  bool is_watched;         /* files and disks that hang fail, too */
  uint64_t chunk_bytes;
  uint64_t cow_bytes; /* 0: enough for every chunk */
  enum on_cow_error on_cow_error;
  unsigned snapshot_count; /* to be taken, if they don't exist */
  char **snapshots;
  unsigned discard_count; /* to be given up */
  char **discards;
};

struct volume;

#define VOLUME_DESCRIPTION_BYTES 240

/* One device that clients open: the volume, a snapshot, or a diff.  Plain
 * facts, but for the lock, which is held around every write by its caller.
 */
struct volume_device {
  struct volume *volume;
  char description[VOLUME_DESCRIPTION_BYTES];
  struct target *target;
  struct snapshot *snapshot; /* NULL but for a snapshot; a reference */
  bool is_read_only;
  struct range_lock range_lock;
  struct pace *pace; /* is to know of requests: pace_note_request */

  /* For volume-devices.c, under its lock. */
  struct list link;
  bool is_listed;
  bool is_hidden; /* cannot be opened */
  bool is_diff;
  unsigned clients;

  /* For volume-chain.c. */
  struct range_hold gate;
};

/* Open legs, folder and stores, check everything, then create what was
 * asked for: missing legs (with size=), snapshots.  Otherwise nothing is
 * written.  Starts no thread, so it may come before a fork.
 */
int volume_open (const struct volume_spec *spec, struct volume **volume);

/* Get ready for writes, once, before the first one: record that the
 * volume is in use, and start the resync if one is needed.  May be called
 * again, from any thread.  Errors: -EROFS (legs or folder cannot be
 * written), and those of writing the manifest and of starting threads.
 */
int volume_start (struct volume *volume);

/* Stop in good order: end the resync, flush, and record that all is well,
 * if it is.  Nothing is in flight.
 */
void volume_stop (struct volume *volume);

/* It is about to be stopped: what takes long, and may be given up, is. */
void volume_hurry (struct volume *volume);

/* Free everything.  NULL is ignored. */
void volume_close (struct volume *volume);

/* Open the device for the export NAME: "", a snapshot's, "A..B" or "A..".
 * MAY_WRITE: the server may, so the volume is started if the device can be
 * written, or what is read in it must not depend on which legs are there at
 * the next start.  Errors: -ENOENT, -EIO (the snapshot is invalid), -EINVAL (A
 * is not older than B), those of volume_start.
 */
int volume_device_open (struct volume *volume, const char *name, bool may_write,
                        struct volume_device **device);

/* The client has gone, nothing of it is in flight. */
void volume_device_close (struct volume_device *device);

/* Call FN with the exports that can be opened, the volume first, then the
 * snapshots, newest first, and the diffs of neighbours and to the volume (there
 * are others); until it returns not 0, which is returned.
 */
typedef int (*volume_export_fn) (void *opaque, const char *name,
                                 const char *description);
int volume_each_export (struct volume *volume, volume_export_fn fn,
                        void *opaque);

struct mirror *volume_get_mirror (struct volume *volume);

/* Note in the folder where the control socket is, as a line with its absolute
 * PATH, for tools that know the folder; NULL: there is none any more.  Nothing
 * that matters depends on it: where it cannot be written that is only said.
 */
#define VOLUME_CONTROL_FILE "control.path"
void volume_record_control (struct volume *volume, const char *path);

/* Look, in the background, if the legs' files are still where they were, and
 * have it told if not: for who can be told.  Want of a thread is only said.
 */
void volume_start_watching (struct volume *volume);
void volume_stop_watching (struct volume *volume);

/* What happens to the volume; lives as long as it. */
struct events;
struct events *volume_get_events (struct volume *volume);

#endif /* DM_VOLUME_H */
