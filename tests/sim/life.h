/* One seed: a volume, its lives, and what comes between them.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_LIFE_H
#define SIM_LIFE_H

#include <stdbool.h>
#include <stdint.h>

struct life_counters {
  uint64_t seeds, lives, orderly_stops, crashes_at_start;
  uint64_t refused_starts, resyncs_waited_for, leg_failures, leg_losses;
  uint64_t snapshots, snapshots_lost, snapshots_discarded, legs_compared;
};
extern struct life_counters life_counters;

/* Run SEED with about STEPS requests.  Returns a hash of all that happened.
 * What is wrong ends the program.
 */
uint64_t life_run_seed (uint64_t seed, unsigned steps, bool is_traced);

#endif /* SIM_LIFE_H */
