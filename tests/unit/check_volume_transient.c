/* Unit tests of snapshots without a folder, which end with the server.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "volume-test.h"

/* The file system has no files that never had a name. */
static bool has_no_unnamed;

int
open64 (const char *path, int flags, ...)
{
  va_list args;
  mode_t mode;

  va_start (args, flags);
  mode = va_arg (args, mode_t);
  va_end (args);
  if (has_no_unnamed && (flags & O_TMPFILE) == O_TMPFILE) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return (int) syscall (SYS_openat, AT_FDCWD, path, flags, mode);
}

/* What is in the folder: the legs, and nothing else. */
static void
expect_legs_only (const struct volume_test *t)
{
  DIR *dir = opendir (t->meta.parent);
  const struct dirent *e;

  ck_assert_ptr_nonnull (dir);
  while ((e = readdir (dir)) != NULL)
    ck_assert_msg (e->d_name[0] == '.' || strcmp (e->d_name, "a.img") == 0 ||
                     strcmp (e->d_name, "b.img") == 0,
                   "%s is there", e->d_name);
  closedir (dir);
}

START_TEST (they_are_taken_at_the_start_and_live_and_then_gone)
{
  static const char *const keys[] = { "snapshot", "first", NULL };
  struct volume_status status;
  struct volume_test t;

  volume_test_create_forgetful (&t, keys);
  assert_said ("snapshot first: is transient");
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "second");
  assert_said ("snapshot second: is transient");
  put_pattern (t.device, 2, 100, 200);
  take_snapshot (&t, "third");
  put_pattern (t.device, 3, 150, 10);
  expect_snapshot (&t, "second", 1, 0, VOLUME_SECTORS);
  expect_snapshot (&t, "third", 2, 100, 200);
  expect_pattern (t.device, 3, 150, 10);

  ck_assert_int_eq (volume_get_status (t.volume, &status), 0);
  ck_assert_uint_eq (status.snapshot_count, 3);
  ck_assert_str_eq (status.snapshots[0].name, "third");
  ck_assert_str_eq (status.snapshots[0].state, "valid");
  ck_assert (status.snapshots[0].is_transient);
  /* Chunks 18 and 19 only: a chunk is copied once. */
  ck_assert_uint_eq (status.snapshots[0].chunks, 2);
  ck_assert_uint_eq (status.snapshots[0].used_bytes, 2 * 4096);
  ck_assert_uint_eq (status.snapshots[0].metadata_bytes, 0);
  ck_assert_uint_eq (status.snapshots[0].store_bytes,
                     VOLUME_SECTORS * SECTOR_SIZE);
  volume_status_free (&status);
  expect_legs_only (&t);

  volume_test_stop (&t);
  expect_legs_only (&t);
  volume_test_start (&t, NULL);
  ck_assert_uint_eq (count_snapshots (&t), 0);
  expect_pattern (t.device, 3, 150, 10);
  volume_test_destroy (&t);
}
END_TEST

START_TEST (they_are_written_renamed_compared_and_removed)
{
  struct bdev_extent extent;
  struct volume_device *d;
  struct volume_why why;
  struct volume_test t;

  volume_test_create_forgetful (&t, NULL);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "old");
  put_pattern (t.device, 2, 0, 80);
  take_snapshot (&t, "middle");
  put_pattern (t.device, 3, 40, 80);
  take_snapshot (&t, "new");
  put_pattern (t.device, 4, 60, 4);

  /* A write to one is preserved in the next older one. */
  d = open_device (&t, "middle");
  put_pattern (d, 5, 500, 8);
  ck_assert_int_eq (target_flush (d->target), 0);
  expect_pattern (d, 5, 500, 8);
  volume_device_close (d);
  expect_snapshot (&t, "old", 1, 0, VOLUME_SECTORS);
  expect_snapshot (&t, "new", 1, 500, 8);

  d = open_device (&t, "old..middle");
  ck_assert_int_eq (target_extent (d->target, 0, 80, &extent), 0);
  ck_assert (!extent.is_hole);
  ck_assert_int_eq (target_extent (d->target, 80, 100, &extent), 0);
  ck_assert (extent.is_hole);
  volume_device_close (d);

  ck_assert_int_eq (volume_snapshot_rename (t.volume, "middle", "m", &why), 0);
  ck_assert_int_eq (volume_snapshot_rename (t.volume, "m", "old", &why),
                    -EEXIST);
  expect_snapshot (&t, "m", 2, 0, 40);
  remove_snapshot (&t, "m", 0);
  expect_snapshot (&t, "old", 1, 0, VOLUME_SECTORS);
  wait_for_background (&t);
  expect_snapshot (&t, "old", 1, 0, VOLUME_SECTORS);
  expect_snapshot (&t, "new", 3, 40, 80);
  ck_assert_uint_eq (count_snapshots (&t), 2);
  /* Of the same name again: it has nothing of the other. */
  take_snapshot (&t, "m");
  expect_snapshot (&t, "m", 4, 60, 4);
  remove_snapshot (&t, "new", 0);
  remove_snapshot (&t, "old", 0);
  wait_for_background (&t);
  put_pattern (t.device, 6, 0, VOLUME_SECTORS);
  expect_snapshot (&t, "m", 4, 60, 4);
  volume_test_destroy (&t);
}
END_TEST

/* What is in memory only cannot be gone on with after a crash. */
START_TEST (nothing_is_rolled_back_to_one)
{
  struct volume_why why = { "" };
  struct volume_test t;

  volume_test_create_forgetful (&t, NULL);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "monday");
  put_pattern (t.device, 2, 0, 80);
  ck_assert_int_eq (volume_snapshot_rollback (t.volume, "monday", 0, &why),
                    -EOPNOTSUPP);
  ck_assert_ptr_nonnull (strstr (why.text, "is transient"));
  ck_assert_ptr_nonnull (strstr (why.text, "meta=DIR"));
  expect_pattern (t.device, 2, 0, 80);
  expect_snapshot (&t, "monday", 1, 0, VOLUME_SECTORS);
  volume_test_destroy (&t);
}
END_TEST

static void
fill_up (const char *policy, const char *state, int result)
{
  const char *const keys[] = { "cow-size", "12K", "on-cow-error", policy,
                               NULL };
  unsigned char data[SECTOR_SIZE] = "";
  struct volume_status status;
  struct volume_device *d;
  struct volume_test t;

  volume_test_create_forgetful (&t, keys);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "monday");
  put_pattern (t.device, 2, 0, 3 * CHUNK_SECTORS);
  expect_snapshot (&t, "monday", 1, 0, VOLUME_SECTORS);
  ck_assert_int_eq (device_write (t.device, data, 500, 1), result);
  ck_assert_int_eq (device_write (t.device, data, 8, 1), 0);
  ck_assert_int_eq (volume_get_status (t.volume, &status), 0);
  ck_assert_str_eq (status.snapshots[0].state, state);
  ck_assert_ptr_nonnull (strstr (status.snapshots[0].reason, "full"));
  volume_status_free (&status);
  if (result == 0)
    ck_assert_int_eq (volume_device_open (t.volume, "monday", true, &d), -EIO);
  else
    expect_snapshot (&t, "monday", 1, 0, VOLUME_SECTORS);
  remove_snapshot (&t, "monday", 0);
  wait_for_background (&t);
  ck_assert_int_eq (device_write (t.device, data, 500, 1), 0);
  volume_test_destroy (&t);
}

START_TEST (a_full_one_breaks_or_breaks_the_write)
{
  fill_up ("break-snapshot", "invalid", 0);
  fill_up ("break-guest-write", "overflow", -ENOSPC);
}
END_TEST

START_TEST (their_sizes_are_checked)
{
  struct volume_snapshot_request request = { .name = "a", .cow_bytes = 4095 };
  struct volume_why why = { "" };
  struct volume_test t;

  volume_test_create_forgetful (&t, NULL);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), -EINVAL);
  ck_assert_ptr_nonnull (strstr (why.text, "too small"));
  request.cow_bytes = 4096; /* one chunk, and nothing else */
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 0);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 1);
  volume_test_destroy (&t);
}
END_TEST

START_TEST (without_a_place_there_is_none)
{
  struct volume_snapshot_request request = { .name = "monday" };
  char path[TEST_PATH_BYTES + 16];
  struct volume_why why = { "" };
  struct volume_test t;

  volume_test_create_forgetful (&t, NULL);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  (void) snprintf (path, sizeof path, "%s/none", t.meta.parent);
  ck_assert_int_eq (setenv ("TMPDIR", path, 1), 0);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), -ENOENT);
  assert_said ("set TMPDIR");
  ck_assert_uint_eq (count_snapshots (&t), 0);
  put_pattern (t.device, 2, 0, 80);
  ck_assert_int_eq (setenv ("TMPDIR", t.meta.parent, 1), 0);
  take_snapshot (&t, "monday");
  put_pattern (t.device, 3, 0, 80);
  expect_snapshot (&t, "monday", 2, 0, 80);
  volume_test_destroy (&t);
}
END_TEST

START_TEST (any_file_system_will_do)
{
  struct volume_test t;

  volume_test_create_forgetful (&t, NULL);
  has_no_unnamed = true;
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "monday");
  put_pattern (t.device, 2, 0, 80);
  expect_snapshot (&t, "monday", 1, 0, VOLUME_SECTORS);
  expect_legs_only (&t);
  volume_test_destroy (&t);
  has_no_unnamed = false;
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    they_are_taken_at_the_start_and_live_and_then_gone,
    they_are_written_renamed_compared_and_removed,
    nothing_is_rolled_back_to_one,
    a_full_one_breaks_or_breaks_the_write,
    their_sizes_are_checked,
    without_a_place_there_is_none,
    any_file_system_will_do,
    NULL,
  };

  return unit_main ("volume_transient", tests);
}
