/* The stores of a table's snapshots: which can be used, and how.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Model: Linux 6.1 drivers/md/dm-snap.c snapshot_ctr(), dm-exception-store.c:
 * what a store must be, and which chunk size counts.  Differs: a new store is
 * made only where nothing else can have been (the kernel looks at four bytes,
 * which are zeroes in many file systems, too).
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "bits.h"
#include "exception-store.h"
#include "table-devices-impl.h"

/* The kernel's chunk where the table has 0. */
#define DEFAULT_CHUNK_SECTORS 32

/* What must be zeroes where a store is to be made: file systems, partitions
 * and the like have something there.
 */
#define BLANK_SECTORS 8

/*----- chunks ----------------------------------------------------------*/

static sector_t
block_sectors (struct block_device *bdev)
{
  struct bdev_limits limits;

  bdev_get_limits (bdev, &limits);
  return div_round_up (limits.block_bytes, SECTOR_SIZE);
}

static int
check_blocks (const struct table_device *d, const char *what,
              struct block_device *bdev)
{
  char quote[LOG_QUOTE_BYTES];

  if (d->chunk_sectors % block_sectors (bdev) == 0)
    return 0;
  log_error ("table=: chunks of %" PRIu64 " sectors are not whole blocks of "
             "%s (%s), which have %" PRIu64 " sectors",
             d->chunk_sectors, what, log_quote (bdev_name (bdev), quote),
             block_sectors (bdev));
  return -EINVAL;
}

/* The chunk size of a store that does not say. */
static int
decide_chunk (struct table_device *d)
{
  int r;

  d->chunk_sectors = d->line->chunk_sectors;
  if (d->chunk_sectors == 0)
    d->chunk_sectors = MAX_OF (DEFAULT_CHUNK_SECTORS, block_sectors (d->cow));
  r = check_blocks (d, "the origin", d->origin->bdev);
  return r < 0 ? r : check_blocks (d, "the COW store", d->cow);
}

/*----- stores ----------------------------------------------------------*/

/* As the kernel does: a store that begins with zeroes is none yet, nor is one
 * of no bytes.
 */
static int
look_at_store (struct block_device *cow, bool *is_new, bool *is_blank)
{
  unsigned char data[BLANK_SECTORS * SECTOR_SIZE] = { 0 };
  sector_t count = MIN_OF (bdev_sectors (cow), (sector_t) BLANK_SECTORS);
  struct iovec iov = { data, sector_to_bytes (count) };
  uint32_t magic;
  size_t i;
  int r = count > 0 ? bdev_read (cow, &iov, 1, 0) : 0;

  if (r < 0)
    return r;
  memcpy (&magic, data, sizeof magic);
  *is_new = magic == 0;
  *is_blank = true;
  for (i = 0; i < iov.iov_len; ++i)
    if (data[i] != 0)
      *is_blank = false;
  return 0;
}

static int
check_new_store (struct table_device *d, bool is_blank)
{
  char quote[LOG_QUOTE_BYTES];
  int r;

  log_quote (d->line->cow, quote);
  if (d->device.is_read_only) {
    log_error ("table=: the COW store (%s) is empty, and cannot be written; "
               "check its mode and owner",
               quote);
    return -EROFS;
  }
  if (!is_blank) {
    log_error ("table=: the COW store (%s) is none, and something else may be "
               "there; to lose that, fill its first %d bytes with zeroes",
               quote, BLANK_SECTORS * SECTOR_SIZE);
    return -EINVAL;
  }
  r = decide_chunk (d);
  if (r < 0)
    return r;
  if (d->chunk_sectors > EXCEPTION_STORE_MAX_CHUNK_SECTORS) {
    log_error ("table=: chunks of %" PRIu64 " sectors: a store (%s) can be "
               "made and used here with up to %d",
               d->chunk_sectors, quote, EXCEPTION_STORE_MAX_CHUNK_SECTORS);
    return -EINVAL;
  }
  if (bdev_sectors (d->cow) <
      exception_store_min_size (STORE_PERSISTENT, d->chunk_sectors)) {
    log_error ("table=: the COW store (%s) has %" PRIu64 " sectors, too few "
               "for chunks of %" PRIu64 "; give a larger one",
               quote, bdev_sectors (d->cow), d->chunk_sectors);
    return -ENOSPC;
  }
  return 0;
}

/* What the header of a store says, which counts for more than the table. */
static int
check_old_store (struct table_device *d)
{
  sector_t asked = d->line->chunk_sectors;
  struct exception_store *store;
  char quote[LOG_QUOTE_BYTES];
  int r = exception_store_open (d->cow, bdev_sectors (d->origin->bdev), &store);

  if (r < 0)
    return r;
  d->chunk_sectors = exception_store_chunk_sectors (store);
  d->is_invalid = !exception_store_is_valid (store);
  exception_store_close (store);
  log_quote (d->line->cow, quote);
  if (asked != 0 && asked != d->chunk_sectors)
    log_warning ("the store %s has chunks of %" PRIu64
                 " sectors, which counts, "
                 "and not the %" PRIu64 " of the table",
                 quote, d->chunk_sectors, asked);
  if (d->is_invalid)
    log_warning ("the store %s is marked invalid: the snapshot is lost, and "
                 "nobody can open it; fill its first %d bytes with zeroes to "
                 "begin a new one",
                 quote, BLANK_SECTORS * SECTOR_SIZE);
  return 0;
}

static int
check_transient (struct table_device *d)
{
  char quote[LOG_QUOTE_BYTES];
  int r = decide_chunk (d);

  if (r < 0)
    return r;
  if (bdev_sectors (d->cow) >=
      exception_store_min_size (STORE_TRANSIENT, d->chunk_sectors))
    return 0;
  log_error ("table=: the COW store (%s) has %" PRIu64 " sectors, fewer than a "
             "chunk of %" PRIu64 "; give a larger one",
             log_quote (d->line->cow, quote), bdev_sectors (d->cow),
             d->chunk_sectors);
  return -ENOSPC;
}

/* See that what is in the store can be moved to the origin. */
static int
check_merge (const struct table_device *d)
{
  char quote[LOG_QUOTE_BYTES];

  if (d->is_invalid) {
    log_error ("table=: the COW store (%s) is marked invalid: nothing of it "
               "can be merged; give snapshot-origin instead",
               log_quote (d->line->cow, quote));
    return -EINVAL;
  }
  if (d->device.is_read_only)
    log_warning ("nothing is merged");
  return 0;
}

int
table_store_check (struct table_device *d)
{
  char quote[LOG_QUOTE_BYTES];
  bool is_blank;
  int r;

  if (!d->line->is_persistent)
    return check_transient (d);
  r = look_at_store (d->cow, &d->is_new, &is_blank);
  if (r < 0) {
    log_error ("table=: the COW store (%s) cannot be read: %s",
               log_quote (d->line->cow, quote), errno_text (r));
    return r;
  }
  r = d->is_new ? check_new_store (d, is_blank) : check_old_store (d);
  return r < 0 || d->line->target != TABLE_MERGE ? r : check_merge (d);
}

/*----- snapshots -------------------------------------------------------*/

int
table_origin_flush (struct table_device *d)
{
  int r = bdev_flush (d->origin->bdev);

  if (r < 0)
    log_error ("the origin (%s) cannot be flushed: %s", d->line->origin,
               errno_text (r));
  return r;
}

static int
make_store (struct table_device *d)
{
  char quote[LOG_QUOTE_BYTES];
  int r = table_origin_flush (d);

  if (r < 0)
    return r;
  r = exception_store_format (d->cow, d->chunk_sectors);
  if (r < 0)
    log_error ("table=: a store cannot be made on %s: %s",
               log_quote (d->line->cow, quote), errno_text (r));
  return r;
}

int
table_store_open (struct table_device *d)
{
  char quote[LOG_QUOTE_BYTES];
  struct snapshot_params params = {
    .name = log_quote (d->line->cow, quote),
    .cow = d->cow,
    .transient_chunk_sectors = d->line->is_persistent ? 0 : d->chunk_sectors,
    .is_valid = true,
    .is_read_only = d->device.is_read_only,
    .on_cow_error = BREAK_SNAPSHOT,
    .origin = &d->origin->target.target,
    .sectors = d->line->sectors,
  };
  int r;

  if (d->is_invalid)
    return 0;
  if (d->is_new) {
    r = make_store (d);
    if (r < 0)
      return r;
  }
  r = snapshot_open (&params, &d->snapshot);
  if (r < 0)
    return r;
  d->cow = NULL; /* it is the snapshot's now */
  d->device.target = snapshot_target (d->snapshot);
  return 0;
}
