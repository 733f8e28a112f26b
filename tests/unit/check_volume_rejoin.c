/* Unit tests of legs that come back by themselves.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "descriptors-test.h"
#include "fake-nbd.h"
#include "volume-admin.h"
#include "volume-impl.h"
#include "volume-test.h"

#define SIZE ((size_t) VOLUME_SECTORS * SECTOR_SIZE)

static const struct fake_options usual = {
  .bytes = SIZE,
  .flags = FAKE_HAS_FLUSH | FAKE_HAS_FUA | FAKE_HAS_ZERO | FAKE_MULTI_CONN,
};

/* A volume of a file and a server, in sync. */
struct rig {
  struct volume_test t;
  struct fake_nbd *fake;
};

static void
rig_create (struct rig *rig)
{
  struct volume_spec spec;
  char path[TEST_PATH_BYTES + 16];

  capture_messages ();
  make_test_folder (access ("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL,
                    rig->t.meta.parent);
  (void) snprintf (rig->t.meta.path, sizeof rig->t.meta.path, "%s/meta",
                   rig->t.meta.parent);
  (void) snprintf (path, sizeof path, "%s/a.img", rig->t.meta.parent);
  rig->fake = fake_nbd_create (&usual);
  volume_spec_init (&spec);
  volume_test_key (&spec, "leg", path);
  volume_test_key (&spec, "leg", fake_nbd_uri (rig->fake));
  volume_test_key (&spec, "size", "1024s");
  volume_test_key (&spec, "meta", rig->t.meta.path);
  volume_test_key (&spec, "sync", "full");
  volume_test_key (&spec, "leg-timeout", "5");
  (void) close (open (path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  ck_assert_int_eq (truncate (path, (off_t) SIZE), 0);
  ck_assert_int_eq (volume_open (&spec, &rig->t.volume), 0);
  volume_spec_free (&spec);
  rig->t.device = open_device (&rig->t, "");
}

static void
rig_destroy (struct rig *rig)
{
  volume_test_destroy (&rig->t);
  fake_nbd_destroy (rig->fake);
}

static struct mirror_status
status_of (struct rig *rig)
{
  struct mirror_status status;

  mirror_get_status (volume_get_mirror (rig->t.volume), &status);
  return status;
}

static enum leg_state
state_of (struct rig *rig)
{
  return status_of (rig).legs[1].state;
}

static void
wait_for_sync (struct rig *rig)
{
  wait_until (state_of (rig) == LEG_IN_SYNC);
}

static void
assert_far (struct rig *rig, uint64_t seed, sector_t sector, sector_t count)
{
  assert_pattern (fake_nbd_disk (rig->fake) + sector_to_bytes (sector), seed,
                  sector, count);
}

START_TEST (a_lost_server_is_connected_again)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  put_pattern (rig.t.device, 1, 0, VOLUME_SECTORS);
  wait_for_sync (&rig);
  for (i = 0; i < 3; ++i) {
    fake_nbd_hang_up (rig.fake);
    /* Each of them may be the one that finds it out. */
    put_pattern (rig.t.device, 10 + i, 100, 20);
    put_pattern (rig.t.device, 20 + i, 500, 20);
    wait_for_sync (&rig);
    assert_far (&rig, 10 + i, 100, 20);
    assert_far (&rig, 20 + i, 500, 20);
  }
  assert_far (&rig, 1, 0, 100);
  rig_destroy (&rig);
}
END_TEST

/* What it was sent may still land: it is not used before that is over. */
START_TEST (a_server_that_may_still_write_is_waited_for)
{
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  put_pattern (rig.t.device, 1, 0, VOLUME_SECTORS);
  wait_for_sync (&rig);
  fake_nbd_hold (rig.fake, FAKE_WRITE);
  put_pattern (rig.t.device, 2, 100, 1);
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  put_pattern (rig.t.device, 3, 100, 1);
  for (i = 0; i < 10; ++i)
    short_wait ();
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  fake_nbd_hold (rig.fake, 0);
  wait_for_sync (&rig);
  assert_far (&rig, 3, 100, 1);
  rig_destroy (&rig);
}
END_TEST

/* Another disk behind the same name: it does not rejoin, and is filled when it
 * is told to be a new leg; but not while something may still land there.
 */
START_TEST (a_server_takes_its_own_place)
{
  struct fake_options other = usual;
  struct volume_why why = { "" };
  struct rig rig;

  rig_create (&rig);
  put_pattern (rig.t.device, 1, 0, VOLUME_SECTORS);
  wait_for_sync (&rig);
  fake_nbd_hold (rig.fake, FAKE_WRITE);
  put_pattern (rig.t.device, 2, 100, 1);
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  ck_assert_int_eq (volume_leg_replace (rig.t.volume, 1,
                                        fake_nbd_uri (rig.fake), &why),
                    -EBUSY);
  if (strstr (why.text, "wait until it answers or ends") == NULL)
    ck_abort_msg ("%s", why.text);
  /* It answers, and is another one from then on. */
  other.flags &= ~FAKE_HAS_FLUSH;
  fake_nbd_set_options (rig.fake, &other);
  fake_nbd_hold (rig.fake, 0);
  wait_until (was_said ("the export is another one than before"));
  memset (fake_nbd_disk (rig.fake), 0x5a, SIZE);
  ck_assert_int_eq (volume_leg_rejoin (rig.t.volume, 1, &why), -ESTALE);
  ck_assert_msg (volume_leg_replace (rig.t.volume, 1, fake_nbd_uri (rig.fake),
                                     &why) == 0,
                 "%s", why.text);
  wait_for_sync (&rig);
  assert_far (&rig, 2, 100, 1);
  assert_far (&rig, 1, 101, 500);
  rig_destroy (&rig);
}
END_TEST

/* A volume whose file has been failed: all is on the server. */
static void
rig_create_alone (struct rig *rig)
{
  struct volume_why why = { "" };

  rig_create (rig);
  put_pattern (rig->t.device, 1, 0, VOLUME_SECTORS);
  wait_for_sync (rig);
  ck_assert_int_eq (volume_leg_fail (rig->t.volume, 0, &why), 0);
  ck_assert_int_eq (target_flush (rig->t.device->target), 0);
}

static bool
can_be_read (struct rig *rig, sector_t sector)
{
  unsigned char data[SECTOR_SIZE];

  return target_read (rig->t.device->target, data, sector, 1) == 0;
}

/* Hang up, and wait until the server has been connected again: who reads finds
 * out that it is gone.
 */
static void
hang_up_and_wait (struct rig *rig)
{
  unsigned before = fake_nbd_connections_ever (rig->fake);

  fake_nbd_hang_up (rig->fake);
  wait_until (can_be_read (rig, 0) &&
              fake_nbd_connections_ever (rig->fake) > before);
  wait_until (can_be_read (rig, 0));
}

/* It stays in use, so it must be connected again, too; what was flushed is all
 * there.
 */
START_TEST (the_last_leg_is_connected_again)
{
  struct rig rig;
  unsigned i;

  rig_create_alone (&rig);
  for (i = 0; i < 3; ++i) {
    hang_up_and_wait (&rig);
    ck_assert_int_eq (state_of (&rig), LEG_IN_SYNC);
    expect_pattern (rig.t.device, 1, 0, 500);
    put_pattern (rig.t.device, 2 + i, 500, 20);
    ck_assert_int_eq (target_flush (rig.t.device->target), 0);
    assert_far (&rig, 2 + i, 500, 20);
  }
  rig_destroy (&rig);
}
END_TEST

/* What was not flushed may be lost: no flush may say that it is not. */
START_TEST (what_the_last_leg_has_lost_is_not_flushed)
{
  struct rig rig;

  rig_create_alone (&rig);
  put_pattern (rig.t.device, 2, 500, 20);
  hang_up_and_wait (&rig);
  assert_said ("every flush fails until this server is started again");
  expect_pattern (rig.t.device, 1, 0, 500);
  ck_assert_int_eq (target_flush (rig.t.device->target), -EIO);
  put_pattern (rig.t.device, 3, 500, 20);
  ck_assert_int_eq (target_flush (rig.t.device->target), -EIO);
  rig_destroy (&rig);
}
END_TEST

/* There is no descriptor for a connection: that is said, with the remedy, and
 * it is tried again.
 */
START_TEST (descriptors_run_out)
{
  struct fake_options deaf = usual;
  struct volume_why why = { "" };
  struct rig rig;

  rig_create (&rig);
  put_pattern (rig.t.device, 1, 0, VOLUME_SECTORS);
  wait_for_sync (&rig);
  deaf.handshake_cut = 1;
  fake_nbd_set_options (rig.fake, &deaf);
  fake_nbd_hang_up (rig.fake);
  put_pattern (rig.t.device, 2, 100, 20);
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  descriptors_forbid ();
  fake_nbd_set_options (rig.fake, &usual);
  wait_until (was_said ("'ulimit -n'"));
  /* An administrator is told, too. */
  ck_assert_int_eq (volume_leg_rejoin (rig.t.volume, 1, &why), -EMFILE);
  if (strstr (why.text, "'ulimit -n'; then try again") == NULL)
    ck_abort_msg ("%s", why.text);
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  descriptors_allow ();
  wait_for_sync (&rig);
  assert_far (&rig, 2, 100, 20);
  rig_destroy (&rig);
}
END_TEST

/* Whom an administrator has failed stays out until he says otherwise. */
START_TEST (the_administrator_has_the_last_word)
{
  struct volume_why why;
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  put_pattern (rig.t.device, 1, 0, VOLUME_SECTORS);
  wait_for_sync (&rig);
  ck_assert_int_eq (volume_leg_fail (rig.t.volume, 1, &why), 0);
  put_pattern (rig.t.device, 2, 100, 1);
  for (i = 0; i < 10; ++i)
    short_wait ();
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  ck_assert_int_eq (volume_leg_rejoin (rig.t.volume, 1, &why), 0);
  wait_for_sync (&rig);
  assert_far (&rig, 2, 100, 1);
  /* And from then on it comes back by itself again. */
  fake_nbd_hang_up (rig.fake);
  put_pattern (rig.t.device, 3, 100, 1);
  wait_for_sync (&rig);
  assert_far (&rig, 3, 100, 1);
  /* Nobody comes back that has been removed. */
  fake_nbd_hang_up (rig.fake);
  put_pattern (rig.t.device, 4, 100, 1);
  ck_assert_int_eq (volume_leg_remove (rig.t.volume, 1, &why), 0);
  for (i = 0; i < 10; ++i)
    short_wait ();
  ck_assert_int_eq (state_of (&rig), LEG_ABSENT);
  rig_destroy (&rig);
}
END_TEST

/* Another export is none of the volume's; it is asked for later and later. */
START_TEST (another_export_stays_out)
{
  struct fake_options other = usual;
  struct rig rig;

  rig_create (&rig);
  put_pattern (rig.t.device, 1, 0, VOLUME_SECTORS);
  wait_for_sync (&rig);
  other.told_bytes = SIZE / 2;
  fake_nbd_set_options (rig.fake, &other);
  fake_nbd_hang_up (rig.fake);
  put_pattern (rig.t.device, 2, 100, 1);
  wait_until (was_said ("the export is another one"));
  ck_assert_int_eq (state_of (&rig), LEG_FAILED);
  fake_nbd_set_options (rig.fake, &usual);
  wait_for_sync (&rig);
  assert_far (&rig, 2, 100, 1);
  rig_destroy (&rig);
}
END_TEST

/* A server can be added, and is then watched, too; and it stops while one is
 * out.
 */
START_TEST (an_added_server_comes_back)
{
  struct fake_nbd *other = fake_nbd_create (&usual);
  struct mirror_status status;
  struct volume_why why;
  struct volume_test t;
  unsigned leg;

  volume_test_create (&t);
  put_pattern (t.device, 1, 0, VOLUME_SECTORS);
  ck_assert_msg (volume_leg_add (t.volume, fake_nbd_uri (other), &leg, &why) ==
                   0,
                 "%s", why.text);
  ck_assert_int_eq (volume_leg_add (t.volume, fake_nbd_uri (other), &leg, &why),
                    -EEXIST);
  fake_nbd_hang_up (other);
  put_pattern (t.device, 2, 100, 20);
  do {
    short_wait ();
    mirror_get_status (volume_get_mirror (t.volume), &status);
  } while (status.legs[2].state != LEG_IN_SYNC);
  assert_pattern (fake_nbd_disk (other) + 100 * SECTOR_SIZE, 2, 100, 20);
  fake_nbd_hold (other, FAKE_WRITE);
  fake_nbd_hang_up (other);
  put_pattern (t.device, 3, 100, 20);
  volume_test_destroy (&t);
  fake_nbd_destroy (other);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_lost_server_is_connected_again,
    a_server_that_may_still_write_is_waited_for,
    descriptors_run_out,
    a_server_takes_its_own_place,
    the_last_leg_is_connected_again,
    what_the_last_leg_has_lost_is_not_flushed,
    the_administrator_has_the_last_word,
    another_export_stays_out,
    an_added_server_comes_back,
    NULL,
  };

  return unit_main ("volume-rejoin", tests);
}
