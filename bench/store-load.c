/* Measures what it costs to load an exception store of random exceptions.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The store is written here, by its format (docs/FORMATS.md), as it would be
 * if the chunks of a volume had been overwritten in random order; its data is
 * a hole.  Half of the volume's chunks are in it.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exception-store.h"
#include "exception-table.h"
#include "util.h"

#define CHUNK_SECTORS ((sector_t) 128)
#define CHUNK_BYTES 65536U
#define RECORD_BYTES 16U
#define RECORDS_PER_AREA (CHUNK_BYTES / RECORD_BYTES)
#define MAX_EXCEPTIONS (1U << 28)

static unsigned num_exceptions = 10000000;
static uint64_t origin_chunks;
static uint32_t *old_chunks; /* in the order in which they were copied */

/*----- the store -------------------------------------------------------*/

static uint64_t
next_random (uint64_t *state)
{
  uint64_t z = *state += 0x9e3779b97f4a7c15U;

  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
  z = (z ^ z >> 27) * 0x94d049bb133111ebU;
  return z ^ z >> 31;
}

static void
choose_old_chunks (void)
{
  uint64_t state = 1, i, k;

  origin_chunks = 2 * (uint64_t) num_exceptions;
  old_chunks = malloc (origin_chunks * sizeof *old_chunks);
  if (old_chunks == NULL)
    die ("no memory");
  for (i = 0; i < origin_chunks; ++i) {
    k = next_random (&state) % (i + 1);
    old_chunks[i] = old_chunks[k];
    old_chunks[k] = (uint32_t) i;
  }
}

static uint64_t
area_chunk (uint64_t area)
{
  return 1 + area * (RECORDS_PER_AREA + 1);
}

/* Data chunks are given out in rising order, and pass over the areas. */
static uint64_t
new_chunk_of (uint64_t i)
{
  return area_chunk (i / RECORDS_PER_AREA) + 1 + i % RECORDS_PER_AREA;
}

static void
put_number (unsigned char *to, uint64_t n)
{
  unsigned i;

  for (i = 0; i < 8; ++i)
    to[i] = (unsigned char) (n >> 8 * i);
}

static void
write_areas (const char *name)
{
  static unsigned char area[CHUNK_BYTES];
  int fd = open (name, O_WRONLY | O_CLOEXEC);
  uint64_t first, i;

  if (fd == -1)
    die ("%s: %s", name, strerror (errno));
  for (first = 0; first < num_exceptions; first += RECORDS_PER_AREA) {
    off_t offset = (off_t) (area_chunk (first / RECORDS_PER_AREA) *
                            CHUNK_BYTES);

    memset (area, 0, sizeof area);
    for (i = first; i < num_exceptions && i < first + RECORDS_PER_AREA; ++i) {
      put_number (area + (i - first) * RECORD_BYTES, old_chunks[i]);
      put_number (area + (i - first) * RECORD_BYTES + 8, new_chunk_of (i));
    }
    if (pwrite (fd, area, sizeof area, offset) != (ssize_t) sizeof area)
      die ("%s: cannot be written", name);
  }
  if (close (fd) == -1)
    die ("%s: %s", name, strerror (errno));
}

static struct block_device *
open_device (const char *name)
{
  struct block_device *bdev;
  int r = bdev_open (name, BDEV_OPEN_BUFFERED, &bdev);

  if (r < 0)
    die ("%s: %s", name, strerror (-r));
  return bdev;
}

static void
make_store (const char *name)
{
  sector_t sectors = exception_store_full_size (STORE_PERSISTENT,
                                                origin_chunks * CHUNK_SECTORS,
                                                CHUNK_SECTORS);
  int fd = open (name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  struct block_device *bdev;
  int r;

  if (fd == -1 || ftruncate (fd, (off_t) (sectors * SECTOR_SIZE)) == -1 ||
      close (fd) == -1)
    die ("%s: %s", name, strerror (errno));
  bdev = open_device (name);
  r = exception_store_format (bdev, CHUNK_SECTORS);
  if (r < 0)
    die ("%s: %s", name, strerror (-r));
  bdev_close (bdev);
  write_areas (name);
}

/*----- loading it ------------------------------------------------------*/

/* Of this process, in memory. */
static double
resident_bytes (void)
{
  FILE *file = fopen ("/proc/self/statm", "r");
  unsigned long all, resident;

  if (file == NULL || fscanf (file, "%lu %lu", &all, &resident) != 2)
    die ("/proc/self/statm cannot be read");
  fclose (file);
  return (double) resident * (double) sysconf (_SC_PAGESIZE);
}

static int
insert (void *opaque, const struct exception *exception)
{
  return exception_table_insert (opaque, exception->old_chunk,
                                 exception->new_chunk);
}

/* Each exception is where it must be, and nothing else is there. */
static void
check_table (const struct exception_table *table)
{
  uint64_t i;

  for (i = 0; i < origin_chunks; ++i) {
    struct exception_run run = exception_table_lookup (table, old_chunks[i], 1);

    if (run.is_mapped != (i < num_exceptions) ||
        (run.is_mapped && run.new_chunk != new_chunk_of (i)))
      die ("chunk %" PRIu32 " was not found: figure void", old_chunks[i]);
  }
}

static void
load_store (const char *name)
{
  struct exception_table *table;
  struct exception_store *store;
  struct block_device *bdev;
  double memory, began, took, cpu;
  int r;

  malloc_trim (0);
  memory = resident_bytes ();
  cpu = cpu_seconds ();
  began = seconds_now ();
  bdev = open_device (name);
  r = exception_table_create (origin_chunks, &table);
  if (r == 0)
    r = exception_store_open (bdev, origin_chunks * CHUNK_SECTORS, &store);
  if (r == 0)
    r = exception_store_load (store, insert, table);
  took = seconds_now () - began;
  cpu = cpu_seconds () - cpu;
  memory = resident_bytes () - memory;
  if (r < 0)
    die ("%s: cannot be loaded: %s", name, strerror (-r));
  check_table (table);
  printf ("seconds %.3f\n", took);
  printf ("cpu_seconds %.3f\n", cpu);
  printf ("bytes_per_exception %.2f\n", memory / num_exceptions);
  exception_store_close (store);
  exception_table_destroy (table);
  bdev_close (bdev);
}

static void
usage (FILE *to)
{
  fprintf (to, "usage: store-load [OPTION]... FILE\n"
               "Makes FILE a store of random exceptions, loads it, removes "
               "it, and prints\n"
               "the seconds and the memory that took.\n"
               "  --exceptions N  (default 10000000)\n");
}

int
main (int argc, char *argv[])
{
  static const struct option long_options[] = {
    { "exceptions", required_argument, NULL, 'e' },
    { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
  };
  int c;

  program_name = "store-load";
  while ((c = getopt_long (argc, argv, "", long_options, NULL)) != -1) {
    switch (c) {
    case 'e':
      num_exceptions = parse_number ("exceptions", optarg, MAX_EXCEPTIONS);
      break;
    case 'h':
      usage (stdout);
      return 0;
    default:
      usage (stderr);
      return 2;
    }
  }
  if (optind != argc - 1) {
    usage (stderr);
    return 2;
  }
  choose_old_chunks ();
  make_store (argv[optind]);
  load_store (argv[optind]);
  unlink (argv[optind]);
  free (old_chunks);
  return 0;
}
