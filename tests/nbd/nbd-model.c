/* A load of random NBD requests, judged byte by byte against an array.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   nbd-model --uri URI [OPTION...]
 *
 *   --connections N        connections to each export            (2)
 *   --depth N              requests in flight, altogether        (8)
 *   --ops N                requests to do                        (10000)
 *   --bytes-min N, --max N length of a request, log-uniform      (1, 2M)
 *   --size-limit N         keep to the first N bytes of the export
 *   --seed N               (from the clock; printed)
 *   --trim-undefined       for servers whose trimmed bytes may read as anything
 *   --load FILE            what the export must be at the start  (just read it)
 *   --dump FILE            write there what the export must be at the end
 *   --snapshot-uri URI     a second export, which the load on the first must
 *   --snapshot-file FILE   not change; FILE is its content
 *   --snapshot-write       write to it as well: it has a model of its own
 *   --snapshot-dump FILE   as --dump, for the second
 *   --until-closed         go on until the server closes the connections; no
 *                          request fails before it does; "running" is printed
 *                          once the load is on
 *   --timeout SECS         for the whole run                     (600)
 *
 * Exit status: 0 no difference, 1 a difference or an error, 2 usage.
 *
 * Invariants:
 *
 * (1) Two requests in flight never share a byte unless both read, so there is
 *     one right answer for each byte at any time.
 * (2) They often share a sector: half of the requests are put right beside one
 *     that is in flight.  A server that changes part of a sector by reading and
 *     writing the whole of it, without a lock, loses bytes here.
 * (3) The model changes when the request completes, before any later request
 *     on those bytes is made.
 * (4) A byte written depends on the seed, the number of the request and the
 *     offset, so that a wrong byte tells where it came from.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
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

#include <libnbd.h>

#include "pattern.h"

#define CONNECTIONS_MAX 8
#define DEPTH_MAX 64
#define DEVICES_MAX 2
#define SECTOR 512
#define SILENCE_MS 60000
#define RUNNING_OPS 200
#define WHOLE_CHUNK (1 << 20)

enum kind { READ, WRITE, ZERO, TRIM, FLUSH };

static const char *const kind_names[] = {
  [READ] = "read", [WRITE] = "write", [ZERO] = "zero",
  [TRIM] = "trim", [FLUSH] = "flush",
};

struct device {
  const char *name;
  const char *uri;
  const char *load;
  const char *dump;
  bool is_writable;
  struct nbd_handle *nbd[CONNECTIONS_MAX];
  uint64_t size;  /* of the export */
  uint64_t limit; /* requests stay below */
  bool can_trim, can_zero, can_fast_zero, can_fua, can_flush;
  uint8_t *model;
  uint8_t *undefined; /* 1: any byte is right; NULL unless needed */
};

/* A request in flight. */
struct slot {
  bool is_busy;
  bool is_done; /* set by the completion, read after it */
  int error;
  uint64_t op;
  enum kind kind;
  struct device *dev;
  uint64_t offset;
  size_t len;
  uint32_t flags;
  uint8_t *buf;
};

/* What was asked for, kept to explain a difference. */
struct record {
  uint8_t kind;
  uint8_t device;
  uint32_t flags;
  size_t len;
  uint64_t offset;
};

static struct device devices[DEVICES_MAX];
static size_t device_count = 1;
static struct slot slots[DEPTH_MAX];
static struct record *records;

static unsigned connections = 2;
static unsigned depth = 8;
static uint64_t ops = 10000;
static uint64_t bytes_min = 1;
static uint64_t bytes_max = 2 << 20;
static uint64_t seed;
static bool trim_undefined;
static bool until_closed;
static unsigned timeout = 600;

static bool is_closing; /* a connection was closed: issue no more */

static uint64_t random_state;
static uint64_t issued;
static uint64_t counts[FLUSH + 1];
static uint64_t bytes_done;
static uint64_t sector_mates; /* requests issued beside one in flight */
static uint64_t fast_zero_refused;

static void die (const char *format, ...)
  __attribute__ ((noreturn, format (printf, 1, 2)));

static void
die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fprintf (stderr, "nbd-model: seed %" PRIu64 ": ", seed);
  vfprintf (stderr, format, args);
  fprintf (stderr, "\n");
  va_end (args);
  exit (EXIT_FAILURE);
}

static void
on_alarm (int sig)
{
  static const char message[] = "nbd-model: the run took too long\n";

  (void) sig;
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

/* The seed of the bytes that a request writes. */
static uint64_t
op_seed (uint64_t op)
{
  return pattern_mix (seed) + op;
}

/*------------------------------------------------------------------------*/
/* Explaining a difference. */

static void
print_bytes (const char *title, const uint8_t *bytes, size_t n)
{
  fprintf (stderr, "  %-9s", title);
  for (size_t i = 0; i < n; i++)
    fprintf (stderr, " %02x", bytes[i]);
  fprintf (stderr, "\n");
}

static void
print_op (const char *title, uint64_t op)
{
  const struct record *r = &records[op];

  fprintf (stderr,
           "  %s request %" PRIu64 ": %s %s offset %" PRIu64 " length %zu%s\n",
           title, op, devices[r->device].name, kind_names[r->kind], r->offset,
           r->len, (r->flags & LIBNBD_CMD_FLAG_FUA) ? " fua" : "");
}

static bool
made_by (uint64_t op, const uint8_t *bytes, size_t n, uint64_t offset)
{
  for (size_t i = 0; i < n; i++)
    if (bytes[i] != pattern_byte (op_seed (op), offset + i))
      return false;
  return true;
}

static void explain (const struct device *dev, uint64_t offset,
                     const uint8_t *got, size_t n, const char *where)
  __attribute__ ((noreturn));

/* got[0] is the first wrong byte; n bytes were read from there. */
static void
explain (const struct device *dev, uint64_t offset, const uint8_t *got,
         size_t n, const char *where)
{
  const uint8_t *expected = &dev->model[offset];
  size_t wrong = 0;
  bool found = false;

  if (n > 16)
    n = 16;
  while (wrong < n && got[wrong] != expected[wrong])
    wrong++;
  fprintf (stderr,
           "nbd-model: seed %" PRIu64 ": %s: %s offset %" PRIu64
           " (sector %" PRIu64 " + %" PRIu64 "): wrong\n",
           seed, where, dev->name, offset, offset / SECTOR, offset % SECTOR);
  print_bytes ("expected", expected, n);
  print_bytes ("got", got, n);
  for (uint64_t op = issued; op-- > 0;) {
    const struct record *r = &records[op];

    if (&devices[r->device] == dev && r->kind != READ && r->kind != FLUSH &&
        r->offset <= offset && offset < r->offset + r->len) {
      print_op ("expected is what was left by", op);
      found = true;
      break;
    }
  }
  if (!found)
    fprintf (stderr, "  expected is the content at the start\n");
  for (uint64_t op = issued; op-- > 0;)
    if (records[op].kind == WRITE && made_by (op, got, wrong, offset)) {
      print_op ("got is what was written by", op);
      exit (EXIT_FAILURE);
    }
  for (size_t i = 0; i < wrong; i++)
    if (got[i] != 0) {
      fprintf (stderr, "  got was written by no request of this run\n");
      exit (EXIT_FAILURE);
    }
  fprintf (stderr, "  got is zeroes (%zu bytes looked at)\n", wrong);
  exit (EXIT_FAILURE);
}

static void
judge (const struct device *dev, uint64_t offset, const uint8_t *got,
       size_t len, const char *where)
{
  if (dev->undefined == NULL && memcmp (got, &dev->model[offset], len) == 0)
    return;
  for (size_t i = 0; i < len; i++)
    if (got[i] != dev->model[offset + i] &&
        (dev->undefined == NULL || !dev->undefined[offset + i]))
      explain (dev, offset + i, got + i, len - i, where);
}

/*------------------------------------------------------------------------*/
/* Requests. */

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

/* Log-uniform, so that small requests are as frequent as large ones. */
static size_t
pick_len (uint64_t min, uint64_t max)
{
  unsigned low = 0, high = 0;
  uint64_t len;

  while ((UINT64_C (2) << low) <= min)
    low++;
  while ((UINT64_C (2) << high) <= max)
    high++;
  len = UINT64_C (1) << (low + pick (high - low + 1));
  len += pick (len);
  if (one_in (8))
    len = max; /* the limit itself, more than by chance */
  if (len < min)
    len = min;
  if (len > max)
    len = max;
  return (size_t) len;
}

/* Beside a request in flight, if there is one, in the same sector. */
static bool
place_beside (struct slot *slot)
{
  const struct slot *other = &slots[pick (depth)];
  uint64_t gap, len = 1 + pick (one_in (2) ? 64 : 700);

  if (!other->is_busy || other->dev != slot->dev || other->kind == FLUSH)
    return false;
  if (len < bytes_min)
    len = bytes_min;
  if (len > bytes_max)
    len = bytes_max;
  if (one_in (2)) { /* after its end */
    uint64_t end = other->offset + other->len;

    if (end % SECTOR == 0)
      return false;
    gap = one_in (2) ? 0 : pick (SECTOR - end % SECTOR);
    slot->offset = end + gap;
  }
  else { /* before its start */
    uint64_t room = other->offset % SECTOR;

    if (room == 0)
      return false;
    gap = one_in (2) ? 0 : pick (room);
    if (other->offset - gap < len)
      return false;
    slot->offset = other->offset - gap - len;
  }
  slot->len = (size_t) len;
  return slot->offset + slot->len <= slot->dev->limit;
}

static void
place_anywhere (struct slot *slot)
{
  uint64_t limit = slot->dev->limit;
  uint64_t max = bytes_max < limit ? bytes_max : limit;
  uint64_t unit = one_in (3) ? 1 : one_in (2) ? SECTOR : 4096;

  /* Few of the largest: eight of them would keep everything else waiting. */
  slot->len = pick_len (bytes_min, one_in (16) ? max : max / 16 + 1);
  if (slot->len >= unit && unit > 1)
    slot->len = (size_t) (slot->len / unit * unit);
  slot->offset = pick (limit - slot->len + 1) / unit * unit;
}

static bool
collides (const struct slot *slot)
{
  for (unsigned i = 0; i < depth; i++) {
    const struct slot *other = &slots[i];

    if (other->is_busy && other->dev == slot->dev && other->kind != FLUSH &&
        (other->kind != READ || slot->kind != READ) &&
        slot->offset < other->offset + other->len &&
        other->offset < slot->offset + slot->len)
      return true;
  }
  return false;
}

/* A change of the same sector is in flight, or a change beside a read. */
static bool
has_sector_mate (const struct slot *slot)
{
  uint64_t first = slot->offset / SECTOR;
  uint64_t last = (slot->offset + slot->len - 1) / SECTOR;

  for (unsigned i = 0; i < depth; i++) {
    const struct slot *other = &slots[i];

    if (other != slot && other->is_busy && other->dev == slot->dev &&
        other->kind != FLUSH && other->kind != READ && slot->kind != READ &&
        first <= (other->offset + other->len - 1) / SECTOR &&
        other->offset / SECTOR <= last)
      return true;
  }
  return false;
}

static void
pick_kind (struct slot *slot)
{
  const struct device *dev = slot->dev;
  uint64_t n = pick (100);

  slot->flags = 0;
  slot->kind = READ;
  if (!dev->is_writable || n < 30)
    return;
  if (n < 75)
    slot->kind = WRITE;
  else if (n < 87 && dev->can_zero)
    slot->kind = ZERO;
  else if (n < 97 && dev->can_trim)
    slot->kind = TRIM;
  else if (n >= 97 && dev->can_flush)
    slot->kind = FLUSH;
  else
    slot->kind = WRITE;
  if (slot->kind == FLUSH)
    return;
  if (dev->can_fua && one_in (10))
    slot->flags |= LIBNBD_CMD_FLAG_FUA;
  if (slot->kind == ZERO && one_in (2))
    slot->flags |= LIBNBD_CMD_FLAG_NO_HOLE;
  if (slot->kind == ZERO && dev->can_fast_zero && one_in (3))
    slot->flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
}

static int
completed (void *opaque, int *error)
{
  struct slot *slot = opaque;

  slot->error = *error;
  slot->is_done = true;
  return 1; /* libnbd forgets the request */
}

static void
issue (struct slot *slot)
{
  struct nbd_handle *nbd = slot->dev->nbd[pick (connections)];
  nbd_completion_callback cb = { .callback = completed, .user_data = slot };
  int64_t r = -1;

  slot->op = issued;
  slot->is_done = false;
  slot->error = 0;
  slot->is_busy = true;
  records[issued++] = (struct record){
    .kind = (uint8_t) slot->kind,
    .device = (uint8_t) (slot->dev - devices),
    .flags = slot->flags,
    .len = slot->len,
    .offset = slot->offset,
  };
  switch (slot->kind) {
  case READ:
    memset (slot->buf, 0xdb, slot->len);
    r = nbd_aio_pread (nbd, slot->buf, slot->len, slot->offset, cb, 0);
    break;
  case WRITE:
    pattern_fill (slot->buf, slot->len, op_seed (slot->op), slot->offset);
    r = nbd_aio_pwrite (nbd, slot->buf, slot->len, slot->offset, cb,
                        slot->flags);
    break;
  case ZERO:
    r = nbd_aio_zero (nbd, slot->len, slot->offset, cb, slot->flags);
    break;
  case TRIM:
    r = nbd_aio_trim (nbd, slot->len, slot->offset, cb, slot->flags);
    break;
  case FLUSH:
    r = nbd_aio_flush (nbd, cb, 0);
    break;
  }
  if (r == -1 && is_closing) {
    slot->is_busy = false;
    return;
  }
  if (r == -1) {
    print_op ("refused by libnbd:", slot->op);
    die ("%s", nbd_get_error ());
  }
}

/* Returns false if no place was found among the requests in flight. */
static bool
issue_one (struct slot *slot)
{
  slot->dev = &devices[0];
  if (device_count > 1 && (devices[1].is_writable ? one_in (3) : one_in (10)))
    slot->dev = &devices[1];
  pick_kind (slot);
  if (slot->kind == FLUSH) {
    slot->offset = 0;
    slot->len = 0;
    issue (slot);
    return true;
  }
  for (unsigned tries = 0; tries < 40; tries++) {
    if (tries >= 8 || one_in (2) || !place_beside (slot))
      place_anywhere (slot);
    if (collides (slot))
      continue;
    if (has_sector_mate (slot))
      sector_mates++;
    issue (slot);
    return true;
  }
  return false;
}

/* The request is answered: the error first, then the bytes. */
static void
settle (struct slot *slot)
{
  struct device *dev = slot->dev;

  /* nbdkit answers so after SIGTERM. */
  if (slot->error == ESHUTDOWN && until_closed)
    is_closing = true;
  if (slot->error != 0 && is_closing) {
    slot->is_busy = false;
    return;
  }
  if (slot->error != 0) {
    if (slot->kind == ZERO && (slot->flags & LIBNBD_CMD_FLAG_FAST_ZERO) &&
        slot->error == ENOTSUP) {
      fast_zero_refused++;
      slot->is_busy = false;
      return;
    }
    print_op ("failed:", slot->op);
    die ("the server answered: %s", strerror (slot->error));
  }
  counts[slot->kind]++;
  bytes_done += slot->len;
  switch (slot->kind) {
  case READ:
    judge (dev, slot->offset, slot->buf, slot->len, "read");
    break;
  case WRITE:
    memcpy (&dev->model[slot->offset], slot->buf, slot->len);
    break;
  case ZERO:
  case TRIM:
    memset (&dev->model[slot->offset], 0, slot->len);
    break;
  case FLUSH:
    break;
  }
  if (dev->undefined != NULL && slot->kind != READ && slot->kind != FLUSH)
    memset (&dev->undefined[slot->offset], slot->kind == TRIM && trim_undefined,
            slot->len);
  slot->is_busy = false;
}

/*------------------------------------------------------------------------*/
/* Connections. */

static void
connection_lost (void)
{
  if (!until_closed)
    die ("connection: %s", nbd_get_error () ? nbd_get_error () : "closed");
  is_closing = true;
}

static void
poll_once (void)
{
  struct pollfd fds[DEVICES_MAX * CONNECTIONS_MAX];
  struct nbd_handle *handles[DEVICES_MAX * CONNECTIONS_MAX];
  size_t n = 0;
  int r;

  for (size_t d = 0; d < device_count; d++)
    for (unsigned c = 0; c < connections; c++) {
      struct nbd_handle *nbd = devices[d].nbd[c];
      unsigned direction = nbd_aio_get_direction (nbd);

      if (nbd_aio_is_dead (nbd) || nbd_aio_is_closed (nbd)) {
        connection_lost ();
        continue;
      }
      handles[n] = nbd;
      fds[n].fd = nbd_aio_get_fd (nbd);
      fds[n].revents = 0;
      fds[n].events = 0;
      if (direction & LIBNBD_AIO_DIRECTION_READ)
        fds[n].events |= POLLIN;
      if (direction & LIBNBD_AIO_DIRECTION_WRITE)
        fds[n].events |= POLLOUT;
      n++;
    }
  if (n == 0)
    return;
  r = poll (fds, n, SILENCE_MS);
  if (r == -1 && errno != EINTR)
    die ("poll: %s", strerror (errno));
  if (r == 0) {
    for (unsigned i = 0; i < depth; i++)
      if (slots[i].is_busy)
        print_op ("not answered:", slots[i].op);
    die ("no answer in %d seconds", SILENCE_MS / 1000);
  }
  for (size_t i = 0; i < n; i++) {
    unsigned direction = nbd_aio_get_direction (handles[i]);

    r = 0;
    if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) &&
        (direction & LIBNBD_AIO_DIRECTION_READ))
      r = nbd_aio_notify_read (handles[i]);
    else if ((fds[i].revents & POLLOUT) &&
             (direction & LIBNBD_AIO_DIRECTION_WRITE))
      r = nbd_aio_notify_write (handles[i]);
    if (r == -1)
      connection_lost ();
  }
}

static unsigned
settle_done (void)
{
  unsigned busy = 0;

  for (unsigned i = 0; i < depth; i++) {
    if (slots[i].is_busy && slots[i].is_done)
      settle (&slots[i]);
    busy += slots[i].is_busy;
  }
  return busy;
}

static void
run_load (void)
{
  bool is_said = !until_closed;
  unsigned busy = 0;

  for (;;) {
    if (!is_said && issued >= RUNNING_OPS) {
      printf ("running\n");
      fflush (stdout);
      is_said = true;
    }
    for (unsigned i = 0; i < depth && issued < ops && !is_closing; i++)
      if (!slots[i].is_busy) {
        if (!issue_one (&slots[i]))
          break;
        busy++;
      }
    if (busy == 0 && (issued == ops || is_closing))
      return;
    if (busy == 0)
      die ("no place for a request: the export is too small");
    poll_once ();
    busy = settle_done ();
  }
}

static bool
can (int answer)
{
  if (answer == -1)
    die ("%s", nbd_get_error ());
  return answer == 1;
}

static void
connect_device (struct device *dev)
{
  struct nbd_handle *nbd;

  for (unsigned c = 0; c < connections; c++) {
    nbd = nbd_create ();
    if (nbd == NULL || nbd_connect_uri (nbd, dev->uri) == -1)
      die ("%s: %s", dev->uri, nbd_get_error ());
    dev->nbd[c] = nbd;
  }
  nbd = dev->nbd[0];
  dev->size = (uint64_t) nbd_get_size (nbd);
  if (connections > 1 && dev->is_writable && !can (nbd_can_multi_conn (nbd)))
    die ("%s: no multi-conn: use --connections 1", dev->uri);
  if (dev->is_writable && can (nbd_is_read_only (nbd)))
    die ("%s: read-only", dev->uri);
  dev->can_trim = can (nbd_can_trim (nbd));
  dev->can_zero = can (nbd_can_zero (nbd));
  dev->can_fast_zero = can (nbd_can_fast_zero (nbd));
  dev->can_fua = can (nbd_can_fua (nbd));
  dev->can_flush = can (nbd_can_flush (nbd));
}

/* Reads or judges the whole export. */
static void
whole_device (struct device *dev, bool is_judged, const char *where)
{
  uint8_t *buf = allocate (WHOLE_CHUNK);

  for (uint64_t done = 0; done < dev->size;) {
    size_t n = dev->size - done < WHOLE_CHUNK ? (size_t) (dev->size - done)
                                              : WHOLE_CHUNK;
    uint8_t *to = is_judged ? buf : &dev->model[done];

    if (nbd_pread (dev->nbd[done / WHOLE_CHUNK % connections], to, n, done,
                   0) == -1)
      die ("%s: %s", where, nbd_get_error ());
    if (is_judged)
      judge (dev, done, buf, n, where);
    done += n;
  }
  free (buf);
}

static void
load_model (struct device *dev)
{
  FILE *f;

  dev->model = allocate (dev->size);
  if (trim_undefined)
    dev->undefined = allocate (dev->size);
  if (dev->load == NULL) {
    whole_device (dev, false, "first reading");
    return;
  }
  f = fopen (dev->load, "r");
  if (f == NULL || fread (dev->model, 1, dev->size, f) != dev->size ||
      fgetc (f) != EOF)
    die ("%s: unreadable, or not %" PRIu64 " bytes", dev->load, dev->size);
  fclose (f);
  whole_device (dev, true, "first reading");
}

static void
dump_model (const struct device *dev)
{
  FILE *f = fopen (dev->dump, "w");

  if (f == NULL || fwrite (dev->model, 1, dev->size, f) != dev->size ||
      fclose (f) != 0)
    die ("%s: %s", dev->dump, strerror (errno));
}

/*------------------------------------------------------------------------*/

static void usage (const char *what) __attribute__ ((noreturn));

static void
usage (const char *what)
{
  fprintf (stderr, "nbd-model: %s; see the top of nbd-model.c\n", what);
  exit (2);
}

static uint64_t
number (const char *word)
{
  char *end;
  uint64_t n;

  errno = 0;
  n = strtoull (word, &end, 0);
  if (errno != 0 || end == word)
    usage (word);
  switch (*end) {
  case 'G':
    n <<= 10; /* fallthrough */
  case 'M':
    n <<= 10; /* fallthrough */
  case 'K':
    n <<= 10;
    end++;
    break;
  default:
    break;
  }
  if (*end != '\0')
    usage (word);
  return n;
}

static uint64_t size_limit = UINT64_MAX;

static void
parse (int argc, char *argv[])
{
  bool has_seed = false;

  devices[0] = (struct device){ .name = "volume", .is_writable = true };
  devices[1] = (struct device){ .name = "snapshot" };
  for (int i = 1; i < argc; i++) {
    const char *key = argv[i], *value;

    if (strcmp (key, "--trim-undefined") == 0) {
      trim_undefined = true;
      continue;
    }
    if (strcmp (key, "--until-closed") == 0) {
      until_closed = true;
      continue;
    }
    if (strcmp (key, "--snapshot-write") == 0) {
      devices[1].is_writable = true;
      continue;
    }
    if (i + 1 == argc)
      usage (key);
    value = argv[++i];
    if (strcmp (key, "--uri") == 0)
      devices[0].uri = value;
    else if (strcmp (key, "--snapshot-uri") == 0)
      devices[1].uri = value;
    else if (strcmp (key, "--load") == 0)
      devices[0].load = value;
    else if (strcmp (key, "--snapshot-file") == 0)
      devices[1].load = value;
    else if (strcmp (key, "--dump") == 0)
      devices[0].dump = value;
    else if (strcmp (key, "--snapshot-dump") == 0)
      devices[1].dump = value;
    else if (strcmp (key, "--connections") == 0)
      connections = (unsigned) number (value);
    else if (strcmp (key, "--depth") == 0)
      depth = (unsigned) number (value);
    else if (strcmp (key, "--ops") == 0)
      ops = number (value);
    else if (strcmp (key, "--bytes-min") == 0)
      bytes_min = number (value);
    else if (strcmp (key, "--max") == 0)
      bytes_max = number (value);
    else if (strcmp (key, "--size-limit") == 0)
      size_limit = number (value);
    else if (strcmp (key, "--timeout") == 0)
      timeout = (unsigned) number (value);
    else if (strcmp (key, "--seed") == 0) {
      seed = number (value);
      has_seed = true;
    }
    else
      usage (key);
  }
  if (devices[0].uri == NULL)
    usage ("--uri is needed");
  if (devices[1].uri != NULL)
    device_count = 2;
  if (connections < 1 || connections > CONNECTIONS_MAX || depth < 1 ||
      depth > DEPTH_MAX || bytes_min < 1 || bytes_max < bytes_min)
    usage ("a number is out of range");
  if (!has_seed) {
    struct timespec ts;

    clock_gettime (CLOCK_REALTIME, &ts);
    seed = ((uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec) %
           1000000000;
  }
}

int
main (int argc, char *argv[])
{
  parse (argc, argv);
  printf ("nbd-model: seed %" PRIu64 ", %" PRIu64 " requests\n", seed, ops);
  fflush (stdout);
  random_state = seed;
  signal (SIGALRM, on_alarm);
  alarm (timeout);

  records = allocate (ops * sizeof records[0]);
  for (unsigned i = 0; i < depth; i++)
    slots[i].buf = allocate (bytes_max);
  for (size_t d = 0; d < device_count; d++) {
    connect_device (&devices[d]);
    devices[d].limit = devices[d].size < size_limit ? devices[d].size
                                                    : size_limit;
    if (devices[d].limit < bytes_min)
      die ("the export is too small");
    load_model (&devices[d]);
  }

  run_load ();
  if (until_closed && !is_closing)
    die ("all requests are done, and the server has not closed anything");
  if (is_closing) {
    printf ("nbd-model: closed by the server after %" PRIu64 " requests; no "
            "difference\n",
            issued);
    return EXIT_SUCCESS;
  }

  for (size_t d = 0; d < device_count; d++) {
    struct device *dev = &devices[d];

    if (dev->is_writable && dev->can_flush && nbd_flush (dev->nbd[0], 0) == -1)
      die ("last flush: %s", nbd_get_error ());
    whole_device (dev, true, "last reading");
    if (dev->dump != NULL)
      dump_model (dev);
  }
  for (size_t d = 0; d < device_count; d++)
    for (unsigned c = 0; c < connections; c++) {
      if (nbd_shutdown (devices[d].nbd[c], 0) == -1)
        die ("shutdown: %s", nbd_get_error ());
      nbd_close (devices[d].nbd[c]);
    }

  printf ("nbd-model: %" PRIu64 " reads, %" PRIu64 " writes, %" PRIu64
          " zeroes, %" PRIu64 " trims, %" PRIu64 " flushes, %" PRIu64
          " MiB; %" PRIu64 " changes beside another in one sector; %" PRIu64
          " fast zeroes refused; no difference\n",
          counts[READ], counts[WRITE], counts[ZERO], counts[TRIM],
          counts[FLUSH], bytes_done >> 20, sector_mates, fast_zero_refused);
  if (ops >= 1000 && depth > 1 && bytes_min < SECTOR && sector_mates == 0)
    die ("no two requests were in flight in one sector: this proved nothing");
  for (unsigned i = 0; i < depth; i++)
    free (slots[i].buf);
  for (size_t d = 0; d < device_count; d++) {
    free (devices[d].model);
    free (devices[d].undefined);
  }
  free (records);
  return EXIT_SUCCESS;
}
