/* The kernel's table of a mirror, made into a volume's specification.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "log-sink.h"
#include "table.h"

/* Nine legs, with all that can be said of them, are fewer words. */
#define MAX_WORDS 40

#define MIN_LEGS 2
#define MIN_REGION_SECTORS 2

/* A table that is being read, word by word. */
struct table {
  char *text; /* with NULs between the words */
  unsigned count;
  unsigned next;
  char *words[MAX_WORDS];
};

/*----- words -----------------------------------------------------------*/

/* Take the word at P, unescaped in its place.  Returns what is behind it. */
static char *
take_word (char *p)
{
  char *to = p;

  while (*p != '\0' && strchr (" \t\n", *p) == NULL) {
    if (*p == '\\' && p[1] != '\0')
      p++;
    *to++ = *p++;
  }
  if (*p != '\0')
    p++;
  *to = '\0';
  return p;
}

static int
split (struct table *t, const char *text)
{
  char *p;

  t->count = t->next = 0;
  t->text = strdup (text);
  if (t->text == NULL)
    return -ENOMEM;
  for (p = t->text; *(p += strspn (p, " \t\n")) != '\0';) {
    if (t->count == MAX_WORDS) {
      log_error ("table=: has more than %d words, more than any mirror needs",
                 MAX_WORDS);
      return -EINVAL;
    }
    t->words[t->count++] = p;
    p = take_word (p);
  }
  return 0;
}

/* The next word, or "" at the end. */
static const char *
next_word (struct table *t)
{
  return t->next < t->count ? t->words[t->next++] : "";
}

/* The next word is a number up to MAX, or it is said what it should be. */
static int
next_number (struct table *t, const char *what, uint64_t max, uint64_t *number)
{
  const char *word = next_word (t);
  char quote[LOG_QUOTE_BYTES], *end;

  errno = 0;
  *number = strtoull (word, &end, 10);
  if (word[0] >= '0' && word[0] <= '9' && *end == '\0' && errno == 0 &&
      *number <= max)
    return 0;
  log_error ("table=: '%s' is not %s; give a number up to %" PRIu64,
             log_quote (word, quote), what, max);
  return -EINVAL;
}

/* True if the next word is WORD, which is taken then. */
static bool
next_is (struct table *t, const char *word)
{
  if (t->next == t->count || strcmp (t->words[t->next], word) != 0)
    return false;
  t->next++;
  return true;
}

/*----- parts -----------------------------------------------------------*/

static int
take_target (struct table *t, uint64_t *sectors)
{
  char quote[LOG_QUOTE_BYTES];
  uint64_t start;

  if (next_number (t, "where the target starts", 0, &start) < 0 ||
      next_number (t, "its length in sectors", SECTOR_MAX, sectors) < 0)
    return -EINVAL;
  if (*sectors == 0) {
    log_error ("table=: its length is 0; give the size of the volume in "
               "sectors");
    return -EINVAL;
  }
  if (next_is (t, "mirror"))
    return 0;
  log_error ("table=: '%s' is not a target that is known here; give mirror",
             log_quote (next_word (t), quote));
  return -EINVAL;
}

/* The log and its arguments, of which there must be as many as it says. */
static int
take_log (struct volume_spec *spec, struct table *t, uint64_t sectors)
{
  char quote[LOG_QUOTE_BYTES];
  bool is_disk = next_is (t, "disk");
  unsigned least = is_disk ? 2 : 1, end;
  uint64_t count, region;

  if (!is_disk && !next_is (t, "core")) {
    log_error ("table=: '%s' is not a log that is known here; give core or "
               "disk",
               log_quote (next_word (t), quote));
    return -EINVAL;
  }
  if (next_number (t, "the number of the log's arguments", least + 1, &count) <
      0)
    return -EINVAL;
  end = t->next + (unsigned) count;
  if (count < least) {
    log_error ("table=: the log %s needs %u arguments at least",
               is_disk ? "disk" : "core", least);
    return -EINVAL;
  }
  if (is_disk) {
    const char *path = next_word (t);

    if (path[0] == '\0') {
      log_error ("table=: ends where the log's file or disk should be");
      return -EINVAL;
    }
    spec->log_path = strdup (path);
    if (spec->log_path == NULL)
      return -ENOMEM;
  }
  if (next_number (t, "the size of a region in sectors", sectors, &region) < 0)
    return -EINVAL;
  if (region < MIN_REGION_SECTORS || !is_power_of_2 (region)) {
    log_error ("table=: regions of %" PRIu64 " sectors: must be a power of "
               "two from %d to the length, %" PRIu64,
               region, MIN_REGION_SECTORS, sectors);
    return -EINVAL;
  }
  spec->region_bytes = sector_to_bytes (region);
  spec->has_region_bytes = true;
  if (count > least) {
    if (next_is (t, "sync"))
      spec->sync = SYNC_FULL;
    else if (next_is (t, "nosync"))
      spec->sync = SYNC_NONE;
  }
  if (t->next == end)
    return 0;
  log_error ("table=: '%s' is not an argument of a log; give sync, nosync, or "
             "nothing, and their number before",
             log_quote (next_word (t), quote));
  return -EINVAL;
}

static int
take_legs (struct volume_spec *spec, struct table *t, uint64_t sectors)
{
  uint64_t count, offset;
  unsigned i;

  if (next_number (t, "the number of legs", MIRROR_MAX_LEGS, &count) < 0)
    return -EINVAL;
  if (count < MIN_LEGS) {
    log_error ("table=: %" PRIu64 " legs: a mirror has from %d to %d", count,
               MIN_LEGS, MIRROR_MAX_LEGS);
    return -EINVAL;
  }
  for (i = 0; i < count; ++i) {
    const char *path = next_word (t);

    if (path[0] == '\0') {
      log_error ("table=: ends where the path of leg %u should be", i);
      return -EINVAL;
    }
    if (next_number (t, "where the leg begins on its device",
                     SECTOR_MAX - sectors, &offset) < 0)
      return -EINVAL;
    spec->legs[i].path = strdup (path);
    if (spec->legs[i].path == NULL)
      return -ENOMEM;
    spec->legs[i].offset = offset;
    spec->leg_count = i + 1;
  }
  return 0;
}

static int
take_features (struct table *t)
{
  char quote[LOG_QUOTE_BYTES];
  bool handles_errors = false, keeps_log = false;
  uint64_t count, i;

  if (t->next == t->count)
    return 0;
  if (next_number (t, "the number of features", 2, &count) < 0)
    return -EINVAL;
  for (i = 0; i < count; ++i) {
    if (next_is (t, "handle_errors"))
      handles_errors = true;
    else if (next_is (t, "keep_log"))
      keeps_log = true;
    else {
      log_error ("table=: '%s' is not a feature of a mirror; give "
                 "handle_errors, keep_log, or nothing",
                 log_quote (next_word (t), quote));
      return -EINVAL;
    }
  }
  if (keeps_log && !handles_errors) {
    log_error ("table=: keep_log needs handle_errors, too");
    return -EINVAL;
  }
  if (t->next == t->count)
    return 0;
  log_error ("table=: has '%s' behind its end",
             log_quote (next_word (t), quote));
  return -EINVAL;
}

int
table_set (struct volume_spec *spec, const char *text)
{
  struct table t;
  uint64_t sectors;
  int r;

  if (spec->leg_count > 0) {
    log_error ("table=: legs were given already; give the table, or the legs");
    return -EINVAL;
  }
  r = split (&t, text);
  if (r == 0)
    r = take_target (&t, &sectors);
  if (r == 0)
    r = take_log (spec, &t, sectors);
  if (r == 0)
    r = take_legs (spec, &t, sectors);
  if (r == 0)
    r = take_features (&t);
  if (r == 0) {
    spec->size_bytes = sector_to_bytes (sectors);
    spec->is_table = true;
  }
  free (t.text);
  return r;
}
