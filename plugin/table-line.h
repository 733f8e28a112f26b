/* A line of a kernel's table of snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_TABLE_LINE_H
#define DM_TABLE_LINE_H

#include <stdbool.h>

#include "sector.h"

/* The kernel's greatest chunk: 1 GiB. */
#define TABLE_MAX_CHUNK_SECTORS 2097152

#define TABLE_MAX_LINES 64

enum table_target {
  TABLE_SNAPSHOT,
  TABLE_ORIGIN, /* has nothing but its origin */
  TABLE_MERGE,  /* a snapshot, and in the place of the origin */
};

struct table_line {
  char *name; /* of the export; NULL: it has none */
  enum table_target target;
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

/* It serves its origin; it has a store. */
static inline bool
table_line_serves_origin (const struct table_line *line)
{
  return line->target != TABLE_SNAPSHOT;
}

static inline bool
table_line_has_store (const struct table_line *line)
{
  return line->target != TABLE_ORIGIN;
}

/* Which of COUNT lines is the default export: the one without a name, or the
 * only one that serves an origin, or the only one; -1: none is.
 */
int table_lines_default (const struct table_line *lines, unsigned count);

/* Free COUNT of them, and what they hold. */
void table_lines_free (struct table_line *lines, unsigned count);

#endif /* DM_TABLE_LINE_H */
