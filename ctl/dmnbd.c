/* dmnbd: sees and steers a volume that nbdkit-dm-plugin serves.
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Reads the command line by the table of verbs, which is also all the help
 * there is.
 */

#include <config.h>

#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "log-sink.h"
#include "size-text.h"

/* What the code shared with the server has to say. */
static void
print_message (enum log_level level, const char *message)
{
  if (level >= LOG_LEVEL_WARNING)
    (void) ctl_error ("%s", message);
}

/*----- help ------------------------------------------------------------*/

static bool
is_option (const struct verb_arg *arg)
{
  return arg->name[0] == '-';
}

/* "snapshot create NAME [--chunk-size SIZE]". */
static void
print_synopsis (FILE *out, const struct verb *verb)
{
  const struct verb_arg *arg;

  fprintf (out, "%s", verb->name);
  for (arg = verb->args; arg->name != NULL; ++arg)
    fprintf (out, is_option (arg) || arg->is_optional ? " [%s%s%s]" : " %s%s%s",
             arg->name, arg->value != NULL ? " " : "",
             arg->value != NULL ? arg->value : "");
}

static void
print_verb_help (const struct verb *verb)
{
  const struct verb_arg *arg;

  printf ("usage: dmnbd [-s SOCKET | -d DIR] [--json] ");
  print_synopsis (stdout, verb);
  printf ("\n\n%s\n", verb->text);
  if (verb->args[0].name != NULL)
    printf ("\n");
  for (arg = verb->args; arg->name != NULL; ++arg)
    printf ("  %s%s%s\n      %s\n", arg->name, arg->value != NULL ? " " : "",
            arg->value != NULL ? arg->value : "", arg->text);
  if (verb->more != NULL)
    printf ("\n%s\n", verb->more);
}

static void
print_help (void)
{
  const struct verb *verb;

  printf ("usage: dmnbd [-s SOCKET | -d DIR] [--json] VERB ...\n\n"
          "Sees and steers a volume that nbdkit-dm-plugin serves.\n\n");
  for (verb = verbs; verb->name != NULL; ++verb) {
    printf ("  ");
    print_synopsis (stdout, verb);
    printf ("\n      %s\n", verb->text);
  }
  printf ("\noptions, before or behind the verb:\n\n"
          "  -s, --socket SOCKET   the volume's control socket (control= of "
          "the server);\n"
          "                        default: DMNBD_SOCKET of the environment\n"
          "  -d, --dir DIR         the volume's folder (meta= of the server)\n"
          "  --json                print JSON: what was asked for, or an "
          "object with \"error\"\n"
          "  --help                this, or of a verb: 'dmnbd VERB --help'\n"
          "  --version             the version\n"
          "\nexit status: 0 done, 1 failed, 2 wrong usage, 3 done but the "
          "volume is degraded\n");
}

static int
say_usage (const struct verb *verb)
{
  if (verb == NULL) {
    fprintf (stderr, "'dmnbd --help' shows what there is\n");
    return EXIT_USAGE;
  }
  fprintf (stderr, "usage: dmnbd ");
  print_synopsis (stderr, verb);
  fprintf (stderr, "\n'dmnbd %s --help' tells more\n", verb->name);
  return EXIT_USAGE;
}

/*----- the command line ------------------------------------------------*/

struct command_line {
  int argc;
  char **argv;
  int at;
  const struct verb *verb;
  bool wants_help, wants_version;
  bool only_words; /* after "--" nothing is an option */
};

/* If the word here is OPTION, or OPTION=VALUE, take it and its value.  -1: it
 * needs a value, and has none.
 */
static int
take_option (struct command_line *line, const char *option, bool has_value,
             const char **value)
{
  const char *word = line->argv[line->at];
  size_t length = strlen (option);

  if (line->only_words || strncmp (word, option, length) != 0)
    return 0;
  if (has_value && word[length] == '=' && option[1] == '-') {
    *value = word + length + 1;
    line->at++;
    return 1;
  }
  if (word[length] != '\0')
    return 0;
  line->at++;
  *value = word;
  if (!has_value)
    return 1;
  if (line->at == line->argc) {
    (void) ctl_error ("%s needs a value", option);
    return -1;
  }
  *value = line->argv[line->at++];
  return 1;
}

/* Which volume: one way to say it is enough, and two may differ. */
static int
take_volume (const char **here, const char *elsewhere, const char *value)
{
  if (value[0] == '\0')
    (void) ctl_error ("the name of the volume's socket or folder is empty");
  else if (elsewhere != NULL)
    (void) ctl_error ("-s and -d both name the volume; give one of them");
  else {
    *here = value;
    return 1;
  }
  return -1;
}

/* Options that may be anywhere.  1: taken, 0: it is none of them, -1: wrong.
 */
static int
take_common (struct ctl *ctl, struct command_line *line)
{
  const char *value;
  int r;

  if ((r = take_option (line, "--", false, &value)) != 0)
    line->only_words = true;
  else if ((r = take_option (line, "--json", false, &value)) != 0)
    ctl->is_json = true;
  else if ((r = take_option (line, "--help", false, &value)) != 0 ||
           (r = take_option (line, "-h", false, &value)) != 0)
    line->wants_help = true;
  else if ((r = take_option (line, "--version", false, &value)) != 0)
    line->wants_version = true;
  else if ((r = take_option (line, "-s", true, &value)) != 0 ||
           (r = take_option (line, "--socket", true, &value)) != 0) {
    if (r > 0)
      r = take_volume (&ctl->socket, ctl->dir, value);
  }
  else if ((r = take_option (line, "-d", true, &value)) != 0 ||
           (r = take_option (line, "--dir", true, &value)) != 0) {
    if (r > 0)
      r = take_volume (&ctl->dir, ctl->socket, value);
  }
  return r;
}

/* The verb that begins here, of one word or two. */
static const struct verb *
find_verb (struct command_line *line)
{
  const char *first = line->argv[line->at];
  const struct verb *verb;
  size_t length = strlen (first);

  for (verb = verbs; verb->name != NULL; ++verb) {
    if (strcmp (verb->name, first) == 0) {
      line->at++;
      return verb;
    }
    if (strncmp (verb->name, first, length) == 0 && verb->name[length] == ' ' &&
        line->at + 1 < line->argc &&
        strcmp (verb->name + length + 1, line->argv[line->at + 1]) == 0) {
      line->at += 2;
      return verb;
    }
  }
  return NULL;
}

static int
say_no_verb (const struct command_line *line)
{
  const char *first = line->argv[line->at];
  const struct verb *verb;
  size_t length = strlen (first);
  bool has_begun = false;

  for (verb = verbs; verb->name != NULL; ++verb) {
    if (strncmp (verb->name, first, length) != 0 || verb->name[length] != ' ')
      continue;
    if (!has_begun)
      (void) ctl_error ("%s: what of it? there is:", first);
    has_begun = true;
    fprintf (stderr, "  dmnbd ");
    print_synopsis (stderr, verb);
    fprintf (stderr, "\n");
  }
  if (!has_begun)
    (void) ctl_error ("there is no verb '%s'", first);
  return say_usage (NULL);
}

static bool
is_number (const char *text)
{
  size_t digits = strspn (text, "0123456789");

  return digits > 0 && digits < 19 && text[digits] == '\0';
}

/* Is the value what ARG takes? */
static bool
check_value (const struct verb *verb, const struct verb_arg *arg,
             const char *value)
{
  uint64_t bytes;

  switch (arg->type) {
  case ARG_NUMBER:
  case ARG_SECONDS:
    if (is_number (value))
      return true;
    (void) ctl_error ("%s: %s: '%s' is not a number", verb->name, arg->name,
                      value);
    return false;
  case ARG_SIZE:
    if (size_parse (value, &bytes))
      return true;
    (void) ctl_error ("%s: %s: '%s' is not a size; give a number with K, M, G "
                      "or T, such as 64K",
                      verb->name, arg->name, value);
    return false;
  default:
    if (value[0] != '\0')
      return true;
    (void) ctl_error ("%s: %s is empty", verb->name, arg->name);
    return false;
  }
}

/* Take the word here as an option or a word of the verb. */
static int
take_arg (struct command_line *line, struct verb_values *values)
{
  const struct verb *verb = line->verb;
  const char *word = line->argv[line->at];
  unsigned i;

  for (i = 0; verb->args[i].name != NULL; ++i) {
    const struct verb_arg *arg = &verb->args[i];
    const char *value = word;
    int r;

    if (is_option (arg)) {
      r = take_option (line, arg->name, arg->type != ARG_FLAG, &value);
      if (r < 0)
        return -1;
      if (r == 0)
        continue;
    }
    else if (values->text[i] != NULL ||
             (!line->only_words && word[0] == '-' && word[1] != '\0'))
      continue;
    else
      line->at++;
    values->text[i] = value;
    return check_value (verb, arg, value) ? 1 : -1;
  }
  (void) ctl_error ("%s: '%s' is too much", verb->name, word);
  return -1;
}

static int
check_complete (const struct verb *verb, const struct verb_values *values)
{
  unsigned i;

  for (i = 0; verb->args[i].name != NULL; ++i) {
    const struct verb_arg *arg = &verb->args[i];

    if (values->text[i] != NULL || is_option (arg) || arg->is_optional)
      continue;
    (void) ctl_error ("%s: %s is missing: %s", verb->name, arg->name,
                      arg->text);
    return -1;
  }
  return 0;
}

static int
read_command_line (struct ctl *ctl, struct command_line *line,
                   struct verb_values *values)
{
  while (line->at < line->argc) {
    int r = take_common (ctl, line);

    if (r == 0 && line->verb == NULL) {
      if (!line->only_words && line->argv[line->at][0] == '-') {
        (void) ctl_error ("there is no option '%s'", line->argv[line->at]);
        return say_usage (NULL);
      }
      line->verb = find_verb (line);
      if (line->verb == NULL)
        return say_no_verb (line);
    }
    else if (r == 0)
      r = take_arg (line, values);
    if (r < 0)
      return say_usage (line->verb);
  }
  return EXIT_DONE;
}

/* What is opened later must not be in the place of a stream that was closed:
 * output and messages would go to the server, or into a device.
 */
static bool
keep_streams_apart (void)
{
  int fd;

  /* Of a descriptor for reading alone every write is refused. */
  for (fd = 0; fd <= STDERR_FILENO; ++fd)
    if (fcntl (fd, F_GETFD) == -1 && open ("/dev/null", O_RDONLY) != fd)
      return false;
  return true;
}

/* Output that could not be written is no success: a full disk, a reader that
 * has gone.
 */
static int
finish (const struct ctl *ctl, int result)
{
  if (!ctl_flush ())
    return EXIT_FAILED;
  if (ctl->is_json && (result == EXIT_FAILED || result == EXIT_USAGE))
    ctl_print_failure (result);
  return ctl_flush () ? result : EXIT_FAILED;
}

/* What is wrong with the words before --json is for a program, too. */
static bool
wants_json (int argc, char **argv)
{
  int i;

  for (i = 1; i < argc && strcmp (argv[i], "--") != 0; ++i)
    if (strcmp (argv[i], "--json") == 0)
      return true;
  return false;
}

static int
print_version (const struct ctl *ctl)
{
  json_t *version;
  int r;

  if (!ctl->is_json) {
    printf ("dmnbd %s\n", PACKAGE_VERSION);
    return EXIT_DONE;
  }
  version = json_pack ("{s:s}", "version", PACKAGE_VERSION);
  r = ctl_print_json (version);
  json_decref (version);
  return r;
}

static int
run (struct ctl *ctl, struct command_line *line)
{
  struct verb_values values = { { NULL } };
  int r = read_command_line (ctl, line, &values);

  if (r != EXIT_DONE)
    return r;
  if (ctl->socket == NULL && ctl->dir == NULL)
    ctl->socket = getenv ("DMNBD_SOCKET");
  if (ctl->socket != NULL && ctl->socket[0] == '\0')
    ctl->socket = NULL;
  if (line->wants_version)
    return print_version (ctl);
  if (line->wants_help) {
    if (line->verb != NULL)
      print_verb_help (line->verb);
    else
      print_help ();
    return EXIT_DONE;
  }
  if (line->verb == NULL) {
    (void) ctl_error ("what is to be done? give a verb");
    return say_usage (NULL);
  }
  if (check_complete (line->verb, &values) == -1)
    return say_usage (line->verb);
  r = line->verb->run (ctl, line->verb, &values);
  client_close (ctl);
  return r;
}

int
main (int argc, char *argv[])
{
  struct ctl ctl = { .is_json = wants_json (argc, argv) };
  struct command_line line = { .argc = argc, .argv = argv, .at = 1 };

  if (!keep_streams_apart ())
    return EXIT_FAILED;
  (void) setlocale (LC_CTYPE, "");
  (void) signal (SIGPIPE, SIG_IGN);
  log_sink_set (print_message);
  return finish (&ctl, run (&ctl, &line));
}
