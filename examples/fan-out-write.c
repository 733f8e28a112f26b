/* Writes the same data to several files, disks or NBD exports at once.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   fan-out-write FILE... < DATA
 *
 * DATA, at most 16 MiB, goes to the beginning of each FILE, and is durable
 * when the program ends.  Its last sector is filled up with zeroes.  Every
 * FILE must exist and have room for it.  Each is reported on its own: one
 * that cannot be written does not stop the others.
 *
 *   cc fan-out-write.c $(pkg-config --cflags --libs dmio)
 */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dmio/dm-io.h>

#define MAX_BYTES (16 * 1024 * 1024)

/* All of standard input, in whole sectors. */
static void *
read_data (sector_t *count)
{
  /* One byte more shows that there was more. */
  unsigned char *data = malloc (MAX_BYTES + SECTOR_SIZE);
  size_t bytes;

  if (data == NULL) {
    fprintf (stderr, "fan-out-write: no memory\n");
    exit (EXIT_FAILURE);
  }
  bytes = fread (data, 1, MAX_BYTES + 1, stdin);
  if (ferror (stdin) || bytes > MAX_BYTES) {
    fprintf (stderr, "fan-out-write: standard input: %s\n",
             ferror (stdin) ? "cannot be read" : "is more than 16 MiB");
    exit (EXIT_FAILURE);
  }
  *count = (bytes + SECTOR_SIZE - 1) / SECTOR_SIZE;
  memset (data + bytes, 0, (size_t) sector_to_bytes (*count) - bytes);
  return data;
}

int
main (int argc, char *argv[])
{
  struct io_region where[DM_IO_MAX_REGIONS];
  int errors[DM_IO_MAX_REGIONS];
  unsigned long error_bits = 0;
  unsigned i, n;
  sector_t count;
  void *data;
  int r;

  if (argc < 2 || (unsigned) argc - 1 > DM_IO_MAX_REGIONS) {
    fprintf (stderr, "usage: fan-out-write FILE... < DATA (up to %u files)\n",
             (unsigned) DM_IO_MAX_REGIONS);
    return 2;
  }
  n = (unsigned) argc - 1;

  data = read_data (&count);
  for (i = 0; i < n; ++i) {
    where[i].sector = 0;
    where[i].count = count;
    /* A server cannot be locked against its other clients. */
    r = bdev_open (argv[1 + i],
                   bdev_spec_is_uri (argv[1 + i]) ? 0 : BDEV_OPEN_EXCLUSIVE,
                   &where[i].bdev);
    if (r == 0 && bdev_sectors (where[i].bdev) < count) {
      fprintf (stderr, "fan-out-write: %s: is too small\n", argv[1 + i]);
      return EXIT_FAILURE;
    }
    if (r < 0) {
      fprintf (stderr, "fan-out-write: %s: %s\n", argv[1 + i], strerror (-r));
      return EXIT_FAILURE;
    }
  }

  /* One request for all of them.  With DM_IO_FUA no flush has to follow. */
  r = dm_io_sync_vm_errors (n, where, DM_IO_WRITE | DM_IO_FUA, data,
                            &error_bits, errors);
  if (r < 0 && error_bits == 0) { /* the request as such was refused */
    fprintf (stderr, "fan-out-write: %s\n", strerror (-r));
    return EXIT_FAILURE;
  }
  for (i = 0; i < n; ++i) {
    bool has_failed = error_bits >> i & 1;

    printf ("%s: %s\n", bdev_name (where[i].bdev),
            has_failed ? strerror (-errors[i]) : "written");
    bdev_close (where[i].bdev);
  }
  free (data);
  return error_bits == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
