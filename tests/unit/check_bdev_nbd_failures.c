/* Unit tests of the block device behind an NBD server: failures.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <stdatomic.h>

#include "bits.h"
#include "clock.h"
#include "fake-nbd.h"
#include "log-sink.h"
#include "test-util.h"

#define DISK_SECTORS ((sector_t) 4096)
#define ALL_FLAGS \
  (FAKE_HAS_FLUSH | FAKE_HAS_FUA | FAKE_HAS_TRIM | FAKE_HAS_ZERO | \
   FAKE_HAS_FAST_ZERO | FAKE_MULTI_CONN)

/* Where it is waited for, and where it must not happen. */
#define SHORT_MS 1000
#define LONG_MS 20000

/* A busy machine may be too slow for a short one. */
#define TRIES_AT_MOST 10

static const struct fake_options usual = {
  .bytes = DISK_SECTORS * SECTOR_SIZE,
  .flags = ALL_FLAGS,
  .has_contexts = true,
};

static int
try_open (struct fake_nbd *fake, unsigned timeout_ms, unsigned connections,
          struct block_device **bdev)
{
  const struct bdev_options options = {
    .struct_size = sizeof options,
    .timeout_ms = timeout_ms,
    .connections = connections,
  };

  return bdev_open_options (fake_nbd_uri (fake), &options, bdev);
}

static struct block_device *
open_fake (struct fake_nbd *fake, unsigned timeout_ms, unsigned connections)
{
  struct block_device *bdev = NULL;
  unsigned tries = 0;
  int r;

  do
    r = try_open (fake, timeout_ms, connections, &bdev);
  while (r == -ETIMEDOUT && ++tries < TRIES_AT_MOST);
  ck_assert_int_eq (r, 0);
  return bdev;
}

/* The server has nothing to do any more that takes time. */
static void
reconnect (struct block_device *bdev)
{
  unsigned tries = 0;
  int r;

  do
    r = bdev_reconnect (bdev, 0);
  while ((r == -EBUSY || r == -ETIMEDOUT) && ++tries < TRIES_AT_MOST);
  ck_assert_int_eq (r, 0);
}

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

/*----- answers of a server that is broken or hostile -------------------*/

enum lie {
  NO_DATA,        /* done, and no data */
  HALF_THE_DATA,  /* done, and half of them */
  DATA_TWICE,     /* more than was asked for */
  ONE_HALF_TWICE, /* as much as was asked for, but not all of it */
  DATA_ELSEWHERE, /* of another offset */
  WRONG_COOKIE,
  NO_MAGIC,
  HUGE_CHUNK,
  UNKNOWN_CHUNK,
  DATA_FOR_A_WRITE,
  STATUS_FOR_A_READ,
  HANGS_UP,
  LIES
};

static void
send_data (int fd, const struct fake_request *rq, unsigned flags,
           uint64_t offset, uint32_t length)
{
  uint64_t wire = htobe64 (offset);
  char *data = test_alloc (length);

  memset (data, 0x55, length);
  fake_chunk (fd, rq->cookie, flags, 1, length + 8);
  fake_send (fd, &wire, sizeof wire);
  fake_send (fd, data, length);
  free (data);
}

static enum fake_verdict
tell_lie (void *context, int fd, const struct fake_request *rq)
{
  static const char zeroes[64];

  switch (*(enum lie *) context) {
  case NO_DATA:
    fake_chunk (fd, rq->cookie, 1, 0, 0);
    break;
  case HALF_THE_DATA:
    send_data (fd, rq, 1, rq->offset, rq->length / 2);
    break;
  case DATA_TWICE:
    send_data (fd, rq, 0, rq->offset, rq->length);
    send_data (fd, rq, 1, rq->offset, rq->length);
    break;
  case ONE_HALF_TWICE:
    send_data (fd, rq, 0, rq->offset, rq->length / 2);
    send_data (fd, rq, 1, rq->offset, rq->length / 2);
    break;
  case DATA_ELSEWHERE:
    send_data (fd, rq, 1, rq->offset - SECTOR_SIZE, rq->length);
    break;
  case WRONG_COOKIE:
    fake_answer (fd, rq->cookie + 1, 0);
    break;
  case NO_MAGIC:
    fake_send (fd, zeroes, sizeof zeroes);
    break;
  case HUGE_CHUNK:
    fake_chunk (fd, rq->cookie, 1, 1, UINT32_MAX);
    break;
  case UNKNOWN_CHUNK:
    fake_chunk (fd, rq->cookie, 1, 99, 8);
    fake_send (fd, zeroes, 8);
    break;
  case DATA_FOR_A_WRITE:
    send_data (fd, rq, 1, rq->offset, 4096);
    break;
  case STATUS_FOR_A_READ:
    fake_chunk (fd, rq->cookie, 1, 5, 12);
    fake_send (fd, zeroes, 12);
    break;
  case HANGS_UP:
  case LIES:
    return FAKE_HANG_UP;
  }
  return FAKE_HANDLED;
}

START_TEST (lies_are_errors)
{
  enum lie lie;
  int op;

  for (lie = 0; lie < LIES; ++lie)
    for (op = 0; op < 3; ++op) {
      struct fake_options options = usual;
      struct fake_nbd *fake;
      struct block_device *bdev;
      char data[8 * SECTOR_SIZE] = "";
      int r;

      if ((op > 0 && lie <= DATA_ELSEWHERE) ||
          (op == 0 && lie == DATA_FOR_A_WRITE) ||
          (op == 2 && lie == STATUS_FOR_A_READ))
        continue;
      options.hook = tell_lie;
      options.context = &lie;
      fake = fake_nbd_create (&options);
      bdev = open_fake (fake, LONG_MS, 2);
      r = op == 0   ? read_at (bdev, 8, 8, data)
          : op == 1 ? write_at (bdev, 8, 8, data, 0)
                    : bdev_flush (bdev);
      if (r >= 0)
        ck_abort_msg ("lie %d to operation %d: %d", lie, op, r);
      /* Whatever it was, it can be mended. */
      options.hook = NULL;
      fake_nbd_set_options (fake, &options);
      fake_nbd_hang_up (fake);
      fake_nbd_wait_connections (fake, 0);
      while (bdev_flush (bdev) == 0)
        ;
      r = bdev_reconnect (bdev, 0);
      if (r < 0)
        ck_abort_msg ("lie %d to operation %d: reconnect %d", lie, op, r);
      ck_assert_int_eq (write_at (bdev, 8, 8, data, BDEV_FUA), 0);
      ck_assert_int_eq (bdev_flush (bdev), 0);
      bdev_close (bdev);
      fake_nbd_destroy (fake);
    }
}
END_TEST

/* Answer a read in quarters, in the order of the letters in CONTEXT. */
static enum fake_verdict
read_in_parts (void *context, int fd, const struct fake_request *rq)
{
  const char *const *order = context, *part;

  if (rq->op != FAKE_READ)
    return FAKE_NORMAL;
  for (part = *order; *part != '\0'; ++part) {
    uint64_t skip = (uint64_t) (*part - 'a') * rq->length / 4;

    send_data (fd, rq, part[1] == '\0', rq->offset + skip, rq->length / 4);
  }
  return FAKE_HANDLED;
}

/* The parts of an answer may come in any order, but each once. */
START_TEST (an_answer_may_come_in_any_order)
{
  static const struct {
    const char *order;
    int result;
  } cases[] = {
    { "abcd", 0 },    { "dcba", 0 },    { "acbd", 0 },    { "badc", 0 },
    { "abcc", -EIO }, { "aacd", -EIO }, { "dcbb", -EIO }, { "bada", -EIO },
    { "abc", -EIO },  { "dcb", -EIO },
  };
  const char *order;
  struct fake_options options = usual;
  struct fake_nbd *fake;
  struct block_device *bdev;
  char data[8 * SECTOR_SIZE];
  size_t i;

  options.hook = read_in_parts;
  options.context = &order;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake, LONG_MS, 1);
  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    int r;

    order = cases[i].order;
    memset (data, 0, sizeof data);
    r = read_at (bdev, 8, 8, data);
    if (r != cases[i].result)
      ck_abort_msg ("%s: %d instead of %d", order, r, cases[i].result);
    assert_all_bytes (data, r == 0 ? 0x55 : 0, sizeof data);
  }
  ck_assert_uint_eq (fake_nbd_connections_ever (fake), 1);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

START_TEST (extents_of_nonsense_are_errors)
{
  static const struct fake_extent none = { 0, 3 };
  struct fake_options options = usual;
  struct fake_nbd *fake;
  struct block_device *bdev;
  struct bdev_extent extent;

  options.extents = &none;
  options.extent_count = 1;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake, LONG_MS, 0);
  ck_assert_int_lt (bdev_extent (bdev, 0, 8, &extent), 0);
  bdev_close (bdev);
  /* The server does not know: all is data. */
  fake_nbd_set_error (fake, FAKE_BLOCK_STATUS, 22);
  bdev = open_fake (fake, LONG_MS, 0);
  ck_assert_int_eq (bdev_extent (bdev, 0, 8, &extent), 0);
  ck_assert_uint_eq (extent.count, 8);
  ck_assert (!extent.is_hole);
  fake_nbd_set_error (fake, FAKE_BLOCK_STATUS, 5);
  ck_assert_int_eq (bdev_extent (bdev, 0, 8, &extent), -EIO);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* Chunks without an end: of no data, so that none is too much. */
static enum fake_verdict
never_end (void *context, int fd, const struct fake_request *rq)
{
  uint64_t offset = htobe64 (rq->offset);
  atomic_bool *is_over = context;

  while (!atomic_load (is_over)) {
    fake_chunk (fd, rq->cookie, 0, 1, 8);
    fake_send (fd, &offset, sizeof offset);
  }
  return FAKE_HANG_UP;
}

START_TEST (an_answer_without_end_is_bounded)
{
  atomic_bool is_over = false;
  struct fake_options options = usual;
  struct fake_nbd *fake;
  struct block_device *bdev;
  char data[SECTOR_SIZE];
  uint64_t start = clock_now_ns ();

  options.hook = never_end;
  options.context = &is_over;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake, SHORT_MS, 1);
  ck_assert_int_lt (read_at (bdev, 0, 1, data), 0);
  ck_assert_uint_lt (clock_now_ns () - start, 20 * NS_PER_SECOND);
  atomic_store (&is_over, true);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/*----- handshakes that fail --------------------------------------------*/

START_TEST (a_handshake_may_be_cut_at_any_byte)
{
  struct fake_options options = usual;
  struct fake_nbd *fake = fake_nbd_create (&options);
  struct block_device *bdev;
  size_t cut;
  int r = -1;

  for (cut = 1; r < 0; ++cut) {
    ck_assert_uint_lt (cut, 1000);
    options.handshake_cut = cut;
    fake_nbd_set_options (fake, &options);
    r = try_open (fake, LONG_MS, 1, &bdev);
    if (r == -ETIMEDOUT)
      ck_abort_msg ("cut at %zu", cut);
  }
  ck_assert_uint_gt (cut, 100);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

START_TEST (connecting_takes_bounded_time)
{
  struct fake_options options = usual;
  struct fake_nbd *fake;
  struct block_device *bdev;
  uint64_t start = clock_now_ns ();

  options.is_mute = true;
  fake = fake_nbd_create (&options);
  ck_assert_int_eq (try_open (fake, SHORT_MS, 0, &bdev), -ETIMEDOUT);
  ck_assert_uint_lt (clock_now_ns () - start, 20 * NS_PER_SECOND);
  fake_nbd_destroy (fake);
}
END_TEST

/*----- silence ---------------------------------------------------------*/

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
  struct block_device *bdev = open_fake (fake, SHORT_MS, 1);
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
  reader.bdev = open_fake (fake, SHORT_MS, 1);
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
  struct block_device *bdev = open_fake (silent, 3 * SHORT_MS, 1);
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
  struct block_device *bdev = open_fake (fake, SHORT_MS, 2);
  char data[SECTOR_SIZE] = "";

  fake_nbd_hold (fake, FAKE_WRITE);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -ETIMEDOUT);
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
  other = options;
  other.is_mute = true;
  fake_nbd_set_options (fake, &other);
  fake_nbd_set_options (fake, &options);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), 0);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), 0);
  bdev_close (bdev);
  fake_nbd_destroy (fake);
}
END_TEST

/* Answers a write by nonsense, and does it all the same, later. */
struct late_writer {
  struct fake_nbd *fake;
  struct event_count may_write;
  bool has_ended; /* what the client sends */
};

static enum fake_verdict
write_late (void *context, int fd, const struct fake_request *rq)
{
  struct late_writer *late = context;
  char nonsense[16] = "nonsense";
  struct fake_nbd *fake = late->fake;

  if (rq->op != FAKE_WRITE)
    return FAKE_NORMAL;
  fake_send (fd, nonsense, sizeof nonsense);
  event_count_wait (&late->may_write, 1);
  late->has_ended = read (fd, nonsense, 1) == 0;
  memset (fake_nbd_disk (fake) + rq->offset, 0x77, rq->length);
  return FAKE_HANG_UP;
}

/* libnbd gives up at once, but the server has not. */
START_TEST (a_server_that_is_out_of_step_is_drained)
{
  struct late_writer late = { .has_ended = false };
  struct fake_options options = usual;
  struct block_device *bdev;
  char data[SECTOR_SIZE] = "";
  unsigned connections;

  event_count_init (&late.may_write);
  options.hook = write_late;
  options.context = &late;
  late.fake = fake_nbd_create (&options);
  bdev = open_fake (late.fake, SHORT_MS, 1);
  connections = fake_nbd_connections_ever (late.fake);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -ENOTCONN);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), -EBUSY);
  ck_assert_uint_eq (fake_nbd_connections_ever (late.fake), connections);
  options.hook = NULL;
  fake_nbd_set_options (late.fake, &options);
  event_count_add (&late.may_write);
  reconnect (bdev);
  ck_assert (late.has_ended);
  ck_assert_int_eq (read_at (bdev, 0, 1, data), 0);
  assert_all_bytes (data, 0x77, sizeof data);
  bdev_close (bdev);
  fake_nbd_destroy (late.fake);
  event_count_destroy (&late.may_write);
}
END_TEST

/* A flood instead of an end is no end. */
static enum fake_verdict
flood (void *context, int fd, const struct fake_request *rq)
{
  static const char zeroes[65536];
  int i;

  (void) context;
  if (rq->op != FAKE_WRITE)
    return FAKE_NORMAL;
  for (i = 0; i < 8192; ++i)
    fake_send (fd, zeroes, sizeof zeroes);
  return FAKE_HANG_UP;
}

START_TEST (a_flood_instead_of_an_end)
{
  struct fake_options options = usual;
  struct fake_nbd *fake;
  struct block_device *bdev;
  char data[SECTOR_SIZE] = "";

  options.hook = flood;
  fake = fake_nbd_create (&options);
  bdev = open_fake (fake, SHORT_MS, 1);
  ck_assert_int_eq (write_at (bdev, 0, 1, data, 0), -ENOTCONN);
  ck_assert_int_eq (bdev_reconnect (bdev, 0), -EBUSY);
  ck_assert_int_eq (bdev_reconnect (bdev, BDEV_RECONNECT_FENCED), 0);
  ck_assert_int_eq (read_at (bdev, 0, 1, data), 0);
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
    lies_are_errors,
    an_answer_may_come_in_any_order,
    extents_of_nonsense_are_errors,
    an_answer_without_end_is_bounded,
    a_handshake_may_be_cut_at_any_byte,
    connecting_takes_bounded_time,
    a_silent_server_has_failed,
    a_write_that_was_sent_in_part_is_drained,
    reads_of_a_silent_server_have_their_memory,
    connections_fail_together,
    a_request_is_not_forgotten_among_others,
    an_idle_device_does_not_fail,
    fenced_servers_are_not_waited_for,
    who_does_not_wait_is_told_at_once,
    close_does_not_wait_for_a_silent_server,
    a_lost_connection_is_told_and_mended,
    a_connection_lost_while_idle,
    a_connection_lost_while_connecting,
    a_call_does_not_span_a_reconnect,
    another_export_is_refused,
    a_server_that_is_out_of_step_is_drained,
    a_flood_instead_of_an_end,
    a_thousand_reconnects_leave_nothing,
    NULL,
  };

  return unit_main ("bdev_nbd_failures", tests);
}
