/* Copies one file, disk or NBD export to several at once with kcopyd.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   mirror-a-file [--progress] SOURCE DEST...
 *
 * Every DEST must exist and be at least as large as SOURCE.  Each is
 * reported on its own: one that cannot be written does not stop the
 * others.  With --progress a bar shows how far it is.
 *
 *   cc mirror-a-file.c $(pkg-config --cflags --libs dmio)
 */

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <dmio/kcopyd.h>

/* 4 MiB of pages for what is in flight. */
#define PAGES 1024

struct copy {
  pthread_mutex_t lock;
  pthread_cond_t ended;
  bool is_done;
  int read_err;
  unsigned int write_err;
};

/* How far the bar goes, and how often it is drawn. */
#define BAR_WIDTH 40
#define BAR_INTERVAL_NS 100000000

/* Runs on kcopyd's thread, once. */
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

static void
draw_bar (struct kcopyd_client *kc)
{
  struct kcopyd_progress progress = { .struct_size = sizeof progress };
  double part = 1;
  int i;

  if (kcopyd_client_progress (kc, &progress) < 0)
    return;
  if (progress.sectors_queued > 0)
    part = (double) progress.sectors_done / (double) progress.sectors_queued;
  fprintf (stderr, "\r[");
  for (i = 0; i < BAR_WIDTH; ++i)
    putc (i < (int) (part * BAR_WIDTH) ? '#' : '.', stderr);
  fprintf (stderr, "] %3d%%", (int) (part * 100));
}

static void
wait_for_copy (struct copy *copy, struct kcopyd_client *kc, bool show_progress)
{
  pthread_mutex_lock (&copy->lock);
  while (!copy->is_done) {
    struct timespec next;

    if (!show_progress) {
      pthread_cond_wait (&copy->ended, &copy->lock);
      continue;
    }
    draw_bar (kc);
    (void) timespec_get (&next, TIME_UTC);
    next.tv_nsec += BAR_INTERVAL_NS;
    next.tv_sec += next.tv_nsec / 1000000000;
    next.tv_nsec %= 1000000000;
    /* Whether the copy has ended or the time is over: the loop sees. */
    (void) pthread_cond_timedwait (&copy->ended, &copy->lock, &next);
  }
  pthread_mutex_unlock (&copy->lock);
  if (show_progress) {
    draw_bar (kc);
    putc ('\n', stderr);
  }
}

static struct block_device *
open_device (const char *name, unsigned flags)
{
  struct block_device *bdev;
  int r;

  /* A server cannot be locked against its other clients. */
  if (!bdev_spec_is_uri (name))
    flags |= BDEV_OPEN_EXCLUSIVE;
  r = bdev_open (name, flags, &bdev);
  if (r < 0) {
    fprintf (stderr, "mirror-a-file: %s: %s\n", name, strerror (-r));
    exit (EXIT_FAILURE);
  }
  return bdev;
}

/* Copy, flush what was written, and tell how each destination fared. */
static bool
copy_all (struct io_region *from, unsigned count, struct io_region *dests,
          bool show_progress)
{
  struct copy copy = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .ended = PTHREAD_COND_INITIALIZER,
  };
  struct kcopyd_client *kc;
  unsigned long flush_err = 0;
  bool ok = true;
  unsigned i;
  int r;

  r = kcopyd_client_create (PAGES, &kc);
  if (r == 0) {
    r = kcopyd_copy (kc, from, count, dests, 0, copied, &copy);
    if (r < 0)
      kcopyd_client_destroy (kc);
  }
  if (r < 0) {
    fprintf (stderr, "mirror-a-file: kcopyd: %s\n", strerror (-r));
    return false;
  }
  wait_for_copy (&copy, kc, show_progress);
  kcopyd_client_destroy (kc);

  if (copy.read_err) {
    fprintf (stderr, "mirror-a-file: %s: cannot be read\n",
             bdev_name (from->bdev));
    return false;
  }
  /* An error of one is a bit of its own, so this needs no other test. */
  (void) dm_io_sync_vm (count, dests, DM_IO_FLUSH, NULL, &flush_err);
  for (i = 0; i < count; ++i) {
    bool failed = (copy.write_err >> i & 1) || (flush_err >> i & 1);

    printf ("%s: %s\n", bdev_name (dests[i].bdev),
            failed ? "cannot be written" : "copied");
    ok = ok && !failed;
  }
  return ok;
}

int
main (int argc, char *argv[])
{
  struct io_region from = { .sector = 0 };
  struct io_region dests[KCOPYD_MAX_REGIONS];
  unsigned count, i;
  bool show_progress, ok;

  show_progress = argc > 1 && strcmp (argv[1], "--progress") == 0;
  if (show_progress) {
    ++argv;
    --argc;
  }
  if (argc < 3 || argc - 2 > KCOPYD_MAX_REGIONS) {
    fprintf (stderr,
             "usage: mirror-a-file [--progress] SOURCE DEST... (up to %d)\n",
             KCOPYD_MAX_REGIONS);
    return 2;
  }
  count = (unsigned) argc - 2;
  from.bdev = open_device (argv[1], BDEV_OPEN_READ_ONLY);
  from.count = bdev_sectors (from.bdev);
  for (i = 0; i < count; ++i) {
    dests[i] = from;
    dests[i].bdev = open_device (argv[2 + i], 0);
    if (bdev_sectors (dests[i].bdev) < from.count) {
      fprintf (stderr, "mirror-a-file: %s: is smaller than %s\n", argv[2 + i],
               argv[1]);
      return EXIT_FAILURE;
    }
  }

  ok = copy_all (&from, count, dests, show_progress);

  bdev_close (from.bdev);
  for (i = 0; i < count; ++i)
    bdev_close (dests[i].bdev);
  return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
