/* One request to an NBD server.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A command owns the memory that it sends or receives, because libnbd may
 * use it long after its caller has been told of a failure.
 */

#ifndef DMIO_NBD_COMMAND_H
#define DMIO_NBD_COMMAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"

struct nbd_handle;

enum nbd_command_op {
  NBD_COMMAND_READ,
  NBD_COMMAND_WRITE,
  NBD_COMMAND_FLUSH,
  NBD_COMMAND_ZERO,
  NBD_COMMAND_BLOCK_STATUS,
};

/* Flags, if the server offers them. */
#define NBD_COMMAND_FUA (1U << 0)
#define NBD_COMMAND_NO_HOLE (1U << 1)
#define NBD_COMMAND_FAST (1U << 2)

struct nbd_command {
  enum nbd_command_op op;
  unsigned flags;
  uint64_t offset;
  uint64_t length;
  void *data; /* of reads and writes; goes with the command */

  /* Called once, after an answer or without one, with 0 or a negative
   * errno.  It must not block, nor call the connection.
   */
  void (*done) (struct nbd_command *command, int error);
  void *owner;

  /* The answer to NBD_COMMAND_BLOCK_STATUS. */
  uint64_t extent_length;
  bool extent_is_hole;

  /* For the connection that it was given to. */
  struct list link;      /* among those not answered, or answered */
  struct list *answered; /* where to go when there is an answer */
  int answer;
  uint64_t begun_ns;
  bool is_done;

  /* For its owner, after it is done. */
  struct list done_link;

  /* Inside. */
  atomic_uint references;
  uint64_t read_bytes;     /* received so far */
  unsigned char *read_map; /* bit i: byte i has been; NULL: all in order */
  int read_error;          /* there is no telling what has been received */
};

/* A command with DATA_BYTES of memory, all else 0; one reference is the
 * caller's.  NULL: no memory.
 */
struct nbd_command *nbd_command_create (size_t data_bytes);
void nbd_command_get (struct nbd_command *command);
void nbd_command_put (struct nbd_command *command);

/* Does it change what is on the server's disk? */
bool nbd_command_is_change (const struct nbd_command *command);

/* Give it to libnbd, which has a reference until it has forgotten it.  Its
 * answer moves it to its list `answered', with a reference of its own; this
 * may happen during any call of libnbd with NBD.  Returns 0, or a negative
 * errno, and then there will be no answer.
 */
int nbd_command_issue (struct nbd_command *command, struct nbd_handle *nbd);

#endif /* DMIO_NBD_COMMAND_H */
