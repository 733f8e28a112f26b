/* Unit tests of the device over whole blocks: what changes at one time.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "blocks-test.h"

/*----- in flight -------------------------------------------------------*/

START_TEST (whole_blocks_can_be_in_flight)
{
  struct fault_trace *trace = fault_trace_create ();
  struct block_device *bdev = setup (64, 8, trace);
  struct iovec iov = piece (buffer, 8 * SECTOR_SIZE);
  struct bdev_io ios[] = {
    { .op = BDEV_WRITE,
      .iov = &iov,
      .iovcnt = 1,
      .sector = 8,
      .flags = BDEV_FUA },
    { .op = BDEV_READ, .iov = &iov, .iovcnt = 1, .sector = 16 },
    { .op = BDEV_FLUSH },
    { .op = BDEV_DISCARD, .sector = 24, .count = 8 },
    { .op = BDEV_WRITE_ZEROES, .sector = 32, .count = 16, .flags = BDEV_UNMAP },
  };
  unsigned i;
  char *calls;

  for (i = 0; i < ARRAY_COUNT (ios); ++i)
    ck_assert_int_eq (bdev_begin (bdev, &ios[i]), 0);
  for (i = ARRAY_COUNT (ios); i-- > 0;)
    ck_assert_int_eq (bdev_end (bdev, &ios[i]), 0);
  calls = fault_trace_text (trace, FAULT_ALL);
  ck_assert_str_eq (calls, "disk write 8+8 fua, disk read 16+8, disk flush, "
                           "disk discard 24+8, disk zero 32+16 unmap");
  free (calls);

  /* Parts of blocks are not begun, and leave no trace. */
  for (i = 0; i < ARRAY_COUNT (ios); ++i) {
    ios[i].sector++;
    ck_assert_int_eq (bdev_begin (bdev, &ios[i]),
                      ios[i].op == BDEV_FLUSH ? 0 : -EAGAIN);
    if (ios[i].op == BDEV_FLUSH)
      ck_assert_int_eq (bdev_end (bdev, &ios[i]), 0);
  }
  iov = piece (buffer, 7 * SECTOR_SIZE);
  ios[0].sector = 8;
  ck_assert_int_eq (bdev_begin (bdev, &ios[0]), -EAGAIN);
  teardown (bdev);
  fault_trace_destroy (trace);
}
END_TEST

START_TEST (errors_of_what_is_in_flight)
{
  struct block_device *bdev = setup (64, 8, NULL);
  struct iovec iov = piece (buffer, 8 * SECTOR_SIZE);
  struct bdev_io io = { .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1 };

  fault_bdev_fail_once (strict.disk, FAULT_WRITE, 0);
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert_int_eq (bdev_end (bdev, &io), -EIO);
  /* It was overtaken, too: what has failed is not tried again. */
  atomic_store (&strict.lands_at_end, true);
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert_int_eq (write_at (bdev, 1, 1, buffer, 0), 0);
  fault_bdev_fail_once (strict.disk, FAULT_WRITE, 0);
  ck_assert_int_eq (bdev_end (bdev, &io), -EIO);
  ck_assert_uint_eq (fault_bdev_calls (strict.disk, FAULT_WRITE), 3);
  teardown (bdev);
}
END_TEST

START_TEST (only_so_many_are_in_flight)
{
  enum { MANY = 200 };
  struct block_device *bdev = setup (8, 8, NULL);
  struct iovec iov = piece (buffer, 8 * SECTOR_SIZE);
  struct bdev_io ios[MANY];
  unsigned i, begun = 0, again;

  for (again = 0; again < 2; ++again) {
    for (i = 0; i < MANY; ++i) {
      int r;

      ios[i] = (struct bdev_io){ .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1 };
      r = bdev_begin (bdev, &ios[i]);
      if (r != 0)
        break;
      begun++;
    }
    ck_assert_int_eq (bdev_begin (bdev, &ios[i]), -EAGAIN);
    ck_assert_uint_lt (i, MANY);
    ck_assert_uint_ge (i, 64);
    while (i-- > 0)
      ck_assert_int_eq (bdev_end (bdev, &ios[i]), 0);
  }
  ck_assert_uint_eq (fault_bdev_calls (strict.disk, FAULT_WRITE), begun);
  teardown (bdev);
}
END_TEST

/*----- neighbours ------------------------------------------------------*/

/* One request on a thread of its own. */
struct request {
  struct thread thread;
  struct block_device *bdev;
  char op;
  sector_t sector;
  sector_t count;
  char *data;
  bool in_flight;
  struct event_count begun;
  struct event_count may_end;
  int result;
};

static void
request_main (void *arg)
{
  struct request *q = arg;
  struct iovec iov = piece (q->data, sector_to_bytes (q->count));
  struct bdev_io io = {
    .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .sector = q->sector
  };

  if (q->in_flight) {
    q->result = bdev_begin (q->bdev, &io);
    event_count_add (&q->begun);
    event_count_wait (&q->may_end, 1);
    if (q->result == 0)
      q->result = bdev_end (q->bdev, &io);
  }
  else if (q->op == 'z')
    q->result = bdev_write_zeroes (q->bdev, q->sector, q->count, 0);
  else
    q->result = bdev_write (q->bdev, &iov, 1, q->sector, 0);
}

static void
request_start (struct request *q, struct block_device *bdev)
{
  q->bdev = bdev;
  event_count_init (&q->begun);
  event_count_init (&q->may_end);
  ck_assert_int_eq (thread_start (&q->thread, "request", request_main, q), 0);
}

static int
request_join (struct request *q)
{
  thread_join (&q->thread);
  event_count_destroy (&q->begun);
  event_count_destroy (&q->may_end);
  return q->result;
}

/* A change of one sector that has read its block, and waits before it writes
 * it; others do not wait.
 */
static void
start_change (struct request *q, struct block_device *bdev)
{
  fault_bdev_gate_shut (strict.disk, FAULT_WRITE, 0, 0);
  request_start (q, bdev);
  fault_bdev_gate_wait (strict.disk, 1);
  fault_bdev_gate_shut (strict.disk, FAULT_DISCARD, 0, 0);
}

static char one_block[8 * SECTOR_SIZE];

/* Each kind of writer of the rest of a block waits for who changes a part of
 * it.
 */
START_TEST (a_change_keeps_others_out)
{
  static const struct {
    char part_op, op;
    sector_t sector, count;
  } cases[] = {
    { 'w', 'w', 0, 8 }, { 'w', 'z', 0, 8 }, { 'w', 'w', 4, 2 },
    { 'w', 'z', 4, 2 }, { 'z', 'w', 0, 8 }, { 'z', 'z', 4, 2 },
  };
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct block_device *bdev = setup (64, 8, NULL);
    struct request part = {
      .op = cases[i].part_op, .sector = 1, .count = 1, .data = buffer
    };
    struct request other = { .op = cases[i].op,
                             .sector = cases[i].sector,
                             .count = cases[i].count,
                             .data = one_block };
    char expected[8 * SECTOR_SIZE], back[8 * SECTOR_SIZE];

    memset (expected, 0x77, sizeof expected);
    fault_bdev_load (strict.disk, 0, 8, expected);
    fill_pattern (buffer, 1, 0, 1);
    fill_pattern (one_block, 2, 0, 8);
    start_change (&part, bdev);
    request_start (&other, bdev);
    short_wait ();
    /* Who reads does not wait, nor who writes elsewhere. */
    ck_assert_int_eq (read_at (bdev, 1, 1, back), 0);
    ck_assert_int_eq (write_at (bdev, 9, 1, back, 0), 0);
    fault_bdev_gate_open (strict.disk);
    ck_assert_int_eq (request_join (&part), 0);
    ck_assert_int_eq (request_join (&other), 0);

    if (part.op == 'z')
      memset (buffer, 0, SECTOR_SIZE);
    memcpy (expected + SECTOR_SIZE, buffer, SECTOR_SIZE);
    if (other.op == 'z')
      memset (one_block, 0, sizeof one_block);
    memcpy (expected + sector_to_bytes (other.sector), one_block,
            sector_to_bytes (other.count));
    fault_bdev_look (strict.disk, 0, 8, back);
    ck_assert_mem_eq (back, expected, sizeof back);
    teardown (bdev);
  }
}
END_TEST

START_TEST (nothing_begins_during_a_change)
{
  struct block_device *bdev = setup (64, 8, NULL);
  struct request part = { .op = 'w', .sector = 1, .count = 1, .data = buffer };
  struct iovec iov = piece (one_block, sizeof one_block);
  struct bdev_io io = { .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1 };
  unsigned i;

  start_change (&part, bdev);
  for (i = 0; i < 1000; ++i)
    ck_assert_int_eq (bdev_begin (bdev, &io), -EAGAIN);
  io.sector = 8; /* another block */
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert_int_eq (bdev_end (bdev, &io), 0);
  fault_bdev_gate_open (strict.disk);
  ck_assert_int_eq (request_join (&part), 0);
  io.sector = 0;
  ck_assert_int_eq (bdev_begin (bdev, &io), 0);
  ck_assert_int_eq (bdev_end (bdev, &io), 0);
  teardown (bdev);
}
END_TEST

/* The writing in flight begins, a change reads the old block, the writing
 * lands, the change puts back what it has read: the writing is not lost.
 */
static void
overtake (char op, sector_t sector, sector_t count, bool overtakes)
{
  struct block_device *bdev = setup (64, 8, NULL);
  struct request flying = {
    .sector = 8, .count = 8, .data = one_block, .in_flight = true
  };
  struct request part = {
    .op = op, .sector = sector, .count = count, .data = buffer
  };
  char back[8 * SECTOR_SIZE];
  unsigned writes;

  fill_pattern (one_block, 2, 8, 8);
  fill_pattern (buffer, 3, sector, count);
  atomic_store (&strict.lands_at_end, true);
  request_start (&flying, bdev);
  event_count_wait (&flying.begun, 1);
  start_change (&part, bdev);
  event_count_add (&flying.may_end);
  event_count_wait (&strict.ended, 1); /* it has landed */
  writes = fault_bdev_calls (strict.disk, FAULT_WRITE);
  fault_bdev_gate_open (strict.disk);
  ck_assert_int_eq (request_join (&part), 0);
  ck_assert_int_eq (request_join (&flying), 0);
  if (overtakes) {
    fault_bdev_look (strict.disk, 8, 8, back);
    assert_pattern (back, 2, (sector_t) 8, (sector_t) 8);
  }
  else if (op == 'w')
    ck_assert_uint_eq (fault_bdev_calls (strict.disk, FAULT_WRITE), writes);

  /* That was once: the next one is written once. */
  writes = fault_bdev_calls (strict.disk, FAULT_WRITE);
  flying.sector = 32;
  request_start (&flying, bdev);
  event_count_add (&flying.may_end);
  ck_assert_int_eq (request_join (&flying), 0);
  ck_assert_uint_eq (fault_bdev_calls (strict.disk, FAULT_WRITE), writes + 1);
  teardown (bdev);
}

START_TEST (what_is_overtaken_is_written_again)
{
  static const char ops[] = "wz";
  unsigned i;

  for (i = 0; ops[i] != '\0'; ++i) {
    overtake (ops[i], 9, 1, true);
    overtake (ops[i], 7, 3, true);
    overtake (ops[i], 15, 3, true);
    overtake (ops[i], 3, 6, true);
    overtake (ops[i], 10, 40, true);
    overtake (ops[i], 1, 11, true);
    /* It touches the block as its neighbour, or all of it. */
    overtake (ops[i], 17, 3, false);
    overtake (ops[i], 1, 30, false);
  }
}
END_TEST

/* Threads whose ranges meet inside blocks: nobody finds his own sectors
 * changed, whether he writes parts or whole blocks, blocking or in flight.
 */
#define OWNERS 4
#define OWN_SECTORS 29
#define OWN_ROUNDS 4000

struct owner {
  struct thread thread;
  struct block_device *bdev;
  struct chance chance;
  sector_t first;
  char model[OWN_SECTORS * SECTOR_SIZE];
  char data[OWN_SECTORS * SECTOR_SIZE];
  unsigned begun;
  bool is_wrong;
};

static int
owner_write (struct owner *o, sector_t sector, sector_t count)
{
  struct iovec iov = piece (o->data, sector_to_bytes (count));
  struct bdev_io io = {
    .op = BDEV_WRITE, .iov = &iov, .iovcnt = 1, .sector = o->first + sector
  };
  int r;

  fill_pattern (o->data, chance_next (&o->chance), 0, count);
  memcpy (o->model + sector_to_bytes (sector), o->data,
          sector_to_bytes (count));
  r = bdev_begin (o->bdev, &io);
  if (r == -EAGAIN)
    return bdev_write (o->bdev, &iov, 1, io.sector, 0);
  o->begun++;
  return r < 0 ? r : bdev_end (o->bdev, &io);
}

static void
owner_main (void *arg)
{
  struct owner *o = arg;
  unsigned round;

  for (round = 0; round < OWN_ROUNDS; ++round) {
    sector_t sector = chance_below (&o->chance, OWN_SECTORS);
    sector_t count = 1 + chance_below (&o->chance, OWN_SECTORS - sector);

    if (chance_below (&o->chance, 2)) { /* a whole block, if it is there */
      sector = round_up_to (o->first + sector, 8) - o->first;
      count = 8;
      if (sector + count > OWN_SECTORS)
        continue;
    }
    if (chance_below (&o->chance, 8) == 0) {
      memset (o->model + sector_to_bytes (sector), 0, sector_to_bytes (count));
      o->is_wrong |= bdev_write_zeroes (o->bdev, o->first + sector, count, 0) !=
                     0;
    }
    else
      o->is_wrong |= owner_write (o, sector, count) != 0;
    o->is_wrong |= read_at (o->bdev, o->first, OWN_SECTORS, o->data) != 0;
    o->is_wrong |= memcmp (o->data, o->model, sizeof o->model) != 0;
    if (o->is_wrong)
      return;
  }
}

START_TEST (neighbours_never_lose_anything)
{
  struct chance chance = chance_begin ("neighbours_never_lose_anything");
  struct block_device *bdev = setup (128, 8, NULL);
  struct owner *owners = test_alloc (OWNERS * sizeof *owners);
  unsigned i, begun = 0;

  memset (owners, 0, OWNERS * sizeof *owners);
  atomic_store (&strict.lands_at_end, true);
  for (i = 0; i < OWNERS; ++i) {
    owners[i].bdev = bdev;
    owners[i].chance.state = chance_next (&chance);
    owners[i].first = 3 + (sector_t) OWN_SECTORS * i;
    ck_assert_int_eq (thread_start (&owners[i].thread, "owner", owner_main,
                                    &owners[i]),
                      0);
  }
  for (i = 0; i < OWNERS; ++i) {
    thread_join (&owners[i].thread);
    ck_assert (!owners[i].is_wrong);
    begun += owners[i].begun;
  }
  ck_assert_uint_gt (begun, 0);
  teardown (bdev);
  free (owners);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    whole_blocks_can_be_in_flight,  errors_of_what_is_in_flight,
    only_so_many_are_in_flight,     a_change_keeps_others_out,
    nothing_begins_during_a_change, what_is_overtaken_is_written_again,
    neighbours_never_lose_anything, NULL,
  };

  return unit_main ("bdev-blocks-flight", tests);
}
