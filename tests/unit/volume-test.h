/* A volume in a folder of its own, for tests of what is done to it live.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The test is nbdkit: it opens devices, and writes to them under a hold.
 */

#ifndef DM_VOLUME_TEST_H
#define DM_VOLUME_TEST_H

#include "config.h"
#include "meta-test.h"
#include "volume-admin-snapshots.h"
#include "volume-jobs.h"
#include "volume-status.h"
#include "volume.h"

#define VOLUME_SECTORS 1024
#define CHUNK_SECTORS 8

struct volume_test {
  struct meta_test meta; /* legs are beside the folder */
  bool is_forgetful;     /* there is no folder */
  struct volume *volume;
  struct volume_device *device; /* the volume, if it is open */
};

static inline void
volume_test_key (struct volume_spec *spec, const char *key, const char *value)
{
  ck_assert_int_eq (config_set (spec, key, value), 0);
}

/* Start a server; KEYS are more of them, in pairs, and a NULL. */
static inline int
volume_test_try (struct volume_test *t, const char *const *keys)
{
  struct volume_spec spec;
  char path[TEST_PATH_BYTES + 16];
  int r;

  volume_spec_init (&spec);
  (void) snprintf (path, sizeof path, "%s/a.img", t->meta.parent);
  volume_test_key (&spec, "leg", path);
  (void) snprintf (path, sizeof path, "%s/b.img", t->meta.parent);
  volume_test_key (&spec, "leg", path);
  volume_test_key (&spec, "size", "1024s");
  if (!t->is_forgetful)
    volume_test_key (&spec, "meta", t->meta.path);
  volume_test_key (&spec, "chunk-size", "4K");
  for (; keys != NULL && *keys != NULL; keys += 2)
    volume_test_key (&spec, keys[0], keys[1]);
  r = volume_open (&spec, &t->volume);
  volume_spec_free (&spec);
  return r;
}

static inline struct volume_device *
open_device (struct volume_test *t, const char *name)
{
  struct volume_device *d;

  ck_assert_int_eq (volume_device_open (t->volume, name, true, &d), 0);
  return d;
}

static inline void
volume_test_start (struct volume_test *t, const char *const *keys)
{
  ck_assert_int_eq (volume_test_try (t, keys), 0);
  t->device = open_device (t, "");
}

static inline void
volume_test_stop (struct volume_test *t)
{
  volume_device_close (t->device);
  volume_stop (t->volume);
  volume_close (t->volume);
}

/* As a server that stops, and starts again. */
static inline void
volume_test_restart (struct volume_test *t)
{
  volume_test_stop (t);
  volume_test_start (t, NULL);
}

static inline void
volume_test_make_folder (struct volume_test *t)
{
  capture_messages ();
  /* What is synced is not looked at, so it need not take long. */
  make_test_folder (access ("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL,
                    t->meta.parent);
  (void) snprintf (t->meta.path, sizeof t->meta.path, "%s/meta",
                   t->meta.parent);
}

static inline void
volume_test_create (struct volume_test *t)
{
  volume_test_make_folder (t);
  t->is_forgetful = false;
  volume_test_start (t, NULL);
}

/* One that remembers nothing; its temporary files are beside the legs. */
static inline void
volume_test_create_forgetful (struct volume_test *t, const char *const *keys)
{
  volume_test_make_folder (t);
  t->is_forgetful = true;
  ck_assert_int_eq (setenv ("TMPDIR", t->meta.parent, 1), 0);
  volume_test_start (t, keys);
}

static inline void
volume_test_destroy (struct volume_test *t)
{
  volume_test_stop (t);
  meta_test_destroy (&t->meta);
}

/* Write as the plugin does. */
static inline int
device_write (struct volume_device *d, const void *data, sector_t sector,
              sector_t count)
{
  struct range_hold hold;
  int r;

  range_lock_acquire (&d->range_lock, &hold, sector, count);
  r = target_write (d->target, data, sector, count, 0);
  range_lock_release (&d->range_lock, &hold);
  return r;
}

/* Write the pattern of SEED. */
static inline void
put_pattern (struct volume_device *d, uint64_t seed, sector_t sector,
             sector_t count)
{
  static unsigned char data[VOLUME_SECTORS * SECTOR_SIZE];

  fill_pattern (data, seed, sector, count);
  ck_assert_int_eq (device_write (d, data, sector, count), 0);
}

/* It is there. */
static inline void
expect_pattern (struct volume_device *d, uint64_t seed, sector_t sector,
                sector_t count)
{
  static unsigned char data[VOLUME_SECTORS * SECTOR_SIZE];

  ck_assert_int_eq (target_read (d->target, data, sector, count), 0);
  ck_assert_uint_eq (first_wrong_sector (data, seed, sector, count),
                     sector + count);
}

static inline void
take_snapshot (struct volume_test *t, const char *name)
{
  const struct volume_snapshot_request request = { .name = name };
  struct volume_why why = { "" };

  ck_assert_msg (volume_snapshot_create (t->volume, &request, &why) == 0, "%s",
                 why.text);
}

static inline void
remove_snapshot (struct volume_test *t, const char *name, unsigned flags)
{
  struct volume_why why = { "" };

  ck_assert_msg (volume_snapshot_remove (t->volume, name, flags, &why) == 0,
                 "%s", why.text);
}

/* As volume_snapshot_rollback; WHY is empty if nothing is said. */
static inline int
roll_back (struct volume_test *t, const char *name, unsigned flags,
           struct volume_why *why)
{
  why->text[0] = '\0';
  return volume_snapshot_rollback (t->volume, name, flags, why);
}

/* "none" if there is none of that name. */
static inline const char *
snapshot_state (struct volume_test *t, const char *name)
{
  struct volume_status status;
  const char *state = "none";
  unsigned i;

  ck_assert_int_eq (volume_get_status (t->volume, &status), 0);
  for (i = 0; i < status.snapshot_count; ++i)
    if (strcmp (status.snapshots[i].name, name) == 0)
      state = status.snapshots[i].state; /* a constant */
  volume_status_free (&status);
  return state;
}

static inline unsigned
count_snapshots (struct volume_test *t)
{
  struct volume_status status;
  unsigned count;

  ck_assert_int_eq (volume_get_status (t->volume, &status), 0);
  count = status.snapshot_count;
  volume_status_free (&status);
  return count;
}

/* It holds the pattern of SEED there. */
static inline void
expect_snapshot (struct volume_test *t, const char *name, uint64_t seed,
                 sector_t sector, sector_t count)
{
  struct volume_device *d = open_device (t, name);

  expect_pattern (d, seed, sector, count);
  volume_device_close (d);
}

#define MINUTE_NS UINT64_C (60000000000)

static inline void
wait_for_background (struct volume_test *t)
{
  ck_assert_int_eq (volume_snapshots_wait (t->volume,
                                           clock_now_ns () + MINUTE_NS),
                    0);
}

/* Nothing is left of what was done to snapshot NAME in the background. */
static inline void
expect_gone (struct volume_test *t, const char *name)
{
  struct volume_status status;
  struct volume_job *jobs;
  char store[SNAPSHOT_NAME_MAX + 8];
  unsigned count, i;

  wait_for_background (t);
  ck_assert_int_eq (volume_get_jobs (t->volume, &jobs, &count), 0);
  for (i = 0; i < count; ++i)
    ck_assert_str_ne (jobs[i].name, name);
  free (jobs);
  ck_assert_int_eq (volume_get_status (t->volume, &status), 0);
  for (i = 0; i < status.snapshot_count; ++i)
    ck_assert_str_ne (status.snapshots[i].name, name);
  volume_status_free (&status);
  (void) snprintf (store, sizeof store, "%s.cow", name);
  ck_assert (!file_exists (&t->meta, store));
}

#endif /* DM_VOLUME_TEST_H */
