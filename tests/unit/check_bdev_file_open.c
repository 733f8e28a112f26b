/* Unit tests of opening a file as a block device.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bdev-file-test.h"
#include "fault-alloc.h"

/* What bdev_open returns when it fails; BDEV must not be touched. */
static int
open_error (const char *path, unsigned flags)
{
  struct block_device *untouched = (void *) &untouched;
  struct block_device *bdev = untouched;
  int r = bdev_open (path, flags, &bdev);

  ck_assert_int_lt (r, 0);
  ck_assert_ptr_eq (bdev, untouched);
  return r;
}

static unsigned
open_descriptors (void)
{
  DIR *dir = opendir ("/proc/self/fd");
  unsigned n = 0;

  ck_assert_ptr_nonnull (dir);
  while (readdir (dir) != NULL)
    ++n;
  ck_assert_int_eq (closedir (dir), 0);
  return n;
}

START_TEST (open_tells_why_not)
{
  unsigned fds;

  setup ();
  fds = open_descriptors ();
  ck_assert_int_eq (open_error (folder, 0), -EISDIR);
  ck_assert_int_eq (open_error (folder, BDEV_OPEN_READ_ONLY), -EISDIR);
  ck_assert_int_eq (open_error (path_of ("missing"), 0), -ENOENT);
  ck_assert_int_eq (open_error ("", 0), -ENOENT);
  ck_assert_int_eq (open_error (make_file ("f511", 511), 0), -EINVAL);
  ck_assert_int_eq (open_error (make_file ("f513", 513), 0), -EINVAL);
  ck_assert_int_eq (open_error (make_file ("both", 512),
                                BDEV_OPEN_DIRECT | BDEV_OPEN_BUFFERED),
                    -EINVAL);
  ck_assert_int_eq (open_error ("/dev/null", 0), -ENOTBLK);
  ck_assert_int_eq (mkfifo (path_of ("fifo"), 0600), 0);
  ck_assert_int_eq (open_error (path_of ("fifo"), 0), -ENOTBLK);
  ck_assert_int_eq (open_error (path_of ("fifo"), BDEV_OPEN_READ_ONLY),
                    -ENOTBLK);
  ck_assert_int_eq (symlink (path_of ("loop"), path_of ("loop")), 0);
  ck_assert_int_eq (open_error (path_of ("loop"), 0), -ELOOP);
  /* No file of /proc has O_DIRECT. */
  ck_assert_int_eq (open_error ("/proc/self/maps",
                                BDEV_OPEN_READ_ONLY | BDEV_OPEN_DIRECT),
                    -EOPNOTSUPP);
  ck_assert_uint_eq (open_descriptors (), fds);
  teardown ();
}
END_TEST

START_TEST (open_needs_permission)
{
  const char *path;
  bool is_root = geteuid () == 0;

  setup ();
  path = make_file ("mine", 512);
  ck_assert_int_eq (chmod (path, 0444), 0);
  ck_assert_int_eq (chmod (folder, 0755), 0);
  ck_assert_int_eq (chmod (plain_folder, 0755), 0);
  if (is_root)
    ck_assert_int_eq (seteuid (65534), 0);
  ck_assert_int_eq (open_error (path, 0), -EACCES);
  if (is_root)
    ck_assert_int_eq (seteuid (0), 0);
  teardown ();
}
END_TEST

START_TEST (open_fails_at_every_allocation)
{
  struct block_device *bdev = NULL;
  const char *path;
  unsigned fds, k;
  int r = -ENOMEM;

  setup ();
  path = make_file ("f", 4096);
  fds = open_descriptors ();
  for (k = 0; r != 0; ++k) {
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = bdev_open (path, 0, &bdev);
    ck_assert_int_eq (r, fault_alloc_stop () > 0 ? -ENOMEM : 0);
    if (r != 0)
      ck_assert_uint_eq (open_descriptors (), fds);
  }
  ck_assert_uint_ge (k, 5);
  ck_assert_uint_eq (open_descriptors (), fds + 1);
  bdev_close (bdev);
  ck_assert_uint_eq (open_descriptors (), fds);
  teardown ();
}
END_TEST

START_TEST (open_fd_owns_it_only_on_success)
{
  struct block_device *bdev;
  int fd;

  setup ();
  fd = open (make_file ("odd", 100), O_RDWR | O_CLOEXEC);
  ck_assert_int_ge (fd, 0);
  ck_assert_int_eq (bdev_open_fd (fd, "odd", 0, &bdev), -EINVAL);
  ck_assert_int_ge (fcntl (fd, F_GETFD), 0);
  ck_assert_int_eq (ftruncate (fd, 1024), 0);
  ck_assert_int_eq (bdev_open_fd (fd, "odd", 0, &bdev), 0);
  ck_assert_str_eq (bdev_name (bdev), "odd");
  ck_assert_uint_eq (bdev_sectors (bdev), 2);
  bdev_close (bdev);
  ck_assert_int_eq (fcntl (fd, F_GETFD), -1);
  ck_assert_int_eq (errno, EBADF);

  fd = open (folder, O_RDONLY | O_CLOEXEC);
  ck_assert_int_eq (bdev_open_fd (fd, "dir", 0, &bdev), -EISDIR);
  ck_assert_int_eq (close (fd), 0);
  teardown ();
}
END_TEST

/* What another process gets when it opens PATH: the exit status is the
 * positive errno, or 0.
 */
static int
open_in_child (const char *path, unsigned flags)
{
  pid_t pid = fork ();
  int status;

  ck_assert_int_ge (pid, 0);
  if (pid == 0) {
    struct block_device *bdev;

    _exit (-bdev_open (path, flags, &bdev));
  }
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  ck_assert (WIFEXITED (status));
  return -WEXITSTATUS (status);
}

START_TEST (exclusive_keeps_others_out)
{
  const unsigned ro = BDEV_OPEN_READ_ONLY, ex = BDEV_OPEN_EXCLUSIVE;
  struct block_device *bdev;
  const char *path;

  setup ();
  path = make_file ("f", 4096);

  bdev = open_file (path, ex);
  ck_assert_int_eq (open_in_child (path, ex), -EBUSY);
  ck_assert_int_eq (open_in_child (path, ex | ro), -EBUSY);
  ck_assert_int_eq (open_in_child (path, 0), 0); /* nobody asked */
  /* That one has closed it in the child: ours holds all the same. */
  ck_assert_int_eq (open_in_child (path, ex), -EBUSY);
  bdev_close (bdev);
  ck_assert_int_eq (open_in_child (path, ex), 0);

  bdev = open_file (path, ex | ro);
  ck_assert_int_eq (open_in_child (path, ex | ro), 0);
  ck_assert_int_eq (open_in_child (path, ex), -EBUSY);
  bdev_close (bdev);

  bdev = open_file (path, 0);
  ck_assert_int_eq (open_in_child (path, ex), 0);
  bdev_close (bdev);
  teardown ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    open_tells_why_not,
    open_needs_permission,
    open_fails_at_every_allocation,
    open_fd_owns_it_only_on_success,
    exclusive_keeps_others_out,
    NULL,
  };
  int r;

  make_test_folder (NULL, plain_folder);
  r = unit_main ("bdev-file-open", tests);
  remove_test_folder (plain_folder);
  return r;
}
