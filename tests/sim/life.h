/* One seed: a volume, its lives, and what comes between them.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_LIFE_H
#define SIM_LIFE_H

#include <stdbool.h>
#include <stdint.h>

/* Run SEED with about STEPS requests.  Returns a hash of all that happened.
 * What is wrong ends the program.
 */
uint64_t life_run_seed (uint64_t seed, unsigned steps, bool is_traced);

#endif /* SIM_LIFE_H */
