/* Specs that are URIs, and how their names may be shown.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bdev-impl.h"
#include "bits.h"
#include "log-sink.h"

#define NBD_SCHEMES "nbd, nbds, nbd+unix, nbds+unix, nbd+vsock and nbds+vsock"

static const char *const nbd_schemes[] = {
  "nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+vsock", "nbds+vsock",
};

/* The length of the scheme of SPEC, or 0 if SPEC is not a URI. */
static size_t
scheme_length (const char *spec)
{
  size_t n = 0;

  if (!isalpha ((unsigned char) spec[0]))
    return 0;
  while (isalnum ((unsigned char) spec[n]) || spec[n] == '+' ||
         spec[n] == '-' || spec[n] == '.')
    n++;
  return strncmp (spec + n, "://", 3) == 0 ? n : 0;
}

bool
bdev_spec_is_uri (const char *spec)
{
  return scheme_length (spec) > 0;
}

char *
bdev_uri_shown (const char *uri)
{
  static const char hidden[] = "***";
  const char *user = uri + scheme_length (uri) + strlen ("://");
  size_t authority = strcspn (user, "/?#");
  const char *at = memrchr (user, '@', authority);
  const char *colon = at != NULL ? memchr (user, ':', (size_t) (at - user))
                                 : NULL;
  char *shown;

  if (colon == NULL)
    return strdup (uri);
  shown = malloc (strlen (uri) + sizeof hidden);
  if (shown == NULL)
    return NULL;
  memcpy (shown, uri, (size_t) (colon + 1 - uri));
  strcpy (shown + (colon + 1 - uri), hidden);
  strcat (shown, at);
  return shown;
}

/* Why URI cannot be opened here, to the log. */
static int
refuse (const char *uri, const char *why)
{
  char *shown = bdev_uri_shown (uri);
  char quoted[LOG_QUOTE_BYTES];

  if (shown == NULL)
    return -ENOMEM;
  log_error ("%s: %s", log_quote (shown, quoted), why);
  free (shown);
  return -EPROTONOSUPPORT;
}

int
bdev_uri_open (const char *uri, const struct bdev_options *options,
               struct block_device **bdev)
{
  size_t n = scheme_length (uri), i;

  for (i = 0; i < ARRAY_COUNT (nbd_schemes); ++i)
    if (strlen (nbd_schemes[i]) == n && strncmp (nbd_schemes[i], uri, n) == 0)
      break;
  if (i == ARRAY_COUNT (nbd_schemes))
    return refuse (uri, "a URI of an unknown kind: there are " NBD_SCHEMES);
  if (options->flags & BDEV_OPEN_EXCLUSIVE) {
    (void) refuse (uri, "a server cannot be locked against other clients");
    return -EOPNOTSUPP;
  }
#ifdef HAVE_LIBNBD
  return bdev_nbd_open (uri, options, bdev);
#else
  (void) bdev;
  return refuse (uri, "this build has no NBD client: configure it "
                      "--with-libnbd");
#endif
}
