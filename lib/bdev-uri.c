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

static int
hex_digit (char c)
{
  if (c >= '0' && c <= '9')
    return c - '0';
  c = (char) tolower ((unsigned char) c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A copy of the LENGTH bytes at TEXT with each %XX as the byte it means. */
static char *
decode (const char *text, size_t length)
{
  char *decoded = malloc (length + 1), *to = decoded;
  size_t i;

  if (decoded == NULL)
    return NULL;
  for (i = 0; i < length; ++i)
    if (text[i] == '%' && length - i > 2 && hex_digit (text[i + 1]) >= 0 &&
        hex_digit (text[i + 2]) >= 0) {
      *to++ = (char) (hex_digit (text[i + 1]) * 16 + hex_digit (text[i + 2]));
      i += 2;
    }
    else
      *to++ = text[i];
  *to = '\0';
  return decoded;
}

int
bdev_uri_parameter (const char *uri, const char *name, char **value)
{
  const size_t n = strlen (name);
  const char *at = uri + strcspn (uri, "?#");

  *value = NULL;
  while (*at == '?' || *at == '&' || *at == ';') {
    const char *word = at + 1;
    size_t length = strcspn (word, "&;#");

    if (length > n && strncmp (word, name, n) == 0 && word[n] == '=') {
      free (*value);
      *value = decode (word + n + 1, length - n - 1);
      if (*value == NULL)
        return -ENOMEM;
    }
    at = word + length;
  }
  return 0;
}

bool
bdev_uri_is_tls (const char *uri)
{
  return strncmp (uri, "nbds", 4) == 0;
}

bool
bdev_uri_is_tcp (const char *uri)
{
  const char *rest = uri + (bdev_uri_is_tls (uri) ? 4 : 3);

  return *rest == ':';
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
