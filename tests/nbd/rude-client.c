/* A client that goes away at the wrong moments, on a raw socket.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   rude-client SOCKET cut STEP      close after every STEP-th byte sent, from
 *                                    the first of the handshake to the last of
 *                                    a write's payload, and then of a reply
 *   rude-client SOCKET half STEP     the same, but only stop sending there, and
 *                                    take what the server still says
 *   rude-client SOCKET garbage SEED  send random bytes instead
 *   rude-client SOCKET connects N    connect and leave in order, N times
 *   rude-client SOCKET idle N        hold N connections, in all stages of the
 *                                    handshake; "ready" is printed, and they
 *                                    are held until standard input ends
 *
 * The write of "cut" puts 3000 bytes of 0xc7 at offset 1000.  After each cut a
 * well-mannered request is made now and then, to see that the server lives.
 */

#include <config.h>

#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <libnbd.h>

#include "pattern.h"

#define PAYLOAD 3000
#define WRITE_OFFSET 1000
#define READ_LEN 70000
#define IDLE_MAX 1000

static const char *socket_path;

static void die (const char *format, ...)
  __attribute__ ((noreturn, format (printf, 1, 2)));

static void
die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fprintf (stderr, "rude-client: ");
  vfprintf (stderr, format, args);
  fprintf (stderr, "\n");
  va_end (args);
  exit (EXIT_FAILURE);
}

static int
dial (void)
{
  struct sockaddr_un sun = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  if (fd == -1 || strlen (socket_path) >= sizeof sun.sun_path)
    die ("%s: %s", socket_path, strerror (errno));
  strcpy (sun.sun_path, socket_path);
  if (connect (fd, (struct sockaddr *) &sun, sizeof sun) == -1)
    die ("connect: %s: %s", socket_path, strerror (errno));
  return fd;
}

/* A server may hang up while we send; that is its right. */
static bool
send_all (int fd, const uint8_t *bytes, size_t n)
{
  while (n > 0) {
    ssize_t r = send (fd, bytes, n, MSG_NOSIGNAL);

    if (r == -1 && (errno == EPIPE || errno == ECONNRESET))
      return false;
    if (r == -1)
      die ("send: %s", strerror (errno));
    bytes += r;
    n -= (size_t) r;
  }
  return true;
}

static bool
receive_all (int fd, size_t n)
{
  uint8_t buf[4096];

  while (n > 0) {
    ssize_t r = recv (fd, buf, n < sizeof buf ? n : sizeof buf, 0);

    if (r == 0 || (r == -1 && errno == ECONNRESET))
      return false;
    if (r == -1)
      die ("recv: %s", strerror (errno));
    n -= (size_t) r;
  }
  return true;
}

static size_t
put (uint8_t *to, uint64_t value, size_t bytes)
{
  for (size_t i = 0; i < bytes; i++)
    to[i] = (uint8_t) (value >> (8 * (bytes - 1 - i)));
  return bytes;
}

/* The client's flags, and NBD_OPT_EXPORT_NAME "". */
static size_t
put_handshake (uint8_t *to)
{
  size_t n = put (to, 3, 4); /* fixed newstyle, no zeroes */

  n += put (to + n, UINT64_C (0x49484156454f5054), 8); /* IHAVEOPT */
  n += put (to + n, 1, 4);
  n += put (to + n, 0, 4);
  return n;
}

static size_t
put_request (uint8_t *to, uint16_t type, uint64_t offset, uint32_t len)
{
  size_t n = put (to, 0x25609513, 4);

  n += put (to + n, 0, 2);
  n += put (to + n, type, 2);
  n += put (to + n, 0x1122334455667788, 8);
  n += put (to + n, offset, 8);
  n += put (to + n, len, 4);
  return n;
}

static void
be_polite (void)
{
  struct nbd_handle *nbd = nbd_create ();
  char before[512], after[512];

  if (nbd == NULL || nbd_connect_unix (nbd, socket_path) == -1 ||
      nbd_pread (nbd, before, sizeof before, 65536, 0) == -1 ||
      nbd_pwrite (nbd, before, sizeof before, 65536, 0) == -1 ||
      nbd_pread (nbd, after, sizeof after, 65536, 0) == -1 ||
      nbd_shutdown (nbd, 0) == -1)
    die ("the server is not well: %s", nbd_get_error ());
  if (memcmp (before, after, sizeof before) != 0)
    die ("the server gave other bytes than were written");
  nbd_close (nbd);
}

/* Goes away: at once, or after the server has said its last word. */
static void
leave (int fd, bool is_half)
{
  if (is_half) {
    if (shutdown (fd, SHUT_WR) == -1 && errno != ENOTCONN)
      die ("shutdown: %s", strerror (errno));
    if (receive_all (fd, SIZE_MAX))
      die ("endless data from the server");
  }
  close (fd);
}

static void
cut (size_t step, bool is_half)
{
  static uint8_t out[64 + 28 + PAYLOAD];
  size_t handshake, n;

  handshake = n = put_handshake (out);
  n += put_request (out + n, 1, WRITE_OFFSET, PAYLOAD);
  memset (out + n, 0xc7, PAYLOAD);
  n += PAYLOAD;

  /* Everything is sent at once, without waiting for the server's part. */
  for (size_t i = 0; i < n + step; i += i < handshake + 28 ? 1 : step) {
    size_t k = i < n ? i : n;
    int fd = dial ();

    send_all (fd, out, k);
    leave (fd, is_half);
    if (k % 64 == 0)
      be_polite ();
  }

  /* The same in turns, then a read whose reply is not taken. */
  n = put_handshake (out);
  n += put_request (out + n, 0, 0, READ_LEN);
  for (size_t k = 0; k <= 18 + 10 + 16 + READ_LEN; k += k < 60 ? 1 : 501) {
    int fd = dial ();

    if (send_all (fd, out, n) && !receive_all (fd, k))
      die ("the server closed the connection after less than %zu bytes", k);
    leave (fd, is_half);
    if (k % 16 == 0)
      be_polite ();
  }
  be_polite ();
}

static void
garbage (uint64_t seed)
{
  uint64_t state = seed;
  uint8_t out[600];

  for (unsigned i = 0; i < 300; i++) {
    size_t n = random_below (&state, sizeof out);
    size_t keep = 0;
    int fd = dial ();

    /* Mostly the garbage comes after a good beginning. */
    pattern_fill (out, sizeof out, random_next (&state), 0);
    if (i % 4 != 0)
      keep = put_handshake (out);
    if (i % 4 == 2)
      put (out + keep, 0x25609513, 4);
    if (i % 4 == 3)
      keep += put_request (out + keep, (uint16_t) random_below (&state, 12),
                           random_next (&state),
                           (uint32_t) random_next (&state));
    send_all (fd, out, n);
    close (fd);
    if (i % 32 == 0)
      be_polite ();
  }
  be_polite ();
}

static void
connects (unsigned n)
{
  for (unsigned i = 0; i < n; i++) {
    struct nbd_handle *nbd = nbd_create ();

    if (nbd == NULL || nbd_connect_unix (nbd, socket_path) == -1 ||
        nbd_shutdown (nbd, 0) == -1)
      die ("connection %u: %s", i, nbd_get_error ());
    nbd_close (nbd);
  }
  be_polite ();
}

static void
idle (unsigned n)
{
  int fds[IDLE_MAX];
  uint8_t out[64];
  size_t len = put_handshake (out);

  if (n > IDLE_MAX)
    die ("at most %d", IDLE_MAX);
  for (unsigned i = 0; i < n; i++) {
    fds[i] = dial ();
    if (i % 3 == 1)
      send_all (fds[i], out, 6);
    else if (i % 3 == 2) {
      send_all (fds[i], out, len);
      if (!receive_all (fds[i], 18 + 10))
        die ("connection %u was closed", i);
    }
  }
  be_polite ();
  printf ("ready\n");
  fflush (stdout);
  while (getchar () != EOF)
    ;
  for (unsigned i = 0; i < n; i++)
    close (fds[i]);
}

int
main (int argc, char *argv[])
{
  unsigned long n;

  if (argc != 4) {
    fprintf (stderr,
             "usage: rude-client SOCKET cut|half|garbage|connects|idle N\n");
    return 2;
  }
  socket_path = argv[1];
  n = strtoul (argv[3], NULL, 10);
  if (strcmp (argv[2], "cut") == 0)
    cut (n > 0 ? n : 1, false);
  else if (strcmp (argv[2], "half") == 0)
    cut (n > 0 ? n : 1, true);
  else if (strcmp (argv[2], "garbage") == 0)
    garbage (n);
  else if (strcmp (argv[2], "connects") == 0)
    connects ((unsigned) n);
  else if (strcmp (argv[2], "idle") == 0)
    idle ((unsigned) n);
  else
    die ("unknown mode: %s", argv[2]);
  return EXIT_SUCCESS;
}
