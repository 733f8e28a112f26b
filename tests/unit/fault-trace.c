/* The order of the calls of several disks, and the power of all of them.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "fault-bdev-impl.h"

struct fault_trace {
  struct mutex lock;
  struct fault_event *events;
  size_t count;
  size_t capacity;

  /* The power is cut when so many more events of these kinds have been. */
  bool is_armed;
  bool is_cut;
  unsigned cut_ops;
  unsigned cut_left;

  unsigned disks;
};

struct fault_trace *
fault_trace_create (void)
{
  struct fault_trace *trace = fault_allocate (sizeof *trace);

  mutex_init (&trace->lock);
  return trace;
}

void
fault_trace_destroy (struct fault_trace *trace)
{
  if (trace == NULL)
    return;
  if (trace->disks > 0)
    fault_die ("a trace is destroyed before %u of its disks", trace->disks);
  mutex_destroy (&trace->lock);
  free (trace->events);
  free (trace);
}

size_t
fault_trace_count (struct fault_trace *trace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  return trace->count;
}

struct fault_event
fault_trace_event (struct fault_trace *trace, size_t i)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  if (i >= trace->count)
    fault_die ("event %zu of %zu", i, trace->count);
  return trace->events[i];
}

void
fault_trace_reset (struct fault_trace *trace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  trace->count = 0;
}

void
fault_trace_cut_power (struct fault_trace *trace, unsigned ops, unsigned n)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  trace->is_armed = true;
  trace->is_cut = false;
  trace->cut_ops = ops;
  trace->cut_left = n;
}

bool
fault_trace_power_is_cut (struct fault_trace *trace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  return trace->is_cut;
}

void
fault_trace_power_on (struct fault_trace *trace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  trace->is_armed = trace->is_cut = false;
}

void
fault_trace_add_disk (struct fault_trace *trace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  trace->disks++;
}

void
fault_trace_remove_disk (struct fault_trace *trace)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  trace->disks--;
}

static void
append_event_locked (struct fault_trace *trace, const struct fault_event *event)
{
  if (trace->count == trace->capacity) {
    size_t capacity = MAX_OF (2 * trace->capacity, 64);
    struct fault_event *events = fault_allocate (capacity * sizeof *events);

    if (trace->count > 0)
      memcpy (events, trace->events, trace->count * sizeof *events);
    free (trace->events);
    trace->events = events;
    trace->capacity = capacity;
  }
  trace->events[trace->count++] = *event;
}

void
fault_trace_note (struct fault_trace *trace, const struct fault_event *event)
{
  if (trace == NULL)
    return;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  append_event_locked (trace, event);
}

int
fault_trace_record (struct fault_trace *trace, const struct fault_event *event)
{
  if (trace == NULL)
    return event->error;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  if (trace->is_armed && !trace->is_cut && (event->op & trace->cut_ops)) {
    if (trace->cut_left == 0)
      trace->is_cut = true;
    else
      trace->cut_left--;
  }
  if (trace->is_cut &&
      (event->op != FAULT_READ || (trace->cut_ops & FAULT_READ)))
    return -EIO;
  append_event_locked (trace, event);
  return event->error;
}
/*----- traces as text --------------------------------------------------*/

static void
print_event (FILE *out, const struct fault_event *e)
{
  static const char *const names[FAULT_OP_KINDS] = {
    "read", "write", "flush", "discard", "zero",
  };

  fprintf (out, "%s %s%s", e->disk->name,
           e->op & FAULT_BEGIN ? "begin-"
           : e->op & FAULT_END ? "end-"
                               : "",
           names[log2_of (e->op & FAULT_ALL)]);
  if (!(e->op & FAULT_FLUSH))
    fprintf (out, " %llu+%llu", (unsigned long long) e->sector,
             (unsigned long long) e->count);
  if (e->flags & BDEV_FUA)
    fputs (" fua", out);
  if (e->flags & BDEV_UNMAP)
    fputs (" unmap", out);
  if (e->flags & BDEV_FAST)
    fputs (" fast", out);
  if (e->more)
    fputs (" more", out);
  if (e->error != 0)
    fprintf (out, " %d", e->error);
}

/* Begins and ends only if they are asked for, too. */
static bool
is_wanted (const struct fault_event *e, unsigned ops)
{
  unsigned step = e->op & (FAULT_BEGIN | FAULT_END);

  return (e->op & ops & FAULT_ALL) != 0 && (step & ~ops) == 0;
}

char *
fault_trace_text (struct fault_trace *trace, unsigned ops)
{
  const char *separator = "";
  char *text = NULL;
  size_t bytes, i;
  FILE *out = open_memstream (&text, &bytes);

  if (out == NULL)
    fault_die ("no memory");

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&trace->lock);

  for (i = 0; i < trace->count; ++i) {
    const struct fault_event *e = &trace->events[i];

    if (!is_wanted (e, ops))
      continue;
    fputs (separator, out);
    print_event (out, e);
    separator = ", ";
  }
  if (fclose (out) != 0)
    fault_die ("no memory");
  return text;
}
