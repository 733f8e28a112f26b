/* Unit tests of dm-io: six calls, any memory, a bit for each io_region.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "bits.h"
#include "dm-io.h"
#include "fault-alloc.h"
#include "fault-bdev.h"
#include "test-util.h"

/*----- memory of three kinds -------------------------------------------*/

enum memory_kind {
  PAGES,
  VECTOR,
  PLAIN,
  MEMORY_KINDS,
};

/* Pieces are allocated one by one, so that a sanitizer sees one byte too
 * many.
 */
struct memory {
  enum memory_kind kind;
  size_t bytes;
  unsigned offset;         /* of pages: into the first */
  unsigned count;          /* of pages or elements */
  struct page_list *pages; /* an array, linked in order */
  struct bio_vec *bvec;    /* with a NULL page behind */
  char *plain;
};

/* Lengths of the pieces of a vector, used round and round; 0 ends them,
 * and EMPTY is a piece without bytes.
 */
#define EMPTY UINT_MAX

static const unsigned whole_sectors[] = { 512, 4096, 1024, 0 };
static const unsigned odd_pieces[] = { 1, 511, 7, 700, EMPTY, 4096, 13, 0 };
static const unsigned small_pieces[] = { 5, EMPTY, 4, EMPTY, 4, 0 };
static const unsigned tiny_pieces[] = { 1, 2, 0 };

static struct memory
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

static struct memory
memory_of_vector (size_t bytes, const unsigned *lengths)
{
  struct memory m = { .kind = VECTOR, .bytes = bytes };
  const unsigned *len = lengths;
  size_t left = bytes;

  m.bvec = test_alloc ((2 * bytes + 2) * sizeof *m.bvec);
  while (left > 0) {
    size_t n = *len == EMPTY ? 0 : MIN_OF (*len, left);
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

static struct memory
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

static void
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

/* Copy between all of the memory and DATA. */
static void
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

static void
memory_fill (const struct memory *m, uint64_t seed)
{
  char *data = test_alloc (m->bytes);

  fill_pattern (data, seed, 0, m->bytes / 512);
  memory_copy (m, data, true);
  free (data);
}

#define assert_memory_pattern(m, seed, sector) \
  do { \
    char *data_ = test_alloc ((m)->bytes); \
    memory_copy ((m), data_, false); \
    assert_pattern (data_, (seed), (sector_t) (sector), \
                    (sector_t) (m)->bytes / 512); \
    free (data_); \
  } while (0)

#define assert_memory_zero(m) \
  do { \
    char *data_ = test_alloc ((m)->bytes); \
    memory_copy ((m), data_, false); \
    assert_all_bytes (data_, 0, (m)->bytes); \
    free (data_); \
  } while (0)

/*----- six calls -------------------------------------------------------*/

#define UNTOUCHED 0xdeadbeefUL

/* What the callbacks of one request, or of several, have seen. */
struct completion {
  struct event_count calls;
  unsigned long bits;
  pthread_t thread;
};

static void
note_completion (unsigned long bits, void *context)
{
  struct completion *c = context;

  mutex_lock (&c->calls.lock);
  c->bits = c->bits == UNTOUCHED ? bits : c->bits | bits;
  c->thread = pthread_self ();
  mutex_unlock (&c->calls.lock);
  event_count_add (&c->calls);
}

static int
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

/* Synchronous, or asynchronous and waited for: the same result, after the
 * laws of completion have been checked.
 */
static int
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

/*----- reading and writing ---------------------------------------------*/

#define DISK_SECTORS ((sector_t) 400)

/* Some disks, full of a pattern each, seed 1000 + number. */
#define DISKS 64
static struct fault_trace *trace;
static struct fault_bdev *disks[DISKS];
static struct block_device *devices[DISKS];
static unsigned disk_count;
static sector_t disk_sectors;

static void
setup_disks (unsigned count, sector_t sectors)
{
  char *data = test_alloc_sectors (sectors);
  unsigned i;

  trace = fault_trace_create ();
  for (i = 0; i < count; ++i) {
    char name[16];

    (void) snprintf (name, sizeof name, "d%u", i);
    disks[i] = fault_bdev_create (name, sectors, trace);
    devices[i] = fault_bdev_open (disks[i], 0);
    fill_pattern (data, 1000 + i, 0, sectors);
    fault_bdev_load (disks[i], 0, sectors, data);
  }
  disk_count = count;
  disk_sectors = sectors;
  free (data);
}

static void
setup (unsigned count)
{
  setup_disks (count, DISK_SECTORS);
}

static void
teardown (void)
{
  unsigned i;

  for (i = 0; i < disk_count; ++i) {
    bdev_close (devices[i]);
    fault_bdev_destroy (disks[i]);
  }
  fault_trace_destroy (trace);
}

static struct io_region
region (unsigned disk, sector_t sector, sector_t count)
{
  return (struct io_region){
    .bdev = devices[disk],
    .sector = sector,
    .count = count,
  };
}

/* Disk I holds pattern SEED from SECTOR on for COUNT sectors, which starts
 * like the memory, and around it what it held before.
 */
#define assert_disk_written(i, seed, at, length) \
  do { \
    sector_t sector_ = (at), count_ = (length); \
    char *data_ = test_alloc_sectors (disk_sectors); \
    fault_bdev_look (disks[i], 0, disk_sectors, data_); \
    assert_pattern (data_, 1000 + (i), (sector_t) 0, sector_); \
    assert_pattern (data_ + sector_ * 512, (seed), (sector_t) 0, count_); \
    assert_pattern (data_ + (sector_ + count_) * 512, 1000 + (i), \
                    sector_ + count_, disk_sectors - sector_ - count_); \
    free (data_); \
  } while (0)

#define assert_disk_untouched(i) assert_disk_written (i, 0, 0, 0)

/* Write MEMORY to three io_regions of unequal counts and read it back. */
static void
write_and_read (bool is_async, const struct memory *m, uint64_t seed)
{
  sector_t count = m->bytes / 512;
  struct io_region where[3];
  unsigned long bits;

  setup (3);
  where[0] = region (0, 7, count);
  where[1] = region (1, 0, count > 1 ? count - 1 : 1);
  where[2] = region (2, DISK_SECTORS - 1, 1);
  memory_fill (m, seed);
  ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_WRITE, m, &bits), 0);
  ck_assert_uint_eq (bits, 0);
  assert_disk_written (0, seed, where[0].sector, where[0].count);
  assert_disk_written (1, seed, where[1].sector, where[1].count);
  assert_disk_written (2, seed, where[2].sector, where[2].count);

  memory_fill (m, seed + 1);
  ck_assert_int_eq (call_dm_io (is_async, 1, where, DM_IO_READ, m, &bits), 0);
  ck_assert_uint_eq (bits, 0);
  assert_memory_pattern (m, seed, 0);
  teardown ();
}

START_TEST (pages_from_any_offset)
{
  static const unsigned offsets[] = { 0, 1, 511, 512, 513, 2048, 4095 };
  static const unsigned counts[] = { 1, 2, 7, 8, 9, 33 };
  unsigned i, j, is_async;

  for (i = 0; i < ARRAY_COUNT (offsets); ++i)
    for (j = 0; j < ARRAY_COUNT (counts); ++j)
      for (is_async = 0; is_async < 2; ++is_async) {
        struct memory m = memory_of_pages (counts[j] * (size_t) 512,
                                           offsets[i]);

        write_and_read (is_async, &m, 10 * i + j);
        memory_free (&m);
      }
}
END_TEST

/* More than a page of pages in one go of the device (128 pieces). */
START_TEST (pages_of_many_pieces)
{
  struct memory m = memory_of_pages (390 * 512, 0);
  struct memory apart;
  unsigned i;

  write_and_read (false, &m, 1);
  memory_free (&m);

  /* Every other page of a slab: none can be joined to the next. */
  apart = memory_of_vector (390 * 512, small_pieces);
  for (i = 0; i < 2; ++i)
    write_and_read (i, &apart, 2);
  memory_free (&apart);
}
END_TEST

START_TEST (vectors_of_any_pieces)
{
  static const unsigned *const shapes[] = {
    whole_sectors,
    odd_pieces,
    small_pieces,
  };
  static const unsigned counts[] = { 1, 2, 9, 50, 300 };
  unsigned i, j, is_async;

  for (i = 0; i < ARRAY_COUNT (shapes); ++i)
    for (j = 0; j < ARRAY_COUNT (counts); ++j)
      for (is_async = 0; is_async < 2; ++is_async) {
        struct memory m = memory_of_vector (counts[j] * (size_t) 512,
                                            shapes[i]);

        write_and_read (is_async, &m, 10 * i + j);
        memory_free (&m);
      }
}
END_TEST

/* Hundreds of pieces for one sector. */
START_TEST (vectors_of_tiny_pieces)
{
  struct memory m = memory_of_vector (3 * 512, tiny_pieces);

  write_and_read (false, &m, 1);
  memory_free (&m);
}
END_TEST

START_TEST (plain_memory)
{
  static const unsigned counts[] = { 1, 2, 9, 300 };
  unsigned j, is_async;

  for (j = 0; j < ARRAY_COUNT (counts); ++j)
    for (is_async = 0; is_async < 2; ++is_async) {
      struct memory m = memory_of_kind (PLAIN, counts[j] * (size_t) 512);

      write_and_read (is_async, &m, j);
      memory_free (&m);
    }
}
END_TEST

/* A vector has no need of an end when the io_region says how much. */
START_TEST (vector_without_an_end)
{
  char data[1024];
  struct bio_vec bvec[2] = {
    { .bv_page = page_of_address (data), .bv_len = 0 },
    { .bv_page = page_of_address (data), .bv_len = 1024 },
  };
  struct io_region where;
  unsigned long bits;

  setup (1);
  where = region (0, 3, 2);
  fill_pattern (data, 1, 0, 2);
  ck_assert_int_eq (dm_io_sync_bvec (1, &where, DM_IO_WRITE, bvec, &bits), 0);
  assert_disk_written (0, 1, 3, 2);
  teardown ();
}
END_TEST

/* Eight sectors of memory: io_regions that want more fail, others don't. */
START_TEST (memory_may_be_too_short)
{
  unsigned kind, is_async;

  for (kind = 0; kind < PLAIN; ++kind)
    for (is_async = 0; is_async < 2; ++is_async) {
      struct memory m = kind == PAGES
                          ? memory_of_pages (8 * 512, 0)
                          : memory_of_vector (8 * 512, whole_sectors);
      struct io_region where[4];
      unsigned long bits;

      setup (4);
      where[0] = region (0, 0, 9);
      where[1] = region (1, 0, 8);
      where[2] = region (2, 0, 300);
      where[3] = region (3, 5, 1);
      memory_fill (&m, 1);
      ck_assert_int_eq (call_dm_io (is_async, 4, where, DM_IO_WRITE, &m, &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1 << 0 | 1 << 2);
      assert_disk_written (1, 1, 0, 8);
      assert_disk_written (3, 1, 5, 1);

      ck_assert_int_eq (call_dm_io (is_async, 1, where, DM_IO_READ, &m, &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1);
      assert_memory_zero (&m);
      memory_free (&m);
      teardown ();
    }
}
END_TEST

/* Memory of 8 sectors and a half: the half is no sector. */
START_TEST (memory_may_end_inside_a_sector)
{
  struct memory m = memory_of_vector (8 * 512 + 256, odd_pieces);
  struct io_region where;
  unsigned long bits;

  setup (1);
  where = region (0, 0, 9);
  ck_assert_int_eq (call_dm_io (false, 1, &where, DM_IO_WRITE, &m, &bits),
                    -EIO);
  ck_assert_uint_eq (bits, 1);
  ck_assert_int_eq (call_dm_io (false, 1, &where, DM_IO_READ, &m, &bits), -EIO);
  assert_memory_zero (&m);
  memory_free (&m);
  teardown ();
}
END_TEST

START_TEST (no_memory_at_all)
{
  struct memory none[3] = {
    { .kind = PAGES },
    { .kind = VECTOR },
    { .kind = PLAIN },
  };
  struct io_region where;
  unsigned kind, is_async;
  unsigned long bits;

  for (kind = 0; kind < 3; ++kind)
    for (is_async = 0; is_async < 2; ++is_async) {
      setup (1);
      where = region (0, 0, 1);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_WRITE,
                                    &none[kind], &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_READ,
                                    &none[kind], &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1);
      assert_disk_untouched (0);
      /* Nor is any needed for these. */
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_FLUSH,
                                    &none[kind], &bits),
                        0);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_DISCARD,
                                    &none[kind], &bits),
                        0);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_WRITE_ZEROES,
                                    &none[kind], &bits),
                        0);
      teardown ();
    }
}
END_TEST

/*----- requests that are refused ---------------------------------------*/

static void
never_called (unsigned long bits, void *context)
{
  (void) bits;
  (void) context;
  abort ();
}

/* Every call refuses the request with EXPECTED, does nothing, and leaves
 * the error bits alone.
 */
static void
assert_refused (unsigned n, struct io_region *where, int rw, int expected)
{
  unsigned kind;

  for (kind = 0; kind < MEMORY_KINDS; ++kind) {
    struct memory m = memory_of_kind (kind, 512);
    unsigned long bits;
    int error = 77;

    memory_fill (&m, 5);
    ck_assert_int_eq (call_dm_io (false, n, where, rw, &m, &bits), expected);
    ck_assert_uint_eq (bits, UNTOUCHED);
    if (kind == PLAIN) {
      ck_assert_int_eq (dm_io_sync_vm_errors (n, where, rw, m.plain, &bits,
                                              &error),
                        expected);
      ck_assert_uint_eq (bits, UNTOUCHED);
      ck_assert_int_eq (error, 77);
    }
    ck_assert_int_eq (dm_io_get (1), 0);
    ck_assert_int_eq (submit (n, where, rw, &m, never_called, NULL), expected);
    dm_io_put (1);
    assert_memory_pattern (&m, 5, 0);
    memory_free (&m);
  }
  ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_ALL), 0);
}

START_TEST (too_many_regions)
{
  struct io_region where[DM_IO_MAX_REGIONS + 1];
  unsigned i;

  setup (1);
  ck_assert_uint_eq (DM_IO_MAX_REGIONS, 8 * sizeof (unsigned long));
  for (i = 0; i < ARRAY_COUNT (where); ++i)
    where[i] = region (0, i, 1);
  assert_refused (DM_IO_MAX_REGIONS + 1, where, DM_IO_WRITE, -EINVAL);
  assert_refused (DM_IO_MAX_REGIONS + 1, where, DM_IO_FLUSH, -EINVAL);
  assert_refused (UINT_MAX, where, DM_IO_WRITE, -EINVAL);
  teardown ();
}
END_TEST

START_TEST (reads_of_several_regions)
{
  struct io_region where[64];
  unsigned i;

  setup (1);
  for (i = 0; i < 64; ++i)
    where[i] = region (0, i, i == 0 ? 1 : 0);
  assert_refused (2, where, DM_IO_READ, -EIO);
  assert_refused (64, where, DM_IO_READ, -EIO);
  teardown ();
}
END_TEST

START_TEST (unknown_operations_and_flags)
{
  static const struct {
    int op;
    unsigned flags;
  } known[] = {
    { DM_IO_READ, 0 },
    { DM_IO_WRITE, DM_IO_FUA | DM_IO_PREFLUSH },
    { DM_IO_FLUSH, 0 },
    { DM_IO_DISCARD, DM_IO_FUA | DM_IO_PREFLUSH },
    { DM_IO_WRITE_ZEROES,
      DM_IO_FUA | DM_IO_PREFLUSH | DM_IO_UNMAP | DM_IO_FAST },
  };
  struct io_region where;
  unsigned i, bit;
  int op;

  setup (1);
  where = region (0, 0, 1);
  for (i = 0; i < ARRAY_COUNT (known); ++i)
    for (bit = 8; bit < 32; ++bit)
      if (!(known[i].flags & 1U << bit))
        assert_refused (1, &where, (int) ((unsigned) known[i].op | 1U << bit),
                        -EINVAL);
  for (op = 0; op < 256; ++op) {
    for (i = 0; i < ARRAY_COUNT (known) && known[i].op != op; ++i)
      ;
    if (i == ARRAY_COUNT (known))
      assert_refused (1, &where, op, -EINVAL);
  }
  assert_refused (1, &where, -1, -EINVAL);
  teardown ();
}
END_TEST

START_TEST (pages_offset_beyond_the_page)
{
  struct memory m = memory_of_pages (8 * 512, 0);
  struct io_region where;
  unsigned long bits = UNTOUCHED;

  setup (1);
  where = region (0, 0, 1);
  ck_assert_int_eq (dm_io_sync (1, &where, DM_IO_WRITE, m.pages, DM_PAGE_SIZE,
                                &bits),
                    -EINVAL);
  ck_assert_int_eq (dm_io_sync (1, &where, DM_IO_WRITE, m.pages, UINT_MAX,
                                &bits),
                    -EINVAL);
  ck_assert_uint_eq (bits, UNTOUCHED);
  assert_disk_untouched (0);
  memory_free (&m);
  teardown ();
}
END_TEST

START_TEST (async_needs_get_and_fn)
{
  struct io_region where;
  unsigned kind;

  setup (1);
  where = region (0, 0, 1);
  for (kind = 0; kind < MEMORY_KINDS; ++kind) {
    struct memory m = memory_of_kind (kind, 512);

    ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &m, never_called, NULL),
                      -EINVAL);
    ck_assert_int_eq (dm_io_get (1), 0);
    ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &m, NULL, NULL), -EINVAL);
    dm_io_put (1);
    ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &m, never_called, NULL),
                      -EINVAL);
    memory_free (&m);
  }
  assert_disk_untouched (0);
  teardown ();
}
END_TEST

/*----- regions that are ignored, and flushes ---------------------------*/

START_TEST (no_regions_at_all)
{
  unsigned kind, is_async;

  setup (1);
  for (kind = 0; kind < MEMORY_KINDS; ++kind)
    for (is_async = 0; is_async < 2; ++is_async) {
      struct memory m = memory_of_kind (kind, 512);
      unsigned long bits;

      ck_assert_int_eq (call_dm_io (is_async, 0, NULL, DM_IO_WRITE, &m, &bits),
                        0);
      ck_assert_uint_eq (bits, 0);
      ck_assert_int_eq (call_dm_io (is_async, 0, NULL, DM_IO_FLUSH, &m, &bits),
                        0);
      ck_assert_int_eq (call_dm_io (is_async, 0, NULL, DM_IO_READ, &m, &bits),
                        0);
      ck_assert_uint_eq (bits, 0);
      memory_free (&m);
    }
  teardown ();
}
END_TEST

/* An io_region with count 0 is ignored, wherever it points; with a
 * preflush its device is flushed all the same.
 */
START_TEST (regions_of_nothing)
{
  unsigned is_async;

  for (is_async = 0; is_async < 2; ++is_async) {
    struct memory m = memory_of_kind (PLAIN, 512);
    struct io_region where[3];
    unsigned long bits;

    setup (3);
    where[0] = region (0, UINT64_MAX, 0);
    where[1] = region (1, 4, 1);
    where[2] = region (2, DISK_SECTORS, 0);
    memory_fill (&m, 1);
    ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_WRITE, &m, &bits),
                      0);
    ck_assert_uint_eq (bits, 0);
    ck_assert_int_eq (call_dm_io (is_async, 1, where, DM_IO_READ, &m, &bits),
                      0);
    assert_memory_pattern (&m, 1, 0);
    ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_DISCARD, &m, &bits),
                      0);
    ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_WRITE_ZEROES, &m,
                                  &bits),
                      0);
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_ALL), 0);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_ALL), 3);
    ck_assert_uint_eq (fault_bdev_calls (disks[2], FAULT_ALL), 0);

    ck_assert_int_eq (call_dm_io (is_async, 3, where,
                                  DM_IO_WRITE | DM_IO_PREFLUSH, &m, &bits),
                      0);
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_FLUSH), 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_FLUSH), 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[2], FAULT_FLUSH), 1);
    ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_FLUSH, &m, &bits),
                      0);
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_FLUSH), 2);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_FLUSH), 2);
    ck_assert_uint_eq (fault_bdev_calls (disks[2], FAULT_FLUSH), 2);

    /* And a flush that fails is an error, of its io_region only. */
    fault_bdev_fail_from (disks[0], FAULT_FLUSH, 0);
    ck_assert_int_eq (call_dm_io (is_async, 3, where, DM_IO_FLUSH, &m, &bits),
                      -EIO);
    ck_assert_uint_eq (bits, 1);
    ck_assert_int_eq (call_dm_io (is_async, 3, where,
                                  DM_IO_WRITE | DM_IO_PREFLUSH, &m, &bits),
                      -EIO);
    ck_assert_uint_eq (bits, 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_WRITE), 0);
    memory_free (&m);
    teardown ();
  }
}
END_TEST

/* What each operation and flag becomes, in which order. */
START_TEST (operations_and_flags)
{
  static const struct {
    int rw;
    const char *expected;
  } rows[] = {
    { DM_IO_READ, "d0 read 2+3" },
    { READ, "d0 read 2+3" },
    { WRITE, "d0 write 2+3" },
    { DM_IO_WRITE, "d0 write 2+3" },
    { DM_IO_WRITE | DM_IO_FUA, "d0 write 2+3 fua" },
    { DM_IO_WRITE | DM_IO_PREFLUSH, "d0 flush, d0 write 2+3" },
    { DM_IO_WRITE | DM_IO_PREFLUSH | DM_IO_FUA, "d0 flush, d0 write 2+3 fua" },
    { DM_IO_FLUSH, "d0 flush" },
    { DM_IO_DISCARD, "d0 discard 2+3" },
    { DM_IO_DISCARD | DM_IO_PREFLUSH | DM_IO_FUA,
      "d0 flush, d0 discard 2+3 fua" },
    { DM_IO_WRITE_ZEROES, "d0 zero 2+3" },
    { DM_IO_WRITE_ZEROES | DM_IO_UNMAP, "d0 zero 2+3 unmap" },
    { DM_IO_WRITE_ZEROES | DM_IO_FAST, "d0 zero 2+3 fast" },
    { DM_IO_WRITE_ZEROES | DM_IO_FUA | DM_IO_PREFLUSH,
      "d0 flush, d0 zero 2+3 fua" },
  };
  struct io_region where;
  unsigned i, kind, is_async;

  setup (1);
  where = region (0, 2, 3);
  for (i = 0; i < ARRAY_COUNT (rows); ++i)
    for (kind = 0; kind < MEMORY_KINDS; ++kind)
      for (is_async = 0; is_async < 2; ++is_async) {
        struct memory m = memory_of_kind (kind, 3 * 512);
        unsigned long bits;
        char *text;

        memory_fill (&m, 1);
        fault_trace_reset (trace);
        ck_assert_int_eq (call_dm_io (is_async, 1, &where, rows[i].rw, &m,
                                      &bits),
                          0);
        text = fault_trace_text (trace, FAULT_ALL);
        ck_assert_str_eq (text, rows[i].expected);
        free (text);
        memory_free (&m);
      }
  teardown ();
}
END_TEST

START_TEST (preflush_that_fails_stops_the_write)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct io_region where[2];
  unsigned long bits;

  setup (2);
  where[0] = region (0, 0, 1);
  where[1] = region (1, 0, 1);
  memory_fill (&m, 1);
  fault_bdev_fail_once (disks[0], FAULT_FLUSH, 0);
  ck_assert_int_eq (call_dm_io (false, 2, where, DM_IO_WRITE | DM_IO_PREFLUSH,
                                &m, &bits),
                    -EIO);
  ck_assert_uint_eq (bits, 1);
  assert_disk_untouched (0);
  assert_disk_written (1, 1, 0, 1);
  memory_free (&m);
  teardown ();
}
END_TEST

/*----- error bits ------------------------------------------------------*/

/* 64 devices; those in MASK fail. */
static void
assert_exact_bits (bool is_async, uint64_t mask, int rw, unsigned fault)
{
  struct memory m = memory_of_kind (VECTOR, 2 * 512);
  struct io_region where[64];
  unsigned long bits;
  unsigned i;

  memory_fill (&m, 1);
  for (i = 0; i < 64; ++i) {
    where[i] = region (i, i, 1 + i % 2);
    if (mask >> i & 1)
      fault_bdev_fail_from (disks[i], fault, 0);
  }
  ck_assert_int_eq (call_dm_io (is_async, 64, where, rw, &m, &bits),
                    mask != 0 ? -EIO : 0);
  ck_assert_uint_eq (bits, mask);
  for (i = 0; i < 64; ++i) {
    if ((rw & DM_IO_OP_MASK) == DM_IO_WRITE) {
      if (mask >> i & 1)
        assert_disk_untouched (i);
      else
        assert_disk_written (i, 1, i, 1 + i % 2);
    }
    fault_bdev_heal (disks[i]);
  }
  memory_free (&m);
}

START_TEST (bits_are_exact)
{
  unsigned i, is_async;

  ck_assert_uint_eq (sizeof (unsigned long), 8);
  for (is_async = 0; is_async < 2; ++is_async) {
    setup_disks (64, 70);
    for (i = 63; i < 64; --i) /* each disk fails before it is written */
      assert_exact_bits (is_async, UINT64_C (1) << i, DM_IO_FLUSH, FAULT_FLUSH);
    assert_exact_bits (is_async, UINT64_MAX, DM_IO_WRITE, FAULT_WRITE);
    assert_exact_bits (is_async, UINT64_C (0x8000000100000001), DM_IO_DISCARD,
                       FAULT_DISCARD);
    assert_exact_bits (is_async, UINT64_C (0xaaaaaaaaaaaaaaaa),
                       DM_IO_WRITE_ZEROES, FAULT_ZERO);
    assert_exact_bits (is_async, 0, DM_IO_WRITE, FAULT_WRITE);
    teardown ();
    setup_disks (64, 70);
    assert_exact_bits (is_async, UINT64_C (0x8123456789abcdef), DM_IO_WRITE,
                       FAULT_WRITE);
    teardown ();
    for (i = 0; i < 64; i += 21) {
      setup_disks (64, 70);
      assert_exact_bits (is_async, UINT64_C (1) << i, DM_IO_WRITE, FAULT_WRITE);
      teardown ();
    }
  }
}
END_TEST

START_TEST (errors_tell_why)
{
  char data[1024];
  struct io_region where[7];
  struct block_device *read_only;
  unsigned long bits;
  int errors[7];
  int one;

  setup (7);
  read_only = fault_bdev_open (disks[5], FAULT_OPEN_READ_ONLY);
  where[0] = region (0, 0, 2);
  where[1] = region (1, 0, 2);
  where[2] = region (2, DISK_SECTORS - 1, 2);
  where[3] = region (3, UINT64_MAX, 2);
  where[4] = region (4, 0, 0);
  where[5] = (struct io_region){ .bdev = read_only, .count = 1 };
  where[6] = region (6, 1, 2);
  fill_pattern (data, 1, 0, 2);
  fault_bdev_add_rule (disks[1], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                       .error = -ENOSPC });
  ck_assert_int_eq (dm_io_sync_vm_errors (7, where, DM_IO_WRITE, data, &bits,
                                          errors),
                    -EIO);
  ck_assert_uint_eq (bits, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5);
  ck_assert_int_eq (errors[0], 0);
  ck_assert_int_eq (errors[1], -ENOSPC);
  ck_assert_int_eq (errors[2], -EINVAL);
  ck_assert_int_eq (errors[3], -EINVAL);
  ck_assert_int_eq (errors[4], 0);
  ck_assert_int_eq (errors[5], -EROFS);
  ck_assert_int_eq (errors[6], 0);
  assert_disk_written (0, 1, 0, 2);
  assert_disk_untouched (1);
  assert_disk_untouched (2);
  assert_disk_untouched (3);
  assert_disk_untouched (5);
  assert_disk_written (6, 1, 1, 2);

  /* Neither the bits nor the errors must be wanted. */
  ck_assert_int_eq (dm_io_sync_vm_errors (7, where, DM_IO_WRITE, data, NULL,
                                          NULL),
                    -EIO);
  ck_assert_int_eq (dm_io_sync_vm (1, where, DM_IO_WRITE, data, NULL), 0);
  fault_bdev_add_rule (disks[0], &(struct fault_rule){ .ops = FAULT_READ,
                                                       .error = -ENOLINK });
  ck_assert_int_eq (dm_io_sync_vm_errors (1, where, DM_IO_READ, data, &bits,
                                          &one),
                    -EIO);
  ck_assert_int_eq (one, -ENOLINK);
  bdev_close (read_only);
  teardown ();
}
END_TEST

/* A read that fails leaves zeroes, whatever the device has done to the
 * memory, and touches nothing behind it.
 */
START_TEST (failed_reads_leave_zeroes)
{
  unsigned kind, is_async;

  for (kind = 0; kind < MEMORY_KINDS; ++kind)
    for (is_async = 0; is_async < 2; ++is_async) {
      struct memory m = memory_of_kind (kind, 20 * 512);
      struct io_region where;
      unsigned long bits;
      char *data = test_alloc (m.bytes);

      setup (1);
      /* Less than the memory. */
      where = region (0, 5, 13);
      memory_fill (&m, 1);
      fault_bdev_fail_once (disks[0], FAULT_READ, 0);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_READ, &m, &bits),
                        -EIO);
      ck_assert_uint_eq (bits, 1);
      memory_copy (&m, data, false);
      assert_all_bytes (data, 0, 13 * (size_t) 512);
      assert_pattern (data + 13 * 512, 1, (sector_t) 13, (sector_t) 7);

      /* Outside the device. */
      where = region (0, DISK_SECTORS - 19, 20);
      memory_fill (&m, 1);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_READ, &m, &bits),
                        -EIO);
      assert_memory_zero (&m);
      where = region (0, UINT64_MAX, 20);
      memory_fill (&m, 1);
      ck_assert_int_eq (call_dm_io (is_async, 1, &where, DM_IO_READ, &m, &bits),
                        -EIO);
      assert_memory_zero (&m);
      free (data);
      memory_free (&m);
      teardown ();
    }
}
END_TEST

/* A long read and a long write of three io_regions on one disk, of several
 * calls of the device each: call K fails, for every K.
 */
#define LONG_SECTORS ((sector_t) 24)

START_TEST (the_kth_read_fails)
{
  struct memory m = memory_of_vector (LONG_SECTORS * 512, small_pieces);
  unsigned long bits = 1;
  unsigned k;

  for (k = 0; bits != 0; ++k) {
    struct io_region where;

    setup (1);
    where = region (0, 3, LONG_SECTORS);
    memory_fill (&m, 1);
    fault_bdev_fail_once (disks[0], FAULT_READ, k);
    ck_assert_int_eq (call_dm_io (k % 2, 1, &where, DM_IO_READ, &m, &bits),
                      fault_bdev_failed (disks[0]) > 0 ? -EIO : 0);
    ck_assert_uint_eq (bits, fault_bdev_failed (disks[0]));
    if (bits != 0)
      assert_memory_zero (&m);
    else
      assert_memory_pattern (&m, 1000, 3);
    /* After the failure nothing more is read. */
    if (bits != 0)
      ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), k + 1);
    teardown ();
  }
  ck_assert_uint_gt (k, 5);
  memory_free (&m);
}
END_TEST

START_TEST (the_kth_write_fails)
{
  struct memory m = memory_of_vector (LONG_SECTORS * 512, small_pieces);
  unsigned long bits = 1;
  unsigned calls = 0, k;

  for (k = 0; bits != 0; ++k) {
    struct io_region where[3];
    unsigned long expected;
    unsigned i;

    setup (1);
    for (i = 0; i < 3; ++i)
      where[i] = region (0, 1 + i * (LONG_SECTORS + 1), LONG_SECTORS);
    if (k == 0) { /* how many calls does it take? */
      ck_assert_int_eq (call_dm_io (false, 1, where, DM_IO_WRITE, &m, &bits),
                        0);
      calls = fault_bdev_calls (disks[0], FAULT_WRITE);
      ck_assert_uint_gt (calls, 3);
    }
    memory_fill (&m, 1);
    fault_bdev_fail_once (disks[0], FAULT_WRITE, k);
    expected = k < 3 * calls ? 1UL << k / calls : 0;
    ck_assert_int_eq (call_dm_io (false, 3, where, DM_IO_WRITE, &m, &bits),
                      expected != 0 ? -EIO : 0);
    ck_assert_uint_eq (bits, expected);
    for (i = 0; i < 3; ++i)
      if (!(bits >> i & 1)) {
        char *data = test_alloc_sectors (LONG_SECTORS);

        fault_bdev_look (disks[0], where[i].sector, LONG_SECTORS, data);
        assert_pattern (data, 1, (sector_t) 0, LONG_SECTORS);
        free (data);
      }
    teardown ();
  }
  ck_assert_uint_eq (k, 3 * calls + 1);
  memory_free (&m);
}
END_TEST

/*----- asynchronous I/O ------------------------------------------------*/

/* The array of io_regions is the caller's again when the call returns. */
START_TEST (async_copies_where)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct completion c = { .bits = UNTOUCHED };
  struct io_region *where = test_alloc (2 * sizeof *where);
  unsigned i;

  setup (2);
  event_count_init (&c.calls);
  ck_assert_int_eq (dm_io_get (1), 0);
  for (i = 0; i < 2; ++i) {
    fault_bdev_gate_shut (disks[i], FAULT_ALL, 0, 0);
    where[i] = region (i, 9, 1);
  }
  memory_fill (&m, 1);
  ck_assert_int_eq (submit (2, where, DM_IO_WRITE, &m, note_completion, &c), 0);
  memset (where, 0xff, 2 * sizeof *where);
  free (where);
  /* Both are in flight at once. */
  fault_bdev_gate_wait (disks[0], 1);
  fault_bdev_gate_wait (disks[1], 1);
  ck_assert_uint_eq (event_count_get (&c.calls), 0);
  fault_bdev_gate_open (disks[1]);
  ck_assert_uint_eq (event_count_get (&c.calls), 0); /* the other is not */
  fault_bdev_gate_open (disks[0]);
  event_count_wait (&c.calls, 1);
  dm_io_put (1);
  ck_assert_uint_eq (event_count_get (&c.calls), 1);
  ck_assert_uint_eq (c.bits, 0);
  assert_disk_written (0, 1, 9, 1);
  assert_disk_written (1, 1, 9, 1);
  event_count_destroy (&c.calls);
  memory_free (&m);
  teardown ();
}
END_TEST

/* A device that is stuck does not hold up the others, time after time. */
START_TEST (async_is_not_held_up)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  unsigned round;

  setup (2);
  memory_fill (&m, 1);
  ck_assert_int_eq (dm_io_get (1), 0);
  for (round = 0; round < 100; ++round) {
    struct completion stuck = { .bits = UNTOUCHED };
    struct completion free_one = { .bits = UNTOUCHED };
    struct io_region where[2];

    event_count_init (&stuck.calls);
    event_count_init (&free_one.calls);
    where[0] = region (0, 9, 1);
    where[1] = region (1, 9, 1);
    fault_bdev_gate_shut (disks[0], FAULT_ALL, 0, 0);
    ck_assert_int_eq (submit (1, &where[0], DM_IO_WRITE, &m, note_completion,
                              &stuck),
                      0);
    ck_assert_int_eq (submit (1, &where[1], DM_IO_WRITE, &m, note_completion,
                              &free_one),
                      0);
    event_count_wait (&free_one.calls, 1); /* or hang */
    ck_assert_uint_eq (event_count_get (&stuck.calls), 0);
    fault_bdev_gate_open (disks[0]);
    event_count_wait (&stuck.calls, 1);
    event_count_destroy (&stuck.calls);
    event_count_destroy (&free_one.calls);
  }
  dm_io_put (1);
  memory_free (&m);
  teardown ();
}
END_TEST

/* `fn` may start more I/O: a chain of reads, each from the one before. */
struct chain {
  struct event_count done;
  unsigned left;
  unsigned long bits;
  int error;
  char data[512];
};

static void
next_in_chain (unsigned long bits, void *context)
{
  struct chain *chain = context;
  struct io_region where = region (0, chain->left, 1);
  int r;

  chain->bits |= bits;
  if (chain->left-- > 0) {
    r = dm_io_async_vm (1, &where, DM_IO_READ, chain->data, next_in_chain,
                        chain);
    if (r == 0)
      return; /* the chain is the next one's */
    chain->error = r;
  }
  event_count_add (&chain->done);
}

START_TEST (async_from_fn)
{
  struct chain chain = { .left = 100 };

  setup (1);
  event_count_init (&chain.done);
  ck_assert_int_eq (dm_io_get (1), 0);
  next_in_chain (0, &chain);
  event_count_wait (&chain.done, 1);
  dm_io_put (1);
  ck_assert_int_eq (chain.error, 0);
  ck_assert_uint_eq (chain.bits, 0);
  ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_READ), 100);
  assert_pattern (chain.data, 1000, (sector_t) 1, (sector_t) 1);
  event_count_destroy (&chain.done);
  teardown ();
}
END_TEST

#define WORKERS 4
#define WORKER_SECTORS (DISK_SECTORS / WORKERS)

struct worker {
  struct thread thread;
  unsigned number;
  unsigned failures;
};

/* Write and read the sectors of one's own, by turns in every way. */
static void
work (void *arg)
{
  struct worker *w = arg;
  unsigned round;

  for (round = 0; round < 60; ++round) {
    struct memory m = memory_of_kind (round % MEMORY_KINDS, 40 * 512);
    sector_t base = w->number * WORKER_SECTORS + round;
    struct io_region where[2];
    struct completion c = { .bits = UNTOUCHED };
    char *data = test_alloc (m.bytes);
    unsigned long bits = 0;

    where[0] = region (0, base, 40);
    where[1] = region (1, base, 40);
    memory_fill (&m, round);
    event_count_init (&c.calls);
    if (submit (2, where, DM_IO_WRITE, &m, note_completion, &c) != 0)
      w->failures++;
    else {
      event_count_wait (&c.calls, 1);
      w->failures += c.bits != 0;
    }
    memory_fill (&m, 1);
    w->failures += dm_io_sync_vm (1, &where[1], DM_IO_READ, data, &bits) != 0;
    w->failures += first_wrong_sector (data, round, 0, 40) != 40;
    event_count_destroy (&c.calls);
    free (data);
    memory_free (&m);
  }
}

START_TEST (many_threads_at_once)
{
  struct worker workers[WORKERS];
  unsigned i;

  setup (2);
  ck_assert_int_eq (dm_io_get (4), 0);
  for (i = 0; i < WORKERS; ++i) {
    workers[i] = (struct worker){ .number = i };
    ck_assert_int_eq (thread_start (&workers[i].thread, "worker", work,
                                    &workers[i]),
                      0);
  }
  for (i = 0; i < WORKERS; ++i) {
    thread_join (&workers[i].thread);
    ck_assert_uint_eq (workers[i].failures, 0);
  }
  dm_io_put (4);
  teardown ();
}
END_TEST

/*----- reservations, and what fails for want of something --------------*/

START_TEST (get_has_limits)
{
  ck_assert_int_eq (dm_io_get (0), -EINVAL);
  ck_assert_int_eq (dm_io_get ((1U << 20) + 1), -EINVAL);
  ck_assert_int_eq (dm_io_get (UINT_MAX), -EINVAL);
  ck_assert_int_eq (dm_io_get (3), 0);
  ck_assert_int_eq (dm_io_get ((1U << 20) - 2), -EINVAL);
  ck_assert_int_eq (dm_io_get (UINT_MAX - 1), -EINVAL);
  ck_assert_int_eq (dm_io_get (2), 0);
  dm_io_put (3);
  dm_io_put (2);
}
END_TEST

START_TEST (get_fails_at_every_allocation)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct io_region where;
  unsigned k;
  int r = -ENOMEM;

  setup (1);
  where = region (0, 0, 1);
  for (k = 0; r != 0; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = dm_io_get (10);
    ck_assert_int_eq (r, fault_alloc_stop () > 0 ? -ENOMEM : 0);
    if (r != 0) /* nothing was reserved */
      ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &m, never_called, NULL),
                        -EINVAL);
  }
  ck_assert_uint_eq (k, 11);
  /* The same with a reservation there already: it stays. */
  for (k = 0; k < 5; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    ck_assert_int_eq (dm_io_get (5), -ENOMEM);
    ck_assert_uint_eq (fault_alloc_stop (), 1);
  }
  dm_io_put (10);
  memory_free (&m);
  teardown ();
}
END_TEST

START_TEST (async_without_threads)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct io_region where;
  int r;

  setup (1);
  where = region (0, 0, 1);
  ck_assert_int_eq (dm_io_get (1), 0);
  fault_alloc_fail_once (FAULT_ALLOC_THREADS, 0);
  r = submit (1, &where, DM_IO_WRITE, &m, never_called, NULL);
  ck_assert_uint_eq (fault_alloc_stop (), 1);
  ck_assert_int_eq (r, -EAGAIN);
  fault_alloc_fail_once (FAULT_ALLOC_MEMORY, 0);
  r = submit (1, &where, DM_IO_WRITE, &m, never_called, NULL);
  ck_assert_uint_eq (fault_alloc_stop (), 1);
  ck_assert_int_eq (r, -ENOMEM);
  dm_io_put (1);
  assert_disk_untouched (0);
  memory_free (&m);
  teardown ();
}
END_TEST

/* With a reservation, and one thread, all goes on without malloc, even
 * more requests than were reserved for.
 */
START_TEST (async_without_malloc)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct completion c = { .bits = UNTOUCHED };
  struct io_region where[DM_IO_MAX_REGIONS];
  unsigned i;

  setup (2);
  event_count_init (&c.calls);
  for (i = 0; i < DM_IO_MAX_REGIONS; ++i)
    where[i] = region (i % 2, i, 1);
  memory_fill (&m, 1);
  ck_assert_int_eq (dm_io_get (2), 0);
  ck_assert_int_eq (submit (1, where, DM_IO_WRITE, &m, note_completion, &c), 0);
  event_count_wait (&c.calls, 1);

  fault_alloc_fail_from (FAULT_ALLOC_MEMORY | FAULT_ALLOC_THREADS, 0);
  for (i = 0; i < 50; ++i)
    must (submit (DM_IO_MAX_REGIONS, where, DM_IO_WRITE, &m, note_completion,
                  &c) == 0);
  event_count_wait (&c.calls, 51);
  ck_assert_uint_ge (fault_alloc_stop (), 50);
  ck_assert_uint_eq (c.bits, 0);
  dm_io_put (2);
  ck_assert_uint_eq (event_count_get (&c.calls), 51);
  ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_WRITE),
                     1 + 50 * DM_IO_MAX_REGIONS / 2);
  event_count_destroy (&c.calls);
  memory_free (&m);
  teardown ();
}
END_TEST

/* A put that leaves a smaller reservation while I/O is in flight. */
START_TEST (put_in_parts)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct completion c = { .bits = UNTOUCHED };
  struct io_region where;
  unsigned i;

  setup (1);
  event_count_init (&c.calls);
  where = region (0, 0, 1);
  ck_assert_int_eq (dm_io_get (1), 0);
  ck_assert_int_eq (dm_io_get (7), 0);
  fault_bdev_gate_shut (disks[0], FAULT_ALL, 0, 0);
  ck_assert_int_eq (submit (1, &where, DM_IO_WRITE, &m, note_completion, &c),
                    0);
  fault_bdev_gate_wait (disks[0], 1);
  dm_io_put (7);
  for (i = 0; i < 3; ++i) { /* grows and shrinks */
    ck_assert_int_eq (dm_io_get (20), 0);
    dm_io_put (20);
  }
  fault_bdev_gate_open (disks[0]);
  event_count_wait (&c.calls, 1);
  dm_io_put (1);
  ck_assert_uint_eq (c.bits, 0);
  event_count_destroy (&c.calls);
  memory_free (&m);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    pages_from_any_offset,
    pages_of_many_pieces,
    vectors_of_any_pieces,
    vectors_of_tiny_pieces,
    plain_memory,
    vector_without_an_end,
    memory_may_be_too_short,
    memory_may_end_inside_a_sector,
    no_memory_at_all,
    too_many_regions,
    reads_of_several_regions,
    unknown_operations_and_flags,
    pages_offset_beyond_the_page,
    async_needs_get_and_fn,
    no_regions_at_all,
    regions_of_nothing,
    operations_and_flags,
    preflush_that_fails_stops_the_write,
    bits_are_exact,
    errors_tell_why,
    failed_reads_leave_zeroes,
    the_kth_read_fails,
    the_kth_write_fails,
    async_copies_where,
    async_is_not_held_up,
    async_from_fn,
    many_threads_at_once,
    get_has_limits,
    get_fails_at_every_allocation,
    async_without_threads,
    async_without_malloc,
    put_in_parts,
    NULL,
  };

  return unit_main ("dm-io", tests);
}
