/* Unit tests of block devices: the checks in front, and the defaults.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "bdev-observe.h"
#include "bits.h"
#include "block-device.h"
#include "clock.h"
#include "fault-alloc.h"
#include "fault-bdev.h"
#include "test-util.h"

/*----- the checks in front of every device -----------------------------*/

static unsigned closed;

static void
count_close (void *handle)
{
  (void) handle;
  closed++;
}

static int
read_nothing (void *handle, const struct iovec *iov, int iovcnt,
              sector_t sector)
{
  (void) handle;
  (void) iov;
  (void) iovcnt;
  (void) sector;
  return 0;
}

static int
begin_nothing (void *handle, struct bdev_io *io)
{
  (void) handle;
  (void) io;
  return -EAGAIN;
}

START_TEST (create_checks_its_arguments)
{
  struct bdev_ops ops = {
    .struct_size = sizeof ops,
    .read = read_nothing,
    .close = count_close,
  };
  struct bdev_ops no_read = { .struct_size = sizeof no_read,
                              .close = count_close };
  struct bdev_ops no_size = { .read = read_nothing, .close = count_close };
  struct block_device *bdev = NULL;
  char name[] = "name";

  closed = 0;
  ck_assert_int_eq (bdev_create (&no_read, NULL, "x", 8, &bdev), -EINVAL);
  ck_assert_int_eq (bdev_create (&no_size, NULL, "x", 8, &bdev), -EINVAL);
  ck_assert_int_eq (bdev_create (&ops, NULL, "x", SECTOR_MAX + 1, &bdev),
                    -EINVAL);
  ck_assert_ptr_null (bdev);
  ck_assert_uint_eq (closed, 0);

  ck_assert_int_eq (bdev_create (&ops, NULL, name, SECTOR_MAX, &bdev), 0);
  name[0] = 'g'; /* ours was copied */
  ck_assert_str_eq (bdev_name (bdev), "name");
  ck_assert_uint_eq (bdev_sectors (bdev), SECTOR_MAX);
  ck_assert (bdev_is_read_only (bdev));
  bdev_close (bdev);
  ck_assert_uint_eq (closed, 1);
  bdev_close (NULL);
}
END_TEST

START_TEST (create_takes_older_and_newer_programs)
{
  struct {
    struct bdev_ops ops;
    void *added[2];
  } newer = { .ops = { .struct_size = sizeof newer, .read = read_nothing } };
  struct bdev_ops older = {
    .struct_size = offsetof (struct bdev_ops, write),
    .read = read_nothing,
    .close = count_close, /* an older program had no such member */
  };
  struct bdev_ops half = { .struct_size = sizeof half,
                           .read = read_nothing,
                           .begin = begin_nothing };
  struct block_device *bdev = NULL;

  closed = 0;
  ck_assert_int_eq (bdev_create (&older, NULL, "x", 8, &bdev), 0);
  memset (&older, 0x55, sizeof older); /* ours was copied */
  ck_assert (bdev_is_read_only (bdev));
  bdev_close (bdev);
  ck_assert_uint_eq (closed, 0);

  ck_assert_int_eq (bdev_create (&newer.ops, NULL, "x", 8, &bdev), 0);
  bdev_close (bdev);
  bdev = NULL;
  newer.added[1] = &newer; /* it wants something that we cannot */
  ck_assert_int_eq (bdev_create (&newer.ops, NULL, "x", 8, &bdev), -EINVAL);
  ck_assert_int_eq (bdev_create (&half, NULL, "x", 8, &bdev), -EINVAL);
  ck_assert_ptr_null (bdev);
}
END_TEST

START_TEST (a_uri_is_no_path)
{
  ck_assert (bdev_spec_is_uri ("nbd://host/"));
  ck_assert (bdev_spec_is_uri ("nbd+unix:///?socket=x"));
  ck_assert (bdev_spec_is_uri ("http://host/"));
  ck_assert (!bdev_spec_is_uri ("./nbd://host/"));
  ck_assert (!bdev_spec_is_uri ("nbd:/host"));
  ck_assert (!bdev_spec_is_uri ("://"));
  ck_assert (!bdev_spec_is_uri ("1a://b"));
  ck_assert (!bdev_spec_is_uri (""));
}
END_TEST

START_TEST (unknown_flags_are_refused)
{
  struct fault_bdev *disk = fault_bdev_create ("d", 16, NULL);
  struct block_device *bdev = fault_bdev_open (disk, 0);
  struct bdev_options options = { .struct_size = sizeof options,
                                  .flags = 1U << 5 };
  char *data = test_alloc_sectors (1);
  struct bdev_io io = { .op = BDEV_READ, .flags = BDEV_FUA };
  unsigned bit;

  memset (data, 1, SECTOR_SIZE);
  for (bit = 0; bit < 32; ++bit) {
    unsigned flag = 1U << bit;

    ck_assert_int_eq (write_at (bdev, 0, 1, data, flag),
                      flag == BDEV_FUA ? 0 : -EINVAL);
    ck_assert_int_eq (bdev_discard (bdev, 0, 1, flag),
                      flag == BDEV_FUA ? 0 : -EINVAL);
    ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 1, flag),
                      bit < 3 ? 0 : -EINVAL);
    if (bit > 4)
      ck_assert_int_eq (bdev_open ("/nowhere", flag, &bdev), -EINVAL);
  }
  ck_assert_int_eq (bdev_open_options ("/nowhere", &options, &bdev), -EINVAL);
  options.struct_size = sizeof options.struct_size;
  options.flags = 0;
  ck_assert_int_eq (bdev_open_options ("/nowhere", &options, &bdev), -EINVAL);
  options.struct_size = sizeof options;
  ck_assert_int_eq (bdev_open_options ("/nowhere", &options, &bdev), -ENOENT);
  ck_assert_int_eq (bdev_open ("nbd://h/", BDEV_OPEN_EXCLUSIVE, &bdev),
                    -EOPNOTSUPP);
  ck_assert_int_eq (bdev_begin (bdev, &io), -EINVAL);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  free (data);
}
END_TEST

START_TEST (create_fails_at_every_allocation)
{
  struct bdev_ops ops = {
    .struct_size = sizeof ops,
    .read = read_nothing,
    .close = count_close,
  };
  struct block_device *bdev = NULL;
  unsigned k;
  int r = -ENOMEM;

  closed = 0;
  for (k = 0; r != 0; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = bdev_create (&ops, NULL, "x", 8, &bdev);
    ck_assert_int_eq (r, fault_alloc_stop () > 0 ? -ENOMEM : 0);
    ck_assert_uint_eq (closed, 0); /* the handle stayed ours */
  }
  ck_assert_uint_ge (k, 3);
  bdev_close (bdev);
}
END_TEST

START_TEST (ranges_are_checked_before_the_device)
{
  static const struct {
    sector_t sector, count;
  } bad[] = {
    { 17, 0 },         { 16, 1 },
    { 0, 17 },         { 15, 2 },
    { UINT64_MAX, 1 }, { UINT64_MAX - 1, 4 },
    { 1, UINT64_MAX }, { UINT64_MAX / 2 + 1, UINT64_MAX / 2 + 1 },
  };
  struct fault_bdev *disk = fault_bdev_create ("d", 16, NULL);
  struct block_device *bdev = fault_bdev_open (disk, 0);
  char *data = test_alloc_sectors (17);
  struct bdev_extent extent;
  struct iovec iov[3];
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (bad); ++i) {
    sector_t s = bad[i].sector, n = bad[i].count;

    if (n <= 17) {
      ck_assert_int_eq (read_at (bdev, s, n, data), -EINVAL);
      ck_assert_int_eq (write_at (bdev, s, n, data, 0), -EINVAL);
    }
    ck_assert_int_eq (bdev_discard (bdev, s, n, 0), -EINVAL);
    ck_assert_int_eq (bdev_write_zeroes (bdev, s, n, 0), -EINVAL);
    ck_assert_int_eq (bdev_extent (bdev, s, n, &extent), -EINVAL);
  }
  ck_assert_int_eq (bdev_extent (bdev, 0, 0, &extent), -EINVAL);

  /* Memory that is not whole sectors, or wraps. */
  iov[0] = piece (data, 512);
  iov[1] = piece (data, 511);
  ck_assert_int_eq (bdev_read (bdev, iov, 2, 0), -EINVAL);
  ck_assert_int_eq (bdev_write (bdev, iov, 2, 0, 0), -EINVAL);
  iov[1] = piece (data, SIZE_MAX);
  iov[2] = piece (data, 1);
  ck_assert_int_eq (bdev_read (bdev, iov, 3, 0), -EINVAL);
  ck_assert_int_eq (bdev_write (bdev, iov, 3, 0, 0), -EINVAL);
  ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_ALL), 0);

  /* What is just inside is not refused. */
  ck_assert_int_eq (read_at (bdev, 0, 16, data), 0);
  ck_assert_int_eq (write_at (bdev, 15, 1, data, 0), 0);
  ck_assert_int_eq (bdev_discard (bdev, 15, 1, 0), 0);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 16, 0), 0);
  ck_assert_int_eq (bdev_extent (bdev, 15, 1, &extent), 0);
  ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_ALL), 4);
  /* Nothing to do is done without the device. */
  ck_assert_int_eq (bdev_discard (bdev, 16, 0, 0), 0);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 16, 0, 0), 0);
  ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_ALL), 4);

  bdev_close (bdev);
  fault_bdev_destroy (disk);
  free (data);
}
END_TEST

START_TEST (read_only_devices_refuse_writes)
{
  struct fault_bdev *disk = fault_bdev_create ("d", 16, NULL);
  struct block_device *ro = fault_bdev_open (disk, FAULT_OPEN_READ_ONLY);
  struct block_device *rw = fault_bdev_open (disk, 0);
  char data[SECTOR_SIZE] = "";

  ck_assert (bdev_is_read_only (ro));
  ck_assert (!bdev_is_read_only (rw));
  ck_assert_int_eq (write_at (ro, 0, 1, data, 0), -EROFS);
  ck_assert_int_eq (bdev_discard (ro, 0, 1, 0), -EROFS);
  ck_assert_int_eq (bdev_write_zeroes (ro, 0, 1, 0), -EROFS);
  ck_assert_int_eq (read_at (ro, 0, 1, data), 0);
  ck_assert_int_eq (bdev_flush (ro), 0);
  ck_assert_uint_eq (fault_bdev_calls (disk, FAULT_WRITE | FAULT_DISCARD |
                                               FAULT_ZERO),
                     0);
  bdev_close (ro);
  bdev_close (rw);
  fault_bdev_destroy (disk);
}
END_TEST

START_TEST (errors_and_flags_pass_through)
{
  struct fault_trace *trace = fault_trace_create ();
  struct fault_bdev *disk = fault_bdev_create ("d", 16, trace);
  struct block_device *bdev = fault_bdev_open (disk, 0);
  char data[SECTOR_SIZE] = "";
  char *text;

  ck_assert_int_eq (write_at (bdev, 1, 1, data, BDEV_FUA), 0);
  ck_assert_int_eq (bdev_discard (bdev, 2, 3, BDEV_FUA), 0);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 4, 5,
                                       BDEV_FUA | BDEV_UNMAP | BDEV_FAST),
                    0);
  fault_bdev_add_rule (disk, &(struct fault_rule){ .ops = FAULT_ALL,
                                                   .error = -ENOSPC });
  ck_assert_int_eq (read_at (bdev, 0, 1, data), -ENOSPC);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -ENOSPC);
  ck_assert_int_eq (bdev_flush (bdev), -ENOSPC);
  ck_assert_int_eq (bdev_discard (bdev, 0, 1, 0), -ENOSPC);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 1, 0), -ENOSPC);

  text = fault_trace_text (trace, FAULT_ALL);
  ck_assert_str_eq (text, "d write 1+1 fua, d discard 2+3 fua, "
                          "d zero 4+5 fua unmap fast, "
                          "d read 0+1 -28, d write 0+1 -28, d flush -28, "
                          "d discard 0+1 -28, d zero 0+1 -28");
  free (text);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  fault_trace_destroy (trace);
}
END_TEST

START_TEST (a_bare_device_has_defaults)
{
  struct fault_trace *trace = fault_trace_create ();
  struct fault_bdev *disk = fault_bdev_create ("d", 600, trace);
  struct block_device *bdev = fault_bdev_open (disk, FAULT_OPEN_BARE);
  char *data = test_alloc_sectors (600);
  struct bdev_identity identity;
  struct bdev_extent extent = { .count = 99, .is_hole = true };
  char *text;

  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_int_eq (bdev_discard (bdev, 0, 8, 0), -EOPNOTSUPP);
  ck_assert_int_eq (bdev_identity (bdev, &identity), -EOPNOTSUPP);
  ck_assert_int_eq (bdev_extent (bdev, 3, 7, &extent), 0);
  ck_assert_uint_eq (extent.count, 7);
  ck_assert (!extent.is_hole);

  /* Zeroes are written, exactly where they belong. */
  fill_pattern (data, 1, 0, 600);
  fault_bdev_load (disk, 0, 600, data);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 5, 8, BDEV_FAST), -EOPNOTSUPP);
  ck_assert_uint_eq (fault_trace_count (trace), 0);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 7, 580, BDEV_UNMAP), 0);
  fault_bdev_look (disk, 0, 600, data);
  assert_pattern (data, 1, (sector_t) 0, (sector_t) 7);
  assert_all_bytes (data + 7 * 512, 0, 580 * (size_t) 512);
  assert_pattern (data + 587 * 512, 1, (sector_t) 587, (sector_t) 13);
  text = fault_trace_text (trace, FAULT_ALL);
  ck_assert_str_eq (text, "d write 7+128, d write 135+128, d write 263+128, "
                          "d write 391+128, d write 519+68");
  free (text);

  /* The second of the writes fails: so does all. */
  fault_bdev_fail_once (disk, FAULT_WRITE, 1);
  fault_trace_reset (trace);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 600, 0), -EIO);
  ck_assert_uint_eq (fault_trace_count (trace), 2);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  fault_trace_destroy (trace);
  free (data);
}
END_TEST

/* A device that cannot zero this time: zeroes are written, and durable if
 * that was wanted.
 */
START_TEST (zeroing_falls_back_to_writing)
{
  struct fault_trace *trace = fault_trace_create ();
  struct fault_bdev *disk = fault_bdev_create ("d", 200, trace);
  struct block_device *bdev = fault_bdev_open (disk, 0);
  char *data = test_alloc_sectors (200);
  char *text;

  fill_pattern (data, 1, 0, 200);
  fault_bdev_load (disk, 0, 200, data);
  fault_bdev_add_rule (disk, &(struct fault_rule){ .ops = FAULT_ZERO,
                                                   .error = -EOPNOTSUPP });
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 8, BDEV_FAST), -EOPNOTSUPP);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 10, 150, BDEV_FUA), 0);
  text = fault_trace_text (trace, FAULT_ALL);
  ck_assert_str_eq (text, "d zero 0+8 fast -95, d zero 10+150 fua -95, "
                          "d write 10+128, d write 138+22, d flush");
  free (text);
  fault_bdev_crash (disk, NULL, NULL);
  fault_bdev_look (disk, 0, 200, data);
  assert_pattern (data, 1, (sector_t) 0, (sector_t) 10);
  assert_all_bytes (data + 10 * 512, 0, 150 * (size_t) 512);

  /* A flush that fails makes it fail. */
  fault_bdev_fail_once (disk, FAULT_FLUSH, 0);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 10, 150, BDEV_FUA), -EIO);
  /* Any other error is an error. */
  fault_bdev_heal (disk);
  fault_bdev_fail_once (disk, FAULT_ZERO, 0);
  fault_trace_reset (trace);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 10, 150, 0), -EIO);
  ck_assert_uint_eq (fault_trace_count (trace), 1);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  fault_trace_destroy (trace);
  free (data);
}
END_TEST

static int
extent_nonsense (void *handle, sector_t sector, sector_t count,
                 struct bdev_extent *extent)
{
  const int *kind = handle;

  (void) sector;
  switch (*kind) {
  case 0:
    extent->count = 0;
    return 0;
  case 1:
    extent->count = count + 1;
    return 0;
  default:
    return -ENOLINK;
  }
}

START_TEST (extents_of_nonsense_are_errors)
{
  const struct bdev_ops ops = {
    .struct_size = sizeof ops,
    .read = read_nothing,
    .extent = extent_nonsense,
  };
  int kind;
  struct block_device *bdev;
  struct bdev_extent extent;

  ck_assert_int_eq (bdev_create (&ops, &kind, "x", 100, &bdev), 0);
  kind = 0;
  ck_assert_int_eq (bdev_extent (bdev, 0, 10, &extent), -EIO);
  kind = 1;
  ck_assert_int_eq (bdev_extent (bdev, 0, 10, &extent), -EIO);
  kind = 2;
  ck_assert_int_eq (bdev_extent (bdev, 0, 10, &extent), -ENOLINK);
  bdev_close (bdev);
}
END_TEST

/*----- how long it takes -----------------------------------------------*/

/* Begins and ends one read, and says that it ended so long after its begin. */
#define TOOK_NS UINT64_C (12345)

struct flight_device {
  int begin_error, end_error;
  bool says_when;
  bool was_measured; /* the last one */
};

static int
begin_flight (void *handle, struct bdev_io *io)
{
  struct flight_device *d = handle;

  d->was_measured = io->began_ns != 0;
  if (d->says_when && d->was_measured)
    io->ended_ns = io->began_ns + TOOK_NS;
  return d->begin_error;
}

static int
end_flight (void *handle, struct bdev_io *io)
{
  struct flight_device *d = handle;

  (void) io;
  return d->end_error;
}

struct heard {
  unsigned count;
  enum bdev_op op;
  int result;
  uint64_t ns;
};

static void
hear (enum bdev_op op, int result, uint64_t ns, void *context)
{
  struct heard *heard = context;

  *heard = (struct heard){ heard->count + 1, op, result, ns };
}

static void
assert_heard (const struct heard *heard, unsigned count, enum bdev_op op,
              int result)
{
  ck_assert_uint_eq (heard->count, count);
  ck_assert_int_eq (heard->op, op);
  ck_assert_int_eq (heard->result, result);
}

START_TEST (observers_are_told_of_every_call)
{
  struct fault_bdev *disk = fault_bdev_create ("d", 16, NULL);
  struct block_device *bdev = fault_bdev_open (disk, 0);
  char *data = test_alloc_sectors (2);
  struct heard heard = { 0 };
  uint64_t began = clock_now_ns (), all_ns = 0;

  memset (data, 7, sector_to_bytes (2));
  bdev_set_observer (bdev, hear, &heard);
  ck_assert_int_eq (write_at (bdev, 0, 2, data, 0), 0);
  assert_heard (&heard, 1, BDEV_WRITE, 0);
  all_ns += heard.ns;
  ck_assert_int_eq (read_at (bdev, 0, 2, data), 0);
  assert_heard (&heard, 2, BDEV_READ, 0);
  all_ns += heard.ns;
  ck_assert_int_eq (bdev_flush (bdev), 0);
  assert_heard (&heard, 3, BDEV_FLUSH, 0);
  all_ns += heard.ns;
  ck_assert_int_eq (bdev_discard (bdev, 0, 1, 0), 0);
  assert_heard (&heard, 4, BDEV_DISCARD, 0);
  all_ns += heard.ns;
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 1, 0), 0);
  assert_heard (&heard, 5, BDEV_WRITE_ZEROES, 0);
  all_ns += heard.ns;
  ck_assert_uint_le (all_ns, clock_now_ns () - began);

  /* An error is told, too; what never came to the device is not. */
  fault_bdev_add_rule (disk, &(struct fault_rule){ .ops = FAULT_WRITE,
                                                   .times = 1,
                                                   .error = -ENOSPC });
  ck_assert_int_eq (write_at (bdev, 0, 2, data, 0), -ENOSPC);
  assert_heard (&heard, 6, BDEV_WRITE, -ENOSPC);
  ck_assert_int_eq (write_at (bdev, 15, 2, data, 0), -EINVAL);
  ck_assert_int_eq (bdev_discard (bdev, 0, 0, 0), 0);
  ck_assert_uint_eq (heard.count, 6);

  bdev_set_observer (bdev, NULL, NULL);
  ck_assert_int_eq (read_at (bdev, 0, 2, data), 0);
  ck_assert_uint_eq (heard.count, 6);
  bdev_close (bdev);
  fault_bdev_destroy (disk);
  free (data);
}
END_TEST

START_TEST (observers_are_told_of_what_was_in_flight)
{
  static const struct bdev_ops ops = {
    .struct_size = sizeof ops,
    .read = read_nothing,
    .begin = begin_flight,
    .end = end_flight,
  };
  struct flight_device device = { .says_when = true };
  struct block_device *bdev;
  struct heard heard = { 0 };
  char data[SECTOR_SIZE];
  struct iovec iov = { data, sizeof data };
  const struct bdev_io request = { .op = BDEV_READ, .iov = &iov, .iovcnt = 1 };
  struct bdev_io io = request;
  uint64_t began;

  ck_assert_int_eq (bdev_create (&ops, &device, "x", 8, &bdev), 0);
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert (!device.was_measured);
  ck_assert_int_eq (bdev_end (bdev, &io), 0);

  bdev_set_observer (bdev, hear, &heard);
  io = request;
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert (device.was_measured);
  ck_assert_uint_eq (heard.count, 0);
  device.end_error = -EIO;
  ck_assert_int_eq (bdev_end (bdev, &io), -EIO);
  assert_heard (&heard, 1, BDEV_READ, -EIO);
  ck_assert_uint_eq (heard.ns, TOOK_NS);

  /* One that cannot say when: its end counts. */
  device = (struct flight_device){ .says_when = false };
  io = request;
  began = clock_now_ns ();
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert_int_eq (bdev_end (bdev, &io), 0);
  assert_heard (&heard, 2, BDEV_READ, 0);
  ck_assert_uint_le (heard.ns, clock_now_ns () - began);

  /* What a call is to do is told of by the call; an error is one. */
  device.begin_error = -EAGAIN;
  io = request;
  ck_assert_int_eq (bdev_begin (bdev, &io), -EAGAIN);
  ck_assert_uint_eq (heard.count, 2);
  device.begin_error = -ENOTCONN;
  io = request;
  ck_assert_int_eq (bdev_begin (bdev, &io), -ENOTCONN);
  assert_heard (&heard, 3, BDEV_READ, -ENOTCONN);
  bdev_close (bdev);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    create_checks_its_arguments,
    create_takes_older_and_newer_programs,
    a_uri_is_no_path,
    unknown_flags_are_refused,
    create_fails_at_every_allocation,
    ranges_are_checked_before_the_device,
    read_only_devices_refuse_writes,
    errors_and_flags_pass_through,
    a_bare_device_has_defaults,
    zeroing_falls_back_to_writing,
    extents_of_nonsense_are_errors,
    observers_are_told_of_every_call,
    observers_are_told_of_what_was_in_flight,
    NULL,
  };

  return unit_main ("bdev", tests);
}
