/* Clients of a control socket that keep no rule, among some that do.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   rude-control SOCKET MESSAGES RATE SEED [idle]
 *
 * Sends MESSAGES random lines, at most RATE a second, over a dozen
 * connections: requests that are right, that are wrong, that are no JSON, that
 * never end, that are too long.  Half of the connections read slowly or not at
 * all, and many are given up in the middle.
 *
 * Those that read are judges: each line must be answered, in order, with the
 * right id, by a result or by the error that it deserves.  How long status took
 * them is printed.  With "idle" nothing is started that would keep the server
 * busy by itself: what is measured is what the messages cost.
 *
 * Exit status: 0 all answers were right, 1 not, 2 usage.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 12
#define JUDGES 6        /* the first of them read everything */
#define MAX_EXPECTED 64 /* answers that a judge waits for at once */
#define MAX_JOBS 64     /* that may be cancelled */
#define IN_BYTES (8U << 20)
#define DRAIN_MS 60000
#define MAX_TIMES 100000

/* What a line deserves. */
struct expected {
  bool has_id;
  json_int_t id;
  int code;         /* 0: a result */
  bool may_be_done; /* a result is right, too */
  bool is_status;
  uint64_t sent_ns;
};

struct connection {
  int fd;        /* -1: none */
  bool must_end; /* the server will close it after this answer */
  unsigned first, count;
  struct expected expected[MAX_EXPECTED];
  char *in;
  size_t in_bytes;
};

static struct connection connections[CONNECTIONS];
static const char *path;
static uint64_t seed, state;
static json_int_t last_id;
static uint64_t times[MAX_TIMES];
static unsigned time_count;
static unsigned sent, answered, reconnected;

static void
die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fprintf (stderr, "rude-control: ");
  vfprintf (stderr, format, args);
  fprintf (stderr, " (seed %" PRIu64 ", after %u messages)\n", seed, sent);
  va_end (args);
  exit (EXIT_FAILURE);
}

static uint64_t
rnd (uint64_t below)
{
  state += UINT64_C (0x9e3779b97f4a7c15);
  uint64_t z = state;

  z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
  return (z ^ (z >> 31)) % below;
}

static uint64_t
now_ns (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000000000U + (uint64_t) t.tv_nsec;
}

/*----- connections -----------------------------------------------------*/

static bool
is_judge (const struct connection *c)
{
  return c - connections < JUDGES;
}

static void
open_connection (struct connection *c)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };

  if (strlen (path) >= sizeof address.sun_path)
    die ("%s: is too long", path);
  strcpy (address.sun_path, path);
  c->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (c->fd == -1 ||
      connect (c->fd, (struct sockaddr *) &address, sizeof address) == -1)
    die ("connect: %s", strerror (errno));
  if (fcntl (c->fd, F_SETFL, O_NONBLOCK) == -1)
    die ("fcntl: %s", strerror (errno));
  c->must_end = false;
  c->first = c->count = 0;
  c->in_bytes = 0;
  reconnected++;
}

static void
close_connection (struct connection *c)
{
  if (c->fd != -1)
    close (c->fd);
  c->fd = -1;
}

/*----- judging ---------------------------------------------------------*/

static void
judge_line (struct connection *c, const char *line, size_t length)
{
  struct expected e;
  json_t *answer = json_loadb (line, length, 0, NULL);
  const json_t *id, *error;
  json_int_t code;

  if (!json_is_object (answer))
    die ("an answer is no JSON: %.*s", (int) (length < 200 ? length : 200),
         line);
  if (json_object_get (answer, "method") != NULL) { /* an event */
    json_decref (answer);
    return;
  }
  if (c->count == 0)
    die ("an answer to nothing: %.*s", (int) (length < 200 ? length : 200),
         line);
  e = c->expected[c->first];
  c->first = (c->first + 1) % MAX_EXPECTED;
  c->count--;
  id = json_object_get (answer, "id");
  error = json_object_get (answer, "error");
  if (e.has_id ? json_integer_value (id) != e.id : !json_is_null (id))
    die ("an answer with another id than %" JSON_INTEGER_FORMAT ": %.*s", e.id,
         (int) (length < 200 ? length : 200), line);
  code = json_integer_value (json_object_get (error, "code"));
  if (code != e.code && !(e.may_be_done && code == 0))
    die ("not the answer with code %d: %.*s", e.code,
         (int) (length < 200 ? length : 200), line);
  if (code == 0 && json_object_get (answer, "result") == NULL)
    die ("no result: %.*s", (int) (length < 200 ? length : 200), line);
  if (e.is_status && time_count < MAX_TIMES)
    times[time_count++] = now_ns () - e.sent_ns;
  answered++;
  json_decref (answer);
}

/* Read what there is. */
static void
read_as_judge (struct connection *c)
{
  for (;;) {
    ssize_t n = recv (c->fd, c->in + c->in_bytes, IN_BYTES - c->in_bytes, 0);
    char *newline, *begin = c->in;

    if (n == -1 && (errno == EAGAIN || errno == EINTR))
      return;
    if (n <= 0) {
      if (!c->must_end || c->count > 0)
        die ("the server hung up, and owes %u answers", c->count);
      close_connection (c);
      return;
    }
    c->in_bytes += (size_t) n;
    while ((newline = memchr (begin, '\n',
                              c->in_bytes - (size_t) (begin - c->in))) !=
           NULL) {
      judge_line (c, begin, (size_t) (newline - begin));
      begin = newline + 1;
    }
    c->in_bytes -= (size_t) (begin - c->in);
    memmove (c->in, begin, c->in_bytes);
    if (c->in_bytes == IN_BYTES)
      die ("an answer without end");
  }
}

/* Read a little, or find that it is over. */
static void
read_slowly (struct connection *c)
{
  char some[100];
  ssize_t n = recv (c->fd, some, 1 + rnd (sizeof some), 0);

  if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
    close_connection (c);
}

/*----- messages --------------------------------------------------------*/

/* A line with its newline, and what it deserves. */
struct message {
  char *text;
  size_t length;
  bool is_answered;
  bool must_end;
  struct expected expected;
};

static void
set_text (struct message *m, const char *format, ...)
{
  va_list args;
  int n;

  va_start (args, format);
  n = vasprintf (&m->text, format, args);
  va_end (args);
  if (n == -1)
    die ("out of memory");
  m->length = (size_t) n;
}

static bool must_idle;

#define SCRUB_START "\"scrub.start\""

static void
make_call (struct message *m)
{
  static const struct {
    const char *call;
    int code;
  } calls[] = {
    { "\"status\"", 0 },
    { "\"status\"", 0 },
    { "\"methods\"", 0 },
    { "\"metrics\",\"params\":{}", 0 },
    { "\"snapshot.list\"", 0 },
    { "\"scrub.status\"", 0 },
    { SCRUB_START, 0 },
    { "\"job.list\"", 0 },
    { "\"job.list\"", 0 },
    { "\"events.subscribe\",\"params\":{\"since\":0}", 0 },
    { "\"snapshot.remove\",\"params\":{\"name\":\"nobody\"}", 0 },
    { "\"resync.rate\",\"params\":{\"rate\":\"0\"}", 0 },
    { "\"leg.fail\",\"params\":{\"leg\":99}", -32000 },
    { "\"snapshot.create\",\"params\":{\"name\":\"../x\"}", -32000 },
    { "\"snapshot.rename\",\"params\":{\"name\":\"a\",\"new_name\":\"b\"}",
      -32000 },
    { "\"leg.add\",\"params\":{\"spec\":\"/nowhere/x\"}", -32000 },
    { "\"job.cancel\",\"params\":{\"job\":0}", -32000 },
    { "\"job.cancel\",\"params\":{\"job\":9223372036854775807}", -32000 },
    { "\"job.cancel\",\"params\":{\"job\":-1}", -32602 },
    { "\"job.cancel\",\"params\":{\"job\":-9223372036854775808}", -32602 },
    { "\"job.cancel\",\"params\":{\"job\":1.0}", -32602 },
    { "\"job.cancel\",\"params\":{\"job\":1e300}", -32602 },
    { "\"job.cancel\",\"params\":{\"job\":\"1\"}", -32602 },
    { "\"job.cancel\",\"params\":{\"job\":[1]}", -32602 },
    { "\"job.cancel\",\"params\":{\"job\":null}", -32602 },
    { "\"job.cancel\",\"params\":{\"job\":1,\"snapshot\":\"snap\"}", -32602 },
    { "\"job.cancel\"", -32602 },
    { "\"job.list\",\"params\":{\"job\":1}", -32602 },
    { "\"status\",\"params\":{\"x\":1}", -32602 },
    { "\"leg.fail\",\"params\":{\"leg\":-1}", -32602 },
    { "\"leg.add\"", -32602 },
    { "\"leg.fail\",\"params\":[1]", -32602 },
    { "\"dance\"", -32601 },
    { "7", -32600 },
  };
  unsigned i;

  do
    i = (unsigned) rnd (sizeof calls / sizeof calls[0]);
  while (must_idle && strcmp (calls[i].call, SCRUB_START) == 0);
  m->is_answered = true;
  m->expected = (struct expected){
    .has_id = true,
    .id = ++last_id,
    .code = calls[i].code,
    .is_status = i < 2,
  };
  set_text (m,
            "{\"jsonrpc\":\"2.0\",\"id\":%" JSON_INTEGER_FORMAT
            ",\"method\":%s}\n",
            last_id, calls[i].call);
}

/* Cancel a job that may go on, be over, or never have been. */
static void
make_cancel (struct message *m)
{
  m->is_answered = true;
  m->expected = (struct expected){
    .has_id = true,
    .id = ++last_id,
    .code = -32000,
    .may_be_done = true,
  };
  set_text (m,
            "{\"jsonrpc\":\"2.0\",\"id\":%" JSON_INTEGER_FORMAT
            ",\"method\":\"job.cancel\",\"params\":{\"job\":%" PRIu64 "}}\n",
            last_id, rnd (MAX_JOBS));
}

static void
make_nonsense (struct message *m)
{
  size_t i, length = 1 + rnd (300);

  m->is_answered = true;
  m->expected.code = -32700;
  m->text = malloc (length + 2);
  if (m->text == NULL)
    die ("out of memory");
  /* Never a digit first: that would be JSON. */
  for (i = 0; i < length; ++i)
    m->text[i] = (char) (i == 0 ? 'x' : rnd (256));
  for (i = 0; i < length; ++i)
    if (m->text[i] == '\n')
      m->text[i] = ' ';
  m->text[length] = '\n';
  m->length = length + 1;
}

static void
make_long (struct message *m)
{
  m->is_answered = true;
  m->must_end = true;
  m->expected.code = -32000;
  m->length = 65536 + rnd (70000);
  m->text = malloc (m->length);
  if (m->text == NULL)
    die ("out of memory");
  memset (m->text, ' ', m->length);
}

static void
make_deep (struct message *m)
{
  size_t i, length = 17 + rnd (60000);

  m->is_answered = true;
  m->expected.code = -32700;
  m->text = malloc (length + 1);
  if (m->text == NULL)
    die ("out of memory");
  for (i = 0; i < length; ++i)
    m->text[i] = rnd (2) ? '[' : '{';
  m->text[length] = '\n';
  m->length = length + 1;
}

static void
make_message (struct message *m)
{
  unsigned kind = (unsigned) rnd (100);

  memset (m, 0, sizeof *m);
  if (kind < 65)
    make_call (m);
  else if (kind < 70)
    make_cancel (m);
  else if (kind < 80)
    make_nonsense (m);
  else if (kind < 84)
    make_deep (m);
  else if (kind < 86)
    make_long (m);
  else if (kind < 90) { /* a notification: no answer */
    set_text (m, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\"}\n",
              rnd (2) ? "status" : "dance");
  }
  else if (kind < 95) {
    m->is_answered = true;
    m->expected.code = -32600;
    set_text (m, "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}]\n");
  }
  else {
    m->is_answered = true;
    m->expected.code = -32700;
    set_text (m, "\n");
  }
}

/*----- sending ---------------------------------------------------------*/

/* All of it, from one who reads meanwhile. */
static void
send_as_judge (struct connection *c, const char *text, size_t length)
{
  while (length > 0 && c->fd != -1) {
    ssize_t n = send (c->fd, text, length, MSG_NOSIGNAL);
    struct pollfd fd = { .fd = c->fd, .events = POLLIN | POLLOUT };

    if (n > 0) {
      text += n;
      length -= (size_t) n;
      continue;
    }
    if (n == -1 && errno == EPIPE && c->must_end) {
      read_as_judge (c);
      return;
    }
    if (n == -1 && errno != EAGAIN && errno != EINTR)
      die ("send: %s", strerror (errno));
    if (poll (&fd, 1, DRAIN_MS) == 0)
      die ("the server neither reads nor answers");
    read_as_judge (c);
  }
}

static void
judge_sends (struct connection *c)
{
  struct message m;

  if (c->count == MAX_EXPECTED || c->must_end) {
    read_as_judge (c);
    return;
  }
  make_message (&m);
  if (m.is_answered) {
    m.expected.sent_ns = now_ns ();
    c->expected[(c->first + c->count++) % MAX_EXPECTED] = m.expected;
  }
  c->must_end = m.must_end;
  send_as_judge (c, m.text, m.length);
  free (m.text);
  sent++;
}

/* Part of a message, or all of it, as far as the socket takes it. */
static void
rude_sends (struct connection *c)
{
  struct message m;
  size_t length;

  make_message (&m);
  length = rnd (4) == 0 ? rnd (m.length) : m.length;
  if (send (c->fd, m.text, length, MSG_NOSIGNAL) == -1 && errno != EAGAIN &&
      errno != EINTR)
    close_connection (c);
  else if (rnd (50) == 0)
    close_connection (c); /* with whatever is on its way */
  else if (rnd (50) == 0)
    shutdown (c->fd, SHUT_WR);
  if (c->fd != -1 && c - connections < JUDGES + 3)
    read_slowly (c);
  free (m.text);
  sent++;
}

static void
step (void)
{
  struct connection *c = &connections[rnd (CONNECTIONS)];
  unsigned i;

  if (c->fd == -1)
    open_connection (c);
  if (is_judge (c))
    judge_sends (c);
  else
    rude_sends (c);
  for (i = 0; i < JUDGES; ++i)
    if (connections[i].fd != -1)
      read_as_judge (&connections[i]);
}

/* Every judge gets what it is owed. */
static void
drain (void)
{
  unsigned i;

  for (i = 0; i < JUDGES; ++i) {
    struct connection *c = &connections[i];

    while (c->fd != -1 && c->count > 0) {
      struct pollfd fd = { .fd = c->fd, .events = POLLIN };

      if (poll (&fd, 1, DRAIN_MS) == 0)
        die ("%u answers never came", c->count);
      read_as_judge (c);
    }
  }
  for (i = 0; i < CONNECTIONS; ++i)
    close_connection (&connections[i]);
}

static int
compare_times (const void *a, const void *b)
{
  uint64_t x, y;

  memcpy (&x, a, sizeof x);
  memcpy (&y, b, sizeof y);
  return x < y ? -1 : x > y;
}

int
main (int argc, char *argv[])
{
  uint64_t began = now_ns ();
  unsigned i, messages, rate;

  if (argc < 5 || argc > 6 || (argc == 6 && strcmp (argv[5], "idle") != 0)) {
    fprintf (stderr, "usage: rude-control SOCKET MESSAGES RATE SEED [idle]\n");
    return 2;
  }
  must_idle = argc == 6;
  path = argv[1];
  messages = (unsigned) strtoul (argv[2], NULL, 10);
  rate = (unsigned) strtoul (argv[3], NULL, 10);
  seed = state = strtoull (argv[4], NULL, 10);
  printf ("seed %" PRIu64 "\n", seed);
  for (i = 0; i < CONNECTIONS; ++i) {
    connections[i].fd = -1;
    connections[i].in = malloc (IN_BYTES);
    if (connections[i].in == NULL)
      die ("out of memory");
  }
  while (sent < messages) {
    uint64_t due = began + (uint64_t) sent * 1000000000U / rate;
    uint64_t now = now_ns ();

    if (now < due) /* nothing is waited for but the pace */
      (void) poll (NULL, 0, (int) ((due - now) / 1000000 + 1));
    step ();
  }
  drain ();
  qsort (times, time_count, sizeof times[0], compare_times);
  printf ("%u messages in %.1f s, %u connections, %u answers judged\n", sent,
          (double) (now_ns () - began) / 1e9, reconnected, answered);
  if (time_count > 0)
    printf ("status: %u, half of them within %.2f ms, 99 %% within %.2f ms\n",
            time_count, (double) times[time_count / 2] / 1e6,
            (double) times[time_count * 99U / 100] / 1e6);
  for (i = 0; i < CONNECTIONS; ++i)
    free (connections[i].in);
  return EXIT_SUCCESS;
}
