/* The connection to a volume's control socket.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Events may come between a request and its answer: they are kept until they
 * are asked for.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "client.h"
#include "clock.h"
#include "volume.h"

/* The longest line of a server: see LINE_SERVER_MAX_OUTPUT. */
#define MAX_LINE (16U << 20)

/* What an NBD server says first, and without a newline. */
#define NBD_GREETING "NBDMAGIC"

struct client {
  int fd;
  bool follows; /* see struct ctl */
  char *path;
  char *in;
  size_t begin, end, size;
  json_int_t last_id;
  json_t *events; /* an array */
};

/*----- connecting ------------------------------------------------------*/

static int
patience_ms (const struct ctl *ctl)
{
  return ctl->patience_ms > 0 ? ctl->patience_ms : CLIENT_PATIENCE_MS;
}

/* Connect to PATH, which may be longer than an address may be. */
static int
connect_to (const char *path, int timeout_ms)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  const struct timeval patience = { .tv_sec = timeout_ms / 1000 };
  const char *slash = strrchr (path, '/');
  int fd, folder = -1, r = 0;

  if (strlen (path) < sizeof address.sun_path)
    memcpy (address.sun_path, path, strlen (path));
  else {
    char *name;

    if (slash == NULL)
      return -ENAMETOOLONG;
    name = strndup (path, (size_t) (slash - path) + 1);
    folder = name != NULL ? open (name, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    free (name);
    if (folder == -1)
      return -errno;
    if (snprintf (address.sun_path, sizeof address.sun_path,
                  "/proc/self/fd/%d/%s", folder,
                  slash + 1) >= (int) sizeof address.sun_path)
      r = -ENAMETOOLONG;
  }
  fd = r == 0 ? socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
  if (r == 0 && fd == -1)
    r = -errno;
  /* A server that has stopped takes no more than its queue holds: whoever comes
   * then would wait for ever.
   */
  if (r == 0)
    (void) setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (r == 0 &&
      connect (fd, (const struct sockaddr *) &address, sizeof address) == -1) {
    r = errno == EAGAIN ? -ETIMEDOUT : -errno;
    (void) close (fd);
  }
  if (folder >= 0)
    (void) close (folder);
  return r < 0 ? r : fd;
}

char *
client_socket_of (const char *dir)
{
  char *name, *line = NULL;
  size_t size = 0;
  ssize_t n = -1;
  FILE *file;

  if (asprintf (&name, "%s/%s", dir, VOLUME_CONTROL_FILE) == -1)
    return NULL;
  file = fopen (name, "re");
  free (name);
  if (file == NULL)
    return NULL; /* errno tells why */
  n = getline (&line, &size, file);
  (void) fclose (file);
  if (n > 0 && line[n - 1] == '\n')
    line[--n] = '\0';
  if (n <= 0 || line[0] != '/') {
    free (line);
    errno = ENOENT;
    return NULL;
  }
  return line;
}

static int check_folder (const struct ctl *ctl, struct client *c);

struct client *
client_try (struct ctl *ctl, int *error)
{
  struct client *c;
  int r;

  if (ctl->client != NULL)
    return ctl->client;
  c = calloc (1, sizeof *c);
  if (c == NULL) {
    *error = -ENOMEM;
    return NULL;
  }
  errno = ENOMEM;
  c->path = ctl->dir != NULL ? client_socket_of (ctl->dir)
                             : strdup (ctl->socket);
  c->fd = c->path != NULL ? connect_to (c->path, patience_ms (ctl)) : -errno;
  c->events = json_array ();
  if (c->fd < 0 || c->events == NULL) {
    *error = c->fd < 0 ? c->fd : -ENOMEM;
    json_decref (c->events);
    free (c->path);
    free (c);
    return NULL;
  }
  c->follows = ctl->follows;
  ctl->client = c;
  r = ctl->dir != NULL ? check_folder (ctl, c) : 0;
  if (r == 0)
    return c;
  client_close (ctl);
  *error = r;
  return NULL;
}

static bool
is_socket (const char *path)
{
  struct stat file;

  return stat (path, &file) == 0 && S_ISSOCK (file.st_mode);
}

static bool
is_folder (const char *path)
{
  struct stat file;

  return stat (path, &file) == 0 && S_ISDIR (file.st_mode);
}

struct client *
client_get (struct ctl *ctl)
{
  int error = 0;
  struct client *c;

  if (ctl->socket == NULL && ctl->dir == NULL) {
    ctl_error ("which volume? give its control socket with -s SOCKET or "
               "DMNBD_SOCKET, or its folder with -d DIR");
    return NULL;
  }
  c = client_try (ctl, &error);
  if (c != NULL)
    return c;
  if (ctl->dir != NULL && (error == -ENOENT || error == -ENOTDIR) &&
      !is_folder (ctl->dir))
    ctl_errno (error,
               "%s: is no folder; give the one that meta= of the server names",
               ctl->dir);
  else if (ctl->dir != NULL && error == -ENOENT)
    ctl_errno (error,
               "%s: no server of this volume has a control socket; start it "
               "with control=SOCKET",
               ctl->dir);
  else if (error == -ENOENT)
    ctl_errno (error,
               "%s: there is no such socket; is the server running, with "
               "control=%s?",
               ctl->socket, ctl->socket);
  else if (error == -ECONNREFUSED && ctl->dir == NULL &&
           !is_socket (ctl->socket))
    ctl_errno (error,
               "%s: is not a socket; give the one that control= of the server "
               "names",
               ctl->socket);
  else if (error == -ECONNREFUSED)
    ctl_errno (error,
               "%s: nobody answers: the server has ended; start it again",
               ctl->dir != NULL ? ctl->dir : ctl->socket);
  else if (error == -ETIMEDOUT)
    ctl_errno (error,
               "%s: the server does not answer, and others wait for it, too; "
               "it may have been stopped, or hang on its disk",
               ctl->dir != NULL ? ctl->dir : ctl->socket);
  else if (error == -EACCES)
    ctl_errno (error,
               "%s: is not yours; try as the user of the server, or as root",
               ctl->dir != NULL ? ctl->dir : ctl->socket);
  else
    ctl_errno (error, "%s: cannot be connected: %s",
               ctl->dir != NULL ? ctl->dir : ctl->socket, strerror (-error));
  return NULL;
}

void
client_close (struct ctl *ctl)
{
  struct client *c = ctl->client;

  if (c == NULL)
    return;
  (void) close (c->fd);
  json_decref (c->events);
  free (c->path);
  free (c->in);
  free (c);
  ctl->client = NULL;
}

/*----- lines -----------------------------------------------------------*/

static int
send_all (struct client *c, const char *text, size_t length)
{
  while (length > 0) {
    ssize_t n = send (c->fd, text, length, MSG_NOSIGNAL);

    if (n == -1 && errno == EINTR)
      continue;
    /* What it has to say comes first: perhaps it turned us away. */
    if (n == -1)
      return errno == EPIPE ? 0 : -errno;
    text += n;
    length -= (size_t) n;
  }
  return 0;
}

/* Make room for more input. */
static bool
make_room (struct client *c)
{
  size_t size = c->size > 0 ? 2 * c->size : 65536;
  char *in;

  if (c->begin > 0) {
    memmove (c->in, c->in + c->begin, c->end - c->begin);
    c->end -= c->begin;
    c->begin = 0;
  }
  if (c->end < c->size)
    return true;
  if (size > MAX_LINE)
    return false;
  in = realloc (c->in, size);
  if (in == NULL)
    return false;
  c->in = in;
  c->size = size;
  return true;
}

static int
ms_left (uint64_t deadline_ns)
{
  uint64_t now = clock_now_ns ();

  if (deadline_ns == UINT64_MAX)
    return -1;
  return deadline_ns <= now ? 0 : (int) ((deadline_ns - now) / 1000000 + 1);
}

static uint64_t
deadline_of (int timeout_ms)
{
  return timeout_ms < 0 ? UINT64_MAX
                        : clock_now_ns () + (uint64_t) timeout_ms * 1000000;
}

/* The next line as JSON.  1, 0 (none came in time), or a negative errno:
 * -ESTALE if nobody reads what comes of it any more.
 */
static int
receive (struct client *c, uint64_t deadline_ns, json_t **value)
{
  for (;;) {
    char *line = c->in + c->begin;
    size_t length = c->end - c->begin;
    char *newline = length > 0 ? memchr (line, '\n', length) : NULL;
    /* Of the output it is told without being asked that its reader has gone.
     */
    struct pollfd fds[2] = { { .fd = c->fd, .events = POLLIN },
                             { .fd = c->follows ? STDOUT_FILENO : -1 } };
    ssize_t n;
    int r;

    if (newline != NULL) {
      *value = json_loadb (line, (size_t) (newline - line), 0, NULL);
      c->begin += (size_t) (newline - line) + 1;
      return *value != NULL && json_is_object (*value) ? 1 : -EBADMSG;
    }
    if (length >= strlen (NBD_GREETING) &&
        memcmp (line, NBD_GREETING, strlen (NBD_GREETING)) == 0)
      return -EBADMSG;
    if (!make_room (c))
      return -EMSGSIZE;
    r = poll (fds, 2, ms_left (deadline_ns));
    if (r == 0)
      return 0;
    if (r == -1 && errno != EINTR)
      return -errno;
    if (r == -1)
      continue;
    if (fds[1].revents != 0)
      return -ESTALE;
    n = recv (c->fd, c->in + c->end, c->size - c->end, 0);
    if (n == 0)
      return -ECONNRESET;
    if (n == -1 && errno != EINTR)
      return -errno;
    if (n > 0)
      c->end += (size_t) n;
  }
}

static int
say_lost (const struct client *c, int r)
{
  switch (r) {
  case -ECONNRESET:
  case -EPIPE:
    return ctl_errno (r, "%s: the server has ended", c->path);
  case -ESTALE:
    return EXIT_FAILED;
  case 0:
  case -EAGAIN:
    return ctl_errno (-ETIMEDOUT,
                      "%s: the server does not answer; it may have been "
                      "stopped, or hang on its disk",
                      c->path);
  case -EBADMSG:
    return ctl_errno (
      r,
      "%s: what answers is no control socket; give the one that "
      "control= of the server names",
      c->path);
  default:
    return ctl_errno (r, "%s: the connection is lost: %s", c->path,
                      strerror (-r));
  }
}

/*----- calls -----------------------------------------------------------*/

static bool
is_event (const json_t *line)
{
  const char *method = json_string_value (json_object_get (line, "method"));

  return method != NULL && strcmp (method, "event") == 0;
}

/* The answer to the request ID; an error without an id is one, too. */
static int
receive_answer (struct client *c, json_int_t id, uint64_t deadline_ns,
                json_t **answer)
{
  for (;;) {
    const json_t *its_id;
    int r = receive (c, deadline_ns, answer);

    if (r <= 0)
      return r;
    its_id = json_object_get (*answer, "id");
    if (is_event (*answer)) {
      if (json_array_append (c->events, json_object_get (*answer, "params")) ==
          -1)
        r = -EBADMSG;
    }
    else if (json_is_null (its_id) ||
             (json_is_integer (its_id) && json_integer_value (its_id) == id))
      return 1;
    json_decref (*answer);
    if (r < 0)
      return r;
  }
}

/* What a killed server has noted in the folder may be the socket of another
 * volume's server by now, which must not be taken for it.
 */
static int
check_folder (const struct ctl *ctl, struct client *c)
{
  static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":"
                                "\"status\"}\n";
  struct stat its, ours;
  const char *meta;
  json_t *answer;
  int r = send_all (c, request, strlen (request));

  if (r == 0)
    r = receive_answer (c, 0, deadline_of (patience_ms (ctl)), &answer);
  if (r <= 0)
    return r == 0 ? -ETIMEDOUT : r;
  meta = json_string_value (json_object_get (
    json_object_get (json_object_get (answer, "result"), "volume"), "meta"));
  r = 0;
  if (meta == NULL)
    r = -ECONNREFUSED;
  /* A folder that has been moved is not found under its old name. */
  else if (stat (meta, &its) == 0 && stat (ctl->dir, &ours) == 0 &&
           (its.st_dev != ours.st_dev || its.st_ino != ours.st_ino))
    r = -ECONNREFUSED;
  json_decref (answer);
  return r;
}

json_t *
client_call (struct ctl *ctl, const char *method, json_t *params,
             int timeout_ms)
{
  struct client *c = client_get (ctl);
  json_t *request, *answer = NULL, *result;
  char *line;
  int r;

  if (c == NULL) {
    json_decref (params);
    return NULL;
  }
  request = json_pack ("{s:s, s:I, s:s, s:o*}", "jsonrpc", "2.0", "id",
                       ++c->last_id, "method", method, "params", params);
  line = request != NULL ? json_dumps (request, JSON_COMPACT) : NULL;
  json_decref (request);
  if (line == NULL) {
    ctl_error ("what was given is not valid UTF-8");
    return NULL;
  }
  r = send_all (c, line, strlen (line));
  free (line);
  if (r == 0)
    r = send_all (c, "\n", 1);
  if (r == 0)
    r = receive_answer (c, c->last_id, deadline_of (timeout_ms), &answer);
  if (r <= 0) {
    say_lost (c, r);
    return NULL;
  }
  result = json_object_get (answer, "result");
  json_incref (result);
  if (result == NULL)
    (void) ctl_refused (json_object_get (answer, "error"));
  json_decref (answer);
  return result;
}

json_t *
client_look (struct ctl *ctl, const char *method, json_t *params)
{
  return client_call (ctl, method, params, patience_ms (ctl));
}

json_t *
client_status (struct ctl *ctl)
{
  json_t *status = client_look (ctl, "status", NULL);

  /* Nothing must be taken for a volume that is well. */
  if (status != NULL &&
      !json_is_string (
        json_object_get (json_object_get (status, "volume"), "state"))) {
    json_decref (status);
    (void) ctl_errno (-EBADMSG,
                      "%s: what answers serves no volume; give the socket that "
                      "control= of the server names",
                      ctl->client->path);
    return NULL;
  }
  return status;
}

int
client_event (struct ctl *ctl, int timeout_ms, json_t **event)
{
  struct client *c = ctl->client;
  uint64_t deadline_ns = deadline_of (timeout_ms);

  if (json_array_size (c->events) > 0) {
    *event = json_incref (json_array_get (c->events, 0));
    json_array_remove (c->events, 0);
    return 1;
  }
  for (;;) {
    json_t *line = NULL;
    int r = receive (c, deadline_ns, &line);

    if (r == 0)
      return 0;
    if (r < 0) {
      say_lost (c, r);
      return -1;
    }
    *event = is_event (line) ? json_object_get (line, "params") : NULL;
    json_incref (*event);
    json_decref (line);
    if (*event != NULL)
      return 1;
  }
}
