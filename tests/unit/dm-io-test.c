/* What the unit tests of dm-io share: memory, the six calls, and disks.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "dm-io-test.h"

/*----- memory of three kinds -------------------------------------------*/

const unsigned whole_sectors[] = { 512, 4096, 1024, 0 };
const unsigned odd_pieces[] = { 1, 511, 7, 700, EMPTY_PIECE, 4096, 13, 0 };
const unsigned small_pieces[] = { 5, EMPTY_PIECE, 4, EMPTY_PIECE, 4, 0 };
const unsigned tiny_pieces[] = { 1, 2, 0 };

struct memory
memory_of_pages (size_t bytes, unsigned offset)
{
  struct memory m = { .kind = PAGES, .bytes = bytes, .offset = offset };
  unsigned i;

  m.count = (unsigned) div_round_up (offset + bytes, DM_PAGE_SIZE);
  m.pages = test_alloc (m.count * sizeof *m.pages);
  for (i = 0; i < m.count; ++i) {
    m.pages[i].page = page_of_address (test_alloc (DM_PAGE_SIZE));
    m.pages[i].next = i + 1 < m.count ? &m.pages[i + 1] : NULL;
  }
  return m;
}

struct memory
memory_of_vector (size_t bytes, const unsigned *lengths)
{
  struct memory m = { .kind = VECTOR, .bytes = bytes };
  const unsigned *len = lengths;
  size_t left = bytes;

  m.bvec = test_alloc ((2 * bytes + 2) * sizeof *m.bvec);
  while (left > 0) {
    size_t n = *len == EMPTY_PIECE ? 0 : MIN_OF (*len, left);
    /* The offset is anything: the piece ends where its memory does. */
    unsigned skip = m.count % 3 * 100;

    m.bvec[m.count++] = (struct bio_vec){
      .bv_page = page_of_address (test_alloc (skip + n)),
      .bv_len = (unsigned) n,
      .bv_offset = skip,
    };
    left -= n;
    if (*++len == 0)
      len = lengths;
  }
  m.bvec[m.count] = (struct bio_vec){ .bv_page = NULL, .bv_len = 512 };
  return m;
}

struct memory
memory_of_kind (enum memory_kind kind, size_t bytes)
{
  switch (kind) {
  case PAGES:
    return memory_of_pages (bytes, 100);
  case VECTOR:
    return memory_of_vector (bytes, odd_pieces);
  default:
    return (struct memory){ .kind = PLAIN,
                            .bytes = bytes,
                            .plain = test_alloc (bytes) };
  }
}

void
memory_free (struct memory *m)
{
  unsigned i;

  for (i = 0; i < m->count; ++i)
    free (m->kind == PAGES ? page_address (m->pages[i].page)
                           : page_address (m->bvec[i].bv_page));
  free (m->pages);
  free (m->bvec);
  free (m->plain);
}

void
memory_copy (const struct memory *m, char *data, bool to_memory)
{
  size_t left = m->bytes;
  unsigned i;

  for (i = 0; left > 0; ++i) {
    char *at;
    size_t n;

    if (m->kind == PAGES) {
      unsigned skip = i == 0 ? m->offset : 0;

      at = (char *) page_address (m->pages[i].page) + skip;
      n = MIN_OF (left, DM_PAGE_SIZE - skip);
    }
    else if (m->kind == VECTOR) {
      at = (char *) page_address (m->bvec[i].bv_page) + m->bvec[i].bv_offset;
      n = m->bvec[i].bv_len;
    }
    else {
      at = m->plain;
      n = left;
    }
    memcpy (to_memory ? at : data, to_memory ? data : at, n);
    data += n;
    left -= n;
  }
}

void
memory_fill (const struct memory *m, uint64_t seed)
{
  char *data = test_alloc (m->bytes);

  fill_pattern (data, seed, 0, m->bytes / 512);
  memory_copy (m, data, true);
  free (data);
}

/*----- six calls -------------------------------------------------------*/

void
note_completion (unsigned long bits, void *context)
{
  struct completion *c = context;

  mutex_lock (&c->calls.lock);
  c->bits = c->bits == UNTOUCHED ? bits : c->bits | bits;
  c->thread = pthread_self ();
  mutex_unlock (&c->calls.lock);
  event_count_add (&c->calls);
}

void
never_called (unsigned long bits, void *context)
{
  (void) bits;
  (void) context;
  abort ();
}

int
submit (unsigned n, struct io_region *where, int rw, const struct memory *m,
        io_notify_fn fn, void *context)
{
  switch (m->kind) {
  case PAGES:
    return dm_io_async (n, where, rw, m->pages, m->offset, fn, context);
  case VECTOR:
    return dm_io_async_bvec (n, where, rw, m->bvec, fn, context);
  default:
    return dm_io_async_vm (n, where, rw, m->plain, fn, context);
  }
}

int
call_dm_io (bool is_async, unsigned n, struct io_region *where, int rw,
            const struct memory *m, unsigned long *bits)
{
  struct completion c = { .bits = UNTOUCHED };
  int r;

  if (!is_async) {
    *bits = UNTOUCHED;
    switch (m->kind) {
    case PAGES:
      return dm_io_sync (n, where, rw, m->pages, m->offset, bits);
    case VECTOR:
      return dm_io_sync_bvec (n, where, rw, m->bvec, bits);
    default:
      return dm_io_sync_vm (n, where, rw, m->plain, bits);
    }
  }

  event_count_init (&c.calls);
  ck_assert_int_eq (dm_io_get (1), 0);
  r = submit (n, where, rw, m, note_completion, &c);
  if (r == 0) {
    event_count_wait (&c.calls, 1);
    ck_assert (!pthread_equal (c.thread, pthread_self ()));
    r = c.bits != 0 ? -EIO : 0;
  }
  dm_io_put (1); /* all threads have ended: nothing can call now */
  ck_assert_uint_eq (event_count_get (&c.calls), c.bits == UNTOUCHED ? 0 : 1);
  event_count_destroy (&c.calls);
  *bits = c.bits;
  return r;
}

/*----- disks -----------------------------------------------------------*/

enum disk_kind disk_kind;
struct fault_trace *trace;
struct fault_bdev *disks[DISKS];
struct block_device *devices[DISKS];
unsigned disk_count;
sector_t disk_sectors;

enum disk_kind
kind_of_disk (unsigned i)
{
  return disk_kind == MIXED ? i % MIXED : disk_kind;
}

static void
open_disk (unsigned i)
{
  static const enum fault_flight flights[] = {
    [BLOCKING] = FAULT_AT_END,
    [IN_FLIGHT_TO_END] = FAULT_AT_END,
    [IN_FLIGHT_AT_ONCE] = FAULT_AT_BEGIN,
    [IN_FLIGHT_ELSEWHERE] = FAULT_ELSEWHERE,
  };
  enum disk_kind kind = kind_of_disk (i);

  devices[i] = fault_bdev_open (disks[i],
                                kind == BLOCKING ? 0 : FAULT_OPEN_FLIGHT);
  fault_bdev_set_flight (disks[i], flights[kind]);
  if (disk_kind == MIXED && i % 3 == 0)
    fault_bdev_add_rule (disks[i], &(struct fault_rule){ .ops = FAULT_ALL,
                                                         .every = 3,
                                                         .error = -EAGAIN,
                                                         .at_begin = true });
}

void
setup_disks (unsigned count, sector_t sectors)
{
  char *data = test_alloc_sectors (sectors);
  unsigned i;

  trace = fault_trace_create ();
  for (i = 0; i < count; ++i) {
    char name[16];

    (void) snprintf (name, sizeof name, "d%u", i);
    disks[i] = fault_bdev_create (name, sectors, trace);
    open_disk (i);
    fill_pattern (data, 1000 + i, 0, sectors);
    fault_bdev_load (disks[i], 0, sectors, data);
  }
  disk_count = count;
  disk_sectors = sectors;
  free (data);
}

void
setup (unsigned count)
{
  setup_disks (count, DISK_SECTORS);
}

void
teardown (void)
{
  unsigned i;

  for (i = 0; i < disk_count; ++i) {
    bdev_close (devices[i]);
    fault_bdev_destroy (disks[i]);
  }
  fault_trace_destroy (trace);
}

struct io_region
region (unsigned disk, sector_t sector, sector_t count)
{
  return (struct io_region){
    .bdev = devices[disk],
    .sector = sector,
    .count = count,
  };
}

void
assert_more_is_exact (void)
{
  size_t i, count = fault_trace_count (trace);
  struct fault_event last = { .op = FAULT_END };

  for (i = 0; i < count; ++i) {
    struct fault_event e = fault_trace_event (trace, i);

    if (!(e.op & STEPS)) {
      /* What blocks is no begin.  Effects of what is in flight are none of
       * ours; here they are at the ends.
       */
      if (disk_kind == IN_FLIGHT_TO_END)
        ck_assert (!(last.op & FAULT_BEGIN) || !last.more);
      continue;
    }
    if ((last.op & FAULT_BEGIN) && last.more)
      ck_assert (e.op & FAULT_BEGIN);
    if ((last.op & FAULT_BEGIN) && !last.more && last.error == 0)
      ck_assert (e.op & FAULT_END);
    last = e;
  }
  ck_assert (!(last.op & FAULT_BEGIN) || !last.more);
}

/*----- suites ----------------------------------------------------------*/

#define ON_DISKS_OF_KIND(name, kind) \
  static void name (void) \
  { \
    disk_kind = (kind); \
  }

ON_DISKS_OF_KIND (on_blocking, BLOCKING)
ON_DISKS_OF_KIND (on_flight_to_end, IN_FLIGHT_TO_END)
ON_DISKS_OF_KIND (on_flight_at_once, IN_FLIGHT_AT_ONCE)
ON_DISKS_OF_KIND (on_flight_elsewhere, IN_FLIGHT_ELSEWHERE)
ON_DISKS_OF_KIND (on_mixed, MIXED)

int
dm_io_main (const char *name, const TTest *const *tests)
{
  static const struct {
    const char *name;
    SFun set;
  } kinds[DISK_KINDS] = {
    { "blocking", on_blocking },
    { "to-end", on_flight_to_end },
    { "at-once", on_flight_at_once },
    { "elsewhere", on_flight_elsewhere },
    { "mixed", on_mixed },
  };
  Suite *suite = suite_create (name);
  SRunner *runner;
  unsigned i, j;
  int failed;

  for (i = unit_is_quick () ? MIXED : BLOCKING; i < DISK_KINDS; ++i) {
    TCase *tcase = tcase_create (kinds[i].name);

    tcase_add_unchecked_fixture (tcase, kinds[i].set, NULL);
    for (j = 0; tests[j] != NULL; ++j)
      tcase_add_test (tcase, tests[j]);
    tcase_set_timeout (tcase, TEST_TIMEOUT_SECONDS);
    suite_add_tcase (suite, tcase);
  }
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_ENV);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
