/* A line of a kernel's table of snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>

#include "table-line.h"

void
table_lines_free (struct table_line *lines, unsigned count)
{
  unsigned i;

  for (i = 0; i < count; ++i) {
    free (lines[i].origin);
    free (lines[i].cow);
  }
  free (lines);
}
