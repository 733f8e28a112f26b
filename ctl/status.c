/* The verbs that show: status, snapshot list, methods.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * With -d DIR and no server that answers, the status is what the volume
 * remembers of itself: its manifest is read, nothing is locked or written.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "dm.h"
#include "offline.h"
#include "show.h"

#define BAR_CELLS 30

/* The volume redraws itself at least so often, for progress. */
#define WATCH_MS 1000

static int
exit_of (const json_t *status)
{
  const char *state = get_text (json_object_get (status, "volume"), "state");

  return strcmp (state, "degraded") == 0 || strcmp (state, "failed") == 0
           ? EXIT_DEGRADED
           : EXIT_DONE;
}

/*----- for people ------------------------------------------------------*/

static void
show_volume (FILE *out, const json_t *status)
{
  const json_t *v = json_object_get (status, "volume");
  char size[SHOW_SIZE_BYTES];
  char *meta = show_plain (get_text (v, "meta"));

  fprintf (out, "volume     %s, %s%s%s",
           show_size (get_number (v, "size"), size), get_text (v, "state"),
           get_bool (v, "read_only") ? ", read-only" : "",
           get_bool (status, "offline") ? ", no server that answers" : "");
  if (meta[0] != '\0')
    fprintf (out, ", remembered in %s", meta);
  fprintf (out, "\n");
  free (meta);
}

static void
show_legs (FILE *out, const json_t *status)
{
  struct table *t = table_create (7);
  const json_t *leg;
  size_t i;

  table_add (t, ">LEG");
  table_add (t, "STATE");
  table_add (t, ">READ");
  table_add (t, ">WRITTEN");
  table_add (t, ">ERRORS");
  table_add (t, "FILE");
  table_add (t, "WHY");
  json_array_foreach (json_object_get (status, "legs"), i, leg) {
    const json_t *errors = json_object_get (leg, "errors");
    char read[SHOW_SIZE_BYTES], written[SHOW_SIZE_BYTES];

    table_add (t, "%" PRIu64, get_number (leg, "index"));
    table_add (t, "%s%s", get_text (leg, "state"),
               get_bool (leg, "write_mostly") ? ", write-mostly" : "");
    table_add (t, "%s", show_size (get_number (leg, "read_bytes"), read));
    table_add (t, "%s", show_size (get_number (leg, "write_bytes"), written));
    table_add (t, "%" PRIu64,
               get_number (errors, "read") + get_number (errors, "write") +
                 get_number (errors, "flush"));
    table_add (t, "%s", get_text (leg, "spec"));
    table_add (t, "%s", get_text (leg, "reason"));
  }
  table_print (t, out);
}

static void
show_progress (FILE *out, const char *what, const json_t *job)
{
  uint64_t done = get_number (job, "done_bytes");
  uint64_t total = get_number (job, "total_bytes");
  char bar[SHOW_BAR_BYTES], a[SHOW_SIZE_BYTES], b[SHOW_SIZE_BYTES];
  const char *state = get_text (job, "state");

  fprintf (out, "%-9s  %s", what, state);
  if (strcmp (state, "idle") != 0) {
    fprintf (out, " %s, %s of %s", show_bar (done, total, BAR_CELLS, bar),
             show_size (done, a), show_size (total, b));
    if (get_number (job, "rate") > 0)
      fprintf (out, ", %s/s", show_size (get_number (job, "rate"), a));
    if (json_is_integer (json_object_get (job, "eta_seconds")))
      fprintf (out, ", %s left",
               show_time (get_number (job, "eta_seconds"), bar));
  }
  else if (get_bool (job, "paused"))
    fprintf (out,
             "; what comes is paused, 'dmnbd resync resume' lets it go on");
  fprintf (out, "\n");
}

static void
show_regions (FILE *out, const json_t *status)
{
  const json_t *r = json_object_get (status, "regions");
  char size[SHOW_SIZE_BYTES];

  fprintf (out, "regions    %" PRIu64 " of %" PRIu64 " in sync, %s each\n",
           get_number (r, "insync"), get_number (r, "total"),
           show_size (get_number (r, "size"), size));
}

static void
show_snapshots (FILE *out, const json_t *snapshots)
{
  struct table *t = table_create (7);
  const json_t *s;
  size_t i;

  table_add (t, "SNAPSHOT");
  table_add (t, "STATE");
  table_add (t, "TAKEN");
  table_add (t, ">CHUNK");
  table_add (t, ">USED");
  table_add (t, ">OF");
  table_add (t, "WHY");
  json_array_foreach (snapshots, i, s) {
    char chunk[SHOW_SIZE_BYTES], used[SHOW_SIZE_BYTES], store[SHOW_SIZE_BYTES];

    table_add (t, "%s", get_text (s, "name"));
    table_add (t, "%s%s%s", get_text (s, "state"),
               get_bool (s, "read_only") ? ", read-only" : "",
               is_transient (s) ? ", transient" : "");
    table_add (t, "%s", get_text (s, "created"));
    table_add (t, "%s", show_size (get_number (s, "chunk_size"), chunk));
    table_add (t, "%s", show_size (get_number (s, "used_bytes"), used));
    table_add (t, "%s", show_size (get_number (s, "store_bytes"), store));
    table_add (t, "%s", get_text (s, "reason"));
  }
  table_print (t, out);
}

static void
show_status (FILE *out, const json_t *status)
{
  const json_t *snapshots = json_object_get (status, "snapshots");

  show_volume (out, status);
  if (!get_bool (status, "offline")) {
    show_regions (out, status);
    show_progress (out, "resync", json_object_get (status, "resync"));
    show_progress (out, "scrub", json_object_get (status, "scrub"));
  }
  fprintf (out, "\n");
  show_legs (out, status);
  if (json_array_size (snapshots) > 0) {
    fprintf (out, "\n");
    show_snapshots (out, snapshots);
  }
}

/* The same in one line, for logs. */
static void
show_line (const json_t *status)
{
  const json_t *resync = json_object_get (status, "resync");
  const json_t *leg, *s;
  char a[SHOW_SIZE_BYTES], b[SHOW_SIZE_BYTES];
  unsigned valid = 0;
  size_t i;

  printf ("%s; legs", get_text (json_object_get (status, "volume"), "state"));
  json_array_foreach (json_object_get (status, "legs"), i, leg)
    printf (" %s", get_text (leg, "state"));
  printf ("; resync %s", get_text (resync, "state"));
  if (strcmp (get_text (resync, "state"), "idle") != 0)
    printf (", %s of %s", show_size (get_number (resync, "done_bytes"), a),
            show_size (get_number (resync, "total_bytes"), b));
  json_array_foreach (json_object_get (status, "snapshots"), i, s)
    valid += strcmp (get_text (s, "state"), "valid") == 0;
  printf ("; %u valid snapshot%s\n", valid, valid == 1 ? "" : "s");
}

/*----- status ----------------------------------------------------------*/

/* For programs: on one line if it IS_LINE, one of many. */
static void
print_status_json (const struct ctl *ctl, const json_t *status, bool is_line)
{
  json_t *value = ctl->wants_dm ? dm_status (status)
                                : json_incref ((json_t *) status);

  if (is_line) {
    (void) json_dumpf (value, stdout, JSON_COMPACT);
    printf ("\n");
  }
  else
    (void) ctl_print_json (value);
  json_decref (value);
}

static void
print_status (const struct ctl *ctl, const json_t *status, bool is_line)
{
  if (ctl->is_json)
    print_status_json (ctl, status, is_line);
  else if (ctl->wants_dm)
    dm_print_status (status);
  else if (is_line)
    show_line (status);
  else
    show_status (stdout, status);
}

static bool
is_running (const json_t *status, const char *job)
{
  return strcmp (get_text (json_object_get (status, job), "state"),
                 "running") == 0;
}

/* Show as much as the terminal has room for: what is first counts for most, and
 * a line that went on in the next one would push it out.
 */
static void
draw_text (const char *text)
{
  unsigned rows = show_rows (STDOUT_FILENO);
  unsigned columns = show_columns (STDOUT_FILENO);
  const char *end;

  printf ("\033[H\033[J");
  for (; *text != '\0' && rows > 1; --rows, text = end + (*end != '\0')) {
    end = strchrnul (text, '\n');
    printf ("%.*s\n", (int) show_fit (text, (size_t) (end - text), columns),
            text);
  }
  if (*text != '\0')
    printf ("...");
}

static void
draw (const struct ctl *ctl, const json_t *status)
{
  char *text = NULL;
  size_t size;
  FILE *out;

  if (ctl->wants_dm) {
    printf ("\033[H\033[J");
    dm_print_status (status);
    return;
  }
  out = open_memstream (&text, &size);
  if (out == NULL)
    exit (ctl_error ("out of memory"));
  show_status (out, status);
  if (fclose (out) == EOF)
    exit (ctl_error ("out of memory"));
  draw_text (text);
  free (text);
}

/* Show it again after every change, and every second while something goes
 * on.  Ends when the server does.
 */
static int
watch (struct ctl *ctl)
{
  bool is_terminal = isatty (STDOUT_FILENO) && !ctl->is_json;
  json_t *result;
  int r = 1;

  ctl->follows = true;
  result = client_look (ctl, "events.subscribe", NULL);
  if (result == NULL)
    return EXIT_FAILED;
  json_decref (result);
  for (;;) {
    json_t *status = client_status (ctl), *event;
    bool is_quiet;

    if (status == NULL)
      return EXIT_FAILED;
    if (is_terminal)
      draw (ctl, status);
    else
      print_status (ctl, status, true);
    if (!ctl_flush ()) {
      json_decref (status);
      return EXIT_FAILED;
    }
    is_quiet = !is_running (status, "resync") && !is_running (status, "scrub");
    json_decref (status);
    /* All that has happened meanwhile is shown at once. */
    r = client_event (ctl, is_quiet && !is_terminal ? -1 : WATCH_MS, &event);
    while (r > 0) {
      bool is_last = strcmp (get_text (event, "type"), "server.stopping") == 0;

      json_decref (event);
      if (is_last)
        return ctl_error ("the server is stopping");
      r = client_event (ctl, 0, &event);
    }
    if (r < 0)
      return EXIT_FAILED;
  }
}

/* The folder is known, and nobody serves it. */
static int
show_offline (struct ctl *ctl)
{
  json_t *status = offline_status (ctl->dir);
  int r;

  if (status == NULL)
    return EXIT_FAILED;
  print_status (ctl, status, false);
  r = exit_of (status);
  json_decref (status);
  return r;
}

int
run_status (struct ctl *ctl, const struct verb *verb,
            const struct verb_values *values)
{
  json_t *status;
  int r, error = 0;

  ctl->wants_dm = verb_value (verb, values, "--dm") != NULL;
  if (verb_value (verb, values, "--watch") != NULL)
    return watch (ctl);
  if (ctl->dir != NULL && client_try (ctl, &error) == NULL &&
      (error == -ENOENT || error == -ENOTDIR || error == -ECONNREFUSED))
    return show_offline (ctl);
  status = client_status (ctl);
  if (status == NULL)
    return EXIT_FAILED;
  print_status (ctl, status, false);
  r = exit_of (status);
  json_decref (status);
  return r;
}

int
run_table (struct ctl *ctl, const struct verb *verb,
           const struct verb_values *values)
{
  json_t *status = client_status (ctl), *table;

  (void) verb;
  (void) values;
  if (status == NULL)
    return EXIT_FAILED;
  if (ctl->is_json) {
    table = dm_table (status);
    (void) ctl_print_json (table);
    json_decref (table);
  }
  else
    dm_print_table (status);
  json_decref (status);
  return EXIT_DONE;
}

int
run_scrub_status (struct ctl *ctl, const struct verb *verb,
                  const struct verb_values *values)
{
  json_t *scrub = client_look (ctl, verb->method, NULL);
  uint64_t left;

  (void) values;
  if (scrub == NULL)
    return EXIT_FAILED;
  if (ctl->is_json)
    ctl_print_json (scrub);
  else {
    show_progress (stdout, "scrub", scrub);
    printf ("found      %" PRIu64 " sectors that differ, %" PRIu64
            " copies of sectors repaired\n",
            get_number (scrub, "mismatches"), get_number (scrub, "repaired"));
  }
  left = get_number (scrub, "mismatches");
  if (get_number (scrub, "repaired") >= left)
    left = 0;
  json_decref (scrub);
  return left > 0 ? EXIT_DEGRADED : EXIT_DONE;
}

int
run_snapshot_list (struct ctl *ctl, const struct verb *verb,
                   const struct verb_values *values)
{
  json_t *snapshots = client_look (ctl, verb->method, NULL);

  (void) values;
  if (snapshots == NULL)
    return EXIT_FAILED;
  if (ctl->is_json)
    ctl_print_json (snapshots);
  else
    show_snapshots (stdout, snapshots);
  json_decref (snapshots);
  return EXIT_DONE;
}

static void
show_jobs (const json_t *jobs)
{
  struct table *t = table_create (6);
  const json_t *job;
  size_t i;

  table_add (t, ">JOB");
  table_add (t, "KIND");
  table_add (t, "STATE");
  table_add (t, ">DONE");
  table_add (t, ">OF");
  table_add (t, "SNAPSHOT");
  json_array_foreach (jobs, i, job) {
    char done[SHOW_SIZE_BYTES], total[SHOW_SIZE_BYTES];

    table_add (t, "%" PRIu64, get_number (job, "job"));
    table_add (t, "%s", get_text (job, "kind"));
    table_add (t, "%s", get_text (job, "state"));
    table_add (t, "%s", show_size (get_number (job, "done_bytes"), done));
    table_add (t, "%s", show_size (get_number (job, "total_bytes"), total));
    table_add (t, "%s", get_text (job, "snapshot"));
  }
  table_print (t, stdout);
}

int
run_job_list (struct ctl *ctl, const struct verb *verb,
              const struct verb_values *values)
{
  json_t *jobs = client_look (ctl, verb->method, NULL);

  (void) values;
  if (jobs == NULL)
    return EXIT_FAILED;
  if (ctl->is_json)
    ctl_print_json (jobs);
  else if (json_array_size (jobs) == 0)
    printf ("nothing goes on\n");
  else
    show_jobs (jobs);
  json_decref (jobs);
  return EXIT_DONE;
}

int
run_methods (struct ctl *ctl, const struct verb *verb,
             const struct verb_values *values)
{
  json_t *methods = client_look (ctl, verb->method, NULL);
  const json_t *m, *p;
  size_t i, j;

  (void) values;
  if (methods == NULL)
    return EXIT_FAILED;
  if (ctl->is_json)
    ctl_print_json (methods);
  else {
    json_array_foreach (methods, i, m) {
      printf ("%s: %s\n", get_text (m, "name"), get_text (m, "text"));
      json_array_foreach (json_object_get (m, "params"), j, p)
        printf ("    %s (%s%s): %s\n", get_text (p, "name"),
                get_text (p, "type"),
                get_bool (p, "required") ? ", required" : "",
                get_text (p, "text"));
    }
  }
  json_decref (methods);
  return EXIT_DONE;
}
