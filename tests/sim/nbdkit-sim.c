/* The part of nbdkit that plugin.c calls, for the simulator.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdarg.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "nbdkit-sim.h"
#include "sim.h"

static const char *export_name = "";

void
sim_nbdkit_set_export (const char *name)
{
  export_name = name;
}

void
nbdkit_error (const char *format, ...)
{
  (void) format;
}

void
nbdkit_debug (const char *format, ...)
{
  (void) format;
}

void
nbdkit_set_error (int error)
{
  *sim_fiber_errno () = error;
}

const char *
nbdkit_export_name (void)
{
  return export_name;
}

/* Only for the description of an export that is open, for which nobody here
 * asks.
 */
const char *
nbdkit_strdup_intern (const char *text)
{
  (void) text;
  sim_fail ("a description in the simulator");
}

int
nbdkit_add_export (struct nbdkit_exports *exports, const char *name,
                   const char *description)
{
  exports->found (name, description);
  return 0;
}

int
nbdkit_add_extent (struct nbdkit_extents *extents, uint64_t offset,
                   uint64_t length, uint32_t type)
{
  uint64_t unit;

  if (offset != extents->end || length == 0 ||
      (offset | length) % extents->unit_bytes != 0)
    sim_fail ("extents: after %" PRIu64 " come %" PRIu64 "+%" PRIu64,
              extents->end, offset, length);
  extents->end = offset + length;
  for (unit = offset; unit < extents->end; unit += extents->unit_bytes)
    extents->is_hole[unit / extents->unit_bytes] = (type &
                                                    NBDKIT_EXTENT_HOLE) != 0;
  return 0;
}
