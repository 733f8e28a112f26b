/* Unit tests of dm-io: random requests, compared with a model of the disks.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Any operation, flags, memory and number of io_regions, synchronous and
 * not, on disks of all kinds which refuse and fail now and then.  After
 * each request: the result, exactly the right bits and errors, and every
 * sector of every disk.
 *
 * SEED in the environment repeats a run; it is printed.
 */

#include <config.h>

#include "dm-io-test.h"

#define MODEL_DISKS 6
#define MODEL_SECTORS ((sector_t) 300)
/* The thread sanitizer makes them twenty times slower. */
#ifdef __SANITIZE_THREAD__
#define REQUESTS 100
#else
#define REQUESTS 1000
#endif
#define QUICK_REQUESTS 100
#define MAX_REGIONS 64

static const int fault_errors[] = { -EIO, -ENOSPC, -ENOLINK, -ETIMEDOUT };

/* One request, and what must become of it. */
struct request {
  unsigned n;
  int rw;
  bool is_async;
  struct memory memory;
  char *data; /* what the memory held */
  struct io_region where[MAX_REGIONS];
  unsigned disk[MAX_REGIONS];
  bool is_refused[MAX_REGIONS]; /* nothing of it is done */
  bool is_cut[MAX_REGIONS];     /* the memory ends before */
  int fault[MAX_REGIONS];       /* it may fail so, or 0 */
  unsigned failed_before[MODEL_DISKS];
};

static uint64_t random_state;
static unsigned char *model[MODEL_DISKS];
static struct block_device *read_only[MODEL_DISKS];

static unsigned
draw (unsigned n)
{
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (unsigned) ((random_state >> 20) % n);
}

static bool
one_in (unsigned n)
{
  return draw (n) == 0;
}

static int
op_of (const struct request *rq)
{
  return rq->rw & DM_IO_OP_MASK;
}

static bool
is_transfer (const struct request *rq)
{
  return op_of (rq) == DM_IO_READ || op_of (rq) == DM_IO_WRITE;
}

/*----- making a request ------------------------------------------------*/

static int
draw_operation (void)
{
  int flags = (one_in (3) ? DM_IO_FUA : 0) | (one_in (4) ? DM_IO_PREFLUSH : 0);

  switch (draw (10)) {
  case 0:
  case 1:
    return DM_IO_READ;
  case 2:
    return DM_IO_FLUSH;
  case 3:
    return DM_IO_DISCARD | flags;
  case 4:
    return DM_IO_WRITE_ZEROES | flags | (one_in (2) ? DM_IO_UNMAP : 0) |
           (one_in (2) ? DM_IO_FAST : 0);
  default:
    return DM_IO_WRITE | flags;
  }
}

static sector_t
draw_count (void)
{
  if (one_in (10))
    return 0;
  if (one_in (15))
    return draw (MODEL_SECTORS - 1) + 1;
  return draw (12) + 1;
}

static bool
is_free (const struct request *rq, unsigned i, sector_t sector, sector_t count)
{
  unsigned j;

  for (j = 0; j < i; ++j)
    if (rq->disk[j] == rq->disk[i] && !rq->is_refused[j] &&
        sector < rq->where[j].sector + rq->where[j].count &&
        rq->where[j].sector < sector + count)
      return false;
  return true;
}

/* io_region I: on no other's sectors. */
static void
draw_region (struct request *rq, unsigned i)
{
  unsigned disk = rq->disk[i] = draw (MODEL_DISKS);
  sector_t count = draw_count ();
  sector_t sector = draw ((unsigned) (MODEL_SECTORS - count) + 1);

  rq->is_refused[i] = rq->is_cut[i] = false;
  rq->fault[i] = 0;
  if (!is_free (rq, i, sector, count))
    count = 0;
  rq->where[i] = region (disk, sector, count);
  if (op_of (rq) == DM_IO_FLUSH)
    return;
  if (count == 0) {
    if (one_in (2))
      rq->where[i].sector = UINT64_MAX;
    if (one_in (2) && !(rq->rw & DM_IO_PREFLUSH))
      rq->where[i].bdev = NULL;
  }
  else if (one_in (30)) {
    rq->is_refused[i] = true;
    rq->where[i].sector = one_in (2) ? MODEL_SECTORS - count + 1 : UINT64_MAX;
  }
  else if (one_in (30) && op_of (rq) != DM_IO_READ) {
    rq->is_refused[i] = true;
    rq->where[i].bdev = read_only[disk];
  }
}

static struct memory
draw_memory (size_t bytes)
{
  unsigned lengths[9];
  unsigned i, n = draw (8) + 1;

  switch (draw (MEMORY_KINDS)) {
  case PAGES:
    return memory_of_pages (bytes, draw (DM_PAGE_SIZE));
  case VECTOR:
    if (one_in (8) && bytes < 40 * 512)
      return memory_of_vector (bytes, one_in (2) ? tiny_pieces : small_pieces);
    for (i = 0; i < n; ++i)
      lengths[i] = i > 0 && one_in (6) ? EMPTY_PIECE
                   : one_in (2)        ? 512 * (draw (8) + 1)
                                       : draw (5000) + 50;
    lengths[n] = 0;
    return memory_of_vector (bytes, lengths);
  default:
    return memory_of_kind (PLAIN, bytes);
  }
}

/* Faults: at most one on each disk, in the range of an io_region, so that
 * it is known whose it was.
 */
static void
draw_faults (struct request *rq)
{
  unsigned hit = 0, i;

  for (i = 0; i < MODEL_DISKS; ++i) {
    fault_bdev_heal (disks[i]);
    rq->failed_before[i] = fault_bdev_failed (disks[i]);
    if (one_in (3))
      fault_bdev_add_rule (disks[i], &(struct fault_rule){ .ops = FAULT_ALL,
                                                           .skip = draw (4),
                                                           .times = draw (5),
                                                           .every = draw (4),
                                                           .error = -EAGAIN,
                                                           .at_begin = true });
    /* A device that cannot make zeroes. */
    if (one_in (4) && !(rq->rw & DM_IO_FAST))
      fault_bdev_add_rule (disks[i],
                           &(struct fault_rule){ .ops = FAULT_ZERO,
                                                 .times = draw (2),
                                                 .error = -EOPNOTSUPP,
                                                 .at_begin = one_in (2) });
  }
  for (i = 0; i < rq->n; ++i)
    if (one_in (6) && !(hit >> rq->disk[i] & 1) && !rq->is_refused[i] &&
        rq->where[i].count > 0) {
      struct fault_rule rule = {
        .ops = op_of (rq) == DM_IO_WRITE_ZEROES ? FAULT_WRITE : FAULT_ALL,
        .sector = rq->where[i].sector,
        .count = rq->where[i].count,
        .skip = draw (3),
        .times = 1,
        .error = fault_errors[draw (ARRAY_COUNT (fault_errors))],
        .sectors_done = draw (4),
        .at_begin = one_in (3),
      };

      hit |= 1U << rq->disk[i];
      rq->fault[i] = rule.error;
      fault_bdev_add_rule (disks[rq->disk[i]], &rule);
    }
}

static void
draw_request (struct request *rq)
{
  sector_t longest = 1;
  size_t bytes;
  unsigned i;

  rq->rw = draw_operation ();
  rq->is_async = one_in (4);
  rq->n = op_of (rq) == DM_IO_READ ? draw (2)
          : one_in (20)            ? draw (MAX_REGIONS + 1)
                                   : draw (12) + 1;
  for (i = 0; i < rq->n; ++i) {
    draw_region (rq, i);
    if (rq->where[i].count > longest)
      longest = rq->where[i].count;
  }
  bytes = sector_to_bytes (longest + (one_in (4) ? draw (10) : 0));
  rq->memory = draw_memory (bytes);
  if (rq->memory.kind != PLAIN && one_in (8)) { /* too short */
    memory_free (&rq->memory);
    rq->memory = memory_of_vector (512 * draw ((unsigned) longest) +
                                     draw (512) + 1,
                                   odd_pieces);
  }
  for (i = 0; i < rq->n; ++i)
    rq->is_cut[i] = is_transfer (rq) && !rq->is_refused[i] &&
                    sector_to_bytes (rq->where[i].count) > rq->memory.bytes;
  rq->data = test_alloc (rq->memory.bytes + 512);
  fill_pattern (rq->data, random_state, 0, rq->memory.bytes / 512 + 1);
  memory_copy (&rq->memory, rq->data, true);
  draw_faults (rq);
}

/*----- what it must have done ------------------------------------------*/

/* Is the fault of io_region I the one that struck its disk? */
static bool
has_struck (const struct request *rq, unsigned i)
{
  unsigned disk = rq->disk[i];
  /* Zeroes that could not be made count as failures, too. */
  unsigned failed = fault_bdev_failed (disks[disk]) - rq->failed_before[disk];

  return rq->fault[i] != 0 && op_of (rq) != DM_IO_WRITE_ZEROES && failed > 0;
}

/* The new content of sector S of io_region I. */
static const char *
new_sector (const struct request *rq, unsigned i, sector_t s)
{
  static const char zeroes[512];
  sector_t index = s - rq->where[i].sector;

  if (op_of (rq) != DM_IO_WRITE)
    return zeroes;
  if (sector_to_bytes (index + 1) > rq->memory.bytes)
    return (const char *) model[rq->disk[i]] + sector_to_bytes (s);
  return rq->data + sector_to_bytes (index);
}

/* A failed one may hold the old or the new in each sector; it is what it is.
 */
static void
update_model (const struct request *rq, unsigned i, bool has_failed)
{
  unsigned char *old = model[rq->disk[i]];
  char *now = test_alloc_sectors (MODEL_SECTORS);
  sector_t s;

  fault_bdev_look (disks[rq->disk[i]], 0, MODEL_SECTORS, now);
  for (s = rq->where[i].sector; s < rq->where[i].sector + rq->where[i].count;
       ++s) {
    const char *expected = new_sector (rq, i, s);
    unsigned char *at = old + sector_to_bytes (s);

    if (has_failed && memcmp (now + sector_to_bytes (s), at, 512) == 0)
      continue;
    memcpy (at, expected, 512);
  }
  free (now);
}

static bool
is_touched (const struct request *rq, unsigned disk, sector_t s)
{
  unsigned i;

  for (i = 0; i < rq->n; ++i)
    if (rq->disk[i] == disk && !rq->is_refused[i] && s >= rq->where[i].sector &&
        s - rq->where[i].sector < rq->where[i].count)
      return true;
  return false;
}

/* A write with DM_IO_FUA is durable; with DM_IO_PREFLUSH all that was there
 * before is, what was not touched since.
 */
static void
assert_durable (const struct request *rq, unsigned i)
{
  const struct io_region *where = &rq->where[i];
  const unsigned char *expected = model[rq->disk[i]];
  char *now = test_alloc_sectors (MODEL_SECTORS);
  sector_t s;

  fault_bdev_look_durable (disks[rq->disk[i]], 0, MODEL_SECTORS, now);
  for (s = 0; s < MODEL_SECTORS; ++s) {
    bool is_mine = s >= where->sector && s - where->sector < where->count;

    if (((rq->rw & DM_IO_FUA) && is_mine) ||
        ((rq->rw & DM_IO_PREFLUSH) && !is_touched (rq, rq->disk[i], s)))
      ck_assert_mem_eq (now + sector_to_bytes (s),
                        expected + sector_to_bytes (s), 512);
  }
  free (now);
}

static void
assert_read (const struct request *rq, bool has_failed)
{
  size_t bytes = rq->n > 0 ? sector_to_bytes (rq->where[0].count) : 0;
  char *now = test_alloc (rq->memory.bytes);

  memory_copy (&rq->memory, now, false);
  bytes = MIN_OF (bytes, rq->memory.bytes);
  if (has_failed)
    assert_all_bytes (now, 0, bytes);
  else if (bytes > 0)
    ck_assert_mem_eq (now,
                      model[rq->disk[0]] +
                        sector_to_bytes (rq->where[0].sector),
                      bytes);
  ck_assert_mem_eq (now + bytes, rq->data + bytes, rq->memory.bytes - bytes);
  free (now);
}

static bool
is_change (const struct request *rq)
{
  return op_of (rq) != DM_IO_READ && op_of (rq) != DM_IO_FLUSH;
}

static void
judge (const struct request *rq, int r, unsigned long bits, const int *errors)
{
  char *now = test_alloc_sectors (MODEL_SECTORS);
  unsigned long expected = 0;
  unsigned i;

  for (i = 0; i < rq->n; ++i) {
    bool struck = has_struck (rq, i);
    bool maybe = rq->fault[i] != 0 && op_of (rq) == DM_IO_WRITE_ZEROES;

    if (op_of (rq) != DM_IO_FLUSH &&
        (rq->is_refused[i] || rq->is_cut[i] || struck))
      expected |= 1UL << i;
    if (maybe)
      expected |= bits & 1UL << i;
    if (errors != NULL) {
      ck_assert_int_eq (errors[i] != 0, bits >> i & 1);
      if (errors[i] != 0 && rq->where[i].bdev == read_only[rq->disk[i]])
        ck_assert_int_eq (errors[i], -EROFS);
      else if (rq->is_refused[i] || (rq->is_cut[i] && !struck))
        ck_assert_int_eq (errors[i], errors[i] != 0 ? -EINVAL : 0);
      else if (errors[i] != 0 && !rq->is_cut[i])
        ck_assert_int_eq (errors[i], rq->fault[i]);
    }
  }
  ck_assert_uint_eq (bits, expected);
  ck_assert_int_eq (r, bits != 0 ? -EIO : 0);

  if (op_of (rq) == DM_IO_READ)
    assert_read (rq, bits != 0);
  for (i = 0; i < rq->n && is_change (rq); ++i)
    if (!rq->is_refused[i] && rq->where[i].count > 0)
      update_model (rq, i, bits >> i & 1);
  for (i = 0; i < rq->n; ++i) {
    if (op_of (rq) == DM_IO_FLUSH)
      ck_assert_uint_eq (fault_bdev_pending (disks[rq->disk[i]]), 0);
    else if (is_change (rq) && !(bits >> i & 1))
      assert_durable (rq, i);
  }
  for (i = 0; i < MODEL_DISKS; ++i) {
    fault_bdev_look (disks[i], 0, MODEL_SECTORS, now);
    ck_assert_mem_eq (now, model[i], sector_to_bytes (MODEL_SECTORS));
    ck_assert_uint_eq (fault_bdev_flying (disks[i]), 0);
  }
  free (now);
}

/*----- the test --------------------------------------------------------*/

static void
perform_one (void)
{
  struct request rq;
  unsigned long bits;
  int errors[MAX_REGIONS];
  int r;

  draw_request (&rq);
  fault_trace_reset (trace);
  if (rq.memory.kind == PLAIN && !rq.is_async && one_in (2)) {
    r = dm_io_sync_vm_errors (rq.n, rq.where, rq.rw, rq.memory.plain, &bits,
                              errors);
    judge (&rq, r, bits, errors);
  }
  else {
    r = call_dm_io (rq.is_async, rq.n, rq.where, rq.rw, &rq.memory, &bits);
    judge (&rq, r, bits, NULL);
  }
  if (!rq.is_async)
    assert_more_is_exact ();
  free (rq.data);
  memory_free (&rq.memory);
}

START_TEST (random_requests_are_as_the_model_says)
{
  const char *seed = getenv ("SEED");
  unsigned requests = unit_is_quick () ? QUICK_REQUESTS : REQUESTS;
  unsigned i;

  random_state = seed != NULL
                   ? strtoull (seed, NULL, 0)
                   : (uint64_t) time (NULL) * 1000 + (uint64_t) getpid ();
  random_state |= 1;
  printf ("SEED=%llu\n", (unsigned long long) random_state);
  (void) fflush (stdout);
  setup_disks (MODEL_DISKS, MODEL_SECTORS);
  for (i = 0; i < MODEL_DISKS; ++i) {
    model[i] = test_alloc_sectors (MODEL_SECTORS);
    fill_pattern (model[i], 1000 + i, 0, MODEL_SECTORS);
    read_only[i] = fault_bdev_open (disks[i],
                                    FAULT_OPEN_READ_ONLY |
                                      (i % 2 ? FAULT_OPEN_FLIGHT : 0));
  }
  for (i = 0; i < requests; ++i)
    perform_one ();
  for (i = 0; i < MODEL_DISKS; ++i) {
    bdev_close (read_only[i]);
    free (model[i]);
  }
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    random_requests_are_as_the_model_says,
    NULL,
  };

  return dm_io_main ("dm-io-model", tests);
}
