/* Unit tests of the folder that is the volume's memory.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <signal.h>
#include <sys/resource.h>

#include "fault-alloc.h"
#include "meta-test.h"

START_TEST (a_folder_is_created_for_its_owner)
{
  struct meta_test t;
  struct meta_dir *dir;
  struct stat st;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (stat (t.path, &st), 0);
  ck_assert_uint_eq (st.st_mode & 07777, 0700);
  ck_assert_int_eq (meta_dir_path (dir)[0], '/');
  ck_assert (!meta_dir_is_read_only (dir));
  meta_dir_close (dir);
  /* It is there now, and can be opened by another name. */
  ck_assert_int_eq (chdir (t.parent), 0);
  ck_assert_int_eq (meta_dir_open ("./meta/.", &dir), 0);
  ck_assert_str_eq (strrchr (meta_dir_path (dir), '/'), "/meta");
  ck_assert_int_eq (meta_dir_path (dir)[0], '/');
  meta_dir_close (dir);
  meta_dir_close (NULL);
  meta_test_destroy (&t);
}
END_TEST

START_TEST (a_folder_has_one_user)
{
  struct meta_dir *dir, *second = NULL;
  struct meta_test t;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (meta_dir_open (t.path, &second), -EBUSY);
  ck_assert_ptr_null (second);
  meta_dir_close (dir);
  dir = meta_test_open (&t);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

/* Looking takes no lock and waits for none. */
START_TEST (a_folder_may_be_looked_at)
{
  struct meta_dir *dir, *look;
  struct meta_test t;
  size_t length;
  char *text;

  meta_test_create (&t);
  ck_assert_int_eq (meta_dir_look (t.path, &look), -ENOENT);
  dir = meta_test_open (&t);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "text", 4), 0);
  ck_assert_int_eq (meta_dir_look (t.path, &look), 0);
  ck_assert (meta_dir_is_read_only (look));
  ck_assert_int_eq (meta_dir_read_file (look, "a", 10, &text, &length), 0);
  ck_assert_str_eq (text, "text");
  free (text);
  meta_dir_close (dir);
  dir = meta_test_open (&t);
  meta_dir_close (dir);
  meta_dir_close (look);
  meta_test_destroy (&t);
}
END_TEST

START_TEST (what_is_no_folder_is_refused)
{
  char path[TEST_PATH_BYTES + 100];
  struct meta_dir *dir = NULL;
  struct meta_test t;

  meta_test_create (&t);
  ck_assert_int_eq (meta_dir_open (t.path, &dir), -ENOENT);
  (void) snprintf (path, sizeof path, "%s/absent/meta", t.parent);
  ck_assert_int_eq (meta_dir_open (path, &dir), -ENOENT);
  ck_assert_int_eq (meta_dir_create (path, &dir), -ENOENT);
  ck_assert_int_eq (meta_dir_open ("", &dir), -ENOENT);
  (void) snprintf (path, sizeof path, "%s/file", t.parent);
  ck_assert_int_eq (fclose (fopen (path, "w")), 0);
  ck_assert_int_eq (meta_dir_open (path, &dir), -ENOTDIR);
  ck_assert_int_eq (meta_dir_create (path, &dir), -EEXIST);
  (void) snprintf (path, sizeof path, "%s/file/meta", t.parent);
  ck_assert_int_eq (meta_dir_open (path, &dir), -ENOTDIR);
  ck_assert_int_eq (meta_dir_create (path, &dir), -ENOTDIR);
  ck_assert_ptr_null (dir);
  meta_test_destroy (&t);
}
END_TEST

/* A folder that was created for nothing goes again; others stay. */
START_TEST (a_folder_can_be_abandoned)
{
  struct meta_dir *dir;
  struct meta_test t;

  meta_test_create (&t);
  ck_assert_int_eq (meta_dir_create (t.path, &dir), 0);
  meta_dir_abandon (dir);
  ck_assert_int_eq (meta_dir_open (t.path, &dir), -ENOENT);
  ck_assert_int_eq (meta_dir_create (t.path, &dir), 0);
  ck_assert (!meta_dir_has_file (dir, "a"));
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "x", 1), 0);
  ck_assert (meta_dir_has_file (dir, "a"));
  meta_dir_abandon (dir);
  ck_assert (file_exists (&t, "a"));
  ck_assert_int_eq (meta_dir_open (t.path, &dir), 0);
  ck_assert_int_eq (meta_dir_remove_file (dir, "a"), 0);
  meta_dir_abandon (dir); /* it was there before */
  ck_assert_int_eq (meta_dir_open (t.path, &dir), 0);
  meta_dir_close (dir);
  meta_dir_abandon (NULL);
  meta_test_destroy (&t);
}
END_TEST

#define NOBODY 65534

/* A disk that is full: what is written does not fit while this file is there,
 * and it itself never does.
 */
static char full_because_of[TEST_PATH_BYTES + 100];

ssize_t
write (int fd, const void *data, size_t bytes)
{
  if (full_because_of[0] != '\0' && access (full_because_of, F_OK) == 0) {
    errno = ENOSPC;
    return -1;
  }
  return (ssize_t) syscall (SYS_write, fd, data, bytes);
}

START_TEST (room_is_kept_for_a_full_disk)
{
  char room[TEST_PATH_BYTES + 100], text[8];
  struct meta_dir *dir;
  struct meta_test t;
  unsigned server, i;
  struct stat st;
  size_t length;
  char *read;

  meta_test_create (&t);
  (void) snprintf (room, sizeof room, "%s/" META_DIR_ROOM, t.path);
  for (server = 0; server < 2; ++server) {
    dir = meta_test_open (&t);
    /* Nothing is written before the first file is. */
    ck_assert_int_eq (access (room, F_OK), server == 0 ? -1 : 0);
    for (i = 0; i < 3; ++i) {
      bool is_full = i == 1;

      (void) snprintf (text, sizeof text, "%u.%u", server, i);
      (void) snprintf (full_because_of, sizeof full_because_of, "%s",
                       is_full ? room : "");
      ck_assert_int_eq (meta_dir_replace_file (dir, "a", text, 3), 0);
      ck_assert_int_eq (meta_dir_read_file (dir, "a", 100, &read, &length), 0);
      ck_assert_str_eq (read, text);
      free (read);
      ck_assert_int_eq (stat (room, &st), is_full ? -1 : 0);
      ck_assert (is_full || (st.st_size > 3 && st.st_blocks > 0));
    }
    meta_dir_close (dir);
  }
  /* There is nothing more to give up. */
  (void) snprintf (full_because_of, sizeof full_because_of, "%s/a", t.path);
  dir = meta_test_open (&t);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "new", 3), -ENOSPC);
  ck_assert (!meta_dir_is_doubtful (dir, "a"));
  full_because_of[0] = '\0';
  ck_assert_int_eq (meta_dir_read_file (dir, "a", 100, &read, &length), 0);
  ck_assert_str_eq (read, text);
  free (read);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

/* Refused before, or at, the point of no return. */
START_TEST (a_replacement_may_be_doubtful)
{
  char new_file[TEST_PATH_BYTES + 100], file[TEST_PATH_BYTES + 100];
  struct meta_dir *dir;
  struct meta_test t;

  meta_test_create (&t);
  (void) snprintf (new_file, sizeof new_file, "%s/a.new", t.path);
  (void) snprintf (file, sizeof file, "%s/a", t.path);
  dir = meta_test_open (&t);
  ck_assert (!meta_dir_is_doubtful (dir, "a"));
  ck_assert_int_eq (mkdir (new_file, 0700), 0);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "1", 1), -EISDIR);
  ck_assert (!meta_dir_is_doubtful (dir, "a"));
  ck_assert_int_eq (rmdir (new_file), 0);

  ck_assert_int_eq (mkdir (file, 0700), 0);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "2", 1), -EISDIR);
  ck_assert (meta_dir_is_doubtful (dir, "a"));
  ck_assert (!meta_dir_is_doubtful (dir, "b"));
  /* Neither a refusal that comes early changes that, nor another file. */
  ck_assert_int_eq (mkdir (new_file, 0700), 0);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "3", 1), -EISDIR);
  ck_assert_int_eq (meta_dir_replace_file (dir, "b", "3", 1), 0);
  ck_assert (meta_dir_is_doubtful (dir, "a"));
  ck_assert_int_eq (rmdir (new_file), 0);
  ck_assert_int_eq (rmdir (file), 0);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "4", 1), 0);
  ck_assert (!meta_dir_is_doubtful (dir, "a"));
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

/* Everything is for reading only.  Root can write all the same, so as
 * root this is tried as somebody else.
 */
START_TEST (a_folder_may_be_read_only)
{
  char path[TEST_PATH_BYTES + 100];
  struct block_device *bdev = NULL;
  struct meta_dir *dir;
  struct meta_test t;
  size_t length;
  char *text;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "text", 4), 0);
  ck_assert_int_eq (meta_dir_create_store (dir, "s", 4096, &bdev), 0);
  bdev_close (bdev);
  meta_dir_close (dir);
  (void) snprintf (path, sizeof path, "%s/a", t.path);
  ck_assert_int_eq (chmod (path, 0444), 0);
  (void) snprintf (path, sizeof path, "%s/s", t.path);
  ck_assert_int_eq (chmod (path, 0444), 0);
  ck_assert_int_eq (chmod (t.path, 0555), 0);
  ck_assert_int_eq (chmod (t.parent, 0755), 0);
  if (geteuid () == 0)
    ck_assert_int_eq (seteuid (NOBODY), 0);

  dir = meta_test_open (&t);
  ck_assert (meta_dir_is_read_only (dir));
  ck_assert_int_eq (meta_dir_read_file (dir, "a", 100, &text, &length), 0);
  ck_assert_str_eq (text, "text");
  free (text);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "new", 3), -EACCES);
  ck_assert_int_eq (meta_dir_remove_file (dir, "a"), -EACCES);
  ck_assert_int_eq (meta_dir_create_store (dir, "n", 512, &bdev), -EACCES);
  ck_assert_int_eq (meta_dir_open_store (dir, "s", &bdev), 0);
  ck_assert (bdev_is_read_only (bdev));
  bdev_close (bdev);
  meta_dir_close (dir);

  if (geteuid () == NOBODY && getuid () == 0) {
    ck_assert_int_eq (seteuid (0), 0);
    ck_assert_int_eq (chmod (t.path, 0), 0);
    ck_assert_int_eq (seteuid (NOBODY), 0);
    ck_assert_int_eq (meta_dir_open (t.path, &dir), -EACCES);
    ck_assert_int_eq (seteuid (0), 0);
  }
  ck_assert_int_eq (chmod (t.path, 0755), 0);
  meta_test_destroy (&t);
}
END_TEST

/*----- files -----------------------------------------------------------*/

#define assert_file(dir, name, expected, bytes) \
  do { \
    char *text_ = NULL; \
    size_t length_ = 0; \
    ck_assert_int_eq (meta_dir_read_file ((dir), (name), 1 << 20, &text_, \
                                          &length_), \
                      0); \
    ck_assert_uint_eq (length_, (bytes)); \
    ck_assert_mem_eq (text_, (expected), (bytes)); \
    ck_assert_int_eq (text_[length_], '\0'); \
    free (text_); \
  } while (0)

START_TEST (a_file_is_what_was_put_there)
{
  static const char binary[] = { 'a', '\0', 'b', '\n', (char) 0xff };
  char *big = test_alloc (300000), *text = NULL;
  struct meta_dir *dir;
  struct meta_test t;
  size_t length;

  memset (big, 'x', 300000);
  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (meta_dir_read_file (dir, "a", 100, &text, &length),
                    -ENOENT);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", big, 300000), 0);
  assert_file (dir, "a", big, 300000);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", binary, sizeof binary), 0);
  assert_file (dir, "a", binary, sizeof binary);
  ck_assert_int_eq (meta_dir_read_file (dir, "a", 4, &text, &length), -EFBIG);
  ck_assert_int_eq (meta_dir_read_file (dir, "a", 5, &text, &length), 0);
  free (text);
  text = NULL;
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "", 0), 0);
  assert_file (dir, "a", "", 0);
  ck_assert_int_lt (meta_dir_read_file (dir, ".", 100, &text, &length), 0);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  {
    int r = meta_dir_read_file (dir, "a", 100, &text, &length);

    (void) fault_alloc_stop ();
    ck_assert_int_eq (r, -ENOMEM);
  }
  ck_assert_ptr_null (text);
  meta_dir_close (dir);
  meta_test_destroy (&t);
  free (big);
}
END_TEST

START_TEST (links_are_not_followed)
{
  char path[TEST_PATH_BYTES + 100], *text = NULL;
  struct block_device *bdev = NULL;
  struct meta_dir *dir;
  struct meta_test t;
  size_t length;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "old", 3), 0);
  (void) snprintf (path, sizeof path, "%s/link", t.path);
  ck_assert_int_eq (symlink ("a", path), 0);
  (void) snprintf (path, sizeof path, "%s/b.new", t.path);
  ck_assert_int_eq (symlink ("a", path), 0);
  ck_assert_int_lt (meta_dir_read_file (dir, "link", 100, &text, &length), 0);
  ck_assert_int_lt (meta_dir_open_store (dir, "link", &bdev), 0);
  ck_assert_int_lt (meta_dir_replace_file (dir, "b", "new", 3), 0);
  assert_file (dir, "a", "old", 3);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

/* Written, flushed, renamed, and that flushed; when a step fails the old
 * file is there, and nothing else, unless the new one is in place already.
 */
START_TEST (a_file_is_replaced_all_at_once)
{
  struct meta_dir *dir;
  struct meta_test t;
  int fail;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  watch_calls (-1);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "old", 3), 0);
  ck_assert_str_eq (calls_text, "fsync file, rename a.new a, fsync dir");
  for (fail = 0; fail < 3; ++fail) {
    watch_calls (fail);
    ck_assert_int_eq (meta_dir_replace_file (dir, "a", "new!", 4), -EIO);
    watch_calls (-1);
    if (fail < 2)
      assert_file (dir, "a", "old", 3);
    else
      assert_file (dir, "a", "new!", 4);
    ck_assert (!file_exists (&t, "a.new"));
  }
  /* What a crash has left is in nobody's way. */
  put_file (&t, "a.new", "much longer than the file", 25);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "third", 5), 0);
  assert_file (dir, "a", "third", 5);
  ck_assert (!file_exists (&t, "a.new"));
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

START_TEST (a_full_disk_leaves_the_old_file)
{
  struct rlimit limit = { 10000, RLIM_INFINITY };
  char *big = test_alloc (300000), name[300];
  struct meta_dir *dir;
  struct meta_test t;

  memset (big, 'x', 300000);
  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "old", 3), 0);
  ck_assert (signal (SIGXFSZ, SIG_IGN) != SIG_ERR);
  ck_assert_int_eq (setrlimit (RLIMIT_FSIZE, &limit), 0);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", big, 300000), -EFBIG);
  limit.rlim_cur = RLIM_INFINITY;
  ck_assert_int_eq (setrlimit (RLIMIT_FSIZE, &limit), 0);
  assert_file (dir, "a", "old", 3);
  ck_assert (!file_exists (&t, "a.new"));
  memset (name, 'n', sizeof name - 1);
  name[sizeof name - 1] = '\0';
  ck_assert_int_eq (meta_dir_replace_file (dir, name, "x", 1), -ENAMETOOLONG);
  meta_dir_close (dir);
  meta_test_destroy (&t);
  free (big);
}
END_TEST

/*----- stores ----------------------------------------------------------*/

START_TEST (a_store_is_created_durably)
{
  unsigned char data[8 * SECTOR_SIZE];
  struct iovec iov = { data, sizeof data };
  struct block_device *bdev = NULL, *second = NULL;
  struct meta_dir *dir;
  struct meta_test t;
  int fail;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  watch_calls (-1);
  ck_assert_int_eq (meta_dir_create_store (dir, "s.cow", sizeof data, &bdev),
                    0);
  ck_assert_str_eq (calls_text, "fsync file, fsync dir");
  ck_assert_uint_eq (bdev_sectors (bdev), 8);
  ck_assert_ptr_nonnull (strstr (bdev_name (bdev), "s.cow"));
  ck_assert_int_eq (bdev_read (bdev, &iov, 1, 0), 0);
  assert_all_bytes (data, 0, sizeof data);
  fill_pattern (data, 3, 0, 8);
  ck_assert_int_eq (bdev_write (bdev, &iov, 1, 0, BDEV_FUA), 0);
  ck_assert_int_eq (meta_dir_create_store (dir, "s.cow", 512, &second),
                    -EEXIST);
  bdev_close (bdev);
  ck_assert_int_eq (meta_dir_open_store (dir, "s.cow", &bdev), 0);
  ck_assert_uint_eq (bdev_sectors (bdev), 8);
  memset (data, 0, sizeof data);
  ck_assert_int_eq (bdev_read (bdev, &iov, 1, 0), 0);
  assert_pattern (data, 3, 0, 8);
  bdev_close (bdev);

  ck_assert_int_eq (meta_dir_open_store (dir, "absent", &bdev), -ENOENT);
  ck_assert_int_eq (meta_dir_create_store (dir, "t", UINT64_MAX, &bdev),
                    -EFBIG);
  ck_assert_int_eq (meta_dir_create_store (dir, "t", 513, &bdev), -EINVAL);
  ck_assert (!file_exists (&t, "t"));
  for (fail = 0; fail < 2; ++fail) {
    watch_calls (fail);
    ck_assert_int_eq (meta_dir_create_store (dir, "t", 512, &bdev), -EIO);
    ck_assert (!file_exists (&t, "t"));
  }
  watch_calls (-1);
  put_file (&t, "odd", "odd", 3);
  ck_assert_int_eq (meta_dir_open_store (dir, "odd", &bdev), -EINVAL);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

START_TEST (a_file_is_removed_durably)
{
  struct meta_dir *dir;
  struct meta_test t;

  meta_test_create (&t);
  dir = meta_test_open (&t);
  ck_assert_int_eq (meta_dir_remove_file (dir, "absent"), 0);
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "x", 1), 0);
  watch_calls (-1);
  ck_assert_int_eq (meta_dir_remove_file (dir, "a"), 0);
  ck_assert_str_eq (calls_text, "fsync dir");
  ck_assert (!file_exists (&t, "a"));
  ck_assert_int_eq (meta_dir_replace_file (dir, "a", "x", 1), 0);
  watch_calls (0);
  ck_assert_int_eq (meta_dir_remove_file (dir, "a"), -EIO);
  watch_calls (-1);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

/* What a killed program has renamed, and not flushed, is believed by nobody
 * before it is durable.
 */
START_TEST (what_is_found_is_made_durable)
{
  struct meta_dir *dir = NULL;
  struct meta_test t;
  int fail;

  meta_test_create (&t);
  meta_dir_close (meta_test_open (&t));
  watch_calls (-1);
  ck_assert_int_eq (meta_dir_open (t.path, &dir), 0);
  ck_assert_str_eq (calls_text, "fsync dir, fsync dir");
  meta_dir_close (dir);
  for (fail = 0; fail < 2; ++fail) {
    watch_calls (fail);
    ck_assert_int_eq (meta_dir_open (t.path, &dir), -EIO);
  }
  watch_calls (-1);
  dir = meta_test_open (&t);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

START_TEST (want_of_memory_is_told)
{
  struct meta_dir *dir = NULL;
  struct meta_test t;
  unsigned failed;
  int r;

  meta_test_create (&t);
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  r = meta_dir_open (t.path, &dir);
  failed = fault_alloc_stop ();
  ck_assert_uint_gt (failed, 0);
  ck_assert_int_eq (r, -ENOMEM);
  /* The lock is not left behind. */
  dir = meta_test_open (&t);
  meta_dir_close (dir);
  meta_test_destroy (&t);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    a_folder_is_created_for_its_owner,
    a_folder_has_one_user,
    a_folder_may_be_looked_at,
    what_is_no_folder_is_refused,
    a_folder_can_be_abandoned,
    room_is_kept_for_a_full_disk,
    a_replacement_may_be_doubtful,
    a_folder_may_be_read_only,
    a_file_is_what_was_put_there,
    links_are_not_followed,
    a_file_is_replaced_all_at_once,
    a_full_disk_leaves_the_old_file,
    a_store_is_created_durably,
    a_file_is_removed_durably,
    what_is_found_is_made_durable,
    want_of_memory_is_told,
    NULL,
  };

  return unit_main ("meta-dir", tests);
}
