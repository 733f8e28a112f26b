/* A client that asks where holes are.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Who is told that a part is a hole need not read it: so it is as if that had
 * been read, and were zeroes.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "nbdkit-sim.h"
#include "sim.h"

int
client_ask_extents (const struct client_world *w, void *handle, unsigned units,
                    bool *is_hole)
{
  struct nbdkit_extents answer = { .unit_bytes = MODEL_UNIT_BYTES,
                                   .is_hole = is_hole };
  uint32_t bytes = units * MODEL_UNIT_BYTES;

  *sim_fiber_errno () = 0;
  if (w->plugin->extents (handle, bytes, 0, 0, &answer) == -1)
    return *sim_fiber_errno () != 0 ? -*sim_fiber_errno () : -EIO;
  if (answer.end != bytes && !w->has_ended)
    sim_fail ("extents end at %" PRIu64 " of %" PRIu32, answer.end, bytes);
  return 0;
}

void
client_check_extents (struct client_world *w, void *handle,
                      struct model_device *device)
{
  unsigned units = model_units (device);
  struct model_op op = {
    .device = device,
    .kind = MODEL_READ,
    .is_extents = true,
    .count = units,
  };
  bool *is_hole = calloc (units, sizeof *is_hole);
  int r;

  if (is_hole == NULL)
    abort ();
  model_begin (&op);
  sim_trace ("%s: extents", model_name (device));
  r = client_ask_extents (w, handle, units, is_hole);
  if (!w->has_ended) {
    sim_trace ("%s: extents: %s", model_name (device),
               r == 0 ? "ok" : strerrorname_np (-r));
    if (r < 0 && !w->may_fail (&op, r))
      sim_fail ("%s: extents failed without a cause: %s", model_name (device),
                strerror (-r));
    model_end_extents (&op, r, is_hole);
    sim_event ();
  }
  free (is_hole);
}
