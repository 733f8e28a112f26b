/* Unit tests of the block device behind an NBD server: failures.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dirent.h>
#include <stdatomic.h>

#include "bdev-nbd-test.h"
#include "bits.h"

/*----- errors that are answered ----------------------------------------*/

START_TEST (errors_of_the_server_are_errnos)
{
  static const struct {
    uint32_t wire;
    int error;
  } cases[] = {
    { 1, -EPERM },       { 5, -EIO },         { 12, -ENOMEM },
    { 22, -EINVAL },     { 28, -ENOSPC },     { 75, -EOVERFLOW },
    { 95, -EOPNOTSUPP }, { 108, -ESHUTDOWN },
  };
  char data[SECTOR_SIZE] = "";
  int is_plain;
  size_t i;

  for (is_plain = 0; is_plain < 2; ++is_plain) {
    struct fake_options options = usual;
    struct fake_nbd *fake;
    struct block_device *bdev;

    options.is_plain = is_plain;
    options.has_contexts = !is_plain;
    fake = fake_nbd_create (&options);
    bdev = open_fake (fake, LONG_MS, 1);
    for (i = 0; i < ARRAY_COUNT (cases); ++i) {
      fake_nbd_set_error (fake, ~0U, cases[i].wire);
      ck_assert_int_eq (read_at (bdev, 0, 1, data), cases[i].error);
      ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), cases[i].error);
      ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 1, BDEV_FAST),
                        cases[i].error);
      fake_nbd_set_error (fake, 0, 0);
      /* The connection is as good as ever. */
      ck_assert_int_eq (read_at (bdev, 0, 1, data), 0);
      ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
    }
    ck_assert_int_eq (bdev_flush (bdev), 0);
    ck_assert_uint_eq (fake_nbd_connections_ever (fake), 1);
    bdev_close (bdev);
    fake_nbd_destroy (fake);
  }
}
END_TEST

START_TEST (what_the_protocol_does_not_know_is_an_error)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, LONG_MS, 1);
  char data[SECTOR_SIZE] = "";

  fake_nbd_set_error (fake, ~0U, 11); /* EAGAIN would mean something else */
  ck_assert_int_ne (read_at (bdev, 0, 1, data), 0);
  ck_assert_int_ne (write_at (bdev, 0, 1, data, 0), 0);
  ck_assert_int_ne (write_at (bdev, 0, 1, data, 0), -EAGAIN);
  fake_nbd_set_error (fake, ~0U, 0xffffffff);
  ck_assert_int_lt (read_at (bdev, 0, 1, data), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

struct countdown {
  unsigned op;
  atomic_int left;
};

static enum fake_verdict
fail_one (void *context, int fd, const struct fake_request *rq)
{
  struct countdown *countdown = context;

  if (rq->op != countdown->op || atomic_fetch_sub (&countdown->left, 1) != 0)
    return FAKE_NORMAL;
  fake_answer (fd, rq->cookie, 28);
  return FAKE_HANDLED;
}

/* One of many commands of a request fails: so does it. */
START_TEST (the_kth_of_many_commands_fails)
{
  static const unsigned ops[] = { FAKE_READ, FAKE_WRITE };
  char *data = test_alloc_sectors (8);
  size_t i;
  int k;

  for (i = 0; i < ARRAY_COUNT (ops); ++i)
    for (k = 0; k <= 8; ++k) {
      struct countdown countdown = { .op = ops[i], .left = k };
      struct fake_options options = usual;
      struct fake_nbd *fake;
      struct block_device *bdev;

      options.block_bytes = options.preferred_bytes = SECTOR_SIZE;
      options.max_bytes = SECTOR_SIZE;
      options.is_plain = true;
      options.has_contexts = false;
      options.hook = fail_one;
      options.context = &countdown;
      fake = fake_nbd_create (&options);
      bdev = open_fake (fake, LONG_MS, 2);
      memset (data, 1, 8 * SECTOR_SIZE);
      ck_assert_int_eq (ops[i] == FAKE_READ ? read_at (bdev, 0, 8, data)
                                            : write_at (bdev, 0, 8, data, 0),
                        k < 8 ? -ENOSPC : 0);
      bdev_close (bdev);
      fake_nbd_destroy (fake);
    }
  free (data);
}
END_TEST

START_TEST (a_failed_flush_fails_for_good)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, LONG_MS, 0);
  struct bdev_io io = { .op = BDEV_FLUSH };
  char data[SECTOR_SIZE] = "";

  fake_nbd_set_error (fake, FAKE_FLUSH, 5);
  ck_assert_int_eq (bdev_flush (bdev), -EIO);
  fake_nbd_set_error (fake, 0, 0);
  ck_assert_int_eq (bdev_flush (bdev), -EIO);
  ck_assert_int_eq (bdev_begin (bdev, &io), -EIO);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
  ck_assert_uint_eq (fake_nbd_count (fake, FAKE_FLUSH, 0), 1);
  /* Its owner has taken note. */
  ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  /* In flight, the same. */
  fake_nbd_set_error (fake, FAKE_FLUSH, 28);
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert_int_eq (bdev_end (bdev, &io), -ENOSPC);
  fake_nbd_set_error (fake, 0, 0);
  ck_assert_int_eq (bdev_flush (bdev), -ENOSPC);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
  /* And a write that was to be durable. */
  fake_nbd_set_error (fake, FAKE_WRITE, 5);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -EIO);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, BDEV_FUA), -EIO);
  fake_nbd_set_error (fake, 0, 0);
  ck_assert_int_eq (bdev_flush (bdev), -EIO);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* The first zeroing is not answered before the second: then it is refused, and
 * the second has failed, with the error in CONTEXT.
 */
struct two_zeroings {
  uint64_t first_cookie;
  uint32_t second_error;
};

static enum fake_verdict
refuse_then_fail (void *context, int fd, const struct fake_request *rq)
{
  struct two_zeroings *two = context;

  if (rq->op != FAKE_ZERO)
    return FAKE_NORMAL;
  if (rq->offset == 0) {
    two->first_cookie = rq->cookie;
    return FAKE_HANDLED;
  }
  fake_answer (fd, two->first_cookie, 95);
  fake_answer (fd, rq->cookie, two->second_error);
  return FAKE_HANDLED;
}

/* A server that refuses to zero has changed nothing: what was to be durable
 * can be written in another way, and flushed.
 */
START_TEST (a_zeroing_that_is_refused_loses_nothing)
{
  static const unsigned flags[] = { ALL_FLAGS, ALL_FLAGS & ~FAKE_HAS_FUA };
  char data[8 * SECTOR_SIZE];
  size_t i;

  for (i = 0; i < ARRAY_COUNT (flags); ++i) {
    struct fake_options options = usual;
    struct fake_nbd *fake;
    struct block_device *bdev;
    struct bdev_io io = { .op = BDEV_WRITE_ZEROES,
                          .flags = BDEV_FUA | BDEV_FAST,
                          .count = 8 };

    options.flags = flags[i];
    fake = fake_nbd_create (&options);
    bdev = open_fake (fake, LONG_MS, 1);
    fake_nbd_set_error (fake, FAKE_ZERO, 95);
    ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 8, BDEV_FUA | BDEV_FAST),
                      -EOPNOTSUPP);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    ck_assert_int_eq (bdev_discard (bdev, 0, 8, BDEV_FUA), -EOPNOTSUPP);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    ck_assert_int_eq (bdev_begin (bdev, &io), 0);
    ck_assert_int_eq (bdev_end (bdev, &io), -EOPNOTSUPP);
    ck_assert_int_eq (bdev_flush (bdev), 0);
    memset (data, 7, sizeof data);
    ck_assert_int_eq (write_at (bdev, 0, 8, data, 0), 0);
    ck_assert_int_eq (bdev_write_zeroes (bdev, 0, 8, BDEV_FUA), 0);
    ck_assert_int_eq (read_at (bdev, 0, 8, data), 0);
    assert_all_bytes (data, 0, sizeof data);
    bdev_close (bdev);
    fake_nbd_destroy (fake);
  }
}
END_TEST

/* But another failure of the same request is one, in whatever order. */
START_TEST (a_zeroing_that_fails_behind_a_refusal_fails)
{
  struct two_zeroings two = { .second_error = 5 };
  struct fake_options options = usual;
  const sector_t sectors = (sector_t) (256 << 20) / SECTOR_SIZE;
  struct fake_nbd *fake;
  struct block_device *bdev;

  options.told_bytes = sector_to_bytes (sectors);
  options.is_plain = true;
  options.has_contexts = false;
  options.hook = refuse_then_fail;
  options.context = &two;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake, LONG_MS, 1);
  ck_assert_int_eq (bdev_write_zeroes (bdev, 0, sectors, BDEV_FUA | BDEV_FAST),
                    -EIO);
  ck_assert_int_eq (bdev_flush (bdev), -EIO);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/*----- lost connections ------------------------------------------------*/

START_TEST (a_lost_connection_is_told_and_mended)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, LONG_MS, 3);
  unsigned char data[SECTOR_SIZE];
  struct iovec iov = piece (data, sizeof data);
  struct bdev_io io = { .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1 };

  memset (data, 9, sizeof data);
  fake_nbd_hold (fake, FAKE_WRITE);
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  fake_nbd_wait_held (fake, 1);
  fake_nbd_hang_up (fake);
  ck_assert_int_eq (bdev_end (bdev, &io), -ENOTCONN);
  ck_assert_int_eq (bdev_flush (bdev), -ENOTCONN);
  ck_assert_int_eq (read_at (bdev, 0, 1, data), -ENOTCONN);
  fake_nbd_hold (fake, 0);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
  ck_assert_uint_eq (fake_nbd_connections_ever (fake), 6);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* It is lost while nobody uses it, and before anybody ever has. */
START_TEST (a_connection_lost_while_idle)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, LONG_MS, 1);
  char data[SECTOR_SIZE];
  int i;

  for (i = 0; i < 3; ++i) {
    fake_nbd_hang_up (fake);
    fake_nbd_wait_connections (fake, 0);
    ck_assert_int_eq (read_at (bdev, 0, 1, data), -ENOTCONN);
    ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
    if (i > 0)
      ck_assert_int_eq (read_at (bdev, 0, 1, data), 0);
  }
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* It is lost again while it is being connected, in any moment of that. */
START_TEST (a_connection_lost_while_connecting)
{
  struct fake_options options = usual;
  struct fake_nbd *fake = fake_nbd_create (&options);
  struct block_device *bdev = open_fake (fake, LONG_MS, 4);
  char data[SECTOR_SIZE] = "";
  int i, j, r;

  for (i = 0; i < 20; ++i) {
    for (j = 0; j < 4; ++j)
      ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
    options.leaves = true;
    fake_nbd_set_options (fake, &options);
    fake_nbd_hang_up (fake);
    while (write_at (bdev, 0, 1, data, 0) == 0)
      ;
    ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
    for (j = 0; j < 3; ++j) {
      r = write_at (bdev, 0, 1, data, 0);
      ck_assert_int_eq (r, -ENOTCONN);
    }
    options.leaves = false;
    fake_nbd_set_options (fake, &options);
    ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
  }
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* What was written before the connection was lost may not be durable: a call
 * that began before does not succeed after.
 */
START_TEST (a_call_does_not_span_a_reconnect)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, LONG_MS, 1);
  unsigned char data[SECTOR_SIZE] = "";
  struct iovec iov = piece (data, sizeof data);
  struct bdev_io io = { .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1 };

  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  /* Answered, surely, when this is. */
  ck_assert_int_eq (read_at (bdev, 0, 1, data), 0);
  fake_nbd_hang_up (fake);
  while (read_at (bdev, 0, 1, data) == 0)
    ;
  ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
  ck_assert_int_eq (bdev_end (bdev, &io), -ENOTCONN);
  ck_assert_int_eq (bdev_flush (bdev), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

START_TEST (another_export_is_refused)
{
  struct fake_options options = usual, other;
  struct fake_nbd *fake;
  struct block_device *bdev;
  char data[SECTOR_SIZE] = "";
  int i;

  options.block_bytes = options.preferred_bytes = 512;
  options.max_bytes = 65536;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake, LONG_MS, 2);
  fake_nbd_hang_up (fake);
  fake_nbd_wait_connections (fake, 0);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -ENOTCONN);
  for (i = 0; i < 6; ++i) {
    other = options;
    switch (i) {
    case 0:
      other.told_bytes = options.bytes - SECTOR_SIZE;
      break;
    case 1:
      other.told_bytes = options.bytes + SECTOR_SIZE;
      break;
    case 2:
      other.flags |= FAKE_READ_ONLY;
      break;
    case 3:
      other.flags &= ~FAKE_HAS_FLUSH;
      break;
    case 4:
      other.max_bytes = 4096;
      break;
    case 5:
      other.block_bytes = other.preferred_bytes = 4096;
      break;
    }
    fake_nbd_set_options (fake, &other);
    ck_assert_int_eq (bdev_reconnect (bdev, 0), -ESTALE);
    ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -ENOTCONN);
    fake_nbd_wait_connections (fake, 0);
  }
  fake_nbd_set_options (fake, &options);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/*----- nothing is left over --------------------------------------------*/

static unsigned
entries_of (const char *folder)
{
  DIR *dir = opendir (folder);
  unsigned count = 0;

  must (dir != NULL);
  while (readdir (dir) != NULL)
    count++;
  must (closedir (dir) == 0);
  return count;
}

START_TEST (a_thousand_reconnects_leave_nothing)
{
  struct fake_nbd *fake = fake_nbd_create (&usual);
  struct block_device *bdev = open_fake (fake, LONG_MS, 2);
  char data[SECTOR_SIZE] = "";
  unsigned descriptors = 0, i;

  for (i = 0; i < 1000; ++i) {
    ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
    ck_assert_int_eq (write_at (bdev, 1, 1, data, 0), 0);
    if (i == 0)
      descriptors = entries_of ("/proc/self/fd");
    fake_nbd_hang_up (fake);
    while (write_at (bdev, 0, 1, data, 0) == 0)
      ;
    fake_nbd_wait_connections (fake, 0);
    ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
  }
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
  ck_assert_uint_eq (entries_of ("/proc/self/fd"), descriptors);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    errors_of_the_server_are_errnos,
    what_the_protocol_does_not_know_is_an_error,
    the_kth_of_many_commands_fails,
    a_failed_flush_fails_for_good,
    a_zeroing_that_is_refused_loses_nothing,
    a_zeroing_that_fails_behind_a_refusal_fails,
    a_lost_connection_is_told_and_mended,
    a_connection_lost_while_idle,
    a_connection_lost_while_connecting,
    a_call_does_not_span_a_reconnect,
    another_export_is_refused,
    a_thousand_reconnects_leave_nothing,
    NULL,
  };

  return unit_main ("bdev_nbd_failures", tests);
}
