/* Folders for tests of what is kept in them, and a disk that fails fsync.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * fsync, renameat and unlinkat are defined here, before those of the C
 * library, so a test program includes this in one file only.
 */

#ifndef DM_META_TEST_H
#define DM_META_TEST_H

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "meta-dir.h"
#include "target-test.h"

/* What was called, such as "fsync file, rename a.new a, fsync dir".  The
   volume's own threads call too; a test looks when they do not.  */
static pthread_mutex_t calls_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t called = PTHREAD_COND_INITIALIZER;
static char calls_text[1024];

/* This call fails, counted from 0, and some after it; none: -1. */
static atomic_int failing_call = -1;
static atomic_int failing_count = 1;
static atomic_int calls_seen;

/* Is called first whenever a file is renamed, if it is not NULL. */
static void (*_Atomic before_rename) (void);

static inline void
watch_calls (int fail)
{
  (void) pthread_mutex_lock (&calls_lock);
  calls_text[0] = '\0';
  calls_seen = 0;
  failing_call = fail;
  (void) pthread_mutex_unlock (&calls_lock);
}

/* Another thread has made, or has tried to make, COUNT calls. */
static inline void
wait_for_calls (int count)
{
  (void) pthread_mutex_lock (&calls_lock);
  while (calls_seen < count)
    (void) pthread_cond_wait (&called, &calls_lock);
  (void) pthread_mutex_unlock (&calls_lock);
}

static inline bool
note_call (const char *text)
{
  bool fails;
  size_t n;

  (void) pthread_mutex_lock (&calls_lock);
  n = strlen (calls_text);
  (void) snprintf (calls_text + n, sizeof calls_text - n, "%s%s",
                   n > 0 ? ", " : "", text);
  fails = failing_call >= 0 && calls_seen >= failing_call &&
          calls_seen < failing_call + failing_count;
  calls_seen++;
  (void) pthread_cond_broadcast (&called);
  (void) pthread_mutex_unlock (&calls_lock);
  if (fails)
    errno = EIO;
  return !fails;
}

int
fsync (int fd)
{
  struct stat st;

  if (fstat (fd, &st) == -1 ||
      !note_call (S_ISDIR (st.st_mode) ? "fsync dir" : "fsync file"))
    return -1;
  return (int) syscall (SYS_fsync, fd);
}

int
renameat (int old_fd, const char *old, int new_fd, const char *new)
{
  void (*fn) (void) = atomic_load (&before_rename);
  char text[300];

  if (fn != NULL)
    fn ();
  (void) snprintf (text, sizeof text, "rename %s %s", old, new);
  if (!note_call (text))
    return -1;
  return (int) syscall (SYS_renameat2, old_fd, old, new_fd, new, 0);
}

/* A folder PATH inside a new one, which begins with PARENT. */
struct meta_test {
  char parent[TEST_PATH_BYTES];
  char path[TEST_PATH_BYTES + 16];
};

static inline void
meta_test_create (struct meta_test *t)
{
  make_test_folder (NULL, t->parent);
  (void) snprintf (t->path, sizeof t->path, "%s/meta", t->parent);
}

static inline void
meta_test_destroy (struct meta_test *t)
{
  remove_test_folder (t->parent);
}

/* Open it, or create it the first time. */
static inline struct meta_dir *
meta_test_open (struct meta_test *t)
{
  struct meta_dir *dir;
  int r = meta_dir_open (t->path, &dir);

  if (r == -ENOENT)
    r = meta_dir_create (t->path, &dir);
  ck_assert_int_eq (r, 0);
  return dir;
}

/* Put a file there without meta-dir.c.  It is not emptied first: that
 * makes some file systems wait for the disk.
 */
static inline void
put_file (const struct meta_test *t, const char *name, const void *data,
          size_t bytes)
{
  char path[TEST_PATH_BYTES + 300];
  int fd;

  (void) snprintf (path, sizeof path, "%s/%s", t->path, name);
  fd = open (path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (pwrite (fd, data, bytes, 0), (ssize_t) bytes);
  ck_assert_int_eq (ftruncate (fd, (off_t) bytes), 0);
  ck_assert_int_eq (close (fd), 0);
}

static inline bool
file_exists (const struct meta_test *t, const char *name)
{
  char path[TEST_PATH_BYTES + 300];

  (void) snprintf (path, sizeof path, "%s/%s", t->path, name);
  return access (path, F_OK) == 0;
}

#endif /* DM_META_TEST_H */
