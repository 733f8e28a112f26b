/* A line of a kernel's table of snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_TABLE_LINE_H
#define DM_TABLE_LINE_H

#include <stdbool.h>

#include "sector.h"

/* The kernel's greatest chunk: 1 GiB. */
#define TABLE_MAX_CHUNK_SECTORS 2097152

struct table_line {
  sector_t sectors; /* of the device */
  char *origin;     /* paths */
  char *cow;
  bool is_persistent;
  bool may_overflow;      /* said, as in the kernel, by a letter O */
  sector_t chunk_sectors; /* of a new store; 0: a default */
  /* These two change nothing: see plugin/table-snapshot.h. */
  bool discard_zeroes_cow;
  bool discard_passes_down;
};

/* Free COUNT of them, and what they hold. */
void table_lines_free (struct table_line *lines, unsigned count);

#endif /* DM_TABLE_LINE_H */
