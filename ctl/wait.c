/* The verbs that wait: wait, events.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Nothing is asked again and again: whoever waits has subscribed to events
 * before looking, and looks again when there was one.
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "clock.h"
#include "show.h"

/* How often progress is shown on a terminal. */
#define PROGRESS_MS 1000

/*----- what is waited for ----------------------------------------------*/

enum progress { WAITING, REACHED, REACHED_DEGRADED, HOPELESS };

static bool
is_state (const json_t *status, const char *part, const char *state)
{
  return strcmp (get_text (json_object_get (status, part), "state"), state) ==
         0;
}

static bool
any_leg (const json_t *status, const char *state)
{
  const json_t *leg;
  size_t i;

  json_array_foreach (json_object_get (status, "legs"), i, leg)
    if (strcmp (get_text (leg, "state"), state) == 0)
      return true;
  return false;
}

/* All legs that are in use hold the same.  With a leg out, what it misses is
 * not in sync, and nobody is at work on it.
 */
static enum progress
is_in_sync (const json_t *status)
{
  const json_t *regions = json_object_get (status, "regions");

  if (is_state (status, "volume", "failed"))
    return HOPELESS;
  if (any_leg (status, "recovering"))
    return WAITING;
  if (is_state (status, "volume", "degraded"))
    return is_state (status, "resync", "idle") ? REACHED_DEGRADED : WAITING;
  return get_number (regions, "insync") < get_number (regions, "total")
           ? WAITING
           : REACHED;
}

/* No snapshot is rolled back to, or being removed. */
static enum progress
is_rolled_back (const json_t *status)
{
  const json_t *s;
  size_t i;

  json_array_foreach (json_object_get (status, "snapshots"), i, s)
    if (strcmp (get_text (s, "state"), "merging") == 0 ||
        strcmp (get_text (s, "state"), "removing") == 0)
      return WAITING;
  return is_state (status, "volume", "degraded") ||
             is_state (status, "volume", "failed")
           ? REACHED_DEGRADED
           : REACHED;
}

/* Nothing goes on in the background. */
static enum progress
is_idle (const json_t *status)
{
  return is_state (status, "resync", "idle") &&
             is_state (status, "scrub", "idle")
           ? is_rolled_back (status)
           : WAITING;
}

static void
show_progress (const json_t *status)
{
  const json_t *resync = json_object_get (status, "resync");
  char bar[SHOW_BAR_BYTES], text[2 * SHOW_BAR_BYTES];

  (void) snprintf (text, sizeof text, "resync %s %s",
                   get_text (resync, "state"),
                   show_bar (get_number (resync, "done_bytes"),
                             get_number (resync, "total_bytes"), 40, bar));
  ctl_progress (text);
}

/* Why nothing goes on, and what can be done; NULL: something does. */
static const char *
why_nothing_goes_on (const json_t *status)
{
  const json_t *volume = json_object_get (status, "volume"), *s;
  size_t i;

  if (get_bool (volume, "read_only"))
    return "the volume is read-only, and nothing is copied; the server's log "
           "says why";
  /* An older server does not say. */
  if (json_is_false (json_object_get (volume, "started")))
    return "no client has connected to the server yet, and nothing is copied "
           "before; 'dmnbd resync start' starts it now";
  if (is_state (status, "resync", "paused"))
    return "the resync is paused; 'dmnbd resync resume' goes on with it";
  json_array_foreach (json_object_get (status, "snapshots"), i, s)
    if (strcmp (get_text (s, "state"), "removing") == 0 &&
        json_is_string (json_object_get (s, "reason")))
      return "a snapshot that is to go cannot; 'dmnbd snapshot list' tells why";
  return NULL;
}

/* Tell that, unless it was the last that was told. */
static void
tell_why_nothing_goes_on (const json_t *status, const char **told)
{
  const char *why = why_nothing_goes_on (status);

  if (why != NULL && why != *told) {
    ctl_progress (NULL);
    fprintf (stderr, "dmnbd: waiting, but %s\n", why);
  }
  *told = why;
}

/*----- waiting ---------------------------------------------------------*/

/* Take in what has happened; false when the server has ended. */
static bool
take_events (struct ctl *ctl, int timeout_ms)
{
  json_t *event;
  int r = client_event (ctl, timeout_ms, &event);

  while (r > 0) {
    json_decref (event);
    r = client_event (ctl, 0, &event);
  }
  return r == 0;
}

/* Until it is so far; then *REACHED, unless it is NULL, is that status, whose
 * reference is the caller's.
 */
static int
wait_for (struct ctl *ctl, enum progress (*look) (const json_t *status),
          uint64_t deadline_ns, json_t **reached)
{
  bool is_terminal = isatty (STDERR_FILENO);
  enum progress progress = WAITING;
  const char *told = NULL;

  for (;;) {
    json_t *status = client_status (ctl);
    uint64_t now = clock_now_ns ();
    int timeout_ms = is_terminal ? PROGRESS_MS : -1;

    if (status == NULL)
      return EXIT_FAILED;
    progress = look (status);
    if (progress == WAITING) {
      tell_why_nothing_goes_on (status, &told);
      show_progress (status);
    }
    if (reached != NULL && progress != WAITING)
      *reached = json_incref (status);
    json_decref (status);
    if (progress != WAITING)
      break;
    if (now >= deadline_ns)
      return ctl_errno (-ETIMEDOUT, "it is not so far yet, and the time is "
                                    "over; 'dmnbd status' shows what goes on");
    if (deadline_ns != UINT64_MAX &&
        (timeout_ms < 0 ||
         deadline_ns - now < PROGRESS_MS * UINT64_C (1000000)))
      /* At most a day: then it looks again. */
      timeout_ms = deadline_ns - now < UINT64_C (86400) * NS_PER_SECOND
                     ? (int) ((deadline_ns - now) / 1000000 + 1)
                     : 86400000;
    if (!take_events (ctl, timeout_ms))
      return EXIT_FAILED;
  }
  ctl_progress (NULL);
  if (progress == HOPELESS)
    return ctl_error ("the volume has failed: what is written cannot be made "
                      "durable; see 'dmnbd status', then start it again");
  return progress == REACHED ? EXIT_DONE : EXIT_DEGRADED;
}

static int
subscribe_and_wait (struct ctl *ctl,
                    enum progress (*look) (const json_t *status),
                    uint64_t deadline_ns, json_t **reached)
{
  json_t *result = client_look (ctl, "events.subscribe", NULL);

  if (result == NULL)
    return EXIT_FAILED;
  json_decref (result);
  return wait_for (ctl, look, deadline_ns, reached);
}

int
run_wait (struct ctl *ctl, const struct verb *verb,
          const struct verb_values *values)
{
  const char *what = verb_value (verb, values, "sync|idle");
  uint64_t seconds = verb_number (verb, values, "--timeout", UINT64_MAX);
  uint64_t deadline_ns = UINT64_MAX;
  json_t *status = NULL;
  int r;

  if (strcmp (what, "sync") != 0 && strcmp (what, "idle") != 0) {
    (void) ctl_error ("wait: '%s' is nothing to wait for; say sync or idle",
                      what);
    return EXIT_USAGE;
  }
  if (seconds < CLIENT_PATIENCE_MS / 1000) {
    ctl->patience_ms = (int) seconds * 1000;
    if (ctl->patience_ms < CLIENT_PATIENCE_MIN_MS)
      ctl->patience_ms = CLIENT_PATIENCE_MIN_MS;
  }
  if (seconds < UINT32_MAX)
    deadline_ns = clock_now_ns () + seconds * NS_PER_SECOND;
  r = subscribe_and_wait (ctl, what[0] == 's' ? is_in_sync : is_idle,
                          deadline_ns, &status);
  if (ctl->is_json && (r == EXIT_DONE || r == EXIT_DEGRADED))
    (void) ctl_print_json (status);
  json_decref (status);
  return r;
}

int
wait_until_rolled_back (struct ctl *ctl)
{
  return subscribe_and_wait (ctl, is_rolled_back, UINT64_MAX, NULL);
}

/*----- events ----------------------------------------------------------*/

int
run_events (struct ctl *ctl, const struct verb *verb,
            const struct verb_values *values)
{
  const char *since = verb_value (verb, values, "--since");
  json_t *params = NULL, *event;

  if (since != NULL)
    params = json_pack ("{s:I}", "since",
                        (json_int_t) verb_number (verb, values, "--since", 0));
  ctl->follows = true;
  event = client_look (ctl, verb->method, params);
  if (event == NULL)
    return EXIT_FAILED;
  json_decref (event);
  for (;;) {
    bool is_last;

    if (client_event (ctl, CLIENT_NO_LIMIT, &event) <= 0)
      return EXIT_FAILED;
    (void) json_dumpf (event, stdout, JSON_COMPACT);
    printf ("\n");
    /* Whoever reads wants it now; when nobody does, this ends. */
    if (!ctl_flush ()) {
      json_decref (event);
      return EXIT_FAILED;
    }
    is_last = strcmp (get_text (event, "type"), "server.stopping") == 0;
    json_decref (event);
    if (is_last)
      return EXIT_DONE;
  }
}
