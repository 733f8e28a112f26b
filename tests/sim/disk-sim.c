/* Simulated disks: they fail, stall, tear, reorder, and forget.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Invariants of a sector:
 * (1) its versions are in the order in which they came to be seen;
 * (2) the first one is durable, and there is one: `hole` stands for what
 *     was never written.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "disk-sim.h"
#include "list.h"
#include "sim.h"

/* What a sector held, holds, or will. */
struct version {
  struct version *next;
  uint64_t completed;            /* tick of its request's end */
  const struct request *request; /* in flight */
  bool is_hole;
  unsigned char data[SECTOR_SIZE];
};

#define IN_FLIGHT UINT64_MAX

struct sector {
  struct version *first; /* durable */
  struct version *last;  /* seen */
  bool is_dirty;         /* in the disk's list of those with more than one */
};

struct request {
  struct list link; /* of those in flight */
  struct sim_disk *disk;
  enum sim_op op;
  unsigned flags;
  sector_t sector;
  sector_t count;
  const struct iovec *iov;
  int iovcnt;
  uint64_t end_ns;
  uint64_t issued; /* tick */
  int error;
  sector_t done;             /* writes: sectors that are seen */
  sector_t limit;            /* so many will be */
  struct version **versions; /* not seen yet: NULL once they are */
  bool is_void;              /* the power has failed since */
};

struct sim_disk {
  char *name;
  uint64_t number;
  sector_t sectors;
  struct sector *map;
  sector_t *dirty;
  sector_t dirty_count;
  sector_t allocated;
  struct list requests;
  struct sim_disk_faults faults;
  struct sim_disk_kind kind;
  unsigned calls[SIM_OPS];
  unsigned all_calls;
  bool is_gone;
  bool has_lost; /* a flush has failed */
  uint64_t modified_ns;
};

struct sim_disk_counters sim_disk_counters;

static bool power_is_on = true;
static struct version hole = { .is_hole = true };
static struct version *free_versions;

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

/*----- sectors ---------------------------------------------------------*/

static struct version *
version_get (void)
{
  struct version *v = free_versions;

  if (v != NULL)
    free_versions = v->next;
  else {
    v = malloc (sizeof *v);
    if (v == NULL)
      abort ();
  }
  v->next = NULL;
  v->completed = IN_FLIGHT;
  v->request = NULL;
  v->is_hole = false;
  return v;
}

static void
version_put (struct version *v)
{
  if (v == &hole || v == NULL)
    return;
  v->next = free_versions;
  free_versions = v;
}

static void
count_allocated (struct sim_disk *disk, const struct version *before,
                 const struct version *now)
{
  disk->allocated += before->is_hole && !now->is_hole;
  disk->allocated -= !before->is_hole && now->is_hole;
}

/* V is what is seen of SECTOR from now on. */
static void
show_version (struct sim_disk *disk, sector_t sector, struct version *v)
{
  struct sector *s = &disk->map[sector];

  count_allocated (disk, s->last, v);
  if (s->first == &hole && s->last == &hole) {
    /* The one hole is shared: it cannot be followed by anything. */
    struct version *own = version_get ();

    *own = hole;
    s->first = s->last = own;
  }
  s->last->next = v;
  s->last = v;
  if (!s->is_dirty) {
    s->is_dirty = true;
    disk->dirty[disk->dirty_count++] = sector;
  }
}

/* V, one of SECTOR's, is durable: what was before it is no more. */
static void
settle_version (struct sim_disk *disk, sector_t sector, struct version *v)
{
  struct sector *s = &disk->map[sector];

  while (s->first != v) {
    struct version *next = s->first->next;

    version_put (s->first);
    s->first = next;
  }
}

/* The newest version of S that had completed at TICK. */
static struct version *
completed_version (const struct sector *s, uint64_t tick)
{
  struct version *v, *found = s->first;

  for (v = s->first->next; v != NULL; v = v->next)
    if (v->completed <= tick)
      found = v;
  return found;
}

static void
forget_clean_sectors (struct sim_disk *disk)
{
  sector_t i, n = 0;

  for (i = 0; i < disk->dirty_count; ++i) {
    struct sector *s = &disk->map[disk->dirty[i]];

    if (s->first == s->last)
      s->is_dirty = false;
    else
      disk->dirty[n++] = disk->dirty[i];
  }
  disk->dirty_count = n;
}

static void
settle_until (struct sim_disk *disk, uint64_t tick)
{
  sector_t i;

  for (i = 0; i < disk->dirty_count; ++i) {
    sector_t sector = disk->dirty[i];

    settle_version (disk, sector, completed_version (&disk->map[sector], tick));
  }
  forget_clean_sectors (disk);
}

/*----- faults ----------------------------------------------------------*/

static bool
is_bad_sector (const struct sim_disk *disk, sector_t sector)
{
  return sector >= disk->faults.bad_sector &&
         sector - disk->faults.bad_sector < disk->faults.bad_count;
}

static void
repair_sector (struct sim_disk *disk, sector_t sector)
{
  struct sim_disk_faults *f = &disk->faults;

  if (!is_bad_sector (disk, sector))
    return;
  /* The longer rest stays bad. */
  if (sector - f->bad_sector < f->bad_count / 2) {
    f->bad_count -= sector - f->bad_sector + 1;
    f->bad_sector = sector + 1;
  }
  else
    f->bad_count = sector - f->bad_sector;
}

static int
choose_error (const struct sim_disk *disk, struct request *rq)
{
  const struct sim_disk_faults *f = &disk->faults;
  const struct sim_fault *fault = &f->ops[rq->op];
  unsigned n = disk->calls[rq->op];
  sector_t i;

  if (disk->is_gone)
    return -ENXIO;
  if (sim_one_in (fault->one_in) ||
      (n > fault->after && n - fault->after <= fault->count))
    return -EIO;
  if (rq->op == SIM_READ && f->bad_count > 0)
    for (i = 0; i < rq->count; ++i)
      if (is_bad_sector (disk, rq->sector + i))
        return -EIO;
  if (rq->op == SIM_WRITE && f->space > 0) {
    sector_t wanted = 0;

    for (i = 0; i < rq->count; ++i)
      wanted += disk->map[rq->sector + i].last->is_hole;
    if (wanted > 0 && disk->allocated + wanted > f->space)
      return -ENOSPC;
  }
  return 0;
}

/* Microseconds, mostly; by chance a thousand times more. */
static uint64_t
choose_latency_ns (const struct sim_disk *disk)
{
  uint64_t ns = 1000 + sim_below (1U << (10 + sim_below (8)));

  if (disk->faults.slow > 0)
    ns *= disk->faults.slow;
  if (sim_one_in (disk->faults.stall_one_in))
    ns += UINT64_C (1000000000) * (1 + sim_below (100));
  return ns;
}

/*----- requests --------------------------------------------------------*/

static const char *const op_names[SIM_OPS] = { "read", "write", "flush",
                                               "zero" };

static bool
changes_sectors (const struct request *rq)
{
  return rq->op == SIM_WRITE || rq->op == SIM_ZERO;
}

static void
gather (const struct iovec *iov, int iovcnt, struct version **versions)
{
  size_t at = 0; /* in the sector */
  int i;

  for (i = 0; i < iovcnt; ++i) {
    const unsigned char *p = iov[i].iov_base;
    size_t left = iov[i].iov_len;

    while (left > 0) {
      size_t n = MIN_OF (left, SECTOR_SIZE - at);

      memcpy ((*versions)->data + at, p, n);
      p += n;
      left -= n;
      at += n;
      if (at == SECTOR_SIZE) {
        at = 0;
        versions++;
      }
    }
  }
}

static sector_t
sectors_of (const struct iovec *iov, int iovcnt)
{
  uint64_t bytes = 0;
  int i;

  for (i = 0; i < iovcnt; ++i)
    bytes += iov[i].iov_len;
  return bytes >> SECTOR_SHIFT;
}

/* Let sectors up to number UNTIL of the request be seen. */
static void
request_show (struct request *rq, sector_t until)
{
  struct sim_disk *disk = rq->disk;

  for (; rq->done < until; ++rq->done) {
    struct version *v = rq->versions[rq->done];

    rq->versions[rq->done] = NULL;
    repair_sector (disk, rq->sector + rq->done);
    show_version (disk, rq->sector + rq->done, v);
  }
  disk->modified_ns = sim_now_ns ();
}

static struct request *
request_begin (struct sim_disk *disk, enum sim_op op, sector_t sector,
               sector_t count, unsigned flags)
{
  struct request *rq = calloc (1, sizeof *rq);

  if (rq == NULL)
    abort ();
  rq->disk = disk;
  rq->op = op;
  rq->sector = sector;
  rq->count = count;
  rq->flags = flags;
  list_push_back (&disk->requests, &rq->link);
  return rq;
}

/* It is on its way. */
static void
request_issue (struct request *rq)
{
  struct sim_disk *disk = rq->disk;
  sector_t i;

  if (power_is_on)
    sim_event ();
  if (!power_is_on) {
    rq->is_void = true;
    return;
  }
  disk->calls[rq->op]++;
  disk->all_calls++;
  if (disk->faults.gone_after > 0 && !disk->is_gone &&
      disk->all_calls > disk->faults.gone_after) {
    disk->is_gone = true;
    sim_disk_counters.gone++;
    sim_trace ("disk %s is gone", disk->name);
  }
  rq->issued = sim_tick ();
  rq->error = choose_error (disk, rq);
  rq->end_ns = sim_now_ns () + choose_latency_ns (disk);
  rq->limit = rq->count;
  if (rq->error < 0) {
    sim_disk_counters.failed[rq->op]++;
    rq->limit = disk->is_gone || rq->count == 0
                  ? 0
                  : sim_below ((unsigned) rq->count + 1);
  }
  if (changes_sectors (rq)) {
    rq->versions = malloc ((rq->count + 1) * sizeof rq->versions[0]);
    if (rq->versions == NULL)
      abort ();
    for (i = 0; i < rq->count; ++i) {
      rq->versions[i] = version_get ();
      rq->versions[i]->request = rq;
    }
    if (rq->op == SIM_WRITE)
      gather (rq->iov, rq->iovcnt, rq->versions);
    else
      for (i = 0; i < rq->count; ++i) {
        rq->versions[i]->is_hole = (rq->flags & BDEV_UNMAP) != 0;
        memset (rq->versions[i]->data, 0, SECTOR_SIZE);
      }
    if (sim_one_in (2))
      request_show (rq, sim_below ((unsigned) rq->limit + 1));
  }
  if (sim_is_traced ())
    sim_trace ("disk %s: %s %" PRIu64 "+%" PRIu64 "%s%s", disk->name,
               op_names[rq->op], rq->sector, rq->count,
               rq->flags & BDEV_FUA ? " fua" : "",
               rq->error < 0 ? ", will fail" : "");
}

/* What was to be written is still what was written. */
static void
check_memory (struct request *rq)
{
  struct version *copies[64];
  sector_t i, n = MIN_OF (rq->count, ARRAY_COUNT (copies));
  struct iovec iov = rq->iov[0];

  /* The first piece tells enough. */
  n = MIN_OF (n, iov.iov_len >> SECTOR_SHIFT);
  for (i = 0; i < n; ++i) {
    const struct version *v = rq->versions[i];

    if (v != NULL && memcmp (v->data, (char *) iov.iov_base + i * SECTOR_SIZE,
                             SECTOR_SIZE) != 0)
      sim_fail ("disk %s: memory was changed while it was being written",
                rq->disk->name);
  }
}

static void
request_free (struct request *rq)
{
  sector_t i;

  list_remove (&rq->link);
  if (rq->versions != NULL)
    for (i = 0; i < rq->count; ++i)
      version_put (rq->versions[i]);
  free (rq->versions);
  free (rq);
}

static void
finish_write (struct request *rq)
{
  struct sim_disk *disk = rq->disk;
  uint64_t tick = sim_tick ();
  sector_t i;

  if (rq->op == SIM_WRITE)
    check_memory (rq);
  request_show (rq, rq->limit);
  for (i = 0; i < rq->limit; ++i) {
    struct sector *s = &disk->map[rq->sector + i];
    struct version *v;

    for (v = s->first; v != NULL; v = v->next) {
      if (v->request == rq) {
        v->completed = tick;
        v->request = NULL;
      }
    }
    if ((rq->flags & BDEV_FUA) && rq->error == 0)
      settle_version (disk, rq->sector + i, completed_version (s, tick));
  }
  if (rq->flags & BDEV_FUA)
    forget_clean_sectors (disk);
}

static void
finish_read (struct request *rq)
{
  struct version *one = NULL;
  size_t at = 0;
  sector_t sector = rq->sector;
  int i;

  for (i = 0; i < rq->iovcnt; ++i) {
    unsigned char *p = rq->iov[i].iov_base;
    size_t left = rq->iov[i].iov_len;

    while (left > 0) {
      size_t n = MIN_OF (left, SECTOR_SIZE - at);

      one = rq->disk->map[sector].last;
      if (rq->error < 0)
        memset (p, 0xe1, n); /* nobody's data */
      else
        memcpy (p, one->data + at, n);
      p += n;
      left -= n;
      at += n;
      if (at == SECTOR_SIZE) {
        at = 0;
        sector++;
      }
    }
  }
}

/* Wait for the end of RQ, which is then gone.  Returns its error. */
static int
request_end (struct request *rq)
{
  struct sim_disk *disk = rq->disk;
  int r;

  if (rq->versions != NULL && rq->limit > 1 && !rq->is_void && sim_one_in (4)) {
    uint64_t now = sim_now_ns ();

    /* In two parts. */
    if (rq->end_ns > now + 2)
      (void) sim_block (op_names[rq->op], NULL, now + (rq->end_ns - now) / 2);
    if (!rq->is_void)
      request_show (rq, rq->done +
                          sim_below ((unsigned) (rq->limit - rq->done) + 1));
  }
  if (!rq->is_void && rq->end_ns > sim_now_ns ())
    (void) sim_block (op_names[rq->op], NULL, rq->end_ns);
  if (!rq->is_void && rq->op != SIM_READ)
    sim_event ();
  if (rq->is_void)
    r = -EIO;
  else {
    if (changes_sectors (rq))
      finish_write (rq);
    else if (rq->op == SIM_READ)
      finish_read (rq);
    else if (rq->error == 0)
      settle_until (disk, rq->issued);
    r = rq->error;
    if (r < 0)
      sim_trace ("disk %s: %s failed", disk->name, op_names[rq->op]);
  }
  request_free (rq);
  return r;
}

/*----- the device ------------------------------------------------------*/

/* One opening of a disk. */
struct handle {
  struct sim_disk *disk;
  int flush_error; /* for ever */
  void (*closed) (void *opaque);
  void *opaque;
};

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
                                               .extent = disk_extent };
static const struct bdev_ops bare_ops = { COMMON_SLOTS, WRITE_SLOTS };
static const struct bdev_ops plain_ops = { COMMON_SLOTS, WRITE_SLOTS,
                                           ZERO_SLOTS };
static const struct bdev_ops begin_ops = { COMMON_SLOTS, WRITE_SLOTS,
                                           ZERO_SLOTS, BEGIN_SLOTS };

/*----- losing ----------------------------------------------------------*/

/* What of SECTOR stays when all that is not durable may go. */
static struct version *
choose_survivor (const struct sector *s, unsigned mood)
{
  struct version *v = s->first;
  unsigned n = 0;

  if (mood == 0)
    return s->first;
  if (mood == 1)
    return s->last;
  for (; v != s->last; v = v->next)
    n++;
  n = sim_choose (n + 1);
  for (v = s->first; n > 0; --n)
    v = v->next;
  return v;
}

static void
lose_sectors (struct sim_disk *disk)
{
  /* All that can go, nothing, or by chance. */
  unsigned mood = sim_is_choosing () ? 2 : sim_below (6);
  sector_t i;

  for (i = 0; i < disk->dirty_count; ++i) {
    struct sector *s = &disk->map[disk->dirty[i]];
    struct version *kept = choose_survivor (s, mood);

    sim_disk_counters.lost_sectors += kept != s->last;
    sim_disk_counters.stale_sectors += kept != s->last && kept != s->first;
    if (sim_is_traced ())
      sim_trace ("disk %s: sector %" PRIu64 " has %s", disk->name,
                 disk->dirty[i],
                 kept == s->last    ? "the newest"
                 : kept == s->first ? "what was durable"
                                    : "one in between");
    settle_version (disk, disk->dirty[i], kept);
    while (kept->next != NULL) {
      struct version *next = kept->next;

      kept->next = next->next;
      version_put (next);
    }
    kept->completed = 0;
    s->last = kept;
  }
  disk->allocated = 0;
  for (i = 0; i < disk->sectors; ++i)
    disk->allocated += !disk->map[i].last->is_hole;
  forget_clean_sectors (disk);
}

/* Requests in flight may have come to any sector, or not. */
static void
end_requests (struct sim_disk *disk)
{
  struct list *link;

  list_for_each (link, &disk->requests) {
    struct request *rq = list_entry (link, struct request, link);
    sector_t i, shown = rq->done;

    if (rq->is_void)
      continue;
    rq->is_void = true;
    if (rq->versions == NULL)
      continue;
    for (i = rq->done; i < rq->count; ++i) {
      if (sim_choose (2) == 0) {
        show_version (disk, rq->sector + i, rq->versions[i]);
        rq->versions[i] = NULL;
        shown++;
      }
    }
    sim_disk_counters.torn_writes += shown > 0 && shown < rq->count;
  }
}

static void
complete_all (struct sim_disk *disk)
{
  uint64_t tick = sim_tick ();
  struct version *v;
  sector_t i;

  for (i = 0; i < disk->dirty_count; ++i) {
    for (v = disk->map[disk->dirty[i]].first; v != NULL; v = v->next) {
      if (v->completed == IN_FLIGHT) {
        v->completed = tick;
        v->request = NULL;
      }
    }
  }
}

void
sim_disk_crash (struct sim_disk *disk, enum sim_crash how)
{
  end_requests (disk);
  complete_all (disk);
  if (how == SIM_POWER_FAILS)
    lose_sectors (disk);
}

/*----- life ------------------------------------------------------------*/

struct sim_disk *
sim_disk_create (const char *name, uint64_t number, sector_t sectors)
{
  struct sim_disk *disk = calloc (1, sizeof *disk);
  sector_t i;

  if (disk == NULL)
    abort ();
  disk->name = strdup (name);
  disk->number = number;
  disk->sectors = sectors;
  disk->map = calloc (sectors + 1, sizeof disk->map[0]);
  disk->dirty = calloc (sectors + 1, sizeof disk->dirty[0]);
  if (disk->name == NULL || disk->map == NULL || disk->dirty == NULL)
    abort ();
  for (i = 0; i < sectors; ++i)
    disk->map[i].first = disk->map[i].last = &hole;
  list_init (&disk->requests);
  return disk;
}

void
sim_disk_destroy (struct sim_disk *disk)
{
  sector_t i;

  assert (list_is_empty (&disk->requests));
  for (i = 0; i < disk->sectors; ++i) {
    struct version *v = disk->map[i].first;

    while (v != NULL) {
      struct version *next = v->next;

      version_put (v);
      v = next;
    }
  }
  free (disk->dirty);
  free (disk->map);
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
  settle_until (disk, sim_tick ());
  return 0;
}

void
sim_disk_look (const struct sim_disk *disk, sector_t sector, sector_t count,
               void *data)
{
  char *p = data;

  for (; count > 0; --count, ++sector, p += SECTOR_SIZE)
    memcpy (p, disk->map[sector].last->data, SECTOR_SIZE);
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
