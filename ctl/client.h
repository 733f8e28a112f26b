/* The connection to a volume's control socket.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMNBD_CLIENT_H
#define DMNBD_CLIENT_H

#include "ctl.h"

/* Connections are taken at once, and methods that only look are answered at
 * once: a server that does neither in so long has stopped.  Who waits for less
 * sets the patience of struct ctl.
 */
#define CLIENT_PATIENCE_MS 30000
#define CLIENT_PATIENCE_MIN_MS 5000

#define CLIENT_NO_LIMIT (-1)

/* Connect, once.  What is wrong is said, with what to do.  NULL: it failed.
 */
struct client *client_get (struct ctl *ctl);
void client_close (struct ctl *ctl);

/* The same, quietly: *ERROR is a negative errno when it fails. */
struct client *client_try (struct ctl *ctl, int *error);

/* Call METHOD with PARAMS (its reference is taken; NULL: none).  The result
 * is the caller's; NULL: it has failed, and that has been said.
 */
json_t *client_call (struct ctl *ctl, const char *method, json_t *params,
                     int timeout_ms);

/* The same of a method that only looks. */
json_t *client_look (struct ctl *ctl, const char *method, json_t *params);

/* The same of the method status: what comes is one, and has the state of a
 * volume.
 */
json_t *client_status (struct ctl *ctl);

/* The next event after events.subscribe, its "params".  Returns 1; 0: none
 * came in time; -1: the server has ended, or has sent nonsense, which has
 * been said.
 */
int client_event (struct ctl *ctl, int timeout_ms, json_t **event);

/* The socket that the server of a volume's folder has, for free().  NULL:
 * there is none, or no memory.
 */
char *client_socket_of (const char *dir);

#endif /* DMNBD_CLIENT_H */
