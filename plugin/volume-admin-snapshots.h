/* What an administrator does to the snapshots of a volume that is served.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The frame is that of volume-admin.h: 0 done, 1 it was so already, or a
 * negative errno; WHY says what or why.  All make the volume ready for writes
 * (volume_start), if it is not yet.
 */

#ifndef DM_VOLUME_ADMIN_SNAPSHOTS_H
#define DM_VOLUME_ADMIN_SNAPSHOTS_H

#include "manifest.h"
#include "volume-admin.h"

struct volume_snapshot_request {
  const char *name;
  uint64_t chunk_bytes; /* 0: as chunk-size= says */
  uint64_t cow_bytes;   /* of its store; 0: as cow-size= says */
  bool is_read_only;
};

/* Take a snapshot.  It is a point in time: every write that was answered
 * before the call is in it, none that comes after its return.  Writers are
 * held for as long as those in flight take, and no I/O of ours.  When it
 * has returned the snapshot is durable; a crash before leaves none, or a
 * complete one.  1: there is a valid one of that name.  Errors: -EINVAL
 * (name, chunk or store size), -EEXIST (one of that name is invalid, or going
 * away; a file is in the way), -E2BIG, -EROFS, -ENOSPC, -EIO ...
 */
int volume_snapshot_create (struct volume *v,
                            const struct volume_snapshot_request *request,
                            struct volume_why *why);

/* Its clients get I/O errors; without it they are in the way (-EBUSY). */
#define VOLUME_SNAPSHOT_FORCE 1U

/* Remove a snapshot, valid or not, wherever it is in the chain.  When this
 * returns it cannot be opened any more, durably.  What older ones need of it
 * is handed down in the background, then its store goes; if the server ends
 * before, the next one goes on.  1: there is none of that name, or it is going
 * already.  Errors: -EBUSY (clients have it open, or it is being rolled
 * back to), -EROFS, -EIO ...
 */
int volume_snapshot_remove (struct volume *v, const char *name, unsigned flags,
                            struct volume_why *why);

/* Give it another name; clients that have it open keep it.  1: it has that
 * name already.  Errors: -ENOENT, -EEXIST, -EINVAL (the name), -EBUSY (it is
 * going away) ...
 */
int volume_snapshot_rename (struct volume *v, const char *name,
                            const char *new_name, struct volume_why *why);

/* Roll the volume back to a snapshot: when this returns all reads show it,
 * durably, and what was written since is lost.  What was written to the
 * snapshot itself is part of it.  All others keep what they show.
 *
 * The newest one is folded into the legs in the background; then it is gone.
 * An older one stays; what is different is copied before this returns,
 * while clients go on with the volume as it was, and those who write to the
 * snapshot wait.
 *
 * 1: that is going on already.  Errors: -ENOENT, -EBUSY (it is the newest, and
 * clients have it open, unless VOLUME_SNAPSHOT_FORCE; another roll-back is
 * going on; a newer one is going away), -EIO (it is invalid), -ENOSPC (the
 * newest might be full before it has kept what the volume is now), -ESHUTDOWN
 * ...; then the volume, and all snapshots, are what they were.
 */
int volume_snapshot_rollback (struct volume *v, const char *name,
                              unsigned flags, struct volume_why *why);

/* Wait until nothing of what was asked for is going on in the background any
 * more, or until DEADLINE_NS of clock_now_ns ().  Returns 0, -ETIMEDOUT, or
 * -ESHUTDOWN: the volume stops.
 */
int volume_snapshots_wait (struct volume *v, uint64_t deadline_ns);

#endif /* DM_VOLUME_ADMIN_SNAPSHOTS_H */
