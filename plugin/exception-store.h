/* Where a snapshot's exceptions live: the stores.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A persistent store is a block device in the format of the kernel's
 * persistent snapshots (docs/FORMATS.md): a header, areas of records, and
 * between them the chunks that were copied.  A record says which old chunk is
 * in which new chunk.
 *
 * In a transient store the device has the chunks, from the first sector on,
 * and nothing else; who has opened it remembers which is which.  So it writes
 * and flushes nothing of its own, and ends when it is closed.
 *
 * Functions return 0 or a negative errno.  What is wrong with a store is
 * also said to the log, by name and with the remedy, because a number
 * cannot say it.
 */

#ifndef DM_EXCEPTION_STORE_H
#define DM_EXCEPTION_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "block-device.h"
#include "sector.h"

struct exception_store;

/* OLD_CHUNK of the origin has been copied to NEW_CHUNK of the store. */
struct exception {
  uint64_t old_chunk;
  uint64_t new_chunk;
};

/* Chunks of new stores; those of others may be smaller. */
#define EXCEPTION_STORE_MIN_CHUNK_SECTORS 1
#define EXCEPTION_STORE_MAX_CHUNK_SECTORS 2048 /* 1 MiB */

enum exception_store_kind { STORE_PERSISTENT, STORE_TRANSIENT };

/* The sectors that a store needs so that it can never be full: one chunk
 * for each chunk of the origin, and all areas.  CHUNK_SECTORS is a power
 * of two in the range above, ORIGIN_SECTORS at most SECTOR_MAX.  May be
 * more than SECTOR_MAX.
 */
sector_t exception_store_full_size (enum exception_store_kind kind,
                                    sector_t origin_sectors,
                                    sector_t chunk_sectors);

/* The least sectors that a store can work with: room for one exception. */
sector_t exception_store_min_size (enum exception_store_kind kind,
                                   sector_t chunk_sectors);

/* Make an empty persistent store on COW, durably.  What was there is lost.
 * Errors: -ENOSPC (COW is too small), and those of the device.
 */
int exception_store_format (struct block_device *cow, sector_t chunk_sectors);

/* Open the persistent store on COW, which stays the caller's and outlives it,
 * of an origin of ORIGIN_SECTORS, and check its header.  Reads only.
 * Errors:
 *   -EINVAL  damaged, or no store
 *   -ENOMEM, and those of the device
 */
int exception_store_open (struct block_device *cow, sector_t origin_sectors,
                          struct exception_store **store);

/* Called for each record, in order.  An error ends the loading; -EEXIST
 * means that there is one for that old chunk already.
 */
typedef int (*exception_load_fn) (void *opaque,
                                  const struct exception *exception);

/* Read and check all records of a persistent store, those of one marked
 * invalid too, and hand them to LOAD.  Must be called, once, before anything is
 * allocated.  Reads only.  Errors: as exception_store_open, and those of LOAD.
 */
int exception_store_load (struct exception_store *store, exception_load_fn load,
                          void *opaque);

/* Open an empty transient store on COW, which stays the caller's and outlives
 * it; what it holds means nothing.  Errors: -ENOSPC (COW is too small),
 * -ENOMEM.
 */
int exception_store_open_transient (struct block_device *cow,
                                    sector_t chunk_sectors,
                                    struct exception_store **store);

/* Free the store.  Nothing is in flight.  NULL is ignored. */
void exception_store_close (struct exception_store *store);

/* Facts.  All functions from here on are thread-safe. */
sector_t exception_store_chunk_sectors (const struct exception_store *store);
enum exception_store_kind exception_store_kind (
  const struct exception_store *store);
bool exception_store_is_valid (struct exception_store *store);

struct exception_store_usage {
  sector_t total_sectors;
  sector_t used_sectors;     /* data, areas and header */
  sector_t metadata_sectors; /* areas and header */
};

void exception_store_get_usage (struct exception_store *store,
                                struct exception_store_usage *usage);

/* Find room for one more exception.  The chunk is the caller's to write.
 * Returns 0, or -ENOSPC when the store is full; room for the records, and
 * for the empty area that must follow a full one, is reserved too.
 */
int exception_store_allocate (struct exception_store *store,
                              uint64_t *new_chunk);

/* At least so many more will be found room for, if nobody else asks. */
uint64_t exception_store_room (struct exception_store *store);

/* Give back a chunk that was allocated and will not be committed. */
void exception_store_release (struct exception_store *store,
                              uint64_t new_chunk);

/* Make COUNT exceptions durable, whose data has been written to the
 * store: flush the data, then write the records, then flush them.  (A
 * transient store has nothing to do.)
 * Blocks; calls that come while one is at work are done together
 * afterwards, in one go.  After an error nothing more can be committed,
 * and none of the exceptions may be relied upon.
 */
int exception_store_commit (struct exception_store *store,
                            const struct exception *exceptions, unsigned count);

/* For merging from a persistent store, when nothing is allocated or committed
 * any more, one thread at a time.  The last exceptions: a run, of at most MAX,
 * in which both chunks rise by one; *FIRST is its first, *COUNT its length, 0
 * if there are none.
 */
int exception_store_merge_next (struct exception_store *store, uint64_t max,
                                struct exception *first, uint64_t *count);

/* Forget the last COUNT exceptions, durably: what is in their chunks is
 * elsewhere by now.  After an error they may be forgotten on disk, or not;
 * here they are not.
 */
int exception_store_merge_commit (struct exception_store *store,
                                  uint64_t count);

/* Let no more exceptions be committed: ERROR, a negative errno, is what
 * commits return from now on.  For when what was committed cannot be
 * remembered, and would be committed again.
 */
void exception_store_poison (struct exception_store *store, int error);

/* The error with which all commits fail, or 0.  What is on disk is not known
 * then, until the store is opened anew.
 */
int exception_store_error (struct exception_store *store);

/* Mark the store invalid, durably if it is persistent.  For ever. */
int exception_store_invalidate (struct exception_store *store);

#endif /* DM_EXCEPTION_STORE_H */
