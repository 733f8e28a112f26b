/* The methods that change a volume: calls of volume-admin.h.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All answer {"changed": false} and a message if it was so already, else
 * true.
 */

#include <config.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "control-impl.h"
#include "volume-admin-snapshots.h"
#include "volume-admin.h"
#include "volume-jobs.h"

/* What a call has returned: R and WHY, as the answer.  DONE is the message if
 * all went well.
 */
static int answer (struct rpc_result *result, int r,
                   const struct volume_why *why, const char *done, ...)
  __attribute__ ((format (printf, 4, 5)));

static int
answer (struct rpc_result *result, int r, const struct volume_why *why,
        const char *done, ...)
{
  char text[LOG_MESSAGE_BYTES];
  va_list args;

  if (r < 0) {
    (void) snprintf (result->why, sizeof result->why, "%s", why->text);
    return r;
  }
  va_start (args, done);
  (void) vsnprintf (text, sizeof text, done, args);
  va_end (args);
  result->value = json_pack ("{s:b, s:o}", "changed", r == 0, "message",
                             control_text_json (r == 0 ? text : why->text));
  return 0;
}

static struct volume *
volume_of (void *context)
{
  const struct control_call *call = context;

  return call->control->volume;
}

/*----- snapshots -------------------------------------------------------*/

int
call_snapshot_create (void *context, const json_t *params,
                      struct rpc_result *result)
{
  struct volume_snapshot_request request = {
    .name = rpc_string (params, "name", ""),
    .chunk_bytes = rpc_number (params, "chunk_size", 0),
    .cow_bytes = rpc_number (params, "cow_size", 0),
    .is_read_only = rpc_bool (params, "read_only", false),
  };
  struct volume_why why = { "" };
  int r = volume_snapshot_create (volume_of (context), &request, &why);

  return answer (result, r, &why, "snapshot %s: taken", request.name);
}

int
call_snapshot_remove (void *context, const json_t *params,
                      struct rpc_result *result)
{
  const char *name = rpc_string (params, "name", "");
  unsigned flags = rpc_bool (params, "force", false) ? VOLUME_SNAPSHOT_FORCE
                                                     : 0;
  struct volume_why why = { "" };
  int r = volume_snapshot_remove (volume_of (context), name, flags, &why);

  return answer (result, r, &why, "snapshot %s: removed", name);
}

int
call_snapshot_rename (void *context, const json_t *params,
                      struct rpc_result *result)
{
  const char *name = rpc_string (params, "name", "");
  const char *new_name = rpc_string (params, "new_name", "");
  struct volume_why why = { "" };
  int r = volume_snapshot_rename (volume_of (context), name, new_name, &why);

  return answer (result, r, &why, "snapshot %s: renamed to %s", name, new_name);
}

int
call_snapshot_rollback (void *context, const json_t *params,
                        struct rpc_result *result)
{
  const char *name = rpc_string (params, "name", "");
  unsigned flags = rpc_bool (params, "force", false) ? VOLUME_SNAPSHOT_FORCE
                                                     : 0;
  struct volume_why why = { "" };
  int r = volume_snapshot_rollback (volume_of (context), name, flags, &why);

  return answer (result, r, &why,
                 "snapshot %s: the volume is rolled back to it; its chunks are "
                 "moved in the background",
                 name);
}

/*----- legs ------------------------------------------------------------*/

/* A number that is too large for a leg is none either. */
static unsigned
leg_of (const json_t *params)
{
  uint64_t leg = rpc_number (params, "leg", UINT32_MAX);

  return leg < UINT32_MAX ? (unsigned) leg : UINT32_MAX;
}

int
call_leg_add (void *context, const json_t *params, struct rpc_result *result)
{
  const char *spec = rpc_string (params, "spec", "");
  struct volume_why why = { "" };
  unsigned leg = 0;
  int r = volume_leg_add (volume_of (context), spec, &leg, &why);
  int answered = answer (result, r, &why,
                         "leg %u: %s is added, and being filled", leg, spec);

  if (r == 0 && result->value != NULL)
    (void) json_object_set_new (result->value, "leg",
                                json_integer ((json_int_t) leg));
  return answered;
}

int
call_leg_fail (void *context, const json_t *params, struct rpc_result *result)
{
  unsigned leg = leg_of (params);
  struct volume_why why = { "" };
  int r = volume_leg_fail (volume_of (context), leg, &why);

  return answer (result, r, &why, "leg %u: is not used any more", leg);
}

int
call_leg_rejoin (void *context, const json_t *params, struct rpc_result *result)
{
  unsigned leg = leg_of (params);
  struct volume_why why = { "" };
  int r = volume_leg_rejoin (volume_of (context), leg, &why);

  return answer (result, r, &why,
                 "leg %u: is used again, and gets what it has missed", leg);
}

int
call_leg_remove (void *context, const json_t *params, struct rpc_result *result)
{
  unsigned leg = leg_of (params);
  struct volume_why why = { "" };
  int r = volume_leg_remove (volume_of (context), leg, &why);

  return answer (result, r, &why,
                 "leg %u: is removed; its data are as they "
                 "are",
                 leg);
}

int
call_leg_replace (void *context, const json_t *params,
                  struct rpc_result *result)
{
  const char *spec = rpc_string (params, "spec", "");
  unsigned leg = leg_of (params);
  struct volume_why why = { "" };
  int r = volume_leg_replace (volume_of (context), leg, spec, &why);

  return answer (result, r, &why,
                 "leg %u: is %s now, and being filled; "
                 "name it at the next start",
                 leg, spec);
}

/*----- resync and scrub ------------------------------------------------*/

int
call_resync_start (void *context, const json_t *params,
                   struct rpc_result *result)
{
  struct volume_why why = { "" };
  int r = volume_resync_start (volume_of (context), &why);

  (void) params;
  return answer (result, r, &why, "the resync goes on");
}

int
call_resync_pause (void *context, const json_t *params,
                   struct rpc_result *result)
{
  struct volume_why why = { "" };
  int r = volume_resync_pause (volume_of (context), &why);

  (void) params;
  return answer (result, r, &why, "the resync is paused");
}

int
call_resync_resume (void *context, const json_t *params,
                    struct rpc_result *result)
{
  struct volume_why why = { "" };
  int r = volume_resync_resume (volume_of (context), &why);

  (void) params;
  return answer (result, r, &why, "the resync goes on");
}

int
call_resync_rate (void *context, const json_t *params,
                  struct rpc_result *result)
{
  uint64_t rate = rpc_number (params, "rate", 0);
  struct volume_why why = { "" };
  int r = volume_resync_set_rate (volume_of (context), rate, &why);

  if (rate == 0)
    return answer (result, r, &why, "background copies have no limit now");
  return answer (result, r, &why,
                 "background copies are limited to %" PRIu64 " bytes a second",
                 rate);
}

/* What keeps the worker busy is cancelled beside it. */
int
call_job_cancel_now (void *context, const json_t *params,
                     struct rpc_result *result)
{
  uint64_t id = rpc_number (params, "job", 0);
  int r = volume_job_cancel_restore (volume_of (context), id);

  return r < 0 ? r
               : answer (result, 0, NULL, "job %" PRIu64 ": is cancelled", id);
}

int
call_job_cancel (void *context, const json_t *params, struct rpc_result *result)
{
  uint64_t id = rpc_number (params, "job", 0);
  struct volume_why why = { "" };
  int r = volume_job_cancel (volume_of (context), id, &why);

  return answer (result, r, &why, "job %" PRIu64 ": is cancelled", id);
}

int
call_scrub_start (void *context, const json_t *params,
                  struct rpc_result *result)
{
  enum scrub_mode mode = rpc_bool (params, "repair", false) ? SCRUB_REPAIR
                                                            : SCRUB_CHECK;
  struct volume_why why = { "" };
  int r = volume_scrub_start (volume_of (context), mode, &why);

  return answer (result, r, &why, "the legs are being compared");
}

int
call_scrub_stop (void *context, const json_t *params, struct rpc_result *result)
{
  struct volume_why why = { "" };
  int r = volume_scrub_stop (volume_of (context), &why);

  (void) params;
  return answer (result, r, &why, "the scrub is stopped");
}
