/* Unit tests of the pace at which snapshots are copied in the background.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * At a byte a second the first piece is copied at once, and the next one in an
 * hour: so what is to be seen in between stands still, and nothing depends on
 * how fast anything is.
 */

#include <config.h>

#include <stdatomic.h>

#include "bits.h"
#include "pace.h"
#include "volume-test.h"

#define PIECE_BYTES (CHUNK_SECTORS * SECTOR_SIZE)

static const char *const slow[] = { "resync-rate", "1", NULL };

/* What is done to the snapshots "old" and "new". */
enum kind {
  KIND_MERGE,     /* the volume is rolled back to "new" */
  KIND_HAND_DOWN, /* "new" is removed */
  KIND_RESTORE,   /* the volume is rolled back to "old" */
  KINDS
};

struct work {
  struct volume_test t;
  enum kind kind;
  struct thread thread;
  int result; /* of a restore */
};

static struct pace_counts
counts_of (struct work *w)
{
  struct volume_status status;

  ck_assert_int_eq (volume_get_status (w->t.volume, &status), 0);
  volume_status_free (&status);
  return status.background;
}

/* The job of the work; its number is 0 if there is none. */
static struct volume_job
job_of (struct work *w)
{
  struct volume_job *jobs, job = { 0 };
  unsigned count;

  ck_assert_int_eq (volume_get_jobs (w->t.volume, &jobs, &count), 0);
  ck_assert_uint_le (count, 1);
  if (count > 0)
    job = jobs[0];
  free (jobs);
  return job;
}

static void
restore_main (void *arg)
{
  struct work *w = arg;
  struct volume_why why;

  w->result = roll_back (&w->t, "old", 0, &why);
}

static void
begin_kind (struct work *w)
{
  struct volume_why why;

  switch (w->kind) {
  case KIND_MERGE:
    ck_assert_int_eq (roll_back (&w->t, "new", 0, &why), 0);
    break;
  case KIND_HAND_DOWN:
    remove_snapshot (&w->t, "new", 0);
    break;
  default:
    ck_assert_int_eq (thread_start (&w->thread, "restore", restore_main, w), 0);
  }
}

/* The volume was of pattern 1, then, when "new" was taken, of 2 behind
 * that. Every other chunk has been overwritten since: so each is a piece.
 * Returns when the first has been copied.
 */
static void
begin_work (struct work *w, enum kind kind)
{
  sector_t sector;

  memset (w, 0, sizeof *w);
  w->kind = kind;
  volume_test_make_folder (&w->t);
  volume_test_start (&w->t, slow);
  put_pattern (w->t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&w->t, "old");
  take_snapshot (&w->t, "new");
  for (sector = 0; sector < VOLUME_SECTORS; sector += 2 * CHUNK_SECTORS)
    put_pattern (w->t.device, 2, sector, CHUNK_SECTORS);
  begin_kind (w);
  wait_until (counts_of (w).bytes > 0);
}

/* It stands still, and has done what is one piece. */
static void
expect_wait (struct work *w)
{
  struct volume_job job;
  unsigned i;

  wait_until (job_of (w).done_bytes > 0);
  for (i = 0; i < 3; ++i)
    short_wait ();
  ck_assert_uint_eq (counts_of (w).bytes, PIECE_BYTES);
  job = job_of (w);
  ck_assert_uint_ne (job.id, 0);
  ck_assert_uint_lt (job.done_bytes, job.total_bytes);
}

static void
set_rate (struct work *w, uint64_t rate)
{
  struct volume_why why = { "" };

  ck_assert_msg (volume_resync_set_rate (w->t.volume, rate, &why) == 0, "%s",
                 why.text);
}

/* It has come to its end, and all is as it should be. */
static void
expect_end (struct work *w)
{
  if (w->kind == KIND_RESTORE) {
    thread_join (&w->thread);
    ck_assert_int_eq (w->result, 0);
  }
  wait_for_background (&w->t);
  ck_assert_uint_eq (job_of (w).id, 0);
  expect_snapshot (&w->t, "old", 1, 0, VOLUME_SECTORS);
}

/*----- the rate --------------------------------------------------------*/

static void
hold_back (enum kind kind)
{
  struct work w;

  begin_work (&w, kind);
  expect_wait (&w);
  set_rate (&w, 0);
  expect_end (&w);
  if (w.kind == KIND_HAND_DOWN)
    expect_pattern (w.t.device, 2, 0, CHUNK_SECTORS);
  else
    expect_pattern (w.t.device, 1, 0, VOLUME_SECTORS);
  ck_assert_uint_ge (counts_of (&w).bytes, VOLUME_SECTORS / 2 * SECTOR_SIZE);
  volume_test_destroy (&w.t);
}

START_TEST (a_rate_holds_copies_back)
{
  unsigned kind;

  for (kind = 0; kind < KINDS; ++kind)
    hold_back ((enum kind) kind);
}
END_TEST

/* What waits for its time holds nothing that a client could want. */
static void
write_while_it_waits (enum kind kind)
{
  struct work w;

  begin_work (&w, kind);
  put_pattern (w.t.device, 3, 0, VOLUME_SECTORS);
  expect_pattern (w.t.device, 3, 0, VOLUME_SECTORS);
  ck_assert_int_eq (target_flush (w.t.device->target), 0);
  expect_snapshot (&w.t, "old", 1, 0, VOLUME_SECTORS);
  if (w.kind != KIND_RESTORE) { /* that is one administrator at a time */
    take_snapshot (&w.t, "newest");
    put_pattern (w.t.device, 4, 0, VOLUME_SECTORS);
    expect_snapshot (&w.t, "newest", 3, 0, VOLUME_SECTORS);
  }
  expect_wait (&w);
  set_rate (&w, 0);
  expect_end (&w);
  expect_pattern (w.t.device, w.kind == KIND_RESTORE ? 1 : 4, 0,
                  VOLUME_SECTORS);
  volume_test_destroy (&w.t);
}

START_TEST (clients_go_on_while_it_waits)
{
  unsigned kind;

  for (kind = 0; kind < KINDS; ++kind)
    write_while_it_waits ((enum kind) kind);
}
END_TEST

/* Nor what the clients of the wanted snapshot want; and what they write, to
 * what has been copied and to what has not, to what was different and what was
 * not, is part of what the volume becomes.
 */
START_TEST (the_wanted_one_is_written_meanwhile)
{
  struct volume_device *d;
  struct work w;

  begin_work (&w, KIND_RESTORE);
  d = open_device (&w.t, "old");
  put_pattern (d, 5, 3, 2); /* a part of the chunk that was copied */
  put_pattern (d, 6, CHUNK_SECTORS, CHUNK_SECTORS); /* was not different */
  put_pattern (d, 7, 10 * CHUNK_SECTORS, 1);        /* was not copied */
  put_pattern (d, 8, VOLUME_SECTORS - 1, 1);
  expect_pattern (d, 5, 3, 2);
  ck_assert_int_eq (target_flush (d->target), 0);
  expect_wait (&w);
  put_pattern (d, 5, 3, 2);
  set_rate (&w, 0);
  thread_join (&w.thread);
  ck_assert_int_eq (w.result, 0);
  put_pattern (d, 9, 20 * CHUNK_SECTORS, 1); /* too late */
  expect_pattern (d, 5, 3, 2);
  volume_device_close (d);

  expect_pattern (w.t.device, 1, 0, 3);
  expect_pattern (w.t.device, 5, 3, 2);
  expect_pattern (w.t.device, 1, 5, CHUNK_SECTORS - 5);
  expect_pattern (w.t.device, 6, CHUNK_SECTORS, CHUNK_SECTORS);
  expect_pattern (w.t.device, 1, 2 * CHUNK_SECTORS, 8 * CHUNK_SECTORS);
  expect_pattern (w.t.device, 7, 10 * CHUNK_SECTORS, 1);
  expect_pattern (w.t.device, 1, 10 * CHUNK_SECTORS + 1,
                  VOLUME_SECTORS - 10 * CHUNK_SECTORS - 2);
  expect_pattern (w.t.device, 8, VOLUME_SECTORS - 1, 1);
  wait_for_background (&w.t);
  volume_test_destroy (&w.t);
}
END_TEST

/* A client who writes to the wanted snapshot all the time: place after place, a
 * new pattern each time.
 */
#define PLACES 13
#define PLACE_SECTORS 3

struct writer {
  struct volume_device *device;
  struct thread thread;
  atomic_bool must_stop;
  atomic_ullong ended; /* so many writes */
};

static sector_t
place_of (uint64_t number)
{
  return number % PLACES * (VOLUME_SECTORS / PLACES) + 6; /* in two chunks */
}

static void
writer_main (void *arg)
{
  struct writer *w = arg;
  unsigned char data[PLACE_SECTORS * SECTOR_SIZE];
  uint64_t number;

  for (number = 0; !atomic_load (&w->must_stop); ++number) {
    fill_pattern (data, 100 + number, place_of (number), PLACE_SECTORS);
    quick_assert (
      device_write (w->device, data, place_of (number), PLACE_SECTORS) == 0);
    atomic_store (&w->ended, number + 1);
    pace_note_request (w->device->pace); /* it rests: more time to write */
  }
}

/* The volume is what the snapshot was after some write, not before FROM and
 * not behind TO of them: so each place has the last one up to then.
 */
static void
expect_moment (struct work *w, uint64_t from, uint64_t to)
{
  unsigned char data[PLACE_SECTORS * SECTOR_SIZE];
  uint64_t found[PLACES], last = 0, n;
  unsigned i;

  for (i = 0; i < PLACES; ++i) {
    ck_assert_int_eq (target_read (w->t.device->target, data, place_of (i),
                                   PLACE_SECTORS),
                      0);
    found[i] = UINT64_MAX;
    for (n = i; n < to && found[i] == UINT64_MAX; n += PLACES)
      if (first_wrong_sector (data, 100 + n, place_of (n), PLACE_SECTORS) ==
          place_of (n) + PLACE_SECTORS)
        found[i] = n;
    ck_assert_uint_ne (found[i], UINT64_MAX);
    last = MAX_OF (last, found[i]);
  }
  ck_assert_uint_ge (last + 1, from);
  for (i = 0; i < PLACES; ++i)
    ck_assert_uint_gt (found[i] + PLACES, last);
}

START_TEST (the_volume_is_the_wanted_one_of_one_moment)
{
  struct writer writer = { .must_stop = false };
  struct volume_why why;
  struct work w;
  unsigned i;

  begin_work (&w, KIND_RESTORE);
  set_rate (&w, 0);
  thread_join (&w.thread);
  wait_for_background (&w.t);
  writer.device = open_device (&w.t, "old");
  ck_assert_int_eq (thread_start (&writer.thread, "writer", writer_main,
                                  &writer),
                    0);
  for (i = 0; i < 8; ++i) {
    uint64_t from;

    wait_until (atomic_load (&writer.ended) >= PLACES);
    from = atomic_load (&writer.ended);
    ck_assert_msg (roll_back (&w.t, "old", 0, &why) == 0, "%s", why.text);
    /* One may be in flight. */
    expect_moment (&w, from, atomic_load (&writer.ended) + 1);
    put_pattern (w.t.device, 2, 0, VOLUME_SECTORS);
    wait_for_background (&w.t);
  }
  atomic_store (&writer.must_stop, true);
  thread_join (&writer.thread);
  volume_device_close (writer.device);
  volume_test_destroy (&w.t);
}
END_TEST

/*----- clients ---------------------------------------------------------*/

/* A request between two pieces makes it rest after the second, once. */
static void
rest_once (enum kind kind)
{
  struct work w;

  begin_work (&w, kind);
  ck_assert_uint_eq (counts_of (&w).rests, 0);
  pace_note_request (w.t.device->pace);
  set_rate (&w, 0);
  expect_end (&w);
  ck_assert_uint_eq (counts_of (&w).rests, 1);
  volume_test_destroy (&w.t);
}

START_TEST (it_rests_for_clients)
{
  unsigned kind;

  for (kind = 0; kind < KINDS; ++kind)
    rest_once ((enum kind) kind);
}
END_TEST

/*----- stopping --------------------------------------------------------*/

static void
stop_while_it_waits (enum kind kind)
{
  struct work w;

  begin_work (&w, kind);
  if (w.kind == KIND_RESTORE) {
    volume_hurry (w.t.volume);
    thread_join (&w.thread);
    ck_assert_int_eq (w.result, -ESHUTDOWN);
  }
  volume_test_stop (&w.t);

  /* The next server goes on with it, and keeps what it has done. */
  volume_test_start (&w.t, NULL);
  w.kind = KIND_MERGE; /* nobody is to be joined */
  expect_end (&w);
  expect_pattern (w.t.device, kind == KIND_MERGE ? 1 : 2, 0, CHUNK_SECTORS);
  volume_test_destroy (&w.t);
}

START_TEST (a_stop_does_not_wait_for_the_rate)
{
  unsigned kind;

  for (kind = 0; kind < KINDS; ++kind)
    stop_while_it_waits ((enum kind) kind);
}
END_TEST

START_TEST (a_cancel_does_not_wait_for_the_rate)
{
  struct volume_job job;
  struct work w;

  begin_work (&w, KIND_RESTORE);
  expect_wait (&w);
  job = job_of (&w);
  ck_assert_int_eq (volume_job_cancel_restore (w.t.volume, job.id + 1),
                    -EAGAIN);
  ck_assert_int_eq (volume_job_cancel_restore (w.t.volume, job.id), 0);
  thread_join (&w.thread);
  ck_assert_int_eq (w.result, -ECANCELED);
  /* What was copied for nothing goes; that is no copying, so it is not held
   * back.
   */
  wait_for_background (&w.t);
  ck_assert_uint_eq (count_snapshots (&w.t), 2);
  expect_pattern (w.t.device, 2, 0, CHUNK_SECTORS);
  expect_snapshot (&w.t, "old", 1, 0, VOLUME_SECTORS);
  volume_test_destroy (&w.t);
}
END_TEST

/* What has been handed down once is not paid for again. */
START_TEST (what_is_done_already_costs_nothing)
{
  struct work w;
  unsigned i;

  begin_work (&w, KIND_HAND_DOWN);
  for (i = 0; i < 3; ++i) {
    volume_test_stop (&w.t);
    volume_test_start (&w.t, slow);
    wait_until (counts_of (&w).bytes > 0);
    expect_wait (&w);
    ck_assert_uint_gt (job_of (&w).done_bytes,
                       (uint64_t) (i + 1) * 2 * PIECE_BYTES);
  }
  set_rate (&w, 0);
  expect_end (&w);
  volume_test_destroy (&w.t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_rate_holds_copies_back,
    clients_go_on_while_it_waits,
    the_wanted_one_is_written_meanwhile,
    the_volume_is_the_wanted_one_of_one_moment,
    it_rests_for_clients,
    a_stop_does_not_wait_for_the_rate,
    a_cancel_does_not_wait_for_the_rate,
    what_is_done_already_costs_nothing,
    NULL,
  };

  return unit_main ("volume_pace", tests);
}
