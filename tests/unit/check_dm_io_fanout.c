/* Unit tests of dm-io: io_regions in flight at once, beside those that block.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * These set up the disks of each test themselves; the tests of other files
 * run on all kinds of them.
 */

#include <config.h>

#include "dm-io-test.h"

/* So many at once, more go one group after the other. */
#define AT_ONCE 16

#define SECTORS ((sector_t) 130)

static void
setup_kind (enum disk_kind kind, unsigned count)
{
  disk_kind = kind;
  setup_disks (count, SECTORS);
}

#define assert_trace(ops, expected) \
  do { \
    char *text_ = fault_trace_text (trace, (ops)); \
    ck_assert_str_eq (text_, (expected)); \
    free (text_); \
  } while (0)

static void
write_to (unsigned n, struct io_region *where, int rw, const struct memory *m,
          unsigned long expected)
{
  unsigned long bits;

  ck_assert_int_eq (call_dm_io (false, n, where, rw, m, &bits),
                    expected != 0 ? -EIO : 0);
  ck_assert_uint_eq (bits, expected);
}

/*----- the order -------------------------------------------------------*/

/* All are begun before one is ended, and what blocks is done between. */
START_TEST (blocking_ones_are_done_meanwhile)
{
  struct memory m = memory_of_kind (PLAIN, 2 * 512);
  struct io_region where[4];

  setup_kind (MIXED, 4); /* 0 blocks; the others are of three kinds */
  fault_bdev_set_flight (disks[2], FAULT_AT_END);
  fault_bdev_set_flight (disks[3], FAULT_AT_END);
  fault_bdev_heal (disks[3]);
  where[0] = region (1, 10, 2);
  where[1] = region (0, 20, 2);
  where[2] = region (2, 30, 1);
  where[3] = region (3, 40, 2);
  memory_fill (&m, 1);
  write_to (4, where, DM_IO_WRITE, &m, 0);
  assert_trace (FAULT_ALL | STEPS,
                "d1 begin-write 10+2 more, d2 begin-write 30+1 more, "
                "d3 begin-write 40+2, d0 write 20+2, "
                "d1 write 10+2, d1 end-write 10+2, "
                "d2 write 30+1, d2 end-write 30+1, "
                "d3 write 40+2, d3 end-write 40+2");
  assert_disk_written (1, 1, 10, 2);
  assert_disk_written (0, 1, 20, 2);
  assert_disk_written (2, 1, 30, 1);
  assert_disk_written (3, 1, 40, 2);
  memory_free (&m);
  teardown ();
}
END_TEST

/* One io_region alone is not worth it. */
START_TEST (one_alone_blocks)
{
  struct memory m = memory_of_kind (PLAIN, 512);
  struct io_region where[1];

  setup_kind (IN_FLIGHT_TO_END, 1);
  where[0] = region (0, 5, 1);
  write_to (1, where, DM_IO_WRITE, &m, 0);
  write_to (1, where, DM_IO_READ, &m, 0);
  assert_trace (FAULT_ALL | STEPS, "d0 write 5+1, d0 read 5+1");
  memory_free (&m);
  teardown ();
}
END_TEST

/* As many as go at once are all begun before the first is ended. */
START_TEST (so_many_are_in_flight_at_once)
{
  unsigned n;

  for (n = 2; n <= 64; ++n) {
    struct memory m = memory_of_kind (PLAIN, 512);
    struct io_region where[64];
    unsigned i;

    setup_kind (IN_FLIGHT_TO_END, 1);
    for (i = 0; i < n; ++i)
      where[i] = region (0, 2 * i, 1);
    write_to (n, where, DM_IO_WRITE, &m, 0);
    ck_assert_uint_eq (fault_bdev_calls_at_once (disks[0]),
                       MIN_OF (n, AT_ONCE));
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_ALL), n);
    assert_more_is_exact ();
    memory_free (&m);
    teardown ();
  }
}
END_TEST

/* io_regions of several pieces go in rounds; the longer ones go on. */
START_TEST (pieces_go_in_rounds)
{
  struct memory m = memory_of_vector (6 * 512, small_pieces);
  struct io_region where[3];

  setup_kind (IN_FLIGHT_TO_END, 3);
  where[0] = region (0, 0, 6);
  where[1] = region (1, 0, 1);
  where[2] = region (2, 0, 3);
  memory_fill (&m, 1);
  write_to (3, where, DM_IO_WRITE, &m, 0);
  assert_trace (FAULT_ALL | FAULT_BEGIN,
                "d0 begin-write 0+1 more, d1 begin-write 0+1 more, "
                "d2 begin-write 0+1, d0 write 0+1, d1 write 0+1, d2 write 0+1, "
                "d0 begin-write 1+1 more, d2 begin-write 1+1, "
                "d0 write 1+1, d2 write 1+1, "
                "d0 begin-write 2+1 more, d2 begin-write 2+1, "
                "d0 write 2+1, d2 write 2+1, "
                "d0 begin-write 3+1, d0 write 3+1, "
                "d0 begin-write 4+1, d0 write 4+1, "
                "d0 begin-write 5+1, d0 write 5+1");
  assert_disk_written (0, 1, 0, 6);
  assert_disk_written (1, 1, 0, 1);
  assert_disk_written (2, 1, 0, 3);
  memory_free (&m);
  teardown ();
}
END_TEST

/* The begins in the trace, to be freed by the caller. */
static char *
text_of_begins (void)
{
  char *text = fault_trace_text (trace, FAULT_ALL | FAULT_BEGIN);
  char *begins = test_alloc (strlen (text) + 1);
  char *to = begins, *at = text;

  *to = '\0';
  while (*at != '\0') {
    size_t n = strcspn (at, ",");

    if (memmem (at, n, "begin", 5) != NULL) {
      if (to > begins)
        to = stpcpy (to, ", ");
      to = mempcpy (to, at, n);
      *to = '\0';
    }
    at += n;
    at += strspn (at, ", ");
  }
  free (text);
  return begins;
}

/* What goes in flight for each operation and flag. */
START_TEST (operations_and_flags_in_flight)
{
  static const struct {
    int rw;
    const char *expected;
  } rows[] = {
    { DM_IO_WRITE, "d0 begin-write 2+1 more, d1 begin-write 3+1" },
    { DM_IO_WRITE | DM_IO_FUA,
      "d0 begin-write 2+1 fua more, d1 begin-write 3+1 fua" },
    { DM_IO_WRITE | DM_IO_PREFLUSH,
      "d0 begin-flush more, d1 begin-flush, "
      "d0 begin-write 2+1 more, d1 begin-write 3+1" },
    { DM_IO_FLUSH, "d0 begin-flush more, d1 begin-flush" },
    { DM_IO_DISCARD, "d0 begin-discard 2+1 more, d1 begin-discard 3+1" },
    { DM_IO_DISCARD | DM_IO_PREFLUSH | DM_IO_FUA,
      "d0 begin-flush more, d1 begin-flush, "
      "d0 begin-discard 2+1 fua more, d1 begin-discard 3+1 fua" },
    { DM_IO_WRITE_ZEROES, "d0 begin-zero 2+1 more, d1 begin-zero 3+1" },
    { DM_IO_WRITE_ZEROES | DM_IO_UNMAP | DM_IO_FAST,
      "d0 begin-zero 2+1 unmap fast more, d1 begin-zero 3+1 unmap fast" },
    { DM_IO_WRITE_ZEROES | DM_IO_FUA | DM_IO_PREFLUSH,
      "d0 begin-flush more, d1 begin-flush, "
      "d0 begin-zero 2+1 fua more, d1 begin-zero 3+1 fua" },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (rows); ++i) {
    struct memory m = memory_of_kind (PLAIN, 512);
    struct io_region where[2];
    char *begins;
    size_t j;

    setup_kind (IN_FLIGHT_TO_END, 2);
    where[0] = region (0, 2, 1);
    where[1] = region (1, 3, 1);
    memory_fill (&m, 1);
    write_to (2, where, rows[i].rw, &m, 0);
    /* No effect but of what is in flight. */
    for (j = 0; j < fault_trace_count (trace); ++j) {
      struct fault_event e = fault_trace_event (trace, j);

      if (!(e.op & STEPS))
        ck_assert_uint_eq (fault_trace_event (trace, j + 1).op,
                           e.op | FAULT_END);
    }
    assert_more_is_exact ();
    for (j = 0; j < 2; ++j)
      ck_assert_uint_eq (fault_bdev_pending (disks[j]),
                         (rows[i].rw & DM_IO_FUA) || rows[i].rw == DM_IO_FLUSH
                           ? 0
                           : 1);
    begins = text_of_begins ();
    ck_assert_str_eq (begins, rows[i].expected);
    free (begins);
    memory_free (&m);
    teardown ();
  }
}
END_TEST

/*----- what is not begun -----------------------------------------------*/

/* Nothing is begun for an io_region that is in error or ignored, and none
 * is announced.
 */
START_TEST (more_counts_only_what_is_begun)
{
  static const int ops[] = { DM_IO_WRITE, DM_IO_DISCARD, DM_IO_WRITE_ZEROES };
  struct memory m = memory_of_kind (PLAIN, 512);
  unsigned i;

  memory_fill (&m, 1);
  for (i = 0; i < ARRAY_COUNT (ops); ++i) {
    struct block_device *read_only;
    struct io_region where[6];

    setup_kind (IN_FLIGHT_TO_END, 3);
    read_only = fault_bdev_open (disks[2],
                                 FAULT_OPEN_FLIGHT | FAULT_OPEN_READ_ONLY);
    where[0] = region (0, 0, 1);
    where[1] = region (1, SECTORS, 1);
    where[2] = region (1, 7, 1);
    where[3] = (struct io_region){ .bdev = read_only, .count = 1 };
    where[4] = region (1, 9, 0);
    where[5] = (struct io_region){ .bdev = NULL, .sector = 8, .count = 0 };
    write_to (6, where, ops[i], &m, 1 << 1 | 1 << 3);
    assert_more_is_exact ();
    ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_ALL), 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_ALL), 1);
    ck_assert_uint_eq (fault_bdev_calls (disks[2], FAULT_ALL), 0);
    bdev_close (read_only);
    teardown ();
  }
  memory_free (&m);
}
END_TEST

/* An io_region of nothing needs no device, at any place. */
START_TEST (regions_of_nothing_need_no_device)
{
  static const int ops[] = { DM_IO_WRITE, DM_IO_DISCARD, DM_IO_WRITE_ZEROES };
  struct memory m = memory_of_kind (PLAIN, 512);
  unsigned kind, i, place, is_async;
  unsigned long bits;

  for (kind = 0; kind < DISK_KINDS; ++kind)
    for (i = 0; i < ARRAY_COUNT (ops); ++i)
      for (place = 0; place < 3; ++place)
        for (is_async = 0; is_async < 2; ++is_async) {
          struct io_region where[3];

          setup_kind (kind, 3);
          where[0] = region (0, 3, 1);
          where[1] = region (1, 3, 1);
          where[2] = region (2, 3, 1);
          where[place] = (struct io_region){ .bdev = NULL };
          ck_assert_int_eq (call_dm_io (is_async, 3, where, ops[i], &m, &bits),
                            0);
          ck_assert_uint_eq (bits, 0);
          ck_assert_uint_eq (fault_bdev_calls (disks[place], FAULT_ALL), 0);
          memset (where, 0, sizeof where);
          ck_assert_int_eq (call_dm_io (is_async, 3, where, ops[i], &m, &bits),
                            0);
          where[0].sector = UINT64_MAX;
          ck_assert_int_eq (call_dm_io (is_async, 1, where, DM_IO_READ, &m,
                                        &bits),
                            0);
          teardown ();
        }
  memory_free (&m);
}
END_TEST

/*----- failures at every place -----------------------------------------*/

#define PIECES 4
#define LANES 5

/* PIECES pieces for each of LANES io_regions of one disk. */
static void
lanes_of_disk (struct io_region where[LANES])
{
  unsigned i;

  for (i = 0; i < LANES; ++i)
    where[i] = region (0, i * (PIECES + 1), PIECES);
}

/* All but those in BITS have been written, and nothing else. */
static void
assert_lanes_written (const struct io_region where[LANES], unsigned long bits)
{
  char *data = test_alloc_sectors (SECTORS);
  unsigned i;

  fault_bdev_look (disks[0], 0, SECTORS, data);
  for (i = 0; i < LANES; ++i) {
    char *at = data + sector_to_bytes (where[i].sector);

    if (!(bits >> i & 1))
      assert_pattern (at, 1, (sector_t) 0, (sector_t) PIECES);
    assert_pattern (at + PIECES * 512, 1000, where[i].sector + PIECES,
                    (sector_t) 1);
  }
  free (data);
}

/* Begin K is refused; so are those in between and behind, as RULE says. */
static void
refuse_begins (enum disk_kind kind, const struct memory *m,
               const struct fault_rule *rule)
{
  struct io_region where[LANES];

  setup_kind (kind, 1);
  lanes_of_disk (where);
  fault_bdev_add_rule (disks[0], rule);
  write_to (LANES, where, DM_IO_WRITE, m, 0);
  assert_lanes_written (where, 0);
  assert_more_is_exact ();
  ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_ALL), LANES * PIECES);
  teardown ();
}

START_TEST (begins_are_refused_at_every_place)
{
  struct memory m = memory_of_vector (PIECES * 512, small_pieces);
  unsigned kind, k;

  memory_fill (&m, 1);
  for (kind = IN_FLIGHT_TO_END; kind < MIXED; ++kind)
    for (k = 0; k <= LANES * PIECES; ++k) {
      struct fault_rule rule = { .ops = FAULT_WRITE,
                                 .skip = k,
                                 .times = 1,
                                 .error = -EAGAIN,
                                 .at_begin = true };

      refuse_begins (kind, &m, &rule);
      rule.times = 0;
      refuse_begins (kind, &m, &rule);
      rule.every = 2;
      refuse_begins (kind, &m, &rule);
      rule.every = 3;
      refuse_begins (kind, &m, &rule);
    }
  memory_free (&m);
}
END_TEST

/* Step K fails, of all the begins or of all the effects: one io_region goes
 * no further, the others are written, and no begin is left without an end
 * (the disk would notice).
 */
static void
fail_step (enum disk_kind kind, const struct memory *m, unsigned k,
           bool at_begin)
{
  struct io_region where[LANES];
  unsigned long expected = k < LANES ? 1UL << k : 0;
  unsigned long bits;
  int errors[LANES];
  unsigned i;

  setup_kind (kind, 1);
  lanes_of_disk (where);
  fault_bdev_add_rule (disks[0], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                       .skip = k,
                                                       .times = 1,
                                                       .error = -ENOLINK,
                                                       .at_begin = at_begin });
  if (kind == IN_FLIGHT_ELSEWHERE && !at_begin) {
    /* Any order: one of them. */
    ck_assert_int_eq (dm_io_sync_vm_errors (LANES, where, DM_IO_WRITE, m->plain,
                                            &bits, errors),
                      expected != 0 ? -EIO : 0);
    ck_assert_uint_eq (__builtin_popcountl (bits), expected != 0);
    expected = bits;
  }
  else
    ck_assert_int_eq (dm_io_sync_vm_errors (LANES, where, DM_IO_WRITE, m->plain,
                                            &bits, errors),
                      expected != 0 ? -EIO : 0);
  ck_assert_uint_eq (bits, expected);
  for (i = 0; i < LANES; ++i)
    ck_assert_int_eq (errors[i], bits >> i & 1 ? -ENOLINK : 0);
  assert_lanes_written (where, bits);
  assert_more_is_exact ();
  teardown ();
}

START_TEST (steps_fail_at_every_place)
{
  struct memory m = memory_of_kind (PLAIN, PIECES * 512);
  unsigned kind, k;

  memory_fill (&m, 1);
  for (kind = IN_FLIGHT_TO_END; kind < MIXED; ++kind)
    for (k = 0; k <= LANES; ++k) {
      fail_step (kind, &m, k, true);
      fail_step (kind, &m, k, false);
    }
  memory_free (&m);
}
END_TEST

/* The same for io_regions of several pieces. */
START_TEST (pieces_fail_at_every_place)
{
  struct memory m = memory_of_vector (PIECES * 512, small_pieces);
  unsigned kind, k, at_begin;

  memory_fill (&m, 1);
  for (kind = IN_FLIGHT_TO_END; kind <= IN_FLIGHT_AT_ONCE; ++kind)
    for (k = 0; k <= LANES * PIECES; ++k)
      for (at_begin = 0; at_begin < 2; ++at_begin) {
        struct io_region where[LANES];
        unsigned long expected = k < LANES * PIECES ? 1UL << k % LANES : 0;

        setup_kind (kind, 1);
        lanes_of_disk (where);
        fault_bdev_add_rule (disks[0],
                             &(struct fault_rule){ .ops = FAULT_WRITE,
                                                   .skip = k,
                                                   .times = 1,
                                                   .at_begin = at_begin });
        write_to (LANES, where, DM_IO_WRITE, &m, expected);
        assert_lanes_written (where, expected);
        assert_more_is_exact ();
        /* It goes no further. */
        if (expected != 0)
          ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_ALL),
                             LANES * PIECES - (PIECES - 1 - k / LANES));
        teardown ();
      }
  memory_free (&m);
}
END_TEST

/* The flush before fails, at the begin or at the end: that one is not
 * written, the others are.
 */
START_TEST (preflush_in_flight_stops_its_own_write)
{
  static const int ops[] = {
    DM_IO_WRITE | DM_IO_PREFLUSH,
    DM_IO_DISCARD | DM_IO_PREFLUSH,
    DM_IO_WRITE_ZEROES | DM_IO_PREFLUSH,
    DM_IO_FLUSH,
  };
  struct memory m = memory_of_kind (PLAIN, 512);
  unsigned kind, i, fails, at_begin;

  for (kind = 0; kind < DISK_KINDS; ++kind)
    for (i = 0; i < ARRAY_COUNT (ops); ++i)
      for (fails = 0; fails < 3; ++fails)
        for (at_begin = 0; at_begin < 2; ++at_begin) {
          struct io_region where[3];
          unsigned j;

          setup_kind (kind, 3);
          for (j = 0; j < 3; ++j)
            where[j] = region (j, 4, 1);
          if (at_begin && kind_of_disk (fails) == BLOCKING) {
            teardown ();
            continue;
          }
          fault_bdev_heal (disks[fails]); /* else it may be refused */
          fault_bdev_add_rule (disks[fails],
                               &(struct fault_rule){ .ops = FAULT_FLUSH,
                                                     .at_begin = at_begin });
          write_to (3, where, ops[i], &m, 1UL << fails);
          for (j = 0; j < 3; ++j)
            ck_assert_uint_eq (fault_bdev_calls (disks[j],
                                                 FAULT_ALL & ~FAULT_FLUSH),
                               j != fails && ops[i] != DM_IO_FLUSH);
          assert_disk_untouched (fails);
          assert_more_is_exact ();
          teardown ();
        }
  memory_free (&m);
}
END_TEST

/* A device that finds, when it begins or when it ends, that it cannot make
 * zeroes: they are written, unless it had to be fast.
 */
START_TEST (zeroes_in_flight_that_cannot_be_made_are_written)
{
  struct memory none = { .kind = PLAIN };
  unsigned kind, at_begin, for_ever;

  for (kind = IN_FLIGHT_TO_END; kind < MIXED; ++kind)
    for (at_begin = 0; at_begin < 2; ++at_begin)
      for (for_ever = 0; for_ever < 2; ++for_ever) {
        struct fault_rule rule = { .ops = FAULT_ZERO,
                                   .error = -EOPNOTSUPP,
                                   .times = for_ever ? 0 : 1,
                                   .at_begin = at_begin };
        struct io_region where[2];
        char data[3 * 512];
        char *text;

        setup_kind (kind, 2);
        where[0] = region (0, 10, 3);
        where[1] = region (1, 20, 3);
        fault_bdev_add_rule (disks[0], &rule);
        if (at_begin && for_ever) { /* the blocking call cannot either */
          rule.at_begin = false;
          fault_bdev_add_rule (disks[0], &rule);
        }
        write_to (2, where, DM_IO_WRITE_ZEROES | DM_IO_FUA, &none, 0);
        fault_bdev_look_durable (disks[0], 10, 3, data);
        assert_all_bytes (data, 0, sizeof data);
        fault_bdev_look_durable (disks[1], 20, 3, data);
        assert_all_bytes (data, 0, sizeof data);
        text = fault_trace_text (trace, FAULT_WRITE | FAULT_FLUSH);
        ck_assert_str_eq (text, for_ever ? "d0 write 10+3, d0 flush" : "");
        free (text);
        assert_more_is_exact ();

        if (for_ever) {
          write_to (2, where, DM_IO_WRITE_ZEROES | DM_IO_FAST, &none, 1);
          ck_assert_uint_eq (fault_bdev_calls (disks[0], FAULT_WRITE), 1);
        }
        teardown ();
      }
}
END_TEST

/* Only zeroes are: a discard that cannot be had is an error. */
START_TEST (discards_in_flight_that_cannot_be_had_fail)
{
  struct memory none = { .kind = PLAIN };
  unsigned at_begin;

  for (at_begin = 0; at_begin < 2; ++at_begin) {
    struct io_region where[2];

    setup_kind (IN_FLIGHT_TO_END, 2);
    where[0] = region (0, 10, 3);
    where[1] = region (1, 20, 3);
    fault_bdev_add_rule (disks[1],
                         &(struct fault_rule){ .ops = FAULT_DISCARD,
                                               .error = -EOPNOTSUPP,
                                               .at_begin = at_begin });
    write_to (2, where, DM_IO_DISCARD, &none, 1 << 1);
    assert_disk_untouched (1);
    ck_assert_uint_eq (fault_bdev_calls (disks[1], FAULT_ALL), 1);
    teardown ();
  }
}
END_TEST

/* Errno of each, at begin, at end, blocking, and before the device. */
START_TEST (errors_in_flight_tell_why)
{
  struct memory m = memory_of_kind (PLAIN, 2 * 512);
  struct io_region where[6];
  unsigned long bits;
  int errors[6];

  setup_kind (IN_FLIGHT_TO_END, 5);
  where[0] = region (0, 0, 2);
  where[1] = region (1, 0, 2);
  where[2] = region (2, 0, 2);
  where[3] = region (3, 0, 2);
  where[4] = region (4, SECTORS - 1, 2);
  where[5] = region (4, 3, 0);
  fault_bdev_add_rule (disks[1], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                       .error = -ENOSPC,
                                                       .at_begin = true });
  fault_bdev_add_rule (disks[2], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                       .error = -ETIMEDOUT });
  fault_bdev_add_rule (disks[3], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                       .error = -EAGAIN,
                                                       .at_begin = true });
  /* What blocks may say so, too: then it is its error. */
  fault_bdev_add_rule (disks[3], &(struct fault_rule){ .ops = FAULT_WRITE,
                                                       .error = -EAGAIN });
  ck_assert_int_eq (dm_io_sync_vm_errors (6, where, DM_IO_WRITE, m.plain, &bits,
                                          errors),
                    -EIO);
  ck_assert_uint_eq (bits, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4);
  ck_assert_int_eq (errors[0], 0);
  ck_assert_int_eq (errors[1], -ENOSPC);
  ck_assert_int_eq (errors[2], -ETIMEDOUT);
  ck_assert_int_eq (errors[3], -EAGAIN);
  ck_assert_int_eq (errors[4], -EINVAL);
  ck_assert_int_eq (errors[5], 0);
  memory_free (&m);
  teardown ();
}
END_TEST

/* Memory that ends: what there is is written, then the io_region fails. */
START_TEST (memory_that_ends_in_flight)
{
  unsigned scattered;

  for (scattered = 0; scattered < 2; ++scattered) {
    struct memory m = memory_of_vector (4 * 512, scattered ? tiny_pieces
                                                           : whole_sectors);
    struct io_region where[3];

    setup_kind (IN_FLIGHT_TO_END, 3);
    where[0] = region (0, 0, 5);
    where[1] = region (1, 0, 4);
    where[2] = region (2, 0, 120);
    memory_fill (&m, 1);
    write_to (3, where, DM_IO_WRITE, &m, 1 << 0 | 1 << 2);
    assert_disk_written (0, 1, 0, 4);
    assert_disk_written (1, 1, 0, 4);
    assert_disk_written (2, 1, 0, 4);
    assert_more_is_exact ();
    memory_free (&m);
    teardown ();
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    blocking_ones_are_done_meanwhile,
    one_alone_blocks,
    so_many_are_in_flight_at_once,
    pieces_go_in_rounds,
    operations_and_flags_in_flight,
    more_counts_only_what_is_begun,
    regions_of_nothing_need_no_device,
    begins_are_refused_at_every_place,
    steps_fail_at_every_place,
    pieces_fail_at_every_place,
    preflush_in_flight_stops_its_own_write,
    zeroes_in_flight_that_cannot_be_made_are_written,
    discards_in_flight_that_cannot_be_had_fail,
    errors_in_flight_tell_why,
    memory_that_ends_in_flight,
    NULL,
  };

  return unit_main ("dm-io-fanout", tests);
}
