/* The kernel's table of a snapshot, made into a line of a specification.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "log-sink.h"
#include "table-line.h"
#include "table-snapshot.h"

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

int
table_snapshot_take (struct volume_spec *spec, struct table_words *t,
                     sector_t sectors)
{
  struct table_line *line = add_line (spec);
  int r;

  if (line == NULL)
    return -ENOMEM;
  line->sectors = sectors;
  r = table_words_path (t, "the path of the origin", &line->origin);
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
