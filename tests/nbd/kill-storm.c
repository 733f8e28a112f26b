/* Kills a loaded server again and again, and judges what it comes back with.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   kill-storm --socket PATH --pid-fifo PATH [OPTION...] -- SERVER ARG...
 *
 *   --rounds N       starts of the server                        (5)
 *   --seed N         (from the clock; printed)
 *   --snapshots N    take this many snapshots, over the rounds   (0)
 *   --meta DIR       where volume.json is: wait for recovery, look at "clean"
 *   --load FILE      what the volume must be at first          (just read it)
 *   --leg FILE       (repeatable) compared when the server has stopped in order
 *   --log FILE       the server's messages
 *   --load-ms N      longest time from the load's start to the kill   (120)
 *   --timeout SECS   for the whole run                           (240)
 *   --self-check stale|foreign|flip-flop|snapshot|acknowledged
 *                    show the oracle a wrong answer: exit 0 if it objects
 *
 * The server is started as SERVER ARG... snapshot=NAME..., and has to listen on
 * --socket and write its process id to --pid-fifo (nbdkit -f -U -P).
 *
 * What is judged, by invariant (docs/DESIGN.md lists them):
 *
 * I1 a read under load returns the last write answered;
 * I2 after a kill each sector holds the last flushed version or a later one,
 *    never an older one, never anything else;
 * I4 what was read once after the kill is read again, over another connection
 *    and after the recovery;
 * I5 snapshots stay what the volume was when they were taken.
 *
 * And: a server that is told to stop (SIGTERM) under load exits with 0, has
 * everything that was acknowledged, leaves "clean":true once in sync, and legs
 * that are equal.
 *
 * What a sector may hold is told by sector-versions.h.
 *
 * Requests in flight never share a sector unless both read, so that versions of
 * a sector have an order.  (Sharing of sectors is nbd-model's business.)
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <libnbd.h>

#include "pattern.h"
#include "sector-versions.h"
#include "volume-watch.h"

#define CONNECTIONS 2
#define DEPTH 8
#define BYTES_MAX (64 << 10)
#define CHUNK (1 << 20)
#define LEGS_MAX 9
#define SNAPSHOTS_MAX 16
#define START_MS 30000
#define RECOVERY_MS 60000
#define SILENCE_MS 60000
#define ORDERLY_EVERY 5

enum kind { READ, WRITE, ZERO, TRIM, FLUSH };

static const char *const kind_names[] = {
  [READ] = "read", [WRITE] = "write", [ZERO] = "zero",
  [TRIM] = "trim", [FLUSH] = "flush",
};

struct slot {
  bool is_busy;
  bool is_done;
  int error;
  uint64_t op;
  enum kind kind;
  uint64_t offset;
  size_t len;
  uint32_t flags;
  uint64_t replies_at_issue;
  uint8_t *buf;
};

struct snapshot {
  char name[16];
  uint8_t *content; /* NULL: taken by the coming start */
};

enum self_check {
  CHECK_NONE,
  CHECK_STALE,
  CHECK_FOREIGN,
  CHECK_FLIP_FLOP,
  CHECK_SNAPSHOT,
  CHECK_ACKNOWLEDGED,
};

static const char *const self_check_names[] = {
  [CHECK_NONE] = "none",         [CHECK_STALE] = "stale",
  [CHECK_FOREIGN] = "foreign",   [CHECK_FLIP_FLOP] = "flip-flop",
  [CHECK_SNAPSHOT] = "snapshot", [CHECK_ACKNOWLEDGED] = "acknowledged",
};

/* Parameters. */
static const char *socket_path, *pid_fifo, *meta, *log_file, *load;
static const char *legs[LEGS_MAX];
static size_t leg_count;
static unsigned rounds = 5, snapshots_wanted, timeout = 240, load_ms = 120;
static uint64_t seed;
static enum self_check self_check;
static char **server_argv;
static size_t server_argc;

/* The volume. */
static uint64_t size, sector_count;
static uint8_t *model; /* with everything that was issued */
static struct sector_versions *versions;
static bool is_first_reading = true;
static struct snapshot snapshots[SNAPSHOTS_MAX];
static size_t snapshot_count;

/* The load. */
static struct nbd_handle *nbd[CONNECTIONS];
static struct slot slots[DEPTH];
static uint64_t random_state, op_count, reply_count;
static bool is_dying; /* the server was told to end */
static unsigned round_number;

/* The server. */
static pid_t child = -1, server_pid = -1;
static int fifo_fd = -1, pid_fd = -1;

/* What happened, for the last line. */
static uint64_t kills, early_kills, terms, orderly, unsettled, lost,
  snapshots_read;

/*------------------------------------------------------------------------*/

static void
end_server (void)
{
  if (child > 0) {
    if (server_pid > 0)
      kill (server_pid, SIGKILL);
    kill (child, SIGKILL);
    waitpid (child, NULL, 0);
    child = -1;
  }
}

static void die (const char *format, ...)
  __attribute__ ((noreturn, format (printf, 1, 2)));

static void
die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fprintf (stderr, "kill-storm: seed %" PRIu64 ": round %u: ", seed,
           round_number);
  vfprintf (stderr, format, args);
  fprintf (stderr, "\n");
  va_end (args);
  exit (EXIT_FAILURE); /* end_server runs */
}

static void object (const char *format, ...)
  __attribute__ ((noreturn, format (printf, 1, 2)));

/* The oracle says no. */
static void
object (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fprintf (stderr, "kill-storm: seed %" PRIu64 ": round %u: WRONG: ", seed,
           round_number);
  vfprintf (stderr, format, args);
  fprintf (stderr, "\n");
  va_end (args);
  if (self_check != CHECK_NONE) {
    printf ("kill-storm: the oracle objected to a wrong answer (%s)\n",
            self_check_names[self_check]);
    exit (EXIT_SUCCESS);
  }
  exit (EXIT_FAILURE);
}

static void
on_alarm (int sig)
{
  static const char message[] = "kill-storm: the run took too long\n";

  (void) sig;
  if (child > 0)
    kill (child, SIGKILL);
  if (server_pid > 0)
    kill (server_pid, SIGKILL);
  if (write (STDERR_FILENO, message, sizeof message - 1) == -1)
    _exit (3);
  _exit (EXIT_FAILURE);
}

static void *
allocate (size_t len)
{
  void *p = calloc (1, len + 1);

  if (p == NULL)
    die ("calloc: %s", strerror (errno));
  return p;
}

static uint64_t
pick (uint64_t limit)
{
  return random_below (&random_state, limit);
}

static bool
one_in (unsigned n)
{
  return pick (n) == 0;
}

static uint64_t
now_ms (void)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

/*------------------------------------------------------------------------*/
/* Judging the volume after a start. */

/* What may be there, and what is. */
static void
print_sector (uint64_t n, const uint8_t *bytes)
{
  fprintf (stderr, "kill-storm: sector %" PRIu64 ": possible are:\n", n);
  versions_print (versions, n, stderr);
  fprintf (stderr, "  it begins with");
  for (unsigned i = 0; i < 16; i++)
    fprintf (stderr, " %02x", bytes[i]);
  fprintf (stderr, "\n");
}

static void
judge_sector (uint64_t n, uint8_t *bytes, bool all_acknowledged)
{
  enum version_plant plant = PLANT_NONE;
  bool is_in_doubt;
  uint64_t op;

  if (self_check == CHECK_FOREIGN && op_count > 0 && n == sector_count / 2)
    bytes[100] ^= 1;
  if (self_check == CHECK_STALE)
    plant = PLANT_OLD;
  else if (self_check == CHECK_ACKNOWLEDGED && all_acknowledged)
    plant = PLANT_EARLIER;
  switch (versions_settle (versions, n, bytes, plant, &op, &is_in_doubt)) {
  case VERSION_OLD:
    print_sector (n, bytes);
    object ("sector %" PRIu64 " holds an older version, of request %" PRIu64
            ", which a flush or FUA had replaced (I2)",
            n, op);
  case VERSION_FOREIGN:
    print_sector (n, bytes);
    object ("sector %" PRIu64 " holds what was never there (I2)", n);
  case VERSION_EARLIER:
    if (all_acknowledged)
      object ("sector %" PRIu64 ": the server stopped in order, but lost "
              "request %" PRIu64 ", which it had acknowledged",
              n, op);
    lost++;
    break;
  case VERSION_LAST:
    break;
  }
  unsettled += is_in_doubt;
}

static void
read_chunk (struct nbd_handle *h, uint8_t *buf, size_t n, uint64_t offset,
            const char *what)
{
  if (nbd_pread (h, buf, n, offset, 0) == -1)
    die ("%s: reading %zu bytes at %" PRIu64 ": %s", what, n, offset,
         nbd_get_error ());
}

static void
judge_same (struct nbd_handle *h, const uint8_t *expected, const char *what,
            const char *invariant, bool plant)
{
  uint8_t *buf = allocate (CHUNK);

  for (uint64_t at = 0; at < size; at += CHUNK) {
    size_t n = size - at < CHUNK ? (size_t) (size - at) : CHUNK;

    read_chunk (h, buf, n, at, what);
    if (plant)
      buf[n / 2] ^= 0x80;
    for (size_t i = 0; i < n; i++)
      if (buf[i] != expected[at + i])
        object ("%s: byte at %" PRIu64 " is %02x, but was %02x before (%s)",
                what, at + i, buf[i], expected[at + i], invariant);
  }
  free (buf);
}

static void
first_reading (void)
{
  size = (uint64_t) nbd_get_size (nbd[0]);
  if (size % SECTOR != 0 || size < 4 * CHUNK)
    die ("the volume has a size this can't work with");
  sector_count = size / SECTOR;
  model = allocate (size);
  if (load != NULL) {
    FILE *f = fopen (load, "r");

    if (f == NULL || fread (model, 1, size, f) != size || fgetc (f) != EOF)
      die ("%s: unreadable, or not as long as the volume", load);
    fclose (f);
    judge_same (nbd[0], model, "volume, first reading", "I10", false);
  }
  for (uint64_t at = 0; at < size && load == NULL; at += CHUNK)
    read_chunk (nbd[0], model + at,
                size - at < CHUNK ? (size_t) (size - at) : CHUNK, at, "volume");
  versions = versions_create (sector_count, model);
  is_first_reading = false;
}

/* The first reading after a start settles each sector; model becomes it. */
static void
judge_volume (bool all_acknowledged)
{
  uint8_t *buf;

  if (is_first_reading) {
    first_reading ();
    return;
  }
  buf = allocate (CHUNK);
  for (uint64_t at = 0; at < size; at += CHUNK) {
    size_t n = size - at < CHUNK ? (size_t) (size - at) : CHUNK;

    read_chunk (nbd[0], buf, n, at, "volume");
    for (size_t i = 0; i < n; i += SECTOR)
      judge_sector ((at + i) / SECTOR, buf + i, all_acknowledged);
    memcpy (model + at, buf, n);
  }
  free (buf);
}

static struct nbd_handle *
connect_to (const char *export_name)
{
  struct nbd_handle *h = nbd_create ();

  if (h == NULL || nbd_set_export_name (h, export_name) == -1 ||
      nbd_connect_unix (h, socket_path) == -1)
    die ("connecting to export \"%s\": %s", export_name, nbd_get_error ());
  return h;
}

static void
judge_snapshots (void)
{
  for (size_t i = 0; i < snapshot_count; i++) {
    struct snapshot *s = &snapshots[i];
    struct nbd_handle *h = connect_to (s->name);

    if ((uint64_t) nbd_get_size (h) != size)
      object ("snapshot %s has size %" PRIi64, s->name, nbd_get_size (h));
    if (s->content == NULL) {
      s->content = allocate (size);
      memcpy (s->content, model, size);
    }
    judge_same (h, s->content, s->name, "I5",
                self_check == CHECK_SNAPSHOT && op_count > 0);
    snapshots_read++;
    if (nbd_shutdown (h, 0) == -1)
      die ("shutdown: %s", nbd_get_error ());
    nbd_close (h);
  }
}

/*------------------------------------------------------------------------*/
/* The server. */

static void
start_server (void)
{
  char **argv;
  size_t n = server_argc;

  unlink (socket_path);
  unlink (pid_fifo);
  if (mkfifo (pid_fifo, 0600) == -1)
    die ("%s: %s", pid_fifo, strerror (errno));
  fifo_fd = open (pid_fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fifo_fd == -1)
    die ("%s: %s", pid_fifo, strerror (errno));
  argv = allocate ((server_argc + snapshot_count + 1) * sizeof argv[0]);
  memcpy (argv, server_argv, server_argc * sizeof argv[0]);
  for (size_t i = 0; i < snapshot_count; i++)
    if (asprintf (&argv[n++], "snapshot=%s", snapshots[i].name) == -1)
      die ("asprintf: %s", strerror (errno));
  fflush (stdout);
  child = fork ();
  if (child == -1)
    die ("fork: %s", strerror (errno));
  if (child == 0) {
    if (log_file != NULL) {
      int fd = open (log_file, O_WRONLY | O_CREAT | O_APPEND, 0644);

      if (fd == -1 || dup2 (fd, STDOUT_FILENO) == -1 ||
          dup2 (fd, STDERR_FILENO) == -1)
        _exit (125);
      close (fd);
    }
    execvp (argv[0], argv);
    _exit (127);
  }
  pid_fd = (int) syscall (SYS_pidfd_open, child, 0);
  if (pid_fd == -1)
    die ("pidfd_open: %s", strerror (errno));
  for (size_t i = server_argc; i < n; i++)
    free (argv[i]);
  free (argv);
}

/* Waits until the server listens, at most ms.  Returns false if it doesn't. */
static bool
wait_for_start (int ms)
{
  struct pollfd fds[2] = {
    { .fd = fifo_fd, .events = POLLIN },
    { .fd = pid_fd, .events = POLLIN },
  };
  char line[32];
  ssize_t n;

  if (poll (fds, 2, ms) == -1)
    die ("poll: %s", strerror (errno));
  if (fds[0].revents & POLLIN) {
    n = read (fifo_fd, line, sizeof line - 1);
    if (n <= 0)
      die ("%s: unreadable", pid_fifo);
    line[n] = '\0';
    server_pid = (pid_t) atol (line);
    return true;
  }
  if (fds[1].revents & POLLIN) {
    int status;

    waitpid (child, &status, 0);
    child = -1;
    die ("the server ended at start, status %d: see its log", status);
  }
  return false;
}

static int
reap_server (void)
{
  int status;

  if (waitpid (child, &status, 0) != child)
    die ("waitpid: %s", strerror (errno));
  child = -1;
  server_pid = -1;
  close (fifo_fd);
  close (pid_fd);
  return status;
}

static void
expect_killed (void)
{
  int status = reap_server ();

  if (!WIFSIGNALED (status) || WTERMSIG (status) != SIGKILL)
    die ("the server ended before it was killed, status %d", status);
}

static void
expect_stopped (void)
{
  int status = reap_server ();

  if (!WIFEXITED (status) || WEXITSTATUS (status) != 0)
    die ("SIGTERM: the server ended with status %d (exit %d, signal %d)",
         status, WEXITSTATUS (status), WTERMSIG (status));
}

/*------------------------------------------------------------------------*/
/* The load. */

static int
completed (void *opaque, int *error)
{
  struct slot *slot = opaque;

  slot->error = *error;
  slot->is_done = true;
  return 1;
}

static bool
collides (const struct slot *slot)
{
  uint64_t first = slot->offset / SECTOR;
  uint64_t last = (slot->offset + slot->len - 1) / SECTOR;

  for (size_t i = 0; i < DEPTH; i++) {
    const struct slot *other = &slots[i];

    if (other->is_busy && other->kind != FLUSH &&
        (other->kind != READ || slot->kind != READ) &&
        first <= (other->offset + other->len - 1) / SECTOR &&
        other->offset / SECTOR <= last)
      return true;
  }
  return false;
}

static void
pick_request (struct slot *slot)
{
  uint64_t n = pick (100);
  uint64_t area = one_in (2) ? CHUNK : size; /* a hot megabyte */

  slot->kind = n < 60   ? WRITE
               : n < 68 ? ZERO
               : n < 76 ? TRIM
               : n < 90 ? READ
                        : FLUSH;
  slot->flags = 0;
  if (slot->kind == FLUSH)
    return;
  if (slot->kind != READ && one_in (5))
    slot->flags |= LIBNBD_CMD_FLAG_FUA;
  slot->len = (size_t) 1 << pick (17);
  slot->len += pick (slot->len);
  if (slot->len > BYTES_MAX)
    slot->len = BYTES_MAX;
  slot->offset = pick (area - slot->len + 1);
  if (slot->len >= SECTOR && one_in (2)) {
    slot->len = slot->len / SECTOR * SECTOR;
    slot->offset = slot->offset / SECTOR * SECTOR;
  }
}

static void
issue (struct slot *slot)
{
  struct nbd_handle *h = nbd[pick (CONNECTIONS)];
  nbd_completion_callback cb = { .callback = completed, .user_data = slot };
  int64_t r = -1;

  slot->op = ++op_count;
  slot->is_busy = true;
  slot->is_done = false;
  slot->error = 0;
  slot->replies_at_issue = reply_count;
  if (slot->kind == WRITE) {
    pattern_fill (slot->buf, slot->len, pattern_mix (seed) + slot->op,
                  slot->offset);
    memcpy (&model[slot->offset], slot->buf, slot->len);
  }
  else if (slot->kind == ZERO || slot->kind == TRIM)
    memset (&model[slot->offset], 0, slot->len);
  if (slot->kind != READ && slot->kind != FLUSH)
    for (uint64_t s = slot->offset / SECTOR;
         s <= (slot->offset + slot->len - 1) / SECTOR; s++)
      versions_issue (versions, s, slot->op, &model[s * SECTOR]);
  switch (slot->kind) {
  case READ:
    r = nbd_aio_pread (h, slot->buf, slot->len, slot->offset, cb, 0);
    break;
  case WRITE:
    r = nbd_aio_pwrite (h, slot->buf, slot->len, slot->offset, cb, slot->flags);
    break;
  case ZERO:
    r = nbd_aio_zero (h, slot->len, slot->offset, cb, slot->flags);
    break;
  case TRIM:
    r = nbd_aio_trim (h, slot->len, slot->offset, cb, slot->flags);
    break;
  case FLUSH:
    r = nbd_aio_flush (h, cb, 0);
    break;
  }
  if (r == -1) {
    /* Its connection died with the server.  It is in doubt, like the others
     * that got no reply.
     */
    if (!is_dying)
      die ("request refused: %s", nbd_get_error ());
    slot->is_busy = false;
  }
}

static void
settle (struct slot *slot)
{
  slot->is_busy = false;
  if (slot->error != 0) {
    if (!is_dying)
      die ("request %" PRIu64 ", %s of %zu bytes at %" PRIu64 ": %s", slot->op,
           kind_names[slot->kind], slot->len, slot->offset,
           strerror (slot->error));
    return;
  }
  reply_count++;
  switch (slot->kind) {
  case READ:
    for (size_t i = 0; i < slot->len; i++)
      if (slot->buf[i] != model[slot->offset + i])
        object ("read under load: byte at %" PRIu64 " is %02x, the last "
                "write left %02x (I1)",
                slot->offset + i, slot->buf[i], model[slot->offset + i]);
    break;
  case FLUSH:
    versions_flushed (versions, slot->replies_at_issue);
    break;
  default:
    versions_acknowledge (versions, slot->offset / SECTOR,
                          (slot->offset + slot->len - 1) / SECTOR, slot->op,
                          reply_count,
                          (slot->flags & LIBNBD_CMD_FLAG_FUA) != 0);
    break;
  }
}

/* Handles what has arrived within ms.  Returns how many requests are in
 * flight.
 */
static unsigned
turn (int ms)
{
  struct pollfd fds[CONNECTIONS];
  unsigned busy = 0;

  for (size_t c = 0; c < CONNECTIONS; c++) {
    unsigned direction = nbd_aio_get_direction (nbd[c]);

    fds[c] = (struct pollfd){ .fd = -1 };
    if (nbd_aio_is_dead (nbd[c]) || nbd_aio_is_closed (nbd[c])) {
      if (!is_dying)
        die ("the server closed a connection");
      continue;
    }
    fds[c].fd = nbd_aio_get_fd (nbd[c]);
    if (direction & LIBNBD_AIO_DIRECTION_READ)
      fds[c].events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
      fds[c].events |= POLLOUT;
  }
  if (poll (fds, CONNECTIONS, ms) == -1 && errno != EINTR)
    die ("poll: %s", strerror (errno));
  for (size_t c = 0; c < CONNECTIONS; c++) {
    unsigned direction;
    int r = 0;

    if (fds[c].fd == -1)
      continue;
    direction = nbd_aio_get_direction (nbd[c]);
    if ((fds[c].revents & (POLLIN | POLLHUP | POLLERR)) &&
        (direction & LIBNBD_AIO_DIRECTION_READ))
      r = nbd_aio_notify_read (nbd[c]);
    else if ((fds[c].revents & (POLLOUT | POLLHUP | POLLERR)) &&
             (direction & LIBNBD_AIO_DIRECTION_WRITE))
      r = nbd_aio_notify_write (nbd[c]);
    if (r == -1 && !is_dying)
      die ("connection: %s", nbd_get_error ());
  }
  for (size_t i = 0; i < DEPTH; i++) {
    if (slots[i].is_busy && slots[i].is_done)
      settle (&slots[i]);
    busy += slots[i].is_busy;
  }
  return busy;
}

static bool
has_connection (void)
{
  for (size_t c = 0; c < CONNECTIONS; c++)
    if (!nbd_aio_is_dead (nbd[c]) && !nbd_aio_is_closed (nbd[c]))
      return true;
  return false;
}

static void
run_load (uint64_t for_ms)
{
  uint64_t end = now_ms () + for_ms, last_reply = now_ms ();
  uint64_t replies = reply_count;

  while (now_ms () < end && has_connection ()) {
    uint64_t left;

    for (size_t i = 0; i < DEPTH; i++) {
      if (slots[i].is_busy)
        continue;
      for (unsigned tries = 0; tries < 20; tries++) {
        pick_request (&slots[i]);
        if (slots[i].kind == FLUSH || !collides (&slots[i])) {
          issue (&slots[i]);
          break;
        }
      }
    }
    left = end - now_ms ();
    turn (left < for_ms ? (int) left : 0);
    if (replies != reply_count) {
      replies = reply_count;
      last_reply = now_ms ();
    }
    else if (now_ms () - last_reply > SILENCE_MS)
      die ("no reply in %d seconds", SILENCE_MS / 1000);
  }
}

/* Takes the replies of all requests in flight. */
static void
drain (void)
{
  uint64_t end = now_ms () + SILENCE_MS;

  while (turn (100) > 0 && has_connection ())
    if (now_ms () > end)
      die ("no reply in %d seconds", SILENCE_MS / 1000);
}

static void
open_connections (void)
{
  for (size_t c = 0; c < CONNECTIONS; c++)
    nbd[c] = connect_to ("");
  for (size_t i = 0; i < DEPTH; i++)
    slots[i].is_busy = false;
}

/* After the server's death: takes the replies that had arrived. */
static void
take_last_replies (void)
{
  for (size_t c = 0; c < CONNECTIONS; c++) {
    while (!nbd_aio_is_dead (nbd[c]) && !nbd_aio_is_closed (nbd[c])) {
      struct pollfd pfd = {
        .fd = nbd_aio_get_fd (nbd[c]),
        .events = POLLIN,
      };
      unsigned direction = nbd_aio_get_direction (nbd[c]);
      int r = -1;

      if (poll (&pfd, 1, SILENCE_MS) == 1 &&
          (direction & LIBNBD_AIO_DIRECTION_READ))
        r = nbd_aio_notify_read (nbd[c]);
      if (r == -1)
        break;
    }
  }
  for (size_t i = 0; i < DEPTH; i++)
    if (slots[i].is_busy && slots[i].is_done)
      settle (&slots[i]);
}

static void
close_connections (void)
{
  for (size_t c = 0; c < CONNECTIONS; c++) {
    if (!is_dying && nbd_shutdown (nbd[c], 0) == -1)
      die ("shutdown: %s", nbd_get_error ());
    nbd_close (nbd[c]);
  }
  for (size_t i = 0; i < DEPTH; i++)
    slots[i].is_busy = false;
}

/*------------------------------------------------------------------------*/
/* Rounds. */

static void
wait_for_recovery (void)
{
  if (meta != NULL && volume_wait (meta, "insync", "true", RECOVERY_MS) == -1)
    die ("the legs were not in sync after %d seconds", RECOVERY_MS / 1000);
}

static void
compare_legs (void)
{
  char clean[64];
  uint8_t *a = allocate (CHUNK), *b = allocate (CHUNK);

  if (meta != NULL) {
    if (volume_read (meta, "clean", clean, sizeof clean) == -1)
      die ("%s", clean);
    if (strcmp (clean, "true") != 0)
      object ("stopped in order, in sync, but \"clean\" is %s", clean);
  }
  for (size_t l = 1; l < leg_count; l++) {
    FILE *fa = fopen (legs[0], "r"), *fb = fopen (legs[l], "r");
    uint64_t at = 0;
    size_t n;

    if (fa == NULL || fb == NULL)
      die ("legs: %s", strerror (errno));
    while ((n = fread (a, 1, CHUNK, fa)) > 0) {
      if (fread (b, 1, CHUNK, fb) != n)
        die ("%s: shorter than %s", legs[l], legs[0]);
      for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
          object ("legs differ at byte %" PRIu64 ": %02x in %s, %02x in %s "
                  "(I3)",
                  at + i, a[i], legs[0], b[i], legs[l]);
      at += n;
    }
    if (at != size)
      die ("%s: %" PRIu64 " bytes", legs[0], at);
    fclose (fa);
    fclose (fb);
  }
  free (a);
  free (b);
}

/* Takes the next snapshot when its turn has come. */
static void
plan_snapshot (void)
{
  if (snapshot_count < snapshots_wanted &&
      round_number * snapshots_wanted >= snapshot_count * rounds) {
    struct snapshot *s = &snapshots[snapshot_count++];

    snprintf (s->name, sizeof s->name, "snap%zu", snapshot_count);
  }
}

/* Returns whether everything acknowledged must be there at the next start. */
static bool
one_round (bool all_acknowledged)
{
  bool is_orderly = round_number % ORDERLY_EVERY == ORDERLY_EVERY - 1 ||
                    round_number + 1 == rounds;
  bool is_term = !is_orderly && one_in (5);
  bool waits = is_orderly || is_term || one_in (2);

  plan_snapshot ();
  is_dying = false;
  start_server ();
  if (!is_orderly && !is_first_reading && one_in (5)) {
    /* Some time in the start, or just after it. */
    uint64_t delay = pick (40);

    early_kills++;
    wait_for_start ((int) delay);
    kill (child, SIGKILL);
    expect_killed ();
    return all_acknowledged;
  }
  if (!wait_for_start (START_MS))
    die ("the server does not listen after %d seconds", START_MS / 1000);
  open_connections ();
  judge_volume (all_acknowledged);
  judge_snapshots ();
  judge_same (nbd[1], model, "volume, second reading", "I4",
              self_check == CHECK_FLIP_FLOP && op_count > 0);
  if (waits) {
    wait_for_recovery ();
    judge_same (nbd[0], model, "volume, after the recovery", "I4", false);
  }

  run_load (is_orderly ? load_ms : pick (load_ms) + 1);
  if (is_orderly) {
    drain ();
    close_connections ();
    kill (server_pid, SIGTERM);
    expect_stopped ();
    compare_legs ();
    orderly++;
    return true;
  }
  is_dying = true;
  if (is_term) {
    /* nbdkit answers what it has read, and waits for clients to go. */
    kill (server_pid, SIGTERM);
    run_load (pick (20));
    drain ();
    close_connections ();
    expect_stopped ();
    compare_legs ();
    terms++;
    return true;
  }
  kill (server_pid, SIGKILL);
  take_last_replies ();
  close_connections ();
  kills++;
  expect_killed ();
  return false;
}

/*------------------------------------------------------------------------*/

static void usage (const char *what) __attribute__ ((noreturn));

static void
usage (const char *what)
{
  fprintf (stderr, "kill-storm: %s; see the top of kill-storm.c\n", what);
  exit (2);
}

static uint64_t
number (const char *word, uint64_t max)
{
  char *end;
  uint64_t n = strtoull (word, &end, 10);

  if (end == word || *end != '\0' || n > max)
    usage (word);
  return n;
}

static void
parse (int argc, char *argv[])
{
  struct timespec ts;
  int i;

  clock_gettime (CLOCK_REALTIME, &ts);
  seed = ((uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec) %
         1000000000;
  for (i = 1; i < argc && strcmp (argv[i], "--") != 0; i++) {
    const char *key = argv[i], *value;

    if (i + 1 == argc)
      usage (key);
    value = argv[++i];
    if (strcmp (key, "--socket") == 0)
      socket_path = value;
    else if (strcmp (key, "--pid-fifo") == 0)
      pid_fifo = value;
    else if (strcmp (key, "--meta") == 0)
      meta = value;
    else if (strcmp (key, "--load") == 0)
      load = value;
    else if (strcmp (key, "--log") == 0)
      log_file = value;
    else if (strcmp (key, "--leg") == 0 && leg_count < LEGS_MAX)
      legs[leg_count++] = value;
    else if (strcmp (key, "--rounds") == 0)
      rounds = (unsigned) number (value, UINT_MAX);
    else if (strcmp (key, "--seed") == 0)
      seed = number (value, UINT64_MAX);
    else if (strcmp (key, "--load-ms") == 0)
      load_ms = (unsigned) number (value, UINT_MAX);
    else if (strcmp (key, "--timeout") == 0)
      timeout = (unsigned) number (value, UINT_MAX);
    else if (strcmp (key, "--snapshots") == 0)
      snapshots_wanted = (unsigned) number (value, UINT_MAX);
    else if (strcmp (key, "--self-check") == 0) {
      for (int n = CHECK_ACKNOWLEDGED; n > CHECK_NONE; n--)
        if (strcmp (self_check_names[n], value) == 0)
          self_check = (enum self_check) n;
      if (self_check == CHECK_NONE)
        usage (value);
    }
    else
      usage (key);
  }
  if (i + 1 >= argc || socket_path == NULL || pid_fifo == NULL ||
      snapshots_wanted > SNAPSHOTS_MAX || load_ms == 0)
    usage ("--socket, --pid-fifo and -- SERVER are needed");
  server_argv = &argv[i + 1];
  server_argc = (size_t) (argc - i - 1);
}

int
main (int argc, char *argv[])
{
  bool all_acknowledged = true;

  parse (argc, argv);
  printf ("kill-storm: seed %" PRIu64 ", %u rounds\n", seed, rounds);
  fflush (stdout);
  random_state = seed;
  signal (SIGPIPE, SIG_IGN);
  signal (SIGALRM, on_alarm);
  alarm (timeout);
  atexit (end_server);
  for (size_t i = 0; i < DEPTH; i++)
    slots[i].buf = allocate (BYTES_MAX);

  for (round_number = 0; round_number < rounds; round_number++)
    all_acknowledged = one_round (all_acknowledged);

  if (self_check != CHECK_NONE)
    die ("the oracle did not object to a wrong answer (%s)",
         self_check_names[self_check]);
  printf ("kill-storm: %" PRIu64 " kills under load, %" PRIu64
          " at start, %" PRIu64 " SIGTERM under load, %" PRIu64
          " orderly stops; %" PRIu64 " requests, %" PRIu64 " replies; %" PRIu64
          " sectors in doubt, %" PRIu64 " of them came back without "
          "an unflushed write; %" PRIu64 " readings of snapshots; "
          "nothing wrong\n",
          kills, early_kills, terms, orderly, op_count, reply_count, unsettled,
          lost, snapshots_read);
  for (size_t i = 0; i < DEPTH; i++)
    free (slots[i].buf);
  for (size_t i = 0; i < snapshot_count; i++)
    free (snapshots[i].content);
  versions_free (versions);
  free (model);
  return EXIT_SUCCESS;
}
