/* The volume's status and its events as JSON.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The names and their meaning are what programs rely on: they are added to,
 * never changed.
 */

#include <config.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "control-impl.h"

json_t *
control_text_json (const char *text)
{
  char plain[4096];
  json_t *value;
  size_t i;

  if (text == NULL || text[0] == '\0')
    return json_null ();
  value = json_string (text);
  if (value != NULL)
    return value;
  for (i = 0; text[i] != '\0' && i + 1 < sizeof plain; ++i)
    plain[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
  plain[i] = '\0';
  return json_string (plain);
}

static json_t *
leg_json (const struct volume_leg_status *leg)
{
  return json_pack (
    "{s:i, s:o, s:s, s:b, s:I, s:I, s:I, s:I, s:{s:I, s:I, s:I}, s:o}", "index",
    (int) leg->index, "spec", control_text_json (leg->spec), "state",
    leg_state_name (leg->state), "write_mostly", (int) leg->is_write_mostly,
    "reads", (json_int_t) leg->reads, "writes", (json_int_t) leg->writes,
    "read_bytes", (json_int_t) leg->read_bytes, "write_bytes",
    (json_int_t) leg->write_bytes, "errors", "read",
    (json_int_t) leg->read_errors, "write", (json_int_t) leg->write_errors,
    "flush", (json_int_t) leg->flush_errors, "reason",
    control_text_json (leg->reason));
}

static json_t *
snapshot_json (const struct volume_snapshot_status *s)
{
  return json_pack ("{s:s, s:s, s:o, s:s, s:b, s:I, s:I, s:I, s:I, s:I,"
                    " s:s, s:s, s:i}",
                    "name", s->name, "state", s->state, "reason",
                    control_text_json (s->reason), "created", s->created,
                    "read_only", (int) s->is_read_only, "chunk_size",
                    (json_int_t) s->chunk_bytes, "chunks",
                    (json_int_t) s->chunks, "used_bytes",
                    (json_int_t) s->used_bytes, "store_bytes",
                    (json_int_t) s->store_bytes, "metadata_bytes",
                    (json_int_t) s->metadata_bytes, "store",
                    s->is_transient ? "transient" : "persistent", "origin",
                    s->origin, "clients", (int) s->clients);
}

json_t *
control_snapshots_json (const struct volume_status *status)
{
  json_t *all = json_array ();
  unsigned i;

  for (i = 0; i < status->snapshot_count; ++i)
    if (json_array_append_new (all, snapshot_json (&status->snapshots[i])) ==
        -1) {
      json_decref (all);
      return NULL;
    }
  return all;
}

json_t *
control_scrub_json (const struct volume_status *status)
{
  return json_pack ("{s:s, s:I, s:I, s:I, s:I}", "state",
                    status->scrub.is_running ? "running" : "idle", "done_bytes",
                    (json_int_t) status->scrub.done_bytes, "total_bytes",
                    (json_int_t) status->scrub.total_bytes, "mismatches",
                    (json_int_t) status->scrub.mismatches, "repaired",
                    (json_int_t) status->scrub.repaired);
}

static json_t *
volume_json (const struct volume_status *status)
{
  return json_pack ("{s:I, s:s, s:I, s:o, s:b, s:b}", "size",
                    (json_int_t) status->size_bytes, "state",
                    volume_state_name (status->state), "generation",
                    (json_int_t) status->generation, "meta",
                    control_text_json (status->meta), "read_only",
                    (int) status->is_read_only, "started",
                    (int) status->is_started);
}

static json_t *
legs_json (const struct volume_status *status)
{
  json_t *legs = json_array ();
  unsigned i;

  for (i = 0; i < status->leg_count; ++i)
    (void) json_array_append_new (legs, leg_json (&status->legs[i]));
  return legs;
}

static json_t *
regions_json (const struct volume_status *status)
{
  return json_pack ("{s:I, s:I, s:I, s:I}", "size",
                    (json_int_t) status->region_bytes, "total",
                    (json_int_t) status->regions_total, "insync",
                    (json_int_t) status->regions_in_sync, "dirty",
                    (json_int_t) status->log.dirty);
}

static json_t *
resync_json (const struct volume_status *status)
{
  return json_pack ("{s:s, s:b, s:I, s:I, s:I, s:o}", "state",
                    resync_state_name (status->resync), "paused",
                    (int) status->is_resync_paused, "done_bytes",
                    (json_int_t) status->resync_done_bytes, "total_bytes",
                    (json_int_t) status->resync_total_bytes, "rate",
                    (json_int_t) status->resync_rate, "eta_seconds",
                    status->has_eta
                      ? json_integer ((json_int_t) status->eta_seconds)
                      : json_null ());
}

json_t *
control_status_json (const struct volume_status *status)
{
  return json_pack (
    "{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:s, s:b}, s:{s:s, s:i}}",
    "version", 1, "volume", volume_json (status), "legs", legs_json (status),
    "regions", regions_json (status), "resync", resync_json (status), "scrub",
    control_scrub_json (status), "snapshots", control_snapshots_json (status),
    "log", "type", status->log.type, "lost", (int) status->log_is_lost,
    "server", "version", PACKAGE_VERSION, "pid", (int) getpid ());
}

/*----- events ----------------------------------------------------------*/

static void
add_text (json_t *params, const char *key, const char *text)
{
  if (text[0] != '\0')
    (void) json_object_set_new (params, key, control_text_json (text));
}

static void
add_number (json_t *params, const char *key, uint64_t number)
{
  (void) json_object_set_new (params, key, json_integer ((json_int_t) number));
}

char *
control_event_line (const struct event *event)
{
  char time[CLOCK_RFC3339_BYTES];
  json_t *params;

  clock_format_rfc3339 (event->wall_seconds, time);
  params = json_pack ("{s:I, s:s, s:s}", "number", (json_int_t) event->number,
                      "time", time, "type", event_type_name (event->type));
  if (event->has_leg) {
    add_number (params, "leg", event->leg);
    add_text (params, "spec", event->name);
  }
  else
    add_text (params, "name", event->name);
  add_text (params, "new_name", event->new_name);
  add_text (params, "state", event->state);
  add_text (params, "was", event->was);
  add_text (params, "reason", event->reason);
  if (event->job != 0)
    add_number (params, "job", event->job);
  if (event->has_bytes) {
    add_number (params, "done_bytes", event->done_bytes);
    add_number (params, "total_bytes", event->total_bytes);
  }
  return rpc_notification ("event", params);
}

char *
control_overflow_line (uint64_t lost, uint64_t next)
{
  return rpc_notification ("event",
                           json_pack ("{s:s, s:I, s:I}", "type", "overflow",
                                      "lost", (json_int_t) lost, "next",
                                      (json_int_t) next));
}
