/* The words of a kernel's table.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * They stand between blanks; a backslash takes the meaning from the character
 * that follows.  What is wrong is said to the log.
 */

#ifndef DM_TABLE_WORDS_H
#define DM_TABLE_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Nine legs, with all that can be said of them, are fewer words. */
#define TABLE_MAX_WORDS 40

/* A table that is being read, word by word. */
struct table_words {
  char *text; /* with NULs between the words */
  unsigned count;
  unsigned next;
  char *words[TABLE_MAX_WORDS];
};

/* Take BYTES of TEXT apart.  Returns 0, -EINVAL (there are too many words) or
 * -ENOMEM; to be freed in any case.
 */
int table_words_split (struct table_words *t, const char *text, size_t bytes);
void table_words_free (struct table_words *t);

/* The next word, or "" at the end. */
const char *table_words_next (struct table_words *t);

/* The next word is a number up to MAX, or it is said what it should be: 0 or
 * -EINVAL.
 */
int table_words_number (struct table_words *t, const char *what, uint64_t max,
                        uint64_t *number);

/* The next word is a path, copied, or it is said of what: 0, -EINVAL or
 * -ENOMEM.
 */
int table_words_path (struct table_words *t, const char *what, char **path);

/* The next words are the start of a target, which is 0, and its length, which
 * is not; or it is said what is wrong: 0 or -EINVAL.
 */
int table_words_range (struct table_words *t, uint64_t *sectors);

/* True if the next word is WORD, which is taken then. */
bool table_words_next_is (struct table_words *t, const char *word);

/* No word is left, or it is said which: 0 or -EINVAL. */
int table_words_end (struct table_words *t);

#endif /* DM_TABLE_WORDS_H */
