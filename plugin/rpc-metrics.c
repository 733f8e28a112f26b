/* The volume's numbers as Prometheus reads them.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Text format 0.0.4: of each metric its help, its type, and all its samples
 * together.  Names begin with dmnbd_, values are in base units (bytes,
 * seconds), counters end with _total, a state is 1 of the values that it can
 * have, and 0 of the others.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "control-impl.h"

/* A text that grows. */
struct text {
  FILE *out;
  char *buffer;
  size_t length;
};

static void
begin (struct text *t, const char *name, const char *type, const char *help)
{
  fprintf (t->out, "# HELP dmnbd_%s %s\n# TYPE dmnbd_%s %s\n", name, help, name,
           type);
}

/* One sample of NAME; the labels, if there are any, in braces. */
static void sample (struct text *t, const char *name, uint64_t value,
                    const char *labels, ...)
  __attribute__ ((format (printf, 4, 5)));

static void
sample (struct text *t, const char *name, uint64_t value, const char *labels,
        ...)
{
  va_list args;

  fprintf (t->out, "dmnbd_%s", name);
  va_start (args, labels);
  (void) vfprintf (t->out, labels, args);
  va_end (args);
  fprintf (t->out, " %" PRIu64 "\n", value);
}

/* A metric of one sample. */
static void
single (struct text *t, const char *name, const char *type, const char *help,
        uint64_t value)
{
  begin (t, name, type, help);
  sample (t, name, value, "%s", "");
}

/* The value of a label: what would end it is escaped. */
#define LABEL_BYTES 1024
static const char *
label (const char *text, char buffer[LABEL_BYTES])
{
  size_t n = 0;

  for (; *text != '\0' && n < LABEL_BYTES - 3; ++text) {
    if (*text == '\\' || *text == '"' || *text == '\n')
      buffer[n++] = '\\';
    buffer[n++] = *text == '\n' ? 'n' : *text;
  }
  buffer[n] = '\0';
  return buffer;
}

/*----- requests --------------------------------------------------------*/

/* A histogram: the samples of metric NAME with LABELS, which are not none. */
static void
put_histogram (struct text *t, const char *name, const char *labels,
               const struct latency_counts *counts)
{
  char part[64];
  uint64_t so_far = 0;
  unsigned i;

  (void) snprintf (part, sizeof part, "%s_bucket", name);

  for (i = 0; i < LATENCY_BUCKETS; ++i) {
    char bound[32] = "+Inf";

    so_far += counts->buckets[i];
    if (i < LATENCY_BUCKETS - 1)
      (void) snprintf (bound, sizeof bound, "%.9g",
                       (double) (LATENCY_FIRST_NS << i) / NS_PER_SECOND);
    sample (t, part, so_far, "{%s,le=\"%s\"}", labels, bound);
  }
  fprintf (t->out, "dmnbd_%s_sum{%s} %.9f\n", name, labels,
           (double) counts->sum_ns / NS_PER_SECOND);
  (void) snprintf (part, sizeof part, "%s_count", name);
  sample (t, part, so_far, "{%s}", labels);
}

/*----- the volume ------------------------------------------------------*/

static void
put_volume (struct text *t, const struct control *c,
            const struct volume_status *status)
{
  unsigned i;

  begin (t, "build_info", "gauge", "Always 1; the version of the server.");
  sample (t, "build_info", 1, "{version=\"%s\"}", PACKAGE_VERSION);
  single (t, "start_time_seconds", "gauge",
          "When the server was started, in seconds since 1970.",
          (uint64_t) c->started_seconds);
  single (t, "volume_size_bytes", "gauge", "The size of the volume.",
          status->size_bytes);
  begin (t, "volume_state", "gauge", "1 for the state that the volume is in.");
  for (i = VOLUME_HEALTHY; i <= VOLUME_FAILED; ++i)
    sample (t, "volume_state", status->state == i, "{state=\"%s\"}",
            volume_state_name ((enum volume_state) i));
  single (t, "volume_read_only", "gauge", "1 if nothing can be written.",
          status->is_read_only);
  single (t, "volume_generation", "gauge",
          "How often the volume has been made ready for writes.",
          status->generation);
  single (t, "regions", "gauge", "The regions of the volume.",
          status->regions_total);
  single (t, "regions_in_sync", "gauge",
          "Those that no leg lacks anything of, in use or out.",
          status->regions_in_sync);
  single (t, "regions_dirty", "gauge",
          "Those that a crash now would have copied again.", status->log.dirty);
  single (t, "region_size_bytes", "gauge", "The size of a region.",
          status->region_bytes);
}

/*----- legs ------------------------------------------------------------*/

/* One metric of each leg: the number at OFFSET of its status. */
static void
put_legs (struct text *t, const struct volume_status *status, const char *name,
          const char *help, size_t offset)
{
  unsigned i;

  begin (t, name, "counter", help);
  for (i = 0; i < status->leg_count; ++i) {
    uint64_t value;

    memcpy (&value, (const char *) &status->legs[i] + offset, sizeof value);
    sample (t, name, value, "{leg=\"%u\"}", status->legs[i].index);
  }
}

#define PUT_LEGS(t, status, name, help, member) \
  put_legs ((t), (status), (name), (help), \
            offsetof (struct volume_leg_status, member))

static void
put_leg_states (struct text *t, const struct volume_status *status)
{
  static const enum leg_state states[] = { LEG_IN_SYNC, LEG_RECOVERING,
                                           LEG_FAILED, LEG_MISSING };
  char spec[LABEL_BYTES];
  unsigned i, j;

  begin (t, "leg_info", "gauge", "Always 1; what the leg is.");
  for (i = 0; i < status->leg_count; ++i)
    sample (t, "leg_info", 1, "{leg=\"%u\",spec=\"%s\",write_mostly=\"%s\"}",
            status->legs[i].index, label (status->legs[i].spec, spec),
            status->legs[i].is_write_mostly ? "true" : "false");
  begin (t, "leg_state", "gauge", "1 for the state that the leg is in.");
  for (i = 0; i < status->leg_count; ++i)
    for (j = 0; j < ARRAY_COUNT (states); ++j)
      sample (t, "leg_state", status->legs[i].state == states[j],
              "{leg=\"%u\",state=\"%s\"}", status->legs[i].index,
              leg_state_name (states[j]));
  begin (t, "leg_name_lost", "gauge",
         "1 if the leg is in use, but its name leads elsewhere.");
  for (i = 0; i < status->leg_count; ++i)
    sample (t, "leg_name_lost", status->legs[i].has_lost_name, "{leg=\"%u\"}",
            status->legs[i].index);
}

static void
put_leg_counters (struct text *t, const struct volume_status *status)
{
  unsigned i;

  PUT_LEGS (t, status, "leg_reads_total", "Reads of the leg.", reads);
  PUT_LEGS (t, status, "leg_writes_total", "Writes to the leg.", writes);
  PUT_LEGS (t, status, "leg_read_bytes_total", "Bytes read from the leg.",
            read_bytes);
  PUT_LEGS (t, status, "leg_written_bytes_total", "Bytes written to the leg.",
            write_bytes);
  begin (t, "leg_errors_total", "counter", "Requests that the leg has failed.");
  for (i = 0; i < status->leg_count; ++i) {
    sample (t, "leg_errors_total", status->legs[i].read_errors,
            "{leg=\"%u\",op=\"read\"}", status->legs[i].index);
    sample (t, "leg_errors_total", status->legs[i].write_errors,
            "{leg=\"%u\",op=\"write\"}", status->legs[i].index);
    sample (t, "leg_errors_total", status->legs[i].flush_errors,
            "{leg=\"%u\",op=\"flush\"}", status->legs[i].index);
  }
}

static void
put_leg_latencies (struct text *t, struct control *c,
                   const struct volume_status *status)
{
  struct latency_counts counts;
  char labels[64];
  unsigned i, op;

  begin (t, "leg_duration_seconds", "histogram",
         "How long operations took on the leg, copies among them.");
  for (i = 0; i < status->leg_count; ++i)
    for (op = 0; op < LATENCY_OPS; ++op) {
      if (!volume_get_leg_latency (c->volume, status->legs[i].index,
                                   (enum latency_op) op, &counts))
        continue;
      (void) snprintf (labels, sizeof labels, "leg=\"%u\",op=\"%s\"",
                       status->legs[i].index,
                       latency_op_name ((enum latency_op) op));
      put_histogram (t, "leg_duration_seconds", labels, &counts);
    }
}

/*----- the background --------------------------------------------------*/

static void
put_resync (struct text *t, const struct volume_status *status)
{
  unsigned i;

  begin (t, "resync_state", "gauge", "1 for the state that the resync is in.");
  for (i = RESYNC_IDLE; i <= RESYNC_PAUSED; ++i)
    sample (t, "resync_state", status->resync == i, "{state=\"%s\"}",
            resync_state_name ((enum resync_state) i));
  single (t, "resync_done_bytes", "gauge",
          "What the last resync has copied so far.", status->resync_done_bytes);
  single (t, "resync_size_bytes", "gauge", "What it has to copy in all.",
          status->resync_total_bytes);
}

static void
put_log (struct text *t, const struct volume_status *status)
{
  single (t, "log_lost", "gauge", "1 if the dirty log cannot be written.",
          status->log_is_lost);
  single (t, "log_writes_total", "counter", "Writes to the dirty log.",
          status->log.writes);
  single (t, "log_flushes_total", "counter", "Flushes of the dirty log.",
          status->log.flushes);
}

static void
put_scrub (struct text *t, const struct volume_status *status)
{
  single (t, "scrub_running", "gauge", "1 while a scrub compares the legs.",
          status->scrub.is_running);
  single (t, "scrub_done_bytes", "gauge",
          "What the last scrub has compared so far.", status->scrub.done_bytes);
  single (t, "scrub_mismatched_sectors", "gauge",
          "Sectors in which it has found legs to differ.",
          status->scrub.mismatches);
  single (t, "scrub_repaired_sectors", "gauge",
          "Copies of sectors that it has rewritten.", status->scrub.repaired);
}

static void
put_pace (struct text *t, const struct volume_status *status)
{
  single (t, "background_bytes_total", "counter",
          "What the background has copied, moved and compared.",
          status->background.bytes);
  single (t, "background_rests_total", "counter",
          "Rests that it has taken because clients were busy.",
          status->background.rests);
}

/*----- snapshots -------------------------------------------------------*/

static void
put_snapshot_numbers (struct text *t, const struct volume_status *status,
                      const char *name, const char *help, size_t offset)
{
  unsigned i;

  begin (t, name, "gauge", help);
  for (i = 0; i < status->snapshot_count; ++i) {
    uint64_t value;

    memcpy (&value, (const char *) &status->snapshots[i] + offset,
            sizeof value);
    sample (t, name, value, "{snapshot=\"%s\"}", status->snapshots[i].name);
  }
}

#define PUT_SNAPSHOTS(t, status, name, help, member) \
  put_snapshot_numbers ((t), (status), (name), (help), \
                        offsetof (struct volume_snapshot_status, member))

static void
put_snapshots (struct text *t, const struct volume_status *status)
{
  static const char *const states[] = { "valid", "overflow", "merging",
                                        "removing", "invalid" };
  unsigned i, j;

  single (t, "snapshots", "gauge", "How many snapshots there are.",
          status->snapshot_count);
  if (status->snapshot_count == 0)
    return;
  begin (t, "snapshot_state", "gauge",
         "1 for the state that the snapshot is in.");
  for (i = 0; i < status->snapshot_count; ++i)
    for (j = 0; j < ARRAY_COUNT (states); ++j)
      sample (t, "snapshot_state",
              strcmp (status->snapshots[i].state, states[j]) == 0,
              "{snapshot=\"%s\",state=\"%s\"}", status->snapshots[i].name,
              states[j]);
  PUT_SNAPSHOTS (t, status, "snapshot_used_bytes",
                 "How full the snapshot's store is.", used_bytes);
  PUT_SNAPSHOTS (t, status, "snapshot_store_bytes",
                 "The size of the snapshot's store.", store_bytes);
  PUT_SNAPSHOTS (t, status, "snapshot_chunks", "Chunks in the store.", chunks);
  PUT_SNAPSHOTS (t, status, "snapshot_chunk_size_bytes", "The unit of copying.",
                 chunk_bytes);
}

/*----- requests ------------------------------------------------------*/

static void
put_requests (struct text *t, struct control *c)
{
  struct latency_counts counts;
  char labels[64];
  unsigned i;

  begin (t, "request_duration_seconds", "histogram",
         "How long requests of clients took, of all exports.");
  for (i = 0; i < LATENCY_OPS; ++i) {
    latency_get (c->latency, (enum latency_op) i, &counts);
    (void) snprintf (labels, sizeof labels, "op=\"%s\"",
                     latency_op_name ((enum latency_op) i));
    put_histogram (t, "request_duration_seconds", labels, &counts);
  }
}

/*----- the control socket ----------------------------------------------*/

static void
put_control (struct text *t, struct control *c)
{
  uint64_t counts[EVENT_TYPES];
  struct line_server_counts clients;
  unsigned i;

  events_get_counts (c->events, counts);
  begin (t, "events_total", "counter", "Changes of state, by their type.");
  for (i = 0; i < EVENT_TYPES; ++i)
    sample (t, "events_total", counts[i], "{type=\"%s\"}",
            event_type_name ((enum event_type) i));
  line_server_get_counts (c->server, &clients);
  single (t, "control_clients", "gauge",
          "Clients of the control socket that are connected.", clients.clients);
  begin (t, "control_connections_total", "counter",
         "Clients that were let in, turned away, or dropped later.");
  sample (t, "control_connections_total", clients.accepted,
          "{result=\"accepted\"}");
  sample (t, "control_connections_total", clients.refused,
          "{result=\"refused\"}");
  sample (t, "control_connections_total", clients.dropped,
          "{result=\"dropped\"}");
}

int
call_metrics (void *context, const json_t *params, struct rpc_result *result)
{
  const struct control_call *call = context;
  struct control *c = call->control;
  struct text t = { .buffer = NULL };
  struct volume_status status;
  int r = volume_get_status (c->volume, &status);

  (void) params;
  if (r < 0)
    return r;
  t.out = open_memstream (&t.buffer, &t.length);
  if (t.out == NULL) {
    volume_status_free (&status);
    return -ENOMEM;
  }
  put_volume (&t, c, &status);
  put_leg_states (&t, &status);
  put_leg_counters (&t, &status);
  put_leg_latencies (&t, c, &status);
  put_resync (&t, &status);
  put_log (&t, &status);
  put_scrub (&t, &status);
  put_pace (&t, &status);
  put_snapshots (&t, &status);
  put_requests (&t, c);
  put_control (&t, c);
  volume_status_free (&status);
  /* What could not be written is no memory, and told here. */
  r = ferror (t.out) ? -ENOMEM : 0;
  if (fclose (t.out) == EOF)
    r = -ENOMEM;
  if (r == 0)
    result->value = json_pack ("{s:s, s:o}", "format",
                               "text/plain; version=0.0.4", "text",
                               control_text_json (t.buffer));
  free (t.buffer);
  return r;
}
