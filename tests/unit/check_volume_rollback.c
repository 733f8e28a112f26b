/* Unit tests of rolling a volume back while it is served.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdatomic.h>

#include "volume-test.h"

/* What a crash at this moment would leave of the folder and the legs; and put
 * that there again.
 */
static void
run_script (const struct volume_test *t, const char *script)
{
  char command[2 * TEST_PATH_BYTES];

  (void) snprintf (command, sizeof command, "P='%s'; %s", t->meta.parent,
                   script);
  ck_assert_int_eq (system (command), 0);
}

static void
copy_folder (const struct volume_test *t)
{
  run_script (t, "cp -a --sparse=always \"$P\" \"$P.copy\"");
}

static void
restore_folder (const struct volume_test *t)
{
  run_script (t, "cp -a --sparse=always \"$P.copy/.\" \"$P/\"; "
                 "rm -r \"$P.copy\"");
}

/*----- rolling back ----------------------------------------------------*/

/* Restart as often as it takes, or wait. */
static void
roll_back_a_chain (bool restarts)
{
  struct volume_device *d;
  struct volume_why why;
  struct volume_test t;
  unsigned i;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "old");
  put_pattern (t.device, 2, 0, 600);
  take_snapshot (&t, "new");
  d = open_device (&t, "new");
  put_pattern (d, 3, 300, 20); /* is part of it */
  volume_device_close (d);
  put_pattern (t.device, 4, 0, VOLUME_SECTORS);

  ck_assert_int_eq (roll_back (&t, "new", 0, &why), 0);
  for (i = 0; i < 20; ++i) {
    /* At once, and for ever; what is written now stays, too. */
    expect_pattern (t.device, 2, 0, 300);
    expect_pattern (t.device, 3, 300, 20);
    expect_pattern (t.device, 2, 320, 280);
    expect_pattern (t.device, i == 0 ? 1 : 4 + i, 600, 50);
    expect_pattern (t.device, 1, 650, VOLUME_SECTORS - 650);
    put_pattern (t.device, 5 + i, 600, 50);
    expect_snapshot (&t, "old", 1, 0, VOLUME_SECTORS);
    if (i == 10) {
      take_snapshot (&t, "newer");
      put_pattern (t.device, 9, 900, 1);
      put_pattern (t.device, 1, 900, 1);
    }
    if (i >= 10) {
      expect_snapshot (&t, "newer", 15, 600, 50);
      expect_snapshot (&t, "newer", 1, 650, 300);
    }
    if (restarts) {
      volume_test_restart (&t);
    }
  }
  wait_for_background (&t);
  ck_assert (!file_exists (&t.meta, "new.cow"));
  ck_assert_str_eq (snapshot_state (&t, "new"), "none");
  expect_pattern (t.device, 2, 320, 280);
  expect_snapshot (&t, "old", 1, 0, VOLUME_SECTORS);
  /* And once more, to what is the newest now. */
  remove_snapshot (&t, "newer", 0);
  wait_for_background (&t);
  ck_assert_int_eq (roll_back (&t, "old", 0, &why), 0);
  expect_pattern (t.device, 1, 0, VOLUME_SECTORS);
  wait_for_background (&t);
  expect_pattern (t.device, 1, 0, VOLUME_SECTORS);
  volume_test_destroy (&t);
}

START_TEST (the_volume_is_the_snapshot_at_once)
{
  roll_back_a_chain (false);
  roll_back_a_chain (true);
}
END_TEST

/* Clients read and write while it goes on. */
struct client {
  struct volume_device *device;
  sector_t first;
  atomic_bool must_stop;
  atomic_uint rounds;
  struct thread thread;
};

#define CLIENTS 4
#define CLIENT_SECTORS 40

static void
serve_client (void *arg)
{
  struct client *c = arg;
  unsigned char data[CLIENT_SECTORS * SECTOR_SIZE];
  struct chance chance = { c->first };
  uint64_t seed;

  for (seed = 1000; !atomic_load (&c->must_stop); ++seed) {
    sector_t at = c->first + chance_below (&chance, 100);
    sector_t count = 1 + chance_below (&chance, CLIENT_SECTORS);

    fill_pattern (data, seed, at, count);
    quick_assert (device_write (c->device, data, at, count) == 0);
    quick_assert (target_read (c->device->target, data, at, count) == 0);
    quick_assert (first_wrong_sector (data, seed, at, count) == at + count);
    atomic_fetch_add (&c->rounds, 1);
  }
}

START_TEST (clients_go_on)
{
  struct client clients[CLIENTS];
  struct volume_why why;
  struct volume_test t;
  unsigned i, k;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "old");
  for (k = 0; k < 10; ++k) {
    put_pattern (t.device, 2, 0, VOLUME_SECTORS);
    take_snapshot (&t, "new");
    put_pattern (t.device, 3, 0, VOLUME_SECTORS);
    ck_assert_int_eq (roll_back (&t, "new", 0, &why), 0);
    for (i = 0; i < CLIENTS; ++i) {
      clients[i] = (struct client){ .device = t.device, .first = i * 200 };
      ck_assert_int_eq (thread_start (&clients[i].thread, "client",
                                      serve_client, &clients[i]),
                        0);
    }
    wait_for_background (&t);
    for (i = 0; i < CLIENTS; ++i)
      wait_until (atomic_load (&clients[i].rounds) > 5);
    for (i = 0; i < CLIENTS; ++i) {
      atomic_store (&clients[i].must_stop, true);
      thread_join (&clients[i].thread);
    }
    for (i = 0; i < CLIENTS; ++i)
      expect_pattern (t.device, 2, i * 200 + 150, 40);
    expect_snapshot (&t, "old", 1, 0, VOLUME_SECTORS);
  }
  volume_test_destroy (&t);
}
END_TEST

/*----- what is refused -------------------------------------------------*/

START_TEST (senseless_ones_are_refused)
{
  struct volume_snapshot_request request = { .name = "broken",
                                             .cow_bytes = 3 * 4096 };
  struct volume_device *d;
  struct volume_why why;
  char data[SECTOR_SIZE];
  struct volume_test t;

  volume_test_create (&t);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 0);
  put_pattern (t.device, 1, 0, 100);
  ck_assert_int_eq (roll_back (&t, "broken", 0, &why), -EIO);
  ck_assert_ptr_nonnull (strstr (why.text, "is invalid"));
  ck_assert_int_eq (roll_back (&t, "none", 0, &why), -ENOENT);
  take_snapshot (&t, "a");
  take_snapshot (&t, "b");
  put_pattern (t.device, 2, 0, 100);
  d = open_device (&t, "b");
  ck_assert_int_eq (roll_back (&t, "b", 0, &why), -EBUSY);
  ck_assert_ptr_nonnull (strstr (why.text, "1 client has it open"));
  expect_pattern (t.device, 2, 0, 100);
  expect_pattern (d, 1, 0, 100);
  ck_assert_int_eq (roll_back (&t, "b", VOLUME_SNAPSHOT_FORCE, &why), 0);
  ck_assert_int_eq (target_read (d->target, data, 0, 1), -EIO);
  expect_pattern (t.device, 1, 0, 100);
  volume_device_close (d);
  wait_for_background (&t);
  volume_test_destroy (&t);
}
END_TEST

/* A disk that is full refuses the new manifest before the old one is touched:
 * nothing has happened then, and the volume can be written.
 */
START_TEST (a_manifest_that_is_not_replaced)
{
  char path[TEST_PATH_BYTES + 32];
  struct volume_why why;
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "a");
  put_pattern (t.device, 2, 0, 100);
  (void) snprintf (path, sizeof path, "%s/" MANIFEST_FILE ".new", t.meta.path);
  ck_assert_int_eq (mkdir (path, 0700), 0);
  ck_assert_int_eq (roll_back (&t, "a", 0, &why), -EISDIR);
  ck_assert_msg (strstr (why.text,
                         "check the mode and owner of the folder, and "
                         "its space") != NULL,
                 "%s", why.text);
  expect_pattern (t.device, 2, 0, 100);
  put_pattern (t.device, 3, 0, 100);
  expect_snapshot (&t, "a", 1, 0, VOLUME_SECTORS);
  ck_assert_int_eq (rmdir (path), 0);
  volume_test_restart (&t);
  expect_pattern (t.device, 3, 0, 100);
  ck_assert_int_eq (roll_back (&t, "a", 0, &why), 0);
  expect_pattern (t.device, 1, 0, VOLUME_SECTORS);
  expect_gone (&t, "a");
  volume_test_destroy (&t);
}
END_TEST

struct roller {
  struct volume_test *t;
  struct thread thread;
  int result;
};

static void
run_roll_back (void *arg)
{
  struct roller *roller = arg;
  struct volume_why why;

  roller->result = roll_back (roller->t, "a", 0, &why);
}

struct holder {
  struct range_lock *lock;
  struct range_hold hold;
  struct thread thread;
};

static void
run_hold (void *arg)
{
  struct holder *holder = arg;

  range_lock_acquire (holder->lock, &holder->hold, 0, 1);
}

static unsigned
count_waiting (struct range_lock *rl)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rl->lock);
  return rl->waiting;
}

/* Roll back to "a", and hold the first sector before a chunk is merged: who
 * wants it has to come while the roll-back still waits.
 */
static void
roll_back_and_hold (struct volume_test *t, struct holder *holder)
{
  struct roller roller = { .t = t };
  struct range_hold last;

  holder->lock = &t->device->range_lock;
  range_lock_acquire (holder->lock, &last, VOLUME_SECTORS - 1, 1);
  ck_assert_int_eq (thread_start (&roller.thread, "roller", run_roll_back,
                                  &roller),
                    0);
  wait_until (range_lock_is_wanted (holder->lock, 0, 1));
  ck_assert_int_eq (thread_start (&holder->thread, "holder", run_hold, holder),
                    0);
  wait_until (count_waiting (holder->lock) == 2);
  range_lock_release (holder->lock, &last);
  thread_join (&roller.thread);
  ck_assert_int_eq (roller.result, 0);
  thread_join (&holder->thread);
}

START_TEST (a_merge_cannot_be_given_up)
{
  static const char *const keys[] = { "discard-snapshot", "a", NULL };
  struct volume_device *d;
  struct holder holder;
  struct volume_why why;
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, 8);
  take_snapshot (&t, "a");
  put_pattern (t.device, 2, 0, 8);
  roll_back_and_hold (&t, &holder);
  ck_assert_str_eq (snapshot_state (&t, "a"), "merging");
  ck_assert_int_eq (roll_back (&t, "a", 0, &why), 1);
  ck_assert_int_eq (volume_snapshot_remove (t.volume, "a", 0, &why), -EBUSY);
  ck_assert_int_eq (volume_snapshot_rename (t.volume, "a", "c", &why), -EBUSY);
  ck_assert_int_eq (volume_device_open (t.volume, "a", false, &d), -ENOENT);
  expect_pattern (t.device, 1, 0, 8);
  range_lock_release (holder.lock, &holder.hold);
  wait_for_background (&t);
  ck_assert_str_eq (snapshot_state (&t, "a"), "none");

  /* Neither at the next start. */
  take_snapshot (&t, "a");
  put_pattern (t.device, 2, 0, 8);
  roll_back_and_hold (&t, &holder);
  copy_folder (&t);
  range_lock_release (holder.lock, &holder.hold);
  volume_test_stop (&t);
  restore_folder (&t);
  ck_assert_int_eq (volume_test_try (&t, keys), -EBUSY);
  assert_said ("discard-snapshot=a: the volume is being rolled back");
  volume_test_start (&t, NULL);
  wait_for_background (&t);
  expect_pattern (t.device, 1, 0, 8);
  ck_assert_str_eq (snapshot_state (&t, "a"), "none");
  volume_test_destroy (&t);
}
END_TEST

/* A client of the snapshot, which writes when the roll-back is recorded. */
static struct {
  struct thread thread;
  struct volume_device *device;
  atomic_bool has_ended;
  bool has_begun;
  int result;
} late;

static void
run_late (void *arg)
{
  static const char data[SECTOR_SIZE];

  (void) arg;
  late.result = device_write (late.device, data, 7, 1);
  atomic_store (&late.has_ended, true);
}

/* It has written, or waits, when this returns. */
static void
begin_late (void)
{
  if (late.has_begun)
    return;
  late.has_begun = true;
  ck_assert_int_eq (thread_start (&late.thread, "late", run_late, NULL), 0);
  wait_until (atomic_load (&late.has_ended) ||
              range_lock_is_wanted (&late.device->range_lock, 7, 1));
}

/* What was written to it after its store has been flushed would be the
 * volume's, without being durable.
 */
START_TEST (nobody_writes_to_it_after_its_flush)
{
  struct volume_why why;
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, 100);
  take_snapshot (&t, "a");
  put_pattern (t.device, 2, 0, 100);
  late.device = open_device (&t, "a");
  atomic_store (&before_rename, begin_late);
  ck_assert_int_eq (roll_back (&t, "a", VOLUME_SNAPSHOT_FORCE, &why), 0);
  thread_join (&late.thread);
  atomic_store (&before_rename, NULL);
  ck_assert_int_eq (late.result, -EIO);
  expect_pattern (t.device, 1, 0, 100);
  volume_device_close (late.device);
  wait_for_background (&t);
  volume_test_destroy (&t);
}
END_TEST

/*----- what fails ------------------------------------------------------*/

/* The K-th change of the folder fails: it is rolled back, or it is not; and
 * that stays.  Returns false if there are not so many.
 */
static bool
fail_step (int k)
{
  struct volume_device *d;
  struct volume_why why;
  struct volume_test t;
  bool has_failed;
  int r;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, 100);
  take_snapshot (&t, "old");
  put_pattern (t.device, 2, 0, 100);
  take_snapshot (&t, "new");
  put_pattern (t.device, 3, 0, 100);
  watch_calls (k);
  r = roll_back (&t, "new", 0, &why);
  if (r == 0)
    wait_for_background (&t);
  has_failed = calls_seen > k;
  watch_calls (-1);
  ck_assert (r == 0 || why.text[0] != '\0');
  if (r == 0)
    expect_gone (&t, "new");
  expect_pattern (t.device, r == 0 ? 2 : 3, 0, 100);
  if (r < 0) {
    put_pattern (t.device, 4, 0, 50);
    expect_snapshot (&t, "new", 2, 0, 100);
  }
  expect_snapshot (&t, "old", 1, 0, 100);
  volume_test_restart (&t);
  expect_pattern (t.device, r == 0 ? 2 : 4, 0, 50);
  expect_pattern (t.device, r == 0 ? 2 : 3, 50, 50);
  expect_snapshot (&t, "old", 1, 0, 100);
  wait_for_background (&t);
  if (r == 0)
    ck_assert_int_eq (volume_device_open (t.volume, "new", false, &d), -ENOENT);
  else
    ck_assert_int_eq (roll_back (&t, "new", 0, &why), 0);
  wait_for_background (&t);
  expect_pattern (t.device, 2, 0, 100);
  volume_test_destroy (&t);
  return has_failed;
}

START_TEST (every_step_may_fail)
{
  int k;

  for (k = 0; fail_step (k); ++k)
    ck_assert_int_lt (k, 30);
  ck_assert_int_gt (k, 3);
}
END_TEST

/* A snapshot has gone, but that could not be recorded: it must not come back
 * between older ones and the volume that is rolled back.  Whether that is asked
 * for before it is tried again is chance.
 */
static void
roll_back_past_one_that_goes (void)
{
  struct volume_why why;
  struct volume_test t;
  int r;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, 100);
  take_snapshot (&t, "oldest");
  take_snapshot (&t, "old");
  put_pattern (t.device, 2, 0, 100);
  take_snapshot (&t, "new");
  put_pattern (t.device, 3, 0, 100);
  watch_calls (3); /* with the first three it is recorded that it goes */
  remove_snapshot (&t, "new", 0);
  wait_for_calls (4);
  r = roll_back (&t, "old", 0, &why);
  if (r == 0)
    ck_assert_str_eq (snapshot_state (&t, "new"), "none");
  else {
    ck_assert_int_eq (r, -EBUSY);
    ck_assert_ptr_nonnull (strstr (why.text, "new is newer"));
    wait_for_background (&t);
    ck_assert_int_eq (roll_back (&t, "old", 0, &why), 0);
  }
  watch_calls (-1);
  wait_for_background (&t);
  volume_test_restart (&t);
  expect_pattern (t.device, 1, 0, 100);
  expect_snapshot (&t, "oldest", 1, 0, 100);
  volume_test_destroy (&t);
}

START_TEST (what_goes_is_gone_first)
{
  unsigned i;

  for (i = 0; i < 10; ++i)
    roll_back_past_one_that_goes ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    the_volume_is_the_snapshot_at_once,
    clients_go_on,
    senseless_ones_are_refused,
    a_manifest_that_is_not_replaced,
    a_merge_cannot_be_given_up,
    nobody_writes_to_it_after_its_flush,
    every_step_may_fail,
    what_goes_is_gone_first,
    NULL,
  };

  return unit_main ("volume_rollback", tests);
}
