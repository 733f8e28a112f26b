/* Unit tests of snapshots that are taken, removed and renamed live.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "volume-test.h"

/*----- taking ----------------------------------------------------------*/

/* A writer that counts: first in sector FIRST, then in the next one. */
struct counter {
  struct volume_device *device;
  sector_t first;
  atomic_bool must_stop;
  atomic_ulong begun; /* the number that is being written */
  atomic_ulong done;  /* the last that has been, in both */
  struct thread thread;
};

static void
put_number (struct volume_device *d, sector_t sector, uint64_t number)
{
  uint64_t data[SECTOR_SIZE / sizeof (uint64_t)];
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (data); ++i)
    data[i] = number;
  quick_assert (device_write (d, data, sector, 1) == 0);
}

static uint64_t
get_number (struct volume_device *d, sector_t sector)
{
  uint64_t data[SECTOR_SIZE / sizeof (uint64_t)];
  unsigned i;

  ck_assert_int_eq (target_read (d->target, data, sector, 1), 0);
  for (i = 1; i < ARRAY_COUNT (data); ++i)
    quick_assert (data[i] == data[0]);
  return data[0];
}

static void
count_up (void *arg)
{
  struct counter *c = arg;
  unsigned long n;

  for (n = 1; !atomic_load (&c->must_stop); ++n) {
    atomic_store (&c->begun, n);
    put_number (c->device, c->first, n);
    put_number (c->device, c->first + 100 * CHUNK_SECTORS, n);
    atomic_store (&c->done, n);
  }
}

#define COUNTERS 4
#define SNAPSHOTS 12

START_TEST (a_snapshot_is_a_point_in_time)
{
  struct counter counters[COUNTERS];
  struct volume_test t;
  unsigned i, k;

  volume_test_create (&t);
  for (i = 0; i < COUNTERS; ++i) {
    /* Two in each chunk. */
    counters[i] = (struct counter){ .device = t.device, .first = i * 4 };
    put_number (t.device, counters[i].first, 0);
    put_number (t.device, counters[i].first + 100 * CHUNK_SECTORS, 0);
    ck_assert_int_eq (thread_start (&counters[i].thread, "counter", count_up,
                                    &counters[i]),
                      0);
  }
  for (k = 0; k < SNAPSHOTS; ++k) {
    unsigned long before[COUNTERS], after[COUNTERS];
    uint64_t first[COUNTERS], second[COUNTERS];
    struct volume_device *d;
    char name[8];

    for (i = 0; i < COUNTERS; ++i)
      wait_until (atomic_load (&counters[i].done) > k * 3);
    for (i = 0; i < COUNTERS; ++i)
      before[i] = atomic_load (&counters[i].done);
    (void) snprintf (name, sizeof name, "s%u", k);
    take_snapshot (&t, name);
    for (i = 0; i < COUNTERS; ++i)
      after[i] = atomic_load (&counters[i].begun);
    d = open_device (&t, name);
    for (i = 0; i < COUNTERS; ++i) {
      first[i] = get_number (d, counters[i].first);
      second[i] = get_number (d, counters[i].first + 100 * CHUNK_SECTORS);
      ck_assert_uint_ge (second[i], before[i]);
      ck_assert_uint_le (first[i], after[i]);
      /* The second was written when the first had been, and no other. */
      ck_assert (first[i] == second[i] || first[i] == second[i] + 1);
    }
    for (i = 0; i < COUNTERS; ++i)
      wait_until (atomic_load (&counters[i].begun) > after[i] + 1);
    for (i = 0; i < COUNTERS; ++i) {
      ck_assert_uint_eq (get_number (d, counters[i].first), first[i]);
      ck_assert_uint_eq (get_number (d,
                                     counters[i].first + 100 * CHUNK_SECTORS),
                         second[i]);
    }
    volume_device_close (d);
    /* Some go again, in the middle, so that all kinds of chains are seen. */
    if (k % 3 == 2) {
      (void) snprintf (name, sizeof name, "s%u", k - 1);
      remove_snapshot (&t, name, 0);
    }
  }
  for (i = 0; i < COUNTERS; ++i)
    atomic_store (&counters[i].must_stop, true);
  for (i = 0; i < COUNTERS; ++i)
    thread_join (&counters[i].thread);
  volume_test_destroy (&t);
}
END_TEST

START_TEST (what_cannot_be_taken_is_refused)
{
  static const struct {
    struct volume_snapshot_request request;
    int result;
    const char *why;
  } cases[] = {
    { { .name = "monday" }, 1, "exists already" },
    { { .name = "" }, -EINVAL, "is not a name" },
    { { .name = "../a" }, -EINVAL, "is not a name" },
    { { .name = "a..b" }, -EINVAL, "is not a name" },
    { { .name = ".a" }, -EINVAL, "is not a name" },
    { { .name = "a b" }, -EINVAL, "is not a name" },
    { { .name = "a", .chunk_bytes = 5000 }, -EINVAL, "power of two" },
    { { .name = "a", .chunk_bytes = 2048 }, -EINVAL, "power of two" },
    { { .name = "a", .chunk_bytes = 2 << 20 }, -EINVAL, "power of two" },
    { { .name = "a", .cow_bytes = 8192 }, -EINVAL, "too small" },
    { { .name = "taken" }, -EEXIST, "move it away" },
  };
  struct volume_status status;
  struct volume_test t;
  unsigned i;

  volume_test_create (&t);
  take_snapshot (&t, "monday");
  put_file (&t.meta, "taken.cow", "x", 1);
  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct volume_why why = { "" };

    ck_assert_int_eq (volume_snapshot_create (t.volume, &cases[i].request,
                                              &why),
                      cases[i].result);
    ck_assert_msg (strstr (why.text, cases[i].why) != NULL, "%s", why.text);
  }
  ck_assert_int_eq (volume_get_status (t.volume, &status), 0);
  ck_assert_uint_eq (status.snapshot_count, 1);
  volume_status_free (&status);
  volume_test_destroy (&t);
}
END_TEST

/*----- removing --------------------------------------------------------*/

/* Snapshots s0 .. s4 of patterns 10 .. 14; each write leaves chunks alone. */
static void
make_chain (struct volume_test *t)
{
  char name[8];
  unsigned i;

  for (i = 0; i < 5; ++i) {
    put_pattern (t->device, 10 + i, i * 5, VOLUME_SECTORS - 400 + i);
    (void) snprintf (name, sizeof name, "s%u", i);
    take_snapshot (t, name);
  }
  put_pattern (t->device, 15, 3, 500);
}

/* What make_chain has put into sector S of the volume before snapshot K. */
static void
assert_snapshot (struct volume_test *t, unsigned k)
{
  struct volume_device *d;
  char name[8];
  sector_t s;

  (void) snprintf (name, sizeof name, "s%u", k);
  d = open_device (t, name);
  for (s = 0; s < VOLUME_SECTORS; s += 3) {
    unsigned i = k + 1;

    while (i-- > 0)
      if (s >= i * 5 && s < i * 5 + VOLUME_SECTORS - 400 + i)
        break;
    if (i != -1U)
      expect_pattern (d, 10 + i, s, 1);
  }
  volume_device_close (d);
}

static const unsigned orders[][5] = {
  { 0, 1, 2, 3, 4 },
  { 4, 3, 2, 1, 0 },
  { 2, 1, 3, 0, 4 },
  { 1, 3, 2, 4, 0 },
};

static void
remove_in_order (const unsigned *order, bool restarts)
{
  struct volume_test t;
  unsigned i, k;
  char name[8];

  volume_test_create (&t);
  make_chain (&t);
  for (i = 0; i < 5; ++i) {
    (void) snprintf (name, sizeof name, "s%u", order[i]);
    remove_snapshot (&t, name, 0);
    /* At once, while it may be handed down, and afterwards. */
    for (k = i + 1; k < 5; ++k)
      assert_snapshot (&t, order[k]);
    put_pattern (t.device, 20 + i, i * 100, 77);
    if (restarts) {
      volume_test_restart (&t);
    }
    else
      wait_for_background (&t);
    for (k = i + 1; k < 5; ++k)
      assert_snapshot (&t, order[k]);
  }
  wait_for_background (&t);
  for (i = 0; i < 5; ++i) {
    (void) snprintf (name, sizeof name, "s%u.cow", i);
    ck_assert (!file_exists (&t.meta, name));
  }
  volume_test_destroy (&t);
}

START_TEST (snapshots_go_in_any_order)
{
  unsigned i;

  for (i = 0; i < ARRAY_COUNT (orders); ++i) {
    remove_in_order (orders[i], false);
    remove_in_order (orders[i], true);
  }
}
END_TEST

START_TEST (clients_are_in_the_way_or_lose)
{
  struct volume_device *d, *found;
  struct volume_why why = { "" };
  struct volume_test t;
  char data[SECTOR_SIZE] = "";
  struct bdev_extent extent;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, 100);
  take_snapshot (&t, "monday");
  put_pattern (t.device, 2, 0, 50);
  d = open_device (&t, "monday");
  ck_assert_int_eq (volume_snapshot_remove (t.volume, "monday", 0, &why),
                    -EBUSY);
  ck_assert_ptr_nonnull (strstr (why.text, "1 client has it open"));
  expect_pattern (d, 1, 0, 100);

  remove_snapshot (&t, "monday", VOLUME_SNAPSHOT_FORCE);
  wait_for_background (&t);
  ck_assert (!file_exists (&t.meta, "monday.cow"));
  ck_assert_int_eq (target_read (d->target, data, 0, 1), -EIO);
  ck_assert_int_eq (target_read (d->target, data, 60, 1), -EIO);
  ck_assert_int_eq (device_write (d, data, 0, 1), -EIO);
  ck_assert_int_eq (target_zero (d->target, 0, 1, 0), -EIO);
  ck_assert_int_eq (target_flush (d->target), -EIO);
  ck_assert_int_eq (target_extent (d->target, 0, 1, &extent), -EIO);
  ck_assert_int_eq (volume_device_open (t.volume, "monday", true, &found),
                    -ENOENT);
  ck_assert_int_eq (volume_snapshot_remove (t.volume, "monday", 0, &why), 1);
  /* Another one of that name has nothing to do with it. */
  take_snapshot (&t, "monday");
  ck_assert_int_eq (target_read (d->target, data, 0, 1), -EIO);
  volume_device_close (d);
  volume_test_destroy (&t);
}
END_TEST

static void
hand_down (uint64_t older_bytes, uint64_t bytes)
{
  struct volume_snapshot_request request = { .name = "older" };
  struct volume_why why = { "" };
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  request.chunk_bytes = older_bytes;
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 0);
  request.name = "goes";
  request.chunk_bytes = bytes;
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 0);
  put_pattern (t.device, 2, 3, 40);
  put_pattern (t.device, 2, VOLUME_SECTORS - 5, 5);
  remove_snapshot (&t, "goes", 0);
  put_pattern (t.device, 2, 200, 50);
  wait_for_background (&t);
  put_pattern (t.device, 3, 0, VOLUME_SECTORS);
  expect_snapshot (&t, "older", 1, 0, VOLUME_SECTORS);
  volume_test_destroy (&t);
}

START_TEST (a_chunk_of_any_size_is_handed_down)
{
  hand_down (4096, 65536);
  hand_down (65536, 4096);
  hand_down (1 << 20, 4096);
}
END_TEST

/* Whatever on-cow-error says: no write is at stake. */
START_TEST (an_older_one_that_is_full_keeps_it)
{
  struct volume_snapshot_request request = { .name = "small",
                                             .cow_bytes = 6 * 4096 };
  struct volume_why why = { "" };
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 0);
  take_snapshot (&t, "goes");
  put_pattern (t.device, 2, 0, 400);
  remove_snapshot (&t, "goes", 0);
  wait_until (was_said ("cannot be handed down"));
  ck_assert_int_eq (volume_snapshots_wait (t.volume, 0), -ETIMEDOUT);
  expect_snapshot (&t, "small", 1, 0, VOLUME_SECTORS);
  ck_assert (!was_said ("refused"));
  /* Newer ones can go, and the wait for it is over. */
  take_snapshot (&t, "newer");
  take_snapshot (&t, "newest");
  put_pattern (t.device, 3, 0, 400);
  remove_snapshot (&t, "newest", 0);
  wait_until (strcmp (snapshot_state (&t, "newest"), "none") == 0);
  expect_snapshot (&t, "newer", 2, 0, 400);
  remove_snapshot (&t, "newer", 0);
  expect_snapshot (&t, "small", 1, 0, VOLUME_SECTORS);
  put_pattern (t.device, 2, 0, 400);
  /* The older one goes, and then the others can. */
  remove_snapshot (&t, "small", 0);
  wait_for_background (&t);
  ck_assert (!file_exists (&t.meta, "goes.cow"));
  ck_assert (!file_exists (&t.meta, "small.cow"));
  expect_pattern (t.device, 2, 0, 400);
  volume_test_destroy (&t);
}
END_TEST

/*----- renaming --------------------------------------------------------*/

static int
rename_snapshot (struct volume_test *t, const char *name, const char *new_name)
{
  struct volume_why why = { "" };

  return volume_snapshot_rename (t->volume, name, new_name, &why);
}

START_TEST (a_renamed_snapshot_is_the_same)
{
  struct volume_device *d;
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, 100);
  take_snapshot (&t, "a");
  put_pattern (t.device, 2, 0, 50);
  d = open_device (&t, "a");
  ck_assert_int_eq (rename_snapshot (&t, "a", "a"), 1);
  ck_assert_int_eq (rename_snapshot (&t, "c", "d"), -ENOENT);
  ck_assert_int_eq (rename_snapshot (&t, "a", "x/y"), -EINVAL);
  ck_assert_int_eq (rename_snapshot (&t, "a", "b"), 0);
  expect_pattern (d, 1, 0, 100);
  volume_device_close (d);
  ck_assert (file_exists (&t.meta, "b.cow"));
  ck_assert (!file_exists (&t.meta, "a.cow"));

  take_snapshot (&t, "a");
  ck_assert_int_eq (rename_snapshot (&t, "a", "b"), -EEXIST);
  volume_test_restart (&t);
  expect_snapshot (&t, "b", 1, 0, 100);
  expect_snapshot (&t, "a", 2, 0, 50);
  volume_test_destroy (&t);
}
END_TEST

/* Rename it twice, of which the first time the K-th change of the folder
 * fails.  Returns false if there are not so many.
 */
static bool
rename_twice (int k)
{
  struct volume_test t;
  bool has_failed;
  int r;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, 100);
  take_snapshot (&t, "a");
  put_pattern (t.device, 2, 0, 50);
  watch_calls (k);
  r = rename_snapshot (&t, "a", "b");
  has_failed = calls_seen > k;
  watch_calls (-1);
  (void) rename_snapshot (&t, r == 0 ? "b" : "a", "c");
  volume_test_restart (&t);
  expect_snapshot (&t, "c", 1, 0, 100);
  ck_assert (file_exists (&t.meta, "c.cow"));
  remove_snapshot (&t, "c", 0);
  wait_for_background (&t);
  ck_assert (!file_exists (&t.meta, "a.cow"));
  ck_assert (!file_exists (&t.meta, "b.cow"));
  ck_assert (!file_exists (&t.meta, "c.cow"));
  volume_test_destroy (&t);
  return has_failed;
}

START_TEST (a_store_is_not_lost_by_renaming)
{
  int k;

  for (k = 0; rename_twice (k); ++k)
    ck_assert_int_lt (k, 40);
  ck_assert_int_gt (k, 3);
}
END_TEST

/*----- looking ---------------------------------------------------------*/

START_TEST (the_list_tells_all)
{
  struct volume_snapshot_request request = { .name = "old",
                                             .chunk_bytes = 8192,
                                             .is_read_only = true };
  struct volume_status status;
  struct volume_why why = { "" };
  struct volume_device *d;
  struct volume_test t;

  volume_test_create (&t);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 0);
  put_pattern (t.device, 1, 0, 17);
  take_snapshot (&t, "new");
  d = open_device (&t, "old");
  ck_assert (d->is_read_only);
  ck_assert_int_eq (volume_get_status (t.volume, &status), 0);
  ck_assert_uint_eq (status.snapshot_count, 2);
  ck_assert_str_eq (status.snapshots[0].name, "new");
  ck_assert_str_eq (status.snapshots[0].origin, "");
  ck_assert_uint_eq (status.snapshots[0].chunks, 0);
  ck_assert_uint_eq (status.snapshots[0].clients, 0);
  ck_assert_str_eq (status.snapshots[1].name, "old");
  ck_assert_str_eq (status.snapshots[1].origin, "new");
  ck_assert_str_eq (status.snapshots[1].state, "valid");
  ck_assert_ptr_null (status.snapshots[1].reason);
  ck_assert_uint_eq (strlen (status.snapshots[1].created),
                     strlen ("2000-01-01T00:00:00Z"));
  ck_assert (status.snapshots[1].is_read_only);
  ck_assert_uint_eq (status.snapshots[1].chunk_bytes, 8192);
  ck_assert_uint_eq (status.snapshots[1].chunks, 2);
  ck_assert_uint_eq (status.snapshots[1].used_bytes, 4 * 8192);
  ck_assert_uint_eq (status.snapshots[1].clients, 1);
  ck_assert_uint_gt (status.snapshots[1].store_bytes,
                     VOLUME_SECTORS * SECTOR_SIZE);
  volume_status_free (&status);
  volume_device_close (d);
  volume_test_destroy (&t);
}
END_TEST

START_TEST (a_store_that_fills_is_told)
{
  struct volume_snapshot_request request = { .name = "small",
                                             .cow_bytes = 20 * 4096 };
  struct volume_status status;
  struct volume_why why = { "" };
  struct volume_test t;

  volume_test_create (&t);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 0);
  put_pattern (t.device, 1, 0, 13 * CHUNK_SECTORS);
  ck_assert (!was_said ("of its store are used"));
  put_pattern (t.device, 1, 100 * CHUNK_SECTORS, CHUNK_SECTORS);
  assert_said ("snapshot small: 80% of its store are used");
  put_pattern (t.device, 1, 110 * CHUNK_SECTORS, 2 * CHUNK_SECTORS);
  assert_said ("90% of its store are used");
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  ck_assert_int_eq (volume_get_status (t.volume, &status), 0);
  ck_assert_str_eq (status.snapshots[0].state, "invalid");
  ck_assert_ptr_nonnull (strstr (status.snapshots[0].reason, "full"));
  volume_status_free (&status);
  remove_snapshot (&t, "small", 0);
  wait_for_background (&t);
  volume_test_destroy (&t);
}
END_TEST

/*----- what fails ------------------------------------------------------*/

enum verb { CREATE, RENAME, REMOVE };

/* Do VERB while the K-th change of the folder fails, and COUNT - 1 after it.
 * Returns false if there are not so many.
 */
static bool
fail_step (enum verb verb, int k, int count)
{
  const struct volume_snapshot_request request = { .name = "b" };
  struct volume_why why = { "" };
  struct volume_device *d;
  struct volume_test t;
  bool has_failed;
  int r = 0;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, 100);
  take_snapshot (&t, "a");
  put_pattern (t.device, 2, 0, 50);
  take_snapshot (&t, "c");
  put_pattern (t.device, 3, 0, 30);
  failing_count = count;
  watch_calls (k);
  if (verb == CREATE)
    r = volume_snapshot_create (t.volume, &request, &why);
  else if (verb == RENAME)
    r = volume_snapshot_rename (t.volume, "c", "b", &why);
  else
    r = volume_snapshot_remove (t.volume, "c", 0, &why);
  if (verb == REMOVE && r == 0)
    wait_for_background (&t);
  has_failed = calls_seen > k;
  watch_calls (-1);
  failing_count = 1;
  ck_assert_int_le (r, 0);
  ck_assert (r == 0 || why.text[0] != '\0');
  if (verb == REMOVE && r == 0)
    expect_gone (&t, "c");
  if (verb == CREATE && r < 0)
    expect_gone (&t, "b");
  put_pattern (t.device, 4, 0, 60);
  expect_snapshot (&t, "a", 1, 0, 100);

  volume_test_restart (&t);
  expect_snapshot (&t, "a", 1, 0, 100);
  if (volume_device_open (t.volume, verb == REMOVE ? "c" : "b", false, &d) ==
      0) {
    if (verb != CREATE) {
      expect_pattern (d, 2, 0, 50);
      expect_pattern (d, 1, 50, 50);
    }
    volume_device_close (d);
  }
  else
    ck_assert (verb == REMOVE || r < 0);
  /* It can be done now. */
  if (verb == CREATE && r < 0)
    ck_assert_int_ge (volume_snapshot_create (t.volume, &request, &why), 0);
  volume_test_destroy (&t);
  return has_failed;
}

START_TEST (every_step_may_fail)
{
  enum verb verb;
  int k;

  for (verb = CREATE; verb <= REMOVE; ++verb) {
    for (k = 0; fail_step (verb, k, 1); ++k)
      ck_assert_int_lt (k, 40);
    ck_assert_int_gt (k, 3);
  }
}
END_TEST

/* Nor can what was begun be undone at once. */
START_TEST (a_step_and_its_undoing_may_fail)
{
  int k;

  for (k = 0; fail_step (CREATE, k, 2); ++k)
    ck_assert_int_lt (k, 40);
  ck_assert_int_gt (k, 3);
}
END_TEST

/* From this call of the folder on no file can be synced either; none: -1. */
static atomic_int first_lost_sync = -1;

int
fdatasync (int fd)
{
  int seen;

  (void) pthread_mutex_lock (&calls_lock);
  seen = calls_seen;
  (void) pthread_mutex_unlock (&calls_lock);
  if (first_lost_sync >= 0 && seen >= first_lost_sync) {
    errno = EIO;
    return -1;
  }
  return (int) syscall (SYS_fdatasync, fd);
}

/* It is in the chain when the legs cannot be flushed, nor can it be recorded
 * that it is invalid: it was not taken, and it goes.
 */
START_TEST (one_that_cannot_be_settled_goes)
{
  const struct volume_snapshot_request request = { .name = "b" };
  struct volume_why why = { "" };
  struct volume_device *d;
  struct volume_test t;
  int steps;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, 100);
  take_snapshot (&t, "a");
  put_pattern (t.device, 2, 0, 50);
  watch_calls (-1);
  take_snapshot (&t, "b");
  steps = calls_seen;
  remove_snapshot (&t, "b", 0);
  wait_for_background (&t);

  failing_count = 1000;
  first_lost_sync = steps;
  watch_calls (steps);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), -EIO);
  ck_assert_ptr_nonnull (strstr (why.text, "flushed"));
  ck_assert_int_gt (calls_seen, steps);
  first_lost_sync = -1;
  failing_count = 1;
  watch_calls (-1);

  ck_assert_int_lt (volume_snapshot_rollback (t.volume, "b", 0, &why), 0);
  expect_gone (&t, "b");
  ck_assert_int_eq (volume_device_open (t.volume, "b", false, &d), -ENOENT);
  d = open_device (&t, "a");
  expect_pattern (d, 1, 0, 100);
  volume_device_close (d);
  volume_test_destroy (&t);
}
END_TEST

/* Until its store has gone a snapshot is being removed. */
START_TEST (one_whose_store_stays_is_going)
{
  char store[TEST_PATH_BYTES + 32];
  struct volume_why why = { "" };
  struct volume_test t;

  volume_test_create (&t);
  take_snapshot (&t, "a");
  (void) snprintf (store, sizeof store, "%s/a.cow", t.meta.path);
  ck_assert_int_eq (unlink (store), 0);
  ck_assert_int_eq (mkdir (store, 0700), 0);
  remove_snapshot (&t, "a", 0);
  wait_until (was_said ("a.cow cannot be removed"));
  ck_assert_str_eq (snapshot_state (&t, "a"), "removing");
  ck_assert_int_eq (rmdir (store), 0);
  ck_assert_int_eq (volume_snapshot_remove (t.volume, "a", 0, &why) < 0, 0);
  ck_assert_str_eq (snapshot_state (&t, "a"), "none");
  volume_test_destroy (&t);
}
END_TEST

/* A start asks for a snapshot of which the old one still goes. */
START_TEST (a_start_says_what_it_does_not_take)
{
  static const char *const keys[] = { "snapshot", "a", "snapshot", "c", NULL };
  struct volume_device *d;
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, 100);
  take_snapshot (&t, "a");
  take_snapshot (&t, "c");
  failing_count = 1000;
  watch_calls (3); /* when "removing" has been recorded */
  remove_snapshot (&t, "c", 0);
  volume_test_stop (&t);
  failing_count = 1;
  watch_calls (-1);
  volume_test_start (&t, keys);
  assert_said ("snapshot=c: is not taken");
  ck_assert (!was_said ("snapshot=a"));
  expect_gone (&t, "c");
  d = open_device (&t, "a");
  expect_pattern (d, 1, 0, 100);
  volume_device_close (d);
  volume_test_destroy (&t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_snapshot_is_a_point_in_time,
    what_cannot_be_taken_is_refused,
    snapshots_go_in_any_order,
    clients_are_in_the_way_or_lose,
    a_chunk_of_any_size_is_handed_down,
    an_older_one_that_is_full_keeps_it,
    a_renamed_snapshot_is_the_same,
    a_store_is_not_lost_by_renaming,
    the_list_tells_all,
    a_store_that_fills_is_told,
    every_step_may_fail,
    a_step_and_its_undoing_may_fail,
    one_that_cannot_be_settled_goes,
    one_whose_store_stays_is_going,
    a_start_says_what_it_does_not_take,
    NULL,
  };

  return unit_main ("volume_snapshots", tests);
}
