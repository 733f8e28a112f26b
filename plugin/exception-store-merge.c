/* Taking exceptions out of a persistent store again, the last ones first.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: Linux 6.1 drivers/md/dm-snap-persistent.c
 * persistent_prepare_merge (), persistent_commit_merge (): backwards from
 * the last record of the last area, in runs of which both chunks go down by
 * one; so a merge that one has begun, the other can end.  Differs: a run is
 * cut, so that nobody waits long for it; only the sectors that change are
 * written; records that are read again are checked again.
 *
 * The list ends at the first record that is zeroes.  So it does not matter
 * which of the sectors a crash leaves: the list is shorter, or as it was.
 *
 * Nothing is allocated or committed in the store any more.
 */

#include <config.h>

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bits.h"
#include "exception-store-impl.h"
#include "log-sink.h"

static struct exception
record_at (const struct persistent_store *store, uint64_t index)
{
  return (struct exception){
    .old_chunk = le64toh (store->area_image[index].old_chunk),
    .new_chunk = le64toh (store->area_image[index].new_chunk),
  };
}

/* Bring back the area before the current one, which is empty: it is full. */
static int
read_previous_area (struct persistent_store *store)
{
  uint64_t area = store->current_area - 1, i;
  int r = store_read (store->base.cow, store->area_image,
                      store_area_sector (store, area),
                      store->base.chunk_sectors);

  for (i = 0; r == 0 && i < store->epa; ++i) {
    struct exception e = record_at (store, i);

    if (e.new_chunk == 0 || e.new_chunk >= store->base.store_chunks ||
        is_area_chunk (store->epa, e.new_chunk) ||
        e.old_chunk >=
          div_round_up (store->origin_sectors, store->base.chunk_sectors)) {
      log_error ("%s: record %" PRIu64 " has changed while the store was in "
                 "use; restore the file from a copy",
                 bdev_name (store->base.cow), area * store->epa + i);
      r = -EINVAL;
    }
  }
  if (r < 0) {
    memset (store->area_image, 0, sector_to_bytes (store->base.chunk_sectors));
    return r;
  }
  store->current_area = area;
  store->area_used = store->epa;
  return 0;
}

int
exception_store_merge_next (struct exception_store *any, uint64_t max,
                            struct exception *first, uint64_t *count)
{
  struct persistent_store *store = persistent_store_of (any);
  struct exception e;
  uint64_t n = 1;

  *count = 0;
  while (store->area_used == 0) {
    int r;

    if (store->current_area == 0)
      return 0;
    r = read_previous_area (store);
    if (r < 0)
      return r;
  }
  *first = record_at (store, store->area_used - 1);
  for (; n < max && n < store->area_used; ++n) {
    e = record_at (store, store->area_used - 1 - n);
    if (e.old_chunk + 1 != first->old_chunk ||
        e.new_chunk + 1 != first->new_chunk)
      break;
    *first = e;
  }
  *count = n;
  return 0;
}

int
exception_store_merge_commit (struct exception_store *any, uint64_t count)
{
  struct persistent_store *store = persistent_store_of (any);
  uint64_t begin = store->area_used - count;
  uint64_t first_sector = begin / RECORDS_PER_SECTOR;
  uint64_t end_sector = div_round_up (store->area_used, RECORDS_PER_SECTOR);
  struct disk_record sector[RECORDS_PER_SECTOR]
    __attribute__ ((aligned (SECTOR_SIZE)));
  uint64_t kept = begin % RECORDS_PER_SECTOR;
  int r;

  /* The image changes only when it is so on disk. */
  memset (sector, 0, sizeof sector);
  memcpy (sector, &store->area_image[begin - kept], kept * sizeof sector[0]);
  r = end_sector > first_sector + 1
        ? store_write (store->base.cow, store->zero_area,
                       store_area_sector (store, store->current_area) +
                         first_sector + 1,
                       end_sector - first_sector - 1, 0)
        : 0;
  if (r == 0)
    r = store_write (store->base.cow, sector,
                     store_area_sector (store, store->current_area) +
                       first_sector,
                     1, BDEV_FUA);
  if (r < 0)
    return r;
  memset (&store->area_image[begin], 0,
          count * sizeof store->area_image[begin]);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&store->base.lock);
  store->area_used = begin;
  store->area_count = store->current_area + 1;
  return 0;
}
