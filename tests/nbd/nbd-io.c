/* A client that does the NBD requests it is told, one after another.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   nbd-io [--strict-off] URI COMMAND...
 *   nbd-io [--strict-off] --export-name NAME SOCKET COMMAND...
 *   nbd-io --fill FILE BYTES SEED
 *
 * Each COMMAND is one argument.  The argument "-" reads commands from
 * standard input, a line each, and answers each line with "ok" on standard
 * output: so a test does things to the server between two requests of one
 * connection.  The first command that does not do what it should ends the
 * program with 1.
 *
 *   write OFFSET LENGTH PATTERN [fua]
 *   read OFFSET LENGTH PATTERN|any
 *   zero OFFSET LENGTH [fua] [nohole] [fast]
 *   trim OFFSET LENGTH [fua]
 *   cache OFFSET LENGTH
 *   flush
 *   extents OFFSET LENGTH       prints offset, length and type of each
 *   size                        prints it
 *   sum OFFSET LENGTH           prints a sum of the bytes
 *   match FILE                  the whole export has the bytes of FILE
 *   expect ERRNO COMMAND...     the command fails with that error
 *   either ERRNO COMMAND...     it is done, or fails with that error
 *
 * Several errors may be named: EINVAL,ENOSPC.
 *
 * PATTERN is a number, the seed of bytes that depend on the offset, or 0xHH,
 * one byte repeated.  Numbers may end in K, M or G.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

#include "pattern.h"

#define WORDS_MAX 8
#define CHUNK (1 << 20)

static struct nbd_handle *nbd;

static void die (const char *format, ...)
  __attribute__ ((noreturn, format (printf, 1, 2)));

static void
die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fprintf (stderr, "nbd-io: ");
  vfprintf (stderr, format, args);
  fprintf (stderr, "\n");
  va_end (args);
  exit (EXIT_FAILURE);
}

static uint64_t
number (const char *word)
{
  char *end;
  uint64_t n;

  if (word == NULL)
    die ("a number is missing");
  errno = 0;
  n = strtoull (word, &end, 0);
  if (errno != 0 || end == word)
    die ("not a number: %s", word);
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
    die ("not a number: %s", word);
  return n;
}

/* The bytes a pattern word means at an offset. */
static void
make (uint8_t *buf, size_t len, const char *pattern, uint64_t offset)
{
  if (pattern == NULL)
    die ("a pattern is missing");
  if (strncmp (pattern, "0x", 2) == 0)
    memset (buf, (int) strtoul (pattern, NULL, 16), len);
  else
    pattern_fill (buf, len, number (pattern), offset);
}

static void *
allocate (size_t len)
{
  void *p = malloc (len + 1);

  if (p == NULL)
    die ("malloc: %s", strerror (errno));
  return p;
}

static void
compare (const uint8_t *got, const uint8_t *expected, size_t len,
         uint64_t offset)
{
  for (size_t i = 0; i < len; i++)
    if (got[i] != expected[i])
      die ("byte at %" PRIu64 ": read %02x, expected %02x", offset + i, got[i],
           expected[i]);
}

static bool
has_flag (char *words[], const char *name)
{
  for (size_t i = 1; i < WORDS_MAX && words[i] != NULL; i++)
    if (strcmp (words[i], name) == 0)
      return true;
  return false;
}

static int
print_extent (void *opaque, const char *context, uint64_t offset,
              uint32_t *entries, size_t n, int *error)
{
  (void) opaque;
  if (*error != 0)
    return 0;
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
    return 0;
  for (size_t i = 0; i + 1 < n; i += 2) {
    printf ("%" PRIu64 " %" PRIu32 " %" PRIu32 "\n", offset, entries[i],
            entries[i + 1]);
    offset += entries[i];
  }
  return 0;
}

/* Returns -1 if the server or libnbd refused: nbd_get_errno () says why. */
static int
sum (uint64_t offset, uint64_t len)
{
  uint8_t *buf = allocate (CHUNK);
  uint64_t total = 0;

  for (uint64_t done = 0; done < len;) {
    size_t n = len - done < CHUNK ? (size_t) (len - done) : CHUNK;

    if (nbd_pread (nbd, buf, n, offset + done, 0) == -1) {
      free (buf);
      return -1;
    }
    for (size_t i = 0; i < n; i++)
      total = total * UINT64_C (0x100000001b3) + buf[i] + 1;
    done += n;
  }
  free (buf);
  printf ("%016" PRIx64 "\n", total);
  return 0;
}

static int
match (const char *name)
{
  int64_t size = nbd_get_size (nbd);
  uint8_t *got = allocate (CHUNK);
  uint8_t *expected = allocate (CHUNK);
  FILE *f;

  if (name == NULL || (f = fopen (name, "r")) == NULL)
    die ("%s: %s", name ? name : "match", strerror (errno));
  for (int64_t done = 0; done < size;) {
    size_t n = size - done < CHUNK ? (size_t) (size - done) : CHUNK;

    if (fread (expected, 1, n, f) != n)
      die ("%s: shorter than the export", name);
    if (nbd_pread (nbd, got, n, (uint64_t) done, 0) == -1) {
      fclose (f);
      free (got);
      free (expected);
      return -1;
    }
    compare (got, expected, n, (uint64_t) done);
    done += (int64_t) n;
  }
  if (fgetc (f) != EOF)
    die ("%s: longer than the export", name);
  fclose (f);
  free (got);
  free (expected);
  return 0;
}

static int
transfer (char *words[], bool is_write)
{
  uint64_t offset = number (words[1]);
  uint64_t len = number (words[2]);
  uint8_t *buf = allocate (len);
  int r;

  if (is_write) {
    make (buf, len, words[3], offset);
    r = nbd_pwrite (nbd, buf, len, offset,
                    has_flag (words, "fua") ? LIBNBD_CMD_FLAG_FUA : 0);
  }
  else {
    /* Not the content expected, in case nothing is stored. */
    memset (buf, 0xdb, len);
    r = nbd_pread (nbd, buf, len, offset, 0);
    if (r == 0 && words[3] == NULL)
      die ("read: a pattern or any is missing");
    if (r == 0 && strcmp (words[3], "any") != 0) {
      uint8_t *expected = allocate (len);

      make (expected, len, words[3], offset);
      compare (buf, expected, len, offset);
      free (expected);
    }
  }
  free (buf);
  return r;
}

static int
zero_or_trim (char *words[], bool is_trim)
{
  uint32_t flags = has_flag (words, "fua") ? LIBNBD_CMD_FLAG_FUA : 0;

  if (is_trim)
    return nbd_trim (nbd, number (words[2]), number (words[1]), flags);
  if (has_flag (words, "nohole"))
    flags |= LIBNBD_CMD_FLAG_NO_HOLE;
  if (has_flag (words, "fast"))
    flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
  return nbd_zero (nbd, number (words[2]), number (words[1]), flags);
}

static int
run_words (char *words[])
{
  const char *verb = words[0];

  if (strcmp (verb, "write") == 0)
    return transfer (words, true);
  if (strcmp (verb, "read") == 0)
    return transfer (words, false);
  if (strcmp (verb, "zero") == 0)
    return zero_or_trim (words, false);
  if (strcmp (verb, "trim") == 0)
    return zero_or_trim (words, true);
  if (strcmp (verb, "cache") == 0)
    return nbd_cache (nbd, number (words[2]), number (words[1]), 0);
  if (strcmp (verb, "flush") == 0)
    return nbd_flush (nbd, 0);
  if (strcmp (verb, "extents") == 0)
    return nbd_block_status (nbd, number (words[2]), number (words[1]),
                             (nbd_extent_callback){ .callback = print_extent },
                             0);
  if (strcmp (verb, "size") == 0) {
    int64_t size = nbd_get_size (nbd);

    if (size >= 0)
      printf ("%" PRIi64 "\n", size);
    return size >= 0 ? 0 : -1;
  }
  if (strcmp (verb, "sum") == 0)
    return sum (number (words[1]), number (words[2]));
  if (strcmp (verb, "match") == 0)
    return match (words[1]);
  die ("unknown command: %s", verb);
}

static int
errno_of_name (const char *name)
{
  static const struct {
    const char *name;
    int value;
  } table[] = {
    { "EPERM", EPERM },     { "EIO", EIO },
    { "ENOMEM", ENOMEM },   { "EINVAL", EINVAL },
    { "ENOSPC", ENOSPC },   { "EOVERFLOW", EOVERFLOW },
    { "ENOTSUP", ENOTSUP }, { "ESHUTDOWN", ESHUTDOWN },
    { "EROFS", EROFS },     { "ERANGE", ERANGE },
  };

  for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
    if (strcmp (table[i].name, name) == 0)
      return table[i].value;
  die ("unknown error name: %s", name);
}

static void
run (const char *command)
{
  char *copy = strdup (command);
  char *words[WORDS_MAX + 1] = { NULL };
  char *save = NULL;
  size_t n = 0;
  int r;

  if (copy == NULL)
    die ("strdup: %s", strerror (errno));
  for (char *w = strtok_r (copy, " \t\n", &save); w != NULL;
       w = strtok_r (NULL, " \t\n", &save)) {
    if (n == WORDS_MAX)
      die ("too many words: %s", command);
    words[n++] = w;
  }
  if (n > 0 &&
      (strcmp (words[0], "expect") == 0 || strcmp (words[0], "either") == 0)) {
    bool matched = false;
    char *names_save = NULL;

    if (n < 3)
      die ("which error of what? %s", command);
    r = run_words (&words[2]);
    if (r != -1 && strcmp (words[0], "expect") == 0)
      die ("%s: succeeded", command);
    for (char *e = strtok_r (words[1], ",", &names_save); e != NULL;
         e = strtok_r (NULL, ",", &names_save))
      if (r != -1 || nbd_get_errno () == errno_of_name (e))
        matched = true;
    if (!matched)
      die ("%s: failed with another error: %s", command, nbd_get_error ());
  }
  else if (n > 0) {
    r = run_words (words);
    if (r == -1)
      die ("%s: %s", command, nbd_get_error ());
  }
  free (copy);
}

static void
fill (const char *name, uint64_t len, uint64_t seed)
{
  uint8_t *buf = allocate (CHUNK);
  FILE *f = fopen (name, "w");

  if (f == NULL)
    die ("%s: %s", name, strerror (errno));
  for (uint64_t done = 0; done < len;) {
    size_t n = len - done < CHUNK ? (size_t) (len - done) : CHUNK;

    pattern_fill (buf, n, seed, done);
    if (fwrite (buf, 1, n, f) != n)
      die ("%s: %s", name, strerror (errno));
    done += n;
  }
  if (fclose (f) != 0)
    die ("%s: %s", name, strerror (errno));
  free (buf);
}

int
main (int argc, char *argv[])
{
  int i = 1;
  bool strict_off = false;
  const char *export_name = NULL;

  if (argc == 5 && strcmp (argv[1], "--fill") == 0) {
    fill (argv[2], number (argv[3]), number (argv[4]));
    return EXIT_SUCCESS;
  }
  for (; i < argc && strncmp (argv[i], "--", 2) == 0; i++) {
    if (strcmp (argv[i], "--strict-off") == 0)
      strict_off = true;
    else if (strcmp (argv[i], "--export-name") == 0 && i + 1 < argc)
      export_name = argv[++i];
    else
      die ("unknown option: %s", argv[i]);
  }
  if (i >= argc)
    die ("usage: nbd-io [--strict-off] [--export-name NAME] URI COMMAND...");

  nbd = nbd_create ();
  if (nbd == NULL)
    die ("%s", nbd_get_error ());
  if (nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      (strict_off && nbd_set_strict_mode (nbd, 0) == -1) ||
      (export_name != NULL ? (nbd_set_export_name (nbd, export_name) == -1 ||
                              nbd_connect_unix (nbd, argv[i]) == -1)
                           : nbd_connect_uri (nbd, argv[i]) == -1))
    die ("%s", nbd_get_error ());
  for (i++; i < argc; i++) {
    if (strcmp (argv[i], "-") == 0) {
      char line[1024];

      printf ("ready\n");
      fflush (stdout);
      while (fgets (line, sizeof line, stdin) != NULL) {
        run (line);
        printf ("ok\n");
        fflush (stdout);
      }
    }
    else
      run (argv[i]);
  }
  if (fflush (stdout) != 0 || nbd_shutdown (nbd, 0) == -1)
    die ("shutdown: %s", nbd_get_error ());
  nbd_close (nbd);
  return EXIT_SUCCESS;
}
