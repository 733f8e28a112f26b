/* What the parts of dm-io share.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMIO_DM_IO_IMPL_H
#define DMIO_DM_IO_IMPL_H

#include "dm-io-cursor.h"
#include "dm-io.h"

/* What one of the calls has been asked for. */
struct dm_io_request {
  unsigned num_regions;
  const struct io_region *where;
  int rw;
  struct cursor memory;
};

/* Do what RW says on one io_region, blocking.  Returns 0 or a negative
 * errno; after a failed read the memory holds zeroes.
 */
int dm_io_do_region (const struct io_region *where, int rw,
                     const struct cursor *memory);

/* The same on all io_regions of RQ, in the calling thread; what its devices
 * can have in flight at once is.  Returns the error bits; ERRORS, if not
 * NULL, has one for each io_region.
 */
unsigned long dm_io_do_regions (const struct dm_io_request *rq, int *errors);

#endif /* DMIO_DM_IO_IMPL_H */
