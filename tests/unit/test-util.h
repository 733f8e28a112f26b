/* What the unit tests share: suites, patterns, folders and waiting.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Check's assertions belong to the thread that runs the test: callbacks
 * and threads note what they see, and the test asserts it afterwards.
 */

#ifndef DMIO_TEST_UTIL_H
#define DMIO_TEST_UTIL_H

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block-device.h"
#include "sector.h"
#include "sync.h"

/* Nothing takes so long unless it hangs. */
#define TEST_TIMEOUT_SECONDS 180

/* For what a test needs and does not test; inside tests and outside. */
#define must(condition) \
  do { \
    if (!(condition)) { \
      perror (__FILE__ ": " #condition); \
      abort (); \
    } \
  } while (0)

/*----- suites ----------------------------------------------------------*/

/* Run TESTS (names of START_TEST, ended by NULL), or the one that CK_RUN_CASE
 * names, each in a process of its own unless CK_FORK=no.  Returns what main is
 * to return.
 */
static inline int
unit_main (const char *name, const TTest *const *tests)
{
  Suite *suite = suite_create (name);
  SRunner *runner;
  int failed;

  for (; *tests != NULL; ++tests) {
    TCase *tcase = tcase_create ((*tests)->name);

    tcase_add_test (tcase, *tests);
    tcase_set_timeout (tcase, TEST_TIMEOUT_SECONDS);
    suite_add_tcase (suite, tcase);
  }
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_ENV);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* The same for tests that spend their time waiting: all at once, each in a
 * process of its own.
 */
static inline int
unit_main_at_once (const char *name, const TTest *const *tests)
{
  const char *fork_mode = getenv ("CK_FORK");
  bool has_failed = false;
  int status;

  if (getenv ("CK_RUN_CASE") != NULL ||
      (fork_mode != NULL && strcmp (fork_mode, "no") == 0))
    return unit_main (name, tests);
  for (; *tests != NULL; ++tests) {
    pid_t pid = fork ();

    must (pid != -1);
    if (pid == 0) {
      must (setenv ("CK_RUN_CASE", (*tests)->name, 1) == 0);
      exit (unit_main (name, (const TTest *const[]){ *tests, NULL }));
    }
  }
  while (wait (&status) != -1)
    if (!WIFEXITED (status) || WEXITSTATUS (status) != 0)
      has_failed = true;
  must (errno == ECHILD);
  return has_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* True where everything takes so long that a part must do: under valgrind,
 * see "make check-valgrind".
 */
static inline bool
unit_is_quick (void)
{
  return getenv ("DM_UNIT_QUICK") != NULL;
}

/*----- patterns --------------------------------------------------------*/

/* One sector of what nobody else writes: each 8 bytes depend on SEED, the
 * sector and the place in it.  Not instrumented: it is most of the work
 * of some tests, and DATA is its caller's own.
 */
__attribute__ ((no_sanitize ("thread"))) static inline void
make_pattern (unsigned char data[SECTOR_SIZE], uint64_t seed, sector_t sector)
{
  unsigned i;

  for (i = 0; i < SECTOR_SIZE / 8; ++i) {
    uint64_t x = (seed << 40) ^
                 (sector * (SECTOR_SIZE / 8) + i + 1) * 0x9e3779b97f4a7c15U;

    x ^= x >> 31;
    memcpy (data + 8 * i, &x, 8);
  }
}

/* Fill COUNT sectors with it; the first is number SECTOR. */
static inline void
fill_pattern (void *data, uint64_t seed, sector_t sector, sector_t count)
{
  unsigned char made[SECTOR_SIZE];
  unsigned char *at = data;
  sector_t s;

  for (s = sector; s < sector + count; ++s, at += SECTOR_SIZE) {
    make_pattern (made, seed, s);
    memcpy (at, made, SECTOR_SIZE);
  }
}

/* The first sector of COUNT (numbered from SECTOR) that is not as
 * fill_pattern makes it, or SECTOR + COUNT.
 */
static inline sector_t
first_wrong_sector (const void *data, uint64_t seed, sector_t sector,
                    sector_t count)
{
  const unsigned char *at = data;
  unsigned char expected[SECTOR_SIZE];
  sector_t s;

  for (s = sector; s < sector + count; ++s, at += SECTOR_SIZE) {
    make_pattern (expected, seed, s);
    if (memcmp (at, expected, SECTOR_SIZE) != 0)
      break;
  }
  return s;
}

#define assert_pattern(data, seed, sector, count) \
  ck_assert_uint_eq (first_wrong_sector ((data), (seed), (sector), (count)), \
                     (sector) + (count))

/* The first byte that is not BYTE, or BYTES. */
static inline size_t
first_other_byte (const void *data, unsigned char byte, size_t bytes)
{
  const unsigned char *at = data;
  size_t i;

  for (i = 0; i < bytes && at[i] == byte; ++i)
    ;
  return i;
}

#define assert_all_bytes(data, byte, bytes) \
  ck_assert_uint_eq (first_other_byte ((data), (byte), (bytes)), (bytes))

/* malloc that cannot fail; the caller frees. */
static inline void *
test_alloc (size_t bytes)
{
  void *memory = malloc (bytes > 0 ? bytes : 1);

  must (memory != NULL);
  return memory;
}

static inline void *
test_alloc_sectors (sector_t sectors)
{
  return test_alloc (sector_to_bytes (sectors));
}

/*----- devices ---------------------------------------------------------*/

/* One piece of memory. */
static inline struct iovec
piece (void *base, size_t bytes)
{
  return (struct iovec){ .iov_base = base, .iov_len = bytes };
}

static inline int
read_at (struct block_device *bdev, sector_t sector, sector_t count, void *data)
{
  struct iovec iov = piece (data, sector_to_bytes (count));

  return bdev_read (bdev, &iov, 1, sector);
}

static inline int
write_at (struct block_device *bdev, sector_t sector, sector_t count,
          void *data, unsigned flags)
{
  struct iovec iov = piece (data, sector_to_bytes (count));

  return bdev_write (bdev, &iov, 1, sector, flags);
}

/*----- waiting ---------------------------------------------------------*/

/* Counts how often something has happened. */
struct event_count {
  struct mutex lock;
  struct cond changed;
  unsigned count;
};

static inline void
event_count_init (struct event_count *e)
{
  mutex_init (&e->lock);
  cond_init (&e->changed);
  e->count = 0;
}

static inline void
event_count_destroy (struct event_count *e)
{
  cond_destroy (&e->changed);
  mutex_destroy (&e->lock);
}

static inline void
event_count_add (struct event_count *e)
{
  mutex_lock (&e->lock);
  e->count++;
  cond_broadcast (&e->changed);
  mutex_unlock (&e->lock);
}

static inline unsigned
event_count_get (struct event_count *e)
{
  unsigned count;

  mutex_lock (&e->lock);
  count = e->count;
  mutex_unlock (&e->lock);
  return count;
}

/* Wait until it has happened at least N times. */
static inline void
event_count_wait (struct event_count *e, unsigned n)
{
  mutex_lock (&e->lock);
  while (e->count < n)
    cond_wait (&e->changed, &e->lock);
  mutex_unlock (&e->lock);
}

/*----- folders ---------------------------------------------------------*/

#define TEST_PATH_BYTES 4096

/* Make a new folder below PARENT (NULL: TMPDIR, or /tmp); PATH has room
 * for TEST_PATH_BYTES.
 */
static inline void
make_test_folder (const char *parent, char *path)
{
  int n;

  if (parent == NULL)
    parent = getenv ("TMPDIR");
  if (parent == NULL)
    parent = "/tmp";
  n = snprintf (path, TEST_PATH_BYTES, "%s/dm-unit-XXXXXX", parent);
  must (n < TEST_PATH_BYTES);
  must (mkdtemp (path) != NULL);
}

static inline int
remove_one (const char *path, const struct stat *st, int type, struct FTW *ftw)
{
  (void) st;
  (void) type;
  (void) ftw;
  return remove (path);
}

/* Remove a folder with all that is in it. */
static inline void
remove_test_folder (const char *path)
{
  must (nftw (path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

#endif /* DMIO_TEST_UTIL_H */
