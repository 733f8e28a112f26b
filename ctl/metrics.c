/* The verb metrics: numbers for Prometheus, on the terminal or in a file.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The file is replaced by one that is complete: whoever reads it finds the old
 * numbers or the new ones.  It is not made durable; after a crash of the
 * machine old numbers are of no use.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "show.h"

static int
say_file_error (const char *path, const char *what)
{
  return ctl_errno (-errno, "%s: cannot be %s: %s", path, what,
                    strerror (errno));
}

/* Write TEXT to the descriptor FD, and close it. */
static int
write_and_close (int fd, const char *text)
{
  FILE *out = fdopen (fd, "w");
  int r;

  if (out == NULL) {
    (void) close (fd);
    return -1;
  }
  r = fputs (text, out) == EOF ? -1 : 0;
  if (fclose (out) == EOF)
    r = -1;
  return r;
}

/* A file is put in the place of PATH: a device there would be lost, and root
 * may do that even in /dev.  A folder is refused by rename.
 */
static bool
may_be_replaced (const char *path)
{
  struct stat st;

  return lstat (path, &st) == -1 || S_ISREG (st.st_mode) ||
         S_ISLNK (st.st_mode) || S_ISDIR (st.st_mode);
}

static int
replace_file (const char *path, const char *text)
{
  char *new_path;
  mode_t mask = umask (0);
  int fd, r;

  (void) umask (mask);
  if (!may_be_replaced (path))
    return ctl_error (
      "%s: is no regular file, and is not replaced; name a file, "
      "or leave --textfile out to print",
      path);
  if (asprintf (&new_path, "%s.XXXXXX", path) == -1)
    return ctl_error ("out of memory");
  fd = mkostemp (new_path, O_CLOEXEC);
  if (fd == -1) {
    r = say_file_error (new_path, "created");
    free (new_path);
    return r;
  }
  /* As any new file: the collector runs as another user. */
  if (fchmod (fd, 0666 & ~mask) == -1 || write_and_close (fd, text) == -1)
    r = say_file_error (new_path, "written");
  else if (rename (new_path, path) == -1)
    r = say_file_error (path, "replaced");
  else
    r = EXIT_DONE;
  if (r != EXIT_DONE)
    (void) unlink (new_path);
  free (new_path);
  return r;
}

int
run_metrics (struct ctl *ctl, const struct verb *verb,
             const struct verb_values *values)
{
  const char *file = verb_value (verb, values, "--textfile");
  json_t *result = client_look (ctl, verb->method, NULL);
  int r = EXIT_DONE;

  if (result == NULL)
    return EXIT_FAILED;
  if (file != NULL) {
    r = replace_file (file, get_text (result, "text"));
    if (r == EXIT_DONE && ctl->is_json)
      r = ctl_print_changed (ctl, true, "%s: has been replaced", file);
  }
  else if (ctl->is_json)
    ctl_print_json (result);
  else
    printf ("%s", get_text (result, "text"));
  json_decref (result);
  return r;
}
