/* A line of a kernel's table of snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>

#include "table-line.h"

int
table_lines_default (const struct table_line *lines, unsigned count)
{
  int origin = -1;
  unsigned i;

  for (i = 0; i < count; ++i) {
    if (lines[i].name == NULL)
      return (int) i;
    if (!table_line_serves_origin (&lines[i]))
      continue;
    if (origin >= 0)
      return -1;
    origin = (int) i;
  }
  return count == 1 ? 0 : origin;
}

void
table_lines_free (struct table_line *lines, unsigned count)
{
  unsigned i;

  for (i = 0; i < count; ++i) {
    free (lines[i].name);
    free (lines[i].origin);
    free (lines[i].cow);
  }
  free (lines);
}
