/* The kernel's table of snapshots, made into lines of a specification.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "log-sink.h"
#include "manifest.h"
#include "table-line.h"
#include "table-snapshot.h"
#include "table-words.h"

#define MAX_FEATURES 2

static bool
is_letter (char c, char upper, char lower)
{
  return c == upper || c == lower;
}

static int
take_kind (struct table_line *line, struct table_words *t)
{
  const char *word = table_words_next (t);
  char quote[LOG_QUOTE_BYTES];

  if (is_letter (word[0], 'N', 'n'))
    return 0;
  line->is_persistent = is_letter (word[0], 'P', 'p');
  line->may_overflow = line->is_persistent && is_letter (word[1], 'O', 'o');
  if (line->is_persistent && (line->may_overflow || word[1] == '\0'))
    return 0;
  log_error ("table=: '%s' is not a kind of store; give P, PO or N",
             log_quote (word, quote));
  return -EINVAL;
}

static int
take_chunk (struct table_line *line, struct table_words *t)
{
  uint64_t chunk;

  if (table_words_number (t, "the size of a chunk in sectors",
                          TABLE_MAX_CHUNK_SECTORS, &chunk) < 0)
    return -EINVAL;
  if (chunk != 0 && !is_power_of_2 (chunk)) {
    log_error ("table=: chunks of %" PRIu64 " sectors: must be a power of "
               "two, or 0 for what is usual",
               chunk);
    return -EINVAL;
  }
  line->chunk_sectors = chunk;
  return 0;
}

static int
take_features (struct table_line *line, struct table_words *t)
{
  char quote[LOG_QUOTE_BYTES];
  uint64_t count, i;

  if (t->next == t->count)
    return 0;
  if (table_words_number (t, "the number of features", MAX_FEATURES, &count) <
      0)
    return -EINVAL;
  for (i = 0; i < count; ++i) {
    if (table_words_next_is (t, "discard_zeroes_cow"))
      line->discard_zeroes_cow = true;
    else if (table_words_next_is (t, "discard_passdown_origin"))
      line->discard_passes_down = true;
    else {
      log_error ("table=: '%s' is not a feature of a snapshot; give "
                 "discard_zeroes_cow, discard_passdown_origin, or nothing",
                 log_quote (table_words_next (t), quote));
      return -EINVAL;
    }
  }
  if (line->discard_passes_down && !line->discard_zeroes_cow) {
    log_error ("table=: discard_passdown_origin needs discard_zeroes_cow, "
               "too");
    return -EINVAL;
  }
  return table_words_end (t);
}

static int
take_snapshot (struct table_line *line, struct table_words *t)
{
  int r = table_words_path (t, "the path of the origin", &line->origin);

  if (r == 0)
    r = table_words_path (t, "the path of the COW store", &line->cow);
  if (r == 0 && strcmp (line->origin, line->cow) == 0) {
    log_error ("table=: the origin cannot be its own COW store; give another "
               "file or disk");
    r = -EINVAL;
  }
  if (r == 0)
    r = take_kind (line, t);
  if (r == 0)
    r = take_chunk (line, t);
  if (r == 0)
    r = take_features (line, t);
  return r;
}

static int
take_merge (struct table_line *line, struct table_words *t)
{
  int r;

  line->target = TABLE_MERGE;
  r = take_snapshot (line, t);
  if (r < 0 || line->is_persistent)
    return r;
  log_error ("table=: nothing can be merged from a store that is not "
             "remembered; give P");
  return -EINVAL;
}

static int
take_origin (struct table_line *line, struct table_words *t)
{
  int r;

  line->target = TABLE_ORIGIN;
  r = table_words_path (t, "the path of the origin", &line->origin);
  return r < 0 ? r : table_words_end (t);
}

static int
take_target (struct table_line *line, struct table_words *t)
{
  char quote[LOG_QUOTE_BYTES];

  if (table_words_next_is (t, "snapshot"))
    return take_snapshot (line, t);
  if (table_words_next_is (t, "snapshot-origin"))
    return take_origin (line, t);
  if (table_words_next_is (t, "snapshot-merge"))
    return take_merge (line, t);
  if (table_words_next_is (t, "mirror"))
    log_error ("table=: a mirror must be alone, and without a name");
  else
    log_error ("table=: '%s' is not a target that is known here; give mirror, "
               "snapshot, snapshot-origin or snapshot-merge",
               log_quote (table_words_next (t), quote));
  return -EINVAL;
}

/*----- lines -----------------------------------------------------------*/

/* One more line, empty, in SPEC.  NULL: no memory. */
static struct table_line *
add_line (struct volume_spec *spec)
{
  struct table_line *lines = realloc (spec->lines,
                                      (spec->line_count + 1) * sizeof *lines);

  if (lines == NULL)
    return NULL;
  spec->lines = lines;
  memset (&lines[spec->line_count], 0, sizeof *lines);
  return &lines[spec->line_count++];
}

/* Take the name before the line, if there is one: it ends in a colon. */
static int
take_name (struct table_line *line, struct table_words *t)
{
  char *word = t->count > 0 ? t->words[0] : NULL, quote[LOG_QUOTE_BYTES];
  size_t length = word != NULL ? strlen (word) : 0;

  if (length == 0 || word[length - 1] != ':')
    return 0;
  word[length - 1] = '\0';
  t->next++;
  if (!snapshot_name_is_valid (word)) {
    log_error ("table=: '%s' is not a name for a device; use letters, digits, "
               "'_', '-' and '.', at most %d, not '.' or '-' first, and no "
               "'..'",
               log_quote (word, quote), SNAPSHOT_NAME_MAX);
    return -EINVAL;
  }
  line->name = strdup (word);
  return line->name != NULL ? 0 : -ENOMEM;
}

static bool
have_same_name (const struct table_line *a, const struct table_line *b)
{
  if (a->name == NULL || b->name == NULL)
    return a->name == b->name;
  return strcmp (a->name, b->name) == 0;
}

/* See that the last line has a name of its own. */
static int
check_name (const struct volume_spec *spec)
{
  const struct table_line *line = &spec->lines[spec->line_count - 1];
  unsigned i;

  for (i = 0; i + 1 < spec->line_count; ++i) {
    if (!have_same_name (line, &spec->lines[i]))
      continue;
    if (line->name == NULL)
      log_error ("table=: two lines have no name; put 'NAME:' before all but "
                 "one");
    else
      log_error ("table=: two lines have the name '%s'; give each one of its "
                 "own",
                 line->name);
    return -EINVAL;
  }
  return 0;
}

/* What serves the origin is the default export, unless it has to share that. */
static int
check_default (const struct volume_spec *spec)
{
  int index = table_lines_default (spec->lines, spec->line_count);
  unsigned i;

  if (index < 0 || table_line_serves_origin (&spec->lines[index]))
    return 0;
  for (i = 0; i < spec->line_count; ++i) {
    if (!table_line_serves_origin (&spec->lines[i]))
      continue;
    log_error ("table=: a snapshot without a name, and what serves an origin, "
               "would both be the default export; put 'NAME:' before the "
               "snapshot");
    return -EINVAL;
  }
  return 0;
}

static int
take_line (struct volume_spec *spec, struct table_words *t)
{
  struct table_line *line;
  int r;

  if (spec->line_count == TABLE_MAX_LINES) {
    log_error ("table=: has more than %d lines", TABLE_MAX_LINES);
    return -EINVAL;
  }
  line = add_line (spec);
  if (line == NULL)
    return -ENOMEM;
  r = take_name (line, t);
  if (r == 0)
    r = table_words_range (t, &line->sectors);
  if (r == 0)
    r = take_target (line, t);
  return r < 0 ? r : check_name (spec);
}

/* The bytes of TEXT up to the end of its first line. */
static size_t
line_length (const char *text)
{
  size_t n;

  for (n = 0; text[n] != '\0' && text[n] != '\n' && text[n] != ';'; ++n)
    if (text[n] == '\\' && text[n + 1] != '\0')
      n++;
  return n;
}

int
table_snapshots_set (struct volume_spec *spec, const char *text)
{
  int r = 0;

  while (r == 0) {
    size_t length = line_length (text);
    bool is_last = text[length] == '\0';
    struct table_words t;

    r = table_words_split (&t, text, length);
    /* Empty lines are none, but there must be one. */
    if (r == 0 && (t.count > 0 || (is_last && spec->line_count == 0)))
      r = take_line (spec, &t);
    table_words_free (&t);
    if (is_last)
      break;
    text += length + 1;
  }
  return r < 0 ? r : check_default (spec);
}
