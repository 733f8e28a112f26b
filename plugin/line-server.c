/* Serves lines of text on a Unix socket, to the same user and to root.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * States of a client:
 *   READING -> BUSY    [take_lines]: a line is LINE_PENDING
 *   BUSY    -> READING [line_server_end_line]
 *   any     -> ENDING  [end_client]: too long a line, or a stranger: it gets
 *                      what is queued, and nothing of it is looked at
 *   any     -> gone    [reap]: it hung up and all its lines are answered, or
 *                      it let a bound pass
 *
 * Invariants:
 * (1) only the server's thread adds, removes and reads clients; others only
 *     append output and end a pending line, under the lock;
 * (2) no callback is called with the lock held;
 * (3) no call on a client's socket blocks.
 *
 * Locks: one, a leaf.  line_server_wake takes none.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bits.h"
#include "clock.h"
#include "line-server.h"
#include "line-socket.h"
#include "sync.h"

/* When no more descriptors are to be had, it is tried again after so long. */
#define ACCEPT_PAUSE_NS (NS_PER_SECOND / 4)
#define ACCEPT_AT_ONCE 8
#define NS_PER_MS (NS_PER_SECOND / 1000)

struct client {
  line_client_t id;
  int fd;
  bool is_ending; /* see above */
  bool is_at_end; /* it sends no more */
  bool is_deaf;   /* it hung up: nothing can be sent */
  bool must_go;

  char *in; /* LINE_SERVER_MAX_LINE bytes */
  size_t in_begin, in_end;
  uint64_t line_began_ns; /* when the line that is half there began, or 0 */

  /* Under the lock. */
  bool is_busy;
  char *out;
  size_t out_begin, out_end, out_size;
  uint64_t out_moved_ns; /* when some of it was last taken */
};

struct line_server {
  struct line_socket socket;
  const struct line_server_ops *ops;
  void *opaque;
  int event; /* wakes the thread */
  bool has_thread;
  struct thread thread;
  atomic_bool must_stop;
  uint64_t accept_after_ns;
  line_client_t last_id;

  struct mutex lock;
  unsigned client_count;
  struct client clients[LINE_SERVER_MAX_CLIENTS];
  struct line_server_counts counts;
};

/*----- output ----------------------------------------------------------*/

static size_t
pending_output (const struct client *c)
{
  return c->out_end - c->out_begin;
}

/* Make room for LENGTH more bytes of output.  The caller holds the lock. */
static bool
make_room_locked (struct client *c, size_t length)
{
  size_t size = c->out_size > 0 ? c->out_size : 4096;
  char *out;

  if (pending_output (c) + length > LINE_SERVER_MAX_OUTPUT)
    return false;
  if (c->out_begin > 0) {
    memmove (c->out, c->out + c->out_begin, pending_output (c));
    c->out_end -= c->out_begin;
    c->out_begin = 0;
  }
  while (size < c->out_end + length)
    size *= 2;
  if (size == c->out_size)
    return true;
  out = realloc (c->out, size);
  if (out == NULL)
    return false;
  c->out = out;
  c->out_size = size;
  return true;
}

static void
append_locked (struct client *c, const char *text, size_t length)
{
  if (c->is_deaf || c->must_go || length == 0)
    return;
  if (!make_room_locked (c, length)) {
    c->must_go = true; /* an answer that is not whole would be worse */
    return;
  }
  if (pending_output (c) == 0)
    c->out_moved_ns = clock_now_ns ();
  memcpy (c->out + c->out_end, text, length);
  c->out_end += length;
}

/* Send what the socket takes now. */
static void
flush_client (struct line_server *s, struct client *c)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  while (pending_output (c) > 0 && !c->is_deaf) {
    ssize_t n = send (c->fd, c->out + c->out_begin, pending_output (c),
                      MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n > 0) {
      c->out_begin += (size_t) n;
      c->out_moved_ns = clock_now_ns ();
    }
    else if (n == -1 && errno == EINTR)
      continue;
    else if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
      return;
    else
      c->is_deaf = true;
  }
  /* A large answer's memory is not kept for the small ones. */
  c->out_begin = c->out_end = 0;
  if (c->out_size > LINE_SERVER_BUSY_BYTES) {
    free (c->out);
    c->out = NULL;
    c->out_size = 0;
  }
}

static struct client *
find_client_locked (struct line_server *s, line_client_t id)
{
  unsigned i;

  for (i = 0; i < s->client_count; ++i)
    if (s->clients[i].id == id)
      return &s->clients[i];
  return NULL;
}

void
line_server_send (struct line_server *server, line_client_t client,
                  const char *text, size_t length)
{
  struct client *c;

  mutex_lock (&server->lock);
  c = find_client_locked (server, client);
  if (c != NULL)
    append_locked (c, text, length);
  mutex_unlock (&server->lock);
  line_server_wake (server);
}

void
line_server_end_line (struct line_server *server, line_client_t client)
{
  struct client *c;

  mutex_lock (&server->lock);
  c = find_client_locked (server, client);
  if (c != NULL)
    c->is_busy = false;
  mutex_unlock (&server->lock);
  line_server_wake (server);
}

void
line_server_wake (struct line_server *server)
{
  /* It fails only when the count is at its maximum, and then it wakes. */
  (void) eventfd_write (server->event, 1);
}

/*----- input -----------------------------------------------------------*/

/* True if a line of C may be looked at now. */
static bool
may_take_line (struct line_server *s, struct client *c)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  return !c->is_busy && !c->is_ending && !c->must_go &&
         pending_output (c) < LINE_SERVER_BUSY_BYTES;
}

/* Nothing more of C is looked at: it gets TEXT, and is closed. */
static void
end_client (struct line_server *s, struct client *c, const char *text)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  append_locked (c, text, strlen (text));
  c->is_ending = true;
  c->is_at_end = true;
  c->in_begin = c->in_end = 0;
  s->counts.dropped++;
}

static void
take_line (struct line_server *s, struct client *c, char *newline)
{
  char *line = c->in + c->in_begin;
  size_t length = (size_t) (newline - line);

  *newline = '\0';
  c->in_begin += length + 1;
  c->line_began_ns = 0;
  /* Before the call: who answers may be quicker than we are. */
  mutex_lock (&s->lock);
  c->is_busy = true;
  mutex_unlock (&s->lock);
  if (s->ops->line (s->opaque, c->id, line, length) == LINE_DONE) {
    mutex_lock (&s->lock);
    c->is_busy = false;
    mutex_unlock (&s->lock);
  }
}

/* Hand on the lines that are there, as long as their answers go away. */
static void
take_lines (struct line_server *s, struct client *c)
{
  while (may_take_line (s, c)) {
    size_t length = c->in_end - c->in_begin;
    char *newline = length > 0 ? memchr (c->in + c->in_begin, '\n', length)
                               : NULL;

    if (newline != NULL) {
      take_line (s, c, newline);
      continue;
    }
    if (length == LINE_SERVER_MAX_LINE)
      end_client (s, c, s->ops->too_long_line);
    else if (length == 0)
      c->line_began_ns = 0;
    else if (c->line_began_ns == 0)
      c->line_began_ns = clock_now_ns ();
    return;
  }
}

static bool
has_whole_line (const struct client *c)
{
  size_t length = c->in_end - c->in_begin;

  return length > 0 && memchr (c->in + c->in_begin, '\n', length) != NULL;
}

static void
receive (struct client *c)
{
  ssize_t n;

  if (c->in_begin > 0) {
    memmove (c->in, c->in + c->in_begin, c->in_end - c->in_begin);
    c->in_end -= c->in_begin;
    c->in_begin = 0;
  }
  if (c->in_end == LINE_SERVER_MAX_LINE)
    return;
  n = recv (c->fd, c->in + c->in_end, LINE_SERVER_MAX_LINE - c->in_end,
            MSG_DONTWAIT);
  if (n > 0)
    c->in_end += (size_t) n;
  else if (n == 0 ||
           (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK))
    c->is_at_end = true;
}

/*----- who comes and goes ----------------------------------------------*/

/* Tell somebody who is turned away why, if the socket takes it at once. */
static void
turn_away (struct line_server *s, int fd, const char *text)
{
  (void) send (fd, text, strlen (text), MSG_NOSIGNAL | MSG_DONTWAIT);
  (void) close (fd);
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  s->counts.refused++;
}

static void
accept_clients (struct line_server *s)
{
  unsigned i;

  for (i = 0; i < ACCEPT_AT_ONCE; ++i) {
    bool is_stranger;
    struct client c = { .fd = line_socket_accept (&s->socket, &is_stranger) };

    if (c.fd < 0) {
      if (c.fd != -EAGAIN && c.fd != -EINTR && c.fd != -ECONNABORTED)
        s->accept_after_ns = clock_now_ns () + ACCEPT_PAUSE_NS;
      return;
    }
    if (is_stranger) {
      turn_away (s, c.fd, s->ops->stranger_line);
      continue;
    }
    if (s->client_count == LINE_SERVER_MAX_CLIENTS) {
      turn_away (s, c.fd, s->ops->too_many_line);
      continue;
    }
    c.in = malloc (LINE_SERVER_MAX_LINE);
    if (c.in == NULL) {
      turn_away (s, c.fd, s->ops->too_many_line);
      continue;
    }
    c.id = ++s->last_id;
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
    s->clients[s->client_count++] = c;
    s->counts.accepted++;
  }
}

static void
remove_client (struct line_server *s, unsigned index)
{
  struct client c = s->clients[index];

  mutex_lock (&s->lock);
  s->clients[index] = s->clients[--s->client_count];
  mutex_unlock (&s->lock);
  (void) close (c.fd);
  free (c.in);
  free (c.out);
  s->ops->gone (s->opaque, c.id);
}

/* When C must have done something, or 0 for never. */
static uint64_t
deadline_of (struct line_server *s, struct client *c)
{
  bool is_patient = s->ops->is_patient (s->opaque, c->id);
  uint64_t deadline = 0;

  if (c->line_began_ns > 0)
    deadline = c->line_began_ns + LINE_SERVER_LINE_SECONDS * NS_PER_SECOND;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->lock);
  if (pending_output (c) > 0 && !is_patient) {
    uint64_t read = c->out_moved_ns + LINE_SERVER_READ_SECONDS * NS_PER_SECOND;

    deadline = deadline == 0 ? read : MIN_OF (deadline, read);
  }
  return deadline;
}

static bool
has_ended (struct line_server *s, struct client *c)
{
  uint64_t deadline = deadline_of (s, c);
  bool is_idle;

  mutex_lock (&s->lock);
  if (deadline > 0 && clock_now_ns () > deadline) {
    c->must_go = true;
    s->counts.dropped++;
  }
  is_idle = !c->is_busy && (pending_output (c) == 0 || c->is_deaf);
  mutex_unlock (&s->lock);
  if (c->must_go)
    return true;
  return c->is_at_end && is_idle && (c->is_ending || !has_whole_line (c)) &&
         (c->is_ending || c->is_deaf || !s->ops->is_patient (s->opaque, c->id));
}

/*----- the thread ------------------------------------------------------*/

/* Where things are in the array for poll. */
enum { POLL_EVENT, POLL_LISTEN, POLL_CLIENTS };

static void
prepare_poll (struct line_server *s, struct pollfd *fds)
{
  bool may_accept = clock_now_ns () >= s->accept_after_ns;
  unsigned i;

  fds[POLL_EVENT] = (struct pollfd){ .fd = s->event, .events = POLLIN };
  fds[POLL_LISTEN] = (struct pollfd){ .fd = may_accept ? s->socket.fd : -1,
                                      .events = POLLIN };
  for (i = 0; i < s->client_count; ++i) {
    struct client *c = &s->clients[i];
    struct pollfd *fd = &fds[POLL_CLIENTS + i];
    bool may_read = !c->is_at_end && may_take_line (s, c) &&
                    !has_whole_line (c);

    *fd = (struct pollfd){ .fd = c->fd };
    if (may_read)
      fd->events |= POLLIN;
    mutex_lock (&s->lock);
    if (pending_output (c) > 0)
      fd->events |= POLLOUT;
    mutex_unlock (&s->lock);
    /* A hang-up that is known would be reported again and again. */
    if (c->is_deaf)
      fd->fd = may_read ? c->fd : -1;
  }
}

/* How long to wait, in ms; -1 for ever. */
static int
poll_timeout (struct line_server *s)
{
  uint64_t now = clock_now_ns ();
  uint64_t first = s->accept_after_ns > now ? s->accept_after_ns : 0;
  unsigned i;

  for (i = 0; i < s->client_count; ++i) {
    uint64_t deadline = deadline_of (s, &s->clients[i]);

    if (deadline > 0 && (first == 0 || deadline < first))
      first = deadline;
  }
  if (first == 0)
    return -1;
  /* Rounded up, or the last millisecond would be spent in circles. */
  return first <= now ? 1 : (int) ((first - now) / NS_PER_MS + 1);
}

/* Give C what is pushed, until its socket is full.  Bounded by what there
 * is to push.
 */
static void
push (struct line_server *s, struct client *c)
{
  bool has_sent = true;

  while (has_sent && !c->is_deaf && !c->is_ending) {
    flush_client (s, c);
    mutex_lock (&s->lock);
    has_sent = pending_output (c) == 0;
    mutex_unlock (&s->lock);
    if (!has_sent)
      return; /* the socket is full */
    s->ops->room (s->opaque, c->id);
    mutex_lock (&s->lock);
    has_sent = pending_output (c) > 0;
    mutex_unlock (&s->lock);
  }
  flush_client (s, c);
}

static void
serve_client (struct line_server *s, struct client *c, short events)
{
  if (events & (POLLHUP | POLLERR | POLLNVAL)) {
    mutex_lock (&s->lock);
    c->is_deaf = true;
    c->out_begin = c->out_end = 0;
    mutex_unlock (&s->lock);
  }
  if ((events & POLLIN) || (c->is_deaf && !c->is_at_end && !c->is_ending &&
                            may_take_line (s, c) && !has_whole_line (c)))
    receive (c);
  take_lines (s, c);
  push (s, c);
  /* What was kept back by output that has gone now. */
  take_lines (s, c);
  flush_client (s, c);
}

/* True if a client has a line that can be taken without waiting. */
static bool
has_line_to_take (struct line_server *s)
{
  unsigned i;

  for (i = 0; i < s->client_count; ++i)
    if (has_whole_line (&s->clients[i]) && may_take_line (s, &s->clients[i]))
      return true;
  return false;
}

static void
reap (struct line_server *s)
{
  unsigned i = 0;

  while (i < s->client_count) {
    if (has_ended (s, &s->clients[i]))
      remove_client (s, i);
    else
      ++i;
  }
}

/* The last that is pushed gets out, if the clients read it soon. */
static void
say_good_bye (struct line_server *s)
{
  uint64_t deadline = clock_now_ns () + LINE_SERVER_END_MS * NS_PER_MS;
  struct pollfd fds[LINE_SERVER_MAX_CLIENTS];
  unsigned i, waiting;

  do {
    waiting = 0;
    for (i = 0; i < s->client_count; ++i) {
      push (s, &s->clients[i]);
      if (pending_output (&s->clients[i]) > 0 && !s->clients[i].is_deaf)
        fds[waiting++] = (struct pollfd){ .fd = s->clients[i].fd,
                                          .events = POLLOUT };
    }
    if (waiting > 0)
      (void) poll (fds, waiting, 10);
  } while (waiting > 0 && clock_now_ns () < deadline);
}

static void
server_main (void *arg)
{
  struct line_server *s = arg;
  struct pollfd fds[POLL_CLIENTS + LINE_SERVER_MAX_CLIENTS];

  while (!atomic_load (&s->must_stop)) {
    unsigned count = s->client_count, i;
    eventfd_t ignored;

    prepare_poll (s, fds);
    (void) poll (fds, POLL_CLIENTS + count,
                 has_line_to_take (s) ? 0 : poll_timeout (s));
    if (fds[POLL_EVENT].revents & POLLIN)
      (void) eventfd_read (s->event, &ignored);
    for (i = 0; i < count; ++i)
      serve_client (s, &s->clients[i], fds[POLL_CLIENTS + i].revents);
    reap (s);
    if (fds[POLL_LISTEN].revents & POLLIN)
      accept_clients (s);
  }
  say_good_bye (s);
}

/*----- life ------------------------------------------------------------*/

int
line_server_check (const char *path)
{
  return line_socket_check (path);
}

int
line_server_create (const char *path, const struct line_server_ops *ops,
                    void *opaque, struct line_server **server)
{
  struct line_server *s = calloc (1, sizeof *s);
  int r;

  if (s == NULL)
    return -ENOMEM;
  s->ops = ops;
  s->opaque = opaque;
  s->event = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (s->event == -1) {
    r = -errno;
    goto err_free;
  }
  r = line_socket_create (path, &s->socket);
  if (r < 0)
    goto err_close;
  mutex_init (&s->lock);
  *server = s;
  return 0;

err_close:
  (void) close (s->event);
err_free:
  free (s);
  return r;
}

int
line_server_start (struct line_server *server)
{
  int r;

  assert (!server->has_thread);
  r = thread_start (&server->thread, "dm-control", server_main, server);
  server->has_thread = r == 0;
  return r;
}

void
line_server_stop (struct line_server *server)
{
  if (!server->has_thread)
    return;
  atomic_store (&server->must_stop, true);
  line_server_wake (server);
  thread_join (&server->thread);
  server->has_thread = false;
}

void
line_server_destroy (struct line_server *server)
{
  if (server == NULL)
    return;
  line_server_stop (server);
  line_socket_destroy (&server->socket);
  while (server->client_count > 0)
    remove_client (server, server->client_count - 1);
  (void) close (server->event);
  mutex_destroy (&server->lock);
  free (server);
}

const char *
line_server_path (const struct line_server *server)
{
  return server->socket.path;
}

void
line_server_get_counts (struct line_server *server,
                        struct line_server_counts *counts)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&server->lock);
  *counts = server->counts;
  counts->clients = server->client_count;
}
