/* Unit tests of the control socket's file, clients, bounds and time-outs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The clock is set forward here instead of waiting (LINE_SERVER_FLAGS of
 * tests/Makefile.inc lead clock_now_ns to this file).
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "bits.h"
#include "clock.h"
#include "fault-alloc.h"
#include "line-server.h"
#include "target-test.h"

/*----- the clock -------------------------------------------------------*/

static _Atomic uint64_t clock_offset_ns;
static _Atomic uint64_t clock_stopped_ns; /* 0: it runs */
static struct event_count clock_looks;    /* while it does not */

uint64_t __real_clock_now_ns (void);
uint64_t __wrap_clock_now_ns (void);

uint64_t
__wrap_clock_now_ns (void)
{
  uint64_t stopped_ns = atomic_load (&clock_stopped_ns);

  if (stopped_ns == 0)
    return __real_clock_now_ns () + atomic_load (&clock_offset_ns);
  event_count_add (&clock_looks);
  return stopped_ns;
}

/*----- a server that echoes --------------------------------------------*/

/* "wait" is LINE_PENDING until the test ends it; "patient" makes the client
 * so; "big" is answered by much; anything else comes back.
 */
struct rig {
  char folder[TEST_PATH_BYTES];
  char path[TEST_PATH_BYTES + 16];
  struct line_server *server;
  struct event_count pending, gone, lines;
  _Atomic line_client_t waiting, patient;
  atomic_uint pushes_left;
};

#define BIG_BYTES 300000
#define PUSH_BYTES 4000

static enum line_result
echo (void *opaque, line_client_t client, char *line, size_t length)
{
  struct rig *rig = opaque;

  event_count_add (&rig->lines);
  if (strcmp (line, "wait") == 0) {
    atomic_store (&rig->waiting, client);
    event_count_add (&rig->pending);
    return LINE_PENDING;
  }
  if (strcmp (line, "patient") == 0)
    atomic_store (&rig->patient, client);
  if (strcmp (line, "big") == 0) {
    char *big = test_alloc (BIG_BYTES);

    memset (big, 'b', BIG_BYTES - 1);
    big[BIG_BYTES - 1] = '\n';
    line_server_send (rig->server, client, big, BIG_BYTES);
    free (big);
    return LINE_DONE;
  }
  line[length] = '\n';
  line_server_send (rig->server, client, line, length + 1);
  return LINE_DONE;
}

static void
room (void *opaque, line_client_t client)
{
  struct rig *rig = opaque;
  char push[PUSH_BYTES];

  if (client != atomic_load (&rig->patient) ||
      atomic_load (&rig->pushes_left) == 0)
    return;
  atomic_fetch_sub (&rig->pushes_left, 1);
  memset (push, 'p', sizeof push);
  push[PUSH_BYTES - 1] = '\n';
  line_server_send (rig->server, client, push, sizeof push);
}

static bool
is_patient (void *opaque, line_client_t client)
{
  struct rig *rig = opaque;

  return client == atomic_load (&rig->patient);
}

static void
gone (void *opaque, line_client_t client)
{
  struct rig *rig = opaque;

  (void) client;
  event_count_add (&rig->gone);
}

static const struct line_server_ops ops = {
  .line = echo,
  .room = room,
  .is_patient = is_patient,
  .gone = gone,
  .too_many_line = "too many\n",
  .too_long_line = "too long\n",
  .stranger_line = "stranger\n",
};

static void
rig_create (struct rig *rig)
{
  memset (rig, 0, sizeof *rig);
  capture_messages ();
  make_test_folder (NULL, rig->folder);
  snprintf (rig->path, sizeof rig->path, "%s/s.sock", rig->folder);
  event_count_init (&rig->pending);
  event_count_init (&rig->gone);
  event_count_init (&rig->lines);
}

static void
rig_start (struct rig *rig)
{
  rig_create (rig);
  ck_assert_int_eq (line_server_create (rig->path, &ops, rig, &rig->server), 0);
  ck_assert_int_eq (line_server_start (rig->server), 0);
}

static void
rig_destroy (struct rig *rig)
{
  line_server_destroy (rig->server);
  event_count_destroy (&rig->lines);
  event_count_destroy (&rig->gone);
  event_count_destroy (&rig->pending);
  remove_test_folder (rig->folder);
}

static void
pass_time (struct rig *rig, unsigned seconds)
{
  atomic_fetch_add (&clock_offset_ns, seconds * NS_PER_SECOND);
  line_server_wake (rig->server);
}

/*----- clients ---------------------------------------------------------*/

static struct sockaddr_un
address_of (const char *path)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };

  must (strlen (path) < sizeof address.sun_path);
  memcpy (address.sun_path, path, strlen (path));
  return address;
}

static int
try_connect (const char *path)
{
  struct sockaddr_un address = address_of (path);
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  must (fd >= 0);
  if (connect (fd, (struct sockaddr *) &address, sizeof address) == 0)
    return fd;
  close (fd);
  return -1;
}

static int
client (struct rig *rig)
{
  int fd = try_connect (rig->path);

  must (fd >= 0);
  return fd;
}

static void
say (int fd, const char *text)
{
  size_t length = strlen (text);

  ck_assert_int_eq (send (fd, text, length, MSG_NOSIGNAL), (ssize_t) length);
}

/* Read exactly this, or fail. */
static void
hear (int fd, const char *text)
{
  char buffer[256];
  size_t length = strlen (text), got = 0;

  must (length < sizeof buffer);
  while (got < length) {
    ssize_t n = recv (fd, buffer + got, length - got, 0);

    ck_assert_int_gt (n, 0);
    got += (size_t) n;
  }
  buffer[got] = '\0';
  ck_assert_str_eq (buffer, text);
}

/* Read COUNT pushes. */
static void
hear_pushes (int fd, unsigned count)
{
  char *buffer = test_alloc (65536);
  size_t left = (size_t) count * PUSH_BYTES;

  while (left > 0) {
    ssize_t n = recv (fd, buffer, left < 65536 ? left : 65536, 0);

    ck_assert_int_gt (n, 0);
    left -= (size_t) n;
  }
  free (buffer);
}

/* It has been closed by the server: no more comes. */
static void
hear_end (int fd)
{
  char byte;

  ck_assert_int_le (recv (fd, &byte, 1, 0), 0);
  close (fd);
}

START_TEST (lines_are_answered_in_order)
{
  struct rig rig;
  int fd, other;

  rig_start (&rig);
  fd = client (&rig);
  say (fd, "one\ntwo\nthr");
  hear (fd, "one\ntwo\n");
  say (fd, "ee\n\n");
  hear (fd, "three\n\n");
  /* What waits keeps back what follows, but not other clients. */
  say (fd, "wait\nfour\n");
  event_count_wait (&rig.pending, 1);
  other = client (&rig);
  say (other, "five\n");
  hear (other, "five\n");
  ck_assert_uint_eq (event_count_get (&rig.lines), 6);
  line_server_send (rig.server, rig.waiting, "waited\n", 7);
  line_server_end_line (rig.server, rig.waiting);
  hear (fd, "waited\nfour\n");
  close (fd);
  close (other);
  event_count_wait (&rig.gone, 2);
  rig_destroy (&rig);
}
END_TEST

/* What is sent before a client stops sending is answered. */
START_TEST (a_client_may_end_its_side)
{
  struct rig rig;
  int fd;

  rig_start (&rig);
  fd = client (&rig);
  say (fd, "wait\none\ntwo\nhal");
  shutdown (fd, SHUT_WR);
  event_count_wait (&rig.pending, 1);
  line_server_end_line (rig.server, rig.waiting);
  hear (fd, "one\ntwo\n");
  hear_end (fd);
  /* And done, even if nobody is there for the answer. */
  fd = client (&rig);
  say (fd, "wait\nthree\n");
  event_count_wait (&rig.pending, 2);
  close (fd);
  line_server_end_line (rig.server, rig.waiting);
  event_count_wait (&rig.lines, 5);
  event_count_wait (&rig.gone, 2);
  rig_destroy (&rig);
}
END_TEST

START_TEST (lines_are_bounded)
{
  char *line = test_alloc (LINE_SERVER_MAX_LINE + 1);
  struct rig rig;
  size_t got = 0;
  int fd;

  rig_start (&rig);
  memset (line, 'x', LINE_SERVER_MAX_LINE);
  line[LINE_SERVER_MAX_LINE] = '\0';
  /* The longest that there may be, and one that is longer. */
  line[LINE_SERVER_MAX_LINE - 1] = '\n';
  fd = client (&rig);
  say (fd, line);
  while (got < LINE_SERVER_MAX_LINE) {
    ssize_t n = recv (fd, line, LINE_SERVER_MAX_LINE - got, 0);

    ck_assert_int_gt (n, 0);
    got += (size_t) n;
  }
  memset (line, 'x', LINE_SERVER_MAX_LINE);
  say (fd, line);
  hear (fd, "too long\n");
  hear_end (fd);
  free (line);
  rig_destroy (&rig);
}
END_TEST

START_TEST (half_a_line_may_not_stay)
{
  struct rig rig;
  int fd, idle;

  rig_start (&rig);
  idle = client (&rig);
  fd = client (&rig);
  say (fd, "one\nhal");
  hear (fd, "one\n");
  pass_time (&rig, LINE_SERVER_LINE_SECONDS + 1);
  hear_end (fd);
  /* Who says nothing may stay. */
  pass_time (&rig, 100000);
  say (idle, "two\n");
  hear (idle, "two\n");
  close (idle);
  rig_destroy (&rig);
}
END_TEST

/* A client that does not read is not read from, and costs no more memory. */
START_TEST (who_does_not_read_is_dropped)
{
  struct line_server_counts counts;
  struct rig rig;
  unsigned lines;
  int fd, other, i;

  rig_start (&rig);
  fd = client (&rig);
  for (i = 0; i < 50; ++i)
    say (fd, "big\n");
  event_count_wait (&rig.lines, 1);
  other = client (&rig);
  say (other, "one\n");
  hear (other, "one\n");
  lines = event_count_get (&rig.lines);
  ck_assert_uint_lt (lines, 10);
  pass_time (&rig, LINE_SERVER_READ_SECONDS + 1);
  event_count_wait (&rig.gone, 1);
  ck_assert_uint_eq (event_count_get (&rig.lines), lines);
  line_server_get_counts (rig.server, &counts);
  ck_assert_uint_eq (counts.clients, 1);
  ck_assert_uint_eq (counts.accepted, 2);
  ck_assert_uint_eq (counts.dropped, 1);
  close (fd);
  close (other);
  rig_destroy (&rig);
}
END_TEST

/* Who reads slowly, but reads, gets everything. */
START_TEST (slow_readers_get_all)
{
  char *buffer = test_alloc (BIG_BYTES);
  struct rig rig;
  size_t got = 0;
  int fd, i;

  rig_start (&rig);
  fd = client (&rig);
  for (i = 0; i < 20; ++i)
    say (fd, "big\n");
  while (got < 20 * (size_t) BIG_BYTES) {
    ssize_t n = recv (fd, buffer, 7777, 0);

    ck_assert_int_gt (n, 0);
    got += (size_t) n;
    if (got % 5 == 0)
      pass_time (&rig, 1);
  }
  ck_assert_uint_eq (event_count_get (&rig.lines), 20);
  close (fd);
  free (buffer);
  rig_destroy (&rig);
}
END_TEST

/* Who waits for what is pushed may be slow for ever, and gets all of it. */
START_TEST (what_is_pushed_waits_for_its_reader)
{
  struct rig rig;
  int fd;

  rig_start (&rig);
  fd = client (&rig);
  say (fd, "patient\n");
  hear (fd, "patient\n");
  atomic_store (&rig.pushes_left, 1000);
  pass_time (&rig, 1000000);
  hear_pushes (fd, 1000);
  ck_assert_uint_eq (atomic_load (&rig.pushes_left), 0);
  shutdown (fd, SHUT_WR); /* it wants to say nothing, and to hear more */
  atomic_store (&rig.pushes_left, 1);
  line_server_wake (rig.server);
  hear_pushes (fd, 1);
  close (fd);
  event_count_wait (&rig.gone, 1);
  rig_destroy (&rig);
}
END_TEST

START_TEST (clients_are_bounded)
{
  int fds[LINE_SERVER_MAX_CLIENTS], fd, i;
  struct rig rig;

  rig_start (&rig);
  for (i = 0; i < LINE_SERVER_MAX_CLIENTS; ++i) {
    fds[i] = client (&rig);
    say (fds[i], "one\n");
    hear (fds[i], "one\n");
  }
  fd = client (&rig);
  hear (fd, "too many\n");
  hear_end (fd);
  close (fds[0]);
  event_count_wait (&rig.gone, 1);
  fds[0] = client (&rig);
  for (i = 0; i < LINE_SERVER_MAX_CLIENTS; ++i) {
    say (fds[i], "two\n");
    hear (fds[i], "two\n");
    close (fds[i]);
  }
  rig_destroy (&rig);
}
END_TEST

/* Without a descriptor for it a client waits; the others do not. */
START_TEST (no_descriptors)
{
  struct rlimit limit, low;
  struct rig rig;
  int first, fd;

  rig_start (&rig);
  first = client (&rig);
  say (first, "one\n");
  hear (first, "one\n");
  fd = socket (AF_UNIX, SOCK_STREAM, 0);
  must (fd >= 0 && getrlimit (RLIMIT_NOFILE, &limit) == 0);
  low = limit;
  low.rlim_cur = (rlim_t) fd + 1;
  must (setrlimit (RLIMIT_NOFILE, &low) == 0);
  struct sockaddr_un address = address_of (rig.path);
  must (connect (fd, (struct sockaddr *) &address, sizeof address) == 0);
  say (fd, "two\n");
  say (first, "three\n");
  hear (first, "three\n");
  must (setrlimit (RLIMIT_NOFILE, &limit) == 0);
  hear (fd, "two\n");
  close (fd);
  close (first);
  rig_destroy (&rig);
}
END_TEST

/* The last words are heard, and the file goes. */
START_TEST (the_end)
{
  struct stat st;
  struct rig rig;
  int fd;

  rig_start (&rig);
  fd = client (&rig);
  say (fd, "patient\n");
  hear (fd, "patient\n");
  ck_assert_int_eq (stat (rig.path, &st), 0);
  ck_assert_uint_eq (st.st_mode & 07777, 0600);
  ck_assert_str_eq (line_server_path (rig.server), rig.path);
  atomic_store (&rig.pushes_left, 1);
  line_server_stop (rig.server);
  hear_pushes (fd, 1);
  line_server_destroy (rig.server);
  rig.server = NULL;
  hear_end (fd);
  ck_assert_int_eq (stat (rig.path, &st), -1);
  rig_destroy (&rig);
}
END_TEST

/* More than a socket takes. */
#define LAST_PUSHES 300

static void
hear_last_pushes (void *arg)
{
  const int *fd = arg;

  event_count_wait (&clock_looks, 50);
  hear_pushes (*fd, LAST_PUSHES);
}

/* Who reads at the end hears all, though the socket was full at first and the
 * server looks at the clock, which stands still, again and again.
 */
START_TEST (the_end_of_much)
{
  struct thread reader;
  struct rig rig;
  int fd;

  rig_start (&rig);
  fd = client (&rig);
  say (fd, "patient\n");
  hear (fd, "patient\n");
  event_count_init (&clock_looks);
  atomic_store (&clock_stopped_ns, clock_now_ns ());
  atomic_store (&rig.pushes_left, LAST_PUSHES);
  ck_assert_int_eq (thread_start (&reader, "reader", hear_last_pushes, &fd), 0);
  line_server_stop (rig.server);
  ck_assert_uint_eq (atomic_load (&rig.pushes_left), 0);
  thread_join (&reader);
  atomic_store (&clock_stopped_ns, 0);
  event_count_destroy (&clock_looks);
  close (fd);
  rig_destroy (&rig);
}
END_TEST

/* Nobody else may steer: root's own socket, and another user. */
START_TEST (strangers_are_turned_away)
{
  struct rig rig;
  int status;
  pid_t child;

  if (geteuid () != 0)
    return;
  rig_start (&rig);
  must (chmod (rig.path, 0666) == 0 && chmod (rig.folder, 0755) == 0);
  child = fork ();
  if (child == 0) {
    char said[64] = "";
    int fd;

    if (setuid (65534) == -1 || (fd = try_connect (rig.path)) == -1)
      _exit (1);
    (void) send (fd, "one\n", 4, MSG_NOSIGNAL);
    if (recv (fd, said, sizeof said - 1, MSG_WAITALL) <= 0 ||
        strcmp (said, "stranger\n") != 0)
      _exit (2);
    _exit (0);
  }
  ck_assert_int_eq (waitpid (child, &status, 0), child);
  ck_assert_int_eq (status, 0);
  ck_assert_uint_eq (event_count_get (&rig.lines), 0);
  rig_destroy (&rig);
}
END_TEST

/*----- the file --------------------------------------------------------*/

static void
expect_refusal (struct rig *rig, const char *path, int expected,
                const char *words)
{
  struct stat before, after;
  int existed = lstat (path, &before);

  capture_messages ();
  ck_assert_int_eq (line_server_check (path), expected);
  assert_said (words);
  ck_assert_int_eq (line_server_create (path, &ops, rig, &rig->server),
                    expected);
  ck_assert_int_eq (lstat (path, &after), existed);
  if (existed == 0)
    ck_assert_uint_eq (before.st_ino, after.st_ino);
}

START_TEST (what_is_in_the_way_stays)
{
  char other[TEST_PATH_BYTES + 32];
  struct rig rig;
  int fd;

  rig_create (&rig);
  snprintf (other, sizeof other, "%s/other", rig.folder);
  fd = open (rig.path, O_CREAT | O_WRONLY, 0600);
  must (fd >= 0 && close (fd) == 0);
  expect_refusal (&rig, rig.path, -EEXIST, "is no socket");
  must (unlink (rig.path) == 0 && symlink (other, rig.path) == 0);
  expect_refusal (&rig, rig.path, -EEXIST, "is a link");
  must (unlink (rig.path) == 0 && mkdir (rig.path, 0700) == 0);
  expect_refusal (&rig, rig.path, -EEXIST, "is no socket");
  must (rmdir (rig.path) == 0);
  ck_assert_int_eq (access (other, F_OK), -1);
  must (chmod (rig.folder, 0777) == 0);
  expect_refusal (&rig, rig.path, -EPERM, "anybody may write");
  must (chmod (rig.folder, 0700) == 0);
  expect_refusal (&rig, "/", -EINVAL, "not the name");
  expect_refusal (&rig, "a/..", -EINVAL, "not the name");
  memset (other + strlen (rig.folder) + 1, 'n', 90);
  other[strlen (rig.folder) + 91] = '\0';
  expect_refusal (&rig, other, -ENAMETOOLONG, "too long");
  rig_destroy (&rig);
}
END_TEST

/* Its folder may be made later; until then there is no socket. */
START_TEST (no_folder)
{
  char path[TEST_PATH_BYTES + 32];
  struct rig rig;

  rig_create (&rig);
  snprintf (path, sizeof path, "%s/no/s.sock", rig.folder);
  ck_assert_int_eq (line_server_check (path), 0);
  ck_assert_int_eq (line_server_create (path, &ops, &rig, &rig.server),
                    -ENOENT);
  assert_said ("its folder does not exist");
  rig_destroy (&rig);
}
END_TEST

START_TEST (a_server_that_answers_is_left_alone)
{
  struct line_server *second;
  struct rig rig;
  int fd, i, flood[64];

  rig_start (&rig);
  ck_assert_int_eq (line_server_check (rig.path), -EADDRINUSE);
  ck_assert_int_eq (line_server_create (rig.path, &ops, &rig, &second),
                    -EADDRINUSE);
  assert_said ("in use by another server");
  fd = client (&rig);
  say (fd, "one\n");
  hear (fd, "one\n");
  close (fd);
  line_server_destroy (rig.server);

  /* One that does not answer yet, and whose queue is full, lives too. */
  ck_assert_int_eq (line_server_create (rig.path, &ops, &rig, &rig.server), 0);
  for (i = 0; i < 64; ++i) {
    struct sockaddr_un address = address_of (rig.path);

    flood[i] = socket (AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void) connect (flood[i], (struct sockaddr *) &address, sizeof address);
  }
  ck_assert_int_eq (line_server_check (rig.path), -EADDRINUSE);
  for (i = 0; i < 64; ++i)
    close (flood[i]);
  rig_destroy (&rig);
}
END_TEST

/* What a server that was killed has left is no obstacle. */
START_TEST (a_dead_socket_is_replaced)
{
  struct rig rig;
  int fd;

  rig_create (&rig);
  struct sockaddr_un address = address_of (rig.path);
  fd = socket (AF_UNIX, SOCK_STREAM, 0);
  must (bind (fd, (struct sockaddr *) &address, sizeof address) == 0);
  must (listen (fd, 1) == 0 && close (fd) == 0);
  ck_assert_int_eq (line_server_check (rig.path), 0);
  ck_assert_int_eq (line_server_create (rig.path, &ops, &rig, &rig.server), 0);
  ck_assert_int_eq (line_server_start (rig.server), 0);
  fd = client (&rig);
  say (fd, "one\n");
  hear (fd, "one\n");
  close (fd);
  rig_destroy (&rig);
}
END_TEST

/* At its end a server removes its own socket, not another one. */
START_TEST (another_ones_socket_stays)
{
  struct rig rig, other;

  rig_start (&rig);
  must (unlink (rig.path) == 0);
  rig_start (&other);
  must (link (other.path, rig.path) == 0);
  line_server_destroy (rig.server);
  rig.server = NULL;
  ck_assert_int_eq (access (rig.path, F_OK), 0);
  rig_destroy (&other);
  rig_destroy (&rig);
}
END_TEST

/* A path that is longer than the address of a socket may be. */
START_TEST (long_paths)
{
  char path[TEST_PATH_BYTES + 200], real[TEST_PATH_BYTES + 200];
  struct stat st;
  struct rig rig;
  unsigned i;

  rig_create (&rig);
  snprintf (path, sizeof path, "%s/", rig.folder);
  for (i = 0; i < 3; ++i) {
    strcat (path, "0123456789012345678901234567890123456789012345678/");
    must (mkdir (path, 0700) == 0);
  }
  strcat (path, "s.sock");
  ck_assert_int_eq (line_server_create (path, &ops, &rig, &rig.server), 0);
  ck_assert_int_eq (stat (path, &st), 0);
  ck_assert (S_ISSOCK (st.st_mode));
  must (realpath (path, real) != NULL);
  ck_assert_str_eq (line_server_path (rig.server), real);
  rig_destroy (&rig);
}
END_TEST

/* Nothing is left of what could not be made. */
START_TEST (fails_at_every_allocation)
{
  struct rig rig;
  unsigned k, failed;
  int r;

  for (k = 0;; ++k) {
    rig_create (&rig);
    fault_alloc_fail_once (FAULT_ALLOC_MEMORY, k);
    r = line_server_create (rig.path, &ops, &rig, &rig.server);
    failed = fault_alloc_stop ();
    if (failed == 0)
      break;
    ck_assert_int_eq (r, -ENOMEM);
    ck_assert_int_eq (rmdir (rig.folder), 0);
    must (mkdir (rig.folder, 0700) == 0);
    rig_destroy (&rig);
  }
  ck_assert_int_eq (r, 0);
  ck_assert_uint_ge (k, 1);
  fault_alloc_fail_once (FAULT_ALLOC_THREADS, 0);
  ck_assert_int_eq (line_server_start (rig.server), -EAGAIN);
  ck_assert_uint_eq (fault_alloc_stop (), 1);
  ck_assert_int_eq (line_server_start (rig.server), 0);
  rig_destroy (&rig);
}
END_TEST

/* A client for whom there is no memory is turned away, those that are there
 * are served.
 */
START_TEST (want_of_memory_ends_one_client)
{
  struct rig rig;
  char said[16] = "";
  int first, second;
  ssize_t n;

  rig_start (&rig);
  first = client (&rig);
  say (first, "one\n");
  hear (first, "one\n");
  fault_alloc_fail_from (FAULT_ALLOC_MEMORY, 0);
  second = client (&rig);
  n = recv (second, said, 9, MSG_WAITALL);
  ck_assert_uint_eq (fault_alloc_stop (), 1); /* Check itself needs memory */
  ck_assert_int_eq (n, 9);
  ck_assert_str_eq (said, "too many\n");
  hear_end (second);
  say (first, "two\n");
  hear (first, "two\n");
  close (first);
  rig_destroy (&rig);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = {
    lines_are_answered_in_order,
    a_client_may_end_its_side,
    lines_are_bounded,
    half_a_line_may_not_stay,
    who_does_not_read_is_dropped,
    slow_readers_get_all,
    what_is_pushed_waits_for_its_reader,
    clients_are_bounded,
    no_descriptors,
    the_end,
    the_end_of_much,
    strangers_are_turned_away,
    what_is_in_the_way_stays,
    no_folder,
    a_server_that_answers_is_left_alone,
    a_dead_socket_is_replaced,
    another_ones_socket_stays,
    long_paths,
    fails_at_every_allocation,
    want_of_memory_ends_one_client,
    NULL,
  };

  return unit_main ("line-server", tests);
}
