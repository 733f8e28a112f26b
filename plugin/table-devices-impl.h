/* What the files of the devices of a table share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_TABLE_DEVICES_IMPL_H
#define DM_TABLE_DEVICES_IMPL_H

#include "bdev-target.h"
#include "direct-snapshots.h"
#include "table-devices.h"
#include "table-line.h"
#include "volume-impl.h"

/* The file or disk of which lines have snapshots. */
struct table_origin {
  const char *path;
  struct block_device *bdev;
  struct bdev_target target; /* all of it */

  struct direct_snapshots *direct; /* NULL: no line serves it */
};

/* One line, as it is served. */
struct table_device {
  struct volume_device device; /* the first: clients have this */
  const struct table_line *line;
  struct table_origin *origin;

  /* Of a snapshot, merged or not. */
  sector_t chunk_sectors;
  struct block_device *cow; /* the snapshot's, once there is one */
  bool is_new;              /* the store is still to be made */
  bool is_invalid;          /* it is marked so */
  struct snapshot *snapshot;
  int start_error; /* it cannot be written */

  /* Of what serves its origin. */
  struct bdev_target lower;
  struct origin *top;
  struct table_merge *merge; /* or NULL */
};

struct table_devices {
  struct volume_leg_options options;
  unsigned origin_count;
  struct table_origin *origins; /* as many as lines, at most */
  unsigned count;
  struct table_device *devices; /* one for each line */
  int default_index;            /* or -1 */
  struct pace *pace;            /* of merges; without a rate */

  struct mutex lock;
  struct kcopyd_client *kcopyd; /* once started */
};

/* Look at the store of a snapshot, whose files are open: can it be used, or
 * made?  Reads only.
 */
int table_store_check (struct table_device *d);

/* Open the snapshot, unless it is invalid; a new store is made first, after the
 * origin was flushed: what it freezes must be durable.
 */
int table_store_open (struct table_device *d);

/* Flush the origin; what is wrong has been said. */
int table_origin_flush (struct table_device *d);

/*----- merging: table-merge.c ------------------------------------------*/

/* Make what clients see of a device whose snapshot is open, and whose `top' is
 * there.  Changes nothing on disk.  Returns 0 or -ENOMEM.
 */
int table_merge_create (struct table_device *d);
void table_merge_destroy (struct table_merge *merge);

/* Begin to move chunks, in the background; and stop that.  All is settled, and
 * kcopyd is there.  Under the devices' lock.
 */
int table_merge_start (struct table_merge *merge);
void table_merge_stop (struct table_merge *merge);

/* It has stopped by itself, before the end. */
bool table_merge_has_failed (const struct table_merge *merge);

#endif /* DM_TABLE_DEVICES_IMPL_H */
