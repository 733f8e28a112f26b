/* Unit tests of the block device behind an NBD server: a silent one.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "bdev-nbd-test.h"
#include "clock.h"

START_TEST (a_silent_server_has_failed)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, SHORT_MS, 2);
  unsigned char old[SECTOR_SIZE], new[SECTOR_SIZE], data[SECTOR_SIZE];
  uint64_t start;

  fill_pattern (old, 1, 0, 1);
  fill_pattern (new, 2, 0, 1);
  fake_nbd_hold (fake, FAKE_WRITE);
  start = clock_now_ns ();
  ck_assert_int_eq (write_at (bdev, 0, 1, old, 0), -ETIMEDOUT);
  ck_assert_uint_ge (clock_now_ns () - start, SHORT_MS * 1000000ULL);
  ck_assert_uint_lt (clock_now_ns () - start, 20 * NS_PER_SECOND);
  /* All fails at once now. */
  ck_assert_int_eq (read_at (bdev, 0, 1, data), -ETIMEDOUT);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -ETIMEDOUT);
  ck_assert_int_eq (bdev_flush (bdev), -ETIMEDOUT);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 1, 0), -ETIMEDOUT);
  /* What was sent is still to come: the server has not even looked at it. */
  ck_assert_int_eq (bdev_reconnect (bdev, 0), -EBUSY);
  ck_assert_int_eq (write_at (bdev, 0, 1, new, 0), -ETIMEDOUT);
  assert_all_bytes (fake_nbd_disk (fake), 0, SECTOR_SIZE);
  fake_nbd_hold (fake, 0);
  reconnect (bdev);
  /* The old write has landed before: never after the new one. */
  assert_pattern (fake_nbd_disk (fake), 1, 0, 1);
  ck_assert_int_eq (write_at (bdev, 0, 1, new, BDEV_FUA), 0);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_int_eq (read_at (bdev, 0, 1, data), 0);
  assert_pattern (data, 2, 0, 1);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_WRITE, 0), 2);
  bdev_close (bdev);
  fake_nbd_wait_connections (fake, 0);
  assert_pattern (fake_nbd_disk (fake), 2, 0, 1);
  fake_nbd_destroy (fake);
}
END_TEST

/* More than the socket holds: libnbd still has the rest when the caller has
 * long had its error, and its memory back.
 */
START_TEST (a_write_that_was_sent_in_part_is_drained)
{
  const sector_t count = 2048;
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, SHORT_MS, 1);
  unsigned char *data = test_alloc_sectors (count);

  fill_pattern (data, 1, 0, count);
  fake_nbd_hold (fake, FAKE_WRITE);
  ck_assert_int_eq (write_at (bdev, 0, count, data, 0), -ETIMEDOUT);
  memset (data, 0xee, count * SECTOR_SIZE);
  free (data);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), -EBUSY);
  fake_nbd_hold (fake, 0);
  reconnect (bdev);
  assert_pattern (fake_nbd_disk (fake), 1, 0, count);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* Reads cannot land on anything: nothing to wait for but their end. */
START_TEST (reads_of_a_silent_server_have_their_memory)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, QUICK_MS, 1);
  unsigned char *data = test_alloc_sectors (64);

  fake_nbd_hold (fake, FAKE_READ);
  ck_assert_int_eq (read_at (bdev, 0, 64, data), -ETIMEDOUT);
  free (data);
  fake_nbd_hold (fake, 0);
  reconnect (bdev);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* One of two connections is silent: the device has failed, and what is in
 * flight on the other fails, too.
 */
START_TEST (connections_fail_together)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, SHORT_MS, 2);
  unsigned char data[SECTOR_SIZE] = "";
  struct iovec iov = piece (data, sizeof data);
  struct bdev_io io[4];
  int i;

  fake_nbd_hold (fake, FAKE_WRITE);
  for (i = 0; i < 4; ++i) {
    io[i] = (struct bdev_io){
      .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .sector = (sector_t) i
    };
    ck_assert_int_eq (bdev_begin (bdev, &io[i]), 0);
  }
  fake_nbd_wait_held (fake, 2);
  for (i = 0; i < 4; ++i)
    ck_assert_int_eq (bdev_end (bdev, &io[i]), -ETIMEDOUT);
  fake_nbd_hold (fake, 0);
  reconnect (bdev);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* A server that answers all but one. */
static enum fake_verdict
swallow_writes (void *context, int fd, const struct fake_request *rq)
{
  (void) context;
  (void) fd;
  return rq->op == FAKE_WRITE ? FAKE_HANDLED : FAKE_NORMAL;
}

struct reader {
  struct block_device *bdev;
  struct thread thread;
  int error;
};

static void
reader_main (void *arg)
{
  struct reader *r = arg;
  char data[SECTOR_SIZE];

  do
    r->error = read_at (r->bdev, 0, 1, data);
  while (r->error == 0);
}

START_TEST (a_request_is_not_forgotten_among_others)
{
  struct fake_options options = usual;
  struct fake_nbd *fake;
  struct reader reader;
  char data[SECTOR_SIZE] = "";
  uint64_t start;

  options.hook = swallow_writes;
  fake = fake_nbd_create (&options);
  reader.bdev = open_fake (fake, QUICK_MS, 1);
  must (thread_start (&reader.thread, "reader", reader_main, &reader) == 0);
  start = clock_now_ns ();
  ck_assert_int_eq (write_at (reader.bdev, 0, 1, data, 0), -ETIMEDOUT);
  ck_assert_uint_lt (clock_now_ns () - start, 20 * NS_PER_SECOND);
  thread_join (&reader.thread);
  ck_assert_int_eq (reader.error, -ETIMEDOUT);
  bdev_close (reader.bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* Idle for longer than the time-out is no failure. */
START_TEST (an_idle_device_does_not_fail)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *idle = open_fake (fake, SHORT_MS, 1);
  struct fake_nbd *silent = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (silent, SHORT_MS + QUICK_MS, 1);
  char data[SECTOR_SIZE];

  ck_assert_int_eq (read_at (idle, 0, 1, data), 0);
  fake_nbd_hold (silent, FAKE_READ);
  ck_assert_int_eq (read_at (bdev, 0, 1, data), -ETIMEDOUT);
  ck_assert_int_eq (read_at (idle, 0, 1, data), 0);
  bdev_close (idle);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
  fake_nbd_destroy (silent);
}
END_TEST

START_TEST (fenced_servers_are_not_waited_for)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, SHORT_MS, 2);
  char data[SECTOR_SIZE] = "";

  fake_nbd_hold (fake, FAKE_WRITE);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -ETIMEDOUT);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), -EBUSY);
  ck_assert_int_eq (bdev_reconnect (bdev, BDEV_RECONNECT_FENCED), 0);
  ck_assert_int_eq (read_at (bdev, 0, 1, data), 0);
  fake_nbd_hold (fake, 0);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* So many times that to wait for the time-out each time would be noticed. */
START_TEST (who_does_not_wait_is_told_at_once)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, SHORT_MS, 2);
  char data[SECTOR_SIZE] = "";
  uint64_t started_ns;
  unsigned i;
  int r;

  fake_nbd_hold (fake, FAKE_WRITE);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -ETIMEDOUT);
  started_ns = clock_now_ns ();
  for (i = 0; i < 50; ++i)
    ck_assert_int_eq (bdev_reconnect (bdev, BDEV_RECONNECT_NO_WAIT), -EBUSY);
  ck_assert_uint_lt (clock_now_ns () - started_ns,
                     25 * SHORT_MS * (NS_PER_SECOND / 1000));
  fake_nbd_hold (fake, 0);
  do
    r = bdev_reconnect (bdev, BDEV_RECONNECT_NO_WAIT);
  while (r == -EBUSY);
  ck_assert_int_eq (r, 0);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

START_TEST (close_does_not_wait_for_a_silent_server)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, QUICK_MS, 2);
  char data[SECTOR_SIZE] = "";

  fake_nbd_hold (fake, FAKE_WRITE);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -ETIMEDOUT);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_silent_server_has_failed,
    a_write_that_was_sent_in_part_is_drained,
    reads_of_a_silent_server_have_their_memory,
    connections_fail_together,
    a_request_is_not_forgotten_among_others,
    an_idle_device_does_not_fail,
    fenced_servers_are_not_waited_for,
    who_does_not_wait_is_told_at_once,
    close_does_not_wait_for_a_silent_server,
    NULL,
  };

  return unit_main_at_once ("bdev_nbd_silence", tests);
}
