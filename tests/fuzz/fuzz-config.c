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

static void
check_spec (const struct volume_spec *spec)
{
  unsigned i;

  fuzz_assert (spec->leg_count <= MIRROR_MAX_LEGS);
  fuzz_assert (spec->size_bytes % SECTOR_SIZE == 0);
  fuzz_assert (is_power_of_2 (spec->region_bytes));
  fuzz_assert (is_power_of_2 (spec->chunk_bytes));
  fuzz_assert (spec->leg_timeout_ms >= 1000);
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
