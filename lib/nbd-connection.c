/* One connection to an NBD server, its thread, and its end.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Commands are sent by the threads that submit them, as far as the socket
 * takes them; a thread of the connection's own sends the rest and receives
 * all answers.
 *
 * States:
 *
 *   CLOSED -> READY   [nbd_connection_open]
 *   READY  -> FAILED  no answer for too long, the connection was lost, or
 *                     another one to the same server has failed [fail_locked]
 *   FAILED -> CLOSED  nothing sent can reach the disk any more, or nobody
 *                     cares [close_locked]
 *
 * Invariants:
 * (1) A command is done once: when it is answered, or when the connection
 *     fails.
 * (2) The server's error is set before the first command is done that was
 *     not answered.  So nobody can send something newer elsewhere, upon
 *     which the unanswered command might then land.
 * (3) FAILED becomes CLOSED only if one of these is true:
 *     - every command that changes the disk has been answered;
 *     - the server has closed the connection: it is done with it, or dead;
 *     - the owner says that it cannot write any more (is_abandoned).
 *     An error of our own host, such as a time-out of TCP, proves nothing.
 *
 * After a time-out libnbd goes on with what was begun, in memory that is
 * the commands' own, until all is answered: to hang up instead would prove
 * less, because there are servers that close their end while they still
 * write.  Where libnbd has given up, our own descriptor of the socket is
 * still there: nothing more is sent, and what comes is thrown away until
 * the server closes its end.
 *
 * Locks: `lock` guards all that is not atomic, and every call of libnbd.
 * Under it only locks are taken that `done` of a command takes.
 *
 * The only file that uses sockets.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bits.h"
#include "clock.h"
#include "log-sink.h"
#include "nbd-connection.h"
#include "sync.h"

enum state { CLOSED, READY, FAILED };

/* A server that answers others has so many time-outs for each command. */
#define PATIENCE 4

/* What a server may still send that is drained. */
#define DRAIN_BYTES_MAX (256ULL << 20)

struct nbd_connection {
  struct nbd_server *server;
  int wake_fd;           /* wakes the thread */
  atomic_bool must_fail; /* another one has */

  struct mutex lock;
  struct cond changed; /* the state */
  enum state state;
  struct nbd_handle *nbd; /* NULL: none, or it has given up */

  /* Our own descriptor of the socket, or -1: made while all is well, so
   * that it is there when it is needed.
   */
  int fd;
  int socket_error;  /* an errno that the socket has told, or 0 */
  bool is_lost;      /* there will be no proof */
  bool is_abandoned; /* none is wanted */
  uint64_t drained_bytes;

  struct list unanswered; /* commands, in the order in which they came */
  struct list answered;   /* to be done */
  unsigned change_count;  /* that libnbd has, and that change the disk */
  uint64_t progress_ns;   /* when the server last took or sent something */

  bool has_thread;
  bool must_end;
  bool polls_for_write;
  struct thread thread;
};

/*----- small parts -----------------------------------------------------*/

static void
wake_thread (struct nbd_connection *c)
{
  const uint64_t one = 1;

  /* It fails only when the counter is at its end, and then it is awake. */
  (void) !write (c->wake_fd, &one, sizeof one);
}

static void
forget_wakes (struct nbd_connection *c)
{
  uint64_t count;

  (void) !read (c->wake_fd, &count, sizeof count);
}

static bool
is_dead (struct nbd_handle *nbd)
{
  return nbd_aio_is_dead (nbd) > 0 || nbd_aio_is_closed (nbd) > 0;
}

/* Tell the owner of COMMAND, who may drop it now. */
static void
finish_locked (struct nbd_command *command, int error)
{
  list_remove (&command->link);
  command->is_done = true;
  command->done (command, error);
}

/* What libnbd has answered is done, and not its any more. */
static void
do_answered_locked (struct nbd_connection *c)
{
  struct list *link;

  while ((link = c->answered.next) != &c->answered) {
    struct nbd_command *command = list_entry (link, struct nbd_command, link);

    if (c->nbd != NULL && nbd_command_is_change (command))
      c->change_count--;
    if (command->is_done)
      list_remove (link);
    else
      finish_locked (command, c->nbd != NULL ? command->answer
                                             : atomic_load (&c->server->error));
    nbd_command_put (command);
  }
}

/*----- the end of a connection -----------------------------------------*/

static void
close_locked (struct nbd_connection *c)
{
  const struct linger reset = { .l_onoff = 1, .l_linger = 0 };

  assert (list_is_empty (&c->unanswered));
  /* What is still on its way need not get there. */
  if (c->fd != -1 && c->state == FAILED && c->change_count > 0)
    (void) setsockopt (c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  else if (c->nbd != NULL && !is_dead (c->nbd))
    (void) nbd_aio_disconnect (c->nbd, 0);
  nbd_close (c->nbd);
  c->nbd = NULL;
  /* Disconnecting may have found that the server has hung up. */
  do_answered_locked (c);
  if (c->fd != -1)
    (void) close (c->fd);
  c->fd = -1;
  c->state = CLOSED;
  cond_broadcast (&c->changed);
}

/* The server has failed with ERROR; WHY, for the log, is told once. */
static void
fail_server (struct nbd_connection *c, int error, const char *why)
{
  int none = 0;

  if (!atomic_compare_exchange_strong (&c->server->error, &none, error))
    return;
  log_error ("%s: %s; all its requests fail until it is connected again",
             c->server->name, why);
  c->server->failed (c->server);
}

/* Fail, with that with which the server has failed. */
static void
fail_locked (struct nbd_connection *c)
{
  int error = atomic_load (&c->server->error);
  struct list *link;

  if (c->state != READY)
    return;
  assert (error < 0); /* (2) */
  c->state = FAILED;
  while ((link = c->unanswered.next) != &c->unanswered)
    finish_locked (list_entry (link, struct nbd_command, link), error);
  wake_thread (c);
  cond_broadcast (&c->changed);
}

/* Was it the server who ended the connection, and not our own host?  ERROR
 * is the errno with which libnbd gave up.
 */
static bool
has_server_closed (struct nbd_connection *c, int error)
{
  struct tcp_info info;
  socklen_t length = sizeof info;
  char byte;
  ssize_t n = recv (c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

  if (n > 0)
    return false;
  if (n < 0 && errno != ECONNRESET && errno != EPIPE) {
    /* Nothing to read is all right, that is not the end. */
    if (errno != EAGAIN && errno != EWOULDBLOCK)
      c->is_lost = true;
    return false;
  }
  if (n < 0)
    return true;
  /* The end; but TCP reads as ended after errors of our host, too. */
  if (getsockopt (c->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == -1)
    return true;
  if (info.tcpi_state != TCP_CLOSE)
    return true;
  if (c->socket_error != 0)
    error = c->socket_error;
  if (error == ECONNRESET || error == EPIPE)
    return true;
  c->is_lost = true;
  return false;
}

/* libnbd has given up, with ERROR and TEXT (NULL: the server hung up), while
 * CHANGES commands that change the disk were not answered.
 */
static void
give_up_locked (struct nbd_connection *c, int error, const char *text,
                unsigned changes)
{
  fail_server (c, -ENOTCONN, text != NULL ? text : "the server hung up");
  fail_locked (c);
  nbd_close (c->nbd);
  c->nbd = NULL;
  c->change_count = changes;
  if (changes == 0 || has_server_closed (c, error)) {
    c->change_count = 0;
    return;
  }
  if (c->is_lost)
    log_warning ("%s: what was sent last may still be written",
                 c->server->name);
  else
    (void) shutdown (c->fd, SHUT_WR);
}

/* Look at what a call of libnbd has done.  CHANGES is the change_count
 * before it: commands that are answered in the call in which libnbd gives up
 * have probably not been.
 */
static void
after_call_locked (struct nbd_connection *c, unsigned changes)
{
  int error = nbd_get_errno ();
  const char *text = nbd_get_error ();

  if (is_dead (c->nbd))
    give_up_locked (c, error, text, changes);
  do_answered_locked (c);
}

/*----- the thread ------------------------------------------------------*/

/* Milliseconds from NOW to THEN, rounded up. */
static int
milliseconds (uint64_t now, uint64_t then)
{
  uint64_t ms = then > now ? (then - now + 999999) / 1000000 : 0;

  return (int) MIN_OF (ms, (uint64_t) INT_MAX);
}

/* When the server must have answered.  While nothing waits for an answer, it
 * is the earliest moment for what may be sent from now on: so a sender need
 * not wake the thread for its sake.
 */
static uint64_t
deadline_locked (struct nbd_connection *c, uint64_t now)
{
  const uint64_t timeout = c->server->timeout_ns;
  const struct nbd_command *oldest;

  if (list_is_empty (&c->unanswered))
    return now + timeout;
  oldest = list_entry (c->unanswered.next, struct nbd_command, link);
  return MIN_OF (MAX_OF (oldest->begun_ns, c->progress_ns) + timeout,
                 oldest->begun_ns + PATIENCE * timeout);
}

/* Throw away what comes after libnbd has given up. */
static void
drain_locked (struct nbd_connection *c)
{
  char buffer[16384];
  ssize_t n;

  while (c->drained_bytes < DRAIN_BYTES_MAX) {
    n = recv (c->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return;
    if (n == 0 || (n < 0 && errno == ECONNRESET)) {
      c->change_count = 0;
      return;
    }
    if (n < 0)
      break;
    c->drained_bytes += (uint64_t) n;
  }
  c->is_lost = true;
  log_warning ("%s: what was sent last may still be written", c->server->name);
}

/* What there is to wait for on the socket. */
static short
events_locked (struct nbd_connection *c)
{
  unsigned direction;

  if (c->nbd == NULL)
    return c->state == FAILED && !c->is_lost ? POLLIN : 0;
  direction = nbd_aio_get_direction (c->nbd);
  return (short) ((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                  (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
}

/* The socket is ready for REVENTS. */
static void
handle_events_locked (struct nbd_connection *c, short revents)
{
  const short incoming = POLLIN | POLLHUP | POLLERR;
  unsigned changes = c->change_count, direction;
  socklen_t length = sizeof c->socket_error;

  if (c->nbd == NULL) {
    drain_locked (c);
    return;
  }
  /* It is told once, and libnbd may not pass it on. */
  if ((revents & POLLERR) && c->socket_error == 0)
    (void) getsockopt (c->fd, SOL_SOCKET, SO_ERROR, &c->socket_error, &length);
  direction = nbd_aio_get_direction (c->nbd);
  if ((revents & incoming) && (direction & LIBNBD_AIO_DIRECTION_READ))
    (void) nbd_aio_notify_read (c->nbd);
  else if (revents & (POLLOUT | POLLHUP | POLLERR))
    (void) nbd_aio_notify_write (c->nbd);
  else
    return;
  c->progress_ns = clock_now_ns ();
  after_call_locked (c, changes);
}

/* After all that has happened has been looked at: has the server been silent
 * for too long?
 */
static void
check_silence_locked (struct nbd_connection *c)
{
  uint64_t now = clock_now_ns ();
  char why[80];

  if (c->state != READY || list_is_empty (&c->unanswered) ||
      now < deadline_locked (c, now))
    return;
  (void) snprintf (why, sizeof why, "no answer for %llu ms",
                   (unsigned long long) (c->server->timeout_ns / 1000000));
  fail_server (c, -ETIMEDOUT, why);
  fail_locked (c);
}

/* Can nothing more come of a connection that has failed (3)? */
static bool
is_over_locked (struct nbd_connection *c)
{
  if (c->is_abandoned)
    return true;
  return c->change_count == 0 &&
         (c->nbd == NULL || nbd_aio_in_flight (c->nbd) <= 0);
}

static void
connection_main (void *arg)
{
  struct nbd_connection *c = arg;
  bool has_waited = false;

  mutex_lock (&c->lock);
  while (!c->must_end) {
    struct pollfd fds[2] = {
      { .fd = c->wake_fd, .events = POLLIN },
      { .fd = -1 },
    };
    uint64_t now = clock_now_ns ();
    int timeout = -1;

    if (atomic_load (&c->must_fail))
      fail_locked (c);
    if (has_waited)
      check_silence_locked (c);
    if (c->state == FAILED && is_over_locked (c))
      close_locked (c);
    if (c->state != CLOSED) {
      fds[1].events = events_locked (c);
      fds[1].fd = fds[1].events != 0 ? c->fd : -1;
    }
    if (c->state == READY)
      timeout = milliseconds (now, deadline_locked (c, now));
    c->polls_for_write = (fds[1].events & POLLOUT) != 0;
    mutex_unlock (&c->lock);
    (void) poll (fds, ARRAY_COUNT (fds), timeout);
    mutex_lock (&c->lock);
    c->polls_for_write = false;
    if (fds[0].revents != 0)
      forget_wakes (c);
    /* Only this thread closes the socket, so it is still the same. */
    if (fds[1].revents != 0)
      handle_events_locked (c, fds[1].revents);
    has_waited = true;
  }
  mutex_unlock (&c->lock);
}

/*----- from outside ----------------------------------------------------*/

int
nbd_connection_create (struct nbd_server *server,
                       struct nbd_connection **connection)
{
  struct nbd_connection *c = calloc (1, sizeof *c);
  int error;

  if (c == NULL)
    return -ENOMEM;
  c->wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (c->wake_fd == -1) {
    error = errno;
    free (c);
    return -error;
  }
  c->server = server;
  c->fd = -1;
  c->state = CLOSED;
  mutex_init (&c->lock);
  cond_init (&c->changed);
  list_init (&c->unanswered);
  list_init (&c->answered);
  *connection = c;
  return 0;
}

void
nbd_connection_destroy (struct nbd_connection *c)
{
  if (c == NULL)
    return;
  if (c->has_thread) {
    mutex_lock (&c->lock);
    c->must_end = true;
    wake_thread (c);
    mutex_unlock (&c->lock);
    thread_join (&c->thread);
  }
  if (c->state != CLOSED)
    close_locked (c);
  (void) close (c->wake_fd);
  cond_destroy (&c->changed);
  mutex_destroy (&c->lock);
  free (c);
}

int
nbd_connection_open (struct nbd_connection *c, struct nbd_export *export)
{
  struct nbd_server *server = c->server;
  struct nbd_handle *nbd;
  int fd, error;
  int r = nbd_handshake (server->uri, server->name,
                         clock_now_ns () + server->timeout_ns, &nbd, export);

  if (r < 0)
    return r;
  fd = fcntl (nbd_aio_get_fd (nbd), F_DUPFD_CLOEXEC, 0);
  if (fd == -1) {
    error = errno;
    log_error ("%s: cannot connect: %s", server->name, errno_text (-error));
    nbd_close (nbd);
    return -error;
  }

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  assert (c->state == CLOSED);
  c->nbd = nbd;
  c->fd = fd;
  c->socket_error = 0;
  c->is_lost = c->is_abandoned = false;
  c->drained_bytes = 0;
  c->change_count = 0;
  atomic_store (&c->must_fail, false);
  c->state = READY;
  wake_thread (c);
  return 0;
}

/* 0 if a command may be sent. */
static int
prepare_locked (struct nbd_connection *c)
{
  int r = atomic_load (&c->server->error); /* (2) */

  if (r < 0)
    return r;
  if (c->state != READY) {
    /* Lost before anybody used it. */
    fail_server (c, -ENOTCONN, "the server hung up");
    return -ENOTCONN;
  }
  if (c->has_thread)
    return 0;
  r = thread_start (&c->thread, "dmio-nbd", connection_main, c);
  c->has_thread = r == 0;
  return r;
}

void
nbd_connection_submit (struct nbd_connection *c, struct nbd_command *command)
{
  unsigned changes;
  int r;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  r = prepare_locked (c);
  if (r < 0) {
    finish_locked (command, r);
    return;
  }
  command->begun_ns = clock_now_ns ();
  command->answered = &c->answered;
  list_push_back (&c->unanswered, &command->link);
  if (nbd_command_is_change (command))
    c->change_count++;
  changes = c->change_count;
  r = nbd_command_issue (command, c->nbd);
  if (r < 0) {
    if (nbd_command_is_change (command))
      c->change_count--;
    finish_locked (command, r);
  }
  after_call_locked (c, changes);
  if (c->nbd != NULL && !c->polls_for_write &&
      (nbd_aio_get_direction (c->nbd) & LIBNBD_AIO_DIRECTION_WRITE))
    wake_thread (c);
}

/* Wait until the state is CLOSED, or until DEADLINE_NS. */
static int
wait_closed_locked (struct nbd_connection *c, uint64_t deadline_ns)
{
  /* Without a thread nothing has ever been sent. */
  if (!c->has_thread && c->state != CLOSED)
    close_locked (c);
  wake_thread (c);
  while (c->state != CLOSED)
    if (!cond_wait_until (&c->changed, &c->lock, deadline_ns))
      return -EBUSY;
  return 0;
}

void
nbd_connection_close (struct nbd_connection *c)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  if (c->state == CLOSED)
    return;
  assert (list_is_empty (&c->unanswered));
  c->state = FAILED;
  c->is_abandoned = true;
  (void) wait_closed_locked (c, UINT64_MAX);
}

void
nbd_connection_fail (struct nbd_connection *c)
{
  atomic_store (&c->must_fail, true);
  wake_thread (c);
}

int
nbd_connection_drain (struct nbd_connection *c, uint64_t deadline_ns)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  fail_locked (c);
  return wait_closed_locked (c, deadline_ns);
}

void
nbd_connection_abandon (struct nbd_connection *c)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  fail_locked (c);
  c->is_abandoned = true;
  (void) wait_closed_locked (c, UINT64_MAX);
}
