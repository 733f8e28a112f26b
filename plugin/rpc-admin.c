/* The methods that change a volume: calls of volume-admin.h.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All answer {"changed": false} and a message if it was so already, else
 * true.
 */

#include <config.h>

#include <stdarg.h>
#include <stdio.h>

#include "control-impl.h"
#include "volume-admin-snapshots.h"

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
