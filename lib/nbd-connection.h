/* One connection to an NBD server.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What has been sent over a connection that has failed may still reach the
 * server's disk.  So a connection that has failed is not gone: it is
 * *drained*, and only then can it be opened again.
 */

#ifndef DMIO_NBD_CONNECTION_H
#define DMIO_NBD_CONNECTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "nbd-command.h"
#include "nbd-handshake.h"

/* What the connections to one server share; their owner's. */
struct nbd_server {
  const char *uri;
  const char *name; /* of it, in messages */
  uint64_t timeout_ns;

  /* 0, or the negative errno with which all connections have failed.  The
   * one that fails first sets it, and then calls FAILED, which calls
   * nbd_connection_fail for all.
   */
  atomic_int error;
  void (*failed) (struct nbd_server *server);
};

struct nbd_connection;

/* Make one that is not connected.  SERVER must outlive it.  Returns 0,
 * -ENOMEM, or the error of want of descriptors.
 */
int nbd_connection_create (struct nbd_server *server,
                           struct nbd_connection **connection);

/* Free it, at once, whatever its state.  Nobody uses it any more.  NULL is
 * ignored.
 */
void nbd_connection_destroy (struct nbd_connection *connection);

/* Connect one that is not connected, within the server's time-out.  Starts
 * no thread, so it may be done before a fork; the first command starts it.
 * Returns 0 or a negative errno, and then has said why.
 */
int nbd_connection_open (struct nbd_connection *connection,
                         struct nbd_export *export);

/* Close one that is connected, and has sent nothing. */
void nbd_connection_close (struct nbd_connection *connection);

/* Send COMMAND, without waiting.  COMMAND->done is called, by this thread or
 * another one, with 0 or a negative errno; after the connection has failed
 * with that of the server.
 */
void nbd_connection_submit (struct nbd_connection *connection,
                            struct nbd_command *command);

/* The server has failed (SERVER->error is set): fail too, soon.  Never
 * blocks.
 */
void nbd_connection_fail (struct nbd_connection *connection);

/* Wait until it is not connected and nothing that it has sent can reach the
 * server's disk any more, at most until DEADLINE_NS.  SERVER->error is set.
 * Returns 0 or -EBUSY.
 */
int nbd_connection_drain (struct nbd_connection *connection,
                          uint64_t deadline_ns);

/* The same, without caring for what it has sent. */
void nbd_connection_abandon (struct nbd_connection *connection);

#endif /* DMIO_NBD_CONNECTION_H */
