/* Unit tests of a volume with a disk that hangs.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "bdev-impl.h"
#include "fault-bdev.h"
#include "mirror-impl.h"
#include "volume-admin.h"
#include "volume-impl.h"
#include "volume-test.h"

#define SHORT_MS 50

/* A volume that watches its legs; the second is a disk that hangs when its gate
 * is shut.
 */
struct rig {
  struct volume_test t;
  struct fault_bdev *disk;
  struct mirror *mirror;
};

static enum leg_state
state_of (struct rig *rig)
{
  struct mirror_status status;

  mirror_get_status (rig->mirror, &status);
  return status.legs[1].state;
}

static void
rig_create (struct rig *rig)
{
  const char *const keys[] = { "leg-timeout", "5", NULL };
  struct block_device *lower, *bdev;
  struct volume_why why;

  volume_test_make_folder (&rig->t);
  rig->t.is_forgetful = false;
  volume_test_start (&rig->t, keys);
  rig->mirror = volume_get_mirror (rig->t.volume);
  rig->disk = fault_bdev_create ("disk", VOLUME_SECTORS, NULL);
  put_pattern (rig->t.device, 1, 0, VOLUME_SECTORS);

  ck_assert_int_eq (volume_leg_fail (rig->t.volume, 1, &why), 0);
  lower = fault_bdev_open (rig->disk, 0);
  ck_assert_int_eq (bdev_watch_create (lower, SHORT_MS, &bdev), 0);
  ck_assert_int_eq (mirror_set_leg_device (rig->mirror, 1, bdev), 0);
  (void) volume_hold_out (rig->t.volume, 1, false);
  ck_assert_int_eq (mirror_rejoin_leg (rig->mirror, 1, LEG_LACKS_ALL), 0);
  wait_until (state_of (rig) == LEG_IN_SYNC);
}

static void
rig_destroy (struct rig *rig)
{
  volume_test_destroy (&rig->t);
  while (fault_bdev_open_count (rig->disk) > 0)
    bdev_watch_reap ();
  fault_bdev_destroy (rig->disk);
}

static void
assert_on_disk (struct rig *rig, uint64_t seed, sector_t sector, sector_t count)
{
  unsigned char *data = test_alloc_sectors (count);

  fault_bdev_look (rig->disk, sector, count, data);
  assert_pattern (data, seed, sector, count);
  free (data);
}

/* Clients are answered, nothing is lost, and it comes back by itself. */
START_TEST (a_disk_that_hangs_for_a_while)
{
  struct volume_why why;
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  assert_on_disk (&rig, 1, 0, VOLUME_SECTORS);
  fault_bdev_gate_shut (rig.disk, FAULT_ALL, 0, 0);
  put_pattern (rig.t.device, 2, 100, 20);
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  put_pattern (rig.t.device, 3, 100, 10);
  put_pattern (rig.t.device, 4, 700, 10);
  for (i = 0; i < 10; ++i)
    short_wait ();
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  if (fault_bdev_gate_waiting (rig.disk) > 0) {
    ck_assert_int_eq (volume_leg_rejoin (rig.t.volume, 1, &why), -EBUSY);
    ck_assert (strstr (why.text, "still hangs") != NULL);
  }

  /* What it was given lands late, and older than what came after it. */
  fault_bdev_gate_open (rig.disk);
  wait_until (state_of (&rig) == LEG_IN_SYNC);
  assert_on_disk (&rig, 3, 100, 10);
  assert_on_disk (&rig, 2, 110, 10);
  assert_on_disk (&rig, 4, 700, 10);
  assert_on_disk (&rig, 1, 200, 500);
  rig_destroy (&rig);
}
END_TEST

/* Whom an administrator has failed stays out, whether it hangs or not. */
START_TEST (the_administrator_has_the_last_word)
{
  struct volume_why why;
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  fault_bdev_gate_shut (rig.disk, FAULT_WRITE, 0, 0);
  put_pattern (rig.t.device, 2, 100, 20);
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  (void) volume_hold_out (rig.t.volume, 1, true);
  fault_bdev_gate_open (rig.disk);
  for (i = 0; i < 100; ++i)
    short_wait ();
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  ck_assert_int_eq (volume_leg_rejoin (rig.t.volume, 1, &why), 0);
  wait_until (state_of (&rig) == LEG_IN_SYNC);
  assert_on_disk (&rig, 2, 100, 20);
  rig_destroy (&rig);
}
END_TEST

static bool
is_waited_for (struct rig *rig)
{
  struct rejoiner *rj = &rig->t.volume->rejoiner;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rj->lock);
  return rj->legs[1].is_out;
}

/* One that has failed for another reason is not tried again and again. */
START_TEST (a_disk_that_fails_stays_out)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  fault_bdev_fail_once (rig.disk, FAULT_WRITE, 0);
  put_pattern (rig.t.device, 2, 100, 20);
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  for (i = 0; i < 100; ++i)
    short_wait ();
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  wait_until (!is_waited_for (&rig));
  rig_destroy (&rig);
}
END_TEST

/* The last leg in sync stays in use: requests fail, until it answers again. */
START_TEST (the_last_disk_hangs_for_a_while)
{
  unsigned char data[SECTOR_SIZE];
  struct volume_why why;
  struct rig rig;

  rig_create (&rig);
  ck_assert_int_eq (volume_leg_fail (rig.t.volume, 0, &why), 0);
  put_pattern (rig.t.device, 2, 100, 20);
  fault_bdev_gate_shut (rig.disk, FAULT_ALL, 0, 0);
  fill_pattern (data, 3, 100, 1);
  ck_assert_int_eq (device_write (rig.t.device, data, 100, 1), -ETIMEDOUT);
  ck_assert_int_eq (state_of (&rig), LEG_IN_SYNC);
  fault_bdev_gate_open (rig.disk);
  wait_until (device_write (rig.t.device, data, 100, 1) == 0);
  assert_on_disk (&rig, 3, 100, 1);
  assert_on_disk (&rig, 2, 101, 19);
  rig_destroy (&rig);
}
END_TEST

/* The server ends while it hangs. */
START_TEST (a_volume_ends_while_a_disk_hangs)
{
  struct rig rig;

  rig_create (&rig);
  fault_bdev_gate_shut (rig.disk, FAULT_ALL, 0, 0);
  put_pattern (rig.t.device, 2, 100, 20);
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  volume_test_stop (&rig.t);
  fault_bdev_gate_open (rig.disk);
  while (fault_bdev_open_count (rig.disk) > 0)
    bdev_watch_reap ();
  fault_bdev_destroy (rig.disk);
  meta_test_destroy (&rig.t.meta);
}
END_TEST

/* Only who gave a time-out has files watched. */
START_TEST (files_are_watched_if_there_is_a_timeout)
{
  struct bdev_limits limits;
  struct volume_test t;

  volume_test_create (&t);
  ck_assert (!t.volume->leg_options.is_watched);
  bdev_get_limits (volume_get_mirror (t.volume)->legs[0].bdev, &limits);
  ck_assert (!limits.is_remote);
  volume_test_destroy (&t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_disk_that_hangs_for_a_while,
    the_administrator_has_the_last_word,
    a_disk_that_fails_stays_out,
    the_last_disk_hangs_for_a_while,
    a_volume_ends_while_a_disk_hangs,
    files_are_watched_if_there_is_a_timeout,
    NULL,
  };

  return unit_main ("volume_watch", tests);
}
