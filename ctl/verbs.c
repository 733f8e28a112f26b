/* The verbs of dmnbd: what they are called, take and do.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A verb that is one call of its method needs no more than its row: its words
 * and options become the method's parameters.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "leg-file.h"
#include "show.h"
#include "size-text.h"

#define FILE_ARG \
  { \
    .name = "FILE", .type = ARG_STRING, \
    .text = "a snapshot's store, such as DIR/monday.cow" \
  }
#define LOG_ARG \
  { \
    .name = "FILE", .type = ARG_STRING, \
    .text = "a mirror's dirty log, such as DIR/dirty.log" \
  }
#define ORIGIN_SIZE_ARG \
  { \
    .name = "--origin-size", .value = "SIZE", .type = ARG_SIZE, \
    .text = "the size of the volume, to check old chunks against" \
  }

#define LEG_ARG \
  { \
    .name = "N", .type = ARG_NUMBER, .param = "leg", \
    .text = "the number of the leg, as 'dmnbd status' shows it" \
  }
#define SPEC_ARG \
  { \
    .name = "SPEC", .type = ARG_PATH, .param = "spec", \
    .text = "a file, a block device or an NBD URI" \
  }
#define DEVICE_ARG \
  { \
    .name = "DEVICE", .type = ARG_STRING, .text = "such as /dev/nbd0" \
  }
#define NAME_ARG \
  { \
    .name = "NAME", .type = ARG_STRING, .param = "name", \
    .text = "the snapshot's name" \
  }

const struct verb verbs[] = {
  {
    .name = "status",
    .method = "status",
    .text = "show the volume, its legs, its snapshots, and what goes on",
    .more = "With -d DIR and no server that answers, shows what the volume "
            "remembers.\nThe exit status is 3 if the volume is degraded or has "
            "failed.",
    .args = { { .name = "--watch",
                .type = ARG_FLAG,
                .text = "show it again whenever something changes" },
              { .name = "--dm",
                .type = ARG_FLAG,
                .text = "in the words of the kernel's targets" } },
    .run = run_status,
  },
  {
    .name = "table",
    .text = "print the tables by which the kernel would make the same devices",
    .run = run_table,
  },
  {
    .name = "snapshot list",
    .method = "snapshot.list",
    .text = "list the snapshots, the newest first",
    .run = run_snapshot_list,
  },
  {
    .name = "snapshot create",
    .method = "snapshot.create",
    .text = "take a snapshot of the volume as it is now",
    .more =
      "Clients go on meanwhile. All that was answered to them before is in "
      "the snapshot,\nwhich is an export of its name from now on.",
    .args = { NAME_ARG,
              { .name = "--chunk-size",
                .value = "SIZE",
                .type = ARG_SIZE,
                .param = "chunk_size",
                .text = "the unit of copying, a power of two from 4K to 1M "
                        "(default: chunk-size= of the server)" },
              { .name = "--cow-size",
                .value = "SIZE",
                .type = ARG_SIZE,
                .param = "cow_size",
                .text = "the size of its store (default: enough for every "
                        "chunk)" },
              { .name = "--read-only",
                .type = ARG_FLAG,
                .param = "read_only",
                .text = "clients cannot write to it" } },
    .run = run_call,
  },
  {
    .name = "snapshot remove",
    .method = "snapshot.remove",
    .text = "remove a snapshot, wherever it is in the chain",
    .more = "What older ones need of it is handed down to them in the "
            "background; 'dmnbd wait\nidle' waits for that.",
    .args = { NAME_ARG,
              { .name = "--force",
                .type = ARG_FLAG,
                .param = "force",
                .text = "even if clients have it open, who then get errors" } },
    .run = run_call,
  },
  {
    .name = "snapshot rename",
    .method = "snapshot.rename",
    .text = "give a snapshot another name",
    .args = { NAME_ARG,
              { .name = "NEW",
                .type = ARG_STRING,
                .param = "new_name",
                .text = "what it is to be called" } },
    .run = run_call,
  },
  {
    .name = "snapshot rollback",
    .method = "snapshot.rollback",
    .text = "roll the volume back to a snapshot",
    .more = "What was written since is lost; the volume shows the snapshot at "
            "once. The newest one's\nchunks are moved in the background, then "
            "it is gone. An older one stays: what is\ndifferent is copied "
            "first, which takes its time.",
    .args = { NAME_ARG,
              { .name = "--force",
                .type = ARG_FLAG,
                .param = "force",
                .text = "even if clients have it open, who then get errors" },
              { .name = "--wait",
                .type = ARG_FLAG,
                .text = "wait until all chunks are moved" } },
    .run = run_rollback,
  },
  {
    .name = "diff",
    .method = "diff",
    .text = "print what has changed from snapshot A to snapshot B",
    .more =
      "A line for each extent: offset and length in bytes. Without B: up to "
      "now.",
    .args = { { .name = "A", .type = ARG_STRING, .text = "the older snapshot" },
              { .name = "B",
                .type = ARG_STRING,
                .is_optional = true,
                .text = "the newer one; default: the volume" } },
    .run = run_diff,
  },
  {
    .name = "leg add",
    .method = "leg.add",
    .text = "add a leg, which is filled in the background",
    .more = "'dmnbd wait sync' waits until it holds everything.",
    .args = { SPEC_ARG },
    .run = run_call,
  },
  {
    .name = "leg fail",
    .method = "leg.fail",
    .text = "use a leg no more",
    .args = { LEG_ARG },
    .run = run_call,
  },
  {
    .name = "leg rejoin",
    .method = "leg.rejoin",
    .text = "use a leg again that has failed",
    .more = "It gets what it has missed, in the background.",
    .args = { LEG_ARG },
    .run = run_call,
  },
  {
    .name = "leg replace",
    .method = "leg.replace",
    .text = "put another leg in the place of one",
    .more = "The old one is given up at once, the new one is filled in the "
            "background.",
    .args = { LEG_ARG, SPEC_ARG },
    .run = run_call,
  },
  {
    .name = "leg remove",
    .method = "leg.remove",
    .text = "remove a leg; what it holds is left as it is",
    .args = { LEG_ARG },
    .run = run_call,
  },
  {
    .name = "resync start",
    .method = "resync.start",
    .text = "go on with the resync now: paused, or waiting for another try",
    .run = run_call,
  },
  {
    .name = "resync pause",
    .method = "resync.pause",
    .text = "pause the resync",
    .run = run_call,
  },
  {
    .name = "resync resume",
    .method = "resync.resume",
    .text = "go on with a resync that is paused",
    .run = run_call,
  },
  {
    .name = "resync rate",
    .method = "resync.rate",
    .text = "limit the copying in the background",
    .args = { { .name = "RATE",
                .type = ARG_SIZE,
                .param = "rate",
                .text = "bytes a second, such as 50M; 0: no limit" } },
    .run = run_call,
  },
  {
    .name = "scrub start",
    .method = "scrub.start",
    .text = "compare the legs in the background",
    .args = { { .name = "--repair",
                .type = ARG_FLAG,
                .param = "repair",
                .text = "rewrite what differs" } },
    .run = run_call,
  },
  {
    .name = "scrub stop",
    .method = "scrub.stop",
    .text = "stop the scrub",
    .run = run_call,
  },
  {
    .name = "scrub status",
    .method = "scrub.status",
    .text = "show how far the scrub is, and what it has found",
    .more = "The exit status is 3 if legs differ.",
    .run = run_scrub_status,
  },
  {
    .name = "job list",
    .method = "job.list",
    .text = "list what goes on in the background",
    .more = "Resync, scrub, roll-backs, and snapshots that are being removed.",
    .run = run_job_list,
  },
  {
    .name = "job cancel",
    .method = "job.cancel",
    .text = "cancel that, if it does no harm",
    .more = "A scrub ends. A resync is paused: 'dmnbd resync resume' goes on "
            "where it was. The\ncopying before a roll-back to an older "
            "snapshot ends. A roll-back itself and a\nremoval are refused: "
            "they must be ended.",
    .args = { { .name = "ID",
                .type = ARG_NUMBER,
                .param = "job",
                .text = "its number, as 'dmnbd job list' shows it" } },
    .run = run_call,
  },
  {
    .name = "wait",
    .method = NULL,
    .text = "wait until all legs are in sync, or nothing goes on",
    .more = "The exit status is 3 if it is so, but a leg has failed.",
    .args = { { .name = "sync|idle",
                .type = ARG_STRING,
                .text = "what to wait for" },
              { .name = "--timeout",
                .value = "SECONDS",
                .type = ARG_SECONDS,
                .text = "wait no longer (then the exit status is 1)" } },
    .run = run_wait,
  },
  {
    .name = "events",
    .method = "events.subscribe",
    .text = "follow what changes, a JSON object a line",
    .more = "Ends with the server.",
    .args = { { .name = "--since",
                .value = "NUMBER",
                .type = ARG_NUMBER,
                .text = "go on after the event of that number" } },
    .run = run_events,
  },
  {
    .name = "metrics",
    .method = "metrics",
    .text = "print all numbers as Prometheus reads them",
    .args = { { .name = "--textfile",
                .value = "FILE",
                .type = ARG_STRING,
                .text = "replace FILE at once, for node_exporter's textfile "
                        "collector" } },
    .run = run_metrics,
  },
  {
    .name = "methods",
    .method = "methods",
    .text = "list what the control socket can be asked",
    .run = run_methods,
  },
  {
    .name = "attach",
    .text =
      "make an export a block device, and keep it when the server restarts",
    .more = "Stays in the background until the device is detached. While the "
            "server is gone,\nrequests wait; when it is back they go on. The "
            "URI is one of nbd:// or\nnbd+unix://; needs root, and 'modprobe "
            "nbd'.",
    .args = { DEVICE_ARG,
              { .name = "URI",
                .type = ARG_STRING,
                .text = "the export, such as nbd+unix:///?socket=vol.sock" },
              { .name = "--hold",
                .value = "SECONDS",
                .type = ARG_SECONDS,
                .text = "requests wait so long for the server (default 600)" },
              { .name = "--timeout",
                .value = "SECONDS",
                .type = ARG_SECONDS,
                .text = "one without an answer for so long is sent again "
                        "(default 30)" },
              { .name = "--foreground",
                .type = ARG_FLAG,
                .text = "do not go into the background" } },
    .run = run_attach,
  },
  {
    .name = "detach",
    .text = "end a block device that attach has made",
    .more = "What is cached is written first; it must not be mounted.",
    .args = { DEVICE_ARG },
    .run = run_detach,
  },
  {
    .name = "cow info",
    .text = "show what is in a snapshot's store",
    .more = "The store may be ours or the kernel's. It is only read.",
    .args = { FILE_ARG, ORIGIN_SIZE_ARG },
    .run = run_cow_info,
  },
  {
    .name = "cow check",
    .text = "check every record of a snapshot's store",
    .more = "The store may be ours or the kernel's. It is only read.",
    .args = { FILE_ARG, ORIGIN_SIZE_ARG },
    .run = run_cow_check,
  },
  {
    .name = "cow dump",
    .text = "print which chunks of a snapshot are where in its store",
    .more = "A line for each run: old chunk, new chunk, count. The store may "
            "be ours or the\nkernel's. It is only read.",
    .args = { FILE_ARG, ORIGIN_SIZE_ARG },
    .run = run_cow_dump,
  },
  {
    .name = "log info",
    .text = "show what is in a mirror's dirty log",
    .more = "The log may be ours or the kernel's. It is only read.",
    .args = { LOG_ARG },
    .run = run_log_info,
  },
  {
    .name = "log dump",
    .text = "print which regions are dirty in a mirror's dirty log",
    .more = "A line for each run: first region, count. The log may be ours or "
            "the kernel's. It\nis only read.",
    .args = { LOG_ARG },
    .run = run_log_dump,
  },
  { .name = NULL },
};

/*----- values ----------------------------------------------------------*/

const char *
verb_value (const struct verb *verb, const struct verb_values *values,
            const char *name)
{
  unsigned i;

  for (i = 0; verb->args[i].name != NULL; ++i)
    if (strcmp (verb->args[i].name, name) == 0)
      return values->text[i];
  abort (); /* the table and the code do not agree */
}

uint64_t
verb_number (const struct verb *verb, const struct verb_values *values,
             const char *name, uint64_t otherwise)
{
  const char *text = verb_value (verb, values, name);

  return text != NULL ? strtoull (text, NULL, 10) : otherwise;
}

uint64_t
ctl_size (const char *text)
{
  uint64_t bytes = 0;

  (void) size_parse (text, &bytes);
  return bytes;
}

/*----- calls -----------------------------------------------------------*/

/* A leg's file is the server's to open, whose folder is another one. */
static json_t *
absolute_path (const char *path)
{
  char *folder, *absolute;
  json_t *value;

  if (path[0] == '/')
    return json_string (path);
  if (bdev_spec_is_uri (path)) {
    int r = leg_file_absolute_path (path, &absolute);

    if (r < 0) {
      errno = -r;
      return NULL;
    }
    value = json_string (absolute);
    free (absolute);
    return value;
  }
  folder = realpath (".", NULL);
  if (folder == NULL || asprintf (&absolute, "%s/%s", folder, path) == -1) {
    int error = errno;

    free (folder);
    errno = error;
    return NULL;
  }
  free (folder);
  value = json_string (absolute);
  free (absolute);
  return value;
}

static json_t *
json_of (const struct verb_arg *arg, const char *text)
{
  switch (arg->type) {
  case ARG_NUMBER:
  case ARG_SECONDS:
    return json_integer ((json_int_t) strtoull (text, NULL, 10));
  case ARG_SIZE:
    return json_integer ((json_int_t) ctl_size (text));
  case ARG_FLAG:
    return json_true ();
  case ARG_PATH:
    return absolute_path (text);
  default:
    return json_string (text);
  }
}

/* Why the value of ARG cannot be a parameter. */
static int
say_no_json (const struct verb *verb, const struct verb_arg *arg,
             const char *text)
{
  if (show_is_utf8 (text) && arg->type == ARG_PATH)
    return ctl_error ("%s: '%s' cannot be found from here: %s; give its path "
                      "from / on",
                      verb->name, text, strerror (errno));
  return ctl_error ("%s: '%s' cannot be told to the server: it is not UTF-8",
                    verb->name, text);
}

/* Call the method of VERB.  NULL: it failed, which has been said. */
static json_t *
call (struct ctl *ctl, const struct verb *verb,
      const struct verb_values *values)
{
  json_t *params = json_object ();
  unsigned i;

  for (i = 0; verb->args[i].name != NULL; ++i) {
    const struct verb_arg *arg = &verb->args[i];

    if (arg->param != NULL && values->text[i] != NULL &&
        json_object_set_new (params, arg->param,
                             json_of (arg, values->text[i])) == -1) {
      json_decref (params);
      (void) say_no_json (verb, arg, values->text[i]);
      return NULL;
    }
  }
  return client_call (ctl, verb->method, params, CLIENT_NO_LIMIT);
}

/* What the server tells people, which is no news to a program. */
static void
show_message (const json_t *result)
{
  char *message = show_plain (get_text (result, "message"));

  if (message[0] != '\0')
    printf ("%s\n", message);
  free (message);
}

int
run_call (struct ctl *ctl, const struct verb *verb,
          const struct verb_values *values)
{
  json_t *result = call (ctl, verb, values);
  int r = EXIT_DONE;

  if (result == NULL)
    return EXIT_FAILED;
  if (ctl->is_json)
    r = ctl_print_json (result);
  else
    show_message (result);
  json_decref (result);
  return r;
}

int
run_rollback (struct ctl *ctl, const struct verb *verb,
              const struct verb_values *values)
{
  json_t *result = call (ctl, verb, values);
  int r = EXIT_DONE;

  if (result == NULL)
    return EXIT_FAILED;
  /* People read it while they wait; a program gets one answer. */
  if (!ctl->is_json) {
    show_message (result);
    (void) fflush (stdout);
  }
  if (verb_value (verb, values, "--wait") != NULL)
    r = wait_until_rolled_back (ctl);
  if (ctl->is_json && r != EXIT_FAILED)
    (void) ctl_print_json (result);
  json_decref (result);
  return r;
}
