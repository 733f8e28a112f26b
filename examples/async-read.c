/* Reads a file or disk with several reads in flight, and prints it in order.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   async-read FILE > COPY
 *
 * While the main thread prints one part, the I/O threads of libdmio read the
 * next ones.
 *
 *   cc async-read.c $(pkg-config --cflags --libs dmio)
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dmio/dm-io.h>

/* Reads in flight, and what each of them reads. */
#define SLOTS 8
#define PART_SECTORS ((sector_t) 256)
#define PART_BYTES (PART_SECTORS * SECTOR_SIZE)

struct slot {
  char data[PART_BYTES];
  sector_t count;
  bool is_in_flight;
  unsigned long error; /* of the last read */
};

static struct slot slots[SLOTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t slot_is_done = PTHREAD_COND_INITIALIZER;

/* Runs on an I/O thread, once for each read that was started. */
static void
part_is_read (unsigned long error, void *context)
{
  struct slot *slot = context;

  pthread_mutex_lock (&lock);
  slot->error = error;
  slot->is_in_flight = false;
  pthread_cond_signal (&slot_is_done);
  pthread_mutex_unlock (&lock);
}

/* Start reading the part of BDEV that begins at SECTOR. */
static bool
start_part (struct block_device *bdev, sector_t sector)
{
  struct slot *slot = &slots[sector / PART_SECTORS % SLOTS];
  sector_t left = bdev_sectors (bdev) - sector;
  struct io_region where = {
    .bdev = bdev,
    .sector = sector,
    .count = left < PART_SECTORS ? left : PART_SECTORS,
  };
  int r;

  /* All this must be so before the call: `part_is_read` may be as quick as
   * that.  After an error it is never called.
   */
  slot->count = where.count;
  slot->is_in_flight = true;
  r = dm_io_async_vm (1, &where, DM_IO_READ, slot->data, part_is_read, slot);
  if (r < 0) {
    slot->is_in_flight = false;
    fprintf (stderr, "async-read: %s: %s\n", bdev_name (bdev), strerror (-r));
  }
  return r == 0;
}

/* Wait for the part that begins at SECTOR, and print it. */
static bool
finish_part (struct block_device *bdev, sector_t sector)
{
  struct slot *slot = &slots[sector / PART_SECTORS % SLOTS];
  size_t bytes;

  pthread_mutex_lock (&lock);
  while (slot->is_in_flight)
    pthread_cond_wait (&slot_is_done, &lock);
  pthread_mutex_unlock (&lock);

  if (slot->error != 0) {
    fprintf (stderr, "async-read: %s: sectors %llu to %llu cannot be read\n",
             bdev_name (bdev), (unsigned long long) sector,
             (unsigned long long) (sector + slot->count - 1));
    return false;
  }
  bytes = (size_t) sector_to_bytes (slot->count);
  if (fwrite (slot->data, 1, bytes, stdout) != bytes) {
    fprintf (stderr, "async-read: standard output cannot be written\n");
    return false;
  }
  return true;
}

/* Keep SLOTS reads in flight, from the beginning to the end. */
static bool
print_all (struct block_device *bdev)
{
  sector_t sectors = bdev_sectors (bdev);
  sector_t started = 0, finished = 0;
  bool ok = true;

  /* What is in flight uses our memory: wait for it after an error too. */
  while (finished < started || (ok && started < sectors)) {
    if (ok && started < sectors && started - finished < SLOTS * PART_SECTORS) {
      ok = start_part (bdev, started);
      if (ok)
        started += PART_SECTORS;
      continue;
    }
    ok = finish_part (bdev, finished) && ok;
    finished += PART_SECTORS;
  }
  return ok;
}

int
main (int argc, char *argv[])
{
  /* Enough that all reads go on when there is no memory left. */
  const unsigned pages = SLOTS * PART_BYTES / DM_PAGE_SIZE;
  struct block_device *bdev;
  bool ok;
  int r;

  if (argc != 2) {
    fprintf (stderr, "usage: async-read FILE\n");
    return 2;
  }
  r = bdev_open (argv[1], BDEV_OPEN_READ_ONLY, &bdev);
  if (r < 0) {
    fprintf (stderr, "async-read: %s: %s\n", argv[1], strerror (-r));
    return EXIT_FAILURE;
  }
  r = dm_io_get (pages);
  if (r < 0) {
    fprintf (stderr, "async-read: %s\n", strerror (-r));
    return EXIT_FAILURE;
  }

  ok = print_all (bdev);

  dm_io_put (pages); /* nothing is in flight any more */
  bdev_close (bdev);
  if (fflush (stdout) != 0) {
    fprintf (stderr, "async-read: standard output cannot be written\n");
    ok = false;
  }
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
