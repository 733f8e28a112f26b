/* What an administrator does to the legs of a volume.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "log-sink.h"
#include "volume-admin.h"
#include "volume-impl.h"

/* Get ready to change legs: the volume is in use from now on. */
static int
start_volume (struct volume *v, struct volume_why *why)
{
  int r = volume_start (v);

  if (r == -EROFS)
    return volume_why (why, r,
                       "the volume is read-only: %s; make that writable, and "
                       "start the server again",
                       v->read_only_reason);
  if (r < 0)
    return volume_why (why, r,
                       "the volume cannot be started: %s; the server's log "
                       "says why",
                       errno_text (r));
  return 0;
}

/*----- scrub -----------------------------------------------------------*/

int
volume_scrub_start (struct volume *v, enum scrub_mode mode,
                    struct volume_why *why)
{
  struct mirror_status status;
  unsigned i, in_sync = 0;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  if (mode == SCRUB_REPAIR) {
    r = start_volume (v, why);
    if (r < 0)
      return r;
  }
  mirror_get_status (v->mirror, &status);
  for (i = 0; i < status.leg_count; ++i)
    in_sync += status.legs[i].state == LEG_IN_SYNC;
  if (in_sync < 2)
    return volume_why (why, -EINVAL,
                       "there is nothing to compare: %u leg%s of %u in sync; "
                       "add a leg, or wait until the resync is through",
                       in_sync, in_sync == 1 ? " is" : "s are",
                       status.leg_count);
  r = mirror_scrub_start (v->mirror, mode);
  if (r == 1)
    return volume_why (why, 1, "a scrub is running already");
  if (r < 0)
    return volume_why (why, r,
                       "the scrub cannot be started: %s; free some memory, or "
                       "end other processes",
                       errno_text (r));
  return 0;
}

int
volume_scrub_stop (struct volume *v, struct volume_why *why)
{
  struct mirror_status status;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&v->admin_lock);
  mirror_get_status (v->mirror, &status);
  if (!status.scrub.is_running)
    return volume_why (why, 1, "no scrub is running");
  mirror_scrub_stop (v->mirror);
  return 0;
}
