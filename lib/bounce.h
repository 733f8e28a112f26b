/* Aligned memory for the time of one transfer, which never fails to be had.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * It is allocated each time.  When there is none, a reserve is lent to one
 * after the other: slow, but I/O goes on.
 */

#ifndef DMIO_BOUNCE_H
#define DMIO_BOUNCE_H

#include <stddef.h>

#include "sync.h"

/* What all of it is aligned to. */
#define BOUNCE_ALIGN 4096U

struct bounce {
  struct mutex lock; /* held by who has the reserve */
  void *reserve;
  size_t reserve_bytes;
};

/* Allocate a reserve of RESERVE_BYTES.  Returns 0 or -ENOMEM. */
int bounce_init (struct bounce *bounce, size_t reserve_bytes);
void bounce_destroy (struct bounce *bounce);

/* Get *BYTES bytes, or the reserve: then *BYTES becomes its size, if that is
 * less.  May wait for others who have the reserve; so the I/O for which it
 * is must not wait for them.
 */
void *bounce_get (struct bounce *bounce, size_t *bytes);
void bounce_put (struct bounce *bounce, void *memory);

#endif /* DMIO_BOUNCE_H */
