/* The kernel's table of snapshots, made into lines of a specification.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   [NAME:] START LENGTH snapshot ORIGIN COW P|PO|N CHUNK
 *             [FEATURES [discard_zeroes_cow] [discard_passdown_origin]]
 *   [NAME:] START LENGTH snapshot-origin ORIGIN
 *   [NAME:] START LENGTH snapshot-merge ORIGIN COW P|PO CHUNK [FEATURES...]
 *
 * each on a line, or behind a semicolon, as "dmsetup table" prints them.  A
 * backslash takes the meaning from the character that follows.
 *
 * Model: Linux 6.1 drivers/md/dm-snap.c snapshot_ctr(), dm-exception-store.c:
 * same words, same limits: of the letters only the first is looked at, and
 * behind P the second, in either case.  Differs: the features change nothing,
 * because what is trimmed always reads as zeroes, and the origin is never
 * touched.
 */

#ifndef DM_TABLE_SNAPSHOT_H
#define DM_TABLE_SNAPSHOT_H

#include "volume.h"

/* Take TEXT, the value of table=, which is no mirror's.  What is wrong is said
 * to the log.  Returns 0, -EINVAL or -ENOMEM; what was taken by then is
 * volume_spec_free's.
 */
int table_snapshots_set (struct volume_spec *spec, const char *text);

#endif /* DM_TABLE_SNAPSHOT_H */
