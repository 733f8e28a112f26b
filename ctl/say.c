/* What dmnbd says on its two outputs.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Standard error is for people.  With --json standard output is for programs,
 * and has one JSON value whatever happens: what was asked for, or why it
 * failed.  So a list, which may fail in its middle, goes out when it is whole.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"
#include "log-sink.h"
#include "show.h"

/*----- what goes on ----------------------------------------------------*/

void
ctl_progress (const char *text)
{
  static bool is_shown;

  if (!isatty (STDERR_FILENO) || (text == NULL && !is_shown))
    return;
  /* A line that went on in the next one could not be taken back. */
  if (text == NULL)
    text = "";
  fprintf (stderr, "\r\033[K%.*s",
           (int) show_fit (text, strlen (text),
                           show_columns (STDERR_FILENO) - 1),
           text);
  is_shown = text[0] != '\0';
}

/*----- what is wrong ---------------------------------------------------*/

/* The last thing that was said to be wrong. */
static struct {
  char *message; /* NULL: nothing was */
  int error;     /* a negative errno, or 0 */
  json_t *code;  /* if the server has refused something: what it answered */
  json_t *data;
} failure;

static void
say_wrong (int error, const char *text)
{
  json_decref (failure.code);
  json_decref (failure.data);
  free (failure.message);
  failure.message = show_plain (text);
  failure.error = error;
  failure.code = failure.data = NULL;
  ctl_progress (NULL);
  fprintf (stderr, "dmnbd: %s\n", failure.message);
}

int
ctl_error (const char *format, ...)
{
  char text[LOG_MESSAGE_BYTES];
  va_list args;

  va_start (args, format);
  (void) vsnprintf (text, sizeof text, format, args);
  va_end (args);
  say_wrong (0, text);
  return EXIT_FAILED;
}

int
ctl_errno (int error, const char *format, ...)
{
  char text[LOG_MESSAGE_BYTES];
  va_list args;

  va_start (args, format);
  (void) vsnprintf (text, sizeof text, format, args);
  va_end (args);
  say_wrong (error, text);
  return EXIT_FAILED;
}

int
ctl_refused (const json_t *error)
{
  const char *message = json_string_value (json_object_get (error, "message"));

  say_wrong (0,
             message != NULL ? message : "the server's answer makes no sense");
  failure.code = json_incref (json_object_get (error, "code"));
  failure.data = json_incref (json_object_get (error, "data"));
  return EXIT_FAILED;
}

/* TEXT for JSON, which knows only UTF-8; a message may quote anything. */
static json_t *
json_of_text (const char *text)
{
  json_t *string = json_string (text);
  char *plain, *p;

  if (string != NULL)
    return string;
  plain = show_plain (text);
  for (p = plain; *p != '\0'; ++p)
    if ((unsigned char) *p > '~')
      *p = '?';
  string = json_string (plain);
  free (plain);
  return string;
}

/* As the server describes an errno: see dmnbd-formats(5). */
static json_t *
json_of_errno (int error)
{
  const char *name = strerrorname_np (-error);

  return json_pack ("{s:i, s:s}", "errno", -error, "name",
                    name != NULL ? name : "unknown");
}

void
ctl_print_failure (int status)
{
  json_t *error;

  if (failure.message == NULL)
    return;
  if (failure.data == NULL && failure.error != 0)
    failure.data = json_of_errno (failure.error);
  error = json_pack ("{s:{s:i, s:o, s:O*, s:O*}}", "error", "status", status,
                     "message", json_of_text (failure.message), "code",
                     failure.code, "data", failure.data);
  if (error != NULL) {
    (void) json_dumpf (error, stdout, JSON_COMPACT);
    printf ("\n");
  }
  json_decref (error);
}

/*----- what was asked for ----------------------------------------------*/

int
ctl_print_json (const json_t *value)
{
  if (value == NULL)
    return ctl_error ("out of memory, or a name that is not UTF-8");
  (void) json_dumpf (value, stdout, JSON_INDENT (2));
  printf ("\n");
  return EXIT_DONE;
}

int
ctl_print_changed (const struct ctl *ctl, bool changed, const char *format, ...)
{
  char text[LOG_MESSAGE_BYTES];
  json_t *result;
  va_list args;
  int r;

  va_start (args, format);
  (void) vsnprintf (text, sizeof text, format, args);
  va_end (args);
  if (!ctl->is_json) {
    char *plain = show_plain (text);

    printf ("%s\n", plain);
    free (plain);
    return EXIT_DONE;
  }
  result = json_pack ("{s:b, s:o}", "changed", (int) changed, "message",
                      json_of_text (text));
  r = ctl_print_json (result);
  json_decref (result);
  return r;
}

bool
ctl_flush (void)
{
  static bool has_failed;

  errno = 0;
  if (!has_failed && (fflush (stdout) == EOF || ferror (stdout))) {
    has_failed = true;
    /* A reader that has gone has seen enough. */
    if (errno != EPIPE)
      (void) ctl_error ("the output cannot be written: %s",
                        errno != 0 ? strerror (errno) : "a part is lost");
  }
  return !has_failed;
}

/*----- lists -----------------------------------------------------------*/

int
ctl_list_begin (struct ctl_list *list, const struct ctl *ctl, const char *head)
{
  *list = (struct ctl_list){ .is_json = ctl->is_json, .out = stdout };
  if (list->is_json)
    list->out = open_memstream (&list->text, &list->size);
  else if (head != NULL)
    printf ("%s\n", head);
  return list->out != NULL ? EXIT_DONE : ctl_error ("out of memory");
}

FILE *
ctl_list_item (struct ctl_list *list)
{
  if (list->is_json)
    fprintf (list->out, "%s\n  ", list->count > 0 ? "," : "[");
  list->count++;
  return list->out;
}

int
ctl_list_end (struct ctl_list *list, int result)
{
  bool is_whole;

  if (!list->is_json)
    return result;
  is_whole = !ferror (list->out);
  if (fclose (list->out) == EOF || !is_whole)
    result = ctl_error ("out of memory");
  else if (result == EXIT_DONE)
    printf ("%s%s]\n", list->count > 0 ? list->text : "[",
            list->count > 0 ? "\n" : "");
  free (list->text);
  return result;
}
