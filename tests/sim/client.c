/* A client: requests on one export, one after the other, by chance.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "client.h"
#include "nbdkit-sim.h"
#include "sim.h"

static const char *const kind_names[] = { "read", "write", "flush", "zero",
                                          "trim" };

/* Ask the plugin.  Returns 0 or a negative errno. */
static int
call_plugin (const struct client_world *w, void *handle,
             const struct model_op *op, void *data)
{
  const struct nbdkit_plugin *p = w->plugin;
  uint32_t bytes = op->count * MODEL_UNIT_BYTES;
  uint64_t offset = (uint64_t) op->unit * MODEL_UNIT_BYTES;
  uint32_t flags = op->is_durable ? NBDKIT_FLAG_FUA : 0;
  int r = 0;

  *sim_fiber_errno () = 0;
  switch (op->kind) {
  case MODEL_READ:
    r = p->pread (handle, data, bytes, offset, 0);
    break;
  case MODEL_WRITE:
    r = p->pwrite (handle, data, bytes, offset, flags);
    break;
  case MODEL_FLUSH:
    r = p->flush (handle, 0);
    break;
  case MODEL_ZERO:
    /* One after the other: compilers differ in the order of operands. */
    if (sim_one_in (2))
      flags |= NBDKIT_FLAG_MAY_TRIM;
    if (sim_one_in (3))
      flags |= NBDKIT_FLAG_FAST_ZERO;
    r = p->zero (handle, bytes, offset, flags);
    break;
  case MODEL_TRIM:
    r = p->trim (handle, bytes, offset, flags);
    break;
  }
  if (r == 0)
    return 0;
  return *sim_fiber_errno () != 0 ? -*sim_fiber_errno () : -EIO;
}

void
client_request (struct client_world *w, void *handle, struct model_op *op)
{
  /* Memory of its own, so that who touches it too late is seen. */
  void *data = malloc ((size_t) op->count * MODEL_UNIT_BYTES + 1);
  int r;

  if (data == NULL)
    abort ();
  model_begin (op);
  if (op->kind == MODEL_WRITE)
    model_fill (op, data);
  sim_trace ("%s: %s %u+%u%s, write %u", model_name (op->device),
             kind_names[op->kind], op->unit, op->count,
             op->is_durable ? " fua" : "", (unsigned) op->stamp);
  r = call_plugin (w, handle, op, data);
  if (!w->has_ended) {
    sim_trace ("%s: %s %u+%u: %s", model_name (op->device),
               kind_names[op->kind], op->unit, op->count,
               r == 0 ? "ok" : strerrorname_np (-r));
    if (r < 0 && !w->may_fail (op, r))
      sim_fail ("%s: %s of %u+%u failed without a cause: %s",
                model_name (op->device), kind_names[op->kind], op->unit,
                op->count, strerror (-r));
    model_end (op, r, data);
    sim_event ();
  }
  free (data);
}

static void
choose_range (const struct client_world *w, struct model_op *op)
{
  unsigned all = model_units (op->device), units = all;

  if (w->hot_units > 0 && w->hot_units < units && !sim_one_in (4))
    units = w->hot_units;
  op->count = 1 + sim_below (1 + sim_below (MIN_OF (w->longest, units)));
  op->unit = sim_below (units - op->count + 1);
  if (sim_one_in (w->unaligned_one_in))
    return;
  /* Whole sectors. */
  op->unit &= ~1U;
  op->count = MIN_OF ((op->count + 1) & ~1U, all - op->unit);
}

static void
choose_request (const struct client_world *w, struct model_op *op)
{
  op->is_durable = false;
  if (sim_one_in (w->flush_one_in)) {
    op->kind = MODEL_FLUSH;
    op->unit = op->count = 0;
    return;
  }
  choose_range (w, op);
  if (sim_one_in (w->read_one_in) || w->is_read_only) {
    op->kind = MODEL_READ;
    return;
  }
  op->kind = MODEL_WRITE;
  if (sim_one_in (w->zero_one_in))
    op->kind = sim_one_in (2) ? MODEL_TRIM : MODEL_ZERO;
  op->is_durable = sim_one_in (w->fua_one_in);
}

void *
client_open (struct client_world *w, const struct model_device *device)
{
  void *handle;

  sim_nbdkit_set_export (model_name (device));
  handle = w->plugin->open (w->is_read_only);
  w->has_started |= handle != NULL && !w->has_ended && !w->is_read_only;
  return handle;
}

void
client_close (struct client_world *w, void *handle)
{
  w->plugin->close (handle);
}

static void
client_main (void *arg)
{
  struct client *c = arg;
  struct client_world *w = c->world;
  void *handle = client_open (w, c->device);

  if (handle == NULL) {
    const struct model_op none = { .device = c->device, .kind = MODEL_FLUSH };

    if (!w->has_ended && !w->may_fail (&none, -EIO))
      sim_fail ("%s: cannot be opened", model_name (c->device));
    return;
  }
  while (w->requests_left > 0 && !w->has_ended) {
    struct model_op op = { .device = c->device };

    w->requests_left--;
    if (sim_one_in (w->extents_one_in))
      client_check_extents (w, handle, c->device);
    else {
      choose_request (w, &op);
      client_request (w, handle, &op);
    }
    sim_point ("next request", NULL);
  }
  client_close (w, handle);
}

void
client_start (struct client *client)
{
  client->fiber = sim_fiber_start ("client", client_main, client);
}

void
client_join (struct client *client)
{
  sim_fiber_join (client->fiber);
}

void
client_read_all (struct client_world *w, struct model_device *device)
{
  void *handle = client_open (w, device);
  struct model_op op = { .device = device, .kind = MODEL_READ };
  unsigned units = model_units (device);

  if (handle == NULL)
    return;
  for (op.unit = 0; op.unit < units && !w->has_ended; op.unit += op.count) {
    op.count = MIN_OF (64U, units - op.unit);
    client_request (w, handle, &op);
  }
  client_close (w, handle);
}
