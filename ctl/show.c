/* How numbers, tables and progress are shown to people.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "ctl.h"
#include "show.h"

/* Without memory nothing can be shown. */
static void *
need_memory (void *memory)
{
  if (memory == NULL)
    exit (ctl_error ("out of memory"));
  return memory;
}

const char *
show_size (uint64_t bytes, char buffer[SHOW_SIZE_BYTES])
{
  static const char units[] = "KMGTPE";
  double n = (double) bytes;
  int unit = -1;

  while (n >= 1024 && units[unit + 1] != '\0') {
    n /= 1024;
    unit++;
  }
  if (unit < 0)
    (void) snprintf (buffer, SHOW_SIZE_BYTES, "%" PRIu64 " B", bytes);
  else
    (void) snprintf (buffer, SHOW_SIZE_BYTES, "%.1f %ciB", n, units[unit]);
  return buffer;
}

const char *
show_time (uint64_t seconds, char buffer[SHOW_TIME_BYTES])
{
  if (seconds >= 3600)
    (void) snprintf (buffer, SHOW_TIME_BYTES, "%" PRIu64 ":%02u:%02u",
                     seconds / 3600, (unsigned) (seconds / 60 % 60),
                     (unsigned) (seconds % 60));
  else
    (void) snprintf (buffer, SHOW_TIME_BYTES, "%u:%02u",
                     (unsigned) (seconds / 60), (unsigned) (seconds % 60));
  return buffer;
}

const char *
show_bar (uint64_t done, uint64_t total, unsigned width,
          char buffer[SHOW_BAR_BYTES])
{
  double part = total > 0 ? (double) done / (double) total : 0;
  unsigned i, full;

  if (part > 1)
    part = 1;
  if (width > SHOW_BAR_BYTES - 16)
    width = SHOW_BAR_BYTES - 16;
  full = (unsigned) (part * width);
  buffer[0] = '[';
  for (i = 0; i < width; ++i)
    buffer[1 + i] = i < full ? '#' : '-';
  /* Rounded down: 100 % is when all is done. */
  (void) snprintf (buffer + 1 + width, 16, "] %u %%", (unsigned) (part * 100));
  return buffer;
}

/*----- terminals -------------------------------------------------------*/

unsigned
show_columns (int fd)
{
  struct winsize size;

  return ioctl (fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col
                                                               : 80;
}

unsigned
show_rows (int fd)
{
  struct winsize size;

  return ioctl (fd, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 ? size.ws_row
                                                               : 24;
}

/* Does a character of UTF-8 begin with C? */
static bool
begins_character (char c)
{
  return ((unsigned char) c & 0xc0) != 0x80;
}

size_t
show_fit (const char *text, size_t length, unsigned columns)
{
  size_t i;

  for (i = 0; i < length; ++i)
    if (begins_character (text[i]) && columns-- == 0)
      break;
  return i;
}

/*----- tables ----------------------------------------------------------*/

struct table {
  unsigned columns;
  size_t cell_count, cell_size;
  char **cells;
};

struct table *
table_create (unsigned columns)
{
  struct table *t = need_memory (calloc (1, sizeof *t));

  t->columns = columns;
  return t;
}

void
table_add (struct table *table, const char *format, ...)
{
  va_list args;
  char *text;

  if (table->cell_count == table->cell_size) {
    table->cell_size = table->cell_size * 2 + 16;
    table->cells = need_memory (
      realloc (table->cells, table->cell_size * sizeof table->cells[0]));
  }
  va_start (args, format);
  if (vasprintf (&text, format, args) == -1)
    text = NULL;
  va_end (args);
  table->cells[table->cell_count++] = show_plain (need_memory (text));
  free (text);
}

/* How many columns of the terminal TEXT takes: bytes that begin a character
 * of UTF-8.
 */
static size_t
width_of (const char *text)
{
  size_t width = 0;

  for (; *text != '\0'; ++text)
    width += begins_character (*text);
  return width;
}

static void
print_cell (FILE *out, const struct table *t, size_t index, size_t width,
            bool is_number)
{
  const char *text = t->cells[index];
  int pad;

  if (index < t->columns && text[0] == '>')
    text++;
  pad = (int) (width - width_of (text));
  if (is_number)
    fprintf (out, "%*s%s", pad, "", text);
  else if (index % t->columns == t->columns - 1)
    fprintf (out, "%s", text);
  else
    fprintf (out, "%s%*s", text, pad, "");
}

void
table_print (struct table *table, FILE *out)
{
  size_t widths[TABLE_MAX_COLUMNS] = { 0 }, i;

  for (i = 0; i < table->cell_count; ++i) {
    size_t width = width_of (table->cells[i]);

    if (i < table->columns && table->cells[i][0] == '>')
      width--;
    if (width > widths[i % table->columns])
      widths[i % table->columns] = width;
  }
  for (i = 0; i < table->cell_count; ++i) {
    size_t column = i % table->columns;

    print_cell (out, table, i, widths[column], table->cells[column][0] == '>');
    fprintf (out, "%s", column == table->columns - 1 ? "\n" : "  ");
  }
  for (i = 0; i < table->cell_count; ++i)
    free (table->cells[i]);
  free (table->cells);
  free (table);
}

/*----- members ---------------------------------------------------------*/

uint64_t
get_number (const json_t *object, const char *name)
{
  json_int_t n = json_integer_value (json_object_get (object, name));

  return n > 0 ? (uint64_t) n : 0;
}

const char *
get_text (const json_t *object, const char *name)
{
  const char *text = json_string_value (json_object_get (object, name));

  return text != NULL ? text : "";
}

bool
get_bool (const json_t *object, const char *name)
{
  return json_is_true (json_object_get (object, name));
}

bool
is_transient (const json_t *snapshot)
{
  return strcmp (get_text (snapshot, "store"), "transient") == 0;
}

char *
show_plain (const char *text)
{
  char *plain = need_memory (strdup (text)), *p;

  for (p = plain; *p != '\0'; ++p)
    if ((unsigned char) *p < ' ' || *p == 127)
      *p = '?';
    else if ((unsigned char) p[0] == 0xc2 && (unsigned char) p[1] < 0xa0 &&
             p[1] != '\0')
      /* U+0080 to U+009F, which steer some terminals as ESC does. */
      p[0] = p[1] = '?';
  return plain;
}

bool
show_is_utf8 (const char *text)
{
  json_t *string = json_string (text);
  bool is_utf8 = string != NULL;

  json_decref (string);
  return is_utf8;
}
