/* Unit tests of what an administrator does to the legs of a volume.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "descriptors-test.h"
#include "volume-admin.h"
#include "volume-impl.h"
#include "volume-test.h"

#define SIZE ((size_t) VOLUME_SECTORS * SECTOR_SIZE)

/*----- files and volumes -----------------------------------------------*/

struct name {
  char path[TEST_PATH_BYTES + 64];
};

static struct name
path_of (struct volume_test *t, const char *file)
{
  struct name n;

  (void) snprintf (n.path, sizeof n.path, "%s/%s", t->meta.parent, file);
  return n;
}

/* A file of BYTES that are something. */
static struct name
make_file (struct volume_test *t, const char *file, size_t bytes)
{
  unsigned char *data = malloc (bytes + 1);
  struct name n = path_of (t, file);
  FILE *f = fopen (n.path, "w");

  memset (data, 0xa5, bytes);
  ck_assert_ptr_nonnull (f);
  ck_assert_uint_eq (fwrite (data, 1, bytes, f), bytes);
  ck_assert_int_eq (fclose (f), 0);
  free (data);
  return n;
}

static unsigned char *
read_file (struct volume_test *t, const char *file)
{
  unsigned char *data = malloc (SIZE);
  FILE *f = fopen (path_of (t, file).path, "r");

  ck_assert_ptr_nonnull (f);
  ck_assert_uint_eq (fread (data, 1, SIZE, f), SIZE);
  ck_assert_int_eq (fclose (f), 0);
  return data;
}

static void
assert_same_files (struct volume_test *t, const char *a, const char *b)
{
  unsigned char *x = read_file (t, a), *y = read_file (t, b);

  ck_assert_mem_eq (x, y, SIZE);
  free (x);
  free (y);
}

/* Start a server on these legs, which are those that there should be. */
static void
start_with (struct volume_test *t, const char *const *files)
{
  struct volume_spec spec;

  volume_spec_init (&spec);
  for (; *files != NULL; ++files)
    volume_test_key (&spec, "leg", path_of (t, *files).path);
  volume_test_key (&spec, "meta", t->meta.path);
  ck_assert_int_eq (volume_open (&spec, &t->volume), 0);
  volume_spec_free (&spec);
  t->device = open_device (t, "");
}

static struct mirror_status
status_of (struct volume_test *t)
{
  struct mirror_status status;

  mirror_get_status (volume_get_mirror (t->volume), &status);
  return status;
}

static enum leg_state
state_of (struct volume_test *t, unsigned leg)
{
  return status_of (t).legs[leg].state;
}

static bool
all_in_sync (struct volume_test *t)
{
  struct mirror_status status = status_of (t);
  unsigned i;

  for (i = 0; i < status.leg_count; ++i)
    if (status.legs[i].state == LEG_RECOVERING)
      return false;
  return status.regions_in_sync == status.regions_total;
}

#define wait_for_sync(t) wait_until (all_in_sync (t))

/* What the manifest has, as "a.img insync, b.img failed". */
static void
assert_manifest (struct volume_test *t, const char *expected)
{
  static const char *const states[] = { "insync", "recovering", "failed" };
  char text[1000] = "";
  unsigned i;

  mutex_lock (&t->volume->manifest_lock);
  for (i = 0; i < t->volume->manifest->leg_count; ++i) {
    const struct manifest_leg *leg = &t->volume->manifest->legs[i];

    snprintf (text + strlen (text), sizeof text - strlen (text), "%s%s %s",
              i > 0 ? ", " : "", strrchr (leg->spec, '/') + 1,
              states[leg->state]);
  }
  mutex_unlock (&t->volume->manifest_lock);
  ck_assert_str_eq (text, expected);
}

/* These calls succeed. */
#define done(call) \
  do { \
    struct volume_why why_ = { "" }, *why = &why_; \
    int r_ = (call); \
    ck_assert_msg (r_ == 0, "%s: %d, %s", #call, r_, why_.text); \
  } while (0)

/* These are refused with that error, or need not do anything (1), and say
 * both texts.
 */
#define refused(call, error, text1, text2) \
  do { \
    struct volume_why why_ = { "" }, *why = &why_; \
    int r_ = (call); \
    ck_assert_msg (r_ == (error), "%s: %d, %s", #call, r_, why_.text); \
    ck_assert_msg (strstr (why_.text, (text1)) != NULL && \
                     strstr (why_.text, (text2)) != NULL, \
                   "%s: %s", #call, why_.text); \
  } while (0)

/*----- what they do ----------------------------------------------------*/

START_TEST (a_leg_is_added_and_removed)
{
  static const char *const three[] = { "c.img", "a.img", "b.img", NULL };
  static const char *const two[] = { "b.img", "c.img", NULL };
  struct volume_test t;
  unsigned leg;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  make_file (&t, "c.img", SIZE);
  done (volume_leg_add (t.volume, path_of (&t, "c.img").path, &leg, why));
  ck_assert_uint_eq (leg, 2);
  wait_for_sync (&t);
  assert_manifest (&t, "a.img insync, b.img insync, c.img insync");
  put_pattern (t.device, 2, 100, 20);
  volume_test_stop (&t);
  assert_same_files (&t, "a.img", "c.img");

  /* It is one of them now; and it was a clean stop. */
  start_with (&t, three);
  ck_assert_uint_eq (status_of (&t).regions_in_sync,
                     status_of (&t).regions_total);
  assert_manifest (&t, "c.img insync, a.img insync, b.img insync");
  done (volume_leg_remove (t.volume, 1, why));
  assert_manifest (&t, "c.img insync, b.img insync");
  assert_said ("I: leg 1 (");
  put_pattern (t.device, 3, 200, 20);
  done (volume_leg_fail (t.volume, 2, why));
  assert_manifest (&t, "c.img insync, b.img failed");
  done (volume_leg_rejoin (t.volume, 2, why));
  wait_for_sync (&t);
  assert_manifest (&t, "c.img insync, b.img insync");
  volume_test_stop (&t);
  assert_same_files (&t, "b.img", "c.img");

  start_with (&t, two);
  expect_pattern (t.device, 1, 0, 100);
  expect_pattern (t.device, 2, 100, 20);
  expect_pattern (t.device, 3, 200, 20);
  volume_test_destroy (&t);
}
END_TEST

/* A new one in a gap: its number, and its place in the manifest. */
START_TEST (gaps_are_filled)
{
  static const char *const legs[] = { "a.img", "d.img", "c.img", NULL };
  struct volume_test t;
  unsigned leg;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  make_file (&t, "c.img", SIZE);
  make_file (&t, "d.img", SIZE + 4096);
  done (volume_leg_add (t.volume, path_of (&t, "c.img").path, &leg, why));
  wait_for_sync (&t);
  /* The primary is the second of two, then the first, then gone. */
  done (volume_leg_fail (t.volume, 0, why));
  ck_assert_uint_eq (t.volume->manifest->primary, 1);
  done (volume_leg_remove (t.volume, 1, why));
  assert_manifest (&t, "a.img failed, c.img insync");
  ck_assert_uint_eq (t.volume->manifest->primary, 1);
  done (volume_leg_add (t.volume, path_of (&t, "d.img").path, &leg, why));
  ck_assert_uint_eq (leg, 1);
  ck_assert_uint_eq (t.volume->manifest->primary, 2);
  done (volume_leg_rejoin (t.volume, 0, why));
  wait_for_sync (&t);
  assert_manifest (&t, "a.img insync, d.img insync, c.img insync");
  done (volume_leg_fail (t.volume, 2, why));
  ck_assert_uint_eq (t.volume->manifest->primary, 0);
  done (volume_leg_rejoin (t.volume, 2, why));
  wait_for_sync (&t);
  volume_test_stop (&t);
  assert_same_files (&t, "a.img", "c.img");
  assert_same_files (&t, "a.img", "d.img");
  start_with (&t, legs);
  ck_assert_uint_eq (status_of (&t).regions_in_sync,
                     status_of (&t).regions_total);
  volume_test_destroy (&t);
}
END_TEST

START_TEST (a_leg_is_replaced)
{
  static const char *const legs[] = { "c.img", "b.img", NULL };
  struct volume_test t;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  make_file (&t, "c.img", SIZE);
  done (volume_leg_replace (t.volume, 0, path_of (&t, "c.img").path, why));
  ck_assert_uint_eq (t.volume->manifest->primary, 1);
  put_pattern (t.device, 2, 100, 20);
  wait_for_sync (&t);
  assert_manifest (&t, "c.img insync, b.img insync");
  volume_test_stop (&t);
  assert_same_files (&t, "b.img", "c.img");
  start_with (&t, legs);
  /* A file of the same name that is another one is another one. */
  done (volume_leg_fail (t.volume, 0, why));
  ck_assert_int_eq (remove (path_of (&t, "c.img").path), 0);
  make_file (&t, "c.img", SIZE);
  refused (volume_leg_rejoin (t.volume, 0, why), -ESTALE, "c.img",
           "replace it");
  ck_assert_int_eq (state_of (&t, 0), LEG_FAILED);
  done (volume_leg_replace (t.volume, 0, path_of (&t, "c.img").path, why));
  wait_for_sync (&t);
  volume_test_stop (&t);
  assert_same_files (&t, "b.img", "c.img");
  start_with (&t, legs);
  volume_test_destroy (&t);
}
END_TEST

/* While it is out the file may go, and come back. */
START_TEST (a_leg_rejoins_when_it_is_there_again)
{
  struct name b, elsewhere;
  struct volume_test t;

  volume_test_create (&t);
  b = path_of (&t, "b.img");
  elsewhere = path_of (&t, "elsewhere.img");
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  done (volume_leg_fail (t.volume, 1, why));
  ck_assert_int_eq (rename (b.path, elsewhere.path), 0);
  put_pattern (t.device, 2, 300, 50);
  refused (volume_leg_rejoin (t.volume, 1, why), -ENOENT, "b.img",
           "put it back");
  ck_assert_int_eq (state_of (&t, 1), LEG_FAILED);
  ck_assert_int_eq (rename (elsewhere.path, b.path), 0);
  done (volume_leg_rejoin (t.volume, 1, why));
  wait_for_sync (&t);
  put_pattern (t.device, 3, 400, 50);
  volume_test_stop (&t);
  assert_same_files (&t, "a.img", "b.img");
  volume_test_start (&t, NULL);
  ck_assert_int_eq (state_of (&t, 1), LEG_IN_SYNC);
  volume_test_destroy (&t);
}
END_TEST

/* Somebody has written to it meanwhile: it does not rejoin, but may be filled
 * as a new one, as it is told.
 */
START_TEST (a_leg_takes_its_own_place)
{
  struct name b;
  struct volume_test t;
  FILE *f;

  volume_test_create (&t);
  b = path_of (&t, "b.img");
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  refused (volume_leg_replace (t.volume, 1, b.path, why), -EEXIST, "b.img",
           "is leg 1 already; give another");
  volume_test_stop (&t);
  f = fopen (b.path, "r+");
  ck_assert_ptr_nonnull (f);
  volume_test_start (&t, NULL);
  done (volume_leg_fail (t.volume, 1, why));
  put_pattern (t.device, 2, 300, 50);
  ck_assert_int_eq (fputc ('?', f), '?');
  ck_assert_int_eq (fclose (f), 0);
  done (volume_leg_replace (t.volume, 1, b.path, why));
  wait_for_sync (&t);
  volume_test_stop (&t);
  assert_same_files (&t, "a.img", "b.img");
  meta_test_destroy (&t.meta);
}
END_TEST

START_TEST (a_scrub_repairs)
{
  struct volume_test t;
  FILE *f;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  refused (volume_scrub_stop (t.volume, why), 1, "no scrub", "running");
  f = fopen (path_of (&t, "b.img").path, "r+");
  ck_assert_ptr_nonnull (f);
  ck_assert_int_eq (fseek (f, 5000, SEEK_SET), 0);
  ck_assert_int_eq (fputc ('?', f), '?');
  ck_assert_int_eq (fclose (f), 0);
  done (volume_scrub_start (t.volume, SCRUB_CHECK, why));
  wait_until (!status_of (&t).scrub.is_running);
  ck_assert_uint_eq (status_of (&t).scrub.mismatches, 1);
  done (volume_scrub_start (t.volume, SCRUB_REPAIR, why));
  wait_until (!status_of (&t).scrub.is_running);
  ck_assert_uint_eq (status_of (&t).scrub.repaired, 1);
  done (volume_leg_fail (t.volume, 1, why));
  refused (volume_scrub_start (t.volume, SCRUB_CHECK, why), -EINVAL,
           "nothing to compare", "add a leg");
  volume_test_stop (&t);
  assert_same_files (&t, "a.img", "b.img");
  meta_test_destroy (&t.meta);
}
END_TEST

START_TEST (the_resync_is_directed)
{
  struct volume_test t;

  volume_test_create (&t);
  refused (volume_resync_start (t.volume, why), 1, "in sync", "already");
  refused (volume_resync_resume (t.volume, why), 1, "not", "paused");
  done (volume_resync_set_rate (t.volume, 4096, why));
  refused (volume_resync_set_rate (t.volume, 4096, why), 1, "rate", "already");
  done (volume_resync_set_rate (t.volume, 0, why));
  done (volume_resync_pause (t.volume, why));
  refused (volume_resync_pause (t.volume, why), 1, "paused", "already");
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  done (volume_leg_fail (t.volume, 1, why));
  put_pattern (t.device, 2, 0, 10);
  done (volume_leg_rejoin (t.volume, 1, why));
  ck_assert (status_of (&t).is_paused);
  ck_assert_int_eq (state_of (&t, 1), LEG_RECOVERING);
  done (volume_resync_start (t.volume, why));
  wait_for_sync (&t);
  volume_test_stop (&t);
  assert_same_files (&t, "a.img", "b.img");
  meta_test_destroy (&t.meta);
}
END_TEST

/*----- what they refuse ------------------------------------------------*/

START_TEST (what_is_refused_changes_nothing)
{
  struct name fifo, folder, link_to_a, odd, small, store, ten;
  struct volume_test t;
  unsigned char *after;
  unsigned leg, i;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  take_snapshot (&t, "monday");
  fifo = path_of (&t, "fifo");
  ck_assert_int_eq (mkfifo (fifo.path, 0600), 0);
  folder = path_of (&t, "folder");
  ck_assert_int_eq (mkdir (folder.path, 0700), 0);
  link_to_a = path_of (&t, "link.img");
  ck_assert_int_eq (symlink ("a.img", link_to_a.path), 0);
  odd = make_file (&t, "odd.img", SIZE + 1);
  small = make_file (&t, "small.img", SIZE - SECTOR_SIZE);
  store = path_of (&t, "meta/monday.cow");

  refused (volume_leg_add (t.volume, path_of (&t, "none.img").path, &leg, why),
           -ENOENT, "none.img", "truncate -s");
  refused (volume_leg_add (t.volume, path_of (&t, "no/ne.img").path, &leg, why),
           -ENOENT, "no/ne.img", "folder does not exist");
  refused (volume_leg_add (t.volume, folder.path, &leg, why), -EISDIR, "folder",
           "give a file or a block device");
  refused (volume_leg_add (t.volume, fifo.path, &leg, why), -ENOTBLK, "fifo",
           "give one");
  refused (volume_leg_add (t.volume, odd.path, &leg, why), -EINVAL, "odd.img",
           "truncate -s %512");
  refused (volume_leg_add (t.volume, small.path, &leg, why), -EINVAL,
           "small.img", "truncate -s 524288");
  refused (volume_leg_add (t.volume, store.path, &leg, why), -EEXIST,
           "monday.cow", "in the volume's folder");
  refused (volume_leg_add (t.volume, path_of (&t, "b.img").path, &leg, why),
           -EEXIST, "is leg 1 already", "give another");
  refused (volume_leg_add (t.volume, link_to_a.path, &leg, why), -EEXIST,
           "is leg 0 already", "give another");
  refused (volume_leg_add (t.volume, "", &leg, why), -EINVAL, "no name",
           "give a file");
  refused (volume_leg_replace (t.volume, 1, path_of (&t, "b.img").path, why),
           -EEXIST, "is leg 1 already", "give another");
  refused (volume_leg_replace (t.volume, 1, path_of (&t, "a.img").path, why),
           -EEXIST, "is leg 0 already", "give another");
  refused (volume_leg_replace (t.volume, 1, small.path, why), -EINVAL,
           "small.img", "truncate -s 524288");
  refused (volume_leg_replace (t.volume, 2, odd.path, why), -EINVAL,
           "leg 2: there is no such leg", "give one of 0, 1");
  refused (volume_leg_fail (t.volume, 7, why), -EINVAL,
           "leg 7: there is no such leg", "give one of 0, 1");
  refused (volume_leg_remove (t.volume, UINT32_MAX, why), -EINVAL,
           "no such leg", "give one of 0, 1");
  refused (volume_leg_rejoin (t.volume, 2, why), -EINVAL, "no such leg",
           "give one of 0, 1");
  refused (volume_leg_rejoin (t.volume, 1, why), 1, "leg 1", "in use already");
  assert_manifest (&t, "a.img insync, b.img insync");

  done (volume_leg_fail (t.volume, 1, why));
  refused (volume_leg_fail (t.volume, 1, why), 1, "leg 1", "failed already");
  refused (volume_leg_fail (t.volume, 0, why), -EBUSY, "last one in sync",
           "add a leg");
  refused (volume_leg_remove (t.volume, 0, why), -EBUSY, "last one in sync",
           "add a leg");
  make_file (&t, "ten.img", SIZE);
  ten = path_of (&t, "ten.img");
  refused (volume_leg_replace (t.volume, 0, ten.path, why), -EBUSY,
           "last one in sync", "add a leg");
  assert_manifest (&t, "a.img insync, b.img failed");
  done (volume_leg_rejoin (t.volume, 1, why));

  for (i = 2; i < MIRROR_MAX_LEGS; ++i) {
    char name[16];

    snprintf (name, sizeof name, "more%u.img", i);
    make_file (&t, name, SIZE);
    done (volume_leg_add (t.volume, path_of (&t, name).path, &leg, why));
  }
  refused (volume_leg_add (t.volume, ten.path, &leg, why), -E2BIG,
           "the volume has 9 legs", "remove one");
  wait_for_sync (&t);
  after = read_file (&t, "ten.img");
  for (i = 0; i < SIZE; ++i)
    quick_assert (after[i] == 0xa5);
  free (after);
  volume_test_destroy (&t);
}
END_TEST

START_TEST (a_volume_that_is_read_only_is_left_alone)
{
  struct volume_test t;
  unsigned leg;

  volume_test_create (&t);
  volume_test_stop (&t);
  ck_assert_int_eq (volume_test_try (&t, NULL), 0);
  t.volume->is_read_only = true;
  t.volume->read_only_reason = "a leg cannot be written";
  refused (volume_leg_fail (t.volume, 1, why), -EROFS,
           "a leg cannot be written", "start the server again");
  refused (volume_leg_remove (t.volume, 1, why), -EROFS, "read-only", "make");
  refused (volume_leg_add (t.volume, "x.img", &leg, why), -EROFS, "read-only",
           "make");
  refused (volume_leg_replace (t.volume, 1, "x.img", why), -EROFS, "read-only",
           "make");
  refused (volume_leg_rejoin (t.volume, 1, why), -EROFS, "read-only", "make");
  refused (volume_resync_start (t.volume, why), -EROFS, "read-only", "make");
  refused (volume_scrub_start (t.volume, SCRUB_REPAIR, why), -EROFS,
           "read-only", "make");
  /* To look changes nothing. */
  done (volume_scrub_start (t.volume, SCRUB_CHECK, why));
  volume_stop (t.volume);
  volume_close (t.volume);
  meta_test_destroy (&t.meta);
}
END_TEST

/*----- what cannot be recorded -----------------------------------------*/

static int
do_change (struct volume_test *t, unsigned what, struct volume_why *why)
{
  unsigned leg;

  switch (what) {
  case 0:
    return volume_leg_add (t->volume, path_of (t, "c.img").path, &leg, why);
  case 1:
    return volume_leg_replace (t->volume, 1, path_of (t, "c.img").path, why);
  case 2:
    return volume_leg_remove (t->volume, 1, why);
  case 3:
    return volume_leg_fail (t->volume, 1, why);
  default:
    return volume_leg_rejoin (t->volume, 1, why);
  }
}

/* Each call by which the manifest is saved fails in turn: the change is
 * refused, the volume is as it was, and the next try succeeds.
 */
START_TEST (a_change_that_cannot_be_recorded_is_none)
{
  static const char *const after[] = {
    "a.img insync, b.img insync, c.img insync", "a.img insync, c.img insync",
    "a.img insync", "a.img insync, b.img failed", "a.img insync, b.img insync"
  };
  unsigned what;
  int k;

  for (what = 0; what < ARRAY_COUNT (after); ++what)
    for (k = 0; k < 3; ++k) {
      struct volume_why told = { "" };
      struct volume_test t;
      const char *before = what == 4 ? "a.img insync, b.img failed"
                                     : "a.img insync, b.img insync";
      int r;

      volume_test_create (&t);
      put_pattern (t.device, 1, 0, VOLUME_SECTORS);
      make_file (&t, "c.img", SIZE);
      if (what == 4)
        done (volume_leg_fail (t.volume, 1, why));
      watch_calls (k + (what < 2 ? 1 : 0)); /* c.img's folder is synced first */
      r = do_change (&t, what, &told);
      watch_calls (-1);
      ck_assert_msg (r < 0, "%u %d: %d %s", what, k, r, calls_text);
      ck_assert_ptr_nonnull (strstr (told.text, "nothing has changed"));
      assert_manifest (&t, before);
      put_pattern (t.device, 2, 100, 30);
      ck_assert_int_eq (target_flush (t.device->target), 0);
      r = do_change (&t, what, &told);
      ck_assert_msg (r == 0, "%s", told.text);
      wait_for_sync (&t);
      assert_manifest (&t, after[what]);
      expect_pattern (t.device, 2, 100, 30);
      volume_test_destroy (&t);
    }
}
END_TEST

/*----- descriptors -----------------------------------------------------*/

enum descriptor_use { USE_REJOIN, USE_ADD, USE_REPLACE, USES };

static int
use_descriptors (struct volume_test *t, enum descriptor_use use,
                 const char *other, struct volume_why *why)
{
  unsigned leg;

  why->text[0] = '\0';
  switch (use) {
  case USE_REJOIN:
    return volume_leg_rejoin (t->volume, 1, why);
  case USE_ADD:
    return volume_leg_add (t->volume, other, &leg, why);
  default:
    return volume_leg_replace (t->volume, 1, other, why);
  }
}

/* A leg is about to come in, and COUNT more files may be open.  Returns false
 * if that is enough.
 */
static bool
too_few (bool is_forgetful, enum descriptor_use use, unsigned count)
{
  static const char *const keys[] = { "sync", "none", NULL };
  struct volume_why told;
  struct volume_test t;
  struct name other;
  int r;

  if (is_forgetful)
    volume_test_create_forgetful (&t, keys);
  else
    volume_test_create (&t);
  other = make_file (&t, "c.img", SIZE);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  done (volume_leg_fail (t.volume, 1, why));
  put_pattern (t.device, 2, 300, 50);
  descriptors_leave (count);
  r = use_descriptors (&t, use, other.path, &told);
  descriptors_allow ();
  if (r < 0) {
    ck_assert_int_eq (r, -EMFILE);
    ck_assert_msg (strstr (told.text, "'ulimit -n'") != NULL &&
                     strstr (told.text, "try again") != NULL &&
                     strstr (told.text, "the name") == NULL,
                   "%s", told.text);
    ck_assert_int_eq (state_of (&t, 1), LEG_FAILED);
    ck_assert_uint_eq (status_of (&t).leg_count, 2);
    /* Nothing is lost: it can be done later. */
    ck_assert_msg (use_descriptors (&t, use, other.path, &told) == 0, "%s",
                   told.text);
  }
  wait_for_sync (&t);
  expect_pattern (t.device, 2, 300, 50);
  volume_test_stop (&t);
  assert_same_files (&t, "a.img", use == USE_REJOIN ? "b.img" : "c.img");
  meta_test_destroy (&t.meta);
  return r < 0;
}

START_TEST (descriptors_run_out)
{
  enum descriptor_use use;
  unsigned is_forgetful, count;

  for (is_forgetful = 0; is_forgetful < 2; ++is_forgetful)
    for (use = 0; use < USES; ++use) {
      for (count = 0; too_few (is_forgetful, use, count); ++count)
        ck_assert_uint_lt (count, 10);
      ck_assert_uint_gt (count, 0);
    }
}
END_TEST

/* A leg that fails then must still be recorded, or clients would get errors
 * that the other leg could spare them.
 */
START_TEST (a_leg_fails_when_descriptors_have_run_out)
{
  struct volume_test t;
  unsigned i;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  for (i = 0; i < 3; ++i) {
    ck_assert_int_eq (truncate (path_of (&t, "b.img").path, 0), 0);
    descriptors_leave (0);
    put_pattern (t.device, 2 + i, VOLUME_SECTORS - 8, 8);
    descriptors_allow ();
    ck_assert_int_eq (state_of (&t, 1), LEG_FAILED);
    assert_manifest (&t, "a.img insync, b.img failed");
    /* It can be done more than once. */
    ck_assert_int_eq (remove (path_of (&t, "b.img").path), 0);
    done (volume_leg_replace (t.volume, 1, make_file (&t, "b.img", SIZE).path,
                              why));
    wait_for_sync (&t);
  }
  volume_test_destroy (&t);
}
END_TEST

/*----- beside clients --------------------------------------------------*/

struct writer {
  struct thread thread;
  struct volume_device *device;
  sector_t first; /* 200 sectors are its own */
  struct chance chance;
  atomic_bool *must_end;
  bool is_wrong;
};

static void
writer_main (void *arg)
{
  unsigned char data[4 * SECTOR_SIZE], got[4 * SECTOR_SIZE];
  struct writer *w = arg;

  while (!atomic_load (w->must_end)) {
    sector_t sector = w->first + chance_below (&w->chance, 196);

    fill_pattern (data, chance_next (&w->chance), sector, 4);
    if (device_write (w->device, data, sector, 4) != 0 ||
        target_read (w->device->target, got, sector, 4) != 0 ||
        memcmp (data, got, sizeof got) != 0)
      w->is_wrong = true;
  }
}

START_TEST (all_of_it_beside_clients)
{
  static const char *const legs[] = { "c.img", "b.img", NULL };
  struct chance chance = chance_begin ("all_of_it_beside_clients");
  atomic_bool must_end = false;
  struct writer writers[4];
  struct volume_test t;
  unsigned leg, i;

  volume_test_create (&t);
  for (i = 0; i < ARRAY_COUNT (writers); ++i) {
    writers[i] = (struct writer){ .device = t.device, .first = i * 200 };
    writers[i].chance.state = chance_next (&chance);
    writers[i].must_end = &must_end;
    ck_assert_int_eq (thread_start (&writers[i].thread, "writer", writer_main,
                                    &writers[i]),
                      0);
  }
  make_file (&t, "c.img", SIZE);
  make_file (&t, "d.img", SIZE);
  done (volume_leg_add (t.volume, path_of (&t, "c.img").path, &leg, why));
  wait_for_sync (&t);
  done (volume_leg_fail (t.volume, 0, why));
  done (volume_leg_rejoin (t.volume, 0, why));
  done (volume_scrub_start (t.volume, SCRUB_REPAIR, why));
  wait_for_sync (&t);
  done (volume_leg_replace (t.volume, 0, path_of (&t, "d.img").path, why));
  done (volume_resync_pause (t.volume, why));
  take_snapshot (&t, "monday");
  done (volume_resync_resume (t.volume, why));
  wait_for_sync (&t);
  done (volume_leg_remove (t.volume, 2, why));
  done (volume_leg_replace (t.volume, 0, path_of (&t, "c.img").path, why));
  wait_for_sync (&t);
  atomic_store (&must_end, true);
  for (i = 0; i < ARRAY_COUNT (writers); ++i) {
    thread_join (&writers[i].thread);
    ck_assert (!writers[i].is_wrong);
  }
  ck_assert_uint_eq (status_of (&t).scrub.mismatches, 0);
  volume_test_stop (&t);
  assert_same_files (&t, "b.img", "c.img");
  start_with (&t, legs);
  ck_assert_uint_eq (status_of (&t).regions_in_sync,
                     status_of (&t).regions_total);
  volume_test_destroy (&t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_leg_is_added_and_removed,
    gaps_are_filled,
    a_leg_is_replaced,
    a_leg_rejoins_when_it_is_there_again,
    a_leg_takes_its_own_place,
    a_scrub_repairs,
    the_resync_is_directed,
    what_is_refused_changes_nothing,
    a_volume_that_is_read_only_is_left_alone,
    a_change_that_cannot_be_recorded_is_none,
    descriptors_run_out,
    a_leg_fails_when_descriptors_have_run_out,
    all_of_it_beside_clients,
    NULL,
  };

  return unit_main ("volume-legs", tests);
}
