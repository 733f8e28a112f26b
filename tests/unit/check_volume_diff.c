/* Unit tests of diff exports: what of B is not in A.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "volume-test.h"

#define VOLUME_BYTES ((size_t) VOLUME_SECTORS * SECTOR_SIZE)

/*----- rebuilding B out of A -------------------------------------------*/

static void
read_all (struct volume_test *t, const char *name, unsigned char *data)
{
  struct volume_device *d = open_device (t, name);

  ck_assert_int_eq (target_read (d->target, data, 0, VOLUME_SECTORS), 0);
  volume_device_close (d);
}

/* Put what the diff NAME has into DATA.  Returns how many sectors. */
static sector_t
apply_diff (struct volume_test *t, const char *name, unsigned char *data)
{
  static const unsigned char zeroes[VOLUME_BYTES];
  unsigned char buffer[VOLUME_BYTES];
  struct volume_device *d = open_device (t, name);
  bool is_quiet = volume_snapshots_wait (t->volume, 0) == 0;
  sector_t s, changed = 0;
  struct bdev_extent extent;

  ck_assert (d->is_read_only);
  for (s = 0; s < VOLUME_SECTORS; s += extent.count) {
    ck_assert_int_eq (target_extent (d->target, s, VOLUME_SECTORS - s, &extent),
                      0);
    ck_assert_uint_gt (extent.count, 0);
    ck_assert_uint_le (extent.count, VOLUME_SECTORS - s);
    ck_assert_int_eq (target_read (d->target, buffer, s, extent.count), 0);
    /* Larger chunks that are handed down meanwhile become different as
     * a whole.
     */
    if (extent.is_hole && is_quiet)
      ck_assert_mem_eq (buffer, zeroes, sector_to_bytes (extent.count));
    if (extent.is_hole)
      continue;
    memcpy (data + sector_to_bytes (s), buffer, sector_to_bytes (extent.count));
    changed += extent.count;
  }
  volume_device_close (d);
  return changed;
}

/* A and what is different make B. */
static sector_t
check_diff (struct volume_test *t, const char *a, const char *b)
{
  unsigned char from[VOLUME_BYTES], to[VOLUME_BYTES];
  char name[2 * SNAPSHOT_NAME_MAX + 4];
  sector_t changed;

  (void) snprintf (name, sizeof name, "%s..%s", a, b);
  read_all (t, a, from);
  read_all (t, b, to);
  changed = apply_diff (t, name, from);
  ck_assert_msg (memcmp (from, to, sizeof to) == 0, "%s", name);
  return changed;
}

START_TEST (no_more_than_the_changed_chunks)
{
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "a");
  ck_assert_uint_eq (check_diff (&t, "a", ""), 0);
  put_pattern (t.device, 2, 5, 1);
  put_pattern (t.device, 2, 2 * CHUNK_SECTORS - 1, 2);
  take_snapshot (&t, "b");
  put_pattern (t.device, 3, 100 * CHUNK_SECTORS, CHUNK_SECTORS);
  put_pattern (t.device, 3, 0, 1);
  ck_assert_uint_eq (check_diff (&t, "a", "b"), 3 * CHUNK_SECTORS);
  ck_assert_uint_eq (check_diff (&t, "b", ""), 2 * CHUNK_SECTORS);
  ck_assert_uint_eq (check_diff (&t, "a", ""), 4 * CHUNK_SECTORS);
  volume_test_destroy (&t);
}
END_TEST

START_TEST (what_became_a_hole_is_different)
{
  struct range_hold hold;
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "a");
  range_lock_acquire (&t.device->range_lock, &hold, 0, 4 * CHUNK_SECTORS);
  ck_assert_int_eq (target_zero (t.device->target, 0, 4 * CHUNK_SECTORS,
                                 BDEV_UNMAP),
                    0);
  range_lock_release (&t.device->range_lock, &hold);
  ck_assert_uint_eq (check_diff (&t, "a", ""), 4 * CHUNK_SECTORS);
  volume_test_destroy (&t);
}
END_TEST

/* Chains of chunks of all sizes, of which snapshots are written to, and go. */
#define CHAIN 5

START_TEST (any_two_of_a_chain)
{
  static const uint64_t chunks[] = { 4096, 65536, 8192, 4096, 32768 };
  struct chance c = chance_begin ("any_two_of_a_chain");
  struct volume_device *d;
  bool is_there[CHAIN] = { false };
  struct volume_test t;
  unsigned i, k, round;
  char a[8], b[8];

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  for (round = 0; round < CHAIN + 10; ++round) {
    if (round < CHAIN) {
      struct volume_snapshot_request request = { .name = a,
                                                 .chunk_bytes = chunks[round] };
      struct volume_why why;

      (void) snprintf (a, sizeof a, "s%u", round);
      ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 0);
      is_there[round] = true;
    }
    for (i = 0; i < 4; ++i) {
      k = (unsigned) chance_below (&c, CHAIN + 1);
      (void) snprintf (a, sizeof a, "s%u", k);
      if (k < CHAIN && !is_there[k])
        continue;
      d = open_device (&t, k == CHAIN ? "" : a);
      put_pattern (d, 100 + round * 4 + i, chance_below (&c, 900),
                   1 + chance_below (&c, 40));
      volume_device_close (d);
    }
    k = (unsigned) chance_below (&c, CHAIN);
    if (round > CHAIN && is_there[k] && k > 0 && k + 1 < CHAIN) {
      (void) snprintf (a, sizeof a, "s%u", k);
      remove_snapshot (&t, a, 0);
      is_there[k] = false;
    }
    for (i = 0; i < CHAIN; ++i) {
      if (!is_there[i])
        continue;
      (void) snprintf (a, sizeof a, "s%u", i);
      (void) check_diff (&t, a, "");
      for (k = i + 1; k < CHAIN; ++k) {
        (void) snprintf (b, sizeof b, "s%u", k);
        if (is_there[k])
          (void) check_diff (&t, a, b);
      }
    }
  }
  volume_test_destroy (&t);
}
END_TEST

/*----- what there is ---------------------------------------------------*/

static int
join_names (void *opaque, const char *name, const char *description)
{
  char *all = opaque;

  ck_assert_str_ne (description, "");
  strcat (all, "[");
  strcat (all, name);
  strcat (all, "]");
  return 0;
}

START_TEST (neighbours_are_listed)
{
  char all[200] = "";
  struct volume_test t;

  volume_test_create (&t);
  take_snapshot (&t, "a");
  take_snapshot (&t, "b");
  take_snapshot (&t, "c");
  ck_assert_int_eq (volume_each_export (t.volume, join_names, all), 0);
  ck_assert_str_eq (all, "[][c][b][a][c..][b..][b..c][a..][a..b]");
  volume_test_destroy (&t);
}
END_TEST

/* A name may end in a dot, and be another one's with a dot more. */
START_TEST (names_that_end_in_a_dot)
{
  static const char *const names[] = { "a.", "b", "a", "b." };
  struct volume_test t;
  unsigned i, j;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  for (i = 0; i < ARRAY_COUNT (names); ++i) {
    take_snapshot (&t, names[i]);
    put_pattern (t.device, i + 2, i * CHUNK_SECTORS, 1);
  }
  for (i = 0; i < ARRAY_COUNT (names); ++i) {
    for (j = i + 1; j < ARRAY_COUNT (names); ++j)
      ck_assert_uint_eq (check_diff (&t, names[i], names[j]),
                         (j - i) * CHUNK_SECTORS);
    ck_assert_uint_eq (check_diff (&t, names[i], ""),
                       (ARRAY_COUNT (names) - i) * CHUNK_SECTORS);
  }
  volume_test_destroy (&t);
}
END_TEST

START_TEST (senseless_ones_are_refused)
{
  static const struct {
    const char *name;
    int result;
    const char *why;
  } cases[] = {
    { "b..a", -EINVAL, "open 'a..b'" },
    { "a..a", -EINVAL, "second; open 'a..' for" },
    { "..", -ENOENT, "none of that name" },
    { "..a", -ENOENT, "none of that name" },
    { "a..x", -ENOENT, "none of that name" },
    { "x..", -ENOENT, "none of that name" },
    { "a...", -ENOENT, "none of that name" },
    { "...a", -ENOENT, "none of that name" },
    { "....", -ENOENT, "none of that name" },
    { "a..b..", -ENOENT, "none of that name" },
    { "\n..\n", -ENOENT, "export '?': there is none" },
    { "broken..b", -EIO, "export 'broken': the snapshot is invalid" },
    { "broken..", -EIO, "full" },
    { "0123456789012345678901234567890123456789012345678901234567890123456789"
      "..",
      -ENOENT, "none of that name" },
  };
  struct volume_snapshot_request request = { .name = "broken",
                                             .cow_bytes = 3 * 4096 };
  struct volume_why why;
  struct volume_test t;
  unsigned i;

  volume_test_create (&t);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &request, &why), 0);
  put_pattern (t.device, 1, 0, 100);
  take_snapshot (&t, "a");
  take_snapshot (&t, "b");
  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct volume_device *d;

    capture_messages ();
    ck_assert_int_eq (volume_device_open (t.volume, cases[i].name, false, &d),
                      cases[i].result);
    assert_said (cases[i].why);
  }
  volume_test_destroy (&t);
}
END_TEST

START_TEST (who_has_a_diff_has_both)
{
  struct volume_why why = { "" };
  struct volume_device *d;
  struct bdev_extent extent;
  char data[SECTOR_SIZE] = "";
  struct volume_test t;

  volume_test_create (&t);
  take_snapshot (&t, "a");
  take_snapshot (&t, "b");
  put_pattern (t.device, 1, 0, 10);
  d = open_device (&t, "a..b");
  ck_assert_int_eq (device_write (d, data, 0, 1), -EROFS);
  ck_assert_int_eq (target_zero (d->target, 0, 1, 0), -EROFS);
  ck_assert_int_eq (target_flush (d->target), 0);
  ck_assert_int_eq (volume_snapshot_remove (t.volume, "a", 0, &why), -EBUSY);
  ck_assert_int_eq (volume_snapshot_remove (t.volume, "b", 0, &why), -EBUSY);
  remove_snapshot (&t, "b", VOLUME_SNAPSHOT_FORCE);
  ck_assert_int_eq (target_extent (d->target, 0, 1, &extent), -EIO);
  ck_assert_int_eq (target_read (d->target, data, 0, 1), -EIO);
  volume_device_close (d);
  d = open_device (&t, "a..");
  expect_pattern (d, 1, 0, 10);
  remove_snapshot (&t, "a", VOLUME_SNAPSHOT_FORCE);
  wait_for_background (&t);
  ck_assert_int_eq (target_extent (d->target, 0, 1, &extent), -EIO);
  volume_device_close (d);
  volume_test_destroy (&t);
}
END_TEST

/* The manifest, put back as it was: what a kill leaves. */
#define MANIFEST_ROOM 65536
struct old_manifest {
  char path[TEST_PATH_BYTES + 32];
  char text[MANIFEST_ROOM];
  size_t size;
};

static void
remember_manifest (const struct volume_test *t, struct old_manifest *m)
{
  FILE *f;

  (void) snprintf (m->path, sizeof m->path, "%s/volume.json", t->meta.path);
  f = fopen (m->path, "r");
  ck_assert_ptr_nonnull (f);
  m->size = fread (m->text, 1, sizeof m->text, f);
  ck_assert (feof (f));
  ck_assert_int_eq (fclose (f), 0);
}

static void
put_back_manifest (const struct old_manifest *m)
{
  FILE *f = fopen (m->path, "w");

  ck_assert_ptr_nonnull (f);
  ck_assert_uint_eq (fwrite (m->text, 1, m->size, f), m->size);
  ck_assert_int_eq (fclose (f), 0);
}

/* Open NAME while the manifest cannot be written. */
static int
open_unrecorded (struct volume_test *t, const char *name, bool may_write)
{
  struct volume_device *d;
  int r;

  watch_calls (0);
  r = volume_device_open (t->volume, name, may_write, &d);
  watch_calls (-1);
  if (r == 0)
    volume_device_close (d);
  return r;
}

/* Where the legs may differ, which one is read is recorded first. */
START_TEST (readers_after_a_crash_start_the_volume)
{
  static const char *const readers[] = { "a", "a..", "a..b" };
  const struct volume_snapshot_request a = { .name = "a",
                                             .is_read_only = true };
  struct volume_why why = { "" };
  struct old_manifest manifest;
  struct volume_test t;
  unsigned i;

  volume_test_create (&t);
  ck_assert_int_eq (volume_snapshot_create (t.volume, &a, &why), 0);
  take_snapshot (&t, "b");
  remember_manifest (&t, &manifest);
  volume_test_stop (&t);

  /* After a stop in good order all legs are equal. */
  ck_assert_int_eq (volume_test_try (&t, NULL), 0);
  ck_assert_int_eq (open_unrecorded (&t, "a", true), 0);
  volume_close (t.volume);

  put_back_manifest (&manifest);
  for (i = 0; i < ARRAY_COUNT (readers); ++i) {
    ck_assert_int_eq (volume_test_try (&t, NULL), 0);
    ck_assert_int_eq (open_unrecorded (&t, readers[i], true), -EIO);
    ck_assert_int_eq (open_unrecorded (&t, readers[i], false), 0); /* -r */
    volume_close (t.volume);
  }
  volume_test_start (&t, NULL);
  volume_test_destroy (&t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    no_more_than_the_changed_chunks,
    what_became_a_hole_is_different,
    any_two_of_a_chain,
    neighbours_are_listed,
    names_that_end_in_a_dot,
    senseless_ones_are_refused,
    who_has_a_diff_has_both,
    readers_after_a_crash_start_the_volume,
    NULL,
  };

  return unit_main ("volume_diff", tests);
}
