/* A client: requests on one export, one after the other, by chance.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_CLIENT_H
#define SIM_CLIENT_H

#include <stdbool.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "model.h"

struct fiber;

/* What clients of one life share. */
struct client_world {
  const struct nbdkit_plugin *plugin;
  unsigned units;         /* of each device */
  unsigned requests_left; /* of all clients */
  unsigned longest;       /* request, in units */
  unsigned flush_one_in;
  unsigned zero_one_in;
  unsigned read_one_in;
  unsigned fua_one_in;
  unsigned unaligned_one_in;
  unsigned extents_one_in;
  unsigned hot_units; /* most requests go to the first so many; 0: none */
  bool is_read_only;  /* none may write, as with nbdkit -r */
  bool has_started;   /* some client may write */
  bool has_ended;     /* the machine has crashed: no reply counts */

  /* The world's opinion of a request that failed. */
  bool (*may_fail) (const struct model_op *op, int error);
};

struct client {
  struct client_world *world;
  struct model_device *device;
  struct fiber *fiber;
};

void client_start (struct client *client);
void client_join (struct client *client);

/* One request, by the caller: on the handle that client_open has returned,
 * which is NULL if the plugin refused.
 */
void *client_open (struct client_world *world,
                   const struct model_device *device);
void client_request (struct client_world *world, void *handle,
                     struct model_op *op);
void client_close (struct client_world *world, void *handle);

/* Read all of DEVICE, in large pieces, and check it. */
void client_read_all (struct client_world *world, struct model_device *device);

/* Ask where DEVICE has holes, by HANDLE, and check that as a read of it. */
void client_check_extents (struct client_world *world, void *handle,
                           struct model_device *device);

/* Ask which of the UNITS of a handle's device are holes.  Returns 0 or a
 * negative errno.
 */
int client_ask_extents (const struct client_world *world, void *handle,
                        unsigned units, bool *is_hole);

/* Ask for all that is different in NEWER since OLDER, and check it. */
void client_check_diff (struct client_world *world, struct model_device *older,
                        struct model_device *newer);

#endif /* SIM_CLIENT_H */
