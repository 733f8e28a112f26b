/* Loads an NBD export and tells how long its requests took.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One connection, so many requests in flight.  Places are multiples of a
 * stride: each of them once, in random order, or at random for some time.
 *
 * With --control it also has the server take snapshots meanwhile.  Each of
 * the DEPTH places in the queue is a writer then, who waits for one request
 * before the next.  So long was a writer held by a snapshot: the longest time
 * that a request of his took which was in flight then.
 */

#include <config.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <libnbd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

#define MAX_DEPTH 256
#define MAX_BYTES (32U << 20)
#define MAX_SNAPSHOTS 1000

struct options {
  const char *uri;
  bool is_read;
  unsigned bytes;
  unsigned stride; /* 0: bytes */
  unsigned depth;
  unsigned count;   /* requests; 0: for some time, or each place once */
  unsigned run_ms;  /* 0: each place once */
  unsigned ramp_ms; /* not counted */
  unsigned seed;
  const char *control;
  unsigned snapshots;
  unsigned every_ms;
};

static struct options opt = {
  .bytes = 4096,
  .depth = 16,
  .seed = 1,
  .snapshots = 20,
  .every_ms = 100,
};

/* What is known of a request that has ended. */
struct span {
  double began, ended;
  unsigned writer;
};

struct slot {
  bool is_busy;
  bool has_failed;
  double began;
  char *buffer;
};

static struct nbd_handle *nbd;
static struct slot slots[MAX_DEPTH];
static unsigned in_flight;

static struct span *spans;
static size_t num_spans, room_for_spans;

static struct snapshot {
  double asked, answered;
} snapshots[MAX_SNAPSHOTS];
static atomic_uint snapshots_taken;
static atomic_bool all_taken;

/*----- places ----------------------------------------------------------*/

static uint64_t num_places, *order; /* order: if each is used once */

static uint64_t
next_random (uint64_t *state)
{
  uint64_t z = *state += 0x9e3779b97f4a7c15U;

  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
  z = (z ^ z >> 27) * 0x94d049bb133111ebU;
  return z ^ z >> 31;
}

/* In random order, the same for the same seed. */
static void
shuffle_places (void)
{
  uint64_t state = opt.seed, i, k;

  order = malloc (num_places * sizeof *order);
  if (order == NULL)
    die ("no memory");
  for (i = 0; i < num_places; ++i) {
    k = next_random (&state) % (i + 1);
    order[i] = order[k];
    order[k] = i;
  }
}

static uint64_t
offset_of (uint64_t number)
{
  static uint64_t state;

  if (number == 0)
    state = opt.seed;
  return (order != NULL ? order[number] : next_random (&state) % num_places) *
         opt.stride;
}

/*----- requests --------------------------------------------------------*/

static void
remember (unsigned writer, double began, double ended)
{
  if (num_spans == room_for_spans) {
    room_for_spans = room_for_spans * 2 + 65536;
    spans = realloc (spans, room_for_spans * sizeof *spans);
    if (spans == NULL)
      die ("no memory");
  }
  spans[num_spans++] = (struct span){ began, ended, writer };
}

static int
request_ended (void *data, int *error)
{
  struct slot *slot = data;

  slot->has_failed = *error != 0;
  slot->is_busy = false;
  in_flight--;
  remember ((unsigned) (slot - slots), slot->began, seconds_now ());
  return 1;
}

static void
begin_request (struct slot *slot, uint64_t offset)
{
  nbd_completion_callback end = { .callback = request_ended,
                                  .user_data = slot };
  int64_t r;

  slot->is_busy = true;
  slot->began = seconds_now ();
  in_flight++;
  r = opt.is_read
        ? nbd_aio_pread (nbd, slot->buffer, opt.bytes, offset, end, 0)
        : nbd_aio_pwrite (nbd, slot->buffer, opt.bytes, offset, end, 0);
  if (r == -1)
    die ("%s", nbd_get_error ());
}

static bool
is_over (uint64_t number, double now, double end)
{
  if (order != NULL && number == num_places)
    return true;
  if (opt.count > 0)
    return number == opt.count;
  if (opt.control != NULL)
    return atomic_load (&all_taken);
  return opt.run_ms > 0 && now >= end;
}

static void
wait_for_some (void)
{
  unsigned i;

  if (nbd_poll (nbd, -1) == -1)
    die ("%s", nbd_get_error ());
  for (i = 0; i < opt.depth; ++i)
    if (slots[i].has_failed)
      die ("a request failed");
}

static void
load (double began)
{
  double end = began + (opt.ramp_ms + opt.run_ms) / 1e3;
  uint64_t number = 0;
  unsigned i;

  while (!is_over (number, seconds_now (), end)) {
    for (i = 0; i < opt.depth; ++i)
      if (!slots[i].is_busy && !is_over (number, began, end))
        begin_request (&slots[i], offset_of (number++));
    wait_for_some ();
  }
  while (in_flight > 0)
    wait_for_some ();
}

static void
connect_server (void)
{
  uint64_t state = opt.seed + 1;
  unsigned i, k;
  int64_t size;

  nbd = nbd_create ();
  if (nbd == NULL || nbd_connect_uri (nbd, opt.uri) == -1)
    die ("%s", nbd_get_error ());
  size = nbd_get_size (nbd);
  if (size < (int64_t) opt.bytes)
    die ("%s: too small", opt.uri);
  num_places = ((uint64_t) size - opt.bytes) / opt.stride + 1;
  for (i = 0; i < opt.depth; ++i) {
    slots[i].buffer = aligned_memory (opt.bytes);
    for (k = 0; k < opt.bytes; ++k)
      slots[i].buffer[k] = (char) next_random (&state);
  }
}

/*----- snapshots -------------------------------------------------------*/

static FILE *
connect_control (void)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  FILE *stream;

  if (strlen (opt.control) >= sizeof address.sun_path)
    die ("%s: the name is too long", opt.control);
  strcpy (address.sun_path, opt.control);
  if (fd == -1 ||
      connect (fd, (struct sockaddr *) &address, sizeof address) == -1 ||
      (stream = fdopen (fd, "r")) == NULL)
    die ("%s: %s", opt.control, strerror (errno));
  return stream;
}

static void
take_snapshot (FILE *control, unsigned i)
{
  char *line = NULL;
  size_t size = 0;

  snapshots[i].asked = seconds_now ();
  if (dprintf (fileno (control),
               "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"snapshot.create\","
               "\"params\":{\"name\":\"load-%u\"}}\n",
               i, i) < 0 ||
      getline (&line, &size, control) == -1)
    die ("%s: %s", opt.control, strerror (errno));
  snapshots[i].answered = seconds_now ();
  if (strstr (line, "\"result\"") == NULL)
    die ("snapshot.create: %s", line);
  free (line);
}

/* A snapshot every so often: the pauses are what is asked for. */
static void *
take_snapshots (void *arg)
{
  const struct timespec pause = {
    .tv_sec = opt.every_ms / 1000,
    .tv_nsec = (long) (opt.every_ms % 1000) * 1000000,
  };
  FILE *control = connect_control ();
  unsigned i;

  (void) arg;
  for (i = 0; i < opt.snapshots; ++i) {
    nanosleep (&pause, NULL);
    take_snapshot (control, i);
    atomic_fetch_add (&snapshots_taken, 1);
  }
  nanosleep (&pause, NULL);
  atomic_store (&all_taken, true);
  fclose (control);
  return NULL;
}

/*----- results ---------------------------------------------------------*/

static int
compare (const void *a, const void *b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

/* The least of COUNT values, sorted, that is not below PERCENT of them. */
static double
percentile (const double *sorted, size_t count, double percent)
{
  size_t i = (size_t) (percent / 100 * (double) count);

  return sorted[i < count ? i : count - 1];
}

static double
larger (double a, double b)
{
  return a > b ? a : b;
}

/* For each writer the longest time that a request of his took which was in
 * flight from FROM to TO, or at a part of that.
 */
static void
longest_of_writers (double *longest, double from, double to)
{
  size_t i;

  for (i = 0; i < opt.depth; ++i)
    longest[i] = 0;
  for (i = 0; i < num_spans; ++i)
    if (spans[i].began <= to && spans[i].ended >= from)
      longest[spans[i].writer] = larger (longest[spans[i].writer],
                                         spans[i].ended - spans[i].began);
}

/* NAME: of all writers at all snapshots.  NAME_worst: of the one who was
 * held longest, at each of them.
 */
static void
print_writers (const char *name, double *longest, size_t num_snapshots)
{
  double *worst = malloc ((num_snapshots + 1) * sizeof *worst);
  size_t count = num_snapshots * opt.depth, i;

  if (worst == NULL)
    die ("no memory");
  for (i = 0; i < num_snapshots; ++i)
    worst[i] = 0;
  for (i = 0; i < count; ++i)
    worst[i / opt.depth] = larger (worst[i / opt.depth], longest[i]);
  qsort (longest, count, sizeof *longest, compare);
  qsort (worst, num_snapshots, sizeof *worst, compare);
  printf ("%s_p50_us %.0f\n", name, percentile (longest, count, 50) * 1e6);
  printf ("%s_p99_us %.0f\n", name, percentile (longest, count, 99) * 1e6);
  printf ("%s_worst_p50_us %.0f\n", name,
          percentile (worst, num_snapshots, 50) * 1e6);
  printf ("%s_worst_p99_us %.0f\n", name,
          percentile (worst, num_snapshots, 99) * 1e6);
  free (worst);
}

static void
print_snapshots (void)
{
  unsigned n = atomic_load (&snapshots_taken), i;
  double *held = malloc ((n + 1) * opt.depth * sizeof *held);
  double *before = malloc ((n + 1) * opt.depth * sizeof *before);
  double *took = malloc ((n + 1) * sizeof *took);
  double from;

  if (held == NULL || before == NULL || took == NULL)
    die ("no memory");
  for (i = 0; i < n; ++i) {
    took[i] = snapshots[i].answered - snapshots[i].asked;
    longest_of_writers (&held[i * opt.depth], snapshots[i].asked,
                        snapshots[i].answered);
    /* As much time, half a pause before: what the machine does anyway. */
    from = snapshots[i].asked - opt.every_ms / 2e3;
    longest_of_writers (&before[i * opt.depth], from, from + took[i]);
  }
  qsort (took, n, sizeof *took, compare);
  printf ("snapshots %u\n", n);
  printf ("took_p50_us %.0f\n", percentile (took, n, 50) * 1e6);
  print_writers ("held", held, n);
  print_writers ("before", before, n);
  free (took);
  free (held);
  free (before);
}

/* Of what ended after the ramp. */
static void
print_results (double began, double ended)
{
  double from = began + opt.ramp_ms / 1e3;
  double *times = malloc ((num_spans + 1) * sizeof *times);
  size_t count = 0, i;

  if (times == NULL)
    die ("no memory");
  for (i = 0; i < num_spans; ++i)
    if (spans[i].ended >= from)
      times[count++] = spans[i].ended - spans[i].began;
  if (count == 0 || ended <= from)
    die ("nothing was done after the ramp");
  qsort (times, count, sizeof *times, compare);
  printf ("requests %zu\n", num_spans);
  printf ("per_second %.1f\n", (double) count / (ended - from));
  printf ("p50_us %.0f\n", percentile (times, count, 50) * 1e6);
  printf ("p99_us %.0f\n", percentile (times, count, 99) * 1e6);
  printf ("max_us %.0f\n", times[count - 1] * 1e6);
  free (times);
}

/*----- options ---------------------------------------------------------*/

static const struct option long_options[] = {
  { "bytes", required_argument, NULL, 'b' },
  { "control", required_argument, NULL, 'c' },
  { "count", required_argument, NULL, 'n' },
  { "depth", required_argument, NULL, 'd' },
  { "every-ms", required_argument, NULL, 'e' },
  { "help", no_argument, NULL, 'h' },
  { "ramp-ms", required_argument, NULL, 'a' },
  { "read", no_argument, NULL, 'r' },
  { "run-ms", required_argument, NULL, 'm' },
  { "seed", required_argument, NULL, 's' },
  { "snapshots", required_argument, NULL, 'i' },
  { "stride", required_argument, NULL, 't' },
  { NULL, 0, NULL, 0 },
};

static void
usage (FILE *to)
{
  fprintf (to,
           "usage: nbd-load [OPTION]... URI\n"
           "Writes each place of an export once, in random order, and prints\n"
           "how many requests were done, and how long they took.\n"
           "  --bytes N       of a request (default 4096)\n"
           "  --control SOCK  have snapshots taken, until all are\n"
           "  --count N       so many requests, anywhere\n"
           "  --depth N       requests in flight (default 16)\n"
           "  --every-ms N    pause between snapshots (default 100)\n"
           "  --ramp-ms N     not counted, at the start (default 0)\n"
           "  --read          reads, no writes\n"
           "  --run-ms N      anywhere, for so long\n"
           "  --seed N        of what is random (default 1)\n"
           "  --snapshots N   to be taken (default 20)\n"
           "  --stride N      of the places (default: the bytes)\n");
}

static void
parse_options (int argc, char *argv[])
{
  int c, index;

  while ((c = getopt_long (argc, argv, "", long_options, &index)) != -1) {
    const char *name = c == '?' ? "" : long_options[index].name;

    switch (c) {
    case 'a':
      opt.ramp_ms = parse_number (name, optarg, 600000);
      break;
    case 'b':
      opt.bytes = parse_number (name, optarg, MAX_BYTES);
      break;
    case 'c':
      opt.control = optarg;
      break;
    case 'd':
      opt.depth = parse_number (name, optarg, MAX_DEPTH);
      break;
    case 'e':
      opt.every_ms = parse_number (name, optarg, 60000);
      break;
    case 'i':
      opt.snapshots = parse_number (name, optarg, MAX_SNAPSHOTS);
      break;
    case 'm':
      opt.run_ms = parse_number (name, optarg, 600000);
      break;
    case 'n':
      opt.count = parse_number (name, optarg, 1U << 30);
      break;
    case 'r':
      opt.is_read = true;
      break;
    case 's':
      opt.seed = parse_number (name, optarg, 1U << 30);
      break;
    case 't':
      opt.stride = parse_number (name, optarg, 1U << 30);
      break;
    case 'h':
      usage (stdout);
      exit (0);
    default:
      usage (stderr);
      exit (2);
    }
  }
  if (optind != argc - 1) {
    usage (stderr);
    exit (2);
  }
  opt.uri = argv[optind];
  if (opt.stride == 0)
    opt.stride = opt.bytes;
}

int
main (int argc, char *argv[])
{
  pthread_t thread;
  double began;

  program_name = "nbd-load";
  parse_options (argc, argv);
  connect_server ();
  if (opt.run_ms == 0 && opt.count == 0 && opt.control == NULL)
    shuffle_places ();
  if (opt.control != NULL &&
      pthread_create (&thread, NULL, take_snapshots, NULL) != 0)
    die ("no thread");
  began = seconds_now ();
  load (began);
  print_results (began, seconds_now ());
  if (opt.control != NULL) {
    pthread_join (thread, NULL);
    print_snapshots ();
  }
  if (nbd_shutdown (nbd, 0) == -1)
    die ("%s", nbd_get_error ());
  nbd_close (nbd);
  return 0;
}
