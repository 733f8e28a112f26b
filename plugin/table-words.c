/* The words of a kernel's table.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "log-sink.h"
#include "sector.h"
#include "table-words.h"

#define BLANKS " \t\n"

/* Take the word at P, unescaped in its place.  Returns what is behind it. */
static char *
take_word (char *p)
{
  char *to = p;

  while (*p != '\0' && strchr (BLANKS, *p) == NULL) {
    if (*p == '\\' && p[1] != '\0')
      p++;
    *to++ = *p++;
  }
  if (*p != '\0')
    p++;
  *to = '\0';
  return p;
}

int
table_words_split (struct table_words *t, const char *text, size_t bytes)
{
  char *p;

  t->count = t->next = 0;
  t->text = malloc (bytes + 1);
  if (t->text == NULL)
    return -ENOMEM;
  memcpy (t->text, text, bytes);
  t->text[bytes] = '\0';
  for (p = t->text; *(p += strspn (p, BLANKS)) != '\0';) {
    if (t->count == TABLE_MAX_WORDS) {
      log_error ("table=: has more than %d words, more than any target needs",
                 TABLE_MAX_WORDS);
      return -EINVAL;
    }
    t->words[t->count++] = p;
    p = take_word (p);
  }
  return 0;
}

void
table_words_free (struct table_words *t)
{
  free (t->text);
  t->text = NULL;
}

const char *
table_words_next (struct table_words *t)
{
  return t->next < t->count ? t->words[t->next++] : "";
}

int
table_words_number (struct table_words *t, const char *what, uint64_t max,
                    uint64_t *number)
{
  const char *word = table_words_next (t);
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

int
table_words_range (struct table_words *t, uint64_t *sectors)
{
  uint64_t start;

  if (table_words_number (t, "where the target starts", 0, &start) < 0 ||
      table_words_number (t, "its length in sectors", SECTOR_MAX, sectors) < 0)
    return -EINVAL;
  if (*sectors > 0)
    return 0;
  log_error ("table=: its length is 0; give the size of the volume in "
             "sectors");
  return -EINVAL;
}

int
table_words_path (struct table_words *t, const char *what, char **path)
{
  const char *word = table_words_next (t);

  if (word[0] == '\0') {
    log_error ("table=: ends where %s should be", what);
    return -EINVAL;
  }
  *path = strdup (word);
  return *path != NULL ? 0 : -ENOMEM;
}

bool
table_words_next_is (struct table_words *t, const char *word)
{
  if (t->next == t->count || strcmp (t->words[t->next], word) != 0)
    return false;
  t->next++;
  return true;
}

int
table_words_end (struct table_words *t)
{
  char quote[LOG_QUOTE_BYTES];

  if (t->next == t->count)
    return 0;
  log_error ("table=: has '%s' behind its end",
             log_quote (table_words_next (t), quote));
  return -EINVAL;
}
