/* A load for a file system: operations at random on files and folders.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * usage: fs-load FOLDER SEED PROGRESS
 *
 * Creates, writes, truncates, renames, links and removes in FOLDER, until
 * SIGTERM, with the CPU that nobody else wants.  What was done so far is
 * counted in the file PROGRESS, a decimal number.  Status 0: nothing went wrong
 * but what may, when names are chosen at random.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS 6
#define NAMES 12
#define MAX_FILE_BYTES (512U << 10)
#define MAX_WRITE_BYTES (24U << 10)
#define PROGRESS_STEP 16

static volatile sig_atomic_t must_stop;
static uint64_t state;
static unsigned char data[2 * MAX_WRITE_BYTES];

static void
stop (int signal)
{
  (void) signal;
  must_stop = 1;
}

/* xorshift64*: a number below LIMIT. */
static unsigned
choose (unsigned limit)
{
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return (unsigned) ((state * UINT64_C (0x2545f4914f6cdd1d)) >> 33) % limit;
}

struct name {
  char text[32];
};

/* A folder, or a file in one: both may be there or not. */
static struct name
choose_folder (void)
{
  struct name name;

  (void) snprintf (name.text, sizeof name.text, "d%u", choose (FOLDERS));
  return name;
}

static struct name
choose_file (void)
{
  struct name name;
  unsigned folder = choose (FOLDERS);

  (void) snprintf (name.text, sizeof name.text, "d%u/f%u", folder,
                   choose (NAMES));
  return name;
}

/* Some writes, and sometimes what makes them durable. */
static int
write_some (void)
{
  struct name name = choose_file ();
  int fd = open (name.text, O_RDWR | O_CREAT, 0644);
  unsigned i, count = 1 + choose (3);
  int r = 0;

  if (fd == -1)
    return -1;
  for (i = 0; i < count && r == 0; ++i) {
    size_t bytes = 1 + choose (MAX_WRITE_BYTES);
    off_t offset = choose (MAX_FILE_BYTES - MAX_WRITE_BYTES);

    if (pwrite (fd, data + choose (MAX_WRITE_BYTES), bytes, offset) == -1)
      r = -1;
  }
  if (r == 0 && choose (8) == 0)
    r = fsync (fd);
  if (r == 0 && choose (8) == 0)
    r = ftruncate (fd, choose (MAX_FILE_BYTES));
  if (r == -1) {
    int error = errno;

    (void) close (fd);
    errno = error;
    return -1;
  }
  return close (fd);
}

static int
do_one (void)
{
  struct name from = choose_file (), to = choose_file ();

  switch (choose (16)) {
  case 0:
    return mkdir (choose_folder ().text, 0755);
  case 1:
    return rmdir (choose_folder ().text);
  case 2:
    return rename (choose_folder ().text, choose_folder ().text);
  case 3:
  case 4:
    return rename (from.text, to.text);
  case 5:
    return link (from.text, to.text);
  case 6:
    return symlink (from.text, to.text);
  case 7:
  case 8:
  case 9:
    return unlink (from.text);
  default:
    return write_some ();
  }
}

/* What may happen, whatever the disk does. */
static int
may_be (int error)
{
  return error == ENOENT || error == EEXIST || error == ENOTEMPTY ||
         error == ELOOP || error == ENOTDIR || error == ENOSPC;
}

/* The whole number is there at any time, as it never gets shorter. */
static int
show_progress (int fd, unsigned long count)
{
  char text[24];
  int length = snprintf (text, sizeof text, "%lu\n", count);

  return pwrite (fd, text, (size_t) length, 0) == length ? 0 : -1;
}

int
main (int argc, char *argv[])
{
  struct sigaction action = { .sa_handler = stop };
  unsigned long count = 0;
  size_t i;
  int fd;

  if (argc != 4) {
    fprintf (stderr, "usage: fs-load FOLDER SEED PROGRESS\n");
    return 2;
  }
  state = strtoull (argv[2], NULL, 10) * UINT64_C (0x9e3779b97f4a7c15) + 1;
  for (i = 0; i < sizeof data; ++i)
    data[i] = (unsigned char) choose (256);
  fd = open (argv[3], O_RDWR | O_CREAT, 0644);
  (void) nice (19);
  if (sigaction (SIGTERM, &action, NULL) == -1 || fd == -1 ||
      chdir (argv[1]) == -1) {
    perror ("fs-load");
    return 1;
  }
  while (!must_stop) {
    if (do_one () == -1 && !may_be (errno)) {
      fprintf (stderr, "fs-load: after %lu: %s\n", count, strerror (errno));
      return 1;
    }
    if (++count % PROGRESS_STEP == 0 && show_progress (fd, count) == -1) {
      perror (argv[3]);
      return 1;
    }
  }
  return 0;
}
