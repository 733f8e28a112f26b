/* Unit tests of rolling a volume back to a snapshot that is not the newest.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "volume-jobs.h"
#include "volume-test.h"

/* s0 .. s4 are patterns 10 .. 14 somewhere, over all of pattern 10. */
#define AGES 5

static void
make_ages (struct volume_test *t)
{
  static const uint64_t chunks[AGES] = { 4096, 65536, 8192, 4096, 16384 };
  char name[8];
  unsigned i;

  for (i = 0; i < AGES; ++i) {
    struct volume_snapshot_request request = { .name = name,
                                               .chunk_bytes = chunks[i] };
    struct volume_why why;

    put_pattern (t->device, 10 + i, i == 0 ? 0 : i * 50,
                 i == 0 ? VOLUME_SECTORS : 333);
    (void) snprintf (name, sizeof name, "s%u", i);
    ck_assert_int_eq (volume_snapshot_create (t->volume, &request, &why), 0);
  }
  put_pattern (t->device, 15, 7, 90);
}

/* Device D shows what the volume was at age K. */
static void
expect_age (struct volume_device *d, unsigned k)
{
  sector_t s;

  for (s = 0; s < VOLUME_SECTORS; ++s) {
    unsigned i = k;

    while (i > 0 && (s < i * 50 || s >= i * 50 + 333))
      i--;
    expect_pattern (d, 10 + i, s, 1);
  }
}

static void
expect_ages (struct volume_test *t)
{
  char name[8];
  unsigned k;

  for (k = 0; k < AGES; ++k) {
    struct volume_device *d;

    (void) snprintf (name, sizeof name, "s%u", k);
    d = open_device (t, name);
    expect_age (d, k);
    volume_device_close (d);
  }
}

static void
roll_back_to_age (unsigned k, bool restarts)
{
  struct volume_why why;
  struct volume_test t;
  char name[8];

  volume_test_create (&t);
  make_ages (&t);
  (void) snprintf (name, sizeof name, "s%u", k);
  ck_assert_msg (roll_back (&t, name, 0, &why) == 0, "%s", why.text);
  expect_age (t.device, k);
  expect_ages (&t);
  put_pattern (t.device, 20, 100, 100);
  if (restarts) {
    volume_test_restart (&t);
  }
  expect_pattern (t.device, 20, 100, 100);
  wait_for_background (&t);
  expect_pattern (t.device, 20, 100, 100);
  expect_ages (&t);
  ck_assert (!file_exists (&t.meta, "roll-back-1.cow"));
  /* And to others, back and forth. */
  ck_assert_int_eq (roll_back (&t, "s0", 0, &why), 0);
  expect_age (t.device, 0);
  wait_for_background (&t);
  ck_assert_int_eq (roll_back (&t, "s3", 0, &why), 0);
  wait_for_background (&t);
  expect_age (t.device, 3);
  expect_ages (&t);
  put_pattern (t.device, 21, 0, VOLUME_SECTORS);
  expect_ages (&t);
  volume_test_destroy (&t);
}

START_TEST (an_older_one_and_all_others_stay)
{
  unsigned k;

  for (k = 0; k + 1 < AGES; ++k) {
    roll_back_to_age (k, false);
    roll_back_to_age (k, true);
  }
}
END_TEST

/* There are no files but those of the ages and what every volume has. */
static void
expect_nothing_staged (struct volume_test *t)
{
  wait_for_background (t);
  ck_assert_uint_eq (count_snapshots (t), AGES);
  ck_assert (!file_exists (&t->meta, "roll-back-1.cow"));
}

/* Call number K of the folder fails.  Returns false if there was none. */
static bool
fail_older_step (int k)
{
  struct volume_why why;
  struct volume_test t;
  bool has_failed;
  int r;

  volume_test_create (&t);
  make_ages (&t);
  watch_calls (k);
  r = roll_back (&t, "s1", 0, &why);
  has_failed = calls_seen > k;
  watch_calls (-1);
  if (r < 0)
    expect_pattern (t.device, 15, 7, 90);
  else
    expect_age (t.device, 1);
  expect_ages (&t);
  wait_for_background (&t);
  if (r < 0) {
    expect_pattern (t.device, 15, 7, 90);
    expect_nothing_staged (&t);
    ck_assert_msg (roll_back (&t, "s1", 0, &why) == 0, "%s", why.text);
  }
  expect_age (t.device, 1);
  expect_ages (&t);
  volume_test_restart (&t);
  expect_age (t.device, 1);
  expect_ages (&t);
  expect_nothing_staged (&t);
  volume_test_destroy (&t);
  return has_failed;
}

START_TEST (every_step_to_an_older_one_may_fail)
{
  int k;

  for (k = 0; fail_older_step (k); ++k)
    ck_assert_int_lt (k, 60);
  ck_assert_int_gt (k, 8);
}
END_TEST

/* What is wrong is told of the one that was asked for. */
START_TEST (one_that_cannot_be_staged)
{
  char path[TEST_PATH_BYTES + 32];
  struct volume_why why;
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "a");
  take_snapshot (&t, "b");
  put_pattern (t.device, 2, 0, 100);
  (void) snprintf (path, sizeof path, "%s/" MANIFEST_FILE ".new", t.meta.path);
  ck_assert_int_eq (mkdir (path, 0700), 0);
  ck_assert_int_eq (roll_back (&t, "a", 0, &why), -EISDIR);
  ck_assert_msg (strstr (why.text, "snapshot a: cannot be rolled back to: ") ==
                   why.text,
                 "%s", why.text);
  ck_assert_uint_eq (count_snapshots (&t), 2);
  put_pattern (t.device, 3, 0, 100);
  ck_assert_int_eq (rmdir (path), 0);
  ck_assert_int_eq (roll_back (&t, "a", 0, &why), 0);
  wait_for_background (&t);
  expect_pattern (t.device, 1, 0, VOLUME_SECTORS);
  ck_assert_uint_eq (count_snapshots (&t), 2);
  volume_test_destroy (&t);
}
END_TEST

START_TEST (a_server_that_stops_ends_the_copying)
{
  struct volume_why why;
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "a");
  put_pattern (t.device, 2, 0, 100);
  take_snapshot (&t, "b");
  volume_hurry (t.volume);
  ck_assert_int_eq (roll_back (&t, "a", 0, &why), -ESHUTDOWN);
  ck_assert_msg (strstr (why.text, "server is being stopped") != NULL, "%s",
                 why.text);
  expect_pattern (t.device, 2, 0, 100);
  volume_test_restart (&t);
  expect_gone (&t, "roll-back-1");
  expect_pattern (t.device, 2, 0, 100);
  expect_snapshot (&t, "a", 1, 0, VOLUME_SECTORS);
  volume_test_destroy (&t);
}
END_TEST

START_TEST (none_is_lost_for_want_of_room)
{
  struct volume_snapshot_request request = { .name = "small",
                                             .chunk_bytes = 4096,
                                             .cow_bytes = 20 * 4096 };
  struct volume_why why;
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "old");
  put_pattern (t.device, 2, 0, 40 * CHUNK_SECTORS);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 0);
  ck_assert_int_eq (roll_back (&t, "old", 0, &why), -ENOSPC);
  ck_assert_ptr_nonnull (strstr (why.text, "small must keep"));
  ck_assert_str_eq (snapshot_state (&t, "small"), "valid");
  expect_pattern (t.device, 2, 0, 40 * CHUNK_SECTORS);
  /* Its room was not used up in vain. */
  put_pattern (t.device, 3, 0, 16 * CHUNK_SECTORS);
  expect_snapshot (&t, "small", 2, 0, 40 * CHUNK_SECTORS);
  remove_snapshot (&t, "small", 0);
  wait_for_background (&t);
  ck_assert_int_eq (roll_back (&t, "old", 0, &why), 0);
  expect_pattern (t.device, 1, 0, VOLUME_SECTORS);
  volume_test_destroy (&t);
}
END_TEST

/* Who writes to the snapshot meanwhile: a number to two sectors far apart, one
 * after the other.
 */
struct numberer {
  struct volume_device *device;
  atomic_bool must_stop;
  atomic_uint rounds;
  struct thread thread;
};

#define FIRST_NUMBER 5
#define SECOND_NUMBER (VOLUME_SECTORS - 20)

static void
put_numbers (void *arg)
{
  struct numberer *n = arg;
  uint64_t data[SECTOR_SIZE / sizeof (uint64_t)] = { 0 };

  while (!atomic_load (&n->must_stop)) {
    data[0]++;
    quick_assert (device_write (n->device, data, FIRST_NUMBER, 1) == 0);
    quick_assert (device_write (n->device, data, SECOND_NUMBER, 1) == 0);
    atomic_fetch_add (&n->rounds, 1);
  }
}

static uint64_t
get_number (struct volume_device *d, sector_t sector)
{
  uint64_t data[SECTOR_SIZE / sizeof (uint64_t)];

  ck_assert_int_eq (target_read (d->target, data, sector, 1), 0);
  return data[0];
}

START_TEST (an_older_one_is_of_one_moment)
{
  struct numberer n = { .must_stop = false };
  struct volume_why why;
  struct volume_test t;
  unsigned i;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "old");
  take_snapshot (&t, "new");
  n.device = open_device (&t, "old");
  ck_assert_int_eq (thread_start (&n.thread, "numbers", put_numbers, &n), 0);
  for (i = 0; i < 8; ++i) {
    uint64_t first, second;

    put_pattern (t.device, 2 + i, 0, VOLUME_SECTORS);
    wait_until (atomic_load (&n.rounds) > i * 3);
    ck_assert_int_eq (roll_back (&t, "old", 0, &why), 0);
    first = get_number (t.device, FIRST_NUMBER);
    second = get_number (t.device, SECOND_NUMBER);
    ck_assert_uint_gt (first, i * 3);
    ck_assert (first == second || first == second + 1);
    wait_for_background (&t);
    expect_snapshot (&t, "new", 1, 0, VOLUME_SECTORS);
  }
  atomic_store (&n.must_stop, true);
  thread_join (&n.thread);
  volume_device_close (n.device);
  volume_test_destroy (&t);
}
END_TEST

/* While it is so, whoever makes a file durable waits for steps of the test. */
static atomic_bool goes_by_steps;
static struct event_count arrived, may_go;
static atomic_uint steps_made;

int
fdatasync (int fd)
{
  if (atomic_load (&goes_by_steps)) {
    event_count_add (&arrived);
    event_count_wait (&may_go, atomic_fetch_add (&steps_made, 1) + 1);
  }
  return (int) syscall (SYS_fdatasync, fd);
}

struct roller {
  struct volume_test *t;
  struct volume_why why;
  int result;
};

static void
roll_back_to_s1 (void *arg)
{
  struct roller *r = arg;

  r->result = roll_back (r->t, "s1", 0, &r->why);
  atomic_store (&goes_by_steps, false);
  event_count_add (&arrived);
}

/* The only job, or nothing. */
static struct volume_job
look_at_job (struct volume_test *t)
{
  struct volume_job *jobs, job = { 0 };
  unsigned count;

  ck_assert_int_eq (volume_get_jobs (t->volume, &jobs, &count), 0);
  ck_assert_uint_le (count, 1);
  if (count == 1)
    job = jobs[0];
  free (jobs);
  return job;
}

START_TEST (the_copying_can_be_seen_and_cancelled)
{
  struct volume_job job = { 0 };
  struct volume_test t;
  struct roller r = { .t = &t };
  struct thread thread;
  unsigned steps;

  volume_test_create (&t);
  make_ages (&t);
  event_count_init (&arrived);
  event_count_init (&may_go);
  atomic_store (&goes_by_steps, true);
  ck_assert_int_eq (thread_start (&thread, "roller", roll_back_to_s1, &r), 0);
  for (steps = 1; job.done_bytes == 0; ++steps) {
    event_count_wait (&arrived, steps);
    ck_assert (atomic_load (&goes_by_steps));
    job = look_at_job (&t);
    if (job.done_bytes == 0)
      event_count_add (&may_go);
  }
  ck_assert_str_eq (job_kind_name (job.kind), "rollback");
  ck_assert_str_eq (job.name, "s1");
  ck_assert (job.can_be_cancelled);
  ck_assert_uint_lt (job.done_bytes, job.total_bytes);
  ck_assert_uint_lt (job.total_bytes, sector_to_bytes (VOLUME_SECTORS));
  ck_assert_int_eq (volume_job_cancel_restore (t.volume, job.id + 1), -EAGAIN);
  ck_assert_int_eq (volume_job_cancel_restore (t.volume, job.id), 0);
  atomic_store (&goes_by_steps, false);
  for (steps = 0; steps < 100; ++steps)
    event_count_add (&may_go);
  thread_join (&thread);
  ck_assert_int_eq (r.result, -ECANCELED);
  ck_assert_ptr_nonnull (strstr (r.why.text, "s1: the roll-back"));
  ck_assert_int_eq (volume_job_cancel_restore (t.volume, job.id), -EAGAIN);
  ck_assert_int_eq (volume_job_cancel (t.volume, job.id, &r.why), 1);
  expect_pattern (t.device, 15, 7, 90);
  expect_ages (&t);
  expect_nothing_staged (&t);
  ck_assert_uint_eq (look_at_job (&t).id, 0);
  ck_assert_int_eq (roll_back (&t, "s1", 0, &r.why), 0);
  expect_age (t.device, 1);
  event_count_destroy (&may_go);
  event_count_destroy (&arrived);
  volume_test_destroy (&t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    an_older_one_and_all_others_stay,
    every_step_to_an_older_one_may_fail,
    one_that_cannot_be_staged,
    a_server_that_stops_ends_the_copying,
    none_is_lost_for_want_of_room,
    an_older_one_is_of_one_moment,
    the_copying_can_be_seen_and_cancelled,
    NULL,
  };

  return unit_main ("volume_rollback_older", tests);
}
