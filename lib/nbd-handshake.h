/* How a connection to an NBD server is made.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_NBD_HANDSHAKE_H
#define DMIO_NBD_HANDSHAKE_H

#include <stdbool.h>
#include <stdint.h>

struct nbd_handle;

/* What a server offers. */
struct nbd_export {
  uint64_t bytes;
  uint64_t block_bytes;     /* the least it takes; 1 if it does not say */
  uint64_t preferred_bytes; /* 0 if it does not say */
  uint64_t max_bytes;       /* the most in one request, payload only */
  bool is_read_only;
  bool has_flush;
  bool has_fua;
  bool has_trim;
  bool has_zero;
  bool has_fast_zero;
  bool has_block_status; /* of base:allocation */
  bool has_multi_conn;   /* a flush covers all connections */
};

/* Connect to URI, called NAME in messages, until DEADLINE_NS, which holds
 * for all steps but the look-up of a host's name.  On success *NBD is ready
 * for commands, and the caller's.  Returns 0 or a negative errno, and then
 * has said why.
 */
int nbd_handshake (const char *uri, const char *name, uint64_t deadline_ns,
                   struct nbd_handle **nbd, struct nbd_export *export);

#endif /* DMIO_NBD_HANDSHAKE_H */
