/* Unit tests of the disk that other unit tests let fail.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "bits.h"
#include "fault-bdev.h"
#include "test-util.h"

/* Write one sector full of BYTE. */
static int
write_byte (struct block_device *bdev, sector_t sector, int byte,
            unsigned flags)
{
  char data[SECTOR_SIZE];

  memset (data, byte, sizeof data);
  return write_at (bdev, sector, 1, data, flags);
}

/* The byte of a sector, in the durable image. */
static int
durable_byte (struct fault_bdev *disk, sector_t sector)
{
  char data[SECTOR_SIZE];

  fault_bdev_look_durable (disk, sector, 1, data);
  assert_all_bytes (data, (unsigned char) data[0], sizeof data);
  return data[0];
}

static int
visible_byte (struct fault_bdev *disk, sector_t sector)
{
  char data[SECTOR_SIZE];

  fault_bdev_look (disk, sector, 1, data);
  assert_all_bytes (data, (unsigned char) data[0], sizeof data);
  return data[0];
}

START_TEST (only_flushes_make_durable)
{
  struct fault_bdev *disk = fault_bdev_create ("d", 8, NULL);
  struct block_device *bdev = fault_bdev_open (disk, 0);

  ck_assert_int_eq (write_byte (bdev, 0, 'a', 0), 0);
  ck_assert_int_eq (visible_byte (disk, 0), 'a');
  ck_assert_int_eq (durable_byte (disk, 0), 0);
  ck_assert_uint_eq (fault_bdev_pending (disk), 1);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_int_eq (durable_byte (disk, 0), 'a');
  ck_assert_uint_eq (fault_bdev_pending (disk), 0);

  /* FUA: this write, not those before it. */
  ck_assert_int_eq (write_byte (bdev, 1, 'b', 0), 0);
  ck_assert_int_eq (write_byte (bdev, 2, 'c', BDEV_FUA), 0);
  ck_assert_int_eq (durable_byte (disk, 1), 0);
  ck_assert_int_eq (durable_byte (disk, 2), 'c');

  /* A flush that fails makes nothing durable. */
  fault_bdev_fail_once (disk, FAULT_FLUSH, 0);
  ck_assert_int_eq (bdev_flush (bdev), -EIO);
  ck_assert_int_eq (durable_byte (disk, 1), 0);

  fault_bdev_crash (disk, NULL, NULL);
  ck_assert_int_eq (visible_byte (disk, 0), 'a');
  ck_assert_int_eq (visible_byte (disk, 1), 0);
  ck_assert_int_eq (visible_byte (disk, 2), 'c');
  ck_assert_uint_eq (fault_bdev_pending (disk), 0);

  ck_assert_int_eq (bdev_discard (bdev, 0, 1, 0), 0);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 2, 1, BDEV_FUA), 0);
  fault_bdev_crash (disk, NULL, NULL);
  ck_assert_int_eq (visible_byte (disk, 0), 'a');
  ck_assert_int_eq (visible_byte (disk, 2), 0);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
}
END_TEST

/* A write that completes while a flush is under way is not its business. */
struct flusher {
  struct thread thread;
  struct block_device *bdev;
  int r;
};

static void
flush_once (void *arg)
{
  struct flusher *f = arg;

  f->r = bdev_flush (f->bdev);
}

START_TEST (a_flush_covers_what_was_before_it)
{
  struct fault_bdev *disk = fault_bdev_create ("d", 8, NULL);
  struct flusher f = { .bdev = fault_bdev_open (disk, 0) };

  ck_assert_int_eq (write_byte (f.bdev, 0, 'a', 0), 0);
  fault_bdev_gate_shut (disk, FAULT_FLUSH, 0, 0);
  ck_assert_int_eq (thread_start (&f.thread, "flusher", flush_once, &f), 0);
  fault_bdev_gate_wait (disk, 1);
  ck_assert_int_eq (write_byte (f.bdev, 1, 'b', 0), 0);
  ck_assert_int_eq (durable_byte (disk, 0), 0);
  fault_bdev_gate_open (disk);
  thread_join (&f.thread);
  ck_assert_int_eq (f.r, 0);
  ck_assert_int_eq (durable_byte (disk, 0), 'a');
  ck_assert_int_eq (durable_byte (disk, 1), 0);
  ck_assert_uint_eq (fault_bdev_calls_at_once (disk), 2);
  bdev_close (f.bdev);
  fault_bdev_destroy (disk);
}
END_TEST

/* The last sector of each write only. */
static bool
keep_odd_sectors (void *context, unsigned index, sector_t sector)
{
  (void) context;
  (void) index;
  return sector % 2 == 1;
}

START_TEST (a_crash_keeps_what_is_chosen)
{
  char two[2 * SECTOR_SIZE];
  unsigned mask;

  /* Three writes of sector 0: the last that is kept stays. */
  for (mask = 0; mask < 8; ++mask) {
    struct fault_bdev *disk = fault_bdev_create ("d", 8, NULL);
    struct block_device *bdev = fault_bdev_open (disk, 0);
    uint64_t keep = mask;

    ck_assert_int_eq (write_byte (bdev, 0, 'a', 0), 0);
    ck_assert_int_eq (write_byte (bdev, 0, 'b', 0), 0);
    ck_assert_int_eq (write_byte (bdev, 0, 'c', 0), 0);
    fault_bdev_crash (disk, fault_keep_mask, &keep);
    ck_assert_int_eq (visible_byte (disk, 0), mask & 4   ? 'c'
                                              : mask & 2 ? 'b'
                                              : mask & 1 ? 'a'
                                                         : 0);
    /* Nothing older comes after a write that is durable. */
    ck_assert_int_eq (write_byte (bdev, 1, 'd', 0), 0);
    ck_assert_int_eq (write_byte (bdev, 1, 'e', BDEV_FUA), 0);
    keep = UINT64_MAX;
    fault_bdev_crash (disk, fault_keep_mask, &keep);
    ck_assert_int_eq (visible_byte (disk, 1), 'e');

    memset (two, 'f', sizeof two);
    ck_assert_int_eq (write_at (bdev, 4, 2, two, 0), 0);
    fault_bdev_crash (disk, keep_odd_sectors, NULL);
    ck_assert_int_eq (visible_byte (disk, 4), 0);
    ck_assert_int_eq (visible_byte (disk, 5), 'f');
    bdev_close (bdev);
    fault_bdev_destroy (disk);
  }
}
END_TEST

START_TEST (rules_count_and_match)
{
  struct fault_bdev *disk = fault_bdev_create ("d", 8, NULL);
  struct block_device *bdev = fault_bdev_open (disk, 0);
  char data[4 * SECTOR_SIZE] = "";
  unsigned i;

  fault_bdev_add_rule (disk, &(struct fault_rule){ .ops = FAULT_WRITE,
                                                   .sector = 2,
                                                   .count = 2,
                                                   .skip = 1,
                                                   .times = 2,
                                                   .error = -ENOSPC,
                                                   .sectors_done = 1 });
  for (i = 0; i < 5; ++i) {
    ck_assert_int_eq (write_at (bdev, 0, 2, data, 0), 0); /* beside it */
    ck_assert_int_eq (read_at (bdev, 2, 1, data), 0);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    memset (data, 'a' + (int) i, sizeof data);
    ck_assert_int_eq (write_at (bdev, 1, 3, data, 0),
                      i == 1 || i == 2 ? -ENOSPC : 0);
    /* The first of the sectors is there at any rate. */
    ck_assert_int_eq (visible_byte (disk, 1), 'a' + (int) i);
    ck_assert_int_eq (visible_byte (disk, 2),
                      i == 1 || i == 2 ? 'a' : 'a' + (int) i);
  }
  ck_assert_uint_eq (fault_bdev_failed (disk), 2);

  /* A failed read is no data. */
  fault_bdev_fail_range (disk, FAULT_READ, 1, 1);
  memset (data, 'z', sizeof data);
  ck_assert_int_eq (read_at (bdev, 0, 2, data), -EIO);
  ck_assert_int_ne (data[0], 'z');
  ck_assert_int_ne (data[SECTOR_SIZE], 'e');
  ck_assert_int_eq (read_at (bdev, 2, 2, data), 0);
  fault_bdev_heal (disk);
  ck_assert_int_eq (read_at (bdev, 0, 2, data), 0);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
}
END_TEST

START_TEST (the_power_is_cut_for_all_disks)
{
  struct fault_trace *trace = fault_trace_create ();
  struct fault_bdev *a = fault_bdev_create ("a", 8, trace);
  struct fault_bdev *b = fault_bdev_create ("b", 8, trace);
  struct block_device *on_a = fault_bdev_open (a, 0);
  struct block_device *on_b = fault_bdev_open (b, 0);
  char *text;
  unsigned n;

  for (n = 0; n < 5; ++n) {
    bool has_power = n > 3;

    fault_trace_reset (trace);
    fault_trace_cut_power (trace, FAULT_WRITE | FAULT_FLUSH, n);
    ck_assert_int_eq (write_byte (on_a, 0, 'a' + (int) n, 0), n > 0 ? 0 : -EIO);
    ck_assert_int_eq (write_byte (on_b, 0, 'a' + (int) n, 0), n > 1 ? 0 : -EIO);
    ck_assert_int_eq (bdev_discard (on_b, 1, 1, 0), n > 1 ? 0 : -EIO);
    ck_assert_int_eq (bdev_flush (on_a), n > 2 ? 0 : -EIO);
    ck_assert_int_eq (bdev_flush (on_b), has_power ? 0 : -EIO);
    ck_assert_int_eq (fault_trace_power_is_cut (trace), !has_power);
    text = fault_trace_text (trace, FAULT_ALL);
    ck_assert_str_eq (text,
                      n == 0   ? ""
                      : n == 1 ? "a write 0+1"
                      : n == 2 ? "a write 0+1, b write 0+1, b discard 1+1"
                      : n == 3
                        ? "a write 0+1, b write 0+1, b discard 1+1, a flush"
                        : "a write 0+1, b write 0+1, b discard 1+1, a flush, "
                          "b flush");
    free (text);
    fault_trace_power_on (trace);
    fault_bdev_crash (a, NULL, NULL);
    fault_bdev_crash (b, NULL, NULL);
    ck_assert_int_eq (visible_byte (a, 0), n > 2 ? 'a' + (int) n : 0);
    ck_assert_int_eq (visible_byte (b, 0), n > 3 ? 'a' + (int) n : 0);
  }
  bdev_close (on_a);
  bdev_close (on_b);
  fault_bdev_destroy (a);
  fault_bdev_destroy (b);
  fault_trace_destroy (trace);
}
END_TEST

START_TEST (extents_and_identity)
{
  struct fault_bdev *disk = fault_bdev_create ("d", 8, NULL);
  struct fault_bdev *other = fault_bdev_create ("d", 8, NULL);
  struct block_device *one = fault_bdev_open (disk, 0);
  struct block_device *two = fault_bdev_open (disk, FAULT_OPEN_READ_ONLY);
  struct block_device *three = fault_bdev_open (other, 0);
  struct bdev_identity i1, i2, i3;
  struct bdev_extent extent;

  ck_assert_uint_eq (fault_bdev_open_count (disk), 2);
  ck_assert_int_eq (bdev_identity (one, &i1), 0);
  ck_assert_int_eq (bdev_identity (two, &i2), 0);
  ck_assert_int_eq (bdev_identity (three, &i3), 0);
  ck_assert_mem_eq (&i1, &i2, sizeof i1);
  ck_assert_mem_ne (&i1, &i3, sizeof i1);

  ck_assert_int_eq (write_byte (one, 3, 'a', 0), 0);
  ck_assert_int_eq (write_byte (one, 4, 'a', 0), 0);
  ck_assert_int_eq (bdev_extent (two, 0, 8, &extent), 0);
  ck_assert (extent.is_hole);
  ck_assert_uint_eq (extent.count, 3);
  ck_assert_int_eq (bdev_extent (two, 3, 5, &extent), 0);
  ck_assert (!extent.is_hole);
  ck_assert_uint_eq (extent.count, 2);
  ck_assert_int_eq (bdev_write_zeroes (one, 3, 1, 0), 0);
  ck_assert_int_eq (bdev_discard (one, 4, 1, 0), 0);
  ck_assert_int_eq (bdev_extent (two, 3, 5, &extent), 0);
  ck_assert (!extent.is_hole);
  ck_assert_uint_eq (extent.count, 1);
  fault_bdev_crash (disk, NULL, NULL);
  ck_assert_int_eq (bdev_extent (two, 0, 8, &extent), 0);
  ck_assert (extent.is_hole);
  ck_assert_uint_eq (extent.count, 8);

  bdev_close (one);
  bdev_close (two);
  bdev_close (three);
  ck_assert_uint_eq (fault_bdev_open_count (disk), 0);
  fault_bdev_destroy (disk);
  fault_bdev_destroy (other);
}
END_TEST

/*----- calls in flight -------------------------------------------------*/

/* A call of one sector in flight. */
struct flight {
  struct bdev_io io;
  struct iovec iov;
  char data[SECTOR_SIZE];
};

static int
begin_call (struct flight *f, struct block_device *bdev, enum bdev_op op,
            sector_t sector, int byte)
{
  memset (f->data, byte, sizeof f->data);
  f->iov = piece (f->data, sizeof f->data);
  f->io = (struct bdev_io){ .op = op, .sector = sector };
  if (op == BDEV_READ || op == BDEV_WRITE) {
    f->io.iov = &f->iov;
    f->io.iovcnt = 1;
  }
  else if (op != BDEV_FLUSH)
    f->io.count = 1;
  return bdev_begin (bdev, &f->io);
}

START_TEST (calls_in_flight_take_effect_where_told)
{
  static const enum fault_flight flights[] = { FAULT_AT_END, FAULT_AT_BEGIN };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (flights); ++i) {
    bool at_begin = flights[i] == FAULT_AT_BEGIN;
    struct fault_bdev *disk = fault_bdev_create ("d", 8, NULL);
    struct block_device *bdev = fault_bdev_open (disk, FAULT_OPEN_FLIGHT);
    struct flight w, r;

    ck_assert (bdev_can_begin (bdev));
    fault_bdev_set_flight (disk, flights[i]);
    ck_assert_int_eq (begin_call (&w, bdev, BDEV_WRITE, 3, 'a'), 0);
    ck_assert_int_eq (visible_byte (disk, 3), at_begin ? 'a' : 0);
    ck_assert_int_eq (begin_call (&r, bdev, BDEV_READ, 3, 'z'), 0);
    ck_assert_int_ne (r.data[0], 'z');
    ck_assert_uint_eq (fault_bdev_flying (disk), 2);
    ck_assert_int_eq (bdev_end (bdev, &w.io), 0);
    ck_assert_int_eq (bdev_end (bdev, &r.io), 0);
    assert_all_bytes (r.data, 'a', sizeof r.data);
    ck_assert_int_eq (visible_byte (disk, 3), 'a');
    ck_assert_int_eq (durable_byte (disk, 3), 0);

    ck_assert_int_eq (begin_call (&r, bdev, BDEV_FLUSH, 0, 0), 0);
    ck_assert_int_eq (durable_byte (disk, 3), at_begin ? 'a' : 0);
    ck_assert_int_eq (begin_call (&w, bdev, BDEV_WRITE_ZEROES, 3, 0), 0);
    ck_assert_int_eq (bdev_end (bdev, &w.io), 0);
    ck_assert_int_eq (visible_byte (disk, 3), 0);
    /* The flush does not cover the zeroing, which had not been completed. */
    ck_assert_int_eq (bdev_end (bdev, &r.io), 0);
    ck_assert_int_eq (durable_byte (disk, 3), 'a');
    ck_assert_uint_eq (fault_bdev_pending (disk), 1);
    ck_assert_int_eq (begin_call (&w, bdev, BDEV_DISCARD, 3, 0), 0);
    ck_assert_int_eq (bdev_end (bdev, &w.io), 0);
    ck_assert_uint_eq (fault_bdev_pending (disk), 2);

    ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_ALL), 5);
    ck_assert_uint_eq (fault_bdev_calls_at_once (disk), 2);
    ck_assert_uint_eq (fault_bdev_flying (disk), 0);
    bdev_close (bdev);
    fault_bdev_destroy (disk);
  }
}
END_TEST

START_TEST (calls_in_flight_go_on_elsewhere)
{
  struct fault_trace *trace = fault_trace_create ();
  struct fault_bdev *disk = fault_bdev_create ("d", 8, trace);
  struct block_device *bdev = fault_bdev_open (disk, FAULT_OPEN_FLIGHT);
  struct flight w[3];
  char *text;
  unsigned i;

  fault_bdev_set_flight (disk, FAULT_ELSEWHERE);
  fault_bdev_gate_shut (disk, FAULT_WRITE, 0, 0);
  for (i = 0; i < 3; ++i) {
    ck_assert_int_eq (begin_call (&w[i], bdev, BDEV_WRITE, i, 'a' + (int) i),
                      0);
    fault_bdev_gate_wait (disk, i + 1);
  }
  for (i = 0; i < 3; ++i)
    ck_assert_int_eq (visible_byte (disk, i), 0);
  /* They complete in the order of the gate, and are ended in another. */
  fault_bdev_gate_pass (disk, 1);
  ck_assert_int_eq (bdev_end (bdev, &w[0].io), 0);
  ck_assert_int_eq (visible_byte (disk, 0), 'a');
  ck_assert_int_eq (visible_byte (disk, 1), 0);
  fault_bdev_gate_open (disk);
  ck_assert_int_eq (bdev_end (bdev, &w[2].io), 0);
  ck_assert_int_eq (bdev_end (bdev, &w[1].io), 0);
  ck_assert_int_eq (visible_byte (disk, 1), 'b');
  ck_assert_int_eq (visible_byte (disk, 2), 'c');
  text = fault_trace_text (trace, FAULT_WRITE | FAULT_BEGIN | FAULT_END);
  ck_assert_int_eq (strncmp (text,
                             "d begin-write 0+1, d begin-write 1+1, "
                             "d begin-write 2+1, d write 0+1, d end-write 0+1,",
                             86),
                    0);
  free (text);
  text = fault_trace_text (trace, FAULT_ALL | FAULT_END);
  /* The other's write may still be done in between. */
  ck_assert (strstr (text, "d end-write 2+1") != NULL &&
             strstr (text, "d end-write 2+1") <
               strstr (text, "d end-write 1+1"));
  ck_assert (strstr (text, "begin") == NULL);
  free (text);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  fault_trace_destroy (trace);
}
END_TEST

START_TEST (rules_for_begins_and_ends)
{
  struct fault_trace *trace = fault_trace_create ();
  struct fault_bdev *disk = fault_bdev_create ("d", 8, trace);
  struct block_device *bdev = fault_bdev_open (disk, FAULT_OPEN_FLIGHT);
  struct flight w;
  char *text;
  unsigned i;

  /* Each third begin from the second on is refused, twice. */
  fault_bdev_add_rule (disk, &(struct fault_rule){ .ops = FAULT_WRITE,
                                                   .skip = 1,
                                                   .every = 3,
                                                   .times = 2,
                                                   .error = -EAGAIN,
                                                   .at_begin = true });
  for (i = 0; i < 10; ++i) {
    int r = begin_call (&w, bdev, BDEV_WRITE, 0, 'a');

    ck_assert_int_eq (r, i == 1 || i == 4 ? -EAGAIN : 0);
    if (r == 0)
      ck_assert_int_eq (bdev_end (bdev, &w.io), 0);
    ck_assert_int_eq (write_byte (bdev, 0, 'b', 0), 0); /* no begin */
  }
  ck_assert_uint_eq (fault_bdev_refused (disk), 2);
  ck_assert_uint_eq (fault_bdev_failed (disk), 0);
  ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_WRITE), 18);
  fault_bdev_heal (disk);

  fault_trace_reset (trace);
  fault_bdev_add_rule (disk, &(struct fault_rule){ .ops = FAULT_WRITE,
                                                   .sector = 2,
                                                   .count = 1,
                                                   .at_begin = true });
  ck_assert_int_eq (begin_call (&w, bdev, BDEV_WRITE, 2, 'a'), -EIO);
  ck_assert_int_eq (visible_byte (disk, 2), 0);
  ck_assert_uint_eq (fault_bdev_flying (disk), 0);
  fault_bdev_heal (disk);
  fault_bdev_fail_once (disk, FAULT_WRITE, 0);
  ck_assert_int_eq (begin_call (&w, bdev, BDEV_WRITE, 2, 'a'), 0);
  ck_assert_int_eq (bdev_end (bdev, &w.io), -EIO);
  ck_assert_int_eq (visible_byte (disk, 2), 0);
  ck_assert_uint_eq (fault_bdev_failed (disk), 2);
  text = fault_trace_text (trace, FAULT_ALL | FAULT_BEGIN | FAULT_END);
  ck_assert_str_eq (text, "d begin-write 2+1 -5, d begin-write 2+1, "
                          "d write 2+1 -5, d end-write 2+1 -5");
  free (text);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  fault_trace_destroy (trace);
}
END_TEST

/* Odd sectors of the writes in flight have reached the disk. */
START_TEST (a_crash_tears_what_is_in_flight)
{
  unsigned elsewhere;

  for (elsewhere = 0; elsewhere < 2; ++elsewhere) {
    struct fault_bdev *disk = fault_bdev_create ("d", 8, NULL);
    struct block_device *bdev = fault_bdev_open (disk, FAULT_OPEN_FLIGHT);
    struct flight w[4], flush;
    unsigned i;

    fault_bdev_gate_shut (disk, FAULT_WRITE, 0, 0);
    if (elsewhere)
      fault_bdev_set_flight (disk, FAULT_ELSEWHERE);
    for (i = 0; i < 4; ++i)
      ck_assert_int_eq (begin_call (&w[i], bdev, BDEV_WRITE, i, 'a' + (int) i),
                        0);
    ck_assert_int_eq (begin_call (&flush, bdev, BDEV_FLUSH, 0, 0), 0);
    if (elsewhere)
      fault_bdev_gate_wait (disk, 4);
    fault_bdev_crash (disk, keep_odd_sectors, NULL);
    fault_bdev_gate_open (disk);
    for (i = 0; i < 4; ++i)
      ck_assert_int_eq (bdev_end (bdev, &w[i].io), -EIO);
    ck_assert_int_eq (bdev_end (bdev, &flush.io), -EIO);
    for (i = 0; i < 4; ++i) {
      ck_assert_int_eq (visible_byte (disk, i), i % 2 == 1 ? 'a' + (int) i : 0);
      ck_assert_int_eq (durable_byte (disk, i), visible_byte (disk, i));
    }
    /* The next life is as any other. */
    ck_assert_int_eq (begin_call (&w[0], bdev, BDEV_WRITE, 0, 'x'), 0);
    ck_assert_int_eq (bdev_end (bdev, &w[0].io), 0);
    ck_assert_int_eq (visible_byte (disk, 0), 'x');
    bdev_close (bdev);
    fault_bdev_destroy (disk);
  }
}
END_TEST

START_TEST (bare_devices_have_little_in_flight)
{
  struct fault_bdev *disk = fault_bdev_create ("d", 8, NULL);
  struct block_device *bdev = fault_bdev_open (disk, FAULT_OPEN_FLIGHT |
                                                       FAULT_OPEN_BARE);
  struct flight f;

  ck_assert_int_eq (begin_call (&f, bdev, BDEV_FLUSH, 0, 0), -EAGAIN);
  ck_assert_int_eq (begin_call (&f, bdev, BDEV_DISCARD, 0, 0), -EAGAIN);
  ck_assert_int_eq (begin_call (&f, bdev, BDEV_WRITE_ZEROES, 0, 0), -EAGAIN);
  ck_assert_int_eq (begin_call (&f, bdev, BDEV_WRITE, 0, 'a'), 0);
  ck_assert_int_eq (bdev_end (bdev, &f.io), 0);
  ck_assert_int_eq (visible_byte (disk, 0), 'a');
  bdev_close (bdev);
  bdev = fault_bdev_open (disk, FAULT_OPEN_FLIGHT | FAULT_OPEN_READ_ONLY);
  ck_assert_int_eq (begin_call (&f, bdev, BDEV_WRITE, 0, 'b'), -EROFS);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
}
END_TEST

/* In a child: the wrong uses of a call in flight. */
static struct flight wrong;

static void
end_it (void *bdev)
{
  (void) bdev_end (bdev, &wrong.io);
}

static void
use_wrongly (unsigned how)
{
  struct fault_bdev *disk = fault_bdev_create ("d", 8, NULL);
  struct block_device *bdev = fault_bdev_open (disk, FAULT_OPEN_FLIGHT);
  struct thread thread;
  struct bdev_io moved;

  must (freopen ("/dev/null", "w", stderr) != NULL);
  must (begin_call (&wrong, bdev, BDEV_WRITE, 0, 'a') == 0);
  switch (how) {
  case 0:
    end_it (bdev);
    end_it (bdev);
    break;
  case 1:
    must (thread_start (&thread, "other", end_it, bdev) == 0);
    thread_join (&thread);
    break;
  case 2:
    moved = wrong.io;
    (void) bdev_end (bdev, &moved);
    break;
  default:
    bdev_close (bdev);
    fault_bdev_destroy (disk);
    break;
  }
}

START_TEST (wrong_use_of_calls_in_flight_is_noticed)
{
  unsigned how;

  for (how = 0; how < 4; ++how) {
    pid_t child = fork ();
    int status;

    ck_assert_int_ge (child, 0);
    if (child == 0) {
      use_wrongly (how);
      _exit (0);
    }
    ck_assert_int_eq (waitpid (child, &status, 0), child);
    ck_assert (WIFSIGNALED (status) && WTERMSIG (status) == SIGABRT);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    only_flushes_make_durable,
    a_flush_covers_what_was_before_it,
    a_crash_keeps_what_is_chosen,
    rules_count_and_match,
    the_power_is_cut_for_all_disks,
    extents_and_identity,
    calls_in_flight_take_effect_where_told,
    calls_in_flight_go_on_elsewhere,
    rules_for_begins_and_ends,
    a_crash_tears_what_is_in_flight,
    bare_devices_have_little_in_flight,
    wrong_use_of_calls_in_flight_is_noticed,
    NULL,
  };

  return unit_main ("fault-bdev", tests);
}
