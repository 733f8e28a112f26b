/* One seed with a table: an origin, direct snapshots of it, and their lives.
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef SIM_TABLE_LIFE_H
#define SIM_TABLE_LIFE_H

#include <stdbool.h>
#include <stdint.h>

/* True if SEED is one: so all other ones are what they were before. */
bool table_life_has_seed (uint64_t seed);

/* As life_run_seed, which has begun the machine and chosen the policy. */
void table_life_run (unsigned steps);

#endif /* SIM_TABLE_LIFE_H */
