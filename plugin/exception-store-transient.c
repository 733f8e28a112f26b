/* Exceptions that end with the server: the transient store.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: Linux 6.1 drivers/md/dm-snap-transient.c: chunks are given out in
 * order from the first sector on, nothing else is on the device.  Differs:
 * a chunk that was given back, because its copy failed, is given out again.
 *
 * After a crash there is no snapshot that could be wrong, so nothing needs
 * to be durable here, in whatever order.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>

#include "exception-store-impl.h"

static int
transient_allocate_locked (struct exception_store *store, uint64_t *new_chunk)
{
  if (exception_store_pop_released (store, new_chunk))
    return 0;
  if (store->next_free >= store->store_chunks)
    return -ENOSPC;
  *new_chunk = store->next_free++;
  return 0;
}

static void
transient_free (struct exception_store *store)
{
  free (store);
}

const struct exception_store_ops transient_store_ops = {
  .allocate_locked = transient_allocate_locked,
  .free = transient_free,
};

int
exception_store_open_transient (struct block_device *cow,
                                sector_t chunk_sectors,
                                struct exception_store **store)
{
  struct exception_store *s;

  if (bdev_sectors (cow) <
      exception_store_min_size (STORE_TRANSIENT, chunk_sectors))
    return -ENOSPC;
  s = calloc (1, sizeof *s);
  if (s == NULL)
    return -ENOMEM;
  s->cow = cow;
  s->chunk_sectors = chunk_sectors;
  s->is_valid = true;
  exception_store_init (s, &transient_store_ops, 0);
  *store = s;
  return 0;
}
