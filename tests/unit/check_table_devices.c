/* Unit tests of the devices of a kernel's table of snapshots.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Files in a folder of their own; what is on disk is looked at in between.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"
#include "fault-alloc.h"
#include "table-devices.h"
#include "target-test.h"

#define SECTORS 256
#define BASE_SEED 1

struct rig {
  char folder[TEST_PATH_BYTES];
  struct volume_spec spec;
  struct table_devices *devices;
};

static void
make_file (const char *name, uint64_t seed)
{
  unsigned char data[SECTORS * SECTOR_SIZE] = { 0 };
  int fd = open (name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  if (seed > 0)
    fill_pattern (data, seed, 0, SECTORS);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (write (fd, data, sizeof data), sizeof data);
  (void) close (fd);
}

static void
rig_create (struct rig *rig)
{
  capture_messages ();
  memset (rig, 0, sizeof *rig);
  make_test_folder (NULL, rig->folder);
  ck_assert_int_eq (chdir (rig->folder), 0);
  make_file ("o", BASE_SEED);
  make_file ("a", 0);
  make_file ("b", 0);
}

static void
rig_destroy (struct rig *rig)
{
  ck_assert_int_eq (chdir ("/"), 0);
  remove_test_folder (rig->folder);
}

static void
set_table (struct rig *rig, const char *table)
{
  volume_spec_init (&rig->spec);
  ck_assert_int_eq (config_set (&rig->spec, "table", table), 0);
  ck_assert_int_eq (config_check (&rig->spec), 0);
}

static void
serve (struct rig *rig, const char *table)
{
  set_table (rig, table);
  ck_assert_msg (table_devices_open (&rig->spec, &rig->devices) == 0, "%s",
                 captured_text);
}

static void
serve_end (struct rig *rig)
{
  table_devices_stop (rig->devices);
  table_devices_close (rig->devices);
  volume_spec_free (&rig->spec);
}

static struct volume_device *
open_device (struct rig *rig, const char *name)
{
  struct volume_device *d;

  ck_assert_msg (table_device_open (rig->devices, name, true, &d) == 0, "%s",
                 captured_text);
  return d;
}

static int
write_pattern (struct volume_device *d, uint64_t seed, sector_t sector,
               sector_t count)
{
  unsigned char data[SECTORS * SECTOR_SIZE];
  struct range_hold hold;
  int r;

  fill_pattern (data, seed, sector, count);
  range_lock_acquire (&d->range_lock, &hold, sector, count);
  r = target_write (d->target, data, sector, count, 0);
  range_lock_release (&d->range_lock, &hold);
  return r;
}

static void
assert_shows (struct volume_device *d, uint64_t seed, sector_t sector,
              sector_t count)
{
  unsigned char data[SECTORS * SECTOR_SIZE];

  ck_assert_int_eq (target_read (d->target, data, sector, count), 0);
  assert_pattern (data, seed, sector, count);
}

static int
join_exports (void *opaque, const char *name, const char *description)
{
  strcat (strcat (strcat (opaque, name), "="), description);
  strcat (opaque, "\n");
  return 0;
}

/*----- exports ---------------------------------------------------------*/

START_TEST (each_line_is_an_export)
{
  struct volume_device *d;
  char text[1000] = "";
  struct rig rig;

  rig_create (&rig);
  serve (&rig, "vol: 0 256 snapshot-origin o;a: 0 200 snapshot o a PO 8;"
               "b: 0 256 snapshot o b N 0");
  ck_assert_int_eq (table_devices_each_export (rig.devices, join_exports, text),
                    0);
  ck_assert_str_eq (text, "=0 256 snapshot-origin o\n"
                          "vol=0 256 snapshot-origin o\n"
                          "a=0 200 snapshot o a PO 8: 16/256 16\n"
                          "b=0 256 snapshot o b N 32: 0/256 0\n");
  ck_assert_ptr_eq (open_device (&rig, ""), open_device (&rig, "vol"));
  ck_assert_uint_eq (open_device (&rig, "a")->target->sectors, 200);
  ck_assert_int_eq (table_device_open (rig.devices, "c", true, &d), -ENOENT);
  ck_assert_int_eq (table_device_open (rig.devices, "a..b", true, &d), -ENOENT);
  assert_said ("there is none of that name");
  ck_assert_int_eq (write_pattern (open_device (&rig, ""), 2, 7, 2), 0);
  assert_shows (open_device (&rig, ""), 2, 7, 2);
  assert_shows (open_device (&rig, "a"), BASE_SEED, 0, 200);
  assert_shows (open_device (&rig, "b"), BASE_SEED, 0, 256);
  text[0] = '\0';
  ck_assert_int_eq (table_devices_each_export (rig.devices, join_exports, text),
                    0);
  ck_assert_ptr_nonnull (strstr (text, "PO 8: 32/256 16\n"));
  ck_assert_ptr_nonnull (strstr (text, "N 32: 32/256 0\n"));
  serve_end (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (who_may_not_write_starts_nothing)
{
  struct volume_device *d;
  struct stat before, after;
  struct rig rig;

  rig_create (&rig);
  serve (&rig, "0 256 snapshot-origin o;a: 0 256 snapshot o a P 8");
  ck_assert_int_eq (write_pattern (open_device (&rig, "a"), 2, 0, 8), 0);
  serve_end (&rig);
  ck_assert_int_eq (stat ("o", &before), 0);
  serve (&rig, "0 256 snapshot-merge o a P 8");
  ck_assert_int_eq (table_device_open (rig.devices, "", false, &d), 0);
  assert_shows (d, 2, 0, 8);
  assert_shows (d, BASE_SEED, 8, 248);
  serve_end (&rig);
  ck_assert_int_eq (stat ("o", &after), 0);
  ck_assert (before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
             before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
  rig_destroy (&rig);
}
END_TEST

/* The file of that name cannot be made durable; NULL: each can. */
static _Atomic (const char *) lost_file;

int
fdatasync (int fd)
{
  const char *name = atomic_load (&lost_file);
  struct stat lost, file;

  if (name != NULL && stat (name, &lost) == 0 && fstat (fd, &file) == 0 &&
      file.st_ino == lost.st_ino) {
    errno = EIO;
    return -1;
  }
  return (int) syscall (SYS_fdatasync, fd);
}

/* What a snapshot shows of its origin is durable before anybody relies on it,
 * whether a line serves the origin or not.
 */
START_TEST (an_origin_is_flushed_for_its_snapshots)
{
  static const char *const tables[] = {
    "0 256 snapshot o a P 8",
    "0 256 snapshot o a N 8",
    "o: 0 256 snapshot-origin o; a: 0 256 snapshot o a P 8",
  };
  struct volume_device *d;
  struct rig rig;
  size_t i;

  rig_create (&rig);
  for (i = 0; i < ARRAY_COUNT (tables); ++i) {
    make_file ("a", 0);
    serve (&rig, tables[i]);
    atomic_store (&lost_file, "o");
    ck_assert_int_eq (table_device_open (rig.devices, i < 2 ? "" : "a", true,
                                         &d),
                      -EIO);
    assert_said ("the origin (o) cannot be flushed");
    atomic_store (&lost_file, NULL);
    serve_end (&rig);
  }
  rig_destroy (&rig);
}
END_TEST

/* A snapshot is of what is durable, though none who opens it may write. */
START_TEST (an_origin_is_flushed_before_a_store_is_made)
{
  struct table_devices *devices;
  unsigned char header[8];
  struct rig rig;
  int fd;

  rig_create (&rig);
  set_table (&rig, "0 256 snapshot o a P 8");
  atomic_store (&lost_file, "o");
  ck_assert_int_eq (table_devices_open (&rig.spec, &devices), -EIO);
  assert_said ("the origin (o) cannot be flushed");
  atomic_store (&lost_file, NULL);
  fd = open ("a", O_RDONLY | O_CLOEXEC);
  ck_assert_int_eq (read (fd, header, sizeof header), sizeof header);
  (void) close (fd);
  ck_assert_int_eq (header[0], 0);
  volume_spec_free (&rig.spec);

  /* One that is there has been made so. */
  serve (&rig, "0 256 snapshot o a P 8");
  serve_end (&rig);
  atomic_store (&lost_file, "o");
  serve (&rig, "0 256 snapshot o a P 8");
  serve_end (&rig);
  atomic_store (&lost_file, NULL);
  rig_destroy (&rig);
}
END_TEST

/* A mark that a killed server has left may be in the kernel's memory only.  The
 * origin may not be written before it is durable: else a power failure would
 * make the snapshot valid again, without what has been overwritten.
 */
START_TEST (that_a_snapshot_is_lost_is_made_durable)
{
  static const char table[] = "o: 0 256 snapshot-origin o; "
                              "a: 0 256 snapshot o a P 8; "
                              "b: 0 256 snapshot o b P 8";
  static const char invalid[4];
  struct volume_device *d;
  struct rig rig;
  int fd;

  rig_create (&rig);
  serve (&rig, table);
  serve_end (&rig);
  fd = open ("a", O_WRONLY | O_CLOEXEC);
  ck_assert_int_eq (pwrite (fd, invalid, sizeof invalid, 4), sizeof invalid);
  (void) close (fd);

  serve (&rig, table);
  atomic_store (&lost_file, "a");
  ck_assert_int_eq (table_device_open (rig.devices, "o", true, &d), -EIO);
  assert_said ("the COW store (a), which is marked invalid, cannot be flushed");
  /* Who does not write to the origin does not need it. */
  ck_assert_int_eq (write_pattern (open_device (&rig, "b"), 2, 0, 8), 0);
  atomic_store (&lost_file, NULL);
  serve_end (&rig);

  serve (&rig, table);
  ck_assert_int_eq (write_pattern (open_device (&rig, "o"), 2, 0, 8), 0);
  serve_end (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- merging ---------------------------------------------------------*/

static bool
is_described (struct rig *rig, const char *end)
{
  char text[VOLUME_DESCRIPTION_BYTES];

  table_device_describe (open_device (rig, ""), text);
  return strlen (text) >= strlen (end) &&
         strcmp (text + strlen (text) - strlen (end), end) == 0;
}

START_TEST (a_merge_ends_by_itself)
{
  struct rig rig;

  rig_create (&rig);
  serve (&rig, "0 256 snapshot o a P 8");
  ck_assert_int_eq (write_pattern (open_device (&rig, ""), 2, 3, 50), 0);
  serve_end (&rig);
  serve (&rig, "0 256 snapshot-merge o a P 8;b: 0 256 snapshot o b P 16");
  wait_until (is_described (&rig, "snapshot-merge o a P 8: 16/256 16"));
  assert_shows (open_device (&rig, ""), 2, 3, 50);
  assert_shows (open_device (&rig, ""), BASE_SEED, 53, 203);
  assert_shows (open_device (&rig, "b"), BASE_SEED, 0, 256);
  ck_assert_int_eq (write_pattern (open_device (&rig, ""), 4, 100, 5), 0);
  serve_end (&rig);
  serve (&rig, "0 256 snapshot-origin o;b: 0 256 snapshot o b P 16");
  assert_shows (open_device (&rig, ""), 2, 3, 50);
  assert_shows (open_device (&rig, ""), 4, 100, 5);
  assert_shows (open_device (&rig, "b"), BASE_SEED, 0, 256);
  serve_end (&rig);
  rig_destroy (&rig);
}
END_TEST

/*----- want ------------------------------------------------------------*/

static const char all_kinds[] =
  "0 256 snapshot-merge o a P 8;b: 0 256 snapshot o b P 8;";

START_TEST (opening_fails_at_every_allocation)
{
  unsigned k, failed = 1;
  struct rig rig;

  rig_create (&rig);
  for (k = 0; failed > 0; ++k) {
    int r;

    ck_assert_uint_lt (k, 200);
    make_file ("a", 0);
    make_file ("b", 0);
    set_table (&rig, all_kinds);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = table_devices_open (&rig.spec, &rig.devices);
    failed = fault_alloc_stop ();
    if (r == 0) {
      assert_shows (open_device (&rig, ""), BASE_SEED, 0, 256);
      serve_end (&rig);
      continue;
    }
    ck_assert_int_eq (r, -ENOMEM);
    volume_spec_free (&rig.spec);
  }
  ck_assert_uint_gt (k, 10);
  rig_destroy (&rig);
}
END_TEST

/* A client may be refused, or a merge not begin; nothing that is there is
 * lost.
 */
START_TEST (starting_fails_at_every_thread)
{
  unsigned k, failed = 1;
  struct rig rig;

  rig_create (&rig);
  serve (&rig, "0 256 snapshot o a P 8");
  ck_assert_int_eq (write_pattern (open_device (&rig, ""), 2, 3, 50), 0);
  serve_end (&rig);
  for (k = 0; failed > 0; ++k) {
    struct volume_device *d;
    int r;

    ck_assert_uint_lt (k, 20);
    serve (&rig, all_kinds);
    fault_alloc_fail_once (FAULT_ALLOC_THREADS, k);
    r = table_device_open (rig.devices, "", true, &d);
    failed = fault_alloc_stop ();
    if (r < 0)
      ck_assert_uint_gt (failed, 0);
    d = open_device (&rig, "");
    assert_shows (d, 2, 3, 50);
    assert_shows (d, BASE_SEED, 53, 203);
    assert_shows (open_device (&rig, "b"), BASE_SEED, 0, 256);
    serve_end (&rig);
  }
  ck_assert_uint_gt (k, 1);
  rig_destroy (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    each_line_is_an_export,
    who_may_not_write_starts_nothing,
    an_origin_is_flushed_for_its_snapshots,
    an_origin_is_flushed_before_a_store_is_made,
    that_a_snapshot_is_lost_is_made_durable,
    a_merge_ends_by_itself,
    opening_fails_at_every_allocation,
    starting_fails_at_every_thread,
    NULL,
  };

  return unit_main ("table devices", tests);
}
