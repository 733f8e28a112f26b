/* Copies a file to several others with kcopyd, as cp would to one.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What bench/run-kcopyd.sh measures beside cp, dd, qemu-img and nbdcopy: a
 * whole program, from its start to its end.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kcopyd.h"
#include "util.h"

struct options {
  bool is_direct;
  bool flush;
  bool allocate;  /* all of the destination, first */
  bool keep;      /* the destination's blocks: overwrite them */
  unsigned flags; /* of the job */
  struct kcopyd_options client;
};

static struct options opt = {
  .client = { .struct_size = sizeof (struct kcopyd_options),
              .num_pages = 1024 },
};

struct copy {
  pthread_mutex_t lock;
  pthread_cond_t ended;
  bool is_done;
  int read_err;
  unsigned int write_err;
};

static void
copied (int read_err, unsigned int write_err, void *context)
{
  struct copy *copy = context;

  pthread_mutex_lock (&copy->lock);
  copy->read_err = read_err;
  copy->write_err = write_err;
  copy->is_done = true;
  pthread_cond_signal (&copy->ended);
  pthread_mutex_unlock (&copy->lock);
}

/* Make NAME a file of SECTORS sectors. */
static void
make_file (const char *name, sector_t sectors)
{
  int fd = open (name,
                 O_WRONLY | O_CREAT | O_CLOEXEC | (opt.keep ? 0 : O_TRUNC),
                 0666);

  if (fd == -1 || ftruncate (fd, (off_t) sector_to_bytes (sectors)) == -1)
    die ("%s: %s", name, strerror (errno));
  /* What is not there makes each direct write wait for the others.  A file
   * system that cannot do it does without.
   */
  if (opt.allocate &&
      fallocate (fd, 0, 0, (off_t) sector_to_bytes (sectors)) == -1 &&
      errno != EOPNOTSUPP)
    die ("%s: cannot be allocated: %s", name, strerror (errno));
  if (close (fd) == -1)
    die ("%s: %s", name, strerror (errno));
}

static struct block_device *
open_device (const char *name, unsigned flags)
{
  struct block_device *bdev;
  int r;

  if (opt.is_direct)
    flags |= BDEV_OPEN_DIRECT;
  r = bdev_open (name, flags, &bdev);
  if (r < 0)
    die ("%s: %s", name, strerror (-r));
  return bdev;
}

static void
copy_all (struct io_region *from, unsigned count, struct io_region *dests)
{
  struct copy copy = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .ended = PTHREAD_COND_INITIALIZER,
  };
  struct kcopyd_client *kc;
  unsigned long flush_err = 0;
  int r;

  r = kcopyd_client_create_options (&opt.client, &kc);
  if (r < 0)
    die ("kcopyd_client_create: %s", strerror (-r));
  r = kcopyd_copy (kc, from, count, dests, opt.flags, copied, &copy);
  if (r < 0)
    die ("kcopyd_copy: %s", strerror (-r));
  pthread_mutex_lock (&copy.lock);
  while (!copy.is_done)
    pthread_cond_wait (&copy.ended, &copy.lock);
  pthread_mutex_unlock (&copy.lock);
  kcopyd_client_destroy (kc);
  if (copy.read_err != 0 || copy.write_err != 0)
    die ("read error %d, write error bits %#x", copy.read_err, copy.write_err);
  if (opt.flush &&
      dm_io_sync_vm (count, dests, DM_IO_FLUSH, NULL, &flush_err) < 0)
    die ("flush: error bits %#lx", flush_err);
}

static const struct option long_options[] = {
  { "allocate", no_argument, NULL, 'a' },
  { "direct", no_argument, NULL, 'd' },
  { "flush", no_argument, NULL, 'f' },
  { "help", no_argument, NULL, 'h' },
  { "keep", no_argument, NULL, 'k' },
  { "offload", no_argument, NULL, 'o' },
  { "pages", required_argument, NULL, 'p' },
  { "seq", no_argument, NULL, 'q' },
  { "sparse", no_argument, NULL, 's' },
  { "sub-job-kib", required_argument, NULL, 'b' },
  { "sub-jobs", required_argument, NULL, 'n' },
  { NULL, 0, NULL, 0 },
};

static void
usage (FILE *to)
{
  fprintf (to, "usage: kcopyd [OPTION]... SOURCE DEST...\n"
               "Copies SOURCE to each DEST, which is made as large.\n"
               "  --allocate      space for all of DEST, first\n"
               "  --direct        O_DIRECT, for all files\n"
               "  --flush         to the disk, before it ends\n"
               "  --keep          overwrite DEST where it is, not anew\n"
               "  --offload       KCOPYD_OFFLOAD\n"
               "  --pages N       of the client's reserve (default 1024)\n"
               "  --seq           KCOPYD_WRITE_SEQ\n"
               "  --sparse        KCOPYD_SPARSE\n"
               "  --sub-job-kib N size of a part (default that of kcopyd)\n"
               "  --sub-jobs N    parts in flight (default that of kcopyd)\n");
}

static void
parse_options (int argc, char *argv[])
{
  unsigned kib;
  int c;

  while ((c = getopt_long (argc, argv, "", long_options, NULL)) != -1) {
    switch (c) {
    case 'a':
      opt.allocate = true;
      break;
    case 'd':
      opt.is_direct = true;
      break;
    case 'f':
      opt.flush = true;
      break;
    case 'b':
      kib = parse_number ("sub-job-kib", optarg, 1U << 20);
      opt.client.sub_job_sectors = (sector_t) kib * (1024 / SECTOR_SIZE);
      break;
    case 'k':
      opt.keep = true;
      break;
    case 'n':
      opt.client.sub_jobs = parse_number ("sub-jobs", optarg, UINT_MAX);
      break;
    case 'o':
      opt.flags |= 1U << KCOPYD_OFFLOAD;
      break;
    case 'p':
      opt.client.num_pages = parse_number ("pages", optarg, UINT_MAX);
      break;
    case 'q':
      opt.flags |= 1U << KCOPYD_WRITE_SEQ;
      break;
    case 's':
      opt.flags |= 1U << KCOPYD_SPARSE;
      break;
    case 'h':
      usage (stdout);
      exit (0);
    default:
      usage (stderr);
      exit (2);
    }
  }
  if (argc - optind < 2 || argc - optind - 1 > KCOPYD_MAX_REGIONS) {
    usage (stderr);
    exit (2);
  }
}

int
main (int argc, char *argv[])
{
  struct io_region from = { .sector = 0 };
  struct io_region dests[KCOPYD_MAX_REGIONS];
  unsigned count, i;

  program_name = "kcopyd";
  parse_options (argc, argv);
  argv += optind;
  count = (unsigned) (argc - optind) - 1;

  from.bdev = open_device (argv[0], BDEV_OPEN_READ_ONLY);
  from.count = bdev_sectors (from.bdev);
  for (i = 0; i < count; ++i) {
    make_file (argv[1 + i], from.count);
    dests[i] = from;
    dests[i].bdev = open_device (argv[1 + i], 0);
  }
  copy_all (&from, count, dests);
  for (i = 0; i < count; ++i)
    bdev_close (dests[i].bdev);
  bdev_close (from.bdev);
  return 0;
}
