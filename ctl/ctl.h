/* What the files of dmnbd share: options, verbs, and how they end.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef DMNBD_CTL_H
#define DMNBD_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* How dmnbd ends. */
enum {
  EXIT_DONE = 0,
  EXIT_FAILED = 1,
  EXIT_USAGE = 2,
  EXIT_DEGRADED = 3, /* done, but the volume is degraded */
};

struct client;

/* What was said before and around the verb. */
struct ctl {
  const char *socket; /* -s, or DMNBD_SOCKET; NULL: none */
  const char *dir;    /* -d, or NULL */
  bool is_json;
  bool wants_dm;         /* status --dm */
  int patience_ms;       /* see client.h; 0: as usual */
  bool follows;          /* ends when nobody reads its output any more */
  struct client *client; /* connected by client_get */
};

/* One word or option that a verb takes. */
enum arg_type {
  ARG_NONE = 0,
  ARG_STRING,
  ARG_NUMBER,
  ARG_SIZE,
  ARG_SECONDS,
  ARG_PATH, /* of a leg: made absolute, unless it is a URI */
  ARG_FLAG, /* an option without a value */
};

struct verb_arg {
  const char *name;  /* NAME of a word in its place, or --option */
  const char *value; /* what an option's value is called; NULL: none */
  enum arg_type type;
  bool is_optional;  /* of words; options always are */
  const char *param; /* of the method, where it is one */
  const char *text;
};

#define VERB_MAX_ARGS 6

/* What was given, in the order of the verb's table; NULL: it was not. */
struct verb_values {
  const char *text[VERB_MAX_ARGS];
};

struct verb {
  const char *name;   /* of one or two words */
  const char *method; /* of the server that it needs, or NULL */
  const char *text;   /* one line */
  const char *more;   /* the rest of its --help, or NULL */
  struct verb_arg args[VERB_MAX_ARGS + 1];
  int (*run) (struct ctl *ctl, const struct verb *verb,
              const struct verb_values *values);
};

/* All verbs, ended by one without a name. */
extern const struct verb verbs[];

/*----- what is said (say.c) --------------------------------------------*/

/* Say what is wrong on stderr, after "dmnbd: ".  Returns EXIT_FAILED. */
int ctl_error (const char *format, ...) __attribute__ ((format (printf, 1, 2)));

/* The same, if it is a negative errno, which programs are told, too. */
int ctl_errno (int error, const char *format, ...)
  __attribute__ ((format (printf, 2, 3)));

/* The same of what the server has refused: the "error" of its answer. */
int ctl_refused (const json_t *error);

/* On a terminal, show TEXT in the line of stderr whose text is no longer true
 * when the next is shown, or anything is said.  NULL: nothing.
 */
void ctl_progress (const char *text);

/* Print what was said to be wrong last, for --json, and the exit STATUS. */
void ctl_print_failure (int status);

/* Print VALUE as it is for --json.  NULL: it could not be made, which is said.
 */
int ctl_print_json (const json_t *value);

/* Print that all is as it was wanted, and whether something had to CHANGE for
 * it, in the form of the server's answers.
 */
int ctl_print_changed (const struct ctl *ctl, bool changed, const char *format,
                       ...) __attribute__ ((format (printf, 3, 4)));

/* Let all that was printed go out.  False: it cannot be written, which has been
 * said, unless it is that nobody reads it any more.
 */
bool ctl_flush (void);

/* A list: a line for each item, or with --json an array that is printed when
 * it is complete.  The caller writes each item into what ctl_list_item returns,
 * a line with its newline, or a value without one.
 */
struct ctl_list {
  bool is_json;
  FILE *out;
  char *text; /* of the array so far */
  size_t size;
  uint64_t count;
};

/* HEAD: a line for people, or NULL. */
int ctl_list_begin (struct ctl_list *list, const struct ctl *ctl,
                    const char *head);
FILE *ctl_list_item (struct ctl_list *list);
/* Returns RESULT; if that is not EXIT_DONE no array is printed. */
int ctl_list_end (struct ctl_list *list, int result);

/*----- what was given (verbs.c) ----------------------------------------*/

/* The value of the argument NAME of VERB, or NULL. */
const char *verb_value (const struct verb *verb,
                        const struct verb_values *values, const char *name);
uint64_t verb_number (const struct verb *verb, const struct verb_values *values,
                      const char *name, uint64_t otherwise);

/*----- verbs -----------------------------------------------------------*/

/* Those that are one call of their method. */
int run_call (struct ctl *ctl, const struct verb *verb,
              const struct verb_values *values);

int run_rollback (struct ctl *ctl, const struct verb *verb,
                  const struct verb_values *values);

/* Wait until nothing is rolled back or removed any more, however long it takes.
 */
int wait_until_rolled_back (struct ctl *ctl);

/* The verbs with files of their own. */
int run_status (struct ctl *ctl, const struct verb *verb,
                const struct verb_values *values);
int run_table (struct ctl *ctl, const struct verb *verb,
               const struct verb_values *values);
int run_scrub_status (struct ctl *ctl, const struct verb *verb,
                      const struct verb_values *values);
int run_job_list (struct ctl *ctl, const struct verb *verb,
                  const struct verb_values *values);
int run_snapshot_list (struct ctl *ctl, const struct verb *verb,
                       const struct verb_values *values);
int run_diff (struct ctl *ctl, const struct verb *verb,
              const struct verb_values *values);
int run_wait (struct ctl *ctl, const struct verb *verb,
              const struct verb_values *values);
int run_events (struct ctl *ctl, const struct verb *verb,
                const struct verb_values *values);
int run_methods (struct ctl *ctl, const struct verb *verb,
                 const struct verb_values *values);
int run_metrics (struct ctl *ctl, const struct verb *verb,
                 const struct verb_values *values);
int run_attach (struct ctl *ctl, const struct verb *verb,
                const struct verb_values *values);
int run_detach (struct ctl *ctl, const struct verb *verb,
                const struct verb_values *values);
int run_cow_info (struct ctl *ctl, const struct verb *verb,
                  const struct verb_values *values);
int run_cow_check (struct ctl *ctl, const struct verb *verb,
                   const struct verb_values *values);
int run_cow_dump (struct ctl *ctl, const struct verb *verb,
                  const struct verb_values *values);

int run_log_info (struct ctl *ctl, const struct verb *verb,
                  const struct verb_values *values);
int run_log_dump (struct ctl *ctl, const struct verb *verb,
                  const struct verb_values *values);

/* A size that was checked when it was given. */
uint64_t ctl_size (const char *text);

#endif /* DMNBD_CTL_H */
