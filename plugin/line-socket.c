/* The file of a listening Unix socket: made safely, and removed again.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The order: a socket is made under a name of our own, closed to others, and
 * listens; then it is linked to the name that it is to have, which fails if
 * there is anything.  So whoever finds the name finds somebody who answers.
 *
 * A socket that nobody listens to is left by a server that was killed.  It
 * is renamed, asked once more, and only then removed: if another server has
 * made it meanwhile, it answers, and gets its name back.
 *
 * Everything is done relative to a descriptor of the folder, which nobody
 * can exchange under us, and which the daemon's change of folder leaves
 * alone.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "line-socket.h"
#include "log-sink.h"

#define BACKLOG 16
#define OWN_NAME_BYTES 48

/* Longest name of a socket, so that its address fits. */
#define NAME_MAX_BYTES 80

static int
say (const char *path, int r, const char *what, const char *remedy)
{
  char quote[LOG_QUOTE_BYTES];

  log_error ("control=%s: %s; %s", log_quote (path, quote), what, remedy);
  return r;
}

static int
say_errno (const char *path, int r, const char *what)
{
  char quote[LOG_QUOTE_BYTES];

  log_error ("control=%s: %s: %s; check the name, and the mode and owner of "
             "its folder",
             log_quote (path, quote), what, errno_text (r));
  return r;
}

/* The address of NAME in the folder: of any depth, and without links. */
static int
make_address (int folder, const char *name, struct sockaddr_un *address)
{
  int n;

  memset (address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  n = snprintf (address->sun_path, sizeof address->sun_path,
                "/proc/self/fd/%d/%s", folder, name);
  return n < (int) sizeof address->sun_path ? 0 : -ENAMETOOLONG;
}

/* Take PATH apart, open its folder, and see that others may not exchange
 * what is in it.
 */
static int
open_folder (const char *path, struct line_socket *s)
{
  const char *slash = strrchr (path, '/');
  const char *name = slash != NULL ? slash + 1 : path;
  char *folder, *real;
  struct stat st;
  int r;

  if (name[0] == '\0' || strcmp (name, ".") == 0 || strcmp (name, "..") == 0)
    return say (path, -EINVAL, "is not the name of a socket",
                "name a file that is to be made, such as vol.sock");
  if (strlen (name) > NAME_MAX_BYTES)
    return say (path, -ENAMETOOLONG, "its last part is too long",
                "give a name of at most 80 bytes");
  folder = slash == NULL   ? strdup (".")
           : slash == path ? strdup ("/")
                           : strndup (path, (size_t) (slash - path));
  if (folder == NULL)
    return -ENOMEM;
  real = realpath (folder, NULL);
  free (folder);
  if (real == NULL)
    return errno == ENOENT ? -ENOENT
                           : say_errno (path, -errno, "has no folder");
  s->folder = open (real, O_PATH | O_DIRECTORY | O_CLOEXEC);
  r = s->folder == -1 ? -errno : 0;
  if (r == 0 &&
      asprintf (&s->path, "%s/%s", real[1] != '\0' ? real : "", name) == -1) {
    s->path = NULL;
    r = -ENOMEM;
  }
  free (real);
  if (r < 0)
    return r;
  s->name = strrchr (s->path, '/') + 1;
  if (fstat (s->folder, &st) == -1)
    return -errno;
  if ((st.st_mode & (S_IWOTH | S_ISVTX)) == S_IWOTH)
    return say (path, -EPERM, "anybody may write to its folder",
                "make a folder of your own, with mode 0700");
  return 0;
}

/* Does anybody answer at NAME?  1 yes, 0 no, or a negative errno. */
static int
has_server (int folder, const char *name)
{
  struct sockaddr_un address;
  int fd, r = make_address (folder, name, &address);

  if (r < 0)
    return r;
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd == -1)
    return -errno;
  if (connect (fd, (const struct sockaddr *) &address, sizeof address) == 0)
    r = 1;
  else if (errno == ECONNREFUSED)
    r = 0;
  else if (errno == EAGAIN) /* it listens, and its queue is full */
    r = 1;
  else
    r = -errno;
  (void) close (fd);
  return r;
}

/* What is there already?  0: nothing; 1: a socket that nobody serves; or a
 * negative errno, which has been told.
 */
static int
look (const char *path, const struct line_socket *s)
{
  struct stat st;
  int r;

  if (fstatat (s->folder, s->name, &st, AT_SYMLINK_NOFOLLOW) == -1)
    return errno == ENOENT ? 0
                           : say_errno (path, -errno, "cannot be looked at");
  if (S_ISLNK (st.st_mode))
    return say (path, -EEXIST, "is a link",
                "name the socket itself; a link is not followed");
  if (!S_ISSOCK (st.st_mode))
    return say (path, -EEXIST, "exists, and is no socket",
                "give another name, or move it away");
  if (st.st_uid != geteuid ())
    return say (path, -EPERM, "is a socket of another user",
                "give another name");
  r = has_server (s->folder, s->name);
  if (r < 0)
    return say_errno (path, r, "cannot be asked if a server is there");
  if (r == 0)
    return 1;
  return say (path, -EADDRINUSE, "is in use by another server",
              "stop that first, or give this volume a socket of its own");
}

/* Remove a socket that nobody serves. */
static int
remove_stale (const char *path, struct line_socket *s, const char *own)
{
  int r;

  if (renameat (s->folder, s->name, s->folder, own) == -1)
    return say_errno (path, -errno,
                      "is of a server that was killed, and "
                      "cannot be removed");
  r = has_server (s->folder, own);
  if (r != 0) {
    /* It is another one than we saw: it gets its name back. */
    if (linkat (s->folder, own, s->folder, s->name, 0) == 0)
      (void) unlinkat (s->folder, own, 0);
    return say (path, -EADDRINUSE, "is in use by another server",
                "stop that first, or give this volume a socket of its own");
  }
  if (unlinkat (s->folder, own, 0) == -1)
    return say_errno (path, -errno,
                      "is of a server that was killed, and "
                      "cannot be removed");
  log_info ("control=%s: a socket that nobody served is removed", s->path);
  return 0;
}

/* Make a socket that listens, as OWN, which only we may connect to. */
static int
listen_as (struct line_socket *s, const char *own)
{
  struct sockaddr_un address;
  struct stat st;
  mode_t mask;
  int r = make_address (s->folder, own, &address);

  if (r < 0)
    return r;
  s->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (s->fd == -1)
    return -errno;
  /* Not chmod later: nobody may connect in between. */
  mask = umask (0177);
  r = bind (s->fd, (const struct sockaddr *) &address, sizeof address) == -1
        ? -errno
        : 0;
  (void) umask (mask);
  if (r < 0)
    return r;
  if (listen (s->fd, BACKLOG) == -1 ||
      fstatat (s->folder, own, &st, AT_SYMLINK_NOFOLLOW) == -1) {
    r = -errno;
    (void) unlinkat (s->folder, own, 0);
    return r;
  }
  s->device = st.st_dev;
  s->inode = st.st_ino;
  return 0;
}

static void
close_socket (struct line_socket *s)
{
  if (s->fd >= 0)
    (void) close (s->fd);
  if (s->folder >= 0)
    (void) close (s->folder);
  free (s->path);
  *s = (struct line_socket){ .folder = -1, .fd = -1 };
}

int
line_socket_check (const char *path)
{
  struct line_socket s = { .folder = -1, .fd = -1 };
  int r = open_folder (path, &s);

  /* meta= may be about to make the folder. */
  if (r == -ENOENT)
    r = 0;
  else if (r == 0)
    r = look (path, &s);
  close_socket (&s);
  return r < 0 ? r : 0;
}

int
line_socket_create (const char *path, struct line_socket *s)
{
  char own[OWN_NAME_BYTES];
  int r;

  *s = (struct line_socket){ .folder = -1, .fd = -1 };
  (void) snprintf (own, sizeof own, ".dmnbd-control-%ld", (long) getpid ());
  r = open_folder (path, s);
  if (r == -ENOENT)
    say (path, r, "its folder does not exist", "create that first");
  if (r < 0)
    goto err_close;
  r = look (path, s);
  if (r == 1)
    r = remove_stale (path, s, own);
  if (r < 0)
    goto err_close;
  /* What a process of our number has left when it was killed. */
  (void) unlinkat (s->folder, own, 0);
  r = listen_as (s, own);
  if (r < 0) {
    say_errno (path, r, "the socket cannot be made");
    goto err_close;
  }
  if (linkat (s->folder, own, s->folder, s->name, 0) == -1) {
    r = errno == EEXIST ? -EADDRINUSE : -errno;
    say_errno (path, r, "the socket cannot be named");
  }
  (void) unlinkat (s->folder, own, 0);
  if (r == 0)
    return 0;

err_close:
  close_socket (s);
  return r;
}

void
line_socket_destroy (struct line_socket *s)
{
  struct stat st;

  /* First the name, so that nobody finds what no longer answers. */
  if (s->fd >= 0 &&
      fstatat (s->folder, s->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
      st.st_dev == s->device && st.st_ino == s->inode)
    (void) unlinkat (s->folder, s->name, 0);
  close_socket (s);
}

int
line_socket_accept (struct line_socket *s, bool *is_stranger)
{
  struct ucred peer;
  socklen_t length = sizeof peer;
  int fd = accept4 (s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

  if (fd == -1)
    return -errno;
  *is_stranger = getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) ==
                   -1 ||
                 (peer.uid != 0 && peer.uid != geteuid ());
  return fd;
}
