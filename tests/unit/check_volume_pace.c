/* Unit tests of the pace at which snapshots are copied in the background.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * At a byte a second the first piece is copied at once, and the next one in an
 * hour: so what is to be seen in between stands still, and nothing depends on
 * how fast anything is.
 */

#include <config.h>

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
    it_rests_for_clients,
    a_stop_does_not_wait_for_the_rate,
    a_cancel_does_not_wait_for_the_rate,
    what_is_done_already_costs_nothing,
    NULL,
  };

  return unit_main ("volume_pace", tests);
}
