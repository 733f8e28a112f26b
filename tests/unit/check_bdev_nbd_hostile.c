/* Unit tests of the block device behind an NBD server: a hostile one.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <endian.h>
#include <stdatomic.h>

#include "bdev-nbd-test.h"
#include "bits.h"
#include "clock.h"

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
  bdev = open_fake (fake, QUICK_MS, 1);
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
  ck_assert_int_eq (try_open (fake, QUICK_MS, 0, &bdev), -ETIMEDOUT);
  ck_assert_uint_lt (clock_now_ns () - start, 20 * NS_PER_SECOND);
  fake_nbd_destroy (fake);
}
END_TEST

/*----- servers that must be drained ------------------------------------*/

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

int
main (void)
{
  const TTest *const tests[] = {
    lies_are_errors,
    an_answer_may_come_in_any_order,
    extents_of_nonsense_are_errors,
    an_answer_without_end_is_bounded,
    a_handshake_may_be_cut_at_any_byte,
    connecting_takes_bounded_time,
    a_server_that_is_out_of_step_is_drained,
    a_flood_instead_of_an_end,
    NULL,
  };

  return unit_main ("bdev_nbd_hostile", tests);
}
