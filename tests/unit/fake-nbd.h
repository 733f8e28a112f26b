/* An NBD server in the test's own process, which misbehaves as told.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * It listens on a Unix socket, keeps its disk in memory, and serves each
 * connection by a thread of its own, one request after the other.  All
 * functions are thread-safe; what cannot be had ends the program.
 */

#ifndef DMIO_FAKE_NBD_H
#define DMIO_FAKE_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fake_nbd;

/* Commands, and masks of them. */
#define FAKE_READ (1U << 0)
#define FAKE_WRITE (1U << 1)
#define FAKE_DISC (1U << 2)
#define FAKE_FLUSH (1U << 3)
#define FAKE_TRIM (1U << 4)
#define FAKE_ZERO (1U << 6)
#define FAKE_BLOCK_STATUS (1U << 7)

/* Transmission flags. */
#define FAKE_READ_ONLY (1U << 1)
#define FAKE_HAS_FLUSH (1U << 2)
#define FAKE_HAS_FUA (1U << 3)
#define FAKE_HAS_TRIM (1U << 5)
#define FAKE_HAS_ZERO (1U << 6)
#define FAKE_MULTI_CONN (1U << 8)
#define FAKE_HAS_FAST_ZERO (1U << 11)

/* Flags of a command. */
#define FAKE_CMD_FUA (1U << 0)
#define FAKE_CMD_NO_HOLE (1U << 1)
#define FAKE_CMD_FAST (1U << 4)

struct fake_request {
  unsigned op;    /* one of the above */
  unsigned flags; /* FAKE_CMD_... */
  uint64_t cookie;
  uint64_t offset;
  uint32_t length;
};

enum fake_verdict {
  FAKE_NORMAL,  /* do it */
  FAKE_HANDLED, /* it has been answered, or will not be */
  FAKE_HANG_UP, /* close the connection */
};

/* Called for each request, after its payload has been read. */
typedef enum fake_verdict (*fake_hook) (void *context, int fd,
                                        const struct fake_request *request);

struct fake_extent {
  uint32_t length;
  uint32_t flags; /* 1 hole, 2 zero */
};

/* How a server is; may be changed for connections to come. */
struct fake_options {
  uint64_t bytes;      /* of the disk, and what is told, but for TOLD_BYTES */
  uint64_t told_bytes; /* 0: BYTES */
  unsigned flags;      /* FAKE_HAS_... */
  uint32_t block_bytes, preferred_bytes, max_bytes; /* 0: not told */
  bool is_plain;                                    /* no structured replies */
  bool has_contexts;                                /* base:allocation */
  size_t handshake_cut;     /* hang up after so many bytes sent, 0: never */
  bool is_mute;             /* accept, and say nothing */
  bool leaves;              /* hang up right after the handshake */
  unsigned connections_max; /* hang up on more at once; 0: no limit */
  fake_hook hook;
  void *context;
  const struct fake_extent *extents; /* the answer to each block status */
  unsigned extent_count;
};

struct fake_nbd *fake_nbd_create (const struct fake_options *options);
void fake_nbd_destroy (struct fake_nbd *fake);

/* Its URI, and its disk. */
const char *fake_nbd_uri (const struct fake_nbd *fake);
unsigned char *fake_nbd_disk (struct fake_nbd *fake);

void fake_nbd_set_options (struct fake_nbd *fake,
                           const struct fake_options *options);

/* Requests of OPS (a mask) get this error of the protocol (0: none). */
void fake_nbd_set_error (struct fake_nbd *fake, unsigned ops, uint32_t error);

/* From now on requests of OPS wait, before they are done, and with them all
 * that come behind on the same connection; 0: all go on.
 */
void fake_nbd_hold (struct fake_nbd *fake, unsigned ops);
/* Wait until N are waiting at once. */
void fake_nbd_wait_held (struct fake_nbd *fake, unsigned n);

/* Requests of OPS so far, with all FLAGS. */
unsigned fake_nbd_count (struct fake_nbd *fake, unsigned ops, unsigned flags);
/* The longest of them. */
uint32_t fake_nbd_longest (struct fake_nbd *fake, unsigned ops);

/* Requests that were not of whole blocks as was told. */
unsigned fake_nbd_unaligned (struct fake_nbd *fake);

/* Connections that are open now, and that ever were; wait for a number of
 * open ones.
 */
unsigned fake_nbd_connections (struct fake_nbd *fake);
unsigned fake_nbd_connections_ever (struct fake_nbd *fake);
void fake_nbd_wait_connections (struct fake_nbd *fake, unsigned n);

/* Hang up on all connections. */
void fake_nbd_hang_up (struct fake_nbd *fake);

/* Send all of it, or nothing is known; for hooks. */
void fake_send (int fd, const void *data, size_t length);
/* A simple answer. */
void fake_answer (int fd, uint64_t cookie, uint32_t error);
/* The head of a structured one. */
void fake_chunk (int fd, uint64_t cookie, unsigned flags, unsigned type,
                 uint32_t length);

#endif /* DMIO_FAKE_NBD_H */
