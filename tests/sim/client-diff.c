/* A client of a diff: what it says is the same is, and the rest can be read.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "nbdkit-sim.h"
#include "sim.h"

/* What it says before, what it holds, and what it says then. */
static int
ask_all (const struct client_world *w, void *handle, struct model_diff *diff)
{
  int r = client_ask_extents (w, handle, w->units, diff->was_hole);

  if (r < 0)
    return r;
  *sim_fiber_errno () = 0;
  if (w->plugin->pread (handle, diff->data, w->units * MODEL_UNIT_BYTES, 0,
                        0) == -1)
    return *sim_fiber_errno () != 0 ? -*sim_fiber_errno () : -EIO;
  return client_ask_extents (w, handle, w->units, diff->is_hole);
}

static bool
may_fail (const struct client_world *w, const struct model_diff *diff, int r)
{
  return w->may_fail (&diff->older, r) || w->may_fail (&diff->newer, r);
}

static void *
open_diff (struct client_world *w, const struct model_diff *diff)
{
  char name[80];
  void *handle;

  (void) snprintf (name, sizeof name, "%s..%s", model_name (diff->older.device),
                   model_name (diff->newer.device));
  sim_nbdkit_set_export (name);
  handle = w->plugin->open (0);
  if (handle == NULL && !w->has_ended && !may_fail (w, diff, -EIO))
    sim_fail ("%s: cannot be opened", name);
  return handle;
}

/* By the handle of a diff of the two that DIFF has. */
static void
check_diff (struct client_world *w, void *handle, struct model_diff *diff)
{
  const char *older = model_name (diff->older.device);
  const char *newer = model_name (diff->newer.device);
  int r;

  diff->was_hole = calloc (w->units, sizeof *diff->was_hole);
  diff->is_hole = calloc (w->units, sizeof *diff->is_hole);
  diff->data = malloc ((size_t) w->units * MODEL_UNIT_BYTES);
  if (diff->was_hole == NULL || diff->is_hole == NULL || diff->data == NULL)
    abort ();
  model_begin (&diff->older);
  model_begin (&diff->newer);
  r = ask_all (w, handle, diff);
  if (!w->has_ended) {
    sim_trace ("%s..%s: %s", older, newer,
               r == 0 ? "ok" : strerrorname_np (-r));
    if (r < 0 && !may_fail (w, diff, r))
      sim_fail ("%s..%s failed without a cause: %s", older, newer,
                strerror (-r));
    model_end_diff (diff, r);
  }
  free (diff->data);
  free (diff->is_hole);
  free (diff->was_hole);
}

void
client_check_diff (struct client_world *w, struct model_device *older,
                   struct model_device *newer)
{
  const struct model_op all = { .kind = MODEL_READ, .count = w->units };
  struct model_diff diff = { .older = all, .newer = all };
  void *handle;

  diff.older.device = older;
  diff.newer.device = newer;
  handle = open_diff (w, &diff);
  if (handle == NULL)
    return;
  if (!w->has_ended)
    check_diff (w, handle, &diff);
  client_close (w, handle);
}
