/* Direct snapshots: several of one origin, none above another.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * As the kernel has them: each has a store that lacks nothing, and before a
 * chunk of the origin is overwritten it is copied into each store that does
 * not have it yet.
 */

#ifndef DM_DIRECT_SNAPSHOTS_H
#define DM_DIRECT_SNAPSHOTS_H

#include "kcopyd.h"
#include "snapshot.h"

/* At most so many of one origin. */
#define DIRECT_SNAPSHOTS_MAX 64

struct direct_snapshots;

/* Of no snapshots yet.  Returns 0 or -ENOMEM. */
int direct_snapshots_create (struct direct_snapshots **direct);

/* NULL is ignored.  The snapshots stay. */
void direct_snapshots_destroy (struct direct_snapshots *direct);

/* One more, whose origin is the same device as that of the others, and which
 * outlives this.  Nobody writes yet.  Returns 0, or -ENOSPC: there are
 * DIRECT_SNAPSHOTS_MAX.
 */
int direct_snapshots_add (struct direct_snapshots *direct,
                          struct snapshot *snapshot);

/* Copies are made by KCOPYD, as for snapshot_set_kcopyd, which is still needed
 * for each.
 */
void direct_snapshots_set_kcopyd (struct direct_snapshots *direct,
                                  struct kcopyd_client *kcopyd);

/* Before the range of the origin is overwritten: see that all of it is safe in
 * every snapshot that is valid and shows it.  A chunk is read once for all that
 * lack it and have chunks of one size (up to KCOPYD_MAX_REGIONS), and written
 * to all at once.  A snapshot that cannot take it is broken.
 *
 * Returns 0; or an error, because it could not be recorded that one is broken:
 * then nothing may be written.  Blocks.
 */
int direct_snapshots_preserve (struct direct_snapshots *direct, sector_t sector,
                               sector_t count);

#endif /* DM_DIRECT_SNAPSHOTS_H */
