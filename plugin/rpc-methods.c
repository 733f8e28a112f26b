/* The methods of the control socket.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What is here works; what a later version will have is not here.  To add
 * one: a function, and a row of the table at the end, which is all that
 * "methods" and the checking of parameters know.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "control-impl.h"
#include "volume-jobs.h"

/*----- looking ---------------------------------------------------------*/

static int
call_methods (void *context, const json_t *params, struct rpc_result *result)
{
  (void) context;
  (void) params;
  result->value = rpc_describe (control_methods);
  return 0;
}

/* What MAKE makes of the status. */
static int
call_with_status (void *context,
                  json_t *(*make) (const struct volume_status *status),
                  struct rpc_result *result)
{
  const struct control_call *call = context;
  struct volume_status status;
  int r = volume_get_status (call->control->volume, &status);

  if (r < 0)
    return r;
  result->value = make (&status);
  volume_status_free (&status);
  return 0;
}

static int
call_status (void *context, const json_t *params, struct rpc_result *result)
{
  (void) params;
  return call_with_status (context, control_status_json, result);
}

static int
call_snapshot_list (void *context, const json_t *params,
                    struct rpc_result *result)
{
  (void) params;
  return call_with_status (context, control_snapshots_json, result);
}

static json_t *
job_json (const struct volume_job *job)
{
  return json_pack ("{s:I, s:s, s:o, s:s, s:I, s:I, s:b}", "job",
                    (json_int_t) job->id, "kind", job_kind_name (job->kind),
                    "snapshot", control_text_json (job->name), "state",
                    job->is_paused ? "paused" : "running", "done_bytes",
                    (json_int_t) job->done_bytes, "total_bytes",
                    (json_int_t) job->total_bytes, "cancellable",
                    (int) job->can_be_cancelled);
}

static int
call_job_list (void *context, const json_t *params, struct rpc_result *result)
{
  const struct control_call *call = context;
  struct volume_job *jobs;
  unsigned count, i;
  int r = volume_get_jobs (call->control->volume, &jobs, &count);

  (void) params;
  if (r < 0)
    return r;
  result->value = json_array ();
  for (i = 0; i < count && result->value != NULL; ++i)
    if (json_array_append_new (result->value, job_json (&jobs[i])) == -1) {
      json_decref (result->value);
      result->value = NULL; /* no memory */
    }
  free (jobs);
  return 0;
}

static int
call_scrub_status (void *context, const json_t *params,
                   struct rpc_result *result)
{
  (void) params;
  return call_with_status (context, control_scrub_json, result);
}

/* Numbers begin anew with every server: who has seen more than there have
 * been has seen another server's, and gets all of this one's.
 */
static int
call_events_subscribe (void *context, const json_t *params,
                       struct rpc_result *result)
{
  const struct control_call *call = context;
  uint64_t end = events_next (call->control->events);
  uint64_t next = rpc_number (params, "since", end - 1) + 1;

  if (next > end)
    next = 1;
  control_subscribe (call->control, call->client, next);
  result->value = json_pack ("{s:I}", "next", (json_int_t) next);
  return 0;
}

/*----- the table -------------------------------------------------------*/

const struct rpc_method control_methods[] = {
  {
    .name = "diff",
    .text = "Tell what differs between two snapshots, a page at a time.",
    .params = { { "from", RPC_STRING, true, "the older snapshot" },
                { "to", RPC_STRING, false,
                  "the newer one; default: the volume" },
                { "offset", RPC_SIZE, false, "where the last page ended" } },
    .may_block = true,
    .call = call_diff,
  },
  {
    .name = "events.subscribe",
    .text = "Send every change of state, as notifications named \"event\".",
    .params = { { "since", RPC_NUMBER, false,
                  "the last event that was seen: go on with the next" } },
    .call = call_events_subscribe,
  },
  {
    .name = "job.cancel",
    .text = "Cancel what goes on in the background, if that does no harm.",
    .params = { { "job", RPC_NUMBER, true, "its number" } },
    .may_block = true,
    .call = call_job_cancel,
    .call_now = call_job_cancel_now,
  },
  {
    .name = "job.list",
    .text = "List what goes on in the background.",
    .call = call_job_list,
  },
  {
    .name = "leg.add",
    .text = "Add a leg, which is filled in the background.",
    .params = { { "spec", RPC_STRING, true,
                  "a file, a block device or an NBD URI" } },
    .may_block = true,
    .call = call_leg_add,
  },
  {
    .name = "leg.fail",
    .text = "Use a leg no more.",
    .params = { { "leg", RPC_NUMBER, true, "its number" } },
    .may_block = true,
    .call = call_leg_fail,
  },
  {
    .name = "leg.rejoin",
    .text = "Use a leg again that has failed; it gets what it has missed.",
    .params = { { "leg", RPC_NUMBER, true, "its number" } },
    .may_block = true,
    .call = call_leg_rejoin,
  },
  {
    .name = "leg.remove",
    .text = "Remove a leg; what it holds is left as it is.",
    .params = { { "leg", RPC_NUMBER, true, "its number" } },
    .may_block = true,
    .call = call_leg_remove,
  },
  {
    .name = "leg.replace",
    .text = "Put another leg in the place of one.",
    .params = { { "leg", RPC_NUMBER, true, "its number" },
                { "spec", RPC_STRING, true,
                  "a file, a block device or an NBD URI" } },
    .may_block = true,
    .call = call_leg_replace,
  },
  {
    .name = "methods",
    .text = "List the methods that there are, and their parameters.",
    .call = call_methods,
  },
  {
    .name = "metrics",
    .text = "Tell all numbers in the text format of Prometheus.",
    .call = call_metrics,
  },
  {
    .name = "resync.pause",
    .text = "Pause the resync.",
    .may_block = true,
    .call = call_resync_pause,
  },
  {
    .name = "resync.rate",
    .text = "Limit the copying in the background.",
    .params = { { "rate", RPC_SIZE, true, "bytes a second; 0: no limit" } },
    .call = call_resync_rate,
  },
  {
    .name = "resync.resume",
    .text = "Go on with a resync that is paused.",
    .may_block = true,
    .call = call_resync_resume,
  },
  {
    .name = "resync.start",
    .text = "Go on with the resync now, paused or waiting.",
    .may_block = true,
    .call = call_resync_start,
  },
  {
    .name = "scrub.start",
    .text = "Compare the legs in the background.",
    .params = { { "repair", RPC_BOOL, false, "rewrite what differs" } },
    .may_block = true,
    .call = call_scrub_start,
  },
  {
    .name = "scrub.status",
    .text = "Tell how far the scrub is, and what it has found.",
    .call = call_scrub_status,
  },
  {
    .name = "scrub.stop",
    .text = "Stop the scrub.",
    .may_block = true,
    .call = call_scrub_stop,
  },
  {
    .name = "snapshot.create",
    .text = "Take a snapshot of the volume as it is now.",
    .params = { { "name", RPC_STRING, true, "its name" },
                { "chunk_size", RPC_SIZE, false,
                  "the unit of copying, a power of two from 4K to 1M" },
                { "cow_size", RPC_SIZE, false, "the size of its store" },
                { "read_only", RPC_BOOL, false,
                  "clients cannot write to it" } },
    .may_block = true,
    .call = call_snapshot_create,
  },
  {
    .name = "snapshot.list",
    .text = "List the snapshots, the newest first.",
    .call = call_snapshot_list,
  },
  {
    .name = "snapshot.remove",
    .text = "Remove a snapshot. What older ones need of it is handed down in "
            "the background.",
    .params = { { "name", RPC_STRING, true, "its name" },
                { "force", RPC_BOOL, false,
                  "even if clients have it open, who then get errors" } },
    .may_block = true,
    .call = call_snapshot_remove,
  },
  {
    .name = "snapshot.rename",
    .text = "Give a snapshot another name.",
    .params = { { "name", RPC_STRING, true, "its name" },
                { "new_name", RPC_STRING, true, "what it is to be called" } },
    .may_block = true,
    .call = call_snapshot_rename,
  },
  {
    .name = "snapshot.rollback",
    .text = "Roll the volume back to a snapshot; what was written since is "
            "lost.",
    .params = { { "name", RPC_STRING, true, "its name" },
                { "force", RPC_BOOL, false,
                  "even if clients have it open, who then get errors" } },
    .may_block = true,
    .call = call_snapshot_rollback,
  },
  {
    .name = "status",
    .text = "Tell the state of the volume, its legs and its snapshots.",
    .call = call_status,
  },
  { .name = NULL },
};
