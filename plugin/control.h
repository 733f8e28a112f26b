/* The control socket: who runs the volume sees it and steers it here.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * JSON-RPC 2.0, one object a line.  A thread of its own answers what can be
 * answered at once, another does what may take long; neither is ever waited
 * for by a request of an NBD client.
 */

#ifndef DM_CONTROL_H
#define DM_CONTROL_H

#include "latency.h"
#include "volume.h"

struct control;

/* Will there be a socket at PATH?  Changes nothing; says what is wrong to the
 * log.  Errors: those of line_server_check.
 */
int control_check (const char *path);

/* Make the socket of VOLUME, whose requests are counted in LATENCY; both
 * outlive it.  What is wrong is said to the
 * log.  Starts no thread, so it may come before a fork.
 */
int control_create (const char *path, struct volume *volume,
                    struct latency *latency, struct control **control);

/* Begin to answer.  Returns 0 or -EAGAIN. */
int control_start (struct control *control);

/* Finish what is being done, say good-bye, and answer no more.  Comes before
 * volume_stop.  NULL is ignored.
 */
void control_stop (struct control *control);

/* Close it, and remove the socket.  NULL is ignored. */
void control_destroy (struct control *control);

#endif /* DM_CONTROL_H */
