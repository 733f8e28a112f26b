/* The control socket: who runs the volume sees it and steers it here.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Two threads: that of the line server, which reads requests, answers what
 * never waits, and pushes events; and a worker for all that may, one after
 * the other: what changes a volume is serialised there anyway.  A client's
 * next line is looked at when its last one has been answered, so the queue
 * has room for one request of every client.
 *
 * Locks: the queue's, a leaf.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "control-impl.h"
#include "log-sink.h"

/* So many events are pushed before other clients have their turn. */
#define EVENTS_AT_ONCE 16

/*----- calls -----------------------------------------------------------*/

static void
send_line (struct control *c, line_client_t client, char *line)
{
  if (line != NULL)
    line_server_send (c->server, client, line, strlen (line));
  free (line);
}

/* Do what is asked for, and answer. */
static void
call (struct control *c, line_client_t client, struct rpc_request *request)
{
  struct control_call context = { .control = c, .client = client };
  struct rpc_result result = { .value = NULL };
  int r = request->method->call (&context, request->params, &result);

  send_line (c, client, rpc_answer (request, r, &result));
  rpc_request_free (request);
}

/* The same, if it does not wait.  Returns false, and nothing is done, if it
 * would.
 */
static bool
call_now (struct control *c, line_client_t client, struct rpc_request *request)
{
  struct control_call context = { .control = c, .client = client };
  struct rpc_result result = { .value = NULL };
  int r;

  if (!request->method->may_block) {
    call (c, client, request);
    return true;
  }
  if (request->method->call_now == NULL)
    return false;
  r = request->method->call_now (&context, request->params, &result);
  if (r == -EAGAIN)
    return false;
  send_line (c, client, rpc_answer (request, r, &result));
  rpc_request_free (request);
  return true;
}

static void
worker_main (void *arg)
{
  struct control *c = arg;

  mutex_lock (&c->lock);
  for (;;) {
    struct control_job job;

    while (!c->must_stop && c->job_count == 0)
      cond_wait (&c->wake, &c->lock);
    if (c->must_stop)
      break;
    job = c->jobs[c->job_first];
    c->job_first = (c->job_first + 1) % LINE_SERVER_MAX_CLIENTS;
    c->job_count--;
    mutex_unlock (&c->lock);
    call (c, job.client, &job.request);
    line_server_end_line (c->server, job.client);
    mutex_lock (&c->lock);
  }
  mutex_unlock (&c->lock);
}

/*----- what the line server calls --------------------------------------*/

static enum line_result
handle_line (void *opaque, line_client_t client, char *line, size_t length)
{
  struct control *c = opaque;
  struct control_job job = { .client = client };
  char *answer;

  if (rpc_parse (line, length, control_methods, &job.request, &answer) != 0) {
    send_line (c, client, answer);
    return LINE_DONE;
  }
  if (call_now (c, client, &job.request))
    return LINE_DONE;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  /* A client that went away may have left one, and another have come. */
  if (c->job_count == LINE_SERVER_MAX_CLIENTS) {
    struct rpc_result result = {
      .why = "too much is waiting to be done; try again later",
    };

    send_line (c, client, rpc_answer (&job.request, -EBUSY, &result));
    rpc_request_free (&job.request);
    return LINE_DONE;
  }
  c->jobs[(c->job_first + c->job_count++) % LINE_SERVER_MAX_CLIENTS] = job;
  cond_signal (&c->wake);
  return LINE_PENDING;
}

static struct subscription *
find_subscription (struct control *c, line_client_t client)
{
  unsigned i;

  for (i = 0; i < LINE_SERVER_MAX_CLIENTS; ++i)
    if (c->subscriptions[i].client == client)
      return &c->subscriptions[i];
  return NULL;
}

void
control_subscribe (struct control *control, line_client_t client, uint64_t next)
{
  struct subscription *s = find_subscription (control, client);

  if (s == NULL)
    s = find_subscription (control, 0);
  assert (s != NULL); /* there is one for each client */
  s->client = client;
  s->next = next;
}

/* Push some events.  Called again when these have gone. */
static void
handle_room (void *opaque, line_client_t client)
{
  struct control *c = opaque;
  struct subscription *s = find_subscription (c, client);
  unsigned i;

  for (i = 0; s != NULL && i < EVENTS_AT_ONCE; ++i) {
    struct event event;
    uint64_t lost;

    if (!events_take (c->events, &s->next, &event, &lost))
      return;
    send_line (c, client,
               lost > 0 ? control_overflow_line (lost, s->next)
                        : control_event_line (&event));
  }
}

static bool
handle_is_patient (void *opaque, line_client_t client)
{
  return find_subscription (opaque, client) != NULL;
}

static void
handle_gone (void *opaque, line_client_t client)
{
  struct subscription *s = find_subscription (opaque, client);

  if (s != NULL)
    s->client = 0;
}

#define REFUSAL(text) \
  "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32000,\"message\":\"" text \
  "\"},\"id\":null}\n"

static const struct line_server_ops server_ops = {
  .line = handle_line,
  .room = handle_room,
  .is_patient = handle_is_patient,
  .gone = handle_gone,
  .too_many_line = REFUSAL ("there are too many clients; close one"),
  .too_long_line = REFUSAL ("the line is longer than 65536 bytes"),
  .stranger_line = REFUSAL ("only the server's own user and root may connect"),
};

/* Called under any lock, by who puts in an event. */
static void
wake (void *opaque)
{
  line_server_wake (opaque);
}

/*----- life ------------------------------------------------------------*/

int
control_check (const char *path)
{
  return line_server_check (path);
}

int
control_create (const char *path, struct volume *volume,
                struct latency *latency, struct control **control)
{
  struct control *c = calloc (1, sizeof *c);
  int r;

  if (c == NULL)
    return -ENOMEM;
  c->volume = volume;
  c->latency = latency;
  c->events = volume_get_events (volume);
  c->started_seconds = clock_wall_seconds ();
  r = line_server_create (path, &server_ops, c, &c->server);
  if (r < 0) {
    free (c);
    return r;
  }
  mutex_init (&c->lock);
  cond_init (&c->wake);
  volume_record_control (volume, line_server_path (c->server));
  *control = c;
  return 0;
}

int
control_start (struct control *control)
{
  int r = thread_start (&control->worker, "dm-admin", worker_main, control);

  if (r < 0)
    return r;
  control->has_worker = true;
  events_set_wake (control->events, wake, control->server);
  events_put (control->events, &(struct event){ .type = EVENT_SERVER_STARTED });
  r = line_server_start (control->server);
  if (r < 0)
    control_stop (control);
  else
    volume_start_watching (control->volume);
  return r;
}

void
control_stop (struct control *control)
{
  if (control == NULL || !control->has_worker)
    return;
  volume_stop_watching (control->volume);
  mutex_lock (&control->lock);
  control->must_stop = true;
  cond_broadcast (&control->wake);
  mutex_unlock (&control->lock);
  thread_join (&control->worker);
  control->has_worker = false;
  events_put (control->events,
              &(struct event){ .type = EVENT_SERVER_STOPPING });
  line_server_stop (control->server);
  events_set_wake (control->events, NULL, NULL);
}

void
control_destroy (struct control *control)
{
  if (control == NULL)
    return;
  control_stop (control);
  volume_record_control (control->volume, NULL);
  line_server_destroy (control->server);
  for (; control->job_count > 0; control->job_count--) {
    rpc_request_free (&control->jobs[control->job_first].request);
    control->job_first = (control->job_first + 1) % LINE_SERVER_MAX_CLIENTS;
  }
  cond_destroy (&control->wake);
  mutex_destroy (&control->lock);
  free (control);
}
