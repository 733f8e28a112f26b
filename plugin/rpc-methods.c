/* The methods of the control socket.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is here works; what a later version will have is not here.  To add
 * one: a function, and a row of the table at the end, which is all that
 * "methods" and the checking of parameters know.
 */

#include <config.h>

#include <errno.h>

#include "control-impl.h"

/*----- looking ---------------------------------------------------------*/

static int
call_methods (void *context, const json_t *params, json_t **result, char *why,
              size_t why_size)
{
  (void) context;
  (void) params;
  (void) why;
  (void) why_size;
  *result = rpc_describe (control_methods);
  return 0;
}

/* What MAKE makes of the status. */
static int
call_with_status (void *context,
                  json_t *(*make) (const struct volume_status *status),
                  json_t **result)
{
  const struct control_call *call = context;
  struct volume_status status;
  int r = volume_get_status (call->control->volume, &status);

  if (r < 0)
    return r;
  *result = make (&status);
  volume_status_free (&status);
  return 0;
}

static int
call_status (void *context, const json_t *params, json_t **result, char *why,
             size_t why_size)
{
  (void) params;
  (void) why;
  (void) why_size;
  return call_with_status (context, control_status_json, result);
}

static int
call_snapshot_list (void *context, const json_t *params, json_t **result,
                    char *why, size_t why_size)
{
  (void) params;
  (void) why;
  (void) why_size;
  return call_with_status (context, control_snapshots_json, result);
}

/* Numbers begin anew with every server: who has seen more than there have
 * been has seen another server's, and gets all of this one's.
 */
static int
call_events_subscribe (void *context, const json_t *params, json_t **result,
                       char *why, size_t why_size)
{
  const struct control_call *call = context;
  uint64_t end = events_next (call->control->events);
  uint64_t next = rpc_number (params, "since", end - 1) + 1;

  (void) why;
  (void) why_size;
  if (next > end)
    next = 1;
  control_subscribe (call->control, call->client, next);
  *result = json_pack ("{s:I}", "next", (json_int_t) next);
  return 0;
}

/*----- the table -------------------------------------------------------*/

const struct rpc_method control_methods[] = {
  {
    .name = "events.subscribe",
    .text = "Send every change of state, as notifications named \"event\".",
    .params = { { "since", RPC_NUMBER, false,
                  "the last event that was seen: go on with the next" } },
    .call = call_events_subscribe,
  },
  {
    .name = "methods",
    .text = "List the methods that there are, and their parameters.",
    .call = call_methods,
  },
  {
    .name = "snapshot.list",
    .text = "List the snapshots, the newest first.",
    .call = call_snapshot_list,
  },
  {
    .name = "status",
    .text = "Tell the state of the volume, its legs and its snapshots.",
    .call = call_status,
  },
  { .name = NULL },
};
