/* Fuzzer: any words as keys of the command line.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Input: lines of key=value.  What is taken must make sense.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "config.h"
#include "fuzz.h"
#include "manifest.h"
#include "table-line.h"

static void
check_line (const struct table_line *line)
{
  fuzz_assert (line->sectors > 0 && line->sectors <= SECTOR_MAX);
  fuzz_assert (line->name == NULL || snapshot_name_is_valid (line->name));
  fuzz_assert (line->origin[0] != '\0');
  fuzz_assert ((line->cow == NULL) == (line->target == TABLE_ORIGIN));
  fuzz_assert (line->cow == NULL ||
               (line->cow[0] != '\0' && strcmp (line->origin, line->cow) != 0));
  fuzz_assert (line->chunk_sectors == 0 || is_power_of_2 (line->chunk_sectors));
  fuzz_assert (line->chunk_sectors <= TABLE_MAX_CHUNK_SECTORS);
  fuzz_assert (line->is_persistent || !line->may_overflow);
  fuzz_assert (line->is_persistent || line->target != TABLE_MERGE);
  fuzz_assert (line->discard_zeroes_cow || !line->discard_passes_down);
}

static void
check_spec (const struct volume_spec *spec)
{
  unsigned i;

  fuzz_assert (spec->leg_count <= MIRROR_MAX_LEGS);
  fuzz_assert (spec->size_bytes % SECTOR_SIZE == 0);
  fuzz_assert (is_power_of_2 (spec->region_bytes));
  fuzz_assert (is_power_of_2 (spec->chunk_bytes));
  fuzz_assert (spec->leg_timeout_ms >= 1000);
  fuzz_assert (spec->line_count <= TABLE_MAX_LINES);
  fuzz_assert (table_lines_default (spec->lines, spec->line_count) <
               (int) MAX_OF (spec->line_count, 1));
  fuzz_assert (spec->line_count == 0 || spec->leg_count == 0);
  for (i = 0; i < spec->line_count; ++i)
    check_line (&spec->lines[i]);
  for (i = 0; i < spec->snapshot_count; ++i)
    fuzz_assert (snapshot_name_is_valid (spec->snapshots[i]));
  for (i = 0; i < spec->discard_count; ++i)
    fuzz_assert (snapshot_name_is_valid (spec->discards[i]));
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  char *text = malloc (size + 1), *line, *next;
  struct volume_spec spec;
  int r = 0;

  fuzz_assert (text != NULL);
  if (size > 0)
    memcpy (text, data, size);
  text[size] = '\0';
  volume_spec_init (&spec);
  for (line = text; line != NULL && r == 0; line = next) {
    char *value = strchr (line, '=');

    next = strchr (line, '\n');
    if (next != NULL)
      *next++ = '\0';
    if (value == NULL || (next != NULL && value >= next))
      continue;
    *value++ = '\0';
    r = config_set (&spec, line, value);
    fuzz_assert (r == 0 || r == -EINVAL || r == -EOPNOTSUPP);
  }
  if (r == 0 && config_check (&spec) == 0)
    check_spec (&spec);
  volume_spec_free (&spec);
  free (text);
  return 0;
}
