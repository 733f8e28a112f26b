/* Simulated disks: they fail, stall, tear, reorder, and forget.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk-sim-impl.h"
#include "sim.h"

struct sim_disk_counters sim_disk_counters;

static bool power_is_on = true;

bool
sim_power_is_on (void)
{
  return power_is_on;
}

void
sim_set_power (bool is_on)
{
  power_is_on = is_on;
}

/*----- the device ------------------------------------------------------*/

/* One opening of a disk. */
struct handle {
  struct sim_disk *disk;
  int flush_error; /* for ever */
  void (*closed) (void *opaque);
  void *opaque;
};

static sector_t
sectors_of (const struct iovec *iov, int iovcnt)
{
  uint64_t bytes = 0;
  int i;

  for (i = 0; i < iovcnt; ++i)
    bytes += iov[i].iov_len;
  return bytes >> SECTOR_SHIFT;
}

static struct request *
begin_transfer (struct handle *h, enum sim_op op, const struct iovec *iov,
                int iovcnt, sector_t sector, unsigned flags)
{
  struct request *rq = request_begin (h->disk, op, sector,
                                      sectors_of (iov, iovcnt), flags);

  rq->iov = iov;
  rq->iovcnt = iovcnt;
  request_issue (rq);
  return rq;
}

/* The end of what was to make something durable, too. */
static int
end_durable (struct handle *h, struct request *rq)
{
  bool is_durable = rq->op == SIM_FLUSH || (rq->flags & BDEV_FUA);
  int r = request_end (rq);

  if (!is_durable)
    return r;
  if (r < 0 && h->flush_error == 0) {
    h->flush_error = r;
    h->disk->has_lost = true;
  }
  return h->flush_error;
}

static int
disk_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  sim_disk_counters.reads++;
  sim_point ("read", NULL);
  return request_end (
    begin_transfer (handle, SIM_READ, iov, iovcnt, sector, 0));
}

static int
disk_write (void *handle, const struct iovec *iov, int iovcnt, sector_t sector,
            unsigned flags)
{
  struct handle *h = handle;

  sim_disk_counters.writes++;
  sim_point ("write", NULL);
  return end_durable (h, begin_transfer (h, SIM_WRITE, iov, iovcnt, sector,
                                         flags));
}

static struct request *
begin_flush (struct handle *h)
{
  struct request *rq = request_begin (h->disk, SIM_FLUSH, 0, 0, 0);

  sim_disk_counters.flushes++;
  request_issue (rq);
  return rq;
}

static int
disk_flush (void *handle)
{
  struct handle *h = handle;

  sim_point ("flush", NULL);
  if (h->flush_error < 0)
    return h->flush_error;
  return end_durable (h, begin_flush (h));
}

static int
disk_write_zeroes (void *handle, sector_t sector, sector_t count,
                   unsigned flags)
{
  struct handle *h = handle;
  struct request *rq;

  sim_point ("zero", NULL);
  if ((flags & BDEV_FAST) && h->disk->kind.no_fast)
    return -EOPNOTSUPP;
  rq = request_begin (h->disk, SIM_ZERO, sector, count, flags);
  request_issue (rq);
  return end_durable (h, rq);
}

static int
disk_discard (void *handle, sector_t sector, sector_t count, unsigned flags)
{
  return disk_write_zeroes (handle, sector, count, flags | BDEV_UNMAP);
}

static int
disk_extent (void *handle, sector_t sector, sector_t count,
             struct bdev_extent *extent)
{
  const struct handle *h = handle;
  const struct sector *map = h->disk->map;
  sector_t n = 1;

  sim_point ("extent", NULL);
  if (!power_is_on || h->disk->is_gone)
    return -EIO;
  extent->is_hole = map[sector].last->is_hole;
  while (n < count && map[sector + n].last->is_hole == extent->is_hole)
    n++;
  extent->count = n;
  return 0;
}

static int
disk_begin (void *handle, struct bdev_io *io)
{
  struct handle *h = handle;

  sim_point ("begin", NULL);
  if (sim_one_in (8))
    return -EAGAIN;
  switch (io->op) {
  case BDEV_READ:
    io->state[0] = begin_transfer (h, SIM_READ, io->iov, io->iovcnt, io->sector,
                                   0);
    return 0;
  case BDEV_WRITE:
    io->state[0] = begin_transfer (h, SIM_WRITE, io->iov, io->iovcnt,
                                   io->sector, io->flags);
    return 0;
  case BDEV_FLUSH:
    if (h->flush_error < 0)
      return h->flush_error;
    io->state[0] = begin_flush (h);
    return 0;
  default:
    return -EAGAIN;
  }
}

static int
disk_end (void *handle, struct bdev_io *io)
{
  struct handle *h = handle;

  sim_point ("end", NULL);
  return end_durable (h, io->state[0]);
}

static void
disk_close (void *handle)
{
  struct handle *h = handle;

  if (h->closed != NULL)
    h->closed (h->opaque);
  free (h);
}

static int
disk_identity (void *handle, struct bdev_identity *identity)
{
  const struct handle *h = handle;
  const struct sim_disk *disk = h->disk;

  *identity = (struct bdev_identity){
    .device = 1,
    .inode = disk->number,
    .birth_seconds = 1,
    .modified_seconds = (int64_t) (disk->modified_ns / 1000000000),
    .modified_ns = (uint32_t) (disk->modified_ns % 1000000000),
  };
  return 0;
}

#define COMMON_SLOTS \
  .struct_size = sizeof (struct bdev_ops), .read = disk_read, \
  .identity = disk_identity, .close = disk_close
#define WRITE_SLOTS .write = disk_write, .flush = disk_flush
#define ZERO_SLOTS \
  .discard = disk_discard, .write_zeroes = disk_write_zeroes, \
  .extent = disk_extent
#define BEGIN_SLOTS .begin = disk_begin, .end = disk_end

static const struct bdev_ops read_only_ops = { COMMON_SLOTS,
                                               .flush = disk_flush,
                                               .extent = disk_extent };
static const struct bdev_ops bare_ops = { COMMON_SLOTS, WRITE_SLOTS };
static const struct bdev_ops plain_ops = { COMMON_SLOTS, WRITE_SLOTS,
                                           ZERO_SLOTS };
static const struct bdev_ops begin_ops = { COMMON_SLOTS, WRITE_SLOTS,
                                           ZERO_SLOTS, BEGIN_SLOTS };

void
sim_disk_crash (struct sim_disk *disk, enum sim_crash how)
{
  requests_crash (disk);
  sectors_complete_all (disk);
  if (how == SIM_POWER_FAILS)
    sectors_lose (disk);
}

/*----- life ------------------------------------------------------------*/

struct sim_disk *
sim_disk_create (const char *name, uint64_t number, sector_t sectors)
{
  struct sim_disk *disk = calloc (1, sizeof *disk);

  if (disk == NULL)
    abort ();
  disk->name = strdup (name);
  disk->number = number;
  disk->sectors = sectors;
  if (disk->name == NULL)
    abort ();
  sectors_init (disk);
  list_init (&disk->requests);
  return disk;
}

void
sim_disk_destroy (struct sim_disk *disk)
{
  assert (list_is_empty (&disk->requests));
  sectors_free (disk);
  free (disk->name);
  free (disk);
}

const char *
sim_disk_name (const struct sim_disk *disk)
{
  return disk->name;
}

uint64_t
sim_disk_number (const struct sim_disk *disk)
{
  return disk->number;
}

sector_t
sim_disk_sectors (const struct sim_disk *disk)
{
  return disk->sectors;
}

void
sim_disk_set_faults (struct sim_disk *disk,
                     const struct sim_disk_faults *faults)
{
  disk->faults = *faults;
  memset (disk->calls, 0, sizeof disk->calls);
  disk->all_calls = 0;
  disk->is_gone = false;
}

void
sim_disk_set_kind (struct sim_disk *disk, const struct sim_disk_kind *kind)
{
  disk->kind = *kind;
}

int
sim_disk_open (struct sim_disk *disk, const char *name, bool is_read_only,
               void (*closed) (void *opaque), void *opaque,
               struct block_device **bdev)
{
  const struct bdev_ops *ops = is_read_only           ? &read_only_ops
                               : disk->kind.is_bare   ? &bare_ops
                               : disk->kind.can_begin ? &begin_ops
                                                      : &plain_ops;
  struct handle *h = calloc (1, sizeof *h);
  int r;

  if (h == NULL)
    abort ();
  h->disk = disk;
  h->closed = closed;
  h->opaque = opaque;
  r = bdev_create (ops, h, name, disk->sectors, bdev);
  if (r < 0)
    free (h);
  return r;
}

int
sim_disk_sync (struct sim_disk *disk)
{
  if (!power_is_on)
    return -EIO;
  sectors_settle (disk, sim_tick ());
  return 0;
}

void
sim_disk_look (const struct sim_disk *disk, sector_t sector, sector_t count,
               void *data)
{
  unsigned char *p = data;

  for (; count > 0; --count, ++sector, p += SECTOR_SIZE)
    version_load (disk->map[sector].last, p);
}

bool
sim_disk_look_word (const struct sim_disk *disk, uint64_t half, uint64_t *word)
{
  return version_half (disk->map[half / 2].last, half % 2, word);
}

sector_t
sim_disk_compare (const struct sim_disk *a, const struct sim_disk *b,
                  sector_t sector, sector_t count)
{
  sector_t i;

  for (i = sector; i < sector + count; ++i)
    if (!versions_are_equal (a->map[i].last, b->map[i].last))
      break;
  return i - sector;
}

void
sim_disk_spoil (struct sim_disk *disk, sector_t sector)
{
  unsigned char data[SECTOR_SIZE];
  struct version *v = version_get ();

  version_load (disk->map[sector].last, data);
  data[0] = (unsigned char) ~data[0];
  version_store (v, data);
  v->completed = 0;
  sector_show (disk, sector, v);
  sector_settle (disk, sector, UINT64_MAX);
}

bool
sim_disk_take_lost (struct sim_disk *disk)
{
  bool yes = disk->has_lost;

  disk->has_lost = false;
  return yes;
}

uint64_t
sim_disk_modified_ns (const struct sim_disk *disk)
{
  return disk->modified_ns;
}
