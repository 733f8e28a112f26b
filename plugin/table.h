/* The kernel's table, made into a specification.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   START LENGTH mirror core 1|2 REGION [sync|nosync] ...
 *   START LENGTH mirror disk 2|3 LOG REGION [sync|nosync] ...
 *     ... LEGS {PATH OFFSET}... [FEATURES [handle_errors] [keep_log]]
 *
 * in sectors, with paths instead of device numbers.  In a path a backslash
 * takes the meaning from the character that follows.  Snapshots: see
 * table-snapshot.h.
 *
 * Model: Linux 6.1 drivers/md/dm-raid1.c mirror_ctr(): same words, same
 * limits.  Differs: the features change nothing, because a leg that fails
 * is always dropped and writes always go on; the log "userspace" is refused.
 */

#ifndef DM_TABLE_H
#define DM_TABLE_H

#include "volume.h"

/* Take TEXT, the value of table=.  What is wrong is said to the log.  Returns
 * 0, -EINVAL or -ENOMEM; what was taken by then is volume_spec_free's.
 */
int table_set (struct volume_spec *spec, const char *text);

#endif /* DM_TABLE_H */
