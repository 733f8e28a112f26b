/* The command line of dmsim.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_OPTIONS_H
#define SIM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_DEFAULT_STEPS 60
#define OPTIONS_MAX_JOBS 64

struct options {
  uint64_t from, to; /* seeds, TO not included */
  unsigned every;    /* of these, only each so-manyth */
  unsigned steps;
  unsigned jobs;
  bool is_traced;
  bool has_hashes;
  const char *story; /* or how the names of several begin; NULL: no story */
};

/* Read ARGV.  Ends the program with 0 after --help, and with 2, after saying
 * why in one line, if it cannot be done.
 */
void options_parse (int argc, char **argv, struct options *options);

/* True if story number I is wanted. */
bool options_want_story (const struct options *options, unsigned i);

#endif /* SIM_OPTIONS_H */
