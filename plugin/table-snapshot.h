/* The kernel's table of a snapshot, made into a line of a specification.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   START LENGTH snapshot ORIGIN COW P|PO|N CHUNK
 *     [FEATURES [discard_zeroes_cow] [discard_passdown_origin]]
 *
 * Model: Linux 6.1 drivers/md/dm-snap.c snapshot_ctr(), dm-exception-store.c:
 * same words, same limits: of the letters only the first is looked at, and
 * behind P the second, in either case.  Differs: the features change nothing,
 * because what is trimmed always reads as zeroes, and the origin is never
 * touched.
 */

#ifndef DM_TABLE_SNAPSHOT_H
#define DM_TABLE_SNAPSHOT_H

#include "table-words.h"
#include "volume.h"

/* Take what is behind the word "snapshot"; the device has SECTORS.  Returns 0,
 * -EINVAL or -ENOMEM; what was taken by then is volume_spec_free's.
 */
int table_snapshot_take (struct volume_spec *spec, struct table_words *t,
                         sector_t sectors);

#endif /* DM_TABLE_SNAPSHOT_H */
