/* What the files of the control socket share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DM_CONTROL_IMPL_H
#define DM_CONTROL_IMPL_H

#include "control.h"
#include "events.h"
#include "line-server.h"
#include "rpc.h"
#include "sync.h"
#include "volume-status.h"

/* What waits for the thread that may block: at most one request a client. */
struct control_job {
  line_client_t client;
  struct rpc_request request;
};

/* Who has asked for events, and which is the next. */
struct subscription {
  line_client_t client; /* 0: nobody */
  uint64_t next;
};

struct control {
  struct volume *volume;
  struct latency *latency;
  struct events *events;
  struct line_server *server;
  int64_t started_seconds;

  /* Of the server's thread alone. */
  struct subscription subscriptions[LINE_SERVER_MAX_CLIENTS];

  struct thread worker;
  bool has_worker;
  struct mutex lock; /* of the queue; a leaf */
  struct cond wake;
  bool must_stop;
  unsigned job_first, job_count;
  struct control_job jobs[LINE_SERVER_MAX_CLIENTS];
};

/* What a method is called with. */
struct control_call {
  struct control *control;
  line_client_t client;
};

/* The methods that there are, ending with one without a name. */
extern const struct rpc_method control_methods[];

/* All the numbers: rpc-metrics.c. */
int call_metrics (void *context, const json_t *params,
                  struct rpc_result *result);

/* What differs: rpc-diff.c. */
int call_diff (void *context, const json_t *params, struct rpc_result *result);

/* Those that change something: rpc-admin.c. */
int call_snapshot_create (void *context, const json_t *params,
                          struct rpc_result *result);
int call_snapshot_remove (void *context, const json_t *params,
                          struct rpc_result *result);
int call_snapshot_rename (void *context, const json_t *params,
                          struct rpc_result *result);
int call_snapshot_rollback (void *context, const json_t *params,
                            struct rpc_result *result);
int call_job_cancel_now (void *context, const json_t *params,
                         struct rpc_result *result);
int call_job_cancel (void *context, const json_t *params,
                     struct rpc_result *result);
int call_leg_add (void *context, const json_t *params,
                  struct rpc_result *result);
int call_leg_fail (void *context, const json_t *params,
                   struct rpc_result *result);
int call_leg_rejoin (void *context, const json_t *params,
                     struct rpc_result *result);
int call_leg_remove (void *context, const json_t *params,
                     struct rpc_result *result);
int call_leg_replace (void *context, const json_t *params,
                      struct rpc_result *result);
int call_resync_pause (void *context, const json_t *params,
                       struct rpc_result *result);
int call_resync_rate (void *context, const json_t *params,
                      struct rpc_result *result);
int call_resync_resume (void *context, const json_t *params,
                        struct rpc_result *result);
int call_resync_start (void *context, const json_t *params,
                       struct rpc_result *result);
int call_scrub_start (void *context, const json_t *params,
                      struct rpc_result *result);
int call_scrub_stop (void *context, const json_t *params,
                     struct rpc_result *result);

/* From now on CLIENT is sent the events from number NEXT on. */
void control_subscribe (struct control *control, line_client_t client,
                        uint64_t next);

/* TEXT, or null if it is empty or NULL.  What is not UTF-8 (names of files may
 * be anything) is shown with question marks.
 */
json_t *control_text_json (const char *text);

/* The status as interface.md has it; NULL: no memory. */
json_t *control_status_json (const struct volume_status *status);
json_t *control_scrub_json (const struct volume_status *status);
json_t *control_snapshots_json (const struct volume_status *status);

/* An event, and that LOST have been missed, as the line that tells them;
 * NULL: no memory.
 */
char *control_event_line (const struct event *event);
char *control_overflow_line (uint64_t lost, uint64_t next);

#endif /* DM_CONTROL_IMPL_H */
