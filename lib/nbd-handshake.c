/* How a connection to an NBD server is made.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <limits.h>
#include <libnbd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bdev-impl.h"
#include "bits.h"
#include "clock.h"
#include "log-sink.h"
#include "nbd-handshake.h"

/* What the protocol wants a server to take that does not tell a limit. */
#define DEFAULT_MAX_BYTES (32U << 20)

/* Say what libnbd has to say; returns its errno. */
static int
tell_failure (const char *uri, const char *name)
{
  const char *text = nbd_get_error ();
  int error = nbd_get_errno ();

  /* libnbd quotes the URI, with all that is in it; and what is no fault of the
   * server's needs another remedy.
   */
  if (text == NULL || strstr (text, uri) != NULL || error == EMFILE)
    text = error != 0 ? errno_text (-error) : "Protocol error";
  log_error ("%s: cannot connect: %s", name, text);
  return error != 0 ? -error : -EPROTO;
}

/* Is there a file FOLDER/ca-cert.pem? */
static int
find_authority (const char *folder)
{
  static const char file[] = "/ca-cert.pem";
  char *path = malloc (strlen (folder) + sizeof file);
  int r;

  if (path == NULL)
    return -ENOMEM;
  strcpy (path, folder);
  strcat (path, file);
  r = access (path, R_OK) == 0 ? 0 : -errno;
  free (path);
  return r;
}

/* Refuse TLS with a server that libnbd would not verify: up to 1.20 it
 * believes any certificate unless it finds that of an authority in the folder
 * and knows the name of the host.
 */
static int
check_tls (const char *uri, const char *name)
{
  char *keys = NULL, *folder = NULL;
  int r;

  if (!bdev_uri_is_tls (uri))
    return 0;
  r = bdev_uri_parameter (uri, "tls-psk-file", &keys);
  if (r == 0)
    r = bdev_uri_parameter (uri, "tls-certificates", &folder);
  if (r == 0 && keys == NULL) {
    if (folder == NULL || !bdev_uri_is_tcp (uri)) {
      r = -EPROTO;
      log_error ("%s: cannot connect: nothing would tell who the server is: "
                 "the URI needs tls-psk-file=, or, over TCP, "
                 "tls-certificates=",
                 name);
    }
    else {
      r = find_authority (folder);
      if (r < 0)
        log_error ("%s: cannot connect: %s/ca-cert.pem: %s", name, folder,
                   errno_text (r));
    }
  }
  free (folder);
  free (keys);
  return r;
}

static int
milliseconds_until (uint64_t deadline_ns)
{
  uint64_t now = clock_now_ns ();
  uint64_t ms;

  if (now >= deadline_ns)
    return 0;
  ms = (deadline_ns - now + 999999) / 1000000;
  return (int) MIN_OF (ms, (uint64_t) INT_MAX);
}

/* Drive NBD until it is ready. */
static int
wait_until_ready (struct nbd_handle *nbd, const char *uri, const char *name,
                  uint64_t deadline_ns)
{
  while (!nbd_aio_is_ready (nbd)) {
    int ms = milliseconds_until (deadline_ns);

    if (nbd_aio_is_dead (nbd) || nbd_aio_is_closed (nbd)) {
      log_error ("%s: cannot connect: the server hung up", name);
      return -ENOTCONN;
    }
    if (ms == 0) {
      log_error ("%s: cannot connect: the server does not answer", name);
      return -ETIMEDOUT;
    }
    if (nbd_poll (nbd, ms) == -1 && nbd_get_errno () != EINTR)
      return tell_failure (uri, name);
  }
  return 0;
}

static uint64_t
block_size (struct nbd_handle *nbd, int which)
{
  int64_t bytes = nbd_get_block_size (nbd, which);

  return bytes > 0 ? (uint64_t) bytes : 0;
}

static int
learn_export (struct nbd_handle *nbd, const char *name,
              struct nbd_export *export)
{
  int64_t bytes = nbd_get_size (nbd);

  if (bytes < 0) {
    log_error ("%s: the server names a size that no disk has", name);
    return -EFBIG;
  }
  *export = (struct nbd_export){
    .bytes = (uint64_t) bytes,
    .block_bytes = block_size (nbd, LIBNBD_SIZE_MINIMUM),
    .preferred_bytes = block_size (nbd, LIBNBD_SIZE_PREFERRED),
    .max_bytes = block_size (nbd, LIBNBD_SIZE_MAXIMUM),
    .is_read_only = nbd_is_read_only (nbd) > 0,
    .has_flush = nbd_can_flush (nbd) > 0,
    .has_fua = nbd_can_fua (nbd) > 0,
    .has_trim = nbd_can_trim (nbd) > 0,
    .has_zero = nbd_can_zero (nbd) > 0,
    .has_fast_zero = nbd_can_fast_zero (nbd) > 0,
    .has_block_status = nbd_can_meta_context (nbd,
                                              LIBNBD_CONTEXT_BASE_ALLOCATION) >
                        0,
    .has_multi_conn = nbd_can_multi_conn (nbd) > 0,
  };
  if (export->block_bytes == 0)
    export->block_bytes = 1;
  if (export->max_bytes == 0)
    export->max_bytes = DEFAULT_MAX_BYTES;
  return 0;
}

int
nbd_handshake (const char *uri, const char *name, uint64_t deadline_ns,
               struct nbd_handle **nbd, struct nbd_export *export)
{
  struct nbd_handle *h;
  int r = check_tls (uri, name);

  if (r < 0)
    return r;
  h = nbd_create ();
  if (h == NULL)
    return -ENOMEM;
  /* Whoever names the server may also name the files with its keys. */
  if (nbd_set_uri_allow_local_file (h, true) == -1 ||
      nbd_add_meta_context (h, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd_aio_connect_uri (h, uri) == -1)
    r = tell_failure (uri, name);
  else
    r = wait_until_ready (h, uri, name, deadline_ns);
  if (r == 0)
    r = learn_export (h, name, export);
  if (r < 0) {
    nbd_close (h);
    return r;
  }
  *nbd = h;
  return 0;
}
