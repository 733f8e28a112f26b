/* Does what it is told on a device of libdmio, for shell tests.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * usage: leg-io URI [TIMEOUT-MS [CONNECTIONS]]
 *
 * Prints "ready", or what opening has returned.  Then reads commands, one a
 * line, and answers each by one line: "ok", the name of an errno, or what
 * was asked for.  Messages of the library go to stderr.
 *
 *   write SECTOR COUNT SEED [fua]   a pattern that depends on SEED
 *   read SECTOR COUNT SEED          "differs" if it is not that pattern
 *   zeroes SECTOR COUNT             "differs" unless all read as zeroes
 *   zero SECTOR COUNT | punch SECTOR COUNT | discard SECTOR COUNT
 *   flush
 *   extent SECTOR COUNT             "hole N" or "data N"
 *   facts                           sectors and limits
 *   reconnect | fenced
 *   model SEED ROUNDS               random requests against an array
 *   race SECTOR COUNT               writes by 8 threads, all read back
 *   left                            how many descriptors and threads
 *   memory                          kilobytes that are resident
 *   lose                            break all connections
 *   tell PATH CHARACTER             to a filter's control socket
 *   since                           milliseconds that the last command took
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "bits.h"
#include "block-device.h"
#include "clock.h"
#include "log-sink.h"
#include "../unit/test-util.h"

static void
say_message (enum log_level level, const char *message)
{
  (void) level;
  fprintf (stderr, "leg-io: %s\n", message);
}

static void
answer (int r)
{
  printf ("%s\n", r == 0 ? "ok" : r > 0 ? "differs" : strerrorname_np (-r));
}

/*----- data ------------------------------------------------------------*/

static int
write_pattern (struct block_device *bdev, uint64_t sector, uint64_t count,
               uint64_t seed, unsigned flags)
{
  char *data = test_alloc_sectors (count);
  int r;

  fill_pattern (data, seed, sector, count);
  r = write_at (bdev, sector, count, data, flags);
  free (data);
  return r;
}

static int
read_pattern (struct block_device *bdev, uint64_t sector, uint64_t count,
              uint64_t seed)
{
  char *data = test_alloc_sectors (count);
  int r = read_at (bdev, sector, count, data);

  if (r == 0 &&
      first_wrong_sector (data, seed, sector, count) != sector + count)
    r = 1;
  free (data);
  return r;
}

static int
read_zeroes (struct block_device *bdev, uint64_t sector, uint64_t count)
{
  char *data = test_alloc_sectors (count);
  int r = read_at (bdev, sector, count, data);

  if (r == 0 && first_other_byte (data, 0, sector_to_bytes (count)) !=
                  sector_to_bytes (count))
    r = 1;
  free (data);
  return r;
}

#define MODEL_SECTORS 512U
#define MODEL_LONGEST 40U

static uint64_t
next_random (uint64_t *state)
{
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* Random requests at the start of the device, and what must be there. */
static int
run_model (struct block_device *bdev, uint64_t seed, uint64_t rounds)
{
  char *model = test_alloc_sectors (MODEL_SECTORS);
  char *data = test_alloc_sectors (MODEL_SECTORS);
  uint64_t state = seed * 2 + 1, i;
  int r = bdev_write_zeroes (bdev, 0, MODEL_SECTORS, 0);

  memset (model, 0, sector_to_bytes (MODEL_SECTORS));
  for (i = 0; i < rounds && r == 0; ++i) {
    sector_t sector = next_random (&state) % MODEL_SECTORS;
    sector_t longest = MIN_OF (MODEL_LONGEST, MODEL_SECTORS - sector);
    sector_t count = 1 + next_random (&state) % longest;
    size_t at = sector_to_bytes (sector), bytes = sector_to_bytes (count);
    unsigned flags = next_random (&state) % 8 == 0 ? BDEV_FUA : 0;

    switch (next_random (&state) % 8) {
    case 0:
      r = bdev_write_zeroes (bdev, sector, count, flags | BDEV_UNMAP);
      memset (model + at, 0, bytes);
      break;
    case 1:
      r = bdev_flush (bdev);
      break;
    case 2:
    case 3:
    case 4:
      r = read_at (bdev, sector, count, data);
      if (r == 0 && memcmp (data, model + at, bytes) != 0)
        r = 1;
      break;
    default:
      fill_pattern (model + at, i, sector, count);
      r = write_at (bdev, sector, count, model + at, flags);
    }
  }
  if (r == 0)
    r = read_at (bdev, 0, MODEL_SECTORS, data);
  if (r == 0 && memcmp (data, model, sector_to_bytes (MODEL_SECTORS)) != 0)
    r = 1;
  free (data);
  free (model);
  return r;
}

/*----- many threads ----------------------------------------------------*/

#define RACERS 8U

struct racer {
  struct block_device *bdev;
  struct thread thread;
  uint64_t sector, count, number;
  int error;
};

/* Each RACERS-th sector is this racer's, so that all share all blocks. */
static void
racer_main (void *arg)
{
  struct racer *r = arg;
  sector_t s;

  for (s = r->sector + r->number; s < r->sector + r->count && r->error == 0;
       s += RACERS)
    r->error = write_pattern (r->bdev, s, 1, 99, 0);
}

static int
run_race (struct block_device *bdev, uint64_t sector, uint64_t count)
{
  struct racer racers[RACERS];
  unsigned i;
  int r = 0;

  for (i = 0; i < RACERS; ++i) {
    racers[i] = (struct racer){
      .bdev = bdev, .sector = sector, .count = count, .number = i
    };
    must (thread_start (&racers[i].thread, "racer", racer_main, &racers[i]) ==
          0);
  }
  for (i = 0; i < RACERS; ++i) {
    thread_join (&racers[i].thread);
    if (racers[i].error != 0)
      r = racers[i].error;
  }
  return r == 0 ? read_pattern (bdev, sector, count, 99) : r;
}

/*----- this process ----------------------------------------------------*/

static unsigned
entries_of (const char *folder)
{
  DIR *dir = opendir (folder);
  unsigned count = 0;

  must (dir != NULL);
  while (readdir (dir) != NULL)
    count++;
  must (closedir (dir) == 0);
  return count;
}

static void
say_left (void)
{
  printf ("%u descriptors %u threads\n", entries_of ("/proc/self/fd"),
          entries_of ("/proc/self/task"));
}

static void
say_memory (void)
{
  char line[256];
  FILE *file = fopen ("/proc/self/status", "r");

  must (file != NULL);
  while (fgets (line, sizeof line, file) != NULL)
    if (strncmp (line, "VmRSS:", 6) == 0)
      printf ("%lu\n", strtoul (line + 6, NULL, 10));
  must (fclose (file) == 0);
}

static int
lose_connections (void)
{
  int fd;

  for (fd = 3; fd < 1024; ++fd) {
    struct stat st;

    if (fstat (fd, &st) == 0 && S_ISSOCK (st.st_mode))
      (void) shutdown (fd, SHUT_RDWR);
  }
  return 0;
}

static int
tell_filter (const char *path, char what)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM, 0);
  char reply;
  int n = snprintf (address.sun_path, sizeof address.sun_path, "%s", path);

  must (n < (int) sizeof address.sun_path && fd != -1);
  must (connect (fd, (struct sockaddr *) &address, sizeof address) == 0);
  must (write (fd, &what, 1) == 1);
  must (read (fd, &reply, 1) == 1);
  must (close (fd) == 0);
  return 0;
}

/*----- commands --------------------------------------------------------*/

static void
say_extent (struct block_device *bdev, uint64_t sector, uint64_t count)
{
  struct bdev_extent extent;
  int r = bdev_extent (bdev, sector, count, &extent);

  if (r < 0)
    answer (r);
  else
    printf ("%s %llu\n", extent.is_hole ? "hole" : "data",
            (unsigned long long) extent.count);
}

static void
say_facts (struct block_device *bdev)
{
  struct bdev_limits limits;

  bdev_get_limits (bdev, &limits);
  printf ("sectors %llu block %u optimal %u max %u\n",
          (unsigned long long) bdev_sectors (bdev), limits.block_bytes,
          limits.optimal_bytes, limits.max_bytes);
}

static void
do_command (struct block_device *bdev, const char *line)
{
  char name[32] = "", word[200] = "", last = 0;
  unsigned long long a = 0, b = 0, c = 0;

  (void) sscanf (line, "%31s %llu %llu %llu %199s", name, &a, &b, &c, word);
  if (strcmp (name, "write") == 0)
    answer (
      write_pattern (bdev, a, b, c, strcmp (word, "fua") == 0 ? BDEV_FUA : 0));
  else if (strcmp (name, "read") == 0)
    answer (read_pattern (bdev, a, b, c));
  else if (strcmp (name, "zeroes") == 0)
    answer (read_zeroes (bdev, a, b));
  else if (strcmp (name, "zero") == 0)
    answer (bdev_write_zeroes (bdev, a, b, 0));
  else if (strcmp (name, "punch") == 0)
    answer (bdev_write_zeroes (bdev, a, b, BDEV_UNMAP));
  else if (strcmp (name, "discard") == 0)
    answer (bdev_discard (bdev, a, b, 0));
  else if (strcmp (name, "flush") == 0)
    answer (bdev_flush (bdev));
  else if (strcmp (name, "extent") == 0)
    say_extent (bdev, a, b);
  else if (strcmp (name, "facts") == 0)
    say_facts (bdev);
  else if (strcmp (name, "reconnect") == 0)
    answer (bdev_reconnect (bdev, 0));
  else if (strcmp (name, "fenced") == 0)
    answer (bdev_reconnect (bdev, BDEV_RECONNECT_FENCED));
  else if (strcmp (name, "model") == 0)
    answer (run_model (bdev, a, b));
  else if (strcmp (name, "race") == 0)
    answer (run_race (bdev, a, b));
  else if (strcmp (name, "left") == 0)
    say_left ();
  else if (strcmp (name, "memory") == 0)
    say_memory ();
  else if (strcmp (name, "lose") == 0)
    answer (lose_connections ());
  else if (sscanf (line, "tell %199s %c", word, &last) == 2)
    answer (tell_filter (word, last));
  else
    printf ("unknown\n");
}

int
main (int argc, char **argv)
{
  struct bdev_options options = { .struct_size = sizeof options };
  struct block_device *bdev;
  uint64_t took_ns = 0;
  char line[512];
  int r;

  must (argc >= 2);
  if (argc >= 3)
    options.timeout_ms = (unsigned) strtoul (argv[2], NULL, 10);
  if (argc >= 4)
    options.connections = (unsigned) strtoul (argv[3], NULL, 10);
  must (setvbuf (stdout, NULL, _IOLBF, 0) == 0);
  log_sink_set (say_message);
  r = bdev_open_options (argv[1], &options, &bdev);
  if (r < 0) {
    answer (r);
    return 0;
  }
  printf ("ready\n");
  while (fgets (line, sizeof line, stdin) != NULL) {
    uint64_t start = clock_now_ns ();

    if (strcmp (line, "since\n") == 0) {
      printf ("%llu\n", (unsigned long long) (took_ns / 1000000));
      continue;
    }
    do_command (bdev, line);
    took_ns = clock_now_ns () - start;
  }
  bdev_close (bdev);
  return 0;
}
