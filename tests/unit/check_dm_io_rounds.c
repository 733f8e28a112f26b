/* Unit tests of dm-io: devices of several kinds in one request.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Each device writes down what is asked of it: its letter, and
 *   b   a write is begun, with + if more is said to come
 *   w   it writes, blocking
 *   e   what was begun is ended
 */

#include <config.h>

#include <errno.h>

#include "bits.h"
#include "dm-io.h"
#include "test-util.h"

#define DEVICES_MAX 5

struct device {
  char letter;
  bool is_direct, is_remote;
  struct block_device *bdev;
};

static char steps[256];

static void
note (const struct device *d, const char *what)
{
  size_t length = strlen (steps);

  must (snprintf (steps + length, sizeof steps - length, "%s%c%s",
                  length > 0 ? " " : "", d->letter,
                  what) < (int) (sizeof steps - length));
}

static int
device_read (void *handle, const struct iovec *iov, int iovcnt, sector_t sector)
{
  (void) handle;
  (void) iov;
  (void) iovcnt;
  (void) sector;
  return -EIO;
}

static int
device_write (void *handle, const struct iovec *iov, int iovcnt,
              sector_t sector, unsigned flags)
{
  (void) iov;
  (void) iovcnt;
  (void) sector;
  (void) flags;
  note (handle, "w");
  return 0;
}

static int
device_begin (void *handle, struct bdev_io *io)
{
  note (handle, io->more ? "b+" : "b");
  return 0;
}

static int
device_end (void *handle, struct bdev_io *io)
{
  (void) io;
  note (handle, "e");
  return 0;
}

static void
device_limits (void *handle, struct bdev_limits *limits)
{
  const struct device *d = handle;

  limits->is_direct = d->is_direct;
  limits->is_remote = d->is_remote;
}

/* Make a device of LETTER: a buffered file, a direct one, or a remote one. */
static void
device_open (struct device *d, char letter)
{
  struct bdev_ops ops = {
    .struct_size = sizeof ops,
    .read = device_read,
    .write = device_write,
    .limits = device_limits,
  };

  d->letter = letter;
  d->is_direct = strchr ("DEF", letter) != NULL;
  d->is_remote = strchr ("RST", letter) != NULL;
  if (d->is_direct || d->is_remote) {
    ops.begin = device_begin;
    ops.end = device_end;
  }
  must (bdev_create (&ops, d, "d", 8, &d->bdev) == 0);
}

/* D, E and F are direct files, which share a ring; R, S and T are remote, and
 * do not; A and B are buffered.  What is on a ring must be on its way before
 * anything else is done, or waited for.
 */
START_TEST (each_kind_goes_its_own_way)
{
  static const struct {
    const char *devices, *steps;
  } cases[] = {
    { "AB", "Aw Bw" },
    { "AD", "Aw Dw" },
    { "DE", "Db Ew De" },
    { "DEF", "Db+ Eb Fw De Ee" },
    { "RS", "Rb+ Sb+ Re Se" },
    { "RA", "Rb Aw Re" },
    { "RD", "Rb Dw Re" },
    { "DR", "Rb Dw Re" },
    /* The ring is submitted by its last one, whoever comes behind. */
    { "DER", "Db Rb Ew De Re" },
    { "DERS", "Db Rb+ Sb Ew De Re Se" },
    { "DREF", "Db+ Rb Eb Fw De Re Ee" },
    { "RDE", "Rb Db Ew Re De" },
    { "DAER", "Db Rb Aw Ew De Re" },
  };
  size_t i, j;

  for (i = 0; i < ARRAY_COUNT (cases); ++i) {
    struct device devices[DEVICES_MAX];
    struct io_region where[DEVICES_MAX];
    char data[SECTOR_SIZE] = "";
    size_t count = strlen (cases[i].devices);

    must (count <= DEVICES_MAX);
    steps[0] = '\0';
    for (j = 0; j < count; ++j) {
      device_open (&devices[j], cases[i].devices[j]);
      where[j] = (struct io_region){ .bdev = devices[j].bdev, .count = 1 };
    }
    ck_assert_int_eq (dm_io_sync_vm ((unsigned) count, where, DM_IO_WRITE, data,
                                     NULL),
                      0);
    ck_assert_str_eq (steps, cases[i].steps);
    for (j = 0; j < count; ++j)
      bdev_close (devices[j].bdev);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    each_kind_goes_its_own_way,
    NULL,
  };

  return unit_main ("dm-io-rounds", tests);
}
