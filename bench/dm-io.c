/* Measures a dm-io write to several io_regions beside plain pwrite calls.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Prints a line of CSV for each run; bench/run-dm-io.sh makes tables and
 * charts of them, and bench/README.md says what they mean.
 *
 * A run is one subject on one number of files for some milliseconds.  Every
 * subject does the same: the same threads, buffers and offsets, on the same
 * files, which are written full beforehand.  A thread writes a part of each
 * file that is its own, so that what must be in a block afterwards is known:
 * each run is verified, outside of the measured time, by reading back every
 * block that it wrote from each file.  Rounds go over all runs; each round
 * begins with another one, and round 0 is for warming up and not printed.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dm-io.h"
#include "util.h"

#define MAX_FILES DM_IO_MAX_REGIONS
#define MAX_THREADS 256U
#define VERIFY_BYTES (1U << 20)

struct options {
  const char *label;
  const char *folder;
  bool is_direct;
  unsigned bytes;
  unsigned threads;
  unsigned rounds;
  unsigned run_ms;
  uint64_t file_bytes;
  unsigned counts[MAX_FILES]; /* numbers of io_regions to be measured */
  unsigned num_counts;
  unsigned num_files; /* the largest of counts */
};

struct worker {
  pthread_t thread;
  unsigned index;
  char *buffer;
  uint64_t first_block; /* its part of each file */
  uint64_t num_blocks;
  uint64_t calls; /* of the last run */

  /* Where an asynchronous call ends. */
  pthread_mutex_t lock;
  pthread_cond_t ended;
  bool is_ended;
  unsigned long error;
};

static struct options opt = {
  .label = "none",
  .bytes = 4096,
  .threads = 1,
  .rounds = 9,
  .run_ms = 100,
  .file_bytes = 32U << 20,
};

static struct worker workers[MAX_THREADS];
static int fds[MAX_FILES];
static struct block_device *bdevs[MAX_FILES];

/* The run that the workers are told to do. */
typedef void (*call_fn) (struct worker *w, uint64_t offset, unsigned count);
static pthread_barrier_t gate;
static call_fn run_call;
static unsigned run_count;
static unsigned run_round;
static uint64_t run_number;
static bool is_over;
static atomic_bool must_stop;

/* For each block of a file, the stamp that the run has written there last;
 * 0: not written.  Each worker touches its own part only.
 */
static uint64_t *stamps;

/*----- subjects --------------------------------------------------------*/

static void
call_pwrites (struct worker *w, uint64_t offset, unsigned count)
{
  unsigned i;

  for (i = 0; i < count; ++i) {
    ssize_t n = pwrite (fds[i], w->buffer, opt.bytes, (off_t) offset);

    if (n != (ssize_t) opt.bytes)
      die ("pwrite: %s", n == -1 ? strerror (errno) : "not all was written");
  }
}

static void
set_regions (struct io_region *where, uint64_t offset, unsigned count)
{
  unsigned i;

  for (i = 0; i < count; ++i) {
    where[i].bdev = bdevs[i];
    where[i].sector = offset / SECTOR_SIZE;
    where[i].count = opt.bytes / SECTOR_SIZE;
  }
}

static void
call_dm_io (struct worker *w, uint64_t offset, unsigned count)
{
  struct io_region where[MAX_FILES];
  unsigned long error_bits = 0;
  int r;

  set_regions (where, offset, count);
  r = dm_io_sync_vm (count, where, DM_IO_WRITE, w->buffer, &error_bits);
  if (r < 0)
    die ("dm_io_sync_vm: %s, error bits %#lx", strerror (-r), error_bits);
}

static void
async_ended (unsigned long error, void *context)
{
  struct worker *w = context;

  pthread_mutex_lock (&w->lock);
  w->error = error;
  w->is_ended = true;
  pthread_cond_signal (&w->ended);
  pthread_mutex_unlock (&w->lock);
}

static void
call_dm_io_async (struct worker *w, uint64_t offset, unsigned count)
{
  struct io_region where[MAX_FILES];
  int r;

  set_regions (where, offset, count);
  w->is_ended = false;
  r = dm_io_async_vm (count, where, DM_IO_WRITE, w->buffer, async_ended, w);
  if (r < 0)
    die ("dm_io_async_vm: %s", strerror (-r));
  pthread_mutex_lock (&w->lock);
  while (!w->is_ended)
    pthread_cond_wait (&w->ended, &w->lock);
  pthread_mutex_unlock (&w->lock);
  if (w->error != 0)
    die ("dm_io_async_vm: error bits %#lx", w->error);
}

/* For the test of this program: leaves the last file out, so that the run
 * must be found wrong.
 */
static void
call_wrong (struct worker *w, uint64_t offset, unsigned count)
{
  call_pwrites (w, offset, count - 1);
}

static struct subject {
  const char *name;
  call_fn call;
  bool is_wanted;
} subjects[] = {
  { "dm-io", call_dm_io, true },
  { "pwrite", call_pwrites, true },
  { "dm-io-async", call_dm_io_async, false },
  { "wrong", call_wrong, false },
};

#define NUM_SUBJECTS (sizeof subjects / sizeof subjects[0])

/*----- workers ---------------------------------------------------------*/

static uint64_t
next_random (uint64_t *state)
{
  uint64_t z = *state += 0x9e3779b97f4a7c15U;

  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
  z = (z ^ z >> 27) * 0x94d049bb133111ebU;
  return z ^ z >> 31;
}

/* Make the buffer of W what is written to BLOCK with STAMP. */
static void
stamp_buffer (char *buffer, uint64_t block, uint64_t stamp)
{
  uint64_t end = ~(stamp ^ block << 20);

  memcpy (buffer, &stamp, sizeof stamp);
  memcpy (buffer + opt.bytes - sizeof end, &end, sizeof end);
}

static void
work (struct worker *w)
{
  /* The same offsets for every subject of a round. */
  uint64_t seed = (uint64_t) run_round << 32 | w->index;
  uint64_t calls = 0;

  do { /* at least once, however busy the machine is */
    uint64_t block = w->first_block + next_random (&seed) % w->num_blocks;
    uint64_t stamp = run_number << 40 | (calls + 1);

    stamp_buffer (w->buffer, block, stamp);
    stamps[block] = stamp;
    run_call (w, block * opt.bytes, run_count);
    calls++;
  } while (!atomic_load_explicit (&must_stop, memory_order_relaxed));
  w->calls = calls;
}

static void *
worker_main (void *arg)
{
  for (;;) {
    pthread_barrier_wait (&gate);
    if (is_over)
      return NULL;
    work (arg);
    pthread_barrier_wait (&gate);
  }
}

static void
start_workers (void)
{
  uint64_t blocks = opt.file_bytes / opt.bytes;
  uint64_t share = blocks / opt.threads;
  unsigned i;
  size_t k;

  stamps = calloc (blocks, sizeof *stamps);
  if (stamps == NULL)
    die ("no memory");
  if (share == 0)
    die ("the files have fewer blocks than there are threads");
  pthread_barrier_init (&gate, NULL, opt.threads + 1);
  for (i = 0; i < opt.threads; ++i) {
    struct worker *w = &workers[i];
    uint64_t seed = i + 1;

    w->index = i;
    w->first_block = i * share;
    w->num_blocks = share;
    w->buffer = aligned_memory (opt.bytes);
    for (k = 0; k < opt.bytes; k += sizeof seed) {
      uint64_t random = next_random (&seed);

      memcpy (w->buffer + k, &random, sizeof random);
    }
    pthread_mutex_init (&w->lock, NULL);
    pthread_cond_init (&w->ended, NULL);
    if (pthread_create (&w->thread, NULL, worker_main, w) != 0)
      die ("no thread");
  }
}

static void
stop_workers (void)
{
  unsigned i;

  is_over = true;
  pthread_barrier_wait (&gate);
  for (i = 0; i < opt.threads; ++i) {
    pthread_join (workers[i].thread, NULL);
    free (workers[i].buffer);
  }
  pthread_barrier_destroy (&gate);
  free (stamps);
}

/*----- files -----------------------------------------------------------*/

static void
write_full (const char *name)
{
  char *buffer = aligned_memory (VERIFY_BYTES);
  int fd = open (name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  uint64_t done, seed = 1;

  if (fd == -1)
    die ("%s: %s", name, strerror (errno));
  for (done = 0; done < VERIFY_BYTES; ++done)
    buffer[done] = (char) next_random (&seed);
  for (done = 0; done < opt.file_bytes; done += VERIFY_BYTES)
    if (pwrite (fd, buffer, VERIFY_BYTES, (off_t) done) != VERIFY_BYTES)
      die ("%s: cannot be written full: %s", name, strerror (errno));
  if (fsync (fd) == -1)
    die ("%s: %s", name, strerror (errno));
  /* Direct writes need not search the page cache for what to drop. */
  if (opt.is_direct)
    (void) posix_fadvise (fd, 0, 0, POSIX_FADV_DONTNEED);
  close (fd);
  free (buffer);
}

static void
open_files (void)
{
  unsigned i;

  for (i = 0; i < opt.num_files; ++i) {
    char name[4096];
    int r;

    if (snprintf (name, sizeof name, "%s/%u", opt.folder, i) >=
        (int) sizeof name)
      die ("%s: the name is too long", opt.folder);
    write_full (name);
    fds[i] = open (name, O_RDWR | O_CLOEXEC | (opt.is_direct ? O_DIRECT : 0));
    if (fds[i] == -1)
      die ("%s: %s", name, strerror (errno));
    r = bdev_open (name, opt.is_direct ? BDEV_OPEN_DIRECT : BDEV_OPEN_BUFFERED,
                   &bdevs[i]);
    if (r < 0)
      die ("%s: %s", name, strerror (-r));
    unlink (name);
  }
}

static void
close_files (void)
{
  unsigned i;

  for (i = 0; i < opt.num_files; ++i) {
    close (fds[i]);
    bdev_close (bdevs[i]);
  }
}

/* The block in memory is what its worker must have written there. */
static bool
block_is_right (const char *data, uint64_t block)
{
  uint64_t share = opt.file_bytes / opt.bytes / opt.threads;
  char *expected = workers[block / share].buffer;

  stamp_buffer (expected, block, stamps[block]);
  return memcmp (data, expected, opt.bytes) == 0;
}

/* Read back what the run has written, from each file.  With O_DIRECT too:
 * the page cache stays empty, and what is on the disk is what counts.
 */
static void
verify (const char *subject)
{
  uint64_t blocks = opt.file_bytes / opt.bytes;
  uint64_t at_once = VERIFY_BYTES / opt.bytes > 0 ? VERIFY_BYTES / opt.bytes
                                                  : 1;
  char *data = aligned_memory (at_once * opt.bytes);
  uint64_t first, b;
  unsigned i;

  for (i = 0; i < run_count; ++i)
    for (first = 0; first < blocks; first += at_once) {
      uint64_t n = blocks - first < at_once ? blocks - first : at_once;
      bool is_read = false;

      for (b = first; b < first + n; ++b) {
        if (stamps[b] == 0)
          continue;
        if (!is_read &&
            pread (fds[i], data, n * opt.bytes, (off_t) (first * opt.bytes)) !=
              (ssize_t) (n * opt.bytes))
          die ("file %u cannot be read back: %s", i, strerror (errno));
        is_read = true;
        if (!block_is_right (data + (b - first) * opt.bytes, b))
          die ("%s: file %u, block %llu: not what was written last: "
               "figure void",
               subject, i, (unsigned long long) b);
      }
    }
  free (data);
  memset (stamps, 0, blocks * sizeof *stamps);
}

/*----- runs ------------------------------------------------------------*/

/* Dirty pages are written back now, not during somebody else's run. */
static void
settle_files (void)
{
  unsigned i;

  for (i = 0; i < run_count; ++i)
    if (fdatasync (fds[i]) == -1)
      die ("file %u: fdatasync: %s", i, strerror (errno));
}

static void
run (const struct subject *subject, unsigned count, unsigned round)
{
  const struct timespec length = {
    .tv_sec = opt.run_ms / 1000,
    .tv_nsec = (long) (opt.run_ms % 1000) * 1000000,
  };
  double began, took, cpu;
  uint64_t calls = 0;
  unsigned i;

  run_call = subject->call;
  run_count = count;
  run_round = round;
  run_number++;
  atomic_store (&must_stop, false);

  cpu = cpu_seconds ();
  began = seconds_now ();
  pthread_barrier_wait (&gate);
  nanosleep (&length, NULL);
  atomic_store (&must_stop, true);
  pthread_barrier_wait (&gate);
  took = seconds_now () - began;
  cpu = cpu_seconds () - cpu;

  for (i = 0; i < opt.threads; ++i)
    calls += workers[i].calls;
  verify (subject->name);
  settle_files ();
  if (round == 0)
    return;
  printf ("%s,%u,%u,%u,%u,%s,%.1f,%.3f\n", opt.label, opt.bytes, opt.threads,
          round, count, subject->name, (double) calls / took,
          cpu * 1e6 / (double) calls);
  fflush (stdout);
}

static void
run_rounds (void)
{
  const struct subject *wanted[NUM_SUBJECTS];
  unsigned num_wanted = 0, round, i;
  size_t s;

  for (s = 0; s < NUM_SUBJECTS; ++s)
    if (subjects[s].is_wanted)
      wanted[num_wanted++] = &subjects[s];
  /* The subjects of one count follow each other at once, in an order that
   * differs from round to round.
   */
  for (round = 0; round <= opt.rounds; ++round)
    for (i = 0; i < opt.num_counts; ++i)
      for (s = 0; s < num_wanted; ++s)
        run (wanted[(s + i + round) % num_wanted],
             opt.counts[(i + round) % opt.num_counts], round);
}

/*----- options ---------------------------------------------------------*/

static void
usage (FILE *to)
{
  fprintf (
    to, "usage: dm-io [OPTION]... FOLDER\n"
        "Writes files in FOLDER and prints, as CSV, for each run:\n"
        "label,bytes,threads,round,regions,subject,calls_per_second,"
        "cpu_us_per_call\n"
        "  --bytes N        of one write (default 4096)\n"
        "  --direct         O_DIRECT (default: the page cache)\n"
        "  --file-mib N     size of each file (default 32)\n"
        "  --label NAME     for the first column\n"
        "  --regions LIST   numbers of io_regions (default 1,2,3,4,5,6,7,8,9)\n"
        "  --rounds N       measured ones, after one that is not (default 9)\n"
        "  --run-ms N       length of one run (default 100)\n"
        "  --subjects LIST  of dm-io, pwrite, dm-io-async (default the first "
        "two)\n"
        "  --threads N      that write at once (default 1)\n");
}

static void
set_counts (char *list)
{
  char *word, *rest = NULL;

  opt.num_counts = opt.num_files = 0;
  for (word = strtok_r (list, ", ", &rest); word != NULL;
       word = strtok_r (NULL, ", ", &rest)) {
    unsigned n = parse_number ("regions", word, MAX_FILES);

    if (opt.num_counts == MAX_FILES)
      die ("--regions: too many");
    opt.counts[opt.num_counts++] = n;
    if (n > opt.num_files)
      opt.num_files = n;
  }
  if (opt.num_counts == 0)
    die ("--regions: none");
}

static void
set_subjects (char *list)
{
  char *word, *rest = NULL;
  size_t s;

  for (s = 0; s < NUM_SUBJECTS; ++s)
    subjects[s].is_wanted = false;
  for (word = strtok_r (list, ", ", &rest); word != NULL;
       word = strtok_r (NULL, ", ", &rest)) {
    for (s = 0; s < NUM_SUBJECTS && strcmp (word, subjects[s].name) != 0;)
      ++s;
    if (s == NUM_SUBJECTS)
      die ("--subjects: there is no %s", word);
    subjects[s].is_wanted = true;
  }
}

static const struct option long_options[] = {
  { "bytes", required_argument, NULL, 'b' },
  { "direct", no_argument, NULL, 'd' },
  { "file-mib", required_argument, NULL, 'f' },
  { "help", no_argument, NULL, 'h' },
  { "label", required_argument, NULL, 'l' },
  { "regions", required_argument, NULL, 'n' },
  { "rounds", required_argument, NULL, 'r' },
  { "run-ms", required_argument, NULL, 'm' },
  { "subjects", required_argument, NULL, 's' },
  { "threads", required_argument, NULL, 't' },
  { NULL, 0, NULL, 0 },
};

static void
parse_options (int argc, char *argv[])
{
  char all[] = "1,2,3,4,5,6,7,8,9";
  int c, index;

  set_counts (all);
  while ((c = getopt_long (argc, argv, "", long_options, &index)) != -1) {
    const char *name = c == '?' ? "" : long_options[index].name;

    switch (c) {
    case 'b':
      opt.bytes = parse_number (name, optarg, 64U << 20);
      break;
    case 'd':
      opt.is_direct = true;
      break;
    case 'f':
      opt.file_bytes = (uint64_t) parse_number (name, optarg, 1U << 20) << 20;
      break;
    case 'l':
      opt.label = optarg;
      break;
    case 'm':
      opt.run_ms = parse_number (name, optarg, 600000);
      break;
    case 'n':
      set_counts (optarg);
      break;
    case 'r':
      opt.rounds = parse_number (name, optarg, 10000);
      break;
    case 's':
      set_subjects (optarg);
      break;
    case 't':
      opt.threads = parse_number (name, optarg, MAX_THREADS);
      break;
    case 'h':
      usage (stdout);
      exit (0);
    default:
      usage (stderr);
      exit (2);
    }
  }
  if (optind != argc - 1) {
    usage (stderr);
    exit (2);
  }
  opt.folder = argv[optind];
  if (opt.bytes % SECTOR_SIZE != 0)
    die ("--bytes: not a multiple of %u: %u", SECTOR_SIZE, opt.bytes);
}

int
main (int argc, char *argv[])
{
  int r;

  program_name = "dm-io";
  parse_options (argc, argv);
  r = dm_io_get (MAX_THREADS);
  if (r < 0)
    die ("dm_io_get: %s", strerror (-r));
  open_files ();
  start_workers ();
  run_rounds ();
  stop_workers ();
  close_files ();
  dm_io_put (MAX_THREADS);
  return 0;
}
