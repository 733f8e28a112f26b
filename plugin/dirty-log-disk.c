/* The disk log: a dirty log in the format of the kernel.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The device: two sectors of header, then the bits, the least significant
 * of each byte first.  All that is read is checked before it is used, and
 * what means nothing to us is written back as it was.
 *
 * Invariants:
 * (1) a sector is written only if something in it has changed;
 * (2) when the header changes, which tells how many bits count, these are
 *     durable before it is;
 * (3) what was read is flushed before it is relied on: who wrote it may have
 *     been killed before he had flushed it;
 * (4) what is written is a copy: bits may change meanwhile, and then that
 *     sector is written again by the next flush.
 *
 * Model: Linux 6.1 drivers/md/dm-log.c: the format, and what is put right
 * when a log is taken into use.  Differs: the kernel writes all of it for
 * each bit; takes a foreign version for an empty log, and writes over it;
 * and flushes the log for marks only.
 */

#include <config.h>

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "dirty-log-impl.h"
#include "log-sink.h"

#define LOG_MAGIC UINT32_C (0x4d695272) /* "rRiM" */
#define LOG_VERSION 2
#define LOG_VERSION_NATIVE 1 /* bits as the machine had them */
#define LOG_ALL_REGIONS UINT64_MAX

#define HEADER_SECTORS 2
#define HEADER_BYTES (HEADER_SECTORS * SECTOR_SIZE)

/* Devices of larger blocks take it, too. */
#define LOG_ALIGN 4096U

/* So much is written at once. */
#define STAGE_SECTORS 128U

struct disk_header {
  uint32_t magic;
  uint32_t version;
  uint64_t regions;
};

struct disk_log {
  struct dirty_log log;
  struct block_device *bdev; /* NULL: not attached yet */
  unsigned char *header;     /* HEADER_BYTES, as they are on disk */
  bool header_changed;
  sector_t sectors; /* of the bits */
  bool *changed;    /* of each of these */
  bool is_volatile; /* what was read may not be durable yet */

  /* Only the one that flushes. */
  unsigned char *stage;
};

static inline struct disk_log *
disk_log_of (struct dirty_log *log)
{
  return (struct disk_log *) ((char *) log - offsetof (struct disk_log, log));
}

/*----- the header ------------------------------------------------------*/

static struct disk_header
decode_header (const unsigned char *bytes)
{
  struct disk_header h;

  memcpy (&h, bytes, sizeof h);
  h.magic = le32toh (h.magic);
  h.version = le32toh (h.version);
  h.regions = le64toh (h.regions);
  return h;
}

static void
encode_header (uint64_t regions, unsigned char *bytes)
{
  struct disk_header h = {
    .magic = htole32 (LOG_MAGIC),
    .version = htole32 (LOG_VERSION),
    .regions = htole64 (regions),
  };

  memcpy (bytes, &h, sizeof h);
}

uint64_t
dirty_log_disk_bytes (uint64_t regions)
{
  uint64_t words = div_round_up (regions, LOG_WORD_BITS);

  return round_up_to (HEADER_BYTES + words * sizeof (uint64_t), LOG_ALIGN);
}

/*----- writing ---------------------------------------------------------*/

static void
disk_changed (struct dirty_log *log, uint64_t word)
{
  disk_log_of (log)->changed[word / LOG_WORDS_PER_SECTOR] = true;
}

static int
write_sectors (struct disk_log *d, const void *data, sector_t sector,
               sector_t count)
{
  struct iovec iov = { (void *) data, sector_to_bytes (count) };

  atomic_fetch_add (&d->log.writes, 1);
  return bdev_write (d->bdev, &iov, 1, sector, 0);
}

static int
flush_device (struct disk_log *d)
{
  atomic_fetch_add (&d->log.flushes, 1);
  return bdev_flush (d->bdev);
}

/* Copy a run of changed sectors, from *SECTOR on, to the stage.  Returns how
 * many, and where in *SECTOR; 0 if there are none.
 */
static sector_t
take_run (struct disk_log *d, sector_t *sector)
{
  uint64_t *to = (uint64_t *) d->stage;
  sector_t s = *sector, count = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->log.lock);
  while (s < d->sectors && !d->changed[s])
    s++;
  *sector = s;
  for (; s < d->sectors && d->changed[s] && count < STAGE_SECTORS;
       ++s, ++count) {
    unsigned i;

    d->changed[s] = false; /* (4) */
    for (i = 0; i < LOG_WORDS_PER_SECTOR; ++i)
      *to++ = htole64 (d->log.words[s * LOG_WORDS_PER_SECTOR + i]);
  }
  return count;
}

static int
disk_flush (struct dirty_log *log)
{
  struct disk_log *d = disk_log_of (log);
  bool has_written = false;
  sector_t sector = 0, count;
  int r;

  if (d->bdev == NULL)
    return 0;
  while ((count = take_run (d, &sector)) > 0) {
    r = write_sectors (d, d->stage, HEADER_SECTORS + sector, count);
    if (r < 0)
      return r;
    has_written = true;
    sector += count;
  }
  if (d->header_changed) { /* (2) */
    r = flush_device (d);
    if (r == 0)
      r = write_sectors (d, d->header, 0, HEADER_SECTORS);
    if (r < 0)
      return r;
    d->header_changed = false;
    has_written = true;
  }
  if (!has_written && !d->is_volatile) /* (3) */
    return 0;
  r = flush_device (d);
  d->is_volatile = false;
  return r;
}

/*----- life ------------------------------------------------------------*/

static void
disk_destroy (struct dirty_log *log)
{
  struct disk_log *d = disk_log_of (log);

  bdev_close (d->bdev);
  free (d->stage);
  free (d->changed);
  free (d->header);
  dirty_log_fini (log);
  free (d);
}

static const struct dirty_log_ops disk_ops = {
  .name = "disk",
  .changed = disk_changed,
  .flush = disk_flush,
  .destroy = disk_destroy,
};

/* Zeroes, aligned for O_DIRECT; NULL: no memory. */
static void *
alloc_aligned (size_t bytes)
{
  void *memory;

  if (posix_memalign (&memory, LOG_ALIGN, bytes) != 0)
    return NULL;
  return memset (memory, 0, bytes);
}

static int
create (uint64_t regions, bool is_clean, struct disk_log **log)
{
  struct disk_log *d = calloc (1, sizeof *d);
  int r;

  if (d == NULL)
    return -ENOMEM;
  r = dirty_log_init (&d->log, &disk_ops, regions, is_clean);
  if (r < 0) {
    free (d);
    return r;
  }
  d->sectors = d->log.word_count / LOG_WORDS_PER_SECTOR;
  d->changed = calloc (d->sectors + 1, sizeof d->changed[0]);
  d->header = alloc_aligned (HEADER_BYTES);
  d->stage = alloc_aligned (STAGE_SECTORS * SECTOR_SIZE);
  if (d->changed == NULL || d->header == NULL || d->stage == NULL) {
    disk_destroy (&d->log);
    return -ENOMEM;
  }
  *log = d;
  return 0;
}

int
dirty_log_disk_create (uint64_t regions, bool is_clean, struct dirty_log **log)
{
  struct disk_log *d;
  int r = create (regions, is_clean, &d);

  if (r == 0)
    *log = &d->log;
  return r;
}

/* The log's words must be on the device, whole sectors of them. */
static bool
is_large_enough (const struct disk_log *d, const struct block_device *bdev)
{
  return bdev_sectors (bdev) >= HEADER_SECTORS + d->sectors;
}

int
dirty_log_disk_attach (struct dirty_log *log, struct block_device *bdev)
{
  struct disk_log *d = disk_log_of (log);

  assert (log->ops == &disk_ops && d->bdev == NULL);
  if (!is_large_enough (d, bdev))
    return -EINVAL;
  d->bdev = bdev;
  encode_header (log->regions, d->header);
  d->header_changed = true;
  memset (d->changed, true, d->sectors * sizeof d->changed[0]);
  return 0;
}

/*----- reading ---------------------------------------------------------*/

#define REMEDY \
  "restore it from a copy of the folder, or remove it: then all is taken to " \
  "be dirty, and copied at the next start"

static int
read_sectors (struct block_device *bdev, void *data, sector_t sector,
              sector_t count)
{
  struct iovec iov = { data, sector_to_bytes (count) };
  int r = bdev_read (bdev, &iov, 1, sector);

  if (r < 0)
    log_error ("%s: cannot be read: %s; " REMEDY, bdev_name (bdev),
               errno_text (r));
  return r;
}

/* Read the header to BYTES, and check what can be checked of it alone. */
static int
read_header (struct block_device *bdev, unsigned char *bytes,
             struct disk_header *header)
{
  const char *name = bdev_name (bdev);
  int r;

  if (bdev_sectors (bdev) <= HEADER_SECTORS) {
    log_error ("%s: has only %" PRIu64
               " bytes, too few for a dirty log; " REMEDY,
               name, sector_to_bytes (bdev_sectors (bdev)));
    return -EINVAL;
  }
  r = read_sectors (bdev, bytes, 0, HEADER_SECTORS);
  if (r < 0)
    return r;
  *header = decode_header (bytes);
  if (header->magic != LOG_MAGIC) {
    log_error ("%s: is not a dirty log: it begins with %#" PRIx32
               ", not %#" PRIx32 "; " REMEDY,
               name, header->magic, LOG_MAGIC);
    return -EINVAL;
  }
  /* What is native is ours, if this machine has its bytes in that order. */
  if (header->version != LOG_VERSION &&
      (header->version != LOG_VERSION_NATIVE || htole32 (1) != 1)) {
    log_error ("%s: has version %" PRIu32 ", only version %d is known; use "
               "the program that wrote it, or remove it: then all is taken to "
               "be dirty, and copied at the next start",
               name, header->version, LOG_VERSION);
    return -EINVAL;
  }
  return 0;
}

/* Fill the words from the device. */
static int
read_words (struct disk_log *d, struct block_device *bdev)
{
  sector_t sector, count;
  uint64_t word = 0, i;

  for (sector = 0; sector < d->sectors; sector += count) {
    int r;

    count = MIN_OF (d->sectors - sector, STAGE_SECTORS);
    r = read_sectors (bdev, d->stage, HEADER_SECTORS + sector, count);
    if (r < 0)
      return r;
    for (i = 0; i < count * LOG_WORDS_PER_SECTOR; ++i)
      d->log.words[word++] = le64toh (((uint64_t *) d->stage)[i]);
  }
  return 0;
}

/* Bring the log in memory up to what it is to be, as the kernel does: the
 * next flush writes it.
 */
static void
put_right (struct disk_log *d, const struct disk_header *header)
{
  struct dirty_log *log = &d->log;
  uint64_t last = log->regions / LOG_WORD_BITS;

  if (header->version != LOG_VERSION || header->regions != log->regions) {
    encode_header (log->regions, d->header);
    d->header_changed = true;
  }
  /* Up to a whole word; behind that nothing is ours. */
  if (log->regions % LOG_WORD_BITS != 0 &&
      (log->words[last] & ~dirty_log_word_mask (log, last)) != 0) {
    log->words[last] &= dirty_log_word_mask (log, last);
    d->changed[last / LOG_WORDS_PER_SECTOR] = true;
  }
  dirty_log_count (log);
  if (header->regions < log->regions)
    dirty_log_mark (log, header->regions, log->regions - 1);
}

int
dirty_log_disk_open (struct block_device *bdev, uint64_t regions,
                     unsigned flags, struct dirty_log **log)
{
  struct disk_header header;
  struct disk_log *d;
  int r = create (regions, false, &d);

  if (r < 0)
    return r;
  r = read_header (bdev, d->header, &header);
  if (r < 0)
    goto err_destroy;
  r = -EINVAL;
  if (header.regions != regions && header.regions != LOG_ALL_REGIONS &&
      !(flags & DIRTY_LOG_RESIZE)) {
    log_error ("%s: has %" PRIu64 " regions and the volume has %" PRIu64
               ": it is the log of another one; " REMEDY,
               bdev_name (bdev), header.regions, regions);
    goto err_destroy;
  }
  if (!is_large_enough (d, bdev)) {
    log_error ("%s: has %" PRIu64 " bytes, too few for %" PRIu64
               " regions; " REMEDY,
               bdev_name (bdev), sector_to_bytes (bdev_sectors (bdev)),
               regions);
    goto err_destroy;
  }
  r = read_words (d, bdev);
  if (r < 0)
    goto err_destroy;
  put_right (d, &header);
  d->bdev = bdev;
  d->is_volatile = true;
  *log = &d->log;
  return 0;

err_destroy:
  disk_destroy (&d->log);
  return r;
}

int
dirty_log_disk_read_info (struct block_device *bdev,
                          struct dirty_log_info *info)
{
  unsigned char *bytes = alloc_aligned (HEADER_BYTES);
  struct disk_header header;
  int r;

  if (bytes == NULL)
    return -ENOMEM;
  r = read_header (bdev, bytes, &header);
  free (bytes);
  if (r < 0)
    return r;
  *info = (struct dirty_log_info){
    .version = header.version,
    .regions = header.regions,
    .room = (sector_to_bytes (bdev_sectors (bdev)) - HEADER_BYTES) * 8,
  };
  return 0;
}
