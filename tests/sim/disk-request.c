/* Requests of simulated disks: when they take effect, and when they fail.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "disk-sim-impl.h"
#include "sim.h"

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

/* The call that fails, of all disks. */
static struct {
  unsigned calls; /* so far */
  unsigned number;
  bool is_for_ever;
} failing;

unsigned
sim_disks_fail_call (unsigned call, bool is_for_ever)
{
  unsigned calls = failing.calls;

  failing.calls = 0;
  failing.number = call;
  failing.is_for_ever = is_for_ever;
  return calls;
}

static bool
is_failing_call (struct sim_disk *disk, enum sim_op op)
{
  struct sim_fault *fault = &disk->faults.ops[op];

  if (++failing.calls != failing.number)
    return false;
  if (failing.is_for_ever) {
    fault->after = 0;
    fault->count = SIM_FOR_EVER;
  }
  return true;
}

static int
choose_error (struct sim_disk *disk, struct request *rq)
{
  const struct sim_disk_faults *f = &disk->faults;
  const struct sim_fault *fault = &f->ops[rq->op];
  unsigned n = disk->calls[rq->op];
  sector_t i;

  if (is_failing_call (disk, rq->op))
    return -EIO;
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

/* The data of a write, a sector each. */
static void
gather (const struct iovec *iov, int iovcnt, struct version **versions)
{
  unsigned char part[SECTOR_SIZE]; /* of a sector in several pieces */
  size_t at = 0;
  int i;

  for (i = 0; i < iovcnt; ++i) {
    const unsigned char *p = iov[i].iov_base;
    size_t left = iov[i].iov_len;

    for (; at == 0 && left >= SECTOR_SIZE; left -= SECTOR_SIZE) {
      version_store (*versions++, p);
      p += SECTOR_SIZE;
    }
    while (left > 0) {
      size_t n = MIN_OF (left, SECTOR_SIZE - at);

      memcpy (part + at, p, n);
      p += n;
      left -= n;
      at += n;
      if (at == SECTOR_SIZE) {
        at = 0;
        version_store (*versions++, part);
      }
    }
  }
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
    sector_show (disk, rq->sector + rq->done, v);
  }
  disk->modified_ns = sim_now_ns ();
}

struct request *
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

void
request_issue (struct request *rq)
{
  struct sim_disk *disk = rq->disk;
  sector_t i;

  if (sim_power_is_on ())
    sim_event ();
  if (!sim_power_is_on ()) {
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
      for (i = 0; i < rq->count; ++i)
        rq->versions[i]->is_hole = (rq->flags & BDEV_UNMAP) != 0;
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

    if (v != NULL &&
        !version_is (v, (unsigned char *) iov.iov_base + i * SECTOR_SIZE))
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
    sector_complete (disk, rq->sector + i, rq, tick);
    if ((rq->flags & BDEV_FUA) && rq->error == 0)
      sector_settle (disk, rq->sector + i, tick);
  }
  if (rq->flags & BDEV_FUA)
    sectors_forget_clean (disk);
}

static void
finish_read (struct request *rq)
{
  const struct sector *sector = &rq->disk->map[rq->sector];
  unsigned char part[SECTOR_SIZE];
  size_t at = 0; /* in the sector */
  int i;

  for (i = 0; i < rq->iovcnt; ++i) {
    unsigned char *p = rq->iov[i].iov_base;
    size_t left = rq->iov[i].iov_len;

    if (rq->error < 0) {
      memset (p, 0xe1, left); /* nobody's data */
      continue;
    }
    for (; at == 0 && left >= SECTOR_SIZE; left -= SECTOR_SIZE) {
      version_load (sector++->last, p);
      p += SECTOR_SIZE;
    }
    while (left > 0) {
      size_t n = MIN_OF (left, SECTOR_SIZE - at);

      if (at == 0)
        version_load (sector->last, part);
      memcpy (p, part + at, n);
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

int
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
      sectors_settle (disk, rq->issued);
    r = rq->error;
    if (r < 0)
      sim_trace ("disk %s: %s failed", disk->name, op_names[rq->op]);
  }
  request_free (rq);
  return r;
}

/*----- losing ----------------------------------------------------------*/

void
requests_crash (struct sim_disk *disk)
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
        sector_show (disk, rq->sector + i, rq->versions[i]);
        rq->versions[i] = NULL;
        shown++;
      }
    }
    sim_disk_counters.torn_writes += shown > 0 && shown < rq->count;
  }
}
