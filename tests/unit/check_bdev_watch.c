/* Unit tests of devices that are given up when they hang.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The disk below hangs where its gate is shut, until it is opened.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "bdev-impl.h"
#include "clock.h"
#include "fault-alloc.h"
#include "fault-bdev.h"
#include "test-util.h"

#define SECTORS ((sector_t) 32768)
#define ALL 0, 0 /* of a gate */

/* As short as makes sense: what is tested is that it ends. */
#define SHORT_MS 40
/* Longer than any test takes. */
#define LONG_MS 1000000

struct watched {
  struct fault_bdev *disk;
  struct block_device *bdev;
};

static void
watched_open (struct watched *w, unsigned flags, unsigned timeout_ms)
{
  struct block_device *lower;

  w->disk = fault_bdev_create ("disk", SECTORS, NULL);
  lower = fault_bdev_open (w->disk, flags);
  must (bdev_watch_create (lower, timeout_ms, &w->bdev) == 0);
}

static void
watched_close (struct watched *w)
{
  bdev_close (w->bdev);
  ck_assert_uint_eq (fault_bdev_open_count (w->disk), 0);
  fault_bdev_destroy (w->disk);
}

/*----- a device that does not hang -------------------------------------*/

START_TEST (does_what_the_device_does)
{
  struct bdev_identity identity, expected;
  struct bdev_extent extent;
  struct bdev_limits limits;
  struct block_device *plain;
  struct watched w;
  unsigned char data[8 * SECTOR_SIZE];

  watched_open (&w, 0, LONG_MS);
  plain = fault_bdev_open (w.disk, 0);
  ck_assert_str_eq (bdev_name (w.bdev), bdev_name (plain));
  ck_assert_uint_eq (bdev_sectors (w.bdev), SECTORS);
  ck_assert (!bdev_is_read_only (w.bdev));
  ck_assert (bdev_can_begin (w.bdev));
  bdev_get_limits (w.bdev, &limits);
  ck_assert (limits.is_remote);
  ck_assert_int_eq (bdev_identity (w.bdev, &identity), 0);
  ck_assert_int_eq (bdev_identity (plain, &expected), 0);
  ck_assert_uint_eq (identity.inode, expected.inode);

  fill_pattern (data, 1, 16, 8);
  ck_assert_int_eq (write_at (w.bdev, 16, 8, data, 0), 0);
  ck_assert_uint_eq (fault_bdev_pending (w.disk), 1);
  ck_assert_int_eq (bdev_flush (w.bdev), 0);
  ck_assert_uint_eq (fault_bdev_pending (w.disk), 0);
  ck_assert_int_eq (write_at (w.bdev, 24, 8, data, BDEV_FUA), 0);
  ck_assert_uint_eq (fault_bdev_pending (w.disk), 0);
  memset (data, 0, sizeof data);
  ck_assert_int_eq (read_at (w.bdev, 16, 8, data), 0);
  assert_pattern (data, 1, 16, 8);

  ck_assert_int_eq (bdev_extent (w.bdev, 0, 100, &extent), 0);
  ck_assert (extent.is_hole);
  ck_assert_uint_eq (extent.count, 16);
  ck_assert_int_eq (bdev_discard (w.bdev, 16, 8, 0), 0);
  ck_assert_int_eq (bdev_write_zeroes (w.bdev, 24, 8, BDEV_UNMAP), 0);
  ck_assert_int_eq (bdev_extent (w.bdev, 0, SECTORS, &extent), 0);
  ck_assert_uint_eq (extent.count, SECTORS);
  ck_assert_int_eq (bdev_reconnect (w.bdev, 0), -EOPNOTSUPP);

  bdev_close (plain);
  watched_close (&w);
}
END_TEST

START_TEST (large_requests_of_many_pieces)
{
  const sector_t count = SECTORS - 3;
  unsigned char *data = test_alloc_sectors (count);
  struct iovec iov[3];
  struct watched w;

  watched_open (&w, 0, LONG_MS);
  fill_pattern (data, 2, 3, count);
  iov[0] = piece (data, 1000);
  iov[1] = piece (data + 1000, 5000001);
  iov[2] = piece (data + 5001001, sector_to_bytes (count) - 5001001);
  ck_assert_int_eq (bdev_write (w.bdev, iov, 3, 3, 0), 0);
  memset (data, 0, sector_to_bytes (count));
  ck_assert_int_eq (bdev_read (w.bdev, iov, 3, 3), 0);
  assert_pattern (data, 2, 3, count);
  fault_bdev_look (w.disk, 3, count, data);
  assert_pattern (data, 2, 3, count);
  ck_assert_int_eq (bdev_write_zeroes (w.bdev, 0, SECTORS, 0), 0);
  fault_bdev_look (w.disk, 3, count, data);
  assert_all_bytes (data, 0, sector_to_bytes (count));
  free (data);
  watched_close (&w);
}
END_TEST

START_TEST (errors_are_those_of_the_device)
{
  struct fault_rule full = { .ops = FAULT_WRITE, .error = -ENOSPC };
  struct watched w;
  unsigned char data[SECTOR_SIZE] = { 0 };

  watched_open (&w, FAULT_OPEN_READ_ONLY, LONG_MS);
  ck_assert (bdev_is_read_only (w.bdev));
  ck_assert_int_eq (write_at (w.bdev, 0, 1, data, 0), -EROFS);
  ck_assert_int_eq (read_at (w.bdev, 0, 1, data), 0);
  watched_close (&w);

  watched_open (&w, 0, LONG_MS);
  fault_bdev_add_rule (w.disk, &full);
  fault_bdev_fail_range (w.disk, FAULT_READ, 5, 1);
  ck_assert_int_eq (write_at (w.bdev, 0, 1, data, 0), -ENOSPC);
  ck_assert_int_eq (read_at (w.bdev, 5, 1, data), -EIO);
  ck_assert_int_eq (read_at (w.bdev, 6, 1, data), 0); /* it has not hung */
  ck_assert_int_eq (bdev_reconnect (w.bdev, 0), -EOPNOTSUPP);
  watched_close (&w);
}
END_TEST

START_TEST (many_are_in_flight)
{
  struct bdev_io io[40];
  struct iovec iov[40];
  struct watched w;
  unsigned char *data = test_alloc_sectors (40);
  unsigned i;

  watched_open (&w, 0, LONG_MS);
  fill_pattern (data, 3, 0, 40);
  fault_bdev_gate_shut (w.disk, FAULT_WRITE, ALL);
  for (i = 0; i < 40; ++i) {
    iov[i] = piece (data + i * SECTOR_SIZE, SECTOR_SIZE);
    io[i] = (struct bdev_io){
      .op = BDEV_WRITE, .iov = &iov[i], .iovcnt = 1, .sector = i
    };
    ck_assert_int_eq (bdev_begin (w.bdev, &io[i]), 0);
  }
  fault_bdev_gate_wait (w.disk, 16);
  fault_bdev_gate_open (w.disk);
  for (i = 40; i-- > 0;)
    ck_assert_int_eq (bdev_end (w.bdev, &io[i]), 0);
  memset (data, 0, sector_to_bytes (40));
  for (i = 0; i < 40; ++i) {
    io[i] = (struct bdev_io){
      .op = BDEV_READ, .iov = &iov[i], .iovcnt = 1, .sector = i
    };
    ck_assert_int_eq (bdev_begin (w.bdev, &io[i]), 0);
  }
  for (i = 0; i < 40; ++i)
    ck_assert_int_eq (bdev_end (w.bdev, &io[i]), 0);
  assert_pattern (data, 3, 0, 40);
  io[0] = (struct bdev_io){ .op = BDEV_FLUSH };
  ck_assert_int_eq (bdev_begin (w.bdev, &io[0]), 0);
  ck_assert_int_eq (bdev_end (w.bdev, &io[0]), 0);
  ck_assert_uint_eq (fault_bdev_pending (w.disk), 0);
  free (data);
  watched_close (&w);
}
END_TEST

/*----- a device that hangs ---------------------------------------------*/

/* It may take a while until all is back. */
static void
reconnect (struct watched *w)
{
  int r;

  do
    r = bdev_reconnect (w->bdev, 0);
  while (r == -EBUSY);
  ck_assert_int_eq (r, 0);
}

static int
do_op (struct block_device *bdev, enum fault_op op)
{
  unsigned char data[SECTOR_SIZE] = { 0 };

  switch (op) {
  case FAULT_READ:
    return read_at (bdev, 0, 1, data);
  case FAULT_WRITE:
    return write_at (bdev, 0, 1, data, 0);
  case FAULT_FLUSH:
    return bdev_flush (bdev);
  case FAULT_DISCARD:
    return bdev_discard (bdev, 0, 1, 0);
  default:
    return bdev_write_zeroes (bdev, 0, 1, 0);
  }
}

START_TEST (every_operation_is_given_up)
{
  unsigned char data[SECTOR_SIZE] = { 0 };
  unsigned op;

  for (op = FAULT_READ; op <= FAULT_ZERO; op <<= 1) {
    struct watched w;

    watched_open (&w, 0, SHORT_MS);
    fault_bdev_gate_shut (w.disk, op, ALL);
    ck_assert_int_eq (do_op (w.bdev, op), -ETIMEDOUT);
    /* All others are refused at once, and do not reach the device. */
    ck_assert_int_eq (read_at (w.bdev, 9, 1, data), -ETIMEDOUT);
    ck_assert_int_eq (write_at (w.bdev, 9, 1, data, 0), -ETIMEDOUT);
    ck_assert_int_eq (bdev_flush (w.bdev), -ETIMEDOUT);
    ck_assert_uint_eq (fault_bdev_calls (w.disk, FAULT_ALL & ~op), 0);
    ck_assert_uint_le (fault_bdev_calls (w.disk, op), 1);
    fault_bdev_gate_open (w.disk);
    reconnect (&w);
    ck_assert_int_eq (do_op (w.bdev, op), 0);
    watched_close (&w);
  }
}
END_TEST

/* What is late neither reads the memory of its caller nor writes to it. */
START_TEST (late_answers_touch_nobody)
{
  unsigned char to_write[SECTOR_SIZE], to_read[SECTOR_SIZE], seen[SECTOR_SIZE];
  struct iovec iov[2] = { piece (to_write, SECTOR_SIZE),
                          piece (to_read, SECTOR_SIZE) };
  struct bdev_io write = {
    .op = BDEV_WRITE, .iov = &iov[0], .iovcnt = 1, .sector = 7
  };
  struct bdev_io read = {
    .op = BDEV_READ, .iov = &iov[1], .iovcnt = 1, .sector = 8
  };
  struct watched w;

  watched_open (&w, 0, SHORT_MS);
  fill_pattern (seen, 4, 8, 1);
  fault_bdev_load (w.disk, 8, 1, seen);
  fault_bdev_gate_shut (w.disk, FAULT_ALL, ALL);
  fill_pattern (to_write, 4, 7, 1);
  memset (to_read, 0x11, sizeof to_read);
  ck_assert_int_eq (bdev_begin (w.bdev, &write), 0);
  ck_assert_int_eq (bdev_begin (w.bdev, &read), 0);
  fault_bdev_gate_wait (w.disk, 2);
  ck_assert_int_eq (bdev_end (w.bdev, &write), -ETIMEDOUT);
  ck_assert_int_eq (bdev_end (w.bdev, &read), -ETIMEDOUT);
  memset (to_write, 0x22, sizeof to_write);

  fault_bdev_gate_open (w.disk);
  reconnect (&w);
  assert_all_bytes (to_read, 0x11, sizeof to_read);
  fault_bdev_look (w.disk, 7, 1, seen);
  assert_pattern (seen, 4, 7, 1);
  watched_close (&w);
}
END_TEST

START_TEST (is_not_used_again_before_all_is_back)
{
  unsigned char data[SECTOR_SIZE] = { 0 };
  struct iovec iov = piece (data, SECTOR_SIZE);
  struct bdev_io first = {
    .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .sector = 1
  };
  struct bdev_io second = first;
  struct watched w;

  watched_open (&w, 0, SHORT_MS);
  fault_bdev_gate_shut (w.disk, FAULT_WRITE, ALL);
  ck_assert_int_eq (bdev_begin (w.bdev, &first), 0);
  ck_assert_int_eq (bdev_begin (w.bdev, &second), 0);
  fault_bdev_gate_wait (w.disk, 2);
  ck_assert_int_eq (bdev_end (w.bdev, &first), -ETIMEDOUT);
  ck_assert_int_eq (bdev_end (w.bdev, &second), -ETIMEDOUT);
  ck_assert_int_eq (bdev_reconnect (w.bdev, BDEV_RECONNECT_NO_WAIT), -EBUSY);
  ck_assert_int_eq (bdev_reconnect (w.bdev, BDEV_RECONNECT_FENCED), -EBUSY);
  fault_bdev_gate_pass (w.disk, 1); /* one of two is still there */
  ck_assert_int_eq (bdev_reconnect (w.bdev, 0), -EBUSY);
  ck_assert_int_eq (read_at (w.bdev, 0, 1, data), -ETIMEDOUT);
  fault_bdev_gate_open (w.disk);
  reconnect (&w);
  ck_assert_int_eq (read_at (w.bdev, 0, 1, data), 0);
  watched_close (&w);
}
END_TEST

/* More are waiting than there are threads: those were never begun. */
START_TEST (what_is_queued_never_reaches_the_device)
{
  unsigned char data[SECTOR_SIZE] = { 0 };
  struct iovec iov = piece (data, SECTOR_SIZE);
  struct bdev_io io[40];
  struct watched w;
  unsigned i;

  watched_open (&w, 0, SHORT_MS);
  fault_bdev_gate_shut (w.disk, FAULT_WRITE, ALL);
  for (i = 0; i < 40; ++i) {
    io[i] = (struct bdev_io){
      .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .sector = i
    };
    ck_assert_int_eq (bdev_begin (w.bdev, &io[i]), 0);
  }
  fault_bdev_gate_wait (w.disk, 16);
  for (i = 0; i < 40; ++i)
    ck_assert_int_eq (bdev_end (w.bdev, &io[i]), -ETIMEDOUT);
  fault_bdev_gate_open (w.disk);
  reconnect (&w);
  ck_assert_uint_eq (fault_bdev_calls (w.disk, FAULT_WRITE), 16);
  watched_close (&w);
}
END_TEST

/*----- one request of many ---------------------------------------------*/

struct reader {
  struct block_device *bdev;
  atomic_bool must_stop;
  uint64_t longest_ns; /* between two answers */
  int error;
};

static void
read_on_and_on (void *arg)
{
  struct reader *r = arg;
  unsigned char data[SECTOR_SIZE];
  uint64_t last_ns = clock_now_ns ();

  while (!atomic_load (&r->must_stop) && r->error == 0) {
    uint64_t now;

    r->error = read_at (r->bdev, 100, 1, data);
    now = clock_now_ns ();
    if (now - last_ns > r->longest_ns)
      r->longest_ns = now - last_ns;
    last_ns = now;
  }
}

START_TEST (one_that_hangs_is_given_up_later)
{
  const uint64_t timeout_ns = SHORT_MS * (NS_PER_SECOND / 1000);
  unsigned char data[SECTOR_SIZE] = { 0 };
  struct reader reader = { .error = 0 };
  struct thread thread;
  struct watched w;
  uint64_t began_ns, took_ns;

  watched_open (&w, 0, SHORT_MS);
  fault_bdev_gate_shut (w.disk, FAULT_WRITE, ALL);
  reader.bdev = w.bdev;
  must (thread_start (&thread, "reader", read_on_and_on, &reader) == 0);
  began_ns = clock_now_ns ();
  ck_assert_int_eq (write_at (w.bdev, 0, 1, data, 0), -ETIMEDOUT);
  took_ns = clock_now_ns () - began_ns;
  atomic_store (&reader.must_stop, true);
  thread_join (&thread);
  /* Unless the machine was so slow that nothing was answered either. */
  if (reader.longest_ns < timeout_ns / 2)
    ck_assert_uint_ge (took_ns, 4 * timeout_ns);
  fault_bdev_gate_open (w.disk);
  reconnect (&w);
  watched_close (&w);
}
END_TEST

/*----- closing ---------------------------------------------------------*/

/* It goes on when the gate is open; then it may be closed. */
START_TEST (is_closed_while_it_hangs)
{
  struct bdev_io io = { .op = BDEV_FLUSH };
  struct watched w;

  watched_open (&w, 0, SHORT_MS);
  fault_bdev_gate_shut (w.disk, FAULT_FLUSH, ALL);
  ck_assert_int_eq (bdev_begin (w.bdev, &io), 0);
  fault_bdev_gate_wait (w.disk, 1);
  ck_assert_int_eq (bdev_end (w.bdev, &io), -ETIMEDOUT);
  bdev_close (w.bdev);
  bdev_watch_reap ();
  ck_assert_uint_eq (fault_bdev_open_count (w.disk), 1);
  fault_bdev_gate_open (w.disk);
  while (fault_bdev_open_count (w.disk) > 0)
    bdev_watch_reap (); /* the thread is about to be back */
  fault_bdev_destroy (w.disk);
}
END_TEST

/*----- processes -------------------------------------------------------*/

#ifndef __SANITIZE_THREAD__ /* it has no threads in the child */
/* As a server that becomes a daemon when its devices are open. */
START_TEST (goes_on_in_a_child)
{
  char folder[TEST_PATH_BYTES], path[TEST_PATH_BYTES + 8];
  struct bdev_options options = {
    .struct_size = sizeof options,
    .flags = BDEV_OPEN_WATCHED,
    .timeout_ms = LONG_MS,
  };
  unsigned char data[SECTOR_SIZE];
  struct block_device *bdev, *untouched;
  int fd, status;
  pid_t child;

  make_test_folder (NULL, folder);
  (void) snprintf (path, sizeof path, "%s/file", folder);
  fd = open (path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  must (fd != -1 && ftruncate (fd, 65536) == 0 && close (fd) == 0);
  ck_assert_int_eq (bdev_open_options (path, &options, &bdev), 0);
  ck_assert_int_eq (bdev_open_options (path, &options, &untouched), 0);
  fill_pattern (data, 6, 1, 1);
  ck_assert_int_eq (write_at (bdev, 1, 1, data, 0), 0);
  ck_assert_int_eq (read_at (untouched, 1, 1, data), 0);
  child = fork ();
  must (child != -1);
  if (child == 0) {
    bool is_right = read_at (bdev, 1, 1, data) == 0 &&
                    first_wrong_sector (data, 6, 1, 1) == 2 &&
                    write_at (bdev, 2, 1, data, BDEV_FUA) == 0;

    bdev_close (bdev);
    bdev_close (untouched);
    _exit (is_right ? 0 : 1);
  }
  must (waitpid (child, &status, 0) == child);
  ck_assert_int_eq (status, 0);
  ck_assert_int_eq (read_at (bdev, 2, 1, data), 0);
  assert_pattern (data, 6, 1, 1);
  bdev_close (bdev);
  bdev_close (untouched);
  remove_test_folder (folder);
}
END_TEST
#endif

/*----- want of memory and threads --------------------------------------*/

START_TEST (fails_at_every_allocation)
{
  struct watched w;
  struct block_device *lower;
  unsigned char data[SECTOR_SIZE] = { 0 };
  unsigned k, failed = 1;
  int r;

  w.disk = fault_bdev_create ("disk", SECTORS, NULL);
  for (k = 0; failed > 0; ++k) {
    lower = fault_bdev_open (w.disk, 0);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY | FAULT_ALLOC_THREADS, k);
    r = bdev_watch_create (lower, LONG_MS, &w.bdev);
    if (r == 0)
      r = write_at (w.bdev, 0, 1, data, 0);
    else {
      w.bdev = NULL;
      bdev_close (lower);
    }
    failed = fault_alloc_stop ();
    ck_assert (failed > 0 ? r == -ENOMEM || r == -EAGAIN : r == 0);
    if (w.bdev != NULL) {
      /* It was a passing fault: the device is as good as new. */
      ck_assert_int_eq (write_at (w.bdev, 0, 1, data, 0), 0);
      bdev_close (w.bdev);
    }
    ck_assert_uint_eq (fault_bdev_open_count (w.disk), 0);
  }
  ck_assert_uint_gt (k, 4);
  fault_bdev_destroy (w.disk);
}
END_TEST

/*----- files -----------------------------------------------------------*/

START_TEST (files_are_watched_if_asked)
{
  char folder[TEST_PATH_BYTES], path[TEST_PATH_BYTES + 8];
  struct bdev_options options = {
    .struct_size = sizeof options,
    .flags = BDEV_OPEN_WATCHED | BDEV_OPEN_EXCLUSIVE,
    .timeout_ms = LONG_MS,
  };
  unsigned char data[SECTOR_SIZE];
  struct block_device *bdev;
  struct bdev_limits limits;
  FILE *file;

  make_test_folder (NULL, folder);
  (void) snprintf (path, sizeof path, "%s/file", folder);
  ck_assert_int_eq (bdev_open_options (path, &options, &bdev), -ENOENT);
  file = fopen (path, "w");
  must (file != NULL && ftruncate (fileno (file), 65536) == 0);
  ck_assert_int_eq (bdev_open_fd (fileno (file), path, BDEV_OPEN_WATCHED,
                                  &bdev),
                    -EINVAL);
  must (fclose (file) == 0);

  ck_assert_int_eq (bdev_open_options (path, &options, &bdev), 0);
  ck_assert_str_eq (bdev_name (bdev), path);
  bdev_get_limits (bdev, &limits);
  ck_assert (limits.is_remote);
  fill_pattern (data, 5, 9, 1);
  ck_assert_int_eq (write_at (bdev, 9, 1, data, BDEV_FUA), 0);
  bdev_close (bdev);
  ck_assert_int_eq (bdev_open (path, BDEV_OPEN_EXCLUSIVE, &bdev), 0);
  bdev_get_limits (bdev, &limits);
  ck_assert (!limits.is_remote);
  ck_assert_int_eq (read_at (bdev, 9, 1, data), 0);
  assert_pattern (data, 5, 9, 1);
  bdev_close (bdev);
  remove_test_folder (folder);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    does_what_the_device_does,
    large_requests_of_many_pieces,
    errors_are_those_of_the_device,
    many_are_in_flight,
    every_operation_is_given_up,
    late_answers_touch_nobody,
    is_not_used_again_before_all_is_back,
    what_is_queued_never_reaches_the_device,
    one_that_hangs_is_given_up_later,
    is_closed_while_it_hangs,
#ifndef __SANITIZE_THREAD__
    goes_on_in_a_child,
#endif
    fails_at_every_allocation,
    files_are_watched_if_asked,
    NULL,
  };

  return unit_main ("bdev_watch", tests);
}
