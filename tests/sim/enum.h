/* Every crash of short stories: at each event, all that may be left.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_ENUM_H
#define SIM_ENUM_H

#include <stdbool.h>
#include <stdint.h>

/* What happens at an event of a story. */
enum calamity {
  CALAMITY_POWER, /* it fails */
  CALAMITY_KILL,  /* of the program */
  /* Not an event, but a call of a disk. */
  CALAMITY_CALL,  /* it fails */
  CALAMITY_CALLS, /* it fails, as do all later ones of that kind and disk */
};

/* How many stories there are, and their names: of volumes, and of tables. */
unsigned enum_count (void);
const char *enum_name (unsigned story);

struct enum_counters {
  uint64_t events, states;
};

/* Tell STORY in all ways, with SEED, and add to COUNTERS. */
void enum_run (unsigned story, uint64_t seed, bool is_traced,
               struct enum_counters *counters);

#endif /* SIM_ENUM_H */
